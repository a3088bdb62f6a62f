//! Putting a copy of a group's state in the place of a stream: for a member that lacks records which
//! the others do not have any more.
//!
//! A copy is a row of records: the messages that there are, and what is known of consumers. The last one
//! has the index and the term that the copy stands for, and the others those before it, which are not
//! those that they had: nobody is to be sent any of them, see [`StreamStore::first_entry`].

use std::collections::VecDeque;

use super::StreamStore;
use super::consumers::ConsumerId;
use super::orders::Limits;
use super::replica::Unapplied;
use super::scrub::Scrub;
use super::state::State;
use super::upkeep::Upkeep;
use crate::store::error::LogError;
use crate::store::file::format::{Kind, Record};
use crate::store::file::{Draft, Log, LogStart, ReadBuffer};
use crate::store::types::{LogIndex, StreamSeq, Term, Timestamp};

/// Bytes of records that are kept in memory while a copy is taken.
const PIECE: usize = 256 << 10;

/// Bytes of a record besides what is in it, about.
const RECORD_AROUND: usize = 32;

/// What a copy is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The last record that it follows from, and its term.
    pub index: LogIndex,
    pub term: Term,
    /// How many records it has; one at least, and `index` at most.
    pub records: u64,
    /// The last sequence before its first message, and the last one that was used.
    pub before: StreamSeq,
    pub last: StreamSeq,
    pub last_time: Timestamp,
    pub limits: Limits,
}

/// A copy that is being taken, beside the stream.
#[derive(Debug)]
#[must_use = "its files stay until the stream is opened again"]
pub struct Reset {
    snapshot: Snapshot,
    log: Log,
    state: State,
    buffer: ReadBuffer,
}

/// A copy that is being given, of a stream as it was when that was begun.
#[derive(Debug)]
#[must_use = "what it needs stays in the files until it is ended"]
pub struct Copy {
    number: u64,
    snapshot: Snapshot,
    state: State,
    /// The next message is not before this one.
    at: StreamSeq,
    /// Those that were not shown.
    consumers: VecDeque<ConsumerId>,
    shown: u64,
}

impl Copy {
    /// What it is of.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn next_message(&self) -> Option<StreamSeq> {
        let next = self.state.deleted.next_absent(self.at)?;
        (next <= self.state.last).then_some(next)
    }
}

/// Copies that are being given.
#[derive(Debug, Default)]
pub(super) struct Copies {
    begun: u64,
    /// Their numbers, and their first messages.
    under_way: Vec<(u64, StreamSeq)>,
}

impl Copies {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    fn has(&self, number: u64) -> bool {
        self.under_way.iter().any(|(other, _)| *other == number)
    }

    /// The first message that one of them needs.
    pub(super) fn first(&self) -> Option<StreamSeq> {
        self.under_way.iter().map(|(_, first)| *first).min()
    }
}

impl State {
    /// Whether a message is not the last that has a sequence.
    fn ends_with_a_skip(&self) -> bool {
        self.deleted.contains(self.last)
    }
}

impl Reset {
    /// Adds the next record. Its term is that of the copy.
    ///
    /// # Errors
    /// As [`StreamStore::append`]; [`LogError::Disorder`] if it is one too many, too.
    pub fn add(&mut self, entry: &Draft<'_>) -> Result<(), LogError> {
        if self.log.last_index() >= self.snapshot.index {
            return Err(LogError::Disorder);
        }
        let draft = Draft {
            term: self.snapshot.term,
            ..*entry
        };
        let index = self.log.append(&draft)?;
        let record = draft.at(index);
        self.state.apply(&record, &mut self.log, &mut self.buffer);
        self.state.applied = index;
        match self.log.tail().bytes() >= PIECE {
            true => self.log.commit(),
            false => Ok(()),
        }
    }
}

