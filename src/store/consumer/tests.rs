//! Consumers against a model that says the same in a plain way.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::index::{LogIndex, StreamSeq};

fn ms(n: u64) -> Millis {
    Millis::new(n)
}

fn delivered(stream: u64) -> Event {
    Event::Delivered {
        stream: StreamSeq(stream),
        at: ms(1000),
        deadline: ms(31_000),
    }
}

fn acked(stream: u64) -> Event {
    Event::Acked {
        stream: StreamSeq(stream),
    }
}

fn position(stream: u64, consumer: u64) -> Position {
    Position {
        stream: StreamSeq(stream),
        consumer: ConsumerSeq(consumer),
    }
}

fn state_after(policy: AckPolicy, events: &[Event]) -> ConsumerState {
    let mut state = ConsumerState::new(policy, StreamSeq(0));
    for event in events {
        state.apply(*event).unwrap();
        state.check_invariants();
    }
    state
}

#[test]
fn the_floor_moves_when_the_first_that_waits_is_acknowledged() {
    let mut state = state_after(AckPolicy::Explicit, &[2, 3, 7, 9].map(delivered));
    assert_eq!(
        (state.delivered(), state.ack_floor()),
        (position(9, 4), position(0, 0))
    );
    for (stream, outcome, floor) in [
        (3, Outcome::Changed, position(0, 0)),
        (3, Outcome::Nothing, position(0, 0)),
        (2, Outcome::Changed, position(6, 2)),
        (8, Outcome::Nothing, position(6, 2)),
        (9, Outcome::Changed, position(6, 2)),
        (7, Outcome::Changed, position(9, 4)),
        (10, Outcome::Nothing, position(9, 4)),
    ] {
        assert_eq!(state.apply(acked(stream)), Ok(outcome));
        assert_eq!(state.ack_floor(), floor, "after {stream}");
        state.check_invariants();
    }
}

#[test]
fn a_redelivery_counts_as_a_delivery_but_the_floor_keeps_to_the_first() {
    let again = |stream| Event::Redelivered {
        stream: StreamSeq(stream),
        at: ms(40_000),
        deadline: ms(70_000),
    };
    let mut state = state_after(
        AckPolicy::Explicit,
        &[
            delivered(1),
            delivered(2),
            again(1),
            again(1),
            again(5),
            delivered(3),
        ],
    );
    assert_eq!(state.delivered(), position(3, 5));
    let first = state.pending().get(StreamSeq(1)).unwrap();
    assert_eq!((first.redeliveries, first.consumer), (2, ConsumerSeq(1)));
    assert_eq!(
        (first.delivered_at, first.deadline),
        (ms(40_000), ms(70_000))
    );
    assert_eq!(state.pending().redelivered(), 1);
    state.apply(acked(1)).unwrap();
    assert_eq!(state.ack_floor(), position(1, 1));
    state.apply(acked(2)).unwrap();
    assert_eq!(state.ack_floor(), position(2, 4));
    assert_eq!(state.pending().redelivered(), 0);
}

#[test]
fn one_acknowledgement_may_be_for_all_before_it() {
    let through = |stream, consumer| Event::AckedThrough {
        stream: StreamSeq(stream),
        consumer: ConsumerSeq(consumer),
    };
    let mut state = state_after(AckPolicy::All, &[1, 2, 4, 8, 9].map(delivered));
    assert_eq!(state.apply(through(4, 3)), Ok(Outcome::Changed));
    assert_eq!(
        (state.ack_floor(), state.pending().len()),
        (position(4, 3), 2)
    );
    for nothing in [through(4, 3), through(1, 1), through(7, 3), through(10, 6)] {
        assert_eq!(state.apply(nothing), Ok(Outcome::Nothing));
    }
    // The client made its number up.
    assert_eq!(state.apply(through(8, u64::MAX)), Ok(Outcome::Changed));
    assert_eq!(state.ack_floor(), position(8, 5));
    assert_eq!(state.apply(through(9, 0)), Ok(Outcome::Changed));
    assert_eq!(state.ack_floor(), position(9, 5));
    state.check_invariants();
    for policy in [AckPolicy::None, AckPolicy::Explicit] {
        let mut state = state_after(policy, &[delivered(1)]);
        assert_eq!(state.apply(through(1, 1)), Err(Conflict));
    }
}

