//! Messages between accounts.

use super::*;
use crate::accounts::exchange::tests::options;
use crate::options::security::AccountOptions;
use proptest::prelude::*;
use std::collections::HashMap;

impl Bench {
    /// Loops of a server with accounts in the short form of [`options`], each with a user of its
    /// own name.
    fn with_accounts(loops: usize, accounts: &str) -> Bench {
        Bench::new(loops, |o| o.accounts = inhabited(accounts))
    }

    /// A client in an account.
    fn join(&mut self, owner: usize, account: &str) -> Peer {
        let peer = self.open(owner);
        let json = format!(
            r#"{{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"user":"{account}"}}"#
        );
        self.say(peer, &format!("CONNECT {json}\r\n"));
        peer
    }

    /// Lets time pass, with all timers.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let times = self.brokers.iter().filter_map(Broker::expires_at);
            let Some(next) = times.min().filter(|next| *next <= end) else {
                break;
            };
            self.now = next.max(self.now);
            for owner in 0..self.brokers.len() {
                let turn = &mut Turn {
                    wire: &mut self.wire,
                    now: self.now,
                };
                self.brokers[owner].expire(turn);
                self.brokers[owner].finish(turn);
                self.carry(owner);
            }
        }
        self.now = end;
    }

    /// Passes batches on to other loops.
    pub(super) fn carry(&mut self, owner: usize) {
        for (to, mut batch) in std::mem::take(&mut self.wire.batches) {
            let turn = &mut Turn {
                wire: &mut self.wire,
                now: self.now,
            };
            let from = LoopId(owner as u16);
            self.brokers[usize::from(to.0)].handle_batch(from, &mut batch, turn);
        }
    }

    fn pending(&self, account: &str) -> usize {
        let tenant = self.brokers[0].facts.accounts.named(account).unwrap();
        tenant.account.replies.len()
    }
}

fn inhabited(accounts: &str) -> Vec<AccountOptions> {
    let mut accounts = options(accounts).accounts;
    for account in &mut accounts {
        account.users = vec![super::login_tests::user(&account.name, "")];
    }
    accounts
}

/// The reply subject in what a service got.
fn reply_in(text: &str) -> String {
    let word = text.split_whitespace().find(|w| w.starts_with("_R_."));
    word.unwrap_or_else(|| panic!("no reply in {text:?}"))
        .to_owned()
}

/// What a request looks like to the service.
fn request(head: &str, info: &str, body: &str) -> String {
    let headers = format!("NATS/1.0\r\nNats-Request-Info: {info}\r\n\r\n");
    let (headers_len, len) = (headers.len(), headers.len() + body.len());
    format!("HMSG {head} {headers_len} {len}\r\n{headers}{body}\r\n")
}

#[test]
fn streams_reach_those_who_import_them() {
    for owner in [0, 1] {
        let mut bench = Bench::with_accounts(
            2,
            "A; stream s.>; stream w.*.*; stream private for B; stream one.* position 2
             B; get A s.>; get A w.*.* to x.$2.$1; get A private to mine; get A one.B
             C; get A s.> prefix p; get A s.x to y; get A one.C to for.me
             D; stream s.>",
        );
        let publisher = bench.join(0, "A");
        let (b, c, d) = (
            bench.join(owner, "B"),
            bench.join(1, "C"),
            bench.join(0, "D"),
        );
        for peer in [b, c, d] {
            bench.say(peer, "SUB > 1\r\n");
        }
        for (subject, in_b, in_c) in [
            ("s.x", &["s.x"][..], &["p.s.x", "y"][..]),
            ("s.y.z", &["s.y.z"], &["p.s.y.z"]),
            ("w.1.2", &["x.2.1"], &[]),
            ("w.1", &[], &[]),
            ("private", &["mine"], &[]),
            ("one.B", &["one.B"], &[]),
            ("one.C", &[], &["for.me"]),
            ("one.D", &[], &[]),
            ("other", &[], &[]),
        ] {
            bench.say(publisher, &format!("PUB {subject} r 2\r\nhi\r\n"));
            let message = |s: &&str| format!("MSG {s} 1 r 2\r\nhi\r\n");
            let all = |subjects: &[&str]| subjects.iter().map(message).collect::<String>();
            assert_eq!(bench.read(b), all(in_b), "{subject}");
            assert_eq!(bench.read(c), all(in_c), "{subject}");
            assert_eq!(bench.read(d), "");
        }
        // And not the other way.
        bench.say(publisher, "SUB > 1\r\n");
        bench.say(b, "PUB s.x 2\r\nhi\r\n");
        assert_eq!(bench.read(publisher), "");
    }
}

