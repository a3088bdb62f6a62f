//! A message on its way into a stream.

use super::headers::{PublishHeaders, Rollup, number, rollup, ttl};
use super::waiting::Answer;
use super::{Stream, push_decimal};
use crate::base::text::Rfc3339;
use crate::jetstream::api::{ApiError, DiscardPolicy, RetentionPolicy, StorageType};
use crate::jetstream::out::{Out, Outgoing};
use crate::proto::headers;
use crate::store::error::LogError;
use crate::store::stream::{NewMessage, Purge, StreamState};
use crate::store::types::{StreamSeq, Timestamp};
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of headers that a message may have.
const HEADERS_MAX: usize = 65_535;

/// Bytes of the largest message in a file.
const RECORD_MAX: usize = 32 << 20;

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
pub(super) enum Taken {
    New(StreamSeq),
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
        let mut subject = std::mem::take(&mut self.subject);
        let transformed = self.transform.as_ref().is_some_and(|transform| {
            subject.clear();
            transform.apply(message.subject, &mut self.rng, &mut subject)
        });
        let stored_on = if transformed {
            &subject[..]
        } else {
            message.subject
        };
        let result = self.take(message, stored_on, now);
        self.subject = subject;
        match result {
            Ok(taken) => {
                let Some(reply) = reply else { return };
                let answer = match taken {
                    Taken::New(sequence) => Answer::Stored(sequence),
                    Taken::Duplicate(sequence) => Answer::Duplicate(sequence),
                };
                let after = self.store.log().last_index();
                self.waiting.push(after, reply, b"", answer);
                // What was there already is answered in this turn, too.
                self.dirty = true;
                self.waiting
                    .hold(message.payload.len() + message.headers.len());
            }
            Err(error) => {
                if let Some(reply) = reply {
                    let body = self.refusal(error);
                    out.send(&self.account, &Outgoing::plain(reply, &body));
                }
            }
        }
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
        let mut changed = Vec::new();
        let transform = self.transform.as_ref();
        let applied =
            transform.is_some_and(|t| t.apply(message.subject, &mut self.rng, &mut changed));
        let subject = match applied {
            true => &changed[..],
            false => message.subject,
        };
        let size = message.headers.len() + message.payload.len();
        if size > RECORD_MAX && self.config.storage == StorageType::File {
            return Err(ApiError::store_failed("message too large"));
        }
        if self.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        let max = usize::try_from(self.config.max_msg_size).unwrap_or(usize::MAX);
        if self.config.max_msg_size >= 0 && size > max {
            return Err(ApiError::StreamMessageExceedsMaximum);
        }
        if message.headers.len() > HEADERS_MAX {
            return Err(ApiError::StreamHeaderExceedsMaximum);
        }
        let asked = PublishHeaders::read(message.headers);
        let id = asked.msg_id.filter(|id| !id.is_empty());
        if let Some(id) = id.filter(|_| self.config.mirror.is_none()) {
            self.read_ids(now);
            if let Some(sequence) = self.dedupe.find(id, now) {
                return Ok(Taken::Duplicate(sequence));
            }
        }
        let may_roll = self.config.allow_rollup_hdrs && !self.config.deny_purge;
        let rollup = asked.rollup.map(rollup).transpose()?;
        let rollup = rollup.filter(|_| may_roll);
        self.check_room(message, subject, rollup)?;
        if rollup.is_some() && self.store.has_work() && self.store.work(super::WORK) {
            return Err(ApiError::InsufficientResources);
        }
        let ttl_s = match self.config.allow_msg_ttl {
            true => asked.ttl.map(ttl).transpose()?.unwrap_or(0),
            false => 0,
        };
        if self.config.retention == RetentionPolicy::Interest && !self.is_wanted(subject) {
            let sequence = self.store.state().last.next();
            self.store.skip_to(sequence).map_err(|e| store_failed(&e))?;
            self.dirty = true;
            return Ok(Taken::New(sequence));
        }
        let mut block = std::mem::take(&mut self.block);
        let stored = self.append(message, subject, ttl_s, now, &mut block);
        self.block = block;
        let sequence = stored?;
        if let Some(id) = id {
            self.dedupe.insert(id, sequence, now);
        }
        self.last_msg_id.clear();
        self.last_msg_id.extend_from_slice(id.unwrap_or_default());
        if let Some(rollup) = rollup {
            self.roll_up(rollup, subject, sequence)?;
        }
        Ok(Taken::New(sequence))
    }

    /// What is answered to a message that is not taken.
    pub(super) fn refusal(&self, error: ApiError) -> Vec<u8> {
        use crate::jetstream::api::pub_ack::PubAckResponse;
        PubAckResponse::refused(&self.config.name, error).encode()
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

    fn take(
        &mut self,
        message: &Incoming<'_>,
        subject: &[u8],
        now: Timestamp,
    ) -> Result<Taken, ApiError> {
        let size = message.headers.len() + message.payload.len();
        if size > RECORD_MAX && self.config.storage == StorageType::File {
            return Err(ApiError::store_failed("message too large"));
        }
        if self.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        let asked = PublishHeaders::read(message.headers);
        if asked.increment.is_some() {
            return Err(ApiError::MessageIncrDisabled);
        }
        self.check_expectations(&asked, subject)?;
        if asked.schedule.is_some() {
            return Err(ApiError::MessageSchedulesDisabled);
        }
        if asked.scheduler.is_some() || asked.schedule_next.is_some() {
            return Err(ApiError::MessageSchedulesSchedulerInvalid);
        }
        if asked.source.is_some() {
            return Err(ApiError::MessageSourceHdrNotAllowed);
        }
        if asked.batch_id.is_some() {
            return Err(ApiError::AtomicPublishDisabled);
        }
        let id = asked.msg_id.filter(|id| !id.is_empty());
        if let Some(id) = id {
            self.read_ids(now);
            if let Some(sequence) = self.dedupe.find(id, now) {
                return Ok(Taken::Duplicate(sequence));
            }
        }
        if let Some(expected) = asked.expected_msg_id.filter(|id| !id.is_empty()) {
            self.read_ids(now);
            if expected != self.last_msg_id {
                let id = String::from_utf8_lossy(&self.last_msg_id).into_owned();
                return Err(ApiError::StreamWrongLastMsgId { id });
            }
        }
        let rollup = asked.rollup.map(rollup).transpose()?;
        if rollup.is_some() && (!self.config.allow_rollup_hdrs || self.config.deny_purge) {
            return Err(ApiError::StreamRollupFailed {
                err: "rollup not permitted".into(),
            });
        }
        let max = usize::try_from(self.config.max_msg_size).unwrap_or(usize::MAX);
        if self.config.max_msg_size >= 0 && size > max {
            return Err(ApiError::StreamMessageExceedsMaximum);
        }
        if message.headers.len() > HEADERS_MAX {
            return Err(ApiError::StreamHeaderExceedsMaximum);
        }
        self.check_room(message, subject, rollup)?;
        if rollup.is_some() && self.store.has_work() && self.store.work(super::WORK) {
            // It would have to wait for the end of a large purge, and all others with it.
            return Err(ApiError::InsufficientResources);
        }
        let ttl_s = asked.ttl.map(ttl).transpose()?.unwrap_or(0);
        if self.config.retention == RetentionPolicy::Interest && !self.is_wanted(subject) {
            // It has a sequence, but nobody will ever want it.
            let sequence = self.store.state().last.next();
            self.store.skip_to(sequence).map_err(|e| store_failed(&e))?;
            self.dirty = true;
            return Ok(Taken::New(sequence));
        }
        let mut block = std::mem::take(&mut self.block);
        let stored = self.append(message, subject, ttl_s, now, &mut block);
        self.block = block;
        let sequence = stored?;
        if let Some(id) = id {
            self.dedupe.insert(id, sequence, now);
        }
        self.last_msg_id.clear();
        self.last_msg_id.extend_from_slice(id.unwrap_or_default());
        if let Some(rollup) = rollup {
            self.roll_up(rollup, subject, sequence)?;
        }
        Ok(Taken::New(sequence))
    }

    fn append(
        &mut self,
        message: &Incoming<'_>,
        subject: &[u8],
        ttl_s: u32,
        now: Timestamp,
        block: &mut Vec<u8>,
    ) -> Result<StreamSeq, ApiError> {
        let headers = stored_headers(message.headers, block);
        let new = NewMessage {
            subject,
            headers,
            payload: message.payload,
            timestamp: now,
            ttl_s,
        };
        let appended = self.store.append(&new);
        let (sequence, _) = appended.map_err(|e| store_failed(&e))?;
        self.dirty = true;
        if ttl_s != 0 && self.expire_at.is_none() {
            self.expire_at = Some(Timestamp(0));
        }
        Ok(sequence)
    }

    /// Checks what the publisher says of messages that are there.
    fn check_expectations(
        &mut self,
        asked: &PublishHeaders<'_>,
        subject: &[u8],
    ) -> Result<(), ApiError> {
        if let Some(name) = asked.expected_stream.filter(|name| !name.is_empty())
            && name != self.config.name.as_bytes()
        {
            return Err(ApiError::StreamNotMatch);
        }
        if asked.ttl.is_some() && !self.config.allow_msg_ttl {
            return Err(ApiError::MessageTtlDisabled);
        }
        match (asked.expected_last_on_subject, asked.expected_subject) {
            (Some(expected), other) => {
                let expected = number(expected);
                let last = self.last_on(other.unwrap_or(subject));
                if expected != Some(last.0) {
                    return Err(ApiError::StreamWrongLastSequence { seq: last.0 });
                }
            }
            (None, Some(_)) => return Err(ApiError::StreamExpectedLastSeqPerSubjectInvalid),
            (None, None) => {}
        }
        if let Some(expected) = asked.expected_last {
            let last = self.store.state().last;
            if number(expected) != Some(last.0) {
                return Err(ApiError::StreamWrongLastSequence { seq: last.0 });
            }
        }
        Ok(())
    }

    /// The sequence of the last message on a subject, or on those that it matches; 0 for none.
    fn last_on(&mut self, subject: &[u8]) -> StreamSeq {
        use crate::store::index::{Filters, as_literal};
        let last = self.store.state().last;
        if as_literal(subject).is_some() {
            let found = self.store.last_on(subject, last, &mut self.buffer);
            return found.map_or(StreamSeq(0), |stored| stored.record.sequence);
        }
        let Ok(filters) = Filters::new([subject]) else {
            return StreamSeq(0);
        };
        let all = self.store.last_on_each(&filters, last, usize::MAX);
        all.and_then(|all| all.last().copied()).unwrap_or_default()
    }

    /// Whether a message fits that nothing is to be removed for.
    fn check_room(
        &self,
        message: &Incoming<'_>,
        subject: &[u8],
        rollup: Option<Rollup>,
    ) -> Result<(), ApiError> {
        let config = &self.config;
        if config.discard != DiscardPolicy::New {
            return Ok(());
        }
        let state = self.store.state();
        let bytes =
            StreamState::message_bytes(subject.len(), message.headers.len(), message.payload.len());
        let on_subject = match u64::try_from(config.max_msgs_per_subject) {
            Ok(max) if max > 0 => (max, self.store.count_on(subject)),
            _ => (u64::MAX, 0),
        };
        let is_full = on_subject.1 >= on_subject.0;
        if is_full && config.discard_new_per_subject && rollup.is_none() {
            return Err(ApiError::store_failed(
                "maximum messages per subject exceeded",
            ));
        }
        // One that takes another's place takes no more room than that.
        let replaces = is_full && !config.discard_new_per_subject;
        let over = |limit: i64, is: u64| u64::try_from(limit).is_ok_and(|max| max > 0 && is > max);
        if over(config.max_msgs, state.messages + 1) && !replaces {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if over(config.max_bytes, state.bytes + bytes) && !replaces {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        Ok(())
    }

    fn roll_up(
        &mut self,
        rollup: Rollup,
        subject: &[u8],
        sequence: StreamSeq,
    ) -> Result<(), ApiError> {
        let filter = match rollup {
            Rollup::Subject if self.store.count_on(subject) <= 1 => return Ok(()),
            Rollup::Subject => subject.to_vec(),
            Rollup::All => vec![],
        };
        let purge = Purge {
            upto: sequence.previous(),
            keep: 0,
            filter,
        };
        self.store.purge(&purge).map_err(|e| store_failed(&e))?;
        // Most replace one message.
        self.store.work(16);
        Ok(())
    }

    /// Reads the ids of messages from before the start, if that was not done yet.
    fn read_ids(&mut self, now: Timestamp) {
        if !std::mem::take(&mut self.ids_unread) {
            return;
        }
        let window = u64::try_from(self.dedupe.window().as_nanos()).unwrap_or(u64::MAX);
        let since = Timestamp(now.0.saturating_sub(window));
        let Ok(mut at) = self.store.first_at(since) else {
            return;
        };
        let last = self.store.state().last;
        while at <= last {
            if let Ok(stored) = self.store.read(at, &mut self.buffer) {
                let record = &stored.record;
                let id = PublishHeaders::read(record.headers).msg_id;
                if let Some(id) = id.filter(|id| !id.is_empty()) {
                    self.dedupe.insert(id, at, record.timestamp);
                }
                self.last_msg_id.clear();
                self.last_msg_id.extend_from_slice(id.unwrap_or_default());
            }
            at = at.next();
        }
    }

    /// Publishes messages again that have become visible.
    pub(super) fn republish_from<O: Out>(&mut self, from: StreamSeq, out: &mut O) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = from;
        while at <= self.visible {
            if let Ok(stored) = self.store.read(at, &mut buffer) {
                let record = &stored.record;
                let parts = (record.subject, record.headers, record.payload);
                self.republish_one((at, record.previous, record.timestamp), parts, out);
            }
            at = at.next();
        }
        self.buffer = buffer;
    }

    fn republish_one<O: Out>(
        &mut self,
        (sequence, previous, time): (StreamSeq, StreamSeq, Timestamp),
        (subject, block, payload): (&[u8], &[u8], &[u8]),
        out: &mut O,
    ) {
        let (Some(transform), Some(config)) = (&self.republish, &self.config.republish) else {
            return;
        };
        let mut to = Vec::new();
        if !transform.apply(subject, &mut self.rng, &mut to)
            || !crate::subject::is_literal(&to)
            || !crate::subject::is_valid(&to)
        {
            return;
        }
        let mut headers = match block.strip_suffix(b"\r\n") {
            Some(block) => block.to_vec(),
            None => b"NATS/1.0\r\n".to_vec(),
        };
        let time = Rfc3339(UNIX_EPOCH + Duration::from_nanos(time.0));
        let mut field = |name: &str, value: &[u8]| {
            headers.extend_from_slice(name.as_bytes());
            headers.extend_from_slice(b": ");
            headers.extend_from_slice(value);
            headers.extend_from_slice(b"\r\n");
        };
        field("Nats-Stream", self.config.name.as_bytes());
        field("Nats-Subject", subject);
        field("Nats-Sequence", sequence.0.to_string().as_bytes());
        field("Nats-Time-Stamp", time.to_string().as_bytes());
        field("Nats-Last-Sequence", previous.0.to_string().as_bytes());
        let mut body = payload;
        if config.headers_only {
            let mut len = Vec::new();
            push_decimal(&mut len, payload.len() as u64);
            field("Nats-Msg-Size", &len);
            body = b"";
        }
        headers.write_all(b"\r\n").expect("a Vec takes all");
        let message = Outgoing {
            headers: &headers,
            ..Outgoing::plain(&to, body)
        };
        out.send(&self.account, &message);
    }
}

/// The headers as they are stored: without who asked, which other accounts' requests bring, and
/// without a status.
fn stored_headers<'h>(block: &'h [u8], scratch: &'h mut Vec<u8>) -> &'h [u8] {
    const INFO: &[u8] = b"Nats-Request-Info";
    let plain = block.is_empty() || block.starts_with(b"NATS/1.0\r\n");
    if plain && memchr::memmem::find(block, INFO).is_none() {
        return block;
    }
    scratch.clear();
    scratch.extend_from_slice(b"NATS/1.0\r\n");
    for (name, value) in headers::fields(block) {
        if !name.eq_ignore_ascii_case(INFO) {
            scratch.extend_from_slice(name);
            scratch.extend_from_slice(b": ");
            scratch.extend_from_slice(value);
            scratch.extend_from_slice(b"\r\n");
        }
    }
    if scratch.len() == b"NATS/1.0\r\n".len() {
        return b"";
    }
    scratch.extend_from_slice(b"\r\n");
    scratch
}

/// What publishers are told of a store that does not take a message.
pub(super) fn store_failed(error: &LogError) -> ApiError {
    match error {
        LogError::Full => ApiError::InsufficientResources,
        LogError::TooLarge { .. } => ApiError::store_failed("message too large"),
        error => ApiError::store_failed(error.to_string()),
    }
}
