//! The program: flags, exit codes, signals, log lines, files.

use crate::support::{Peer, Process, Run, eventually, server_binary};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A path that no other test uses.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("nats-it-{}-{name}", std::process::id()))
}

/// What the log lines say after their process id, time and level.
fn texts(process: &Process, level: &str) -> Vec<String> {
    let mark = format!(" [{level}] ");
    let text = |line: &String| line.split_once(&mark).map(|(_, text)| text.to_owned());
    process.log().iter().filter_map(text).collect()
}

#[test]
fn the_version_is_one_line() {
    for flag in ["-v", "--version", "-version", "version"] {
        let run = Run::new(&[flag]);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{flag}");
        let version = run.stdout.strip_prefix("nats-server: v").unwrap();
        assert!(
            version.ends_with('\n') && version.lines().count() == 1,
            "{version}"
        );
        let server = Process::start(&[]);
        let info = Peer::raw(server.addr).line();
        assert!(
            info.contains(&format!("\"version\":\"{}\"", version.trim_end())),
            "{info}"
        );
    }
}

#[test]
fn help_goes_to_stdout() {
    for flag in ["-h", "--help", "help"] {
        let run = Run::new(&[flag]);
        assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{flag}");
        assert!(
            run.stdout.contains("--addr") && run.stdout.contains("-p"),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn mistakes_in_the_arguments() {
    let run = Run::new(&["--bogus"]);
    assert_eq!(run.code, Some(0));
    assert!(
        run.stderr.contains("flag provided but not defined: -bogus"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains("--addr"), "{}", run.stdout);
    for (args, text) in [
        (
            ["-c", "x.conf"],
            "nats-server: open x.conf: no such file or directory",
        ),
        (["-D", "stray"], "unrecognized command: \"stray\""),
        (["-n", "a b"], "server name cannot contain spaces"),
        (["-p", "70000"], "port 70000"),
    ] {
        let run = Run::new(&args);
        assert_eq!((run.code, &*run.stdout), (Some(1), ""), "{args:?}");
        assert!(run.stderr.contains(text), "{}", run.stderr);
    }
}

#[test]
fn flags_are_heard() {
    let server = Process::start(&["--name=north", "--loops", "2"]);
    let info = Peer::raw(server.addr).line();
    assert!(info.contains("\"server_name\":\"north\""), "{info}");
}

#[test]
fn log_lines_have_their_form_and_order() {
    let server = Process::start(&[]);
    let log = server.log();
    for line in &log {
        let rest = line
            .strip_prefix(&format!("[{}] ", server.id()))
            .expect(line);
        let (stamp, rest) = rest.split_at(26);
        let shape: String = stamp
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000/00/00 00:00:00.000000", "{line}");
        assert!(rest.starts_with(" [INF] "), "{line}");
    }
    let at = |part: &str| log.iter().position(|line| line.contains(part)).expect(part);
    let listening = format!("[INF] Listening for client connections on {}", server.addr);
    assert!(at("Starting nats-server") < at(&listening));
    assert!(at(&listening) < at("[INF] Server is ready"));
}

#[test]
fn the_log_may_be_without_time() {
    let server = Process::start(&["--logtime=false"]);
    assert_eq!(
        server.log()[0],
        format!("[{}] [INF] Starting nats-server", server.id())
    );
}

#[test]
fn the_pid_file_comes_and_goes() {
    let file = path("pid");
    let mut server = Process::start(&["-P", file.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), server.id().to_string());
    server.signal(libc::SIGTERM);
    server.wait(Duration::from_secs(5));
    assert!(!file.exists());
}

#[test]
fn the_ports_file_comes_and_goes() {
    let dir = path("ports");
    fs::create_dir(&dir).unwrap();
    let mut server = Process::start(&["--ports_file_dir", dir.to_str().unwrap()]);
    let file = dir.join(format!("nats-server_{}.ports", server.id()));
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("{{\"nats\":[\"nats://{}\"]}}", server.addr)
    );
    server.signal(libc::SIGTERM);
    server.wait(Duration::from_secs(5));
    fs::remove_dir(dir).expect("the directory is empty again");
}

#[test]
fn a_ports_file_that_cannot_be_written_is_an_error_in_the_log() {
    let server = Process::start(&["--ports_file_dir", "/nonexistent"]);
    let errors = texts(&server, "ERR");
    assert!(
        errors[0].starts_with("Error writing ports file (/nonexistent/nats-server_"),
        "{errors:?}"
    );
    Peer::connect(server.addr).sync();
}

#[test]
fn servers_are_signalled_by_pid_and_by_pid_file() {
    let file = path("signal.pid");
    let mut server = Process::start(&["-P", file.to_str().unwrap()]);
    let (id, file) = (server.id().to_string(), file.to_str().unwrap());
    let signal = |command: &str, whom: &str| {
        let run = Run::new(&["--signal", &format!("{command}={whom}")]);
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            ("", ""),
            "{command}={whom}"
        );
        assert_eq!(run.code, Some(0));
    };
    for (command, whom, name) in [
        ("reload", &*id, "hangup"),
        ("reopen", file, "user defined signal 1"),
    ] {
        signal(command, whom);
        server.wait_for(&format!("Trapped \"{name}\" signal"));
    }
    let _peer = Peer::connect(server.addr);
    signal("ldm", &id);
    server.wait_for("Entering lame duck mode, stop accepting new clients");
    signal("quit", file);
    server.wait_for("Trapped \"interrupt\" signal");
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));

    let mut server = Process::start(&[]);
    signal("term", &server.id().to_string());
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));

    let mut server = Process::start(&[]);
    signal("stop", &server.id().to_string());
    let status = server.wait(Duration::from_secs(5));
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

