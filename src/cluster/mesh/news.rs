//! Telling servers of each other, and hearing of them.

use super::peer::Peer;
use super::{Action, Kind, Mesh, Target};
use crate::base::clock::Mono;
use crate::base::limits::ROUTE_TARGETS;
use crate::cluster::LinkId;
use crate::cluster::lanes::Lane;
use crate::options::cluster::RouteUrl;
use crate::proto::route_info::{RouteInfo, gossip};
use std::sync::Arc;

impl Mesh {
    /// Tells the other servers of one that is new.
    pub(super) fn forward(&mut self, link: LinkId, info: &RouteInfo) {
        let target = self.links.get(&link).and_then(|known| known.target);
        let kind = target.and_then(|id| self.targets.get(&id)).map(|t| &t.kind);
        let is_solicited = kind.is_some();
        let (is_explicit, passes_on) = match kind {
            None | Some(Kind::Explicit) => (is_solicited, true),
            Some(Kind::Implicit(_, mode)) => (false, *mode == gossip::OVERRIDE),
            Some(Kind::More(id, _)) => (self.is_explicit(id), self.is_explicit(id)),
        };
        if !passes_on {
            return;
        }
        let account = self.lane(link).and_then(Lane::account).cloned();
        if info.gossip_mode == gossip::DISABLED {
            return;
        }
        for (id, peer) in &self.peers {
            let first = match &account {
                Some(account) => peer.first_for(account).filter(|_| !peer.is_whole()),
                None => peer.first(),
            };
            let Some(first) = first.filter(|_| *id != info.server_id) else {
                continue;
            };
            let overrides = match is_solicited {
                true => is_explicit,
                false => self.is_explicit(id),
            };
            let gossip_mode = match (overrides, is_solicited) {
                (true, _) => gossip::OVERRIDE,
                (false, false) => gossip::DISABLED,
                (false, true) => gossip::DEFAULT,
            };
            let info = RouteInfo {
                gossip_mode,
                ..info.clone()
            };
            self.actions.push(Action::Forward(first, Box::new(info)));
        }
    }

    /// Tells a server of all others, as what it was told on a connection that is gone may not have
    /// arrived. It is to pass that on: who came meanwhile was not told of them by anybody.
    pub(super) fn tell_of_all(&mut self, id: &str) {
        let Some(first) = self.peers.get(id).and_then(Peer::first) else {
            return;
        };
        for (other, peer) in &self.peers {
            if other != id {
                let info = RouteInfo {
                    gossip_mode: gossip::OVERRIDE,
                    ..peer.info.clone()
                };
                self.actions.push(Action::Forward(first, Box::new(info)));
            }
        }
    }

    /// A server gives an account a connection of its own, or has heard that another one knows.
    pub(super) fn hear_of_account(&mut self, link: LinkId, info: RouteInfo) {
        let account: Arc<str> = match &*info.route_account {
            "" => return,
            account => account.into(),
        };
        let own = self.spread.dedicated();
        if self.spread.size() > 0 && (own.contains(&account) || own.len() < ROUTE_TARGETS) {
            self.spread.dedicate(&account);
            self.actions.push(Action::Moved(account));
        }
        let answer = RouteInfo {
            route_account: String::new(),
            ..info
        };
        self.actions.push(Action::Agree(link, Box::new(answer)));
    }

    /// Another server told of one.
    pub(super) fn hear_of(&mut self, info: RouteInfo, now: Mono) {
        let id = info.server_id;
        if self.peers.contains_key(&id) || self.targets.len() >= ROUTE_TARGETS {
            return;
        }
        let is_known =
            |target: &Target| matches!(&target.kind, Kind::Implicit(own, _) if *own == id);
        if self.targets.values().any(is_known) {
            return;
        }
        let Ok(mut url) = RouteUrl::parse(&info.ip) else {
            log::error!("Error parsing URL from INFO: {:?}", info.ip);
            return;
        };
        let routes = &self.options.routes;
        let configured = |route: &RouteUrl| {
            route.is_at(&info.host, info.port) || route.is_at(&url.host, info.port)
        };
        if routes.iter().any(configured) {
            return;
        }
        (url.user, url.password) = match info.auth_required {
            true => (self.options.user.clone(), self.options.password.clone()),
            false => (None, None),
        };
        self.add(url, Kind::Implicit(id, info.gossip_mode), now);
    }
}
