//! What a stream asks of a message before it takes it, and what it makes of it.
//!
//! The order of the checks is the reference's, for it decides which error a publisher sees. Messages
//! of batches are checked in another order than those that come alone.

use super::counter::Total;
use super::{Incoming, Stream, headers};
use crate::jetstream::api::ApiError;
use crate::jetstream::api::counter::Counter;
use crate::jetstream::api::headers::{PublishHeaders, ROLLUP, Rollup, SCHEDULE, TTL, Ttl, fields};
use crate::jetstream::api::{DiscardPolicy, StorageType};
use crate::json::Time;
use crate::store::stream::{StreamState, TTL_NEVER};
use crate::store::types::{StreamSeq, Timestamp};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Bytes of headers that a message may have.
const HEADERS_MAX: usize = 65_535;

/// Bytes of the largest message in a file.
const RECORD_MAX: usize = 32 << 20;

/// A message that was checked, as it is to be stored.
#[derive(Debug)]
pub(super) struct Checked<'m> {
    pub(super) headers: Cow<'m, [u8]>,
    pub(super) payload: Cow<'m, [u8]>,
    /// By which its publisher knows it; empty for none.
    pub(super) id: Cow<'m, [u8]>,
    pub(super) ttl_s: u32,
    pub(super) rollup: Option<Rollup>,
    /// When it makes a message first, if it is a schedule.
    pub(super) timer: Option<Timestamp>,
    /// The subject of the schedule that it ends.
    pub(super) ends: Option<Vec<u8>>,
    /// The value of a counter.
    pub(super) value: Option<String>,
}

/// What becomes of a message that is not refused.
#[derive(Debug)]
pub(super) enum Verdict<'m> {
    Store(Checked<'m>),
    /// It is there already.
    Duplicate(StreamSeq),
}