#[test]
fn without_acknowledgements_nothing_waits() {
    let state = state_after(AckPolicy::None, &[1, 2, 4].map(delivered));
    assert_eq!(state.ack_floor(), position(4, 3));
    assert!(state.pending().is_empty());
}

#[test]
fn what_is_skipped_or_reset_is_behind_us() {
    let mut state = state_after(AckPolicy::Explicit, &[1, 2, 4].map(delivered));
    let skipped = |stream| Event::Skipped {
        stream: StreamSeq(stream),
    };
    assert_eq!(state.apply(skipped(0)), Ok(Outcome::Nothing));
    assert_eq!(state.apply(skipped(2)), Ok(Outcome::Changed));
    assert_eq!(
        (state.ack_floor(), state.pending().len()),
        (position(3, 2), 1)
    );
    assert_eq!(state.apply(skipped(20)), Ok(Outcome::Changed));
    assert_eq!(
        (state.ack_floor(), state.delivered()),
        (position(20, 3), position(20, 3))
    );
    assert_eq!(state.apply(delivered(20)), Err(Conflict));
    let reset = Event::Reset { to: position(5, 0) };
    assert_eq!(state.apply(reset), Ok(Outcome::Changed));
    assert_eq!(state.apply(reset), Ok(Outcome::Nothing));
    assert_eq!(state.apply(delivered(6)), Ok(Outcome::Changed));
    assert_eq!(state.delivered(), position(6, 1));
    state.check_invariants();
}

#[test]
fn those_that_are_due_are_found_in_bounded_parts() {
    let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(0));
    for stream in 1..=1000 {
        let (at, deadline) = (ms(stream), ms(10_000 + stream));
        let stream = StreamSeq(stream);
        state
            .apply(Event::Delivered {
                stream,
                at,
                deadline,
            })
            .unwrap();
    }
    assert_eq!(state.pending().next_deadline(), Some(ms(10_001)));
    let mut due = Vec::new();
    state.due(ms(10_000), 10, &mut due);
    assert!(due.is_empty());
    state.due(ms(10_500), 10, &mut due);
    assert!(due.iter().map(|message| message.stream.0).eq(1..=10));
    for message in due.drain(..) {
        let deadline = ms(20_000);
        state
            .apply(Event::Rescheduled {
                stream: message.stream,
                deadline,
            })
            .unwrap();
    }
    state.due(ms(10_500), usize::MAX, &mut due);
    assert!(due.iter().map(|message| message.stream.0).eq(11..=500));
    // A bound that was too low is put right once somebody has looked.
    assert!(state.pending().next_deadline().unwrap() >= ms(10_011));
    let now = Event::Rescheduled {
        stream: StreamSeq(900),
        deadline: ms(5),
    };
    assert_eq!(state.apply(now), Ok(Outcome::Changed));
    assert_eq!(state.pending().next_deadline(), Some(ms(5)));
    state.check_invariants();
}

#[test]
fn a_message_that_waits_costs_little() {
    let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(1 << 40));
    let mut batch = EventWriter::new();
    for i in 1..=60_000 {
        let stream = StreamSeq((1 << 40) + i * 3);
        let event = Event::Delivered {
            stream,
            at: ms(1 << 40),
            deadline: ms(1 << 41),
        };
        state.record(event, &mut batch).unwrap();
    }
    assert!(state.pending().memory_bytes() < 60_000 * 26);
    assert!(batch.take().len() < 60_000 * 5);
    // Three of four go, all over the place.
    for i in (1..=60_000).filter(|i| i % 4 > 0) {
        state.apply(acked((1 << 40) + i * 3)).unwrap();
    }
    state.check_invariants();
    assert!(state.pending().memory_bytes() < 15_000 * 100);
    let mut out = Vec::new();
    state.encode(&mut out);
    assert!(out.len() < 15_000 * 8 + 50, "{}", out.len());
    let few = state_after(AckPolicy::Explicit, &[delivered(1)]);
    assert!(few.pending().memory_bytes() < 400);
}

