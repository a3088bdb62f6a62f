//! The head of a record in version 1 of segments: 32 bytes, and 4 for each optional field. Such segments
//! are read, and appended to until they are full; new ones have [compact](super::compact) heads.

use super::bytes::{u16_at, u32_at, u64_at};
use super::header::SegmentHeader;
use super::record::{Head, Kind, Numbers, Record};
use crate::store::types::{Term, Timestamp};

/// Bytes before the optional fields.
pub(super) const FIXED_LEN: usize = 32;

/// Where the flag of an erased message is: the byte, and the bit in it.
pub(super) const ERASED_AT: (usize, u8) = (29, ERASED);

const TERM: u8 = 1;
const PREVIOUS: u8 = 2;
const HEADERS: u8 = 4;
const TTL: u8 = 8;
const ERASED: u8 = 16;
const GROUP: u8 = 32;
/// Those that have a field.
const FIELDS: u8 = TERM | PREVIOUS | HEADERS | TTL | GROUP;
const FLAGS: u8 = FIELDS | ERASED;

/// The flags that a record has.
#[inline]
pub(super) fn flags(record: &Record<'_>, header: &SegmentHeader) -> u8 {
    let mut flags = 0;
    let mut option = |flag: u8, is: bool| flags |= if is { flag } else { 0 };
    option(TERM, record.term != header.term);
    option(PREVIOUS, record.previous_delta().is_some());
    option(HEADERS, !record.headers.is_empty());
    option(TTL, record.ttl_s != 0);
    option(ERASED, record.erased);
    option(GROUP, record.group_left != 0);
    flags
}

/// Bytes of a head with these flags.
#[inline]
pub(super) fn len(flags: u8) -> usize {
    FIXED_LEN + 4 * (flags & FIELDS).count_ones() as usize
}

/// Appends the head of a record with these flags.
pub(super) fn put(record: &Record<'_>, flags: u8, numbers: &Numbers, out: &mut Vec<u8>) {
    let mut fixed = [0; FIXED_LEN];
    fixed[0..4].copy_from_slice(&numbers.len.to_le_bytes());
    fixed[8..12].copy_from_slice(&numbers.ordinal.to_le_bytes());
    fixed[12..16].copy_from_slice(&numbers.distance.to_le_bytes());
    fixed[16..24].copy_from_slice(&record.timestamp.0.to_le_bytes());
    fixed[24..28].copy_from_slice(&record.lag().to_le_bytes());
    fixed[28] = record.kind as u8;
    fixed[29] = flags;
    fixed[30..32].copy_from_slice(&numbers.subject_len.to_le_bytes());
    out.extend_from_slice(&fixed);
    if flags & FIELDS == 0 {
        return;
    }
    let mut option = |flag: u8, value: u32| {
        if flags & flag != 0 {
            out.extend_from_slice(&value.to_le_bytes());
        }
    };
    option(TERM, record.term.0);
    option(PREVIOUS, record.previous_delta().unwrap_or(0));
    option(HEADERS, numbers.headers_len);
    option(TTL, record.ttl_s);
    option(GROUP, record.group_left);
}

/// Reads the head at the front of `bytes`.
#[inline]
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let fixed = bytes.first_chunk::<FIXED_LEN>()?;
    let flags = fixed[29];
    if flags & !FLAGS != 0 {
        return None;
    }
    let mut head = Head {
        kind: Kind::of(fixed[28])?,
        erased: flags & ERASED != 0,
        ordinal: u32_at(fixed, 8)?,
        distance: u32_at(fixed, 12)?,
        timestamp: Timestamp(u64_at(fixed, 16)?),
        lag: Some(u32_at(fixed, 24)?),
        subject_len: u16_at(fixed, 30)?,
        ..Head::new(FIXED_LEN)
    };
    if flags & FIELDS != 0 {
        let mut option = |flag: u8| head.option(bytes, flags & flag != 0);
        let (term, previous) = (option(TERM)?, option(PREVIOUS)?);
        let (headers_len, ttl_s) = (option(HEADERS)?, option(TTL)?);
        let group_left = option(GROUP)?;
        head.term = term.map(Term);
        head.previous = previous.unwrap_or(0);
        head.headers_len = headers_len.unwrap_or(0);
        head.ttl_s = ttl_s.unwrap_or(0);
        head.group_left = group_left.unwrap_or(0);
    }
    Some(head)
}

/// Kind, where the contents begin, and the length of the subject, unchecked.
#[inline]
pub(super) fn front(bytes: &[u8]) -> Option<(Kind, usize, usize)> {
    let fixed = bytes.first_chunk::<FIXED_LEN>()?;
    let subject_len = usize::from(u16_at(fixed, 30)?);
    Some((Kind::of(fixed[28])?, len(fixed[29]), subject_len))
}

/// Whether the index at the front of `bytes` is from `next` to `next + most`, as far as it tells.
#[inline]
pub(super) fn may_be_at(bytes: &[u8], next: u32, most: u32) -> bool {
    u32_at(bytes, 8).is_some_and(|n| n.wrapping_sub(next) <= most)
}
