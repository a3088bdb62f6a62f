//! What the store knows of messages without reading them: subjects, deletes, deadlines, and the
//! state of consumers.
//!
//! `cargo bench --bench store_index` gives times per operation. `cargo bench --bench store_index --
//! --load [SUBJECTS]` gives what indexes of a million subjects, or of as many as are named, cost
//! instead: bytes per subject by resident memory (on Linux), and the time of what is done with
//! them, which is that of the processor where the system tells.

use std::cell::RefCell;
use std::ops::ControlFlow;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nats_server::base::clock::mono;
use nats_server::base::rng::Rng;
use nats_server::store::consumer::{AckPolicy, ConsumerState, Event, EventWriter, Millis};
use nats_server::store::index::{
    Block, Builder, Cursor, ExpiryWheel, Filters, LogIndex, SequenceSet, StreamSeq, SubjectIndex,
    Timestamp, encode_block,
};

const SIZES: [usize; 2] = [10_000, 1_000_000];
/// Operations of a timed run.
const BATCH: usize = 1000;

/// The shapes that subjects come in.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Keys of a bucket: `$KV.profiles.user-<n>`.
    Keys,
    /// `sensors.<region>.<device>.<metric>`: 20 regions, and 50 metrics of a device.
    Sensors,
    /// `_INBOX.<22 random>`.
    Inboxes,
}

const SHAPES: [Shape; 3] = [Shape::Keys, Shape::Sensors, Shape::Inboxes];

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--load");
    if args.next().is_none() {
        divan::main();
        return;
    }
    let size = args.next().and_then(|size| size.parse().ok());
    for shape in SHAPES {
        load(shape, size.unwrap_or(1_000_000));
    }
}

/// A number for each of `0..size`, each once, in an order that looks random.
fn shuffled(i: usize, size: usize) -> usize {
    // A prime that divides none of the sizes in use.
    i * 982_451_653 % size
}

/// Subject `i` of a shape; another name for each.
fn subject(shape: Shape, i: usize) -> String {
    match shape {
        Shape::Keys => format!("$KV.profiles.user-{i}"),
        Shape::Sensors => {
            let (device, metric) = (i / 50, i % 50);
            let region = device % 20;
            format!("sensors.region-{region:02}.dev-{device:07}.metric-{metric:02}")
        }
        Shape::Inboxes => {
            const DIGITS: &[u8; 62] =
                b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
            let mut rng = Rng::new(i as u64);
            let name = (0..22).map(|_| char::from(DIGITS[rng.below(62)]));
            "_INBOX.".chars().chain(name).collect()
        }
    }
}

/// The subjects of one run: `BATCH` of them, from the `at`th of the shuffled order on.
fn batch(shape: Shape, at: usize, size: usize) -> Vec<String> {
    let some = at..(at + BATCH).min(size);
    some.map(|i| subject(shape, shuffled(i, size))).collect()
}

fn append(index: &mut SubjectIndex, subjects: &[String], seq: &mut u64) {
    for subject in subjects {
        *seq += 1;
        let entry = index.append(subject.as_bytes(), StreamSeq(*seq));
        black_box(entry.expect("sequence numbers rise"));
    }
}

fn filled(shape: Shape, size: usize) -> (SubjectIndex, u64) {
    let (mut index, mut seq) = (SubjectIndex::new(), 0);
    for at in (0..size).step_by(BATCH) {
        append(&mut index, &batch(shape, at, size), &mut seq);
    }
    (index, seq)
}

fn found(index: &SubjectIndex, filter: &[u8]) -> usize {
    let filters = Filters::new([filter]).expect("a valid filter");
    let (mut cursor, mut found) = (Cursor::start(), 0);
    index.scan(&filters, &mut cursor, usize::MAX, |subject, entry| {
        black_box((subject, entry));
        found += 1;
        ControlFlow::Continue(())
    });
    found
}

/// A new subject and a known one cost about the same; here they are known, and get a second, third
/// and so on message.
#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1)]
fn subject_append(bencher: Bencher, size: usize) {
    let state = RefCell::new(filled(Shape::Keys, size));
    let mut rng = Rng::new(7);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| batch(Shape::Keys, rng.below(size - BATCH), size))
        .bench_local_refs(|subjects| {
            let (index, seq) = &mut *state.borrow_mut();
            append(index, subjects, seq);
        });
}

