//! What stands in the files of a backup that a Go server before 2.15 made: those of its store
//! (`filestore.go`).
//!
//! A block is a row of records, little-endian:
//!
//! ```text
//! u32 length, with the highest bit for headers · u64 sequence · i64 nanoseconds · u16 subject length ·
//!     subject · [u32 header length · headers] · payload · u64 HighwayHash of all but the lengths
//! ```
//!
//! The highest bit of a sequence says that the message was erased, the one below that it was deleted
//! before this record was written.

use super::Fault;
use super::consumers::{SavedPending, SavedPosition, SavedState};
use highway::{HighwayHash, HighwayHasher, Key};
use sha2::{Digest, Sha256};

const HEAD: usize = 22;
const SUM: usize = 8;
const RECORD_MAX: u32 = 64 << 20;

const HAS_HEADERS: u32 = 1 << 31;
const ERASED: u64 = 1 << 63;
const TOMBSTONE: u64 = 1 << 62;

/// What files that are numbers begin with.
const MAGIC: u8 = 22;
const STATE_MAGIC: u8 = 11;

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::jetstream) struct Record<'a> {
    pub(in crate::jetstream) sequence: u64,
    pub(in crate::jetstream) timestamp: i64,
    pub(in crate::jetstream) kind: Kind<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::jetstream) enum Kind<'a> {
    Message {
        subject: &'a [u8],
        headers: &'a [u8],
        payload: &'a [u8],
    },
    /// The message is not there any more.
    Erased,
    /// The message, which may stand anywhere before, is not there any more.
    Tombstone,
}

/// A sum of bytes, whose key comes from a name.
pub(in crate::jetstream) fn sum(name: &str, parts: &[&[u8]]) -> [u8; SUM] {
    let digest = Sha256::digest(name.as_bytes());
    let mut key = [0; 4];
    for (word, bytes) in key.iter_mut().zip(digest.chunks_exact(8)) {
        *word = bytes
            .iter()
            .rev()
            .fold(0, |word, b| word << 8 | u64::from(*b));
    }
    let mut hasher = HighwayHasher::new(Key(key));
    for part in parts {
        hasher.append(part);
    }
    hasher.finalize64().to_le_bytes()
}

/// Reads a block that comes in pieces.
#[derive(Debug)]
pub(in crate::jetstream) struct BlockReader {
    name: String,
    held: Vec<u8>,
    at: usize,
}

impl BlockReader {
    /// A reader of the block with this number.
    pub(in crate::jetstream) fn new(stream: &str, index: u64) -> BlockReader {
        BlockReader {
            name: format!("{stream}-{index}"),
            held: Vec::new(),
            at: 0,
        }
    }

    /// Takes bytes.
    pub(in crate::jetstream) fn feed(&mut self, bytes: &[u8]) {
        self.held.drain(..self.at);
        self.at = 0;
        self.held.extend_from_slice(bytes);
    }

    /// Whether a record has begun and not ended.
    pub(in crate::jetstream) fn is_torn(&self) -> bool {
        self.at < self.held.len()
    }

    /// The next record, as soon as all of it has come.
    ///
    /// # Errors
    /// If it is damaged.
    pub(in crate::jetstream) fn next_record(&mut self) -> Result<Option<Record<'_>>, Fault> {
        let rest = &self.held[self.at..];
        let Some(head) = rest.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let has_headers = len & HAS_HEADERS != 0;
        let len = len & !HAS_HEADERS;
        let damaged = || Fault::new("a message block is damaged");
        if len > RECORD_MAX {
            return Err(damaged());
        }
        let len = len as usize;
        let subject = usize::from(u16::from_le_bytes([head[20], head[21]]));
        let lengths = if has_headers { 4 } else { 0 };
        if len < HEAD + subject + lengths + SUM {
            return Err(damaged());
        }
        let Some(record) = rest.get(..len) else {
            return Ok(None);
        };
        let (body, found) = record[HEAD..].split_at(len - HEAD - SUM);
        let (subject, rest) = body.split_at(subject);
        let (lengths, rest) = rest.split_at(lengths);
        if sum(&self.name, &[&head[4..20], subject, rest]) != *found {
            return Err(damaged());
        }
        let headers = match lengths.try_into() {
            Ok(len) => u32::from_le_bytes(len) as usize,
            Err(_) => 0,
        };
        let (headers, payload) = rest.split_at_checked(headers).ok_or_else(damaged)?;
        self.at += len;
        let sequence = word(4);
        let kind = match () {
            () if sequence & TOMBSTONE != 0 => Kind::Tombstone,
            () if sequence & ERASED != 0 || sequence == 0 => Kind::Erased,
            () => Kind::Message {
                subject,
                headers,
                payload,
            },
        };
        Ok(Some(Record {
            sequence: sequence & !(ERASED | TOMBSTONE),
            timestamp: word(12).cast_signed(),
            kind,
        }))
    }
}

