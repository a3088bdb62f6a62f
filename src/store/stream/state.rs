//! What follows from the records of a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use super::TTL_NEVER;
use super::consumers::Consumers;
use super::gone::Gone;
use super::orders::{Limits, Purge};
use super::purge::Purging;
use super::timers::Timers;
use crate::store::error::LogError;
use crate::store::file::format::{Kind, Record, decode_runs};
use crate::store::file::{Log, ReadBuffer};
use crate::store::index::varint::Reader;
use crate::store::index::{Bound, Cursor, ExpiryWheel, SequenceSet, SubjectEntry, SubjectIndex};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// Messages that go at once when one comes that is too many. More go in parts.
const EVICT_AT_ONCE: usize = 16;

/// The first byte of a delete that erases, of one that does not, and of one for the sake of limits,
/// which ends no work.
pub(super) const ERASE: u8 = 1;
pub(super) const KEEP: u8 = 0;
pub(super) const TRIM: u8 = 2;

/// Messages of a subject up to which they are followed back one by one to find the first; the log
/// is searched otherwise.
const FOLLOW_MAX: u64 = 256;

/// Runs of lost messages that are kept to be told of. The set of lost ones has all.
const FOUND_MAX: usize = 1024;

/// The state of a stream at some record. A clone costs little, whatever the number of subjects.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The last record that this follows from.
    pub(super) applied: LogIndex,
    /// The first message there is, or what the next one will be if there is none.
    pub(super) first: StreamSeq,
    /// The last sequence that was used.
    pub(super) last: StreamSeq,
    pub(super) last_time: Timestamp,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Sequences from the first to the last that are no messages (any more).
    pub(super) deleted: SequenceSet,
    /// Sequences of messages that were damaged.
    pub(super) lost: SequenceSet,
    /// Runs of those that were not told of yet.
    pub(super) found_lost: Vec<(StreamSeq, StreamSeq)>,
    /// Sequences of messages that are deleted and whose contents are to be overwritten, as far as it
    /// is not known that they are.
    pub(super) erasing: SequenceSet,
    /// Sequences of messages that are gone and could not be read when they went, for an error of the
    /// disk: their subjects still count them, and so do the bytes.
    pub(super) unread: SequenceSet,
    pub(super) subjects: SubjectIndex,
    /// Messages that go at a time of their own.
    pub(super) expiry: ExpiryWheel,
    /// Messages before this one are younger than the limit allows, or go at no time.
    pub(super) aged: StreamSeq,
    pub(super) limits: Limits,
    /// Whether limits are left alone, since something is under way that takes long. Both ends of
    /// such a time are records, so that a replay comes to the same end.
    pub(super) deferring: bool,
    /// Where to go on looking for subjects that have too many messages, if there may be some.
    pub(super) sweep: Option<Cursor>,
    /// Those that are not done yet.
    pub(super) purges: VecDeque<Purging>,
    pub(super) consumers: Consumers,
    /// Messages about which something is to be done at a time.
    pub(super) timers: Arc<Timers>,
    /// Messages that were removed and not told of; no part of what is kept, as what follows.
    pub(super) gone: Gone,
    /// How many changes there were that were not a message that came, and took the place of another one if its
    /// subject had one.
    pub(super) others: u64,
    /// Whether records of before are met again, of which some may be missing.
    pub(super) replaying: bool,
}

/// What there is to be told of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamState {
    pub messages: u64,
    /// Bytes of the messages as the reference counts them, see [`StreamState::message_bytes`].
    pub bytes: u64,
    /// The first message there is, or the next one there will be.
    pub first: StreamSeq,
    pub last: StreamSeq,
    pub last_time: Timestamp,
    pub subjects: u64,
    /// Sequences between the first and the last that are no messages.
    pub deleted: u64,
    /// Messages that were damaged, and are counted as deleted.
    pub lost: u64,
    /// Bytes of the files.
    pub file_bytes: u64,
}

impl StreamState {
    /// Bytes of a message, as the reference counts them in its files.
    pub fn message_bytes(subject: usize, headers: usize, payload: usize) -> u64 {
        let headers = if headers == 0 { 0 } else { headers + 4 };
        (subject + headers + payload + 30) as u64
    }
}

