//! Puts an index together from subjects in order, which is much faster than one by one: each node
//! is made once, in the size that it needs.

use super::arena::{Arena, Ref};
use super::entry::SubjectEntry;
use super::node::{self, PART_BYTES_MAX, Step};
use super::subjects::{SubjectIndex, common, cut_above, leaf_chain};
use super::units::{SUBJECT_BYTES_MAX, StreamSeq};
use super::varint::Malformed;

/// Takes subjects in ascending order, and gives the index of them.
pub struct Builder {
    arena: Arena,
    /// The last subject and its entry, whose leaf waits for what comes next; none before the first.
    last: Option<SubjectEntry>,
    key: Vec<u8>,
    /// The nodes on the way to the last subject, outermost first, which may get more children.
    open: Vec<Open>,
    /// Children of the open nodes.
    children: Vec<(Step, Ref)>,
    subjects: usize,
    messages: u64,
    /// The highest of the subjects' last messages.
    highest: u64,
    scratch: Vec<u8>,
}

/// A node that is not made yet.
struct Open {
    /// Bytes of a subject that lead here, the prefix included.
    depth: usize,
    /// Where its children begin.
    children: usize,
}

impl Builder {
    /// A builder without subjects.
    pub fn new() -> Builder {
        Builder {
            arena: Arena::new(),
            last: None,
            key: Vec::new(),
            open: Vec::new(),
            children: Vec::new(),
            subjects: 0,
            messages: 0,
            highest: 0,
            scratch: Vec::new(),
        }
    }

    /// Adds a subject.
    ///
    /// # Errors
    /// If it is not behind the last one, is too long, or there is no room for it. What was added
    /// before stays good.
    pub fn push(&mut self, subject: &[u8], entry: &SubjectEntry) -> Result<(), Malformed> {
        self.push_sharing(0, subject, entry)
    }

    /// The same for a subject whose first `shared` bytes are those of the last one. They are not looked
    /// at again.
    pub(super) fn push_sharing(
        &mut self,
        shared: usize,
        subject: &[u8],
        entry: &SubjectEntry,
    ) -> Result<(), Malformed> {
        debug_assert_eq!(self.key.get(..shared), subject.get(..shared));
        let room = 4 + self.open.len() + (subject.len() + self.key.len()) / PART_BYTES_MAX;
        if subject.len() > SUBJECT_BYTES_MAX || !self.arena.has_room(room) {
            return Err(Malformed("index: too long or too many subjects"));
        }
        if entry.first == 0 {
            return Err(Malformed("index: a message before the first"));
        }
        let mut same = 0;
        let messages = self.messages.checked_add(entry.count());
        let messages = messages.ok_or(Malformed("index: too many messages"))?;
        if let Some(last) = self.last {
            same = shared + common(&self.key[shared..], &subject[shared..]);
            if same == subject.len() || same < self.key.len() && self.key[same] > subject[same] {
                return Err(Malformed("index: subjects out of order"));
            }
            self.place_last(&last, same);
        }
        self.key.truncate(same);
        self.key.extend_from_slice(&subject[same..]);
        self.last = Some(*entry);
        self.highest = self.highest.max(entry.last);
        self.subjects += 1;
        self.messages = messages;
        Ok(())
    }

    /// The last subject that was added.
    pub fn last_subject(&self) -> Option<&[u8]> {
        self.last.is_some().then_some(&self.key[..])
    }

    /// No message of any subject is behind this one.
    pub fn highest(&self) -> StreamSeq {
        StreamSeq(self.highest)
    }

    /// The index of what was added.
    pub fn finish(mut self) -> SubjectIndex {
        let Some(last) = self.last else {
            return SubjectIndex::new();
        };
        let root = match self.open.first() {
            None => leaf_chain(&mut self.arena, &self.key, &last),
            Some(outermost) => {
                let depth = outermost.depth;
                self.place_last(&last, depth);
                let cuts = depth - depth % (PART_BYTES_MAX + 1);
                let node = self.close(cuts);
                cut_above(&mut self.arena, &self.key[..cuts], node)
            }
        };
        SubjectIndex::from_parts(self.arena, root, self.subjects, self.messages)
    }

    /// Makes the leaf of the last subject and all nodes that the next subject, which has `same`
    /// bytes in common with it, does not go through.
    fn place_last(&mut self, last: &SubjectEntry, same: usize) {
        let parent = self.open.last().map_or(same, |open| open.depth.max(same));
        self.open_at(parent);
        let (step, rest) = Step::into_rest(&self.key[parent..]);
        let leaf = leaf_chain(&mut self.arena, rest, last);
        self.children.push((step, leaf));
        while let [.., above, top] = &self.open[..]
            && top.depth > same
        {
            let parent = above.depth.max(same);
            self.close_below(parent);
        }
        if let [top] = &self.open[..]
            && top.depth > same
        {
            self.close_below(same);
        }
    }

    /// Makes the innermost open node, as a child of one at depth `parent`.
    fn close_below(&mut self, parent: usize) {
        let depth = self.open.last().expect("a node is open").depth;
        let start = parent + 1;
        let cuts = depth - (depth - start) % (PART_BYTES_MAX + 1);
        let node = self.close(cuts);
        let node = cut_above(&mut self.arena, &self.key[start..cuts], node);
        self.open_at(parent);
        self.children.push((Step::Byte(self.key[parent]), node));
    }

    /// Makes the innermost open node, with a prefix that begins at byte `from` of the subject.
    fn close(&mut self, from: usize) -> Ref {
        let open = self.open.pop().expect("a node is open");
        let prefix = &self.key[from..open.depth];
        let children = self.children.drain(open.children..);
        let bytes = node::build_inner(&mut self.scratch, prefix, children);
        self.arena.alloc_copy(bytes)
    }

    /// Opens a node at this depth unless there is one.
    fn open_at(&mut self, depth: usize) {
        if self.open.last().is_none_or(|open| open.depth < depth) {
            let children = self.children.len();
            self.open.push(Open { depth, children });
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}
