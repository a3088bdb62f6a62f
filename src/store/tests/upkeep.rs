//! What becomes of segments: erased, compacted and packed ones, on disks that lose power.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::faulty::{Fault, FaultyDisk};
use super::log_faults::{dir, stream};
use crate::base::clock::Mono;
use crate::store::LogError;
use crate::store::consumer::AckPolicy;
use crate::store::disk::Disk;
use crate::store::file::{Compression, Draft, Handles, LogOptions, ReadBuffer, SyncMode};
use crate::store::memory::MemoryDisk;
use crate::store::stream::{Job, Limits, NewMessage, Opened, Purge, StoreOptions, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};

pub(super) fn options(segment_bytes: u32, compression: Compression) -> StoreOptions {
    let mut log = LogOptions::new(Arc::new(Handles::new(4)));
    log.segment_bytes = segment_bytes;
    log.compression = compression;
    let limits = Limits::default();
    StoreOptions { log, limits }
}

pub(super) fn open(disk: &Arc<dyn Disk>, options: &StoreOptions) -> (StreamStore, Opened) {
    let opened = StreamStore::open(disk.clone(), &dir(), stream(), options, None, &mut |_| {});
    opened.unwrap()
}

/// A disk that fails when it is told to, and how a stream is kept there that has one message a subject.
pub(super) fn one_a_subject(
    seed: u64,
    segment_bytes: u32,
) -> (FaultyDisk, Arc<dyn Disk>, StoreOptions) {
    let disk = FaultyDisk::new(seed);
    let mut options = options(segment_bytes, Compression::None);
    options.limits.per_subject = 1;
    (disk.clone(), Arc::new(disk), options)
}

pub(super) fn append(store: &mut StreamStore, subject: &str, payload: &[u8]) -> StreamSeq {
    let message = NewMessage {
        subject: subject.as_bytes(),
        headers: b"NATS/1.0\r\nKey: value\r\n\r\n",
        payload,
        timestamp: Timestamp(1),
        ttl_s: 0,
    };
    store.append(&message).unwrap().0
}

/// Does all there is to do, and says how many times segments were written anew.
fn work(store: &mut StreamStore) -> usize {
    store.commit().unwrap();
    let mut rewritten = 0;
    for second in 1..4 {
        let now = Mono::ZERO + Duration::from_secs(100 * second);
        while let Some(job) = store.poll_job(now) {
            rewritten += usize::from(matches!(job, Job::Rewrite(_)));
            store.handle_done(job.run()).unwrap();
        }
    }
    rewritten
}

fn contains(disk: &dyn Disk, needle: &[u8]) -> bool {
    disk.list(&dir()).unwrap().iter().any(|entry| {
        let path = dir().join(&entry.name);
        let bytes = crate::store::disk::read_file(disk, &path).unwrap().unwrap();
        memchr::memmem::find(&bytes, needle).is_some()
    })
}

pub(super) fn json(n: u64) -> Vec<u8> {
    format!(
        "{{\"id\":{n},\"customer\":\"c-{}\",\"status\":\"{}\",\"amount\":{}.{:02},\
         \"currency\":\"EUR\",\"created\":\"2026-01-{:02}T12:{:02}:07Z\"}}",
        n * 7919 % 5000,
        ["open", "paid", "shipped"][usize::try_from(n % 3).unwrap()],
        n * 31 % 977,
        n % 100,
        n % 28 + 1,
        n % 60,
    )
    .into_bytes()
}

