//! What is left when the server is killed at a place of its work, not at a time: as it enters a system
//! call of some kind for the n-th time, so before or after each step of what it does to its files.
//! `NATS_KILLS` says how many places are tried, instead of the usual number.

use crate::support::disks::Injection;
use crate::support::wire::{Message, Wire};
use crate::support::{Dir, Noise, Process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Calls that change files, and how often each is made in a round, about.
const CALLS: [(&str, u64); 8] = [
    ("pwrite64", 60),
    ("fdatasync", 12),
    ("fsync", 6),
    ("rename", 3),
    ("unlink", 3),
    ("ftruncate", 3),
    ("openat", 8),
    ("mkdir", 2),
];

/// What was asked for and what was answered, over all kills.
#[derive(Default)]
struct Known {
    /// Messages that are stored, as the server said, and may not have been purged.
    stored: BTreeMap<u64, String>,
    /// Messages before this one were purged, as the server said.
    purged: u64,
    /// The last message whose acknowledgement was confirmed, with all before it.
    acked: u64,
    /// Streams by name: whether they are there, if that is known.
    streams: BTreeMap<String, Option<bool>>,
    /// Descriptions that the stream may have.
    descriptions: Vec<String>,
    number: u64,
}

impl Known {
    /// Asks and waits; `None` if the server is gone.
    fn ask(wire: &mut Wire, subject: &str, body: &str) -> Option<Message> {
        if !wire.publish(subject, "in.ask", body) {
            return None;
        }
        loop {
            let message = wire.next()?;
            if message.subject == "in.ask" {
                return Some(message);
            }
        }
    }

    fn api(wire: &mut Wire, subject: &str, body: &str) -> Option<Value> {
        let answer = Known::ask(wire, &format!("$JS.API.{subject}"), body)?.json();
        assert!(answer["error"].is_null(), "{subject}: {answer}");
        Some(answer)
    }

    /// One round of everything; `None` when the server is gone.
    fn round(&mut self, wire: &mut Wire) -> Option<()> {
        for _ in 0..5 {
            self.publish(wire, 40)?;
            self.acknowledge(wire)?;
        }
        self.make_and_remove(wire)?;
        self.purge(wire)?;
        self.change(wire)?;
        self.publish(wire, 20)
    }

    fn publish(&mut self, wire: &mut Wire, many: u64) -> Option<()> {
        let mut asked = BTreeMap::new();
        for _ in 0..many {
            self.number += 1;
            let payload = format!("{} {}", self.number, "x".repeat(2000));
            let reply = format!("in.{}", self.number);
            if !wire.publish(&format!("p.{}", self.number % 5), &reply, &payload) {
                return None;
            }
            asked.insert(reply, payload);
        }
        while !asked.is_empty() {
            let message = wire.next()?;
            if let Some(payload) = asked.remove(&message.subject) {
                let answer = message.json();
                let sequence = answer["seq"].as_u64();
                let sequence = sequence.unwrap_or_else(|| panic!("{answer}"));
                let last = self.stored.last_key_value().map_or(0, |(last, _)| *last);
                assert!(sequence > last, "{sequence} is not behind {last}");
                self.stored.insert(sequence, payload);
            }
        }
        Some(())
    }

    fn acknowledge(&mut self, wire: &mut Wire) -> Option<()> {
        for _ in 0..10 {
            let asked = "{\"batch\":1,\"no_wait\":true}";
            if !wire.publish("$JS.API.CONSUMER.MSG.NEXT.P.C", "in.next", asked) {
                return None;
            }
            // It comes on the subject that it was stored with.
            let message = wire.next()?;
            if message.reply.is_empty() {
                break;
            }
            let sequence: u64 = message.reply.split('.').nth(5)?.parse().unwrap();
            assert!(sequence > self.acked, "{sequence} was acknowledged");
            Known::ask(wire, &message.reply, "+ACK")?;
            self.acked = sequence;
        }
        Some(())
    }

    fn make_and_remove(&mut self, wire: &mut Wire) -> Option<()> {
        let there = |there: &Option<bool>| *there == Some(true);
        let old = self.streams.iter().find(|(_, known)| there(known));
        let old = old.map(|(name, _)| name.clone());
        for _ in 0..2 {
            self.number += 1;
            let name = format!("N{}", self.number);
            self.streams.insert(name.clone(), None);
            Known::api(
                wire,
                &format!("STREAM.CREATE.{name}"),
                &format!("{{\"name\":\"{name}\"}}"),
            )?;
            self.streams.insert(name.clone(), Some(true));
            Known::ask(wire, &name, "something")?;
        }
        if let Some(name) = old {
            self.streams.insert(name.clone(), None);
            Known::api(wire, &format!("STREAM.DELETE.{name}"), "")?;
            self.streams.insert(name, Some(false));
        }
        Some(())
    }

    fn purge(&mut self, wire: &mut Wire) -> Option<()> {
        let last = self.stored.last_key_value().map_or(0, |(last, _)| *last);
        let before = last.saturating_sub(100).max(1);
        self.stored.retain(|sequence, _| *sequence >= before);
        Known::api(wire, "STREAM.PURGE.P", &format!("{{\"seq\":{before}}}"))?;
        self.purged = before;
        Some(())
    }

    fn change(&mut self, wire: &mut Wire) -> Option<()> {
        self.number += 1;
        let new = format!("changed {}", self.number);
        self.descriptions.push(new.clone());
        Known::api(wire, "STREAM.UPDATE.P", &config(&new))?;
        self.descriptions = vec![new];
        Some(())
    }

    /// Compares what there is with what is known.
    fn check(&mut self, wire: &mut Wire, place: &str) {
        let info = wire.api("STREAM.INFO.P", "");
        let state = &info["state"];
        let last = self.stored.last_key_value().map_or(0, |(last, _)| *last);
        assert!(
            state["last_seq"].as_u64().unwrap() >= last,
            "{place}: {info}"
        );
        assert!(
            state["first_seq"].as_u64().unwrap() >= self.purged,
            "{place}: {info}"
        );
        assert!(state["lost"].is_null(), "{place}: {info}");
        for (sequence, payload) in &self.stored {
            let got = wire.ask("$JS.API.DIRECT.GET.P", &format!("{{\"seq\":{sequence}}}"));
            let got = String::from_utf8_lossy(&got.payload);
            assert_eq!(got, *payload, "{place}: {sequence}");
        }
        let description = info["config"]["description"].as_str().unwrap().to_owned();
        assert!(self.descriptions.contains(&description), "{place}: {info}");
        self.descriptions = vec![description];
        let consumer = wire.api("CONSUMER.INFO.P.C", "");
        let floor = consumer["ack_floor"]["stream_seq"].as_u64().unwrap();
        assert!(floor >= self.acked, "{place}: {consumer} {}", self.acked);
        // One that was delivered and not acknowledged comes again first.
        self.acked = floor;
        for (name, known) in &mut self.streams {
            let info = wire.ask(&format!("$JS.API.STREAM.INFO.{name}"), "").json();
            let there = info["error"].is_null();
            assert!(
                known.is_none_or(|known| known == there),
                "{place}: {name} {info}"
            );
            *known = Some(there);
        }
        self.streams.retain(|_, known| *known == Some(true));
    }
}

fn config(description: &str) -> String {
    format!(
        "{{\"name\":\"P\",\"subjects\":[\"p.*\"],\"allow_direct\":true,\
         \"description\":\"{description}\"}}"
    )
}

/// B2: whatever step of its work is the last one.
#[test]
fn nothing_is_lost_wherever_the_server_is_killed() {
    let asked = std::env::var("NATS_KILLS").ok();
    let places: u64 = asked.and_then(|text| text.parse().ok()).unwrap_or(16);
    let dir = Dir::new("js-kill-points");
    let store = dir.path("store");
    let (mut known, mut noise) = (Known::default(), Noise(0x1ace));
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    let mut place = "the beginning".to_owned();
    for round in 0..=places {
        let server = Process::start(&["-js", "-sd", &store]);
        let mut wire = Wire::connect(server.addr);
        if round == 0 {
            wire.api("STREAM.CREATE.P", &config("new"));
            known.descriptions = vec!["new".into()];
            let consumer = "{\"stream_name\":\"P\",\"config\":{\"durable_name\":\"C\",\
                 \"ack_policy\":\"explicit\",\"ack_wait\":1000000,\"max_ack_pending\":1}}";
            wire.api("CONSUMER.DURABLE.CREATE.P.C", consumer);
        }
        known.check(&mut wire, &place);
        if round == places {
            break;
        }
        let (call, often) = CALLS[(round % CALLS.len() as u64) as usize];
        let n = 1 + noise.next() % often;
        place = format!("{call} {n}");
        let trap = format!("{call}:signal=SIGKILL:when={n}");
        let Some(trap) = Injection::new(&server, &trap) else {
            return;
        };
        let mut rounds = 0;
        while rounds < 3 && known.round(&mut wire).is_some() {
            rounds += 1;
        }
        let mut server = server;
        match rounds < 3 {
            true => *reached.entry(call).or_default() += 1,
            false => server.signal(libc::SIGKILL),
        }
        server.wait(Duration::from_secs(20));
        drop(trap);
    }
    println!("{places} places, of which were reached: {reached:?}");
    assert!(reached.values().sum::<u64>() > places / 2, "{reached:?}");
}
