//! What each operation of a client does.

use super::delivery::{NOBODY, Origin, Outcome};
use super::message::Message;
use super::traces::trace_payload;
use super::{Broker, Source, Turn, Wire, reserved};
use crate::accounts::mappings::Mapped;
use crate::accounts::{Account, Tenant};
use crate::base::clock::Mono;
use crate::base::limits::{FLUSH_EARLY, SHARE_MANY, SHARE_ONE};
use crate::conn::client::{Client, Flags, Traffic};
use crate::conn::guard::Publishing;
use crate::proto::client::{Limits, Op, Parsed, Publish, parse};
use crate::proto::error::{ClientError, CloseReason};
use crate::proto::info::{Info, TOOLCHAIN};
use crate::proto::msg_trace::is_mentioned;
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

/// Messages that came from clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brought {
    /// From those who got some since they last sent any, as who answers, or has waited for an answer.
    pub answering: u64,
    /// From others.
    pub unasked: u64,
}

/// What handling a run of a client's operations needs to know of the client.
pub(super) struct Publisher {
    pub(super) slot: u32,
    pub(super) origin: Origin,
    pub(super) flags: Flags,
    pub(super) account: Arc<Account>,
    /// The account as it is configured, if it maps subjects.
    pub(super) maps: Option<Arc<Tenant>>,
    /// Whether messages that are part of a trace over many programs are traced here.
    follows_traces: bool,
    /// Whether the client may not do everything.
    guarded: bool,
    /// Subscriptions that the client may have; 0 is unlimited.
    subs_max: usize,
    pub(super) limits: Limits,
    received: Traffic,
    pub(super) crosses: bool,
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
        let tenant = broker.facts.accounts.tenant(client.account.number);
        let limits = tenant.map(|tenant| tenant.limits).unwrap_or_default();
        let skip = if client.flags.echo { NOBODY } else { slot };
        Publisher {
            slot,
            origin: Origin { slot, skip },
            flags: client.flags,
            account: client.account.clone(),
            maps: tenant.filter(|tenant| !tenant.mappings.is_empty()).cloned(),
            follows_traces: tenant.is_some_and(|tenant| tenant.trace.is_some()),
            guarded: client.guard.is_some(),
            subs_max: match (options.max_subscriptions, limits.max_subscriptions) {
                (server, None) => server,
                (0, Some(account)) => account,
                (server, Some(account)) => server.min(account),
            },
            limits: Limits {
                control_line_max: options.max_control_line,
                payload_max: limits
                    .max_payload
                    .map_or(options.max_payload, |max| max.min(options.max_payload)),
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
        let Some(canonical) = first.canonical.filter(|_| plain && self.flags.is_quiet()) else {
            return (run, used);
        };
        let head = canonical.head();
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
            let before = std::mem::replace(&mut client.sent_before, client.sent.msgs);
            match before == client.sent.msgs {
                true => broker.brought.unasked += self.received.msgs,
                false => broker.brought.answering += self.received.msgs,
            }
            client.keepalive.handle_traffic(now);
        }
    }
}

