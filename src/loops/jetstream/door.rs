//! The way into the loop of JetStream, for who brings it mail.

use super::Turns;
use super::visits::{Visit, Visits};
use crate::accounts::interest::LoopId;
use crate::base::clock::{self, Mono};
use crate::broker::batch::Batch;
use crate::loops::client::Peers;
use crate::loops::inbox::{Inbox, Mail};
use log::error;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};

/// Turns that a visitor does at most, as others may bring mail meanwhile.
const VISIT_TURNS: usize = 2;

/// The mailbox of the loop, and its turns, which are done by the loop's own thread or by who brings mail,
/// see [`Visits`].
pub struct Door {
    pub inbox: Inbox,
    turns: OnceLock<Mutex<Turns>>,
    visits: Visits,
}

impl Door {
    /// A door to a loop that is yet to be opened.
    pub fn new(inbox: Inbox, now: Mono) -> Door {
        Door {
            inbox,
            turns: OnceLock::new(),
            visits: Visits::new(now),
        }
    }

    /// Says what the turns are. Mail that came before is looked at in the first.
    pub fn open(&self, turns: Turns) {
        // There is one start, and so one who opens.
        let _ = self.turns.set(Mutex::new(turns));
    }

    /// The turns, for the loop's own thread; none before they are known.
    pub(super) fn enter(&self) -> Option<MutexGuard<'_, Turns>> {
        let turns = self.turns.get()?;
        Some(turns.lock().expect("no holder of this lock panics"))
    }

    /// Puts a batch of another loop into the mailbox; [`Door::knock`] is to follow.
    pub fn leave(&self, from: LoopId, batch: &mut Batch) {
        let (messages, bytes) = (batch.len(), batch.weight());
        let full = std::mem::replace(batch, self.inbox.empty_batch());
        self.inbox.put(Mail::Batch(from, full));
        let wakes = self.visits.note_mail(messages, bytes, self.inbox.weight());
        if wakes && self.inbox.claim() {
            self.wake();
        }
    }

    /// Whether somebody has left something, so that it is time to knock.
    pub fn is_visited(&self) -> bool {
        self.inbox.weight() > 0 || self.visits.is_crowded()
    }

    /// Has the mail looked at that was put into the box: by the loop if it is awake, or if there is or was
    /// more than the caller has time for; by the caller otherwise.
    pub fn knock(&self, peers: &Arc<Peers>, now: Mono, has_time: bool) {
        let welcome = self.visits.welcomes(self.inbox.weight(), has_time, now);
        if self.inbox.claim() && !(welcome && self.visit(peers)) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(e) = self.inbox.rouse() {
            error!("Error waking the loop of JetStream: {e}");
        }
    }

    /// Does turns. Whether the loop may go on to sleep.
    fn visit(&self, peers: &Arc<Peers>) -> bool {
        let Some(turns) = self.turns.get() else {
            return false;
        };
        let mut turns = match turns.try_lock() {
            Ok(turns) => turns,
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(_)) => panic!("no holder of this lock panics"),
        };
        let began = clock::mono();
        let (mut now, mut rests) = (began, false);
        for _ in 0..VISIT_TURNS {
            turns.turn(peers, &self.inbox, now);
            now = clock::mono();
            rests = turns.may_rest(&self.inbox, now);
            if rests {
                break;
            }
        }
        let (took, served) = (now.since(began), turns.has_served());
        let visit = Visit {
            took,
            served,
            rests,
        };
        self.visits.note_visit(visit, now);
        rests
    }
}
