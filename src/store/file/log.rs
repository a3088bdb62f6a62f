//! The log of one stream: a row of records, each with an index, of which none that was
//! acknowledged is ever lost.
//!
//! ```text
//!  append ─> pending ─ commit ─> written ─ sync ─> durable
//!            (memory)            (file)            (disk, for good)
//! ```
//!
//! [`Log::append`] numbers a record and keeps it; [`Log::commit`] writes all that were kept in one
//! piece; [`Log::poll_sync`] says what to sync, and [`Log::handle_synced`] takes the outcome, after
//! which [`Log::acknowledged`] may have grown. Appending goes on while a sync is under way, and one
//! sync covers all that was written before it began.
//!
//! Want of room is an error of the call that needs it, and of no other: blocks are made sure of,
//! with zeros, before a record is taken. After any other failure of a write, and of every sync, the
//! log is read-only: what the disk holds then is known only by opening it again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::draft::Draft;
use super::failure::SegmentFailure;
use super::format::{Anew, FIRST_RECORD, FOOTER_LEN, Kind, RECORD_MAX, Record, SegmentHeader};
use super::known::LogStart;
use super::open_segment::{DIRECT_MIN, OpenSegment};
use super::options::{LogOptions, Marks, SyncMode};
use super::read::{ReadBuffer, ReadFault, SHARE_MIN, SegmentFile, Stored};
use super::sealed::Sealed;
use super::subjects::Wanted;
use super::sync::SyncDone;
use super::tail::Journaled;
use crate::base::clock::Mono;
use crate::store::disk::{Disk, Entry, LockGuard};
use crate::store::error::{LogError, Reason, is_full};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Term};

/// Bytes that a record may take in a segment of its own besides those that it takes in the one before: in
/// the tables, and in fields which are left out there.
const AROUND: usize = 24;

/// A stream's log.
#[derive(Debug)]
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) stream: StreamId,
    pub(super) options: LogOptions,
    pub(super) sealed: Vec<Sealed>,
    /// Those without a footer; the last one is appended to. There is always one.
    pub(super) open: VecDeque<OpenSegment>,
    /// Files of segments before the first one, which are still to be removed.
    pub(super) given_up: Vec<Entry>,
    pub(super) durable: LogIndex,
    /// Whether zeros are written ahead.
    pub(super) likes_zeros: bool,
    pub(super) journaled: Journaled,
    /// Segments with a record behind this one stay, whatever their messages are.
    pub(super) hold: LogIndex,
    pub(super) failed: Option<Reason>,
    /// When the last sync was begun.
    pub(super) synced_at: Mono,
    /// Whether all segments are being synced, one after the other, as the interval is over.
    pub(super) in_round: bool,
    pub(super) reads: u64,
    /// The sealed segment that was looked for last, or their number.
    pub(super) found: Cell<usize>,
    /// The open segment that was.
    pub(super) found_open: Cell<usize>,
    /// The segment of which it is to be found out where its subjects are.
    pub(super) wanted: Wanted,
    /// The time as it was told last.
    pub(super) turn: Mono,
    /// Where it is told that some of the open segments are to be closed.
    pub(super) marks: Marks,
    /// Segments that were given up and not told of yet.
    pub(super) failures: Vec<SegmentFailure>,
    /// The segments that are being written anew. They stay, and stay open, until that is done.
    pub(super) rewriting: Option<RangeInclusive<u64>>,
    /// Shared with jobs that change files, so that nobody opens the log before they are done.
    pub(super) lock: Arc<LockGuard>,
}

/// Where a segment is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Sealed(usize),
    Open(usize),
}

/// Where a [`Log::walk`] ended.
#[derive(Debug)]
pub enum Walk<'b> {
    /// At this record, which was wanted.
    Found(Stored<'b>),
    /// At a record that is damaged, and the message that it was; 0 if it was none, or is known to be
    /// lost.
    Damaged(LogIndex, StreamSeq),
    /// Before this record: as many as were allowed were looked at.
    Paused(LogIndex),
    /// At the end.
    End,
}

impl Log {
    /// The index of the last record, written or not.
    pub fn last_index(&self) -> LogIndex {
        self.active().last_index()
    }

    /// The last sequence that a record has.
    pub fn last_sequence(&self) -> StreamSeq {
        self.active().last_sequence()
    }

    /// The term of the last record.
    pub fn last_term(&self) -> Term {
        self.active().contents.last_term
    }

