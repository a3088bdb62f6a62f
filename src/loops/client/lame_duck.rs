//! Lame duck mode: the server is about to end, and its clients leave one after the other instead
//! of all at once.

use super::ClientLoop;
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use std::time::Duration;

/// The longest time between two clients: there is no use in spreading few of them.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Where the mode stands.
pub(super) struct LameDuck {
    /// When the next client goes.
    next: Mono,
    /// When all are to be gone.
    end: Mono,
    /// The time between two clients, once the first has gone.
    gap: Option<Duration>,
    rng: Rng,
}

impl LameDuck {
    pub(super) fn next(&self) -> Mono {
        self.next
    }

    /// Plans the next client after one has gone: after half of a gap to a whole one.
    fn plan(&mut self, clients: usize) {
        let left = self.end.since(self.next);
        let count = u32::try_from(clients).unwrap_or(u32::MAX).max(1);
        let gap = *self.gap.get_or_insert((left / count).min(GAP_MAX));
        let more = u32::try_from(self.rng.below(1024)).expect("it is below 1024");
        self.next = self.next + gap / 2 + gap / 2 * more / 1024;
    }
}

impl ClientLoop {
    /// Stops accepting and tells the clients.
    pub(super) fn enter_lame_duck(&mut self, grace: Duration, duration: Duration, now: Mono) {
        if let Some(mut acceptor) = self.acceptor.take() {
            // Closing the listener deregisters it as well; this only keeps the order clean.
            let _ = self.poll.registry().deregister(acceptor.listener());
        }
        self.broker.enter_lame_duck();
        self.lame_duck = Some(LameDuck {
            next: now + grace,
            end: now + duration,
            gap: None,
            rng: Rng::new(u64::from(self.me.0)),
        });
    }

    /// Disconnects the clients whose time has come.
    pub(super) fn send_away(&mut self, now: Mono) {
        let Some(mode) = &mut self.lame_duck else {
            return;
        };
        while mode.next <= now {
            if mode.gap.is_none() {
                mode.plan(self.broker.client_count());
            } else {
                mode.plan(1);
            }
            if !self.broker.send_away_one() {
                // Whoever still comes was accepted before, and goes at once.
                mode.next = now + GAP_MAX;
            }
        }
    }
}
