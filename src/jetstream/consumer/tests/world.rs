//! A stream in memory, a sink that writes down what it is given, and a consumer between them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::jetstream::api::ack::{AckKind, parse_subject};
use crate::jetstream::api::pull::{PullRequest, parse};
use crate::jetstream::consumer::*;
use crate::store::LogError;
use crate::store::consumer::{ConsumerState, Event, EventWriter, Millis, Outcome, PendingMessage};
use crate::store::file::Payload;
use crate::store::index::{Filters, LogIndex, StreamSeq, Timestamp};

/// When the simulated world begins: a whole second.
pub(super) const START: Timestamp = Timestamp(2_000_000_000_000);

pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) headers: String,
    pub(super) payload: String,
    pub(super) timestamp: Timestamp,
}

/// The stream in memory.
pub(super) struct Memory {
    pub(super) messages: BTreeMap<u64, Stored>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) state: ConsumerState,
    events: EventWriter,
    /// The state at the start, with what was kept of it since.
    kept: ConsumerState,
    batches: u64,
}

impl Memory {
    /// What of the state is kept, made anew from the events.
    pub(super) fn replayed(&mut self) -> ConsumerState {
        if !self.events.is_empty() {
            self.batches += 1;
            let batch = self.events.take();
            self.kept.replay(LogIndex(self.batches), &batch).unwrap();
        }
        self.kept.clone()
    }

    /// Stores a message without a payload.
    pub(super) fn put(&mut self, subject: &str, now: Timestamp) {
        self.last += 1;
        let stored = Stored {
            subject: subject.to_owned(),
            headers: String::new(),
            payload: String::new(),
            timestamp: now,
        };
        self.messages.insert(self.last, stored);
    }

    fn message<'b>(&self, sequence: u64, buffer: &'b mut Vec<u8>) -> Message<'b> {
        let stored = &self.messages[&sequence];
        buffer.clear();
        for part in [&stored.subject, &stored.headers, &stored.payload] {
            buffer.extend_from_slice(part.as_bytes());
        }
        let (subject, rest) = buffer.split_at(stored.subject.len());
        let (headers, payload) = rest.split_at(stored.headers.len());
        Message {
            sequence: StreamSeq(sequence),
            timestamp: stored.timestamp,
            subject,
            headers,
            payload: Payload::Copied(payload),
        }
    }

    pub(super) fn matching<'m>(
        &'m self,
        filters: &'m Filters,
        from: u64,
    ) -> impl Iterator<Item = u64> {
        let there = self.messages.range(from..);
        there
            .filter(|(_, stored)| filters.matches(stored.subject.as_bytes()))
            .map(|(sequence, _)| *sequence)
    }
}

impl Stream for Memory {
    type Buffer = Vec<u8>;

    fn state(&self) -> &ConsumerState {
        &self.state
    }

    fn due(&mut self, now: Millis, max: usize, due: &mut Vec<PendingMessage>) {
        self.state.due(now, max, due);
    }

    fn record(&mut self, event: Event) -> Result<Outcome, Fault> {
        Ok(self.state.record(event, &mut self.events)?)
    }

    fn forget_exhausted(&mut self) {
        self.state.forget_before(StreamSeq(self.first));
    }

    fn first(&self) -> StreamSeq {
        StreamSeq(self.first)
    }

    fn last(&self) -> StreamSeq {
        StreamSeq(self.last)
    }

