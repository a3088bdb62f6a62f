//! The names of queue groups, each kept once and counted by the subscriptions that bear it.

use std::hash::Hasher;
use std::num::NonZeroU32;

use hashbrown::HashTable;

use crate::base::hash::HashSeed;
use crate::base::pages::Pages;

/// A queue group's name within one [`Sublist`](super::Sublist): equal names have equal ids while
/// a subscription bears them. An id is used again after the last such subscription went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueId(NonZeroU32);

impl QueueId {
    fn from_index(index: u32) -> QueueId {
        QueueId(NonZeroU32::MIN.saturating_add(index))
    }

    fn index(self) -> u32 {
        self.0.get() - 1
    }
}

pub(super) struct QueueNames {
    names: Pages<QueueName>,
    ids: HashTable<QueueId>,
    seed: HashSeed,
}

struct QueueName {
    bytes: Box<[u8]>,
    subscriptions: u32,
}

impl QueueNames {
    pub(super) fn new(seed: u64) -> QueueNames {
        QueueNames {
            names: Pages::new(),
            ids: HashTable::new(),
            seed: HashSeed::new(seed),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, id: QueueId) -> Option<&[u8]> {
        self.names.get(id.index()).map(|name| &*name.bytes)
    }

    /// The id of `bytes`, for one more subscription.
    pub(super) fn acquire(&mut self, bytes: &[u8]) -> QueueId {
        let hash = hash(&self.seed, bytes);
        if let Some(id) = self
            .ids
            .find(hash, |id| *self.names[id.index()].bytes == *bytes)
        {
            self.names[id.index()].subscriptions += 1;
            return *id;
        }
        let name = QueueName {
            bytes: bytes.into(),
            subscriptions: 1,
        };
        let id = QueueId::from_index(self.names.insert(name));
        let (names, seed) = (&self.names, &self.seed);
        self.ids
            .insert_unique(hash, id, |id| hash_of(names, seed, *id));
        id
    }

    /// Takes back one [`QueueNames::acquire`].
    pub(super) fn release(&mut self, id: QueueId) {
        let name = &mut self.names[id.index()];
        name.subscriptions -= 1;
        if name.subscriptions > 0 {
            return;
        }
        let hash = hash_of(&self.names, &self.seed, id);
        match self.ids.find_entry(hash, |other| *other == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => debug_assert!(false, "a name in use has an entry"),
        }
        self.names.remove(id.index());
        if self.ids.len() < self.ids.capacity() / 8 {
            let (names, seed) = (&self.names, &self.seed);
            self.ids
                .shrink_to(self.ids.len() * 2, |id| hash_of(names, seed, *id));
        }
    }

    /// # Panics
    /// When the names are inconsistent, or `subscriptions` is not the number of uses.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self, subscriptions: usize) {
        self.names.check_invariants();
        assert_eq!(self.names.len(), self.ids.len());
        assert!(self.names.iter().all(|(_, name)| name.subscriptions > 0));
        let sum: usize = self
            .names
            .iter()
            .map(|(_, name)| name.subscriptions as usize)
            .sum();
        assert_eq!(sum, subscriptions, "each use is counted");
    }
}

fn hash_of(names: &Pages<QueueName>, seed: &HashSeed, id: QueueId) -> u64 {
    hash(seed, &names[id.index()].bytes)
}

fn hash(seed: &HashSeed, name: &[u8]) -> u64 {
    let mut hasher = seed.hasher();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_its_uses() {
        let mut queues = QueueNames::new(1);
        let (a, b, again) = (
            queues.acquire(b"a"),
            queues.acquire(b"b"),
            queues.acquire(b"a"),
        );
        assert_eq!(a, again);
        assert_ne!(a, b);
        queues.check_invariants(3);
        queues.release(a);
        assert_eq!(queues.name(a), Some(&b"a"[..]));
        queues.release(a);
        assert_eq!((queues.name(a), queues.name(b)), (None, Some(&b"b"[..])));
        queues.check_invariants(1);
    }

    #[test]
    fn many_names_come_and_go() {
        let mut queues = QueueNames::new(2);
        let ids: Vec<QueueId> = (0..5000)
            .map(|n| queues.acquire(format!("queue{n}").as_bytes()))
            .collect();
        queues.check_invariants(5000);
        for id in ids {
            queues.release(id);
        }
        queues.check_invariants(0);
        assert!(queues.len() == 0 && queues.ids.capacity() <= 8);
    }
}
