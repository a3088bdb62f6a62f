//! A record of the log.

use std::ops::Range;

use super::bytes::u32_at;
use super::header::{Records, SegmentHeader};
use super::{compact, wide};
use crate::store::crypt::{NONCE_LEN, SEAL_LEN, SealKey, Sealer, TAG_LEN};
use crate::store::types::{LogIndex, StreamSeq, Term, Timestamp};

/// Bytes of the smallest record of any version.
pub const RECORD_MIN: usize = compact::FIXED_LEN;

const _: () = assert!(RECORD_MIN < wide::FIXED_LEN);

/// Bytes of the largest record: what fits in one file with the rest of it.
pub const RECORD_MAX: usize = 1 << 30;

/// The first byte of a [`Kind::Consumer`] record that says that a consumer is no more.
pub const CONSUMER_DELETED: u8 = 3;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A message of the stream.
    Message = 1,
    /// Messages were removed; the payload names them.
    Delete = 2,
    /// A purge was ordered; the payload says of what.
    Purge = 3,
    /// The stream's configuration.
    Config = 4,
    /// The stream's sequences go on behind this record's.
    Skip = 5,
    /// A change of a consumer, in a form of its own.
    Consumer = 6,
    /// Nothing: a new leader's first entry.
    Noop = 7,
    /// A change of the group of replicas, in the form of the consensus library.
    Membership = 8,
    /// The records of a group that stand before it, and lack its end, are none.
    Abandon = 9,
    /// When something is to be done about a message; the payload says of which.
    Timer = 10,
}

impl Kind {
    #[inline]
    pub(super) fn of(byte: u8) -> Option<Kind> {
        const KINDS: [Kind; 10] = [
            Kind::Message,
            Kind::Delete,
            Kind::Purge,
            Kind::Config,
            Kind::Skip,
            Kind::Consumer,
            Kind::Noop,
            Kind::Membership,
            Kind::Abandon,
            Kind::Timer,
        ];
        KINDS.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// A record, with its variable parts borrowed from where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    pub kind: Kind,
    pub index: LogIndex,
    pub term: Term,
    /// The message's own, or the last one of the stream for what is no message.
    pub sequence: StreamSeq,
    pub timestamp: Timestamp,
    /// The last record that was known to be on the disk for good when this one was written; 0 if it says
    /// nothing of that.
    pub durable: LogIndex,
    /// The sequence of the message before this one on the same subject; 0 if there is none, or
    /// none that is known.
    pub previous: StreamSeq,
    /// Seconds after `timestamp` at which the message goes by itself; 0 for never.
    pub ttl_s: u32,
    /// Headers and payload were overwritten on request, with zeros of the same number: place,
    /// sequence, subject and size stay, so that a replay comes to the same end. Without a subject it
    /// is what is left of a message that was taken out.
    pub erased: bool,
    /// How many records follow in the same group, of which all count or none; 0 for the last one of
    /// a group, and for those that are of none.
    pub group_left: u32,
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// Why there is no record at some place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordFault {
    /// Nothing was written here: the log ends.
    End,
    /// The bytes end before the record does.
    Short,
    /// The length is none that a record has.
    Length,
    /// The checksum is that of other bytes.
    Checksum,
    /// The checksum is right, the contents make no sense.
    Invalid,
}

/// What a record's head says besides what is in the [`Record`].
pub(super) struct Numbers {
    /// Bytes of the whole record.
    pub(super) len: u32,
    /// Index and sequence, less the segment's first index and base sequence.
    pub(super) ordinal: u32,
    pub(super) distance: u32,
    pub(super) subject_len: u16,
    pub(super) headers_len: u32,
}

/// What stands before the contents of a record.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) erased: bool,
    /// Index and sequence, less the segment's first index and base sequence.
    pub(super) ordinal: u32,
    pub(super) distance: u32,
    pub(super) timestamp: Timestamp,
    /// If it is not the header's.
    pub(super) term: Option<Term>,
    pub(super) previous: u32,
    pub(super) ttl_s: u32,
    pub(super) group_left: u32,
    /// How far behind the index the last record was that was on the disk for good.
    pub(super) lag: Option<u32>,
    pub(super) subject_len: u16,
    pub(super) headers_len: u32,
    /// Bytes of it, as far as it was read.
    pub(super) len: usize,
}

