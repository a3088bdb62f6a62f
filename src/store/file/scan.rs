//! Reads a segment that has no footer, or whose footer is no help: finds its records, and what is
//! damaged between them.
//!
//! The log below decides what damage means. Here it is only found: after bytes that are no record,
//! the next place is looked for at which one stands that can follow, which its number and its
//! checksum tell. Neither can be forged by who writes messages: the checksums of a segment start
//! from its header, which holds the stream's random incarnation.

use super::format::{
    FIRST_RECORD, Kind, Layout, RECORD_MIN, Record, RecordFault, SegmentHeader, may_be_at,
    record_len, u32_at,
};
use super::open_segment::Contents;
use super::pack::{Block, Unpacked};
use crate::store::crypt::SealKey;
use crate::store::types::{LogIndex, StreamSeq};

/// What a torn end is overwritten with. Zeros would do, were it not for syncs that fail: then the disk
/// may still have what was there, and zeros in memory would not tell the next opening that
/// something is to be overwritten again.
pub(super) const FILLER: u8 = 0xff;

/// What is in a segment.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// The records, lost ones included.
    pub(super) contents: Contents,
    pub(super) holes: Vec<Hole>,
    /// Where the last record ends.
    pub(super) end: u32,
    /// Where bytes end that are neither zero nor filler.
    pub(super) used: u32,
    /// Where bytes end that are not zero.
    pub(super) filled: u32,
    /// The highest index of which a record says that it was on the disk for good.
    pub(super) durable: LogIndex,
    /// Whether records that were found are no longer in `contents`, whose sums are not right then.
    pub(super) is_cut: bool,
}

/// Records that are damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hole {
    /// The first of them, counted in the segment, and how many there are.
    pub(super) ordinal: u32,
    pub(super) records: u32,
    /// Where it begins in the file.
    pub(super) at: u32,
    /// Messages that are lost with them have sequences between these two.
    pub(super) after: StreamSeq,
    pub(super) before: StreamSeq,
}

/// Reads the records of a segment whose file has these bytes, the header included. The key is needed
/// in an encrypted segment that is packed.
pub(super) fn scan(bytes: &[u8], header: &SegmentHeader, key: Option<&SealKey>) -> Scan {
    let seed = header.seed();
    let filled = end_without(bytes, |byte| byte == 0);
    let used = end_without(&bytes[..filled], |byte| byte == 0 || byte == FILLER);
    let mut found = Scan {
        contents: Contents::new(header),
        holes: vec![],
        end: FIRST_RECORD,
        used: u32::try_from(used).unwrap_or(u32::MAX),
        filled: u32::try_from(filled).unwrap_or(u32::MAX),
        durable: header.anew.proven,
        is_cut: false,
    };
    if header.anew.layout == Layout::Packed {
        scan_blocks(bytes, header, key, &mut found);
        return found;
    }
    let mut sequence = header.base_sequence;
    let mut at = FIRST_RECORD as usize;
    while at < used {
        let next = found.contents.records();
        let here = follows(bytes, at, header, seed, (next, u32::MAX - next), sequence);
        let (start, record) = match here {
            Some(record) => (at, record),
            None => match search(bytes, at + 1..used, header, seed, next, sequence) {
                Some(found) => found,
                None => break,
            },
        };
        let missed = ordinal(&record, header) - next;
        if start == at && header.generation > 0 {
            let contents = &mut found.contents;
            contents.add_removed(missed, &record, header.base_sequence);
        } else if start > at || missed > 0 {
            found.holes.push(Hole {
                ordinal: next,
                records: missed,
                at: u32::try_from(at).unwrap_or(u32::MAX),
                after: sequence,
                before: match record.kind {
                    Kind::Message => record.sequence,
                    _ => record.sequence.next(),
                },
            });
            found.contents.add_lost(missed);
        }
        let crc = u32_at(bytes, start + 4).unwrap_or_default();
        let place = u32::try_from(start).unwrap_or(u32::MAX);
        let base = header.base_sequence;
        found.contents.add(&record, base, place, crc);
        found.durable = found.durable.max(record.durable);
        sequence = record.sequence;
        at = start + record_len(&bytes[start..]).unwrap_or(bytes.len());
        found.end = u32::try_from(at).unwrap_or(u32::MAX);
    }
    found
}

