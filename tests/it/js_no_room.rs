//! Files for which there is no room while there is some for all others: metadata, checkpoints, what
//! consumers record, and new directories.

use crate::support::disks::{Injection, files_named, start, stop};
use crate::support::wire::Wire;
use crate::support::{Dir, Process, eventually};
use serde_json::Value;
use std::path::Path;

/// Calls that need room.
const WRITES: &str = "openat,pwrite64,ftruncate,mkdir:error=ENOSPC";

fn config(description: &str) -> String {
    format!(
        "{{\"name\":\"S\",\"subjects\":[\"s.*\"],\"allow_direct\":true,\
         \"max_msgs_per_subject\":50,\"description\":\"{description}\"}}"
    )
}

/// Publishes, all at once, and gives the last sequence.
fn publish(wire: &mut Wire, many: u64) -> u64 {
    for n in 0..many {
        wire.publish(&format!("s.{}", n % 7), "in.p", &format!("message {n}"));
    }
    let mut last = 0;
    for _ in 0..many {
        let answer = wire.next().expect("the server runs").json();
        assert!(answer["error"].is_null(), "{answer}");
        last = answer["seq"].as_u64().unwrap();
    }
    last
}

fn state(wire: &mut Wire) -> Value {
    wire.api("STREAM.INFO.S", "")["state"].clone()
}

/// The stream's directory, and these files in it, which need not be there.
fn files(store: &str, names: &[&str]) -> Vec<String> {
    let meta = files_named(Path::new(store), "meta.a");
    let dir = Path::new(&meta[0]).parent().unwrap();
    let paths = names.iter().map(|name| dir.join(name));
    paths
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

fn without_room(server: &Process, paths: &[String]) -> Option<Injection> {
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    Injection::on(server, WRITES, &paths)
}

/// A change of a stream is refused, and it is as before, and goes on.
#[test]
fn a_change_without_room_for_metadata_is_refused() {
    let dir = Dir::new("js-no-room-meta");
    let store = dir.path("store");
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    wire.api("STREAM.CREATE.S", &config("old"));
    publish(&mut wire, 100);
    let Some(full) = without_room(&server, &files(&store, &["meta.a.new", "meta.b.new"])) else {
        return;
    };
    let answer = wire.ask("$JS.API.STREAM.UPDATE.S", &config("new")).json();
    assert_eq!(answer["error"]["code"], 500, "{answer}");
    assert!(
        answer["error"]["description"]
            .as_str()
            .unwrap()
            .contains("space"),
        "{answer}"
    );
    let description =
        |wire: &mut Wire| wire.api("STREAM.INFO.S", "")["config"]["description"].clone();
    assert_eq!(description(&mut wire), "old");
    assert_eq!(publish(&mut wire, 100), 200);
    drop(full);
    wire.api("STREAM.UPDATE.S", &config("newer"));
    stop(server, libc::SIGKILL);
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    assert_eq!(description(&mut wire), "newer");
    assert_eq!(state(&mut wire)["last_seq"], 200);
}

/// Checkpoints only spare a start some work.
#[test]
fn a_stream_does_without_room_for_checkpoints() {
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let dir = Dir::new("js-no-room-checkpoint");
        let store = dir.path("store");
        let server = start(&store);
        let mut wire = Wire::connect(server.addr);
        wire.api("STREAM.CREATE.S", &config(""));
        let Some(full) = without_room(&server, &files(&store, &["checkpoint.a", "checkpoint.b"]))
        else {
            return;
        };
        for _ in 0..10 {
            publish(&mut wire, 500);
        }
        wire.api("STREAM.PURGE.S", "{\"filter\":\"s.1\"}");
        wire.api("STREAM.MSG.DELETE.S", "{\"seq\":4990}");
        assert_eq!(server.get("/healthz").0, 200);
        let before = state(&mut wire);
        assert_eq!(before["messages"], 299);
        stop(server, signal);
        drop(full);
        let server = start(&store);
        let mut wire = Wire::connect(server.addr);
        assert_eq!(state(&mut wire), before);
        assert_eq!(publish(&mut wire, 100), 5100);
        stop(server, libc::SIGINT);
    }
}

/// An acknowledgement that cannot be kept is not confirmed, and the message comes again.
#[test]
fn an_acknowledgement_without_room_is_not_confirmed() {
    let dir = Dir::new("js-no-room-ack");
    let store = dir.path("store");
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    wire.api("STREAM.CREATE.S", &config(""));
    let consumer = "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\
         \"ack_policy\":\"explicit\",\"ack_wait\":500000000}}";
    wire.api("CONSUMER.DURABLE.CREATE.S.C", consumer);
    publish(&mut wire, 10);
    let pull = |wire: &mut Wire| {
        wire.publish(
            "$JS.API.CONSUMER.MSG.NEXT.S.C",
            "in.m",
            "{\"expires\":5000000000}",
        );
        wire.next().unwrap()
    };
    let first = pull(&mut wire);
    wire.ask(&first.reply, "+ACK");
    let second = pull(&mut wire);
    let segments = files_named(Path::new(&store), "0000000000000001.seg");
    let Some(full) = without_room(&server, &segments) else {
        return;
    };
    wire.publish(&second.reply, "in.confirmed", "+ACK");
    let unwell = || server.get("/healthz").0 == 503;
    eventually("the stream is unwell", unwell);
    drop(full);
    eventually("the server is well", || server.get("/healthz").0 == 200);
    // Whatever was said by then, no confirmation.
    wire.publish("in.last", "", "");
    loop {
        let message = wire.next().unwrap();
        assert_ne!(message.subject, "in.confirmed");
        if message.subject == "in.last" {
            break;
        }
    }
    // It comes again when its time is over; others come before.
    let again = (0..9).map(|_| pull(&mut wire));
    let again = again.filter(|message| message.payload == second.payload);
    let again = again.last().expect("it comes again");
    wire.ask(&again.reply, "+ACK");
    stop(server, libc::SIGKILL);
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    let info = wire.api("CONSUMER.INFO.S.C", "");
    assert_eq!(info["ack_floor"]["stream_seq"], 2, "{info}");
}

/// A stream that cannot be made is not there, and can be made later.
#[test]
fn a_stream_without_room_for_its_directory_is_not_made() {
    let dir = Dir::new("js-no-room-create");
    let store = dir.path("store");
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    wire.api("STREAM.CREATE.OTHER", "{\"name\":\"OTHER\"}");
    let Some(full) = Injection::new(&server, "mkdir:error=ENOSPC") else {
        return;
    };
    let answer = wire.ask("$JS.API.STREAM.CREATE.S", &config("")).json();
    assert_eq!(answer["error"]["err_code"], 10047, "{answer}");
    let answer = wire.ask("$JS.API.STREAM.INFO.S", "").json();
    assert_eq!(answer["error"]["err_code"], 10059, "{answer}");
    assert!(wire.ask("OTHER", "x").json()["error"].is_null());
    drop(full);
    wire.api("STREAM.CREATE.S", &config(""));
    publish(&mut wire, 10);
    stop(server, libc::SIGKILL);
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    assert_eq!(state(&mut wire)["messages"], 10);
    assert_eq!(server.get("/healthz").0, 200);
}
