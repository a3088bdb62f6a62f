//! Reading: what is cold, what is damaged, and where subjects are.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::faulty::FaultyDisk;
use super::log_faults::{dir, stream};
use crate::base::clock::Mono;
use crate::store::LogError;
use crate::store::disk::Disk;
use crate::store::file::{Cold, Handles, LogOptions, ReadBuffer};
use crate::store::index::Filters;
use crate::store::memory::MemoryDisk;
use crate::store::stream::{
    Damage, DamageKind, Found, Job, Limits, NewMessage, Reader, StoreOptions, StreamStore,
};
use crate::store::types::{StreamSeq, Timestamp};

const MESSAGES: u64 = 300;

fn open(disk: Arc<dyn Disk>, cold: Cold) -> StreamStore {
    let mut log = LogOptions::new(Arc::new(Handles::new(2)));
    log.segment_bytes = 4000;
    log.cold = cold;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let opened = StreamStore::open(disk, &dir(), stream(), &options, None, &mut |_| {});
    opened.unwrap().0
}

fn payload(sequence: u64) -> String {
    format!("message {sequence:05}")
}

/// A stream of several segments whose messages have a subject of ten.
fn filled(disk: Arc<dyn Disk>, cold: Cold) -> StreamStore {
    let mut store = open(disk, cold);
    for sequence in 1..=MESSAGES {
        let (subject, payload) = (format!("s.{}", sequence % 10), payload(sequence));
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload: payload.as_bytes(),
            timestamp: Timestamp(sequence),
            ttl_s: 0,
        };
        store.append(&message).unwrap();
    }
    store.sync().unwrap();
    store
}

/// The file of a segment that has these bytes, and where they are in it.
fn place(disk: &FaultyDisk, bytes: &[u8]) -> (PathBuf, usize) {
    let files = disk.list(&dir()).unwrap().into_iter();
    let found = files.filter(|f| f.name.ends_with(".seg")).find_map(|file| {
        let path = dir().join(&file.name);
        let all = disk.bytes(&path);
        let at = all.windows(bytes.len()).position(|w| w == bytes)?;
        Some((path, at))
    });
    found.unwrap()
}

fn damage(disk: &FaultyDisk, bytes: &[u8]) {
    let (path, at) = place(disk, bytes);
    disk.open(&path).unwrap().write_at(b"X", at as u64).unwrap();
}

fn lost(first: u64, last: u64) -> Damage {
    Damage {
        first: StreamSeq(first),
        last: StreamSeq(last),
        kind: DamageKind::Lost,
    }
}

/// Runs the job that a read asks for until it has an answer; gives how many there were.
fn warmed<T>(
    store: &mut StreamStore,
    mut read: impl FnMut(&mut StreamStore) -> Result<T, LogError>,
) -> (Result<T, LogError>, usize) {
    let mut jobs = 0;
    loop {
        match read(store) {
            Err(LogError::Cold(job)) => {
                jobs += 1;
                assert!(jobs < 10, "what was brought into memory is there");
                let done = Job::Warm(*job).run();
                store.handle_done(done).unwrap();
            }
            result => return (result, jobs),
        }
    }
}

