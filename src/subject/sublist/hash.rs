//! Hashing what clients choose.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// Makes hashers from one secret.
///
/// The hash function multiplies its input by secrets, too. They are made of the same seed here:
/// with those that come with the library, one could choose tokens for which the product is zero
/// whatever the seed, so that all of them had one hash.
pub(super) struct HashSeed {
    start: u64,
    factors: SharedSeed,
}

impl HashSeed {
    pub(super) fn new(seed: u64) -> HashSeed {
        HashSeed {
            start: seed,
            factors: SharedSeed::from_u64(seed),
        }
    }

    #[inline]
    pub(super) fn hasher(&self) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.start, &self.factors)
    }
}
