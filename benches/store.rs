//! A stream on the disk of the temporary directory: what a small message costs to append and to
//! read, and how many become durable a second.
//!
//! `cargo bench --bench store`. Set `TMPDIR` to measure another disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nats_server::base::clock::{Mono, mono};
use nats_server::store::crypt::{Cipher, Keys};
use nats_server::store::directory::StoreDir;
use nats_server::store::disk::OsDisk;
use nats_server::store::file::{Compression, Handles, LogOptions, ReadBuffer, SyncMode, Tail};
use nats_server::store::index::Filters;
use nats_server::store::journal::{Journal, JournalDone, JournalOptions, StreamKey, Streams};
use nats_server::store::meta::Meta;
use nats_server::store::stream::{Found, JobDone, Limits, NewMessage, StoreOptions, StreamStore};
use nats_server::store::sync_pool::SyncPool;
use nats_server::store::{StreamSeq, Timestamp};

const PAYLOAD: [u8; 128] = [b'x'; 128];
const MESSAGES: usize = 100_000;

fn main() {
    divan::main();
}

/// A stream in a directory of its own, which goes with it.
struct Dir {
    store: StreamStore,
    dir: PathBuf,
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn stream(name: &str, sync: SyncMode) -> Dir {
    encrypted(name, sync, None)
}

/// A stream that may be encrypted.
fn encrypted(name: &str, sync: SyncMode, cipher: Option<Cipher>) -> Dir {
    let dir = std::env::temp_dir().join(format!("nats-bench-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let keys = cipher.map_or(Keys::none(), |cipher| Keys::new(cipher, "a key", None));
    let root = StoreDir::open(Arc::new(OsDisk), &dir).expect("a directory can be made");
    let mut meta = Meta::new("A", name, [1; 16], vec![]);
    let made = root.create(&mut meta, &keys);
    let store = open(&meta, &made.expect("a stream can be made"), sync);
    Dir { store, dir }
}

fn open(meta: &Meta, dir: &Path, sync: SyncMode) -> StreamStore {
    let mut log = LogOptions::new(Arc::new(Handles::new(1000)));
    log.sync = sync;
    log.key = meta.key();
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let opened = StreamStore::open(Arc::new(OsDisk), dir, meta.id, &options, None, &mut |_| {});
    opened.expect("a stream can be opened").0
}

/// Appends `messages` to one of a hundred subjects each, and writes them in batches.
fn append(store: &mut StreamStore, messages: usize, batch: usize) {
    for i in 0..messages {
        let subject = format!("o.{:02}", i % 100);
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload: &PAYLOAD,
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        store.append(&message).expect("there is room");
        if (i + 1) % batch == 0 {
            store.commit().expect("it can be written");
        }
    }
    store.commit().expect("it can be written");
}

/// Syncs while there is something to sync.
fn sync(store: &mut StreamStore, now: Mono) {
    while let Some(job) = store.poll_job(now) {
        let done = job.run();
        store.handle_done(done).expect("the disk works");
    }
}

#[divan::bench(sample_count = 10)]
fn append_lazily(bencher: Bencher<'_, '_>) {
    let lazy = SyncMode::Interval(Duration::from_secs(3600));
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| stream("lazy", lazy))
        .bench_local_refs(|dir| append(&mut dir.store, MESSAGES, 256));
}

#[divan::bench(args = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm], sample_count = 10)]
fn append_encrypted(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let lazy = SyncMode::Interval(Duration::from_secs(3600));
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| encrypted("sealed", lazy, Some(cipher)))
        .bench_local_refs(|dir| append(&mut dir.store, MESSAGES, 256));
}

/// A stream with so many subjects, for which a checkpoint is due.
fn with_subjects(subjects: u64) -> Dir {
    let mut dir = stream("subjects", SyncMode::Always);
    for i in 0..subjects {
        let subject = format!("$KV.profiles.user-{i}");
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload: &PAYLOAD[..32],
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        dir.store.append(&message).expect("there is room");
        if i % 1000 == 0 {
            dir.store.commit().expect("it can be written");
        }
    }
    dir.store.sync().expect("the disk works");
    dir
}

/// What a loop does for a checkpoint, and what is done elsewhere.
#[divan::bench(args = [1_000_000, 10_000_000], sample_count = 1, sample_size = 1)]
fn checkpoint_in_the_loop(bencher: Bencher<'_, '_>, subjects: u64) {
    bencher
        .with_inputs(|| with_subjects(subjects))
        .bench_local_refs(|dir| dir.store.poll_job(Mono::ZERO).expect("one is due"));
}

#[divan::bench(args = [1_000_000, 10_000_000], sample_count = 1, sample_size = 1)]
fn checkpoint_elsewhere(bencher: Bencher<'_, '_>, subjects: u64) {
    let mut dir = with_subjects(subjects);
    let job = dir.store.poll_job(Mono::ZERO).expect("one is due");
    let mut job = Some(job);
    bencher.bench_local(|| job.take().map(|job| job.run()));
}

/// So many messages become durable with each sync.
#[divan::bench(args = [1, 64, 512], sample_count = 10)]
fn append_durably(bencher: Bencher<'_, '_>, outstanding: usize) {
    let mut dir = stream("durable", SyncMode::Always);
    let rounds = 20;
    bencher
        .counter(ItemsCount::new(rounds * outstanding))
        .bench_local(|| {
            for _ in 0..rounds {
                append(&mut dir.store, outstanding, outstanding);
                sync(&mut dir.store, mono());
            }
        });
}

/// Streams of a loop, each with records that wait for their acknowledgement.
struct Loop {
    streams: All,
    journal: Journal,
    dir: PathBuf,
}

struct All(Vec<Dir>);

fn size(n: u64) -> usize {
    usize::try_from(n).expect("small numbers")
}

impl Streams for All {
    fn tail(&mut self, key: StreamKey) -> Option<Tail<'_>> {
        let at = usize::try_from(key.0).ok()?;
        Some(self.0.get_mut(at)?.store.tail())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Loop {
    fn new(streams: usize) -> Loop {
        let dir = std::env::temp_dir().join(format!("nats-bench-journal-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let options = JournalOptions::default();
        let opened = Journal::open(Arc::new(OsDisk), &dir, [1; 16], options, &mut |_| None);
        let (journal, _) = opened.expect("a new journal can be made");
        let name = |n| format!("many-{n}");
        let streams = (0..streams).map(|n| stream(&name(n), SyncMode::Always));
        Loop {
            streams: All(streams.collect()),
            journal,
            dir,
        }
    }

    /// Keeps `outstanding` records of each stream waiting until each has had `rounds` of them
    /// acknowledged; with the journal or with a sync per stream and turn. Syncs run on a pool.
    fn run(&mut self, outstanding: usize, rounds: usize, pool: &SyncPool, with_journal: bool) {
        enum Done {
            Journal(JournalDone),
            Stream(usize, JobDone),
        }
        let (done, finished) = channel::<Done>();
        let goal: Vec<_> = self
            .streams
            .0
            .iter()
            .map(|dir| dir.store.log().last_index().0 + (outstanding * rounds) as u64)
            .collect();
        let mut open = self.streams.0.len();
        let mut dirty: Vec<usize> = (0..open).collect();
        let mut touched = vec![];
        let mut syncing = vec![false; open];
        while open > 0 {
            let now = mono();
            // What was acknowledged makes room for as many new ones.
            let mut keys: Vec<StreamKey> = vec![];
            for at in dirty.drain(..) {
                let store = &mut self.streams.0[at].store;
                let waiting = store.log().last_index().0 - store.acknowledged().0;
                let room = outstanding.saturating_sub(size(waiting));
                let left = goal[at] - store.log().last_index().0;
                let many = room.min(size(left));
                if many > 0 {
                    append_some(store, many);
                }
                keys.push(StreamKey(at as u64));
            }
            if with_journal {
                let failed = self.journal.commit(&keys, 0, &mut self.streams, now);
                assert!(failed.is_empty());
                touched.clear();
                let job = self.journal.turn(now, &mut self.streams, &mut touched);
                if let Some(job) = job {
                    let done = done.clone();
                    pool.run(move || done.send(Done::Journal(job.run())).unwrap_or(()));
                }
                keys.append(&mut touched);
            } else {
                for key in &keys {
                    let store = &mut self.streams.0[size(key.0)].store;
                    store.commit().expect("it can be written");
                }
            }
            for key in keys {
                let at = size(key.0);
                if !syncing[at]
                    && let Some(job) = self.streams.0[at].store.poll_job(now)
                {
                    syncing[at] = true;
                    let done = done.clone();
                    pool.run(move || done.send(Done::Stream(at, job.run())).unwrap_or(()));
                }
            }
            // A turn takes all that is there.
            let mut next = Some(finished.recv().expect("something is under way"));
            while let Some(one) = next {
                touched.clear();
                match one {
                    Done::Journal(done) => {
                        let streams = &mut self.streams;
                        self.journal.handle_done(done, now, streams, &mut touched);
                    }
                    Done::Stream(at, done) => {
                        syncing[at] = false;
                        let store = &mut self.streams.0[at].store;
                        store.handle_done(done).expect("the disk works");
                        touched.push(StreamKey(at as u64));
                    }
                }
                dirty.extend(touched.drain(..).map(|key| size(key.0)));
                next = finished.try_recv().ok();
            }
            dirty.sort_unstable();
            dirty.dedup();
            open = (0..goal.len())
                .filter(|at| self.streams.0[*at].store.acknowledged().0 < goal[*at])
                .count();
        }
        // What is under way is awaited.
        while syncing.iter().any(|s| *s) {
            if let Ok(Done::Stream(at, done)) = finished.recv() {
                syncing[at] = false;
                self.streams.0[at]
                    .store
                    .handle_done(done)
                    .expect("the disk works");
            }
        }
    }
}

fn append_some(store: &mut StreamStore, messages: usize) {
    for i in 0..messages {
        let message = NewMessage {
            subject: SUBJECTS[i % SUBJECTS.len()],
            headers: b"",
            payload: &PAYLOAD,
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        store.append(&message).expect("there is room");
    }
}

const SUBJECTS: [&[u8]; 4] = [b"o.1", b"o.2", b"o.3", b"o.4"];

/// A thousand messages wait for their acknowledgement all the time, in so many streams together.
#[divan::bench(args = [10, 100, 1000], sample_count = 5, sample_size = 1)]
fn append_to_many_with_the_journal(bencher: Bencher<'_, '_>, streams: usize) {
    append_to_many(bencher, streams, 100, true);
}

/// The same with a sync per stream and turn, on so many threads.
#[divan::bench(args = [(10, 1), (10, 8), (100, 1), (100, 8), (100, 16)], sample_count = 5, sample_size = 1)]
fn append_to_many_with_syncs(bencher: Bencher<'_, '_>, (streams, threads): (usize, usize)) {
    let pool = SyncPool::new(threads).expect("threads can be made");
    let mut all = Loop::new(streams);
    let outstanding = 1000 / streams;
    bencher
        .counter(ItemsCount::new(20 * 1000_usize))
        .bench_local(|| all.run(outstanding, 20, &pool, false));
}

fn append_to_many(bencher: Bencher<'_, '_>, streams: usize, rounds: usize, with_journal: bool) {
    let pool = SyncPool::new(8).expect("threads can be made");
    let mut all = Loop::new(streams);
    let outstanding = 1000 / streams;
    bencher
        .counter(ItemsCount::new(rounds * 1000))
        .bench_local(|| all.run(outstanding, rounds, &pool, with_journal));
}

/// A stream whose complete segments are plain, or packed.
fn filled(compression: Compression) -> Dir {
    let mut dir = stream("read", SyncMode::Always);
    dir.store.set_compression(compression);
    append(&mut dir.store, MESSAGES, 256);
    sync(&mut dir.store, mono());
    dir
}

#[divan::bench(args = [Compression::None, Compression::S2], sample_count = 10)]
fn read_by_sequence(bencher: Bencher<'_, '_>, compression: Compression) {
    let mut dir = filled(compression);
    let mut buffer = ReadBuffer::default();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for sequence in 1..=MESSAGES as u64 {
            let read = dir.store.read(StreamSeq(sequence), &mut buffer);
            black_box(read.expect("it is there").record.payload);
        }
    });
}

/// Every message, or one in a hundred.
#[divan::bench(args = ["o.*", "o.42"], sample_count = 10)]
fn read_next(bencher: Bencher<'_, '_>, filter: &str) {
    let mut dir = filled(Compression::None);
    let mut buffer = ReadBuffer::default();
    let filters = Filters::new([filter.as_bytes()]).expect("a valid filter");
    let last = StreamSeq(MESSAGES as u64);
    let matching = if filter == "o.*" {
        MESSAGES
    } else {
        MESSAGES / 100
    };
    bencher.counter(ItemsCount::new(matching)).bench_local(|| {
        let mut at = StreamSeq(1);
        let mut budget = usize::MAX;
        loop {
            let next = dir.store.next(&filters, at, last, &mut budget, &mut buffer);
            match next.expect("it can be read") {
                Found::Message(message) => at = message.record.sequence.next(),
                Found::Paused(from) => at = from,
                Found::End => break,
            }
        }
    });
}

/// Many in a row, with one look for the place.
#[divan::bench(sample_count = 10)]
fn read_from(bencher: Bencher<'_, '_>) {
    let mut dir = filled(Compression::None);
    let mut buffer = ReadBuffer::default();
    let last = StreamSeq(MESSAGES as u64);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let mut at = StreamSeq(1);
        while at <= last {
            let each = |stored: &nats_server::store::file::Stored<'_>| {
                black_box(stored.record.payload);
                std::ops::ControlFlow::Continue(())
            };
            let next = dir
                .store
                .read_from(at, last, 1000, 1 << 20, &mut buffer, each);
            at = next.expect("it can be read");
        }
    });
}

/// As `read_next`, by a reader that remembers, when it is known where the subjects are.
#[divan::bench(args = ["o.*", "o.42"], sample_count = 10)]
fn read_next_of(bencher: Bencher<'_, '_>, filter: &str) {
    let mut dir = filled(Compression::None);
    let mut buffer = ReadBuffer::default();
    let filters = Filters::new([filter.as_bytes()]).expect("a valid filter");
    let last = StreamSeq(MESSAGES as u64);
    let mut reader = nats_server::store::stream::Reader::new(filters);
    bencher.bench_local(|| {
        let mut at = StreamSeq(1);
        let mut budget = usize::MAX;
        loop {
            let next = dir
                .store
                .next_of(&mut reader, at, last, &mut budget, &mut buffer);
            match next.expect("it can be read") {
                Found::Message(message) => at = message.record.sequence.next(),
                Found::Paused(from) => at = from,
                Found::End => break,
            }
        }
        sync(&mut dir.store, Mono::ZERO);
    });
}
