//! Holding producers back for a bounded time when all that they feed is far behind.

use super::ClientLoop;
use crate::base::clock::Mono;
use crate::base::limits::HOLD_BACK;
use crate::loops::inbox::{Inbox, Mail};
use crate::loops::link::{Hold, Link, State};
use log::error;
use mio::Token;

impl ClientLoop {
    /// Stops reading from producers for a moment: from those whose messages all went to
    /// subscribers far behind, and from those that feed a loop that cannot keep up.
    pub(super) fn hold_producers(&mut self, now: Mono) {
        let mut crossing = std::mem::take(&mut self.slots);
        self.broker.take_crossing(&mut crossing);
        let peers = self.peers.clone();
        let overloaded = peers.all().any(Inbox::is_overloaded);
        for client in crossing.drain(..).filter(|_| overloaded) {
            self.hold_back(client, now);
        }
        self.slots = crossing;
        let mut held = Vec::new();
        self.broker.take_held_back(&mut held);
        held.dedup();
        for (owner, client) in held {
            let owner_index = usize::from(owner.0);
            if owner == self.me {
                self.hold_back(client, now);
            } else if let Some(inbox) = peers.inboxes.get(owner_index)
                && let Err(e) = inbox.send(Mail::HoldBack(client))
            {
                error!("Error waking a client loop: {e}");
            }
        }
    }

    pub(super) fn hold_back(&mut self, client: u32, now: Mono) {
        let Some(token) = self.broker.link(client).map(Token) else {
            return;
        };
        if !self.is_held(token) && !self.is_verifying(token) {
            self.set_hold(token, Hold::Held);
            self.broker.note_stall(client);
            self.held.push_back((now + HOLD_BACK, token));
        }
    }

    /// Reads again from those that were held back for long enough.
    pub(super) fn release(&mut self, now: Mono) {
        while let Some((until, token)) = self.held.front().copied() {
            if until > now {
                return;
            }
            self.held.pop_front();
            if self.is_held(token) {
                self.set_hold(token, Hold::Released);
                self.handle_readable(token, false);
            }
        }
    }

    pub(super) fn is_held(&mut self, token: Token) -> bool {
        let state = self.links.get_mut(token).map(|l| l.state);
        matches!(
            state,
            Some(State::Open {
                hold: Hold::Held,
                ..
            })
        )
    }

    fn is_verifying(&mut self, token: Token) -> bool {
        let state = self.links.get_mut(token).map(|l| l.state);
        matches!(
            state,
            Some(State::Open {
                hold: Hold::Verifying,
                ..
            })
        )
    }

    pub(super) fn set_hold(&mut self, token: Token, to: Hold) {
        if let Some(Link {
            state: State::Open { hold, .. },
            ..
        }) = self.links.get_mut(token)
        {
            *hold = to;
        }
    }
}
