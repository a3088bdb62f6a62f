//! The subscription list at ten thousand and a million subscriptions of a wildcard pattern mix.
//!
//! `cargo bench --bench sublist` gives times per operation. `cargo bench --bench sublist -- --rss`
//! gives what the loading of a million costs instead: bytes per subscription by resident memory
//! (on Linux), time per insert, the slowest 64 inserts in a row, and what stays resident after
//! all of them are removed.

use std::cell::RefCell;
use std::fmt::Write;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nats_server::base::clock::mono;
use nats_server::base::rng::Rng;
use nats_server::subject::{Matches, SubId, Sublist};

const SIZES: [usize; 2] = [10_000, 1_000_000];
/// Subjects per timed run, chosen at random over the whole list.
const BATCH: usize = 1000;

/// As large as what the server keeps with a subscription.
#[derive(Clone, Copy)]
#[expect(dead_code, reason = "only its size matters")]
struct Target {
    connection_loop: u16,
    slot: u32,
    sid: u32,
}

fn main() {
    if std::env::args().any(|arg| arg == "--rss") {
        for size in SIZES {
            load(size);
        }
        return;
    }
    divan::main();
}

/// Writes subject `i` of the mix, with `one` and `rest` where subscriptions have `*` and `>`.
fn wild(out: &mut String, i: usize, one: &str, rest: &str) {
    let (x, y) = (i / 100, i % 100);
    out.clear();
    let written = match i % 4 {
        0 => write!(out, "w0.{i}.{one}.end"),
        1 => write!(out, "w1.{i}.{rest}"),
        2 => write!(out, "w2.{one}.{i}"),
        _ => write!(out, "w3.{x}.{y}.{rest}"),
    };
    written.expect("strings take all that is written");
}

fn target(i: usize) -> Target {
    Target {
        connection_loop: 0,
        slot: 0,
        sid: u32::try_from(i).unwrap_or(u32::MAX),
    }
}

fn insert(list: &mut Sublist<Target>, subject: &str, i: usize) -> SubId {
    list.insert(subject.as_bytes(), None, target(i))
        .expect("a valid subject")
}

fn filled(size: usize) -> Sublist<Target> {
    let (mut list, mut subject) = (Sublist::new(0x5eed), String::new());
    for i in 0..size {
        wild(&mut subject, i, "*", ">");
        insert(&mut list, &subject, i);
    }
    insert(&mut list, "*.>", size);
    list
}

/// `BATCH` random subjects: those which are published, or those which are subscribed to.
fn batch(rng: &mut Rng, size: usize, subscribed: bool) -> Vec<String> {
    let mut one = || {
        let (mut subject, token) = (String::new(), rng.below(1000).to_string());
        let [star, rest] = if subscribed {
            ["*", ">"]
        } else {
            [&token[..]; 2]
        };
        wild(&mut subject, rng.below(size), star, rest);
        subject
    };
    (0..BATCH).map(|_| one()).collect()
}

/// Fills a list from nothing, a subscription at a time.
#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn fill(bencher: Bencher, size: usize) {
    let mut subjects = Vec::new();
    for i in 0..size {
        let mut subject = String::new();
        wild(&mut subject, i, "*", ">");
        subjects.push(subject);
    }
    bencher.counter(ItemsCount::new(size)).bench_local(|| {
        let mut list = Sublist::new(0x5eed);
        for (i, subject) in subjects.iter().enumerate() {
            insert(&mut list, subject, i);
        }
        list
    });
}

/// Every subject matches two subscriptions, one of them the catch-all.
#[divan::bench(args = SIZES, sample_count = 200, sample_size = 1)]
fn match_wild(bencher: Bencher, size: usize) {
    let (list, mut rng, mut out) = (filled(size), Rng::new(7), Matches::new());
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| batch(&mut rng, size, false))
        .bench_local_refs(|subjects| {
            for subject in subjects {
                list.matches(subject.as_bytes(), &mut out);
                assert_eq!(black_box(&out).plain.len(), 2);
            }
        });
}

