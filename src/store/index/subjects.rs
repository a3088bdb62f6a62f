//! Which subjects a stream holds messages of, and for each of them the first, the last and how
//! many there are.
//!
//! It is a radix tree over the bytes of the subjects, made for tens of millions of them: what
//! subjects have in common is kept once, nodes have the size that their children need, references
//! take four bytes, and a subject with one message takes eight bytes besides what is left of its
//! name, or twelve with the message's size. Order is that of the bytes.
//!
//! Nothing here takes time that grows with the number of subjects, save what says so. See
//! [`SubjectIndex::scan`](super::SubjectIndex::scan) for what matches filters.

use std::cell::Cell;
use std::fmt;

use super::arena::{Arena, PIECE_BYTES_MAX, Ref};
use super::entry::{NotThere, SubjectEntry};
use super::node::{self, Inner, Leaf, PART_BYTES_MAX, Step};
use super::units::{SUBJECT_BYTES_MAX, StreamSeq};
use crate::base::prefetch::prefetch;

/// The subjects of one stream. The module's documentation says how it is made.
#[derive(Clone)]
pub struct SubjectIndex {
    pub(super) arena: Arena,
    pub(super) root: Ref,
    subjects: usize,
    /// The sum of the entries' counts.
    messages: u64,
    /// Where nodes are put together.
    scratch: Vec<u8>,
    known: Known,
}

/// Where subjects are that were [looked for together](SubjectIndex::look_ahead), for those who ask for
/// them next, about in the same order. It is of use until the tree changes.
#[derive(Clone, Default)]
struct Known {
    subjects: Vec<u8>,
    /// Where each begins among them, and where its leaf is.
    places: Vec<(usize, Slot, Ref)>,
    /// The one that was asked for last.
    at: Cell<usize>,
}

impl Known {
    fn forget(&mut self) {
        self.places.clear();
        self.subjects.clear();
        self.at.set(0);
    }

    fn add(&mut self, subject: &[u8], slot: Slot, leaf: Ref) {
        self.places.push((self.subjects.len(), slot, leaf));
        self.subjects.extend_from_slice(subject);
    }

    #[inline]
    fn get(&self, subject: &[u8]) -> Option<(Slot, Ref)> {
        let at = self.at.get();
        (at..at + 2).find_map(|at| {
            let (start, slot, leaf) = *self.places.get(at)?;
            let rest = &self.subjects[start..];
            let end = self
                .places
                .get(at + 1)
                .map_or(rest.len(), |(next, ..)| next - start);
            let is_it = rest[..end] == *subject;
            is_it.then(|| {
                self.at.set(at);
                (slot, leaf)
            })
        })
    }
}

/// Why a message was not taken into the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// Its sequence number is not behind that of the subject's last message.
    NotNewer,
    /// Its subject has more than [`SUBJECT_BYTES_MAX`] bytes.
    TooLong,
    /// The index has all of the 16 GiB that it can have.
    Full,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AppendError::NotNewer => "the subject has a message of this or a later sequence number",
            AppendError::TooLong => "the subject is longer than the index takes",
            AppendError::Full => "the index of subjects is full",
        })
    }
}

impl std::error::Error for AppendError {}

/// Where the reference to a node stands.
#[derive(Clone, Copy)]
enum Slot {
    Root,
    /// In a node, so many bytes from its start.
    In(Ref, usize),
}

/// Where the search for a subject stands: at a node, with what is left of the subject there.
#[derive(Clone, Copy)]
struct Walk<'k> {
    slot: Slot,
    node: Ref,
    rest: &'k [u8],
}

/// Searches that go on side by side.
const WALKS: usize = 8;

/// Bytes of a node that a search looks at, most often.
const NODE_BYTES: usize = 64;

/// Where a subject's leaf is, or where it would have to be.
enum Place<'k> {
    /// A leaf is there.
    Leaf(Slot, Ref),
    /// The tree is empty.
    Nowhere,
    /// The part of the node, prefix or rest, has only `common` bytes in common with the rest of
    /// the subject.
    Beside {
        slot: Slot,
        node: Ref,
        rest: &'k [u8],
        common: usize,
    },
    /// The inner node has no such child.
    Below {
        slot: Slot,
        node: Ref,
        step: Step,
        rest: &'k [u8],
    },
}

