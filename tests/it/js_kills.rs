//! What is left of streams and consumers when the server is killed again and again, in the middle of
//! everything. `NATS_KILLS` says how often, instead of the usual number.

use crate::support::wire::Wire;
use crate::support::{Dir, Noise, Process, server_binary};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a server is killed.
fn kills(usual: u64) -> u64 {
    let asked = std::env::var("NATS_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Publishes that wait for their answers.
const WINDOW: usize = 64;

/// Messages that are asked for at a time.
const BATCH: usize = 20;

/// What the clients know for sure.
#[derive(Default)]
struct Ledger {
    /// What was stored under a sequence, as the server said.
    stored: BTreeMap<u64, String>,
    /// Sequences whose acknowledgement the server confirmed.
    done: BTreeSet<u64>,
    /// Messages that were published.
    published: u64,
    /// Payloads and acknowledgements that wait for an answer, by its subject.
    asked: BTreeMap<String, String>,
    acking: BTreeMap<String, u64>,
    number: u64,
}

impl Ledger {
    fn last(&self) -> u64 {
        self.stored.last_key_value().map_or(0, |(last, _)| *last)
    }

    /// Publishes, asks for messages and acknowledges them, kills the server after a while, and goes
    /// on until nothing comes any more.
    fn work(&mut self, wire: &mut Wire, server: &Process, time: Duration) {
        self.asked.clear();
        self.acking.clear();
        let until = Instant::now() + time;
        let (mut waits_for_messages, mut is_killed) = (false, false);
        loop {
            if !is_killed && Instant::now() >= until {
                server.signal(libc::SIGKILL);
                is_killed = true;
            }
            while self.asked.len() < WINDOW {
                let n = self.published;
                self.published += 1;
                let payload = format!("message {n} {}", "x".repeat((n % 50) as usize));
                let reply = format!("in.p{n}");
                wire.publish(&format!("s.{}", n % 7), &reply, &payload);
                self.asked.insert(reply, payload);
            }
            if !waits_for_messages && self.acking.is_empty() {
                let body = format!("{{\"batch\":{BATCH},\"expires\":50000000}}");
                wire.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in.m", &body);
                waits_for_messages = true;
            }
            let Some(message) = wire.next() else { return };
            if let Some(payload) = self.asked.remove(&message.subject) {
                let answer = message.json();
                let sequence = answer["seq"].as_u64().unwrap_or_else(|| panic!("{answer}"));
                assert!(
                    sequence > self.last(),
                    "{sequence} is not behind {}",
                    self.last()
                );
                self.stored.insert(sequence, payload);
            } else if let Some(sequence) = self.acking.remove(&message.subject) {
                self.done.insert(sequence);
            } else if message.reply.starts_with("$JS.ACK.") {
                let sequence: u64 = message.reply.split('.').nth(5).unwrap().parse().unwrap();
                assert!(
                    !self.done.contains(&sequence),
                    "{sequence} was acknowledged"
                );
                self.number += 1;
                let reply = format!("in.a{}", self.number);
                wire.publish(&message.reply, &reply, "+ACK");
                self.acking.insert(reply, sequence);
                waits_for_messages &= self.acking.len() < BATCH;
            } else {
                // A status, which ends the request.
                assert!(message.headers.starts_with("NATS/1.0 4"), "{message:?}");
                waits_for_messages = false;
            }
        }
    }

    /// Compares what there is with what the server said before it was killed.
    fn check(&self, wire: &mut Wire, from: u64) -> u64 {
        let state = wire.api("STREAM.INFO.S", "")["state"].clone();
        let number = |key: &str| state[key].as_u64().unwrap();
        let last = number("last_seq");
        assert!(
            last >= self.last(),
            "{last} is before {}: {state}",
            self.last()
        );
        assert_eq!(number("messages"), last, "{state}");
        for (sequence, payload) in self.stored.range(from..) {
            let got = wire.ask("$JS.API.DIRECT.GET.S", &format!("{{\"seq\":{sequence}}}"));
            assert_eq!(
                String::from_utf8_lossy(&got.payload),
                *payload,
                "{sequence}"
            );
        }
        let info = wire.api("CONSUMER.INFO.S.C", "");
        let delivered = info["delivered"]["stream_seq"].as_u64().unwrap();
        let pending = info["num_pending"].as_u64().unwrap();
        assert_eq!(delivered + pending, last, "{info}");
        assert!(
            delivered >= self.done.last().copied().unwrap_or(0),
            "{info}"
        );
        last
    }
}

#[test]
fn nothing_that_was_answered_is_lost_by_a_hundred_kills() {
    let rounds = kills(100);
    let dir = Dir::new("js-kills");
    let (mut ledger, mut noise) = (Ledger::default(), Noise(0x5eed));
    let (mut checked, mut last) = (1, 0);
    for round in 0..=rounds {
        let server = Process::start(&["-js", "-sd", &dir.path("store")]);
        let mut wire = Wire::connect(server.addr);
        if round == 0 {
            let stream = r#"{"name":"S","subjects":["s.*"],"allow_direct":true}"#;
            wire.api("STREAM.CREATE.S", stream);
            let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":
                "explicit","ack_wait":5000000000,"max_ack_pending":100000}}"#;
            wire.api("CONSUMER.DURABLE.CREATE.S.C", consumer);
        }
        let from = if round == rounds { 1 } else { checked };
        let now = ledger.check(&mut wire, from);
        assert!(now >= last, "{now} is before {last}");
        (checked, last) = (ledger.last() + 1, now);
        if round < rounds {
            let time = Duration::from_millis(5 + noise.next() % 60);
            ledger.work(&mut wire, &server, time);
        }
    }
    println!(
        "{rounds} kills: of {} published {} were answered, {} acknowledgements confirmed, {last} there",
        ledger.published,
        ledger.stored.len(),
        ledger.done.len()
    );
    assert!(ledger.stored.len() > 1000 && ledger.done.len() > 500);
}

