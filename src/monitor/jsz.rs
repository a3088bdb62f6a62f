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
use crate::options::jetstream::{BatchLimits, Sync};
use serde::Serialize;
use std::time::Duration;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    streams: u64,
    /// Those that this server leads, if that is asked for; on one server, all of them.
    #[serde(skip_serializing_if = "is_none")]
    streams_leader: u64,
    consumers: u64,
    #[serde(skip_serializing_if = "is_none")]
    consumers_leader: u64,
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
    compress_ok: bool,
    #[serde(skip_serializing_if = "is_none")]
    strict: bool,
}

/// What consumers and batches may have. Nothing is told of what has its default, but for the number
/// of consumers.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    #[serde(skip_serializing_if = "is_none")]
    max_request_batch: u32,
    #[serde(skip_serializing_if = "is_none")]
    max_ack_pending: u32,
    #[serde(skip_serializing_if = "is_none")]
    max_duplicate_window: u64,
    #[serde(skip_serializing_if = "is_none")]
    max_batch_inflight_per_stream: usize,
    #[serde(skip_serializing_if = "is_none")]
    max_batch_inflight_total: usize,
    #[serde(skip_serializing_if = "is_none")]
    max_batch_size: usize,
    #[serde(skip_serializing_if = "is_none")]
    max_batch_timeout: u64,
    default_max_consumers: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Account {
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    direct_consumer_detail: Vec<ConsumerInfo>,
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
    let facts = source.facts();
    let now = Stamp(source.vitals().now);
    let server_id = facts.id.clone();
    let asked = Question {
        account: options.account.clone(),
        accounts: options.accounts
            || options.streams
            || options.consumers
            || options.direct_consumers
            || !options.account.is_empty(),
        streams: options.streams || options.consumers || options.direct_consumers,
        consumers: options.consumers,
        direct: options.direct_consumers,
        offset: usize::try_from(options.offset).unwrap_or(0),
        limit: match usize::try_from(options.limit) {
            Ok(limit) if limit > 0 => limit,
            _ => PAGE,
        },
        at_most: None,
        ..Question::default()
    };
    let Some(report) = source.jetstream(&asked) else {
        if options.leader_only {
            return Err(Refused(NOT_LEADER.into()));
        }
        return Ok(Jsz {
            stats: Stats::default(),
            server_id,
            now,
            disabled: true,
            config: Config::default(),
            limits: None,
            streams: 0,
            streams_leader: 0,
            consumers: 0,
            consumers_leader: 0,
            messages: 0,
            bytes: 0,
            account_details: Vec::new(),
            total: 0,
        });
    };
    let sums = report.sums;
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
        limits: Some(limits(&facts)),
        streams: sums.streams,
        streams_leader: if options.raft { sums.streams } else { 0 },
        consumers: sums.consumers,
        consumers_leader: if options.raft { sums.consumers } else { 0 },
        messages: sums.messages,
        bytes: sums.memory + sums.storage,
        account_details: details.map(|own| account(own, options.config)).collect(),
        total: report.accounts_total,
    })
}

/// What there is to be told of one account.
///
/// # Errors
/// There is no such account, or it has no JetStream.
pub(super) fn detail(source: &dyn Source, options: &Options) -> Result<Account, Refused> {
    let facts = source.facts();
    if !facts.options.jetstream.enabled {
        return Err(Refused(NOT_ENABLED.into()));
    }
    let quoted = crate::base::text::quoted(options.account.as_bytes());
    let refused = |why: &str| Refused(format!("account {quoted} {why}"));
    if facts.accounts.named(&options.account).is_none() {
        return Err(refused("not found"));
    }
    let mut document = document(
        source,
        &Options {
            leader_only: false,
            offset: 0,
            limit: 0,
            ..options.clone()
        },
    )?;
    let found = document.account_details.pop();
    found.ok_or_else(|| refused("not jetstream enabled"))
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
        compress_ok: true,
        strict: options.strict,
    }
}

/// What consumers and batches may have.
pub(super) fn limits(facts: &Facts) -> Limits {
    let options = &facts.options.jetstream;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let batches = options.batches;
    let usual = BatchLimits::default();
    Limits {
        max_request_batch: options.max_request_batch.unwrap_or(0),
        max_ack_pending: options.max_ack_pending.unwrap_or(0),
        max_duplicate_window: options.duplicate_window_max.map_or(0, nanos),
        max_batch_inflight_per_stream: batches.per_stream.unwrap_or(0),
        max_batch_inflight_total: batches.total.unwrap_or(0),
        max_batch_size: match batches.messages == usual.messages {
            true => 0,
            false => batches.messages,
        },
        max_batch_timeout: match batches.timeout == usual.timeout {
            true => 0,
            false => nanos(batches.timeout),
        },
        default_max_consumers: options.default_max_consumers.map_or(-1, i64::from),
    }
}

/// Consumers, with their configurations or without.
fn consumers(mut all: Vec<ConsumerInfo>, with_config: bool) -> Vec<ConsumerInfo> {
    if !with_config {
        for info in &mut all {
            info.config = None;
        }
    }
    all
}

fn account(report: AccountReport, with_config: bool) -> Account {
    let streams = report.streams.into_iter();
    Account {
        id: report.name.clone(),
        stats: Stats {
            // What the account may have counts as reserved for it; what has no end is the
            // largest number there is.
            reserved_memory: report.max_memory.unwrap_or(u64::MAX),
            reserved_storage: report.max_storage.unwrap_or(u64::MAX),
            api: Api {
                level: 0,
                total: report.sums.requests,
                errors: report.sums.refusals,
            },
            ..stats(&report.sums, 0)
        },
        stream_detail: streams
            .map(|stream| Stream {
                name: stream.info.config.name.clone(),
                created: stream.info.created,
                cluster: stream.cluster,
                state: stream.info.state,
                config: with_config.then_some(stream.info.config),
                consumer_detail: consumers(stream.consumers, with_config),
                direct_consumer_detail: consumers(stream.direct, with_config),
                mirror: stream.info.mirror,
                sources: stream.info.sources,
            })
            .collect(),
        name: report.name,
    }
}
