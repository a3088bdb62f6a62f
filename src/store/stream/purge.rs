//! Purges, done in parts.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::orders::{Limits, Purge};
use super::state::State;
use crate::store::file::format::Kind;
use crate::store::file::{Log, ReadBuffer};
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::index::{Cursor, ExpiryWheel, Filters, as_literal};
use crate::store::types::{StreamSeq, Timestamp};

/// A purge that is under way. Of where it has come to, checkpoints keep how many messages are
/// still to be removed if that is known; the rest begins anew and comes to the same end.
#[derive(Clone, Debug)]
pub(super) struct Purging {
    pub(super) purge: Purge,
    filters: Filters,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// All subjects, or the oldest messages of one.
    BySubject(Cursor),
    /// Removing the oldest that match, so many, from here on.
    Oldest(u64, StreamSeq),
    /// The oldest, whatever they are.
    All,
}

impl Purging {
    /// `None` if the filter is none.
    pub(super) fn new(purge: Purge, state: &State) -> Option<Purging> {
        let filters = match purge.filter.is_empty() {
            true => Filters::all(),
            false => Filters::new([&purge.filter[..]]).ok()?,
        };
        let one_subject = as_literal(&purge.filter).is_some();
        let stage = match purge.filter.is_empty() {
            true => Stage::All,
            false if purge.keep == 0 || one_subject => Stage::BySubject(Cursor::start()),
            // Counting takes a tenth of a microsecond a subject.
            false => {
                let mut cursor = Cursor::start();
                let subjects = &state.subjects;
                let tally = subjects.tally(&filters, StreamSeq(0), &mut cursor, usize::MAX);
                let many = tally.messages.saturating_sub(purge.keep);
                Stage::Oldest(many, state.first)
            }
        };
        Some(Purging {
            purge,
            filters,
            stage,
        })
    }
}

impl Purging {
    /// Appends the form that [`Purging::decode`] reads.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.purge.encode(out);
        let many = match self.stage {
            Stage::Oldest(many, _) => many,
            Stage::BySubject(_) | Stage::All => 0,
        };
        varint::put(out, many);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Purging, Malformed> {
        let purge = Purge::decode(reader)?;
        let left = reader.number("purge")?;
        let begun = Purging::new(purge, &State::new(Limits::default()));
        let mut purging = begun.ok_or(Malformed("purge"))?;
        if let Stage::Oldest(many, _) = &mut purging.stage {
            *many = left;
        }
        Ok(purging)
    }
}

impl State {
    /// Whether a purge leaves nothing.
    pub(super) fn is_everything(&self, purge: &Purge) -> bool {
        purge.filter.is_empty() && purge.keep == 0 && purge.upto >= self.last
    }

    /// Begins to remove what is to be purged. Everything at once is a thing of no time.
    pub(super) fn begin_purge(&mut self, mut purge: Purge) {
        let everything = self.is_everything(&purge);
        purge.upto = purge.upto.min(self.last);
        if !everything {
            if let Some(purging) = Purging::new(purge, self) {
                self.purges.push_back(purging);
                self.defer();
            }
            return;
        }
        self.purges.clear();
        self.deferring = false;
        self.sweep = None;
        self.gone.miss();
        self.first = self.last.next();
        self.messages = 0;
        self.bytes = 0;
        self.deleted.clear();
        self.subjects.clear();
        self.unread.clear();
        self.expiry = ExpiryWheel::new(Timestamp(0));
        self.timers = Arc::default();
    }

    /// Goes on with the first purge; about `budget` messages at most are looked at. Says whether
    /// there is more to do.
    pub(super) fn purge(
        &mut self,
        mut budget: usize,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        let Some(mut purging) = self.purges.pop_front() else {
            return false;
        };
        let mut done = false;
        while budget > 0 && !done {
            done = self.purge_part(&mut purging, &mut budget, log, buffer);
        }
        if !done {
            self.purges.push_front(purging);
        }
        !self.purges.is_empty()
    }

    /// Does a part of a purge, and takes it off the budget. Says whether the purge is done.
    fn purge_part(
        &mut self,
        purging: &mut Purging,
        budget: &mut usize,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        let purge = &purging.purge;
        match &mut purging.stage {
            Stage::All => self.purge_all(purge, budget, log, buffer),
            Stage::Oldest(many, at) => {
                let filters = &purging.filters;
                self.purge_oldest(filters, purge.upto, (many, at), budget, log, buffer)
            }
            Stage::BySubject(cursor) => {
                let mut found = None;
                self.subjects
                    .scan(&purging.filters, cursor, *budget, |subject, _| {
                        found = Some(subject.to_vec());
                        ControlFlow::Break(())
                    });
                let Some(subject) = found else {
                    *budget -= 1;
                    return cursor.is_done();
                };
                if !self.purge_subject(&subject, purge, budget, log, buffer) {
                    *cursor = Cursor::at(&subject);
                }
                false
            }
        }
    }

    fn purge_all(
        &mut self,
        purge: &Purge,
        budget: &mut usize,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        while *budget > 0 {
            *budget -= 1;
            if self.first > purge.upto {
                return true;
            }
            let gone = self.deleted.count_range(self.first, purge.upto);
            let there = purge.upto.0 - self.first.0 + 1 - gone;
            if there <= purge.keep {
                return true;
            }
            self.remove(self.first, log, buffer);
        }
        false
    }

    /// Removes the oldest messages of a subject. Says whether that is done.
    fn purge_subject(
        &mut self,
        subject: &[u8],
        purge: &Purge,
        budget: &mut usize,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        let keep = match purge.keep {
            0 => 0,
            keep => keep + self.later_on(subject, purge.upto, log, buffer),
        };
        loop {
            match self.subjects.get(subject) {
                Some(entry) if entry.count() > keep => {}
                _ => {
                    *budget = budget.saturating_sub(1);
                    return true;
                }
            }
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            match self.first_of(keep, subject, log, buffer) {
                Some(first) if first <= purge.upto => {
                    self.remove(first, log, buffer);
                }
                _ => return true,
            }
        }
    }

    /// How many messages on a subject are behind `upto`: those that came since the purge began.
    fn later_on(
        &self,
        subject: &[u8],
        upto: StreamSeq,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> u64 {
        let entry = self.subjects.get(subject);
        let mut at = entry.map_or(StreamSeq(0), |e| e.last().seq());
        let mut later = 0;
        while at > upto {
            let Ok(stored) = log.read_message(at, buffer) else {
                break;
            };
            later += u64::from(self.has(at) && stored.record.subject == subject);
            at = stored.record.previous;
        }
        later
    }

    /// Removes messages that match, `many` of them, the oldest first. Says whether that is done.
    fn purge_oldest(
        &mut self,
        filters: &Filters,
        upto: StreamSeq,
        (many, at): (&mut u64, &mut StreamSeq),
        budget: &mut usize,
        log: &mut Log,
        buffer: &mut ReadBuffer,
    ) -> bool {
        while *many > 0 && *at <= upto {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let sequence = *at;
            *at = at.next();
            if !self.has(sequence) {
                *at = self.deleted.next_absent(*at).unwrap_or(*at).max(self.first);
                continue;
            }
            let stored = log.read_message(sequence, buffer);
            let matches = stored
                .is_ok_and(|s| s.record.kind == Kind::Message && filters.matches(s.record.subject));
            if matches {
                self.remove(sequence, log, buffer);
                *many -= 1;
            }
        }
        true
    }
}