#[test]
fn a_segment_that_is_mostly_dead_is_written_anew() {
    for compression in [Compression::None, Compression::S2] {
        for disk in [
            Arc::new(MemoryDisk::new()) as Arc<dyn Disk>,
            Arc::new(FaultyDisk::new(1)),
        ] {
            let mut options = options(20_000, compression);
            options.limits.per_subject = 1;
            let (mut store, _) = open(&disk, &options);
            // One message of each segment or so stays.
            for n in 0..3000u64 {
                if n.is_multiple_of(100) {
                    append(&mut store, &format!("kept.{n}"), &json(n));
                }
                append(&mut store, &format!("same.{}", n % 10), &json(n));
                store.commit().unwrap();
            }
            let before = store.state();
            let rewritten = work(&mut store);
            let after = store.state();
            assert!(rewritten > 0);
            assert!(
                after.file_bytes * 3 < before.file_bytes,
                "{after:?} {before:?}"
            );
            let same =
                |s: &crate::store::stream::StreamState| (s.messages, s.bytes, s.first, s.last);
            assert_eq!(same(&after), same(&before));
            assert_eq!(work(&mut store), 0, "it comes to an end");
            for reopened in [false, true] {
                if reopened && !disk.is_volatile() {
                    drop(store);
                    let opened;
                    (store, opened) = open(&disk, &options);
                    assert!(opened.log.is_sound() && !opened.rebuilt, "{opened:?}");
                    assert_eq!(same(&store.state()), same(&before));
                }
                let mut buffer = ReadBuffer::default();
                let mut read = 0;
                for sequence in 1..=after.last.0 {
                    match store.read(StreamSeq(sequence), &mut buffer) {
                        Ok(stored) => {
                            let n = stored.record.payload;
                            assert!(n.starts_with(b"{\"id\":"));
                            read += 1;
                        }
                        Err(LogError::Absent) => {}
                        Err(error) => panic!("{sequence}: {error}"),
                    }
                }
                assert_eq!(read, 40);
            }
        }
    }
}

/// A store that is synced once an hour.
fn lazy() -> (Arc<dyn Disk>, StoreOptions) {
    let mut options = options(1 << 20, Compression::None);
    options.log.sync = SyncMode::Interval(Duration::from_secs(3600));
    (Arc::new(FaultyDisk::new(7)), options)
}

#[test]
fn dead_messages_take_little_room_however_seldom_the_disk_is_waited_for() {
    let (disk, mut options) = lazy();
    options.limits.per_subject = 1;
    let (mut store, _) = open(&disk, &options);
    let mut now = Mono::ZERO + Duration::from_secs(3600);
    let mut most = 0;
    for n in 0..60_000u64 {
        append(&mut store, &format!("key.{}", n * 7919 % 1000), &[7; 1000]);
        if n.is_multiple_of(100) {
            store.commit().unwrap();
            now = now + Duration::from_millis(20);
            while let Some(job) = store.poll_job(now) {
                store.handle_done(job.run()).unwrap();
            }
            most = most.max(store.state().file_bytes);
        }
    }
    assert!(most < 32 << 20, "{most} of 60 million bytes");
}

#[test]
fn all_segments_are_synced_when_the_interval_is_over() {
    let (disk, options) = lazy();
    let (mut store, _) = open(&disk, &options);
    let jobs = |store: &mut StreamStore, seconds| {
        let now = Mono::ZERO + Duration::from_secs(seconds);
        std::iter::from_fn(|| {
            let job = store.poll_sync(now)?;
            store.handle_done(job.run()).unwrap();
            Some(())
        })
        .count()
    };
    append(&mut store, "a", b"");
    store.commit().unwrap();
    assert_eq!(jobs(&mut store, 3600), 1);
    for _ in 0..5_000 {
        append(&mut store, "a", &[7; 1000]);
    }
    store.commit().unwrap();
    assert_eq!(jobs(&mut store, 7199), 0);
    assert!(jobs(&mut store, 7200) >= 5);
    assert_eq!(store.log().durable(), store.log().last_index());
}

#[test]
fn json_packs_to_a_third_and_is_read_back() {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(2));
    let options = options(256 << 10, Compression::S2);
    let (mut store, _) = open(&disk, &options);
    for n in 1..=20_000 {
        append(&mut store, "orders.new", &json(n));
        if n % 100 == 0 {
            store.sync().unwrap();
        }
    }
    let before = store.state().file_bytes;
    assert!(work(&mut store) > 10);
    let after = store.state().file_bytes;
    assert!(after * 3 < before, "{after} of {before}");
    drop(store);
    let (mut store, opened) = open(&disk, &options);
    assert!(opened.log.is_sound());
    // What is packed stays so.
    store.set_compression(Compression::None);
    assert_eq!(work(&mut store), 0);
    let mut buffer = ReadBuffer::default();
    for n in 1..=20_000 {
        let stored = store.read(StreamSeq(n), &mut buffer).unwrap();
        assert_eq!(stored.record.payload, json(n));
    }
}