/// What a server has of a stream and its consumer: what is told of them, and every message.
fn everything(wire: &mut Wire) -> Vec<String> {
    let told = |answer: serde_json::Value, parts: &[&str]| -> Vec<String> {
        parts.iter().map(|part| answer[*part].to_string()).collect()
    };
    let info = wire.api("STREAM.INFO.S", r#"{"deleted_details":true}"#);
    let last = info["state"]["last_seq"].as_u64().unwrap();
    let mut all = told(info, &["config", "created", "state"]);
    let consumer = wire.api("CONSUMER.INFO.S.C", "");
    let parts = [
        "config",
        "created",
        "num_pending",
        "num_ack_pending",
        "ack_floor",
    ];
    all.extend(told(consumer, &parts));
    for sequence in 1..=last {
        let got = wire.ask("$JS.API.DIRECT.GET.S", &format!("{{\"seq\":{sequence}}}"));
        all.push(format!(
            "{}{}",
            got.headers,
            String::from_utf8_lossy(&got.payload)
        ));
    }
    all
}

/// B3: what a start does can be done again from the beginning, wherever it was ended.
#[test]
fn a_start_that_is_killed_again_and_again_ends_as_any_other() {
    let dir = Dir::new("js-starts");
    let store = dir.path("store");
    let server = Process::start(&["-js", "-sd", &store]);
    let mut wire = Wire::connect(server.addr);
    let stream = r#"{"name":"S","subjects":["s.*"],"allow_direct":true,"max_msgs_per_subject":20}"#;
    wire.api("STREAM.CREATE.S", stream);
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    wire.api("CONSUMER.DURABLE.CREATE.S.C", consumer);
    for n in 0..5000 {
        wire.publish(&format!("s.{}", n % 100), "in.p", &format!("message {n}"));
        if n % 500 == 499 {
            for _ in 0..500 {
                wire.next().unwrap();
            }
        }
    }
    for _ in 0..50 {
        wire.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in.m", "");
        let got = wire.next().unwrap();
        wire.ask(&got.reply, "+ACK");
    }
    server.signal(libc::SIGKILL);
    drop(server);
    let copied = Command::new("cp")
        .args(["-a", &store, &dir.path("copy")])
        .status();
    assert!(copied.unwrap().success());
    let begun = Instant::now();
    let undisturbed = Process::start(&["-js", "-sd", &dir.path("copy")]);
    let whole = begun.elapsed();
    let expected = everything(&mut Wire::connect(undisturbed.addr));
    drop(undisturbed);
    let mut noise = Noise(0x57a7);
    for _ in 0..kills(20) {
        let mut child = Command::new(server_binary())
            .args(["-p", "-1", "-a", "127.0.0.1", "-js", "-sd", &store])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere between its first step and its last.
        let most = u64::try_from(whole.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(noise.next() % most.max(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = Process::start(&["-js", "-sd", &store]);
    assert_eq!(everything(&mut Wire::connect(server.addr)), expected);
}
