//! Servers that form a cluster, and a server of one as a test plays it.

use super::{Peer, eventually, start};
use nats_server::options::cluster::{ClusterOptions, RouteUrl};
use nats_server::server::Server;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Options of a server that listens on a free port of the loopback interface for others, and
/// connects to those.
pub fn cluster(routes: &[SocketAddr]) -> ClusterOptions {
    let urls = routes
        .iter()
        .map(|at| RouteUrl::parse(&format!("nats-route://{at}")).unwrap());
    ClusterOptions {
        name: Some("test".into()),
        host: "127.0.0.1".into(),
        port: -1,
        routes: urls.collect(),
        ..ClusterOptions::default()
    }
}

/// A server of the cluster that connects to the others.
pub fn node(others: &[&Server]) -> Server {
    let routes: Vec<SocketAddr> = others.iter().map(|s| s.cluster_addr().unwrap()).collect();
    start(|o| o.cluster = Some(cluster(&routes)))
}

/// Whether a message published at one server reaches a subscriber at another one.
pub fn reaches(from: &Server, to: &Server) -> bool {
    reaches_at(from.addr(), to.addr())
}

/// The same of the servers whose clients connect at these addresses.
pub fn reaches_at(from: SocketAddr, to: SocketAddr) -> bool {
    let mut subscriber = Peer::connect(to);
    let subject = format!("probe.{}", subscriber.stream.local_addr().unwrap().port());
    subscriber.say(format!("SUB {subject} 1\r\n"));
    subscriber.sync();
    let mut publisher = Peer::connect(from);
    for _ in 0..100 {
        publisher.say(format!("PUB {subject} 2\r\nhi\r\n"));
        publisher.sync();
        if subscriber.hears(Duration::from_millis(50)) {
            return true;
        }
    }
    false
}

/// Waits until every server hears every other one.
pub fn mesh(servers: &[&Server]) {
    for from in servers {
        for to in servers.iter().filter(|to| to.addr() != from.addr()) {
            assert!(reaches(from, to), "{} to {}", from.addr(), to.addr());
        }
    }
}

/// Reads the messages that are there; whether there were any.
pub fn drain(peer: &mut Peer) -> bool {
    let mut any = false;
    peer.hears(Duration::from_millis(50));
    while !peer.heard().is_empty() {
        if peer.heard() == b"PING\r\n" {
            peer.take_heard();
            peer.say("PONG\r\n");
        } else {
            peer.message();
            any = true;
        }
    }
    any
}

/// Waits until `subject` is listened to by somebody else, as this client sees it.
pub fn heard(peer: &mut Peer, subject: &str) {
    eventually("somebody listens", || !peer.finds_nobody(subject));
}

/// The reference's server: the program that `NATS_SERVER_GO` names, or `nats-server` on the path.
pub fn reference() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER_GO").map(PathBuf::from);
    let found = named.or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
        places.find(|place| place.is_file())
    });
    if found.is_none() {
        eprintln!("skipped: no nats-server on the path, and NATS_SERVER_GO is not set");
    }
    found
}

/// A server as a test plays it: what a route is sent is said by hand.
pub struct Route(pub Peer);

impl Route {
    pub fn info(id: &str, more: &str) -> String {
        format!(
            "INFO {{\"server_id\":\"{id}\",\"server_name\":\"{id}\",\"version\":\"2.15.0\",\
             \"proto\":2,\"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\
             \"max_payload\":1048576,\"cluster\":\"test\"{more}}}\r\n"
        )
    }

    pub fn open(server: &Server, id: &str) -> Route {
        Route::at(server.cluster_addr().unwrap(), id)
    }

    /// The same with more in its INFO.
    pub fn open_as(server: &Server, id: &str, more: &str) -> Route {
        Route::said(server.cluster_addr().unwrap(), id, "\"user\":\"\"", more)
    }

    pub fn at(at: SocketAddr, id: &str) -> Route {
        Route::said(at, id, "\"user\":\"\"", "")
    }

    /// The same with more in its CONNECT.
    pub fn with(at: SocketAddr, id: &str, more: &str) -> Route {
        Route::said(at, id, more, "")
    }

    fn said(at: SocketAddr, id: &str, more: &str, info: &str) -> Route {
        let mut peer = Peer::open(at);
        peer.say(format!(
            "CONNECT {{\"echo\":true,\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
             \"headers\":true,\"name\":\"x\",\"cluster\":\"test\",{more}}}\r\n"
        ));
        peer.say(Route::info(id, info));
        Route(peer)
    }

    /// Waits until all that was said is done.
    pub fn sync(&mut self) {
        self.0.say("PING\r\n");
        while self.0.line() != "PONG" {}
    }

    /// The next line that is about this account.
    pub fn line_of(&mut self, account: &str) -> String {
        loop {
            let line = self.0.line();
            if line.contains(&format!(" {account} ")) {
                return line;
            }
        }
    }
}

pub fn server_id(server: &Server) -> String {
    let line = Peer::raw(server.addr()).line();
    let from = line.find("\"server_id\":\"").unwrap() + 13;
    line[from..].split('"').next().unwrap().to_owned()
}
