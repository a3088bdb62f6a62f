//! Connections of this process to itself, for code that insists on a listening socket.

use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown};

/// A listening socket to which all connections there will be are made already.
pub struct Hidden {
    pub listener: Listener,
    pub streams: Vec<Stream>,
}

/// Where the connections come in.
#[derive(Debug)]
pub enum Listener {
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

/// The other end of one of them.
#[derive(Debug)]
pub enum Stream {
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
    Tcp(mio::net::TcpStream),
}

/// Makes a listening socket and `count` connections to it, which nobody else can have: it is in a
/// directory that only this user can look into, and no longer there when this returns. Where the
/// system has no such sockets or no place for one, a port of the loopback interface has to do, to
/// which other programs of this machine can connect; so whoever is on the other side must not trust
/// a connection for being there.
///
/// # Errors
/// The system lacks descriptors.
pub fn hidden(count: usize) -> io::Result<Hidden> {
    #[cfg(unix)]
    if let Ok(hidden) = unix::hidden(count) {
        return Ok(hidden);
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    let connect = |_| {
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Stream::Tcp(mio::net::TcpStream::from_std(stream)))
    };
    Ok(Hidden {
        streams: (0..count).map(connect).collect::<io::Result<_>>()?,
        listener: Listener::Tcp(listener),
    })
}

#[cfg(unix)]
mod unix {
    use super::{Hidden, Listener, Stream};
    use std::fs::{self, DirBuilder};
    use std::io;
    use std::os::unix::fs::DirBuilderExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};

    pub(super) fn hidden(count: usize) -> io::Result<Hidden> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("nats-server-{}", data_encoding::HEXLOWER.encode(&random));
        let dir = room().join(name);
        DirBuilder::new().mode(0o700).create(&dir)?;
        let path = dir.join("monitor");
        let made = connected(&path, count);
        // Nobody needs the name any more.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&dir);
        made
    }

    /// A directory whose name leaves room for that of a socket, which has to be short.
    fn room() -> PathBuf {
        const LEN_MAX: usize = 48;
        let usual = std::env::temp_dir();
        match usual.as_os_str().len() <= LEN_MAX {
            true => usual,
            false => PathBuf::from("/tmp"),
        }
    }

    fn connected(path: &Path, count: usize) -> io::Result<Hidden> {
        let listener = UnixListener::bind(path)?;
        let connect = |_| {
            let stream = UnixStream::connect(path)?;
            stream.set_nonblocking(true)?;
            Ok(Stream::Unix(mio::net::UnixStream::from_std(stream)))
        };
        Ok(Hidden {
            streams: (0..count).map(connect).collect::<io::Result<_>>()?,
            listener: Listener::Unix(listener),
        })
    }
}

impl Listener {
    /// Another handle of the same socket.
    ///
    /// # Errors
    /// The system lacks descriptors.
    pub fn try_clone(&self) -> io::Result<Listener> {
        Ok(match self {
            #[cfg(unix)]
            Listener::Unix(listener) => Listener::Unix(listener.try_clone()?),
            Listener::Tcp(listener) => Listener::Tcp(listener.try_clone()?),
        })
    }

    /// The HTTP server that answers what comes in.
    ///
    /// # Errors
    /// The system lacks descriptors or threads.
    pub fn into_server(self) -> io::Result<tiny_http::Server> {
        let server = match self {
            #[cfg(unix)]
            Listener::Unix(listener) => tiny_http::Server::from_listener(listener, None),
            Listener::Tcp(listener) => tiny_http::Server::from_listener(listener, None),
        };
        server.map_err(io::Error::other)
    }

    /// Ends a wait for connections on this socket, where the system knows how to.
    pub fn interrupt(&self) {
        let socket = match self {
            #[cfg(unix)]
            Listener::Unix(listener) => socket2::SockRef::from(listener),
            Listener::Tcp(listener) => socket2::SockRef::from(listener),
        };
        // Who waits on goes with the process.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => stream.read(room),
            Stream::Tcp(stream) => stream.read(room),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            #[cfg(unix)]
            Stream::Unix(stream) => stream,
            Stream::Tcp(stream) => stream,
        }
    }
}

impl Source for Stream {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.source().register(to, token, interest)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.source().reregister(to, token, interest)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        self.source().deregister(from)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn connections_are_there_and_no_others_can_be_made() {
        let hidden = hidden(3).unwrap();
        let Listener::Unix(listener) = &hidden.listener else {
            panic!("not in the file system: {:?}", hidden.listener);
        };
        let path = listener.local_addr().unwrap();
        let path = path.as_pathname().unwrap();
        assert!(!path.exists() && !path.parent().unwrap().exists());
        let second = hidden.listener.try_clone().unwrap();
        thread::scope(|scope| {
            let accepting = scope.spawn(|| {
                let accept = || listener.accept();
                (0..4).map(|_| accept().is_ok()).collect::<Vec<_>>()
            });
            second.interrupt();
            // Those who had connected before may still come in, in whatever order.
            assert!(!accepting.join().unwrap()[3]);
        });
        assert_eq!(hidden.streams.len(), 3);
    }
}
