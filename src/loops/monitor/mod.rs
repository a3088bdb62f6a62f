//! The loop of those who monitor the server over HTTP.
//!
//! It owns their sockets, TLS, the heads of their requests, and every limit; what it takes for a
//! whole request goes to a thread of the [`backend`] and the answer comes back from there, as fast
//! as the client takes it. Messaging has no part in any of this.
//!
//! A turn: sleep until something is ready; take mail; accept; drive the connections that something
//! happened to; move answers from the backend to them; give waiting requests to idle threads; look
//! after timers.

mod backend;
mod connection;
mod front;
mod mail;
mod relay;

use crate::base::clock::{self, Mono};
use crate::base::limits::{
    ACCEPT_BUDGET, MONITOR_CONNECTIONS, MONITOR_HOLD_TIME, MONITOR_LAST_ANSWERS,
    MONITOR_REQUEST_TIME, MONITOR_RETRY, MONITOR_WORKERS, TIMER_BUDGET,
};
use crate::monitor::http::Handler;
use crate::monitor::path;
use crate::net::listen::{Accepted, Acceptor};
use crate::net::table::{RESERVED, Table};
use crate::net::timer::{Tick, Wheel};
use crate::net::tls::ServerTls;
use backend::Backend;
use connection::{Connection, Phase, Scratch};
use log::error;
use mail::{Command, Mailbox};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const WAKER: Token = Token(RESERVED);
const LISTENER: usize = RESERVED + 1;
const SITES_MAX: usize = 4;
const SLOT: usize = LISTENER + SITES_MAX;
const _: () = assert!(MONITOR_WORKERS < usize::MAX - SLOT);

/// Events taken from the kernel a turn.
const EVENTS: usize = 256;

/// A listener, and what is found there.
pub struct Site {
    pub listener: TcpListener,
    /// Whether it speaks TLS, with this for the time being.
    pub tls: Option<Arc<ServerTls>>,
    /// The path that all of it is below, as it is configured.
    pub base_path: String,
    pub handler: Arc<dyn Handler>,
}

/// The running loop. It ends when dropped.
pub struct Monitor {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts serving up to four sites.
    ///
    /// # Errors
    /// The system lacks descriptors or threads.
    pub fn start(sites: Vec<Site>) -> io::Result<Monitor> {
        assert!(sites.len() <= SITES_MAX, "there are tokens for so many");
        let poll = Poll::new()?;
        let mailbox = Arc::new(Mailbox::new(Waker::new(poll.registry(), WAKER)?));
        let monitor_loop = MonitorLoop::new(poll, sites, mailbox.clone())?;
        let thread = thread::Builder::new()
            .name("monitor".into())
            .spawn(move || monitor_loop.run())?;
        Ok(Monitor {
            mailbox,
            thread: Some(thread),
        })
    }

    /// Goes on with another TLS for new connections.
    pub fn renew(&self, tls: Option<Arc<ServerTls>>) {
        self.mailbox.send(Command::Renew(tls));
    }
}

impl Drop for Monitor {
    /// Stops accepting; whoever waits for an answer gets a moment more. What is being answered
    /// after that ends by itself, and nobody waits for it.
    fn drop(&mut self) {
        self.mailbox.send(Command::Shutdown);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("The monitor loop ended with a panic");
        }
    }
}

/// What is kept of a [`Site`].
struct Door {
    acceptor: Acceptor,
    accepting: bool,
    tls: Option<Arc<ServerTls>>,
    base: String,
}

struct MonitorLoop {
    poll: Poll,
    mailbox: Arc<Mailbox>,
    doors: Vec<Door>,
    handlers: Arc<[Arc<dyn Handler>]>,
    connections: Table<Connection>,
    /// Connections to which something happened.
    ready: VecDeque<Token>,
    /// Connections whose requests wait for a thread.
    waiting: VecDeque<Token>,
    backend: Option<Backend>,
    /// When to try to set it up again.
    retry_at: Option<Mono>,
    scratch: Scratch,
    wheel: Wheel,
    /// Timers whose time has come.
    due: VecDeque<(Tick, Token)>,
    /// Bytes that wait to be written to all connections together.
    ahead: usize,
    /// When all ends, once that was asked for.
    ends_at: Option<Mono>,
}