    fn read<'b>(
        &mut self,
        sequence: StreamSeq,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Message<'b>, LogError> {
        match self.messages.contains_key(&sequence.0) {
            true => Ok(self.message(sequence.0, buffer)),
            false => Err(LogError::Absent),
        }
    }

    fn next<'b>(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Found<'b>, LogError> {
        let mut found = None;
        for (sequence, stored) in self.messages.range(from.0..) {
            if *budget == 0 {
                return Ok(Found::Paused(StreamSeq(*sequence)));
            }
            *budget -= 1;
            if filters.matches(stored.subject.as_bytes()) {
                found = Some(*sequence);
                break;
            }
        }
        Ok(found.map_or(Found::End, |s| Found::Message(self.message(s, buffer))))
    }

    fn count(&mut self, filters: &Filters, from: StreamSeq) -> u64 {
        self.matching(filters, from.0).count() as u64
    }

    fn last_on_each(&mut self, filters: &Filters, upto: StreamSeq) -> Vec<StreamSeq> {
        let mut lasts = BTreeMap::new();
        for sequence in self.matching(filters, 0).filter(|at| *at <= upto.0) {
            lasts.insert(&self.messages[&sequence].subject, StreamSeq(sequence));
        }
        let mut sequences: Vec<StreamSeq> = lasts.into_values().collect();
        sequences.sort_unstable();
        sequences
    }

    fn first_at(&mut self, time: Timestamp) -> Result<StreamSeq, LogError> {
        let found = self.messages.iter().find(|(_, m)| m.timestamp >= time);
        Ok(StreamSeq(found.map_or(self.last + 1, |(s, _)| *s)))
    }
}

/// What a sink was given, a line each.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<String>,
    /// Subjects to which nobody listens.
    pub(super) deaf: HashSet<String>,
    /// Subjects of other accounts to which nobody listens.
    pub(super) deaf_elsewhere: HashSet<String>,
    pub(super) deliveries: Vec<Delivered>,
}

/// A message that was delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Delivered {
    pub(super) to: String,
    pub(super) reply: String,
    pub(super) sequence: u64,
    /// When it was; set at the end of the turn.
    pub(super) at: Timestamp,
}

fn text(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap();
    text.trim_end().replace("\r\n", "|")
}

impl Sink for Lines {
    fn interest(&mut self, subject: &[u8]) -> Interest {
        let subject = text(subject);
        match () {
            () if self.deaf.contains(&subject) => Interest::Absent,
            () if self.deaf_elsewhere.contains(&subject) => Interest::AbsentElsewhere,
            () => Interest::Present,
        }
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let mut line = text(delivery.to);
        let reply = text(delivery.reply);
        let short = reply.strip_prefix("$JS.ACK.S.C.").unwrap_or(&reply);
        // Times are left out of the lines: they are those of the messages.
        let mut tokens: Vec<&str> = short.split('.').collect();
        let time = tokens.remove(3);
        assert_eq!(
            parse_subject(delivery.reply)
                .unwrap()
                .delivery
                .timestamp
                .to_string(),
            time
        );
        let _ = write!(line, " <- {} {}", text(delivery.subject), tokens.join("."));
        if !delivery.headers.is_empty() {
            assert!(delivery.headers.ends_with(b"\r\n\r\n"));
            let _ = write!(line, " [{}]", text(delivery.headers));
        }
        let payload: &[u8] = match &delivery.payload {
            Payload::Copied(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        };
        if !payload.is_empty() {
            let _ = write!(line, " {}", text(payload));
        }
        self.lines.push(line);
        self.deliveries.push(Delivered {
            to: text(delivery.to),
            reply,
            sequence: delivery.sequence.0,
            at: Timestamp(0),
        });
    }

    fn status(&mut self, to: &[u8], reply: &[u8], headers: &[u8]) {
        assert!(headers.ends_with(b"\r\n\r\n"));
        let block = text(headers);
        let block = block.strip_prefix("NATS/1.0 ").unwrap();
        let mut line = format!("{} <- {block}", text(to));
        if !reply.is_empty() {
            let _ = write!(line, " reply {}", text(reply));
        }
        self.lines.push(line);
    }

    fn confirm(&mut self, to: &[u8]) {
        self.lines.push(format!("{} <- confirmed", text(to)));
    }

    fn advise(&mut self, advisory: &Advisory<'_>) {
        self.lines.push(format!("{advisory:?}"));
    }

    fn release(&mut self, messages: RangeInclusive<StreamSeq>) {
        let (first, last) = (messages.start(), messages.end());
        self.lines.push(format!("release {first}..={last}"));
    }
}

/// A stream with a consumer.
pub(super) struct World {
    pub(super) stream: Memory,
    pub(super) sink: Lines,
    pub(super) scratch: Scratch<Vec<u8>>,
    pub(super) consumer: Consumer,
    /// What is kept of where it began.
    pub(super) resume: Option<StreamSeq>,
    pub(super) now: Timestamp,
    pub(super) served: Served,
}

/// The settings that most tests have: those by default.
pub(super) fn settings() -> Settings {
    Settings::new("S", "C")
}

pub(super) fn filtered(filters: &[&str]) -> Settings {
    let mut settings = settings();
    let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
    settings.set_filters(&filters).unwrap();
    settings
}

pub(super) fn pulled(settings: &mut Settings) -> &mut PullSettings {
    match &mut settings.mode {
        Mode::Pull(pull) => pull,
        Mode::Push(_) => unreachable!("the settings are of a consumer that is pulled from"),
    }
}

/// A request for so many messages.
pub(super) fn batch(n: i64) -> PullRequest {
    parse(n.to_string().as_bytes()).unwrap()
}

impl World {
    /// A new consumer on a stream with messages on these subjects, stored a second apart, the last
    /// one a second ago.
    pub(super) fn new(settings: Settings, subjects: &[&str]) -> World {
        let mut messages = BTreeMap::new();
        for (i, subject) in subjects.iter().enumerate() {
            let age = (subjects.len() - i) as u64;
            let stored = Stored {
                subject: (*subject).to_owned(),
                headers: String::new(),
                payload: format!("m{}", i + 1),
                timestamp: Timestamp(START.0 - age * 1_000_000_000),
            };
            messages.insert(i as u64 + 1, stored);
        }
        World::of(settings, messages)
    }

