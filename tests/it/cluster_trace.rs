//! Messages of which it is told where they go, over several servers.

use crate::cluster_pool::spawn;
use crate::support::mesh::{Route, heard, node, reference};
use crate::support::{Dir, Peer, Process, log_in};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn publish(peer: &mut Peer, subject: &str, lines: &str, body: &str) {
    let headers = format!("NATS/1.0\r\n{lines}\r\n");
    let (headers_len, len) = (headers.len(), headers.len() + body.len());
    peer.say(format!(
        "HPUB {subject} {headers_len} {len}\r\n{headers}{body}\r\n"
    ));
}

/// Events of two servers, by their names.
fn events(watch: &mut Peer, count: usize) -> BTreeMap<String, Value> {
    let mut events = BTreeMap::new();
    for _ in 0..count {
        let (line, body) = watch.message();
        let event: Value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{e}: {line}"));
        let name = event["server"]["name"].as_str().unwrap().to_owned();
        assert!(events.insert(name, event).is_none());
    }
    assert!(
        !watch.hears(Duration::from_millis(50)),
        "one event a server"
    );
    events
}

const DEST: &str = "Nats-Trace-Dest: traces.x\r\n";

fn login(process: &Process) -> Peer {
    log_in(
        process.addr,
        "\"user\":\"a\",\"pass\":\"p\",\"name\":\"me\"",
    )
}

/// What is told of a message that goes from one server to another.
fn both_tell(dir: &Dir, first: Option<&Path>, second: Option<&Path>) {
    let (one, at, _) = spawn(first, dir, "one", "", &[]);
    let (two, ..) = spawn(second, dir, "two", "", &[at]);
    for watched in [&one, &two] {
        let mut watch = login(watched);
        watch.say("SUB traces.> 1\r\n");
        watch.sync();
        let mut subscriber = login(&two);
        subscriber.say("SUB s.x 1\r\nSUB s.* q 2\r\nSUB ready 3\r\n");
        subscriber.sync();
        let (mut publisher, mut other) = (login(&one), login(&two));
        heard(&mut publisher, "ready");
        heard(&mut publisher, "traces.x");
        heard(&mut other, "traces.x");
        watch.read_to_end(Duration::from_millis(50));
        watch.take_heard();
        subscriber.read_to_end(Duration::from_millis(50));
        subscriber.take_heard();
        for only in [false, true] {
            let lines = match only {
                false => DEST.to_owned(),
                true => format!("{DEST}Nats-Trace-Only: true\r\n"),
            };
            publish(&mut publisher, "s.x", &lines, "hi");
            let told = events(&mut watch, 2);
            let (here, there) = (&told["one"], &told["two"]);
            assert_eq!(here["hops"], 1, "{here}");
            let steps = here["events"].as_array().unwrap();
            assert_eq!(steps.len(), 2, "{here}");
            assert_eq!(
                (&steps[0]["type"], &steps[0]["kind"]),
                (&"in".into(), &0.into())
            );
            let out = &steps[1];
            assert_eq!(
                (&out["type"], &out["kind"], &out["name"], &out["hop"]),
                (&"eg".into(), &1.into(), &"two".into(), &"1".into()),
                "{here}"
            );
            assert!(
                out.get("error").is_none() && out.get("sub").is_none(),
                "{here}"
            );
            assert!(there.get("hops").is_none(), "{there}");
            assert_eq!(
                there["request"]["header"]["Nats-Trace-Hop"][0], "1",
                "{there}"
            );
            let steps = there["events"].as_array().unwrap();
            let came = &steps[0];
            assert_eq!(
                (
                    &came["type"],
                    &came["kind"],
                    &came["name"],
                    &came["acc"],
                    &came["subj"]
                ),
                (
                    &"in".into(),
                    &1.into(),
                    &"one".into(),
                    &"A".into(),
                    &"s.x".into()
                ),
                "{there}"
            );
            let mut subs: Vec<(&str, &str)> = steps[1..]
                .iter()
                .map(|s| {
                    (
                        s["sub"].as_str().unwrap(),
                        s["queue"].as_str().unwrap_or(""),
                    )
                })
                .collect();
            subs.sort_unstable();
            assert_eq!(subs, [("s.*", "q"), ("s.x", "")], "{there}");
            if !only {
                for _ in 0..2 {
                    assert!(subscriber.message().1.ends_with(b"hi"));
                }
            }
        }
        assert!(!subscriber.hears(Duration::from_millis(100)));
    }
}

