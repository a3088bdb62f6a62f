//! Consumers beside their stream's: events are given to the store and to a state on its own, and
//! after a crash each consumer must be as it once was, with all events that were recorded by then.

use std::collections::BTreeMap;

use crate::base::rng::Rng;
use crate::store::LogError;
use crate::store::consumer::{AckPolicy, ConsumerState, Event, Millis, Outcome, PendingMessage};
use crate::store::consumer::{ConsumerSeq, Position};
use crate::store::stream::{ConsumerId, StreamStore};
use crate::store::types::{LogIndex, StreamSeq};

/// What is recorded of consumers: their configuration, and how far in their history they are.
pub(super) type Recorded = BTreeMap<ConsumerId, (Vec<u8>, usize)>;

#[derive(Default)]
pub(super) struct Consumers {
    live: BTreeMap<ConsumerId, ConsumerState>,
    /// All that each of them was, since it was created.
    history: BTreeMap<ConsumerId, Vec<Seen>>,
    created: u64,
}

#[derive(Clone, PartialEq, Debug)]
struct Seen {
    policy: AckPolicy,
    delivered: Position,
    floor: Position,
    waiting: Vec<PendingMessage>,
    exhausted: Vec<(StreamSeq, StreamSeq)>,
}

impl Seen {
    fn of(state: &ConsumerState) -> Seen {
        let exhausted = state.exhausted().into_iter();
        Seen {
            policy: state.policy(),
            delivered: state.delivered(),
            floor: state.ack_floor(),
            waiting: state.pending().iter().collect(),
            exhausted: exhausted.flat_map(|set| set.ranges(StreamSeq(0))).collect(),
        }
    }
}

impl Consumers {
    /// Gives an order about consumers. The index is that of its record, 0 if there is none.
    pub(super) fn order(
        &mut self,
        rng: &mut Rng,
        store: &mut StreamStore,
        recorded: &mut Recorded,
    ) -> Result<LogIndex, LogError> {
        let ids: Vec<ConsumerId> = self.live.keys().copied().collect();
        let create = ids.is_empty() || ids.len() < 6 && rng.below(8) == 0;
        if create {
            return self.create(rng, store, recorded);
        }
        let id = ids[rng.below(ids.len())];
        match rng.below(20) {
            0 => {
                let index = store.delete_consumer(id)?.unwrap();
                self.live.remove(&id);
                recorded.remove(&id);
                Ok(index)
            }
            1 => {
                let config = vec![b'u'; rng.below(200)];
                let index = store.update_consumer(id, &config)?.unwrap();
                recorded.get_mut(&id).unwrap().0 = config;
                Ok(index)
            }
            2..8 => self.append(store, recorded),
            _ => {
                for _ in 0..1 + rng.below(12) {
                    self.event(rng, store, id);
                }
                Ok(LogIndex(0))
            }
        }
    }

    fn create(
        &mut self,
        rng: &mut Rng,
        store: &mut StreamStore,
        recorded: &mut Recorded,
    ) -> Result<LogIndex, LogError> {
        let policy = [AckPolicy::None, AckPolicy::All, AckPolicy::Explicit][rng.below(3)];
        let start = StreamSeq(rng.below(20) as u64);
        let name = format!("c{}", self.created);
        let config = vec![b'c'; rng.below(200)];
        let (id, index) = store.create_consumer(&name, &config, policy, start)?;
        self.created += 1;
        let state = ConsumerState::new(policy, start);
        self.history.insert(id, vec![Seen::of(&state)]);
        self.live.insert(id, state);
        recorded.insert(id, (config, 0));
        Ok(index)
    }

    /// Has all events recorded.
    pub(super) fn append(
        &self,
        store: &mut StreamStore,
        recorded: &mut Recorded,
    ) -> Result<LogIndex, LogError> {
        let before = store.log().last_index();
        store.append_events()?;
        for (id, (_, step)) in recorded {
            *step = self.history[id].len() - 1;
        }
        let index = store.log().last_index();
        Ok(if index > before { index } else { LogIndex(0) })
    }

    fn event(&mut self, rng: &mut Rng, store: &mut StreamStore, id: ConsumerId) {
        let live = self.live.get_mut(&id).unwrap();
        let delivered = live.delivered();
        let waiting: Vec<u64> = live.pending().iter().map(|m| m.stream.0).collect();
        let any = match waiting.len() {
            0 => StreamSeq(rng.below(30) as u64),
            n => StreamSeq(waiting[rng.below(n)] + (rng.below(8) / 7) as u64),
        };
        let at = Millis::new(1_700_000_000_000 + rng.below(100_000) as u64);
        let deadline = Millis::new(at.get() + rng.below(60_000) as u64);
        let event = match rng.below(24) {
            0..9 => Event::Delivered {
                stream: StreamSeq(delivered.stream.0 + rng.below(4) as u64),
                at,
                deadline,
            },
            9..16 => Event::Acked { stream: any },
            16 if rng.below(2) == 0 => Event::Exhausted { stream: any },
            16 => Event::Terminated { stream: any },
            17 | 18 => Event::Redelivered {
                stream: any,
                at,
                deadline,
            },
            19 | 20 => Event::AckedThrough {
                stream: any,
                consumer: ConsumerSeq(rng.below(30) as u64),
            },
            21 => Event::Rescheduled {
                stream: any,
                deadline,
            },
            22 => Event::Skipped {
                stream: StreamSeq(any.0 + rng.below(3) as u64),
            },
            _ if rng.below(4) > 0 => Event::Acked { stream: any },
            _ => Event::Reset {
                to: Position {
                    stream: StreamSeq(rng.below(10) as u64),
                    consumer: delivered.consumer,
                },
            },
        };
        let outcome = live.apply(event);
        assert_eq!(store.record(id, event), outcome);
        if outcome == Ok(Outcome::Changed) {
            self.history.get_mut(&id).unwrap().push(Seen::of(live));
        }
    }

    /// They are what they should be.
    pub(super) fn check(&self, store: &StreamStore, recorded: &Recorded) {
        assert_eq!(store.consumer_count(), recorded.len());
        for (id, consumer) in store.consumers() {
            assert_eq!(consumer.config(), recorded[&id].0);
            assert_eq!(Seen::of(consumer.state()), Seen::of(&self.live[&id]));
        }
    }

    /// After the stream was opened again, each of them is what it was with the last event that was
    /// recorded, or with a later one; that is where they go on.
    pub(super) fn reopened(&mut self, store: &StreamStore, recorded: &mut Recorded) {
        let ids: Vec<ConsumerId> = store.consumers().map(|(id, _)| id).collect();
        assert!(ids.iter().eq(recorded.keys()), "{ids:?}, {recorded:?}");
        self.live.clear();
        for (id, consumer) in store.consumers() {
            let (config, step) = recorded.get_mut(&id).unwrap();
            assert_eq!(consumer.config(), config);
            let state = consumer.state();
            state.check_invariants();
            let seen = Seen::of(state);
            let history = self.history.get_mut(&id).unwrap();
            let found = history[*step..].iter().position(|past| *past == seen);
            *step += found.unwrap_or_else(|| panic!("{seen:?} of {:?}", &history[*step..]));
            history.truncate(*step + 1);
            self.live.insert(id, state.clone());
        }
    }
}
