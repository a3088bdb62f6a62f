//! Sets of sequence numbers: the messages of a stream that were deleted.
//!
//! Numbers are taken in blocks of 8192. A block that has some of them has a bitmap of 1 KiB at most; a run
//! of blocks that have all of them is one entry, however long it is. So a stream of any length
//! costs at most one bit a message, and nothing where nothing, or everything, was deleted.

use std::collections::BTreeMap;

use super::units::StreamSeq;
use super::varint::{self, Malformed, Reader};

const BLOCK_BITS: u32 = 13;
/// Sequence numbers in a block.
const BLOCK: usize = 1 << BLOCK_BITS;
const WORDS: usize = BLOCK / 64;

/// The last block. It has one number less than the others, since the first number is 1 and the last
/// one 2^64 - 1; so it is never full.
const LAST_BLOCK: u64 = u64::MAX >> BLOCK_BITS;

/// A set of sequence numbers from 1 on. 0 is in no set.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SequenceSet {
    /// Runs of full blocks, by the first, with the last. There is a gap between them.
    full: BTreeMap<u64, u64>,
    /// Blocks that are neither full nor empty.
    partial: BTreeMap<u64, Box<Bitmap>>,
    len: u64,
}

/// The bits of a block in words, of which those are kept that are neither empty nor full: so neither a
/// few numbers nor a long run cost much, and a set takes not much more memory than its bytes in a file.
#[derive(Clone, PartialEq, Eq, Default)]
struct Bitmap {
    /// A bit for each word that is kept, and for each that is full.
    mixed: u128,
    full: u128,
    /// Those that are kept, in order.
    words: Vec<u64>,
    /// How many bits are set: at least one, and not all.
    count: u32,
}

const _: () = assert!(WORDS == u128::BITS as usize);

/// What a block holds.
enum Content<'a> {
    Nothing,
    /// All, as do the blocks up to this one.
    Everything(u64),
    Some(&'a Bitmap),
}

/// A set and the block of it that was asked about last; see [`SequenceSet::lookup`].
pub struct Lookup<'a> {
    set: &'a SequenceSet,
    block: Option<u64>,
    content: Content<'a>,
}

impl Lookup<'_> {
    /// Whether a number is in the set.
    pub fn contains(&mut self, seq: StreamSeq) -> bool {
        let Some(index) = seq.0.checked_sub(1) else {
            return false;
        };
        let (block, bit) = split(index);
        if self.block != Some(block) {
            self.content = self.set.content(block);
            self.block = Some(block);
        }
        match self.content {
            Content::Nothing => false,
            Content::Everything(_) => true,
            Content::Some(bitmap) => bitmap.has(bit),
        }
    }

    /// How many numbers from `seq` on are in the set, as far as its block goes; 0 if it is not.
    pub fn run(&mut self, seq: StreamSeq) -> u64 {
        if !self.contains(seq) {
            return 0;
        }
        let (_, bit) = split(seq.0 - 1);
        let end = match self.content {
            Content::Some(bitmap) => bitmap.next_clear(bit).unwrap_or(BLOCK),
            _ => BLOCK,
        };
        (end - bit) as u64
    }
}

/// A number as an index from 0 on: its block, and the bit in it.
fn split(index: u64) -> (u64, usize) {
    let bit = usize::try_from(index & (BLOCK as u64 - 1)).expect("a block is small");
    (index >> BLOCK_BITS, bit)
}

fn join(block: u64, bit: usize) -> u64 {
    block << BLOCK_BITS | bit as u64
}

impl SequenceSet {
    /// A set of nothing, which owns no memory.
    pub const fn new() -> SequenceSet {
        SequenceSet {
            full: BTreeMap::new(),
            partial: BTreeMap::new(),
            len: 0,
        }
    }

    /// Adds a number; gives whether it is new.
    pub fn insert(&mut self, seq: StreamSeq) -> bool {
        let Some(index) = seq.0.checked_sub(1) else {
            return false;
        };
        let (block, bit) = split(index);
        if self.full_run(block).is_some() {
            return false;
        }
        let bitmap = self.partial.entry(block).or_default();
        let new = bitmap.set(bit, bit);
        self.len += u64::from(new);
        self.collapse(block);
        new == 1
    }

