//! The time of a stream, which never goes back, whatever the clock does.
//!
//! When the clock is set back, the stream's time goes on from where it was, at half the clock's pace,
//! until the clock has come there too. So messages keep their order, and go at their age: late by as
//! much again at most, and never early.

use crate::store::types::Timestamp;

/// Where the stream's time was, when the clock was behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Pace {
    /// What the clock said and what the stream's time was then.
    behind: Option<(Timestamp, Timestamp)>,
}

impl Pace {
    /// The stream's time when the clock says `clock`; not before `last`, that of the last message.
    pub(super) fn time(&mut self, clock: Timestamp, last: Timestamp) -> Timestamp {
        if clock >= last {
            self.behind = None;
            return clock;
        }
        let (from, time) = *self.behind.get_or_insert((clock, last));
        let Some(passed) = clock.0.checked_sub(from.0) else {
            // It was set back once more.
            self.behind = Some((clock, time.max(last)));
            return time.max(last);
        };
        Timestamp(time.0.saturating_add(passed / 2)).max(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_waited_for_at_half_its_pace() {
        let mut pace = Pace::default();
        let mut last = Timestamp(0);
        let mut at = |clock| {
            last = pace.time(Timestamp(clock), last);
            last.0
        };
        assert_eq!([at(100), at(200)], [100, 200]);
        // By 150, and a little later by ten more.
        assert_eq!([at(50), at(50), at(70)], [200, 200, 210]);
        assert_eq!([at(60), at(80)], [210, 215]);
        assert_eq!([at(40), at(44)], [215, 217]);
        assert_eq!([at(217), at(218), at(300)], [217, 218, 300]);
    }

    #[test]
    fn no_message_goes_early() {
        let mut rng = crate::base::rng::Rng::new(1);
        let mut pace = Pace::default();
        let (mut last, mut clock, mut real) = (Timestamp(0), 1000, 0);
        // What came when, and as which time.
        let mut all: Vec<(u64, u64)> = vec![];
        for _ in 0..10_000 {
            let passed = rng.below(10) as u64;
            real += passed;
            clock += passed;
            if rng.below(100) == 0 {
                // Only back: a clock that is put forward makes all older, with or without this.
                clock = clock.saturating_sub(rng.below(500) as u64);
            }
            let now = pace.time(Timestamp(clock), last);
            assert!(now >= last, "the time of a stream goes back");
            for (came, stamp) in &all {
                assert!(
                    now.0 - stamp <= real - came,
                    "a message is older than it is"
                );
            }
            last = now;
            all.push((real, now.0));
            if all.len() > 50 {
                all.remove(0);
            }
        }
    }
}
