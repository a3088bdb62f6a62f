//! The state of a stream, kept in two files in turns, so that opening a stream takes the log's
//! tail only.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StreamStore;
use super::consumers::Consumers;
use super::jobs::{CheckpointDone, CheckpointJob, EncodeDone, EncodeJob, Job};
use super::orders::Limits;
use super::purge::Purging;
use super::state::State;
use super::timers::Timers;
use crate::store::crypt::{KeyFault, StreamKey};
use crate::store::disk::Disk;
use crate::store::error::LogError;
use crate::store::file::copies::CHECKPOINT;
use crate::store::file::format::{Container, ContainerKind, FormatError, Opened};
use crate::store::file::{LogOptions, LogStart};
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::index::{Block, Builder, Cursor, ExpiryWheel, SequenceSet, encode_block};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Timestamp};

/// Bytes of the log behind a checkpoint that another one is written for, at least.
const TAIL_MIN: u64 = 64 << 20;

/// Bytes of the log's tail that are read again in no time when it is opened. A checkpoint takes three
/// syncs, which are much where many streams are closed.
const TAIL_FAST: u64 = 64 << 10;

/// Bytes of dead segments that a checkpoint is written for, at least.
const DEAD_MIN: u64 = 1;

/// Bytes of a block of subjects.
const BLOCK_BYTES: usize = 4 << 10;

const CORE: u32 = 1;
const LIMITS: u32 = 2;
const DELETED: u32 = 3;
const LOST: u32 = 4;
const SUBJECTS: u32 = 5;
const EXPIRY: u32 = 6;
const PURGES: u32 = 7;
const ERASING: u32 = 8;
const UNREAD: u32 = 9;
const CONSUMERS: u32 = 10;
const TIMERS: u32 = 11;

/// What is known of the two copies.
#[derive(Debug)]
pub(super) struct Checkpoints {
    stream: StreamId,
    key: Option<StreamKey>,
    /// Of the newest copy.
    generation: u64,
    /// What the newest copy was made at, 0 if another one is wanted anyway, and its bytes.
    applied: LogIndex,
    len: u64,
    /// Messages that were lost then. No record tells of those.
    lost: u64,
    /// Bytes of the log at that time.
    log_bytes: u64,
    start: LogStart,
    /// One that waits for its records to be on the disk for good.
    prepared: Option<Prepared>,
    /// How many were put in bytes while they waited.
    encoded: u64,
    /// A copy is being written, or waits: its generation, where the log begins in it, and how many
    /// bytes it had.
    in_flight: Option<(u64, LogStart, u64)>,
}

/// A checkpoint that waits.
#[derive(Debug)]
enum Prepared {
    Here(Box<CheckpointJob>),
    /// It is being put in bytes, the one with this number.
    Encoding(u64),
}

impl Checkpoints {
    /// Whether one waits for its records to be on the disk.
    pub(super) fn is_prepared(&self) -> bool {
        self.prepared.is_some()
    }

    /// Reads the copies, unless the directory is new, and gives the newer of those that are whole.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        stream: StreamId,
        options: &LogOptions,
    ) -> Result<(Checkpoints, Option<State>), LogError> {
        let key = options.key.clone();
        let copies = match options.is_new {
            true => vec![],
            false => CHECKPOINT.read(disk, dir)?,
        };
        let mut newest: Option<(u64, State, u64, LogStart)> = None;
        let (mut highest, mut damaged) = (0, false);
        for (path, bytes) in copies {
            let (container, state, start) = match decode(&bytes, stream, key.as_ref()) {
                Ok(decoded) => decoded,
                Err(Fault::Format(error @ FormatError::Version { .. })) => {
                    return Err(LogError::Format { file: path, error });
                }
                Err(Fault::Key(fault)) => return Err(LogError::Key(path, fault)),
                // It can be made again.
                Err(Fault::Format(_)) => {
                    damaged = true;
                    continue;
                }
            };
            highest = highest.max(container.generation);
            if newest
                .as_ref()
                .is_none_or(|(g, ..)| *g < container.generation)
            {
                let len = bytes.len() as u64;
                newest = Some((container.generation, state, len, start));
            }
        }
        let mut checkpoints = Checkpoints {
            stream,
            key,
            generation: highest,
            applied: LogIndex(0),
            len: 0,
            lost: 0,
            log_bytes: 0,
            // Without a checkpoint nothing of a log ever goes.
            start: LogStart {
                segment: 0,
                index: LogIndex(1),
                sequence: StreamSeq(0),
            },
            prepared: None,
            encoded: 0,
            in_flight: None,
        };
        let state = newest.map(|(_, state, len, start)| {
            checkpoints.applied = state.applied;
            checkpoints.len = len;
            checkpoints.lost = state.lost.len();
            checkpoints.start = start;
            state
        });
        if damaged {
            // It may have been the newest one, after which more of the log went.
            checkpoints.start.index = LogIndex(0);
        }
        Ok((checkpoints, state))
    }

    /// Where the log began when the newest copy was written, as far as that is known.
    pub(super) fn start(&self) -> LogStart {
        self.start
    }

    /// Whether one is being written.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Bytes of the newest copy.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Has the next checkpoint written even if nothing happened since the newest copy: that may be
    /// in the memory of the system only, and nothing is removed on its word.
    pub(super) fn distrust(&mut self) {
        self.applied = LogIndex(0);
    }

    /// Takes the outcome of writing one; gives the first message and the last record that it knows, and
    /// the last record before where the log begins in it.
    pub(super) fn handle_done(
        &mut self,
        done: CheckpointDone,
    ) -> Result<(StreamSeq, LogIndex, LogIndex), LogError> {
        let in_flight = self.in_flight.take();
        done.result.map_err(LogError::Io)?;
        if let Some((generation, start, log_bytes)) = in_flight {
            self.generation = generation;
            self.start = start;
            self.log_bytes = log_bytes;
        }
        self.applied = done.applied;
        self.len = done.len;
        self.lost = done.lost;
        Ok((done.first, done.applied, self.start.index.previous()))
    }
}

