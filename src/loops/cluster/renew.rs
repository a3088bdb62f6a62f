//! What a reload changes of being part of a cluster, while the connections stay.

use super::conn::Phase;
use super::{ClusterLoop, Site};
use crate::accounts::permissions::Permissions;
use crate::base::clock::Mono;
use crate::base::secret::Secret;
use crate::broker::PasswordCheck;
use crate::cluster::LinkId;
use crate::cluster::local::Cursor;
use crate::proto::route_info::RouteInfo;
use log::info;
use subtle::ConstantTimeEq;

/// Whether a server may connect with what it gave.
pub(super) enum Judgement {
    Right,
    Wrong,
    /// Whether the password fits this hash, which takes a while to find out.
    Ask(Secret),
}

impl ClusterLoop {
    /// New connections are secured so, and others told this, from now on.
    pub(super) fn renew_site(&mut self, site: Site) {
        self.place = site.place;
        self.tls = site.tls;
    }

    /// Takes over the options of the cluster. Connections stay as they are, but for those that this
    /// server does not want to make any more, or that the other one may not.
    pub(super) fn renew_options(&mut self, now: Mono) {
        let own = self.facts.options.cluster.clone().unwrap_or_default();
        if own != self.options {
            let old = std::mem::replace(&mut self.options, own.clone());
            if let Some(name) = own.name.as_deref().filter(|n| *n != self.mesh.cluster()) {
                info!("Cluster name updated to {name}");
                self.mesh.rename(name);
            }
            let permissions_differ = old.permissions != own.permissions;
            let secrets_differ = (&old.user, &old.password) != (&own.user, &own.password);
            let spread = super::spread(&own, &self.facts);
            self.mesh.renew(own, spread, now);
            if permissions_differ {
                self.renew_permissions();
            }
            if secrets_differ {
                self.judge_again(now);
            }
            // Pings may be due earlier.
            self.look_at = Some(now);
        }
        self.tell_clients();
        let said = self.sayings();
        if said != self.said {
            self.said = said;
            self.tell_servers();
        }
        if !self.former.is_empty() {
            // Behind INFO, as those are told that have always been.
            self.review_all();
        }
    }

    /// What this server says of itself, as far as that is worth to be said again. A name that changed
    /// is for those that connect later; those that are connected would leave.
    pub(super) fn sayings(&mut self) -> RouteInfo {
        RouteInfo {
            nonce: String::new(),
            cluster: String::new(),
            ..self.own_info()
        }
    }

    /// Tells all servers again what this one says of itself, on each connection.
    pub(super) fn tell_servers(&mut self) {
        let info = self.own_info();
        let peers = self.mesh.peers();
        let links = peers.flat_map(|(_, peer)| self.mesh.links(&peer.server_id));
        let links: Vec<LinkId> = links.collect();
        for link in links {
            self.scratch.clear();
            info.write(&mut self.scratch);
            self.send_scratch(link);
        }
    }

    fn renew_permissions(&mut self) {
        // The subjects were checked with the options.
        let configured = self.options.permissions.as_ref();
        let permissions = configured.and_then(|p| Permissions::new(p).ok());
        let old = std::mem::replace(&mut self.permissions, permissions);
        self.former.push(old);
        if let Some(permissions) = &self.permissions {
            // What is exported again, others tell as they hear of it.
            let is_exported = |subject: &[u8]| permissions.may_subscribe(subject, None);
            self.remote.retain(is_exported);
        }
    }

    fn review_all(&mut self) {
        for token in self.conns.tokens() {
            if let Some(conn) = self.conns.get_mut(token)
                && conn.phase == Phase::Open
                && conn.cursor.is_some()
            {
                conn.review = Some(Cursor::START);
                self.telling = true;
            }
        }
    }

    /// Tells a server everything once more, as it takes what it did not before.
    pub(super) fn review(&mut self, link: LinkId) {
        let token = self.by_link.get(&link).copied();
        if let Some(conn) = token.and_then(|token| self.conns.get_mut(token))
            && conn.cursor.is_some()
        {
            conn.review = Some(Cursor::START);
            self.telling = true;
        }
    }

    /// What the options say of somebody who gives this name and password.
    pub(super) fn judge(&self, name: &str, password: &Secret) -> Judgement {
        let Some(user) = &self.options.user else {
            return Judgement::Right;
        };
        let own = self.options.password.clone().unwrap_or_default();
        let same_user = user.as_bytes().ct_eq(name.as_bytes());
        if bool::from(same_user) && own.is_bcrypt() {
            return Judgement::Ask(own);
        }
        let given = password.reveal().as_bytes();
        match bool::from(same_user & own.reveal().as_bytes().ct_eq(given)) {
            true => Judgement::Right,
            false => Judgement::Wrong,
        }
    }

    /// Servers that connected to this one have to know the new secret.
    fn judge_again(&mut self, now: Mono) {
        let mut turned_away = Vec::new();
        for token in self.conns.tokens() {
            let Some(conn) = self.conns.get_mut(token) else {
                continue;
            };
            if !matches!(conn.phase, Phase::Open | Phase::Introducing { .. }) {
                continue;
            }
            let Some(given) = conn.credentials.clone() else {
                continue;
            };
            match self.judge(&given.0, &given.1) {
                Judgement::Right => {}
                Judgement::Wrong => turned_away.push(token),
                Judgement::Ask(hash) => {
                    self.next_ticket += 1;
                    let ticket = self.next_ticket;
                    let deadline = now + self.handshake_time();
                    if let Some(conn) = self.conns.get_mut(token) {
                        conn.recheck = Some(ticket);
                    }
                    self.checks.push(PasswordCheck {
                        client: 0,
                        ticket,
                        hash,
                        password: given.1.clone(),
                        deadline,
                    });
                }
            }
        }
        for token in turned_away {
            self.turn_away(token, now);
        }
    }
}
