//! More than one connection between two servers of a cluster: pools, and accounts with their own.

use crate::monitor::json;
use crate::support::mesh::{Route, cluster, heard, mesh, node, reference};
use crate::support::{Dir, Peer, Process, eventually, log_in, start};
use nats_server::cluster::lanes::place;
use nats_server::options::cluster::{ClusterOptions, RouteUrl};
use nats_server::options::security::AccountOptions;
use nats_server::server::Server;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

/// A server, with monitoring and an account, with other options of its cluster.
pub fn with(change: impl FnOnce(&mut ClusterOptions)) -> Server {
    start(|o| {
        let mut own = cluster(&[]);
        change(&mut own);
        o.accounts = vec![AccountOptions {
            name: "A".into(),
            ..AccountOptions::default()
        }];
        o.cluster = Some(own);
        o.http_port = -1;
    })
}

/// The fields of an INFO line.
pub fn info(line: &str) -> Value {
    serde_json::from_str(line.strip_prefix("INFO ").expect(line)).unwrap()
}

#[test]
fn what_is_about_an_account_goes_over_its_connection() {
    let server = node(&[]);
    let mut client = Peer::connect(server.addr());
    client.say("SUB a 1\r\n");
    client.sync();
    let mut greeting = Peer::raw(server.cluster_addr().unwrap());
    let said = info(&greeting.line());
    assert_eq!(said["route_pool_size"], 3);
    assert!(said.get("route_pool_idx").is_none() && said.get("route_account").is_none());
    // The global account has one place, of as many as the server that has more of them wants.
    let own = place(b"$G", 3);
    let mut routes: Vec<Route> = (0..4)
        .map(|index| {
            // One of the reference's servers, which are given a moment to decide what stays.
            let more =
                format!(",\"go\":\"go1.26\",\"route_pool_size\":4,\"route_pool_idx\":{index}");
            Route::open_as(&server, "NPOOL", &more)
        })
        .collect();
    assert_eq!(routes[own as usize].line_of("$G"), "RS+ $G a");
    client.say("SUB b 2\r\nUNSUB 1\r\n");
    client.sync();
    let mut got = [0, 0].map(|_| routes[own as usize].line_of("$G"));
    got.sort();
    assert_eq!(got, ["RS+ $G b", "RS- $G a"]);
    for (index, route) in routes.iter_mut().enumerate() {
        if index == own as usize {
            continue;
        }
        route.0.say("PING\r\n");
        loop {
            let line = route.0.line();
            assert!(!line.contains("$G"), "{line}");
            if line == "PONG" {
                break;
            }
        }
    }
    // Whatever connection something comes on, it counts; and messages go where interest came from.
    let other = (own as usize + 1) % 4;
    routes[other].0.say("RS+ $G x\r\nRMSG $G b 2\r\nhi\r\n");
    client.expect("MSG b 2 2\r\nhi\r\n");
    heard(&mut client, "x");
    client.say("PUB x 1\r\n!\r\n");
    loop {
        let line = routes[other].0.line();
        if line.starts_with("RMSG $G x 1") {
            break;
        }
    }
    // A place that is taken.
    let more = format!(",\"route_pool_size\":4,\"route_pool_idx\":{other}");
    let mut second = Route::open_as(&server, "NPOOL", &more);
    second.0.say("RMSG $G b 3\r\ntwo\r\n");
    client.expect("MSG b 2 3\r\ntwo\r\n");
    // With the first gone, its interest is too.
    drop(routes.swap_remove(other));
    eventually("its interest ends", || client.finds_nobody("x"));
}

