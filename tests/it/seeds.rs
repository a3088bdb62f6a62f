//! The security examples of the documents that operators learned from, run as they are written.
//!
//! The documents are not part of the source. They are read from the directory that `NATS_SEEDS`
//! names, or from `../shared/seeds` beside the source; where there is none, nothing is tested.

use crate::support::mesh::{heard, reaches_at};
use crate::support::tls::{Authority, Names, TlsPeer, Version};
use crate::support::{
    Dir, Key, Peer, Process, Run, eventually, log_in, nonce, refusal, server_binary, try_log_in,
};
use async_nats::ConnectOptions;
use rcgen::DnType;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VIOLATION: &str = "-ERR 'Authorization Violation'";
const READMES: [&str; 2] = ["000-readme-1.3.txt", "001-readme-1.4.1.txt"];
const SECURITY: &str = "003-tls-security.txt";
const MANAGING: &str = "002-managing-a-server.txt";

/// A document, if it is here.
fn document(name: &str) -> Option<String> {
    let named = std::env::var_os("NATS_SEEDS").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/seeds");
    let path = named.unwrap_or_else(beside).join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(_) => {
            eprintln!("skipped: no {}", path.display());
            None
        }
    }
}

/// All blocks that begin with `head`, such as `tls {`, up to the brace that closes them.
fn blocks<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let found = text.match_indices(head);
    found
        .filter_map(|(at, _)| Some(&text[at..closing(text, at)?]))
        .collect()
}

/// Where the block ends that begins at or behind `from`.
fn closing(text: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(from + at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The first block that begins so and has all of these in it.
fn block<'a>(text: &'a str, head: &str, parts: &[&str]) -> &'a str {
    let all = blocks(text, head);
    let found = all
        .into_iter()
        .find(|block| parts.iter().all(|part| block.contains(part)));
    found.unwrap_or_else(|| panic!("no {head} with {parts:?}"))
}

/// From the first `from` to the end of the next block that begins with `to`.
fn span<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let from = text.find(from).unwrap();
    let to = from + text[from..].find(to).unwrap();
    &text[from..closing(text, to).unwrap()]
}

/// The first line that begins so, as arguments: quotes are the shell's.
fn arguments<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let mut lines = text.lines().map(|line| line.trim_start_matches("> "));
    let line = lines.find(|line| line.starts_with(head)).unwrap();
    let words = line.split_whitespace().skip(1);
    words.map(|word| word.trim_matches('\'')).collect()
}

/// A server with this configuration.
fn serve(name: &str, config: &str) -> (Process, Dir) {
    let dir = Dir::new(name);
    let path = dir.write("server.conf", config);
    (Process::start(&["-c", &path]), dir)
}

fn user(name: &str, password: &str) -> String {
    format!("\"user\":\"{name}\",\"pass\":\"{password}\"")
}

fn token(token: &str) -> String {
    format!("\"auth_token\":\"{token}\"")
}

/// A client of an official library that gets its own message back. The library leaves it to its
/// users what stands before the `@` of a URL.
fn official(url: &str) {
    use futures_util::StreamExt;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (who, host) = url.trim_start_matches("nats://").rsplit_once('@').unwrap();
        let options = match who.split_once(':') {
            Some((name, password)) => {
                ConnectOptions::with_user_and_password(name.into(), password.into())
            }
            None => ConnectOptions::with_token(who.into()),
        };
        let client = options.connect(host).await.expect("it is let in");
        let mut all = client.subscribe("a").await.unwrap();
        client.publish("a", "hello".into()).await.unwrap();
        let message = all.next().await.unwrap();
        assert_eq!(&message.payload[..], b"hello");
    });
}

/// The URL of the document with the port of the server.
fn url(text: &str, head: &str, server: &Process) -> String {
    let line = text.lines().find(|line| line.starts_with(head)).unwrap();
    let (rest, _) = line.rsplit_once('@').unwrap();
    format!("{}@{}", rest.replace('\'', ""), server.addr)
}

