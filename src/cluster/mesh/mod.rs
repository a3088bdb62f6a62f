//! Which servers to connect to, and which connections to keep.
//!
//! Routes are configured (explicit), or other servers tell of them (implicit). A server connects to
//! every explicit route until it has it, and again when it has lost it; to implicit ones as often as
//! `connect_retries` allows.
//!
//! Two servers may connect to each other at the same time, or by two names of one of them. Either
//! side may hold a connection that the other thinks superfluous. Whoever closes one must not do so
//! while the other side closes the other one. So the server with the lower id decides, at once, since
//! what is told on the connection that goes has to be told again; the other one waits for that. The
//! reference's servers decide at once, whatever their id, so this one gives them a moment, and never
//! both sides do. Until it is decided, this server tells its interest on the first connection and
//! takes what comes on either.
//!
//! With most servers there is a pool of connections, and some accounts have one of their own: see
//! [`super::lanes`]. Whoever connected to a server also makes the others, one after the other, each
//! when the one before was answered. All of the above is so for each of them.
//!
//! Events go in with [`Mesh::opened`], [`Mesh::handle_connect`], [`Mesh::handle_info`],
//! [`Mesh::dial_failed`], [`Mesh::closed`] and [`Mesh::handle_timer`]; after each, what is to be done
//! comes out of [`Mesh::take_actions`].

mod more;
mod news;
mod peer;

use super::LinkId;
use super::lanes::{Lane, Spread};
use crate::base::address;
use crate::base::clock::Mono;
use crate::base::limits::{
    ROUTE_BACKOFF_MAX, ROUTE_DECIDE, ROUTE_DECIDE_LATE, ROUTE_JITTER_MS, ROUTE_RETRY,
};
use crate::base::rng::Rng;
use crate::options::cluster::{ClusterOptions, RouteUrl};
use crate::proto::error::CloseReason;
use crate::proto::route_info::{RouteConnect, RouteInfo, gossip};
use log::{debug, info};
use peer::Peer;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Names a server to connect to; no two ever have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TargetId(u64);

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Connect to a server; the outcome goes to [`Mesh::opened`] or [`Mesh::dial_failed`].
    Dial(TargetId, RouteUrl),
    /// From now on, tell this connection what this server's subscribers listen to.
    Register(LinkId),
    /// Close a connection, and report that to [`Mesh::closed`].
    Close(LinkId, CloseReason),
    /// Tell this connection all of it once more, as the server there takes more of it now.
    Review(LinkId),
    /// Send an INFO about another server.
    Forward(LinkId, Box<RouteInfo>),
    /// Answer what was said on a connection about an account that has its own from now on.
    Agree(LinkId, Box<RouteInfo>),
    /// Forget what other servers told of that account on connections of pools.
    Moved(Arc<str>),
    /// The cluster's name is another one.
    Renamed,
    /// Servers came or went, or the addresses of their clients changed.
    Changed,
}

/// Why a connection cannot become a route: the text for the peer, and the reason for the log.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub text: Option<String>,
    pub reason: CloseReason,
}

/// The servers of a cluster, as one of them sees it.
pub struct Mesh {
    id: String,
    server_name: String,
    cluster: String,
    /// Whether the cluster's name was made up.
    is_dynamic: bool,
    options: ClusterOptions,
    spread: Spread,
    targets: BTreeMap<TargetId, Target>,
    next_target: u64,
    links: BTreeMap<LinkId, Link>,
    /// By their ids.
    peers: BTreeMap<String, Peer>,
    actions: Vec<Action>,
    rng: Rng,
}

struct Target {
    url: RouteUrl,
    kind: Kind,
    state: State,
    attempts: u32,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Explicit,
    /// The id of the server, and the gossip mode with which it was told of.
    Implicit(String, i64),
    /// One more connection with that server, for the pool or for an account.
    More(String, Option<Arc<str>>),
}

#[derive(Clone, PartialEq)]
enum State {
    /// To be dialled at this time.
    Due(Mono),
    Dialling,
    Open(LinkId),
    /// There is a connection with the server that was found there.
    Covered(String),
    /// It was this server itself.
    Own,
}

