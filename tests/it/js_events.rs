//! What is told of requests, of streams and consumers that end, and with which subjects messages are
//! acknowledged.

use crate::support::schema::assert_valid;
use crate::support::{Dir, Peer, Process, Run, eventually};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const TENANTS: &str = r#"
server_name: n1
accounts {
  SYS { users: [{user: sys, password: sys}] }
  A { jetstream: enabled, users: [{user: a, password: a}] }
  N { users: [{user: n, password: n}] }
}
system_account: SYS
"#;

fn start(dir: &Dir, more: &str) -> Process {
    let conf = format!(
        "{TENANTS}\njetstream {{ store_dir: {:?}, {more} }}",
        dir.path("store")
    );
    Process::start(&["-c", &dir.write("server.conf", &conf)])
}

/// A client that hears what comes on `in.>`.
struct Client(Peer);

impl Client {
    fn new(addr: SocketAddr, user: &str) -> Client {
        let mut peer = Peer::open(addr);
        let connect = json!({"user": user, "pass": user, "name": "me", "headers": true,
            "no_responders": true, "verbose": false, "pedantic": false});
        peer.say(format!("CONNECT {connect}\r\nSUB in.> 1\r\n"));
        peer.sync();
        Client(peer)
    }

    fn listen(&mut self, subject: &str) {
        self.0.say(format!("SUB {subject} 2\r\n"));
        self.0.sync();
    }

    fn say(&mut self, subject: &str, reply: &str, body: &str) {
        let size = body.len();
        self.0
            .say(format!("PUB {subject} {reply} {size}\r\n{body}\r\n"));
    }

    /// The next message's subject, reply and text.
    fn next(&mut self) -> (String, String, String) {
        let (line, body) = self.0.message();
        let mut fields = line.split(' ').skip(1);
        let subject = fields.next().unwrap().to_owned();
        let reply = fields.nth(1).unwrap_or_default().to_owned();
        (subject, reply, String::from_utf8(body).unwrap())
    }

    /// What is answered; what else comes before is dropped.
    fn ask(&mut self, subject: &str, body: &str) -> String {
        self.say(subject, "in.ask", body);
        loop {
            let (subject, _, body) = self.next();
            if subject == "in.ask" {
                return body;
            }
        }
    }

    fn api(&mut self, subject: &str, body: &Value) {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let answer = self.ask(&format!("$JS.API.{subject}"), &body);
        assert!(!answer.contains("\"error\""), "{subject}: {answer}");
    }

    fn create(&mut self) {
        self.api("STREAM.CREATE.S", &json!({"name": "S", "subjects": ["s"]}));
        let pull = json!({"durable_name": "P", "ack_policy": "explicit"});
        let pull = json!({"stream_name": "S", "config": pull});
        self.api("CONSUMER.CREATE.S.P", &pull);
    }
}