/// Numbers in a row, of 7 bits a byte.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            number |= bits
                .checked_shl(7 * u32::try_from(at).unwrap_or(0))
                .unwrap_or(0);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(Fault::new("a file of the backup is damaged"))
    }

    fn signed(&mut self) -> Result<i64, Fault> {
        let n = self.next()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }
}

/// What a block's index says, as servers before 2.10 wrote it.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::jetstream) struct BlockIndex {
    /// Messages before this one are not there any more.
    pub(in crate::jetstream) first: u64,
    pub(in crate::jetstream) last: u64,
    pub(in crate::jetstream) deleted: Vec<u64>,
}

/// Reads a block's index.
///
/// # Errors
/// If it is damaged.
pub(in crate::jetstream) fn block_index(bytes: &[u8]) -> Result<BlockIndex, Fault> {
    let damaged = || Fault::new("the index of a message block is damaged");
    let Some(([MAGIC, 1], rest)) = bytes.split_first_chunk::<2>() else {
        return Err(damaged());
    };
    let mut numbers = Numbers(rest);
    let (_messages, _bytes) = (numbers.next()?, numbers.next()?);
    let (first, _time) = (numbers.next()?, numbers.signed()?);
    let (last, _time) = (numbers.next()?, numbers.signed()?);
    let count = numbers.next()?;
    numbers.0 = numbers.0.get(SUM..).ok_or_else(damaged)?;
    if count > numbers.0.len() as u64 {
        return Err(damaged());
    }
    let deleted = (0..count).map(|_| Ok(first.saturating_add(numbers.next()?)));
    Ok(BlockIndex {
        first,
        last,
        deleted: deleted.collect::<Result<_, Fault>>()?,
    })
}

/// The first and the last sequence that a stream's state has; `None` if it is not to be believed,
/// which the blocks make up for.
pub(in crate::jetstream) fn stream_state(stream: &str, bytes: &[u8]) -> Option<(u64, u64)> {
    let (bytes, found) = bytes.split_last_chunk::<SUM>()?;
    let ([STATE_MAGIC, _version], rest) = bytes.split_first_chunk::<2>()? else {
        return None;
    };
    if sum(stream, &[bytes]) != *found {
        return None;
    }
    let mut numbers = Numbers(rest);
    let (_messages, _bytes) = (numbers.next().ok()?, numbers.next().ok()?);
    let (first, _time) = (numbers.next().ok()?, numbers.signed().ok()?);
    Some((first, numbers.next().ok()?))
}

/// Reads the state of a consumer.
///
/// # Errors
/// If it is damaged.
pub(in crate::jetstream) fn consumer_state(bytes: &[u8]) -> Result<SavedState, Fault> {
    let damaged = || Fault::new("the state of a consumer is damaged");
    let Some(([MAGIC, version @ (1 | 2)], rest)) = bytes.split_first_chunk::<2>() else {
        return Err(damaged());
    };
    let is_old = *version == 1;
    let mut numbers = Numbers(rest);
    let mut position = || {
        Ok::<_, Fault>(SavedPosition {
            consumer_seq: numbers.next()?,
            stream_seq: numbers.next()?,
        })
    };
    let (floor, mut delivered) = (position()?, position()?);
    if is_old {
        // It was counted from the ack floor on.
        let from = |n: u64, floor: u64| n.saturating_add(floor.saturating_sub(1));
        delivered.consumer_seq = from(delivered.consumer_seq, floor.consumer_seq);
        delivered.stream_seq = from(delivered.stream_seq, floor.stream_seq);
    }
    let mut state = SavedState {
        delivered,
        ack_floor: floor,
        ..SavedState::default()
    };
    let pending = numbers.next()?;
    if pending > rest.len() as u64 {
        return Err(damaged());
    }
    let base = if pending > 0 { numbers.signed()? } else { 0 };
    for _ in 0..pending {
        let stream = floor.stream_seq.saturating_add(numbers.next()?);
        let sequence = match is_old {
            true => 0,
            false => floor.consumer_seq.saturating_add(numbers.next()?),
        };
        let step = numbers.signed()?;
        let seconds = match is_old {
            true => base.saturating_add(step),
            false => base.saturating_sub(step),
        };
        let timestamp = seconds.saturating_mul(1_000_000_000);
        let saved = SavedPending {
            sequence,
            timestamp,
        };
        state.pending.insert(stream, saved);
    }
    let redelivered = numbers.next()?;
    if redelivered > rest.len() as u64 {
        return Err(damaged());
    }
    for _ in 0..redelivered {
        let stream = floor.stream_seq.saturating_add(numbers.next()?);
        state.redelivered.insert(stream, numbers.next()?);
    }
    Ok(state)
}

