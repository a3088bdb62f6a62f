//! Streams that are backed up and restored, as the nats tool does it, and backups that are not what
//! they should be.

use crate::support::{Dir, Process, eventually};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap, Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn start(dir: &Dir) -> Process {
    Process::start(&["-js", "-sd", &dir.path("store")])
}

async fn connect(server: &Process) -> (Client, Context) {
    let client = async_nats::connect(server.addr.to_string()).await.unwrap();
    (client.clone(), jetstream::new(client))
}

/// Asks for something, and gives the answer.
async fn ask(client: &Client, subject: &str, body: &Value) -> Value {
    let body = Bytes::from(body.to_string());
    let answer = client.request(subject.to_owned(), body);
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

fn code(answer: &Value) -> Option<u64> {
    answer["error"]["err_code"].as_u64()
}

/// What a backup consists of: the answer, the chunks, and the status at the end.
struct Backup {
    told: Value,
    chunks: Vec<Bytes>,
    end: Message,
}

/// Backs a stream up.
async fn back_up(client: &Client, stream: &str, more: Value) -> Backup {
    let inbox = client.new_inbox();
    let mut incoming = client.subscribe(inbox.clone()).await.unwrap();
    let mut asked = json!({"deliver_subject": inbox});
    asked
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let subject = format!("$JS.API.STREAM.SNAPSHOT.{stream}");
    let told = ask(client, &subject, &asked).await;
    assert_eq!(told["error"], Value::Null, "{told}");
    let mut chunks = Vec::new();
    loop {
        let message = timeout(PATIENCE, incoming.next()).await.unwrap().unwrap();
        if message.payload.is_empty() {
            let end = message;
            return Backup { told, chunks, end };
        }
        if let Some(reply) = message.reply {
            client.publish(reply, Bytes::new()).await.unwrap();
        }
        chunks.push(message.payload);
    }
}

/// Sends a backup, and gives the answer to it.
async fn restore(client: &Client, config: &Value, chunks: &[Bytes]) -> Value {
    let name = config["name"].as_str().unwrap();
    let subject = format!("$JS.API.STREAM.RESTORE.{name}");
    let told = ask(client, &subject, &json!({"config": config, "state": {}})).await;
    let Some(deliver) = told["deliver_subject"].as_str().filter(|s| !s.is_empty()) else {
        return told;
    };
    for chunk in chunks.iter().chain([&Bytes::new()]) {
        let answer = client.request(deliver.to_owned(), chunk.clone());
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        if !answer.payload.is_empty() {
            return serde_json::from_slice(&answer.payload).unwrap();
        }
    }
    panic!("no answer to the end");
}

/// All messages of a stream: sequence, subject, header and payload.
async fn messages(js: &Context, name: &str) -> Vec<(u64, String, Option<String>, Bytes)> {
    let mut stream = js.get_stream(name).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            let header = message.headers.get("Kind").map(ToString::to_string);
            all.push((
                sequence,
                message.subject.to_string(),
                header,
                message.payload,
            ));
        }
    }
    all
}

async fn consumer_info(client: &Client, stream: &str, consumer: &str) -> Value {
    let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
    let mut info = ask(client, &subject, &json!({})).await;
    for key in ["ts", "created", "cluster"] {
        info.as_object_mut().unwrap().remove(key);
    }
    for place in ["delivered", "ack_floor"] {
        info[place].as_object_mut().unwrap().remove("last_active");
    }
    info
}

