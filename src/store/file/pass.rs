//! Passing over records quickly: what is not wanted is looked at only, what is wanted is read and
//! checked. And reading many in a row, whose place is found once a segment.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::format::{Kind, front};
use super::log::{Log, Place, ordinal};
use super::open_segment::{LOST, OpenSegment};
use super::read::{ReadBuffer, ReadFault, Stored};
use super::sealed::Sealed;
use super::subjects::{SegmentSubjects, Wanted};
use crate::store::error::LogError;
use crate::store::types::{LogIndex, StreamSeq};

/// What a look at a record shows. The sequence is right, the rest was not checked: whatever is
/// taken has to be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Glance<'a> {
    pub(in crate::store) kind: Kind,
    pub(in crate::store) sequence: StreamSeq,
    pub(in crate::store) subject: &'a [u8],
}

/// What to do with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Look {
    Pass,
    Take,
    /// The search ends before this one.
    Stop,
}

/// Where passing over records came to.
#[derive(Debug)]
pub(in crate::store) enum Pass {
    /// At this record, which is wanted.
    Taken(LogIndex),
    /// At a record that is damaged, and the message that it was, if it was one.
    Damaged(LogIndex, Option<StreamSeq>),
    /// Before this record: as many as were allowed were looked at.
    Paused(LogIndex),
    /// At the end of a segment; the log goes on with this record.
    Boundary(LogIndex),
    Stopped,
    /// At the end of the log.
    End,
}

