//! The numbers that the parts of the store pass to each other.

use std::fmt;

/// The sequence number of a message in its stream: 1 for the first one ever stored. 0 stands
/// before all messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamSeq(pub u64);

impl StreamSeq {
    /// The sequence number behind this one; the last number there is stays itself.
    pub const fn next(self) -> StreamSeq {
        StreamSeq(self.0.saturating_add(1))
    }

    /// The sequence number before this one; 0 stays itself.
    pub const fn previous(self) -> StreamSeq {
        StreamSeq(self.0.saturating_sub(1))
    }
}

impl fmt::Display for StreamSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a record in its log: 1 for the first one ever written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The place behind this one; the last one there is stays itself.
    pub const fn next(self) -> LogIndex {
        LogIndex(self.0.saturating_add(1))
    }

    /// The place before this one; 0 stays itself.
    pub const fn previous(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: nanoseconds since the start of 1970 (UTC), up to the year 2554.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub u64);

/// Bytes of the longest subject that the indexes take; what the length of a subject in a record
/// can say.
pub const SUBJECT_BYTES_MAX: usize = u16::MAX as usize;