/// In the segment that is appended to, in complete ones and in packed ones; small and large.
#[test]
fn what_is_erased_is_in_no_file() {
    for disk in [
        Arc::new(MemoryDisk::new()) as Arc<dyn Disk>,
        Arc::new(FaultyDisk::new(3)),
    ] {
        for compression in [Compression::None, Compression::S2] {
            for len in [30, 5000, 40_000] {
                let options = options(100_000, compression);
                let (mut store, _) = open(&disk, &options);
                let start = store.state().last.0;
                let needle = |n: u64| format!("secret-{n}-{len}-{compression:?}-");
                for n in 0..30 {
                    let mut payload = needle(n).into_bytes();
                    payload.resize(len, b'x');
                    append(&mut store, "a", &payload);
                    append(&mut store, "b", b"neighbour");
                }
                for done in [false, true] {
                    if done {
                        work(&mut store);
                    }
                    store.commit().unwrap();
                    for n in (0..30).filter(|n| (n % 2 == 0) == done) {
                        let sequence = StreamSeq(start + 1 + 2 * n);
                        assert!(store.erase(sequence).unwrap().is_some());
                        assert_eq!(store.erase(sequence).unwrap(), None);
                    }
                    work(&mut store);
                    assert!(!store.is_erasing(), "{len} {compression:?}");
                }
                for n in 0..30 {
                    let needle = needle(n);
                    assert!(!contains(&*disk, needle.as_bytes()), "{needle} is there");
                }
                assert_eq!(store.count_on(b"a"), 0);
                let mut buffer = ReadBuffer::default();
                for n in 0..30 {
                    let stored = store.read(StreamSeq(start + 2 + 2 * n), &mut buffer);
                    assert_eq!(stored.unwrap().record.payload, b"neighbour");
                }
                store.close().unwrap();
            }
        }
    }
}

/// At each call of the disk from the delete to the end of the work the power goes. What was erased is
/// gone then or will be, it is not lost, and what is around it is there.
#[test]
fn an_erasure_survives_a_crash_at_any_call() {
    let mut calls_max = 0;
    for seed in 0..400 {
        let disk = FaultyDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let compression = [Compression::None, Compression::S2][usize::from(seed % 3 == 0)];
        let options = options(30_000, compression);
        let (mut store, _) = open(&shared, &options);
        // Subjects of any length let checksums and contents fall on any side of a sector's end.
        let subject = format!("s{}", "x".repeat(usize::try_from(seed).unwrap() % 37));
        for _ in 0..3 {
            append(&mut store, &subject, &[b'n'; 700]);
        }
        let len = [100, 1200, 20_000][usize::try_from(seed).unwrap() % 3];
        let mut payload = b"secret-of-all".to_vec();
        payload.resize(len, b's');
        let secret = append(&mut store, &subject, &payload);
        append(&mut store, &subject, &[b'n'; 700]);
        store.sync().unwrap();
        if seed % 5 == 0 {
            store.close().unwrap();
        }
        let order = store.erase(secret).unwrap().unwrap();
        disk.plan(1 + seed % 23, Fault::Crash);
        let mut acked = false;
        if store.commit().is_ok() {
            while let Some(job) = store.poll_job(Mono::ZERO) {
                let _ = store.handle_done(job.run());
                acked |= store.acknowledged() >= order;
                if disk.is_dead() {
                    break;
                }
            }
        }
        calls_max = calls_max.max(if disk.is_dead() { seed % 23 } else { 0 });
        drop(store);
        disk.restart();
        let (mut store, opened) = open(&shared, &options);
        assert!(opened.log.is_sound(), "seed {seed}: {opened:?}");
        let state = store.state();
        assert_eq!((state.lost, state.last), (0, StreamSeq(5)), "seed {seed}");
        let mut buffer = ReadBuffer::default();
        let is_there = store.read(secret, &mut buffer).is_ok();
        assert!(!is_there || !acked, "seed {seed}");
        assert_eq!(store.count_on(subject.as_bytes()), 4 + u64::from(is_there));
        for sequence in [1, 2, 3, 5] {
            let stored = store.read(StreamSeq(sequence), &mut buffer).unwrap();
            assert_eq!(stored.record.payload, [b'n'; 700], "seed {seed}");
        }
        if !is_there {
            work(&mut store);
            assert!(
                !store.is_erasing() && !contains(&*shared, b"secret-of-all"),
                "seed {seed}"
            );
        }
    }
    assert!(calls_max > 10, "jobs have as many calls");
}

