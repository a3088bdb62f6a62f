//! What consumers know after the server was started again, by a stop and by a kill: messages that were
//! delivered as often as they may be, and how far they are in the last messages of the subjects.

use crate::support::wire::Wire;
use crate::support::{Dir, Process, eventually};
use serde_json::Value;
use std::time::Duration;

/// A message as a consumer delivered it: its sequence, how often it was delivered, and where it is
/// acknowledged.
type Delivered = (u64, u64, String);

/// Asks for messages until there are `batch` of them or the request has ended.
fn pull(wire: &mut Wire, consumer: &str, batch: usize, terms: &str) -> Vec<Delivered> {
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{consumer}");
    let asked = format!("{{\"batch\":{batch},{terms}}}");
    assert!(wire.publish(&subject, "in.m", &asked));
    let mut found = vec![];
    while found.len() < batch {
        let message = wire.next().expect("the server runs");
        if message.subject == "in.m" && message.headers.starts_with("NATS/1.0 4") {
            break;
        }
        let fields: Vec<&str> = message.reply.split('.').collect();
        let number = |at: usize| fields[at].parse().unwrap();
        found.push((number(5), number(4), message.reply.clone()));
    }
    found
}

fn sequences(delivered: &[Delivered]) -> Vec<u64> {
    delivered.iter().map(|(sequence, ..)| *sequence).collect()
}

/// Acknowledges messages, and waits until the server has heard it.
fn ack(wire: &mut Wire, delivered: &[Delivered]) {
    for (.., reply) in delivered {
        wire.ask(reply, "+ACK");
    }
}

fn consumer(wire: &mut Wire, stream: &str, name: &str, more: &str) {
    let config = format!("\"durable_name\":\"{name}\",\"ack_policy\":\"explicit\"{more}");
    let asked = format!("{{\"stream_name\":\"{stream}\",\"config\":{{{config}}}}}");
    wire.api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &asked);
}

fn messages(wire: &mut Wire, stream: &str) -> Value {
    wire.api(&format!("STREAM.INFO.{stream}"), "")["state"]["messages"].clone()
}

fn again(mut server: Process, signal: i32, begin: impl Fn() -> Process) -> Process {
    server.signal(signal);
    server.wait(Duration::from_secs(20));
    begin()
}

/// What was given up before stays given up, counts as that, and is kept for whoever is done with it
/// after all.
fn given_up(begin: impl Fn() -> Process, signal: i32) {
    let server = begin();
    let mut wire = Wire::connect(server.addr);
    wire.api(
        "STREAM.CREATE.I",
        r#"{"name":"I","subjects":["i"],"retention":"interest"}"#,
    );
    consumer(
        &mut wire,
        "I",
        "A",
        ",\"max_deliver\":2,\"ack_wait\":200000000",
    );
    consumer(&mut wire, "I", "B", "");
    for n in 0..5 {
        wire.ask("i", &format!("{n}"));
    }
    let first = pull(&mut wire, "I.A", 5, "\"expires\":5000000000");
    assert_eq!(sequences(&first), [1, 2, 3, 4, 5]);
    let mut second = pull(&mut wire, "I.A", 5, "\"expires\":5000000000");
    second.sort();
    assert!(second.iter().all(|(_, times, _)| *times == 2), "{second:?}");
    let known = |wire: &mut Wire| {
        let info = wire.api("CONSUMER.INFO.I.A", "");
        let field = |name: &str| info[name].as_u64().unwrap();
        (field("num_ack_pending"), field("num_redelivered"))
    };
    // The reference gives them up when somebody asks for messages.
    eventually("they are given up", || {
        let more = pull(&mut wire, "I.A", 5, "\"expires\":300000000");
        assert_eq!(more, []);
        known(&mut wire) == (0, 5)
    });
    let server = again(server, signal, &begin);
    let mut wire = Wire::connect(server.addr);
    assert_eq!(known(&mut wire), (0, 5));
    let more = pull(&mut wire, "I.A", 5, "\"expires\":600000000");
    assert_eq!(more, []);
    // Nobody else waits for them any more.
    let others = pull(&mut wire, "I.B", 5, "\"expires\":5000000000");
    assert_eq!(sequences(&others), [1, 2, 3, 4, 5]);
    ack(&mut wire, &others);
    assert_eq!(messages(&mut wire, "I"), 5);
    ack(&mut wire, &second[..2]);
    eventually("those are gone", || messages(&mut wire, "I") == 3);
    assert_eq!(known(&mut wire), (0, 3));
    let server = again(server, signal, &begin);
    let mut wire = Wire::connect(server.addr);
    assert_eq!(
        (known(&mut wire), messages(&mut wire, "I")),
        ((0, 3), 3.into())
    );
}

