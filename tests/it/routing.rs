//! Who gets a message: wildcards, queue groups, and clients that belong to different loops.

use crate::support::{Peer, start};
use nats_server::server::Server;
use std::net::SocketAddr;

/// A server of two loops. Connections go to the loop that has fewer, so of two opened one after
/// the other each loop gets one.
fn two_loops() -> Server {
    start(|o| o.loops = Some(2))
}

fn subscriber(addr: SocketAddr, script: &str) -> Peer {
    let mut peer = Peer::connect(addr);
    peer.say(script);
    peer.sync();
    peer
}

/// Reads messages until the one whose body is `last`; gives subjects and sids, without that one.
fn read_until(peer: &mut Peer, last: &str) -> Vec<(String, String)> {
    let mut got = Vec::new();
    loop {
        let (line, body) = peer.message();
        if body == last.as_bytes() {
            return got;
        }
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        got.push((words.next().unwrap(), words.next().unwrap()));
    }
}

/// Publishes `count` messages, then to `end`, by which subscribers know that they have seen all.
fn publish(addr: SocketAddr, subject: &str, count: usize) {
    let mut peer = Peer::connect(addr);
    peer.say(format!("PUB {subject} 1\r\n.\r\n").repeat(count));
    peer.say("PUB end 3\r\nend\r\n");
    peer.sync();
}

#[test]
fn wildcards_match_token_by_token() {
    let server = start(|_| {});
    let patterns = [
        "a.b.c", "a.*.c", "a.b.*", "*.*.*", "a.>", ">", "a.b.>", "a.b.c.>", "a.b", "*", "a.*",
    ];
    let mut script = String::new();
    for (sid, pattern) in patterns.iter().enumerate() {
        script += &format!("SUB {pattern} {sid}\r\n");
    }
    let mut peer = subscriber(server.addr(), &(script + "SUB end end\r\n"));
    for (subject, matching) in [
        (
            "a.b.c",
            vec!["a.b.c", "a.*.c", "a.b.*", "*.*.*", "a.>", ">", "a.b.>"],
        ),
        ("a.x.c", vec!["a.*.c", "*.*.*", "a.>", ">"]),
        ("a.b", vec!["a.>", ">", "a.b", "a.*"]),
        ("a", vec![">", "*"]),
        ("a.b.c.d", vec!["a.>", ">", "a.b.>", "a.b.c.>"]),
        ("ab.c", vec![">"]),
        ("A.B.C", vec!["*.*.*", ">"]),
    ] {
        peer.say(format!("PUB {subject} 0\r\n\r\nPING\r\n"));
        let mut got = Vec::new();
        loop {
            let line = peer.line();
            match line.split(' ').nth(2) {
                _ if line == "PONG" => break,
                Some(sid) => got.push(patterns[sid.parse::<usize>().unwrap()]),
                None => assert_eq!(line, ""),
            }
        }
        let mut want = matching;
        got.sort_unstable();
        want.sort_unstable();
        assert_eq!(got, want, "{subject}");
    }
}

#[test]
fn a_client_gets_a_copy_for_each_subscription() {
    let server = start(|_| {});
    let mut peer = subscriber(
        server.addr(),
        "SUB a 1\r\nSUB a 2\r\nSUB * 3\r\nSUB end 9\r\n",
    );
    publish(server.addr(), "a", 10);
    let got = read_until(&mut peer, "end");
    for sid in ["1", "2", "3"] {
        assert_eq!(got.iter().filter(|(_, s)| s == sid).count(), 10);
    }
}

/// Checks that the members of a queue group share `n` messages, none getting too few.
fn shares_fairly(server: &Server, members: usize, n: usize) {
    let script = "SUB jobs.* workers 1\r\nSUB end 9\r\n";
    let mut peers: Vec<Peer> = (0..members)
        .map(|_| subscriber(server.addr(), script))
        .collect();
    publish(server.addr(), "jobs.x", n);
    let counts: Vec<usize> = peers
        .iter_mut()
        .map(|p| read_until(p, "end").len())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), n, "{counts:?}");
    assert!(counts.iter().all(|c| *c > n / members / 2), "{counts:?}");
}

#[test]
fn a_queue_group_gets_each_message_once() {
    shares_fairly(&start(|_| {}), 5, 5000);
    shares_fairly(&two_loops(), 5, 5000);
}

