//! The edges from nodes to their literal children: one hash table for the whole trie, in shards.
//!
//! A table which grows moves all that it holds while its owner waits; sixty-four of them move a
//! sixty-fourth each at a time. A small trie has a single shard.

use std::hash::Hasher;
use std::mem;

use super::edge_table::EdgeTable;
use super::node::{Key, NodeId};
use crate::base::hash::HashSeed;

/// The top bits of a hash choose the shard, the low bits the slot in it.
const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;

/// The number of edges at which one shard becomes `SHARDS`.
const SPLIT_AT: usize = 4096;
/// The number of edges below which the shards become one again.
const MERGE_BELOW: usize = 512;

const _: () = assert!(
    MERGE_BELOW * 4 <= SPLIT_AT,
    "no thrashing between one and many"
);

pub(super) struct Edges {
    /// One or `SHARDS` of them.
    shards: Vec<EdgeTable>,
    len: usize,
    seed: HashSeed,
}

impl Edges {
    pub(super) fn new(seed: u64) -> Edges {
        let shards = vec![EdgeTable::with_room(0)];
        Edges {
            shards,
            len: 0,
            seed: HashSeed::new(seed),
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The hash of the edge from `parent` by `key`.
    #[inline]
    pub(super) fn hash(&self, parent: NodeId, key: Key<'_>) -> u32 {
        let mut hasher = self.seed.hasher();
        match key {
            Key::Short(number) => hasher.write_u128(number),
            Key::Long(token) => hasher.write(token),
        }
        hasher.write_u32(parent.index());
        let hash = hasher.finish();
        low_half(hash ^ hash >> 32)
    }

    /// The child of an edge with this `hash` for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        self.shards[self.shard(hash)].find(hash, is_it)
    }

    /// Adds an edge, which must not be there yet.
    pub(super) fn insert(&mut self, hash: u32, child: NodeId) {
        if self.len >= SPLIT_AT && self.shards.len() == 1 {
            self.reshard(SHARDS);
        }
        let shard = self.shard(hash);
        self.shards[shard].insert(hash, child);
        self.len += 1;
    }

    /// Removes the edge to `child`, whose hash is `hash`.
    pub(super) fn remove(&mut self, hash: u32, child: NodeId) {
        let shard = self.shard(hash);
        let removed = self.shards[shard].remove(hash, child);
        debug_assert!(removed, "an edge to remove is there");
        self.len -= usize::from(removed);
        if self.len < MERGE_BELOW && self.shards.len() > 1 {
            self.reshard(1);
        }
    }

    fn reshard(&mut self, shards: usize) {
        let room = self.len / shards;
        let fresh = (0..shards).map(|_| EdgeTable::with_room(room)).collect();
        let old = mem::replace(&mut self.shards, fresh);
        for (hash, child) in old.iter().flat_map(EdgeTable::iter) {
            let shard = self.shard(hash);
            self.shards[shard].insert(hash, child);
        }
    }

    #[inline]
    fn shard(&self, hash: u32) -> usize {
        (hash >> (u32::BITS - SHARD_BITS)) as usize & (self.shards.len() - 1)
    }

    /// # Panics
    /// When the table is inconsistent.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        assert!([1, SHARDS].contains(&self.shards.len()));
        assert_eq!(
            self.shards.iter().map(EdgeTable::len).sum::<usize>(),
            self.len
        );
        for (number, shard) in self.shards.iter().enumerate() {
            shard.check_invariants();
            assert!(shard.iter().all(|(hash, _)| self.shard(hash) == number));
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the low half is asked for")]
fn low_half(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(n: u32) -> NodeId {
        NodeId::from_index(n)
    }

    #[test]
    fn edges_survive_splits_and_merges() {
        let mut edges = Edges::new(7);
        let hashes: Vec<u32> = (0..20_000u32)
            .map(|n| edges.hash(child(n % 7), Key::new(&n.to_le_bytes())))
            .collect();
        for (n, hash) in (0..).zip(&hashes) {
            edges.insert(*hash, child(n));
        }
        edges.check_invariants();
        assert_eq!((edges.shards.len(), edges.len()), (SHARDS, 20_000));
        for (n, hash) in (0..).zip(&hashes) {
            assert_eq!(edges.find(*hash, |c| c == child(n)), Some(child(n)));
            edges.remove(*hash, child(n));
            assert_eq!(edges.find(*hash, |c| c == child(n)), None);
            if n % 500 == 0 {
                edges.check_invariants();
            }
        }
        edges.check_invariants();
        assert_eq!((edges.shards.len(), edges.len()), (1, 0));
    }

    #[test]
    fn shards_fill_evenly() {
        let mut edges = Edges::new(99);
        for n in 0..64_000u32 {
            let hash = edges.hash(child(0), Key::new(n.to_string().as_bytes()));
            edges.insert(hash, child(n));
        }
        let (min, max) = edges
            .shards
            .iter()
            .map(EdgeTable::len)
            .fold((usize::MAX, 0), |m, len| (m.0.min(len), m.1.max(len)));
        assert!(min > 800 && max < 1200, "{min} to {max}");
    }

    #[test]
    fn seeds_give_different_hashes() {
        let hash = |seed| Edges::new(seed).hash(child(0), Key::new(b"orders"));
        assert_ne!(hash(1), hash(2));
        assert_eq!(hash(1), hash(1));
    }
}
