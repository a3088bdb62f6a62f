//! Streams and consumers, as an official client and as a raw one see them, and what is left of them
//! when the server is killed.

use crate::support::{Dir, Peer, Process, Run};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(dir: &Dir) -> Process {
    Process::start(&["-js", "-sd", &dir.path("store")])
}

async fn connect(server: &Process) -> Context {
    let client = async_nats::connect(server.addr.to_string()).await.unwrap();
    jetstream::new(client)
}

fn config(name: &str, subject: &str) -> Config {
    Config {
        name: name.into(),
        subjects: vec![subject.into()],
        ..Config::default()
    }
}

async fn store(js: &Context, subject: &str, payload: &str) -> u64 {
    let ack = js.publish(subject.to_owned(), payload.to_owned().into());
    ack.await.unwrap().await.unwrap().sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_take_keep_and_give_messages() {
    let dir = Dir::new("js-streams");
    let server = start(&dir);
    let js = connect(&server).await;
    for storage in [StorageType::File, StorageType::Memory] {
        let name = format!("S{storage:?}");
        let subject = format!("{name}.>");
        let asked = Config {
            storage,
            allow_direct: true,
            ..config(&name, &subject)
        };
        let mut stream = js.create_stream(asked.clone()).await.unwrap();
        // The same one may be asked for again, and another one of that name may not.
        js.create_stream(asked).await.unwrap();
        assert!(js.create_stream(config(&name, "other")).await.is_err());
        for n in 1..=5 {
            let subject = format!("{name}.{}", n % 2);
            assert_eq!(store(&js, &subject, &n.to_string()).await, n);
        }
        let info = stream.info().await.unwrap();
        assert_eq!((info.state.messages, info.state.last_sequence), (5, 5));
        assert_eq!(info.state.subjects_count, 2);
        let third = stream.get_raw_message(3).await.unwrap();
        assert_eq!((&*third.payload, third.sequence), (&b"3"[..], 3));
        let last = stream.direct_get_last_for_subject(format!("{name}.0"));
        assert_eq!(&*last.await.unwrap().payload, b"4");
        assert!(stream.delete_message(3).await.unwrap());
        assert!(stream.get_raw_message(3).await.is_err());
        let purged = stream.purge().filter(format!("{name}.0")).await.unwrap();
        assert_eq!(purged.purged, 2);
        assert_eq!(stream.info().await.unwrap().state.messages, 2);
        js.delete_stream(&name).await.unwrap();
        assert!(js.get_stream(&name).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_say_what_they_expect() {
    let dir = Dir::new("js-expect");
    let server = start(&dir);
    let js = connect(&server).await;
    js.create_stream(config("S", "s.>")).await.unwrap();
    let publish = async |headers: &[(&'static str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let ack = js.publish_with_headers("s.a", map, "x".into());
        ack.await.unwrap().await
    };
    let first = publish(&[("Nats-Msg-Id", "1")]).await.unwrap();
    let again = publish(&[("Nats-Msg-Id", "1")]).await.unwrap();
    assert_eq!((first.sequence, first.duplicate), (1, false));
    assert_eq!((again.sequence, again.duplicate), (1, true));
    for (headers, code) in [
        (("Nats-Expected-Last-Sequence", "7"), "10071"),
        (("Nats-Expected-Last-Subject-Sequence", "0"), "10071"),
        (("Nats-Expected-Last-Msg-Id", "2"), "10070"),
        (("Nats-Expected-Stream", "T"), "10060"),
        (("Nats-TTL", "5s"), "10166"),
        (("Nats-Rollup", "all"), "10111"),
        (("Nats-Incr", "+1"), "10168"),
    ] {
        let refused = format!("{:?}", publish(&[headers]).await.unwrap_err());
        assert!(refused.contains(code), "{headers:?}: {refused}");
    }
    let right = [
        ("Nats-Expected-Last-Sequence", "1"),
        ("Nats-Expected-Last-Msg-Id", "1"),
    ];
    assert_eq!(publish(&right).await.unwrap().sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_are_pulled_from_and_pushed_to() {
    let dir = Dir::new("js-consumers");
    let server = start(&dir);
    let js = connect(&server).await;
    let stream = js.create_stream(config("S", "s.>")).await.unwrap();
    for n in 1..=100 {
        store(&js, &format!("s.{}", n % 3), &n.to_string()).await;
    }
    let pull: jetstream::consumer::Consumer<pull::Config> = stream
        .create_consumer(pull::Config {
            durable_name: Some("C".into()),
            filter_subject: "s.1".into(),
            ..pull::Config::default()
        })
        .await
        .unwrap();
    let mut messages = pull.messages().await.unwrap();
    for n in (1..=100).filter(|n| n % 3 == 1) {
        let next = timeout(PATIENCE, messages.next()).await.unwrap();
        let message = next.unwrap().unwrap();
        assert_eq!(&*message.payload, n.to_string().as_bytes());
        message.double_ack().await.unwrap();
    }
    let mut pull = pull;
    let info = pull.info().await.unwrap();
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0));
    assert_eq!(info.ack_floor.stream_sequence, 100);
    let push = stream
        .create_consumer(push::OrderedConfig {
            deliver_subject: "deliver.here".into(),
            ..push::OrderedConfig::default()
        })
        .await
        .unwrap();
    let mut messages = push.messages().await.unwrap();
    for n in 1..=100 {
        let next = timeout(PATIENCE, messages.next()).await.unwrap();
        let message = next.unwrap().unwrap();
        assert_eq!(message.info().unwrap().stream_sequence, n);
    }
    store(&js, "s.0", "one more").await;
    let next = timeout(PATIENCE, messages.next()).await.unwrap();
    assert_eq!(&*next.unwrap().unwrap().payload, b"one more");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_gone_when_it_is_done() {
    let dir = Dir::new("js-work");
    let server = start(&dir);
    let js = connect(&server).await;
    let mut stream = js
        .create_stream(Config {
            retention: RetentionPolicy::WorkQueue,
            ..config("W", "w")
        })
        .await
        .unwrap();
    for n in 1..=10 {
        assert_eq!(store(&js, "w", "x").await, n);
    }
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("C".into()),
            ack_policy: AckPolicy::Explicit,
            ..pull::Config::default()
        })
        .await
        .unwrap();
    let mut messages = consumer.fetch().max_messages(4).messages().await.unwrap();
    while let Some(message) = timeout(PATIENCE, messages.next()).await.unwrap() {
        message.unwrap().double_ack().await.unwrap();
    }
    let state = stream.info().await.unwrap().state.clone();
    assert_eq!((state.messages, state.first_sequence), (6, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_put_got_and_watched() {
    let dir = Dir::new("js-kv");
    let server = start(&dir);
    let js = connect(&server).await;
    let bucket = js
        .create_key_value(kv::Config {
            bucket: "B".into(),
            history: 3,
            ..kv::Config::default()
        })
        .await
        .unwrap();
    assert_eq!(bucket.put("a", "1".into()).await.unwrap(), 1);
    assert!(bucket.create("a", "2".into()).await.is_err());
    assert_eq!(bucket.update("a", "2".into(), 1).await.unwrap(), 2);
    assert!(bucket.update("a", "3".into(), 1).await.is_err());
    assert_eq!(bucket.get("a").await.unwrap().unwrap(), "2");
    bucket.delete("a").await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap(), None);
    assert_eq!(bucket.create("a", "4".into()).await.unwrap(), 4);
    bucket.purge("a").await.unwrap();
    let mut watch = bucket.watch_all().await.unwrap();
    bucket.put("b", "5".into()).await.unwrap();
    let entry = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(&*entry.unwrap().key, "b");
}

/// What was acknowledged is there after a kill, and what was acknowledged to a consumer is not
/// delivered again.
#[cfg(unix)]
/// Who has little to say to sleeping streams looks after it by itself, so several may meet there.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_asks_alone_is_forgotten() {
    let dir = Dir::new("js-alone");
    let server = start(&dir);
    let js = connect(&server).await;
    for storage in [StorageType::File, StorageType::Memory] {
        let name = format!("S{storage:?}");
        let asked = Config {
            storage,
            ..config(&name, &format!("{name}.>"))
        };
        js.create_stream(asked).await.unwrap();
    }
    let mut asking = Vec::new();
    for n in 0..6 {
        let js = connect(&server).await;
        asking.push(tokio::spawn(async move {
            let subject = match n % 3 {
                0 => format!("SFile.{n}"),
                _ => format!("SMemory.{n}"),
            };
            for _ in 0..300 {
                let stored = timeout(PATIENCE, store(&js, &subject, "x")).await;
                stored.expect("an answer, however few others ask");
            }
        }));
    }
    for asked in asking {
        asked.await.unwrap();
    }
    for (name, messages) in [("SFile", 600), ("SMemory", 1200)] {
        let mut stream = js.get_stream(name).await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.messages, messages);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = Dir::new("js-kill");
    let mut acked = 0;
    for round in 0..5u64 {
        let server = start(&dir);
        let js = connect(&server).await;
        let mut stream = js.get_or_create_stream(config("S", "s")).await.unwrap();
        let consumer = stream
            .get_or_create_consumer(
                "C",
                pull::Config {
                    durable_name: Some("C".into()),
                    ..pull::Config::default()
                },
            )
            .await
            .unwrap();
        let state = stream.info().await.unwrap().state.clone();
        assert!(state.messages >= acked, "round {round}: {state:?}");
        let mut pending = Vec::new();
        for n in 0..200 {
            pending.push(
                js.publish("s", format!("{round} {n}").into())
                    .await
                    .unwrap(),
            );
        }
        for (n, ack) in pending.into_iter().enumerate() {
            acked = ack.await.unwrap().sequence;
            if n == 100 + round as usize {
                break;
            }
        }
        let mut messages = consumer.fetch().max_messages(50).messages().await.unwrap();
        let mut last = 0;
        while let Some(message) = timeout(PATIENCE, messages.next()).await.unwrap() {
            let message = message.unwrap();
            let sequence = message.info().unwrap().stream_sequence;
            assert_eq!(sequence, round * 50 + 1 + last);
            message.double_ack().await.unwrap();
            last += 1;
        }
        assert_eq!(last, 50);
        server.signal(libc::SIGKILL);
    }
}

#[test]
fn answers_byte_by_byte() {
    let dir = Dir::new("js-raw");
    let server = start(&dir);
    let mut peer = Peer::connect(server.addr);
    peer.say("SUB in.> 1\r\n");
    let create = r#"{"name":"S","subjects":["s.*"],"storage":"memory","allow_direct":true}"#;
    let mut ask = |subject: &str, body: &str| {
        peer.say(format!("PUB {subject} in.1 {}\r\n{body}\r\n", body.len()));
        let (line, payload) = peer.message();
        (line, String::from_utf8(payload).unwrap())
    };
    let (_, created) = ask("$JS.API.STREAM.CREATE.S", create);
    let start =
        r#"{"type":"io.nats.jetstream.api.v1.stream_create_response","config":{"name":"S","#;
    assert!(created.starts_with(start), "{created}");
    assert!(created.contains(r#""did_create":true"#), "{created}");
    assert_eq!(ask("s.a", "x").1, r#"{"stream":"S","seq":1}"#);
    let (line, got) = ask("$JS.API.DIRECT.GET.S.s.a", "");
    assert!(line.starts_with("HMSG in.1 1 "), "{line}");
    let start =
        "NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: s.a\r\nNats-Sequence: 1\r\nNats-Time-Stamp: ";
    assert!(
        got.starts_with(start) && got.ends_with("\r\n\r\nx"),
        "{got}"
    );
    for (subject, body, answer) in [
        (
            "$JS.API.DIRECT.GET.S.s.b",
            "",
            "NATS/1.0 404 Message Not Found\r\n\r\n",
        ),
        (
            "$JS.API.DIRECT.GET.S",
            "",
            "NATS/1.0 408 Empty Request\r\n\r\n",
        ),
        (
            "$JS.API.DIRECT.GET.S",
            "x",
            "NATS/1.0 408 Malformed Request\r\n\r\n",
        ),
        (
            "$JS.API.CONSUMER.MSG.NEXT.S.C",
            "",
            "NATS/1.0 503\r\nNats-Subject: $JS.API.CONSUMER.MSG.NEXT.S.C\r\n\r\n",
        ),
    ] {
        assert_eq!(ask(subject, body).1, answer, "{subject} {body}");
    }
    for (subject, body, code) in [
        ("$JS.API.STREAM.INFO.T", "", 10059),
        ("$JS.API.STREAM.CREATE.T", r#"{"name":"U"}"#, 10056),
        (
            "$JS.API.STREAM.CREATE.T",
            r#"{"name":"T","subjects":["s.>"]}"#,
            10065,
        ),
        (
            "$JS.API.STREAM.CREATE.T",
            r#"{"name":"T","bogus":1}"#,
            10025,
        ),
        ("$JS.API.STREAM.CREATE.T", "{", 10025),
        (
            "$JS.API.STREAM.CREATE.T",
            r#"{"name":"T","num_replicas":3}"#,
            10074,
        ),
        ("$JS.API.STREAM.MSG.GET.S", r#"{"seq":9}"#, 10037),
        ("$JS.API.STREAM.MSG.GET.S", "", 10003),
        ("$JS.API.STREAM.MSG.DELETE.S", r#"{"seq":9}"#, 10057),
        ("$JS.API.STREAM.PURGE.S", r#"{"seq":1,"keep":1}"#, 10003),
        ("$JS.API.STREAM.DELETE.S", "{\"a\":1}", 10038),
        ("$JS.API.CONSUMER.INFO.S.C", "", 10014),
        ("$JS.API.STREAM.LEADER.STEPDOWN.S", "", 10010),
        ("$JS.API.STREAM.SNAPSHOT.S", "", 10003),
        ("$JS.API.STREAM.RESTORE.S", "", 10003),
    ] {
        let (_, answer) = ask(subject, body);
        let code = format!("\"err_code\":{code},");
        assert!(answer.contains(&code), "{subject} {body}: {answer}");
    }
}

#[test]
fn what_another_server_stored_is_left_alone() {
    let dir = Dir::new("js-foreign");
    dir.write("store/jetstream/$G/streams/S/meta.inf", "{}");
    let run = Run::new(&["-p", "-1", "-js", "-sd", &dir.path("store")]);
    assert_eq!(run.code, Some(1));
    let why = "holds streams in the form of the Go nats-server";
    assert!(run.stderr.contains(why), "{}", run.stderr);
    assert!(!std::path::Path::new(&dir.path("store/jetstream/lock")).exists());
    // One that is in use is not taken, either.
    let other = Dir::new("js-locked");
    let _server = start(&other);
    let run = Run::new(&["-p", "-1", "-js", "-sd", &other.path("store")]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("is in use"), "{}", run.stderr);
}
