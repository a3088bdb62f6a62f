//! What a reload changes of being part of a cluster.

use crate::support::mesh::{Route, cluster, heard, node, reaches_at};
use crate::support::tls::Authority;
use crate::support::{Dir, Peer, Process, eventually, start};
use nats_server::options::cluster::ClusterOptions;
use nats_server::options::tls::{CertificateFiles, TlsOptions};
use nats_server::server::Server;
use std::net::SocketAddr;

/// A server of the cluster whose configuration can change.
struct Reloaded {
    dir: Dir,
    process: Process,
    /// Where it listens for routes.
    at: SocketAddr,
    reloads: usize,
}

impl Reloaded {
    /// With these lines in its block `cluster`.
    fn start(name: &str, lines: &str) -> Reloaded {
        let dir = Dir::new(name);
        let path = dir.write("server.conf", &Reloaded::config(lines));
        let process = Process::start(&["-c", &path]);
        let line = process.wait_for("Listening for route connections on ");
        let at = line.rsplit(' ').next().unwrap().parse().unwrap();
        Reloaded {
            dir,
            process,
            at,
            reloads: 0,
        }
    }

    fn config(lines: &str) -> String {
        let name = if lines.contains("name:") {
            ""
        } else {
            "name: test"
        };
        format!("cluster {{\n{name}\nlisten: \"127.0.0.1:-1\"\n{lines}\n}}\n")
    }

    fn reload(&mut self, lines: &str) {
        self.dir.write("server.conf", &Reloaded::config(lines));
        self.process.signal(libc::SIGHUP);
        self.reloads += 1;
        let done = |line: &&String| line.contains("Reloaded server configuration");
        eventually("the configuration is read again", || {
            self.process.log().iter().filter(done).count() == self.reloads
        });
    }
}

/// The next INFO about the server itself.
fn info(route: &mut Route) -> String {
    loop {
        let line = route.0.line();
        if line.starts_with("INFO") {
            return line;
        }
    }
}

