//! Batches that are published fast: their messages are stored as they come, and the publisher is told
//! now and then how far it has got, and after how many messages it is told again.
//!
//! What is told waits until what it tells of is stored, and stays in order so.

use super::batches::{OpenBatches, batch_end, is_met, nanos};
use super::check::{Before, Refused};
use super::waiting::Answer;
use super::{Incoming, Stream, headers};
use crate::jetstream::api::ApiError;
use crate::jetstream::api::batch::{FastBatch, Operation};
use crate::jetstream::api::headers::PublishHeaders;
use crate::jetstream::api::pub_ack::BatchFlow;
use crate::jetstream::api::subjects::REQUIRED_LEVEL;
use crate::jetstream::out::Out;
use crate::options::jetstream::BatchLimits;
use crate::store::types::{StreamSeq, Timestamp};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Open batches that a stream, and all streams, may have where nothing else is configured.
const PER_STREAM: usize = 1000;
const TOTAL: usize = 50_000;

/// Messages after which all publishers of a stream together are told how far they have got.
const FLOW: usize = 500;

/// The open ones of a stream.
pub(super) struct FastBatches {
    open: HashMap<Box<[u8]>, Fast>,
    all: Arc<OpenBatches>,
    look_at: Option<Timestamp>,
}

/// A batch under way.
#[derive(Debug)]
struct Fast {
    until: Timestamp,
    /// The highest number of a message that came, and of one that was dealt with.
    last: u64,
    done: u64,
    /// The number that was told last.
    told: u64,
    /// The sequence of the last message that was stored.
    stored: StreamSeq,
    /// After how many messages the publisher is told how far it has got, now and at most.
    flow: u16,
    flow_max: u16,
    gaps_ok: bool,
}

impl FastBatches {
    pub(super) fn new(all: Arc<OpenBatches>) -> FastBatches {
        FastBatches {
            open: HashMap::new(),
            all,
            look_at: None,
        }
    }