    /// The index of the first record that is still there.
    pub fn first_index(&self) -> LogIndex {
        match self.sealed.first() {
            Some(sealed) => sealed.first_index(),
            None => self.open[0].header.first_index,
        }
    }

    /// The last record that is on the disk for good, with all before it.
    pub fn durable(&self) -> LogIndex {
        self.durable
    }

    /// The last record that counts as stored, as the [`SyncMode`] has it.
    pub fn acknowledged(&self) -> LogIndex {
        match self.options.sync {
            SyncMode::Always => self.durable,
            SyncMode::Interval(_) if self.failed.is_some() => self.durable,
            SyncMode::Interval(_) => match self.active() {
                active if active.pending.is_empty() => active.last_index(),
                active => self.durable.max(active.first_pending().previous()),
            },
        }
    }

    /// Why nothing can be appended, if so.
    pub fn failure(&self) -> Option<&Reason> {
        self.failed.as_ref()
    }

    /// Bytes of all segments, those that are still to be removed included.
    pub fn file_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|s| s.file_len).sum();
        let open: u64 = self.open.iter().map(|s| u64::from(s.reserved)).sum();
        self.given_up_bytes() + sealed + open
    }

    /// Bytes of segments that were given up before the log was opened, and that the next
    /// [`Log::drop_segments_before`] removes.
    pub fn given_up_bytes(&self) -> u64 {
        self.given_up.iter().map(|file| file.len).sum()
    }

    /// Appends a record, which is not written before [`Log::commit`], and gives its index.
    ///
    /// # Errors
    /// Nothing is appended then. After [`LogError::Full`] and [`LogError::TooLarge`] the log is as
    /// it was before.
    pub fn append(&mut self, draft: &Draft<'_>) -> Result<LogIndex, LogError> {
        self.append_in_group(draft, 0)
    }

    /// The same for a record behind which `left` others of a group follow.
    pub(in crate::store) fn append_in_group(
        &mut self,
        draft: &Draft<'_>,
        left: u32,
    ) -> Result<LogIndex, LogError> {
        self.check()?;
        self.check_order(draft)?;
        let mut record = self.record_of(draft, left);
        let mut len = record.len(&self.active().header);
        if len > RECORD_MAX || draft.subject.len() > usize::from(u16::MAX) {
            let max = RECORD_MAX;
            return Err(LogError::TooLarge { bytes: len, max });
        }
        if !self.active().fits(&record, len) {
            // A segment has four thousand million sequences. One that is too far for the next segment, too,
            // has those before it taken as used there.
            let last = self.last_sequence();
            let base = match u32::try_from(record.sequence.0 - last.0) {
                Ok(_) => last,
                Err(_) => record.sequence.previous(),
            };
            match self.roll_to(base, len) {
                Err(LogError::Full) if self.makes_room(draft.kind) => self.roll_to(base, len)?,
                rolled => rolled?,
            }
            len = record.len(&self.active().header);
        }
        let direct = self.likes_zeros && len >= DIRECT_MIN;
        let reserved = match (direct, self.likes_zeros) {
            (false, true) => self.reserve(draft.kind, len),
            // What was taken before has its room, and is written before the room is tried that
            // this record needs.
            _ => Ok(()),
        };
        if let Err(error) = reserved {
            return Err(self.write_failed(&error));
        }
        if direct {
            self.commit()?;
        }
        if let Err(error) = self.active_mut().ready() {
            return Err(self.write_failed(&error));
        }
        let active = self.active_mut();
        let before = direct.then(|| active.contents.clone_marks());
        active.push(&mut record);
        if let Some(before) = before
            && let Err(error) = active.flush()
        {
            active.pending.clear();
            active.contents.restore(before);
            return Err(self.write_failed(&error));
        }
        Ok(record.index)
    }

    /// Writes what was appended. [`Log::poll_sync`] has something to do then.
    pub fn commit(&mut self) -> Result<(), LogError> {
        self.check()?;
        let active = self.active_mut();
        if let Err(error) = active.flush() {
            let reason = Reason::new("write", &active.path, &error);
            self.failed = Some(reason.clone());
            return Err(LogError::Io(reason));
        }
        if self.disk.is_volatile() {
            self.durable = self.last_index();
            for segment in &mut self.open {
                segment.synced = segment.last_index();
            }
            self.seal_synced();
        }
        Ok(())
    }

    /// Takes the outcome of a sync. After one that failed the log is read-only.
    pub fn handle_synced(&mut self, done: SyncDone) {
        let number = done.segment;
        let segment = self.open.iter_mut().find(|s| s.header.number == number);
        if let Some(segment) = segment {
            segment.in_flight = false;
            if self.failed.is_some() {
                return;
            }
            match done.result {
                Ok(()) => {
                    segment.synced = segment.synced.max(done.upto);
                    segment.named = true;
                }
                Err(reason) => {
                    self.failed = Some(reason);
                    return;
                }
            }
        }
        self.advance();
    }

    /// Counts as durable what segments have.
    pub(super) fn advance(&mut self) {
        for segment in &self.open {
            self.durable = self.durable.max(segment.synced);
            if segment.synced < segment.last_index() {
                break;
            }
        }
        self.seal_synced();
    }

    /// Syncs all that was appended, here and now; the commit journal is not needed for any of it
    /// then.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.tail().write_back()?;
        let now = self.synced_at;
        while self.stored() < self.last_index() {
            let Some(job) = self.next_sync(now) else {
                break;
            };
            self.handle_synced(job.run());
            self.check()?;
        }
        Ok(())
    }

    /// Reads the record with this index.
    pub fn read<'b>(
        &mut self,
        index: LogIndex,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Stored<'b>, LogError> {
        let place = self.place_of_index(index).ok_or(LogError::Absent)?;
        let first = match place {
            Place::Sealed(at) => {
                self.open_sealed(at)?;
                self.sealed[at].first_index()
            }
            Place::Open(at) => self.open[at].header.first_index,
        };
        self.read_at(place, ordinal(index, first), buffer)
    }

    /// Reads a record of a segment that is open.
    pub(super) fn read_at<'b>(
        &self,
        place: Place,
        ordinal: u32,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Stored<'b>, LogError> {
        let stored = match place {
            Place::Sealed(at) => match self.sealed[at].record(ordinal, buffer) {
                Ok(stored) => return stored.ok_or(LogError::Absent),
                Err(fault) => Err(fault),
            },
            Place::Open(at) => self.open[at].record(ordinal, buffer),
        };
        stored.map_err(|fault| self.read_failed(place, fault))
    }

    /// Reads the message with this sequence. [`LogError::Damaged`] if it may have been lost.
    pub fn read_message<'b>(
        &mut self,
        sequence: StreamSeq,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Stored<'b>, LogError> {
        let place = self.place_of_sequence(sequence).ok_or(LogError::Absent)?;
        let (ordinal, doubtful) = self.ordinal_of(place, sequence)?;
        let missing = match doubtful {
            true => LogError::Damaged,
            false => LogError::Absent,
        };
        let stored = match self.read_at(place, ordinal, buffer) {
            Err(LogError::Absent | LogError::Damaged) if self.has_given_up(place) => {
                return Err(LogError::Damaged);
            }
            Err(LogError::Absent) => return Err(missing),
            other => other?,
        };
        let record = &stored.record;
        let right = record.kind == Kind::Message && record.sequence == sequence;
        right.then_some(stored).ok_or(missing)
    }

    /// The first record with this sequence or a higher one, and whether one before it is damaged
    /// that may have had it.
    pub fn index_of(&mut self, sequence: StreamSeq) -> Result<(LogIndex, bool), LogError> {
        let place = self.place_of_sequence(sequence).ok_or(LogError::Absent)?;
        let (ordinal, doubtful) = self.ordinal_of(place, sequence)?;
        let first = match place {
            Place::Sealed(at) => self.sealed[at].first_index(),
            Place::Open(at) => self.open[at].header.first_index,
        };
        Ok((LogIndex(first.0 + u64::from(ordinal)), doubtful))
    }

    /// The same in its segment, which is open then.
    fn ordinal_of(&mut self, place: Place, sequence: StreamSeq) -> Result<(u32, bool), LogError> {
        match place {
            Place::Sealed(at) => {
                match self.open_sealed(at) {
                    // Whoever goes on from there finds out.
                    Err(LogError::Damaged) => return Ok((0, true)),
                    opened => opened?,
                }
                let sealed = &self.sealed[at];
                let ordinal = sealed.position(sequence);
                let lost = ordinal > 0 && sealed.is_lost(ordinal - 1);
                Ok((ordinal, lost))
            }
            Place::Open(at) => {
                let ordinal = self.open[at].position(sequence);
                Ok((u32::try_from(ordinal).unwrap_or(u32::MAX), false))
            }
        }
    }

    /// Looks at the records from `from` on, `budget` of them at most, until one is wanted, and
    /// reads that. What `wants` sees of large records was not checked yet.
    pub fn walk<'b>(
        &mut self,
        from: LogIndex,
        budget: &mut usize,
        mut wants: impl FnMut(&Record<'_>) -> bool,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Walk<'b>, LogError> {
        let mut index = from.max(self.first_index());
        loop {
            let Some(place) = self.place_of_index(index) else {
                match self.first_index_after(index) {
                    Some(next) => {
                        index = next;
                        continue;
                    }
                    None => return Ok(Walk::End),
                }
            };
            let flow = match place {
                Place::Sealed(at) => {
                    self.open_sealed(at)?;
                    let sealed = &self.sealed[at];
                    sealed.walk(index, budget, &mut wants)
                }
                Place::Open(at) => self.open[at].walk(index, budget, &mut wants, buffer),
            };
            match flow {
                ControlFlow::Continue(next) => index = next,
                ControlFlow::Break(Stop::Paused(at)) => return Ok(Walk::Paused(at)),
                ControlFlow::Break(Stop::Wanted(at)) => {
                    // The record is there; only damage can keep it back, which is told apart.
                    let last = self.message_at(at).unwrap_or_default();
                    return match self.read(at, buffer) {
                        Ok(stored) => Ok(Walk::Found(stored)),
                        Err(LogError::Damaged) => Ok(Walk::Damaged(at, last)),
                        Err(error) => Err(error),
                    };
                }
            }
        }
    }

    pub(super) fn active(&self) -> &OpenSegment {
        self.open.back().expect("there is always an open segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut OpenSegment {
        let last = self.open.back_mut();
        last.expect("there is always an open segment")
    }

    /// Takes nothing from now on, until it is opened again.
    pub(in crate::store) fn fail(&mut self, error: &LogError) {
        let reason = match error {
            LogError::Io(reason) | LogError::ReadOnly(reason) => reason.clone(),
            error => Reason {
                kind: io::ErrorKind::Other,
                text: error.to_string(),
            },
        };
        self.failed.get_or_insert(reason);
    }

    pub(in crate::store) fn check(&self) -> Result<(), LogError> {
        match &self.failed {
            None => Ok(()),
            Some(reason) => Err(LogError::ReadOnly(reason.clone())),
        }
    }

    /// Whether what is to be appended can follow what is there.
    #[inline]
    fn check_order(&self, draft: &Draft<'_>) -> Result<(), LogError> {
        let last = self.last_sequence();
        let follows = match draft.kind {
            // The last number there is has none behind it.
            Kind::Message | Kind::Skip => draft.sequence > last && draft.sequence.0 < u64::MAX,
            _ => draft.sequence == last,
        };
        if !follows || draft.term < self.last_term() {
            return Err(LogError::Disorder);
        }
        Ok(())
    }

    #[inline]
    fn record_of<'a>(&self, draft: &Draft<'a>, left: u32) -> Record<'a> {
        Record {
            kind: draft.kind,
            index: self.last_index().next(),
            term: draft.term,
            sequence: draft.sequence,
            timestamp: draft.timestamp,
            durable: self.durable,
            previous: draft.previous,
            ttl_s: draft.ttl_s,
            erased: false,
            group_left: left,
            subject: draft.subject,
            headers: draft.headers,
            payload: draft.payload,
        }
    }

    /// A failed write to blocks that nothing was in yet. Want of room changes nothing.
    fn write_failed(&mut self, error: &io::Error) -> LogError {
        if is_full(error) {
            return LogError::Full;
        }
        let reason = Reason::new("write", &self.active().path, error);
        self.failed = Some(reason.clone());
        LogError::Io(reason)
    }

    pub(super) fn read_failed(&self, place: Place, fault: ReadFault) -> LogError {
        match fault {
            ReadFault::Damaged => LogError::Damaged,
            ReadFault::Io(error) => LogError::Io(Reason::new("read", &self.path_of(place), &error)),
        }
    }

    /// Begins a new segment, for a record of `len` bytes among others. Its term is that of the last
    /// record, whatever that of the next one is: there may be no room for that.
    pub(super) fn roll(&mut self, len: usize) -> Result<(), LogError> {
        self.roll_to(self.last_sequence(), len)
    }

    /// The same, where sequences up to `base` count as used.
    fn roll_to(&mut self, base: StreamSeq, len: usize) -> Result<(), LogError> {
        self.commit()?;
        let active = self.active();
        let header = self.options.encrypted(SegmentHeader {
            records: self.options.records,
            stream: self.stream,
            number: active.header.last_number() + 1,
            first_index: active.last_index().next(),
            base_sequence: base,
            term: active.contents.last_term,
            generation: 0,
            chain: active.contents.chain,
            key_salt: [0; 16],
            anew: Anew::default(),
        });
        match self.create(header, len) {
            Ok(mut segment) => {
                // Memory that was written before takes less time than new memory.
                segment.pending = std::mem::take(&mut self.active_mut().pending);
                self.open.push_back(segment);
            }
            Err(error) if is_full(&error) => return Err(LogError::Full),
            Err(error) => {
                let path = segment_path(&self.dir, header.number);
                let reason = Reason::new("create", &path, &error);
                self.failed = Some(reason.clone());
                return Err(LogError::Io(reason));
            }
        }
        self.seal_synced();
        Ok(())
    }

    /// Makes the file of a segment which is to take a record of `len` bytes.
    pub(super) fn create(&self, header: SegmentHeader, len: usize) -> io::Result<OpenSegment> {
        let least = FIRST_RECORD as usize + len + AROUND + FOOTER_LEN;
        let capacity = least.max(self.options.segment_bytes as usize);
        let path = segment_path(&self.dir, header.number);
        let key = self
            .options
            .segment_key(&header)
            .map_err(io::Error::other)?;
        let file = self.disk.create(&path, capacity)?;
        let file = SegmentFile::pinned(file, capacity, &self.options.handles, key);
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        OpenSegment::create(header, path, file, capacity)
    }

    /// Writes the footers of segments that are complete and on the disk for good. That it fails
    /// costs memory, and time at the next opening, and is tried again.
    fn seal_synced(&mut self) {
        while self.open.len() > 1 {
            let first = &self.open[0];
            if first.synced < first.last_index() || first.in_flight || !first.pending.is_empty() {
                break;
            }
            let seal = first.seal();
            if seal.write(&*first.file.file).is_err() {
                break;
            }
            self.sealed.push(Sealed::new(seal.footer, seal.file_len));
            self.open.pop_front();
        }
    }

    /// The file that has, or had, this record.
    pub fn file_of(&self, index: LogIndex) -> Option<PathBuf> {
        Some(self.path_of(self.place_of_index(index)?))
    }

    pub(super) fn path_of(&self, place: Place) -> PathBuf {
        match place {
            Place::Sealed(at) => segment_path(&self.dir, self.sealed[at].number()),
            Place::Open(at) => self.open[at].path.clone(),
        }
    }

    pub(super) fn place_of_index(&self, index: LogIndex) -> Option<Place> {
        let at = self.sealed_from(|s| s.last_index() < index);
        if let Some(sealed) = self.sealed.get(at) {
            return (sealed.first_index() <= index).then_some(Place::Sealed(at));
        }
        let at = self.open.iter().position(|s| s.last_index() >= index)?;
        (self.open[at].header.first_index <= index).then_some(Place::Open(at))
    }

    /// The first sealed segment that is not `before` what is looked for, as those in front are. Most
    /// often it is the one that was found the last time.
    fn sealed_from(&self, before: impl Fn(&Sealed) -> bool) -> usize {
        let last = self.found.get();
        let is_behind = |at: usize| self.sealed.get(at).is_none_or(|s| !before(s));
        let is_before = |at: usize| self.sealed.get(at).is_none_or(&before);
        if last <= self.sealed.len() && is_behind(last) && last.checked_sub(1).is_none_or(is_before)
        {
            return last;
        }
        let at = self.sealed.partition_point(before);
        self.found.set(at);
        at
    }

    /// The first index that a segment has behind `index`, which none has.
    pub(super) fn first_index_after(&self, index: LogIndex) -> Option<LogIndex> {
        let sealed = self.sealed.iter().map(Sealed::first_index);
        let open = self.open.iter().filter(|s| !s.contents.offsets.is_empty());
        let mut firsts = sealed.chain(open.map(|s| s.header.first_index));
        firsts.find(|first| *first > index)
    }

    pub(super) fn place_of_sequence(&self, sequence: StreamSeq) -> Option<Place> {
        let last = self.found_open.get();
        let is_there =
            |s: &OpenSegment| s.header.base_sequence < sequence && sequence <= s.last_sequence();
        if self.open.get(last).is_some_and(is_there) {
            return Some(Place::Open(last));
        }
        let at = self.sealed_from(|s| s.footer.last_sequence < sequence);
        if at < self.sealed.len() {
            return Some(Place::Sealed(at));
        }
        // There may be many of them where syncs are rare, and each begins behind the one before.
        let behind = self
            .open
            .partition_point(|s| s.header.base_sequence < sequence);
        let from = behind.saturating_sub(1);
        let mut rest = self.open.range(from..);
        let at = from + rest.position(|s| s.last_sequence() >= sequence)?;
        self.found_open.set(at);
        Some(Place::Open(at))
    }
}