#[test]
fn permissions_after_a_reload_hold_for_what_was_told_before() {
    let mut server = Reloaded::start("cluster-reload-permissions", "");
    let mut client = Peer::connect(server.process.addr);
    client.say("SUB a.x 1\r\nSUB b.x 2\r\nSUB b.x q 3\r\n");
    client.sync();
    let mut route = Route::at(server.at, "NROUTE");
    for _ in 0..3 {
        assert!(route.line_of("$G").starts_with("RS+ $G "));
    }
    route.0.say("RS+ $G a.y\r\nRS+ $G b.y\r\nPING\r\n");
    while route.0.line() != "PONG" {}
    assert!(!client.finds_nobody("a.y") && !client.finds_nobody("b.y"));

    server.reload("permissions {import: \"a.>\", export: {deny: \"b.>\"}}");
    let line = info(&mut route);
    for part in [
        "\"import\":{\"allow\":[\"a.>\"]}",
        "\"export\":{\"deny\":[\"b.>\"]}",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let mut gone = [String::new(), String::new()];
    for line in &mut gone {
        *line = loop {
            let line = route.line_of("$G");
            if line.starts_with("RS-") {
                break line;
            }
            // It is told once more.
            assert_eq!(line, "RS+ $G a.x");
        };
    }
    gone.sort();
    assert_eq!(gone, ["RS- $G b.x", "RS- $G b.x q"]);
    eventually("what is not exported is forgotten", || {
        client.finds_nobody("b.y")
    });
    assert!(!client.finds_nobody("a.y"));
    // What the others tell now is held against the new permissions, and so is what they are told.
    route.0.say("RS+ $G b.z\r\nRS+ $G a.z\r\nPING\r\n");
    while route.0.line() != "PONG" {}
    assert!(client.finds_nobody("b.z") && !client.finds_nobody("a.z"));
    client.say("SUB b.later 4\r\nSUB a.later 5\r\n");
    client.sync();
    while route.line_of("$G") != "RS+ $G a.later" {}

    server.reload("");
    let line = info(&mut route);
    assert!(
        !line.contains("import") && !line.contains("export"),
        "{line}"
    );
    let mut told = Vec::new();
    while told.len() < 3 {
        let line = route.line_of("$G");
        if line.contains(" b.") {
            told.push(line);
        }
    }
    told.sort();
    assert_eq!(told, ["RS+ $G b.later", "RS+ $G b.x", "RS+ $G b.x q 1"]);
}

#[test]
fn a_server_that_exports_more_after_a_reload_hears_all_of_it() {
    let mut server = Reloaded::start("cluster-reload-export", "permissions {export: \"a.>\"}");
    let other = start(|o| o.cluster = Some(cluster(&[server.at])));
    let mut listener = Peer::connect(other.addr());
    listener.say("SUB a.x 1\r\nSUB b.x 2\r\n");
    listener.sync();
    let mut client = Peer::connect(server.process.addr);
    heard(&mut client, "a.x");
    assert!(client.finds_nobody("b.x"));
    server.reload("permissions {export: [\"a.>\", \"b.>\"]}");
    heard(&mut client, "b.x");
    server.reload("permissions {export: \"b.>\"}");
    eventually("it is forgotten", || client.finds_nobody("a.x"));
    assert!(!client.finds_nobody("b.x"));
}

#[test]
fn servers_that_connect_after_a_reload_meet_the_new_certificate() {
    let dir = Dir::new("cluster-reload-tls");
    let (before, after) = (Authority::new(), Authority::new());
    before.serve(&dir, "old.pem", "old-key.pem", "old-ca.pem");
    after.serve(&dir, "new.pem", "new-key.pem", "new-ca.pem");
    let block = |name: &str| {
        let path = |file: &str| dir.path(&format!("{name}{file}"));
        format!(
            "tls {{cert_file: {:?}, key_file: {:?}, ca_file: {:?}}}",
            path(".pem"),
            path("-key.pem"),
            path("-ca.pem")
        )
    };
    let node = |name: &str, at: SocketAddr| {
        let own = ClusterOptions {
            tls: Some(TlsOptions {
                certs: vec![CertificateFiles {
                    cert_file: dir.path(&format!("{name}.pem")).into(),
                    key_file: dir.path(&format!("{name}-key.pem")).into(),
                }],
                ca_file: Some(dir.path(&format!("{name}-ca.pem")).into()),
                ..TlsOptions::default()
            }),
            ..cluster(&[at])
        };
        start(|o| o.cluster = Some(own))
    };
    let mut server = Reloaded::start("cluster-reload-tls-server", &block("old"));
    let first = node("old", server.at);
    assert!(reaches_at(server.process.addr, first.addr()));
    server.reload(&block("new"));
    // Who is connected stays so, who comes has to know the new authority.
    let second = node("new", server.at);
    assert!(reaches_at(server.process.addr, second.addr()));
    assert!(reaches_at(first.addr(), server.process.addr));
    let closed = |line: &&String| line.contains("Router connection closed");
    let closed = server.process.log().iter().filter(closed).count();
    let third = node("old", server.at);
    eventually("it is turned away", || {
        let log = server.process.log();
        log.iter()
            .filter(|line| line.contains("TLS route handshake error"))
            .count()
            > 0
    });
    let mut alone = Peer::connect(third.addr());
    alone.say("SUB third 1\r\n");
    alone.sync();
    let mut client = Peer::connect(server.process.addr);
    assert!(client.finds_nobody("third"));
    assert_eq!(closed, 0);
    // Without TLS.
    server.reload("");
    let plain = start(|o| o.cluster = Some(cluster(&[server.at])));
    assert!(reaches_at(server.process.addr, plain.addr()));
    assert!(reaches_at(server.process.addr, first.addr()));
}

#[test]
fn servers_that_connected_need_the_password_of_a_reload() {
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    for (before, after) in [("s3cret", "other"), ("s3cret", &*hash), (&*hash, "other")] {
        let block = |password: &str| {
            format!("authorization {{user: node, password: \"{password}\", timeout: 5}}")
        };
        let mut server = Reloaded::start("cluster-reload-password", &block(before));
        let mut route = Route::with(server.at, "NROUTE", "\"user\":\"node\",\"pass\":\"s3cret\"");
        route.sync();
        server.reload(&block(after));
        if after == hash {
            // Another form of the same password.
            route.sync();
            server.reload(&block(&bcrypt::hash("other", 4).unwrap()));
        }
        loop {
            let line = route.0.line();
            if line.starts_with("-ERR") {
                assert_eq!(line, "-ERR 'Authorization Violation'");
                break;
            }
        }
        route.0.expect_closed();
    }
}

#[test]
fn others_are_told_what_is_advertised_after_a_reload() {
    let mut server = Reloaded::start("cluster-reload-advertise", "");
    let line = Peer::raw(server.at).line();
    let own = format!("\"connect_urls\":[\"{}\"]", server.process.addr);
    assert!(line.contains(&own) && !line.contains("\"ip\""), "{line}");
    let mut route = Route::at(server.at, "NROUTE");
    route.sync();
    let other = node(&[]);
    let theirs = other.cluster_addr().unwrap();
    let url = format!("routes: [\"nats://{theirs}\"]");
    server.reload(&format!("advertise: \"10.1.2.3:99\"\n{url}"));
    let line = info(&mut route);
    assert!(
        line.contains("\"host\":\"10.1.2.3\",\"port\":99")
            && line.contains("\"ip\":\"nats-route://10.1.2.3:99/\""),
        "{line}"
    );
    // A client hears of the other server, until nobody is to be told.
    let mut client = Peer::raw(server.process.addr);
    client.line();
    client.say("CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n");
    let both =
        |line: &str| line.contains("connect_urls") && line.contains(&other.addr().to_string());
    if !both(&Peer::raw(server.process.addr).line()) {
        while !both(&client.line()) {}
    } else {
        while client.line() != "PONG" {}
    }
    server.reload(&format!("no_advertise: true\n{url}"));
    loop {
        let line = client.line();
        if line.starts_with("INFO") && !line.contains("connect_urls") {
            break;
        }
    }
    loop {
        let line = info(&mut route);
        if line.contains("\"port\":") && !line.contains("connect_urls") {
            assert!(!line.contains("\"ip\""), "{line}");
            break;
        }
    }
    // It is not told to those who come.
    assert!(
        !Peer::raw(server.process.addr)
            .line()
            .contains("connect_urls")
    );
}

#[test]
fn the_clusters_name_can_change_while_servers_stay() {
    let mut server = Reloaded::start("cluster-reload-name", "name: test");
    let other = start(|o| o.cluster = Some(cluster(&[server.at])));
    assert!(reaches_at(server.process.addr, other.addr()));
    server.reload("name: renamed");
    // The loops of clients hear of it one after the other.
    eventually("clients are told of the new name", || {
        let info = Peer::raw(server.process.addr).line();
        info.contains("\"cluster\":\"renamed\"")
    });
    assert!(reaches_at(other.addr(), server.process.addr));
    // Who comes has to know it.
    let mut late = Route::at(server.at, "NLATE");
    loop {
        let line = late.0.line();
        if line.starts_with("-ERR") {
            let text = "Rejecting connection, cluster name \"test\" does not match \"renamed\"";
            assert_eq!(line, format!("-ERR '{text}'"));
            break;
        }
    }
    late.0.expect_closed();
}

#[test]
fn routes_can_be_others_after_a_reload() {
    let dir = Dir::new("cluster-reload");
    let config = |routes: &[SocketAddr]| {
        let routes: Vec<String> = routes.iter().map(|at| format!("\"nats://{at}\"")).collect();
        format!(
            "cluster {{name: test, listen: \"127.0.0.1:-1\", routes: [{}]}}",
            routes.join(", ")
        )
    };
    let (a, b) = (node(&[]), node(&[]));
    let at = |server: &Server| server.cluster_addr().unwrap();
    let path = dir.write("server.conf", &config(&[at(&a)]));
    let process = Process::start(&["-c", &path]);
    let mut client = Peer::connect(process.addr);
    let listen = |server: &Server, subject: &str| {
        let mut peer = Peer::connect(server.addr());
        peer.say(format!("SUB {subject} 1\r\n"));
        peer.sync();
        peer
    };
    let (_at_a, _at_b) = (listen(&a, "at.a"), listen(&b, "at.b"));
    heard(&mut client, "at.a");
    dir.write("server.conf", &config(&[at(&b)]));
    process.signal(libc::SIGHUP);
    heard(&mut client, "at.b");
    eventually("the other route is gone", || client.finds_nobody("at.a"));
    // Where it listens cannot change.
    for (listen, wrong) in [
        ("127.0.0.1:6222", "cluster port: old=-1, new=6222"),
        ("localhost:-1", "cluster host: old=127.0.0.1, new=localhost"),
    ] {
        let config = format!("cluster {{name: other, listen: \"{listen}\"}}");
        dir.write("server.conf", &config);
        process.signal(libc::SIGHUP);
        process.wait_for(&format!("config reload not supported for {wrong}"));
    }
    assert!(!client.finds_nobody("at.b"));
}
