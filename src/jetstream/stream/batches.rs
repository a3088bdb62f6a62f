//! Batches of which all messages are stored or none. They are held in memory until their last message
//! comes, checked as one, and written as one group.

use super::check::{Before, Checked, Refused};
use super::waiting::Answer;
use super::{Incoming, Stream, headers};
use crate::jetstream::api::advisory::AbandonReason;
use crate::jetstream::api::headers::{BATCH_COMMIT, Commit, EXPECTED_LAST_MSG_ID, PublishHeaders};
use crate::jetstream::api::subjects::REQUIRED_LEVEL;
use crate::jetstream::api::{ApiError, LEVEL};
use crate::jetstream::out::{Out, Outgoing};
use crate::options::jetstream::BatchLimits;
use crate::store::types::Timestamp;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Batches that are open in all streams of a server.
#[derive(Debug, Default)]
pub struct OpenBatches {
    pub(super) atomic: AtomicUsize,
    pub(super) fast: AtomicUsize,
}

/// Those of a stream.
pub(super) struct Batches {
    atomic: HashMap<Box<[u8]>, Staged>,
    /// Bytes that they hold.
    held: usize,
    all: Arc<OpenBatches>,
    /// Not behind the time at which the first of them is given up.
    look_at: Option<Timestamp>,
    /// Those that were given up, of which it is to be told.
    abandoned: Vec<(String, AbandonReason)>,
}

/// A batch that is not complete.
struct Staged {
    messages: Vec<Message>,
    bytes: usize,
    until: Timestamp,
}

struct Message {
    subject: Box<[u8]>,
    headers: Box<[u8]>,
    payload: Box<[u8]>,
}

impl Batches {
    pub(super) fn new(all: Arc<OpenBatches>) -> Batches {
        Batches {
            atomic: HashMap::new(),
            held: 0,
            all,
            look_at: None,
            abandoned: Vec::new(),
        }
    }

    /// When [`Batches::expire`] is to be called.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.look_at
    }

    /// Gives up those whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let over = self.atomic.iter().filter(|(_, batch)| batch.until <= now);
        let over: Vec<_> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            self.abandon(&id, Some(AbandonReason::Timeout));
        }
        self.look_at = self.atomic.values().map(|batch| batch.until).min();
    }

    /// Gives up all.
    pub(super) fn clear(&mut self) {
        while let Some(id) = self.atomic.keys().next().cloned() {
            self.take(&id);
        }
    }

    fn take(&mut self, id: &[u8]) -> Option<Staged> {
        let batch = self.atomic.remove(id)?;
        self.held -= batch.bytes;
        self.all.atomic.fetch_sub(1, Ordering::Relaxed);
        Some(batch)
    }

    /// Gives one up, and says why if that is to be told.
    fn abandon(&mut self, id: &[u8], reason: Option<AbandonReason>) {
        self.take(id);
        if let Some(reason) = reason {
            let id = String::from_utf8_lossy(id).into_owned();
            self.abandoned.push((id, reason));
        }
    }

    pub(super) fn take_abandoned(&mut self) -> Vec<(String, AbandonReason)> {
        std::mem::take(&mut self.abandoned)
    }

    fn open(&mut self, id: &[u8], limits: &BatchLimits, until: Timestamp) -> Result<(), ApiError> {
        let too_many = ApiError::AtomicPublishTooManyInflight;
        if self.atomic.len() >= limits.per_stream.unwrap_or(ATOMIC_PER_STREAM) {
            return Err(too_many);
        }
        let total = limits.total.unwrap_or(ATOMIC_TOTAL);
        if self.all.atomic.fetch_add(1, Ordering::Relaxed) >= total {
            self.all.atomic.fetch_sub(1, Ordering::Relaxed);
            return Err(too_many);
        }
        let batch = Staged {
            messages: Vec::new(),
            bytes: 0,
            until,
        };
        self.atomic.insert(id.into(), batch);
        self.look_at = Some(self.look_at.map_or(until, |at| at.min(until)));
        Ok(())
    }
}

/// Open batches that a stream, and all streams, may have where nothing else is configured.
const ATOMIC_PER_STREAM: usize = 50;
const ATOMIC_TOTAL: usize = 1000;

impl Drop for Batches {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Stream {
    /// Takes a message of a batch.
    pub(super) fn publish_staged<O: Out>(
        &mut self,
        asked: &PublishHeaders<'_>,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let reply = message.reply.filter(|_| !self.config.no_ack);
        match self.stage(asked, message, now) {
            Ok(None) => {
                if let Some(reply) = reply {
                    out.send(&self.account, &Outgoing::plain(reply, b""));
                }
            }
            Ok(Some((answer, body))) => {
                if let Some(reply) = reply {
                    self.answer_after(reply, body.as_bytes(), answer);
                    self.waiting.hold(message.payload.len());
                }
            }
            Err(error) => {
                // What there is to be told of it is told at the end of a turn.
                self.dirty = true;
                self.refuse(reply, error, out);
            }
        }
    }

