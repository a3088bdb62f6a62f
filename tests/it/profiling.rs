//! Profiles of the running program, as those who ask for them over HTTP get them.

use crate::support::{Dir, PATIENCE, Peer, Process, Run, eventually, server_binary};
use std::fs;
use std::io::{Read, Write};
use std::iter;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;

/// The status of an answer, its head and its body.
fn get(addr: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let body = all.split_off(end + 4);
    let head = String::from_utf8(all).unwrap();
    (head[9..12].parse().unwrap(), head, body)
}

fn start(args: &[&str]) -> (Process, SocketAddr) {
    let process = Process::start(&[&["--profile", "-1"], args].concat());
    let line = process.wait_for("profiling port: ");
    let port = line.rsplit(' ').next().unwrap().parse().unwrap();
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A profile without its compression.
fn unpacked(dir: &Dir, profile: &[u8]) -> Vec<u8> {
    let path = dir.path("profile.gz");
    fs::write(&path, profile).unwrap();
    let unpacked = Command::new("gzip").args(["-dc", &path]).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    unpacked.stdout
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn a_profile_names_the_functions_that_work() {
    let dir = Dir::new("profile-cpu");
    let (process, addr) = start(&[]);
    let mut subscriber = Peer::connect(process.addr);
    subscriber.say("SUB a 1\r\nPING\r\n");
    subscriber.expect("PONG\r\n");
    // The other one may have come first.
    let watching = thread::spawn(move || {
        let mut tries = iter::repeat_with(|| get(addr, "/debug/pprof/profile?seconds=2"));
        tries.find(|(status, ..)| *status != 500).unwrap()
    });
    eventually("another one is refused", || {
        let (status, _, body) = get(addr, "/debug/pprof/profile?seconds=1");
        let text = b"Could not enable CPU profiling: cpu profiling already in use\n";
        status == 500 && body == text
    });
    // Something to see, all of which arrives.
    let mut publisher = Peer::connect(process.addr);
    let batch = "PUB a 5\r\nhello\r\n".repeat(2000);
    let heard = "MSG a 1 5\r\nhello\r\n".repeat(2000);
    while !watching.is_finished() {
        publisher.say(&batch);
        subscriber.expect(&heard);
    }
    let (status, head, body) = watching.join().unwrap();
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("Content-Disposition: attachment; filename=\"profile\""));
    let profile = unpacked(&dir, &body);
    for name in [
        "cpu",
        "nanoseconds",
        "clients-0",
        "nats_server::loops::client",
    ] {
        assert!(holds(&profile, name), "{name}");
    }
    // The next one may begin, and messages go on.
    let (status, ..) = get(addr, "/debug/pprof/profile?seconds=1");
    assert_eq!(status, 200);
    subscriber.sync();
}

#[test]
fn memory_is_shown_and_arguments_are_not() {
    let dir = Dir::new("profile-heap");
    let (_process, addr) = start(&["--user", "ada", "--pass", "s3cret-canary"]);
    let mut all = Vec::new();
    for name in ["heap", "allocs"] {
        let (status, head, body) = get(addr, &format!("/debug/pprof/{name}"));
        assert_eq!(status, 200, "{head}");
        let profile = unpacked(&dir, &body);
        for text in ["inuse_space", "bytes", "heap", "files and program"] {
            assert!(holds(&profile, text), "{name}: {text}");
        }
        all.extend(profile);
    }
    let (status, _, body) = get(addr, "/debug/pprof/cmdline");
    assert_eq!((status, &body[..]), (200, server_binary().as_bytes()));
    for path in ["/debug/pprof/", "/debug/pprof/symbol", "/debug/vars", "/"] {
        all.extend(get(addr, path).2);
    }
    assert!(!holds(&all, "s3cret"));
}

#[test]
fn profiles_have_a_port_of_their_own() {
    let dir = Dir::new("profile-ports");
    let (process, addr) = start(&["-m", "-1", "--ports_file_dir", &dir.path("")]);
    let line = process.wait_for("Starting http monitor on ");
    let monitor: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(get(monitor, "/debug/pprof/").0, 404);
    assert_eq!(get(addr, "/varz").0, 404);
    let (status, head, _) = get(addr, "/debug/pprof");
    assert!(
        status == 307 && head.contains("Location: /debug/pprof/\r\n"),
        "{head}"
    );
    assert_eq!(get(addr, "/debug/pprof/goroutine").2, b"Unknown profile\n");
    let name = format!("nats-server_{}.ports", process.id());
    let text = fs::read_to_string(dir.path(&name)).unwrap();
    assert!(
        text.contains(&format!("\"profile\":[\"http://{addr}\"]")),
        "{text}"
    );
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = Run::new(&["-a", "127.0.0.1", "-p", "-1", "--profile", &port]);
    assert_eq!(run.code, Some(1));
    let text = format!(
        "[FTL] error starting profiler: listen tcp 127.0.0.1:{port}: address already in use"
    );
    assert!(run.stderr.contains(&text), "{}", run.stderr);
}
