//! Configuration files, reload and lame duck mode.

use crate::support::{CONNECT, Dir, Peer, Process, Run, eventually, server_binary};
use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a server without other arguments says to a file.
fn refused(path: &str) -> String {
    let run = Run::new(&["-c", path]);
    assert_eq!((run.code, &*run.stdout), (Some(1), ""), "{}", run.stderr);
    run.stderr
}

/// A client to which the server may send INFO at any time.
fn attentive(server: &Process) -> Peer {
    let mut peer = Peer::open(server.addr);
    peer.say(CONNECT.replace("{\"verbose\"", "{\"protocol\":1,\"verbose\""));
    peer.say("PING\r\n");
    peer.expect("PONG\r\n");
    assert!(peer.line().starts_with("INFO {"));
    peer
}

#[test]
fn a_file_is_applied() {
    let dir = Dir::new("applied");
    dir.write("limits.conf", "max_payload: 1KB\nmax_subscriptions = 1\n");
    let path = dir.write(
        "main.conf",
        "listen: \"127.0.0.1:-1\" # any port\nserver_name = $NAME\nNAME: south\n\
         NAME: north\ninclude limits.conf\nserver_tags: [a, b]\n",
    );
    // A variable has to be known before it is used.
    assert!(refused(&path).contains("variable reference for 'NAME' on line 2 can not be found"));
    let path = dir.write(
        "main.conf",
        "listen: \"127.0.0.1:-1\" # any port\nNAME: south\nserver_name = $NAME\n\
         include limits.conf\nserver_tags: [a, b]\nclient_advertise: \"example.org:5\"\n",
    );
    let server = Process::start(&["-c", &path]);
    let config = server.wait_for("Using configuration file: ");
    assert!(
        config.contains(&path) && config.contains("(sha256:"),
        "{config}"
    );
    let mut peer = Peer::raw(server.addr);
    let info = peer.line();
    for part in [
        "\"server_name\":\"south\"",
        "\"host\":\"example.org\",\"port\":5,",
        "\"max_payload\":1024,",
    ] {
        assert!(info.contains(part), "{info}");
    }
    peer.say("SUB a 1\r\nSUB b 2\r\n");
    peer.expect("+OK\r\n-ERR 'maximum subscriptions exceeded'\r\n");
}

