//! Walks over the subjects that match filters, in order, a bounded part at a time.

use std::ops::{AddAssign, ControlFlow};

use super::arena::Ref;
use super::entry::SubjectEntry;
use super::filter::{Fate, Filters, State, Wanted};
use super::node::{self, Inner, Leaf, Step};
use super::subjects::{SubjectIndex, common};
use super::units::StreamSeq;
use crate::base::prefetch::prefetch;

/// Children that are asked for side by side, and bytes of each.
const TOGETHER: usize = 16;
const NODE_BYTES: usize = 64;

/// Where a walk goes on: at the first subject that is not before some bytes. It stays good
/// whatever happens to the index meanwhile; a subject that comes or goes before it is not seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    from: Vec<u8>,
    done: bool,
}

impl Cursor {
    /// Before the first subject.
    pub const fn start() -> Cursor {
        Cursor {
            from: Vec::new(),
            done: false,
        }
    }

    /// At this subject if it is there, and at the next one otherwise.
    pub fn at(subject: &[u8]) -> Cursor {
        Cursor {
            from: subject.to_vec(),
            done: false,
        }
    }

    /// Behind this subject.
    pub fn after(subject: &[u8]) -> Cursor {
        let mut cursor = Cursor::start();
        cursor.move_after(subject);
        cursor
    }

    /// Whether nothing is left to walk over.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// What the subjects that are left are not before, in the order of their bytes. It need not
    /// be a subject.
    pub fn position(&self) -> &[u8] {
        &self.from
    }

    fn move_after(&mut self, subject: &[u8]) {
        self.move_to(subject);
        // The next string in order.
        self.from.push(0);
    }

    fn move_to(&mut self, position: &[u8]) {
        self.from.clear();
        self.from.extend_from_slice(position);
    }
}

/// Messages and subjects that match filters, from some sequence number on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Subjects with at least one such message, those of `unsure` aside.
    pub subjects: u64,
    /// Messages of these subjects, all of them wanted.
    pub messages: u64,
    /// Subjects of which some messages may be too old.
    pub unsure: u64,
    /// Messages of those subjects, the old ones included: the most that may be added to
    /// `messages`.
    pub unsure_messages: u64,
}

impl Tally {
    fn add(&mut self, entry: &SubjectEntry, from: StreamSeq) {
        if entry.first >= from.0 {
            self.subjects += 1;
            self.messages += entry.count;
        } else if entry.last >= from.0 {
            if entry.last_exact && entry.count == 2 {
                // The first message is before, and the last one is not.
                if entry.first_exact {
                    self.subjects += 1;
                    self.messages += 1;
                    return;
                }
            }
            self.unsure += 1;
            self.unsure_messages += entry.count;
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.subjects += other.subjects;
        self.messages += other.messages;
        self.unsure += other.unsure;
        self.unsure_messages += other.unsure_messages;
    }
}

/// An inner node on the way to where the walk is.
struct Frame {
    node: Ref,
    /// The next step to be tried.
    next: Option<Step>,
    /// Bytes of the subject up to here, the node's prefix included.
    key_len: usize,
    /// Where the states of this node begin.
    states: usize,
    /// Whether everything below is matched, so that there are no states.
    everything: bool,
    /// How many bytes of the cursor led here, while the walk is on its way to where it begins.
    sought: Option<usize>,
}

/// A walk in progress.
struct Walk<'a> {
    index: &'a SubjectIndex,
    filters: &'a Filters,
    from: &'a [u8],
    key: Vec<u8>,
    frames: Vec<Frame>,
    states: Vec<State>,
}