#[test]
fn signals_that_cannot_be_sent_are_errors() {
    let mut server = Process::start(&[]);
    let gone = server.id();
    server.signal(libc::SIGTERM);
    server.wait(Duration::from_secs(5));
    for (argument, text) in [
        (
            format!("stop={gone}"),
            format!("signal \"stop\" {gone}: no such process"),
        ),
        ("bogus=1".into(), "unknown signal \"bogus\"".into()),
        ("stop=abc".into(), "invalid pid: abc".into()),
        ("stop=-1".into(), "invalid pid: -1".into()),
        ("stop=0".into(), "invalid pid: 0".into()),
        ("stop=1=2".into(), "invalid signal parameters: [2]".into()),
        (
            "quit=/".into(),
            "cannot read pid file: open /: is a directory".into(),
        ),
    ] {
        let run = Run::new(&["-sl", &argument]);
        assert_eq!((run.code, &*run.stdout), (Some(1), ""), "{argument}");
        assert_eq!(run.stderr, format!("nats-server: {text}\n"), "{argument}");
    }
}

#[test]
fn two_signals_stop_it_quickly() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut server = Process::start(&[]);
        let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(server.addr)).collect();
        let begin = Instant::now();
        server.signal(signal);
        let status = server.wait(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
        for peer in &mut peers {
            peer.expect_eof();
        }
        assert_eq!(texts(&server, "INF").last().unwrap(), "Server Exiting..");
    }
}

