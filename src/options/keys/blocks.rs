//! The keys inside of the blocks about users, accounts and TLS. Some of these blocks also stand in
//! blocks of features to come, where they are checked like the rest of those.

use super::Takes::{
    Block, Blocks, Bool, Credential, Each, Either, Int, Listen, Subjects, Text, Texts, Time,
    TimeOrAlways,
};
use super::{Key, Takes, What, later::later};

/// A key that is applied with the block that it stands in.
const fn part(names: &'static [&'static str], takes: Takes) -> Key {
    let what = What::Part(takes);
    Key { names, what }
}

/// Flags of features that are tried out. Of those, there is what the first one asks for.
#[rustfmt::skip]
pub(in crate::options) const FEATURE_FLAGS: &[Key] = &[
    part(&["js_ack_fc_v2"], Bool),
    later(&["js_api_reply_v2"], Bool),
    later(&["js_raft_delete_range"], Bool),
    later(&["js_snapshot_sources"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const AUTHORIZATION: &[Key] = &[
    part(&["user", "username"], Credential),
    part(&["pass", "password"], Credential),
    part(&["token"], Credential),
    part(&["timeout"], Time),
    part(&["users"], Blocks(USER)),
    part(&["default_permissions", "default_permission", "permissions"], Block(PERMISSIONS)),
    later(&["auth_callout", "auth_hook"], Block(AUTH_CALLOUT)),
    part(&["proxy_required"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const USER: &[Key] = &[
    part(&["user", "username"], Credential),
    part(&["pass", "password"], Credential),
    part(&["nkey"], Text),
    part(&["permissions", "permission", "authorization"], Block(PERMISSIONS)),
    part(&["allowed_connection_types", "connection_types", "clients"], Texts),
    part(&["proxy_required"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const PERMISSIONS: &[Key] = &[
    part(&["publish", "pub", "import"], Subjects(ALLOW_DENY)),
    part(&["subscribe", "sub", "export"], Subjects(ALLOW_DENY)),
    part(&["allow_responses", "publish_allow_responses"], Either(&[Bool, Block(RESPONSES)])),
];

#[rustfmt::skip]
pub(in crate::options) const ALLOW_DENY: &[Key] = &[
    part(&["allow"], Texts),
    part(&["deny"], Texts),
];

#[rustfmt::skip]
pub(in crate::options) const RESPONSES: &[Key] = &[
    part(&["max", "max_msgs", "max_messages", "max_responses"], Int),
    part(&["expires", "expiration", "ttl"], Text),
];

#[rustfmt::skip]
const AUTH_CALLOUT: &[Key] = &[
    later(&["issuer"], Text),
    later(&["account", "acc"], Text),
    later(&["auth_users", "users"], Texts),
    later(&["xkey", "key"], Text),
    later(&["allowed_accounts"], Texts),
];

#[rustfmt::skip]
pub(in crate::options) const ACCOUNT: &[Key] = &[
    part(&["users"], Blocks(USER)),
    part(&["nkey"], Text),
    part(&["imports"], Blocks(IMPORT)),
    part(&["exports"], Blocks(EXPORT)),
    part(&["mappings", "maps"], MAPPINGS),
    part(&["default_permissions"], Block(PERMISSIONS)),
    part(&["limits"], Block(ACCOUNT_LIMITS)),
    part(&["msg_trace", "trace_dest"], Either(&[Text, Block(MSG_TRACE)])),
    part(&["jetstream"], Either(&[Bool, Text, Block(ACCOUNT_JETSTREAM)])),
];

#[rustfmt::skip]
pub(in crate::options) const ACCOUNT_LIMITS: &[Key] = &[
    part(&["max_connections", "max_conn"], Int),
    part(&["max_subscriptions", "max_subs"], Int),
    part(&["max_payload", "max_pay"], Int),
    part(&["max_leafnodes", "max_leafs"], Int),
];

#[rustfmt::skip]
pub(in crate::options) const ACCOUNT_JETSTREAM: &[Key] = &[
    part(&["max_memory", "max_mem", "mem", "memory"], Int),
    part(&["max_store", "max_file", "max_disk", "store", "disk"], Int),
    part(&["max_streams", "streams"], Int),
    part(&["max_consumers", "consumers"], Int),
    part(&["max_bytes_required", "max_stream_bytes", "max_bytes"], Bool),
    part(&["memory_max_stream_bytes", "mem_max_stream_bytes"], Int),
    part(&["disk_max_stream_bytes", "store_max_stream_bytes"], Int),
    part(&["max_ack_pending"], Int),
    later(&["cluster_traffic"], Text),
];

#[rustfmt::skip]
pub(in crate::options) const JETSTREAM: &[Key] = &[
    part(&["enabled", "enable"], Bool),
    part(&["strict"], Bool),
    part(&["store_dir", "store", "storedir"], Text),
    part(&["sync_interval", "sync"], TimeOrAlways),
    part(&["max_memory_store", "max_mem_store", "max_mem"], Either(&[Int, Text])),
    part(&["max_file_store", "max_file"], Either(&[Int, Text])),
    part(&["domain"], Text),
    part(&["key", "ek", "encryption_key"], Credential),
    part(&["prev_key", "prev_ek", "prev_encryption_key"], Credential),
    part(&["cipher"], Text),
    later(&["extension_hint"], Text),
    part(&["limits"], Block(JETSTREAM_LIMITS)),
    later(&["tpm"], Block(TPM)),
    later(&["unique_tag"], Text),
    later(&["max_outstanding_catchup"], Either(&[Int, Text])),
    part(&["max_buffered_size"], Either(&[Int, Text])),
    part(&["max_buffered_msgs"], Int),
    part(&["request_queue_limit"], Int),
    later(&["info_queue_limit"], Int),
    later(&["meta_compact"], Int),
    later(&["meta_compact_size"], Either(&[Int, Text])),
    later(&["meta_compact_sync"], Bool),
    later(&["max_concurrent_io"], Int),
];

#[rustfmt::skip]
pub(in crate::options) const CLUSTER: &[Key] = &[
    part(&["name"], Text),
    part(&["listen"], Listen),
    part(&["host", "net"], Text),
    part(&["port"], Int),
    part(&["routes"], Texts),
    part(&["authorization"], Block(CLUSTER_AUTHORIZATION)),
    part(&["tls"], Block(TLS)),
    part(&["permissions"], Block(PERMISSIONS)),
    part(&["advertise", "cluster_advertise"], Text),
    part(&["no_advertise"], Bool),
    part(&["connect_retries"], Int),
    part(&["connect_backoff"], Bool),
    part(&["pool_size"], Int),
    part(&["ping_interval"], Time),
    part(&["ping_max"], Int),
    part(&["write_deadline"], Time),
    part(&["accounts"], Texts),
    part(&["compression"], Either(&[Bool, Text, Block(COMPRESSION_MODE)])),
    part(&["write_timeout"], Text),
];

#[rustfmt::skip]
pub(in crate::options) const COMPRESSION_MODE: &[Key] = &[
    part(&["mode"], Either(&[Bool, Text])),
    part(&["rtt_thresholds", "thresholds", "rtts", "rtt"], Texts),
];

#[rustfmt::skip]
pub(in crate::options) const CLUSTER_AUTHORIZATION: &[Key] = &[
    part(&["user", "username"], Credential),
    part(&["pass", "password"], Credential),
    part(&["timeout"], Time),
    part(&["default_permissions", "default_permission", "permissions"], Block(PERMISSIONS)),
    later(&["token"], Credential),
    later(&["users"], Blocks(USER)),
    later(&["auth_callout", "auth_hook"], Block(AUTH_CALLOUT)),
    later(&["proxy_required"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const JETSTREAM_LIMITS: &[Key] = &[
    part(&["max_ack_pending"], Int),
    later(&["max_ha_assets"], Int),
    part(&["max_request_batch"], Int),
    part(&["default_max_consumers"], Int),
    part(&["duplicate_window"], Time),
    part(&["batch"], Block(JETSTREAM_BATCH)),
];

#[rustfmt::skip]
pub(in crate::options) const JETSTREAM_BATCH: &[Key] = &[
    part(&["max_inflight_per_stream"], Int),
    part(&["max_inflight_total"], Int),
    part(&["max_msgs"], Int),
    part(&["timeout"], Time),
];

#[rustfmt::skip]
const TPM: &[Key] = &[
    later(&["keys_file"], Text),
    later(&["encryption_password"], Text),
    later(&["srk_password"], Text),
    later(&["pcr"], Int),
    later(&["cipher"], Text),
];

#[rustfmt::skip]
pub(in crate::options) const EXPORT: &[Key] = &[
    part(&["stream"], Text),
    part(&["service"], Text),
    part(&["accounts"], Texts),
    part(&["response_type", "response"], Text),
    part(&["response_threshold", "threshold", "response_max_time", "response_time"], Text),
    part(&["latency"], Either(&[Text, Block(LATENCY)])),
    part(&["account_token_position"], Int),
    part(&["allow_trace"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const IMPORT: &[Key] = &[
    part(&["stream"], Block(SOURCE)),
    part(&["service"], Block(SOURCE)),
    part(&["prefix"], Text),
    part(&["to"], Text),
    part(&["share"], Bool),
    part(&["allow_trace"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const MSG_TRACE: &[Key] = &[
    part(&["dest"], Text),
    part(&["sampling"], Either(&[Int, Text])),
];

#[rustfmt::skip]
pub(in crate::options) const LATENCY: &[Key] = &[
    part(&["subject"], Text),
    part(&["sampling"], Either(&[Int, Text])),
];

/// What an import is of.
#[rustfmt::skip]
pub(in crate::options) const SOURCE: &[Key] = &[
    part(&["account"], Text),
    part(&["subject"], Text),
];

/// Subjects, and what becomes of messages on them.
pub(in crate::options) const MAPPINGS: Takes =
    Each(&Either(&[Text, Block(DESTINATION), Blocks(DESTINATION)]));

#[rustfmt::skip]
pub(in crate::options) const DESTINATION: &[Key] = &[
    part(&["destination", "dest"], Text),
    part(&["weight"], Either(&[Int, Text])),
    part(&["cluster"], Text),
];

#[rustfmt::skip]
pub(in crate::options) const TLS: &[Key] = &[
    part(&["cert_file"], Text),
    part(&["key_file"], Text),
    part(&["ca_file"], Text),
    part(&["certs", "certificates"], Blocks(CERTIFICATE)),
    part(&["verify"], Bool),
    part(&["verify_and_map"], Bool),
    part(&["verify_cert_and_check_known_urls"], Bool),
    part(&["insecure"], Bool),
    part(&["timeout"], Time),
    part(&["cipher_suites"], Texts),
    part(&["allow_insecure_cipher_suites"], Bool),
    part(&["curve_preferences"], Texts),
    part(&["min_version"], Text),
    part(&["pinned_certs"], Texts),
    part(&["connection_rate_limit"], Int),
    part(&["handshake_first", "first", "immediate"], Either(&[Bool, Text])),
    later(&["ocsp_peer"], Either(&[Bool, Block(OCSP_PEER)])),
    later(&["cert_store"], Text),
    later(&["cert_match_by"], Text),
    later(&["cert_match"], Text),
    later(&["ca_certs_match"], Texts),
    later(&["cert_match_skip_invalid"], Bool),
];

#[rustfmt::skip]
pub(in crate::options) const CERTIFICATE: &[Key] = &[
    part(&["cert_file"], Text),
    part(&["key_file"], Text),
];

#[rustfmt::skip]
const OCSP_PEER: &[Key] = &[
    later(&["verify"], Bool),
    later(&["ca_timeout"], Time),
    later(&["allowed_clockskew"], Time),
    later(&["warn_only"], Bool),
    later(&["unknown_is_good"], Bool),
    later(&["allow_when_ca_unreachable"], Bool),
    later(&["cache_ttl_when_next_update_unset"], Time),
];

#[rustfmt::skip]
pub(in crate::options) const PROXIES: &[Key] = &[
    part(&["trusted"], Blocks(PROXY)),
];

#[rustfmt::skip]
pub(in crate::options) const PROXY: &[Key] = &[
    part(&["key", "public_key"], Text),
];
