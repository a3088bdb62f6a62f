//! Many patterns, and quickly those among them that a subject may have to do with.
//!
//! Patterns are kept by the tokens in front of their first wildcard. So a subject meets those
//! only whose literal beginning is its own, and one look-up for each length that there is of such
//! beginnings finds them, without any memory being taken.

use super::pattern::literal_head;
use std::collections::HashMap;
use std::iter;

/// Patterns with a value of type `T` each, in no particular order. Made once, of what an operator
/// chose.
#[derive(Clone, Debug)]
pub struct PatternSet<T> {
    by_head: HashMap<Box<[u8]>, Vec<Entry<T>>>,
    /// How many tokens heads have, ascending.
    head_counts: Vec<usize>,
}

/// A pattern and its value.
type Entry<T> = (Box<[u8]>, T);

impl<T> PatternSet<T> {
    /// An empty set, which owns no memory.
    pub fn new() -> PatternSet<T> {
        PatternSet {
            by_head: HashMap::new(),
            head_counts: Vec::new(),
        }
    }

    /// Adds a pattern; equal ones are kept apart.
    pub fn insert(&mut self, pattern: &[u8], value: T) {
        let (head, count, _) = literal_head(pattern);
        if let Err(at) = self.head_counts.binary_search(&count) {
            self.head_counts.insert(at, count);
        }
        let entries = self.by_head.entry(head.into()).or_default();
        entries.push((pattern.into(), value));
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.by_head.is_empty()
    }

    /// All patterns.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &T)> {
        self.by_head
            .values()
            .flatten()
            .map(|(p, value)| (&**p, value))
    }

    /// The patterns that may match `subject`, or that it may be a subset of: the others cannot,
    /// since their literal beginning is another one.
    pub fn candidates<'a>(&'a self, subject: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a T)> {
        let longest = self.head_counts.last().map_or(0, |longest| longest + 1);
        let ends = iter::once(0)
            .chain(memchr::memchr_iter(b'.', subject))
            .chain(iter::once(subject.len()));
        ends.take(longest)
            .enumerate()
            .filter(|(count, _)| self.head_counts.binary_search(count).is_ok())
            .filter_map(|(_, end)| self.by_head.get(&subject[..end]))
            .flatten()
            .map(|(pattern, value)| (&**pattern, value))
    }
}

impl<T> Default for PatternSet<T> {
    fn default() -> Self {
        PatternSet::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::{is_subset, matches};
    use super::*;
    use proptest::prelude::*;

    fn pattern() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..4)
            .prop_flat_map(|tokens| (Just(tokens), any::<bool>()))
            .prop_map(|(tokens, rest)| tokens.join(".") + if rest { ".>" } else { "" })
    }

    #[test]
    fn only_patterns_with_the_same_beginning_are_looked_at() {
        let mut set = PatternSet::new();
        for (n, pattern) in ["a.b", "a.*", "b.>", "*.b", "a.b.c.>"].iter().enumerate() {
            set.insert(pattern.as_bytes(), n);
        }
        let found = |subject: &'static str| {
            let mut found: Vec<usize> = set.candidates(subject.as_bytes()).map(|c| *c.1).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found("a.b"), [0, 1, 3]);
        assert_eq!(found("a.b.c.d"), [0, 1, 3, 4]);
        assert_eq!(found("c"), [3]);
        assert_eq!(set.iter().count(), 5);
        assert_eq!(PatternSet::<()>::new().candidates(b"a").count(), 0);
    }

    proptest! {
        #[test]
        fn no_pattern_that_counts_is_missed(
            patterns in prop::collection::vec(pattern(), 0..12),
            subject in pattern(),
        ) {
            let mut set = PatternSet::new();
            for (n, pattern) in patterns.iter().enumerate() {
                set.insert(pattern.as_bytes(), n);
            }
            let subject = subject.as_bytes();
            let candidates: Vec<usize> = set.candidates(subject).map(|c| *c.1).collect();
            for (n, pattern) in patterns.iter().enumerate() {
                let pattern = pattern.as_bytes();
                if matches(pattern, subject) || is_subset(subject, pattern) {
                    prop_assert_eq!(candidates.iter().filter(|c| **c == n).count(), 1);
                }
            }
        }
    }
}