#[test]
fn groups_and_plain_subscriptions_do_not_share() {
    for server in [start(|_| {}), two_loops()] {
        let plain = |_| subscriber(server.addr(), "SUB a 1\r\nSUB end 9\r\n");
        let mut plains: Vec<Peer> = (0..3).map(plain).collect();
        let member = |i: usize| {
            let group = if i < 2 { "blue" } else { "red" };
            subscriber(server.addr(), &format!("SUB a {group} 1\r\nSUB end 9\r\n"))
        };
        let mut members: Vec<Peer> = (0..4).map(member).collect();
        publish(server.addr(), "a", 1000);
        for plain in &mut plains {
            assert_eq!(read_until(plain, "end").len(), 1000);
        }
        let counts: Vec<usize> = members
            .iter_mut()
            .map(|m| read_until(m, "end").len())
            .collect();
        assert_eq!(
            (counts[0] + counts[1], counts[2] + counts[3]),
            (1000, 1000),
            "{counts:?}"
        );
    }
}

#[test]
fn a_group_is_one_over_all_subjects_that_match() {
    for server in [start(|_| {}), two_loops()] {
        let subjects = ["a.b", "a.*", "a.>", ">"];
        let mut members: Vec<Peer> = subjects
            .iter()
            .map(|s| subscriber(server.addr(), &format!("SUB {s} group 1\r\nSUB end 9\r\n")))
            .collect();
        let mut publisher = Peer::connect(server.addr());
        publisher.say("PUB a.b 1\r\n.\r\n".repeat(1000));
        publisher.sync();
        // `end` itself matches one member's `>` as well.
        publisher.say("PUB end 3\r\nend\r\n");
        publisher.sync();
        let counts: Vec<usize> = members
            .iter_mut()
            .map(|m| read_until(m, "end").len())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 1000, "{counts:?}");
        assert!(counts.iter().all(|c| *c > 100), "{counts:?}");
    }
}

#[test]
fn a_group_goes_on_without_members_that_left() {
    let server = two_loops();
    let script = "SUB a group 1\r\nSUB end 9\r\n";
    let mut members: Vec<Peer> = (0..4).map(|_| subscriber(server.addr(), script)).collect();
    members[1].say("UNSUB 1\r\n");
    members[1].sync();
    members.remove(0).reset();
    // Until the server has noticed, messages to a closed connection are lost, as in every server
    // without acknowledgements.
    let mut publisher = Peer::connect(server.addr());
    crate::support::eventually("the closed member is forgotten", || {
        publisher.say("PUB a 1\r\n.\r\n".repeat(60));
        publisher.say("PUB end 3\r\nend\r\n");
        let counts: Vec<usize> = members
            .iter_mut()
            .map(|m| read_until(m, "end").len())
            .collect();
        assert_eq!(counts[0], 0, "it has left the group");
        counts[1] + counts[2] == 60
    });
}

#[test]
fn each_publishers_order_is_kept_across_loops() {
    let server = two_loops();
    const COUNT: usize = 4000;
    const PUBLISHERS: usize = 4;
    let mut subs: Vec<Peer> = (0..4)
        .map(|_| subscriber(server.addr(), "SUB n.* 1\r\n"))
        .collect();
    std::thread::scope(|scope| {
        for p in 0..PUBLISHERS {
            let mut peer = Peer::connect(server.addr());
            scope.spawn(move || {
                let pad = "x".repeat(p * 700);
                for i in 0..COUNT {
                    let body = format!("{i} {pad}");
                    peer.say(format!("PUB n.{p} {}\r\n{body}\r\n", body.len()));
                }
                peer.sync();
            });
        }
        for sub in &mut subs {
            scope.spawn(move || {
                let mut next = [0; PUBLISHERS];
                for _ in 0..COUNT * PUBLISHERS {
                    let (line, body) = sub.message();
                    let p: usize = line[6..7].parse().unwrap();
                    let text = String::from_utf8(body).unwrap();
                    assert_eq!(
                        text.split(' ').next().unwrap(),
                        next[p].to_string(),
                        "{line}"
                    );
                    next[p] += 1;
                }
            });
        }
    });
}

