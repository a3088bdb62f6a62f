//! One publisher and some subscribers of one loop, from the bytes read to the bytes written,
//! without sockets. An item is a message delivered.

mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use support::{Loops, MESSAGES, publications};

const SUBSCRIBERS: [usize; 3] = [1, 10, 100];

fn main() {
    divan::main();
}

#[divan::bench(args = SUBSCRIBERS)]
fn payload_16(bencher: Bencher, subscribers: usize) {
    fan_out(bencher, subscribers, 16);
}

#[divan::bench(args = SUBSCRIBERS)]
fn payload_128(bencher: Bencher, subscribers: usize) {
    fan_out(bencher, subscribers, 128);
}

/// Large enough to be shared between the subscribers instead of copied.
#[divan::bench(args = SUBSCRIBERS)]
fn payload_4096(bencher: Bencher, subscribers: usize) {
    fan_out(bencher, subscribers, 4096);
}

fn fan_out(bencher: Bencher, subscribers: usize, size: usize) {
    let mut loops = Loops::new(1, subscribers, "SUB orders.new 1\r\n");
    let said = publications(size);
    let deliveries = MESSAGES * subscribers;
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
