//! Slow, silent, hostile and too many peers: each is contained, and nobody else notices.

use crate::support::{End, Noise, Peer, Process, eventually, server_binary, start};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes in one message of a flood, and the message.
const BLOCK: usize = 32 << 10;

fn block(subject: &str) -> String {
    format!("PUB {subject} {BLOCK}\r\n{}\r\n", "x".repeat(BLOCK))
}

/// A subscriber that will not read what it asked for.
fn stalled(addr: SocketAddr, subject: &str) -> Peer {
    let mut peer = Peer::connect_narrow(addr);
    peer.say(format!("SUB {subject} 1\r\n"));
    peer.sync();
    peer
}

fn reader(addr: SocketAddr, subject: &str) -> Peer {
    let mut peer = Peer::connect(addr);
    peer.say(format!("SUB {subject} 1\r\n"));
    peer.sync();
    peer
}

/// How many whole messages of a flood the stalled peer got before it was closed.
fn received(peer: &mut Peer) -> usize {
    let (bytes, end) = peer.read_to_end(crate::support::PATIENCE);
    assert_ne!(end, End::Silent, "it is still open");
    bytes.len() / (BLOCK + 10)
}

#[test]
fn a_subscriber_that_never_reads_is_closed_and_others_get_everything() {
    for loops in [1, 2] {
        let server = start(|o| {
            o.loops = Some(loops);
            o.max_payload = BLOCK;
            o.max_pending = 256 << 10;
        });
        let mut slow = stalled(server.addr(), "flood");
        let mut quick = reader(server.addr(), "flood");
        let mut publisher = Peer::connect(server.addr());
        let message = block("flood");
        let count = (24 << 20) / BLOCK;
        for _ in 0..count {
            publisher.say(&message);
            assert_eq!(quick.message().1.len(), BLOCK);
        }
        publisher.sync();
        quick.sync();
        let got = received(&mut slow);
        assert!(got < count, "{got} of {count}");
    }
}

#[test]
fn a_flood_of_answers_that_nobody_reads_is_bounded() {
    let server = start(|o| o.max_pending = 256 << 10);
    let mut peer = Peer::connect_narrow(server.addr());
    let pings = "PING\r\n".repeat(10_000);
    eventually("the flooder is closed", || !peer.try_say(&pings));
    Peer::connect(server.addr()).sync();
}

#[test]
fn a_write_without_progress_has_a_deadline() {
    let server = start(|o| o.write_deadline = Duration::from_millis(300));
    let mut slow = stalled(server.addr(), "flood");
    let mut publisher = Peer::connect(server.addr());
    let begin = Instant::now();
    for _ in 0..(16 << 20) / BLOCK {
        publisher.say(block("flood"));
    }
    eventually("the stalled one is closed", || {
        publisher.finds_nobody("flood")
    });
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(received(&mut slow) < (16 << 20) / BLOCK);
}

#[test]
fn whoever_reads_slowly_but_steadily_stays() {
    let server = start(|o| o.write_deadline = Duration::from_millis(1500));
    let mut slow = stalled(server.addr(), "flood");
    let mut publisher = Peer::connect(server.addr());
    let count = (12 << 20) / BLOCK;
    let addr = server.addr();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..count {
                publisher.say(block("flood"));
            }
            publisher.sync();
        });
        let begin = Instant::now();
        for i in 0..count {
            slow.message();
            // Spread over clearly more than the deadline.
            let due = Duration::from_millis(2500) * u32::try_from(i).unwrap() / 384;
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    });
    slow.sync();
    Peer::connect(addr).sync();
}

/// Time to get `count` small messages through.
fn time_through(publisher: &mut Peer, reader: &mut Peer, count: usize) -> Duration {
    let begin = Instant::now();
    let batch = "PUB both 100\r\n".to_owned() + &"x".repeat(100) + "\r\n";
    for _ in 0..count / 100 {
        publisher.say(batch.repeat(100));
        for _ in 0..100 {
            reader.message();
        }
    }
    begin.elapsed()
}

