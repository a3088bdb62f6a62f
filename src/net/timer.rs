//! A timer wheel for many coarse deadlines: an entry costs a few bytes, and nothing when a
//! deadline moves further away, since whoever is called looks at its own deadline first.

use crate::base::clock::Mono;
use mio::Token;
use std::collections::VecDeque;
use std::time::Duration;

/// Deadlines of connections, to a sixteenth of a second.
pub struct Wheel {
    slots: Vec<Vec<(Tick, Token)>>,
    /// A bit for each slot that is not empty.
    filled: [u64; WORDS],
    /// The first tick that has not been looked at.
    next: Tick,
    len: usize,
}

/// Time in units of the wheel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Tick(u64);

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 16);
const SLOTS: usize = 512;

/// Words of a bit for each slot.
const WORDS: usize = SLOTS / 64;

impl Tick {
    /// The first tick at which a deadline has passed.
    pub fn after(at: Mono) -> Tick {
        Tick(at.as_nanos().div_ceil(nanos(TICK)))
    }
}

const fn nanos(d: Duration) -> u64 {
    d.as_secs() * 1_000_000_000 + d.subsec_nanos() as u64
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            filled: [0; WORDS],
            next: Tick(0),
            len: 0,
        }
    }
}

impl Wheel {
    /// Enters a token for a tick; it comes out of [`Wheel::expire`] once, with that tick.
    pub fn enter(&mut self, tick: Tick, token: Token) {
        let slot = Self::slot(tick.max(self.next));
        self.slots[slot].push((tick, token));
        self.filled[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Moves what is due at `now` into `due`.
    pub fn expire(&mut self, now: Mono, due: &mut VecDeque<(Tick, Token)>) {
        let end = Tick(now.as_nanos() / nanos(TICK) + 1);
        if end <= self.next {
            return;
        }
        let passed = usize::try_from(end.0 - self.next.0)
            .unwrap_or(SLOTS)
            .min(SLOTS);
        let first = Self::slot(self.next);
        self.next = end;
        for slot in (first..first + passed).map(|s| s % SLOTS) {
            if self.filled[slot / 64] & 1 << (slot % 64) == 0 {
                continue;
            }
            let entries = &mut self.slots[slot];
            let before = due.len();
            due.extend(entries.extract_if(.., |(tick, _)| *tick < end));
            self.len -= due.len() - before;
            if entries.is_empty() {
                entries.shrink_to(16);
                self.filled[slot / 64] &= !(1 << (slot % 64));
            }
        }
    }

    /// When to look again: no later than the first deadline.
    pub fn next(&self) -> Option<Mono> {
        if self.len == 0 {
            return None;
        }
        let first = Self::slot(self.next);
        let (word, bit) = (first / 64, first % 64);
        // The word of the first slot is looked at twice: its beginning comes last.
        let in_word = |n: usize| {
            let filled = self.filled[(word + n) % WORDS];
            match n {
                0 => filled & (!0 << bit),
                WORDS => filled & !(!0 << bit),
                _ => filled,
            }
        };
        let found = (0..=WORDS).find(|n| in_word(*n) != 0)?;
        let ahead = found * 64 + in_word(found).trailing_zeros() as usize - bit;
        Some(Mono::from_nanos((self.next.0 + ahead as u64) * nanos(TICK)))
    }

    fn slot(tick: Tick) -> usize {
        usize::try_from(tick.0 % SLOTS as u64).expect("the wheel is small")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_once_and_in_time() {
        let mut wheel = Wheel::default();
        let at = |ms: u64| Mono::ZERO + Duration::from_millis(ms);
        // Some of these are many turns of the wheel away.
        let deadlines = [0, 10, 100, 5_000, 31_999, 32_000, 120_000, 500_000];
        for (i, ms) in deadlines.iter().enumerate() {
            wheel.enter(Tick::after(at(*ms)), Token(i));
        }
        let mut fired = vec![None; deadlines.len()];
        let mut now = 0;
        while let Some(next) = wheel.next() {
            now = now.max(next.as_nanos() / 1_000_000) + 1;
            let mut due = VecDeque::new();
            wheel.expire(at(now), &mut due);
            for (tick, Token(i)) in due {
                assert_eq!(tick, Tick::after(at(deadlines[i])));
                assert_eq!(fired[i].replace(now), None);
            }
        }
        for (ms, fired) in deadlines.iter().zip(fired) {
            let fired = fired.unwrap();
            assert!(fired >= *ms && fired < ms + 150, "{ms} fired at {fired}");
        }
    }

    #[test]
    fn a_long_sleep_misses_nothing() {
        let mut wheel = Wheel::default();
        for i in 0..2000u64 {
            let at = Mono::ZERO + Duration::from_millis(i * 100);
            wheel.enter(Tick::after(at), Token(i as usize));
        }
        let mut due = VecDeque::new();
        wheel.expire(Mono::ZERO + Duration::from_secs(3600), &mut due);
        assert_eq!((due.len(), wheel.next()), (2000, None));
    }

    #[test]
    fn the_next_deadline_is_found_wherever_it_is() {
        let tick = nanos(TICK);
        for start in (0..1000).step_by(7) {
            for ahead in (0..SLOTS as u64).step_by(5) {
                let mut wheel = Wheel::default();
                wheel.expire(Mono::from_nanos(start * tick), &mut VecDeque::new());
                let at = Mono::from_nanos((start + 1 + ahead) * tick);
                wheel.enter(Tick::after(at), Token(0));
                assert_eq!(wheel.next(), Some(at), "{ahead} after {start}");
            }
        }
    }
}
