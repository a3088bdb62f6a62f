//! Reads a part of a sealed segment to see whether it is still what was written. It opens the file
//! anew, by name, and reads in its own time.

use std::path::PathBuf;
use std::sync::Arc;

use super::format::{Footer, SegmentHeader};
use super::log::{Log, segment_path};
use super::options::Handles;
use super::read::{ReadBuffer, ReadFault};
use super::sealed::Sealed;
use crate::store::crypt::SealKey;
use crate::store::disk::Disk;
use crate::store::error::Reason;
use crate::store::types::{LogIndex, StreamSeq};

/// Damaged records that one part reports, at most; the next part goes on behind them.
const DAMAGED_MAX: usize = 4096;

/// Checks records of a segment.
#[derive(Debug)]
pub struct ScrubJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    footer: Footer,
    file_len: u64,
    key: Option<Arc<SealKey>>,
    from: u32,
    bytes: usize,
}

/// The outcome of a [`ScrubJob`].
#[derive(Debug)]
pub struct ScrubDone {
    pub(in crate::store) segment: u64,
    /// The record to go on with; nothing if the segment is done.
    pub(in crate::store) next: Option<LogIndex>,
    /// Bytes that were looked at.
    pub(in crate::store) bytes: u64,
    /// Records that are damaged, and the messages that they were.
    pub(in crate::store) damaged: Vec<(LogIndex, Option<StreamSeq>)>,
    /// What it was like: if it was written anew meanwhile, nothing of this is true of it.
    header: SegmentHeader,
    /// Why the segment cannot be read at all.
    pub(in crate::store) failed: Option<Reason>,
}

impl ScrubJob {
    /// Reads and checks.
    pub fn run(self) -> ScrubDone {
        let mut sealed = Sealed::new(self.footer, self.file_len);
        let first = sealed.first_index();
        let mut done = ScrubDone {
            segment: sealed.number(),
            next: None,
            bytes: 0,
            damaged: vec![],
            header: self.footer.header,
            failed: None,
        };
        if let Err(error) = sealed.open(
            &*self.disk,
            &self.path,
            &Arc::new(Handles::new(1)),
            self.key,
        ) {
            done.failed = Some(Reason::new("check", &self.path, &error));
            return done;
        }
        let mut buffer = ReadBuffer::default();
        let most = self.bytes as u64;
        for at in sealed.ordinals(self.from) {
            let index = LogIndex(first.0 + u64::from(at));
            if done.bytes >= most || done.damaged.len() >= DAMAGED_MAX {
                done.next = Some(index);
                break;
            }
            match sealed.record(at, &mut buffer) {
                Ok(Some(stored)) => done.bytes += stored.record.len(&self.footer.header) as u64,
                Ok(None) => {}
                Err(ReadFault::Damaged) if sealed.is_lost(at) => {}
                Err(ReadFault::Damaged) => {
                    // Nothing tells how long it was.
                    done.bytes += 1;
                    done.damaged.push((index, sealed.message(at)));
                }
                Err(ReadFault::Io(error)) => {
                    done.failed = Some(Reason::new("check", &self.path, &error));
                    break;
                }
            }
        }
        if sealed.is_cut() {
            done.damaged.clear();
            done.failed = Some(Sealed::cut_reason(&self.path));
        }
        done
    }
}

impl Log {
    /// A check of about so many bytes of the first sealed segment from this record on, and how many
    /// bytes are in segments before; nothing if there is none.
    pub(in crate::store) fn scrub_job(
        &self,
        from: LogIndex,
        bytes: usize,
    ) -> Option<(ScrubJob, u64)> {
        let at = self.sealed.partition_point(|s| s.last_index() < from);
        let sealed = self.sealed.get(at)?;
        let first = sealed.first_index();
        let from = u32::try_from(from.max(first).0 - first.0).unwrap_or(u32::MAX);
        let before = self.sealed[..at].iter().map(|s| s.file_len).sum();
        let job = ScrubJob {
            disk: self.disk.clone(),
            path: segment_path(&self.dir, sealed.number()),
            key: self.options.segment_key(&sealed.footer.header).ok()?,
            footer: sealed.footer,
            file_len: sealed.file_len,
            from,
            bytes,
        };
        Some((job, before))
    }

    /// Whether what a check has found is true of the segment as it is.
    pub(in crate::store) fn is_checked(&self, done: &ScrubDone) -> bool {
        self.is_as_before(&done.header)
    }

    /// Bytes of all sealed segments.
    pub(in crate::store) fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|s| s.file_len).sum()
    }

    /// The record behind a sealed segment, if that is still there.
    pub(in crate::store) fn behind_segment(&self, number: u64) -> Option<LogIndex> {
        let sealed = self.sealed.iter().find(|s| s.number() == number)?;
        Some(sealed.last_index().next())
    }
}
