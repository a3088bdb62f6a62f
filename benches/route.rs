//! From a subject to its route: found in a loop's cache, found outdated there, and not found. An
//! item is a subject.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use nats_server::accounts::Accounts;
use nats_server::accounts::interest::{Interest, LoopId, Target};
use nats_server::options::Options;
use nats_server::routing::cache::RouteCache;

/// Subjects routed in a run.
const SUBJECTS: usize = 256;

/// More subjects than the cache or its doorkeeper remembers.
const MANY: usize = 1 << 17;

fn main() {
    divan::main();
}

fn target(slot: u32) -> Target {
    Target {
        owner: LoopId(0),
        slot,
        generation: 0,
    }
}

/// So many subscriptions, a third of them with wildcards.
fn accounts(subscriptions: usize) -> Accounts {
    let accounts = Accounts::new(&Options::default(), None, 0x5eed).expect("valid options");
    let interest = &accounts.global().account.interest;
    for i in 0..subscriptions {
        let subject = match i % 3 {
            0 => format!("orders.{i}.*"),
            1 => format!("orders.{i}.new"),
            _ => format!("stock.{i}"),
        };
        insert(interest, &subject, i);
    }
    insert(interest, "orders.*.new", subscriptions);
    insert(interest, "*.>", subscriptions + 1);
    accounts
}

fn insert(interest: &Interest, subject: &str, i: usize) {
    let target = target(u32::try_from(i).expect("there are not that many"));
    interest
        .insert(subject.as_bytes(), None, target)
        .expect("a valid subject");
}

fn subjects(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("orders.{i}.new")).collect()
}

fn route_all(cache: &mut RouteCache, accounts: &Accounts, subjects: &[String]) {
    let account = &accounts.global().account;
    for subject in subjects {
        let route = cache.route(accounts, account, black_box(subject).as_bytes());
        black_box(route.fan_out());
    }
}

const SUBSCRIPTIONS: [usize; 2] = [1000, 100_000];

#[divan::bench(args = SUBSCRIPTIONS)]
fn hit(bencher: Bencher, subscriptions: usize) {
    let (accounts, subjects) = (accounts(subscriptions), subjects(SUBJECTS));
    let mut cache = RouteCache::new(true);
    bencher
        .counter(ItemsCount::new(SUBJECTS))
        .bench_local(|| route_all(&mut cache, &accounts, &subjects));
}

/// A subscription with a wildcard at its front comes or goes between two messages.
#[divan::bench(args = SUBSCRIPTIONS)]
fn outdated(bencher: Bencher, subscriptions: usize) {
    let (accounts, subjects) = (accounts(subscriptions), subjects(SUBJECTS));
    let mut cache = RouteCache::new(true);
    let interest = &accounts.global().account.interest;
    let mut held = None;
    bencher.counter(ItemsCount::new(SUBJECTS)).bench_local(|| {
        match held.take() {
            Some(held) => interest.remove(held),
            None => held = interest.insert(b"*.changing", None, target(0)).ok(),
        }
        route_all(&mut cache, &accounts, &subjects);
    });
}

/// Subjects that come once, as reply inboxes do.
#[divan::bench(args = SUBSCRIPTIONS)]
fn miss(bencher: Bencher, subscriptions: usize) {
    let (accounts, subjects) = (accounts(subscriptions), subjects(MANY));
    let mut cache = RouteCache::new(true);
    let mut runs = subjects.chunks(SUBJECTS).cycle();
    bencher.counter(ItemsCount::new(SUBJECTS)).bench_local(|| {
        let run = runs.next().expect("it goes round for ever");
        route_all(&mut cache, &accounts, run);
    });
}
