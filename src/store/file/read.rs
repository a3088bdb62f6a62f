//! Records out of a segment's file: copied and checked, or shared with the map if they are large.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{Kind, Record, Records, SegmentHeader, front, record_len};
use super::map::Map;
use super::options::{Handles, Pin};
use super::pack::{BlockKey, Unpacked};
use crate::store::crypt::SealKey;
use crate::store::disk::DiskFile;

/// Bytes of a record from which on it is not copied: the copy would cost more than the count of
/// references, which other threads touch, too.
pub const SHARE_MIN: usize = 16 << 10;

/// Bytes that are read in one go where there is no map: enough for most records.
const FIRST_READ: usize = 512;

/// A segment's file, open.
#[derive(Clone, Debug)]
pub(super) struct SegmentFile {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) map: Option<Map>,
    _pin: Option<Arc<Pin>>,
    /// What opens the records of an encrypted segment.
    pub(super) key: Option<Arc<SealKey>>,
}

/// Where a record is read to. Keep it for the next one.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    pub(super) bytes: Vec<u8>,
    map: Option<Map>,
    /// The block of a packed segment that was read last: what is read next is often in it.
    pub(super) block: Option<(BlockKey, Arc<Unpacked>)>,
}

/// A record that was read and checked.
#[derive(Debug)]
pub struct Stored<'b> {
    pub record: Record<'b>,
    /// The map that the record stands in, and where the record ends in it.
    shared: Option<(&'b Map, usize)>,
}

/// A payload, to be kept or sent.
#[derive(Clone, Debug)]
pub enum Payload<'b> {
    /// A small one, which is in the buffer that it was read to.
    Copied(&'b [u8]),
    /// A large one. It keeps its segment's map, and must not be looked at twice: the file may be
    /// cut by somebody else meanwhile (see `map.rs`).
    Shared(Bytes),
}

impl<'b> Stored<'b> {
    pub(super) fn copied(record: Record<'b>) -> Stored<'b> {
        Stored {
            record,
            shared: None,
        }
    }

    /// Bytes of the record in a segment with this header.
    pub(super) fn len(&self, header: &SegmentHeader) -> usize {
        self.record.len(header)
    }

    /// The payload, without a copy if it is large.
    pub fn payload(&self) -> Payload<'b> {
        let payload = self.record.payload;
        match self.shared {
            Some((map, end)) if payload.len() >= SHARE_MIN => {
                let range = end - payload.len()..end;
                let map = map.clone();
                Payload::Shared(Bytes::from_owner(Slice { map, range }))
            }
            _ => Payload::Copied(payload),
        }
    }
}

struct Slice {
    map: Map,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }
}

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum ReadFault {
    Damaged,
    Io(io::Error),
}