/// What messages of a batch that come before one have said.
#[derive(Debug, Default)]
pub(super) struct Before {
    ids: HashSet<Vec<u8>>,
    totals: HashMap<Vec<u8>, Total>,
    subjects: HashMap<Vec<u8>, OnSubject>,
    expected: HashMap<Vec<u8>, StreamSeq>,
    messages: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct OnSubject {
    messages: u64,
    is_schedule: bool,
}

/// Why a message of a batch is not taken.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    /// It is there already, with this sequence if it is not in the batch itself.
    Duplicate(Option<StreamSeq>),
    For(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Refused {
        Refused::For(error)
    }
}

impl Refused {
    /// What is told of it.
    pub(super) fn error(self) -> ApiError {
        match self {
            Refused::Duplicate(_) => ApiError::AtomicPublishContainsDuplicateMessage,
            Refused::For(error) => error,
        }
    }
}

impl Stream {
    /// Checks a message that comes alone. One that is `sourced` was checked by the stream that it is
    /// from.
    pub(super) fn check<'m>(
        &mut self,
        asked: &PublishHeaders<'m>,
        (block, payload): (&'m [u8], &'m [u8]),
        subject: &[u8],
        sourced: bool,
        now: Timestamp,
    ) -> Result<Verdict<'m>, ApiError> {
        self.check_record(subject, block, payload)?;
        if self.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        self.check_size(block, payload)?;
        if block.len() > HEADERS_MAX {
            return Err(ApiError::StreamHeaderExceedsMaximum);
        }
        let increment = self.increment(asked, payload, sourced)?;
        self.check_name(asked)?;
        if !sourced {
            asked.check_ttl_allowed(&self.config)?;
        }
        if let Some(expected) = asked.expected_last_subject_seq()? {
            let of = match asked.expected_last_subject {
                b"" => subject,
                other => other,
            };
            let last = self.last_on(of);
            if expected != last.0 {
                return Err(ApiError::StreamWrongLastSequence { seq: last.0 });
            }
        }
        let last = self.store.last();
        if asked.expected_last_seq().is_some_and(|seq| seq != last.0) {
            return Err(ApiError::StreamWrongLastSequence { seq: last.0 });
        }
        let mut headers = Cow::Borrowed(block);
        let (mut timer, mut ends) = (None, None);
        if !sourced {
            timer = self.check_schedule(asked, subject, &mut headers, now)?;
            ends = self.check_end(asked, subject, None)?;
            asked.check_source()?;
        } else if self.allows_rollup() {
            ends = asked.ended_in_origin().map(<[u8]>::to_vec);
        }
        if !asked.msg_id.is_empty() && self.config.mirror.is_none() {
            self.read_ids(now);
            if let Some(sequence) = self.dedupe.find(asked.msg_id, now) {
                return Ok(Verdict::Duplicate(sequence));
            }
        }
        if !asked.expected_last_msg_id.is_empty() {
            self.read_ids(now);
            if asked.expected_last_msg_id != self.last_msg_id {
                let id = String::from_utf8_lossy(&self.last_msg_id).into_owned();
                return Err(ApiError::StreamWrongLastMsgId { id });
            }
        }
        let mut rollup = asked.rollup(sourced || self.allows_rollup())?;
        if timer.is_some() {
            rollup = Some(Rollup::Subject);
        }
        let mut payload = Cow::Borrowed(payload);
        let mut value = None;
        if self.config.allow_msg_counter {
            let total = self.total(subject)?;
            let counted = self.add(increment.as_ref(), total, &headers, &payload, subject)?;
            value = Some(counted.total.digits());
            payload = Cow::Owned(counted.payload);
            if let Some(changed) = counted.headers {
                headers = Cow::Owned(changed);
            }
        }
        self.check_size(&headers, &payload)?;
        if headers.len() > HEADERS_MAX {
            return Err(ApiError::StreamHeaderExceedsMaximum);
        }
        let ttl = match sourced && !self.config.allow_msg_ttl {
            true => Ttl::None,
            false => asked.ttl()?,
        };
        let ttl_s = self.ttl(ttl, &mut headers);
        Ok(Verdict::Store(Checked {
            headers,
            payload,
            id: Cow::Borrowed(asked.msg_id),
            ttl_s,
            rollup: rollup.filter(|_| self.allows_rollup()),
            timer,
            ends,
            value,
        }))
    }

    /// Checks a message of a batch, behind others that will be stored with it.
    pub(super) fn check_behind<'m>(
        &mut self,
        before: &mut Before,
        (block, payload): (&'m [u8], &'m [u8]),
        subject: &[u8],
        now: Timestamp,
    ) -> Result<Checked<'m>, Refused> {
        self.check_record(subject, block, payload)?;
        if block.len() > HEADERS_MAX {
            return Err(ApiError::StreamHeaderExceedsMaximum.into());
        }
        let asked = PublishHeaders::parse(block);
        let increment = self.increment(&asked, payload, false)?;
        self.check_name(&asked)?;
        asked.check_ttl_allowed(&self.config)?;
        let ttl = asked.ttl()?;
        if !asked.msg_id.is_empty() {
            self.read_ids(now);
            let is_new = before.ids.insert(asked.msg_id.to_vec());
            let found = self.dedupe.find(asked.msg_id, now);
            if !is_new || found.is_some() {
                return Err(Refused::Duplicate(found));
            }
        }
        asked.check_source()?;
        let mut headers = Cow::Borrowed(block);
        let mut payload = Cow::Borrowed(payload);
        let mut value = None;
        if self.config.allow_msg_counter {
            let total = match before.totals.get(subject) {
                Some(total) => total.clone(),
                None => self.total(subject)?,
            };
            let counted = self.add(increment.as_ref(), total, &headers, &payload, subject)?;
            payload = Cow::Owned(counted.payload);
            if let Some(changed) = counted.headers {
                headers = Cow::Owned(changed);
            }
            self.check_size(&headers, &payload)?;
            value = Some(counted.total.digits());
            before.totals.insert(subject.to_vec(), counted.total);
        }
        self.check_expected_behind(&asked, subject, before)?;
        let timer = self.check_schedule(&asked, subject, &mut headers, now)?;
        let ends = self.check_end(&asked, subject, Some(before))?;
        let mut rollup = asked.rollup(self.allows_rollup())?;
        if timer.is_some() {
            rollup = Some(Rollup::Subject);
        }
        let refused = match rollup {
            Some(Rollup::Subject) if before.subjects.contains_key(subject) => {
                Some("batch rollup sub invalid")
            }
            Some(Rollup::All) if before.messages > 0 => Some("batch rollup all invalid"),
            _ => None,
        };
        if let Some(err) = refused {
            return Err(ApiError::StreamRollupFailed { err: err.into() }.into());
        }
        before.messages += 1;
        before.bytes += StreamState::message_bytes(subject.len(), headers.len(), payload.len());
        let on_subject = before.subjects.entry(subject.to_vec()).or_default();
        on_subject.messages += 1;
        on_subject.is_schedule = timer.is_some();
        let coming = (before.messages, before.bytes, on_subject.messages);
        self.check_room_for(coming, subject, rollup.is_some(), true)?;
        let ttl_s = self.ttl(ttl, &mut headers);
        Ok(Checked {
            headers,
            payload,
            id: Cow::Borrowed(asked.msg_id),
            ttl_s,
            rollup,
            timer,
            ends,
            value,
        })
    }

    fn check_record(&self, subject: &[u8], block: &[u8], payload: &[u8]) -> Result<(), ApiError> {
        let size = subject.len() + block.len() + payload.len();
        match size > RECORD_MAX && self.config.storage == StorageType::File {
            true => Err(ApiError::store_failed("message too large")),
            false => Ok(()),
        }
    }

    /// Checks a message without headers.
    pub(super) fn check_as_it_is(&self, message: &Incoming<'_>) -> Result<(), ApiError> {
        self.check_record(message.subject, b"", message.payload)?;
        match self.config.sealed {
            true => Err(ApiError::StreamSealed),
            false => self.check_size(b"", message.payload),
        }
    }

    /// Checks the size that messages of this stream may have.
    pub(super) fn check_size(&self, block: &[u8], payload: &[u8]) -> Result<(), ApiError> {
        let max = usize::try_from(self.config.max_msg_size).unwrap_or(usize::MAX);
        match block.len() + payload.len() > max {
            true => Err(ApiError::StreamMessageExceedsMaximum),
            false => Ok(()),
        }
    }

    /// What is to be added to a counter. Other streams may have more in their messages.
    fn increment(
        &self,
        asked: &PublishHeaders<'_>,
        payload: &[u8],
        sourced: bool,
    ) -> Result<Option<Counter>, ApiError> {
        match sourced {
            true => asked.sourced_increment(),
            false => asked.increment(&self.config, !payload.is_empty()),
        }
    }

    fn add(
        &self,
        increment: Option<&Counter>,
        total: Total,
        block: &[u8],
        payload: &[u8],
        subject: &[u8],
    ) -> Result<super::counter::Counted, ApiError> {
        let increment = increment.ok_or(ApiError::MessageIncrMissing)?;
        // Messages from other streams say so.
        let source = PublishHeaders::parse(block).stream_source;
        let source = String::from_utf8_lossy(source);
        let subject = String::from_utf8_lossy(subject);
        let mut parts = source.split(' ');
        let from = parts.next().filter(|stream| !stream.is_empty());
        let of = parts.nth(3).unwrap_or(&subject);
        total.add(increment, block, payload, from.map(|stream| (stream, of)))
    }

    fn check_name(&self, asked: &PublishHeaders<'_>) -> Result<(), ApiError> {
        let expected = asked.expected_stream;
        match expected.is_empty() || expected == self.config.name.as_bytes() {
            true => Ok(()),
            false => Err(ApiError::StreamNotMatch),
        }
    }

    fn allows_rollup(&self) -> bool {
        self.config.allow_rollup_hdrs && !self.config.deny_purge
    }

    /// Checks what a message of a batch expects, which those before it may have made impossible.
    fn check_expected_behind(
        &mut self,
        asked: &PublishHeaders<'_>,
        subject: &[u8],
        before: &mut Before,
    ) -> Result<(), ApiError> {
        if let Some(expected) = asked.expected_last_seq() {
            let last = self.store.last().0 + before.messages;
            if expected != last {
                return Err(ApiError::StreamWrongLastSequence { seq: last });
            }
            if before.messages > 0 {
                return Err(ApiError::StreamWrongLastSequenceConstant);
            }
        }
        let Some(expected) = asked.expected_last_subject_seq()? else {
            return Ok(());
        };
        let of = match asked.expected_last_subject {
            b"" => subject,
            other => other,
        };
        if before.subjects.contains_key(of) {
            return Err(ApiError::StreamWrongLastSequenceConstant);
        }
        let last = match before.expected.get(of) {
            Some(last) => *last,
            None => self.last_on(of),
        };
        if last.0 != expected {
            return Err(ApiError::StreamWrongLastSequence { seq: last.0 });
        }
        before.expected.insert(of.to_vec(), last);
        Ok(())
    }

    /// When a message makes one first, if it is a schedule. It takes the place of those before on
    /// its subject, and says so.
    fn check_schedule(
        &self,
        asked: &PublishHeaders<'_>,
        subject: &[u8],
        block: &mut Cow<'_, [u8]>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, ApiError> {
        let now = Time::from_unix_nanos(now.0);
        let Some(scheduled) = asked.schedule(subject, &self.config, now)? else {
            return Ok(None);
        };
        if scheduled.lacks_rollup {
            *block = Cow::Owned(headers::with(block, ROLLUP, b"sub"));
        }
        // 0 would mean that there is none.
        Ok(Some(Timestamp(scheduled.next.unix_nanos().max(1))))
    }

    /// The subject of the schedule that a message ends.
    fn check_end(
        &mut self,
        asked: &PublishHeaders<'_>,
        subject: &[u8],
        before: Option<&Before>,
    ) -> Result<Option<Vec<u8>>, ApiError> {
        let Some(ended) = asked.ended_schedule(subject, &self.config)? else {
            return Ok(None);
        };
        let is_schedule = match before.and_then(|before| before.subjects.get(ended)) {
            Some(on_subject) => on_subject.is_schedule,
            None => {
                let last = self.store.last();
                let stored = self.store.last_on(ended, last, &mut self.buffer);
                // There need not be one.
                stored.map_or(true, |stored| {
                    let mut all = fields(stored.record.headers);
                    all.any(|(name, value)| name == SCHEDULE.as_bytes() && !value.is_empty())
                })
            }
        };
        match is_schedule {
            true => Ok(Some(ended.to_vec())),
            false => Err(ApiError::MessageSchedulesSchedulerInvalid),
        }
    }

    /// How long a message stays, in seconds. That is not less than markers stay, which would go
    /// before them otherwise.
    pub(super) fn ttl(&self, ttl: Ttl, block: &mut Cow<'_, [u8]>) -> u32 {
        let seconds = headers::seconds(ttl);
        let least = self.marker_ttl_s();
        if seconds == 0 || self.config.max_msgs_per_subject == 1 || seconds >= least {
            return seconds;
        }
        let text = least.to_string();
        let rest = headers::without(block, |name| name == TTL.as_bytes());
        *block = Cow::Owned(headers::with(&rest, TTL, text.as_bytes()));
        least
    }

    /// How long markers stay, in seconds; 0 if there are none.
    pub(super) fn marker_ttl_s(&self) -> u32 {
        let seconds = self.config.subject_delete_marker_ttl.0 / 1_000_000_000;
        u32::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { TTL_NEVER - 1 })
    }

    /// Whether a message fits that nothing is to be removed for.
    pub(super) fn check_room(
        &self,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
        rolls_up: bool,
    ) -> Result<(), ApiError> {
        let bytes = StreamState::message_bytes(subject.len(), headers.len(), payload.len());
        self.check_room_for((1, bytes, 1), subject, rolls_up, false)
    }

    /// The same for so many messages, bytes, and messages on the subject.
    fn check_room_for(
        &self,
        (messages, bytes, on_subject): (u64, u64, u64),
        subject: &[u8],
        rolls_up: bool,
        in_batch: bool,
    ) -> Result<(), ApiError> {
        let config = &self.config;
        if config.discard != DiscardPolicy::New {
            return Ok(());
        }
        let over = |limit: i64, is: u64| u64::try_from(limit).is_ok_and(|max| max > 0 && is > max);
        let is_full = || {
            config.max_msgs_per_subject > 0
                && over(
                    config.max_msgs_per_subject,
                    self.store.count_on(subject) + on_subject,
                )
        };
        if config.discard_new_per_subject && !rolls_up && is_full() {
            return Err(ApiError::store_failed(
                "maximum messages per subject exceeded",
            ));
        }
        // One that takes another's place takes no more room than that.
        let replaces = || !in_batch && !config.discard_new_per_subject && is_full();
        if over(config.max_msgs, self.store.messages() + messages) && !replaces() {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if over(config.max_bytes, self.store.bytes() + bytes) && !replaces() {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        Ok(())
    }

    /// The sequence of the last message on a subject, or on those that it matches; 0 for none.
    fn last_on(&mut self, subject: &[u8]) -> StreamSeq {
        use crate::store::index::{Filters, as_literal};
        let last = self.store.last();
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
}
