//! Slots of an arena by the hashes of what is in them, in a table that knows the hashes: when it
//! grows, it looks at nothing else. A million entries asked for theirs, each in another place of
//! memory, would keep the loop from everything else for a tenth of a second.

use hashbrown::HashTable;

/// Slots by hash.
#[derive(Default)]
pub(super) struct FiledSlots(HashTable<Filed>);

#[derive(Clone, Copy)]
struct Filed {
    hash: u32,
    slot: u32,
}

impl Filed {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "both halves are in what is left"
    )]
    fn new(hash: u64, slot: u32) -> Filed {
        let hash = (hash ^ hash >> 32) as u32;
        Filed { hash, slot }
    }

    /// The hash as the table wants it: it looks at the highest bits as well as at the lowest.
    fn spread(&self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl FiledSlots {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The slot with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = Filed::new(hash, 0);
        let is_it = |filed: &Filed| filed.hash == wanted.hash && is_it(filed.slot);
        Some(self.0.find(wanted.spread(), is_it)?.slot)
    }

    /// Adds a slot, which must not be there yet.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let filed = Filed::new(hash, slot);
        self.0.insert_unique(filed.spread(), filed, Filed::spread);
    }

    /// Takes out the slot with this hash for which `is_it` holds.
    pub(super) fn take(&mut self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = Filed::new(hash, 0);
        let is_it = |filed: &Filed| filed.hash == wanted.hash && is_it(filed.slot);
        let found = self.0.find_entry(wanted.spread(), is_it).ok()?;
        Some(found.remove().0.slot)
    }

    /// Takes out up to `count` slots, whichever they are.
    pub(super) fn take_some(&mut self, count: usize) -> Vec<u32> {
        let some: Vec<Filed> = self.0.iter().take(count).copied().collect();
        if some.len() == self.0.len() {
            self.0.clear();
        } else {
            for filed in &some {
                let is_it = |other: &Filed| other.slot == filed.slot;
                if let Ok(found) = self.0.find_entry(filed.spread(), is_it) {
                    found.remove();
                }
            }
        }
        some.iter().map(|filed| filed.slot).collect()
    }

    /// Keeps the slots for which `keep` holds.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.0.retain(|filed| keep(filed.slot));
    }

    /// Gives back memory if little of it is used.
    pub(super) fn shrink(&mut self) {
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to(self.0.len() * 2, Filed::spread);
        }
    }

    /// The slots in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|filed| filed.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn slots_are_found_by_their_hashes_however_the_table_grows_and_shrinks() {
        // Several slots have one hash; some hashes are the same in their lower halves.
        let hash = |slot: u32| u64::from(slot % 700) << 32 | u64::from(slot % 7);
        let mut slots = FiledSlots::default();
        for slot in 0..3000 {
            assert_eq!(slots.find(hash(slot), |other| other == slot), None);
            slots.insert(hash(slot), slot);
        }
        assert_eq!(slots.find(hash(5), |_| false), None);
        slots.retain(|slot| slot % 3 > 0);
        for slot in 0..3000 {
            let there = (slot % 3 > 0).then_some(slot);
            assert_eq!(slots.find(hash(slot), |other| other == slot), there);
            if slot % 3 == 1 {
                assert_eq!(slots.take(hash(slot), |other| other == slot), there);
                assert_eq!(slots.take(hash(slot), |other| other == slot), None);
            }
        }
        let mut left: BTreeSet<u32> = slots.iter().collect();
        assert!(left.len() == slots.len() && left.iter().copied().eq((2..3000).step_by(3)));
        while slots.len() > 0 {
            let some = slots.take_some(300);
            assert!(!some.is_empty() && some.iter().all(|slot| left.remove(slot)));
            slots.shrink();
            assert!(
                left.iter()
                    .all(|s| slots.find(hash(*s), |o| o == *s).is_some())
            );
        }
        assert!(left.is_empty() && slots.0.capacity() < 1000);
    }
}
