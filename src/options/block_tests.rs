//! Tests that every key that the reference has inside of its blocks is known here, though some of
//! the blocks are refused.

use super::Options;
use crate::config::{Nothing, parse};

/// Where keys stand, with `@` in their place, and the keys.
#[rustfmt::skip]
const BLOCKS: &[(&str, &str)] = &[
    ("cluster {@}",
        "name listen host net port routes authorization permissions tls advertise \
         cluster_advertise no_advertise connect_retries connect_backoff pool_size \
         accounts compression ping_interval ping_max write_deadline write_timeout"),
    ("gateway {@}",
        "name listen host net port authorization tls advertise connect_retries \
         connect_backoff gateways reject_unknown reject_unknown_cluster write_deadline \
         write_timeout"),
    ("gateway {gateways: [{@}]}",
        "name url urls tls"),
    ("leafnodes {@}",
        "listen host net port authorization remotes reconnect reconnect_delay \
         reconnect_interval dial_timeout tls advertise leafnode_advertise no_advertise \
         min_version minimum_version compression isolate_leafnode_interest isolate \
         write_deadline write_timeout"),
    ("leafnodes {authorization {@}}",
        "user username pass password nkey account timeout users proxy_required"),
    ("leafnodes {remotes: [{@}]}",
        "url urls account local credentials creds nkey seed no_randomize dont_randomize \
         tls hub deny_imports deny_import deny_exports deny_export ws_compression \
         ws_compress websocket_compression websocket_compress ws_no_masking \
         websocket_no_masking compression first_info_timeout dial_timeout disabled \
         jetstream_cluster_migrate js_cluster_migrate isolate_leafnode_interest isolate \
         request_isolation ignore_discovered_servers proxy"),
    ("authorization {@}",
        "user username pass password token timeout users default_permissions \
         default_permission permissions auth_callout auth_hook proxy_required"),
    ("authorization {users: [{@}]}",
        "user username pass password nkey permissions permission authorization \
         allowed_connection_types connection_types clients proxy_required"),
    ("authorization {permissions {@}}",
        "publish pub import subscribe sub export allow_responses \
         publish_allow_responses"),
    ("authorization {permissions {allow_responses {@}}}",
        "max max_msgs max_messages max_responses expires expiration ttl"),
    ("authorization {auth_callout {@}}",
        "issuer account acc auth_users users xkey key allowed_accounts"),
    ("accounts {A {@}}",
        "users nkey imports exports mappings maps default_permissions limits msg_trace \
         trace_dest jetstream"),
    ("accounts {A {limits {@}}}",
        "max_connections max_conn max_subscriptions max_subs max_payload max_pay \
         max_leafnodes max_leafs"),
    ("accounts {A {jetstream {@}}}",
        "max_memory max_mem mem memory max_store max_file max_disk store disk \
         max_streams streams max_consumers consumers max_bytes_required \
         max_stream_bytes max_bytes memory_max_stream_bytes mem_max_stream_bytes \
         disk_max_stream_bytes store_max_stream_bytes max_ack_pending cluster_traffic"),
    ("accounts {A {exports: [{@}]}}",
        "stream service accounts response_type response response_threshold threshold \
         response_max_time response_time latency account_token_position allow_trace"),
    ("accounts {A {exports: [{latency {@}}]}}",
        "subject sampling"),
    ("accounts {A {imports: [{@}]}}",
        "stream service prefix to share allow_trace"),
    ("accounts {A {imports: [{stream {@}}]}}",
        "account subject"),
    ("accounts {A {mappings {a: {@}}}}",
        "destination dest weight cluster"),
    ("mappings {a: [{@}]}",
        "destination dest weight cluster"),
    ("tls {certs: [{@}]}",
        "cert_file key_file"),
    ("tls {@}",
        "cert_file key_file ca_file certs certificates verify verify_and_map \
         verify_cert_and_check_known_urls insecure timeout cipher_suites \
         allow_insecure_cipher_suites curve_preferences min_version pinned_certs \
         connection_rate_limit handshake_first first immediate ocsp_peer cert_store \
         cert_match_by cert_match ca_certs_match cert_match_skip_invalid"),
    ("tls {ocsp_peer {@}}",
        "verify ca_timeout allowed_clockskew warn_only unknown_is_good \
         allow_when_ca_unreachable cache_ttl_when_next_update_unset"),
    ("ocsp_cache {@}",
        "type local_store preserve_revoked save_interval"),
    ("websocket {@}",
        "listen host net port advertise tls no_tls same_origin allowed_origins \
         allowed_origin allow_origins allow_origin origins origin handshake_timeout \
         compression compress authorization authentication no_auth_user jwt_cookie \
         user_cookie pass_cookie token_cookie headers ping_interval"),
    ("mqtt {@}",
        "listen host net port tls authorization authentication no_auth_user ack_wait \
         ackwait js_api_timeout api_timeout max_ack_pending max_pending max_inflight \
         js_domain stream_replicas consumer_replicas consumer_memory_storage \
         consumer_inactive_threshold consumer_auto_cleanup reject_qos2_publish \
         downgrade_qos2_subscribe"),
    ("resolver {@}",
        "type dir allow_delete hard_delete interval limit ttl timeout"),
    ("proxies {@}",
        "trusted"),
    ("proxies {trusted: [{@}]}",
        "key public_key"),
    ("feature_flags {@}",
        "js_ack_fc_v2 js_api_reply_v2 js_raft_delete_range js_snapshot_sources"),
    ("jetstream {@}",
        "enabled enable strict store_dir store storedir sync_interval sync \
         max_memory_store max_mem_store max_mem max_file_store max_file domain key ek \
         encryption_key prev_key prev_ek prev_encryption_key cipher extension_hint \
         limits tpm unique_tag max_outstanding_catchup max_buffered_size \
         max_buffered_msgs request_queue_limit info_queue_limit meta_compact \
         meta_compact_size meta_compact_sync max_concurrent_io"),
];

