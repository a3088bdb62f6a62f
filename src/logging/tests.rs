//! The log as a whole.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender};

use super::testing::TempDir;
use super::*;
use crate::options::LogFormat;

/// Sends what is written, and can be made to block: each write waits for a permit.
struct Pipe {
    written: Sender<String>,
    permits: Receiver<()>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.permits.recv().is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let _ = self
            .written
            .send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logger(debug: bool, trace: bool) -> Logger {
    Logger {
        debug: debug.into(),
        trace: trace.into(),
        identity: Arc::new(Identity::of(7)),
        queue: Arc::new(Queue::new(Style::PLAIN)),
        current: Mutex::new((Target::Stderr, Style::PLAIN)),
    }
}

fn log(logger: &Logger, level: Level, target: &str, text: Arguments) {
    let metadata = Metadata::builder().level(level).target(target).build();
    logger.log(&Record::builder().metadata(metadata).args(text).build());
}

/// What is in the queue, behind it a line that is always there so that nobody waits.
fn lines(logger: &Logger) -> String {
    logger.info("end");
    let batch = logger.queue.take(queue::Batch::default());
    String::from_utf8(batch.records().rest().to_vec()).unwrap()
}

impl Logger {
    fn info(&self, text: &str) {
        log(self, Level::Info, OWN_TARGETS, format_args!("{text}"));
    }
}

fn start(logger: &Logger, out: impl Write + Send + 'static) {
    let writer = logger.writer(Style::PLAIN, Box::new(Stream(out)));
    writer.start().unwrap();
}

#[test]
fn debug_and_trace_are_turned_on_apart() {
    for (debug, trace, level, expected) in [
        (false, false, LevelFilter::Info, ""),
        (true, false, LevelFilter::Debug, "[7] [DBG] d\n"),
        (false, true, LevelFilter::Trace, "[7] [TRC] t\n"),
        (true, true, LevelFilter::Trace, "[7] [DBG] d\n[7] [TRC] t\n"),
    ] {
        let logger = logger(debug, trace);
        assert_eq!(logger.level_max(), level);
        log(&logger, Level::Debug, "nats_server::a", format_args!("d"));
        log(&logger, Level::Trace, "nats_server::a", format_args!("t"));
        assert_eq!(lines(&logger), format!("{expected}[7] [INF] end\n"));
    }
}

#[test]
fn levels_and_the_fatal_target_choose_the_label() {
    let logger = logger(true, true);
    log(&logger, Level::Error, "nats_server::a", format_args!("e"));
    log(&logger, Level::Error, FATAL, format_args!("f"));
    log(&logger, Level::Warn, "nats_server::a", format_args!("w"));
    assert_eq!(
        lines(&logger),
        "[7] [ERR] e\n[7] [FTL] f\n[7] [WRN] w\n[7] [INF] end\n"
    );
}

#[test]
fn lines_of_libraries_are_not_shown() {
    let logger = logger(true, true);
    log(
        &logger,
        Level::Trace,
        "mio::poll",
        format_args!("registering"),
    );
    log(&logger, Level::Error, "rustls::conn", format_args!("alert"));
    assert_eq!(lines(&logger), "[7] [INF] end\n");
}

#[test]
fn a_value_may_log_while_it_is_logged() {
    struct Chatty<'a>(&'a Logger);
    impl Display for Chatty<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.info("inner");
            f.write_str("outer")
        }
    }
    let logger = logger(false, false);
    log(
        &logger,
        Level::Info,
        OWN_TARGETS,
        format_args!("{}", Chatty(&logger)),
    );
    assert_eq!(
        lines(&logger),
        "[7] [INF] inner\n[7] [INF] outer\n[7] [INF] end\n"
    );
}

#[test]
fn a_stuck_writer_blocks_nobody_and_drops_are_told_afterwards() {
    let logger = logger(false, true);
    let (written, lines) = mpsc::channel();
    let (permit, permits) = mpsc::channel();
    start(&logger, Pipe { written, permits });
    let long = "x".repeat(1 << 20);
    for _ in 0..10 {
        log(&logger, Level::Trace, OWN_TARGETS, format_args!("{long}"));
    }
    logger.info("kept");
    assert!(!logger.queue.wait_written(Duration::from_millis(5)));
    for _ in 0..20 {
        permit.send(()).unwrap();
    }
    assert!(logger.queue.wait_written(Duration::from_secs(10)));
    let all = lines.try_iter().collect::<String>();
    let (traces, kept) = (
        all.matches("[TRC]").count(),
        all.matches("[INF] kept\n").count(),
    );
    assert_eq!((traces, kept), (2, 1));
    // The writer may have come by in the middle of it, and then tells in two parts.
    let told = all.lines().filter_map(|line| {
        line.strip_prefix("[7] [WRN] ")?
            .strip_suffix(" log lines dropped")?
            .parse::<u32>()
            .ok()
    });
    assert_eq!(told.sum::<u32>(), 8);
}

