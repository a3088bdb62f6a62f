//! The resolved targets of one subject: an immutable value, shared between loops.

use super::beyond::Beyond;
use crate::accounts::interest::{LoopId, Target};
use crate::subject::{Matches, QueueId};

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
    /// Where it goes on other servers.
    far: Option<Box<Far>>,
    /// The names of the queue groups, where somebody needs them.
    names: Vec<Box<[u8]>>,
}

/// Subscriptions of other servers, which the loop of the cluster has.
#[derive(Default, Debug)]
pub struct Far {
    /// Those in no queue group.
    pub plain: Vec<Target>,
    /// Queue groups of which this server has no member.
    pub groups: Vec<Box<[Target]>>,
    /// Queue groups of which it has some, each with its number among the route's own groups.
    pub also: Vec<(usize, Box<[Target]>)>,
}

impl Far {
    /// Whether a message goes there even if all members of queue groups are found on this server.
    pub fn is_certain(&self) -> bool {
        !self.plain.is_empty() || !self.groups.is_empty()
    }

    /// The members on other servers of one of the route's own queue groups.
    pub fn also(&self, group: usize) -> Option<&[Target]> {
        let found = self.also.iter().find(|(own, _)| *own == group);
        found.map(|(_, members)| &**members)
    }

    fn held(&self) -> usize {
        let groups = self.groups.iter().map(|members| members.len());
        let also = self.also.iter().map(|(_, members)| members.len());
        let targets = self.plain.capacity() + groups.chain(also).sum::<usize>();
        size_of::<Far>() + targets * size_of::<Target>()
    }
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
        self.names.clear();
        self.beyond = None;
        self.far = None;
        let is_far = |target: &Target| target.owner == LoopId::CLUSTER;
        let far = matches.plain.iter().any(is_far)
            || matches.queued.iter().any(|(_, target)| is_far(target));
        let mut apart = far.then(Box::<Far>::default);
        if let Some(far) = &mut apart {
            far.plain.extend(matches.plain.iter().filter(|t| is_far(t)));
            matches.plain.retain(|target| !is_far(target));
        }
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
        matches.queued.sort_by_key(|(queue, _)| *queue);
        for group in matches.queued.chunk_by(|a, b| a.0 == b.0) {
            let before = self.members.len();
            let all = group.iter().map(|(_, target)| *target);
            let Some(far) = &mut apart else {
                self.members.extend(all);
                self.group_ends.push(index(self.members.len()));
                continue;
            };
            self.members.extend(all.clone().filter(|t| !is_far(t)));
            let others: Box<[Target]> = all.filter(is_far).collect();
            if self.members.len() > before {
                if !others.is_empty() {
                    far.also.push((self.group_ends.len(), others));
                }
                self.group_ends.push(index(self.members.len()));
            } else {
                far.groups.push(others);
            }
        }
        self.far = apart;
    }

    /// Whether this is what a route becomes by what was matched, if that has no queue groups and the
    /// subject leads nowhere else.
    pub(super) fn leads_only_to(&self, matches: &Matches<Target>) -> bool {
        matches.queued.is_empty()
            && self.members.is_empty()
            && self.far.is_none()
            && self.beyond.is_none()
            && self.plain == matches.plain
    }

    /// Replaces this route by what was matched on this server only, and notes the names of the queue
    /// groups.
    pub fn refill_named(&mut self, matches: &mut Matches<Target>, names: &[(QueueId, Box<[u8]>)]) {
        self.refill_near(matches);
        let mut last = None;
        for (queue, _) in &matches.queued {
            if last == Some(*queue) {
                continue;
            }
            last = Some(*queue);
            let name = names.iter().find(|(id, _)| id == queue);
            let name = name.map(|(_, name)| name.clone());
            self.names.push(name.unwrap_or_default());
        }
    }

    /// Replaces this route by what was matched on this server only.
    pub fn refill_near(&mut self, matches: &mut Matches<Target>) {
        matches.plain.retain(|t| t.owner != LoopId::CLUSTER);
        matches.queued.retain(|(_, t)| t.owner != LoopId::CLUSTER);
        self.refill(matches);
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

    /// Where the message goes on other servers, if it may.
    #[inline]
    pub fn far(&self) -> Option<&Far> {
        self.far.as_deref()
    }

    /// The number of the queue group of this name, where names were noted.
    pub fn group_named(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|own| **own == *name)
    }

    /// Whether nobody in the account is interested.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.members.is_empty() && self.far.is_none()
    }

    /// How many deliveries a message on this route makes in the account.
    #[inline]
    pub fn fan_out(&self) -> usize {
        self.plain.len() + self.group_ends.len() + usize::from(self.far.is_some())
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
        let names: usize = self.names.iter().map(|name| name.len() + 16).sum();
        let far = self.far.as_ref().map_or(0, |far| far.held());
        own + names + far + self.beyond.as_ref().map_or(0, |beyond| beyond.held())
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

    #[test]
    fn what_other_servers_have_stands_apart() {
        let mut list = Sublist::new(1);
        let far = LoopId::CLUSTER.0;
        for (slot, (queue, owner)) in (0..).zip([
            (None, 0),
            (None, far),
            (Some("both"), far),
            (Some("both"), 1),
            (Some("there"), far),
            (Some("here"), 0),
        ]) {
            let queue = queue.map(str::as_bytes);
            list.insert(b"a", queue, target(owner, slot)).unwrap();
        }
        let (mut matches, mut route) = (Matches::default(), Route::default());
        list.matches(b"a", &mut matches);
        let names: Vec<_> = matches.queued.iter().map(|(id, _)| *id).collect();
        let names: Vec<(_, Box<[u8]>)> = names
            .into_iter()
            .map(|id| (id, list.queue_name(id).unwrap().into()))
            .collect();
        route.refill(&mut matches);
        assert_eq!((route.fan_out(), route.groups()), (4, 2));
        let there = route.far().unwrap();
        assert!(there.is_certain());
        assert_eq!(there.plain, [target(far, 1)]);
        assert_eq!(*there.groups, [Box::from([target(far, 4)])]);
        let (own, members) = &there.also[0];
        assert_eq!(**members, [target(far, 2)]);
        assert_eq!(route.group(*own), [target(1, 3)]);
        assert_eq!(there.also(*own), Some(&[target(far, 2)][..]));
        list.matches(b"a", &mut matches);
        route.refill_named(&mut matches, &names);
        assert!(route.far().is_none());
        let both = route.group_named(b"both").unwrap();
        assert_eq!(route.group(both), [target(1, 3)]);
        assert_eq!(route.group_named(b"there"), None);
        assert!(route.group_named(b"here").is_some());
    }
}