/// Literal subscriptions, one match each.
#[divan::bench(args = SIZES, sample_count = 200, sample_size = 1)]
fn match_literal(bencher: Bencher, size: usize) {
    let (mut list, mut rng, mut out) = (Sublist::new(0x5eed), Rng::new(7), Matches::new());
    for i in 0..size {
        insert(&mut list, &format!("orders.{i}.status"), i);
    }
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let one = |_| format!("orders.{}.status", rng.below(size));
            (0..BATCH).map(one).collect::<Vec<String>>()
        })
        .bench_local_refs(|subjects| {
            for subject in subjects {
                list.matches(subject.as_bytes(), &mut out);
                assert_eq!(black_box(&out).plain.len(), 1);
            }
        });
}

/// Subjects without any interest.
#[divan::bench(args = SIZES, sample_count = 200, sample_size = 1)]
fn match_nothing(bencher: Bencher, size: usize) {
    let (mut list, mut out) = (Sublist::new(0x5eed), Matches::new());
    for i in 0..size {
        insert(&mut list, &format!("orders.{i}.status"), i);
    }
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            list.matches(black_box(b"orders.none.status"), &mut out);
            assert!(black_box(&out).is_empty());
        }
    });
}

/// One subscription comes and goes beside the others; an item is both.
#[divan::bench(args = SIZES, sample_count = 200, sample_size = 1)]
fn churn(bencher: Bencher, size: usize) {
    let (list, mut rng) = (RefCell::new(filled(size)), Rng::new(7));
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let mut subjects = batch(&mut rng, size, true);
            subjects
                .iter_mut()
                .for_each(|subject| subject.insert(0, 'x'));
            subjects
        })
        .bench_local_refs(|subjects| {
            let list = &mut *list.borrow_mut();
            for subject in subjects {
                let id = insert(list, subject, 0);
                black_box(list.remove(id));
            }
        });
}

/// An inbox comes and goes beside the others, as a request of an old client makes it.
#[divan::bench(args = SIZES, sample_count = 200, sample_size = 1)]
fn churn_inbox(bencher: Bencher, size: usize) {
    let (list, mut rng) = (RefCell::new(filled(size)), Rng::new(7));
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            let one = |_| format!("_INBOX.{:022}.*", rng.next_u64());
            (0..BATCH).map(one).collect::<Vec<String>>()
        })
        .bench_local_refs(|subjects| {
            let list = &mut *list.borrow_mut();
            for subject in subjects {
                let id = insert(list, subject, 0);
                black_box(list.remove(id));
            }
        });
}

fn load(size: usize) {
    let mut ids: Vec<Option<SubId>> = (0..size).map(|_| None).collect();
    let mut subject = String::new();
    let before = resident_bytes();
    let mut list = Sublist::new(0x5eed);
    let (mut total, mut slowest) = (0, 0);
    for (chunk, slots) in ids.chunks_mut(64).enumerate() {
        let mut subjects: Vec<String> = Vec::new();
        for i in 0..slots.len() {
            wild(&mut subject, chunk * 64 + i, "*", ">");
            subjects.push(subject.clone());
        }
        let start = mono();
        for (slot, subject) in slots.iter_mut().zip(&subjects) {
            *slot = Some(insert(&mut list, subject, 0));
        }
        let took = mono().since(start).as_nanos();
        total += took;
        slowest = slowest.max(took);
    }
    let loaded = resident_bytes();
    let start = mono();
    // In an order unlike that of insertion.
    for i in 0..size {
        if let Some(id) = ids[i * 7919 % size].take() {
            list.remove(id);
        }
    }
    let removed = mono().since(start).as_nanos();
    let after = resident_bytes();
    assert!(list.is_empty());
    println!(
        "{size} subscriptions: {} bytes each, insert {} ns, slowest 64 inserts {} us, \
         remove {} ns, resident after removal {} KiB",
        loaded.saturating_sub(before) / size,
        total / size as u128,
        slowest / 1000,
        removed / size as u128,
        after.saturating_sub(before) / 1024,
    );
}

/// The resident memory of this process; 0 where it cannot be read.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
