//! What is known of a log before it is opened, and what was found then.

#[cfg(doc)]
use super::log::Log;
use crate::store::types::{LogIndex, StreamSeq};

/// What is known of a log from other files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// A record that was on the disk for good, and its sequence.
    pub durable: LogIndex,
    pub sequence: StreamSeq,
    pub start: LogStart,
    /// Nothing behind this record is to be trusted, because a sync failed: what looks like it is
    /// only in the memory of the system.
    pub trust_upto: Option<LogIndex>,
}

/// Where a log began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogStart {
    /// Segments before this number were given up, those from it on are to be there. 0 if that is
    /// not known. Those before are no part of the log, but stay until
    /// [`Log::drop_segments_before`]: who says that they are of no use may be in the memory of the
    /// system only, after a sync that failed, and be gone when the power is.
    pub segment: u64,
    /// The first record of that segment, 0 if that is not known. If it is missing, it is lost.
    pub index: LogIndex,
    /// The last sequence that was used before it.
    pub sequence: StreamSeq,
}

/// What was found and done when a log was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Records that are lost, in order.
    pub lost: Vec<LostRun>,
    /// Bytes behind the last whole record, none of which was acknowledged.
    pub torn_bytes: u64,
    /// Segments that held nothing but records that were not acknowledged.
    pub dropped: Vec<String>,
    /// Segments that do not belong here, by their new names.
    pub foreign: Vec<String>,
    /// Segments whose records had to be read, because they had no footer or a damaged one.
    pub scanned: u64,
}

/// Records in a row that are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LostRun {
    pub first: LogIndex,
    pub last: LogIndex,
    /// Lost messages have sequences between these two, of which neither is lost.
    pub after: StreamSeq,
    pub before: StreamSeq,
}

/// How far opening has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub done: u64,
    /// Segments, or records where they are read once more.
    pub of: u64,
}

impl Recovery {
    /// Whether nothing was missing, damaged or out of place. A torn end is what a crash leaves.
    pub fn is_sound(&self) -> bool {
        self.lost.is_empty() && self.foreign.is_empty()
    }
}
