//! Whether a loop looks out for what comes next before it sleeps.
//!
//! To fall asleep and to be woken takes a processor a few microseconds, in a virtual machine tens of them,
//! and whoever wakes it as many. Where somebody sends a message, waits for what comes of it and sends the
//! next at once, most of the time may go there. So a loop to which little comes at a time, from those who
//! have got something themselves before, tries to look out before it sleeps, and goes on with that where
//! it takes less time and hardly more of the processor than sleeping at once: both are measured, and again
//! from time to time. Where others want the processor, or sleeping costs little, it sleeps. Where much
//! comes at a time, or whatever was sent, nothing is tried: more has come when a sleep ends.

use crate::base::clock::Mono;
use crate::broker::Brought;
use std::time::Duration;

/// How long it is looked out before a sleep, at most.
const LOOK: Duration = Duration::from_micros(100);

/// Messages before a sleep that are little.
const LITTLE: u64 = 4;

/// Points before anything is measured. A message after one for its sender has two; any other takes one away,
/// so that every other one may be: requests may come from other loops.
const CALM: u64 = 16;
const ANSWERING: u64 = 2;

/// A round is what goes from one sleep to the next, or from one look. So many are measured together.
const ROUNDS: u32 = 64;

/// So many of them may have looked out in vain.
const MISSES: u32 = ROUNDS / 4;

/// With a sleep longer than this it is measured anew: nobody was in a hurry.
const LONG: Duration = Duration::from_millis(1);

/// It is tried to look out where rounds take no longer than this.
const NEAR: Duration = Duration::from_micros(300);

/// Measurements before it is judged, as each may be one of a bad moment; from when on it counts as good; and
/// after how many sleeping is measured again.
const KEPT_MIN: u32 = 4;
const KEPT_GOOD: u32 = 8;
const KEPT_MAX: u32 = 512;

/// Looking out may take so much more of the processor, as a part of what sleeping takes.
const MORE: u32 = 8;

/// Measurements that count in an average.
const AVERAGE_OF: u32 = 8;

/// Measurements until it is tried again where it was not good, at most; each time twice as many.
const PAUSE_MAX: u32 = 1024;

/// What is known of sleeping and of looking out.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Points for who sends messages; none after much at a time.
    calm: u64,
    /// What is being measured, if anything.
    window: Option<Window>,
    /// Whether it is looked out.
    looks: bool,
    /// What a round takes with sleeping at once, and with looking out.
    sleeping: Average,
    looking: Average,
    /// For how many measurements it has been looked out.
    kept: u32,
    /// How many there are until it is tried, and were the last time.
    rest: u32,
    pause: u32,
}

/// Rounds that are measured together: since when, what the thread had used of the processor then, how many
/// there were, and how many looked out in vain.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Mono,
    cpu: Duration,
    rounds: u32,
    missed: u32,
}

/// What a round takes: time, and time of the processor.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Round {
    pub(super) time: Duration,
    pub(super) cpu: Duration,
}

/// What a round took of late.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    round: Round,
    /// Measurements in it.
    of: u32,
}

impl Average {
    fn add(&mut self, round: Round) {
        self.of = (self.of + 1).min(AVERAGE_OF);
        let mix = |known: Duration, new: Duration| (known * (self.of - 1) + new) / self.of;
        self.round.time = mix(self.round.time, round.time);
        self.round.cpu = mix(self.round.cpu, round.cpu);
    }
}

impl Lookout {
    /// What a round takes with sleeping at once, and with looking out; no time if it was not measured.
    pub(super) fn rounds(&self) -> [Round; 2] {
        [self.sleeping.round, self.looking.round]
    }

    /// Takes note of what came since the last sleep. Whether [`Lookout::measure`] is to be called.
    pub(super) fn note_round(&mut self, came: Brought) -> bool {
        self.calm = match came.answering + came.unasked {
            0..=LITTLE => (self.calm + ANSWERING * came.answering).saturating_sub(came.unasked),
            _ => 0,
        };
        self.calm = self.calm.min(2 * CALM);
        if self.calm < CALM {
            self.window = None;
            return false;
        }
        match &mut self.window {
            None => true,
            Some(window) => {
                window.rounds += 1;
                window.rounds >= ROUNDS || window.missed >= MISSES
            }
        }
    }

    /// Ends a measurement, if one is under way, and begins the next. `cpu` is what the thread has used of the
    /// processor.
    pub(super) fn measure(&mut self, now: Mono, cpu: Duration) {
        if let Some(window) = self.window {
            let vain = window.missed >= MISSES;
            let round = Round {
                time: now.since(window.began) / window.rounds.max(1),
                cpu: cpu.saturating_sub(window.cpu) / window.rounds.max(1),
            };
            match self.looks {
                true => self.judge(round, vain),
                false => self.note_sleeping(round),
            }
        }
        self.window = Some(Window {
            began: now,
            cpu,
            rounds: 0,
            missed: 0,
        });
    }

    /// How long to look out before the next sleep.
    pub(super) fn look(&self) -> Option<Duration> {
        (self.looks && self.window.is_some()).then_some(LOOK)
    }

    /// Takes note of a sleep, and whether it was looked out in vain before.
    pub(super) fn note_slept(&mut self, slept: Duration, missed: bool) {
        if slept > LONG {
            self.window = None;
        }
        if let Some(window) = &mut self.window {
            window.missed += u32::from(missed);
        }
    }