/// Publishing to the first subjects is allowed, to the second it is not.
fn may_publish(peer: &mut Peer, allowed: &[&str], denied: &[&str]) {
    for subject in allowed {
        peer.say(format!("PUB {subject} 0\r\n\r\n"));
        peer.sync();
    }
    for subject in denied {
        peer.say(format!("PUB {subject} 0\r\n\r\n"));
        peer.expect(format!(
            "-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n"
        ));
        peer.sync();
    }
}

/// The same for subscriptions.
fn may_subscribe(peer: &mut Peer, allowed: &[&str], denied: &[&str]) {
    for (sid, subject) in allowed.iter().enumerate() {
        peer.say(format!("SUB {subject} s{sid}\r\n"));
        peer.sync();
    }
    for subject in denied {
        peer.say(format!("SUB {subject} d\r\n"));
        peer.expect(format!(
            "-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\n"
        ));
        peer.sync();
    }
    for sid in 0..allowed.len() {
        peer.say(format!("UNSUB s{sid}\r\n"));
    }
}

#[test]
fn one_user_in_the_file_or_in_flags() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let config = block(&text, "authorization {", &["password: T0pS3cr3t"]);
        let (from_file, _dir) = serve("seed-user", config);
        let from_flags = Process::start(&arguments(&text, "gnatsd --user"));
        for server in [from_file, from_flags] {
            log_in(server.addr, &user("derek", "T0pS3cr3t"));
            for other in [
                user("derek", "T0pS3cr3"),
                user("derek", ""),
                user("Derek", "T0pS3cr3t"),
                user("", "T0pS3cr3t"),
                token("T0pS3cr3t"),
                String::new(),
            ] {
                assert_eq!(refusal(server.addr, &other), VIOLATION, "{other}");
            }
            official(&url(&text, "nats://derek:", &server));
        }
    }
}

#[test]
fn one_token_in_the_file_or_in_flags() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let plain = "S3Cr3T0k3n!";
        let config = block(&text, "authorization {", &["token: ", plain]);
        let (from_file, _dir) = serve("seed-token", config);
        let from_flags = Process::start(&arguments(&text, "gnatsd -auth"));
        for server in [from_file, from_flags] {
            log_in(server.addr, &token(plain));
            for other in [token("S3Cr3T0k3n"), user(plain, ""), String::new()] {
                assert_eq!(refusal(server.addr, &other), VIOLATION, "{other}");
            }
            official(&url(&text, "nats://'S3", &server));
        }
        let hashed = block(&text, "authorization {", &["token:", "$2a$"]);
        let (server, _dir) = serve("seed-hashed-token", hashed);
        log_in(server.addr, &token(plain));
        let hash = hashed.split_whitespace().find(|w| w.starts_with("$2a$"));
        for other in [token("S3Cr3T0k3n?"), token(hash.unwrap())] {
            assert_eq!(refusal(server.addr, &other), VIOLATION, "{other}");
        }
    }
}

/// Passwords and hashes that a tool printed below each other.
fn printed(text: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter_map(|two| {
        let word =
            |line: &'static str, of: usize| two[of].strip_prefix(line)?.split_whitespace().next();
        Some((word("pass: ", 0)?, word("bcrypt hash: ", 1)?))
    });
    pairs.collect()
}

#[test]
fn hashes_are_those_of_the_passwords_beside_them() {
    let mut users = 0;
    for name in [READMES[0], READMES[1], SECURITY] {
        let Some(text) = document(name) else { return };
        let config = block(&text, "authorization {", &["derek", "$2a$11$3kID"]);
        let (server, _dir) = serve("seed-hashed-user", config);
        let pairs = printed(&text);
        let (password, hash) = pairs
            .iter()
            .find(|(_, hash)| config.contains(hash))
            .unwrap();
        log_in(server.addr, &user("derek", password));
        for other in [hash, &&password[1..]] {
            assert_eq!(refusal(server.addr, &user("derek", other)), VIOLATION);
        }
        for (password, hash) in &pairs {
            let config = format!("authorization {{\n  user: derek\n  password: {hash}\n}}\n");
            let (server, _dir) = serve("seed-hash", &config);
            log_in(server.addr, &user("derek", password));
            users += 1;
        }
    }
    assert!(users >= 3);
}

