//! Finding the next message that matches filters, and reading many in a row.
//!
//! A search looks at the fronts of messages where they stand, a few nanoseconds each. After the
//! first ones it asks the index of subjects whether and from where on there can be a match; and in
//! sealed segments that were searched to no purpose before, it knows where the subjects are (see
//! `file/subjects.rs`). A [`Reader`] remembers the next matches of its segment, so that many of them
//! cost one look at those subjects.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::StreamStore;
use super::read::Message;
use crate::store::error::LogError;
use crate::store::file::format::Kind;
use crate::store::file::{Fetched, Glance, Look, Pass, ReadBuffer, WarmJob};
use crate::store::index::{Cursor, Filters};
use crate::store::types::{LogIndex, StreamSeq};

/// Messages that a search looks at before it asks the index, and before it looks at the budget
/// again.
const PROBE: usize = 64;
const PART: usize = 1024;

/// Matches that a reader remembers, and that a search without one finds at once.
const AHEAD_MAX: usize = 256;
const AHEAD_FEW: usize = 4;

/// Subjects that are as long to look at as one message.
const SUBJECTS_A_MESSAGE: usize = 4;

/// What a search has come to.
#[derive(Debug)]
pub enum Found<'b> {
    /// The next message that matches.
    Message(Message<'b>),
    /// It is not before this one; go on from here.
    Paused(StreamSeq),
    /// There is none.
    End,
}

/// Reads the messages that match filters, again and again, and remembers what it found out on the
/// way. It may be used at any place of the stream and is fast where it goes on from its last one.
/// It belongs to one stream.
#[derive(Debug)]
pub struct Reader {
    filters: Filters,
    known: Known,
}

/// Messages that match.
#[derive(Debug)]
struct Known {
    /// In order, all of them from `from` to `upto` (included), of which some may be deleted since.
    matches: VecDeque<(LogIndex, StreamSeq)>,
    from: StreamSeq,
    upto: StreamSeq,
    max: usize,
}

enum Sought {
    At(LogIndex, StreamSeq),
    Paused(StreamSeq),
    End,
}

impl Sought {
    /// What was passed already is not to be passed again.
    fn cold(job: WarmJob, start: StreamSeq, from: StreamSeq) -> Result<Sought, LogError> {
        match from > start {
            true => Ok(Sought::Paused(from)),
            false => Err(LogError::Cold(Box::new(job))),
        }
    }
}

impl Reader {
    /// A reader of what matches, which knows nothing yet.
    pub fn new(filters: Filters) -> Reader {
        let known = Known::nothing(AHEAD_MAX);
        Reader { filters, known }
    }

    /// What it reads.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }
}

impl Known {
    fn nothing(max: usize) -> Known {
        Known {
            matches: VecDeque::new(),
            from: StreamSeq(1),
            upto: StreamSeq(0),
            max,
        }
    }

    fn covers(&self, sequence: StreamSeq) -> bool {
        (self.from..=self.upto).contains(&sequence)
    }

    /// The first match from `from` on; those before are forgotten.
    fn first_from(&mut self, from: StreamSeq) -> Option<(LogIndex, StreamSeq)> {
        self.from = from;
        while self.matches.front().is_some_and(|(_, s)| *s < from) {
            self.matches.pop_front();
        }
        self.matches.front().copied()
    }
}

impl StreamStore {
    /// The next message from `from` on, up to `upto`, that matches; `budget` messages at most are
    /// looked at, one at least, and taken off it.
    ///
    /// # Errors
    /// If the disk fails, or with [`LogError::Cold`] if something is to be brought into memory first.
    /// What is damaged is passed over, and told by [`StreamStore::take_damage`].
    pub fn next<'b>(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        upto: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Found<'b>, LogError> {
        if filters.is_all() {
            return self.next_of_all(from, upto, budget, buffer);
        }
        let mut known = Known::nothing(AHEAD_FEW);
        let sought = self.seek(filters, &mut known, (from, upto), budget, buffer)?;
        self.found(sought, buffer)
    }