#[test]
fn a_stalled_subscriber_slows_nobody() {
    let server = start(|_| {});
    let mut publisher = Peer::connect(server.addr());
    let mut quick = reader(server.addr(), "both");
    let mut best = |n| {
        (0..n)
            .map(|_| time_through(&mut publisher, &mut quick, 10_000))
            .min()
            .unwrap()
    };
    let alone = best(3);
    let mut other = Peer::connect(server.addr());
    let _slow = stalled(server.addr(), "both");
    // More than what the kernel takes off the server's hands.
    let pushed = 8 << 20;
    let _also_slow = stalled(server.addr(), "only");
    for _ in 0..pushed / BLOCK {
        other.say(block("only"));
    }
    let beside = best(3);
    assert!(
        beside < alone * 2 + Duration::from_millis(50),
        "{alone:?} alone, {beside:?} beside"
    );
}

#[test]
fn memory_for_all_is_bounded_and_the_largest_goes() {
    let limit = 24 << 20;
    let server = start(|o| {
        o.loops = Some(1);
        o.max_pending = limit;
        o.pending_total_max = Some(limit);
    });
    let mut publisher = Peer::connect(server.addr());
    let mut large = stalled(server.addr(), "large");
    let _others: Vec<Peer> = (0..6)
        .map(|i| stalled(server.addr(), &format!("other.{i}")))
        .collect();
    let mut sent = 0;
    while !publisher.finds_nobody("large") {
        for _ in 0..4 {
            for i in 0..6 {
                publisher.say(block(&format!("other.{i}")));
            }
            publisher.say(block("large").repeat(2));
            sent += 2 * BLOCK;
        }
        for i in 0..6 {
            assert!(
                !publisher.finds_nobody(&format!("other.{i}")),
                "a smaller one was closed"
            );
        }
        assert!(
            sent < limit,
            "the bound of one connection would have come first"
        );
    }
    large.expect_closed();
}

#[test]
fn thousands_connect_at_once() {
    const COUNT: usize = 2000;
    if nats_server::os::limits::raise_open_files().is_some_and(|n| n < 2 * COUNT as u64) {
        return eprintln!("skipped: too few open files are allowed here");
    }
    let server = Process::start(&[]);
    let mut peers: Vec<Peer> = (0..COUNT).map(|_| Peer::raw(server.addr)).collect();
    for peer in &mut peers {
        assert!(peer.line().starts_with("INFO {"));
        peer.say("SUB all 1\r\n");
    }
    for peer in &mut peers {
        peer.expect("+OK\r\n");
    }
    peers[0].say("PUB all 2\r\nhi\r\n");
    peers[0].expect("+OK\r\n");
    for peer in &mut peers {
        peer.expect("MSG all 1 2\r\nhi\r\n");
    }
}

#[test]
fn out_of_descriptors_it_waits_and_recovers() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", server_binary()]);
    command.args(["-p", "-1", "-a", "127.0.0.1"]);
    let server = Process::spawn(command);
    let mut known = reader(server.addr, "a");
    let mut crowd: Vec<Peer> = (0..100).map(|_| Peer::raw(server.addr)).collect();
    server.wait_for("Temporary Client Accept Error(");
    let (begin, before) = (Instant::now(), server.cpu_time());
    while begin.elapsed() < Duration::from_secs(1) {
        known.say("PUB a 1\r\n.\r\n");
        known.expect("MSG a 1 1\r\n.\r\n");
        assert!(
            !crowd[99].hears(Duration::from_millis(20)),
            "there is room?"
        );
    }
    let busy = server.cpu_time() - before;
    assert!(
        busy < Duration::from_millis(300),
        "{busy:?} of computing in a second of waiting"
    );
    let errors = server
        .log()
        .iter()
        .filter(|line| line.contains("[ERR]"))
        .count();
    assert!(errors < 5, "{errors} errors logged");
    crowd.drain(..70);
    for peer in &mut crowd {
        assert!(peer.line().starts_with("INFO {"));
        peer.sync();
    }
    known.sync();
}