#[test]
fn what_is_not_in_memory_is_brought_there_first() {
    let disk = Arc::new(FaultyDisk::new(1));
    let mut store = filled(disk, Cold::Tell);
    let mut buffer = ReadBuffer::default();
    let mut read = |store: &mut StreamStore, sequence| {
        let (result, jobs) = warmed(store, |store| {
            let read = store.read(StreamSeq(sequence), &mut buffer)?;
            Ok(read.record.payload.to_vec())
        });
        assert_eq!(result.unwrap(), payload(sequence).as_bytes());
        jobs
    };
    assert_eq!(
        read(&mut store, MESSAGES),
        0,
        "the last segment is in memory"
    );
    assert_eq!(read(&mut store, 1), 2, "the tables, and the message");
    assert_eq!(read(&mut store, 2), 0);
    assert!(
        store
            .poll_job(Mono::ZERO + Duration::from_secs(60))
            .is_none()
    );
    assert_eq!(read(&mut store, 2), 1, "it was long ago");

    let filters = Filters::new([&b"s.3"[..]]).unwrap();
    let mut reader = Reader::new(filters.clone());
    let mut buffer = ReadBuffer::default();
    for round in 0..6 {
        let (mut at, mut found, mut jobs) = (StreamSeq(1), vec![], 0);
        loop {
            let (next, some) = warmed(&mut store, |store| {
                let (upto, mut budget) = (StreamSeq(MESSAGES), 20);
                let next = match round % 2 {
                    0 => store.next(&filters, at, upto, &mut budget, &mut buffer)?,
                    _ => store.next_of(&mut reader, at, upto, &mut budget, &mut buffer)?,
                };
                Ok(match next {
                    Found::Message(stored) => Some((stored.record.sequence, true)),
                    Found::Paused(from) => Some((from, false)),
                    Found::End => None,
                })
            });
            jobs += some;
            match next.unwrap() {
                Some((sequence, true)) => {
                    found.push(sequence.0);
                    at = sequence.next();
                }
                Some((from, false)) => {
                    assert!(from > at);
                    at = from;
                }
                None => break,
            }
        }
        assert_eq!(found, (3..=MESSAGES).step_by(10).collect::<Vec<_>>());
        assert!(jobs > 0 || round > 0);
        while let Some(job) = store.poll_job(Mono::ZERO + Duration::from_secs(60)) {
            store.handle_done(job.run()).unwrap();
        }
    }
    let (mut at, mut found) = (StreamSeq(1), vec![]);
    while at.0 <= MESSAGES {
        let (next, _) = warmed(&mut store, |store| {
            store.read_from(at, StreamSeq(MESSAGES), 7, 1 << 20, &mut buffer, |stored| {
                found.push(stored.record.sequence.0);
                ControlFlow::Continue(())
            })
        });
        at = next.unwrap();
    }
    assert_eq!(found, (1..=MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_damaged_message_is_told_once_whoever_finds_it() {
    let disk = FaultyDisk::new(1);
    let mut store = filled(Arc::new(disk.clone()), Cold::Wait);
    for sequence in [20, 40, 55, 60] {
        damage(&disk, payload(sequence).as_bytes());
    }
    assert_eq!(store.take_damage(), []);
    let mut buffer = ReadBuffer::default();
    for _ in 0..2 {
        let read = store.read(StreamSeq(20), &mut buffer);
        assert!(matches!(read, Err(LogError::Damaged)));
    }
    assert_eq!(store.take_damage(), [lost(20, 20)]);

    let filters = Filters::new([&b"s.0"[..]]).unwrap();
    let (mut at, mut budget) = (StreamSeq(31), usize::MAX);
    let next = loop {
        let upto = StreamSeq(MESSAGES);
        match store.next(&filters, at, upto, &mut budget, &mut buffer) {
            Ok(Found::Paused(from)) => at = from,
            next => break next.map(|n| format!("{n:?}")),
        }
    };
    assert!(next.unwrap().contains("StreamSeq(50)"));
    assert_eq!(store.take_damage(), [lost(40, 40)]);

    let mut found = vec![];
    let mut each = |sequence: u64| {
        found.push(sequence);
        ControlFlow::Continue(())
    };
    store
        .read_from(StreamSeq(53), StreamSeq(58), 99, 9999, &mut buffer, |s| {
            each(s.record.sequence.0)
        })
        .unwrap();
    assert_eq!(found, [53, 54, 56, 57, 58]);
    assert_eq!(store.take_damage(), [lost(55, 55)]);

    // The rest is found by the check, at its rate.
    let mut now = Mono::ZERO;
    for _ in 0..2 {
        while let Some(job) = store.scrub_job(now, 1 << 20) {
            assert!(
                store
                    .scrub_job(now + Duration::from_secs(9), 1 << 20)
                    .is_none()
            );
            store.handle_done(job.run()).unwrap();
            assert!(store.scrub_job(now, 1 << 20).is_none(), "it has its time");
            now = now + Duration::from_secs(1);
            if store.scrub_progress().rounds > 1 {
                break;
            }
        }
    }
    assert_eq!(store.take_damage(), [lost(60, 60)]);
    let progress = store.scrub_progress();
    assert!(progress.rounds > 1 && progress.done <= progress.of);
    assert_eq!(store.state().lost, 4);
    assert_eq!(store.state().messages, MESSAGES - 4);
    let runs: Vec<_> = store.lost().map(|(a, b)| (a.0, b.0)).collect();
    assert_eq!(runs, [(20, 20), (40, 40), (55, 55), (60, 60)]);
}

/// A delete shares its sequence with the message before it.
#[test]
fn a_damaged_order_costs_no_message() {
    let disk = FaultyDisk::new(1);
    let mut store = filled(Arc::new(disk.clone()), Cold::Wait);
    store
        .set_limits(&Limits {
            bytes: 1 << 40,
            ..Limits::default()
        })
        .unwrap();
    for sequence in MESSAGES + 1..MESSAGES + 300 {
        let payload = payload(sequence);
        let message = NewMessage {
            subject: b"t",
            headers: b"",
            payload: payload.as_bytes(),
            timestamp: Timestamp(sequence),
            ttl_s: 0,
        };
        store.append(&message).unwrap();
    }
    store.sync().unwrap();
    // The form of the limits: two zeros around the number of bytes.
    let (path, at) = place(&disk, &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0]);
    disk.open(&path).unwrap().write_at(b"X", at as u64).unwrap();
    let mut now = Mono::ZERO;
    while store.scrub_progress().rounds < 1 {
        if let Some(job) = store.scrub_job(now, 1 << 30) {
            store.handle_done(job.run()).unwrap();
        }
        now = now + Duration::from_secs(1);
    }
    assert_eq!(store.take_damage(), []);
    let mut buffer = ReadBuffer::default();
    let mut found = 0;
    let upto = store.state().last;
    store
        .read_from(StreamSeq(1), upto, 9999, 1 << 20, &mut buffer, |_| {
            found += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(found, store.state().messages);
    assert_eq!(store.state().lost, 0);
}

#[test]
fn a_segment_whose_file_is_gone_is_passed_over_and_told_once() {
    let disk = FaultyDisk::new(1);
    let mut store = filled(Arc::new(disk.clone()), Cold::Wait);
    let (path, _) = place(&disk, payload(1).as_bytes());
    disk.remove(&path).unwrap();
    let mut buffer = ReadBuffer::default();
    let read = store.read(StreamSeq(1), &mut buffer);
    assert!(matches!(read, Err(LogError::Damaged)));
    let told = store.take_damage();
    let [
        Damage {
            first,
            last,
            kind: DamageKind::Unreadable(reason),
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(first.0, 1);
    assert!(reason.text.contains("open /streams/s/0000000000000001.seg"));
    let mut found = vec![];
    let from = store
        .read_from(
            StreamSeq(1),
            StreamSeq(MESSAGES),
            9999,
            1 << 20,
            &mut buffer,
            |s| {
                found.push(s.record.sequence.0);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    assert_eq!(from.0, MESSAGES + 1);
    assert_eq!(found, (last.0 + 1..=MESSAGES).collect::<Vec<_>>());
    let filters = Filters::new([&b"s.1"[..]]).unwrap();
    let mut budget = usize::MAX;
    let next = store.next(
        &filters,
        StreamSeq(1),
        StreamSeq(MESSAGES),
        &mut budget,
        &mut buffer,
    );
    let Ok(Found::Message(message)) = next else {
        panic!("{next:?}");
    };
    assert!(message.record.sequence > *last && message.record.sequence.0 <= last.0 + 10);
    assert_eq!(store.take_damage(), []);
    assert_eq!(store.state().lost, 0, "the file may come back");
}

#[test]
fn searches_that_waste_time_find_out_where_subjects_are() {
    let mut store = filled(Arc::new(MemoryDisk::new()), Cold::Wait);
    let filters = Filters::new([&b"s.3"[..], b"*.4", b"s.4"]).unwrap();
    let mut reader = Reader::new(filters);
    let mut buffer = ReadBuffer::default();
    let (mut jobs, mut looked) = (0, vec![]);
    for _ in 0..8 {
        let (mut at, mut budget, mut found) = (StreamSeq(1), 1_000_000, vec![]);
        let upto = StreamSeq(MESSAGES);
        while let Found::Message(message) = store
            .next_of(&mut reader, at, upto, &mut budget, &mut buffer)
            .unwrap()
        {
            found.push(message.record.sequence.0);
            at = message.record.sequence.next();
            // One is asked for at a time.
            if let Some(job) = store.poll_job(Mono::ZERO) {
                assert!(matches!(job, Job::Subjects(_)));
                store.handle_done(job.run()).unwrap();
                jobs += 1;
            }
        }
        let want = (1..=MESSAGES).filter(|s| [3, 4].contains(&(s % 10)));
        assert_eq!(found, want.collect::<Vec<_>>());
        looked.push(1_000_000 - budget);
    }
    assert!(jobs > 2, "{jobs}");
    assert!(looked[7] < looked[0] / 2, "{looked:?}");
}
