//! The consumers of a stream at some record, and events of theirs that no record has yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Change, Entries, Entry, NAME_MAX};
use crate::store::consumer::{AckPolicy, Conflict, ConsumerState, Event, EventWriter, Events};
use crate::store::consumer::{Outcome, Position};
use crate::store::file::format::Record;
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::types::{LogIndex, StreamSeq};

/// The first character of the name of a consumer that nobody is to see.
pub const CELL: char = '\0';

/// Events that are kept until they are recorded, of all consumers together. From there on the
/// state of a consumer is recorded in their place.
const GATHERED_MAX: usize = 1 << 20;

/// Ids from here on are those of consumers of which the log knows nothing.
const UNRECORDED: u64 = 1 << 63;

/// A consumer, as long as its stream is there: ids are not used again. Those that are not recorded
/// have ids for as long as the stream is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConsumerId(u64);

impl ConsumerId {
    /// Whether the log has the consumer, so that it is still there when the stream is opened anew.
    pub fn is_recorded(self) -> bool {
        self.0 < UNRECORDED
    }
}

/// A consumer of a stream.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<str>,
    config: Box<[u8]>,
    state: ConsumerState,
    /// Records about it.
    count: u64,
    /// The last record that tells all of it: that it was created, or is kept.
    told: LogIndex,
    gathered: Option<Box<Gathered>>,
    /// Where everything was acknowledged up to when a record about it was found to be missing.
    missed: Option<StreamSeq>,
}

/// What is still to be recorded.
#[derive(Clone, Debug)]
enum Gathered {
    Events(EventWriter),
    /// The state, since the events would be too many, or a checkpoint knows them already.
    State,
}

impl Consumer {
    fn new(name: &str, config: &[u8], policy: AckPolicy, start: StreamSeq) -> Consumer {
        Consumer {
            name: name.into(),
            config: config.into(),
            state: ConsumerState::new(policy, start),
            count: 0,
            told: LogIndex(0),
            gathered: None,
            missed: None,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is none that anybody has asked for, but something that the layer above keeps in the form
    /// of one. Its name begins with [`CELL`].
    pub fn is_cell(&self) -> bool {
        self.name.starts_with(CELL)
    }

    /// What it was created or last updated with.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    pub fn state(&self) -> &ConsumerState {
        &self.state
    }

    /// Takes note of the number of a record. If one is missing before it, the state is not what
    /// it was.
    fn count(&mut self, count: u64) {
        if count != self.count + 1 {
            self.miss();
        }
        self.count = count;
    }

    fn miss(&mut self) {
        self.missed.get_or_insert(self.state.ack_floor().stream);
    }

    fn replay(&mut self, index: LogIndex, entry: Entry<'_>) {
        self.count(entry.count);
        if self.state.replay(index, entry.batch).is_err() {
            self.miss();
            return;
        }
        let events = Events::new(entry.batch).into_iter().flatten();
        if events.flatten().any(|e| matches!(e, Event::Reset { .. })) {
            // From here on it does not matter what was before.
            self.missed = None;
        }
    }
}

/// All consumers of a stream.
#[derive(Clone, Debug, Default)]
pub(in crate::store::stream) struct Consumers {
    /// Records up to this one are in here, whatever the stream's state comes from.
    applied: LogIndex,
    /// The last record that was made of events.
    recorded: LogIndex,
    /// The highest number that was ever used, of each kind.
    last_number: u64,
    last_unrecorded: u64,
    /// Shared with checkpoints that are being written.
    all: BTreeMap<ConsumerId, Arc<Consumer>>,
    /// Those that have something to be recorded, and some that are gone since.
    changed: Vec<ConsumerId>,
    /// Events that are to be recorded.
    gathered: usize,
    /// Events of consumers of which nothing is known, in batches.
    orphans: u64,
}

impl Consumers {
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.all.iter().map(|(id, consumer)| (*id, &**consumer))
    }

    pub(super) fn get(&self, id: ConsumerId) -> Option<&Consumer> {
        self.all.get(&id).map(|consumer| &**consumer)
    }

    pub(super) fn get_mut(&mut self, id: ConsumerId) -> Option<&mut ConsumerState> {
        self.own(id).map(|consumer| &mut consumer.state)
    }

    fn own(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.all.get_mut(&id).map(Arc::make_mut)
    }

    pub(in crate::store::stream) fn len(&self) -> usize {
        self.all.len()
    }

