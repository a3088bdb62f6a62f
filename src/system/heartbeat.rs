//! When the server tells of itself without being asked.

use crate::base::clock::Mono;
use std::time::Duration;

/// The first time after the start, and the longest time between two.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// How often accounts with clients are told of.
const ACCOUNTS: Duration = Duration::from_secs(30);

/// The times of the server's own events: its figures come often at first, so that it is known soon,
/// and then every ten seconds; those of accounts every thirty.
#[derive(Debug)]
pub struct Heartbeat {
    statsz: Mono,
    interval: Duration,
    accounts: Mono,
}

/// What it is time for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beat {
    Statsz,
    Accounts,
}

impl Heartbeat {
    pub fn new(now: Mono) -> Heartbeat {
        Heartbeat {
            statsz: now + FIRST,
            interval: FIRST,
            accounts: now + ACCOUNTS,
        }
    }

    /// When there is something to be told next.
    pub fn next(&self) -> Mono {
        self.statsz.min(self.accounts)
    }

    /// What is to be told by now, one thing at a time.
    pub fn due(&mut self, now: Mono) -> Option<Beat> {
        if now >= self.statsz {
            self.interval = (self.interval * 2).min(LONGEST);
            self.statsz = now + self.interval;
            return Some(Beat::Statsz);
        }
        if now >= self.accounts {
            self.accounts = now + ACCOUNTS;
            return Some(Beat::Accounts);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_often_at_first() {
        let mut beat = Heartbeat::new(Mono::ZERO);
        let (mut now, mut times, mut accounts) = (Mono::ZERO, Vec::new(), 0);
        for _ in 0..10 {
            assert_eq!(beat.due(now), None);
            now = beat.next();
            match beat.due(now).unwrap() {
                Beat::Statsz => times.push(now.as_nanos() / 1_000_000),
                Beat::Accounts => accounts += 1,
            }
        }
        assert_eq!(
            times,
            [250, 750, 1750, 3750, 7750, 15750, 25750, 35750, 45750]
        );
        assert_eq!(accounts, 1);
    }
}
