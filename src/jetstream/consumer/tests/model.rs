//! Whatever happens, and in whatever order: what must hold of every consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::world::*;
use crate::jetstream::api::ack::{AckKind, parse_subject};
use crate::jetstream::api::pull::PullRequest;
use crate::jetstream::consumer::*;
use crate::json::Nanos;
use crate::store::consumer::ConsumerSeq;
use crate::store::index::{StreamSeq, Timestamp};

const SUBJECTS: [&str; 3] = ["a", "b", "c"];
const WAIT_MS: u64 = 1_000;
const MAX_DELIVER: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Store(usize),
    Pull {
        batch: i64,
        expires_ms: i64,
    },
    PullNow {
        batch: i64,
    },
    /// The delivery is chosen among all that were made.
    Say(prop::sample::Index, &'static str),
    Remove(prop::sample::Index),
    Trim(prop::sample::Index, bool),
    Pass(u64),
    Restart,
    Refilter(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let index = || any::<prop::sample::Index>();
    let words = vec!["", "", "", "", "-NAK", "-NAK 700ms", "+WPI", "+TERM"];
    prop_oneof![
        6 => (0..SUBJECTS.len()).prop_map(Step::Store),
        5 => (0..6i64, 0..3i64).prop_map(|(batch, s)| Step::Pull { batch, expires_ms: s * 400 }),
        2 => (1..6i64).prop_map(|batch| Step::PullNow { batch }),
        8 => (index(), prop::sample::select(words)).prop_map(|(i, word)| Step::Say(i, word)),
        1 => index().prop_map(Step::Remove),
        1 => (index(), any::<bool>()).prop_map(|(i, purged)| Step::Trim(i, purged)),
        4 => (1..700u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Refilter),
    ]
}

/// What is known of a message from outside.
#[derive(Default)]
struct Known {
    deliveries: u64,
    /// It is not delivered again before.
    not_before: Timestamp,
    done: bool,
    given_up: bool,
}

#[derive(Default)]
struct Model {
    known: BTreeMap<u64, Known>,
    seen: usize,
    floor: (u64, u64),
}

impl Model {
    /// Checks what has happened since this was done last.
    fn check(&mut self, world: &mut World, max_ack_pending: usize) {
        let policy = world.consumer.settings().ack;
        for line in world.lines() {
            if let Some(rest) = line.strip_prefix("MaxDeliveries { stream: StreamSeq(") {
                let (sequence, rest) = rest.split_once(')').unwrap();
                assert_eq!(rest, format!(", deliveries: {MAX_DELIVER} }}"));
                let known = self.known.get_mut(&sequence.parse().unwrap()).unwrap();
                assert!(!known.given_up && !known.done, "{line}");
                known.given_up = true;
            }
        }
        let deliveries = world.sink.deliveries[self.seen..].to_vec();
        self.seen = world.sink.deliveries.len();
        for delivery in &deliveries {
            let parsed = parse_subject(delivery.reply.as_bytes()).unwrap().delivery;
            let known = self.known.entry(delivery.sequence).or_default();
            known.deliveries += 1;
            let (text, now) = (format!("{delivery:?}"), delivery.at);
            assert!(
                !known.done && !known.given_up,
                "done, and delivered: {text}"
            );
            assert!(now >= known.not_before, "too early: {text}");
            assert!(known.deliveries <= u64::from(MAX_DELIVER), "{text}");
            assert_eq!(parsed.delivered, known.deliveries, "{text}");
            if policy == AckPolicy::None {
                known.done = true;
            } else {
                known.not_before = Timestamp(now.0 + WAIT_MS * 1_000_000);
            }
        }
        self.check_state(world, max_ack_pending);
    }

    fn check_state(&mut self, world: &mut World, max_ack_pending: usize) {
        let figures = world.figures();
        let floor = (figures.ack_floor.stream.0, figures.ack_floor.consumer.0);
        assert!(
            floor.0 >= self.floor.0 && floor.1 >= self.floor.1,
            "{floor:?}"
        );
        self.floor = floor;
        assert!(figures.ack_pending <= max_ack_pending);
        let filters = &world.consumer.settings().filters;
        // What was passed stays so, even if other filters match it.
        let from = world.consumer.next.0;
        let naive = world.stream.matching(filters, from).count() as u64;
        assert_eq!(figures.pending, naive, "messages that wait");
        let kept = world.stream.replayed();
        let state = &world.stream.state;
        assert_eq!(kept.delivered(), state.delivered());
        assert_eq!(kept.ack_floor(), state.ack_floor());
        assert!(kept.pending().iter().eq(state.pending().iter()));
    }

    /// A client says something of a delivery.
    fn say(&mut self, world: &mut World, delivery: &Delivered, word: &str) {
        let (sequence, now, policy) = (delivery.sequence, world.now, world.consumer.settings().ack);
        let parsed = parse_subject(delivery.reply.as_bytes()).unwrap().delivery;
        let waited = world.stream.state.pending().get(StreamSeq(sequence));
        match (word, policy) {
            (_, AckPolicy::None) => {}
            ("" | "+TERM", AckPolicy::Explicit) => {
                self.known.get_mut(&sequence).unwrap().done = true;
            }
            ("" | "+TERM", _) => self.settle_through(world, delivery),
            _ => {
                // Only a message that waits is moved, and deliveries behind the floor are not refused.
                let known = self.known.get_mut(&sequence).unwrap();
                let floor = world.stream.state.ack_floor().consumer;
                let is_heard = ConsumerSeq(parsed.consumer_seq) > floor || word == "+WPI";
                if waited.is_some() && is_heard {
                    known.not_before = match word {
                        "-NAK" => now,
                        "-NAK 700ms" => Timestamp(now.0 + 700_000_000),
                        _ => Timestamp(now.0 + WAIT_MS * 1_000_000),
                    };
                }
            }
        }
        let message = AckKind::parse(word.as_bytes());
        let delivered = parsed;
        world
            .turn(|c, turn| c.handle_ack(turn, &delivered, &message, b"r"))
            .unwrap();
    }

    /// An acknowledgement for all before is good if it is behind the floor.
    fn settle_through(&mut self, world: &World, delivery: &Delivered) {
        let parsed = parse_subject(delivery.reply.as_bytes()).unwrap().delivery;
        let floor = world.stream.state.ack_floor();
        let (stream, consumer) = (
            StreamSeq(parsed.stream_seq),
            ConsumerSeq(parsed.consumer_seq),
        );
        if stream > floor.stream && consumer > floor.consumer {
            for known in self.known.range_mut(..=stream.0) {
                known.1.done = true;
            }
        }
    }
}

fn run(policy: AckPolicy, filter: bool, steps: &[Step]) {
    let max_ack_pending = 5;
    let mut settings = if filter {
        filtered(&["a", "b"])
    } else {
        settings()
    };
    settings.ack = policy;
    settings.ack_wait = Duration::from_millis(WAIT_MS);
    settings.max_deliver = Some(MAX_DELIVER);
    settings.max_ack_pending = (policy != AckPolicy::None).then_some(max_ack_pending);
    let mut world = World::new(settings, &[]);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Store(subject) => {
                world.store(SUBJECTS[*subject], "");
            }
            Step::Pull {
                batch: n,
                expires_ms,
            } => {
                let request = PullRequest {
                    expires: Nanos(expires_ms * 1_000_000),
                    ..batch(*n)
                };
                world.pull("in", &request);
            }
            Step::PullNow { batch: n } => {
                let request = PullRequest {
                    no_wait: true,
                    ..batch(*n)
                };
                world.pull("now", &request);
            }
            Step::Say(at, word) => {
                if !world.sink.deliveries.is_empty() {
                    let delivery = at.get(&world.sink.deliveries).clone();
                    model.say(&mut world, &delivery, word);
                }
            }
            Step::Remove(at) => {
                let there: Vec<u64> = world.stream.messages.keys().copied().collect();
                if !there.is_empty() {
                    world.remove(*at.get(&there));
                }
            }
            Step::Trim(at, purged) => {
                let there: Vec<u64> = world.stream.messages.keys().copied().collect();
                if !there.is_empty() {
                    let first = *at.get(&there);
                    world.trim(first);
                    match purged {
                        true => world.turn(Consumer::handle_purged).unwrap(),
                        false => world.turn(Consumer::handle_trimmed).unwrap(),
                    }
                }
            }
            Step::Pass(ms) => world.pass_ms(*ms),
            Step::Restart => {
                world.restart();
                for known in model.known.values_mut() {
                    // That one was given up is told again of none, as it waits no more.
                    known.done |= known.given_up;
                }
            }
            Step::Refilter(some) => {
                let mut settings = world.consumer.settings().clone();
                let filters: &[&str] = if *some { &["b"] } else { &["a", "b", "c"] };
                let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
                settings.set_filters(&filters).unwrap();
                world.turn(|c, turn| c.update(turn, settings)).unwrap();
            }
        }
        model.check(&mut world, max_ack_pending);
        world.serve();
        model.check(&mut world, max_ack_pending);
    }
    finish(&mut world, &mut model, max_ack_pending);
}

/// A client that behaves gets everything that is there.
fn finish(world: &mut World, model: &mut Model, max_ack_pending: usize) {
    let all = world.stream.messages.len() as i64 + 1;
    let mut acked = world.sink.deliveries.len();
    for round in 0..200 {
        if round % 20 == 0 {
            world.pull("in", &batch(all));
        }
        model.check(world, max_ack_pending);
        for i in acked..world.sink.deliveries.len() {
            let delivery = world.sink.deliveries[i].clone();
            model.say(world, &delivery, "");
        }
        acked = world.sink.deliveries.len();
        world.serve();
        model.check(world, max_ack_pending);
        world.pass_ms(50);
    }
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_must_hold_holds(
        policy in prop::sample::select(vec![AckPolicy::Explicit, AckPolicy::All, AckPolicy::None]),
        filter: bool,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        run(policy, filter, &steps);
    }
}
