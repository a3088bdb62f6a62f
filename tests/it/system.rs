//! The system account: events and services, asked with raw protocol lines.

use super::support::schema::assert_valid;
use super::support::{Peer, eventually, log_in, refusal, start};
use nats_server::options::Options;
use nats_server::options::security::{AccountOptions, Login, Permissions, Rules, User};
use nats_server::server::Server;
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;

const ADMIN: &str = r#""user":"admin","pass":"p""#;
const USER: &str = r#""user":"a","pass":"p","name":"app","lang":"x","version":"1""#;

fn account(name: &str, user: &str, permissions: Option<Permissions>) -> AccountOptions {
    AccountOptions {
        name: name.into(),
        users: vec![User {
            login: Login::Name(user.into()),
            password: "p".into(),
            permissions: permissions.map(Arc::new),
            connection_types: None,
            proxy_required: false,
        }],
        ..AccountOptions::default()
    }
}

fn options(options: &mut Options) {
    let permissions = Permissions {
        publish: Rules {
            allow: Some(vec!["a.>".into(), "$SYS.REQ.>".into()]),
            deny: vec!["a.x".into()],
        },
        subscribe: Rules::default(),
        responses: None,
    };
    options.accounts = vec![
        account("SYS", "admin", None),
        account("A", "a", Some(permissions)),
        account("B", "b", None),
    ];
    options.system_account = Some("SYS".into());
    options.server_name = Some("srv".into());
    options.tags = vec!["t:1".into()];
}

/// Asks a service; gives the answer.
fn ask(peer: &mut Peer, subject: &str, body: &str) -> Value {
    peer.say("SUB answer 99\r\n");
    peer.say(format!("PUB {subject} answer {}\r\n{body}\r\n", body.len()));
    let (line, body) = peer.message();
    assert!(line.contains("answer 99"), "{line}");
    peer.say("UNSUB 99\r\n");
    serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{subject}: {e}: {body:?}"))
}

