//! What interest costs between servers: `cargo bench --bench mesh` runs the release build of this
//! server; further arguments are commands of servers to compare it with, with `{port}`, `{http}`,
//! `{route}` and `{other}` where the ports for clients, for monitoring and for routes, and that of the
//! other server, belong:
//!
//! ```text
//! cargo bench --bench mesh -- '/usr/sbin/nats-server -a 127.0.0.1 -p {port} -m {http} \
//!     --cluster_name c --cluster nats://127.0.0.1:{route} --routes nats://127.0.0.1:{other}'
//! ```
//!
//! `snapshot`: a server with a million subscriptions is joined by another, five times; how long until
//! that one knows all of them from when it listens on, the processor time of both, and how long messages
//! between clients of the first one take before and meanwhile. `churn`: a client subscribes and
//! unsubscribes 100,000 times a second; how long until the other server passes on a message for a
//! subscription that is made meanwhile.
//! `MESH_SUBSCRIPTIONS` and `MESH_SECONDS` change the size of both; 0 seconds leave `churn` out.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends at the first failure, and measures time"
)]

mod servers;

use servers::{Server, barrier, commands, median};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_micros(500);
/// How often the first server is joined: a million subscriptions are told too quickly for the slowest
/// hundredth of the messages meanwhile to be many.
const JOINED: u32 = 5;
/// Subscriptions and their ends in a second, and in one go.
const CHURN: u32 = 100_000;
const STEP: Duration = Duration::from_millis(10);

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// Two servers of a cluster, of which the second is started later.
struct Pair {
    command: String,
    http: [String; 2],
    routes: [String; 2],
}

impl Pair {
    fn new(command: &str) -> Pair {
        Pair {
            command: command.into(),
            http: [free_port(), free_port()],
            routes: [free_port(), free_port()],
        }
    }

    fn start(&self, which: usize) -> Server {
        let command = self.command.replace("{http}", &self.http[which]);
        let command = command.replace("{route}", &self.routes[which]);
        Server::start(&command.replace("{other}", &self.routes[1 - which]))
    }

    /// How many subscriptions a server knows.
    fn subscriptions(&self, which: usize) -> usize {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", self.http[which])).unwrap();
        let request = "GET /subsz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let at = answer.split("\"num_subscriptions\":").nth(1).unwrap();
        let digits = at.trim_start().split(|c: char| !c.is_ascii_digit());
        digits.into_iter().next().unwrap().parse().unwrap()
    }
}

fn at(times: &[Duration], permille: usize) -> f64 {
    times[(times.len() * permille / 1000).min(times.len() - 1)].as_secs_f64() * 1e6
}

/// How long messages take between two clients of a server, until told to stop; sorted.
fn latencies(server: &Server, stop: Arc<AtomicBool>) -> thread::JoinHandle<Vec<Duration>> {
    let (mut publisher, mut subscriber) = (server.connect(), server.connect());
    subscriber.write_all(b"SUB a.b 1\r\n").unwrap();
    barrier(&mut subscriber);
    thread::spawn(move || {
        let (mut times, mut buffer) = (Vec::new(), [0; 256]);
        while !stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            publisher.write_all(b"PUB a.b 4\r\nping\r\n").unwrap();
            let mut got = 0;
            while got < "MSG a.b 1 4\r\nping\r\n".len() {
                let n = subscriber.read(&mut buffer).unwrap();
                assert!(n > 0, "closed by the server");
                got += n;
            }
            times.push(sent.elapsed());
            thread::park_timeout(PAUSE);
        }
        times.sort_unstable();
        times
    })
}

/// How long to wait before asking a server again that knows so many of all subscriptions after some
/// time: half of what it will take at that pace. An answer costs a server a dozen changes of threads,
/// so asking all the time is what messages would wait for.
fn until_asked_again(elapsed: Duration, known: usize, count: usize) -> Duration {
    let left = elapsed.as_secs_f64() * (count - known) as f64 / known.max(1) as f64;
    Duration::from_secs_f64(left.min(1.0) / 2.0).clamp(STEP, 20 * STEP)
}

