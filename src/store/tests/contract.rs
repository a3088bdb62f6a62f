//! What is promised of every disk, and of a stream on it: the same tests, on the file system of this machine
//! and in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::log_faults::stream;
use crate::base::clock::Mono;
use crate::store::LogError;
use crate::store::consumer::{AckPolicy, Event, Millis};
use crate::store::disk::{Disk, OsDisk, read_file};
use crate::store::file::{Compression, Handles, LogOptions, ReadBuffer};
use crate::store::index::Filters;
use crate::store::memory::MemoryDisk;
use crate::store::stream::{
    Found, Limits, NewMessage, Purge, StoreOptions, StreamStore, TTL_NEVER,
};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// Runs a test on every disk, with a directory of its own.
fn on_all(name: &str, test: fn(&Arc<dyn Disk>, &Path)) {
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    test(&memory, Path::new("/m/streams/s"));
    let root = std::env::temp_dir().join(format!("nats-store-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    test(&disk, &root.join("streams/s"));
    std::fs::remove_dir_all(&root).unwrap();
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn files_are_written_read_renamed_and_removed() {
    on_all("files", |disk, dir| {
        assert!(disk.create_dir(dir).unwrap());
        assert!(!disk.create_dir(dir).unwrap());
        let (a, b) = (dir.join("a"), dir.join("b"));
        assert_eq!(kind(disk.open(&a)), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(disk.remove(&a)), Some(io::ErrorKind::NotFound));
        assert_eq!(read_file(&**disk, &a).unwrap(), None);
        let file = disk.create(&a, 100_000).unwrap();
        let map = file.map(100_000).unwrap();
        file.write_at(b"hello", 10).unwrap();
        file.write_at(b"J", 10).unwrap();
        assert_eq!(file.len().unwrap(), 15);
        let mut bytes = [9; 20];
        assert_eq!(file.read_at(&mut bytes, 8).unwrap(), 7, "as far as it goes");
        assert_eq!(bytes[..7], *b"\0\0Jello");
        assert_eq!(file.read_at(&mut bytes, 15).unwrap(), 0);
        if let Some(map) = map {
            assert_eq!(
                map.get(10..15),
                Some(&b"Jello"[..]),
                "it shows what comes later"
            );
        }
        file.sync().unwrap();
        // Whoever has it open keeps it, whatever becomes of its name.
        disk.create(&b, 10).unwrap().write_at(b"other", 0).unwrap();
        disk.rename(&b, &a).unwrap();
        disk.sync_dir(dir).unwrap();
        assert_eq!(file.read_at(&mut bytes, 10).unwrap(), 5);
        assert_eq!(read_file(&**disk, &a).unwrap().unwrap(), b"other");
        let mut names: Vec<_> = disk.list(dir).unwrap().into_iter().collect();
        names.retain(|entry| entry.name != "lock");
        let names: Vec<_> = names.into_iter().map(|e| (e.name, e.len)).collect();
        assert_eq!(names, [("a".to_owned(), 5)]);
        // A new file in the place of another one is empty.
        assert_eq!(disk.create(&a, 10).unwrap().len().unwrap(), 0);
        disk.remove(&a).unwrap();
        assert!(disk.list(dir).unwrap().is_empty());
    });
}

#[test]
fn directories_are_listed_renamed_and_removed_and_locks_are_taken_once() {
    on_all("directories", |disk, dir| {
        let above = dir.parent().unwrap();
        assert!(disk.dirs(above).unwrap().is_empty());
        disk.create_dir(dir).unwrap();
        disk.create(&dir.join("a"), 1).unwrap();
        assert_eq!(disk.dirs(above).unwrap(), ["s"]);
        assert!(disk.remove_dir(dir).is_err(), "there is a file in it");
        let new = above.join("t");
        disk.rename(dir, &new).unwrap();
        disk.sync_dir(above).unwrap();
        assert_eq!(disk.dirs(above).unwrap(), ["t"]);
        disk.open(&new.join("a")).unwrap();
        // Nobody else has a disk in memory.
        if disk.is_volatile() {
            return;
        }
        let lock = new.join("lock");
        let first = disk.lock(&lock).unwrap();
        assert!(first.is_some() && disk.lock(&lock).unwrap().is_none());
        drop(first);
        assert!(disk.lock(&lock).unwrap().is_some());
    });
}

fn open(disk: &Arc<dyn Disk>, dir: &Path, limits: Limits, packs: bool) -> StreamStore {
    let mut log = LogOptions::new(Arc::new(Handles::new(4)));
    log.segment_bytes = 4000;
    if packs {
        log.compression = Compression::S2;
    }
    let options = StoreOptions { log, limits };
    let opened = StreamStore::open(disk.clone(), dir, stream(), &options, None, &mut |_| {});
    let (store, opened) = opened.unwrap();
    assert!(opened.log.is_sound());
    store
}

fn append(store: &mut StreamStore, n: u64, ttl_s: u32) -> (StreamSeq, LogIndex) {
    let subject = format!("s.{}", n % 5);
    let message = NewMessage {
        subject: subject.as_bytes(),
        headers: b"NATS/1.0\r\n\r\n",
        payload: &n.to_le_bytes().repeat(10),
        timestamp: Timestamp(n * 1_000_000_000),
        ttl_s,
    };
    store.append(&message).unwrap()
}

fn work(store: &mut StreamStore) {
    while store.work(10) {}
    store.commit().unwrap();
    for second in 1..4 {
        let now = Mono::ZERO + Duration::from_secs(100 * second);
        while let Some(job) = store.poll_job(now) {
            store.handle_done(job.run()).unwrap();
        }
    }
    assert_eq!(store.acknowledged(), store.log().last_index());
}

fn sequences(store: &mut StreamStore) -> Vec<u64> {
    let (state, mut buffer) = (store.state(), ReadBuffer::default());
    let all = state.first.0..=state.last.0;
    let there = all.filter(|n| store.read(StreamSeq(*n), &mut buffer).is_ok());
    there.collect()
}

#[test]
fn what_is_stored_is_read_by_sequence_by_subject_and_in_a_row() {
    on_all("reading", |disk, dir| {
        let mut store = open(disk, dir, Limits::default(), false);
        for n in 1..=200 {
            assert_eq!(append(&mut store, n, 0), (StreamSeq(n), LogIndex(n)));
        }
        work(&mut store);
        assert_eq!(store.visible(), StreamSeq(200));
        let mut buffer = ReadBuffer::default();
        let stored = store.read(StreamSeq(77), &mut buffer).unwrap();
        assert_eq!(stored.record.payload, 77u64.to_le_bytes().repeat(10));
        let error = store.read(StreamSeq(201), &mut buffer).unwrap_err();
        assert!(matches!(error, LogError::Absent));
        let filters = Filters::new([&b"s.3"[..]]).unwrap();
        let (mut at, mut found) = (StreamSeq(1), vec![]);
        loop {
            let mut budget = 10;
            let next = store.next(&filters, at, StreamSeq(200), &mut budget, &mut buffer);
            match next.unwrap() {
                Found::Message(stored) => {
                    found.push(stored.record.sequence.0);
                    at = stored.record.sequence.next();
                }
                Found::Paused(from) => at = from,
                Found::End => break,
            }
        }
        assert_eq!(found, (1..=200).filter(|n| n % 5 == 3).collect::<Vec<_>>());
        assert_eq!(store.count_on(b"s.3"), 40);
        let last = store.last_on(b"s.3", StreamSeq(100), &mut buffer).unwrap();
        assert_eq!(last.record.sequence, StreamSeq(98));
    });
}

#[test]
fn messages_go_by_orders_limits_and_time_and_stay_gone() {
    on_all("removal", |disk, dir| {
        for packs in [false, true] {
            let dir = dir.join(if packs { "packed" } else { "plain" });
            let limits = Limits {
                messages: 150,
                per_subject: 40,
                age: Duration::from_secs(1000),
                ..Limits::default()
            };
            let mut store = open(disk, &dir, limits, packs);
            for n in 1..=300 {
                append(&mut store, n, [0, 5, TTL_NEVER][(n % 3) as usize]);
            }
            work(&mut store);
            let mut left: Vec<u64> = (151..=300).collect();
            assert_eq!(sequences(&mut store), left);
            assert!(store.delete(StreamSeq(200)).unwrap().is_some());
            assert!(store.delete(StreamSeq(200)).unwrap().is_none());
            assert!(store.erase(StreamSeq(210)).unwrap().is_some());
            let purge = Purge {
                upto: StreamSeq(250),
                keep: 2,
                filter: b"s.1".to_vec(),
            };
            store.purge(&purge).unwrap();
            work(&mut store);
            left.retain(|n| ![200, 210].contains(n) && (*n > 236 || n % 5 != 1));
            assert_eq!(sequences(&mut store), left);
            let now = Timestamp(1_290_000_000_000);
            while store.expire(now).unwrap().more {}
            left.retain(|n| n % 3 == 2 || n % 3 == 0 && *n > 290);
            work(&mut store);
            assert_eq!(sequences(&mut store), left);
            assert!(!store.is_erasing());
            store.close().unwrap();
            drop(store);
            let mut store = open(disk, &dir, limits, packs);
            assert_eq!(sequences(&mut store), left);
            assert_eq!(store.state().messages, left.len() as u64);
        }
    });
}

#[test]
fn limits_that_were_lowered_by_much_remove_messages_in_parts() {
    on_all("lowered", |disk, dir| {
        let mut store = open(disk, dir, Limits::default(), false);
        for n in 1..=6000 {
            append(&mut store, n, 0);
        }
        let limits = Limits {
            messages: 500,
            bytes: 100 * 200,
            per_subject: 600,
            ..Limits::default()
        };
        store.set_limits(&limits).unwrap();
        let mut parts = 0;
        loop {
            let before = store.state().messages;
            // Messages that come meanwhile are stored.
            append(&mut store, 6001 + parts, 0);
            let more = store.work(300);
            let gone = before + 1 - store.state().messages;
            assert!(gone <= 300 + 16, "{gone} in one part");
            parts += 1;
            if !more {
                break;
            }
        }
        assert!(parts >= 15, "{parts}");
        let state = store.state();
        assert!(
            state.bytes <= limits.bytes && state.messages > 100,
            "{state:?}"
        );
        assert_eq!(state.last, StreamSeq(6000 + parts));
        // An order waits for the rest, in parts as well.
        let fewer = Limits {
            messages: 10,
            ..limits
        };
        store.set_limits(&fewer).unwrap();
        store.delete(state.last).unwrap().unwrap();
        while store.work(10) {}
        store.sync().unwrap();
        let kept = sequences(&mut store);
        assert_eq!(kept.len(), 9);
        drop(store);
        if disk.is_volatile() {
            return;
        }
        // There was no checkpoint.
        let mut store = open(disk, dir, Limits::default(), false);
        assert_eq!(sequences(&mut store), kept);
    });
}

#[test]
fn consumers_and_cut_ends_are_kept_as_they_were() {
    on_all("consumers", |disk, dir| {
        let mut store = open(disk, dir, Limits::default(), false);
        let made = store.create_consumer("c", b"{}", AckPolicy::Explicit, StreamSeq(0));
        let (id, _) = made.unwrap();
        for n in 1..=100 {
            append(&mut store, n, 0);
            let (at, deadline) = (Millis::new(n), Millis::new(n + 10));
            let stream = StreamSeq(n);
            let event = Event::Delivered {
                stream,
                at,
                deadline,
            };
            store.record(id, event).unwrap();
            if n % 2 == 0 {
                store.record(id, Event::Acked { stream }).unwrap();
            }
            store.append_events().unwrap();
        }
        work(&mut store);
        let before = format!("{:?}", store.consumer_state(id).unwrap());
        store.close().unwrap();
        drop(store);
        let store = open(disk, dir, Limits::default(), false);
        assert_eq!(format!("{:?}", store.consumer_state(id).unwrap()), before);
        assert_eq!(store.consumer_state(id).unwrap().pending().len(), 50);
        drop(store);

        let dir: PathBuf = dir.join("group");
        let options = StoreOptions {
            log: LogOptions::new(Arc::new(Handles::new(4))),
            limits: Limits::default(),
        };
        let opened = |commit| {
            let place = (disk.clone(), &*dir);
            let opened =
                StreamStore::open_replica(place, stream(), &options, None, commit, &mut |_| {});
            opened.unwrap().0
        };
        let mut store = opened(LogIndex(0));
        for n in 1..=20 {
            append(&mut store, n, 0);
        }
        store.apply_upto(LogIndex(10), 100).unwrap();
        store.sync().unwrap();
        store.truncate_after(LogIndex(15)).unwrap();
        assert!(matches!(
            store.truncate_after(LogIndex(9)),
            Err(LogError::Applied)
        ));
        drop(store);
        let mut store = opened(LogIndex(12));
        assert_eq!((store.log().last_index().0, store.applied().0), (15, 12));
        assert_eq!(sequences(&mut store), (1..=12).collect::<Vec<_>>());
    });
}
