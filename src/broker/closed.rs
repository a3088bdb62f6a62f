//! What is remembered of connections that are gone: the newest of them, and counts of all.

use super::survey::SubscriptionRow;
use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::base::limits::CLOSED_SUBSCRIPTIONS;
use crate::conn::client::{Client, ClientId, Secured, Traffic};
use crate::proto::error::CloseReason;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A connection that is gone. It holds no secret that the client told.
pub(super) struct ClosedClient {
    pub(super) id: ClientId,
    pub(super) addr: SocketAddr,
    pub(super) opened: Mono,
    pub(super) ended: Mono,
    pub(super) last_activity: Mono,
    pub(super) reason: CloseReason,
    pub(super) rtt: Option<Duration>,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
    pub(super) stalls: u32,
    pub(super) subscriptions: usize,
    /// The first of them.
    pub(super) list: Box<[SubscriptionRow]>,
    pub(super) account: Arc<Account>,
    /// Whether it was let in.
    pub(super) admitted: bool,
    pub(super) user: Box<str>,
    pub(super) name: Box<str>,
    pub(super) lang: Box<str>,
    pub(super) version: Box<str>,
    pub(super) secured: Option<Box<Secured>>,
}

impl ClosedClient {
    /// What is remembered of `client`, which is about to be closed. `list` are the first of its
    /// subscriptions.
    pub(super) fn new(
        client: &mut Client,
        list: Box<[SubscriptionRow]>,
        reason: CloseReason,
        now: Mono,
    ) -> ClosedClient {
        debug_assert!(list.len() <= CLOSED_SUBSCRIPTIONS);
        let text = |text: Option<&String>| text.map_or("", |t| t.as_str()).into();
        let connect = client.connect.as_deref();
        ClosedClient {
            id: client.id,
            addr: client.addr,
            opened: client.opened,
            ended: now,
            last_activity: client.keepalive.last_in(),
            reason,
            rtt: client.keepalive.rtt(),
            received: client.received,
            sent: client.sent,
            stalls: client.stalls,
            subscriptions: client.sids.len(),
            list,
            account: client.account.clone(),
            admitted: client.grant.is_some(),
            user: client.who().into(),
            name: text(connect.map(|c| &c.name)),
            lang: text(connect.map(|c| &c.lang)),
            version: text(connect.map(|c| &c.version)),
            secured: client.secured.take(),
        }
    }

    /// Bytes that it takes, about.
    fn held(&self) -> usize {
        let texts = [&self.user, &self.name, &self.lang, &self.version];
        let texts: usize = texts.iter().map(|t| t.len()).sum();
        let row = |r: &SubscriptionRow| {
            size_of::<SubscriptionRow>() + r.subject.len() + r.queue.len() + r.sid.len()
        };
        size_of::<ClosedClient>() + texts + self.list.iter().map(row).sum::<usize>()
    }
}

/// The connections of one loop that are gone.
pub(super) struct Closed {
    newest: VecDeque<Arc<ClosedClient>>,
    max: usize,
    /// Bytes that those remembered take, about.
    held: usize,
    reasons: HashMap<CloseReason, u64>,
    /// What clients that are gone sent and received, by the number of their account.
    past: HashMap<u32, Past>,
}

/// What is left of an account's clients that are gone.
#[derive(Clone, Copy, Default)]
pub(super) struct Past {
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
    pub(super) slow_consumers: u64,
    /// Clients that were ever let in, those that are still there included.
    pub(super) admitted: u64,
}

impl Closed {
    /// Remembers the newest `max` connections.
    pub(super) fn new(max: usize) -> Closed {
        Closed {
            newest: VecDeque::new(),
            max,
            held: 0,
            reasons: HashMap::new(),
            past: HashMap::new(),
        }
    }

    /// How many connections are to be remembered at most.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.shrink();
    }

    pub(super) fn push(&mut self, client: Arc<ClosedClient>) {
        *self.reasons.entry(client.reason).or_default() += 1;
        if client.reason.is_slow_consumer() {
            self.of(client.account.number).slow_consumers += 1;
        }
        if self.max > 0 {
            self.held += client.held();
            self.newest.push_back(client);
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        while self.newest.len() > self.max {
            if let Some(oldest) = self.newest.pop_front() {
                self.held -= oldest.held();
            }
        }
    }

    /// What clients of this account that are gone have left.
    pub(super) fn of(&mut self, account: u32) -> &mut Past {
        self.past.entry(account).or_default()
    }

    pub(super) fn past(&self) -> impl Iterator<Item = (u32, &Past)> {
        self.past.iter().map(|(account, past)| (*account, past))
    }

    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    /// The connection at this place, the oldest first.
    pub(super) fn get(&self, at: usize) -> Option<&Arc<ClosedClient>> {
        self.newest.get(at)
    }

    /// Connections closed for each reason.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        self.reasons.iter().map(|(reason, n)| (*reason, *n))
    }

    /// Bytes that all of it takes, about.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}