#[test]
fn noise_harms_nobody() {
    let server = Process::start(&[]);
    let mut known = reader(server.addr, "a");
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let verbs = [
        "",
        "PUB ",
        "SUB ",
        "HPUB a 1 ",
        "UNSUB ",
        "CONNECT {",
        "PUB a 100\r\n",
        "+OK",
        "-ERR",
    ];
    for round in 0..200 {
        let mut peer = Peer::open(server.addr);
        if round % 2 == 0 {
            peer.try_say(crate::support::CONNECT);
        }
        for _ in 0..noise.next() % 20 {
            let verb = verbs[(noise.next() % verbs.len() as u64) as usize];
            let mut bytes = verb.as_bytes().to_vec();
            for _ in 0..noise.next() % 200 {
                let byte = noise.next();
                bytes.push(if byte & 0x700 == 0 {
                    b"\r\n \t.>*0"[(byte & 7) as usize]
                } else {
                    byte as u8
                });
            }
            if !peer.try_say(&bytes) {
                break;
            }
        }
        if round % 3 == 0 {
            peer.reset();
        }
    }
    known.take_heard();
    let (_, end) = known.read_to_end(Duration::from_millis(100));
    assert_eq!(end, End::Silent);
    known.sync();
    assert!(!server.log().iter().any(|line| line.contains("panicked")));
}

#[test]
fn a_reset_in_the_middle_of_a_write() {
    let server = start(|_| {});
    let mut publisher = Peer::connect(server.addr());
    let mut quick = reader(server.addr(), "flood");
    for _ in 0..10 {
        let slow = stalled(server.addr(), "flood");
        for _ in 0..64 {
            publisher.say(block("flood"));
        }
        slow.reset();
        for _ in 0..64 {
            quick.message();
        }
    }
    quick.sync();
    publisher.sync();
}

#[test]
fn half_a_command_can_wait() {
    let server = start(|_| {});
    let mut quick = reader(server.addr(), "a");
    let halves = [
        "PUB a 5\r\nhe",
        "PUB a",
        "P",
        "PUB a 5\r\nhello\r",
        "HPUB a 12 14\r\nNATS/1.0\r\n",
    ];
    let rests = [
        "llo\r\n",
        " 5\r\nhello\r\n",
        "UB a 5\r\nhello\r\n",
        "\n",
        "\r\nhi\r\n",
    ];
    let mut peers: Vec<Peer> = halves
        .iter()
        .map(|half| {
            let mut peer = Peer::connect(server.addr());
            peer.say(half);
            peer
        })
        .collect();
    quick.sync();
    for (peer, rest) in peers.iter_mut().zip(rests) {
        peer.say(rest);
        let (line, body) = quick.message();
        let want = if line.starts_with('H') {
            "NATS/1.0\r\n\r\nhi"
        } else {
            "hello"
        };
        assert_eq!(String::from_utf8(body).unwrap(), want);
        peer.sync();
    }
}

#[test]
fn strangers_hold_little_memory() {
    let server = Process::start(&[]);
    let mut known = Peer::connect(server.addr);
    let before = server.memory();
    let half = format!("PUB foo 1048576\r\n{}", "x".repeat(1_000_000));
    let mut strangers: Vec<Peer> = (0..60).map(|_| Peer::open(server.addr)).collect();
    let mut peak = 0;
    for stranger in &mut strangers {
        stranger.try_say(&half);
        known.sync();
        peak = peak.max(server.memory());
    }
    let grown = peak.saturating_sub(before) >> 20;
    assert!(grown < 32, "{grown} MiB for what strangers began to say");
    let mut open = 0;
    for stranger in &mut strangers {
        open += usize::from(stranger.peek_end(Duration::from_millis(1)) == (false, End::Silent));
    }
    assert!((5..30).contains(&open), "{open} of 60 are left");
    known.sync();
}

#[test]
fn known_clients_may_have_long_commands_under_way() {
    let server = start(|o| o.loops = Some(1));
    let half = format!("PUB foo 1048576\r\n{}", "x".repeat(1_000_000));
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::connect(server.addr())).collect();
    for peer in &mut peers {
        peer.say(&half);
    }
    for peer in &mut peers {
        peer.say("x".repeat(48_576) + "\r\n");
        peer.sync();
    }
}
