//! The consumers of a stream: each an engine on top of a state that the store keeps.
//!
//! Consumers get a turn when something happened to them or for them, and when their timers say.
//! What they record is appended once a turn, before what is written; who is told that an
//! acknowledgement was taken waits until that is stored.

use super::Stream;
use super::advisory::Adviser;
use super::settings::settings;
use super::waiting::Answer;
use crate::accounts::Account;
use crate::base::rng::Rng;
use crate::jetstream::api::ack;
use crate::jetstream::api::info::ConsumerInfo;
use crate::jetstream::api::pull::PullRequest;
use crate::jetstream::api::{ConsumerConfig, RetentionPolicy, metadata};
use crate::jetstream::consumer::{
    self as engine, Advisory, Budget, Consumer, Delivery, Fault, Interest, Scratch, Served, Start,
    Turn,
};
use crate::jetstream::out::{Out, Outgoing};
use crate::json::Time;
use crate::store::consumer::{Conflict, ConsumerState, Event, Millis, Outcome, PendingMessage};
use crate::store::error::LogError;
use crate::store::file::{Payload, ReadBuffer};
use crate::store::index::Filters;
use crate::store::stream::{ConsumerId, Found, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What one consumer may do in a turn.
const BUDGET: Budget = Budget {
    messages: 1024,
    bytes: 1 << 20,
    looks: 16 << 10,
};

/// Consumers that get a turn at a time.
const TURNS: usize = 256;

/// All consumers of one stream.
pub(super) struct Consumers {
    entries: Slab<Entry>,
    names: BTreeMap<String, usize>,
    /// Those that are to get a turn.
    ready: BTreeSet<usize>,
    /// Those that wait for messages.
    hungry: BTreeSet<usize>,
    timers: BTreeSet<(Timestamp, usize)>,
    scratch: Scratch<ReadBuffer>,
    /// Where it is to be told that acknowledgements are kept.
    confirms: Vec<Box<[u8]>>,
    /// Messages that do not wait for one consumer any more.
    released: Vec<RangeInclusive<StreamSeq>>,
    /// Whether something was recorded that is not appended.
    recorded: bool,
    rng: Rng,
}

/// One of them.
struct Entry {
    id: ConsumerId,
    config: ConsumerConfig,
    created: Time,
    engine: Consumer,
    timer: Option<Timestamp>,
}

/// Why there is no such consumer, or it cannot go on.
#[derive(Debug)]
pub enum ConsumerFault {
    Unknown,
    Fault(Fault),
    Log(LogError),
}

impl From<Fault> for ConsumerFault {
    fn from(fault: Fault) -> ConsumerFault {
        ConsumerFault::Fault(fault)
    }
}

impl From<LogError> for ConsumerFault {
    fn from(error: LogError) -> ConsumerFault {
        ConsumerFault::Log(error)
    }
}

impl std::fmt::Display for ConsumerFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConsumerFault::Unknown => f.write_str("consumer not found"),
            ConsumerFault::Fault(fault) => fault.fmt(f),
            ConsumerFault::Log(error) => error.fmt(f),
        }
    }
}

impl Consumers {
    pub(super) fn new(seed: u64) -> Consumers {
        Consumers {
            entries: Slab::new(),
            names: BTreeMap::new(),
            ready: BTreeSet::new(),
            hungry: BTreeSet::new(),
            timers: BTreeSet::new(),
            scratch: Scratch::new(seed),
            confirms: Vec::new(),
            released: Vec::new(),
            recorded: false,
            rng: Rng::new(!seed),
        }
    }

    /// Whether some consumer is to have messages on a subject.
    pub(super) fn want(&self, subject: &[u8]) -> bool {
        let mut all = self.entries.iter();
        all.any(|(_, entry)| entry.engine.settings().filters.matches(subject))
    }

    fn set_timer(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let next = entry.engine.next_timer();
        if entry.timer == next {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.timer, next) {
            self.timers.remove(&(old, at));
        }
        if let Some(next) = next {
            self.timers.insert((next, at));
        }
    }

