//! A loop's memory of which subjects go where: a hit costs one hash and two loads of counters
//! that nobody writes while subscriptions stand still.
//!
//! Two ways, least frequently used goes first, and a doorkeeper: a subject enters only when it
//! was seen before, so that reply inboxes, each used once, push nobody out.

use super::beyond::Beyond;
use super::route::Route;
use crate::accounts::interest::{Bucket, Target};
use crate::accounts::{Account, Accounts};
use crate::base::limits::{DOORKEEPER, ROUTE_CACHE};
use crate::subject::{Matches, QueueId};
use std::sync::Arc;

/// Routes by subject, for the account or accounts of one loop's clients.
pub struct RouteCache {
    remembers: bool,
    /// Whether routes name their queue groups and lead to this server's own subscribers only.
    named: Option<Names>,
    sets: Vec<[Option<Box<Entry>>; 2]>,
    /// The tag of the last subject that knocked here and was not let in.
    doorkeeper: Vec<u16>,
    /// Bytes that the cached routes hold.
    held: usize,
    /// The route of a subject that is not worth an entry.
    scratch: Arc<Route>,
    matches: Matches<Target>,
    hits: u64,
    misses: u64,
}

/// Names of queue groups, by what the account calls them.
pub(super) type Names = Vec<(QueueId, Box<[u8]>)>;

/// How a cache does.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheTotals {
    /// Routes that it holds.
    pub entries: usize,
    /// Look-ups that found one, and all look-ups.
    pub hits: u64,
    pub lookups: u64,
    /// The most subscriptions of a cached route, and the sum over all of them.
    pub fan_out_max: usize,
    pub fan_out_sum: usize,
}

struct Entry {
    hash: u64,
    account: u32,
    bucket: Bucket,
    uses: u8,
    generation: u64,
    route: Arc<Route>,
    subject: Box<[u8]>,
}

const SETS: usize = ROUTE_CACHE / 2;

/// A scratch route that grew beyond this many bytes is not kept.
const SCRATCH_BYTES: usize = 1 << 20;

/// When all routes together hold more than this, they are dropped: where so many subscribers get
/// a message, resolving its subject again is little beside delivering it.
const HELD_MAX: usize = 64 << 20;

impl RouteCache {
    /// A cache, or with `remembers` off what looks the same and resolves every subject anew.
    pub fn new(remembers: bool) -> RouteCache {
        RouteCache {
            remembers,
            named: None,
            sets: std::iter::repeat_with(|| [None, None]).take(SETS).collect(),
            doorkeeper: vec![0; DOORKEEPER],
            held: 0,
            scratch: Arc::default(),
            matches: Matches::default(),
            hits: 0,
            misses: 0,
        }
    }

    /// A cache of routes for what comes from other servers: they lead to subscribers of this one only,
    /// and their queue groups can be found by name.
    pub fn of_own_subscribers(remembers: bool) -> RouteCache {
        RouteCache {
            named: Some(Names::new()),
            ..RouteCache::new(remembers)
        }
    }

    /// Whether its routes lead to subscribers of this server only.
    pub fn leads_nowhere_else(&self) -> bool {
        self.named.is_some()
    }

    /// Bytes that the cache holds, about.
    pub fn held(&self) -> usize {
        let sets = self.sets.len() * size_of::<[Option<Box<Entry>>; 2]>();
        sets + self.doorkeeper.len() * 2 + self.held
    }

    pub fn totals(&self) -> CacheTotals {
        let mut totals = CacheTotals {
            hits: self.hits,
            lookups: self.hits + self.misses,
            ..CacheTotals::default()
        };
        for entry in self.sets.iter().flatten().flatten() {
            let fan_out = entry.route.fan_out();
            totals.entries += 1;
            totals.fan_out_sum += fan_out;
            totals.fan_out_max = totals.fan_out_max.max(fan_out);
        }
        totals
    }