#[test]
fn users_whose_permissions_are_variables_that_are_nowhere() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let all = blocks(&text, "authorization {");
        let mut with_users = all.iter().filter(|block| block.contains("$ADMIN"));
        let config = with_users
            .find(|block| !block.contains("REQUESTOR ="))
            .unwrap();
        let dir = Dir::new("seed-variables");
        let run = Run::new(&["-t", "-c", &dir.write("server.conf", config)]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let want = "variable reference for 'ADMIN' on line 4 can not be found";
        assert!(run.stderr.contains(want), "{}", run.stderr);
    }
}

#[test]
fn four_users_with_permissions() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let config = block(&text, "authorization {", &["REQUESTOR =", "PASS"]);
        let (server, _dir) = serve("seed-permissions", config);
        let pass = "abcdefghijklmnopqrstuvwxwz0123456789";
        let [mut joe, mut alice, mut bob, mut charlie] = [
            ("joe", "foo"),
            ("alice", "bar"),
            ("bob", pass),
            ("charlie", "bar"),
        ]
        .map(|(name, password)| log_in(server.addr, &user(name, password)));
        for other in [
            user("bob", "$PASS"),
            user("joe", "bar"),
            user("ADMIN", ""),
            String::new(),
        ] {
            assert_eq!(refusal(server.addr, &other), VIOLATION, "{other}");
        }
        may_publish(&mut joe, &["a", "req.foo", "_INBOX.x.y", "SANDBOX.a"], &[]);
        may_subscribe(&mut joe, &[">", "req.foo", "PUBLIC.a", "_INBOX.>"], &[]);
        let others = ["req.baz", "req", "req.foo.a", "_INBOX.x", "SANDBOX.a", "a"];
        may_publish(&mut alice, &["req.foo", "req.bar"], &others);
        may_subscribe(
            &mut alice,
            &["_INBOX.x", "_INBOX.*", "_INBOX.>", "_INBOX.a.b"],
            &["_INBOX", "req.foo", ">", "*.x", "PUBLIC.a"],
        );
        may_publish(&mut bob, &["_INBOX.x", "_INBOX.a.b"], &["req.foo", "a"]);
        may_subscribe(
            &mut bob,
            &["req.foo", "req.bar"],
            &["req.*", "req.baz", ">", "_INBOX.>"],
        );
        may_publish(
            &mut charlie,
            &["SANDBOX.a", "SANDBOX.*"],
            &["SANDBOX", "SANDBOX.a.b", "PUBLIC.a", "_INBOX.x"],
        );
        may_subscribe(
            &mut charlie,
            &["PUBLIC.a", "PUBLIC.>", "_INBOX.>"],
            &["SANDBOX.a", "PUBLIC", ">"],
        );

        // A request and its answer, which the administrator overhears.
        joe.say("SUB > all\r\n");
        bob.say("SUB req.foo 1\r\n");
        alice.say("SUB _INBOX.a.* 2\r\n");
        for peer in [&mut joe, &mut bob, &mut alice] {
            peer.sync();
        }
        alice.say("PUB req.foo _INBOX.a.1 2\r\nhi\r\n");
        bob.expect("MSG req.foo 1 _INBOX.a.1 2\r\nhi\r\n");
        bob.say("PUB _INBOX.a.1 2\r\nho\r\n");
        alice.expect("MSG _INBOX.a.1 2 2\r\nho\r\n");
        joe.expect("MSG req.foo all _INBOX.a.1 2\r\nhi\r\nMSG _INBOX.a.1 all 2\r\nho\r\n");
        for what in [
            "Publish Violation - Subject \"req.baz\"",
            "Subscription Violation - Subject \"PUBLIC.a\", SID d",
        ] {
            server.wait_for(what);
        }
    }
}

