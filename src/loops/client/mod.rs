//! A loop of client connections.
//!
//! A turn: sleep until something is ready; take mail; accept; read what is readable and let the
//! broker handle it; look after timers; flush; send batches to the other loops; close what is to
//! be closed.

mod accept;
mod close;
mod handshake;
mod hold;
mod input;
mod lame_duck;
mod leisure;
mod lookout;

use super::inbox::{Inbox, Mail};
use super::jetstream::Door;
use super::link::{Hold, Link, State};
use super::verifier::Verifier;
use crate::accounts::interest::LoopId;
use crate::base::clock::{self, Mono};
use crate::base::limits::{LAST_WORDS_AT_SHUTDOWN, TIMER_BUDGET};
use crate::broker::batch::Batch;
use crate::broker::survey::{Load, LoopFigures};
use crate::broker::{Broker, PasswordCheck, Wire};
use crate::net::buffer::ReadPool;
use crate::net::listen::Acceptor;
use crate::net::table::{RESERVED, Table};
use crate::net::timer::{Tick, Wheel};
use crate::net::tls::ServerTls;
use crate::os::vitals;
use lame_duck::LameDuck;
use leisure::Leisure;
use log::{debug, error};
use lookout::Lookout;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const WAKER: Token = Token(RESERVED);
const LISTENER: Token = Token(RESERVED + 1);

/// Events taken from the kernel a turn.
const EVENTS: usize = 1024;

/// How long what the broker knows of the wall clock holds.
const WALL_CLOCK: Duration = Duration::from_secs(1);

/// What all client loops share: where they get mail, and how many connections each has.
pub struct Peers {
    pub inboxes: Vec<Inbox>,
    /// The mailbox of the loop that serves the system account; batches for it name the loop after
    /// the last one with clients.
    pub system: Inbox,
    /// The way into the loop with the streams, if there is one, which comes after that.
    pub jetstream: Option<Door>,
    /// The mailbox of the loop of the cluster, if the server is part of one.
    pub cluster: Option<Inbox>,
    /// Connections that were ever accepted.
    pub accepted: AtomicU64,
    pub connections: Vec<AtomicUsize>,
    pub connections_max: AtomicUsize,
    pub verifier: Verifier,
    /// Whether some thread is giving memory back to the system.
    pub giving_back: AtomicBool,
}

impl Peers {
    /// The mailboxes of all loops.
    pub fn all(&self) -> impl Iterator<Item = &Inbox> {
        let own = self.inboxes.iter().chain([&self.system]);
        let streams = self.jetstream.iter().map(|door| &door.inbox);
        own.chain(streams).chain(&self.cluster)
    }

    /// Connections of all loops.
    pub fn total(&self) -> usize {
        self.connections
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .sum()
    }

    /// Whether this is a loop of clients, of this server or of others.
    fn has_clients(&self, id: LoopId) -> bool {
        usize::from(id.0) < self.inboxes.len() || id == LoopId::CLUSTER
    }

    /// The number of JetStream's loop, whether there is one or not.
    fn jetstream_id(&self) -> LoopId {
        LoopId(u16::try_from(self.inboxes.len() + 1).expect("there are few loops"))
    }

    /// As [`Peers::pass`], but leaves it to the caller to knock at the door of JetStream.
    fn leave(&self, from: LoopId, to: LoopId, batch: &mut Batch) {
        let streams = to == self.jetstream_id();
        match &self.jetstream {
            Some(door) if streams => door.leave(from, batch),
            _ => self.pass(from, to, batch),
        }
    }

    /// Passes a batch on to another loop, and leaves an empty one.
    pub(super) fn pass(&self, from: LoopId, to: LoopId, batch: &mut Batch) {
        let inbox = match usize::from(to.0).checked_sub(self.inboxes.len()) {
            Some(_) if to == LoopId::CLUSTER => match &self.cluster {
                Some(inbox) => inbox,
                None => return batch.clear(),
            },
            None => &self.inboxes[usize::from(to.0)],
            Some(0) => &self.system,
            Some(_) => match &self.jetstream {
                Some(door) => &door.inbox,
                None => return batch.clear(),
            },
        };
        let full = std::mem::replace(batch, inbox.empty_batch());
        if let Err(e) = inbox.send(Mail::Batch(from, full)) {
            error!("Error waking a loop: {e}");
        }
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

/// The ways out of a client loop.
struct Ways<'a> {
    me: LoopId,
    links: &'a mut Table<Link>,
    peers: &'a Peers,
}

impl Wire for Ways<'_> {
    #[inline]
    fn write(&mut self, link: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(link) = self.links.get_mut(Token(link)) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        link.write(slices)
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        self.peers.leave(self.me, to, batch);
    }
}