#[test]
fn the_verdict_on_a_file() {
    let dir = Dir::new("verdict");
    let path = dir.write("good.conf", "max_payload: 10mb\nmax_pending: 1mb\n");
    let run = Run::new(&["-t", "-c", &path]);
    assert_eq!((run.code, &*run.stdout), (Some(0), ""));
    let digest = "b1d186263b3341d6e83468f17543aca893349a12e945a9a538fb31b727b34fdd";
    let valid = format!("nats-server: configuration file {path} is valid (sha256:{digest})\n");
    assert!(run.stderr.ends_with(&valid), "{}", run.stderr);
    assert!(refused(&path).contains("max_payload (10485760) cannot be higher than max_pending"));
    let run = Run::new(&["-t", "-c", &dir.write("empty.conf", "# nothing\n")]);
    assert_eq!(run.code, Some(1));
    let run = Run::new(&["-t"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("must specify [-c, --config] option"));
}

#[test]
fn faults_are_shown_where_they_are() {
    let dir = Dir::new("faults");
    let path = dir.write(
        "bad.conf",
        "port: 4222\n  max_payloda: 5\ngateway {\n  nmae: x\n}\nmax_conn: many\n",
    );
    let want = format!(
        "nats-server: {path}:2:3: unknown field \"max_payloda\", did you mean \"max_payload\"?\n   \
         2 |   max_payloda: 5\n     |   ^\n\
         not supported yet: gateway at {path}:3:1\n   3 | gateway {{\n     | ^\n\
         {path}:4:3: unknown field \"nmae\", did you mean \"name\"?\n   4 |   nmae: x\n     |   ^\n\
         {path}:6:1: max_conn: expected a whole number, but got text\n   \
         6 | max_conn: many\n     | ^\n"
    );
    assert_eq!(refused(&path), want);
    for (text, part) in [
        ("a: {", ":1:"),
        ("include missing.conf", "no such file or directory"),
        ("include loop.conf", "loop.conf"),
        (
            "port: $PORT_OF_NOTHING",
            "'PORT_OF_NOTHING' on line 1 can not be found",
        ),
        (
            "port: 65536",
            "port: 65536 is out of range, it must be between -1 and 65535",
        ),
        (
            "lame_duck_duration: \"5s\"",
            "invalid lame_duck_duration of 5s, minimum is 30 seconds",
        ),
        (
            "write_deadline: \"5 s\"",
            "error parsing write_deadline: unknown unit",
        ),
        ("server_name: \"a b\"", "server name cannot contain spaces"),
        ("max_sub_tokens: 256", "must be between 1 and 255"),
    ] {
        let error = refused(&dir.write("loop.conf", text));
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = "a:[".repeat(1_000_000);
    assert!(refused(&dir.write("deep.conf", &deep)).contains("deep.conf:1:"));
    fs::write(dir.path("latin.conf"), b"host: \"caf\xe9\"\n").unwrap();
    assert!(refused(&dir.path("latin.conf")).contains(":1:11: "));
    assert!(refused(&dir.path("")).contains("is a directory"));
}

#[test]
fn a_reload_changes_what_can_change() {
    let dir = Dir::new("reload");
    let path = dir.write("a.conf", "max_payload: 100\n");
    let server = Process::start(&["-c", &path, "--loops", "1"]);
    let (mut peer, mut plain) = (attentive(&server), Peer::connect(server.addr));
    dir.write(
        "a.conf",
        "max_payload: 200, max_connections: 2, debug: true, ping_interval: 1\n",
    );
    server.signal(libc::SIGHUP);
    server.wait_for("Reloaded server configuration (sha256:");
    for line in [
        "max_payload = 200",
        "max_connections = 2",
        "debug = true",
        "ping_interval = 1s",
    ] {
        server.wait_for(&format!("[INF] Reloaded: {line}"));
    }
    server.wait_for("[WRN] ");
    let info = peer.line();
    assert!(info.contains("\"max_payload\":200,"), "{info}");
    // Pings come at the new times.
    assert!(peer.hears(Duration::from_secs(10)));
    assert!(peer.take_heard().starts_with(b"PING\r\n"));
    peer.say("PONG\r\n");
    plain.say(format!("SUB a 1\r\nPUB a 150\r\n{}\r\n", "x".repeat(150)));
    assert_eq!(plain.line(), "MSG a 1 150");
    let mut third = Peer::raw(server.addr);
    assert!(third.line().starts_with("INFO {"));
    assert_eq!(third.line(), "-ERR 'maximum connections exceeded'");
}

#[test]
fn a_reload_that_cannot_be_done_changes_nothing() {
    let dir = Dir::new("refused");
    let path = dir.write("a.conf", "max_payload: 100\n");
    let server = Process::start(&["-c", &path]);
    let failed = "[ERR] Failed to reload server configuration: ";
    for (text, reason) in [
        (
            "max_payload: 200, max_pending: 1000",
            "config reload not supported for MaxPending: old=67108864, new=1000",
        ),
        (
            "max_payload: 200, max_payloda: 3",
            "unknown field \"max_payloda\"",
        ),
        (
            "max_payload: 200, server_name: x",
            "not supported for ServerName",
        ),
        ("max_payload: 100mb", "cannot be higher than max_pending"),
        (
            "max_payload: 200, pid_file: /nonexistent/x",
            "Could not write pidfile",
        ),
        (
            "max_payload: 200, ports_file_dir: /nonexistent",
            "Error writing ports file",
        ),
        (
            "max_payload: 200, log_file: /nonexistent/x",
            "no such file or directory",
        ),
    ] {
        dir.write("a.conf", text);
        let before = server.log().len();
        server.signal(libc::SIGHUP);
        eventually(text, || {
            let log = server.log();
            let at = log
                .iter()
                .skip(before)
                .position(|line| line.contains(failed));
            at.is_some_and(|at| log[before + at..].join("\n").contains(reason))
        });
        let info = Peer::raw(server.addr).line();
        assert!(info.contains("\"max_payload\":100,"), "{text}: {info}");
    }
    fs::remove_file(&path).unwrap();
    server.signal(libc::SIGHUP);
    server.wait_for(&format!("{failed}open {path}: no such file or directory"));

    let server = Process::start(&[]);
    server.signal(libc::SIGHUP);
    server.wait_for("can only reload config when a file is provided using -c or --config");
}

#[test]
fn files_follow_a_reload() {
    let dir = Dir::new("files");
    let (one, two) = (dir.path("1.pid"), dir.path("2.pid"));
    let path = dir.write("a.conf", &format!("pid_file: '{one}'"));
    let mut server = Process::start(&["-c", &path, "-D"]);
    let log = dir.path("log");
    let ports = dir.path("ports");
    fs::create_dir(&ports).unwrap();
    let text = format!("pid_file: '{two}', ports_file_dir: '{ports}', log_file: '{log}'");
    dir.write("a.conf", &text);
    server.signal(libc::SIGHUP);
    eventually("the log goes on in the file", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("Reloaded server configuration"))
    });
    assert_eq!(fs::read_to_string(&two).unwrap(), server.id().to_string());
    assert!(!fs::exists(&one).unwrap());
    assert_eq!(fs::read_dir(&ports).unwrap().count(), 1);
    // The same files by other names are the same files.
    let base = dir.path("");
    let text = format!(
        "pid_file: '{base}/ports/../2.pid', ports_file_dir: '{base}//ports', log_file: '{log}'"
    );
    dir.write("a.conf", &text);
    server.signal(libc::SIGHUP);
    eventually("the second reload is done", || {
        let log = fs::read_to_string(&log).unwrap();
        log.matches("Reloaded server configuration").count() == 2
    });
    assert!(fs::exists(&two).unwrap());
    assert_eq!(fs::read_dir(&ports).unwrap().count(), 1);
    // A flag stays what it was typed as.
    Peer::connect(server.addr).sync();
    eventually("a debug line is in the file", || {
        fs::read_to_string(&log).unwrap().contains("[DBG]")
    });

    fs::rename(&log, dir.path("log.1")).unwrap();
    server.signal(libc::SIGUSR1);
    eventually("the log is opened anew", || fs::exists(&log).unwrap());
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .contains("Server Exiting..")
    );
    assert!(!fs::exists(&two).unwrap());
    assert_eq!(fs::read_dir(&ports).unwrap().count(), 0);
}

