//! Message tracing on the running program: over its loops, its accounts and its reloads.

use crate::support::{Dir, Peer, Process, log_in};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::BTreeSet;

const DEST: &str = "Nats-Trace-Dest: traces.x\r\n";
const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

fn config(trace: &str) -> String {
    format!(
        "accounts {{
           A {{ users: [{{user: a, password: a}}], {trace}
                exports: [{{stream: 'tick.*'}}, {{service: svc, allow_trace: true}}] }}
           B {{ users: [{{user: b, password: b}}]
                imports: [{{stream {{account: A, subject: 'tick.*'}}, to: 'b.*', allow_trace: true}}
                          {{service {{account: A, subject: svc}}}}] }}
         }}\n"
    )
}

struct Site {
    server: Process,
    dir: Dir,
}

impl Site {
    fn new(name: &str, trace: &str) -> Site {
        let dir = Dir::new(name);
        let path = dir.write("server.conf", &config(trace));
        let server = Process::start(&["-c", &path, "--loops", "3"]);
        Site { server, dir }
    }

    fn user(&self, name: &str) -> Peer {
        let fields = format!("\"user\":\"{name}\",\"pass\":\"{name}\",\"name\":\"{name}\"");
        log_in(self.server.addr, &fields)
    }

    fn listener(&self, user: &str, subjects: &[&str]) -> Peer {
        let mut peer = self.user(user);
        for (sid, subject) in subjects.iter().enumerate() {
            peer.say(format!("SUB {subject} {sid}\r\n"));
        }
        peer.sync();
        peer
    }
}

fn publish(peer: &mut Peer, subject: &str, lines: &str, body: &str) {
    let headers = format!("NATS/1.0\r\n{lines}\r\n");
    let (headers_len, len) = (headers.len(), headers.len() + body.len());
    peer.say(format!(
        "HPUB {subject} {headers_len} {len}\r\n{headers}{body}\r\n"
    ));
}

fn event(peer: &mut Peer) -> Value {
    let (line, body) = peer.message();
    serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// The steps of an event: their kinds with the account or subject that they are about.
fn steps(event: &Value) -> Vec<String> {
    let step = |step: &Value| {
        let about = ["to", "sub", "subj"]
            .iter()
            .find_map(|key| step[key].as_str());
        format!("{} {}", step["type"].as_str().unwrap(), about.unwrap())
    };
    event["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(step)
        .collect()
}

#[test]
fn one_event_names_the_clients_of_all_loops() {
    let site = Site::new("trace-loops", "");
    let mut watch = site.listener("a", &["traces.>"]);
    let mut listeners: Vec<Peer> = (0..9).map(|_| site.listener("a", &["s.*"])).collect();
    let mut members: Vec<Peer> = (0..6)
        .map(|_| {
            let mut member = site.user("a");
            member.say("SUB s.> q 1\r\n");
            member.sync();
            member
        })
        .collect();
    let mut publisher = site.user("a");
    let mut seqs = BTreeSet::new();
    for round in 0..50 {
        publish(&mut publisher, "s.x", DEST, "hi");
        let event = event(&mut watch);
        let steps = event["events"].as_array().unwrap();
        assert_eq!(steps[0]["type"], "in", "{round}");
        let cids: BTreeSet<u64> = steps[1..]
            .iter()
            .filter_map(|s| s["cid"].as_u64())
            .collect();
        assert_eq!((steps.len(), cids.len()), (11, 10), "{event}");
        let queued = steps[1..].iter().filter(|s| s["queue"] == "q").count();
        assert_eq!(queued, 1, "{event}");
        seqs.insert(event["server"]["seq"].as_u64().unwrap());
    }
    assert_eq!(seqs, (1..=50).collect());
    for listener in &mut listeners {
        for _ in 0..50 {
            assert!(listener.message().0.starts_with("HMSG s.x 0 "));
        }
        listener.sync();
    }
    // With nobody to get it, and for nobody to get.
    publish(&mut publisher, "none", DEST, "");
    assert_eq!(steps(&event(&mut watch)), ["in none"]);
    publish(
        &mut publisher,
        "s.x",
        &format!("{DEST}Nats-Trace-Only: 1\r\n"),
        "",
    );
    assert_eq!(steps(&event(&mut watch)).len(), 11);
    listeners.iter_mut().for_each(Peer::sync);
    // Who is about to go may still be chosen; then it is told of, and of the one in its place.
    members.truncate(3);
    publish(&mut publisher, "s.x", DEST, "hi");
    assert!((11..=12).contains(&steps(&event(&mut watch)).len()));
}

#[test]
fn accounts_are_told_as_far_as_others_allow_it() {
    let site = Site::new("trace-accounts", "");
    let mut a = site.listener("a", &["traces.>", "svc"]);
    let mut b = site.listener("b", &["traces.>", "b.1"]);
    publish(&mut a, "tick.1", DEST, "hi");
    let told = event(&mut a);
    assert_eq!(steps(&told), ["in tick.1", "se b.1", "eg tick.1"]);
    assert_eq!(told["events"][2]["acc"], "B");
    assert!(b.message().0.starts_with("HMSG b.1 1 "));
    publish(&mut b, "svc", DEST, "hi");
    let told = event(&mut b);
    assert_eq!(steps(&told), ["in svc", "si svc", "eg svc"]);
    let (line, body) = a.message();
    assert!(line.starts_with("HMSG svc 1 "), "{line}");
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.contains("Nats-Trace-Dest: trace disabled\r\n"),
        "{body}"
    );
    assert!(!body.contains("traces.x"), "{body}");
}

#[test]
fn the_servers_own_services_are_told_of_as_far_as_one_account_goes() {
    let site = Site::new("trace-services", "");
    let mut a = site.listener("a", &["traces.>", "r"]);
    let subject = "$SYS.REQ.USER.INFO";
    publish(&mut a, &format!("{subject} r"), DEST, "");
    let (mut told, mut answered) = (false, false);
    for _ in 0..2 {
        let (line, body) = a.message();
        if line.starts_with("MSG r 1 ") {
            answered = true;
        } else {
            let event: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                steps(&event),
                [format!("in {subject}"), "si $SYS.REQ.USER.A.INFO".into()]
            );
            told = true;
        }
    }
    assert!(told && answered);
    let only = format!("{DEST}Nats-Trace-Only: true\r\n");
    publish(&mut a, &format!("{subject} r"), &only, "");
    for _ in 0..2 {
        let (line, _) = a.message();
        let refused = line.starts_with("HMSG r 1 ");
        assert!(refused || line.starts_with("MSG traces.x 0 "), "{line}");
    }
    a.sync();
}