    /// Takes a number out; gives whether it was in.
    pub fn remove(&mut self, seq: StreamSeq) -> bool {
        let before = self.len;
        self.remove_range(seq, seq);
        self.len < before
    }

    /// Adds all numbers from `first` to `last`.
    pub fn insert_range(&mut self, first: StreamSeq, last: StreamSeq) {
        self.change_range(first, last, true);
    }

    /// Adds those numbers from `first` to `last` that are in another set.
    pub fn insert_from(&mut self, other: &SequenceSet, first: StreamSeq, last: StreamSeq) {
        let first = first.0.max(1);
        if first > last.0 {
            return;
        }
        let ((from, from_bit), (to, to_bit)) = (split(first - 1), split(last.0 - 1));
        for (block, bitmap) in other.partial.range(from..=to) {
            if self.full_run(*block).is_some() {
                continue;
            }
            let low = if *block == from { from_bit } else { 0 };
            let high = if *block == to { to_bit } else { BLOCK - 1 };
            let own = self.partial.entry(*block).or_default();
            self.len += u64::from(own.set_from(bitmap, low, high));
            match own.count {
                0 => drop(self.partial.remove(block)),
                _ => self.collapse(*block),
            }
        }
        let before = other.full.range(..from).next_back();
        for (run, run_last) in before.into_iter().chain(other.full.range(from..=to)) {
            let low = join(*run, 0).max(first - 1);
            let high = join(*run_last, BLOCK - 1).min(last.0 - 1);
            self.insert_range(StreamSeq(low + 1), StreamSeq(high + 1));
        }
    }

