//! Something between two peers that goes wrong as networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Passes bytes on between whoever connects to it and one address. When it is dropped, nobody can
/// connect any more, and what is there is cut.
pub struct Proxy {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    ending: AtomicBool,
    accepted: AtomicUsize,
}

#[derive(Default)]
struct State {
    links: Vec<Link>,
    /// What holds for connections that come.
    refuses: bool,
    delay: Duration,
}

struct Link {
    ends: [TcpStream; 2],
    /// Whether nothing goes on: from who connected, and back.
    stalled: Arc<[AtomicBool; 2]>,
    /// Bytes that may still pass each way, as long as there is a limit.
    left: Arc<[AtomicUsize; 2]>,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
            ending: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
        });
        let own = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if own.ending.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if own.state.lock().unwrap().refuses {
                    continue;
                }
                let Ok(far) = TcpStream::connect(own.target) else {
                    continue;
                };
                own.link(stream, far);
            }
        });
        Proxy { addr, shared }
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for link in self.shared.state.lock().unwrap().links.drain(..) {
            link.cut();
        }
    }

    /// Closes each connection when so many more bytes have passed from `side` (0: who connected).
    pub fn cut_after(&self, side: usize, bytes: usize) {
        for link in &self.shared.state.lock().unwrap().links {
            link.left[side].store(bytes, Ordering::Relaxed);
        }
    }

    /// Passes nothing on any more of what is there, though the connections stay open, as if the other
    /// side had lost its power; from both sides or from one.
    pub fn stall(&self, sides: &[usize]) {
        for link in &self.shared.state.lock().unwrap().links {
            for side in sides {
                link.stalled[*side].store(true, Ordering::Relaxed);
            }
        }
    }

    /// Closes whatever comes.
    pub fn refuse(&self, refuses: bool) {
        self.shared.state.lock().unwrap().refuses = refuses;
    }

    /// Holds everything back for so long.
    pub fn delay(&self, delay: Duration) {
        self.shared.state.lock().unwrap().delay = delay;
    }

    /// Connections that were ever passed on.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn link(self: &Arc<Shared>, near: TcpStream, far: TcpStream) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let stalled: Arc<[AtomicBool; 2]> = Arc::default();
        let left = Arc::new([AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX)]);
        for (side, from, to) in [(0, &near, &far), (1, &far, &near)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (own, stalled, left) = (self.clone(), stalled.clone(), left.clone());
            thread::spawn(move || own.pass(from, to, (&stalled[side], &left[side])));
        }
        let ends = [near, far];
        let link = Link {
            ends,
            stalled,
            left,
        };
        self.state.lock().unwrap().links.push(link);
    }

    fn pass(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        (stalled, left): (&AtomicBool, &AtomicUsize),
    ) {
        let mut buffer = vec![0; 65536];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let state = self.state.lock().unwrap();
            let delay = state.delay;
            if !delay.is_zero() {
                // Nobody wakes it: this is how long it takes.
                drop(self.changed.wait_timeout(state, delay).unwrap());
            }
            if stalled.load(Ordering::Relaxed) {
                // What was read is lost; the rest waits in the sockets.
                return;
            }
            let allowed = left.load(Ordering::Relaxed);
            if allowed != usize::MAX {
                left.store(allowed.saturating_sub(n), Ordering::Relaxed);
            }
            if to.write_all(&buffer[..n.min(allowed)]).is_err() || n >= allowed {
                break;
            }
        }
        if !stalled.load(Ordering::Relaxed) {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    fn cut(&self) {
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}
