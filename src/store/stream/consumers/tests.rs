use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::store::consumer::{Millis, Position};
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::stream::{Limits, NewMessage, Opened, Purge, StoreOptions};
use crate::store::tests::faulty::{Fault, FaultyDisk};
use crate::store::types::{StreamId, Timestamp};

const DIR: &str = "/streams/s";

fn open(disk: &FaultyDisk) -> (StreamStore, Opened) {
    open_with(disk, 1500)
}

fn open_with(disk: &FaultyDisk, segment_bytes: u32) -> (StreamStore, Opened) {
    let mut log = LogOptions::new(Arc::new(Handles::new(2)));
    log.segment_bytes = segment_bytes;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let id = StreamId::new("A", "S", [1; 16]);
    let disk = Arc::new(disk.clone());
    StreamStore::open(disk, Path::new(DIR), id, &options, None, &mut |_| {}).unwrap()
}

fn segments(disk: &FaultyDisk) -> Vec<std::path::PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    paths
}

fn publish(store: &mut StreamStore, many: usize) {
    for _ in 0..many {
        let message = NewMessage {
            subject: b"a",
            headers: b"",
            payload: &[7; 50],
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        store.append(&message).unwrap();
    }
}

fn delivered(stream: u64) -> Event {
    Event::Delivered {
        stream: StreamSeq(stream),
        at: Millis::new(1_700_000_000_000 + stream),
        deadline: Millis::new(1_700_000_030_000 + stream),
    }
}

fn acked(stream: u64) -> Event {
    let stream = StreamSeq(stream);
    Event::Acked { stream }
}

fn explicit(store: &mut StreamStore, name: &str) -> ConsumerId {
    let config = format!("{{\"name\":\"{name}\"}}");
    let created = store.create_consumer(name, config.as_bytes(), AckPolicy::Explicit, StreamSeq(0));
    created.unwrap().0
}

fn record(store: &mut StreamStore, id: ConsumerId, event: Event) {
    assert_eq!(store.record(id, event), Ok(Outcome::Changed));
}

/// A consumer's state, save which record it comes from.
fn state(store: &StreamStore, id: ConsumerId) -> (Position, Position, Vec<u64>) {
    let state = store.consumer_state(id).unwrap();
    state.check_invariants();
    let waiting = state.pending().iter().map(|m| m.stream.0).collect();
    (state.delivered(), state.ack_floor(), waiting)
}

#[test]
fn consumers_are_there_when_the_stream_is_opened_again() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    publish(&mut store, 30);
    let (a, b, c) = (
        explicit(&mut store, "a"),
        explicit(&mut store, "b"),
        explicit(&mut store, "c"),
    );
    for stream in 1..=10 {
        record(&mut store, a, delivered(stream));
        record(&mut store, b, delivered(2 * stream));
    }
    record(&mut store, a, acked(1));
    record(&mut store, a, acked(3));
    assert_eq!(store.record(a, acked(3)), Ok(Outcome::Nothing));
    store.update_consumer(b, b"other").unwrap().unwrap();
    store.delete_consumer(c).unwrap().unwrap();
    assert_eq!(store.delete_consumer(c).unwrap(), None);
    let before = (state(&store, a), state(&store, b));
    let index = store.append_events().unwrap();
    assert_eq!(index, store.log().last_index(), "all in one record");
    store.sync().unwrap();
    assert!(store.acknowledged() >= index);
    drop(store);
    for closed in [false, true, true] {
        disk.kill();
        disk.restart();
        let (mut store, opened) = open(&disk);
        assert_eq!(opened.consumers, ConsumerDamage::default());
        assert_eq!((state(&store, a), state(&store, b)), before);
        let known: Vec<_> = store.consumers().map(|(id, c)| (id, c.name())).collect();
        assert_eq!(known, [(a, "a"), (b, "b")]);
        assert_eq!(store.consumer(b).unwrap().config(), b"other");
        assert!(store.append_events().unwrap() <= store.acknowledged());
        if closed {
            assert_eq!(opened.replayed, 0);
        }
        store.close().unwrap();
    }
    // An id is not used again.
    let (mut store, _) = open(&disk);
    let d = explicit(&mut store, "d");
    assert!(d > c && d.is_recorded());
}

