//! Counting messages from some sequence on.
//!
//! The index of subjects has the number of messages of each subject. Only where a subject has some
//! on both sides of the sequence are messages looked at: those of the subject are followed back from
//! the last one, or the shorter side of the stream is searched, whichever takes less.

use std::ops::ControlFlow;

use super::StreamStore;
use super::search::{Found, Reader};
use crate::store::error::LogError;
use crate::store::file::ReadBuffer;
use crate::store::index::{Cursor, Filters, Tally};
use crate::store::types::StreamSeq;

/// Subjects with messages on both sides that are followed back one by one.
const SUBJECTS_MAX: usize = 4096;

/// How many messages a search passes in the time that it takes to follow one back.
const PASSED_A_STEP: u64 = 16;

impl StreamStore {
    /// How many messages match from `from` on: for certain, and at most. They differ for subjects
    /// with messages on both sides of `from`.
    pub fn count(&self, filters: &Filters, from: StreamSeq) -> Tally {
        let mut cursor = Cursor::start();
        let subjects = &self.state.subjects;
        subjects.tally(filters, from, &mut cursor, usize::MAX)
    }

    /// How many messages there are from `from` on, whatever their subjects.
    pub fn count_from(&self, from: StreamSeq) -> u64 {
        let (from, last) = (from.max(self.state.first), self.state.last);
        match from <= last {
            true => last.0 - from.0 + 1 - self.state.deleted.count_range(from, last),
            false => 0,
        }
    }

    /// How many messages from `from` up to `upto` match, exactly. It waits for the disk if it has to
    /// look at messages that are not in memory.
    pub fn count_between(&mut self, filters: &Filters, from: StreamSeq, upto: StreamSeq) -> u64 {
        if from > upto {
            return 0;
        }
        let behind = upto.next();
        if filters.is_all() {
            return self.count_from(from) - self.count_from(behind);
        }
        let all = self.count_exactly(filters, from);
        // Those behind are few: they wait to become visible.
        let few = self.state.last.0.saturating_sub(upto.0) < PASSED_A_STEP * 64;
        let later = match few {
            true => self.searched(filters, behind, self.state.last),
            false => self.count_exactly(filters, behind),
        };
        all.saturating_sub(later)
    }

    fn count_exactly(&mut self, filters: &Filters, from: StreamSeq) -> u64 {
        let mut known = 0;
        let (mut open, mut open_count, mut is_many) = (vec![], 0, false);
        let mut cursor = Cursor::start();
        let subjects = &self.state.subjects;
        subjects.scan(filters, &mut cursor, usize::MAX, |subject, entry| {
            if entry.first().seq() >= from {
                known += entry.count();
            } else if entry.last().seq() >= from {
                open_count += entry.count();
                is_many |= open.len() >= SUBJECTS_MAX;
                if !is_many {
                    open.push(subject.to_vec());
                }
            }
            ControlFlow::Continue(())
        });
        if open_count == 0 {
            return known;
        }
        let (first, last) = (self.state.first, self.state.last);
        let (before, after) = (from.0 - first.0.min(from.0), last.0.saturating_sub(from.0));
        if !is_many
            && open_count.saturating_mul(PASSED_A_STEP) <= before.min(after)
            && let Some(count) = self.followed(&open, from)
        {
            return known + count;
        }
        match before < after {
            true => {
                let all = self.count(filters, StreamSeq(0)).messages;
                all.saturating_sub(self.searched(filters, first, from.previous()))
            }
            false => self.searched(filters, from, last),
        }
    }

    /// Messages of these subjects from `from` on, found from the last ones back. `None` if some cannot
    /// be read.
    fn followed(&mut self, subjects: &[Vec<u8>], from: StreamSeq) -> Option<u64> {
        let mut count = 0;
        for subject in subjects {
            let entry = self.state.subjects.get(subject)?;
            let (mut at, of, mut found) = (entry.last().exact()?, entry.count(), 0);
            while at >= from {
                let stored = self.log.read_message(at, &mut self.buffer).ok()?;
                if stored.record.subject != subject {
                    return None;
                }
                found += u64::from(self.state.has(at));
                at = stored.record.previous;
            }
            // It may not have been known what was before.
            if at.0 == 0 && found < of {
                return None;
            }
            count += found;
        }
        Some(count)
    }

    /// Messages that match between these, both included, by looking at them.
    fn searched(&mut self, filters: &Filters, from: StreamSeq, upto: StreamSeq) -> u64 {
        let mut reader = Reader::new(filters.clone());
        let mut buffer = ReadBuffer::default();
        let (mut at, mut count) = (from, 0);
        loop {
            let mut budget = usize::MAX;
            match self.next_of(&mut reader, at, upto, &mut budget, &mut buffer) {
                Ok(Found::Message(stored)) => {
                    count += 1;
                    at = stored.record.sequence.next();
                }
                Ok(Found::Paused(next)) => at = next,
                Ok(Found::End) => return count,
                Err(LogError::Cold(job)) => self.warm_now(*job),
                // It is told where messages are delivered.
                Err(_) => return count,
            }
        }
    }
}