    /// Asks about numbers of which most are near the one before.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup {
            set: self,
            block: None,
            content: Content::Nothing,
        }
    }

    /// Takes out all numbers from `first` to `last`.
    pub fn remove_range(&mut self, first: StreamSeq, last: StreamSeq) {
        self.change_range(first, last, false);
    }

    /// Takes out everything.
    pub fn clear(&mut self) {
        *self = SequenceSet::new();
    }

    /// Whether a number is in the set.
    pub fn contains(&self, seq: StreamSeq) -> bool {
        let Some(index) = seq.0.checked_sub(1) else {
            return false;
        };
        let (block, bit) = split(index);
        match self.content(block) {
            Content::Nothing => false,
            Content::Everything(_) => true,
            Content::Some(bitmap) => bitmap.has(bit),
        }
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no number is in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many numbers from `first` to `last` are in the set.
    pub fn count_range(&self, first: StreamSeq, last: StreamSeq) -> u64 {
        let first = first.0.max(1);
        if first > last.0 {
            return 0;
        }
        let ((from, from_bit), (to, to_bit)) = (split(first - 1), split(last.0 - 1));
        let partial: u64 = self
            .partial
            .range(from..=to)
            .map(|(block, bitmap)| {
                let low = if *block == from { from_bit } else { 0 };
                let high = if *block == to { to_bit } else { BLOCK - 1 };
                u64::from(bitmap.count_range(low, high))
            })
            .sum();
        let before = self.full_run(from).map(|last| (from, last));
        let runs = self
            .full
            .range(from..=to)
            .map(|(first, last)| (*first, *last));
        let full: u64 = before
            .filter(|_| !self.full.contains_key(&from))
            .into_iter()
            .chain(runs)
            .map(|(run, run_last)| {
                let low = join(run, if run == from { from_bit } else { 0 });
                let high = if run_last < to {
                    join(run_last, BLOCK - 1)
                } else {
                    join(to, to_bit)
                };
                high - low + 1
            })
            .sum();
        partial + full
    }

    /// The first number in the set at `from` or behind it.
    pub fn next_present(&self, from: StreamSeq) -> Option<StreamSeq> {
        let (block, bit) = split(from.0.max(1) - 1);
        match self.content(block) {
            Content::Everything(_) => return Some(StreamSeq(from.0.max(1))),
            Content::Some(bitmap) => {
                if let Some(bit) = bitmap.next_set(bit) {
                    return Some(StreamSeq(join(block, bit) + 1));
                }
            }
            Content::Nothing => {}
        }
        let behind = block + 1..;
        let full = self
            .full
            .range(behind.clone())
            .next()
            .map(|(run, _)| join(*run, 0));
        let partial = self.partial.range(behind).next().map(|(block, bitmap)| {
            let bit = bitmap.next_set(0).expect("no bitmap is empty");
            join(*block, bit)
        });
        let first = match (full, partial) {
            (Some(full), Some(partial)) => full.min(partial),
            (full, partial) => full.or(partial)?,
        };
        Some(StreamSeq(first + 1))
    }

    /// The first number at `from` or behind it, but from 1 on, that is not in the set; `None` if
    /// there is none up to the last number there is.
    #[inline]
    pub fn next_absent(&self, from: StreamSeq) -> Option<StreamSeq> {
        match self.len {
            0 => Some(from.max(StreamSeq(1))),
            _ => self.next_in_gap(from),
        }
    }

    fn next_in_gap(&self, from: StreamSeq) -> Option<StreamSeq> {
        let mut index = from.0.max(1) - 1;
        loop {
            let (block, bit) = split(index);
            let next = match self.content(block) {
                Content::Nothing => return Some(StreamSeq(index + 1)),
                Content::Everything(last) => last + 1,
                Content::Some(bitmap) => match bitmap.next_clear(bit) {
                    Some(bit) => return Some(join(block, bit)).and_then(from_index),
                    None => block + 1,
                },
            };
            if next > LAST_BLOCK {
                return None;
            }
            index = join(next, 0);
        }
    }

    /// The last number at `from` or before it that is not in the set; `None` if that is none
    /// from 1 on.
    pub fn previous_absent(&self, from: StreamSeq) -> Option<StreamSeq> {
        let mut index = from.0.checked_sub(1)?;
        loop {
            let (block, bit) = split(index);
            let run = match self.content(block) {
                Content::Nothing => return Some(StreamSeq(index + 1)),
                Content::Everything(_) => *self.full.range(..=block).next_back()?.0,
                Content::Some(bitmap) => match bitmap.previous_clear(bit) {
                    Some(bit) => return Some(StreamSeq(join(block, bit) + 1)),
                    None => block,
                },
            };
            index = join(run, 0).checked_sub(1)?;
        }
    }

    /// The runs of numbers in the set, with the first and the last of each, in order, from the
    /// first number that is not before `from` on.
    pub fn ranges(&self, from: StreamSeq) -> impl Iterator<Item = (StreamSeq, StreamSeq)> {
        let mut at = Some(from);
        std::iter::from_fn(move || {
            let first = self.next_present(at?)?;
            at = self.next_absent(first);
            let last = at.map_or(StreamSeq(u64::MAX), StreamSeq::previous);
            Some((first, last))
        })
    }

    /// Bytes of memory that the set owns, about.
    pub fn memory_bytes(&self) -> usize {
        let entry = 2 * size_of::<u64>();
        let bitmaps: usize = self.partial.values().map(|b| b.memory_bytes()).sum();
        bitmaps + (self.partial.len() + self.full.len()) * entry * 3 / 2
    }

    /// Appends the set in the form that [`SequenceSet::decode`] reads: the number of entries, and
    /// for each of them the blocks left out since the one before, times 4, plus its kind, and then
    ///
    /// - kind 0, full blocks: their number less one;
    /// - kind 1, runs of numbers in a block: how many, and for each of them the numbers left out
    ///   since the one before and its length less one;
    /// - kind 2, a bitmap: 1 KiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, (self.full.len() + self.partial.len()) as u64);
        let mut next = 0;
        let mut full = self.full.iter().peekable();
        let mut partial = self.partial.iter().peekable();
        loop {
            let run = full.next_if(|(run, _)| partial.peek().is_none_or(|(block, _)| run < block));
            if let Some((first, last)) = run {
                varint::put(out, (first - next) << 2 | FULL);
                varint::put(out, last - first);
                next = last + 1;
            } else if let Some((block, bitmap)) = partial.next() {
                bitmap.encode(out, block - next);
                next = block + 1;
            } else {
                return;
            }
        }
    }

    /// Reads a set, as far as it goes.
    ///
    /// # Errors
    /// If the bytes are not those of a set. What is read takes some 30 times its bytes at most.
    pub fn decode(reader: &mut Reader<'_>) -> Result<SequenceSet, Malformed> {
        let bad = Malformed("set of sequence numbers");
        let mut set = SequenceSet::new();
        let mut next = 0u64;
        for _ in 0..reader.number(bad.0)? {
            let head = reader.number(bad.0)?;
            let block = next
                .checked_add(head >> 2)
                .filter(|b| *b <= LAST_BLOCK)
                .ok_or(bad)?;
            let last = match head & 3 {
                FULL => {
                    let more = reader.number(bad.0)?;
                    let last = block
                        .checked_add(more)
                        .filter(|b| *b < LAST_BLOCK)
                        .ok_or(bad)?;
                    set.len += (last - block + 1) << BLOCK_BITS;
                    set.add_full(block, last);
                    last
                }
                kind => {
                    let bitmap = Bitmap::decode(reader, kind)?;
                    if block == LAST_BLOCK && bitmap.has(BLOCK - 1) {
                        return Err(bad);
                    }
                    set.len += u64::from(bitmap.count);
                    set.partial.insert(block, Box::new(bitmap));
                    block
                }
            };
            next = last + 1;
        }
        Ok(set)
    }

    fn change_range(&mut self, first: StreamSeq, last: StreamSeq, insert: bool) {
        let first = first.0.max(1);
        if first > last.0 {
            return;
        }
        let ((from, from_bit), (to, to_bit)) = (split(first - 1), split(last.0 - 1));
        if from == to {
            return self.change_block(from, from_bit, to_bit, insert);
        }
        self.change_block(from, from_bit, BLOCK - 1, insert);
        self.change_block(to, 0, to_bit, insert);
        let (from, to) = (from + 1, to - 1);
        if from > to {
            return;
        }
        let within = self.count_range(
            StreamSeq(join(from, 0) + 1),
            StreamSeq(join(to, BLOCK - 1) + 1),
        );
        self.len -= within;
        self.clear_blocks(from, to);
        if insert {
            self.len += (to - from + 1) << BLOCK_BITS;
            self.add_full(from, to);
        }
    }

    fn change_block(&mut self, block: u64, low: usize, high: usize, insert: bool) {
        let whole = low == 0 && high == BLOCK - 1;
        if self.full_run(block).is_some() {
            if insert {
                return;
            }
            self.clear_blocks(block, block);
            self.len -= BLOCK as u64;
            if whole {
                return;
            }
            let mut bitmap = Bitmap::default();
            bitmap.set(0, BLOCK - 1);
            bitmap.clear(low, high);
            self.len += u64::from(bitmap.count);
            self.partial.insert(block, Box::new(bitmap));
        } else if insert {
            let bitmap = self.partial.entry(block).or_default();
            self.len += u64::from(bitmap.set(low, high));
            self.collapse(block);
        } else if let Some(bitmap) = self.partial.get_mut(&block) {
            self.len -= u64::from(bitmap.clear(low, high));
            if bitmap.count == 0 {
                self.partial.remove(&block);
            }
        }
    }

    /// Makes a bitmap with all bits an entry of full blocks.
    fn collapse(&mut self, block: u64) {
        let full = self
            .partial
            .get(&block)
            .is_some_and(|bitmap| bitmap.count as usize == BLOCK);
        if full {
            self.partial.remove(&block);
            self.add_full(block, block);
        }
    }

    /// Empties whole blocks; their numbers have been counted off.
    fn clear_blocks(&mut self, from: u64, to: u64) {
        while let Some((&block, _)) = self.partial.range(from..=to).next() {
            self.partial.remove(&block);
        }
        while let Some((&run, &last)) = self.full.range(..=to).next_back() {
            if last < from {
                break;
            }
            self.full.remove(&run);
            if last > to {
                self.full.insert(to + 1, last);
            }
            if run < from {
                self.full.insert(run, from - 1);
                break;
            }
        }
    }

    /// Adds a run of full blocks, none of which has an entry, and joins it with its neighbours.
    fn add_full(&mut self, mut from: u64, mut to: u64) {
        if let Some(before) = from.checked_sub(1)
            && let Some((&run, &last)) = self.full.range(..from).next_back()
            && last == before
        {
            self.full.remove(&run);
            from = run;
        }
        if let Some(last) = self.full.remove(&(to + 1)) {
            to = last;
        }
        self.full.insert(from, to);
    }

    fn content(&self, block: u64) -> Content<'_> {
        if let Some(bitmap) = self.partial.get(&block) {
            return Content::Some(bitmap);
        }
        self.full_run(block)
            .map_or(Content::Nothing, Content::Everything)
    }

    /// The last block of the run of full blocks that a block is in.
    fn full_run(&self, block: u64) -> Option<u64> {
        let (_, last) = self.full.range(..=block).next_back()?;
        (*last >= block).then_some(*last)
    }

    /// Checks what must hold between calls, in time linear to the size of the set.
    ///
    /// # Panics
    /// When the set is inconsistent, which is a bug in it.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let mut len = 0;
        for (block, bitmap) in &self.partial {
            let count: u32 = (0..WORDS).map(|i| bitmap.word(i).count_ones()).sum();
            assert_eq!(count, bitmap.count);
            assert_eq!(bitmap.words.len(), bitmap.mixed.count_ones() as usize);
            assert_eq!(bitmap.mixed & bitmap.full, 0);
            assert!(bitmap.words.iter().all(|w| *w != 0 && *w != u64::MAX));
            assert!(count > 0 && (count as usize) < BLOCK);
            assert!(self.full_run(*block).is_none());
            len += u64::from(count);
        }
        let mut free = None;
        for (run, last) in &self.full {
            assert!(run <= last && *last < LAST_BLOCK);
            assert!(free.is_none_or(|free| *run > free), "runs are joined");
            free = Some(last + 1);
            len += (last - run + 1) << BLOCK_BITS;
        }
        assert_eq!(len, self.len);
    }
}

