//! Runs a test with many seeds. `STORE_SEEDS` is how many, `STORE_SEED` is the one to run alone, as
//! a failing run has printed it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `test` with seeds from 0 on, `default` of them if the environment does not say otherwise.
pub(super) fn for_seeds(name: &str, default: u64, test: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("STORE_SEED") {
        return test(seed);
    }
    let first = number("STORE_FIRST_SEED").unwrap_or(0);
    for seed in first..first + number("STORE_SEEDS").unwrap_or(default) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("{name} failed; run it again with STORE_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