impl SubjectIndex {
    /// An index without subjects, which owns no memory.
    pub fn new() -> SubjectIndex {
        SubjectIndex {
            arena: Arena::new(),
            root: Ref::NONE,
            subjects: 0,
            messages: 0,
            scratch: Vec::new(),
            known: Known::default(),
        }
    }

    /// Takes note of a message; gives what there is of its subject now.
    ///
    /// # Errors
    /// If the message cannot be the subject's newest, or there is no room; nothing changes then.
    #[inline]
    pub fn append(&mut self, subject: &[u8], seq: StreamSeq) -> Result<SubjectEntry, AppendError> {
        self.append_of(subject, seq, 0)
    }

    /// The same for a message of so many bytes, which are kept if it is the only one of its subject; 0 if that
    /// is not to be.
    ///
    /// # Errors
    /// As [`SubjectIndex::append`].
    #[inline]
    pub fn append_of(
        &mut self,
        subject: &[u8],
        seq: StreamSeq,
        bytes: u32,
    ) -> Result<SubjectEntry, AppendError> {
        self.check_room(subject)?;
        let entry = match self.find(subject) {
            Place::Leaf(slot, leaf) => {
                let old = Leaf::read(self.arena.at(leaf)).entry();
                let entry = old.appended(seq).ok_or(AppendError::NotNewer)?;
                self.replace(slot, leaf, &entry);
                entry
            }
            place => {
                let entry = SubjectEntry::single_of(seq, bytes);
                self.insert_at(place, subject, &entry);
                entry
            }
        };
        self.messages += 1;
        Ok(entry)
    }

    /// Takes note of a message of so many bytes, 0 if these are not to be kept, in the place of the only one of
    /// its subject, which goes; gives that one and its bytes, which `read` finds out if they are not known.
    /// Nothing, and no change, if there is none or more than one, if `has` does not know it, if `read` finds
    /// nothing, or if the new message is not newer.
    pub fn supersede(
        &mut self,
        subject: &[u8],
        (seq, bytes): (StreamSeq, u32),
        has: impl FnOnce(StreamSeq) -> bool,
        read: impl FnOnce(StreamSeq) -> Option<u64>,
    ) -> Option<(StreamSeq, u64)> {
        let Place::Leaf(slot, leaf) = self.find(subject) else {
            return None;
        };
        let entry = Leaf::read(self.arena.at(leaf)).entry();
        let old = StreamSeq(entry.last);
        if !entry.is_single() || seq <= old || !has(old) {
            return None;
        }
        let before = entry.bytes().map(u64::from).or_else(|| read(old))?;
        self.replace(slot, leaf, &SubjectEntry::single_of(seq, bytes));
        Some((old, before))
    }

    /// Takes note of a message's removal; gives what is left of its subject.
    ///
    /// # Errors
    /// If the index can tell that the subject has no such message; nothing changes then. It cannot
    /// always tell, so whoever calls makes sure that a message is removed once.
    pub fn remove(
        &mut self,
        subject: &[u8],
        seq: StreamSeq,
    ) -> Result<Option<SubjectEntry>, NotThere> {
        let Place::Leaf(slot, leaf) = self.find(subject) else {
            return Err(NotThere);
        };
        let old = Leaf::read(self.arena.at(leaf)).entry();
        let left = old.removed(seq)?;
        self.messages -= 1;
        match left {
            Some(entry) => self.replace(slot, leaf, &entry),
            None => self.remove_leaf(subject),
        }
        Ok(left)
    }

    /// Forgets a subject with all its messages; gives what there was of it.
    pub fn remove_subject(&mut self, subject: &[u8]) -> Option<SubjectEntry> {
        let entry = self.get(subject)?;
        self.messages -= entry.count();
        self.remove_leaf(subject);
        Some(entry)
    }

    /// Takes note of where a subject's first message is, which was looked for from an inexact
    /// bound on. `None`, and no change, if that contradicts what is known.
    pub fn settle_first(&mut self, subject: &[u8], seq: StreamSeq) -> Option<SubjectEntry> {
        self.settle(subject, |entry| entry.with_first(seq))
    }

    /// Takes note of where a subject's last message is, which was looked for from an inexact bound
    /// backwards. `None`, and no change, if that contradicts what is known.
    pub fn settle_last(&mut self, subject: &[u8], seq: StreamSeq) -> Option<SubjectEntry> {
        self.settle(subject, |entry| entry.with_last(seq))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = SubjectIndex::new();
    }

