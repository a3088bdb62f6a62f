//! The keys that are applied.

use super::Set::{Block, Bool, Int, Listen, LongTime, Name, Pairs, Text, Texts, Time, Word};
use super::blocks::{
    ACCOUNT, AUTHORIZATION, CLUSTER, FEATURE_FLAGS, JETSTREAM, MAPPINGS, PROXIES, TLS,
};
use super::{Key, Set, Takes, What};
use crate::options::blocks;
use crate::options::{HOST_DEFAULT, LOOPS_MAX, LogFormat, Options, PORT_DEFAULT, WriteTimeout};
use std::path::PathBuf;
use std::time::Duration;

const fn ready(names: &'static [&'static str], default: &'static str, set: Set) -> Key {
    let what = What::Ready { set, default };
    Key { names, what }
}

/// Names of accounts, or accounts by name.
const ACCOUNTS: Takes = Takes::Either(&[Takes::Each(&Takes::Block(ACCOUNT)), Takes::Texts]);

/// Whether there is JetStream, or what it has.
const JETSTREAM_TAKES: Takes = Takes::Either(&[Takes::Bool, Takes::Text, Takes::Block(JETSTREAM)]);

/// Sizes on the wire are signed 32-bit numbers.
const WIRE_MAX: i64 = 0x7fff_ffff;

/// The shortest lame duck mode that may be configured.
const LAME_DUCK_MIN: Duration = Duration::from_secs(30);

