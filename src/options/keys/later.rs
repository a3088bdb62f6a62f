//! The keys of the reference whose features this server does not have yet, or never will: refused, but checked
//! inside, so that a mistake is told on the same day as the refusal.

use super::Takes::{
    self, Block, Blocks, Bool, Credential, Either, Free, Int, Listen, Text, Texts, Time,
};
use super::blocks::{AUTHORIZATION, TLS};
use super::{Key, What};

pub(super) const fn later(names: &'static [&'static str], takes: Takes) -> Key {
    let what = What::Later(takes);
    Key { names, what }
}

/// A number that means nothing to this server, and why.
const fn never(names: &'static [&'static str], why: &'static str) -> Key {
    let what = What::Never(why);
    Key { names, what }
}

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    never(&["prof_block_rate"], "no thread here waits for another, which is what it measures"),

    later(&["default_sentinel"], Text),
    later(&["operator", "operators", "root", "roots", "root_operator", "root_operators"], Texts),
    later(&["trusted_keys", "trusted"], Texts),
    later(&["resolver", "account_resolver", "accounts_resolver"], Either(&[Text, Block(RESOLVER)])),
    later(&["resolver_tls"], Block(TLS)),
    later(&["resolver_preload"], Free),
    later(&["resolver_pinned_accounts"], Texts),
    later(&["proxy_protocol"], Bool),

    later(&["ocsp"], Either(&[Bool, Block(OCSP)])),
    later(&["ocsp_cache"], Either(&[Bool, Block(OCSP_CACHE)])),

    later(&["gateway"], Block(GATEWAY)),
    later(&["leafnodes", "leaf"], Block(LEAFNODES)),
    later(&["connect_error_reports"], Int),
    later(&["reconnect_error_reports"], Int),
    later(&["websocket", "ws"], Block(WEBSOCKET)),
    later(&["mqtt"], Block(MQTT)),

    later(&["default_js_domain"], Free),
];

#[rustfmt::skip]
const OCSP: &[Key] = &[
    later(&["mode"], Text),
    later(&["url"], Text),
    later(&["urls"], Texts),
];

#[rustfmt::skip]
const OCSP_CACHE: &[Key] = &[
    later(&["type"], Text),
    later(&["local_store"], Text),
    later(&["preserve_revoked"], Bool),
    later(&["save_interval"], Time),
];

#[rustfmt::skip]
const RESOLVER: &[Key] = &[
    later(&["type"], Text),
    later(&["dir"], Text),
    later(&["allow_delete"], Bool),
    later(&["hard_delete"], Bool),
    later(&["interval"], Time),
    later(&["limit"], Int),
    later(&["ttl"], Time),
    later(&["timeout"], Time),
];

/// What a listener of any kind has.
const HOST: Key = later(&["host", "net"], Text);
const PORT: Key = later(&["port"], Int);
const LISTEN: Key = later(&["listen"], Listen);
const COMPRESSION: Key = later(
    &["compression"],
    Either(&[Bool, Text, Block(COMPRESSION_MODE)]),
);
const WRITE_DEADLINE: Key = later(&["write_deadline"], Time);
const WRITE_TIMEOUT: Key = later(&["write_timeout"], Text);

#[rustfmt::skip]
const COMPRESSION_MODE: &[Key] = &[
    later(&["mode"], Either(&[Bool, Text])),
    later(&["rtt_thresholds", "thresholds", "rtts", "rtt"], Texts),
];

#[rustfmt::skip]
const GATEWAY: &[Key] = &[
    LISTEN, HOST, PORT, WRITE_DEADLINE, WRITE_TIMEOUT,
    later(&["name"], Text),
    later(&["authorization"], Block(AUTHORIZATION)),
    later(&["tls"], Block(TLS)),
    later(&["advertise"], Text),
    later(&["connect_retries"], Int),
    later(&["connect_backoff"], Bool),
    later(&["gateways"], Blocks(REMOTE_GATEWAY)),
    later(&["reject_unknown", "reject_unknown_cluster"], Bool),
];

#[rustfmt::skip]
const REMOTE_GATEWAY: &[Key] = &[
    later(&["name"], Text),
    later(&["url"], Text),
    later(&["urls"], Texts),
    later(&["tls"], Block(TLS)),
];

