//! Traced messages: who is told what.

use super::*;
use crate::accounts::exchange::tests::options;
use crate::base::limits::{TRACE_BYTES, TRACE_HEADER_BYTES};
use crate::options::security::{AccountOptions, Mapping, TraceDestination};
use crate::options::security::{Destination, Permissions, Rules};
use serde_json::Value;

/// Loops of a server with accounts in the short form of [`options`], each with a user of its own
/// name, and a client `watch` of the first account that gets `t.>`.
struct Stage {
    bench: Bench,
    watch: Peer,
}

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
const DEST: &str = "Nats-Trace-Dest: t.x\r\n";
const ONLY: &str = "Nats-Trace-Only: true\r\n";

impl Stage {
    fn new(loops: usize, accounts: &str) -> Stage {
        Stage::with(loops, accounts, |_| {})
    }

    fn with(loops: usize, accounts: &str, change: impl FnOnce(&mut Vec<AccountOptions>)) -> Stage {
        let mut accounts = options(accounts).accounts;
        for account in &mut accounts {
            account.users = vec![super::login_tests::user(&account.name, "")];
        }
        change(&mut accounts);
        let mut bench = Bench::new(loops, |o| o.accounts = accounts);
        let watch = bench.join_as(0, "A", "");
        bench.say(watch, "SUB t.> 1\r\n");
        Stage { bench, watch }
    }

    /// A client in an account whose name is its user's in lower case.
    fn join(&mut self, owner: usize, account: &str) -> Peer {
        let name = format!(",\"name\":\"{}\"", account.to_lowercase());
        self.bench.join_as(owner, account, &name)
    }

    /// Publishes a message with such headers.
    fn publish(&mut self, peer: Peer, subject: &str, lines: &str, body: &str) {
        let headers = format!("NATS/1.0\r\n{lines}\r\n");
        let (headers_len, len) = (headers.len(), headers.len() + body.len());
        let line = format!("HPUB {subject} {headers_len} {len}\r\n{headers}{body}\r\n");
        self.bench.say(peer, &line);
        self.settle();
    }

    /// Passes on what loops have for each other, until they have nothing more.
    fn settle(&mut self) {
        for _ in 0..2 * self.bench.brokers.len() {
            for owner in 0..self.bench.brokers.len() {
                let turn = &mut Turn {
                    wire: &mut self.bench.wire,
                    now: self.bench.now,
                };
                self.bench.brokers[owner].finish(turn);
                self.bench.carry(owner);
            }
        }
    }

    /// What came to `watch` since the last time, in short.
    fn events(&mut self) -> Vec<String> {
        let heard = self.bench.read(self.watch);
        short(&heard)
    }

    fn event(&mut self) -> String {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

impl Bench {
    fn join_as(&mut self, owner: usize, account: &str, more: &str) -> Peer {
        let peer = self.open(owner);
        let json = format!(
            r#"{{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"user":"{account}"{more}}}"#
        );
        self.say(peer, &format!("CONNECT {json}\r\n"));
        peer
    }
}

/// A text as it is, or another value as JSON.
fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// All events in what a client heard, in short: the kinds of their steps with all values.
fn short(heard: &str) -> Vec<String> {
    let lines = heard.lines().filter(|line| line.starts_with("{\"server\""));
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let steps = event["events"].as_array().unwrap().iter();
        let step = |step: &Value| {
            let step = step.as_object().unwrap();
            assert!(step["ts"].as_str().unwrap().ends_with('Z'));
            let values = step
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "ts" | "cid"));
            let mut values: Vec<String> = values
                .filter(|(key, value)| *key != "kind" || **value != 0)
                .filter(|(key, _)| *key != "type")
                .map(|(key, value)| format!("{key}={}", shown(value)))
                .collect();
            values.sort();
            format!("{} {}", step["type"].as_str().unwrap(), values.join(" "))
        };
        steps.map(step).collect::<Vec<_>>().join("; ")
    };
    lines.map(event).collect()
}

