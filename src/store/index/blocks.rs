//! The index of subjects as checkpoints keep it: blocks of subjects in order, each of which is
//! read by itself.
//!
//! | what | how |
//! |---|---|
//! | from | bytes: the block has all subjects from here on, up to where the next one begins |
//! | as of | number: the last record of the log that it has seen, see [`BlockMap`] |
//! | subjects | number |
//! | for each of them | |
//! | - shared | number: bytes in common with the subject before; 0 for the first |
//! | - rest | number: bytes of the rest, twice, plus 1 if there are bounds; then the rest |
//! | - last | step from the last of the subject before, or from 0 |
//! | - bounds | number: `last - first`; number: `count - 1`, times 4, plus 1 if first is inexact, plus 2 if last is |
//!
//! Numbers, steps and bytes are those of [`varint`](super::varint). A checksum, and what says how
//! long a block is, are left to whoever writes it.

use std::ops::ControlFlow;

use super::builder::Builder;
use super::entry::{Bound, SubjectEntry};
use super::filter::Filters;
use super::scan::Cursor;
use super::sizes::Sizes;
use super::subjects::{SubjectIndex, common};
use super::units::{LogIndex, SUBJECT_BYTES_MAX, StreamSeq};
use super::varint::{self, Malformed, Reader};

/// Bytes of memory for a block to begin with, at most.
const BODY_MIN: usize = 8 << 10;

/// Writes a block of the subjects from the cursor on, which moves behind them: as many as fill
/// `len` bytes, at least one if one is left. Once the cursor is done, all blocks are written.
///
/// The blocks of an index need not be written in one go. Between them the index may change, if
/// `as_of` tells what each block has seen.
pub fn encode_block(
    index: &SubjectIndex,
    cursor: &mut Cursor,
    as_of: LogIndex,
    len: usize,
    out: &mut Vec<u8>,
) {
    encode_sized_block(index, cursor, as_of, len, out, &mut Sizes::default());
}