    fn note_sleeping(&mut self, round: Round) {
        self.sleeping.add(round);
        match self.rest.checked_sub(1) {
            Some(rest) => self.rest = rest,
            None if round.time <= NEAR => {
                self.looks = true;
                self.looking = Average::default();
                self.kept = 0;
            }
            None => {}
        }
    }

    fn judge(&mut self, round: Round, vain: bool) {
        self.looking.add(round);
        self.kept += 1;
        let (sleeping, looking) = (self.sleeping.round, self.looking.round);
        let cpu_max = sleeping.cpu + sleeping.cpu / MORE;
        let is_good = looking.time < sleeping.time && looking.cpu <= cpu_max;
        if self.kept < KEPT_MIN && !vain || is_good && self.kept < KEPT_MAX {
            if self.kept == KEPT_GOOD {
                self.pause = 0;
            }
            return;
        }
        self.looks = false;
        if is_good {
            self.sleeping = Average::default();
            self.rest = KEPT_MIN - 1;
        } else {
            self.pause = (self.pause * 2).clamp(1, PAUSE_MAX);
            self.rest = self.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with one client, and what happened on it.
    struct Machine {
        lookout: Lookout,
        now: Mono,
        cpu: Duration,
        /// What a round takes.
        sleeping: Round,
        /// The same where it is seen what comes.
        looking: Round,
        looks: usize,
    }

    const fn round(time: u64, cpu: u64) -> Round {
        Round {
            time: Duration::from_micros(time),
            cpu: Duration::from_micros(cpu),
        }
    }

    const ONE: Brought = Brought {
        answering: 1,
        unasked: 0,
    };

    impl Machine {
        fn new(sleeping: Round, looking: Round) -> Machine {
            Machine {
                lookout: Lookout::default(),
                now: Mono::ZERO,
                cpu: Duration::ZERO,
                sleeping,
                looking,
                looks: 0,
            }
        }

        /// Does rounds, and says in how many it was looked out.
        fn run(&mut self, came: &[Brought], rounds: usize) -> usize {
            let before = self.looks;
            for came in came.iter().cycle().take(rounds) {
                if self.lookout.note_round(*came) {
                    self.lookout.measure(self.now, self.cpu);
                }
                let look = self.lookout.look();
                self.looks += usize::from(look.is_some());
                let seen = look.is_some_and(|look| self.looking.time <= look);
                let mut takes = if seen { self.looking } else { self.sleeping };
                if let Some(look) = look.filter(|_| !seen) {
                    takes.time += look;
                    takes.cpu += look;
                }
                self.now = self.now + takes.time;
                self.cpu += takes.cpu;
                if !seen {
                    self.lookout.note_slept(self.sleeping.time, look.is_some());
                }
            }
            self.looks - before
        }
    }

    #[test]
    fn it_is_looked_out_where_that_is_better() {
        let mut machine = Machine::new(round(150, 75), round(55, 55));
        assert_eq!(machine.run(&[ONE], 1000), 1000 - 7 - ROUNDS as usize);
        let again = (ROUNDS * KEPT_MIN) as usize;
        let looks = machine.run(&[ONE], 100_000);
        assert_eq!(looks, 100_000 - 3 * again, "sleeping is measured again");
        // Now others want the processor.
        machine.looking = round(90, 59);
        machine.sleeping = round(50, 23);
        machine.run(&[ONE], 50_000);
        let few = machine.run(&[ONE], 100_000);
        assert!(few < 5000, "{few}");
    }

    #[test]
    fn it_is_not_where_sleeping_takes_less() {
        for looking in [round(30, 30), round(50, 20), round(99, 99), round(101, 101)] {
            let mut machine = Machine::new(round(50, 25), looking);
            let looks = machine.run(&[ONE], 1_000_000);
            assert!(looks < 8000, "{looking:?}: {looks}");
        }
        let mut machine = Machine::new(round(301, 300), round(50, 50));
        assert_eq!(machine.run(&[ONE], 10_000), 0, "nobody is near");
        let mut machine = Machine::new(round(1001, 300), round(50, 50));
        assert_eq!(machine.run(&[ONE], 10_000), 0);
        assert_eq!(machine.lookout.rounds(), [Round::default(); 2]);
    }

    #[test]
    fn it_is_tried_only_where_little_comes_and_not_unasked() {
        let one = |answering, unasked| Brought { answering, unasked };
        let looks = |came: &[Brought]| {
            let mut machine = Machine::new(round(150, 75), round(55, 55));
            machine.run(came, 1000) > 0
        };
        assert!(looks(&[ONE]));
        assert!(looks(&[one(LITTLE, 0)]));
        assert!(!looks(&[one(LITTLE + 1, 0)]));
        assert!(!looks(&[one(0, 1)]));
        assert!(!looks(&[one(1, 2), one(0, 0)]));
        // A request from another loop, and what it is answered with.
        assert!(looks(&[one(0, 1), one(1, 0)]));
        // A request for a stream, which is another loop.
        assert!(looks(&[one(1, 1)]));
    }

    #[test]
    fn much_at_a_time_ends_it_for_a_while() {
        let mut machine = Machine::new(round(150, 75), round(55, 55));
        machine.run(&[ONE], 1000);
        let much = Brought {
            answering: LITTLE + 1,
            unasked: 0,
        };
        assert_eq!(machine.run(&[much], 100), 0);
        assert_eq!(machine.run(&[ONE], 100), 93);
    }
}
