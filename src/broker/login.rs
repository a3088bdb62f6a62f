//! From a CONNECT to a client that is in: the verdict on it, the account, the permissions.

use super::events::Event;
use super::{Broker, PasswordCheck};
use crate::accounts::Account;
use crate::auth::{Attempt, Grant, Refusal, Verdict};
use crate::base::clock::Mono;
use crate::base::text::quoted;
use crate::conn::client::{Client, Phase, shown_key};
use crate::conn::guard::Guard;
use crate::options::security::{ConnectionType, Login};
use crate::proto::connect::Connect;
use crate::proto::error::{ClientError, CloseReason};
use log::{debug, error};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Broker {
    /// Whether a client that is not in yet may say what begins with `data`: a CONNECT, or
    /// anything if it is somebody without saying so. If not, it is closed.
    pub(super) fn may_begin(&mut self, slot: u32, data: &[u8]) -> bool {
        let directory = &self.facts.directory;
        let Some(client) = self.delivery.clients.get(slot) else {
            return false;
        };
        let connects = matches!(data.first(), None | Some(b'c' | b'C'));
        let goes_on = !client.inbound.is_empty();
        if client.grant.is_some() || !directory.is_required() || connects || goes_on {
            return true;
        }
        if directory.has_no_auth_user() {
            let verdict = self.judge(slot, &Connect::default());
            if let Verdict::Accepted(grant) = verdict {
                return self.let_in(slot, grant);
            }
        }
        self.turn_away(slot, Refusal::Credentials);
        false
    }

    pub(super) fn connect(&mut self, slot: u32, args: &[u8], now: Mono) {
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        let again = client.connect.is_some();
        let mut connect = client.connect.take().unwrap_or_default();
        let merged = connect.merge(args);
        client.flags = self.facts.flags(&connect);
        let jitter = (self.rng.next_u64() & 0xffff) as u16;
        client
            .keepalive
            .handle_connect(now, self.facts.options.ping_interval, jitter);
        if let Err(e) = merged {
            error!("{} - {e}", client.label);
            return self.close(slot, CloseReason::ProtocolViolation);
        }
        if again {
            // Another CONNECT may come to another account, where old subscriptions mean nothing.
            self.delivery.unsubscribe_all(slot);
        } else {
            let about = connect.label();
            if !about.is_empty() {
                client.label = format!("{} - {}", client.label, quoted(about.as_bytes())).into();
            }
        }
        let verdict = self.judge(slot, &connect);
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        client.connect = Some(connect);
        match verdict {
            Verdict::Accepted(grant) => self.welcome(slot, grant, again),
            Verdict::Refused(refusal) => self.turn_away(slot, refusal),
            Verdict::Asks(check) => {
                let deadline = match client.phase {
                    Phase::Greeting { deadline } => deadline,
                    _ => now + self.facts.options.auth_timeout(),
                };
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                client.phase = Phase::Verifying { deadline, ticket };
                self.checks.push(PasswordCheck {
                    client: slot,
                    ticket,
                    hash: check.hash,
                    password: check.password,
                    deadline,
                });
                client.verifying = Some(Box::new((check.grant, again)));
                self.delivery.stalled.push(slot);
            }
        }
    }

    /// The password that came with a client's CONNECT was compared with its hash. Says whether it
    /// is in.
    pub fn handle_verified(&mut self, slot: u32, ticket: u64, right: bool) -> bool {
        let waits = |client: &&mut Client| matches!(client.phase, Phase::Verifying { ticket: own, .. } if own == ticket);
        let client = self.delivery.clients.get_mut(slot).filter(waits);
        let Some((grant, again)) = client.and_then(|c| c.verifying.take()).map(|v| *v) else {
            return false;
        };
        match right {
            // What the grant is of may have changed while the password was compared.
            true if self.facts.directory.still_grants(&grant) => {
                self.welcome(slot, grant, again);
            }
            _ => self.turn_away(slot, Refusal::Credentials),
        }
        !self.delivery.is_closed(slot)
    }

    /// Closes a client that has not said in time who it is.
    pub(super) fn time_out(&mut self, slot: u32) {
        debug!("{} - Authentication Timeout", self.delivery.label(slot));
        self.delivery
            .error(slot, ClientError::AuthenticationTimeout);
        self.close(slot, CloseReason::AuthenticationTimeout);
    }

    pub(super) fn is_verifying(&self, slot: u32) -> bool {
        let phase = self.delivery.clients.get(slot).map(|client| client.phase);
        matches!(phase, Some(Phase::Verifying { .. }))
    }

    /// Judges what a client says of itself.
    fn judge(&self, slot: u32, connect: &Connect) -> Verdict {
        let Some(client) = self.delivery.clients.get(slot) else {
            return Verdict::Refused(Refusal::Credentials);
        };
        self.facts.directory.authenticate(&Attempt {
            connect,
            nonce: &self.facts.nonce(client.id),
            certificate: client.identity(),
            kind: ConnectionType::Standard,
        })
    }

    /// Lets a client in whose CONNECT names no reason against it.
    fn welcome(&mut self, slot: u32, grant: Arc<Grant>, again: bool) {
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        let Some(connect) = &client.connect else {
            return;
        };
        let (protocol, flags) = (connect.protocol, client.flags);
        if !again {
            let who = identity(&grant, connect);
            if let Some(who) = who {
                let part = format!("{}/{who}", grant.account.name);
                client.label = format!("{} - {}", client.label, quoted(part.as_bytes())).into();
            }
        }
        if !self.let_in(slot, grant) {
            return;
        }
        let refusal = if !(0..=1).contains(&protocol) {
            Some((
                ClientError::ClientProtocol,
                CloseReason::BadClientProtocolVersion,
            ))
        } else if flags.no_responders && !flags.headers {
            let reason = CloseReason::NoRespondersRequiresHeaders;
            Some((ClientError::NoRespondersRequiresHeaders, reason))
        } else {
            None
        };
        match refusal {
            Some((answer, reason)) => {
                error!("{} - {answer}", self.delivery.label(slot));
                self.delivery.error(slot, answer);
                self.close(slot, reason);
            }
            None if flags.verbose => self.delivery.send(slot, b"+OK\r\n", "OK"),
            None => {}
        }
    }

    /// Puts a client that need not say who it is into the account for those.
    pub(super) fn admit_stranger(&mut self, slot: u32, open: Arc<Grant>) {
        if let Some(client) = self.delivery.clients.get_mut(slot) {
            enter(&open.account, None);
            client.account = open.account.clone();
            client.grant = Some(open);
        }
    }

    /// Puts a client into its account, with its permissions; false if there is no room.
    pub(super) fn let_in(&mut self, slot: u32, grant: Arc<Grant>) -> bool {
        let accounts = &self.facts.accounts;
        let limit = accounts
            .tenant(grant.account.number)
            .and_then(|tenant| tenant.limits.max_connections);
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return false;
        };
        leave(client);
        if !enter(&grant.account, limit) {
            let error = ClientError::AccountConnectionsExceeded;
            error!("{} - {error}", client.label);
            self.delivery.error(slot, error);
            self.close(slot, CloseReason::MaxAccountConnectionsExceeded);
            return false;
        }
        client.account = grant.account.clone();
        self.delivery.closed.of(grant.account.number).admitted += 1;
        let cid = client.id.0;
        self.delivery.events.push(Event::Came { slot, cid });
        let seed = self.rng.next_u64();
        let guard = |permissions| Box::new(Guard::new(permissions, seed));
        client.guard = grant.permissions.clone().map(guard);
        client.grant = Some(grant);
        if !matches!(client.phase, Phase::Active) {
            let held = client.inbound.held();
            if matches!(client.phase, Phase::Greeting { .. }) {
                self.greeting_bytes -= held;
            }
            client.phase = Phase::Active;
        }
        true
    }

    /// Closes a client that may not be in.
    pub(super) fn turn_away(&mut self, slot: u32, refusal: Refusal) {
        let Some(client) = self.delivery.clients.get(slot) else {
            return;
        };
        let who = match client.connect.as_deref() {
            Some(Connect { nkey, .. }) if !nkey.is_empty() => {
                format!(" - Nkey {}", quoted(shown_key(nkey).as_bytes()))
            }
            Some(Connect { user, .. }) if !user.is_empty() => {
                format!(" - User {}", quoted(user.as_bytes()))
            }
            Some(c) if !c.auth_token.is_empty() => " - Token \"[REDACTED]\"".into(),
            _ => String::new(),
        };
        error!("{} - authentication error{who}", client.label);
        let reason = match refusal {
            Refusal::Credentials => CloseReason::AuthenticationViolation,
            Refusal::ProxyNotTrusted => CloseReason::ProxyNotTrusted,
            Refusal::ProxyRequired => CloseReason::ProxyRequired,
        };
        if refusal != Refusal::Credentials {
            debug!("{} - {reason}", client.label);
        }
        self.delivery
            .error(slot, ClientError::AuthorizationViolation);
        self.close(slot, reason);
        if let Some(Event::Gone(client)) = self.delivery.events.last() {
            let event = Event::TurnedAway(client.clone());
            self.delivery.events.push(event);
        }
    }
}

/// Who a client is, for its name in the logs.
fn identity(grant: &Grant, connect: &Connect) -> Option<String> {
    match &grant.login {
        Some(Login::Nkey(key)) => Some(format!("nkey:{key}")),
        Some(Login::Name(name)) => Some(format!("user:{name}")),
        None if !connect.nkey.is_empty() => Some(format!("nkey:{}", shown_key(&connect.nkey))),
        None if !connect.user.is_empty() => Some(format!("user:{}", connect.user)),
        None if !connect.auth_token.is_empty() => Some("token".into()),
        None => None,
    }
}

/// Counts a client in, if its account has room for it beside those on other servers.
fn enter(account: &Account, limit: Option<usize>) -> bool {
    let limit = limit.unwrap_or(usize::MAX);
    let limit = limit.saturating_sub(account.elsewhere.load(Ordering::Relaxed));
    let add = |n: usize| (n < limit).then_some(n + 1);
    account
        .connections
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        .is_ok()
}

/// Counts a client out.
pub(super) fn leave(client: &mut Client) {
    if client.grant.take().is_some() {
        client.account.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
