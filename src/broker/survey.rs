//! What a loop can be asked about its clients, and what it answers: plain values, which the
//! documents of monitoring are made of.
//!
//! A loop works on a question a slice a turn (see [`super::surveyor`]), so clients may come and go
//! meanwhile: figures of different clients need not be of the same moment.

pub use crate::conn::client::PeerCertificate;
use crate::conn::client::Traffic;
use crate::proto::error::CloseReason;
pub use crate::routing::cache::CacheTotals;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

/// A question to one loop.
pub struct Survey {
    pub question: Question,
    /// Where the answer goes. It is of no consequence if nobody waits for it any more.
    pub answer: Sender<Report>,
}

/// What a loop is asked.
#[derive(Clone, Debug)]
pub enum Question {
    Totals,
    Connections(Arc<ConnectionsQuestion>),
    Subscriptions(Arc<SubscriptionsQuestion>),
    /// Who a client is and what it may do.
    User(u64),
    /// Close a client, for an operator.
    Kick(u64),
    /// Tell a client, for an operator, that it should go elsewhere.
    LameDuck(u64),
}

/// What a loop answers to the [`Question`] of that name.
#[derive(Clone, Debug)]
pub enum Report {
    Totals(Box<Totals>),
    Connections(ConnectionsReport),
    Subscriptions(SubscriptionsReport),
    /// None: the client is not in this loop.
    User(Option<Box<UserReport>>),
    /// Whether the client was in this loop, so that something was done.
    Done(bool),
    /// The client is in this loop, but cannot be told yet, or does not understand.
    NotReady,
    /// The loop has too many questions to answer.
    Refused,
}

/// Figures of a whole loop.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Messages and bytes that clients sent, and that were sent to clients; those that are gone
    /// included.
    pub received: Traffic,
    pub sent: Traffic,
    /// Clients connected now.
    pub connections: usize,
    /// Clients that ever were.
    pub connections_ever: u64,
    /// Connections closed as slow consumers, and as stale.
    pub slow_consumers: u64,
    pub stale_connections: u64,
    /// How often a client was not read from for a moment, as all its subscribers were behind.
    pub stalls: u64,
    /// Connections closed for each reason.
    pub closed: Vec<(CloseReason, u64)>,
    /// By account; those with nothing to tell are left out.
    pub accounts: Vec<AccountTotals>,
    pub memory: Memory,
    pub cache: CacheTotals,
    pub load: Load,
}

/// What a loop's clients in one account add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountTotals {
    /// The account's number.
    pub account: u32,
    pub connections: usize,
    /// Clients that ever were.
    pub connections_ever: u64,
    pub subscriptions: usize,
    pub received: Traffic,
    pub sent: Traffic,
    pub slow_consumers: u64,
}

/// Bytes that a loop holds, by purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Queues of what is to be written, free chunks included.
    pub outbound: usize,
    /// Unfinished commands.
    pub inbound: usize,
    /// Subscriptions, about.
    pub subscriptions: usize,
    /// Routes in the loop's cache, about.
    pub routes: usize,
    /// Read buffers, and those that queued messages refer to.
    pub read_buffers: usize,
    /// Connections themselves, about.
    pub connections: usize,
    /// What is remembered of closed connections, about.
    pub closed: usize,
}

/// How busy a loop is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// The loop's number, from 0.
    pub number: usize,
    /// Turns since the loop began.
    pub turns: u64,
    /// Time that it neither slept nor looked out for what comes next, and time since it began.
    pub busy: Duration,
    pub lived: Duration,
    /// What waits in its mailbox.
    pub mail: usize,
}

/// What the owner of the sockets knows and the broker does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopFigures {
    /// Bytes of read buffers.
    pub read_buffers: usize,
    pub load: Load,
}

/// Which connections to tell of, and in which order.
#[derive(Clone, Debug)]
pub struct ConnectionsQuestion {
    pub state: State,
    pub sort: Sort,
    /// How many of the first in that order are wanted.
    pub pick: usize,
    pub cid: Option<u64>,
    /// The user that a client authenticated as.
    pub user: Option<String>,
    /// The account's name.
    pub account: Option<String>,
    /// A subject that one of the client's subscriptions must match.
    pub subject: Option<Vec<u8>>,
    pub subscriptions: Detail,
}

/// Which connections count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Closed,
    All,
}

/// What is told of a connection's subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Nothing,
    /// Their subjects.
    Subjects,
    Everything,
}

/// The order of connections, as in the reference's `SortOpt`: by number, start, reason and uptime
/// upwards; by all that is counted, the time of the end, of the last activity, and of being idle
/// downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Cid,
    Start,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

/// The connections of a loop that were asked for.
#[derive(Clone, Debug, Default)]
pub struct ConnectionsReport {
    /// Connections in the state and the account that were asked for. `rows` has the first of those
    /// that are asked for otherwise, too.
    pub matching: usize,
    /// By `key`, then by number.
    pub rows: Vec<ConnectionRow>,
}

/// A connection, open or closed.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// Where the connection is in the order that was asked for: smaller is earlier. Whoever merges
    /// the rows of several loops goes by this, then by `cid`.
    pub key: u64,
    pub cid: u64,
    pub addr: SocketAddr,
    pub start: SystemTime,
    pub last_activity: SystemTime,
    /// For a closed connection.
    pub end: Option<(SystemTime, CloseReason)>,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    pub pending: usize,
    pub received: Traffic,
    pub sent: Traffic,
    pub stalls: u64,
    pub subscriptions: usize,
    /// As CONNECT has them; empty without.
    pub name: String,
    pub lang: String,
    pub version: String,
    pub tls: Option<TlsRow>,
    /// Who the client authenticated as, as it may be shown; empty if it did not.
    pub user: String,
    /// The account's name; empty as long as the client is in none.
    pub account: String,
    /// The public key of the proxy that the client came through, if any.
    pub proxy: String,
    /// Its subscriptions, if they were asked for.
    pub list: Vec<SubscriptionRow>,
}

/// What TLS has made known of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsRow {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    pub cipher: &'static str,
    /// Whether the handshake came before INFO.
    pub first: bool,
    /// The subject of the client's certificate, if it showed one.
    pub peer: Option<PeerCertificate>,
}

/// Which subscriptions to tell of.
#[derive(Clone, Debug)]
pub struct SubscriptionsQuestion {
    /// The account's name; `None`: all accounts.
    pub account: Option<String>,
    /// A subject that they must match.
    pub test: Option<Vec<u8>>,
    /// A pattern whose subjects include all of theirs.
    pub within: Option<Vec<u8>>,
    /// The queue group that they must be in.
    pub queue: Option<Vec<u8>>,
    /// How many of the first are wanted.
    pub pick: usize,
}

/// The subscriptions of a loop's clients that were asked for.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionsReport {
    /// Subscriptions that match, though no more than the first of them are in `rows`.
    pub matching: usize,
    /// In an order that stays the same while subscriptions do.
    pub rows: Vec<SubscriptionRow>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRow {
    pub account: Arc<str>,
    pub subject: String,
    pub queue: String,
    pub sid: String,
    /// Messages delivered.
    pub msgs: u64,
    /// Messages after which it ends; 0: it does not.
    pub max: u64,
    pub cid: u64,
}

/// Who a client is, and what it may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserReport {
    pub user: String,
    pub account: String,
    /// As they are configured, if the client may not do everything.
    pub permissions: Option<Arc<crate::options::security::Permissions>>,
}
