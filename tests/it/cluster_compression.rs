//! Compression between servers of a cluster.

use crate::cluster_pool::{all_hear_all, info, spawn, with};
use crate::support::mesh::{Route, cluster, heard, mesh, node, reference};
use crate::support::{Dir, Peer, Process, eventually, log_in, start};
use nats_server::options::cluster::RouteUrl;
use nats_server::proto::compression::{Compression, Level};
use nats_server::proto::frames::{Packer, Unpacker};
use nats_server::server::Server;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// A server, and its monitoring, with this compression and routes to others.
fn compressing(compression: Compression, others: &[&Server]) -> (Server, SocketAddr) {
    let routes: Vec<SocketAddr> = others.iter().map(|s| s.cluster_addr().unwrap()).collect();
    let server = start(|o| {
        let mut own = cluster(&routes);
        own.compression = compression;
        o.cluster = Some(own);
        o.http_port = -1;
    });
    let http = server.monitor_addr().unwrap().addr;
    (server, http)
}

/// The document of either server; in whole, as HTTP 1.0 has no other way.
fn routez(http: SocketAddr) -> serde_json::Value {
    let mut stream = std::net::TcpStream::connect(http).unwrap();
    stream.write_all(b"GET /routez HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect(&answer);
    serde_json::from_str(body).expect(body)
}

/// What routez says of the compression of all connections, if there are so many.
fn shown(http: SocketAddr, count: usize) -> Option<BTreeSet<String>> {
    let rows = routez(http);
    let rows = rows["routes"].as_array()?;
    let of = |row: &serde_json::Value| row["compression"].as_str().unwrap().to_owned();
    (rows.len() == count).then(|| rows.iter().map(of).collect())
}

fn all_are(http: SocketAddr, count: usize, want: &str) {
    let want = BTreeSet::from([want.to_owned()]);
    eventually("all are compressed as they should", || {
        shown(http, count).is_some_and(|found| found == want)
    });
}

/// Payloads that can be compressed, and one that cannot.
fn payloads() -> Vec<Vec<u8>> {
    let mut noise = crate::support::Noise(7);
    let mut random = |n: usize| -> Vec<u8> { (0..n).map(|_| noise.next() as u8).collect() };
    vec![
        b"small".to_vec(),
        vec![b'x'; 1_000_000],
        random(700_000),
        [vec![b'y'; 300_000], random(300_000)].concat(),
    ]
}

/// Publishes at one and expects the same at the other.
fn whole(publisher: &mut Peer, subscriber: &mut Peer, subject: &str) {
    subscriber.say(format!("SUB {subject} 1\r\n"));
    subscriber.sync();
    heard(publisher, subject);
    let sent = payloads();
    for _ in 0..3 {
        for payload in &sent {
            publisher.say(format!("PUB {subject} {}\r\n", payload.len()));
            publisher.say(payload);
            publisher.say("\r\n");
        }
    }
    for _ in 0..3 {
        for payload in &sent {
            // What looked for a subscriber has no payload.
            let got = loop {
                let (_, body) = subscriber.message();
                if !body.is_empty() {
                    break body;
                }
            };
            assert!(got == *payload, "{} bytes", got.len());
        }
    }
}

#[test]
fn servers_compress_as_they_agree() {
    let fixed = Compression::Fixed;
    let auto = Compression::parse("auto", &[]).unwrap();
    for (one, other, want, at_other) in [
        (
            fixed(Level::Better),
            Compression::Accept,
            "s2_better",
            "s2_better",
        ),
        (
            Compression::Accept,
            fixed(Level::Best),
            "s2_best",
            "s2_best",
        ),
        (fixed(Level::Fast), fixed(Level::Best), "s2_fast", "s2_best"),
        (auto, Compression::Accept, "s2_uncompressed", "s2_fast"),
        (Compression::Accept, Compression::Accept, "off", "off"),
        (fixed(Level::Fast), Compression::Off, "off", "off"),
        (
            fixed(Level::Fast),
            Compression::NotSupported,
            "not supported",
            "not supported",
        ),
    ] {
        let (a, a_http) = compressing(one, &[]);
        let (b, b_http) = compressing(other, &[&a]);
        mesh(&[&a, &b]);
        all_are(a_http, 4, want);
        all_are(b_http, 4, at_other);
        let (mut here, mut there) = (Peer::connect(a.addr()), Peer::connect(b.addr()));
        whole(&mut here, &mut there, "there");
        whole(&mut there, &mut here, "here");
    }
}

/// A route of which both directions are compressed.
struct PackedRoute {
    peer: Peer,
    packer: Packer,
    unpacker: Unpacker,
    heard: Vec<u8>,
}

impl PackedRoute {
    fn new(mut peer: Peer) -> PackedRoute {
        let mut unpacker = Unpacker::default();
        unpacker.feed(&peer.take_heard());
        PackedRoute {
            peer,
            packer: Packer::default(),
            unpacker,
            heard: Vec::new(),
        }
    }

    fn say(&mut self, text: &str) {
        self.packer.raw().extend_from_slice(text.as_bytes());
        self.packer.finish();
        let bytes = self.packer.take(usize::MAX).to_vec();
        self.peer.say(bytes);
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(lf) = self.heard.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=lf).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            match self.unpacker.next_block().unwrap() {
                Some(block) => self.heard.extend(block),
                None => {
                    let mut room = [0; 4096];
                    let n = self.peer.stream.read(&mut room).unwrap();
                    assert!(n > 0, "closed");
                    self.unpacker.feed(&room[..n]);
                }
            }
        }
    }
}