#[test]
fn each_server_tells_what_becomes_of_a_message_there() {
    let dir = Dir::new("cluster-trace");
    both_tell(&dir, None, None);
}

#[test]
fn servers_of_the_reference_trace_with_this_one() {
    let Some(program) = reference() else { return };
    let version = Command::new(&program).arg("-v").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if ["v2.9.", "v2.10."].iter().any(|old| version.contains(old)) {
        return eprintln!("skipped: {} traces no messages", version.trim());
    }
    let dir = Dir::new("cluster-trace-go");
    both_tell(&dir, Some(&program), None);
    both_tell(&dir, None, Some(&program));
}

#[test]
fn a_message_gets_a_hop_and_servers_that_do_not_trace_are_told_of() {
    let server = node(&[]);
    let mut client = Peer::connect(server.addr());
    client.say("SUB traces.> 1\r\n");
    client.sync();
    // This one says a lower level of the protocol, and gets nothing that is only to be traced.
    let mut old = Route::open(&server, "NOLD");
    old.0.say("RS+ $G s.old\r\n");
    heard(&mut client, "s.old");
    client.take_heard();
    publish(&mut client, "s.old", DEST, "hi");
    let steps = |client: &mut Peer| -> Vec<Value> {
        let (line, body) = client.message();
        let event: Value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{e}: {line}"));
        event["events"].as_array().unwrap().clone()
    };
    let told = steps(&mut client);
    let text = "Message delivered but remote does not support message tracing so no trace event \
                generated from there";
    assert_eq!(
        (&told[1]["error"], &told[1]["hop"]),
        (&text.into(), &"1".into())
    );
    loop {
        let line = old.0.line();
        if line.starts_with("HMSG $G s.old") {
            break;
        }
    }
    let only = format!("{DEST}Nats-Trace-Only: 1\r\n");
    publish(&mut client, "s.old", &only, "hi");
    let told = steps(&mut client);
    let text = "Not delivered because remote does not support message tracing";
    assert_eq!(told[1]["error"], text);
    old.0.say("PING\r\n");
    loop {
        let line = old.0.line();
        assert!(!line.contains("HMSG"), "{line}");
        if line == "PONG" {
            break;
        }
    }
    // From a server, which says how it came: events go on from there, to whoever wants them.
    client.say("SUB in.x 2\r\nUNSUB 1\r\n");
    client.sync();
    old.0.say("RS+ $G traces.y\r\n");
    let headers = "NATS/1.0\r\nNats-Trace-Dest: traces.y\r\nNats-Trace-Hop: 3.1\r\n\r\n";
    let (len, all) = (headers.len(), headers.len() + 2);
    old.0
        .say(format!("HMSG $G in.x {len} {all}\r\n{headers}hi\r\n"));
    client.expect(format!("HMSG in.x 2 {len} {all}\r\n{headers}hi\r\n"));
    loop {
        let line = old.0.line();
        if line.starts_with("RMSG $G traces.y ") {
            break;
        }
    }
    let event: Value = serde_json::from_str(&old.0.line()).unwrap();
    let told = event["events"].as_array().unwrap();
    assert_eq!(
        (&told[0]["kind"], &told[0]["name"]),
        (&1.into(), &"NOLD".into())
    );
    assert_eq!((told.len(), &told[1]["sub"]), (2, &"in.x".into()));
    assert_eq!(event["request"]["header"]["Nats-Trace-Hop"][0], "3.1");
    // It may come to nobody, or only to be traced.
    for subject in ["nobody", "in.x"] {
        let headers = "NATS/1.0\r\nNats-Trace-Dest: traces.y\r\nNats-Trace-Only: on\r\n\r\n";
        let len = headers.len();
        old.0
            .say(format!("HMSG $G {subject} {len} {len}\r\n{headers}\r\n"));
        while !old.0.line().starts_with("RMSG $G traces.y ") {}
        let event: Value = serde_json::from_str(&old.0.line()).unwrap();
        let told = event["events"].as_array().unwrap();
        assert_eq!(told.len(), if subject == "in.x" { 2 } else { 1 });
    }
    client.say("PING\r\n");
    client.expect("PONG\r\n");
}
