//! Links and their origins in a simulated world: messages that are lost and late, origins that stop,
//! come back, or are made anew, and streams that are opened anew. Whatever happens, a stream has in the
//! end what its origin has, once and in order.

use super::header;
use super::link::{Answered, Ear, Heard, Link, Step, Target, Verdict};
use super::request::{Kind, Owner};
use crate::base::rng::Rng;
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::request::ConsumerCreateRequest;
use crate::jetstream::api::stream_config::{StreamConsumerSource, StreamSource};
use crate::jetstream::api::{ApiError, DeliverPolicy, Response, response::ConsumerCreateBody};
use crate::json::decode::request;
use crate::store::types::{StreamSeq, Timestamp};
use std::collections::BTreeMap;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Messages that a consumer may have sent and not have confirmed.
const WINDOW: u64 = 20;

const OWNER: Owner<'static> = Owner {
    stream: "S",
    account: "A",
    domain: None,
};

/// The stream that messages come from.
struct Remote {
    there: bool,
    incarnation: u64,
    /// Sequences that have messages.
    messages: Vec<u64>,
    last: u64,
    consumers: Vec<Pushing>,
    named: u64,
}

struct Pushing {
    name: String,
    deliver: String,
    next: u64,
    delivered: u64,
    confirmed: u64,
    asked: Option<(String, u64)>,
    beat_at: u64,
    idle_since: u64,
}

/// A message on its way.
struct Sent {
    at: u64,
    to: String,
    reply: String,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

struct World {
    rng: Rng,
    now: u64,
    /// Messages in a hundred that are lost.
    lossy: usize,
    kind: Kind,
    remote: Remote,
    wire: Vec<Sent>,
    link: Link,
    ears: BTreeMap<Ear, String>,
    /// What the stream has: sequences of the origin, with its incarnation.
    stored: Vec<(u64, u64)>,
    last: u64,
    source: StreamSource,
    /// Requests that were made.
    asks: usize,
}

impl World {
    fn new(seed: u64, kind: Kind) -> World {
        let source = StreamSource {
            name: "O".into(),
            ..StreamSource::default()
        };
        let mut world = World {
            rng: Rng::new(seed),
            now: SECOND,
            lossy: 0,
            kind,
            remote: Remote {
                there: true,
                incarnation: 1,
                messages: vec![],
                last: 0,
                consumers: vec![],
                named: 0,
            },
            wire: vec![],
            link: Link::new(&source, kind, false),
            ears: BTreeMap::new(),
            stored: vec![],
            last: 0,
            source,
            asks: 0,
        };
        world.open();
        world
    }

    /// Opens the stream anew: what is left is what it has stored.
    fn open(&mut self) {
        self.ears.clear();
        self.link = Link::new(&self.source, self.kind, false);
        let last = self.stored.last().copied();
        let (position, identity) = last.map_or((0, String::new()), |(sequence, incarnation)| {
            (sequence, identity(incarnation))
        });
        let now = Timestamp(self.now);
        self.link
            .found(StreamSeq(position), &identity, now, &mut self.rng);
    }

    fn target(&self) -> Target {
        Target {
            last: StreamSeq(self.last),
        }
    }

    fn send(&mut self, to: &str, reply: &str, headers: Vec<u8>, payload: Vec<u8>) {
        if self.rng.below(100) < self.lossy {
            return;
        }
        // Messages of one connection keep their order.
        let delay = self.rng.below(5) as u64 * MILLISECOND;
        let at = self
            .wire
            .last()
            .map_or(0, |sent| sent.at)
            .max(self.now + delay);
        self.wire.push(Sent {
            at,
            to: to.into(),
            reply: reply.into(),
            headers,
            payload,
        });
    }

