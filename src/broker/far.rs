//! From a route to the batch for other servers, and from other servers to this one's loops.

use super::batch::{Batch, Member};
use super::delivery::{Delivery, NOBODY, Origin, Outcome};
use super::message::Message;
use super::{Turn, Wire};
use crate::accounts::interest::LoopId;
use crate::base::limits::BATCH_BYTES;
use crate::routing::route::Route;
use std::sync::Arc;

impl Delivery {
    /// Passes a message on to other servers.
    #[cold]
    pub(super) fn deliver_far<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        message: &Message<'_>,
        from: &Origin,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) {
        self.push_far(turn, |batch| batch.push(message, route, from.slot));
        outcome.delivered += 1;
        outcome.elsewhere += 1;
    }

    /// Adds to what goes to other servers.
    pub(super) fn push_far<W: Wire>(
        &mut self,
        turn: &mut Turn<'_, W>,
        push: impl FnOnce(&mut Batch),
    ) {
        push(&mut self.far);
        if self.far.weight() > BATCH_BYTES {
            turn.wire.pass(LoopId::CLUSTER, &mut self.far);
        }
    }

    /// Passes a message that no member of a queue group on this server gets on to a server with
    /// others, if there is one. Says whether it is on its way.
    pub(super) fn fail_over<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        pick: Member,
        message: &Message<'_>,
        from: &Origin,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) -> bool {
        let others = route.far().and_then(|far| far.also(pick.group));
        if others.is_none() {
            return false;
        }
        let pick = Member { member: 0, ..pick };
        self.push_far(turn, |batch| {
            batch.push_member(message, route, pick, from.slot);
        });
        outcome.delivered += 1;
        outcome.elsewhere += 1;
        true
    }

    /// Delivers a message of another server: to plain subscriptions, and to a member of each of the
    /// queue groups with these numbers.
    pub(super) fn deliver_routed<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        groups: impl Iterator<Item = usize>,
        message: &Message<'_>,
        turn: &mut Turn<'_, W>,
    ) -> Outcome {
        let from = Origin {
            slot: NOBODY,
            skip: NOBODY,
        };
        let mut outcome = Outcome::default();
        for span in route.spans() {
            self.outbox(span.owner, turn, |b| b.push(message, route, from.slot));
            outcome.delivered += 1;
        }
        for group in groups {
            let member = Member {
                group,
                member: self.rng.below(route.group(group).len()),
                attempts: 0,
            };
            self.deliver_to_member(route, member, message, &from, turn, &mut outcome);
        }
        outcome
    }
}