    /// The route of `subject` in this account, as of now. Where it leads in other accounts is taken
    /// from `accounts`; when these change, call [`RouteCache::clear`].
    #[inline]
    pub fn route(&mut self, accounts: &Accounts, account: &Account, subject: &[u8]) -> &Arc<Route> {
        let (number, interest) = (account.number, &account.interest);
        if self.held > HELD_MAX {
            self.clear();
        }
        let hash = interest.hash(subject);
        let set = low(hash) & (SETS - 1);
        let way = self.sets[set]
            .iter()
            .position(|e| e.as_ref().is_some_and(|e| e.is(hash, number, subject)));
        match way {
            Some(way) => {
                let entry = self.sets[set][way]
                    .as_mut()
                    .expect("the way was found filled");
                entry.uses = entry.uses.saturating_add(1);
                self.hits += 1;
                let generation = interest.generation(entry.bucket);
                let beyond = entry.route.beyond();
                if entry.generation != generation || beyond.is_some_and(Beyond::is_outdated) {
                    entry.generation = generation;
                    self.held -= entry.route.held();
                    let resolver = (accounts, account);
                    let aids = (&mut self.matches, self.named.as_mut());
                    refill(&mut entry.route, resolver, subject, aids);
                    self.held += entry.route.held();
                }
                &entry.route
            }
            None => self.miss(hash, set, (accounts, account), subject),
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a tag is 16 bits of the hash"
    )]
    fn miss(
        &mut self,
        hash: u64,
        set: usize,
        (accounts, account): (&Accounts, &Account),
        subject: &[u8],
    ) -> &Arc<Route> {
        self.misses += 1;
        let interest = &account.interest;
        let tag = (hash >> 48) as u16 | 1;
        let door = &mut self.doorkeeper[low(hash >> 20) & (DOORKEEPER - 1)];
        if *door != tag || !self.remembers {
            *door = tag;
            if self.scratch.held() > SCRATCH_BYTES {
                self.scratch = Arc::default();
            }
            let resolver = (accounts, account);
            let aids = (&mut self.matches, self.named.as_mut());
            refill(&mut self.scratch, resolver, subject, aids);
            return &self.scratch;
        }
        let set = &mut self.sets[set];
        let uses = |e: &Option<Box<Entry>>| e.as_ref().map_or(0, |e| 1 + u32::from(e.uses));
        let way = usize::from(uses(&set[1]) < uses(&set[0]));
        if let Some(other) = &mut set[1 - way] {
            other.uses /= 2;
        }
        let bucket = interest.bucket(subject);
        let generation = interest.generation(bucket);
        let mut route = set[way].take().map(|e| e.route).unwrap_or_default();
        self.held -= route.held();
        let resolver = (accounts, account);
        let aids = (&mut self.matches, self.named.as_mut());
        refill(&mut route, resolver, subject, aids);
        self.held += route.held();
        let subject = subject.into();
        let entry = Entry {
            hash,
            account: account.number,
            bucket,
            uses: 1,
            generation,
            route,
            subject,
        };
        &set[way].insert(Box::new(entry)).route
    }

    /// Forgets all routes.
    #[cold]
    pub fn clear(&mut self) {
        let (hits, misses) = (self.hits, self.misses);
        *self = RouteCache {
            hits,
            misses,
            named: self.named.take(),
            ..RouteCache::new(self.remembers)
        };
    }
}

impl Entry {
    #[inline]
    fn is(&self, hash: u64, account: u32, subject: &[u8]) -> bool {
        self.hash == hash && self.account == account && *self.subject == *subject
    }
}

/// The low bits of a hash, as an index that is masked.
#[allow(clippy::cast_possible_truncation, reason = "only the low bits matter")]
fn low(hash: u64) -> usize {
    hash as usize
}

