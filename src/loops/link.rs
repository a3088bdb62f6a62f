//! A client's socket, and what its loop has to remember of it.

use crate::base::clock::Mono;
use crate::base::limits::CIPHER_BUFFER;
use crate::conn::outbound::Outbound;
use crate::net::timer::Tick;
use crate::net::tls::{Channel, ServerTls};
use crate::os::host;
use mio::net::TcpStream;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

/// A socket in a client loop's table.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) tls: Tls,
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

/// Whether a connection speaks TLS, and how far that has come.
pub(super) enum Tls {
    /// It speaks plain text.
    Off,
    /// Its first bytes decide.
    Waiting(Box<Waiting>),
    /// The handshake has begun.
    Handshake(Box<Shaking>),
    On(Box<Channel>),
}

/// A connection that has not said anything yet.
pub(super) struct Waiting {
    pub(super) server: Arc<ServerTls>,
    /// Whether it was sent INFO.
    pub(super) greeted: bool,
    /// When it is greeted in plain text if it has not begun a handshake.
    pub(super) greet_at: Option<Mono>,
    /// When the handshake must be over; None as long as there need not be one.
    pub(super) until: Option<Mono>,
    /// When its first bytes are looked at again, where looking does not have the system tell of more.
    pub(super) look_at: Option<Mono>,
    /// Whether it may go on in plain text.
    pub(super) plain: bool,
}

/// A connection in the middle of its handshake.
pub(super) struct Shaking {
    pub(super) channel: Channel,
    pub(super) server: Arc<ServerTls>,
    pub(super) greeted: bool,
    pub(super) until: Mono,
}

impl Tls {
    /// Whether the protocol can begin.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self, Tls::Off | Tls::On(_))
    }

    /// Whether nothing but the handshake can be written.
    pub(super) fn is_shaking_hands(&self) -> bool {
        matches!(self, Tls::Handshake(_))
    }

    /// When it has to be looked after if nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self {
            Tls::Waiting(waiting) => {
                let times = [waiting.greet_at, waiting.until, waiting.look_at];
                times.into_iter().flatten().min()
            }
            Tls::Handshake(shaking) => Some(shaking.until),
            Tls::Off | Tls::On(_) => None,
        }
    }
}

impl Link {
    /// Reads plain bytes; gives how many, and whether there may be more. `scratch` is for what is
    /// still encrypted, and grows to its size when first needed. No bytes are the end.
    #[inline]
    pub(super) fn read(
        &mut self,
        scratch: &mut Vec<u8>,
        room: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        match &mut self.tls {
            Tls::On(channel) => {
                scratch.resize(CIPHER_BUFFER, 0);
                channel.read(&mut self.stream, scratch, room)
            }
            _ => {
                let n = self.stream.read(room)?;
                Ok((n, n == room.len() || host::READS_TO_THE_END))
            }
        }
    }

    /// Writes plain bytes; gives how many count as written.
    #[inline]
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&mut self.tls, slices) {
            (Tls::On(channel), _) => channel.write(&mut self.stream, slices),
            // What is for the client alone waits until nobody else can read it.
            (Tls::Handshake(_), _) => Err(io::ErrorKind::WouldBlock.into()),
            (Tls::Off | Tls::Waiting(_), [one]) => self.stream.write(one),
            (Tls::Off | Tls::Waiting(_), many) => self.stream.write_vectored(many),
        }
    }

    /// Writes what TLS itself has to say.
    pub(super) fn flush_records(&mut self) {
        if let Tls::On(channel) = &mut self.tls {
            // Whatever is wrong shows when the connection is next read from or written to.
            let _ = channel.flush(&mut self.stream);
        }
    }

    /// Tells a peer, as far as TLS has a way to, that this was all.
    pub(super) fn say_goodbye(&mut self) {
        if let Tls::On(channel) = &mut self.tls {
            channel.close(&mut self.stream);
        }
    }
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
