//! What is behind the front: tiny_http, which reads clean requests from a few connections of the
//! front's own and has a thread for each request that is being answered.
//!
//! tiny_http never meets the network. It has no limits of its own: a thread for each connection, no
//! deadlines, heads of any size, and the first accept that fails is its last. So there are as many
//! connections as threads that answer, all made before it starts; the front keeps the limits, and
//! makes all of this anew when something in it fails.

use super::Mailbox;
use super::connection::Ticket;
use super::mail::Command;
use crate::base::clock::Mono;
use crate::base::limits::MONITOR_WORKERS;
use crate::monitor::http::{Accepted, Handler, Request, is_header_value};
use crate::os::private::{self, Listener, Stream};
use mio::{Interest, Registry, Token};
use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tiny_http::{Header, Server, StatusCode};

/// One set-up of tiny_http with its threads. It ends when dropped, each thread once it has answered
/// what it is at.
pub(super) struct Backend {
    pub(super) slots: Vec<Slot>,
    shared: Arc<Shared>,
    /// To end the wait for connections with.
    listener: Option<Listener>,
    /// Whether it is to be replaced.
    pub(super) failed: bool,
}

struct Shared {
    server: Server,
    ending: AtomicBool,
    /// What all requests of the front begin with, and nobody else's.
    secret: String,
    handlers: Arc<[Arc<dyn Handler>]>,
    mailbox: Arc<Mailbox>,
}

/// A connection to tiny_http.
pub(super) struct Slot {
    pub(super) stream: Stream,
    pub(super) state: SlotState,
    /// Whether there may be something to read.
    pub(super) readable: bool,
    /// Whether it is to be looked after in this turn.
    pub(super) due: bool,
}

pub(super) enum SlotState {
    Idle,
    Busy(Exchange),
    /// It was closed from the other side.
    Dead,
}

/// A request that is being answered.
pub(super) struct Exchange {
    /// Who gets the answer; None if it is no longer wanted.
    pub(super) client: Option<Token>,
    pub(super) head_only: bool,
    pub(super) request: Vec<u8>,
    /// Bytes of it that were written.
    pub(super) sent: usize,
    pub(super) answer: Answer,
    /// Since when there is no room for more of the answer.
    pub(super) blocked_since: Option<Mono>,
}

/// What has come of an answer.
pub(super) enum Answer {
    /// This much of its head.
    Head(Vec<u8>),
    /// Its head and all of its body but this many bytes.
    Body(usize),
}

