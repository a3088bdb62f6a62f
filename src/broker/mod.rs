//! The clients of one loop and the messages between them, without their sockets.
//!
//! Bytes, timers and batches from other loops go in; what comes out is bytes for the clients and
//! batches for other loops, which both go through a [`Wire`] that whoever owns the sockets
//! provides, and lists of clients to be looked after. In a turn that owner calls:
//!
//! 1. [`Broker::open`], [`Broker::handle_bytes`], [`Broker::handle_end`], [`Broker::handle_timer`],
//!    [`Broker::handle_batch`], [`Broker::expire`], as things happen;
//! 2. [`Broker::finish`], which writes what these have left to be written;
//! 3. [`Broker::take_stalled`], [`Broker::take_closing`], and then [`Broker::reap`].

pub mod batch;
mod closed;
mod commands;
mod delivery;
pub mod events;
mod exchange;
mod far;
mod login;
#[cfg(test)]
mod login_tests;
pub mod message;
mod permits;
#[cfg(test)]
mod permits_tests;
mod renew;
mod reserved;
mod routed;
pub mod survey;
mod surveyor;
#[cfg(test)]
mod tests;
mod traces;
pub mod tracing;

pub use commands::Brought;

use crate::accounts::Accounts;
use crate::accounts::interest::LoopId;
use crate::auth::Directory;
use crate::base::clock::Mono;
use crate::base::limits::{GREETING_BYTES, GREETING_SHARE};
use crate::base::rng::Rng;
use crate::base::secret::Secret;
use crate::conn::client::{Client, ClientId, Flags, Phase, Secured, Traffic};
use crate::conn::inbound::Inbound;
use crate::conn::keepalive::{Keepalive, Verdict};
use crate::conn::outbound::Outbound;
use crate::conn::sids::SidTable;
use crate::options::Options;
use crate::proto::client::{Limits, Op, Parsed, Partial, Violation, parse};
use crate::proto::connect::Connect;
use crate::proto::error::{ClientError, CloseReason};
use crate::routing::cache::RouteCache;
use batch::Batch;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use delivery::Delivery;
use log::{debug, info};
use sha2::{Digest, Sha256};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// What all loops of a server know.
pub struct Facts {
    pub options: Options,
    /// The server's public key.
    pub id: String,
    pub name: String,
    /// The address that clients connect to, as it stands in INFO.
    pub host: String,
    pub port: u16,
    pub accounts: Accounts,
    pub directory: Directory,
    /// What makes nonces unguessable.
    pub nonce_key: [u8; 32],
    /// Counts what the server tells of itself in events.
    pub event_seq: Arc<AtomicU64>,
    /// The name of the cluster, which may have been made up and may give way to another.
    pub cluster: Arc<ClusterName>,
    /// Bytes that a loop may hold for all of its connections.
    pub loop_bytes_max: usize,
}

impl Facts {
    /// How long a new client has to complete its first command, or to say who it is.
    fn greeting_time(&self) -> Duration {
        match self.directory.is_required() {
            true => self.options.auth_timeout(),
            false => self.options.connect_deadline,
        }
    }

    /// The same for one that may have to make a handshake first, which has a deadline of its own.
    fn first_time(&self) -> Duration {
        match &self.options.tls {
            Some(tls) if !self.options.allow_non_tls => {
                tls.timeout.max(self.options.connect_deadline)
            }
            _ => self.greeting_time(),
        }
    }

    /// What a client has to sign that is known by its key: 15 characters that nobody can foresee
    /// and that no other client of this server gets.
    fn nonce(&self, id: ClientId) -> [u8; 15] {
        let hash = Sha256::new_with_prefix(self.nonce_key)
            .chain_update(id.0.to_le_bytes())
            .finalize();
        let mut nonce = [0; 15];
        BASE64URL_NOPAD.encode_mut(&hash[..11], &mut nonce);
        nonce
    }

    /// What a client asked for, as far as the server goes along with it.
    fn flags(&self, connect: &Connect) -> Flags {
        let asked = Flags::from(connect);
        let headers = asked.headers && !self.options.no_header_support;
        Flags { headers, ..asked }
    }
}

