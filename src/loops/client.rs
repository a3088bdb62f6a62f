//! A loop of client connections.
//!
//! A turn: sleep until something is ready; take mail; accept; read what is readable and let the
//! broker handle it; look after timers; flush; send batches to the other loops; close what is to
//! be closed.

use super::inbox::{Inbox, Mail};
use super::link::{Hold, Link, State};
use crate::accounts::interest::LoopId;
use crate::base::clock::{self, Mono};
use crate::base::limits::{
    ACCEPT_BUDGET, HOLD_BACK, HOLD_BACK_BUDGET, LINGER, LINGER_BYTES, READ_BUDGET, READ_BUFFER,
    TURN_BUDGET,
};
use crate::broker::batch::Batch;
use crate::broker::{Broker, Flushed, Progress};
use crate::conn::client::ClientId;
use crate::net::buffer::{ReadBuffer, ReadPool};
use crate::net::listen::{Accepted, Acceptor};
use crate::net::table::{RESERVED, Table};
use crate::net::timer::{Tick, Wheel};
use crate::proto::client::Partial;
use crate::proto::error::CloseReason;
use log::{debug, error};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const WAKER: Token = Token(RESERVED);
const LISTENER: Token = Token(RESERVED + 1);

/// Events taken from the kernel a turn.
const EVENTS: usize = 1024;

/// Closed sockets that may linger at a time; more are closed at once.
const LINGERING_MAX: usize = 1024;

/// How often unused memory is given back.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// What all client loops share: where they get mail, and how many connections each has.
pub struct Peers {
    pub inboxes: Vec<Inbox>,
    pub connections: Vec<AtomicUsize>,
    pub connections_max: usize,
}

impl Peers {
    fn total(&self) -> usize {
        self.connections
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .sum()
    }

    /// The loop with the fewest connections.
    fn least_loaded(&self) -> usize {
        let loads = self
            .connections
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .enumerate();
        loads.min_by_key(|(_, n)| *n).map_or(0, |(i, _)| i)
    }
}

/// One client loop.
pub struct ClientLoop {
    me: usize,
    poll: Poll,
    peers: Arc<Peers>,
    broker: Broker,
    links: Table<Link>,
    acceptor: Option<Acceptor>,
    accepting: bool,
    next_id: u64,
    reads: ReadPool,
    wheel: Wheel,
    /// Links that have something to read, or may have.
    ready: VecDeque<Token>,
    /// Links that are not read from for a moment, in the order in which that ends.
    held: VecDeque<(Mono, Token)>,
    lingering: usize,
    trim_at: Option<Mono>,
    reaping: bool,
    ending: bool,
    mail: Vec<Mail>,
    empties: Vec<Batch>,
    slots: Vec<u32>,
}

impl ClientLoop {
    /// A poll and the waker that its inbox needs; the first step of making a loop.
    ///
    /// # Errors
    /// The system has no more descriptors for it.
    pub fn poll() -> io::Result<(Poll, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((poll, waker))
    }

