//! A loop's memory of which subjects go where: a hit costs one hash and two loads of counters
//! that nobody writes while subscriptions stand still.
//!
//! Two ways, least frequently used goes first, and a doorkeeper: a subject enters only when it
//! was seen before, so that reply inboxes, each used once, push nobody out.

use super::beyond::Beyond;
use super::families::Families;
use super::route::Route;
use crate::accounts::exchange::Exchange;
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
    sets: Vec<[Way; 2]>,
    /// The tag of the last subject that knocked here and was not let in.
    doorkeeper: Vec<u16>,
    /// Bytes that the cached routes hold.
    held: usize,
    /// The last routes of subjects that had no entry. The next such subject most often leads to the
    /// same subscriptions as one of them, and then has its route, not a new one.
    scratch: [Arc<Route>; SCRATCHES],
    families: Families,
    /// How many subjects in a row had no entry, but a family.
    kin: u8,
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

/// A place for an entry. The hash stands here, so that a look-up in vain touches no entry.
#[derive(Default)]
struct Way {
    hash: u64,
    entry: Option<Box<Entry>>,
}

struct Entry {
    account: u32,
    bucket: Bucket,
    uses: u8,
    generation: u64,
    route: Arc<Route>,
    subject: Vec<u8>,
}

const SETS: usize = ROUTE_CACHE / 2;

/// Scratch routes, found by the slot of their first subscription. A power of two.
const SCRATCHES: usize = 8;

