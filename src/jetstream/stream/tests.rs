//! A stream with consumers, beside a list of messages that is counted by hand.

mod publishing;

use super::*;
use crate::base::rng::Rng;
use crate::jetstream::api::{AckPolicy, ConsumerConfig, ack};
use crate::store::disk::Disk;
use crate::store::file::{Handles, LogOptions};
use crate::store::memory::MemoryDisk;
use crate::store::stream::StoreOptions;
use crate::store::types::StreamId;
use std::collections::BTreeMap;
use std::path::Path;

/// What was sent, as subject, reply and payload.
#[derive(Default)]
struct Lines(Vec<(String, String, Vec<u8>)>);

impl Out for Lines {
    fn send(&mut self, _: &Arc<Account>, message: &Outgoing<'_>) -> usize {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((
            text(message.to),
            text(message.reply.unwrap_or_default()),
            message.payload.to_vec(),
        ));
        1
    }

    fn is_heard(&mut self, _: &Arc<Account>, subject: &[u8]) -> bool {
        !subject.starts_with(b"$JS.EVENT")
    }
}

struct World {
    stream: Stream,
    out: Lines,
    now: Timestamp,
    disk: Arc<dyn Disk>,
}

fn open(disk: &Arc<dyn Disk>, config: &StreamConfig, now: Timestamp) -> Stream {
    let id = StreamId {
        name: [1; 16],
        incarnation: [7; 16],
    };
    let options = StoreOptions {
        log: LogOptions {
            segment_bytes: 8 << 10,
            ..LogOptions::new(Arc::new(Handles::new(8)))
        },
        limits: limits(config),
    };
    let opened = StreamStore::open(
        disk.clone(),
        Path::new("/s"),
        id,
        &options,
        None,
        &mut |_| {},
    );
    Stream::new(Parts {
        account: Arc::new(Account::new(0, "A", 1)),
        config: config.clone(),
        created: Time::ZERO,
        store: opened.unwrap().0,
        bounds: Bounds {
            waiting_messages: 10_000,
            waiting_bytes: 1 << 20,
            batches: BatchLimits::default(),
        },
        batches: Arc::default(),
        waiters: Arc::default(),
        domain: None,
        long_acks: false,
        meter: Meter::new(Arc::new(Gauge::new(None)), Arc::new(Gauge::new(None))),
        seed: 5,
        now,
    })
}

fn config() -> StreamConfig {
    StreamConfig {
        name: "S".into(),
        subjects: vec!["a.>".into()],
        max_msgs: -1,
        max_bytes: -1,
        max_msg_size: -1,
        max_msgs_per_subject: -1,
        max_consumers: -1,
        ..StreamConfig::default()
    }
}

impl World {
    fn new(config: &StreamConfig) -> World {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let now = Timestamp(1_000_000_000_000);
        World {
            stream: open(&disk, config, now),
            out: Lines::default(),
            now,
            disk,
        }
    }

    fn publish(&mut self, subject: &str) {
        let message = Incoming {
            subject: subject.as_bytes(),
            reply: None,
            headers: b"",
            payload: b"x",
        };
        self.stream.publish(&message, self.now, &mut self.out);
    }

