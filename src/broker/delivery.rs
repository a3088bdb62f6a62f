//! From a route to the outbound queues of the clients that it names, or to the batches for other
//! loops.

use super::batch::{Batch, Destination, Member};
use super::closed::{Closed, ClosedClient};
use super::events::Event;
use super::message::Message;
use super::traces::{Tracing, trace_delivery};
use super::{Facts, Flushed, Turn, Wire};
use crate::accounts::Account;
use crate::accounts::interest::{Held, LoopId, Target};
use crate::base::clock::Mono;
use crate::base::limits::{
    BATCH_BYTES, CLOSED_SUBSCRIPTIONS, FLUSH_EARLY, REAP_BUDGET, WRITE_SLICES,
};
use crate::base::pages::Pages;
use crate::base::rng::Rng;
use crate::conn::client::{Client, Phase, Traffic};
use crate::conn::outbound::{ChunkPool, Outbound};
use crate::conn::sids::{Drain, Sid};
use crate::options::{Options, WriteTimeout};
use crate::proto::error::{ClientError, CloseReason};
use crate::routing::route::{Far, Route};
use log::{debug, info, trace};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
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
    /// Bytes of its subject, which stand for the memory that it takes in the trie.
    subject_len: u16,
    /// Whether each message has to be checked against its client's permissions.
    pub(super) guarded: bool,
}

/// Bytes that a subscription takes, about, beside those of its subject.
const SUBSCRIPTION_BYTES: usize = 200;

impl Subscription {
    fn weight(&self) -> usize {
        SUBSCRIPTION_BYTES + usize::from(self.subject_len)
    }
}

/// The clients and subscriptions of a loop, and what is to be done for them.
pub(super) struct Delivery {
    pub(super) me: LoopId,
    /// Whether the loop has no clients: what it publishes to itself comes to it as mail, like what
    /// others do.
    serves_itself: bool,
    pub(super) clients: Pages<Client>,
    pub(super) subs: Pages<Subscription>,
    pub(super) pool: ChunkPool,
    pub(super) dirty: Vec<u32>,
    /// Clients whose sockets took no more, since the last time somebody asked.
    pub(super) stalled: Vec<u32>,
    pub(super) closing: Vec<(u32, CloseReason)>,
    pub(super) held_back: Vec<(LoopId, u32)>,
    pub(super) outboxes: Vec<Batch>,
    /// Messages for other servers.
    pub(super) far: Batch,
    /// Clients whose messages went to other loops.
    pub(super) crossing: Vec<u32>,
    /// Whether the protocol is traced.
    pub(super) trace: bool,
    /// How much of messages is.
    pub(super) tracing: Tracing,
    write_timeout: WriteTimeout,
    next_generation: u32,
    pending_max: usize,
    /// Pending bytes from which a subscriber counts as behind.
    behind: usize,
    /// Pending bytes from which a connection is flushed at once.
    flush_at: usize,
    /// Pending bytes from which a subscriber gets no more messages: all of them, unless it is to
    /// miss some rather than have its publishers wait.
    pub(super) skip_above: usize,
    pub(super) rng: Rng,
    /// Bytes that subscriptions take, about.
    pub(super) interest_bytes: usize,
    /// Closed clients, with the subscriptions they still have.
    graves: VecDeque<(u32, Drain)>,
    /// The time of this turn.
    pub(super) now: Mono,
    pub(super) closed: Closed,
    /// What has happened that operators may want to be told of.
    pub(super) events: Vec<Event>,
    /// Connections that ever were.
    pub(super) connections_ever: u64,
    /// How often a client was not read from for a moment.
    pub(super) stalls: u64,
}

/// The client that published a message, and the one that does not get it: the same, or nobody.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) slot: u32,
    pub(super) skip: u32,
}

/// Loops without clients: that of the server's own services, and that of streams.
const SERVICE_LOOPS: usize = 2;

/// No client's slot.
pub(super) const NOBODY: u32 = u32::MAX;

/// What became of a message.
#[derive(Default, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) delivered: usize,
    /// How many of those it went to are far behind.
    pub(super) behind: usize,
    /// How many of those are on other loops.
    pub(super) elsewhere: usize,
}

