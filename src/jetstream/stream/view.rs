//! What consumers see of their stream, and where it goes what they decide.

use super::advisory::Adviser;
use crate::accounts::Account;
use crate::base::rng::Rng;
use crate::jetstream::consumer::{self as engine, Advisory, Delivery, Fault, Interest};
use crate::jetstream::out::{Out, Outgoing};
use crate::store::consumer::{Conflict, ConsumerState, Event, Millis, Outcome, PendingMessage};
use crate::store::error::LogError;
use crate::store::file::{Payload, ReadBuffer};
use crate::store::index::Filters;
use crate::store::stream::{ConsumerId, Found, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A stream as one consumer sees it.
pub(super) struct View<'v> {
    pub(super) store: &'v mut StreamStore,
    /// `None` while it is found out where a new one begins.
    pub(super) id: Option<ConsumerId>,
    pub(super) visible: StreamSeq,
    pub(super) recorded: &'v mut bool,
}

impl engine::Stream for View<'_> {
    type Buffer = ReadBuffer;

    fn state(&self) -> &ConsumerState {
        let state = self.id.and_then(|id| self.store.consumer_state(id));
        state.expect("it is there as long as its engine is")
    }

    fn due(&mut self, now: Millis, max: usize, due: &mut Vec<PendingMessage>) {
        if let Some(id) = self.id {
            self.store.consumer_due(id, now, max, due);
        }
    }

    fn record(&mut self, event: Event) -> Result<Outcome, Fault> {
        *self.recorded = true;
        let id = self.id.ok_or(Conflict)?;
        Ok(self.store.record(id, event)?)
    }

    fn forget_exhausted(&mut self) {
        if let Some(id) = self.id {
            self.store.forget_exhausted(id);
        }
    }

    fn first(&self) -> StreamSeq {
        self.store.first()
    }

    fn last(&self) -> StreamSeq {
        self.visible
    }

    fn read<'b>(
        &mut self,
        sequence: StreamSeq,
        buffer: &'b mut ReadBuffer,
    ) -> Result<engine::Message<'b>, LogError> {
        let stored = self.store.read(sequence, buffer);
        stored.map(|stored| message(&stored))
    }

    fn next<'b>(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut ReadBuffer,
    ) -> Result<engine::Found<'b>, LogError> {
        if let Some(fetched) = self.store.fetch_next(filters, from, self.visible, buffer) {
            *budget = budget.saturating_sub(1);
            let [subject, headers, payload] = fetched.parts(buffer);
            return Ok(engine::Found::Message(engine::Message {
                sequence: fetched.sequence,
                timestamp: fetched.timestamp,
                subject,
                headers,
                payload: Payload::Copied(payload),
            }));
        }
        let found = self
            .store
            .next(filters, from, self.visible, budget, buffer)?;
        Ok(match found {
            Found::Message(stored) => engine::Found::Message(message(&stored)),
            Found::Paused(at) => engine::Found::Paused(at),
            Found::End => engine::Found::End,
        })
    }

    fn count(&mut self, filters: &Filters, from: StreamSeq) -> u64 {
        self.store.count_between(filters, from, self.visible)
    }

    fn last_on_each(&mut self, filters: &Filters, upto: StreamSeq) -> Vec<StreamSeq> {
        let upto = upto.min(self.visible);
        let all = self.store.last_on_each(filters, upto, usize::MAX);
        all.unwrap_or_default()
    }

    fn first_at(&mut self, time: Timestamp) -> Result<StreamSeq, LogError> {
        self.store.first_at(time)
    }
}

fn message<'b>(stored: &crate::store::stream::Message<'b>) -> engine::Message<'b> {
    let record = &stored.record;
    engine::Message {
        sequence: record.sequence,
        timestamp: record.timestamp,
        subject: record.subject,
        headers: record.headers,
        payload: stored.payload(),
    }
}

/// Where it goes what a consumer decides.
pub(super) struct Sink<'s, O> {
    pub(super) account: &'s Arc<Account>,
    pub(super) stream: &'s str,
    pub(super) consumer: &'s str,
    pub(super) out: &'s mut O,
    pub(super) confirms: &'s mut Confirms,
    pub(super) released: &'s mut Vec<RangeInclusive<StreamSeq>>,
    pub(super) rng: &'s mut Rng,
    pub(super) now: Timestamp,
}

impl<O: Out> engine::Sink for Sink<'_, O> {
    fn interest(&mut self, subject: &[u8]) -> Interest {
        match self.out.is_heard(self.account, subject) {
            true => Interest::Present,
            false => Interest::Absent,
        }
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let payload = match &delivery.payload {
            Payload::Copied(bytes) => bytes,
            Payload::Shared(bytes) => &bytes[..],
        };
        let message = Outgoing {
            to: delivery.to,
            subject: delivery.subject,
            reply: (!delivery.reply.is_empty()).then_some(delivery.reply),
            headers: delivery.headers,
            payload,
        };
        self.out.send(self.account, &message);
    }

    fn status(&mut self, to: &[u8], reply: &[u8], headers: &[u8]) {
        let message = Outgoing {
            reply: (!reply.is_empty()).then_some(reply),
            ..Outgoing::status(to, headers)
        };
        self.out.send(self.account, &message);
    }

    fn confirm(&mut self, to: &[u8]) {
        self.confirms.push(to, b"");
    }

    fn advise(&mut self, advisory: &Advisory<'_>) {
        let adviser = Adviser {
            account: self.account,
            stream: self.stream,
            consumer: self.consumer,
            now: self.now,
        };
        adviser.advise(advisory, self.rng, self.out);
    }

    fn release(&mut self, messages: RangeInclusive<StreamSeq>) {
        match self.released.last_mut() {
            Some(last) if last.end().next() == *messages.start() => {
                *last = *last.start()..=*messages.end();
            }
            _ => self.released.push(messages),
        }
    }
}

/// Answers that may leave when what consumers have recorded is stored. Their bytes stand in one
/// buffer, as with acknowledgements they are as many as messages.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    bytes: Vec<u8>,
    /// How long each is: where it goes to, and what it says.
    lens: Vec<(u32, u32)>,
}

/// Answers that are kept while nothing can be stored. Who gets none asks again.
const CONFIRMS_MAX: usize = 1 << 16;

impl Confirms {
    pub(super) fn push(&mut self, to: &[u8], body: &[u8]) {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).ok();
        if self.lens.len() < CONFIRMS_MAX
            && let (Some(to_len), Some(body_len)) = (len(to), len(body))
        {
            self.bytes.extend_from_slice(to);
            self.bytes.extend_from_slice(body);
            self.lens.push((to_len, body_len));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// Hands over all of them, in order.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&[u8], &[u8])) {
        let mut from = 0;
        for (to, body) in self.lens.drain(..) {
            let middle = from + to as usize;
            let end = middle + body as usize;
            each(&self.bytes[from..middle], &self.bytes[middle..end]);
            from = end;
        }
        self.bytes.clear();
        self.bytes.shrink_to(64 << 10);
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.lens.clear();
        self.bytes.clear();
    }
}