/// Why a walk stops in a segment.
pub(super) enum Stop {
    Wanted(LogIndex),
    Paused(LogIndex),
}

/// The file of a segment.
pub(in crate::store) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.seg"))
}

/// The number of the segment that a file name stands for.
pub(in crate::store) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16 && number > 0).then_some(number)
}

/// The place of an index in a segment that has it.
pub(super) fn ordinal(index: LogIndex, first: LogIndex) -> u32 {
    u32::try_from(index.0 - first.0).unwrap_or(u32::MAX)
}

impl OpenSegment {
    /// The last record that is in the file.
    pub(super) fn written_index(&self) -> LogIndex {
        match self.pending.is_empty() {
            true => self.last_index(),
            false => self.first_pending().previous(),
        }
    }

    /// The first record that is not in the file yet.
    pub(super) fn first_pending(&self) -> LogIndex {
        let written = self.written;
        let ordinal = self.contents.offsets.partition_point(|at| *at < written);
        LogIndex(self.header.first_index.0 + ordinal as u64)
    }

    fn walk(
        &self,
        from: LogIndex,
        budget: &mut usize,
        wants: &mut impl FnMut(&Record<'_>) -> bool,
        buffer: &mut ReadBuffer,
    ) -> ControlFlow<Stop, LogIndex> {
        let last = self.last_index();
        let mut index = from;
        while index <= last {
            if *budget == 0 {
                return ControlFlow::Break(Stop::Paused(index));
            }
            *budget -= 1;
            let stored = self.record(ordinal(index, self.header.first_index), buffer);
            match stored {
                Ok(stored) if !wants(&stored.record) => index = index.next(),
                _ => return ControlFlow::Break(Stop::Wanted(index)),
            }
        }
        ControlFlow::Continue(index)
    }
}

impl Sealed {
    /// The sequence that a record has at least. The segment must be open.
    pub(super) fn sequence(&self, ordinal: u32) -> StreamSeq {
        let distance = self.distance(ordinal).unwrap_or(0);
        StreamSeq(self.footer.header.base_sequence.0 + u64::from(distance))
    }

