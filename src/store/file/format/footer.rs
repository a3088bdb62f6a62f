//! What stands at the end of a sealed segment: where its records are, and what is in it.

use super::bytes::{put, u16_at, u32_at, u64_at};
use super::header::{HEADER_LEN, Layout, Records, SegmentHeader};
use super::{FIRST_RECORD, FormatError};
use crate::store::types::{StreamSeq, Term, Timestamp};

/// Bytes of a footer, without the tables that it points to.
pub const FOOTER_LEN: usize = 256;

const MAGIC: &[u8; 8] = b"NATSIDX\n";
const AT: usize = HEADER_LEN;

/// The last bytes of a sealed segment. A segment is sealed only when all its records are known to
/// be on the disk for good: what is missing from it later was damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footer {
    pub header: SegmentHeader,
    /// Records that the segment had when it was sealed, the lost ones among them.
    pub records: u32,
    /// Where the records end.
    pub data_end: u32,
    /// Of how many of them the tables tell, if that is not all; the others were left out. 0 if it is all, and
    /// in version 1.
    pub told: u32,
    /// Where the table of which records those are begins, 4 bytes each: how many are before; 0 if there is
    /// none.
    pub ordinals_at: u32,
    pub ordinals_crc: u32,
    /// Where the table of the records' offsets begins, 4 bytes each; 0 for a record that is gone.
    pub offsets_at: u32,
    pub offsets_crc: u32,
    /// Where the table of the records' sequences, as distances from the base sequence, begins; 0 if
    /// there is none, because the records are all messages in a row but for those at the front.
    pub sequences_at: u32,
    pub sequences_crc: u32,
    /// Records at the front that are no messages, with the base sequence; 0 where there is that table, and
    /// in version 1.
    pub front: u32,
    pub last_sequence: StreamSeq,
    /// The oldest and newest time of a message.
    pub first_time: Timestamp,
    pub last_time: Timestamp,
    /// The running hash of all records up to here.
    pub chain: u64,
    pub messages: u32,
    /// The term of the last record.
    pub last_term: Term,
    /// Where the table of a packed segment's blocks begins, 8 bytes each, how many there are, and the
    /// table's checksum; 0 in a plain one.
    pub blocks_at: u32,
    pub blocks: u32,
    pub blocks_crc: u32,
}

