//! Files of streams that somebody damages: at most what was hit is lost, and it is told.

use crate::support::wire::Wire;
use crate::support::{Dir, Noise, Process, eventually};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MESSAGES: u64 = 2000;

fn start(dir: &Dir) -> Process {
    Process::start(&["-js", "-sd", &dir.path("store"), "-m", "-1"])
}

/// The segments below a directory.
fn segments(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            segments(&path, found);
        } else if path.extension().is_some_and(|e| e == "seg") {
            found.push(path);
        }
    }
    found.sort();
}

fn fill(wire: &mut Wire, stream: &str, many: u64, pad: usize) {
    let asked =
        format!("{{\"name\":\"{stream}\",\"subjects\":[\"{stream}\"],\"allow_direct\":true}}");
    wire.api(&format!("STREAM.CREATE.{stream}"), &asked);
    let pad = "x".repeat(pad);
    for chunk in (1..=many).collect::<Vec<_>>().chunks(500) {
        for n in chunk {
            wire.publish(stream, "in.p", &format!("message {n:06} {pad}"));
        }
        for n in chunk {
            assert_eq!(wire.next().unwrap().json()["seq"], *n);
        }
    }
}

fn state(wire: &mut Wire, stream: &str) -> Value {
    wire.api(&format!("STREAM.INFO.{stream}"), "")["state"].clone()
}

/// How many messages can be read; those that can be are as they were stored.
fn readable(wire: &mut Wire, stream: &str, many: u64) -> u64 {
    let mut count = 0;
    for n in 1..=many {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let got = wire.ask(&subject, &format!("{{\"seq\":{n}}}"));
        if got.payload.is_empty() {
            assert!(!got.headers.starts_with("NATS/1.0\r\n"), "{got:?}");
            continue;
        }
        let text = String::from_utf8(got.payload).unwrap();
        assert!(text.starts_with(&format!("message {n:06} ")), "{n}: {text}");
        count += 1;
    }
    count
}

/// One bit is enough to lose half a stream in the reference, and to use its sequences again.
#[test]
fn a_flipped_bit_costs_the_message_that_it_hit() {
    let mut noise = Noise(7);
    for round in 0..10 {
        let dir = Dir::new("js-flip");
        let mut server = start(&dir);
        let mut wire = Wire::connect(server.addr);
        fill(&mut wire, "S", MESSAGES - 1, 20);
        // What is stored alone tells of those before that they are on the disk for good: without that, the
        // last ones look like what a crash has torn.
        let last = format!("message {MESSAGES:06} ");
        assert_eq!(wire.ask("S", &last).json()["seq"], MESSAGES);
        drop(wire);
        server.signal(if round % 2 == 0 {
            libc::SIGTERM
        } else {
            libc::SIGKILL
        });
        server.wait(std::time::Duration::from_secs(10));
        let mut files = Vec::new();
        segments(Path::new(&dir.path("store")), &mut files);
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(&files[0])
            .unwrap();
        // Somewhere among the messages; what is behind the last one is of no use.
        let bytes = fs::read(&files[0]).unwrap();
        let before = format!("message {:06}", MESSAGES - 1);
        let end = memchr::memmem::rfind(&bytes, before.as_bytes()).unwrap() as u64;
        let at = 300 + noise.next() % (end - 300);
        let flipped = bytes[at as usize] ^ (1 << (noise.next() % 8));
        file.write_all_at(&[flipped], at).unwrap();
        drop(file);
        let server = start(&dir);
        let mut wire = Wire::connect(server.addr);
        let there = readable(&mut wire, "S", MESSAGES);
        let told = state(&mut wire, "S");
        assert!(there >= MESSAGES - 1, "bit {at}: {there} {told}");
        assert_eq!(told["last_seq"], MESSAGES, "{told}");
        assert_eq!(told["messages"], there, "{told}");
        if there < MESSAGES {
            assert_eq!(told["lost"]["msgs"].as_array().unwrap().len(), 1, "{told}");
            let is_told = |line: &String| line.contains("lost") && line.contains("damage");
            eventually("the log tells", || server.log().iter().any(is_told));
            let (status, health) = server.get("/healthz?details=1");
            assert_eq!(status, 200, "{health}");
            let warning = "JetStream stream '$G \\u003e S' has lost 1 messages to damage";
            assert!(health.contains(warning), "{health}");
            let (_, metrics) = server.get("/metrics");
            let metric = "nats_server_jetstream_lost_messages 1\n";
            assert!(metrics.contains(metric), "{metrics}");
            let metric = "nats_server_stream_lost_messages{account=\"$G\",stream=\"S\"} 1\n";
            assert!(metrics.contains(metric), "{metrics}");
        }
        // The next one has the next sequence.
        assert_eq!(wire.ask("S", "message more").json()["seq"], MESSAGES + 1);
    }
}