/// What the broker needs to write, borrowed from the loop beside the broker itself.
macro_rules! turn {
    ($client_loop:ident, $now:expr) => {
        crate::broker::Turn {
            wire: &mut crate::loops::client::Ways {
                me: $client_loop.me,
                links: &mut $client_loop.links,
                peers: &$client_loop.peers,
            },
            now: $now,
        }
    };
}
use turn;

/// One client loop.
pub struct ClientLoop {
    me: LoopId,
    poll: Poll,
    peers: Arc<Peers>,
    broker: Broker,
    links: Table<Link>,
    acceptor: Option<Acceptor>,
    accepting: bool,
    next_id: u64,
    /// TLS for new connections.
    tls: Option<Arc<ServerTls>>,
    /// Time that went into handshakes in this turn.
    shaken: Duration,
    /// When the log is to tell of refused handshakes.
    refused_report: Option<Mono>,
    /// For bytes that are yet to be decrypted.
    scratch: Vec<u8>,
    reads: ReadPool,
    wheel: Wheel,
    /// Links that have something to read, or may have.
    ready: VecDeque<Token>,
    /// The same, for those of whom it is not known yet who they are.
    strangers: VecDeque<Token>,
    /// Timers whose time has come.
    due: VecDeque<(Tick, Token)>,
    /// Links that are not read from for a moment, in the order in which that ends.
    held: VecDeque<(Mono, Token)>,
    /// Sockets that outlive their connections for a moment.
    lingering: usize,
    write_deadline: Duration,
    /// When the broker was last told the wall clock time.
    time_told_at: Mono,
    trim_at: Option<Mono>,
    /// Bytes freed, about, since the system was last given memory back.
    freed: usize,
    lame_duck: Option<LameDuck>,
    leisure: Leisure,
    /// None where nobody could send anything meanwhile.
    lookout: Option<Lookout>,
    /// Messages that came from other loops since the last sleep.
    mailed: u64,
    /// Whether there are clients to be told what has changed.
    informing: bool,
    /// Whether there are questions of monitoring to be answered.
    surveying: bool,
    /// Turns so far, the time that they took, and when the first began.
    turns: u64,
    busy: Duration,
    began: Mono,
    /// Whether there is work left that was put off for the sake of this turn.
    unfinished: bool,
    ending: bool,
    mail: Vec<Mail>,
    empties: Vec<Batch>,
    slots: Vec<u32>,
    checks: Vec<PasswordCheck>,
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
        me: LoopId,
        poll: Poll,
        peers: Arc<Peers>,
        mut broker: Broker,
        tls: Option<Arc<ServerTls>>,
        mut acceptor: Option<Acceptor>,
    ) -> io::Result<ClientLoop> {
        if let Some(acceptor) = &mut acceptor {
            poll.registry()
                .register(acceptor.listener(), LISTENER, Interest::READABLE)?;
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let write_deadline = broker.write_deadline();
        let time_told_at = clock::mono();
        broker.set_wall_clock(time_told_at, clock::wall());
        Ok(ClientLoop {
            me,
            poll,
            peers,
            broker,
            links: Table::default(),
            acceptor,
            accepting: false,
            next_id: 0,
            tls,
            shaken: Duration::ZERO,
            refused_report: None,
            scratch: Vec::new(),
            reads: ReadPool::default(),
            wheel: Wheel::default(),
            ready: VecDeque::new(),
            strangers: VecDeque::new(),
            due: VecDeque::new(),
            held: VecDeque::new(),
            lingering: 0,
            write_deadline,
            time_told_at,
            trim_at: None,
            freed: 0,
            lame_duck: None,
            leisure: Leisure::new(),
            lookout: (cores > 1).then(Lookout::default),
            mailed: 0,
            informing: false,
            surveying: false,
            turns: 0,
            busy: Duration::ZERO,
            began: time_told_at,
            unfinished: false,
            ending: false,
            mail: Vec::new(),
            empties: Vec::new(),
            slots: Vec::new(),
            checks: Vec::new(),
        })
    }

    /// Turns until told to shut down.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut awake = clock::mono();
        while !self.ending {
            let asleep = clock::mono();
            let timeout = self.timeout(asleep);
            self.busy += asleep.since(awake);
            self.turns += 1;
            if let Err(e) = self.wait(&mut events, timeout, asleep)
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!("Error waiting for connections: {e}");
                break;
            }
            self.inbox().woken();
            let now = clock::mono();
            awake = now;
            self.tell_time(now);
            self.broker.begin_turn(now);
            for event in &events {
                self.handle_event(event, now);
            }
            self.take_mail(now);
            if self.accepting {
                self.accept(now);
            }
            self.release(now);
            self.read_ready(now);
            self.look_at_timers(now);
            self.send_away(now);
            self.broker.expire(&mut turn!(self, now));
            self.finish_turn(now);
        }
        self.end();
    }

    /// Sleeps until something is ready, after it was looked out for that, if it is worth it.
    fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
        now: Mono,
    ) -> io::Result<()> {
        let Some(lookout) = self
            .lookout
            .as_mut()
            .filter(|_| timeout != Some(Duration::ZERO))
        else {
            return self.poll.poll(events, timeout);
        };
        let mut came = self.broker.take_brought();
        came.unasked += std::mem::take(&mut self.mailed);
        if lookout.note_round(came)
            && let Some(cpu) = vitals::thread_cpu_time()
        {
            lookout.measure(now, cpu);
        }
        let look = lookout.look();
        let mut asleep = now;
        while look.is_some_and(|look| asleep.since(now) < look) {
            self.poll.poll(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(());
            }
            asleep = clock::mono();
        }
        let slept = self.poll.poll(events, timeout);
        lookout.note_slept(clock::mono().since(asleep), look.is_some());
        slept
    }

    /// Tells the broker the wall clock time, now and then, as that may be changed.
    fn tell_time(&mut self, now: Mono) {
        if now >= self.time_told_at + WALL_CLOCK {
            self.time_told_at = now;
            self.broker.set_wall_clock(now, clock::wall());
        }
    }

    /// How long to sleep: not at all with work at hand.
    fn timeout(&mut self, now: Mono) -> Option<Duration> {
        let work = !self.ready.is_empty()
            || !self.strangers.is_empty()
            || !self.due.is_empty()
            || !self.checks.is_empty()
            || self.unfinished
            || self.surveying
            || self.broker.has_news()
            || self.accepting_now();
        if work || !self.inbox().prepare_sleep() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.wheel.next(),
            self.held.front().map(|(at, _)| *at),
            self.acceptor.as_ref().and_then(Acceptor::resume_at),
            self.trim_at,
            self.lame_duck.as_ref().map(LameDuck::next),
            self.broker.expires_at(),
            self.refused_report,
        ];
        let first = deadlines.into_iter().flatten().min()?;
        // A millisecond is the kernel's unit; rounding down would mean to spin at the end.
        Some(first.since(now) + Duration::from_micros(999))
    }

    fn inbox(&self) -> &Inbox {
        &self.peers.inboxes[self.index()]
    }

    fn index(&self) -> usize {
        usize::from(self.me.0)
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
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        match link.state {
            State::Open { client, .. } => {
                link.flush_records();
                if !link.tls.is_settled() {
                    self.handle_readable(token, false);
                }
                self.broker.handle_writable(client, &mut turn!(self, now));
            }
            State::Flushing { .. } => self.flush_last_words(token, now),
            State::Lingering { .. } => {}
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
                hold: Hold::Held | Hold::Verifying,
                ..
            }
        );
        if !link.queued && !held {
            link.queued = true;
            let strange = match link.state {
                State::Open { client, .. } => self.broker.is_stranger(client),
                _ => false,
            };
            match strange {
                true => self.strangers.push_back(token),
                false => self.ready.push_back(token),
            }
        }
    }

    fn take_mail(&mut self, now: Mono) {
        let mut mail = std::mem::take(&mut self.mail);
        let mut empties = std::mem::take(&mut self.empties);
        self.inbox().take(&mut mail, &mut empties);
        self.empties = empties;
        for mail in mail.drain(..) {
            match mail {
                Mail::Batch(from, mut batch) => {
                    if self.peers.has_clients(from) {
                        self.leisure.note_others(now);
                    }
                    self.mailed += batch.len() as u64;
                    let turn = &mut turn!(self, now);
                    self.broker.handle_batch(from, &mut batch, turn);
                    self.empties.push(batch);
                }
                Mail::Connection {
                    stream,
                    addr,
                    id,
                    room,
                } => self.open(stream, addr, id, room, now),
                Mail::Verified {
                    client,
                    ticket,
                    right,
                } => {
                    if self.broker.handle_verified(client, ticket, right) {
                        self.unpause(client, now);
                    }
                }
                Mail::HoldBack(client) => self.hold_back(client, now),
                Mail::Renew(facts, tls) => {
                    self.write_deadline = facts.options.write_deadline;
                    self.broker.renew(facts, now);
                    self.renew_tls(tls);
                }
                Mail::Survey(survey) => {
                    self.broker.ask(survey);
                    self.surveying = true;
                }
                // These are for the loop of the system account.
                Mail::Changed(_)
                | Mail::Late(_)
                | Mail::Task(_)
                | Mail::Report(..)
                | Mail::Links(..)
                | Mail::Dialled(_)
                | Mail::Goodbye(_)
                | Mail::Site(_) => {}
                Mail::Cluster(view) => {
                    self.broker.show_cluster(view);
                    self.informing = true;
                }
                Mail::Shed(count) => self.broker.shed(count),
                Mail::Crowded(account) => self.broker.shed_account(account),
                Mail::LameDuck { grace, duration } => self.enter_lame_duck(grace, duration, now),
                Mail::Shutdown => self.ending = true,
            }
        }
        self.mail = mail;
    }

    /// Looks after the timers that are due, some a turn: thousands may be due at once.
    fn look_at_timers(&mut self, now: Mono) {
        self.wheel.expire(now, &mut self.due);
        for _ in 0..TIMER_BUDGET {
            let Some((tick, token)) = self.due.pop_front() else {
                return;
            };
            self.handle_timer(tick, token, now);
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
                self.look_after_handshake(token, client, now);
                if self.broker.deadline(client).is_some_and(|at| at <= now) {
                    self.broker.handle_timer(client, now);
                }
                self.schedule(token, client);
            }
            state => match self.closing_deadline(state, now) {
                Some(at) => self.set_timer(token, at),
                None => self.forget(token),
            },
        }
    }

    /// Makes sure that a client's next deadline is not missed.
    fn schedule(&mut self, token: Token, client: u32) {
        let own = self
            .links
            .get_mut(token)
            .and_then(|link| link.tls.deadline());
        if let Some(at) = self.broker.deadline(client) {
            self.set_timer(token, own.map_or(at, |own| own.min(at)));
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
        self.ask_verifier();
        self.informing = self.broker.inform();
        self.broker.finish(&mut turn!(self, now));
        if let Some(door) = &self.peers.jetstream
            && door.is_visited()
        {
            door.knock(&self.peers, now, self.leisure.has_time(now));
        }
        if self.surveying {
            self.survey(now);
        }
        let mut changed = Vec::new();
        self.broker.take_changed(&mut changed);
        if !changed.is_empty()
            && let Err(e) = self.peers.system.send(Mail::Changed(changed))
        {
            error!("Error waking the system loop: {e}");
        }
        self.broker.relieve(self.reads.pinned());
        let mut stalled = std::mem::take(&mut self.slots);
        self.broker.take_stalled(&mut stalled);
        for client in stalled.drain(..) {
            if let Some(link) = self.broker.link(client) {
                self.schedule(Token(link), client);
            }
        }
        self.slots = stalled;
        self.report_refused(now);
        self.close_closing(now);
        self.unfinished = self.broker.reap() || self.informing;
        self.trim(now);
    }

    /// Works on a question of monitoring for a moment.
    #[cold]
    fn survey(&mut self, now: Mono) {
        let figures = LoopFigures {
            read_buffers: self.reads.held(),
            load: Load {
                number: self.index(),
                turns: self.turns,
                busy: self.busy,
                lived: now.since(self.began),
                mail: self.inbox().len(),
            },
        };
        self.surveying = self.broker.survey(now, &figures);
    }

    /// Has passwords compared with their hashes.
    fn ask_verifier(&mut self) {
        self.broker.take_checks(&mut self.checks);
        if self.checks.is_empty() {
            return;
        }
        self.peers.verifier.ask(self.me, &mut self.checks);
    }

    /// Closes all connections, and gives those with something pending a moment to take it.
    fn end(&mut self) {
        let now = clock::mono();
        self.acceptor = None;
        self.broker.shut_down();
        self.close_closing(now);
        let mut events = Events::with_capacity(EVENTS);
        let deadline = now + LAST_WORDS_AT_SHUTDOWN;
        // What is left now are closed connections with something to be written.
        while !self.links.is_empty() {
            let left = deadline.since(clock::mono());
            if left.is_zero() || self.poll.poll(&mut events, Some(left)).is_err() {
                break;
            }
            for event in events.iter().filter(|e| e.is_writable()) {
                self.handle_writable(event.token(), clock::mono());
            }
        }
        let (received, sent) = self.broker.traffic();
        debug!(
            "Client loop {}: {} messages ({} bytes) received, {} ({} bytes) sent; rounds take {:?}",
            self.me.0,
            received.msgs,
            received.bytes,
            sent.msgs,
            sent.bytes,
            self.lookout.as_ref().map(Lookout::rounds)
        );
    }
}
