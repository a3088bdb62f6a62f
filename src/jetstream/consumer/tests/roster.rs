//! Many consumers, of which few have something to do.

use std::time::Duration;

use super::world::*;
use crate::jetstream::consumer::*;
use crate::store::index::{StreamSeq, Timestamp};

/// Consumers that have a stream each, as far as they know, all with the same messages.
struct Many {
    roster: Roster<(Memory, Lines)>,
    scratch: Scratch<Vec<u8>>,
    now: Timestamp,
    last: u64,
}

impl Many {
    fn new() -> Many {
        Many {
            roster: Roster::new(5),
            scratch: Scratch::new(5),
            now: START,
            last: 0,
        }
    }

    fn add(&mut self, settings: Settings, filters: &[&str]) -> Slot {
        let World {
            consumer,
            stream,
            sink,
            ..
        } = World::new(settings, &[]);
        let filters = filters.iter().map(|filter| filter.as_bytes());
        self.roster.insert(consumer, filters, (stream, sink))
    }

    fn pull(&mut self, slot: Slot, n: i64) {
        let (consumer, (stream, sink)) = self.roster.get(slot).unwrap();
        let mut turn = Turn {
            stream,
            sink,
            scratch: &mut self.scratch,
            now: self.now,
        };
        consumer
            .handle_pull(&mut turn, b"in", Ok(&batch(n)))
            .unwrap();
        self.roster.wake(slot);
    }

    fn store(&mut self, subject: &str) {
        self.last += 1;
        let slots: Vec<Slot> = self.roster.iter().map(|(slot, _, _)| slot).collect();
        for slot in slots {
            let (_, (stream, _)) = self.roster.get(slot).unwrap();
            stream.put(subject, self.now);
        }
        let last = StreamSeq(self.last);
        self.roster.note_visible(last, subject.as_bytes());
    }

    /// Gives all a turn that have something to do; tells which, and what they sent.
    fn serve(&mut self) -> Vec<(Slot, Vec<String>)> {
        let mut served = vec![];
        self.roster.fire_timers(self.now);
        while let Some(slot) = self.roster.next_ready() {
            let (consumer, (stream, sink)) = self.roster.get(slot).unwrap();
            let mut turn = Turn {
                stream,
                sink,
                scratch: &mut self.scratch,
                now: self.now,
            };
            let mut budget = Budget {
                messages: 2,
                bytes: 1 << 20,
                looks: 100,
            };
            let outcome = consumer.serve(&mut turn, &mut budget).unwrap();
            served.push((slot, std::mem::take(&mut turn.sink.lines)));
            self.roster.settle(slot, outcome);
        }
        served
    }
}

#[test]
fn only_those_work_that_have_something_to_do() {
    let mut many = Many::new();
    let idle: Vec<Slot> = (0..100).map(|_| many.add(settings(), &[])).collect();
    let some = many.add(filtered(&["a", "b.>"]), &["a", "b.>"]);
    let other = many.add(filtered(&["c"]), &["c"]);
    assert_eq!(many.serve().len(), 102);
    many.pull(idle[7], 3);
    many.pull(some, 10);
    many.pull(other, 10);
    assert_eq!(many.serve().len(), 3);
    many.store("a");
    let served = many.serve();
    assert_eq!(served[0], (idle[7], vec!["in <- a 1.1.1.0".into()]));
    assert_eq!(served[1], (some, vec!["in <- a 1.1.1.0".into()]));
    assert_eq!(served.len(), 2);
    // One that has nothing to do is told of messages nevertheless, so that it counts right.
    for _ in 0..3 {
        many.store("c");
    }
    let slots: Vec<Slot> = many.serve().into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, [idle[7], other, idle[7], other]);
    // The request of the first is done.
    many.store("b.x");
    assert_eq!(many.serve().len(), 1);
    let mut slots = vec![];
    many.roster.matching(b"b.x", &mut slots);
    assert_eq!(slots, [some]);
}

#[test]
fn budgets_let_others_have_their_turn() {
    let mut many = Many::new();
    let (x, y) = (many.add(settings(), &[]), many.add(settings(), &[]));
    for _ in 0..4 {
        many.store("a");
    }
    many.serve();
    many.pull(x, 4);
    many.pull(y, 1);
    let slots: Vec<Slot> = many.serve().into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, [x, y, x, x]);
}

#[test]
fn timers_fire_for_those_that_set_them() {
    let mut many = Many::new();
    let mut short = settings();
    short.inactive_threshold = Duration::from_secs(1);
    let short = many.add(short, &[]);
    let never = many.add(settings(), &[]);
    many.serve();
    many.pull(never, 1);
    many.store("a");
    many.serve();
    let first = many.roster.next_timer().unwrap();
    assert!(first < Timestamp(START.0 + 2_000_000_000));
    many.now = first;
    assert_eq!(many.serve(), [(short, vec![])]);
    many.roster.remove(short).unwrap();
    // What is left is the deadline of the message that was delivered.
    many.now = Timestamp(START.0 + 29_999_000_000);
    assert_eq!(many.serve(), []);
    many.now = Timestamp(START.0 + 30_000_000_000);
    assert_eq!(many.serve(), [(never, vec![])]);
    assert_eq!(many.roster.next_timer(), None);
}

#[test]
fn places_are_used_again() {
    let mut many = Many::new();
    let first = many.add(filtered(&["a"]), &["a"]);
    many.serve();
    assert!(many.roster.wants_each());
    many.roster.remove(first).unwrap();
    assert!(!many.roster.wants_each() && many.roster.is_empty());
    assert!(many.roster.remove(first).is_none());
    let second = many.add(settings(), &[]);
    assert_eq!(second, first);
    many.serve();
    many.store("a");
    assert_eq!(many.serve(), []);
    let (consumer, _) = many.roster.get(second).unwrap();
    // All of it but the settings' heap: 10,000 of them are 8 MB.
    assert!(consumer.memory_bytes() < 800, "{}", consumer.memory_bytes());
    assert!(many.roster.memory_bytes() < 2_000);
}