#[test]
fn a_broken_pipe_does_not_stop_the_log() {
    let logger = logger(false, false);
    let (written, _) = mpsc::channel();
    let permits = mpsc::channel().1;
    start(&logger, Pipe { written, permits });
    logger.info("lost");
    assert!(logger.queue.wait_written(Duration::from_secs(10)));
}

fn to_file(dir: &TempDir, name: &str) -> LogOptions {
    LogOptions {
        file: Some(dir.path(name)),
        logtime: false,
        ..LogOptions::default()
    }
}

fn started(options: &LogOptions) -> Logger {
    let (logger, writer) = Logger::new(options).unwrap();
    writer.start().unwrap();
    logger
}

/// Waits for the writer, and returns what stands behind the process' id in the file.
fn written(logger: &Logger, dir: &TempDir, name: &str) -> String {
    assert!(logger.queue.wait_written(Duration::from_secs(20)));
    let id = format!("[{}] ", std::process::id());
    dir.read(name).replace(&id, "")
}

#[test]
fn the_place_is_the_first_one_that_is_given() {
    let all = LogOptions {
        file: Some("log".into()),
        remote_syslog: Some("udp://a:1".into()),
        syslog: true,
        size_limit: 5,
        max_num: 3,
        ..LogOptions::default()
    };
    let limits = Limits { size: 5, files: 3 };
    let target = |options: &LogOptions| Target::of(options).unwrap();
    assert_eq!(target(&all), Target::File("log".into(), limits));
    let no_file = LogOptions { file: None, ..all };
    let udp = Address::Udp("a:1".into());
    assert_eq!(target(&no_file), Target::Syslog(udp));
    let local = LogOptions {
        remote_syslog: None,
        ..no_file
    };
    if cfg!(unix) {
        assert!(matches!(target(&local), Target::Syslog(Address::Local(_))));
    }
    assert_eq!(target(&LogOptions::default()), Target::Stderr);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_as_in_the_reference() {
    let options = LogOptions {
        file: Some("/nonexistent/log".into()),
        ..LogOptions::default()
    };
    let error = Logger::new(&options).err().unwrap().to_string();
    assert!(
        error.starts_with("error opening file: open /nonexistent/log: "),
        "{error}"
    );
    assert!(!error.contains("os error"), "{error}");
}

#[test]
fn changes_hold_from_the_next_line_on() {
    let dir = TempDir::new("apply");
    let first = to_file(&dir, "one");
    let logger = started(&first);
    logger.info("a");
    let second = LogOptions {
        format: LogFormat::Json,
        ..first.clone()
    };
    logger.apply(&second).unwrap();
    logger.info("b");
    let third = to_file(&dir, "two");
    logger.apply(&third).unwrap();
    logger.info("c");
    logger.apply(&first).unwrap();
    logger.info("d");

    let id = std::process::id();
    let json = format!("{{\"level\":\"info\",\"pid\":{id},\"msg\":\"b\"}}");
    let expected = format!("[INF] a\n{json}\n[INF] d\n");
    assert_eq!(written(&logger, &dir, "one"), expected);
    assert_eq!(written(&logger, &dir, "two"), "[INF] c\n");
}

#[test]
fn levels_change_while_the_log_runs() {
    let dir = TempDir::new("levels");
    let off = to_file(&dir, "log");
    let logger = started(&off);
    let details = |text| {
        log(&logger, Level::Debug, OWN_TARGETS, format_args!("{text}"));
        log(&logger, Level::Trace, OWN_TARGETS, format_args!("{text}"));
    };
    for (debug, trace, level) in [
        (false, false, LevelFilter::Info),
        (true, false, LevelFilter::Debug),
        (false, true, LevelFilter::Trace),
        (false, false, LevelFilter::Info),
    ] {
        let options = LogOptions {
            debug,
            trace,
            ..off.clone()
        };
        logger.apply(&options).unwrap();
        assert_eq!(logger.level_max(), level);
        details(level);
    }
    let expected = "[DBG] DEBUG\n[TRC] TRACE\n";
    assert_eq!(written(&logger, &dir, "log"), expected);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let dir = TempDir::new("refuse");
    let options = to_file(&dir, "log");
    let logger = started(&options);
    for bad in [
        LogOptions {
            file: Some(dir.path("absent/log")),
            ..options.clone()
        },
        LogOptions {
            file: None,
            remote_syslog: Some("http://a:1".into()),
            ..options.clone()
        },
        LogOptions {
            file: None,
            remote_syslog: Some("unix:///nonexistent/x".into()),
            ..options.clone()
        },
    ] {
        let bad = LogOptions { debug: true, ..bad };
        assert!(logger.apply(&bad).is_err());
        logger.info("line");
    }
    log(&logger, Level::Debug, OWN_TARGETS, format_args!("debug"));
    assert_eq!(written(&logger, &dir, "log"), "[INF] line\n".repeat(3));
}

#[test]
fn reopening_follows_the_name_and_keeps_both_limits() {
    let dir = TempDir::new("reopen");
    let options = LogOptions {
        size_limit: 1000,
        max_num: 2,
        ..to_file(&dir, "log")
    };
    let logger = started(&options);
    logger.info("a");
    std::fs::rename(dir.path("log"), dir.path("moved")).unwrap();
    logger.info("b");
    assert_eq!(logger.reopen().unwrap(), "File log re-opened");
    logger.info("c");
    assert_eq!(written(&logger, &dir, "log"), "[INF] c\n");
    assert_eq!(written(&logger, &dir, "moved"), "[INF] a\n[INF] b\n");
    for _ in 0..5 {
        logger.info(&"x".repeat(1000));
    }
    let live = written(&logger, &dir, "log");
    assert!(live.contains("Rotated log") && live.contains("Purged log file"));
    assert_eq!(dir.names().len(), 3, "log, one backup, moved");

    // Where the file cannot be opened, the log goes on in the one that is.
    std::fs::rename(dir.path("log"), dir.path("moved")).unwrap();
    std::fs::create_dir(dir.path("log")).unwrap();
    assert!(logger.reopen().is_err());
    logger.info("d");
    assert!(written(&logger, &dir, "moved").ends_with("[INF] d\n"));
}

#[test]
fn without_a_file_there_is_nothing_to_reopen() {
    let told = logger(false, false).reopen().unwrap();
    assert_eq!(told, "File log re-open ignored, not a file logger");
}

/// Lines of several threads, while place and form change all the time: each is there once, whole,
/// in the right form for where it is, and those of a thread are in order.
#[test]
fn no_line_is_torn_or_lost_while_the_log_changes() {
    const ROUNDS: usize = 100;
    let dir = TempDir::new("torn");
    let text = to_file(&dir, "text");
    let json = LogOptions {
        format: LogFormat::Json,
        ..to_file(&dir, "json")
    };
    let logger = started(&text);
    let done = AtomicBool::new(false);
    let logged = std::thread::scope(|scope| {
        let work = |thread| {
            let (logger, done) = (&logger, &done);
            move || {
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    logger.info(&format!("{thread}:{count}"));
                    count += 1;
                    // The queue must not overflow.
                    if count % 1000 == 0 {
                        logger.queue.wait_written(Duration::from_secs(20));
                    }
                }
                count
            }
        };
        let threads = [1, 2, 3].map(|thread| scope.spawn(work(thread)));
        for round in 0..ROUNDS {
            // Sixteen changes may wait.
            while let Err(LogError::Stuck) = logger.apply(&json) {
                std::thread::yield_now();
            }
            logger.info(&format!("json:{round}"));
            while let Err(LogError::Stuck) = logger.apply(&text) {
                std::thread::yield_now();
            }
            logger.info(&format!("text:{round}"));
        }
        done.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().unwrap())
    });

    let text = written(&logger, &dir, "text");
    let json = written(&logger, &dir, "json");
    let texts = text
        .lines()
        .map(|line| line.strip_prefix("[INF] ").unwrap());
    let texts = texts.map(str::to_owned).collect::<Vec<_>>();
    let jsons = json.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["msg"].as_str().unwrap().to_owned()
    });
    let jsons = jsons.collect::<Vec<_>>();
    let numbers = |lines: &[String], who: &str| {
        let own = lines.iter().filter_map(|line| line.strip_prefix(who));
        own.map(|number| number.parse::<usize>().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(numbers(&texts, "text:").into_iter().eq(0..ROUNDS));
    assert!(numbers(&jsons, "json:").into_iter().eq(0..ROUNDS));
    for (thread, count) in (1..).zip(logged) {
        let who = format!("{thread}:");
        let (one, two) = (numbers(&texts, &who), numbers(&jsons, &who));
        assert!(one.is_sorted() && two.is_sorted());
        let mut all = [one, two].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..count));
    }
}

#[test]
fn a_syslog_server_gets_messages_without_pid_and_label() {
    use std::io::Read;

    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = TempDir::new("syslog");
    let logger = started(&to_file(&dir, "log"));
    let options = LogOptions {
        remote_syslog: Some(format!("tcp://{}", server.local_addr().unwrap())),
        trace: true,
        ..LogOptions::default()
    };
    logger.apply(&options).unwrap();
    logger.info("a\nb");
    log(&logger, Level::Trace, OWN_TARGETS, format_args!("c"));
    log(&logger, Level::Error, FATAL, format_args!("d"));
    logger.apply(&to_file(&dir, "log")).unwrap();
    logger.info("e");
    assert_eq!(written(&logger, &dir, "log"), "[INF] e\n");
    let mut text = String::new();
    server
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    let lines = text.lines().map(|line| {
        let (head, text) = line.split_once("]: ").unwrap();
        (&head[..3], text)
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [("<5>", "a#012b"), ("<5>", "c"), ("<2>", "d")]
    );
}