/// The clients of one loop.
pub struct Broker {
    facts: Arc<Facts>,
    routes: RouteCache,
    delivery: Delivery,
    rng: Rng,
    scratch: Vec<u8>,
    /// The subject that a message was mapped to.
    mapped: Vec<u8>,
    /// Bytes of unfinished commands, of all clients and of those still greeting.
    inbound_bytes: usize,
    greeting_bytes: usize,
    /// Whether the server is in lame duck mode.
    lame_duck: bool,
    /// Clients that lame duck mode has still to disconnect.
    leaving: Vec<u32>,
    /// Clients that have still to be told what has changed.
    uninformed: Vec<u32>,
    /// What clients are told of the cluster.
    view: Arc<ClusterView>,
    /// Passwords to be compared with their hashes.
    checks: Vec<PasswordCheck>,
    next_ticket: u64,
    waiting: exchange::Waiting,
    surveyor: surveyor::Surveyor,
    /// Accounts in which clients came or went, of which somebody wants to be told.
    changed: Vec<u32>,
    /// What clients have brought since somebody asked.
    brought: Brought,
}

/// The name of the cluster that the server is part of at present; empty if it is in none.
#[derive(Default)]
pub struct ClusterName(RwLock<String>);

impl ClusterName {
    pub fn get(&self) -> String {
        self.0
            .read()
            .expect("no holder of this lock panics")
            .clone()
    }

    pub fn set(&self, name: &str) {
        *self.0.write().expect("no holder of this lock panics") = name.into();
    }
}

/// What clients are told of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster's name.
    pub name: String,
    /// Where clients can connect, this server included; empty as long as there is no other.
    pub urls: Vec<String>,
}

/// A password that is to be compared with a bcrypt hash, off the loop. The answer goes to
/// [`Broker::handle_verified`].
pub struct PasswordCheck {
    pub client: u32,
    pub ticket: u64,
    pub hash: Secret,
    pub password: Secret,
    /// When the answer is of no use any more.
    pub deadline: Mono,
}

/// Bytes just read, and a way to keep some of them without copying them.
pub trait Source {
    /// Whether keeping a part costs no more memory than it is worth.
    fn pins(&self) -> bool;
    /// A part of what was read, kept.
    fn share(&mut self, part: &[u8]) -> Bytes;
}

/// The way out, to the clients' sockets and to the other loops.
pub trait Wire {
    /// Writes to a client's socket, which the owner knows by `link`; gives the bytes written.
    ///
    /// # Errors
    /// Those of the socket. `WouldBlock` makes the broker wait for [`Broker::handle_writable`].
    fn write(&mut self, link: usize, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Passes a batch on to another loop, and leaves an empty one.
    fn pass(&mut self, to: LoopId, batch: &mut Batch);
}

/// The way out and the time, for as long as one thing is handled.
pub struct Turn<'a, W> {
    pub wire: &'a mut W,
    pub now: Mono,
}

/// How far the broker came with some bytes.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Progress {
    /// What is left, if anything, is the front of a command. It is either handed in again with
    /// more behind it, or to [`Broker::keep`].
    Wait { consumed: usize, partial: Partial },
    /// What is left waits until the client's password has been compared with its hash; then it
    /// is handed in again.
    Pause { consumed: usize },
    /// The client is closed; the rest does not matter.
    Closed,
}

/// What became of a flush.
#[derive(Debug, PartialEq)]
pub enum Flushed {
    /// Nothing is pending.
    Done,
    /// The socket takes no more for now.
    Blocked,
    /// Writing failed; the client is closed.
    Failed,
}

impl Broker {
    /// A broker without clients, for the loop `me` of `loops`.
    pub fn new(facts: Arc<Facts>, me: LoopId, loops: usize, seed: u64) -> Broker {
        Broker {
            delivery: Delivery::new(&facts, me, loops, seed),
            routes: RouteCache::new(!facts.options.disable_sublist_cache),
            rng: Rng::new(seed),
            scratch: Vec::new(),
            mapped: Vec::new(),
            inbound_bytes: 0,
            greeting_bytes: 0,
            lame_duck: false,
            leaving: Vec::new(),
            uninformed: Vec::new(),
            view: Arc::new(ClusterView {
                name: facts.cluster.get(),
                urls: Vec::new(),
            }),
            checks: Vec::new(),
            next_ticket: 0,
            waiting: exchange::Waiting::default(),
            surveyor: surveyor::Surveyor::default(),
            changed: Vec::new(),
            brought: Brought::default(),
            facts,
        }
    }

