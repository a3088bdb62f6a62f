//! Files for which there is no room while there is some for all others: metadata, checkpoints, what
//! consumers record, and new directories; and streams for which there is none while they are restored.

use crate::support::disks::{Injection, Mount, files_named, run, start, stop};
use crate::support::wire::Wire;
use crate::support::{Dir, Noise, Process, eventually};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

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

/// A backup: the configuration of the stream, and the chunks.
struct Backup {
    config: Value,
    chunks: Vec<Vec<u8>>,
}

/// Messages in a backup, and their bytes, with which they cannot be compressed.
const SAVED: u64 = 4000;
const SIZE: usize = 2000;

impl Backup {
    /// Of a stream S with a consumer C that has seen 5 messages. It keeps room for itself.
    fn new(name: &str) -> Backup {
        let dir = Dir::new(name);
        let server = start(&dir.path("store"));
        let mut wire = Wire::connect(server.addr);
        let config = r#"{"name":"S","subjects":["s.*"],"max_bytes":100000000}"#;
        wire.api("STREAM.CREATE.S", config);
        let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"none"}}"#;
        wire.api("CONSUMER.DURABLE.CREATE.S.C", consumer);
        let mut noise = Noise(22);
        for _ in 0..SAVED / 100 {
            for n in 0..100 {
                let words = (0..SIZE / 8).map(|_| noise.next().to_le_bytes());
                let payload: Vec<u8> = words.flatten().collect();
                wire.publish(&format!("s.{}", n % 7), "in.p", &payload);
            }
            for _ in 0..100 {
                let answer = wire.next().unwrap().json();
                assert!(answer["error"].is_null(), "{answer}");
            }
        }
        wire.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in.m", "5");
        for _ in 0..5 {
            wire.next().unwrap();
        }
        let asked = r#"{"deliver_subject":"in.chunks"}"#;
        let told = wire.api("STREAM.SNAPSHOT.S", asked);
        let mut chunks = Vec::new();
        loop {
            let message = wire.next().unwrap();
            if message.payload.is_empty() {
                break;
            }
            wire.publish(&message.reply, "", "");
            chunks.push(message.payload);
        }
        let config = told["config"].clone();
        Backup { config, chunks }
    }

    /// Gives the answer to a backup, that to the end of it or one that comes sooner.
    fn restore(&self, wire: &mut Wire) -> Value {
        let asked = json!({"config": self.config, "state": {}}).to_string();
        let told = wire.api("STREAM.RESTORE.S", &asked);
        let deliver = told["deliver_subject"].as_str().unwrap();
        for chunk in self.chunks.iter().chain([&Vec::new()]) {
            let answer = wire.ask(deliver, chunk);
            if !answer.payload.is_empty() {
                return answer.json();
            }
        }
        panic!("there is no answer to the end");
    }

    /// It cannot be restored for want of room, and nothing of it stays.
    fn is_refused(&self, server: &Process, wire: &mut Wire, store: &str) {
        let before = (dirs(store), reserved(server));
        let answer = self.restore(wire);
        assert_eq!(answer["error"]["err_code"], 10062, "{answer}");
        let text = answer["error"]["description"].as_str().unwrap();
        assert!(
            text.starts_with("restore failed: ") && text.contains("space left"),
            "{text}"
        );
        let kind = "io.nats.jetstream.api.v1.stream_create_response";
        assert_eq!(answer["type"], kind, "{answer}");
        assert_eq!((dirs(store), reserved(server)), before);
        is_absent(wire);
        let (status, body) = server.get("/healthz");
        assert_eq!(status, 200, "{body}");
    }

    /// It can be restored, with all that is in it.
    fn is_taken(&self, wire: &mut Wire) {
        let answer = self.restore(wire);
        assert!(answer["error"].is_null(), "{answer}");
        self.is_there(wire);
    }

    fn is_there(&self, wire: &mut Wire) {
        let state = state(wire);
        assert_eq!(
            (&state["messages"], &state["last_seq"]),
            (&json!(SAVED), &json!(SAVED))
        );
        let info = wire.api("CONSUMER.INFO.S.C", "");
        assert_eq!(info["delivered"]["stream_seq"], 5, "{info}");
    }
}