    /// A new consumer on a stream with these messages.
    pub(super) fn of(settings: Settings, messages: BTreeMap<u64, Stored>) -> World {
        let last = messages.keys().next_back().copied().unwrap_or(0);
        let first = messages.keys().next().copied().unwrap_or(last + 1);
        let empty = ConsumerState::new(settings.ack.stored(), StreamSeq(0));
        let mut stream = Memory {
            messages,
            first,
            last,
            state: empty.clone(),
            events: EventWriter::new(),
            kept: empty,
            batches: 0,
        };
        let mut scratch = Scratch::new(7);
        let start = Start::find(&settings, &mut stream, false).unwrap();
        stream.state = ConsumerState::new(settings.ack.stored(), start.after);
        stream.kept = stream.state.clone();
        let resume = start.resume();
        let consumer = Consumer::create(settings, start, &mut stream, &mut scratch, START);
        World {
            stream,
            sink: Lines::default(),
            scratch,
            consumer,
            now: START,
            resume,
            served: Served::Idle,
        }
    }

    pub(super) fn turn<R>(
        &mut self,
        act: impl FnOnce(&mut Consumer, &mut Turn<'_, Memory, Lines>) -> R,
    ) -> R {
        let mut turn = Turn {
            stream: &mut self.stream,
            sink: &mut self.sink,
            scratch: &mut self.scratch,
            now: self.now,
        };
        act(&mut self.consumer, &mut turn)
    }

    /// Lets the consumer work until it is idle.
    pub(super) fn serve(&mut self) {
        for _ in 0..10_000 {
            let mut budget = Budget {
                messages: 100,
                bytes: 1 << 20,
                looks: 100,
            };
            self.served = self.turn(|c, turn| c.serve(turn, &mut budget)).unwrap();
            self.stream.state.check_invariants();
            let mut new = self.sink.deliveries.iter_mut().rev();
            while let Some(delivery) = new.next().filter(|d| d.at.0 == 0) {
                delivery.at = self.now;
            }
            if self.served != Served::More {
                return;
            }
        }
        panic!("the consumer does not come to an end");
    }

    /// Lets time pass, with a turn whenever the consumer wants one.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = Timestamp(self.now.0 + time.as_nanos() as u64);
        let mut turns = 0;
        while let Some(at) = self.consumer.next_timer().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.serve();
            turns += 1;
            assert!(turns < 10_000, "the timer does not come to rest");
            if self.served == Served::Inactive {
                break;
            }
        }
        self.now = end;
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// Stores a message, and gives the consumer a turn if it wants one.
    pub(super) fn store(&mut self, subject: &str, payload: &str) -> u64 {
        self.store_with(subject, "", payload)
    }

