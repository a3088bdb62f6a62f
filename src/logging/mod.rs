//! The log: the sink behind the `log` facade.
//!
//! A line is formatted by the thread that logs it and goes through a bounded queue to one writer
//! thread, so that a loop never waits for stderr. When the writer falls behind, debug and trace
//! lines are dropped first; what is dropped is counted and said. Arguments that come from a peer
//! are quoted where they are logged: the text is written as it is.
//!
//! The rest of the server uses the macros of `log`; `debug!` and `trace!` cost a comparison while
//! they are off. Only lines of this crate are shown, whose targets start with its name.

mod format;
mod queue;

use std::cell::RefCell;
use std::fmt::{Arguments, Display};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::base::clock;
use crate::options::LogOptions;
use format::{Clock, Format, Label};
use queue::{Queue, Weight};

/// The target of a line that tells why the server ends: `error!(target: FATAL, ...)` is labelled
/// FTL instead of ERR.
pub const FATAL: &str = "nats_server::fatal";

/// Targets of this crate start with its name; libraries' lines are not shown.
const OWN_TARGETS: &str = "nats_server";

/// How long [`LogHandle::flush`] waits for the writer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a line's buffer that a thread keeps for its next line.
const LINE_KEPT_MAX: usize = 8 << 10;

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts the log as the options say. To be called once in a process, before anything is logged;
/// fails if it was called before or the writer thread cannot be started.
pub fn init(options: &LogOptions) -> io::Result<LogHandle> {
    let logger = Logger {
        debug: options.debug,
        trace: options.trace,
        format: Format {
            pid: std::process::id(),
            clock: match options {
                LogOptions { logtime: false, .. } => Clock::Off,
                LogOptions {
                    logtime_utc: true, ..
                } => Clock::Utc,
                _ => Clock::Local,
            },
            colours: io::stderr().is_terminal(),
        },
        queue: Arc::default(),
    };
    let handle = LogHandle {
        queue: Arc::clone(&logger.queue),
    };
    let level = logger.level_max();
    logger.start_writer(io::stderr())?;
    log::set_logger(LOGGER.get_or_init(|| logger))
        .map_err(|error| io::Error::other(error.to_string()))?;
    log::set_max_level(level);
    Ok(handle)
}

/// Logs the reason why the server cannot go on, labelled FTL. The caller flushes and ends.
pub fn fatal(reason: impl Display) {
    log::error!(target: FATAL, "{reason}");
}

/// Waits until all lines logged so far are written, two seconds at most, if there is a log.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.queue.wait_written(FLUSH_PATIENCE);
    }
}

/// The running log. Flushes when dropped.
#[derive(Debug)]
pub struct LogHandle {
    queue: Arc<Queue>,
}

impl LogHandle {
    /// Waits until all lines logged so far are written, two seconds at most. Whether they are.
    pub fn flush(&self) -> bool {
        self.queue.wait_written(FLUSH_PATIENCE)
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.flush();
    }
}

#[derive(Debug)]
struct Logger {
    debug: bool,
    trace: bool,
    format: Format,
    queue: Arc<Queue>,
}

impl Logger {
    /// The filter of the facade. It knows no trace without debug, so [`Log::enabled`] looks again.
    fn level_max(&self) -> LevelFilter {
        match (self.trace, self.debug) {
            (true, _) => LevelFilter::Trace,
            (false, true) => LevelFilter::Debug,
            (false, false) => LevelFilter::Info,
        }
    }

    /// Starts the thread that writes to `out` for as long as the process lives.
    fn start_writer(&self, mut out: impl Write + Send + 'static) -> io::Result<()> {
        let (format, queue) = (self.format.clone(), Arc::clone(&self.queue));
        let write_batches = move || {
            let mut buffer = Vec::new();
            loop {
                let batch = queue.take(buffer);
                // A log that cannot be written leaves nobody to tell: the lines are lost.
                let _ = out.write_all(&batch.lines);
                if batch.dropped > 0 {
                    let mut line = String::new();
                    let text = format_args!("{} log lines dropped", batch.dropped);
                    format.line(&mut line, clock::wall(), Label::Wrn, text);
                    let _ = out.write_all(line.as_bytes());
                }
                let _ = out.flush();
                buffer = batch.lines;
            }
        };
        thread::Builder::new()
            .name("log".into())
            .spawn(write_batches)
            .map(drop)
    }

    fn push(&self, label: Label, weight: Weight, text: Arguments) {
        thread_local! {
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let push = |line: &mut String| {
            line.clear();
            self.format.line(line, clock::wall(), label, text);
            self.queue.push(line.as_bytes(), weight);
            line.shrink_to(LINE_KEPT_MAX);
        };
        // A value that logs while it is being formatted finds the buffer taken.
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => push(&mut line),
            Err(_) => push(&mut String::new()),
        });
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        let level_on = match metadata.level() {
            Level::Error | Level::Warn | Level::Info => true,
            Level::Debug => self.debug,
            Level::Trace => self.trace,
        };
        level_on && metadata.target().starts_with(OWN_TARGETS)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (label, weight) = match record.level() {
            Level::Error if record.target() == FATAL => (Label::Ftl, Weight::Event),
            Level::Error => (Label::Err, Weight::Event),
            Level::Warn => (Label::Wrn, Weight::Event),
            Level::Info => (Label::Inf, Weight::Event),
            Level::Debug => (Label::Dbg, Weight::Detail),
            Level::Trace => (Label::Trc, Weight::Detail),
        };
        self.push(label, weight, *record.args());
    }

    fn flush(&self) {
        self.queue.wait_written(FLUSH_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

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
        let format = Format {
            pid: 7,
            clock: Clock::Off,
            colours: false,
        };
        Logger {
            debug,
            trace,
            format,
            queue: Arc::default(),
        }
    }

    fn log(logger: &Logger, level: Level, target: &str, text: Arguments) {
        let metadata = Metadata::builder().level(level).target(target).build();
        logger.log(&Record::builder().metadata(metadata).args(text).build());
    }

    /// What is in the queue, behind it a line that is always there so that nobody waits.
    fn lines(logger: &Logger) -> String {
        logger.info("end");
        String::from_utf8(logger.queue.take(Vec::new()).lines).unwrap()
    }

    impl Logger {
        fn info(&self, text: &str) {
            log(self, Level::Info, OWN_TARGETS, format_args!("{text}"));
        }
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
        logger.start_writer(Pipe { written, permits }).unwrap();
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
        logger
            .start_writer(Pipe {
                written,
                permits: mpsc::channel().1,
            })
            .unwrap();
        logger.info("lost");
        assert!(logger.queue.wait_written(Duration::from_secs(10)));
    }
}
