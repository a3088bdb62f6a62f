//! What publishing to streams can do beyond storing a message: batches, counters, schedules and
//! markers, and what is left of them when the server is killed.

use crate::support::{Dir, Peer, Process};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(dir: &Dir) -> Process {
    Process::start(&["-js", "-sd", &dir.path("store")])
}

/// A client that hears what it is answered.
struct Client {
    peer: Peer,
    asked: u64,
}

impl Client {
    fn new(server: &Process) -> Client {
        let mut peer = Peer::connect(server.addr);
        peer.say("SUB in.> 1\r\n");
        Client { peer, asked: 0 }
    }

    fn say(&mut self, subject: &str, reply: &str, headers: &[(&str, &str)], payload: &str) {
        let mut block = String::from("NATS/1.0\r\n");
        for (name, value) in headers {
            block += &format!("{name}: {value}\r\n");
        }
        block += "\r\n";
        let (head, all) = (block.len(), block.len() + payload.len());
        let command = format!("HPUB {subject} {reply} {head} {all}\r\n{block}{payload}\r\n");
        self.peer.say(command);
    }

    fn heard(&mut self) -> String {
        String::from_utf8(self.peer.message().1).unwrap()
    }

    fn ask(&mut self, subject: &str, headers: &[(&str, &str)], payload: &str) -> String {
        self.asked += 1;
        let reply = format!("in.{}", self.asked);
        self.say(subject, &reply, headers, payload);
        self.heard()
    }

    fn create(&mut self, name: &str, more: &str) {
        let config = format!(r#"{{"name":"{name}","subjects":["{name}.>"]{more}}}"#);
        let created = self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &[], &config);
        assert!(created.contains("\"did_create\":true"), "{created}");
    }