impl std::fmt::Debug for SequenceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ranges = self.ranges(StreamSeq(1)).take(20);
        f.debug_list()
            .entries(ranges.map(|(first, last)| first.0..=last.0))
            .finish()
    }
}

/// A number of its index, unless it is behind the last.
fn from_index(index: u64) -> Option<StreamSeq> {
    index.checked_add(1).map(StreamSeq)
}

const FULL: u64 = 0;
const RUNS: u64 = 1;
const BITMAP: u64 = 2;

impl Bitmap {
    fn word(&self, i: usize) -> u64 {
        let bit = 1 << i;
        if self.mixed & bit != 0 {
            self.words[self.rank(i)]
        } else if self.full & bit != 0 {
            u64::MAX
        } else {
            0
        }
    }

    /// How many of the words before this one are kept.
    fn rank(&self, i: usize) -> usize {
        (self.mixed & ((1 << i) - 1)).count_ones() as usize
    }

    fn put(&mut self, i: usize, word: u64) {
        let (bit, rank) = (1 << i, self.rank(i));
        let is_mixed = word != 0 && word != u64::MAX;
        match (self.mixed & bit != 0, is_mixed) {
            (true, true) => self.words[rank] = word,
            (true, false) => drop(self.words.remove(rank)),
            (false, true) => self.words.insert(rank, word),
            (false, false) => {}
        }
        self.mixed &= !bit;
        self.full &= !bit;
        if is_mixed {
            self.mixed |= bit;
        } else if word != 0 {
            self.full |= bit;
        }
    }

