//! When messages expire: a hierarchical timing wheel over decades, for millions of messages.
//!
//! Time is counted in ticks of a quarter of a second. The wheel has levels of 64 slots each; a slot
//! of the first level is a tick, and one of any other level is a whole turn of the level below it.
//! A message waits in the slot of the highest level in which its tick and the current one differ.
//! When the wheel comes to a slot of a higher level, the messages in it move down. So each message
//! is touched seven times at most, whenever it expires.
//!
//! A slot is only ever appended to and emptied from its beginning, so it is a row of bytes: steps
//! from one message to the next, two to four bytes each where messages with the same time to live
//! come one after the other.
//!
//! Messages that are deleted meanwhile stay in the wheel and come out of it as if they were not;
//! [`ExpiryWheel::sweep`] finds them where they are many.

use std::collections::VecDeque;

use super::units::{StreamSeq, Timestamp};
use super::varint::{self, Malformed, Reader};

/// Nanoseconds of a tick: messages expire up to this much late.
const TICK_NANOS: u64 = 250_000_000;
const TICK_MAX: u64 = u64::MAX / TICK_NANOS + 1;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 7;

const _: () = assert!(TICK_MAX >> (SLOT_BITS as usize * LEVELS) == 0);

/// Bytes from which on a chunk is not added to.
const CHUNK_BYTES: usize = 4096;

/// The wheel. Whoever owns it hands in the time, and looks at it again at
/// [`ExpiryWheel::next`].
#[derive(Clone)]
pub struct ExpiryWheel {
    /// Those that have been needed, the lowest first.
    levels: Vec<Level>,
    /// Ticks before this one have been dealt with. No slot of a level begins before it, and only
    /// one of the first level begins at it.
    current: u64,
    /// What is being emptied: a slot, or what is left of one.
    draining: Option<Drain>,
    len: usize,
}

/// Where a sweep goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sweep {
    level: usize,
    slot: usize,
    chunk: usize,
}

#[derive(Clone)]
struct Level {
    slots: [Option<Box<Slot>>; SLOTS],
    /// A bit for each slot that there is.
    filled: u64,
}

/// Messages, in the order in which they came.
#[derive(Clone, Default)]
struct Slot {
    chunks: VecDeque<Chunk>,
}

/// Messages in steps from one to the next: that of the sequence number, and that of the tick's
/// distance from the slot's first tick.
#[derive(Clone, Default)]
struct Chunk {
    bytes: Vec<u8>,
    last: Entry,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    seq: u64,
    ticks: u64,
}

/// A slot that is being emptied.
#[derive(Clone)]
struct Drain {
    level: usize,
    /// The slot's first tick.
    start: u64,
    slot: Slot,
    /// How far the first chunk has been read, and the last entry that was read.
    at: usize,
    last: Entry,
}

impl ExpiryWheel {
    /// An empty wheel, which owns no memory.
    pub const fn new(now: Timestamp) -> ExpiryWheel {
        ExpiryWheel {
            levels: Vec::new(),
            current: now.0 / TICK_NANOS,
            draining: None,
            len: 0,
        }
    }

    /// Enters a message, to come out of [`ExpiryWheel::expire`] once after its deadline.
    pub fn insert(&mut self, seq: StreamSeq, deadline: Timestamp) {
        self.len += 1;
        self.put(deadline.0.div_ceil(TICK_NANOS), seq.0);
    }

    /// Moves messages whose deadlines are not behind `now` into `due`, and moves others down the
    /// levels, up to `budget` of both. Gives whether all is done. If the clock was set back,
    /// nothing happens until it has caught up.
    pub fn expire(&mut self, now: Timestamp, mut budget: usize, due: &mut Vec<StreamSeq>) -> bool {
        let now = now.0 / TICK_NANOS;
        loop {
            if let Some(mut drain) = self.draining.take() {
                while let Some(entry) = drain.next() {
                    if budget == 0 {
                        drain.put_back(entry);
                        self.draining = Some(drain);
                        return false;
                    }
                    budget -= 1;
                    if drain.level == 0 {
                        self.len -= 1;
                        due.push(StreamSeq(entry.seq));
                    } else {
                        self.put(drain.start + entry.ticks, entry.seq);
                    }
                }
            }
            match self.first_slot() {
                Some((level, slot, start)) if start <= now => {
                    let (slot, last) = (self.levels[level].take(slot), Entry::default());
                    self.current = start;
                    self.draining = Some(Drain {
                        level,
                        start,
                        slot,
                        at: 0,
                        last,
                    });
                }
                _ => break,
            }
        }
        self.current = self.current.max(now);
        true
    }

