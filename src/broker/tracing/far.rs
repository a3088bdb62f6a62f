//! Traced messages on their way to other servers, and from them.

use super::super::batch::{Member, Traced};
use super::super::delivery::{Delivery, NOBODY, Origin, Outcome};
use super::super::exchange::{Journey, renamed};
use super::super::message::Message;
use super::super::{Broker, Source, Turn, Wire, reserved};
use super::delivery::traced;
use super::publish::{Ingress, Order};
use super::{Tap, Tracer};
use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::base::limits::SHARE_MANY;
use crate::proto::client::Publish;
use crate::proto::headers;
use crate::proto::msg_trace::{Asked, DISABLED, HOP, Kind, Refusal, Step, text};
use crate::proto::route::Routed;
use crate::routing::route::Route;
use crate::subject;
use log::error;
use std::sync::Arc;

/// A server that a traced message goes to.
pub struct Crossing<'a> {
    /// The number of the connection, and the server's name.
    pub rid: u64,
    pub name: &'a str,
    /// Whether it tells what becomes of the message.
    pub traces: bool,
}

/// The server that a message came from.
pub struct Arrival<'a> {
    /// The number of the connection, and the server's name.
    pub rid: u64,
    pub name: &'a str,
    /// Whether it may have something published on a subject.
    pub may_publish: &'a dyn Fn(&[u8]) -> bool,
}

impl Traced {
    /// Where it goes.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The queue group that it is for, if it is for one.
    pub fn member(&self) -> Option<Member> {
        self.member
    }

    /// Notes that the message goes to another server. Gives it as it is sent there, if it is; `payload`
    /// is for its bytes.
    pub fn cross<'b>(
        &self,
        message: &Message<'b>,
        to: &Crossing<'_>,
        now: Mono,
        payload: &'b mut Vec<u8>,
    ) -> Option<Message<'b>> {
        let tracer = &self.tap.tracer;
        let (block, body) = message.payload.split_at(message.header_len.unwrap_or(0));
        // What a service is asked is not traced where it is not to be.
        let asks = Asked::of(block).dest != Some(DISABLED.as_bytes());
        let refusal = match (to.traces && asks, tracer.only) {
            (true, _) => None,
            (false, true) => Some(Refusal::CannotTrace),
            (false, false) => Some(Refusal::Untold),
        };
        let hop = tracer.next_hop();
        headers::replace(payload, block, HOP, hop.as_bytes());
        tracer.add(Step::Egress {
            ts: tracer.stamp(now),
            kind: Kind::Router,
            cid: to.rid,
            name: to.name.into(),
            hop,
            account: String::new(),
            subject: String::new(),
            queue: String::new(),
            error: refusal.map_or("", Refusal::text),
        });
        if refusal == Some(Refusal::CannotTrace) {
            return None;
        }
        let header_len = Some(payload.len());
        payload.extend_from_slice(body);
        Some(Message {
            line: &message.line[..message.head_len],
            head_len: message.head_len,
            body: b"",
            shared: None,
            reply: message.reply,
            payload,
            header_len,
        })
    }
}

impl Tracer {
    /// Counts a delivery to another server, and names it.
    fn next_hop(&self) -> String {
        let mut steps = self.steps();
        steps.hops += 1;
        match &*self.hop {
            "" => steps.hops.to_string(),
            hop => format!("{hop}.{}", steps.hops),
        }
    }
}

impl Delivery {
    /// Delivers a traced message of another server, as [`Delivery::deliver_routed`] does others.
    fn deliver_routed_traced<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        groups: impl Iterator<Item = usize>,
        message: &Message<'_>,
        tap: &Tap,
        turn: &mut Turn<'_, W>,
    ) {
        let from = Origin {
            slot: NOBODY,
            skip: NOBODY,
        };
        let mut outcome = Outcome::default();
        for span in route.spans() {
            let traced = traced(route, None, tap);
            self.outbox(span.owner, turn, |b| b.push_traced(message, traced, NOBODY));
        }
        for group in groups {
            let member = Member {
                group,
                member: self.rng.below(route.group(group).len()),
                attempts: 0,
            };
            self.trace_to_member((route, member), message, &from, tap, turn, &mut outcome);
        }
    }
}

impl Broker {
    /// Delivers a message of another server whose headers may ask for it to be traced. Says whether it
    /// is done; if not, the message is one like any other.
    #[cold]
    pub fn publish_routed_traced<S: Source, W: Wire>(
        &mut self,
        account: &Arc<Account>,
        routed: &Routed<'_>,
        source: &mut S,
        arrival: &Arrival<'_>,
        turn: &mut Turn<'_, W>,
    ) -> bool {
        let publish = &routed.publish;
        let asked = Asked::of(&publish.payload[..publish.header_len.unwrap_or(0)]);
        let facts = self.facts.clone();
        let tenant = facts.accounts.tenant(account.number);
        let own = tenant.and_then(|tenant| tenant.trace.as_ref());
        let (dest, only) = match (asked.dest, own) {
            (Some(dest), _) if dest == DISABLED.as_bytes() => return false,
            (Some(dest), _) => (dest, asked.only),
            // The server where it was published has decided that.
            (None, Some(own)) if asked.sampled => (own.subject.as_bytes(), false),
            _ => return false,
        };
        if asked.claims_origin || !subject::is_literal(dest) {
            return only;
        }
        if !(arrival.may_publish)(dest) || reserved::publish_denied(dest) {
            let dest = text(dest);
            error!("rid:{} - Publish Violation - Subject {dest:?}", arrival.rid);
            return true;
        }
        let order = Order {
            dest,
            only,
            encoding: asked.encoding,
            hop: asked.hop.unwrap_or_default(),
        };
        let ingress = Ingress {
            kind: Kind::Router,
            cid: arrival.rid,
            name: arrival.name.into(),
        };
        let tracer = self.tracer(account, publish, &order, ingress, turn.now);
        let tracer = Arc::new(tracer);
        let shared = (publish.size() >= SHARE_MANY).then(|| source.share(publish.payload));
        let route = self
            .routes
            .route(&facts.accounts, account, publish.subject)
            .clone();
        let mut deliver = |broker: &mut Broker, route: &Arc<Route>, publish: &Publish<'_>, tap| {
            let message = Message::new(publish, shared.as_ref(), &mut broker.scratch);
            let groups = routed.queues.iter();
            let groups = groups.filter_map(|name| route.group_named(name));
            let delivery = &mut broker.delivery;
            delivery.deliver_routed_traced(route, groups, &message, &tap, turn);
        };
        deliver(self, &route, publish, Tap::new(&tracer, None));
        if let Some(beyond) = route.beyond() {
            for branch in beyond.branches.iter().filter(|b| !b.route.is_empty()) {
                let there = renamed(publish, &branch.subject, publish.reply);
                let tap = Tap::new(&tracer, Some(&branch.share));
                deliver(self, &branch.route, &there, tap);
            }
            if beyond.answers {
                let nobody = Origin {
                    slot: NOBODY,
                    skip: NOBODY,
                };
                let mut journey = Journey::new(nobody, None);
                journey.tracer = Some(tracer.clone());
                self.answer(account, publish, shared.as_ref(), &mut journey, turn);
            }
        }
        self.end_trace(tracer, turn);
        true
    }
}
