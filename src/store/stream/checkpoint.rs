//! The state of a stream, kept in two files in turns, so that opening a stream takes the log's
//! tail only.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::StreamStore;
use super::consumers::Consumers;
use super::jobs::{CheckpointDone, CheckpointJob, Job};
use super::orders::Limits;
use super::purge::Purging;
use super::state::State;
use super::timers::Timers;
use crate::store::crypt::{KeyFault, StreamKey};
use crate::store::disk::Disk;
use crate::store::error::LogError;
use crate::store::file::copies::CHECKPOINT;
use crate::store::file::format::{Container, ContainerKind, FormatError, Opened};
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::index::{Block, Builder, Cursor, ExpiryWheel, SequenceSet, encode_block};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Timestamp};

/// Bytes of the log behind a checkpoint that another one is written for, at least.
const TAIL_MIN: u64 = 64 << 20;

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
    /// Bytes of the log at that time.
    log_bytes: u64,
    first_segment: u64,
    /// A copy is being written: its generation, and the first segment then.
    in_flight: Option<(u64, u64, u64)>,
}

impl Checkpoints {
    /// Reads the copies, and gives the newer of those that are whole.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        stream: StreamId,
        key: Option<StreamKey>,
    ) -> Result<(Checkpoints, Option<State>), LogError> {
        let mut newest: Option<(u64, State, u64, u64)> = None;
        let mut highest = 0;
        for (path, bytes) in CHECKPOINT.read(disk, dir)? {
            let (container, state, first_segment) = match decode(&bytes, stream, key.as_ref()) {
                Ok(decoded) => decoded,
                Err(Fault::Format(error @ FormatError::Version(_))) => {
                    return Err(LogError::Format { file: path, error });
                }
                Err(Fault::Key(fault)) => return Err(LogError::Key(path, fault)),
                // It can be made again.
                Err(Fault::Format(_)) => continue,
            };
            highest = highest.max(container.generation);
            if newest
                .as_ref()
                .is_none_or(|(g, ..)| *g < container.generation)
            {
                let len = bytes.len() as u64;
                newest = Some((container.generation, state, len, first_segment));
            }
        }
        let mut checkpoints = Checkpoints {
            stream,
            key,
            generation: highest,
            applied: LogIndex(0),
            len: 0,
            log_bytes: 0,
            first_segment: 0,
            in_flight: None,
        };
        let state = newest.map(|(_, state, len, first_segment)| {
            checkpoints.applied = state.applied;
            checkpoints.len = len;
            checkpoints.first_segment = first_segment;
            state
        });
        Ok((checkpoints, state))
    }

    /// The number of the log's first segment when the newest copy was written; 0 if there is none.
    pub(super) fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// Has the next checkpoint written even if nothing happened since the newest copy: that may be
    /// in the memory of the system only, and nothing is removed on its word.
    pub(super) fn distrust(&mut self) {
        self.applied = LogIndex(0);
    }

    /// Takes the outcome of writing one; gives the first message and the last record that it knows.
    pub(super) fn handle_done(
        &mut self,
        done: CheckpointDone,
    ) -> Result<(StreamSeq, LogIndex), LogError> {
        let in_flight = self.in_flight.take();
        done.result.map_err(LogError::Io)?;
        if let Some((generation, first_segment, log_bytes)) = in_flight {
            self.generation = generation;
            self.first_segment = first_segment;
            self.log_bytes = log_bytes;
        }
        self.applied = done.applied;
        self.len = done.len;
        Ok((done.first, done.applied))
    }
}

