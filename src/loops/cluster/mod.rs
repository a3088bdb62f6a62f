//! The loop of the cluster: it owns the connections with other servers.
//!
//! A turn: sleep until something is ready; take mail; tell the other servers what has changed in what
//! this server's subscribers listen to; pass on what this server's clients published; accept; read;
//! look after timers; do what the mesh asks for; flush; close what is to be closed.
//!
//! Changes of interest are told before messages of the same turn are passed on, so that whoever
//! answers a message finds its subscriber.

mod conn;
mod dial;
mod handshake;
mod outward;
mod read;
mod renew;
mod report;
mod secure;
mod tell;

pub use dial::Dialled;

use super::client::Peers;
use super::inbox::{Inbox, Mail};
use crate::accounts::interest::LoopId;
use crate::accounts::journal::{Changes, Journal};
use crate::accounts::permissions::Permissions;
use crate::base::clock::{self, Mono};
use crate::base::limits::{ROUTE_BURY_BUDGET, ROUTE_LINKS, ROUTE_STRANGERS};
use crate::base::rng::Rng;
use crate::broker::batch::Batch;
use crate::broker::{Broker, ClusterView, Facts, PasswordCheck, Wire};
use crate::cluster::LinkId;
use crate::cluster::imports::Imports;
use crate::cluster::lanes::{Lane, Spread};
use crate::cluster::local::LocalInterest;
use crate::cluster::mesh::{Action, Mesh};
use crate::cluster::remote::RemoteInterest;
use crate::conn::client::Traffic;
use crate::conn::outbound::ChunkPool;
use crate::net::buffer::ReadPool;
use crate::net::listen::{Accepted, Acceptor};
use crate::net::table::{RESERVED, Table};
use crate::net::tls::PeerTls;
use crate::options::cluster::ClusterOptions;
use crate::proto::error::CloseReason;
use crate::proto::route_info::RouteInfo;
use conn::{Conn, Phase};
use log::{debug, error, info};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(RESERVED);
const LISTENER: Token = Token(RESERVED + 1);

/// Events taken from the kernel a turn.
const EVENTS: usize = 256;

/// What the other servers are told of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it listens for routes, as others are told.
    pub host: String,
    pub port: u16,
    /// The URL at which others reach it, if one is advertised.
    pub url: Option<String>,
    /// Where its clients connect, `host:port` each.
    pub client_urls: Vec<String>,
}

/// What options make of being part of a cluster.
pub struct Site {
    pub place: Place,
    /// TLS with other servers, if it is spoken.
    pub tls: Option<Arc<PeerTls>>,
}

/// The way out: to the other loops.
struct Ways<'a> {
    peers: &'a Peers,
}

impl Wire for Ways<'_> {
    fn write(&mut self, _link: usize, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        self.peers.pass(LoopId::CLUSTER, to, batch);
    }
}

macro_rules! turn {
    ($own:ident, $now:expr) => {
        crate::broker::Turn {
            wire: &mut crate::loops::cluster::Ways { peers: &$own.peers },
            now: $now,
        }
    };
}
use turn;

/// The loop.
pub struct ClusterLoop {
    poll: Poll,
    peers: Arc<Peers>,
    facts: Arc<Facts>,
    options: ClusterOptions,
    /// What goes between the servers, if not everything does.
    permissions: Option<Permissions>,
    /// Those that held before, until all servers are told what is different now.
    former: Vec<Option<Permissions>>,
    place: Place,
    tls: Option<Arc<PeerTls>>,
    /// For bytes that are yet to be decrypted.
    cipher: Vec<u8>,
    broker: Broker,
    mesh: Mesh,
    local: LocalInterest,
    imports: Imports,
    remote: RemoteInterest,
    journal: Arc<Journal>,
    changes: Changes,
    conns: Table<Conn>,
    by_link: HashMap<LinkId, Token, foldhash::fast::RandomState>,
    next_link: u64,
    /// Connections of which it is not known yet who they are.
    strangers: usize,
    acceptor: Acceptor,
    /// The port that it listens on.
    listening: u16,
    accepting: bool,
    pool: ChunkPool,
    reads: ReadPool,
    ready: VecDeque<Token>,
    dirty: Vec<Token>,
    /// Connections that are closed, and have still to be forgotten.
    closing: Vec<Token>,
    dials: dial::Dials,
    checks: Vec<PasswordCheck>,
    next_ticket: u64,
    view: ClusterView,
    /// What others were told of this server when it began, or after the last reload.
    said: RouteInfo,
    /// Whether there are still subscriptions of servers that are gone.
    burying: bool,
    /// Whether a server has still to be told something.
    telling: bool,
    /// Whether a server may be far behind, of what was seen in writing.
    behind: bool,
    /// Whether producers are held back, as a server is far behind.
    congested: bool,
    /// Messages that came from servers that are gone, and that went to them.
    past: (Traffic, Traffic),
    /// When connections are to be looked after.
    look_at: Option<Mono>,
    hits: Vec<outward::Hit>,
    scratch: Vec<u8>,
    rng: Rng,
    lame_duck: bool,
    ending: bool,
    mail: Vec<Mail>,
    empties: Vec<Batch>,
}

