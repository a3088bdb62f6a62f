//! Whether a loop has time for what its clients have brought to JetStream.

use crate::base::clock::Mono;
use std::time::Duration;

/// How long a loop is taken to be busy after it had something else to do.
const BUSY: Duration = Duration::from_millis(50);

/// When a loop last had to do with others than those who publish to streams, or ask for something there:
/// those wait for JetStream anyway, whoever does its work.
#[derive(Debug)]
pub(super) struct Leisure {
    others_at: Option<Mono>,
}

impl Leisure {
    /// That of a loop which had nothing to do yet.
    pub(super) fn new() -> Leisure {
        Leisure { others_at: None }
    }

    /// Takes note that there was something else to do.
    pub(super) fn note_others(&mut self, now: Mono) {
        self.others_at = Some(now);
    }

    /// Whether there was not for a while.
    pub(super) fn has_time(&self, now: Mono) -> bool {
        self.others_at.is_none_or(|at| now.since(at) > BUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_has_time_when_others_were_quiet_for_a_while() {
        let mut leisure = Leisure::new();
        assert!(leisure.has_time(Mono::ZERO));
        let now = Mono::ZERO + Duration::from_secs(1);
        leisure.note_others(now);
        assert!(!leisure.has_time(now));
        assert!(!leisure.has_time(now + BUSY));
        assert!(leisure.has_time(now + BUSY + Duration::from_nanos(1)));
    }
}