#[rustfmt::skip]
const LEAFNODES: &[Key] = &[
    LISTEN, HOST, PORT, COMPRESSION, WRITE_DEADLINE, WRITE_TIMEOUT,
    later(&["authorization"], Block(LEAF_AUTHORIZATION)),
    later(&["remotes"], Blocks(REMOTE_LEAF)),
    later(&["reconnect", "reconnect_delay", "reconnect_interval"], Time),
    later(&["dial_timeout"], Time),
    later(&["tls"], Block(TLS)),
    later(&["advertise", "leafnode_advertise"], Text),
    later(&["no_advertise"], Bool),
    later(&["min_version", "minimum_version"], Text),
    later(&["isolate_leafnode_interest", "isolate"], Bool),
];

#[rustfmt::skip]
const LEAF_AUTHORIZATION: &[Key] = &[
    later(&["user", "username"], Credential),
    later(&["pass", "password"], Credential),
    later(&["nkey"], Text),
    later(&["account"], Text),
    later(&["timeout"], Time),
    later(&["users"], Blocks(LEAF_USER)),
    later(&["proxy_required"], Bool),
];

#[rustfmt::skip]
const LEAF_USER: &[Key] = &[
    later(&["user", "username"], Credential),
    later(&["pass", "password"], Credential),
    later(&["account"], Text),
    later(&["proxy_required"], Bool),
];

#[rustfmt::skip]
const REMOTE_LEAF: &[Key] = &[
    COMPRESSION,
    later(&["url", "urls"], Texts),
    later(&["account", "local"], Text),
    later(&["credentials", "creds"], Text),
    later(&["nkey", "seed"], Text),
    later(&["no_randomize", "dont_randomize"], Bool),
    later(&["tls"], Block(TLS)),
    later(&["hub"], Bool),
    later(&["deny_imports", "deny_import"], Texts),
    later(&["deny_exports", "deny_export"], Texts),
    later(&[
        "ws_compression", "ws_compress", "websocket_compression", "websocket_compress",
    ], Bool),
    later(&["ws_no_masking", "websocket_no_masking"], Bool),
    later(&["first_info_timeout"], Time),
    later(&["dial_timeout"], Time),
    later(&["disabled"], Bool),
    later(&["jetstream_cluster_migrate", "js_cluster_migrate"], Either(&[Bool, Free])),
    later(&["isolate_leafnode_interest", "isolate"], Bool),
    later(&["request_isolation"], Bool),
    later(&["ignore_discovered_servers"], Bool),
    later(&["proxy"], Block(LEAF_PROXY)),
];

#[rustfmt::skip]
const LEAF_PROXY: &[Key] = &[
    later(&["url"], Text),
    later(&["username"], Credential),
    later(&["password"], Credential),
    later(&["timeout"], Time),
];

#[rustfmt::skip]
const LISTENER_AUTHORIZATION: &[Key] = &[
    later(&["user", "username"], Credential),
    later(&["pass", "password"], Credential),
    later(&["token"], Credential),
    later(&["timeout"], Time),
];

#[rustfmt::skip]
const WEBSOCKET: &[Key] = &[
    LISTEN, HOST, PORT,
    later(&["advertise"], Text),
    later(&["tls"], Block(TLS)),
    later(&["no_tls"], Bool),
    later(&["same_origin"], Bool),
    later(&[
        "allowed_origins", "allowed_origin", "allow_origins", "allow_origin", "origins", "origin",
    ], Texts),
    later(&["handshake_timeout"], Time),
    later(&["compression", "compress"], Bool),
    later(&["authorization", "authentication"], Block(LISTENER_AUTHORIZATION)),
    later(&["no_auth_user"], Text),
    later(&["jwt_cookie"], Text),
    later(&["user_cookie"], Text),
    later(&["pass_cookie"], Text),
    later(&["token_cookie"], Text),
    later(&["headers"], Free),
    later(&["ping_interval"], Time),
];

#[rustfmt::skip]
const MQTT: &[Key] = &[
    LISTEN, HOST, PORT,
    later(&["tls"], Block(TLS)),
    later(&["authorization", "authentication"], Block(LISTENER_AUTHORIZATION)),
    later(&["no_auth_user"], Text),
    later(&["ack_wait", "ackwait"], Time),
    later(&["js_api_timeout", "api_timeout"], Time),
    later(&["max_ack_pending", "max_pending", "max_inflight"], Int),
    later(&["js_domain"], Text),
    later(&["stream_replicas"], Int),
    later(&["consumer_replicas"], Int),
    later(&["consumer_memory_storage"], Bool),
    later(&["consumer_inactive_threshold", "consumer_auto_cleanup"], Time),
    later(&["reject_qos2_publish"], Bool),
    later(&["downgrade_qos2_subscribe"], Bool),
];