    fn walk(
        &self,
        from: LogIndex,
        budget: &mut usize,
        wants: &mut impl FnMut(&Record<'_>) -> bool,
    ) -> ControlFlow<Stop, LogIndex> {
        let last = self.last_index();
        let mut buffer = ReadBuffer::default();
        let mut index = from;
        while index <= last {
            if *budget == 0 {
                return ControlFlow::Break(Stop::Paused(index));
            }
            *budget -= 1;
            let at = ordinal(index, self.first_index());
            let ordinal = self.told_from(at);
            if ordinal > at {
                index = LogIndex(self.first_index().0 + u64::from(ordinal));
                continue;
            }
            if self.is_packed() {
                match self.record(ordinal, &mut buffer) {
                    Ok(None) => {}
                    Ok(Some(stored)) if !wants(&stored.record) => {}
                    _ => return ControlFlow::Break(Stop::Wanted(index)),
                }
                index = index.next();
                continue;
            }
            let Some((file, at, end)) = self.place(ordinal) else {
                if self.is_lost(ordinal) {
                    return ControlFlow::Break(Stop::Wanted(index));
                }
                index = index.next();
                continue;
            };
            let passed = match file.peek((&self.footer.header, self.seed), at, end, SHARE_MIN) {
                Some(record) => record.index == index && !wants(&record),
                None => match self.record(ordinal, &mut buffer) {
                    Ok(Some(stored)) => !wants(&stored.record),
                    _ => false,
                },
            };
            if !passed {
                return ControlFlow::Break(Stop::Wanted(index));
            }
            index = index.next();
        }
        ControlFlow::Continue(index)
    }
}

impl Log {
    /// The last sequence that was used before the first record that is there.
    pub fn first_sequence(&self) -> StreamSeq {
        match self.sealed.first() {
            Some(sealed) => sealed.footer.header.base_sequence,
            None => self.open[0].header.base_sequence,
        }
    }