impl StreamStore {
    /// What a copy of the stream would be of, as it is now.
    ///
    /// # Errors
    /// [`LogError::Busy`] while there is [work](StreamStore::work) to do, [`LogError::Absent`] if
    /// nothing was ever applied.
    pub fn snapshot(&mut self) -> Result<Snapshot, LogError> {
        if self.has_work() {
            return Err(LogError::Busy);
        }
        let state = &self.state;
        let index = state.applied;
        if index == LogIndex(0) {
            return Err(LogError::Absent);
        }
        let consumers = self.consumers().filter(|(id, _)| id.is_recorded()).count();
        let skips = u64::from(state.ends_with_a_skip());
        let records = state.messages + consumers as u64 + skips;
        let snapshot = Snapshot {
            index,
            term: Term(0),
            records: records.max(1),
            before: state.first.previous(),
            last: state.last,
            last_time: state.last_time,
            limits: state.limits,
        };
        let term = match self.term_of(index) {
            Err(LogError::Absent) if index == self.log.last_index() => self.log.last_term(),
            term => term?,
        };
        Ok(Snapshot { term, ..snapshot })
    }

    /// Begins to give a copy of the stream as it is now. The stream goes on meanwhile; what the copy needs
    /// stays in its files until [`StreamStore::end_copy`].
    ///
    /// # Errors
    /// As [`StreamStore::snapshot`].
    pub fn begin_copy(&mut self) -> Result<Copy, LogError> {
        let snapshot = self.snapshot()?;
        let state = self.state.clone();
        self.copies.begun += 1;
        self.copies.under_way.push((self.copies.begun, state.first));
        Ok(Copy {
            number: self.copies.begun,
            at: state.first,
            consumers: state.consumers.recorded_ids().into(),
            snapshot,
            state,
            shown: 0,
        })
    }

    /// Shows records of a copy, in order, until they have more than `bytes` together. Says whether
    /// there are more. It waits for the disk.
    ///
    /// # Errors
    /// [`LogError::Disorder`] if the copy was ended, or the stream has taken another one's place since;
    /// [`LogError::Damaged`] if a message cannot be read.
    pub fn copy_part(
        &mut self,
        copy: &mut Copy,
        bytes: usize,
        mut show: impl FnMut(&Draft<'_>),
    ) -> Result<bool, LogError> {
        if !self.copies.has(copy.number) {
            return Err(LogError::Disorder);
        }
        let mut left = bytes;
        let mut show = |copy: &mut Copy, draft: &Draft<'_>| {
            let len = draft.subject.len() + draft.headers.len() + draft.payload.len();
            left = left.saturating_sub(len + RECORD_AROUND);
            copy.shown += 1;
            show(draft);
            left > 0
        };
        while let Some(next) = copy.next_message() {
            let stored = self.log.read_message(next, &mut self.buffer);
            let stored = stored.map_err(|error| match error {
                LogError::Absent => LogError::Damaged,
                error => error,
            })?;
            let term = copy.snapshot.term;
            copy.at = next.next();
            if !show(copy, &message(&stored.record, term)) {
                return Ok(true);
            }
        }
        let snapshot = copy.snapshot;
        if copy.shown == copy.state.messages && copy.state.ends_with_a_skip() {
            show(copy, &order(&snapshot, Kind::Skip, b""));
        }
        while let Some(id) = copy.consumers.pop_front() {
            let mut payload = vec![];
            copy.state.consumers.encode_kept(id, &mut payload);
            let is_full = !show(copy, &order(&snapshot, Kind::Consumer, &payload));
            if is_full && !copy.consumers.is_empty() {
                return Ok(true);
            }
        }
        if copy.shown == 0 {
            show(copy, &order(&snapshot, Kind::Noop, b""));
        }
        match copy.shown == snapshot.records {
            true => Ok(false),
            false => Err(LogError::Damaged),
        }
    }

    /// Ends a copy, given as a whole or not.
    pub fn end_copy(&mut self, copy: Copy) {
        let number = copy.number;
        self.copies.under_way.retain(|(other, _)| *other != number);
        // Segments may be looked at again.
        self.look_again();
    }