struct Link {
    target: Option<TargetId>,
    ip: IpAddr,
    /// The id of the server; none before its INFO.
    peer: Option<String>,
    /// What goes over it, as soon as it is one of the server's connections.
    lane: Option<Lane>,
    /// Whether the server has answered on it.
    confirmed: bool,
}

impl Mesh {
    /// A server without connections yet, with this id and name. `made_up` is the cluster's name if
    /// none is configured.
    pub fn new(
        (id, server_name): (&str, &str),
        (options, spread): (ClusterOptions, Spread),
        made_up: String,
        seed: u64,
        now: Mono,
    ) -> Mesh {
        let mut mesh = Mesh {
            id: id.into(),
            server_name: server_name.into(),
            is_dynamic: options.name.is_none(),
            cluster: options.name.clone().unwrap_or(made_up),
            options: options.clone(),
            spread: spread.clone(),
            targets: BTreeMap::new(),
            next_target: 0,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            actions: Vec::new(),
            rng: Rng::new(seed),
        };
        mesh.renew(options, spread, now);
        mesh
    }

    /// The cluster has another name, one that is configured. Servers that are connected stay so; those
    /// that connect have to know it.
    pub fn rename(&mut self, name: &str) {
        self.cluster = name.into();
        self.is_dynamic = false;
        self.actions.push(Action::Renamed);
    }

    /// Goes on with other options, of which the routes may be others; the name does not change. If
    /// accounts are spread in another way, or compression is another one, all connections are made
    /// anew.
    pub fn renew(&mut self, options: ClusterOptions, spread: Spread, now: Mono) {
        let is_kept = |target: &Target| options.routes.contains(&target.url);
        let is_gone = |target: &Target| target.kind == Kind::Explicit && !is_kept(target);
        let gone = self.targets.iter().filter(|(_, target)| is_gone(target));
        let gone: Vec<TargetId> = gone.map(|(id, _)| *id).collect();
        let mut closing = Vec::new();
        for id in gone {
            match self.targets.remove(&id).map(|target| target.state) {
                Some(State::Open(link)) => {
                    closing.push(link);
                    let peer = known_peer(&self.links, link);
                    closing.extend(peer.iter().flat_map(|id| self.links_with(id)));
                }
                Some(State::Covered(peer)) => closing.extend(self.links_with(&peer)),
                _ => {}
            }
        }
        let agreed = |o: &ClusterOptions| (o.pool_size, o.accounts.clone(), o.compression.clone());
        if agreed(&self.options) != agreed(&options) {
            self.spread = spread;
            closing.extend(self.links.keys());
        }
        closing.sort_unstable();
        closing.dedup();
        let close = |link| Action::Close(link, CloseReason::RouteRemoved);
        self.actions.extend(closing.into_iter().map(close));
        for url in &options.routes {
            let is = |target: &Target| target.kind == Kind::Explicit && target.url == *url;
            if !self.targets.values().any(is) {
                self.add(url.clone(), Kind::Explicit, now);
            }
        }
        let credentials = (&options.user, &options.password);
        if credentials != (&self.options.user, &self.options.password) {
            for target in self.targets.values_mut() {
                if target.kind != Kind::Explicit && target.url.user.is_some() {
                    (target.url.user, target.url.password) =
                        (options.user.clone(), options.password.clone());
                }
            }
        }
        self.options = options;
    }

    fn add(&mut self, url: RouteUrl, kind: Kind, now: Mono) {
        let id = TargetId(self.next_target);
        self.next_target += 1;
        let state = State::Due(now);
        let attempts = 0;
        self.targets.insert(
            id,
            Target {
                url,
                kind,
                state,
                attempts,
            },
        );
    }

    fn links_with(&self, peer: &str) -> Vec<LinkId> {
        let peer = self.peers.get(peer);
        peer.map_or(Vec::new(), |peer| peer.links().collect())
    }

    /// How this server spreads its accounts over connections.
    pub fn spread(&self) -> &Spread {
        &self.spread
    }

    /// What goes over a connection, as soon as it is one of its server's.
    pub fn lane(&self, link: LinkId) -> Option<&Lane> {
        self.links.get(&link)?.lane.as_ref()
    }