#[test]
fn other_signals_do_not_kill() {
    let mut server = Process::start(&[]);
    let mut peer = Peer::connect(server.addr);
    for (signal, name) in [
        (libc::SIGHUP, "hangup"),
        (libc::SIGUSR1, "user defined signal 1"),
        (libc::SIGUSR2, "user defined signal 2"),
        // A lame duck ends by itself.
        (libc::SIGTERM, "terminated"),
    ] {
        server.signal(signal);
        server.wait_for(&format!("Trapped \"{name}\" signal"));
        peer.sync();
    }
    server.signal(libc::SIGINT);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn signals_are_heard_in_the_background_of_a_shell() {
    // Shells start background jobs with SIGINT ignored.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$0\" \"$@\"", server_binary()]);
    command.args(["-p", "-1", "-a", "127.0.0.1"]);
    let mut server = Process::spawn(command);
    server.signal(libc::SIGINT);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_port_in_use_is_fatal() {
    let server = Process::start(&[]);
    let file = path("taken.pid");
    let port = server.addr.port().to_string();
    let run = Run::new(&["-a", "127.0.0.1", "-p", &port, "-P", file.to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    let text =
        format!("[FTL] Error listening on port: 127.0.0.1:{port}, \"listen tcp 127.0.0.1:{port}: ");
    assert!(run.stderr.contains(&text), "{}", run.stderr);
    assert!(!file.exists());
    Peer::connect(server.addr).sync();
}

#[test]
fn a_pid_file_that_cannot_be_written_is_fatal() {
    let run = Run::new(&["-a", "127.0.0.1", "-p", "-1", "-P", "/nonexistent/x.pid"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .contains("[FTL] Could not write pidfile: open /nonexistent/x.pid: ")
    );
}

#[test]
fn traces_show_the_protocol() {
    let server = Process::start(&["-V"]);
    let mut peer = Peer::open(server.addr);
    let id = peer.stream.local_addr().unwrap();
    peer.say("CONNECT {\"verbose\":false,\"headers\":true,\"lang\":\"x\",\"version\":\"1\",\"name\":\"me\"}\r\n");
    peer.say("SUB foo  q  1\r\nPUB foo 5\r\nhello\r\nHPUB foo r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    peer.say("PUB  foo\t0\r\n\r\nUNSUB 1 5\r\nUNSUB 1\r\nPING\r\nOOPS\r\n");
    peer.expect_closed();
    server.wait_for("->> [-ERR Unknown Protocol Operation]");
    let traces: Vec<String> = texts(&server, "TRC")
        .iter()
        .map(|line| {
            let line = line.strip_prefix(&format!("{id} - cid:")).expect(line);
            line.split_once(" - ")
                .unwrap()
                .1
                .replace("\"v1:x:me\" - ", "")
        })
        .collect();
    let want = [
        "<<- [CONNECT {\"verbose\":false,\"headers\":true,\"lang\":\"x\",\"version\":\"1\",\"name\":\"me\"}]",
        "<<- [SUB foo  q  1]",
        "<<- [PUB foo 5]",
        "<<- MSG_PAYLOAD: [\"hello\"]",
        "->> [MSG foo 1 5]",
        "->> MSG_PAYLOAD: [\"hello\"]",
        "<<- [HPUB foo r 12 14]",
        "<<- MSG_PAYLOAD: [\"NATS/1.0\\r\\n\\r\\nhi\"]",
        "->> [HMSG foo 1 r 12 14]",
        "->> MSG_PAYLOAD: [\"NATS/1.0\\r\\n\\r\\nhi\"]",
        "<<- [PUB foo\t0]",
        "->> [MSG foo 1 0]",
        "<<- [UNSUB 1 5]",
        "<<- [UNSUB 1]",
        "<-> [DELSUB 1]",
        "<<- [PING]",
        "->> [PONG]",
        "->> [-ERR Unknown Protocol Operation]",
    ];
    assert_eq!(traces, want);
}

#[test]
fn traces_of_messages_can_be_cut() {
    let traced = |args: &[&str], config: &str| {
        let file = path(&format!("trace{}.conf", config.len()));
        fs::write(&file, config).unwrap();
        let server = Process::start(&[args, &["-c", file.to_str().unwrap()]].concat());
        let mut peer = Peer::connect(server.addr);
        peer.say("PUB a 10\r\n0123456789\r\nHPUB b 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        peer.sync();
        peer.say("PUB end 0\r\n\r\n");
        server.wait_for("<<- [PUB end 0]");
        fs::remove_file(file).unwrap();
        let payload = |line: &String| Some(line.split_once("MSG_PAYLOAD: ")?.1.to_owned());
        texts(&server, "TRC")
            .iter()
            .filter_map(payload)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        traced(&["-V", "--max_traced_msg_len", "4"], "debug: false"),
        ["[\"0123...\"]", "[\"NATS...\"]"]
    );
    assert_eq!(
        traced(&[], "trace_headers: true"),
        ["[\"NATS/1.0\\r\\nA: b\"]"]
    );
}

#[test]
fn the_log_goes_where_it_is_told() {
    let file = path("flag.log");
    let mut command = Command::new(server_binary());
    command.args(["-a", "127.0.0.1", "-p", "-1", "--log_format", "json", "-l"]);
    let mut child = command.arg(&file).spawn().unwrap();
    let read = || fs::read_to_string(&file).unwrap_or_default();
    eventually("the server logs to its file", || {
        read().contains("Server is ready")
    });
    for line in read().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["level"], &line["pid"]),
            (&"info".into(), &child.id().into())
        );
        assert!(
            line["msg"].is_string() && line["time"].is_string(),
            "{line}"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(file).unwrap();

    let syslog = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    syslog
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let url = format!("udp://{}", syslog.local_addr().unwrap());
    let mut command = Command::new(server_binary());
    let mut child = command
        .args(["-a", "127.0.0.1", "-p", "-1", "-r", &url])
        .spawn()
        .unwrap();
    let mut record = [0; 1500];
    let n = syslog.recv(&mut record).unwrap();
    let text = String::from_utf8_lossy(&record[..n]).into_owned();
    assert!(
        text.starts_with('<') && text.contains("Starting nats-server"),
        "{text}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn traces_hide_secrets() {
    let server = Process::start(&["-V"]);
    let mut peer = Peer::open(server.addr);
    peer.say(
        "CONNECT {\"user\":\"u\",\"pass\":\"s3cret\",\"auth_token\":\"s3cret\",\"nkey\":\"s3cret\",\
         \"sig\":\"s3cret\",\"jwt\":\"s3cret\",\"name\":\"shown\"}\r\nPING\r\n",
    );
    peer.expect("+OK\r\nPONG\r\n");
    let line = server.wait_for("<<- [CONNECT ");
    assert!(
        line.contains("\"pass\":\"[REDACTED]\"") && line.contains("shown"),
        "{line}"
    );
    server.wait_for("->> [PONG]");
    assert!(!server.log().iter().any(|line| line.contains("s3cret")));
}

#[test]
fn clients_get_their_output_before_the_end() {
    let mut server = Process::start(&[]);
    let mut sub = Peer::connect(server.addr);
    sub.say("SUB a 1\r\n");
    sub.sync();
    let mut publisher = Peer::connect(server.addr);
    publisher.say("PUB a 5\r\nhello\r\n".repeat(5000));
    publisher.sync();
    server.signal(libc::SIGTERM);
    sub.expect("MSG a 1 5\r\nhello\r\n".repeat(5000));
    sub.expect_eof();
    publisher.expect_eof();
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_port_is_free_again_after_the_end() {
    let mut server = Process::start(&[]);
    let mut peer = Peer::connect(server.addr);
    server.signal(libc::SIGTERM);
    server.wait(Duration::from_secs(5));
    peer.expect_eof();
    let mut command = Command::new(server_binary());
    command.args(["-a", "127.0.0.1", "-p", &server.addr.port().to_string()]);
    let again = Process::spawn(command);
    assert_eq!(again.addr, server.addr);
}

#[test]
fn it_listens_on_ipv6() {
    let mut command = Command::new(server_binary());
    command.args(["-a", "::1", "-p", "-1"]);
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("skipped: no IPv6 here");
    }
    let server = Process::spawn(command);
    assert!(server.addr.is_ipv6());
    assert!(
        Peer::raw(server.addr)
            .line()
            .contains("\"client_ip\":\"::1\"")
    );
}