/// What a message did when it came is done again, although its contents are gone: the message before it
/// on its subject does not come back.
/// A crash may come when the checkpoint that lets a segment go is on the disk, and leave the segment.
#[test]
fn what_is_erased_goes_with_a_segment_that_a_crash_has_left() {
    let mut left = 0;
    for calls in 1..60 {
        let faulty = FaultyDisk::new(calls);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let options = options(2000, Compression::None);
        let (mut store, _) = open(&disk, &options);
        let secret = [b's'; 40];
        let first = append(&mut store, "a", &secret);
        for _ in 0..100 {
            append(&mut store, "a", &[b'.'; 100]);
        }
        work(&mut store);
        store.erase(first).unwrap().unwrap();
        for n in 2..=80 {
            store.delete(StreamSeq(n)).unwrap().unwrap();
        }
        store.sync().unwrap();
        faulty.plan(calls, Fault::Crash);
        let _ = store.close();
        drop(store);
        faulty.restart();
        let (mut store, opened) = open(&disk, &options);
        assert!(opened.log.is_sound() && store.is_erasing(), "{opened:?}");
        left += usize::from(opened.replayed == 0 && contains(&*disk, &secret));
        work(&mut store);
        assert!(!store.is_erasing() && !contains(&*disk, &secret), "{calls}");
    }
    assert!(left > 0, "a crash came in time");
}

#[test]
fn an_erased_message_does_to_others_what_it_did() {
    let (disk, shared, options) = one_a_subject(5, 30_000);
    let (mut store, _) = open(&shared, &options);
    append(&mut store, "k", b"one");
    let two = append(&mut store, "k", b"two");
    store.erase(two).unwrap();
    work(&mut store);
    assert!(!store.is_erasing());
    drop(store);
    disk.restart();
    let (store, opened) = open(&shared, &options);
    assert_eq!((opened.replayed, store.state().messages), (4, 0));
}

/// A checkpoint of before segments were written anew counts what is not there.
#[test]
fn an_older_checkpoint_than_a_rewriting_is_not_used() {
    let disk = FaultyDisk::new(6);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = options(5000, Compression::None);
    let (mut store, _) = open(&shared, &options);
    for n in 0..100 {
        append(&mut store, "a", &json(n));
    }
    store.close().unwrap();
    let copy = |name: &str| Path::new("/streams/s").join(name);
    let old: Vec<_> = ["checkpoint.a", "checkpoint.b"]
        .into_iter()
        .filter(|name| disk.paths().contains(&copy(name)))
        .map(|name| (copy(name), disk.bytes(&copy(name))))
        .collect();
    for sequence in 2..80 {
        store.delete(StreamSeq(sequence)).unwrap();
    }
    assert!(work(&mut store) > 0);
    drop(store);
    disk.restart();
    for name in ["checkpoint.a", "checkpoint.b"] {
        if disk.paths().contains(&copy(name)) {
            disk.take(&copy(name));
        }
    }
    for (path, bytes) in old {
        disk.put(&path, bytes);
    }
    let (mut store, opened) = open(&shared, &options);
    assert!(opened.rebuilt && opened.log.is_sound(), "{opened:?}");
    let state = store.state();
    assert_eq!((state.messages, state.lost), (22, 0));
    let mut buffer = ReadBuffer::default();
    for n in std::iter::once(1).chain(80..=100) {
        let stored = store.read(StreamSeq(n), &mut buffer).unwrap();
        assert_eq!(stored.record.payload, json(n - 1));
    }
}