impl Head {
    /// One of which nothing is known but its length so far.
    #[inline]
    pub(super) fn new(len: usize) -> Head {
        Head {
            kind: Kind::Noop,
            erased: false,
            ordinal: 0,
            distance: 0,
            timestamp: Timestamp(0),
            term: None,
            previous: 0,
            ttl_s: 0,
            group_left: 0,
            lag: None,
            subject_len: 0,
            headers_len: 0,
            len,
        }
    }

    /// Reads the next optional field, if it `is` there; the outer `None` if the bytes end before.
    #[inline]
    pub(super) fn option(&mut self, bytes: &[u8], is: bool) -> Option<Option<u32>> {
        if !is {
            return Some(None);
        }
        let value = u32_at(bytes, self.len)?;
        self.len += 4;
        Some(Some(value))
    }
}

/// Kind and subject of the record at the front of `bytes`, unchecked: enough to pass it over. `None`
/// if there cannot be one.
#[inline]
pub fn front(bytes: &[u8], records: Records) -> Option<(Kind, &[u8])> {
    let (kind, start, subject_len) = match records {
        Records::Compact => compact::front(bytes)?,
        Records::Wide => wide::front(bytes)?,
    };
    Some((kind, bytes.get(start..start + subject_len)?))
}

/// Whether the record at the front of `bytes` may be the one at the place `next` of its segment, or one
/// up to `most` behind that. A quick look, which is content with what may be none at all.
#[inline]
pub fn may_be_at(bytes: &[u8], records: Records, next: u32, most: u32) -> bool {
    match records {
        Records::Compact => compact::may_be_at(bytes, next, most),
        Records::Wide => wide::may_be_at(bytes, next, most),
    }
}

impl<'a> Record<'a> {
    /// Bytes of the record on disk.
    pub fn len(&self, header: &SegmentHeader) -> usize {
        self.len_with(self.flags(header), header)
    }

    /// Which optional fields there are, in the form of the segment's version.
    #[inline]
    fn flags(&self, header: &SegmentHeader) -> u16 {
        match header.records {
            Records::Compact => compact::word(self, header),
            Records::Wide => wide::flags(self, header).into(),
        }
    }

    #[inline]
    fn len_with(&self, flags: u16, header: &SegmentHeader) -> usize {
        let head = match header.records {
            Records::Compact => compact::len(flags),
            Records::Wide => wide::len(flags.to_le_bytes()[0]),
        };
        let seal = if header.seals_records() { SEAL_LEN } else { 0 };
        head + seal + self.subject.len() + self.headers.len() + self.payload.len()
    }

    /// How far back the message before on the same subject is, if that fits the field.
    #[inline]
    pub(super) fn previous_delta(&self) -> Option<u32> {
        if self.previous.0 == 0 {
            return None;
        }
        let delta = self.sequence.0.checked_sub(self.previous.0)?;
        u32::try_from(delta).ok().filter(|d| *d > 0)
    }

    /// How far back the last record was that was on the disk for good.
    #[inline]
    pub(super) fn lag(&self) -> u32 {
        let lag = self.index.0.saturating_sub(self.durable.0);
        u32::try_from(lag).unwrap_or(u32::MAX)
    }

    /// Appends the record to `out`, as one of the segment with this header and this
    /// [seed](SegmentHeader::seed), and gives its checksum. `None`, with nothing appended, if it
    /// cannot be in this segment: its index or sequence lies before the segment's, or more than 32
    /// bits behind, or it is longer than [`RECORD_MAX`], or its subject longer than 64 KiB.
    pub fn encode(&self, header: &SegmentHeader, seed: u32, out: &mut Vec<u8>) -> Option<u32> {
        self.encode_with(header, seed, None, out)
    }

