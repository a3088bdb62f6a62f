//! Conversations of clients who have to say who they are.

use super::tests::{Bench, Peer};
use super::*;
use crate::nkey::tests_support::UserKey;
use crate::options::security::{AccountLimits, AccountOptions, ConnectionType, Login, User};

pub(super) fn user(name: &str, password: &str) -> User {
    User {
        login: Login::Name(name.into()),
        password: password.into(),
        permissions: None,
        connection_types: None,
        proxy_required: false,
    }
}

pub(super) fn account(name: &str, users: Vec<User>) -> AccountOptions {
    AccountOptions {
        name: name.into(),
        users,
        ..AccountOptions::default()
    }
}

/// Users `a` in account A, `b` in account B and `h`, with a hash, in the global one; the password is the name.
fn tenants(options: &mut Options) {
    options.accounts = vec![
        account("A", vec![user("a", "a"), user("a2", "a2")]),
        account("B", vec![user("b", "b")]),
    ];
    options.authorization.users = vec![user("h", HASH)];
}

const HASH: &str = "$2a$04$no.hash.is.computed.here";
const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

impl Bench {
    pub(super) fn log_in(&mut self, name: &str) -> Peer {
        self.log_in_at(0, name)
    }

    /// A client of a loop, whose password is its name.
    pub(super) fn log_in_at(&mut self, owner: usize, name: &str) -> Peer {
        let peer = self.open(owner);
        let json =
            format!(r#"{{"verbose":false,"pedantic":false,"user":"{name}","pass":"{name}"}}"#);
        self.say(peer, &format!("CONNECT {json}\r\n"));
        peer
    }

    fn checks(&mut self) -> Vec<PasswordCheck> {
        let mut checks = Vec::new();
        self.brokers[0].take_checks(&mut checks);
        checks
    }
}

#[test]
fn accounts_do_not_hear_each_other() {
    let mut bench = Bench::new(1, tenants);
    let (a, a2, b) = (bench.log_in("a"), bench.log_in("a2"), bench.log_in("b"));
    for peer in [a2, b] {
        bench.say(peer, "SUB > 1\r\nSUB x q 2\r\n");
    }
    bench.say(a, "PUB x 2\r\nhi\r\n");
    assert_eq!(bench.read(a2), "MSG x 1 2\r\nhi\r\nMSG x 2 2\r\nhi\r\n");
    assert_eq!(bench.read(b), "");
    bench.say(b, "PUB x 2\r\nho\r\n");
    assert_eq!(
        (bench.read(a2), bench.read(a)),
        (String::new(), String::new())
    );
    assert_eq!(bench.read(b), "MSG x 1 2\r\nho\r\nMSG x 2 2\r\nho\r\n");
}

#[test]
fn whatever_comes_before_a_login_is_a_violation() {
    for first in [
        "PING\r\n",
        "SUB a 1\r\n",
        "PUB a 0\r\n\r\n",
        "+OK\r\n",
        "\r\n",
        "p",
        "INFO {}\r\n",
    ] {
        let mut bench = Bench::new(1, tenants);
        let peer = bench.open(0);
        bench.say(peer, first);
        assert_eq!(bench.read(peer), VIOLATION, "{first:?}");
        assert_eq!(
            bench.closed(peer),
            Some(CloseReason::AuthenticationViolation)
        );
    }
    for wrong in [
        "CONNECT {}\r\nPING\r\n",
        "CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\nSUB a 1\r\n",
        "CONNECT {\"user\":\"a\",\"pass\":\"a\",\"account\":\"B\"}\r\n",
    ] {
        let mut bench = Bench::new(1, tenants);
        let peer = bench.open(0);
        bench.say(peer, wrong);
        assert_eq!(bench.read(peer), VIOLATION, "{wrong:?}");
        assert!(bench.closed(peer).is_some());
    }
}

#[test]
fn who_says_nothing_may_be_somebody() {
    let mut bench = Bench::new(1, |options| {
        tenants(options);
        options.no_auth_user = Some("b".into());
    });
    let (b, a) = (bench.log_in("b"), bench.log_in("a"));
    for peer in [a, b] {
        bench.say(peer, "SUB > 1\r\n");
    }
    let silent = bench.open(0);
    bench.say(silent, "PUB x 2\r\nhi\r\nPING\r\n");
    assert_eq!(bench.read(silent), "+OK\r\nPONG\r\n");
    assert_eq!(
        (bench.read(a), bench.read(b)),
        (String::new(), "MSG x 1 2\r\nhi\r\n".into())
    );
    // Whom that user may not be, the silent ones are not either.
    bench.renew(|options| {
        options.accounts[1].users[0].connection_types = Some([ConnectionType::Mqtt].into());
    });
    assert_eq!(bench.read(silent), VIOLATION);
    let silent = bench.open(0);
    bench.say(silent, "PING\r\n");
    assert_eq!(bench.read(silent), VIOLATION);
}

#[test]
fn what_follows_a_connect_waits_until_the_password_is_compared() {
    for (right, want) in [(true, "+OK\r\nPONG\r\n"), (false, VIOLATION)] {
        let mut bench = Bench::new(1, tenants);
        let peer = bench.open(0);
        let text = "CONNECT {\"user\":\"h\",\"pass\":\"x\"}\r\nPING\r\n";
        let mut data = Bytes::from(text);
        let turn = &mut Turn {
            wire: &mut super::tests::Tape::default(),
            now: bench.now,
        };
        let progress = bench.brokers[0].handle_bytes(peer.1, text.as_bytes(), &mut data, turn);
        let consumed = text.len() - "PING\r\n".len();
        assert_eq!(progress, Progress::Pause { consumed });
        let checks = bench.checks();
        let [check] = &checks[..] else { panic!() };
        assert_eq!((check.hash.reveal(), check.password.reveal()), (HASH, "x"));
        assert_eq!(bench.read(peer), "");
        // Another answer, or one for another client, changes nothing.
        let broker = &mut bench.brokers[0];
        assert!(!broker.handle_verified(peer.1, check.ticket + 1, true));
        assert_eq!(broker.handle_verified(peer.1, check.ticket, right), right);
        assert!(!broker.handle_verified(peer.1, check.ticket, right));
        bench.say(peer, "PING\r\n");
        assert_eq!(bench.read(peer), want);
    }
}

#[test]
fn time_is_up_while_a_password_is_compared() {
    let mut bench = Bench::new(1, tenants);
    let peer = bench.log_in("h");
    let checks = bench.checks();
    let deadline = bench.brokers[0].deadline(peer.1).unwrap();
    assert_eq!(deadline.since(bench.now), Duration::from_secs(2));
    bench.brokers[0].handle_timer(peer.1, deadline);
    assert_eq!(bench.read(peer), "-ERR 'Authentication Timeout'\r\n");
    assert!(!bench.brokers[0].handle_verified(peer.1, checks[0].ticket, true));
    assert_eq!(bench.closed(peer), Some(CloseReason::AuthenticationTimeout));
}

#[test]
fn a_hash_that_changes_meanwhile_is_not_the_one_that_was_compared() {
    let mut bench = Bench::new(1, tenants);
    let peer = bench.log_in("h");
    let checks = bench.checks();
    bench.renew(|options| options.authorization.users[0].password = "$2a$04$other".into());
    assert!(!bench.brokers[0].handle_verified(peer.1, checks[0].ticket, true));
    assert_eq!(bench.read(peer), VIOLATION);
}

#[test]
fn keys_sign_the_nonce_of_their_own_connection() {
    let key = UserKey::new(1);
    let public = key.public();
    let mut bench = Bench::new(1, |options| {
        let mut user = user("", "");
        user.login = Login::Nkey(public.clone());
        options.accounts = vec![account("A", vec![user])];
    });
    let nonce = |bench: &Bench, id: u64| {
        let nonce = bench.brokers[0].facts.nonce(ClientId(id));
        String::from_utf8(nonce.to_vec()).unwrap()
    };
    assert_ne!(nonce(&bench, 1), nonce(&bench, 2));
    let connect = |signed: &str| {
        let signature = key.sign(signed.as_bytes());
        format!("CONNECT {{\"nkey\":\"{public}\",\"sig\":\"{signature}\"}}\r\n")
    };
    let peer = bench.open(0);
    bench.say(peer, &connect(&nonce(&bench, 1)));
    assert_eq!(bench.read(peer), "+OK\r\n");
    let peer = bench.open(0);
    bench.say(peer, &connect(&nonce(&bench, 2)));
    assert_eq!(bench.read(peer), VIOLATION);
}

#[test]
fn accounts_have_limits() {
    let mut bench = Bench::new(1, |options| {
        tenants(options);
        options.accounts[0].limits = AccountLimits {
            max_connections: Some(2),
            max_subscriptions: Some(1),
            max_payload: Some(3),
            max_leafnodes: None,
        };
    });
    let (one, two) = (bench.log_in("a"), bench.log_in("a"));
    let three = bench.log_in("a2");
    let full = "-ERR 'maximum account active connections exceeded'\r\n";
    assert_eq!(bench.read(three), full);
    assert_eq!(
        bench.closed(three),
        Some(CloseReason::MaxAccountConnectionsExceeded)
    );
    let other = bench.log_in("b");
    bench.say(other, "SUB a 1\r\nSUB b 2\r\nPUB x 4\r\nabcd\r\n");
    assert_eq!(bench.read(other), "");
    bench.brokers[0].handle_end(two.1, CloseReason::ClientClosed);
    let four = bench.log_in("a");
    bench.say(four, "SUB a 1\r\nSUB b 2\r\nPUB a 3\r\nabc\r\n");
    let want = "-ERR 'maximum subscriptions exceeded'\r\nMSG a 1 3\r\nabc\r\n";
    assert_eq!(bench.read(four), want);
    bench.say(four, "PUB a 4\r\nabcd\r\n");
    assert_eq!(bench.read(four), "-ERR 'Maximum Payload Violation'\r\n");
    // A second login, to another account, gives its place free.
    bench.say(one, "CONNECT {\"user\":\"b\",\"pass\":\"b\"}\r\n");
    let names = ["A", "B"].map(|name| {
        let tenant = bench.brokers[0].facts.accounts.named(name).unwrap();
        tenant
            .account
            .connections
            .load(std::sync::atomic::Ordering::Relaxed)
    });
    assert_eq!(names, [0, 2]);
}

#[test]
fn another_login_leaves_the_old_subscriptions_behind() {
    let mut bench = Bench::new(1, tenants);
    let (mover, a) = (bench.log_in("a"), bench.log_in("a"));
    bench.say(mover, "SUB x 1\r\n");
    bench.say(
        mover,
        "CONNECT {\"user\":\"b\",\"pass\":\"b\"}\r\nSUB x 2\r\n",
    );
    bench.say(a, "PUB x 0\r\n\r\n");
    assert_eq!(bench.read(mover), "");
    let b = bench.log_in("b");
    bench.say(b, "PUB x 0\r\n\r\n");
    assert_eq!(bench.read(mover), "MSG x 2 0\r\n\r\n");
    bench.say(mover, "CONNECT {\"user\":\"b\",\"pass\":\"a\"}\r\n");
    assert_eq!(bench.read(mover), VIOLATION);
}

#[test]
fn a_reload_sends_away_who_is_gone_and_who_moved() {
    let mut bench = Bench::new(1, tenants);
    let (a, a2, b) = (bench.log_in("a"), bench.log_in("a2"), bench.log_in("b"));
    bench.say(a, "SUB > 1\r\n");
    bench.renew(|options| {
        let moved = options.accounts[0].users.pop().unwrap();
        options.accounts[1].users = vec![moved];
    });
    assert_eq!(bench.read(b), VIOLATION);
    assert_eq!(bench.read(a2), "");
    let mut closing = Vec::new();
    bench.brokers[0].take_closing(&mut closing);
    closing.sort_by_key(|(slot, _)| *slot);
    let want = [
        (a2.1, CloseReason::ClientClosed),
        (b.1, CloseReason::AuthenticationViolation),
    ];
    assert_eq!(closing, want);
    bench.say(a, "PUB x 0\r\n\r\n");
    assert_eq!(bench.read(a), "MSG x 1 0\r\n\r\n", "who stays keeps all");
    // Where nobody had to say who they are, they have to from now on.
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.open(0);
    bench.say(peer, "SUB x 1\r\n");
    bench.renew(tenants);
    assert!(bench.read(peer).ends_with(VIOLATION));
}

#[test]
fn info_tells_what_is_asked_for() {
    let info = |change: fn(&mut Options)| {
        let bench = Bench::new(1, change);
        let broker = &bench.brokers[0];
        let directory = &broker.facts.directory;
        (
            directory.is_required() && !directory.has_no_auth_user(),
            directory.challenges(),
        )
    };
    assert_eq!(info(|_| {}), (false, false));
    assert_eq!(info(tenants), (true, false));
    let silent = |options: &mut Options| {
        tenants(options);
        options.no_auth_user = Some("a".into());
    };
    assert_eq!(info(silent), (false, false));
}
