//! One stream's way to another: who is asked, what is heard, and what to do when nothing is.

use super::request::{self, Kind, Level, Made, Owner, Start, Wanted};
use crate::base::rng::Rng;
use crate::jetstream::api::info::SourceInfo;
use crate::jetstream::api::stream_check::index_name;
use crate::jetstream::api::stream_config::StreamSource;
use crate::jetstream::api::{ApiError, ack, headers};
use crate::json::Nanos;
use crate::store::types::{StreamSeq, Timestamp};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// The least time between two requests.
const ASK_EVERY: u64 = 2 * SECOND;

/// How much longer it takes after each failure, and at most.
const BACKOFF: u64 = 10 * SECOND;
const BACKOFF_MAX: u64 = 120 * SECOND;

/// Every request comes a tenth of a second late, and up to another one, so that not all come at once.
const JITTER: u64 = 100 * MILLISECOND;

/// How long an answer may take: to a request for a consumer, and to begin anew.
const ANSWER_WAIT: u64 = 30 * SECOND;
const RESET_WAIT: u64 = 5 * SECOND;

/// After how long without a word the origin is asked again; its heartbeats come every second.
const SILENCE_MAX: u64 = 10 * SECOND;

/// Heartbeats in a row that name the same unanswered request of flow control, after which answers
/// count as not arriving.
const STALLED: u32 = 3;

/// Letters of the tokens by which subjects are told apart.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a link listens to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ear {
    /// Answers to its requests.
    Answer,
    /// Messages of its consumer.
    Messages,
}

/// Something that is to be done for a link, in the account of its stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Listen on a subject, instead of any that this ear was on before.
    Listen(Ear, String),
    /// Listen no more.
    Leave(Ear),
    /// Publish a request.
    Send {
        subject: String,
        reply: String,
        headers: Vec<u8>,
        body: Vec<u8>,
    },
}

/// Where a link is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// It is not known yet how far it has got; see [`Link::found`].
    Finding,
    /// Until then.
    Waiting { until: Timestamp },
    /// An answer is awaited until then.
    Asking { until: Timestamp, attempt: Attempt },
    /// Messages come, counted by their consumer.
    Live { consumer: String, delivered: u64 },
}

/// A request that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Attempt {
    level: Level,
    deliver: String,
}

/// A request of flow control that the origin says was not answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Stall {
    subject: Vec<u8>,
    beats: u32,
}

/// The stream that messages go to, as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The last sequence that was used; 0 if none ever was.
    pub last: StreamSeq,
}

/// What a link heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'m> {
    pub subject: &'m [u8],
    pub reply: Option<&'m [u8]>,
    pub headers: &'m [u8],
    pub payload: &'m [u8],
}

/// What is to be done about what was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// Store the message, and tell by [`Link::took`] or [`Link::refused`].
    Take(Taking),
    /// When everything taken so far is stored, answer this request of flow control, with how far
    /// that is unless it was made long ago.
    Answer { to: Vec<u8>, with_place: bool },
}

/// A message that is to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taking {
    /// Its sequence in the origin; those between the last one and this are missing there.
    pub sequence: StreamSeq,
    /// When it was stored there.
    pub timestamp: Timestamp,
    /// Its number among those that the consumer delivered.
    delivery: u64,
    pending: u64,
}

/// What an answer comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Nothing is to be done.
    Nothing,
    /// The stream is to have no messages up to this one, as the origin has none.
    SkipTo(StreamSeq),
}

/// A way from one stream to another.
///
/// Call [`Link::tick`] at [`Link::deadline`], [`Link::handle_answer`] and [`Link::handle`] with what
/// its ears hear, and do the steps in their order.
#[derive(Debug)]
pub struct Link {
    source: StreamSource,
    kind: Kind,
    index_name: String,
    /// Whether the stream has other sources with the same name.
    shared_name: bool,
    phase: Phase,
    /// The last message of the origin that was taken.
    position: StreamSeq,
    /// The incarnation of the origin that this is a message of, as far as that is known.
    identity: String,
    /// Whether the origin turned out to be another than the one before.
    recreated: bool,
    asked_at: Option<Timestamp>,
    heard_at: Option<Timestamp>,
    fails: u32,
    lag: u64,
    error: Option<ApiError>,
    stall: Stall,
}

