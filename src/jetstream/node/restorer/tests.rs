//! Backups that are taken in while the disk is full, or fails, at any call: there is the whole stream
//! then, or nothing of it, and the same backup goes through later.

use super::*;
use crate::proto::frames::Packer;
use crate::store::crypt::Keys;
use crate::store::directory::StoreDir;
use crate::store::disk::Disk;
use crate::store::file::Handles;
use crate::store::stream::StoreOptions;
use crate::store::tests::faulty::{Fault, FaultyDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NOW: (Timestamp, Mono) = (Timestamp(5_000_000_000), Mono::ZERO);
const MESSAGES: u64 = 60;

/// Chunks of a backup with two consumers, one of which is kept in memory.
fn backup() -> Vec<Vec<u8>> {
    let mut raw = MAGIC.to_vec();
    let document = |name: &str, json: &str, raw: &mut Vec<u8>| {
        let entry = Entry {
            name: name.as_bytes(),
            payload: json.as_bytes(),
            ..Entry::default()
        };
        entry.put(raw);
    };
    let state = format!(
        r#"{{"messages":{},"first_seq":3,"last_seq":{},"consumer_count":2}}"#,
        MESSAGES,
        MESSAGES + 5
    );
    document("state.json", &state, &mut raw);
    let consumer = |more: &str| {
        format!(
            r#"{{"config":{{"ack_policy":"explicit"{more}}},
               "state":{{"delivered":{{"consumer_seq":9,"stream_seq":11}},
                         "ack_floor":{{"consumer_seq":9,"stream_seq":11}}}}}}"#
        )
    };
    document("consumers/kept", &consumer(""), &mut raw);
    document(
        "consumers/memory",
        &consumer(r#","mem_storage":true"#),
        &mut raw,
    );
    for n in 0..MESSAGES {
        let payload: Vec<u8> = (0..100u64).map(|i| (i * n % 251) as u8).collect();
        let entry = Entry {
            name: b"a.b",
            timestamp: 1,
            sequence: 3 + n,
            headers: b"",
            payload: &payload,
        };
        entry.put(&mut raw);
    }
    Entry::default().put(&mut raw);
    let mut packer = Packer::default();
    for piece in raw.chunks(2000) {
        packer.raw().extend_from_slice(piece);
        packer.settle();
    }
    packer.finish();
    let all = packer.take(usize::MAX).to_vec();
    all.chunks(all.len() / 4).map(<[u8]>::to_vec).collect()
}

fn place(disk: &FaultyDisk) -> Place {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Place {
        dir: Arc::new(StoreDir::open(disk.clone(), Path::new("/store")).unwrap()),
        disk,
        keys: Keys::none(),
        handles: Arc::new(Handles::new(10)),
    }
}

fn log(place: &Place) -> LogOptions {
    let mut log = LogOptions::new(place.handles.clone());
    log.segment_bytes = 2000;
    log.reserve = Some(place.dir.reserve());
    log
}

fn config() -> StreamConfig {
    StreamConfig {
        name: "S".to_owned(),
        max_msgs: -1,
        max_bytes: -1,
        max_msg_size: -1,
        max_msgs_per_subject: -1,
        max_consumers: -1,
        ..StreamConfig::default()
    }
}

/// Restores the stream; gives it, or why it was not restored.
fn restore(place: &Place) -> Result<Restored, ApiError> {
    let config = config();
    let mut work = Box::new(Restorer::new(Plan {
        meta: Meta::new("A", "S", [1; 16], Vec::new()),
        config,
        created: Time::from_unix_nanos(1),
        place: place.clone(),
        log: log(place),
        bytes_max: u64::MAX,
        consumers_max: 10,
    }));
    for chunk in backup() {
        work = match work.run(&[chunk], false, NOW) {
            Outcome::Goes(work) => work,
            Outcome::Failed(error) => return Err(error),
            Outcome::Filled(_) | Outcome::Done(_) | Outcome::Forgotten => panic!("not the end"),
        };
    }
    let work = match work.run(&[], true, NOW) {
        Outcome::Filled(work) => work,
        Outcome::Failed(error) => return Err(error),
        Outcome::Goes(_) | Outcome::Done(_) | Outcome::Forgotten => panic!("there is no more"),
    };
    let names = work.consumers.iter().map(|saved| &*saved.config.name);
    assert_eq!(names.collect::<Vec<_>>(), ["kept", "memory"]);
    match work.finish() {
        Outcome::Done(restored) => Ok(*restored),
        Outcome::Failed(error) => Err(error),
        Outcome::Goes(_) | Outcome::Filled(_) | Outcome::Forgotten => panic!("nothing is to come"),
    }
}