    /// When [`FastBatches::expire`] is to be called.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.look_at
    }

    /// Gives up those whose time is over. Nobody is told, as in the reference.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let before = self.open.len();
        self.open.retain(|_, batch| batch.until > now);
        let over = before - self.open.len();
        self.all.fast.fetch_sub(over, Ordering::Relaxed);
        self.look_at = self.open.values().map(|batch| batch.until).min();
    }

    /// Gives up all.
    pub(super) fn clear(&mut self) {
        self.all.fast.fetch_sub(self.open.len(), Ordering::Relaxed);
        self.open.clear();
    }

    fn close(&mut self, id: &[u8]) {
        if self.open.remove(id).is_some() {
            self.all.fast.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn begin(
        &mut self,
        place: &FastBatch<'_>,
        limits: &BatchLimits,
        until: Timestamp,
    ) -> Result<(), ApiError> {
        if self.open.len() >= limits.per_stream.unwrap_or(PER_STREAM) {
            return Err(ApiError::BatchPublishTooManyInflight);
        }
        let total = limits.total.unwrap_or(TOTAL);
        if self.all.fast.fetch_add(1, Ordering::Relaxed) >= total {
            self.all.fast.fetch_sub(1, Ordering::Relaxed);
            return Err(ApiError::BatchPublishTooManyInflight);
        }
        // One among others begins slowly.
        let flow = match self.open.is_empty() {
            true => place.flow.min(u16::try_from(FLOW).unwrap_or(u16::MAX)),
            false => 1,
        };
        let batch = Fast {
            until,
            last: 0,
            done: 0,
            told: 0,
            stored: StreamSeq(0),
            flow,
            flow_max: place.flow,
            gaps_ok: place.gaps_ok,
        };
        self.open.insert(place.id.into(), batch);
        self.look_at = Some(self.look_at.map_or(until, |at| at.min(until)));
        Ok(())
    }
}

impl Drop for FastBatches {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Fast {
    /// What is to be told of how far the batch has got, if it is time to. All of them share what is
    /// told together.
    fn flow_ack(&mut self, batches: usize) -> Option<BatchFlow> {
        let step = u64::from(self.flow);
        if self.done < self.told + step {
            return None;
        }
        self.told += (self.done - self.told) / step * step;
        let share = u16::try_from((FLOW / batches.max(1)).max(1)).unwrap_or(u16::MAX);
        let most = share.min(self.flow_max);
        self.flow = if self.flow < most {
            self.flow.saturating_mul(2).min(most)
        } else {
            (self.flow / 2).max(most)
        };
        Some(self.told_again())
    }

    fn told_again(&self) -> BatchFlow {
        BatchFlow::Ack {
            seq: self.told,
            msgs: self.flow,
        }
    }
}

impl Stream {
    /// Takes a message of a batch that is published fast.
    pub(super) fn publish_fast<O: Out>(
        &mut self,
        place: Result<FastBatch<'_>, ApiError>,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        if let Err(error) = self.take_fast(place, message, now) {
            let reply = message.reply.filter(|_| !self.config.no_ack);
            self.refuse(reply, error, out);
        }
    }

    fn take_fast(
        &mut self,
        place: Result<FastBatch<'_>, ApiError>,
        message: &Incoming<'_>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        if self.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        self.check_size(message.headers, message.payload)?;
        if !self.config.allow_batched {
            return Err(ApiError::BatchPublishDisabled);
        }
        let place = place?;
        let limits = self.bounds.batches;
        let until = Timestamp(now.0.saturating_add(nanos(limits.timeout)));
        self.fast.expire(now);
        let pings = place.operation == Operation::Ping;
        if !self.fast.open.contains_key(place.id) {
            if place.seq != 1 || pings {
                return Err(ApiError::BatchPublishUnknownBatchId);
            }
            self.fast.begin(&place, &limits, until)?;
        }
        let asked = PublishHeaders::parse(message.headers);
        let mut block = Cow::Borrowed(message.headers);
        if !asked.required_level.is_empty() {
            if !is_met(asked.required_level) {
                self.fast.close(place.id);
                return Err(ApiError::RequiredApiLevel);
            }
            let rest = headers::without(&block, |name| name == REQUIRED_LEVEL.as_bytes());
            block = Cow::Owned(rest);
        }
        let reply = message.reply.unwrap_or_default();
        let batches = self.fast.open.len();
        let Some(batch) = self.fast.open.get_mut(place.id) else {
            return Err(ApiError::BatchPublishUnknownBatchId);
        };
        batch.until = until;
        if pings {
            return {
                self.ping(&place, reply);
                Ok(())
            };
        }
        // Where messages are missing, or come again.
        let expected = batch.last + 1;
        if place.seq != expected {
            let goes_on = batch.gaps_ok && place.seq > expected;
            let gap = BatchFlow::Gap {
                last_seq: expected,
                seq: place.seq,
            };
            self.tell_flow(reply, &gap);
            if !goes_on {
                self.end_fast(place.id, reply);
                return Ok(());
            }
        }
        let Some(batch) = self.fast.open.get_mut(place.id) else {
            return Ok(());
        };
        if place.operation == Operation::CommitBehind {
            batch.last = place.seq - 1;
            self.end_fast(place.id, reply);
            return Ok(());
        }
        batch.last = place.seq;
        let commits = place.operation == Operation::Commit;
        if place.seq == 1 && !commits && !self.config.no_ack {
            let first = BatchFlow::Ack {
                seq: 0,
                msgs: batch.flow,
            };
            self.tell_flow(reply, &first);
        }
        let transformed = self.transformed(message.subject);
        let subject = transformed.as_deref().unwrap_or(message.subject);
        let parts = (&*block, message.payload);
        let result = self.check_behind(&mut Before::default(), parts, subject, now);
        let result = result.and_then(|checked| Ok(self.put(&[(subject, checked)], now)?));
        if let Some(subject) = transformed {
            self.subject = subject;
        }
        match result {
            Ok(sequence) => {
                if let Some(batch) = self.fast.open.get_mut(place.id) {
                    batch.stored = sequence;
                    batch.done = batch.last;
                    if let Some(ack) = batch.flow_ack(batches).filter(|_| !commits) {
                        self.tell_flow(reply, &ack);
                    }
                }
                if commits {
                    self.end_fast(place.id, reply);
                }
                Ok(())
            }
            Err(refused) => {
                self.refuse_fast(&place, refused, reply);
                Ok(())
            }
        }
    }

    /// Tells a publisher how far it has got, if it asks.
    fn ping(&mut self, place: &FastBatch<'_>, reply: &[u8]) {
        let batches = self.fast.open.len();
        let Some(batch) = self.fast.open.get_mut(place.id) else {
            return;
        };
        if place.seq <= batch.last {
            let told = batch.told_again();
            return self.tell_flow(reply, &told);
        }
        let gap = BatchFlow::Gap {
            last_seq: batch.last + 1,
            seq: place.seq + 1,
        };
        if !batch.gaps_ok {
            self.tell_flow(reply, &gap);
            return self.end_fast(place.id, reply);
        }
        batch.last = place.seq;
        batch.done = batch.last;
        let ack = batch.flow_ack(batches);
        let ack = ack.unwrap_or_else(|| batch.told_again());
        self.tell_flow(reply, &gap);
        self.tell_flow(reply, &ack);
    }

    /// A message was not taken, which ends a batch in which none may be missing.
    fn refuse_fast(&mut self, place: &FastBatch<'_>, refused: Refused, reply: &[u8]) {
        let commits = place.operation == Operation::Commit;
        let batches = self.fast.open.len();
        let Some(batch) = self.fast.open.get_mut(place.id) else {
            return;
        };
        let is_duplicate = matches!(refused, Refused::Duplicate(_));
        if is_duplicate {
            batch.done = place.seq;
            if let Some(ack) = batch.flow_ack(batches) {
                self.tell_flow(reply, &ack);
            }
            if !commits {
                return;
            }
        }
        let Some(batch) = self.fast.open.get_mut(place.id) else {
            return;
        };
        if !batch.gaps_ok && batch.last == 1 {
            // As for a message that comes alone.
            self.fast.close(place.id);
            if let Refused::Duplicate(Some(sequence)) = refused {
                let body = batch_end(place.id, place.seq);
                self.answer_after(reply, body.as_bytes(), Answer::Duplicate(sequence));
            } else {
                let body = self.refusal(refused.error());
                self.answer_after(reply, &body, Answer::Body);
            }
            return;
        }
        let goes_on = batch.gaps_ok && !commits;
        if !is_duplicate {
            if !goes_on {
                batch.last -= 1;
                batch.done = batch.last;
            }
            let error = BatchFlow::Err {
                seq: place.seq,
                error: refused.error(),
            };
            self.tell_flow(reply, &error);
        }
        if !goes_on {
            self.end_fast(place.id, reply);
        }
    }

    /// Ends a batch, and tells what was stored of it.
    fn end_fast(&mut self, id: &[u8], reply: &[u8]) {
        let Some(batch) = self.fast.open.get(id) else {
            return;
        };
        let (stored, count) = (batch.stored, batch.last);
        self.fast.close(id);
        let body = batch_end(id, count);
        self.answer_after(reply, body.as_bytes(), Answer::Stored(stored));
    }

    fn tell_flow(&mut self, reply: &[u8], what: &BatchFlow) {
        self.answer_after(reply, &what.encode(), Answer::Body);
    }
}
