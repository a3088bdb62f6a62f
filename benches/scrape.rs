//! What monitoring costs, on running servers: `cargo bench --bench scrape` runs the release build of
//! this server; further arguments are commands of servers to compare it with, with `{port}` and
//! `{http}` where the ports for clients and for monitoring belong:
//!
//! ```text
//! cargo bench --bench scrape -- '/usr/sbin/nats-server -a 127.0.0.1 -p {port} -m {http}'
//! ```
//!
//! With 10,000 idle clients, /varz and /connz are asked for once a second, as nats-top does. That
//! is measured twice: the server's processor time while nothing else happens, with and without; and
//! the time that messages take from a publisher to a subscriber, 2,000 a second, in slices of some
//! seconds with and without in turn.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends at the first failure, and measures time"
)]

mod servers;

use servers::{Server, barrier, commands, median};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const CLIENTS: usize = 10_000;
const IDLE: Duration = Duration::from_secs(10);
const SLICE: Duration = Duration::from_secs(5);
const SLICES: usize = 12;
const PAUSE: Duration = Duration::from_micros(500);

/// Asks for both documents once a second until told to stop; gives the bytes that it got.
struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Poller {
    fn start(http: u16) -> Poller {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut bytes = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = Instant::now() + Duration::from_secs(1);
                bytes += get(http, "/varz") + get(http, "/connz?limit=1024");
                while Instant::now() < due && !stopped.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_millis(20));
                }
            }
            bytes
        });
        Poller { stop, thread }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn get(http: u16, path: &str) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", http)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
    answer.len()
}

/// The share of a core that the server uses in some seconds.
fn load(server: &Server) -> f64 {
    let before = server.cpu_time();
    let began = Instant::now();
    thread::park_timeout(IDLE);
    (server.cpu_time() - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// How long messages take, for a while; sorted.
fn latencies(publisher: &mut TcpStream, subscriber: &mut TcpStream) -> Vec<Duration> {
    let end = Instant::now() + SLICE;
    let mut times = Vec::new();
    let mut buffer = [0; 256];
    while Instant::now() < end {
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
}

fn at(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e6
}

fn main() {
    for command in commands("-a 127.0.0.1 -p {port} -m {http}") {
        println!("{}", command.split_whitespace().next().unwrap_or_default());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = free.local_addr().unwrap().port();
        drop(free);
        let server = Server::start(&command.replace("{http}", &http.to_string()));
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
        let quiet = load(&server);
        let poller = Poller::start(http);
        let polled = load(&server);
        let bytes = poller.stop();
        println!(
            "  idle: {:.2} % of a core, polled {:.2} %, polling {:.2} %; {} KiB a second",
            100.0 * quiet,
            100.0 * polled,
            100.0 * (polled - quiet),
            bytes / 1024 / usize::try_from(IDLE.as_secs()).unwrap()
        );
        let (mut publisher, mut subscriber) = (server.connect(), server.connect());
        subscriber.write_all(b"SUB a.b 1\r\n").unwrap();
        barrier(&mut subscriber);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for slice in 0..SLICES {
            let poller = (slice % 2 == 1).then(|| Poller::start(http));
            let times = latencies(&mut publisher, &mut subscriber);
            match poller {
                Some(poller) => {
                    poller.stop();
                    with.push(times);
                }
                None => without.push(times),
            }
        }
        for percent in [50, 99] {
            let of = |slices: &[Vec<Duration>]| {
                median(slices.iter().map(|times| at(times, percent)).collect())
            };
            let (without, with) = (of(&without), of(&with));
            println!(
                "  p{percent} of a message: {without:.0} us without, {with:.0} us polled, {:.2} times",
                with / without
            );
        }
        drop(clients);
    }
}
