//! Limits that hold for all servers of a cluster, and who may be one of them.

use crate::cluster_pool::with;
use crate::support::mesh::{Route, heard, reference};
use crate::support::tls::{Authority, Names};
use crate::support::{Dir, Peer, Process, eventually, log_in, try_log_in};
use nats_server::options::WriteTimeout;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_route_that_takes_little_stays_open_unless_it_is_to_be_closed() {
    for policy in [WriteTimeout::Retry, WriteTimeout::Close] {
        let server = with(|own| {
            own.write_deadline = Some(Duration::from_millis(1500));
            own.write_timeout = policy;
        });
        let at = server.cluster_addr().unwrap();
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.connect(&at.into()).unwrap();
        let mut peer = Peer::from(TcpStream::from(socket));
        peer.line();
        peer.say("CONNECT {\"name\":\"x\",\"cluster\":\"test\",\"headers\":true}\r\n");
        peer.say(Route::info("NSLOW", ""));
        peer.say("RS+ $G big\r\n");
        let mut client = Peer::connect(server.addr());
        heard(&mut client, "big");
        let payload = vec![b'x'; 1_000_000];
        for _ in 0..40 {
            client.say("PUB big 1000000\r\n");
            client.say(&payload);
            client.say("\r\n");
        }
        client.sync();
        // Some of it is taken, all the time, far from all.
        let until = Instant::now() + Duration::from_millis(4000);
        let mut room = vec![0; 64 << 10];
        let mut closed = false;
        while Instant::now() < until && !closed {
            closed = !matches!(peer.stream.read(&mut room), Ok(1..));
            std::thread::sleep(Duration::from_millis(10));
        }
        match policy {
            WriteTimeout::Retry => {
                assert!(!closed && !client.finds_nobody("big"), "it is still there");
            }
            WriteTimeout::Close => eventually("it is closed", || client.finds_nobody("big")),
        }
    }
}

/// A server whose account A may have two clients.
fn limited(
    program: Option<&Path>,
    dir: &Dir,
    name: &str,
    routes: &[SocketAddr],
) -> (Process, SocketAddr) {
    let routes: Vec<String> = routes.iter().map(|at| format!("\"nats://{at}\"")).collect();
    let path = dir.write(
        &format!("{name}.conf"),
        &format!(
            "server_name: {name}\nlisten: \"127.0.0.1:-1\"\n\
             accounts {{A {{users: [{{user: a, password: p}}], limits: {{max_connections: 2}}}}\n\
             B {{users: [{{user: b, password: p}}]}}, SYS {{users: [{{user: s, password: p}}]}}}}\n\
             system_account: SYS\n\
             cluster {{name: c, listen: \"127.0.0.1:-1\", routes: [{}]}}\n",
            routes.join(", ")
        ),
    );
    let process = match program {
        None => Process::start(&["-c", &path]),
        Some(program) => {
            let mut command = Command::new(program);
            command.args(["-c", &path]);
            Process::spawn(command)
        }
    };
    let line = process.wait_for("Listening for route connections on ");
    let at = line.rsplit(' ').next().unwrap().parse().unwrap();
    (process, at)
}

const USER: &str = "\"user\":\"a\",\"pass\":\"p\"";
const FULL: &str = "-ERR 'maximum account active connections exceeded'";

/// Whether the server takes no further client of the account.
fn is_full(server: &Process) -> bool {
    matches!(try_log_in(server.addr, USER), Err(error) if error == FULL)
}

/// Who sees what servers tell of the account's clients.
struct Watch {
    peer: Peer,
    id: String,
}

impl Watch {
    fn new(server: &Process) -> Watch {
        let line = Peer::raw(server.addr).line();
        let said: Value = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        let mut peer = log_in(server.addr, "\"user\":\"s\",\"pass\":\"p\"");
        let id = said["server_id"].as_str().unwrap().to_owned();
        peer.say(format!(
            "SUB $SYS.ACCOUNT.A.SERVER.CONNS 1\r\nSUB answers.{id} 2\r\n"
        ));
        peer.sync();
        Watch { peer, id }
    }

    /// Waits until the server has been told that another one has so many clients. `other` is there.
    fn until(&mut self, other: &mut Watch, server: &str, clients: usize) {
        loop {
            let (line, body) = self.peer.message();
            // What looked for somebody is empty.
            let event: Value = serde_json::from_slice(&body).unwrap_or_default();
            if line.starts_with("MSG $SYS.ACCOUNT")
                && event["server"]["name"] == server
                && event["conns"] == clients
            {
                break;
            }
        }
        // What is asked there now comes here behind that, and is answered after it was taken.
        let inbox = format!("answers.{}", other.id);
        let asked = format!("$SYS.REQ.SERVER.{}.IDZ", self.id);
        other.peer.say(format!("PUB {asked} {inbox} 0\r\n\r\n"));
        loop {
            let (line, body) = other.peer.message();
            if line.contains(&inbox) && !body.is_empty() {
                break;
            }
        }
    }
}

