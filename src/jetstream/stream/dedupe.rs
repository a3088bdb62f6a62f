//! Which messages were published of late, by the ids that their publishers gave them.

use crate::base::hash::HashSeed;
use crate::store::types::{StreamSeq, Timestamp};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// The ids of one stream's messages, for as long as its window says. An id is kept as a hash of 128
/// bits under a secret, so that two are never taken for the same.
#[derive(Debug)]
pub(super) struct Dedupe {
    window: Duration,
    seen: HashMap<u128, StreamSeq, BuildHasherDefault<Hashed>>,
    /// In the order of their times.
    times: VecDeque<(Timestamp, u128)>,
    seeds: [HashSeed; 2],
}

/// Keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only numbers are hashed, which come below.
        self.0 ^= bytes.len() as u64;
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "half of it is random enough"
    )]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

impl Dedupe {
    /// `seed` is to be random.
    pub(super) fn new(window: Duration, seed: u64) -> Dedupe {
        Dedupe {
            window,
            seen: HashMap::default(),
            times: VecDeque::new(),
            seeds: [
                HashSeed::new(seed),
                HashSeed::new(seed.rotate_left(32) ^ !0),
            ],
        }
    }

    pub(super) fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// The sequence of a message with this id.
    pub(super) fn find(&mut self, id: &[u8], now: Timestamp) -> Option<StreamSeq> {
        if self.seen.is_empty() {
            return None;
        }
        self.expire(now);
        self.seen.get(&self.key(id)).copied()
    }

    /// Takes note of a message.
    pub(super) fn insert(&mut self, id: &[u8], sequence: StreamSeq, time: Timestamp) {
        if self.window.is_zero() {
            return;
        }
        let key = self.key(id);
        self.seen.insert(key, sequence);
        self.times.push_back((time, key));
    }

    /// Forgets what is older than the window.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let window = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX);
        while let Some((time, key)) = self.times.front().copied()
            && time.0.saturating_add(window) <= now.0
        {
            self.times.pop_front();
            self.seen.remove(&key);
        }
        if self.times.is_empty() {
            self.seen.shrink_to(64);
            self.times.shrink_to(64);
        }
    }

    fn key(&self, id: &[u8]) -> u128 {
        let [a, b] = &self.seeds;
        u128::from(a.hash(id)) << 64 | u128::from(b.hash(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_for_as_long_as_the_window() {
        let second = |n: u64| Timestamp(n * 1_000_000_000);
        let mut dedupe = Dedupe::new(Duration::from_secs(10), 7);
        dedupe.insert(b"a", StreamSeq(1), second(1));
        dedupe.insert(b"b", StreamSeq(2), second(5));
        assert_eq!(dedupe.find(b"a", second(10)), Some(StreamSeq(1)));
        assert_eq!(dedupe.find(b"a", second(11)), None);
        assert_eq!(dedupe.find(b"b", second(11)), Some(StreamSeq(2)));
        assert_eq!(dedupe.find(b"c", second(11)), None);
        dedupe.set_window(Duration::ZERO);
        assert_eq!(dedupe.find(b"b", second(11)), None);
        dedupe.insert(b"b", StreamSeq(3), second(12));
        assert_eq!(dedupe.find(b"b", second(12)), None);
    }
}
