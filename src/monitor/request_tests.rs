//! What is asked through the system account is what is asked over HTTP, and who answers.

use super::go_json;
use super::request::{
    AccountEndpoint, Endpoint, Filter, RequestError, answer_account, answer_request, applies,
    filter, idz,
};
use super::testing::Fake;
use super::tests::{json, shape};
use serde_json::Value;

fn request(fake: &Fake, endpoint: Endpoint, options: &str) -> Result<Value, String> {
    match answer_request(fake, endpoint, options.as_bytes()) {
        Ok(Some(body)) => Ok(serde_json::from_slice(&body).unwrap()),
        Ok(None) => Err("silent".into()),
        Err(RequestError { code, description }) => Err(format!("{code} {description}")),
    }
}

#[test]
fn requests_get_the_same_documents_in_one_line() {
    let fake = Fake::new();
    for (token, path) in [
        ("VARZ", "/varz"),
        ("CONNZ", "/connz"),
        ("SUBSZ", "/subsz"),
        ("ROUTEZ", "/routez"),
        ("GATEWAYZ", "/gatewayz"),
        ("LEAFZ", "/leafz"),
        ("ACCOUNTZ", "/accountz"),
        ("JSZ", "/jsz"),
        ("IPQUEUESZ", "/ipqueuesz"),
    ] {
        let endpoint = Endpoint::named(token.as_bytes()).unwrap();
        let told = answer_request(&fake, endpoint, b"").unwrap().unwrap();
        assert!(!told.contains(&b'\n'), "{token}");
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told, json(&fake, path, ""), "{token}");
    }
    let healthz = request(&fake, Endpoint::Healthz, "null").unwrap();
    assert_eq!(
        healthz,
        serde_json::json!({"status": "ok", "status_code": 200})
    );
    assert_eq!(
        request(&fake, Endpoint::Raftz, "{\"group\":\"x\"}"),
        Ok(serde_json::json!({}))
    );
    assert!(request(&fake, Endpoint::Expvarz, "{}").unwrap()["memstats"]["Sys"].is_number());
    assert_eq!(Endpoint::named(b"NOPE"), None);
    assert_eq!(
        idz(&fake.facts),
        br#"{"name":"a\u003cb\u003e","host":"0.0.0.0","id":"NSERVER"}"#
    );
}

#[test]
fn statsz_has_the_fields_of_the_reference() {
    let mut fake = Fake::new();
    let statsz = |fake: &Fake| {
        let document = super::statsz::document(fake, 1);
        shape(&String::from_utf8(go_json::indented(&document)).unwrap(), 1)
    };
    let head = "start:t mem:n cores:n cpu:n connections:n total_connections:n active_accounts:n \
                subscriptions:n sent:m sent_to_clients:m received:m received_from_clients:m slow_consumers:n";
    assert_eq!(
        statsz(&fake),
        format!(
            "{head} slow_consumer_stats:m stale_connections:n stale_connection_stats:m stalled_clients:n active_servers:n gomaxprocs:n"
        )
    );
    for totals in &mut fake.totals {
        (
            totals.slow_consumers,
            totals.stale_connections,
            totals.stalls,
        ) = (0, 0, 0);
    }
    assert_eq!(
        statsz(&fake),
        format!("{head} active_servers:n gomaxprocs:n")
    );
    let told = request(&fake, Endpoint::Statsz, "").unwrap();
    assert_eq!(
        (&told["active_accounts"], &told["sent"]["msgs"]),
        (&2.into(), &12.into())
    );
    assert!(Endpoint::Statsz.is_statsz() && !Endpoint::Varz.is_statsz());
}