#[test]
fn fewer_connections_than_there_are_close_some() {
    for loops in ["1", "2"] {
        let dir = Dir::new(&format!("fewer{loops}"));
        let path = dir.write("a.conf", "max_connections: 20\n");
        let server = Process::start(&["-c", &path, "--loops", loops]);
        let mut peers = (0..20)
            .map(|_| Peer::connect(server.addr))
            .collect::<Vec<_>>();
        dir.write("a.conf", "max_connections: 8\n");
        server.signal(libc::SIGHUP);
        server.wait_for("Closed 12 connections to fall within max_connections");
        eventually("all of them are closed", || {
            let lines = server.log();
            let closed = lines
                .iter()
                .filter(|line| line.ends_with(" - maximum connections exceeded"));
            closed.count() == 12
        });
        let closed = "-ERR 'maximum connections exceeded'";
        let answers = peers.iter_mut().map(|peer| {
            let _ = peer.try_say("PING\r\n");
            peer.line()
        });
        let answers = answers.collect::<Vec<_>>();
        assert_eq!(
            answers.iter().filter(|line| *line == closed).count(),
            12,
            "{answers:?}"
        );
        assert_eq!(answers.iter().filter(|line| *line == "PONG").count(), 8);
    }
}

#[test]
fn a_lame_duck_lets_its_clients_go() {
    let dir = Dir::new("duck");
    let path = dir.write(
        "a.conf",
        "lame_duck_duration: '30s', lame_duck_grace_period: '300ms'\n",
    );
    let mut server = Process::start(&["-c", &path, "--loops", "2"]);
    let mut peers = (0..4).map(|_| attentive(&server)).collect::<Vec<_>>();
    let begin = Instant::now();
    server.signal(libc::SIGUSR2);
    for peer in &mut peers {
        let info = peer.line();
        assert!(info.contains(",\"ldm\":true"), "{info}");
    }
    assert!(
        TcpStream::connect(server.addr).is_err(),
        "a lame duck accepts nobody"
    );
    // It ignores SIGTERM, and whoever stays can work on until it is sent away.
    server.signal(libc::SIGTERM);
    for peer in &mut peers {
        // A PONG that comes too late makes that a reset.
        peer.expect_closed();
    }
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.wait(Duration::from_secs(10)).code(), Some(0));
    let log = server.log().join("\n");
    for line in [
        "Entering lame duck mode, stop accepting new clients",
        "Closing existing clients",
    ] {
        assert!(log.contains(line), "{log}");
    }
}

#[test]
fn a_lame_duck_without_clients_ends_at_once() {
    let mut server = Process::start(&[]);
    server.signal(libc::SIGUSR2);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn the_samples_are_valid() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");
    let entries = fs::read_dir(samples).unwrap();
    let mut paths = entries.map(|e| e.unwrap().path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension().is_some_and(|e| e == "conf"));
    assert!(paths.len() > 5, "{paths:?}");
    // Those that packages and images begin with.
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
    paths.extend(["", "container/"].map(|dir| format!("{packaging}/{dir}nats-server.conf").into()));
    // The files that samples name.
    let dir = Dir::new("samples");
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for name in ["server-cert.pem", "ca.pem"] {
        dir.write(name, &signed.cert.pem());
    }
    dir.write("server-key.pem", &signed.signing_key.serialize_pem());
    for path in paths {
        let mut command = Command::new(server_binary());
        let run = Run::of(
            command
                .args(["-t", "-c"])
                .arg(&path)
                .current_dir(dir.path("")),
        );
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        // Nothing is told but the verdict: values do not contradict each other either.
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}
