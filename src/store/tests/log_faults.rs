//! The log on a disk that fails: whatever happens, every acknowledged record is there, none is
//! invented, and their order is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crypt::key_at;
use super::faulty::{Fault, FaultyDisk};
use super::seeds::for_seeds;
use super::versions::records_at;
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::store::file::format::{Footer, Kind, Layout, SegmentHeader};
use crate::store::file::{
    Changes, Draft, Handles, Known, Log, LogOptions, ReadBuffer, Recovery, Rewritten, SyncJob,
    SyncMode,
};
use crate::store::index::SequenceSet;
use crate::store::types::{LogIndex, StreamId, StreamSeq, Term, Timestamp};
use crate::store::{LogError, Reason};

/// What was given to the log under some index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Given {
    pub(super) kind: Kind,
    pub(super) sequence: StreamSeq,
    pub(super) payload: Vec<u8>,
}

/// A log, and what must be in it.
struct Run {
    rng: Rng,
    seed: u64,
    openings: u64,
    disk: FaultyDisk,
    options: LogOptions,
    log: Option<Log>,
    jobs: Vec<SyncJob>,
    /// What was given, by index from 1.
    given: Vec<Given>,
    /// Given when the log failed: it may be there or not.
    doubtful: Option<Given>,
    /// The last index that was acknowledged.
    acked: LogIndex,
    next: u8,
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/streams/s")
}