#[test]
fn it_is_told_who_gets_a_message() {
    for owner in [0, 1] {
        let mut stage = Stage::new(2, "A");
        let (a, b) = (stage.join(0, "A"), stage.join(owner, "A"));
        stage.bench.say(b, "SUB s.* 1\r\nSUB s.> q 2\r\n");
        stage.publish(a, "s.x r", DEST, "hi");
        let want = "in acc=A name=a subj=s.x; eg name=a sub=s.*; eg name=a queue=q sub=s.>";
        assert_eq!(stage.event(), want);
        let message = |sid| {
            format!("HMSG s.x {sid} r 34 36\r\nNATS/1.0\r\nNats-Trace-Dest: t.x\r\n\r\nhi\r\n")
        };
        assert_eq!(stage.bench.read(b), message(1) + &message(2));
        // The same without a delivery.
        stage.publish(a, "s.x r", &format!("{DEST}{ONLY}"), "hi");
        assert_eq!(stage.event(), want);
        assert_eq!(stage.bench.read(b), "");
        // Nobody is told of what nobody asked for.
        for lines in ["A: b\r\n", PARENT, ONLY, "nats-trace-dest: t.x\r\n"] {
            stage.publish(a, "s.x r", lines, "hi");
            assert_eq!(stage.events(), [""; 0]);
            assert_eq!(stage.bench.read(b).matches("HMSG").count(), 2);
        }
        for dest in ["trace disabled", "t.*", "t..x", "t x", "t."] {
            let lines = format!("Nats-Trace-Dest: {dest}\r\n{ONLY}");
            stage.publish(a, "s.x", &lines, "hi");
            assert_eq!(stage.events(), [""; 0], "{dest}");
            assert_eq!(stage.bench.read(b).matches("HMSG").count(), 2);
        }
    }
}

#[test]
fn the_event_names_server_and_request() {
    let mut stage = Stage::new(1, "A");
    let a = stage.join(0, "A");
    for seq in 1..3 {
        stage.publish(a, "s", &format!("{DEST}b: c\r\n"), "hi");
        let heard = stage.bench.read(stage.watch);
        let (line, json) = heard.split_once("\r\n").unwrap();
        assert!(line.starts_with("MSG t.x 1 "), "{line}");
        let event: Value = serde_json::from_str(json).unwrap();
        let server = &event["server"];
        assert_eq!(server["id"], "NX");
        assert_eq!(server["seq"], seq);
        assert_eq!(server["ver"], crate::options::VERSION);
        let request = r#"{"header":{"Nats-Trace-Dest":["t.x"],"b":["c"]},"msgsize":42}"#;
        assert_eq!(event["request"].to_string(), request);
        assert!(event.get("hops").is_none());
    }
}

#[test]
fn it_is_told_why_somebody_does_not_get_a_message() {
    let mut stage = Stage::with(1, "A", |accounts| {
        let mut limited = super::login_tests::user("L", "");
        let deny = |subject: &str| Rules {
            allow: None,
            deny: vec![subject.into()],
        };
        limited.permissions = Some(Arc::new(Permissions {
            subscribe: deny("s.secret"),
            ..Permissions::default()
        }));
        accounts[0].users.push(limited);
    });
    let quiet = stage.bench.join_as(0, "A", ",\"echo\":false");
    let limited = stage.bench.join_as(0, "L", "");
    stage.bench.say(quiet, "SUB s.* 1\r\nSUB s.* q 2\r\n");
    stage.bench.say(limited, "SUB s.> 1\r\nSUB s.> q 2\r\n");
    let echo = "error=Not delivered because of no echo";
    let denied = "error=Not delivered because subscription denies this subject";
    for lines in [DEST.to_owned(), format!("{DEST}{ONLY}")] {
        stage.publish(quiet, "s.secret r", &lines, "");
        let event = stage.event();
        let (plain, queued) = event.split_once(" queue=q").unwrap();
        assert!(plain.contains(&format!("eg {echo} sub=s.*")), "{event}");
        assert!(plain.contains(&format!("eg {denied} sub=s.>")), "{event}");
        // All members of the group were asked.
        assert_eq!(queued.matches("queue=q").count() + 1, 2, "{event}");
        assert_eq!(stage.bench.read(limited), "");
    }
    // A subscription that ended is not there, and one that is only traced does not end.
    stage.bench.say(limited, "SUB e 7\r\nUNSUB 7 1\r\n");
    stage.publish(quiet, "e", &format!("{DEST}{ONLY}"), "");
    stage.publish(quiet, "e", DEST, "");
    stage.publish(quiet, "e", DEST, "");
    let (with, without) = ("in acc=A subj=e; eg sub=e", "in acc=A subj=e");
    assert_eq!(stage.events(), [with, with, without]);
}