/// A message that could not be read when it went was lost for good, and its subject counted it.
#[test]
fn a_read_error_while_a_message_goes_costs_nothing() {
    let disk = FaultyDisk::new(7);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut options = options(5000, Compression::None);
    options.limits.messages = 50;
    let (mut store, _) = open(&shared, &options);
    for n in 0..50 {
        append(&mut store, "old", &json(n));
    }
    work(&mut store);
    let bytes = store.state().bytes;
    disk.plan(1, Fault::Unreadable);
    for n in 0..5 {
        append(&mut store, "new", &json(n));
    }
    disk.free();
    let state = store.state();
    assert_eq!((state.messages, state.lost, state.first.0), (50, 0, 6));
    // It is kept with the state until the disk works again.
    store.close().unwrap();
    drop(store);
    let (mut store, opened) = open(&shared, &options);
    assert_eq!(opened.replayed, 0);
    assert!(store.state().bytes > bytes);
    work(&mut store);
    let state = store.state();
    assert_eq!((state.messages, state.lost), (50, 0));
    assert_eq!(state.bytes, bytes);
    assert_eq!(store.count_on(b"old"), 45);
}

/// The size of a message is known to the one that takes its place, which does not look at it.
#[test]
fn what_is_replaced_is_not_read() {
    let (disk, shared, options) = one_a_subject(1, 20_000);
    let (mut store, _) = open(&shared, &options);
    let subjects: Vec<_> = (0..100).map(|n| format!("key.{n}")).collect();
    let put = |store: &mut StreamStore, len: usize| {
        for subject in &subjects {
            append(store, subject, &vec![7; len]);
        }
        store.sync().unwrap();
    };
    let bytes = |len: usize| {
        let of = |s: &String| (30 + s.len() + 24 + 4 + len) as u64;
        subjects.iter().map(of).sum::<u64>()
    };
    assert_eq!(b"NATS/1.0\r\nKey: value\r\n\r\n".len(), 24);
    let damage = || {
        for name in segments(&*shared) {
            disk.damage(&dir().join(name), |bytes| {
                bytes.iter_mut().skip(256).for_each(|b| *b ^= 1);
            });
        }
    };
    put(&mut store, 300);
    damage();
    put(&mut store, 1);
    let state = store.state();
    assert_eq!((state.messages, state.lost), (100, 0));
    assert_eq!(state.bytes, bytes(1));
    store.close().unwrap();
    drop(store);
    // Who opens the stream knows the sizes from what comes then, and reads what was there before.
    let (mut store, _) = open(&shared, &options);
    put(&mut store, 20);
    assert_eq!(store.state().bytes, bytes(20));
    put(&mut store, 50);
    let state = store.state();
    assert_eq!((state.messages, state.bytes), (100, bytes(50)));
}

/// Where a subject's message was found to be damaged, the next one is the subject's message.
#[test]
fn what_comes_after_a_lost_message_stays() {
    for per_subject in [1, 2] {
        let (disk, shared, mut options) = one_a_subject(1, 20_000);
        options.limits.per_subject = per_subject;
        let (mut store, _) = open(&shared, &options);
        let before = append(&mut store, "a", b"damaged");
        append(&mut store, "b", b"other");
        store.sync().unwrap();
        for name in segments(&*shared) {
            disk.damage(&dir().join(name), |bytes| {
                let at = memchr::memmem::find(bytes, b"damaged").unwrap();
                bytes[at] ^= 1;
            });
        }
        let mut buffer = ReadBuffer::default();
        let read = store.read(before, &mut buffer);
        assert!(matches!(read, Err(LogError::Damaged)));
        assert_eq!((store.state().messages, store.state().lost), (1, 1));
        for n in 1..=per_subject {
            let new = append(&mut store, "a", &json(n));
            assert_eq!(store.state().messages, 1 + n, "{per_subject}");
            let stored = store.read(new, &mut buffer).unwrap();
            assert_eq!(stored.record.payload, json(n));
        }
        assert_eq!(store.count_on(b"a"), per_subject);
        // What a purge keeps is what there is.
        let first = StreamSeq(store.last().0 + 1 - per_subject);
        store.sync().unwrap();
        for name in segments(&*shared) {
            disk.damage(&dir().join(name), |bytes| {
                let at = memchr::memmem::find(bytes, &json(1)).unwrap() + 20;
                bytes[at] ^= 1;
            });
        }
        assert!(store.read(first, &mut buffer).is_err());
        let left = per_subject - 1;
        assert_eq!(store.state().messages, 1 + left);
        let purge = Purge {
            upto: store.last(),
            keep: left,
            filter: b"a".to_vec(),
        };
        store.purge(&purge).unwrap();
        while store.work(100) {}
        assert_eq!(store.state().messages, 1 + left);
    }
}

