//! Messages that go from one account to another: on imported streams, as requests to imported
//! services, and as the answers to these.
//!
//! A request gets a reply subject of its own, which the exporting account's
//! [`Replies`](crate::accounts::replies::Replies) know; what is published there goes back to the
//! account that asked, whose own reply subject may be such a one again. All of this happens while
//! the message is being published; only what other loops' clients get crosses over to them, as with
//! any message.

use super::commands::Publisher;
use super::delivery::Origin;
use super::message::Message;
use super::tracing::{Tap, Tracer};
use super::{Broker, Source, Turn, Wire};
use crate::accounts::exchange::ServiceExport;
use crate::accounts::mappings::Mapped;
use crate::accounts::replies::{Answer, Connection, Measured, Name, Pending};
use crate::accounts::sampling::sample;
use crate::accounts::{Account, Tenant};
use crate::base::clock::Mono;
use crate::base::limits::{
    EXCHANGE_CALLS, EXCHANGE_HOPS, REPLIES_CHECK, REPLIES_PAUSE, SHARE_MANY,
};
use crate::proto::client::Publish;
use crate::proto::client_info::{ClientInfo, REQUEST_INFO};
use crate::proto::headers;
use crate::proto::latency::{Outcome, ServiceLatency};
use crate::proto::msg_trace::{self, Step};
use crate::routing::beyond::Call;
use crate::subject::Matches;
use bytes::Bytes;
use log::debug;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Subjects by which consumers acknowledge; they mean something to whoever gets them.
const ACK: &[u8] = b"$JS.ACK.";

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a broker knows of answers that are expected, and of the time.
pub(super) struct Waiting {
    /// Accounts that clients of this loop's clients' requests went to.
    accounts: Vec<u32>,
    /// When to look at their answers.
    next: Option<Mono>,
    /// The wall clock time at the start of monotonic time.
    epoch: SystemTime,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting {
            accounts: Vec::new(),
            next: None,
            epoch: SystemTime::UNIX_EPOCH,
        }
    }
}

/// A published message on its way through accounts.
pub(super) struct Journey {
    origin: Origin,
    /// The client that published it; none if the server did.
    client: Option<u32>,
    /// What is told of it, if it is traced.
    pub(super) tracer: Option<Arc<Tracer>>,
    /// The services that it went by, in either direction, and whether their imports share who
    /// asked.
    passed: Vec<(Arc<ServiceExport>, bool)>,
    /// What the last service was told of who asked.
    info: Option<ClientInfo>,
    /// How many more times it may enter an account.
    left: usize,
    pub(super) crosses: bool,
    /// The subject that subscribers are shown, if it is another than the message goes to.
    pub(super) shown: Option<Box<[u8]>>,
}

impl Journey {
    pub(super) fn new(origin: Origin, client: Option<u32>) -> Journey {
        Journey {
            origin,
            client,
            tracer: None,
            passed: Vec::new(),
            info: None,
            left: EXCHANGE_CALLS,
            crosses: false,
            shown: None,
        }
    }

    /// Whether it went by this service already, or by too many.
    fn refuses(&self, export: &ServiceExport) -> bool {
        self.passed.len() >= EXCHANGE_HOPS || self.passed.iter().any(|(old, _)| old.is(export))
    }

    /// Notes, if it is traced, that it goes to another account, from a subject to another; it is not
    /// traced there if that is not `allowed`. Gives the tracer to go on with afterwards. None: it is
    /// there only to be traced, so it goes no further.
    fn cross(
        &mut self,
        to: &Account,
        (from, subject): (&[u8], &[u8]),
        allowed: bool,
        now: Mono,
    ) -> Option<Option<Arc<Tracer>>> {
        let Some(tracer) = self.tracer.clone() else {
            return Some(None);
        };
        tracer.add(Step::ServiceImport {
            ts: tracer.stamp(now),
            account: to.name.to_string(),
            from: msg_trace::text(from),
            to: msg_trace::text(subject),
        });
        if !allowed {
            if tracer.only {
                return None;
            }
            self.tracer = None;
        }
        Some(Some(tracer))
    }
}

