//! A message on its way into a stream.

use super::check::{Checked, Verdict};
use super::waiting::Answer;
use super::{Stream, WORK, headers};
use crate::jetstream::api::headers::{MSG_ID, PublishHeaders, Rollup, value};
use crate::jetstream::api::{ApiError, RetentionPolicy, batch};
use crate::jetstream::out::{Out, Outgoing};
use crate::store::error::LogError;
use crate::store::stream::{NewMessage, Purge, Step};
use crate::store::types::{StreamSeq, Timestamp};
use std::collections::HashMap;

/// Messages that are looked at at once when some are replaced.
const REPLACED: usize = 16;

/// A message that was published to a stream.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'m> {
    pub subject: &'m [u8],
    /// Where it is to be told what became of the message.
    pub reply: Option<&'m [u8]>,
    /// A whole block, or nothing.
    pub headers: &'m [u8],
    pub payload: &'m [u8],
}

/// What became of a message that is not refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    New(StreamSeq),
    /// It was there already.
    Duplicate(StreamSeq),
}

impl Stream {
    /// Takes a message, or says why not to who wants to know.
    pub fn publish<O: Out>(&mut self, message: &Incoming<'_>, now: Timestamp, out: &mut O) {
        let reply = message.reply.filter(|_| !self.config.no_ack);
        if self.waiting.len() >= self.bounds.waiting_messages
            || self.waiting.held() >= self.bounds.waiting_bytes
        {
            return self.refuse_for_overload(reply, out);
        }
        if self.takes_as_it_is(message) {
            match self.take_as_it_is(message, now) {
                Ok(sequence) => self.confirm(reply, message, b"", Answer::Stored(sequence)),
                Err(error) => self.refuse(reply, error, out),
            }
            return;
        }
        let block = headers::stored(message.headers);
        let message = Incoming {
            headers: &block,
            ..*message
        };
        let asked = PublishHeaders::parse(&block);
        let place = message.reply.and_then(batch::parse);
        if place.is_some() || asked.is_in_batch() {
            if let Err(error) = self.room_for(&message) {
                return self.refuse(reply, error, out);
            }
            return match place {
                Some(place) => self.publish_fast(place, &message, now, out),
                None => self.publish_staged(&asked, &message, now, out),
            };
        }
        let transformed = self.transformed(message.subject);
        let subject = transformed.as_deref().unwrap_or(message.subject);
        let result = self.take(&asked, &message, subject, false, now);
        if let Some(subject) = transformed {
            self.subject = subject;
        }
        match result {
            Ok((taken, value)) => {
                let Some(reply) = reply else { return };
                let answer = match taken {
                    Taken::New(sequence) => Answer::Stored(sequence),
                    Taken::Duplicate(sequence) => Answer::Duplicate(sequence),
                };
                let body = value.map(|value| format!(",\"val\":\"{value}\""));
                let body = body.unwrap_or_default();
                self.confirm(Some(reply), &message, body.as_bytes(), answer);
            }
            Err(error) => self.refuse(reply, error, out),
        }
    }

    /// Answers a publisher, if it wants that, when what it sent is stored.
    fn confirm(
        &mut self,
        reply: Option<&[u8]>,
        message: &Incoming<'_>,
        body: &[u8],
        answer: Answer,
    ) {
        let Some(reply) = reply else { return };
        self.answer_after(reply, body, answer);
        self.waiting
            .hold(message.payload.len() + message.headers.len());
    }

    /// Whether nothing is asked of a message but whether there is room for it, and nothing is made of it:
    /// so are most. It has no headers, it is of no batch, and neither the stream nor a schedule has
    /// anything to do with it besides.
    fn takes_as_it_is(&self, message: &Incoming<'_>) -> bool {
        message.headers.is_empty()
            && self.transform.is_none()
            && !self.config.allow_msg_counter
            && self.config.retention != RetentionPolicy::Interest
            && self.store.next_timer().is_none()
            && message.reply.and_then(batch::parse).is_none()
    }

    /// Takes such a message: what [`Stream::publish`] does otherwise, in the same order.
    fn take_as_it_is(
        &mut self,
        message: &Incoming<'_>,
        now: Timestamp,
    ) -> Result<StreamSeq, ApiError> {
        self.check_as_it_is(message)?;
        self.room_for(message)?;
        self.check_room(message.subject, b"", message.payload, false)?;
        let sequence = self.store.last().next();
        let appended = self.store.append(&NewMessage {
            subject: message.subject,
            headers: b"",
            payload: message.payload,
            timestamp: now,
            ttl_s: 0,
        });
        appended.map_err(|e| store_failed(&e))?;
        self.dirty = true;
        self.last_msg_id.clear();
        Ok(sequence)
    }

