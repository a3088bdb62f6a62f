//! One connection's records: bytes of the socket on one side, the plain protocol on the other.
//!
//! Encrypted output has to be written whole, so what was encrypted and is not yet written stays
//! with the channel. Towards its user a channel behaves like a socket all the same: plain bytes
//! count as written only once their records are, save that it gives back part of the count as they
//! go. Until then the user keeps them in its queue and hands them in again, and the channel skips
//! them. So all that is pending can be seen in the user's queue.

use super::names;
use crate::os::host;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

/// Plain bytes that are encrypted before they are written: four records.
const ENCRYPT_MAX: usize = 64 << 10;

/// Room that has to be left behind what is read from the socket, for a record of which a part was
/// read before.
pub const PLAIN_MARGIN: usize = (16 << 10) + 2048 + 5;

/// A connection that speaks TLS.
pub struct Channel {
    connection: Connection,
    /// Plain bytes at the front of the user's queue that are encrypted but do not count as written.
    taken: usize,
    /// Whether the peer has said that nothing more comes.
    ended: bool,
    /// What the peer did wrong, behind bytes that are still to be handled.
    fault: Option<rustls::Error>,
}

/// Bytes of records that were written, and whether none are left.
struct Written {
    bytes: usize,
    all: bool,
}

/// Where a handshake stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The peer has to go on.
    Waiting,
    Complete,
    /// The peer is gone.
    Ended,
}

/// Whether these first bytes of a connection begin a handshake; None: more of them have to be
/// there before it is worth looking after.
pub fn looks_like_hello(bytes: &[u8]) -> Option<bool> {
    const HANDSHAKE: u8 = 0x16;
    match bytes {
        [] => None,
        [HANDSHAKE, _, _, high, low, rest @ ..] => {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            (rest.len() >= len || len + 5 > PLAIN_MARGIN).then_some(true)
        }
        [HANDSHAKE, ..] => None,
        _ => Some(false),
    }
}

impl Channel {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Channel, rustls::Error> {
        Ok(Channel::of(ServerConnection::new(config)?.into()))
    }

    /// A connection of which this side begins the handshake, with a server of that name.
    pub(super) fn to(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Channel, rustls::Error> {
        Ok(Channel::of(ClientConnection::new(config, name)?.into()))
    }

    fn of(mut connection: Connection) -> Channel {
        connection.set_buffer_limit(Some(ENCRYPT_MAX));
        Channel {
            connection,
            taken: 0,
            ended: false,
            fault: None,
        }
    }

    /// Goes on with the handshake as far as the socket lets it.
    ///
    /// # Errors
    /// The peer's fault, after it was sent the alert that says so; or the socket's.
    pub fn shake_hands(&mut self, socket: &mut (impl Read + Write)) -> io::Result<Handshake> {
        loop {
            self.write_records(socket)?;
            if !self.connection.is_handshaking() {
                return Ok(Handshake::Complete);
            }
            match self.connection.read_tls(socket) {
                Ok(0) => return Ok(Handshake::Ended),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Handshake::Waiting),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            if let Err(e) = self.connection.process_new_packets() {
                // The alert is a courtesy.
                let _ = self.write_records(socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, e));
            }
        }
    }

    /// Reads from the socket, by way of `scratch`, into `room`; gives the plain bytes, and whether
    /// there may be more. No bytes without an error are the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. The peer's fault, or the socket's.
    pub fn read(
        &mut self,
        socket: &mut (impl Read + Write),
        scratch: &mut [u8],
        room: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        if let Some(fault) = self.fault.take() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
        }
        let n = self.take_plain(room)?;
        if n > 0 {
            return Ok((n, true));
        }
        while !self.ended {
            let limit = room.len().saturating_sub(PLAIN_MARGIN);
            let limit = limit.clamp(1, scratch.len());
            let read = socket.read(&mut scratch[..limit])?;
            if read == 0 {
                break;
            }
            let decrypted = self.decrypt(&scratch[..read], room);
            // Answers to the client's own records, such as new keys; or the alert about them.
            self.flush(socket)?;
            let full = read == limit || host::READS_TO_THE_END;
            let more = full || self.ended || self.fault.is_some();
            match decrypted? {
                0 if !more => return Err(io::ErrorKind::WouldBlock.into()),
                0 => {}
                n => return Ok((n, more)),
            }
        }
        Ok((0, false))
    }

    fn decrypt(&mut self, mut records: &[u8], room: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        while !records.is_empty() && !self.ended {
            self.connection.read_tls(&mut records)?;
            let processed = self.connection.process_new_packets();
            n += self.take_plain(&mut room[n..])?;
            match processed {
                Ok(state) => self.ended = state.peer_has_closed(),
                // What came before is handled first.
                Err(fault) if n > 0 => {
                    self.fault = Some(fault);
                    break;
                }
                Err(fault) => return Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
            }
        }
        Ok(n)
    }

    /// What is decrypted already.
    fn take_plain(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.connection.reader().read(room) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            taken => taken,
        }
    }

    /// Writes plain bytes, from the front of the user's queue; see the module for what the count
    /// means.
    ///
    /// # Errors
    /// Those of the socket. `WouldBlock`: none of them.
    pub fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = self.write_records(socket)?;
        if self.taken == 0 && written.all {
            self.taken = match slices {
                [one] => self.connection.writer().write(one)?,
                many => self.connection.writer().write_vectored(many)?,
            };
            written = self.write_records(socket)?;
        }
        let n = match written {
            Written { all: true, .. } => self.taken,
            // About as many as there were bytes of records, but never the last one: it stands for
            // what is not written yet.
            Written { bytes, .. } => bytes.min(self.taken.saturating_sub(1)),
        };
        self.taken -= n;
        match n {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    /// Writes records that no plain bytes stand for.
    ///
    /// # Errors
    /// Those of the socket, save `WouldBlock`.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if self.taken == 0 {
            self.write_records(socket)?;
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    pub fn close(&mut self, socket: &mut impl Write) {
        self.connection.send_close_notify();
        // Whoever cannot be told finds out.
        let _ = self.write_records(socket);
    }

    fn write_records(&mut self, socket: &mut impl Write) -> io::Result<Written> {
        let mut bytes = 0;
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written { bytes, all: false });
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Written { bytes, all: true })
    }

    /// The certificate that the peer has shown and that was verified, once the handshake is over.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// The version and the cipher suite that were agreed on, as they are shown.
    pub fn agreed(&self) -> (&'static str, &'static str) {
        let version = self.connection.protocol_version();
        let suite = self.connection.negotiated_cipher_suite();
        (
            version.map_or("unknown", names::version_name),
            suite.map_or("unknown", |suite| names::suite_name(suite.suite())),
        )
    }

    #[cfg(test)]
    pub(super) fn connection_wants_write(&self) -> bool {
        self.connection.wants_write()
    }
}
