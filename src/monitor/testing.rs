//! A server that is not there: figures of two or more loops, made by hand.

use super::go_json::{Age, RoundTrip, Stamp};
use super::links::{Links, RouteRow};
use super::source::{ConfigVitals, HttpVitals, Source, ThreadVitals, Vitals};
use crate::accounts::Accounts;
use crate::accounts::interest::{LoopId, Target};
use crate::auth::Directory;
use crate::broker::Facts;
use crate::broker::survey::*;
use crate::config::{Nothing, parse};
use crate::conn::client::Traffic;
use crate::jetstream;
use crate::options::Options;
use crate::proto::error::CloseReason;
use crate::subject::pattern::matches;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The server's start.
pub(super) fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_629_205_500)
}

pub(super) fn at(millis: u64) -> SystemTime {
    start() + Duration::from_millis(millis)
}

pub(super) struct Fake {
    pub(super) facts: Arc<Facts>,
    pub(super) vitals: Vitals,
    /// By loop.
    pub(super) totals: Vec<Totals>,
    pub(super) connections: Vec<Vec<ConnectionRow>>,
    pub(super) subscriptions: Vec<Vec<SubscriptionRow>>,
    pub(super) links: Links,
    /// Loops that do not answer.
    pub(super) deaf: Vec<usize>,
    /// What JetStream tells, if there is any.
    pub(super) jetstream: Option<jetstream::report::Report>,
}

const CONFIG: &str = r#"
    server_name: "a<b>"
    server_tags: [east, "Rack:7"]
    server_metadata: {"k&": v}
    max_subs: 100
    mappings: {foo: bar}
    accounts {
      $SYS {users: [{user: sys, password: sys}]}
      A {
        users: [{user: a, password: a}]
        exports: [
          {stream: "s.>", accounts: [B]}
          {service: "q.*", accounts: [B], response_type: stream}
          {service: lat, latency: {sampling: headers, subject: latz}}
          {service: sampled, latency: {sampling: 50%, subject: latz}}
        ]
        mappings: {in: [{destination: out, weight: 50%}, {destination: out2, weight: 20%}]}
      }
      B {
        users: [{user: b, password: b}]
        imports: [
          {stream: {account: A, subject: "s.>"}, prefix: pp}
          {service: {account: A, subject: "q.x"}, to: "local.q", share: true}
          {service: {account: A, subject: lat}}
        ]
      }
    }
"#;

pub(super) fn facts(config: &str) -> Facts {
    let document = parse("test.conf", config, &Nothing).expect("it is a configuration");
    let mut options = Options::default();
    let findings = options.apply("test.conf", &document);
    assert_eq!(findings.errors, [""; 0]);
    let accounts = Accounts::new(&options, None, 7).expect("accounts are fine");
    let directory = Directory::new(&options, &accounts).expect("users are fine");
    Facts {
        id: "NSERVER".into(),
        name: options.server_name.clone().unwrap_or("NSERVER".into()),
        host: "0.0.0.0".into(),
        port: 4222,
        accounts,
        directory,
        nonce_key: [0; 32],
        event_seq: Arc::default(),
        cluster: Arc::default(),
        loop_bytes_max: 1 << 20,
        options,
    }
}

impl Fake {
    /// Three loops, clients in accounts A and B, one of them closed.
    pub(super) fn new() -> Fake {
        Fake::with(facts(CONFIG))
    }

    pub(super) fn with(facts: Facts) -> Fake {
        let number = |name: &str| facts.accounts.named(name).map(|t| t.account.number);
        let mut totals = vec![Totals::default(); 3];
        for (n, totals) in totals.iter_mut().enumerate() {
            *totals = figures(n, number("A").into_iter().chain(number("B")));
        }
        let mut fake = Fake {
            vitals: vitals(),
            totals,
            connections: vec![
                vec![open(5, "A", "a"), open(8, "B", "b<>")],
                vec![open(6, "A", "[REDACTED]"), closed(4, "A", "a")],
                vec![open(7, "$G", "")],
            ],
            subscriptions: vec![Vec::new(); 3],
            links: Links::default(),
            deaf: Vec::new(),
            jetstream: None,
            facts: Arc::new(facts),
        };
        for (owner, cid, account, subject, queue) in [
            (0, 5, "A", "foo.*", "q"),
            (0, 8, "B", "pp.s.1", ""),
            (1, 6, "A", "foo.1", ""),
        ] {
            fake.subscribe(owner, cid, account, subject, queue);
        }
        fake
    }