    pub(super) fn store_with(&mut self, subject: &str, headers: &str, payload: &str) -> u64 {
        self.stream.last += 1;
        let sequence = self.stream.last;
        let stored = Stored {
            subject: subject.to_owned(),
            headers: headers.to_owned(),
            payload: payload.to_owned(),
            timestamp: self.now,
        };
        self.stream.messages.insert(sequence, stored);
        if self.consumer.settings().filters.matches(subject.as_bytes()) {
            self.consumer.note_stored(StreamSeq(sequence));
        }
        if self.consumer.wants_messages() {
            self.serve();
        }
        sequence
    }

    /// Removes a message, and tells the consumer if it matches.
    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(stored) = self.stream.messages.remove(&sequence) else {
            return;
        };
        let filters = &self.consumer.settings().filters;
        let first = self.stream.messages.keys().next();
        self.stream.first = first.map_or(self.stream.last + 1, |first| *first);
        if filters.matches(stored.subject.as_bytes()) {
            let sequence = StreamSeq(sequence);
            self.turn(|c, turn| c.handle_removed(turn, sequence))
                .unwrap();
        }
    }

    /// Removes all messages before this one, and tells nobody.
    pub(super) fn trim(&mut self, first: u64) {
        self.stream.messages = self.stream.messages.split_off(&first);
        self.stream.first = first;
    }

    pub(super) fn pull(&mut self, reply: &str, request: &PullRequest) {
        self.turn(|c, turn| c.handle_pull(turn, reply.as_bytes(), Ok(request)))
            .unwrap();
        self.serve();
    }

    /// Says something of the last delivery of a message.
    pub(super) fn say(&mut self, sequence: u64, payload: &str, reply: &str) {
        let last = self.sink.deliveries.iter().rev();
        let found = last.clone().find(|d| d.sequence == sequence);
        let subject = found.expect("the message was delivered").reply.clone();
        self.say_on(&subject, payload, reply);
    }

    pub(super) fn say_on(&mut self, subject: &str, payload: &str, reply: &str) {
        let delivered = parse_subject(subject.as_bytes()).unwrap().delivery;
        let message = AckKind::parse(payload.as_bytes());
        self.turn(|c, turn| c.handle_ack(turn, &delivered, &message, reply.as_bytes()))
            .unwrap();
        self.serve();
    }

    pub(super) fn ack(&mut self, sequence: u64) {
        self.say(sequence, "", "");
    }

    /// Stops and begins again with what was kept.
    pub(super) fn restart(&mut self) {
        self.stream.state = self.stream.replayed();
        let settings = self.consumer.settings().clone();
        self.consumer = Consumer::open(
            settings,
            self.resume,
            &mut self.stream,
            &mut self.scratch,
            self.now,
        );
    }

    pub(super) fn figures(&mut self) -> Figures {
        self.turn(Consumer::figures)
    }

    /// What was sent and told since this was asked last.
    pub(super) fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sink.lines)
    }

    #[track_caller]
    pub(super) fn expect(&mut self, expected: &[&str]) {
        assert_eq!(self.lines(), expected);
    }
}