    fn do_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Listen(ear, subject) => drop(self.ears.insert(ear, subject)),
                Step::Leave(ear) => drop(self.ears.remove(&ear)),
                Step::Send {
                    subject,
                    reply,
                    headers,
                    body,
                } => {
                    self.asks += 1;
                    self.send(&subject, &reply, headers, body);
                }
            }
        }
    }

    fn publish(&mut self) {
        self.remote.last += 1 + u64::from(self.rng.below(10) == 0);
        let last = self.remote.last;
        self.remote.messages.push(last);
    }

    /// When something happens next, a millisecond from now at least.
    fn next(&self, end: u64) -> u64 {
        let mut next = end;
        if let Some(sent) = self.wire.first() {
            next = next.min(sent.at);
        }
        if let Some(due) = self.link.deadline() {
            next = next.min(due.0);
        }
        for consumer in &self.remote.consumers {
            if self.ears.get(&Ear::Messages) == Some(&consumer.deliver) {
                let last = self.remote.messages.last().copied().unwrap_or(0);
                let open = consumer.delivered - consumer.confirmed < WINDOW;
                let busy = last >= consumer.next && open;
                next = next.min(if busy { 0 } else { consumer.beat_at });
            }
        }
        next.max(self.now + MILLISECOND)
    }

    /// Lets `time` pass.
    fn run(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.next(end);
            while self.wire.first().is_some_and(|sent| sent.at <= self.now) {
                let sent = self.wire.remove(0);
                self.arrive(&sent);
            }
            let mut steps = Vec::new();
            let target = self.target();
            let now = Timestamp(self.now);
            self.link
                .tick((&OWNER, &target), now, &mut self.rng, &mut steps);
            self.do_steps(steps);
            self.serve();
        }
    }

    fn arrive(&mut self, sent: &Sent) {
        if sent.to.starts_with("$JS.API.") || sent.to.starts_with("fc.") {
            return self.remote_hears(sent);
        }
        let ears = self.ears.iter();
        let Some(ear) = ears
            .filter(|(_, to)| **to == sent.to)
            .map(|(ear, _)| *ear)
            .next()
        else {
            return;
        };
        let heard = Heard {
            subject: b"s",
            reply: (!sent.reply.is_empty()).then_some(sent.reply.as_bytes()),
            headers: &sent.headers,
            payload: &sent.payload,
        };
        let mut steps = Vec::new();
        let (now, target) = (Timestamp(self.now), self.target());
        match ear {
            Ear::Answer => {
                let whole = (&OWNER, &target);
                let time = (now, &mut self.rng);
                let answered = self.link.handle_answer(whole, &heard, time, &mut steps);
                if let Answered::SkipTo(last) = answered {
                    self.last = last.0;
                }
            }
            Ear::Messages => match self.link.handle(&heard, now, &mut self.rng, &mut steps) {
                Verdict::Nothing => {}
                Verdict::Answer { to, .. } => {
                    let to = String::from_utf8(to).unwrap();
                    self.send(&to, "", vec![], vec![]);
                }
                // Now and then the disk is full.
                Verdict::Take(_) if self.lossy > 0 && self.rng.below(50) == 0 => {
                    self.link.refused(now, &mut self.rng, &mut steps);
                }
                Verdict::Take(taking) => {
                    assert_eq!(sent.payload, taking.sequence.0.to_string().into_bytes());
                    self.stored
                        .push((taking.sequence.0, self.remote.incarnation));
                    if self.kind == Kind::Mirror {
                        assert!(taking.sequence.0 > self.last);
                    }
                    self.last = match self.kind {
                        Kind::Mirror => taking.sequence.0,
                        Kind::Source => self.last + 1,
                    };
                    self.link.took(&taking);
                }
            },
        }
        self.do_steps(steps);
    }

    fn remote_hears(&mut self, sent: &Sent) {
        if !self.remote.there {
            let refused = Response::<ConsumerCreateBody>::refused(ApiError::StreamNotFound);
            return self.send(&sent.reply.clone(), "", vec![], refused.encode());
        }
        if let Some(consumer) = self
            .remote
            .consumers
            .iter_mut()
            .find(|c| c.asked.as_ref().is_some_and(|(to, _)| *to == sent.to))
        {
            let (_, upto) = consumer.asked.take().unwrap();
            consumer.confirmed = upto;
            return;
        }
        if !sent.to.contains(".CREATE.") {
            return;
        }
        let asked = request::<ConsumerCreateRequest>(&sent.payload, true).unwrap();
        let mut config = asked.value.config;
        let known = identity(self.remote.incarnation);
        let expects = crate::proto::headers::value(&sent.headers, "Nats-Stream-Identity");
        let expects = expects.unwrap_or_default();
        if !expects.is_empty() && expects != known.as_bytes() {
            let msg = known;
            let error = ApiError::ConsumerStreamIdentityMismatch { msg };
            let refused = Response::<ConsumerCreateBody>::refused(error);
            return self.send(&sent.reply.clone(), "", vec![], refused.encode());
        }
        self.remote.named += 1;
        config.name = format!("{}-{}", config.name, self.remote.named);
        let next = match config.deliver_policy {
            DeliverPolicy::All => self.remote.messages.first().copied().unwrap_or(1),
            _ => config.opt_start_seq,
        };
        self.remote.consumers.push(Pushing {
            name: config.name.clone(),
            deliver: config.deliver_subject.clone(),
            next,
            delivered: 0,
            confirmed: 0,
            asked: None,
            beat_at: self.now + SECOND,
            idle_since: self.now,
        });
        let body = format!(
            r#"{{"name":"{}","config":{{"deliver_subject":"{}","ack_policy":"none"}},"delivered":{{"stream_seq":{}}}}}"#,
            config.name,
            config.deliver_subject,
            next - 1
        );
        let headers = format!("NATS/1.0\r\nNats-Stream-Identity: {known}\r\n\r\n");
        self.send(
            &sent.reply.clone(),
            "",
            headers.into_bytes(),
            body.into_bytes(),
        );
    }

    /// Lets the origin's consumers deliver.
    fn serve(&mut self) {
        if !self.remote.there {
            return;
        }
        let mut consumers = std::mem::take(&mut self.remote.consumers);
        let listened = self.ears.get(&Ear::Messages).cloned();
        for consumer in &mut consumers {
            if listened.as_ref() != Some(&consumer.deliver) {
                continue;
            }
            consumer.idle_since = self.now;
            let messages = &self.remote.messages;
            let from = messages.partition_point(|m| *m < consumer.next);
            let ready: Vec<u64> = messages[from..].iter().copied().take(5).collect();
            for sequence in ready {
                if consumer.delivered - consumer.confirmed >= WINDOW {
                    break;
                }
                consumer.delivered += 1;
                consumer.next = sequence + 1;
                let reply = format!(
                    "$JS.ACK.O.{}.1.{sequence}.{}.{}.0",
                    consumer.name, consumer.delivered, self.now
                );
                let payload = sequence.to_string().into_bytes();
                self.send(&consumer.deliver, &reply, vec![], payload);
                consumer.beat_at = self.now + SECOND;
                if consumer.asked.is_none() && consumer.delivered - consumer.confirmed >= WINDOW / 2
                {
                    let to = format!("fc.{}.{}", consumer.name, consumer.delivered);
                    let headers = b"NATS/1.0 100 FlowControl Request\r\n\r\n".to_vec();
                    self.send(&consumer.deliver, &to, headers, vec![]);
                    consumer.asked = Some((to, consumer.delivered));
                }
            }
            if consumer.beat_at <= self.now {
                consumer.beat_at = self.now + SECOND;
                let mut block = format!(
                    "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {}\r\nNats-Last-Stream: {}\r\n",
                    consumer.delivered,
                    consumer.next - 1
                );
                if let Some((to, _)) = &consumer.asked {
                    block.push_str(&format!("Nats-Consumer-Stalled: {to}\r\n"));
                }
                block.push_str("\r\n");
                self.send(&consumer.deliver, "", block.into_bytes(), vec![]);
            }
        }
        consumers.retain(|consumer| self.now - consumer.idle_since < 10 * SECOND);
        assert!(consumers.len() < 20, "consumers pile up");
        self.remote.consumers = consumers;
    }

    fn disturb(&mut self) {
        match self.rng.below(12) {
            0 => self.lossy = self.rng.below(20),
            1 => {
                self.remote.there = false;
                self.remote.consumers.clear();
            }
            2 => self.remote.there = true,
            3 => self.remote.consumers.clear(),
            4 => self.open(),
            // A mirror goes on where it is when its origin has begun anew, and so has a gap.
            5 if self.kind == Kind::Source && self.rng.below(3) == 0 => {
                self.remote.incarnation += 1;
                self.remote.messages.clear();
                self.remote.last = 0;
                self.remote.consumers.clear();
                // What was on its way does not come from the new one.
                self.wire.clear();
            }
            6 => {
                // Old messages go.
                let keep = self.rng.below(5);
                let gone = self.remote.messages.len().saturating_sub(keep);
                let all_there = self.stored.last().is_some_and(|(last, incarnation)| {
                    *incarnation == self.remote.incarnation
                        && self.remote.messages.get(gone.max(1) - 1) <= Some(last)
                });
                if all_there {
                    self.remote.messages.drain(..gone);
                }
            }
            _ => {
                for _ in 0..self.rng.below(100) {
                    self.publish();
                }
            }
        }
    }
}