    fn forget(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.try_remove(at)?;
        self.names.retain(|_, own| *own != at);
        self.ready.remove(&at);
        self.hungry.remove(&at);
        if let Some(timer) = entry.timer {
            self.timers.remove(&(timer, at));
        }
        Some(entry)
    }
}

/// A stream as one consumer sees it.
struct View<'v> {
    store: &'v mut StreamStore,
    /// `None` while it is found out where a new one begins.
    id: Option<ConsumerId>,
    visible: StreamSeq,
    recorded: &'v mut bool,
}

impl engine::Stream for View<'_> {
    type Buffer = ReadBuffer;

    fn state(&self) -> &ConsumerState {
        let state = self.id.and_then(|id| self.store.consumer_state(id));
        state.expect("it is there as long as its engine is")
    }

    fn due(&mut self, now: Millis, max: usize, due: &mut Vec<PendingMessage>) {
        if let Some(id) = self.id {
            self.store.consumer_due(id, now, max, due);
        }
    }

    fn record(&mut self, event: Event) -> Result<Outcome, Fault> {
        *self.recorded = true;
        let id = self.id.ok_or(Conflict)?;
        Ok(self.store.record(id, event)?)
    }

    fn first(&self) -> StreamSeq {
        self.store.state().first
    }

    fn last(&self) -> StreamSeq {
        self.visible
    }

    fn read<'b>(
        &mut self,
        sequence: StreamSeq,
        buffer: &'b mut ReadBuffer,
    ) -> Result<engine::Message<'b>, LogError> {
        self.store
            .read(sequence, buffer)
            .map(|stored| message(&stored))
    }

    fn next<'b>(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut ReadBuffer,
    ) -> Result<engine::Found<'b>, LogError> {
        let found = self
            .store
            .next(filters, from, self.visible, budget, buffer)?;
        Ok(match found {
            Found::Message(stored) => engine::Found::Message(message(&stored)),
            Found::Paused(at) => engine::Found::Paused(at),
            Found::End => engine::Found::End,
        })
    }

    fn count(&mut self, filters: &Filters, from: StreamSeq) -> u64 {
        if filters.matches(b"") {
            return self.store.count_from(from);
        }
        let tally = self.store.count(filters, from);
        if tally.unsure == 0 {
            return tally.messages;
        }
        // Subjects with messages on both sides are counted one by one.
        let mut count = tally.messages;
        let mut at = from;
        let (mut budget, mut buffer) = (usize::MAX, ReadBuffer::default());
        let mut exact = 0;
        while let Ok(Found::Message(stored)) =
            self.store
                .next(filters, at, self.visible, &mut budget, &mut buffer)
        {
            exact += 1;
            at = stored.record.sequence.next();
        }
        count = count.max(exact).min(tally.messages + tally.unsure_messages);
        count
    }

    fn last_on_each(&mut self, filters: &Filters) -> Vec<StreamSeq> {
        let all = self.store.last_on_each(filters, self.visible, usize::MAX);
        all.unwrap_or_default()
    }

    fn first_at(&mut self, time: Timestamp) -> Result<StreamSeq, LogError> {
        self.store.first_at(time)
    }
}

fn message<'b>(stored: &crate::store::stream::Message<'b>) -> engine::Message<'b> {
    let record = &stored.record;
    engine::Message {
        sequence: record.sequence,
        timestamp: record.timestamp,
        subject: record.subject,
        headers: record.headers,
        payload: stored.payload(),
    }
}

/// Where it goes what a consumer decides.
struct Sink<'s, O> {
    account: &'s Arc<Account>,
    stream: &'s str,
    consumer: &'s str,
    out: &'s mut O,
    confirms: &'s mut Vec<Box<[u8]>>,
    released: &'s mut Vec<RangeInclusive<StreamSeq>>,
    rng: &'s mut Rng,
    now: Timestamp,
}