    /// The account of a connection: the one that it is made for, or the one it turned out to be for.
    pub fn account(&self, link: LinkId) -> Option<&Arc<str>> {
        let known = self.links.get(&link)?;
        if let Some(lane) = &known.lane {
            return lane.account();
        }
        match &self.targets.get(&known.target?)?.kind {
            Kind::More(_, account) => account.as_ref(),
            Kind::Explicit | Kind::Implicit(..) => None,
        }
    }

    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether it was made up.
    pub fn is_dynamic(&self) -> bool {
        self.is_dynamic
    }

    /// What is to be done since the last call, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The servers that this one is connected with, by id, each with the connection on which it is
    /// told of servers.
    pub fn peers(&self) -> impl Iterator<Item = (LinkId, &RouteInfo)> {
        let peers = self.peers.values();
        peers.filter_map(|peer| Some((peer.first()?, &peer.info)))
    }

    /// All connections with the server of that id.
    pub fn links(&self, id: &str) -> impl Iterator<Item = LinkId> {
        self.peers.get(id).into_iter().flat_map(Peer::links)
    }

    /// What the server at the other end said of itself.
    pub fn info(&self, link: LinkId) -> Option<&RouteInfo> {
        self.peer_of(link).map(|peer| &peer.info)
    }

    /// Whether the connection's server is configured as a route.
    pub fn is_configured(&self, link: LinkId) -> bool {
        let peer = self.links.get(&link).and_then(|link| link.peer.as_ref());
        peer.is_some_and(|id| self.is_explicit(id))
    }