fn identity(incarnation: u64) -> String {
    format!("id{incarnation}")
}

fn seeds() -> u64 {
    let asked = std::env::var("ORIGIN_SEEDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(100)
}

fn simulate(seed: u64, kind: Kind) {
    let mut world = World::new(seed, kind);
    // All that there ever was, by incarnation.
    let mut all: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for _ in 0..40 {
        world.disturb();
        let own = all.entry(world.remote.incarnation).or_default();
        let known = own.last().copied().unwrap_or(0);
        own.extend(world.remote.messages.iter().filter(|m| **m > known));
        let time = world.rng.below(4000) as u64 * MILLISECOND;
        world.run(time);
    }
    world.lossy = 0;
    world.remote.there = true;
    world.run(300 * SECOND);
    let last = world.remote.incarnation;
    let mut stored: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut before = 0;
    for (sequence, incarnation) in &world.stored {
        assert!(
            *incarnation >= before,
            "seed {seed}: {incarnation} after {before}"
        );
        before = *incarnation;
        stored.entry(*incarnation).or_default().push(*sequence);
    }
    for (incarnation, own) in &stored {
        let theirs = &all[incarnation];
        let part = &theirs[..own.len().min(theirs.len())];
        assert_eq!(
            own, part,
            "seed {seed}, {kind:?}, incarnation {incarnation}"
        );
    }
    let own = stored.remove(&last).unwrap_or_default();
    assert_eq!(own, all[&last], "seed {seed}, {kind:?}");
    let info = world.link.info(Timestamp(world.now), None);
    assert_eq!(info.error, None, "seed {seed}");
    assert!(
        info.active.0 >= 0 && info.active.0 < 2_000_000_000,
        "seed {seed}"
    );
}

#[test]
fn mirrors_have_what_their_origin_has() {
    for seed in 0..seeds() {
        simulate(seed, Kind::Mirror);
    }
}

#[test]
fn streams_have_what_their_sources_have() {
    for seed in 0..seeds() {
        simulate(seed, Kind::Source);
    }
}

#[test]
fn an_origin_that_does_not_exist_is_asked_less_and_less() {
    let mut world = World::new(3, Kind::Mirror);
    world.remote.there = false;
    let mut asked = Vec::new();
    let mut before = 0;
    for _ in 0..6000 {
        world.run(100 * MILLISECOND);
        if world.asks > before {
            before = world.asks;
            asked.push(world.now);
        }
    }
    let waits: Vec<u64> = asked
        .windows(2)
        .map(|two| (two[1] - two[0]) / SECOND)
        .collect();
    assert!(waits.len() >= 6, "{waits:?}");
    for (wait, want) in waits.iter().zip([12u64, 22, 32, 42, 52]) {
        assert!(wait.abs_diff(want) <= 1, "{waits:?}");
    }
    let info = world.link.info(Timestamp(world.now), None);
    assert_eq!(info.error.map(|e| e.err_code()), Some(10059));
    // When it has come, it need not be waited for that long.
    world.remote.there = true;
    world.publish();
    world.link.poke(Timestamp(world.now), &mut world.rng);
    world.run(3 * SECOND);
    assert_eq!(world.stored, [(1, 1)]);
}

#[test]
fn a_stall_is_told_of() {
    let mut world = World::new(5, Kind::Source);
    world.publish();
    world.run(SECOND);
    assert_eq!(world.stored, [(1, 1)]);
    let deliver = world.ears[&Ear::Messages].clone();
    for beat in 1..=4 {
        let block = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\n\
            Nats-Consumer-Stalled: fc.lost\r\n\r\n";
        world.send(&deliver, "", block.to_vec(), vec![]);
        world.run(10 * MILLISECOND);
        let error = world.link.info(Timestamp(world.now), None).error;
        let number = error.map_or(0, |error| error.err_code());
        assert_eq!(number, if beat >= 3 { 10228 } else { 0 });
    }
    world.publish();
    world.run(SECOND);
    assert_eq!(world.link.info(Timestamp(world.now), None).error, None);
}

#[test]
fn who_has_a_consumer_of_its_own_lets_it_begin_anew() {
    let source = StreamSource {
        name: "O".into(),
        consumer: Some(StreamConsumerSource {
            name: "C".into(),
            deliver_subject: "d".into(),
        }),
        ..StreamSource::default()
    };
    let mut link = Link::new(&source, Kind::Mirror, false);
    let mut rng = Rng::new(1);
    let now = Timestamp(SECOND);
    link.found(StreamSeq(0), "", now, &mut rng);
    let target = Target { last: StreamSeq(0) };
    let mut steps = Vec::new();
    let due = link.deadline().unwrap();
    link.tick((&OWNER, &target), due, &mut rng, &mut steps);
    let sent = |steps: &[Step]| {
        let mut subjects = steps.iter().filter_map(|step| match step {
            Step::Send { subject, .. } => Some(subject.clone()),
            _ => None,
        });
        subjects.next()
    };
    assert_eq!(sent(&steps).unwrap(), "$JS.API.CONSUMER.RESET.O.C");
    let answer = |policy: &str| {
        format!(
            r#"{{"name":"C","config":{{"deliver_subject":"d","ack_policy":"{policy}"}},"delivered":{{"stream_seq":4}}}}"#
        )
    };
    let hear = |link: &mut Link, rng: &mut Rng, body: String, steps: &mut Vec<Step>| {
        let heard = Heard {
            subject: b"r",
            reply: None,
            headers: b"",
            payload: body.as_bytes(),
        };
        link.handle_answer((&OWNER, &target), &heard, (due, rng), steps)
    };
    steps.clear();
    let refused = hear(&mut link, &mut rng, answer("explicit"), &mut steps);
    assert_eq!(refused, Answered::Nothing);
    let error = link.info(due, None).error.unwrap();
    assert_eq!(error, ApiError::MirrorConsumerRequiresAckFc);
    steps.clear();
    let due = link.deadline().unwrap();
    link.tick((&OWNER, &target), due, &mut rng, &mut steps);
    steps.clear();
    let made = hear(&mut link, &mut rng, answer("flow_control"), &mut steps);
    assert_eq!(made, Answered::SkipTo(StreamSeq(4)));
    let listens = Step::Listen(Ear::Messages, "d".into());
    assert!(steps.contains(&listens), "{steps:?}");
    // It is not ours to delete.
    steps.clear();
    link.end(&OWNER, &mut steps);
    assert_eq!(sent(&steps), None);
}

#[test]
fn the_headers_of_a_source_are_those_that_are_looked_for() {
    let config = StreamConfig {
        name: "S".into(),
        sources: vec![StreamSource {
            name: "O".into(),
            filter_subject: "a.>".into(),
            ..StreamSource::default()
        }],
        ..StreamConfig::default()
    };
    let link = Link::new(&config.sources[0], Kind::Source, false);
    let mut value = Vec::new();
    header::write(link.index_name(), 3, b"a.b", "id", &mut value);
    assert_eq!(value, b"O 3 a.> > a.b id");
    let mut block = Vec::new();
    header::copy(b"", Some(&value), &mut block);
    let origin = header::of_message(&block).unwrap();
    assert!(origin.is_of(link.index_name()));
    assert_eq!((origin.sequence, origin.identity), (3, "id"));
}
