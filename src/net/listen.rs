//! Listening sockets, and accepting from them without ever spinning.

use crate::base::clock::Mono;
use crate::base::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, LISTEN_BACKLOG};
use crate::os::host;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Opens a listening socket on a host name or address and a port, where 0 is any free port.
///
/// # Errors
/// The host cannot be resolved, or the last of its addresses cannot be listened on.
pub fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("lookup {host}: no such host"),
    );
    for addr in (host, port).to_socket_addrs()? {
        match bind(addr) {
            Ok(listener) => return Ok(listener),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Takes over a socket that is listening already.
///
/// # Errors
/// It cannot be told not to block.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener))
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if host::REUSES_PORTS {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&addr.into())?;
    // mio's own bind has a backlog of 128.
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Accepts connections; when that fails for want of descriptors or memory, pauses, for longer and
/// longer.
pub struct Acceptor {
    listener: TcpListener,
    pause: Option<Pause>,
}

struct Pause {
    until: Mono,
    last: Duration,
}

/// What became of an attempt to accept.
pub enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// Nobody is waiting.
    Nobody,
    /// It cannot be done now. Holds the reason the first time in a row.
    Paused(Option<io::Error>),
}

impl Acceptor {
    pub fn new(listener: TcpListener) -> Acceptor {
        Acceptor {
            listener,
            pause: None,
        }
    }

    /// Accepts one connection.
    pub fn accept(&mut self, now: Mono) -> Accepted {
        if self.pause.as_ref().is_some_and(|p| now < p.until) {
            return Accepted::Paused(None);
        }
        loop {
            match self.listener.accept() {
                Ok((stream, addr)) => {
                    self.pause = None;
                    return Accepted::Connection(stream, addr);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.pause = None;
                    return Accepted::Nobody;
                }
                // The peer was gone before it was its turn.
                Err(e) if is_about_the_peer(&e) => {}
                Err(e) => {
                    let last = self.pause.as_ref().map(|p| p.last);
                    let wait = last.map_or(ACCEPT_PAUSE_MIN, |l| (l * 2).min(ACCEPT_PAUSE_MAX));
                    self.pause = Some(Pause {
                        until: now + wait,
                        last: wait,
                    });
                    return Accepted::Paused(last.is_none().then_some(e));
                }
            }
        }
    }

    /// When to try again, while paused.
    pub fn resume_at(&self) -> Option<Mono> {
        self.pause.as_ref().map(|p| p.until)
    }

    /// The socket, for registering it.
    pub fn listener(&mut self) -> &mut TcpListener {
        &mut self.listener
    }
}

fn is_about_the_peer(e: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(e.kind(), Interrupted | ConnectionAborted | ConnectionReset)
}