fn is_absent(wire: &mut Wire) {
    let answer = wire.ask("$JS.API.STREAM.INFO.S", "").json();
    assert_eq!(answer["error"]["err_code"], 10059, "{answer}");
}

/// The directories in and below one.
fn dirs(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let below = entries.map(|entry| entry.unwrap().path());
    let mut found = vec![];
    for dir in below.filter(|path| path.is_dir()) {
        found.extend(dirs(&dir));
        found.push(dir);
    }
    found.sort();
    found
}

/// Bytes that are kept for streams.
fn reserved(server: &Process) -> u64 {
    let text = server.get("/jsz").1;
    let told: Value = serde_json::from_str(&text).unwrap();
    told["reserved_storage"].as_u64().unwrap()
}

/// A server whose store is on a disk of this size, which no limit of the options keeps it from filling.
fn start_small(dir: &Dir, at: &str, size: &str) -> Option<(Mount, String)> {
    let mount = Mount::in_memory(size, at)?;
    let config = format!(
        "listen: \"127.0.0.1:-1\", http: \"127.0.0.1:-1\"\n\
         jetstream {{store_dir: \"{at}/store\", max_file_store: 1GB}}\n"
    );
    Some((mount, dir.write("server.conf", &config)))
}

/// B22: the disk is full while chunks come. The reference says that, too, but keeps what had come.
#[test]
fn a_restore_without_room_leaves_nothing() {
    let dir = Dir::new("js-no-room-restore");
    let at = dir.path("mount");
    let Some((_mount, file)) = start_small(&dir, &at, "4m") else {
        return;
    };
    let backup = Backup::new("js-no-room-saved");
    let server = Process::start(&["-c", &file]);
    let mut wire = Wire::connect(server.addr);
    wire.api("STREAM.CREATE.OTHER", r#"{"name":"OTHER"}"#);
    for _ in 0..3 {
        backup.is_refused(&server, &mut wire, &at);
        assert!(wire.ask("OTHER", "x").json()["error"].is_null());
    }
    stop(server, libc::SIGKILL);
    let server = Process::start(&["-c", &file]);
    let mut wire = Wire::connect(server.addr);
    is_absent(&mut wire);
    assert_eq!(reserved(&server), 0);
    backup.is_refused(&server, &mut wire, &at);
    assert!(run("mount", &["-o", "remount,size=64m", &at]));
    backup.is_taken(&mut wire);
    assert!(wire.ask("OTHER", "x").json()["error"].is_null());
    stop(server, libc::SIGKILL);
    let server = Process::start(&["-c", &file]);
    backup.is_there(&mut Wire::connect(server.addr));
    let other = Wire::connect(server.addr).api("STREAM.INFO.OTHER", "");
    assert_eq!(other["state"]["messages"], 4);
}

/// B22: there is no room for one thing or another that a restored stream needs.
#[test]
fn a_restore_without_room_in_one_place_leaves_nothing() {
    let backup = Backup::new("js-no-room-part-saved");
    let dir = Dir::new("js-no-room-part");
    let store = dir.path("store");
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    // Where the files of the stream are going to be, and are while it is made.
    wire.api("STREAM.CREATE.S", &config(""));
    let own = files(&store, &[""]).remove(0);
    let own = own.trim_end_matches('/');
    wire.api("STREAM.DELETE.S", "");
    let of = |name: &str| vec![format!("{own}/{name}")];
    let made = |name: &str| vec![format!("{own}.new/{name}")];
    for paths in [
        vec![format!("{own}.new")],
        made("meta.a.new"),
        made("meta.b.new"),
        of("0000000000000001.seg"),
        // When everything has come.
        of("meta.a.new"),
        of("meta.b.new"),
    ] {
        let Some(full) = without_room(&server, &paths) else {
            return;
        };
        println!("without room for {paths:?}");
        backup.is_refused(&server, &mut wire, &store);
        drop(full);
    }
    let Some(full) = Injection::new(&server, "mkdir:error=ENOSPC") else {
        return;
    };
    backup.is_refused(&server, &mut wire, &store);
    drop(full);
    stop(server, libc::SIGKILL);
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    is_absent(&mut wire);
    backup.is_taken(&mut wire);
    stop(server, libc::SIGKILL);
    let server = start(&store);
    backup.is_there(&mut Wire::connect(server.addr));
}