    /// When to look again; there need not be a message whose deadline it is.
    pub fn next(&self) -> Option<Timestamp> {
        let tick = match &self.draining {
            Some(_) => self.current,
            None => self.first_slot()?.2,
        };
        Some(Timestamp(tick.saturating_mul(TICK_NANOS)))
    }

    /// How many messages are in the wheel, those that were deleted included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no message in the wheel.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops messages that are not to be kept from a bounded part of the wheel (some 2,000 of
    /// them), and moves on to the next part. Gives whether it was the last. A sweep begins with
    /// `Sweep::default()`.
    pub fn sweep(&mut self, at: &mut Sweep, mut keep: impl FnMut(StreamSeq) -> bool) -> bool {
        while let Some(level) = self.levels.get_mut(at.level) {
            let Some(slot) = level.slots.get_mut(at.slot) else {
                *at = Sweep {
                    level: at.level + 1,
                    ..Sweep::default()
                };
                continue;
            };
            let Some(chunk) = slot.as_mut().and_then(|slot| slot.chunks.get_mut(at.chunk)) else {
                at.slot += 1;
                at.chunk = 0;
                continue;
            };
            let mut kept = Chunk::default();
            let (mut position, mut last) = (0, Entry::default());
            while let Some(entry) = chunk.read(&mut position, last) {
                last = entry;
                if keep(StreamSeq(entry.seq)) {
                    kept.push(entry);
                } else {
                    self.len -= 1;
                }
            }
            if !kept.bytes.is_empty() {
                kept.bytes.shrink_to_fit();
                *chunk = kept;
                at.chunk += 1;
            } else if let Some(slot) = slot {
                slot.chunks.remove(at.chunk);
                if slot.chunks.is_empty() {
                    level.take(at.slot);
                }
            }
            return false;
        }
        *at = Sweep::default();
        true
    }

    /// Bytes of memory that the wheel owns, about.
    pub fn memory_bytes(&self) -> usize {
        let slots = self
            .levels
            .iter()
            .flat_map(|level| level.slots.iter().flatten());
        let draining = self.draining.iter().map(|drain| &drain.slot);
        let chunks = slots
            .map(|slot| &**slot)
            .chain(draining)
            .flat_map(|slot| &slot.chunks);
        let chunks: usize = chunks
            .map(|chunk| chunk.bytes.capacity() + size_of::<Chunk>())
            .sum();
        chunks + self.levels.capacity() * size_of::<Level>()
    }

