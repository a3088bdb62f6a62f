//! What makes messages go: deletes, purges, age, limits; and what makes their bytes go.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::state::{ERASE, KEEP, State, TRIM, size};
use super::{NewMessage, Purge, Step, StreamStore, TTL_NEVER};
use crate::store::error::LogError;
use crate::store::file::format::{Kind, encode_runs};
use crate::store::file::{Log, ReadBuffer};
use crate::store::index::{Cursor, Filters};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// Messages that an order may have to wait for, about: some milliseconds of work.
const WAY_MAX: usize = 4096;

/// Messages that one record says to have expired, at most.
const EXPIRE_MAX: usize = 4096;

/// What expired.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expired {
    /// Messages that are gone, in order.
    pub messages: Vec<StreamSeq>,
    /// Whether there may be more.
    pub more: bool,
}

/// What is put in the place of the last message of a subject that expires.
pub struct Marker<'a> {
    pub headers: &'a [u8],
    /// Seconds after which it goes itself.
    pub ttl_s: u32,
    /// Whether there is to be one for a message with this subject and these headers.
    pub is_for: &'a dyn Fn(&[u8], &[u8]) -> bool,
}

impl StreamStore {
    /// Removes a message, when all other [work](StreamStore::work) is done; gives the index of the
    /// record that says so, or `None` if there is no such message.
    ///
    /// # Errors
    /// As [`StreamStore::set_limits`].
    pub fn delete(&mut self, sequence: StreamSeq) -> Result<Option<LogIndex>, LogError> {
        self.delete_one(KEEP, sequence)
    }

    /// Removes a message as [`StreamStore::delete`] does, and has its headers and payload overwritten
    /// as soon as that is on the disk: by a [job](StreamStore::poll_job), and by another one after the
    /// next opening if a crash comes between. The subject stays as long as the record does.
    pub fn erase(&mut self, sequence: StreamSeq) -> Result<Option<LogIndex>, LogError> {
        self.delete_one(ERASE, sequence)
    }

    /// Whether there are messages that are still to be overwritten.
    pub fn is_erasing(&self) -> bool {
        !self.state.erasing.is_empty()
    }

    fn delete_one(&mut self, how: u8, sequence: StreamSeq) -> Result<Option<LogIndex>, LogError> {
        if !self.state.has(sequence) {
            return Ok(None);
        }
        self.make_way()?;
        match self.state.has(sequence) {
            true => self.delete_all(how, &[sequence]).map(Some),
            false => Ok(None),
        }
    }

    /// Orders come into effect when all work is done that was there before. That much is done at once,
    /// and no more, so that whoever gives one does not wait for long.
    ///
    /// # Errors
    /// [`LogError::Busy`] if there is still some left.
    pub(super) fn make_way(&mut self) -> Result<(), LogError> {
        // In a group it is the order of records that counts, and they are applied in parts.
        if self.is_replica() || !self.state.deferring {
            return Ok(());
        }
        let (log, buffer) = (&mut self.log, &mut self.buffer);
        if self.state.work(WAY_MAX, log, buffer) {
            return Err(LogError::Busy);
        }
        if self.state.is_over() {
            self.end_work()?;
        }
        match self.state.is_over() {
            true => Err(LogError::Busy),
            false => Ok(()),
        }
    }

    /// The oldest messages while there are too many, `max` at most.
    fn excess(&mut self, max: usize) -> Vec<StreamSeq> {
        let state = &self.state;
        let (mut messages, mut bytes) = (state.messages, state.bytes);
        let mut excess = vec![];
        let mut at = state.first;
        while excess.len() < max && self.state.is_over_by(messages, bytes) {
            let next = self.state.deleted.next_absent(at);
            let Some(next) = next.filter(|next| *next <= self.state.last) else {
                break;
            };
            // What cannot be read counts as it does when it is removed.
            if let Ok(stored) = self.log.read_message(next, &mut self.buffer) {
                bytes = bytes.saturating_sub(size(&stored.record));
            }
            messages = messages.saturating_sub(1);
            excess.push(next);
            at = next.next();
        }
        excess
    }

    /// Says that all [work](StreamStore::work) is done, which ends the time in which limits wait for
    /// it. What is too much altogether goes before, in parts of which each has a record. On a single
    /// server that says itself; in a group the leader does, when it has no more, and once more when that
    /// was applied.
    pub fn end_work(&mut self) -> Result<LogIndex, LogError> {
        self.end_part(WAY_MAX)
    }

    fn end_part(&mut self, max: usize) -> Result<LogIndex, LogError> {
        let excess = self.excess(max);
        if !excess.is_empty() {
            let index = self.delete_all(TRIM, &excess)?;
            if excess.len() >= max {
                return Ok(index);
            }
        }
        let done = self.order(Kind::Noop, &[]);
        self.append_record(&done)
    }