fn clients_count_on_all_servers(first: Option<&Path>, second: Option<&Path>) {
    let dir = Dir::new("cluster-limits");
    let (one, at) = limited(first, &dir, "one", &[]);
    let (two, _) = limited(second, &dir, "two", &[at]);
    let (mut at_one, mut at_two) = (Watch::new(&one), Watch::new(&two));
    heard(&mut at_one.peer, &format!("answers.{}", at_two.id));
    heard(&mut at_two.peer, &format!("answers.{}", at_one.id));
    let mut here = log_in(one.addr, USER);
    at_two.until(&mut at_one, "one", 1);
    let there = log_in(two.addr, USER);
    at_one.until(&mut at_two, "two", 1);
    assert!(is_full(&one) && is_full(&two));
    // Other accounts are not concerned.
    log_in(one.addr, "\"user\":\"b\",\"pass\":\"p\"").sync();
    drop(there);
    at_one.until(&mut at_two, "two", 0);
    let third = log_in(one.addr, USER);
    at_two.until(&mut at_one, "one", 2);
    assert!(is_full(&two));
    drop(third);
    at_two.until(&mut at_one, "one", 1);
    let _there = log_in(two.addr, USER);
    at_one.until(&mut at_two, "two", 1);
    assert!(is_full(&one));
    here.sync();
    two.signal(libc::SIGTERM);
    eventually("a server that ended has no clients", || !is_full(&one));
}

#[test]
fn clients_are_counted_that_came_before_the_servers_met() {
    let dir = Dir::new("cluster-limits-late");
    let (one, at_first) = limited(None, &dir, "one", &[]);
    let (two, at_second) = limited(None, &dir, "two", &[]);
    let _here = log_in(one.addr, USER);
    let _there = log_in(two.addr, USER);
    let (mut at_one, mut at_two) = (Watch::new(&one), Watch::new(&two));
    let (_bridge, _) = limited(None, &dir, "bridge", &[at_first, at_second]);
    at_two.until(&mut at_one, "one", 1);
    assert!(is_full(&two));
}

#[test]
fn clients_of_an_account_count_on_all_servers() {
    clients_count_on_all_servers(None, None);
}

#[test]
fn servers_of_the_reference_count_clients_with_this_one() {
    let Some(program) = reference() else { return };
    // Those of the reference may count a client a moment after they have answered all that came behind
    // it, and no answer of theirs says that they have.
    for (first, second) in [(Some(&*program), None), (None, Some(&*program))] {
        let all = || clients_count_on_all_servers(first, second);
        let counts = (0..3).any(|_| std::panic::catch_unwind(all).is_ok());
        assert!(counts, "none of three tries");
    }
}

#[test]
fn of_too_many_clients_some_are_closed() {
    let dir = Dir::new("cluster-excess");
    let (one, at) = limited(None, &dir, "one", &[]);
    // Two each, before the servers know each other.
    let (alone, alone_at) = limited(None, &dir, "alone", &[]);
    let first: Vec<Peer> = (0..2).map(|_| log_in(one.addr, USER)).collect();
    let second: Vec<Peer> = (0..2).map(|_| log_in(alone.addr, USER)).collect();
    let (_bridge, _) = limited(None, &dir, "bridge", &[at, alone_at]);
    // Each server closes as many as there are too many of, as those of the reference do, as soon as the
    // other one tells of its clients: when one comes, or half a minute later.
    let mut all: Vec<Peer> = first.into_iter().chain(second).collect();
    eventually("clients are closed", || {
        let _ = try_log_in(one.addr, USER);
        all.iter_mut().any(|peer| {
            peer.hears(Duration::from_millis(20));
            String::from_utf8_lossy(peer.heard()).contains(FULL)
        })
    });
}

#[test]
fn names_in_certificates_can_be_what_lets_servers_in() {
    let dir = Dir::new("cluster-known");
    let authority = Authority::new();
    let ca = dir.write("ca.pem", &authority.pem());
    let certificate = |name: &str| {
        let signed = authority.sign(&Names {
            hosts: &[name, "localhost"],
            ..Names::default()
        });
        signed.write(&dir, name)
    };
    let server = |name: &str, host: &str, more: &str, routes: &str| {
        let (cert, key) = certificate(host);
        let path = dir.write(
            &format!("{name}.conf"),
            &format!(
                "server_name: {name}\nlisten: \"127.0.0.1:-1\"\n\
                 cluster {{name: c, listen: \"127.0.0.1:-1\", routes: [{routes}]\n\
                 tls {{cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, {more}}}}}\n"
            ),
        );
        let process = Process::start(&["-c", &path]);
        let line = process.wait_for("Listening for route connections on ");
        let port = line.rsplit(':').next().unwrap().to_owned();
        (process, port)
    };
    // The route itself leads nowhere; its host is what counts.
    let known = "\"nats://*.friends.invalid:1\"".replace("*.", "node-1.");
    let check = "verify_cert_and_check_known_urls: true";
    let (first, port) = server("first", "first.invalid", check, &known);
    let route = format!("\"nats://localhost:{port}\"");
    let (friend, _) = server("friend", "node-1.friends.invalid", "", &route);
    friend.wait_for("Route connected");
    let (stranger, _) = server("stranger", "node-2.friends.invalid", "", &route);
    first.wait_for("Authorization Violation");
    stranger.wait_for("Route Error 'Authorization Violation'");
    let log = first.log();
    let rids = |text: &str| -> BTreeSet<String> {
        let lines = log.iter().filter(|line| line.contains(text));
        let rid = |line: &String| line.split(" - ").nth(1).unwrap().to_owned();
        lines.map(rid).collect()
    };
    let (refused, connected) = (rids("Authorization Violation"), rids("Route connected"));
    assert!(!refused.is_empty() && !connected.is_empty());
    assert!(refused.is_disjoint(&connected), "{log:#?}");
}
