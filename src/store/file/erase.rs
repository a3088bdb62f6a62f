//! Overwriting the contents of messages where they stand.
//!
//! What the log says to be erased is overwritten elsewhere, by a job that may take its time. A
//! crash leaves each record as it was, or erased, or half erased, which is told from damage by its
//! checksum; see [`Erasure`]. Some records are not overwritten in place: their segment is to be
//! [written anew](super::rewrite) instead.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{ERASURE_AT, Erasure, Layout, SegmentHeader};
use super::log::{Log, Place};
use super::read::{ReadBuffer, SHARE_MIN, SegmentFile};
use super::sync::SyncDone;
use crate::store::disk::{Disk, DiskFile, LockGuard};
use crate::store::error::{LogError, Reason};
use crate::store::types::{LogIndex, StreamSeq};

/// Messages that one job erases, at most.
const ERASE_MAX: usize = 256;

/// Bytes that are overwritten at a time.
const PART: usize = 64 << 10;

/// How a message can be erased.
#[derive(Debug)]
pub(in crate::store) enum Erasable {
    /// There is nothing to erase any more.
    Gone,
    /// By this job, together with others of the segment.
    InPlace(Box<EraseJob>),
    /// By writing this segment anew.
    Anew(u64),
    /// Not yet: it is not in its file for good.
    Later,
}

/// The contents of some messages of a segment, which are to be overwritten.
#[derive(Debug)]
pub struct EraseJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    segment: u64,
    /// What the syncs cover besides, in a segment that is not complete.
    upto: Option<LogIndex>,
    sequences: Vec<StreamSeq>,
    patches: Vec<(u64, Erasure)>,
    _lock: Arc<LockGuard>,
}

/// The outcome of an [`EraseJob`].
#[derive(Debug)]
pub struct EraseDone {
    segment: u64,
    upto: Option<LogIndex>,
    sequences: Vec<StreamSeq>,
    result: Result<(), Reason>,
}

impl EraseJob {
    /// Overwrites, and syncs twice.
    pub fn run(self) -> EraseDone {
        let result = self.overwrite();
        EraseDone {
            segment: self.segment,
            upto: self.upto,
            result: result.map_err(|e| Reason::new("erase in", &self.path, &e)),
            sequences: self.sequences,
        }
    }

    fn overwrite(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path)?;
        for (at, erasure) in &self.patches {
            file.write_at(&erasure.front, at + ERASURE_AT as u64)?;
        }
        file.sync()?;
        for (at, erasure) in &self.patches {
            zero(&*file, *at, erasure.contents.clone())?;
        }
        file.sync()
    }
}

fn zero(file: &dyn DiskFile, at: u64, range: Range<usize>) -> io::Result<()> {
    static ZEROS: [u8; PART] = [0; PART];
    for start in range.clone().step_by(PART) {
        let len = (range.end - start).min(PART);
        file.write_at(&ZEROS[..len], at + start as u64)?;
    }
    Ok(())
}

impl Log {
    /// How the first of these messages, whose deletes must be durable, can be erased; with it the
    /// others of the same segment. Messages are in order.
    pub(in crate::store) fn erasable(
        &mut self,
        sequences: &[StreamSeq],
        buffer: &mut ReadBuffer,
    ) -> Result<Erasable, LogError> {
        let Some(first) = sequences.first() else {
            return Ok(Erasable::Gone);
        };
        let Some(place) = self.place_of_sequence(*first) else {
            return Ok(Erasable::Gone);
        };
        let (header, last) = match place {
            Place::Sealed(at) => {
                let footer = &self.sealed[at].footer;
                (footer.header, footer.last_sequence)
            }
            Place::Open(at) => (self.open[at].header, self.open[at].last_sequence()),
        };
        if *first <= header.base_sequence {
            return Ok(Erasable::Gone);
        }
        let (mut erased, mut patches) = (vec![], vec![]);
        for sequence in sequences.iter().take(ERASE_MAX) {
            if *sequence > last {
                break;
            }
            match self.patch(place, &header, *sequence, buffer)? {
                Patch::None if erased.is_empty() => return Ok(Erasable::Gone),
                Patch::InPlace(at, erasure) => {
                    erased.push(*sequence);
                    patches.push((at, erasure));
                }
                Patch::Anew if erased.is_empty() => return Ok(Erasable::Anew(header.number)),
                Patch::Later if erased.is_empty() => return Ok(Erasable::Later),
                Patch::None | Patch::Anew | Patch::Later => break,
            }
        }
        let upto = match place {
            Place::Sealed(_) => None,
            Place::Open(at) if self.open[at].in_flight => return Ok(Erasable::Later),
            Place::Open(at) if !self.disk.is_volatile() => {
                // A sync that fails tells it once: it must not be this job that is told what
                // concerns the records of another one.
                self.open[at].in_flight = true;
                Some(self.open[at].written_index())
            }
            Place::Open(_) => None,
        };
        Ok(Erasable::InPlace(Box::new(EraseJob {
            disk: self.disk.clone(),
            path: self.path_of(place),
            segment: header.number,
            upto,
            sequences: erased,
            patches,
            _lock: self.lock.clone(),
        })))
    }