    fn has(&self, bit: usize) -> bool {
        self.word(bit / 64) >> (bit % 64) & 1 == 1
    }

    /// Sets the bits from `low` to `high`; gives how many are new.
    fn set(&mut self, low: usize, high: usize) -> u32 {
        let before = self.count;
        for (i, mask) in masks(low, high) {
            let word = self.word(i);
            self.count += (mask & !word).count_ones();
            self.put(i, word | mask);
        }
        self.count - before
    }

    /// Sets those bits from `low` to `high` that are set in another one; gives how many are new.
    fn set_from(&mut self, other: &Bitmap, low: usize, high: usize) -> u32 {
        let before = self.count;
        for (i, mask) in masks(low, high) {
            let word = self.word(i);
            let more = other.word(i) & mask;
            self.count += (more & !word).count_ones();
            self.put(i, word | more);
        }
        self.count - before
    }

    /// Clears the bits from `low` to `high`; gives how many were set.
    fn clear(&mut self, low: usize, high: usize) -> u32 {
        let before = self.count;
        for (i, mask) in masks(low, high) {
            let word = self.word(i);
            self.count -= (mask & word).count_ones();
            self.put(i, word & !mask);
        }
        before - self.count
    }

    fn count_range(&self, low: usize, high: usize) -> u32 {
        if low == 0 && high == BLOCK - 1 {
            return self.count;
        }
        masks(low, high)
            .map(|(i, mask)| (self.word(i) & mask).count_ones())
            .sum()
    }

