//! One client connection without its socket: a small state machine and what belongs to it.
//!
//! ```text
//!              first complete command, and
//!              a CONNECT that is let in               any fault, limit, EOF, shutdown
//!  Greeting ─────────────────────────► Active ─────────────────────────────────────► Closed
//!     │  │                             │   ▲                                           ▲
//!     │  └──────► Verifying ◄──────────┘   │ the password is right                     │
//!     │ CONNECT     │  └───────────────────┘                                           │
//!     │ with a      └──────────────────────────────────────────────────────────────────┤
//!     │ password to be compared off the loop: it is wrong, or time is up               │
//!     └────────────────────────────────────────────────────────────────────────────────┘
//!       until the deadline for the first command or for authentication
//! ```
//!
//! A closed client keeps its slot until its subscriptions are gone; nothing is delivered to it.

use super::guard::Guard;
use super::inbound::Inbound;
use super::keepalive::Keepalive;
use super::outbound::Outbound;
use super::sids::SidTable;
use crate::accounts::Account;
use crate::auth::Grant;
use crate::auth::certificate::Identity;
use crate::base::clock::Mono;
use crate::nkey::PublicKey;
use crate::options::security::Login;
use crate::proto::connect::Connect;
use crate::proto::error::CloseReason;
use std::net::SocketAddr;
use std::sync::Arc;

/// The number by which operators know a connection, counted from the server's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientId(pub u64);

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Phase {
    /// No command has been completed, or none that says who this is where that is required; after
    /// the deadline it is closed.
    Greeting {
        deadline: Mono,
    },
    /// A password is being compared with its hash, elsewhere. Nothing is read until the answer to
    /// `ticket` comes, or the deadline.
    Verifying {
        deadline: Mono,
        ticket: u64,
    },
    Active,
    Closed(CloseReason),
}

/// What a client asked for in CONNECT, as far as every message needs it.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
}

impl Flags {
    /// Whether the client hears nothing of what it publishes.
    pub fn is_quiet(self) -> bool {
        !self.verbose && !self.pedantic
    }
}

impl From<&Connect> for Flags {
    fn from(c: &Connect) -> Flags {
        Flags {
            verbose: c.verbose,
            pedantic: c.pedantic,
            echo: c.echo,
            headers: c.headers,
            no_responders: c.no_responders,
        }
    }
}

/// Messages and bytes in one direction; bytes are payloads with their headers.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Traffic {
    pub msgs: u64,
    pub bytes: u64,
}

impl Traffic {
    #[inline]
    pub fn count(&mut self, bytes: usize) {
        self.msgs += 1;
        self.bytes += bytes as u64;
    }

    pub fn add(&mut self, other: Traffic) {
        self.msgs += other.msgs;
        self.bytes += other.bytes;
    }
}

/// What TLS has made known of a client.
#[derive(Debug)]
pub struct Secured {
    /// The version and the cipher suite, as they are shown.
    pub version: &'static str,
    pub cipher: &'static str,
    /// Whether the handshake came before INFO.
    pub first: bool,
    /// The certificate that the client has shown, if it has.
    pub peer: Option<PeerCertificate>,
    /// The names in the client's certificate, if it has shown one and they can be read.
    pub identity: Option<Identity>,
}

/// A certificate as operators are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    pub subject: String,
    /// SHA-256 of its public key information and of all of it, in hexadecimal digits.
    pub spki_sha256: String,
    pub cert_sha256: String,
}

/// A client connection.
pub struct Client {
    pub phase: Phase,
    pub flags: Flags,
    /// Whether the connection is on its loop's list of those to be flushed.
    pub dirty: bool,
    /// The start of the write deadline, if the last write did not take everything.
    pub blocked: Option<Mono>,
    /// Bytes of those pending that must be written before the write deadline starts anew.
    pub owed: usize,
    pub out: Outbound,
    pub sent: Traffic,
    /// The loop's handle of the socket.
    pub link: usize,
    pub received: Traffic,
    /// Messages that it had been sent when it last published.
    pub sent_before: u64,
    pub inbound: Inbound,
    pub sids: SidTable,
    /// Bytes that its subscriptions take, about.
    pub interest_bytes: usize,
    /// The account that it is in, and counts in if there is a `grant`.
    pub account: Arc<Account>,
    /// What it got when it was let in.
    pub grant: Option<Arc<Grant>>,
    /// What it gets if its password is right, and whether that was not its first CONNECT.
    pub verifying: Option<Box<(Arc<Grant>, bool)>>,
    /// What it may do, if not everything.
    pub guard: Option<Box<Guard>>,
    pub keepalive: Keepalive,
    pub opened: Mono,
    pub id: ClientId,
    pub addr: SocketAddr,
    /// How often it was not read from for a moment, as all its subscribers were behind.
    pub stalls: u32,
    /// The options of the last CONNECT, once there was one.
    pub connect: Option<Box<Connect>>,
    /// Set once a TLS handshake is over.
    pub secured: Option<Box<Secured>>,
    /// Whether the first PING after CONNECT was answered, so that later INFOs may be sent.
    pub first_pong: bool,
    /// `address - cid:N`, then with what CONNECT told; how the logs name the connection.
    pub label: Box<str>,
}

impl Client {
    /// Bytes held for this client: what is pending, what is unfinished, and its subscriptions.
    pub fn held(&self) -> usize {
        self.out.pending() + self.inbound.held() + self.interest_bytes
    }

    /// The names in the certificate that it showed.
    pub fn identity(&self) -> Option<&Identity> {
        self.secured.as_ref()?.identity.as_ref()
    }

    /// Who it is, as others may be told: a name or key; empty if it did not say.
    pub fn who(&self) -> String {
        let login = self.grant.as_ref().and_then(|grant| grant.login.as_ref());
        if let Some(Login::Name(name) | Login::Nkey(name)) = login {
            return name.clone();
        }
        match self.connect.as_deref() {
            Some(connect) if !connect.nkey.is_empty() => shown_key(&connect.nkey).into(),
            Some(connect) if !connect.user.is_empty() => connect.user.clone(),
            Some(connect) if !connect.auth_token.is_empty() => "[REDACTED]".into(),
            _ => String::new(),
        }
    }

    /// Whether it may be sent INFO again.
    pub fn expects_info(&self) -> bool {
        let connect = self.connect.as_ref();
        self.first_pong && connect.is_some_and(|connect| connect.protocol >= 1)
    }

    #[inline]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }
}

/// A key that a client gave, as it may be shown: what is no public key may be a secret in the
/// wrong place.
pub fn shown_key(key: &str) -> &str {
    match PublicKey::parse(key) {
        Ok(_) => key,
        Err(_) => "[REDACTED]",
    }
}