#[test]
fn a_consumer_in_memory_leaves_nothing() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    publish(&mut store, 3);
    let id = store.create_unrecorded_consumer("m", b"{}", AckPolicy::All, StreamSeq(0));
    assert!(!id.is_recorded());
    let last = store.log().last_index();
    record(&mut store, id, delivered(1));
    store.append_events().unwrap();
    assert_eq!(store.update_consumer(id, b"x").unwrap(), Some(LogIndex(0)));
    assert_eq!(store.consumer(id).unwrap().config(), b"x");
    assert_eq!(store.log().last_index(), last);
    store.close().unwrap();
    drop(store);
    let (mut store, _) = open(&disk);
    assert_eq!(store.consumer_count(), 0);
    assert_eq!(store.record(id, delivered(2)), Err(Conflict));
    let other = store.create_unrecorded_consumer("m", b"{}", AckPolicy::All, StreamSeq(0));
    assert_eq!(store.delete_consumer(other).unwrap(), Some(LogIndex(0)));
    assert_eq!(store.consumer_count(), 0);
}

/// A checkpoint has events that no record has. They must not happen again when the records are
/// replayed on top of it, nor be missed by those on top of the one before.
#[test]
fn a_checkpoint_amid_events_counts_them_once() {
    for fault in [None, Some(2)] {
        let disk = FaultyDisk::new(1);
        let (mut store, _) = open(&disk);
        publish(&mut store, 30);
        let id = explicit(&mut store, "a");
        record(&mut store, id, delivered(1));
        store.close().unwrap();
        publish(&mut store, 1);
        store.sync().unwrap();
        record(&mut store, id, delivered(2));
        record(&mut store, id, acked(1));
        let job = store.checkpoint_job().unwrap();
        if let Some(call) = fault {
            disk.plan(call, Fault::Eio);
        }
        let done = store.handle_done(job.run());
        assert_eq!(done.is_err(), fault.is_some());
        record(&mut store, id, delivered(3));
        let before = state(&store, id);
        store.append_events().unwrap();
        store.sync().unwrap();
        drop(store);
        disk.restart();
        let (store, opened) = open(&disk);
        assert_eq!(opened.consumers, ConsumerDamage::default());
        assert_eq!(state(&store, id), before);
    }
}

/// Records of a consumer that came while a checkpoint was written have no message behind the
/// first one of that checkpoint, and are not in it.
#[test]
fn segments_that_a_checkpoint_does_not_know_stay() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    publish(&mut store, 30);
    let id = explicit(&mut store, "a");
    store.sync().unwrap();
    let purge = Purge {
        upto: StreamSeq(30),
        ..Purge::default()
    };
    store.purge(&purge).unwrap();
    store.sync().unwrap();
    let job = store.checkpoint_job().unwrap();
    let before = segments(&disk).len();
    // More than a segment of these.
    for stream in 1..=100 {
        record(&mut store, id, delivered(stream));
        store.append_events().unwrap();
    }
    store.sync().unwrap();
    assert!(segments(&disk).len() > before + 2);
    store.handle_done(job.run()).unwrap();
    let is = state(&store, id);
    drop(store);
    disk.kill();
    disk.restart();
    let (store, opened) = open(&disk);
    assert!(opened.log.is_sound(), "{opened:?}");
    assert_eq!(opened.consumers, ConsumerDamage::default());
    assert_eq!(state(&store, id), is);
}

/// The segment in which consumers were created is long gone, and both checkpoints are damaged: what
/// there is to know of consumers was told once more before.
#[test]
fn consumers_survive_their_segments_and_both_checkpoints() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    let ids: Vec<_> = (0..100)
        .map(|n| explicit(&mut store, &format!("c{n}")))
        .collect();
    publish(&mut store, 3);
    let updated = store.update_consumer(ids[1], b"other").unwrap().unwrap();
    store.delete_consumer(ids[2]).unwrap().unwrap();
    record(&mut store, ids[0], delivered(1));
    record(&mut store, ids[0], delivered(2));
    record(&mut store, ids[0], acked(1));
    store.append_events().unwrap();
    for round in 1..5 {
        publish(&mut store, 60);
        let purge = Purge {
            upto: StreamSeq(60 * round),
            ..Purge::default()
        };
        store.purge(&purge).unwrap();
        while store.work(100) {}
        // What happens between is not forgotten, nor told twice.
        record(&mut store, ids[0], delivered(60 * round + 1));
        for turn in 0..200 {
            store.commit().unwrap();
            let now = crate::base::clock::Mono::ZERO + std::time::Duration::from_secs(100 * turn);
            let Some(job) = store.poll_job(now) else {
                break;
            };
            store.handle_done(job.run()).unwrap();
        }
        store.append_events().unwrap();
    }
    store.sync().unwrap();
    assert!(
        store.log().first_index() > updated,
        "those segments are gone"
    );
    let before = state(&store, ids[0]);
    drop(store);
    for copy in ["checkpoint.a", "checkpoint.b"] {
        disk.damage(&Path::new(DIR).join(copy), |bytes| bytes[100] ^= 1);
    }
    let (store, opened) = open(&disk);
    assert!(opened.rebuilt);
    assert_eq!(opened.consumers, ConsumerDamage::default());
    assert_eq!(state(&store, ids[0]), before);
    assert_eq!(store.consumer(ids[1]).unwrap().config(), b"other");
    assert_eq!(store.consumer(ids[1]).unwrap().name(), "c1");
    assert!(store.consumer(ids[2]).is_none());
    assert_eq!(store.consumer_count(), 99);
}

