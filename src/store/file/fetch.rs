//! The short way to a message that is at hand: small, not sealed, and in a segment that is open and
//! mapped. What takes more than that is left to [`Log::read_message`], and so is all that fails.

use std::ops::Range;

use super::format::{Kind, Record, record_len};
use super::log::{Log, Place};
use super::open_segment::LOST;
use super::read::{ReadBuffer, SHARE_MIN};
use crate::store::types::{StreamSeq, Timestamp};

/// A message that was read and checked. Its bytes are in the buffer that it was read to, as long as nothing
/// else is.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub sequence: StreamSeq,
    /// When it was stored.
    pub timestamp: Timestamp,
    subject: Range<usize>,
    headers: Range<usize>,
    payload: Range<usize>,
}

impl Fetched {
    /// Subject, headers and payload.
    #[inline]
    pub fn parts<'b>(&self, buffer: &'b ReadBuffer) -> [&'b [u8]; 3] {
        let part = |range: &Range<usize>| buffer.bytes.get(range.clone()).unwrap_or_default();
        [
            part(&self.subject),
            part(&self.headers),
            part(&self.payload),
        ]
    }
}

impl Log {
    /// Reads the message with this sequence, if it is at hand, and in memory as far as that is known.
    #[inline]
    pub fn fetch(&mut self, sequence: StreamSeq, buffer: &mut ReadBuffer) -> Option<Fetched> {
        let (file, at, end, header, seed) = match self.place_of_sequence(sequence)? {
            Place::Sealed(at) => {
                self.open_sealed(at).ok()?;
                let turn = self.turn;
                let tells = self.tells_cold();
                let sealed = &self.sealed[at];
                let (_, start, end) = sealed.spot(sequence)?;
                if tells && !sealed.warmth.has(start, end, turn) {
                    return None;
                }
                let file = &sealed.handle.as_ref()?.file;
                (file, start, end, &sealed.footer.header, sealed.seed)
            }
            Place::Open(at) => {
                let open = &self.open[at];
                let start = *open.contents.offsets.get(open.position(sequence))?;
                if start <= LOST || start >= open.written {
                    return None;
                }
                (&open.file, start, open.written, &open.header, open.seed)
            }
        };
        if header.seals_records() {
            return None;
        }
        let rest = file.map.as_ref()?.get(at as usize..end as usize)?;
        let len = record_len(rest).ok().filter(|len| *len < SHARE_MIN)?;
        // Checked is the copy: the file may be cut meanwhile.
        buffer.bytes.clear();
        buffer.bytes.extend_from_slice(rest.get(..len)?);
        let record = Record::decode(&buffer.bytes, header, seed).ok()?;
        if record.kind != Kind::Message || record.sequence != sequence || record.erased {
            return None;
        }
        let payload = len - record.payload.len();
        let headers = payload - record.headers.len();
        let subject = headers - record.subject.len();
        Some(Fetched {
            sequence,
            timestamp: record.timestamp,
            subject: subject..headers,
            headers: headers..payload,
            payload: payload..len,
        })
    }
}