    /// Appends the wheel in the form that [`ExpiryWheel::decode`] reads: the current tick, the
    /// number of chunks, and for each of them the first tick of its slot and its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let rest = self.draining.as_ref().and_then(Drain::rest);
        let later = self.draining.iter().flat_map(|drain| {
            drain
                .slot
                .chunks
                .iter()
                .skip(1)
                .map(|chunk| (drain.start, chunk))
        });
        let rest = rest.iter().map(|(start, chunk)| (*start, chunk));
        let slots = self.levels.iter().enumerate().flat_map(|(level, slots)| {
            slots.slots.iter().enumerate().flat_map(move |(i, slot)| {
                let start = slot_start(self.current, level, i);
                slot.iter()
                    .flat_map(move |slot| slot.chunks.iter().map(move |c| (start, c)))
            })
        });
        let chunks: Vec<(u64, &Chunk)> = rest.chain(later).chain(slots).collect();
        varint::put(out, self.current);
        varint::put(out, chunks.len() as u64);
        for (start, chunk) in chunks {
            varint::put(out, start);
            varint::put_bytes(out, &chunk.bytes);
        }
    }

    /// Reads a wheel of messages that are not behind `upto`, as far as it goes.
    ///
    /// # Errors
    /// If the bytes are not those of such a wheel.
    pub fn decode(reader: &mut Reader<'_>, upto: StreamSeq) -> Result<ExpiryWheel, Malformed> {
        let bad = Malformed("wheel of expiry");
        let mut wheel = ExpiryWheel::new(Timestamp(0));
        wheel.current = reader.number(bad.0)?;
        if wheel.current > TICK_MAX {
            return Err(bad);
        }
        for _ in 0..reader.number(bad.0)? {
            let start = reader.number(bad.0)?;
            let bytes = reader.bytes(usize::MAX, bad.0)?;
            let (mut chunk, mut last) = (Reader::new(bytes), Entry::default());
            while !chunk.is_empty() {
                let seq = chunk.step(last.seq, bad.0)?;
                let ticks = chunk.step(last.ticks, bad.0)?;
                last = Entry { seq, ticks };
                if seq == 0 || seq > upto.0 {
                    return Err(bad);
                }
                let tick = start.checked_add(ticks).filter(|tick| *tick <= TICK_MAX);
                wheel.put(tick.ok_or(bad)?, seq);
                wheel.len += 1;
            }
        }
        Ok(wheel)
    }

    fn put(&mut self, tick: u64, seq: u64) {
        let tick = tick.max(self.current);
        let level = (tick ^ self.current)
            .checked_ilog2()
            .map_or(0, |bit| bit / SLOT_BITS) as usize;
        while self.levels.len() <= level {
            self.levels.push(Level {
                slots: [const { None }; SLOTS],
                filled: 0,
            });
        }
        let shift = SLOT_BITS as usize * level;
        let slot = digit(tick, level);
        self.levels[level].filled |= 1 << slot;
        let ticks = tick & ((1 << shift) - 1);
        let slot = self.levels[level].slots[slot].get_or_insert_default();
        slot.push(Entry { seq, ticks });
    }

    /// The first slot that there is: its level, its place there, and its first tick.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        // All of a level comes before all of the next one.
        let level = self.levels.iter().position(|level| level.filled != 0)?;
        let slot = self.levels[level].filled.trailing_zeros() as usize;
        Some((level, slot, slot_start(self.current, level, slot)))
    }

    /// Checks what must hold between calls, in time linear to the size of the wheel.
    ///
    /// # Panics
    /// When the wheel is inconsistent, which is a bug in it.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        let mut len = 0;
        for (i, level) in self.levels.iter().enumerate() {
            for (j, slot) in level.slots.iter().enumerate() {
                assert_eq!(slot.is_some(), level.filled >> j & 1 == 1);
                let Some(slot) = slot else { continue };
                let from = digit(self.current, i) + usize::from(i > 0);
                assert!(j >= from, "level {i} has a slot in the past");
                assert!(!slot.chunks.is_empty());
                len += slot
                    .chunks
                    .iter()
                    .map(|chunk| chunk.count(0, Entry::default()))
                    .sum::<usize>();
            }
        }
        if let Some(drain) = &self.draining {
            let first = drain
                .slot
                .chunks
                .front()
                .map_or(0, |c| c.count(drain.at, drain.last));
            let later = drain.slot.chunks.iter().skip(1);
            len += first
                + later
                    .map(|chunk| chunk.count(0, Entry::default()))
                    .sum::<usize>();
        }
        assert_eq!(len, self.len);
    }
}

impl std::fmt::Debug for ExpiryWheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpiryWheel")
            .field("current", &self.current)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The place that a tick has in a level.
fn digit(tick: u64, level: usize) -> usize {
    let digit = tick >> (SLOT_BITS as usize * level) & (SLOTS as u64 - 1);
    usize::try_from(digit).expect("a level is small")
}

/// The first tick of a slot in the current turn of its level.
fn slot_start(current: u64, level: usize, slot: usize) -> u64 {
    let shift = SLOT_BITS as usize * level;
    let turn = current >> (shift + SLOT_BITS as usize) << SLOT_BITS;
    (turn | slot as u64) << shift
}

impl Level {
    fn take(&mut self, slot: usize) -> Slot {
        self.filled &= !(1 << slot);
        self.slots[slot]
            .take()
            .map_or_else(Slot::default, |slot| *slot)
    }
}

impl Slot {
    fn push(&mut self, entry: Entry) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.bytes.len() < CHUNK_BYTES => chunk.push(entry),
            _ => {
                let mut chunk = Chunk::default();
                if !self.chunks.is_empty() {
                    chunk.bytes.reserve_exact(CHUNK_BYTES + 20);
                }
                chunk.push(entry);
                self.chunks.push_back(chunk);
            }
        }
    }
}

