//! Whether the loop's work is done by who brings it, or by the loop's own thread.
//!
//! To wake a thread and to be woken by it takes longer than to store some messages, and each processor
//! that sees them has to fetch them. So whoever has put little into the mailbox of the sleeping loop does
//! its turn by itself, and so does who has put much, if there is nothing else to be done meanwhile. The
//! loop's own thread is woken for the rest, where there are consumers to be served, and where the disk takes
//! its time.

use crate::base::clock::Mono;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// What is known of the mail, and of visits before.
#[derive(Debug)]
pub(super) struct Visits {
    /// Whether much came since somebody last asked to visit.
    crowded: AtomicBool,
    /// Whether the last who asked would have done more.
    takes_much: AtomicBool,
    began: Mono,
    /// Until when visits are too early, in nanoseconds since `began`.
    calm_until: AtomicU64,
    /// Until when they are for who brings much, likewise.
    busy_until: AtomicU64,
}

/// What a visit came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) took: Duration,
    /// Whether consumers got turns.
    pub(super) served: bool,
    /// Whether all was done.
    pub(super) rests: bool,
}

impl Visits {
    pub(super) fn new(now: Mono) -> Visits {
        Visits {
            crowded: AtomicBool::new(false),
            takes_much: AtomicBool::new(false),
            began: now,
            calm_until: AtomicU64::new(0),
            busy_until: AtomicU64::new(0),
        }
    }

    /// Takes note of so many messages of so many bytes, with which there are `waiting` bytes. Whether the
    /// loop is to be woken for them before who brings them asks to visit.
    pub(super) fn note_mail(&self, messages: usize, bytes: usize, waiting: usize) -> bool {
        if messages <= FEW && bytes <= LITTLE {
            return false;
        }
        self.crowded.store(true, Ordering::Relaxed);
        !self.takes_much.load(Ordering::Relaxed) || waiting > VISIT_MAX
    }

    /// Whether much came since somebody last asked to visit.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Whether somebody is to visit the loop where it sleeps, with `waiting` bytes of mail, who has time for
    /// more than a little or not.
    pub(super) fn welcomes(&self, waiting: usize, has_time: bool, now: Mono) -> bool {
        let now = now.since(self.began);
        let much = self.crowded.swap(false, Ordering::Relaxed) || waiting > LITTLE;
        let takes_much = has_time && self.busy_until.load(Ordering::Relaxed) <= nanos(now);
        self.takes_much.store(takes_much, Ordering::Relaxed);
        if !much {
            return self.calm_until.load(Ordering::Relaxed) <= nanos(now);
        }
        if !takes_much {
            let until = nanos(now + CALM);
            self.calm_until.fetch_max(until, Ordering::Relaxed);
        }
        takes_much && waiting <= VISIT_MAX
    }

    /// Takes note of a visit that has ended.
    pub(super) fn note_visit(&self, visit: Visit, now: Mono) {
        let (calm, busy) = match visit.took {
            took if took > SLOW => (WARY, WARY),
            took if took > LONG && visit.served => (BUSY, BUSY),
            _ if visit.served || !visit.rests => (Duration::ZERO, BUSY),
            _ => return,
        };
        let now = now.since(self.began);
        self.calm_until
            .fetch_max(nanos(now + calm), Ordering::Relaxed);
        self.busy_until
            .fetch_max(nanos(now + busy), Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono::ZERO;
    const QUICK: Visit = Visit {
        took: Duration::from_micros(100),
        served: false,
        rests: true,
    };

    #[test]
    fn little_is_done_by_who_brings_it() {
        let visits = Visits::new(START);
        assert!(!visits.note_mail(FEW, LITTLE, LITTLE));
        assert!(!visits.is_crowded());
        assert!(visits.welcomes(LITTLE, false, START));
        visits.note_visit(QUICK, START);
        assert!(visits.welcomes(1, false, START));
    }

    #[test]
    fn much_is_done_by_who_has_time() {
        let visits = Visits::new(START);
        assert!(
            visits.note_mail(FEW + 1, 1, 1),
            "nobody is known to have time"
        );
        assert!(visits.is_crowded());
        assert!(visits.welcomes(1, true, START));
        assert!(!visits.is_crowded());
        visits.note_visit(QUICK, START);
        assert!(!visits.note_mail(1, LITTLE + 1, LITTLE + 1));
        assert!(
            visits.note_mail(1, VISIT_MAX + 1, VISIT_MAX + 1),
            "it is too much"
        );
        assert!(!visits.welcomes(VISIT_MAX + 1, true, START));
        assert!(visits.welcomes(VISIT_MAX, true, START));
    }

    #[test]
    fn who_has_no_time_leaves_much_alone_and_little_for_a_moment() {
        let visits = Visits::new(START);
        assert!(!visits.welcomes(LITTLE + 1, false, START));
        assert!(visits.note_mail(FEW + 1, 1, 1));
        assert!(!visits.welcomes(1, false, START));
        assert!(!visits.welcomes(1, false, START + (CALM - Duration::from_nanos(1))));
        assert!(visits.welcomes(1, false, START + CALM));
    }

    #[test]
    fn where_consumers_are_served_much_is_left_to_the_thread() {
        let visits = Visits::new(START);
        for visit in [
            Visit {
                served: true,
                ..QUICK
            },
            Visit {
                rests: false,
                ..QUICK
            },
        ] {
            let visits = Visits::new(START);
            visits.note_visit(visit, START);
            assert!(visits.welcomes(1, true, START));
            assert!(!visits.welcomes(LITTLE + 1, true, START + CALM));
            assert!(visits.welcomes(LITTLE + 1, true, START + BUSY));
        }
        let took = LONG + Duration::from_nanos(1);
        visits.note_visit(
            Visit {
                took,
                served: true,
                ..QUICK
            },
            START,
        );
        assert!(!visits.welcomes(1, true, START + CALM));
        assert!(visits.welcomes(1, true, START + BUSY));
    }

    #[test]
    fn a_slow_disk_is_left_to_the_thread() {
        let visits = Visits::new(START);
        let took = SLOW + Duration::from_nanos(1);
        visits.note_visit(Visit { took, ..QUICK }, START);
        assert!(!visits.welcomes(1, true, START + BUSY));
        assert!(!visits.welcomes(LITTLE + 1, true, START + BUSY));
        assert!(visits.welcomes(LITTLE + 1, true, START + WARY));
    }
}
