//! The look at all that is stored, for damage, before somebody wants to read it: one part of one
//! stream at a time, and slowly.

use super::{Node, Phase, Task};
use crate::base::clock::Mono;
use std::time::Duration;

/// Bytes that are looked at a second, of all streams together.
const BYTES_A_SECOND: u64 = 4 << 20;

/// How long to wait after everything was looked at.
const REST: Duration = Duration::from_secs(12 * 3600);

/// How long to wait after a part, and when there was none.
const PAUSE: Duration = Duration::from_millis(250);

/// Streams that are asked in a turn.
const STREAMS: usize = 64;

/// Where the look has come to.
#[derive(Debug, Default)]
pub(super) struct Scrubbing {
    /// The stream that is next, or goes on.
    at: usize,
    /// The rounds that this stream had when it was begun.
    rounds: Option<u64>,
    next: Option<Mono>,
}

impl Node {
    /// When the next part is to be looked at.
    pub(super) fn scrubs_at(&self) -> Option<Mono> {
        self.scrubbing.next.filter(|_| !self.streams.is_empty())
    }

    /// Begins the next part, if it is due.
    pub(super) fn scrub(&mut self, now: Mono) {
        let Some(next) = self.scrubbing.next else {
            // The start has enough to do.
            self.scrubbing.next = Some(now + Duration::from_secs(60));
            return;
        };
        if now < next || self.streams.is_empty() {
            return;
        }
        self.scrubbing.next = Some(now + PAUSE);
        for _ in 0..STREAMS {
            let at = self.scrubbing.at;
            if at >= self.streams.capacity() {
                self.scrubbing.at = 0;
                self.scrubbing.next = Some(now + REST);
                return;
            }
            let slot = self.streams.get_mut(at);
            if let Some(Phase::Open { stream, .. }) = slot.map(|slot| &mut slot.phase) {
                let rounds = stream.store().scrub_progress().rounds;
                let begun = *self.scrubbing.rounds.get_or_insert(rounds);
                if rounds == begun {
                    if let Some(job) = stream.poll_scrub(now, BYTES_A_SECOND) {
                        self.tasks.push(Task::Job { slot: at, job });
                        return;
                    }
                    if stream.is_scrubbing() {
                        return;
                    }
                }
            }
            self.scrubbing.at += 1;
            self.scrubbing.rounds = None;
        }
    }
}
