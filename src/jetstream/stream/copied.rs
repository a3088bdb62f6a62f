//! Messages that are copied from other streams.

use super::Stream;
use super::headers::{PublishHeaders, Rollup, rollup, ttl};
use super::publish::{HEADERS_MAX, Incoming, RECORD_MAX, store_failed};
use crate::jetstream::api::{ApiError, RetentionPolicy, StorageType};
use crate::jetstream::origin::header;
use crate::jetstream::origin::link::{Heard, Taking};
use crate::store::stream::NewMessage;
use crate::store::types::{StreamSeq, Timestamp};

impl Stream {
    /// Stores a message as in the origin: with the same sequence, at the same time. Gives whether
    /// that left a trace in the stream.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn take_mirrored(
        &mut self,
        heard: &Heard<'_>,
        subject: &[u8],
        taking: &Taking,
        _now: Timestamp,
    ) -> Result<bool, ApiError> {
        let last = self.store.state().last;
        if taking.sequence <= last {
            return Ok(true);
        }
        let before = taking.sequence.previous();
        if before > last {
            self.dirty = true;
            self.store.skip_to(before).map_err(|e| store_failed(&e))?;
        }
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        header::copy(heard.headers, None, &mut block);
        let message = Incoming {
            subject,
            reply: None,
            headers: &block,
            payload: heard.payload,
        };
        let result = self.store_copy(&message, None, taking.timestamp);
        self.block = block;
        result
    }

    /// Stores a message of a source, whose header `source` is. Gives whether that left a trace in
    /// the stream.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn take_sourced(
        &mut self,
        heard: &Heard<'_>,
        subject: &[u8],
        source: &[u8],
        now: Timestamp,
    ) -> Result<bool, ApiError> {
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        header::copy(heard.headers, Some(source), &mut block);
        let message = Incoming {
            subject,
            reply: None,
            headers: &block,
            payload: heard.payload,
        };
        let id = PublishHeaders::read(&block).msg_id;
        let result = self.store_unless_known(&message, id, now);
        self.block = block;
        result
    }

    fn store_unless_known(
        &mut self,
        message: &Incoming<'_>,
        id: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<bool, ApiError> {
        let id = id.filter(|id| !id.is_empty());
        if let Some(id) = id {
            self.read_ids(now);
            if self.dedupe.find(id, now).is_some() {
                return Ok(false);
            }
        }
        self.store_copy(message, id, now)
    }

    /// Stores a message whose publisher was answered by another stream.
    fn store_copy(
        &mut self,
        message: &Incoming<'_>,
        id: Option<&[u8]>,
        time: Timestamp,
    ) -> Result<bool, ApiError> {
        let mut changed = Vec::new();
        let transform = self.transform.as_ref();
        let applied = transform.is_some_and(|t| {
            changed.clear();
            t.apply(message.subject, &mut self.rng, &mut changed)
        });
        let subject = if applied {
            &changed[..]
        } else {
            message.subject
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
        let rolls = asked.rollup.map(rollup).transpose()?;
        let may_roll = self.config.allow_rollup_hdrs && !self.config.deny_purge;
        let rolls: Option<Rollup> = rolls.filter(|_| may_roll);
        self.check_room(message, subject, rolls)?;
        if rolls.is_some() && self.store.has_work() && self.store.work(super::WORK) {
            return Err(ApiError::InsufficientResources);
        }
        let ttl_s = match self.config.allow_msg_ttl {
            true => asked.ttl.map(ttl).transpose()?.unwrap_or(0),
            false => 0,
        };
        self.dirty = true;
        if self.config.retention == RetentionPolicy::Interest && !self.is_wanted(subject) {
            let sequence = self.store.state().last.next();
            self.store.skip_to(sequence).map_err(|e| store_failed(&e))?;
            return Ok(false);
        }
        let new = NewMessage {
            subject,
            headers: message.headers,
            payload: message.payload,
            timestamp: time,
            ttl_s,
        };
        let (sequence, _): (StreamSeq, _) =
            self.store.append(&new).map_err(|e| store_failed(&e))?;
        if ttl_s != 0 && self.expire_at.is_none() {
            self.expire_at = Some(Timestamp(0));
        }
        if let Some(id) = id {
            self.dedupe.insert(id, sequence, time);
        }
        self.last_msg_id.clear();
        self.last_msg_id.extend_from_slice(id.unwrap_or_default());
        if let Some(rolls) = rolls {
            self.roll_up(rolls, subject, sequence)?;
        }
        Ok(true)
    }
}
