//! What becomes of a cluster when its connections fail, and when strangers come.

use crate::monitor::json;
use crate::support::mesh::{Route, cluster, heard, mesh, node, reaches_at};
use crate::support::proxy::Proxy;
use crate::support::{Dir, Peer, Process, eventually, places, start};
use nats_server::options::cluster::ClusterOptions;
use nats_server::server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A server that notices within half a second that another is gone, and tells others to come by a
/// proxy.
fn watchful(routes: &[SocketAddr], change: impl FnOnce(&mut ClusterOptions)) -> Server {
    let mut own = ClusterOptions {
        ping_interval: Some(Duration::from_millis(100)),
        ping_max: Some(2),
        pool_size: 0,
        ..cluster(routes)
    };
    change(&mut own);
    start(|o| {
        o.cluster = Some(own);
        o.http_port = -1;
    })
}

/// Two servers with a proxy between them, who know each other.
fn pair() -> (Server, Server, Proxy) {
    let a = watchful(&[], |_| {});
    let proxy = Proxy::to(a.cluster_addr().unwrap());
    let b = watchful(&[proxy.addr], |_| {});
    mesh(&[&a, &b]);
    (a, b, proxy)
}

/// Interest as the servers see it: that each knows the subjects of the other, and none that is gone.
fn agree(a: &Server, b: &Server, subject: &str, gone: &str) {
    let mut ends = [a, b].map(|server| Peer::connect(server.addr()));
    let [mut at_a, mut at_b] = [a, b].map(|server| {
        let mut peer = Peer::connect(server.addr());
        peer.say(format!("SUB {subject}.{} 1\r\n", server.addr().port()));
        peer.sync();
        peer
    });
    let ports = [b.addr().port(), a.addr().port()];
    for (end, port) in ends.iter_mut().zip(ports) {
        heard(end, &format!("{subject}.{port}"));
        assert!(end.finds_nobody(gone));
    }
    for (end, port) in ends.iter_mut().zip(ports) {
        end.take_heard();
        end.say(format!("PUB {subject}.{port} 2\r\nok\r\n"));
    }
    for peer in [&mut at_a, &mut at_b] {
        while peer.message().1 != b"ok" {}
    }
}

/// How many routes a server has, as its monitoring says.
fn routes(server: &Server) -> usize {
    let document = json(server.monitor_addr().unwrap().addr, "/routez");
    document["num_routes"].as_u64().unwrap() as usize
}

#[test]
fn a_connection_that_is_cut_comes_back_within_seconds() {
    let (a, b, proxy) = pair();
    for i in 0..3 {
        let mut old = Peer::connect(b.addr());
        old.say(format!("SUB old.{i} 1\r\n"));
        old.sync();
        let mut watcher = Peer::connect(a.addr());
        heard(&mut watcher, &format!("old.{i}"));
        let since = Instant::now();
        proxy.cut();
        // It ends while they do not know of each other.
        drop(old);
        eventually("the connection is back", || proxy.accepted() == i + 2);
        agree(&a, &b, &format!("new{i}"), &format!("old.{i}"));
        assert!(since.elapsed() < Duration::from_secs(8), "{i}");
    }
    assert_eq!((routes(&a), routes(&b)), (1, 1));
}

#[test]
fn a_connection_that_is_cut_in_a_message_loses_nothing_else() {
    let (a, b, proxy) = pair();
    let mut subscriber = Peer::connect(b.addr());
    subscriber.say("SUB cut.> 1\r\n");
    subscriber.sync();
    let mut publisher = Peer::connect(a.addr());
    heard(&mut publisher, "cut.x");
    publisher.take_heard();
    subscriber.read_to_end(Duration::from_millis(50));
    // A hundred bytes of a message of a thousand get through, and with them half a line.
    for (size, passes) in [(1000, 100), (1000, 9), (0, 12)] {
        let before = proxy.accepted();
        proxy.cut_after(1, passes);
        let body = "x".repeat(size);
        publisher.say(format!("PUB cut.lost {size}\r\n{body}\r\n"));
        eventually("the connection is back", || proxy.accepted() == before + 1);
        heard(&mut publisher, "cut.x");
        publisher.say("PUB cut.whole 2\r\nok\r\n");
        loop {
            let (line, got) = subscriber.message();
            if got == b"ok" {
                break;
            }
            // Those that looked for somebody.
            assert!(line.starts_with("MSG cut.x"), "{line}");
        }
    }
}

