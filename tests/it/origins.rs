//! Mirrors, and streams with sources: what they have of their origins, whatever becomes of these, of
//! the server, and of themselves.

use crate::support::{Dir, Process};
use async_nats::Client;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);

fn start(dir: &Dir) -> Process {
    Process::start(&["-js", "-sd", &dir.path("store")])
}

async fn connect(server: &Process) -> (Client, Context) {
    let client = async_nats::connect(server.addr.to_string()).await.unwrap();
    (client.clone(), jetstream::new(client))
}

/// Asks the API, which may refuse.
async fn try_ask(client: &Client, subject: &str, body: Value) -> Value {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let request = client.request(format!("$JS.API.{subject}"), body.into());
    let answer = timeout(PATIENCE, request).await.unwrap().unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

async fn ask(client: &Client, subject: &str, body: Value) -> Value {
    let answer = try_ask(client, subject, body).await;
    assert!(answer["error"].is_null(), "{subject}: {answer}");
    answer
}

async fn create(client: &Client, config: Value) -> Value {
    let name = config["name"].as_str().unwrap().to_owned();
    ask(client, &format!("STREAM.CREATE.{name}"), config).await
}

async fn info(client: &Client, stream: &str) -> Value {
    ask(client, &format!("STREAM.INFO.{stream}"), Value::Null).await
}

/// Waits until what is told of a stream is as it should be.
async fn until(client: &Client, stream: &str, is: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = info(client, stream).await;
        if is(&told) {
            return told;
        }
        assert!(Instant::now() < end, "{stream} stays {told}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn until_last(client: &Client, stream: &str, last: u64) -> Value {
    let told = until(client, stream, |told| told["state"]["last_seq"] == last).await;
    // It counts before it may be read.
    while message(client, stream, last).await.is_none() {
        sleep(Duration::from_millis(5)).await;
    }
    told
}

struct Message {
    subject: String,
    source: String,
    payload: String,
}

/// A message of a stream, if it is there.
async fn message(client: &Client, stream: &str, seq: u64) -> Option<Message> {
    let subject = format!("STREAM.MSG.GET.{stream}");
    let got = try_ask(client, &subject, json!({ "seq": seq })).await;
    let message = &got["message"];
    let bytes = |name: &str| {
        let text = message[name].as_str().unwrap_or_default();
        String::from_utf8(base64(text)).unwrap()
    };
    let headers = bytes("hdrs");
    let mut lines = headers.lines();
    let source = lines.find_map(|line| line.strip_prefix("Nats-Stream-Source: "));
    Some(Message {
        subject: message["subject"].as_str()?.to_owned(),
        source: source.unwrap_or_default().to_owned(),
        payload: bytes("data"),
    })
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut have) = (0u32, 0);
    for letter in text.bytes().filter(|b| *b != b'=') {
        let value = LETTERS.iter().position(|l| *l == letter).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from(bits >> have & 255).unwrap());
        }
    }
    out
}