/// A segment of either kind. A sealed one is open.
#[derive(Clone, Copy)]
enum Segment<'a> {
    Sealed(&'a Sealed),
    Open(&'a OpenSegment),
}

/// What a look at a record's place shows.
enum Seen<'a> {
    Record(Glance<'a>),
    /// It was taken out, or is known to be lost.
    Gone,
    /// It has to be read to be seen.
    Hidden,
}

impl Log {
    /// Passes over records of one segment from `from` on, `budget` of them at most, until one is
    /// wanted or the segment ends. What `look` sees was not checked.
    pub(in crate::store) fn pass(
        &mut self,
        from: LogIndex,
        budget: &mut usize,
        look: impl FnMut(&Glance<'_>) -> Look,
        buffer: &mut ReadBuffer,
    ) -> Result<Pass, LogError> {
        self.in_segment(from, |log, place, from| {
            log.pass_in(place, from, budget, look, buffer)
        })
    }

    /// Does something in the segment of a record. One that was given up is passed over.
    fn in_segment(
        &mut self,
        from: LogIndex,
        pass: impl FnOnce(&Log, Place, LogIndex) -> Result<Pass, LogError>,
    ) -> Result<Pass, LogError> {
        let from = from.max(self.first_index());
        let Some(place) = self.place_of_index(from) else {
            let next = self.first_index_after(from);
            return Ok(next.map_or(Pass::End, Pass::Boundary));
        };
        let (_, last) = self.opened(place).range();
        if let Place::Sealed(at) = place {
            match self.open_sealed(at) {
                Err(LogError::Damaged) => return Ok(Pass::Boundary(last.next())),
                opened => opened?,
            }
        }
        let passed = pass(self, place, from);
        match self.has_given_up(place) {
            true => Ok(Pass::Boundary(last.next())),
            false => passed,
        }
    }

    fn pass_in(
        &self,
        place: Place,
        from: LogIndex,
        budget: &mut usize,
        mut look: impl FnMut(&Glance<'_>) -> Look,
        buffer: &mut ReadBuffer,
    ) -> Result<Pass, LogError> {
        let segment = self.opened(place);
        let (first, last) = segment.range();
        let (start, end) = (ordinal(from, first), ordinal(last, first));
        let index = |ordinal: u32| LogIndex(first.0 + u64::from(ordinal));
        for at in segment.ordinals(start, end) {
            if *budget == 0 {
                return Ok(Pass::Paused(index(at)));
            }
            *budget -= 1;
            let look = match segment.see(at) {
                Seen::Record(glance) => look(&glance),
                Seen::Gone => Look::Pass,
                Seen::Hidden => match segment.record(at, buffer) {
                    Ok(Some(stored)) => look(&stored.glance()),
                    Ok(None) => Look::Pass,
                    Err(ReadFault::Damaged) => {
                        return Ok(Pass::Damaged(index(at), segment.message(at)));
                    }
                    Err(fault) => return Err(self.read_failed(place, fault)),
                },
            };
            match look {
                Look::Pass => {}
                Look::Take => return Ok(Pass::Taken(index(at))),
                Look::Stop => return Ok(Pass::Stopped),
            }
        }
        Ok(Pass::Boundary(last.next()))
    }

    /// Reads records of one segment from `from` on, each checked, `budget` of them at most, and
    /// hands them over until `each` breaks, which is told as the record behind being paused at.
    pub(in crate::store) fn read_run(
        &mut self,
        from: LogIndex,
        budget: &mut usize,
        each: impl FnMut(&Stored<'_>) -> ControlFlow<()>,
        buffer: &mut ReadBuffer,
    ) -> Result<Pass, LogError> {
        self.in_segment(from, |log, place, from| {
            log.read_in(place, from, budget, each, buffer)
        })
    }

    fn read_in(
        &self,
        place: Place,
        from: LogIndex,
        budget: &mut usize,
        mut each: impl FnMut(&Stored<'_>) -> ControlFlow<()>,
        buffer: &mut ReadBuffer,
    ) -> Result<Pass, LogError> {
        let segment = self.opened(place);
        let (first, last) = segment.range();
        let index = |ordinal: u32| LogIndex(first.0 + u64::from(ordinal));
        for at in segment.ordinals(ordinal(from, first), ordinal(last, first)) {
            if *budget == 0 {
                return Ok(Pass::Paused(index(at)));
            }
            *budget -= 1;
            match segment.record(at, buffer) {
                Ok(Some(stored)) => {
                    if each(&stored).is_break() {
                        return Ok(Pass::Paused(index(at).next()));
                    }
                }
                Ok(None) => {}
                Err(ReadFault::Damaged) if segment.is_known_lost(at) => {}
                Err(ReadFault::Damaged) => {
                    return Ok(Pass::Damaged(index(at), segment.message(at)));
                }
                Err(fault) => return Err(self.read_failed(place, fault)),
            }
        }
        Ok(Pass::Boundary(last.next()))
    }

    fn opened(&self, place: Place) -> Segment<'_> {
        match place {
            Place::Sealed(at) => Segment::Sealed(&self.sealed[at]),
            Place::Open(at) => Segment::Open(&self.open[at]),
        }
    }

    /// Where the subjects of a sealed segment are, if that is known, with its first record and its
    /// last sequence.
    pub(in crate::store) fn subjects_at(
        &mut self,
        index: LogIndex,
    ) -> Option<(Arc<SegmentSubjects>, LogIndex, StreamSeq)> {
        let Some(Place::Sealed(at)) = self.place_of_index(index) else {
            return None;
        };
        let subjects = self.sealed[at].subjects.clone()?;
        self.open_sealed(at).ok()?;
        let footer = &self.sealed[at].footer;
        Some((subjects, footer.header.first_index, footer.last_sequence))
    }

    /// The sequence of a message's record, whose segment is open.
    pub(in crate::store) fn sequence_of(&self, index: LogIndex) -> StreamSeq {
        let Some(place) = self.place_of_index(index) else {
            return StreamSeq(0);
        };
        let segment = self.opened(place);
        segment.sequence(ordinal(index, segment.range().0))
    }

    /// The message that a record was by its place, if it was one; in a segment that is open.
    pub(super) fn message_at(&self, index: LogIndex) -> Option<StreamSeq> {
        let segment = self.opened(self.place_of_index(index)?);
        segment.message(ordinal(index, segment.range().0))
    }

    /// Takes note that so many records up to `index` were looked at to no purpose. When that were
    /// twice as many as the segment has, it is worth its while to know where its subjects are.
    pub(in crate::store) fn passed_in_vain(&mut self, index: LogIndex, records: usize) {
        let Some(Place::Sealed(at)) = self.place_of_index(index) else {
            return;
        };
        let sealed = &mut self.sealed[at];
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        sealed.passed = sealed.passed.saturating_add(records);
        let is_worth_it = sealed.passed / 2 > sealed.footer.rows();
        if is_worth_it && sealed.subjects.is_none() && self.wanted == Wanted::Nothing {
            self.wanted = Wanted::Segment(sealed.number());
        }
    }
}

impl<'a> Segment<'a> {
    /// The indexes of the first record and of the last one.
    fn range(self) -> (LogIndex, LogIndex) {
        match self {
            Segment::Sealed(sealed) => (sealed.first_index(), sealed.last_index()),
            Segment::Open(open) => (open.header.first_index, open.last_index()),
        }
    }

    /// The records from one on to another, without those that were left out, as far as that is known.
    fn ordinals(self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let mut next = Some(start);
        std::iter::from_fn(move || {
            let at = match self {
                Segment::Sealed(sealed) => sealed.told_from(next?),
                Segment::Open(_) => next?,
            };
            next = at.checked_add(1);
            (at <= end).then_some(at)
        })
    }

    #[inline]
    fn see(self, ordinal: u32) -> Seen<'a> {
        match self {
            Segment::Sealed(sealed) => sealed.see(ordinal),
            Segment::Open(open) => open.see(ordinal),
        }
    }

    fn record<'b>(
        self,
        ordinal: u32,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Option<Stored<'b>>, ReadFault>
    where
        'a: 'b,
    {
        match self {
            Segment::Sealed(sealed) => sealed.record(ordinal, buffer),
            Segment::Open(open) => open.record(ordinal, buffer).map(Some),
        }
    }

    /// The sequence of a message, or the last one before what is none.
    #[inline]
    fn sequence(self, ordinal: u32) -> StreamSeq {
        match self {
            Segment::Sealed(sealed) => sealed.sequence(ordinal),
            Segment::Open(open) => open.sequence(ordinal),
        }
    }

    /// The message that a record was, if it was one: those that are none share the sequence of the
    /// message before them, as do those that were lost before the segment was complete.
    fn message(self, ordinal: u32) -> Option<StreamSeq> {
        let before = match (ordinal.checked_sub(1), self) {
            (Some(before), _) => self.sequence(before),
            (None, Segment::Sealed(sealed)) => sealed.footer.header.base_sequence,
            (None, Segment::Open(open)) => open.header.base_sequence,
        };
        Some(self.sequence(ordinal)).filter(|own| *own > before)
    }

    fn is_known_lost(self, ordinal: u32) -> bool {
        match self {
            Segment::Sealed(sealed) => sealed.is_lost(ordinal),
            Segment::Open(open) => open.contents.offsets.get(ordinal as usize) == Some(&LOST),
        }
    }
}

impl Sealed {
    /// The message that a record was, if it was one. The segment must be open.
    pub(super) fn message(&self, ordinal: u32) -> Option<StreamSeq> {
        Segment::Sealed(self).message(ordinal)
    }

    #[inline]
    fn see(&self, ordinal: u32) -> Seen<'_> {
        let Some((file, at, end)) = self.place(ordinal) else {
            return Seen::Gone;
        };
        if self.is_packed() || self.footer.header.seals_records() {
            return Seen::Hidden;
        }
        // Its own sequence was not checked; that of the table was.
        match file.glance(self.footer.header.records, at, end) {
            Some((kind, subject)) => Seen::Record(Glance {
                kind,
                sequence: self.sequence(ordinal),
                subject,
            }),
            None => Seen::Hidden,
        }
    }

    /// Hands over the messages that a look shows, with their places, in order. Those that are
    /// damaged are left out. The segment must be open.
    pub(super) fn glance_all(
        &self,
        buffer: &mut ReadBuffer,
        mut each: impl FnMut(u32, &Glance<'_>),
    ) {
        let mut each = |ordinal: u32, glance: &Glance<'_>| {
            if glance.kind == Kind::Message {
                each(ordinal, glance);
            }
        };
        for ordinal in self.ordinals(0) {
            match self.see(ordinal) {
                Seen::Record(glance) => each(ordinal, &glance),
                Seen::Gone => {}
                Seen::Hidden => {
                    if let Ok(Some(stored)) = self.record(ordinal, buffer) {
                        each(ordinal, &stored.glance());
                    }
                }
            }
        }
    }
}

impl OpenSegment {
    #[inline]
    fn see(&self, ordinal: u32) -> Seen<'_> {
        let at = self.contents.offsets.get(ordinal as usize);
        let Some(at) = at.copied().filter(|at| *at > LOST) else {
            return Seen::Gone;
        };
        if self.header.seals_records() {
            return Seen::Hidden;
        }
        let records = self.header.records;
        let seen = match at.checked_sub(self.written) {
            None => self.file.glance(records, at, self.written),
            Some(at) => {
                let bytes = self.pending.get(at as usize..);
                bytes.and_then(|bytes| front(bytes, records))
            }
        };
        match seen {
            Some((kind, subject)) => Seen::Record(Glance {
                kind,
                sequence: self.sequence(ordinal),
                subject,
            }),
            None => Seen::Hidden,
        }
    }

    fn sequence(&self, ordinal: u32) -> StreamSeq {
        let distance = self.contents.sequences.get(ordinal as usize);
        let distance = distance.copied().unwrap_or(0);
        StreamSeq(self.header.base_sequence.0 + u64::from(distance))
    }
}

impl Stored<'_> {
    fn glance(&self) -> Glance<'_> {
        Glance {
            kind: self.record.kind,
            sequence: self.record.sequence,
            subject: self.record.subject,
        }
    }
}
