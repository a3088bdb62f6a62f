//! Syslog daemons: the system's own, and servers at a unix socket or on the network.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::mem::MaybeUninit;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::error::LogError;
use super::format::Syslog;
use super::sink::{Records, Sink, Voice};
use crate::base::text::PlainError;
use crate::os::host;

/// How long the writer waits for a connection, and for a daemon that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a message that every receiver takes (RFC 3164, section 4.1).
const DATAGRAM_SAFE: usize = 1024;

/// Reads after which a daemon that keeps answering is taken as it is.
const ANSWERS_MAX: usize = 16;

/// Where a syslog daemon listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Address {
    /// At one of these sockets of the system.
    Local(&'static [&'static str]),
    /// At a unix socket that takes streams or datagrams.
    Unix(PathBuf),
    /// At a host and port, by datagrams.
    Udp(String),
    /// At a host and port, by a stream.
    Tcp(String),
}

impl Address {
    /// The system's own daemon.
    pub(super) fn local() -> Result<Address, LogError> {
        match host::SYSLOG_SOCKETS {
            [] => Err(LogError::NoSyslog),
            paths => Ok(Address::Local(paths)),
        }
    }

    /// Reads `udp://host:port`, `tcp://host:port` or `unix:///path`.
    pub(super) fn parse(url: &str) -> Result<Address, LogError> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let host = authority.rsplit('@').next().unwrap_or_default().to_owned();
        match scheme.to_ascii_lowercase().as_str() {
            "udp" => Ok(Address::Udp(host)),
            "tcp" => Ok(Address::Tcp(host)),
            "unix" => Ok(Address::Unix(path.into())),
            _ => Err(LogError::Network(scheme.to_owned())),
        }
    }

    /// The form of the messages.
    pub(super) fn form(&self) -> Syslog {
        match self {
            Address::Local(_) => Syslog::Local,
            Address::Unix(_) => Syslog::Socket,
            Address::Udp(_) | Address::Tcp(_) => Syslog::Network,
        }
    }

    /// Connects; the error is told in full.
    fn connect(&self) -> io::Result<Connection> {
        match self {
            Address::Local(paths) => connect_local(paths),
            Address::Unix(path) => connect_unix(path, Type::STREAM)
                .or_else(|error| connect_unix(path, Type::DGRAM).map_err(|_| error))
                .map_err(|error| told(&format!("dial unix {}: connect", path.display()), &error)),
            Address::Udp(host) => connect_network("udp", host, Type::DGRAM),
            Address::Tcp(host) => connect_network("tcp", host, Type::STREAM),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Address::Local(_) => f.write_str("syslog"),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Udp(host) => write!(f, "udp://{host}"),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// Datagrams are tried everywhere first.
fn connect_local(paths: &[&str]) -> io::Result<Connection> {
    [Type::DGRAM, Type::STREAM]
        .into_iter()
        .flat_map(|kind| paths.iter().map(move |path| (path, kind)))
        .find_map(|(path, kind)| connect_unix(Path::new(path), kind).ok())
        .ok_or_else(|| io::Error::other("Unix syslog delivery error"))
}

fn connect_unix(path: &Path, kind: Type) -> io::Result<Connection> {
    Connection::new(Domain::UNIX, kind, &SockAddr::unix(path)?)
}

/// Connects to the first address of the host that answers.
fn connect_network(network: &str, host: &str, kind: Type) -> io::Result<Connection> {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'));
    if !has_port {
        let text = format!("dial {network}: address {host}: missing port in address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let addresses = host
        .to_socket_addrs()
        .map_err(|error| told(&format!("dial {network}: lookup {host}"), &error))?;
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("dial {network}: lookup {host}: no such host"),
    );
    for address in addresses {
        match Connection::new(Domain::for_address(address), kind, &address.into()) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = told(&format!("dial {network} {address}: connect"), &error),
        }
    }
    Err(last)
}

/// `error` with what was tried.
fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {}", PlainError(error)))
}

/// A socket that is connected to a daemon.
#[derive(Debug)]
struct Connection {
    socket: Socket,
    kind: Type,
}

impl Connection {
    fn new(domain: Domain, kind: Type, address: &SockAddr) -> io::Result<Connection> {
        let socket = Socket::new(domain, kind, None)?;
        socket.connect_timeout(address, PATIENCE)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { socket, kind })
    }

    fn write(&self, records: &mut Records<'_>) -> io::Result<()> {
        if self.kind == Type::STREAM && self.is_hung_up()? {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        while records.left() > 0 {
            let len = if self.kind == Type::STREAM {
                self.send(records.rest())?
            } else {
                self.send_datagram(records.next())?;
                records.next().len()
            };
            records.advance(len);
        }
        Ok(())
    }

    /// Whether the daemon has closed the stream. Writing alone would tell only after a line is
    /// lost.
    fn is_hung_up(&self) -> io::Result<bool> {
        self.socket.set_nonblocking(true)?;
        let mut answer = [MaybeUninit::uninit(); 512];
        let mut hung_up = false;
        for _ in 0..ANSWERS_MAX {
            match self.socket.recv(&mut answer) {
                Ok(0) => hung_up = true,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => hung_up = true,
            }
            break;
        }
        self.socket.set_nonblocking(false)?;
        Ok(hung_up)
    }

    fn send_datagram(&self, message: &[u8]) -> io::Result<()> {
        let Err(error) = self.send(message) else {
            return Ok(());
        };
        match error.kind() {
            // That was the answer to an earlier datagram.
            io::ErrorKind::ConnectionRefused => self.send(message).map(drop),
            io::ErrorKind::WouldBlock => Err(error),
            // It may be too long for one.
            _ if message.len() > DATAGRAM_SAFE => self.send(&cut(message)).map(drop),
            _ => Err(error),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.send(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

/// As much of the message as every receiver takes, with its newline. Characters stay whole.
fn cut(message: &[u8]) -> Vec<u8> {
    let mut end = message.len().min(DATAGRAM_SAFE - 1);
    while end > 0 && message.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    let mut short = message[..end].to_vec();
    short.push(b'\n');
    short
}

/// A syslog daemon as the place of the log.
pub(super) struct Daemon {
    address: Address,
    /// `None` while it cannot be reached.
    connection: Option<Connection>,
}

impl Daemon {
    /// Connects. That takes two seconds for each of the host's addresses at most, and what the
    /// lookup of its name takes.
    pub(super) fn connect(address: &Address) -> Result<Daemon, LogError> {
        let connection = address
            .connect()
            .map_err(|error| LogError::Connect(error.to_string()))?;
        Ok(Daemon {
            address: address.clone(),
            connection: Some(connection),
        })
    }
}

impl Sink for Daemon {
    fn write(&mut self, records: &mut Records<'_>, _: &Voice) -> io::Result<()> {
        match &self.connection {
            Some(connection) => connection.write(records),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Connects again.
    fn recover(&mut self) -> io::Result<bool> {
        self.connection = None;
        self.connection = Some(self.address.connect()?);
        Ok(false)
    }

    fn place(&self) -> Option<String> {
        Some(self.address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::{TcpListener, UdpSocket};

    use super::super::testing::voice;
    use super::*;

    fn write(daemon: &mut Daemon, lines: &str) -> io::Result<()> {
        let mut end = 0;
        let ends = lines.split_inclusive('\n').map(|line| {
            end += u32::try_from(line.len()).unwrap();
            end
        });
        let ends = ends.collect::<Vec<_>>();
        let mut records = Records::new(lines.as_bytes(), &ends);
        daemon.write(&mut records, &voice())?;
        assert_eq!(records.left(), 0);
        Ok(())
    }

    fn daemon(url: &str) -> Daemon {
        Daemon::connect(&Address::parse(url).unwrap()).unwrap()
    }

    fn refusal(url: &str) -> String {
        let daemon = Address::parse(url).and_then(|address| Daemon::connect(&address));
        daemon.err().unwrap().to_string()
    }

    #[test]
    fn addresses_are_read_as_urls() {
        let parse = |url| Address::parse(url).unwrap();
        let host = |host: &str| host.to_owned();
        assert_eq!(parse("udp://a:514"), Address::Udp(host("a:514")));
        assert_eq!(parse("TCP://u:p@[::1]:1/x"), Address::Tcp(host("[::1]:1")));
        assert_eq!(parse("unix:///dev/log"), Address::Unix("/dev/log".into()));
        assert_eq!(parse("unix:/dev/log"), Address::Unix("/dev/log".into()));
        for (url, kind) in [
            ("http://a:1", "http"),
            ("a:1", "a"),
            ("a", ""),
            ("", ""),
            ("\x1b\n://", "\\x1b\\n"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert_eq!(error, format!("error invalid network type: \"{kind}\""));
        }
    }

    #[test]
    fn refusals_read_as_in_the_reference() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        assert_eq!(
            refusal(&format!("tcp://{address}")),
            format!(
                "error connecting to syslog: \"dial tcp {address}: connect: connection refused\""
            )
        );
        assert_eq!(
            refusal("udp://127.0.0.1"),
            "error connecting to syslog: \"dial udp: address 127.0.0.1: missing port in address\""
        );
        assert_eq!(
            refusal("tcp://[::1]"),
            "error connecting to syslog: \"dial tcp: address [::1]: missing port in address\""
        );
        if cfg!(unix) {
            assert_eq!(
                refusal("unix:///nonexistent/x"),
                "error connecting to syslog: \"dial unix /nonexistent/x: connect: no such file or \
                 directory\""
            );
        }
    }

    #[test]
    fn udp_gets_a_datagram_a_line() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut daemon = daemon(&format!("udp://{}", server.local_addr().unwrap()));
        write(&mut daemon, "one\ntwo é\n").unwrap();
        let mut buffer = [0; 2000];
        let mut receive = || {
            let len = server.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        assert_eq!((receive(), receive()), ("one\n".into(), "two é\n".into()));

        // More than a datagram holds.
        write(&mut daemon, &format!("x{}\n", "é".repeat(100_000))).unwrap();
        assert_eq!(receive(), format!("x{}\n", "é".repeat(511)));
    }

    #[test]
    fn udp_does_not_care_whether_anybody_listens() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut daemon = daemon(&format!("udp://{}", server.local_addr().unwrap()));
        drop(server);
        for _ in 0..5 {
            write(&mut daemon, "one\ntwo\nthree\n").unwrap();
        }
    }

    #[test]
    fn a_stream_is_taken_up_again_without_loss() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut daemon = daemon(&format!("tcp://{}", server.local_addr().unwrap()));
        let mut first = BufReader::new(server.accept().unwrap().0);
        write(&mut daemon, "one\ntwo\n").unwrap();
        let mut line = String::new();
        first.read_line(&mut line).unwrap();
        first.read_line(&mut line).unwrap();
        assert_eq!(line, "one\ntwo\n");

        drop(first);
        // Closing takes a moment to arrive.
        while !daemon.connection.as_ref().unwrap().is_hung_up().unwrap() {
            std::thread::yield_now();
        }
        assert!(write(&mut daemon, "three\n").is_err());
        assert!(!daemon.recover().unwrap());
        write(&mut daemon, "three\n").unwrap();
        let (mut second, _) = server.accept().unwrap();
        drop(server);
        assert!(daemon.recover().is_err(), "nobody listens");
        assert!(write(&mut daemon, "lost\n").is_err());
        let mut text = String::new();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "three\n");
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::net::{UnixDatagram, UnixListener};

        use super::super::super::testing::TempDir;
        use super::*;

        #[test]
        fn a_named_socket_may_take_streams_or_datagrams() {
            let dir = TempDir::new("unix");
            let server = UnixListener::bind(dir.path("stream")).unwrap();
            let mut stream = daemon(&format!("unix://{}", dir.path("stream").display()));
            write(&mut stream, "one\ntwo\n").unwrap();
            drop(stream);
            let mut text = String::new();
            let (mut peer, _) = server.accept().unwrap();
            peer.read_to_string(&mut text).unwrap();
            assert_eq!(text, "one\ntwo\n");

            let server = UnixDatagram::bind(dir.path("datagram")).unwrap();
            let mut datagram = daemon(&format!("unix://{}", dir.path("datagram").display()));
            write(&mut datagram, "one\n").unwrap();
            let mut buffer = [0; 100];
            assert_eq!(server.recv(&mut buffer).unwrap(), 4);
        }

        #[test]
        fn the_system_s_daemon_is_looked_for_at_all_its_sockets() {
            let dir = TempDir::new("local");
            let leak = |name| &*String::leak(dir.path(name).to_str().unwrap().to_owned());
            let paths = vec![leak("absent"), leak("stream"), leak("datagram")].leak();
            let address = Address::Local(paths);
            let refused = Daemon::connect(&address).err().unwrap().to_string();
            let expected = "error connecting to syslog: \"Unix syslog delivery error\"";
            assert_eq!(refused, expected);

            let _stream = UnixListener::bind(paths[1]).unwrap();
            let daemon = Daemon::connect(&address).unwrap();
            assert_eq!(daemon.connection.unwrap().kind, Type::STREAM);
            let server = UnixDatagram::bind(paths[2]).unwrap();
            let mut daemon = Daemon::connect(&address).unwrap();
            write(&mut daemon, "one\ntwo\n").unwrap();
            let mut buffer = [0; 100];
            assert_eq!(server.recv(&mut buffer).unwrap(), 4);

            // The daemon starts anew.
            drop(server);
            std::fs::remove_file(paths[2]).unwrap();
            let server = UnixDatagram::bind(paths[2]).unwrap();
            assert!(write(&mut daemon, "three\n").is_err());
            daemon.recover().unwrap();
            write(&mut daemon, "three\n").unwrap();
            assert_eq!(server.recv(&mut buffer).unwrap(), 6);
        }

        #[test]
        fn a_daemon_that_takes_nothing_does_not_hold_the_writer_for_ever() {
            let dir = TempDir::new("full");
            let _server = UnixDatagram::bind(dir.path("log")).unwrap();
            let mut daemon = daemon(&format!("unix://{}", dir.path("log").display()));
            let socket = &daemon.connection.as_ref().unwrap().socket;
            assert_eq!(socket.write_timeout().unwrap(), Some(PATIENCE));
            let soon = Some(Duration::from_millis(10));
            socket.set_write_timeout(soon).unwrap();
            let line = "x".repeat(999) + "\n";
            let error = (0..100_000).find_map(|_| write(&mut daemon, &line).err());
            assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
