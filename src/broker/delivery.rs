//! From a route to the outbound queues of the clients that it names, or to the batches for other
//! loops.

use super::Facts;
use super::batch::{Batch, Destination};
use super::message::Message;
use crate::accounts::Account;
use crate::accounts::interest::{Held, LoopId, Target};
use crate::base::limits::{BATCH_BYTES, FLUSH_EARLY, REAP_BUDGET};
use crate::base::pages::Pages;
use crate::base::rng::Rng;
use crate::conn::client::{Client, Phase, Traffic};
use crate::conn::outbound::ChunkPool;
use crate::conn::sids::{Drain, Sid};
use crate::proto::error::{ClientError, CloseReason};
use crate::routing::route::Route;
use log::{debug, info, log_enabled, trace};
use std::collections::VecDeque;
use std::sync::Arc;

/// A subscription, in the loop of the client that made it.
pub(super) struct Subscription {
    pub(super) sid: Sid,
    pub(super) client: u32,
    pub(super) generation: u32,
    pub(super) delivered: u64,
    /// Deliveries after which it ends; 0: it does not.
    pub(super) max: u32,
    pub(super) held: Held,
}

/// The clients and subscriptions of a loop, and what is to be done for them.
pub(super) struct Delivery {
    pub(super) me: LoopId,
    pub(super) clients: Pages<Client>,
    pub(super) subs: Pages<Subscription>,
    pub(super) pool: ChunkPool,
    pub(super) dirty: Vec<u32>,
    pub(super) urgent: Vec<u32>,
    pub(super) closing: Vec<(u32, CloseReason)>,
    pub(super) held_back: Vec<(LoopId, u32)>,
    pub(super) outboxes: Vec<Batch>,
    /// Clients whose messages went to other loops.
    pub(super) crossing: Vec<u32>,
    /// Whether the protocol is traced.
    pub(super) trace: bool,
    next_generation: u32,
    pending_max: usize,
    /// Pending bytes from which a subscriber counts as behind.
    behind: usize,
    rng: Rng,
    scratch: Vec<u8>,
    /// Closed clients, with the subscriptions they still have.
    graves: VecDeque<(u32, Drain)>,
    /// What closed clients sent and received.
    past: (Traffic, Traffic),
}

/// What became of a message.
#[derive(Default, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) delivered: usize,
    /// How many of those it went to are far behind.
    behind: usize,
    /// Whether it goes to clients of other loops as well.
    pub(super) crosses: bool,
}

impl Delivery {
    pub(super) fn new(facts: &Facts, me: LoopId, loops: usize, seed: u64) -> Delivery {
        Delivery {
            me,
            clients: Pages::new(),
            subs: Pages::new(),
            pool: ChunkPool::default(),
            dirty: Vec::new(),
            urgent: Vec::new(),
            closing: Vec::new(),
            held_back: Vec::new(),
            outboxes: std::iter::repeat_with(Batch::default).take(loops).collect(),
            crossing: Vec::new(),
            trace: facts.options.trace,
            next_generation: 0,
            pending_max: facts.options.max_pending,
            behind: facts.options.max_pending / 4 * 3,
            rng: Rng::new(!seed),
            scratch: Vec::new(),
            graves: VecDeque::new(),
            past: Default::default(),
        }
    }