    /// The loop with this number. One loop gets the acceptor and shares out connections.
    ///
    /// # Errors
    /// The listener cannot be registered.
    pub fn new(
        me: usize,
        poll: Poll,
        peers: Arc<Peers>,
        broker: Broker,
        mut acceptor: Option<Acceptor>,
    ) -> io::Result<ClientLoop> {
        if let Some(acceptor) = &mut acceptor {
            poll.registry()
                .register(acceptor.listener(), LISTENER, Interest::READABLE)?;
        }
        Ok(ClientLoop {
            me,
            poll,
            peers,
            broker,
            links: Table::default(),
            acceptor,
            accepting: false,
            next_id: 0,
            reads: ReadPool::default(),
            wheel: Wheel::default(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            lingering: 0,
            trim_at: None,
            reaping: false,
            ending: false,
            mail: Vec::new(),
            empties: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// Turns until told to shut down.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut due = Vec::new();
        while !self.ending {
            let timeout = self.timeout();
            if let Err(e) = self.poll.poll(&mut events, timeout)
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!("Error waiting for connections: {e}");
                break;
            }
            self.peers.inboxes[self.me].woken();
            let now = clock::mono();
            for event in &events {
                self.handle_event(event, now);
            }
            self.take_mail(now);
            if self.accepting {
                self.accept(now);
            }
            self.release(now);
            self.read_ready(now);
            self.wheel.expire(now, &mut due);
            for (tick, token) in due.drain(..) {
                self.handle_timer(tick, token, now);
            }
            self.finish_turn(now);
        }
        self.end();
    }

    /// How long to sleep: not at all with work at hand.
    fn timeout(&mut self) -> Option<Duration> {
        let work = !self.ready.is_empty() || self.reaping || self.accepting_now();
        if work || !self.peers.inboxes[self.me].prepare_sleep() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.wheel.next(),
            self.held.front().map(|(at, _)| *at),
            self.acceptor.as_ref().and_then(Acceptor::resume_at),
            self.trim_at,
        ];
        let first = deadlines.into_iter().flatten().min()?;
        // A millisecond is the kernel's unit; rounding down would mean to spin at the end.
        Some(first.since(clock::mono()) + Duration::from_micros(999))
    }

    fn accepting_now(&self) -> bool {
        self.accepting
            && self
                .acceptor
                .as_ref()
                .is_some_and(|a| a.resume_at().is_none())
    }

    fn handle_event(&mut self, event: &Event, now: Mono) {
        match event.token() {
            WAKER => {}
            LISTENER => self.accepting = true,
            token => {
                if event.is_writable() {
                    self.handle_writable(token, now);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.handle_readable(token, event.is_read_closed() || event.is_error());
                }
            }
        }
    }

    fn handle_writable(&mut self, token: Token, now: Mono) {
        if let Some(Link {
            state: State::Open { client, .. },
            ..
        }) = self.links.get_mut(token)
            && self.broker.is_blocked(*client)
        {
            let client = *client;
            self.flush(client, now);
        }
    }

    fn handle_readable(&mut self, token: Token, ended: bool) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        link.ended |= ended;
        let held = matches!(
            link.state,
            State::Open {
                hold: Hold::Held,
                ..
            }
        );
        if !link.queued && !held {
            link.queued = true;
            self.ready.push_back(token);
        }
    }

    fn take_mail(&mut self, now: Mono) {
        let mut mail = std::mem::take(&mut self.mail);
        self.peers.inboxes[self.me].take(&mut mail, &mut self.empties);
        for mail in mail.drain(..) {
            match mail {
                Mail::Batch(from, mut batch) => {
                    self.broker.handle_batch(from, &mut batch);
                    self.empties.push(batch);
                    self.flush_urgent(now);
                }
                Mail::Connection {
                    stream,
                    addr,
                    id,
                    room,
                } => self.open(stream, addr, id, room, now),
                Mail::HoldBack(client) => self.hold_back(client, now),
                Mail::Shutdown => self.ending = true,
            }
        }
        self.mail = mail;
    }

    fn accept(&mut self, now: Mono) {
        for _ in 0..ACCEPT_BUDGET {
            let Some(acceptor) = &mut self.acceptor else {
                return;
            };
            match acceptor.accept(now) {
                Accepted::Connection(stream, addr) => self.hand_out(stream, addr, now),
                Accepted::Nobody => {
                    self.accepting = false;
                    return;
                }
                Accepted::Paused(reason) => {
                    if let Some(e) = reason {
                        error!("Temporary Client Accept Error({e}), pausing until it is over");
                    }
                    return;
                }
            }
        }
    }

    /// Gives a new connection to the loop that has the fewest.
    fn hand_out(&mut self, stream: TcpStream, addr: SocketAddr, now: Mono) {
        self.next_id += 1;
        let id = ClientId(self.next_id);
        let room = self.peers.total() < self.peers.connections_max;
        let to = self.peers.least_loaded();
        self.peers.connections[to].fetch_add(1, Ordering::Relaxed);
        if to == self.me {
            return self.open(stream, addr, id, room, now);
        }
        let mail = Mail::Connection {
            stream,
            addr,
            id,
            room,
        };
        if let Err(e) = self.peers.inboxes[to].send(mail) {
            error!("Error waking a client loop: {e}");
        }
    }