fn snapshot(command: &str) {
    let count = number("MESH_SUBSCRIPTIONS", 1_000_000);
    let pair = Pair::new(command);
    let first = pair.start(0);
    let mut client = first.connect();
    for from in (0..count).step_by(10_000) {
        let mut lines = String::new();
        for i in from..(from + 10_000).min(count) {
            let _ = write!(lines, "SUB orders.{}.n{i} {i}\r\n", i % 1000);
        }
        client.write_all(lines.as_bytes()).unwrap();
        barrier(&mut client);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let before = latencies(&first, stop.clone());
    thread::sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    let before = before.join().unwrap();
    let used = first.cpu_time();
    let (mut took, mut second_used, mut during) = (Vec::new(), Duration::ZERO, Vec::new());
    for _ in 0..JOINED {
        let second = pair.start(1);
        let began = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let sampling = latencies(&first, stop.clone());
        loop {
            let known = pair.subscriptions(1);
            let elapsed = began.elapsed();
            if known >= count {
                took.push(elapsed.as_secs_f64() * 1e3);
                break;
            }
            assert!(elapsed < Duration::from_secs(300), "it never knows");
            thread::sleep(until_asked_again(elapsed, known, count));
        }
        stop.store(true, Ordering::Relaxed);
        during.append(&mut sampling.join().unwrap());
        second_used += second.cpu_time();
    }
    during.sort_unstable();
    println!(
        "  snapshot: {count} subscriptions in {:.0} ms, CPU {:.0} + {:.0} ms; messages p50 {:.0} p99 \
         {:.0} us before, p50 {:.0} p99 {:.0} us meanwhile",
        median(took),
        ((first.cpu_time() - used) / JOINED).as_secs_f64() * 1e3,
        (second_used / JOINED).as_secs_f64() * 1e3,
        at(&before, 500),
        at(&before, 990),
        at(&during, 500),
        at(&during, 990)
    );
}

fn churn(command: &str) {
    let seconds = number("MESH_SECONDS", 5);
    let pair = Pair::new(command);
    let (first, second) = (pair.start(0), pair.start(1));
    let mut publisher = second.connect();
    let mut prober = first.connect();
    let mut wait_for = |i: usize| {
        let line = format!("SUB probe.{i} {i}\r\n");
        let asked = Instant::now();
        prober.write_all(line.as_bytes()).unwrap();
        prober
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let mut buffer = [0; 4096];
        loop {
            let message = format!("PUB probe.{i} 1\r\n.\r\n");
            publisher.write_all(message.as_bytes()).unwrap();
            if prober.read(&mut buffer).is_ok_and(|n| n > 0) {
                let took = asked.elapsed();
                // What was published meanwhile.
                while prober.read(&mut buffer).is_ok_and(|n| n > 0) {}
                return took;
            }
            assert!(asked.elapsed() < Duration::from_secs(60), "it never knows");
        }
    };
    let meshed = wait_for(0);
    let used = (first.cpu_time(), second.cpu_time());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let mut client = first.connect();
    let began = Instant::now();
    let churning = thread::spawn(move || {
        let (mut i, began) = (0u32, Instant::now());
        let each =
            CHURN / u32::try_from(Duration::from_secs(1).as_millis() / STEP.as_millis()).unwrap();
        while !stopped.load(Ordering::Relaxed) {
            let mut lines = String::new();
            for _ in 0..each / 2 {
                let _ = write!(lines, "SUB churn.{i} {i}\r\n");
                if i >= 5000 {
                    let _ = write!(lines, "UNSUB {}\r\n", i - 5000);
                }
                i += 1;
            }
            client.write_all(lines.as_bytes()).unwrap();
            let due = began + STEP * (i / (each / 2));
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
        barrier(&mut client);
        f64::from(i) * 2.0 / began.elapsed().as_secs_f64()
    });
    let mut times = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds as u64) {
        times.push(wait_for(times.len() + 1));
        thread::sleep(Duration::from_millis(100));
    }
    stop.store(true, Ordering::Relaxed);
    let rate = churning.join().unwrap();
    let ended = wait_for(times.len() + 1);
    times.sort_unstable();
    println!(
        "  churn: {rate:.0} changes a second, seen after p50 {:.1} ms, at most {:.1} ms, {:.1} ms at the \
         end ({:.0} ms until they were connected); CPU {:.0} + {:.0} ms a second",
        at(&times, 500) / 1e3,
        at(&times, 1000) / 1e3,
        ended.as_secs_f64() * 1e3,
        meshed.as_secs_f64() * 1e3,
        (first.cpu_time() - used.0).as_secs_f64() * 1e3 / began.elapsed().as_secs_f64(),
        (second.cpu_time() - used.1).as_secs_f64() * 1e3 / began.elapsed().as_secs_f64(),
    );
}

fn main() {
    let own = "-a 127.0.0.1 -p {port} -m {http} --cluster_name c --cluster \
               nats://127.0.0.1:{route} --routes nats://127.0.0.1:{other}";
    for command in commands(own) {
        println!("{command}");
        snapshot(&command);
        if number("MESH_SECONDS", 5) > 0 {
            churn(&command);
        }
    }
}