/// Who listens hears of each request with its answer, in the account that asked.
#[test]
fn requests_are_told_of() {
    let dir = Dir::new("js-audits");
    let server = start(&dir, "");
    let mut client = Client::new(server.addr, "a");
    // Nobody listens yet.
    client.create();
    client.listen("$JS.EVENT.ADVISORY.API");
    let mut other = Client::new(server.addr, "n");
    other.listen("$JS.EVENT.ADVISORY.API");
    let mut system = Client::new(server.addr, "sys");
    system.listen("$JS.EVENT.ADVISORY.API");
    // What is asked for, and the answer and the event in whatever order.
    let told = |client: &mut Client, subject: &str, body: &str| {
        client.say(&format!("$JS.API.{subject}"), "in.ask", body);
        let (first, second) = (client.next(), client.next());
        let (answer, event) = match &*first.0 {
            "in.ask" => (first, second),
            _ => (second, first),
        };
        assert_eq!(event.0, "$JS.EVENT.ADVISORY.API");
        let event: Value = serde_json::from_str(&event.2).unwrap();
        assert_eq!(event["subject"], format!("$JS.API.{subject}"));
        assert_eq!(event["request"].as_str().unwrap_or_default(), body);
        assert_eq!(event["response"], answer.2);
        assert_eq!(event["server"], "n1");
        event
    };
    let stream = r#"{"name":"T","subjects":["t"]}"#;
    let consumer = r#"{"stream_name":"T","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    for (subject, body) in [
        ("INFO", ""),
        ("STREAM.CREATE.T", stream),
        ("STREAM.CREATE.T", r#"{"name":"T","x":1}"#),
        ("STREAM.UPDATE.T", stream),
        ("STREAM.NAMES", ""),
        ("STREAM.LIST", ""),
        ("STREAM.INFO.T", ""),
        ("STREAM.INFO.NONE", ""),
        ("STREAM.MSG.GET.T", r#"{"seq":9}"#),
        ("STREAM.MSG.DELETE.T", r#"{"seq":9}"#),
        ("STREAM.PURGE.T", ""),
        ("CONSUMER.CREATE.T.C", consumer),
        ("CONSUMER.INFO.T.C", ""),
        ("CONSUMER.NAMES.T", ""),
        ("CONSUMER.LIST.T", ""),
        ("CONSUMER.PAUSE.T.C", ""),
        ("CONSUMER.UNPIN.T.C", r#"{"group":"g"}"#),
        ("STREAM.SNAPSHOT.T", r#"{"deliver_subject":"in.none"}"#),
        ("STREAM.RESTORE.T", r#"{"config":{"name":"T"}}"#),
        ("STREAM.LEADER.STEPDOWN.T", ""),
        ("CONSUMER.DELETE.T.C", ""),
        ("STREAM.DELETE.T", ""),
    ] {
        // A backup is answered, and then comes.
        if subject.starts_with("STREAM.SNAPSHOT") {
            let refused = r#"{"deliver_subject":"a..b"}"#;
            told(&mut client, subject, refused);
            continue;
        }
        let event = told(&mut client, subject, body);
        assert_eq!(event["client"]["acc"], "A", "{event}");
        assert_eq!(event["client"]["name"], "me", "{event}");
        assert_valid("jetstream/advisory/v1/api_audit.json", &event);
    }
    let event = told(&mut other, "STREAM.NAMES", "");
    assert_eq!(event["client"]["acc"], "N");
    let event = told(&mut system, "STREAM.NAMES", "");
    assert!(event["client"].is_null(), "{event}");
    let event = told(&mut system, "ACCOUNT.PURGE.N", "");
    assert_eq!(event["client"], json!({}));
    // Nothing is told of messages, nor of requests that nobody serves.
    client.say("s", "in.put", "x");
    assert_eq!(client.next().0, "in.put");
    let got = client.ask("$JS.API.STREAM.MSG.GET.S", r#"{"seq":1}"#);
    assert!(got.contains("\"message\""), "{got}");
    assert!(client.ask("$JS.API.NONE", "").starts_with("NATS/1.0 503"));
    client.say("$JS.API.CONSUMER.MSG.NEXT.S.P", "in.get", "");
    assert_eq!(client.next().0, "s");
    client.0.sync();
}

/// More requests than may wait are dropped, all of them, and the system account is told.
#[test]
fn requests_that_are_dropped_are_told_of() {
    let dir = Dir::new("js-dropped");
    let server = start(&dir, "request_queue_limit: 10");
    let mut system = Client::new(server.addr, "sys");
    system.listen("$JS.EVENT.ADVISORY.API.LIMIT_REACHED");
    let mut client = Client::new(server.addr, "a");
    let many = "PUB $JS.API.STREAM.NAMES in.many 0\r\n\r\n".repeat(2000);
    client.0.say(&many);
    let (_, _, event) = system.next();
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_valid("jetstream/advisory/v1/api_limit_reached.json", &event);
    assert_eq!(event["server"], "n1");
    assert!(event["dropped"].as_u64().unwrap() >= 10, "{event}");
    server.wait_for("JetStream API queue limit reached, dropping");
    // It goes on.
    let names = client.ask("$JS.API.STREAM.NAMES", "");
    assert!(names.contains("stream_names_response"), "{names}");
}

/// Who waits for messages is told when there will be none, whatever ends the consumer.
#[test]
fn clients_that_wait_are_told_of_the_end() {
    let dir = Dir::new("js-ends");
    let mut server = start(&dir, "");
    let mut client = Client::new(server.addr, "a");
    let next = |client: &mut Client| {
        client.say("$JS.API.CONSUMER.MSG.NEXT.S.P", "in.wait", r#"{"batch":5}"#);
        eventually("it waits", || {
            let info = client.ask("$JS.API.CONSUMER.INFO.S.P", "");
            info.contains("\"num_waiting\":1,")
        });
    };
    let status = |client: &mut Client| loop {
        let (subject, _, text) = client.next();
        if subject == "in.wait" {
            return text;
        }
    };
    client.create();
    next(&mut client);
    client.say("$JS.API.CONSUMER.DELETE.S.P", "in.done", "");
    assert_eq!(status(&mut client), "NATS/1.0 409 Consumer Deleted\r\n\r\n");
    client.create();
    next(&mut client);
    client.listen("$JS.EVENT.ADVISORY.*.DELETED.>");
    client.say("$JS.API.STREAM.DELETE.S", "in.done", "");
    let mut heard: Vec<(String, String)> = (0..4)
        .map(|_| client.next())
        .map(|(subject, _, text)| (subject, text))
        .collect();
    heard.sort();
    let subjects: Vec<&str> = heard.iter().map(|(subject, _)| &**subject).collect();
    let expected = [
        "$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.P",
        "$JS.EVENT.ADVISORY.STREAM.DELETED.S",
        "in.done",
        "in.wait",
    ];
    assert_eq!(subjects, expected);
    assert_eq!(heard[3].1, "NATS/1.0 409 Consumer Deleted\r\n\r\n");
    client.create();
    next(&mut client);
    server.signal(libc::SIGTERM);
    assert_eq!(
        status(&mut client),
        "NATS/1.0 409 Server Shutdown\r\nNats-Pending-Messages: 5\r\nNats-Pending-Bytes: 0\r\n\r\n"
    );
    server.wait(Duration::from_secs(20));
}

/// The first of many messages are not in memory, and nothing else happens that would bring them there.
#[test]
fn who_begins_far_behind_is_served() {
    let dir = Dir::new("js-behind");
    let server = start(&dir, "");
    let mut client = Client::new(server.addr, "a");
    client.create();
    let some = "PUB s 10\r\n0123456789\r\n".repeat(1000);
    for _ in 0..200 {
        client.0.say(&some);
    }
    client.0.sync();
    eventually("all are stored", || {
        let info = client.ask("$JS.API.STREAM.INFO.S", "");
        info.contains("\"messages\":200000,")
    });
    client.say("$JS.API.CONSUMER.MSG.NEXT.S.P", "in.get", "");
    let (subject, reply, _) = client.next();
    assert_eq!(subject, "s");
    assert!(reply.starts_with("$JS.ACK.S.P.1.1.1."), "{reply}");
}

/// With the flag, the domain and the account are in the subjects that are sent; both forms are taken
/// either way.
#[test]
fn subjects_of_acknowledgements_may_have_the_domain_in_them() {
    for (flags, domain, expected) in [
        ("", "", ["$JS", "ACK", "S", "P"].as_slice()),
        (
            "feature_flags { js_ack_fc_v2: false }",
            "",
            &["$JS", "ACK", "S", "P"],
        ),
        (
            "feature_flags { js_ack_fc_v2: true }",
            "",
            &["$JS", "ACK", "_", "", "S", "P"],
        ),
        (
            "feature_flags { js_ack_fc_v2: true }",
            "domain: hub",
            &["$JS", "ACK", "hub", "", "S", "P"],
        ),
    ] {
        let dir = Dir::new("js-acks");
        let conf = format!(
            "{TENANTS}\njetstream {{ store_dir: {:?}, {domain} }}\n{flags}\n",
            dir.path("store")
        );
        let server = Process::start(&["-c", &dir.write("server.conf", &conf)]);
        let mut client = Client::new(server.addr, "a");
        client.create();
        let push = json!({"durable_name": "Q", "deliver_subject": "in.push", "ack_policy": "explicit",
            "flow_control": true, "idle_heartbeat": 30_000_000_000u64});
        client.api(
            "CONSUMER.CREATE.S.Q",
            &json!({"stream_name": "S", "config": push}),
        );
        let mut acks = Vec::new();
        client.say("s", "in.put", "x");
        client.say("s", "in.put", "y");
        client.say("$JS.API.CONSUMER.MSG.NEXT.S.P", "in.get", r#"{"batch":2}"#);
        while acks.len() < 4 {
            let (subject, reply, _) = client.next();
            if subject == "s" {
                acks.push(reply);
            }
        }
        let own: Vec<&String> = acks.iter().filter(|ack| ack.contains(".S.P.")).collect();
        assert_eq!(own.len(), 2, "{acks:?}");
        let long = expected.len() > 4;
        for ack in &acks {
            let tokens: Vec<&str> = ack.split('.').collect();
            assert_eq!(tokens.len(), if long { 11 } else { 9 }, "{ack}");
            for (token, want) in tokens.iter().zip(expected).take(expected.len() - 1) {
                assert!(want.is_empty() || token == want, "{ack}");
            }
        }
        // The hash of the account is that of the reference.
        let hash = long.then(|| own[0].split('.').nth(3).unwrap());
        assert!(hash.is_none_or(|hash| hash.len() == 8), "{hash:?}");
        // One is acknowledged as it came, one in the other form.
        assert_eq!(client.ask(own[0], "+ACK"), "");
        let tokens: Vec<&str> = own[1].split('.').collect();
        let other = match long {
            true => format!("$JS.ACK.{}", tokens[4..].join(".")),
            false => format!("$JS.ACK._.xxxxxxxx.{}", tokens[2..].join(".")),
        };
        assert_eq!(client.ask(&other, "+ACK"), "");
        let info = client.ask("$JS.API.CONSUMER.INFO.S.P", "");
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["ack_floor"]["stream_seq"], 2, "{info}");
    }
    let dir = Dir::new("js-flags");
    let file = dir.write("server.conf", "feature_flags { js_snapshot_sources: true }");
    let run = Run::new(&["-c", &file, "-t"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("js_snapshot_sources"), "{}", run.stderr);
}