    /// Likewise. In an encrypted segment the record is sealed, by a [ready](Sealer::ready) sealer.
    pub(in crate::store) fn encode_with(
        &self,
        header: &SegmentHeader,
        seed: u32,
        sealer: Option<&mut Sealer>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        if header.seals_records() != sealer.is_some() {
            return None;
        }
        let flags = self.flags(header);
        let len = Some(self.len_with(flags, header)).filter(|len| *len <= RECORD_MAX)?;
        let ordinal = self.index.0.checked_sub(header.first_index.0)?;
        let distance = self.sequence.0.checked_sub(header.base_sequence.0)?;
        let numbers = Numbers {
            len: u32::try_from(len).ok()?,
            ordinal: u32::try_from(ordinal).ok()?,
            distance: u32::try_from(distance).ok()?,
            subject_len: u16::try_from(self.subject.len()).ok()?,
            headers_len: u32::try_from(self.headers.len()).ok()?,
        };
        let start = out.len();
        match header.records {
            Records::Compact => compact::put(self, flags, &numbers, out),
            Records::Wide => wide::put(self, flags.to_le_bytes()[0], &numbers, out),
        }
        let at = out.len();
        if sealer.is_some() {
            out.extend_from_slice(&[0; NONCE_LEN]);
        }
        out.extend_from_slice(self.subject);
        out.extend_from_slice(self.headers);
        out.extend_from_slice(self.payload);
        if let Some(sealer) = sealer
            && sealer.seal(out, start + 8, at).is_none()
        {
            out.truncate(start);
            return None;
        }
        let crc = crc32c::crc32c_append(seed, &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        Some(crc)
    }

    /// Reads the record at the front of `bytes`, which may go on behind it, and checks it against
    /// its checksum.
    #[inline]
    pub fn decode(
        bytes: &'a [u8],
        header: &SegmentHeader,
        seed: u32,
    ) -> Result<Record<'a>, RecordFault> {
        let len = record_len(bytes)?;
        let bytes = bytes.get(..len).ok_or(RecordFault::Short)?;
        if u32_at(bytes, 4) != Some(crc32c::crc32c_append(seed, &bytes[8..])) {
            return Record::half_erased(bytes, header, seed).ok_or(RecordFault::Checksum);
        }
        Record::fields(bytes, header).ok_or(RecordFault::Invalid)
    }

