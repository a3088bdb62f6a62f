//! The subscription list of one account: a trie by subject token.
//!
//! It answers which subscriptions a published subject reaches. Routes and caches over it, picking
//! a member of a queue group, and what a subscription's value means are left to the caller, as
//! are locks.
//!
//! The trie is made for a million subscriptions: nodes and subscriptions lie in paged arenas and
//! name each other by 32-bit ids; a node with several literal children finds them in one hash
//! table that all nodes share, an only child it names itself. A subscription finds
//! its subject by walking up from its node, and so holds none.
//!
//! ```
//! use nats_server::subject::{Matches, Sublist};
//!
//! let mut list = Sublist::new(0x5eed);
//! let all = list.insert(b"orders.>", None, 1)?;
//! list.insert(b"orders.*.paid", Some(b"billing"), 2)?;
//! let mut matches = Matches::default();
//! list.matches(b"orders.17.paid", &mut matches);
//! assert_eq!((matches.plain.len(), matches.queued.len()), (1, 1));
//! assert_eq!(list.remove(all), Some(1));
//! # Ok::<(), nats_server::subject::InvalidSubject>(())
//! ```

mod edge_table;
mod edges;
mod node;
mod queues;
#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::num::NonZeroU32;

use self::edges::Edges;
use self::node::{Key, LiteralChildren, Literals, Node, NodeId, Place, Sub, Token};
pub use self::queues::QueueId;
use self::queues::QueueNames;
use super::token::is_valid;
use crate::base::pages::Pages;

/// Why a subscription was refused: its subject is not valid in the sense of
/// [`is_valid`](super::is_valid).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidSubject;

impl fmt::Display for InvalidSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid subject")
    }
}

impl std::error::Error for InvalidSubject {}

/// The address of a subscription in its [`Sublist`]. It is used again after the subscription was
/// removed, so its owner must forget it then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubId(NonZeroU32);

impl SubId {
    fn from_index(index: u32) -> SubId {
        SubId(NonZeroU32::MIN.saturating_add(index))
    }

    #[inline]
    fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// The subscriptions that one published subject reaches, in no particular order; to be used again
/// for the next subject, so that matching allocates nothing once the vectors are large enough.
#[derive(Clone, Debug)]
pub struct Matches<T> {
    /// The values of subscriptions without a queue group.
    pub plain: Vec<T>,
    /// The values of subscriptions in queue groups, with their groups, unsorted: a group may have
    /// members on several matching subjects.
    pub queued: Vec<(QueueId, T)>,
    /// The nodes reached by the tokens so far, and those reached by the next one as well.
    reached: Vec<NodeId>,
    reached_next: Vec<NodeId>,
    decisive: usize,
}

impl<T> Matches<T> {
    /// An empty result, which owns no memory.
    pub const fn new() -> Matches<T> {
        Matches {
            plain: Vec::new(),
            queued: Vec::new(),
            reached: Vec::new(),
            reached_next: Vec::new(),
            decisive: 0,
        }
    }

    /// How many of the subject's first tokens decided what it reaches: any other subject that begins with
    /// those, and has as many tokens, reaches the same.
    pub fn decisive(&self) -> usize {
        self.decisive
    }

    /// Forgets all matches; keeps the memory.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.queued.clear();
    }

    /// Whether nothing was reached.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queued.is_empty()
    }
}

impl<T> Default for Matches<T> {
    fn default() -> Self {
        Matches::new()
    }
}

/// The subscriptions of one account, each with a value of type `T`.
pub struct Sublist<T> {
    nodes: Pages<Node>,
    edges: Edges,
    long_tokens: Pages<Box<[u8]>>,
    subs: Pages<Sub<T>>,
    queues: QueueNames,
}

/// An emptied list whose nodes take more memory than this gives it back.
const EMPTY_BYTES_MAX: usize = 4096;

fn root_alone() -> Pages<Node> {
    let mut nodes = Pages::new();
    nodes.insert(Node::new(NodeId::ROOT, Token::EMPTY));
    nodes
}

impl<T: Copy> Sublist<T> {
    /// An empty list. Clients choose what is hashed here, so `seed` must be random
    /// and stay secret.
    pub fn new(seed: u64) -> Sublist<T> {
        Sublist {
            nodes: root_alone(),
            edges: Edges::new(seed),
            long_tokens: Pages::new(),
            subs: Pages::new(),
            queues: QueueNames::new(seed),
        }
    }

