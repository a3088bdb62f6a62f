//! Checkpoints that say what no log says, behind right checksums; and sequences far from each other, which no
//! checkpoint has to make up. What does not belong together, or not to the log, is given up for the log: in no
//! time, and with the same state whenever it is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::log_faults::stream;
use crate::base::clock::mono;
use crate::store::LogError;
use crate::store::consumer::{AckPolicy, Event, Millis};
use crate::store::disk::{Disk, read_file};
use crate::store::file::format::{Container, ContainerKind};
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::index::{SequenceSet, varint};
use crate::store::memory::MemoryDisk;
use crate::store::stream::{Limits, NewMessage, Opened, StoreOptions, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};

const CORE: u32 = 1;
const DELETED: u32 = 3;
const LOST: u32 = 4;
const SUBJECTS: u32 = 5;
const EXPIRY: u32 = 6;
const PURGES: u32 = 7;
const ERASING: u32 = 8;
const UNREAD: u32 = 9;
const CONSUMERS: u32 = 10;
const TIMERS: u32 = 11;
const SIZES: u32 = 12;

fn dir() -> &'static Path {
    Path::new("/s")
}

fn open(disk: &Arc<dyn Disk>) -> (StreamStore, Opened) {
    let mut log = LogOptions::new(Arc::new(Handles::new(8)));
    log.segment_bytes = 16 << 10;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let opened = StreamStore::open(disk.clone(), dir(), stream(), &options, None, &mut |_| {});
    opened.unwrap()
}

fn append(store: &mut StreamStore) -> Result<StreamSeq, LogError> {
    let message = NewMessage {
        subject: b"a.b",
        headers: b"",
        payload: b"payload",
        timestamp: Timestamp(1),
        ttl_s: 0,
    };
    store.append(&message).map(|(sequence, _)| sequence)
}

/// Ten messages, of which the third is gone and another one was never there, and a consumer.
fn written() -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (mut store, _) = open(&disk);
    for _ in 0..10 {
        append(&mut store).unwrap();
    }
    store.delete(StreamSeq(3)).unwrap();
    let policy = AckPolicy::Explicit;
    let (id, _) = store
        .create_consumer("c", b"config", policy, StreamSeq(0))
        .unwrap();
    let (at, deadline) = (Millis::new(1), Millis::new(9));
    for stream in [StreamSeq(1), StreamSeq(2)] {
        let event = Event::Delivered {
            stream,
            at,
            deadline,
        };
        store.record(id, event).unwrap();
    }
    store.close().unwrap();
    disk
}

/// The sections of the only checkpoint.
fn sections(disk: &dyn Disk) -> Vec<(u32, Vec<u8>)> {
    let bytes = ["checkpoint.a", "checkpoint.b"]
        .into_iter()
        .find_map(|name| read_file(disk, &dir().join(name)).unwrap());
    let bytes = bytes.unwrap();
    let (_, sections) = Container::decode(&bytes, ContainerKind::Checkpoint).unwrap();
    let sections = sections.iter();
    sections.map(|s| (s.tag, s.bytes.to_vec())).collect()
}

fn put(disk: &dyn Disk, generation: u64, sections: &[(u32, Vec<u8>)]) {
    let container = Container {
        kind: ContainerKind::Checkpoint,
        stream: stream(),
        generation,
    };
    let mut bytes = vec![];
    let mut out = container.start(&mut bytes);
    for (tag, content) in sections {
        out.add(*tag, |out| out.extend_from_slice(content));
    }
    out.finish();
    for name in ["checkpoint.a", "checkpoint.b"] {
        let _ = disk.remove(&dir().join(name));
    }
    let file = disk.create(&dir().join("checkpoint.a"), bytes.len());
    file.unwrap().write_at(&bytes, 0).unwrap();
}

fn seen(store: &StreamStore) -> String {
    let consumers = store.consumers().map(|(id, consumer)| {
        let mut state = vec![];
        consumer.state().encode(&mut state);
        (id, consumer.name().to_owned(), state)
    });
    let state = store.state();
    let consumers: Vec<_> = consumers.collect();
    let numbers = (state.messages, state.bytes, state.first, state.last);
    format!(
        "{numbers:?} {} {} {} {consumers:?}",
        state.deleted, state.lost, state.subjects
    )
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    let mut out = vec![];
    numbers.iter().for_each(|n| varint::put(&mut out, *n));
    out
}

fn set(first: u64, last: u64) -> Vec<u8> {
    let (mut set, mut out) = (SequenceSet::new(), vec![]);
    set.insert_range(StreamSeq(first), StreamSeq(last));
    set.encode(&mut out);
    out
}