#[test]
fn a_stream_that_was_imported_goes_no_further() {
    let mut bench = Bench::with_accounts(
        1,
        "A; stream s
         B; get A s; stream s
         C; get B s",
    );
    let (a, b, c) = (bench.join(0, "A"), bench.join(0, "B"), bench.join(0, "C"));
    bench.say(b, "SUB s 1\r\n");
    bench.say(c, "SUB s 1\r\n");
    bench.say(a, "PUB s 0\r\n\r\n");
    assert_eq!(bench.read(b), "MSG s 1 0\r\n\r\n");
    assert_eq!(bench.read(c), "");
}

#[test]
fn routes_follow_the_interest_of_importing_accounts() {
    for owner in [0, 1] {
        let mut bench = Bench::with_accounts(2, "A; stream s.*\nB; get A s.* to t.*");
        let (a, b) = (bench.join(0, "A"), bench.join(owner, "B"));
        let talk = |bench: &mut Bench, words: &str| {
            bench.say(b, words);
            bench.say(a, "PUB s.x 0\r\n\r\n");
            bench.read(b)
        };
        for _ in 0..3 {
            assert_eq!(talk(&mut bench, ""), "");
        }
        assert_eq!(talk(&mut bench, "SUB t.x 1\r\n"), "MSG t.x 1 0\r\n\r\n");
        let both = talk(&mut bench, "SUB *.x 2\r\n");
        assert_eq!(both.matches("MSG").count(), 2, "{both}");
        assert_eq!(talk(&mut bench, "UNSUB 2\r\n"), "MSG t.x 1 0\r\n\r\n");
        assert_eq!(talk(&mut bench, "UNSUB 1\r\n"), "");
        assert_eq!(
            talk(&mut bench, "SUB t.x 3\r\nUNSUB 3 1\r\n"),
            "MSG t.x 3 0\r\n\r\n"
        );
        assert_eq!(talk(&mut bench, ""), "");
        // A reload without the import ends it, one with it begins it again.
        assert_eq!(talk(&mut bench, "SUB t.x 4\r\n"), "MSG t.x 4 0\r\n\r\n");
        for (accounts, want) in [
            ("A; stream s.*\nB", ""),
            ("A; stream s.*\nB; get A s.x to t.x", "MSG t.x 4 0\r\n\r\n"),
        ] {
            bench.renew(|o| o.accounts = inhabited(accounts));
            assert_eq!(talk(&mut bench, ""), want);
        }
    }
}

#[test]
fn each_account_has_queue_groups_of_its_own() {
    let mut bench = Bench::with_accounts(2, "A; stream s\nB; get A s\nC; get A s");
    let publisher = bench.join(0, "A");
    let mut counts = HashMap::new();
    let members: Vec<(&str, Peer)> = ["A", "B", "C"]
        .into_iter()
        .flat_map(|account| [(account, 0), (account, 1)])
        .map(|(account, owner)| (account, bench.join(owner, account)))
        .collect();
    for (_, member) in &members {
        bench.say(*member, "SUB s workers 1\r\n");
    }
    for _ in 0..100 {
        bench.say(publisher, "PUB s 0\r\n\r\n");
    }
    for (account, member) in members {
        let got = bench.read(member).matches("MSG").count();
        assert!(got > 20, "{got}");
        *counts.entry(account).or_insert(0) += got;
    }
    assert!(counts.values().all(|n| *n == 100), "{counts:?}");
}

