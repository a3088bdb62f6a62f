//! What is done with the chunks of a backup, by a thread that may wait for the disk.
//!
//! A [`Restorer`] makes the stream's store when the first messages come, and fills it. When all of the
//! backup has come, its consumers are checked elsewhere, and put in. Until that is on the disk, too,
//! the stream's metadata says that it is of no use; then it is given back as any other that was opened.

use super::Place;
use super::old_backup::Files;
use super::tasks::{Opening, create};
use crate::base::clock::Mono;
use crate::jetstream::api::{ApiError, StorageType, StreamConfig};
use crate::jetstream::backup::Fault;
use crate::jetstream::backup::archive::{CONSUMERS, Entry, MAGIC, Reader, STATE};
use crate::jetstream::backup::consumers::{self, SavedConsumer};
use crate::jetstream::kept;
use crate::jetstream::stream::{due_of, store_consumer, ttl_of};
use crate::json::Time;
use crate::proto::frames::Unpacker;
use crate::store::error::LogError;
use crate::store::file::LogOptions;
use crate::store::meta::Meta;
use crate::store::stream::{NewMessage, Step, StreamStore, TTL_NEVER};
use crate::store::types::{StreamSeq, Timestamp};
use serde::Deserialize;

/// Bytes of a message: as many as any server lets clients send.
const MESSAGE_MAX: u64 = 64 << 20;

/// Sequences from here on are those of no stream.
const SEQUENCE_MAX: u64 = 1 << 62;

/// Messages that wait for acknowledgements, of all consumers of a backup.
const PENDING_MAX: usize = 4 << 20;

/// What a stream is to be made of.
pub(super) struct Plan {
    pub(super) meta: Meta,
    pub(super) config: StreamConfig,
    pub(super) created: Time,
    pub(super) place: Place,
    pub(super) log: LogOptions,
    /// Bytes that its messages may have.
    pub(super) bytes_max: u64,
    pub(super) consumers_max: u64,
}

/// Takes in a backup.
pub struct Restorer {
    pub(super) plan: Plan,
    unpacker: Unpacker,
    form: Form,
    opening: Option<Opening>,
    /// Those of the backup; whoever has checked them puts back what they are to be.
    pub(super) consumers: Vec<SavedConsumer>,
    /// Messages that they wait for.
    pending: usize,
}

/// What a part has come to.
pub enum Outcome {
    /// More is to come.
    Goes(Box<Restorer>),
    /// All has come, and the [consumers](Restorer::consumers) are to be checked.
    Filled(Box<Restorer>),
    /// The stream is there.
    Done(Box<Restored>),
    /// There is no stream.
    Failed(ApiError),
    /// It was given up, and nothing is left of it.
    Forgotten,
}

/// A stream that was restored, and those of its consumers that are kept in memory.
pub struct Restored {
    pub(super) opening: Opening,
    pub(super) in_memory: Vec<SavedConsumer>,
}

/// How far it is known what this is.
enum Form {
    /// The first bytes.
    Unknown(Vec<u8>),
    Archive {
        reader: Reader,
        stage: Stage,
    },
    /// Files of a server before 2.15.
    Files(Box<Files>),
}

/// What comes next in an archive.
#[derive(Clone, Copy)]
enum Stage {
    State,
    /// So many consumers, and then messages up to this one.
    Consumers {
        left: u64,
        last: StreamSeq,
    },
    Messages {
        last: StreamSeq,
    },
    End,
}

/// The state of a stream in a backup, as far as it is of use.
#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
    consumer_count: i64,
}

/// Why it cannot go on.
pub(super) enum Failure {
    Backup(Fault),
    Api(ApiError),
    Log(LogError),
    /// The store does not take something.
    Refused(String, LogError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Backup(fault)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        Failure::Log(error)
    }
}

pub(super) fn fault(what: impl Into<String>) -> Failure {
    Failure::Backup(Fault::new(what))
}

impl Restorer {
    pub(super) fn new(plan: Plan) -> Restorer {
        Restorer {
            plan,
            unpacker: Unpacker::default(),
            form: Form::Unknown(Vec::new()),
            opening: None,
            consumers: Vec::new(),
            pending: 0,
        }
    }