#[test]
fn silence_is_noticed_whichever_side_it_comes_from() {
    let (a, b, proxy) = pair();
    for (i, sides) in [&[0, 1][..], &[0], &[1]].into_iter().enumerate() {
        let before = proxy.accepted();
        let since = Instant::now();
        proxy.stall(sides);
        eventually("a new connection", || proxy.accepted() > before);
        agree(&a, &b, &format!("after{i}"), "nothing");
        assert!(since.elapsed() < Duration::from_secs(8), "{sides:?}");
        eventually("one route", || routes(&a) == 1 && routes(&b) == 1);
    }
}

#[test]
fn three_servers_find_together_again_after_one_was_cut_off() {
    // Whoever wants to go to a server goes through its proxy.
    let entrance = |routes: &[SocketAddr]| {
        let [at] = places();
        let proxy = Proxy::to(at);
        let server = watchful(routes, |own| {
            own.port = i32::from(at.port());
            own.advertise = Some(proxy.addr.to_string());
            own.connect_retries = 5;
        });
        (server, proxy)
    };
    let (a, at_a) = entrance(&[]);
    let (b, at_b) = entrance(&[at_a.addr]);
    let (c, at_c) = entrance(&[at_a.addr]);
    mesh(&[&a, &b, &c]);
    at_c.delay(Duration::from_millis(5));
    for _ in 0..2 {
        let before = at_a.accepted();
        for proxy in [&at_a, &at_b, &at_c] {
            proxy.refuse(true);
            proxy.cut();
        }
        eventually("all are alone", || {
            [&a, &b, &c].into_iter().all(|server| routes(server) == 0)
        });
        for proxy in [&at_a, &at_b, &at_c] {
            proxy.refuse(false);
        }
        let since = Instant::now();
        mesh(&[&a, &b, &c]);
        assert!(since.elapsed() < Duration::from_secs(8));
        assert!(at_a.accepted() > before);
    }
    for server in [&a, &b, &c] {
        eventually("one route to each", || routes(server) == 2);
    }
}

#[test]
fn a_hundred_connections_that_come_and_go_leave_nothing_behind() {
    let server = start(|o| {
        o.cluster = Some(cluster(&[]));
        o.http_port = -1;
    });
    let at = server.cluster_addr().unwrap();
    let mut client = Peer::connect(server.addr());
    client.say("SUB here 1\r\n");
    client.sync();
    let interest: String = (0..500).map(|i| format!("RS+ $G flap.{i}\r\n")).collect();
    for i in 0..100 {
        let mut route = Route::at(at, "NFLAP");
        route.0.say(&interest);
        match i % 3 {
            // With a farewell, without one, and in the middle of a line.
            0 => route.sync(),
            1 => {
                route.0.say("RMSG $G he");
                route.0.reset();
                continue;
            }
            _ => route.0.say("RMSG $G here 100\r\nabc"),
        }
    }
    eventually("they are gone", || {
        routes(&server) == 0 && client.finds_nobody("flap.7")
    });
    let subs = json(server.monitor_addr().unwrap().addr, "/subsz")["num_subscriptions"].as_u64();
    let fresh = start(|o| {
        o.cluster = Some(cluster(&[]));
        o.http_port = -1;
    });
    let none = json(fresh.monitor_addr().unwrap().addr, "/subsz")["num_subscriptions"].as_u64();
    assert_eq!(subs.unwrap(), none.unwrap() + 1);
    // And it is one of a cluster as before.
    let other = node(&[&server]);
    mesh(&[&server, &other]);
}

#[test]
fn a_server_that_stops_reading_is_let_go() {
    let dir = Dir::new("cluster-slow");
    let path = dir.write(
        "server.conf",
        "max_pending: 4MB\ncluster {name: test, listen: \"127.0.0.1:-1\", write_deadline: \"2s\"}",
    );
    let server = Process::start(&["-c", &path]);
    let line = server.wait_for("Listening for route connections on ");
    let at: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let mut route = Route::at(at, "NSLOW");
    route.0.say("RS+ $G big\r\n");
    route.sync();
    let other = start(|o| o.cluster = Some(cluster(&[at])));
    assert!(reaches_at(server.addr, other.addr()));
    let mut subscriber = Peer::connect(other.addr());
    subscriber.say("SUB big 1\r\nSUB end 2\r\n");
    subscriber.sync();
    let before = server.memory();
    let mut publisher = Peer::connect(server.addr);
    heard(&mut publisher, "end");
    publisher.take_heard();
    let body = "x".repeat(100_000);
    // Far more than the sockets and the server may hold. The other server gets all of it, and is not to fall
    // behind itself, however busy the machine is.
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let reader = std::thread::spawn(move || {
        loop {
            let (line, body) = subscriber.message();
            match line.starts_with("MSG end") {
                true if body == b"end" => return,
                true => {}
                false => drop(counted.fetch_add(1, Ordering::Relaxed)),
            }
        }
    });
    let mut most = 0;
    for sent in 0..500 {
        eventually("the other server is close behind", || {
            sent < count.load(Ordering::Relaxed) + 20
        });
        publisher.say(format!("PUB big {}\r\n{body}\r\n", body.len()));
        most = most.max(server.memory());
    }
    publisher.say("PUB end 3\r\nend\r\n");
    publisher.sync();
    reader.join().unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 500);
    server.wait_for("Slow Consumer Detected");
    eventually("its interest is gone", || {
        server
            .log()
            .iter()
            .any(|line| line.contains("Router connection closed: Slow Consumer"))
    });
    assert!(most < before + (40 << 20), "{before} {most}");
}