impl StreamStore {
    /// A checkpoint, if the log's tail is so long, or so much of the log is dead, that it is worth
    /// one. It is one of the state as it was when that was found, and is to be had when the records
    /// up to there are on the disk for good, however many more come meanwhile.
    pub(super) fn checkpoint_if_due(&mut self) -> Option<Job> {
        if let Some(job) = self.prepared_checkpoint() {
            return Some(job);
        }
        if !self.is_checkpoint_due() {
            return None;
        }
        match self.keep_what_goes() {
            Ok(true) => None,
            // Without room for it, the two checkpoints have to do.
            Ok(false) | Err(_) => self.checkpoint_job(),
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        let saved = &self.checkpoints;
        if saved.in_flight.is_some() || self.log.failure().is_some() {
            return false;
        }
        if saved.applied == LogIndex(0) && self.is_erased_with_segments() {
            return true;
        }
        let tail = self.log.written_bytes().saturating_sub(saved.log_bytes);
        // What is dead waits for a round, where something is to be synced first.
        let dead = match self.has_rounds() {
            true => 0,
            false => self.reclaimable() + self.upkeep.dead_bytes(),
        };
        (self.state.applied > saved.applied || self.upkeep.dead_bytes() > 0)
            && (tail >= TAIL_MIN.max(2 * saved.len) || dead >= DEAD_MIN.max(2 * saved.len))
    }

    /// Whether everything is on the disk for good, and opening the log takes no longer than with a
    /// checkpoint of the state as it is, so that the store need not be [closed](StreamStore::close).
    pub fn opens_fast(&self) -> bool {
        let tail = self.log.written_bytes();
        let tail = tail.saturating_sub(self.checkpoints.log_bytes);
        let is_durable = self.log.durable() == self.log.last_index();
        is_durable && self.checkpoints.prepared.is_none() && tail < TAIL_FAST
    }

    /// The checkpoint that waits, to be written if it need not wait any more, or else to be put in bytes:
    /// that takes its time, and what it shares with the stream is copied as long as it is shared.
    fn prepared_checkpoint(&mut self) -> Option<Job> {
        let saved = &mut self.checkpoints;
        let job = match saved.prepared.take()? {
            Prepared::Here(job) => job,
            Prepared::Encoding(number) => {
                saved.prepared = Some(Prepared::Encoding(number));
                return None;
            }
        };
        if job.applied() <= self.log.durable() {
            return Some(Job::Checkpoint(job));
        }
        if job.is_encoded() {
            saved.prepared = Some(Prepared::Here(job));
            return None;
        }
        saved.encoded += 1;
        let number = saved.encoded;
        saved.prepared = Some(Prepared::Encoding(number));
        Some(Job::Encode(EncodeJob { number, job }))
    }

    /// Takes a checkpoint that was put in bytes, unless it was let go of meanwhile.
    pub(super) fn handle_encoded(&mut self, done: EncodeDone) {
        let prepared = &mut self.checkpoints.prepared;
        if matches!(prepared, Some(Prepared::Encoding(number)) if *number == done.number) {
            *prepared = Some(Prepared::Here(done.job));
        }
    }

    /// Lets a checkpoint go that waits, in favour of a newer one.
    pub(super) fn forget_checkpoint(&mut self) {
        if self.checkpoints.prepared.take().is_some() {
            self.checkpoints.in_flight = None;
            self.upkeep.handle_checkpoint(false);
        }
    }

    /// Writes a checkpoint of another state than the stream's, here and now, for a log that begins
    /// there and has so many bytes.
    pub(super) fn keep_checkpoint(
        &mut self,
        state: &State,
        (start, bytes): (LogStart, u64),
    ) -> Result<(), LogError> {
        let saved = &mut self.checkpoints;
        let generation = saved.generation + 1;
        let container = Container {
            kind: ContainerKind::Checkpoint,
            stream: saved.stream,
            generation,
        };
        saved.in_flight = Some((generation, start, bytes));
        let job = CheckpointJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            reserve: self.log.reserve_kept(),
            is_only: false,
            draft: Draft::State(Content {
                state: state.clone(),
                container,
                start,
                key: saved.key.clone(),
            }),
        };
        saved.handle_done(job.run()).map(|_| ())
    }