impl State {
    pub(super) fn new(limits: Limits) -> State {
        State {
            applied: LogIndex(0),
            first: StreamSeq(1),
            last: StreamSeq(0),
            last_time: Timestamp(0),
            messages: 0,
            bytes: 0,
            deleted: SequenceSet::new(),
            lost: SequenceSet::new(),
            found_lost: vec![],
            erasing: SequenceSet::new(),
            unread: SequenceSet::new(),
            subjects: SubjectIndex::new(),
            expiry: ExpiryWheel::new(Timestamp(0)),
            aged: StreamSeq(0),
            limits,
            deferring: false,
            sweep: None,
            purges: VecDeque::new(),
            consumers: Consumers::default(),
            timers: Arc::default(),
            gone: Gone::default(),
            others: 0,
            replaying: false,
        }
    }

    /// The state before the first record that is there.
    pub(super) fn start(&mut self, applied: LogIndex, last: StreamSeq) {
        *self = State {
            applied,
            last,
            first: last.next(),
            replaying: self.replaying,
            ..State::new(self.limits)
        };
    }

    pub(super) fn summary(&self, file_bytes: u64) -> StreamState {
        StreamState {
            messages: self.messages,
            bytes: self.bytes,
            first: self.first,
            last: self.last,
            last_time: self.last_time,
            subjects: self.subjects.len() as u64,
            deleted: self.deleted.len(),
            lost: self.lost.len(),
            file_bytes,
        }
    }

    /// The last message on a subject; 0 if there is none that is known.
    pub(super) fn previous_on(&self, subject: &[u8]) -> StreamSeq {
        let entry = self.subjects.get(subject);
        let exact = entry.and_then(|e| e.last().exact());
        exact.unwrap_or_default()
    }

    /// Whether there is a message with this sequence.
    pub(super) fn has(&self, sequence: StreamSeq) -> bool {
        (self.first..=self.last).contains(&sequence) && !self.deleted.contains(sequence)
    }

    /// The first message with a sequence between these, both included.
    fn next_in(&self, first: StreamSeq, last: StreamSeq) -> Option<StreamSeq> {
        let next = self.deleted.next_absent(first.max(self.first))?;
        (next <= last.min(self.last)).then_some(next)
    }

    /// Whether a subject may have one message, and nothing else limits what there is.
    pub(super) fn has_one_a_subject(&self) -> bool {
        let one = Limits {
            per_subject: 1,
            ..Limits::default()
        };
        self.limits == one && !self.deferring
    }

    /// Makes the change that a record tells. Records that make no sense change nothing: their
    /// checksum was right, so they were written like that.
    pub(super) fn apply(&mut self, record: &Record<'_>, log: &mut Log, buffer: &mut ReadBuffer) {
        if self.settles(record) {
            match is_trim(record) {
                true => while self.work(usize::MAX, log, buffer) {},
                false => self.settle(log, buffer),
            }
        }
        match record.kind {
            Kind::Message | Kind::Consumer | Kind::Membership => {}
            _ => self.others += 1,
        }
        match record.kind {
            Kind::Message => self.add(record, log, buffer),
            Kind::Delete => {
                let erases = record.payload.first() == Some(&ERASE);
                let bytes = record.payload.get(1..).unwrap_or_default();
                let _ = decode_runs(bytes, |first, last| {
                    while let Some(sequence) = self.next_in(StreamSeq(first), StreamSeq(last)) {
                        self.remove(sequence, log, buffer);
                        if erases {
                            self.erasing.insert(sequence);
                        }
                    }
                });
            }
            Kind::Purge => {
                if let Ok(purge) = Purge::decode(&mut Reader::new(record.payload)) {
                    self.begin_purge(purge);
                }
            }
            Kind::Config => {
                if let Ok(limits) = Limits::decode(record.payload) {
                    // There is nothing that may be too much where there is nothing.
                    if self.messages > 0 {
                        self.defer();
                    }
                    self.limits = limits;
                    self.aged = StreamSeq(0);
                }
            }
            Kind::Skip | Kind::Abandon => self.catch_up(record.sequence),
            Kind::Timer => self.set_timer(record.payload),
            Kind::Consumer => self.consumers.apply(record),
            Kind::Noop | Kind::Membership => {}
        }
    }

    fn set_timer(&mut self, payload: &[u8]) {
        let mut reader = Reader::new(payload);
        let read = (reader.number("timer"), reader.number("timer"));
        let (Ok(sequence), Ok(at)) = read else {
            return;
        };
        let sequence = StreamSeq(sequence);
        if at > 0 && self.has(sequence) {
            Arc::make_mut(&mut self.timers).set(sequence, Timestamp(at));
        } else {
            self.drop_timer(sequence);
        }
    }