#[test]
fn allow_and_deny() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let config = block(&text, "authorization {", &["myUserPerms ="]);
        let (server, _dir) = serve("seed-deny", config);
        let mut peer = log_in(server.addr, &user("myUser", "pwd"));
        may_publish(
            &mut peer,
            &["a.b", "bar.foo", "bar.*"],
            &["SYS.a", "SYS.*", "bar.baz", "foo.a", "foo.*", "a", "a.b.c"],
        );
        may_subscribe(
            &mut peer,
            &["foo.a", "bar", "foo.*"],
            &["foo.baz", "baz", "foo.>", "bar.a", "foo.a.b", ">"],
        );
        // A wildcard over what is denied gets the rest.
        peer.say("SUB foo.* w\r\n");
        peer.sync();
        let mut other = log_in(server.addr, &user("myUser", "pwd"));
        may_publish(&mut other, &[], &["foo.baz"]);
    }
}

#[test]
fn blocks_about_clusters_are_understood() {
    let dir = Dir::new("seed-clusters");
    for name in [READMES[0], READMES[1], SECURITY] {
        let Some(text) = document(name) else { return };
        for block in blocks(&text, "cluster {") {
            // What the examples leave out is not there.
            let path = dir.write("server.conf", block);
            let run = Run::new(&["-t", "-c", &path]);
            assert!(!run.stderr.contains("not supported"), "{}", run.stderr);
            assert!(!run.stderr.contains("unknown field"), "{}", run.stderr);
        }
    }
}

/// The port on which a server listens for others.
fn route_port(server: &Process) -> String {
    let line = server.wait_for("Listening for route connections on ");
    line.rsplit(':').next().unwrap().to_owned()
}

/// Waits until all of them reach each other.
fn meshed(servers: &[Process]) {
    for from in servers {
        for to in servers.iter().filter(|to| to.addr != from.addr) {
            assert!(reaches_at(from.addr, to.addr));
        }
    }
}

#[test]
fn three_servers_of_which_one_is_the_seed() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        // As written but for the ports, which may be taken.
        let run = |head: &str, seed: Option<&str>| {
            let words = arguments(&text, head);
            let words = words.iter().enumerate().map(|(i, word)| {
                let before = if i > 0 { words[i - 1] } else { "" };
                match (before, seed) {
                    ("-p", _) => "-1".to_owned(),
                    ("-cluster", _) => "nats://localhost:-1".to_owned(),
                    ("-routes", Some(port)) => word.replace("4248", port),
                    _ => (*word).to_owned(),
                }
            });
            let words: Vec<String> = words.collect();
            Process::start(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let head = text.find("# Cluster Seed Node").unwrap();
        let file = span(&text[head..], "listen: 127.0.0.1:4222", "cluster {");
        let mut config = file.to_owned();
        for port in ["4222", "8222", "4248"] {
            assert!(config.contains(port), "{config}");
            config = config.replace(port, "-1");
        }
        let (from_file, _dir) = serve("seed-of-a-cluster", &config);
        let from_flags = run("gnatsd -p 4222 -cluster nats://localhost:4248", None);
        for seed in [from_file, from_flags] {
            let port = route_port(&seed);
            let second = run("gnatsd -p 5222 -cluster", Some(&port));
            let third = run("gnatsd -p 6222 -cluster", Some(&port));
            for server in [&second, &third] {
                server.wait_for(&format!("Trying to connect to route on localhost:{port}"));
                server.wait_for("Registering remote route ");
            }
            meshed(&[seed, second, third]);
        }
    }
}

