//! Logins: CONNECT with credentials, and the keys that sign nonces.

use super::Peer;
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ed25519_dalek::{Signer, SigningKey};
use std::net::SocketAddr;

/// A CONNECT with these fields besides those that make the server quiet, such as
/// `"user":"a","pass":"b"`.
pub fn connect(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\
         \"no_responders\":true{comma}{fields}}}\r\n"
    )
}

/// A client that is in, or what the server said instead. A login that took too long, as hashes do
/// on busy machines, is tried again.
pub fn try_log_in(addr: SocketAddr, fields: &str) -> Result<Peer, String> {
    for _ in 0..10 {
        let mut peer = Peer::open(addr);
        peer.say(connect(fields) + "PING\r\n");
        match &*peer.line() {
            "PONG" => return Ok(peer),
            "-ERR 'Authentication Timeout'" => {}
            other => {
                peer.expect_closed();
                return Err(other.into());
            }
        }
    }
    panic!("no login with {fields} was done in time");
}

/// A client that is in.
pub fn log_in(addr: SocketAddr, fields: &str) -> Peer {
    try_log_in(addr, fields).unwrap_or_else(|error| panic!("{fields}: {error}"))
}

/// What the server says to somebody who may not be in, before it closes the connection.
pub fn refusal(addr: SocketAddr, fields: &str) -> String {
    match try_log_in(addr, fields) {
        Ok(_) => panic!("let in with {fields}"),
        Err(error) => error,
    }
}

/// The nonce that an INFO line carries.
pub fn nonce(info: &str) -> Option<String> {
    let rest = info.split("\"nonce\":\"").nth(1)?;
    Some(rest.split('"').next()?.to_owned())
}

/// The key pair of a user.
pub struct Key(SigningKey);

impl Key {
    /// The key pair number `n`.
    pub fn new(n: u8) -> Key {
        Key(SigningKey::from_bytes(&[n; 32]))
    }

    /// The key pair of a seed (`SU...`).
    pub fn from_seed(seed: &str) -> Key {
        let raw = BASE32_NOPAD.decode(seed.as_bytes()).unwrap();
        Key(SigningKey::from_bytes(raw[2..34].try_into().unwrap()))
    }

    /// The public key (`U...`).
    pub fn public(&self) -> String {
        self.public_as(20)
    }

    /// The public key as that of something else, such as an account (0).
    pub fn public_as(&self, kind: u8) -> String {
        let mut raw = vec![kind << 3];
        raw.extend_from_slice(self.0.verifying_key().as_bytes());
        encode(raw)
    }

    pub fn sign(&self, text: &str) -> String {
        BASE64URL_NOPAD.encode(&self.0.sign(text.as_bytes()).to_bytes())
    }

    /// Logs in with this key; gives what the server says to CONNECT and PING.
    pub fn answer(&self, addr: SocketAddr) -> (Peer, String) {
        let mut peer = Peer::raw(addr);
        let nonce = nonce(&peer.line()).expect("INFO has a nonce");
        let (key, sig) = (self.public(), self.sign(&nonce));
        let fields = format!("\"nkey\":\"{key}\",\"sig\":\"{sig}\"");
        peer.say(connect(&fields) + "PING\r\n");
        let line = peer.line();
        (peer, line)
    }

    /// A client that is in with this key.
    pub fn log_in(&self, addr: SocketAddr) -> Peer {
        let (peer, line) = self.answer(addr);
        assert_eq!(line, "PONG");
        peer
    }
}

/// Base32 over the bytes and their CRC-16/XMODEM.
fn encode(mut raw: Vec<u8>) -> String {
    let mut sum = 0u16;
    for byte in &raw {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            sum = (sum << 1) ^ if sum >> 15 == 1 { 0x1021 } else { 0 };
        }
    }
    raw.extend_from_slice(&sum.to_le_bytes());
    BASE32_NOPAD.encode(&raw)
}
