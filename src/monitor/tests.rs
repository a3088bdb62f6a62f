//! The documents as a whole: their fields, in their order and with their types, are those of the
//! reference.

use super::links::{GatewayAccount, GatewayRow, LeafRow};
use super::request::{Endpoint, answer_request};
use super::testing::{Fake, at, facts, open, route as a_route};
use super::{Answer, JSON, PATHS, TEXT, answer, links};
use crate::broker::survey::ConnectionRow;
use proptest::prelude::*;
use serde_json::Value;
use std::time::Duration;

fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn ask(fake: &Fake, path: &str, query: &str) -> Answer {
    answer(fake, path, &pairs(query)).expect("the path is there")
}

fn text(fake: &Fake, path: &str, query: &str) -> String {
    String::from_utf8(ask(fake, path, query).body).unwrap()
}

pub(super) fn json(fake: &Fake, path: &str, query: &str) -> Value {
    let answer = ask(fake, path, query);
    assert_eq!(
        (answer.status, answer.content_type),
        (200, JSON),
        "{path}?{query}"
    );
    serde_json::from_slice(&answer.body).unwrap()
}

/// The names that stand `depth` steps inside of a document, in their order, each once, with a
/// letter for the type: text, number, boolean, list, map, or null.
pub(super) fn shape(text: &str, depth: usize) -> String {
    let indent = "  ".repeat(depth) + "\"";
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let found = line.strip_prefix(&indent);
        let Some((name, value)) = found.and_then(|rest| rest.split_once("\": ")) else {
            continue;
        };
        let kind = match value.as_bytes()[0] {
            b'"' => 't',
            b'[' => 'l',
            b'{' => 'm',
            b'n' => '0',
            b't' | b'f' => 'b',
            _ => 'n',
        };
        let named = format!("{name}:{kind}");
        if !names.contains(&named) {
            names.push(named);
        }
    }
    names.join(" ")
}

const CONNECTION: &str = "cid:n kind:t type:t ip:t port:n start:t last_activity:t";
const TRAFFIC: &str =
    "rtt:t uptime:t idle:t pending_bytes:n in_msgs:n out_msgs:n in_bytes:n out_bytes:n";

#[test]
fn varz_has_the_fields_of_the_reference() {
    let fake = Fake::new();
    let varz = text(&fake, "/varz", "");
    assert_eq!(
        shape(&varz, 1),
        "server_id:t server_name:t version:t proto:n go:t host:t port:n auth_required:b \
         max_connections:n max_subscriptions:n ping_interval:n ping_max:n http_host:t http_port:n \
         http_base_path:t https_port:n auth_timeout:n max_control_line:n max_payload:n \
         max_pending:n cluster:m gateway:m leaf:m mqtt:m websocket:m jetstream:m tls_timeout:n \
         write_deadline:n write_timeout:t start:t now:t uptime:t mem:n cores:n gomaxprocs:n cpu:n \
         connections:n total_connections:n routes:n remotes:n leafnodes:n in_msgs:n in_bytes:n \
         in_client_msgs:n in_client_bytes:n out_msgs:n out_bytes:n out_client_msgs:n \
         out_client_bytes:n slow_consumers:n stale_connections:n stalled_clients:n \
         subscriptions:n http_req_stats:m config_load_time:t config_digest:t tags:l metadata:m feature_flags:m \
         system_account:t slow_consumer_stats:m stale_connection_stats:m disk_io_wait_stats:m"
    );
    let kinds = "js_ack_fc_v2:b clients:n routes:n gateways:n leafs:n waiters:n waits:n wait_time:n max_wait_time:n";
    assert_eq!(shape(&varz, 2), format!("/varz:n k\\u0026:t {kinds}"));
    for line in [
        "\"server_name\": \"a\\u003cb\\u003e\",",
        "\"auth_timeout\": 2,",
        "\"write_deadline\": 10000000000,",
        "\"cluster\": {},",
        "\"start\": \"2026-11-25T17:53:25.5Z\",",
        "\"uptime\": \"1m1s\",",
        "\"cpu\": 2.5,",
        "\"in_msgs\": 9,",
        "\"out_client_bytes\": 120,",
        "\"total_connections\": 9,",
        "\"slow_consumers\": 3,",
        "\"subscriptions\": 3,",
        "\"http_base_path\": \"/nats\",",
    ] {
        assert!(varz.contains(&format!("\n  {line}\n")), "{line} in {varz}");
    }
    assert!(!varz.ends_with('\n'));
}