    /// The number of the first segment that has a message from `first` on, or may get one.
    pub fn first_segment(&self, first: StreamSeq) -> u64 {
        self.start_at(first).segment
    }

    /// Where the log begins without the segments before that one.
    pub(in crate::store) fn start_at(&self, first: StreamSeq) -> LogStart {
        let alive = self.sealed.iter().find(|s| self.is_needed(s, first));
        let header = alive.map_or(&self.open[0].header, |sealed| &sealed.footer.header);
        LogStart {
            segment: header.number,
            index: header.first_index,
            sequence: header.base_sequence,
        }
    }

    /// Bytes of records in all segments.
    pub fn written_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|s| s.file_len).sum();
        let open: u64 = self.open.iter().map(|s| u64::from(s.written)).sum();
        sealed + open
    }

    /// The last sequence that was used when the record with this index was written.
    pub fn sequence_at(&self, index: LogIndex) -> StreamSeq {
        if index >= self.last_index() {
            return self.last_sequence();
        }
        for segment in self.open.iter().rev() {
            if index < segment.header.first_index {
                continue;
            }
            let at = ordinal(index, segment.header.first_index) as usize;
            let distance = segment.contents.sequences.get(at).copied().unwrap_or(0);
            return StreamSeq(segment.header.base_sequence.0 + u64::from(distance));
        }
        // Sealed segments are acknowledged as a whole.
        self.sealed
            .last()
            .map_or(StreamSeq(0), |s| s.footer.last_sequence)
    }