impl ClusterLoop {
    /// A poll and the waker that its inbox needs.
    ///
    /// # Errors
    /// The system has no more descriptors for it.
    pub fn poll() -> io::Result<(Poll, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((poll, waker))
    }

    /// The loop of a server that is configured to be part of a cluster. `seed` must be random.
    ///
    /// # Errors
    /// The listener cannot be registered.
    pub fn new(
        poll: Poll,
        peers: Arc<Peers>,
        broker: Broker,
        facts: Arc<Facts>,
        (mut acceptor, Site { place, tls }): (Acceptor, Site),
        seed: u64,
    ) -> io::Result<ClusterLoop> {
        poll.registry()
            .register(acceptor.listener(), LISTENER, Interest::READABLE)?;
        let now = clock::mono();
        let mut rng = Rng::new(seed);
        let options = facts.options.cluster.clone().unwrap_or_default();
        // The subjects were checked with the options.
        let permissions = options.permissions.as_ref();
        let permissions = permissions.and_then(|p| Permissions::new(p).ok());
        let names = (&*facts.id, &*facts.name);
        let made_up = made_up_name(&mut rng);
        let own = (options.clone(), spread(&options, &facts));
        let mesh = Mesh::new(names, own, made_up, rng.next_u64(), now);
        info!("Cluster name is {}", mesh.cluster());
        facts.cluster.set(mesh.cluster());
        if mesh.is_dynamic() {
            log::warn!("Cluster name was dynamically generated, consider setting one");
        }
        let journal = facts.accounts.journal().cloned().unwrap_or_default();
        Ok(ClusterLoop {
            poll,
            peers,
            options,
            permissions,
            former: Vec::new(),
            place,
            tls,
            cipher: Vec::new(),
            broker,
            mesh,
            local: LocalInterest::new(rng.next_u64()),
            imports: Imports::default(),
            remote: RemoteInterest::new(rng.next_u64()),
            journal,
            changes: Changes::default(),
            conns: Table::default(),
            by_link: HashMap::default(),
            next_link: 1,
            strangers: 0,
            listening: acceptor.listener().local_addr().map_or(0, |at| at.port()),
            acceptor,
            accepting: true,
            pool: ChunkPool::default(),
            reads: ReadPool::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            closing: Vec::new(),
            dials: dial::Dials::default(),
            checks: Vec::new(),
            next_ticket: 0,
            view: ClusterView::default(),
            said: RouteInfo::default(),
            burying: false,
            telling: false,
            behind: false,
            congested: false,
            past: Default::default(),
            look_at: None,
            hits: Vec::new(),
            scratch: Vec::new(),
            rng,
            lame_duck: false,
            ending: false,
            mail: Vec::new(),
            empties: Vec::new(),
            facts,
        })
    }

