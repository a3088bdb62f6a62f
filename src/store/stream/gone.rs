//! Telling of messages that are removed, one by one, with their subjects: for those who keep count
//! of messages by subject.

use super::StreamStore;
use crate::store::types::StreamSeq;

/// Messages that are kept to be told of. Where more go at a time, who counts counts anew.
const GONE_MAX: usize = 1 << 16;

/// Messages that were removed since somebody asked.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    wanted: bool,
    /// The messages, and where their subjects end.
    messages: Vec<(StreamSeq, usize)>,
    subjects: Vec<u8>,
    /// Whether some are missing here.
    has_missed: bool,
}

impl Gone {
    pub(super) fn add(&mut self, sequence: StreamSeq, subject: &[u8]) {
        if !self.wanted {
            return;
        }
        if self.messages.len() >= GONE_MAX {
            self.has_missed = true;
            return;
        }
        self.subjects.extend_from_slice(subject);
        self.messages.push((sequence, self.subjects.len()));
    }

    /// Takes note of messages of which nothing is known, or that are too many.
    pub(super) fn miss(&mut self) {
        self.has_missed |= self.wanted;
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.has_missed
    }

    /// Whether messages have gone that are not told of one by one.
    pub fn has_missed(&self) -> bool {
        self.has_missed
    }

    /// The messages, in the order in which they went, and their subjects.
    pub fn iter(&self) -> impl Iterator<Item = (StreamSeq, &[u8])> {
        let mut from = 0;
        self.messages.iter().map(move |(sequence, end)| {
            let subject = &self.subjects[from..*end];
            from = *end;
            (*sequence, subject)
        })
    }

    /// Forgets all, and keeps some memory for the next ones.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.messages.shrink_to(1024);
        self.subjects.clear();
        self.subjects.shrink_to(32 << 10);
        self.has_missed = false;
    }
}

impl StreamStore {
    /// Sets whether messages that are removed from now on are kept to be told of.
    pub fn note_gone(&mut self, wanted: bool) {
        let gone = &mut self.state.gone;
        if gone.wanted != wanted {
            *gone = Gone {
                wanted,
                ..Gone::default()
            };
        }
    }

    /// The messages that were removed since this was asked the last time. Give `spare`, an empty one,
    /// for those that follow.
    pub fn take_gone(&mut self, spare: Gone) -> Gone {
        let gone = &mut self.state.gone;
        let wanted = gone.wanted;
        let spare = Gone { wanted, ..spare };
        std::mem::replace(gone, spare)
    }

    /// Whether there are messages to be told of.
    pub fn has_gone(&self) -> bool {
        !self.state.gone.is_empty()
    }
}