impl Chunk {
    fn push(&mut self, entry: Entry) {
        varint::put_step(&mut self.bytes, self.last.seq, entry.seq);
        varint::put_step(&mut self.bytes, self.last.ticks, entry.ticks);
        self.last = entry;
    }

    /// The entry behind `last`, at `position`, which moves behind it.
    fn read(&self, position: &mut usize, last: Entry) -> Option<Entry> {
        let mut reader = Reader::new(&self.bytes[*position..]);
        if reader.is_empty() {
            return None;
        }
        let seq = reader.step(last.seq, "chunk").expect("it was written here");
        let ticks = reader
            .step(last.ticks, "chunk")
            .expect("it was written here");
        *position = self.bytes.len() - reader.rest().len();
        Some(Entry { seq, ticks })
    }

    #[cfg(any(test, debug_assertions))]
    fn count(&self, mut position: usize, mut last: Entry) -> usize {
        let mut count = 0;
        while let Some(entry) = self.read(&mut position, last) {
            last = entry;
            count += 1;
        }
        count
    }
}

impl Drain {
    fn next(&mut self) -> Option<Entry> {
        loop {
            let chunk = self.slot.chunks.front()?;
            if let Some(entry) = chunk.read(&mut self.at, self.last) {
                self.last = entry;
                return Some(entry);
            }
            self.slot.chunks.pop_front();
            self.at = 0;
            self.last = Entry::default();
        }
    }

    /// Makes an entry the next one again.
    fn put_back(&mut self, entry: Entry) {
        let mut chunk = Chunk::default();
        chunk.push(entry);
        let Some(front) = self.slot.chunks.front() else {
            return;
        };
        // What follows is in steps from the entry, so it stays good behind it.
        chunk.bytes.extend_from_slice(&front.bytes[self.at..]);
        chunk.last = front.last;
        self.slot.chunks[0] = chunk;
        self.at = 0;
        self.last = Entry::default();
    }