#[test]
fn what_was_delivered_too_often_is_known_until_somebody_is_done_with_it() {
    let exhausted = |stream| Event::Exhausted {
        stream: StreamSeq(stream),
    };
    let mut state = state_after(AckPolicy::Explicit, &[1, 2, 3, 5, 6].map(delivered));
    for (stream, outcome) in [
        (2, Outcome::Changed),
        (2, Outcome::Nothing),
        (4, Outcome::Nothing),
        (3, Outcome::Changed),
        (6, Outcome::Changed),
    ] {
        assert_eq!(state.apply(exhausted(stream)), Ok(outcome), "{stream}");
    }
    let known = |state: &ConsumerState| {
        let all = state.exhausted().into_iter();
        let all = all.flat_map(|set| set.ranges(StreamSeq(1)));
        all.map(|(first, last)| (first.0, last.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(known(&state), [(2, 3), (6, 6)]);
    assert_eq!(state.pending().len(), 2);
    // A checkpoint tells of them, and one without any is as it always was.
    let mut bytes = vec![];
    state.encode(&mut bytes);
    assert_eq!(bytes[0], 2);
    let restored = ConsumerState::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(known(&restored), known(&state));
    for end in 0..bytes.len() {
        assert!(ConsumerState::decode(&mut Reader::new(&bytes[..end])).is_err());
    }
    assert_eq!(state.apply(acked(3)), Ok(Outcome::Changed));
    assert_eq!(state.apply(acked(3)), Ok(Outcome::Nothing));
    state.forget_before(StreamSeq(3));
    assert_eq!(known(&state), [(6, 6)]);
    state.forget_before(StreamSeq(7));
    assert!(state.exhausted().is_none());
    let mut bytes = vec![];
    state.encode(&mut bytes);
    assert_eq!(bytes[0], 1);
    // One that was never delivered cannot have been so too often.
    let mut forged = state_after(AckPolicy::Explicit, &[delivered(1)]);
    forged.apply(exhausted(1)).unwrap();
    let mut bytes = vec![];
    forged.encode(&mut bytes);
    let mut far = crate::store::index::SequenceSet::default();
    far.insert(StreamSeq(1));
    let mut own = vec![];
    far.encode(&mut own);
    bytes.truncate(bytes.len() - own.len());
    far.insert(StreamSeq(9));
    far.encode(&mut bytes);
    assert!(ConsumerState::decode(&mut Reader::new(&bytes)).is_err());
}

#[test]
fn rows_of_messages_take_a_few_bytes() {
    let mut batch = EventWriter::new();
    for event in (1..=1000).map(delivered).chain((1..=900).map(acked)) {
        assert!(batch.push(event));
    }
    assert_eq!(batch.len(), 1900);
    let batch = batch.take();
    assert!(batch.len() < 20, "{}", batch.len());
    let events: Vec<Event> = Events::new(&batch).unwrap().map(Result::unwrap).collect();
    assert!(
        events
            .into_iter()
            .eq((1..=1000).map(delivered).chain((1..=900).map(acked)))
    );
}

#[test]
fn batches_are_bounded() {
    let mut batch = EventWriter::new();
    for stream in 1..=EVENTS_MAX as u64 {
        assert!(batch.push(acked(stream)));
    }
    assert!(!batch.push(acked(1)));
    let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(0));
    assert_eq!(state.record(delivered(1), &mut batch), Err(Conflict));
    assert_eq!(state.delivered(), position(0, 0));
    assert_eq!(Events::new(&batch.take()).unwrap().count(), EVENTS_MAX);
    // A row that claims more than there may be.
    let mut forged = vec![1];
    varint::put(&mut forged, (EVENTS_MAX as u64) << 4 | 1);
    varint::put(&mut forged, 2);
    let first = Events::new(&forged).unwrap().next();
    assert_eq!(first, Some(Err(Malformed("batch: too many events"))));
    assert!(Events::new(&[2]).is_err());
    assert_eq!(EventWriter::new().take(), [1]);
}

#[test]
fn batches_that_do_not_follow_change_nothing() {
    let mut batch = EventWriter::new();
    for event in [delivered(5), acked(5), delivered(4)] {
        assert!(batch.push(event));
    }
    let batch = batch.take();
    let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(0));
    let conflict = Err(ReplayError::Conflict(Conflict));
    assert_eq!(state.replay(LogIndex(1), &batch), conflict);
    let cut = state.replay(LogIndex(1), &batch[..batch.len() - 1]);
    assert!(matches!(cut, Err(ReplayError::Malformed(_))));
    assert_eq!(
        (state.delivered(), state.applied()),
        (position(0, 0), LogIndex(0))
    );
}

/// A consumer in a map.
#[derive(Default)]
struct Model {
    delivered: (u64, u64),
    floor: (u64, u64),
    /// First delivery, time, deadline and redeliveries, by stream sequence number.
    pending: BTreeMap<u64, (u64, u64, u64, u32)>,
    exhausted: BTreeSet<u64>,
}

impl Model {
    fn apply(&mut self, policy: AckPolicy, event: Event) -> bool {
        match event {
            Event::Delivered {
                stream,
                at,
                deadline,
            } => {
                self.delivered = (stream.0, self.delivered.1 + 1);
                if policy == AckPolicy::None {
                    self.floor = self.delivered;
                } else {
                    let message = (self.delivered.1, at.get(), deadline.get(), 0);
                    self.pending.insert(stream.0, message);
                }
                true
            }
            Event::Redelivered {
                stream,
                at,
                deadline,
            } => {
                let Some(message) = self.pending.get_mut(&stream.0) else {
                    return false;
                };
                *message = (message.0, at.get(), deadline.get(), message.3 + 1);
                self.delivered.1 += 1;
                true
            }
            Event::Rescheduled { stream, deadline } => {
                let Some(message) = self.pending.get_mut(&stream.0) else {
                    return false;
                };
                message.2 = deadline.get();
                true
            }
            Event::Acked { stream }
            | Event::Terminated { stream }
            | Event::Exhausted { stream } => {
                let lowest = self.pending.first_key_value().map(|(stream, _)| *stream);
                let removed = self.pending.remove(&stream.0).is_some();
                if removed && lowest == Some(stream.0) {
                    self.raise();
                }
                match event {
                    Event::Exhausted { .. } if removed => self.exhausted.insert(stream.0),
                    Event::Exhausted { .. } => false,
                    _ => self.exhausted.remove(&stream.0) || removed,
                }
            }
            Event::AckedThrough { stream, consumer } => {
                let gone: Vec<u64> = self.pending.range(..=stream.0).map(|(s, _)| *s).collect();
                if stream.0 > self.delivered.0 {
                    return false;
                }
                let known = self.exhausted.len();
                self.exhausted.retain(|s| *s > stream.0);
                let Some(last) = gone.last() else {
                    return self.exhausted.len() < known;
                };
                let consumer = consumer.0.max(self.pending[last].0).min(self.delivered.1);
                self.pending.retain(|s, _| *s > stream.0);
                if self.pending.is_empty() {
                    self.floor = self.delivered;
                } else {
                    self.floor = (stream.0, consumer.max(self.floor.1));
                }
                true
            }
            Event::Skipped { stream } => {
                let before = (self.delivered.0, self.pending.len());
                let known = self.exhausted.len();
                self.exhausted.retain(|s| *s > stream.0);
                let forgot = self.exhausted.len() < known;
                self.delivered.0 = self.delivered.0.max(stream.0);
                self.pending.retain(|s, _| *s > stream.0);
                if self.pending.len() < before.1 || forgot || self.pending.is_empty() {
                    self.raise();
                }
                forgot || before != (self.delivered.0, self.pending.len())
            }
            Event::Reset { to } => {
                let changed = self.delivered != (to.stream.0, to.consumer.0);
                let changed = changed || !self.pending.is_empty() || !self.exhausted.is_empty();
                self.delivered = (to.stream.0, to.consumer.0);
                self.floor = self.delivered;
                self.pending.clear();
                self.exhausted.clear();
                changed
            }
        }
    }

    fn raise(&mut self) {
        let first = self.pending.first_key_value();
        let floor = first.map_or(self.delivered, |(stream, message)| {
            (stream - 1, message.0 - 1)
        });
        self.floor = (self.floor.0.max(floor.0), self.floor.1.max(floor.1));
    }

    fn check(&self, state: &ConsumerState) {
        state.check_invariants();
        assert_eq!(
            state.delivered(),
            position(self.delivered.0, self.delivered.1)
        );
        assert_eq!(state.ack_floor(), position(self.floor.0, self.floor.1));
        let pending = state.pending().iter().map(|message| {
            let at = (message.delivered_at.get(), message.deadline.get());
            (
                message.stream.0,
                (message.consumer.0, at.0, at.1, message.redeliveries),
            )
        });
        assert!(
            pending.eq(self
                .pending
                .iter()
                .map(|(stream, message)| (*stream, *message)))
        );
        let exhausted = state.exhausted().into_iter();
        let exhausted = exhausted.flat_map(|set| set.ranges(StreamSeq(1)));
        let exhausted = exhausted.flat_map(|(first, last)| first.0..=last.0);
        assert!(exhausted.eq(self.exhausted.iter().copied()));
        for stream in self.pending.keys() {
            assert!(state.pending().get(StreamSeq(*stream)).is_some());
            assert_eq!(
                state.pending().get(StreamSeq(stream + 1)).is_some(),
                self.pending.contains_key(&(stream + 1))
            );
        }
    }
}

/// What happens next, with numbers relative to what there is.
fn step() -> impl Strategy<Value = (u8, u64, u64, bool)> {
    (
        0..22u8,
        0..300u64,
        0..100_000u64,
        prop::bool::weighted(0.02),
    )
}

fn event_of(
    (what, n, time, far): (u8, u64, u64, bool),
    policy: AckPolicy,
    state: &ConsumerState,
) -> Event {
    let (at, deadline) = (ms(time), ms(time + n * 7));
    let delivered = state.delivered();
    let first = state
        .pending()
        .first()
        .map_or(delivered.stream.0, |first| first.stream.0);
    let known = StreamSeq(first + n % 40);
    let gap = if far { 1 << 33 } else { n % 3 };
    match what {
        0..=8 => Event::Delivered {
            stream: StreamSeq(delivered.stream.0 + 1 + gap),
            at,
            deadline,
        },
        9..=14 if policy == AckPolicy::All => Event::AckedThrough {
            stream: known,
            consumer: ConsumerSeq((delivered.consumer.0 + 2).saturating_sub(n % 10)),
        },
        9..=14 => Event::Acked { stream: known },
        15 => Event::Redelivered {
            stream: known,
            at,
            deadline,
        },
        16 => Event::Rescheduled {
            stream: known,
            deadline,
        },
        17 => Event::Terminated { stream: known },
        20 | 21 => Event::Exhausted { stream: known },
        18 if n < 30 => Event::Skipped { stream: known },
        19 if n < 5 => Event::Reset {
            to: position(first, n),
        },
        _ => Event::Acked {
            stream: StreamSeq(n),
        },
    }
}

proptest! {
    #[test]
    fn state_is_what_events_make_of_it(
        policy in prop::sample::select(vec![AckPolicy::None, AckPolicy::All, AckPolicy::Explicit]),
        steps in prop::collection::vec(step(), 1..400),
        batch_len in 1..50usize,
    ) {
        let mut state = ConsumerState::new(policy, StreamSeq(0));
        let mut model = Model::default();
        let (mut writer, mut log) = (EventWriter::new(), Vec::new());
        let mut checkpoint = None;
        for (i, step) in steps.iter().enumerate() {
            let event = event_of(*step, policy, &state);
            let outcome = state.record(event, &mut writer).unwrap();
            prop_assert_eq!(outcome == Outcome::Changed, model.apply(policy, event));
            model.check(&state);
            if writer.len() >= batch_len || i + 1 == steps.len() {
                log.push(writer.take());
                state.set_applied(LogIndex(log.len() as u64));
                if log.len() % 3 == 1 {
                    let mut out = Vec::new();
                    state.encode(&mut out);
                    checkpoint = Some(out);
                }
            }
        }
        // From nothing, with every batch twice.
        let mut replayed = ConsumerState::new(policy, StreamSeq(0));
        // From the last checkpoint, with batches that it has seen.
        let checkpoint = checkpoint.unwrap();
        let mut reader = Reader::new(&checkpoint);
        let mut restored = ConsumerState::decode(&mut reader).unwrap();
        prop_assert!(reader.is_empty());
        for (i, batch) in log.iter().enumerate() {
            let index = LogIndex(i as u64 + 1);
            let fresh = index > restored.applied();
            prop_assert_eq!(replayed.replay(index, batch), Ok(true));
            prop_assert_eq!(replayed.replay(index, batch), Ok(false));
            prop_assert_eq!(restored.replay(index, batch), Ok(fresh));
        }
        model.check(&replayed);
        model.check(&restored);
        prop_assert_eq!(restored.applied(), LogIndex(log.len() as u64));
    }

    #[test]
    fn no_bytes_make_a_consumer_panic(bytes: Vec<u8>, version: bool) {
        let mut bytes = bytes;
        if version && !bytes.is_empty() {
            bytes[0] = 1 + bytes[0] % 2;
        }
        if let Ok(state) = ConsumerState::decode(&mut Reader::new(&bytes)) {
            state.check_invariants();
        }
        let mut state = state_after(AckPolicy::Explicit, &[1, 2, 5].map(delivered));
        let _ = state.replay(LogIndex(1), &bytes);
        state.check_invariants();
    }
}