async fn publish(js: &Context, subject: &str, payload: &str) {
    let ack = js.publish(subject.to_owned(), payload.to_owned().into());
    ack.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_what_their_origins_have() {
    let dir = Dir::new("origins");
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    create(
        &client,
        json!({"name": "O", "subjects": ["o.>"], "allow_direct": true}),
    )
    .await;
    for n in 1..=10 {
        publish(&js, &format!("o.{}", n % 2), &n.to_string()).await;
    }
    for gone in [1, 2, 5, 6] {
        ask(&client, "STREAM.MSG.DELETE.O", json!({ "seq": gone })).await;
    }
    let made = create(&client, json!({"name": "M", "mirror": {"name": "O"}})).await;
    assert_eq!(made["mirror"]["active"], -1);
    assert_eq!(made["config"]["mirror_direct"], true);
    create(
        &client,
        json!({"name": "F", "mirror": {"name": "O", "filter_subject": "o.1", "opt_start_seq": 4}}),
    )
    .await;
    create(&client, json!({"name": "MM", "mirror": {"name": "M"}})).await;
    create(
        &client,
        json!({"name": "S", "sources": [
            {"name": "O", "filter_subject": "o.0"},
            {"name": "O", "subject_transforms": [{"src": "o.1", "dest": "one"}]},
        ]}),
    )
    .await;
    create(&client, json!({"name": "SS", "sources": [{"name": "S"}]})).await;
    publish(&js, "o.last", "11").await;
    // Sequences are those of the origin, gaps included.
    for mirror in ["M", "MM"] {
        let told = until_last(&client, mirror, 11).await;
        assert_eq!(told["state"]["messages"], 7);
        assert_eq!(told["state"]["first_seq"], 3);
        assert_eq!(told["state"]["num_deleted"], 2);
        assert!(told["mirror"]["active"].as_i64().unwrap() >= 0);
        assert!(told["mirror"]["error"].is_null());
        assert_eq!(message(&client, mirror, 8).await.unwrap().payload, "8");
        assert!(message(&client, mirror, 5).await.is_none());
    }
    let filtered = until_last(&client, "F", 9).await;
    assert_eq!(filtered["state"]["messages"], 2);
    assert_eq!(filtered["mirror"]["filter_subject"], "o.1");
    // Sources are counted anew, and say where they are from.
    let told = until_last(&client, "S", 6).await;
    let identity_of = |source: &str| source.rsplit(' ').next().unwrap().to_owned();
    let mut seen = BTreeMap::new();
    for seq in 1..=6 {
        let got = message(&client, "S", seq).await.unwrap();
        assert_eq!(identity_of(&got.source).len(), 8, "{}", got.source);
        let end = got.source.len() - 9;
        seen.insert(got.payload, (got.subject, got.source[..end].to_owned()));
    }
    let of = |n: &str| {
        let (subject, source) = &seen[n];
        (subject.as_str(), source.as_str())
    };
    assert_eq!(of("4"), ("o.0", "O 4 o.0 > o.0"));
    assert_eq!(of("9"), ("one", "O 9 o.1 one o.1"));
    assert_eq!(told["sources"][1]["subject_transforms"][0]["dest"], "one");
    until_last(&client, "SS", 6).await;
    let twice = message(&client, "SS", 1).await.unwrap();
    assert!(twice.source.starts_with("S 1 > > "), "{}", twice.source);
    // Nobody publishes to a stream's copy, nor with a source of its own.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Stream-Source", "O 1 > > o");
    let refused = js.publish_with_headers("o.x", headers, "x".into()).await;
    let refused = refused.unwrap().await.unwrap_err();
    assert!(format!("{refused:?}").contains("10227"), "{refused:?}");
    // A mirror stands for its origin, and becomes a stream like others.
    ask(&client, "STREAM.DELETE.O", Value::Null).await;
    let direct = client.request("$JS.API.DIRECT.GET.O.o.last", "".into());
    assert_eq!(&direct.await.unwrap().payload[..], b"11");
    let changed = try_ask(
        &client,
        "STREAM.UPDATE.M",
        json!({"name": "M", "mirror": {"name": "X"}}),
    );
    assert_eq!(changed.await["error"]["err_code"], 10055);
    let update = json!({"name": "M", "subjects": ["m"]});
    let promoted = ask(&client, "STREAM.UPDATE.M", update).await;
    assert!(promoted["mirror"].is_null() && promoted["config"]["mirror"].is_null());
    publish(&js, "m", "own").await;
    assert_eq!(message(&client, "M", 12).await.unwrap().payload, "own");
    until_last(&client, "MM", 12).await;
    // An origin that comes again is another one: its messages are all new.
    until(&client, "S", |told| {
        told["sources"][0]["error"]["err_code"] == 10059
    })
    .await;
    create(&client, json!({"name": "O", "subjects": ["o.>"]})).await;
    publish(&js, "o.0", "again").await;
    until_last(&client, "S", 7).await;
    assert_eq!(message(&client, "S", 7).await.unwrap().payload, "again");
    // Sources come and go.
    create(&client, json!({"name": "P", "subjects": ["p"]})).await;
    publish(&js, "p", "p1").await;
    let update = json!({"name": "S", "sources": [{"name": "P"}]});
    let told = ask(&client, "STREAM.UPDATE.S", update).await;
    assert_eq!(told["sources"].as_array().unwrap().len(), 1);
    until_last(&client, "S", 8).await;
    publish(&js, "o.0", "unheard").await;
    publish(&js, "p", "p2").await;
    until_last(&client, "S", 9).await;
    assert_eq!(message(&client, "S", 9).await.unwrap().payload, "p2");
    // No consumer of theirs is shown, nor counted.
    let names = ask(&client, "CONSUMER.NAMES.P", Value::Null).await;
    assert_eq!(names["total"], 0);
    assert_eq!(info(&client, "P").await["state"]["consumer_count"], 0);
}

/// Messages that wait for an acknowledgement go when they are where they are taken to, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn queues_give_their_messages_away() {
    let dir = Dir::new("origins-queue");
    let mut server = start(&dir);
    let (client, js) = connect(&server).await;
    let queue = json!({"name": "Q", "subjects": ["q"], "retention": "workqueue"});
    create(&client, queue).await;
    for n in 0..50 {
        publish(&js, "q", &n.to_string()).await;
    }
    create(&client, json!({"name": "T", "sources": [{"name": "Q"}]})).await;
    until_last(&client, "T", 50).await;
    until(&client, "Q", |told| told["state"]["messages"] == 0).await;
    let consumers = ask(&client, "CONSUMER.LIST.Q", Value::Null).await;
    let consumer = &consumers["consumers"][0]["config"];
    assert_eq!(consumer["ack_policy"], "flow_control");
    assert_eq!(consumer["sourcing"], true);
    // The same consumer goes on after a start.
    server.signal(libc::SIGKILL);
    server.wait(PATIENCE);
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    publish(&js, "q", "more").await;
    until_last(&client, "T", 51).await;
    until(&client, "Q", |told| told["state"]["messages"] == 0).await;
    // A stream with nobody to take its messages has none.
    ask(&client, "STREAM.DELETE.T", Value::Null).await;
    let gone = async {
        while ask(&client, "CONSUMER.NAMES.Q", Value::Null).await["total"] != 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

/// The streams of one account, taken by another, as its imports allow.
#[tokio::test(flavor = "multi_thread")]
async fn other_accounts_may_be_taken_from() {
    let dir = Dir::new("origins-accounts");
    let file = format!(
        r#"
        listen: "127.0.0.1:-1"
        jetstream {{ store_dir: "{}", domain: hub }}
        accounts {{
            A {{
                jetstream: enabled
                users: [{{user: a, password: a}}]
                exports: [
                    {{service: "$JS.API.CONSUMER.>"}}
                    {{service: "$JS.FC.>"}}
                    {{stream: "deliver.>"}}
                ]
            }}
            B {{
                jetstream: enabled
                users: [{{user: b, password: b}}]
                imports: [
                    {{service: {{account: A, subject: "$JS.API.CONSUMER.>"}}, to: "A.API.CONSUMER.>"}}
                    {{service: {{account: A, subject: "$JS.FC.>"}}}}
                    {{stream: {{account: A, subject: "deliver.>"}}}}
                ]
            }}
        }}
        "#,
        dir.path("store")
    );
    let file = dir.write("accounts.conf", &file);
    let server = Process::start(&["-c", &file]);
    let user = async |name: &str| {
        let options = async_nats::ConnectOptions::with_user_and_password(name.into(), name.into());
        let client = options.connect(server.addr.to_string()).await.unwrap();
        (client.clone(), jetstream::new(client))
    };
    let (a, js) = user("a").await;
    let (b, _) = user("b").await;
    create(&a, json!({"name": "O", "subjects": ["o.>"]})).await;
    // Enough for flow control to be needed.
    let payload = "x".repeat(100_000);
    for n in 0..100 {
        publish(&js, &format!("o.{n}"), &payload).await;
    }
    let external = json!({"api": "A.API", "deliver": "deliver"});
    create(
        &b,
        json!({"name": "M", "mirror": {"name": "O", "external": external}}),
    )
    .await;
    let source = json!({"name": "O", "external": external, "filter_subject": "o.7"});
    create(&b, json!({"name": "S", "sources": [source]})).await;
    let told = until_last(&b, "M", 100).await;
    assert_eq!(told["mirror"]["external"]["api"], "A.API");
    until_last(&b, "S", 1).await;
    let got = message(&b, "S", 1).await.unwrap();
    assert!(got.source.starts_with("O:"), "{}", got.source);
    // The own domain is no other place.
    let own = json!({"api": "$JS.hub.API", "deliver": ""});
    create(
        &a,
        json!({"name": "D", "mirror": {"name": "O", "external": own}}),
    )
    .await;
    until_last(&a, "D", 100).await;
}

/// Nothing is lost and nothing comes twice, though messages go as soon as they are acknowledged and the
/// server is killed again and again.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_and_doubles_nothing() {
    let dir = Dir::new("origins-kill");
    let mut sent = [0u64; 2];
    // The sources of messages of the queue, by its sequences.
    let mut taken: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..6 {
        let server = start(&dir);
        let (client, js) = connect(&server).await;
        if round == 0 {
            for origin in ["A", "B"] {
                create(&client, json!({"name": origin, "subjects": [origin]})).await;
            }
            let sources = json!([{"name": "A"}, {"name": "B"}]);
            create(&client, json!({"name": "ALL", "sources": sources})).await;
            let queue = json!({"name": "QUEUE", "retention": "workqueue", "sources": sources});
            create(&client, queue).await;
            create(&client, json!({"name": "M", "mirror": {"name": "ALL"}})).await;
        }
        let queue = js.get_stream("QUEUE").await.unwrap();
        let config = pull::Config {
            durable_name: Some("C".into()),
            ..pull::Config::default()
        };
        let consumer = queue.get_or_create_consumer("C", config).await.unwrap();
        let last = round == 5;
        let mut acks = Vec::new();
        for n in 0..300 {
            let origin = ["A", "B"][n % 2];
            acks.push(
                js.publish(origin, format!("{round}.{n}").into())
                    .await
                    .unwrap(),
            );
        }
        for ack in acks {
            ack.await.unwrap();
        }
        sent = [sent[0] + 150, sent[1] + 150];
        // In the first rounds the kill comes while messages are on their way.
        let enough = match last {
            true => usize::MAX,
            false => 1 + round * 60,
        };
        let mut here = 0;
        let end = Instant::now() + PATIENCE;
        while here < enough {
            let mut batch = consumer.fetch().max_messages(40).messages().await.unwrap();
            while let Some(Ok(message)) = batch.next().await {
                let headers = message.headers.as_ref().unwrap();
                let source = headers.get("Nats-Stream-Source").unwrap().to_string();
                let sequence = message.info().unwrap().stream_sequence;
                let before = taken.insert(sequence, source.clone());
                assert!(before.is_none_or(|before| before == source));
                message.double_ack().await.unwrap();
                here += 1;
            }
            if last && taken.len() as u64 >= sent[0] + sent[1] {
                break;
            }
            assert!(Instant::now() < end, "{} of {sent:?}", taken.len());
        }
        if last {
            let total = sent[0] + sent[1];
            until_last(&client, "ALL", total).await;
            until_last(&client, "M", total).await;
            let mut next = BTreeMap::from([("A".to_owned(), 1), ("B".to_owned(), 1)]);
            for seq in 1..=total {
                let source = message(&client, "ALL", seq).await.unwrap().source;
                assert_eq!(message(&client, "M", seq).await.unwrap().source, source);
                follow(&mut next, &source);
            }
            assert_eq!(next.into_values().collect::<Vec<_>>(), sent.map(|n| n + 1));
        } else {
            server.signal(libc::SIGKILL);
        }
    }
    let mut next = BTreeMap::from([("A".to_owned(), 1), ("B".to_owned(), 1)]);
    for source in taken.values() {
        follow(&mut next, source);
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), sent.map(|n| n + 1));
}

