//! varz: the server, its settings and its figures.

use super::figures::Figures;
use super::go_json::{Age, Nanos, Stamp, is_none};
use super::jsz;
use super::links::Links;
use super::source::Source;
use crate::broker::Facts;
use crate::jetstream::report::Question;
use crate::options::cluster::RouteUrl;
use crate::options::tls::TLS_TIMEOUT;
use crate::options::{COMMIT, Options, VERSION, WriteTimeout};
use crate::proto::info::TOOLCHAIN;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Varz {
    server_id: String,
    server_name: String,
    version: &'static str,
    proto: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    git_commit: Option<&'static str>,
    go: &'static str,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "is_none")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_none")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_none")]
    tls_verify: bool,
    max_connections: usize,
    #[serde(skip_serializing_if = "is_none")]
    max_subscriptions: usize,
    ping_interval: Nanos,
    ping_max: u32,
    http_host: String,
    http_port: u16,
    http_base_path: String,
    https_port: u16,
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Cluster,
    gateway: Unconfigured,
    leaf: Unconfigured,
    mqtt: Unconfigured,
    websocket: Unconfigured,
    jetstream: JetStream,
    tls_timeout: f64,
    write_deadline: Nanos,
    write_timeout: &'static str,
    start: Stamp,
    now: Stamp,
    uptime: Age,
    mem: u64,
    cores: usize,
    gomaxprocs: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    routes: usize,
    remotes: usize,
    leafnodes: usize,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: usize,
    http_req_stats: BTreeMap<String, u64>,
    config_load_time: Stamp,
    config_digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_account: Option<String>,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxies: Option<Proxies>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<Stamp>,
}

/// The cluster; `{}` without one.
#[derive(Debug, Default, Serialize)]
struct Cluster {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    addr: String,
    #[serde(skip_serializing_if = "is_none")]
    cluster_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_timeout: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_timeout: Option<f64>,
    #[serde(skip_serializing_if = "is_none")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_none")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "is_none")]
    pool_size: i64,
}

impl Cluster {
    fn of(options: &Options, links: &Links) -> Cluster {
        let (Some(own), Some(state)) = (&options.cluster, &links.cluster) else {
            return Cluster::default();
        };
        Cluster {
            name: state.name.clone(),
            addr: own.host.clone(),
            cluster_port: state.port,
            auth_timeout: own.auth_timeout.map(seconds).or(Some(2.0)),
            urls: own.routes.iter().map(RouteUrl::address).collect(),
            tls_timeout: Some(seconds(
                own.tls.as_ref().map_or(TLS_TIMEOUT, |tls| tls.timeout),
            )),
            tls_required: own.tls.is_some(),
            tls_verify: own.tls.is_some(),
            pool_size: match own.pool_size {
                0 => -1,
                size => i64::from(size),
            },
        }
    }
}

/// What is not configured, or not there yet: `{}`.
#[derive(Debug, Default, Serialize)]
struct Unconfigured {}

/// JetStream; `{}` where it does not run.
#[derive(Debug, Default, Serialize)]
struct JetStream {
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<jsz::Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<jsz::Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<jsz::Limits>,
}

fn jetstream(source: &dyn Source) -> JetStream {
    let Some(report) = source.jetstream(&Question::default()) else {
        return JetStream::default();
    };
    let limits = (report.max_memory, report.max_storage);
    JetStream {
        config: Some(jsz::config(&source.facts(), &report.store_dir, limits)),
        stats: Some(jsz::stats(&report.sums, report.accounts_total)),
        limits: Some(jsz::limits(&source.facts())),
    }
}

/// Connections by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ByKind {
    pub(super) clients: u64,
    pub(super) routes: u64,
    pub(super) gateways: u64,
    pub(super) leafs: u64,
}

impl ByKind {
    pub(super) fn clients(clients: u64) -> ByKind {
        ByKind {
            clients,
            ..ByKind::default()
        }
    }
}

/// Waits for a turn at the disk, in nanoseconds. Nothing that is served today waits for a disk.
#[derive(Debug, Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

#[derive(Debug, Serialize)]
struct Proxies {
    trusted: Vec<Proxy>,
}

#[derive(Debug, Serialize)]
struct Proxy {
    key: String,
}