impl Backend {
    /// Sets it all up; `tokens` are those of the slots.
    ///
    /// # Errors
    /// The system lacks descriptors or threads.
    pub(super) fn new(
        registry: &Registry,
        tokens: impl Fn(usize) -> Token,
        handlers: Arc<[Arc<dyn Handler>]>,
        mailbox: Arc<Mailbox>,
    ) -> io::Result<Backend> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let hidden = private::hidden(MONITOR_WORKERS)?;
        let listener = hidden.listener.try_clone()?;
        let server = hidden.listener.into_server();
        let shared = Arc::new(Shared {
            server: server?,
            ending: AtomicBool::new(false),
            secret: data_encoding::HEXLOWER.encode(&random),
            handlers,
            mailbox,
        });
        let slot = |(i, mut stream): (usize, Stream)| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, tokens(i), interest)?;
            Ok(Slot {
                stream,
                state: SlotState::Idle,
                readable: false,
                due: false,
            })
        };
        // From here on, dropping it ends what was begun.
        let mut backend = Backend {
            slots: Vec::new(),
            shared,
            listener: Some(listener),
            failed: false,
        };
        let slots = hidden.streams.into_iter().enumerate().map(slot);
        backend.slots = slots.collect::<io::Result<_>>()?;
        for i in 0..MONITOR_WORKERS {
            let shared = backend.shared.clone();
            thread::Builder::new()
                .name(format!("monitor-{i}"))
                .spawn(move || shared.work())?;
        }
        Ok(backend)
    }

    /// Notes that something failed. What is being answered goes on, and what never will be is
    /// noticed by that its connection ends.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        if let Some(listener) = self.listener.take() {
            listener.interrupt();
        }
    }

    /// A slot that can take a request.
    pub(super) fn idle(&self) -> Option<usize> {
        if self.failed {
            return None;
        }
        let idle = |slot: &Slot| matches!(slot.state, SlotState::Idle);
        self.slots.iter().position(idle)
    }

    /// Whether it is of no more use.
    pub(super) fn is_spent(&self) -> bool {
        let is = |wanted: fn(&SlotState) -> bool| self.slots.iter().any(|s| wanted(&s.state));
        let busy = is(|state| matches!(state, SlotState::Busy(_)));
        let dead = is(|state| matches!(state, SlotState::Dead));
        (self.failed || dead) && !busy
    }

    /// Begins to have a request answered.
    pub(super) fn begin(&mut self, slot: usize, client: Token, ticket: Ticket) {
        let Ticket {
            site,
            head_only,
            request,
        } = ticket;
        let slot = &mut self.slots[slot];
        slot.due = true;
        slot.state = SlotState::Busy(Exchange {
            client: Some(client),
            head_only,
            request: self.shared.written(site, head_only, &request),
            sent: 0,
            answer: Answer::Head(Vec::new()),
            blocked_since: None,
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.fail();
        for _ in 0..MONITOR_WORKERS {
            self.shared.server.unblock();
        }
    }
}

impl Shared {
    /// A request in the one form that tiny_http gets to read.
    fn written(&self, site: usize, head_only: bool, request: &Request) -> Vec<u8> {
        let method = if head_only { "HEAD" } else { "GET" };
        let (secret, target) = (&self.secret, request.target());
        let mut written = format!("{method} /{secret}/{site}{target} HTTP/1.1\r\n");
        for (name, value) in [
            ("Accept-Encoding: ", &request.accept_encoding),
            ("Accept: ", &request.accept),
        ] {
            if !value.is_empty() && is_header_value(value) {
                written.extend([name, value, "\r\n"]);
            }
        }
        written.push_str("\r\n");
        written.into_bytes()
    }

    /// Which handler a request is for, and the request.
    fn read(&self, request: &tiny_http::Request) -> Option<(&dyn Handler, Request)> {
        let rest = request.url().strip_prefix('/')?;
        let rest = rest.strip_prefix(&*self.secret)?.strip_prefix('/')?;
        let (site, _) = rest.split_once('/')?;
        let handler = self.handlers.get(site.parse::<usize>().ok()?)?;
        let header = |name| {
            let mut headers = request.headers().iter();
            let found = headers.find(|header| header.field.equiv(name));
            found.map_or_else(String::new, |header| header.value.as_str().to_owned())
        };
        let accepted = Accepted {
            encoding: header("Accept-Encoding"),
            types: header("Accept"),
        };
        let read = Request::from_target(&rest[site.len()..], &accepted)?;
        Some((&**handler, read))
    }

    /// What each of the threads does.
    fn work(&self) {
        loop {
            match self.server.recv() {
                Ok(request) => self.answer(request),
                Err(_) if self.ending.load(Ordering::Relaxed) => return,
                Err(_) => self.mailbox.send(Command::BackendFailed),
            }
        }
    }

    fn answer(&self, request: tiny_http::Request) {
        let Some((handler, read)) = self.read(&request) else {
            // Not one of the front's. Dropping it says so.
            return;
        };
        let response = handler.handle(&read);
        let content_type = ("Content-Type", response.content_type.to_owned());
        let headers = response.headers.into_iter().chain([content_type]);
        let headers = headers.filter(|(_, value)| is_header_value(value));
        let headers = headers.filter_map(|(name, value)| Header::from_bytes(name, value).ok());
        let len = response.body.len();
        let answer = tiny_http::Response::new(
            StatusCode(response.status),
            headers.collect(),
            Cursor::new(response.body),
            Some(len),
            None,
        );
        // If the front no longer listens, nobody wants to know.
        let _ = request.respond(answer.with_chunked_threshold(usize::MAX));
    }
}