/// Checks that a message is the next one of its origin.
fn follow(next: &mut BTreeMap<String, u64>, source: &str) {
    let mut fields = source.split(' ');
    let (origin, seq) = (fields.next().unwrap(), fields.next().unwrap());
    let next = next.get_mut(origin).unwrap();
    assert_eq!(seq.parse(), Ok(*next), "{source}");
    *next += 1;
}

/// A copy stays as long as its own stream lets it.
#[tokio::test(flavor = "multi_thread")]
async fn copies_outlive_what_they_are_copies_of() {
    let dir = Dir::new("origins-ttl");
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    let origin = json!({"name": "O", "subjects": ["o"], "allow_msg_ttl": true});
    create(&client, origin).await;
    create(&client, json!({"name": "M", "mirror": {"name": "O"}})).await;
    create(&client, json!({"name": "S", "sources": [{"name": "O"}]})).await;
    let both = json!({"name": "T", "mirror": {"name": "O"}, "allow_msg_ttl": true});
    create(&client, both).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-TTL", "1s");
    let ack = js.publish_with_headers("o", headers, "x".into()).await;
    ack.unwrap().await.unwrap();
    publish(&js, "o", "y").await;
    until_last(&client, "M", 2).await;
    for gone in ["O", "T"] {
        until(&client, gone, |told| {
            told["state"]["messages"] == 1 && told["state"]["first_seq"] == 2
        })
        .await;
    }
    for kept in ["M", "S"] {
        let told = until_last(&client, kept, 2).await;
        assert_eq!(told["state"]["messages"], 2, "{kept}");
    }
}
