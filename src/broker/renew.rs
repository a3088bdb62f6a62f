//! What changes for clients while they are connected: options that were reloaded, and lame duck
//! mode.

use super::{Broker, ClusterView, Facts};
use crate::base::clock::Mono;
use crate::base::limits::INFORM_BUDGET;
use crate::conn::client::Client;
use crate::proto::error::{ClientError, CloseReason};
use log::error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Broker {
    /// Goes on with other facts. If they make another INFO, [`Broker::inform`] has work. Clients whose pings come
    /// at other times from now on are listed by [`Broker::take_stalled`].
    pub fn renew(&mut self, facts: Arc<Facts>, now: Mono) {
        let old = std::mem::replace(&mut self.facts, facts);
        let was = &old.options;
        let new = &self.facts.options;
        self.delivery.adapt(new);
        self.routes.clear();
        self.judge_again();
        let new = &self.facts.options;
        if new.ping_interval != was.ping_interval {
            let interval = new.ping_interval;
            for slot in self.delivery.open_slots() {
                if let Some(client) = self.delivery.clients.get_mut(slot) {
                    client.keepalive.handle_interval(now, interval);
                }
                self.delivery.stalled.push(slot);
            }
        }
        let info = |facts: &Facts| (facts.host.clone(), facts.port, facts.options.max_payload);
        if info(&self.facts) != info(&old) && !self.lame_duck {
            self.uninformed = self.delivery.open_slots();
        }
    }

    /// The servers of the cluster are others, or its name is; [`Broker::inform`] tells the clients.
    pub fn show_cluster(&mut self, view: Arc<ClusterView>) {
        let told = view.urls != self.view.urls;
        self.view = view;
        if told && !self.lame_duck {
            self.uninformed = self.delivery.open_slots();
        }
    }

    /// From now on INFO tells clients that they will be disconnected; [`Broker::inform`] sends it.
    pub fn enter_lame_duck(&mut self) {
        if !self.lame_duck {
            self.lame_duck = true;
            self.uninformed = self.delivery.open_slots();
        }
    }

    /// Sends INFO to some of those who are to be told what has changed; says whether there are
    /// more.
    pub fn inform(&mut self) -> bool {
        for _ in 0..INFORM_BUDGET {
            let Some(slot) = self.uninformed.pop() else {
                return false;
            };
            let client = self.delivery.clients.get(slot);
            if client.is_some_and(Client::expects_info) {
                self.send_info(slot, false);
            }
        }
        !self.uninformed.is_empty()
    }

    /// Clients that are connected.
    pub fn client_count(&self) -> usize {
        self.delivery.open_slots().len()
    }

    /// Disconnects a client in lame duck mode. False if there is none.
    pub fn send_away_one(&mut self) -> bool {
        if self.leaving.is_empty() {
            self.leaving = self.delivery.open_slots();
        }
        while let Some(slot) = self.leaving.pop() {
            if !self.delivery.is_closed(slot) {
                self.close(slot, CloseReason::ServerShutdown);
                return true;
            }
        }
        false
    }

    /// Closes `count` clients, picked at random, since there are more than may be.
    pub fn shed(&mut self, count: usize) {
        let mut slots = self.delivery.open_slots();
        for _ in 0..count.min(slots.len()) {
            let slot = slots.swap_remove(self.rng.below(slots.len()));
            let label = self.delivery.label(slot);
            error!("{label} - maximum connections exceeded");
            self.delivery.error(slot, ClientError::ConnectionsExceeded);
            self.close(slot, CloseReason::MaxConnectionsExceeded);
        }
    }

    /// An account has more clients in all servers than may be: those that came last are closed, as many
    /// as are still too many.
    pub fn shed_account(&mut self, number: u32) {
        let facts = self.facts.clone();
        let Some(tenant) = facts.accounts.tenant(number) else {
            return;
        };
        let clients = &self.delivery.clients;
        let mut slots: Vec<(u64, u32)> = clients
            .iter()
            .filter(|(_, c)| !c.is_closed() && c.grant.is_some() && c.account.number == number)
            .map(|(slot, c)| (c.id.0, slot))
            .collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        for (_, slot) in slots {
            let excess = &tenant.account.excess;
            let less = |n: usize| n.checked_sub(1);
            let taken = excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            if taken.is_err() {
                break;
            }
            let error = ClientError::AccountConnectionsExceeded;
            error!("{} - {error}", self.delivery.label(slot));
            self.delivery.error(slot, error);
            self.close(slot, CloseReason::MaxAccountConnectionsExceeded);
        }
    }
}
