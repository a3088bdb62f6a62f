//! A client's socket, and what its loop has to remember of it.

use crate::base::clock::Mono;
use crate::conn::outbound::Outbound;
use crate::net::timer::Tick;
use mio::net::TcpStream;

/// A socket in a client loop's table.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) state: State,
    /// Whether the link waits on the ready list.
    pub(super) queued: bool,
    /// Whether the peer has closed its side, so that reading must go on until it says so.
    pub(super) ended: bool,
    /// Bytes to read at a time: fewer where handling a full buffer takes so long that others
    /// would feel it.
    pub(super) room: usize,
    /// The tick of the timer entry that counts; others are left over.
    pub(super) timer: Option<Tick>,
    /// What was read and cannot be handled until it is known who the client is.
    pub(super) backlog: Vec<u8>,
    /// What is still to be written to a closed connection.
    pub(super) last_words: Option<Box<Outbound>>,
}

/// What a socket is there for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum State {
    /// It belongs to the broker's client in this slot.
    Open { client: u32, hold: Hold },
    /// The connection is closed, but not all that was queued for the peer is written, which goes
    /// on while it makes progress. Then it may have to linger.
    Flushing {
        until: Mono,
        progress: Mono,
        linger: bool,
    },
    /// The connection is closed, but what the peer still sends is drained for a while, since
    /// closing now would reset the connection and destroy the error on its way.
    Lingering { until: Mono, drained: usize },
}

/// Whether a producer is held back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Hold {
    /// It is read from at full speed.
    Free,
    /// It is not read from for now.
    Held,
    /// It may be read from again, but little at a time.
    Released,
    /// It is not read from until it is known who it is.
    Verifying,
}