    /// Takes on a new connection and greets it. `link` is the loop's own handle for its socket.
    /// Gives the slot by which it is known from now on.
    pub fn open(&mut self, link: usize, id: ClientId, addr: SocketAddr, now: Mono) -> u32 {
        let slot = self.take_on(link, id, addr, now);
        self.greet(slot);
        slot
    }

    /// Takes on a new connection that is yet to be greeted.
    pub fn take_on(&mut self, link: usize, id: ClientId, addr: SocketAddr, now: Mono) -> u32 {
        let options = &self.facts.options;
        let client = Client {
            phase: Phase::Greeting {
                deadline: now + self.facts.first_time(),
            },
            flags: self.facts.flags(&Connect::default()),
            dirty: false,
            blocked: None,
            owed: 0,
            out: Outbound::default(),
            sent: Traffic::default(),
            received: Traffic::default(),
            sent_before: 0,
            link,
            inbound: Inbound::default(),
            sids: SidTable::default(),
            interest_bytes: 0,
            account: self.facts.accounts.global().account.clone(),
            grant: None,
            verifying: None,
            guard: None,
            keepalive: Keepalive::new(now, options.ping_interval),
            opened: now,
            id,
            addr,
            stalls: 0,
            connect: None,
            secured: None,
            first_pong: false,
            label: format!("{addr} - cid:{}", id.0).into(),
        };
        let slot = self.delivery.clients.insert(client);
        self.delivery.connections_ever += 1;
        debug!("{} - Client connection created", self.delivery.label(slot));
        if let Some(open) = self.facts.directory.open().cloned() {
            self.admit_stranger(slot, open);
        }
        slot
    }

    /// Sends a new connection its INFO.
    pub fn greet(&mut self, slot: u32) {
        self.send_info(slot, false);
    }

    /// The handshake of a client's connection is over. Its time to say CONNECT begins anew.
    pub fn secured(&mut self, slot: u32, secured: Secured, now: Mono) {
        let deadline = now + self.facts.greeting_time();
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        let (version, cipher) = (secured.version, secured.cipher);
        debug!("{} - TLS handshake complete", client.label);
        debug!(
            "{} - TLS version {version}, cipher suite {cipher}",
            client.label
        );
        client.secured = Some(Box::new(secured));
        if matches!(client.phase, Phase::Greeting { .. }) {
            client.phase = Phase::Greeting { deadline };
        }
    }

    /// Turns a connection away since too many handshakes have begun of late.
    pub fn throttle(&mut self, slot: u32) {
        self.delivery.error(slot, ClientError::ConnectionsThrottled);
        self.close(slot, CloseReason::MaxConnectionsExceeded);
    }

    /// How the log names a client.
    pub fn label(&self, slot: u32) -> Box<str> {
        self.delivery.label(slot)
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.facts.options
    }

    /// Turns a connection away for which there is no room.
    pub fn refuse(&mut self, slot: u32) {
        let label = self.delivery.label(slot);
        log::error!("{label} - maximum connections exceeded");
        self.delivery.error(slot, ClientError::ConnectionsExceeded);
        self.close(slot, CloseReason::MaxConnectionsExceeded);
    }

