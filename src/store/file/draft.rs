//! A record that is to be appended.

use super::format::{Kind, Record};
use crate::store::types::{LogIndex, StreamSeq, Term, Timestamp};

/// A record that is to be appended; its index follows from the log.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    pub kind: Kind,
    pub term: Term,
    /// A message's sequence is behind all before; of what is no message it is the last one.
    pub sequence: StreamSeq,
    pub timestamp: Timestamp,
    /// The message before on the same subject, or 0.
    pub previous: StreamSeq,
    /// Seconds until the message goes; 0 for never.
    pub ttl_s: u32,
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Draft<'a> {
    /// The record that this becomes under an index.
    pub(in crate::store) fn at(&self, index: LogIndex) -> Record<'a> {
        Record {
            kind: self.kind,
            index,
            term: self.term,
            sequence: self.sequence,
            timestamp: self.timestamp,
            durable: LogIndex(0),
            previous: self.previous,
            ttl_s: self.ttl_s,
            erased: false,
            group_left: 0,
            subject: self.subject,
            headers: self.headers,
            payload: self.payload,
        }
    }
}