#[test]
fn an_account_of_its_own_is_not_named() {
    let server = with(|own| own.accounts = vec!["$G".into()]);
    let mut client = Peer::connect(server.addr());
    client.say("SUB a 1\r\nSUB q work 2\r\n");
    client.sync();
    let pool = ",\"route_pool_size\":3";
    let mut first = Route::open_as(&server, "NOWN", pool);
    let more = ",\"route_pool_size\":3,\"route_account\":\"$G\"";
    let mut route = Route::open_as(&server, "NOWN", more);
    let mut got = [0, 0].map(|_| {
        loop {
            let line = route.0.line();
            if line.starts_with("RS") {
                break line;
            }
        }
    });
    got.sort();
    assert_eq!(got, ["RS+ a", "RS+ q work 1"]);
    route.0.say("RS+ x.*\r\nRS+ y crew 3\r\nRMSG a 2\r\nhi\r\n");
    client.expect("MSG a 1 2\r\nhi\r\n");
    route
        .0
        .say("RMSG q + re work 2\r\nyo\r\nHMSG a 12 14\r\nNATS/1.0\r\n\r\nhm\r\n");
    client.expect("MSG q 2 re 2\r\nyo\r\nHMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhm\r\n");
    heard(&mut client, "y");
    client.take_heard();
    client.say("PUB x.1 in 1\r\n!\r\nHPUB y in 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let line = route.0.line();
        if line.contains("RMSG x") || line.contains("HMSG y + in") {
            lines.push(line);
        }
    }
    assert_eq!(lines, ["RMSG x.1 in 1", "HMSG y + in crew 12 12"]);
    client.say("UNSUB 1\r\n");
    loop {
        let line = route.0.line();
        if line.starts_with("RS-") {
            assert_eq!(line, "RS- a");
            break;
        }
    }
    route.0.say("RS- x.*\r\nRS- y crew\r\nPING\r\n");
    while route.0.line() != "PONG" {}
    assert!(client.finds_nobody("x.1") && client.finds_nobody("y"));
    // Nothing of it went over the pool.
    first.0.say("PING\r\n");
    loop {
        let line = first.0.line();
        assert!(!line.contains("$G"), "{line}");
        if line == "PONG" {
            break;
        }
    }
    let rows = json(server.monitor_addr().unwrap().addr, "/routez");
    let rows = rows["routes"].as_array().unwrap();
    let accounts = rows.iter().filter(|row| row["account"] == "$G");
    assert_eq!((rows.len(), accounts.count()), (2, 1));
}

#[test]
fn places_and_accounts_that_make_no_sense_are_refused() {
    let refused = |server: &Server, more: &str| {
        let mut route = Route::open_as(server, "NWRONG", more);
        loop {
            let line = route.0.line();
            if line.starts_with("-ERR") {
                route.0.expect_closed();
                break line;
            }
        }
    };
    let server = node(&[]);
    for (index, size) in [(3, 3), (-1, 3), (7, 7), (i64::MAX, 4)] {
        assert_eq!(
            refused(
                &server,
                &format!(",\"route_pool_size\":{size},\"route_pool_idx\":{index}")
            ),
            format!("-ERR 'Invalid route pool index: {index} - pool size is {size}'")
        );
    }
    assert_eq!(
        refused(&server, ",\"route_pool_size\":3,\"route_account\":\"A\""),
        "-ERR 'No route for account \"A\"'"
    );
    let text = "Not possible to have a dedicated route for account \"A\" between those servers";
    let text = format!("-ERR '{text}'");
    assert_eq!(refused(&server, ",\"route_account\":\"A\""), text);
    let alone = with(|own| own.pool_size = 0);
    let mut greeting = Peer::raw(alone.cluster_addr().unwrap());
    assert!(info(&greeting.line()).get("route_pool_size").is_none());
    let more = ",\"route_pool_size\":3,\"route_account\":\"A\"";
    assert_eq!(refused(&alone, more), text);
    // It still serves others, with one connection for everything.
    let other = node(&[&alone]);
    mesh(&[&alone, &other]);
    let rows = json(alone.monitor_addr().unwrap().addr, "/routez");
    assert_eq!(rows["num_routes"], 1);
}