impl Delivery {
    pub(super) fn new(facts: &Facts, me: LoopId, loops: usize, seed: u64) -> Delivery {
        let mut delivery = Delivery {
            me,
            serves_itself: usize::from(me.0) >= loops,
            clients: Pages::new(),
            subs: Pages::new(),
            pool: ChunkPool::default(),
            dirty: Vec::new(),
            stalled: Vec::new(),
            closing: Vec::new(),
            held_back: Vec::new(),
            outboxes: std::iter::repeat_with(Batch::default)
                .take(loops + SERVICE_LOOPS)
                .collect(),
            far: Batch::default(),
            crossing: Vec::new(),
            trace: false,
            tracing: Tracing::default(),
            write_timeout: facts.options.write_timeout,
            skip_above: usize::MAX,
            next_generation: 0,
            pending_max: facts.options.max_pending,
            behind: facts.options.max_pending / 4 * 3,
            flush_at: FLUSH_EARLY.min(facts.options.max_pending / 4),
            rng: Rng::new(!seed),
            interest_bytes: 0,
            graves: VecDeque::new(),
            now: Mono::ZERO,
            closed: Closed::new(0),
            events: Vec::new(),
            connections_ever: 0,
            stalls: 0,
        };
        delivery.adapt(&facts.options);
        delivery
    }

    /// Takes over those options that may change while clients are connected.
    pub(super) fn adapt(&mut self, options: &Options) {
        self.trace = options.log.trace;
        self.tracing = Tracing::new(&options.log);
        let loops = self.outboxes.len() - SERVICE_LOOPS;
        self.closed
            .set_max(options.max_closed_clients.div_ceil(loops.max(1)));
        self.skip_above = match options.no_fast_producer_stall {
            true => self.behind,
            false => usize::MAX,
        };
    }