/// What a bucket that keeps one value a key does: a message comes and the one before it goes.
#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1)]
fn subject_replace(bencher: Bencher, size: usize) {
    let state = RefCell::new(filled(Shape::Keys, size));
    let mut rng = Rng::new(7);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| batch(Shape::Keys, rng.below(size - BATCH), size))
        .bench_local_refs(|subjects| {
            let (index, seq) = &mut *state.borrow_mut();
            for subject in subjects {
                *seq += 1;
                let subject = subject.as_bytes();
                let entry = index.append(subject, StreamSeq(*seq)).expect("they rise");
                let first = entry.first().seq();
                black_box(index.remove(subject, first).expect("it is there"));
            }
        });
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1)]
fn subject_lookup(bencher: Bencher, size: usize) {
    let (index, _) = filled(Shape::Keys, size);
    let mut rng = Rng::new(7);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| batch(Shape::Keys, rng.below(size - BATCH), size))
        .bench_local_refs(|subjects| {
            for subject in subjects {
                assert!(black_box(index.get(subject.as_bytes())).is_some());
            }
        });
}

/// The fifty metrics of one device; an item is a match.
#[divan::bench(args = SIZES, sample_count = 100, sample_size = 100)]
fn subject_match_device(bencher: Bencher, size: usize) {
    let (index, _) = filled(Shape::Sensors, size);
    bencher.counter(ItemsCount::new(50usize)).bench_local(|| {
        assert_eq!(found(&index, b"sensors.*.dev-0000100.*"), 50);
    });
}

/// One metric of all devices; an item is a match.
#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn subject_match_metric(bencher: Bencher, size: usize) {
    let (index, _) = filled(Shape::Sensors, size);
    bencher.counter(ItemsCount::new(size / 50)).bench_local(|| {
        assert_eq!(found(&index, b"sensors.*.*.metric-07"), size / 50);
    });
}

/// A message is deleted, anywhere in fifty million.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn delete(bencher: Bencher) {
    let (set, mut rng) = (RefCell::new(SequenceSet::new()), Rng::new(7));
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            (0..BATCH)
                .map(|_| rng.below(50_000_000) as u64)
                .collect::<Vec<u64>>()
        })
        .bench_local_refs(|seqs| {
            for seq in seqs {
                black_box(set.borrow_mut().insert(StreamSeq(*seq)));
            }
        });
}

/// Every tenth of fifty million messages is deleted; is one of them?
#[divan::bench(sample_count = 100, sample_size = 1)]
fn is_deleted(bencher: Bencher) {
    let (mut set, mut rng) = (SequenceSet::new(), Rng::new(7));
    for seq in (10..50_000_000).step_by(10) {
        set.insert(StreamSeq(seq));
    }
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            (0..BATCH)
                .map(|_| rng.below(50_000_000) as u64)
                .collect::<Vec<u64>>()
        })
        .bench_local_refs(|seqs| {
            for seq in seqs {
                black_box(set.contains(StreamSeq(*seq)));
            }
        });
}

/// Messages with an hour to live come in and expire; an item is both.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn expiry(bencher: Bencher) {
    const COUNT: u64 = 1_000_000;
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        let mut wheel = ExpiryWheel::new(Timestamp(0));
        for seq in 1..=COUNT {
            wheel.insert(
                StreamSeq(seq),
                Timestamp(3_600_000_000_000 + seq * 1_000_000),
            );
        }
        let mut due = Vec::new();
        let mut expired = 0;
        while let Some(next) = wheel.next() {
            while !wheel.expire(next, 1000, &mut due) {
                expired += due.drain(..).count();
            }
            expired += due.drain(..).count();
        }
        assert_eq!(expired as u64, COUNT);
    });
}

/// Messages are delivered and acknowledged, a thousand of them on their way, and what happens is
/// written down in batches of 256; an item is both.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn deliver_and_ack(bencher: Bencher) {
    const COUNT: u64 = 100_000;
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        let mut state = ConsumerState::new(AckPolicy::Explicit, StreamSeq(0));
        let (mut writer, mut bytes) = (EventWriter::new(), 0);
        for seq in 1..=COUNT + 1000 {
            let (at, deadline) = (Millis::new(seq / 100), Millis::new(30_000 + seq / 100));
            let event = Event::Delivered {
                stream: StreamSeq(seq),
                at,
                deadline,
            };
            state.record(event, &mut writer).expect("it follows");
            if seq > 1000 {
                let event = Event::Acked {
                    stream: StreamSeq(seq - 1000),
                };
                state.record(event, &mut writer).expect("it follows");
            }
            if writer.len() >= 256 {
                bytes += writer.take().len();
            }
        }
        (state, bytes)
    });
}

