//! What each operation of a client does.

use super::delivery::{NOBODY, Origin, trace_payload};
use super::message::Message;
use super::{Broker, Source, Turn, Wire, reserved};
use crate::accounts::Account;
use crate::auth::{self, Verdict};
use crate::base::clock::Mono;
use crate::base::limits::{FLUSH_EARLY, SHARE_MANY, SHARE_ONE};
use crate::conn::client::{Flags, Traffic};
use crate::proto::client::{Limits, Op, Parsed, Publish, parse};
use crate::proto::error::{ClientError, CloseReason};
use crate::proto::info::{Info, TOOLCHAIN};
use crate::proto::trace::redact;
use crate::subject;
use log::{error, trace};
use std::sync::Arc;

/// Deliveries a message makes from which on it pays to look for a run of messages.
const RUN_FAN_OUT: usize = 4;

/// Messages in a run at most, and bytes of the commands that brought them: as much as is written
/// at once.
const RUN_MESSAGES: usize = 512;
const RUN_BYTES: usize = FLUSH_EARLY;

/// What handling a run of a client's operations needs to know of the client.
pub(super) struct Publisher {
    slot: u32,
    origin: Origin,
    flags: Flags,
    account: Arc<Account>,
    pub(super) limits: Limits,
    received: Traffic,
    crosses: bool,
    /// Whether there was anything that shows the client to be alive.
    active: bool,
}

impl Publisher {
    pub(super) fn new(broker: &Broker, slot: u32) -> Publisher {
        let client = broker
            .delivery
            .clients
            .get(slot)
            .expect("the caller found the client");
        let options = &broker.facts.options;
        let skip = if client.flags.echo { NOBODY } else { slot };
        Publisher {
            slot,
            origin: Origin { slot, skip },
            flags: client.flags,
            account: client.account.clone(),
            limits: Limits {
                control_line_max: options.max_control_line,
                payload_max: options.max_payload,
                headers: client.flags.headers,
            },
            received: Traffic::default(),
            crosses: false,
            active: false,
        }
    }

    /// The small messages on the subject of `first` that follow it in `rest`, with `first` as the
    /// first of them, and the bytes that they take in `rest`; none if nothing like that follows.
    fn run<'a>(&mut self, first: &Publish<'a>, rest: &'a [u8]) -> (Vec<Message<'a>>, usize) {
        let (mut run, mut used) = (Vec::new(), 0);
        let plain = first.header_len.is_none() && first.size() < SHARE_MANY;
        let Some((head, _)) = first.canonical.filter(|_| plain && self.flags.is_quiet()) else {
            return (run, used);
        };
        while run.len() < RUN_MESSAGES && used < RUN_BYTES && rest[used..].starts_with(head) {
            let Parsed::Op(Op::Publish(next), len) = parse(&rest[used..], &self.limits) else {
                break;
            };
            let small = next.size() < SHARE_MANY && next.subject.len() == first.subject.len();
            let reply_denied = next.reply.is_some_and(reserved::reply_denied);
            let Some(message) = Message::plain(&next).filter(|_| small && !reply_denied) else {
                break;
            };
            if run.is_empty() {
                run.reserve(32);
                run.extend(Message::plain(first));
            }
            run.push(message);
            used += len;
            self.received.count(next.size());
        }
        (run, used)
    }

    /// Credits the client with what it did.
    pub(super) fn settle(&self, broker: &mut Broker, now: Mono) {
        if self.crosses {
            broker.delivery.crossing.push(self.slot);
        }
        let active = self.active || self.received.msgs > 0;
        if active && let Some(client) = broker.delivery.clients.get_mut(self.slot) {
            client.received.add(self.received);
            client.keepalive.handle_traffic(now);
        }
    }
}

