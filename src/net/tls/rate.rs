//! A bound on how many handshakes begin in a second.

use crate::base::clock::Mono;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts handshakes in windows of a second; for all loops of a server together.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Handshakes a window; 0 is unlimited.
    limit: u64,
    window: Mutex<Window>,
    /// Those refused and not yet told of.
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Window {
    end: Mono,
    begun: u64,
}

const WINDOW: Duration = Duration::from_secs(1);

impl RateLimit {
    pub(super) fn new(limit: u64) -> RateLimit {
        RateLimit {
            limit,
            window: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether another handshake may begin; if so, it counts.
    pub(super) fn admit(&self, now: Mono) -> bool {
        if self.limit == 0 {
            return true;
        }
        let mut window = self.window.lock().expect("no holder of this lock panics");
        if now >= window.end {
            *window = Window {
                end: now + WINDOW,
                begun: 0,
            };
        }
        let admitted = window.begun < self.limit;
        window.begun += u64::from(admitted);
        if !admitted {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// How many were refused since the last call.
    pub(super) fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_room_for_so_many() {
        let rate = RateLimit::new(2);
        let at = |ms: u64| Mono::from_nanos(ms * 1_000_000);
        let admitted =
            |ms: &[u64]| -> Vec<bool> { ms.iter().map(|t| rate.admit(at(*t))).collect() };
        assert_eq!(admitted(&[5, 6, 7, 999]), [true, true, false, false]);
        assert_eq!(rate.take_refused(), 2);
        assert_eq!(admitted(&[1005, 1900, 2004]), [true, true, false]);
        assert_eq!((rate.take_refused(), rate.take_refused()), (1, 0));
        let unlimited = RateLimit::new(0);
        assert!((0..1000).all(|_| unlimited.admit(at(1))));
    }
}