/// Opens a stream whose checkpoint has other contents in a section, behind the others if there was none:
/// once as it is, and again when it was closed.
fn given_up(what: &str, tag: u32, content: Vec<u8>) {
    let disk = written();
    let (store, opened) = open(&disk);
    assert!(!opened.rebuilt);
    let expected = seen(&store);
    drop(store);
    let mut sections = sections(&*disk);
    match sections.iter_mut().find(|(there, _)| *there == tag) {
        Some(section) => section.1 = content,
        None => sections.push((tag, content)),
    }
    put(&*disk, 5, &sections);
    let begun = mono();
    let (mut store, opened) = open(&disk);
    assert!(opened.rebuilt, "{what}: {opened:?}");
    assert_eq!(seen(&store), expected, "{what}");
    assert!(append(&mut store).is_ok(), "{what}");
    store.close().unwrap();
    let closed = seen(&store);
    drop(store);
    let (store, opened) = open(&disk);
    assert!(!opened.rebuilt, "{what}");
    assert_eq!(seen(&store), closed, "{what}");
    assert!(mono().since(begun) < Duration::from_secs(5), "{what}");
}

/// The numbers of the state, of which one is another.
fn core(at: usize, number: u64) -> Vec<u8> {
    let sections = sections(&*written());
    let mut reader = varint::Reader::new(&sections[0].1);
    let mut all: Vec<u64> = (0..10).map(|_| reader.number("core").unwrap()).collect();
    assert_eq!(all[1..3], [1, 10]);
    assert_ne!(all[at], number);
    all[at] = number;
    numbers(&all)
}

#[test]
fn numbers_that_no_log_has_are_given_up() {
    given_up("a first message behind the last", CORE, core(1, 12));
    given_up("no first message", CORE, core(1, 0));
    given_up("a later first message", CORE, core(1, 2));
    given_up("messages that the log has not", CORE, core(2, 11));
    given_up("messages that never end", CORE, core(2, u64::MAX));
    given_up("an end before the log's", CORE, core(2, 9));
    given_up("one message more", CORE, core(4, 10));
    given_up("fewer bytes than there can be", CORE, core(5, 9 * 29));
    given_up("more bytes than there can be", CORE, core(5, u64::MAX));
    given_up("a segment without a number", CORE, core(6, 0));
    given_up("a segment that is none", CORE, core(6, u64::MAX));
    given_up("a log without a beginning", CORE, core(8, u64::MAX));
    given_up("a log that begins behind", CORE, core(9, 1));
    given_up("nothing", CORE, vec![]);
}

#[test]
fn messages_that_no_log_has_are_given_up() {
    given_up("deleted behind the last", DELETED, set(11, 11));
    given_up("deleted to no end", DELETED, set(2, u64::MAX));
    given_up("the first one deleted", DELETED, set(1, 1));
    given_up("lost behind the last", LOST, set(1, 1 << 60));
    given_up("to be erased, and there", ERASING, set(3, 4));
    given_up("to be erased behind the last", ERASING, set(11, 12));
    given_up("to be read again, and there", UNREAD, set(2, 3));
    given_up("to be done about what is gone", TIMERS, numbers(&[3, 9]));
    // A wheel of one chunk, at tick 0, with a message behind the last.
    let entry = numbers(&[2 * 11, 0]);
    let mut wheel = numbers(&[0, 1, 0, entry.len() as u64]);
    wheel.extend(entry);
    given_up("to expire behind the last", EXPIRY, wheel);
}

#[test]
fn sizes_of_no_messages_are_given_up() {
    // The step of a size, doubled twice.
    given_up("the size of several messages", SIZES, numbers(&[4 * 44]));
    given_up("a size for nobody", SIZES, numbers(&[0, 0]));
    given_up("a run for nobody", SIZES, numbers(&[1, 0]));
    given_up("a run without end", SIZES, numbers(&[1, u64::MAX]));
    given_up("no size", SIZES, vec![]);
    given_up("a size below 0", SIZES, numbers(&[4 * 44 - 2]));
    // One message, of 30 bytes and those of its parts.
    let written = |size: u64| {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let (mut store, _) = open(&disk);
        append(&mut store).unwrap();
        store.close().unwrap();
        drop(store);
        let mut sections = sections(&*disk);
        sections.push((SIZES, numbers(&[4 * size])));
        put(&*disk, 5, &sections);
        let (store, opened) = open(&disk);
        assert_eq!(store.bytes(), 40);
        opened.rebuilt
    };
    assert!(!written(40), "the form is that of sizes");
    assert!(written(41), "more than there is");
}

#[test]
fn subjects_of_no_messages_are_given_up() {
    let block = |subjects: &[u64]| {
        let mut block = numbers(&[0, 12, subjects.len() as u64 / 3]);
        // Each of one letter, with the last message's step and what there is of bounds.
        for (n, subject) in subjects.chunks(3).enumerate() {
            let bounds = u64::from(subject[1] > 0);
            block.extend(numbers(&[0, 2 + bounds]));
            block.push(b'a' + n as u8);
            block.extend(numbers(&[2 * subject[0]]));
            if bounds > 0 {
                block.extend(numbers(&[subject[1], (subject[2] - 1) << 2]));
            }
        }
        let mut out = numbers(&[block.len() as u64]);
        out.extend(block);
        out
    };
    let sound = block(&[10, 9, 9]);
    let disk = written();
    let mut sections = sections(&*disk);
    let at = sections.iter().position(|(tag, _)| *tag == SUBJECTS);
    sections[at.unwrap()].1 = sound;
    put(&*disk, 5, &sections);
    assert!(!open(&disk).1.rebuilt, "the form is that of a block");
    given_up("fewer than messages", SUBJECTS, block(&[10, 7, 8]));
    given_up("behind the last", SUBJECTS, block(&[11, 9, 9]));
    given_up("before the first", SUBJECTS, block(&[10, 10, 9]));
    given_up("more than records", SUBJECTS, block(&[10, 9, 9, 0, 9, 10]));
}