#[test]
fn what_was_given_up_stays_given_up() {
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let dir = Dir::new("js-restart-exhausted");
        let store = dir.path("store");
        given_up(|| Process::start(&["-js", "-sd", &store]), signal);
    }
}

#[test]
fn the_reference_gives_up_the_same() {
    let dir = Dir::new("js-restart-exhausted-go");
    let args = ["-js", "-sd", &dir.path("store")];
    let Some(server) = Process::reference(&args) else {
        return;
    };
    if server.version() < (2, 12) {
        eprintln!("skipped: the reference is too old");
        return;
    }
    drop(server);
    let begin = || Process::reference(&args).expect("it was there");
    given_up(begin, libc::SIGINT);
}

/// Whoever is part of the way through the last messages of the subjects goes on there. (The reference
/// delivers all messages from there on.)
#[test]
fn the_last_messages_of_subjects_go_on_where_they_were() {
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let dir = Dir::new("js-restart-last");
        let store = dir.path("store");
        let begin = || Process::start(&["-js", "-sd", &store]);
        let server = begin();
        let mut wire = Wire::connect(server.addr);
        wire.api("STREAM.CREATE.L", r#"{"name":"L","subjects":["l.*"]}"#);
        for subject in ["a", "b", "c", "c", "a", "d", "b", "d"] {
            wire.ask(&format!("l.{subject}"), "");
        }
        let last = ",\"deliver_policy\":\"last_per_subject\",\"filter_subject\":\"l.>\"";
        consumer(&mut wire, "L", "D", last);
        consumer(&mut wire, "L", "E", last);
        wire.ask("l.a", "");
        let pending = |wire: &mut Wire| wire.api("CONSUMER.INFO.L.D", "")["num_pending"].clone();
        assert_eq!(pending(&mut wire), 5);
        let some = pull(&mut wire, "L.D", 2, "\"expires\":5000000000");
        assert_eq!(sequences(&some), [4, 5]);
        ack(&mut wire, &some);
        let server = again(server, signal, begin);
        let mut wire = Wire::connect(server.addr);
        assert_eq!(pending(&mut wire), 3);
        let rest = pull(&mut wire, "L.D", 10, "\"no_wait\":true");
        assert_eq!(sequences(&rest), [7, 8, 9]);
        ack(&mut wire, &rest);
        wire.ask("l.c", "");
        wire.ask("l.c", "");
        let server = again(server, signal, begin);
        let mut wire = Wire::connect(server.addr);
        let new = pull(&mut wire, "L.D", 10, "\"no_wait\":true");
        assert_eq!(sequences(&new), [10, 11]);
        // One that begins anew gets everything, and goes on with that.
        assert_eq!(wire.api("CONSUMER.RESET.L.E", "")["reset_seq"], 4);
        let server = again(server, signal, begin);
        let mut wire = Wire::connect(server.addr);
        let all = pull(&mut wire, "L.E", 10, "\"no_wait\":true");
        assert_eq!(sequences(&all), [4, 5, 6, 7, 8, 9, 10, 11]);
        drop(server);
    }
}