    /// Adds a subscription to `subject`, which may have wildcards, in the queue group `queue` if
    /// there is one. Equal subscriptions are kept apart.
    ///
    /// # Errors
    /// [`InvalidSubject`] if the subject is not valid; the list is unchanged then.
    pub fn insert(
        &mut self,
        subject: &[u8],
        queue: Option<&[u8]>,
        value: T,
    ) -> Result<SubId, InvalidSubject> {
        if !is_valid(subject) {
            return Err(InvalidSubject);
        }
        let (mut node, mut rest) = (NodeId::ROOT, false);
        for token in subject.split(|b| *b == b'.') {
            match token {
                b">" => rest = true,
                b"*" => node = self.star_child(node),
                _ => node = self.literal_child(node, token),
            }
        }
        let queue = queue.map(|name| self.queues.acquire(name));
        let place = Place::new(node, rest);
        let next = *self.list(place);
        let sub = Sub {
            place,
            next,
            prev: None,
            queue,
            value,
        };
        let id = SubId::from_index(self.subs.insert(sub));
        *self.list(place) = Some(id);
        if let Some(next) = next {
            self.subs[next.index()].prev = Some(id);
        }
        Ok(id)
    }

    /// Takes out the subscription `id` and what only it needed; gives its value, or `None` if
    /// there is no such subscription.
    pub fn remove(&mut self, id: SubId) -> Option<T> {
        let sub = self.subs.remove(id.index())?;
        match sub.prev {
            Some(prev) => self.subs[prev.index()].next = sub.next,
            None => *self.list(sub.place) = sub.next,
        }
        if let Some(next) = sub.next {
            self.subs[next.index()].prev = sub.prev;
        }
        if let Some(queue) = sub.queue {
            self.queues.release(queue);
        }
        self.prune(sub.place.node());
        if self.subs.is_empty() && self.nodes.bytes() > EMPTY_BYTES_MAX {
            self.nodes = root_alone();
        }
        Some(sub.value)
    }

    /// Puts into `out`, and nothing else, the subscriptions that a message published to `subject`
    /// reaches.
    ///
    /// The subject is taken literally: `*` and `>` in it are tokens like others, and so match
    /// wildcards only. A subject that is empty or has an empty token reaches nothing.
    pub fn matches(&self, subject: &[u8], out: &mut Matches<T>) {
        out.clear();
        out.decisive = 0;
        if self.subs.is_empty() {
            return;
        }
        out.reached.clear();
        out.reached.push(NodeId::ROOT);
        for (at, token) in subject.split(|b| *b == b'.').enumerate() {
            if token.is_empty() {
                out.clear();
                return;
            }
            if out.reached.is_empty() {
                // Nothing more is found, but the subject may be none.
                continue;
            }
            // All nodes of a level are visited before the next level's, so that their cache
            // misses overlap.
            let Matches {
                plain,
                queued,
                reached,
                reached_next,
                decisive,
            } = out;
            reached_next.clear();
            let key = Key::new(token);
            for id in reached.iter() {
                let node = self.node(*id);
                if let Some(first) = node.first_rest {
                    self.collect(first, plain, queued);
                }
                if node.literals != Literals::NONE {
                    *decisive = at + 1;
                }
                let literal = self.find_literal(*id, key);
                reached_next.extend(literal.into_iter().chain(node.star));
            }
            mem::swap(reached, reached_next);
            if reached.is_empty() && plain.is_empty() && queued.is_empty() {
                return;
            }
        }
        for id in &out.reached {
            if let Some(first) = self.node(*id).first {
                self.collect(first, &mut out.plain, &mut out.queued);
            }
        }
    }

    /// Whether somebody subscribed to just this subject, without wildcards.
    pub fn has_literal(&self, subject: &[u8]) -> bool {
        let mut tokens = subject.split(|b| *b == b'.');
        let found = tokens.try_fold(NodeId::ROOT, |at, token| {
            self.find_literal(at, Key::new(token))
        });
        found.is_some_and(|at| self.node(at).first.is_some())
    }

    /// The number of subscriptions.
    pub fn len(&self) -> usize {
        self.subs.len()
    }

