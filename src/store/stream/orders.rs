//! What records that are no messages say.

use std::time::Duration;

use crate::store::index::SUBJECT_BYTES_MAX;
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::types::StreamSeq;

/// What a stream may hold. What is too much is removed, the oldest first; streams that refuse new
/// messages instead have no limit here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Messages; 0 for any number, as for the others.
    pub messages: u64,
    /// Bytes, as [`message_bytes`](super::StreamState::message_bytes) counts them.
    pub bytes: u64,
    pub per_subject: u64,
    pub age: Duration,
}

impl Limits {
    /// Appends the form that [`Limits::decode`] reads.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.messages);
        varint::put(out, self.bytes);
        varint::put(out, self.per_subject);
        varint::put(out, self.age_nanos());
    }

    /// What follows behind, a later version may have put there.
    pub(super) fn decode(bytes: &[u8]) -> Result<Limits, Malformed> {
        let mut reader = Reader::new(bytes);
        Ok(Limits {
            messages: reader.number("limit of messages")?,
            bytes: reader.number("limit of bytes")?,
            per_subject: reader.number("limit of messages per subject")?,
            age: Duration::from_nanos(reader.number("limit of age")?),
        })
    }

    pub(super) fn age_nanos(&self) -> u64 {
        u64::try_from(self.age.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Removal of many messages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Purge {
    /// Messages up to this sequence are removed.
    pub upto: StreamSeq,
    /// How many of them are kept, the newest.
    pub keep: u64,
    /// Those only whose subjects match this; empty for all.
    pub filter: Vec<u8>,
}

impl Purge {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.upto.0);
        varint::put(out, self.keep);
        varint::put_bytes(out, &self.filter);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Purge, Malformed> {
        Ok(Purge {
            upto: StreamSeq(reader.number("purge")?),
            keep: reader.number("purge")?,
            filter: reader.bytes(SUBJECT_BYTES_MAX, "purge")?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn orders_come_back(numbers in any::<[u64; 5]>(), filter in prop::collection::vec(any::<u8>(), 0..50)) {
            let limits = Limits {
                messages: numbers[0],
                bytes: numbers[1],
                per_subject: numbers[2],
                age: Duration::from_nanos(numbers[3]),
            };
            let mut out = vec![];
            limits.encode(&mut out);
            prop_assert_eq!(Limits::decode(&out), Ok(limits));
            let purge = Purge { upto: StreamSeq(numbers[0]), keep: numbers[4], filter };
            out.clear();
            purge.encode(&mut out);
            prop_assert_eq!(Purge::decode(&mut Reader::new(&out)), Ok(purge));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Limits::decode(&bytes);
            let _ = Purge::decode(&mut Reader::new(&bytes));
        }
    }
}