/// Where bytes end, without those at the end for which this holds.
fn end_without(bytes: &[u8], is_free: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .rposition(|b| !is_free(*b))
        .map_or(0, |at| at + 1)
}

/// The same for a packed segment. Records that are missing where blocks follow each other were taken
/// out; those of damaged blocks are lost, the ones among them that were taken out before included.
fn scan_blocks(bytes: &[u8], header: &SegmentHeader, key: Option<&SealKey>, found: &mut Scan) {
    let seed = header.seed();
    let used = (found.used as usize).min(bytes.len());
    let mut sequence = header.base_sequence;
    let mut at = FIRST_RECORD as usize;
    let read = |at: usize| Unpacked::read(&bytes[at..], seed, key);
    while at < used {
        let next = found.contents.records();
        let follows = |block: &Unpacked| block.ordinal >= next;
        let here = read(at).filter(follows).map(|block| (at, block));
        let block =
            here.or_else(|| (at + 1..used).find_map(|at| Some((at, read(at).filter(follows)?))));
        let Some((start, block)) = block else {
            break;
        };
        let file_at = u32::try_from(start).unwrap_or(u32::MAX);
        let mut is_hole = start > at;
        let mut offsets = block.offsets().peekable();
        if let Some(offset) = offsets.peek() {
            let offset = *offset;
            found.contents.blocks.push(Block {
                at: file_at,
                offset,
            });
        }
        for offset in offsets {
            let record = block.record(offset, header);
            let next = found.contents.records();
            let fits = |r: &Record<'_>| ordinal(r, header) >= next && r.sequence >= sequence;
            let Some(record) = record.filter(fits) else {
                break;
            };
            let missed = ordinal(&record, header) - next;
            if std::mem::take(&mut is_hole) {
                found.holes.push(Hole {
                    ordinal: next,
                    records: missed,
                    at: u32::try_from(at).unwrap_or(u32::MAX),
                    after: sequence,
                    before: match record.kind {
                        Kind::Message => record.sequence,
                        _ => record.sequence.next(),
                    },
                });
                found.contents.add_lost(missed);
            } else {
                let contents = &mut found.contents;
                contents.add_removed(missed, &record, header.base_sequence);
            }
            let base = header.base_sequence;
            found.contents.add(&record, base, offset, 0);
            found.durable = found.durable.max(record.durable);
            sequence = record.sequence;
        }
        at = start + block.file_len;
        found.end = u32::try_from(at).unwrap_or(u32::MAX);
    }
}

fn ordinal(record: &Record<'_>, header: &SegmentHeader) -> u32 {
    u32::try_from(record.index.0 - header.first_index.0).unwrap_or(u32::MAX)
}

/// The record at `at`, if there is one that can stand behind `next` others and this sequence, with
/// `most` others between them at most.
fn follows<'a>(
    bytes: &'a [u8],
    at: usize,
    header: &SegmentHeader,
    seed: u32,
    (next, most): (u32, u32),
    sequence: StreamSeq,
) -> Option<Record<'a>> {
    let bytes = bytes.get(at..)?;
    if !may_be_at(bytes, header.records, next, most) {
        return None;
    }
    let can_follow = |record: &Record<'_>| {
        let between = ordinal(record, header).checked_sub(next);
        between.is_some_and(|n| n <= most) && record.sequence >= sequence
    };
    match Record::decode(bytes, header, seed) {
        Ok(record) => Some(record).filter(can_follow),
        Err(
            RecordFault::End
            | RecordFault::Short
            | RecordFault::Length
            | RecordFault::Checksum
            | RecordFault::Invalid,
        ) => None,
    }
}

/// The next record after damage. Records have a number of bytes at least, which bounds what its number
/// can be.
fn search<'a>(
    bytes: &'a [u8],
    range: std::ops::Range<usize>,
    header: &SegmentHeader,
    seed: u32,
    next: u32,
    sequence: StreamSeq,
) -> Option<(usize, Record<'a>)> {
    let start = range.start;
    let most = |at: usize| u32::try_from((at - start) / RECORD_MIN + 1).unwrap_or(u32::MAX);
    range
        .filter(|at| {
            let rest = &bytes[*at..];
            let len = record_len(rest).unwrap_or(usize::MAX);
            len <= rest.len() && may_be_at(rest, header.records, next, most(*at))
        })
        .find_map(|at| {
            let places = (next, most(at));
            Some((at, follows(bytes, at, header, seed, places, sequence)?))
        })
}
