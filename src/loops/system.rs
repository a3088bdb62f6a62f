//! The loop of the server's own account: it answers requests to the services of the system account
//! and publishes events about the whole server.
//!
//! It has a broker as the client loops do, only without clients: the services are subscriptions
//! whose targets name this loop, so requests come in batches, and answers go out in batches. It may
//! wait for what other loops report, as nobody waits for it; those who flood it with requests are
//! held back by the loops that own them.

use super::client::Peers;
use super::inbox::{Inbox, Mail};
use crate::accounts::Account;
use crate::accounts::interest::{LoopId, Target};
use crate::base::clock::{self, Mono};
use crate::base::limits::{SERVICE_THREADS, SYSTEM_REQUESTS};
use crate::broker::batch::Batch;
use crate::broker::events::connections_subjects;
use crate::broker::{Broker, Facts, Turn, Wire};
use crate::monitor::Source;
use crate::monitor::request::RequestError;
use crate::proto::encoding::{ACCEPT_ENCODING, CONTENT_ENCODING, Encoding};
use crate::proto::headers;
use crate::system::heartbeat::Beat;
use crate::system::services::{Service, table};
use crate::system::{self, Elsewhere, Heartbeat, Reaction, Request};
use log::{debug, error};
use mio::{Events, Poll, Token, Waker};
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const WAKER: Token = Token(0);

/// What the system account's services may have done to the whole server.
pub trait Operator: Send + Sync {
    /// Reads the configuration again; returns when that is done.
    ///
    /// # Errors
    /// Why nothing has changed.
    fn reload(&self) -> Result<(), String>;

    /// Takes a profile; returns when the time is over.
    ///
    /// # Errors
    /// Why there is none.
    fn profile(&self, name: &str, duration: Duration) -> Result<Vec<u8>, String>;
}

/// An answer that took longer.
pub struct LateAnswer {
    pub subject: Box<[u8]>,
    pub payload: Vec<u8>,
}

/// The loop.
pub struct SystemLoop {
    me: LoopId,
    poll: Poll,
    peers: Arc<Peers>,
    broker: Broker,
    account: Option<Arc<Account>>,
    /// By the slots of their subscriptions.
    services: Vec<Service>,
    source: Arc<dyn Source + Send + Sync>,
    operator: Arc<dyn Operator>,
    id: String,
    heartbeat: Heartbeat,
    /// Clients on other servers.
    elsewhere: Elsewhere,
    /// Requests that wait.
    requests: VecDeque<Asked>,
    /// Accounts of whose clients is to be told.
    changed: BTreeSet<u32>,
    /// Threads that work on answers.
    late: Arc<AtomicUsize>,
    ending: bool,
    mail: Vec<Mail>,
    empties: Vec<Batch>,
}

/// A request to a service.
struct Asked {
    service: Service,
    subject: Box<[u8]>,
    reply: Option<Box<[u8]>>,
    headers: Box<[u8]>,
    body: Box<[u8]>,
}

/// The way out: to the client loops only.
struct Ways<'a> {
    me: LoopId,
    peers: &'a Peers,
}

impl Wire for Ways<'_> {
    fn write(&mut self, _link: usize, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        self.peers.pass(self.me, to, batch);
    }
}

macro_rules! turn {
    ($system:ident, $now:expr) => {
        Turn {
            wire: &mut Ways {
                me: $system.me,
                peers: &$system.peers,
            },
            now: $now,
        }
    };
}

impl SystemLoop {
    /// A poll and the waker that its inbox needs.
    ///
    /// # Errors
    /// The system has no more descriptors for it.
    pub fn poll() -> io::Result<(Poll, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((poll, waker))
    }

