//! Reading without waiting for the disk: whether what is to be read is in the memory of the system,
//! and a job that gets it there.
//!
//! A sealed segment is looked at in parts of a mebibyte. A part that was found in memory, or was
//! brought there, counts as being there for some seconds, so that what is read again and again is
//! asked about once in that time. What was written lately is in memory.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::log::{Log, Place, ordinal, segment_path};
use super::sealed::Sealed;
use crate::base::clock::Mono;
use crate::store::disk::Disk;
use crate::store::types::{LogIndex, StreamSeq};

/// What a store does when a message is to be read that is not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cold {
    /// It waits for the disk.
    Wait,
    /// It answers with a job that has to be run first.
    Tell,
}

/// Bytes of a part, as a power of two.
const PART_SHIFT: u32 = 20;

/// How long a part counts as being in memory.
const WARM_FOR: Duration = Duration::from_secs(10);

/// Bytes that are read in one go.
const READ_BYTES: usize = 256 << 10;

/// Which parts of a segment are in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Warmth {
    /// A bit for each part; the last one stands for all that follow, too.
    parts: u64,
    /// Whether its tables are, so that it can be opened.
    tables: bool,
    until: Mono,
}

impl Warmth {
    /// Takes note that something is in memory now.
    fn add(&mut self, parts: u64, tables: bool, now: Mono) {
        self.expire(now);
        if self.parts == 0 && !self.tables {
            self.until = now + WARM_FOR;
        }
        self.parts |= parts;
        self.tables |= tables;
    }

    /// Whether a range is in memory, as far as that is known.
    pub(super) fn has(&self, start: u32, end: u32, now: Mono) -> bool {
        let wanted = parts(start, end);
        self.parts & wanted == wanted && now < self.until
    }

    fn expire(&mut self, now: Mono) {
        if now >= self.until {
            *self = Warmth::default();
        }
    }
}

/// The bits of the parts that a range lies in.
fn parts(start: u32, end: u32) -> u64 {
    let bit = |at: u32| (at >> PART_SHIFT).min(63);
    let (first, last) = (bit(start), bit(end.saturating_sub(1).max(start)));
    (u64::MAX >> (63 - (last - first))) << first
}

/// Reads a part of a segment, so that it is in the memory of the system.
#[derive(Debug)]
pub struct WarmJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    segment: u64,
    start: u32,
    end: u32,
    tables: bool,
}

/// The outcome of a [`WarmJob`].
#[derive(Debug)]
pub struct WarmDone {
    segment: u64,
    start: u32,
    end: u32,
    tables: bool,
}

impl WarmJob {
    /// Reads. That it fails is told to whoever reads the messages then.
    pub fn run(self) -> WarmDone {
        let _ = self.read();
        WarmDone {
            segment: self.segment,
            start: self.start,
            end: self.end,
            tables: self.tables,
        }
    }

    fn read(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path)?;
        let mut bytes = vec![0; READ_BYTES];
        let mut at = u64::from(self.start);
        while at < u64::from(self.end) {
            let left = usize::try_from(u64::from(self.end) - at).unwrap_or(READ_BYTES);
            let read = file.read_at(&mut bytes[..left.min(READ_BYTES)], at)?;
            if read == 0 {
                break;
            }
            at += read as u64;
        }
        Ok(())
    }
}

impl Log {
    /// Whether reads of messages are not to wait for the disk.
    #[inline]
    pub(in crate::store) fn tells_cold(&self) -> bool {
        self.options.cold == Cold::Tell
    }

    /// What has to be done before the message with this sequence can be read without waiting.
    pub(in crate::store) fn cold_message(&mut self, sequence: StreamSeq) -> Option<WarmJob> {
        let Some(Place::Sealed(at)) = self.place_of_sequence(sequence) else {
            return None;
        };
        if let Some(job) = self.cold_tables(at) {
            return Some(job);
        }
        let sealed = &self.sealed[at];
        let range = sealed.range(sealed.position(sequence))?;
        self.cold_range(at, range)
    }

