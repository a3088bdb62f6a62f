//! Getting to know a server: what it is told, and what it says, before messages go to and fro; and
//! looking after it later.

use super::ClusterLoop;
use super::conn::Phase;
use super::renew::Judgement;
use crate::auth::certificate::Identity;
use crate::base::clock::Mono;
use crate::base::limits::ROUTE_HANDSHAKE;
use crate::base::secret::Secret;
use crate::broker::PasswordCheck;
use crate::cluster::LinkId;
use crate::cluster::lanes::Lane;
use crate::cluster::mesh::Refusal;
use crate::conn::keepalive::Verdict;
use crate::options::VERSION;
use crate::options::cluster::ROUTE_PING_MAX;
use crate::options::security::Rules;
use crate::proto::compression::{Agreed, Compression};
use crate::proto::error::CloseReason;
use crate::proto::info::TOOLCHAIN;
use crate::proto::route_info::{PROTO, RouteConnect, RouteInfo, SubjectRules};
use log::{debug, error, info};
use mio::Token;
use std::time::Duration;

impl ClusterLoop {
    /// How long a server has to say who it is.
    pub(super) fn handshake_time(&self) -> Duration {
        self.options.auth_timeout.unwrap_or(ROUTE_HANDSHAKE)
    }

    pub(super) fn ping_interval(&self) -> Duration {
        let own = self.options.ping_interval;
        let own = own.unwrap_or(self.facts.options.ping_interval);
        own.min(ROUTE_PING_MAX)
    }

    fn ping_max(&self) -> u32 {
        self.options.ping_max.unwrap_or(self.facts.options.ping_max)
    }

    pub(super) fn write_deadline(&self) -> Duration {
        let own = self.options.write_deadline;
        own.unwrap_or(self.facts.options.write_deadline)
    }

    /// What this server says of itself, the same on all connections.
    pub(super) fn own_info(&mut self) -> RouteInfo {
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
        let mut digit = || char::from(digits[self.rng.below(digits.len())]);
        let nonce = (0..15).map(|_| digit()).collect();
        let (facts, place) = (&self.facts, &self.place);
        let rules = self.options.permissions.as_ref();
        RouteInfo {
            server_id: facts.id.clone(),
            server_name: facts.name.clone(),
            version: VERSION.into(),
            proto: PROTO,
            go: TOOLCHAIN.into(),
            host: place.host.clone(),
            port: place.port,
            headers: !facts.options.no_header_support,
            auth_required: self.options.user.is_some(),
            tls_required: self.tls.is_some(),
            tls_verify: self.tls.is_some(),
            max_payload: facts.options.max_payload as u64,
            ip: place.url.clone().unwrap_or_default(),
            nonce,
            cluster: self.mesh.cluster().into(),
            cluster_dynamic: self.mesh.is_dynamic(),
            connect_urls: match self.options.no_advertise {
                true => Vec::new(),
                false => place.client_urls.clone(),
            },
            ldm: self.lame_duck,
            import: rules.map(|p| told(&p.publish)),
            export: rules.map(|p| told(&p.subscribe)),
            route_pool_size: i64::from(self.mesh.spread().size()),
            ..RouteInfo::default()
        }
    }

    /// Sends INFO with what is about this connection: to a server that connected to this one at once, to
    /// others when it is known from theirs where it belongs.
    pub(super) fn greet(&mut self, token: Token) {
        let Some(link) = self.conns.get_mut(token).map(|conn| conn.link) else {
            return;
        };
        let account = self.mesh.account(link);
        let agreed = self.conns.get_mut(token).and_then(|conn| conn.agreed);
        let info = RouteInfo {
            compression: match (&self.options.compression, agreed) {
                (Compression::Auto(_), _) | (_, None) => self.options.compression.name().into(),
                (_, Some(agreed)) => agreed.name().into(),
            },
            route_pool_idx: self.mesh.lane(link).map_or(0, Lane::index),
            route_account: account.map_or(String::new(), |name| name.to_string()),
            gossip_mode: self.mesh.gossip_mode(link),
            ..self.own_info()
        };
        self.scratch.clear();
        info.write(&mut self.scratch);
        self.send_scratch(link);
    }