#[test]
fn varz_tells_of_tls_and_proxies_where_there_are_some() {
    let mut made = facts("");
    made.options.trusted_proxies = vec!["UX".into()];
    made.options.tls = Some(crate::options::tls::TlsOptions {
        verify_and_map: true,
        timeout: Duration::from_millis(3500),
        ..Default::default()
    });
    let mut fake = Fake::with(made);
    fake.vitals.tls_not_after = Some(at(0));
    let varz = json(&fake, "/varz", "");
    assert_eq!(varz["tls_required"], true);
    assert_eq!(varz["tls_verify"], true);
    assert_eq!(varz["tls_timeout"], 3.5);
    assert_eq!(varz["auth_timeout"], 4.5);
    assert_eq!(varz["proxies"]["trusted"][0]["key"], "UX");
    assert_eq!(varz["tls_cert_not_after"], "2026-11-25T17:53:25.5Z");
    for absent in ["auth_required", "max_subscriptions", "tags", "metadata"] {
        assert_eq!(varz.get(absent), None, "{absent}");
    }
}

#[test]
fn connz_has_the_fields_of_the_reference() {
    let fake = Fake::new();
    let connz = text(&fake, "/connz", "");
    assert_eq!(
        shape(&connz, 1),
        "server_id:t now:t num_connections:n total:n offset:n limit:n connections:l"
    );
    assert_eq!(
        shape(&connz, 3),
        format!("{CONNECTION} {TRAFFIC} subscriptions:n")
    );
    let closed = text(&fake, "/connz", "state=closed&auth=1&subs=detail");
    assert_eq!(
        shape(&closed, 3),
        format!(
            "{CONNECTION} stop:t reason:t {TRAFFIC} stalls:n subscriptions:n name:t lang:t \
             version:t tls_version:t tls_cipher_suite:t tls_peer_certs:l tls_first:b \
             authorized_user:t account:t name_tag:t proxy:m"
        )
    );
    assert_eq!(shape(&closed, 5), "subject:t spki_sha256:t cert_sha256:t");
    assert!(
        closed.contains(r#""name": "\u003cscript\u003e\u2028""#),
        "{closed}"
    );
    let closed = json(&fake, "/connz", "state=closed&auth=1");
    let row = &closed["connections"][0];
    for (name, want) in [
        ("reason", "Slow Consumer (Pending Bytes)"),
        ("rtt", "0s"),
        ("uptime", "2s"),
        ("idle", "1s"),
        ("stop", "2026-11-25T17:53:29Z"),
    ] {
        assert_eq!(row[name], want, "{name}");
    }
}

#[test]
fn connz_tells_who_clients_are_only_if_asked() {
    let fake = Fake::new();
    let with = json(&fake, "/connz", "auth=true&state=any");
    let who: Vec<_> = with["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let told = |name: &str| row.get(name).map_or("", |v| v.as_str().unwrap()).to_owned();
            (
                row["cid"].as_u64().unwrap(),
                told("authorized_user"),
                told("account"),
                told("name_tag"),
            )
        })
        .collect();
    let want = [
        (4, "a", "A", "A"),
        (5, "a", "A", "A"),
        (6, "[REDACTED]", "A", "A"),
        (7, "", "", "$G"),
        (8, "b<>", "B", "B"),
    ];
    assert_eq!(
        who,
        want.map(|(cid, user, account, tag)| (cid, user.into(), account.into(), tag.into()))
    );
    let without = text(&fake, "/connz", "state=any&subs=detail");
    for name in ["authorized_user", "\"account", "name_tag", "tls_peer_certs"] {
        assert!(!without.contains(name), "{name}");
    }
    assert_eq!(
        shape(&without, 5),
        "subject:t qgroup:t sid:t msgs:n max:n cid:n"
    );
    let detail = text(&fake, "/connz", "auth=1&subs=detail");
    assert_eq!(
        shape(&detail, 5),
        "account:t account_tag:t subject:t qgroup:t sid:t msgs:n max:n cid:n"
    );
    let subjects = json(&fake, "/connz", "subs=1");
    assert_eq!(subjects["connections"][0]["subscriptions_list"][0], "foo.*");
}