    /// The loop, which listens on the services' subjects from now on.
    pub fn new(
        (me, poll): (LoopId, Poll),
        peers: Arc<Peers>,
        mut broker: Broker,
        facts: &Facts,
        source: Arc<dyn Source + Send + Sync>,
        operator: Arc<dyn Operator>,
    ) -> SystemLoop {
        let account = facts.accounts.system().map(|t| t.account.clone());
        let mut services = Vec::new();
        if let Some(account) = &account {
            for (slot, (subject, service)) in
                (0..).zip(table(&facts.id, facts.options.is_clustered()))
            {
                let target = Target {
                    owner: me,
                    slot,
                    generation: 0,
                };
                let inserted = account.interest.insert(subject.as_bytes(), None, target);
                debug_assert!(inserted.is_ok(), "{subject}");
                services.push(service);
            }
        }
        let now = clock::mono();
        broker.set_wall_clock(now, clock::wall());
        SystemLoop {
            me,
            poll,
            peers,
            broker,
            account,
            services,
            source,
            operator,
            id: facts.id.clone(),
            heartbeat: Heartbeat::new(now),
            elsewhere: Elsewhere::default(),
            requests: VecDeque::new(),
            changed: BTreeSet::new(),
            late: Arc::default(),
            ending: false,
            mail: Vec::new(),
            empties: Vec::new(),
        }
    }

