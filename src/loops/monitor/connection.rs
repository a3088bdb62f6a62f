//! One connection of somebody who monitors: its socket, what has come of a request, and what is
//! still to be sent of an answer.

use crate::base::clock::Mono;
use crate::base::limits::{CIPHER_BUFFER, MONITOR_READ};
use crate::monitor::head::Head;
use crate::monitor::http::Request;
use crate::net::timer::Tick;
use crate::net::tls::{Channel, Handshake, PLAIN_MARGIN, ServerTls};
use mio::net::TcpStream;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// The site that it has connected to.
    pub(super) site: usize,
    pub(super) tls: Tls,
    pub(super) phase: Phase,
    /// What was read and not yet looked at.
    pub(super) input: Vec<u8>,
    /// Whether a line has ended since the input was last looked at: nothing changes before.
    pub(super) line_ended: bool,
    /// Whether there may be something to read.
    pub(super) readable: bool,
    /// Whether it waits for its turn.
    pub(super) queued: bool,
    pub(super) output: Output,
    /// What of the output is counted in the sum of all.
    pub(super) counted: usize,
    /// Whether it is closed after this answer.
    pub(super) closes: bool,
    /// Whether the client speaks HTTP/1.0, and has to be told that the connection stays.
    pub(super) old: bool,
    /// When it last began something: to wait for a request, or to get an answer.
    pub(super) since: Mono,
    /// When the client last took something of the output.
    pub(super) progress: Mono,
    pub(super) deadline: Mono,
    /// The tick of the timer entry that counts; others are left over.
    pub(super) timer: Option<Tick>,
}

/// Whether a connection speaks TLS, and how far that has come.
pub(super) enum Tls {
    Off,
    /// Nothing has come yet.
    Waiting(Arc<ServerTls>),
    Handshake(Box<Channel>),
    On(Box<Channel>),
}

/// Where a connection stands.
pub(super) enum Phase {
    /// A TLS handshake has to be over first.
    Opening,
    /// The next request, or more of its head, has to come.
    Reading,
    /// The rest of its body has to come.
    Skipping(Box<Head>),
    /// It waits for a thread.
    Waiting(Box<Ticket>),
    /// The slot with this number has it.
    Serving(usize),
    /// All of the answer is in the output.
    Answering,
    /// All was sent, and what still comes is thrown away: closing now would reset the connection
    /// and destroy the answer on its way.
    Lingering { drained: usize },
}

/// A request that is to be answered.
pub(super) struct Ticket {
    pub(super) site: usize,
    pub(super) head_only: bool,
    pub(super) request: Request,
}

/// How far something went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Went {
    /// As far as it can.
    Done,
    /// The socket has to become ready first.
    Blocked,
    /// The connection is over.
    Ended,
}

/// Bytes that wait to be written.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// Those in front were written.
    written: usize,
}

/// Written bytes that are kept in front of the others before they are moved.
const WRITTEN_MAX: usize = 64 << 10;

impl Output {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.written > WRITTEN_MAX.max(self.len()) {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn advance(&mut self, n: usize) {
        self.written += n;
        if self.is_empty() {
            // Nothing waits most of the time, and a large answer may be the only one.
            *self = Output::default();
        }
    }
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        site: usize,
        tls: Option<Arc<ServerTls>>,
        now: Mono,
    ) -> Connection {
        Connection {
            stream,
            site,
            phase: match tls {
                Some(_) => Phase::Opening,
                None => Phase::Reading,
            },
            tls: tls.map_or(Tls::Off, Tls::Waiting),
            input: Vec::new(),
            line_ended: false,
            readable: true,
            queued: false,
            output: Output::default(),
            counted: 0,
            closes: false,
            old: false,
            since: now,
            progress: now,
            deadline: now,
            timer: None,
        }
    }

