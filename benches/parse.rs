//! Parsing what clients send. An item is an operation.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use nats_server::proto::client::{Limits, Parsed, parse};

/// Operations in the buffer.
const OPERATIONS: usize = 256;

const LIMITS: Limits = Limits {
    control_line_max: 4096,
    payload_max: 1 << 20,
    headers: true,
};

fn main() {
    divan::main();
}

#[divan::bench(args = [16, 128, 4096])]
fn publish(bencher: Bencher, size: usize) {
    let payload = "x".repeat(size);
    run(bencher, &format!("PUB orders.new {size}\r\n{payload}\r\n"));
}

#[divan::bench(args = [16, 128, 4096])]
fn publish_with_reply(bencher: Bencher, size: usize) {
    let payload = "x".repeat(size);
    let reply = "_INBOX.cPyGZ7rUpNBTfTWfVsdbSv.1";
    run(
        bencher,
        &format!("PUB orders.new {reply} {size}\r\n{payload}\r\n"),
    );
}

#[divan::bench(args = [16, 128, 4096])]
fn publish_with_headers(bencher: Bencher, size: usize) {
    let headers = "NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n";
    let (payload, len) = ("x".repeat(size), headers.len());
    let total = len + size;
    run(
        bencher,
        &format!("HPUB orders.new {len} {total}\r\n{headers}{payload}\r\n"),
    );
}

#[divan::bench]
fn subscribe(bencher: Bencher) {
    run(bencher, "SUB orders.* workers 4711\r\n");
}

#[divan::bench]
fn unsubscribe(bencher: Bencher) {
    run(bencher, "UNSUB 4711\r\n");
}

#[divan::bench]
fn ping(bencher: Bencher) {
    run(bencher, "PING\r\n");
}

fn run(bencher: Bencher, operation: &str) {
    let data = operation.repeat(OPERATIONS).into_bytes();
    let bytes = BytesCount::new(data.len());
    let items = ItemsCount::new(OPERATIONS);
    bencher
        .counter(bytes)
        .counter(items)
        .bench_local(|| operations(black_box(&data)));
}

fn operations(mut data: &[u8]) {
    while !data.is_empty() {
        match parse(data, &LIMITS) {
            Parsed::Op(op, used) => {
                black_box(op);
                data = &data[used..];
            }
            other => panic!("{other:?}"),
        }
    }
}