    /// Handles bytes from a client, as far as there are whole commands.
    pub fn handle_bytes<S: Source, W: Wire>(
        &mut self,
        slot: u32,
        data: &[u8],
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> Progress {
        let Some(client) = self.delivery.clients.get(slot).filter(|c| !c.is_closed()) else {
            return Progress::Closed;
        };
        let mut consumed = 0;
        if client.phase != Phase::Active {
            if matches!(client.phase, Phase::Verifying { .. }) {
                return Progress::Pause { consumed: 0 };
            }
            if !self.may_begin(slot, data) {
                return Progress::Closed;
            }
        }
        let kept = |c: &Client| !c.inbound.is_empty();
        if self.delivery.clients.get(slot).is_some_and(kept) {
            match self.resume(slot, data, turn) {
                Some(Progress::Wait { consumed, .. }) if self.is_verifying(slot) => {
                    return Progress::Pause { consumed };
                }
                Some(Progress::Wait { consumed: n, .. }) => consumed = n,
                Some(other) => return other,
                None => {
                    return Progress::Wait {
                        consumed: data.len(),
                        partial: Partial::Line,
                    };
                }
            }
        }
        let mut from = commands::Publisher::new(self, slot);
        let closed_before = self.delivery.closing.len();
        let progress = loop {
            let rest = &data[consumed..];
            match parse(rest, &from.limits) {
                Parsed::Op(Op::Publish(publish), used) => {
                    consumed += used;
                    consumed += self.publish(&mut from, &publish, &rest[used..], source, turn);
                }
                Parsed::Op(op, used) => {
                    consumed += used;
                    let renewed = matches!(op, Op::Connect(_));
                    self.command(&mut from, op, turn.now);
                    if renewed && self.is_verifying(slot) {
                        break Progress::Pause { consumed };
                    }
                    if renewed && !self.delivery.is_closed(slot) {
                        from.settle(self, turn.now);
                        from = commands::Publisher::new(self, slot);
                    }
                }
                Parsed::Partial(partial) => break Progress::Wait { consumed, partial },
                Parsed::Bad(violation) => {
                    self.violation(slot, &violation, rest, &from.limits);
                    break Progress::Closed;
                }
            }
            if self.delivery.closing.len() > closed_before && self.delivery.is_closed(slot) {
                break Progress::Closed;
            }
        };
        if consumed > 0 {
            from.settle(self, turn.now);
            self.completed(slot);
        }
        progress
    }

    /// Keeps the front of a command until more of it comes.
    pub fn keep(&mut self, slot: u32, rest: &[u8], partial: Partial) {
        let Some(client) = self
            .delivery
            .clients
            .get_mut(slot)
            .filter(|c| !c.is_closed())
        else {
            return;
        };
        if rest.is_empty() {
            return;
        }
        let (rest, total) = match partial {
            Partial::Line => (rest, None),
            Partial::Keep(n) => (&rest[..n.min(rest.len())], None),
            Partial::Payload(total) => (rest, Some(total)),
        };
        client.inbound.keep(rest, total);
        let held = client.inbound.held();
        self.inbound_held(slot, 0, held);
    }

    /// Goes on with a command that was kept. None: it takes more than `data` to go on.
    fn resume<W: Wire>(
        &mut self,
        slot: u32,
        data: &[u8],
        turn: &mut Turn<'_, W>,
    ) -> Option<Progress> {
        let mut consumed = 0;
        loop {
            let limits = commands::Publisher::new(self, slot).limits;
            let inbound = &mut self.delivery.clients.get_mut(slot)?.inbound;
            let before = inbound.held();
            consumed += inbound.feed(&data[consumed..]);
            match parse(inbound.bytes(), &limits) {
                Parsed::Op(_, used) => {
                    debug_assert_eq!(used, inbound.bytes().len());
                    let mut whole = Bytes::from(inbound.take());
                    self.inbound_held(slot, before, 0);
                    self.execute_whole(slot, &mut whole, &limits, turn);
                    if self.delivery.is_closed(slot) {
                        return Some(Progress::Closed);
                    }
                    let partial = Partial::Line;
                    return Some(Progress::Wait { consumed, partial });
                }
                Parsed::Partial(partial) => {
                    let (keep, total) = match partial {
                        Partial::Line => (usize::MAX, None),
                        Partial::Keep(n) => (n, None),
                        Partial::Payload(total) => (usize::MAX, Some(total)),
                    };
                    inbound.note(keep, total);
                    let held = inbound.held();
                    self.inbound_held(slot, before, held);
                    if self.delivery.is_closed(slot) {
                        return Some(Progress::Closed);
                    }
                    if consumed == data.len() {
                        return None;
                    }
                }
                Parsed::Bad(violation) => {
                    let bytes = inbound.take();
                    self.inbound_held(slot, before, 0);
                    self.violation(slot, &violation, &bytes, &limits);
                    return Some(Progress::Closed);
                }
            }
        }
    }

    /// Executes the one command that `whole` holds.
    fn execute_whole<W: Wire>(
        &mut self,
        slot: u32,
        whole: &mut Bytes,
        limits: &Limits,
        turn: &mut Turn<'_, W>,
    ) {
        let data = whole.clone();
        let Parsed::Op(op, _) = parse(&data, limits) else {
            return;
        };
        let mut from = commands::Publisher::new(self, slot);
        match op {
            Op::Publish(publish) => {
                self.publish(&mut from, &publish, b"", whole, turn);
            }
            op => self.command(&mut from, op, turn.now),
        }
        from.settle(self, turn.now);
        self.completed(slot);
    }

    /// The peer closed its side, or reading failed.
    pub fn handle_end(&mut self, slot: u32, reason: CloseReason) {
        self.close(slot, reason);
    }

    /// Looks after a client's deadlines.
    pub fn handle_timer(&mut self, slot: u32, now: Mono) {
        let facts = self.facts.clone();
        let options = &facts.options;
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        match client.phase {
            Phase::Closed(_) => return,
            Phase::Greeting { deadline } | Phase::Verifying { deadline, .. } if now >= deadline => {
                return self.time_out(slot);
            }
            _ => {}
        }
        if client
            .blocked
            .is_some_and(|since| now >= since + options.write_deadline)
        {
            let deadline = crate::base::text::GoDuration(options.write_deadline);
            let pending = client.out.pending();
            info!(
                "{} - Slow Consumer Detected: WriteDeadline of {deadline} exceeded with {pending} \
                 bytes pending.",
                client.label
            );
            return self.close(slot, CloseReason::SlowConsumerWriteDeadline);
        }
        if client.phase != Phase::Active {
            return;
        }
        match client
            .keepalive
            .handle_timer(now, options.ping_interval, options.ping_max)
        {
            Verdict::Quiet => {}
            Verdict::Ping => self.delivery.send(slot, b"PING\r\n", "PING"),
            Verdict::Stale => {
                debug!("{} - Stale Client Connection - Closing", client.label);
                self.delivery.error(slot, ClientError::StaleConnection);
                self.close(slot, CloseReason::StaleConnection);
            }
        }
    }

    /// When a client's timer should next be looked at.
    pub fn deadline(&self, slot: u32) -> Option<Mono> {
        let client = self.delivery.clients.get(slot)?;
        let phase = match client.phase {
            Phase::Closed(_) => return None,
            Phase::Greeting { deadline } | Phase::Verifying { deadline, .. } => deadline,
            Phase::Active => client.keepalive.deadline(),
        };
        let write = client
            .blocked
            .map(|since| since + self.facts.options.write_deadline);
        Some(write.map_or(phase, |w| w.min(phase)))
    }

    /// A client's socket takes more again.
    pub fn handle_writable<W: Wire>(&mut self, slot: u32, turn: &mut Turn<'_, W>) {
        if self
            .delivery
            .clients
            .get(slot)
            .is_some_and(|c| c.blocked.is_some())
        {
            self.delivery.flush(slot, turn);
        }
    }

    /// Delivers what the clients of another loop published. The batch can be used again.
    pub fn handle_batch<W: Wire>(
        &mut self,
        from: LoopId,
        batch: &mut Batch,
        turn: &mut Turn<'_, W>,
    ) {
        self.delivery.deliver_batch(from, batch, turn);
        self.end_traces(batch, turn);
        batch.clear();
    }

    /// Writes what is pending for a client.
    pub fn flush<W: Wire>(&mut self, slot: u32, turn: &mut Turn<'_, W>) -> Flushed {
        self.delivery.flush(slot, turn)
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Mono) {
        self.delivery.now = now;
    }

    /// Whether something has come up that [`Broker::finish`] has still to tell or to write.
    pub fn has_news(&self) -> bool {
        !self.delivery.events.is_empty() || !self.delivery.dirty.is_empty()
    }

    /// What clients have brought since this was asked last.
    pub fn take_brought(&mut self) -> Brought {
        std::mem::take(&mut self.brought)
    }

    /// Messages that wait to be passed on to this loop.
    pub fn waiting_for(&self, to: LoopId) -> usize {
        let outbox = self.delivery.outboxes.get(usize::from(to.0));
        outbox.map_or(0, Batch::len)
    }

    /// Writes to all clients for which something has come up, and passes all batches on.
    pub fn finish<W: Wire>(&mut self, turn: &mut Turn<'_, W>) {
        if !self.delivery.events.is_empty() {
            self.tell_events(turn);
        }
        for i in 0..self.delivery.dirty.len() {
            let slot = self.delivery.dirty[i];
            // Who is blocked waits for its socket.
            if let Some(client) = self.delivery.clients.get_mut(slot) {
                client.dirty = false;
                if client.blocked.is_none() {
                    self.delivery.flush(slot, turn);
                }
            }
        }
        self.delivery.dirty.clear();
        for (to, batch) in self.delivery.outboxes.iter_mut().enumerate() {
            if !batch.is_empty() {
                let to = LoopId(u16::try_from(to).expect("there are few loops"));
                turn.wire.pass(to, batch);
            }
        }
        if !self.delivery.far.is_empty() {
            turn.wire.pass(LoopId::CLUSTER, &mut self.delivery.far);
        }
    }

    /// Clients whose sockets took no more since the last call, and which so have a new deadline.
    pub fn take_stalled(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.delivery.stalled);
    }