impl Link {
    /// A link that does nothing before it is told [where it is](Link::found).
    pub fn new(source: &StreamSource, kind: Kind, shared_name: bool) -> Link {
        Link {
            index_name: index_name(source),
            source: source.clone(),
            kind,
            shared_name,
            phase: Phase::Finding,
            position: StreamSeq(0),
            identity: String::new(),
            recreated: false,
            asked_at: None,
            heard_at: None,
            fails: 0,
            lag: 0,
            error: None,
            stall: Stall::default(),
        }
    }

    /// What the link is to.
    pub fn source(&self) -> &StreamSource {
        &self.source
    }

    /// What tells the link from others of its stream.
    pub fn index_name(&self) -> &str {
        &self.index_name
    }

    /// The last message of the origin that was taken.
    pub fn position(&self) -> StreamSeq {
        self.position
    }

    /// The incarnation of the origin; empty if it is not known.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether it is yet to be found out how far it has got.
    pub fn is_finding(&self) -> bool {
        self.phase == Phase::Finding
    }

    /// Whether nearly all messages of the origin are there.
    pub fn is_caught_up(&self) -> bool {
        matches!(self.phase, Phase::Live { .. }) && self.lag < 10
    }

    /// How far it has got; with this it begins.
    pub fn found(&mut self, position: StreamSeq, identity: &str, now: Timestamp, rng: &mut Rng) {
        self.position = position;
        self.identity = identity.to_owned();
        self.wait(now, rng);
    }

    /// Takes note of whether other sources of the stream have the same name.
    pub fn set_shared_name(&mut self, shared: bool) {
        self.shared_name = shared;
    }

