//! Answers questions about the clients of a loop, a slice of the work a turn, so that nobody waits
//! for it: a loop may have a hundred thousand clients, and a client a million subscriptions.
//!
//! Connections are first gone through for their place in the order that was asked for, of which the
//! first are kept; only those are then told of in full.

use super::Broker;
use super::closed::ClosedClient;
use super::delivery::{Delivery, Subscription};
use super::survey::{
    AccountTotals, ConnectionRow, ConnectionsQuestion, ConnectionsReport, Detail, LoopFigures,
    Question, Report, Sort, State, SubscriptionRow, SubscriptionsQuestion, SubscriptionsReport,
    Survey, TlsRow, Totals, UserReport,
};
use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::base::limits::{SURVEY_BUDGET, SURVEY_ROWS, SURVEYS_MAX};
use crate::conn::client::{Client, Secured};
use crate::proto::error::CloseReason;
use crate::subject::pattern;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

/// The questions that a loop works on, in their order.
#[derive(Default)]
pub(super) struct Surveyor {
    waiting: VecDeque<Task>,
}

/// A question, and how far the work on it has come.
struct Task {
    survey: Survey,
    work: Work,
}

enum Work {
    /// Nothing was looked at.
    New,
    Totals {
        next: u32,
        totals: Box<Totals>,
        accounts: HashMap<u32, AccountTotals>,
    },
    Picking(Picking),
    Telling(Telling),
    Subscriptions {
        next: u32,
        report: SubscriptionsReport,
        names: HashMap<u32, Arc<str>>,
    },
    /// Looks for a client by its number.
    Finding {
        next: u32,
    },
}

/// Goes through all connections for those that come first.
struct Picking {
    question: Arc<ConnectionsQuestion>,
    matching: usize,
    /// The first in the order asked for, the last of them on top.
    first: BinaryHeap<Pick>,
    next: Next,
    /// A connection that counts if one of these subscriptions does, which are still to be looked
    /// at.
    doubtful: Option<(u32, Vec<u32>)>,
}

/// Which connection is looked at next.
enum Next {
    Open(u32),
    /// Counted from the newest, so that those that are closed meanwhile do not move the others out
    /// of reach.
    Closed(usize),
}

/// A connection by its place in the order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pick {
    key: Key,
    cid: u64,
    which: Which,
}

/// A number, or a text, by which connections are ordered.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Key(u64);

enum Which {
    Open(u32),
    Closed(Arc<ClosedClient>),
}

impl PartialEq for Which {
    fn eq(&self, _: &Which) -> bool {
        true
    }
}

impl Eq for Which {}