    fn drop_timer(&mut self, sequence: StreamSeq) {
        if self.timers.has(sequence) {
            Arc::make_mut(&mut self.timers).remove(sequence);
        }
    }

    /// Whether all work is to be done before the change of a record is made.
    pub(super) fn settles(&self, record: &Record<'_>) -> bool {
        match record.kind {
            Kind::Message | Kind::Skip | Kind::Consumer | Kind::Abandon | Kind::Timer => false,
            // It makes an end of all work.
            Kind::Purge => {
                let purge = Purge::decode(&mut Reader::new(record.payload));
                !purge.is_ok_and(|purge| self.is_everything(&purge))
            }
            _ => self.deferring,
        }
    }

    fn add(&mut self, record: &Record<'_>, log: &mut Log, buffer: &mut ReadBuffer) {
        let sequence = record.sequence;
        if sequence <= self.last {
            return;
        }
        self.catch_up(sequence.previous());
        // Whether a group counts is told by its last record.
        self.others += u64::from(record.group_left > 0);
        self.last = sequence;
        self.last_time = self.last_time.max(record.timestamp);
        // What was erased counts until its delete comes, as it did then. A message without a subject
        // was taken out of its segment.
        let is_husk = record.erased && record.subject.is_empty();
        // Of use to the message that takes its place.
        let bytes = match self.limits.per_subject {
            1 => u32::try_from(size(record)).unwrap_or(0),
            _ => 0,
        };
        let entry = match self.supersede(record, bytes, log, buffer) {
            true => Some(SubjectEntry::single(sequence)),
            false if is_husk => None,
            false => self
                .subjects
                .append_of(record.subject, sequence, bytes)
                .ok(),
        };
        let Some(entry) = entry else {
            self.drop_sequence(sequence);
            return;
        };
        self.messages += 1;
        self.bytes += size(record);
        if record.ttl_s != 0 && record.ttl_s != TTL_NEVER {
            let ttl = u64::from(record.ttl_s) * 1_000_000_000;
            let deadline = record.timestamp.0.saturating_add(ttl);
            self.expiry.insert(sequence, Timestamp(deadline));
        }
        if !self.deferring {
            self.trim_subject(record.subject, Some(entry), log, buffer);
            if self.trim(EVICT_AT_ONCE, log, buffer) {
                self.defer();
            }
        } else if self.limits.per_subject > 0 {
            // The look-out may have passed this subject.
            self.sweep = Some(Cursor::start());
        }
    }

    /// Removes the message whose place a record's takes, where a subject may have one. It comes to what
    /// happens otherwise: the new one comes, and the limit removes the old one; but the index is asked
    /// once, and the old one is not looked at where its size is known, as is worth its while in buckets of
    /// keys and values. Says whether that was done.
    fn supersede(
        &mut self,
        record: &Record<'_>,
        bytes: u32,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        let may = self.limits.per_subject == 1 && !self.deferring;
        // The first on its subject says so, but for those that were written anew since.
        if !may || record.previous.0 == 0 && !self.replaying {
            return false;
        }
        let (subject, new) = (record.subject, (record.sequence, bytes));
        let (first, last, deleted) = (self.first, self.last, &self.deleted);
        let has = |old| (first..=last).contains(&old) && !deleted.contains(old);
        let superseded = self.subjects.supersede(subject, new, has, |old| {
            // One that cannot be read does not go like this.
            let stored = log.read_message(old, buffer).ok()?;
            (stored.record.subject == subject).then(|| size(&stored.record))
        });
        let Some((old, before)) = superseded else {
            return false;
        };
        self.gone.add(old, subject);
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(before);
        self.drop_sequence(old);
        true
    }

    /// Leaves the limits to [`State::settle`].
    pub(super) fn defer(&mut self) {
        self.deferring = true;
        self.sweep = Some(Cursor::start());
    }

    /// Does all that is under way.
    pub(super) fn settle(&mut self, log: &mut Log, buffer: &mut ReadBuffer) {
        while self.work(usize::MAX, log, buffer) {}
        if self.deferring {
            self.trim(usize::MAX, log, buffer);
        }
        self.deferring = false;
    }

    /// Sequences up to `last` are used, and no messages.
    pub(super) fn catch_up(&mut self, last: StreamSeq) {
        if last <= self.last {
            return;
        }
        if self.messages == 0 {
            self.first = last.next();
        } else {
            self.deleted.insert_range(self.last.next(), last);
        }
        self.last = last;
    }