#[test]
fn strangers_learn_nothing_and_do_no_harm() {
    let server = node(&[]);
    let at = server.cluster_addr().unwrap();
    // What a client of TLS says first, and noise.
    let hello: &[u8] = &[22, 3, 1, 0, 5, 1, 0, 0, 1, 3];
    let noise: Vec<u8> = (0..70_000u32).map(|n| ((n * 7919) >> 3) as u8).collect();
    let long = [b"RS+ $G ".as_slice(), &[b'a'; 70_000]].concat();
    for said in [
        hello,
        &noise,
        &long,
        b"\r\n\0\r\n",
        b"INFO {}\r\n",
        b"PING\r\nPONG\r\n\r\n*",
    ] {
        let mut peer = Peer::open(at);
        peer.try_say(said);
        let (heard, end) = peer.read_to_end(Duration::from_secs(10));
        assert_ne!(
            end,
            crate::support::End::Silent,
            "{:?}",
            &said[..said.len().min(10)]
        );
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(!heard.contains("RS+") && !heard.contains("MSG"), "{heard}");
    }
    let other = node(&[&server]);
    mesh(&[&server, &other]);
}

#[test]
fn of_two_servers_with_one_name_the_later_stays_out() {
    let dir = Dir::new("cluster-names");
    let start_one = |file: &str, name: &str, routes: &str| {
        let config = format!(
            "server_name: {name}\ncluster {{name: test, listen: \"127.0.0.1:-1\", routes: [{routes}]}}"
        );
        let server = Process::start(&["-c", &dir.write(file, &config)]);
        let line = server.wait_for("Listening for route connections on ");
        let url = format!("\"nats://{}\"", line.rsplit(' ').next().unwrap());
        (server, url)
    };
    let (first, at) = start_one("one.conf", "one", "");
    let (second, _) = start_one("two.conf", "two", &at);
    assert!(reaches_at(first.addr, second.addr));
    let (double, _) = start_one("three.conf", "one", &at);
    first.wait_for("Remote server has a duplicate name: \"one\"");
    first.wait_for("Router connection closed: Duplicate Server Name");
    let mut alone = Peer::connect(double.addr);
    alone.say("SUB double 1\r\n");
    alone.sync();
    assert!(Peer::connect(first.addr).finds_nobody("double"));
    assert!(reaches_at(second.addr, first.addr));
}

#[test]
fn messages_go_on_where_two_servers_have_connected_to_each_other() {
    for _ in 0..5 {
        let [at_a, at_b] = places();
        let start_at = |at: SocketAddr, other: SocketAddr| {
            start(|o| {
                o.cluster = Some(ClusterOptions {
                    port: i32::from(at.port()),
                    ..cluster(&[other])
                });
            })
        };
        let (a, b) = (start_at(at_a, at_b), start_at(at_b, at_a));
        let mut subscriber = Peer::connect(b.addr());
        subscriber.say("SUB flow 1\r\n");
        subscriber.sync();
        let mut publisher = Peer::connect(a.addr());
        heard(&mut publisher, "flow");
        publisher.take_heard();
        let since = Instant::now();
        let mut count = 0;
        // Longer than it takes to decide which of two connections stays.
        while since.elapsed() < Duration::from_millis(1200) {
            publisher.say(format!(
                "PUB flow {}\r\n{count}\r\n",
                count.to_string().len()
            ));
            publisher.sync();
            count += 1;
        }
        let mut next = 0;
        while next < count {
            let (_, body) = subscriber.message();
            // Those that looked for somebody are empty.
            if !body.is_empty() {
                assert_eq!(String::from_utf8_lossy(&body), next.to_string());
                next += 1;
            }
        }
    }
}