#[test]
fn what_goes_between_the_edge_and_the_cloud() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let both = r#"["_INBOX.>", "global.>"]"#;
        let three = r#"["_INBOX.>", "global.>", "sensors.>"]"#;
        let edge = block(&text, "cluster {", &[&format!("export:{three}")]);
        let cloud = block(&text, "cluster {", &[&format!("import:{three}")]);
        assert!(edge.contains(&format!("import:{both}")) && cloud.contains("export:"));
        let listening = |config: &str| {
            assert!(config.contains("listen: 4244"));
            config.replace("listen: 4244", "listen: \"127.0.0.1:-1\"")
        };
        // Nobody listens at the port that the edge is told, so the cloud comes to it.
        let config = listening(edge).replace("cloudserver:4344", "127.0.0.1:1");
        let (edge, _dir) = serve("seed-edge", &config);
        let at = format!("127.0.0.1:{}", route_port(&edge));
        let config = listening(cloud).replace("edgeserver:4244", &at);
        let (cloud, _dir) = serve("seed-cloud", &config);
        let [mut here, mut there] = [&edge, &cloud].map(|server| Peer::connect(server.addr));
        for peer in [&mut here, &mut there] {
            peer.say("SUB sensors.a s\r\nSUB global.a g\r\nSUB other.a o\r\nSUB _INBOX.a i\r\n");
            peer.sync();
        }
        let (mut at_edge, mut at_cloud) = (Peer::connect(edge.addr), Peer::connect(cloud.addr));
        here.say("SUB global.edge 2\r\n");
        there.say("SUB global.cloud 2\r\n");
        for (peer, subject) in [
            (&mut at_edge, "global.cloud"),
            (&mut at_cloud, "global.edge"),
        ] {
            heard(peer, subject);
            peer.take_heard();
        }
        // Both sides have heard by now what others listen to. Messages from there, in order.
        let from = |publisher: &mut Peer, other: &mut Peer, last: &str| {
            for subject in ["sensors.a", "other.a", "global.a", "_INBOX.a", last] {
                publisher.say(format!("PUB {subject} {}\r\n{last}\r\n", last.len()));
            }
            let mut got = Vec::new();
            loop {
                let (line, body) = other.message();
                let subject = line.split(' ').nth(1).unwrap().to_owned();
                // Others were published beside it, and while it was looked for somebody.
                match body == last.as_bytes() {
                    true if subject == last => break got,
                    true => got.push(subject),
                    false => {}
                }
            }
        };
        let got = from(&mut at_edge, &mut there, "global.cloud");
        assert_eq!(got, ["sensors.a", "global.a", "_INBOX.a"]);
        let got = from(&mut at_cloud, &mut here, "global.edge");
        assert_eq!(got, ["global.a", "_INBOX.a"]);
        // Who does not know the password stays out.
        let mut stranger = Peer::open(at.parse().unwrap());
        stranger.say("CONNECT {\"user\":\"ruser\",\"pass\":\"secret\",\"name\":\"x\"}\r\n");
        assert_eq!(stranger.line(), VIOLATION);
    }
}

#[test]
fn servers_of_a_cluster_show_each_other_certificates() {
    for name in READMES {
        let Some(text) = document(name) else { return };
        let config = block(&text, "cluster {", &["srva-cert.pem", "4246"]);
        let (dir, authority) = (Dir::new("seed-cluster-tls"), Authority::new());
        authority.serve(
            &dir,
            "configs/certs/srva-cert.pem",
            "configs/certs/srva-key.pem",
            "configs/certs/ca.pem",
        );
        let run = |config: &str| {
            let mut command = Command::new(server_binary());
            command
                .args(["-p", "-1", "-a", "127.0.0.1", "-c"])
                .arg(dir.write("server.conf", config))
                .current_dir(dir.path(""));
            Process::spawn(command)
        };
        let listening = config.replace("127.0.0.1:4244", "127.0.0.1:-1");
        let second = run(&listening.replace("4246", "1"));
        let first = run(&listening.replace("4246", &route_port(&second)));
        meshed(&[first, second]);
        let other = Authority::new();
        let (third, at) = (run(&listening.replace("4246", "1")), "127.0.0.1");
        let stranger = other.client(Some(&other.sign(&Names::default())), Version::V13);
        let address = format!("{at}:{}", route_port(&third)).parse().unwrap();
        assert!(TlsPeer::answer(address, &stranger, "").is_err());
        eventually("it is told of", || {
            let log = third.log();
            log.iter()
                .any(|line| line.contains("TLS route handshake error"))
        });
    }
}

