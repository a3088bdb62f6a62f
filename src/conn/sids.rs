//! A connection's subscriptions by their sid.

use hashbrown::HashTable;
use hashbrown::hash_table;

/// A subscription id as the client chose it, followed by the blank that a MSG line needs.
pub enum Sid {
    Short([u8; SHORT + 1], u8),
    /// In a second box, so that a sid takes 16 bytes.
    Long(Box<Box<[u8]>>),
}

/// Bytes of a sid that are kept in place. Clients count theirs, so longer ones are rare.
const SHORT: usize = 13;
const _: () = assert!(size_of::<Sid>() == 16);

impl Sid {
    pub fn new(sid: &[u8]) -> Sid {
        if sid.len() > SHORT {
            return Sid::Long(Box::new([sid, b" "].concat().into()));
        }
        let mut bytes = [b' '; SHORT + 1];
        bytes[..sid.len()].copy_from_slice(sid);
        Sid::Short(bytes, u8::try_from(sid.len()).expect("it is short"))
    }

    /// The sid and a blank.
    #[inline]
    pub fn with_blank(&self) -> &[u8] {
        match self {
            Sid::Short(bytes, len) => &bytes[..=usize::from(*len).min(SHORT)],
            Sid::Long(bytes) => bytes,
        }
    }

    /// The sid itself.
    pub fn text(&self) -> &[u8] {
        let all = self.with_blank();
        &all[..all.len() - 1]
    }
}

/// The slots of a connection's subscriptions, found by the hash of their sid. Each entry keeps
/// its hash, and a large table is many small ones, so that no growth takes long.
#[derive(Default)]
pub struct SidTable {
    shards: Vec<Shard>,
    len: usize,
}

/// Pairs of hash and slot.
type Shard = HashTable<(u32, u32)>;

/// Subscriptions from which on a table is split, and into how many.
const SPLIT: usize = 16 << 10;
const SHARDS: usize = 64;

impl SidTable {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of the subscription with this hash that `is` says yes to.
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = self.shards.get(self.shard(hash))?;
        let found = shard.find(spread(low(hash)), |(h, slot)| *h == low(hash) && is(*slot));
        found.map(|(_, slot)| *slot)
    }

    /// Adds a subscription that is not in the table.
    pub fn insert(&mut self, hash: u64, slot: u32) {
        if self.shards.is_empty() {
            self.shards.reserve_exact(1);
            self.shards.push(Shard::new());
        } else if self.len >= SPLIT && self.shards.len() == 1 {
            self.split();
        }
        self.len += 1;
        let at = self.shard(hash);
        self.shards[at].insert_unique(spread(low(hash)), (low(hash), slot), |(h, _)| spread(*h));
    }

    /// Takes out the subscription in this slot; says whether it was there.
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let at = self.shard(hash);
        let Some(shard) = self.shards.get_mut(at) else {
            return false;
        };
        let Ok(entry) = shard.find_entry(spread(low(hash)), |(_, s)| *s == slot) else {
            return false;
        };
        entry.remove();
        self.len -= 1;
        if self.len == 0 {
            self.shards = Vec::new();
        }
        true
    }

    /// All slots, in no order.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.shards.iter().flatten().map(|(_, slot)| *slot)
    }

    /// Gives up all slots, in no order, a few at a time if need be.
    pub fn drain(&mut self) -> Drain {
        self.len = 0;
        Drain {
            shards: std::mem::take(&mut self.shards).into_iter(),
            shard: None,
        }
    }

    fn shard(&self, hash: u64) -> usize {
        if self.shards.len() > 1 {
            low(hash) as usize & (SHARDS - 1)
        } else {
            0
        }
    }

    #[cold]
    fn split(&mut self) {
        let all = std::mem::take(&mut self.shards);
        self.shards.resize_with(SHARDS, Shard::new);
        for (hash, slot) in all.into_iter().flatten() {
            let shard = &mut self.shards[hash as usize & (SHARDS - 1)];
            shard.insert_unique(spread(hash), (hash, slot), |(h, _)| spread(*h));
        }
    }
}

/// The slots of a connection that is gone.
pub struct Drain {
    shards: std::vec::IntoIter<Shard>,
    shard: Option<hash_table::IntoIter<(u32, u32)>>,
}

impl Iterator for Drain {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            if let Some((_, slot)) = self.shard.as_mut().and_then(Iterator::next) {
                return Some(slot);
            }
            self.shard = Some(self.shards.next()?.into_iter());
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "half of the hash is enough"
)]
fn low(hash: u64) -> u32 {
    hash as u32
}

/// The hash by which a shard sorts: its low bits chose the shard and so say nothing within it.
fn spread(hash: u32) -> u64 {
    u64::from(hash)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn sids_carry_their_blank() {
        for text in [
            &b"1"[..],
            b"",
            b"1234567890123",
            b"12345678901234",
            &[b'x'; 300],
        ] {
            let sid = Sid::new(text);
            assert_eq!(sid.text(), text);
            assert_eq!(sid.with_blank(), [text, b" "].concat());
        }
    }

    #[test]
    fn large_tables_split_and_still_find_all() {
        let mut table = SidTable::default();
        let hash = |i: u32| u64::from(i).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let n = 3 * SPLIT as u32;
        for i in 0..n {
            table.insert(hash(i), i);
        }
        assert_eq!(table.shards.len(), SHARDS);
        assert!((0..n).all(|i| table.find(hash(i), |s| s == i) == Some(i)));
        assert!((0..n / 2).all(|i| table.remove(hash(i), i)));
        let mut left: Vec<u32> = table.drain().collect();
        left.sort_unstable();
        assert_eq!(left, (n / 2..n).collect::<Vec<_>>());
        assert!(table.is_empty());
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((any::<bool>(), 0..40u32), 0..300)) {
            let (mut table, mut model) = (SidTable::default(), HashMap::new());
            // Few hashes, so that many collide.
            let hash = |i: u32| u64::from(i % 7);
            for (add, i) in steps {
                let found = table.find(hash(i), |slot| slot == i);
                prop_assert_eq!(found, model.get(&i).copied());
                if add && found.is_none() {
                    table.insert(hash(i), i);
                    model.insert(i, i);
                } else if !add {
                    prop_assert_eq!(table.remove(hash(i), i), model.remove(&i).is_some());
                }
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
