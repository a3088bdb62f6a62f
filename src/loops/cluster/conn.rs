//! A connection with another server: its socket, what is pending for it, and how far it has come.

use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::base::limits::{CIPHER_BUFFER, WRITE_SLICES};
use crate::base::secret::Secret;
use crate::cluster::LinkId;
use crate::cluster::lanes::Lane;
use crate::cluster::local::Cursor;
use crate::conn::client::Traffic;
use crate::conn::inbound::Inbound;
use crate::conn::keepalive::Keepalive;
use crate::conn::outbound::{ChunkPool, Outbound};
use crate::net::tls::Channel;
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
    /// Whether the peer has closed its side.
    pub(super) ended: bool,
    /// The account of the last message that came.
    pub(super) account: Option<Arc<Account>>,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
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

    /// Reads plain bytes; gives how many, and whether there may be more. `scratch` is for what is
    /// still encrypted. No bytes are the end.
    pub(super) fn read(
        &mut self,
        scratch: &mut Vec<u8>,
        room: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        match &mut self.tls {
            Some(channel) => {
                scratch.resize(CIPHER_BUFFER, 0);
                channel.read(&mut self.stream, scratch, room)
            }
            None => {
                let n = self.stream.read(room)?;
                Ok((n, n == room.len()))
            }
        }
    }

    /// Writes until all is written, which it says, or the socket takes no more.
    pub(super) fn write_out(&mut self, pool: &mut ChunkPool) -> io::Result<bool> {
        if let Some(channel) = &mut self.tls {
            channel.flush(&mut self.stream)?;
        }
        while self.out.pending() > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let n = self.out.slices(&mut slices);
            let written = match &mut self.tls {
                Some(channel) => channel.write(&mut self.stream, &slices[..n]),
                None => self.stream.write_vectored(&slices[..n]),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.out.advance(n, pool),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}