impl SubjectIndex {
    /// Hands over the subjects that match the filters from the cursor on, in the order of their
    /// bytes, until they end, `each` breaks, or `budget` nodes have been looked at (16 states of
    /// filters count as another one). The cursor moves behind what was handed over. With a budget
    /// of at least 1, repeated calls come to an end.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use nats_server::store::index::{Cursor, Filters, StreamSeq, SubjectIndex};
    ///
    /// let mut index = SubjectIndex::new();
    /// for (seq, subject) in (1..).zip(["b.1", "a.1", "a.2"]) {
    ///     index.append(subject.as_bytes(), StreamSeq(seq))?;
    /// }
    /// let filters = Filters::new([&b"a.*"[..]]).expect("a valid filter");
    /// let (mut cursor, mut found) = (Cursor::start(), Vec::new());
    /// while !cursor.is_done() {
    ///     index.scan(&filters, &mut cursor, 100, |subject, entry| {
    ///         found.push((subject.to_vec(), entry.last().seq()));
    ///         ControlFlow::Continue(())
    ///     });
    /// }
    /// assert_eq!(found, [(b"a.1".to_vec(), StreamSeq(2)), (b"a.2".to_vec(), StreamSeq(3))]);
    /// # Ok::<(), nats_server::store::index::AppendError>(())
    /// ```
    pub fn scan(
        &self,
        filters: &Filters,
        cursor: &mut Cursor,
        budget: usize,
        mut each: impl FnMut(&[u8], &SubjectEntry) -> ControlFlow<()>,
    ) {
        if cursor.done {
            return;
        }
        if self.root.is_none() || filters.is_empty() {
            cursor.done = true;
            return;
        }
        let from = std::mem::take(&mut cursor.from);
        let mut walk = Walk {
            index: self,
            filters,
            from: &from,
            key: Vec::with_capacity(64),
            frames: Vec::with_capacity(16),
            states: filters.starts().to_vec(),
        };
        let mut left = budget;
        let sought = (!from.is_empty()).then_some(0);
        let mut found = walk.look(self.root, Step::End, 0, filters.is_all(), sought);
        loop {
            if let Some(entry) = found
                && each(&walk.key, &entry).is_break()
            {
                cursor.move_after(&walk.key);
                return;
            }
            let Some((step, child)) = walk.next_child() else {
                cursor.done = true;
                return;
            };
            let frame = walk.frames.last_mut().expect("a child has a parent");
            let (states, everything) = (frame.states, frame.everything);
            // Only the first child that is visited can be on the way to where the walk begins.
            let sought = match (frame.sought.take(), step) {
                (Some(at), Step::Byte(byte)) if byte == from[at] => Some(at + 1),
                _ => None,
            };
            if sought.is_none() && everything && budget == usize::MAX {
                walk.key.extend(step.byte());
                found = None;
                if self.each_below(child, &mut walk.key, &mut each).is_break() {
                    cursor.move_after(&walk.key);
                    return;
                }
                continue;
            }
            if sought.is_none() {
                if left == 0 {
                    walk.key.extend(step.byte());
                    cursor.move_to(&walk.key);
                    return;
                }
                left = left.saturating_sub(1 + (walk.states.len() - states) / 16);
            }
            found = walk.look(child, step, states, everything, sought);
        }
    }

