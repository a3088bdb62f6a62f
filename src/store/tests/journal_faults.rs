//! Several logs and one commit journal on a disk that fails: whatever happens, every acknowledged
//! record is in its log, none is invented, and their order is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::crypt::key_at;
use super::faulty::{Fault, FaultyDisk};
use super::log_faults::{Given, draft};
use super::seeds::for_seeds;
use super::versions::records_at;
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::store::LogError;
use crate::store::disk::Disk;
use crate::store::error::Reason;
use crate::store::file::format::{JOURNAL_START, Kind};
use crate::store::file::{
    Handles, Known, Log, LogOptions, ReadBuffer, Recovery, SyncJob, SyncMode, Tail,
};
use crate::store::journal::{Journal, JournalJob, JournalOptions, Replayed, StreamKey, Streams};
use crate::store::types::{LogIndex, StreamId, StreamSeq};

/// A log, and what must be in it.
struct Stream {
    dir: PathBuf,
    id: StreamId,
    options: LogOptions,
    log: Option<Log>,
    given: Vec<Given>,
    /// Given when the log failed: it may be there or not.
    doubtful: Option<Given>,
    acked: LogIndex,
    /// Nothing up to here is taken back.
    floor: LogIndex,
    was_uncut: bool,
    jobs: Vec<SyncJob>,
}

struct All(Vec<Stream>);

impl Streams for All {
    fn tail(&mut self, key: StreamKey) -> Option<Tail<'_>> {
        let stream = self.0.get_mut(usize::try_from(key.0).ok()?)?;
        Some(stream.log.as_mut()?.tail())
    }
}

struct Run {
    rng: Rng,
    disk: FaultyDisk,
    options: JournalOptions,
    journal: Option<Journal>,
    job: Option<JournalJob>,
    streams: All,
    now: Mono,
    next: u8,
    lives: u8,
    /// Batches that were on the disk for good.
    batches: usize,
    rescued: usize,
    truncated: usize,
    truncates: bool,
}