    /// What there is of a subject.
    pub fn get(&self, subject: &[u8]) -> Option<SubjectEntry> {
        match self.find(subject) {
            Place::Leaf(_, leaf) => Some(Leaf::read(self.arena.at(leaf)).entry()),
            _ => None,
        }
    }

    /// How many subjects there are.
    pub fn len(&self) -> usize {
        self.subjects
    }

    /// Whether there is no subject.
    pub fn is_empty(&self) -> bool {
        self.subjects == 0
    }

    /// How many messages all subjects have together.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of memory that the index owns. Some of them may not have been spent by the system
    /// yet.
    pub fn memory_bytes(&self) -> usize {
        self.arena.memory_bytes() + self.scratch.capacity()
    }

    /// An index that [`Builder`](super::builder::Builder) has put together.
    pub(super) fn from_parts(arena: Arena, root: Ref, subjects: usize, messages: u64) -> Self {
        let index = SubjectIndex {
            arena,
            root,
            subjects,
            messages,
            scratch: Vec::new(),
            known: Known::default(),
        };
        #[cfg(debug_assertions)]
        index.check_invariants();
        index
    }

    fn check_room(&self, subject: &[u8]) -> Result<(), AppendError> {
        if subject.len() > SUBJECT_BYTES_MAX {
            return Err(AppendError::TooLong);
        }
        // A new subject takes a leaf and the nodes that cut it, and has one or two others made
        // anew.
        if !self.arena.has_room(4 + subject.len() / PART_BYTES_MAX) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "places that go through memory take as long as the walk"
    )]
    fn find<'k>(&self, subject: &'k [u8]) -> Place<'k> {
        let Some((slot, leaf)) = self.known.get(subject) else {
            return self.walk_to(subject);
        };
        debug_assert!(
            matches!(self.walk_to(subject), Place::Leaf(_, there) if there == leaf),
            "what is known is forgotten when the tree changes"
        );
        Place::Leaf(slot, leaf)
    }

    fn walk_to<'k>(&self, subject: &'k [u8]) -> Place<'k> {
        let Some(mut walk) = self.walk(subject) else {
            return Place::Nowhere;
        };
        loop {
            if let Some(place) = self.step(&mut walk) {
                return place;
            }
        }
    }

    /// A walk from the root, unless the tree is empty.
    fn walk<'k>(&self, subject: &'k [u8]) -> Option<Walk<'k>> {
        let walk = Walk {
            slot: Slot::Root,
            node: self.root,
            rest: subject,
        };
        (!self.root.is_none()).then_some(walk)
    }

    /// Looks at a node; gives where the walk ends, if it does there.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "places that go through memory take as long as the walk"
    )]
    fn step<'k>(&self, walk: &mut Walk<'k>) -> Option<Place<'k>> {
        let Walk { slot, node, rest } = *walk;
        let bytes = self.arena.at(node);
        if node::is_leaf(bytes) {
            let part = Leaf::read(bytes).rest();
            if part == rest {
                return Some(Place::Leaf(slot, node));
            }
            return Some(Place::Beside {
                slot,
                node,
                rest,
                common: common(part, rest),
            });
        }
        let inner = Inner::read(bytes);
        let part = inner.prefix();
        if !rest.starts_with(part) {
            return Some(Place::Beside {
                slot,
                node,
                rest,
                common: common(part, rest),
            });
        }
        let (step, below) = Step::into_rest(&rest[part.len()..]);
        let Some(at) = inner.slot(step) else {
            return Some(Place::Below {
                slot,
                node,
                step,
                rest: below,
            });
        };
        *walk = Walk {
            slot: Slot::In(node, at),
            node: node::read_ref(bytes, at),
            rest: below,
        };
        None
    }

    /// What there is of several subjects, of those that are there, in any order. Their nodes are waited
    /// for together, which takes less time than [`SubjectIndex::get`] for one after the other where
    /// the index is larger than the processor's caches; and who asks for them next, in their order,
    /// finds them at once.
    pub fn look_ahead(&mut self, subjects: &[&[u8]], mut found: impl FnMut(SubjectEntry)) {
        self.known.forget();
        for subjects in subjects.chunks(WALKS) {
            let mut walks = [const { None }; WALKS];
            for (walk, subject) in walks.iter_mut().zip(subjects) {
                *walk = self.walk(subject);
            }
            let mut leaves = [None; WALKS];
            let mut goes_on = true;
            while goes_on {
                goes_on = false;
                for (place, leaf) in walks.iter_mut().zip(&mut leaves) {
                    let Some(walk) = place else { continue };
                    match self.step(walk) {
                        None => {
                            prefetch(self.arena.at(walk.node), NODE_BYTES);
                            goes_on = true;
                        }
                        Some(Place::Leaf(slot, at)) => {
                            *leaf = Some((slot, at));
                            *place = None;
                        }
                        Some(_) => *place = None,
                    }
                }
            }
            for (subject, leaf) in subjects.iter().zip(leaves) {
                let Some((slot, leaf)) = leaf else { continue };
                found(Leaf::read(self.arena.at(leaf)).entry());
                self.known.add(subject, slot, leaf);
            }
        }
    }

    fn settle(
        &mut self,
        subject: &[u8],
        change: impl FnOnce(SubjectEntry) -> Option<SubjectEntry>,
    ) -> Option<SubjectEntry> {
        let Place::Leaf(slot, leaf) = self.find(subject) else {
            return None;
        };
        let entry = change(Leaf::read(self.arena.at(leaf)).entry())?;
        self.replace(slot, leaf, &entry);
        Some(entry)
    }

    /// Puts another entry into a leaf, which moves if it needs another size.
    fn replace(&mut self, slot: Slot, leaf: Ref, entry: &SubjectEntry) {
        if node::replace_entry(self.arena.at_mut(leaf), entry) {
            return;
        }
        let mut rest = [0; PART_BYTES_MAX];
        let old = Leaf::read(self.arena.at(leaf));
        let (len, rest) = (old.len(), copied(&mut rest, old.rest()));
        let new_len = node::leaf_len(entry, rest);
        if Arena::same_class(len, new_len) {
            node::write_leaf(self.arena.at_mut(leaf), entry, rest);
            return;
        }
        let moved = write_leaf(&mut self.arena, entry, rest);
        self.arena.free(leaf);
        self.set(slot, moved);
    }

    fn insert_at(&mut self, place: Place<'_>, subject: &[u8], entry: &SubjectEntry) {
        self.subjects += 1;
        self.known.forget();
        match place {
            Place::Leaf(..) => unreachable!("a subject that is there is not inserted"),
            Place::Nowhere => self.root = leaf_chain(&mut self.arena, subject, entry),
            Place::Beside {
                slot,
                node,
                rest,
                common,
            } => {
                self.split(slot, node, common, &rest[common..], entry);
            }
            Place::Below {
                slot,
                node,
                step,
                rest,
            } => {
                let leaf = leaf_chain(&mut self.arena, rest, entry);
                self.add_child(slot, node, step, leaf);
            }
        }
    }

    /// Puts an inner node between a node and its parent, at the `common`th byte of the node's part;
    /// a leaf for the new subject becomes its other child.
    fn split(&mut self, slot: Slot, node: Ref, common: usize, rest: &[u8], entry: &SubjectEntry) {
        let mut part = [0; PART_BYTES_MAX];
        let bytes = self.arena.at(node);
        let part = if node::is_leaf(bytes) {
            copied(&mut part, Leaf::read(bytes).rest())
        } else {
            copied(&mut part, Inner::read(bytes).prefix())
        };
        let (old_step, old_rest) = Step::into_rest(&part[common..]);
        let old = self.with_part(node, old_rest);
        let (new_step, new_rest) = Step::into_rest(rest);
        let new = leaf_chain(&mut self.arena, new_rest, entry);
        let mut children = [(old_step, old), (new_step, new)];
        children.sort_unstable_by_key(|(step, _)| *step);
        let bytes = node::build_inner(&mut self.scratch, &part[..common], children.into_iter());
        let parent = self.arena.alloc_copy(bytes);
        self.set(slot, parent);
    }

    /// The same node with another part, shorter or longer; the node itself is gone.
    fn with_part(&mut self, node: Ref, part: &[u8]) -> Ref {
        let bytes = self.arena.at(node);
        let other = if node::is_leaf(bytes) {
            let entry = Leaf::read(bytes).entry();
            write_leaf(&mut self.arena, &entry, part)
        } else {
            let inner = Inner::read(bytes);
            let mut children = Children::default();
            children.fill(inner);
            let bytes = node::build_inner(&mut self.scratch, part, children.iter());
            self.arena.alloc_copy(bytes)
        };
        self.arena.free(node);
        other
    }

    fn add_child(&mut self, slot: Slot, node: Ref, step: Step, child: Ref) {
        if node::add_child(self.arena.at_mut(node), step, child) {
            return;
        }
        let mut children = Children::default();
        children.fill(Inner::read(self.arena.at(node)));
        children.insert(step, child);
        self.rebuild(slot, node, &children);
    }

    /// Replaces an inner node by one of the right size for these children.
    fn rebuild(&mut self, slot: Slot, node: Ref, children: &Children) {
        let prefix = Inner::read(self.arena.at(node)).prefix();
        let bytes = node::build_inner(&mut self.scratch, prefix, children.iter());
        let other = self.arena.alloc_copy(bytes);
        self.arena.free(node);
        self.set(slot, other);
    }

    /// Takes out the leaf of a subject, which is there.
    fn remove_leaf(&mut self, subject: &[u8]) {
        self.subjects -= 1;
        self.known.forget();
        // The inner nodes on the way that lose their only child go, too.
        let (mut slot, mut node, mut rest) = (Slot::Root, self.root, subject);
        let mut parent = None;
        loop {
            let bytes = self.arena.at(node);
            if node::is_leaf(bytes) {
                break;
            }
            let inner = Inner::read(bytes);
            let (step, below) = Step::into_rest(&rest[inner.prefix().len()..]);
            let at = inner.slot(step).expect("the subject is there");
            if inner.children() > 1 {
                parent = Some((slot, node, step));
            }
            slot = Slot::In(node, at);
            node = node::read_ref(bytes, at);
            rest = below;
        }
        let Some((slot, parent, step)) = parent else {
            *self = SubjectIndex::new();
            return;
        };
        let below = Inner::read(self.arena.at(parent)).child(step);
        self.free_chain(below.expect("the subject is there"));
        let excess = node::remove_child(self.arena.at_mut(parent), step);
        if Inner::read(self.arena.at(parent)).children() == 1 {
            self.merge(slot, parent);
        } else if excess {
            let mut children = Children::default();
            children.fill(Inner::read(self.arena.at(parent)));
            self.rebuild(slot, parent, &children);
        }
    }

    /// Frees a leaf and the nodes with one child above it.
    fn free_chain(&mut self, mut node: Ref) {
        loop {
            let bytes = self.arena.at(node);
            let below = (!node::is_leaf(bytes)).then(|| only_child(Inner::read(bytes)).1);
            self.arena.free(node);
            match below {
                Some(below) => node = below,
                None => return,
            }
        }
    }

    /// Joins a node that has one child left with this child, unless they are too long together.
    fn merge(&mut self, slot: Slot, node: Ref) {
        let mut part = [0; 2 * PART_BYTES_MAX + 1];
        let inner = Inner::read(self.arena.at(node));
        let (step, child) = only_child(inner);
        let prefix = inner.prefix();
        let mut len = prefix.len();
        part[..len].copy_from_slice(prefix);
        if let Step::Byte(byte) = step {
            part[len] = byte;
            len += 1;
        }
        let bytes = self.arena.at(child);
        let rest = if node::is_leaf(bytes) {
            Leaf::read(bytes).rest()
        } else {
            Inner::read(bytes).prefix()
        };
        part[len..len + rest.len()].copy_from_slice(rest);
        len += rest.len();
        if len > PART_BYTES_MAX {
            let mut children = Children::default();
            children.fill(inner);
            self.rebuild(slot, node, &children);
            return;
        }
        self.arena.free(node);
        let joined = self.with_part(child, &part[..len]);
        self.set(slot, joined);
    }

    fn set(&mut self, slot: Slot, to: Ref) {
        self.known.forget();
        match slot {
            Slot::Root => self.root = to,
            Slot::In(node, at) => node::write_ref(self.arena.at_mut(node), at, to),
        }
    }

    /// Checks what must hold between calls, in time linear to the size of the index.
    ///
    /// # Panics
    /// When the index is inconsistent, which is a bug in it.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.arena.check_invariants();
        let (mut subjects, mut messages) = (0, 0);
        let mut nodes = vec![self.root];
        while let Some(node) = nodes.pop().filter(|node| !node.is_none()) {
            let bytes = self.arena.at(node);
            if node::is_leaf(bytes) {
                let entry = Leaf::read(bytes).entry();
                entry.check_invariants();
                subjects += 1;
                messages += entry.count();
                continue;
            }
            let inner = Inner::read(bytes);
            let before = nodes.len();
            nodes.extend(node::children(inner).map(|(_, child)| child));
            assert_eq!(
                nodes.len() - before,
                inner.children(),
                "a node counts its children"
            );
            let steps: Vec<Step> = node::children(inner).map(|(step, _)| step).collect();
            assert!(steps.is_sorted_by(|a, b| a < b));
            assert_eq!(steps.first() == Some(&Step::End), inner.has_end());
            if inner.has_end() {
                let end = inner.child(Step::End).expect("it has one");
                assert!(Leaf::read(self.arena.at(end)).rest().is_empty());
            }
            assert!(inner.children() > 0, "no inner node is empty");
        }
        assert_eq!((subjects, messages), (self.subjects, self.messages));
    }
}