    /// Has the log keep, further on, what there is of consumers in segments that are about to go or to
    /// be written anew. Says whether there is more of it.
    pub(super) fn keep_what_goes(&mut self) -> Result<bool, LogError> {
        let upto = self.log.start_at(self.state.first).index.previous();
        let anew = self.upkeep.leaves_out_upto(|n| self.log.open_span(n));
        self.keep_consumers(upto.max(anew))
    }

    /// A checkpoint of the state as it is; `None` if there is one, and if it has to wait.
    pub(super) fn checkpoint_job(&mut self) -> Option<Job> {
        let saved = &mut self.checkpoints;
        if saved.in_flight.is_some() {
            return None;
        }
        let is_wanted = self.upkeep.dead_bytes() > 0;
        let is_told = saved.applied == self.state.applied && saved.lost == self.state.lost.len();
        if saved.generation > 0 && is_told && !is_wanted {
            return None;
        }
        let log = &self.log;
        let is_anew = self
            .upkeep
            .plan(&self.state, |number| log.open_span(number));
        // Once a segment was written anew, no state of before is of use, but for what it knows of consumers.
        let is_only = is_anew && self.state.consumers.len() == 0;
        let generation = saved.generation + 1;
        let start = self.log.start_at(self.state.first);
        // Where none of a subject's messages could be read, the index has let go of it: then this checkpoint
        // is not used, and the log tells which they were.
        let is_short = self.state.subjects.messages() < self.state.messages;
        debug_assert!(is_short || self.state.is_sound() && self.state.begins_behind(&start));
        let container = Container {
            kind: ContainerKind::Checkpoint,
            stream: saved.stream,
            generation,
        };
        self.state.consumers.gather_states();
        saved.in_flight = Some((generation, start, self.log.written_bytes()));
        let job = CheckpointJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            reserve: self.log.reserve_kept(),
            is_only,
            draft: Draft::State(Content {
                state: self.state.clone(),
                container,
                start,
                key: saved.key.clone(),
            }),
        };
        saved.prepared = Some(Prepared::Here(Box::new(job)));
        self.prepared_checkpoint()
    }
}

/// What a checkpoint says; it is put in bytes where that may take its time.
#[derive(Debug)]
pub(super) struct Content {
    state: State,
    container: Container,
    start: LogStart,
    key: Option<StreamKey>,
}

/// A checkpoint before it is on the disk.
#[derive(Debug)]
pub(super) enum Draft {
    State(Content),
    Bytes(Encoded),
}

/// A checkpoint in bytes, and what it is of.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) generation: u64,
    pub(super) applied: LogIndex,
    pub(super) first: StreamSeq,
    pub(super) lost: u64,
    pub(super) bytes: io::Result<Vec<u8>>,
}

impl Draft {
    /// The last record that it is of.
    pub(super) fn applied(&self) -> LogIndex {
        match self {
            Draft::State(content) => content.state.applied,
            Draft::Bytes(encoded) => encoded.applied,
        }
    }

    /// Puts it in bytes, and lets go of what it shares with the stream.
    pub(super) fn encode(self) -> Encoded {
        let content = match self {
            Draft::State(content) => content,
            Draft::Bytes(encoded) => return encoded,
        };
        let mut bytes = vec![];
        let encoded = encode(&content, &mut bytes);
        Encoded {
            generation: content.container.generation,
            applied: content.state.applied,
            first: content.state.first,
            lost: content.state.lost.len(),
            bytes: encoded.map(|()| bytes),
        }
    }
}

