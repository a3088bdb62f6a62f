//! Whether a loop looks out for what comes next before it sleeps.
//!
//! To fall asleep and to be woken takes a processor a few microseconds, in a virtual machine tens of them,
//! and whoever wakes it as many. Where somebody sends a message, waits for what comes of it and sends the
//! next at once, most of the time goes there. So a loop to which little comes at a time, from those who
//! have got something themselves before, looks out before it sleeps, where that takes no longer, on
//! average, than a sleep costs both: what it costs is measured. Where much comes at a time, or whatever was
//! sent, sleeping is better, since more has come when it ends.

use crate::broker::Brought;
use std::time::Duration;

/// Messages before a sleep that are little.
const LITTLE: u64 = 4;

/// Points before anything is tried. A message after one for its sender has two; any other takes one away,
/// so that every other one may be: requests may come from other loops.
const CALM: u64 = 16;
const ANSWERING: u64 = 2;

/// What a sleep costs at most, as far as it is believed: others may have wanted the processor, too. And at
/// least, if it is worth to look out in its place.
const COST_MAX: Duration = Duration::from_micros(25);
const COST_MIN: Duration = Duration::from_micros(5);

/// The cost of a sleep is measured again after so many.
const MEASURED_EVERY: u32 = 32;

/// How many sleeps it may cost to look out: on average, since who wakes a loop saves one, too; and at most.
const WORTH: u32 = 2;
const PATIENCE: u32 = 4;

/// A sleep up to so many times what it costs was short: it may be worth to look out in its place.
const SHORT: u32 = 8;

/// Short sleeps until it is tried again where it was in vain, at most; each time twice as many.
const PAUSE_MAX: u32 = 1024;

/// What is known of sleeps, and of what came instead of them.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// What a sleep costs the processor.
    cost: Option<Duration>,
    /// Sleeps since it was measured.
    unmeasured: u32,
    /// Points for who sends messages; none after much at a time.
    calm: u64,
    /// Whether it is worth to look out, and how long that took on average.
    looks: bool,
    average: Duration,
    /// Short sleeps until it is tried again, and how many there were the last time.
    rest: u32,
    pause: u32,
}

/// What is to be done before and with a sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// How long to look out before it, at most.
    pub(super) look: Option<Duration>,
    /// Whether to measure what it costs.
    pub(super) measures: bool,
}

impl Lookout {
    /// What a sleep costs the processor, as measured so far.
    pub(super) fn cost(&self) -> Option<Duration> {
        self.cost
    }

    /// What to do, when this has come since it was asked last.
    pub(super) fn plan(&mut self, came: Brought) -> Plan {
        self.calm = match came.answering + came.unasked {
            0..=LITTLE => (self.calm + ANSWERING * came.answering).saturating_sub(came.unasked),
            _ => 0,
        };
        self.calm = self.calm.min(2 * CALM);
        let is_calm = self.calm >= CALM;
        let look = self.cost.filter(|_| is_calm && self.looks);
        Plan {
            look: look.map(|cost| cost * PATIENCE),
            measures: is_calm && (self.cost.is_none() || self.unmeasured >= MEASURED_EVERY),
        }
    }

    /// Takes note that something came after it was looked out for so long.
    pub(super) fn note_seen(&mut self, took: Duration) {
        self.pause /= 2;
        self.note_look(took);
    }

    /// Takes note of a sleep, after it was looked out in vain or not, and of what it cost if that was
    /// measured.
    pub(super) fn note_slept(&mut self, plan: Plan, slept: Duration, cost: Option<Duration>) {
        self.unmeasured = self.unmeasured.saturating_add(1);
        if let Some(cost) = cost {
            let cost = cost.min(COST_MAX);
            self.unmeasured = 0;
            self.cost = Some(self.cost.map_or(cost, |known| (known * 3 + cost) / 4));
        }
        if let Some(look) = plan.look {
            return self.note_look(look);
        }
        let Some(cost) = self.cost.filter(|cost| *cost >= COST_MIN) else {
            return;
        };
        if self.looks || self.calm < CALM || slept > cost * SHORT {
            return;
        }
        match self.rest {
            0 => {
                self.looks = true;
                // Just good enough, so that it ends if it is in vain at once.
                self.average = cost * WORTH * 7 / 8;
            }
            left => self.rest = left - 1,
        }
    }

