//! The end of a log that is in memory: records which the commit journal has, or is to get, and
//! which are written to their segment later, in large pieces.
//!
//! ```text
//!  append ─> pending ─ frame ─> journal ─ landed ─> durable
//!               └───── write_behind ─> written ─ sync ─> stored
//! ```
//!
//! A record is durable when the journal or its segment has it for good. What the journal has is
//! put into the segments before a log is opened again, so that a log never knows which it was.

use super::format::Frame;
use super::log::Log;
use super::options::SyncMode;
use crate::store::error::LogError;
use crate::store::types::LogIndex;

/// Bytes of memory that a log keeps for what it is to write next, where others have their turn, too.
const KEPT_MAX: usize = 512;

/// How much of a log is in the commit journal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Journaled {
    /// The last record that was handed to the journal.
    pub(super) handed: LogIndex,
    /// Up to here segments are to be synced although the journal has their records.
    pub(super) write_back: LogIndex,
    /// How often records were taken back that may have been on their way.
    cuts: u32,
}

impl Journaled {
    /// Whether the sync of a segment up to this record can wait, if it was synced up to that one.
    pub(super) fn covers(&self, upto: LogIndex, synced: LogIndex) -> bool {
        synced >= self.write_back && upto <= self.handed
    }
}

/// Records that were handed to the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handed {
    upto: LogIndex,
    cuts: u32,
}

impl Handed {
    /// The last of them.
    pub fn upto(&self) -> LogIndex {
        self.upto
    }
}

/// A log as the commit journal sees it.
#[derive(Debug)]
pub struct Tail<'a>(&'a mut Log);

impl Log {
    /// The end of the log, for the commit journal.
    pub fn tail(&mut self) -> Tail<'_> {
        Tail(self)
    }

    /// What was handed over may have been taken back, and all that was not is in the segments.
    pub(super) fn forget_journaled(&mut self) {
        self.journaled = Journaled {
            cuts: self.journaled.cuts.wrapping_add(1),
            ..Journaled::default()
        };
    }

    /// The last record that is in its segment for good, with all before it.
    pub(super) fn stored(&self) -> LogIndex {
        let mut stored = self.open[0].header.first_index.previous();
        for segment in &self.open {
            stored = segment.synced;
            if segment.synced < segment.last_index() {
                break;
            }
        }
        stored
    }
}

impl Tail<'_> {
    /// Writes all records to their segment, to be synced there: the path of a log that is alone.
    pub fn commit(&mut self) -> Result<(), LogError> {
        self.0.commit()
    }

    /// Bytes of records that are in memory only, as far as the segment goes.
    pub fn bytes(&self) -> usize {
        self.0.active().pending.len()
    }

    /// Whether there are records which are not on their way to the disk.
    pub fn is_new(&self) -> bool {
        self.0.last_index() > self.0.durable.max(self.0.journaled.handed)
    }

    /// What the journal is to get; `None` if that is nothing, or the records have to go another
    /// way. They have if the log syncs at intervals, if records before them are on their way to the
    /// segment, and if the segment's name is not on the disk for good yet.
    pub fn frame(&self) -> Option<Frame<'_>> {
        let log = &*self.0;
        let active = log.active();
        let can = log.failed.is_none()
            && !log.disk.is_volatile()
            && log.options.sync == SyncMode::Always
            && active.named;
        let first = log.durable.max(log.journaled.handed).next();
        let last = active.last_index();
        if !can || first > last || first < active.first_pending() {
            return None;
        }
        let ordinal = first.0 - active.header.first_index.0;
        let place = *active
            .contents
            .offsets
            .get(usize::try_from(ordinal).ok()?)?;
        let start = place.checked_sub(active.written)?;
        Some(Frame {
            stream: active.header.stream,
            segment: active.header.number,
            seed: active.seed,
            place,
            first,
            records: u32::try_from(last.0 - first.0 + 1).ok()?,
            bytes: active.pending.get(start as usize..)?,
        })
    }

    /// Whether there is no [frame](Tail::frame) only because records before the new ones are on their
    /// way to the segment. The new ones can wait in memory then until a sync is done.
    pub fn is_held_up(&self) -> bool {
        let log = &*self.0;
        let active = log.active();
        let can =
            log.failed.is_none() && !log.disk.is_volatile() && log.options.sync == SyncMode::Always;
        let first = log.durable.max(log.journaled.handed).next();
        can && first < active.first_pending() && !active.pending.is_empty()
    }

    /// The frame of before goes to the journal.
    pub fn hand_over(&mut self) -> Handed {
        let upto = self.0.last_index();
        self.0.journaled.handed = upto;
        let cuts = self.0.journaled.cuts;
        Handed { upto, cuts }
    }

    /// The journal has these records for good, and all that were handed over before.
    pub fn landed(&mut self, handed: Handed) {
        if handed.cuts == self.0.journaled.cuts {
            self.0.durable = self.0.durable.max(handed.upto);
        }
    }

    /// The journal does not get what was handed over and has not landed: it goes to the segment.
    pub fn fall_back(&mut self) -> Result<(), LogError> {
        self.0.journaled.handed = self.0.durable.min(self.0.journaled.handed);
        self.0.commit()
    }

    /// Writes records that the journal has to their segment, without a sync.
    pub fn write_behind(&mut self) -> Result<(), LogError> {
        let written = self.0.commit();
        // There may be many such logs, and most of them have little to write.
        let pending = &mut self.0.active_mut().pending;
        if pending.is_empty() && pending.capacity() > KEPT_MAX {
            *pending = Vec::new();
        }
        written
    }

    /// Writes records to their segment and has it synced, so that the journal may forget them.
    pub fn write_back(&mut self) -> Result<(), LogError> {
        self.0.journaled.write_back = self.0.journaled.handed;
        self.0.commit()
    }

    /// The last record that is in its segment for good, with all before it.
    pub fn stored(&self) -> LogIndex {
        self.0.stored()
    }

    /// Whether the log needs nothing up to this record from the journal any more. What was taken back
    /// since is not waited for.
    pub(in crate::store) fn has_stored(&self, upto: LogIndex) -> bool {
        self.stored() >= upto.min(self.0.last_index())
    }
}