    /// Whether this server made the connection.
    pub fn is_solicited(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| l.target.is_some())
    }

    /// The gossip mode for the first INFO on a connection.
    pub fn gossip_mode(&self, link: LinkId) -> i64 {
        let target = self.links.get(&link).and_then(|link| link.target);
        match target.and_then(|id| self.targets.get(&id)) {
            Some(Target {
                kind: Kind::Implicit(_, mode),
                ..
            }) => *mode,
            _ => gossip::DEFAULT,
        }
    }

    /// The credentials for a connection that this server made.
    pub fn url(&self, link: LinkId) -> Option<&RouteUrl> {
        let target = self.links.get(&link)?.target?;
        Some(&self.targets.get(&target)?.url)
    }

    /// A connection is open: one that this server made (`target`), or that it accepted. Says whether it
    /// is still wanted; if not, nothing is known of it.
    pub fn opened(&mut self, link: LinkId, target: Option<TargetId>, ip: IpAddr) -> bool {
        if target.is_some_and(|id| !self.targets.contains_key(&id)) {
            return false;
        }
        if let Some(target) = target.and_then(|id| self.targets.get_mut(&id)) {
            target.state = State::Open(link);
        }
        self.links.insert(
            link,
            Link {
                target,
                ip,
                peer: None,
                lane: None,
                confirmed: false,
            },
        );
        true
    }

    /// A server could not be connected to. Gives which attempt that was.
    pub fn dial_failed(&mut self, id: TargetId, now: Mono) -> u32 {
        let Some(target) = self.targets.get_mut(&id) else {
            return 0;
        };
        target.attempts = target.attempts.saturating_add(1);
        let attempts = target.attempts;
        if let Kind::More(peer, account) = target.kind.clone() {
            self.targets.remove(&id);
            return self.set_back(&peer, &account, now);
        }
        let gives_up = target.kind != Kind::Explicit && attempts > self.options.connect_retries;
        if gives_up {
            self.targets.remove(&id);
            return attempts;
        }
        let mut delay = ROUTE_RETRY;
        if self.options.connect_backoff {
            let doubled = attempts.saturating_sub(1).min(10);
            delay = (ROUTE_RETRY * (1 << doubled)).min(ROUTE_BACKOFF_MAX);
        }
        self.schedule(id, now, delay);
        attempts
    }

    /// What a server that connected to this one says of itself.
    ///
    /// # Errors
    /// It cannot be part of this cluster.
    pub fn handle_connect(&mut self, link: LinkId, connect: &RouteConnect) -> Result<(), Refusal> {
        if !connect.gateway.is_empty() {
            return Err(Refusal {
                text: Some(format!(
                    "Rejecting connection from gateway {:?} on the Route port",
                    connect.gateway
                )),
                reason: CloseReason::WrongGateway,
            });
        }
        if !self.takes_name(&connect.cluster, connect.dynamic, link) {
            return Err(Refusal {
                text: Some(format!(
                    "Rejecting connection, cluster name {:?} does not match {:?}",
                    connect.cluster, self.cluster
                )),
                reason: CloseReason::ClusterNameConflict,
            });
        }
        Ok(())
    }

    /// Whether a server of a cluster of that name can be connected with. A name that was made up
    /// gives way to one that was not, and to a greater one; then the connections with servers of the
    /// former are closed.
    fn takes_name(&mut self, name: &str, is_dynamic: bool, link: LinkId) -> bool {
        if name.is_empty() || name == self.cluster {
            return true;
        }
        let gives_way = self.is_dynamic && (!is_dynamic || *self.cluster < *name);
        if !gives_way {
            // The server that this one connected to hears of this one's name, and gives way, though
            // not at once if it has to look at a password first.
            return is_dynamic && self.is_solicited(link);
        }
        info!("Cluster name updated to {name}");
        self.cluster = name.into();
        self.is_dynamic = is_dynamic;
        self.actions.push(Action::Renamed);
        let others = self.links.keys().filter(|other| **other != link);
        let close = |other: &LinkId| Action::Close(*other, CloseReason::ClusterNameConflict);
        self.actions.extend(others.map(close));
        true
    }

    /// Whether what a server says of itself lets it be part of this cluster, before anything is done
    /// with it.
    ///
    /// # Errors
    /// The connection is to be closed for that reason.
    pub fn check_info(&mut self, link: LinkId, info: &RouteInfo) -> Result<(), Refusal> {
        let Some(known) = self.links.get(&link) else {
            return Ok(());
        };
        let (target, is_known) = (known.target, known.peer.is_some());
        if info.server_id == self.id {
            if let Some(target) = target.and_then(|id| self.targets.get_mut(&id)) {
                debug!("Detected route to self, ignoring {}", target.url.address());
                target.state = State::Own;
            }
            return refuse(CloseReason::DuplicateRoute);
        }
        if !self.takes_name(&info.cluster, info.cluster_dynamic, link) {
            return refuse(CloseReason::ClusterNameConflict);
        }
        if is_known {
            return Ok(());
        }
        if info.server_id.is_empty() {
            return refuse(CloseReason::ProtocolViolation);
        }
        if target.is_none() && info.server_name == self.server_name {
            log::error!("Remote server has a duplicate name: {:?}", info.server_name);
            return refuse(CloseReason::DuplicateServerName);
        }
        Ok(())
    }

    /// INFO has come on a connection: about the server there, or about another one. If this server made
    /// the connection, it has to say INFO itself after the first one, before anything else, with what
    /// [`Mesh::lane`] has then.
    ///
    /// # Errors
    /// The connection is to be closed for that reason.
    pub fn handle_info(
        &mut self,
        link: LinkId,
        mut info: RouteInfo,
        now: Mono,
    ) -> Result<(), Refusal> {
        self.check_info(link, &info)?;
        let Some(known) = self.links.get(&link) else {
            return Ok(());
        };
        if let Some(peer) = &known.peer {
            if !info.route_acc_add_reqid.is_empty() {
                self.hear_of_account(link, info);
            } else if *peer == info.server_id {
                self.update(&info);
            } else if info.gateway.is_empty() {
                self.hear_of(info, now);
            }
            return Ok(());
        }
        if info.ip.is_empty() {
            let at = address::join(&known.ip.to_string(), info.port);
            info.ip = format!("nats-route://{at}/");
        }
        info.nonce.clear();
        let place = self.place(link, &info)?;
        self.introduce(link, place, info, now)
    }

    /// It is known now who is at the other end of a connection.
    fn introduce(
        &mut self,
        link: LinkId,
        (lane, size): (Option<Lane>, u32),
        mut info: RouteInfo,
        now: Mono,
    ) -> Result<(), Refusal> {
        let id = info.server_id.clone();
        let Some(known) = self.links.get_mut(&link) else {
            return Ok(());
        };
        known.peer = Some(id.clone());
        let is_solicited = known.target.is_some();
        if let Some(target) = known.target.and_then(|id| self.targets.get_mut(&id)) {
            target.attempts = 0;
        }
        let is_new = !self.peers.contains_key(&id);
        let peer = self
            .peers
            .entry(id.clone())
            .or_insert_with(|| Peer::new(info.clone(), size));
        if peer.is_whole() != (size == 0) {
            // It has become another one; the connections of before end soon.
            debug!("Closing a route to {id:?}, which spreads accounts in another way than before");
            return refuse(CloseReason::DuplicateRoute);
        }
        peer.size = peer.size.max(size);
        let lane = lane.or_else(|| peer.free_place().map(Lane::Pool));
        // The other side knows nothing of a connection before it is told where it belongs.
        let Some(lane) = lane.filter(|lane| !(is_solicited && peer.has(lane))) else {
            debug!("Closing an extra route to {id:?}");
            return refuse(CloseReason::DuplicateRoute);
        };
        if let Some(known) = self.links.get_mut(&link) {
            known.lane = Some(lane.clone());
        }
        // An account's connection may come first; that is told with the account's name alone.
        let is_found = lane.account().is_none() && !peer.has_general();
        if !peer.add(lane.clone(), link) {
            debug!("Detected duplicate remote route {id:?}");
            let delay = match *self.id < *id {
                // Interest that is told on a connection is lost with it, so better soon than late.
                true if !peer.decides_at_once() => Duration::ZERO,
                true => ROUTE_DECIDE,
                false => ROUTE_DECIDE_LATE,
            };
            peer.decide_at.get_or_insert(now + delay);
            return Ok(());
        }
        match lane.account() {
            Some(account) => {
                debug!("Registering remote route {id:?} for account {account:?}");
                info.route_account = account.to_string();
            }
            None => debug!("Registering remote route {id:?}"),
        }
        if is_found || lane.account().is_some() {
            self.forward(link, &info);
        }
        self.actions.push(Action::Register(link));
        if is_new {
            self.actions.push(Action::Changed);
        }
        Ok(())
    }

    /// A server has something new to say of itself.
    fn update(&mut self, info: &RouteInfo) {
        let Some(peer) = self.peers.get_mut(&info.server_id) else {
            return;
        };
        if info.ldm {
            peer.info.connect_urls.clear();
        } else {
            peer.info.connect_urls.clone_from(&info.connect_urls);
        }
        if peer.info.export != info.export {
            self.actions.extend(peer.links().map(Action::Review));
        }
        peer.info.import.clone_from(&info.import);
        peer.info.export.clone_from(&info.export);
        self.actions.push(Action::Changed);
    }

    /// A connection is gone.
    pub fn closed(&mut self, link: LinkId, now: Mono) {
        let Some(gone) = self.links.remove(&link) else {
            return;
        };
        let (mut lost, mut missing, mut untold) = (None, false, None);
        if let Some(id) = gone.peer.as_ref()
            && let Some(peer) = self.peers.get_mut(id)
        {
            untold = (peer.first() == Some(link)).then(|| id.clone());
            match peer.remove(link) {
                Some(left) if left.was_first => match left.next {
                    Some(next) => self.actions.push(Action::Register(next)),
                    None => missing = true,
                },
                Some(_) | None => {}
            }
            if peer.is_empty() {
                lost = Some(id.clone());
            }
        }
        if let Some(lost) = &lost {
            self.peers.remove(lost);
            self.actions.push(Action::Changed);
        } else if let Some(id) = untold {
            self.tell_of_all(&id);
        }
        if let Some(id) = gone.target {
            self.release(id, &gone, link, now);
        }
        if let Some(id) = gone.peer.as_ref().filter(|_| missing && lost.is_none()) {
            let jitter = Duration::from_millis(self.rng.below(ROUTE_JITTER_MS) as u64);
            self.want_missing(id, now + ROUTE_RETRY + jitter);
        }
        let Some(lost) = lost else {
            return;
        };
        let covered = State::Covered(lost);
        let targets = self.targets.iter().filter(|(_, t)| t.state == covered);
        let again: Vec<TargetId> = targets.map(|(id, _)| *id).collect();
        for id in again {
            self.try_again(id, now);
        }
    }

    /// The connection that this server made to a target is gone.
    fn release(&mut self, id: TargetId, gone: &Link, link: LinkId, now: Mono) {
        let Some(target) = self.targets.get_mut(&id) else {
            return;
        };
        if target.state != State::Open(link) {
            return;
        }
        if let Kind::More(peer, account) = target.kind.clone() {
            self.targets.remove(&id);
            if !gone.confirmed {
                self.set_back(&peer, &account, now);
            }
            return;
        }
        // The other connections may be lost as well, without this server knowing it, and then both
        // sides look for each other.
        match gone.peer.as_ref().filter(|id| self.peers.contains_key(*id)) {
            Some(peer) => {
                target.state = State::Covered(peer.clone());
                self.want_missing(peer, now + ROUTE_RETRY);
            }
            None => self.try_again(id, now),
        }
    }

    fn try_again(&mut self, id: TargetId, now: Mono) {
        let Some(target) = self.targets.get(&id) else {
            return;
        };
        match target.kind {
            Kind::Explicit => self.schedule(id, now, ROUTE_RETRY),
            Kind::Implicit(..) => self.schedule(id, now, Duration::ZERO),
            // It is wanted by what is known of its server.
            Kind::More(..) => {}
        }
    }

    fn schedule(&mut self, id: TargetId, now: Mono, delay: Duration) {
        // Two servers that lost each other are not to meet half-way again and again.
        let jitter = Duration::from_millis(self.rng.below(ROUTE_JITTER_MS) as u64);
        if let Some(target) = self.targets.get_mut(&id) {
            target.state = State::Due(now + delay + jitter);
        }
    }

    /// When [`Mesh::handle_timer`] is to be called.
    pub fn deadline(&self) -> Option<Mono> {
        let due = self
            .targets
            .values()
            .filter_map(|target| match target.state {
                State::Due(at) => Some(at),
                _ => None,
            });
        let decide = self.peers.values().filter_map(|peer| peer.decide_at);
        let wants = self.peers.values().flat_map(|peer| peer.wants.values());
        due.chain(decide)
            .chain(wants.filter_map(|want| want.due))
            .min()
    }

    /// Dials what is due, and decides between connections.
    pub fn handle_timer(&mut self, now: Mono) {
        let mut superfluous = Vec::new();
        for (id, target) in &mut self.targets {
            match target.state {
                State::Due(at) if at <= now => {}
                _ => continue,
            }
            if let Kind::Implicit(server, _) = &target.kind
                && self.peers.contains_key(server)
            {
                superfluous.push(server.clone());
                target.state = State::Covered(server.clone());
                continue;
            }
            target.state = State::Dialling;
            let dial = Action::Dial(*id, target.url.clone());
            self.actions.push(dial);
        }
        for server in superfluous {
            // Whoever made the connection that there is may not look after the others.
            self.want_missing(&server, now + ROUTE_RETRY);
        }
        for peer in self.peers.values_mut() {
            if peer.decide_at.is_some_and(|at| at <= now) {
                peer.decide_at = None;
                let close = |link| Action::Close(link, CloseReason::DuplicateRoute);
                self.actions.extend(peer.superfluous().map(close));
            }
        }
        self.make_more(now);
    }

    fn peer_of(&self, link: LinkId) -> Option<&Peer> {
        self.peers.get(self.links.get(&link)?.peer.as_ref()?)
    }

    /// Whether one of the configured routes led to this server.
    fn is_explicit(&self, id: &str) -> bool {
        let mut targets = self.targets.values();
        targets.any(|target| target.kind == Kind::Explicit && self.leads_to(target, id))
    }
}

fn refuse<T>(reason: CloseReason) -> Result<T, Refusal> {
    Err(Refusal { text: None, reason })
}

fn known_peer(links: &BTreeMap<LinkId, Link>, link: LinkId) -> Option<String> {
    links.get(&link)?.peer.clone()
}
