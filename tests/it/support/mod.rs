//! What the tests share: servers to talk to, and a client that speaks raw protocol lines.

mod dir;
#[cfg(unix)]
pub mod disks;
mod login;
pub mod mesh;
mod peer;
mod process;
pub mod proxy;
pub mod schema;
pub mod tls;
#[cfg(unix)]
pub mod wire;

pub use dir::Dir;
pub use login::{Key, connect, log_in, nonce, refusal, try_log_in};
pub use peer::{End, Peer, show};
pub use process::{Process, Run, server_binary};

use nats_server::options::Options;
use nats_server::server::Server;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Addresses of the loopback interface where nobody listens, for servers that come back to the same
/// place: they are below those that the system gives to whoever asks for any.
pub fn places<const N: usize>() -> [SocketAddr; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    [(); N].map(|()| {
        loop {
            let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2000;
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            if TcpListener::bind(at).is_ok() {
                return at;
            }
        }
    })
}

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A CONNECT after which the server speaks only when it has something to say.
pub const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";

/// A server inside the test, on a free port of the loopback interface. It ends when dropped.
pub fn start(change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options {
        host: "127.0.0.1".into(),
        port: -1,
        ..Options::default()
    };
    change(&mut options);
    Server::start(options).expect("a free port can be listened on")
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reproducible noise.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