#[test]
fn requests_of_operators_are_traced() {
    let text = "accounts { S { users: [{user: a, password: a}] } }, system_account: S\n";
    let dir = Dir::new("trace-operators");
    let path = dir.write("server.conf", text);
    let server = Process::start(&["-c", &path, "--loops", "2"]);
    let mut a = log_in(server.addr, "\"user\":\"a\",\"pass\":\"a\"");
    a.say("SUB traces.> 0\r\nSUB r 1\r\n");
    a.sync();
    let subject = "$SYS.REQ.SERVER.PING.IDZ";
    publish(&mut a, &format!("{subject} r"), DEST, "");
    let mut lines = [a.message().0, a.message().0];
    lines.sort();
    assert!(lines[0].starts_with("MSG r 1 "), "{lines:?}");
    assert!(lines[1].starts_with("MSG traces.x 0 "), "{lines:?}");
    // What is only traced is not answered.
    let only = format!("{DEST}Nats-Trace-Only: true\r\n");
    publish(&mut a, &format!("{subject} r"), &only, "");
    assert_eq!(steps(&event(&mut a)), [format!("in {subject}")]);
    a.sync();
}

#[test]
fn a_reload_decides_whether_traces_of_many_programs_are_followed() {
    let site = Site::new("trace-reload", "");
    let mut watch = site.listener("a", &["own.trace"]);
    let mut publisher = site.user("a");
    let reload = |trace: &str, count: usize| {
        site.dir.write("server.conf", &config(trace));
        site.server.signal(libc::SIGHUP);
        crate::support::eventually("it is reloaded", || {
            let log = site.server.log();
            let told = log
                .iter()
                .filter(|line| line.contains("Reloaded server configuration"));
            told.count() == count
        });
    };
    publish(&mut publisher, "s", PARENT, "");
    publisher.sync();
    reload("msg_trace: {dest: own.trace, sampling: 100},", 1);
    // The loops take it over one after the other.
    crate::support::eventually("a trace is told", || {
        publish(&mut publisher, "s", PARENT, "");
        publisher.sync();
        watch.peek_end(std::time::Duration::from_millis(100)).0
    });
    assert_eq!(steps(&event(&mut watch)), ["in s"]);
    publish(&mut publisher, "s", "Nats-Trace-Dest: own.trace\r\n", "");
    loop {
        let told = event(&mut watch);
        let header = told["request"]["header"].as_object().unwrap();
        assert_eq!(header.len(), 1);
        if header.contains_key("Nats-Trace-Dest") {
            break;
        }
    }
    // The count goes on.
    let last = {
        publish(&mut publisher, "s", PARENT, "");
        event(&mut watch)["server"]["seq"].as_u64().unwrap()
    };
    reload("", 2);
    publish(&mut publisher, "s", "Nats-Trace-Dest: own.trace\r\n", "");
    let next = event(&mut watch)["server"]["seq"].as_u64().unwrap();
    assert_eq!(next, last + 1);
}

