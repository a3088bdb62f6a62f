//! Finding and reading messages.

use std::ops::ControlFlow;

use super::StreamStore;
use crate::store::error::LogError;
use crate::store::file::{Log, ReadBuffer, Stored, WarmJob};
use crate::store::index::{Cursor, Filters};
use crate::store::types::{StreamSeq, Timestamp};

/// A message that was read.
pub type Message<'b> = Stored<'b>;

/// Subjects that are looked for together.
const LOOK_AHEAD: usize = 16;

/// Subjects whose index and last messages the processor's caches have anyway.
const FEW: usize = if cfg!(test) { 1 } else { 2048 };

impl StreamStore {
    /// Asks for the last messages of these subjects, and for what there is of them in the index, as soon
    /// they will be read, or `replaced`. It is worth its while for several at once, and nothing depends on it.
    pub fn look_ahead(&mut self, subjects: &[&[u8]], replaced: bool) {
        if self.state.subjects.len() < FEW {
            return;
        }
        let mut last = [StreamSeq(0); LOOK_AHEAD];
        for subjects in subjects.chunks(LOOK_AHEAD) {
            let mut n = 0;
            let deleted = &self.state.deleted;
            self.state.subjects.look_ahead(subjects, |entry| {
                // Nobody looks at one that goes and whose size is known.
                let known = replaced && entry.bytes().is_some();
                let exact = entry.last().exact().filter(|_| !known);
                if let Some(sequence) = exact.filter(|last| !deleted.contains(*last)) {
                    last[n] = sequence;
                    n += 1;
                }
            });
            self.log.look_ahead(&last[..n]);
        }
    }

    /// The message with this sequence.
    ///
    /// # Errors
    /// [`LogError::Absent`] if there is none (any more), [`LogError::Damaged`] if it is lost or its
    /// segment cannot be read, [`LogError::Cold`] if it is to be brought into memory first.
    pub fn read<'b>(
        &mut self,
        sequence: StreamSeq,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Message<'b>, LogError> {
        if self.state.lost.contains(sequence) {
            return Err(LogError::Damaged);
        }
        if !self.state.has(sequence) {
            return Err(LogError::Absent);
        }
        if let Some(job) = self.cold(|log| log.cold_message(sequence)) {
            return Err(LogError::Cold(Box::new(job)));
        }
        let result = self.log.read_message(sequence, buffer);
        let is_lost = match &result {
            Ok(stored) => stored.record.erased,
            Err(LogError::Damaged) => !self.log.has_given_up_on(sequence),
            Err(_) => false,
        };
        if is_lost {
            // It may be erased where no delete says so.
            self.state.lose(sequence);
            return Err(LogError::Damaged);
        }
        result
    }

    /// Sets whether reads answer that something is [cold](LogError::Cold), as at first, or wait for the
    /// disk, in a store that was [told so](crate::store::file::Cold::Tell).
    pub fn set_hurried(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// Brings something into memory, and waits for it.
    pub(super) fn warm_now(&mut self, job: WarmJob) {
        self.log.handle_warm(&job.run());
    }

    /// What `ask` says of what is not in memory, if anybody wants to know.
    pub(super) fn cold(
        &mut self,
        ask: impl FnOnce(&mut Log) -> Option<WarmJob>,
    ) -> Option<WarmJob> {
        match self.hurried && self.log.tells_cold() {
            true => ask(&mut self.log),
            false => None,
        }
    }

    /// The last message on a subject that is not behind `upto`.
    pub fn last_on<'b>(
        &mut self,
        subject: &[u8],
        upto: StreamSeq,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Message<'b>, LogError> {
        let (log, own) = (&mut self.log, &mut self.buffer);
        let last = self.state.last_on(subject, upto, log, own);
        self.read(last.ok_or(LogError::Absent)?, buffer)
    }

    /// The sequences of the last messages, none behind `upto`, on all subjects that match, in
    /// order. `None` if there are more than `max`.
    pub fn last_on_each(
        &mut self,
        filters: &Filters,
        upto: StreamSeq,
        max: usize,
    ) -> Option<Vec<StreamSeq>> {
        let mut subjects = vec![];
        let (mut cursor, mut sequences) = (Cursor::start(), vec![]);
        self.state
            .subjects
            .scan(filters, &mut cursor, usize::MAX, |subject, entry| {
                match entry.last().exact() {
                    Some(last) if last <= upto && self.state.has(last) => sequences.push(last),
                    _ if entry.first().seq() > upto => {}
                    _ => subjects.push(subject.to_vec()),
                }
                match sequences.len() > max {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
        for subject in subjects {
            let (log, buffer) = (&mut self.log, &mut self.buffer);
            sequences.extend(self.state.last_on(&subject, upto, log, buffer));
        }
        sequences.sort_unstable();
        (sequences.len() <= max).then_some(sequences)
    }

    /// The sequence of the first message that is not older than `time`; the next one there will
    /// be if all are older.
    pub fn first_at(&mut self, time: Timestamp) -> Result<StreamSeq, LogError> {
        let (mut low, mut high) = (self.state.first, self.state.last.next());
        while low < high {
            let middle = StreamSeq(low.0 + (high.0 - low.0) / 2);
            let there = self.state.deleted.next_absent(middle);
            let Some(there) = there.filter(|t| *t < high) else {
                high = middle;
                continue;
            };
            match self.log.read_message(there, &mut self.buffer) {
                Ok(stored) if stored.record.timestamp < time => low = there.next(),
                Ok(_) if there == middle => high = middle,
                // Between the middle and what is there, there is nothing.
                Ok(_) => high = middle,
                Err(LogError::Damaged | LogError::Absent) => {
                    self.state.lose(there);
                }
                Err(error) => return Err(error),
            }
        }
        let first = self.state.deleted.next_absent(low);
        Ok(first.unwrap_or(low).min(self.state.last.next()))
    }

    /// What there is of a subject: the number of its messages; 0 for none.
    pub fn count_on(&self, subject: &[u8]) -> u64 {
        self.state.subjects.get(subject).map_or(0, |e| e.count())
    }

    /// Hands over the subjects that match, with the numbers of their messages, until `each` breaks;
    /// see [`SubjectIndex::scan`](crate::store::index::SubjectIndex::scan).
    pub fn subjects(
        &self,
        filters: &Filters,
        cursor: &mut Cursor,
        budget: usize,
        mut each: impl FnMut(&[u8], u64) -> ControlFlow<()>,
    ) {
        let subjects = &self.state.subjects;
        subjects.scan(filters, cursor, budget, |subject, entry| {
            each(subject, entry.count())
        });
    }

    /// Runs of sequences between the first message and the last that are no messages.
    pub fn deleted(&self) -> impl Iterator<Item = (StreamSeq, StreamSeq)> {
        self.state.deleted.ranges(self.state.first)
    }

    /// Runs of sequences of messages that were damaged.
    pub fn lost(&self) -> impl Iterator<Item = (StreamSeq, StreamSeq)> {
        self.state.lost.ranges(StreamSeq(1))
    }
}
