//! jsz: JetStream. The document of a server that does not run it: all figures are zero.

use super::go_json::Stamp;
use super::query::Query;
use super::source::Source;
use super::{Answer, Refused};
use serde::Serialize;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub account: String,
    pub accounts: bool,
    pub streams: bool,
    pub consumers: bool,
    pub direct_consumers: bool,
    pub config: bool,
    /// Whether only the leader of the meta group is to answer.
    pub leader_only: bool,
    pub offset: i64,
    pub limit: i64,
    pub raft: bool,
    pub stream_leader_only: bool,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Jsz {
    #[serde(flatten)]
    stats: Stats,
    server_id: String,
    now: Stamp,
    disabled: bool,
    config: Config,
    streams: u64,
    consumers: u64,
    messages: u64,
    bytes: u64,
    total: u64,
}

#[derive(Debug, Default, Serialize)]
struct Stats {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: u64,
    ha_assets: u64,
    api: Api,
}

#[derive(Debug, Default, Serialize)]
struct Api {
    level: u64,
    total: u64,
    errors: u64,
}

#[derive(Debug, Default, Serialize)]
struct Config {
    max_memory: u64,
    max_storage: u64,
}

/// Why a server that is not the leader does not answer.
pub(super) const NOT_LEADER: &str = "filtered response: not leader";

/// What is said about one account of a server without JetStream.
pub(super) const NOT_ENABLED: &str = "jetstream not enabled";

pub(super) fn answer(source: &dyn Source, query: Query<'_>) -> Result<Answer, Refused> {
    let options = Options {
        accounts: query.boolean("accounts")?,
        streams: query.boolean("streams")?,
        consumers: query.boolean("consumers")?,
        direct_consumers: query.boolean("direct-consumers")?,
        config: query.boolean("config")?,
        offset: query.int("offset")?,
        limit: query.int("limit")?,
        leader_only: query.boolean("leader-only")?,
        raft: query.boolean("raft")?,
        stream_leader_only: query.boolean("stream-leader-only")?,
        account: query.text("acc").into(),
    };
    let made = document(source, &options)?;
    Ok(super::document(&made))
}

/// The document.
///
/// # Errors
/// Only the leader is asked: [`NOT_LEADER`].
pub(super) fn document(source: &dyn Source, options: &Options) -> Result<Jsz, Refused> {
    if options.leader_only {
        return Err(Refused(NOT_LEADER.into()));
    }
    Ok(Jsz {
        stats: Stats::default(),
        server_id: source.facts().id.clone(),
        now: Stamp(source.vitals().now),
        disabled: true,
        config: Config::default(),
        streams: 0,
        consumers: 0,
        messages: 0,
        bytes: 0,
        total: 0,
    })
}
