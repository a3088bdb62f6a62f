//! Records of which all count or none, and what is done at a time.

use std::path::PathBuf;
use std::sync::Arc;

use super::faulty::FaultyDisk;
use super::log_faults::{dir, stream};
use crate::store::LogError;
use crate::store::disk::Disk;
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::stream::{
    Limits, Marker, NewMessage, Opened, Purge, Step, StoreOptions, StreamStore,
};
use crate::store::types::{StreamSeq, Timestamp};

fn open(disk: &Arc<FaultyDisk>, segment_bytes: u32) -> (StreamStore, Opened) {
    let mut log = LogOptions::new(Arc::new(Handles::new(4)));
    log.segment_bytes = segment_bytes;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let disk: Arc<dyn Disk> = disk.clone();
    StreamStore::open(disk, &dir(), stream(), &options, None, &mut |_| {}).unwrap()
}

fn message<'a>(subject: &'a str, payload: &'a [u8], time: u64) -> NewMessage<'a> {
    NewMessage {
        subject: subject.as_bytes(),
        headers: b"",
        payload,
        timestamp: Timestamp(time),
        ttl_s: 0,
    }
}

fn subjects(store: &mut StreamStore) -> Vec<String> {
    let mut buffer = ReadBuffer::default();
    let last = store.state().last.0;
    (1..=last)
        .filter_map(|sequence| {
            let stored = store.read(StreamSeq(sequence), &mut buffer).ok()?;
            Some(String::from_utf8(stored.record.subject.to_vec()).unwrap())
        })
        .collect()
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "seg");
    disk.paths().into_iter().filter(is_segment).collect()
}

#[test]
fn a_group_is_there_as_a_whole_or_not_at_all_wherever_the_log_ends() {
    let disk = Arc::new(FaultyDisk::new(1));
    let (mut store, _) = open(&disk, 1 << 20);
    for subject in ["a", "b"] {
        store.append(&message(subject, b"1", 1)).unwrap();
    }
    store.sync().unwrap();
    let path = segments(&disk).pop().unwrap();
    let before = disk.bytes(&path);
    let purge = Purge {
        upto: StreamSeq(2),
        keep: 0,
        filter: b"a".to_vec(),
    };
    let steps = [
        Step::Message(message("c", b"first", 2)),
        Step::Message(message("c", b"second", 2)),
        Step::Delete(vec![StreamSeq(2)]),
        Step::Timer(StreamSeq(4), Some(Timestamp(9))),
        Step::Skip,
        Step::Purge(purge),
        Step::Message(message("d", b"last", 2)),
    ];
    store.append_group(&steps).unwrap();
    while store.work(100) {}
    assert_eq!(subjects(&mut store), ["c", "c", "d"]);
    assert_eq!(
        store.due_timers(Timestamp(9), 5),
        [(StreamSeq(4), Timestamp(9))]
    );
    store.commit().unwrap();
    let full = disk.bytes(&path);
    drop(store);
    let same = before.iter().zip(&full).take_while(|(a, b)| a == b).count();
    let end = full.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut none, mut all) = (0, 0);
    for cut in (same..=end).step_by(3).chain([end]) {
        let mut image = full.clone();
        image[cut..].fill(0);
        disk.put(&path, image);
        let (mut store, opened) = open(&disk, 1 << 20);
        assert!(opened.log.is_sound(), "{opened:?}");
        let found = subjects(&mut store);
        match store.due_timers(Timestamp(9), 5).len() {
            0 => {
                assert_eq!(found, ["a", "b"], "{cut} of {end}");
                none += 1;
            }
            _ => {
                assert_eq!(found, ["c", "c", "d"], "{cut} of {end}");
                all += 1;
            }
        }
        // What comes behind is not taken for the rest of it, now or after another start.
        store.append(&message("e", b"behind", 3)).unwrap();
        store.append_group(&steps[..2]).unwrap();
        store.sync().unwrap();
        let want = [&found[..], &["e".into(), "c".into(), "c".into()]].concat();
        assert_eq!(subjects(&mut store), want);
        drop(store);
        let (mut store, _) = open(&disk, 1 << 20);
        assert_eq!(subjects(&mut store), want, "{cut} of {end}");
        drop(store);
        for path in disk.paths() {
            let is_other = path.extension().is_none_or(|e| e != "seg") && !path.ends_with("lock");
            if is_other {
                disk.take(&path);
            }
        }
    }
    assert!(none > 10 && all >= 1, "{none} {all}");
}

