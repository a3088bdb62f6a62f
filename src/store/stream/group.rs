//! Records that count together or not at all, whatever a crash leaves of them.
//!
//! Each record of a group says how many follow. When a log is opened, those of a group wait until its
//! end is there; where the log ends before that, the group is abandoned, and a record says so before
//! anything else is appended. That is also done if there is no room for all of a group.

use std::collections::HashMap;

use super::{NewMessage, Purge, StreamStore};
use crate::store::error::LogError;
use crate::store::file::format::{Kind, Record, encode_runs};
use crate::store::file::log::Walk;
use crate::store::file::{Draft, ReadBuffer};
use crate::store::index::varint;
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// One change of several.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// A message, with the next sequence.
    Message(NewMessage<'a>),
    /// The next sequence is used, and no message.
    Skip,
    /// Messages are removed, which are in order.
    Delete(Vec<StreamSeq>),
    Purge(Purge),
    /// When a message comes out of [`StreamStore::due_timers`]; `None` for never.
    Timer(StreamSeq, Option<Timestamp>),
}

/// A group that may not be stored yet: its records, and the sequence before it.
#[derive(Debug)]
pub(super) struct Unstored {
    first: LogIndex,
    last: LogIndex,
    before: StreamSeq,
}

impl Step<'_> {
    fn kind(&self) -> Kind {
        match self {
            Step::Message(_) => Kind::Message,
            Step::Skip => Kind::Skip,
            Step::Delete(_) => Kind::Delete,
            Step::Purge(_) => Kind::Purge,
            Step::Timer(..) => Kind::Timer,
        }
    }

    /// The payload of what is no message.
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Step::Message(_) | Step::Skip => {}
            Step::Delete(sequences) => {
                out.push(super::state::KEEP);
                encode_runs(super::removal::runs(sequences), out);
            }
            Step::Purge(purge) => purge.encode(out),
            Step::Timer(sequence, at) => {
                varint::put(out, sequence.0);
                varint::put(out, at.map_or(0, |at| at.0));
            }
        }
    }
}