    fn patch(
        &mut self,
        place: Place,
        header: &SegmentHeader,
        sequence: StreamSeq,
        buffer: &mut ReadBuffer,
    ) -> Result<Patch, LogError> {
        let (index, _) = self.index_of(sequence)?;
        // Whoever reads small records copies them first. Large ones may be shared with readers that
        // look at them as they please; and a cipher never takes other contents with the same nonce.
        let in_place = header.anew.layout == Layout::Plain && header.key_salt == [0; 16];
        match self.read_message(sequence, buffer) {
            Ok(stored) if in_place && stored.len(header) < SHARE_MIN => {}
            Err(LogError::Absent) => return Ok(Patch::None),
            Ok(_) | Err(LogError::Damaged) => return Ok(Patch::Anew),
            Err(error) => return Err(error),
        }
        let ordinal = super::log::ordinal(index, header.first_index);
        let (file, at, end) = match place {
            Place::Sealed(at) => match self.sealed[at].place(ordinal) {
                Some(place) => place,
                None => return Ok(Patch::None),
            },
            Place::Open(at) => {
                let segment = &self.open[at];
                let offset = segment.contents.offsets.get(ordinal as usize).copied();
                if segment.synced < index {
                    return Ok(Patch::Later);
                }
                (&segment.file, offset.unwrap_or(0), segment.written)
            }
        };
        let bytes = bytes(file, at, end).map_err(|e| self.read_error(place, &e))?;
        let erasure = Erasure::new(&bytes, header, header.seed());
        Ok(erasure.map_or(Patch::Anew, |erasure| Patch::InPlace(at.into(), erasure)))
    }

    fn read_error(&self, place: Place, error: &io::Error) -> LogError {
        LogError::Io(Reason::new("read", &self.path_of(place), error))
    }

    /// Takes the outcome of a job. Gives the messages that are erased, if it did what it should.
    pub(in crate::store) fn handle_erased(&mut self, done: EraseDone) -> Option<Vec<StreamSeq>> {
        let is_done = done.result.is_ok();
        if let Some(upto) = done.upto {
            self.handle_synced(SyncDone {
                segment: done.segment,
                upto,
                result: done.result,
            });
        }
        is_done.then_some(done.sequences)
    }

    /// Sees to it that a segment gets no more records, so that it will be complete.
    pub(in crate::store) fn retire(&mut self, number: u64) -> Result<(), LogError> {
        let active = self.active();
        if active.header.number != number || active.contents.offsets.is_empty() {
            return Ok(());
        }
        self.roll(0)
    }
}

enum Patch {
    /// There is no such message.
    None,
    /// At this place of the file.
    InPlace(u64, Erasure),
    Anew,
    Later,
}

/// The bytes of a small record, as they are in the file.
fn bytes(file: &SegmentFile, at: u32, end: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SHARE_MIN.min(end.saturating_sub(at) as usize)];
    let read = file.file.read_at(&mut bytes, at.into())?;
    bytes.truncate(read);
    Ok(bytes)
}
