//! Rounds in which segments of a bucket are written anew: what they leave, whatever happens.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::faulty::FaultyDisk;
use super::log_faults::dir;
use super::upkeep::{append, one_a_subject, open, options};
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::store::consumer::{AckPolicy, Event};
use crate::store::disk::Disk;
use crate::store::file::{Compression, ReadBuffer, SyncMode};
use crate::store::index::{Cursor, Filters};
use crate::store::stream::{Job, StoreOptions};
use crate::store::types::StreamSeq;

/// Random keys are put while syncs and all else take their time. What is dead takes no more room than what
/// is alive and two rounds, and when the power goes every key is there. There is one checkpoint, as an older
/// one would be of no use, and most messages do not tell of the one before.
#[test]
fn what_is_put_over_and_over_takes_room_for_what_is_alive() {
    const KEYS: u64 = 6000;
    let disk = FaultyDisk::new(8);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut options = options(8 << 20, Compression::None);
    options.log.sync = SyncMode::Interval(Duration::from_secs(3600));
    options.limits.per_subject = 1;
    let (mut store, _) = open(&shared, &options);
    let mut now = Mono::ZERO + Duration::from_secs(3600);
    let mut jobs = VecDeque::new();
    let (mut most, mut rewritten) = (0, 0);
    for n in 0..100_000u64 {
        let key = match n < KEYS {
            true => n,
            false => (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % KEYS,
        };
        append(&mut store, &format!("key.{key}"), &[7; 600]);
        if n % 50 != 0 {
            continue;
        }
        store.commit().unwrap();
        now = now + Duration::from_millis(1);
        while let Some(job) = store.poll_job(now) {
            rewritten += usize::from(matches!(job, Job::Rewrite(_)));
            jobs.push_back((n + 500, job));
        }
        while let Some((_, job)) = jobs.pop_front_if(|(due, _)| *due <= n) {
            store.handle_done(job.run()).unwrap();
        }
        most = most.max(store.state().file_bytes);
    }
    let alive = store.bytes();
    assert!(most < 2 * alive + (8 << 20), "{most} for {alive}");
    assert!(rewritten > 3, "{rewritten}");
    store.sync().unwrap();
    drop((store, jobs));
    disk.restart();
    let (mut store, opened) = open(&shared, &options);
    assert!(opened.log.is_sound(), "{opened:?}");
    let state = store.state();
    assert_eq!((state.messages, state.lost, state.bytes), (KEYS, 0, alive));
    let mut buffer = ReadBuffer::default();
    let (mut read, mut single) = (0, 0);
    for sequence in state.first.0..=state.last.0 {
        if let Ok(stored) = store.read(StreamSeq(sequence), &mut buffer) {
            read += 1;
            single += u64::from(stored.record.previous == StreamSeq(0));
        }
    }
    assert_eq!(read, KEYS);
    assert!(single > KEYS / 20, "{single}");
    let names = shared.list(&dir()).unwrap();
    let checkpoints = names.iter().filter(|e| e.name.starts_with("checkpoint"));
    assert_eq!(checkpoints.count(), 1);
}

/// How a run of the test below ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Kill,
    /// The checkpoints are damaged besides.
    Damage,
    /// Some of what came last is damaged.
    Rot,
    /// The power goes when a segment was written anew and a sync is under way.
    PowerCut,
}

/// Where all that comes replaces what there is, segments are written anew again and again by one checkpoint, but
/// not before what replaced their messages is on the disk. A start goes on from that checkpoint, and if it is
/// damaged, all is there still.
#[test]
fn segments_are_written_anew_by_a_checkpoint_of_before() {
    for end in [End::Kill, End::Damage, End::Rot, End::PowerCut] {
        let rebuilt = (0..4).filter(|seed| write_anew(*seed, end)).count();
        match end {
            End::Kill | End::PowerCut => assert_eq!(rebuilt, 0, "{end:?}"),
            End::Damage => assert_eq!(rebuilt, 4),
            End::Rot => assert!(rebuilt > 0),
        }
    }
}

