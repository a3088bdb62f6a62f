//! Finding and reading messages.

use std::ops::ControlFlow;

use super::StreamStore;
use crate::store::error::LogError;
use crate::store::file::format::{Kind, Record};
use crate::store::file::log::Walk;
use crate::store::file::{ReadBuffer, Stored};
use crate::store::index::{Cursor, Filters, Tally};
use crate::store::types::{StreamSeq, Timestamp};

/// Records that a walk looks at in one go.
const WALK_PART: usize = 1024;

/// A message that was read.
pub type Message<'b> = Stored<'b>;

/// What a search has come to.
#[derive(Debug)]
pub enum Found<'b> {
    /// The next message that matches.
    Message(Message<'b>),
    /// It is not before this one; go on from here.
    Paused(StreamSeq),
    /// There is none.
    End,
}

impl StreamStore {
    /// The message with this sequence.
    ///
    /// # Errors
    /// [`LogError::Absent`] if there is none (any more), [`LogError::Damaged`] if it is lost.
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
        let stored = self.log.read_message(sequence, buffer)?;
        if stored.record.erased {
            // No delete says so.
            self.state.lose(sequence);
            return Err(LogError::Damaged);
        }
        Ok(stored)
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

    /// The next message from `from` on, up to `upto`, that matches; `budget` messages at most are
    /// looked at, and taken off it.
    pub fn next<'b>(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        upto: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Found<'b>, LogError> {
        let upto = upto.min(self.state.last);
        let Some(mut from) = self.first_match(filters, from.max(self.state.first)) else {
            return Ok(Found::End);
        };
        // Long stretches of deleted messages are not looked at.
        from = match self.state.deleted.next_absent(from) {
            Some(next) if next <= upto => next,
            _ => return Ok(Found::End),
        };
        let (mut index, _) = self.log.index_of(from)?;
        let all = filters.matches(b"");
        loop {
            let state = &self.state;
            let (mut passed, mut stop) = (from.previous(), false);
            let wants = |record: &Record<'_>| {
                if record.kind != Kind::Message || record.sequence < from {
                    return false;
                }
                stop = record.sequence > upto;
                passed = record.sequence;
                let is_there = !state.deleted.contains(record.sequence);
                stop || is_there && (all || filters.matches(record.subject))
            };
            // A walk pauses where many deleted ones may begin; and it passes one message at least.
            let mut part = (*budget).clamp(1, WALK_PART);
            let given = part;
            let walk = self.log.walk(index, &mut part, wants, buffer)?;
            *budget = budget.saturating_sub(given - part);
            match walk {
                Walk::Found(_) if stop => return Ok(Found::End),
                Walk::Found(stored) => {
                    // The borrow of the buffer ends here and begins anew, which the compiler asks
                    // for.
                    let sequence = stored.record.sequence;
                    return self.log.read_message(sequence, buffer).map(Found::Message);
                }
                Walk::Damaged(at, sequence) => {
                    self.state.lose(sequence);
                    from = passed.max(sequence).next();
                    index = at.next();
                }
                Walk::Paused(at) => {
                    index = at;
                    if passed < from {
                        continue;
                    }
                    from = passed.next();
                    if *budget == 0 {
                        return Ok(Found::Paused(from));
                    }
                    let next = self.state.deleted.next_absent(from);
                    if let Some(next) = next.filter(|n| n.0 - from.0 > WALK_PART as u64) {
                        if next > upto {
                            return Ok(Found::End);
                        }
                        from = next;
                        index = self.log.index_of(from)?.0;
                    }
                }
                Walk::End => return Ok(Found::End),
            }
        }
    }

    /// What the index says of where the first message from `from` on is that matches: `None` if
    /// there is none, and never behind it. Many subjects are not asked.
    fn first_match(&self, filters: &Filters, from: StreamSeq) -> Option<StreamSeq> {
        const SUBJECTS_MAX: usize = 64;
        if filters.matches(b"") {
            return Some(from);
        }
        let (mut cursor, mut first) = (Cursor::start(), None::<StreamSeq>);
        let subjects = &self.state.subjects;
        subjects.scan(filters, &mut cursor, SUBJECTS_MAX, |_, entry| {
            if entry.last().seq() >= from {
                let at = entry.first().seq().max(from);
                first = Some(first.map_or(at, |f| f.min(at)));
            }
            ControlFlow::Continue(())
        });
        match cursor.is_done() {
            true => first,
            false => Some(from),
        }
    }

    /// How many messages match from `from` on: for certain, and at most. They differ for subjects
    /// with messages on both sides of `from`.
    pub fn count(&self, filters: &Filters, from: StreamSeq) -> Tally {
        let mut cursor = Cursor::start();
        let subjects = &self.state.subjects;
        subjects.tally(filters, from, &mut cursor, usize::MAX)
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