impl PartialOrd for Which {
    fn partial_cmp(&self, other: &Which) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Which {
    /// A connection's number tells it from all others already.
    fn cmp(&self, _: &Which) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Tells of the connections that were picked.
struct Telling {
    question: Arc<ConnectionsQuestion>,
    matching: usize,
    /// Those to come, the next one last.
    picks: Vec<Pick>,
    rows: Vec<ConnectionRow>,
    /// The subscriptions of the last row that are still to be added to it.
    subscriptions: Vec<u32>,
}

/// What became of a slice of work.
enum Slice {
    /// There is more to do, with so much of the budget left.
    More(Work),
    Done(Report),
}

impl Broker {
    /// Takes on a question, which [`Broker::survey`] works on.
    pub fn ask(&mut self, survey: Survey) {
        if self.surveyor.waiting.len() >= SURVEYS_MAX {
            let _ = survey.answer.send(Report::Refused);
            return;
        }
        let work = Work::New;
        self.surveyor.waiting.push_back(Task { survey, work });
    }

    /// Works on a question for a moment; says whether there is more to do.
    pub fn survey(&mut self, now: Mono, figures: &LoopFigures) -> bool {
        let Some(Task { survey, work }) = self.surveyor.waiting.pop_front() else {
            return false;
        };
        match self.slice(&survey.question, work, now) {
            Slice::More(work) => self.surveyor.waiting.push_front(Task { survey, work }),
            // Who asked may have lost patience.
            Slice::Done(Report::Totals(mut totals)) => {
                totals.load = figures.load;
                totals.memory.read_buffers = figures.read_buffers;
                drop(survey.answer.send(Report::Totals(totals)));
            }
            Slice::Done(report) => drop(survey.answer.send(report)),
        }
        !self.surveyor.waiting.is_empty()
    }

    fn slice(&mut self, question: &Question, work: Work, now: Mono) -> Slice {
        match work {
            Work::New => Slice::More(begin(question)),
            Work::Totals {
                next,
                totals,
                accounts,
            } => self.add_up(next, totals, accounts),
            Work::Picking(picking) => self.pick(picking, now),
            Work::Telling(telling) => self.tell_of(telling),
            Work::Subscriptions {
                next,
                report,
                names,
            } => match question {
                Question::Subscriptions(question) => self.list(question, next, report, names),
                _ => Slice::Done(Report::Refused),
            },
            Work::Finding { next } => self.find_client(question, next),
        }
    }

    fn add_up(
        &mut self,
        mut next: u32,
        mut totals: Box<Totals>,
        mut accounts: HashMap<u32, AccountTotals>,
    ) -> Slice {
        for _ in 0..SURVEY_BUDGET {
            let Some((slot, client)) = self.delivery.clients.at_or_after(next) else {
                self.add_up_rest(&mut totals, &mut accounts);
                totals.accounts = accounts.into_values().collect();
                return Slice::Done(Report::Totals(totals));
            };
            next = slot + 1;
            let account = accounts.entry(client.account.number).or_default();
            account.received.add(client.received);
            account.sent.add(client.sent);
            if !client.is_closed() {
                account.connections += 1;
                account.subscriptions += client.sids.len();
                totals.connections += 1;
            }
        }
        Slice::More(Work::Totals {
            next,
            totals,
            accounts,
        })
    }

    fn add_up_rest(&self, totals: &mut Totals, accounts: &mut HashMap<u32, AccountTotals>) {
        let closed = &self.delivery.closed;
        for (number, past) in closed.past() {
            let account = accounts.entry(number).or_default();
            account.received.add(past.received);
            account.sent.add(past.sent);
            account.slow_consumers = past.slow_consumers;
            account.connections_ever = past.admitted;
        }
        for (number, account) in accounts.iter_mut() {
            account.account = *number;
            totals.received.add(account.received);
            totals.sent.add(account.sent);
        }
        totals.closed = closed.reasons().collect();
        let count = |is: fn(CloseReason) -> bool| {
            let counted = totals.closed.iter().filter(|(reason, _)| is(*reason));
            counted.map(|(_, n)| n).sum()
        };
        totals.slow_consumers = count(CloseReason::is_slow_consumer);
        totals.stale_connections = count(|reason| reason == CloseReason::StaleConnection);
        totals.connections_ever = self.delivery.connections_ever;
        totals.stalls = self.delivery.stalls;
        let memory = &mut totals.memory;
        memory.outbound = self.delivery.pool.used() + self.delivery.pool.spare();
        memory.inbound = self.inbound_bytes;
        memory.subscriptions = self.delivery.interest_bytes;
        memory.connections = self.delivery.clients.bytes();
        memory.closed = closed.held();
        memory.routes = self.routes.held();
        totals.cache = self.routes.totals();
    }

    fn pick(&mut self, mut picking: Picking, now: Mono) -> Slice {
        for _ in 0..SURVEY_BUDGET {
            if let Some((slot, mut subs)) = picking.doubtful.take() {
                match subs.pop() {
                    Some(sub) if self.overlaps(slot, sub, &picking.question) => {
                        if let Some(client) = self.delivery.clients.get(slot) {
                            picking.add_open(slot, client, now);
                        }
                    }
                    Some(_) => picking.doubtful = Some((slot, subs)),
                    None => {}
                }
                continue;
            }
            match picking.next {
                Next::Open(next) => match self.delivery.clients.at_or_after(next) {
                    Some((slot, client)) => {
                        picking.next = Next::Open(slot + 1);
                        if client.is_closed() || !picking.counts(&client.account) {
                            continue;
                        }
                        if !is_asked_for(&picking.question, client) {
                            continue;
                        }
                        match picking.question.subject {
                            None => picking.add_open(slot, client, now),
                            Some(_) => {
                                picking.doubtful = Some((slot, client.sids.slots().collect()));
                            }
                        }
                    }
                    None if picking.question.state == State::Open => return picking.finish(),
                    None => picking.next = Next::Closed(0),
                },
                Next::Closed(nth) => {
                    let closed = &self.delivery.closed;
                    let at = closed.len().checked_sub(nth + 1);
                    let Some(client) = at.and_then(|at| closed.get(at)) else {
                        return picking.finish();
                    };
                    picking.next = Next::Closed(nth + 1);
                    if !picking.counts(&client.account) {
                        continue;
                    }
                    if is_asked_for_closed(&picking.question, client) {
                        let key = closed_key(picking.question.sort, client);
                        picking.add(key, client.id.0, || Which::Closed(client.clone()));
                    }
                }
            }
        }
        Slice::More(Work::Picking(picking))
    }

    /// Whether a subscription of a client has subjects that are asked for.
    fn overlaps(&self, client: u32, sub: u32, question: &ConnectionsQuestion) -> bool {
        let (Some(sub), Some(subject)) = (self.delivery.subs.get(sub), &question.subject) else {
            return false;
        };
        let owner = self.delivery.clients.get(client);
        let Some(owner) = owner.filter(|owner| sub.client == client && !owner.is_closed()) else {
            return false;
        };
        let mut own = Vec::new();
        owner.account.interest.describe(sub.held, &mut own);
        pattern::overlaps(&own, subject)
    }

    fn tell_of(&mut self, mut telling: Telling) -> Slice {
        let mut rows = SURVEY_ROWS;
        let mut subscriptions = SURVEY_BUDGET;
        while rows > 0 && subscriptions > 0 {
            if let Some(slot) = telling.subscriptions.pop() {
                subscriptions -= 1;
                if let Some(row) = telling.rows.last_mut() {
                    row.list.extend(self.subscription_row(slot, Some(row.cid)));
                }
                continue;
            }
            let Some(Pick { key, which, .. }) = telling.picks.pop() else {
                return Slice::Done(Report::Connections(ConnectionsReport {
                    matching: telling.matching,
                    rows: telling.rows,
                }));
            };
            rows -= 1;
            let detail = telling.question.subscriptions != Detail::Nothing;
            match which {
                Which::Closed(client) => {
                    let mut row = self.closed_row(&client, key.0);
                    if detail {
                        row.list = client.list.to_vec();
                    }
                    telling.rows.push(row);
                }
                Which::Open(slot) => {
                    let client = self.delivery.clients.get(slot);
                    if let Some(client) = client.filter(|client| !client.is_closed()) {
                        telling.rows.push(self.open_row(client, key.0));
                        if detail {
                            telling.subscriptions = client.sids.slots().collect();
                        }
                    }
                }
            }
        }
        Slice::More(Work::Telling(telling))
    }

    fn open_row(&self, client: &Client, key: u64) -> ConnectionRow {
        let connect = client.connect.as_deref();
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        ConnectionRow {
            key,
            cid: client.id.0,
            addr: client.addr,
            start: self.wall(client.opened),
            last_activity: self.wall(client.keepalive.last_in()),
            end: None,
            rtt: client.keepalive.rtt(),
            pending: client.out.pending(),
            received: client.received,
            sent: client.sent,
            stalls: client.stalls.into(),
            subscriptions: client.sids.len(),
            name: text(connect.map(|c| &c.name)),
            lang: text(connect.map(|c| &c.lang)),
            version: text(connect.map(|c| &c.version)),
            tls: client.secured.as_deref().map(tls_row),
            user: client.who(),
            account: account_name(&client.account, client.grant.is_some()),
            proxy: String::new(),
            list: Vec::new(),
        }
    }

    fn closed_row(&self, client: &ClosedClient, key: u64) -> ConnectionRow {
        ConnectionRow {
            key,
            cid: client.id.0,
            addr: client.addr,
            start: self.wall(client.opened),
            last_activity: self.wall(client.last_activity),
            end: Some((self.wall(client.ended), client.reason)),
            rtt: client.rtt,
            pending: 0,
            received: client.received,
            sent: client.sent,
            stalls: client.stalls.into(),
            subscriptions: client.subscriptions,
            name: client.name.to_string(),
            lang: client.lang.to_string(),
            version: client.version.to_string(),
            tls: client.secured.as_deref().map(tls_row),
            user: client.user.to_string(),
            account: account_name(&client.account, client.admitted),
            proxy: String::new(),
            list: Vec::new(),
        }
    }

    /// A subscription, if it is there and belongs to the client with the number `of`.
    fn subscription_row(&self, slot: u32, of: Option<u64>) -> Option<SubscriptionRow> {
        let sub = self.delivery.subs.get(slot)?;
        let client = self.delivery.clients.get(sub.client)?;
        let is = of.is_none_or(|cid| cid == client.id.0);
        is.then(|| {
            let account = (&*client.account.name).into();
            self.delivery.describe(sub, client, account)
        })
    }

    fn list(
        &mut self,
        question: &SubscriptionsQuestion,
        mut next: u32,
        mut report: SubscriptionsReport,
        mut names: HashMap<u32, Arc<str>>,
    ) -> Slice {
        let mut subject = Vec::new();
        for _ in 0..SURVEY_BUDGET {
            let Some((slot, sub)) = self.delivery.subs.at_or_after(next) else {
                return Slice::Done(Report::Subscriptions(report));
            };
            next = slot + 1;
            let Some(client) = self.delivery.clients.get(sub.client) else {
                continue;
            };
            let account = &client.account;
            let asked = question.account.as_ref();
            if client.is_closed() || asked.is_some_and(|name| **name != *account.name) {
                continue;
            }
            let SubscriptionsQuestion {
                test,
                within,
                queue,
                ..
            } = question;
            if test.is_some() || within.is_some() || queue.is_some() {
                let own = account.interest.describe(sub.held, &mut subject);
                let matches = |test: &Vec<u8>| pattern::matches(&subject, test);
                let inside = |of: &Vec<u8>| pattern::is_subset(&subject, of);
                if !test.as_ref().is_none_or(matches)
                    || !within.as_ref().is_none_or(inside)
                    || queue.as_deref().is_some_and(|q| own.as_deref() != Some(q))
                {
                    continue;
                }
            }
            report.matching += 1;
            if report.rows.len() < question.pick {
                let name = || (&*account.name).into();
                let name = names.entry(account.number).or_insert_with(name).clone();
                report.rows.push(self.delivery.describe(sub, client, name));
            }
        }
        Slice::More(Work::Subscriptions {
            next,
            report,
            names,
        })
    }

    fn find_client(&mut self, question: &Question, mut next: u32) -> Slice {
        let (Question::User(cid) | Question::Kick(cid) | Question::LameDuck(cid)) = *question
        else {
            return Slice::Done(Report::Refused);
        };
        for _ in 0..SURVEY_BUDGET {
            let Some((slot, client)) = self.delivery.clients.at_or_after(next) else {
                return Slice::Done(match question {
                    Question::User(_) => Report::User(None),
                    _ => Report::Done(false),
                });
            };
            next = slot + 1;
            if client.id.0 != cid || client.is_closed() {
                continue;
            }
            return Slice::Done(match question {
                Question::User(_) => Report::User(Some(Box::new(user_report(client)))),
                Question::Kick(_) => {
                    self.close(slot, CloseReason::Kicked);
                    Report::Done(true)
                }
                _ => match self.send_lame_duck(slot) {
                    true => Report::Done(true),
                    false => Report::NotReady,
                },
            });
        }
        Slice::More(Work::Finding { next })
    }
}

impl Delivery {
    /// A subscription of a client, as operators are shown it.
    pub(super) fn describe(
        &self,
        sub: &Subscription,
        client: &Client,
        account: Arc<str>,
    ) -> SubscriptionRow {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut subject = Vec::new();
        let queue = client.account.interest.describe(sub.held, &mut subject);
        SubscriptionRow {
            account,
            subject: text(&subject),
            queue: text(queue.as_deref().unwrap_or_default()),
            sid: text(sub.sid.text()),
            msgs: sub.delivered,
            max: sub.max.into(),
            cid: client.id.0,
        }
    }

    pub(super) fn describe_all(&self, client: u32, slots: &[u32]) -> Box<[SubscriptionRow]> {
        let Some(client) = self.clients.get(client) else {
            return Box::default();
        };
        if slots.is_empty() {
            return Box::default();
        }
        let account: Arc<str> = (&*client.account.name).into();
        let subs = slots.iter().filter_map(|slot| self.subs.get(*slot));
        subs.map(|sub| self.describe(sub, client, account.clone()))
            .collect()
    }
}

impl Picking {
    /// Whether connections of this account are asked for; if so, counts one.
    fn counts(&mut self, account: &Account) -> bool {
        let asked = self.question.account.as_ref();
        let counts = asked.is_none_or(|name| **name == *account.name);
        self.matching += usize::from(counts);
        counts
    }

    fn add_open(&mut self, slot: u32, client: &Client, now: Mono) {
        let key = open_key(self.question.sort, client, now);
        self.add(key, client.id.0, || Which::Open(slot));
    }

    fn add(&mut self, key: Key, cid: u64, which: impl FnOnce() -> Which) {
        let full = self.first.len() >= self.question.pick;
        let last = self.first.peek();
        if full && last.is_none_or(|last| (last.key, last.cid) < (key, cid)) {
            return;
        }
        if full {
            self.first.pop();
        }
        let which = which();
        self.first.push(Pick { key, cid, which });
    }

    fn finish(self) -> Slice {
        let mut picks = self.first.into_sorted_vec();
        // Who is closed meanwhile moves the others by one place, so that one may be met again.
        picks.dedup_by_key(|pick| pick.cid);
        picks.reverse();
        Slice::More(Work::Telling(Telling {
            question: self.question,
            matching: self.matching,
            picks,
            rows: Vec::new(),
            subscriptions: Vec::new(),
        }))
    }
}

fn begin(question: &Question) -> Work {
    match question {
        Question::Totals => Work::Totals {
            next: 0,
            totals: Box::default(),
            accounts: HashMap::new(),
        },
        Question::Connections(question) => Work::Picking(Picking {
            question: question.clone(),
            matching: 0,
            first: BinaryHeap::new(),
            doubtful: None,
            next: match question.state {
                State::Closed => Next::Closed(0),
                State::Open | State::All => Next::Open(0),
            },
        }),
        Question::Subscriptions(_) => Work::Subscriptions {
            next: 0,
            report: SubscriptionsReport::default(),
            names: HashMap::new(),
        },
        Question::User(_) | Question::Kick(_) | Question::LameDuck(_) => Work::Finding { next: 0 },
    }
}

fn user_report(client: &Client) -> UserReport {
    let grant = client.grant.as_ref();
    UserReport {
        user: client.who(),
        account: client.account.name.to_string(),
        permissions: grant.and_then(|grant| grant.configured.clone()),
    }
}

fn account_name(account: &Account, admitted: bool) -> String {
    match admitted {
        true => account.name.to_string(),
        false => String::new(),
    }
}

fn tls_row(secured: &Secured) -> TlsRow {
    TlsRow {
        version: secured.version,
        cipher: secured.cipher,
        first: secured.first,
        peer: secured.peer.clone(),
    }
}

fn is_asked_for(question: &ConnectionsQuestion, client: &Client) -> bool {
    let ConnectionsQuestion { cid, user, .. } = question;
    cid.is_none_or(|cid| cid == client.id.0)
        && user.as_ref().is_none_or(|user| *user == client.who())
}

fn is_asked_for_closed(question: &ConnectionsQuestion, client: &ClosedClient) -> bool {
    let ConnectionsQuestion { cid, user, .. } = question;
    cid.is_none_or(|cid| cid == client.id.0)
        && user.as_ref().is_none_or(|user| **user == *client.user)
    // As in the reference, a subject says nothing of connections that are gone.
}

/// Large numbers first.
fn falling(n: u64) -> Key {
    Key(u64::MAX - n)
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn open_key(sort: Sort, client: &Client, now: Mono) -> Key {
    match sort {
        Sort::Cid => Key(client.id.0),
        Sort::Start => Key(client.opened.as_nanos()),
        Sort::Subs => falling(client.sids.len() as u64),
        Sort::Pending => falling(client.out.pending() as u64),
        Sort::MsgsTo => falling(client.sent.msgs),
        Sort::MsgsFrom => falling(client.received.msgs),
        Sort::BytesTo => falling(client.sent.bytes),
        Sort::BytesFrom => falling(client.received.bytes),
        Sort::Last => falling(client.keepalive.last_in().as_nanos()),
        Sort::Idle => Key(client.keepalive.last_in().as_nanos()),
        Sort::Uptime => Key(nanos(now.since(client.opened))),
        Sort::Rtt => falling(client.keepalive.rtt().map_or(0, nanos)),
        // These are of closed connections only.
        Sort::Stop | Sort::Reason => Key(0),
    }
}

fn closed_key(sort: Sort, client: &ClosedClient) -> Key {
    match sort {
        Sort::Cid => Key(client.id.0),
        Sort::Start => Key(client.opened.as_nanos()),
        Sort::Subs => falling(client.subscriptions as u64),
        Sort::Pending => falling(0),
        Sort::MsgsTo => falling(client.sent.msgs),
        Sort::MsgsFrom => falling(client.received.msgs),
        Sort::BytesTo => falling(client.sent.bytes),
        Sort::BytesFrom => falling(client.received.bytes),
        Sort::Last => falling(client.last_activity.as_nanos()),
        Sort::Idle => Key(client.last_activity.as_nanos()),
        Sort::Uptime => Key(nanos(client.ended.since(client.opened))),
        Sort::Rtt => falling(client.rtt.map_or(0, nanos)),
        Sort::Stop => falling(client.ended.as_nanos()),
        Sort::Reason => {
            let earlier = |other: &&CloseReason| other.text() < client.reason.text();
            Key(CloseReason::ALL.iter().filter(earlier).count() as u64)
        }
    }
}