    /// The record whose overwriting was cut short, if that is what is wrong with these bytes. It is
    /// done in two steps, with a sync between them (see [`Erasure`]): so either the new checksum is
    /// there, and only zeros are missing; or the contents are there still, and checksum and flag are
    /// new in part. Both are told by 32 bits of checksums, as a whole record is.
    #[cold]
    #[inline(never)]
    fn half_erased(bytes: &'a [u8], header: &SegmentHeader, seed: u32) -> Option<Record<'a>> {
        if header.seals_records() {
            return None;
        }
        let record = Record::fields(bytes, header).filter(|r| r.kind == Kind::Message)?;
        let contents = bytes.len() - record.headers.len() - record.payload.len();
        let (front, contents) = bytes.split_at(contents);
        let crc = |erased| front_crc(front, header.records, erased, seed);
        let old = crc32c::crc32c_append(crc(false), contents).to_le_bytes();
        let new = zeros_crc(crc(true), contents.len()).to_le_bytes();
        let is = *bytes.get(4..)?.first_chunk::<4>()?;
        let mixed = |cut: usize| {
            let there =
                |from: [u8; 4], to: [u8; 4]| is[..cut] == to[..cut] && is[cut..] == from[cut..];
            there(old, new) || there(new, old)
        };
        let erased = true;
        (0..=4).any(mixed).then_some(Record { erased, ..record })
    }

    /// Opens a whole record of an encrypted segment where it stands, so that
    /// [`Record::fields`] gives what was sealed. `None` if it was sealed with another key.
    pub(in crate::store) fn unseal(
        bytes: &mut [u8],
        header: &SegmentHeader,
        key: &SealKey,
    ) -> Option<()> {
        let (_, at, _) = match header.records {
            Records::Compact => compact::front(bytes)?,
            Records::Wide => wide::front(bytes)?,
        };
        let (before, sealed) = bytes.split_at_mut_checked(at)?;
        key.open(&before[8..], sealed).map(drop)
    }

    /// Reads a whole record without looking at its checksum. Subject, headers and payload of a
    /// record in an encrypted segment are what was sealed only after [`Record::unseal`].
    #[inline]
    pub fn fields(bytes: &'a [u8], header: &SegmentHeader) -> Option<Record<'a>> {
        let head = match header.records {
            Records::Compact => compact::head(bytes)?,
            Records::Wide => wide::head(bytes)?,
        };
        let index = header.first_index.0.checked_add(head.ordinal.into())?;
        let sequence = header.base_sequence.0.checked_add(head.distance.into())?;
        let (subject, headers, payload) = {
            let (at, end) = match header.seals_records() {
                true => (head.len + NONCE_LEN, bytes.len().checked_sub(TAG_LEN)?),
                false => (head.len, bytes.len()),
            };
            let parts = split(at..end, head.subject_len.into(), head.headers_len as usize)?;
            (
                bytes.get(parts.0)?,
                bytes.get(parts.1)?,
                bytes.get(parts.2)?,
            )
        };
        let durable = head.lag.map_or(0, |lag| index.saturating_sub(lag.into()));
        let previous = match head.previous {
            0 => 0,
            delta => sequence.checked_sub(delta.into())?,
        };
        Some(Record {
            kind: head.kind,
            index: LogIndex(index),
            term: head.term.unwrap_or(header.term),
            sequence: StreamSeq(sequence),
            timestamp: head.timestamp,
            durable: LogIndex(durable),
            previous: StreamSeq(previous),
            ttl_s: head.ttl_s,
            erased: head.erased,
            group_left: head.group_left,
            subject,
            headers,
            payload,
        })
    }
}

/// Where in a record an [`Erasure`] begins to write: at its checksum.
pub const ERASURE_AT: usize = 4;

/// How the contents of a record are overwritten where it stands: first the checksum that it will
/// have, and the flag; when they are on the disk for good, zeros in place of headers and payload. So
/// a crash at any time leaves what can be told from damage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erasure {
    /// What is to be written at [`ERASURE_AT`]: all from the checksum to the flag.
    pub front: Vec<u8>,
    /// What is to be zeros, counted from where the record begins.
    pub contents: Range<usize>,
}

impl Erasure {
    /// For the message at the front of `bytes`, which may be half overwritten already. `None` if there
    /// is none that can be read.
    pub fn new(bytes: &[u8], header: &SegmentHeader, seed: u32) -> Option<Erasure> {
        let record = Record::decode(bytes, header, seed).ok()?;
        if record.kind != Kind::Message {
            return None;
        }
        let len = record_len(bytes).ok()?;
        let start = len - record.headers.len() - record.payload.len();
        let crc = front_crc(&bytes[..start], header.records, true, seed);
        let crc = zeros_crc(crc, len - start);
        let (flag_at, flag) = erased_at(header.records);
        let mut front = bytes.get(ERASURE_AT..=flag_at)?.to_vec();
        front[..4].copy_from_slice(&crc.to_le_bytes());
        *front.last_mut()? |= flag;
        Some(Erasure {
            front,
            contents: start..len,
        })
    }
}

/// Where the flag of an erased message is: the byte of the record, and the bit in it.
fn erased_at(records: Records) -> (usize, u8) {
    match records {
        Records::Compact => compact::ERASED_AT,
        Records::Wide => wide::ERASED_AT,
    }
}

/// The checksum of a record's first bytes, with the flag of an erased one or without.
fn front_crc(front: &[u8], records: Records, erased: bool, seed: u32) -> u32 {
    let (flag_at, flag) = erased_at(records);
    let (before, rest) = front.split_at(flag_at);
    let flags = match erased {
        true => rest[0] | flag,
        false => rest[0] & !flag,
    };
    let crc = crc32c::crc32c_append(seed, &before[8..]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &[flags]), &rest[1..])
}

/// Goes on with a checksum over zeros.
fn zeros_crc(mut crc: u32, mut len: usize) -> u32 {
    static ZEROS: [u8; 4096] = [0; 4096];
    while len > 0 {
        let part = len.min(ZEROS.len());
        crc = crc32c::crc32c_append(crc, &ZEROS[..part]);
        len -= part;
    }
    crc
}

type Parts = (Range<usize>, Range<usize>, Range<usize>);

