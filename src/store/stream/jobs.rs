//! What a stream has to do on the disk and may take its time, to be done elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::Content;
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
    pub(super) content: Content,
    pub(super) reserve: Option<Arc<Reserve>>,
}

/// The outcome of a [`CheckpointJob`].
#[derive(Debug)]
pub struct CheckpointDone {
    pub(super) applied: LogIndex,
    pub(super) first: StreamSeq,
    pub(super) len: u64,
    pub(super) lost: u64,
    pub(super) result: Result<(), Reason>,
}

impl CheckpointJob {
    pub(super) fn run(self) -> CheckpointDone {
        // It takes the place of the older copy.
        let copy = CHECKPOINT.turn(self.content.container.generation);
        let path = CHECKPOINT.path(&self.dir, copy);
        let (applied, first) = (self.content.state.applied, self.content.state.first);
        let lost = self.content.state.lost.len();
        let mut bytes = vec![];
        let encoded = self.content.encode(&mut bytes);
        // What it shares with the stream is copied there as long as it is shared.
        drop(self.content);
        let written = || CHECKPOINT.replace(&*self.disk, &self.dir, copy, &bytes);
        let mut result = encoded.and_then(|()| written());
        if result.as_ref().is_err_and(is_full) {
            // The older copy makes room: without a checkpoint nothing does.
            let _ = self.disk.remove(&path);
            result = written();
        }
        if result.as_ref().is_err_and(is_full)
            && let Some(reserve) = self.reserve
            && reserve.give(bytes.len() as u64)
        {
            result = written();
        }
        CheckpointDone {
            applied,
            first,
            len: bytes.len() as u64,
            lost,
            result: result.map_err(|e| Reason::new("write", &path, &e)),
        }
    }
}