#[test]
fn who_connects_makes_the_other_connections_and_those_that_are_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = with(|own| {
        own.routes = vec![RouteUrl::parse(&format!("nats://{at}")).unwrap()];
        own.accounts = vec!["A".into()];
    });
    let accept = || Peer::from(listener.accept().unwrap().0);
    let more = ",\"route_pool_size\":5";
    // What it says of a connection after it was told who it is connected with.
    let learn = |peer: &mut Peer| {
        assert!(peer.line().starts_with("CONNECT {"));
        peer.say(Route::info("NSERVER", more));
        let said = info(&peer.line());
        assert_eq!(said["route_pool_size"], 3);
        let index = said["route_pool_idx"].as_i64().unwrap_or(0);
        (
            index,
            said["route_account"].as_str().unwrap_or("").to_owned(),
        )
    };
    let mut first = accept();
    assert_eq!(learn(&mut first), (0, String::new()));
    // Nothing more before it is sure that it is welcome.
    listener.set_nonblocking(true).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(listener.accept().is_err());
    listener.set_nonblocking(false).unwrap();
    first.say("PONG\r\n");
    let mut routes = vec![first];
    let mut got = BTreeSet::new();
    while routes.len() < 7 {
        let mut peer = accept();
        assert!(got.insert(learn(&mut peer)), "{got:?}");
        peer.say("PONG\r\n");
        routes.push(peer);
    }
    let own = |name: &str| (0, name.to_owned());
    let pool = (1..5).map(|index| (index, String::new()));
    let want: BTreeSet<_> = pool.chain([own("A"), own("$SYS")]).collect();
    assert_eq!(got, want);
    // One of them, and then the first, are lost: they come back, in their places.
    let lost = routes.remove(3);
    drop(lost);
    let mut again = accept();
    let place = learn(&mut again);
    assert!(want.contains(&place));
    again.say("PONG\r\n");
    drop(routes.remove(0));
    let mut again = accept();
    assert_eq!(learn(&mut again), (0, String::new()));
    again.say("PONG\r\n");
    eventually("all are there", || {
        let rows = json(server.monitor_addr().unwrap().addr, "/routez");
        rows["num_routes"] == 7
    });
}

#[test]
fn an_account_can_get_its_own_connection_later() {
    let server = with(|_| {});
    let mut client = Peer::connect(server.addr());
    let index = place(b"$G", 3);
    let more = format!(",\"route_pool_size\":3,\"route_pool_idx\":{index}");
    let mut route = Route::open_as(&server, "NLATER", &more);
    route.0.say("RS+ $G before\r\n");
    heard(&mut client, "before");
    route.0.say(Route::info(
        "NLATER",
        ",\"route_pool_size\":3,\"route_account\":\"$G\",\"route_acc_add_reqid\":\"R1\"",
    ));
    loop {
        let line = route.0.line();
        if line.contains("R1") {
            let answer = info(&line);
            assert_eq!(answer["route_acc_add_reqid"], "R1");
            assert!(answer.get("route_account").is_none());
            break;
        }
    }
    assert!(client.finds_nobody("before"));
    let more = ",\"route_pool_size\":3,\"route_account\":\"$G\"";
    let mut own = Route::open_as(&server, "NLATER", more);
    own.0.say("RS+ after\r\n");
    heard(&mut client, "after");
}