    /// Takes in chunks, the last ones perhaps. If anything is wrong, nothing is left of the stream.
    pub(super) fn run(
        mut self: Box<Self>,
        chunks: &[Vec<u8>],
        is_last: bool,
        now: (Timestamp, Mono),
    ) -> Outcome {
        let result = chunks
            .iter()
            .try_for_each(|chunk| self.take(chunk, now.0))
            .and_then(|()| self.store_all(now.1))
            .and_then(|()| match is_last {
                true => self.check_end(),
                false => Ok(()),
            });
        match result {
            Ok(()) if !is_last => Outcome::Goes(self),
            Ok(()) => Outcome::Filled(self),
            Err(failure) => self.fail(failure),
        }
    }

    /// Puts in the consumers, which were checked, and makes the stream one that lasts.
    pub(super) fn finish(mut self: Box<Self>) -> Outcome {
        let consumers = std::mem::take(&mut self.consumers);
        let kept_in_memory = |saved: &SavedConsumer| saved.config.mem_storage;
        let (in_memory, recorded): (Vec<_>, _) = consumers.into_iter().partition(kept_in_memory);
        match self.store_consumers(recorded).and_then(|()| self.publish()) {
            Ok(opening) => Outcome::Done(Box::new(Restored { opening, in_memory })),
            Err(failure) => self.fail(failure),
        }
    }

    /// Removes what there is, and says why.
    fn fail(mut self: Box<Self>, failure: Failure) -> Outcome {
        self.clear();
        let err = match failure {
            Failure::Api(error) => return Outcome::Failed(error),
            Failure::Log(error) => error.to_string(),
            Failure::Refused(what, error) => format!("failed to {what}: {error}"),
            Failure::Backup(fault) => fault.to_string(),
        };
        Outcome::Failed(ApiError::StreamRestore { err })
    }

    fn no_room(&self) -> ApiError {
        match self.plan.config.storage {
            StorageType::File => ApiError::StorageResourcesExceeded,
            StorageType::Memory => ApiError::MemoryResourcesExceeded,
        }
    }

    /// Gives it up, for this reason if somebody is to be told of one.
    pub(super) fn forget(mut self: Box<Self>, reason: Option<ApiError>) -> Outcome {
        self.clear();
        reason.map_or(Outcome::Forgotten, Outcome::Failed)
    }

    /// Removes what there is of the stream.
    fn clear(&mut self) {
        let Some(Opening { store, meta, dir }) = self.opening.take() else {
            return;
        };
        drop(store);
        if self.plan.config.storage == StorageType::File {
            let removed = self.plan.place.dir.remove(meta.id, &dir);
            if let Err(error) = removed.and_then(|removal| removal.run()) {
                log::warn!("Files of a stream that was not restored stay: {error}");
            }
        }
    }

    fn take(&mut self, chunk: &[u8], now: Timestamp) -> Result<(), Failure> {
        self.unpacker.feed(chunk);
        while let Some(block) = self.unpacker.next_block().map_err(Fault::from)? {
            self.take_block(block, now)?;
        }
        Ok(())
    }

    fn take_block(&mut self, block: Vec<u8>, now: Timestamp) -> Result<(), Failure> {
        let mut block = block;
        if let Form::Unknown(first) = &mut self.form {
            first.append(&mut block);
            if first.len() < MAGIC.len() {
                return Ok(());
            }
            block = std::mem::take(first);
            self.form = match block.strip_prefix(MAGIC) {
                Some(rest) => {
                    block = rest.to_vec();
                    Form::Archive {
                        reader: Reader::new(MESSAGE_MAX),
                        stage: Stage::State,
                    }
                }
                None => Form::Files(Box::default()),
            };
        }
        // It is out of the way while the rest of this is at work.
        match std::mem::replace(&mut self.form, Form::Unknown(Vec::new())) {
            Form::Archive {
                mut reader,
                mut stage,
            } => {
                reader.feed(&block);
                while let Some(entry) = reader.next_entry()? {
                    stage = self.take_entry(&entry, stage, now)?;
                }
                self.form = Form::Archive { reader, stage };
            }
            Form::Files(mut files) => {
                files.feed(&block);
                files.take_all(self, now)?;
                self.form = Form::Files(files);
            }
            Form::Unknown(_) => {}
        }
        Ok(())
    }