/// Resolves into the route's own memory if nobody else holds it.
fn refill(
    route: &mut Arc<Route>,
    (accounts, account): (&Accounts, &Account),
    subject: &[u8],
    (matches, mut named): (&mut Matches<Target>, Option<&mut Names>),
) {
    if Arc::get_mut(route).is_none() {
        *route = Arc::default();
    }
    let own = Arc::get_mut(route).expect("a new route has one holder");
    match named.as_deref_mut() {
        None => {
            account.interest.matches(subject, matches);
            own.refill(matches);
        }
        Some(names) => {
            account.interest.matches_named(subject, matches, names);
            own.refill_named(matches, names);
        }
    }
    let tenant = accounts.tenant(account.number);
    let exchange = tenant.map(|tenant| &tenant.exchange);
    own.lead_beyond(Beyond::resolve(exchange, subject, (&mut *matches, named)));
    if own.held() > SCRATCH_BYTES {
        *matches = Matches::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::interest::LoopId;
    use crate::options::Options;

    fn accounts() -> Accounts {
        Accounts::new(&Options::default(), None, 3).unwrap()
    }

    fn target(slot: u32) -> Target {
        Target {
            owner: LoopId(0),
            slot,
            generation: 0,
        }
    }

    #[test]
    fn a_cached_route_follows_every_change() {
        let accounts = accounts();
        let account = &accounts.global().account;
        let interest = &account.interest;
        let mut cache = RouteCache::new(true);
        let fan_out = |cache: &mut RouteCache, subject: &[u8]| {
            cache.route(&accounts, account, subject).fan_out()
        };
        for _ in 0..3 {
            assert_eq!(fan_out(&mut cache, b"a.b"), 0);
        }
        let a = interest.insert(b"a.b", None, target(1)).unwrap();
        assert_eq!(fan_out(&mut cache, b"a.b"), 1);
        let wild = interest.insert(b"*.b", None, target(2)).unwrap();
        let rest = interest.insert(b">", None, target(3)).unwrap();
        assert_eq!(fan_out(&mut cache, b"a.b"), 3);
        interest.remove(wild);
        assert_eq!(fan_out(&mut cache, b"a.b"), 2);
        interest.remove(rest);
        interest.remove(a);
        assert_eq!(fan_out(&mut cache, b"a.b"), 0);
    }

    #[test]
    fn subjects_seen_once_do_not_enter() {
        let accounts = accounts();
        let account = &accounts.global().account;
        let mut cache = RouteCache::new(true);
        let entries = |c: &RouteCache| c.sets.iter().flatten().flatten().count();
        for i in 0..1000 {
            cache.route(&accounts, account, format!("_INBOX.{i}").as_bytes());
        }
        assert!(entries(&cache) < 20, "{}", entries(&cache));
        for _ in 0..2 {
            cache.route(&accounts, account, b"hot");
        }
        let other = &accounts.named(crate::accounts::SYSTEM).unwrap().account;
        cache.route(&accounts, other, b"hot");
        cache.route(&accounts, other, b"hot");
        assert!(entries(&cache) >= 2);
    }

    #[test]
    fn a_route_that_is_still_held_is_not_changed() {
        let accounts = accounts();
        let account = &accounts.global().account;
        let interest = &account.interest;
        let mut cache = RouteCache::new(true);
        interest.insert(b"a", None, target(1)).unwrap();
        let held = cache.route(&accounts, account, b"a").clone();
        interest.insert(b"a", None, target(2)).unwrap();
        assert_eq!(cache.route(&accounts, account, b"a").fan_out(), 2);
        assert_eq!(held.fan_out(), 1);
    }

    #[test]
    fn memory_for_large_routes_is_bounded() {
        let accounts = accounts();
        let account = &accounts.global().account;
        let interest = &account.interest;
        let mut cache = RouteCache::new(true);
        for slot in 0..20_000 {
            interest.insert(b">", None, target(slot)).unwrap();
        }
        for i in 0..1000 {
            let subject = format!("hot.{i}");
            for _ in 0..2 {
                assert_eq!(
                    cache
                        .route(&accounts, account, subject.as_bytes())
                        .fan_out(),
                    20_000
                );
            }
            let held: usize = cache
                .sets
                .iter()
                .flatten()
                .flatten()
                .map(|e| e.route.held())
                .sum();
            assert_eq!(held, cache.held);
            assert!(held < HELD_MAX + (1 << 20), "{held}");
        }
    }
}