const POOL: &str = ",\"route_pool_size\":1";

/// Connects, and comes to compression.
fn packed(server: &Server, id: &str) -> PackedRoute {
    let more = format!("{POOL},\"compression\":\"s2_better\"");
    let mut route = PackedRoute::new(Route::open_as(server, id, &more).0);
    let said = info(&route.line());
    assert_eq!(said["compression"], "s2_better");
    route.say(&Route::info(id, &more));
    route
}

#[test]
fn who_is_connected_to_answers_compressed_and_then_hears_the_rest() {
    let server = with(|own| own.pool_size = 1);
    let mut client = Peer::connect(server.addr());
    client.say("SUB a 1\r\n");
    client.sync();
    let mut route = packed(&server, "NPACKED");
    while route.line() != "RS+ $G a" {}
    route.say("RMSG $G a 2\r\nhi\r\nPING\r\n");
    client.expect("MSG a 1 2\r\nhi\r\n");
    while route.line() != "PONG" {}
    all_are(server.monitor_addr().unwrap().addr, 1, "s2_better");
}

#[test]
fn who_connects_agrees_in_plain_text() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = with(|own| {
        own.pool_size = 1;
        own.compression = Compression::Fixed(Level::Best);
        own.routes = vec![RouteUrl::parse(&format!("nats://{at}")).unwrap()];
    });
    let mut client = Peer::connect(server.addr());
    client.say("SUB a 1\r\n");
    client.sync();
    let mut peer = Peer::from(listener.accept().unwrap().0);
    assert!(peer.line().starts_with("CONNECT {"));
    peer.say(Route::info(
        "NOTHER",
        &format!("{POOL},\"compression\":\"accept\""),
    ));
    assert_eq!(info(&peer.line())["compression"], "s2_best");
    let mut route = PackedRoute::new(peer);
    let more = format!("{POOL},\"compression\":\"s2_best\"");
    route.say(&Route::info("NOTHER", &more));
    let said = info(&route.line());
    assert_eq!(said["compression"], "s2_best");
    while route.line() != "RS+ $G a" {}
    route.say("RS+ $G x\r\n");
    heard(&mut client, "x");
}