#[cfg(test)]
pub(in crate::jetstream) mod tests {
    use super::*;

    /// Appends a record.
    pub(in crate::jetstream) fn put(
        out: &mut Vec<u8>,
        block: &str,
        (sequence, timestamp): (u64, i64),
        (subject, headers, payload): (&str, &str, &str),
    ) {
        let extra = if headers.is_empty() {
            0
        } else {
            4 + headers.len()
        };
        let len = HEAD + subject.len() + extra + payload.len() + SUM;
        let flag = if headers.is_empty() { 0 } else { HAS_HEADERS };
        let mut head = (u32::try_from(len).unwrap() | flag).to_le_bytes().to_vec();
        head.extend(sequence.to_le_bytes());
        head.extend(timestamp.to_le_bytes());
        head.extend(u16::try_from(subject.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(subject.as_bytes());
        if !headers.is_empty() {
            out.extend(u32::try_from(headers.len()).unwrap().to_le_bytes());
        }
        out.extend_from_slice(headers.as_bytes());
        out.extend_from_slice(payload.as_bytes());
        let (headers, payload) = (headers.as_bytes(), payload.as_bytes());
        out.extend(sum(
            block,
            &[&head[4..20], subject.as_bytes(), headers, payload],
        ));
    }

    #[test]
    fn records_come_back_and_damage_is_told() {
        let mut bytes = Vec::new();
        put(&mut bytes, "S-1", (1, 5), ("a.b", "", "one"));
        put(
            &mut bytes,
            "S-1",
            (2, 6),
            ("a.b", "NATS/1.0\r\n\r\n", "two"),
        );
        put(&mut bytes, "S-1", (3 | ERASED, 7), ("", "", ""));
        put(&mut bytes, "S-1", (1 | TOMBSTONE, 8), ("", "", ""));
        for piece in [1, 10, 1000] {
            let mut reader = BlockReader::new("S", 1);
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                reader.feed(piece);
                while let Some(record) = reader.next_record().unwrap() {
                    found.push(match record.kind {
                        Kind::Message { headers, .. } => (record.sequence, headers.len()),
                        Kind::Erased => (record.sequence, 100),
                        Kind::Tombstone => (record.sequence, 200),
                    });
                }
            }
            assert!(!reader.is_torn());
            assert_eq!(found, [(1, 0), (2, 12), (3, 100), (1, 200)]);
        }
        let mut other = BlockReader::new("S", 2);
        other.feed(&bytes);
        assert!(other.next_record().is_err(), "of another block");
        bytes[0] = 5;
        let mut reader = BlockReader::new("S", 1);
        reader.feed(&bytes);
        assert!(reader.next_record().is_err());
    }

    #[test]
    fn states_of_consumers_are_read() {
        // Ack floor 2/3, delivered 5/9, pending 4 and 9, the first delivered once more.
        let bytes = [22, 2, 2, 3, 5, 9, 2, 200, 1, 1, 1, 10, 6, 3, 0, 1, 1, 1];
        let state = consumer_state(&bytes).unwrap();
        assert_eq!(
            (state.ack_floor.consumer_seq, state.ack_floor.stream_seq),
            (2, 3)
        );
        assert_eq!(
            (state.delivered.consumer_seq, state.delivered.stream_seq),
            (5, 9)
        );
        let pending: Vec<_> = state
            .pending
            .iter()
            .map(|(at, p)| (*at, p.sequence, p.timestamp / 1_000_000_000))
            .collect();
        assert_eq!(pending, [(4, 3, 95), (9, 5, 100)]);
        assert_eq!(state.redelivered.get(&4), Some(&1));
        for len in 0..bytes.len() {
            assert!(consumer_state(&bytes[..len]).is_err(), "{len}");
        }
    }
}