    /// Turns until told to shut down; the last that it says is that the server does.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(4);
        while !self.ending {
            let timeout = self.timeout();
            if let Err(e) = self.poll.poll(&mut events, timeout)
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!("Error waiting for requests of the system account: {e}");
                break;
            }
            self.inbox().woken();
            let now = clock::mono();
            self.broker.set_wall_clock(now, clock::wall());
            self.broker.begin_turn(now);
            self.take_mail(now);
            // One request a turn, so that its answer is on its way before the next takes its time.
            if let Some(asked) = self.requests.pop_front() {
                self.answer(&asked, now);
            }
            self.tell_of_accounts(now);
            while let Some(beat) = self.heartbeat.due(now) {
                self.beat(beat, now);
            }
            self.broker.expire(&mut turn!(self, now));
            self.broker.finish(&mut turn!(self, now));
        }
        let now = clock::mono();
        self.announce_self("SHUTDOWN", now);
        self.broker.finish(&mut turn!(self, now));
    }

    fn timeout(&mut self) -> Option<Duration> {
        let work = !self.requests.is_empty() || !self.changed.is_empty();
        if work || !self.inbox().prepare_sleep() {
            return Some(Duration::ZERO);
        }
        // Without the account, there is nothing to be told.
        self.account.as_ref()?;
        let beat = self.heartbeat.next();
        let first = self.broker.expires_at().map_or(beat, |at| at.min(beat));
        Some(first.since(clock::mono()) + Duration::from_micros(999))
    }

    fn inbox(&self) -> &Inbox {
        &self.peers.system
    }

    fn take_mail(&mut self, now: Mono) {
        let mut mail = std::mem::take(&mut self.mail);
        let mut empties = std::mem::take(&mut self.empties);
        self.peers.system.take(&mut mail, &mut empties);
        self.empties = empties;
        for mail in mail.drain(..) {
            match mail {
                Mail::Batch(_, mut batch) => {
                    self.take_requests(&batch);
                    let turn = &mut turn!(self, now);
                    self.broker.end_traces(&mut batch, turn);
                    batch.clear();
                    self.empties.push(batch);
                }
                Mail::Changed(accounts) => self.changed.extend(accounts),
                Mail::Late(answer) => self.publish(&answer.subject, answer.payload, now),
                Mail::Renew(facts, _) => self.broker.renew(facts, now),
                Mail::LameDuck { .. } => self.announce_self("LAMEDUCK", now),
                Mail::Shutdown => self.ending = true,
                // These are for loops with clients.
                Mail::Connection { .. }
                | Mail::Verified { .. }
                | Mail::HoldBack(_)
                | Mail::Survey(_)
                | Mail::Task(_)
                | Mail::Report(..)
                | Mail::Dialled(_)
                | Mail::Site(_)
                | Mail::Links(..)
                | Mail::Cluster(_)
                | Mail::Crowded(_)
                | Mail::Goodbye(_)
                | Mail::Shed(_) => {}
            }
        }
        self.mail = mail;
    }

    /// Takes requests over from a batch; what is too much is dropped, as by a service that cannot
    /// keep up.
    fn take_requests(&mut self, batch: &Batch) {
        batch.for_each(|message, to, _| {
            let Some(route) = to.plain() else {
                return;
            };
            for target in route.plain_of(self.me) {
                if self.requests.len() >= SYSTEM_REQUESTS {
                    debug!("Too many requests of the system account wait, one is dropped");
                    return;
                }
                let Some(service) = self.services.get(target.slot as usize) else {
                    continue;
                };
                let header_len = message.header_len.unwrap_or(0);
                let end = message.payload.len() - 2;
                self.requests.push_back(Asked {
                    service: *service,
                    subject: message.subject().into(),
                    reply: message.reply.map(Into::into),
                    headers: message.payload[..header_len].into(),
                    body: message.payload[header_len..end].into(),
                });
            }
        });
    }

    fn answer(&mut self, asked: &Asked, now: Mono) {
        let request = Request {
            subject: &asked.subject,
            wants_answer: asked.reply.is_some(),
            headers: &asked.headers,
            body: &asked.body,
        };
        match system::handle(&*self.source, asked.service, &request) {
            Reaction::Silence => {}
            Reaction::Answer(payload) => {
                if let Some(reply) = &asked.reply {
                    self.publish_encoded(reply, &asked.headers, payload, now);
                }
            }
            Reaction::Connections(stat) => {
                if let Some(reply) = &asked.reply {
                    let id = self.broker.event_id();
                    let payload = system::connections_event(&*self.source, id, &stat);
                    self.publish(reply, payload, now);
                }
            }
            Reaction::Broadcast => self.tell_statsz(now),
            Reaction::Elsewhere(server, account, clients) => {
                if server != self.id {
                    let name = account.clone();
                    self.elsewhere.note(server, account, clients, now);
                    self.count_elsewhere(&name);
                }
            }
            Reaction::Ends(server) => {
                for account in self.elsewhere.forget(&server) {
                    self.count_elsewhere(&account);
                }
            }
            Reaction::Reload => {
                let (operator, source) = (self.operator.clone(), self.source.clone());
                self.work(asked, move || {
                    let done = operator.reload().map_err(|description| RequestError {
                        code: 500,
                        description,
                    });
                    system::plain(&*source, done)
                });
            }
            Reaction::Profile { name, duration } => {
                let (operator, source) = (self.operator.clone(), self.source.clone());
                self.work(asked, move || {
                    let taken = operator.profile(&name, duration);
                    system::profile_answer(&*source, taken)
                });
            }
        }
    }

    /// The clients of an account on other servers are other ones: if there are too many now, those that
    /// came last to this server are closed, as the other servers do with theirs.
    fn count_elsewhere(&mut self, name: &str) {
        let facts = self.source.facts();
        let Some(tenant) = facts.accounts.named(name) else {
            return;
        };
        let (account, total) = (&tenant.account, self.elsewhere.total(name));
        account.elsewhere.store(total, Ordering::Relaxed);
        let own = account.connections.load(Ordering::Relaxed);
        let limit = tenant.limits.max_connections.unwrap_or(usize::MAX);
        let excess = own.saturating_add(total).saturating_sub(limit).min(own);
        account.excess.store(excess, Ordering::Relaxed);
        if excess == 0 {
            return;
        }
        for inbox in &self.peers.inboxes {
            if let Err(e) = inbox.send(Mail::Crowded(account.number)) {
                error!("Error waking a client loop: {e}");
            }
        }
    }

    /// Has an answer made by a thread of its own; there are few of them.
    fn work(&mut self, asked: &Asked, make: impl FnOnce() -> Vec<u8> + Send + 'static) {
        let late = self.late.clone();
        if late.fetch_add(1, Ordering::Relaxed) >= SERVICE_THREADS {
            late.fetch_sub(1, Ordering::Relaxed);
            debug!("Too many long requests of the system account at a time, one is dropped");
            return;
        }
        let (peers, subject) = (self.peers.clone(), asked.reply.clone());
        let work = move || {
            let payload = make();
            if let Some(subject) = subject {
                let answer = LateAnswer { subject, payload };
                if let Err(e) = peers.system.send(Mail::Late(answer)) {
                    error!("Error waking the system loop: {e}");
                }
            }
            late.fetch_sub(1, Ordering::Relaxed);
        };
        if let Err(e) = thread::Builder::new().name("service".into()).spawn(work) {
            self.late.fetch_sub(1, Ordering::Relaxed);
            error!("No thread for a request of the system account: {e}");
        }
    }

    fn publish(&mut self, subject: &[u8], payload: Vec<u8>, now: Mono) {
        if let Some(account) = self.account.clone() {
            let turn = &mut turn!(self, now);
            self.broker.announce(&account, subject, payload, turn);
        }
    }

    /// Publishes an answer in the encoding that the headers of the request ask for, if they ask for
    /// any. Where they do, the answer says which one it got.
    fn publish_encoded(&mut self, subject: &[u8], asked: &[u8], payload: Vec<u8>, now: Mono) {
        let Some(accepted) = headers::value(asked, ACCEPT_ENCODING) else {
            return self.publish(subject, payload, now);
        };
        let Some(account) = self.account.clone() else {
            return;
        };
        let encoding = Encoding::accepted(accepted);
        let mut message = Vec::new();
        headers::replace(
            &mut message,
            b"",
            CONTENT_ENCODING,
            encoding.name().as_bytes(),
        );
        let header_len = Some(message.len());
        message.extend(encoding.encode(payload));
        message.extend_from_slice(b"\r\n");
        let turn = &mut turn!(self, now);
        self.broker
            .publish_own(&account, (subject, None), &message, header_len, turn);
    }

    /// Whether somebody listens to an event.
    fn is_heard(&mut self, subject: &str) -> bool {
        let account = self.account.clone();
        account.is_some_and(|account| self.broker.is_heard(&account, subject.as_bytes()))
    }

    fn beat(&mut self, beat: Beat, now: Mono) {
        match beat {
            Beat::Statsz => self.tell_statsz(now),
            Beat::Accounts => {
                for account in self.elsewhere.expire(now) {
                    self.count_elsewhere(&account);
                }
                let facts = self.source.facts();
                let with_clients = facts.accounts.iter().filter(|tenant| {
                    let account = &tenant.account;
                    *account.name != *crate::accounts::GLOBAL
                        && account.connections.load(Ordering::Relaxed) > 0
                });
                let numbers = with_clients.map(|tenant| tenant.account.number);
                self.changed.extend(numbers);
            }
        }
    }

    fn tell_statsz(&mut self, now: Mono) {
        let subject = format!("$SYS.SERVER.{}.STATSZ", self.id);
        if self.is_heard(&subject) {
            let payload = system::statsz_event(&*self.source);
            self.publish(subject.as_bytes(), payload, now);
        }
    }

    /// Tells how many clients accounts have.
    fn tell_of_accounts(&mut self, now: Mono) {
        let Some(number) = self.changed.pop_first() else {
            return;
        };
        let facts = self.source.facts();
        let Some(tenant) = facts.accounts.tenant(number) else {
            return;
        };
        let name = &*tenant.account.name;
        let subjects = connections_subjects(name);
        let heard: Vec<_> = subjects.iter().filter(|s| self.is_heard(s)).collect();
        if heard.is_empty() {
            return;
        }
        if let Some(stat) = crate::monitor::request::connections(&*self.source, name) {
            let id = self.broker.event_id();
            let payload = system::connections_event(&*self.source, id, &stat);
            for subject in heard {
                self.publish(subject.as_bytes(), payload.clone(), now);
            }
        }
    }

    /// Tells that something is up with the whole server.
    fn announce_self(&mut self, what: &str, now: Mono) {
        let subject = format!("$SYS.SERVER.{}.{what}", self.id);
        if self.is_heard(&subject) {
            let payload = system::server_event(&*self.source);
            self.publish(subject.as_bytes(), payload, now);
        }
    }
}