    /// Records that messages, which are in order and there, are removed.
    fn delete_all(&mut self, how: u8, sequences: &[StreamSeq]) -> Result<LogIndex, LogError> {
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        payload.push(how);
        encode_runs(runs(sequences), &mut payload);
        let draft = self.order(Kind::Delete, &payload);
        let result = self.append_record(&draft);
        self.scratch = payload;
        result
    }

    /// Orders a purge, which [`StreamStore::work`] does in parts, and gives the index of the order.
    ///
    /// # Errors
    /// As [`StreamStore::set_limits`]; a purge of everything has nothing to wait for.
    pub fn purge(&mut self, purge: &Purge) -> Result<LogIndex, LogError> {
        if !self.state.is_everything(purge) {
            self.make_way()?;
        }
        let mut payload = vec![];
        purge.encode(&mut payload);
        let draft = self.order(Kind::Purge, &payload);
        self.append_record(&draft)
    }

    /// Does a part of what is to be done, looking at about `budget` messages, and says whether
    /// there is more. Limits do not remove anything while a purge is under way. When all is done,
    /// that is a record of its own, as is each part of what is too much altogether; without room for it, it
    /// is tried again the next time.
    pub fn work(&mut self, budget: usize) -> bool {
        if !self.state.deferring {
            return false;
        }
        let before = self.state.messages;
        let (log, buffer) = (&mut self.log, &mut self.buffer);
        if self.state.work(budget, log, buffer) {
            return true;
        }
        let gone = usize::try_from(before - self.state.messages).unwrap_or(usize::MAX);
        let max = budget.saturating_sub(gone).clamp(1, WAY_MAX);
        !self.is_replica() && self.end_part(max).is_ok() && self.state.deferring
    }

    /// Whether [`StreamStore::work`] has something to do.
    pub fn has_work(&self) -> bool {
        self.state.deferring
    }

    /// Removes messages whose time has passed, some thousand at most. It is an order as others:
    /// they are gone for good when its record is acknowledged.
    /// Nothing goes while there is [work](StreamStore::work) to do, which comes first.
    pub fn expire(&mut self, now: Timestamp) -> Result<Expired, LogError> {
        self.expire_marking(now, None)
    }

    /// The same, and where a subject has no message any more, and `marker` is for the last one that
    /// it had, puts a marker there, in one with the removal.
    ///
    /// # Errors
    /// As [`StreamStore::expire`].
    pub fn expire_marking(
        &mut self,
        now: Timestamp,
        marker: Option<&Marker<'_>>,
    ) -> Result<Expired, LogError> {
        if self.has_work() {
            return Ok(Expired {
                messages: vec![],
                more: true,
            });
        }
        // A clock that was set back tells less than the messages do.
        let now = self.pace.time(now, self.state.last_time);
        let mut due = vec![];
        let all = self.state.expiry.expire(now, EXPIRE_MAX, &mut due);
        let own_time = due.clone();
        let aged = self.aged(now, EXPIRE_MAX.saturating_sub(due.len()), &mut due);
        due.retain(|sequence| self.state.has(*sequence));
        due.sort_unstable();
        due.dedup();
        let marked = match marker {
            Some(marker) => self.bereft_subjects(&due, marker),
            None => vec![],
        };
        let removed = match marker.filter(|_| !marked.is_empty()) {
            Some(marker) => self.replace(&due, &marked, marker, now),
            None if due.is_empty() => Ok(LogIndex(0)),
            None => self.delete_all(KEEP, &due),
        };
        if let Err(error) = removed {
            // The others are found again, if the limit is still the same then. A checkpoint may be
            // written before these come again.
            for sequence in own_time {
                self.state.expiry.insert(sequence, Timestamp(0));
            }
            return Err(error);
        }
        Ok(Expired {
            messages: due,
            more: !(all && aged),
        })
    }

    /// Subjects of which all messages are among these, if a marker is for the last one of them.
    fn bereft_subjects(&mut self, due: &[StreamSeq], marker: &Marker<'_>) -> Vec<Vec<u8>> {
        let mut on_subject: HashMap<Vec<u8>, (u64, StreamSeq, bool)> = HashMap::new();
        for sequence in due {
            // What cannot be read is removed, and nobody knows of what subject it is.
            let Ok(stored) = self.log.read_message(*sequence, &mut self.buffer) else {
                continue;
            };
            let record = &stored.record;
            let is_for = (marker.is_for)(record.subject, record.headers);
            match on_subject.get_mut(record.subject) {
                Some((count, last, wanted)) => {
                    (*count, *last, *wanted) = (*count + 1, *sequence, is_for);
                }
                None => {
                    on_subject.insert(record.subject.to_vec(), (1, *sequence, is_for));
                }
            }
        }
        let mut bereft: Vec<_> = on_subject
            .into_iter()
            .filter(|(subject, (count, _, wanted))| *wanted && self.count_on(subject) == *count)
            .map(|(subject, (_, last, _))| (last, subject))
            .collect();
        bereft.sort_unstable();
        bereft.into_iter().map(|(_, subject)| subject).collect()
    }

