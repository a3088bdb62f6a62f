//! Messages of this server's clients on their way to other servers.

use super::ClusterLoop;
use super::conn::Phase;
use crate::accounts::interest::Target;
use crate::base::clock::Mono;
use crate::base::limits::FLUSH_EARLY;
use crate::base::rng::Rng;
use crate::broker::batch::{Batch, Destination, Traced};
use crate::broker::message::Message;
use crate::broker::tracing::Crossing;
use crate::cluster::LinkId;
use crate::cluster::remote::{RemoteInterest, RemoteSub};
use crate::proto::route::{Subject, write_message};
use crate::proto::route_info::PROTO;
use crate::routing::route::Route;
use log::trace;

/// A server that gets a message, the subscription that says so, and the queue groups of which a
/// member there gets it.
pub(super) struct Hit {
    link: LinkId,
    sub: Target,
    groups: Vec<Target>,
}

impl ClusterLoop {
    /// Passes on what clients published, each message once to each server.
    pub(super) fn pass_on(&mut self, batch: &Batch, now: Mono) {
        let mut hits = std::mem::take(&mut self.hits);
        // The route that the hits are of, as messages often come in runs; the batch holds on to it.
        let mut of: Option<*const Route> = None;
        batch.for_each(|message, to, _| {
            let (route, member, traced) = match to {
                Destination::Plain(route) => (route, None, None),
                Destination::Member(route, pick) => (&**route, Some(pick), None),
                Destination::Traced(traced) => (&**traced.route(), traced.member(), Some(traced)),
            };
            if let Some(pick) = member {
                of = None;
                hits.clear();
                self.find_other(route, pick.group, &mut hits);
            } else if of != Some(std::ptr::from_ref(route)) {
                hits.clear();
                self.find_all(route, &mut hits);
                // Members of groups are picked for each message anew.
                let has_groups = route.far().is_some_and(|far| !far.groups.is_empty());
                of = (!has_groups).then(|| std::ptr::from_ref(route));
            }
            for hit in &hits {
                match traced {
                    Some(traced) => self.send_traced(message, traced, hit, now),
                    None => self.send_message(message, hit, now),
                }
            }
        });
        self.hits = hits;
    }

    /// All servers that get a message on a route.
    fn find_all(&mut self, route: &Route, hits: &mut Vec<Hit>) {
        let Some(far) = route.far() else {
            return;
        };
        for target in &far.plain {
            if let Some(sub) = self.remote.get(*target)
                && hits.iter().all(|hit| hit.link != sub.link)
            {
                hits.push(Hit {
                    link: sub.link,
                    sub: *target,
                    groups: Vec::new(),
                });
            }
        }
        for group in &far.groups {
            let Some((member, link)) = pick(&self.remote, group, &mut self.rng, |_| true) else {
                continue;
            };
            match hits.iter_mut().find(|hit| hit.link == link) {
                Some(hit) => hit.groups.push(member),
                None => hits.push(Hit {
                    link,
                    sub: member,
                    groups: vec![member],
                }),
            }
        }
    }

    /// A server with members of a queue group of which nobody here could take the message. Those with
    /// other subscriptions have got it already, and would deliver it to them a second time.
    fn find_other(&mut self, route: &Route, group: usize, hits: &mut Vec<Hit>) {
        let Some(far) = route.far() else {
            return;
        };
        let Some(members) = far.also(group) else {
            return;
        };
        let remote = &self.remote;
        let has_it = |link: LinkId| {
            let mut plain = far.plain.iter().filter_map(|target| remote.get(*target));
            plain.any(|sub| sub.link == link)
        };
        if let Some((member, link)) = pick(remote, members, &mut self.rng, |l| !has_it(l)) {
            hits.push(Hit {
                link,
                sub: member,
                groups: vec![member],
            });
        }
    }

    /// Sends a message of which it is told where it goes.
    #[cold]
    fn send_traced(&mut self, message: &Message<'_>, traced: &Traced, hit: &Hit, now: Mono) {
        let headers = self.by_link.get(&hit.link).copied();
        let headers = headers.and_then(|token| self.conns.get_mut(token));
        let headers = headers.is_some_and(|conn| conn.headers);
        let Some(info) = self.mesh.info(hit.link) else {
            return;
        };
        let to = Crossing {
            rid: hit.link.0,
            name: &info.server_name,
            traces: headers && info.proto >= PROTO,
        };
        let mut payload = Vec::new();
        if let Some(message) = traced.cross(message, &to, now, &mut payload) {
            self.send_message(&message, hit, now);
        }
    }

    fn send_message(&mut self, message: &Message<'_>, hit: &Hit, now: Mono) {
        let Some(token) = self.by_link.get(&hit.link).copied() else {
            return;
        };
        let Some(conn) = self
            .conns
            .get_mut(token)
            .filter(|c| c.phase != Phase::Closed)
        else {
            return;
        };
        let Some(account) = self.remote.get(hit.sub).map(RemoteSub::account_name) else {
            return;
        };
        let mut plain = Vec::new();
        let stripped;
        let message = match message.header_len.is_some() && !conn.headers {
            true => {
                stripped = message.without_headers(&mut plain);
                &stripped
            }
            false => message,
        };
        let to = Subject {
            account: conn.named(account),
            subject: message.subject(),
        };
        let subs = hit
            .groups
            .iter()
            .filter_map(|target| self.remote.get(*target));
        let queues = subs.filter_map(RemoteSub::queue);
        let sizes = (message.header_len, message.size());
        self.scratch.clear();
        write_message(&mut self.scratch, &to, message.reply, queues, sizes);
        if self.facts.options.log.trace {
            let line = String::from_utf8_lossy(&self.scratch);
            trace!("{} - ->> [{}]", conn.label(), line.trim_end());
        }
        let pool = &mut self.pool;
        match message.shared {
            Some(shared) => {
                conn.out.push(&self.scratch, pool);
                conn.out.share(shared.clone(), pool);
            }
            None => {
                let line = self.scratch.len();
                let room = conn.out.room(line + message.payload.len(), pool);
                room[..line].copy_from_slice(&self.scratch);
                room[line..].copy_from_slice(message.payload);
            }
        }
        conn.sent.count(message.size());
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(token);
        }
        if conn.blocked.is_none() && conn.out.pending() >= FLUSH_EARLY {
            self.flush_one(token, now);
        }
    }
}

/// One of the members of a queue group, by their servers' weights.
fn pick(
    remote: &RemoteInterest,
    members: &[Target],
    rng: &mut Rng,
    may: impl Fn(LinkId) -> bool,
) -> Option<(Target, LinkId)> {
    let there = || {
        let subs = members.iter().filter_map(|t| Some((*t, remote.get(*t)?)));
        subs.filter(|(_, sub)| may(sub.link))
    };
    let total: usize = there().map(|(_, sub)| sub.weight as usize).sum();
    let mut at = rng.below(total);
    for (target, sub) in there() {
        match at.checked_sub(sub.weight as usize) {
            Some(rest) => at = rest,
            None => return Some((target, sub.link)),
        }
    }
    None
}
