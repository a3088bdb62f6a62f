//! The subscriptions of one account, shared by all loops: a subject trie behind a lock that only
//! changes and cache misses take, and generations by which a cached route knows whether it still
//! holds.

use super::journal::{Journal, Writer};
use crate::base::hash::HashSeed;
use crate::base::limits::GENERATIONS;
use crate::subject;
use crate::subject::{InvalidSubject, Matches, QueueId, SubId, Sublist};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Who in an account listens to what.
pub struct Interest {
    list: RwLock<Sublist<Target>>,
    /// Counts the changes to subscriptions whose first token falls into a bucket; the last one,
    /// those whose first token is a wildcard.
    generations: Box<[AtomicU64]>,
    /// Subscriptions that were ever made. Written under the lock.
    inserted: AtomicU64,
    hashes: HashSeed,
    /// Where it is noted what this server's own subscribers listen to, if other servers are told.
    journal: Option<Writer>,
}

/// Names a loop that owns client connections, or that otherwise has subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LoopId(pub u16);

impl LoopId {
    /// The loop of the cluster, whose subscriptions are those of other servers.
    pub const CLUSTER: LoopId = LoopId(u16::MAX);
}

/// Names a subscription in the loop that owns its connection. The generation tells a reused slot
/// from the one that was meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    pub owner: LoopId,
    pub slot: u32,
    pub generation: u32,
}

/// The generation bucket of a subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket(u16);

/// What [`Interest::remove`] takes back: a subscription and the bucket it counts in.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    id: SubId,
    bucket: Bucket,
}

#[allow(clippy::cast_possible_truncation, reason = "asserted below")]
const WILD: Bucket = Bucket(GENERATIONS as u16);
const _: () = assert!(GENERATIONS <= u16::MAX as usize);

impl Interest {
    /// An account without subscriptions. `seed` keeps peers from choosing subjects that collide.
    pub fn new(seed: u64) -> Interest {
        Interest {
            journal: None,
            list: RwLock::new(Sublist::new(seed)),
            generations: (0..=GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            inserted: AtomicU64::new(0),
            hashes: HashSeed::new(seed),
        }
    }

    /// The same, with what the account's own subscribers listen to noted in a journal, under the
    /// account's number.
    pub fn journaled(seed: u64, journal: &Arc<Journal>, account: u32) -> Interest {
        Interest {
            journal: Some(Writer::new(journal, account)),
            ..Interest::new(seed)
        }
    }

    /// Adds a subscription. It is visible to every loop when this returns.
    ///
    /// # Errors
    /// The subject is not one that can be subscribed to.
    pub fn insert(
        &self,
        subject: &[u8],
        queue: Option<&[u8]>,
        target: Target,
    ) -> Result<Held, InvalidSubject> {
        let first = subject::first_token(subject);
        let bucket = if subject::is_wildcard_token(first) {
            WILD
        } else {
            self.literal(first)
        };
        let mut list = self.write();
        let id = list.insert(subject, queue, target)?;
        if let Some(journal) = &self.journal
            && target.owner != LoopId::CLUSTER
        {
            journal.note(subject, queue, true);
        }
        self.changed(bucket, &list);
        let inserted = self.inserted.load(Ordering::Relaxed).wrapping_add(1);
        self.inserted.store(inserted, Ordering::Relaxed);
        Ok(Held { id, bucket })
    }

    /// Takes a subscription out again.
    pub fn remove(&self, held: Held) {
        let mut list = self.write();
        if let Some(journal) = &self.journal
            && list
                .value(held.id)
                .is_some_and(|t| t.owner != LoopId::CLUSTER)
        {
            let mut subject = Vec::new();
            list.subject(held.id, &mut subject);
            journal.note(&subject, list.queue(held.id), false);
        }
        if list.remove(held.id).is_some() {
            self.changed(held.bucket, &list);
        }
    }

    /// Writes the subject of a subscription to `subject`, and gives its queue group.
    pub fn describe(&self, held: Held, subject: &mut Vec<u8>) -> Option<Box<[u8]>> {
        let list = self.read();
        list.subject(held.id, subject);
        list.queue(held.id).map(Into::into)
    }

    /// The targets of a published subject.
    pub fn matches(&self, subject: &[u8], matches: &mut Matches<Target>) {
        self.read().matches(subject, matches);
    }

    /// The same, and the names of the queue groups among them, each once.
    pub fn matches_named(
        &self,
        subject: &[u8],
        matches: &mut Matches<Target>,
        names: &mut Vec<(QueueId, Box<[u8]>)>,
    ) {
        names.clear();
        let list = self.read();
        list.matches(subject, matches);
        for (queue, _) in &matches.queued {
            if names.iter().all(|(id, _)| id != queue)
                && let Some(name) = list.queue_name(*queue)
            {
                names.push((*queue, name.into()));
            }
        }
    }

    /// Whether somebody subscribed to just this subject, without wildcards.
    pub fn has_literal(&self, subject: &[u8]) -> bool {
        self.read().has_literal(subject)
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// How many there ever were.
    pub fn inserted(&self) -> u64 {
        self.inserted.load(Ordering::Relaxed)
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bucket that a published subject belongs to.
    pub fn bucket(&self, subject: &[u8]) -> Bucket {
        self.literal(subject::first_token(subject))
    }

    /// A number that changes whenever a subscription that may match a subject of this bucket
    /// comes or goes. Read it before resolving.
    #[inline]
    pub fn generation(&self, bucket: Bucket) -> u64 {
        let own = self.generations[usize::from(bucket.0)].load(Ordering::Acquire);
        own.wrapping_add(self.generations[usize::from(WILD.0)].load(Ordering::Acquire))
    }

    /// The hash of a subject, under this account's seed.
    #[inline]
    pub fn hash(&self, subject: &[u8]) -> u64 {
        self.hashes.hash(subject)
    }

    /// Counts a change. Whoever holds the lock for writing is the only one to do so, so that this
    /// needs no atomic addition.
    fn changed(&self, bucket: Bucket, _held: &RwLockWriteGuard<'_, Sublist<Target>>) {
        let generation = &self.generations[usize::from(bucket.0)];
        let next = generation.load(Ordering::Relaxed).wrapping_add(1);
        generation.store(next, Ordering::Release);
    }

    fn literal(&self, first: &[u8]) -> Bucket {
        let low = self.hash(first) & (GENERATIONS as u64 - 1);
        Bucket(u16::try_from(low).expect("buckets fit 16 bits"))
    }

    fn read(&self) -> RwLockReadGuard<'_, Sublist<Target>> {
        self.list.read().expect("no holder of this lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sublist<Target>> {
        self.list.write().expect("no holder of this lock panics")
    }
}
