//! The messages that were delivered and wait for an acknowledgement.
//!
//! They come in the order of the stream and mostly go near the front, so they lie in order in
//! short chunks: a message takes 24 bytes. A chunk knows of no deadline before some point, so those
//! that are due are found without looking at the others.

use std::collections::VecDeque;

use super::{ConsumerSeq, Millis};
use crate::store::index::StreamSeq;

/// Messages in a chunk, and down to how many a chunk is joined with a neighbour that has half
/// as many as fit.
const CHUNK: usize = 64;
const CHUNK_FEW: usize = CHUNK / 4;

/// A message that waits for its acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingMessage {
    /// Which message it is.
    pub stream: StreamSeq,
    /// Its first delivery.
    pub consumer: ConsumerSeq,
    /// When it was delivered last.
    pub delivered_at: Millis,
    /// When it is to be delivered again if it has not been acknowledged.
    pub deadline: Millis,
    /// How often it was delivered after the first time; the largest number stands for more.
    pub redeliveries: u32,
}

/// All messages of a consumer that wait, in the order of the stream. That of their first deliveries
/// is the same.
#[derive(Clone, Default)]
pub struct Pending {
    chunks: VecDeque<Chunk>,
    len: usize,
    redelivered: usize,
}

#[derive(Clone)]
struct Chunk {
    /// What the numbers of its messages count from.
    base: (u64, u64),
    /// No deadline is before this.
    earliest: Millis,
    messages: Vec<Packed>,
}

/// A message, with numbers from the chunk's base on, and milliseconds.
#[derive(Clone, Copy)]
struct Packed {
    stream: u32,
    consumer: u32,
    redeliveries: u32,
    delivered_at: [u8; 6],
    deadline: [u8; 6],
}

const _: () = assert!(size_of::<Packed>() == 24);

impl Pending {
    /// Nothing waits; no memory is owned.
    pub const fn new() -> Pending {
        Pending {
            chunks: VecDeque::new(),
            len: 0,
            redelivered: 0,
        }
    }

    /// Adds a message behind all others, in both of its numbers.
    pub(super) fn push(&mut self, message: PendingMessage) {
        debug_assert!(self.last().is_none_or(|last| {
            last.stream < message.stream && last.consumer < message.consumer
        }));
        self.len += 1;
        self.redelivered += usize::from(message.redeliveries > 0);
        if let Some(chunk) = self.chunks.back_mut()
            && chunk.messages.len() < CHUNK
            && let Some(packed) = chunk.pack(&message)
        {
            chunk.push(packed, message.deadline);
            return;
        }
        let mut chunk = Chunk {
            base: (message.stream.0, message.consumer.0),
            earliest: message.deadline,
            messages: Vec::new(),
        };
        let packed = chunk.pack(&message).expect("a chunk holds its base");
        chunk.push(packed, message.deadline);
        self.chunks.push_back(chunk);
    }

    /// Takes out a message.
    pub(super) fn remove(&mut self, stream: StreamSeq) -> Option<PendingMessage> {
        let (c, m) = self.find(stream)?;
        let chunk = &mut self.chunks[c];
        let packed = chunk.messages.remove(m);
        let message = chunk.unpack(packed);
        let left = chunk.messages.len();
        self.len -= 1;
        self.redelivered -= usize::from(message.redeliveries > 0);
        if left == 0 {
            self.chunks.remove(c);
        } else if left <= CHUNK_FEW {
            self.join(c);
        }
        Some(message)
    }

    /// Takes out all messages up to this one; gives the last of them.
    pub(super) fn remove_through(&mut self, stream: StreamSeq) -> Option<PendingMessage> {
        let mut last = None;
        while let Some(chunk) = self.chunks.front_mut() {
            let count = chunk
                .messages
                .partition_point(|m| chunk.base.0 + u64::from(m.stream) <= stream.0);
            let Some(&gone) = count.checked_sub(1).and_then(|i| chunk.messages.get(i)) else {
                break;
            };
            last = Some(chunk.unpack(gone));
            let gone = chunk.messages.drain(..count);
            self.redelivered -= gone.filter(|m| m.redeliveries > 0).count();
            self.len -= count;
            if !chunk.messages.is_empty() {
                break;
            }
            self.chunks.pop_front();
        }
        last
    }

    /// Takes note of another delivery of a message; false if it does not wait.
    pub(super) fn redeliver(&mut self, stream: StreamSeq, at: Millis, deadline: Millis) -> bool {
        let Some((c, m)) = self.find(stream) else {
            return false;
        };
        let chunk = &mut self.chunks[c];
        let message = &mut chunk.messages[m];
        self.redelivered += usize::from(message.redeliveries == 0);
        message.redeliveries = message.redeliveries.saturating_add(1);
        message.delivered_at = six(at);
        message.deadline = six(deadline);
        chunk.earliest = chunk.earliest.min(deadline);
        true
    }

    /// Moves a message's deadline; false if it does not wait.
    pub(super) fn reschedule(&mut self, stream: StreamSeq, deadline: Millis) -> bool {
        let Some((c, m)) = self.find(stream) else {
            return false;
        };
        let chunk = &mut self.chunks[c];
        chunk.messages[m].deadline = six(deadline);
        chunk.earliest = chunk.earliest.min(deadline);
        true
    }