impl StreamStore {
    /// Whether the log's tail is so long, or so much of the log is dead, that it is worth a
    /// checkpoint, and one can be made.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        let saved = &self.checkpoints;
        if saved.in_flight.is_some() || self.log.durable() < self.state.applied {
            return false;
        }
        let tail = self.log.written_bytes().saturating_sub(saved.log_bytes);
        let dead = self.reclaimable() + self.upkeep.dead_bytes();
        (self.state.applied > saved.applied || self.upkeep.dead_bytes() > 0)
            && (tail >= TAIL_MIN.max(2 * saved.len) || dead >= DEAD_MIN.max(2 * saved.len))
    }

    /// A checkpoint of the state as it is, which must be durable; `None` if there is one.
    pub(super) fn checkpoint_job(&mut self) -> Option<Job> {
        let saved = &mut self.checkpoints;
        if saved.in_flight.is_some() || self.log.durable() < self.state.applied {
            return None;
        }
        let is_wanted = self.upkeep.dead_bytes() > 0;
        if saved.generation > 0 && saved.applied == self.state.applied && !is_wanted {
            return None;
        }
        let log = &self.log;
        self.upkeep.plan(&self.state, |number| log.span(number));
        let generation = saved.generation + 1;
        let first_segment = self.log.first_segment(self.state.first);
        let container = Container {
            kind: ContainerKind::Checkpoint,
            stream: saved.stream,
            generation,
        };
        self.state.consumers.gather_states();
        saved.in_flight = Some((generation, first_segment, self.log.written_bytes()));
        Some(Job::Checkpoint(Box::new(CheckpointJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            content: Content {
                state: self.state.clone(),
                container,
                first_segment,
                key: saved.key.clone(),
            },
        })))
    }
}

/// What a checkpoint says; it is put in bytes where that may take its time.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) state: State,
    pub(super) container: Container,
    first_segment: u64,
    key: Option<StreamKey>,
}

impl Content {
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        encode(self, out)
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
            content.first_segment,
            u64::from(state.deferring),
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

/// Reads a checkpoint of this stream, with the number of the log's first segment then.
pub(super) fn decode(
    bytes: &[u8],
    stream: StreamId,
    key: Option<&StreamKey>,
) -> Result<(Container, State, u64), Fault> {
    let (container, sections) = Container::decode(bytes, ContainerKind::Checkpoint)?;
    if container.stream != stream {
        return Err(FormatError::Foreign.into());
    }
    let sections = container.open(&sections, key).map_err(Fault::Key)?;
    let state = state(&sections).map_err(|_| FormatError::Invalid)?;
    let (state, first_segment) = state;
    Ok((container, state, first_segment))
}

fn state(sections: &[Opened<'_>]) -> Result<(State, u64), Malformed> {
    let mut state = State::new(Limits::default());
    let mut subjects = Builder::new();
    let mut first_segment = 0;
    let mut consumers = None;
    let mut core = false;
    for section in sections {
        let mut reader = Reader::new(&section.bytes);
        match section.tag {
            CORE => {
                let mut number = || reader.number("state");
                state.applied = LogIndex(number()?);
                state.first = StreamSeq(number()?);
                state.last = StreamSeq(number()?);
                state.last_time = Timestamp(number()?);
                state.messages = number()?;
                state.bytes = number()?;
                first_segment = number()?;
                state.deferring = number()? != 0;
                core = true;
            }
            LIMITS => state.limits = Limits::decode(&section.bytes)?,
            DELETED => state.deleted = SequenceSet::decode(&mut reader)?,
            LOST => state.lost = SequenceSet::decode(&mut reader)?,
            SUBJECTS => {
                while !reader.is_empty() {
                    let mut block = Block::read(reader.bytes(usize::MAX, "block of subjects")?)?;
                    subjects.push_block(&mut block)?;
                }
            }
            UNREAD => state.unread = SequenceSet::decode(&mut reader)?,
            ERASING => state.erasing = SequenceSet::decode(&mut reader)?,
            EXPIRY => state.expiry = ExpiryWheel::decode(&mut reader)?,
            PURGES => {
                while !reader.is_empty() {
                    state.purges.push_back(Purging::decode(&mut reader)?);
                }
            }
            TIMERS => state.timers = Arc::new(Timers::decode(&mut reader)?),
            CONSUMERS => consumers = Some(&section.bytes),
            // Of a later version that this one can read.
            _ => {}
        }
    }
    state.subjects = subjects.finish();
    if let Some(bytes) = consumers {
        state.consumers = Consumers::decode(&mut Reader::new(bytes), state.applied)?;
    }
    if state.deferring {
        state.defer();
    }
    let sound = core
        && state.first.0 > 0
        && state.first <= state.last.next()
        && state.messages <= state.subjects.messages();
    match sound {
        true => Ok((state, first_segment)),
        false => Err(Malformed("state")),
    }
}