    /// When [`Link::tick`] is to be called.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Finding => None,
            Phase::Waiting { until } | Phase::Asking { until, .. } => Some(*until),
            Phase::Live { .. } => {
                let heard = self.heard_at.unwrap_or(Timestamp(0));
                Some(later(heard, SILENCE_MAX))
            }
        }
    }

    /// Does what is due.
    pub fn tick(
        &mut self,
        (owner, target): (&Owner<'_>, &Target),
        now: Timestamp,
        rng: &mut Rng,
        steps: &mut Vec<Step>,
    ) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        match self.phase {
            Phase::Finding => {}
            Phase::Waiting { .. } => {
                self.ask(owner, target, Level::first(self.kind), (now, rng), steps);
            }
            Phase::Asking { .. } => {
                self.fail(None, now, rng, steps);
                // Who has a consumer of its own hears from it when the origin is back.
                if let Some(consumer) = &self.source.consumer {
                    let subject = consumer.deliver_subject.clone();
                    steps.push(Step::Listen(Ear::Messages, subject));
                }
            }
            Phase::Live { .. } => self.retry(now, rng, steps),
        }
    }

    /// The origin is there again, or somebody thinks so: it is asked soon.
    pub fn poke(&mut self, now: Timestamp, rng: &mut Rng) {
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.fails = 0;
            self.wait(now, rng);
        }
    }

    /// Nobody was there to get the request.
    pub fn handle_unheard(&mut self, now: Timestamp, rng: &mut Rng, steps: &mut Vec<Step>) {
        if matches!(self.phase, Phase::Asking { .. }) {
            let err = "no responders".to_owned();
            let error = self.setup_failed(err);
            self.fail(Some(error), now, rng, steps);
        }
    }

    /// Takes an answer.
    pub fn handle_answer(
        &mut self,
        (owner, target): (&Owner<'_>, &Target),
        heard: &Heard<'_>,
        (now, rng): (Timestamp, &mut Rng),
        steps: &mut Vec<Step>,
    ) -> Answered {
        let Phase::Asking { attempt, .. } = &self.phase else {
            return Answered::Nothing;
        };
        let attempt = attempt.clone();
        match request::answer(heard.payload) {
            Ok(made) => {
                let identity = headers::value(heard.headers, headers::STREAM_IDENTITY);
                let identity = identity.and_then(|value| std::str::from_utf8(value).ok());
                let identity = identity.unwrap_or_default().trim().to_owned();
                self.begin(made, &attempt, &identity, target, (now, rng), steps)
            }
            Err(error) => {
                self.handle_refusal(owner, target, &attempt, error, (now, rng), steps);
                Answered::Nothing
            }
        }
    }

    fn handle_refusal(
        &mut self,
        owner: &Owner<'_>,
        target: &Target,
        attempt: &Attempt,
        error: Option<ApiError>,
        (now, rng): (Timestamp, &mut Rng),
        steps: &mut Vec<Step>,
    ) {
        let number = error.as_ref().map_or(0, ApiError::err_code);
        let is_other = ApiError::ConsumerStreamIdentityMismatch { msg: String::new() }.err_code();
        let level = ApiError::RequiredApiLevel.err_code();
        let json = ApiError::invalid_json("").err_code();
        if number == is_other && self.kind == Kind::Source {
            // What was taken is of another stream that had the name before.
            self.position = StreamSeq(0);
            self.identity.clear();
            self.recreated = true;
            self.retry(now, rng, steps);
            return;
        }
        if number == level || number == json {
            let lower = attempt.level.lower();
            let lower = lower.filter(|l| *l != Level::Plain || self.source.consumer.is_none());
            if let Some(lower) = lower {
                self.ask(owner, target, lower, (now, rng), steps);
                return;
            }
        }
        let error = error
            .unwrap_or_else(|| self.setup_failed("invalid consumer create response".to_owned()));
        self.fail(Some(error), now, rng, steps);
    }

    /// Goes on with a consumer that was made.
    fn begin(
        &mut self,
        made: Made,
        attempt: &Attempt,
        identity: &str,
        target: &Target,
        (now, rng): (Timestamp, &mut Rng),
        steps: &mut Vec<Step>,
    ) -> Answered {
        if self.source.consumer.is_some() && !made.acks_by_flow {
            let error = match self.kind {
                Kind::Mirror => ApiError::MirrorConsumerRequiresAckFc,
                Kind::Source => ApiError::SourceConsumerRequiresAckFc,
            };
            self.fail(Some(error), now, rng, steps);
            return Answered::Nothing;
        }
        let delivered = StreamSeq(made.delivered);
        let mut answered = Answered::Nothing;
        match self.kind {
            Kind::Mirror => {
                self.position = target.last.max(delivered);
                if delivered > target.last {
                    answered = Answered::SkipTo(delivered);
                }
            }
            Kind::Source => {
                let known = !identity.is_empty() && !self.identity.is_empty();
                if self.recreated || (known && identity != self.identity) {
                    self.position = StreamSeq(0);
                }
                self.identity = identity.to_owned();
                self.recreated = false;
                self.position = self.position.max(delivered);
            }
        }
        self.phase = Phase::Live {
            consumer: made.name,
            delivered: 0,
        };
        self.heard_at = Some(now);
        self.fails = 0;
        self.error = None;
        self.stall = Stall::default();
        let subject = match made.deliver.is_empty() {
            true => attempt.deliver.clone(),
            false => made.deliver,
        };
        steps.push(Step::Leave(Ear::Answer));
        steps.push(Step::Listen(Ear::Messages, subject));
        answered
    }

    /// Takes what came on the subject that the consumer delivers to.
    pub fn handle(
        &mut self,
        heard: &Heard<'_>,
        now: Timestamp,
        rng: &mut Rng,
        steps: &mut Vec<Step>,
    ) -> Verdict {
        let (delivered, is_current) = match &self.phase {
            Phase::Live {
                consumer,
                delivered,
            } => {
                let acked = heard.reply.and_then(ack::parse_subject);
                let is_current = acked.is_some_and(|a| a.consumer == consumer.as_bytes());
                (*delivered, is_current)
            }
            Phase::Waiting { .. } if self.fails > 0 && self.source.consumer.is_some() => {
                self.poke(now, rng);
                return Verdict::Nothing;
            }
            _ => return Verdict::Nothing,
        };
        if heard.payload.is_empty() && heard.headers.starts_with(b"NATS/1.0 100 ") {
            self.heard_at = Some(now);
            return self.handle_control(heard, delivered, now, rng, steps);
        }
        if !is_current {
            return Verdict::Nothing;
        }
        self.heard_at = Some(now);
        let Some(acked) = heard.reply.and_then(ack::parse_subject) else {
            return Verdict::Nothing;
        };
        let place = acked.delivery;
        if place.delivered > 1 {
            return Verdict::Nothing;
        }
        let (sequence, delivery) = (StreamSeq(place.stream_seq), place.consumer_seq);
        let is_next = delivery == delivered + 1;
        if sequence <= self.position {
            // It is there already.
            if is_next {
                self.count_delivery(delivery);
            }
            return Verdict::Nothing;
        }
        if !is_next {
            match self.kind {
                // What comes right behind is no gap, whatever was missed.
                Kind::Mirror if sequence == self.position.next() => {}
                Kind::Source if delivery <= delivered => return Verdict::Nothing,
                Kind::Mirror | Kind::Source => {
                    self.retry(now, rng, steps);
                    return Verdict::Nothing;
                }
            }
        }
        Verdict::Take(Taking {
            sequence,
            timestamp: Timestamp(u64::try_from(place.timestamp).unwrap_or(0)),
            delivery,
            pending: place.pending,
        })
    }

    fn handle_control(
        &mut self,
        heard: &Heard<'_>,
        delivered: u64,
        now: Timestamp,
        rng: &mut Rng,
        steps: &mut Vec<Step>,
    ) -> Verdict {
        if let Some(reply) = heard.reply {
            return Verdict::Answer {
                to: reply.to_vec(),
                with_place: true,
            };
        }
        let last = headers::value(heard.headers, headers::LAST_CONSUMER);
        let last = last.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        if last.is_some_and(|last: u64| last > 0 && last != delivered) {
            self.retry(now, rng, steps);
            return Verdict::Nothing;
        }
        let stalled = headers::value(heard.headers, headers::CONSUMER_STALLED);
        let Some(subject) = stalled.filter(|subject| !subject.is_empty()) else {
            self.end_stall();
            return Verdict::Nothing;
        };
        if self.stall.subject != subject {
            self.stall = Stall {
                subject: subject.to_vec(),
                beats: 0,
            };
        }
        self.stall.beats += 1;
        if self.stall.beats == STALLED {
            log::warn!(
                "Stream {} waits for answers to flow control that do not reach it",
                self.source.name
            );
            self.error = Some(stalled_error());
        }
        Verdict::Answer {
            to: subject.to_vec(),
            with_place: false,
        }
    }

    fn end_stall(&mut self) {
        if !self.stall.subject.is_empty() {
            self.stall = Stall::default();
            if self.error.as_ref() == Some(&stalled_error()) {
                self.error = None;
            }
        }
    }

    /// A message was stored, or need not be.
    pub fn took(&mut self, taking: &Taking) {
        self.count_delivery(taking.delivery);
        self.position = taking.sequence;
        self.lag = taking.pending.saturating_sub(1);
        self.end_stall();
    }

    /// A message could not be stored: it is asked for again.
    pub fn refused(&mut self, now: Timestamp, rng: &mut Rng, steps: &mut Vec<Step>) {
        self.retry(now, rng, steps);
    }

    /// How many messages came, and the last of them, as answers to flow control tell.
    pub fn place(&self) -> (u64, StreamSeq) {
        match &self.phase {
            Phase::Live { delivered, .. } => (*delivered, self.position),
            _ => (0, self.position),
        }
    }

    fn count_delivery(&mut self, delivery: u64) {
        if let Phase::Live { delivered, .. } = &mut self.phase {
            *delivered = delivery;
        }
    }

    /// Ends it: what it listens to, and the consumer that was made for it.
    pub fn end(&mut self, owner: &Owner<'_>, steps: &mut Vec<Step>) {
        steps.push(Step::Leave(Ear::Answer));
        steps.push(Step::Leave(Ear::Messages));
        if self.source.consumer.is_none() && self.asked_at.is_some() {
            let asked = request::deletion(&self.source, &self.consumer_name(owner));
            steps.push(Step::Send {
                subject: asked.subject,
                // Nobody listens for the answer: where the consumer had a name of its own, it goes
                // by itself.
                reply: "$JSC.R.none".into(),
                headers: asked.headers,
                body: asked.body,
            });
        }
        self.phase = Phase::Finding;
    }

    fn consumer_name(&self, owner: &Owner<'_>) -> String {
        let own = self.shared_name.then_some(self.index_name.as_str());
        request::consumer_name(owner, self.kind, own)
    }

    /// What is told of it. `stored`: the last message of the origin that is there.
    pub fn info(&self, now: Timestamp, stored: Option<StreamSeq>) -> SourceInfo {
        let active = self.heard_at.map_or(-1, |heard| {
            i64::try_from(now.0.saturating_sub(heard.0)).unwrap_or(i64::MAX)
        });
        SourceInfo {
            name: self.source.name.clone(),
            external: self.source.external.clone(),
            lag: self.lag,
            seq: stored.map_or(0, |stored| stored.0),
            active: Nanos(active),
            error: self.error.clone(),
            filter_subject: self.source.filter_subject.clone(),
            subject_transforms: self.source.subject_transforms.clone(),
        }
    }

    fn setup_failed(&self, err: String) -> ApiError {
        match self.kind {
            Kind::Mirror => ApiError::MirrorConsumerSetupFailed { err },
            Kind::Source => ApiError::SourceConsumerSetupFailed { err },
        }
    }

    fn ask(
        &mut self,
        owner: &Owner<'_>,
        target: &Target,
        level: Level,
        (now, rng): (Timestamp, &mut Rng),
        steps: &mut Vec<Step>,
    ) {
        let mut name = self.consumer_name(owner);
        if level == Level::Plain {
            // The origin does not make it one of its own.
            name = format!("{name}_{}", token(rng));
        }
        let (deliver, wait) = match &self.source.consumer {
            Some(consumer) => {
                name.clone_from(&consumer.name);
                (consumer.deliver_subject.clone(), RESET_WAIT)
            }
            None => {
                let deliver = request::deliver_subject(&self.source, self.kind, &token(rng));
                (deliver, ANSWER_WAIT)
            }
        };
        let wanted = Wanted {
            owner: *owner,
            kind: self.kind,
            source: &self.source,
            name: &name,
            deliver: &deliver,
            start: self.start(target),
            level,
            identity: &self.identity,
        };
        let asked = match self.source.consumer {
            Some(_) => wanted.reset(),
            None => wanted.request(),
        };
        let reply = format!("$JSC.R.{}", token(rng));
        steps.push(Step::Leave(Ear::Messages));
        steps.push(Step::Listen(Ear::Answer, reply.clone()));
        steps.push(Step::Send {
            subject: asked.subject,
            reply,
            headers: asked.headers,
            body: asked.body,
        });
        self.asked_at = Some(now);
        self.error = None;
        self.phase = Phase::Asking {
            until: later(now, wait),
            attempt: Attempt { level, deliver },
        };
    }

    /// Where messages are to begin.
    fn start(&self, target: &Target) -> Start {
        let (begun, next) = match self.kind {
            Kind::Mirror => (target.last.0 > 0, target.last.next()),
            Kind::Source => (self.position.0 > 0, self.position.next()),
        };
        match (begun, self.source.opt_start_seq, self.source.opt_start_time) {
            (true, ..) => Start::Sequence(next.0),
            (false, 0, Some(time)) => Start::Time(time),
            (false, 0, None) => Start::First,
            (false, sequence, _) => Start::Sequence(sequence),
        }
    }

    /// The origin did not do as asked.
    fn fail(
        &mut self,
        error: Option<ApiError>,
        now: Timestamp,
        rng: &mut Rng,
        steps: &mut Vec<Step>,
    ) {
        if let Some(error) = error {
            if self.fails == 0 {
                log::info!("Stream {} gives no messages: {error}", self.source.name);
            }
            self.error = Some(error);
        }
        self.fails = self.fails.saturating_add(1);
        self.retry(now, rng, steps);
    }

    fn retry(&mut self, now: Timestamp, rng: &mut Rng, steps: &mut Vec<Step>) {
        steps.push(Step::Leave(Ear::Answer));
        steps.push(Step::Leave(Ear::Messages));
        self.wait(now, rng);
    }

    fn wait(&mut self, now: Timestamp, rng: &mut Rng) {
        let asked = self.asked_at.map(|asked| later(asked, ASK_EVERY));
        let backoff = (BACKOFF * u64::from(self.fails)).min(BACKOFF_MAX);
        let jitter = JITTER + rng.below(100) as u64 * MILLISECOND;
        let from = asked.map_or(now, |asked| asked.max(now));
        self.phase = Phase::Waiting {
            until: later(from, backoff + jitter),
        };
    }
}

fn later(at: Timestamp, nanos: u64) -> Timestamp {
    Timestamp(at.0.saturating_add(nanos))
}

/// Eight letters that nobody else has.
fn token(rng: &mut Rng) -> String {
    let letters = (0..8).map(|_| char::from(LETTERS[rng.below(LETTERS.len())]));
    letters.collect()
}

/// `JSSourceConsumerFlowControlStalledErr` of 2.15.2.
fn stalled_error() -> ApiError {
    ApiError::Other {
        code: 500,
        err_code: 10228,
        description: "stream source consumer stalled on flow control".into(),
    }
}