    /// Takes a message that was checked by the stream it is from. Its subject is the one that it is
    /// to be stored on, unless this stream changes it.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn publish_sourced(
        &mut self,
        message: &Incoming<'_>,
        now: Timestamp,
    ) -> Result<Taken, ApiError> {
        let asked = PublishHeaders::parse(message.headers);
        let transformed = self.transformed(message.subject);
        let subject = transformed.as_deref().unwrap_or(message.subject);
        let taken = self.take(&asked, message, subject, true, now);
        if let Some(subject) = transformed {
            self.subject = subject;
        }
        taken.map(|(taken, _)| taken)
    }

    /// The subject that a message is stored on, if it is another one.
    pub(super) fn transformed(&mut self, subject: &[u8]) -> Option<Vec<u8>> {
        let transform = self.transform.as_ref()?;
        let mut out = std::mem::take(&mut self.subject);
        out.clear();
        if transform.apply(subject, &mut self.rng, &mut out) {
            return Some(out);
        }
        self.subject = out;
        None
    }

    /// Answers when all that was appended so far is stored.
    pub(super) fn answer_after(&mut self, reply: &[u8], body: &[u8], answer: Answer) {
        let after = self.store.log().last_index();
        self.waiting.push(after, reply, body, answer);
        // What was there already is answered in this turn, too.
        self.dirty = true;
    }

    /// What is answered to a message that is not taken.
    pub(super) fn refusal(&self, error: ApiError) -> Vec<u8> {
        use crate::jetstream::api::pub_ack::PubAckResponse;
        PubAckResponse::refused(&self.config.name, error).encode()
    }

    pub(super) fn refuse<O: Out>(&self, reply: Option<&[u8]>, error: ApiError, out: &mut O) {
        if let Some(reply) = reply {
            let body = self.refusal(error);
            out.send(&self.account, &Outgoing::plain(reply, &body));
        }
    }

    fn refuse_for_overload<O: Out>(&mut self, reply: Option<&[u8]>, out: &mut O) {
        let Some(reply) = reply else { return };
        let body = self.refusal(ApiError::StreamTooManyRequests);
        let message = Outgoing {
            headers: b"NATS/1.0 429 Too Many Requests\r\n\r\n",
            ..Outgoing::plain(reply, &body)
        };
        out.send(&self.account, &message);
    }

    /// Checks a message that comes alone, and stores it. One that is `sourced` was checked by the
    /// stream it is from. Gives the value of a counter, too.
    fn take(
        &mut self,
        asked: &PublishHeaders<'_>,
        message: &Incoming<'_>,
        subject: &[u8],
        sourced: bool,
        now: Timestamp,
    ) -> Result<(Taken, Option<String>), ApiError> {
        let parts = (message.headers, message.payload);
        let mut checked = match self.check(asked, parts, subject, sourced, now)? {
            Verdict::Duplicate(sequence) => return Ok((Taken::Duplicate(sequence), None)),
            Verdict::Store(checked) => checked,
        };
        if self.is_kept(subject) {
            self.room_for(message)?;
            let rolls_up = checked.rollup.is_some();
            self.check_room(subject, &checked.headers, &checked.payload, rolls_up)?;
        }
        let value = checked.value.take();
        let sequence = self.put(&[(subject, checked)], now)?;
        Ok((Taken::New(sequence), value))
    }

    /// Stores messages that were checked, all of them or none, with what they do to others; gives the
    /// sequence of the last one.
    pub(super) fn put(
        &mut self,
        messages: &[(&[u8], Checked<'_>)],
        now: Timestamp,
    ) -> Result<StreamSeq, ApiError> {
        let first = self.store.last().next();
        match messages {
            [(subject, checked)] if self.is_plain(subject, checked) => {
                let appended = self.store.append(&new_message(subject, checked, now));
                appended.map_err(|e| store_failed(&e))?;
            }
            _ => self.put_group(messages, first, now)?,
        }
        self.dirty = true;
        let mut sequence = first;
        for (at, (_, checked)) in messages.iter().enumerate() {
            sequence = StreamSeq(first.0 + at as u64);
            if !checked.id.is_empty() {
                self.dedupe.insert(&checked.id, sequence, now);
            }
            if checked.ttl_s != 0 && self.expire_at.is_none() {
                self.expire_at = Some(Timestamp(0));
            }
        }
        self.last_msg_id.clear();
        if let Some((_, checked)) = messages.last() {
            self.last_msg_id.extend_from_slice(&checked.id);
        }
        Ok(sequence)
    }

    fn put_group(
        &mut self,
        messages: &[(&[u8], Checked<'_>)],
        first: StreamSeq,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let mut steps = Vec::with_capacity(messages.len() + 2);
        // Schedules of this group, by their subjects.
        let mut timers: HashMap<&[u8], StreamSeq> = HashMap::new();
        let alone = messages.len() == 1;
        for (at, (subject, checked)) in messages.iter().enumerate() {
            let sequence = StreamSeq(first.0 + at as u64);
            let kept = self.is_kept(subject);
            steps.push(match kept {
                true => Step::Message(new_message(subject, checked, now)),
                // It has a sequence, but nobody will ever want it.
                false => Step::Skip,
            });
            if let Some(before) = timers.remove(subject).or_else(|| self.timer_on(subject)) {
                steps.push(Step::Timer(before, None));
            }
            if let Some(at) = checked.timer.filter(|_| kept) {
                steps.push(Step::Timer(sequence, Some(at)));
                timers.insert(subject, sequence);
            }
            let upto = sequence.previous();
            match checked.rollup {
                None => {}
                Some(Rollup::All) => steps.push(Step::Purge(Purge {
                    upto,
                    ..Purge::default()
                })),
                Some(Rollup::Subject) => steps.extend(self.clearing(subject, upto, alone)),
            }
            if let Some(ended) = &checked.ends {
                steps.extend(self.clearing(ended, upto, alone));
            }
        }
        let removes = |step: &Step<'_>| matches!(step, Step::Purge(_) | Step::Delete(_));
        if steps.iter().any(removes) && self.store.has_work() && self.store.work(WORK) {
            // They would have to wait for the end of a large purge, and all others with them.
            return Err(ApiError::InsufficientResources);
        }
        let stored = self.store.append_group(&steps);
        stored.map_err(|e| store_failed(&e))?;
        if self.store.has_work() {
            self.store.work(REPLACED);
        }
        Ok(())
    }

    /// Whether a message does nothing but come.
    fn is_plain(&mut self, subject: &[u8], checked: &Checked<'_>) -> bool {
        let replaces = match checked.rollup {
            None => false,
            Some(Rollup::Subject) => self.store.count_on(subject) > 0,
            Some(Rollup::All) => self.store.messages() > 0,
        };
        !replaces
            && checked.timer.is_none()
            && checked.ends.is_none()
            && self.store.next_timer().is_none()
            && self.is_kept(subject)
    }

    /// Whether messages on a subject are stored at all.
    pub(super) fn is_kept(&mut self, subject: &[u8]) -> bool {
        self.config.retention != RetentionPolicy::Interest || self.is_wanted(subject)
    }

    /// The schedule on a subject, which the next message there ends.
    pub(super) fn timer_on(&mut self, subject: &[u8]) -> Option<StreamSeq> {
        self.store.next_timer()?;
        let last = self.store.last();
        let stored = self.store.last_on(subject, last, &mut self.buffer).ok()?;
        let sequence = stored.record.sequence;
        self.store.has_timer(sequence).then_some(sequence)
    }

    /// What removes the messages on a subject. A single one needs no purge, if no others come on its
    /// subject in the same group.
    pub(super) fn clearing(
        &mut self,
        subject: &[u8],
        upto: StreamSeq,
        alone: bool,
    ) -> Option<Step<'static>> {
        let count = self.store.count_on(subject);
        if alone && count == 0 {
            return None;
        }
        if alone
            && count == 1
            && let Ok(stored) = self.store.last_on(subject, upto, &mut self.buffer)
        {
            return Some(Step::Delete(vec![stored.record.sequence]));
        }
        Some(Step::Purge(Purge {
            upto,
            keep: 0,
            filter: subject.to_vec(),
        }))
    }

    /// Reads the ids of messages from before the start, if that was not done yet.
    pub(super) fn read_ids(&mut self, now: Timestamp) {
        if !self.ids_unread {
            return;
        }
        let window = u64::try_from(self.dedupe.window().as_nanos()).unwrap_or(u64::MAX);
        let since = Timestamp(now.0.saturating_sub(window));
        let Ok(mut at) = self.store.first_at(since) else {
            return;
        };
        self.ids_unread = false;
        let last = self.store.last();
        // The id of the last message counts, however old that is.
        at = at.min(last);
        while at <= last {
            if let Ok(stored) = self.store.read(at, &mut self.buffer) {
                let record = &stored.record;
                let id = value(record.headers, MSG_ID).unwrap_or_default();
                if !id.is_empty() {
                    self.dedupe.insert(id, at, record.timestamp);
                }
                self.last_msg_id.clear();
                self.last_msg_id.extend_from_slice(id);
            }
            at = at.next();
        }
    }
}

fn new_message<'m>(subject: &'m [u8], checked: &'m Checked<'_>, now: Timestamp) -> NewMessage<'m> {
    NewMessage {
        subject,
        headers: &checked.headers,
        payload: &checked.payload,
        timestamp: now,
        ttl_s: checked.ttl_s,
    }
}

/// What publishers are told of a store that does not take a message.
pub(super) fn store_failed(error: &LogError) -> ApiError {
    match error {
        LogError::Full => ApiError::InsufficientResources,
        LogError::TooLarge { .. } => ApiError::store_failed("message too large"),
        error => ApiError::store_failed(error.to_string()),
    }
}
