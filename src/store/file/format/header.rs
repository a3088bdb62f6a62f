//! The header of a segment.

use super::FormatError;
use super::bytes::{id_at, put, u16_at, u32_at, u64_at};
use crate::store::crypt::Cipher;
use crate::store::types::{LogIndex, StreamId, StreamSeq, Term};

/// Bytes of a header.
pub const HEADER_LEN: usize = 128;

const _: () = assert!(HEADER_LEN == 128);

/// How often the header stands at the front of a segment.
pub const HEADER_COPIES: usize = 2;

const MAGIC: &[u8; 8] = b"NATSSEG\n";

/// What a segment is a part of. All of it follows from the stream and the segment before, so that
/// a header that was damaged can be made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The version: how the records stand that follow.
    pub records: Records,
    pub stream: StreamId,
    /// Counts the segments of a log, from 1.
    pub number: u64,
    /// The index of the first record.
    pub first_index: LogIndex,
    /// The last sequence before this segment.
    pub base_sequence: StreamSeq,
    /// The term of records that do not name one.
    pub term: Term,
    /// How often the segment was written anew, to leave out what is dead.
    pub generation: u32,
    /// The running hash of all records before this segment.
    pub chain: u64,
    /// The cipher's number and a salt, where records are encrypted; zeros elsewhere.
    pub key_salt: [u8; 16],
    /// What a segment that was written anew says besides.
    pub anew: Anew,
}

/// How the heads of records stand in a segment: what its version says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u16)]
pub enum Records {
    /// In 32 bytes and more. Such segments are read, erased in, and appended to until they are full.
    Wide = 1,
    /// In 22 bytes and more; what all segments have that are begun or written anew.
    #[default]
    Compact = 2,
}

impl Records {
    /// What a version says.
    ///
    /// # Errors
    /// If the version is not known here.
    pub(super) fn of(version: u16) -> Result<Records, FormatError> {
        match version {
            1 => Ok(Records::Wide),
            2 => Ok(Records::Compact),
            found => Err(FormatError::Version {
                found,
                known: Records::default() as u16,
            }),
        }
    }
}

/// How a segment was written anew, and what was known then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Anew {
    pub layout: Layout,
    /// What is left out was dead in all states from this record on: a state of before it counts what
    /// is not there any more.
    pub basis: LogIndex,
    /// A record that was on the disk for good.
    pub proven: LogIndex,
    /// How often the end of the log was cut off in this segment. It goes on to be appended to, and
    /// what is elsewhere of the records that went is not of it any more.
    pub cuts: u16,
    /// How many of the segments behind are in this one; their numbers are not used any more.
    pub merged: u8,
}

/// How the records of a segment stand in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Layout {
    /// One behind the other.
    #[default]
    Plain = 0,
    /// In blocks, which are compressed.
    Packed = 1,
}

impl Layout {
    fn of(byte: u8) -> Option<Layout> {
        [Layout::Plain, Layout::Packed]
            .get(usize::from(byte))
            .copied()
    }
}