/// Subjects with a family after which families are asked first, and of how many one is not.
const KIN_MIN: u8 = 4;
const KIN_ROUND: u8 = 64;

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
            sets: std::iter::repeat_with(Default::default)
                .take(SETS)
                .collect(),
            doorkeeper: vec![0; DOORKEEPER],
            held: 0,
            scratch: Default::default(),
            families: Families::default(),
            kin: 0,
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
        let sets = self.sets.len() * size_of::<[Way; 2]>();
        sets + self.doorkeeper.len() * 2 + self.families.held() + self.held
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let ways = self.sets.iter().flatten();
        ways.filter_map(|way| way.entry.as_deref())
    }

    pub fn totals(&self) -> CacheTotals {
        let mut totals = CacheTotals {
            hits: self.hits,
            lookups: self.hits + self.misses,
            ..CacheTotals::default()
        };
        for entry in self.entries() {
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
        if self.asks_families()
            && let Some(at) = self.families.find(account, subject)
        {
            self.kin = self.kin.wrapping_add(1);
            self.hits += 1;
            return self.families.route(at);
        }
        let hash = interest.hash(subject);
        let set = low(hash) & (SETS - 1);
        let ways = &self.sets[set];
        let Some(way) = ways.iter().position(|w| w.is(hash, number, subject)) else {
            return self.miss(hash, set, (accounts, account), subject);
        };
        self.kin = 0;
        let entry = self.sets[set][way]
            .entry
            .as_mut()
            .expect("the way was found filled");
        entry.uses = entry.uses.saturating_add(1);
        self.hits += 1;
        let generation = interest.generation(entry.bucket);
        let beyond = entry.route.beyond();
        if entry.generation != generation || beyond.is_some_and(Beyond::is_outdated) {
            entry.generation = generation;
            self.held -= entry.route.held();
            let mut aids = (&mut self.matches, self.named.as_mut());
            find(account, subject, &mut aids);
            refill(&mut entry.route, (accounts, account), subject, aids);
            self.held += entry.route.held();
        }
        &entry.route
    }

    /// Whether the subject's family is asked for first: those before had one and no entry. Now and then
    /// it is not, so that a subject which comes often gets its entry all the same.
    fn asks_families(&self) -> bool {
        self.kin >= KIN_MIN && !self.kin.is_multiple_of(KIN_ROUND)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a tag is 16 bits of the hash"
    )]
    fn miss(
        &mut self,
        hash: u64,
        set: usize,
        resolver: (&Accounts, &Account),
        subject: &[u8],
    ) -> &Arc<Route> {
        let account = resolver.1;
        let tag = (hash >> 48) as u16 | 1;
        let door = &mut self.doorkeeper[low(hash >> 20) & (DOORKEEPER - 1)];
        let is_new = *door != tag || !self.remembers;
        *door = tag;
        let way = (!is_new).then(|| self.way_for_another(set)).flatten();
        let family = self.families.find(account, subject);
        self.kin = match family {
            Some(_) => self.kin.wrapping_add(1),
            None => 0,
        };
        self.hits += u64::from(family.is_some());
        self.misses += u64::from(family.is_none());
        let Some(way) = way else {
            return match family {
                Some(at) => self.families.route(at),
                None => self.resolve(resolver, subject),
            };
        };
        // Whatever changes while it is resolved has it resolved again.
        let bucket = account.interest.bucket(subject);
        let (generation, route) = match family {
            Some(at) => (
                self.families.generation(at),
                self.families.route(at).clone(),
            ),
            None => {
                let generation = account.interest.generation(bucket);
                (generation, self.resolve(resolver, subject).clone())
            }
        };
        let way = &mut self.sets[set][way];
        way.hash = hash;
        let entry = way
            .entry
            .get_or_insert_with(|| Box::new(Entry::new(bucket)));
        self.held -= entry.route.held();
        self.held += route.held();
        entry.subject.clear();
        entry.subject.extend_from_slice(subject);
        **entry = Entry {
            account: account.number,
            bucket,
            uses: 1,
            generation,
            route,
            subject: std::mem::take(&mut entry.subject),
        };
        &entry.route
    }

    /// The way of a set that a subject gets which knocked again: the one that is used less, if that is
    /// not used any more. Whoever knocks brings it closer to that.
    fn way_for_another(&mut self, set: usize) -> Option<usize> {
        let ways = &mut self.sets[set];
        let uses = |way: &Way| way.entry.as_ref().map(|entry| entry.uses);
        let at = usize::from(uses(&ways[1]) < uses(&ways[0]));
        let is_unused = uses(&ways[at]).is_none_or(|uses| uses == 0);
        for entry in ways.iter_mut().filter_map(|way| way.entry.as_mut()) {
            entry.uses /= 2;
        }
        is_unused.then_some(at)
    }

    /// The route of a subject that has no entry.
    fn resolve(&mut self, resolver: (&Accounts, &Account), subject: &[u8]) -> &Arc<Route> {
        let (_, account) = resolver;
        let bucket = account.interest.bucket(subject);
        let generation = account.interest.generation(bucket);
        let mut aids = (&mut self.matches, self.named.as_mut());
        find(account, subject, &mut aids);
        let decisive = aids.0.decisive();
        let first = aids.0.plain.first().map_or(0, |target| target.slot);
        let scratch = &mut self.scratch[first as usize & (SCRATCHES - 1)];
        let exchange = exchange(resolver);
        let stays = scratch.leads_only_to(aids.0) && !Beyond::concerns(exchange, subject);
        if !stays {
            if scratch.held() > SCRATCH_BYTES {
                *scratch = Arc::default();
            }
            refill(scratch, resolver, subject, aids);
        }
        if self.remembers {
            let beyond = exchange.filter(|exchange| exchange.may_concern(subject));
            let decisive = beyond.map_or(0, |e| e.decisive(subject)).max(decisive);
            let of = (bucket, generation);
            self.families.learn(account, subject, of, decisive, scratch);
        }
        scratch
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

impl Way {
    #[inline]
    fn is(&self, hash: u64, account: u32, subject: &[u8]) -> bool {
        self.hash == hash
            && self
                .entry
                .as_ref()
                .is_some_and(|e| e.account == account && *e.subject == *subject)
    }
}

impl Entry {
    /// An entry to be filled in.
    fn new(bucket: Bucket) -> Entry {
        Entry {
            account: 0,
            bucket,
            uses: 0,
            generation: 0,
            route: Arc::default(),
            subject: Vec::new(),
        }
    }
}

/// The low bits of a hash, as an index that is masked.
#[allow(clippy::cast_possible_truncation, reason = "only the low bits matter")]
fn low(hash: u64) -> usize {
    hash as usize
}

/// What is matched, and the names of queue groups where they are noted.
type Aids<'a> = (&'a mut Matches<Target>, Option<&'a mut Names>);

/// Finds the subscriptions that match.
fn find(account: &Account, subject: &[u8], (matches, named): &mut Aids<'_>) {
    match named {
        None => account.interest.matches(subject, matches),
        Some(names) => account.interest.matches_named(subject, matches, names),
    }
}

fn exchange<'a>((accounts, account): (&'a Accounts, &Account)) -> Option<&'a Exchange> {
    let tenant = accounts.tenant(account.number);
    tenant.map(|tenant| &tenant.exchange)
}

