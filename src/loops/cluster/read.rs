//! Reading from other servers, and what their operations do.

use super::conn::Phase;
use super::{ClusterLoop, turn};
use crate::accounts::permissions::Permissions;
use crate::accounts::{Account, GLOBAL};
use crate::base::clock::Mono;
use crate::base::limits::{READ_BUFFER, ROUTE_LINE_FACTOR, ROUTE_READ_BUDGET};
use crate::broker::Source;
use crate::broker::tracing::Arrival;
use crate::loops::inbox::Mail;
use crate::proto::client::Partial;
use crate::proto::compression::Agreed;
use crate::proto::error::CloseReason;
use crate::proto::msg_trace::is_mentioned;
use crate::proto::route::{Limits, Op, Parsed, Routed, Subject, Violation, parse};
use bytes::Bytes;
use log::{debug, error, trace};
use mio::Token;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where servers tell of the clients of all accounts.
const CONNECTIONS: &[u8] = b"$SYS.ACCOUNT.*.SERVER.CONNS";

/// How far reading came with some bytes.
enum Progress {
    /// What is left is the front of an operation.
    Wait(usize, Partial),
    Closed,
}

impl ClusterLoop {
    /// Reads from every server that has something, once around.
    pub(super) fn read_ready(&mut self, now: Mono) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                break;
            };
            if let Some(conn) = self.conns.get_mut(token) {
                conn.queued = false;
                if matches!(conn.phase, Phase::Securing { .. }) && !self.secure(token, now) {
                    continue;
                }
                self.read(token, now);
            }
        }
    }

    fn limits(&mut self, token: Token) -> Limits {
        let conn = self.conns.get_mut(token);
        let names_account = conn.is_none_or(|conn| conn.lane.account().is_none());
        let options = &self.facts.options;
        Limits {
            control_line_max: options.max_control_line.saturating_mul(ROUTE_LINE_FACTOR),
            // Another server may allow its clients more than this one does.
            payload_max: options.max_pending,
            names_account,
        }
    }

    fn read(&mut self, token: Token, now: Mono) {
        let mut read = self.reads.take();
        let (mut total, mut kept, mut partial) = (0, 0, Partial::Line);
        let again = loop {
            let Some(conn) = self.conns.get_mut(token) else {
                break false;
            };
            if matches!(conn.phase, Phase::Closed | Phase::Verifying { .. }) {
                break false;
            }
            let Some(room) = read.room() else { break true };
            let (n, more) = match conn.read(&mut self.cipher, &mut room[kept..]) {
                Ok((0, _)) => {
                    self.close(token, CloseReason::ClientClosed, now);
                    break false;
                }
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    error!("{} - Route cannot be decompressed: {e}", conn.label());
                    self.close(token, CloseReason::ReadError, now);
                    break false;
                }
                Err(e) => {
                    debug!("{} - Route read error: {e}", conn.label());
                    self.close(token, CloseReason::ReadError, now);
                    break false;
                }
            };
            let full = more || conn.ended;
            total += n;
            let len = kept + n;
            let (bytes, mut source) = read.source(n);
            let bytes = &bytes[..len];
            let rest = match self.handle_bytes(token, bytes, &mut source, now) {
                Progress::Wait(consumed, then) => {
                    partial = then;
                    consumed
                }
                Progress::Closed => break false,
            };
            if self.switch(token, &bytes[rest..]) {
                kept = 0;
                continue;
            }
            kept = len - rest;
            let yielding = total >= ROUTE_READ_BUDGET;
            let large = kept > READ_BUFFER / 2
                || matches!(partial, Partial::Payload(all) if all > READ_BUFFER / 2);
            if !full || yielding || large {
                self.keep(token, &read.bytes()[rest..len], partial);
                kept = 0;
                if !full || yielding {
                    break full;
                }
            }
            if kept > 0
                && let Some(room) = read.room()
            {
                room.copy_within(rest..len, 0);
            } else if read.room().is_none() {
                let mut next = self.reads.take();
                if let Some(room) = next.room() {
                    room[..kept].copy_from_slice(&read.bytes()[rest..len]);
                }
                self.reads.give(std::mem::replace(&mut read, next));
            }
        };
        if kept > 0 {
            self.keep(token, &read.bytes()[..kept], partial);
        }
        self.reads.give(read);
        if again && let Some(conn) = self.conns.get_mut(token) {
            conn.queued = true;
            self.ready.push_back(token);
        }
    }

    /// Compression may just have been turned on: what is left is compressed then.
    fn switch(&mut self, token: Token, rest: &[u8]) -> bool {
        let Some(conn) = self.conns.get_mut(token).filter(|conn| conn.switching) else {
            return false;
        };
        conn.feed(rest);
        true
    }

    /// Keeps the front of an operation until more of it comes.
    fn keep(&mut self, token: Token, rest: &[u8], partial: Partial) {
        let Some(conn) = self.conns.get_mut(token).filter(|_| !rest.is_empty()) else {
            return;
        };
        let (rest, total) = match partial {
            Partial::Line => (rest, None),
            Partial::Keep(n) => (&rest[..n.min(rest.len())], None),
            Partial::Payload(total) => (rest, Some(total)),
        };
        conn.inbound.keep(rest, total);
    }

    /// Handles bytes from a server, as far as there are whole operations.
    fn handle_bytes<S: Source>(
        &mut self,
        token: Token,
        data: &[u8],
        source: &mut S,
        now: Mono,
    ) -> Progress {
        let mut consumed = 0;
        let Some(conn) = self.conns.get_mut(token) else {
            return Progress::Closed;
        };
        if !conn.inbound.is_empty() {
            match self.go_on(token, data, now) {
                Progress::Wait(n, Partial::Line) => consumed = n,
                other => return other,
            }
        }
        let mut limits = self.limits(token);
        loop {
            match self.conns.get_mut(token) {
                Some(conn) if conn.phase != Phase::Closed => {
                    if conn.switching {
                        return Progress::Wait(consumed, Partial::Line);
                    }
                }
                Some(_) | None => return Progress::Closed,
            }
            match parse(&data[consumed..], &limits) {
                Parsed::Op(op, used) => {
                    consumed += used;
                    let waits = matches!(op, Op::Connect(_));
                    let settles = matches!(op, Op::Info(_));
                    self.execute(token, op, source, now);
                    if settles {
                        limits = self.limits(token);
                    }
                    if waits && self.is_verifying(token) {
                        return Progress::Wait(consumed, Partial::Line);
                    }
                }
                Parsed::Partial(partial) => return Progress::Wait(consumed, partial),
                Parsed::Bad(violation) => {
                    self.violation(token, violation, now);
                    return Progress::Closed;
                }
            }
        }
    }

    fn is_verifying(&mut self, token: Token) -> bool {
        let conn = self.conns.get_mut(token);
        conn.is_some_and(|conn| matches!(conn.phase, Phase::Verifying { .. }))
    }

    /// Goes on with an operation that was kept.
    fn go_on(&mut self, token: Token, data: &[u8], now: Mono) -> Progress {
        let limits = self.limits(token);
        let mut consumed = 0;
        loop {
            let Some(conn) = self.conns.get_mut(token) else {
                return Progress::Closed;
            };
            let inbound = &mut conn.inbound;
            consumed += inbound.feed(&data[consumed..]);
            match parse(inbound.bytes(), &limits) {
                Parsed::Op(..) => {
                    let mut whole = Bytes::from(inbound.take());
                    let bytes = whole.clone();
                    if let Parsed::Op(op, _) = parse(&bytes, &limits) {
                        self.execute(token, op, &mut whole, now);
                    }
                    return Progress::Wait(consumed, Partial::Line);
                }
                Parsed::Partial(partial) => {
                    let (keep, total) = match partial {
                        Partial::Line => (usize::MAX, None),
                        Partial::Keep(n) => (n, None),
                        Partial::Payload(total) => (usize::MAX, Some(total)),
                    };
                    inbound.note(keep, total);
                    if consumed == data.len() {
                        // All of it is kept already.
                        return Progress::Wait(consumed, Partial::Keep(0));
                    }
                }
                Parsed::Bad(violation) => {
                    self.violation(token, violation, now);
                    return Progress::Closed;
                }
            }
        }
    }

    /// Goes on with what was kept while a password was compared.
    pub(super) fn resume(&mut self, token: Token, now: Mono) {
        let Some(conn) = self.conns.get_mut(token).filter(|c| !c.inbound.is_empty()) else {
            return;
        };
        let mut kept = Bytes::from(conn.inbound.take());
        let bytes = kept.clone();
        if let Progress::Wait(consumed, partial) = self.handle_bytes(token, &bytes, &mut kept, now)
            && !self.switch(token, &bytes[consumed..])
        {
            self.keep(token, &bytes[consumed..], partial);
        }
    }

    fn violation(&mut self, token: Token, violation: Violation, now: Mono) {
        if let Some(conn) = self.conns.get_mut(token) {
            error!("{} - {violation}", conn.label());
        }
        let (text, reason) = match violation {
            Violation::UnknownOperation => {
                ("Unknown Protocol Operation", CloseReason::ProtocolViolation)
            }
            Violation::ControlLine => (
                "Maximum Control Line Exceeded",
                CloseReason::MaxControlLineExceeded,
            ),
            Violation::Payload(_) => ("Maximum Payload Violation", CloseReason::MaxPayloadExceeded),
            Violation::Arguments(_) => ("Parser Error", CloseReason::ParseError),
        };
        self.refuse(token, text, reason, now);
    }

    fn execute<S: Source>(&mut self, token: Token, op: Op<'_>, source: &mut S, now: Mono) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        if self.facts.options.log.trace {
            trace!("{} - <<- [{}]", conn.label(), shown(&op));
        }
        let (link, is_open) = (conn.link, conn.phase == Phase::Open);
        match op {
            Op::Message(routed) if is_open => self.receive(token, &routed, source, now),
            Op::Subscribe(to, queue) if is_open => {
                conn.keepalive.handle_traffic(now);
                let own = conn.lane.account().cloned();
                let to = of_account(to, own.as_deref());
                let may = |p: &Permissions| p.may_subscribe(to.subject, None);
                if !self.permissions.as_ref().is_none_or(may) {
                    let subject = String::from_utf8_lossy(to.subject);
                    debug!("{} - interest in {subject} is not exported", conn.label());
                    return;
                }
                let accounts = &self.facts.accounts;
                if self.remote.subscribe(link, &to, queue, accounts).is_err() {
                    debug!("{} - interest in an invalid subject", conn.label());
                } else if to.subject == CONNECTIONS {
                    self.tell_of_accounts(to.account);
                }
            }
            Op::Unsubscribe(to, queue) if is_open => {
                conn.keepalive.handle_traffic(now);
                let own = conn.lane.account();
                let to = of_account(to, own.map(|name| &**name));
                self.remote.unsubscribe(link, &to, queue);
            }
            Op::Message(_) | Op::Subscribe(..) | Op::Unsubscribe(..) => {
                let reason = CloseReason::ProtocolViolation;
                error!("{} - messages or interest before INFO", conn.label());
                self.refuse(token, "Authorization Violation", reason, now);
            }
            Op::Connect(args) => self.handle_connect(token, args, now),
            Op::Info(args) => {
                if matches!(conn.phase, Phase::Greeting { .. }) {
                    let reason = CloseReason::ProtocolViolation;
                    return self.refuse(token, "Authorization Violation", reason, now);
                }
                self.handle_info(token, args, now);
            }
            Op::Ping => {
                conn.keepalive.handle_traffic(now);
                self.scratch.clear();
                self.scratch.extend_from_slice(b"PONG\r\n");
                self.send_scratch(link);
            }
            Op::Pong => {
                conn.keepalive.handle_pong(now);
                let level = conn
                    .keepalive
                    .rtt()
                    .and_then(|rtt| self.options.compression.by_rtt(rtt));
                if let (Some(level), Some(packed)) = (level, &mut conn.packed) {
                    packed.packer.set_level(level);
                    conn.agreed = Some(Agreed::On(level));
                }
                self.mesh.handle_pong(link, now);
            }
            Op::Error(text) => {
                let text = String::from_utf8_lossy(text);
                error!("{} - Route Error {text}", conn.label());
                self.close(token, CloseReason::ParseError, now);
            }
            Op::Ignored => {}
        }
    }

    /// A server begins to listen to how many clients accounts have: it is told of all of them.
    #[cold]
    fn tell_of_accounts(&self, account: &[u8]) {
        let accounts = &self.facts.accounts;
        let system = accounts.system();
        if system.is_none_or(|tenant| tenant.account.name.as_bytes() != account) {
            return;
        }
        let has_clients = |account: &Account| account.connections.load(Ordering::Relaxed) > 0;
        let with_clients = accounts.iter().filter(|tenant| {
            let account = &tenant.account;
            *account.name != *GLOBAL && has_clients(account)
        });
        let numbers = with_clients.map(|tenant| tenant.account.number).collect();
        if let Err(e) = self.peers.system.send(Mail::Changed(numbers)) {
            error!("Error waking the system loop: {e}");
        }
    }

    /// Delivers a message to this server's own subscribers.
    fn receive<S: Source>(&mut self, token: Token, routed: &Routed<'_>, source: &mut S, now: Mono) {
        let Some(conn) = self.conns.get_mut(token) else {
            return;
        };
        conn.keepalive.handle_traffic(now);
        conn.received.count(routed.publish.size());
        let own = conn.lane.account().cloned();
        let named = own.as_ref().map_or(routed.account, |own| own.as_bytes());
        let same = |account: &Arc<Account>| account.name.as_bytes() == named;
        let account = match conn.account.as_ref().filter(|account| same(account)) {
            Some(account) => account.clone(),
            None => {
                let name = std::str::from_utf8(named).unwrap_or_default();
                let Some(tenant) = self.facts.accounts.named(name) else {
                    debug!("{} - message for unknown account {name:?}", conn.label());
                    return;
                };
                conn.account.insert(tenant.account.clone()).clone()
            }
        };
        let (link, turn) = (conn.link, &mut turn!(self, now));
        if let Some(len) = routed.publish.header_len {
            let tenant = self.facts.accounts.tenant(account.number);
            let follows = tenant.is_some_and(|tenant| tenant.trace.is_some());
            if is_mentioned(&routed.publish.payload[..len], follows) {
                let permissions = self.permissions.as_ref();
                let info = self.mesh.info(link);
                let arrival = Arrival {
                    rid: link.0,
                    name: info.map_or("", |info| &info.server_name),
                    may_publish: &|subject| permissions.is_none_or(|p| p.may_publish(subject)),
                };
                let broker = &mut self.broker;
                if broker.publish_routed_traced(&account, routed, source, &arrival, turn) {
                    return;
                }
            }
        }
        self.broker.publish_routed(&account, routed, source, turn);
    }
}

/// The same subject in the account of a connection that is for one.
fn of_account<'a>(to: Subject<'a>, own: Option<&'a str>) -> Subject<'a> {
    Subject {
        account: own.map_or(to.account, str::as_bytes),
        ..to
    }
}

/// An operation as traces show it, without what may be secret.
fn shown(op: &Op<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match op {
        Op::Message(routed) => format!("RMSG {}", text(routed.publish.args)),
        Op::Subscribe(to, queue) => {
            let group = queue.map_or(String::new(), |q| format!(" {} {}", text(q.name), q.weight));
            format!("RS+ {} {}{group}", text(to.account), text(to.subject))
        }
        Op::Unsubscribe(to, queue) => {
            let group = queue.map_or(String::new(), |name| format!(" {}", text(name)));
            format!("RS- {} {}{group}", text(to.account), text(to.subject))
        }
        Op::Connect(_) => "CONNECT".into(),
        Op::Info(args) => format!("INFO {}", text(args)),
        Op::Ping => "PING".into(),
        Op::Pong => "PONG".into(),
        Op::Ignored => "OK".into(),
        Op::Error(args) => format!("-ERR {}", text(args)),
    }
}