/// What there is besides the directory of all streams itself and that of the account.
fn remains(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut found = disk.paths();
    found.retain(|path| path.parent() != Some(Path::new("/store")));
    let account = Disk::dirs(disk, Path::new("/store")).unwrap();
    let account = account.iter().map(|name| Path::new("/store").join(name));
    found.extend(account.flat_map(|dir| {
        let below = Disk::dirs(disk, &dir).unwrap();
        below.into_iter().map(move |name| dir.join(name))
    }));
    found
}

/// The stream, with its consumer, as a start finds it.
fn check_whole(disk: &FaultyDisk, what: &str) {
    let place = place(disk);
    let listing = place.dir.streams(&Keys::none()).unwrap();
    assert_eq!(listing.streams.len(), 1, "{what}");
    let found = &listing.streams[0];
    let meta = &found.meta.as_ref().unwrap().meta;
    assert!(!kept::is_unfinished(&meta.config), "{what}");
    let options = StoreOptions {
        log: log(&place),
        limits: crate::jetstream::stream::limits(&config()),
    };
    let disk = place.disk.clone();
    let opened = StreamStore::open(disk, &found.dir, meta.id, &options, None, &mut |_| {});
    let (store, _) = opened.unwrap();
    let state = store.state();
    assert_eq!((state.messages, state.first.0), (MESSAGES, 3), "{what}");
    assert_eq!(state.last.0, MESSAGES + 5, "{what}");
    let consumers: Vec<_> = store.consumers().collect();
    assert_eq!(consumers.len(), 1, "{what}");
    let state = store.consumer_state(consumers[0].0).unwrap();
    assert_eq!(state.ack_floor().stream.0, 11, "{what}");
}

/// Nothing of the stream is of use, neither now nor to a start.
fn check_nothing(disk: &FaultyDisk, what: &str) {
    let place = place(disk);
    let listing = place.dir.streams(&Keys::none()).unwrap();
    for stream in &listing.streams {
        let meta = &stream.meta.as_ref().unwrap().meta;
        assert!(kept::is_unfinished(&meta.config), "{what}");
    }
    assert!(listing.remains.is_empty(), "{what}");
}

#[test]
fn a_disk_that_is_full_keeps_nothing_of_a_restore() {
    let mut failures = 0;
    for calls in 1..2000 {
        let disk = FaultyDisk::new(2 * calls);
        let at = place(&disk);
        disk.plan(calls, Fault::Full);
        let what = format!("full at call {calls}");
        match restore(&at) {
            Ok(restored) => {
                assert_eq!(restored.in_memory.len(), 1);
                break;
            }
            Err(error) => {
                let ApiError::StreamRestore { err } = &error else {
                    panic!("{what}: {error}");
                };
                assert!(err.contains("no space left"), "{what}: {err}");
            }
        }
        failures += 1;
        assert_eq!(remains(&disk), Vec::<PathBuf>::new(), "{what}");
        disk.free();
        drop(restore(&at).map_err(|e| format!("{what}: {e}")).unwrap());
        drop(at);
        disk.restart();
        check_whole(&disk, &what);
    }
    assert!(failures > 50, "{failures}");
}

#[test]
fn a_disk_that_fails_once_keeps_nothing_of_use() {
    let mut failures = 0;
    for calls in 1..2000 {
        let disk = FaultyDisk::new(calls);
        let at = place(&disk);
        disk.plan(calls, Fault::Eio);
        let what = format!("fails at call {calls}");
        match restore(&at) {
            Ok(_) if calls > 500 => break,
            Ok(_) => {
                drop(at);
                disk.restart();
                check_whole(&disk, &what);
                continue;
            }
            Err(error) => assert!(matches!(error, ApiError::StreamRestore { .. }), "{error}"),
        }
        failures += 1;
        drop(at);
        disk.restart();
        check_nothing(&disk, &what);
    }
    assert!(failures > 50, "{failures}");
}

/// The power goes at any call: there is the whole stream, or nothing of use.
#[test]
fn a_crash_keeps_all_of_a_restore_or_nothing() {
    let (mut whole, mut nothing) = (0, 0);
    for calls in 1..600 {
        let disk = FaultyDisk::strict(calls);
        let at = place(&disk);
        disk.plan(calls, Fault::Crash);
        let is_done = restore(&at).is_ok();
        drop(at);
        disk.restart();
        let what = format!("crash at call {calls}");
        let listing = place(&disk).dir.streams(&Keys::none()).unwrap();
        let is_there = listing.streams.iter().any(|stream| {
            let meta = stream.meta.as_ref();
            meta.is_ok_and(|found| !kept::is_unfinished(&found.meta.config))
        });
        assert!(is_there || !is_done, "{what}");
        match is_there {
            true => {
                check_whole(&disk, &what);
                whole += 1;
            }
            false => {
                check_nothing(&disk, &what);
                nothing += 1;
            }
        }
    }
    assert!(whole > 10 && nothing > 50, "{whole} {nothing}");
}