    /// Whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.subs.is_empty()
    }

    /// The value of the subscription `id`; `None` if there is no such subscription.
    pub fn value(&self, id: SubId) -> Option<T> {
        Some(self.subs.get(id.index())?.value)
    }

    /// Writes the subject of the subscription `id` to `out`, in place of what is there; leaves it
    /// empty if there is no such subscription.
    pub fn subject(&self, id: SubId, out: &mut Vec<u8>) {
        out.clear();
        let Some(sub) = self.subs.get(id.index()) else {
            return;
        };
        // From the last token up to the first, each of them reversed; then all of it turned.
        if sub.place.is_rest() {
            out.push(b'>');
        }
        let mut at = sub.place.node();
        while at != NodeId::ROOT {
            if !out.is_empty() {
                out.push(b'.');
            }
            out.extend(self.token(at).iter().rev());
            at = self.node(at).parent;
        }
        out.reverse();
    }

    /// The name of the queue group of the subscription `id`; `None` if it is in none, or if there
    /// is no such subscription.
    pub fn queue(&self, id: SubId) -> Option<&[u8]> {
        self.queue_name(self.subs.get(id.index())?.queue?)
    }

    /// The name of a queue group that [`Sublist::matches`] gave; `None` if it has no subscription
    /// any more.
    pub fn queue_name(&self, id: QueueId) -> Option<&[u8]> {
        self.queues.name(id)
    }

    /// The number of different queue group names.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// All subscriptions with their values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (SubId, T)> {
        self.subs
            .iter()
            .map(|(index, sub)| (SubId::from_index(index), sub.value))
    }

    fn star_child(&mut self, parent: NodeId) -> NodeId {
        if let Some(star) = self.node(parent).star {
            return star;
        }
        let star = self.add_node(parent, Token::STAR);
        self.node_mut(parent).star = Some(star);
        star
    }

    #[inline]
    fn find_literal(&self, parent: NodeId, key: Key<'_>) -> Option<NodeId> {
        match self.node(parent).literals.children() {
            LiteralChildren::None => None,
            LiteralChildren::Only(child) => Some(child).filter(|child| self.has_token(*child, key)),
            LiteralChildren::Edges(_) => {
                let hash = self.edges.hash(parent, key);
                self.edges
                    .find(hash, |child| self.is_child(child, parent, key))
            }
        }
    }

    fn literal_child(&mut self, parent: NodeId, token: &[u8]) -> NodeId {
        let key = Key::new(token);
        let hash = match self.node(parent).literals.children() {
            LiteralChildren::None => None,
            LiteralChildren::Only(only) if self.has_token(only, key) => return only,
            LiteralChildren::Only(_) => Some(self.edges.hash(parent, key)),
            LiteralChildren::Edges(_) => {
                let hash = self.edges.hash(parent, key);
                let is_it = |child| self.is_child(child, parent, key);
                if let Some(child) = self.edges.find(hash, is_it) {
                    return child;
                }
                Some(hash)
            }
        };
        let token = match key {
            Key::Short(number) => Token::short(number),
            Key::Long(bytes) => Token::long(self.long_tokens.insert(Box::from(bytes))),
        };
        let child = self.add_node(parent, token);
        self.add_literal(parent, child, hash);
        child
    }

    /// Makes `child` a literal child of `parent`. `hash` is the one of its edge; it may be left
    /// out for a first child.
    fn add_literal(&mut self, parent: NodeId, child: NodeId, hash: Option<u32>) {
        let literals = match (self.node(parent).literals.children(), hash) {
            (LiteralChildren::Only(only), Some(hash)) => {
                self.edges
                    .insert(self.edges.hash(parent, self.key(only)), only);
                self.edges.insert(hash, child);
                Literals::edges(2)
            }
            (LiteralChildren::Edges(count), Some(hash)) => {
                self.edges.insert(hash, child);
                Literals::edges(count + 1)
            }
            _ => Literals::only(child),
        };
        self.node_mut(parent).literals = literals;
    }

    fn add_node(&mut self, parent: NodeId, token: Token) -> NodeId {
        NodeId::from_index(self.nodes.insert(Node::new(parent, token)))
    }

    /// Removes the node `at` if no subscription needs it, then its parent in the same way, and so
    /// on up to the root, which stays.
    fn prune(&mut self, mut at: NodeId) {
        while at != NodeId::ROOT && self.node(at).is_vacant() {
            let parent = self.node(at).parent;
            if self.node(parent).star == Some(at) {
                self.node_mut(parent).star = None;
            } else {
                self.remove_literal(parent, at);
            }
            if let Err(index) = self.node(at).token.content() {
                self.long_tokens.remove(index);
            }
            self.nodes.remove(at.index());
            at = parent;
        }
    }

    fn remove_literal(&mut self, parent: NodeId, child: NodeId) {
        let literals = match self.node(parent).literals.children() {
            LiteralChildren::Edges(count) => {
                self.edges
                    .remove(self.edges.hash(parent, self.key(child)), child);
                Literals::edges(count - 1)
            }
            LiteralChildren::Only(_) | LiteralChildren::None => Literals::NONE,
        };
        self.node_mut(parent).literals = literals;
    }

    /// Appends the list of subscriptions that begins with `first`.
    #[inline]
    fn collect(&self, first: SubId, plain: &mut Vec<T>, queued: &mut Vec<(QueueId, T)>) {
        let mut next = Some(first);
        while let Some(id) = next {
            let sub = &self.subs[id.index()];
            match sub.queue {
                None => plain.push(sub.value),
                Some(queue) => queued.push((queue, sub.value)),
            }
            next = sub.next;
        }
    }

    /// Whether `child` is the child of `parent` for the token `key`.
    #[inline]
    fn is_child(&self, child: NodeId, parent: NodeId, key: Key<'_>) -> bool {
        self.node(child).parent == parent && self.has_token(child, key)
    }

    #[inline]
    fn has_token(&self, id: NodeId, key: Key<'_>) -> bool {
        match key {
            Key::Short(number) => self.node(id).token.number() == number,
            Key::Long(token) => self.token(id) == token,
        }
    }

    fn key(&self, id: NodeId) -> Key<'_> {
        Key::new(self.token(id))
    }

    fn token(&self, id: NodeId) -> &[u8] {
        match self.node(id).token.content() {
            Ok(short) => short,
            Err(index) => &self.long_tokens[index],
        }
    }

    /// The head of a list of subscriptions.
    fn list(&mut self, place: Place) -> &mut Option<SubId> {
        let node = self.node_mut(place.node());
        if place.is_rest() {
            &mut node.first_rest
        } else {
            &mut node.first
        }
    }

    #[inline]
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// Checks what must hold between calls, in time linear to the size of the list.
    ///
    /// # Panics
    /// When the list is inconsistent, which is a bug in it.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.nodes.check_invariants();
        self.subs.check_invariants();
        self.long_tokens.check_invariants();
        self.edges.check_invariants();
        let (mut edges, mut long_tokens, mut children, mut listed) = (0, 0, 0, 0);
        for (index, node) in self.nodes.iter() {
            let id = NodeId::from_index(index);
            assert!(
                id == NodeId::ROOT || !node.is_vacant(),
                "vacant nodes are pruned"
            );
            match node.literals.children() {
                LiteralChildren::None => {}
                LiteralChildren::Only(only) => {
                    assert_eq!(self.node(only).parent, id, "an only child knows its parent");
                    children += 1;
                }
                LiteralChildren::Edges(count) => edges += count as usize,
            }
            if let Some(star) = node.star {
                assert_eq!(self.node(star).parent, id, "a `*` child knows its parent");
                assert!(self.node(star).token == Token::STAR);
                children += 1;
            }
            long_tokens += usize::from(node.token.content().is_err());
            self.check_way_down(id);
            listed += self.check_list(Place::new(id, false), node.first);
            listed += self.check_list(Place::new(id, true), node.first_rest);
        }
        assert_eq!(
            edges,
            self.edges.len(),
            "all edges are counted by their nodes"
        );
        assert_eq!(
            children + edges,
            self.nodes.len() - 1,
            "each node has one way to it"
        );
        assert_eq!(
            long_tokens,
            self.long_tokens.len(),
            "each long token has a node"
        );
        assert_eq!(listed, self.subs.len(), "each subscription is in one list");
        self.queues
            .check_invariants(self.subs.iter().filter(|(_, s)| s.queue.is_some()).count());
    }

    /// Checks that the way down to `id` finds it.
    #[cfg(any(test, debug_assertions))]
    fn check_way_down(&self, id: NodeId) {
        let (parent, key) = (self.node(id).parent, self.key(id));
        if id == NodeId::ROOT || self.node(parent).star == Some(id) {
            return;
        }
        let found = match self.node(parent).literals.children() {
            LiteralChildren::None => None,
            LiteralChildren::Only(only) => Some(only),
            LiteralChildren::Edges(_) => {
                let is_it = |child| self.is_child(child, parent, key);
                self.edges.find(self.edges.hash(parent, key), is_it)
            }
        };
        assert_eq!(found, Some(id), "a literal child is found by its token");
    }

    /// Checks one list of subscriptions and counts it.
    #[cfg(any(test, debug_assertions))]
    fn check_list(&self, place: Place, first: Option<SubId>) -> usize {
        let (mut count, mut prev, mut next) = (0, None, first);
        while let Some(id) = next {
            let sub = &self.subs[id.index()];
            assert_eq!(
                (sub.place, sub.prev),
                (place, prev),
                "{id:?} knows its place"
            );
            (count, prev, next) = (count + 1, Some(id), sub.next);
        }
        count
    }
}