/// What was recorded of consumers is in segments that are gone, and the newest checkpoint that knows
/// it is damaged: the one before is of no use for messages, but for consumers.
#[test]
fn consumers_survive_the_newest_checkpoint() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    let id = explicit(&mut store, "a");
    publish(&mut store, 30);
    for stream in 1..=3 {
        record(&mut store, id, delivered(stream));
    }
    record(&mut store, id, acked(1));
    store.close().unwrap();
    publish(&mut store, 60);
    let purge = Purge {
        upto: StreamSeq(85),
        ..Purge::default()
    };
    store.purge(&purge).unwrap();
    while store.work(100) {}
    store.close().unwrap();
    record(&mut store, id, acked(2));
    store.append_events().unwrap();
    store.sync().unwrap();
    let before = state(&store, id);
    drop(store);
    // The newest is that of generation 2, which is even.
    let newest = Path::new(DIR).join("checkpoint.a");
    disk.damage(&newest, |bytes| bytes[100] ^= 1);
    let (store, opened) = open(&disk);
    assert!(opened.rebuilt);
    assert_eq!(state(&store, id), before);
    assert_eq!(store.consumer(id).unwrap().name(), "a");
    assert_eq!(store.state().first.0 + store.state().messages, 91);
}

#[test]
fn a_lost_record_sets_its_consumers_back_and_no_message() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    publish(&mut store, 1);
    let (a, b) = (explicit(&mut store, "a"), explicit(&mut store, "b"));
    record(&mut store, a, delivered(1));
    record(&mut store, a, delivered(2));
    record(&mut store, a, acked(1));
    record(&mut store, b, delivered(1));
    store.append_events().unwrap();
    // This one is lost.
    record(&mut store, a, delivered(3));
    let lost = store.append_events().unwrap();
    record(&mut store, a, delivered(4));
    record(&mut store, a, acked(2));
    store.append_events().unwrap();
    publish(&mut store, 40);
    store.sync().unwrap();
    let b_was = state(&store, b);
    let first = segments(&disk).into_iter().next().unwrap();
    let mut buffer = ReadBuffer::default();
    let payload = store.log.read(lost, &mut buffer).unwrap();
    let payload = payload.record.payload.to_vec();
    drop(store);
    disk.damage(&first, |bytes| {
        let at = bytes.windows(payload.len()).position(|w| w == payload);
        bytes[at.unwrap() + 1] ^= 0x10;
    });
    let floor = Position {
        stream: StreamSeq(1),
        consumer: crate::store::consumer::ConsumerSeq(3),
    };
    for found in [vec![a], vec![]] {
        let (mut store, opened) = open(&disk);
        assert_eq!(opened.consumers.set_back, found);
        assert_eq!(state(&store, b), b_was);
        // Message 3, of which nothing is known, is delivered again, as are those around it.
        assert_eq!(state(&store, a), (floor, floor, vec![]));
        let state = store.state();
        assert_eq!((state.messages, state.lost), (41, 0));
        store.append_events().unwrap();
        store.sync().unwrap();
    }
}

#[test]
fn events_of_a_consumer_whose_creation_is_lost_are_counted() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    let (id, index) = store
        .create_consumer("lost", b"{}", AckPolicy::Explicit, StreamSeq(0))
        .unwrap();
    record(&mut store, id, delivered(1));
    store.append_events().unwrap();
    publish(&mut store, 40);
    store.sync().unwrap();
    drop(store);
    assert_eq!(index, LogIndex(1));
    disk.damage(&segments(&disk)[0], |bytes| bytes[256 + 30] ^= 1);
    let (mut store, opened) = open(&disk);
    assert_eq!((store.consumer_count(), opened.consumers.orphans), (0, 1));
    assert_ne!(explicit(&mut store, "next"), id);
}