#[test]
fn mappings_and_refusals_are_told() {
    let mut stage = Stage::with(1, "A", |accounts| {
        let to = |source: &str, subject: &str, weight| Mapping {
            source: source.into(),
            destinations: vec![Destination {
                subject: subject.into(),
                weight,
                cluster: None,
            }],
        };
        accounts[0].mappings = vec![
            to("m", "n", 100),
            to("l", "l", 0),
            to("u", "v", 0),
            to("d", "deny.y", 100),
        ];
        let mut limited = super::login_tests::user("L", "");
        limited.permissions = Some(Arc::new(Permissions {
            publish: Rules {
                allow: None,
                deny: vec!["deny.>".into(), "t.no".into()],
            },
            ..Permissions::default()
        }));
        accounts[0].users.push(limited);
        accounts[0].trace = Some(TraceDestination {
            subject: "t.no".into(),
            sampling: 100,
        });
    });
    let limited = stage.bench.join_as(0, "L", "");
    let violation = |subject: &str| format!("Permissions Violation for Publish to \"{subject}\"");
    for (subject, want) in [
        ("m", "in acc=A subj=m; sm to=n".to_owned()),
        ("l", "in acc=A subj=l; sm to=".to_owned()),
        ("u", "in acc=A subj=u; sm to=u".to_owned()),
    ] {
        stage.publish(limited, subject, DEST, "");
        assert_eq!(stage.event(), want);
        assert_eq!(stage.bench.read(limited), "");
    }
    for (subject, last, more) in [("deny.x", "deny.x", ""), ("d", "deny.y", "; sm to=deny.y")] {
        stage.publish(limited, subject, DEST, "");
        let error = violation(last);
        assert_eq!(
            stage.event(),
            format!("in acc=A error={error} subj={subject}{more}")
        );
        assert_eq!(
            stage.bench.read(limited),
            format!("-ERR '{}'\r\n", violation(last))
        );
    }
    // Who may not publish where the trace is told gets nothing through.
    stage.bench.say(limited, "SUB s 1\r\n");
    for lines in ["Nats-Trace-Dest: t.no\r\n", PARENT] {
        stage.publish(limited, "s", lines, "");
        assert_eq!(
            stage.bench.read(limited),
            format!("-ERR '{}'\r\n", violation("t.no"))
        );
    }
    for dest in ["_GR_.x", "$NRG.x"] {
        stage.publish(limited, "s", &format!("Nats-Trace-Dest: {dest}\r\n"), "");
        assert_eq!(
            stage.bench.read(limited),
            format!("-ERR '{}'\r\n", violation(dest))
        );
    }
    assert_eq!(stage.events(), [""; 0]);
}