    /// Delivers a message that client `from` published to all that its route names, and counts in
    /// `outcome`, where it stands: to move it somewhere else is to wait until all is in memory that was
    /// written before.
    #[inline]
    pub(super) fn deliver<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        message: &Message<'_>,
        from: &Origin,
        outcome: &mut Outcome,
        turn: &mut Turn<'_, W>,
    ) {
        for span in route.spans() {
            if span.owner == self.me && !self.serves_itself {
                for target in route.plain(*span) {
                    self.hand_over(*target, message, from.skip, turn, outcome);
                }
            } else {
                self.outbox(span.owner, turn, |b| b.push(message, route, from.slot));
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
            self.deliver_to_member(route, member, message, from, turn, outcome);
        }
        if route.far().is_some_and(Far::is_certain) {
            self.deliver_far(route, message, from, turn, outcome);
        }
        self.hold_if_all_are_behind(from, outcome);
    }

    /// The other loop to which all goes that this route names, if it is one alone.
    pub(super) fn sole_loop(&self, route: &Route) -> Option<LoopId> {
        let [span] = route.spans() else {
            return None;
        };
        let is_other = span.owner != self.me || self.serves_itself;
        let is_sole = route.groups() == 0 && !route.far().is_some_and(Far::is_certain);
        (is_other && is_sole).then_some(span.owner)
    }

    /// Delivers a run of messages on one route, which has no queue groups: to one subscription
    /// after the other, so that each queue is filled, and written, while it is in the cache.
    pub(super) fn deliver_run<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        run: &[Message<'_>],
        from: &Origin,
        turn: &mut Turn<'_, W>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for span in route.spans() {
            if span.owner == self.me {
                for target in route.plain(*span) {
                    self.hand_over_run(*target, run, from.skip, turn, &mut outcome);
                }
            } else {
                for message in run {
                    self.outbox(span.owner, turn, |b| b.push(message, route, from.slot));
                }
                outcome.delivered += 1;
                outcome.elsewhere += 1;
            }
        }
        if route.far().is_some() {
            for message in run {
                self.push_far(turn, |b| b.push(message, route, from.slot));
            }
            outcome.delivered += 1;
            outcome.elsewhere += 1;
        }
        self.hold_if_all_are_behind(from, &outcome);
        outcome
    }

    pub(super) fn hold_if_all_are_behind(&mut self, from: &Origin, outcome: &Outcome) {
        if outcome.behind > 0 && outcome.behind == outcome.delivered {
            self.held_back.push((self.me, from.slot));
        }
    }

    /// Delivers to a member of a queue group; if that one is gone, to the next that is there. If
    /// no member of this loop is, passes the message on to another loop that has some, unless
    /// all have looked already. Says whether it is delivered or on its way.
    pub(super) fn deliver_to_member<W: Wire>(
        &mut self,
        route: &Arc<Route>,
        pick: Member,
        message: &Message<'_>,
        from: &Origin,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) -> bool {
        let members = route.group(pick.group);
        let (before, after) = members.split_at(pick.member);
        if let Some(first) = after.first().filter(|first| first.owner != self.me) {
            self.pass_to_member(first.owner, route, pick, message, from, turn);
            outcome.delivered += 1;
            outcome.elsewhere += 1;
            return true;
        }
        let me = self.me;
        for target in after.iter().chain(before).filter(|m| m.owner == me) {
            if self.hand_over(*target, message, from.skip, turn, outcome) {
                return true;
            }
        }
        let Some((owner, pick)) = self.next_loop(members, pick) else {
            return self.fail_over(route, pick, message, from, turn, outcome);
        };
        self.pass_to_member(owner, route, pick, message, from, turn);
        outcome.delivered += 1;
        outcome.elsewhere += 1;
        true
    }

    /// The loop that looks for a member of a queue group next, when this one has none that is there,
    /// and the member that it begins with; none if all have looked.
    pub(super) fn next_loop(&self, members: &[Target], pick: Member) -> Option<(LoopId, Member)> {
        // Loops look in the order of their numbers, so that none is asked twice.
        let mut owners: Vec<LoopId> = members.iter().map(|m| m.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let attempts = pick.attempts + 1;
        if attempts >= owners.len() {
            return None;
        }
        let next = owners.partition_point(|owner| *owner <= self.me) % owners.len();
        let owner = owners[next];
        let member = members.iter().position(|m| m.owner == owner);
        let pick = Member {
            member: member.unwrap_or(0),
            attempts,
            ..pick
        };
        Some((owner, pick))
    }

    fn pass_to_member<W: Wire>(
        &mut self,
        owner: LoopId,
        route: &Arc<Route>,
        pick: Member,
        message: &Message<'_>,
        from: &Origin,
        turn: &mut Turn<'_, W>,
    ) {
        self.outbox(owner, turn, |b| {
            b.push_member(message, route, pick, from.slot);
        });
    }

    /// Delivers what clients of another loop published.
    pub(super) fn deliver_batch<W: Wire>(
        &mut self,
        from: LoopId,
        batch: &Batch,
        turn: &mut Turn<'_, W>,
    ) {
        batch.for_each(|message, to, producer| {
            let mut outcome = Outcome::default();
            let sole = match to {
                Destination::Plain(route) => {
                    for target in route.plain_of(self.me) {
                        self.hand_over(*target, message, NOBODY, turn, &mut outcome);
                    }
                    route.spans().len() == 1 && route.groups() == 0 && route.far().is_none()
                }
                Destination::Member(route, pick) => {
                    let origin = Origin {
                        slot: producer,
                        skip: NOBODY,
                    };
                    self.deliver_to_member(route, pick, message, &origin, turn, &mut outcome);
                    outcome.elsewhere == 0
                }
                Destination::Traced(traced) => {
                    let outcome = &mut outcome;
                    self.deliver_traced_record(traced, message, producer, turn, outcome);
                    false
                }
            };
            if sole && outcome.behind > 0 && outcome.behind == outcome.delivered {
                self.held_back.push((from, producer));
            }
        });
    }

    pub(super) fn outbox<W: Wire>(
        &mut self,
        to: LoopId,
        turn: &mut Turn<'_, W>,
        push: impl FnOnce(&mut Batch),
    ) {
        let Some(batch) = self.outboxes.get_mut(usize::from(to.0)) else {
            return;
        };
        push(batch);
        if batch.weight() > BATCH_BYTES {
            turn.wire.pass(to, batch);
        }
    }

    /// Queues a message for one subscription, unless that is gone or its client is `skip`; says
    /// whether it did.
    #[inline]
    pub(super) fn hand_over<W: Wire>(
        &mut self,
        target: Target,
        message: &Message<'_>,
        skip: u32,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) -> bool {
        let Some((sub, client)) = receiver(&mut self.subs, &mut self.clients, target, skip) else {
            return false;
        };
        if client.out.pending() > self.skip_above {
            return false;
        }
        if sub.guarded && !receives(client, target.slot, message, turn.now) {
            return false;
        }
        let slot = sub.client;
        sub.delivered += 1;
        emit(client, &mut self.pool, sub.sid.with_blank(), message);
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(slot);
        }
        outcome.delivered += 1;
        if self.trace || sub.max != 0 || client.out.pending() >= self.flush_at {
            if self.trace {
                trace_delivery(client, sub.sid.text(), message, &self.tracing);
            }
            self.attend(target, slot, turn, outcome);
        }
        true
    }

    /// Queues a run of messages for one subscription.
    fn hand_over_run<W: Wire>(
        &mut self,
        target: Target,
        run: &[Message<'_>],
        skip: u32,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) {
        let Some((sub, client)) = receiver(&mut self.subs, &mut self.clients, target, skip) else {
            return;
        };
        if sub.max != 0 || sub.guarded || self.skip_above != usize::MAX {
            let mut single = Outcome::default();
            for message in run {
                self.hand_over(target, message, skip, turn, &mut single);
            }
            outcome.delivered += usize::from(single.delivered > 0);
            outcome.behind += usize::from(single.behind > 0);
            return;
        }
        let slot = sub.client;
        sub.delivered += run.len() as u64;
        for message in run {
            emit(client, &mut self.pool, sub.sid.with_blank(), message);
        }
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(slot);
        }
        outcome.delivered += 1;
        if client.out.pending() >= self.flush_at {
            self.attend(target, slot, turn, outcome);
        }
    }

    /// The uncommon sequels of a delivery.
    #[cold]
    fn attend<W: Wire>(
        &mut self,
        target: Target,
        slot: u32,
        turn: &mut Turn<'_, W>,
        outcome: &mut Outcome,
    ) {
        if let Some(sub) = self.subs.get(target.slot)
            && sub.max != 0
            && sub.delivered >= u64::from(sub.max)
        {
            debug!(
                "{} - Auto-unsubscribe limit of {} reached for sid '{}'",
                self.label(slot),
                sub.max,
                String::from_utf8_lossy(sub.sid.text())
            );
            self.unsubscribe(target.slot);
        }
        let Some(client) = self.clients.get(slot) else {
            return;
        };
        if client.out.pending() >= self.flush_at && client.blocked.is_none() {
            self.flush(slot, turn);
        }
        let pending = self.clients.get(slot).map_or(0, |c| c.out.pending());
        if pending > self.behind && self.skip_above == usize::MAX {
            outcome.behind += 1;
        }
        self.close_if_slow(slot, pending);
    }

    /// Closes a client that has let too much pile up.
    fn close_if_slow(&mut self, slot: u32, pending: usize) {
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

    /// Writes what is pending for a client.
    pub(super) fn flush<W: Wire>(&mut self, slot: u32, turn: &mut Turn<'_, W>) -> Flushed {
        let Some(client) = self.clients.get_mut(slot) else {
            return Flushed::Done;
        };
        client.dirty = false;
        let before = client.out.pending();
        let result = write_out(&mut client.out, client.link, &mut self.pool, turn.wire);
        let written = before - client.out.pending();
        client.owed = client.owed.saturating_sub(written);
        let in_time = match self.write_timeout {
            WriteTimeout::Retry => written > 0,
            WriteTimeout::Close => client.owed == 0,
        };
        if in_time || before == 0 {
            client.blocked = None;
        }
        match result {
            Ok(true) => Flushed::Done,
            Ok(false) => {
                if client.blocked.is_none() {
                    client.blocked = Some(turn.now);
                    client.owed = client.out.pending();
                    self.stalled.push(slot);
                }
                Flushed::Blocked
            }
            Err(e) => {
                debug!("{} - Error flushing: {e}", client.label);
                self.close(slot, CloseReason::WriteError);
                Flushed::Failed
            }
        }
    }

    /// Writes what was pending for a client that is gone.
    pub(super) fn write_out<W: Wire>(
        &mut self,
        out: &mut Outbound,
        link: usize,
        wire: &mut W,
    ) -> io::Result<bool> {
        write_out(out, link, &mut self.pool, wire)
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
                subject_len: u16::try_from(subject.len()).unwrap_or(u16::MAX),
                guarded: false,
            })
        })?;
        if let Some(client) = self.clients.get_mut(client) {
            if let Some(guard) = &mut client.guard {
                self.subs[slot].guarded = guard.watch(slot, subject, queue);
            }
            client.sids.insert(account.interest.hash(sid), slot);
            client.interest_bytes += self.subs[slot].weight();
            self.interest_bytes += self.subs[slot].weight();
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
        if let Some(guard) = &mut client.guard {
            guard.unwatch(slot);
        }
        let interest = &client.account.interest;
        client.sids.remove(interest.hash(sub.sid.text()), slot);
        client.interest_bytes -= sub.weight();
        self.interest_bytes -= sub.weight();
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
        self.interest_bytes -= std::mem::take(&mut client.interest_bytes);
        let account = client.account.clone();
        client.guard = None;
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
        let pending = client.out.pending();
        self.close_if_slow(slot, pending);
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
        let slots = client.sids.slots().take(CLOSED_SUBSCRIPTIONS);
        let slots: Vec<u32> = slots.collect();
        let list = self.describe_all(slot, &slots);
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        let gone = Arc::new(ClosedClient::new(client, list, reason, self.now));
        self.closed.push(gone.clone());
        self.events.push(Event::Gone(gone));
        client.phase = Phase::Closed(reason);
        client.inbound = Default::default();
        super::login::leave(client);
        client.guard = None;
        client.verifying = None;
        self.graves.push_back((slot, client.sids.drain()));
        self.interest_bytes -= std::mem::take(&mut client.interest_bytes);
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
            if let Some(client) = self.clients.remove(slot) {
                let past = self.closed.of(account.number);
                past.received.add(client.received);
                past.sent.add(client.sent);
            }
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
                if self.trace {
                    let sid = String::from_utf8_lossy(sub.sid.text());
                    trace!("{} - <-> [DELSUB {sid}]", self.label(sub.client));
                }
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
        let held = open.map(|(slot, c)| (slot, c.held()));
        held.max_by_key(|(_, bytes)| *bytes)
            .filter(|(_, bytes)| *bytes > 0)
    }

    pub(super) fn traffic(&self) -> (Traffic, Traffic) {
        let mut sum = (Traffic::default(), Traffic::default());
        for (_, past) in self.closed.past() {
            sum.0.add(past.received);
            sum.1.add(past.sent);
        }
        for (_, client) in self.clients.iter() {
            sum.0.add(client.received);
            sum.1.add(client.sent);
        }
        sum
    }
}

