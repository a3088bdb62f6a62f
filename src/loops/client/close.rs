//! Closing sockets so that the last words arrive, and giving back what they held.

use super::{ClientLoop, Peers, turn};
use crate::base::clock::{self, Mono};
use crate::base::limits::{LAST_WORDS, LINGER};
use crate::broker::Flushed;
use crate::loops::link::State;
use crate::os::malloc;
use crate::proto::error::CloseReason;
use log::debug;
use mio::Token;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// Closed sockets that may linger at a time; more are closed at once.
const LINGERING_MAX: usize = 1024;

/// How often memory that is not used is freed.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes freed from which on the allocator is asked to give them back to the system, and how many
/// a closed connection counts for.
const GIVE_BACK_BYTES: usize = 1 << 20;
const CONNECTION_BYTES: usize = 1 << 10;

impl ClientLoop {
    /// Closes the sockets of clients that the broker closed.
    pub(super) fn close_closing(&mut self, now: Mono) {
        let mut closing = Vec::new();
        self.broker.take_closing(&mut closing);
        for (client, reason) in closing {
            let Some(token) = self.broker.link(client).map(Token) else {
                continue;
            };
            self.peers.connections[self.index()].fetch_sub(1, Ordering::Relaxed);
            let link = self.links.get_mut(token);
            let shaking = link.is_some_and(|link| link.tls.is_shaking_hands());
            if reason == CloseReason::TlsHandshakeFailure {
                self.broker.forget_output(client);
                self.close_softly(token, now);
                continue;
            }
            if shaking || !reason.flushes() || self.lingering >= LINGERING_MAX {
                self.broker.forget_output(client);
                self.forget(token);
                continue;
            }
            self.broker.flush(client, &mut turn!(self, now));
            let linger = !matches!(
                reason,
                CloseReason::ClientClosed | CloseReason::ServerShutdown
            );
            let Some(link) = self.links.get_mut(token) else {
                continue;
            };
            self.lingering += 1;
            link.last_words = self.broker.take_output(client);
            link.state = State::Flushing {
                until: now + LAST_WORDS,
                progress: now,
                linger,
            };
            if link.last_words.is_some() {
                self.set_timer(token, now + self.write_deadline);
            } else {
                self.linger(token, now);
            }
        }
    }

    /// Closes a connection without its pending output, but so that what was written already, such as
    /// the alert that says why a handshake failed, is not lost in a reset.
    fn close_softly(&mut self, token: Token, now: Mono) {
        match self.links.get_mut(token) {
            Some(link) if self.lingering < LINGERING_MAX => {
                link.state = State::Flushing {
                    until: now,
                    progress: now,
                    linger: true,
                };
                self.lingering += 1;
                self.linger(token, now);
            }
            _ => self.forget(token),
        }
    }

    /// Goes on writing what was queued for a closed connection.
    pub(super) fn flush_last_words(&mut self, token: Token, now: Mono) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let Some(mut out) = link.last_words.take() else {
            return;
        };
        let before = out.pending();
        let flushed = self
            .broker
            .flush_output(&mut out, token.0, &mut turn!(self, now));
        match flushed {
            Flushed::Done => self.linger(token, now),
            Flushed::Failed => self.forget(token),
            Flushed::Blocked => {
                if let Some(link) = self.links.get_mut(token) {
                    if let State::Flushing { progress, .. } = &mut link.state
                        && out.pending() < before
                    {
                        *progress = now;
                    }
                    link.last_words = Some(out);
                }
            }
        }
    }

    /// All is written: waits for the peer to close if that is wise, or closes.
    fn linger(&mut self, token: Token, now: Mono) {
        if let Some(link) = self.links.get_mut(token) {
            link.say_goodbye();
        }
        match self.links.get_mut(token) {
            Some(link)
                if matches!(link.state, State::Flushing { linger: true, .. })
                    && link.stream.shutdown(Shutdown::Write).is_ok() =>
            {
                let until = now + LINGER;
                link.state = State::Lingering { until, drained: 0 };
                self.set_timer(token, until);
                self.handle_readable(token, false);
            }
            _ => self.forget(token),
        }
    }

    /// The next deadline of a closed connection; None if it has passed.
    pub(super) fn closing_deadline(&self, state: State, now: Mono) -> Option<Mono> {
        let at = match state {
            State::Open { .. } => return None,
            State::Lingering { until, .. } => until,
            State::Flushing {
                until, progress, ..
            } => until.min(progress + self.write_deadline),
        };
        (at > now).then_some(at)
    }

    pub(super) fn forget(&mut self, token: Token) {
        let Some(mut link) = self.links.remove(token) else {
            return;
        };
        if !matches!(link.state, State::Open { .. }) {
            self.lingering -= 1;
        }
        if let Some(out) = link.last_words.take() {
            self.broker.discard_output(*out);
        }
        // Closing the socket deregisters it as well; this only keeps the order clean.
        let _ = self.poll.registry().deregister(&mut link.stream);
        self.freed += CONNECTION_BYTES;
        self.trim_at
            .get_or_insert_with(|| clock::mono() + TRIM_INTERVAL);
    }

    pub(super) fn trim(&mut self, now: Mono) {
        match self.trim_at {
            Some(at) if at <= now => {
                self.freed += self.broker.trim();
                self.reads.trim();
                let more = self.broker.holds_spare_memory();
                self.trim_at = more.then(|| now + TRIM_INTERVAL);
                if !more && self.freed >= GIVE_BACK_BYTES {
                    self.freed = 0;
                    give_back(&self.peers);
                }
            }
            None if self.broker.holds_spare_memory() => self.trim_at = Some(now + TRIM_INTERVAL),
            _ => {}
        }
    }
}

/// Gives freed memory back to the system. That takes milliseconds, and so a thread of its own.
fn give_back(peers: &Arc<Peers>) {
    if peers.giving_back.swap(true, Ordering::Relaxed) {
        return;
    }
    let shared = peers.clone();
    let work = move || {
        malloc::trim();
        shared.giving_back.store(false, Ordering::Relaxed);
    };
    if let Err(e) = thread::Builder::new().name("give-back".into()).spawn(work) {
        debug!("No thread to give memory back: {e}");
        peers.giving_back.store(false, Ordering::Relaxed);
    }
}