#[test]
fn bad_headers_and_floods_of_traces_are_borne() {
    let site = Site::new("trace-floods", "msg_trace: traces.own,");
    let mut listeners: Vec<Peer> = (0..30).map(|_| site.listener("a", &["s"])).collect();
    let mut watch = site.listener("a", &["traces.>"]);
    let mut publisher = site.user("a");
    for lines in [
        format!("{DEST}{}", "a:b\r\n".repeat(150_000)),
        format!("{}{DEST}", "a:b\r\n".repeat(150_000)),
        format!("{DEST}{}: x\r\n", "\u{0}\u{1}\"\\".repeat(10_000)),
        format!("{DEST}x: {}\r\n", "\u{0}\u{1}\"\\".repeat(200_000)),
    ] {
        publish(&mut publisher, "s", &lines, "");
        let told = event(&mut watch);
        assert_eq!(told["events"].as_array().unwrap().len(), 31);
        let shown = told["request"]["header"].to_string().len();
        assert!(shown < 512 << 10, "{shown}");
    }
    for lines in [
        "Nats-Trace-Dest".to_owned(),
        "Nats-Trace-Dest:".to_owned(),
        "Nats-Trace-Dest: ".to_owned() + &"x".repeat(100_000) + ".*\r\n",
        "traceparent: ".to_owned() + &"-".repeat(100_000) + "\r\n",
        "\r\n\r\nNats-Trace-Dest\r\n:\r\n\r\n".to_owned(),
    ] {
        publish(&mut publisher, "none", &lines, "");
        watch.sync();
    }
    publisher.sync();
    let count = 2000;
    for _ in 0..count {
        publish(&mut publisher, "s", DEST, "hi");
    }
    for _ in 0..count {
        assert_eq!(event(&mut watch)["events"].as_array().unwrap().len(), 31);
    }
    publisher.sync();
    drop(listeners.drain(..));
    publish(&mut publisher, "none", PARENT, "");
    assert_eq!(steps(&event(&mut watch)), ["in none"]);
}

#[tokio::test]
async fn an_official_client_traces_a_request() {
    let site = Site::new("trace-official", "");
    let at = site.server.addr.to_string();
    let options = ConnectOptions::with_user_and_password("a".into(), "a".into());
    let client = options.connect(&at).await.unwrap();
    let mut traces = client.subscribe("traces.x").await.unwrap();
    let mut service = client.subscribe("svc").await.unwrap();
    client.flush().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Trace-Dest", "traces.x");
    headers.insert("Accept-Encoding", "br");
    let asking = client.clone();
    let answer = tokio::spawn(async move {
        let body = "question".into();
        asking.request_with_headers("svc", headers, body).await
    });
    let question = service.next().await.unwrap();
    let sent = question.headers.unwrap();
    assert_eq!(sent.get("Nats-Trace-Dest").unwrap().as_str(), "traces.x");
    client
        .publish(question.reply.unwrap(), "answer".into())
        .await
        .unwrap();
    assert_eq!(answer.await.unwrap().unwrap().payload, "answer");
    let told = traces.next().await.unwrap();
    let encoding = told.headers.unwrap();
    assert_eq!(
        encoding.get("Content-Encoding").unwrap().as_str(),
        "identity"
    );
    let told: Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!(steps(&told), ["in svc", "eg svc"]);
}