impl MonitorLoop {
    fn new(poll: Poll, sites: Vec<Site>, mailbox: Arc<Mailbox>) -> io::Result<MonitorLoop> {
        let mut doors = Vec::new();
        let mut handlers = Vec::new();
        for (i, mut site) in sites.into_iter().enumerate() {
            let token = Token(LISTENER + i);
            poll.registry()
                .register(&mut site.listener, token, Interest::READABLE)?;
            handlers.push(site.handler);
            doors.push(Door {
                acceptor: Acceptor::new(site.listener),
                accepting: false,
                tls: site.tls,
                base: path::base(&site.base_path),
            });
        }
        let mut new = MonitorLoop {
            poll,
            mailbox,
            doors,
            handlers: handlers.into(),
            connections: Table::default(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            backend: None,
            retry_at: None,
            scratch: Scratch::default(),
            wheel: Wheel::default(),
            due: VecDeque::new(),
            ahead: 0,
            ends_at: None,
        };
        new.backend = Some(new.set_up()?);
        Ok(new)
    }

    fn set_up(&self) -> io::Result<Backend> {
        let token = |slot| Token(SLOT + slot);
        let (handlers, mailbox) = (self.handlers.clone(), self.mailbox.clone());
        Backend::new(self.poll.registry(), token, handlers, mailbox)
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_over() {
            let timeout = self.timeout();
            if let Err(e) = self.poll.poll(&mut events, timeout)
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!("Error waiting for monitoring connections: {e}");
                break;
            }
            let now = clock::mono();
            for event in &events {
                self.handle_event(event);
            }
            self.take_mail(now);
            self.accept(now);
            self.drive(now);
            self.relay(now);
            self.renew_backend(now);
            self.assign(now);
            self.free_held(now);
            self.look_at_timers(now);
        }
    }

    fn is_over(&self) -> bool {
        let passed = |at: Mono| clock::mono() >= at;
        self.ends_at
            .is_some_and(|at| self.connections.is_empty() || passed(at))
    }

    fn timeout(&self) -> Option<Duration> {
        let accepting = |door: &Door| door.accepting && door.acceptor.resume_at().is_none();
        let slots = self.backend.iter().flat_map(|backend| &backend.slots);
        let work = !self.ready.is_empty()
            || !self.due.is_empty()
            || self.doors.iter().any(accepting)
            || slots.into_iter().any(|slot| slot.due);
        if work {
            return Some(Duration::ZERO);
        }
        let resumes = self.doors.iter().filter_map(|d| d.acceptor.resume_at());
        let others = [
            self.wheel.next(),
            self.retry_at,
            self.ends_at,
            self.holds_until(),
        ];
        let first = resumes.chain(others.into_iter().flatten()).min()?;
        // A millisecond is the kernel's unit; rounding down would mean to spin at the end.
        Some(first.since(clock::mono()) + Duration::from_micros(999))
    }

    fn handle_event(&mut self, event: &Event) {
        let token = event.token();
        match token.0 {
            _ if token == WAKER => {}
            SLOT.. => {
                let slots = self.backend.iter_mut().flat_map(|b| &mut b.slots);
                if let Some(slot) = slots.into_iter().nth(token.0 - SLOT) {
                    slot.readable |= event.is_readable() || event.is_read_closed();
                    slot.due = true;
                }
            }
            LISTENER.. => {
                if let Some(door) = self.doors.get_mut(token.0 - LISTENER) {
                    door.accepting = true;
                }
            }
            _ => {
                let Some(connection) = self.connections.get_mut(token) else {
                    return;
                };
                // Nobody is there any more. Who has only ended its own side still listens.
                if event.is_error() || event.is_read_closed() && event.is_write_closed() {
                    return self.forget(token);
                }
                connection.readable |= event.is_readable() || event.is_read_closed();
                self.queue(token);
            }
        }
    }

