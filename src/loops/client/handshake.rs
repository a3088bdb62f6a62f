//! From a connection's first bytes to the end of its TLS handshake.
//!
//! A connection that has said nothing owns no more than an entry in the table: its first bytes are
//! looked at where they are, in the kernel, until all of the client's first message is there.

use super::{ClientLoop, turn};
use crate::auth::certificate::Identity;
use crate::base::clock::{self, Mono};
use crate::base::limits::{CIPHER_BUFFER, HANDSHAKE_BUDGET, REFUSED_REPORT};
use crate::broker::Flushed;
use crate::conn::client::{PeerCertificate, Secured};
use crate::loops::link::{Shaking, State, Tls, Waiting};
use crate::net::tls::{Handshake, PLAIN_MARGIN, ServerTls, looks_like_hello};
use crate::os::host;
use crate::proto::error::CloseReason;
use log::{debug, error, warn};
use mio::Token;
use mio::net::TcpStream;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often first bytes are looked at again, where the system does not tell of more.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a connection's first bytes come to.
enum First {
    /// More of them have to come.
    Unclear {
        begun: bool,
    },
    Plain,
    Hello,
    /// There will be no more; whether there were any.
    Ended {
        begun: bool,
    },
}

impl ClientLoop {
    /// Goes on with a connection whose handshake is not over, as far as its bytes go and the time
    /// for handshakes in this turn.
    pub(super) fn shake_hands(&mut self, token: Token, client: u32, now: Mono) {
        if self.shaken >= HANDSHAKE_BUDGET {
            return self.handle_readable(token, false);
        }
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let begins = matches!(link.tls, Tls::Waiting(_));
        if begins && !self.begin(token, client, now) {
            return self.schedule(token, client);
        }
        let began = clock::mono();
        self.go_on(token, client, now);
        self.shaken += clock::mono().since(began);
    }

    /// Decides by the first bytes; says whether there is a handshake to go on with.
    fn begin(&mut self, token: Token, client: u32, now: Mono) -> bool {
        self.scratch.resize(CIPHER_BUFFER, 0);
        let Some(link) = self.links.get_mut(token) else {
            return false;
        };
        let Tls::Waiting(waiting) = &mut link.tls else {
            return false;
        };
        match look(&link.stream, &mut self.scratch[..PLAIN_MARGIN], link.ended) {
            Ok(First::Unclear { begun }) => {
                if begun {
                    waiting.until.get_or_insert(now + waiting.server.timeout);
                    waiting.look_at = host::READS_TO_THE_END.then_some(now + LOOK_AGAIN);
                }
            }
            Ok(First::Plain) if waiting.plain => self.go_on_in_plain(token, client),
            Ok(First::Plain) => {
                debug!(
                    "{} - TLS handshake error: first record does not look like a TLS handshake",
                    self.broker.label(client)
                );
                self.fail(client);
            }
            Ok(First::Hello) => return self.accept_hello(token, client, now),
            Ok(First::Ended { begun: false }) => {
                let plain = waiting.plain;
                debug!("{} - TLS handshake error: EOF", self.broker.label(client));
                match plain {
                    true => self.broker.handle_end(client, CloseReason::ClientClosed),
                    false => self.fail(client),
                }
            }
            Ok(First::Ended { begun: true }) => self.fail_with(client, "EOF"),
            Err(e) => self.fail_with(client, &e),
        }
        false
    }