/// The document.
pub(super) fn document(source: &dyn Source) -> Varz {
    let (facts, vitals, links) = (source.facts(), source.vitals(), source.links(false));
    let figures = Figures::of(source);
    let options = &facts.options;
    let tls = options.tls.as_ref();
    let proxies = options.trusted_proxies.iter();
    let proxies: Vec<_> = proxies.map(|key| Proxy { key: key.clone() }).collect();
    let (linked_in, linked_out) = (links.received, links.sent);
    Varz {
        server_id: facts.id.clone(),
        server_name: facts.name.clone(),
        version: VERSION,
        proto: 1,
        git_commit: COMMIT,
        go: TOOLCHAIN,
        host: facts.host.clone(),
        port: facts.port,
        auth_required: facts.directory.is_required(),
        tls_required: tls.is_some() && !options.allow_non_tls,
        tls_verify: tls.is_some_and(|tls| tls.verify || tls.verify_and_map),
        max_connections: options.max_connections,
        max_subscriptions: options.max_subscriptions,
        ping_interval: Nanos(options.ping_interval),
        ping_max: options.ping_max,
        http_host: vitals.http.host,
        http_port: vitals.http.port,
        http_base_path: vitals.http.base_path,
        https_port: vitals.http.https_port,
        auth_timeout: seconds(options.auth_timeout()),
        max_control_line: options.max_control_line,
        max_payload: options.max_payload,
        max_pending: options.max_pending,
        cluster: Cluster::of(options, &links),
        gateway: Unconfigured {},
        leaf: Unconfigured {},
        mqtt: Unconfigured {},
        websocket: Unconfigured {},
        jetstream: jetstream(source),
        tls_timeout: seconds(tls.map_or(TLS_TIMEOUT, |tls| tls.timeout)),
        write_deadline: Nanos(options.write_deadline),
        write_timeout: match options.write_timeout {
            WriteTimeout::Close => "close",
            WriteTimeout::Retry => "retry",
        },
        start: Stamp(vitals.start),
        now: Stamp(vitals.now),
        uptime: Age::between(vitals.start, vitals.now),
        mem: vitals.resident_bytes,
        cores: vitals.cores,
        gomaxprocs: vitals.loops,
        cpu: vitals.cpu_percent,
        connections: figures.connections,
        total_connections: vitals.accepted,
        routes: links.routes.len(),
        remotes: links.remotes,
        leafnodes: links.leafs.len(),
        in_msgs: figures.received.msgs + linked_in.msgs,
        in_bytes: figures.received.bytes + linked_in.bytes,
        in_client_msgs: figures.received.msgs,
        in_client_bytes: figures.received.bytes,
        out_msgs: figures.sent.msgs + linked_out.msgs,
        out_bytes: figures.sent.bytes + linked_out.bytes,
        out_client_msgs: figures.sent.msgs,
        out_client_bytes: figures.sent.bytes,
        slow_consumers: figures.slow_consumers,
        stale_connections: figures.stale_connections,
        stalled_clients: figures.stalls,
        subscriptions: subscriptions(&facts),
        http_req_stats: asked(vitals.http.requests),
        config_load_time: Stamp(vitals.config.loaded),
        config_digest: vitals.config.digest,
        tags: options.tags.clone(),
        metadata: options.metadata.clone(),
        feature_flags: BTreeMap::from([("js_ack_fc_v2", options.jetstream.long_acks)]),
        system_account: system_account(&facts),
        slow_consumer_stats: ByKind::clients(figures.slow_consumers),
        stale_connection_stats: ByKind::clients(figures.stale_connections),
        disk_io_wait_stats: DiskWaits::default(),
        proxies: (!proxies.is_empty()).then_some(Proxies { trusted: proxies }),
        tls_cert_not_after: vitals.tls_not_after.map(Stamp),
    }
}

/// The name of the account that the server itself uses, if there is one.
pub(super) fn system_account(facts: &Facts) -> Option<String> {
    let system = facts.accounts.system()?;
    Some(system.account.name.to_string())
}

/// Paths that were asked for.
fn asked(mut requests: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    requests.retain(|_, count| *count > 0);
    requests
}

/// Subscriptions in all accounts.
pub(super) fn subscriptions(facts: &Facts) -> usize {
    let tenants = facts.accounts.iter();
    tenants.map(|tenant| tenant.account.interest.len()).sum()
}

/// A time in seconds, with a fraction if it has one.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