    /// The next message from `from` on, up to `upto`, if all match and it is at hand: it is read to `buffer`
    /// then. If not, [`StreamStore::next`] tells more.
    #[inline]
    pub fn fetch_next(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        upto: StreamSeq,
        buffer: &mut ReadBuffer,
    ) -> Option<Fetched> {
        if !filters.is_all() {
            return None;
        }
        let at = self.state.deleted.next_absent(from.max(self.state.first))?;
        match at <= upto.min(self.state.last) {
            true => self.log.fetch(at, buffer),
            false => None,
        }
    }

    /// The same where all messages match, so that nothing has to be searched for.
    fn next_of_all<'b>(
        &mut self,
        from: StreamSeq,
        upto: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Found<'b>, LogError> {
        let at = self.state.deleted.next_absent(from.max(self.state.first));
        let at = match at {
            Some(at) if at <= upto.min(self.state.last) => at,
            _ => return Ok(Found::End),
        };
        *budget = budget.saturating_sub(1);
        if let Some(job) = self.cold(|log| log.cold_message(at)) {
            return Err(LogError::Cold(Box::new(job)));
        }
        let result = self.log.read_message(at, buffer);
        self.judge(at, result)
    }

    /// The same for a reader, which is faster if it goes on reading.
    ///
    /// # Errors
    /// As those of [`StreamStore::next`].
    pub fn next_of<'b>(
        &mut self,
        reader: &mut Reader,
        from: StreamSeq,
        upto: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Found<'b>, LogError> {
        let Reader { filters, known } = reader;
        let sought = self.seek(filters, known, (from, upto), budget, buffer)?;
        self.found(sought, buffer)
    }

    /// Hands over the messages from `from` up to `upto` in order, `max` at most, until they have so
    /// many bytes or `each` breaks. Gives the first that was not handed over.
    ///
    /// # Errors
    /// As those of [`StreamStore::next`].
    pub fn read_from(
        &mut self,
        from: StreamSeq,
        upto: StreamSeq,
        mut max: usize,
        bytes: usize,
        buffer: &mut ReadBuffer,
        mut each: impl FnMut(&Message<'_>) -> ControlFlow<()>,
    ) -> Result<StreamSeq, LogError> {
        let upto = upto.min(self.state.last);
        let mut at = from.max(self.state.first);
        let (start, mut left) = (at, bytes);
        'jump: while max > 0 && left > 0 {
            at = match self.state.deleted.next_absent(at) {
                Some(next) if next <= upto => next,
                _ => return Ok(upto.next().max(at)),
            };
            if let Some(job) = self.cold(|log| log.cold_place(at)) {
                return not_passed(job, start, at);
            }
            let mut index = self.log.index_of(at)?.0;
            loop {
                if let Some(job) = self.cold(|log| log.cold_from(index)) {
                    return not_passed(job, start, at);
                }
                let deleted = &self.state.deleted;
                let (mut hole, mut done) = (0, false);
                let hand_over = |stored: &Message<'_>| {
                    let record = &stored.record;
                    if record.kind != Kind::Message || record.sequence < at {
                        return ControlFlow::Continue(());
                    }
                    if record.sequence > upto {
                        at = upto.next();
                        done = true;
                        return ControlFlow::Break(());
                    }
                    at = record.sequence.next();
                    if deleted.contains(record.sequence) {
                        hole += 1;
                        // A long one is jumped over.
                        return match hole > PROBE {
                            true => ControlFlow::Break(()),
                            false => ControlFlow::Continue(()),
                        };
                    }
                    hole = 0;
                    if record.erased {
                        return ControlFlow::Continue(());
                    }
                    max -= 1;
                    let size = record.subject.len() + record.headers.len() + record.payload.len();
                    left = left.saturating_sub(size);
                    done = each(stored).is_break() || max == 0 || left == 0;
                    match done {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                };
                let mut part = usize::MAX;
                match self.log.read_run(index, &mut part, hand_over, buffer)? {
                    _ if done => return Ok(at),
                    Pass::Boundary(next) => index = next,
                    Pass::Damaged(next, sequence) => {
                        if let Some(sequence) = sequence {
                            self.state.lose(sequence);
                            at = at.max(sequence.next());
                        }
                        index = next.next();
                    }
                    Pass::Paused(_) => continue 'jump,
                    Pass::Taken(_) | Pass::Stopped | Pass::End => return Ok(at),
                }
            }
        }
        Ok(at)
    }

    fn found<'b>(
        &mut self,
        sought: Sought,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Found<'b>, LogError> {
        match sought {
            Sought::End => Ok(Found::End),
            Sought::Paused(at) => Ok(Found::Paused(at)),
            Sought::At(_, sequence)
                if let Some(job) = self.cold(|log| log.cold_message(sequence)) =>
            {
                Err(LogError::Cold(Box::new(job)))
            }
            Sought::At(index, sequence) => {
                let result = self.log.read(index, buffer);
                self.judge(sequence, result)
            }
        }
    }

    /// What is made of the attempt to read a message that ought to be there.
    fn judge<'b>(
        &mut self,
        sequence: StreamSeq,
        result: Result<Message<'b>, LogError>,
    ) -> Result<Found<'b>, LogError> {
        match result {
            Ok(stored) if stored.record.sequence == sequence && !stored.record.erased => {
                Ok(Found::Message(stored))
            }
            Err(LogError::Damaged) => {
                if !self.log.has_given_up_on(sequence) {
                    self.state.lose(sequence);
                }
                Ok(Found::Paused(sequence.next()))
            }
            Ok(_) | Err(LogError::Absent) => Ok(Found::Paused(sequence.next())),
            Err(error) => Err(error),
        }
    }

    fn seek(
        &mut self,
        filters: &Filters,
        known: &mut Known,
        (from, upto): (StreamSeq, StreamSeq),
        budget: &mut usize,
        buffer: &mut ReadBuffer,
    ) -> Result<Sought, LogError> {
        let upto = upto.min(self.state.last);
        let mut from = from.max(self.state.first);
        let start = from;
        let mut has_asked = false;
        'jump: loop {
            if known.covers(from) {
                let deleted = &self.state.deleted;
                while let Some((index, sequence)) = known.first_from(from) {
                    if sequence > upto {
                        return Ok(Sought::End);
                    }
                    if !deleted.contains(sequence) {
                        return Ok(Sought::At(index, sequence));
                    }
                    from = sequence.next();
                }
                from = from.max(known.upto.next());
                if *budget == 0 && from <= upto {
                    return Ok(Sought::Paused(from));
                }
            }
            from = match self.state.deleted.next_absent(from) {
                Some(next) if next <= upto => next,
                _ => return Ok(Sought::End),
            };
            if let Some(job) = self.cold(|log| log.cold_place(from)) {
                return Sought::cold(job, start, from);
            }
            let mut index = self.log.index_of(from)?.0;
            loop {
                if let Some(job) = self.cold(|log| log.cold_segment(index)) {
                    return Sought::cold(job, start, from);
                }
                if self.learn(filters, known, index, from, budget) {
                    continue 'jump;
                }
                if let Some(job) = self.cold(|log| log.cold_from(index)) {
                    return Sought::cold(job, start, from);
                }
                let most = if has_asked { PART } else { PROBE };
                let given = (*budget).clamp(1, most);
                let mut part = given;
                let mut search = Search::new(filters, &self.state.deleted, from, upto);
                let look = |glance: &Glance<'_>| search.look(glance);
                let pass = self.log.pass(index, &mut part, look, buffer)?;
                let passed = search.passed;
                *budget = budget.saturating_sub(given - part);
                match pass {
                    Pass::Taken(at) => {
                        self.log.passed_in_vain(at, given - part - 1);
                        return Ok(Sought::At(at, passed));
                    }
                    Pass::Stopped | Pass::End => return Ok(Sought::End),
                    Pass::Damaged(at, sequence) => {
                        if let Some(sequence) = sequence {
                            self.state.lose(sequence);
                        }
                        from = passed.max(sequence.unwrap_or_default()).next().max(from);
                        index = at.next();
                        continue;
                    }
                    Pass::Boundary(at) | Pass::Paused(at) => {
                        self.log.passed_in_vain(at.previous(), given - part);
                        index = at;
                    }
                }
                if passed < from {
                    continue;
                }
                from = passed.next();
                if *budget == 0 {
                    return Ok(match from > upto {
                        true => Sought::End,
                        false => Sought::Paused(from),
                    });
                }
                let next = self.state.deleted.next_absent(from).unwrap_or(from);
                let mut to = next;
                if !has_asked && !filters.is_all() {
                    has_asked = true;
                    match self.first_match(filters, next) {
                        Some(first) => to = first,
                        None => return Ok(Sought::End),
                    }
                }
                if to > upto {
                    return Ok(Sought::End);
                }
                // Long stretches are not looked at.
                if to.0 - from.0 > PROBE as u64 {
                    from = to;
                    continue 'jump;
                }
            }
        }
    }

    /// Lets `known` learn the next matches in the segment that has this record, if it is known where
    /// its subjects are. Says whether it is.
    fn learn(
        &mut self,
        filters: &Filters,
        known: &mut Known,
        index: LogIndex,
        from: StreamSeq,
        budget: &mut usize,
    ) -> bool {
        if filters.is_all() {
            return false;
        }
        let Some((subjects, first, last)) = self.log.subjects_at(index) else {
            return false;
        };
        if last < from {
            return false;
        }
        let mut looked = 0;
        let start = u32::try_from(index.0 - first.0).unwrap_or(u32::MAX);
        let (ordinals, is_all) = subjects.matching(filters, start, known.max, &mut looked);
        *budget = budget.saturating_sub(1 + looked / SUBJECTS_A_MESSAGE);
        known.matches.clear();
        for ordinal in ordinals {
            let index = LogIndex(first.0 + u64::from(ordinal));
            known
                .matches
                .push_back((index, self.log.sequence_of(index)));
        }
        known.from = from;
        known.upto = match known.matches.back() {
            Some((_, sequence)) if !is_all => *sequence,
            _ => last,
        };
        true
    }

    /// What the index says of where the first message from `from` on is that matches: `None` if
    /// there is none, and never behind it. Many subjects are not asked.
    fn first_match(&self, filters: &Filters, from: StreamSeq) -> Option<StreamSeq> {
        const SUBJECTS_MAX: usize = 64;
        let (mut cursor, mut first) = (Cursor::start(), None::<StreamSeq>);
        let subjects = &self.state.subjects;
        subjects.scan(filters, &mut cursor, SUBJECTS_MAX, |_, entry| {
            if entry.last().seq() >= from {
                let at = entry.first().seq().max(from);
                first = Some(first.map_or(at, |f| f.min(at)));
            }
            // It cannot be further in front.
            match first == Some(from) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match cursor.is_done() {
            true => first,
            false => Some(from),
        }
    }
}

/// What was handed over already is not to be handed over again.
fn not_passed(job: WarmJob, start: StreamSeq, at: StreamSeq) -> Result<StreamSeq, LogError> {
    match at > start {
        true => Ok(at),
        false => Err(LogError::Cold(Box::new(job))),
    }
}

/// What is looked for in passing.
struct Search<'a> {
    filters: &'a Filters,
    deleted: &'a crate::store::index::SequenceSet,
    from: StreamSeq,
    upto: StreamSeq,
    /// The sequence of the last record that was looked at.
    passed: StreamSeq,
}

impl<'a> Search<'a> {
    fn new(
        filters: &'a Filters,
        deleted: &'a crate::store::index::SequenceSet,
        from: StreamSeq,
        upto: StreamSeq,
    ) -> Search<'a> {
        Search {
            filters,
            deleted,
            from,
            upto,
            passed: from.previous(),
        }
    }

    #[inline]
    fn look(&mut self, glance: &Glance<'_>) -> Look {
        if glance.sequence < self.from {
            return Look::Pass;
        }
        if glance.sequence > self.upto {
            return Look::Stop;
        }
        self.passed = glance.sequence;
        let is_wanted = glance.kind == Kind::Message
            && self.filters.matches(glance.subject)
            && !self.deleted.contains(glance.sequence);
        match is_wanted {
            true => Look::Take,
            false => Look::Pass,
        }
    }
}