    /// The sequence of the first message from `from` on that is wanted. What is damaged is passed
    /// over.
    pub fn find(
        &mut self,
        from: StreamSeq,
        mut wants: impl FnMut(&Record<'_>) -> bool,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        let (mut index, _) = self.index_of(from).ok()?;
        loop {
            let mut budget = usize::MAX;
            match self.walk(index, &mut budget, &mut wants, buffer).ok()? {
                Walk::Found(stored) => return Some(stored.record.sequence),
                Walk::Damaged(at, _) | Walk::Paused(at) => index = at.next(),
                Walk::End => return None,
            }
        }
    }

    /// Bytes of segments at the front that have no message from `first` on.
    pub fn bytes_before(&self, first: StreamSeq) -> u64 {
        let dead = self.sealed.iter().take_while(|s| !self.is_needed(s, first));
        self.given_up_bytes() + dead.map(|s| s.file_len).sum::<u64>()
    }

    /// Removes sealed segments at the front that have no message from `first` on and no record
    /// behind `upto`, and those that were given up before. The state that follows from their records
    /// must be kept elsewhere, on the disk: written and synced since the log was opened.
    ///
    /// # Errors
    /// Those that could not be removed are tried again the next time.
    pub fn drop_segments_before(
        &mut self,
        first: StreamSeq,
        upto: LogIndex,
    ) -> Result<(), LogError> {
        let mut removed = false;
        while let Some(file) = self.given_up.first() {
            self.remove(&self.dir.join(&file.name))?;
            self.given_up.remove(0);
            removed = true;
        }
        while let Some(sealed) = self.sealed.first() {
            let is_rewritten = self.is_rewriting(sealed.number());
            let is_behind = sealed.last_index() > upto;
            if self.is_needed(sealed, first) || is_behind || is_rewritten {
                break;
            }
            self.remove(&segment_path(&self.dir, sealed.number()))?;
            self.sealed.remove(0);
            removed = true;
        }
        if let Some(reserve) = self.options.reserve.as_ref().filter(|_| removed) {
            reserve.hold();
        }
        let synced = match removed {
            true => self.disk.sync_dir(&self.dir),
            false => Ok(()),
        };
        synced.map_err(|e| LogError::Io(Reason::new("sync", &self.dir, &e)))
    }

    fn remove(&self, path: &Path) -> Result<(), LogError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LogError::Io(Reason::new("remove", path, &error)))
            }
            _ => Ok(()),
        }
    }
}
