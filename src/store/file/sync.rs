//! What is to be synced, as a thing to hand over: the log makes it, any thread runs it, and the
//! log is told the outcome.

use std::path::PathBuf;
use std::sync::Arc;

use super::log::Log;
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

impl Log {
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
