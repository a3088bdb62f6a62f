//! A connection with another server: its socket, what is pending for it, and how far it has come.

use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::base::limits::{CIPHER_BUFFER, ROUTE_TELL_ROOM, WRITE_SLICES};
use crate::base::secret::Secret;
use crate::cluster::LinkId;
use crate::cluster::lanes::Lane;
use crate::cluster::local::Cursor;
use crate::conn::client::Traffic;
use crate::conn::inbound::Inbound;
use crate::conn::keepalive::Keepalive;
use crate::conn::outbound::{ChunkPool, Outbound};
use crate::net::tls::Channel;
use crate::proto::compression::{Agreed, Level};
use crate::proto::frames::{Packer, Unpacker};
use mio::net::TcpStream;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A connection.
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    /// TLS, if it is spoken.
    pub(super) tls: Option<Box<Channel>>,
    pub(super) addr: SocketAddr,
    pub(super) link: LinkId,
    pub(super) opened: Mono,
    pub(super) phase: Phase,
    pub(super) out: Outbound,
    pub(super) inbound: Inbound,
    /// How far the server has been told what this one's subscribers listen to; none: nothing is told
    /// here.
    pub(super) cursor: Option<Cursor>,
    /// What both have agreed on about compression, as soon as they have.
    pub(super) agreed: Option<Agreed>,
    /// Compression, if it is on.
    pub(super) packed: Option<Box<Packed>>,
    /// Whether it has just been turned on, so that what follows is compressed.
    pub(super) switching: bool,
    /// How far it has been told all of it once more, as what may be told has changed.
    pub(super) review: Option<Cursor>,
    /// The name and the password that it gave, if it connected to this server.
    pub(super) credentials: Option<Box<(String, Secret)>>,
    /// Names the check of these with a hash that holds since a reload.
    pub(super) recheck: Option<u64>,
    /// What goes over it.
    pub(super) lane: Lane,
    /// Whether the server takes headers.
    pub(super) headers: bool,
    pub(super) keepalive: Keepalive,
    /// Whether it is on the list of those to be read from, and of those to be written to.
    pub(super) queued: bool,
    pub(super) dirty: bool,
    /// Whether the socket is said to take more again.
    pub(super) writable: bool,
    /// Since when the socket takes no more.
    pub(super) blocked: Option<Mono>,
    /// Bytes that were pending then and still are.
    pub(super) owed: usize,
    /// Bytes that the socket took at the last attempt.
    pub(super) written: usize,
    /// Bytes that the socket has to take until a server that is behind gets more of what it has to be
    /// told: as many as it got last.
    untaken: usize,
    /// Whether the peer has closed its side.
    pub(super) ended: bool,
    /// The account of the last message that came.
    pub(super) account: Option<Arc<Account>>,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
}

/// The two directions of a connection whose bytes are compressed.
#[derive(Default)]
pub(super) struct Packed {
    pub(super) packer: Packer,
    unpacker: Unpacker,
    /// A block, and how much of it was read.
    block: Vec<u8>,
    at: usize,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Phase {
    /// The handshake of TLS is under way.
    Securing {
        until: Mono,
    },
    /// The server has to say CONNECT, by that time.
    Greeting {
        until: Mono,
    },
    /// The password that it gave is being compared with its hash.
    Verifying {
        until: Mono,
        ticket: u64,
    },
    /// It has to say INFO.
    Introducing {
        until: Mono,
    },
    /// It is known who it is.
    Open,
    Closed,
}

impl Phase {
    /// Whether it is not known yet who it is.
    pub(super) fn is_stranger(self) -> bool {
        !matches!(self, Phase::Open | Phase::Closed)
    }