    pub(super) fn subscribe(
        &mut self,
        owner: usize,
        cid: u64,
        account: &str,
        subject: &str,
        queue: &str,
    ) {
        if let Some(tenant) = self.facts.accounts.named(account) {
            let group = Some(queue.as_bytes()).filter(|q| !q.is_empty());
            let target = Target {
                owner: LoopId(owner as u16),
                slot: cid as u32,
                generation: 0,
            };
            let inserted = tenant
                .account
                .interest
                .insert(subject.as_bytes(), group, target);
            assert!(inserted.is_ok());
        }
        let row = SubscriptionRow {
            account: account.into(),
            subject: subject.into(),
            queue: queue.into(),
            sid: "1".into(),
            msgs: 2,
            max: 5,
            cid,
        };
        self.subscriptions[owner].push(row);
    }

    fn told_connections(&self, owner: usize, asked: &ConnectionsQuestion) -> ConnectionsReport {
        let of_account = |row: &&ConnectionRow| {
            let account = asked.account.as_ref();
            account.is_none_or(|name| row.account == *name)
                && match asked.state {
                    State::Open => row.end.is_none(),
                    State::Closed => row.end.is_some(),
                    State::All => true,
                }
        };
        let list = |row: &ConnectionRow| -> Vec<SubscriptionRow> {
            let all = self.subscriptions[owner].iter();
            all.filter(|s| s.cid == row.cid).cloned().collect()
        };
        let wanted = |row: &&ConnectionRow| {
            asked.cid.is_none_or(|cid| row.cid == cid)
                && asked.user.as_ref().is_none_or(|user| row.user == *user)
                && asked.subject.as_ref().is_none_or(|subject| {
                    let mut subscriptions = list(row).into_iter();
                    subscriptions.any(|s| matches(s.subject.as_bytes(), subject))
                })
        };
        let all: Vec<_> = self.connections[owner].iter().filter(of_account).collect();
        let matching = all.len();
        let mut rows: Vec<_> = all.into_iter().filter(wanted).cloned().collect();
        for row in &mut rows {
            row.key = match asked.sort {
                Sort::Cid => row.cid,
                Sort::Pending => u64::MAX - row.pending as u64,
                Sort::BytesTo => u64::MAX - row.sent.bytes,
                _ => row.key,
            };
            if asked.subscriptions != Detail::Nothing {
                row.list = list(row);
            }
        }
        rows.sort_by_key(|row| (row.key, row.cid));
        rows.truncate(asked.pick);
        ConnectionsReport { matching, rows }
    }

    fn told_subscriptions(
        &self,
        owner: usize,
        asked: &SubscriptionsQuestion,
    ) -> SubscriptionsReport {
        let all = self.subscriptions[owner].iter();
        let mut rows: Vec<_> = all
            .filter(|row| {
                asked
                    .account
                    .as_ref()
                    .is_none_or(|name| *row.account == **name)
            })
            .filter(|row| {
                let test = asked.test.as_ref();
                test.is_none_or(|test| matches(row.subject.as_bytes(), test))
            })
            .cloned()
            .collect();
        let matching = rows.len();
        rows.truncate(asked.pick);
        SubscriptionsReport { matching, rows }
    }
}

impl Source for Fake {
    fn jetstream(&self, _asked: &jetstream::report::Question) -> Option<jetstream::report::Report> {
        self.jetstream.clone()
    }

    fn facts(&self) -> Arc<Facts> {
        self.facts.clone()
    }

    fn vitals(&self) -> Vitals {
        self.vitals.clone()
    }

    fn ask(&self, question: Question) -> Vec<Report> {
        let loops = (0..self.totals.len()).filter(|n| !self.deaf.contains(n));
        loops
            .map(|n| match &question {
                Question::Totals => Report::Totals(Box::new(self.totals[n].clone())),
                Question::Connections(q) => Report::Connections(self.told_connections(n, q)),
                Question::Subscriptions(q) => Report::Subscriptions(self.told_subscriptions(n, q)),
                Question::User(_) => Report::User(None),
                Question::Kick(_) | Question::LameDuck(_) => Report::Done(false),
            })
            .collect()
    }

    fn threads(&self) -> Vec<ThreadVitals> {
        vec![ThreadVitals {
            id: 12,
            name: "clients-0".into(),
            state: "sleeping".into(),
            cpu: Duration::from_millis(1500),
        }]
    }

    fn links(&self, _subscriptions: bool) -> Links {
        self.links.clone()
    }
}