    /// Adds messages whose deadlines have come to `due`, in order, until it has `max` of them.
    /// They stay what they are, so their deadlines have to be moved before the next call.
    pub(super) fn due(&mut self, now: Millis, max: usize, due: &mut Vec<PendingMessage>) {
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.earliest <= now) {
            let mut earliest = Millis::MAX;
            for message in &chunk.messages {
                let deadline = millis(message.deadline);
                earliest = earliest.min(deadline);
                if deadline <= now {
                    if due.len() >= max {
                        return;
                    }
                    due.push(chunk.unpack(*message));
                }
            }
            chunk.earliest = earliest;
        }
    }

    /// No deadline is before this; `None` if nothing waits.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.chunks.iter().map(|chunk| chunk.earliest).min()
    }

    /// A message, if it waits.
    pub fn get(&self, stream: StreamSeq) -> Option<PendingMessage> {
        let (c, m) = self.find(stream)?;
        Some(self.chunks[c].unpack(self.chunks[c].messages[m]))
    }

    /// The first message.
    pub fn first(&self) -> Option<PendingMessage> {
        let chunk = self.chunks.front()?;
        Some(chunk.unpack(*chunk.messages.first()?))
    }

    /// The last message.
    pub fn last(&self) -> Option<PendingMessage> {
        let chunk = self.chunks.back()?;
        Some(chunk.unpack(*chunk.messages.last()?))
    }

    /// All messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = PendingMessage> {
        let chunks = self.chunks.iter();
        chunks.flat_map(|chunk| chunk.messages.iter().map(|message| chunk.unpack(*message)))
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them were delivered more than once.
    pub fn redelivered(&self) -> usize {
        self.redelivered
    }

    /// Bytes of memory that are owned.
    pub fn memory_bytes(&self) -> usize {
        let messages: usize = self
            .chunks
            .iter()
            .map(|chunk| chunk.messages.capacity())
            .sum();
        messages * size_of::<Packed>() + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// The place of a message: its chunk, and its place there.
    fn find(&self, stream: StreamSeq) -> Option<(usize, usize)> {
        let c = self
            .chunks
            .partition_point(|chunk| chunk.base.0 <= stream.0)
            .checked_sub(1)?;
        let chunk = &self.chunks[c];
        let stream = u32::try_from(stream.0 - chunk.base.0).ok()?;
        let m = chunk
            .messages
            .binary_search_by_key(&stream, |message| message.stream)
            .ok()?;
        Some((c, m))
    }

    /// Joins a chunk of few messages with a neighbour that has not many either.
    fn join(&mut self, c: usize) {
        let room = |at: usize| {
            self.chunks
                .get(at)
                .is_some_and(|chunk| chunk.messages.len() <= CHUNK / 2)
        };
        let first = if room(c + 1) {
            c
        } else if c > 0 && room(c - 1) {
            c - 1
        } else {
            return;
        };
        let later = &self.chunks[first + 1];
        let messages = later.messages.iter().map(|message| later.unpack(*message));
        let first_chunk = &self.chunks[first];
        let Some(packed) = messages
            .map(|m| first_chunk.pack(&m))
            .collect::<Option<Vec<Packed>>>()
        else {
            return;
        };
        let later = self.chunks.remove(first + 1).expect("it is there");
        let chunk = &mut self.chunks[first];
        chunk.messages.extend(packed);
        chunk.earliest = chunk.earliest.min(later.earliest);
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let all: Vec<PendingMessage> = self.iter().collect();
        assert!(all.is_sorted_by(|a, b| a.stream < b.stream && a.consumer < b.consumer));
        assert_eq!(all.len(), self.len);
        let again = all.iter().filter(|message| message.redeliveries > 0);
        assert_eq!(again.count(), self.redelivered);
        for chunk in &self.chunks {
            assert!((1..=CHUNK).contains(&chunk.messages.len()));
            assert!(
                chunk
                    .messages
                    .iter()
                    .all(|m| millis(m.deadline) >= chunk.earliest)
            );
        }
    }
}

impl Chunk {
    fn push(&mut self, packed: Packed, deadline: Millis) {
        if self.messages.len() == CHUNK / 4 {
            self.messages.reserve_exact(CHUNK * 3 / 4);
        }
        self.messages.push(packed);
        self.earliest = self.earliest.min(deadline);
    }

    /// `None` if a number is too far from the base.
    fn pack(&self, message: &PendingMessage) -> Option<Packed> {
        Some(Packed {
            stream: u32::try_from(message.stream.0 - self.base.0).ok()?,
            consumer: u32::try_from(message.consumer.0 - self.base.1).ok()?,
            redeliveries: message.redeliveries,
            delivered_at: six(message.delivered_at),
            deadline: six(message.deadline),
        })
    }

    fn unpack(&self, packed: Packed) -> PendingMessage {
        PendingMessage {
            stream: StreamSeq(self.base.0 + u64::from(packed.stream)),
            consumer: ConsumerSeq(self.base.1 + u64::from(packed.consumer)),
            delivered_at: millis(packed.delivered_at),
            deadline: millis(packed.deadline),
            redeliveries: packed.redeliveries,
        }
    }
}

fn six(at: Millis) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = at.0.to_le_bytes();
    [a, b, c, d, e, f]
}

fn millis([a, b, c, d, e, f]: [u8; 6]) -> Millis {
    Millis(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}
