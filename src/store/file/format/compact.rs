//! The head of a record in version 2 of segments: 22 bytes, and optional fields. What most records of a
//! segment have alike, or what follows from where they are in it, stands in a field only where it does not.

use super::bytes::{u16_at, u64_at};
use super::header::SegmentHeader;
use super::record::{Head, Kind, Numbers, Record};
use crate::store::types::{Term, Timestamp};

/// Bytes before the optional fields.
pub(super) const FIXED_LEN: usize = 22;

/// Where the flag of an erased message is: the byte, and the bit in it.
pub(super) const ERASED_AT: (usize, u8) = (9, 1);

// Kind, flags and skew are one number of 16 bits.
const KIND: u8 = 15;
const TERM: u16 = 1 << 4;
const PREVIOUS: u16 = 1 << 5;
const HEADERS: u16 = 1 << 6;
const TTL: u16 = 1 << 7;
const ERASED: u16 = 1 << 8;
const GROUP: u16 = 1 << 9;
const SEQUENCE: u16 = 1 << 10;
const DURABLE: u16 = 1 << 11;
const WIDE: u16 = 1 << 12;
const SKEW_SHIFT: u32 = 13;
const SKEW_MAX: u16 = 7;

/// Those that have a field of 4 bytes.
const WORDS: u16 = TERM | PREVIOUS | HEADERS | TTL | GROUP | SEQUENCE | DURABLE;
/// Those that have a field.
const FIELDS: u16 = WORDS | WIDE;

const _: () = assert!(ERASED == (ERASED_AT.1 as u16) << 8 && ERASED_AT.0 == 9);

/// The lowest bits of an index; the upper ones are in a field.
const ORDINAL: u32 = 0xff_ffff;

/// Kind, flags and skew of a record.
#[inline]
pub(super) fn word(record: &Record<'_>, header: &SegmentHeader) -> u16 {
    let ordinal = record.index.0.wrapping_sub(header.first_index.0);
    let distance = record.sequence.0.wrapping_sub(header.base_sequence.0);
    let mut word = record.kind as u16;
    let mut option = |flag: u16, is: bool| word |= if is { flag } else { 0 };
    option(TERM, record.term != header.term);
    option(PREVIOUS, record.previous_delta().is_some());
    option(HEADERS, !record.headers.is_empty());
    option(TTL, record.ttl_s != 0);
    option(ERASED, record.erased);
    option(GROUP, record.group_left != 0);
    option(DURABLE, record.durable.0 != 0);
    option(
        WIDE,
        ordinal > ORDINAL.into() || record.subject.len() > usize::from(u8::MAX),
    );
    // Among messages in a row there are few others most often.
    match u16::try_from(ordinal.wrapping_add(1).wrapping_sub(distance)) {
        Ok(skew @ 0..=SKEW_MAX) => word | skew << SKEW_SHIFT,
        _ => word | SEQUENCE,
    }
}

/// Bytes of a head with these flags.
#[inline]
pub(super) fn len(word: u16) -> usize {
    let words = (word & WORDS).count_ones() as usize;
    FIXED_LEN + 4 * words + if word & WIDE == 0 { 0 } else { 2 }
}

/// Appends the head of a record with these flags.
pub(super) fn put(record: &Record<'_>, word: u16, numbers: &Numbers, out: &mut Vec<u8>) {
    let ordinal = numbers.ordinal.to_le_bytes();
    let subject_len = numbers.subject_len.to_le_bytes();
    let mut fixed = [0; FIXED_LEN];
    fixed[0..4].copy_from_slice(&numbers.len.to_le_bytes());
    fixed[8..10].copy_from_slice(&word.to_le_bytes());
    fixed[10] = subject_len[0];
    fixed[11..14].copy_from_slice(&ordinal[..3]);
    fixed[14..22].copy_from_slice(&record.timestamp.0.to_le_bytes());
    out.extend_from_slice(&fixed);
    if word & FIELDS == 0 {
        return;
    }
    let mut option = |flag: u16, value: u32| {
        if word & flag != 0 {
            out.extend_from_slice(&value.to_le_bytes());
        }
    };
    option(TERM, record.term.0);
    option(PREVIOUS, record.previous_delta().unwrap_or(0));
    option(HEADERS, numbers.headers_len);
    option(TTL, record.ttl_s);
    option(GROUP, record.group_left);
    option(SEQUENCE, numbers.distance);
    option(DURABLE, record.lag());
    if word & WIDE != 0 {
        out.extend_from_slice(&[ordinal[3], subject_len[1]]);
    }
}