    /// What is left of the first chunk, with the slot's first tick.
    fn rest(&self) -> Option<(u64, Chunk)> {
        let front = self.slot.chunks.front()?;
        let (mut chunk, mut position) = (Chunk::default(), self.at);
        chunk.push(front.read(&mut position, self.last)?);
        chunk.bytes.extend_from_slice(&front.bytes[position..]);
        Some((self.start, chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_700_000_000 * SECOND;

    fn at(nanos: u64) -> Timestamp {
        Timestamp(nanos)
    }

    fn all_due(wheel: &mut ExpiryWheel, now: u64) -> Vec<u64> {
        let mut due = Vec::new();
        assert!(wheel.expire(at(now), usize::MAX, &mut due));
        wheel.check_invariants();
        due.into_iter().map(|seq| seq.0).collect()
    }

    #[test]
    fn messages_expire_in_time_over_decades() {
        let mut wheel = ExpiryWheel::new(at(NOW));
        let waits = [
            0,
            1,
            249,
            250,
            1000,
            16_000,
            61_000,
            3_600_000,
            86_400_000,
            1 << 40,
        ];
        for (seq, ms) in (1..).zip(waits) {
            wheel.insert(StreamSeq(seq), at(NOW + ms * 1_000_000));
        }
        let mut due = Vec::new();
        let mut wakes = 0;
        while let Some(next) = wheel.next() {
            let now = next.0.max(NOW);
            for seq in all_due(&mut wheel, now) {
                let deadline = NOW + waits[seq as usize - 1] * 1_000_000;
                assert!((deadline..deadline + TICK_NANOS).contains(&now));
                due.push(seq);
            }
            wakes += 1;
        }
        assert_eq!(due, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(wakes < 50 && wheel.is_empty());
    }

    #[test]
    fn what_is_late_is_due_at_once_and_the_end_of_time_is_far() {
        let mut wheel = ExpiryWheel::new(at(NOW));
        wheel.insert(StreamSeq(1), at(0));
        wheel.insert(StreamSeq(2), at(u64::MAX));
        assert_eq!(all_due(&mut wheel, NOW), [1]);
        assert!(all_due(&mut wheel, NOW - 100 * SECOND).is_empty());
        wheel.insert(StreamSeq(3), at(NOW - SECOND));
        assert_eq!(all_due(&mut wheel, NOW), [3]);
        assert!(all_due(&mut wheel, u64::MAX - TICK_NANOS).is_empty());
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn a_million_messages_cost_little_and_come_in_parts() {
        let mut wheel = ExpiryWheel::new(at(NOW));
        for seq in 0..1_000_000 {
            wheel.insert(
                StreamSeq(seq),
                at(NOW + 86_400 * SECOND + seq * SECOND / 1000),
            );
        }
        assert!(wheel.memory_bytes() < 2_300_000, "{}", wheel.memory_bytes());
        let (mut due, mut parts) = (Vec::new(), 0);
        while !wheel.expire(at(NOW + 90_000 * SECOND), 1000, &mut due) {
            parts += 1;
        }
        assert!((1000..7000).contains(&parts), "{parts}");
        assert!(due.iter().map(|seq| seq.0).eq(0..1_000_000), "in order");
    }

    #[test]
    fn sweeps_drop_what_was_deleted() {
        let mut wheel = ExpiryWheel::new(at(NOW));
        for seq in 0..100_000 {
            wheel.insert(StreamSeq(seq), at(NOW + seq % 5000 * SECOND));
        }
        let (mut sweep, mut seen) = (Sweep::default(), 0);
        let keep = |seq: StreamSeq| seq.0.is_multiple_of(100);
        while !wheel.sweep(&mut sweep, |seq| {
            seen += 1;
            keep(seq)
        }) {
            wheel.check_invariants();
        }
        assert_eq!((seen, wheel.len()), (100_000, 1000));
        assert!(wheel.memory_bytes() < 40_000, "{}", wheel.memory_bytes());
        let mut due = all_due(&mut wheel, NOW + 5000 * SECOND);
        due.sort_unstable();
        assert!(due.into_iter().eq((0..1000).map(|n| n * 100)));
        while !wheel.sweep(&mut sweep, |_| true) {}
    }

    proptest! {
        #[test]
        fn it_is_a_queue_by_deadline(
            steps in prop::collection::vec(
                (0..5u8, 0..7u32, any::<u16>(), 1..20usize), 1..60,
            ),
        ) {
            let mut now = NOW;
            let mut wheel = ExpiryWheel::new(at(now));
            // Ticks and sequence numbers of what is in the wheel.
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut seq = 0;
            for (what, power, n, budget) in steps {
                let span = (u64::from(n) * 1_000_000) << (power * 4);
                match what {
                    0 | 1 => {
                        for i in 0..budget as u64 {
                            seq += 1;
                            let deadline = now.saturating_add(span) + i * SECOND / 5;
                            wheel.insert(StreamSeq(seq), at(deadline));
                            model.push((deadline.div_ceil(TICK_NANOS), seq));
                        }
                    }
                    2 => {
                        now = now.saturating_add(span).min(u64::MAX / 2);
                        let mut due = Vec::new();
                        let done = wheel.expire(at(now), budget, &mut due);
                        prop_assert!(due.len() <= budget);
                        for seq in due {
                            let i = model.iter().position(|entry| entry.1 == seq.0);
                            let (tick, _) = model.swap_remove(i.expect("once"));
                            prop_assert!(tick * TICK_NANOS <= now);
                        }
                        if done {
                            prop_assert!(model.iter().all(|(tick, _)| tick * TICK_NANOS > now));
                        }
                    }
                    3 => {
                        let mut out = Vec::new();
                        wheel.encode(&mut out);
                        let mut reader = Reader::new(&out);
                        wheel = ExpiryWheel::decode(&mut reader, StreamSeq(u64::MAX)).unwrap();
                        prop_assert!(reader.is_empty());
                    }
                    _ => {
                        let next = wheel.next().map(|next| next.0 / TICK_NANOS);
                        let first = model.iter().map(|(tick, _)| *tick).min();
                        prop_assert_eq!(next.is_some(), first.is_some());
                        if let (Some(next), Some(first)) = (next, first) {
                            prop_assert!(next <= first.max(now / TICK_NANOS));
                        }
                    }
                }
                wheel.check_invariants();
                prop_assert_eq!(wheel.len(), model.len());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let upto = StreamSeq(u64::MAX);
            if let Ok(mut wheel) = ExpiryWheel::decode(&mut Reader::new(&bytes), upto) {
                wheel.check_invariants();
                let mut due = Vec::new();
                wheel.expire(at(u64::MAX), 1000, &mut due);
                wheel.check_invariants();
            }
        }
    }
}