#[test]
fn options_of_requests() {
    let fake = Fake::new();
    let connz = |options: &str| request(&fake, Endpoint::Connz, options);
    for (options, count) in [
        (r#"{"LIMIT":1}"#, 1),
        (r#"{"state":2}"#, 5),
        (r#"{"state":1}"#, 1),
        (r#"{"state":7}"#, 0),
        (r#"{"acc":"A","filter_subject":"foo.1"}"#, 2),
        (r#"{"acc":"A","filter_subject":"nope"}"#, 0),
        (r#"{"user":"a","auth":true}"#, 1),
        (r#"{"unknown":{"a":[1]},"limit":null}"#, 4),
    ] {
        let told = connz(options).unwrap();
        assert_eq!(told["num_connections"], count, "{options}");
    }
    for (endpoint, options, want) in [
        (
            Endpoint::Connz,
            r#"{"limit":"x"}"#,
            "400 json: cannot unmarshal string into Go struct field ConnzEventOptions.ConnzOptions.limit of type int",
        ),
        (
            Endpoint::Connz,
            r#"{"sort":5}"#,
            "400 json: cannot unmarshal number into Go struct field ConnzEventOptions.ConnzOptions.sort of type server.SortOpt",
        ),
        (
            Endpoint::Connz,
            r#"{"state":"x"}"#,
            "400 json: cannot unmarshal string into Go struct field ConnzEventOptions.ConnzOptions.state of type server.ConnState",
        ),
        (
            Endpoint::Connz,
            r#"{"server_name":5}"#,
            "400 json: cannot unmarshal number into Go struct field ConnzEventOptions.EventFilterOptions.server_name of type string",
        ),
        (
            Endpoint::Connz,
            "[]",
            "400 json: cannot unmarshal array into Go value of type server.ConnzEventOptions",
        ),
        (Endpoint::Connz, "{", "400 unexpected end of JSON input"),
        (
            Endpoint::Connz,
            r#"{"sort":"foo"}"#,
            "500 invalid sorting option: foo",
        ),
        (
            Endpoint::Connz,
            r#"{"filter_subject":"foo"}"#,
            "500 filter by subject only valid with account filtering",
        ),
        (
            Endpoint::Subsz,
            r#"{"test":"a.*"}"#,
            "500 invalid test subject, must be valid publish subject: a.*",
        ),
        (
            Endpoint::Subsz,
            r#"{"subscriptions":"x"}"#,
            "400 json: cannot unmarshal string into Go struct field SubszEventOptions.SubszOptions.subscriptions of type bool",
        ),
        (
            Endpoint::Accountz,
            r#"{"account":"nope"}"#,
            "500 Account nope does not exist",
        ),
        (
            Endpoint::Routez,
            r#"{"subscriptions":1}"#,
            "400 json: cannot unmarshal number into Go struct field RoutezEventOptions.RoutezOptions.subscriptions of type bool",
        ),
        (
            Endpoint::Gatewayz,
            r#"{"Name":5}"#,
            "400 json: cannot unmarshal number into Go struct field GatewayzEventOptions.GatewayzOptions.name of type string",
        ),
        (
            Endpoint::Leafz,
            r#"{"subscriptions":{}}"#,
            "400 json: cannot unmarshal object into Go struct field LeafzEventOptions.LeafzOptions.subscriptions of type bool",
        ),
        (
            Endpoint::Jsz,
            r#"{"limit":"x"}"#,
            "400 json: cannot unmarshal string into Go struct field JszEventOptions.JSzOptions.limit of type int",
        ),
        (Endpoint::Jsz, r#"{"leader_only":true}"#, "silent"),
        (
            Endpoint::Healthz,
            r#"{"details":{}}"#,
            "400 json: cannot unmarshal object into Go struct field HealthzEventOptions.HealthzOptions.details of type bool",
        ),
        (
            Endpoint::Ipqueuesz,
            r#"{"all":{}}"#,
            "400 json: cannot unmarshal object into Go struct field IpqueueszEventOptions.IpqueueszOptions.all of type bool",
        ),
        (
            Endpoint::Raftz,
            r#"{"group":{}}"#,
            "400 json: cannot unmarshal object into Go struct field RaftzEventOptions.RaftzOptions.group of type string",
        ),
        (
            Endpoint::Accstatz,
            r#"{"accounts":5}"#,
            "400 json: cannot unmarshal number into Go struct field AccountStatzEventOptions.AccountStatzOptions.accounts of type []string",
        ),
        (
            Endpoint::Varz,
            r#"{"tags":{}}"#,
            "400 json: cannot unmarshal object into Go struct field VarzEventOptions.EventFilterOptions.tags of type []string",
        ),
        (
            Endpoint::Statsz,
            r#"{"tags":{}}"#,
            "400 json: cannot unmarshal object into Go struct field StatszEventOptions.EventFilterOptions.tags of type []string",
        ),
        (
            Endpoint::Expvarz,
            r#"{"tags":{}}"#,
            "400 json: cannot unmarshal object into Go struct field ExpvarzEventOptions.EventFilterOptions.tags of type []string",
        ),
    ] {
        assert_eq!(
            request(&fake, endpoint, options),
            Err(want.into()),
            "{options}"
        );
    }
    let named = request(
        &fake,
        Endpoint::Accstatz,
        r#"{"accounts":["B","nope","$G"],"include_unused":true}"#,
    )
    .unwrap();
    let stats = named["account_statz"].as_array().unwrap();
    assert_eq!(
        (stats.len(), &stats[0]["acc"], &stats[1]["acc"]),
        (2, &"B".into(), &"$G".into())
    );
}

#[test]
fn filters_choose_servers() {
    let fake = Fake::new();
    for (options, answers) in [
        ("{}", true),
        (r#"{"server_name":"<"}"#, true),
        (r#"{"server_name":"A"}"#, false),
        (r#"{"server_name":"a","exact_match":true}"#, false),
        (r#"{"server_name":"a<b>","exact_match":true}"#, true),
        (r#"{"host":"0.0"}"#, true),
        (r#"{"host":"0.0","exact_match":true}"#, false),
        (r#"{"cluster":"x"}"#, false),
        (r#"{"domain":"x"}"#, false),
        (r#"{"domain":""}"#, true),
        (r#"{"tags":["EAST","rack:7"]}"#, true),
        (r#"{"tags":["east","west"]}"#, false),
    ] {
        let told = request(&fake, Endpoint::Ipqueuesz, options);
        assert_eq!(told.is_ok(), answers, "{options}: {told:?}");
        let read = filter(options.as_bytes()).unwrap();
        assert_eq!(applies(&read, &fake.facts), answers, "{options}");
    }
    assert!(applies(&Filter::default(), &fake.facts));
    let fault = filter(br#"{"tags":{}}"#).unwrap_err();
    let want = "json: cannot unmarshal object into Go struct field EventFilterOptions.tags of type []string";
    assert_eq!((fault.code, fault.description.as_str()), (400, want));
}

#[test]
fn requests_about_an_account_are_about_no_other() {
    let fake = Fake::new();
    let about = |token: &str, account: &str, options: &str| {
        let endpoint = AccountEndpoint::named(token.as_bytes()).unwrap();
        match answer_account(&fake, endpoint, account, options.as_bytes()) {
            Ok(Some(body)) => Ok(serde_json::from_slice::<Value>(&body).unwrap()),
            Ok(None) => Err("silent".to_owned()),
            Err(RequestError { code, description }) => Err(format!("{code} {description}")),
        }
    };
    let connz = about("CONNZ", "A", r#"{"acc":"B"}"#).unwrap();
    assert_eq!(
        (&connz["total"], &connz["connections"][0]["cid"]),
        (&2.into(), &5.into())
    );
    let subsz = about("SUBSZ", "A", r#"{"account":"B"}"#).unwrap();
    assert_eq!(subsz["subscriptions_list"].as_array().unwrap().len(), 2);
    assert_eq!(subsz["num_subscriptions"], 2);
    assert_eq!(about("INFO", "A", "").unwrap()["account_name"], "A");
    let statz = about("STATZ", "$G", r#"{"accounts":["A"]}"#).unwrap();
    assert_eq!(statz["account_statz"][0]["acc"], "$G");
    assert_eq!(about("LEAFZ", "A", "").unwrap()["leafnodes"], 0);
    let conns = about("CONNS", "B", r#"{"tags":5}"#).unwrap();
    assert_eq!((&conns["acc"], &conns["conns"]), (&"B".into(), &3.into()));
    assert_eq!(
        about("CONNZ", "nope", "").unwrap()["connections"],
        Value::Null
    );
    for (token, account, options, want) in [
        ("JSZ", "A", "", "500 jetstream not enabled"),
        ("INFO", "nope", "", "500 Account nope does not exist"),
        (
            "INFO",
            "A",
            r#"{"tags":5}"#,
            "400 json: cannot unmarshal number into Go struct field AccInfoEventOptions.EventFilterOptions.tags of type []string",
        ),
        ("CONNZ", "A", "{", "400 unexpected end of JSON input"),
        ("STATZ", "nope", "", "silent"),
        ("CONNS", "nope", "", "silent"),
        ("CONNS", "B", "{", "silent"),
        ("CONNZ", "A", r#"{"server_name":"zz"}"#, "silent"),
    ] {
        assert_eq!(
            about(token, account, options),
            Err(want.into()),
            "{token} {account} {options}"
        );
    }
}
