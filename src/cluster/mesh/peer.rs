//! Another server, and the connections with it.

use super::TargetId;
use crate::base::clock::Mono;
use crate::cluster::LinkId;
use crate::cluster::lanes::{Lane, Spread};
use crate::proto::route_info::RouteInfo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Another server that this one is connected with.
pub(super) struct Peer {
    /// The connections with it. Interest is told on the first one of each lane.
    lanes: BTreeMap<Lane, Vec<LinkId>>,
    pub(super) info: RouteInfo,
    /// Places in the pool of both; zero: there is one connection for everything.
    pub(super) size: u32,
    /// When it is to be decided which of several connections of a lane stays.
    pub(super) decide_at: Option<Mono>,
    /// Attempts to have more connections: one of the pool, or one for an account.
    pub(super) wants: BTreeMap<Option<Arc<str>>, Want>,
}

/// An attempt to have one more connection.
#[derive(Default)]
pub(super) struct Want {
    /// When to try.
    pub(super) due: Option<Mono>,
    /// Tries in a row that came to nothing.
    pub(super) setbacks: u32,
    /// The try that is under way, or what has become of it.
    pub(super) target: Option<TargetId>,
}

/// What a connection was.
pub(super) struct Left {
    /// Whether interest was told on it.
    pub(super) was_first: bool,
    /// The connection that takes its place.
    pub(super) next: Option<LinkId>,
}

impl Peer {
    pub(super) fn new(info: RouteInfo, size: u32) -> Peer {
        Peer {
            lanes: BTreeMap::new(),
            info,
            size,
            decide_at: None,
            wants: BTreeMap::new(),
        }
    }

    /// Whether it closes one of two connections as soon as it knows of both, as the reference's servers
    /// do, whatever its id.
    pub(super) fn decides_at_once(&self) -> bool {
        self.info.go.starts_with("go")
    }

    /// The connection on which to tell it what is about the server.
    pub(super) fn first(&self) -> Option<LinkId> {
        self.lanes.values().next()?.first().copied()
    }

    /// The connection on which to tell it what is about an account's connections.
    pub(super) fn first_for(&self, account: &Arc<str>) -> Option<LinkId> {
        let lane = Lane::Account(account.clone());
        let own = self.lanes.get(&lane).and_then(|links| links.first());
        own.copied().or_else(|| self.first())
    }

    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.lanes.values().flatten().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn has(&self, lane: &Lane) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Whether there is a connection that is not for one account alone.
    pub(super) fn has_general(&self) -> bool {
        self.lanes.keys().any(|lane| lane.account().is_none())
    }

    /// Whether there is one connection for everything, as opposed to a pool.
    pub(super) fn is_whole(&self) -> bool {
        self.size == 0
    }

    /// The first place in the pool without a connection.
    pub(super) fn free_place(&self) -> Option<u32> {
        (0..self.size).find(|index| !self.has(&Lane::Pool(*index)))
    }

    /// Adds a connection; says whether it is the first of its lane.
    pub(super) fn add(&mut self, lane: Lane, link: LinkId) -> bool {
        let links = self.lanes.entry(lane).or_default();
        links.push(link);
        links.len() == 1
    }

    /// Removes a connection, if there is such a one.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<Left> {
        let mut lanes = self.lanes.iter_mut();
        let (lane, links) = lanes.find(|(_, links)| links.contains(&link))?;
        let was_first = links.first() == Some(&link);
        links.retain(|other| *other != link);
        let (lane, next) = (lane.clone(), links.first().copied());
        if next.is_none() {
            self.lanes.remove(&lane);
        }
        if self.lanes.values().all(|links| links.len() < 2) {
            self.decide_at = None;
        }
        Some(Left { was_first, next })
    }

    /// Connections besides the first of their lanes.
    pub(super) fn superfluous(&self) -> impl Iterator<Item = LinkId> {
        let rest = self.lanes.values().map(|links| links.iter().skip(1));
        rest.flatten().copied()
    }

    /// The connections that are missing: one of the pool, or those for accounts.
    pub(super) fn missing(&self, spread: &Spread) -> Vec<Option<Arc<str>>> {
        if self.is_whole() {
            return Vec::new();
        }
        let of_pool = self.free_place().map(|_| None);
        let own = spread.dedicated().iter();
        let own = own.filter(|account| !self.has(&Lane::Account(Arc::clone(account))));
        of_pool
            .into_iter()
            .chain(own.map(|account| Some(account.clone())))
            .collect()
    }
}