#[test]
fn accounts_are_apart_until_they_export_and_import() {
    let Some(text) = document(MANAGING) else {
        return;
    };
    let all = blocks(&text, "accounts: {");
    let find = |parts: &[&str], not: &str| -> &str {
        let has = |block: &&&str| parts.iter().all(|p| block.contains(p)) && !block.contains(not);
        all.iter().find(has).unwrap()
    };
    let apart = find(&["user: a, password: a"], "exports");
    let (server, dir) = serve("seed-accounts", apart);
    let a = || log_in(server.addr, &user("a", "a"));
    let b = || log_in(server.addr, &user("b", "b"));
    for other in [user("a", "b"), String::new(), token("a")] {
        assert_eq!(refusal(server.addr, &other), VIOLATION, "{other}");
    }
    let (mut one, mut two) = (a(), b());
    one.say("SUB > 1\r\n");
    one.sync();
    two.say("PUB foo 6\r\nuser b\r\n");
    two.sync();
    a().say("PUB foo 6\r\nuser a\r\n");
    one.expect("MSG foo 1 6\r\nuser a\r\n");
    one.sync();

    // The second example, by a reload.
    dir.write(
        "server.conf",
        find(&["user: a, password: a", "exports"], "nkey"),
    );
    server.signal(libc::SIGHUP);
    server.wait_for("Reloaded server configuration");
    let mut one = a();
    one.say("SUB > 1\r\n");
    one.sync();
    let mut two = b();
    two.say("SUB > 2\r\nPUB foo 6\r\nuser b\r\nPUB bar 0\r\n\r\n");
    two.expect("MSG foo 2 6\r\nuser b\r\nMSG bar 2 0\r\n\r\n");
    two.sync();
    one.expect("MSG foo 1 6\r\nuser b\r\n");
    one.say("PUB foo 6\r\nuser a\r\n");
    one.expect("MSG foo 1 6\r\nuser a\r\n");
    one.sync();
    // Not the other way around.
    two.sync();
}

#[test]
fn accounts_whose_users_have_keys() {
    let Some(text) = document(MANAGING) else {
        return;
    };
    let config = block(&text, "accounts: {", &["nkey:", "exports"]);
    // The seeds are printed behind commands, the public keys follow.
    let keys: Vec<Key> = text
        .match_indices("nkSUA")
        .map(|(at, _)| Key::from_seed(&text[at + 2..at + 60]))
        .filter(|key| config.contains(&key.public()))
        .collect();
    let [a, b] = &keys[..] else {
        panic!("{} keys", keys.len());
    };
    let (server, _dir) = serve(
        "seed-nkeys",
        &format!("{config}\nauthorization {{ timeout: 1 }}"),
    );
    let (mut one, mut two) = (a.log_in(server.addr), b.log_in(server.addr));
    one.say("SUB > 1\r\n");
    one.sync();
    two.say("PUB foo 4\r\nnkey\r\nPUB bar 0\r\n\r\n");
    one.expect("MSG foo 1 4\r\nnkey\r\n");
    two.sync();
    one.sync();
    assert_eq!(Key::new(1).answer(server.addr).1, VIOLATION);
    let mut silent = Peer::raw(server.addr);
    let info = silent.line();
    assert!(info.contains("\"auth_required\":true"), "{info}");
    assert_eq!(nonce(&info).unwrap().len(), 15);
    silent.expect("-ERR 'Authentication Timeout'\r\n");
    silent.expect_closed();
}

