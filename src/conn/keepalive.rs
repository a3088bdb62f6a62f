//! Whether the other side is still there: PINGs, the round trip they measure, and the verdict on
//! a peer that does not answer.

use crate::base::clock::Mono;
use crate::base::limits::{FIRST_PING, RTT_INTERVAL};
use std::time::Duration;

/// The ping state of one connection.
#[derive(Debug)]
pub struct Keepalive {
    /// When to look again.
    next: Mono,
    /// When a message, a subscription or a PING last came in.
    last_in: Mono,
    ping_sent: Mono,
    rtt: Option<Duration>,
    outstanding: u32,
}

/// What a look at the connection asks for.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Nothing yet.
    Quiet,
    /// A PING is due, and counted.
    Ping,
    /// Too many PINGs were not answered.
    Stale,
}

impl Keepalive {
    /// For a connection that has not said CONNECT yet; looks after a whole interval.
    pub fn new(now: Mono, interval: Duration) -> Keepalive {
        let next = now + interval;
        Keepalive {
            next,
            last_in: now,
            ping_sent: now,
            rtt: None,
            outstanding: 0,
        }
    }

    /// After CONNECT the first PING comes early, to learn the round trip time. `jitter` is a
    /// fraction of 65536 of up to a fifth more.
    pub fn handle_connect(&mut self, now: Mono, interval: Duration, jitter: u16) {
        let base = interval.min(FIRST_PING);
        self.next = now + base + (base / 5) * u32::from(jitter) / 65536;
    }

    pub fn handle_traffic(&mut self, now: Mono) {
        self.last_in = now;
    }

    /// The round trip is to be known soon: says whether a PING is due, which it counts.
    pub fn measure(&mut self, now: Mono) -> bool {
        let due = self.rtt.is_none() && self.outstanding == 0;
        if due {
            self.outstanding = 1;
            self.ping_sent = now;
        }
        due
    }

    pub fn handle_pong(&mut self, now: Mono) {
        if self.outstanding > 0 {
            self.outstanding = 0;
            self.rtt = Some(now.since(self.ping_sent).max(Duration::from_nanos(1)));
        }
    }

    /// The interval has become shorter or longer: what was planned by a longer one comes earlier.
    pub fn handle_interval(&mut self, now: Mono, interval: Duration) {
        self.next = self.next.min(now + interval);
    }

    /// When [`Keepalive::handle_timer`] wants to be called.
    pub fn deadline(&self) -> Mono {
        self.next
    }

    /// When a message, a subscription or a PING last came in.
    pub fn last_in(&self) -> Mono {
        self.last_in
    }

    /// The last measured round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Looks at the connection, at or after its deadline.
    pub fn handle_timer(&mut self, now: Mono, interval: Duration, ping_max: u32) -> Verdict {
        if now < self.next {
            return Verdict::Quiet;
        }
        let needs_rtt = self.rtt.is_none() || now.since(self.ping_sent) > RTT_INTERVAL;
        self.next = now + interval;
        if now.since(self.last_in) < interval && !needs_rtt {
            return Verdict::Quiet;
        }
        if self.outstanding + 1 > ping_max {
            return Verdict::Stale;
        }
        self.outstanding += 1;
        self.ping_sent = now;
        Verdict::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_secs(120);

    #[test]
    fn a_silent_client_is_stale_after_its_pings() {
        let mut k = Keepalive::new(Mono::ZERO, MINUTES);
        k.handle_connect(Mono::ZERO, MINUTES, 0);
        assert_eq!(k.deadline(), Mono::ZERO + FIRST_PING);
        assert_eq!(
            k.handle_timer(Mono::ZERO + Duration::from_secs(1), MINUTES, 2),
            Verdict::Quiet
        );
        for want in [Verdict::Ping, Verdict::Ping, Verdict::Stale] {
            let at = k.deadline();
            assert_eq!(k.handle_timer(at, MINUTES, 2), want);
        }
    }

    #[test]
    fn traffic_puts_the_ping_off_once_the_round_trip_is_known() {
        let mut k = Keepalive::new(Mono::ZERO, MINUTES);
        k.handle_connect(Mono::ZERO, MINUTES, u16::MAX);
        assert!(k.deadline() < Mono::ZERO + FIRST_PING * 6 / 5);
        k.handle_traffic(k.deadline());
        assert_eq!(k.handle_timer(k.deadline(), MINUTES, 2), Verdict::Ping);
        k.handle_pong(k.ping_sent + Duration::from_millis(3));
        assert_eq!(k.rtt(), Some(Duration::from_millis(3)));
        k.handle_traffic(k.deadline());
        assert_eq!(k.handle_timer(k.deadline(), MINUTES, 2), Verdict::Quiet);
        assert_eq!(k.handle_timer(k.deadline(), MINUTES, 2), Verdict::Ping);
    }
}