    /// Begins to take a copy of a group's state, which is to take the place of the stream. The stream
    /// goes on meanwhile.
    ///
    /// # Errors
    /// [`LogError::Disorder`] if the copy makes no sense, or is older than what was applied here.
    pub fn begin_reset(&mut self, snapshot: &Snapshot) -> Result<Box<Reset>, LogError> {
        let is_sound = (1..=snapshot.index.0).contains(&snapshot.records)
            && snapshot.before <= snapshot.last
            && snapshot.index > self.state.applied;
        if !is_sound {
            return Err(LogError::Disorder);
        }
        let first = LogIndex(snapshot.index.0 - snapshot.records + 1);
        let place = (first, snapshot.before);
        let log = self
            .log
            .begin_beside(place, snapshot.term, snapshot.index)?;
        let mut state = State::new(snapshot.limits);
        state.start(first.previous(), snapshot.before);
        Ok(Box::new(Reset {
            snapshot: *snapshot,
            log,
            state,
            buffer: ReadBuffer::default(),
        }))
    }

    /// Gives up a copy. Another one may be begun then.
    pub fn cancel_reset(&mut self, reset: Box<Reset>) {
        self.log.forget_beside(reset.log);
    }

    /// Puts a copy in the place of the stream: its messages, its consumers, and the log, which goes on
    /// behind the copy. It is so for good when this returns. [Readers](super::Reader) are to be made anew.
    ///
    /// # Errors
    /// [`LogError::Disorder`] if records are missing; then the copy is given up. [`LogError::Busy`] comes
    /// with the copy, to be tried again when jobs are done. After others the stream is as before, or
    /// read-only: then it is one of the two when it is opened again.
    pub fn reset_to_snapshot(
        &mut self,
        mut reset: Box<Reset>,
    ) -> Result<(), (LogError, Option<Box<Reset>>)> {
        let snapshot = reset.snapshot;
        let is_whole =
            reset.log.last_index() == snapshot.index && reset.state.last == snapshot.last;
        if !is_whole || snapshot.index <= self.state.applied {
            self.cancel_reset(reset);
            return Err((LogError::Disorder, None));
        }
        self.forget_checkpoint();
        if self.checkpoints.is_in_flight() || self.upkeep.is_in_flight() {
            return Err((LogError::Busy, Some(reset)));
        }
        if let Err(error) = self.log.check().and_then(|()| reset.log.sync()) {
            self.cancel_reset(reset);
            return Err((error, None));
        }
        reset.state.last_time = reset.state.last_time.max(snapshot.last_time);
        let (start, bytes) = (reset.log.start(), reset.log.written_bytes());
        // Both copies, so that none is left that knows the old log.
        for _ in 0..2 {
            if let Err(error) = self.keep_checkpoint(&reset.state, (start, bytes)) {
                // Which of them the disk has is known when it is opened again.
                self.log.fail(&error);
                return Err((error, None));
            }
        }
        self.log.give_way(reset.log);
        reset.state.gone = std::mem::take(&mut self.state.gone);
        self.state = reset.state;
        self.take_up(start);
        Ok(())
    }

    fn take_up(&mut self, start: LogStart) {
        self.upkeep = Upkeep::default();
        self.scrub = Scrub::default();
        self.copies.under_way.clear();
        self.term = self.term.max(self.log.last_term());
        let (first, applied) = (self.state.first, self.state.applied);
        if self.is_replica() {
            self.unapplied = Some(Unapplied::default());
            self.log.hold(applied);
        }
        self.state.gone.miss();
        self.set_consumers_saved(applied);
        // What cannot be removed now is later.
        let _ = self.reclaim(first, applied.min(start.index.previous()));
    }

    /// The first record that is one of the group's: what is before it is not there, or was made of a
    /// copy, or has gaps.
    pub fn first_entry(&self) -> LogIndex {
        self.log.first_index().max(self.log.basis().next())
    }
}

fn message<'a>(record: &Record<'a>, term: Term) -> Draft<'a> {
    Draft {
        kind: Kind::Message,
        term,
        sequence: record.sequence,
        timestamp: record.timestamp,
        previous: record.previous,
        ttl_s: record.ttl_s,
        subject: record.subject,
        headers: record.headers,
        payload: record.payload,
    }
}

/// What is no message, behind all of them.
fn order<'a>(snapshot: &Snapshot, kind: Kind, payload: &'a [u8]) -> Draft<'a> {
    Draft {
        kind,
        term: snapshot.term,
        sequence: snapshot.last,
        timestamp: snapshot.last_time,
        previous: StreamSeq(0),
        ttl_s: 0,
        subject: b"",
        headers: b"",
        payload,
    }
}
