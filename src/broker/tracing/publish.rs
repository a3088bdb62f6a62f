//! What a client publishes that is to be traced, and what is told of it in the end.

use super::super::batch::Batch;
use super::super::commands::Publisher;
use super::super::exchange::{Journey, without_trace};
use super::super::{Broker, Source, Turn, Wire, reserved};
use super::{Steps, Tracer};
use crate::accounts::Account;
use crate::accounts::mappings::Mapped;
use crate::accounts::sampling::is_drawn;
use crate::base::clock::Mono;
use crate::base::limits::SHARE_MANY;
use crate::proto::client::Publish;
use crate::proto::encoding::{CONTENT_ENCODING, Encoding};
use crate::proto::error::ClientError;
use crate::proto::headers;
use crate::proto::msg_trace::{Asked, DISABLED, Kind, Request, Step, TraceEvent, shown, text};
use crate::routing::cache::RouteCache;
use crate::subject;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// What is to be told of a message, and where.
pub(super) struct Order<'a> {
    pub(super) dest: &'a [u8],
    pub(super) only: bool,
    pub(super) encoding: Option<Encoding>,
    /// How it came here.
    pub(super) hop: &'a [u8],
}

/// Where a message came in.
pub(super) struct Ingress {
    pub(super) kind: Kind,
    pub(super) cid: u64,
    pub(super) name: String,
}