    /// Turns until told to shut down.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        self.tell_clients();
        self.renew_imports();
        self.said = self.sayings();
        while !self.ending {
            let timeout = self.timeout();
            if let Err(e) = self.poll.poll(&mut events, timeout)
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!("Error waiting for other servers: {e}");
                break;
            }
            self.inbox().woken();
            let now = clock::mono();
            self.broker.set_wall_clock(now, clock::wall());
            self.broker.begin_turn(now);
            for event in &events {
                self.handle_event(event);
            }
            self.turn(now);
        }
        self.end();
    }

    fn turn(&mut self, now: Mono) {
        self.take_mail(now);
        if self.accepting {
            self.accept(now);
        }
        self.read_ready(now);
        self.look_after(now);
        self.mesh.handle_timer(now);
        self.act(now);
        self.dials.start(&self.peers);
        self.broker.expire(&mut turn!(self, now));
        self.broker.finish(&mut turn!(self, now));
        if !self.checks.is_empty() {
            self.peers.verifier.ask(LoopId::CLUSTER, &mut self.checks);
        }
        self.tell_more(now);
        self.flush(now);
        self.act(now);
        if self.burying {
            self.burying = self.remote.bury(ROUTE_BURY_BUDGET);
        }
        self.forget_closed();
    }

    fn timeout(&mut self) -> Option<Duration> {
        let work = !self.ready.is_empty()
            || self.burying
            || self.telling
            || !self.checks.is_empty()
            || (self.accepting && self.acceptor.resume_at().is_none());
        if work || !self.inbox().prepare_sleep() || !self.journal.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.look_at,
            self.mesh.deadline(),
            self.broker.expires_at(),
            self.acceptor.resume_at(),
        ];
        let first = deadlines.into_iter().flatten().min()?;
        Some(first.since(clock::mono()) + Duration::from_micros(999))
    }

    fn inbox(&self) -> &Inbox {
        self.peers.cluster.as_ref().unwrap_or(&self.peers.system)
    }

    fn handle_event(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            LISTENER => self.accepting = true,
            token => {
                let Some(conn) = self.conns.get_mut(token) else {
                    return;
                };
                if event.is_writable() && conn.blocked.is_some() {
                    conn.writable = true;
                    if !conn.dirty {
                        conn.dirty = true;
                        self.dirty.push(token);
                    }
                }
                let shakes = event.is_writable() && matches!(conn.phase, Phase::Securing { .. });
                if event.is_readable() || event.is_read_closed() || event.is_error() || shakes {
                    conn.ended |= event.is_read_closed() || event.is_error();
                    if !conn.queued {
                        conn.queued = true;
                        self.ready.push_back(token);
                    }
                }
            }
        }
    }

    fn take_mail(&mut self, now: Mono) {
        let mut mail = std::mem::take(&mut self.mail);
        let mut empties = std::mem::take(&mut self.empties);
        self.inbox().take(&mut mail, &mut empties);
        self.empties = empties;
        // What these messages ask for was subscribed to before they were sent.
        self.tell_changes();
        for mail in mail.drain(..) {
            match mail {
                Mail::Batch(_, mut batch) => {
                    self.pass_on(&batch, now);
                    self.note_congestion();
                    self.broker.end_traces(&mut batch, &mut turn!(self, now));
                    batch.clear();
                    self.empties.push(batch);
                }
                Mail::Dialled(dialled) => self.handle_dialled(*dialled, now),
                Mail::Verified {
                    client,
                    ticket,
                    right,
                } => self.handle_verified(client, ticket, right, now),
                Mail::Renew(facts, _) => {
                    self.remote.renew(&facts.accounts);
                    self.broker.renew(facts.clone(), now);
                    self.facts = facts;
                    self.renew_imports();
                    self.renew_options(now);
                }
                Mail::Site(site) => self.renew_site(*site),
                Mail::Links(subscriptions, answer) => {
                    // Whoever asked may have given up.
                    let _ = answer.send(self.links(subscriptions, now));
                }
                Mail::LameDuck { .. } => self.enter_lame_duck(),
                Mail::Shutdown => self.ending = true,
                // These are for other loops.
                Mail::Connection { .. }
                | Mail::HoldBack(_)
                | Mail::Changed(_)
                | Mail::Late(_)
                | Mail::Report(..)
                | Mail::Task(_)
                | Mail::Survey(_)
                | Mail::Cluster(_)
                | Mail::Crowded(_)
                | Mail::Goodbye(_)
                | Mail::Shed(_) => {}
            }
        }
        self.mail = mail;
    }

    fn accept(&mut self, now: Mono) {
        loop {
            match self.acceptor.accept(now) {
                Accepted::Connection(stream, addr) => self.accepted(stream, addr, now),
                Accepted::Nobody => break self.accepting = false,
                Accepted::Paused(None) => break,
                Accepted::Paused(Some(e)) => break error!("Route Accept Errors: {e}"),
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, addr: SocketAddr, now: Mono) {
        if self.strangers >= ROUTE_STRANGERS || self.conns.len() >= ROUTE_LINKS {
            debug!("{addr} - no room for another server");
            return;
        }
        if self
            .tls
            .as_ref()
            .is_some_and(|tls| !tls.listener().admit(now))
        {
            return debug!("{addr} - too many handshakes begin");
        }
        if let Some(token) = self.open(stream, addr, None, now) {
            self.begin(token, now);
        }
    }

    fn handle_dialled(&mut self, dialled: Dialled, now: Mono) {
        self.dials.ended();
        let stream = dialled.outcome.and_then(|stream| {
            let addr = stream.peer_addr()?;
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream), addr))
        });
        match stream {
            Ok((stream, addr)) => {
                let target = dialled.target;
                match self.open(stream, addr, Some(target), now) {
                    Some(token) => self.begin(token, now),
                    None => {
                        self.mesh.dial_failed(target, now);
                    }
                }
            }
            Err(e) => {
                let attempts = self.mesh.dial_failed(dialled.target, now);
                let text = format!(
                    "Error trying to connect to route (attempt {attempts}): {}: {e}",
                    dialled.address
                );
                // The first failure is worth to be noticed, the others once an hour.
                match attempts % 3600 == 1 {
                    true => error!("{text}"),
                    false => debug!("{text}"),
                }
            }
        }
    }

    /// Takes on a connection; none if that cannot be.
    fn open(
        &mut self,
        mut stream: TcpStream,
        addr: SocketAddr,
        target: Option<crate::cluster::mesh::TargetId>,
        now: Mono,
    ) -> Option<Token> {
        let _ = stream.set_nodelay(true);
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let registry = self.poll.registry();
        let (mut wrong, interval) = (None, self.ping_interval());
        let until = now + self.handshake_time();
        let is_solicited = target.is_some();
        let token = self.conns.insert(|token| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            wrong = registry.register(&mut stream, token, interest).err();
            Conn::new(stream, addr, link, is_solicited, until, (now, interval))
        });
        if let Some(e) = wrong {
            error!("Error registering a route: {e}");
            self.conns.remove(token);
            return None;
        }
        if !self.mesh.opened(link, target, addr.ip().to_canonical()) {
            debug!("{addr} - the route is not wanted any more");
            self.conns.remove(token);
            return None;
        }
        self.by_link.insert(link, token);
        self.strangers += 1;
        self.look_no_later_than(until);
        let side = if is_solicited { "created" } else { "accepted" };
        debug!("{addr} - rid:{} - Route connection {side}", link.0);
        // What is there already comes without an event.
        if let Some(conn) = self.conns.get_mut(token) {
            conn.queued = true;
            self.ready.push_back(token);
        }
        Some(token)
    }

    /// Does what the mesh asks for.
    fn act(&mut self, now: Mono) {
        loop {
            let actions = self.mesh.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Dial(target, url) => self.dials.push(target, url),
                    Action::Register(link) => self.begin_telling(link),
                    Action::Review(link) => self.review(link),
                    Action::Close(link, reason) => {
                        if let Some(token) = self.by_link.get(&link).copied() {
                            self.close(token, reason, now);
                        }
                    }
                    Action::Moved(account) => self.forget_account(&account),
                    Action::Forward(link, info) | Action::Agree(link, info) => {
                        self.scratch.clear();
                        info.write(&mut self.scratch);
                        self.send_scratch(link);
                    }
                    Action::Renamed | Action::Changed => self.tell_clients(),
                }
            }
        }
    }

    /// An account has a connection of its own with other servers from now on: what they told of it on
    /// others does not count any more.
    fn forget_account(&mut self, account: &str) {
        for token in self.conns.tokens() {
            if let Some(conn) = self.conns.get_mut(token)
                && matches!(conn.lane, Lane::Pool(_))
            {
                self.remote.forget(conn.link, account.as_bytes());
            }
        }
    }

    /// Closes a connection.
    fn close(&mut self, token: Token, reason: CloseReason, now: Mono) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        if conn.phase == Phase::Closed {
            return;
        }
        if conn.phase.is_stranger() {
            self.strangers -= 1;
        }
        conn.phase = Phase::Closed;
        let link = conn.link;
        info!("{} - Router connection closed: {reason}", conn.label());
        if reason.flushes() && conn.blocked.is_none() {
            // One try; nobody waits for it.
            let _ = conn.write_out(&mut self.pool);
        }
        self.past.0.add(conn.received);
        self.past.1.add(conn.sent);
        self.closing.push(token);
        self.by_link.remove(&link);
        self.remote.drop_link(link);
        self.burying = true;
        self.mesh.closed(link, now);
    }

    fn forget_closed(&mut self) {
        for token in self.closing.drain(..) {
            if let Some(mut conn) = self.conns.remove(token) {
                conn.out.clear(&mut self.pool);
                // Whatever goes wrong, the socket is gone afterwards.
                let _ = self.poll.registry().deregister(&mut conn.stream);
                let _ = conn.stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// Tells the client loops, and so their clients, which servers there are.
    fn tell_clients(&mut self) {
        let mut view = ClusterView {
            name: self.mesh.cluster().into(),
            urls: Vec::new(),
        };
        if !self.options.no_advertise {
            let theirs = self.mesh.peers().flat_map(|(_, info)| &info.connect_urls);
            let theirs: Vec<String> = theirs.cloned().collect();
            if !theirs.is_empty() || !self.view.urls.is_empty() {
                view.urls.clone_from(&self.place.client_urls);
                for url in theirs {
                    if !view.urls.contains(&url) {
                        view.urls.push(url);
                    }
                }
            }
        }
        if view == self.view {
            return;
        }
        self.facts.cluster.set(&view.name);
        self.view = view;
        let shared = Arc::new(self.view.clone());
        for inbox in &self.peers.inboxes {
            if let Err(e) = inbox.send(Mail::Cluster(shared.clone())) {
                error!("Error waking a client loop: {e}");
            }
        }
    }

    fn look_no_later_than(&mut self, at: Mono) {
        self.look_at = Some(self.look_at.map_or(at, |own| own.min(at)));
    }

    /// Says goodbye: what is pending is written as far as it can be at once.
    fn end(&mut self) {
        let now = clock::mono();
        self.take_mail(now);
        self.flush(now);
        for token in self.conns.tokens() {
            self.close(token, CloseReason::ServerShutdown, now);
        }
        self.forget_closed();
    }
}

/// How accounts are spread over connections.
fn spread(options: &ClusterOptions, facts: &Facts) -> Spread {
    let system = facts.accounts.system();
    Spread::new(options, system.map(|tenant| &*tenant.account.name))
}

/// The name of a cluster for which none is configured: 22 characters.
fn made_up_name(rng: &mut Rng) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digit = || char::from(DIGITS[rng.below(DIGITS.len())]);
    (0..22).map(|_| digit()).collect()
}

/// Where clients connect that can reach a listener at `listening`: at the address itself, or at
/// those of the machine's `interfaces` that it covers, loopback ones last if at all.
pub fn client_urls(listening: SocketAddr, interfaces: &[IpAddr]) -> Vec<String> {
    let port = listening.port();
    let at = |ip: &IpAddr| crate::base::address::join(&ip.to_string(), port);
    if !listening.ip().is_unspecified() {
        return vec![at(&listening.ip())];
    }
    let is_v6 = listening.is_ipv6();
    let usable = |ip: &&IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => is_v6 && !ip.is_unicast_link_local(),
    };
    let covered: Vec<&IpAddr> = interfaces.iter().filter(usable).collect();
    let outside = covered.iter().filter(|ip| !ip.is_loopback());
    let outside: Vec<String> = outside.map(|ip| at(ip)).collect();
    match outside.is_empty() {
        true => covered.iter().map(|ip| at(ip)).collect(),
        false => outside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_addresses_that_they_can_reach() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let own = [
            ip("127.0.0.1"),
            ip("10.0.0.7"),
            ip("::1"),
            ip("fe80::1"),
            ip("fd00::2"),
        ];
        let urls = |at: &str, own: &[IpAddr]| client_urls(at.parse().unwrap(), own);
        assert_eq!(urls("127.0.0.1:1", &own), ["127.0.0.1:1"]);
        assert_eq!(urls("0.0.0.0:4222", &own), ["10.0.0.7:4222"]);
        assert_eq!(urls("[::]:1", &own), ["10.0.0.7:1", "[fd00::2]:1"]);
        assert_eq!(urls("0.0.0.0:1", &own[..1]), ["127.0.0.1:1"]);
    }
}