#[test]
fn traces_over_many_programs_are_followed_where_that_is_configured() {
    let mut stage = Stage::with(1, "A", |accounts| {
        accounts[0].trace = Some(TraceDestination {
            subject: "t.own".into(),
            sampling: 100,
        });
    });
    let a = stage.join(0, "A");
    stage.bench.say(a, "SUB s 1\r\n");
    let traced = "in acc=A name=a subj=s; eg name=a sub=s";
    let upper = PARENT.to_uppercase();
    for (lines, dest) in [
        (PARENT, Some("t.own")),
        (&*upper, Some("t.own")),
        (&*format!("{PARENT}{ONLY}"), Some("t.own")),
        (&*format!("Nats-Trace-Dest: \r\n{PARENT}"), Some("t.own")),
        (&*format!("{PARENT}{DEST}"), Some("t.x")),
        (
            &*format!("Nats-Trace-Dest: trace disabled\r\n{PARENT}"),
            None,
        ),
        (&*format!("Nats-Trace-Dest: t.*\r\n{PARENT}"), None),
        (&*PARENT.replace("-01\r\n", "-00\r\n"), None),
    ] {
        stage.publish(a, "s", lines, "");
        let heard = stage.bench.read(stage.watch);
        assert_eq!(
            short(&heard),
            Vec::from_iter(dest.map(|_| traced)),
            "{lines}"
        );
        let to = dest.map(|dest| format!("MSG {dest} 1 "));
        assert!(to.is_none_or(|to| heard.starts_with(&to)), "{heard}");
        assert!(stage.bench.read(a).starts_with("HMSG s 1 "), "{lines}");
    }
    // A part of them.
    stage.bench.renew(|o| {
        let trace = o.accounts[0].trace.as_mut().unwrap();
        (trace.subject, trace.sampling) = ("t.part".into(), 50);
    });
    for _ in 0..1000 {
        stage.publish(a, "s", PARENT, "");
    }
    let count = stage.events().len();
    assert!((400..620).contains(&count), "{count}");
    // And none of them any more.
    stage.bench.renew(|o| o.accounts[0].trace = None);
    stage.publish(a, "s", PARENT, "");
    assert_eq!(stage.events(), [""; 0]);
}

#[test]
fn who_claims_to_be_a_server_gets_no_trace() {
    let mut stage = Stage::new(1, "A");
    let a = stage.join(0, "A");
    stage.bench.say(a, "SUB s 1\r\n");
    let forged = "Nats-Trace-Origin-Account: B\r\n";
    stage.publish(a, "s", &format!("{DEST}{forged}b: c\r\n"), "hi");
    let headers = "NATS/1.0\r\nNats-Trace-Origin-Account: B\r\nb: c\r\n\
        Nats-Trace-Dest: trace disabled\r\n\r\n";
    let (len, size) = (headers.len(), headers.len() + 2);
    let want = format!("HMSG s 1 {len} {size}\r\n{headers}hi\r\n");
    assert_eq!(stage.bench.read(a), want);
    stage.publish(a, "s", &format!("{DEST}{forged}{ONLY}"), "hi");
    assert_eq!(stage.bench.read(a), "");
    stage.publish(a, "s", forged, "hi");
    assert!(stage.bench.read(a).contains(forged));
    assert_eq!(stage.events(), [""; 0]);
    // A hop says nothing here.
    stage.publish(a, "s", &format!("{DEST}Nats-Trace-Hop: 3.4\r\n"), "hi");
    assert_eq!(stage.event(), "in acc=A name=a subj=s; eg name=a sub=s");
}

