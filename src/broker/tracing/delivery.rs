//! From a route to subscriptions, as in [`super::super::delivery`], for traced messages.

use super::super::batch::{Member, Traced};
use super::super::delivery::{Delivery, NOBODY, Origin, Outcome, receives};
use super::super::message::Message;
use super::super::{Turn, Wire};
use super::Tap;
use crate::accounts::interest::Target;
use crate::base::clock::Mono;
use crate::proto::msg_trace::{Kind, Refusal, Step, text};
use crate::routing::route::{Far, Route};
use std::sync::Arc;

impl Delivery {
    /// Delivers a traced message to all that its route names, or finds out who would get it.
    pub(in super::super) fn deliver_traced<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        message: &Message<'_>,
        from: &Origin,
        tap: &Tap,
        turn: &mut Turn<'_, W>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for span in route.spans() {
            if span.owner == self.me {
                for target in route.plain(*span) {
                    self.trace_to(*target, message, from.skip, tap, turn, &mut outcome);
                }
            } else {
                let traced = traced(route, None, tap);
                self.outbox(span.owner, turn, |b| {
                    b.push_traced(message, traced, from.slot)
                });
                outcome.delivered += 1;
                outcome.elsewhere += 1;
            }
        }
        for group in 0..route.groups() {
            let member = Member {
                group,
                member: self.rng.below(route.group(group).len()),
                attempts: 0,
            };
            self.trace_to_member((route, member), message, from, tap, turn, &mut outcome);
        }
        // They tell what becomes of it there.
        if route.far().is_some_and(Far::is_certain) {
            let traced = traced(route, None, tap);
            self.push_far(turn, |b| b.push_traced(message, traced, from.slot));
            outcome.delivered += 1;
            outcome.elsewhere += 1;
        }
        self.hold_if_all_are_behind(from, &outcome);
        outcome
    }

    /// Delivers a traced message that a client of another loop published.
    #[cold]
    pub(in super::super) fn deliver_traced_record<W: Wire>(
        &mut self,
        traced: &Traced,
        message: &Message<'_>,
        producer: u32,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) {
        let (route, tap) = (&traced.route, &traced.tap);
        match traced.member {
            None => {
                for target in route.plain_of(self.me) {
                    self.trace_to(*target, message, NOBODY, tap, turn, outcome);
                }
            }
            Some(member) => {
                let origin = Origin {
                    slot: producer,
                    skip: NOBODY,
                };
                self.trace_to_member((route, member), message, &origin, tap, turn, outcome);
            }
        }
    }

    /// To a member of a queue group, as `deliver_to_member` does.
    pub(super) fn trace_to_member<W: Wire>(
        &mut self,
        (route, pick): (&Arc<Route>, Member),
        message: &Message<'_>,
        from: &Origin,
        tap: &Tap,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) {
        let members = route.group(pick.group);
        let (before, after) = members.split_at(pick.member);
        let mut next = None;
        if let Some(first) = after.first().filter(|first| first.owner != self.me) {
            next = Some((first.owner, pick));
        } else {
            let me = self.me;
            for target in after.iter().chain(before).filter(|m| m.owner == me) {
                if self.trace_to(*target, message, from.skip, tap, turn, outcome) {
                    return;
                }
            }
        }
        let Some((owner, pick)) = next.or_else(|| self.next_loop(members, pick)) else {
            if route
                .far()
                .is_some_and(|far| far.also(pick.group).is_some())
            {
                let pick = Member { member: 0, ..pick };
                let traced = traced(route, Some(pick), tap);
                self.push_far(turn, |b| b.push_traced(message, traced, from.slot));
                outcome.delivered += 1;
                outcome.elsewhere += 1;
            }
            return;
        };
        let traced = traced(route, Some(pick), tap);
        self.outbox(owner, turn, |b| b.push_traced(message, traced, from.slot));
        outcome.delivered += 1;
        outcome.elsewhere += 1;
    }

    /// Delivers to one subscription, or finds out whether it would get the message, and notes what
    /// comes of it. Says whether it gets it.
    fn trace_to<W: Wire>(
        &mut self,
        target: Target,
        message: &Message<'_>,
        skip: u32,
        tap: &Tap,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) -> bool {
        // The delivery may be the last one of the subscription, so this comes before it.
        let Some(step) = self.outline(target, tap, turn.now) else {
            return false;
        };
        let tracer = &tap.tracer;
        if let Some(share) = &tap.share {
            tracer.add(Step::StreamExport {
                ts: tracer.stamp(turn.now),
                account: share.importer.name.to_string(),
                to: text(message.subject()),
            });
        }
        let is_told = tap.share.as_ref().is_none_or(|share| share.allow_trace);
        let refusal = if tracer.only {
            let refusal = self.refusal(target, message, skip, turn.now);
            outcome.delivered += usize::from(refusal.is_none() || !is_told);
            refusal
        } else {
            let done = self.hand_over(target, message, skip, turn, outcome);
            let why = (!done).then(|| self.refusal(target, message, skip, turn.now));
            why.map(|why| why.unwrap_or(Refusal::SubscriptionClosed))
        };
        if is_told {
            tracer.add(step.with(refusal));
        }
        refusal.is_none()
    }

    /// What is told of a delivery to a subscription, if that is still there.
    fn outline(&self, target: Target, tap: &Tap, now: Mono) -> Option<Step> {
        let sub = self.subs.get(target.slot)?;
        let sub = Some(sub).filter(|sub| sub.generation == target.generation)?;
        let client = self.clients.get(sub.client)?;
        let account = &client.account;
        let mut subject = Vec::new();
        let queue = account.interest.describe(sub.held, &mut subject);
        let subject = text(&subject);
        // A subscription to an imported stream is one in the account that exports it.
        let there = tap.share.as_ref().and_then(|share| share.there(&subject));
        let name = client.connect.as_ref().map(|connect| connect.name.clone());
        let is_other = account.number != tap.tracer.account.number;
        Some(Step::Egress {
            ts: tap.tracer.stamp(now),
            kind: Kind::Client,
            cid: client.id.0,
            name: name.unwrap_or_default(),
            hop: String::new(),
            account: if is_other {
                account.name.to_string()
            } else {
                String::new()
            },
            subject: there.unwrap_or(subject),
            queue: queue.map_or(String::new(), |queue| text(&queue)),
            error: "",
        })
    }

    /// Why a subscription does not get a message; none if it does.
    fn refusal(
        &mut self,
        target: Target,
        message: &Message<'_>,
        skip: u32,
        now: Mono,
    ) -> Option<Refusal> {
        let sub = self.subs.get(target.slot);
        let Some(sub) = sub.filter(|sub| sub.generation == target.generation) else {
            return Some(Refusal::SubscriptionClosed);
        };
        if sub.client == skip {
            return Some(Refusal::NoEcho);
        }
        let client = self.clients.get_mut(sub.client);
        let Some(client) = client.filter(|client| !client.is_closed()) else {
            return Some(Refusal::ClientClosed);
        };
        if client.out.pending() > self.skip_above {
            return Some(Refusal::Slow);
        }
        // Without a reply, as nobody gets leave to answer what it did not get.
        let asked = Message {
            reply: None,
            ..*message
        };
        let denied = sub.guarded && !receives(client, target.slot, &asked, now);
        denied.then_some(Refusal::Denied)
    }
}

impl Step {
    /// The same delivery, with why it was none.
    fn with(mut self, refusal: Option<Refusal>) -> Step {
        if let (Step::Egress { error, .. }, Some(refusal)) = (&mut self, refusal) {
            *error = refusal.text();
        }
        self
    }
}

pub(super) fn traced(route: &Arc<Route>, member: Option<Member>, tap: &Tap) -> Traced {
    Traced {
        route: route.clone(),
        member,
        tap: tap.clone(),
    }
}