#[test]
fn a_confirmed_subscription_is_seen_by_every_publisher() {
    let server = two_loops();
    let mut sub = Peer::connect(server.addr());
    let mut publishers: Vec<Peer> = (0..3).map(|_| Peer::connect(server.addr())).collect();
    // The subject is known and cached before, with nobody there.
    for i in 0..3000 {
        let publisher = &mut publishers[i % 3];
        let subject = i % 7;
        publisher.say(format!("PUB s.{subject} 4\r\nlost\r\n"));
        publisher.sync();
        sub.say(format!("SUB s.{subject} {i}\r\n"));
        sub.sync();
        publisher.say(format!("PUB s.{subject} 1\r\n.\r\n"));
        sub.expect(format!("MSG s.{subject} {i} 1\r\n.\r\n"));
        sub.say(format!("UNSUB {i}\r\n"));
        sub.sync();
    }
}

#[test]
fn a_confirmed_unsubscription_holds_for_every_publisher() {
    let server = two_loops();
    let mut sub = Peer::connect(server.addr());
    let mut publishers: Vec<Peer> = (0..2).map(|_| Peer::connect(server.addr())).collect();
    for i in 0..1000 {
        sub.say("SUB s 1\r\nSUB t 2\r\n");
        sub.sync();
        publishers[i % 2].say("PUB s 1\r\n.\r\n");
        sub.expect("MSG s 1 1\r\n.\r\n");
        sub.say("UNSUB 1\r\n");
        sub.sync();
        publishers[i % 2].say("PUB s 1\r\n.\r\nPUB t 1\r\n.\r\n");
        sub.expect("MSG t 2 1\r\n.\r\n");
        sub.say("UNSUB 2\r\n");
        sub.sync();
    }
}

#[test]
fn auto_unsubscribe_is_exact_across_loops() {
    let server = two_loops();
    let mut subs: Vec<Peer> = (0..2)
        .map(|_| subscriber(server.addr(), "SUB a 1\r\nUNSUB 1 1000\r\nSUB end 9\r\n"))
        .collect();
    let addr = server.addr();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                let mut peer = Peer::connect(addr);
                peer.say("PUB a 1\r\n.\r\n".repeat(700));
                peer.sync();
            });
        }
    });
    for sub in &mut subs {
        sub.expect("MSG a 1 1\r\n.\r\n".repeat(1000));
        sub.sync();
    }
    let mut probe = Peer::connect(addr);
    assert!(probe.finds_nobody("a"));
    probe.say("PUB end 0\r\n\r\n");
    for sub in &mut subs {
        sub.expect("MSG end 9 0\r\n\r\n");
    }
}

#[test]
fn queue_members_with_a_limit_get_no_more_than_that() {
    let server = two_loops();
    let script = "SUB a group 1\r\nUNSUB 1 10\r\nSUB end 9\r\n";
    let mut limited: Vec<Peer> = (0..2).map(|_| subscriber(server.addr(), script)).collect();
    let mut steady = subscriber(server.addr(), "SUB a group 1\r\nSUB end 9\r\n");
    let mut publisher = Peer::connect(server.addr());
    for _ in 0..200 {
        publisher.say("PUB a 1\r\n.\r\n");
        publisher.sync();
    }
    publisher.say("PUB end 3\r\nend\r\n");
    publisher.sync();
    let counts: Vec<usize> = limited
        .iter_mut()
        .map(|p| read_until(p, "end").len())
        .collect();
    let rest = read_until(&mut steady, "end").len();
    assert!(counts.iter().all(|n| *n <= 10), "{counts:?}");
    assert_eq!(
        counts.iter().sum::<usize>() + rest,
        200,
        "{counts:?} {rest}"
    );
}

#[test]
fn requests_find_responders_on_the_other_loop() {
    let server = two_loops();
    let responders: Vec<Peer> = (0..2)
        .map(|_| subscriber(server.addr(), "SUB svc workers 1\r\n"))
        .collect();
    let mut asker = subscriber(server.addr(), "SUB inbox.* 5\r\n");
    let addr = server.addr();
    std::thread::scope(|scope| {
        for mut responder in responders {
            scope.spawn(move || {
                loop {
                    let (line, body) = responder.message();
                    if body == b"stop" {
                        return;
                    }
                    let reply = line.split(' ').nth(3).unwrap();
                    responder.say(format!("PUB {reply} 2\r\nok\r\n"));
                }
            });
        }
        for i in 0..500 {
            asker.say(format!("PUB svc inbox.{i} 1\r\n?\r\n"));
            asker.expect(format!("MSG inbox.{i} 5 2\r\nok\r\n"));
        }
        // Each member that gets this leaves the group, so both do in the end.
        crate::support::eventually("both stopped", || {
            asker.say("PUB svc 4\r\nstop\r\n");
            Peer::connect(addr).finds_nobody("svc")
        });
    });
}
