//! What security costs, on running servers: `cargo bench --bench security` runs the release build
//! of this server; further arguments are commands of servers to compare it with, with `{port}` and
//! `{config}` where port and configuration file belong:
//!
//! ```text
//! cargo bench --bench security -- '/usr/sbin/nats-server -a 127.0.0.1 -p {port} -c {config}'
//! ```
//!
//! - `permissions`: one publisher and one subscriber, 100 subjects in turn; the server's processor
//!   time for a user with 20 rules, against that for a user with none.
//! - `logins`: 5000 connected clients log in at once, each with a password that is compared with a
//!   bcrypt hash of cost 11; how long the PINGs of a client that is in already take from then on
//!   until the last of them is answered, at the 99th percentile, against before, and what becomes
//!   of the logins.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends at the first failure, and measures time"
)]

mod servers;

use servers::{Server, barrier, commands, median};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SUBJECTS: usize = 100;
const RULES: usize = 20;
const MESSAGES: usize = 1_000_000;
const ROUNDS: usize = 5;
const LOGINS: usize = 5000;
const COST: u32 = 11;
const HASHES: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(10);

/// A configuration with a user without permissions, one with, and some with hashes.
fn configuration() -> String {
    let mut rules = String::new();
    for i in 0..RULES / 2 {
        writeln!(rules, "\"bench.{i}.*\", \"other.{i}.>\"").unwrap();
    }
    let mut users = String::new();
    // Passwords differ, so that no comparison does for two users.
    for i in 0..HASHES {
        let hash = bcrypt::hash(format!("secret{i}"), COST).unwrap();
        writeln!(users, "{{user: \"h{i}\", password: \"{hash}\"}}").unwrap();
    }
    format!(
        "authorization {{ timeout: {}, users: [\n\
         {{user: free, password: free}}\n\
         {{user: bound, password: bound, permissions: {{publish: {{allow: [{rules}]}}, \
         subscribe: {{allow: [\"bench.>\"]}}}}}}\n{users}] }}\n",
        TIMEOUT.as_secs()
    )
}

fn log_in(server: &Server, user: &str, password: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .write_all(connect(user, password).as_bytes())
        .unwrap();
    stream
}

fn connect(user: &str, password: &str) -> String {
    format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\n")
}

/// Processor time that the server needs for each message of this user, in nanoseconds.
fn cost(server: &Server, user: &str) -> f64 {
    let mut subscriber = log_in(server, user, user);
    subscriber.write_all(b"SUB bench.> 1\r\n").unwrap();
    barrier(&mut subscriber);
    let mut publisher = log_in(server, user, user);
    barrier(&mut publisher);
    let mut batch = String::new();
    for i in 0..SUBJECTS * 10 {
        let subject = i % SUBJECTS;
        let rule = subject % (RULES / 2);
        write!(
            batch,
            "PUB bench.{rule}.{subject} 16\r\n0123456789abcdef\r\n"
        )
        .unwrap();
    }
    let reader = std::thread::spawn(move || {
        let (mut messages, mut buffer) = (0, vec![0; 1 << 20]);
        while messages < MESSAGES {
            let n = subscriber.read(&mut buffer).unwrap();
            assert!(n > 0, "closed by the server");
            messages += buffer[..n].iter().filter(|b| **b == b'f').count();
        }
    });
    let before = server.cpu_time();
    for _ in 0..MESSAGES / (SUBJECTS * 10) {
        publisher.write_all(batch.as_bytes()).unwrap();
    }
    reader.join().unwrap();
    (server.cpu_time() - before).as_nanos() as f64 / MESSAGES as f64
}

fn permissions(server: &Server) -> (f64, f64) {
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| (cost(server, "free"), cost(server, "bound")))
        .collect();
    let of = |pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    (of(|r| r.0), of(|r| r.1))
}

/// The times of PINGs of a client that is in, for so long; sorted.
fn pings(client: &mut TcpStream, mut going: impl FnMut() -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while going() {
        let asked = Instant::now();
        barrier(client);
        times.push(asked.elapsed());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    times.sort_unstable();
    times
}

fn p99(times: &[Duration]) -> f64 {
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}

/// What became of logins: those that are in, those that time was up for, and others.
#[derive(Default, Debug)]
struct Outcomes {
    welcome: usize,
    timed_out: usize,
    other: usize,
}

fn logins(server: &Server) -> (f64, f64, Outcomes) {
    let mut client = log_in(server, "free", "free");
    barrier(&mut client);
    let end = Instant::now() + Duration::from_secs(3);
    let idle = pings(&mut client, || Instant::now() < end);
    let port = server.port;
    let begun = Arc::new(AtomicBool::new(false));
    let beginning = begun.clone();
    let storm = std::thread::spawn(move || {
        let mut streams: Vec<TcpStream> = (0..LOGINS)
            .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
            .collect();
        beginning.store(true, Ordering::Relaxed);
        for (i, stream) in streams.iter_mut().enumerate() {
            let user = i % HASHES;
            let mut said = connect(&format!("h{user}"), &format!("secret{user}"));
            said.push_str("PING\r\n");
            let _ = stream.write_all(said.as_bytes());
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
        }
        // Reading the answers as they come would take the cores that are measured.
        std::thread::park_timeout(TIMEOUT);
        let mut outcomes = Outcomes::default();
        for stream in &mut streams {
            let mut heard = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => heard.extend_from_slice(&buffer[..n]),
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                }
                let text = String::from_utf8_lossy(&heard);
                if text.contains("PONG\r\n") || text.contains("-ERR") {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&heard);
            match () {
                () if text.contains("PONG\r\n") => outcomes.welcome += 1,
                () if text.contains("Authentication Timeout") => outcomes.timed_out += 1,
                () => outcomes.other += 1,
            }
        }
        outcomes
    });
    while !begun.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    let busy = pings(&mut client, || !storm.is_finished());
    let outcomes = storm.join().unwrap();
    (p99(&idle), p99(&busy), outcomes)
}

fn main() {
    let config = std::env::temp_dir().join(format!("security-{}.conf", std::process::id()));
    std::fs::write(&config, configuration()).unwrap();
    let path = config.display().to_string();
    for command in commands("-a 127.0.0.1 -p {port} -c {config}") {
        println!("{}", command.split_whitespace().next().unwrap_or_default());
        let server = Server::start(&command.replace("{config}", &path));
        let (free, bound) = permissions(&server);
        let ratio = bound / free;
        println!("  permissions: {free:.0} ns without, {bound:.0} ns with, {ratio:.2} times");
        let (idle, busy, outcomes) = logins(&server);
        println!(
            "  logins: p99 of a PING {idle:.2} ms before, {busy:.2} ms meanwhile, {:.2} times; \
             {outcomes:?}",
            busy / idle
        );
    }
    let _ = std::fs::remove_file(config);
}
