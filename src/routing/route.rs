//! The resolved targets of one subject: an immutable value, shared between loops.

use super::beyond::Beyond;
use crate::accounts::interest::{LoopId, Target};
use crate::subject::Matches;

/// All that a message on one subject goes to.
#[derive(Default, Debug)]
pub struct Route {
    /// Plain subscriptions, in the order of their loops.
    plain: Vec<Target>,
    /// Where each loop's targets are in `plain`.
    spans: Vec<Span>,
    /// Members of queue groups, group by group.
    members: Vec<Target>,
    /// Where each group ends in `members`.
    group_ends: Vec<u32>,
    /// Where the message goes in other accounts.
    beyond: Option<Box<Beyond>>,
}

/// The targets of one loop.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub owner: LoopId,
    start: u32,
    end: u32,
}

impl Route {
    /// Replaces this route by what was matched, keeping its memory.
    pub fn refill(&mut self, matches: &mut Matches<Target>) {
        self.plain.clear();
        self.spans.clear();
        self.members.clear();
        self.group_ends.clear();
        self.beyond = None;
        if matches.plain.windows(2).any(|w| w[0].owner > w[1].owner) {
            matches.plain.sort_by_key(|t| t.owner);
        }
        self.plain.extend_from_slice(&matches.plain);
        for (i, target) in self.plain.iter().enumerate() {
            let end = index(i + 1);
            match self.spans.last_mut() {
                Some(span) if span.owner == target.owner => span.end = end,
                _ => self.spans.push(Span {
                    owner: target.owner,
                    start: end - 1,
                    end,
                }),
            }
        }
        if matches.queued.is_empty() {
            return;
        }
        matches.queued.sort_by_key(|(queue, _)| *queue);
        for group in matches.queued.chunk_by(|a, b| a.0 == b.0) {
            self.members.extend(group.iter().map(|(_, target)| *target));
            self.group_ends.push(index(self.members.len()));
        }
    }

    /// Makes the route lead to other accounts, too.
    pub(super) fn lead_beyond(&mut self, beyond: Option<Box<Beyond>>) {
        self.beyond = beyond;
    }

    /// Where the message goes in other accounts, if it does.
    #[inline]
    pub fn beyond(&self) -> Option<&Beyond> {
        self.beyond.as_deref()
    }

    /// Whether nobody in the account is interested.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.members.is_empty()
    }

    /// How many deliveries a message on this route makes in the account.
    #[inline]
    pub fn fan_out(&self) -> usize {
        self.plain.len() + self.group_ends.len()
    }

    /// The loops that own plain subscriptions, each once.
    #[inline]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The plain subscriptions of one loop.
    #[inline]
    pub fn plain(&self, span: Span) -> &[Target] {
        &self.plain[span.start as usize..span.end as usize]
    }

    /// The plain subscriptions of the loop `owner`.
    pub fn plain_of(&self, owner: LoopId) -> &[Target] {
        self.spans
            .iter()
            .find(|s| s.owner == owner)
            .map_or(&[], |s| self.plain(*s))
    }

    /// How many queue groups there are.
    #[inline]
    pub fn groups(&self) -> usize {
        self.group_ends.len()
    }

    /// The members of one queue group; never empty.
    #[inline]
    pub fn group(&self, i: usize) -> &[Target] {
        let start = i.checked_sub(1).map_or(0, |before| self.group_ends[before]);
        &self.members[start as usize..self.group_ends[i] as usize]
    }

    /// Bytes of memory that the lists hold.
    pub fn held(&self) -> usize {
        let own = (self.plain.capacity() + self.members.capacity()) * size_of::<Target>();
        own + self.beyond.as_ref().map_or(0, |beyond| beyond.held())
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).expect("subscriptions are counted in 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::{Matches, Sublist};

    fn target(owner: u16, slot: u32) -> Target {
        Target {
            owner: LoopId(owner),
            slot,
            generation: 0,
        }
    }

    #[test]
    fn targets_are_grouped_by_loop_and_by_queue() {
        let mut list = Sublist::new(1);
        for (i, (subject, queue)) in [
            ("a", None),
            ("*", None),
            ("a", Some("q")),
            (">", Some("q")),
            ("a", Some("p")),
        ]
        .into_iter()
        .enumerate()
        {
            let owner = if i == 0 { 1 } else { 0 };
            let queue = queue.map(str::as_bytes);
            list.insert(subject.as_bytes(), queue, target(owner, i as u32))
                .unwrap();
        }
        let mut matches = Matches::default();
        list.matches(b"a", &mut matches);
        let mut route = Route::default();
        route.refill(&mut matches);
        assert_eq!(route.plain_of(LoopId(0)), [target(0, 1)]);
        assert_eq!(route.plain_of(LoopId(1)), [target(1, 0)]);
        assert_eq!(route.spans().len(), 2);
        let mut sizes: Vec<usize> = (0..route.groups()).map(|g| route.group(g).len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
        assert_eq!(route.fan_out(), 4);
        matches.plain.clear();
        matches.queued.clear();
        route.refill(&mut matches);
        assert!(route.is_empty() && route.groups() == 0);
    }
}