impl Broker {
    /// Routes a message, and those that follow it in `rest` if they are on the same subject and
    /// many are to get them. Gives the bytes of `rest` that were used.
    #[inline(always)]
    pub(super) fn publish<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        rest: &[u8],
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        from.received.count(publish.size());
        if let Some(len) = publish.header_len
            && is_mentioned(&publish.payload[..len], from.follows_traces)
            && self.publish_traced(from, publish, source, turn)
        {
            return 0;
        }
        self.publish_untraced(from, publish, rest, source, turn)
    }

    /// Routes a message of which nothing is told.
    #[inline(always)]
    pub(super) fn publish_untraced<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        rest: &[u8],
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        if from.maps.is_some() {
            return self.publish_mapped(from, publish, rest, source, turn);
        }
        self.publish_on(from, publish, rest, source, turn)
    }

    /// Routes a message, after its subject was mapped.
    #[inline]
    fn publish_on<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        rest: &[u8],
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let Some(publishing) = self.admit(from, publish, turn.now) else {
            return 0;
        };
        let account = &from.account;
        let accounts = &self.facts.accounts;
        let route = self.routes.route(accounts, account, publish.subject);
        if route.beyond().is_some() {
            self.publish_beyond(from, publish, source, turn);
            return 0;
        }
        if !route.is_empty() {
            let fan_out = route.fan_out();
            // An answer counts against what the client may answer, so each is looked at.
            let runs = publishing == Publishing::Allowed && !self.delivery.trace;
            if fan_out >= RUN_FAN_OUT && route.groups() == 0 && runs {
                let (run, used) = from.run(publish, rest);
                if used > 0 {
                    let outcome = self.delivery.deliver_run(route, &run, &from.origin, turn);
                    from.crosses |= outcome.elsewhere > 0;
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
            let mut outcome = Outcome::default();
            self.delivery
                .deliver(route, &message, &from.origin, &mut outcome, turn);
            from.crosses |= outcome.elsewhere > 0;
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

    /// Routes a message to the subject that its account maps its own subject to.
    #[cold]
    fn publish_mapped<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        rest: &[u8],
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let mut mapped = std::mem::take(&mut self.mapped);
        let choice = from.maps.as_ref().and_then(|tenant| {
            let mappings = &tenant.mappings;
            mappings.select(publish.subject, &mut self.rng, &mut mapped)
        });
        let used = match choice {
            None => self.publish_on(from, publish, rest, source, turn),
            Some(choice) => {
                if choice == Mapped::Lost {
                    mapped.clear();
                }
                let (canonical, subject) = (None, &mapped[..]);
                let publish = Publish {
                    subject,
                    canonical,
                    ..*publish
                };
                if self.delivery.trace {
                    self.trace_mapping(from.slot, publish.args, subject);
                }
                // What follows may be mapped to other subjects, so it is no run.
                self.publish_on(from, &publish, b"", source, turn)
            }
        };
        self.mapped = mapped;
        used
    }

    /// Whether a client may publish this; it is told what it is to be told.
    #[inline]
    fn admit(&mut self, from: &Publisher, publish: &Publish<'_>, now: Mono) -> Option<Publishing> {
        match self.admission(from, publish, now) {
            Ok(publishing) => Some(publishing),
            Err(refusal) => {
                self.deny(from.slot, refusal);
                None
            }
        }
    }

    /// The same, but that it is not told of a refusal.
    #[inline(always)]
    pub(super) fn admission<'p>(
        &mut self,
        from: &Publisher,
        publish: &Publish<'p>,
        now: Mono,
    ) -> Result<Publishing, ClientError<'p>> {
        if self.delivery.trace {
            self.trace_publish(from.slot, publish);
        }
        if from.flags.pedantic && !subject::is_literal(publish.subject) {
            self.delivery
                .error(from.slot, ClientError::InvalidPublishSubject);
        }
        let mut publishing = Publishing::Allowed;
        if from.guarded {
            let hash = from.account.interest.hash(publish.subject);
            publishing = self.publishing(from.slot, hash, publish.subject, now);
        }
        if publishing == Publishing::Denied || reserved::publish_denied(publish.subject) {
            return Err(ClientError::PublishViolation(publish.subject));
        }
        if let Some(reply) = publish.reply.filter(|r| reserved::reply_denied(r)) {
            return Err(ClientError::ReplyViolation(reply));
        }
        if from.flags.verbose {
            self.delivery.send(from.slot, b"+OK\r\n", "OK");
        }
        Ok(publishing)
    }

    /// Tells a client that nobody got its request.
    pub(super) fn no_responders(&mut self, from: &Publisher, subject: &[u8], reply: &[u8]) {
        let account = &from.account;
        let accounts = &self.facts.accounts;
        let route = self.routes.route(accounts, account, reply);
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
        let client = self.delivery.clients.get(slot);
        let guard = client.and_then(|client| client.guard.as_deref());
        let allowed = guard.is_none_or(|guard| guard.may_subscribe(subject, queue));
        if !allowed || queue == Some(reserved::SYSTEM_QUEUE) {
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
        if from.subs_max > 0 && count >= from.subs_max {
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
        self.write_info(slot, answers_connect, self.lame_duck);
    }

    /// Tells a client, if it understands that, that it is to go elsewhere.
    pub(super) fn send_lame_duck(&mut self, slot: u32) -> bool {
        let client = self.delivery.clients.get(slot);
        let understands = client.is_some_and(Client::expects_info);
        if understands {
            self.write_info(slot, false, true);
        }
        understands
    }

    fn write_info(&mut self, slot: u32, answers_connect: bool, lame_duck: bool) {
        let Some(client) = self.delivery.clients.get(slot) else {
            return;
        };
        let facts = &self.facts;
        let directory = &facts.directory;
        let nonce = facts.nonce(client.id);
        let tenant = facts.accounts.tenant(client.account.number);
        let own_max = tenant.and_then(|tenant| tenant.limits.max_payload);
        let tls = facts.options.tls.as_ref();
        // Who made a handshake before anything else is told that it was needed.
        let greeted_late = client.secured.is_some() && client.connect.is_none();
        let info = Info {
            server_id: &facts.id,
            server_name: &facts.name,
            version: crate::options::VERSION,
            proto: 1,
            git_commit: crate::options::COMMIT,
            go: TOOLCHAIN,
            host: &facts.host,
            port: facts.port,
            headers: !facts.options.no_header_support,
            auth_required: directory.is_required() && !directory.has_no_auth_user(),
            tls_required: tls.is_some() && (!facts.options.allow_non_tls || greeted_late),
            tls_verify: tls.is_some_and(|tls| tls.verify || tls.verify_and_map),
            tls_available: tls.is_some() && facts.options.allow_non_tls,
            max_payload: own_max.map_or(facts.options.max_payload, |own| {
                own.min(facts.options.max_payload)
            }),
            jetstream: facts.options.jetstream.enabled,
            client_id: client.id.0,
            client_ip: client.addr.ip().to_canonical(),
            nonce: directory
                .challenges()
                .then(|| str::from_utf8(&nonce).unwrap_or_default()),
            cluster: Some(&*self.view.name).filter(|name| !name.is_empty()),
            domain: facts.options.jetstream.domain.as_deref(),
            connect_urls: &self.view.urls,
            ldm: lame_duck,
            connect_info: answers_connect,
            remote_account: answers_connect.then_some(&client.account.name),
            acc_is_sys: answers_connect && tenant.is_some_and(|tenant| tenant.is_system),
        };
        self.scratch.clear();
        info.write(&mut self.scratch);
        self.delivery.send(slot, &self.scratch, "");
    }

    #[cold]
    pub(super) fn trace_mapping(&self, slot: u32, args: &[u8], to: &[u8]) {
        let from = args.split(|b| matches!(b, b' ' | b'\t'));
        let from = from.into_iter().find(|arg| !arg.is_empty());
        let from = String::from_utf8_lossy(from.unwrap_or_default());
        let to = String::from_utf8_lossy(to);
        let label = self.delivery.label(slot);
        trace!("{label} - <<- [MAPPING {from} -> {to}]");
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
pub(super) fn shares<S: Source>(publish: &Publish<'_>, fan_out: usize, source: &S) -> bool {
    if fan_out > 1 {
        publish.size() >= SHARE_MANY
    } else {
        publish.size() >= SHARE_ONE && source.pins()
    }
}