#[test]
fn orders_and_consumers_of_no_records_are_given_up() {
    let purge = |upto: u64| {
        let mut purge = numbers(&[upto, 1, 3]);
        purge.extend(b"a.>");
        purge.extend(numbers(&[u64::MAX]));
        purge
    };
    given_up("a purge that nothing waits for", PURGES, purge(10));
    // Found by fuzzing: it went on to the end of all numbers.
    let mut waiting = sections(&*written());
    waiting[0].1 = core(7, 1);
    for purges in [purge(1 << 60), purge(10).repeat(2)] {
        let disk = written();
        let mut sections = waiting.clone();
        let at = sections.iter().position(|(tag, _)| *tag == PURGES).unwrap();
        sections[at].1 = purges;
        put(&*disk, 5, &sections);
        let (store, opened) = open(&disk);
        assert!(opened.rebuilt && store.state().messages == 9, "{opened:?}");
    }
    let consumer = |last: u64, count: u64, told: u64, applied: u64| {
        let mut out = numbers(&[last, 1, count, told, 1]);
        out.extend(b"c\x06config\x01\x02");
        // Nothing was delivered.
        out.extend(numbers(&[applied, 0, 0, 0, 0, 0]));
        out
    };
    let disk = written();
    let mut sections = sections(&*disk);
    let at = sections.iter().position(|(tag, _)| *tag == CONSUMERS);
    sections[at.unwrap()].1 = consumer(1, 2, 12, 13);
    put(&*disk, 5, &sections);
    assert!(!open(&disk).1.rebuilt, "the form is that of a consumer");
    given_up("as many as no records", CONSUMERS, consumer(14, 2, 12, 13));
    given_up("told of later", CONSUMERS, consumer(1, 2, 14, 13));
    given_up("applied later", CONSUMERS, consumer(1, 2, 12, 14));
    given_up(
        "records to no end",
        CONSUMERS,
        consumer(1, u64::MAX, 12, 13),
    );
}

#[test]
fn a_set_takes_not_much_more_memory_than_its_bytes() {
    // One number in every block costs four bytes in a file.
    let mut out = numbers(&[1 << 16]);
    for _ in 0..1 << 16 {
        out.extend(numbers(&[1, 1, 7, 0]));
    }
    let set = SequenceSet::decode(&mut varint::Reader::new(&out)).unwrap();
    assert_eq!(set.len(), 1 << 16);
    let ratio = set.memory_bytes() / out.len();
    assert!(ratio < 32, "{ratio} times as much");
}

#[test]
fn sequences_far_from_each_other_have_segments_of_their_own() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (mut store, _) = open(&disk);
    let mut there = vec![append(&mut store).unwrap()];
    // Within a segment's reach, just behind it, and far.
    for skipped in [1 << 20, u64::from(u32::MAX), 1 << 33, 1 << 60] {
        let last = StreamSeq(store.last().0 + skipped);
        store.skip_to(last).unwrap();
        assert_eq!(store.last(), last);
        there.push(append(&mut store).unwrap());
        there.push(append(&mut store).unwrap());
    }
    let refused = store.skip_to(StreamSeq(u64::MAX));
    assert!(matches!(refused, Err(LogError::Disorder)));
    let check = |store: &mut StreamStore, there: &[StreamSeq]| {
        let mut buffer = ReadBuffer::default();
        let state = store.state();
        assert_eq!((state.messages, state.last), (9, *there.last().unwrap()));
        for sequence in there {
            let stored = store.read(*sequence, &mut buffer).unwrap();
            assert_eq!(stored.record.sequence, *sequence);
        }
    };
    check(&mut store, &there);
    store.close().unwrap();
    drop(store);
    let (mut store, opened) = open(&disk);
    assert!(!opened.rebuilt && opened.log.is_sound(), "{opened:?}");
    check(&mut store, &there);
    drop(store);
    for name in ["checkpoint.a", "checkpoint.b"] {
        let _ = disk.remove(&dir().join(name));
    }
    let (mut store, opened) = open(&disk);
    assert!(opened.rebuilt && opened.log.is_sound(), "{opened:?}");
    check(&mut store, &there);
    // Orders go on, at the end of numbers too.
    let end = StreamSeq(u64::MAX - 1);
    store.skip_to(end).unwrap();
    assert!(matches!(append(&mut store), Err(LogError::Disorder)));
    store.delete(there[0]).unwrap();
    store.close().unwrap();
    let closed = seen(&store);
    drop(store);
    let (store, opened) = open(&disk);
    assert!(!opened.rebuilt, "{opened:?}");
    assert_eq!(seen(&store), closed);
}
