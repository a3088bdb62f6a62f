//! A publisher of one loop and subscribers of another, with the batches between the two, without
//! sockets or threads. An item is a message delivered.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use support::{Loops, MESSAGES, publications};

const SUBSCRIBERS: [usize; 2] = [1, 10];

fn main() {
    divan::main();
}

#[divan::bench(args = SUBSCRIBERS)]
fn payload_16(bencher: Bencher, subscribers: usize) {
    cross(bencher, subscribers, 16);
}

#[divan::bench(args = SUBSCRIBERS)]
fn payload_128(bencher: Bencher, subscribers: usize) {
    cross(bencher, subscribers, 128);
}

#[divan::bench(args = SUBSCRIBERS)]
fn payload_4096(bencher: Bencher, subscribers: usize) {
    cross(bencher, subscribers, 4096);
}

fn cross(bencher: Bencher, subscribers: usize, size: usize) {
    run(
        bencher,
        subscribers,
        subscribers,
        "SUB orders.new 1\r\n",
        size,
    );
}

/// Each message goes to one member of a queue group.
#[divan::bench(args = [10])]
fn queue_group(bencher: Bencher, members: usize) {
    run(bencher, members, 1, "SUB orders.new workers 1\r\n", 128);
}

fn run(bencher: Bencher, clients: usize, receivers: usize, subscribe: &str, size: usize) {
    let mut loops = Loops::new(2, clients, subscribe);
    let said = publications(size);
    let deliveries = MESSAGES * receivers;
    let mut runs = 0;
    let before = loops.written();
    bencher
        .counter(ItemsCount::new(deliveries))
        .bench_local(|| {
            loops.publish(&said);
            runs += 1;
        });
    assert!(
        loops.written() - before >= runs * deliveries * size,
        "all was delivered"
    );
}
