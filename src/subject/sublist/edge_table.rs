//! A hash table of edges: open addressing, one slot after the other.
//!
//! An edge is 8 bytes with its hash in it, so eight of them share a cache line and a look-up
//! mostly touches one. (A table with control bytes apart from its entries touches two, which is
//! what a match costs when a million subscriptions have long left the caches.) Edges lie in the
//! order of their hashes' low bits, give or take a few slots, so that growth reads and writes
//! memory in order and never asks for a hash anew.

use super::node::NodeId;

/// An edge, or an empty slot if it has no child.
#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    child: Option<NodeId>,
}

const _: () = assert!(size_of::<Slot>() == 8);

const EMPTY: Slot = Slot {
    hash: 0,
    child: None,
};

/// The fewest slots of a table that has any; a power of two.
const SLOTS_MIN: usize = 8;

pub(super) struct EdgeTable {
    /// None, or a power of two of them, at most three quarters in use. An edge is at its home,
    /// the low bits of its hash, or behind it without an empty slot between.
    slots: Box<[Slot]>,
    len: usize,
}

impl EdgeTable {
    /// An empty table with room for `edges`.
    pub(super) fn with_room(edges: usize) -> EdgeTable {
        let slots = match edges {
            0 => 0,
            _ => (edges * 4 / 3 + 1).next_power_of_two().max(SLOTS_MIN),
        };
        EdgeTable {
            slots: vec![EMPTY; slots].into_boxed_slice(),
            len: 0,
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots.get(at)?;
            let child = slot.child?;
            if slot.hash == hash && is_it(child) {
                return Some(child);
            }
            at = self.after(at);
        }
    }

    /// Adds an edge, which must not be there yet.
    pub(super) fn insert(&mut self, hash: u32, child: NodeId) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.len + 1) * 2);
        }
        self.place(Slot {
            hash,
            child: Some(child),
        });
    }

    /// Removes the edge to `child`, whose hash is `hash`; gives whether it was there. A table that
    /// is nearly empty then becomes smaller.
    pub(super) fn remove(&mut self, hash: u32, child: NodeId) -> bool {
        let mut hole = self.home(hash);
        loop {
            match self.slots.get(hole) {
                Some(Slot {
                    child: Some(other), ..
                }) if *other == child => break,
                Some(Slot { child: Some(_), .. }) => hole = self.after(hole),
                _ => return false,
            }
        }
        // Edges behind the hole move into it, unless that is before their home.
        let mut at = self.after(hole);
        while self.slots[at].child.is_some() {
            let home = self.home(self.slots[at].hash);
            if self.distance(home, at) >= self.distance(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.slots[hole] = EMPTY;
        self.len -= 1;
        if self.slots.len() > SLOTS_MIN && self.len < self.slots.len() / 8 {
            self.resize(self.len * 2);
        }
        true
    }

    /// All edges as hash and child.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, NodeId)> {
        self.slots
            .iter()
            .filter_map(|slot| Some((slot.hash, slot.child?)))
    }

    fn resize(&mut self, edges: usize) {
        let mut table = EdgeTable::with_room(edges);
        for slot in self.slots.iter().filter(|slot| slot.child.is_some()) {
            table.place(*slot);
        }
        *self = table;
    }

    /// Puts an edge into the first empty slot from its home on; there must be one.
    fn place(&mut self, edge: Slot) {
        let mut at = self.home(edge.hash);
        while self.slots[at].child.is_some() {
            at = self.after(at);
        }
        self.slots[at] = edge;
        self.len += 1;
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// The steps from slot `from` on to slot `to`.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }

    /// # Panics
    /// When the table is inconsistent.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.iter().count(), self.len);
        assert!(self.slots.is_empty() || self.slots.len().is_power_of_two());
        assert!(
            self.len * 4 <= self.slots.len() * 3,
            "there are empty slots"
        );
        assert!(
            self.slots.len() <= SLOTS_MIN.max(self.len * 8),
            "it is not too large"
        );
        for (hash, child) in self.iter() {
            assert_eq!(
                self.find(hash, |c| c == child),
                Some(child),
                "an edge is found"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_table_owns_no_memory() {
        let mut table = EdgeTable::with_room(0);
        let child = NodeId::from_index(1);
        assert_eq!(table.find(7, |_| true), None);
        assert!(!table.remove(7, child));
        for n in 1..1000 {
            table.insert(n, NodeId::from_index(n));
        }
        for n in 1..1000 {
            assert!(table.remove(n, NodeId::from_index(n)));
        }
        table.check_invariants();
        assert!(table.slots.len() <= SLOTS_MIN);
    }

    proptest! {
        /// Hashes from a small range, so that edges share homes and wrap around the end.
        #[test]
        fn behaves_like_a_list(
            ops in prop::collection::vec(
                (any::<bool>(), prop_oneof![0u32..12, (u32::MAX - 9)..=u32::MAX], 0u32..60),
                0..200,
            ),
        ) {
            let (mut table, mut model) = (EdgeTable::with_room(0), Vec::new());
            for (insert, hash, n) in ops {
                let child = NodeId::from_index(n);
                if insert && !model.iter().any(|(_, c)| *c == child) {
                    table.insert(hash, child);
                    model.push((hash, child));
                } else if !insert && let Some(at) = model.iter().position(|(_, c)| *c == child) {
                    let (hash, child) = model.swap_remove(at);
                    prop_assert!(table.remove(hash, child));
                    prop_assert!(!table.remove(hash, child));
                }
                table.check_invariants();
                prop_assert_eq!(table.len(), model.len());
                for (hash, child) in &model {
                    prop_assert_eq!(table.find(*hash, |c| c == *child), Some(*child));
                }
            }
        }
    }
}