    /// What is to be recorded of a new consumer, and the id that it has then.
    pub(super) fn creation<'a>(
        &self,
        name: &'a str,
        config: &'a [u8],
        policy: AckPolicy,
        start: StreamSeq,
    ) -> (ConsumerId, Change<'a>) {
        let number = self.last_number + 1;
        let change = Change::Created {
            number,
            policy,
            start,
            name,
            config,
        };
        (ConsumerId(number), change)
    }

    /// Adds a consumer that is not recorded.
    pub(super) fn add(
        &mut self,
        name: &str,
        config: &[u8],
        policy: AckPolicy,
        start: StreamSeq,
    ) -> ConsumerId {
        self.last_unrecorded += 1;
        let id = ConsumerId(UNRECORDED + self.last_unrecorded);
        let consumer = Consumer::new(name, config, policy, start);
        self.all.insert(id, Arc::new(consumer));
        id
    }

    /// What is to be recorded of a change of the configuration.
    pub(super) fn update<'a>(&self, id: ConsumerId, config: &'a [u8]) -> Option<Change<'a>> {
        let consumer = self.all.get(&id)?;
        Some(Change::Updated {
            number: id.0,
            count: consumer.count + 1,
            config,
        })
    }

    pub(super) fn set_config(&mut self, id: ConsumerId, config: &[u8]) {
        if let Some(consumer) = self.own(id) {
            consumer.config = config.into();
        }
    }

    /// What is to be recorded of the end of a consumer.
    pub(super) fn deletion(id: ConsumerId) -> Change<'static> {
        Change::Deleted { number: id.0 }
    }

    pub(super) fn remove(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.all.remove(&id)
            && let Some(gathered) = &consumer.gathered
        {
            self.gathered -= gathered.events();
        }
    }

    /// Lets something happen now, which is to be recorded later.
    pub(super) fn record(&mut self, id: ConsumerId, event: Event) -> Result<Outcome, Conflict> {
        let consumer = self.all.get_mut(&id).map(Arc::make_mut).ok_or(Conflict)?;
        let outcome = consumer.state.apply(event)?;
        if outcome == Outcome::Nothing || !id.is_recorded() {
            return Ok(outcome);
        }
        let gathered = consumer.gathered.get_or_insert_with(|| {
            self.changed.push(id);
            Box::new(Gathered::Events(EventWriter::new()))
        });
        if let Gathered::Events(writer) = &mut **gathered {
            if self.gathered < GATHERED_MAX && writer.push(event) {
                self.gathered += 1;
            } else {
                self.gathered -= writer.len();
                **gathered = Gathered::State;
            }
        }
        Ok(outcome)
    }

    /// Puts a state in the place of what has happened so far, to be recorded later.
    pub(super) fn set_state(&mut self, id: ConsumerId, mut state: ConsumerState) -> bool {
        let Some(consumer) = self.all.get_mut(&id).map(Arc::make_mut) else {
            return false;
        };
        state.set_applied(consumer.state.applied());
        consumer.state = state;
        if !id.is_recorded() {
            return true;
        }
        match &mut consumer.gathered {
            Some(gathered) => {
                self.gathered -= gathered.events();
                **gathered = Gathered::State;
            }
            none => {
                self.changed.push(id);
                *none = Some(Box::new(Gathered::State));
            }
        }
        true
    }

    /// What is told of the state from now on has everything that has happened: no event that was
    /// gathered may be applied on top.
    pub(in crate::store::stream) fn gather_states(&mut self) {
        for id in &self.changed {
            if let Some(consumer) = self.all.get_mut(id).map(Arc::make_mut)
                && let Some(gathered) = &mut consumer.gathered
            {
                **gathered = Gathered::State;
            }
        }
        self.gathered = 0;
    }

    /// Whether there is something to be recorded.
    pub(super) fn has_gathered(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The last record that has events.
    pub(super) fn recorded(&self) -> LogIndex {
        self.recorded
    }

    /// Appends the next record's payload, of about so many bytes, and says for how many of the
    /// changed consumers it is; 0 if there is nothing to be recorded.
    pub(super) fn encode_changed(&mut self, bytes: usize, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        for (done, id) in self.changed.iter().enumerate() {
            let Some(consumer) = self.all.get_mut(id).map(Arc::make_mut) else {
                continue;
            };
            let (number, count) = (id.0, consumer.count + 1);
            match consumer.gathered.as_deref_mut() {
                None => {}
                Some(Gathered::Events(_)) if out.len() - start >= bytes => return done,
                Some(Gathered::Events(writer)) => {
                    if out.len() == start {
                        Change::Events(Entries::new()).encode(out);
                    }
                    let batch = writer.batch();
                    Entry {
                        number,
                        count,
                        batch,
                    }
                    .encode(out);
                }
                Some(Gathered::State) if out.len() > start => return done,
                Some(Gathered::State) => {
                    let mut state = vec![];
                    consumer.state.encode(&mut state);
                    let state = &state[..];
                    Change::State {
                        number,
                        count,
                        state,
                    }
                    .encode(out);
                    return done + 1;
                }
            }
        }
        self.changed.len()
    }

    /// What was encoded of the first so many of those that have changed is this record.
    pub(super) fn handle_recorded(&mut self, many: usize, index: LogIndex) {
        for id in self.changed.drain(..many) {
            let Some(consumer) = self.all.get_mut(&id).map(Arc::make_mut) else {
                continue;
            };
            let Some(gathered) = consumer.gathered.take() else {
                continue;
            };
            self.gathered -= gathered.events();
            consumer.count += 1;
            consumer.state.set_applied(index);
        }
        self.applied = self.applied.max(index);
        self.recorded = index;
    }

    /// Makes the change that a record tells. Events of now have happened already.
    pub(in crate::store::stream) fn apply(&mut self, record: &Record<'_>) {
        let index = record.index;
        if index <= self.applied {
            return;
        }
        self.applied = index;
        let change = Change::decode(record.payload);
        // There were not as many records by then: it makes no sense.
        if change
            .as_ref()
            .is_ok_and(|change| change.counts() > index.0)
        {
            return;
        }
        match change {
            Ok(Change::Created {
                number,
                policy,
                start,
                name,
                config,
            }) => {
                if let Some(id) = self.id(number) {
                    let mut consumer = Consumer::new(name, config, policy, start);
                    consumer.told = index;
                    self.all.insert(id, Arc::new(consumer));
                }
            }
            Ok(Change::Updated {
                number,
                count,
                config,
            }) => {
                if let Some(consumer) = self.known(number) {
                    consumer.count(count);
                    consumer.config = config.into();
                }
            }
            Ok(Change::Deleted { number }) => {
                if let Some(id) = self.id(number) {
                    self.remove(id);
                }
            }
            Ok(Change::Events(entries)) => {
                self.recorded = index;
                for entry in entries.filter(|entry| entry.counts() <= index.0) {
                    if let Some(consumer) = self.known(entry.number) {
                        consumer.replay(index, entry);
                    }
                }
            }
            Ok(Change::State {
                number,
                count,
                state,
            }) => {
                self.recorded = index;
                if let Some(consumer) = self.known(number) {
                    consumer.count = count;
                    match ConsumerState::decode(&mut Reader::new(state)) {
                        Ok(state) => {
                            consumer.state = state;
                            consumer.state.set_applied(index);
                            consumer.missed = None;
                        }
                        Err(_) => consumer.miss(),
                    }
                }
            }
            Ok(Change::Kept {
                number,
                count,
                name,
                config,
                state,
            }) => {
                self.recorded = index;
                if let Some(id) = self.id(number)
                    && let Ok(mut state) = ConsumerState::decode(&mut Reader::new(state))
                {
                    state.set_applied(index);
                    let consumer = Consumer {
                        name: name.into(),
                        config: config.into(),
                        state,
                        count,
                        told: index,
                        gathered: None,
                        missed: None,
                    };
                    self.all.insert(id, Arc::new(consumer));
                }
            }
            Err(_) => {}
        }
    }

    /// All records that tell all of a consumer which is there are behind this one.
    pub(in crate::store::stream) fn untold(&self) -> LogIndex {
        let recorded = self.all.iter().filter(|(id, _)| id.is_recorded());
        let told = recorded.map(|(_, consumer)| consumer.told).min();
        told.map_or(LogIndex(u64::MAX), LogIndex::previous)
    }

    /// All that are recorded.
    pub(in crate::store::stream) fn recorded_ids(&self) -> Vec<ConsumerId> {
        let ids = self.all.keys().copied();
        ids.filter(|id| id.is_recorded()).collect()
    }

    /// A consumer whose last such record is not behind `upto`.
    pub(super) fn untold_behind(&self, upto: LogIndex) -> Option<ConsumerId> {
        let mut recorded = self.all.iter().filter(|(id, _)| id.is_recorded());
        let found = recorded.find(|(_, consumer)| consumer.told <= upto);
        found.map(|(id, _)| *id)
    }

    /// Appends the payload of a record that tells all of a consumer, with what is gathered.
    pub(in crate::store::stream) fn encode_kept(&self, id: ConsumerId, out: &mut Vec<u8>) {
        let Some(consumer) = self.get(id) else {
            return;
        };
        let mut state = vec![];
        consumer.state.encode(&mut state);
        Change::Kept {
            number: id.0,
            count: consumer.count + 1,
            name: &consumer.name,
            config: &consumer.config,
            state: &state,
        }
        .encode(out);
    }

    /// What was encoded of a consumer is this record.
    pub(super) fn handle_kept(&mut self, id: ConsumerId, index: LogIndex) {
        if let Some(consumer) = self.all.get_mut(&id).map(Arc::make_mut) {
            let gathered = consumer.gathered.take();
            self.gathered -= gathered.map_or(0, |gathered| gathered.events());
            consumer.count += 1;
            consumer.told = index;
            consumer.state.set_applied(index);
        }
        self.changed.retain(|changed| *changed != id);
        self.applied = self.applied.max(index);
        self.recorded = index;
    }

    /// The id with this number, which counts as used.
    fn id(&mut self, number: u64) -> Option<ConsumerId> {
        let id = Some(ConsumerId(number)).filter(|id| id.is_recorded());
        self.last_number = self.last_number.max(id?.0);
        id
    }

    fn known(&mut self, number: u64) -> Option<&mut Consumer> {
        let id = self.id(number)?;
        let consumer = self.all.get_mut(&id).map(Arc::make_mut);
        self.orphans += u64::from(consumer.is_none());
        consumer
    }

    /// Batches that belonged to no consumer that is known.
    pub(super) fn orphans(&self) -> u64 {
        self.orphans
    }

    /// Consumers about which records are missing begin anew where everything was acknowledged
    /// before those, so that nothing is delivered less than once. Gives which they are.
    pub(super) fn mend(&mut self) -> Vec<ConsumerId> {
        let missed = |(id, consumer): (&ConsumerId, &mut Arc<Consumer>)| {
            let floor = consumer.missed?;
            Arc::make_mut(consumer).missed = None;
            let consumer = consumer.state.delivered().consumer;
            let to = Position {
                stream: floor,
                consumer,
            };
            Some((*id, to))
        };
        let missed: Vec<_> = self.all.iter_mut().filter_map(missed).collect();
        for (id, to) in &missed {
            let policy = self.all.get(id).map(|consumer| consumer.state.policy());
            if policy != Some(AckPolicy::None) {
                let _ = self.record(*id, Event::Reset { to: *to });
            }
        }
        missed.into_iter().map(|(id, _)| id).collect()
    }

    /// Takes the place of consumers in a state that is made anew from all records: those up to
    /// `last` are in here or were not before.
    pub(in crate::store::stream) fn keep_upto(mut self, last: LogIndex) -> Consumers {
        self.applied = self.applied.min(last);
        self
    }

    /// Appends the form that [`Consumers::decode`] reads.
    pub(in crate::store::stream) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.last_number);
        for (id, consumer) in self.all.iter().filter(|(id, _)| id.is_recorded()) {
            varint::put(out, id.0);
            varint::put(out, consumer.count);
            varint::put(out, consumer.told.0);
            varint::put_bytes(out, consumer.name.as_bytes());
            varint::put_bytes(out, &consumer.config);
            consumer.state.encode(out);
        }
    }

    /// Reads the consumers as they were after the record `applied`.
    pub(in crate::store::stream) fn decode(
        reader: &mut Reader<'_>,
        applied: LogIndex,
    ) -> Result<Consumers, Malformed> {
        let bad = Malformed("consumer");
        let mut consumers = Consumers {
            applied,
            last_number: reader.number(bad.0)?,
            ..Consumers::default()
        };
        // Each of them had a record of its own.
        if consumers.last_number > applied.0 {
            return Err(bad);
        }
        while !reader.is_empty() {
            let id = ConsumerId(reader.number(bad.0)?);
            let count = reader.number(bad.0)?;
            let told = LogIndex(reader.number(bad.0)?);
            let name = reader.bytes(NAME_MAX, bad.0)?;
            let name = std::str::from_utf8(name).map_err(|_| bad)?;
            let config = reader.bytes(usize::MAX, bad.0)?;
            let is_known = told <= applied && count <= applied.0;
            let consumer = Consumer {
                name: name.into(),
                config: config.into(),
                state: ConsumerState::decode(reader)?,
                count,
                told,
                gathered: None,
                missed: None,
            };
            let last = consumers.all.last_key_value();
            let follows = last.is_none_or(|(last, _)| *last < id);
            let is_past = is_known && consumer.state.applied() <= applied;
            if !follows || id.0 > consumers.last_number || !id.is_recorded() || !is_past {
                return Err(bad);
            }
            consumers.all.insert(id, Arc::new(consumer));
        }
        Ok(consumers)
    }
}

impl Gathered {
    /// Events that it counts for.
    fn events(&self) -> usize {
        match self {
            Gathered::Events(writer) => writer.len(),
            Gathered::State => 0,
        }
    }
}