    /// Whether nothing was asked for that is not answered.
    pub(super) fn is_idle(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Lingering { .. } => true,
            Phase::Reading => self.output.is_empty(),
            _ => false,
        }
    }

    /// Goes on with the handshake. The first byte tells whether the client begins one; if it does
    /// not, what it gets to hear about that is queued and the connection ends.
    pub(super) fn shake_hands(&mut self) -> Went {
        if let Tls::Waiting(server) = &self.tls {
            const HANDSHAKE: u8 = 0x16;
            let mut first = [0];
            match self.stream.peek(&mut first) {
                Ok(0) => return Went::Ended,
                Ok(_) if first[0] == HANDSHAKE => {}
                Ok(_) => {
                    let text = b"HTTP/1.0 400 Bad Request\r\n\r\n\
                        Client sent an HTTP request to an HTTPS server.\n";
                    self.tls = Tls::Off;
                    self.output.push(text);
                    self.closes = true;
                    self.phase = Phase::Answering;
                    return Went::Done;
                }
                Err(e) => return went(&e),
            }
            match server.accept() {
                Ok(channel) => self.tls = Tls::Handshake(Box::new(channel)),
                Err(_) => return Went::Ended,
            }
        }
        let Tls::Handshake(channel) = &mut self.tls else {
            return Went::Done;
        };
        match channel.shake_hands(&mut self.stream) {
            Ok(Handshake::Waiting) => return Went::Blocked,
            Ok(Handshake::Ended) | Err(_) => return Went::Ended,
            Ok(Handshake::Complete) => {}
        }
        if let Tls::Handshake(channel) = std::mem::replace(&mut self.tls, Tls::Off) {
            self.tls = Tls::On(channel);
        }
        self.phase = Phase::Reading;
        Went::Done
    }

    /// Reads a little more into the input.
    pub(super) fn read(&mut self, scratch: &mut Scratch) -> Went {
        if !self.readable {
            return Went::Blocked;
        }
        match read(&mut self.stream, &mut self.tls, scratch) {
            Ok(0) => Went::Ended,
            Ok(n) => {
                let new = &scratch.plain[..n];
                self.line_ended |= new.contains(&b'\n');
                self.input.extend_from_slice(new);
                Went::Done
            }
            Err(e) => {
                let went = went(&e);
                self.readable &= went != Went::Blocked;
                went
            }
        }
    }

    /// Throws away what comes; says whether the end has.
    pub(super) fn drain(&mut self, scratch: &mut Scratch) -> (usize, Went) {
        match self.stream.read(&mut scratch.cipher) {
            Ok(0) => (0, Went::Ended),
            Ok(n) => (n, Went::Done),
            Err(e) => (0, went(&e)),
        }
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self, now: Mono) -> Went {
        while !self.output.is_empty() {
            let waiting = &self.output.bytes[self.output.written..];
            let written = match &mut self.tls {
                Tls::On(channel) => channel.write(&mut self.stream, &[IoSlice::new(waiting)]),
                _ => self.stream.write(waiting),
            };
            match written {
                Ok(0) => return Went::Ended,
                Ok(n) => {
                    self.output.advance(n);
                    self.progress = now;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return went(&e),
            }
        }
        if let Tls::On(channel) = &mut self.tls
            && channel.flush(&mut self.stream).is_err()
        {
            return Went::Ended;
        }
        Went::Done
    }

    /// Tells the client that this was all.
    pub(super) fn finish(&mut self) -> bool {
        if let Tls::On(channel) = &mut self.tls {
            channel.close(&mut self.stream);
        }
        self.stream.shutdown(std::net::Shutdown::Write).is_ok()
    }
}

/// Room to read into, for all connections.
pub(super) struct Scratch {
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            cipher: vec![0; CIPHER_BUFFER],
            plain: vec![0; PLAIN_MARGIN + MONITOR_READ],
        }
    }
}

fn read(stream: &mut TcpStream, tls: &mut Tls, scratch: &mut Scratch) -> io::Result<usize> {
    loop {
        let read = match tls {
            Tls::On(channel) => {
                let read = channel.read(stream, &mut scratch.cipher, &mut scratch.plain);
                read.map(|(n, _)| n)
            }
            _ => stream.read(&mut scratch.plain[..MONITOR_READ]),
        };
        match read {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn went(e: &io::Error) -> Went {
    match e.kind() {
        io::ErrorKind::WouldBlock => Went::Blocked,
        _ => Went::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_out_in_order_and_its_room_does_not_grow_without_need() {
        let (mut output, mut expected) = (Output::default(), 0u8);
        for i in 0..200u8 {
            output.push(&[i; 1000]);
            let front = &output.bytes[output.written..];
            assert!(front.iter().all(|b| *b >= expected));
            output.advance(output.len().min(1000));
            expected = i;
            assert!(output.bytes.len() <= 2 * WRITTEN_MAX);
        }
        output.advance(output.len());
        assert_eq!((output.len(), output.bytes.capacity()), (0, 0));
    }
}
