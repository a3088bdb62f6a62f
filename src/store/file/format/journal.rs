//! The commit journal: records of many logs, as they stand in their segments.

use super::bytes::{id_at, put, u16_at, u32_at, u64_at};
use super::{FormatError, VERSION};
use crate::store::types::{LogIndex, StreamId};

/// Bytes of a place for a header, of which a journal's file has two: what a disk writes as a whole.
pub const JOURNAL_SLOT: usize = 512;

/// Bytes before the first frame of a journal's file.
pub const JOURNAL_START: usize = 2 * JOURNAL_SLOT;

/// Bytes of a frame before its records.
pub const FRAME_HEAD: usize = 80;

/// Bytes of the largest frame.
pub const FRAME_MAX: usize = FRAME_HEAD + (64 << 10);

const HEADER_LEN: usize = 64;

const MAGIC: &[u8; 8] = b"NATSJNL\n";

/// What a journal's file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalHeader {
    /// Random, made when the journal was opened.
    pub nonce: [u8; 16],
    /// Grows each time that a file of the journal is begun anew.
    pub generation: u64,
}

impl JournalHeader {
    /// The header as it stands on disk.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 12, &1024u32.to_le_bytes());
        put(&mut out, 16, &self.nonce);
        put(&mut out, 32, &self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&out[..HEADER_LEN - 4]);
        put(&mut out, HEADER_LEN - 4, &crc.to_le_bytes());
        out
    }

    /// Reads a header from the front of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<JournalHeader, FormatError> {
        let bytes = bytes.get(..HEADER_LEN).ok_or(FormatError::Short)?;
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        if u32_at(bytes, HEADER_LEN - 4) != Some(crc32c::crc32c(&bytes[..HEADER_LEN - 4])) {
            return Err(FormatError::Checksum);
        }
        let version = u16_at(bytes, 8).ok_or(FormatError::Short)?;
        if version != VERSION {
            return Err(FormatError::newer(version));
        }
        let header = JournalHeader {
            nonce: id_at(bytes, 16).ok_or(FormatError::Short)?,
            generation: u64_at(bytes, 32).ok_or(FormatError::Short)?,
        };
        let plain = header.encode() == *bytes;
        plain.then_some(header).ok_or(FormatError::Invalid)
    }

    /// What the checksums of the file's frames start from.
    pub fn seed(&self) -> u32 {
        u32_at(&self.encode(), HEADER_LEN - 4).unwrap_or_default()
    }
}

/// Records of one segment, in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    pub stream: StreamId,
    /// The segment's number, and what its records' checksums start from.
    pub segment: u64,
    pub seed: u32,
    /// Where in the segment the records stand.
    pub place: u32,
    pub first: LogIndex,
    pub records: u32,
    /// The records, byte for byte.
    pub bytes: &'a [u8],
}

/// Where a frame is among those that one sync covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Turn {
    /// Counts the syncs of a file's generation, from 0.
    pub batch: u32,
    /// The frame's number in the batch, from 0, and how many there are.
    pub ordinal: u16,
    pub of: u16,
}

impl Turn {
    /// Where the frame behind this one is; its batch is one that may not exist.
    pub fn next(self) -> (u32, u16) {
        match self.ordinal.checked_add(1).filter(|next| *next < self.of) {
            Some(next) => (self.batch, next),
            None => (self.batch.saturating_add(1), 0),
        }
    }
}

