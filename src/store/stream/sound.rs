//! What must hold of a state that a checkpoint tells: its parts belong together, and to the log that is
//! there. Where they do not, the log is asked alone. So what a checkpoint says, with a right checksum, by
//! a mistake or by malice, costs no more than its length, and what the log has.

use super::StreamStore;
use super::state::State;
use crate::store::file::LogStart;
use crate::store::file::format::RECORD_MAX;
use crate::store::index::SequenceSet;
use crate::store::types::StreamSeq;

/// Records, and segments, of a log are never as many.
const NUMBER_MAX: u64 = 1 << 62;

/// Bytes that count for a message, at least and at most.
const MESSAGE_MIN: u64 = 30;
const MESSAGE_MAX: u64 = RECORD_MAX as u64 + 64;

impl State {
    /// Whether the parts of a state belong together.
    pub(super) fn is_sound(&self) -> bool {
        self.has_sound_numbers()
            && self.are_deleted(&self.erasing)
            && self.are_deleted(&self.unread)
            && self.lost.next_present(self.last.next()).is_none()
            && self.timers.sequences().all(|sequence| self.has(sequence))
            // Any other order makes an end of one that is not done.
            && self.purges.len() <= usize::from(self.deferring)
            && self.purges.iter().all(|purging| purging.purge.upto <= self.last)
    }

    fn has_sound_numbers(&self) -> bool {
        let records = self.applied.0;
        let is_in_order = records <= NUMBER_MAX
            && self.first.0 > 0
            && self.last.0 < u64::MAX
            && self.first <= self.last.next();
        if !is_in_order {
            return false;
        }
        let deleted = self.deleted.len();
        let sequences = self.last.next().0 - self.first.0;
        deleted == self.deleted.count_range(self.first.next(), self.last)
            && sequences.checked_sub(deleted) == Some(self.messages)
            && self.messages <= records
            // What is lost, or could not be read, still counts for its subject.
            && (self.messages..=records).contains(&self.subjects.messages())
            && self.bytes / MESSAGE_MIN >= self.messages
            && self.bytes / MESSAGE_MAX <= records
    }

    /// Whether these are sequences of messages that are gone.
    fn are_deleted(&self, set: &SequenceSet) -> bool {
        let mut ranges = set.ranges(StreamSeq(0));
        set.len() <= self.applied.0
            && ranges.all(|(first, last)| last <= self.last && self.is_empty(first, last))
    }

    /// Whether there is no message with a sequence between these, both included, which are not behind the
    /// last.
    fn is_empty(&self, first: StreamSeq, last: StreamSeq) -> bool {
        let first = first.max(self.first);
        first > last || self.deleted.count_range(first, last) == last.0 - first.0 + 1
    }

    /// Whether the log can begin there.
    pub(super) fn begins_behind(&self, start: &LogStart) -> bool {
        (1..=NUMBER_MAX).contains(&start.segment)
            && (1..=NUMBER_MAX).contains(&start.index.0)
            && start.sequence.0 < u64::MAX
            && (start.sequence < self.first || self.messages == 0)
    }
}

impl StreamStore {
    /// Whether a state, of which no record is lost, can follow from the records that there are.
    pub(super) fn fits(&mut self, state: &State) -> bool {
        let first = self.log.first_index();
        let records = state.applied.next().0.saturating_sub(first.0);
        if state.messages > records || state.last > self.log.last_sequence() {
            return false;
        }
        // Sequences behind it are those of a group without an end, and no messages.
        match self.log.used_at(state.applied) {
            Ok(used) => used <= state.last && state.is_empty(used.next(), state.last),
            // There are no messages, or it is found out when they are read.
            Err(_) => true,
        }
    }
}