    /// The messages and the last sequence of a stream.
    fn state(&mut self, name: &str) -> (u64, u64) {
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), &[], "");
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let of = |field: &str| info["state"][field].as_u64().unwrap();
        (of("messages"), of("last_seq"))
    }

    /// The headers and the payload of the last message on a subject.
    fn last(&mut self, stream: &str, subject: &str) -> Option<String> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
        Some(self.ask(&subject, &[], "")).filter(|got| !got.starts_with("NATS/1.0 404"))
    }

    fn wait_for<T>(&mut self, mut look: impl FnMut(&mut Client) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_kill_leaves_whole_batches_only() {
    const SIZE: u64 = 20;
    let dir = Dir::new("pub-batches");
    let mut least = 0;
    for round in 0..6 {
        let server = start(&dir);
        let mut client = Client::new(&server);
        if round == 0 {
            client.create("B", r#","allow_atomic":true"#);
        }
        let (messages, _) = client.state("B");
        assert_eq!(messages % SIZE, 0, "a batch in parts in round {round}");
        assert!(messages >= least, "{messages} of {least} in round {round}");
        for batch in 0..30 {
            let id = format!("{round}-{batch}");
            for n in 1..=SIZE {
                let sequence = n.to_string();
                let mut headers = vec![("Nats-Batch-Id", &*id), ("Nats-Batch-Sequence", &sequence)];
                let mut reply = "";
                if n == SIZE {
                    headers.push(("Nats-Batch-Commit", "1"));
                    reply = "in.batch";
                }
                client.say(&format!("B.{n}"), reply, &headers, &"x".repeat(700));
            }
        }
        // Some are acknowledged, others are under way.
        for _ in 0..10 + round {
            let done = client.heard();
            assert!(done.contains(&format!("\"count\":{SIZE}}}")), "{done}");
            let seq = done.split("\"seq\":").nth(1).unwrap();
            least = seq.split(',').next().unwrap().parse().unwrap();
        }
        server.signal(libc::SIGKILL);
    }
}

#[test]
fn counters_schedules_and_markers_outlast_the_server() {
    let dir = Dir::new("pub-restart");
    let server = start(&dir);
    let mut client = Client::new(&server);
    client.create("C", r#","allow_msg_counter":true,"allow_direct":true"#);
    client.create("S", r#","allow_msg_schedules":true,"allow_direct":true"#);
    client.create(
        "M",
        r#","allow_msg_ttl":true,"subject_delete_marker_ttl":3600000000000,
        "max_msgs_per_subject":1,"allow_direct":true"#,
    );
    let added = client.ask("C.a", &[("Nats-Incr", "+40")], "");
    assert_eq!(added, r#"{"stream":"C","seq":1,"val":"40"}"#);
    let schedule = [
        ("Nats-Schedule", "@every 1s"),
        ("Nats-Schedule-Target", "S.t"),
        ("A", "1"),
    ];
    assert_eq!(
        client.ask("S.a", &schedule, "x"),
        r#"{"stream":"S","seq":1}"#
    );
    client.wait_for(|client| client.last("S", "S.t"));
    assert!(
        client
            .ask("M.a", &[("Nats-TTL", "1s")], "x")
            .contains("\"seq\":1")
    );
    drop(server);
    let server = start(&dir);
    let mut client = Client::new(&server);
    let (_, before) = client.state("S");
    let added = client.ask("C.a", &[("Nats-Incr", "2")], "");
    assert_eq!(added, r#"{"stream":"C","seq":2,"val":"42"}"#);
    client.wait_for(|client| (client.state("S").1 > before + 1).then_some(()));
    let made = client.last("S", "S.t").unwrap();
    let start = "\r\nA: 1\r\nNats-Scheduler: S.a\r\nNats-Schedule-Next: 20";
    assert!(
        made.contains(start) && made.ends_with("\r\n\r\nx"),
        "{made}"
    );
    let marker = client.wait_for(|client| {
        let last = client.last("M", "M.a")?;
        last.contains("Nats-Marker-Reason").then_some(last)
    });
    let marked = "\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1h0m0s\r\nNats-Rollup: sub\r\n";
    assert!(
        marker.contains(marked) && marker.ends_with("\r\n\r\n"),
        "{marker}"
    );
    assert_eq!(client.state("M"), (1, 2));
}

#[test]
fn fast_batches_tell_how_far_they_have_got() {
    let dir = Dir::new("pub-fast");
    let server = start(&dir);
    let mut client = Client::new(&server);
    client.create("F", r#","allow_batched":true,"persist_mode":"async""#);
    let mut say = |sequence: u64, operation: u8| {
        let reply = format!("in.b.100.fail.{sequence}.{operation}.$FI");
        client.say("F.a", &reply, &[], "x");
    };
    say(1, 0);
    (2..1000).for_each(|n| say(n, 1));
    say(1000, 2);
    let mut told = 0;
    let done = loop {
        let heard = client.heard();
        if !heard.starts_with("{\"type\":\"ack\"") {
            break heard;
        }
        let ack: serde_json::Value = serde_json::from_str(&heard).unwrap();
        assert!(ack["seq"].as_u64().unwrap() >= told, "{heard}");
        assert_eq!(ack["msgs"], 100);
        told = ack["seq"].as_u64().unwrap();
    };
    assert_eq!(
        done,
        r#"{"stream":"F","seq":1000,"batch":"b","count":1000}"#
    );
    assert_eq!(told, 900);
}

#[test]
fn batches_that_are_given_up_are_told_of() {
    let dir = Dir::new("pub-abandoned");
    let server = start(&dir);
    let mut client = Client::new(&server);
    client.create("B", r#","allow_atomic":true,"storage":"memory""#);
    client
        .peer
        .say("SUB $JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.B 2\r\n");
    let id = ("Nats-Batch-Id", "x");
    client.ask("B.1", &[id, ("Nats-Batch-Sequence", "1")], "");
    client.say("B.1", "in.gap", &[id, ("Nats-Batch-Sequence", "3")], "");
    let heard = [client.heard(), client.heard()];
    let event = heard.iter().find(|text| text.contains("advisory")).unwrap();
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(
        event["type"],
        "io.nats.jetstream.advisory.v1.stream_batch_abandoned"
    );
    assert_eq!(
        (&event["batch"], &event["reason"]),
        (&"x".into(), &"incomplete".into())
    );
    assert!(heard.iter().any(|text| text.contains("10176")), "{heard:?}");
}
