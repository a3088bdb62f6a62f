//! Servers that form a cluster: messages and interest between them, and what they say to each other.

use crate::support::mesh::{Route, cluster, drain, heard, mesh, node, reference, server_id};
use crate::support::tls::Authority;
use crate::support::{Dir, Peer, Process, eventually, start};
use nats_server::options::cluster::ClusterOptions;
use nats_server::options::security::{Permissions, Rules};
use nats_server::options::tls::{CertificateFiles, TlsOptions};
use nats_server::server::Server;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

#[test]
fn servers_that_know_one_of_them_find_each_other() {
    let seed = node(&[]);
    let (b, c) = (node(&[&seed]), node(&[&seed]));
    mesh(&[&seed, &b, &c]);
    let mut subscribers: Vec<Peer> = [&seed, &b, &c]
        .iter()
        .map(|server| {
            let mut peer = Peer::connect(server.addr());
            peer.say("SUB all.* 1\r\nSUB all.> 2\r\nSUB end 3\r\n");
            peer.sync();
            peer
        })
        .collect();
    let mut publisher = Peer::connect(b.addr());
    // Those of the other two servers may not be known yet.
    eventually("both listen", || {
        publisher.say("PUB end 1\r\n.\r\n");
        publisher.sync();
        subscribers
            .iter_mut()
            .all(|s| s.hears(Duration::from_millis(20)))
    });
    publisher.say("PUB all.x re.ply 5\r\nhello\r\nHPUB all.y 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    publisher.say("PUB all.end 3\r\nend\r\n");
    for subscriber in &mut subscribers {
        let mut got = Vec::new();
        while got
            .iter()
            .filter(|(line, _): &&(String, Vec<u8>)| line.contains("all.end"))
            .count()
            < 2
        {
            let (line, body) = subscriber.message();
            if !line.starts_with("MSG end") {
                got.push((line, body));
            }
        }
        got.sort();
        let lines: Vec<&str> = got.iter().map(|(line, _)| &**line).collect();
        // Each subscription once, whatever the server.
        assert_eq!(
            lines,
            [
                "HMSG all.y 1 12 14",
                "HMSG all.y 2 12 14",
                "MSG all.end 1 3",
                "MSG all.end 2 3",
                "MSG all.x 1 re.ply 5",
                "MSG all.x 2 re.ply 5",
            ]
        );
        assert_eq!(got[0].1, b"NATS/1.0\r\n\r\nhi");
    }
}

#[test]
fn large_messages_and_many_of_them_arrive_in_order() {
    let a = node(&[]);
    let b = node(&[&a]);
    mesh(&[&a, &b]);
    let mut subscriber = Peer::connect(b.addr());
    subscriber.say("SUB big.* 1\r\n");
    subscriber.sync();
    let mut publisher = Peer::connect(a.addr());
    heard(&mut publisher, "big.x");
    let count = 2000;
    let mut script = Vec::new();
    for i in 0..count {
        let size = [3, 5000, 70_000][i % 3 * usize::from(i % 50 == 0)];
        let mut body = format!("{i} ").into_bytes();
        body.resize(size.max(body.len()), b'x');
        script.extend_from_slice(format!("PUB big.{} {}\r\n", i % 7, body.len()).as_bytes());
        script.extend_from_slice(&body);
        script.extend_from_slice(b"\r\n");
    }
    let (first, rest) = script.split_at(script.len() / 2);
    publisher.say(first);
    publisher.say(rest);
    // What looked for somebody was published as well.
    for i in 0..count {
        let (_, body) = loop {
            let (line, body) = subscriber.message();
            if !body.is_empty() {
                break (line, body);
            }
        };
        let text = String::from_utf8_lossy(&body[..body.len().min(8)]).into_owned();
        assert_eq!(text.split(' ').next().unwrap(), i.to_string());
    }
}

#[test]
fn one_member_of_a_queue_group_gets_a_message_and_one_nearby_before_others() {
    let a = node(&[]);
    let (b, c) = (node(&[&a]), node(&[&a]));
    mesh(&[&a, &b, &c]);
    let member = |server: &Server, count: usize| {
        let mut peer = Peer::connect(server.addr());
        for sid in 0..count {
            peer.say(format!("SUB work group {sid}\r\n"));
        }
        peer.say("SUB end 99\r\n");
        peer.sync();
        peer
    };
    let (mut at_b, mut at_c) = (member(&b, 1), member(&c, 3));
    let mut publisher = Peer::connect(a.addr());
    let counts = |publisher: &mut Peer, peers: &mut [&mut Peer]| -> Vec<usize> {
        publisher.say("PUB work 1\r\n.\r\n".repeat(400));
        publisher.say("PUB end 3\r\nend\r\n");
        let count = |peer: &mut &mut Peer| {
            let mut count = 0;
            loop {
                let (line, body) = peer.message();
                match line.starts_with("MSG work") {
                    true => count += 1,
                    false if body == b"end" => break count,
                    false => {}
                }
            }
        };
        peers.iter_mut().map(count).collect()
    };
    // Until both servers are known to listen, and how many members each has.
    eventually("both are told of the end", || {
        publisher.say("PUB end 1\r\n.\r\n");
        publisher.sync();
        [&mut at_b, &mut at_c].into_iter().all(drain)
    });
    let got = counts(&mut publisher, &mut [&mut at_b, &mut at_c]);
    assert_eq!(got.iter().sum::<usize>(), 400, "{got:?}");
    assert!((40..200).contains(&got[0]), "by weight: {got:?}");
    let mut at_a = member(&a, 1);
    let got = counts(&mut publisher, &mut [&mut at_a, &mut at_b, &mut at_c]);
    assert_eq!(got, [400, 0, 0]);
    // The one nearby goes; the others take over.
    at_a.say("UNSUB 0\r\n");
    at_a.sync();
    let got = counts(&mut publisher, &mut [&mut at_a, &mut at_b, &mut at_c]);
    assert_eq!((got[0], got[1] + got[2]), (0, 400), "{got:?}");
}

#[test]
fn a_message_for_a_server_with_both_kinds_of_subscribers_goes_there_once() {
    let a = node(&[]);
    let b = node(&[&a]);
    mesh(&[&a, &b]);
    let mut subscriber = Peer::connect(b.addr());
    subscriber.say("SUB x 1\r\nSUB x q 2\r\nSUB * r 3\r\nSUB > 4\r\n");
    subscriber.sync();
    let mut publisher = Peer::connect(a.addr());
    eventually("all four are known", || {
        publisher.say("PUB x 1\r\n.\r\n");
        publisher.sync();
        let (bytes, _) = subscriber.read_to_end(Duration::from_millis(50));
        String::from_utf8_lossy(&bytes).matches("MSG x").count() == 4
    });
}

#[test]
fn requests_find_answers_and_learn_that_nobody_answers() {
    let a = node(&[]);
    let b = node(&[&a]);
    mesh(&[&a, &b]);
    let mut requestor = Peer::connect(a.addr());
    requestor.say("SUB inbox 1\r\nPUB help inbox 0\r\n\r\n");
    requestor.expect("HMSG inbox 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: help\r\n\r\n\r\n");
    let mut responder = Peer::connect(b.addr());
    responder.say("SUB help 7\r\n");
    responder.sync();
    heard(&mut requestor, "help");
    // An inbox that is new is known where the request goes, as soon as that gets there.
    for i in 0..50 {
        requestor.say(format!(
            "SUB inbox.{i} a{i}\r\nPUB help inbox.{i} 1\r\n?\r\n"
        ));
        loop {
            let (line, body) = responder.message();
            if body == b"?" {
                assert_eq!(line, format!("MSG help 7 inbox.{i} 1"));
                break;
            }
        }
        responder.say(format!("PUB inbox.{i} 1\r\n!\r\n"));
        requestor.expect(format!("MSG inbox.{i} a{i} 1\r\n!\r\n"));
    }
    drop(responder);
    eventually("nobody answers any more", || requestor.finds_nobody("help"));
}

#[test]
fn a_server_that_goes_takes_its_interest_along_and_comes_back_with_it() {
    let a = node(&[]);
    let port = a.cluster_addr().unwrap();
    let b = node(&[&a]);
    mesh(&[&a, &b]);
    let mut watcher = Peer::connect(a.addr());
    let mut there = Peer::connect(b.addr());
    there.say("SUB there 1\r\n");
    there.sync();
    heard(&mut watcher, "there");
    drop(b);
    eventually("nobody is there", || watcher.finds_nobody("there"));
    let b = start(|o| o.cluster = Some(cluster(&[port])));
    let mut there = Peer::connect(b.addr());
    there.say("SUB there 1\r\n");
    there.sync();
    heard(&mut watcher, "there");
    mesh(&[&a, &b]);
}

#[test]
fn many_subscriptions_reach_a_server_that_comes_later() {
    let a = node(&[]);
    let mut subscriber = Peer::connect(a.addr());
    let count = 20_000;
    let script: String = (0..count).map(|i| format!("SUB s.{i} {i}\r\n")).collect();
    subscriber.say(script);
    subscriber.sync();
    let b = node(&[&a]);
    let mut publisher = Peer::connect(b.addr());
    heard(&mut publisher, &format!("s.{}", count - 1));
    heard(&mut publisher, "s.0");
    publisher.say("PUB s.17 2\r\nhi\r\n");
    eventually("it arrives", || {
        subscriber.message() == ("MSG s.17 17 2".into(), b"hi".to_vec())
    });
}

#[test]
fn what_is_imported_and_exported_can_be_limited() {
    let a = node(&[]);
    let rules = |allow: &[&str], deny: &[&str]| Rules {
        allow: (!allow.is_empty()).then(|| allow.iter().map(|s| (*s).into()).collect()),
        deny: deny.iter().map(|s| (*s).into()).collect(),
    };
    let b = start(|o| {
        o.cluster = Some(ClusterOptions {
            permissions: Some(Permissions {
                publish: rules(&["in.>", "probe.>"], &[]),
                subscribe: rules(&[], &["secret.>"]),
                responses: None,
            }),
            ..cluster(&[a.cluster_addr().unwrap()])
        });
    });
    mesh(&[&a, &b]);
    let (mut at_a, mut at_b) = (Peer::connect(a.addr()), Peer::connect(b.addr()));
    at_b.say("SUB in.x 1\r\nSUB other.x 2\r\nSUB in.end 3\r\n");
    at_a.say("SUB secret.x 1\r\nSUB out.x 2\r\n");
    at_b.sync();
    at_a.sync();
    heard(&mut at_a, "in.end");
    assert!(!at_a.finds_nobody("in.x") && at_a.finds_nobody("other.x"));
    heard(&mut at_b, "out.x");
    assert!(at_b.finds_nobody("secret.x"));
}

#[test]
fn accounts_have_streams_and_services_of_each_other_across_servers() {
    let dir = Dir::new("cluster-accounts");
    let accounts = "accounts {
        A {users: [{user: a, password: p}]
           exports: [{stream: \"s.>\"}, {service: \"help\"}]}
        B {users: [{user: b, password: p}]
           imports: [{stream: {account: A, subject: \"s.>\"}, prefix: \"from\"}
                     {service: {account: A, subject: \"help\"}, to: \"ask\"}]}
    }";
    let node = |name: &str, routes: &str| {
        let text = format!(
            "{accounts}\ncluster {{name: c, listen: \"127.0.0.1:-1\", routes: [{routes}]}}\n\
             ports_file_dir: {:?}",
            dir.path("")
        );
        let path = dir.write(name, &text);
        Process::start(&["-c", &path])
    };
    let one = node("one.conf", "");
    let line = one.wait_for("Listening for route connections on ");
    let at = line.rsplit(' ').next().unwrap();
    let two = node("two.conf", &format!("\"nats-route://{at}\""));
    two.wait_for("Route connected");
    let login = |server: &Process, user: &str| {
        let mut peer = Peer::open(server.addr);
        peer.say(format!(
            "CONNECT {{\"user\":\"{user}\",\"pass\":\"p\",\"verbose\":false,\"headers\":true,\
             \"no_responders\":true}}\r\n"
        ));
        peer.sync();
        peer
    };
    let (mut a, mut b) = (login(&one, "a"), login(&two, "b"));
    // A stream: published in A at one server, imported by B at the other.
    b.say("SUB from.s.x 1\r\nSUB from.> q 2\r\n");
    b.sync();
    heard(&mut a, "s.x");
    a.take_heard();
    b.read_to_end(Duration::from_millis(100));
    a.say("PUB s.x 2\r\nhi\r\n");
    let mut got = [b.message().0, b.message().0];
    got.sort();
    assert_eq!(got, ["MSG from.s.x 1 2", "MSG from.s.x 2 2"]);
    b.sync();
    // A service: asked in B at one server, answered in A at the other.
    a.say("SUB help 7\r\n");
    a.sync();
    b.say("SUB inbox 3\r\n");
    eventually("somebody answers", || {
        b.say("PUB ask inbox 1\r\n?\r\n");
        a.hears(Duration::from_millis(50))
    });
    let (line, _) = a.message();
    let reply = line.split(' ').nth(3).unwrap().to_owned();
    assert!(line.contains(" 7 _R_."), "{line}");
    a.say(format!("PUB {reply} 2\r\nok\r\n"));
    loop {
        let (line, body) = b.message();
        if body == b"ok" {
            assert_eq!(line, "MSG inbox 3 2");
            break;
        }
    }
}

#[test]
fn servers_check_each_others_certificates() {
    let dir = Dir::new("cluster-tls");
    let (ours, others) = (Authority::new(), Authority::new());
    ours.serve(&dir, "own.pem", "own-key.pem", "ca.pem");
    others.serve(&dir, "other.pem", "other-key.pem", "other-ca.pem");
    let tls = |name: &str| TlsOptions {
        certs: vec![CertificateFiles {
            cert_file: dir.path(&format!("{name}.pem")).into(),
            key_file: dir.path(&format!("{name}-key.pem")).into(),
        }],
        ca_file: Some(dir.path("ca.pem").into()),
        ..TlsOptions::default()
    };
    let secured = |name: &str, routes: &[SocketAddr]| {
        let own = ClusterOptions {
            tls: Some(tls(name)),
            ..cluster(routes)
        };
        start(|o| o.cluster = Some(own))
    };
    let a = secured("own", &[]);
    let at = a.cluster_addr().unwrap();
    let (b, c) = (secured("own", &[at]), secured("own", &[at]));
    mesh(&[&a, &b, &c]);
    let mut subscriber = Peer::connect(c.addr());
    subscriber.say("SUB big 1\r\n");
    subscriber.sync();
    let mut publisher = Peer::connect(b.addr());
    heard(&mut publisher, "big");
    let body = vec![b'x'; 900_000];
    for _ in 0..5 {
        publisher.say(format!("PUB big {}\r\n", body.len()));
        publisher.say(&body);
        publisher.say("\r\n");
    }
    let mut arrived = 0;
    while arrived < 5 {
        arrived += usize::from(subscriber.message().1 == body);
    }
    // A certificate of somebody else, and none at all.
    let stranger = secured("other", &[at]);
    let mut alone = Peer::connect(stranger.addr());
    alone.say("SUB stranger 1\r\n");
    alone.sync();
    let mut plain = Peer::raw(at);
    plain.say("CONNECT {\"cluster\":\"test\"}\r\n");
    plain.expect_closed();
    assert!(publisher.finds_nobody("stranger"));
}

#[test]
fn servers_of_the_reference_can_be_among_them() {
    let Some(program) = reference() else { return };
    let theirs = |routes: &[SocketAddr]| {
        let routes: Vec<String> = routes.iter().map(|at| format!("nats://{at}")).collect();
        let mut command = Command::new(&program);
        command.args(["-a", "127.0.0.1", "-p", "-1", "--cluster_name", "test"]);
        command.args([
            "--cluster",
            "nats://127.0.0.1:-1",
            "--routes",
            &routes.join(","),
        ]);
        let process = Process::spawn(command);
        let line = process.wait_for("Listening for route connections on ");
        let at: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
        (process, at)
    };
    let ours = node(&[]);
    let (theirs_one, at) = theirs(&[ours.cluster_addr().unwrap()]);
    // This one knows the reference's only, and that one this one only.
    let second = start(|o| o.cluster = Some(cluster(&[at])));
    let (theirs_two, _) = theirs(&[second.cluster_addr().unwrap()]);
    let all = [ours.addr(), theirs_one.addr, second.addr(), theirs_two.addr];
    let mut subscribers: Vec<Peer> = all
        .iter()
        .map(|at| {
            let mut peer = Peer::connect(*at);
            peer.say("SUB all.> 1\r\nSUB work q 2\r\n");
            peer.sync();
            peer
        })
        .collect();
    for (i, at) in all.iter().enumerate() {
        let mut publisher = Peer::connect(*at);
        eventually("all hear it", || {
            publisher.say(format!("PUB all.probe.{i} 1\r\n.\r\n"));
            publisher.sync();
            subscribers.iter_mut().all(drain)
        });
        // Each gets each once, in order and whole; and one of them gets what is for the group.
        let count = 100;
        for n in 0..count {
            publisher.say(format!(
                "HPUB all.{i}.{n} in.box 12 13\r\nNATS/1.0\r\n\r\n{}\r\nPUB work 1\r\n.\r\n",
                n % 10
            ));
        }
        publisher.say(format!("PUB all.end.{i} 0\r\n\r\n"));
        let mut worked = 0;
        for peer in &mut subscribers {
            let mut next = 0;
            loop {
                let (line, _) = peer.message();
                if line.starts_with("MSG work") {
                    worked += 1;
                } else if line.contains(&format!("all.end.{i} ")) {
                    break;
                } else if !line.contains("probe") {
                    assert_eq!(line, format!("HMSG all.{i}.{next} 1 in.box 12 13"));
                    next += 1;
                }
            }
            assert_eq!(next, count);
        }
        assert_eq!(worked, count);
    }
    // One of theirs goes, and another one of ours takes its place.
    drop(theirs_two);
    let third = node(&[&ours]);
    mesh(&[&ours, &second, &third]);
    let mut watcher = Peer::connect(theirs_one.addr);
    let mut there = Peer::connect(third.addr());
    there.say("SUB third 1\r\n");
    there.sync();
    heard(&mut watcher, "third");
}

#[test]
fn what_goes_over_a_route_is_what_the_reference_says() {
    let server = node(&[]);
    let mut client = Peer::connect(server.addr());
    client.say("SUB a.* 1\r\nSUB a.* 2\r\nSUB b q 3\r\n");
    client.sync();
    let mut route = Route::open(&server, "NROUTE");
    let mut first = [route.line_of("$G"), route.line_of("$G")];
    first.sort();
    assert_eq!(first, ["RS+ $G a.*", "RS+ $G b q 1"]);
    client.say("SUB b q 4\r\nUNSUB 1\r\n");
    assert_eq!(route.line_of("$G"), "RS+ $G b q 2");
    client.say("UNSUB 2\r\n");
    assert_eq!(route.line_of("$G"), "RS- $G a.*");
    client.say("UNSUB 3\r\nUNSUB 4\r\n");
    client.sync();
    loop {
        let line = route.line_of("$G");
        if line == "RS- $G b q" {
            break;
        }
        assert_eq!(line, "RS+ $G b q 1");
    }
    // Interest of the other server, and messages to it.
    route
        .0
        .say("RS+ $G x.*\r\nRS+ $G x.y work 3\r\nRS+ $G x.y more 1\r\nPING\r\n");
    while route.0.line() != "PONG" {}
    client
        .say("PUB x.y 2\r\nhi\r\nPUB x.z in.box 2\r\nhi\r\nHPUB x.z 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    let line = route.line_of("$G");
    assert!(
        ["RMSG $G x.y | work more 2", "RMSG $G x.y | more work 2"].contains(&&*line),
        "{line}"
    );
    route.0.expect("hi\r\nRMSG $G x.z in.box 2\r\nhi\r\n");
    route.0.expect("HMSG $G x.z 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    client.say("PUB x.y in.box 0\r\n\r\n");
    assert!(route.line_of("$G").starts_with("RMSG $G x.y + in.box "));
    route.0.expect("\r\n");
    // Messages of the other server; those in queue groups only where they are named.
    client.say("SUB m 1\r\nSUB m q 2\r\nSUB m r 3\r\nSUB end 4\r\n");
    client.sync();
    route
        .0
        .say("RMSG $G m 1\r\na\r\nRMSG $G m | q 1\r\nb\r\nRMSG $G m + re q r nobody 1\r\nc\r\n");
    route
        .0
        .say("RMSG $G nobody 1\r\n.\r\nRMSG NONE m 1\r\n.\r\nRMSG $G end 1\r\n.\r\n");
    let mut got = Vec::new();
    loop {
        let (line, body) = client.message();
        if line.starts_with("MSG end") {
            break;
        }
        got.push(format!("{line} {}", String::from_utf8(body).unwrap()));
    }
    got.sort();
    assert_eq!(
        got,
        [
            "MSG m 1 1 a",
            "MSG m 1 1 b",
            "MSG m 1 re 1 c",
            "MSG m 2 1 b",
            "MSG m 2 re 1 c",
            "MSG m 3 re 1 c",
        ]
    );
    // It ends: so does its interest.
    drop(route);
    eventually("its interest ends", || client.finds_nobody("x.y"));
}

#[test]
fn strangers_on_the_port_for_routes_are_turned_away() {
    let server = node(&[]);
    let at = server.cluster_addr().unwrap();
    for (said, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", "Unknown Protocol Operation"),
        ("PUB a 1\r\n.\r\n", "Unknown Protocol Operation"),
        (
            "CONNECT {\"lang\":\"go\",\"name\":\"c\"}\r\n",
            "Attempted To Connect To Route Port",
        ),
        (
            "CONNECT {\"cluster\":\"other\",\"name\":\"x\"}\r\n",
            "Rejecting connection, cluster name \"other\" does not match \"test\"",
        ),
        (
            "CONNECT {\"gateway\":\"g\",\"name\":\"x\"}\r\n",
            "Rejecting connection from gateway \"g\" on the Route port",
        ),
        ("RS+ $G a\r\n", "Authorization Violation"),
        ("CONNECT {\r\n", "Parser Error"),
    ] {
        let mut peer = Peer::open(at);
        peer.say(said);
        assert_eq!(peer.line(), format!("-ERR '{answer}'"), "{said}");
        peer.expect_closed();
    }
    let mut itself = Route::open(&server, server_id(&server).as_str());
    itself.0.expect_closed();
    // It still serves others.
    let other = node(&[&server]);
    mesh(&[&server, &other]);
}

#[test]
fn routes_need_the_password_if_there_is_one() {
    let secret = |password: &str, routes: &[SocketAddr], user: Option<&str>| {
        let mut own = cluster(routes);
        own.user = Some("node".into());
        own.password = Some(password.into());
        for url in &mut own.routes {
            url.user = user.map(Into::into);
            url.password = Some("s3cret".into());
        }
        start(|o| o.cluster = Some(own))
    };
    // Of "s3cret".
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    for stored in ["s3cret", &hash] {
        let a = secret(stored, &[], None);
        let at = a.cluster_addr().unwrap();
        let b = secret(stored, &[at], Some("node"));
        mesh(&[&a, &b]);
        for (user, pass) in [("node", "wrong"), ("other", "s3cret"), ("", "")] {
            let mut peer = Peer::open(at);
            peer.say(format!(
                "CONNECT {{\"user\":\"{user}\",\"pass\":\"{pass}\",\"cluster\":\"test\"}}\r\n"
            ));
            assert_eq!(peer.line(), "-ERR 'Authorization Violation'");
            peer.expect_closed();
        }
    }
}

#[test]
fn clients_are_told_where_else_they_can_connect() {
    let a = node(&[]);
    let mut client = Peer::raw(a.addr());
    let info = client.line();
    assert!(
        info.contains("\"cluster\":\"test\"") && !info.contains("connect_urls"),
        "{info}"
    );
    client.say("CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n");
    while client.line() != "PONG" {}
    let b = node(&[&a]);
    let both = [a.addr().to_string(), b.addr().to_string()];
    let info = loop {
        let line = client.line();
        if line.contains("connect_urls") {
            break line;
        }
    };
    assert!(
        info.starts_with("INFO {") && both.iter().all(|url| info.contains(url)),
        "{info}"
    );
    drop(b);
    let info = client.line();
    assert!(
        info.contains(&both[0]) && !info.contains(&both[1]),
        "{info}"
    );
}

#[test]
fn servers_without_a_name_for_their_cluster_agree_on_one() {
    let unnamed = |routes: &[SocketAddr]| {
        let own = ClusterOptions {
            name: None,
            ..cluster(routes)
        };
        start(|o| o.cluster = Some(own))
    };
    let a = unnamed(&[]);
    let at = a.cluster_addr().unwrap();
    let (b, c) = (unnamed(&[at]), unnamed(&[at]));
    mesh(&[&a, &b, &c]);
    let d = start(|o| o.cluster = Some(cluster(&[at])));
    mesh(&[&a, &b, &c, &d]);
    let mut client = Peer::raw(b.addr());
    assert!(client.line().contains("\"cluster\":\"test\""));
}

#[test]
fn servers_that_all_connect_to_all_end_up_with_one_connection_each() {
    // The second knows the first, which is told of it by a third that both know.
    let a = node(&[]);
    let b = node(&[&a]);
    let c = node(&[&a, &b]);
    mesh(&[&a, &b, &c]);
    let mut route = Route::open(&a, "NTHIRD");
    // Told of the others, as they are of it; none of that does any harm.
    route.0.say(Route::info(
        "NFOURTH",
        ",\"ip\":\"nats-route://127.0.0.1:1/\"",
    ));
    route.0.say(Route::info("NFIFTH", ",\"ip\":\"what\""));
    route.0.say("PING\r\n");
    while route.0.line() != "PONG" {}
    drop(route);
    mesh(&[&a, &b, &c]);
}
