//! What makes room in the log of a stream that is synced seldom, and whose messages go soon after they
//! came.
//!
//! Nothing is removed before what made it dead is on the disk for good. Where that is waited for once
//! in some minutes, the log would have all that came meanwhile. So there is a round when enough of it
//! is dead:
//!
//! ```text
//!  a new segment ─> the state is set aside ─> a sync of those before ─> checkpoint ─> written anew
//! ```
//!
//! The state is that of the moment at which the sync begins, and segments are found in it that are
//! complete only when the sync is done. So one sync is enough, however much is appended meanwhile.
//! Each round ends a segment, so that those of a stream with little in it are small.
//!
//! Most rounds need no checkpoint of their own, which is much of what one takes: see
//! [`StreamStore::replay_basis`].

use std::time::Duration;

use super::StreamStore;
use super::jobs::Job;
use crate::base::clock::Mono;
use crate::store::types::StreamSeq;

/// Bytes that are worth a round, at least, and as a part of the bytes of all messages; and the part of a segment
/// that is dead at least when it is written anew in one.
const ROUND_MIN: u64 = if cfg!(test) { 4 << 10 } else { 2 << 20 };
const ROUND_PART: u64 = 16;
const ROUND_DEAD_PART: u64 = 4;

/// The same for a round that writes a checkpoint, which is to be worth some of these, too.
const COSTLY_MIN: u64 = 2 * ROUND_MIN;
const COSTLY_PART: u64 = 8;
const COSTLY_DEAD_PART: u64 = 3;
const COSTLY_CHECKPOINTS: u64 = 4;

/// Dead bytes for which a segment is written anew in a round, as a part of what is worth one.
const LEAST_PART: u64 = 16;

/// The least time between two rounds.
const ROUND_REST: Duration = Duration::from_millis(50);

/// Messages after which it is looked again whether there is enough for a round.
const LOOK_MESSAGES: u64 = 1000;

/// How things were when the last round was begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    at: Mono,
    /// The last message, and how many there were.
    last: StreamSeq,
    messages: u64,
    /// There is not enough for the next round before this message.
    look_from: StreamSeq,
}

impl StreamStore {
    /// Bytes that are worth a round.
    pub(super) fn round_bytes(&self) -> u64 {
        match self.replay_basis() {
            Some(_) => (self.state.bytes / ROUND_PART).max(ROUND_MIN),
            None => self.costly_round_bytes(),
        }
    }

    /// Bytes that are worth a round that writes a checkpoint.
    fn costly_round_bytes(&self) -> u64 {
        (self.state.bytes / COSTLY_PART)
            .max(COSTLY_MIN)
            .max(COSTLY_CHECKPOINTS * self.checkpoints.len())
    }

    /// The part of a segment that is dead at least when it is written anew in a round.
    pub(super) fn round_dead_part(&self) -> u64 {
        match self.replay_basis() {
            Some(_) => ROUND_DEAD_PART,
            None => COSTLY_DEAD_PART,
        }
    }

    /// Dead bytes for which a segment is written anew, at least: any, where nothing waits for a round.
    pub(super) fn least_dead_bytes(&self) -> u64 {
        match self.has_rounds() {
            true => self.round_bytes() / LEAST_PART,
            false => 0,
        }
    }

    /// Whether what is dead waits until there is enough for a round. Otherwise all is on the disk, and a
    /// checkpoint has nothing to wait for.
    pub(super) fn has_rounds(&self) -> bool {
        self.log.has_unsynced()
    }

    /// Begins a round if there is enough for one: then what is to be synced is due. The checkpoint is
    /// given if it need not wait for that.
    pub(super) fn begin_round(&mut self, now: Mono) -> Option<Job> {
        if self.state.last < self.rounds.look_from
            || now.since(self.rounds.at) < ROUND_REST
            || self.checkpoints.is_in_flight()
            || self.upkeep.waits_for_log()
            || self.upkeep.rests(now)
            || !self.copies.is_empty()
            || self.log.failure().is_some()
        {
            return None;
        }
        let unsynced = self.log.unsynced_bytes().filter(|bytes| *bytes > 0)?;
        let worth = self.round_bytes();
        if !self.is_worth_a_look(unsynced, worth) {
            return None;
        }
        let whole = self.consider_open() + self.reclaimable();
        let dead = self.upkeep.dead_bytes();
        // Segments go as a whole by a checkpoint only, and wait until they are worth one.
        let costly = self.costly_round_bytes();
        let basis = self.replay_basis().filter(|_| whole < costly);
        let basis = basis.filter(|basis| *basis < self.state.applied);
        let is_enough = match basis {
            Some(_) => dead >= worth / 2,
            None => whole + dead >= costly / 2,
        };
        if !is_enough {
            let look_from = self.state.last.0.saturating_add(LOOK_MESSAGES);
            self.rounds.look_from = StreamSeq(look_from);
            return None;
        }
        // Without room for it, the two checkpoints have to do.
        if let Ok(true) = self.keep_what_goes() {
            return None;
        }
        self.rounds = Rounds {
            at: now,
            last: self.state.last,
            messages: self.state.messages,
            look_from: self.state.last,
        };
        self.log.end_segment(worth / 4);
        let job = match basis {
            Some(basis) => {
                let log = &self.log;
                self.upkeep.plan(&self.state, basis, |n| log.open_span(n));
                None
            }
            None => self.checkpoint_job(),
        };
        self.log.sync_now();
        job
    }

    /// Whether as much was written since the last round as is worth one, and half as many messages went
    /// as came, or as much is known to be dead.
    fn is_worth_a_look(&self, unsynced: u64, worth: u64) -> bool {
        let came = self.state.last.0.saturating_sub(self.rounds.last.0);
        let before = self.rounds.messages.saturating_add(came);
        let went = before.saturating_sub(self.state.messages);
        unsynced >= worth && went >= came / 2
            || self.reclaimable() + self.upkeep.dead_bytes() >= worth
    }
}