/// Files of segments, by their numbers.
fn segments(disk: &dyn Disk) -> Vec<String> {
    let entries = disk.list(&dir()).unwrap().into_iter();
    let mut names: Vec<_> = entries
        .map(|e| e.name)
        .filter(|n| n.ends_with(".seg"))
        .collect();
    names.sort();
    names
}

/// A message that cannot be read does not keep the room of those around it that are dead.
#[test]
fn a_segment_with_a_damaged_message_is_written_anew() {
    let disk = FaultyDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = options(20_000, Compression::None);
    let (mut store, _) = open(&shared, &options);
    for n in 1..=300u64 {
        append(&mut store, "a", &json(n));
    }
    store.sync().unwrap();
    let first = dir().join(&segments(&*shared)[0]);
    disk.damage(&first, |bytes| {
        let at = memchr::memmem::find(bytes, &json(5)).unwrap();
        bytes[at] ^= 1;
    });
    // Two stay of the first segment, besides the one that is damaged.
    for n in (1..200).filter(|n| ![4, 5, 6].contains(n)) {
        store.delete(StreamSeq(n)).unwrap();
    }
    assert!(work(&mut store) > 0);
    let told: Vec<_> = store
        .take_damage()
        .iter()
        .map(|d| (d.first.0, d.last.0))
        .collect();
    assert_eq!(told, [(5, 5)]);
    for _ in 0..2 {
        let state = store.state();
        assert_eq!((state.lost, state.first.0, state.last.0), (1, 4, 300));
        let mut buffer = ReadBuffer::default();
        assert!(matches!(
            store.read(StreamSeq(5), &mut buffer),
            Err(LogError::Damaged)
        ));
        for n in [4, 6, 200, 300] {
            let stored = store.read(StreamSeq(n), &mut buffer).unwrap();
            assert_eq!(stored.record.payload, json(n));
        }
        store.close().unwrap();
        drop(store);
        let opened;
        (store, opened) = open(&shared, &options);
        assert!(opened.log.is_sound(), "{opened:?}");
    }
    assert_eq!(work(&mut store), 0, "it comes to an end");
}

/// An order stands behind messages that were left out, and the tables that tell one from the other are
/// damaged: it is no message that goes with them.
#[test]
fn an_order_behind_what_was_left_out_stays_one() {
    let (disk, shared, options) = one_a_subject(1, 20_000);
    let (mut store, _) = open(&shared, &options);
    let fill = |store: &mut StreamStore, segments_there: usize| {
        for n in 0.. {
            append(store, "same", &json(n));
            store.commit().unwrap();
            if segments(&*shared).len() > segments_there {
                return;
            }
        }
    };
    // All of the first segment stay, but for one message whose delete is in the second.
    for n in 0..100u64 {
        append(&mut store, &format!("kept.{n}"), &json(n));
    }
    store.commit().unwrap();
    fill(&mut store, segments(&*shared).len());
    let second = dir().join(segments(&*shared).last().unwrap());
    for n in 0..4u64 {
        append(&mut store, &format!("second.{n}"), &json(50_000 + n));
        append(&mut store, "same", &json(n));
    }
    store.delete(StreamSeq(5)).unwrap();
    fill(&mut store, segments(&*shared).len());
    let base = store.state().last;
    fill(&mut store, segments(&*shared).len());
    assert!(work(&mut store) > 0);
    let read = |path: &Path| crate::store::disk::read_file(&*shared, path);
    assert!(read(&second).unwrap().unwrap().len() < 5000);
    store.close().unwrap();
    drop(store);
    disk.damage(&second, |bytes| {
        let at = bytes.len() - 300;
        bytes[at] ^= 1;
    });
    let (mut store, _) = open(&shared, &options);
    for n in 0..3u64 {
        append(&mut store, &format!("second.{n}"), &json(n));
    }
    fill(&mut store, segments(&*shared).len());
    assert!(work(&mut store) > 0);
    assert!(contains(&*shared, &json(50_003)) && !contains(&*shared, &json(50_002)));
    let state = store.state();
    drop(store);
    for copy in ["checkpoint.a", "checkpoint.b"] {
        let _ = shared.remove(&dir().join(copy));
    }
    let (mut store, opened) = open(&shared, &options);
    assert!(opened.log.is_sound(), "{opened:?}");
    assert!(store.state().last > base);
    assert_eq!(store.state().messages, state.messages);
    let mut buffer = ReadBuffer::default();
    let read = store.read(StreamSeq(5), &mut buffer);
    assert!(matches!(read, Err(LogError::Absent)), "{read:?}");
}