fn encode(content: &Content, out: &mut Vec<u8>) -> io::Result<()> {
    let (state, key) = (&content.state, content.key.as_ref());
    let mut sections = content.container.start(out);
    sections.add_with(key, CORE, |out| {
        let numbers = [
            state.applied.0,
            state.first.0,
            state.last.0,
            state.last_time.0,
            state.messages,
            state.bytes,
            content.start.segment,
            u64::from(state.deferring),
            content.start.index.0,
            content.start.sequence.0,
        ];
        numbers.into_iter().for_each(|n| varint::put(out, n));
    })?;
    sections.add_with(key, LIMITS, |out| state.limits.encode(out))?;
    sections.add_with(key, DELETED, |out| state.deleted.encode(out))?;
    sections.add_with(key, LOST, |out| state.lost.encode(out))?;
    let mut cursor = Cursor::start();
    let mut block = vec![];
    while !cursor.is_done() {
        sections.add_with(key, SUBJECTS, |out| {
            // Blocks share a section up to a size at which a checksum is worth its while.
            let start = out.len();
            while !cursor.is_done() && out.len() - start < 64 * BLOCK_BYTES {
                block.clear();
                let as_of = state.applied;
                encode_block(&state.subjects, &mut cursor, as_of, BLOCK_BYTES, &mut block);
                varint::put_bytes(out, &block);
            }
        })?;
    }
    sections.add_with(key, ERASING, |out| state.erasing.encode(out))?;
    sections.add_with(key, UNREAD, |out| state.unread.encode(out))?;
    sections.add_with(key, EXPIRY, |out| state.expiry.encode(out))?;
    sections.add_with(key, PURGES, |out| {
        state.purges.iter().for_each(|p| p.encode(out));
    })?;
    sections.add_with(key, CONSUMERS, |out| state.consumers.encode(out))?;
    if !state.timers.is_empty() {
        sections.add_with(key, TIMERS, |out| state.timers.encode(out))?;
    }
    sections.finish();
    Ok(())
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    Format(FormatError),
    Key(KeyFault),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Fault {
        Fault::Format(error)
    }
}

/// Reads a checkpoint of this stream, with where its log began then.
pub(super) fn decode(
    bytes: &[u8],
    stream: StreamId,
    key: Option<&StreamKey>,
) -> Result<(Container, State, LogStart), Fault> {
    let (container, sections) = Container::decode(bytes, ContainerKind::Checkpoint)?;
    if container.stream != stream {
        return Err(FormatError::Foreign.into());
    }
    let sections = container.open(&sections, key).map_err(Fault::Key)?;
    let state = state(&sections).map_err(|_| FormatError::Invalid)?;
    let (state, start) = state;
    Ok((container, state, start))
}

fn state(sections: &[Opened<'_>]) -> Result<(State, LogStart), Malformed> {
    let core = sections.iter().find(|section| section.tag == CORE);
    let (mut state, start) = core_state(&core.ok_or(Malformed("state"))?.bytes)?;
    let (mut subjects, mut highest) = (Builder::new(), StreamSeq(0));
    for section in sections {
        let mut reader = Reader::new(&section.bytes);
        match section.tag {
            LIMITS => state.limits = Limits::decode(&section.bytes)?,
            DELETED => state.deleted = SequenceSet::decode(&mut reader)?,
            LOST => state.lost = SequenceSet::decode(&mut reader)?,
            SUBJECTS => {
                while !reader.is_empty() {
                    let mut block = Block::read(reader.bytes(usize::MAX, "block of subjects")?)?;
                    subjects.push_block(&mut block)?;
                }
                highest = subjects.highest();
            }
            UNREAD => state.unread = SequenceSet::decode(&mut reader)?,
            ERASING => state.erasing = SequenceSet::decode(&mut reader)?,
            EXPIRY => state.expiry = ExpiryWheel::decode(&mut reader, state.last)?,
            PURGES => {
                while !reader.is_empty() {
                    state.purges.push_back(Purging::decode(&mut reader)?);
                }
            }
            TIMERS => state.timers = Arc::new(Timers::decode(&mut reader)?),
            CONSUMERS => state.consumers = Consumers::decode(&mut reader, state.applied)?,
            // The first one was read, and others are of a later version that this one can read.
            _ => {}
        }
    }
    state.subjects = subjects.finish();
    if state.deferring {
        state.defer();
    }
    match state.is_sound() && state.begins_behind(&start) && highest <= state.last {
        true => Ok((state, start)),
        false => Err(Malformed("state")),
    }
}

fn core_state(bytes: &[u8]) -> Result<(State, LogStart), Malformed> {
    let mut reader = Reader::new(bytes);
    let mut number = || reader.number("state");
    let mut state = State::new(Limits::default());
    let mut start = LogStart::default();
    state.applied = LogIndex(number()?);
    state.first = StreamSeq(number()?);
    state.last = StreamSeq(number()?);
    state.last_time = Timestamp(number()?);
    state.messages = number()?;
    state.bytes = number()?;
    start.segment = number()?;
    state.deferring = number()? != 0;
    start.index = LogIndex(number()?);
    start.sequence = StreamSeq(number()?);
    Ok((state, start))
}