impl Footer {
    /// The footer as it stands on disk.
    pub fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut out = [0; FOOTER_LEN];
        put(&mut out, 0, &self.header.encode());
        put(&mut out, AT, MAGIC);
        let version = self.header.records as u16;
        put(&mut out, AT + 8, &version.to_le_bytes());
        put(&mut out, AT + 16, &self.records.to_le_bytes());
        put(&mut out, AT + 20, &self.data_end.to_le_bytes());
        put(&mut out, AT + 24, &self.offsets_at.to_le_bytes());
        put(&mut out, AT + 28, &self.offsets_crc.to_le_bytes());
        put(&mut out, AT + 32, &self.sequences_at.to_le_bytes());
        put(&mut out, AT + 36, &self.sequences_crc.to_le_bytes());
        put(&mut out, AT + 40, &self.last_sequence.0.to_le_bytes());
        put(&mut out, AT + 48, &self.first_time.0.to_le_bytes());
        put(&mut out, AT + 56, &self.last_time.0.to_le_bytes());
        put(&mut out, AT + 64, &self.chain.to_le_bytes());
        put(&mut out, AT + 72, &self.messages.to_le_bytes());
        put(&mut out, AT + 76, &self.last_term.0.to_le_bytes());
        put(&mut out, AT + 80, &self.blocks_at.to_le_bytes());
        put(&mut out, AT + 84, &self.blocks.to_le_bytes());
        put(&mut out, AT + 88, &self.blocks_crc.to_le_bytes());
        put(&mut out, AT + 92, &self.front.to_le_bytes());
        put(&mut out, AT + 96, &self.told.to_le_bytes());
        put(&mut out, AT + 100, &self.ordinals_at.to_le_bytes());
        put(&mut out, AT + 104, &self.ordinals_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..FOOTER_LEN - 4]);
        put(&mut out, FOOTER_LEN - 4, &crc.to_le_bytes());
        out
    }

    /// Reads the footer of a file of `file_len` bytes; `bytes` are the last ones of it.
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Footer, FormatError> {
        let bytes = bytes.last_chunk::<FOOTER_LEN>().ok_or(FormatError::Short)?;
        if !bytes[AT..].starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        if u32_at(bytes, FOOTER_LEN - 4) != Some(crc32c::crc32c(&bytes[..FOOTER_LEN - 4])) {
            return Err(FormatError::Checksum);
        }
        // It is that of the header, or what is encoded again is something else.
        Records::of(u16_at(bytes, AT + 8).ok_or(FormatError::Short)?)?;
        let header = SegmentHeader::decode(bytes)?;
        let footer = Self::fields(bytes, header).ok_or(FormatError::Short)?;
        let sound = footer.encode() == *bytes && footer.is_within(file_len);
        sound.then_some(footer).ok_or(FormatError::Invalid)
    }

    fn fields(bytes: &[u8], header: SegmentHeader) -> Option<Footer> {
        Some(Footer {
            header,
            records: u32_at(bytes, AT + 16)?,
            data_end: u32_at(bytes, AT + 20)?,
            offsets_at: u32_at(bytes, AT + 24)?,
            offsets_crc: u32_at(bytes, AT + 28)?,
            sequences_at: u32_at(bytes, AT + 32)?,
            sequences_crc: u32_at(bytes, AT + 36)?,
            last_sequence: StreamSeq(u64_at(bytes, AT + 40)?),
            first_time: Timestamp(u64_at(bytes, AT + 48)?),
            last_time: Timestamp(u64_at(bytes, AT + 56)?),
            chain: u64_at(bytes, AT + 64)?,
            messages: u32_at(bytes, AT + 72)?,
            last_term: Term(u32_at(bytes, AT + 76)?),
            blocks_at: u32_at(bytes, AT + 80)?,
            blocks: u32_at(bytes, AT + 84)?,
            blocks_crc: u32_at(bytes, AT + 88)?,
            front: u32_at(bytes, AT + 92)?,
            told: u32_at(bytes, AT + 96)?,
            ordinals_at: u32_at(bytes, AT + 100)?,
            ordinals_crc: u32_at(bytes, AT + 104)?,
        })
    }

    /// How many records the tables tell of.
    pub fn rows(&self) -> u32 {
        match self.told {
            0 => self.records,
            told => told,
        }
    }

    /// Whether all parts lie in the file, and in their order.
    fn is_within(&self, file_len: u64) -> bool {
        let table = 4 * u64::from(self.rows());
        let end = file_len.saturating_sub(FOOTER_LEN as u64);
        let fits = |at: u32, from: u32| at >= from && u64::from(at) + table <= end;
        let sequences = self.sequences_at == 0 || fits(self.sequences_at, self.data_end);
        let blocks_end = u64::from(self.blocks_at) + 8 * u64::from(self.blocks);
        let blocks = match self.header.anew.layout {
            Layout::Plain => (self.blocks_at, self.blocks, self.blocks_crc) == (0, 0, 0),
            Layout::Packed => self.blocks_at >= self.data_end && blocks_end <= end,
        };
        let is_compact = self.header.records == Records::Compact;
        let may_have_front = is_compact && self.sequences_at == 0;
        let ordinals = match self.told {
            0 => (self.ordinals_at, self.ordinals_crc) == (0, 0),
            told => is_compact && told < self.records && fits(self.ordinals_at, self.data_end),
        };
        self.data_end >= FIRST_RECORD
            && (self.front == 0 || may_have_front && self.front <= self.records)
            && ordinals
            && fits(self.offsets_at, self.data_end)
            && sequences
            && blocks
            && self.messages <= self.rows()
            && self.last_sequence >= self.header.base_sequence
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::any_header;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn footers_come_back_and_any_flipped_bit_is_seen(
            header in any_header(),
            numbers in any::<(u64, u64, u64, u32, u32, u32)>(),
            records in 0..1000u32,
            dense in any::<bool>(),
            thin in any::<bool>(),
            bit in 0..FOOTER_LEN * 8,
        ) {
            let packed = header.anew.layout == Layout::Packed;
            let compact = header.records == Records::Compact;
            let thin = thin && compact && records > 1;
            let footer = Footer {
                header,
                records,
                data_end: 5000,
                offsets_at: 5000,
                offsets_crc: numbers.3,
                sequences_at: if dense { 0 } else { 5000 + 4 * records },
                sequences_crc: numbers.4,
                front: if dense && compact { records / 3 } else { 0 },
                told: if thin { records.div_ceil(2) } else { 0 },
                ordinals_at: if thin { 5000 } else { 0 },
                ordinals_crc: if thin { numbers.3 } else { 0 },
                last_sequence: header.base_sequence,
                first_time: Timestamp(numbers.1),
                last_time: Timestamp(numbers.2),
                chain: numbers.0,
                messages: records / 2,
                last_term: Term(numbers.5),
                blocks_at: if packed { 5000 + 8 * records } else { 0 },
                blocks: if packed { 100 } else { 0 },
                blocks_crc: if packed { numbers.3 } else { 0 },
            };
            let mut bytes = footer.encode();
            prop_assert_eq!(Footer::decode(&bytes, 20_000), Ok(footer));
            let short = 5000 + 4 * u64::from(footer.rows());
            prop_assert_eq!(Footer::decode(&bytes, short), Err(FormatError::Invalid));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Footer::decode(&bytes, 20_000).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Footer::decode(&bytes, bytes.len() as u64);
        }
    }
}