impl<'a> Frame<'a> {
    /// Bytes of the frame on disk.
    pub fn len(&self) -> usize {
        FRAME_HEAD + self.bytes.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the frame to `out`, to be [completed](seal_frame) when its place is known.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + FRAME_HEAD, 0);
        let head = &mut out[start..];
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        put(head, 0, &len.to_le_bytes());
        put(head, 8, &self.stream.name);
        put(head, 24, &self.stream.incarnation);
        put(head, 40, &self.segment.to_le_bytes());
        put(head, 48, &self.seed.to_le_bytes());
        put(head, 52, &self.place.to_le_bytes());
        put(head, 56, &self.first.0.to_le_bytes());
        put(head, 64, &self.records.to_le_bytes());
        out.extend_from_slice(self.bytes);
    }

    /// Reads the frame at the front of `bytes`, which may go on behind it, and checks it. `None` if
    /// there is none.
    pub fn decode(bytes: &'a [u8], seed: u32) -> Option<(Frame<'a>, Turn)> {
        let len = u32_at(bytes, 0)? as usize;
        if !(FRAME_HEAD..=FRAME_MAX).contains(&len) {
            return None;
        }
        let bytes = bytes.get(..len)?;
        let turn = turn_of(bytes)?;
        if u32_at(bytes, 4)? != checksum(bytes, seed) {
            return None;
        }
        let frame = Frame {
            stream: StreamId {
                name: id_at(bytes, 8)?,
                incarnation: id_at(bytes, 24)?,
            },
            segment: u64_at(bytes, 40)?,
            seed: u32_at(bytes, 48)?,
            place: u32_at(bytes, 52)?,
            first: LogIndex(u64_at(bytes, 56)?),
            records: u32_at(bytes, 64)?,
            bytes: bytes.get(FRAME_HEAD..)?,
        };
        Some((frame, turn))
    }
}

/// The turn that the frame at the front of `bytes` says it is of, if there is a frame.
pub fn turn_of(bytes: &[u8]) -> Option<Turn> {
    let turn = Turn {
        batch: u32_at(bytes, 68)?,
        ordinal: u16_at(bytes, 72)?,
        of: u16_at(bytes, 74)?,
    };
    let plain = turn.ordinal < turn.of && u32_at(bytes, 76)? == 0;
    plain.then_some(turn)
}

/// Gives a frame, which is all of `bytes`, its place among others, and its checksum.
pub fn seal_frame(bytes: &mut [u8], turn: Turn, seed: u32) {
    put(bytes, 68, &turn.batch.to_le_bytes());
    put(bytes, 72, &turn.ordinal.to_le_bytes());
    put(bytes, 74, &turn.of.to_le_bytes());
    let crc = checksum(bytes, seed);
    put(bytes, 4, &crc.to_le_bytes());
}

fn checksum(bytes: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(seed, bytes.get(8..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back_and_any_flipped_bit_is_seen(
            ids in any::<([u8; 16], [u8; 16])>(),
            n in any::<(u64, u32, u32, u64, u32)>(),
            turn in any::<(u32, u16)>(),
            seed in any::<u32>(),
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            bit in any::<usize>(),
        ) {
            let frame = Frame {
                stream: StreamId { name: ids.0, incarnation: ids.1 },
                segment: n.0,
                seed: n.1,
                place: n.2,
                first: LogIndex(n.3),
                records: n.4,
                bytes: &bytes,
            };
            let turn = Turn { batch: turn.0, ordinal: turn.1 / 2, of: turn.1 / 2 + 1 };
            let mut out = vec![];
            frame.put(&mut out);
            prop_assert_eq!(out.len(), frame.len());
            seal_frame(&mut out, turn, seed);
            prop_assert_eq!(turn_of(&out), Some(turn));
            out.push(7);
            prop_assert_eq!(Frame::decode(&out, seed), Some((frame, turn)));
            prop_assert_eq!(Frame::decode(&out, seed ^ 1), None);
            let bit = bit % (frame.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Frame::decode(&out, seed), None);
        }

        #[test]
        fn journal_headers_come_back_and_any_flipped_bit_is_seen(
            nonce in any::<[u8; 16]>(),
            generation in any::<u64>(),
            bit in 0..HEADER_LEN * 8,
        ) {
            let header = JournalHeader { nonce, generation };
            let mut bytes = header.encode();
            prop_assert_eq!(JournalHeader::decode(&bytes), Ok(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(JournalHeader::decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = JournalHeader::decode(&bytes);
            let _ = Frame::decode(&bytes, 0);
        }
    }
}