/// A server that is run in a directory of its own, where certificates are as the documents name
/// them.
fn with_certificates(name: &str, under: &str, args: &[&str]) -> (Process, Dir, Authority) {
    let (dir, authority) = (Dir::new(name), Authority::new());
    let path = |file: &str| format!("{under}configs/certs/{file}");
    authority.serve(
        &dir,
        &path("server-cert.pem"),
        &path("server-key.pem"),
        &path("ca.pem"),
    );
    let copy = |from: &str, to: &str| {
        fs::copy(dir.path(&path(from)), dir.path(&path(to))).unwrap();
    };
    copy("server-cert.pem", "server.pem");
    copy("server-key.pem", "key.pem");
    let mut command = Command::new(server_binary());
    command
        .args(["-p", "-1", "-a", "127.0.0.1"])
        .args(args)
        .current_dir(dir.path(""));
    (Process::spawn(command), dir, authority)
}

/// The same with a configuration.
fn tls_server(name: &str, config: &str) -> (Process, Dir, Authority) {
    let file = Dir::new(&format!("{name}-file"));
    let path = file.write("server.conf", config);
    with_certificates(name, "", &["-D", "-c", &path])
}

#[test]
fn tls_with_a_user() {
    for name in [READMES[0], READMES[1], SECURITY] {
        let Some(text) = document(name) else { return };
        let config = span(&text, "listen: 127.0.0.1:4443", "authorization {");
        let (server, _dir, authority) = tls_server("seed-tls", config);
        server.wait_for("TLS required for client connections");
        let derek = user("derek", "T0pS3cr3t");
        let client = authority.client(None, Version::V12);
        let mut peer = TlsPeer::log_in(server.addr, &client, &derek);
        peer.say("SUB a 1\r\nPUB a 2\r\nhi\r\n");
        assert_eq!(
            (peer.line(), peer.line()),
            ("MSG a 1 2".into(), "hi".into())
        );
        server.wait_for("TLS version 1.2, cipher suite TLS_ECDHE_ECDSA_WITH_");
        TlsPeer::log_in(server.addr, &authority.client(None, Version::V13), &derek);
        let wrong = TlsPeer::answer(server.addr, &client, &user("derek", "T0pS3cr3")).unwrap();
        assert_eq!(wrong.1, VIOLATION);
        let elsewhere = Authority::new().client(None, Version::V12);
        assert!(TlsPeer::answer(server.addr, &elsewhere, &derek).is_err());
        // Without TLS there is no login.
        assert!(try_plain(&server, &derek));
    }
}

/// Whether somebody who does not speak TLS is closed without being let in.
fn try_plain(server: &Process, fields: &str) -> bool {
    let mut peer = Peer::open(server.addr);
    peer.try_say(crate::support::connect(fields) + "PING\r\n");
    let (heard, end) = peer.read_to_end(crate::support::PATIENCE);
    end != crate::support::End::Silent && !heard.windows(4).any(|w| w == b"PONG")
}

#[test]
fn only_the_cipher_suites_that_are_listed() {
    let Some(text) = document(SECURITY) else {
        return;
    };
    let config = block(&text, "tls {", &["cipher_suites"]);
    let (server, _dir, authority) = tls_server("seed-ciphers", config);
    TlsPeer::log_in(server.addr, &authority.client(None, Version::V12), "");
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    server.wait_for(&format!("TLS version 1.2, cipher suite {suite}"));
}

#[test]
fn clients_show_certificates() {
    for name in [READMES[0], READMES[1], SECURITY] {
        let Some(text) = document(name) else { return };
        let config = block(&text, "tls {", &["verify:"]);
        let from_file = tls_server("seed-verify", config);
        let args = arguments(&text, "./gnatsd --tlsverify");
        let from_flags = with_certificates("seed-verify-flags", "test/", &args);
        for (server, _dir, authority) in [from_file, from_flags] {
            let own = authority.sign(&Names::default());
            for version in [Version::V12, Version::V13] {
                TlsPeer::log_in(server.addr, &authority.client(Some(&own), version), "");
                let client = authority.client(None, version);
                assert!(TlsPeer::answer(server.addr, &client, "").is_err());
                let stranger = Authority::new().sign(&Names::default());
                let client = authority.client(Some(&stranger), version);
                assert!(TlsPeer::answer(server.addr, &client, "").is_err());
            }
        }
    }
}