#[test]
fn events_wait_for_room_and_have_a_bound() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    publish(&mut store, 1);
    let (a, b) = (explicit(&mut store, "a"), explicit(&mut store, "b"));
    record(&mut store, b, delivered(5));
    store.append_events().unwrap();
    store.sync().unwrap();
    record(&mut store, b, acked(5));
    // More than one batch can hold.
    for stream in 1..=70_000 {
        record(&mut store, a, delivered(stream));
        if stream > 5000 {
            record(&mut store, a, acked(stream));
        }
    }
    disk.plan(1, Fault::Full);
    assert!(matches!(store.append_events(), Err(LogError::Full)));
    assert!(matches!(store.append_events(), Err(LogError::Full)));
    record(&mut store, b, delivered(6));
    disk.free();
    store.append_events().unwrap();
    store.sync().unwrap();
    let before = (state(&store, a), state(&store, b));
    drop(store);
    disk.restart();
    let (store, opened) = open(&disk);
    assert_eq!(opened.consumers, ConsumerDamage::default());
    assert_eq!((state(&store, a), state(&store, b)), before);
}

#[test]
fn consumer_records_do_not_end_a_purge() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open(&disk);
    publish(&mut store, 30);
    let id = explicit(&mut store, "a");
    let purge = Purge {
        upto: StreamSeq(20),
        ..Purge::default()
    };
    store.purge(&purge).unwrap();
    assert!(store.work(1));
    record(&mut store, id, delivered(1));
    store.append_events().unwrap();
    assert!(store.has_work() && store.state().messages > 20);
    store.sync().unwrap();
    drop(store);
    disk.restart();
    let (store, _) = open(&disk);
    assert_eq!(store.state().messages, 10);
}

#[test]
fn records_of_events_are_small() {
    let disk = FaultyDisk::new(1);
    let (mut store, _) = open_with(&disk, 1 << 20);
    publish(&mut store, 1);
    let id = explicit(&mut store, "a");
    store.commit().unwrap();
    let mut bytes = |events: &mut dyn Iterator<Item = Event>| {
        let before = store.log().written_bytes();
        events.for_each(|event| record(&mut store, id, event));
        store.append_events().unwrap();
        store.commit().unwrap();
        store.log().written_bytes() - before
    };
    let same = |stream| match delivered(2) {
        Event::Delivered { at, deadline, .. } => Event::Delivered {
            stream: StreamSeq(stream),
            at,
            deadline,
        },
        _ => unreachable!(),
    };
    let sizes = [
        bytes(&mut [delivered(1)].into_iter()),
        bytes(&mut [acked(1)].into_iter()),
        bytes(&mut (2..102).map(same)),
        bytes(&mut (2..102).map(acked)),
        // Not in a row, each at another time.
        bytes(&mut (103..303).step_by(2).map(delivered)),
        bytes(&mut (103..303).step_by(2).map(acked)),
    ];
    assert_eq!(sizes, [38, 29, 39, 30, 436, 229]);
}

mod codec {
    use super::super::record::{Change, Entries, Entry};
    use super::super::set::Consumers;
    use super::*;
    use crate::store::index::varint::Reader;
    use proptest::prelude::*;

    fn again(bytes: &[u8]) -> Option<Vec<u8>> {
        let change = Change::decode(bytes).ok()?;
        let mut out = vec![];
        change.encode(&mut out);
        if let Change::Events(entries) = change {
            entries.for_each(|entry| entry.encode(&mut out));
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn changes_come_back(
            numbers in any::<[u64; 3]>(), name in "\\PC{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let [number, count, start] = numbers;
            let start = StreamSeq(start);
            let mut events = vec![];
            Change::Events(Entries::new()).encode(&mut events);
            for policy in [AckPolicy::None, AckPolicy::All, AckPolicy::Explicit] {
                let changes = [
                    Change::Created { number, policy, start, name: &name, config: &bytes },
                    Change::Updated { number, count, config: &bytes },
                    Change::Deleted { number },
                    Change::State { number, count, state: &bytes },
                ];
                for change in &changes {
                    let mut out = vec![];
                    change.encode(&mut out);
                    prop_assert_eq!(again(&out), Some(out));
                }
                Entry { number, count, batch: &bytes }.encode(&mut events);
                prop_assert_eq!(again(&events), Some(events.clone()));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = again(&bytes);
            let _ = Consumers::decode(&mut Reader::new(&bytes), LogIndex(1));
        }
    }
}
