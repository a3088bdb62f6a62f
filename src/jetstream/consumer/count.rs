//! How many messages wait to be delivered.
//!
//! Where all messages are wanted, that is counted when it is asked for, which the stream does
//! without looking at messages. Where some are, it is kept, as counting may mean to look at many
//! subjects: the stream tells of each message that is stored or removed and matches.

use super::settings::Settings;
use super::turn::Stream;
use crate::store::index::StreamSeq;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Count {
    /// Messages from the next one on, up to `upto`, that match.
    matches: u64,
    upto: StreamSeq,
}

impl Count {
    /// Counts all there is from `next` on.
    pub(super) fn take<S: Stream>(stream: &mut S, settings: &Settings, next: StreamSeq) -> Count {
        Count {
            matches: stream.count(&settings.filters, next),
            upto: stream.last(),
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.matches
    }

    /// Takes note of one that is counted for another reason than that it is behind the next one.
    pub(super) fn add(&mut self, more: u64) {
        self.matches += more;
    }

    /// Takes note of a message that matches and is visible now.
    pub(super) fn stored(&mut self, sequence: StreamSeq, next: StreamSeq) {
        if sequence > self.upto {
            self.matches += u64::from(sequence >= next);
            self.upto = sequence;
        }
    }

    /// Takes note of a message that matches and was removed.
    pub(super) fn removed(&mut self, sequence: StreamSeq, next: StreamSeq) {
        if sequence >= next && sequence <= self.upto {
            self.matches = self.matches.saturating_sub(1);
        }
    }

    /// Takes note of a message that is delivered.
    pub(super) fn delivered(&mut self, sequence: StreamSeq) {
        if sequence > self.upto {
            self.upto = sequence;
        } else {
            self.matches = self.matches.saturating_sub(1);
        }
    }

    /// Takes note that there is nothing more up to `last`.
    pub(super) fn at_end(&mut self, last: StreamSeq) {
        self.matches = 0;
        self.upto = self.upto.max(last);
    }
}
