//! A stream on the disk of the temporary directory: what a small message costs to append and to
//! read, and how many become durable a second.
//!
//! `cargo bench --bench store`. Set `TMPDIR` to measure another disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nats_server::base::clock::{Mono, mono};
use nats_server::store::disk::OsDisk;
use nats_server::store::file::{Handles, LogOptions, ReadBuffer, SyncMode};
use nats_server::store::index::Filters;
use nats_server::store::stream::{Found, Limits, NewMessage, StoreOptions, StreamStore};
use nats_server::store::{StreamId, StreamSeq, Timestamp};

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
    let dir = std::env::temp_dir().join(format!("nats-bench-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut log = LogOptions::new(Arc::new(Handles::new(1000)));
    log.sync = sync;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let id = StreamId::new("A", name, [1; 16]);
    let opened = StreamStore::open(Arc::new(OsDisk), &dir, id, &options, None, &mut |_| {});
    let (store, _) = opened.expect("a new stream can be made");
    Dir { store, dir }
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

fn filled() -> Dir {
    let mut dir = stream("read", SyncMode::Always);
    append(&mut dir.store, MESSAGES, 256);
    sync(&mut dir.store, mono());
    dir
}

#[divan::bench(sample_count = 10)]
fn read_by_sequence(bencher: Bencher<'_, '_>) {
    let mut dir = filled();
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
    let mut dir = filled();
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