    /// Takes an entry; gives what is to come next.
    fn take_entry(
        &mut self,
        entry: &Entry<'_>,
        stage: Stage,
        now: Timestamp,
    ) -> Result<Stage, Failure> {
        match stage {
            Stage::State => self.take_state(entry),
            Stage::Consumers { left, last } => {
                let name = std::str::from_utf8(entry.name).ok();
                let name = name.and_then(|name| name.strip_prefix(CONSUMERS));
                let Some(name) = name.filter(|_| entry.sequence == 0) else {
                    let name = String::from_utf8_lossy(entry.name);
                    return Err(fault(format!("expected consumer, found {name:?}")));
                };
                self.take_consumer(name, entry.payload)?;
                Ok(match left {
                    0 | 1 => Stage::Messages { last },
                    left => Stage::Consumers {
                        left: left - 1,
                        last,
                    },
                })
            }
            Stage::Messages { last } if entry.sequence == 0 => match entry.is_end() {
                true => {
                    let store = self.store()?;
                    if store.state().last < last {
                        store.skip_to(last)?;
                    }
                    Ok(Stage::End)
                }
                false => Err(fault("expected message sequence")),
            },
            Stage::Messages { .. } => {
                self.take_message(entry, now)?;
                Ok(stage)
            }
            Stage::End => Err(fault("there is something behind the end")),
        }
    }

    fn take_state(&mut self, entry: &Entry<'_>) -> Result<Stage, Failure> {
        if entry.name != STATE {
            return Err(fault("expected state.json first"));
        }
        let state: State = serde_json::from_slice(entry.payload)
            .map_err(|e| fault(format!("error in state.json: {e}")))?;
        let wrong = |what: &str| Err(fault(format!("invalid stream state: {what}")));
        let Ok(left) = u64::try_from(state.consumer_count) else {
            return wrong("negative consumer count");
        };
        let (first, last) = (state.first_seq, state.last_seq);
        if first > SEQUENCE_MAX || last > SEQUENCE_MAX {
            return wrong("sequences are too large");
        }
        let holds = match first {
            0 if last == 0 => 0,
            0 => return wrong("inconsistent message count or sequence range"),
            first if first > last && first - 1 != last => {
                return wrong("inconsistent message count or sequence range");
            }
            first => last + 1 - first,
        };
        if state.messages > holds {
            return wrong("message count exceeds sequence range");
        }
        if left > self.plan.consumers_max {
            return Err(Failure::Api(ApiError::MaximumConsumersLimit));
        }
        self.begin(StreamSeq(first))?;
        let last = StreamSeq(last);
        Ok(match left {
            0 => Stage::Messages { last },
            left => Stage::Consumers { left, last },
        })
    }

    /// Makes the store of a stream that begins with this message.
    pub(super) fn begin(&mut self, first: StreamSeq) -> Result<(), Failure> {
        let plan = &mut self.plan;
        let config = StreamConfig {
            first_seq: first.0.max(1),
            ..plan.config.clone()
        };
        let mut meta = plan.meta.clone();
        meta.config = kept::encode_unfinished(&plan.config, plan.created);
        let made = create(meta, &config, &plan.place, plan.log.clone());
        self.opening = Some(made.map_err(|e| Failure::Refused("add the stream".into(), e))?);
        Ok(())
    }

    pub(super) fn store(&mut self) -> Result<&mut StreamStore, Failure> {
        let opening = self.opening.as_mut();
        let opening = opening.ok_or_else(|| fault("messages come before the state"))?;
        Ok(&mut opening.store)
    }

    fn take_consumer(&mut self, name: &str, json: &[u8]) -> Result<(), Failure> {
        let saved = consumers::decode(name, json)?;
        self.add_consumer(name, saved)
    }

    pub(super) fn add_consumer(
        &mut self,
        name: &str,
        mut saved: SavedConsumer,
    ) -> Result<(), Failure> {
        if saved.config.name.is_empty() {
            name.clone_into(&mut saved.config.name);
        }
        self.pending = self.pending.saturating_add(saved.state.pending.len());
        if self.pending > PENDING_MAX {
            return Err(fault("too many messages wait for acknowledgements"));
        }
        if self.consumers.len() as u64 >= self.plan.consumers_max {
            return Err(Failure::Api(ApiError::MaximumConsumersLimit));
        }
        self.consumers.push(saved);
        Ok(())
    }

    fn take_message(&mut self, entry: &Entry<'_>, now: Timestamp) -> Result<(), Failure> {
        let sequence = StreamSeq(entry.sequence);
        let last = self.store()?.state().last;
        if sequence <= last {
            return Err(fault(format!("message sequence {sequence} out of order")));
        }
        self.add_message(entry, now)
    }