    /// Delivers a message that client `from` published to all that its route names.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        route: &Arc<Route>,
        message: &Message<'_>,
        from: u32,
        echo: bool,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let skip = if echo { u32::MAX } else { from };
        for span in route.spans() {
            if span.owner == self.me {
                for target in route.plain(*span) {
                    self.hand_over(*target, message, skip, &mut outcome);
                }
            } else {
                self.outbox(span.owner, |batch| batch.push(message, route, from));
                outcome.delivered += 1;
                outcome.crosses = true;
            }
        }
        for group in 0..route.groups() {
            self.deliver_to_group(route.group(group), message, from, skip, &mut outcome);
        }
        if outcome.behind > 0 && outcome.behind == outcome.delivered {
            self.held_back.push((self.me, from));
        }
        outcome
    }

    /// Delivers to a random member; to the next one if that one is not there any more.
    fn deliver_to_group(
        &mut self,
        members: &[Target],
        message: &Message<'_>,
        from: u32,
        skip: u32,
        outcome: &mut Outcome,
    ) {
        let start = self.rng.below(members.len());
        for i in 0..members.len() {
            let at = start + i;
            let target = members[if at < members.len() {
                at
            } else {
                at - members.len()
            }];
            if target.owner != self.me {
                self.outbox(target.owner, |batch| batch.push_pick(message, target, from));
                outcome.delivered += 1;
                outcome.crosses = true;
                return;
            }
            if self.hand_over(target, message, skip, outcome) {
                return;
            }
        }
    }

    /// Delivers what clients of another loop published.
    pub(super) fn deliver_batch(&mut self, from: LoopId, batch: &Batch) {
        batch.for_each(|message, to, producer| {
            let mut outcome = Outcome::default();
            let sole = match to {
                Destination::Plain(route) => {
                    for target in route.plain_of(self.me) {
                        self.hand_over(*target, message, u32::MAX, &mut outcome);
                    }
                    route.spans().len() == 1 && route.groups() == 0
                }
                Destination::Pick(target) => {
                    self.hand_over(target, message, u32::MAX, &mut outcome)
                }
            };
            if sole && outcome.behind > 0 && outcome.behind == outcome.delivered {
                self.held_back.push((from, producer));
            }
        });
    }

    fn outbox(&mut self, to: LoopId, push: impl FnOnce(&mut Batch)) {
        let Some(batch) = self.outboxes.get_mut(usize::from(to.0)) else {
            return;
        };
        push(batch);
        if batch.weight() > BATCH_BYTES {
            // Any name on this list makes the loop come round, and it sends batches then as well.
            self.urgent.push(u32::MAX);
        }
    }

    /// Queues a message for one subscription, unless that is gone or its client is `skip`.
    #[inline]
    fn hand_over(
        &mut self,
        target: Target,
        message: &Message<'_>,
        skip: u32,
        outcome: &mut Outcome,
    ) -> bool {
        let Some(sub) = self.subs.get_mut(target.slot) else {
            return false;
        };
        let slot = sub.client;
        if sub.generation != target.generation || slot == skip {
            return false;
        }
        let Some(client) = self.clients.get_mut(slot) else {
            return false;
        };
        if client.is_closed() {
            return false;
        }
        sub.delivered += 1;
        let before = client.out.pending();
        if message.header_len.is_some() && !client.flags.headers {
            let plain = message.without_headers(&mut self.scratch);
            write(client, &mut self.pool, sub.sid.with_blank(), &plain);
        } else {
            write(client, &mut self.pool, sub.sid.with_blank(), message);
        }
        client.sent.count(message.size());
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(slot);
        }
        outcome.delivered += 1;
        let pending = client.out.pending();
        if self.trace || sub.max != 0 || pending >= FLUSH_EARLY {
            self.attend(target, slot, message, before, outcome);
        }
        true
    }

    /// The uncommon sequels of a delivery.
    #[cold]
    fn attend(
        &mut self,
        target: Target,
        slot: u32,
        message: &Message<'_>,
        before: usize,
        outcome: &mut Outcome,
    ) {
        let Some(client) = self.clients.get(slot) else {
            return;
        };
        let Some(sub) = self.subs.get(target.slot) else {
            return;
        };
        if self.trace {
            trace_delivery(client, sub.sid.text(), message);
        }
        let pending = client.out.pending();
        let (crossed, blocked) = (before < FLUSH_EARLY, client.blocked.is_some());
        if pending > self.behind {
            outcome.behind += 1;
        }
        if pending >= FLUSH_EARLY && crossed && !blocked {
            self.urgent.push(slot);
        }
        if sub.max != 0 && sub.delivered >= u64::from(sub.max) {
            debug!(
                "{} - Auto-unsubscribe limit of {} reached for sid '{}'",
                client.label,
                sub.max,
                String::from_utf8_lossy(sub.sid.text())
            );
            self.unsubscribe(target.slot);
        }
        if pending > self.pending_max {
            let label = self.label(slot);
            info!(
                "{label} - Slow Consumer Detected: MaxPending of {} Exceeded",
                self.pending_max
            );
            self.close(slot, CloseReason::SlowConsumerPendingBytes);
            self.forget_output(slot);
        }
    }

    /// Adds a subscription that `client` has no other of by that sid.
    pub(super) fn subscribe(
        &mut self,
        client: u32,
        account: &Account,
        (subject, queue, sid): (&[u8], Option<&[u8]>, &[u8]),
    ) -> Result<(), crate::subject::InvalidSubject> {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.subs.insert_with(|slot| {
            let target = Target {
                owner: self.me,
                slot,
                generation,
            };
            let held = account.interest.insert(subject, queue, target)?;
            Ok(Subscription {
                sid: Sid::new(sid),
                client,
                generation,
                delivered: 0,
                max: 0,
                held,
            })
        })?;
        if let Some(client) = self.clients.get_mut(client) {
            client.sids.insert(account.interest.hash(sid), slot);
        }
        Ok(())
    }

    /// The slot of a client's subscription.
    pub(super) fn find(&self, client: u32, account: &Account, sid: &[u8]) -> Option<u32> {
        let hash = account.interest.hash(sid);
        let is = |slot| self.subs.get(slot).is_some_and(|s| s.sid.text() == sid);
        self.clients.get(client)?.sids.find(hash, is)
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, slot: u32) {
        let Some(sub) = self.subs.remove(slot) else {
            return;
        };
        let Some(client) = self.clients.get_mut(sub.client) else {
            return;
        };
        let interest = &client.account.interest;
        client.sids.remove(interest.hash(sub.sid.text()), slot);
        interest.remove(sub.held);
        if self.trace {
            trace!(
                "{} - <-> [DELSUB {}]",
                client.label,
                String::from_utf8_lossy(sub.sid.text())
            );
        }
    }

    /// Ends all of a client's subscriptions, as a second CONNECT does.
    pub(super) fn unsubscribe_all(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        let mut drain = client.sids.drain();
        let account = client.account.clone();
        self.bury(&account, &mut drain, usize::MAX);
    }

    /// Queues bytes of the protocol itself; `traced` is how traces show them.
    pub(super) fn send(&mut self, slot: u32, bytes: &[u8], traced: &str) {
        let Some(client) = self.clients.get_mut(slot).filter(|c| !c.is_closed()) else {
            return;
        };
        if self.trace && !traced.is_empty() {
            trace!("{} - ->> [{traced}]", client.label);
        }
        client.out.push(bytes, &mut self.pool);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(slot);
        }
        // What the client makes the server say is bounded as messages are.
        if client.out.pending() > self.pending_max {
            let label = self.label(slot);
            info!(
                "{label} - Slow Consumer Detected: MaxPending of {} Exceeded",
                self.pending_max
            );
            self.close(slot, CloseReason::SlowConsumerPendingBytes);
            self.forget_output(slot);
        }
    }

    /// Queues an error.
    pub(super) fn error(&mut self, slot: u32, error: ClientError<'_>) {
        self.send(
            slot,
            format!("-ERR '{error}'\r\n").as_bytes(),
            &format!("-ERR {error}"),
        );
    }

    /// Marks a client closed. Nothing is delivered to it from now on.
    pub(super) fn close(&mut self, slot: u32, reason: CloseReason) {
        let Some(client) = self.clients.get_mut(slot).filter(|c| !c.is_closed()) else {
            return;
        };
        client.phase = Phase::Closed(reason);
        client.inbound = Default::default();
        self.past.0.add(client.received);
        self.past.1.add(client.sent);
        self.graves.push_back((slot, client.sids.drain()));
        self.closing.push((slot, reason));
        debug!("{} - Client connection closed: {reason}", client.label);
    }

    pub(super) fn forget_output(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot) {
            client.out.clear(&mut self.pool);
        }
    }

    /// Frees slots of closed clients, with their subscriptions, a bounded number at a time. Call
    /// it only when the closing clients have been taken; says whether there is more to do.
    pub(super) fn reap(&mut self) -> bool {
        debug_assert!(self.closing.is_empty());
        let mut budget = REAP_BUDGET;
        while let Some((slot, mut drain)) = self.graves.pop_front() {
            let Some(client) = self.clients.get(slot) else {
                continue;
            };
            let account = client.account.clone();
            budget = self.bury(&account, &mut drain, budget);
            if budget == 0 {
                self.graves.push_front((slot, drain));
                return true;
            }
            self.forget_output(slot);
            self.clients.remove(slot);
        }
        false
    }

    /// Removes subscriptions until there are no more or the budget is gone; gives what is left
    /// of it.
    fn bury(&mut self, account: &Account, drain: &mut Drain, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(slot) = drain.next() else {
                return budget;
            };
            if let Some(sub) = self.subs.remove(slot) {
                account.interest.remove(sub.held);
            }
            budget -= 1;
        }
        0
    }

    pub(super) fn is_closed(&self, slot: u32) -> bool {
        self.clients.get(slot).is_none_or(Client::is_closed)
    }

    /// How the logs name a client.
    pub(super) fn label(&self, slot: u32) -> Box<str> {
        self.clients
            .get(slot)
            .map_or_else(|| "gone".into(), |c| c.label.clone())
    }

    pub(super) fn open_slots(&self) -> Vec<u32> {
        self.clients
            .iter()
            .filter(|(_, c)| !c.is_closed())
            .map(|(slot, _)| slot)
            .collect()
    }

    /// The open client that holds most memory, and how much.
    pub(super) fn largest(&self) -> Option<(u32, usize)> {
        let open = self.clients.iter().filter(|(_, c)| !c.is_closed());
        let held = open.map(|(slot, c)| (slot, c.out.pending() + c.inbound.held()));
        held.max_by_key(|(_, bytes)| *bytes)
            .filter(|(_, bytes)| *bytes > 0)
    }

    pub(super) fn traffic(&self) -> (Traffic, Traffic) {
        let mut sum = self.past;
        for (_, client) in self.clients.iter().filter(|(_, c)| !c.is_closed()) {
            sum.0.add(client.received);
            sum.1.add(client.sent);
        }
        sum
    }
}