impl Broker {
    /// Delivers a message whose route leads to other accounts.
    #[cold]
    pub(super) fn publish_beyond<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) {
        let shared = (publish.size() >= SHARE_MANY).then(|| source.share(publish.payload));
        let account = from.account.clone();
        let mut journey = Journey::new(from.origin, Some(from.slot));
        let delivered = self.forward(&account, publish, shared.as_ref(), &mut journey, turn);
        from.crosses |= journey.crosses;
        if delivered == 0
            && from.flags.no_responders
            && let Some(reply) = publish.reply
        {
            self.no_responders(from, publish.subject, reply);
        }
    }

    /// Delivers a message in an account, and to the accounts that get it from there. Gives the
    /// number of deliveries.
    pub(super) fn forward<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'_>,
        shared: Option<&Bytes>,
        journey: &mut Journey,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let Some(left) = journey.left.checked_sub(1) else {
            return 0;
        };
        journey.left = left;
        let accounts = &self.facts.accounts;
        let route = self.routes.route(accounts, account, publish.subject);
        let route = route.clone();
        let mut delivered = 0;
        let mut deliver = |broker: &mut Broker, route, publish: &Publish<'_>, share| {
            let mut publish = *publish;
            if let Some(shown) = &journey.shown {
                (publish.subject, publish.canonical) = (shown, None);
            }
            let message = Message::new(&publish, shared, &mut broker.scratch);
            let (delivery, origin) = (&mut broker.delivery, &journey.origin);
            let outcome = match &journey.tracer {
                None => delivery.deliver(route, &message, origin, turn),
                Some(tracer) => {
                    let tap = Tap::new(tracer, share);
                    delivery.deliver_traced(route, &message, origin, &tap, turn)
                }
            };
            journey.crosses |= outcome.elsewhere > 0;
            delivered += outcome.delivered;
        };
        if !route.is_empty() {
            deliver(self, &route, publish, None);
        }
        let Some(beyond) = route.beyond() else {
            return delivered;
        };
        // What came by a service goes to no stream, as in the reference.
        if journey.passed.is_empty() {
            for branch in beyond.branches.iter().filter(|b| !b.route.is_empty()) {
                let there = renamed(publish, &branch.subject, publish.reply);
                deliver(self, &branch.route, &there, Some(&branch.share));
            }
        }
        for call in &beyond.calls {
            delivered += self.call(account, call, publish, journey, turn);
        }
        if beyond.answers {
            delivered += self.answer(account, publish, shared, journey, turn);
        }
        delivered
    }

    /// Makes a request to the service of another account. Gives the number of deliveries.
    fn call<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        call: &Call,
        publish: &Publish<'_>,
        journey: &mut Journey,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let (import, export) = (&call.import, &call.import.export);
        if journey.refuses(export) {
            return 0;
        }
        let block = &publish.payload[..publish.header_len.unwrap_or(0)];
        let only = journey.tracer.as_ref().is_some_and(|t| t.only);
        let latency = export.latency.as_ref();
        let latency = latency.filter(|_| journey.client.is_some() && !only);
        let header = latency.and_then(|latency| sample(latency.sampling, block, &mut self.rng));
        let measured = header.map(|header| {
            Box::new(Measured {
                requestor: self.client_info(journey.client, import.share),
                connection: self.connection(journey.client),
                header,
            })
        });
        let exporter = &import.exporter;
        let mut expected = None;
        let reply = match publish.reply {
            _ if only => None,
            Some(reply) if !reply.starts_with(ACK) => {
                if latency.is_some() {
                    self.measure_round_trip(journey.client, turn.now);
                }
                let suffix = measured
                    .as_ref()
                    .map_or(String::new(), |_| self.tracking_suffix());
                let pending = Pending {
                    requestor: account.number,
                    reply: reply.into(),
                    export: export.clone(),
                    asked: turn.now,
                    measured,
                };
                let Some(name) = self.expect(exporter, pending) else {
                    return 0;
                };
                expected = Some(name);
                Some(name.subject(&suffix))
            }
            other => {
                if let Some(measured) = measured.filter(|_| other.is_none()) {
                    self.tell(export, Outcome::BadRequest, *measured, None, turn.now, turn);
                }
                other.map(<[u8]>::to_vec)
            }
        };
        let mapped = self.mapped_for_call(exporter, &call.subject);
        let subject = mapped.as_deref().unwrap_or(&call.subject);
        let names = (publish.subject, subject);
        let Some(tracer) = journey.cross(exporter, names, export.allow_trace, turn.now) else {
            return 0;
        };
        let came_before = journey.info.take();
        let info = self.request_info(account, import.share, came_before.clone(), journey);
        let (mut payload, mut header_len) = with_info(publish, &info);
        if tracer.is_some() {
            (payload, header_len) = without_trace(&payload, header_len);
        }
        let payload = Bytes::from(payload);
        let shared = (payload.len() - 2 >= SHARE_MANY).then_some(&payload);
        let there = Publish {
            args: b"",
            subject,
            reply: reply.as_deref(),
            header_len: Some(header_len),
            payload: &payload,
            canonical: None,
        };
        journey.info = Some(info);
        journey.passed.push((export.clone(), import.share));
        let delivered = self.forward(exporter, &there, shared, journey, turn);
        journey.passed.pop();
        journey.info = came_before;
        journey.tracer = tracer;
        if delivered == 0
            && let Some(pending) = expected.and_then(|name| exporter.replies.forget(name))
        {
            self.tell_lost(pending, Outcome::Unavailable, turn);
        }
        delivered
    }

    /// The subject that the exporting account maps a request's subject to, if it does.
    fn mapped_for_call(&mut self, exporter: &Account, subject: &[u8]) -> Option<Vec<u8>> {
        let tenant = self.facts.accounts.tenant(exporter.number)?;
        let mut mapped = Vec::new();
        match tenant
            .mappings
            .select(subject, &mut self.rng, &mut mapped)?
        {
            Mapped::To => Some(mapped),
            Mapped::Lost => Some(Vec::new()),
        }
    }

    /// Takes an answer to the account that asked. Gives the number of deliveries.
    pub(super) fn answer<W: Wire>(
        &mut self,
        account: &Arc<Account>,
        publish: &Publish<'_>,
        shared: Option<&Bytes>,
        journey: &mut Journey,
        turn: &mut Turn<'_, W>,
    ) -> usize {
        let is_last = publish.size() == 0;
        let refuses = |export: &ServiceExport| journey.refuses(export);
        let replies = &account.replies;
        if journey.tracer.as_ref().is_some_and(|t| t.only) {
            let expected = replies.expected(publish.subject, turn.now, refuses);
            let facts = &self.facts;
            if let Some((requestor, reply)) = expected
                && let Some(asker) = facts.accounts.tenant(requestor)
            {
                let names = (publish.subject, &reply[..]);
                let _ = journey.cross(&asker.account, names, false, turn.now);
            }
            return 0;
        }
        let Some((name, answer)) = replies.answer(publish.subject, is_last, turn.now, refuses)
        else {
            return 0;
        };
        let Answer {
            requestor,
            reply,
            export,
            asked,
            measured,
        } = answer;
        if let Some(mut measured) = measured {
            self.renew_round_trip(&mut measured);
            let responder = self.client_info(journey.client, true);
            self.tell(
                &export,
                Outcome::Answered,
                *measured,
                responder,
                asked,
                turn,
            );
        }
        let facts = self.facts.clone();
        let Some(asker) = facts.accounts.tenant(requestor).map(|t| &t.account) else {
            replies.forget(name);
            return 0;
        };
        let back = publish.reply.and_then(|back| {
            let pending = Pending {
                requestor: account.number,
                reply: back.into(),
                export: export.clone(),
                asked: turn.now,
                measured: None,
            };
            self.expect(asker, pending)
        });
        let back_subject = back.map(|name| name.subject(""));
        let names = (publish.subject, &reply[..]);
        let tracer = journey.cross(asker, names, false, turn.now).flatten();
        let untraced = tracer.as_ref().map(|_| {
            let (payload, header_len) =
                without_trace(publish.payload, publish.header_len.unwrap_or(0));
            (Bytes::from(payload), header_len)
        });
        let (mut there, mut shared) = (renamed(publish, &reply, back_subject.as_deref()), shared);
        if let Some((payload, header_len)) = &untraced {
            (there.payload, there.header_len) = (payload, Some(*header_len));
            shared = (payload.len() - 2 >= SHARE_MANY).then_some(payload);
        }
        journey.passed.push((export, false));
        let came_before = journey.info.take();
        let delivered = self.forward(asker, &there, shared, journey, turn);
        journey.info = came_before;
        journey.tracer = tracer;
        journey.passed.pop();
        if delivered == 0 {
            replies.forget(name);
            if let Some(back) = back {
                asker.replies.forget(back);
            }
        }
        delivered
    }

    /// Expects an answer from an account. None if the one that asks has too many to come.
    fn expect(&mut self, account: &Account, pending: Pending) -> Option<Name> {
        let due = pending.asked + pending.export.threshold.min(REPLIES_CHECK);
        let requestor = pending.requestor;
        let name = account.replies.expect(pending);
        if name.is_none() {
            let to = &account.name;
            debug!("Account {requestor} waits for too many answers of account {to}");
            return None;
        }
        if !self.waiting.accounts.contains(&account.number) {
            self.waiting.accounts.push(account.number);
        }
        self.waiting.next = Some(self.waiting.next.map_or(due, |next| next.min(due)));
        name
    }

    /// When [`Broker::expire`] wants to be called.
    pub fn expires_at(&self) -> Option<Mono> {
        self.waiting.next
    }

    /// Gives up answers that did not come in time, and those that nobody waits for any more.
    pub fn expire<W: Wire>(&mut self, turn: &mut Turn<'_, W>) {
        if self.waiting.next.is_none_or(|next| next > turn.now) {
            return;
        }
        let facts = self.facts.clone();
        let mut next: Option<Mono> = None;
        let mut accounts = std::mem::take(&mut self.waiting.accounts);
        accounts.retain(|number| {
            let Some(account) = facts.accounts.tenant(*number).map(|t| &t.account) else {
                return false;
            };
            let due = account.replies.take_due(turn.now);
            for pending in due.expired {
                self.tell_lost(pending, Outcome::ServiceTimeout, turn);
            }
            for (name, requestor, reply) in due.doubtful {
                let asker = facts.accounts.tenant(requestor);
                if !asker.is_some_and(|asker| is_awaited(asker, &reply))
                    && let Some(pending) = account.replies.forget(name)
                {
                    self.tell_lost(pending, Outcome::RequestTimeout, turn);
                }
            }
            let due = account.replies.next_due();
            next = [next, due].into_iter().flatten().min();
            due.is_some()
        });
        // Nothing is expected of what the server itself tells, so that nobody else was added.
        self.waiting.accounts.extend(accounts);
        let soonest = turn.now + REPLIES_PAUSE;
        self.waiting.next = next.map(|next| next.max(soonest));
    }

    /// Notes the wall clock time, which is told in events.
    pub fn set_wall_clock(&mut self, now: Mono, wall: SystemTime) {
        let since = now.since(Mono::ZERO);
        self.waiting.epoch = wall.checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
    }

    /// The wall clock time at a moment.
    pub(super) fn wall(&self, at: Mono) -> SystemTime {
        self.waiting.epoch + at.since(Mono::ZERO)
    }

    /// What others are told of a client; without `detailed`, only its account and round trip. None
    /// for the server itself.
    pub(super) fn client_info(&self, slot: Option<u32>, detailed: bool) -> Option<ClientInfo> {
        let client = self.delivery.clients.get(slot?)?;
        let little = ClientInfo {
            account: client.account.name.to_string(),
            rtt: client.keepalive.rtt().unwrap_or_default(),
            ..ClientInfo::default()
        };
        if !detailed {
            return Some(little);
        }
        let connect = client.connect.as_deref().cloned().unwrap_or_default();
        Some(ClientInfo {
            start: Some(self.wall(client.opened)),
            host: client.addr.ip().to_canonical().to_string(),
            id: client.id.0,
            user: client.who(),
            name: connect.name,
            lang: connect.lang,
            version: connect.version,
            server: self.facts.name.clone(),
            kind: "Client",
            client_type: "nats",
            ..little
        })
    }

    /// What a service is told of who asks. `before`: what the service before it was told, if the
    /// request came by one.
    fn request_info(
        &self,
        account: &Account,
        share: bool,
        before: Option<ClientInfo>,
        journey: &Journey,
    ) -> ClientInfo {
        let shared = journey.passed.last().map_or(share, |(_, shared)| *shared);
        if let Some(mut info) = before {
            info.service = account.name.to_string();
            if share && !shared {
                info.server.clone_from(&self.facts.name);
            }
            return info;
        }
        let info = self.client_info(journey.client, shared);
        info.unwrap_or_else(|| ClientInfo {
            account: account.name.to_string(),
            ..ClientInfo::default()
        })
    }

    fn connection(&self, slot: Option<u32>) -> Option<Connection> {
        let client = self.delivery.clients.get(slot?)?;
        Some(Connection {
            owner: self.delivery.me.0,
            slot: slot?,
            id: client.id.0,
        })
    }

    /// Pings a client whose round trip is not known, as it is to be told.
    fn measure_round_trip(&mut self, slot: Option<u32>, now: Mono) {
        let Some(slot) = slot else { return };
        let client = self.delivery.clients.get_mut(slot);
        if client.is_some_and(|c| c.first_pong && c.keepalive.measure(now)) {
            self.delivery.send(slot, b"PING\r\n", "PING");
        }
    }

    /// The round trip may have become known since the request.
    fn renew_round_trip(&self, measured: &mut Measured) {
        let connection = measured
            .connection
            .filter(|c| c.owner == self.delivery.me.0);
        if let Some(connection) = connection
            && let Some(info) = &mut measured.requestor
            && let Some(client) = self.delivery.clients.get(connection.slot)
            && client.id.0 == connection.id
            && let Some(rtt) = client.keepalive.rtt()
        {
            info.rtt = rtt;
        }
    }

    /// Tells of a measured request that was not answered.
    fn tell_lost<W: Wire>(&mut self, pending: Pending, outcome: Outcome, turn: &mut Turn<'_, W>) {
        if let Some(mut measured) = pending.measured {
            self.renew_round_trip(&mut measured);
            let export = &pending.export;
            self.tell(export, outcome, *measured, None, pending.asked, turn);
        }
    }

    /// Publishes how long a request took, or what became of it, in the exporting account.
    fn tell<W: Wire>(
        &mut self,
        export: &ServiceExport,
        outcome: Outcome,
        measured: Measured,
        responder: Option<ClientInfo>,
        asked: Mono,
        turn: &mut Turn<'_, W>,
    ) {
        let tenant = self.facts.accounts.tenant(export.account);
        let Some((latency, account)) = export.latency.as_ref().zip(tenant) else {
            return;
        };
        let account = account.account.clone();
        let rtt = |info: &Option<ClientInfo>| info.as_ref().map_or(Duration::ZERO, |i| i.rtt);
        let (asking, answering) = (rtt(&measured.requestor), rtt(&responder));
        let (mut service, mut total) = (Duration::ZERO, Duration::ZERO);
        if outcome == Outcome::Answered {
            let took = turn.now.since(asked);
            service = took.saturating_sub(answering);
            total = asking + took;
        }
        let start = self.wall(asked);
        let told = ServiceLatency {
            id: self.event_id(),
            time: self.wall(turn.now),
            outcome,
            requestor: measured.requestor,
            responder,
            header: measured.header,
            start: start.checked_sub(asking).unwrap_or(start),
            service,
            system: Duration::ZERO,
            total,
        };
        self.announce(&account, latency.subject.as_bytes(), told.json(), turn);
    }

    /// What names an event: 22 characters.
    pub fn event_id(&mut self) -> String {
        let mut digit = || char::from(DIGITS[self.rng.below(DIGITS.len())]);
        (0..22).map(|_| digit()).collect()
    }

    /// What follows the name of an answer by which a latency is measured.
    fn tracking_suffix(&self) -> String {
        let hash = Sha256::digest(self.facts.name.as_bytes());
        let digits = hash.iter().take(8);
        let digits: String = digits
            .map(|byte| char::from(DIGITS[usize::from(byte % 62)]))
            .collect();
        format!(".{digits}.T")
    }
}

