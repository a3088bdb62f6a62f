//! What a stream has to do on the disk and may take its time, to be done elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use super::content::{Encoded, Unwritten};
use crate::store::disk::Disk;
#[cfg(doc)]
use crate::store::error::LogError;
use crate::store::error::{Reason, is_full};
use crate::store::file::copies::CHECKPOINT;
use crate::store::file::{
    EraseDone, EraseJob, RewriteDone, RewriteJob, ScrubDone, ScrubJob, SubjectsDone, SubjectsJob,
    SyncDone, SyncJob, WarmDone, WarmJob,
};
use crate::store::reserve::Reserve;
use crate::store::types::{LogIndex, StreamSeq};

/// Something to be done. Run it anywhere, and give the outcome to the store it came from.
#[derive(Debug)]
pub enum Job {
    Sync(SyncJob),
    /// Puts a checkpoint in bytes that is to be written later.
    Encode(EncodeJob),
    Checkpoint(Box<CheckpointJob>),
    /// Finds out where subjects are in a segment, which makes searches faster.
    Subjects(SubjectsJob),
    /// Brings messages into memory that somebody wants to read, see [`LogError::Cold`].
    Warm(WarmJob),
    /// Checks a part of what is stored.
    Scrub(ScrubJob),
    Erase(Box<EraseJob>),
    Rewrite(Box<RewriteJob>),
}

/// The outcome of a [`Job`].
#[derive(Debug)]
pub enum JobDone {
    Sync(SyncDone),
    Encode(EncodeDone),
    Checkpoint(CheckpointDone),
    Subjects(SubjectsDone),
    Warm(WarmDone),
    Scrub(ScrubDone),
    Erase(EraseDone),
    Rewrite(RewriteDone),
}

impl Job {
    /// Does it.
    pub fn run(self) -> JobDone {
        match self {
            Job::Sync(job) => JobDone::Sync(job.run()),
            Job::Encode(job) => JobDone::Encode(job.run()),
            Job::Checkpoint(job) => JobDone::Checkpoint(job.run()),
            Job::Subjects(job) => JobDone::Subjects(job.run()),
            Job::Warm(job) => JobDone::Warm(job.run()),
            Job::Scrub(job) => JobDone::Scrub(job.run()),
            Job::Erase(job) => JobDone::Erase(job.run()),
            Job::Rewrite(job) => JobDone::Rewrite(job.run()),
        }
    }
}

/// A checkpoint that is to be written.
#[derive(Debug)]
pub struct CheckpointJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) unwritten: Unwritten,
    pub(super) reserve: Option<Arc<Reserve>>,
    /// The other copy will be of no use when this one is on the disk.
    pub(super) is_only: bool,
}

/// The outcome of a [`CheckpointJob`].
#[derive(Debug)]
pub struct CheckpointDone {
    pub(super) applied: LogIndex,
    pub(super) first: StreamSeq,
    pub(super) len: u64,
    pub(super) lost: u64,
    pub(super) others: Option<u64>,
    pub(super) result: Result<(), Reason>,
}

/// A checkpoint that is to be put in bytes while its records are not on the disk yet.
#[derive(Debug)]
pub struct EncodeJob {
    pub(super) number: u64,
    pub(super) job: Box<CheckpointJob>,
}

/// The outcome of an [`EncodeJob`].
#[derive(Debug)]
pub struct EncodeDone {
    pub(super) number: u64,
    pub(super) job: Box<CheckpointJob>,
}

impl EncodeJob {
    fn run(self) -> EncodeDone {
        let EncodeJob { number, job } = self;
        let CheckpointJob { unwritten, .. } = *job;
        let job = Box::new(CheckpointJob {
            unwritten: Unwritten::Bytes(unwritten.encode()),
            ..*job
        });
        EncodeDone { number, job }
    }
}

impl CheckpointJob {
    /// The last record that is to be on the disk before.
    pub(super) fn applied(&self) -> LogIndex {
        self.unwritten.applied()
    }

    /// Whether it was put in bytes already.
    pub(super) fn is_encoded(&self) -> bool {
        matches!(self.unwritten, Unwritten::Bytes(_))
    }

    pub(super) fn run(self) -> CheckpointDone {
        let Encoded {
            generation,
            applied,
            first,
            lost,
            others,
            bytes,
        } = self.unwritten.encode();
        // It takes the place of the older copy.
        let copy = CHECKPOINT.turn(generation);
        let path = CHECKPOINT.path(&self.dir, copy);
        let len = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let result = bytes.and_then(|bytes| {
            let written = || CHECKPOINT.replace(&*self.disk, &self.dir, copy, &bytes);
            let mut result = written();
            if result.as_ref().is_err_and(is_full) {
                // The older copy makes room: without a checkpoint nothing does.
                let _ = self.disk.remove(&path);
                result = written();
            }
            if result.as_ref().is_err_and(is_full)
                && let Some(reserve) = self.reserve
                && reserve.give(len)
            {
                result = written();
            }
            result
        });
        if self.is_only && result.is_ok() {
            // What cannot be removed is written over, next time.
            let _ = CHECKPOINT.drop_other(&*self.disk, &self.dir, copy);
        }
        CheckpointDone {
            applied,
            first,
            len,
            lost,
            others,
            result: result.map_err(|e| Reason::new("write", &path, &e)),
        }
    }
}
