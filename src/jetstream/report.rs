//! What monitoring is told of all streams.

use super::api::info::{ClusterInfo, ConsumerInfo, StreamInfo};

/// What is asked. Of accounts there is a page, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Only this account; all if it is empty.
    pub account: String,
    /// Whether accounts, their streams, and their consumers are told of one by one.
    pub accounts: bool,
    pub streams: bool,
    pub consumers: bool,
    pub offset: usize,
    pub limit: usize,
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
    /// Streams of all accounts that are not well.
    pub unwell: Vec<Unwell>,
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
    pub sums: Sums,
    pub streams: Vec<StreamReport>,
}

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamReport {
    pub info: StreamInfo,
    pub cluster: ClusterInfo,
    pub consumers: Vec<ConsumerInfo>,
}
