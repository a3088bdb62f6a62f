//! What is to be synced, as a thing to hand over: the log makes it, any thread runs it, and the
//! log is told the outcome.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
use super::options::SyncMode;
use crate::base::clock::Mono;
use crate::store::disk::{Disk, DiskFile};
use crate::store::error::Reason;
use crate::store::types::LogIndex;

/// A sync of one segment.
#[derive(Debug)]
pub struct SyncJob {
    pub(super) segment: u64,
    pub(super) upto: LogIndex,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// The disk, if the file is new and its directory is to be synced, too.
    pub(super) directory: Option<Arc<dyn Disk>>,
}

/// The outcome of a [`SyncJob`].
#[derive(Debug)]
pub struct SyncDone {
    pub(super) segment: u64,
    pub(super) upto: LogIndex,
    pub(super) result: Result<(), Reason>,
}

impl SyncJob {
    /// Syncs; this may take long.
    pub fn run(self) -> SyncDone {
        let result = self.file.sync().and_then(|()| {
            let directory = self.directory.as_ref().zip(self.path.parent());
            directory.map_or(Ok(()), |(disk, dir)| disk.sync_dir(dir))
        });
        SyncDone {
            segment: self.segment,
            upto: self.upto,
            result: result.map_err(|e| Reason::new("sync", &self.path, &e)),
        }
    }
}

/// Segments that wait to be synced, however long the interval is: what each of them has is in memory,
/// too.
const OPEN_MAX: usize = 64;

/// The least time between two syncs that come before the interval is over.
const HASTE: Duration = Duration::from_millis(250);

impl Log {
    /// The next sync to run, if there is one that is due. Call again until there is none.
    pub fn poll_sync(&mut self, now: Mono) -> Option<SyncJob> {
        if self.failed.is_some() || self.disk.is_volatile() {
            return None;
        }
        if let SyncMode::Interval(interval) = self.options.sync {
            if self.open.len() > OPEN_MAX {
                self.hasten_sync(now);
            }
            if !self.in_round && now.since(self.synced_at) < interval {
                return None;
            }
            self.in_round = true;
        }
        let job = self.next_sync(now);
        self.in_round &= job.is_some();
        job
    }

    /// Has everything synced before the interval is over, unless that was done a moment ago.
    pub fn hasten_sync(&mut self, now: Mono) {
        self.in_round |= now.since(self.synced_at) >= HASTE;
    }

    /// Has everything synced now.
    pub(in crate::store) fn sync_now(&mut self) {
        self.in_round = true;
    }

    /// Whether what is acknowledged may be lost with the power; then, how many bytes are in segments
    /// of which something may be.
    pub fn unsynced_bytes(&self) -> Option<u64> {
        if self.options.sync == SyncMode::Always || self.disk.is_volatile() {
            return None;
        }
        let unsynced = self.open.iter().filter(|s| s.synced < s.written_index());
        Some(unsynced.map(|s| u64::from(s.written)).sum())
    }

    /// Whether there are such bytes. That is known without a look at all segments.
    pub fn has_unsynced(&self) -> bool {
        self.options.sync != SyncMode::Always
            && !self.disk.is_volatile()
            && self.durable < self.active().written_index()
    }

    /// The next sync to run, due or not.
    pub(super) fn next_sync(&mut self, now: Mono) -> Option<SyncJob> {
        let active = self.open.len() - 1;
        for (at, segment) in self.open.iter_mut().enumerate() {
            let upto = segment.written_index();
            let can_wait = at == active && self.journaled.covers(upto, segment.synced);
            if segment.in_flight || segment.synced >= upto || can_wait {
                continue;
            }
            segment.in_flight = true;
            self.synced_at = now;
            return Some(SyncJob {
                segment: segment.header.number,
                upto,
                file: segment.file.file.clone(),
                path: segment.path.clone(),
                directory: (!segment.named).then(|| self.disk.clone()),
            });
        }
        None
    }

    /// Takes note that all that was [committed](Log::commit) is on the disk for good, as a
    /// [`Barrier`](crate::store::disk::Barrier) was passed that was made before it was written.
    pub fn handle_barrier(&mut self) {
        if self.failed.is_some() || self.disk.is_volatile() {
            return;
        }
        for segment in self.open.iter_mut().filter(|s| !s.in_flight) {
            segment.synced = segment.synced.max(segment.written_index());
            segment.named = true;
        }
        self.advance();
    }
}