/// A stream with messages of two kinds, some of which are gone, and a consumer that has seen some.
async fn fill(js: &Context, name: &str, storage: StorageType) {
    let config = Config {
        name: name.into(),
        subjects: vec![format!("{name}.*")],
        storage,
        ..Config::default()
    };
    let stream = js.create_stream(config).await.unwrap();
    let mut acks = Vec::new();
    for n in 0..400u32 {
        let mut headers = HeaderMap::new();
        headers.insert("Kind", format!("k{n}"));
        let payload: Vec<u8> = (0..n * 10).map(|i| (i * n % 251) as u8).collect();
        let ack = match n % 2 {
            0 => {
                js.publish_with_headers(format!("{name}.a"), headers, payload.into())
                    .await
            }
            _ => js.publish(format!("{name}.b"), payload.into()).await,
        };
        acks.push(ack.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    for sequence in [1, 2, 50, 51, 52, 399, 400] {
        stream.delete_message(sequence).await.unwrap();
    }
    let config = pull::Config {
        durable_name: Some("worker".into()),
        filter_subject: format!("{name}.a"),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(600),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut batch = consumer.fetch().max_messages(20).messages().await.unwrap();
    let mut n = 0;
    while let Some(message) = batch.next().await {
        let message = message.unwrap();
        match n {
            0..=7 | 11 => message.double_ack().await.unwrap(),
            9 => message
                .ack_with(jetstream::AckKind::Nak(None))
                .await
                .unwrap(),
            _ => {}
        }
        n += 1;
    }
    let again = consumer.fetch().max_messages(1).messages().await.unwrap();
    let again: Vec<_> = again.collect().await;
    assert_eq!((n, again.len()), (20, 1));
}

async fn is_the_same_after(server: &Process) {
    let (client, js) = connect(server).await;
    for (name, storage) in [("F", StorageType::File), ("M", StorageType::Memory)] {
        fill(&js, name, storage).await;
        let before = messages(&js, name).await;
        let worker = consumer_info(&client, name, "worker").await;
        assert_eq!(worker["num_redelivered"], 1, "{worker}");
        let small = json!({"chunk_size": 1024, "window_size": 4096});
        let backup = back_up(&client, name, small).await;
        assert_eq!(backup.end.status, Some(StatusCode::from_u16(204).unwrap()));
        assert_eq!(backup.told["state"]["messages"], 393);
        assert_eq!(backup.told["state"]["consumer_count"], 1);
        let (last, whole) = backup.chunks.split_last().unwrap();
        assert!(last.len() <= 1024 && whole.iter().all(|chunk| chunk.len() == 1024));
        let config = &backup.told["config"];
        let exists = restore(&client, config, &backup.chunks).await;
        assert_eq!(code(&exists), Some(10130), "{exists}");
        js.delete_stream(name).await.unwrap();

        let restored = restore(&client, config, &backup.chunks).await;
        assert_eq!(restored["error"], Value::Null, "{restored}");
        let state = &restored["state"];
        let places = [
            &state["first_seq"],
            &state["last_seq"],
            &state["num_deleted"],
        ];
        assert_eq!(places, [3, 400, 5], "{state}");
        assert_eq!(state["bytes"], backup.told["state"]["bytes"]);
        assert_eq!(messages(&js, name).await, before);
        assert_eq!(consumer_info(&client, name, "worker").await, worker);
        // It goes on where it was.
        let ack = js
            .publish(format!("{name}.a"), "next".into())
            .await
            .unwrap();
        assert_eq!(ack.await.unwrap().sequence, 401);
        let stream = js.get_stream(name).await.unwrap();
        let consumer: PullConsumer = stream.get_consumer("worker").await.unwrap();
        let mut next = consumer.fetch().max_messages(1).messages().await.unwrap();
        let next = next.next().await.unwrap().unwrap();
        assert_eq!(next.info().unwrap().stream_sequence, 43);

        let without = back_up(&client, name, json!({"no_consumers": true})).await;
        assert!(without.chunks.iter().map(Bytes::len).sum::<usize>() > 10_000);
        js.delete_stream(name).await.unwrap();
        let restored = restore(&client, config, &without.chunks).await;
        assert_eq!(restored["state"]["consumer_count"], 0, "{restored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_stream_is_the_one_that_was_backed_up() {
    let dir = Dir::new("backup");
    let server = start(&dir);
    is_the_same_after(&server).await;
    // What was restored is there after a crash.
    drop(server);
    let server = start(&dir);
    let (_, js) = connect(&server).await;
    let mut stream = js.get_stream("F").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 394);
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_streams_are_backed_up_as_plain_ones() {
    let dir = Dir::new("backup-encrypted");
    let store = dir.path("store");
    let conf = dir.path("server.conf");
    let text = format!("jetstream {{ store_dir: {store:?}, key: \"a secret of some length\" }}");
    std::fs::write(&conf, text).unwrap();
    let server = Process::start(&["-c", &conf]);
    is_the_same_after(&server).await;
    let (client, _) = connect(&server).await;
    let backup = back_up(&client, "F", json!({})).await;
    let plain_dir = Dir::new("backup-plain");
    let plain = start(&plain_dir);
    let (client, js) = connect(&plain).await;
    let restored = restore(&client, &backup.told["config"], &backup.chunks).await;
    assert_eq!(restored["state"]["messages"], 394, "{restored}");
    assert_eq!(messages(&js, "F").await.len(), 394);
}

/// Backups that Go servers have made: see the directory for of which versions.
#[tokio::test(flavor = "multi_thread")]
async fn backups_of_go_servers_are_restored() {
    let dir = Dir::new("backup-go");
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/backups");
    let mut count = 0;
    for backup in std::fs::read_dir(all).unwrap() {
        let backup = backup.unwrap().path();
        let meta = std::fs::read(backup.join("backup.json")).unwrap();
        let meta: Value = serde_json::from_slice(&meta).unwrap();
        let data = ["stream.tar.s2", "stream.arc.s2"].map(|name| backup.join(name));
        let data = data
            .iter()
            .find_map(|path| std::fs::read(path).ok())
            .unwrap();
        for size in [100, 1 << 20] {
            let chunks: Vec<_> = data.chunks(size).map(Bytes::copy_from_slice).collect();
            let restored = restore(&client, &meta["config"], &chunks).await;
            let state = &restored["state"];
            let told = [&state["messages"], &state["first_seq"], &state["last_seq"]];
            assert_eq!(told, [35, 3, 40], "{} {restored}", backup.display());
            assert_eq!(state["bytes"], meta["state"]["bytes"]);
            assert_eq!(state["consumer_count"], 2);
            let all = messages(&js, "OLD").await;
            let expected: Vec<u64> = (3..40).filter(|n| ![10, 17].contains(n)).collect();
            assert_eq!(all.iter().map(|m| m.0).collect::<Vec<_>>(), expected);
            assert_eq!(all[0].1, "old.a");
            assert_eq!(all[0].3, "message 3");
            let info = consumer_info(&client, "OLD", "NEW").await;
            assert_eq!(
                info["delivered"],
                json!({"consumer_seq": 8, "stream_seq": 11})
            );
            assert_eq!(
                info["ack_floor"],
                json!({"consumer_seq": 5, "stream_seq": 7})
            );
            assert_eq!(
                (&info["num_ack_pending"], &info["num_pending"]),
                (&json!(3), &json!(8))
            );
            let info = consumer_info(&client, "OLD", "SENT").await;
            assert_eq!(info["delivered"]["stream_seq"], 40, "{info}");
            js.delete_stream("OLD").await.unwrap();
            // With a byte that is wrong, nothing is restored.
            for at in [20, data.len() / 2, data.len() - 20] {
                let mut wrong = data.clone();
                wrong[at] ^= 0x40;
                let chunks: Vec<_> = wrong.chunks(size).map(Bytes::copy_from_slice).collect();
                let refused = restore(&client, &meta["config"], &chunks).await;
                assert_eq!(code(&refused), Some(10062), "{at}: {refused}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 3);
    nothing_is_left(&dir);
}

/// Frames of S2 that are not compressed.
fn frames(raw: &[u8]) -> Bytes {
    let mut out = b"\xff\x06\x00\x00S2sTwO".to_vec();
    for block in raw.chunks(60_000) {
        let len = u32::try_from(block.len() + 4).unwrap();
        out.push(1);
        out.extend_from_slice(&len.to_le_bytes()[..3]);
        out.extend_from_slice(&minlz::crc::crc(block).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.into()
}

fn tar(out: &mut Vec<u8>, kind: u8, name: &str, size: &str, bytes: &[u8]) {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..124 + size.len()].copy_from_slice(size.as_bytes());
    header[156] = kind;
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// An entry of an archive whose numbers are all less than 128.
fn entry(name: &str, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let (name_len, len) = (name.len() as u8, payload.len() as u8);
    assert!(name_len < 128 && len < 128);
    let mut out = vec![name_len, 0, sequence, 0, len];
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(payload);
    out
}

fn archive(entries: &[Vec<u8>]) -> Bytes {
    frames(&[b"NATSARC1".to_vec(), entries.concat()].concat())
}

/// The directory of the store comes to have no stream: files go after the answer that a stream is
/// gone.
fn nothing_is_left(dir: &Dir) {
    eventually("an empty store", || {
        files(Path::new(&dir.path("store"))).is_empty()
    });
}

/// The files in and below a directory, other than locks and what all streams share.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut look = vec![dir.to_owned()];
    while let Some(at) = look.pop() {
        // It may go at this moment.
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => look.push(path),
                false if path.ends_with("lock") || path.ends_with("reserve") => {}
                false if path.parent().is_some_and(|dir| dir.ends_with("journal")) => {}
                false => found.push(path),
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_of_backups_that_are_none() {
    let dir = Dir::new("backup-bad");
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    let config = json!({"name": "S", "subjects": ["s.>"], "num_replicas": 1,
        "retention": "limits", "storage": "file", "discard": "old", "max_msg_size": 100,
        "max_consumers": 2});
    let state = br#"{"messages":1,"first_seq":1,"last_seq":1}"#;
    let end = entry("", 0, b"");
    let message = entry("s.a", 1, b"x");
    let first = entry("state.json", 0, state);
    let with =
        |entries: &[&Vec<u8>]| archive(&entries.iter().map(|e| (*e).clone()).collect::<Vec<_>>());
    let consumer = br#"{"config":{"durable_name":"d"},"state":{}}"#;
    let counted = entry("state.json", 0, br#"{"consumer_count":1}"#);
    let tarred = |kind, name: &str, size: &str, bytes: &[u8]| {
        let mut out = Vec::new();
        tar(&mut out, kind, name, size, bytes);
        out.resize(out.len() + 1024, 0);
        frames(&out)
    };
    let backups = [
        ("nothing", Bytes::from_static(b"x")),
        ("no frames", Bytes::from(vec![7; 10_000])),
        ("an empty archive", archive(&[])),
        ("no end", with(&[&first, &message])),
        ("no state", with(&[&message, &end])),
        (
            "a state that is no JSON",
            with(&[&entry("state.json", 0, b"{"), &end]),
        ),
        (
            "negative consumers",
            with(&[&entry("state.json", 0, br#"{"consumer_count":-1}"#), &end]),
        ),
        (
            "too many messages",
            with(&[
                &entry(
                    "state.json",
                    0,
                    br#"{"messages":9,"first_seq":1,"last_seq":2}"#,
                ),
                &end,
            ]),
        ),
        (
            "absurd sequences",
            with(&[
                &entry(
                    "state.json",
                    0,
                    br#"{"first_seq":9,"last_seq":18446744073709551615}"#,
                ),
                &end,
            ]),
        ),
        (
            "a consumer that is missing",
            with(&[&counted, &message, &end]),
        ),
        (
            "a consumer without a configuration",
            with(&[&counted, &entry("consumers/d", 0, b"{}"), &end]),
        ),
        ("messages twice", with(&[&first, &message, &message, &end])),
        ("a wildcard", with(&[&first, &entry("s.*", 1, b"x"), &end])),
        ("no subject", with(&[&first, &entry("", 1, b"x"), &end])),
        (
            "a message that is too large",
            with(&[&first, &entry("s.a", 1, &[1; 120]), &end]),
        ),
        ("something behind the end", with(&[&first, &end, &message])),
        (
            "a huge message",
            archive(&[
                first.clone(),
                vec![3, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x7f],
            ]),
        ),
        ("a path", tarred(b'0', "../../evil", "00000000001", b"x")),
        (
            "an absolute path",
            tarred(b'0', "/tmp/evil", "00000000001", b"x"),
        ),
        (
            "a path in a consumer",
            tarred(b'0', "obs/../../evil", "00000000001", b"x"),
        ),
        ("a link", tarred(b'2', "msgs/1.blk", "00000000000", b"")),
        (
            "a file of 2 GiB",
            tarred(b'0', "meta.inf", "20000000000", b"x"),
        ),
        (
            "a block before anything",
            tarred(b'0', "msgs/1.blk", "00000000001", b"x"),
        ),
        ("a wrong sum", tarred(b'0', "meta.sum", "00000000001", b"x")),
    ];
    for (what, backup) in backups {
        let refused = restore(&client, &config, &[backup]).await;
        assert_eq!(code(&refused), Some(10062), "{what}: {refused}");
        assert!(js.get_stream("S").await.is_err(), "{what}");
    }
    nothing_is_left(&dir);
    assert!(!Path::new("/tmp/evil").exists());

    // With a consumer that no request could make, nothing is restored.
    let named = br#"{"config":{"name":"../x"},"state":{}}"#;
    let backup = with(&[&counted, &entry("consumers/d", 0, named), &end]);
    let refused = restore(&client, &config, &[backup]).await;
    assert_eq!(code(&refused), Some(10062), "{refused}");
    assert!(js.get_stream("S").await.is_err());
    nothing_is_left(&dir);
    // In between, the name is taken; and good backups go through after all that.
    let backup = with(&[&counted, &entry("consumers/d", 0, consumer), &message, &end]);
    let subject = "$JS.API.STREAM.RESTORE.S";
    let told = ask(&client, subject, &json!({"config": config, "state": {}})).await;
    let deliver = told["deliver_subject"].as_str().unwrap().to_owned();
    let taken = ask(&client, "$JS.API.STREAM.CREATE.S", &config).await;
    assert_eq!(code(&taken), Some(10058), "{taken}");
    let info = ask(&client, "$JS.API.STREAM.INFO.S", &json!({})).await;
    assert_eq!(code(&info), Some(10059), "{info}");
    let again = ask(&client, subject, &json!({"config": config, "state": {}})).await;
    assert_eq!(code(&again), Some(10130), "{again}");
    client.request(deliver.clone(), backup).await.unwrap();
    let done = client.request(deliver.clone(), Bytes::new()).await.unwrap();
    let done: Value = serde_json::from_slice(&done.payload).unwrap();
    assert_eq!(done["state"]["messages"], 1, "{done}");
    assert_eq!(done["state"]["consumer_count"], 1, "{done}");
    // Nobody takes chunks any more.
    let late = client.request(deliver, Bytes::from_static(b"x")).await;
    assert!(late.is_err(), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_backups_are_checked_and_told_of() {
    let dir = Dir::new("backup-requests");
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    fill(&js, "F", StorageType::File).await;
    let events = client
        .subscribe("$JS.EVENT.ADVISORY.STREAM.*.F")
        .await
        .unwrap();
    let inbox = client.new_inbox();
    for (subject, body, expected) in [
        ("SNAPSHOT.F", json!({}), 10003),
        ("SNAPSHOT.F", json!({"deliver_subject": ""}), 10015),
        ("SNAPSHOT.F", json!({"deliver_subject": "a.*"}), 10015),
        (
            "SNAPSHOT.F",
            json!({"deliver_subject": inbox, "other": 1}),
            10025,
        ),
        ("SNAPSHOT.NONE", json!({"deliver_subject": inbox}), 10059),
        ("RESTORE.N", json!({}), 10003),
        ("RESTORE.N", json!({"config": {"name": "M"}}), 10056),
        (
            "RESTORE.N",
            json!({"config": {"name": "N", "max_age": -1}}),
            10052,
        ),
        (
            "RESTORE.N",
            json!({"config": {"name": "N", "subjects": ["F.a"]}}),
            10065,
        ),
        (
            "RESTORE.N",
            json!({"config": {"name": "N", "num_replicas": 3}}),
            10074,
        ),
        (
            "RESTORE.F",
            json!({"config": {"name": "F", "subjects": ["f"]}}),
            10130,
        ),
    ] {
        let answer = ask(&client, &format!("$JS.API.STREAM.{subject}"), &body).await;
        assert_eq!(code(&answer), Some(expected), "{subject} {body}: {answer}");
    }
    let backup = back_up(&client, "F", json!({})).await;
    // Nobody listens to this one, and this client does not answer.
    let asked = json!({"deliver_subject": client.new_inbox()});
    ask(&client, "$JS.API.STREAM.SNAPSHOT.F", &asked).await;
    let inbox = client.new_inbox();
    let silent = client.subscribe(inbox.clone()).await.unwrap();
    let asked = json!({"deliver_subject": inbox, "chunk_size": 1024, "window_size": 2048});
    ask(&client, "$JS.API.STREAM.SNAPSHOT.F", &asked).await;
    let got: Vec<Message> = timeout(PATIENCE, silent.take(3).collect()).await.unwrap();
    let status = got[2].status.map(|status| status.as_u16());
    assert_eq!((got[0].payload.len(), status), (1024, Some(408)));
    assert_eq!(got[2].description.as_deref(), Some("No Flow Response"));

    js.delete_stream("F").await.unwrap();
    let config = &backup.told["config"];
    restore(&client, config, &backup.chunks).await;
    let is_expected = |event: &Value| {
        let kind = event["type"].as_str().unwrap();
        kind.contains("snapshot") || kind.contains("restore")
    };
    let mut events =
        events.map(|event| -> Value { serde_json::from_slice(&event.payload).unwrap() });
    let mut told = Vec::new();
    while told.len() < 8 {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if is_expected(&event) {
            let kind = event["type"].as_str().unwrap().rsplit('.').next().unwrap();
            let error = event["error"].as_str().unwrap_or_default();
            assert_eq!(
                (&event["stream"], &event["client"]["acc"]),
                (&json!("F"), &json!("$G"))
            );
            told.push(format!("{kind} {error}"));
        }
    }
    told.sort();
    let expected = [
        "restore_complete ",
        "restore_create ",
        "snapshot_complete ",
        "snapshot_complete no flow response",
        "snapshot_complete no interest",
        "snapshot_create ",
        "snapshot_create ",
        "snapshot_create ",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_in_part_is_gone_after_a_crash_and_when_nobody_goes_on() {
    let dir = Dir::new("backup-part");
    let server = start(&dir);
    let (client, js) = connect(&server).await;
    fill(&js, "F", StorageType::File).await;
    let backup = back_up(&client, "F", json!({"chunk_size": 8192})).await;
    js.delete_stream("F").await.unwrap();
    let begin = async |client: &Client| {
        let asked = json!({"config": backup.told["config"], "state": {}});
        let told = ask(client, "$JS.API.STREAM.RESTORE.F", &asked).await;
        let deliver = told["deliver_subject"].as_str().unwrap().to_owned();
        for chunk in &backup.chunks[..5] {
            let answer = client
                .request(deliver.clone(), chunk.clone())
                .await
                .unwrap();
            assert_eq!(answer.payload, "");
        }
    };
    begin(&client).await;
    drop(server);
    let server = start(&dir);
    nothing_is_left(&dir);
    let (client, js) = connect(&server).await;
    assert!(js.get_stream("F").await.is_err());
    // Five seconds after the last chunk, it is given up.
    begin(&client).await;
    let again = async {
        loop {
            let restored = restore(&client, &backup.told["config"], &backup.chunks).await;
            match code(&restored) {
                Some(10130) => tokio::time::sleep(Duration::from_millis(100)).await,
                None => return restored,
                other => panic!("{other:?}"),
            }
        }
    };
    let restored = timeout(PATIENCE, again).await.unwrap();
    assert_eq!(restored["state"]["messages"], 393, "{restored}");
}