impl Broker {
    /// Routes a message, and those that follow it in `rest` if they are on the same subject and
    /// many are to get them. Gives the bytes of `rest` that were used.
    #[inline]
    pub(super) fn publish<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        rest: &[u8],
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        from.received.count(publish.size());
        if !self.admit(from, publish) {
            return 0;
        }
        let account = &from.account;
        let route = self
            .routes
            .route(account.number, &account.interest, publish.subject);
        if !route.is_empty() {
            let fan_out = route.fan_out();
            if fan_out >= RUN_FAN_OUT && route.groups() == 0 && !self.delivery.trace {
                let (run, used) = from.run(publish, rest);
                if used > 0 {
                    let outcome = self.delivery.deliver_run(route, &run, &from.origin, turn);
                    from.crosses |= outcome.crosses;
                    if outcome.delivered == 0 && from.flags.no_responders {
                        for reply in run.iter().filter_map(|message| message.reply) {
                            self.no_responders(from, publish.subject, reply);
                        }
                    }
                    return used;
                }
            }
            let shared = (publish.size() >= SHARE_MANY && shares(publish, fan_out, source))
                .then(|| source.share(publish.payload));
            let message = Message::new(publish, shared.as_ref(), &mut self.scratch);
            let outcome = self.delivery.deliver(route, &message, &from.origin, turn);
            from.crosses |= outcome.crosses;
            if outcome.delivered > 0 {
                return 0;
            }
        }
        if from.flags.no_responders
            && let Some(reply) = publish.reply
        {
            self.no_responders(from, publish.subject, reply);
        }
        0
    }

    /// Whether a client may publish this; it is told what it is to be told.
    #[inline]
    fn admit(&mut self, from: &Publisher, publish: &Publish<'_>) -> bool {
        if self.delivery.trace {
            self.trace_publish(from.slot, publish);
        }
        if from.flags.pedantic && !subject::is_literal(publish.subject) {
            self.delivery
                .error(from.slot, ClientError::InvalidPublishSubject);
        }
        if reserved::publish_denied(publish.subject) {
            self.deny(from.slot, ClientError::PublishViolation(publish.subject));
            return false;
        }
        if let Some(reply) = publish.reply.filter(|r| reserved::reply_denied(r)) {
            self.deny(from.slot, ClientError::ReplyViolation(reply));
            return false;
        }
        if from.flags.verbose {
            self.delivery.send(from.slot, b"+OK\r\n", "OK");
        }
        true
    }

    /// Tells a client that nobody got its request.
    fn no_responders(&mut self, from: &Publisher, subject: &[u8], reply: &[u8]) {
        let account = &from.account;
        let route = self.routes.route(account.number, &account.interest, reply);
        let subs = &self.delivery.subs;
        let own = route.plain_of(self.delivery.me).iter().find_map(|t| {
            let sub = subs.get(t.slot)?;
            (sub.generation == t.generation && sub.client == from.slot).then_some(sub)
        });
        let Some(sub) = own else { return };
        let headers = [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat();
        let sizes = format!(" {0} {0}\r\n", headers.len());
        let args = [reply, b" ", sub.sid.text(), sizes.as_bytes()].concat();
        let line = [b"HMSG ", &args[..], &headers, b"\r\n"].concat();
        self.delivery.send(from.slot, &line, "");
    }

    /// Refuses a message for the sake of a reserved subject; the connection stays open.
    fn deny(&mut self, slot: u32, error: ClientError<'_>) {
        use crate::base::text::quoted;
        let label = self.delivery.label(slot);
        match error {
            ClientError::ReplyViolation(reply) => {
                error!("{label} - Publish Violation - Reply {}", quoted(reply));
            }
            ClientError::PublishViolation(subject) => {
                error!("{label} - Publish Violation - Subject {}", quoted(subject));
            }
            other => error!("{label} - {other}"),
        }
        self.delivery.error(slot, error);
    }

    /// Handles any operation but a publish.
    pub(super) fn command(&mut self, from: &mut Publisher, op: Op<'_>, now: Mono) {
        let slot = from.slot;
        if self.delivery.trace {
            self.trace_command(slot, &op);
        }
        match op {
            Op::Publish(_) | Op::Ignored => {}
            Op::Info(args) => self.info(slot, args),
            Op::Subscribe {
                subject,
                queue,
                sid,
                ..
            } => {
                from.active = true;
                self.subscribe(from, subject, queue, sid);
            }
            Op::Unsubscribe { sid, max, .. } => {
                from.active = true;
                self.unsubscribe(from, sid, max);
            }
            Op::Connect(args) => self.connect(slot, args, now),
            Op::Ping => {
                from.active = true;
                self.ping(slot);
            }
            Op::Pong => {
                if let Some(client) = self.delivery.clients.get_mut(slot) {
                    client.keepalive.handle_pong(now);
                }
            }
            Op::Error(text) => {
                let text = String::from_utf8_lossy(text);
                error!("{} - Client Error {text}", self.delivery.label(slot));
                self.close(slot, CloseReason::ParseError);
            }
        }
    }

    fn subscribe(&mut self, from: &Publisher, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        let (slot, account) = (from.slot, &*from.account);
        let options = &self.facts.options;
        let count = self.delivery.clients.get(slot).map_or(0, |c| c.sids.len());
        if queue == Some(reserved::SYSTEM_QUEUE) {
            return self.refuse_subscription(slot, subject, queue, sid);
        }
        if options.max_sub_tokens > 0 && subject::token_count(subject) > options.max_sub_tokens {
            let label = self.delivery.label(slot);
            let (quoted, sid) = (
                crate::base::text::quoted(subject),
                String::from_utf8_lossy(sid),
            );
            error!(
                "{label} - Subscription Violation Too Many Tokens - Subject {quoted}, SID {sid}"
            );
            return self
                .delivery
                .error(slot, ClientError::TooManyTokens(subject));
        }
        if options.max_subscriptions > 0 && count >= options.max_subscriptions {
            error!(
                "{} - maximum subscriptions exceeded",
                self.delivery.label(slot)
            );
            return self
                .delivery
                .error(slot, ClientError::SubscriptionsExceeded);
        }
        // A sid that is in use stays what it is.
        if self.delivery.find(slot, account, sid).is_none()
            && self
                .delivery
                .subscribe(slot, account, (subject, queue, sid))
                .is_err()
        {
            return self.delivery.error(slot, ClientError::InvalidSubject);
        }
        if from.flags.verbose {
            self.delivery.send(slot, b"+OK\r\n", "OK");
        }
    }

    fn refuse_subscription(&mut self, slot: u32, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        use crate::base::text::quoted;
        let label = self.delivery.label(slot);
        let queue_text = queue.map_or(String::new(), |q| format!(", Queue: {}", quoted(q)));
        error!(
            "{label} - Subscription Violation - Subject {}{queue_text}, SID {}",
            quoted(subject),
            String::from_utf8_lossy(sid)
        );
        self.delivery
            .error(slot, ClientError::SubscriptionViolation { subject, queue });
    }

    fn unsubscribe(&mut self, from: &Publisher, sid: &[u8], max: Option<u64>) {
        let slot = from.slot;
        let found = self.delivery.find(slot, &from.account, sid);
        let mut ends = found;
        if let Some(sub) = found.and_then(|sub_slot| self.delivery.subs.get_mut(sub_slot)) {
            sub.max = 0;
            if let Some(max) = max.filter(|max| *max > sub.delivered) {
                sub.max = u32::try_from(max).expect("sizes have nine digits at most");
                ends = None;
            }
        }
        if from.flags.verbose {
            self.delivery.send(slot, b"+OK\r\n", "OK");
        }
        if let Some(sub_slot) = ends {
            self.delivery.unsubscribe(sub_slot);
        }
    }

    fn connect(&mut self, slot: u32, args: &[u8], now: Mono) {
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
        }
        let verdict = auth::authenticate(&connect);
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        let about = connect.label();
        let identity = match connect.user.as_str() {
            "" => String::new(),
            user => format!("{}/user:{user}", client.account.name),
        };
        if !again {
            for part in [about, identity].iter().filter(|part| !part.is_empty()) {
                let part = crate::base::text::quoted(part.as_bytes());
                client.label = format!("{} - {part}", client.label).into();
            }
        }
        let (protocol, flags) = (connect.protocol, client.flags);
        client.connect = Some(connect);
        let refusal = if verdict == Verdict::Refused {
            error!("{} - authentication error", client.label);
            Some((
                ClientError::AuthorizationViolation,
                CloseReason::AuthenticationViolation,
            ))
        } else if !(0..=1).contains(&protocol) {
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
                if verdict == Verdict::Accepted {
                    error!("{} - {answer}", self.delivery.label(slot));
                }
                self.delivery.error(slot, answer);
                self.close(slot, reason);
            }
            None if flags.verbose => self.delivery.send(slot, b"+OK\r\n", "OK"),
            None => {}
        }
    }

    /// A client has nothing to say in an INFO, but one that cannot be read ends the connection.
    fn info(&mut self, slot: u32, args: &[u8]) {
        use serde_json::Value;
        if !matches!(
            serde_json::from_slice(args),
            Ok(Value::Object(_) | Value::Null)
        ) {
            error!("{} - INFO parse error", self.delivery.label(slot));
            self.close(slot, CloseReason::ProtocolViolation);
        }
    }

    fn ping(&mut self, slot: u32) {
        self.delivery.send(slot, b"PONG\r\n", "PONG");
        let Some(client) = self.delivery.clients.get_mut(slot) else {
            return;
        };
        let Some(connect) = &client.connect else {
            return;
        };
        let first = !std::mem::replace(&mut client.first_pong, true);
        if first && connect.protocol >= 1 {
            self.send_info(slot, true);
        }
    }

    /// Sends INFO, the first one or the one that answers CONNECT.
    pub(super) fn send_info(&mut self, slot: u32, answers_connect: bool) {
        let Some(client) = self.delivery.clients.get(slot) else {
            return;
        };
        let facts = &self.facts;
        let info = Info {
            server_id: &facts.id,
            server_name: &facts.name,
            version: crate::options::VERSION,
            proto: 1,
            go: TOOLCHAIN,
            host: &facts.host,
            port: facts.port,
            headers: !facts.options.no_header_support,
            max_payload: facts.options.max_payload,
            client_id: client.id.0,
            client_ip: client.addr.ip().to_canonical(),
            ldm: self.lame_duck,
            connect_info: answers_connect,
            remote_account: answers_connect.then_some(&client.account.name),
        };
        self.scratch.clear();
        info.write(&mut self.scratch);
        self.delivery.send(slot, &self.scratch, "");
    }

    #[cold]
    fn trace_publish(&self, slot: u32, publish: &Publish<'_>) {
        let Some(client) = self.delivery.clients.get(slot) else {
            return;
        };
        let verb = if publish.header_len.is_some() {
            "HPUB"
        } else {
            "PUB"
        };
        let args = String::from_utf8_lossy(publish.args);
        trace!("{} - <<- [{verb} {args}]", client.label);
        let header_len = publish.header_len.unwrap_or(0);
        let tracing = &self.delivery.tracing;
        trace_payload(client, "<<-", (publish.payload, header_len), tracing);
    }

    #[cold]
    fn trace_command(&self, slot: u32, op: &Op<'_>) {
        let (verb, args) = match op {
            Op::Publish(_) | Op::Info(_) | Op::Ignored => return,
            Op::Subscribe { args, .. } => ("SUB", (*args).into()),
            Op::Unsubscribe { args, .. } => ("UNSUB", (*args).into()),
            Op::Connect(args) => ("CONNECT", redact(args)),
            Op::Ping => ("PING", b"".as_slice().into()),
            Op::Pong => ("PONG", b"".as_slice().into()),
            Op::Error(args) => ("-ERR", (*args).into()),
        };
        let line = format!("{verb} {}", String::from_utf8_lossy(&args));
        trace!("{} - <<- [{}]", self.delivery.label(slot), line.trim_end());
    }
}

/// Whether a payload is referenced rather than copied: copies of small ones are cheaper, and a
/// small slice must not keep a large buffer alive.
fn shares<S: Source>(publish: &Publish<'_>, fan_out: usize, source: &S) -> bool {
    if fan_out > 1 {
        publish.size() >= SHARE_MANY
    } else {
        publish.size() >= SHARE_ONE && source.pins()
    }
}
