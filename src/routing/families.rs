//! Routes of many subjects at once: of those that begin alike, where the rest decides nothing.
//!
//! Answers, keys and acknowledgements have a subject each. All that begin with the same tokens, and
//! have as many, lead to the same subscriptions if none of those asks for a certain token behind; so
//! one look at the beginning finds their route.

use super::route::Route;
use crate::accounts::Account;
use crate::accounts::interest::Bucket;
use crate::accounts::replies;
use std::sync::Arc;

/// Tokens that a family may have in common.
const DEPTH_MAX: usize = 4;

/// Families that are known. A power of two.
const FAMILIES: usize = 512;

/// A route that holds more bytes has no family.
const ROUTE_BYTES: usize = 64 << 10;

/// The families of one loop's subjects.
#[derive(Default)]
pub(super) struct Families {
    /// By the hash of what they have in common. There are none before the first is learnt.
    places: Vec<Option<Family>>,
    /// How many tokens those have in common that were ever learnt, a bit for each number.
    depths: u8,
}

struct Family {
    account: u32,
    bucket: Bucket,
    generation: u64,
    tokens: usize,
    /// The first tokens.
    common: Vec<u8>,
    route: Arc<Route>,
}

/// How many tokens a subject has, and where the first of them end.
struct Shape {
    tokens: usize,
    ends: [usize; DEPTH_MAX],
}

impl Shape {
    /// `None` for what is no subject.
    fn of(subject: &[u8]) -> Option<Shape> {
        let (mut tokens, mut ends, mut start) = (0, [0; DEPTH_MAX], 0);
        // Tokens are so short that a loop over their bytes takes less time than a search.
        for (end, byte) in subject.iter().enumerate() {
            if *byte != b'.' {
                continue;
            }
            if end == start {
                return None;
            }
            if let Some(place) = ends.get_mut(tokens) {
                *place = end;
            }
            tokens += 1;
            start = end + 1;
        }
        if start == subject.len() {
            return None;
        }
        if let Some(place) = ends.get_mut(tokens) {
            *place = subject.len();
        }
        tokens += 1;
        Some(Shape { tokens, ends })
    }
}

impl Families {
    /// The place of a subject's family, if that is known and nothing has changed since.
    pub(super) fn find(&self, account: &Account, subject: &[u8]) -> Option<usize> {
        if self.depths == 0 {
            return None;
        }
        let Shape { tokens, ends } = Shape::of(subject)?;
        for (depth, end) in (1..tokens).zip(ends) {
            if self.depths >> depth & 1 == 0 {
                continue;
            }
            let common = &subject[..end];
            let at = place(account, common, tokens);
            let is_it = self.places[at].as_ref().is_some_and(|family| {
                family.account == account.number
                    && family.tokens == tokens
                    && family.common == *common
                    && family.generation == account.interest.generation(family.bucket)
            });
            if is_it {
                return Some(at);
            }
        }
        None
    }

    /// The route of a family that was found.
    pub(super) fn route(&self, at: usize) -> &Arc<Route> {
        &self.found(at).route
    }

    /// The generation of that route.
    pub(super) fn generation(&self, at: usize) -> u64 {
        self.found(at).generation
    }

    fn found(&self, at: usize) -> &Family {
        self.places[at].as_ref().expect("it was found there")
    }

    /// Takes note of the route of a subject, which its first `decisive` tokens and their number have
    /// decided, if there are others like it.
    pub(super) fn learn(
        &mut self,
        account: &Account,
        subject: &[u8],
        (bucket, generation): (Bucket, u64),
        decisive: usize,
        route: &Arc<Route>,
    ) {
        let depth = decisive.max(1);
        if depth > DEPTH_MAX || route.beyond().is_some() || replies::is_reply(subject) {
            return;
        }
        let Some(shape) = Shape::of(subject).filter(|shape| depth < shape.tokens) else {
            return;
        };
        if route.held() > ROUTE_BYTES {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(FAMILIES, || None);
        }
        self.depths |= 1 << depth;
        let common = &subject[..shape.ends[depth - 1]];
        let place = &mut self.places[place(account, common, shape.tokens)];
        let mut kept = place.take().map(|family| family.common).unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(common);
        *place = Some(Family {
            account: account.number,
            bucket,
            generation,
            tokens: shape.tokens,
            common: kept,
            route: route.clone(),
        });
    }

    /// Bytes of memory that they hold, about; their routes are most often also held elsewhere.
    pub(super) fn held(&self) -> usize {
        self.places.len() * size_of::<Option<Family>>()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "only the low bits matter")]
fn place(account: &Account, common: &[u8], tokens: usize) -> usize {
    (account.interest.hash(common) as usize).wrapping_add(tokens) & (FAMILIES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_subjects() {
        for (subject, tokens) in [("a", 1), ("a.bc", 2), ("a.b.c.d.e", 5)] {
            let shape = Shape::of(subject.as_bytes()).unwrap();
            assert_eq!(shape.tokens, tokens);
            let ends = shape.ends.iter().take(tokens);
            let parts: Vec<&str> = subject.split('.').collect();
            for (n, end) in ends.enumerate() {
                assert_eq!(subject[..*end], parts[..=n].join("."));
            }
        }
        for not in ["", ".", "a.", ".a", "a..b"] {
            assert!(Shape::of(not.as_bytes()).is_none(), "{not}");
        }
    }
}