/// What a check finds in a file that was written anew meanwhile is true of neither.
#[test]
fn a_check_during_a_rewriting_finds_no_damage() {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let options = options(20_000, Compression::S2);
    let (mut store, _) = open(&disk, &options);
    for n in 1..=1000u64 {
        append(&mut store, &format!("s.{}", n % 10), &json(n));
    }
    store.sync().unwrap();
    let (mut now, mut jobs) = (Mono::ZERO, 0);
    while let Some(job) = store.poll_job(now) {
        now = now + Duration::from_secs(1);
        let scrub = store.scrub_job(now, 1 << 40);
        let done = job.run();
        // It reads the new file and knows the old one's place.
        let scrubbed = scrub.map(Job::run);
        jobs += usize::from(scrubbed.is_some());
        match jobs % 2 {
            0 => {
                store.handle_done(done).unwrap();
                if let Some(done) = scrubbed {
                    store.handle_done(done).unwrap();
                }
            }
            _ => {
                if let Some(done) = scrubbed {
                    store.handle_done(done).unwrap();
                }
                store.handle_done(done).unwrap();
            }
        }
    }
    assert!(jobs > 2);
    assert_eq!((store.state().lost, store.state().messages), (0, 1000));
    assert_eq!(store.take_damage(), []);
}

/// Many small segments become few, and a crash at any call leaves all that was in them, once.
#[test]
fn small_neighbours_become_one_segment() {
    let mut crashed = 0;
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let compression = [Compression::None, Compression::S2][(seed % 2) as usize];
        let mut options = options(20_000, compression);
        options.limits.per_subject = 1;
        let (mut store, _) = open(&shared, &options);
        for n in 0..3000u64 {
            if n.is_multiple_of(150) {
                append(&mut store, &format!("kept.{n}"), &json(n));
            }
            append(&mut store, &format!("same.{}", n % 10), &json(n));
        }
        store.sync().unwrap();
        let before = segments(&*shared).len();
        if seed > 0 {
            disk.plan(
                1 + seed,
                [Fault::Crash, Fault::Eio][(seed / 2 % 2) as usize],
            );
        }
        for second in 1..4 {
            let now = Mono::ZERO + Duration::from_secs(100 * second);
            while let Some(job) = store.poll_job(now).filter(|_| !disk.is_dead()) {
                let _ = store.handle_done(job.run());
            }
        }
        crashed += u32::from(disk.is_dead());
        drop(store);
        match disk.is_dead() {
            true => disk.restart(),
            false => disk.kill(),
        }
        disk.free();
        let opened;
        (store, opened) = open(&shared, &options);
        assert!(opened.log.is_sound(), "{seed}: {opened:?}");
        work(&mut store);
        let after = segments(&*shared).len();
        assert!(after * 4 < before, "{seed}: {after} of {before}");
        let state = store.state();
        assert_eq!((state.messages, state.lost), (30, 0), "{seed}");
        let mut buffer = ReadBuffer::default();
        let there = (state.first.0..=state.last.0)
            .filter(|n| store.read(StreamSeq(*n), &mut buffer).is_ok());
        assert_eq!(there.count(), 30, "{seed}");
    }
    assert!(crashed > 8, "{crashed}");
}