/// Makes a route of what was found, in its own memory if nobody else holds it.
fn refill(
    route: &mut Arc<Route>,
    resolver: (&Accounts, &Account),
    subject: &[u8],
    (matches, named): Aids<'_>,
) {
    if Arc::get_mut(route).is_none() {
        *route = Arc::default();
    }
    let own = Arc::get_mut(route).expect("a new route has one holder");
    match &named {
        None => own.refill(matches),
        Some(names) => own.refill_named(matches, names),
    }
    own.lead_beyond(Beyond::resolve(
        exchange(resolver),
        subject,
        (&mut *matches, named),
    ));
    if own.held() > SCRATCH_BYTES {
        *matches = Matches::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::interest::LoopId;
    use crate::base::rng::Rng;
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
        let entries = |c: &RouteCache| c.entries().count();
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
    fn subjects_that_lead_to_the_same_have_one_route() {
        let accounts = accounts();
        let account = &accounts.global().account;
        let interest = &account.interest;
        let mut cache = RouteCache::new(true);
        interest.insert(b"_INBOX.a.>", None, target(1)).unwrap();
        interest.insert(b"_INBOX.b.>", None, target(2)).unwrap();
        let mut route =
            |subject: String| cache.route(&accounts, account, subject.as_bytes()).clone();
        let (a, b) = (route("_INBOX.a.x".into()), route("_INBOX.b.x".into()));
        assert_eq!((a.plain_of(LoopId(0)), b.fan_out()), (&[target(1)][..], 1));
        for i in 0..100 {
            assert!(Arc::ptr_eq(&a, &route(format!("_INBOX.a.{i}"))));
            assert!(Arc::ptr_eq(&b, &route(format!("_INBOX.b.{i}"))));
        }
        // One more that listens makes another of it, for those that come then.
        interest
            .insert(b"_INBOX.a.*", Some(b"q"), target(3))
            .unwrap();
        let wider = route("_INBOX.a.100".into());
        assert_eq!((a.fan_out(), wider.fan_out()), (1, 2));
        assert_eq!(route("nobody".into()).fan_out(), 0);
    }

    #[test]
    fn whatever_comes_first_a_route_is_that_of_its_subject() {
        let accounts = accounts();
        let account = &accounts.global().account;
        let interest = &account.interest;
        let (mut cache, mut rng) = (RouteCache::new(true), Rng::new(5));
        let mut held = Vec::new();
        let mut matches = Matches::default();
        for slot in 0..20_000 {
            let mut subject = |tokens: &[&str]| {
                let len = 1 + rng.below(5);
                let all: Vec<&str> = (0..len).map(|_| tokens[rng.below(tokens.len())]).collect();
                all.join(".")
            };
            if slot % 200 == 0 {
                let tail = if slot % 3 == 0 { ".>" } else { "" };
                let pattern = subject(&["a", "b", "c", "*"]) + tail;
                let queue = (slot % 5 == 0).then_some(&b"q"[..]);
                let of = target(slot);
                held.push(interest.insert(pattern.as_bytes(), queue, of).unwrap());
                if held.len() > 12 {
                    interest.remove(held.swap_remove(0));
                }
            }
            let subject = subject(&["a", "b", "c", "d", "$JS", "API"]);
            let route = cache.route(&accounts, account, subject.as_bytes()).clone();
            interest.matches(subject.as_bytes(), &mut matches);
            let sorted = |targets: &[Target]| {
                let mut slots: Vec<u32> = targets.iter().map(|t| t.slot).collect();
                slots.sort_unstable();
                slots
            };
            let plain = sorted(route.plain_of(LoopId(0)));
            assert_eq!(plain, sorted(&matches.plain), "{subject}");
            let members: usize = (0..route.groups()).map(|g| route.group(g).len()).sum();
            assert_eq!(members, matches.queued.len(), "{subject}");
        }
        assert!(cache.hits > cache.misses && cache.misses > 100);
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
            let held: usize = cache.entries().map(|e| e.route.held()).sum();
            assert_eq!(held, cache.held);
            assert!(held < HELD_MAX + (1 << 20), "{held}");
        }
    }
}