    fn open(&mut self, stream: TcpStream, addr: SocketAddr, id: ClientId, room: bool, now: Mono) {
        // A peer that is gone already shows when it is read from.
        let _ = stream.set_nodelay(true);
        let (queued, ended, timer) = (false, false, None);
        let token = self.links.insert(|token| {
            let client = self.broker.open(token.0, id, addr, now);
            Link {
                stream,
                state: State::Open {
                    client,
                    hold: Hold::Free,
                },
                queued,
                ended,
                timer,
            }
        });
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let State::Open { client, .. } = link.state else {
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = self
            .poll
            .registry()
            .register(&mut link.stream, token, interest)
        {
            error!("{addr} - cid:{} - cannot be polled: {e}", id.0);
            return self.broker.handle_end(client, CloseReason::ReadError);
        }
        if !room {
            self.broker.refuse(client);
        }
        // Greeting at once lets one chunk serve all connections of a storm.
        self.flush(client, now);
        self.schedule(token, client);
    }

    /// Reads from everybody on the ready list, once around.
    fn read_ready(&mut self, now: Mono) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                return;
            };
            let Some(link) = self.links.get_mut(token) else {
                continue;
            };
            link.queued = false;
            match link.state {
                State::Open { client, hold } => self.read(token, client, hold, now),
                State::Lingering { .. } => self.drain(token),
            }
        }
    }

    /// Reads from a client until there is no more, or its turn is over.
    fn read(&mut self, token: Token, client: u32, hold: Hold, now: Mono) {
        let (budget, room_max) = match hold {
            Hold::Held => return,
            Hold::Free => (READ_BUDGET, READ_BUFFER),
            Hold::Released => (HOLD_BACK_BUDGET, HOLD_BACK_BUDGET),
        };
        if hold == Hold::Released {
            self.set_hold(token, Hold::Free);
        }
        let mut read = self.reads.take();
        let (mut total, mut kept) = (0, 0);
        let mut partial = Partial::Line;
        let again = loop {
            let Some(link) = self.links.get_mut(token) else {
                break false;
            };
            let Some(room) = read.room() else { break true };
            let room_len = room.len().min(room_max.max(kept + room_max / 2));
            let n = match link.stream.read(&mut room[kept..room_len]) {
                Ok(0) => {
                    self.broker.handle_end(client, CloseReason::ClientClosed);
                    break false;
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    debug!("Client read error: {e}");
                    self.broker.handle_end(client, CloseReason::ReadError);
                    break false;
                }
            };
            let full = kept + n == room_len || link.ended;
            total += n;
            let Some((rest, then)) = self.handle(client, &mut read, kept + n, n, now) else {
                break false;
            };
            partial = then;
            let len = kept + n;
            kept = len - rest;
            let yielding = total >= budget
                || self.is_held(token)
                || clock::mono().since(now) > TURN_BUDGET && !self.ready.is_empty();
            let large = kept > READ_BUFFER / 2
                || matches!(partial, Partial::Payload(all) if all > READ_BUFFER / 2);
            if !full || yielding || large {
                self.broker.keep(client, &read.bytes()[rest..len], partial);
                kept = 0;
                if !full || yielding {
                    break full;
                }
            } else if kept > 0 {
                match read.room() {
                    Some(room) => room.copy_within(rest..len, 0),
                    None => {
                        let mut next = self.reads.take();
                        if let Some(room) = next.room() {
                            room[..kept].copy_from_slice(&read.bytes()[rest..len]);
                        }
                        self.reads.give(std::mem::replace(&mut read, next));
                    }
                }
            } else if read.room().is_none() {
                let next = self.reads.take();
                self.reads.give(std::mem::replace(&mut read, next));
            }
        };
        if kept > 0 {
            self.broker.keep(client, &read.bytes()[..kept], partial);
        }
        self.reads.give(read);
        self.schedule(token, client);
        if again {
            self.handle_readable(token, false);
        }
    }

    /// Has the broker handle the first `len` bytes of a buffer, the last `fresh` of which have
    /// just come. Gives where what is left begins, and what that is; None once it is closed.
    fn handle(
        &mut self,
        client: u32,
        read: &mut ReadBuffer,
        len: usize,
        fresh: usize,
        now: Mono,
    ) -> Option<(usize, Partial)> {
        let mut at = 0;
        loop {
            let (bytes, mut source) = read.source(fresh);
            match self
                .broker
                .handle_bytes(client, &bytes[at..len], &mut source, now)
            {
                Progress::Flush { consumed } => {
                    at += consumed;
                    self.flush_urgent(now);
                }
                Progress::Wait { consumed, partial } => return Some((at + consumed, partial)),
                Progress::Closed => return None,
            }
        }
    }

    /// Drains a closed connection.
    fn drain(&mut self, token: Token) {
        let mut read = self.reads.take();
        let mut over = true;
        if let Some(link) = self.links.get_mut(token)
            && let State::Lingering { drained, .. } = &mut link.state
            && let Some(room) = read.room()
        {
            loop {
                match link.stream.read(room) {
                    Ok(n) if n > 0 && *drained + n < LINGER_BYTES => *drained += n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        over = false;
                        break;
                    }
                    _ => break,
                }
            }
        }
        self.reads.give(read);
        if over {
            self.forget(token);
        }
    }

    fn handle_timer(&mut self, tick: Tick, token: Token, now: Mono) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        if link.timer != Some(tick) {
            return;
        }
        link.timer = None;
        match link.state {
            State::Open { client, .. } => {
                if self.broker.deadline(client).is_some_and(|at| at <= now) {
                    self.broker.handle_timer(client, now);
                }
                self.schedule(token, client);
            }
            State::Lingering { until, .. } if until <= now => self.forget(token),
            State::Lingering { until, .. } => self.set_timer(token, until),
        }
    }

    /// Makes sure that a client's next deadline is not missed.
    fn schedule(&mut self, token: Token, client: u32) {
        if let Some(at) = self.broker.deadline(client) {
            self.set_timer(token, at);
        }
    }

    fn set_timer(&mut self, token: Token, at: Mono) {
        let tick = Tick::after(at);
        if let Some(link) = self.links.get_mut(token)
            && link.timer.is_none_or(|t| t > tick)
        {
            link.timer = Some(tick);
            self.wheel.enter(tick, token);
        }
    }

    fn finish_turn(&mut self, now: Mono) {
        self.hold_producers(now);
        let mut slots = std::mem::take(&mut self.slots);
        self.broker.take_dirty(&mut slots);
        for client in slots.drain(..) {
            self.flush(client, now);
        }
        self.broker.take_urgent(&mut slots);
        slots.clear();
        self.slots = slots;
        self.send_batches();
        self.broker.relieve(self.reads.pinned());
        self.close_closing(now);
        self.reaping = self.broker.reap();
        self.trim(now);
    }

    fn flush_urgent(&mut self, now: Mono) {
        let mut slots = std::mem::take(&mut self.slots);
        self.broker.take_urgent(&mut slots);
        for client in slots.drain(..) {
            self.flush(client, now);
        }
        self.slots = slots;
        self.send_batches();
    }

    fn flush(&mut self, client: u32, now: Mono) {
        let Some(token) = self.broker.link(client).map(Token) else {
            return;
        };
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let stream = &mut link.stream;
        let was_blocked = self.broker.is_blocked(client);
        let flushed = self.broker.flush(client, now, |slices| match slices {
            [one] => stream.write(one),
            many => stream.write_vectored(many),
        });
        if flushed == Flushed::Blocked && !was_blocked {
            self.schedule(token, client);
        }
    }

    fn send_batches(&mut self) {
        for to in 0..self.peers.inboxes.len() {
            let inbox = &self.peers.inboxes[to];
            let owner = LoopId(u16::try_from(to).expect("there are few loops"));
            let Some(batch) = self.broker.take_batch(owner, || inbox.empty_batch()) else {
                continue;
            };
            let from = LoopId(u16::try_from(self.me).expect("there are few loops"));
            if let Err(e) = inbox.send(Mail::Batch(from, batch)) {
                error!("Error waking a client loop: {e}");
            }
        }
    }

    /// Stops reading from producers for a moment: from those whose messages all went to
    /// subscribers far behind, and from those that feed a loop that cannot keep up.
    fn hold_producers(&mut self, now: Mono) {
        let mut crossing = std::mem::take(&mut self.slots);
        self.broker.take_crossing(&mut crossing);
        let overloaded = self.peers.inboxes.iter().any(Inbox::is_overloaded);
        for client in crossing.drain(..).filter(|_| overloaded) {
            self.hold_back(client, now);
        }
        self.slots = crossing;
        let mut held = Vec::new();
        self.broker.take_held_back(&mut held);
        held.dedup();
        for (owner, client) in held {
            let owner = usize::from(owner.0);
            if owner == self.me {
                self.hold_back(client, now);
            } else if let Err(e) = self.peers.inboxes[owner].send(Mail::HoldBack(client)) {
                error!("Error waking a client loop: {e}");
            }
        }
    }

    fn hold_back(&mut self, client: u32, now: Mono) {
        let Some(token) = self.broker.link(client).map(Token) else {
            return;
        };
        if !self.is_held(token) {
            self.set_hold(token, Hold::Held);
            self.held.push_back((now + HOLD_BACK, token));
        }
    }

    /// Reads again from those that were held back for long enough.
    fn release(&mut self, now: Mono) {
        while let Some((until, token)) = self.held.front().copied() {
            if until > now {
                return;
            }
            self.held.pop_front();
            self.set_hold(token, Hold::Released);
            self.handle_readable(token, false);
        }
    }

    fn is_held(&mut self, token: Token) -> bool {
        let state = self.links.get_mut(token).map(|l| l.state);
        matches!(
            state,
            Some(State::Open {
                hold: Hold::Held,
                ..
            })
        )
    }

    fn set_hold(&mut self, token: Token, to: Hold) {
        if let Some(Link {
            state: State::Open { hold, .. },
            ..
        }) = self.links.get_mut(token)
        {
            *hold = to;
        }
    }

    /// Closes the sockets of clients that the broker closed.
    fn close_closing(&mut self, now: Mono) {
        let mut closing = Vec::new();
        self.broker.take_closing(&mut closing);
        for (client, reason) in closing {
            let Some(token) = self.broker.link(client).map(Token) else {
                continue;
            };
            if reason.flushes() {
                self.flush(client, now);
            }
            self.broker.forget_output(client);
            self.peers.connections[self.me].fetch_sub(1, Ordering::Relaxed);
            let linger = reason.flushes()
                && !matches!(
                    reason,
                    CloseReason::ClientClosed | CloseReason::ServerShutdown
                )
                && self.lingering < LINGERING_MAX;
            match self.links.get_mut(token) {
                Some(link) if linger && link.stream.shutdown(Shutdown::Write).is_ok() => {
                    let until = now + LINGER;
                    link.state = State::Lingering { until, drained: 0 };
                    self.lingering += 1;
                    self.set_timer(token, until);
                    self.handle_readable(token, false);
                }
                _ => self.forget(token),
            }
        }
    }

    fn forget(&mut self, token: Token) {
        let Some(mut link) = self.links.remove(token) else {
            return;
        };
        if matches!(link.state, State::Lingering { .. }) {
            self.lingering -= 1;
        }
        // Closing the socket deregisters it as well; this only keeps the order clean.
        let _ = self.poll.registry().deregister(&mut link.stream);
        self.trim_at
            .get_or_insert_with(|| clock::mono() + TRIM_INTERVAL);
    }

    fn trim(&mut self, now: Mono) {
        match self.trim_at {
            Some(at) if at <= now => {
                self.broker.trim();
                self.reads.trim();
                let more = self.broker.holds_spare_memory();
                self.trim_at = more.then(|| now + TRIM_INTERVAL);
            }
            None if self.broker.holds_spare_memory() => self.trim_at = Some(now + TRIM_INTERVAL),
            _ => {}
        }
    }

    fn end(&mut self) {
        let now = clock::mono();
        self.broker.shut_down();
        self.close_closing(now);
        let (received, sent) = self.broker.traffic();
        debug!(
            "Client loop {}: {} messages ({} bytes) received, {} ({} bytes) sent",
            self.me, received.msgs, received.bytes, sent.msgs, sent.bytes
        );
    }
}