/// Fills an index, and prints what that and all else costs.
fn load(shape: Shape, size: usize) {
    let before = resident_bytes();
    let (mut index, mut seq, mut inserts) = (SubjectIndex::new(), 0, 0);
    for at in (0..size).step_by(BATCH) {
        let subjects = batch(shape, at, size);
        inserts += timed(|| append(&mut index, &subjects, &mut seq));
    }
    let resident = resident_bytes().saturating_sub(before);
    assert_eq!(index.len(), size);
    let owned = index.memory_bytes();
    println!(
        "{shape:?}, {size} subjects such as {}: {:.1} bytes each ({:.1} owned)",
        subject(shape, size / 2),
        resident as f64 / size as f64,
        owned as f64 / size as f64,
    );
    let sample = size.min(1_000_000);
    let (mut lookups, mut replaces) = (0, 0);
    for at in (0..sample).step_by(BATCH) {
        let subjects = batch(shape, at, size);
        lookups += timed(|| {
            for subject in &subjects {
                assert!(black_box(index.get(subject.as_bytes())).is_some());
            }
        });
        replaces += timed(|| {
            for subject in &subjects {
                seq += 1;
                let subject = subject.as_bytes();
                let entry = index.append(subject, StreamSeq(seq)).expect("they rise");
                index
                    .remove(subject, entry.first().seq())
                    .expect("it is there");
            }
        });
    }
    println!(
        "  insert {} ns, lookup {} ns, append and remove the one before {} ns",
        inserts / size as u64,
        lookups / sample as u64,
        replaces / sample as u64,
    );
    let filters: [&[u8]; 2] = match shape {
        Shape::Keys => [b">", b"$KV.*.user-1234"],
        Shape::Sensors => [b"sensors.*.dev-0000100.*", b"sensors.*.*.metric-07"],
        Shape::Inboxes => [b">", b"_INBOX.*"],
    };
    for filter in filters {
        // Short ones are repeated, since the system counts in milliseconds.
        let matches = found(&index, filter);
        let (repeats, mut runs, mut took) = (1 + 100_000 / (matches + 100), 0, 0);
        while took < 50_000_000 {
            took += timed(|| (0..repeats).for_each(|_| assert_eq!(found(&index, filter), matches)));
            runs += repeats as u64;
        }
        println!(
            "  {}: {matches} matches in {} us, {} ns each",
            String::from_utf8_lossy(filter),
            took / runs / 1000,
            took / runs / matches.max(1) as u64,
        );
    }
    checkpoint(&index);
    let removes = timed(|| {
        for i in 0..sample {
            let subject = subject(shape, shuffled(i, size));
            black_box(index.remove_subject(subject.as_bytes()));
        }
    });
    println!(
        "  remove {} ns, the subject's making included",
        removes / sample as u64
    );
    drop(index);
    let left = resident_bytes().saturating_sub(before);
    println!("  resident after all are gone: {} KiB", left / 1024);
}

/// Writes an index as blocks and reads it again.
fn checkpoint(index: &SubjectIndex) {
    let (mut cursor, mut blocks) = (Cursor::start(), Vec::new());
    let written = timed(|| {
        while !cursor.is_done() {
            let mut block = Vec::new();
            encode_block(index, &mut cursor, LogIndex(1), 32 << 10, &mut block);
            blocks.push(block);
        }
    });
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    let mut builder = Some(Builder::new());
    let mut loaded = None;
    let read = timed(|| {
        let mut builder = builder.take().expect("once");
        for block in &blocks {
            let mut block = Block::read(block).expect("it was written");
            builder.push_block(&mut block).expect("it was written");
        }
        loaded = Some(builder.finish());
    });
    let loaded = loaded.expect("it was read");
    assert_eq!(
        (loaded.len(), loaded.messages()),
        (index.len(), index.messages())
    );
    println!(
        "  checkpoint: {:.1} bytes, written in {} ns, read in {} ns, each; then {:.1} bytes owned",
        bytes as f64 / index.len() as f64,
        written / index.len() as u64,
        read / index.len() as u64,
        loaded.memory_bytes() as f64 / index.len() as f64,
    );
}

/// Nanoseconds that something takes.
fn timed(work: impl FnOnce()) -> u64 {
    let start = now_nanos();
    work();
    now_nanos() - start
}

/// Time of the processor that this process has had; the time of day where that cannot be read.
fn now_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let spent = stat.split(' ').next().and_then(|n| n.parse().ok());
    spent.unwrap_or_else(|| mono().as_nanos())
}

/// The resident memory of this process; 0 where it cannot be read.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse().ok());
    pages.unwrap_or(0) * 4096
}