    /// Has a connection looked after in this turn.
    fn queue(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(token);
        }
    }

    fn take_mail(&mut self, now: Mono) {
        for command in self.mailbox.take() {
            match command {
                Command::Renew(tls) => {
                    for door in self.doors.iter_mut().filter(|door| door.tls.is_some()) {
                        door.tls.clone_from(&tls);
                    }
                }
                Command::BackendFailed => {
                    if let Some(backend) = &mut self.backend {
                        backend.fail();
                    }
                }
                Command::Shutdown => self.begin_to_end(now),
            }
        }
    }

    fn begin_to_end(&mut self, now: Mono) {
        self.ends_at = Some(now + MONITOR_LAST_ANSWERS);
        self.doors.clear();
        for token in self.connections.tokens() {
            if let Some(connection) = self.connections.get_mut(token) {
                connection.closes = true;
                // Who lingers may not have read the answer yet.
                let lingers = matches!(connection.phase, Phase::Lingering { .. });
                if connection.is_idle() && !lingers {
                    self.forget(token);
                }
            }
        }
    }

    fn accept(&mut self, now: Mono) {
        for site in 0..self.doors.len() {
            for _ in 0..ACCEPT_BUDGET {
                let Some(door) = self.doors.get_mut(site).filter(|door| door.accepting) else {
                    break;
                };
                match door.acceptor.accept(now) {
                    Accepted::Connection(stream, _) => self.open(stream, site, now),
                    Accepted::Nobody => door.accepting = false,
                    Accepted::Paused(reason) => {
                        if let Some(e) = reason {
                            error!("Temporary monitoring accept error ({e}), pausing");
                        }
                        break;
                    }
                }
            }
        }
    }

    fn open(&mut self, stream: TcpStream, site: usize, now: Mono) {
        if self.connections.len() >= MONITOR_CONNECTIONS && !self.make_room() {
            return;
        }
        // A peer that is gone already shows when it is read from.
        let _ = stream.set_nodelay(true);
        let tls = self.doors[site].tls.clone();
        let patience = tls.as_ref().map_or(MONITOR_REQUEST_TIME, |tls| tls.timeout);
        let new = Connection::new(stream, site, tls, now);
        let token = self.connections.insert(|_| new);
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if let Err(e) = registry.register(&mut connection.stream, token, interest) {
            error!("A monitoring connection cannot be polled: {e}");
            return self.forget(token);
        }
        self.set_deadline(token, now + patience);
        self.queue(token);
    }

    /// Closes the connection that has been idle longest; says whether there was one.
    fn make_room(&mut self) -> bool {
        let tokens = self.connections.tokens();
        let idle = tokens.into_iter().filter_map(|token| {
            let connection = self.connections.get_mut(token)?;
            connection.is_idle().then_some((connection.since, token))
        });
        let oldest = idle.min();
        if let Some((_, token)) = oldest {
            self.forget(token);
        }
        oldest.is_some()
    }

    /// Closes a connection at once. If it was being served, the answer goes nowhere.
    fn forget(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        self.ahead -= connection.counted;
        match connection.phase {
            Phase::Waiting(_) => self.waiting.retain(|other| *other != token),
            Phase::Serving(slot) => self.abandon(slot),
            _ => {}
        }
        // Closing the socket deregisters it as well; this only keeps the order clean.
        let _ = self.poll.registry().deregister(&mut connection.stream);
    }

    fn set_deadline(&mut self, token: Token, at: Mono) {
        let tick = Tick::after(at);
        if let Some(connection) = self.connections.get_mut(token) {
            connection.deadline = at;
            if connection.timer.is_none_or(|t| t > tick) {
                connection.timer = Some(tick);
                self.wheel.enter(tick, token);
            }
        }
    }

    fn look_at_timers(&mut self, now: Mono) {
        self.wheel.expire(now, &mut self.due);
        for _ in 0..TIMER_BUDGET {
            let Some((tick, token)) = self.due.pop_front() else {
                return;
            };
            let Some(connection) = self.connections.get_mut(token) else {
                continue;
            };
            if connection.timer != Some(tick) {
                continue;
            }
            connection.timer = None;
            let deadline = connection.deadline;
            match deadline > now {
                true => self.set_deadline(token, deadline),
                false => self.handle_deadline(token, now),
            }
        }
    }

    /// Replaces what answers requests, if it has failed and nothing more comes of it.
    fn renew_backend(&mut self, now: Mono) {
        if self.backend.as_ref().is_some_and(Backend::is_spent) {
            self.backend = None;
            self.retry_at = Some(now);
        }
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        match self.set_up() {
            Ok(backend) => {
                self.backend = Some(backend);
                self.retry_at = None;
            }
            Err(e) => {
                error!("Error setting up monitoring: {e}");
                self.retry_at = Some(now + MONITOR_RETRY);
            }
        }
    }

    /// When somebody has held a thread for as long as one may while others wait.
    fn holds_until(&self) -> Option<Mono> {
        if self.waiting.is_empty() {
            return None;
        }
        let slots = self.backend.iter().flat_map(|backend| &backend.slots);
        let held = slots.into_iter().filter_map(backend::Slot::blocked_since);
        held.map(|(since, _)| since + MONITOR_HOLD_TIME).min()
    }

    /// Closes connections that hold threads for which others wait.
    fn free_held(&mut self, now: Mono) {
        if self.holds_until().is_none_or(|at| at > now) {
            return;
        }
        let slots = self.backend.iter().flat_map(|backend| &backend.slots);
        let held = slots.into_iter().filter_map(backend::Slot::blocked_since);
        let over = held.filter(|(since, _)| *since + MONITOR_HOLD_TIME <= now);
        for token in over.map(|(_, client)| client).collect::<Vec<_>>() {
            self.forget(token);
        }
    }
}