/// Whether somebody would get an answer.
fn is_awaited(asker: &Tenant, reply: &[u8]) -> bool {
    let mut matches = Matches::default();
    asker.account.interest.matches(reply, &mut matches);
    !matches.is_empty()
        || asker.account.replies.expects(reply)
        || asker.exchange.services(reply).next().is_some()
}

/// A message as it is in another account.
pub(super) fn renamed<'a>(
    publish: &Publish<'a>,
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
) -> Publish<'a> {
    Publish {
        args: b"",
        subject,
        reply,
        canonical: None,
        ..*publish
    }
}

/// Headers and body with a header that says that the message is not traced any more, and the bytes
/// of the headers: who gets it is not to learn where another account traces its messages, or to have
/// its own told there.
pub(super) fn without_trace(payload: &[u8], header_len: usize) -> (Vec<u8>, usize) {
    let (block, body) = payload.split_at(header_len);
    let mut out = Vec::with_capacity(payload.len() + 64);
    headers::replace(
        &mut out,
        block,
        msg_trace::DEST,
        msg_trace::DISABLED.as_bytes(),
    );
    let header_len = out.len();
    out.extend_from_slice(body);
    (out, header_len)
}

/// The headers and the body of a request, with who asks among the headers, and the bytes of these.
fn with_info(publish: &Publish<'_>, info: &ClientInfo) -> (Vec<u8>, usize) {
    let (block, body) = publish.payload.split_at(publish.header_len.unwrap_or(0));
    let json = serde_json::to_vec(info).expect("it has text keys and no value that fails");
    let mut payload = Vec::with_capacity(publish.payload.len() + json.len() + 64);
    headers::replace(&mut payload, block, REQUEST_INFO, &json);
    let header_len = payload.len();
    payload.extend_from_slice(body);
    (payload, header_len)
}
