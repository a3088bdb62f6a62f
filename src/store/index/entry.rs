//! What the index knows of one subject's messages, and how that changes.
//!
//! The index does not hold the sequence numbers between the first and the last. So when the first
//! message of three or more goes, the next one is not known here; finding it means to look into
//! the log, which is wasted when nobody asks before more of them go. The bound therefore moves past
//! the removed message and is marked as inexact; whoever needs the message itself looks for it from
//! the bound on, and may settle what was found. With two messages nothing has to be found: the one
//! that stays is the other bound. So buckets that keep one value a key never have inexact bounds.

use super::units::StreamSeq;

/// Where a subject's first or last message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The message has this sequence number.
    Exact(StreamSeq),
    /// No message of the subject is before (for a first message) or behind (for a last one) this
    /// sequence number; there need not be one at it.
    Inexact(StreamSeq),
}

impl Bound {
    /// The sequence number, exact or not.
    pub const fn seq(self) -> StreamSeq {
        match self {
            Bound::Exact(seq) | Bound::Inexact(seq) => seq,
        }
    }

    /// The sequence number if the message has exactly that.
    pub const fn exact(self) -> Option<StreamSeq> {
        match self {
            Bound::Exact(seq) => Some(seq),
            Bound::Inexact(_) => None,
        }
    }

    const fn of(seq: u64, exact: bool) -> Bound {
        if exact {
            Bound::Exact(StreamSeq(seq))
        } else {
            Bound::Inexact(StreamSeq(seq))
        }
    }
}

/// More messages than any stream will have.
const COUNT_MAX: u64 = 1 << 62;

/// A removed message was not among those of its subject, as far as the index can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotThere;

/// The messages of one subject: at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubjectEntry {
    /// Never behind the first message.
    pub(super) first: u64,
    /// Never before the last message.
    pub(super) last: u64,
    /// At least 1 and at most the numbers from `first` to `last`.
    pub(super) count: u64,
    pub(super) first_exact: bool,
    pub(super) last_exact: bool,
    /// Bytes of the only message, if that is known; 0 otherwise.
    pub(super) bytes: u32,
}

impl SubjectEntry {
    /// One message.
    pub const fn single(seq: StreamSeq) -> SubjectEntry {
        SubjectEntry::single_of(seq, 0)
    }

    /// One message of so many bytes; 0 if that is not known.
    pub const fn single_of(seq: StreamSeq, bytes: u32) -> SubjectEntry {
        SubjectEntry {
            first: seq.0,
            last: seq.0,
            count: 1,
            first_exact: true,
            last_exact: true,
            bytes,
        }
    }

    /// `count` messages between two bounds; `None` if there cannot be as many, or none.
    pub fn new(first: Bound, last: Bound, count: u64) -> Option<SubjectEntry> {
        SubjectEntry {
            first: first.seq().0,
            last: last.seq().0,
            count,
            first_exact: first.exact().is_some(),
            last_exact: last.exact().is_some(),
            bytes: 0,
        }
        .settled()
    }

    /// The first message.
    pub const fn first(&self) -> Bound {
        Bound::of(self.first, self.first_exact)
    }

    /// The last message.
    pub const fn last(&self) -> Bound {
        Bound::of(self.last, self.last_exact)
    }

    /// How many messages there are: at least 1.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of the only message, if they are known.
    pub const fn bytes(&self) -> Option<u32> {
        match self.bytes {
            0 => None,
            bytes => Some(bytes),
        }
    }

    /// Whether there is one message, whose sequence number is known.
    pub(super) fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// Adds a message behind the others; `None` if `seq` is not behind them.
    #[must_use]
    #[inline]
    pub(super) fn appended(self, seq: StreamSeq) -> Option<SubjectEntry> {
        let appended = SubjectEntry {
            last: seq.0,
            last_exact: true,
            count: self.count + 1,
            bytes: 0,
            ..self
        };
        (seq.0 > self.last).then_some(appended)
    }

    /// Takes a message away; `None` if it was the only one.
    pub(super) fn removed(mut self, seq: StreamSeq) -> Result<Option<SubjectEntry>, NotThere> {
        let seq = seq.0;
        if seq < self.first || seq > self.last {
            return Err(NotThere);
        }
        if self.count == 1 {
            return Ok(None);
        }
        self.count -= 1;
        // There are two or more, so the bounds differ and neither can pass the other.
        if seq == self.first {
            self.first = seq + 1;
            self.first_exact = false;
        } else if seq == self.last {
            self.last = seq - 1;
            self.last_exact = false;
        }
        self.settled().map(Some).ok_or(NotThere)
    }