    fn replace(
        &mut self,
        due: &[StreamSeq],
        subjects: &[Vec<u8>],
        marker: &Marker<'_>,
        now: Timestamp,
    ) -> Result<LogIndex, LogError> {
        let markers = subjects.iter().map(|subject| {
            Step::Message(NewMessage {
                subject,
                headers: marker.headers,
                payload: b"",
                timestamp: now,
                ttl_s: marker.ttl_s,
            })
        });
        let steps: Vec<_> = [Step::Delete(due.to_vec())]
            .into_iter()
            .chain(markers)
            .collect();
        self.append_group(&steps)
    }

    /// Finds messages that are older than the limit allows; they are the first ones, save those
    /// that go at no time. Says whether all were found.
    fn aged(&mut self, now: Timestamp, budget: usize, due: &mut Vec<StreamSeq>) -> bool {
        let age = self.state.limits.age_nanos();
        if age == 0 {
            return true;
        }
        let mut at = self.state.first.max(self.state.aged);
        for _ in 0..budget {
            let Some(next) = self.state.deleted.next_absent(at) else {
                return true;
            };
            if next > self.state.last {
                return true;
            }
            at = next.next();
            let Ok(stored) = self.log.read_message(next, &mut self.buffer) else {
                continue;
            };
            let record = &stored.record;
            if record.timestamp.0.saturating_add(age) > now.0 {
                return true;
            }
            if record.ttl_s == TTL_NEVER {
                if due.is_empty() {
                    self.state.aged = next.next();
                }
            } else {
                due.push(next);
            }
        }
        false
    }

    /// Removes segments in which nothing is any more, up to the first message of a checkpoint that
    /// is on the disk, and to the last record that it knows.
    pub(super) fn reclaim(&mut self, first: StreamSeq, upto: LogIndex) -> Result<(), LogError> {
        let needed = self.copies.first().unwrap_or(first);
        self.log.drop_segments_before(first.min(needed), upto)
    }

    /// Bytes of segments that a checkpoint would free.
    pub(super) fn reclaimable(&self) -> u64 {
        if !self.copies.is_empty() {
            return 0;
        }
        self.log.bytes_before(self.state.first)
    }
}

impl State {
    /// Does a part of what is under way, and says whether there is more. What is too much altogether goes
    /// with records of its own, if subjects have a limit of their own: how much that is depends on what
    /// their limit has removed by then, and is to be the same in a replay.
    pub(super) fn work(&mut self, budget: usize, log: &mut Log, buffer: &mut ReadBuffer) -> bool {
        self.purge(budget, log, buffer)
            || self.sweep_subjects(budget, log, buffer)
            || self.limits.per_subject == 0 && self.trim(budget, log, buffer)
    }

    /// Goes on looking for subjects that have too many messages, and removes the oldest of them.
    /// Says whether there may be more.
    fn sweep_subjects(&mut self, budget: usize, log: &mut Log, buffer: &mut ReadBuffer) -> bool {
        let (limit, mut left) = (self.limits.per_subject, budget);
        while let Some(mut cursor) = self.sweep.take().filter(|_| limit > 0) {
            if left == 0 {
                self.sweep = Some(cursor);
                return true;
            }
            let mut found = None;
            let mut seen = 0;
            self.subjects
                .scan(&Filters::all(), &mut cursor, left, |subject, entry| {
                    seen += 1;
                    match entry.count() > limit {
                        true => {
                            found = Some(subject.to_vec());
                            ControlFlow::Break(())
                        }
                        false => ControlFlow::Continue(()),
                    }
                });
            // Looking at a subject costs a part of what a removal does, and is counted the same.
            left = left.saturating_sub(seen.max(1));
            if let Some(subject) = found {
                let before = self.messages;
                self.trim_subject(&subject, None, log, buffer);
                let gone = usize::try_from(before - self.messages).unwrap_or(usize::MAX);
                left = left.saturating_sub(gone);
                let still = self
                    .subjects
                    .get(&subject)
                    .is_some_and(|e| e.count() > limit);
                if still {
                    cursor = Cursor::at(&subject);
                }
            }
            self.sweep = (!cursor.is_done()).then_some(cursor);
        }
        false
    }

    fn is_over_limit(limit: u64, is: u64) -> bool {
        limit > 0 && is > limit
    }

    /// Whether there are more messages, or bytes, than there may be.
    pub(super) fn is_over(&self) -> bool {
        self.is_over_by(self.messages, self.bytes)
    }

    fn is_over_by(&self, messages: u64, bytes: u64) -> bool {
        messages > 0
            && (State::is_over_limit(self.limits.messages, messages)
                || State::is_over_limit(self.limits.bytes, bytes))
    }
}

/// Sequences in order, as runs.
pub(super) fn runs(sequences: &[StreamSeq]) -> impl Iterator<Item = (u64, u64)> {
    sequences
        .chunk_by(|a, b| a.next() == *b)
        .filter_map(|run| Some((run.first()?.0, run.last()?.0)))
}