/// The next event on a subject that ends so; others are passed over.
fn event(peer: &mut Peer, end: &str) -> Value {
    loop {
        let (line, body) = peer.message();
        let subject = line.split(' ').nth(1).unwrap();
        if subject.ends_with(end) {
            return serde_json::from_slice(&body).unwrap();
        }
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(|k| &**k).collect()
}

fn id(server: &Server) -> String {
    let mut peer = Peer::raw(server.addr());
    let info = peer.line();
    let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
    info["server_id"].as_str().unwrap().into()
}

#[test]
fn clients_that_come_and_go_are_told_of() {
    let server = start(options);
    let mut admin = log_in(server.addr(), ADMIN);
    admin.say("SUB $SYS.ACCOUNT.*.CONNECT 1\r\nSUB $SYS.ACCOUNT.*.DISCONNECT 2\r\n");
    admin.say("SUB $SYS.ACCOUNT.*.SERVER.CONNS 3\r\nSUB $SYS.SERVER.ACCOUNT.*.CONNS 4\r\n");
    admin.sync();
    let mut client = log_in(server.addr(), USER);
    client.say("PUB a.b 5\r\nhello\r\n");
    client.sync();
    let came = event(&mut admin, ".A.CONNECT");
    assert_eq!(came["type"], "io.nats.server.advisory.v1.client_connect");
    assert_valid("server/advisory/v1/client_connect.json", &came);
    let own = &came["client"];
    assert_eq!(
        (
            &own["acc"],
            &own["user"],
            &own["name"],
            &own["lang"],
            &own["ver"]
        ),
        (
            &"A".into(),
            &"a".into(),
            &"app".into(),
            &"x".into(),
            &"1".into()
        )
    );
    assert_eq!(
        (&own["kind"], &own["client_type"]),
        (&"Client".into(), &"nats".into())
    );
    assert!(own.get("stop").is_none() && own.get("rtt").is_none());
    let told_by = &came["server"];
    assert_eq!(told_by["name"], "srv");
    assert_eq!(told_by["tags"][0], "t:1");
    assert_eq!(
        keys(told_by),
        [
            "flags",
            "host",
            "id",
            "jetstream",
            "name",
            "seq",
            "tags",
            "time",
            "ver"
        ]
    );
    let conns = event(&mut admin, "SERVER.ACCOUNT.A.CONNS");
    assert_eq!(
        conns["type"],
        "io.nats.server.advisory.v1.account_connections"
    );
    assert_eq!((&conns["acc"], &conns["conns"]), (&"A".into(), &1.into()));
    // The reference tells more than its schema knows of.
    let mut known = conns.clone();
    for key in ["name", "num_subscriptions"] {
        assert!(known.as_object_mut().unwrap().remove(key).is_some());
    }
    assert_valid("server/advisory/v1/account_connections.json", &known);
    drop(client);
    let gone = event(&mut admin, ".A.DISCONNECT");
    assert_eq!(gone["type"], "io.nats.server.advisory.v1.client_disconnect");
    assert_eq!(gone["reason"], "Client Closed");
    assert_valid("server/advisory/v1/client_disconnect.json", &gone);
    assert_eq!(gone["sent"]["msgs"], 1);
    assert_eq!(gone["sent"]["bytes"], 5);
    assert_eq!(gone["received"]["msgs"], 0);
    assert!(gone["client"]["stop"].is_string());
    let conns = event(&mut admin, "ACCOUNT.A.SERVER.CONNS");
    assert_eq!(conns["conns"], 0);
}

#[test]
fn who_is_not_let_in_is_told_of() {
    let server = start(options);
    let mut admin = log_in(server.addr(), ADMIN);
    admin.say("SUB $SYS.SERVER.*.CLIENT.AUTH.ERR 1\r\n");
    admin.sync();
    refusal(server.addr(), r#""user":"a","pass":"wrong""#);
    let error = event(&mut admin, "CLIENT.AUTH.ERR");
    assert_eq!(
        error["type"],
        "io.nats.server.advisory.v1.client_disconnect"
    );
    assert_eq!(error["reason"], "Authentication Failure");
    assert_eq!(error["client"]["user"], "a");
    assert!(!error.to_string().contains("wrong"));
}

#[test]
fn every_document_is_there_for_the_asking() {
    let server = start(options);
    let id = id(&server);
    let mut admin = log_in(server.addr(), ADMIN);
    for name in [
        "VARZ",
        "SUBSZ",
        "CONNZ",
        "ROUTEZ",
        "GATEWAYZ",
        "LEAFZ",
        "ACCOUNTZ",
        "JSZ",
        "HEALTHZ",
        "EXPVARZ",
        "IPQUEUESZ",
        "RAFTZ",
        "STATSZ",
    ] {
        for whom in ["PING", &id] {
            let answer = ask(&mut admin, &format!("$SYS.REQ.SERVER.{whom}.{name}"), "");
            assert_eq!(answer["server"]["id"], *id);
            let key = if name == "STATSZ" { "statsz" } else { "data" };
            assert!(answer[key].is_object(), "{name}: {answer}");
        }
    }
    let idz = ask(&mut admin, "$SYS.REQ.SERVER.PING.IDZ", "");
    assert_eq!(keys(&idz), ["host", "id", "name"]);
    assert!(ask(&mut admin, "$SYS.REQ.SERVER.PING", "")["statsz"].is_object());
    let connz = ask(&mut admin, "$SYS.REQ.SERVER.PING.CONNZ", r#"{"auth":true}"#);
    assert_eq!(connz["data"]["connections"][0]["authorized_user"], "admin");
    // Whoever is not meant is silent: the next answer is that of the next question.
    admin.say(
        "SUB none 7\r\nPUB $SYS.REQ.SERVER.PING.VARZ none 22\r\n{\"server_name\":\"nope\"}\r\n",
    );
    let wrong = ask(&mut admin, "$SYS.REQ.SERVER.PING.CONNZ", "{\"sort\":\"x\"}");
    assert_eq!(wrong["error"]["code"], 500);
    assert_eq!(wrong["error"]["description"], "invalid sorting option: x");
    let wrong = ask(&mut admin, "$SYS.REQ.SERVER.PING.CONNZ", "{");
    assert_eq!(wrong["error"]["code"], 400);
    for name in ["SUBSZ", "CONNZ", "LEAFZ", "INFO", "STATZ"] {
        let answer = ask(&mut admin, &format!("$SYS.REQ.ACCOUNT.SYS.{name}"), "");
        assert!(answer["data"].is_object(), "{name}: {answer}");
    }
    let statz = ask(&mut admin, "$SYS.REQ.ACCOUNT.PING.STATZ", "");
    assert!(statz["data"]["account_statz"].is_array(), "{statz}");
    let conns = ask(&mut admin, "$SYS.REQ.ACCOUNT.SYS.CONNS", "");
    assert_eq!((&conns["acc"], &conns["conns"]), (&"SYS".into(), &1.into()));
}

#[test]
fn answers_come_in_the_encoding_asked_for() {
    let server = start(options);
    let mut admin = log_in(server.addr(), ADMIN);
    for (accepted, used) in [("gzip", "gzip"), ("s2", "snappy"), ("br", "identity")] {
        let headers = format!("NATS/1.0\r\nAccept-Encoding: {accepted}\r\n\r\n");
        let len = headers.len();
        admin.say("SUB answer 9\r\n");
        admin.say(format!(
            "HPUB $SYS.REQ.SERVER.PING.VARZ answer {len} {len}\r\n{headers}\r\n"
        ));
        let (line, message) = admin.message();
        admin.say("UNSUB 9\r\n");
        let header_len: usize = line.split(' ').nth(3).unwrap().parse().unwrap();
        let (headers, body) = message.split_at(header_len);
        let headers = String::from_utf8_lossy(headers);
        assert!(
            headers.contains(&format!("Content-Encoding: {used}")),
            "{headers}"
        );
        match used {
            "gzip" => {
                let mut text = String::new();
                flate2::read::GzDecoder::new(body)
                    .read_to_string(&mut text)
                    .unwrap();
                assert!(text.starts_with("{\"server\":"), "{text}");
            }
            "snappy" => assert!(body.starts_with(b"\xff\x06\x00\x00sNaPpY")),
            _ => assert!(body.starts_with(b"{\"server\":")),
        }
    }
}

#[test]
fn accounts_see_what_is_theirs() {
    let server = start(options);
    let mut other = log_in(server.addr(), r#""user":"b","pass":"p""#);
    let mut own = log_in(server.addr(), USER);
    own.say("SUB a.* 5\r\nSUB a.> q 6\r\n");
    own.sync();
    for subject in ["$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING.CONNZ"] {
        let connz = ask(&mut own, subject, r#"{"auth":true,"acc":"B"}"#);
        let connections = connz["data"]["connections"].as_array().unwrap();
        assert_eq!(connections.len(), 1, "{connz}");
        assert_eq!(connections[0]["account"], "A");
    }
    let statz = ask(&mut own, "$SYS.REQ.ACCOUNT.PING.STATZ", "");
    assert_eq!(statz["data"]["account_statz"].as_array().unwrap().len(), 1);
    assert_eq!(statz["data"]["account_statz"][0]["acc"], "A");
    let info = ask(&mut own, "$SYS.REQ.USER.INFO", "");
    assert_eq!(
        (&info["data"]["user"], &info["data"]["account"]),
        (&"a".into(), &"A".into())
    );
    let publish = &info["data"]["permissions"]["publish"];
    assert_eq!(publish["allow"][1], "$SYS.REQ.>");
    assert_eq!(publish["deny"][0], "a.x");
    let mut admin = log_in(server.addr(), ADMIN);
    let info = ask(&mut admin, "$SYS.REQ.USER.INFO", "");
    assert_eq!(
        (&info["data"]["user"], &info["data"]["account"]),
        (&"admin".into(), &"SYS".into())
    );
    // What is not theirs, nobody answers.
    for subject in ["$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.ACCOUNT.B.CONNZ"] {
        other.say(format!("SUB answer 9\r\nPUB {subject} answer 0\r\n\r\n"));
        let (line, _) = other.message();
        assert!(line.starts_with("HMSG answer 9"), "{line}");
    }
    let count =
        |admin: &mut Peer, body: &str| ask(admin, "$SYS.DEBUG.SUBSCRIBERS", body).as_u64().unwrap();
    admin.say("SUB x.y 5\r\nSUB x.* q 6\r\n");
    admin.sync();
    assert_eq!(count(&mut admin, "x.y"), 2);
    assert_eq!(count(&mut admin, "x.y q"), 1);
    assert_eq!(count(&mut admin, "x.>"), 2);
    assert_eq!(count(&mut admin, "none"), 0);
}

#[test]
fn operators_send_clients_away() {
    let server = start(options);
    let id = id(&server);
    let mut admin = log_in(server.addr(), ADMIN);
    let mut client = log_in(server.addr(), USER);
    let info = ask(&mut client, "$SYS.REQ.ACCOUNT.PING.CONNZ", "");
    let cid = info["data"]["connections"][0]["cid"].as_u64().unwrap();
    let kick = format!("$SYS.REQ.SERVER.{id}.KICK");
    let wrong = ask(&mut admin, &kick, r#"{"cid":4711}"#);
    assert_eq!(
        wrong["error"]["description"],
        "no such client or leafnode id"
    );
    let done = ask(&mut admin, &kick, &format!("{{\"cid\":{cid}}}"));
    assert!(done.get("error").is_none(), "{done}");
    client.expect_eof();
    let ldm = format!("$SYS.REQ.SERVER.{id}.LDM");
    let mut other = Peer::open(server.addr());
    other.say(super::support::connect(&format!("{USER},\"protocol\":1")) + "PING\r\n");
    while !other.line().starts_with("INFO {") {}
    let info = ask(&mut admin, "$SYS.REQ.ACCOUNT.A.CONNZ", "");
    let cid = info["data"]["connections"][0]["cid"].as_u64().unwrap();
    let done = ask(&mut admin, &ldm, &format!("{{\"cid\":{cid}}}"));
    assert!(done.get("error").is_none(), "{done}");
    assert!(other.line().contains("\"ldm\":true"));
    let wrong = ask(&mut admin, &ldm, r#"{"cid":4711}"#);
    assert_eq!(wrong["error"]["description"], "no such client id");
    let wrong = ask(&mut admin, &kick, "x");
    assert_eq!(wrong["error"]["code"], 400);
    for (body, error) in [
        ("", "Profile name not specified"),
        ("{\"name\":\"x\"}", "Profile \"x\" not found"),
        (
            "{\"name\":\"cpu\"}",
            "Duration 0s should be between 0s and 15s",
        ),
    ] {
        let answer = ask(&mut admin, "$SYS.REQ.SERVER.PING.PROFILEZ", body);
        assert_eq!(answer["data"]["error"], error);
    }
    let heap = ask(
        &mut admin,
        "$SYS.REQ.SERVER.PING.PROFILEZ",
        "{\"name\":\"heap\"}",
    );
    assert!(heap["data"]["profile"].is_string(), "{heap}");
    let reload = ask(&mut admin, &format!("$SYS.REQ.SERVER.{id}.RELOAD"), "");
    assert!(reload["error"]["description"].is_string(), "{reload}");
}

#[test]
fn the_server_tells_of_itself() {
    let server = start(options);
    let mut admin = log_in(server.addr(), ADMIN);
    admin.say("SUB $SYS.SERVER.*.STATSZ 1\r\nSUB $SYS.SERVER.*.SHUTDOWN 2\r\nSUB $SYS.SERVER.*.LAMEDUCK 3\r\n");
    admin.sync();
    let statsz = event(&mut admin, "STATSZ");
    assert!(statsz["statsz"]["connections"].as_u64() >= Some(1));
    // Without a reply subject, a request makes the server tell everybody.
    admin.say("PUB $SYS.REQ.SERVER.PING.STATSZ 0\r\n\r\n");
    event(&mut admin, "STATSZ");
    server.enter_lame_duck();
    assert_eq!(event(&mut admin, "LAMEDUCK")["name"], "srv");
    let stopping = std::thread::spawn(move || server.shutdown());
    assert_eq!(event(&mut admin, "SHUTDOWN")["name"], "srv");
    stopping.join().unwrap();
}

#[test]
fn figures_come_from_all_loops() {
    let server = start(|o| {
        options(o);
        o.loops = Some(3);
    });
    let mut admin = log_in(server.addr(), ADMIN);
    let mut clients: Vec<Peer> = (0..8).map(|_| log_in(server.addr(), USER)).collect();
    for client in &mut clients {
        client.say("PUB a.b 3\r\nabc\r\n");
        client.sync();
    }
    eventually("all are counted", || {
        let varz = ask(&mut admin, "$SYS.REQ.SERVER.PING.VARZ", "");
        varz["data"]["connections"] == 9
    });
    let statz = ask(&mut admin, "$SYS.REQ.ACCOUNT.A.STATZ", "");
    let own = &statz["data"]["account_statz"][0];
    assert_eq!(
        (&own["conns"], &own["received"]["msgs"]),
        (&8.into(), &8.into())
    );
    let page = |admin: &mut Peer, offset: usize| {
        let body = format!("{{\"acc\":\"A\",\"offset\":{offset},\"limit\":3}}");
        let connz = ask(admin, "$SYS.REQ.SERVER.PING.CONNZ", &body);
        assert_eq!(connz["data"]["total"], 8);
        let rows = connz["data"]["connections"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["cid"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let cids: Vec<u64> = [0, 3, 6]
        .iter()
        .flat_map(|at| page(&mut admin, *at))
        .collect();
    assert_eq!(cids.len(), 8);
    assert!(cids.is_sorted());
}
