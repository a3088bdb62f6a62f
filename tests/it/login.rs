//! Logins over real sockets: the loops, and the threads that compare passwords.

use crate::support::{Peer, eventually, start};
use nats_server::options::Options;
use nats_server::options::security::{AccountOptions, Login, User};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// `bcrypt` of "secret", as cheap as it gets.
fn hash() -> String {
    bcrypt::hash("secret", 4).unwrap()
}

fn user(name: &str, password: &str) -> User {
    User {
        login: Login::Name(name.into()),
        password: password.into(),
        permissions: None,
        connection_types: None,
        proxy_required: false,
    }
}

fn hashed(options: &mut Options) {
    options.accounts = vec![AccountOptions {
        name: "A".into(),
        users: vec![user("a", &hash()), user("plain", "plain")],
        ..AccountOptions::default()
    }];
}

fn connect(name: &str, password: &str) -> String {
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"user\":\"{name}\",\"pass\":\"{password}\"}}\r\n"
    )
}

/// A peer that said CONNECT and what comes after it in one write.
fn log_in(addr: SocketAddr, password: &str, then: &str) -> Peer {
    let mut peer = Peer::open(addr);
    peer.say(connect("a", password) + then);
    peer
}

#[test]
fn passwords_are_compared_with_hashes_and_what_follows_waits() {
    for loops in [1, 2] {
        let server = start(|options| {
            hashed(options);
            options.loops = Some(loops);
        });
        let mut peers: Vec<Peer> = (0..40)
            .map(|i| {
                let password = if i % 4 == 3 { "wrong" } else { "secret" };
                log_in(server.addr(), password, "SUB x 1\r\nPING\r\n")
            })
            .collect();
        for (i, peer) in peers.iter_mut().enumerate() {
            if i % 4 == 3 {
                peer.expect("-ERR 'Authorization Violation'\r\n");
                peer.expect_closed();
            } else {
                peer.expect("PONG\r\n");
            }
        }
        let mut publisher = log_in(server.addr(), "secret", "PUB x 2\r\nhi\r\n");
        publisher.sync();
        for (_, peer) in peers.iter_mut().enumerate().filter(|(i, _)| i % 4 != 3) {
            peer.expect("MSG x 1 2\r\nhi\r\n");
        }
    }
}

#[test]
fn a_command_cut_in_two_around_a_login_is_whole() {
    let server = start(hashed);
    let text = connect("a", "secret") + "SUB x 1\r\nPUB x 5\r\nhello\r\nPING\r\n";
    for cut in (1..text.len()).step_by(7) {
        let mut peer = Peer::open(server.addr());
        peer.say(&text[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        peer.say(&text[cut..]);
        peer.expect("MSG x 1 5\r\nhello\r\nPONG\r\n");
    }
}

#[test]
fn what_waits_behind_a_login_is_bounded() {
    let server = start(|options| {
        hashed(options);
        // So costly that the login takes longer than it may.
        options.accounts[0].users[0].password = hash().replace("$04$", "$14$").as_str().into();
        options.authorization.timeout = Some(Duration::from_millis(300));
    });
    let mut peer = log_in(server.addr(), "secret", "");
    let filler = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while sent < 64 << 20 && peer.try_say(&filler) {
        sent += filler.len();
    }
    peer.expect("-ERR 'Authentication Timeout'\r\n");
    peer.expect_closed();
    // Others log in meanwhile: what takes long does not hold up what does not.
    let mut plain = Peer::open(server.addr());
    plain.say(connect("plain", "plain"));
    plain.sync();
}

#[test]
fn time_is_up_for_those_who_say_nothing() {
    let server = start(|options| {
        hashed(options);
        options.authorization.timeout = Some(Duration::from_millis(100));
    });
    let began = Instant::now();
    let mut peer = Peer::open(server.addr());
    peer.expect("-ERR 'Authentication Timeout'\r\n");
    peer.expect_closed();
    assert!(began.elapsed() >= Duration::from_millis(90));
    eventually("nobody is left", || server.connections() == 0);
}
