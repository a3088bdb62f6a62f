//! What other servers told of their subscribers: each subject is a subscription in its account here,
//! whose target is the loop of the cluster.

use super::LinkId;
use super::filed::FiledSlots;
use crate::accounts::interest::{Held, LoopId, Target};
use crate::accounts::{Account, Accounts};
use crate::base::hash::HashSeed;
use crate::proto::route::{Queue, Subject};
use crate::subject::InvalidSubject;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The interest of all other servers.
pub struct RemoteInterest {
    subs: Slab<RemoteSub>,
    generation: u32,
    /// The slots of the subscriptions of each connection, by what they are about.
    links: HashMap<LinkId, FiledSlots, foldhash::fast::RandomState>,
    /// Subscriptions of connections that are gone.
    graves: VecDeque<FiledSlots>,
    seed: HashSeed,
}

/// Interest of one server in one subject, or of one of its queue groups.
pub struct RemoteSub {
    /// The connection on which the server told of it.
    pub link: LinkId,
    /// The account; none if there is no such account here.
    pub account: Option<Arc<Account>>,
    /// Members of the queue group; 1 without one.
    pub weight: u32,
    held: Option<Held>,
    generation: u32,
    /// The account's name, the subject and the queue's name, one after the other.
    key: Box<[u8]>,
    account_len: u32,
    /// Bytes of the queue's name and one more; zero without a queue.
    queue: u32,
}

impl RemoteSub {
    pub fn account_name(&self) -> &[u8] {
        &self.key[..self.account_len as usize]
    }

    pub fn subject(&self) -> &[u8] {
        let queue_at = self.key.len() - self.queue.saturating_sub(1) as usize;
        &self.key[self.account_len as usize..queue_at]
    }

    pub fn queue(&self) -> Option<&[u8]> {
        let len = self.queue.checked_sub(1)? as usize;
        Some(&self.key[self.key.len() - len..])
    }

    fn is(&self, to: &Subject<'_>, queue: Option<&[u8]>) -> bool {
        self.subject() == to.subject && self.account_name() == to.account && self.queue() == queue
    }
}

impl RemoteInterest {
    /// Nobody else listens. Other servers' clients choose what is hashed, so `seed` must be random.
    pub fn new(seed: u64) -> RemoteInterest {
        RemoteInterest {
            subs: Slab::new(),
            generation: 0,
            links: HashMap::default(),
            graves: VecDeque::new(),
            seed: HashSeed::new(seed),
        }
    }

    /// A server listens to a subject, or has so many members of a queue group.
    ///
    /// # Errors
    /// The subject is not one that can be subscribed to.
    pub fn subscribe(
        &mut self,
        link: LinkId,
        to: &Subject<'_>,
        queue: Option<Queue<'_>>,
        accounts: &Accounts,
    ) -> Result<(), InvalidSubject> {
        let (weight, name) = queue.map_or((1, None), |q| (q.weight, Some(q.name)));
        let hash = hash(&self.seed, to, name);
        let table = self.links.entry(link).or_default();
        let subs = &mut self.subs;
        if let Some(slot) = table.find(hash, |slot| subs[slot as usize].is(to, name)) {
            subs[slot as usize].weight = weight;
            return Ok(());
        }
        if !crate::subject::is_valid(to.subject) {
            return Err(InvalidSubject);
        }
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("lines are short");
        let mut sub = RemoteSub {
            link,
            account: None,
            weight,
            held: None,
            generation,
            key: [to.account, to.subject, name.unwrap_or_default()]
                .concat()
                .into(),
            account_len: len(to.account),
            queue: name.map_or(0, |name| len(name) + 1),
        };
        let entry = subs.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("counted in 32 bits");
        sub.bind(slot, accounts);
        entry.insert(sub);
        table.insert(hash, slot);
        Ok(())
    }