#[test]
fn streams_tell_those_who_export_them_if_the_importer_allows_it() {
    for owner in [0, 1] {
        let mut stage = Stage::new(
            2,
            "A; stream s.*.*
             B; get A s.*.* to b.$2.$1 traced
             C; get A s.*.* prefix c",
        );
        let a = stage.join(0, "A");
        let (b, c) = (stage.join(owner, "B"), stage.join(owner, "C"));
        stage.bench.say(b, "SUB b.1.* 1\r\nSUB > q 2\r\n");
        stage.bench.say(c, "SUB c.> 1\r\n");
        let ways = "se acc=B to=b.1.5; eg acc=B name=b sub=s.*.1; \
            se acc=B to=b.1.5; eg acc=B name=b queue=q sub=s.*.*; se acc=C to=c.s.5.1";
        stage.publish(a, "s.5.1", DEST, "");
        assert_eq!(stage.event(), format!("in acc=A name=a subj=s.5.1; {ways}"));
        assert_eq!(stage.bench.read(b).matches("HMSG b.1.5 ").count(), 2);
        // To them, the message is as it was.
        let message = stage.bench.read(c);
        assert!(
            message.starts_with("HMSG c.s.5.1 1 ") && message.contains(DEST),
            "{message}"
        );
        stage.publish(a, "s.5.1 r", &format!("{DEST}{ONLY}"), "");
        assert_eq!(stage.event(), format!("in acc=A name=a subj=s.5.1; {ways}"));
        assert_eq!(stage.bench.read(b) + &stage.bench.read(c), "");
    }
}

#[test]
fn services_tell_those_who_ask_if_the_exporter_allows_it() {
    for owner in [0, 1] {
        let mut stage = Stage::new(
            2,
            "A; ask B b.open to a.open; ask B b.shut to a.shut; ask B d.*
             B; service b.open traced; service b.shut; ask D d.*; service d.* traced
             D; service d.* traced",
        );
        let (a, b, d) = (
            stage.join(0, "A"),
            stage.join(owner, "B"),
            stage.join(owner, "D"),
        );
        stage.bench.say(a, "SUB r 5\r\n");
        stage.bench.say(b, "SUB b.> 1\r\n");
        stage.bench.say(d, "SUB d.* q 1\r\n");
        for (subject, want) in [
            (
                "a.open",
                "si acc=B from=a.open to=b.open; eg acc=B name=b sub=b.>",
            ),
            ("a.shut", "si acc=B from=a.shut to=b.shut"),
            (
                "d.1",
                "si acc=B from=d.1 to=d.1; si acc=D from=d.1 to=d.1; \
                 eg acc=D name=d queue=q sub=d.*",
            ),
        ] {
            let want = format!("in acc=A name=a subj={subject}; {want}");
            stage.publish(a, &format!("{subject} r"), DEST, "hi");
            assert_eq!(stage.event(), want);
            let asked = stage.bench.read(b) + &stage.bench.read(d);
            assert!(
                asked.contains("Nats-Trace-Dest: trace disabled\r\n"),
                "{asked}"
            );
            assert!(!asked.contains("t.x"), "{asked}");
            // Who only asks which way it goes gets no answer, and keeps no place for one.
            let pending = pending(&stage.bench);
            stage.publish(a, &format!("{subject} r"), &format!("{DEST}{ONLY}"), "hi");
            assert_eq!(stage.event(), want);
            assert_eq!(stage.bench.read(b) + &stage.bench.read(d), "");
            assert_eq!(self::pending(&stage.bench), pending);
            let nobody = "HMSG r 5 38 38\r\nNATS/1.0 503\r\nNats-Subject: a.shut\r\n\r\n\r\n";
            let told = if subject == "a.shut" { nobody } else { "" };
            assert_eq!(stage.bench.read(a), told, "{subject}");
        }
    }
}

fn pending(bench: &Bench) -> usize {
    let accounts = bench.brokers[0].facts.accounts.iter();
    accounts.map(|tenant| tenant.account.replies.len()).sum()
}