impl Default for SubjectIndex {
    fn default() -> Self {
        SubjectIndex::new()
    }
}

impl fmt::Debug for SubjectIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectIndex")
            .field("subjects", &self.subjects)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

/// Children of a node that is being made anew.
struct Children {
    list: [(Step, Ref); 257],
    len: usize,
}

impl Default for Children {
    fn default() -> Self {
        Children {
            list: [(Step::End, Ref::NONE); 257],
            len: 0,
        }
    }
}

impl Children {
    fn fill(&mut self, inner: Inner<'_>) {
        for child in node::children(inner) {
            self.list[self.len] = child;
            self.len += 1;
        }
    }

    fn insert(&mut self, step: Step, child: Ref) {
        let at = self.list[..self.len].partition_point(|(other, _)| *other < step);
        self.list.copy_within(at..self.len, at + 1);
        self.list[at] = (step, child);
        self.len += 1;
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (Step, Ref)> {
        self.list[..self.len].iter().copied()
    }
}

/// Makes the leaf of a subject of which `rest` is left, below nodes that cut it if it is long.
pub(super) fn leaf_chain(arena: &mut Arena, rest: &[u8], entry: &SubjectEntry) -> Ref {
    let cuts = rest.len() / (PART_BYTES_MAX + 1);
    let leaf = write_leaf(arena, entry, &rest[cuts * (PART_BYTES_MAX + 1)..]);
    cut_above(arena, &rest[..cuts * (PART_BYTES_MAX + 1)], leaf)
}

/// Makes the nodes with one child that lead over `path`, a multiple of the longest part and a byte,
/// to `node`.
pub(super) fn cut_above(arena: &mut Arena, path: &[u8], mut node: Ref) -> Ref {
    let mut scratch = Vec::new();
    for piece in path.rchunks(PART_BYTES_MAX + 1) {
        let (prefix, byte) = piece.split_at(PART_BYTES_MAX);
        let child = [(Step::Byte(byte[0]), node)];
        let bytes = node::build_inner(&mut scratch, prefix, child.into_iter());
        node = arena.alloc_copy(bytes);
    }
    node
}

fn write_leaf(arena: &mut Arena, entry: &SubjectEntry, rest: &[u8]) -> Ref {
    let leaf = arena.alloc(node::leaf_len(entry, rest));
    node::write_leaf(arena.at_mut(leaf), entry, rest);
    leaf
}

fn only_child(inner: Inner<'_>) -> (Step, Ref) {
    inner.child_from(Step::End).expect("it has a child")
}

fn copied<'a>(into: &'a mut [u8], part: &[u8]) -> &'a [u8] {
    let into = &mut into[..part.len()];
    into.copy_from_slice(part);
    into
}

/// How many bytes are the same at the beginning of both.
#[inline]
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    let (words_a, words_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let mut same = 0;
    for (a, b) in words_a.iter().zip(words_b) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return same + (differ.trailing_zeros() / 8) as usize;
        }
        same += 8;
    }
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

const _: () = assert!(PART_BYTES_MAX + 24 + 2 <= PIECE_BYTES_MAX);