/// Reads the head at the front of `bytes`.
#[inline]
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let fixed = bytes.first_chunk::<FIXED_LEN>()?;
    let word = u16_at(fixed, 8)?;
    let mut head = Head {
        kind: Kind::of(fixed[8] & KIND)?,
        erased: word & ERASED != 0,
        ordinal: ordinal(fixed),
        timestamp: Timestamp(u64_at(fixed, 14)?),
        subject_len: fixed[10].into(),
        ..Head::new(FIXED_LEN)
    };
    let skew = word >> SKEW_SHIFT;
    let distance = match word & FIELDS {
        0 => None,
        _ => head.read_fields(bytes, word)?,
    };
    head.distance = match distance {
        None => {
            let distance = (u64::from(head.ordinal) + 1).checked_sub(skew.into())?;
            u32::try_from(distance).ok()?
        }
        Some(distance) if skew == 0 => distance,
        Some(_) => return None,
    };
    Some(head)
}

impl Head {
    /// Reads the optional fields, and gives the distance of the sequence, if that is one of them.
    #[inline]
    fn read_fields(&mut self, bytes: &[u8], word: u16) -> Option<Option<u32>> {
        let mut option = |flag: u16| self.option(bytes, word & flag != 0);
        let (term, previous) = (option(TERM)?, option(PREVIOUS)?);
        let (headers_len, ttl_s) = (option(HEADERS)?, option(TTL)?);
        let (group_left, distance) = (option(GROUP)?, option(SEQUENCE)?);
        self.lag = option(DURABLE)?;
        self.term = term.map(Term);
        self.previous = previous.unwrap_or(0);
        self.headers_len = headers_len.unwrap_or(0);
        self.ttl_s = ttl_s.unwrap_or(0);
        self.group_left = group_left.unwrap_or(0);
        if word & WIDE != 0 {
            let [ordinal, subject_len] = *bytes.get(self.len..)?.first_chunk::<2>()?;
            self.ordinal |= u32::from(ordinal) << 24;
            self.subject_len |= u16::from(subject_len) << 8;
            self.len += 2;
        }
        Some(distance)
    }
}

/// The lowest bits of the index.
#[inline]
fn ordinal(fixed: &[u8; FIXED_LEN]) -> u32 {
    u32::from_le_bytes([fixed[11], fixed[12], fixed[13], 0])
}

/// Kind, where the contents begin, and the length of the subject, unchecked.
#[inline]
pub(super) fn front(bytes: &[u8]) -> Option<(Kind, usize, usize)> {
    let fixed = bytes.first_chunk::<FIXED_LEN>()?;
    let word = u16_at(fixed, 8)?;
    let (mut start, mut subject_len) = (FIXED_LEN, usize::from(fixed[10]));
    if word & FIELDS != 0 {
        start = len(word);
        if word & WIDE != 0 {
            subject_len |= usize::from(*bytes.get(start - 1)?) << 8;
        }
    }
    Some((Kind::of(fixed[8] & KIND)?, start, subject_len))
}

/// Whether the index at the front of `bytes` is from `next` to `next + most`, as far as its lowest bits
/// tell, and whether there is a kind.
#[inline]
pub(super) fn may_be_at(bytes: &[u8], next: u32, most: u32) -> bool {
    bytes.first_chunk::<FIXED_LEN>().is_some_and(|fixed| {
        ordinal(fixed).wrapping_sub(next) & ORDINAL <= most && Kind::of(fixed[8] & KIND).is_some()
    })
}