/// The first segments are gone altogether. What was in them is lost, and told so: where a checkpoint
/// knows of it, where there was none yet, and when the stream is opened once more.
#[test]
fn messages_of_missing_first_segments_are_lost() {
    for with_checkpoint in [false, true] {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        let options = options(20_000, Compression::None);
        let (mut store, _) = open(&disk, &options);
        for n in 1..=300u64 {
            append(&mut store, "a", &json(n));
        }
        for n in [1, 2, 3, 10] {
            store.delete(StreamSeq(n)).unwrap();
        }
        match with_checkpoint {
            true => store.close().unwrap(),
            false => store.sync().unwrap(),
        }
        drop(store);
        for name in &segments(&*disk)[..2] {
            disk.remove(&dir().join(name)).unwrap();
        }
        let (mut store, opened) = open(&disk, &options);
        assert_eq!(opened.log.lost.len(), 1, "{opened:?}");
        let run = opened.log.lost[0];
        assert_eq!((run.first.0, run.after.0), (1, 0));
        let gone = run.before.0 - 1;
        // Without a checkpoint, nobody knows that some of them had been deleted.
        let lost = if with_checkpoint { gone - 4 } else { gone };
        let is_right = |store: &StreamStore| {
            let state = store.state();
            let is = (state.lost, state.messages, state.first.0, state.last.0);
            assert_eq!(is, (lost, 300 - gone, gone + 1, 300));
        };
        is_right(&store);
        assert_eq!(store.count_on(b"a"), 300 - gone);
        store.close().unwrap();
        drop(store);
        let (store, opened) = open(&disk, &options);
        assert!(opened.log.is_sound() && !opened.rebuilt, "{opened:?}");
        is_right(&store);
    }
}

/// The disk never gets to the end of what is appended, and yet there are checkpoints.
#[test]
fn a_steady_load_does_not_put_checkpoints_off() {
    let disk = FaultyDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = options(4 << 20, Compression::None);
    let (mut store, _) = open(&shared, &options);
    let payload = vec![7; 60_000];
    let (mut behind, mut checkpoints) = (vec![], 0);
    for turn in 0..4000 {
        append(&mut store, "a", &payload);
        store.commit().unwrap();
        for job in behind.drain(..) {
            store.handle_done(Job::run(job)).unwrap();
        }
        assert!(store.acknowledged() < store.log().last_index(), "{turn}");
        while let Some(job) = store.poll_job(Mono::ZERO) {
            checkpoints += usize::from(matches!(job, Job::Checkpoint(_)));
            behind.push(job);
        }
    }
    assert!(checkpoints >= 2, "{checkpoints} for 240 MB");
}

#[test]
fn a_copy_is_given_in_parts_while_the_stream_goes_on() {
    for compression in [Compression::None, Compression::S2] {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        let options = options(4000, compression);
        let (mut store, _) = open(&disk, &options);
        for n in 0..300 {
            append(&mut store, "a", &json(n));
        }
        let policy = AckPolicy::Explicit;
        for name in ["one", "two"] {
            store
                .create_consumer(name, b"{}", policy, StreamSeq(0))
                .unwrap();
        }
        store.delete(StreamSeq(7)).unwrap();
        work(&mut store);
        let line = |draft: &Draft<'_>| format!("{draft:?}");
        let mut expected = vec![];
        let mut copy = store.begin_copy().unwrap();
        let more = store.copy_part(&mut copy, usize::MAX, |draft| expected.push(line(draft)));
        assert!(!more.unwrap());
        store.end_copy(copy);
        assert_eq!(expected.len(), 299 + 2);
        let mut copy = store.begin_copy().unwrap();
        let (mut shown, mut parts) = (vec![], 0);
        let before = store.state().file_bytes;
        while store
            .copy_part(&mut copy, 4000, |draft| shown.push(line(draft)))
            .unwrap()
        {
            parts += 1;
            for n in 0..20 {
                append(&mut store, "a", &json(n));
            }
            // What is not shown yet goes, some of it for good.
            store.erase(StreamSeq(300 - parts)).unwrap();
            let purge = Purge {
                upto: StreamSeq(200 + parts),
                ..Purge::default()
            };
            store.purge(&purge).unwrap();
            while store.work(100) {}
            assert_eq!(work(&mut store), 0, "nothing is written anew meanwhile");
        }
        assert!(parts > 10, "{parts}");
        assert!(shown == expected, "{} of {}", shown.len(), expected.len());
        let held = store.state().file_bytes;
        assert!(held > before);
        let mut ended = store.begin_copy().unwrap();
        store.end_copy(copy);
        assert!(store.is_erasing());
        assert_eq!(work(&mut store), 0, "there is another one");
        let again = store.begin_copy().unwrap();
        store.end_copy(std::mem::replace(&mut ended, again));
        store.end_copy(ended);
        append(&mut store, "a", b"more");
        work(&mut store);
        assert!(!store.is_erasing());
        let after = store.state();
        assert!(after.file_bytes < held, "{after:?}");
    }
}