#[test]
fn tls_by_flags() {
    for name in [READMES[0], READMES[1], SECURITY] {
        let Some(text) = document(name) else { return };
        let args = arguments(&text, "./gnatsd --tls ");
        let (server, _dir, authority) = with_certificates("seed-tls-flags", "test/", &args);
        server.wait_for("TLS required for client connections");
        TlsPeer::log_in(server.addr, &authority.client(None, Version::V13), "");
        assert!(try_plain(&server, ""));
    }
}

#[test]
fn certificates_name_users() {
    let Some(text) = document(SECURITY) else {
        return;
    };
    let tls = block(&text, "tls {", &["verify_and_map"]);
    let email = Names {
        hosts: &["localhost", "127.0.0.1"],
        email: Some("derek@nats.io"),
        ..Names::default()
    };
    let subject = [
        (DnType::OrganizationalUnitName, "CNCF"),
        (DnType::CommonName, "example.com"),
    ];
    let dn = Names {
        subject: &subject,
        ..Names::default()
    };
    let other_email = Names {
        email: Some("eric@nats.io"),
        ..Names::default()
    };
    for (head, names, not) in [
        ("derek@nats.io", &email, &dn),
        ("CN=example.com", &dn, &email),
    ] {
        let users = block(&text, "authorization {", &[head, "users"]);
        let (server, _dir, authority) = tls_server("seed-map", &format!("{tls}\n{users}\n"));
        for version in [Version::V12, Version::V13] {
            let own = authority.sign(names);
            let client = authority.client(Some(&own), version);
            let mut peer = TlsPeer::log_in(server.addr, &client, "");
            peer.say("PUB foo 0\r\n\r\n");
            peer.sync();
            peer.say("PUB bar 0\r\n\r\n");
            let want = "-ERR 'Permissions Violation for Publish to \"bar\"'";
            assert_eq!(peer.line(), want);
            for names in [not, &other_email, &Names::default()] {
                let stranger = authority.sign(names);
                let client = authority.client(Some(&stranger), version);
                // A name in CONNECT does not help.
                let fields = user(
                    if head.contains('@') {
                        head
                    } else {
                        "CN=example.com,OU=CNCF"
                    },
                    "",
                );
                let (_, line) = TlsPeer::answer(server.addr, &client, &fields).unwrap();
                assert_eq!(line, VIOLATION);
            }
        }
    }
}

#[test]
fn every_field_of_the_block_is_known() {
    let Some(text) = document("004-authentication.txt") else {
        return;
    };
    let dir = Dir::new("seed-fields");
    for (field, config) in [
        ("token", "token: t"),
        ("user", "user: u"),
        ("password", "user: u, password: p"),
        ("timeout", "timeout: 1"),
        (
            "users",
            "users: [{user: u, password: p, permissions: {publish: a}}]",
        ),
    ] {
        assert!(text.contains(field));
        let path = dir.write("server.conf", &format!("authorization {{{config}}}\n"));
        let run = Run::new(&["-t", "-c", &path]);
        assert_eq!(run.code, Some(0), "{field}: {}", run.stderr);
    }
    assert!(text.contains("auth_callout"));
    let path = dir.write("server.conf", "authorization {auth_callout {issuer: A}}\n");
    let run = Run::new(&["-t", "-c", &path]);
    assert!(
        run.stderr.contains("not supported yet: auth_callout"),
        "{}",
        run.stderr
    );
    assert!(try_log_in(Process::start(&["--auth", "t"]).addr, &token("t")).is_ok());
}