    /// Messages with sequences between these two are lost, those that there were.
    pub(super) fn lose_between(&mut self, after: StreamSeq, before: StreamSeq) {
        let (first, last) = (after.next().max(self.first), before.previous());
        if first > last {
            return;
        }
        self.others += 1;
        self.lost.insert_range(first, last);
        while let Some(sequence) = self.next_in(first, last) {
            self.lose(sequence);
        }
        self.catch_up(last);
    }

    /// A message is lost, if there was one.
    pub(super) fn lose(&mut self, sequence: StreamSeq) {
        if self.has(sequence) {
            self.others += 1;
            self.lost.insert(sequence);
            self.messages = self.messages.saturating_sub(1);
            self.drop_sequence(sequence);
            self.gone.miss();
            let has_room = self.found_lost.len() < FOUND_MAX;
            match self.found_lost.last_mut() {
                Some((_, last)) if last.next() == sequence => *last = sequence,
                _ if has_room => self.found_lost.push((sequence, sequence)),
                _ => {}
            }
        }
    }

    /// Removes a message, if it is there. One that is damaged is lost: what the index knows of its
    /// subject stays until somebody looks for it. One that the disk does not give is read again later.
    /// Gives how many messages its subject has left, if that is known.
    pub(super) fn remove(
        &mut self,
        sequence: StreamSeq,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<u64> {
        if !self.has(sequence) {
            return None;
        }
        self.others += 1;
        let stored = match log.read_message(sequence, buffer) {
            Ok(stored) => stored,
            Err(LogError::Io(_)) => {
                self.unread.insert(sequence);
                self.gone.miss();
                self.messages = self.messages.saturating_sub(1);
                self.drop_sequence(sequence);
                return None;
            }
            Err(_) => {
                self.lose(sequence);
                return None;
            }
        };
        let record = &stored.record;
        let left = self.subjects.remove(record.subject, sequence);
        self.gone.add(sequence, record.subject);
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size(record));
        self.drop_sequence(sequence);
        left.ok().map(|left| left.map_or(0, |left| left.count()))
    }

    /// Reads some of the messages again that could not be read when they went, and makes good for
    /// them. Says whether the disk gave what it was asked for.
    pub(super) fn read_again(&mut self, log: &mut Log, buffer: &mut ReadBuffer) -> bool {
        for _ in 0..EVICT_AT_ONCE {
            let Some(sequence) = self.unread.next_present(StreamSeq(0)) else {
                return true;
            };
            self.others += 1;
            match log.read_message(sequence, buffer) {
                Ok(stored) => {
                    let record = &stored.record;
                    if self.subjects.remove(record.subject, sequence).is_ok() {
                        self.bytes = self.bytes.saturating_sub(size(record));
                    }
                }
                Err(LogError::Io(_)) => return false,
                Err(LogError::Damaged) => drop(self.lost.insert(sequence)),
                Err(_) => {}
            }
            self.unread.remove(sequence);
        }
        true
    }

    /// A sequence is no message any more.
    fn drop_sequence(&mut self, sequence: StreamSeq) {
        if !self.timers.is_empty() {
            self.drop_timer(sequence);
        }
        if sequence > self.first {
            self.deleted.insert(sequence);
            return;
        }
        if sequence == self.first {
            let next = self.deleted.next_absent(sequence.next());
            let first = next.unwrap_or(self.last.next()).min(self.last.next());
            self.deleted.remove_range(sequence, first.previous());
            self.first = first;
        }
    }

    /// Removes the oldest messages while there are too many, `budget` at most. Says whether there
    /// are still too many.
    pub(super) fn trim(
        &mut self,
        mut budget: usize,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        while self.is_over() {
            if budget == 0 {
                return true;
            }
            budget -= 1;
            self.remove(self.first, log, buffer);
        }
        false
    }

    /// Removes the oldest messages of a subject while it has too many. `entry` is what the index has of
    /// it, if that is known.
    pub(super) fn trim_subject(
        &mut self,
        subject: &[u8],
        mut entry: Option<SubjectEntry>,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) {
        let limit = self.limits.per_subject;
        if limit == 0 {
            return;
        }
        for _ in 0..EVICT_AT_ONCE {
            entry = entry.or_else(|| self.subjects.get(subject));
            let Some(there) = entry.filter(|entry| entry.count() > limit) else {
                return;
            };
            let first = there.first().exact().filter(|first| self.has(*first));
            let Some(first) = first.or_else(|| self.first_of(limit, subject, log, buffer)) else {
                return;
            };
            if self
                .remove(first, log, buffer)
                .is_some_and(|left| left <= limit)
            {
                return;
            }
            entry = None;
        }
    }

