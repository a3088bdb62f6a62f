//! Hashing what clients choose.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::hash::Hasher;

/// Makes hashers from one secret.
///
/// The hash function multiplies its input by secrets, too. They are made of the same seed here:
/// with those that come with the library, one could choose tokens for which the product is zero
/// whatever the seed, so that all of them had one hash.
#[derive(Clone, Debug)]
pub struct HashSeed {
    start: u64,
    factors: SharedSeed,
}

impl HashSeed {
    /// A secret made of `seed`, which is to be random where clients choose what is hashed.
    pub fn new(seed: u64) -> HashSeed {
        HashSeed {
            start: seed,
            factors: SharedSeed::from_u64(seed),
        }
    }

    /// A hasher under this secret.
    #[inline]
    pub fn hasher(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.start, &self.factors)
    }

    /// The hash of some bytes.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}
