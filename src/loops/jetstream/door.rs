//! The way into the loop of JetStream, for who brings it mail.

use super::Turns;
use crate::accounts::interest::LoopId;
use crate::base::clock::{self, Mono};
use crate::broker::batch::Batch;
use crate::loops::client::Peers;
use crate::loops::inbox::{Inbox, Mail};
use log::error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::Duration;

/// Mail up to this many bytes is looked at by visitors who have time for it.
const VISIT_MAX: usize = 1 << 20;

/// Mail up to this many bytes is little, which others look at, too: what a few lone requests are.
const LITTLE: usize = 8 << 10;

/// A batch of up to this many messages is little.
const FEW: usize = 4;

/// How long after much mail the loop is woken for little as well. Who sends much waits for many
/// answers at once, and gets fewer at a time, at more cost, if some are in a hurry.
const CALM: Duration = Duration::from_millis(5);

/// Turns that a visitor does at most, as others may bring mail meanwhile.
const VISIT: usize = 2;

/// How long much is left to the loop's own thread after a visit in which not all was done, or consumers got
/// messages: those are written to clients meanwhile.
const BUSY: Duration = Duration::from_millis(50);

/// A visit that took longer than this for what consumers got was too long: it is better written while more is
/// read. Then little is left to the loop's own thread, too, as are the answers that flow control asks for.
const LONG: Duration = Duration::from_micros(500);

/// A visit that took longer than this has waited for the disk, most likely. Then the loop is left to its
/// own thread for a longer while: visitors have connections to look after.
const SLOW: Duration = Duration::from_millis(20);
const WARY: Duration = Duration::from_secs(1);

/// The mailbox of the loop, and its turns.
///
/// To wake a thread and to be woken by it takes longer than to store some messages, and each processor
/// that sees them has to fetch them. So whoever has put little into the mailbox of the sleeping loop does
/// its turn by itself, and so does who has put much, if there is nothing else to be done meanwhile. The
/// loop's own thread is woken for the rest, where there are consumers to be served, and where the disk takes
/// its time.
pub struct Door {
    pub inbox: Inbox,
    turns: OnceLock<Mutex<Turns>>,
    /// Whether much came since somebody last knocked.
    crowded: AtomicBool,
    /// Whether the last who knocked would have done more.
    takes_much: AtomicBool,
    began: Mono,
    /// Until when visits are too early, in nanoseconds since `began`.
    calm_at: AtomicU64,
    /// Until when they are for who brings much, likewise.
    busy_until: AtomicU64,
}

impl Door {
    /// A door to a loop that is yet to be opened.
    pub fn new(inbox: Inbox, now: Mono) -> Door {
        Door {
            inbox,
            turns: OnceLock::new(),
            crowded: AtomicBool::new(false),
            takes_much: AtomicBool::new(false),
            began: now,
            calm_at: AtomicU64::new(0),
            busy_until: AtomicU64::new(0),
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
        let much = batch.len() > FEW || batch.weight() > LITTLE;
        let full = std::mem::replace(batch, self.inbox.empty_batch());
        self.inbox.put(Mail::Batch(from, full));
        if !much {
            return;
        }
        self.crowded.store(true, Ordering::Relaxed);
        let waits = self.takes_much.load(Ordering::Relaxed) && self.inbox.weight() <= VISIT_MAX;
        if !waits && self.inbox.claim() {
            self.wake();
        }
    }

    /// Whether somebody has left something, so that it is time to knock.
    pub fn is_visited(&self) -> bool {
        self.inbox.weight() > 0 || self.crowded.load(Ordering::Relaxed)
    }

    /// Has the mail looked at that was put into the box: by the loop if it is awake, or if there is or was
    /// more than the caller has time for; by the caller otherwise.
    pub fn knock(&self, peers: &Arc<Peers>, now: Mono, has_time: bool) {
        let since = nanos(now.since(self.began));
        let much = self.crowded.swap(false, Ordering::Relaxed) || self.inbox.weight() > LITTLE;
        let takes_much = has_time && self.busy_until.load(Ordering::Relaxed) <= since;
        self.takes_much.store(takes_much, Ordering::Relaxed);
        if much && !takes_much {
            let calm = since.saturating_add(nanos(CALM));
            self.calm_at.fetch_max(calm, Ordering::Relaxed);
        }
        if !self.inbox.claim() {
            return;
        }
        let welcome = match much {
            true => takes_much && self.inbox.weight() <= VISIT_MAX,
            false => self.calm_at.load(Ordering::Relaxed) <= since,
        };
        if !(welcome && self.visit(peers)) {
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
        let mut rests = false;
        for _ in 0..VISIT {
            turns.turn(peers, &self.inbox);
            rests = turns.may_rest(&self.inbox);
            if rests {
                break;
            }
        }
        let now = clock::mono();
        let (took, served) = (now.since(began), turns.has_served());
        let (calm, busy) = match took {
            _ if took > SLOW => (WARY, WARY),
            _ if took > LONG && served => (BUSY, BUSY),
            _ if served || !rests => (Duration::ZERO, BUSY),
            _ => return rests,
        };
        let until = |after| nanos((now + after).since(self.began));
        self.calm_at.fetch_max(until(calm), Ordering::Relaxed);
        self.busy_until.fetch_max(until(busy), Ordering::Relaxed);
        rests
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
