//! Limits that hold for all servers of a cluster, and who may be one of them.

use crate::support::mesh::reference;
use crate::support::tls::{Authority, Names};
use crate::support::{Dir, Peer, Process, eventually, log_in, try_log_in};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
             B {{users: [{{user: b, password: p}}]}}}}\n\
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

fn clients_count_on_all_servers(first: Option<&Path>, second: Option<&Path>) {
    let dir = Dir::new("cluster-limits");
    let (one, at) = limited(first, &dir, "one", &[]);
    let (two, _) = limited(second, &dir, "two", &[at]);
    let mut here = log_in(one.addr, USER);
    let mut there = log_in(two.addr, USER);
    eventually("the first is full", || {
        if second.is_some() {
            // The reference tells when somebody comes, or after half a minute.
            there = log_in(two.addr, USER);
        }
        is_full(&one)
    });
    eventually("the second is full", || is_full(&two));
    // Other accounts are not concerned.
    log_in(one.addr, "\"user\":\"b\",\"pass\":\"p\"").sync();
    drop(there);
    let mut third = None;
    eventually("there is room again", || {
        third = try_log_in(one.addr, USER).ok();
        third.is_some()
    });
    eventually("the second is full again", || is_full(&two));
    here.sync();
    drop(third);
    let mut there = None;
    eventually("there is room at the second", || {
        there = try_log_in(two.addr, USER).ok();
        there.is_some()
    });
    eventually("the first is full once more", || is_full(&one));
    two.signal(libc::SIGTERM);
    eventually("a server that ended has no clients", || !is_full(&one));
}

#[test]
fn clients_of_an_account_count_on_all_servers() {
    clients_count_on_all_servers(None, None);
}

#[test]
fn servers_of_the_reference_count_clients_with_this_one() {
    let Some(program) = reference() else { return };
    clients_count_on_all_servers(Some(&program), None);
    clients_count_on_all_servers(None, Some(&program));
}

#[test]
fn of_too_many_clients_the_last_ones_are_closed() {
    let dir = Dir::new("cluster-excess");
    let (one, at) = limited(None, &dir, "one", &[]);
    // Two each, before the servers know each other.
    let (alone, alone_at) = limited(None, &dir, "alone", &[]);
    let first: Vec<Peer> = (0..2).map(|_| log_in(one.addr, USER)).collect();
    let mut second: Vec<Peer> = (0..2).map(|_| log_in(alone.addr, USER)).collect();
    let (_bridge, _) = limited(None, &dir, "bridge", &[at, alone_at]);
    // Each server closes as many as there are too many of, as those of the reference do, as soon as the
    // other one tells of its clients: when one comes, or half a minute later.
    let (mut last, mut first) = (second.pop().unwrap(), first);
    eventually("the last one is closed", || {
        first.pop();
        first.extend(try_log_in(one.addr, USER).ok());
        last.hears(Duration::from_millis(50))
    });
    assert_eq!(last.line(), FULL);
    last.expect_closed();
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