#[test]
fn answers_are_traced_up_to_the_border() {
    let mut stage = Stage::new(1, "B; ask A svc\nA; service svc");
    let (a, b) = (stage.join(0, "A"), stage.join(0, "B"));
    stage.bench.say(a, "SUB svc 1\r\n");
    stage.bench.say(b, "SUB r 1\r\n");
    stage.bench.say(b, "PUB svc r 0\r\n\r\n");
    let asked = stage.bench.read(a);
    let reply = asked
        .split_whitespace()
        .find(|w| w.starts_with("_R_."))
        .unwrap();
    let want = format!("in acc=A name=a subj={reply}; si acc=B from={reply} to=r");
    // What is only traced is no answer; the real one can still come.
    stage.publish(a, reply, &format!("{DEST}{ONLY}"), "hi");
    assert_eq!(stage.event(), want);
    assert_eq!(stage.bench.read(b), "");
    stage.publish(a, reply, DEST, "hi");
    assert_eq!(stage.event(), want);
    let answer = stage.bench.read(b);
    assert!(answer.starts_with("HMSG r 1 "), "{answer}");
    assert!(
        answer.contains("Nats-Trace-Dest: trace disabled\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nhi\r\n"), "{answer}");
    stage.publish(a, reply, DEST, "hi");
    assert_eq!(stage.event(), format!("in acc=A name=a subj={reply}"));
}

#[test]
fn who_is_only_traced_may_not_answer() {
    let mut stage = Stage::with(2, "A", |accounts| {
        let mut answering = super::login_tests::user("R", "");
        answering.permissions = Some(Arc::new(Permissions {
            publish: Rules {
                allow: Some(Vec::new()),
                deny: Vec::new(),
            },
            responses: Some(crate::options::security::RESPONSES),
            ..Permissions::default()
        }));
        accounts[0].users.push(answering);
    });
    for owner in [0, 1] {
        let (a, r) = (stage.join(0, "A"), stage.bench.join_as(owner, "R", ""));
        stage.bench.say(a, "SUB r 5\r\n");
        stage.bench.say(r, "SUB s 1\r\n");
        stage.publish(a, "s r", &format!("{DEST}{ONLY}"), "hi");
        assert!(stage.event().ends_with("eg sub=s"));
        stage.bench.say(r, "PUB r 0\r\n\r\n");
        let violation = "-ERR 'Permissions Violation for Publish to \"r\"'\r\n";
        assert_eq!(stage.bench.read(r), violation);
        stage.publish(a, "s r", DEST, "hi");
        assert!(stage.event().ends_with("eg sub=s"));
        stage.bench.say(r, "PUB r 0\r\n\r\n");
        assert_eq!(stage.bench.read(a), "MSG r 5 0\r\n\r\n");
        // Leave to answer is not leave to have traces told there.
        stage.publish(a, "s r", DEST, "hi");
        assert!(stage.event().ends_with("eg sub=s"));
        stage.publish(r, "r", "Nats-Trace-Dest: r\r\n", "");
        assert!(stage.bench.read(r).ends_with(violation));
        assert_eq!(stage.bench.read(a), "");
        stage.bench.say(r, "UNSUB 1\r\n");
    }
}

#[test]
fn a_group_over_several_loops_is_told_of_once() {
    let mut stage = Stage::new(3, "A");
    let a = stage
        .bench
        .join_as(0, "A", ",\"echo\":false,\"name\":\"me\"");
    let b = stage.bench.join_as(2, "A", ",\"name\":\"b\"");
    stage.bench.say(a, "SUB s q 1\r\n");
    stage.bench.say(b, "SUB s q 1\r\n");
    for _ in 0..40 {
        stage.publish(a, "s", DEST, "");
        let event = stage.event();
        assert!(event.ends_with("eg name=b queue=q sub=s"), "{event}");
        assert_eq!(stage.bench.read(b).matches("HMSG").count(), 1);
    }
}