/// The file of a stream that is served is cut: the process lives, other streams go on, and the stream
/// comes back by itself with what is left.
#[test]
fn a_segment_that_is_cut_under_a_running_server() {
    let dir = Dir::new("js-cut");
    let server = start(&dir);
    let mut wire = Wire::connect(server.addr);
    // Some segments of 8 MiB.
    fill(&mut wire, "S", 6000, 4000);
    let mut files = Vec::new();
    segments(Path::new(&dir.path("store")), &mut files);
    assert!(files.len() > 2, "{files:?}");
    fill(&mut wire, "T", 100, 10);
    fs::File::options()
        .write(true)
        .open(&files[0])
        .unwrap()
        .set_len(0)
        .unwrap();
    let there = readable(&mut wire, "S", 6000);
    assert!((3000..6000).contains(&there), "{there}");
    assert_eq!(readable(&mut wire, "T", 100), 100);
    assert_eq!(wire.ask("S", "message more").json()["seq"], 6001);
    assert_eq!(wire.ask("T", "message more").json()["seq"], 101);
    let is_told = |line: &String| line.contains("cannot read messages");
    eventually("the log tells", || server.log().iter().any(is_told));
    // The last one, which is written to.
    fs::File::options()
        .write(true)
        .open(files.last().unwrap())
        .unwrap()
        .set_len(0)
        .unwrap();
    eventually("the stream takes messages again", || {
        wire.ask("S", "message more").json()["error"].is_null()
    });
    let told = state(&mut wire, "S");
    assert!(told["last_seq"].as_u64().unwrap() > 6001, "{told}");
    assert_eq!(readable(&mut wire, "T", 100), 100);
}

/// B19: bits that flip while the stream is served, in segments that are mapped and in the one that is
/// written to, cost the messages that they hit, once it is found out and after a start as well.
#[test]
fn bits_that_flip_under_a_running_server_cost_the_messages_that_they_hit() {
    const MANY: u64 = 3000;
    const FLIPS: u64 = 20;
    let dir = Dir::new("js-flip-live");
    let server = start(&dir);
    let mut wire = Wire::connect(server.addr);
    fill(&mut wire, "S", MANY, 4000);
    assert_eq!(readable(&mut wire, "S", MANY), MANY);
    let mut files = Vec::new();
    segments(Path::new(&dir.path("store")), &mut files);
    assert!(files.len() > 1, "{files:?}");
    let mut noise = Noise(19);
    for n in 0..FLIPS {
        let path = &files[(n % files.len() as u64) as usize];
        let bytes = fs::read(path).unwrap();
        let end = memchr::memmem::rfind(&bytes, b"message 00").unwrap() as u64;
        let at = 300 + noise.next() % (end - 300);
        let flipped = bytes[at as usize] ^ (1 << (noise.next() % 8));
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[flipped], at).unwrap();
        // Meanwhile messages come.
        let more = wire
            .ask("S", &format!("message {:06} ", MANY + n + 1))
            .json();
        assert_eq!(more["seq"], MANY + n + 1);
    }
    let last = MANY + FLIPS;
    let there = readable(&mut wire, "S", last);
    assert!(there >= last - FLIPS && there < last, "{there}");
    let told = |wire: &mut Wire| {
        let told = state(wire, "S");
        let lost = told["lost"]["msgs"].as_array().map_or(0, Vec::len);
        (told["last_seq"].as_u64().unwrap(), lost as u64)
    };
    eventually("it is told what is lost", || {
        told(&mut wire) == (last, last - there)
    });
    let is_told = |line: &String| line.contains("has lost messages") && line.contains("damage");
    eventually("the log tells", || server.log().iter().any(is_told));
    let (status, health) = server.get("/healthz?details=1");
    assert_eq!(status, 200, "{health}");
    assert!(health.contains("messages to damage"), "{health}");
    let mut server = server;
    server.signal(libc::SIGKILL);
    server.wait(std::time::Duration::from_secs(10));
    let server = start(&dir);
    let mut wire = Wire::connect(server.addr);
    assert_eq!(readable(&mut wire, "S", last), there);
    assert_eq!(told(&mut wire), (last, last - there));
    let next = wire.ask("S", "message more").json();
    assert_eq!(next["seq"], last + 1);
}
