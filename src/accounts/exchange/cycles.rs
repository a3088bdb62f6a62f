//! Whether a message could come back to the account that it started from.

use super::pattern::{Mapper, intersection};
use crate::base::limits::EXCHANGE_HOPS;
use std::collections::HashSet;

/// A way that messages take from one account to another.
pub(super) struct Edge {
    pub from: usize,
    /// Which messages of the first account take it.
    pub pattern: String,
    pub to: usize,
    /// What their subjects are in the second one.
    pub mapper: Mapper,
}

/// What is wrong with a way. The texts are the reference's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Fault {
    Cycle,
    /// There are too many ways, or too long ones, to tell.
    Exhausted,
}

impl Fault {
    pub(super) fn text(self) -> &'static str {
        match self {
            Fault::Cycle => "import forms a cycle",
            Fault::Exhausted => "search cycle depth exhausted",
        }
    }
}

/// Pairs of an account and a pattern that are looked at, for all ways together.
const STEPS_MAX: usize = 1 << 20;

/// The ways that are faulty. An account that imports from itself is no fault: such a message goes
/// round once.
pub(super) fn faults(edges: &[Edge], accounts: usize) -> Vec<(usize, Fault)> {
    let mut leaving = vec![Vec::new(); accounts];
    for edge in edges.iter().filter(|edge| edge.from != edge.to) {
        leaving[edge.from].push(edge);
    }
    let (mut faults, mut steps) = (Vec::new(), STEPS_MAX);
    for (i, edge) in edges.iter().enumerate() {
        if edge.from != edge.to
            && let Some(fault) = follow(edge, &leaving, &mut steps)
        {
            faults.push((i, fault));
            if fault == Fault::Exhausted {
                break;
            }
        }
    }
    faults
}

/// Follows all ways that messages can take after `first`.
fn follow(first: &Edge, leaving: &[Vec<&Edge>], steps: &mut usize) -> Option<Fault> {
    let mut seen = HashSet::new();
    let mut reached = vec![(first.to, first.mapper.map(&first.pattern))];
    for _ in 0..EXCHANGE_HOPS {
        let mut next = Vec::new();
        for (account, pattern) in &reached {
            for edge in &leaving[*account] {
                let Some(both) = intersection(pattern, &edge.pattern) else {
                    continue;
                };
                if edge.to == first.from {
                    return Some(Fault::Cycle);
                }
                let state = (edge.to, edge.mapper.map(&both));
                if seen.insert(state.clone()) {
                    next.push(state);
                    match steps.checked_sub(1) {
                        Some(left) => *steps = left,
                        None => return Some(Fault::Exhausted),
                    }
                }
            }
        }
        if next.is_empty() {
            return None;
        }
        reached = next;
    }
    Some(Fault::Exhausted)
}
