//! A client that speaks raw protocol lines and says exactly what it expects to hear.

use super::{CONNECT, PATIENCE};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Peer {
    pub stream: TcpStream,
    /// What came and was not yet looked at.
    heard: Vec<u8>,
}

/// Bytes as text for a failure message, not too long.
pub fn show(bytes: &[u8]) -> String {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    format!("{head:?} ({} bytes)", bytes.len())
}

impl Peer {
    /// A connection of which nothing was read.
    pub fn raw(addr: SocketAddr) -> Peer {
        Peer::from(TcpStream::connect(addr).expect("the server listens"))
    }

    /// A connection that got its INFO and has said nothing.
    pub fn open(addr: SocketAddr) -> Peer {
        let mut peer = Peer::raw(addr);
        peer.greeting();
        peer
    }

    /// A connection that has said [`CONNECT`], which the server has seen.
    pub fn connect(addr: SocketAddr) -> Peer {
        let mut peer = Peer::open(addr);
        peer.say(CONNECT);
        peer.sync();
        peer
    }

    /// The same, with so small a receive buffer that not reading shows soon at the server.
    pub fn connect_narrow(addr: SocketAddr) -> Peer {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&addr.into()).unwrap();
        let mut peer = Peer::from(TcpStream::from(socket));
        peer.greeting();
        peer.say(CONNECT);
        peer.sync();
        peer
    }

    /// A connection that was accepted or made elsewhere.
    pub fn from(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer {
            stream,
            heard: Vec::new(),
        }
    }

    fn greeting(&mut self) {
        let line = self.line();
        assert!(line.starts_with("INFO {"), "{line}");
    }

    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server reads");
    }

    /// Says something to a server that may have closed the connection meanwhile.
    pub fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads once; false at the end of the stream.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let n = loop {
            // A child of the process may end at any time.
            match self.stream.read(&mut buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.heard.extend_from_slice(&buffer[..n]);
        Ok(n > 0)
    }

    fn read_more(&mut self, want: &[u8]) {
        let more = self.read().unwrap_or_else(|e| {
            panic!("{e}: wanted {}, got {}", show(want), show(&self.heard));
        });
        assert!(
            more,
            "closed: wanted {}, got {}",
            show(want),
            show(&self.heard)
        );
    }

    /// Expects exactly these bytes next. A PING of the server's own is answered and forgotten,
    /// as slow machines let them come at any time.
    pub fn expect(&mut self, want: impl AsRef<[u8]>) {
        let want = want.as_ref();
        loop {
            let same = self
                .heard
                .iter()
                .zip(want)
                .take_while(|(a, b)| a == b)
                .count();
            if same == want.len() {
                self.heard.drain(..same);
                return;
            }
            let line = want[..same]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |lf| lf + 1);
            let ping = b"PING\r\n";
            let rest = &self.heard[line..];
            if rest.starts_with(ping) {
                self.heard.drain(line..line + ping.len());
                self.try_say("PONG\r\n");
            } else if same == self.heard.len() || ping.starts_with(rest) {
                self.read_more(want);
            } else {
                panic!("wanted {}, got {}", show(want), show(&self.heard));
            }
        }
    }

    /// Expects that the server has nothing more to say, and that it still listens.
    pub fn sync(&mut self) {
        self.say("PING\r\n");
        self.expect("PONG\r\n");
    }

    /// The next line without its end, PINGs left out.
    pub fn line(&mut self) -> String {
        loop {
            if let Some(lf) = self.heard.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=lf).collect();
                if line == b"PING\r\n" {
                    self.try_say("PONG\r\n");
                    continue;
                }
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            self.read_more(b"a line");
        }
    }

    /// The next message: its control line, and its headers and body.
    pub fn message(&mut self) -> (String, Vec<u8>) {
        let line = self.line();
        assert!(
            line.starts_with("MSG ") || line.starts_with("HMSG "),
            "no message: {line}"
        );
        let size: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
        while self.heard.len() < size + 2 {
            self.read_more(b"a payload");
        }
        let mut body: Vec<u8> = self.heard.drain(..size + 2).collect();
        assert!(body.ends_with(b"\r\n"));
        body.truncate(size);
        (line, body)
    }

    /// Whether the connection ends cleanly, after nothing but PINGs.
    pub fn expect_eof(&mut self) {
        match self.read_to_end(PATIENCE) {
            (rest, End::Closed) if rest.is_empty() => {}
            (rest, end) => panic!("wanted the end, got {} and {end:?}", show(&rest)),
        }
    }

    /// Whether the connection ends, in whatever way and after whatever else was said.
    pub fn expect_closed(&mut self) {
        let (rest, end) = self.read_to_end(PATIENCE);
        assert!(end != End::Silent, "still open, got {}", show(&rest));
    }

    /// All that comes until the connection ends or is silent for `patience`, without PINGs.
    pub fn read_to_end(&mut self, patience: Duration) -> (Vec<u8>, End) {
        let until = Instant::now() + PATIENCE;
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let end = loop {
            match self.read() {
                Ok(true) if Instant::now() < until => {}
                Ok(true) => break End::Silent,
                Ok(false) => break End::Closed,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    break End::Silent;
                }
                Err(_) => break End::Reset,
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = std::mem::take(&mut self.heard);
        if heard == b"PING\r\n" {
            heard.clear();
        }
        (heard, end)
    }

    /// Reads once; whether something came within `time`, and if not, whether that was the end.
    pub fn peek_end(&mut self, time: Duration) -> (bool, End) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let outcome = match self.read() {
            Ok(true) => (true, End::Silent),
            Ok(false) => (false, End::Closed),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                (false, End::Silent)
            }
            Err(_) => (false, End::Reset),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        outcome
    }

    /// Whether the server says something within `time`.
    pub fn hears(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = !self.heard.is_empty() || matches!(self.read(), Ok(true));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }

    /// What was heard so far and not looked at.
    pub fn heard(&self) -> &[u8] {
        &self.heard
    }

    /// The same, and forgets it.
    pub fn take_heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    /// Ends this side of the connection.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Tears the connection down without a farewell.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Whether a request to `subject` finds nobody who would get it. The peer must not have a
    /// subscription by the sid 999.
    pub fn finds_nobody(&mut self, subject: &str) -> bool {
        self.say(format!(
            "SUB _probe 999\r\nPUB {subject} _probe 0\r\n\r\nPING\r\nUNSUB 999\r\n"
        ));
        let found = self.line() == "PONG";
        if !found {
            while self.line() != "PONG" {}
        }
        !found
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum End {
    Closed,
    Reset,
    Silent,
}