#[test]
fn connz_filters_and_counts_like_the_reference() {
    let fake = Fake::new();
    for (query, total, cids) in [
        ("", 4, &[5, 6, 7, 8][..]),
        ("state=all", 5, &[4, 5, 6, 7, 8]),
        ("state=ANY&sort=pending", 5, &[8, 7, 6, 5, 4]),
        ("state=closed&sort=stop", 1, &[4]),
        ("acc=A", 2, &[5, 6]),
        ("acc=A&state=any", 3, &[4, 5, 6]),
        ("user=a", 4, &[5]),
        ("cid=6", 4, &[6]),
        ("cid=99", 4, &[]),
        ("mqtt_client=x", 4, &[]),
        ("offset=1&limit=2", 4, &[6, 7]),
        ("offset=100", 4, &[]),
        ("offset=-5&limit=-5", 4, &[5, 6, 7, 8]),
        ("cid=6&offset=1", 4, &[]),
        (
            "limit=9223372036854775807&offset=9223372036854775807",
            4,
            &[],
        ),
        ("callback=f", 4, &[5, 6, 7, 8]),
    ] {
        let connz = json(&fake, "/connz", query);
        let rows = connz["connections"].as_array().unwrap().iter();
        let got: Vec<_> = rows.map(|row| row["cid"].as_u64().unwrap()).collect();
        assert_eq!(
            (connz["total"].as_u64().unwrap(), &got[..]),
            (total, cids),
            "{query}"
        );
        assert_eq!(connz["num_connections"], cids.len(), "{query}");
    }
    let connz = json(&fake, "/connz", "cid=6&limit=7&offset=3");
    assert_eq!((&connz["limit"], &connz["offset"]), (&1.into(), &3.into()));
    let nobody = text(&fake, "/connz", "acc=nope");
    assert!(nobody.contains("\"server_id\": \"\","), "{nobody}");
    assert!(nobody.ends_with("\"connections\": null\n}"), "{nobody}");
}