fn journal_dir() -> PathBuf {
    PathBuf::from("/journal")
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::new(seed);
        let disk = FaultyDisk::new(rng.next_u64());
        let options = JournalOptions {
            direct_streams: rng.below(3),
            direct_bytes: [500, 2000, 64 << 10][rng.below(3)],
            tails_bytes: [1000, 100_000][rng.below(2)],
            half_bytes_min: [4096, 20_000][rng.below(2)],
            half_bytes_max: 30_000,
            behind: Duration::from_millis(500),
        };
        let streams = (0..2 + rng.below(5)).map(|n| {
            let mut log = LogOptions::new(Arc::new(Handles::new(3)));
            log.opens_unsynced = rng.below(2) == 0;
            log.segment_bytes = [2000, 5000, 20_000, 100_000][rng.below(4)];
            if rng.below(8) == 0 {
                log.sync = SyncMode::Interval(Duration::ZERO);
            }
            Stream {
                dir: PathBuf::from(format!("/streams/{n}")),
                id: StreamId::new("A", &n.to_string(), [7; 16]),
                options: log,
                log: None,
                given: vec![],
                doubtful: None,
                acked: LogIndex(0),
                floor: LogIndex(0),
                was_uncut: false,
                jobs: vec![],
            }
        });
        let streams = All(streams.collect());
        Run {
            rng,
            disk,
            options,
            journal: None,
            job: None,
            streams,
            now: Mono::ZERO,
            next: 0,
            lives: 0,
            batches: 0,
            rescued: 0,
            truncated: 0,
            truncates: seed % 2 == 1,
        }
    }

    fn open_journal(&mut self) -> Result<Replayed, LogError> {
        self.journal = None;
        self.job = None;
        for stream in &mut self.streams.0 {
            stream.log = None;
            stream.jobs.clear();
        }
        self.lives += 1;
        let streams = &self.streams.0;
        let mut locate = |id: &StreamId| Some(streams.iter().find(|s| s.id == *id)?.dir.clone());
        let disk = Arc::new(self.disk.clone());
        let (journal, replayed) = Journal::open(
            disk,
            &journal_dir(),
            [self.lives; 16],
            self.options.clone(),
            &mut locate,
        )?;
        self.journal = Some(journal);
        Ok(replayed)
    }

    fn open(&mut self) -> Result<(Replayed, Vec<Recovery>), LogError> {
        let replayed = self.open_journal()?;
        let disk = Arc::new(self.disk.clone());
        let failed = |e| LogError::Io(Reason::new("sync", &journal_dir(), &e));
        let barrier = disk.barrier(&journal_dir()).map_err(failed)?;
        let mut reports = vec![];
        for (n, stream) in self.streams.0.iter_mut().enumerate() {
            let opening = u64::from(self.lives) - 1;
            stream.options.key = key_at(n as u64, opening);
            stream.options.records = records_at(n as u64, opening);
            stream.options.opens_unsynced &= barrier.is_some();
            let (disk, options) = (disk.clone(), stream.options.clone());
            let known = Known::default();
            let opened = Log::open(disk, &stream.dir, stream.id, options, known, &mut |_| {});
            let (log, report) = opened?;
            stream.log = Some(log);
            reports.push(report);
        }
        if let Some(barrier) = barrier {
            barrier.sync().map_err(failed)?;
            for stream in &mut self.streams.0 {
                stream.log.as_mut().unwrap().handle_barrier();
            }
        }
        Ok((replayed, reports))
    }

    /// Opens everything whatever happens meanwhile, and checks what is in it.
    fn recover(&mut self) {
        for attempt in 0.. {
            if attempt < 5 && self.rng.below(2) == 0 {
                let fault =
                    [Fault::Crash, Fault::Crash, Fault::Eio, Fault::Full][self.rng.below(4)];
                self.disk.plan(1 + self.rng.below(30) as u64, fault);
            }
            match self.open() {
                Ok((replayed, reports)) => {
                    assert_eq!(replayed.damaged, Vec::<String>::new());
                    for report in reports {
                        assert!(report.is_sound(), "{report:?}");
                    }
                    break;
                }
                Err(error) => {
                    assert!(attempt < 5, "{error}");
                    if self.disk.is_dead() {
                        self.disk.restart();
                    }
                }
            }
            self.disk.free();
        }
        self.disk.free();
        for (n, stream) in self.streams.0.iter_mut().enumerate() {
            stream.settle(n);
        }
    }

    fn turn(&mut self) {
        let mut keys = vec![];
        for n in 0..self.streams.0.len() {
            for _ in 0..self.rng.below(4) {
                self.append(n);
                keys.push(StreamKey(n as u64));
            }
        }
        keys.dedup();
        let journal = self.journal.as_mut().unwrap();
        for (key, error) in journal.commit(&keys, 0, &mut self.streams, self.now) {
            let log = self.streams.0[key.0 as usize].log.as_ref().unwrap();
            assert!(log.failure().is_some(), "{error}");
        }
        let job = journal.turn(self.now, &mut self.streams, &mut keys);
        assert!(self.job.is_none() || job.is_none(), "one at a time");
        self.job = self.job.take().or(job);
        self.finish(keys);
        self.now = Mono::from_nanos(self.now.as_nanos() + 1_000_000 * self.rng.below(400) as u64);
    }

    /// Runs some of the jobs that there are.
    fn finish(&mut self, mut keys: Vec<StreamKey>) {
        if self.rng.below(2) == 0
            && let Some(job) = self.job.take()
        {
            let done = job.run();
            let journal = self.journal.as_mut().unwrap();
            journal.handle_done(done, self.now, &mut self.streams, &mut keys);
            self.batches += usize::from(journal.failure().is_none());
        }
        for key in keys {
            let stream = &mut self.streams.0[key.0 as usize];
            let log = stream.log.as_mut().unwrap();
            stream.jobs.extend(log.poll_sync(self.now));
        }
        for stream in &mut self.streams.0 {
            if !stream.jobs.is_empty() && self.rng.below(2) == 0 {
                let at = self.rng.below(stream.jobs.len());
                let done = stream.jobs.swap_remove(at).run();
                let log = stream.log.as_mut().unwrap();
                log.handle_synced(done);
                stream.jobs.extend(log.poll_sync(self.now));
            }
            let log = stream.log.as_ref().unwrap();
            let acked = match stream.options.sync {
                SyncMode::Always => log.acknowledged(),
                SyncMode::Interval(_) => log.durable(),
            };
            stream.acked = stream.acked.max(acked);
        }
    }

    /// Opens a stream again whose log has failed, while the others go on.
    fn rescue(&mut self, n: usize) {
        let stream = &mut self.streams.0[n];
        let failed = |s: &Stream| s.log.as_ref().is_some_and(|log| log.failure().is_some());
        if !failed(stream) || self.disk.is_dead() {
            return;
        }
        self.disk.free();
        let (id, dir) = (stream.id, stream.dir.clone());
        let journal = self.journal.as_mut().unwrap();
        let place = [(StreamKey(n as u64), id, dir)];
        let mut keys = vec![];
        if !journal
            .rescue(&place, self.now, &mut self.streams, &mut keys)
            .unwrap()
        {
            self.finish(keys);
            return;
        }
        let stream = &mut self.streams.0[n];
        let durable = stream.log.take().unwrap().durable();
        stream.jobs.clear();
        let known = Known {
            trust_upto: Some(durable),
            ..Known::default()
        };
        let disk = Arc::new(self.disk.clone());
        let options = LogOptions {
            opens_unsynced: false,
            ..stream.options.clone()
        };
        let opened = Log::open(disk, &stream.dir, stream.id, options, known, &mut |_| {});
        let (log, report) = opened.unwrap();
        assert!(report.is_sound(), "{report:?}");
        // Of a log that could not be cut off, complete segments may be left.
        let last = log.last_index();
        assert!(last == durable || stream.was_uncut && last > durable);
        assert!(durable >= stream.acked);
        stream.log = Some(log);
        stream.doubtful = None;
        stream.was_uncut = false;
        stream.settle(n);
        self.rescued += 1;
    }

    /// Takes back some records of a stream which were not agreed upon.
    fn truncate(&mut self, n: usize) {
        let stream = &mut self.streams.0[n];
        let floor = stream.floor.0 as usize;
        if stream.given.len() <= floor {
            return;
        }
        let keep = floor + self.rng.below(stream.given.len() - floor);
        stream.floor = LogIndex((floor + self.rng.below(keep - floor + 1)) as u64);
        let index = LogIndex(keep as u64);
        let before = stream.acked;
        stream.acked = stream.acked.min(index);
        let result = stream.log.as_mut().unwrap().truncate_after(index);
        match result {
            Ok(()) => {
                stream.given.truncate(keep);
                self.truncated += 1;
                stream.check(n);
            }
            Err(LogError::Busy | LogError::Full) => stream.acked = before,
            Err(LogError::Io(_)) => stream.was_uncut = true,
            Err(LogError::ReadOnly(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn append(&mut self, n: usize) {
        let len = match self.rng.below(40) {
            0 => self.rng.below(70_000),
            1..4 => self.rng.below(3000),
            _ => self.rng.below(100),
        };
        self.next = self.next.wrapping_add(1);
        let kind = [Kind::Delete, Kind::Message, Kind::Message][self.rng.below(3)];
        self.streams.0[n].append(kind, vec![self.next; len]);
        self.streams.0[n].look(&mut self.rng);
        match self.rng.below(30) {
            0 => self.rescue(n),
            1 if self.truncates => self.truncate(n),
            _ => {}
        }
    }
}

impl Stream {
    fn append(&mut self, kind: Kind, payload: Vec<u8>) {
        let log = self.log.as_mut().unwrap();
        let step = u64::from(kind == Kind::Message);
        let given = Given {
            kind,
            sequence: StreamSeq(log.last_sequence().0 + step),
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

    /// Reads some record, wherever it is.
    fn look(&mut self, rng: &mut Rng) {
        if self.given.is_empty() {
            return;
        }
        let at = rng.below(self.given.len());
        let mut buffer = ReadBuffer::default();
        let log = self.log.as_mut().unwrap();
        match log.read(LogIndex(at as u64 + 1), &mut buffer) {
            Ok(stored) => assert!(stored.record.payload == self.given[at].payload),
            Err(LogError::Io(_)) => {}
            Err(LogError::Damaged) if self.was_uncut => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn settle(&mut self, n: usize) {
        let log = self.log.as_mut().unwrap();
        let last = log.last_index();
        let acked = self.acked;
        assert!(last >= acked, "stream {n}: {last} of {acked} acknowledged");
        if let Some(doubtful) = self.doubtful.take() {
            self.given.push(doubtful);
        }
        assert!(last.0 <= self.given.len() as u64, "invented");
        self.given.truncate(usize::try_from(last.0).unwrap());
        self.acked = last;
        self.check(n);
    }

    fn check(&mut self, n: usize) {
        let log = self.log.as_mut().unwrap();
        let mut buffer = ReadBuffer::default();
        for (i, given) in self.given.iter().enumerate() {
            let stored = log.read(LogIndex(i as u64 + 1), &mut buffer);
            let stored = stored.unwrap_or_else(|e| panic!("stream {n}, record {}: {e}", i + 1));
            let record = stored.record;
            assert!(record.payload == given.payload, "{n}: record {}", i + 1);
            assert_eq!((record.kind, record.sequence), (given.kind, given.sequence));
        }
    }
}

fn run(seed: u64) -> Run {
    let mut run = Run::new(seed);
    run.recover();
    for _ in 0..4 {
        let fault = [Fault::Crash, Fault::Eio, Fault::Full][run.rng.below(3)];
        if run.rng.below(4) > 0 {
            let calls = 1 + run.rng.below(150) as u64;
            run.disk.plan(calls, fault);
        }
        for _ in 0..run.rng.below(60) {
            run.turn();
            if run.disk.is_dead() {
                break;
            }
            if run.rng.below(20) == 0 {
                run.disk.free();
            }
        }
        match run.disk.is_dead() || run.rng.below(2) == 0 {
            true => run.disk.restart(),
            false => run.disk.kill(),
        }
        run.recover();
    }
    run
}

#[test]
fn what_the_journal_acknowledged_survives_whatever_the_disk_does() {
    let seen = std::cell::Cell::new([0; 3]);
    for_seeds("journal faults", 200, |seed| {
        let run = run(seed);
        let now = [run.batches, run.rescued, run.truncated];
        let before = seen.get();
        seen.set([0, 1, 2].map(|i| before[i] + now[i]));
    });
    let seen = seen.get();
    let is_one = std::env::var("STORE_SEED").is_ok();
    assert!(
        is_one || seen.iter().all(|n| *n > 0),
        "all was tried: {seen:?}"
    );
}

/// Logs whose last records are in the journal only, closed as by a crash.
fn written(seed: u64) -> Run {
    let mut run = Run::new(seed);
    fill(&mut run);
    run.disk.restart();
    run
}

/// Gives ten records to each log, which the journal has.
fn fill(run: &mut Run) {
    run.options = JournalOptions {
        direct_streams: 0,
        ..JournalOptions::default()
    };
    for stream in &mut run.streams.0 {
        stream.options.segment_bytes = 100_000;
        stream.options.opens_unsynced = false;
        stream.options.sync = SyncMode::Always;
    }
    run.recover();
    for _ in 0..10 {
        let mut keys = vec![];
        for (n, stream) in run.streams.0.iter_mut().enumerate() {
            stream.append(Kind::Message, vec![n as u8; 50]);
            keys.push(StreamKey(n as u64));
        }
        let journal = run.journal.as_mut().unwrap();
        let failed = journal.commit(&keys, 0, &mut run.streams, Mono::ZERO);
        assert!(failed.is_empty());
        let job = journal.turn(Mono::ZERO, &mut run.streams, &mut keys);
        let done = job.unwrap().run();
        journal.handle_done(done, Mono::ZERO, &mut run.streams, &mut keys);
        for stream in &mut run.streams.0 {
            let log = stream.log.as_mut().unwrap();
            assert!(log.poll_sync(Mono::ZERO).is_none(), "the journal has it");
            assert_eq!(log.acknowledged(), log.last_index());
            stream.acked = log.acknowledged();
        }
    }
}

fn half(n: usize) -> PathBuf {
    journal_dir().join(["journal.a", "journal.b"][n])
}

#[test]
fn one_sync_makes_what_all_streams_appended_durable() {
    let mut run = written(1);
    let many = run.streams.0.len() as u64;
    let (replayed, _) = run.open().unwrap();
    assert_eq!((replayed.records, replayed.passed_over), (10 * many, 0));
    for (n, stream) in run.streams.0.iter_mut().enumerate() {
        stream.settle(n);
        assert_eq!(stream.given.len(), 10);
    }
    assert!(!run.disk.paths().contains(&half(0)), "it is of no use now");
}

#[test]
fn streams_that_are_gone_are_passed_over() {
    let mut run = written(2);
    // One is gone, another one was made anew under the same name.
    for path in run.disk.paths() {
        if path.starts_with("/streams/0") {
            run.disk.take(&path);
        }
    }
    run.streams.0[1].id.incarnation = [8; 16];
    for path in run.disk.paths() {
        if path.starts_with("/streams/1") {
            run.disk.take(&path);
        }
    }
    let many = run.streams.0.len() as u64;
    let (replayed, _) = run.open().unwrap();
    assert_eq!(replayed.passed_over, 20);
    assert_eq!(replayed.records, 10 * (many - 2));
    for (n, stream) in run.streams.0.iter_mut().enumerate() {
        let there = if n < 2 { 0 } else { 10 };
        assert_eq!(stream.log.as_ref().unwrap().last_index(), LogIndex(there));
    }
}

/// One frame is damaged: what it held is told, all others are there.
#[test]
fn a_damaged_frame_costs_what_is_in_it_and_is_told() {
    for_seeds("damaged frames", 60, |seed| {
        let mut run = written(seed);
        let len = run
            .disk
            .bytes(&half(0))
            .iter()
            .rposition(|b| *b != 0)
            .unwrap();
        let at = JOURNAL_START + run.rng.below(len - JOURNAL_START);
        let bit = run.rng.below(8);
        run.disk.damage(&half(0), |bytes| bytes[at] ^= 1 << bit);
        let (replayed, reports) = run.open().unwrap();
        let many = run.streams.0.len() as u64;
        assert_eq!(replayed.records, 10 * many - 1);
        let mut missing = 0;
        for (stream, report) in run.streams.0.iter_mut().zip(&reports) {
            let log = stream.log.as_mut().unwrap();
            let mut buffer = ReadBuffer::default();
            for (i, given) in stream.given.iter().enumerate() {
                let index = LogIndex(i as u64 + 1);
                match log.read(index, &mut buffer) {
                    Ok(stored) => assert!(stored.record.payload == given.payload),
                    Err(error) => {
                        missing += 1;
                        let lost = report.lost.iter();
                        let is_told = lost.clone().any(|r| (r.first..=r.last).contains(&index));
                        // Nothing proves that the last batch was complete.
                        assert!(is_told || i == 9, "{error}");
                    }
                }
            }
        }
        assert_eq!(missing, 1);
        if replayed.damaged.is_empty() {
            return;
        }
        let text = &replayed.damaged[0];
        assert!(text.starts_with("/journal/journal.a: bytes "), "{text}");
        let kept = PathBuf::from("/journal/journal.a.damaged");
        assert!(run.disk.paths().contains(&kept));
    });
}

#[test]
fn a_foreign_file_or_header_is_told_and_kept_and_costs_no_segment() {
    let mut run = written(3);
    run.disk.put(&half(1), vec![b'x'; 5000]);
    let (replayed, _) = run.open().unwrap();
    let text = "/journal/journal.b: this is not a file of the store";
    assert_eq!(replayed.damaged, [text]);
    for (n, stream) in run.streams.0.iter_mut().enumerate() {
        stream.settle(n);
    }
    let kept = PathBuf::from("/journal/journal.b.damaged");
    assert_eq!(run.disk.bytes(&kept), vec![b'x'; 5000]);

    // A newer version is nothing to touch.
    let mut run = written(4);
    run.disk.damage(&half(0), |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    let before = run.disk.bytes(&half(0));
    let error = run.open().unwrap_err().to_string();
    assert!(
        error.contains("journal.a") && error.contains("version 2"),
        "{error}"
    );
    assert!(run.disk.bytes(&half(0)) == before);
}

/// A write or sync of the journal that fails costs nothing: what was on its way goes to the
/// segments, and the journal is begun anew later.
#[test]
fn after_a_failed_sync_streams_go_their_own_way_for_a_while() {
    let mut run = written(5);
    run.recover();
    let mut keys: Vec<_> = (0..run.streams.0.len() as u64).map(StreamKey).collect();
    let append = |run: &mut Run| {
        for stream in &mut run.streams.0 {
            stream.append(Kind::Message, vec![9; 50]);
        }
    };
    append(&mut run);
    let mut now = Mono::ZERO;
    let mut journal = run.journal.take().unwrap();
    assert!(journal.commit(&keys, 0, &mut run.streams, now).is_empty());
    let job = journal.turn(now, &mut run.streams, &mut keys).unwrap();
    run.disk.plan(4, Fault::Eio);
    journal.handle_done(job.run(), now, &mut run.streams, &mut keys);
    assert!(journal.failure().is_some());
    let sync_all = |run: &mut Run| {
        for stream in &mut run.streams.0 {
            let log = stream.log.as_mut().unwrap();
            while let Some(job) = log.poll_sync(Mono::ZERO) {
                log.handle_synced(job.run());
            }
            assert_eq!(log.acknowledged(), log.last_index());
        }
    };
    sync_all(&mut run);
    append(&mut run);
    keys.dedup();
    assert!(journal.commit(&keys, 0, &mut run.streams, now).is_empty());
    assert!(journal.turn(now, &mut run.streams, &mut keys).is_none());
    sync_all(&mut run);
    let mut turns = 0;
    while journal.failure().is_some() {
        now = journal.deadline().unwrap();
        assert!(journal.turn(now, &mut run.streams, &mut keys).is_none());
        turns += 1;
        assert!(turns < 10);
    }
    append(&mut run);
    assert!(journal.commit(&keys, 0, &mut run.streams, now).is_empty());
    assert!(journal.turn(now, &mut run.streams, &mut keys).is_some());
}

/// Found by seeds: a log was cut off, which failed when its last segment was removed already. When it
/// was opened again, that segment was made again with the very same header, and after a crash it got
/// frames of before.
#[test]
fn a_segment_that_is_made_again_gets_no_frames_of_before() {
    let mut failed = 0;
    for calls in 1..40 {
        let mut run = Run::new(9);
        run.options = JournalOptions {
            direct_streams: 0,
            ..JournalOptions::default()
        };
        run.streams.0.truncate(1);
        run.streams.0[0].options.segment_bytes = 2000;
        run.streams.0[0].options.sync = SyncMode::Always;
        run.recover();
        let turn = |run: &mut Run, byte: u8| {
            run.streams.0[0].append(Kind::Message, vec![byte; 100]);
            let mut keys = vec![StreamKey(0)];
            let journal = run.journal.as_mut().unwrap();
            journal.commit(&keys, 0, &mut run.streams, run.now);
            if let Some(job) = journal.turn(run.now, &mut run.streams, &mut keys) {
                journal.handle_done(job.run(), run.now, &mut run.streams, &mut keys);
            }
            let log = run.streams.0[0].log.as_mut().unwrap();
            while let Some(job) = log.poll_sync(run.now) {
                log.handle_synced(job.run());
            }
        };
        for byte in 0..30 {
            turn(&mut run, byte);
        }
        let stream = &mut run.streams.0[0];
        run.disk.plan(calls, Fault::Eio);
        let cut = stream.log.as_mut().unwrap().truncate_after(LogIndex(3));
        run.disk.free();
        if cut.is_ok() {
            break;
        }
        stream.acked = LogIndex(3);
        stream.was_uncut = true;
        if stream.log.as_ref().unwrap().failure().is_none() {
            continue;
        }
        failed += 1;
        run.rescue(0);
        assert_eq!(run.rescued, 1);
        for byte in 100..130 {
            turn(&mut run, byte);
        }
        let stream = &mut run.streams.0[0];
        stream.acked = stream.log.as_ref().unwrap().acknowledged();
        assert_eq!(stream.acked.0, stream.given.len() as u64);
        run.disk.restart();
        run.recover();
    }
    assert!(failed > 3, "{failed}");
}

/// Found by a seed: a log was cut off, the sync of its segment's new name failed, and the process
/// ended. The journal, which alone had the records of the old segment, was given up since the new one
/// was seen, and then the power went: the name was that of the old segment again.
#[test]
fn the_journal_is_not_given_up_before_the_names_of_segments_are_on_the_disk() {
    let mut failed = 0;
    let all = (0..20).flat_map(|seed| (1..40).map(move |calls| (seed, calls)));
    for ((seed, calls), is_rescue) in all.flat_map(|run| [(run, false), (run, true)]) {
        let mut run = Run::new(seed);
        run.streams.0.truncate(1);
        fill(&mut run);
        run.disk.plan(calls, Fault::Eio);
        let stream = &mut run.streams.0[0];
        let cut = stream.log.as_mut().unwrap().truncate_after(LogIndex(3));
        run.disk.free();
        if cut.is_ok() || stream.log.as_ref().unwrap().failure().is_none() {
            continue;
        }
        failed += 1;
        stream.acked = LogIndex(3);
        if is_rescue {
            let (id, dir) = (stream.id, stream.dir.clone());
            let place = [(StreamKey(0), id, dir)];
            let journal = run.journal.as_mut().unwrap();
            let rescued = journal.rescue(&place, run.now, &mut run.streams, &mut vec![]);
            assert!(rescued.unwrap());
        } else {
            run.disk.kill();
            run.open_journal().unwrap();
        }
        run.disk.restart();
        run.recover();
    }
    assert!(failed > 40, "{failed}");
}

#[test]
fn the_directory_of_a_journal_is_there_for_good() {
    for seed in 0..20 {
        let mut run = Run::new(seed);
        run.disk = FaultyDisk::strict(seed);
        for stream in &run.streams.0 {
            run.disk.create_dir(&stream.dir).unwrap();
        }
        for dir in ["/", "/streams"] {
            run.disk.sync_dir(dir.as_ref()).unwrap();
        }
        fill(&mut run);
        run.disk.restart();
        run.recover();
        assert!(run.streams.0.iter().all(|s| s.given.len() == 10));
    }
}

/// Files of the journal have records that were taken back. Nobody waits for those.
#[test]
fn a_log_that_was_cut_off_does_not_keep_the_journal_from_going_on() {
    let mut run = Run::new(6);
    run.streams.0.truncate(2);
    fill(&mut run);
    let log = run.streams.0[0].log.as_mut().unwrap();
    log.truncate_after(LogIndex(3)).unwrap();
    let mut journal = run.journal.take().unwrap();
    let mut jobs = vec![];
    for second in 0..600 {
        run.now = Mono::from_nanos(second * 1_000_000_000);
        let mut keys = vec![StreamKey(1)];
        // Where a segment begins, it goes there.
        run.streams.0[1].append(Kind::Message, vec![1; 20_000]);
        assert!(
            journal
                .commit(&keys, 0, &mut run.streams, run.now)
                .is_empty()
        );
        let job = journal.turn(run.now, &mut run.streams, &mut keys);
        if let Some(job) = job {
            journal.handle_done(job.run(), run.now, &mut run.streams, &mut keys);
            jobs.push(second);
        }
        for stream in &mut run.streams.0 {
            let log = stream.log.as_mut().unwrap();
            while let Some(job) = log.poll_sync(run.now) {
                log.handle_synced(job.run());
            }
        }
    }
    let late = jobs.iter().filter(|second| **second >= 500);
    assert!(late.count() > 50, "{jobs:?}");
}