#[test]
fn a_group_for_which_there_is_no_room_leaves_nothing() {
    let disk = Arc::new(FaultyDisk::new(2));
    let (mut store, _) = open(&disk, 1 << 20);
    store.append(&message("a", b"1", 1)).unwrap();
    let long = "x".repeat(70_000);
    let steps = [
        Step::Message(message("b", b"", 2)),
        Step::Message(message(&long, b"", 2)),
    ];
    let refused = store.append_group(&steps);
    assert!(
        matches!(refused, Err(LogError::TooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(subjects(&mut store), ["a"]);
    store.append(&message("c", b"3", 3)).unwrap();
    assert_eq!(
        store.state().last,
        StreamSeq(3),
        "the second one is used up"
    );
    store.sync().unwrap();
    assert_eq!(subjects(&mut store), ["a", "c"]);
    drop(store);
    let (mut store, _) = open(&disk, 1 << 20);
    assert_eq!(subjects(&mut store), ["a", "c"]);
}

#[test]
fn half_a_group_is_never_seen() {
    let disk = Arc::new(FaultyDisk::new(3));
    // Each message is in a segment of its own, and each has its own sync.
    let (mut store, _) = open(&disk, 4096);
    let payload = [b'p'; 3000];
    store.append(&message("a", &payload, 1)).unwrap();
    store.sync().unwrap();
    assert_eq!(store.visible(), StreamSeq(1));
    let steps = ["b", "c", "d"].map(|subject| Step::Message(message(subject, &payload, 2)));
    store.append_group(&steps).unwrap();
    store.commit().unwrap();
    let mut seen = vec![store.visible().0];
    let now = crate::base::clock::Mono::ZERO;
    while let Some(job) = store.poll_job(now) {
        store.handle_done(job.run()).unwrap();
        seen.push(store.visible().0);
    }
    seen.dedup();
    assert_eq!(seen, [1, 4]);
}

#[test]
fn timers_survive_until_their_message_goes() {
    let disk = Arc::new(FaultyDisk::new(4));
    let (mut store, _) = open(&disk, 1 << 20);
    for (n, subject) in ["a", "b", "c"].into_iter().enumerate() {
        let sequence = StreamSeq(n as u64 + 1);
        let at = Timestamp(10 * (3 - n as u64));
        let steps = [
            Step::Message(message(subject, b"", 1)),
            Step::Timer(sequence, Some(at)),
        ];
        store.append_group(&steps).unwrap();
    }
    assert_eq!(store.next_timer(), Some(Timestamp(10)));
    let due = |store: &StreamStore| {
        let due = store.due_timers(Timestamp(25), 10);
        due.into_iter()
            .map(|(s, at)| (s.0, at.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(due(&store), [(3, 10), (2, 20)]);
    store.delete(StreamSeq(3)).unwrap();
    assert_eq!(due(&store), [(2, 20)]);
    store
        .append_group(&[Step::Timer(StreamSeq(2), Some(Timestamp(99)))])
        .unwrap();
    assert!(due(&store).is_empty() && store.has_timer(StreamSeq(2)));
    store.sync().unwrap();
    drop(store);
    // From the log, and then from a checkpoint.
    for closes in [true, false] {
        let (mut store, opened) = open(&disk, 1 << 20);
        assert_eq!(opened.replayed > 0, closes);
        assert_eq!(store.next_timer(), Some(Timestamp(30)));
        assert!(store.has_timer(StreamSeq(2)) && !store.has_timer(StreamSeq(3)));
        if closes {
            store.close().unwrap();
        }
    }
    let (mut store, _) = open(&disk, 1 << 20);
    store
        .append_group(&[Step::Timer(StreamSeq(1), None)])
        .unwrap();
    assert_eq!(store.next_timer(), Some(Timestamp(99)));
    let upto = store.state().last;
    store
        .purge(&Purge {
            upto,
            ..Purge::default()
        })
        .unwrap();
    assert_eq!(store.next_timer(), None);
}

#[test]
fn the_last_message_of_a_subject_that_expires_leaves_a_marker() {
    let disk = Arc::new(FaultyDisk::new(5));
    let (mut store, _) = open(&disk, 1 << 20);
    for (subject, ttl_s, headers) in [
        ("a", 1, ""),
        ("a", 1, ""),
        ("b", 1, ""),
        ("b", 9, ""),
        ("c", 1, "NATS/1.0\r\nMark: 1\r\n\r\n"),
    ] {
        let new = NewMessage {
            headers: headers.as_bytes(),
            ttl_s,
            ..message(subject, b"", 1)
        };
        store.append(&new).unwrap();
    }
    let marker = Marker {
        headers: b"NATS/1.0\r\nMark: 1\r\n\r\n",
        ttl_s: 2,
        is_for: &|_, headers| headers.is_empty(),
    };
    let now = Timestamp(2_000_000_000);
    let expired = store.expire_marking(now, Some(&marker)).unwrap();
    assert_eq!(expired.messages, [1, 2, 3, 5].map(StreamSeq));
    // `b` has a message left, and what goes of `c` is a marker itself.
    assert_eq!(subjects(&mut store), ["b", "a"]);
    store.sync().unwrap();
    drop(store);
    let (mut store, _) = open(&disk, 1 << 20);
    assert_eq!(subjects(&mut store), ["b", "a"]);
    let later = Timestamp(5_000_000_000);
    store.expire_marking(later, Some(&marker)).unwrap();
    assert_eq!(subjects(&mut store), ["b"]);
}
