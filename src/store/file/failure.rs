//! Segments whose files were cut or are gone while the log is open. They are given up until the log
//! is opened again, and told of once; all others go on.

use std::io;
use std::path::Path;

use super::log::{Log, Place};
use super::sealed::Sealed;
use crate::store::error::Reason;
use crate::store::types::StreamSeq;

/// A segment that was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct SegmentFailure {
    /// Messages that were in it have sequences from here to there.
    pub(in crate::store) first: StreamSeq,
    pub(in crate::store) last: StreamSeq,
    pub(in crate::store) reason: Reason,
}

impl Log {
    /// Whether a segment cannot be read any more, because its file was cut. The first time, that is
    /// taken note of.
    pub(super) fn has_given_up(&mut self, place: Place) -> bool {
        match place {
            Place::Sealed(at) => {
                if self.sealed[at].is_cut() {
                    let reason = Sealed::cut_reason(&self.path_of(place));
                    self.give_up(at, reason);
                }
                self.sealed[at].failed
            }
            Place::Open(at) => {
                let segment = &self.open[at];
                if !segment.file.is_cut() {
                    return false;
                }
                // Nothing can be trusted to what is left of the file.
                if self.failed.is_none() {
                    let reason = Sealed::cut_reason(&segment.path);
                    self.failed = Some(reason.clone());
                    self.failures.push(SegmentFailure {
                        first: segment.header.base_sequence.next(),
                        last: segment.last_sequence(),
                        reason,
                    });
                }
                true
            }
        }
    }

    /// Whether the segment of a message was given up.
    pub(in crate::store) fn has_given_up_on(&mut self, sequence: StreamSeq) -> bool {
        let place = self.place_of_sequence(sequence);
        place.is_some_and(|place| self.has_given_up(place))
    }

    /// Gives up a sealed segment, if it is still there.
    pub(in crate::store) fn give_up_segment(&mut self, number: u64, reason: Reason) {
        if let Some(at) = self.sealed.iter().position(|s| s.number() == number) {
            self.give_up(at, reason);
        }
    }

    /// Gives up a sealed segment.
    pub(super) fn give_up(&mut self, at: usize, reason: Reason) {
        let sealed = &mut self.sealed[at];
        if sealed.failed {
            return;
        }
        sealed.failed = true;
        sealed.handle = None;
        sealed.subjects = None;
        self.failures.push(SegmentFailure {
            first: sealed.footer.header.base_sequence.next(),
            last: sealed.footer.last_sequence,
            reason,
        });
    }

    /// Whether something was given up since it was asked what.
    pub(in crate::store) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// What was given up since this was asked the last time.
    pub(in crate::store) fn take_failures(&mut self) -> Vec<SegmentFailure> {
        std::mem::take(&mut self.failures)
    }
}

impl Sealed {
    pub(super) fn is_cut(&self) -> bool {
        self.handle.as_ref().is_some_and(|h| h.file.is_cut())
    }

    pub(super) fn cut_reason(path: &Path) -> Reason {
        let text = "the file was made shorter by somebody else";
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        Reason::new("read", path, &error)
    }
}