    /// Adds a message to its batch; gives what is to be answered if it was the last one.
    fn stage(
        &mut self,
        asked: &PublishHeaders<'_>,
        message: &Incoming<'_>,
        now: Timestamp,
    ) -> Result<Option<(Answer, String)>, ApiError> {
        if self.config.sealed {
            return Err(ApiError::StreamSealed);
        }
        self.check_size(message.headers, message.payload)?;
        let Some(place) = asked.atomic_batch(&self.config)? else {
            return Ok(None);
        };
        self.batches.expire(now);
        let (id, limits) = (place.id, self.bounds.batches);
        let commit = place.commit();
        let ends_behind = commit == Ok(Commit::Behind);
        // What ends a batch and is not stored does not count.
        let size = place.seq - u64::from(ends_behind && place.seq > 0);
        let is_large = size > limits.messages as u64;
        let large = ApiError::AtomicPublishTooLargeBatch {
            size: limits.messages,
        };
        let until = Timestamp(now.0.saturating_add(nanos(limits.timeout)));
        if !self.batches.atomic.contains_key(id) {
            if place.seq != 1 {
                return Err(match is_large {
                    true => large,
                    false => ApiError::AtomicPublishIncompleteBatch,
                });
            }
            self.batches.open(id, &limits, until)?;
        }
        let commit = commit.inspect_err(|_| self.batches.abandon(id, None))?;
        let mut block = Cow::Borrowed(message.headers);
        if !asked.required_level.is_empty() {
            if !is_met(asked.required_level) {
                let reason = AbandonReason::Unsupported;
                self.batches.abandon(id, Some(reason));
                return Err(ApiError::RequiredApiLevel);
            }
            let rest = headers::without(&block, |name| name == REQUIRED_LEVEL.as_bytes());
            block = Cow::Owned(rest);
        }
        let incomplete = ApiError::AtomicPublishIncompleteBatch;
        let bytes = message.subject.len() + block.len() + message.payload.len();
        let held = self.batches.held + bytes;
        let batch = self.batches.atomic.get_mut(id);
        let batch = batch.ok_or(incomplete.clone())?;
        batch.until = until;
        let follows = place.seq == batch.messages.len() as u64 + 1;
        let (reason, error) = if !follows || place.seq == 1 && ends_behind {
            (AbandonReason::Incomplete, incomplete)
        } else if is_large || held > self.bounds.waiting_bytes {
            (AbandonReason::Large, large)
        } else {
            if !ends_behind {
                batch.bytes += bytes;
                self.batches.held = held;
                batch.messages.push(Message {
                    subject: message.subject.into(),
                    headers: (&*block).into(),
                    payload: message.payload.into(),
                });
            }
            return match commit {
                Commit::No => Ok(None),
                Commit::Last | Commit::Behind => self.commit_batch(id, ends_behind, now).map(Some),
            };
        };
        self.batches.abandon(id, Some(reason));
        Err(error)
    }

    /// Checks a batch that is complete, and stores it.
    fn commit_batch(
        &mut self,
        id: &[u8],
        ends_behind: bool,
        now: Timestamp,
    ) -> Result<(Answer, String), ApiError> {
        let batch = self.batches.take(id);
        let batch = batch.ok_or(ApiError::AtomicPublishIncompleteBatch)?;
        let count = batch.messages.len();
        let mut before = Before::default();
        let mut subjects = Vec::with_capacity(count);
        let mut checked: Vec<Checked<'_>> = Vec::with_capacity(count);
        for message in &batch.messages {
            let transformed = self.transformed(&message.subject);
            let subject = transformed.map_or(Cow::Borrowed(&*message.subject), Cow::Owned);
            if !PublishHeaders::parse(&message.headers)
                .expected_last_msg_id
                .is_empty()
            {
                let header = EXPECTED_LAST_MSG_ID.to_owned();
                return Err(ApiError::AtomicPublishUnsupportedHeaderBatch { header });
            }
            let parts = (&*message.headers, &*message.payload);
            let result = self.check_behind(&mut before, parts, &subject, now);
            checked.push(result.map_err(Refused::error)?);
            subjects.push(subject);
        }
        if let Some(last) = checked.last_mut().filter(|_| ends_behind) {
            last.headers = Cow::Owned(headers::with(&last.headers, BATCH_COMMIT, b"1"));
        }
        let messages: Vec<_> = subjects.iter().map(|s| &**s).zip(checked).collect();
        let sequence = self.put(&messages, now)?;
        Ok((Answer::Stored(sequence), batch_end(id, count as u64)))
    }
}

/// What the answer to a whole batch has behind the sequence.
pub(super) fn batch_end(id: &[u8], count: u64) -> String {
    let id = String::from_utf8_lossy(id);
    let id = String::from_utf8(crate::json::compact(&id)).unwrap_or_default();
    format!(",\"batch\":{id},\"count\":{count}")
}

/// Whether a server of this level has what a publisher requires.
pub(super) fn is_met(level: &[u8]) -> bool {
    let level = std::str::from_utf8(level).ok();
    level
        .and_then(|text| text.parse::<u16>().ok())
        .is_some_and(|level| level <= LEVEL)
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