/// As in the reference, an empty text or a zero often asks for the default.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    ready(&["listen"], "0.0.0.0:4222", Listen(|o, host, port| {
        o.host = host_or_default(host);
        o.port = port_or_default(port);
    })),
    ready(&["host", "net"], "0.0.0.0", Text(|o, v| o.host = host_or_default(v))),
    ready(&["port"], "4222", Int(-1, 65535, |o, v| {
        o.port = port_or_default(port(v));
    })),
    ready(&["server_name"], "the server's id", Name(|o, v| o.server_name = some(v))),
    ready(&["client_advertise"], "none", Text(|o, v| o.client_advertise = some(v))),
    ready(&["server_tags"], "none", Texts(|o, v| o.tags = v)),
    ready(&["server_metadata"], "none", Pairs(|o, v| o.metadata = v)),
    ready(&["loops"], "by the number of cores", Int(0, max(LOOPS_MAX), |o, v| {
        o.loops = Some(size(v)).filter(|n| *n > 0);
    })),
    ready(&["pid_file", "pidfile"], "none", Text(|o, v| o.pid_file = path(v))),
    ready(&["ports_file_dir"], "none", Text(|o, v| o.ports_file_dir = path(v))),

    ready(&["http"], "none", Listen(|o, host, port| {
        o.http_host = some(host);
        o.http_port = port;
    })),
    ready(&["http_port", "monitor_port"], "none", Int(-1, 65535, |o, v| o.http_port = port(v))),
    ready(&["https"], "none", Listen(|o, host, port| {
        o.http_host = some(host);
        o.https_port = port;
    })),
    ready(&["https_port"], "none", Int(-1, 65535, |o, v| o.https_port = port(v))),
    ready(&["http_base_path"], "/", Text(|o, v| o.http_base_path = v)),
    ready(&["prof_port"], "none", Int(-1, 65535, |o, v| o.prof_port = port(v))),

    ready(&["authorization"], "none", Block(Takes::Block(AUTHORIZATION), blocks::authorization)),
    ready(&["accounts"], "none", Block(ACCOUNTS, blocks::accounts)),
    ready(&["mappings", "maps"], "none", Block(MAPPINGS, blocks::mappings)),
    ready(&["no_auth_user"], "none", Text(|o, v| o.no_auth_user = some(v))),
    ready(&["system_account", "system"], "$SYS", Text(|o, v| o.system_account = some(v))),
    ready(&["no_system_account", "no_system", "no_sys_acc"], "false", Bool(|o, v| {
        o.no_system_account = v;
    })),
    ready(&["proxies"], "none", Block(Takes::Block(PROXIES), blocks::proxies)),
    ready(&["tls"], "none", Block(Takes::Block(TLS), blocks::tls)),
    ready(&["allow_non_tls"], "false", Bool(|o, v| o.allow_non_tls = v)),

    ready(&["jetstream"], "none", Block(JETSTREAM_TAKES, blocks::jetstream)),
    ready(&["feature_flags"], "none", Block(Takes::Block(FEATURE_FLAGS), blocks::feature_flags)),
    ready(&["cluster"], "none", Block(Takes::Block(CLUSTER), blocks::cluster)),
    ready(&["store_dir", "storedir"], "none", Text(|o, v| o.jetstream.store_dir = path(v))),

    ready(&["debug"], "false", Bool(|o, v| o.log.debug = v)),
    ready(&["trace"], "false", Bool(|o, v| o.log.trace = v)),
    // These two turn tracing itself on or off as well; the last one in the file counts.
    ready(&["trace_verbose"], "false", Bool(|o, v| {
        o.log.trace_verbose = v;
        o.log.trace = v;
    })),
    ready(&["trace_headers"], "false", Bool(|o, v| {
        o.log.trace_headers = v;
        o.log.trace = v;
    })),
    ready(&["max_traced_msg_len"], "0", Int(i64::MIN, i64::MAX, |o, v| {
        o.log.max_traced_msg_len = size(v);
    })),
    ready(&["logtime"], "true", Bool(|o, v| o.log.logtime = v)),
    ready(&["logtime_utc"], "false", Bool(|o, v| o.log.logtime_utc = v)),
    ready(&["log_format"], "text", Word(&["text", "json"], |o, v| {
        o.log.format = if v == "json" { LogFormat::Json } else { LogFormat::Text };
    })),
    ready(&["log_file", "logfile"], "none", Text(|o, v| o.log.file = path(v))),
    ready(&["log_size_limit", "logfile_size_limit"], "0", Int(i64::MIN, i64::MAX, |o, v| {
        o.log.size_limit = u64::try_from(v).unwrap_or(0);
    })),
    ready(&["log_max_num", "logfile_max_num"], "0", Int(i64::MIN, i64::MAX, |o, v| {
        o.log.max_num = size(v);
    })),
    ready(&["syslog"], "false", Bool(|o, v| o.log.syslog = v)),
    ready(&["remote_syslog"], "none", Text(|o, v| o.log.remote_syslog = some(v))),

    ready(&["max_payload"], "1MB", Int(0, WIRE_MAX, |o, v| {
        o.max_payload = size_or(v, Options::default().max_payload);
    })),
    ready(&["max_control_line"], "4KB", Int(0, WIRE_MAX, |o, v| {
        o.max_control_line = size_or(v, Options::default().max_control_line);
    })),
    // Not the default, nor unlimited: no client at all.
    ready(&["max_connections", "max_conn"], "65536", Int(i64::MIN, i64::MAX, |o, v| {
        o.max_connections = size(v);
    })),
    ready(&["max_subscriptions", "max_subs"], "0", Int(-1, i64::MAX, |o, v| {
        o.max_subscriptions = size(v);
    })),
    ready(&["max_sub_tokens", "max_subscription_tokens"], "unlimited", Int(1, 255, |o, v| {
        o.max_sub_tokens = size(v);
    })),
    ready(&["max_pending"], "64MB", Int(0, i64::MAX, |o, v| {
        o.max_pending = size_or(v, Options::default().max_pending);
    })),
    ready(&["max_pending_total"], "half of the memory", Int(0, i64::MAX, |o, v| {
        o.pending_total_max = Some(size(v)).filter(|n| *n > 0);
    })),
    ready(&["max_closed_clients"], "10000", Int(0, i64::MAX, |o, v| {
        o.max_closed_clients = size_or(v, Options::default().max_closed_clients);
    })),
    ready(&["write_deadline"], "10s", Time(|o, v| {
        o.write_deadline = time_or(v, Options::default().write_deadline);
    })),
    ready(&["write_timeout"], "retry", Word(&["default", "close", "retry"], |o, v| {
        o.write_timeout = match v {
            "close" => WriteTimeout::Close,
            _ => WriteTimeout::Retry,
        };
    })),
    ready(&["no_fast_producer_stall"], "false", Bool(|o, v| o.no_fast_producer_stall = v)),
    ready(&["ping_interval"], "2m", Time(|o, v| {
        o.ping_interval = time_or(v, Options::default().ping_interval);
    })),
    ready(&["ping_max"], "2", Int(0, u32::MAX as i64, |o, v| {
        o.ping_max = match u32::try_from(v) {
            Ok(n) if n > 0 => n,
            _ => Options::default().ping_max,
        };
    })),
    ready(&["connect_deadline"], "30s", Time(|o, v| {
        o.connect_deadline = time_or(v, Options::default().connect_deadline);
    })),
    ready(&["no_header_support"], "false", Bool(|o, v| o.no_header_support = v)),
    ready(&["disable_sublist_cache", "no_sublist_cache"], "false", Bool(|o, v| {
        o.disable_sublist_cache = v;
    })),
    ready(&["lame_duck_duration"], "2m", LongTime(LAME_DUCK_MIN, |o, v| {
        o.lame_duck_duration = v;
    })),
    ready(&["lame_duck_grace_period"], "10s", LongTime(Duration::ZERO, |o, v| {
        o.lame_duck_grace_period = v;
    })),
];

const fn max(n: usize) -> i64 {
    n as i64
}

/// A number of things; a negative one is none.
fn size(v: i64) -> usize {
    usize::try_from(v.max(0)).unwrap_or(usize::MAX)
}

fn size_or(v: i64, default: usize) -> usize {
    if v == 0 { default } else { size(v) }
}

fn time_or(v: Duration, default: Duration) -> Duration {
    if v.is_zero() { default } else { v }
}

fn some(v: String) -> Option<String> {
    Some(v).filter(|v| !v.is_empty())
}

fn path(v: String) -> Option<PathBuf> {
    some(v).map(PathBuf::from)
}

fn host_or_default(v: String) -> String {
    some(v).unwrap_or_else(|| HOST_DEFAULT.into())
}

/// A number that was found to be that of a port.
fn port(v: i64) -> i32 {
    i32::try_from(v).unwrap_or(0)
}

fn port_or_default(v: i32) -> i32 {
    if v == 0 { PORT_DEFAULT } else { v }
}
