//! A stream whose log is that of a group of replicas. What is appended, proposed here or come from
//! the group's leader, is applied when the group has agreed upon it, and may be taken back before.
//!
//! All orders of a stream are made as on a single server, and are proposals then: they show when
//! they are applied. Only the leader makes any. The others append what they are sent.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{Opened, StoreOptions, StreamStore};
use crate::store::disk::Disk;
use crate::store::error::LogError;
use crate::store::file::format::{Kind, Record};
use crate::store::file::{Draft, Progress, ReadBuffer};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Term, Timestamp};

/// What there is to know of records that were not applied yet, to append behind them.
#[derive(Debug, Default)]
pub(super) struct Unapplied {
    /// The last message on each subject.
    subjects: HashMap<Box<[u8]>, StreamSeq>,
    last_time: Timestamp,
}

impl Unapplied {
    pub(super) fn add(
        &mut self,
        kind: Kind,
        subject: &[u8],
        sequence: StreamSeq,
        timestamp: Timestamp,
    ) {
        self.last_time = self.last_time.max(timestamp);
        if kind == Kind::Message {
            self.subjects.insert(subject.into(), sequence);
        }
    }

    fn applied(&mut self, record: &Record<'_>) {
        if self.subjects.get(record.subject) == Some(&record.sequence) {
            self.subjects.remove(record.subject);
        }
    }
}

impl StreamStore {
    /// Opens a stream of a group, or begins one, and applies what it knows to be agreed upon. See
    /// [`StreamStore::open`]. Records that are lost behind `commit` are told and stay as they are:
    /// the group has them.
    pub fn open_replica(
        (disk, dir): (Arc<dyn Disk>, &Path),
        stream: StreamId,
        options: &StoreOptions,
        trust_upto: Option<LogIndex>,
        commit: LogIndex,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(StreamStore, Opened), LogError> {
        let commit = Some(commit);
        Self::open_upto((disk, dir), stream, options, trust_upto, commit, progress)
    }

    /// What is appended from now on waits for [`StreamStore::apply_upto`].
    pub(super) fn defer_applying(&mut self) -> Result<(), LogError> {
        self.log.hold(self.state.applied);
        let mut unapplied = Unapplied::default();
        let range = (self.state.applied.next(), self.log.last_index());
        let mut buffer = ReadBuffer::default();
        let shown = self.log.entries(range, usize::MAX, &mut buffer, |r| {
            unapplied.add(r.kind, r.subject, r.sequence, r.timestamp);
        });
        self.unapplied = Some(unapplied);
        match shown {
            // It is told when it is to be applied.
            Ok(_) | Err(LogError::Damaged | LogError::Absent) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether records are applied by [`StreamStore::apply_upto`] only.
    pub fn is_replica(&self) -> bool {
        self.unapplied.is_some()
    }

    /// The term of what is appended from now on; that of the last record when the stream was opened.
    /// None lower than that is taken.
    pub fn set_term(&mut self, term: Term) {
        self.term = term;
    }

    /// The last record that was applied.
    pub fn applied(&self) -> LogIndex {
        self.state.applied
    }

    /// The sequence that was used last, and the time of the last record.
    pub(super) fn end(&self) -> (StreamSeq, Timestamp) {
        match &self.unapplied {
            None => (self.state.last, self.state.last_time),
            Some(unapplied) => (
                self.log.last_sequence().max(self.state.last),
                self.state.last_time.max(unapplied.last_time),
            ),
        }
    }

    /// The last message on a subject, applied or not; 0 if there is none that is known.
    pub(super) fn previous_on(&self, subject: &[u8]) -> StreamSeq {
        let unapplied = self.unapplied.as_ref();
        let last = unapplied.and_then(|u| u.subjects.get(subject).copied());
        last.unwrap_or_else(|| self.state.previous_on(subject))
    }

    /// Appends a record as the leader sent it. Its sequence, and what it says to be before it, are
    /// the leader's.
    ///
    /// # Errors
    /// As [`StreamStore::append`]. [`LogError::Disorder`] also on a stream that is of no group.
    pub fn append_entry(&mut self, entry: &Draft<'_>) -> Result<LogIndex, LogError> {
        match self.is_replica() {
            true => self.append_record(entry),
            false => Err(LogError::Disorder),
        }
    }

    /// Applies records up to `index`, which the group has agreed upon, `budget` at most, and gives
    /// the last one that is applied now. It is the one of before if work takes the budget that is to be
    /// done first.
    ///
    /// # Errors
    /// [`LogError::Damaged`] if one is not there: this replica cannot go on without a copy of the
    /// group's state. Those before it are applied.
    pub fn apply_upto(&mut self, index: LogIndex, budget: usize) -> Result<LogIndex, LogError> {
        let mut buffer = ReadBuffer::default();
        let upto = index.min(self.log.last_index());
        for _ in 0..budget {
            let next = self.state.applied.next();
            if next > upto {
                break;
            }
            let stored = self.log.read(next, &mut buffer);
            let stored = stored.map_err(|error| match error {
                LogError::Absent => LogError::Damaged,
                error => error,
            })?;
            let record = stored.record;
            // Work that is to be done before is done in parts, too.
            let waits = self.is_replica() && self.state.settles(&record);
            if waits && self.state.work(budget, &mut self.log, &mut self.buffer) {
                break;
            }
            self.state.apply(&record, &mut self.log, &mut self.buffer);
            self.state.applied = next;
            if let Some(unapplied) = &mut self.unapplied {
                unapplied.applied(&record);
            }
        }
        if self.is_replica() {
            self.log.hold(self.state.applied);
        }
        Ok(self.state.applied)
    }

    /// Takes back all records behind `index`; see [`Log::truncate_after`](crate::store::file::Log).
    ///
    /// # Errors
    /// [`LogError::Applied`] if one of them was applied.
    pub fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        if index < self.state.applied {
            return Err(LogError::Applied);
        }
        self.log.truncate_after(index)?;
        match self.is_replica() {
            true => self.defer_applying(),
            false => Ok(()),
        }
    }

    /// Shows records by their index, for those of the group that lack them; see
    /// [`Log::entries`](crate::store::file::Log).
    pub fn entries(
        &mut self,
        range: (LogIndex, LogIndex),
        bytes: usize,
        buffer: &mut ReadBuffer,
        show: impl FnMut(&Record<'_>),
    ) -> Result<LogIndex, LogError> {
        self.log.entries(range, bytes, buffer, show)
    }

    /// The term of a record.
    pub fn term_of(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.log.term_of(index, &mut self.buffer)
    }
}