    /// Takes note of where the first message is, which was looked for from the bound on.
    pub(super) fn with_first(mut self, seq: StreamSeq) -> Option<SubjectEntry> {
        if seq.0 < self.first || self.first_exact && seq.0 != self.first {
            return None;
        }
        self.first = seq.0;
        self.first_exact = true;
        self.settled()
    }

    /// Takes note of where the last message is, which was looked for from the bound backwards.
    pub(super) fn with_last(mut self, seq: StreamSeq) -> Option<SubjectEntry> {
        if seq.0 > self.last || self.last_exact && seq.0 != self.last {
            return None;
        }
        self.last = seq.0;
        self.last_exact = true;
        self.settled()
    }

    /// Draws the conclusions from the bounds and the count; `None` if they contradict each other.
    fn settled(mut self) -> Option<SubjectEntry> {
        if self.count == 1 {
            if self.first_exact {
                self.last = if self.last_exact {
                    self.last
                } else {
                    self.first
                };
                self.last_exact = true;
            } else if self.last_exact {
                self.first = self.last;
                self.first_exact = true;
            }
            if self.first_exact && self.first != self.last {
                return None;
            }
        }
        let between = self.last.checked_sub(self.first)?;
        let others = self.count.checked_sub(1)?;
        if others > between || self.count > COUNT_MAX {
            return None;
        }
        if others == between {
            self.first_exact = true;
            self.last_exact = true;
        }
        Some(self)
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        assert_eq!(
            self.settled(),
            Some(*self),
            "nothing is left to be concluded"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn one_of_two_is_known() {
        let two = SubjectEntry::single(StreamSeq(3))
            .appended(StreamSeq(9))
            .unwrap();
        let one = |seq| Ok(Some(SubjectEntry::single(StreamSeq(seq))));
        assert_eq!(two.removed(StreamSeq(3)), one(9));
        assert_eq!(two.removed(StreamSeq(9)), one(3));
        assert_eq!(two.removed(StreamSeq(2)), Err(NotThere));
        // It takes the place of a message that is there, but then two exact bounds remain for one.
        assert_eq!(two.removed(StreamSeq(5)), Err(NotThere));
        assert_eq!(two.appended(StreamSeq(9)), None);
    }

    #[test]
    fn contradictions_are_none() {
        let exact = |seq| Bound::Exact(StreamSeq(seq));
        let inexact = |seq| Bound::Inexact(StreamSeq(seq));
        for (first, last, count) in [
            (exact(5), exact(4), 1),
            (exact(4), exact(5), 0),
            (exact(4), exact(5), 1),
            (inexact(4), exact(5), 3),
            (exact(0), exact(u64::MAX), 0),
        ] {
            assert_eq!(SubjectEntry::new(first, last, count), None);
        }
        let entry = SubjectEntry::new(inexact(4), inexact(9), 6).unwrap();
        assert_eq!((entry.first(), entry.last()), (exact(4), exact(9)));
        let entry = SubjectEntry::new(exact(4), inexact(9), 1).unwrap();
        assert_eq!(entry, SubjectEntry::single(StreamSeq(4)));
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_goes(
            gaps in prop::collection::vec(1..4u64, 1..12),
            steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 0..40),
        ) {
            let mut model = BTreeSet::new();
            let mut entry: Option<SubjectEntry> = None;
            let mut next = 0;
            for gap in gaps {
                next += gap;
                let seq = StreamSeq(next);
                model.insert(next);
                entry = Some(entry.map_or(SubjectEntry::single(seq), |e| e.appended(seq).unwrap()));
            }
            for (what, which) in steps {
                let Some(known) = entry else { break };
                let all: Vec<u64> = model.iter().copied().collect();
                entry = match what {
                    0 => {
                        next += 2;
                        model.insert(next);
                        known.appended(StreamSeq(next))
                    }
                    1 => known.with_first(StreamSeq(all[0])),
                    2 => known.with_last(StreamSeq(all[all.len() - 1])),
                    _ => {
                        let gone = all[which.index(all.len())];
                        model.remove(&gone);
                        known.removed(StreamSeq(gone)).unwrap()
                    }
                };
                prop_assert_eq!(entry.map_or(0, |e| e.count()), model.len() as u64);
                let Some(entry) = entry else { continue };
                entry.check_invariants();
                let (first, last) = (*model.first().unwrap(), *model.last().unwrap());
                prop_assert!(entry.first <= first && last <= entry.last);
                prop_assert!(!entry.first_exact || entry.first == first);
                prop_assert!(!entry.last_exact || entry.last == last);
                prop_assert!(entry.count > 1 || !entry.is_single() || first == last);
            }
        }
    }
}