fn vitals() -> Vitals {
    Vitals {
        start: start(),
        now: at(61_000),
        cpu_percent: 2.5,
        cpu: Duration::from_millis(1250),
        resident_bytes: 20 << 20,
        cores: 4,
        loops: 3,
        listener: Some(SocketAddr::from(([0, 0, 0, 0], 4222))),
        lame_duck: false,
        accepted: 9,
        http: HttpVitals {
            host: "0.0.0.0".into(),
            port: 8222,
            https_port: 0,
            base_path: "/nats".into(),
            requests: [("/varz".to_owned(), 3), ("/jsz".to_owned(), 0)].into(),
        },
        config: ConfigVitals {
            loaded: at(0),
            digest: "sha256:00ff".into(),
        },
        tls_not_after: None,
        command_line: vec!["nats-server".into(), "-m".into(), "8222".into()],
    }
}

fn figures(number: usize, accounts: impl Iterator<Item = u32>) -> Totals {
    let traffic = |msgs| Traffic {
        msgs,
        bytes: msgs * 10,
    };
    Totals {
        received: traffic(3),
        sent: traffic(4),
        connections: 2,
        connections_ever: 3,
        slow_consumers: number as u64,
        stale_connections: 1,
        stalls: 2,
        closed: vec![
            (CloseReason::ClientClosed, 1),
            (CloseReason::ParseError, number as u64),
        ],
        accounts: accounts
            .map(|account| AccountTotals {
                account,
                connections: 1,
                connections_ever: 2,
                subscriptions: 1,
                received: traffic(1),
                sent: traffic(2),
                slow_consumers: 1,
            })
            .collect(),
        memory: Memory {
            outbound: 1,
            inbound: 2,
            subscriptions: 3,
            routes: 4,
            read_buffers: 5,
            connections: 6,
            closed: 7,
        },
        cache: CacheTotals {
            entries: 5,
            hits: 1,
            lookups: 8,
            fan_out_max: 3 + number,
            fan_out_sum: 9,
        },
        load: Load {
            number,
            turns: 10,
            busy: Duration::from_millis(250),
            lived: Duration::from_secs(61),
            mail: number,
        },
    }
}

/// A connection that is there.
pub(super) fn open(cid: u64, account: &str, user: &str) -> ConnectionRow {
    ConnectionRow {
        key: 0,
        cid,
        addr: SocketAddr::from(([127, 0, 0, 1], 50_000 + cid as u16)),
        start: at(1000),
        last_activity: at(2000),
        end: None,
        rtt: Some(Duration::from_nanos(434_567)),
        pending: cid as usize,
        received: Traffic { msgs: 1, bytes: 2 },
        sent: Traffic { msgs: 3, bytes: 4 },
        stalls: 0,
        subscriptions: 1,
        name: String::new(),
        lang: String::new(),
        version: String::new(),
        tls: None,
        user: user.into(),
        account: account.into(),
        proxy: String::new(),
        list: Vec::new(),
    }
}

/// A connection that is gone, with everything that can be told of one.
pub(super) fn closed(cid: u64, account: &str, user: &str) -> ConnectionRow {
    ConnectionRow {
        end: Some((at(3500), CloseReason::SlowConsumerPendingBytes)),
        rtt: None,
        stalls: 3,
        name: "<script>\u{2028}".into(),
        lang: "go".into(),
        version: "1.2".into(),
        tls: Some(TlsRow {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            first: true,
            peer: Some(PeerCertificate {
                subject: "CN=x".into(),
                spki_sha256: "aa".into(),
                cert_sha256: "bb".into(),
            }),
        }),
        proxy: "UPROXY".into(),
        ..open(cid, account, user)
    }
}

/// A connection with another server.
pub(super) fn route() -> RouteRow {
    let (stamp, age) = (Stamp(at(0)), Age(Duration::from_secs(5)));
    RouteRow {
        rid: 4,
        remote_id: "NX".into(),
        remote_name: "x".into(),
        did_solicit: true,
        is_configured: true,
        ip: "127.0.0.1".parse().expect("it is an address"),
        port: 6222,
        start: stamp,
        last_activity: stamp,
        rtt: Some(RoundTrip(Duration::from_millis(2))),
        uptime: age,
        idle: age,
        pending_size: 7,
        in_msgs: 1,
        out_msgs: 2,
        in_bytes: 3,
        out_bytes: 4,
        subscriptions: 1,
        subscriptions_list: vec!["a".into()],
        subscriptions_list_detail: Vec::new(),
        account: "A".into(),
        compression: "off".into(),
    }
}