    /// Sends CONNECT to a server that this one connected to.
    pub(super) fn introduce(&mut self, token: Token) {
        let Some(link) = self.conns.get_mut(token).map(|conn| conn.link) else {
            return;
        };
        let url = self.mesh.url(link).cloned();
        let (user, password) = url.map_or((None, None), |url| (url.user, url.password));
        let connect = RouteConnect {
            echo: true,
            user: user.unwrap_or_default(),
            pass: password.map_or(String::new(), |p| p.reveal().to_owned()),
            tls_required: self.tls.is_some(),
            headers: !self.facts.options.no_header_support,
            name: self.facts.id.clone(),
            cluster: self.mesh.cluster().into(),
            dynamic: self.mesh.is_dynamic(),
            ..RouteConnect::default()
        };
        self.scratch.clear();
        connect.write(&mut self.scratch);
        self.send_scratch(link);
    }

    /// A server says CONNECT.
    pub(super) fn handle_connect(&mut self, token: Token, args: &[u8], now: Mono) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        let (link, label) = (conn.link, conn.label());
        let Phase::Greeting { until } = conn.phase else {
            return self.refuse(
                token,
                "Protocol Violation",
                CloseReason::ProtocolViolation,
                now,
            );
        };
        let connect = match RouteConnect::read(args) {
            Ok(connect) => connect,
            Err(e) => {
                error!("{label} - Error reading CONNECT: {e}");
                return self.refuse(token, "Parser Error", CloseReason::ParseError, now);
            }
        };
        if !connect.lang.is_empty() {
            let text = "Attempted To Connect To Route Port";
            error!("{label} - attempted to connect to route port");
            return self.refuse(token, text, CloseReason::WrongPort, now);
        }
        let given = (connect.user.clone(), Secret::from(connect.pass.clone()));
        let by_certificate = self.knows_certificate(token);
        let judgement = match by_certificate {
            Some(true) => Judgement::Right,
            Some(false) => Judgement::Wrong,
            None => self.judge(&given.0, &given.1),
        };
        match judgement {
            Judgement::Right => {}
            Judgement::Wrong => return self.turn_away(token, now),
            Judgement::Ask(hash) => return self.verify(token, (hash, given), &connect, until),
        }
        match self.mesh.handle_connect(link, &connect) {
            Ok(()) => {
                if let Some(conn) = self.conns.get_mut(token) {
                    conn.phase = Phase::Introducing { until };
                    conn.headers = connect.headers;
                    conn.credentials = by_certificate.is_none().then(|| Box::new(given));
                }
                self.act(now);
            }
            Err(refusal) => self.refused(token, refusal, now),
        }
    }

    /// Whether the names in a server's certificate let it in, if they are to be looked at: those of
    /// configured routes, or the user's.
    fn knows_certificate(&mut self, token: Token) -> Option<bool> {
        let tls = self.options.tls.as_ref()?;
        if !tls.verify_known_urls && !tls.verify_and_map {
            return None;
        }
        let channel = self.conns.get_mut(token).and_then(|conn| conn.tls.as_ref());
        let der = channel.and_then(|channel| channel.peer_certificate());
        let Some(names) = der.and_then(|der| Identity::from_der(der).ok()) else {
            return Some(false);
        };
        let routes = &self.options.routes;
        let is_route = |name: &String| routes.iter().any(|route| is_host(name, &route.host));
        let own = |name: &str| (self.options.user.as_deref() == Some(name)).then_some(());
        Some(
            tls.verify_known_urls && names.dns.iter().any(is_route)
                || tls.verify_and_map && names.find_user(own, std::iter::empty()).is_some(),
        )
    }

    /// Has a password compared with its hash. The cluster's name is looked at with INFO then.
    fn verify(
        &mut self,
        token: Token,
        (hash, given): (Secret, (String, Secret)),
        connect: &RouteConnect,
        until: Mono,
    ) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        conn.phase = Phase::Verifying { until, ticket };
        conn.headers = connect.headers;
        let password = given.1.clone();
        conn.credentials = Some(Box::new(given));
        self.checks.push(PasswordCheck {
            client: 0,
            ticket,
            hash,
            password,
            deadline: until,
        });
    }

    pub(super) fn handle_verified(&mut self, _client: u32, ticket: u64, right: bool, now: Mono) {
        for token in self.conns.tokens() {
            let Some(conn) = self.conns.get_mut(token) else {
                continue;
            };
            if conn.recheck == Some(ticket) {
                conn.recheck = None;
                if !right {
                    self.turn_away(token, now);
                }
                return;
            }
            match conn.phase {
                Phase::Verifying { until, ticket: own } if own == ticket => {
                    if !right {
                        return self.turn_away(token, now);
                    }
                    conn.phase = Phase::Introducing { until };
                    if !conn.queued {
                        conn.queued = true;
                        self.ready.push_back(token);
                    }
                    return self.resume(token, now);
                }
                _ => {}
            }
        }
    }

    pub(super) fn turn_away(&mut self, token: Token, now: Mono) {
        if let Some(conn) = self.conns.get_mut(token) {
            error!("{} - Authorization Violation", conn.label());
        }
        let reason = CloseReason::AuthenticationViolation;
        self.refuse(token, "Authorization Violation", reason, now);
    }

    /// A server says INFO.
    pub(super) fn handle_info(&mut self, token: Token, args: &[u8], now: Mono) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        let (link, label) = (conn.link, conn.label());
        let info = match RouteInfo::read(args) {
            Ok(info) => info,
            Err(e) => {
                error!("{label} - Error reading INFO: {e}");
                return self.refuse(token, "Parser Error", CloseReason::ParseError, now);
            }
        };
        let is_new = conn.phase.is_stranger();
        let headers = info.headers;
        if is_new && conn.agreed.is_none() {
            if let Err(refusal) = self.mesh.check_info(link, &info) {
                return self.refused(token, refusal, now);
            }
            self.act(now);
            match self.agree(token, &info.compression, now) {
                Ok(false) => {}
                // The peer says INFO again, compressed.
                Ok(true) => return,
                Err(text) => {
                    error!("{label} - {text}");
                    return self.refuse(token, &text, CloseReason::ProtocolViolation, now);
                }
            }
        }
        if let Err(refusal) = self.mesh.handle_info(link, info, now) {
            return self.refused(token, refusal, now);
        }
        if !is_new {
            return self.act(now);
        }
        let (interval, jitter) = (self.ping_interval(), self.rng.below(65536));
        let mut deadline = None;
        let is_solicited = self.mesh.is_solicited(link);
        if is_solicited {
            self.greet(token);
        }
        let lane = self.mesh.lane(link).cloned();
        let mut asks = false;
        if let Some(conn) = self.conns.get_mut(token) {
            conn.phase = Phase::Open;
            conn.lane = lane.unwrap_or(Lane::Whole);
            conn.headers = headers && !self.facts.options.no_header_support;
            let jitter = u16::try_from(jitter).unwrap_or(0);
            conn.keepalive.handle_connect(now, interval, jitter);
            deadline = Some(conn.keepalive.deadline());
            asks = is_solicited && conn.keepalive.measure(now);
            self.strangers -= 1;
        }
        if let Some(deadline) = deadline {
            self.look_no_later_than(deadline);
        }
        self.act(now);
        if asks {
            // The answer says that the server has taken this connection.
            self.scratch.clear();
            self.scratch.extend_from_slice(b"PING\r\n");
            self.send_scratch(link);
        }
    }

    /// Comes to an agreement about compression; says whether it is on.
    fn agree(&mut self, token: Token, theirs: &str, now: Mono) -> Result<bool, String> {
        let Some(conn) = self.conns.get_mut(token) else {
            return Ok(false);
        };
        let (link, rtt) = (conn.link, now.since(conn.opened));
        let agreed = self.options.compression.agree(theirs, rtt)?;
        conn.agreed = Some(agreed);
        let Agreed::On(level) = agreed else {
            return Ok(false);
        };
        // Whoever connected says so in plain text, and the other one answers compressed.
        let is_solicited = self.mesh.is_solicited(link);
        if is_solicited {
            self.greet(token);
        }
        if let Some(conn) = self.conns.get_mut(token) {
            conn.begin_packing(level, &mut self.pool);
        }
        if !is_solicited {
            self.greet(token);
        }
        Ok(true)
    }

    fn refused(&mut self, token: Token, refusal: Refusal, now: Mono) {
        if let Some(text) = &refusal.text {
            if let Some(conn) = self.conns.get_mut(token) {
                error!("{} - {text}", conn.label());
            }
            self.refuse(token, text, refusal.reason, now);
        } else {
            self.close(token, refusal.reason, now);
        }
        self.act(now);
    }

    /// Tells a server what is wrong, and closes the connection.
    pub(super) fn refuse(&mut self, token: Token, text: &str, reason: CloseReason, now: Mono) {
        if let Some(link) = self.conns.get_mut(token).map(|conn| conn.link) {
            self.scratch.clear();
            let line = format!("-ERR '{text}'\r\n");
            self.scratch.extend_from_slice(line.as_bytes());
            self.send_scratch(link);
        }
        self.close(token, reason, now);
    }

    /// Queues what is in the scratch buffer for a server.
    pub(super) fn send_scratch(&mut self, link: LinkId) {
        let Some(token) = self.by_link.get(&link).copied() else {
            return;
        };
        let Some(conn) = self
            .conns
            .get_mut(token)
            .filter(|c| c.phase != Phase::Closed)
        else {
            return;
        };
        conn.out.push(&self.scratch, &mut self.pool);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Looks after deadlines.
    pub(super) fn look_after(&mut self, now: Mono) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.look_at = None;
        let (interval, ping_max) = (self.ping_interval(), self.ping_max());
        let write_deadline = self.write_deadline();
        for token in self.conns.tokens() {
            let Some(conn) = self.conns.get_mut(token) else {
                continue;
            };
            if conn.phase == Phase::Closed {
                continue;
            }
            if conn.phase.until().is_some_and(|until| until <= now) {
                if matches!(conn.phase, Phase::Securing { .. }) {
                    error!("{} - TLS route handshake error: timeout", conn.label());
                    self.close(token, CloseReason::TlsHandshakeFailure, now);
                    continue;
                }
                info!("{} - Authentication Timeout", conn.label());
                let reason = CloseReason::AuthenticationTimeout;
                self.refuse(token, "Authentication Timeout", reason, now);
                continue;
            }
            if conn
                .blocked
                .is_some_and(|since| now >= since + write_deadline)
            {
                let pending = conn.pending();
                info!(
                    "{} - Slow Consumer Detected: WriteDeadline of {} exceeded with {pending} \
                     bytes pending.",
                    conn.label(),
                    crate::base::text::GoDuration(write_deadline)
                );
                self.close(token, CloseReason::SlowConsumerWriteDeadline, now);
                continue;
            }
            let mut next = conn.phase.until();
            if conn.phase == Phase::Open {
                let link = conn.link;
                match conn.keepalive.handle_timer(now, interval, ping_max) {
                    Verdict::Quiet => {}
                    Verdict::Ping => {
                        self.scratch.clear();
                        self.scratch.extend_from_slice(b"PING\r\n");
                        self.send_scratch(link);
                    }
                    Verdict::Stale => {
                        debug!("{} - Stale Client Connection - Closing", conn.label());
                        let reason = CloseReason::StaleConnection;
                        self.refuse(token, "Stale Connection", reason, now);
                        continue;
                    }
                }
                next = self.conns.get_mut(token).map(|c| c.keepalive.deadline());
            }
            let blocked = self.conns.get_mut(token).and_then(|c| c.blocked);
            let write = blocked.map(|since| since + write_deadline);
            for at in [next, write].into_iter().flatten() {
                self.look_no_later_than(at);
            }
        }
    }

    /// Tells the other servers that clients will be disconnected.
    pub(super) fn enter_lame_duck(&mut self) {
        self.lame_duck = true;
        self.tell_servers();
    }
}

/// Whether a name in a certificate is that of a host; the first part of it may be `*`.
fn is_host(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((_, domain))) => rest == domain,
        _ => name == host,
    }
}

/// Rules as other servers are told of them.
fn told(rules: &Rules) -> SubjectRules {
    SubjectRules {
        allow: rules.allow.clone(),
        deny: Some(rules.deny.clone()).filter(|deny| !deny.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn names_in_certificates_are_those_of_hosts() {
        for (name, host, same) in [
            ("a.example.org", "A.Example.ORG", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "example.org", false),
            ("*", "localhost", false),
            ("a.*.org", "a.b.org", false),
            ("", "a", false),
        ] {
            assert_eq!(is_host(name, host), same, "{name} {host}");
        }
    }
}