fn errors(text: &str) -> Vec<String> {
    let document = parse("t.conf", text, &Nothing).unwrap();
    Options::default().apply("t.conf", &document).errors
}

/// The blocks that are applied, and the keys in them that are refused.
#[rustfmt::skip]
const APPLIED: &[&str] = &[
    "authorization", "accounts", "mappings", "proxies", "tls", "jetstream", "cluster",
    "feature_flags",
];
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "auth_callout", "auth_hook", "cluster_traffic",
    "ocsp_peer", "cert_store", "cert_match_by", "cert_match", "ca_certs_match",
    "cert_match_skip_invalid", "js_api_reply_v2", "js_raft_delete_range", "js_snapshot_sources",
];
#[rustfmt::skip]
const REFUSED_OF_JETSTREAM: &[&str] = &[
    "extension_hint", "tpm", "unique_tag", "max_outstanding_catchup", "info_queue_limit",
    "meta_compact", "meta_compact_size", "meta_compact_sync", "max_concurrent_io",
];

#[test]
fn every_key_of_every_block_is_known_and_what_is_to_come_refused() {
    for (place, keys) in BLOCKS {
        let block = place.split(' ').next().unwrap();
        let applied = APPLIED.contains(&block);
        let refused_inside = REFUSED
            .iter()
            .any(|key| place.contains(&format!("{{{key} ")));
        for key in keys.split_whitespace() {
            // What no key takes: so each one is refused for its value, and known by that.
            let entry = format!("{key} = 2016-05-04T18:53:41Z");
            let errors = errors(&place.replace('@', &entry));
            let (last, first) = errors.split_last().unwrap();
            assert!(last.contains(&format!("{key}: expected ")), "{errors:?}");
            let refused = if !applied {
                vec![format!("not supported yet: {block} at t.conf:1:1\n")]
            } else if refused_inside {
                assert!(first[0].starts_with("not supported yet: "), "{errors:?}");
                continue;
            } else if REFUSED.contains(&key)
                || block == "jetstream" && REFUSED_OF_JETSTREAM.contains(&key)
            {
                vec![format!("not supported yet: {key} at ")]
            } else {
                Vec::new()
            };
            assert_eq!(first.len(), refused.len(), "{errors:?}");
            for (error, start) in first.iter().zip(refused) {
                assert!(error.starts_with(&start), "{errors:?}");
            }
        }
        let unknown = errors(&place.replace('@', "no_such_key = 1"));
        let unknown = unknown.last().unwrap();
        assert!(
            unknown.contains("unknown field \"no_such_key\""),
            "{unknown}"
        );
    }
}

#[test]
fn a_part_to_come_can_be_turned_off() {
    let text = "accounts {A {jetstream: disabled, exports: [{service: a, allow_trace: false}]}}\n\
        tls {cert_file: a, key_file: b, ocsp_peer: false, cert_match_skip_invalid: no}";
    assert_eq!(errors(text), [""; 0]);
}
