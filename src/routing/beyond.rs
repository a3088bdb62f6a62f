//! Where messages on a subject go in other accounts.
//!
//! A stream that is imported leads to whoever listens in the importing account: the publisher's
//! route holds that account's route. It leads no further, as in the reference: who imports a stream
//! does not export it. A service leads to whatever the exporting account does with a request, which
//! is found out when there is one.

use super::cache::Names;
use super::route::Route;
use crate::accounts::exchange::{Exchange, ServiceImport, StreamShare};
use crate::accounts::interest::{Bucket, Target};
use crate::accounts::replies;
use crate::subject::Matches;
use std::sync::Arc;

/// What a message on one subject goes to in other accounts.
#[derive(Default)]
pub struct Beyond {
    pub branches: Vec<Branch>,
    pub calls: Vec<Call>,
    /// Whether it may be the answer to a request of another account.
    pub answers: bool,
}

impl Beyond {
    /// Whether anybody may get the message.
    pub fn is_heard(&self) -> bool {
        self.answers
            || !self.calls.is_empty()
            || self.branches.iter().any(|branch| !branch.route.is_empty())
    }
}

/// The route in an account that imports the message.
pub struct Branch {
    /// The subject there.
    pub subject: Box<[u8]>,
    pub route: Arc<Route>,
    pub share: Arc<StreamShare>,
    bucket: Bucket,
    generation: u64,
}

/// A request that the message is to another account's service.
pub struct Call {
    pub import: Arc<ServiceImport>,
    /// The subject there.
    pub subject: Box<[u8]>,
}

impl std::fmt::Debug for Beyond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (branches, calls) = (self.branches.len(), self.calls.len());
        write!(f, "Beyond {{ {branches} branches, {calls} calls }}")
    }
}

impl Beyond {
    /// Whether a subject may lead somewhere.
    pub(super) fn concerns(exchange: Option<&Exchange>, subject: &[u8]) -> bool {
        replies::is_reply(subject) || exchange.is_some_and(|e| e.may_concern(subject))
    }

    /// Where a subject leads; none if nowhere.
    pub(super) fn resolve(
        exchange: Option<&Exchange>,
        subject: &[u8],
        (matches, mut named): (&mut Matches<Target>, Option<&mut Names>),
    ) -> Option<Box<Beyond>> {
        let answers = replies::is_reply(subject);
        let exchange = exchange.filter(|exchange| exchange.may_concern(subject));
        if exchange.is_none() && !answers {
            return None;
        }
        let mut beyond = Beyond {
            answers,
            ..Beyond::default()
        };
        let mut there = Vec::new();
        for share in exchange.iter().flat_map(|e| e.streams(subject)) {
            there.clear();
            share.mapper.apply(subject, &mut there);
            let aids = (&mut *matches, named.as_deref_mut());
            beyond.branches.push(Branch::new(share, &there, aids));
        }
        for import in exchange.iter().flat_map(|e| e.services(subject)) {
            there.clear();
            import.mapper.apply(subject, &mut there);
            beyond.calls.push(Call {
                import: import.clone(),
                subject: there.as_slice().into(),
            });
        }
        let nowhere = !answers && beyond.branches.is_empty() && beyond.calls.is_empty();
        (!nowhere).then(|| Box::new(beyond))
    }

    /// Whether subscriptions have changed since this was resolved.
    pub(super) fn is_outdated(&self) -> bool {
        let now = |b: &Branch| b.share.importer.interest.generation(b.bucket);
        self.branches.iter().any(|b| b.generation != now(b))
    }

    /// Bytes of memory that it holds, about.
    pub(super) fn held(&self) -> usize {
        let branch = |b: &Branch| size_of::<Branch>() + b.subject.len() + b.route.held();
        let call = |c: &Call| size_of::<Call>() + c.subject.len();
        let branches: usize = self.branches.iter().map(branch).sum();
        branches + self.calls.iter().map(call).sum::<usize>()
    }
}

impl Branch {
    fn new(
        share: &Arc<StreamShare>,
        subject: &[u8],
        (matches, named): (&mut Matches<Target>, Option<&mut Names>),
    ) -> Branch {
        let interest = &share.importer.interest;
        let bucket = interest.bucket(subject);
        let generation = interest.generation(bucket);
        let mut route = Route::default();
        // Other servers are told that the exporting account has this interest.
        match named {
            None => {
                interest.matches(subject, matches);
                route.refill_near(matches);
            }
            Some(names) => {
                interest.matches_named(subject, matches, names);
                route.refill_named(matches, names);
            }
        }
        Branch {
            subject: subject.into(),
            route: Arc::new(route),
            share: share.clone(),
            bucket,
            generation,
        }
    }
}