    pub(super) fn until(self) -> Option<Mono> {
        match self {
            Phase::Securing { until }
            | Phase::Greeting { until }
            | Phase::Verifying { until, .. }
            | Phase::Introducing { until } => Some(until),
            Phase::Open | Phase::Closed => None,
        }
    }
}

impl Conn {
    pub(super) fn new(
        stream: TcpStream,
        addr: SocketAddr,
        link: LinkId,
        is_solicited: bool,
        until: Mono,
        (now, interval): (Mono, Duration),
    ) -> Conn {
        Conn {
            stream,
            tls: None,
            addr,
            link,
            opened: now,
            phase: match is_solicited {
                true => Phase::Introducing { until },
                false => Phase::Greeting { until },
            },
            out: Outbound::default(),
            inbound: Inbound::default(),
            cursor: None,
            agreed: None,
            packed: None,
            switching: false,
            review: None,
            credentials: None,
            recheck: None,
            lane: Lane::Whole,
            headers: false,
            keepalive: Keepalive::new(now, interval),
            queued: false,
            dirty: false,
            writable: false,
            blocked: None,
            owed: 0,
            written: 0,
            untaken: 0,
            ended: false,
            account: None,
            received: Traffic::default(),
            sent: Traffic::default(),
        }
    }

    /// The account as lines here name it: not at all on a connection that is for one only.
    pub(super) fn named<'a>(&self, account: &'a [u8]) -> &'a [u8] {
        match self.lane {
            Lane::Account(_) => b"",
            Lane::Whole | Lane::Pool(_) => account,
        }
    }

    /// How the log names it.
    pub(super) fn label(&self) -> String {
        format!("{} - rid:{}", self.addr, self.link.0)
    }

    /// Whether the server has still to be told what there is, for the first time or once more.
    pub(super) fn has_to_be_told(&self) -> bool {
        let unfinished = |cursor: Option<Cursor>| cursor.is_some_and(|cursor| cursor < Cursor::END);
        unfinished(self.cursor) || unfinished(self.review)
    }

    /// Whether it is time to tell the server more, of which up to `pending_max` bytes may wait. As fast
    /// as it takes it, so that neither memory nor a loop's turns are full of it; and also if messages
    /// keep the connection busy.
    pub(super) fn has_room(&self, pending_max: usize) -> bool {
        let room = match self.untaken {
            0 => pending_max,
            _ => pending_max.min(ROUTE_TELL_ROOM),
        };
        self.out.pending() <= room
    }

    /// The server is told more, in so many bytes.
    pub(super) fn told(&mut self, len: usize) {
        self.untaken = len;
    }

    /// The socket has taken so many bytes of what was pending.
    pub(super) fn taken(&mut self, len: usize) {
        self.owed = self.owed.saturating_sub(len);
        self.untaken = self.untaken.saturating_sub(len);
    }

    /// Bytes that wait to be written.
    pub(super) fn pending(&self) -> usize {
        let packed = self.packed.as_ref();
        self.out.pending() + packed.map_or(0, |packed| packed.packer.ready())
    }

    /// From now on, what comes and what goes is compressed; what is pending goes out as it is.
    pub(super) fn begin_packing(&mut self, level: Level, pool: &mut ChunkPool) {
        let mut packed = Box::<Packed>::default();
        packed.packer.set_level(level);
        while self.out.pending() > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let n = self.out.slices(&mut slices);
            let mut taken = 0;
            for slice in &slices[..n] {
                packed.packer.put_before(slice);
                taken += slice.len();
            }
            self.out.advance(taken, pool);
        }
        self.packed = Some(packed);
        self.switching = true;
    }

    /// Takes bytes that were read already, and turned out to be compressed.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.switching = false;
        if let Some(packed) = &mut self.packed {
            packed.unpacker.feed(bytes);
        }
    }

    /// Reads bytes; gives how many, and whether there may be more. `scratch` is for what is still
    /// encrypted. No bytes are the end.
    ///
    /// # Errors
    /// The socket has none, or what came was not compressed as it should be (`InvalidData`).
    pub(super) fn read(
        &mut self,
        scratch: &mut Vec<u8>,
        room: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        let Some(packed) = &mut self.packed else {
            return read_plain(&mut self.stream, &mut self.tls, scratch, room);
        };
        loop {
            let rest = &packed.block[packed.at..];
            if !rest.is_empty() {
                let n = rest.len().min(room.len());
                room[..n].copy_from_slice(&rest[..n]);
                packed.at += n;
                if packed.at == packed.block.len() {
                    (packed.block, packed.at) = (Vec::new(), 0);
                }
                return Ok((n, true));
            }
            let next = packed.unpacker.next_block();
            match next.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                Some(block) => (packed.block, packed.at) = (block, 0),
                None => {
                    packed.unpacker.shrink();
                    let (stream, tls) = (&mut self.stream, &mut self.tls);
                    let (n, _) = read_plain(stream, tls, scratch, room)?;
                    if n == 0 {
                        return Ok((0, false));
                    }
                    packed.unpacker.feed(&room[..n]);
                }
            }
        }
    }

    /// Writes until all is written, which it says, or the socket takes no more.
    pub(super) fn write_out(&mut self, pool: &mut ChunkPool) -> io::Result<bool> {
        self.written = 0;
        if let Some(channel) = &mut self.tls {
            channel.flush(&mut self.stream)?;
        }
        while self.pending() > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let n = match &mut self.packed {
                Some(packed) => {
                    if packed.packer.ready() == 0 {
                        pack(&mut self.out, &mut packed.packer, pool);
                    }
                    slices[0] = IoSlice::new(packed.packer.peek());
                    1
                }
                None => self.out.slices(&mut slices),
            };
            let written = match &mut self.tls {
                Some(channel) => channel.write(&mut self.stream, &slices[..n]),
                None => self.stream.write_vectored(&slices[..n]),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written += n;
                    match &mut self.packed {
                        Some(packed) => drop(packed.packer.take(n)),
                        None => self.out.advance(n, pool),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if let Some(packed) = &mut self.packed {
            packed.packer.shrink();
        }
        Ok(true)
    }
}

/// Compresses some of what is pending.
fn pack(out: &mut Outbound, packer: &mut Packer, pool: &mut ChunkPool) {
    let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
    let n = out.slices(&mut slices);
    let mut taken = 0;
    for slice in &slices[..n] {
        let part = &slice[..slice.len().min(Packer::BLOCK - taken)];
        packer.raw().extend_from_slice(part);
        taken += part.len();
    }
    out.advance(taken, pool);
    packer.finish();
}

fn read_plain(
    stream: &mut TcpStream,
    tls: &mut Option<Box<Channel>>,
    scratch: &mut Vec<u8>,
    room: &mut [u8],
) -> io::Result<(usize, bool)> {
    match tls {
        Some(channel) => {
            scratch.resize(CIPHER_BUFFER, 0);
            channel.read(stream, scratch, room)
        }
        None => {
            let n = stream.read(room)?;
            Ok((n, n == room.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::net::TcpListener;

    /// A connection whose socket takes nothing: nobody writes to it.
    fn conn() -> Conn {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stream = TcpStream::connect(addr).unwrap();
        let (now, interval) = (Mono::default(), Duration::from_secs(1));
        Conn::new(stream, addr, LinkId(1), true, now, (now, interval))
    }

    #[test]
    fn a_server_is_told_more_as_fast_as_it_takes_it() {
        const PENDING_MAX: usize = 16 << 20;
        static SLICE: [u8; 100_000] = [b'.'; 100_000];
        let (mut conn, mut pool, mut rng) = (conn(), ChunkPool::default(), Rng::new(1));
        while conn.has_room(PENDING_MAX) {
            conn.out.push(&SLICE, &mut pool);
            conn.told(SLICE.len());
        }
        let pending = conn.out.pending();
        assert!(pending > ROUTE_TELL_ROOM && pending <= ROUTE_TELL_ROOM + SLICE.len());
        // Messages keep it busy: it is told as much as it takes, no more.
        conn.out.push(&[b'.'; 1_000_000], &mut pool);
        let (mut taken, mut told) = (0, 0);
        while taken < 10_000_000 {
            let n = 1 + rng.below(50_000);
            conn.out.advance(n, &mut pool);
            conn.taken(n);
            conn.out.push(&vec![b'.'; n], &mut pool);
            taken += n;
            if conn.has_room(PENDING_MAX) {
                conn.out.push(&SLICE, &mut pool);
                conn.told(SLICE.len());
                told += SLICE.len();
            }
        }
        assert!(told > taken / 2 && told <= taken);
        let pending = conn.out.pending();
        conn.taken(SLICE.len());
        assert!(conn.has_room(pending) && !conn.has_room(pending - 1));
    }
}
