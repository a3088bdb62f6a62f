//! TLS with other servers: the handshake, which comes before anything else is said.

use super::ClusterLoop;
use super::conn::{Conn, Phase};
use crate::base::clock::Mono;
use crate::net::tls::Handshake;
use crate::proto::error::CloseReason;
use log::{debug, error};
use mio::Token;
use std::net::IpAddr;

impl ClusterLoop {
    /// Begins a connection: with the handshake, or with what is said in plain text.
    pub(super) fn begin(&mut self, token: Token, now: Mono) {
        let Some(tls) = self.tls.clone() else {
            return self.speak(token);
        };
        let Some(link) = self.conns.get_mut(token).map(|conn| conn.link) else {
            return;
        };
        let channel = match self.mesh.url(link) {
            Some(url) => {
                // A server of which another told is known by its address; its certificate has the
                // name of those that are configured.
                let is_address = url.host.parse::<IpAddr>().is_ok();
                let named = self.options.routes.iter().map(|route| &*route.host);
                let named = named
                    .into_iter()
                    .find(|host| host.parse::<IpAddr>().is_err());
                let host = named.filter(|_| is_address).unwrap_or(&url.host);
                tls.connect(host)
            }
            None => tls.listener().accept().map_err(|e| e.to_string()),
        };
        let until = now + tls.listener().timeout;
        match (channel, self.conns.get_mut(token)) {
            (Ok(channel), Some(conn)) => {
                conn.tls = Some(Box::new(channel));
                conn.phase = Phase::Securing { until };
                self.look_no_later_than(until);
                // Who has connected speaks first.
                self.secure(token, now);
            }
            (Err(e), Some(conn)) => {
                error!("{} - TLS route handshake error: {e}", conn.label());
                self.close(token, CloseReason::TlsHandshakeFailure, now);
            }
            (_, None) => {}
        }
    }

    /// Says the first that there is to say.
    fn speak(&mut self, token: Token) {
        let link = self.conns.get_mut(token).map(|conn| conn.link);
        match link.is_some_and(|link| self.mesh.is_solicited(link)) {
            true => self.introduce(token),
            false => self.greet(token),
        }
    }

    /// Goes on with a handshake; says whether it is over.
    pub(super) fn secure(&mut self, token: Token, now: Mono) -> bool {
        let Some(Conn {
            tls: Some(channel),
            stream,
            ..
        }) = self.conns.get_mut(token)
        else {
            return false;
        };
        let outcome = channel.shake_hands(stream);
        let agreed = channel.agreed();
        let pinned = self.tls.as_ref().map_or(Ok(()), |tls| {
            tls.listener().check_pins(channel.peer_certificate())
        });
        let until = now + self.handshake_time();
        let Some(conn) = self.conns.get_mut(token) else {
            return false;
        };
        let label = conn.label();
        let wrong = match (outcome, pinned) {
            (Ok(Handshake::Waiting), _) => return false,
            (Ok(Handshake::Ended), _) => "the connection was closed".to_owned(),
            (Err(e), _) => e.to_string(),
            (Ok(Handshake::Complete), Err(e)) => format!("no pinned certificate: {e}"),
            (Ok(Handshake::Complete), Ok(())) => {
                let (version, suite) = agreed;
                debug!("{label} - TLS version {version}, cipher suite {suite}");
                let link = conn.link;
                conn.phase = match self.mesh.is_solicited(link) {
                    true => Phase::Introducing { until },
                    false => Phase::Greeting { until },
                };
                self.look_no_later_than(until);
                self.speak(token);
                return true;
            }
        };
        error!("{label} - TLS route handshake error: {wrong}");
        self.close(token, CloseReason::TlsHandshakeFailure, now);
        false
    }
}