    fn go_on_in_plain(&mut self, token: Token, client: u32) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let Tls::Waiting(waiting) = std::mem::replace(&mut link.tls, Tls::Off) else {
            return;
        };
        if !waiting.greeted {
            self.broker.greet(client);
        }
        self.handle_readable(token, false);
    }

    /// The client begins a handshake; says whether the server goes along.
    fn accept_hello(&mut self, token: Token, client: u32, now: Mono) -> bool {
        // INFO, if it was sent, has to be out before anything else is said.
        if self.broker.flush(client, &mut turn!(self, now)) != Flushed::Done {
            return false;
        }
        let Some(link) = self.links.get_mut(token) else {
            return false;
        };
        let Tls::Waiting(waiting) = &link.tls else {
            return false;
        };
        if !waiting.server.admit(now) {
            self.refused_report.get_or_insert(now + REFUSED_REPORT);
            self.broker.throttle(client);
            return false;
        }
        let label = self.broker.label(client);
        debug!("{label} - Starting TLS client connection handshake");
        let Waiting {
            server,
            greeted,
            until,
            ..
        } = &**waiting;
        let channel = match server.accept() {
            Ok(channel) => channel,
            Err(e) => {
                self.fail_with(client, &e);
                return false;
            }
        };
        link.tls = Tls::Handshake(Box::new(Shaking {
            channel,
            greeted: *greeted,
            until: until.unwrap_or(now + server.timeout),
            server: server.clone(),
        }));
        true
    }

    /// Goes on with a handshake that has begun.
    fn go_on(&mut self, token: Token, client: u32, now: Mono) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let Tls::Handshake(shaking) = &mut link.tls else {
            return;
        };
        match shaking.channel.shake_hands(&mut link.stream) {
            Ok(Handshake::Waiting) => self.schedule(token, client),
            Ok(Handshake::Complete) => self.complete(token, client, now),
            Ok(Handshake::Ended) => self.fail_with(client, "EOF"),
            Err(e) => self.fail_with(client, &e),
        }
    }

    /// The handshake is over: the protocol begins.
    fn complete(&mut self, token: Token, client: u32, now: Mono) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        let Tls::Handshake(shaking) = &link.tls else {
            return;
        };
        let certificate = shaking.channel.peer_certificate();
        if let Err(why) = shaking.server.check_pins(certificate) {
            let label = self.broker.label(client);
            debug!("{label} - Failed pinned cert test: {why}");
            return self.fail_with(client, "certificate not pinned");
        }
        let identity = certificate.and_then(|certificate| {
            let read = Identity::from_der(certificate);
            let complain = |e| debug!("{} - No user in cert: {e}", self.broker.label(client));
            read.map_err(complain).ok()
        });
        let (version, cipher) = shaking.channel.agreed();
        let peer = certificate.and_then(|certificate| {
            let [spki_sha256, cert_sha256] = ServerTls::fingerprints(certificate)?;
            let subject = identity.as_ref().map(|names| names.subject.clone());
            Some(PeerCertificate {
                subject: subject.unwrap_or_default(),
                spki_sha256,
                cert_sha256,
            })
        });
        let secured = Secured {
            version,
            cipher,
            first: !shaking.greeted,
            peer,
            identity,
        };
        let Tls::Handshake(shaking) = std::mem::replace(&mut link.tls, Tls::Off) else {
            return;
        };
        let Shaking {
            channel, greeted, ..
        } = *shaking;
        link.tls = Tls::On(Box::new(channel));
        self.broker.secured(client, secured, now);
        if !greeted {
            self.broker.greet(client);
        }
        // Bytes that came along with the end of the handshake show as no event.
        self.handle_readable(token, false);
        self.schedule(token, client);
    }

    /// What is due before a handshake is over: to greet a client that has begun none, or to give
    /// up.
    pub(super) fn look_after_handshake(&mut self, token: Token, client: u32, now: Mono) {
        let Some(link) = self.links.get_mut(token) else {
            return;
        };
        if let Tls::Waiting(waiting) = &mut link.tls
            && waiting.greet_at.is_some_and(|at| at <= now)
        {
            waiting.greet_at = None;
            // Who has begun is not to be disturbed.
            let looked = look(&link.stream, &mut [0; 1], link.ended);
            if matches!(looked, Ok(First::Unclear { begun: false })) {
                waiting.greeted = true;
                self.broker.greet(client);
                self.broker.flush(client, &mut turn!(self, now));
            }
            return;
        }
        if let Tls::Waiting(waiting) = &mut link.tls
            && waiting.look_at.is_some_and(|at| at <= now)
            && waiting.until.is_none_or(|until| now < until)
        {
            waiting.look_at = None;
            self.handle_readable(token, false);
            return;
        }
        if !link.tls.is_settled() && link.tls.deadline().is_some_and(|at| at <= now) {
            debug!("{} - TLS handshake timeout", self.broker.label(client));
            self.fail(client);
        }
    }

    fn fail_with(&mut self, client: u32, why: impl std::fmt::Display) {
        let label = self.broker.label(client);
        error!("{label} - TLS handshake error: {why}");
        self.fail(client);
    }

    fn fail(&mut self, client: u32) {
        self.broker
            .handle_end(client, CloseReason::TlsHandshakeFailure);
    }

    /// Goes on with other settings of TLS: for new connections, save that who is connected with a
    /// key that is no longer wanted has to go.
    pub(super) fn renew_tls(&mut self, tls: Option<Arc<ServerTls>>) {
        self.report_refused(clock::mono() + REFUSED_REPORT);
        let old = std::mem::replace(&mut self.tls, tls);
        let Some(tls) = self.tls.clone() else {
            return;
        };
        if old.is_some_and(|old| old.has_same_pins(&tls)) {
            return;
        }
        for token in self.links.tokens() {
            if let Some(link) = self.links.get_mut(token)
                && let (Tls::On(channel), State::Open { client, .. }) = (&link.tls, link.state)
                && let Err(why) = tls.check_pins(channel.peer_certificate())
            {
                let label = self.broker.label(client);
                debug!("{label} - Failed pinned cert test: {why}");
                self.fail(client);
            }
        }
    }

    /// Tells from time to time how many handshakes were refused.
    pub(super) fn report_refused(&mut self, now: Mono) {
        if self.refused_report.is_some_and(|at| at <= now) {
            self.refused_report = None;
            if let Some(tls) = &self.tls {
                let refused = tls.take_refused();
                if refused > 0 {
                    warn!("Rejected {refused} connections due to TLS rate limiting");
                }
            }
        }
    }
}

/// Looks at the first bytes of a connection without taking them. With `bytes` too few for the
/// whole first message, it is unclear; `ended` says that no more will come.
fn look(stream: &TcpStream, bytes: &mut [u8], ended: bool) -> io::Result<First> {
    let n = loop {
        match stream.peek(bytes) {
            Ok(0) => return Ok(First::Ended { begun: false }),
            Ok(n) => break n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Ok(First::Unclear { begun: false });
            }
            Err(e) => return Err(e),
        }
    };
    Ok(match looks_like_hello(&bytes[..n]) {
        Some(true) => First::Hello,
        Some(false) => First::Plain,
        None if ended => First::Ended { begun: true },
        None => First::Unclear { begun: true },
    })
}
