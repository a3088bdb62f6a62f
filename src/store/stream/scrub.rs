//! Looking for damage before somebody reads it, and telling of damage that was found.

use std::time::Duration;

use super::StreamStore;
use super::jobs::Job;
use crate::base::clock::Mono;
use crate::store::error::Reason;
use crate::store::file::ScrubDone;
use crate::store::types::{LogIndex, StreamSeq};

/// Bytes that one job checks, about.
const PART_BYTES: usize = 1 << 20;

/// Where the check of a stream has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrubProgress {
    /// How often all sealed segments were checked since the stream was opened.
    pub rounds: u64,
    /// Bytes of this round that were checked, and those that there are to check.
    pub done: u64,
    pub of: u64,
}

#[derive(Debug, Default)]
pub(super) struct Scrub {
    rounds: u64,
    /// The record to go on with.
    at: LogIndex,
    /// Bytes of the segment that were checked, and of those before it.
    done: u64,
    before: u64,
    next_at: Mono,
    in_flight: bool,
}

/// Messages that cannot be read, told once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub first: StreamSeq,
    pub last: StreamSeq,
    pub kind: DamageKind,
}

/// What is wrong with some messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DamageKind {
    /// They are lost, and counted as such by [`StreamState::lost`](super::StreamState::lost).
    Lost,
    /// Their segment's file cannot be read, for this reason, before the stream is opened again. They
    /// are passed over, and still counted.
    Unreadable(Reason),
}

impl StreamStore {
    /// The next part of a check of everything that is stored, if it is due at this rate: it reads
    /// what nobody may have read for long. What is damaged is lost from then on, and
    /// [told](StreamStore::take_damage). The end of the log is not checked, which was just written.
    pub fn scrub_job(&mut self, now: Mono, bytes_per_second: u64) -> Option<Job> {
        let scrub = &mut self.scrub;
        if scrub.in_flight || now < scrub.next_at || bytes_per_second == 0 {
            return None;
        }
        let (job, mut before) = match self.log.scrub_job(scrub.at, PART_BYTES) {
            Some((job, before)) => (job, before),
            None => {
                if scrub.at > LogIndex(0) {
                    scrub.rounds += 1;
                }
                scrub.at = LogIndex(0);
                scrub.done = 0;
                scrub.before = 0;
                self.log.scrub_job(scrub.at, PART_BYTES)?
            }
        };
        std::mem::swap(&mut scrub.before, &mut before);
        if scrub.before != before {
            scrub.done = 0;
        }
        let nanos = PART_BYTES as u64 * 1_000_000_000 / bytes_per_second;
        scrub.next_at = now + Duration::from_nanos(nanos);
        scrub.in_flight = true;
        Some(Job::Scrub(job))
    }

    /// Where the check has come to.
    pub fn scrub_progress(&self) -> ScrubProgress {
        let of = self.log.sealed_bytes();
        ScrubProgress {
            rounds: self.scrub.rounds,
            done: (self.scrub.before + self.scrub.done).min(of),
            of,
        }
    }

    pub(super) fn handle_scrubbed(&mut self, done: ScrubDone) {
        let scrub = &mut self.scrub;
        scrub.in_flight = false;
        scrub.done += done.bytes;
        // The segment may be gone meanwhile; then the next one follows by itself.
        let behind = self.log.behind_segment(done.segment);
        if let Some(at) = done.next.or(behind) {
            scrub.at = at;
        }
        if behind.is_none() || !self.log.is_checked(&done) {
            return;
        }
        if let Some(reason) = done.failed {
            self.log.give_up_segment(done.segment, reason);
        }
        for (_, sequence) in done.damaged {
            if let Some(sequence) = sequence {
                self.state.lose(sequence);
            }
        }
    }

    /// Whether something was found to be damaged since it was asked what.
    pub fn has_damage(&self) -> bool {
        !self.state.found_lost.is_empty() || self.log.has_failures()
    }

    /// What was found to be damaged, by reads and checks, since this was asked the last time; each
    /// message once. What was found when the stream was opened is told by
    /// [`Opened`](super::Opened).
    pub fn take_damage(&mut self) -> Vec<Damage> {
        let lost = std::mem::take(&mut self.state.found_lost);
        let lost = lost.into_iter().map(|(first, last)| Damage {
            first,
            last,
            kind: DamageKind::Lost,
        });
        let failed = self.log.take_failures().into_iter().map(|failure| Damage {
            first: failure.first,
            last: failure.last,
            kind: DamageKind::Unreadable(failure.reason),
        });
        lost.chain(failed).collect()
    }
}