pub(super) fn stream() -> StreamId {
    StreamId::new("A", "S", [7; 16])
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::new(seed);
        let disk = FaultyDisk::new(rng.next_u64());
        let mut options = LogOptions::new(Arc::new(Handles::new(3)));
        options.segment_bytes = [2000, 5000, 20_000, 100_000][rng.below(4)];
        if rng.below(4) == 0 {
            options.sync = SyncMode::Interval(std::time::Duration::ZERO);
        }
        Run {
            rng,
            seed,
            openings: 0,
            disk,
            options,
            log: None,
            jobs: vec![],
            given: vec![],
            doubtful: None,
            acked: LogIndex(0),
            next: 0,
        }
    }

    fn open(&mut self, known: Known) -> Result<Recovery, LogError> {
        self.options.key = key_at(self.seed, self.openings);
        self.options.records = records_at(self.seed, self.openings);
        self.openings += 1;
        let (log, report) = open(&self.disk, &self.options, known)?;
        self.log = Some(log);
        Ok(report)
    }

    /// Opens the log whatever happens meanwhile, and checks what is in it.
    fn recover(&mut self, trust_upto: Option<LogIndex>) {
        self.log = None;
        self.jobs.clear();
        let mut trust_upto = trust_upto;
        for attempt in 0.. {
            if attempt < 4 && self.rng.below(2) == 0 {
                let fault =
                    [Fault::Crash, Fault::Crash, Fault::Eio, Fault::Full][self.rng.below(4)];
                self.disk.plan(1 + self.rng.below(12) as u64, fault);
            }
            let known = Known {
                trust_upto,
                ..Known::default()
            };
            match self.open(known) {
                Ok(report) => {
                    assert!(report.is_sound(), "{report:?}");
                    break;
                }
                Err(error) => {
                    assert!(attempt < 4, "{error}");
                    if self.disk.is_dead() {
                        self.disk.restart();
                        trust_upto = None;
                    }
                }
            }
            self.disk.free();
        }
        self.disk.free();
        let log = self.log.as_mut().unwrap();
        let last = log.last_index();
        assert!(last >= self.acked, "{last} of {} acknowledged", self.acked);
        if let Some(upto) = trust_upto {
            assert_eq!(last, upto);
        }
        if let Some(doubtful) = self.doubtful.take() {
            self.given.push(doubtful);
        }
        assert!(last.0 <= self.given.len() as u64, "invented");
        self.given.truncate(usize::try_from(last.0).unwrap());
        assert_eq!(log.durable(), last);
        self.acked = last;
        self.check();
    }

    fn check(&mut self) {
        let log = self.log.as_mut().unwrap();
        let mut buffer = ReadBuffer::default();
        for (i, given) in self.given.iter().enumerate() {
            let stored = log.read(LogIndex(i as u64 + 1), &mut buffer);
            let stored = stored.unwrap_or_else(|e| panic!("record {}: {e}", i + 1));
            let record = stored.record;
            assert!(record.payload == given.payload, "record {}", i + 1);
            assert_eq!((record.kind, record.sequence), (given.kind, given.sequence));
            if given.kind == Kind::Message {
                let message = log.read_message(given.sequence, &mut buffer);
                let message = message.unwrap_or_else(|e| panic!("{}: {e}", given.sequence));
                assert!(message.record.payload == given.payload);
            }
        }
        let end = LogIndex(self.given.len() as u64 + 1);
        assert!(matches!(log.read(end, &mut buffer), Err(LogError::Absent)));
    }

    fn step(&mut self) {
        let log = self.log.as_mut().unwrap();
        match self.rng.below(10) {
            0..6 => self.append(),
            6..8 => {
                let _ = log.commit();
                while let Some(job) = log.poll_sync(Mono::ZERO) {
                    self.jobs.push(job);
                }
            }
            _ => {
                if !self.jobs.is_empty() {
                    let at = self.rng.below(self.jobs.len());
                    let done = self.jobs.swap_remove(at).run();
                    log.handle_synced(done);
                }
            }
        }
        let log = self.log.as_ref().unwrap();
        if self.options.sync == SyncMode::Always {
            self.acked = self.acked.max(log.acknowledged());
        } else {
            self.acked = self.acked.max(log.durable());
            assert!(log.acknowledged() >= log.durable());
        }
    }

    fn append(&mut self) {
        let len = match self.rng.below(20) {
            0 => self.rng.below(100_000),
            1..4 => self.rng.below(3000),
            _ => self.rng.below(100),
        };
        self.append_bytes(len);
    }

    fn append_bytes(&mut self, len: usize) {
        self.next = self.next.wrapping_add(1);
        let payload = vec![self.next; len];
        let log = self.log.as_mut().unwrap();
        let (kind, step) = match self.rng.below(8) {
            0 => (Kind::Delete, 0),
            1 => (Kind::Skip, 1 + self.rng.below(3) as u64),
            2 => (Kind::Message, 1 + self.rng.below(3) as u64),
            _ => (Kind::Message, 1),
        };
        let sequence = StreamSeq(log.last_sequence().0 + step);
        let given = Given {
            kind,
            sequence,
            payload,
        };
        match log.append(&draft(&given)) {
            Ok(index) => {
                assert_eq!(index.0, self.given.len() as u64 + 1);
                self.given.push(given);
            }
            Err(LogError::Io(_)) if self.doubtful.is_none() => self.doubtful = Some(given),
            Err(LogError::Io(_) | LogError::Full | LogError::ReadOnly(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) fn draft(given: &Given) -> Draft<'_> {
    Draft {
        kind: given.kind,
        term: Term(0),
        sequence: given.sequence,
        timestamp: Timestamp(given.sequence.0),
        previous: StreamSeq(0),
        ttl_s: 0,
        subject: b"a.b",
        headers: b"",
        payload: &given.payload,
    }
}

fn open(
    disk: &FaultyDisk,
    options: &LogOptions,
    known: Known,
) -> Result<(Log, Recovery), LogError> {
    let disk = Arc::new(disk.clone());
    Log::open(disk, &dir(), stream(), options.clone(), known, &mut |_| {})
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    run.recover(None);
    for _ in 0..4 {
        let fault = [Fault::Crash, Fault::Eio, Fault::Full][run.rng.below(3)];
        if run.rng.below(4) > 0 {
            let calls = 1 + run.rng.below(100) as u64;
            run.disk.plan(calls, fault);
        }
        for _ in 0..run.rng.below(120) {
            run.step();
            if run.disk.is_dead() {
                break;
            }
            if run.rng.below(20) == 0 && fault == Fault::Full {
                run.disk.free();
            }
        }
        let log = run.log.as_ref().unwrap();
        let durable = log.durable();
        let failed = log.failure().is_some();
        match run.rng.below(3) {
            _ if run.disk.is_dead() => {
                run.disk.restart();
                run.recover(None);
            }
            0 if failed => {
                run.disk.free();
                run.doubtful = None;
                run.recover(Some(durable));
            }
            // Without a restart of the system, a log that failed is opened as above.
            1 if !failed => {
                run.disk.kill();
                run.recover(None);
            }
            _ => {
                run.disk.restart();
                run.recover(None);
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_whatever_the_disk_does() {
    for_seeds("log faults", 300, run);
}

/// Zeros in memory hide what the disk still has when the sync of a repair fails; the next opening has
/// to overwrite it again, or it stands behind what was acknowledged since.
#[test]
fn a_torn_end_whose_repair_failed_does_not_come_back() {
    for_seeds("failed repairs", 500, |seed| {
        let mut run = Run::new(seed);
        run.options.segment_bytes = 20_000;
        run.options.sync = SyncMode::Always;
        run.recover(None);
        run.disk.free();
        for _ in 0..10 {
            run.append();
        }
        run.log.as_mut().unwrap().sync().unwrap();
        run.acked = run.log.as_ref().unwrap().acknowledged();
        // Each in sectors of its own, so that some are lost and others behind them are not.
        for _ in 0..4 {
            run.append_bytes(600);
        }
        let _ = run.log.as_mut().unwrap().commit();
        run.disk.restart();
        run.log = None;
        // Its last change of the disk is a sync, whose failure is forgotten.
        for _ in 0..4 {
            run.disk.plan(10 + run.rng.below(15) as u64, Fault::Eio);
            if run.open(Known::default()).is_ok() {
                break;
            }
        }
        run.disk.free();
        run.log = None;
        run.open(Known::default()).unwrap();
        run.given
            .truncate(run.log.as_ref().unwrap().last_index().0 as usize);
        for _ in 0..run.rng.below(20) {
            run.append();
        }
        run.log.as_mut().unwrap().sync().unwrap();
        run.acked = run.log.as_ref().unwrap().acknowledged();
        run.disk.restart();
        run.recover(None);
    });
}

/// A footer proves all that is before it, so it waits for the names of the segments, also where
/// opening leaves the rest to a sync that comes later.
#[test]
fn segments_are_completed_when_the_disk_has_their_names() {
    for_seeds("names of segments", 200, |seed| {
        let mut run = Run::new(seed);
        run.options.segment_bytes = 2000;
        run.options.sync = SyncMode::Interval(std::time::Duration::ZERO);
        run.recover(None);
        for _ in 0..4 {
            run.append_bytes(3000);
        }
        let _ = run.log.as_mut().unwrap().commit();
        run.disk.kill();
        run.log = None;
        run.options.opens_unsynced = true;
        let _ = run.open(Known::default());
        run.log = None;
        run.disk.restart();
        run.options.opens_unsynced = false;
        run.recover(None);
    });
}

/// A synced log with records in several segments, closed.
fn written(seed: u64) -> Run {
    let mut run = Run::new(seed);
    run.options.segment_bytes = 5000;
    run.options.sync = SyncMode::Always;
    run.recover(None);
    for _ in 0..60 {
        run.append();
        if run.rng.below(3) == 0 {
            run.log.as_mut().unwrap().sync().unwrap();
        }
    }
    run.log.as_mut().unwrap().sync().unwrap();
    run.log = None;
    run
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let is_segment = |p: &PathBuf| p.extension().is_some_and(|e| e == "seg");
    disk.paths().into_iter().filter(is_segment).collect()
}

/// Opens the log and says which records cannot be read; all others must be as they were given.
fn unreadable(run: &mut Run) -> (Vec<LogIndex>, Recovery) {
    let known = Known {
        durable: LogIndex(run.given.len() as u64),
        sequence: run.given.last().unwrap().sequence,
        ..Known::default()
    };
    let report = run.open(known).unwrap();
    let log = run.log.as_mut().unwrap();
    assert_eq!(log.last_index(), known.durable, "the log does not shrink");
    assert_eq!(log.last_sequence(), known.sequence, "nor do its sequences");
    let mut buffer = ReadBuffer::default();
    let mut bad = vec![];
    for (i, given) in run.given.iter().enumerate() {
        let index = LogIndex(i as u64 + 1);
        match log.read(index, &mut buffer) {
            Ok(stored) => assert!(stored.record.payload == given.payload, "record {index}"),
            Err(LogError::Damaged | LogError::Absent) => bad.push(index),
            Err(error) => panic!("{error}"),
        }
    }
    (bad, report)
}

fn is_reported(report: &Recovery, index: LogIndex) -> bool {
    let lost = &report.lost;
    lost.iter()
        .any(|run| (run.first..=run.last).contains(&index))
}

/// Appending goes on after any damage, and what is appended is there later.
fn goes_on(run: &mut Run) {
    let log = run.log.as_mut().unwrap();
    let before = log.last_index();
    let given = Given {
        kind: Kind::Message,
        sequence: log.last_sequence().next(),
        payload: vec![99; 500],
    };
    assert_eq!(log.append(&draft(&given)).unwrap(), before.next());
    log.sync().unwrap();
    run.given.push(given);
    run.log = None;
    let (bad, _) = unreadable(run);
    assert!(!bad.contains(&before.next()));
}

#[test]
fn a_flipped_bit_costs_the_record_that_it_hits_and_no_other() {
    for_seeds("flipped bits", 150, |seed| {
        let mut run = written(seed);
        let paths = segments(&run.disk);
        let path = &paths[run.rng.below(paths.len())];
        let len = run.disk.bytes(path).len();
        let (byte, bit) = (run.rng.below(len), run.rng.below(8));
        run.disk.damage(path, |bytes| bytes[byte] ^= 1 << bit);
        let (bad, report) = unreadable(&mut run);
        assert!(bad.len() <= 1, "{path:?} {byte}: {bad:?} {report:?}");
        assert!(report.foreign.is_empty(), "{report:?}");
        goes_on(&mut run);
    });
}

#[test]
fn a_lost_page_costs_the_records_in_it_and_no_other() {
    for_seeds("lost pages", 100, |seed| {
        let mut run = written(seed);
        let paths = segments(&run.disk);
        let path = &paths[run.rng.below(paths.len())];
        let garbage = run.rng.below(256) as u8 * (seed % 2) as u8;
        let len = run.disk.bytes(path).len();
        let start = run.rng.below(len.div_ceil(512)) * 512;
        let end = (start + 512).min(len);
        run.disk
            .damage(path, |bytes| bytes[start..end].fill(garbage));
        let (bad, _) = unreadable(&mut run);
        // Records have 25 bytes at least.
        assert!(bad.len() <= 512 / 25 + 2, "{bad:?}");
        let runs = bad.windows(2).filter(|w| w[0].next() != w[1]).count();
        assert_eq!(runs, 0, "they are neighbours: {bad:?}");
        goes_on(&mut run);
    });
}

#[test]
fn a_segment_that_is_gone_costs_its_records_and_no_other() {
    for_seeds("lost segments", 50, |seed| {
        let mut run = written(seed);
        let paths = segments(&run.disk);
        let path = &paths[run.rng.below(paths.len())];
        let is_last = Some(path) == paths.last();
        run.disk.take(path);
        let (bad, report) = unreadable(&mut run);
        let runs = bad.windows(2).filter(|w| w[0].next() != w[1]).count();
        assert_eq!(runs, 0, "they are neighbours: {bad:?}");
        // A head that is gone looks like one that was given up, unless a checkpoint says otherwise.
        if path != &paths[0] || is_last {
            assert!(bad.iter().all(|i| is_reported(&report, *i)), "{report:?}");
        }
        goes_on(&mut run);
    });
}

#[test]
fn foreign_and_older_segments_are_set_aside() {
    for_seeds("foreign segments", 50, |seed| {
        let mut run = written(seed);
        let other = written(seed + 1_000_000);
        let paths = segments(&run.disk);
        let at = run.rng.below(paths.len());
        match seed % 3 {
            // Another place of the same log.
            0 => {
                let from = run.rng.below(paths.len());
                if from == at {
                    return;
                }
                run.disk.put(&paths[at], run.disk.bytes(&paths[from]));
            }
            // Another log of the same stream: an older copy, in which other things happened.
            1 => {
                let theirs = segments(&other.disk);
                let Some(path) = theirs.get(at) else {
                    return;
                };
                let bytes = other.disk.bytes(path);
                let header = SegmentHeader::decode(&bytes).unwrap();
                // Nothing tells apart two beginnings.
                if header.first_index == LogIndex(1) {
                    return;
                }
                // Without a key the log is not opened.
                if header.is_encrypted() && run.options.key.is_none() {
                    return;
                }
                run.disk.put(&paths[at], bytes);
            }
            // Another stream.
            _ => {
                let mut bytes = run.disk.bytes(&paths[at]);
                let mut header = SegmentHeader::decode(&bytes).unwrap();
                header.stream.incarnation[0] ^= 1;
                bytes[..256].copy_from_slice(&header.encode().repeat(2));
                run.disk.put(&paths[at], bytes);
            }
        }
        let (_, report) = unreadable(&mut run);
        assert!(!report.foreign.is_empty(), "{report:?}");
        let name = format!("{}.foreign", paths[at].file_name().unwrap().display());
        assert_eq!(report.foreign, std::slice::from_ref(&name));
        assert!(run.disk.paths().contains(&dir().join(name)), "it is kept");
        goes_on(&mut run);
    });
}

#[test]
fn a_newer_version_and_a_lock_leave_all_as_it_is() {
    let run = written(1);
    let path = segments(&run.disk)[0].clone();
    let mut bytes = run.disk.bytes(&path);
    for copy in [0, 128] {
        bytes[copy + 8] = 3;
        let crc = crc32c::crc32c(&bytes[copy..copy + 124]);
        bytes[copy + 124..copy + 128].copy_from_slice(&crc.to_le_bytes());
    }
    run.disk.put(&path, bytes);
    let before: Vec<_> = run.disk.paths().iter().map(|p| run.disk.bytes(p)).collect();
    let error = open(&run.disk, &run.options, Known::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("version 3") && text.contains(".seg"),
        "{text}"
    );
    let after: Vec<_> = run.disk.paths().iter().map(|p| run.disk.bytes(p)).collect();
    assert!(before == after);

    let run = written(2);
    let first = open(&run.disk, &run.options, Known::default()).unwrap();
    let second = open(&run.disk, &run.options, Known::default()).unwrap_err();
    assert!(matches!(second, LogError::Locked(_)));
    drop(first);
    open(&run.disk, &run.options, Known::default()).unwrap();
}

#[test]
fn a_log_that_failed_says_why_and_takes_nothing() {
    let mut run = Run::new(5);
    run.recover(None);
    run.append();
    let log = run.log.as_mut().unwrap();
    log.commit().unwrap();
    run.disk.plan(1, Fault::Eio);
    let job = log.poll_sync(Mono::ZERO).unwrap();
    assert!(log.poll_sync(Mono::ZERO).is_none(), "one at a time");
    log.handle_synced(job.run());
    let Some(Reason { text, .. }) = log.failure() else {
        panic!("it failed");
    };
    assert!(
        text.starts_with("sync /streams/s/0000000000000001.seg: "),
        "{text}"
    );
    assert_eq!(log.acknowledged(), LogIndex(0));
    let given = run.given[0].clone();
    let refused = log.append(&draft(&given)).unwrap_err();
    assert!(matches!(refused, LogError::ReadOnly(_)));
    assert!(matches!(log.commit(), Err(LogError::ReadOnly(_))));
    assert!(log.poll_sync(Mono::ZERO).is_none());
    // What was acknowledged can still be read; here that is nothing, and what was written is.
    assert!(log.read(LogIndex(1), &mut ReadBuffer::default()).is_ok());
}

#[test]
fn want_of_room_is_an_error_of_the_call_and_passes() {
    let mut run = Run::new(6);
    run.options.segment_bytes = 100_000;
    run.recover(None);
    for _ in 0..20 {
        run.append();
    }
    run.disk.plan(1, Fault::Full);
    let mut refused = 0;
    for _ in 0..200 {
        let before = run.given.len();
        run.append();
        refused += usize::from(run.given.len() == before);
    }
    assert!(refused > 0 && run.given.len() > 20, "room is used up first");
    run.log.as_mut().unwrap().sync().unwrap();
    run.check();
    run.disk.free();
    let before = run.given.len();
    for _ in 0..20 {
        run.append();
    }
    assert_eq!(run.given.len(), before + 20);
    run.acked = LogIndex(run.given.len() as u64);
    run.log.as_mut().unwrap().sync().unwrap();
    run.disk.restart();
    run.recover(None);
}

#[test]
fn a_directory_of_other_files_is_an_empty_log() {
    let disk = FaultyDisk::new(1);
    let notes = dir().join("notes.txt");
    disk.put(&notes, b"not a segment".to_vec());
    disk.put(&Path::new("/streams/s").join("1.seg"), b"nor this".to_vec());
    let options = LogOptions::new(Arc::new(Handles::new(1)));
    let (log, report) = open(&disk, &options, Known::default()).unwrap();
    assert!(report.is_sound() && log.last_index() == LogIndex(0));
    assert_eq!(disk.bytes(&notes), b"not a segment");
}

/// Writes complete segments anew, each with these changes.
fn rewrite_all(log: &mut Log, changes: &Changes) -> usize {
    let (mut from, mut done) = (0, 0);
    while let Some(span) = log.span(from) {
        from = span.number + 1;
        let job = log
            .rewrite(span.number, span.number, changes.clone())
            .unwrap()
            .unwrap();
        match log.handle_rewritten(job.run()) {
            Rewritten::Done(..) => done += 1,
            other => panic!("{other:?}"),
        }
    }
    done
}

/// Whole, and with its footers gone.
#[test]
fn segments_that_were_written_anew_have_what_they_had() {
    for_seeds("rewritten segments", 60, |seed| {
        let mut run = written(seed);
        run.open(Known::default()).unwrap();
        for round in 0..3 {
            let layout = [Layout::Plain, Layout::Packed][run.rng.below(2)];
            let changes = Changes {
                layout,
                ..Changes::default()
            };
            let done = rewrite_all(run.log.as_mut().unwrap(), &changes);
            run.check();
            run.log = None;
            if round == 1 {
                let paths = segments(&run.disk);
                for path in &paths[..done] {
                    let len = run.disk.bytes(path).len();
                    run.disk.damage(path, |bytes| bytes[len - 256..].fill(0));
                }
            }
            let (bad, report) = unreadable(&mut run);
            assert!(bad.is_empty() && report.is_sound(), "{bad:?} {report:?}");
        }
        goes_on(&mut run);
    });
}

#[test]
fn what_is_left_out_is_absent_and_no_loss() {
    for_seeds("left out", 60, |seed| {
        let mut run = written(seed);
        run.open(Known::default()).unwrap();
        let mut dead = SequenceSet::new();
        for given in &run.given {
            if given.kind == Kind::Message && run.rng.below(3) > 0 {
                dead.insert(given.sequence);
            }
        }
        let layout = [Layout::Plain, Layout::Packed][run.rng.below(2)];
        let changes = Changes {
            dead: dead.clone(),
            layout,
            ..Changes::default()
        };
        let before = run.log.as_ref().unwrap().file_bytes();
        let log = run.log.as_mut().unwrap();
        let mut done = rewrite_all(log, &changes);
        assert!(done == 0 || log.file_bytes() < before);
        // What lacks some is written anew once more, with some more left out.
        for given in &run.given {
            if given.kind == Kind::Message && run.rng.below(4) == 0 {
                dead.insert(given.sequence);
            }
        }
        let changes = Changes {
            dead: dead.clone(),
            ..changes
        };
        for _ in 0..1 + run.rng.below(2) {
            done = rewrite_all(log, &changes);
        }
        let complete = log.span(0).map_or(LogIndex(0), |first| {
            let last = log.span(first.number + done as u64 - 1);
            last.map_or(LogIndex(0), |last| last.last_index)
        });
        run.log = None;
        for path in &segments(&run.disk)[..done] {
            let len = run.disk.bytes(path).len();
            let end = Footer::decode(&run.disk.bytes(path), len as u64).unwrap();
            let tables = end.data_end as usize;
            let at = tables + run.rng.below(len - tables);
            run.disk.damage(path, |bytes| match seed % 3 {
                0 => bytes[len - 256..].fill(0),
                1 => bytes[at] ^= 1,
                _ => {}
            });
        }
        let known = Known {
            durable: LogIndex(run.given.len() as u64),
            ..Known::default()
        };
        let report = run.open(known).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let log = run.log.as_mut().unwrap();
        let mut buffer = ReadBuffer::default();
        for (i, given) in run.given.iter().enumerate() {
            let index = LogIndex(i as u64 + 1);
            let is_message = given.kind == Kind::Message;
            let may_miss = dead.contains(given.sequence) && is_message;
            if is_message && !may_miss {
                let stored = log.read_message(given.sequence, &mut buffer).unwrap();
                assert_eq!(stored.record.index, index);
            }
            match log.read(index, &mut buffer) {
                Ok(stored) if stored.record.erased => assert!(may_miss),
                Ok(stored) => {
                    assert!(stored.record.payload == given.payload);
                    assert!(!may_miss || index > complete, "{index} is there");
                }
                Err(LogError::Absent) => assert!(may_miss, "{index} is missing"),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// A block is damaged as a whole, and its neighbours are not.
#[test]
fn a_flipped_bit_in_a_packed_segment_costs_its_block_and_no_other() {
    for_seeds("flipped bits in blocks", 100, |seed| {
        let mut run = written(seed);
        run.open(Known::default()).unwrap();
        let changes = Changes {
            layout: Layout::Packed,
            ..Changes::default()
        };
        let done = rewrite_all(run.log.as_mut().unwrap(), &changes);
        run.log = None;
        let path = &segments(&run.disk)[run.rng.below(done)];
        let len = run.disk.bytes(path).len();
        let (byte, bit) = (run.rng.below(len), run.rng.below(8));
        run.disk.damage(path, |bytes| bytes[byte] ^= 1 << bit);
        let (bad, report) = unreadable(&mut run);
        let runs = bad.windows(2).filter(|w| w[0].next() != w[1]).count();
        assert_eq!(runs, 0, "they are neighbours: {bad:?}");
        assert!(report.foreign.is_empty(), "{report:?}");
        goes_on(&mut run);
    });
}
