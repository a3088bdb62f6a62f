//! The two files that a journal is written to in turns, and what writes to them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::replay::FILES;
use crate::base::clock::Mono;
use crate::store::disk::{Disk, DiskFile};
use crate::store::error::Reason;
use crate::store::file::format::{JOURNAL_SLOT, JOURNAL_START, JournalHeader, Turn, seal_frame};

/// A file that was filled in less than this is followed by one of twice the size: each change costs
/// a sync of every stream that is in it.
const FILLED_FAST: Duration = Duration::from_secs(2);

/// Zeros written ahead of the frames at a time, at least and at most.
const AHEAD_MIN: u64 = 4 << 10;
const AHEAD_MAX: u64 = 256 << 10;

/// Where the next batch goes.
#[derive(Debug, Default)]
pub(super) struct Ring {
    halves: [Half; 2],
    /// The one that is written to, if there is one.
    current: Option<Current>,
    /// Of the last file that was begun.
    generation: u64,
    /// Bytes that a file may have, now and at most.
    limit: u64,
    limit_max: u64,
}

#[derive(Debug, Default)]
struct Half {
    file: Option<Arc<dyn DiskFile>>,
    /// Bytes of it that were written, zeros included, so that writing there needs no room.
    reserved: u64,
    /// Which of the places for a header the next one goes to.
    slot: usize,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    half: usize,
    slot: usize,
    header: JournalHeader,
    at: u64,
    batch: u32,
    begun: Mono,
}

/// A batch on its way to the disk: run it wherever it may take its time.
#[derive(Debug)]
pub struct JournalJob {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// The disk, if the file is new and its directory is to be synced, too.
    directory: Option<Arc<dyn Disk>>,
    header: JournalHeader,
    slot: usize,
    at: u64,
    batch: u32,
    bytes: Vec<u8>,
    /// Where the frames begin in `bytes`.
    starts: Vec<usize>,
    /// Bytes of zeros behind the frames.
    zeros: u64,
}

/// The outcome of a [`JournalJob`].
#[derive(Debug)]
pub struct JournalDone {
    pub(super) result: Result<(), Reason>,
    /// To be used again.
    pub(super) bytes: Vec<u8>,
    pub(super) starts: Vec<usize>,
}

impl Ring {
    pub(super) fn new(limit: u64, limit_max: u64) -> Ring {
        Ring {
            limit,
            limit_max,
            ..Ring::default()
        }
    }

    /// The file that is written to; 0 if there is none yet.
    pub(super) fn half(&self) -> usize {
        self.current.map_or(0, |current| current.half)
    }

    /// Whether `len` bytes fit in the file that is written to.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.current
            .is_some_and(|current| current.at + len as u64 <= self.limit)
    }

    /// Begins the other file anew.
    pub(super) fn turn_over(
        &mut self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        nonce: [u8; 16],
        now: Mono,
    ) -> io::Result<()> {
        let half = self.current.map_or(0, |current| 1 - current.half);
        if self.halves[half].file.is_none() {
            let capacity = usize::try_from(self.limit_max).unwrap_or(usize::MAX);
            let file = disk.create(&dir.join(FILES[half]), capacity)?;
            self.halves[half].file = Some(file);
        }
        if let Some(current) = self.current
            && now.since(current.begun) < FILLED_FAST
        {
            self.limit = (self.limit * 2).min(self.limit_max);
        }
        self.generation += 1;
        let slot = self.halves[half].slot;
        self.halves[half].slot = 1 - slot;
        self.current = Some(Current {
            half,
            slot,
            header: JournalHeader {
                nonce,
                generation: self.generation,
            },
            at: JOURNAL_START as u64,
            batch: 0,
            begun: now,
        });
        Ok(())
    }

    /// What writes a batch, which [fits](Ring::fits).
    pub(super) fn job(
        &mut self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        (bytes, starts): (Vec<u8>, Vec<usize>),
    ) -> Option<JournalJob> {
        let current = self.current.as_mut()?;
        let half = &mut self.halves[current.half];
        let at = current.at;
        let end = at + bytes.len() as u64;
        let is_new = half.reserved == 0;
        let mut zeros = 0;
        if end > half.reserved {
            let ahead = end.clamp(AHEAD_MIN, AHEAD_MAX);
            let goal = (end + ahead).next_multiple_of(AHEAD_MIN);
            half.reserved = goal.min(self.limit).max(end);
            zeros = half.reserved - end;
        }
        let batch = current.batch;
        current.batch += 1;
        current.at = end;
        Some(JournalJob {
            file: half.file.clone()?,
            path: dir.join(FILES[current.half]),
            directory: is_new.then(|| disk.clone()),
            header: current.header,
            slot: current.slot,
            at,
            batch,
            bytes,
            starts,
            zeros,
        })
    }

    /// Gives up both files. Nothing in them is of use.
    pub(super) fn clear(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.current = None;
        self.halves = Default::default();
        for name in FILES {
            match disk.remove(&dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        disk.sync_dir(dir)
    }
}

impl JournalJob {
    /// Writes and syncs the batch; this may take long.
    pub fn run(mut self) -> JournalDone {
        let result = self.write();
        JournalDone {
            result: result.map_err(|e| Reason::new("write", &self.path, &e)),
            bytes: self.bytes,
            starts: self.starts,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.batch == 0 {
            // Only when the disk has the header are the frames of before of no use.
            let place = self.slot * JOURNAL_SLOT;
            self.file.write_at(&self.header.encode(), place as u64)?;
            self.file.sync()?;
        }
        let seed = self.header.seed();
        let of = u16::try_from(self.starts.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        for (ordinal, start) in self.starts.iter().enumerate() {
            let end = self.starts.get(ordinal + 1).copied();
            let end = end.unwrap_or(self.bytes.len());
            let turn = Turn {
                batch: self.batch,
                ordinal: u16::try_from(ordinal).unwrap_or(u16::MAX),
                of,
            };
            seal_frame(&mut self.bytes[*start..end], turn, seed);
        }
        let len = self.bytes.len();
        let zeros = usize::try_from(self.zeros).unwrap_or(0);
        self.bytes.resize(len + zeros, 0);
        let written = self.file.write_at(&self.bytes, self.at);
        self.bytes.truncate(len);
        written?;
        self.file.sync()?;
        match (&self.directory, self.path.parent()) {
            (Some(disk), Some(dir)) => disk.sync_dir(dir),
            _ => Ok(()),
        }
    }
}
