//! The turns of a stream's consumers: what they are told of, when they work, and what becomes of
//! what they did.
//!
//! ```text
//! visible messages ─┐                          ┌─> events are appended, and answered when stored
//! removed messages ─┼─> consumers ready ─ turn ┼─> messages that nobody needs are removed
//! timers, requests ─┘                          └─> those that nobody uses are deleted
//! ```

use super::Stream;
use super::view::View;
use super::waiting::Answer;
use crate::jetstream::api::RetentionPolicy;
use crate::jetstream::consumer::{Budget, Fault, Served, Slot};
use crate::jetstream::out::Out;
use crate::store::error::LogError;
use crate::store::stream::Job;
use crate::store::types::{StreamSeq, Timestamp};

/// What one consumer may do in a turn.
const BUDGET: Budget = Budget {
    messages: 1024,
    bytes: 1 << 20,
    looks: 16 << 10,
};

/// Consumers that get a turn at a time.
const TURNS: usize = 256;

impl Stream {
    /// Looks whether somebody listens where messages are sent to.
    pub fn check_interest<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let consumers = &mut self.consumers;
        for at in &consumers.pushed {
            let Some((engine, entry)) = consumers.roster.get(*at) else {
                continue;
            };
            let subject = &entry.config.deliver_subject;
            let present = out.is_heard(&self.account, subject.as_bytes());
            if engine.wants_messages() != present {
                engine.handle_interest(present, now);
                consumers.roster.wake(*at);
            } else if !present {
                // It counts how long nobody listens.
                engine.handle_interest(present, now);
            }
        }
    }

    /// Whether a consumer is sent messages without asking.
    pub fn has_push_consumers(&self) -> bool {
        !self.consumers.pushed.is_empty()
    }

    /// Tells consumers of messages that have become visible.
    pub(super) fn feed(&mut self, from: StreamSeq) {
        let roster = &mut self.consumers.roster;
        if self.visible < from || roster.is_empty() {
            return;
        }
        if !roster.wants_each() {
            roster.note_visible(self.visible, b"");
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = from;
        while at <= self.visible {
            if let Ok(stored) = self.store.read(at, &mut buffer) {
                roster.note_visible(at, stored.record.subject);
            }
            at = at.next();
        }
        self.buffer = buffer;
    }

    /// Gives turns to consumers; says whether there is more to do.
    pub fn serve_consumers<O: Out>(&mut self, now: Timestamp, out: &mut O) -> bool {
        self.tell_gone(now, out);
        self.consumers.roster.fire_timers(now);
        let mut inactive = Vec::new();
        for _ in 0..TURNS {
            let Some(at) = self.consumers.roster.next_ready() else {
                break;
            };
            let mut budget = BUDGET;
            let served = self.act((at, now, false), out, |engine, turn| {
                engine.serve(turn, &mut budget)
            });
            let served = match served {
                Some(Ok(served)) => served,
                Some(Err(Fault::Log(LogError::Cold(job)))) => {
                    // It gets its turn when the job is done.
                    self.warm.push(Job::Warm(*job));
                    self.consumers.cold.push(at);
                    Served::Idle
                }
                Some(Err(fault)) => {
                    self.note(Some(Err(fault)));
                    Served::Idle
                }
                None => continue,
            };
            if served == Served::Inactive {
                inactive.push(at);
            }
            self.consumers.roster.settle(at, served);
        }
        for at in inactive {
            if let Err(fault) = self.delete_consumer(at, now, out) {
                log::warn!("Stream {}: {fault}", self.label());
            }
        }
        self.consumers.roster.has_ready()
    }

    /// Gives those a turn that waited for messages to be brought into memory.
    pub(super) fn wake_cold(&mut self) {
        for at in std::mem::take(&mut self.consumers.cold) {
            self.consumers.roster.wake(at);
        }
    }

    /// When a consumer is to get a turn if nothing happens before.
    pub fn consumers_at(&self) -> Option<Timestamp> {
        self.consumers.roster.next_timer()
    }

    /// Whether consumers are to get a turn.
    pub fn has_ready_consumers(&self) -> bool {
        self.consumers.roster.has_ready()
    }

    /// Tells consumers of messages that were removed, be it by somebody or by limits, before anything
    /// else happens to them.
    pub(super) fn tell_gone<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        if !self.store.has_gone() && !self.purged {
            return self.tell_trimmed(now, out);
        }
        let consumers = &mut self.consumers;
        let counts = consumers.roster.wants_each() || !consumers.floors.is_empty();
        let mut gone = self.store.take_gone(std::mem::take(&mut consumers.gone));
        self.store.note_gone(counts);
        let purged = std::mem::take(&mut self.purged);
        self.consumers.telling = true;
        if purged || gone.has_missed() {
            self.tell_all(purged, now, out);
        } else {
            let mut slots = std::mem::take(&mut self.consumers.slots);
            for (sequence, subject) in gone.iter() {
                self.tell_removed((sequence, subject), &mut slots, now, out);
            }
            slots.clear();
            self.consumers.slots = slots;
        }
        self.consumers.telling = false;
        gone.clear();
        self.consumers.gone = gone;
        self.tell_trimmed(now, out);
    }

    /// Tells all consumers that messages are gone which are not known one by one.
    fn tell_all<O: Out>(&mut self, purged: bool, now: Timestamp, out: &mut O) {
        let all: Vec<Slot> = self.consumers.roster.iter().map(|(at, ..)| at).collect();
        for at in all {
            let handled = self.tell((at, now), out, |engine, turn| match purged {
                true => engine.handle_purged(turn),
                false => engine.handle_trimmed(turn),
            });
            self.note(handled);
        }
    }

    /// Tells those consumers that a message was removed which wait for it, or count it.
    fn tell_removed<O: Out>(
        &mut self,
        (sequence, subject): (StreamSeq, &[u8]),
        slots: &mut Vec<Slot>,
        now: Timestamp,
        out: &mut O,
    ) {
        let consumers = &mut self.consumers;
        consumers.roster.matching(subject, slots);
        for (_, at) in consumers.floors.range(..=(sequence, Slot::MAX)) {
            let Some((engine, entry)) = consumers.roster.peek(*at) else {
                continue;
            };
            let state = self.store.consumer_state(entry.id);
            if engine.settings().wants_all()
                && state.is_some_and(|state| state.pending().get(sequence).is_some())
            {
                slots.push(*at);
            }
        }
        for at in slots.drain(..) {
            let handled = self.tell((at, now), out, |engine, turn| {
                engine.handle_removed(turn, sequence)
            });
            self.note(handled);
        }
    }

    /// Tells those consumers that there is a new first message for which ones before it wait.
    fn tell_trimmed<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let first = self.store.first();
        let mut told = Slot::MAX;
        while let Some((floor, at)) = self.consumers.floors.first().copied()
            && floor < first
        {
            let id = self.consumers.roster.peek(at).map(|(_, entry)| entry.id);
            let state = id.and_then(|id| self.store.consumer_state(id));
            let real = state.and_then(|state| Some(state.pending().first()?.stream));
            let is_behind = real.is_some_and(|real| real < first) && at != told;
            if is_behind {
                told = at;
                let handled = self.tell((at, now), out, |engine, turn| engine.handle_trimmed(turn));
                self.note(handled);
                continue;
            }
            // What is known of it was too low, or could not be changed.
            self.consumers.floors.pop_first();
            if let Some((_, entry)) = self.consumers.roster.get(at) {
                entry.floor = real.map(|real| real.max(first));
                if let Some(floor) = entry.floor {
                    self.consumers.floors.insert((floor, at));
                }
            }
        }
    }

    /// Whether some consumer is to have messages on a subject.
    pub(super) fn is_wanted(&mut self, subject: &[u8]) -> bool {
        self.consumers.want(subject)
    }

    /// Appends what consumers have recorded, and removes what no consumer needs.
    pub(super) fn keep_events(&mut self) {
        self.remove_released();
        let recorded = std::mem::take(&mut self.consumers.recorded);
        if !recorded && self.consumers.confirms.is_empty() {
            return;
        }
        let after = match self.store.append_events() {
            Ok(index) => index,
            Err(error) => {
                // They are kept for the next time.
                self.consumers.recorded = true;
                if self.store.log().failure().is_some() {
                    self.consumers.confirms.clear();
                }
                log::debug!("Stream {}: {error}", self.label());
                return;
            }
        };
        let waiting = &mut self.waiting;
        self.consumers
            .confirms
            .drain(|to, body| waiting.push(after, to, body, Answer::Body));
    }

    /// Removes messages that have been acknowledged, where the stream keeps them only until then. What is
    /// under way comes first; its end gives the stream another turn.
    fn remove_released(&mut self) {
        if self.config.retention == RetentionPolicy::Limits {
            self.consumers.released.clear();
        }
        if self.consumers.released.is_empty() || self.store.has_work() {
            return;
        }
        let ranges = std::mem::take(&mut self.consumers.released);
        for (n, range) in ranges.iter().enumerate() {
            let mut at = *range.start();
            while at <= *range.end() {
                if self.is_needed(at) {
                    at = at.next();
                    continue;
                }
                match self.store.delete(at) {
                    Ok(_) => at = at.next(),
                    Err(LogError::Full) => {
                        log::debug!("Stream {}: {}", self.label(), LogError::Full);
                        let rest = ranges.get(n + 1..).unwrap_or_default().iter().cloned();
                        self.consumers.released.push(at..=*range.end());
                        self.consumers.released.extend(rest);
                        return;
                    }
                    Err(error) => {
                        log::warn!("Stream {}: {error}", self.label());
                        return;
                    }
                }
            }
        }
    }

    /// Whether a consumer has still to have a message.
    fn is_needed(&mut self, sequence: StreamSeq) -> bool {
        if self.config.retention == RetentionPolicy::WorkQueue {
            return false;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let subject = match self.store.read(sequence, &mut buffer) {
            Ok(stored) => stored.record.subject.to_vec(),
            Err(_) => Vec::new(),
        };
        self.buffer = buffer;
        let (store, visible) = (&mut self.store, self.visible);
        let mut recorded = false;
        // Most probably the one that needed the last message needs this one, too.
        let mut ring = self.consumers.roster.ring(self.consumers.needing);
        let found = ring.find(|(_, engine, entry)| {
            let view = View {
                store: &mut *store,
                id: Some(entry.id),
                visible,
                recorded: &mut recorded,
            };
            engine.settings().filters.matches(&subject) && engine.needs(&view, sequence)
        });
        let found = found.map(|(at, ..)| at);
        self.consumers.needing = found.unwrap_or(self.consumers.needing);
        found.is_some()
    }
}