impl<O: Out> engine::Sink for Sink<'_, O> {
    fn interest(&mut self, subject: &[u8]) -> Interest {
        match self.out.is_heard(self.account, subject) {
            true => Interest::Present,
            false => Interest::Absent,
        }
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let payload = match &delivery.payload {
            Payload::Copied(bytes) => bytes,
            Payload::Shared(bytes) => &bytes[..],
        };
        let message = Outgoing {
            to: delivery.to,
            subject: delivery.subject,
            reply: (!delivery.reply.is_empty()).then_some(delivery.reply),
            headers: delivery.headers,
            payload,
        };
        self.out.send(self.account, &message);
    }

    fn status(&mut self, to: &[u8], reply: &[u8], headers: &[u8]) {
        let message = Outgoing {
            reply: (!reply.is_empty()).then_some(reply),
            ..Outgoing::status(to, headers)
        };
        self.out.send(self.account, &message);
    }

    fn confirm(&mut self, to: &[u8]) {
        self.confirms.push(to.into());
    }

    fn advise(&mut self, advisory: &Advisory<'_>) {
        let adviser = Adviser {
            account: self.account,
            stream: self.stream,
            consumer: self.consumer,
            now: self.now,
        };
        adviser.advise(advisory, self.rng, self.out);
    }

    fn release(&mut self, messages: RangeInclusive<StreamSeq>) {
        self.released.push(messages);
    }
}

impl Stream {
    /// The consumer of that name.
    pub fn find_consumer(&self, name: &str) -> Option<usize> {
        self.consumers.names.get(name).copied()
    }

