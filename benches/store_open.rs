//! What a large stream costs to open and to keep: the time after a clean close, after a kill just
//! before a checkpoint, and the memory of its indexes.
//!
//! `cargo bench --bench store_open -- [MESSAGES] [SUBJECTS] [BYTES]`: a stream of so many messages
//! (5 million) on so many subjects (100), with payloads of so many bytes (40). It is made lazily in
//! the temporary directory, set `TMPDIR` for another one, and removed afterwards. Fifty million such
//! messages take about 5 GB. Times are those of the clock and of the processor.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nats_server::base::clock::{Mono, mono};
use nats_server::store::disk::OsDisk;
use nats_server::store::file::{Handles, LogOptions, ReadBuffer, SyncMode};
use nats_server::store::index::Filters;
use nats_server::store::stream::{Found, Limits, NewMessage, Reader, StoreOptions, StreamStore};
use nats_server::store::{StreamId, StreamSeq, Timestamp};

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(5_000_000);
    let subjects = numbers.next().unwrap_or(100);
    let bytes = numbers.next().and_then(|bytes| usize::try_from(bytes).ok());
    let payload = vec![b'x'; bytes.unwrap_or(40)];
    let dir = std::env::temp_dir().join(format!("nats-bench-open-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    println!(
        "{messages} messages of {} bytes on {subjects} subjects",
        payload.len()
    );
    let before = resident_bytes();
    let mut store = open(&dir, "new").0;
    timed("append", || {
        append(&mut store, messages, subjects, &payload)
    });
    let state = store.state();
    println!("  {} MB of files", state.file_bytes >> 20);
    timed("close", || store.close().expect("it can be written"));
    drop(store);

    let (mut store, replayed) = open(&dir, "open after a clean close");
    println!("  {replayed} records were replayed");
    let resident = resident_bytes().saturating_sub(before);
    let each = resident as f64 / subjects as f64;
    println!(
        "  resident: {} MB, {each:.1} bytes a subject",
        resident >> 20
    );
    read(&mut store, subjects);

    // As much as may be behind a checkpoint: the files are left as they are when the process is
    // killed, which takes nothing that was written.
    let checkpoint = |dir: &Path| {
        let files = ["checkpoint.a", "checkpoint.b"].map(|name| dir.join(name).metadata());
        files
            .into_iter()
            .flatten()
            .map(|meta| meta.len())
            .max()
            .unwrap_or(0)
    };
    let tail = (64 << 20).max(2 * checkpoint(&dir)) - (1 << 20);
    let a_message = state.file_bytes / messages.max(1);
    let more = tail / a_message.max(1);
    append(&mut store, more, subjects, &payload);
    store.commit().expect("it can be written");
    println!("{more} messages more, {} MB, and killed", tail >> 20);
    drop(store);
    let (store, replayed) = open(&dir, "open after a kill");
    println!("  {replayed} records were replayed");
    drop(store);
    let _ = std::fs::remove_dir_all(&dir);
}

fn open(dir: &Path, what: &str) -> (StreamStore, u64) {
    let mut log = LogOptions::new(Arc::new(Handles::new(1000)));
    log.sync = SyncMode::Interval(Duration::from_secs(3600));
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let id = StreamId::new("A", "S", [1; 16]);
    timed(what, || {
        let opened = StreamStore::open(Arc::new(OsDisk), dir, id, &options, None, &mut |_| {});
        let (store, opened) = opened.expect("it can be opened");
        (store, opened.replayed)
    })
}

fn append(store: &mut StreamStore, messages: u64, subjects: u64, payload: &[u8]) {
    for i in 0..messages {
        // A prime that divides no number of subjects in use spreads them.
        let subject = format!("orders.{}", i * 982_451_653 % subjects);
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload,
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        store.append(&message).expect("there is room");
        if i % 256 == 255 {
            store.commit().expect("it can be written");
            // So that segments are completed.
            if i % (1 << 17) == (1 << 17) - 1 {
                jobs(store, Mono::ZERO + Duration::from_secs(7200 + i));
            }
        }
    }
    store.commit().expect("it can be written");
}

fn jobs(store: &mut StreamStore, now: Mono) {
    while let Some(job) = store.poll_job(now) {
        store.handle_done(job.run()).expect("the disk works");
    }
}

fn read(store: &mut StreamStore, subjects: u64) {
    let mut buffer = ReadBuffer::default();
    let last = store.state().last;
    let (mut at, mut seen) = (StreamSeq(1), 0u64);
    timed("read all in a row", || {
        while at <= last {
            let each = |_: &nats_server::store::file::Stored<'_>| {
                seen += 1;
                ControlFlow::Continue(())
            };
            let next = store.read_from(at, last, 10_000, 16 << 20, &mut buffer, each);
            at = next.expect("it can be read");
        }
    });
    assert_eq!(seen, store.state().messages);
    let filter = format!("orders.{}", subjects / 2);
    let filters = Filters::new([filter.as_bytes()]).expect("a valid filter");
    let mut reader = Reader::new(filters);
    for round in 1..=4 {
        let (mut at, mut found) = (StreamSeq(1), 0);
        timed(&format!("read one subject, time {round}"), || {
            loop {
                let mut budget = 1 << 20;
                let next = store.next_of(&mut reader, at, last, &mut budget, &mut buffer);
                match next.expect("it can be read") {
                    Found::Message(message) => {
                        found += 1;
                        at = message.record.sequence.next();
                    }
                    Found::Paused(from) => at = from,
                    Found::End => break,
                }
                jobs(store, Mono::ZERO);
            }
        });
        println!("  {found} messages");
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (start, cpu) = (mono(), cpu_nanos());
    let result = work();
    let (end, cpu_end) = (mono(), cpu_nanos());
    println!(
        "{what}: {:.0} ms, of the processor {:.0} ms",
        end.since(start).as_secs_f64() * 1e3,
        cpu_end.saturating_sub(cpu) as f64 / 1e6,
    );
    result
}

/// Time of the processor that this thread has had; 0 where that cannot be read.
fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = stat.split(' ').next().and_then(|n| n.parse().ok());
    spent.unwrap_or(0)
}

/// The resident memory of this process; 0 where it cannot be read.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