#[test]
fn big_messages_and_runs_reach_importers_in_order() {
    let mut bench = Bench::with_accounts(2, "A; stream s\nB; get A s to t");
    let publisher = bench.join(0, "A");
    let subs: Vec<Peer> = (0..6)
        .map(|i| bench.join(i % 2, ["A", "B"][i / 3]))
        .collect();
    for sub in &subs {
        bench.say(*sub, "SUB * 7\r\n");
    }
    let (mut script, mut want) = (String::new(), String::new());
    for i in 0..40 {
        let body = "x".repeat(if i % 10 == 9 { 5000 } else { i });
        script += &format!("PUB s {}\r\n{body}\r\n", body.len());
        want += &format!("MSG ? 7 {}\r\n{body}\r\n", body.len());
    }
    bench.say(publisher, &script);
    for (i, sub) in subs.iter().enumerate() {
        let subject = ["s", "t"][i / 3];
        assert_eq!(bench.read(*sub), want.replace('?', subject));
    }
}

#[test]
fn a_service_is_asked_and_answers() {
    for (asks, serves) in [(0, 0), (0, 1), (1, 0)] {
        let mut bench =
            Bench::with_accounts(2, "A; service svc.*\nB; ask A svc.* to q.*\nC; ask A svc.1");
        let (a, b, c) = (
            bench.join(serves, "A"),
            bench.join(asks, "B"),
            bench.join(0, "C"),
        );
        bench.say(a, "SUB svc.* 5\r\n");
        bench.say(b, "SUB in.* 9\r\n");
        bench.say(c, "SUB > 1\r\n");
        bench.say(b, "PUB q.1 in.1 2\r\nhi\r\n");
        let got = bench.read(a);
        let reply = reply_in(&got);
        assert_eq!(
            got,
            request(&format!("svc.1 5 {reply}"), r#"{"acc":"B"}"#, "hi")
        );
        assert_eq!(bench.pending("A"), 1);
        // Nobody in another account can answer, not even the one that asked.
        for peer in [b, c] {
            bench.say(peer, &format!("PUB {reply} 4\r\nfake\r\n"));
        }
        assert_eq!(bench.read(b), "");
        bench.read(c);
        let big = "x".repeat(5000);
        bench.say(
            a,
            &format!("PUB {reply} 5000\r\n{big}\r\nPUB {reply} 5\r\nagain\r\n"),
        );
        assert_eq!(bench.read(b), format!("MSG in.1 9 5000\r\n{big}\r\n"));
        assert_eq!((bench.read(a), bench.read(c)), Default::default());
        assert_eq!(bench.pending("A"), 0);
        // A request without reply, and one that another account may not make.
        bench.say(b, "PUB q.2 1\r\nx\r\n");
        assert_eq!(bench.read(a), request("svc.2 5", r#"{"acc":"B"}"#, "x"));
        bench.say(c, "PUB svc.2 1\r\nx\r\nPUB q.1 1\r\nx\r\n");
        assert_eq!(bench.read(a), "");
    }
}

#[test]
fn who_asks_cannot_be_forged() {
    let mut bench = Bench::with_accounts(
        1,
        "A; service one; service two\nB; ask A one; ask A two share",
    );
    let (a, b) = (bench.join(0, "A"), bench.join(0, "B"));
    bench.say(a, "SUB * 5\r\n");
    for name in [
        "Nats-Request-Info",
        "nats-request-info",
        "NATS-Request-INFO ",
    ] {
        let headers = format!("NATS/1.0\r\n{name}: {{\"acc\":\"A\"}}\r\nX: 1\r\n\r\n");
        let len = headers.len();
        bench.say(b, &format!("HPUB one {len} {}\r\n{headers}hi\r\n", len + 2));
        let got = bench.read(a);
        let want = "NATS/1.0\r\nX: 1\r\nNats-Request-Info: {\"acc\":\"B\"}\r\n\r\nhi\r\n";
        assert!(got.ends_with(want), "{got}");
        assert!(got.starts_with(&format!(
            "HMSG one 5 {0} {1}\r\n",
            want.len() - 4,
            want.len() - 2
        )));
    }
    let wall = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    bench.brokers[0].set_wall_clock(bench.now, wall);
    bench.say(b, "PUB two 0\r\n\r\n");
    let info = r#"{"start":"2001-09-09T01:46:40Z","host":"127.0.0.1","id":1,"acc":"B","user":"B","server":"n","kind":"Client","client_type":"nats"}"#;
    assert_eq!(bench.read(a), request("two 5", info, ""));
}

#[test]
fn requests_that_no_service_gets_are_told() {
    for owner in [0, 1] {
        let mut bench = Bench::with_accounts(2, "A; service svc\nB; ask A svc to q");
        let (a, b) = (bench.join(0, "A"), bench.join(owner, "B"));
        bench.say(b, "SUB in.* 9\r\nPUB q in.1 0\r\n\r\n");
        let want = "HMSG in.1 9 33 33\r\nNATS/1.0 503\r\nNats-Subject: q\r\n\r\n\r\n";
        assert_eq!(bench.read(b), want);
        assert_eq!(bench.pending("A"), 0);
        bench.say(a, "SUB svc 1\r\n");
        bench.say(b, "PUB q in.1 0\r\n\r\n");
        assert_eq!((bench.read(b), bench.pending("A")), (String::new(), 1));
    }
}

#[test]
fn a_streamed_answer_ends_with_an_empty_message() {
    let mut bench = Bench::with_accounts(1, "A; streamed svc\nB; ask A svc");
    let (a, b) = (bench.join(0, "A"), bench.join(0, "B"));
    bench.say(a, "SUB svc 1\r\n");
    bench.say(b, "SUB in 9\r\nPUB svc in 0\r\n\r\n");
    let reply = reply_in(&bench.read(a));
    for _ in 0..3 {
        bench.pass(Duration::from_secs(100));
        bench.say(a, &format!("PUB {reply} 1\r\n1\r\n"));
        assert_eq!(bench.read(b), "MSG in 9 1\r\n1\r\n");
    }
    bench.say(a, &format!("PUB {reply} 0\r\n\r\nPUB {reply} 1\r\n2\r\n"));
    assert_eq!(bench.read(b), "MSG in 9 0\r\n\r\n");
    assert_eq!(bench.pending("A"), 0);
    // One whose requestor is gone ends with the first answer that nobody gets.
    bench.say(b, "PUB svc in 0\r\n\r\nUNSUB 9\r\n");
    let reply = reply_in(&bench.read(a));
    bench.say(a, &format!("PUB {reply} 1\r\n1\r\n"));
    assert_eq!(bench.pending("A"), 0);
}

#[test]
fn answers_that_do_not_come_are_given_up() {
    for owner in [0, 1] {
        let mut bench = Bench::with_accounts(2, "A; service svc\nB; ask A svc");
        let (a, b) = (bench.join(0, "A"), bench.join(owner, "B"));
        bench.say(a, "SUB svc 1\r\n");
        bench.say(b, "SUB in 9\r\nPUB svc in 0\r\n\r\n");
        let reply = reply_in(&bench.read(a));
        bench.pass(Duration::from_secs(119));
        assert_eq!(bench.pending("A"), 1);
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.pending("A"), 0);
        bench.say(a, &format!("PUB {reply} 1\r\n1\r\n"));
        assert_eq!(bench.read(b), "");
        bench.say(b, "PUB svc in 0\r\n\r\nUNSUB 9\r\n");
        assert_eq!(bench.pending("A"), 1);
        bench.pass(Duration::from_secs(2));
        assert_eq!(bench.pending("A"), 0);
        assert!(bench.brokers.iter().all(|b| b.expires_at().is_none()));
    }
}

#[test]
fn a_service_may_be_asked_by_way_of_another_account() {
    let mut bench = Bench::with_accounts(
        2,
        "A; service deep.*
         B; ask A deep.* to mid.*; service mid.*
         C; ask B mid.* to q.*",
    );
    let (a, b, c) = (bench.join(0, "A"), bench.join(0, "B"), bench.join(1, "C"));
    bench.say(a, "SUB deep.> 1\r\n");
    bench.say(b, "SUB mid.> 2\r\n");
    bench.say(c, "SUB in 3\r\n");
    bench.say(c, "PUB q.x in 2\r\nhi\r\n");
    let (in_a, in_b) = (bench.read(a), bench.read(b));
    let (first, second) = (reply_in(&in_b), reply_in(&in_a));
    assert_eq!(
        in_b,
        request(&format!("mid.x 2 {first}"), r#"{"acc":"C"}"#, "hi")
    );
    let info = r#"{"acc":"C","svc":"B"}"#;
    assert_eq!(in_a, request(&format!("deep.x 1 {second}"), info, "hi"));
    // The answer may be answered, and so on.
    bench.say(a, &format!("SUB back 4\r\nPUB {second} back 2\r\nyo\r\n"));
    let got = bench.read(c);
    let back = reply_in(&got);
    assert_eq!(got, format!("MSG in 3 {back} 2\r\nyo\r\n"));
    bench.say(c, &format!("PUB {back} 3\r\nbye\r\n"));
    assert_eq!(bench.read(a), "MSG back 4 3\r\nbye\r\n");
    for account in ["A", "B", "C"] {
        assert_eq!(bench.pending(account), 0, "{account}");
    }
    bench.say(b, &format!("UNSUB 2\r\nPUB {first} 2\r\nno\r\n"));
    bench.say(a, "UNSUB 1\r\n");
    assert_eq!(bench.read(c), "");
    bench.say(c, "PUB q.x in 2\r\nhi\r\n");
    assert!(bench.read(c).contains("Nats-Subject: q.x"));
    assert_eq!((bench.pending("A"), bench.pending("B")), (0, 0));
}

#[test]
fn an_answer_does_not_go_round() {
    // Everything that is published in A is a request to B, answers included.
    for text in [
        "A; ask B >\nB; service >",
        "A; ask B >\nB; service >; ask C >\nC; service >",
    ] {
        let mut bench = Bench::with_accounts(1, text);
        let last = if text.contains("C;") { "C" } else { "B" };
        let (a, z) = (bench.join(0, "A"), bench.join(0, last));
        bench.say(z, "SUB foo 1\r\n");
        bench.say(a, "SUB in 2\r\nPUB foo in 0\r\n\r\n");
        let reply = reply_in(&bench.read(z));
        bench.say(z, &format!("PUB {reply} 2\r\nok\r\n"));
        assert_eq!(bench.read(a), "MSG in 2 2\r\nok\r\n");
    }
    // An account may ask itself; once.
    let mut bench = Bench::with_accounts(1, "A; service echo; ask A echo");
    let a = bench.join(0, "A");
    bench.say(a, "SUB echo 1\r\nSUB in 2\r\nPUB echo in 0\r\n\r\n");
    let got = bench.read(a);
    assert_eq!(got.matches("MSG echo 1").count(), 2, "{got}");
    bench.say(a, &format!("PUB {} 1\r\n!\r\n", reply_in(&got)));
    assert_eq!(bench.read(a), "MSG in 2 1\r\n!\r\n");
}

#[test]
fn what_came_by_a_service_goes_to_no_stream() {
    let mut bench = Bench::with_accounts(
        1,
        "A; service s; stream >
         B; ask A s
         C; get A >",
    );
    let (a, b, c) = (bench.join(0, "A"), bench.join(0, "B"), bench.join(0, "C"));
    bench.say(a, "SUB s 1\r\n");
    bench.say(c, "SUB > 1\r\n");
    bench.say(b, "PUB s 0\r\n\r\n");
    assert!(bench.read(a).starts_with("HMSG s 1"));
    assert_eq!(bench.read(c), "");
}

#[test]
fn accounts_that_multiply_messages_are_bounded() {
    // Each of two accounts asks both of the next two, and so on: 2^30 ways to the end.
    let line = |i: usize| {
        let next = i + 1;
        let asks = format!("service a; ask A{next} a; ask B{next} a");
        format!("A{i}; {asks}\nB{i}; {asks}\n")
    };
    let text = (0..30).map(line).collect::<String>() + "A30; service a\nB30; service a";
    let mut bench = Bench::with_accounts(1, &text);
    let (first, last) = (bench.join(0, "A0"), bench.join(0, "A30"));
    bench.say(last, "SUB a 1\r\n");
    bench.say(first, "PUB a 0\r\n\r\n");
    let got = bench.read(last).matches("HMSG").count();
    assert!((1000..=4096).contains(&got), "{got}");
}

/// The JSON of the only message, without what differs from run to run.
fn told(text: &str) -> serde_json::Value {
    let json = text.lines().nth(1).unwrap_or_else(|| panic!("{text:?}"));
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    let fields = value.as_object_mut().unwrap();
    let id = fields.remove("id").unwrap();
    assert_eq!(id.as_str().unwrap().len(), 22);
    let kind = fields.remove("type").unwrap();
    assert_eq!(kind, "io.nats.server.metric.v1.service_latency");
    value
}

#[test]
fn latencies_are_told() {
    let mut bench = Bench::with_accounts(
        1,
        "A; service svc latency lat.svc; stream lat.>
         B; ask A svc
         C; get A lat.>",
    );
    let (a, b, c) = (bench.join(0, "A"), bench.join(0, "B"), bench.join(0, "C"));
    let wall = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    bench.brokers[0].set_wall_clock(bench.now, wall);
    bench.say(c, "SUB lat.* 1\r\n");
    bench.say(b, "SUB in 2\r\nPING\r\n");
    assert!(bench.read(b).starts_with("PONG"));
    // Nobody is there.
    bench.say(b, "PUB svc in 0\r\n\r\n");
    let status = |value: &serde_json::Value| value["status"].as_u64().unwrap();
    let first = told(&bench.read(c));
    assert_eq!(status(&first), 503);
    // The round trip is to be told, so it is measured.
    assert!(bench.read(b).contains("PING\r\n"));
    bench.now = bench.now + Duration::from_millis(5);
    bench.say(b, "PONG\r\n");
    bench.say(a, "SUB svc 1\r\n");
    bench.say(b, "PUB svc in 0\r\n\r\n");
    let reply = reply_in(&bench.read(a));
    assert!(reply.ends_with(".T"), "{reply}");
    bench.now = bench.now + Duration::from_millis(7);
    bench.say(a, &format!("PUB {reply} 2\r\nok\r\n"));
    assert!(bench.read(b).ends_with("MSG in 2 2\r\nok\r\n"));
    let responder = serde_json::json!({
        "start": "2001-09-09T01:46:40Z", "host": "127.0.0.1", "id": 1, "acc": "A",
        "user": "A", "server": "n", "kind": "Client", "client_type": "nats",
    });
    let want = serde_json::json!({
        "timestamp": "2001-09-09T01:46:40.012Z", "status": 200,
        "requestor": {"acc": "B", "rtt": 5_000_000}, "responder": responder,
        "start": "2001-09-09T01:46:40Z", "service": 7_000_000, "system": 0, "total": 12_000_000,
    });
    assert_eq!(told(&bench.read(c)), want);
    // No reply; nobody waits any more; nobody answers.
    bench.say(b, "PUB svc 0\r\n\r\n");
    let bad = told(&bench.read(c));
    assert_eq!(
        (status(&bad), &bad["description"]),
        (400, &"Bad Request".into())
    );
    bench.say(b, "PUB svc gone 0\r\n\r\n");
    bench.pass(Duration::from_secs(2));
    assert_eq!(status(&told(&bench.read(c))), 408);
    bench.say(b, "PUB svc in 0\r\n\r\n");
    bench.pass(Duration::from_secs(121));
    assert_eq!(status(&told(&bench.read(c))), 504);
}

/// What a graph of accounts is made of: a reference to compare with, written without regard for
/// speed.
#[derive(Clone, Debug)]
struct Import {
    from: usize,
    to: usize,
    subject: &'static str,
    local: &'static str,
    is_service: bool,
}

fn matches(pattern: &str, subject: &str) -> bool {
    let (p, s): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), subject.split('.').collect());
    let rest = p.last() == Some(&">");
    let fixed = if rest { p.len() - 1 } else { p.len() };
    (if rest {
        s.len() > fixed
    } else {
        s.len() == fixed
    }) && (0..fixed).all(|i| p[i] == "*" || p[i].starts_with('$') || p[i] == s[i])
}

/// These patterns have one wildcard, at their end, or none.
fn rewrite(subject: &str, from: &str, to: &str) -> String {
    let head = |pattern: &str| pattern.len() - pattern.split('.').next_back().unwrap().len();
    if !from.contains(['*', '>', '$']) {
        return to.to_owned();
    }
    if !to.contains(['*', '>', '$']) {
        return to.to_owned();
    }
    format!("{}{}", &to[..head(to)], &subject[head(from)..])
}

/// What is delivered where by a message, if everybody listens to everything.
fn deliveries(
    imports: &[Import],
    (account, subject): (usize, &str),
    passed: &mut Vec<(usize, &'static str)>,
    out: &mut Vec<(usize, String)>,
) {
    out.push((account, subject.to_owned()));
    for import in imports
        .iter()
        .filter(|i| !i.is_service && i.from == account)
    {
        if passed.is_empty() && matches(import.subject, subject) {
            let there = rewrite(subject, import.subject, import.local);
            out.push((import.to, there));
        }
    }
    for import in imports.iter().filter(|i| i.is_service && i.to == account) {
        let by = (import.from, import.subject);
        if matches(import.local, subject) && !passed.contains(&by) {
            passed.push(by);
            let there = rewrite(subject, import.local, import.subject);
            deliveries(imports, (import.from, &there), passed, out);
            passed.pop();
        }
    }
}

fn import() -> impl Strategy<Value = Import> {
    let subjects = prop_oneof![
        Just(("a", "a")),
        Just(("a", "b")),
        Just(("a.*", "a.*")),
        Just(("a.*", "b.$1")),
        Just(("b.>", "a.>")),
        Just(("b.*", "c.*")),
        Just((">", ">")),
        Just(("c.>", "c.>")),
    ];
    let kind = any::<bool>();
    (0..5usize, 0..5usize, subjects, kind).prop_map(|(from, to, (subject, local), is_service)| {
        Import {
            from,
            to,
            subject,
            local,
            is_service,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn messages_go_where_they_are_imported_and_nowhere_else(
        imports in proptest::collection::vec(import(), 0..8),
        loops in 1..3usize,
    ) {
        const NAMES: [&str; 5] = ["A", "B", "C", "D", "E"];
        let mut lines = NAMES.map(|name| name.to_owned());
        let mut exported = Vec::new();
        for import in &imports {
            let Import { from, to, subject, local, is_service } = import.clone();
            let (verb, get) = if is_service { ("service", "ask") } else { ("stream", "get") };
            if !exported.contains(&(from, verb, subject)) {
                exported.push((from, verb, subject));
                lines[from] += &format!("; {verb} {subject}");
            }
            lines[to] += &format!("; {get} {} {subject} to {local}", NAMES[from]);
        }
        let text = lines.join("\n");
        if Accounts::new(&options(&text), None, 1).is_err() {
            return Ok(());
        }
        let mut bench = Bench::with_accounts(loops, &text);
        let peers: Vec<Peer> =
            NAMES.iter().enumerate().map(|(i, name)| bench.join(i % loops, name)).collect();
        for peer in &peers {
            bench.say(*peer, "SUB > 1\r\n");
        }
        for (account, peer) in peers.iter().enumerate() {
            for subject in ["a", "b", "c", "a.x", "b.x", "b.x.y", "c.x", "d"] {
                let mut want = Vec::new();
                deliveries(&imports, (account, subject), &mut Vec::new(), &mut want);
                bench.say(*peer, &format!("PUB {subject} 0\r\n\r\n"));
                let mut got = Vec::new();
                for (i, reader) in peers.iter().enumerate() {
                    let text = bench.read(*reader);
                    let lines = text.lines().filter(|l| l.contains("MSG "));
                    got.extend(lines.map(|l| (i, l.split(' ').nth(1).unwrap().to_owned())));
                }
                want.sort();
                got.sort();
                prop_assert_eq!(got, want, "{} in {}:\n{}", subject, NAMES[account], text);
            }
        }
    }
}