    /// The names of all consumers and their places, in order.
    pub fn consumer_names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.consumers.names.iter().map(|(name, at)| (&**name, *at))
    }

    /// The configurations of all consumers.
    pub fn consumer_configs(&self) -> impl Iterator<Item = (&str, &ConsumerConfig)> {
        let consumers = &self.consumers;
        let named = consumers.names.iter();
        named.filter_map(|(name, at)| Some((&**name, &consumers.entries.get(*at)?.config)))
    }

    /// How a consumer is configured.
    pub fn consumer_config(&self, at: usize) -> Option<&ConsumerConfig> {
        self.consumers.entries.get(at).map(|entry| &entry.config)
    }

    /// Calls `act` with a consumer's engine and all that it works with.
    fn with_engine<O: Out, T>(
        &mut self,
        at: usize,
        now: Timestamp,
        out: &mut O,
        act: impl FnOnce(&mut Consumer, &mut Turn<'_, View<'_>, Sink<'_, O>>) -> T,
    ) -> Option<T> {
        let consumers = &mut self.consumers;
        let entry = consumers.entries.get_mut(at)?;
        let mut view = View {
            store: &mut self.store,
            id: Some(entry.id),
            visible: self.visible,
            recorded: &mut consumers.recorded,
        };
        let mut sink = Sink {
            account: &self.account,
            stream: &self.config.name,
            consumer: &entry.config.name,
            out,
            confirms: &mut consumers.confirms,
            released: &mut consumers.released,
            rng: &mut consumers.rng,
            now,
        };
        let mut turn = Turn {
            stream: &mut view,
            sink: &mut sink,
            scratch: &mut consumers.scratch,
            now,
        };
        let result = act(&mut entry.engine, &mut turn);
        consumers.ready.insert(at);
        if consumers.recorded {
            self.dirty = true;
        }
        Some(result)
    }

    /// Makes a consumer, and gives its place. It lasts when what was appended is stored.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn create_consumer(
        &mut self,
        config: ConsumerConfig,
        created: Time,
        now: Timestamp,
    ) -> Result<usize, ConsumerFault> {
        let settings = settings(&self.config, &config);
        let one_per_subject = self.config.max_msgs_per_subject == 1;
        let mut recorded = false;
        // The state of no consumer is looked at to find the start.
        let mut view = View {
            store: &mut self.store,
            id: None,
            visible: self.visible,
            recorded: &mut recorded,
        };
        let start = Start::find(&settings, &mut view, one_per_subject)?;
        let kept = crate::jetstream::kept::encode(&config, created);
        let policy = settings.ack.stored();
        let id = match config.mem_storage {
            true => {
                let store = &mut self.store;
                store.create_unrecorded_consumer(&config.name, &kept, policy, start.after)
            }
            false => {
                let made = self
                    .store
                    .create_consumer(&config.name, &kept, policy, start.after);
                made?.0
            }
        };
        self.dirty = true;
        let mut view = View {
            store: &mut self.store,
            id: Some(id),
            visible: self.visible,
            recorded: &mut recorded,
        };
        let scratch = &mut self.consumers.scratch;
        let engine = Consumer::create(settings, start, &mut view, scratch, now);
        Ok(self.add_consumer(id, config, created, engine))
    }

    fn add_consumer(
        &mut self,
        id: ConsumerId,
        config: ConsumerConfig,
        created: Time,
        engine: Consumer,
    ) -> usize {
        let name = config.name.clone();
        let at = self.consumers.entries.insert(Entry {
            id,
            config,
            created,
            engine,
            timer: None,
        });
        self.consumers.names.insert(name, at);
        self.consumers.ready.insert(at);
        at
    }

    /// Makes the engines of consumers that the store has.
    pub(super) fn open_consumers(&mut self, now: Timestamp) {
        let found: Vec<_> = self
            .store
            .consumers()
            .map(|(id, consumer)| (id, consumer.config().to_vec()))
            .collect();
        for (id, kept) in found {
            let Ok((config, created)) = crate::jetstream::kept::decode::<ConsumerConfig>(&kept)
            else {
                log::error!("Stream {}: a consumer cannot be read", self.label());
                continue;
            };
            let settings = settings(&self.config, &config);
            let mut view = View {
                store: &mut self.store,
                id: Some(id),
                visible: self.visible,
                recorded: &mut self.consumers.recorded,
            };
            let scratch = &mut self.consumers.scratch;
            let engine = Consumer::open(settings, &mut view, scratch, now);
            self.add_consumer(id, config, created, engine);
        }
    }

    /// Gives a consumer another configuration.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn update_consumer<O: Out>(
        &mut self,
        at: usize,
        config: ConsumerConfig,
        now: Timestamp,
        out: &mut O,
    ) -> Result<(), ConsumerFault> {
        let new = settings(&self.config, &config);
        let entry = self.consumers.entries.get_mut(at);
        let entry = entry.ok_or(ConsumerFault::Unknown)?;
        let kept = crate::jetstream::kept::encode(&config, entry.created);
        self.store.update_consumer(entry.id, &kept)?;
        entry.config = config;
        self.dirty = true;
        let updated = self.with_engine(at, now, out, |engine, turn| engine.update(turn, new));
        updated.unwrap_or(Ok(()))?;
        Ok(())
    }

    /// Removes a consumer.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn delete_consumer<O: Out>(
        &mut self,
        at: usize,
        now: Timestamp,
        out: &mut O,
    ) -> Result<(), ConsumerFault> {
        let entry = self.consumers.entries.get(at);
        let id = entry.ok_or(ConsumerFault::Unknown)?.id;
        self.with_engine(at, now, out, |engine, turn| engine.handle_deleted(turn));
        self.store.delete_consumer(id)?;
        self.dirty = true;
        self.consumers.forget(at);
        Ok(())
    }

    /// What there is to be told of a consumer.
    pub fn told<O: Out>(&mut self, at: usize, now: Timestamp, out: &mut O) -> Option<ConsumerInfo> {
        let figures = self.with_engine(at, now, out, |engine, turn| engine.figures(turn))?;
        let entry = self.consumers.entries.get(at)?;
        let mut config = entry.config.clone();
        metadata::show(&mut config.metadata, crate::options::VERSION);
        let settings = entry.engine.settings();
        Some(figures.document(settings, config, entry.created, now))
    }

    /// Takes a pull request, or why it cannot be read.
    pub fn pull<O: Out>(
        &mut self,
        at: usize,
        reply: &[u8],
        request: Result<&PullRequest, &str>,
        now: Timestamp,
        out: &mut O,
    ) {
        let handled = self.with_engine(at, now, out, |engine, turn| {
            engine.handle_pull(turn, reply, request)
        });
        self.note(handled);
    }

    /// Takes an acknowledgement.
    pub fn acknowledge<O: Out>(
        &mut self,
        at: usize,
        delivered: &ack::Delivery,
        payload: &[u8],
        reply: &[u8],
        (now, out): (Timestamp, &mut O),
    ) {
        let kind = ack::AckKind::parse(payload);
        let handled = self.with_engine(at, now, out, |engine, turn| {
            engine.handle_ack(turn, delivered, &kind, reply)
        });
        self.note(handled);
    }

    /// Takes an answer to a request of flow control.
    pub fn flow<O: Out>(
        &mut self,
        at: usize,
        subject: &[u8],
        headers: &[u8],
        now: Timestamp,
        out: &mut O,
    ) {
        let handled = self.with_engine(at, now, out, |engine, turn| {
            engine.handle_flow(turn, subject, headers)
        });
        self.note(handled);
    }

    /// Lets a consumer begin anew; gives at which message.
    ///
    /// # Errors
    /// If it may not.
    pub fn reset_consumer<O: Out>(
        &mut self,
        at: usize,
        to: Option<StreamSeq>,
        now: Timestamp,
        out: &mut O,
    ) -> Option<Result<StreamSeq, engine::InvalidReset>> {
        self.with_engine(at, now, out, |engine, turn| engine.reset(turn, to))
    }

    /// Lets no client be pinned.
    pub fn unpin<O: Out>(&mut self, at: usize, group: &str, now: Timestamp, out: &mut O) {
        self.with_engine(at, now, out, |engine, turn| engine.unpin(turn, group));
    }

    fn note(&self, handled: Option<Result<(), Fault>>) {
        if let Some(Err(fault)) = handled {
            log::warn!("Stream {}: a consumer: {fault}", self.label());
        }
    }

    /// Looks whether somebody listens where messages are sent to.
    pub fn check_interest<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let consumers = &mut self.consumers;
        for (at, entry) in consumers.entries.iter_mut() {
            let subject = &entry.config.deliver_subject;
            if subject.is_empty() {
                continue;
            }
            let present = out.is_heard(&self.account, subject.as_bytes());
            let before = entry.engine.wants_messages();
            if before != present || entry.timer.is_none() {
                entry.engine.handle_interest(present, now);
                consumers.ready.insert(at);
            }
        }
    }

    /// Whether a consumer is sent messages without asking.
    pub fn has_push_consumers(&self) -> bool {
        let mut entries = self.consumers.entries.iter();
        entries.any(|(_, entry)| !entry.config.deliver_subject.is_empty())
    }

    /// Tells consumers of messages that have become visible.
    pub(super) fn feed(&mut self, from: StreamSeq) {
        if self.visible < from || self.consumers.entries.is_empty() {
            return;
        }
        let some_filter = |entry: &Entry| !entry.engine.settings().wants_all();
        if self
            .consumers
            .entries
            .iter()
            .any(|(_, entry)| some_filter(entry))
        {
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut at = from;
            while at <= self.visible {
                if let Ok(stored) = self.store.read(at, &mut buffer) {
                    for (_, entry) in self.consumers.entries.iter_mut() {
                        let settings = entry.engine.settings();
                        if !settings.wants_all() && settings.filters.matches(stored.record.subject)
                        {
                            entry.engine.note_stored(at);
                        }
                    }
                }
                at = at.next();
            }
            self.buffer = buffer;
        }
        let hungry = std::mem::take(&mut self.consumers.hungry);
        self.consumers.ready.extend(hungry);
    }

    /// Gives turns to consumers; says whether there is more to do.
    pub fn serve_consumers<O: Out>(&mut self, now: Timestamp, out: &mut O) -> bool {
        while let Some((due, at)) = self.consumers.timers.first().copied()
            && due <= now
        {
            self.consumers.timers.remove(&(due, at));
            if let Some(entry) = self.consumers.entries.get_mut(at) {
                entry.timer = None;
            }
            self.consumers.ready.insert(at);
        }
        let mut inactive = Vec::new();
        let ready: Vec<usize> = self.consumers.ready.iter().copied().take(TURNS).collect();
        for at in ready {
            let mut budget = BUDGET;
            let served =
                self.with_engine(at, now, out, |engine, turn| engine.serve(turn, &mut budget));
            self.consumers.ready.remove(&at);
            match served {
                Some(Ok(Served::More)) => {
                    self.consumers.ready.insert(at);
                }
                Some(Ok(Served::Inactive)) => inactive.push(at),
                Some(Ok(Served::Idle)) => {}
                Some(Err(fault)) => self.note(Some(Err(fault))),
                None => continue,
            }
            self.consumers.set_timer(at);
            let entry = self.consumers.entries.get(at);
            if entry.is_some_and(|entry| entry.engine.wants_messages()) {
                self.consumers.hungry.insert(at);
            }
        }
        for at in inactive {
            if let Err(fault) = self.delete_consumer(at, now, out) {
                log::warn!("Stream {}: {fault}", self.label());
            }
        }
        !self.consumers.ready.is_empty()
    }

    /// When a consumer is to get a turn if nothing happens before.
    pub fn consumers_at(&self) -> Option<Timestamp> {
        self.consumers.timers.first().map(|(at, _)| *at)
    }

    /// Tells consumers that there is a new first message.
    pub(super) fn trim_consumers<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let first = self.store.state().first;
        let moved = std::mem::replace(&mut self.first, first) != first;
        let purged = std::mem::take(&mut self.purged);
        if !moved && !purged {
            return;
        }
        let all: Vec<usize> = self.consumers.names.values().copied().collect();
        for at in all {
            let handled = self.with_engine(at, now, out, |engine, turn| match purged {
                true => engine.handle_purged(turn),
                false => engine.handle_trimmed(turn),
            });
            self.note(handled);
        }
    }

    /// Tells consumers that a message was removed.
    pub fn tell_removed<O: Out>(
        &mut self,
        (sequence, subject): (StreamSeq, &[u8]),
        now: Timestamp,
        out: &mut O,
    ) {
        let all: Vec<usize> = self.consumers.names.values().copied().collect();
        for at in all {
            let handled = self.with_engine(at, now, out, |engine, turn| {
                match engine.settings().filters.matches(subject) {
                    true => engine.handle_removed(turn, sequence),
                    false => Ok(()),
                }
            });
            self.note(handled);
        }
    }

    /// Whether some consumer is to have messages on a subject.
    pub(super) fn is_wanted(&self, subject: &[u8]) -> bool {
        self.consumers.want(subject)
    }

    /// Whether consumers are to get a turn.
    pub fn has_ready_consumers(&self) -> bool {
        !self.consumers.ready.is_empty()
    }

    /// Appends what consumers have recorded, and removes what no consumer needs.
    pub(super) fn keep_events(&mut self) {
        self.remove_released();
        if !std::mem::take(&mut self.consumers.recorded) {
            return;
        }
        let after = match self.store.append_events() {
            Ok(index) => index,
            Err(error) => {
                log::error!("Stream {}: {error}", self.label());
                // They are kept for the next time.
                self.consumers.recorded = true;
                return;
            }
        };
        for to in std::mem::take(&mut self.consumers.confirms) {
            self.waiting.push(after, &to, b"", Answer::Body);
        }
    }

    /// Removes messages that have been acknowledged, where the stream keeps them only until then.
    fn remove_released(&mut self) {
        if self.consumers.released.is_empty() {
            return;
        }
        let ranges = std::mem::take(&mut self.consumers.released);
        if self.config.retention == RetentionPolicy::Limits || self.store.has_work() {
            return;
        }
        for range in ranges {
            let mut at = *range.start();
            while at <= *range.end() {
                if self.is_needed(at) {
                    at = at.next();
                    continue;
                }
                if let Err(error) = self.store.delete(at) {
                    log::warn!("Stream {}: {error}", self.label());
                    return;
                }
                at = at.next();
            }
        }
    }

    /// Whether a consumer has still to have a message.
    fn is_needed(&mut self, sequence: StreamSeq) -> bool {
        if self.config.retention == RetentionPolicy::WorkQueue {
            return false;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let subject = match self.store.read(sequence, &mut buffer) {
            Ok(stored) => stored.record.subject.to_vec(),
            Err(_) => Vec::new(),
        };
        self.buffer = buffer;
        let (store, visible) = (&mut self.store, self.visible);
        let mut recorded = false;
        self.consumers.entries.iter().any(|(_, entry)| {
            let view = View {
                store: &mut *store,
                id: Some(entry.id),
                visible,
                recorded: &mut recorded,
            };
            entry.engine.settings().filters.matches(&subject) && entry.engine.needs(&view, sequence)
        })
    }
}