#[test]
fn what_cannot_be_decompressed_closes_the_route() {
    let server = with(|own| own.pool_size = 1);
    // A frame: its kind, the length of what follows, a sum, and a block that says how long it is.
    let frame = |kind: u8, body: &[u8]| {
        let len = u32::try_from(body.len()).unwrap().to_le_bytes();
        [&[kind], &len[..3], body].concat()
    };
    let five_mib = [0x80, 0x80, 0xc0, 0x02];
    for bytes in [
        b"PING\r\n".repeat(10),
        frame(0x10, b"unknown"),
        // More than a block may be once it is large again.
        frame(0x00, &[&[0; 4][..], &five_mib, &[0, b'x']].concat()),
        // A frame of 16 MiB.
        vec![0x01, 0xff, 0xff, 0xff],
        // A wrong sum.
        frame(0x01, b"0000PING\r\n"),
    ] {
        let mut route = packed(&server, "NBAD");
        route.peer.stream.write_all(&bytes).unwrap();
        loop {
            let mut room = [0; 4096];
            if matches!(route.peer.stream.read(&mut room), Ok(0) | Err(_)) {
                break;
            }
        }
    }
    let wrong = format!("{POOL},\"compression\":\"zstd\"");
    let mut route = Route::open_as(&server, "NBAD", &wrong);
    assert_eq!(
        route.0.line(),
        "-ERR 'unsupported route compression mode \"zstd\"'"
    );
    let other = node(&[&server]);
    mesh(&[&server, &other]);
}

#[test]
fn much_that_was_small_is_taken_in_pieces() {
    let server = with(|own| own.pool_size = 1);
    let mut client = Peer::connect(server.addr());
    client.say("SUB a 1\r\n");
    client.sync();
    let mut route = packed(&server, "NBOMB");
    while route.line() != "RS+ $G a" {}
    // 200 MB of messages that are a few hundred kilobytes on the wire.
    let message = format!("RMSG $G nobody 100000\r\n{}\r\n", "x".repeat(100_000));
    for _ in 0..100 {
        route.say(&message.repeat(20));
    }
    route.say("RMSG $G a 4\r\nend!\r\n");
    client.expect("MSG a 1 4\r\nend!\r\n");
}

#[test]
fn servers_of_the_reference_read_and_write_what_is_compressed() {
    let Some(program) = reference() else { return };
    let version = Command::new(&program).arg("-v").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if ["v2.9.", "v2.8."].iter().any(|old| version.contains(old)) {
        return eprintln!("skipped: {} knows no compression", version.trim());
    }
    let dir = Dir::new("cluster-compression-go");
    for (ours, theirs, want, at_theirs) in [
        ("s2_fast", "accept", "s2_fast", "s2_fast"),
        ("accept", "s2_best", "s2_best", "s2_best"),
        ("s2_best", "s2_better", "s2_best", "s2_better"),
        ("auto", "accept", "s2_uncompressed", "s2_fast"),
        ("accept", "auto", "s2_fast", "s2_uncompressed"),
        (
            "{mode: auto, rtt_thresholds: [0s, 5s]}",
            "s2_better",
            "s2_fast",
            "s2_better",
        ),
        ("off", "s2_fast", "off", "off"),
    ] {
        for go_first in [false, true] {
            let (ours, theirs) = (
                format!("compression: {ours}"),
                format!("compression: {theirs}"),
            );
            let own = |routes: &[SocketAddr]| spawn(None, &dir, "ours", &ours, routes);
            let go = |routes: &[SocketAddr]| spawn(Some(&program), &dir, "go", &theirs, routes);
            let ((one, _, http), (two, _, go_http)) = match go_first {
                true => {
                    let two = go(&[]);
                    (own(&[two.1]), two)
                }
                false => {
                    let one = own(&[]);
                    let two = go(&[one.1]);
                    (one, two)
                }
            };
            all_hear_all(&[&one, &two]);
            all_are(http, 4, want);
            all_are(go_http, 4, at_theirs);
            let login = |process: &Process| log_in(process.addr, "\"user\":\"a\",\"pass\":\"p\"");
            let (mut here, mut there) = (login(&one), login(&two));
            whole(&mut here, &mut there, "there");
            whole(&mut there, &mut here, "here");
            for process in [&one, &two] {
                let errors = process.log();
                let errors = errors.iter().filter(|line| line.contains("[ERR]"));
                assert_eq!(errors.count(), 0, "{:#?}", process.log());
            }
        }
    }
}