    /// What has to be done before the records of a segment can be looked at from this one on
    /// without waiting.
    pub(in crate::store) fn cold_from(&mut self, index: LogIndex) -> Option<WarmJob> {
        let Some(Place::Sealed(at)) = self.place_of_index(index) else {
            return None;
        };
        if let Some(job) = self.cold_tables(at) {
            return Some(job);
        }
        let sealed = &self.sealed[at];
        let (start, _) = sealed.range(ordinal(index, sealed.first_index()))?;
        self.cold_range(at, (start, sealed.footer.data_end))
    }

    /// The same before the message with this sequence can be looked for.
    pub(in crate::store) fn cold_place(&mut self, sequence: StreamSeq) -> Option<WarmJob> {
        match self.place_of_sequence(sequence)? {
            Place::Sealed(at) => self.cold_tables(at),
            Place::Open(_) => None,
        }
    }

    /// The same for a segment, by one of its records.
    pub(in crate::store) fn cold_segment(&mut self, index: LogIndex) -> Option<WarmJob> {
        match self.place_of_index(index)? {
            Place::Sealed(at) => self.cold_tables(at),
            Place::Open(_) => None,
        }
    }

    /// Takes note that something was read.
    pub(in crate::store) fn handle_warm(&mut self, done: &WarmDone) {
        let is_it = |s: &&mut Sealed| s.number() == done.segment;
        if let Some(sealed) = self.sealed.iter_mut().find(is_it) {
            let parts = match done.tables {
                true => 0,
                false => parts(done.start, done.end),
            };
            sealed.warmth.add(parts, done.tables, self.turn);
        }
    }

    /// Opens a segment, if that can be done without waiting.
    fn cold_tables(&mut self, at: usize) -> Option<WarmJob> {
        let sealed = &mut self.sealed[at];
        if sealed.handle.is_none() {
            sealed.warmth.expire(self.turn);
            let is_warm = sealed.warmth.tables || sealed.file_len <= sealed.footer.data_end.into();
            if !is_warm && !self.disk.is_volatile() {
                let end = u32::try_from(self.sealed[at].file_len).unwrap_or(u32::MAX);
                let start = self.sealed[at].footer.data_end;
                return Some(self.warm_job(at, (start, end), true));
            }
        }
        // An error is that of whoever reads.
        let _ = self.open_sealed(at);
        None
    }

    fn cold_range(&mut self, at: usize, (start, end): (u32, u32)) -> Option<WarmJob> {
        let now = self.turn;
        let sealed = &mut self.sealed[at];
        let wanted = parts(start, end);
        sealed.warmth.expire(now);
        if sealed.warmth.parts & wanted == wanted {
            return None;
        }
        let handle = sealed.handle.as_ref()?;
        let is_there = match &handle.file.map {
            Some(map) => map.is_resident(start as usize..end as usize),
            None => self.disk.is_volatile(),
        };
        if !is_there {
            return Some(self.warm_job(at, (start, end), false));
        }
        sealed.warmth.add(wanted, false, now);
        None
    }

    fn warm_job(&self, at: usize, (start, end): (u32, u32), tables: bool) -> WarmJob {
        let segment = self.sealed[at].number();
        WarmJob {
            disk: self.disk.clone(),
            path: segment_path(&self.dir, segment),
            segment,
            start,
            end,
            tables,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bits() {
        const PART: u32 = 1 << PART_SHIFT;
        assert_eq!(parts(0, 1), 1);
        assert_eq!(parts(0, PART), 1);
        assert_eq!(parts(PART - 1, PART + 1), 3);
        assert_eq!(parts(2 * PART, 4 * PART), 0b1100);
        assert_eq!(parts(0, u32::MAX), u64::MAX);
        assert_eq!(parts(100 * PART, 200 * PART), 1 << 63);
        assert_eq!(parts(5, 5), 1);
    }

    #[test]
    fn warmth_ends() {
        let mut warmth = Warmth::default();
        let at = |seconds| Mono::ZERO + Duration::from_secs(seconds);
        warmth.add(1, false, at(1));
        warmth.add(2, true, at(10));
        assert_eq!((warmth.parts, warmth.tables), (3, true));
        warmth.expire(at(11));
        assert_eq!((warmth.parts, warmth.tables), (0, false));
    }
}
