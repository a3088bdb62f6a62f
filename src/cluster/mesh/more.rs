//! Having more than one connection with a server: where each belongs, and making those that are missing.

use super::{Action, Kind, Mesh, Refusal, State, Target, TargetId, known_peer};
use crate::base::clock::Mono;
use crate::base::limits::{
    ROUTE_BACKOFF_MAX, ROUTE_DECIDE, ROUTE_JITTER_MS, ROUTE_POOL_MAX, ROUTE_RETRY,
};
use crate::cluster::LinkId;
use crate::cluster::lanes::Lane;
use crate::options::cluster::RouteUrl;
use crate::proto::error::CloseReason;
use crate::proto::route_info::RouteInfo;
use std::sync::Arc;
use std::time::Duration;

impl Mesh {
    /// Where a connection belongs: its lane, if that is settled, and the size of the pool of both.
    pub(super) fn place(
        &self,
        link: LinkId,
        info: &RouteInfo,
    ) -> Result<(Option<Lane>, u32), Refusal> {
        let wrong = |text: String| {
            Err(Refusal {
                text: Some(text),
                reason: CloseReason::ProtocolViolation,
            })
        };
        let is_solicited = self.is_solicited(link);
        let account = match is_solicited {
            true => self.account(link).cloned(),
            false => Some(&*info.route_account)
                .filter(|account| !account.is_empty())
                .map(Arc::from),
        };
        if self.spread.size() == 0 || info.route_pool_size <= 0 {
            return match account {
                None => Ok((Some(Lane::Whole), 0)),
                Some(account) => wrong(format!(
                    "Not possible to have a dedicated route for account {account:?} between those \
                     servers"
                )),
            };
        }
        let theirs = u32::try_from(info.route_pool_size).unwrap_or(ROUTE_POOL_MAX);
        let size = theirs.min(ROUTE_POOL_MAX).max(self.spread.size());
        let index = info.route_pool_idx;
        let announced = u32::try_from(index).ok().filter(|index| *index < size);
        match (is_solicited, announced, account) {
            (true, ..) if index != 0 => wrong(format!(
                "Route pool index should not be set but is set to {index}"
            )),
            (_, None, _) => wrong(format!(
                "Invalid route pool index: {index} - pool size is {}",
                info.route_pool_size
            )),
            (_, _, Some(account)) if !self.spread.dedicated().contains(&account) => {
                wrong(format!("No route for account {account:?}"))
            }
            (_, _, Some(account)) => Ok((Some(Lane::Account(account)), size)),
            (true, ..) => Ok((None, size)),
            (false, Some(index), None) => Ok((Some(Lane::Pool(index)), size)),
        }
    }

    /// A server has answered on a connection. If this one made it, it makes more of them.
    pub fn handle_pong(&mut self, link: LinkId, now: Mono) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        let is_news = !std::mem::replace(&mut known.confirmed, true);
        let (Some(id), Some(lane)) = (&known.peer, &known.lane) else {
            return;
        };
        let Some(target) = known.target.filter(|_| is_news) else {
            return;
        };
        let (id, account) = (id.clone(), lane.account().cloned());
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.wants.entry(account).or_default().setbacks = 0;
        }
        if let Some(Kind::More(peer, account)) = self.targets.get(&target).map(|t| &t.kind)
            && let Some(peer) = self.peers.get_mut(peer)
            && let Some(want) = peer.wants.get_mut(account)
        {
            want.target = None;
        }
        // Where both make connections, the one with the greater id waits a moment.
        let mut links = self.links_with(&id).into_iter();
        let waits = *self.id > *id && links.any(|other| !self.is_solicited(other));
        let delay = if waits { ROUTE_DECIDE } else { Duration::ZERO };
        self.want_missing(&id, now + delay);
    }

    /// Has the connections made that are missing, unless it is to be tried later anyway.
    pub(super) fn want_missing(&mut self, id: &str, at: Mono) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        for account in peer.missing(&self.spread) {
            let want = peer.wants.entry(account).or_default();
            if want.target.is_none() && want.due.is_none() {
                want.due = Some(at);
            }
        }
    }

    /// A try to have one more connection came to nothing. Says how often that happened.
    pub(super) fn set_back(&mut self, id: &str, account: &Option<Arc<str>>, now: Mono) -> u32 {
        let jitter = Duration::from_millis(self.rng.below(ROUTE_JITTER_MS) as u64);
        let Some(peer) = self.peers.get_mut(id) else {
            return 1;
        };
        let want = peer.wants.entry(account.clone()).or_default();
        want.target = None;
        want.setbacks = want.setbacks.saturating_add(1);
        let delay = ROUTE_RETRY * (1 << (want.setbacks - 1).min(10));
        want.due = Some(now + delay.min(ROUTE_BACKOFF_MAX) + jitter);
        want.setbacks
    }

    /// Dials the servers with which a connection is missing, if this server has to.
    pub(super) fn make_more(&mut self, now: Mono) {
        let mut wanted = Vec::new();
        for (id, peer) in &mut self.peers {
            let is_due = |due: Option<Mono>| due.is_some_and(|at| at <= now);
            if !peer.wants.values().any(|want| is_due(want.due)) {
                continue;
            }
            let missing = peer.missing(&self.spread);
            for (account, want) in &mut peer.wants {
                if is_due(want.due) {
                    want.due = None;
                    if want.target.is_none() && missing.contains(account) {
                        wanted.push((id.clone(), account.clone()));
                    }
                }
            }
        }
        for (id, account) in wanted {
            let Some(url) = self.way_to(&id) else {
                continue;
            };
            let target = TargetId(self.next_target);
            self.next_target += 1;
            self.targets.insert(
                target,
                Target {
                    url: url.clone(),
                    kind: Kind::More(id.clone(), account.clone()),
                    state: State::Dialling,
                    attempts: 0,
                },
            );
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.wants.entry(account).or_default().target = Some(target);
            }
            self.actions.push(Action::Dial(target, url));
        }
    }

    /// Where a server was found, if this one looked for it; of several places, one that is configured.
    fn way_to(&self, id: &str) -> Option<RouteUrl> {
        let leads = |target: &&Target| match &target.kind {
            Kind::More(..) => false,
            Kind::Explicit | Kind::Implicit(..) => self.leads_to(target, id),
        };
        let leading = self.targets.values().filter(leads);
        let best = leading.min_by_key(|target| target.kind != Kind::Explicit)?;
        Some(best.url.clone())
    }

    pub(super) fn leads_to(&self, target: &Target, id: &str) -> bool {
        match &target.state {
            State::Covered(peer) => peer == id,
            State::Open(link) => known_peer(&self.links, *link).as_deref() == Some(id),
            State::Due(_) | State::Dialling | State::Own => false,
        }
    }
}
