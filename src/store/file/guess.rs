//! Searching a table that is in order from a guess on: where values are spread evenly, the guess is
//! near, and few places of the table are looked at.

/// How far from the guess is looked first.
const STEP: u32 = 8;

/// The first of `len` places whose value is not below what is looked for; `len` if there is none.
pub(super) fn lower_bound(len: u32, guess: u32, is_below: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, len);
    let mut step = STEP;
    let guess = guess.min(len);
    if guess < len && is_below(guess) {
        low = guess + 1;
        while let Some(at) = low.checked_add(step).filter(|at| *at < high) {
            if !is_below(at) {
                high = at;
                break;
            }
            low = at + 1;
            step = step.saturating_mul(2);
        }
    } else {
        high = guess;
        while let Some(at) = high.checked_sub(step) {
            if is_below(at) {
                low = at + 1;
                break;
            }
            high = at;
            step = step.saturating_mul(2);
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        match is_below(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

/// Where of `len` places a value is, if they go up evenly to `last`.
pub(super) fn evenly(value: u32, last: u32, len: u32) -> u32 {
    let at = u64::from(value) * u64::from(len) / u64::from(last.max(1));
    u32::try_from(at).unwrap_or(u32::MAX).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn any_guess_finds_what_a_search_without_one_does() {
        let mut rng = Rng::new(9);
        for _ in 0..2000 {
            let len = rng.below(200);
            let mut value = 0;
            let steps = [0, 0, 1, 1, 1, 3, 40];
            let table: Vec<u32> = (0..len)
                .map(|_| {
                    value += steps[rng.below(steps.len())];
                    value
                })
                .collect();
            for _ in 0..20 {
                let wanted = u32::try_from(rng.below(value as usize + 3)).unwrap();
                let right = table.partition_point(|v| *v < wanted);
                let len = u32::try_from(len).unwrap();
                let any = u32::try_from(rng.below(250)).unwrap();
                for guess in [any, evenly(wanted, value, len)] {
                    let found = lower_bound(len, guess, |at| table[at as usize] < wanted);
                    assert_eq!(found as usize, right, "{table:?} {wanted} {guess}");
                }
            }
        }
    }

    #[test]
    fn a_good_guess_looks_at_few_places() {
        let looked = std::cell::Cell::new(0);
        let len = 40_000;
        for wanted in (1..3 * len).step_by(101) {
            looked.set(0);
            let found = lower_bound(len, evenly(wanted, 3 * len, len), |at| {
                looked.set(looked.get() + 1);
                3 * (at + 1) < wanted
            });
            assert!(found <= len && looked.get() <= 6, "{}", looked.get());
        }
    }
}