    fn note_look(&mut self, took: Duration) {
        self.average = (self.average * 7 + took) / 8;
        let cost = self.cost.unwrap_or_default();
        if self.average > cost * WORTH || cost < COST_MIN {
            self.looks = false;
            self.pause = (self.pause * 2).clamp(1, PAUSE_MAX);
            self.rest = self.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: Duration = Duration::from_micros(20);
    const NEAR: Duration = Duration::from_micros(160);
    const FAR: Duration = Duration::from_micros(161);
    const ONE: Brought = answering(1);
    /// Single messages before a sleep that is measured, after which it is tried.
    const EIGHT: usize = 8;

    const fn answering(answering: u64) -> Brought {
        let unasked = 0;
        Brought { answering, unasked }
    }

    /// Sleeps with a message before each, at most so often, until it is planned to look out; says how
    /// often that was.
    fn sleep(lookout: &mut Lookout, slept: Duration, times: usize) -> usize {
        for n in 0..times {
            let plan = lookout.plan(ONE);
            if plan.look.is_some() {
                return n;
            }
            lookout.note_slept(plan, slept, plan.measures.then_some(SLEEP));
        }
        times
    }

    #[test]
    fn it_is_looked_out_where_sleeps_are_short_and_little_comes() {
        let mut lookout = Lookout::default();
        assert_eq!(sleep(&mut lookout, NEAR, 100), EIGHT);
        let look = lookout.plan(answering(LITTLE)).look;
        assert_eq!(look, Some(4 * SLEEP));
        lookout.note_seen(SLEEP);
        assert_eq!(lookout.plan(answering(LITTLE + 1)).look, None);
        assert_eq!(sleep(&mut lookout, FAR, 100), EIGHT - 1);
        assert_eq!(lookout.plan(ONE).look, look);
    }

    #[test]
    fn nobody_looks_out_where_sleeps_are_long_or_cost_little() {
        let mut lookout = Lookout::default();
        assert_eq!(sleep(&mut lookout, FAR, 1000), 1000);
        let mut lookout = Lookout::default();
        for _ in 0..1000 {
            let plan = lookout.plan(ONE);
            assert_eq!(plan.look, None);
            let cost = COST_MIN - Duration::from_nanos(1);
            lookout.note_slept(plan, COST_MIN, plan.measures.then_some(cost));
        }
    }

    #[test]
    fn nobody_looks_out_for_what_comes_unasked() {
        let one = |answering, unasked| Brought { answering, unasked };
        let looks = |came: [Brought; 2]| {
            let mut lookout = Lookout::default();
            (0..1000).any(|n| {
                let plan = lookout.plan(came[n % 2]);
                lookout.note_slept(plan, NEAR, plan.measures.then_some(SLEEP));
                plan.look.is_some()
            })
        };
        assert!(!looks([one(0, 1), one(0, 1)]));
        assert!(!looks([one(1, 2), one(0, 0)]));
        // A request from another loop, and what it is answered with.
        assert!(looks([one(0, 1), one(1, 0)]));
        // A request for a stream, which is another loop.
        assert!(looks([one(1, 1), one(1, 1)]));
    }

    #[test]
    fn what_was_in_vain_is_tried_less_and_less() {
        let mut lookout = Lookout::default();
        let mut tries = Vec::new();
        for _ in 0..14 {
            tries.push(sleep(&mut lookout, NEAR, 10_000));
            let plan = lookout.plan(ONE);
            lookout.note_slept(plan, NEAR, None);
        }
        assert_eq!(tries[..6], [EIGHT, 2, 3, 5, 9, 17]);
        assert_eq!(tries[12..], [PAUSE_MAX as usize + 1; 2]);
    }

    #[test]
    fn what_was_worth_it_may_be_in_vain_now_and_then() {
        let mut lookout = Lookout::default();
        sleep(&mut lookout, NEAR, 100);
        for n in 0..1000 {
            let plan = lookout.plan(ONE);
            assert!(plan.look.is_some());
            match n % 10 == 9 {
                true => lookout.note_slept(plan, NEAR, None),
                false => lookout.note_seen(SLEEP),
            }
        }
    }

    #[test]
    fn what_takes_longer_than_it_is_worth_ends() {
        let mut lookout = Lookout::default();
        sleep(&mut lookout, NEAR, 100);
        let mut looks = 0;
        while lookout.plan(ONE).look.is_some() {
            lookout.note_seen(SLEEP * WORTH + Duration::from_micros(1));
            looks += 1;
        }
        assert!((8..40).contains(&looks), "{looks}");
    }

    #[test]
    fn a_sleep_that_others_cut_into_is_not_believed() {
        let mut lookout = Lookout::default();
        for _ in 0..100 {
            let plan = lookout.plan(ONE);
            let cost = plan.measures.then_some(Duration::from_secs(1));
            lookout.note_slept(plan, FAR, cost);
        }
        assert_eq!(lookout.cost(), Some(COST_MAX));
    }
}