/// Puts a MSG or HMSG together in a client's outbound queue.
#[inline]
fn write(client: &mut Client, pool: &mut ChunkPool, sid: &[u8], message: &Message<'_>) {
    let Message {
        head,
        tail: (first, second),
        ..
    } = *message;
    let sid_at = head.len();
    let first_at = sid_at + sid.len();
    let second_at = first_at + first.len();
    let room = client.out.room(second_at + second.len(), pool);
    room[..sid_at].copy_from_slice(head);
    room[sid_at..first_at].copy_from_slice(sid);
    room[first_at..second_at].copy_from_slice(first);
    if !second.is_empty() {
        room[second_at..].copy_from_slice(second);
    }
    if message.header_len.is_none() {
        room[..3].copy_from_slice(b"MSG");
    } else {
        room[..4].copy_from_slice(b"HMSG");
    }
    if let Some(shared) = message.shared {
        client.out.share(shared.clone(), pool);
    }
}

fn trace_delivery(client: &Client, sid: &[u8], message: &Message<'_>) {
    if !log_enabled!(log::Level::Trace) {
        return;
    }
    let plain = message.header_len.is_some() && !client.flags.headers;
    let mut scratch = Vec::new();
    let message = if plain {
        message.without_headers(&mut scratch)
    } else {
        *message
    };
    let verb = if message.header_len.is_some() {
        "HMSG"
    } else {
        "MSG"
    };
    let args = message.arguments(sid);
    trace!(
        "{} - ->> [{verb} {}]",
        client.label,
        String::from_utf8_lossy(&args)
    );
    trace_payload(client, "->>", message.payload);
}

/// Traces the headers and body of a message, if it has any.
pub(super) fn trace_payload(client: &Client, direction: &str, payload: &[u8]) {
    let payload = &payload[..payload.len() - 2];
    if !payload.is_empty() {
        let payload = crate::base::text::quoted(payload);
        trace!("{} - {direction} MSG_PAYLOAD: [{payload}]", client.label);
    }
}