#[test]
fn bad_parameters_are_told_in_the_words_of_the_reference() {
    let fake = Fake::new();
    for (path, query, want) in [
        ("/connz", "sort=foo", "invalid sorting option: foo"),
        ("/connz", "sort=CID", "invalid sorting option: CID"),
        (
            "/connz",
            "sort=stop",
            "sort by stop only valid on closed connections",
        ),
        (
            "/connz",
            "sort=reason&state=any",
            "sort by reason only valid on closed connections",
        ),
        ("/connz", "state=foo", "Error decoding state for foo"),
        (
            "/connz",
            "auth=2",
            "Error decoding boolean for 'auth': strconv.ParseBool: parsing \"2\": invalid syntax",
        ),
        (
            "/connz",
            "subs=foo",
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"foo\": invalid syntax",
        ),
        (
            "/connz",
            "limit=x",
            "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "/connz",
            "cid=-1",
            "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        (
            "/subsz",
            "subs=detail",
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"detail\": invalid syntax",
        ),
        (
            "/subsz",
            "test=foo.*",
            "invalid test subject, must be valid publish subject: foo.*",
        ),
        (
            "/subsz",
            "test=foo..x",
            "invalid test subject, must be valid publish subject: foo..x",
        ),
        ("/accountz", "acc=nope", "Account nope does not exist"),
        (
            "/accstatz",
            "unused=x",
            "Error decoding boolean for 'unused': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "/routez",
            "subs=x",
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "/gatewayz",
            "accs=x",
            "Error decoding boolean for 'accs': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "/leafz",
            "subs=x",
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        ("/jsz", "leader-only=1", "filtered response: not leader"),
        (
            "/jsz",
            "limit=x",
            "Error decoding int for 'limit': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "/healthz",
            "details=x",
            "Error decoding boolean for 'details': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "/ipqueuesz",
            "all=x",
            "Error decoding boolean for 'all': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
    ] {
        let want = Answer {
            status: 400,
            content_type: TEXT,
            body: want.into(),
        };
        assert_eq!(ask(&fake, path, query), want, "{path}?{query}");
    }
}

#[test]
fn subsz_has_the_fields_and_figures_of_the_reference() {
    let fake = Fake::new();
    let head = "server_id:t now:t num_subscriptions:n num_cache:n num_inserts:n num_removes:n \
                num_matches:n cache_hit_rate:n max_fanout:n avg_fanout:n total:n offset:n limit:n";
    assert_eq!(shape(&text(&fake, "/subsz", ""), 1), head);
    let listed = text(&fake, "/subscriptionsz", "subs=1");
    assert_eq!(shape(&listed, 1), format!("{head} subscriptions_list:l"));
    assert_eq!(
        shape(&listed, 3),
        "account:t account_tag:t subject:t qgroup:t sid:t msgs:n max:n cid:n"
    );
    let subsz = json(&fake, "/subsz", "");
    for (name, want) in [
        ("num_subscriptions", 3.0),
        ("num_cache", 15.0),
        ("num_inserts", 3.0),
        ("num_removes", 0.0),
        ("num_matches", 24.0),
        ("cache_hit_rate", 0.125),
        ("max_fanout", 5.0),
        ("avg_fanout", 1.8),
        ("total", 0.0),
        ("limit", 1024.0),
    ] {
        assert_eq!(subsz[name].as_f64(), Some(want), "{name}");
    }
    for (query, total, subjects) in [
        ("subs=1", 3, &["foo.*", "pp.s.1", "foo.1"][..]),
        ("subs=1&acc=A", 2, &["foo.*", "foo.1"]),
        ("subs=1&acc=nope", 0, &[]),
        ("subs=1&test=foo.1", 2, &["foo.*", "foo.1"]),
        ("subs=1&limit=1&offset=1", 3, &["pp.s.1"]),
        ("subs=1&limit=2&offset=2", 3, &["foo.1"]),
        ("subs=1&offset=99", 3, &[]),
    ] {
        let subsz = json(&fake, "/subsz", query);
        let list = subsz.get("subscriptions_list").and_then(Value::as_array);
        let got: Vec<_> = list
            .into_iter()
            .flatten()
            .map(|s| s["subject"].as_str().unwrap())
            .collect();
        assert_eq!(
            (subsz["total"].as_u64(), &got[..]),
            (Some(total), subjects),
            "{query}"
        );
    }
}

#[test]
fn accountz_lists_accounts_and_tells_of_one() {
    let fake = Fake::new();
    let all = text(&fake, "/accountz", "");
    assert_eq!(
        shape(&all, 1),
        "server_id:t now:t system_account:t accounts:l"
    );
    for name in ["$G", "A", "B", "$SYS"] {
        assert!(
            all.contains(&format!("\n    \"{name}\"")),
            "{name} in {all}"
        );
    }
    let a = text(&fake, "/accountz", "acc=A");
    assert_eq!(
        shape(&a, 1),
        "server_id:t now:t system_account:t account_detail:m"
    );
    let detail = "account_name:t update_time:t expired:b complete:b jetstream_enabled:b \
                  leafnode_connections:n client_connections:n subscriptions:n";
    assert_eq!(
        shape(&a, 2),
        format!("{detail} mappings:m exports:l imports:l name_tag:t sublist_stats:m")
    );
    let a = json(&fake, "/accountz", "acc=A");
    let a = &a["account_detail"];
    let want = r#"[
        {"subject":"s.>","type":"stream","approved_accounts":["B"]},
        {"subject":"q.*","type":"service","response_type":"Streamed","approved_accounts":["B"]},
        {"subject":"lat","type":"service","response_type":"Singleton","service_latency":{"sampling":"headers","results":"latz"}},
        {"subject":"sampled","type":"service","response_type":"Singleton","service_latency":{"sampling":50,"results":"latz"}}]"#;
    assert_eq!(a["exports"], serde_json::from_str::<Value>(want).unwrap());
    let want = r#"{"in":[{"subject":"out2","weight":20},{"subject":"in","weight":50},{"subject":"out","weight":100}]}"#;
    assert_eq!(a["mappings"], serde_json::from_str::<Value>(want).unwrap());
    assert_eq!(
        (&a["client_connections"], &a["subscriptions"]),
        (&3.into(), &2.into())
    );
    let b = json(&fake, "/accountz", "acc=B");
    let imports = b["account_detail"]["imports"].as_array().unwrap();
    let want = r#"[
        {"subject":"s.>","account":"A","local_subject":"pp.s.>","type":"stream","invalid":false,"share":false,"tracking":false},
        {"subject":"q.x","account":"A","to":"local.q","local_subject":"local.q","type":"service","invalid":false,"share":true,"tracking":false},
        {"subject":"lat","account":"A","to":"lat","local_subject":"lat","type":"service","invalid":false,"share":false,"tracking":false,"latency":{"sampling":"headers","results":"latz"}}]"#;
    assert_eq!(
        Value::from(imports[..3].to_vec()),
        serde_json::from_str::<Value>(want).unwrap()
    );
    let system: Vec<_> = imports[3..]
        .iter()
        .map(|i| i["subject"].as_str().unwrap())
        .collect();
    assert_eq!(
        system,
        [
            "$SYS.REQ.ACCOUNT.B.CONNZ",
            "$SYS.REQ.ACCOUNT.B.CONNZ",
            "$SYS.REQ.ACCOUNT.B.STATZ",
            "$SYS.REQ.USER.B.INFO"
        ]
    );
    let sys = json(&fake, "/accountz", "acc=$SYS");
    let sys = &sys["account_detail"];
    assert_eq!(sys["is_system"], true);
    assert_eq!(sys["imports"].as_array().unwrap().len(), 1);
    assert_eq!(sys["exports"].as_array().unwrap().len(), 4);
    let g = json(&fake, "/accountz", "acc=$G");
    assert_eq!(g["account_detail"]["mappings"]["foo"][0]["subject"], "bar");
}