/// Says whether the checkpoint was of no use at the end.
fn write_anew(seed: u64, end: End) -> bool {
    const KEYS: usize = 2000;
    let (disk, shared, mut options) = one_a_subject(seed, 40_000);
    options.log.sync = SyncMode::Interval(Duration::from_secs(3600));
    let (mut store, _) = open(&shared, &options);
    let consumer = store.create_consumer("c", b"{}", AckPolicy::Explicit, StreamSeq(0));
    let (consumer, _) = consumer.unwrap();
    let (mut rng, mut now) = (Rng::new(seed), Mono::ZERO);
    let (mut checkpoints, mut rewritten, mut syncs) = (0, 0, VecDeque::new());
    let mut puts = vec![];
    'run: for n in 0..30_000usize {
        let key = format!("key.{}", rng.below(KEYS));
        let sequence = append(&mut store, &key, &vec![7; n % 50]);
        puts.push(key);
        assert_eq!(sequence.0, puts.len() as u64);
        if n % 50 != 0 {
            continue;
        }
        // Records that are no messages stand between.
        let event = Event::Skipped { stream: sequence };
        store.record(consumer, event).unwrap();
        store.append_events().unwrap();
        store.commit().unwrap();
        now = now + Duration::from_millis(20);
        while let Some(job) = store.poll_job(now) {
            let is_rewriting = matches!(job, Job::Rewrite(_));
            checkpoints += usize::from(matches!(job, Job::Checkpoint(_)));
            rewritten += usize::from(is_rewriting);
            match job {
                // Each sync takes until more has come.
                Job::Sync(_) => syncs.push_back((n + 50, job)),
                job => store.handle_done(job.run()).unwrap(),
            }
            let is_time = end == End::PowerCut && n > 20_000 && !syncs.is_empty();
            if is_time && is_rewriting {
                break 'run;
            }
        }
        while let Some((_, job)) = syncs.pop_front_if(|(due, _)| *due <= n) {
            store.handle_done(job.run()).unwrap();
        }
    }
    assert!(rewritten > 10 * checkpoints, "{rewritten}, {checkpoints}");
    store.commit().unwrap();
    let durable = store.log().durable();
    drop((store, syncs));
    match end {
        End::PowerCut => disk.restart(),
        End::Kill | End::Damage | End::Rot => disk.kill(),
    }
    if end == End::Damage {
        let copies = ["checkpoint.a", "checkpoint.b"].map(|name| dir().join(name));
        for path in disk.paths().iter().filter(|path| copies.contains(path)) {
            disk.damage(path, |bytes| bytes[100] ^= 1);
        }
    }
    if end == End::Rot {
        return rot(&disk, &shared, &options);
    }
    let (mut store, opened) = open(&shared, &options);
    assert!(opened.log.is_sound(), "{opened:?}");
    assert!(opened.last >= durable);
    let state = store.state();
    if end != End::PowerCut {
        assert_eq!(state.last.0, puts.len() as u64);
    }
    let mut values = BTreeMap::new();
    for (n, key) in puts
        .iter()
        .enumerate()
        .take(usize::try_from(state.last.0).unwrap())
    {
        values.insert(key, n);
    }
    let bytes: usize = values
        .iter()
        .map(|(key, n)| 30 + key.len() + 28 + n % 50)
        .sum();
    let is = (state.messages, state.bytes, state.lost);
    assert_eq!(is, (values.len() as u64, bytes as u64, 0));
    let mut buffer = ReadBuffer::default();
    for (key, n) in values {
        let stored = store
            .last_on(key.as_bytes(), state.last, &mut buffer)
            .unwrap();
        assert_eq!(stored.record.sequence.0, n as u64 + 1);
        assert_eq!(stored.record.payload, vec![7; n % 50]);
    }
    opened.rebuilt
}

/// Of messages that took the place of others some are damaged, and those that they replaced were left out: none is
/// counted that is not there.
fn rot(disk: &FaultyDisk, shared: &Arc<dyn Disk>, options: &StoreOptions) -> bool {
    let mut segments: Vec<_> = disk.paths().into_iter().collect();
    // Others end where something is damaged.
    segments.retain(|path| {
        let is_segment = path.extension().is_some_and(|e| e == "seg");
        is_segment && memchr::memmem::find(&disk.bytes(path), b"NATSIDX\n").is_some()
    });
    segments.sort();
    for path in segments.iter().rev().take(3) {
        disk.damage(path, |bytes| {
            // Behind these are the tables.
            let data = bytes.len() / 4 * 3;
            bytes[..data]
                .iter_mut()
                .skip(1000)
                .step_by(3001)
                .for_each(|b| *b ^= 1);
        });
    }
    let (mut store, opened) = open(shared, options);
    let state = store.state();
    assert_eq!(opened.rebuilt, state.lost > 0);
    let mut buffer = ReadBuffer::default();
    let all = (state.first.0..=state.last.0).map(StreamSeq);
    let there = all.filter(|sequence| store.read(*sequence, &mut buffer).is_ok());
    let there = there.count() as u64;
    assert_eq!(there, store.state().messages);
    let mut counted = 0;
    let all = Filters::all();
    store.subjects(&all, &mut Cursor::start(), usize::MAX, |_, count| {
        counted += count;
        ControlFlow::Continue(())
    });
    assert!(counted >= there);
    opened.rebuilt
}