    fn consumer(&mut self, name: &str, filters: &[&str]) -> ConsumerSlot {
        let config = ConsumerConfig {
            name: name.into(),
            durable: name.into(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: crate::json::Nanos(1_000_000_000),
            max_deliver: -1,
            max_waiting: 512,
            max_ack_pending: 1000,
            filter_subjects: filters.iter().map(|f| (*f).into()).collect(),
            ..ConsumerConfig::default()
        };
        let made = self
            .stream
            .create_consumer(config, Time::ZERO, self.now, &mut self.out);
        made.unwrap()
    }

    /// Turns until there is nothing to do.
    fn turn(&mut self) {
        let (stream, out) = (&mut self.stream, &mut self.out);
        for _ in 0..1000 {
            while stream.has_work() {
                stream.work();
            }
            stream.serve_consumers(self.now, out);
            stream.commit(self.now, out);
            while let Some(job) = stream.poll_job(Mono::from_nanos(self.now.0)) {
                stream.handle_done(job.run());
            }
            stream.settle(None, out);
            if !stream.is_dirty() && !stream.has_ready_consumers() && !stream.has_work() {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    fn pull(&mut self, at: ConsumerSlot, batch: i64) {
        let json = format!("{{\"batch\":{batch},\"no_wait\":true}}");
        let request = crate::jetstream::api::pull::parse(json.as_bytes()).unwrap();
        let (stream, out) = (&mut self.stream, &mut self.out);
        stream.pull(at, b"inbox", Ok(&request), self.now, out);
    }

    fn ack(&mut self, at: ConsumerSlot, reply: &str) {
        let subject = ack::parse_subject(reply.as_bytes()).unwrap();
        let now = self.now;
        let (stream, out) = (&mut self.stream, &mut self.out);
        stream.acknowledge(at, &subject.delivery, b"+ACK", b"", (now, out));
    }

    /// The messages that there are, by looking at each.
    fn messages(&mut self) -> BTreeMap<u64, String> {
        let state = self.stream.state();
        let all = state.first.0..=state.last.0;
        let all = all.filter_map(|n| {
            let subject = self.stream.subject_of(StreamSeq(n));
            (!subject.is_empty()).then(|| (n, String::from_utf8(subject).unwrap()))
        });
        all.collect()
    }
}

/// Whatever makes messages go, consumers with filters know how many are left for them, as do those
/// that are opened anew.
#[test]
fn what_is_pending_is_what_there_is_behind() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut config = config();
        match seed % 4 {
            0 => config.max_msgs = 30,
            1 => config.max_msgs_per_subject = 2,
            2 => config.max_bytes = 2000,
            _ => {}
        }
        config.allow_rollup_hdrs = true;
        let mut world = World::new(&config);
        let filters: [&[&str]; 5] = [&["a.*"], &["a.b", "a.c"], &["a.d"], &[], &["a.*.x", "a.e"]];
        let mut slots = vec![];
        for step in 0..300 {
            world.now.0 += 10_000_000;
            match rng.below(12) {
                0 if slots.len() < 10 => {
                    let own = filters[rng.below(filters.len())];
                    let name = format!("c{step}");
                    slots.push((world.consumer(&name, own), own, name));
                }
                1 | 2 if !slots.is_empty() => {
                    let (at, ..) = &slots[rng.below(slots.len())];
                    world.pull(*at, 1 + i64::try_from(rng.below(5)).unwrap());
                }
                3 => {
                    let last = world.stream.state().last.0;
                    let at = 1 + rng.below(usize::try_from(last + 1).unwrap()) as u64;
                    let _ = world.stream.delete(StreamSeq(at));
                }
                4 if rng.below(10) == 0 => {
                    let last = world.stream.state().last;
                    let purge = Purge {
                        upto: last,
                        keep: rng.below(8) as u64,
                        filter: b"a.b".to_vec(),
                    };
                    world.stream.purge(&purge, b"").unwrap();
                }
                5 if rng.below(3) == 0 => {
                    // Some acknowledge what they were sent.
                    for (to, reply, _) in std::mem::take(&mut world.out.0) {
                        let name = reply.split('.').nth(3).unwrap_or_default();
                        let at = world.stream.find_consumer(name);
                        if let Some(at) = at.filter(|_| to == "inbox" && rng.below(2) == 0) {
                            world.ack(at, &reply);
                        }
                    }
                }
                _ => {
                    let tokens = ["b", "c", "d", "e", "f", "b.x", "c.x"];
                    let subject = format!("a.{}", tokens[rng.below(tokens.len())]);
                    world.publish(&subject);
                }
            }
            if rng.below(3) > 0 {
                continue;
            }
            world.turn();
            if rng.below(20) == 0 {
                world.stream.close().unwrap();
                let (now, disk) = (world.now, world.disk.clone());
                world.stream = open(&disk, &config, now);
                for (at, _, name) in &mut slots {
                    *at = world.stream.find_consumer(name).unwrap();
                }
                world.turn();
            }
            let messages = world.messages();
            for (at, own, name) in &slots {
                let now = world.now;
                let told = world.stream.told(*at, now, &mut world.out).unwrap();
                let delivered = told.delivered.stream_seq;
                let filters = match own.is_empty() {
                    true => crate::store::index::Filters::all(),
                    false => {
                        let all = own.iter().map(|f| f.as_bytes());
                        crate::store::index::Filters::new(all).unwrap()
                    }
                };
                let behind = messages.range(delivered + 1..);
                let behind = behind
                    .filter(|(_, s)| filters.matches(s.as_bytes()))
                    .count();
                assert_eq!(
                    told.num_pending, behind as u64,
                    "seed {seed} step {step} {name} {at:?} {own:?} behind {delivered}: {messages:?}"
                );
                // What waits for an acknowledgement is there, unless it has gone one by one.
                let first = world.stream.state().first;
                let floor = world.stream.consumers.floors.iter().find(|f| f.1 == *at);
                assert_eq!(floor.is_some(), told.num_ack_pending > 0);
                assert!(floor.is_none_or(|f| f.0 >= first), "{floor:?} {first:?}");
            }
        }
    }
}

/// Messages that are published cost nothing for consumers of other subjects, and no turn looks at
/// those that have nothing to do.
#[test]
fn idle_consumers_get_no_turns() {
    let mut world = World::new(&config());
    for n in 0..500 {
        world.consumer(&format!("c{n}"), &[&format!("a.{n}")]);
    }
    world.turn();
    for _ in 0..100 {
        world.publish("a.17");
        world.publish("a.none");
    }
    world.stream.commit(world.now, &mut world.out);
    while let Some(job) = world.stream.poll_job(Mono::from_nanos(world.now.0)) {
        world.stream.handle_done(job.run());
    }
    world.stream.settle(None, &mut world.out);
    assert!(!world.stream.has_ready_consumers());
    let at = world.stream.find_consumer("c17").unwrap();
    let told = world.stream.told(at, world.now, &mut world.out).unwrap();
    assert_eq!(told.num_pending, 100);
}

/// Found by reading: what was acknowledged while new limits, or a purge, were under way stayed for good.
#[test]
fn what_is_acknowledged_during_work_goes_behind_it() {
    for retention in [RetentionPolicy::WorkQueue, RetentionPolicy::Interest] {
        let mut config = config();
        config.retention = retention;
        let mut world = World::new(&config);
        let at = world.consumer("c", &[]);
        for _ in 0..6 {
            world.publish("a.b");
        }
        world.turn();
        world.pull(at, 6);
        world.turn();
        config.max_msgs = 5;
        world.stream.update(config).unwrap();
        let sent = std::mem::take(&mut world.out.0);
        let replies: Vec<_> = sent
            .iter()
            .filter(|s| s.0 == "inbox" && !s.1.is_empty())
            .collect();
        assert_eq!(replies.len(), 6);
        for (_, reply, _) in &replies[..5] {
            world.ack(at, reply);
        }
        world.stream.commit(world.now, &mut world.out);
        assert!(world.stream.has_work());
        assert_eq!(world.messages().len(), 6);
        world.turn();
        assert_eq!(world.messages().keys().collect::<Vec<_>>(), [&6]);
    }
}

/// Found by reading: it took a start until the store knew of it.
#[test]
fn compression_changes_with_the_configuration() {
    let config = config();
    let mut world = World::new(&config);
    for compression in [StoreCompression::S2, StoreCompression::None] {
        let changed = StreamConfig {
            compression,
            ..config.clone()
        };
        world.stream.update(changed.clone()).unwrap();
        let is = world.stream.store().compression();
        assert_eq!(is, super::compression(&changed));
        assert_eq!(is == Compression::S2, compression == StoreCompression::S2);
    }
}

#[test]
fn what_is_there_already_takes_no_room() {
    let mut world = World::new(&StreamConfig {
        duplicate_window: crate::json::Nanos(1_000_000_000),
        ..config()
    });
    let account = Arc::new(Gauge::new(None));
    world.stream.meter = Meter::new(account.clone(), Arc::new(Gauge::new(None)));
    let mut ask = |id: &str| {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
        let message = Incoming {
            subject: b"a.b",
            reply: Some(b"asker"),
            headers: headers.as_bytes(),
            payload: b"x",
        };
        world.stream.publish(&message, world.now, &mut world.out);
        world.stream.measure();
        world.turn();
        String::from_utf8(world.out.0.pop().unwrap().2).unwrap()
    };
    let first = r#"{"stream":"S","seq":1"#;
    assert_eq!(ask("1"), format!("{first}}}"));
    account.set_max(Some(account.used()));
    assert_eq!(ask("1"), format!(r#"{first},"duplicate": true}}"#));
    assert!(ask("2").contains("10002"));
    account.set_max(None);
    assert_eq!(ask("2"), r#"{"stream":"S","seq":2}"#);
}