impl Broker {
    /// Publishes a message whose headers may ask for it to be traced. Says whether it is done; if
    /// not, the message is one like any other.
    #[cold]
    pub(in super::super) fn publish_traced<S: Source, W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) -> bool {
        let header_len = publish.header_len.unwrap_or(0);
        let asked = Asked::of(&publish.payload[..header_len]);
        let facts = self.facts.clone();
        let account = from.account.number;
        let tenant = facts.accounts.tenant(account);
        let own = tenant.and_then(|tenant| tenant.trace.as_ref());
        let order = match (asked.dest, own) {
            (Some(dest), _) if dest == DISABLED.as_bytes() || !subject::is_literal(dest) => {
                return false;
            }
            (Some(dest), _) => Order {
                dest,
                only: asked.only,
                encoding: asked.encoding,
                hop: b"",
            },
            (None, Some(own)) if asked.sampled && is_drawn(own.sampling, &mut self.rng) => Order {
                dest: own.subject.as_bytes(),
                only: false,
                encoding: asked.encoding,
                hop: b"",
            },
            (None, Some(_)) if asked.sampled && facts.options.is_clustered() => {
                // Whether it is traced is decided here, also for other servers.
                self.publish_disabled(from, publish, turn);
                return true;
            }
            _ => return false,
        };
        if asked.claims_origin {
            // Only servers say where a message came from; who makes that up gets no trace.
            if !order.only {
                self.publish_disabled(from, publish, turn);
            }
            return true;
        }
        if !self.may_tell(from, order.dest) {
            self.deny(from.slot, ClientError::PublishViolation(order.dest));
            return true;
        }
        let client = self.delivery.clients.get(from.slot);
        let name = client.and_then(|client| Some(client.connect.as_ref()?.name.clone()));
        let ingress = Ingress {
            kind: Kind::Client,
            cid: client.map_or(0, |client| client.id.0),
            name: name.unwrap_or_default(),
        };
        let tracer = self.tracer(&from.account, publish, &order, ingress, turn.now);
        let tracer = Arc::new(tracer);
        self.publish_with(&tracer, from, publish, source, turn);
        self.end_trace(tracer, turn);
        true
    }

    /// Publishes a message with a header that says that it is not traced.
    fn publish_disabled<W: Wire>(
        &mut self,
        from: &mut Publisher,
        publish: &Publish<'_>,
        turn: &mut Turn<'_, W>,
    ) {
        let header_len = publish.header_len.unwrap_or(0);
        let (payload, header_len) = without_trace(publish.payload, header_len);
        let mut payload = Bytes::from(payload);
        let whole = payload.clone();
        let publish = Publish {
            payload: &whole,
            header_len: Some(header_len),
            canonical: None,
            ..*publish
        };
        self.publish_untraced(from, &publish, b"", &mut payload, turn);
    }

    /// Whether a client may publish to the destination of a trace.
    fn may_tell(&mut self, from: &Publisher, dest: &[u8]) -> bool {
        let hash = from.account.interest.hash(dest);
        let client = self.delivery.clients.get_mut(from.slot);
        let guard = client.and_then(|client| client.guard.as_deref_mut());
        guard.is_none_or(|guard| guard.may_publish(hash, dest)) && !reserved::publish_denied(dest)
    }

    /// A tracer that knows that the message came in.
    pub(super) fn tracer(
        &self,
        account: &Arc<Account>,
        publish: &Publish<'_>,
        order: &Order<'_>,
        ingress: Ingress,
        now: Mono,
    ) -> Tracer {
        let tracer = Tracer {
            account: account.clone(),
            dest: order.dest.into(),
            only: order.only,
            encoding: order.encoding,
            header: shown(&publish.payload[..publish.header_len.unwrap_or(0)]),
            size: publish.size(),
            hop: text(order.hop).into(),
            epoch: self.wall(Mono::ZERO),
            steps: Mutex::default(),
        };
        tracer.add(Step::Ingress {
            ts: tracer.stamp(now),
            kind: ingress.kind,
            cid: ingress.cid,
            name: ingress.name,
            account: account.name.to_string(),
            subject: text(publish.subject),
            error: String::new(),
        });
        tracer
    }

    /// Maps a message, checks whether its client may publish it, and routes it.
    fn publish_with<S: Source, W: Wire>(
        &mut self,
        tracer: &Arc<Tracer>,
        from: &mut Publisher,
        publish: &Publish<'_>,
        source: &mut S,
        turn: &mut Turn<'_, W>,
    ) {
        let mut mapped = Vec::new();
        let choice = from.maps.as_ref().and_then(|tenant| {
            let mappings = &tenant.mappings;
            mappings.select(publish.subject, &mut self.rng, &mut mapped)
        });
        if choice == Some(Mapped::Lost) {
            mapped.clear();
        }
        let (mut subject, mut canonical) = (publish.subject, publish.canonical);
        if choice.is_some() {
            (subject, canonical) = (&mapped, None);
            if self.delivery.trace {
                self.trace_mapping(from.slot, publish.args, subject);
            }
            tracer.add(Step::Mapping {
                ts: tracer.stamp(turn.now),
                to: text(subject),
            });
        }
        let publish = Publish {
            subject,
            canonical,
            ..*publish
        };
        if let Err(refusal) = self.admission(from, &publish, turn.now) {
            tracer.refuse(refusal.to_string());
            return self.deny(from.slot, refusal);
        }
        let shared = (publish.size() >= SHARE_MANY).then(|| source.share(publish.payload));
        let account = from.account.clone();
        let mut journey = Journey::new(from.origin, Some(from.slot));
        journey.tracer = Some(tracer.clone());
        let delivered = self.forward(&account, &publish, shared.as_ref(), &mut journey, turn);
        from.crosses |= journey.crosses;
        if delivered == 0
            && from.flags.no_responders
            && let Some(reply) = publish.reply
        {
            self.no_responders(from, publish.subject, reply);
        }
    }

    /// Lets go of a tracer; tells what became of the message if nobody else holds it.
    #[cold]
    pub(in super::super) fn end_trace<W: Wire>(
        &mut self,
        tracer: Arc<Tracer>,
        turn: &mut Turn<'_, W>,
    ) {
        let Some(tracer) = Arc::into_inner(tracer) else {
            return;
        };
        let steps = tracer.steps.into_inner().expect("no holder of it panics");
        let Steps { list, hops, .. } = steps;
        let event = TraceEvent {
            server: self.facts.server_info(self.wall(turn.now)),
            request: Request {
                header: &tracer.header,
                size: tracer.size,
            },
            hops,
            steps: &list,
        };
        let mut body = event.json();
        let (mut payload, mut header_len) = (Vec::new(), None);
        if let Some(encoding) = tracer.encoding {
            body = encoding.encode(body);
            let name = encoding.name().as_bytes();
            headers::replace(&mut payload, b"", CONTENT_ENCODING, name);
            header_len = Some(payload.len());
        }
        payload.extend_from_slice(&body);
        payload.extend_from_slice(b"\r\n");
        let to = (&*tracer.dest, None);
        // Who asked may be anywhere, also if this is the loop of the cluster.
        let everywhere = self
            .routes
            .leads_nowhere_else()
            .then(|| RouteCache::new(false));
        let own = everywhere.map(|routes| std::mem::replace(&mut self.routes, routes));
        self.publish_own(&tracer.account, to, &payload, header_len, turn);
        if let Some(own) = own {
            self.routes = own;
        }
    }

    /// Lets go of the tracers in a batch that was delivered.
    pub fn end_traces<W: Wire>(&mut self, batch: &mut Batch, turn: &mut Turn<'_, W>) {
        for tracer in batch.take_tracers() {
            self.end_trace(tracer, turn);
        }
    }
}
