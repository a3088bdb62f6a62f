//! jsz: JetStream. Where it does not run, all figures are zero.

use super::go_json::Stamp;
use super::query::Query;
use super::source::Source;
use super::{Answer, Refused};
use crate::broker::Facts;
use crate::jetstream::api::info::{ClusterInfo, ConsumerInfo, SourceInfo, StreamState};
use crate::jetstream::api::{LEVEL, StreamConfig};
use crate::jetstream::report::{AccountReport, Question, Sums};
use crate::json::Time;
use crate::json::is_none;
use crate::options::jetstream::Sync;
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
    #[serde(skip_serializing_if = "is_none")]
    disabled: bool,
    config: Config,
    streams: u64,
    consumers: u64,
    messages: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_details: Vec<Account>,
    total: usize,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Stats {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: u64,
    api: Api,
}

#[derive(Debug, Default, Serialize)]
struct Api {
    level: u16,
    total: u64,
    errors: u64,
}

/// What JetStream may have.
#[derive(Debug, Default, Serialize)]
pub(super) struct Config {
    max_memory: u64,
    max_storage: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    store_dir: String,
    #[serde(skip_serializing_if = "is_none")]
    sync_interval: u64,
    #[serde(skip_serializing_if = "is_none")]
    sync_always: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "is_none")]
    strict: bool,
}

#[derive(Debug, Serialize)]
struct Account {
    name: String,
    id: String,
    #[serde(flatten)]
    stats: Stats,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Serialize)]
struct Stream {
    name: String,
    created: Time,
    cluster: ClusterInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<StreamConfig>,
    state: StreamState,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consumer_detail: Vec<ConsumerInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<SourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceInfo>,
}

/// Accounts on a page where nothing else is asked for.
const PAGE: usize = 1024;

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
    let facts = source.facts();
    let now = Stamp(source.vitals().now);
    let server_id = facts.id.clone();
    let asked = Question {
        account: options.account.clone(),
        accounts: options.accounts
            || options.streams
            || options.consumers
            || !options.account.is_empty(),
        streams: options.streams || options.consumers,
        consumers: options.consumers,
        offset: usize::try_from(options.offset).unwrap_or(0),
        limit: match usize::try_from(options.limit) {
            Ok(limit) if limit > 0 => limit,
            _ => PAGE,
        },
    };
    let Some(report) = source.jetstream(&asked) else {
        return Ok(Jsz {
            stats: Stats::default(),
            server_id,
            now,
            disabled: true,
            config: Config::default(),
            streams: 0,
            consumers: 0,
            messages: 0,
            bytes: 0,
            account_details: Vec::new(),
            total: 0,
        });
    };
    let sums = report.sums;
    if !options.account.is_empty() && report.accounts.is_empty() {
        let name = crate::base::text::quoted(options.account.as_bytes());
        return Err(Refused(format!("account {name} not found")));
    }
    let details = report.accounts.into_iter();
    Ok(Jsz {
        stats: stats(&sums, report.accounts_total),
        server_id,
        now,
        disabled: false,
        config: config(
            &facts,
            &report.store_dir,
            (report.max_memory, report.max_storage),
        ),
        streams: sums.streams,
        consumers: sums.consumers,
        messages: sums.messages,
        bytes: sums.memory + sums.storage,
        account_details: details.map(|own| account(own, options.config)).collect(),
        total: report.accounts_total,
    })
}

/// The figures of JetStream.
pub(super) fn stats(sums: &Sums, accounts: usize) -> Stats {
    Stats {
        memory: sums.memory,
        storage: sums.storage,
        reserved_memory: sums.reserved_memory,
        reserved_storage: sums.reserved_storage,
        accounts,
        ha_assets: 0,
        api: Api {
            level: LEVEL,
            total: sums.requests,
            errors: sums.refusals,
        },
    }
}

/// What JetStream may have.
pub(super) fn config(facts: &Facts, store_dir: &str, (memory, storage): (u64, u64)) -> Config {
    let options = &facts.options.jetstream;
    let (sync_interval, sync_always) = match options.sync {
        Sync::Always => (0, true),
        Sync::Interval(time) => (u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), false),
    };
    Config {
        max_memory: memory,
        max_storage: storage,
        store_dir: store_dir.to_owned(),
        sync_interval,
        sync_always,
        domain: options.domain.clone().unwrap_or_default(),
        strict: options.strict,
    }
}

fn account(report: AccountReport, with_config: bool) -> Account {
    let streams = report.streams.into_iter();
    Account {
        id: report.name.clone(),
        stats: stats(&report.sums, 0),
        stream_detail: streams
            .map(|stream| Stream {
                name: stream.info.config.name.clone(),
                created: stream.info.created,
                cluster: stream.cluster,
                state: stream.info.state,
                config: with_config.then_some(stream.info.config),
                consumer_detail: stream.consumers,
                mirror: stream.info.mirror,
                sources: stream.info.sources,
            })
            .collect(),
        name: report.name,
    }
}