    /// A server listens to a subject no more.
    pub fn unsubscribe(&mut self, link: LinkId, to: &Subject<'_>, queue: Option<&[u8]>) {
        let hash = hash(&self.seed, to, queue);
        let Some(table) = self.links.get_mut(&link) else {
            return;
        };
        let subs = &self.subs;
        if let Some(slot) = table.take(hash, |slot| subs[slot as usize].is(to, queue)) {
            self.subs.remove(slot as usize).unbind();
        }
    }

    /// The subscription that a target means, if it is still there.
    #[inline]
    pub fn get(&self, target: Target) -> Option<&RemoteSub> {
        let sub = self.subs.get(target.slot as usize)?;
        (sub.generation == target.generation).then_some(sub)
    }

    /// Subscriptions that came on a connection.
    pub fn count(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, FiledSlots::len)
    }

    /// The subscriptions that came on a connection, in no particular order.
    pub fn of(&self, link: LinkId) -> impl Iterator<Item = &RemoteSub> {
        let slots = self.links.get(&link).into_iter().flat_map(FiledSlots::iter);
        slots.map(|slot| &self.subs[slot as usize])
    }

    /// What came on a connection about an account does not count any more.
    pub fn forget(&mut self, link: LinkId, account: &[u8]) {
        let Some(table) = self.links.get_mut(&link) else {
            return;
        };
        let subs = &mut self.subs;
        table.retain(|slot| {
            let kept = subs[slot as usize].account_name() != account;
            if !kept {
                subs.remove(slot as usize).unbind();
            }
            kept
        });
    }

    /// A connection is gone. Its subscriptions go with [`RemoteInterest::bury`].
    pub fn drop_link(&mut self, link: LinkId) {
        self.graves.extend(self.links.remove(&link));
    }

    /// Forgets interest in all subjects but those that `keep` is true of.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let subs = &mut self.subs;
        for table in self.links.values_mut() {
            table.retain(|slot| {
                let kept = keep(subs[slot as usize].subject());
                if !kept {
                    subs.remove(slot as usize).unbind();
                }
                kept
            });
        }
    }

    /// Removes up to `budget` subscriptions of connections that are gone; says whether there are
    /// more.
    pub fn bury(&mut self, mut budget: usize) -> bool {
        while let Some(table) = self.graves.front_mut() {
            let slots = table.take_some(budget);
            if table.len() == 0 {
                self.graves.pop_front();
            }
            for slot in &slots {
                self.subs.remove(*slot as usize).unbind();
            }
            budget -= slots.len();
            if budget == 0 {
                break;
            }
        }
        if self.subs.is_empty() {
            self.subs = Slab::new();
        }
        !self.graves.is_empty()
    }

    /// The accounts have changed: what was told of one that is new counts from now on.
    pub fn renew(&mut self, accounts: &Accounts) {
        for (slot, sub) in &mut self.subs {
            let name = std::str::from_utf8(sub.account_name()).unwrap_or_default();
            let there = accounts.named(name).map(|tenant| tenant.account.number);
            let own = sub.account.as_ref().map(|account| account.number);
            if there != own {
                sub.unbind();
                let slot = u32::try_from(slot).expect("counted in 32 bits");
                sub.bind(slot, accounts);
            }
        }
    }
}

impl RemoteSub {
    /// Becomes a subscription in its account, if there is one of that name.
    fn bind(&mut self, slot: u32, accounts: &Accounts) {
        let name = std::str::from_utf8(self.account_name()).unwrap_or_default();
        let Some(tenant) = accounts.named(name) else {
            return;
        };
        let target = Target {
            owner: LoopId::CLUSTER,
            slot,
            generation: self.generation,
        };
        let account = &tenant.account;
        self.held = account
            .interest
            .insert(self.subject(), self.queue(), target)
            .ok();
        self.account = Some(account.clone());
    }

    fn unbind(&mut self) {
        if let Some((account, held)) = self.account.take().zip(self.held.take()) {
            account.interest.remove(held);
        }
    }
}