    fn next_set(&self, from: usize) -> Option<usize> {
        self.next_in(from, self.mixed | self.full, |word| word)
    }

    fn next_clear(&self, from: usize) -> Option<usize> {
        self.next_in(from, !self.full, |word| !word)
    }

    /// The first bit from `from` on of what `seen` makes of the words; `there` are those in which there
    /// is one.
    fn next_in(&self, from: usize, there: u128, seen: impl Fn(u64) -> u64) -> Option<usize> {
        let i = from / 64;
        let here = seen(self.word(i)) & u64::MAX << (from % 64);
        if here != 0 {
            return Some(i * 64 + here.trailing_zeros() as usize);
        }
        let later = there & (u128::MAX << i) << 1;
        (later != 0).then(|| {
            let i = later.trailing_zeros() as usize;
            i * 64 + seen(self.word(i)).trailing_zeros() as usize
        })
    }

    fn previous_clear(&self, from: usize) -> Option<usize> {
        let i = from / 64;
        let last = |i: usize, bits: u64| i * 64 + 63 - bits.leading_zeros() as usize;
        let here = !self.word(i) & u64::MAX >> (63 - from % 64);
        if here != 0 {
            return Some(last(i, here));
        }
        let before = !self.full & ((1 << i) - 1);
        (before != 0).then(|| {
            let i = WORDS - 1 - before.leading_zeros() as usize;
            last(i, !self.word(i))
        })
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Bitmap>() + self.words.capacity() * size_of::<u64>()
    }

    fn encode(&self, out: &mut Vec<u8>, left_out: u64) {
        let (mut runs, count) = (Vec::new(), self.runs());
        // Each takes two bytes at least.
        let mut next = if 2 * count < BLOCK / 8 { 0 } else { BLOCK };
        while let Some(first) = (next < BLOCK).then(|| self.next_set(next)).flatten() {
            let end = self.next_clear(first).unwrap_or(BLOCK);
            varint::put(&mut runs, (first - next) as u64);
            varint::put(&mut runs, (end - first - 1) as u64);
            next = end;
        }
        if !runs.is_empty() && runs.len() < BLOCK / 8 {
            varint::put(out, left_out << 2 | RUNS);
            varint::put(out, count as u64);
            out.extend_from_slice(&runs);
        } else {
            varint::put(out, left_out << 2 | BITMAP);
            out.extend((0..WORDS).flat_map(|i| self.word(i).to_le_bytes()));
        }
    }