    /// Clients closed since the last call, whose sockets are to be flushed a last time (see
    /// [`CloseReason::flushes`]) and closed.
    pub fn take_closing(&mut self, out: &mut Vec<(u32, CloseReason)>) {
        out.append(&mut self.delivery.closing);
    }

    /// Clients all of whose messages went to subscribers that are far behind: they are not to be
    /// read from for a moment. The list may name other loops' clients.
    pub fn take_held_back(&mut self, out: &mut Vec<(LoopId, u32)>) {
        out.append(&mut self.delivery.held_back);
    }

    /// A client was not read from for a moment, as all its subscribers were behind.
    pub fn note_stall(&mut self, slot: u32) {
        self.delivery.stalls += 1;
        if let Some(client) = self.delivery.clients.get_mut(slot) {
            client.stalls = client.stalls.saturating_add(1);
        }
    }

    /// Numbers of accounts in which clients came or went since the last call, of which somebody
    /// wants to be told.
    pub fn take_changed(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.changed);
    }

    /// Clients that published to another loop's clients since the last call.
    pub fn take_crossing(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.delivery.crossing);
    }

    /// The loop's handle of a client's socket.
    pub fn link(&self, slot: u32) -> Option<usize> {
        self.delivery.clients.get(slot).map(|c| c.link)
    }

    /// What is pending for a closed client, to be written without it; None if nothing is.
    pub fn take_output(&mut self, slot: u32) -> Option<Box<Outbound>> {
        let client = self.delivery.clients.get_mut(slot)?;
        (client.out.pending() > 0).then(|| Box::new(std::mem::take(&mut client.out)))
    }

    /// Writes what was pending for a client that is gone.
    pub fn flush_output<W: Wire>(
        &mut self,
        out: &mut Outbound,
        link: usize,
        turn: &mut Turn<'_, W>,
    ) -> Flushed {
        match self.delivery.write_out(out, link, turn.wire) {
            Ok(true) => Flushed::Done,
            Ok(false) => Flushed::Blocked,
            Err(_) => Flushed::Failed,
        }
    }

    /// Gives up what was pending for a client that is gone.
    pub fn discard_output(&mut self, mut out: Outbound) {
        out.clear(&mut self.delivery.pool);
    }

    /// Passwords that are to be compared since the last call.
    pub fn take_checks(&mut self, out: &mut Vec<PasswordCheck>) {
        out.append(&mut self.checks);
    }

    /// Whether it is not known yet who a client is.
    pub fn is_stranger(&self, slot: u32) -> bool {
        let client = self.delivery.clients.get(slot);
        client.is_some_and(|client| client.phase != Phase::Active)
    }

    /// Whether new clients have to say who they are.
    pub fn is_auth_required(&self) -> bool {
        self.facts.directory.is_required()
    }

    /// How long a write may make no progress.
    pub fn write_deadline(&self) -> std::time::Duration {
        self.facts.options.write_deadline
    }

    /// Forgets the pending output of a closed client, whose socket is gone or about to be.
    pub fn forget_output(&mut self, slot: u32) {
        self.delivery.forget_output(slot);
    }

    /// Removes some of what closed clients left behind; says whether there is more.
    pub fn reap(&mut self) -> bool {
        self.delivery.reap()
    }

    /// Closes all clients, for the reason of the server's shutdown.
    pub fn shut_down(&mut self) {
        for slot in self.delivery.open_slots() {
            self.close(slot, CloseReason::ServerShutdown);
        }
    }

    /// Frees memory that was not needed since the last call, and gives the bytes freed. Call it
    /// now and then.
    pub fn trim(&mut self) -> usize {
        self.delivery.pool.trim()
    }

    /// Whether [`Broker::trim`] could free anything.
    pub fn holds_spare_memory(&self) -> bool {
        self.delivery.pool.holds_any()
    }

    /// Messages received from and sent to clients, of those that are gone and those that are not.
    pub fn traffic(&self) -> (Traffic, Traffic) {
        self.delivery.traffic()
    }

    /// Closes the connections that hold the most until this loop is within its memory bound
    /// again. `shared` are the bytes of read buffers that queued messages refer to.
    pub fn relieve(&mut self, shared: usize) {
        let own = self.delivery.pool.used() + self.delivery.interest_bytes;
        let mut held = own + self.inbound_bytes + shared;
        while held > self.facts.loop_bytes_max {
            let Some((slot, bytes)) = self.delivery.largest() else {
                return;
            };
            let label = self.delivery.label(slot);
            info!("{label} - Closing: {bytes} of {held} bytes held for all connections");
            self.close(slot, CloseReason::SlowConsumerPendingBytes);
            self.forget_output(slot);
            held = held.saturating_sub(bytes);
        }
    }

    fn close(&mut self, slot: u32, reason: CloseReason) {
        let Some(client) = self.delivery.clients.get(slot).filter(|c| !c.is_closed()) else {
            return;
        };
        let held = client.inbound.held();
        self.inbound_held(slot, held, 0);
        self.delivery.close(slot, reason);
    }

    /// Notes that an unfinished command of a client takes more or less memory than before, and
    /// turns away strangers that together take too much.
    fn inbound_held(&mut self, slot: u32, before: usize, after: usize) {
        self.inbound_bytes = self.inbound_bytes - before + after;
        let Some(client) = self.delivery.clients.get(slot) else {
            return;
        };
        if !matches!(client.phase, Phase::Greeting { .. }) {
            return;
        }
        self.greeting_bytes = self.greeting_bytes - before + after;
        if after > GREETING_SHARE && self.greeting_bytes > GREETING_BYTES {
            let label = self.delivery.label(slot);
            info!("{label} - too many unfinished first commands, closing");
            self.close(slot, CloseReason::ProtocolViolation);
        }
    }

    /// The client completed a command: it is no stranger any more.
    fn completed(&mut self, slot: u32) {
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        let admitted = client.grant.is_some() || !self.facts.directory.is_required();
        if matches!(client.phase, Phase::Greeting { .. }) && admitted {
            client.phase = Phase::Active;
            self.greeting_bytes -= client.inbound.held();
        }
    }

    fn violation(&mut self, slot: u32, violation: &Violation, data: &[u8], limits: &Limits) {
        let label = self.delivery.label(slot);
        if self.delivery.trace
            && let Some((verb, args)) = violation.command()
        {
            let args = String::from_utf8_lossy(args);
            log::trace!("{label} - <<- [{} {args}]", verb.name());
        }
        log::error!("{label} - {}", violation.describe(data, limits));
        let (answer, reason) = match violation {
            Violation::UnknownOperation { .. } => (
                Some(ClientError::UnknownOperation),
                CloseReason::ProtocolViolation,
            ),
            Violation::ControlLine(_) => (
                Some(ClientError::ControlLineExceeded),
                CloseReason::MaxControlLineExceeded,
            ),
            Violation::Payload { .. } => (
                Some(ClientError::PayloadViolation),
                CloseReason::MaxPayloadExceeded,
            ),
            Violation::Arguments { .. } | Violation::HeadersNotSupported => {
                (None, CloseReason::ProtocolViolation)
            }
        };
        if let Some(answer) = answer {
            self.delivery.error(slot, answer);
        }
        self.close(slot, reason);
    }
}

impl Source for Bytes {
    fn pins(&self) -> bool {
        true
    }

    fn share(&mut self, part: &[u8]) -> Bytes {
        self.slice_ref(part)
    }
}