/// The same, and adds the subjects to `sizes`, which a block does not have.
pub fn encode_sized_block(
    index: &SubjectIndex,
    cursor: &mut Cursor,
    as_of: LogIndex,
    len: usize,
    out: &mut Vec<u8>,
    sizes: &mut Sizes,
) {
    varint::put_bytes(out, cursor.position());
    varint::put(out, as_of.0);
    let (mut body, mut subjects) = (Vec::with_capacity(len.min(BODY_MIN)), 0);
    let (mut last_key, mut last_seq) = (Vec::new(), 0);
    index.scan(&Filters::all(), cursor, usize::MAX, |key, entry| {
        let shared = if subjects == 0 {
            0
        } else {
            common(&last_key, key)
        };
        put_subject(&mut body, shared, &key[shared..], entry, last_seq);
        last_key.truncate(shared);
        last_key.extend_from_slice(&key[shared..]);
        last_seq = entry.last;
        sizes.add(entry);
        subjects += 1;
        if body.len() < len {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    varint::put(out, subjects);
    out.extend_from_slice(&body);
}

fn put_subject(out: &mut Vec<u8>, shared: usize, rest: &[u8], entry: &SubjectEntry, last_seq: u64) {
    let bounds = u64::from(!entry.is_single());
    varint::put(out, shared as u64);
    varint::put(out, (rest.len() as u64) << 1 | bounds);
    out.extend_from_slice(rest);
    varint::put_step(out, last_seq, entry.last);
    if bounds == 1 {
        let between = entry.last - entry.first;
        let inexact = u64::from(!entry.first_exact) | u64::from(!entry.last_exact) << 1;
        varint::put(out, between);
        varint::put(out, (entry.count - 1) << 2 | inexact);
    }
}

/// A block, read from bytes that nobody vouches for.
pub struct Block<'a> {
    from: &'a [u8],
    as_of: LogIndex,
    left: u64,
    started: bool,
    key: Vec<u8>,
    /// How many bytes of it are those of the subject before.
    shared: usize,
    last_seq: u64,
    reader: Reader<'a>,
}

impl<'a> Block<'a> {
    /// Reads the head of the block that `bytes` are.
    ///
    /// # Errors
    /// If they are not the head of a block.
    pub fn read(bytes: &'a [u8]) -> Result<Block<'a>, Malformed> {
        let mut reader = Reader::new(bytes);
        // A cursor behind the longest subject has one byte more.
        let from = reader.bytes(SUBJECT_BYTES_MAX + 1, "block: start")?;
        let as_of = LogIndex(reader.number("block: as of")?);
        let left = reader.number("block: subjects")?;
        let (key, last_seq, started) = (Vec::new(), 0, false);
        Ok(Block {
            from,
            as_of,
            left,
            started,
            key,
            shared: 0,
            last_seq,
            reader,
        })
    }

    /// What no subject of the block is before.
    pub fn from(&self) -> &'a [u8] {
        self.from
    }

    /// The last record that the block has seen.
    pub fn as_of(&self) -> LogIndex {
        self.as_of
    }

    /// The next subject; `None` at the end.
    ///
    /// # Errors
    /// If what follows is not a subject of a block, or something is left at the end.
    #[inline]
    pub fn next_subject(&mut self) -> Result<Option<(&[u8], SubjectEntry)>, Malformed> {
        if self.left == 0 {
            self.reader
                .clone()
                .finish("block: more bytes than subjects")?;
            return Ok(None);
        }
        let shared = self.reader.length(self.key.len(), "block: shared")?;
        let head = self.reader.number("block: rest")?;
        let rest_max = (SUBJECT_BYTES_MAX - shared) as u64;
        if head >> 1 > rest_max {
            return Err(Malformed("block: length of rest"));
        }
        let rest_len = usize::try_from(head >> 1).expect("it is no longer than a subject");
        let rest = self.reader.take(rest_len, "block: rest")?;
        let ascending = if self.started {
            self.key[shared..] < *rest
        } else {
            self.from <= rest
        };
        if !ascending {
            return Err(Malformed("block: subjects out of order"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        self.shared = shared;
        let last = self.reader.step(self.last_seq, "block: last")?;
        let entry = if head & 1 == 0 {
            SubjectEntry::single(StreamSeq(last))
        } else {
            self.bounds(last)?
        };
        self.last_seq = last;
        self.started = true;
        self.left -= 1;
        Ok(Some((&self.key, entry)))
    }

    fn bounds(&mut self, last: u64) -> Result<SubjectEntry, Malformed> {
        let bad = Malformed("block: bounds");
        let first = last.checked_sub(self.reader.number(bad.0)?).ok_or(bad)?;
        let count = self.reader.number(bad.0)?;
        let bound = |seq, exact| {
            if exact {
                Bound::Exact(StreamSeq(seq))
            } else {
                Bound::Inexact(StreamSeq(seq))
            }
        };
        let (first, last) = (bound(first, count & 1 == 0), bound(last, count & 2 == 0));
        SubjectEntry::new(first, last, (count >> 2) + 1).ok_or(bad)
    }
}

impl Builder {
    /// Adds the subjects of a block, which has to follow the one before.
    ///
    /// # Errors
    /// If the block is malformed or does not follow; some of its subjects may have been added.
    pub fn push_block(&mut self, block: &mut Block<'_>) -> Result<(), Malformed> {
        self.push_sized_block(block, || Ok(0))
    }

    /// The same, with the sizes of the subjects' only messages, one after the other, 0 if one is not known.
    ///
    /// # Errors
    /// As [`Builder::push_block`], and if there is no size, or one for several messages.
    #[inline]
    pub fn push_sized_block(
        &mut self,
        block: &mut Block<'_>,
        mut size: impl FnMut() -> Result<u32, Malformed>,
    ) -> Result<(), Malformed> {
        if self.last_subject().is_some_and(|last| last >= block.from) {
            return Err(Malformed("block: does not follow the one before"));
        }
        while let Some((_, mut entry)) = block.next_subject()? {
            entry.bytes = size()?;
            if entry.bytes != 0 && !entry.is_single() {
                return Err(Malformed("block: the size of several messages"));
            }
            self.push_sharing(block.shared, &block.key, &entry)?;
        }
        Ok(())
    }
}

/// What each block of a checkpoint has seen.
///
/// A checkpoint that is written in parts, between which the index changes, has no one point of the
/// log to which it belongs. Each of its blocks has: the last record that was applied when the block
/// was written. Whoever replays the log from the oldest of
/// these points on asks, for each record, whether the record's subject has seen it already.
#[derive(Clone, Debug, Default)]
pub struct BlockMap {
    /// Where the ranges begin, in order, and what they have seen. Neighbours differ.
    ranges: Vec<(Box<[u8]>, LogIndex)>,
}

impl BlockMap {
    /// A map without blocks.
    pub fn new() -> BlockMap {
        BlockMap::default()
    }

    /// Adds the next block, in order.
    pub fn push(&mut self, block: &Block<'_>) {
        if self
            .ranges
            .last()
            .is_none_or(|(_, as_of)| *as_of != block.as_of)
        {
            self.ranges.push((block.from.into(), block.as_of));
        }
    }

    /// What the block has seen to which a subject belongs; 0 if there is none.
    pub fn as_of(&self, subject: &[u8]) -> LogIndex {
        let behind = self.ranges.partition_point(|(from, _)| **from <= *subject);
        let range = behind.checked_sub(1).map(|i| self.ranges[i].1);
        range.unwrap_or_default()
    }

    /// The oldest of what the blocks have seen: from here on the log has to be replayed.
    pub fn oldest(&self) -> LogIndex {
        self.ranges
            .iter()
            .map(|(_, as_of)| *as_of)
            .min()
            .unwrap_or_default()
    }
}
