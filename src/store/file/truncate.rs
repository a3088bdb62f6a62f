//! What a group of replicas needs of a log beyond what a single server does: to take back records
//! that were not agreed upon, and to look at records by their index.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{Anew, FIRST_RECORD, FOOTER_LEN, Record, SegmentHeader};
use super::log::{Log, Place};
use super::open_segment::OpenSegment;
use super::read::{ReadBuffer, SegmentFile};
use super::sealed::Sealed;
use crate::store::disk::Disk;
use crate::store::error::{LogError, Reason, is_full};
use crate::store::types::{LogIndex, StreamSeq, Term};

/// Bytes of records that are kept in memory while a segment is written anew.
const PIECE: usize = 256 << 10;

/// Bytes that a record may take besides its own: in the tables, and sealed.
const AROUND: usize = 64;

impl Log {
    /// Takes back all records behind `index`, for good. Nobody may have been told that they are
    /// stored for the group, nor may anything follow from them.
    ///
    /// Segments behind are removed from the last one on, and the one in which the cut is is written
    /// anew beside the old one, under a header of its own. So a crash leaves more of the log or
    /// less, and what was cut off does not come back: neither are its bytes anywhere, nor does the
    /// commit journal take the new segment for the one that it has records of.
    ///
    /// # Errors
    /// After [`LogError::Full`], [`LogError::Busy`], [`LogError::Absent`], and [`LogError::Damaged`],
    /// which is about a record that is to stay, nothing has changed. After others the log is read-only, and when it
    /// is opened again it ends at `index` or later.
    pub fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.check()?;
        if index >= self.last_index() {
            return Ok(());
        }
        let place = self.place_of_index(index.next());
        let place = place.filter(|_| index.next() >= self.first_index());
        let place = place.ok_or(LogError::Absent)?;
        let from = match place {
            Place::Sealed(_) => 0,
            Place::Open(at) => at,
        };
        // They would be told of a file that is not there any more.
        if self.rewriting.is_some() || self.open.iter().skip(from).any(|s| s.in_flight) {
            return Err(LogError::Busy);
        }
        self.cut(place, index)
    }

    /// Writes the active segment anew, under a header of its own. The journal may have records of a
    /// log that was not trusted to its end, and they are not to come back.
    pub(super) fn renew(&mut self) -> Result<(), LogError> {
        let active = Place::Open(self.open.len() - 1);
        self.cut(active, self.last_index())
    }

    /// Ends the log at `index`, in this segment.
    fn cut(&mut self, place: Place, index: LogIndex) -> Result<(), LogError> {
        let (segment, new) = self.write_up_to(place, index)?;
        let removed = self.files_behind(place);
        let path = segment.path.clone();
        // From here on nothing of what the journal has, or gets, is told to be durable: which file the
        // disk has is not known before the end.
        self.durable = self.durable.min(index);
        self.forget_journaled();
        let done = remove_from_the_last(&*self.disk, &removed)
            .and_then(|()| self.disk.rename(&new, &path))
            .and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = done {
            let reason = Reason::new("truncate", &path, &error);
            self.failed = Some(reason.clone());
            return Err(LogError::Io(reason));
        }
        match place {
            Place::Sealed(at) => {
                self.sealed.truncate(at);
                self.open.clear();
            }
            Place::Open(at) => self.open.truncate(at),
        }
        self.open.push_back(segment);
        self.durable = self.durable.max(self.stored());
        Ok(())
    }

    /// The segment at `place` up to `index`, in a new file, synced, and the name of that.
    fn write_up_to(
        &mut self,
        place: Place,
        index: LogIndex,
    ) -> Result<(OpenSegment, PathBuf), LogError> {
        let header = match place {
            Place::Sealed(at) => self.sealed[at].footer.header,
            Place::Open(at) => self.open[at].header,
        };
        let header = self.options.encrypted(SegmentHeader {
            records: self.options.records,
            generation: 0,
            key_salt: [0; 16],
            anew: Anew {
                cuts: header.anew.cuts.wrapping_add(1),
                merged: header.anew.merged,
                basis: header.anew.basis,
                // Records of a segment that was written anew do not tell it.
                proven: self.durable.min(index),
                ..Anew::default()
            },
            ..header
        });
        let path = self.path_of(place);
        let new = path.with_extension("new");
        let mut buffer = ReadBuffer::default();
        let mut room = FIRST_RECORD as usize + FOOTER_LEN;
        self.each_of(&header, index, &mut buffer, |record| {
            room += record.len(&header) + AROUND;
            Ok(())
        })?;
        let capacity = room.max(self.options.segment_bytes as usize);
        let failed = |error: io::Error| match is_full(&error) {
            true => LogError::Full,
            false => LogError::Io(Reason::new("write", &new, &error)),
        };
        let disk: Arc<dyn Disk> = self.disk.clone();
        let key = self.options.segment_key(&header).map_err(io::Error::other);
        let key = key.map_err(failed)?;
        let file = disk.create(&new, capacity).map_err(failed)?;
        let file = SegmentFile::pinned(file, capacity, &self.options.handles, key);
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let segment = OpenSegment::create(header, path, file, capacity);
        let mut segment = segment.map_err(failed)?;
        self.each_of(&header, index, &mut buffer, |record| {
            segment.ready().map_err(failed)?;
            let mut record = *record;
            segment.push(&mut record);
            match segment.pending.len() >= PIECE {
                true => segment.flush().map_err(failed),
                false => Ok(()),
            }
        })?;
        segment.flush().map_err(failed)?;
        segment.file.file.sync().map_err(failed)?;
        segment.synced = segment.last_index();
        segment.named = true;
        Ok((segment, new))
    }

    /// Shows the records of a segment up to `index`, all of which must be there.
    fn each_of(
        &mut self,
        header: &SegmentHeader,
        index: LogIndex,
        buffer: &mut ReadBuffer,
        mut show: impl FnMut(&Record<'_>) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let mut at = header.first_index;
        while at <= index {
            let stored = self.read(at, buffer).map_err(|error| match error {
                LogError::Absent => LogError::Damaged,
                error => error,
            })?;
            show(&stored.record)?;
            at = at.next();
        }
        Ok(())
    }

    /// The files of the segments behind this one, in their order.
    fn files_behind(&self, place: Place) -> Vec<PathBuf> {
        let (sealed, open) = match place {
            Place::Sealed(at) => (at + 1, 0),
            Place::Open(at) => (self.sealed.len(), at + 1),
        };
        let sealed = (sealed..self.sealed.len()).map(Place::Sealed);
        let open = (open..self.open.len()).map(Place::Open);
        sealed.chain(open).map(|at| self.path_of(at)).collect()
    }

    /// Has segments stay that have a record behind this one, whatever becomes of their messages.
    pub(in crate::store) fn hold(&mut self, applied: LogIndex) {
        self.hold = applied;
    }

    /// The last record that is surely never taken back.
    pub(in crate::store) fn held(&self) -> LogIndex {
        self.hold
    }

    /// Whether a segment has a message from `first` on, or is [held](Log::hold).
    pub(super) fn is_needed(&self, sealed: &Sealed, first: StreamSeq) -> bool {
        sealed.footer.last_sequence >= first || sealed.last_index() > self.hold
    }

    /// The term of a record.
    pub fn term_of(&mut self, index: LogIndex, buffer: &mut ReadBuffer) -> Result<Term, LogError> {
        if index == self.last_index() {
            return Ok(self.last_term());
        }
        Ok(self.read(index, buffer)?.record.term)
    }

    /// The last sequence that was used when a record was written, as far as its segment's tables tell:
    /// where it is damaged, it may be that of a record before.
    ///
    /// # Errors
    /// If there is no such record, or no tables that can be read, or if it was left out and they do not tell.
    pub(in crate::store) fn used_at(&mut self, index: LogIndex) -> Result<StreamSeq, LogError> {
        if let Place::Sealed(at) = self.place_of_index(index).ok_or(LogError::Absent)? {
            self.open_sealed(at)?;
            if !self.sealed[at].tells(index) {
                return Err(LogError::Absent);
            }
        }
        Ok(self.sequence_of(index))
    }

    /// Shows records from `from` to `upto`, both included, until they have more than `bytes`
    /// together; at least one. Gives the index of the first one that was not shown.
    ///
    /// # Errors
    /// If one of them is not there, or is damaged; those before it were shown.
    pub fn entries(
        &mut self,
        (from, upto): (LogIndex, LogIndex),
        bytes: usize,
        buffer: &mut ReadBuffer,
        mut show: impl FnMut(&Record<'_>),
    ) -> Result<LogIndex, LogError> {
        let (mut at, mut seen) = (from, 0);
        while at <= upto && (at == from || seen < bytes) {
            let record = self.read(at, buffer)?.record;
            seen += record.subject.len() + record.headers.len() + record.payload.len();
            show(&record);
            at = at.next();
        }
        Ok(at)
    }
}

/// Removes files, one after the other for good, so that there is never one without those before.
fn remove_from_the_last(disk: &dyn Disk, files: &[PathBuf]) -> io::Result<()> {
    for path in files.iter().rev() {
        match disk.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir)?;
        }
    }
    Ok(())
}