#[cfg(unix)]
#[test]
fn pools_and_compression_can_be_others_after_a_reload() {
    let dir = Dir::new("cluster-pool-reload");
    let own = "pool_size: 3, accounts: [A]";
    let (one, at, http) = spawn(None, &dir, "one", own, &[]);
    let (two, _, _) = spawn(None, &dir, "two", own, &[at]);
    let change = |process: &Process, name: &str, from: &str, to: &str| {
        let path = dir.path(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        dir.write(name, &text.replace(from, to));
        process.signal(libc::SIGHUP);
    };
    let wait = |count: usize, accounts: &[&str], compression: &str| {
        eventually("connections are made anew", || {
            let rows = json(http, "/routez");
            let Some(rows) = rows["routes"].as_array() else {
                return false;
            };
            let mut own: Vec<&str> = rows.iter().filter_map(|r| r["account"].as_str()).collect();
            own.sort_unstable();
            let all = rows.iter().all(|row| row["compression"] == compression);
            rows.len() == count && own == accounts && all
        });
        all_hear_all(&[&one, &two]);
    };
    wait(5, &["A", "SYS"], "off");
    // The greater number counts, and an account needs both to want it.
    change(&one, "one.conf", own, "pool_size: 1, accounts: [A]");
    wait(5, &["A", "SYS"], "off");
    change(&two, "two.conf", own, "pool_size: 2, accounts: [A]");
    wait(4, &["A", "SYS"], "off");
    change(&one, "one.conf", "accounts: [A]", "accounts: []");
    change(&two, "two.conf", "accounts: [A]", "compression: s2_best");
    wait(3, &["SYS"], "s2_best");
}

/// A server of the reference, or this one, with accounts, and with these routes.
pub fn spawn(
    program: Option<&std::path::Path>,
    dir: &Dir,
    name: &str,
    own: &str,
    routes: &[SocketAddr],
) -> (Process, SocketAddr, SocketAddr) {
    let routes: Vec<String> = routes.iter().map(|at| format!("\"nats://{at}\"")).collect();
    let path = dir.write(
        &format!("{name}.conf"),
        &format!(
            "server_name: {name}\nlisten: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\n\
             accounts {{A {{users: [{{user: a, password: p}}]}}, B {{users: [{{user: b, password: p}}]}}\n\
             C {{users: [{{user: c, password: p}}]}}\n SYS {{users: [{{user: s, password: p}}]}}}}\n\
             system_account: SYS\n\
             cluster {{name: c, listen: \"127.0.0.1:-1\", routes: [{}], {own}}}\n",
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
    let at = |text: &str| -> SocketAddr {
        let line = process.wait_for(text);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let routes = at("Listening for route connections on ");
    let http = at("Starting http monitor on ");
    (process, routes, http)
}

/// What routez says of connections: how many, and for which accounts.
fn connections(http: SocketAddr) -> (usize, Vec<String>) {
    let rows = json(http, "/routez");
    let Some(rows) = rows["routes"].as_array() else {
        return (0, Vec::new());
    };
    let accounts = rows.iter().filter_map(|row| row["account"].as_str());
    let mut accounts: Vec<String> = accounts.map(Into::into).collect();
    accounts.sort();
    (rows.len(), accounts)
}

/// Messages of each account go from each server to each other one.
pub fn all_hear_all(servers: &[&Process]) {
    for user in ["a", "b", "c"] {
        let login = |at: SocketAddr| log_in(at, &format!("\"user\":\"{user}\",\"pass\":\"p\""));
        for from in servers {
            let mut publisher = login(from.addr);
            for to in servers.iter().filter(|to| to.addr != from.addr) {
                let mut subscriber = login(to.addr);
                let subject = format!("to.{}", subscriber.stream.local_addr().unwrap().port());
                subscriber.say(format!("SUB {subject} 1\r\n"));
                subscriber.sync();
                eventually("it arrives", || {
                    publisher.say(format!("PUB {subject} 1\r\n.\r\n"));
                    publisher.sync();
                    subscriber.hears(Duration::from_millis(20))
                });
            }
        }
    }
}

#[test]
fn servers_of_the_reference_have_pools_with_this_one() {
    let Some(program) = reference() else { return };
    let version = Command::new(&program).arg("-v").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if ["v2.9.", "v2.8."].iter().any(|old| version.contains(old)) {
        return eprintln!("skipped: {} knows no pools", version.trim());
    }
    let dir = Dir::new("cluster-pool-go");
    let pin = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    for (ours, theirs, count, accounts) in [
        ("", "", 4, pin(&["SYS"])),
        ("pool_size: 1", "pool_size: 3", 4, pin(&["SYS"])),
        ("pool_size: 5", "", 6, pin(&["SYS"])),
        ("accounts: [B]", "accounts: [B]", 5, pin(&["B", "SYS"])),
        ("pool_size: -1", "", 1, pin(&[])),
        ("", "pool_size: -1", 1, pin(&[])),
    ] {
        let (one, at, http) = spawn(None, &dir, "one", ours, &[]);
        let (two, theirs_at, _) = spawn(Some(&program), &dir, "two", theirs, &[at]);
        // And this one goes to theirs.
        let (three, ..) = spawn(None, &dir, "three", ours, &[theirs_at]);
        all_hear_all(&[&one, &two, &three]);
        let id_of = |process: &Process| {
            let line = Peer::raw(process.addr).line();
            info(&line)["server_id"].as_str().unwrap().to_owned()
        };
        let id = id_of(&two);
        eventually("all connections are there", || {
            let rows = json(http, "/routez");
            let rows = rows["routes"].as_array().unwrap();
            let with = rows.iter().filter(|row| row["remote_id"] == id.as_str());
            let mut own: Vec<&str> = with.clone().filter_map(|r| r["account"].as_str()).collect();
            own.sort_unstable();
            with.count() == count && own == accounts
        });
        // They stay as they are: nobody closes or refuses what the other side made.
        let before = connections(http);
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(connections(http), before);
        // The reference tries to have what cannot be had.
        let all = [&one, &two, &three];
        for process in all.iter().filter(|_| !accounts.is_empty()) {
            let errors = process.log();
            let errors = errors.iter().filter(|line| line.contains("[ERR]"));
            assert_eq!(errors.count(), 0, "{:#?}", process.log());
        }
        all_hear_all(&[&one, &two, &three]);
    }
}
