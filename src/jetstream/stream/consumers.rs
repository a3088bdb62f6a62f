//! The consumers of a stream: each an engine on top of a state that the store keeps.
//!
//! Consumers get a turn when something happened to them or for them, and when their timers say.
//! What they record is appended once a turn, before what is written; who is told that an
//! acknowledgement was taken waits until that is stored.

use super::Stream;
use super::settings::settings;
use super::view::{Confirms, Sink, View};
use crate::base::rng::Rng;
use crate::jetstream::api::ack;
use crate::jetstream::api::info::ConsumerInfo;
use crate::jetstream::api::pull::PullRequest;
use crate::jetstream::api::{ConsumerConfig, metadata};
use crate::jetstream::consumer::{
    self as engine, Consumer, Fault, Roster, Scratch, Slot, Start, Turn, Waiters,
};
use crate::jetstream::kept::{self, KeptConsumer};
use crate::jetstream::out::Out;
use crate::json::Time;
use crate::store::consumer::ConsumerState;
use crate::store::error::LogError;
use crate::store::file::ReadBuffer;
use crate::store::stream::{ConsumerId, Gone};
use crate::store::types::{StreamSeq, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// All consumers of one stream.
pub(super) struct Consumers {
    pub(super) roster: Roster<Entry>,
    names: BTreeMap<Box<str>, Slot>,
    /// How many of them are there for mirrors and sources only.
    direct: usize,
    /// Those that are there for mirrors and sources in any way.
    internal: usize,
    /// Those that are sent messages without asking.
    pub(super) pushed: BTreeSet<Slot>,
    /// Those with messages that wait for acknowledgements, by one that is not behind the first of
    /// these messages.
    pub(super) floors: BTreeSet<(StreamSeq, Slot)>,
    /// Those that wait for messages to be brought into memory.
    pub(super) cold: Vec<Slot>,
    pub(super) scratch: Scratch<ReadBuffer>,
    /// What is to be answered when that is kept which was recorded.
    pub(super) confirms: Confirms,
    /// Messages that do not wait for one consumer any more.
    pub(super) released: Vec<RangeInclusive<StreamSeq>>,
    /// Whether something was recorded that is not appended.
    pub(super) recorded: bool,
    /// The one that was found to need a message last.
    pub(super) needing: Slot,
    /// Whether consumers are being told of messages that were removed.
    pub(super) telling: bool,
    /// Memory for messages that were removed, and for consumers that are told of them.
    pub(super) gone: Gone,
    pub(super) slots: Vec<Slot>,
    /// What requests of all consumers of the account hold.
    waiters: Arc<Waiters>,
    rng: Rng,
}

/// What the stream keeps with a consumer.
pub(super) struct Entry {
    pub(super) id: ConsumerId,
    pub(super) config: Box<ConsumerConfig>,
    pub(super) created: Time,
    /// Where it delivers all messages from on, if it delivers only some of those before.
    resume: Option<StreamSeq>,
    /// The first message of the stream, as far as the consumer knows.
    first: StreamSeq,
    /// Its place among the floors.
    pub(super) floor: Option<StreamSeq>,
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
    pub(super) fn new(seed: u64, waiters: Arc<Waiters>) -> Consumers {
        Consumers {
            roster: Roster::new(seed),
            names: BTreeMap::new(),
            direct: 0,
            internal: 0,
            pushed: BTreeSet::new(),
            floors: BTreeSet::new(),
            cold: Vec::new(),
            scratch: Scratch::new(seed),
            confirms: Confirms::default(),
            released: Vec::new(),
            recorded: false,
            needing: Slot::MIN,
            telling: false,
            gone: Gone::default(),
            slots: Vec::new(),
            waiters,
            rng: Rng::new(!seed),
        }
    }

    /// Whether some consumer is to have messages on a subject.
    pub(super) fn want(&mut self, subject: &[u8]) -> bool {
        self.roster.is_wanted(subject)
    }

    /// Takes note of the first message that waits for its acknowledgement.
    fn set_floor(&mut self, at: Slot, floor: Option<StreamSeq>) {
        let Some((_, entry)) = self.roster.get(at) else {
            return;
        };
        // One that is too low is found out when it matters.
        let keeps = match (entry.floor, floor) {
            (Some(old), Some(new)) => old <= new,
            (None, None) => true,
            _ => false,
        };
        if keeps {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.floor, floor) {
            self.floors.remove(&(old, at));
        }
        if let Some(new) = floor {
            self.floors.insert((new, at));
        }
    }

    fn forget(&mut self, at: Slot) {
        self.set_floor(at, None);
        if let Some((_, entry)) = self.roster.remove(at) {
            self.names.remove(&*entry.config.name);
            self.direct -= usize::from(entry.config.direct);
            self.internal -= usize::from(is_internal(&entry.config));
            self.pushed.remove(&at);
        }
    }
}

/// Everything up to here was acknowledged.
pub(super) fn floor_of(state: &ConsumerState) -> StreamSeq {
    state.ack_floor().stream
}

/// Whether a consumer is there for a mirror or a source.
fn is_internal(config: &ConsumerConfig) -> bool {
    config.direct || config.sourcing
}

/// The first message that waits for its acknowledgement.
fn floor(state: Option<&ConsumerState>) -> Option<StreamSeq> {
    Some(state?.pending().first()?.stream)
}

impl Stream {
    /// The consumer of that name.
    pub fn find_consumer(&self, name: &str) -> Option<Slot> {
        self.consumers.names.get(name).copied()
    }

    /// The names of all consumers and their places, in order.
    pub fn consumer_names(&self) -> impl Iterator<Item = (&str, Slot)> {
        self.consumers.names.iter().map(|(name, at)| (&**name, *at))
    }

    /// How many consumers there are, without those that are there for mirrors and sources only.
    pub fn consumer_count(&self) -> usize {
        self.consumers.names.len() - self.consumers.direct
    }

    /// How many of them were made by clients, for themselves.
    pub fn client_consumer_count(&self) -> usize {
        self.consumers.names.len() - self.consumers.internal
    }

    /// The configurations of all consumers.
    pub fn consumer_configs(&self) -> impl Iterator<Item = (&str, &ConsumerConfig)> {
        let all = self.consumer_names();
        all.filter_map(|(name, at)| Some((name, self.consumer_config(at)?)))
    }

    /// How a consumer is configured.
    pub fn consumer_config(&self, at: Slot) -> Option<&ConsumerConfig> {
        let (_, entry) = self.consumers.roster.peek(at)?;
        Some(&entry.config)
    }

    /// Calls `act` with a consumer's engine and all that it works with, and gives it a turn.
    pub(super) fn with_engine<O: Out, T>(
        &mut self,
        at: Slot,
        now: Timestamp,
        out: &mut O,
        act: impl FnOnce(&mut Consumer, &mut Turn<'_, View<'_>, Sink<'_, O>>) -> T,
    ) -> Option<T> {
        self.tell_gone(now, out);
        self.tell((at, now), out, act)
    }

    /// The same for messages that were removed.
    pub(super) fn tell<O: Out, T>(
        &mut self,
        (at, now): (Slot, Timestamp),
        out: &mut O,
        act: impl FnOnce(&mut Consumer, &mut Turn<'_, View<'_>, Sink<'_, O>>) -> T,
    ) -> Option<T> {
        let result = self.act((at, now, true), out, act);
        self.consumers.roster.wake(at);
        result
    }

    /// Calls `act` with a consumer's engine. `waits` says whether messages that are not in memory are
    /// waited for.
    pub(super) fn act<O: Out, T>(
        &mut self,
        (at, now, waits): (Slot, Timestamp, bool),
        out: &mut O,
        act: impl FnOnce(&mut Consumer, &mut Turn<'_, View<'_>, Sink<'_, O>>) -> T,
    ) -> Option<T> {
        let consumers = &mut self.consumers;
        let (engine, entry) = consumers.roster.get(at)?;
        let mut view = View {
            store: &mut self.store,
            id: Some(entry.id),
            visible: self.visible,
            recorded: &mut consumers.recorded,
        };
        let first = view.store.first();
        // What is behind its next message counts until it was told of all that is gone.
        if !consumers.telling && std::mem::replace(&mut entry.first, first) != first {
            engine.note_first(&mut view);
        }
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
        turn.stream.store.set_hurried(!waits);
        let result = act(engine, &mut turn);
        self.store.set_hurried(false);
        let floor = floor(self.store.consumer_state(entry.id));
        if consumers.recorded || !consumers.confirms.is_empty() {
            self.dirty = true;
        }
        if floor.is_some() {
            self.store.note_gone(true);
        }
        self.consumers.set_floor(at, floor);
        Some(result)
    }

    /// Makes a consumer, and gives its place. It lasts when what was appended is stored.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn create_consumer<O: Out>(
        &mut self,
        config: ConsumerConfig,
        created: Time,
        now: Timestamp,
        out: &mut O,
    ) -> Result<Slot, ConsumerFault> {
        // It counts without those.
        self.tell_gone(now, out);
        let settings = settings(&self.config, &config, self.place.as_deref());
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
        let resume = start.resume();
        let kept = kept::encode_consumer(&config, created, resume);
        let policy = settings.ack.stored();
        // Who is there for a mirror or source asks for another one after a start.
        let id = match config.mem_storage || config.direct {
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
        Ok(self.add_consumer(id, (config, created, resume), engine))
    }

    pub(super) fn add_consumer(
        &mut self,
        id: ConsumerId,
        (config, created, resume): (ConsumerConfig, Time, Option<StreamSeq>),
        mut engine: Consumer,
    ) -> Slot {
        let name = config.name.as_str().into();
        let (is_pushed, is_direct) = (config.is_push(), config.direct);
        let is_internal = is_internal(&config);
        let filters = filters(&config).map(str::to_owned).collect::<Vec<_>>();
        let entry = Entry {
            id,
            config: Box::new(config),
            created,
            resume,
            first: self.store.first(),
            floor: None,
        };
        let filters = filters.iter().map(String::as_bytes);
        let consumers = &mut self.consumers;
        engine.share_waiters(consumers.waiters.clone());
        let at = consumers.roster.insert(engine, filters, entry);
        consumers.names.insert(name, at);
        consumers.direct += usize::from(is_direct);
        consumers.internal += usize::from(is_internal);
        if is_pushed {
            consumers.pushed.insert(at);
        }
        let floor = floor(self.store.consumer_state(id));
        if floor.is_some() || consumers.roster.wants_each() {
            self.store.note_gone(true);
        }
        self.consumers.set_floor(at, floor);
        at
    }

    /// Has the requests of all consumers looked through, as some of them may be of clients that are
    /// gone.
    pub fn look_through_requests(&mut self, now: Timestamp) {
        let Consumers { roster, names, .. } = &mut self.consumers;
        for at in names.values() {
            if let Some((engine, _)) = roster.get(*at)
                && engine.wants_messages()
            {
                engine.look_through_requests(now);
                roster.wake(*at);
            }
        }
    }

    /// Makes the engines of consumers that the store has.
    pub(super) fn open_consumers(&mut self, now: Timestamp) {
        let found: Vec<_> = self
            .store
            .consumers()
            .filter(|(_, consumer)| !consumer.is_cell())
            .map(|(id, consumer)| (id, consumer.config().to_vec()))
            .collect();
        for (id, kept) in found {
            let Ok(KeptConsumer {
                config,
                created,
                resume,
            }) = kept::decode_consumer(&kept)
            else {
                log::error!("Stream {}: a consumer cannot be read", self.label());
                continue;
            };
            let settings = settings(&self.config, &config, self.place.as_deref());
            let mut view = View {
                store: &mut self.store,
                id: Some(id),
                visible: self.visible,
                recorded: &mut self.consumers.recorded,
            };
            let scratch = &mut self.consumers.scratch;
            let engine = Consumer::open(settings, resume, &mut view, scratch, now);
            self.add_consumer(id, (config, created, resume), engine);
        }
    }

    /// Gives a consumer another configuration.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn update_consumer<O: Out>(
        &mut self,
        at: Slot,
        config: ConsumerConfig,
        now: Timestamp,
        out: &mut O,
    ) -> Result<(), ConsumerFault> {
        let new = settings(&self.config, &config, self.place.as_deref());
        let entry = self.consumers.roster.get(at);
        let (_, entry) = entry.ok_or(ConsumerFault::Unknown)?;
        let kept = kept::encode_consumer(&config, entry.created, entry.resume);
        self.store.update_consumer(entry.id, &kept)?;
        let filters: Vec<String> = filters(&config).map(str::to_owned).collect();
        match config.is_push() {
            true => self.consumers.pushed.insert(at),
            false => self.consumers.pushed.remove(&at),
        };
        let (was, is) = (is_internal(&entry.config), is_internal(&config));
        *entry.config = config;
        self.consumers.internal += usize::from(is);
        self.consumers.internal -= usize::from(was);
        self.dirty = true;
        let updated = self.with_engine(at, now, out, |engine, turn| engine.update(turn, new));
        let filters = filters.iter().map(String::as_bytes);
        self.consumers.roster.set_filters(at, filters);
        updated.unwrap_or(Ok(()))?;
        Ok(())
    }

    /// Shows another configuration than the one that a consumer works by.
    pub(super) fn set_consumer_config(&mut self, at: Slot, config: ConsumerConfig) {
        if let Some((_, entry)) = self.consumers.roster.get(at) {
            let (was, is) = (is_internal(&entry.config), is_internal(&config));
            *entry.config = config;
            self.consumers.internal += usize::from(is);
            self.consumers.internal -= usize::from(was);
        }
    }

    /// Removes a consumer.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn delete_consumer<O: Out>(
        &mut self,
        at: Slot,
        now: Timestamp,
        out: &mut O,
    ) -> Result<(), ConsumerFault> {
        let entry = self.consumers.roster.peek(at);
        let id = entry.ok_or(ConsumerFault::Unknown)?.1.id;
        self.with_engine(at, now, out, |engine, turn| engine.handle_deleted(turn));
        self.store.delete_consumer(id)?;
        self.dirty = true;
        self.consumers.forget(at);
        Ok(())
    }

    /// What there is to be told of a consumer.
    pub fn told<O: Out>(&mut self, at: Slot, now: Timestamp, out: &mut O) -> Option<ConsumerInfo> {
        let figures = self.with_engine(at, now, out, |engine, turn| engine.figures(turn))?;
        let (engine, entry) = self.consumers.roster.peek(at)?;
        let mut config = (*entry.config).clone();
        metadata::show(&mut config.metadata, crate::options::VERSION);
        Some(figures.document(engine.settings(), config, entry.created, now))
    }

    /// Takes a pull request, or why it cannot be read.
    pub fn pull<O: Out>(
        &mut self,
        at: Slot,
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
        at: Slot,
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
        at: Slot,
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
        at: Slot,
        to: Option<StreamSeq>,
        now: Timestamp,
        out: &mut O,
    ) -> Option<Result<StreamSeq, engine::InvalidReset>> {
        let reset = self.with_engine(at, now, out, |engine, turn| engine.reset(turn, to));
        if let Some(Ok(_)) = reset
            && let Some((_, entry)) = self.consumers.roster.get(at)
            && entry.resume.take().is_some()
        {
            // From now on it delivers all messages, also after a start.
            let kept = kept::encode_consumer(&entry.config, entry.created, None);
            if let Err(error) = self.store.update_consumer(entry.id, &kept) {
                log::warn!("Stream {}: a consumer: {error}", self.label());
            }
        }
        reset
    }

    /// Answers in the account of the stream when all that consumers have recorded is stored.
    pub fn answer_when_kept(&mut self, to: &[u8], body: &[u8]) {
        self.consumers.confirms.push(to, body);
        self.dirty = true;
    }

    /// Lets no client be pinned.
    pub fn unpin<O: Out>(&mut self, at: Slot, group: &str, now: Timestamp, out: &mut O) {
        self.with_engine(at, now, out, |engine, turn| engine.unpin(turn, group));
    }

    pub(super) fn note(&self, handled: Option<Result<(), Fault>>) {
        if let Some(Err(fault)) = handled {
            log::warn!("Stream {}: a consumer: {fault}", self.label());
        }
    }
}

/// The filters of a configuration; none if it wants everything.
fn filters(config: &ConsumerConfig) -> impl Iterator<Item = &str> {
    let one = (!config.filter_subject.is_empty()).then_some(&*config.filter_subject);
    one.into_iter()
        .chain(config.filter_subjects.iter().map(String::as_str))
}