    /// Hands over all subjects below a node, in order; `key` is what leads to it, and the subject at which
    /// `each` breaks.
    fn each_below(
        &self,
        node: Ref,
        key: &mut Vec<u8>,
        each: &mut impl FnMut(&[u8], &SubjectEntry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut above: Vec<(Inner<'_>, usize, usize)> = Vec::with_capacity(16);
        let mut node = node;
        loop {
            let bytes = self.arena.at(node);
            if node::is_leaf(bytes) {
                let leaf = Leaf::read(bytes);
                key.extend_from_slice(leaf.rest());
                each(key, &leaf.entry())?;
            } else {
                let inner = Inner::read(bytes);
                key.extend_from_slice(inner.prefix());
                // They are waited for together.
                for (_, child) in node::children(inner).take(TOGETHER) {
                    prefetch(self.arena.at(child), NODE_BYTES);
                }
                above.push((inner, 0, key.len()));
            }
            node = loop {
                let Some((inner, at, key_len)) = above.last_mut() else {
                    return ControlFlow::Continue(());
                };
                key.truncate(*key_len);
                if let Some((step, child, behind)) = inner.child_at(*at) {
                    *at = behind;
                    key.extend(step.byte());
                    break child;
                }
                above.pop();
            };
        }
    }

    /// Counts what matches the filters from the cursor on and from sequence number `from` on, with
    /// a budget as that of [`SubjectIndex::scan`]. Whoever needs to know about the messages that
    /// it is unsure of looks into the log.
    pub fn tally(
        &self,
        filters: &Filters,
        from: StreamSeq,
        cursor: &mut Cursor,
        budget: usize,
    ) -> Tally {
        let mut tally = Tally::default();
        self.scan(filters, cursor, budget, |_, entry| {
            tally.add(entry, from);
            ControlFlow::Continue(())
        });
        tally
    }
}

impl Walk<'_> {
    /// The next child that may be of interest, in the innermost node that has one. The key is
    /// that of the node.
    fn next_child(&mut self) -> Option<(Step, Ref)> {
        loop {
            let frame = self.frames.last_mut()?;
            self.key.truncate(frame.key_len);
            let found = frame.next.and_then(|next| {
                let inner = Inner::read(self.index.arena.at(frame.node));
                if frame.everything {
                    return inner.child_from(next);
                }
                wanted_child(inner, next, self.filters, &self.states[frame.states..])
            });
            match found {
                Some((step, child)) => {
                    frame.next = step.next();
                    return Some((step, child));
                }
                None => {
                    let frame = self.frames.pop().expect("it was there");
                    self.states.truncate(frame.states);
                }
            }
        }
    }

    /// Looks at a node to which `step` leads from where the walk is, with the states from `states`
    /// on. Enters it if it is an inner one that may lead to something wanted; gives a leaf's entry
    /// if it is wanted, and then the key is its subject.
    fn look(
        &mut self,
        node: Ref,
        step: Step,
        states: usize,
        everything: bool,
        sought: Option<usize>,
    ) -> Option<SubjectEntry> {
        let byte = step.byte();
        let byte = byte.as_slice();
        let bytes = self.index.arena.at(node);
        if node::is_leaf(bytes) {
            let leaf = Leaf::read(bytes);
            let rest = leaf.rest();
            let before = sought.is_some_and(|sought| rest < &self.from[sought..]);
            if before
                || !everything
                    && !self
                        .filters
                        .any_accepts(&self.states[states..], [byte, rest])
            {
                return None;
            }
            self.key.extend_from_slice(byte);
            self.key.extend_from_slice(rest);
            return Some(leaf.entry());
        }
        let prefix = Inner::read(bytes).prefix();
        let (mut next, mut sought_here) = (Step::End, None);
        if let Some(sought) = sought {
            let from = &self.from[sought..];
            let same = common(prefix, from);
            if same == prefix.len() && same < from.len() {
                next = Step::Byte(from[same]);
                sought_here = Some(sought + same);
            } else if same < prefix.len() && same < from.len() && prefix[same] < from[same] {
                return None;
            }
        }
        let start = self.states.len();
        let fate = if everything {
            Fate::Everything
        } else {
            self.filters
                .follow(&mut self.states, states, [byte, prefix])
        };
        if fate != Fate::Nothing {
            self.key.extend_from_slice(byte);
            self.key.extend_from_slice(prefix);
            self.frames.push(Frame {
                node,
                next: Some(next),
                key_len: self.key.len(),
                states: start,
                everything: fate == Fate::Everything,
                sought: sought_here,
            });
        }
        None
    }
}

/// The first child from `next` on that the states may lead to.
fn wanted_child(
    inner: Inner<'_>,
    next: Step,
    filters: &Filters,
    states: &[State],
) -> Option<(Step, Ref)> {
    if next == Step::End
        && let Some(end) = inner.child(Step::End)
    {
        return Some((Step::End, end));
    }
    let mut from = match next {
        Step::End => 0,
        Step::Byte(byte) => byte,
    };
    loop {
        match filters.wanted(states, from) {
            Wanted::Any => return inner.child_from(Step::Byte(from)),
            Wanted::None => return None,
            Wanted::From(byte) => {
                if let Some(child) = inner.child(Step::Byte(byte)) {
                    return Some((Step::Byte(byte), child));
                }
                from = byte.checked_add(1)?;
            }
        }
    }
}
