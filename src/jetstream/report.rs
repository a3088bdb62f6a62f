//! What monitoring is told of all streams.

use super::api::info::{ClusterInfo, ConsumerInfo, StreamInfo};

/// What is asked. Of accounts there is a page, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Only this account, and only this stream and consumer of it; all if they are empty.
    pub account: String,
    pub stream: String,
    pub consumer: String,
    /// Whether accounts, their streams, and their consumers are told of one by one.
    pub accounts: bool,
    pub streams: bool,
    pub consumers: bool,
    /// Whether consumers are told of that are there for mirrors and sources only.
    pub direct: bool,
    pub offset: usize,
    pub limit: usize,
    /// How many streams, and consumers, are told of one by one; all if nothing is said.
    pub at_most: Option<(usize, usize)>,
}

/// Sums over streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Bytes of messages, and bytes that are reserved for them.
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub streams: u64,
    pub consumers: u64,
    pub messages: u64,
    /// Messages that were lost to damage.
    pub lost: u64,
    /// Requests to the API, and those that were refused.
    pub requests: u64,
    pub refusals: u64,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Sums) {
        self.memory += other.memory;
        self.storage += other.storage;
        self.reserved_memory += other.reserved_memory;
        self.reserved_storage += other.reserved_storage;
        self.streams += other.streams;
        self.consumers += other.consumers;
        self.messages += other.messages;
        self.lost += other.lost;
    }
}

/// What is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub max_memory: u64,
    pub max_storage: u64,
    pub store_dir: String,
    pub sums: Sums,
    /// How many accounts there are.
    pub accounts_total: usize,
    pub accounts: Vec<AccountReport>,
    /// Why the commit journal does not take what streams get, if so; they are synced one by one then.
    pub journal_error: Option<String>,
    /// Streams of all accounts that are not well.
    pub unwell: Vec<Unwell>,
    /// Streams that have lost messages to damage, the first [`DAMAGED_MAX`] of them.
    pub damaged: Vec<Damaged>,
}

/// Streams that are told of as damaged.
pub const DAMAGED_MAX: usize = 100;

/// A stream that has lost messages to damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damaged {
    pub account: String,
    pub stream: String,
    pub messages: u64,
}

/// A stream that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwell {
    pub account: String,
    pub stream: String,
    /// What its disk said when it failed; none if the stream could not be opened at the start.
    pub write_error: Option<String>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountReport {
    pub name: String,
    /// Bytes that it may have.
    pub max_memory: Option<u64>,
    pub max_storage: Option<u64>,
    pub sums: Sums,
    pub streams: Vec<StreamReport>,
}

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamReport {
    pub info: StreamInfo,
    pub cluster: ClusterInfo,
    /// Messages that were lost to damage.
    pub lost: u64,
    pub consumers: Vec<ConsumerInfo>,
    /// Those that are there for mirrors and sources only.
    pub direct: Vec<ConsumerInfo>,
}