impl SegmentHeader {
    /// The header as it stands on disk.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &(self.records as u16).to_le_bytes());
        put(&mut out, 12, &128u32.to_le_bytes());
        put(&mut out, 16, &self.stream.name);
        put(&mut out, 32, &self.stream.incarnation);
        put(&mut out, 48, &self.number.to_le_bytes());
        put(&mut out, 56, &self.first_index.0.to_le_bytes());
        put(&mut out, 64, &self.base_sequence.0.to_le_bytes());
        put(&mut out, 72, &self.term.0.to_le_bytes());
        put(&mut out, 76, &self.generation.to_le_bytes());
        put(&mut out, 80, &self.chain.to_le_bytes());
        put(&mut out, 88, &self.key_salt);
        put(&mut out, 104, &[self.anew.layout as u8]);
        put(&mut out, 105, &[self.anew.merged]);
        put(&mut out, 106, &self.anew.cuts.to_le_bytes());
        put(&mut out, 108, &self.anew.basis.0.to_le_bytes());
        put(&mut out, 116, &self.anew.proven.0.to_le_bytes());
        let crc = crc32c::crc32c(&out[..124]);
        put(&mut out, 124, &crc.to_le_bytes());
        out
    }

    /// Reads a header from the front of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        let bytes = bytes.get(..HEADER_LEN).ok_or(FormatError::Short)?;
        if !bytes.starts_with(MAGIC) {
            return Err(FormatError::Magic);
        }
        if u32_at(bytes, 124) != Some(crc32c::crc32c(&bytes[..124])) {
            return Err(FormatError::Checksum);
        }
        let records = Records::of(u16_at(bytes, 8).ok_or(FormatError::Short)?)?;
        let header = Self::fields(bytes, records).ok_or(FormatError::Invalid)?;
        // What later versions may use is zero in this one.
        let plain = header.encode() == *bytes;
        let numbered = header.number > 0 && header.first_index.0 > 0;
        let known = !header.is_encrypted() || header.cipher().is_some();
        (plain && numbered && known)
            .then_some(header)
            .ok_or(FormatError::Invalid)
    }

    fn fields(bytes: &[u8], records: Records) -> Option<SegmentHeader> {
        Some(SegmentHeader {
            records,
            stream: StreamId {
                name: id_at(bytes, 16)?,
                incarnation: id_at(bytes, 32)?,
            },
            number: u64_at(bytes, 48)?,
            first_index: LogIndex(u64_at(bytes, 56)?),
            base_sequence: StreamSeq(u64_at(bytes, 64)?),
            term: Term(u32_at(bytes, 72)?),
            generation: u32_at(bytes, 76)?,
            chain: u64_at(bytes, 80)?,
            key_salt: id_at(bytes, 88)?,
            anew: Anew {
                layout: Layout::of(*bytes.get(104)?)?,
                basis: LogIndex(u64_at(bytes, 108)?),
                proven: LogIndex(u64_at(bytes, 116)?),
                cuts: u16_at(bytes, 106)?,
                merged: *bytes.get(105)?,
            },
        })
    }

    /// The highest number that the segment stands for: those that were merged into it are in it.
    pub fn last_number(&self) -> u64 {
        self.number.saturating_add(u64::from(self.anew.merged))
    }

    /// Whether each record is sealed.
    #[inline]
    pub fn seals_records(&self) -> bool {
        self.is_encrypted() && self.anew.layout == Layout::Plain
    }

    /// Whether all contents are sealed: in records, or in blocks.
    #[inline]
    pub fn is_encrypted(&self) -> bool {
        self.key_salt != [0; 16]
    }

    /// How they are.
    pub fn cipher(&self) -> Option<Cipher> {
        Cipher::of(self.key_salt[0])
    }

    /// What the checksums of this segment's records start from: a record of another segment, or of
    /// another generation of this one, has a wrong checksum here.
    pub fn seed(&self) -> u32 {
        u32_at(&self.encode(), 124).unwrap_or_default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::store::file) fn any_header() -> impl Strategy<Value = SegmentHeader> {
        (
            (any::<([u8; 16], [u8; 16], [u8; 16])>(), 0..3u8),
            (1u64.., 1u64.., any::<u64>(), any::<u64>()),
            any::<(u32, u32)>(),
            any::<(bool, u64, u64, u16, u8)>(),
            prop::sample::select(vec![Records::Wide, Records::Compact]),
        )
            .prop_map(
                |(((name, incarnation, mut key_salt), cipher), n, m, anew, records)| {
                    key_salt[0] = cipher;
                    if cipher == 0 {
                        key_salt = [0; 16];
                    }
                    SegmentHeader {
                        records,
                        stream: StreamId { name, incarnation },
                        number: n.0,
                        first_index: LogIndex(n.1),
                        base_sequence: StreamSeq(n.2),
                        chain: n.3,
                        term: Term(m.0),
                        generation: m.1,
                        key_salt,
                        anew: Anew {
                            layout: if anew.0 {
                                Layout::Packed
                            } else {
                                Layout::Plain
                            },
                            basis: LogIndex(anew.1),
                            proven: LogIndex(anew.2),
                            cuts: anew.3,
                            merged: anew.4,
                        },
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn headers_come_back_and_any_flipped_bit_is_seen(
            header in any_header(),
            bit in 0..HEADER_LEN * 8,
        ) {
            let mut bytes = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SegmentHeader::decode(&bytes);
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let header = SegmentHeader {
            records: Records::Compact,
            stream: StreamId::new("A", "S", [0; 16]),
            number: 1,
            first_index: LogIndex(1),
            base_sequence: StreamSeq(0),
            term: Term(0),
            generation: 0,
            chain: 0,
            key_salt: [0; 16],
            anew: Anew::default(),
        };
        let mut bytes = header.encode();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..124]);
        put(&mut bytes, 124, &crc.to_le_bytes());
        let error = FormatError::Version { found: 9, known: 2 };
        assert_eq!(SegmentHeader::decode(&bytes), Err(error));
    }
}