/// Writes until all is written, which it says, or the socket takes no more.
fn write_out<W: Wire>(
    out: &mut Outbound,
    link: usize,
    pool: &mut ChunkPool,
    wire: &mut W,
) -> io::Result<bool> {
    while out.pending() > 0 {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        let n = out.slices(&mut slices);
        match wire.write(link, &slices[..n]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => out.advance(n, pool),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// The subscription that a target means, and its client, if both are there and it is not `skip`.
#[inline(always)]
fn receiver<'a>(
    subs: &'a mut Pages<Subscription>,
    clients: &'a mut Pages<Client>,
    target: Target,
    skip: u32,
) -> Option<(&'a mut Subscription, &'a mut Client)> {
    let sub = subs.get_mut(target.slot)?;
    if sub.generation != target.generation || sub.client == skip {
        return None;
    }
    let client = clients.get_mut(sub.client)?;
    (!client.is_closed()).then_some((sub, client))
}

/// Whether a client with permissions may get a message.
#[cold]
pub(super) fn receives(client: &mut Client, sub: u32, message: &Message<'_>, now: Mono) -> bool {
    let hash = |reply| (reply, client.account.interest.hash(reply));
    let reply = message.reply.map(hash);
    let guard = client.guard.as_deref_mut();
    guard.is_none_or(|guard| guard.receives(sub, message.subject(), reply, now))
}

/// Puts a message together in a client's outbound queue, and counts it.
#[inline]
fn emit(client: &mut Client, pool: &mut ChunkPool, sid: &[u8], message: &Message<'_>) {
    if message.header_len.is_some() && !client.flags.headers {
        let mut scratch = Vec::new();
        let plain = message.without_headers(&mut scratch);
        write(client, pool, sid, &plain);
        client.sent.count(plain.size());
    } else {
        write(client, pool, sid, message);
        client.sent.count(message.size());
    }
}

/// Puts a MSG or HMSG together in a client's outbound queue.
#[inline]
fn write(client: &mut Client, pool: &mut ChunkPool, sid: &[u8], message: &Message<'_>) {
    let (head, tail) = message.line.split_at(message.head_len);
    let tail_at = head.len() + sid.len();
    let body_at = tail_at + tail.len();
    let room = client.out.room(body_at + message.body.len(), pool);
    room[..head.len()].copy_from_slice(head);
    room[head.len()..tail_at].copy_from_slice(sid);
    room[tail_at..body_at].copy_from_slice(tail);
    if !message.body.is_empty() {
        room[body_at..].copy_from_slice(message.body);
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
