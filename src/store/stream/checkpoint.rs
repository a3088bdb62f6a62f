//! The state of a stream, kept in two files in turns, so that opening a stream takes the log's
//! tail only.

use std::path::Path;

use super::StreamStore;
use super::content::{Content, Fault, Unwritten, decode};
use super::jobs::{CheckpointDone, CheckpointJob, EncodeDone, EncodeJob, Job};
use super::state::State;
use crate::store::crypt::StreamKey;
use crate::store::disk::Disk;
use crate::store::error::LogError;
use crate::store::file::copies::CHECKPOINT;
use crate::store::file::format::{Container, ContainerKind, FormatError};
use crate::store::file::{LogOptions, LogStart};
use crate::store::types::{LogIndex, StreamId, StreamSeq};

/// Bytes of the log behind a checkpoint that another one is written for, at least.
const TAIL_MIN: u64 = 64 << 20;

/// Bytes of the log's tail that are read again in no time when it is opened. A checkpoint takes three
/// syncs, which are much where many streams are closed.
const TAIL_FAST: u64 = 64 << 10;

/// Bytes of dead segments that a checkpoint is written for, at least.
const DEAD_MIN: u64 = 1;

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
    /// The [other changes](State::others) up to then, if it was written in this life and a replay from there
    /// need not read what it replaces.
    others: Option<u64>,
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
            others: None,
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
        self.others = None;
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
        self.others = done.others;
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
        let tail = self.log.bytes_behind(saved.applied);
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
            unwritten: Unwritten::State(Box::new(Content {
                state: state.clone(),
                container,
                start,
                key: saved.key.clone(),
            })),
        };
        saved.handle_done(job.run())?;
        saved.others = None;
        Ok(())
    }

    /// Has the log keep, further on, what there is of consumers in segments that are about to go or to
    /// be written anew. Says whether there is more of it.
    pub(super) fn keep_what_goes(&mut self) -> Result<bool, LogError> {
        let upto = self.log.start_at(self.state.first).index.previous();
        let anew = self.upkeep.leaves_out_upto(|n| self.log.open_span(n));
        self.keep_consumers(upto.max(anew))
    }

    /// The last record that the newest checkpoint knows, if a replay from there needs no message that was
    /// replaced since.
    ///
    /// Where a subject has one message, and all that happened since are new ones, the replay comes to the same
    /// whether it meets those that were replaced meanwhile or not: the last one takes the place of the one
    /// that the checkpoint has, and the size of that is in the checkpoint.
    pub(super) fn replay_basis(&self) -> Option<LogIndex> {
        let (saved, state) = (&self.checkpoints, &self.state);
        let is_plain = saved.others == Some(state.others) && !self.is_replica();
        (is_plain && state.has_one_a_subject() && saved.applied > LogIndex(0))
            .then_some(saved.applied)
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
            .plan(&self.state, self.state.applied, |n| log.open_span(n));
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
            unwritten: Unwritten::State(Box::new(Content {
                state: self.state.clone(),
                container,
                start,
                key: saved.key.clone(),
            })),
        };
        saved.prepared = Some(Prepared::Here(Box::new(job)));
        self.prepared_checkpoint()
    }
}
