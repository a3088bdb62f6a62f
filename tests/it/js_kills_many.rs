//! What is left of many streams when the server is killed again and again: what they got was made
//! durable together, by the commit journal, and so was their making.

use crate::support::wire::Wire;
use crate::support::{Dir, Noise, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often the server is killed.
const ROUNDS: u64 = 25;

/// Requests that wait for their answers.
const WINDOW: usize = 64;

/// What is known of streams of which more and more are made.
#[derive(Default)]
struct Fleet {
    /// Streams that are there, as the server said, with what was stored in each.
    streams: BTreeMap<String, BTreeMap<u64, String>>,
    /// Those that are surely gone.
    gone: BTreeSet<String>,
    made: usize,
    published: usize,
}

/// What an answer is about.
enum Asked {
    Create(String),
    Delete(String),
    Publish(String, String),
}

impl Fleet {
    /// Makes streams, publishes to all that there are, and removes some, until nothing comes any more.
    fn work(&mut self, wire: &mut Wire, server: &Process, noise: &mut Noise, time: Duration) {
        let until = Instant::now() + time;
        let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
        let (mut number, mut is_killed) = (0, false);
        // Streams about which something is asked that decides whether they are there.
        let mut all: Vec<String> = self.streams.keys().cloned().collect();
        let news = self.made + 6;
        loop {
            if !is_killed && Instant::now() >= until {
                server.signal(libc::SIGKILL);
                is_killed = true;
            }
            while asked.len() < WINDOW {
                number += 1;
                let reply = format!("in.{number}");
                if self.made < news {
                    let name = format!("S{}", self.made);
                    self.made += 1;
                    let body = format!(
                        "{{\"name\":\"{name}\",\"subjects\":[\"{name}.>\"],\"allow_direct\":true}}"
                    );
                    wire.publish(&format!("$JS.API.STREAM.CREATE.{name}"), &reply, &body);
                    asked.insert(reply, Asked::Create(name));
                } else if all.len() > 12 && noise.next().is_multiple_of(300) {
                    let at = (noise.next() % all.len() as u64) as usize;
                    let name = all.swap_remove(at);
                    wire.publish(&format!("$JS.API.STREAM.DELETE.{name}"), &reply, "");
                    // What it has may be gone or not from here on.
                    self.streams.remove(&name);
                    asked.insert(reply, Asked::Delete(name));
                } else if !all.is_empty() {
                    let name = &all[(noise.next() % all.len() as u64) as usize];
                    let payload = format!("{} {}", self.published, "x".repeat(self.published % 99));
                    self.published += 1;
                    wire.publish(&format!("{name}.{}", self.published % 7), &reply, &payload);
                    asked.insert(reply, Asked::Publish(name.clone(), payload));
                } else {
                    break;
                }
            }
            let Some(message) = wire.next() else { return };
            let answer = message.json();
            match asked.remove(&message.subject) {
                Some(Asked::Create(name)) => {
                    assert!(answer["did_create"].as_bool().unwrap_or(false), "{answer}");
                    all.push(name.clone());
                    self.streams.insert(name, BTreeMap::new());
                }
                Some(Asked::Delete(name)) => {
                    assert_eq!(answer["success"], true, "{answer}");
                    self.gone.insert(name);
                }
                Some(Asked::Publish(name, payload)) => {
                    let stored = self.streams.get_mut(&name).zip(answer["seq"].as_u64());
                    if let Some((stored, sequence)) = stored {
                        stored.insert(sequence, payload);
                    }
                }
                None => panic!("{message:?}"),
            }
        }
    }

    /// Compares what there is with what the server said before it was killed.
    fn check(&self, wire: &mut Wire) {
        for (name, stored) in &self.streams {
            let info = wire.api(&format!("STREAM.INFO.{name}"), "");
            let last = info["state"]["last_seq"].as_u64();
            let last = last.unwrap_or_else(|| panic!("{name}: {info}"));
            assert!(last >= stored.last_key_value().map_or(0, |(last, _)| *last));
            assert_eq!(info["state"]["messages"], last, "{name}: {info}");
            for (sequence, payload) in stored {
                let subject = format!("$JS.API.DIRECT.GET.{name}");
                let got = wire.ask(&subject, &format!("{{\"seq\":{sequence}}}"));
                let got = String::from_utf8_lossy(&got.payload);
                assert_eq!(got, *payload, "{name}: {sequence}");
            }
        }
        for name in &self.gone {
            let info = wire.ask(&format!("$JS.API.STREAM.INFO.{name}"), "").json();
            assert_eq!(info["error"]["err_code"], 10059, "{name}: {info}");
        }
    }
}

#[test]
fn nothing_of_many_streams_is_lost_by_kills() {
    let dir = Dir::new("js-kills-many");
    let (mut fleet, mut noise) = (Fleet::default(), Noise(0xf1ee7));
    let journal = dir.path("store/jetstream/journal");
    let mut journals = 0;
    for round in 0..=ROUNDS {
        let server = Process::start(&["-js", "-sd", &dir.path("store")]);
        let mut wire = Wire::connect(server.addr);
        fleet.check(&mut wire);
        if round < ROUNDS {
            let time = Duration::from_millis(20 + noise.next() % 100);
            fleet.work(&mut wire, &server, &mut noise, time);
            // It is in use, and what it has is put into the streams by the next start.
            let files = std::fs::read_dir(&journal).unwrap();
            journals += usize::from(files.count() > 1);
        }
    }
    let stored: usize = fleet.streams.values().map(BTreeMap::len).sum();
    println!(
        "{} streams made, {} there, {} gone; {} published, {stored} there; {journals} journals",
        fleet.made,
        fleet.streams.len(),
        fleet.gone.len(),
        fleet.published,
    );
    // How many are removed depends on how fast the disk is; a dozen are left.
    assert!(stored > 500 && fleet.streams.len() > 5 && journals > 5);
}