    /// The first message on a subject. What the index still counts and is lost is taken out of it.
    pub(super) fn first_on(
        &mut self,
        subject: &[u8],
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        loop {
            let entry = self.subjects.get(subject)?;
            let first = match entry.first() {
                Bound::Exact(first) => first,
                Bound::Inexact(bound) => {
                    let mut found = None;
                    if entry.count() <= FOLLOW_MAX {
                        found = self.follow_back(subject, bound, log, buffer);
                    }
                    let found = found.or_else(|| self.search(subject, bound, log, buffer));
                    let Some(first) = found else {
                        self.subjects.remove_subject(subject);
                        return None;
                    };
                    self.subjects.settle_first(subject, first);
                    first
                }
            };
            if self.has(first) {
                return Some(first);
            }
            if self.subjects.remove(subject, first).is_err() {
                self.subjects.remove_subject(subject);
            }
        }
    }

    /// The first message on a subject that has more than so many. What was lost is not counted then.
    pub(super) fn first_of(
        &mut self,
        many: u64,
        subject: &[u8],
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        let first = self.first_on(subject, log, buffer)?;
        let left = self.subjects.get(subject)?.count();
        (left > many).then_some(first)
    }

    /// The last message on a subject that is not behind `upto`.
    pub(super) fn last_on(
        &mut self,
        subject: &[u8],
        upto: StreamSeq,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        let entry = self.subjects.get(subject)?;
        let mut at = entry.last().seq();
        while at > upto || !self.has(at) || entry.last().exact() != Some(at) {
            // Either it is there, or it says what was before it.
            let Ok(stored) = log.read_message(at, buffer) else {
                return self.search_back(subject, at.previous().min(upto), log, buffer);
            };
            let record = &stored.record;
            let is_it = record.subject == subject;
            if is_it && at <= upto && self.has(at) {
                break;
            }
            if !is_it || record.previous.0 == 0 {
                return self.search_back(subject, at.previous().min(upto), log, buffer);
            }
            at = record.previous;
        }
        Some(at).filter(|at| *at >= self.first)
    }

    /// Follows a subject's messages back to the first that is not before `bound`. `None` if one of
    /// them does not know what was before it.
    fn follow_back(
        &self,
        subject: &[u8],
        bound: StreamSeq,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        let entry = self.subjects.get(subject)?;
        let mut left = entry.count();
        let mut at = entry.last().exact()?;
        loop {
            let stored = log.read_message(at, buffer).ok()?;
            if stored.record.subject != subject {
                return None;
            }
            left -= u64::from(self.has(at));
            if left == 0 {
                return Some(at).filter(|at| *at >= bound);
            }
            at = stored.record.previous;
            if at < bound || at.0 == 0 {
                return None;
            }
        }
    }

    /// Searches the log for a subject's first message from `from` on.
    fn search(
        &self,
        subject: &[u8],
        from: StreamSeq,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        let wants = |record: &Record<'_>| {
            record.kind == Kind::Message
                && record.sequence >= from
                && record.subject == subject
                && self.has(record.sequence)
        };
        log.find(from, wants, buffer)
    }

    /// Searches for a subject's last message up to `upto`, back from there.
    fn search_back(
        &self,
        subject: &[u8],
        upto: StreamSeq,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> Option<StreamSeq> {
        let least = self.subjects.get(subject)?.first().seq().max(self.first);
        let mut at = upto.min(self.last);
        while at >= least && at.0 > 0 {
            at = self.deleted.previous_absent(at)?;
            if at < least {
                return None;
            }
            let stored = log.read_message(at, buffer);
            if stored.is_ok_and(|stored| stored.record.subject == subject) {
                return Some(at);
            }
            at = at.previous();
        }
        None
    }
}

/// Whether a record says which messages limits have removed while there was work.
fn is_trim(record: &Record<'_>) -> bool {
    record.kind == Kind::Delete && record.payload.first() == Some(&TRIM)
}

/// Bytes of a message that count.
pub(super) fn size(record: &Record<'_>) -> u64 {
    let (subject, headers) = (record.subject.len(), record.headers.len());
    StreamState::message_bytes(subject, headers, record.payload.len())
}