/// Where subject, headers and payload stand in a record.
fn split(all: Range<usize>, subject: usize, headers: usize) -> Option<Parts> {
    let subject_end = all.start.checked_add(subject)?;
    let headers_end = subject_end.checked_add(headers)?;
    let parts = (
        all.start..subject_end,
        subject_end..headers_end,
        headers_end..all.end,
    );
    (headers_end <= all.end).then_some(parts)
}

/// The length of the record at the front of `bytes`, of whichever version, as it claims.
#[inline]
pub fn record_len(bytes: &[u8]) -> Result<usize, RecordFault> {
    match u32_at(bytes, 0).map(|len| len as usize) {
        None => Err(RecordFault::Short),
        Some(0) => Err(RecordFault::End),
        Some(len) if (RECORD_MIN..=RECORD_MAX).contains(&len) => Ok(len),
        Some(_) => Err(RecordFault::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::any_header;
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    struct Owned {
        kind: u8,
        /// Where it is in its segment, and how far its sequence is behind that of messages in a row, or
        /// from the base sequence.
        ordinal: u32,
        sequence: Result<u32, u32>,
        numbers: (u32, u32, u32),
        timestamp: u64,
        erased: bool,
        parts: (Vec<u8>, Vec<u8>, Vec<u8>),
    }

    fn any_record() -> impl Strategy<Value = Owned> {
        let part = |max| prop::collection::vec(any::<u8>(), 0..max);
        let long = (any::<u8>(), prop_oneof![200..400usize, 65_000..65_536usize]);
        let subject = prop_oneof![
            3 => part(100),
            1 => long.prop_map(|(byte, len)| vec![byte; len]),
        ];
        (
            1..=10u8,
            prop_oneof![0..300u32, 0xff_ff00..0x100_0100u32, any::<u32>()],
            prop_oneof![(0..12u32).prop_map(Ok), any::<u32>().prop_map(Err)],
            any::<(u32, u32, u32)>(),
            any::<u64>(),
            any::<bool>(),
            (subject, part(100), part(300)),
        )
            .prop_map(
                |(kind, ordinal, sequence, numbers, timestamp, erased, parts)| Owned {
                    kind,
                    ordinal,
                    sequence,
                    numbers,
                    timestamp,
                    erased,
                    parts,
                },
            )
    }

    fn record<'a>(owned: &'a Owned, header: &SegmentHeader) -> Record<'a> {
        let (durable, previous, small) = owned.numbers;
        let index = header.first_index.0 + u64::from(owned.ordinal);
        let distance = match owned.sequence {
            Ok(behind) => owned.ordinal.saturating_add(1).saturating_sub(behind),
            Err(distance) => distance,
        };
        let sequence = header.base_sequence.0 + u64::from(distance);
        let says_nothing = header.records == Records::Compact && durable.is_multiple_of(3);
        let durable = match says_nothing {
            true => 0,
            false => index.saturating_sub(durable.into()),
        };
        Record {
            kind: Kind::of(owned.kind).unwrap(),
            index: LogIndex(index),
            term: Term(if small % 2 == 0 { small } else { header.term.0 }),
            sequence: StreamSeq(sequence),
            timestamp: Timestamp(owned.timestamp),
            durable: LogIndex(durable),
            previous: StreamSeq(sequence.saturating_sub(previous.into()) * u64::from(small % 3)),
            ttl_s: small % 5,
            erased: owned.erased,
            group_left: small % 7,
            subject: &owned.parts.0,
            headers: &owned.parts.1,
            payload: &owned.parts.2,
        }
    }

    fn small(mut header: SegmentHeader) -> SegmentHeader {
        header.first_index.0 >>= 1;
        header.base_sequence.0 >>= 1;
        header.key_salt = [0; 16];
        header
    }

    proptest! {
        /// Any bytes of either step may be there or not.
        #[test]
        fn an_erasure_that_is_cut_short_is_told(
            header in any_header(),
            owned in any_record(),
            step in any::<bool>(),
            cut in any::<prop::sample::Index>(),
            reverse in any::<bool>(),
        ) {
            let header = small(header);
            let owned = Owned { kind: 1, erased: false, ..owned };
            let before = record(&owned, &header);
            let (seed, mut bytes) = (header.seed(), vec![]);
            before.encode(&header, seed, &mut bytes).unwrap();
            let erasure = Erasure::new(&bytes, &header, seed).unwrap();
            let front = ERASURE_AT..ERASURE_AT + erasure.front.len();
            prop_assert_eq!(front.end, if header.records == Records::Wide { 30 } else { 10 });
            let mut erased = bytes.clone();
            erased[front.clone()].copy_from_slice(&erasure.front);
            if step {
                bytes = erased.clone();
            }
            erased[erasure.contents.clone()].fill(0);
            let range = if step { erasure.contents.clone() } else { front };
            let at = range.start + cut.index(range.len() + 1);
            let range = if reverse { at..range.end } else { range.start..at };
            let is_new = step || !range.is_empty();
            bytes[range.clone()].copy_from_slice(&erased[range]);
            let read = Record::decode(&bytes, &header, seed).unwrap();
            prop_assert!(read.erased == is_new || !step);
            prop_assert_eq!((read.index, read.sequence, read.subject), (before.index, before.sequence, before.subject));
            prop_assert_eq!(read.payload.len(), before.payload.len());
            prop_assert_eq!(Erasure::new(&bytes, &header, seed), Some(erasure));
            let whole = Record::decode(&erased, &header, seed).unwrap();
            prop_assert!(whole.erased && whole.payload.iter().chain(whole.headers).all(|b| *b == 0));
        }

        #[test]
        fn records_come_back(header in any_header(), owned in any_record(), garbage in any::<u64>()) {
            let header = small(header);
            let mut record = record(&owned, &header);
            if record.previous.0 >= record.sequence.0 {
                record.previous = StreamSeq(0);
            }
            let mut out = vec![1, 2, 3];
            let crc = record.encode(&header, header.seed(), &mut out).unwrap();
            prop_assert_eq!(u32_at(&out, 7), Some(crc));
            prop_assert_eq!(out.len() - 3, record.len(&header));
            out.extend_from_slice(&garbage.to_le_bytes());
            prop_assert_eq!(Record::decode(&out[3..], &header, header.seed()), Ok(record));
            prop_assert_eq!(front(&out[3..], header.records), Some((record.kind, record.subject)));
            let place = owned.ordinal;
            prop_assert!(may_be_at(&out[3..], header.records, place - place.min(9), 9));
            prop_assert!(!may_be_at(&out[3..], header.records, place.wrapping_add(1), 9));
        }

        #[test]
        fn no_flipped_bit_stays_unseen(owned in any_record(), header in any_header(), bit in any::<usize>()) {
            let header = small(header);
            let mut out = vec![];
            record(&owned, &header).encode(&header, header.seed(), &mut out).unwrap();
            let bit = bit % (out.len() * 8);
            // Alone, this one is an erasure that has begun.
            let (byte, erased) = erased_at(header.records);
            prop_assume!((bit / 8, 1 << (bit % 8)) != (byte, erased));
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::decode(&out, &header, header.seed()).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            header in any_header(),
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            honest in any::<bool>(),
        ) {
            if honest && bytes.len() >= 4 {
                let len = u32::try_from(bytes.len()).unwrap();
                bytes[..4].copy_from_slice(&len.to_le_bytes());
            }
            let _ = Record::decode(&bytes, &header, header.seed());
            let _ = Record::fields(&bytes, &header);
            let _ = front(&bytes, header.records);
            let _ = may_be_at(&bytes, header.records, 7, 9);
        }
    }

    #[test]
    fn sealed_records_come_back_with_their_key_only_and_bind_their_fields() {
        use crate::store::crypt::{Cipher, Keys};
        for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
            let keys = Keys::new(cipher, "k", None);
            let stream = keys.stream_key().unwrap().unwrap();
            let mut header = SegmentHeader {
                records: Records::Compact,
                stream: crate::store::StreamId::new("A", "S", [0; 16]),
                number: 3,
                first_index: LogIndex(1),
                base_sequence: StreamSeq(0),
                term: Term(0),
                generation: 0,
                chain: 0,
                key_salt: [0; 16],
                anew: Default::default(),
            };
            header.key_salt = stream.salt(&header);
            let record = Record {
                kind: Kind::Message,
                index: LogIndex(9),
                term: Term(2),
                sequence: StreamSeq(9),
                timestamp: Timestamp(1),
                durable: LogIndex(8),
                previous: StreamSeq(4),
                ttl_s: 5,
                erased: false,
                group_left: 3,
                subject: b"orders.new",
                headers: b"Head",
                payload: b"the payload",
            };
            let mut sealer = Sealer::new(stream.segment(&header).unwrap().into());
            sealer.ready().unwrap();
            let mut out = vec![1, 2, 3];
            let seed = header.seed();
            record
                .encode_with(&header, seed, Some(&mut sealer), &mut out)
                .unwrap();
            out.drain(..3);
            assert_eq!(out.len(), record.len(&header));
            assert!(
                !out.windows(5)
                    .any(|w| b"orders.newHeadthe payload".windows(5).any(|p| p == w))
            );
            let numbers = |r: &Record<'_>| (r.index, r.sequence, r.previous, r.durable, r.term);
            let closed = Record::decode(&out, &header, seed).unwrap();
            assert_eq!(numbers(&closed), numbers(&record), "without a key");
            let mut bytes = out.clone();
            Record::unseal(&mut bytes, &header, &stream.segment(&header).unwrap()).unwrap();
            assert_eq!(Record::fields(&bytes, &header), Some(record));
            let other = keys.stream_key().unwrap().unwrap();
            assert_eq!(
                other.segment(&header).err(),
                Some(crate::store::crypt::KeyFault::Wrong)
            );
            // A record whose checksum somebody made right is still not taken.
            for at in 8..out.len() {
                let mut bytes = out.clone();
                bytes[at] ^= 1;
                let key = stream.segment(&header).unwrap();
                assert!(Record::unseal(&mut bytes, &header, &key).is_none());
            }
            assert_eq!(
                record.encode(&header, seed, &mut vec![]),
                None,
                "never in the clear"
            );
        }
    }

    #[test]
    fn a_small_message_costs_22_bytes_and_4_more_on_a_known_subject() {
        let header = SegmentHeader {
            records: Records::Compact,
            stream: crate::store::StreamId::new("A", "S", [0; 16]),
            number: 1,
            first_index: LogIndex(1),
            base_sequence: StreamSeq(0),
            term: Term(0),
            generation: 0,
            chain: 0,
            key_salt: [0; 16],
            anew: crate::store::file::format::Anew::default(),
        };
        let wide = SegmentHeader {
            records: Records::Wide,
            ..header
        };
        let mut record = Record {
            kind: Kind::Message,
            index: LogIndex(9),
            term: Term(0),
            sequence: StreamSeq(9),
            timestamp: Timestamp(1),
            durable: LogIndex(0),
            previous: StreamSeq(0),
            ttl_s: 0,
            erased: false,
            group_left: 0,
            subject: b"orders",
            headers: b"",
            payload: b"abc",
        };
        assert_eq!(record.len(&header), 22 + 6 + 3);
        assert_eq!(record.len(&wide), 32 + 6 + 3);
        record.previous = StreamSeq(3);
        assert_eq!(record.len(&header), 26 + 6 + 3);
        assert_eq!(record.len(&wide), 36 + 6 + 3);
        // What it says of others, and what only follows from others, takes more.
        record.durable = LogIndex(8);
        assert_eq!(record.len(&header), 30 + 6 + 3);
        record.sequence = StreamSeq(10);
        assert_eq!(record.len(&header), 34 + 6 + 3);
        assert_eq!(record.len(&wide), 36 + 6 + 3);
        // Up to seven records in front of it that are no messages cost nothing.
        record.sequence = StreamSeq(9);
        for before in 0..9 {
            record.index = LogIndex(9 + before);
            let len = if before < 8 { 30 } else { 34 };
            assert_eq!(record.len(&header), len + 6 + 3);
        }
        // A message of another segment is none of this one, nor is one of the other version.
        let mut out = vec![];
        record.encode(&header, header.seed(), &mut out).unwrap();
        let other = SegmentHeader {
            number: 2,
            ..header
        };
        for other in [other, wide] {
            assert_eq!(
                Record::decode(&out, &other, other.seed()),
                Err(RecordFault::Checksum)
            );
        }
        record.index = LogIndex(0);
        assert_eq!(record.encode(&header, 0, &mut vec![]), None);
    }
}
