//! What one client does to the others, on running servers: `cargo bench --bench stalls` runs the
//! release build of this server; further arguments are commands of servers to compare it with,
//! with `{port}` where the port belongs:
//!
//! ```text
//! cargo bench --bench stalls -- '/usr/sbin/nats-server -a 127.0.0.1 -p {port}'
//! ```
//!
//! - `stalled subscriber`: ten subscribers of one subject, of which one stops reading; the rate of
//!   the other nine, against their rate before.
//! - `growing table`: one client makes a million wildcard subscriptions while another sends PING
//!   after PING; the slowest answers.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends at the first failure, and measures time"
)]

mod servers;

use servers::{Server, barrier, commands, median};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PAYLOAD: usize = 4096;
const SUBSCRIBERS: usize = 10;
const SUBSCRIPTIONS: usize = 1_000_000;
const PHASE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// The rate of nine subscribers after the tenth stopped, against the rate before.
fn stalled_subscriber(server: &Server) -> f64 {
    let running = Arc::new(AtomicBool::new(true));
    let received = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    let (stop, stopped) = (Arc::new(AtomicBool::new(false)), SUBSCRIBERS - 1);
    for i in 0..SUBSCRIBERS {
        let mut stream = server.connect();
        stream.write_all(b"SUB stall 1\r\n").unwrap();
        barrier(&mut stream);
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let (running, received, stop) = (running.clone(), received.clone(), stop.clone());
        threads.push(thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while running.load(Ordering::Relaxed) {
                if i == stopped && stop.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_millis(50));
                    continue;
                }
                if let Ok(n) = stream.read(&mut buffer)
                    && i != stopped
                {
                    received.fetch_add(n as u64, Ordering::Relaxed);
                }
            }
        }));
    }
    let mut publisher = server.connect();
    let (going, counted) = (running.clone(), received.clone());
    threads.push(thread::spawn(move || {
        let mut message = format!("PUB stall {PAYLOAD}\r\n").into_bytes();
        message.resize(message.len() + PAYLOAD, b'x');
        message.extend_from_slice(b"\r\n");
        let batch = message.repeat(16);
        let mut sent = 0;
        // As fast as the nine take it, at most 4 MiB ahead of each.
        while going.load(Ordering::Relaxed) {
            let behind = sent * stopped as u64 - counted.load(Ordering::Relaxed).min(sent * 9);
            if behind > (stopped as u64) * (4 << 20) {
                thread::yield_now();
                continue;
            }
            if publisher.write_all(&batch).is_err() {
                return;
            }
            sent += batch.len() as u64;
        }
    }));
    let rate = || {
        let (start, before) = (Instant::now(), received.load(Ordering::Relaxed));
        thread::park_timeout(PHASE);
        (received.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64()
    };
    thread::park_timeout(Duration::from_millis(300));
    let before = rate();
    stop.store(true, Ordering::Relaxed);
    let after = rate();
    running.store(false, Ordering::Relaxed);
    threads.into_iter().for_each(|t| t.join().unwrap());
    after / before
}

/// The slowest and the hundredth slowest answer to a PING, in milliseconds, and the time in which
/// the table grew, in seconds.
fn growing_table(server: &Server) -> (f64, f64, f64) {
    let mut grower = server.connect();
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let thread = thread::spawn(move || {
        let mut batch = Vec::new();
        for i in 0..SUBSCRIPTIONS {
            match i % 4 {
                0 => write!(batch, "SUB w0.{i}.*.end {i}\r\n"),
                1 => write!(batch, "SUB w1.{i}.> {i}\r\n"),
                2 => write!(batch, "SUB w2.*.{i} {i}\r\n"),
                _ => write!(batch, "SUB w3.{}.{}.> {i}\r\n", i / 100, i % 100),
            }
            .unwrap();
            if batch.len() > 64 << 10 {
                grower.write_all(&batch).unwrap();
                batch.clear();
            }
        }
        grower.write_all(&batch).unwrap();
        barrier(&mut grower);
        finished.store(true, Ordering::Relaxed);
        grower
    });
    let mut pinger = server.connect();
    let (start, mut answers) = (Instant::now(), Vec::new());
    while !done.load(Ordering::Relaxed) {
        let asked = Instant::now();
        barrier(&mut pinger);
        answers.push(asked.elapsed());
        thread::park_timeout(Duration::from_millis(1));
    }
    let took = start.elapsed().as_secs_f64();
    thread.join().unwrap();
    answers.sort_unstable();
    let nth = |n: usize| answers[answers.len().saturating_sub(n)].as_secs_f64() * 1e3;
    (nth(1), nth(100), took)
}

fn main() {
    for command in commands("-a 127.0.0.1 -p {port}") {
        println!("{}", command.split_whitespace().next().unwrap_or_default());
        let ratios = (0..ROUNDS).map(|_| stalled_subscriber(&Server::start(&command)));
        println!(
            "  stalled subscriber: the others keep {:.2}",
            median(ratios.collect())
        );
        let rounds: Vec<_> = (0..ROUNDS)
            .map(|_| growing_table(&Server::start(&command)))
            .collect();
        let of = |pick: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
        println!(
            "  growing table: slowest PING {:.1} ms, hundredth slowest {:.1} ms, {:.2} s in all",
            of(|r| r.0),
            of(|r| r.1),
            of(|r| r.2)
        );
    }
}