impl SegmentFile {
    /// Opens what was created or opened, for records up to `capacity`. What cannot be mapped is read
    /// otherwise.
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        capacity: usize,
        key: Option<Arc<SealKey>>,
    ) -> SegmentFile {
        SegmentFile {
            map: file.map(capacity).ok().flatten(),
            ..SegmentFile::unmapped(file, key)
        }
    }

    /// The same without a map.
    pub(super) fn unmapped(file: Arc<dyn DiskFile>, key: Option<Arc<SealKey>>) -> SegmentFile {
        SegmentFile {
            file,
            map: None,
            _pin: None,
            key,
        }
    }

    /// The same for a segment that is appended to, as long as there are maps for those.
    pub(super) fn pinned(
        file: Arc<dyn DiskFile>,
        capacity: usize,
        handles: &Arc<Handles>,
        key: Option<Arc<SealKey>>,
    ) -> SegmentFile {
        match handles.pin() {
            Some(pin) => SegmentFile {
                _pin: Some(Arc::new(pin)),
                ..SegmentFile::new(file, capacity, key)
            },
            None => SegmentFile::unmapped(file, key),
        }
    }

    /// Whether somebody cut the file while it was mapped.
    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        self.map.as_ref().is_some_and(Map::is_cut)
    }

    /// The record at `at`; records end at `end`.
    pub(super) fn record<'b>(
        &self,
        (header, seed): (&SegmentHeader, u32),
        at: u32,
        end: u32,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Stored<'b>, ReadFault> {
        let (at, end) = (at as usize, end as usize);
        let Some(map) = &self.map else {
            self.read_in(at, end, buffer)?;
            let stored = buffer.decode(header, seed, self.key.as_deref());
            return stored.ok_or(ReadFault::Damaged);
        };
        let rest = map.get(at..end).ok_or(ReadFault::Damaged)?;
        let len = record_len(rest).map_err(|_| ReadFault::Damaged)?;
        let bytes = rest.get(..len).ok_or(ReadFault::Damaged)?;
        if len < SHARE_MIN || self.key.is_some() {
            buffer.bytes.clear();
            buffer.bytes.extend_from_slice(bytes);
            let stored = buffer.decode(header, seed, self.key.as_deref());
            return stored.ok_or(ReadFault::Damaged);
        }
        let map = buffer.map.insert(map.clone());
        let bytes = map.get(at..at + len).ok_or(ReadFault::Damaged)?;
        let record = Record::decode(bytes, header, seed).map_err(|_| ReadFault::Damaged)?;
        let shared = Some((&*map, at + len));
        Ok(Stored { record, shared })
    }

    fn read_in(&self, at: usize, end: usize, buffer: &mut ReadBuffer) -> Result<(), ReadFault> {
        let bytes = &mut buffer.bytes;
        let room = end.checked_sub(at).ok_or(ReadFault::Damaged)?;
        read_at(&*self.file, bytes, at, room.min(FIRST_READ))?;
        let len = record_len(bytes).map_err(|_| ReadFault::Damaged)?;
        if len > room {
            return Err(ReadFault::Damaged);
        }
        if len > bytes.len() {
            read_at(&*self.file, bytes, at, len)?;
        }
        Ok(())
    }

    /// Looks at the record at `at` where it stands; it is checked if it has fewer than `checked`
    /// bytes. `None` where there is no map, or no record, or it is sealed.
    #[inline]
    pub(super) fn peek(
        &self,
        (header, seed): (&SegmentHeader, u32),
        at: u32,
        end: u32,
        checked: usize,
    ) -> Option<Record<'_>> {
        if header.seals_records() {
            return None;
        }
        let rest = self.map.as_ref()?.get(at as usize..end as usize)?;
        let len = record_len(rest).ok()?;
        if len < checked {
            return Record::decode(rest, header, seed).ok();
        }
        Record::fields(rest.get(..len)?, header)
    }

    /// Looks at the front of the record at `at`, unchecked. `None` where there is no map, or no
    /// record.
    #[inline]
    pub(super) fn glance(&self, records: Records, at: u32, end: u32) -> Option<(Kind, &[u8])> {
        front(self.map.as_ref()?.get(at as usize..end as usize)?, records)
    }
}

fn read_at(
    file: &dyn DiskFile,
    bytes: &mut Vec<u8>,
    at: usize,
    len: usize,
) -> Result<(), ReadFault> {
    bytes.resize(len, 0);
    let read = file.read_at(bytes, at as u64).map_err(ReadFault::Io)?;
    bytes.truncate(read);
    Ok(())
}

impl ReadBuffer {
    /// Copies a record that is in memory, and checks it.
    pub(super) fn decode_copy<'b>(
        &'b mut self,
        bytes: &[u8],
        header: &SegmentHeader,
        seed: u32,
        key: Option<&SealKey>,
    ) -> Option<Stored<'b>> {
        let len = record_len(bytes).ok()?;
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes.get(..len)?);
        self.decode(header, seed, key)
    }

    /// Checks the record at the front of the buffer, and opens it if it is sealed.
    fn decode<'b>(
        &'b mut self,
        header: &SegmentHeader,
        seed: u32,
        key: Option<&SealKey>,
    ) -> Option<Stored<'b>> {
        if !header.seals_records() {
            let record = Record::decode(&self.bytes, header, seed).ok()?;
            return Some(Stored::copied(record));
        }
        let len = record_len(&self.bytes).ok()?;
        Record::decode(&self.bytes, header, seed).ok()?;
        self.bytes.truncate(len);
        Record::unseal(&mut self.bytes, header, key?)?;
        Record::fields(&self.bytes, header).map(Stored::copied)
    }
}