    /// Adds a message behind all others.
    pub(super) fn add_message(&mut self, entry: &Entry<'_>, now: Timestamp) -> Result<(), Failure> {
        let sequence = StreamSeq(entry.sequence);
        let size = entry.headers.len() + entry.payload.len();
        if sequence.0 > SEQUENCE_MAX {
            return Err(fault("message sequence is too large"));
        }
        if usize::try_from(self.plan.config.max_msg_size).is_ok_and(|max| size > max) {
            return Err(fault(format!(
                "message sequence {sequence} exceeds maximum message size"
            )));
        }
        if !crate::subject::is_literal(entry.name) {
            return Err(fault(format!("message sequence {sequence} has no subject")));
        }
        let ttl_s = ttl_of(entry.headers).map_err(|_| {
            fault(format!(
                "failed to parse message TTL of sequence {sequence}"
            ))
        })?;
        // What is stored now is not of the future.
        let timestamp = Timestamp(u64::try_from(entry.timestamp).unwrap_or(0)).min(now);
        let bytes_max = self.plan.bytes_max;
        let schedules = self.plan.config.allow_msg_schedules;
        let due = due_of(entry.headers, timestamp, now).filter(|_| schedules);
        let store = self.store()?;
        let lives = u64::from(ttl_s) * 1_000_000_000;
        let is_over = !matches!(ttl_s, 0 | TTL_NEVER) && timestamp.0.saturating_add(lives) < now.0;
        let before = match is_over {
            true => sequence,
            false => sequence.previous(),
        };
        if store.state().last < before {
            store.skip_to(before)?;
        }
        if is_over {
            return Ok(());
        }
        let message = NewMessage {
            subject: entry.name,
            headers: entry.headers,
            payload: entry.payload,
            timestamp,
            ttl_s,
        };
        let stored = match due {
            None => store.append(&message).map(drop),
            Some(_) => {
                let steps = [Step::Message(message), Step::Timer(sequence, due)];
                store.append_group(&steps).map(drop)
            }
        };
        stored.map_err(|e| Failure::Refused(format!("store message sequence {sequence}"), e))?;
        match store.state().bytes > bytes_max {
            true => Err(Failure::Api(self.no_room())),
            false => Ok(()),
        }
    }

    /// Writes and syncs what came.
    fn store_all(&mut self, now: Mono) -> Result<(), Failure> {
        let Some(opening) = &mut self.opening else {
            return Ok(());
        };
        let store = &mut opening.store;
        while store.work(1 << 16) {}
        store.commit()?;
        while let Some(job) = store.poll_job(now) {
            store.handle_done(job.run())?;
        }
        match store.log().failure() {
            Some(reason) => Err(LogError::ReadOnly(reason.clone()).into()),
            None => Ok(()),
        }
    }

    /// Whether the backup has come to its end.
    fn check_end(&mut self) -> Result<(), Failure> {
        let is_whole = match std::mem::replace(&mut self.form, Form::Unknown(Vec::new())) {
            Form::Unknown(_) => false,
            Form::Archive { stage, .. } => matches!(stage, Stage::End),
            Form::Files(files) => files.finish(self)?,
        };
        if !is_whole || self.unpacker.is_torn() {
            return Err(fault("backup was truncated"));
        }
        match self.opening {
            Some(_) => Ok(()),
            None => Err(fault("backup was truncated")),
        }
    }

    fn store_consumers(&mut self, consumers: Vec<SavedConsumer>) -> Result<(), Failure> {
        let (config, created) = (self.plan.config.clone(), self.plan.created);
        let store = self.store()?;
        for SavedConsumer { config: own, state } in consumers {
            let stored = store_consumer(store, &config, &own, created, &state);
            let refused = |e| Failure::Refused(format!("add consumer {:?}", own.name), e);
            stored.map_err(refused)?;
        }
        store.sync()?;
        Ok(())
    }

    /// Makes the stream one that lasts.
    fn publish(&mut self) -> Result<Opening, Failure> {
        let truncated = || fault("backup was truncated");
        let opening = self.opening.as_mut().ok_or_else(truncated)?;
        opening.meta.config = kept::encode(&self.plan.config, self.plan.created);
        if self.plan.config.storage == StorageType::File {
            let written = opening.meta.write(&*self.plan.place.disk, &opening.dir);
            written.map_err(|e| Failure::Refused("write the metadata".into(), e))?;
        }
        self.opening.take().ok_or_else(truncated)
    }
}

#[cfg(test)]
mod tests;