#[test]
fn big_messages_and_those_behind_keep_their_order() {
    let mut stage = Stage::new(2, "A");
    let (a, far) = (stage.join(0, "A"), stage.join(1, "A"));
    stage.bench.say(far, "SUB s 1\r\n");
    stage.bench.say(a, "SUB s 1\r\n");
    let body = "x".repeat(9000);
    let headers = format!("NATS/1.0\r\n{DEST}\r\n");
    let traced = format!(
        "HPUB s {} {}\r\n{headers}{body}\r\n",
        headers.len(),
        headers.len() + body.len()
    );
    stage
        .bench
        .say(a, &format!("PUB s 1\r\n1\r\n{traced}PUB s 1\r\n2\r\n"));
    stage.settle();
    for peer in [a, far] {
        let heard = stage.bench.read(peer);
        assert!(heard.starts_with("MSG s 1 1\r\n1\r\nHMSG s 1 "), "{heard}");
        assert!(heard.ends_with(&format!("{body}\r\nMSG s 1 1\r\n2\r\n")));
    }
    assert_eq!(stage.events().len(), 1);
}

#[test]
fn the_event_itself_is_a_message_that_nobody_traces() {
    let mut stage = Stage::new(1, "A; stream t.>\nB; get A t.> prefix from.a");
    let (a, b) = (stage.join(0, "A"), stage.join(0, "B"));
    stage.bench.say(b, "SUB from.a.> 1\r\n");
    stage.publish(a, "t.x", DEST, "");
    // The message, and what is told of it, both come to who listens, in this order.
    let heard = stage.bench.read(stage.watch);
    assert!(
        heard.starts_with("HMSG t.x 1 ") && heard.contains("\r\nMSG t.x 1 "),
        "{heard}"
    );
    assert_eq!(
        short(&heard),
        ["in acc=A name=a subj=t.x; eg sub=t.>; se acc=B to=from.a.t.x"]
    );
    let heard = stage.bench.read(b);
    assert_eq!(heard.matches("MSG from.a.t.x 1 ").count(), 2, "{heard}");
    // Nobody has to listen.
    stage.bench.say(stage.watch, "UNSUB 1\r\n");
    stage.publish(a, "s", DEST, "");
    assert_eq!(stage.bench.read(a), "");
}

#[test]
fn events_come_in_the_encoding_that_is_asked_for() {
    let mut stage = Stage::new(1, "A");
    let a = stage.join(0, "A");
    for (accepted, name) in [("br", "identity"), ("gzip", "gzip"), ("s2", "snappy")] {
        stage.publish(
            a,
            "s",
            &format!("{DEST}Accept-Encoding: {accepted}\r\n"),
            "",
        );
        let turn = &mut Turn {
            wire: &mut stage.bench.wire,
            now: stage.bench.now,
        };
        stage.bench.brokers[0].flush(stage.watch.1, turn);
        let link = stage.bench.link(stage.watch);
        let heard = std::mem::take(&mut stage.bench.wire.written[link]);
        let want = format!("\r\nNATS/1.0\r\nContent-Encoding: {name}\r\n\r\n");
        let found = memchr::memmem::find(&heard, want.as_bytes());
        assert!(found.is_some(), "{accepted}");
    }
}

#[test]
fn what_is_collected_is_bounded() {
    let mut stage = Stage::new(2, "A");
    let a = stage.join(0, "A");
    let subject = format!("s.{}", "long.".repeat(40));
    for owner in [0, 1] {
        let many = stage.join(owner, "A");
        let subs = (0..4000).map(|sid| format!("SUB {subject}* {sid}\r\n"));
        stage.bench.say(many, &subs.collect::<String>());
    }
    let lines = format!("{DEST}{}", "name: value\r\n".repeat(TRACE_HEADER_BYTES / 4));
    let body = "x".repeat(10);
    stage.publish(a, &format!("{subject}x"), &format!("{lines}{ONLY}"), &body);
    let heard = stage.bench.read(stage.watch);
    assert!(
        heard.len() < TRACE_BYTES + 4 * TRACE_HEADER_BYTES,
        "{}",
        heard.len()
    );
    let event = &short(&heard)[0];
    assert!(event.ends_with("; eg error=The rest is left out kind=3"));
    let count = event.matches("; eg ").count();
    assert!((2000..8000).contains(&count), "{count}");
}