    /// How many runs of bits are set.
    fn runs(&self) -> usize {
        let (mut runs, mut before) = (0, 0);
        for word in (0..WORDS).map(|i| self.word(i)) {
            runs += (word & !(word << 1 | before)).count_ones() as usize;
            before = word >> 63;
        }
        runs
    }

    fn decode(reader: &mut Reader<'_>, kind: u64) -> Result<Bitmap, Malformed> {
        let bad = Malformed("block of sequence numbers");
        let mut bitmap = Bitmap::default();
        if kind == BITMAP {
            let bytes = reader.take(BLOCK / 8, bad.0)?;
            for (i, bytes) in bytes.as_chunks().0.iter().enumerate() {
                let word = u64::from_le_bytes(*bytes);
                bitmap.put(i, word);
                bitmap.count += word.count_ones();
            }
        } else if kind == RUNS {
            let mut next = 0;
            for _ in 0..reader.length(BLOCK, bad.0)? {
                let first = next + reader.length(BLOCK, bad.0)?;
                let last = first + reader.length(BLOCK, bad.0)?;
                if last >= BLOCK {
                    return Err(bad);
                }
                bitmap.set(first, last);
                next = last + 1;
            }
        }
        if bitmap.count == 0 || bitmap.count as usize == BLOCK {
            return Err(bad);
        }
        bitmap.words.shrink_to_fit();
        Ok(bitmap)
    }
}