impl StreamStore {
    /// Makes several changes of which all count or none, and gives the index of the last one's
    /// record. They are made in their order.
    ///
    /// # Errors
    /// Nothing is changed then, though sequences may be used up; see [`StreamStore::append`].
    pub fn append_group(&mut self, steps: &[Step<'_>]) -> Result<LogIndex, LogError> {
        self.end_abandoned()?;
        self.tell_limits()?;
        let (mut last, mut last_time) = self.end();
        let mut ends = Vec::with_capacity(steps.len());
        let mut payloads = Vec::new();
        for step in steps {
            let start = payloads.len();
            step.encode(&mut payloads);
            ends.push(start..payloads.len());
        }
        let mut on_subject: HashMap<&[u8], StreamSeq> = HashMap::new();
        let mut drafts = Vec::with_capacity(steps.len());
        for (step, range) in steps.iter().zip(ends) {
            if matches!(step, Step::Message(_) | Step::Skip) {
                last = last.next();
            }
            let mut draft = Draft {
                kind: step.kind(),
                term: self.term,
                sequence: last,
                timestamp: last_time,
                previous: StreamSeq(0),
                ttl_s: 0,
                subject: b"",
                headers: b"",
                payload: &payloads[range],
            };
            if let Step::Message(message) = step {
                last_time = last_time.max(message.timestamp);
                let before = on_subject.insert(message.subject, last);
                draft = Draft {
                    timestamp: last_time,
                    previous: before.unwrap_or_else(|| self.previous_on(message.subject)),
                    ttl_s: message.ttl_s,
                    subject: message.subject,
                    headers: message.headers,
                    payload: message.payload,
                    ..draft
                };
            }
            drafts.push(draft);
        }
        self.append_drafts(&drafts)
    }

    fn append_drafts(&mut self, drafts: &[Draft<'_>]) -> Result<LogIndex, LogError> {
        let first = self.log.last_index().next();
        let before = self.log.last_sequence();
        for (at, draft) in drafts.iter().enumerate() {
            let left = u32::try_from(drafts.len() - 1 - at).unwrap_or(u32::MAX);
            match self.log.append_in_group(draft, left) {
                Ok(index) => {
                    if let Some(unapplied) = &mut self.unapplied {
                        unapplied.add(draft.kind, draft.subject, draft.sequence, draft.timestamp);
                    }
                    debug_assert_eq!(index.0, first.0 + at as u64);
                }
                Err(error) => {
                    self.is_abandoned = at > 0;
                    self.use_up();
                    return Err(error);
                }
            }
        }
        let last = self.log.last_index();
        if self.unapplied.is_some() {
            return Ok(last);
        }
        if last > first {
            self.groups.push_back(Unstored {
                first,
                last,
                before,
            });
        }
        for (at, draft) in drafts.iter().enumerate() {
            let record = draft.at(LogIndex(first.0 + at as u64));
            self.state.apply(&record, &mut self.log, &mut self.buffer);
        }
        self.state.applied = last;
        Ok(last)
    }

    /// Says that a group which lacks its end is none, if that is to be said.
    pub(super) fn end_abandoned(&mut self) -> Result<(), LogError> {
        if !self.is_abandoned {
            return Ok(());
        }
        let draft = self.order(Kind::Abandon, &[]);
        let index = self.log.append(&draft)?;
        self.is_abandoned = false;
        self.state.applied = index;
        Ok(())
    }

    /// The last sequence up to a record that is not in the middle of a group.
    pub(super) fn whole_upto(&self, upto: LogIndex) -> StreamSeq {
        match self.groups.iter().find(|group| group.last > upto) {
            Some(group) if group.first <= upto => group.before,
            _ => self.log.sequence_at(upto),
        }
    }

    /// Forgets groups that are stored.
    pub(super) fn forget_groups(&mut self) {
        let stored = self.log.acknowledged();
        while self.groups.pop_front_if(|g| g.last <= stored).is_some() {}
    }

    /// Applies records that waited for the end of their group.
    pub(super) fn apply_range(
        &mut self,
        (first, last): (LogIndex, LogIndex),
    ) -> Result<(), LogError> {
        let mut buffer = ReadBuffer::default();
        let mut at = first;
        while at <= last {
            let mut budget = 1 << 16;
            match self.log.walk(at, &mut budget, |_| true, &mut buffer)? {
                Walk::Found(stored) if stored.record.index <= last => {
                    let record = stored.record;
                    self.state.apply(&record, &mut self.log, &mut self.buffer);
                    at = record.index.next();
                }
                Walk::Damaged(index, _) => at = index.next(),
                Walk::Paused(index) => at = index,
                Walk::Found(_) | Walk::End => break,
            }
        }
        Ok(())
    }
}

/// Records of a group that are not applied before all of it is there: from the first one to where
/// the group ends.
#[derive(Debug, Default)]
pub(super) struct Held(Option<(LogIndex, LogIndex)>);

/// What becomes of a record that a replay has come to.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Fate {
    /// Records to be applied before.
    pub(super) before: Option<(LogIndex, LogIndex)>,
    /// Whether it waits itself.
    pub(super) waits: bool,
}

impl Held {
    pub(super) fn take_in(&mut self, record: &Record<'_>) -> Fate {
        let (index, left) = (record.index, u64::from(record.group_left));
        let mut before = None;
        if let Some((first, end)) = self.0 {
            let is_inside = index <= end;
            if is_inside && record.kind == Kind::Abandon {
                self.0 = None;
                return Fate {
                    before: None,
                    waits: false,
                };
            }
            if is_inside && (index < end || left > 0) {
                let end = LogIndex(end.0.max(index.0.saturating_add(left)));
                self.0 = Some((first, end));
                return Fate {
                    before: None,
                    waits: true,
                };
            }
            // It is the end, or the end was left out when the segment was written anew.
            self.0 = None;
            before = Some((first, index.previous()));
        }
        if left > 0 {
            self.0 = Some((index, LogIndex(index.0.saturating_add(left))));
        }
        Fate {
            before,
            waits: left > 0,
        }
    }

    /// Gives what waits, up to before `index`: what is there is damaged, so it was on the disk.
    pub(super) fn give_up(&mut self, index: LogIndex) -> Option<(LogIndex, LogIndex)> {
        let (first, _) = self.0.take()?;
        Some((first, index.previous()))
    }

    /// Whether the log ended in the middle of a group.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }
}