#[test]
fn accstatz_leaves_out_accounts_without_connections() {
    let fake = Fake::new();
    let accstatz = text(&fake, "/accstatz", "");
    assert_eq!(shape(&accstatz, 1), "server_id:t now:t account_statz:l");
    assert_eq!(
        shape(&accstatz, 3),
        "acc:t name:t conns:n leafnodes:n total_conns:n num_subscriptions:n sent:m received:m slow_consumers:n"
    );
    assert_eq!(
        shape(&accstatz, 4),
        "msgs:n bytes:n gateways:m routes:m leafs:m"
    );
    let names = |query: &str| -> Vec<String> {
        let doc = json(&fake, "/accstatz", query);
        let stats = doc["account_statz"].as_array().unwrap();
        stats
            .iter()
            .map(|s| s["acc"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut all = names("unused=1");
    all.sort();
    assert_eq!(all, ["$G", "$SYS", "A", "B"]);
    let mut used = names("");
    used.sort();
    assert_eq!(used, ["A", "B"]);
    let doc = json(&fake, "/accstatz", "");
    let a = &doc["account_statz"][0];
    assert_eq!(
        (&a["conns"], &a["sent"]["msgs"], &a["received"]["bytes"]),
        (&3.into(), &6.into(), &30.into())
    );
}

#[test]
fn links_are_told_as_in_the_reference() {
    let mut fake = Fake::new();
    assert_eq!(
        shape(&text(&fake, "/routez", ""), 1),
        "server_id:t server_name:t now:t num_routes:n routes:l"
    );
    assert!(text(&fake, "/routez", "subs=detail").contains("\"routes\": []"));
    assert_eq!(
        shape(&text(&fake, "/gatewayz", "subs=1"), 1),
        "server_id:t now:t outbound_gateways:m inbound_gateways:m"
    );
    assert_eq!(
        shape(&text(&fake, "/leafz", ""), 1),
        "server_id:t now:t leafnodes:n leafs:l"
    );
    let ip = "127.0.0.1".parse().unwrap();
    fake.links.routes.push(a_route());
    let route = "rid:n remote_id:t remote_name:t did_solicit:b is_configured:b ip:t port:n start:t \
                 last_activity:t rtt:t uptime:t idle:t pending_size:n in_msgs:n out_msgs:n \
                 in_bytes:n out_bytes:n subscriptions:n";
    assert_eq!(
        shape(&text(&fake, "/routez", ""), 3),
        format!("{route} account:t compression:t")
    );
    let listed = shape(&text(&fake, "/routez", "subs=1"), 3);
    assert_eq!(
        listed,
        format!("{route} subscriptions_list:l account:t compression:t")
    );
    fake.links.leafs.push(LeafRow {
        id: 5,
        name: "leaf".into(),
        is_spoke: false,
        is_isolated: true,
        account: "A".into(),
        ip,
        port: 7422,
        rtt: None,
        in_msgs: 0,
        out_msgs: 0,
        in_bytes: 0,
        out_bytes: 0,
        subscriptions: 1,
        subscriptions_list: vec!["a".into()],
        compression: String::new(),
    });
    let leaf = "id:n name:t is_spoke:b is_isolated:b account:t ip:t port:n in_msgs:n out_msgs:n in_bytes:n out_bytes:n subscriptions:n";
    assert_eq!(shape(&text(&fake, "/leafz", "acc=A"), 3), leaf);
    assert_eq!(
        shape(&text(&fake, "/leafz", "subs=1"), 3),
        format!("{leaf} subscriptions_list:l")
    );
    assert_eq!(json(&fake, "/leafz", "acc=B")["leafnodes"], 0);
    let account = |name: &str| GatewayAccount {
        name: name.into(),
        interest_mode: "Optimistic".into(),
        no_interest_count: 0,
        num_subs: 3,
        num_queue_subs: 0,
    };
    let row = GatewayRow {
        configured: true,
        accounts: vec![account("A"), account("B")],
    };
    fake.links.gateways = links::Gateways {
        name: "east".into(),
        host: "0.0.0.0".into(),
        port: 7222,
        outbound: [("west".into(), row.clone())].into(),
        inbound: [("west".into(), vec![row])].into(),
    };
    let all = text(&fake, "/gatewayz", "accs=1");
    assert_eq!(
        shape(&all, 1),
        "server_id:t now:t name:t host:t port:n outbound_gateways:m inbound_gateways:m"
    );
    assert_eq!(shape(&all, 3), "configured:b accounts:l");
    let one = json(&fake, "/gatewayz", "acc_name=B");
    assert_eq!(
        one["outbound_gateways"]["west"]["accounts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        json(&fake, "/gatewayz", "gw_name=x")["inbound_gateways"],
        serde_json::json!({})
    );
    let varz = json(&fake, "/varz", "");
    assert_eq!(
        (&varz["routes"], &varz["leafnodes"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn jsz_is_that_of_a_server_without_jetstream() {
    let jsz = text(&Fake::new(), "/jsz", "acc=A&streams=1");
    assert_eq!(
        shape(&jsz, 1),
        "memory:n storage:n reserved_memory:n reserved_storage:n accounts:n ha_assets:n api:m \
         server_id:t now:t disabled:b config:m streams:n consumers:n messages:n bytes:n total:n"
    );
    assert_eq!(
        shape(&jsz, 2),
        "level:n total:n errors:n max_memory:n max_storage:n"
    );
}

#[test]
fn health_has_the_texts_and_statuses_of_the_reference() {
    let mut fake = Fake::new();
    let bad = "{\"status\":\"error\",\"error\":\"\\\"account\\\" must not be empty when checking stream health\"}";
    let detailed = "{\"status\":\"error\",\"errors\":[{\"type\":\"BAD_REQUEST\",\"error\":\"\\\"stream\\\" must not be empty when checking consumer health\"}]}";
    let ok = "{\"status\":\"ok\"}";
    for (query, status, want) in [
        ("", 200, ok),
        ("details=1", 200, ok),
        ("js-enabled-only=1", 200, ok),
        ("account=A&stream=S&consumer=C", 200, ok),
        ("stream=S", 400, bad),
        ("consumer=C&details=1", 400, detailed),
    ] {
        let want = Answer {
            status,
            content_type: JSON,
            body: want.into(),
        };
        assert_eq!(ask(&fake, "/healthz", query), want, "{query}");
    }
    fake.vitals.lame_duck = true;
    let answer = ask(&fake, "/healthz", "");
    let want =
        "{\"status\":\"error\",\"error\":\"failed to be ready for connections after 1ms: server\"}";
    assert_eq!((answer.status, answer.body), (500, want.into()));
    let told = answer_request(&fake, Endpoint::Healthz, b"{\"details\":true}")
        .unwrap()
        .unwrap();
    assert!(told.starts_with(
        b"{\"status\":\"error\",\"status_code\":500,\"errors\":[{\"type\":\"CONNECTION\","
    ));
}

#[test]
fn damage_is_told_and_does_not_make_the_server_unwell() {
    use crate::jetstream::report::{Damaged, Report};
    let mut fake = Fake::new();
    let damaged = |account: &str, messages| Damaged {
        account: account.into(),
        stream: "S".into(),
        messages,
    };
    fake.jetstream = Some(Report {
        damaged: vec![damaged("A", 3), damaged("B", 1)],
        ..Report::default()
    });
    let body = |query| {
        let answer = ask(&fake, "/healthz", query);
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body).unwrap()
    };
    assert_eq!(body(""), "{\"status\":\"ok\"}");
    let told = body("details=1");
    let first = r#"{"status":"ok","warnings":[{"type":"STREAM","account":"A","stream":"S","error":"JetStream stream 'A \u003e S' has lost 3 messages to damage"},"#;
    assert!(told.starts_with(first), "{told}");
    assert!(told.contains("\"account\":\"B\""), "{told}");
}

#[test]
fn a_journal_that_failed_makes_the_server_unwell() {
    use crate::jetstream::report::Report;
    let mut fake = Fake::new();
    let report = |journal_error| Report {
        journal_error,
        ..Report::default()
    };
    let body = |fake: &Fake, query| {
        let answer = ask(fake, "/healthz", query);
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    fake.jetstream = Some(report(Some("Input/output error".to_owned())));
    let error = "JetStream commit journal: write error: Input/output error";
    let told = format!("{{\"status\":\"unavailable\",\"error\":\"{error}\"}}");
    for query in ["", "js-server-only=1"] {
        assert_eq!(body(&fake, query), (503, told.clone()), "{query}");
    }
    let told = format!(
        "{{\"status\":\"error\",\"errors\":[{{\"type\":\"JETSTREAM\",\"error\":\"{error}\"}}]}}"
    );
    assert_eq!(body(&fake, "details=1"), (503, told));
    let ok = (200, "{\"status\":\"ok\"}".to_owned());
    assert_eq!(body(&fake, "js-enabled-only=1"), ok);
    fake.jetstream = Some(report(None));
    assert_eq!(body(&fake, ""), ok);
}

#[test]
fn probes_say_why_not() {
    let mut fake = Fake::new();
    let probe = |fake: &Fake, path: &str| {
        let answer = ask(fake, path, "");
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let ok = (200, "{\"status\":\"ok\",\"reasons\":[]}".to_owned());
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(probe(&fake, path), ok);
    }
    let not = |reasons: &str| {
        (
            503,
            format!("{{\"status\":\"unavailable\",\"reasons\":[{reasons}]}}"),
        )
    };
    fake.vitals.listener = None;
    assert_eq!(
        probe(&fake, "/startupz"),
        not("\"the server does not listen for clients\"")
    );
    fake.vitals.lame_duck = true;
    assert_eq!(probe(&fake, "/startupz"), ok);
    fake.deaf = vec![1];
    let reasons = "\"the server is in lame duck mode\",\"1 of 3 client loops do not answer\"";
    assert_eq!(probe(&fake, "/readyz"), not(reasons));
    assert_eq!(probe(&fake, "/livez"), ok);
    fake.deaf = vec![0, 1, 2];
    assert_eq!(probe(&fake, "/livez"), not("\"no client loop answers\""));
}

#[test]
fn queues_variables_and_threads() {
    let fake = Fake::new();
    let some = r#"{"clients-1 mail":{"pending":1},"clients-2 mail":{"pending":2}}"#;
    assert_eq!(
        json(&fake, "/ipqueuesz", ""),
        serde_json::from_str::<Value>(some).unwrap()
    );
    let all = json(&fake, "/ipqueuesz", "all=1");
    assert_eq!(all.as_object().unwrap().len(), 3);
    assert_eq!(
        json(&fake, "/ipqueuesz", "queues=foo"),
        serde_json::json!({})
    );
    let raftz = ask(&fake, "/raftz", "acc=x");
    assert_eq!(
        (raftz.status, &raftz.body[..]),
        (404, &b"No Raft nodes registered"[..])
    );
    let vars = ask(&fake, "/debug/vars", "");
    assert!(vars.body.starts_with(b"{\n\"cmdline\": [\"nats-server\",\"-m\",\"8222\"],\n\"memstats\": {\"Alloc\":84,\"Sys\":20971520},\n"));
    assert!(serde_json::from_slice::<Value>(&vars.body).is_ok());
    assert_eq!(vars, ask(&fake, "/expvarz", ""));
    let stacks = text(&fake, "/stacksz", "");
    assert_eq!(stacks, "thread 12 \"clients-0\" [sleeping]: 1.5s of CPU\n");
}

#[test]
fn all_paths_are_answered_and_no_others() {
    let mut fake = Fake::new();
    for path in PATHS {
        assert!(answer(&fake, path, &[]).is_some(), "{path}");
    }
    for path in ["/", "/varz/", "/nope", "varz", ""] {
        assert_eq!(answer(&fake, path, &[]), None, "{path}");
    }
    // No answer of any loop is no reason for none.
    fake.deaf = vec![0, 1, 2];
    for path in PATHS {
        assert!(answer(&fake, path, &pairs("subs=1")).is_some(), "{path}");
    }
}

/// Connections in several loops; numbers are those of no two of them.
fn rows() -> impl Strategy<Value = Vec<Vec<ConnectionRow>>> {
    let row = (0..4usize, 0..5usize);
    prop::collection::vec(row, 0..40).prop_map(|places| {
        let mut loops = vec![Vec::new(); 3];
        for (cid, (owner, pending)) in places.into_iter().enumerate() {
            let mut row = open(cid as u64 + 1, "A", "a");
            row.pending = pending;
            loops[owner % 3].push(row);
        }
        loops
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_of_connections_are_the_whole_in_order(loops in rows(), limit in 1..9usize) {
        let mut fake = Fake::new();
        let mut want: Vec<_> = loops.iter().flatten().map(|r| (usize::MAX - r.pending, r.cid)).collect();
        want.sort_unstable();
        let want: Vec<_> = want.into_iter().map(|(_, cid)| cid).collect();
        fake.connections = loops;
        let mut got = Vec::new();
        for page in 0..=want.len() / limit {
            let query = format!("sort=pending&limit={limit}&offset={}", page * limit);
            let connz = json(&fake, "/connz", &query);
            prop_assert_eq!(&connz["total"], want.len());
            let rows = connz["connections"].as_array().unwrap();
            prop_assert!(rows.len() <= limit);
            got.extend(rows.iter().map(|row| row["cid"].as_u64().unwrap()));
        }
        prop_assert_eq!(got, want);
    }

    #[test]
    fn pages_of_subscriptions_are_the_whole_in_order(places in prop::collection::vec(0..3usize, 0..40), limit in 1..9usize) {
        let mut fake = Fake::new();
        fake.subscriptions = vec![Vec::new(); 3];
        for (cid, owner) in places.iter().enumerate() {
            fake.subscribe(*owner, cid as u64, "A", "a", "");
        }
        let want: Vec<_> = fake.subscriptions.iter().flatten().map(|s| s.cid).collect();
        let mut got = Vec::new();
        for page in 0..=want.len() / limit {
            let query = format!("subs=1&limit={limit}&offset={}", page * limit);
            let subsz = json(&fake, "/subsz", &query);
            prop_assert_eq!(&subsz["total"], want.len());
            let rows = subsz.get("subscriptions_list").and_then(Value::as_array);
            got.extend(rows.into_iter().flatten().map(|row| row["cid"].as_u64().unwrap()));
        }
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_query_and_no_options_panic(
        path in prop::sample::select(PATHS),
        name in prop::sample::select(vec!["subs", "sort", "state", "limit", "offset", "cid", "acc", "auth", "test", "unused"]),
        value in ".{0,12}",
        options in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        let fake = Fake::new();
        let given = answer(&fake, path, &[(name.to_owned(), value)]);
        prop_assert!(given.is_some());
        for endpoint in [Endpoint::Connz, Endpoint::Subsz, Endpoint::Accstatz] {
            let _ = answer_request(&fake, endpoint, &options);
        }
    }
}