fn hash(seed: &HashSeed, to: &Subject<'_>, queue: Option<&[u8]>) -> u64 {
    let account = seed.hash(to.account).rotate_left(23);
    let queue = queue.map_or(1, |queue| seed.hash(queue).rotate_left(47));
    seed.hash(to.subject) ^ account ^ queue
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::subject::Matches;

    fn subject<'a>(account: &'a str, subject: &'a str) -> Subject<'a> {
        Subject {
            account: account.as_bytes(),
            subject: subject.as_bytes(),
        }
    }

    fn matches(accounts: &Accounts, subject: &str) -> Vec<Target> {
        let mut matches = Matches::default();
        let interest = &accounts.global().account.interest;
        interest.matches(subject.as_bytes(), &mut matches);
        let queued = matches.queued.iter().map(|(_, target)| *target);
        matches.plain.iter().copied().chain(queued).collect()
    }

    #[test]
    fn interest_of_others_comes_and_goes() {
        let accounts = Accounts::new(&Options::default(), None, 1).unwrap();
        let mut remote = RemoteInterest::new(1);
        let (one, two) = (LinkId(1), LinkId(2));
        let to = subject("$G", "a.*");
        for link in [one, two, one] {
            remote.subscribe(link, &to, None, &accounts).unwrap();
        }
        let queue = |weight| Some(Queue { name: b"q", weight });
        remote.subscribe(one, &to, queue(1), &accounts).unwrap();
        remote.subscribe(one, &to, queue(5), &accounts).unwrap();
        assert!(
            remote
                .subscribe(one, &subject("$G", "a..b"), None, &accounts)
                .is_err()
        );
        let found = matches(&accounts, "a.b");
        assert_eq!(found.len(), 3);
        let group = remote.get(found[2]).unwrap();
        assert_eq!((group.weight, group.queue()), (5, Some(&b"q"[..])));
        assert_eq!((group.subject(), group.link), (&b"a.*"[..], one));
        remote.unsubscribe(one, &to, None);
        remote.unsubscribe(one, &to, None);
        assert_eq!(matches(&accounts, "a.b").len(), 2);
        let other = subject("OTHER", "a.*");
        remote.subscribe(one, &other, None, &accounts).unwrap();
        remote.forget(one, b"OTHER");
        remote.forget(one, b"NONE");
        assert_eq!((remote.count(one), remote.count(two)), (1, 1));
        for i in 0..10 {
            let name = i.to_string();
            remote
                .subscribe(two, &subject("$G", &name), None, &accounts)
                .unwrap();
        }
        remote.drop_link(two);
        assert!(remote.bury(4));
        assert!(!remote.bury(100));
        let left = matches(&accounts, "a.b");
        assert_eq!(left.len(), 1);
        assert!(found.iter().filter(|t| remote.get(**t).is_some()).eq(&left));
        remote.drop_link(one);
        assert!(!remote.bury(100));
        assert!(
            accounts.global().account.interest.is_empty() || matches(&accounts, "a.b").is_empty()
        );
    }

    #[test]
    fn interest_in_an_account_that_comes_later_counts_then() {
        let options = Options::default();
        let accounts = Accounts::new(&options, None, 1).unwrap();
        let mut remote = RemoteInterest::new(1);
        remote
            .subscribe(LinkId(1), &subject("A", "x"), None, &accounts)
            .unwrap();
        let more = Options {
            accounts: vec![crate::options::security::AccountOptions {
                name: "A".into(),
                ..Default::default()
            }],
            ..options
        };
        let later = Accounts::new(&more, Some(&accounts), 1).unwrap();
        let account = &later.named("A").unwrap().account;
        assert!(account.interest.is_empty());
        remote.renew(&later);
        assert_eq!(account.interest.len(), 1);
        remote.drop_link(LinkId(1));
        remote.bury(1);
        assert!(account.interest.is_empty());
    }
}