/// The words from bit `low` to bit `high`, with a mask each.
fn masks(low: usize, high: usize) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (low / 64, high / 64);
    (first..=last).map(move |i| {
        let from = if i == first {
            u64::MAX << (low % 64)
        } else {
            u64::MAX
        };
        let upto = if i == last {
            u64::MAX >> (63 - high % 64)
        } else {
            u64::MAX
        };
        (i, from & upto)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn seq(n: u64) -> StreamSeq {
        StreamSeq(n)
    }

    fn round_trip(set: &SequenceSet) -> Vec<u8> {
        let mut out = Vec::new();
        set.encode(&mut out);
        let mut reader = Reader::new(&out);
        assert_eq!(&SequenceSet::decode(&mut reader).unwrap(), set);
        assert!(reader.is_empty());
        out
    }

    #[test]
    fn long_runs_cost_nothing() {
        let mut set = SequenceSet::new();
        set.insert_range(seq(0), seq(u64::MAX));
        assert_eq!(set.len(), u64::MAX);
        assert!(set.contains(seq(1)) && set.contains(seq(u64::MAX)) && !set.contains(seq(0)));
        assert_eq!(set.next_absent(seq(1)), None);
        assert_eq!(set.previous_absent(seq(u64::MAX)), None);
        assert_eq!(
            set.ranges(seq(0)).collect::<Vec<_>>(),
            [(seq(1), seq(u64::MAX))]
        );
        assert_eq!(set.count_range(seq(5), seq(u64::MAX - 5)), u64::MAX - 9);
        set.check_invariants();
        assert!(round_trip(&set).len() < 30);
        assert!(set.remove(seq(1 << 40)));
        assert_eq!(set.next_absent(seq(1)), Some(seq(1 << 40)));
        assert_eq!(set.previous_absent(seq(u64::MAX)), Some(seq(1 << 40)));
        assert_eq!(set.partial.len(), 2);
        set.check_invariants();
        round_trip(&set);
        set.remove_range(seq(0), seq(u64::MAX - 1));
        assert_eq!(
            set.ranges(seq(0)).collect::<Vec<_>>(),
            [(seq(u64::MAX), seq(u64::MAX))]
        );
    }

    #[test]
    fn blocks_become_full_one_by_one() {
        let mut set = SequenceSet::new();
        for n in (1..=3 * BLOCK as u64).rev() {
            assert!(set.insert(seq(n)));
            assert!(!set.insert(seq(n)));
        }
        set.check_invariants();
        assert_eq!((set.full.len(), set.partial.len()), (1, 0));
        for n in 1..=3 * BLOCK as u64 {
            assert!(set.remove(seq(n)));
            assert!(!set.remove(seq(n)));
        }
        assert_eq!(set, SequenceSet::new());
    }

    #[test]
    fn forms_are_small() {
        let mut sparse = SequenceSet::new();
        let mut dense = SequenceSet::new();
        for n in 1..1_000_000 {
            if n % 1000 == 0 {
                sparse.insert(seq(n));
            }
            if n % 2 == 0 {
                dense.insert(seq(n));
            }
        }
        assert!(round_trip(&sparse).len() < 4000);
        assert!(round_trip(&dense).len() < 128_000);
        assert!(dense.memory_bytes() < 170_000);
    }

    fn number() -> impl Strategy<Value = u64> {
        let near = prop_oneof![Just(0u64), Just(BLOCK as u64), Just(4 * BLOCK as u64)];
        (near, 0..200u64).prop_map(|(near, n)| (near + n).saturating_sub(100))
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in prop::collection::vec((0..5u8, number(), 0..3 * BLOCK as u64), 1..40),
            probes in prop::collection::vec((number(), number()), 1..20),
        ) {
            let (mut set, mut model) = (SequenceSet::new(), BTreeSet::new());
            for (what, n, more) in steps {
                match what {
                    0 => prop_assert_eq!(set.insert(seq(n)), n > 0 && model.insert(n)),
                    1 => prop_assert_eq!(set.remove(seq(n)), model.remove(&n)),
                    2 => {
                        set.insert_range(seq(n), seq(n + more));
                        model.extend(n.max(1)..=n + more);
                    }
                    3 => {
                        set.remove_range(seq(n), seq(n + more));
                        model.retain(|m| !(n..=n + more).contains(m));
                    }
                    _ => {
                        set.insert_range(seq(n), seq(n + more % 70));
                        model.extend(n.max(1)..=n + more % 70);
                    }
                }
                set.check_invariants();
                prop_assert_eq!(set.len(), model.len() as u64);
            }
            for (a, b) in probes.iter().copied() {
                prop_assert_eq!(set.contains(seq(a)), model.contains(&a));
                let present = model.range(a..).next().map(|n| seq(*n));
                prop_assert_eq!(set.next_present(seq(a)), present);
                let absent = (a.max(1)..).find(|n| !model.contains(n)).map(seq);
                prop_assert_eq!(set.next_absent(seq(a)), absent);
                let absent = (1..=a).rev().find(|n| !model.contains(n)).map(seq);
                prop_assert_eq!(set.previous_absent(seq(a)), absent);
                let count = if a <= b { model.range(a..=b).count() } else { 0 };
                prop_assert_eq!(set.count_range(seq(a), seq(b)), count as u64);
            }
            let mut lookup = set.lookup();
            for (a, b) in &probes {
                prop_assert_eq!(lookup.contains(seq(*a)), model.contains(a));
                let end = (*a..).find(|n| !model.contains(n) || *n > *a && (n - 1) % BLOCK as u64 == 0);
                prop_assert_eq!(lookup.run(seq(*a)), end.unwrap_or(*a) - a);
                // Added to what is there already, in other blocks and in the same ones.
                let mut other = SequenceSet::new();
                other.insert_range(seq(b / 2), seq(b / 2 + 10));
                let mut all: BTreeSet<u64> = ((b / 2).max(1)..=b / 2 + 10).collect();
                other.insert_from(&set, seq(*a), seq(*b));
                all.extend(model.iter().filter(|n| (a..=b).contains(n)));
                other.check_invariants();
                let numbers = other.ranges(seq(0)).flat_map(|(first, last)| first.0..=last.0);
                prop_assert!(numbers.eq(all.iter().copied()));
                prop_assert_eq!(other.len(), all.len() as u64);
            }
            let numbers: Vec<u64> =
                set.ranges(seq(0)).flat_map(|(first, last)| first.0..=last.0).collect();
            prop_assert!(numbers.iter().eq(&model));
            round_trip(&set);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(set) = SequenceSet::decode(&mut Reader::new(&bytes)) {
                set.check_invariants();
            }
        }
    }
}
