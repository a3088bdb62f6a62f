//! The inner form of a backup, since 2.15 (`server/archive`): a word, and then entries of a name,
//! a time, a sequence, and bytes in two parts.
//!
//! ```text
//! NATSARC1
//! uvarint name length · varint nanoseconds · uvarint sequence · uvarint header bytes ·
//!     uvarint payload bytes · name · header · payload
//! ```
//!
//! The first is `state.json`; as many as that says follow as `consumers/<name>`; then the messages,
//! which have a sequence, and whose name is their subject; and one with nothing at all for the end.

use super::Fault;

/// What an archive begins with.
pub(in crate::jetstream) const MAGIC: &[u8; 8] = b"NATSARC1";

pub(in crate::jetstream) const STATE: &[u8] = b"state.json";
pub(in crate::jetstream) const CONSUMERS: &str = "consumers/";

/// Bytes of a name.
const NAME_MAX: u64 = 1 << 20;

/// Bytes of an entry that is no message.
pub(in crate::jetstream) const DOCUMENT_MAX: u64 = 64 << 20;

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::jetstream) struct Entry<'a> {
    pub(in crate::jetstream) name: &'a [u8],
    /// Nanoseconds since 1970.
    pub(in crate::jetstream) timestamp: i64,
    /// That of a message; 0 for all others.
    pub(in crate::jetstream) sequence: u64,
    pub(in crate::jetstream) headers: &'a [u8],
    pub(in crate::jetstream) payload: &'a [u8],
}

impl Entry<'_> {
    /// Appends it.
    pub(in crate::jetstream) fn put(&self, out: &mut Vec<u8>) {
        put_unsigned(out, self.name.len() as u64);
        put_signed(out, self.timestamp);
        put_unsigned(out, self.sequence);
        put_unsigned(out, self.headers.len() as u64);
        put_unsigned(out, self.payload.len() as u64);
        for part in [self.name, self.headers, self.payload] {
            out.extend_from_slice(part);
        }
    }

    /// Whether it is the one that ends an archive.
    pub(in crate::jetstream) fn is_end(&self) -> bool {
        *self == Entry::default()
    }
}

/// Reads entries out of bytes that come in pieces.
#[derive(Debug)]
pub(in crate::jetstream) struct Reader {
    held: Vec<u8>,
    at: usize,
    /// Bytes of a message, headers included.
    message_max: u64,
}

impl Reader {
    /// A reader of what stands behind the word.
    pub(in crate::jetstream) fn new(message_max: u64) -> Reader {
        Reader {
            held: Vec::new(),
            at: 0,
            message_max,
        }
    }

    /// Takes bytes.
    pub(in crate::jetstream) fn feed(&mut self, bytes: &[u8]) {
        self.held.drain(..self.at);
        self.at = 0;
        self.held.extend_from_slice(bytes);
    }

    /// The next entry, as soon as all of it has come.
    ///
    /// # Errors
    /// If there is none, or it is too large.
    pub(in crate::jetstream) fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        let rest = &self.held[self.at..];
        let mut numbers = Numbers { rest };
        let mut next = || numbers.next();
        let (Some(name), Some(time), Some(sequence), Some(headers), Some(payload)) =
            (next()?, next()?, next()?, next()?, next()?)
        else {
            return Ok(None);
        };
        let rest = numbers.rest;
        if name > NAME_MAX {
            return Err(Fault::new("an entry's name is too long"));
        }
        let size = headers.saturating_add(payload);
        if sequence > 0 && size > self.message_max {
            return Err(Fault::new(format!(
                "message sequence {sequence} exceeds maximum payload size"
            )));
        }
        if size > DOCUMENT_MAX.max(self.message_max) {
            return Err(Fault::new("an entry is too large"));
        }
        let fits = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (name, headers, payload) = (fits(name), fits(headers), fits(payload));
        let len = name + headers + payload;
        if rest.len() < len {
            return Ok(None);
        }
        self.at = self.held.len() - rest.len() + len;
        let (name, rest) = rest.split_at(name);
        let (headers, rest) = rest.split_at(headers);
        Ok(Some(Entry {
            name,
            timestamp: signed(time),
            sequence,
            headers,
            payload: &rest[..payload],
        }))
    }
}

/// Numbers in a row.
struct Numbers<'a> {
    rest: &'a [u8],
}

impl Numbers<'_> {
    fn next(&mut self) -> Result<Option<u64>, Fault> {
        let mut number = 0u64;
        for (at, byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 || at > 9 {
                return Err(Fault::new("a number is too large"));
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// Numbers with a sign stand as 0, -1, 1, -2 and so on.
fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_unsigned(out, (n.cast_unsigned() << 1) ^ (n >> 63).cast_unsigned());
}

fn signed(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, time, sequence, and headers and payload.
    type Read = (Vec<u8>, i64, u64, Vec<u8>);

    fn all(bytes: &[u8], piece: usize) -> Result<Vec<Read>, Fault> {
        let mut reader = Reader::new(1000);
        let mut entries = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(entry) = reader.next_entry()? {
                let body = [entry.headers, entry.payload].join(&b'|');
                let name = entry.name.to_vec();
                entries.push((name, entry.timestamp, entry.sequence, body));
            }
        }
        Ok(entries)
    }

    #[test]
    fn entries_come_back_in_whatever_pieces() {
        let entries = [
            Entry {
                name: STATE,
                timestamp: -5,
                payload: b"{}",
                ..Entry::default()
            },
            Entry {
                name: b"a.b",
                timestamp: i64::MAX,
                sequence: u64::MAX,
                headers: b"NATS/1.0\r\n\r\n",
                payload: &[7; 300],
            },
            Entry::default(),
        ];
        let mut bytes = Vec::new();
        for entry in &entries {
            entry.put(&mut bytes);
        }
        for piece in [1, 7, 1000] {
            let read = all(&bytes, piece).unwrap();
            assert_eq!(read.len(), 3);
            assert_eq!(read[0], (STATE.to_vec(), -5, 0, b"|{}".to_vec()));
            assert_eq!((read[1].1, read[1].2), (i64::MAX, u64::MAX));
            assert_eq!(read[1].3.len(), 12 + 1 + 300);
            assert_eq!(read[2], (vec![], 0, 0, b"|".to_vec()));
        }
        assert!(entries[2].is_end() && !entries[0].is_end());
    }

    #[test]
    fn the_reference_has_the_same_bytes() {
        let mut bytes = Vec::new();
        Entry {
            name: b"x",
            timestamp: 150,
            sequence: 300,
            headers: b"",
            payload: b"p",
        }
        .put(&mut bytes);
        assert_eq!(bytes, [1, 0xac, 0x02, 0xac, 0x02, 0, 1, b'x', b'p']);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_comes() {
        for (name, sequence, payload) in [
            (NAME_MAX + 1, 0, 0),
            (1, 1, 1001),
            (1, 0, DOCUMENT_MAX + 1),
            (1, 0, u64::MAX),
        ] {
            let mut bytes = Vec::new();
            for n in [
                name,
                0,
                sequence,
                u64::MAX / 2 * u64::from(payload == u64::MAX),
                payload,
            ] {
                put_unsigned(&mut bytes, n);
            }
            assert!(all(&bytes, 100).is_err(), "{name} {sequence} {payload}");
        }
        assert!(all(&[0xff; 11], 100).is_err());
    }
}
