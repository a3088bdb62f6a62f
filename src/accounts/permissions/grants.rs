//! Requests that a connection was sent and may still answer.

use crate::base::clock::Mono;
use crate::base::hash::HashSeed;
use crate::base::limits::{REPLY_GRANT_BYTES, REPLY_GRANTS};
use crate::options::security::Responses;
use hashbrown::HashTable;

/// The reply subjects that a connection may publish to although its permissions say nothing of
/// them. The oldest are dropped when there are too many.
///
/// Grants are in a list from the oldest to the newest, and found by their subjects.
#[derive(Debug)]
pub struct ReplyGrants {
    grants: Vec<Grant>,
    /// Places in `grants` of what is granted.
    by_subject: HashTable<u32>,
    hashes: HashSeed,
    oldest: Option<u32>,
    newest: Option<u32>,
    /// The first of the places that are free; they are linked by `newer`.
    free: Option<u32>,
    /// Bytes of all subjects together.
    bytes: usize,
}

#[derive(Debug)]
struct Grant {
    subject: Box<[u8]>,
    hash: u64,
    /// Answers that may still be given; `None`: any number.
    left: Option<u32>,
    expires: Option<Mono>,
    older: Option<u32>,
    newer: Option<u32>,
}

impl ReplyGrants {
    /// No grants. Others choose the subjects, so `seed` must be random and stay secret.
    pub fn new(seed: u64) -> ReplyGrants {
        ReplyGrants {
            grants: Vec::new(),
            by_subject: HashTable::new(),
            hashes: HashSeed::new(seed),
            oldest: None,
            newest: None,
            free: None,
            bytes: 0,
        }
    }

    /// Allows answers to `reply`, a subject that came with a request which is delivered `now`. If
    /// there is a grant for it, it starts anew.
    pub fn grant(&mut self, reply: &[u8], now: Mono, responses: Responses) {
        let hash = self.hashes.hash(reply);
        if let Some(place) = self.find(hash, reply) {
            self.remove(place);
        }
        while let Some(oldest) = self.oldest.filter(|oldest| self.is_expired(*oldest, now)) {
            self.remove(oldest);
        }
        if responses.max == Some(0) || reply.len() > REPLY_GRANT_BYTES {
            return;
        }
        let is_full = |grants: &ReplyGrants| {
            grants.len() >= REPLY_GRANTS || grants.bytes + reply.len() > REPLY_GRANT_BYTES
        };
        while let Some(oldest) = self.oldest.filter(|_| is_full(self)) {
            self.remove(oldest);
        }
        self.insert(Grant {
            subject: reply.into(),
            hash,
            left: responses.max,
            expires: responses.expires.map(|time| now + time),
            older: self.newest,
            newer: None,
        });
    }

    /// Whether a message may be published to `reply` as an answer `now`; if so, it counts as one.
    pub fn take(&mut self, reply: &[u8], now: Mono) -> bool {
        if self.by_subject.is_empty() {
            return false;
        }
        let hash = self.hashes.hash(reply);
        let Some(place) = self.find(hash, reply) else {
            return false;
        };
        if self.is_expired(place, now) {
            self.remove(place);
            return false;
        }
        match &mut self.grants[place as usize].left {
            None => {}
            Some(left) if *left > 1 => *left -= 1,
            Some(_) => self.remove(place),
        }
        true
    }

    /// How many grants are kept, expired ones among them.
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }

    fn find(&self, hash: u64, reply: &[u8]) -> Option<u32> {
        let is_it = |place: &u32| *self.grants[*place as usize].subject == *reply;
        self.by_subject.find(hash, is_it).copied()
    }

    fn is_expired(&self, place: u32, now: Mono) -> bool {
        let expires = self.grants[place as usize].expires;
        expires.is_some_and(|expires| now > expires)
    }

    fn insert(&mut self, grant: Grant) {
        let hash = grant.hash;
        self.bytes += grant.subject.len();
        let place = match self.free {
            Some(place) => {
                self.free = self.grants[place as usize].newer;
                self.grants[place as usize] = grant;
                place
            }
            None => {
                self.grants.push(grant);
                u32::try_from(self.grants.len() - 1).expect("grants are bounded")
            }
        };
        match self.newest {
            Some(newest) => self.grants[newest as usize].newer = Some(place),
            None => self.oldest = Some(place),
        }
        self.newest = Some(place);
        let grants = &self.grants;
        let hash_of = |place: &u32| grants[*place as usize].hash;
        self.by_subject.insert_unique(hash, place, hash_of);
    }

    fn remove(&mut self, place: u32) {
        let grant = &mut self.grants[place as usize];
        let (older, newer, hash) = (grant.older, grant.newer, grant.hash);
        self.bytes -= grant.subject.len();
        grant.subject = Box::default();
        grant.newer = self.free;
        self.free = Some(place);
        match older {
            Some(older) => self.grants[older as usize].newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.grants[newer as usize].older = older,
            None => self.newest = older,
        }
        if let Ok(entry) = self.by_subject.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        if self.by_subject.is_empty() && self.grants.len() > KEPT_WHEN_EMPTY {
            self.grants = Vec::new();
            self.by_subject = HashTable::new();
            self.free = None;
        }
    }
}

/// Places kept for the next grants when there are none.
const KEPT_WHEN_EMPTY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::security::RESPONSES;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    fn answers(max: Option<u32>, seconds: Option<u64>) -> Responses {
        Responses {
            max,
            expires: seconds.map(Duration::from_secs),
        }
    }

    #[test]
    fn each_answer_counts() {
        let mut grants = ReplyGrants::new(1);
        grants.grant(b"r", at(0), answers(Some(2), None));
        assert!(!grants.take(b"s", at(0)));
        assert!(grants.take(b"r", at(0)));
        assert!(grants.take(b"r", at(9_000_000)));
        assert!(!grants.take(b"r", at(9_000_000)));
        assert!(grants.is_empty());
    }

    #[test]
    fn there_may_be_no_limit() {
        let mut grants = ReplyGrants::new(1);
        grants.grant(b"r", at(0), answers(None, None));
        assert!((0..1000).all(|n| grants.take(b"r", at(n * 1_000_000))));
        grants.grant(b"none", at(0), answers(Some(0), None));
        assert!(!grants.take(b"none", at(0)));
    }

    #[test]
    fn grants_expire_after_their_time() {
        let mut grants = ReplyGrants::new(1);
        grants.grant(b"r", at(0), RESPONSES);
        assert!(!grants.take(b"r", at(121)));
        grants.grant(b"r", at(200), RESPONSES);
        assert!(grants.take(b"r", at(320)));
        assert!(!grants.take(b"r", at(320)));
    }

    #[test]
    fn another_request_starts_anew() {
        let mut grants = ReplyGrants::new(1);
        grants.grant(b"r", at(0), RESPONSES);
        grants.grant(b"r", at(100), RESPONSES);
        assert_eq!(grants.len(), 1);
        assert!(grants.take(b"r", at(200)));
        assert!(!grants.take(b"r", at(200)));
    }

    #[test]
    fn expired_grants_go_when_others_come() {
        let mut grants = ReplyGrants::new(1);
        for n in 0..1000u64 {
            grants.grant(
                format!("r.{n}").as_bytes(),
                at(n),
                answers(Some(1), Some(9)),
            );
            assert!(grants.len() <= 10);
        }
        assert!(grants.grants.len() <= 10);
    }

    #[test]
    fn the_oldest_are_dropped_when_there_are_too_many() {
        let mut grants = ReplyGrants::new(1);
        let name = |n: usize| format!("_INBOX.{n}");
        for n in 0..REPLY_GRANTS + 100 {
            grants.grant(name(n).as_bytes(), at(0), answers(Some(1), None));
        }
        assert_eq!(grants.len(), REPLY_GRANTS);
        assert!(!grants.take(name(99).as_bytes(), at(0)));
        assert!((100..REPLY_GRANTS + 100).all(|n| grants.take(name(n).as_bytes(), at(0))));
        assert!(grants.is_empty() && grants.grants.is_empty() && grants.bytes == 0);
    }

    #[test]
    fn long_subjects_are_bounded_together() {
        let mut grants = ReplyGrants::new(1);
        for n in 0..100u64 {
            let reply = format!("{n}.{}", "x".repeat(REPLY_GRANT_BYTES / 10));
            grants.grant(reply.as_bytes(), at(0), answers(None, None));
            assert!(grants.bytes <= REPLY_GRANT_BYTES);
            assert!(grants.take(reply.as_bytes(), at(0)));
        }
        assert_eq!(grants.len(), 9);
        grants.grant(&vec![b'x'; REPLY_GRANT_BYTES + 1], at(0), RESPONSES);
        assert_eq!(grants.len(), 9);
    }

    proptest! {
        #[test]
        fn behaves_like_a_list(
            steps in prop::collection::vec(
                (any::<bool>(), 0u8..6, 0u64..4, prop::option::of(1u32..4), prop::option::of(1u64..6)),
                0..200,
            ),
        ) {
            let mut grants = ReplyGrants::new(7);
            let mut model: Vec<(u8, Option<u32>, Option<u64>)> = Vec::new();
            let mut now = 0;
            for (is_grant, reply, passed, max, expires) in steps {
                now += passed;
                let place = model.iter().position(|grant| grant.0 == reply);
                if is_grant {
                    grants.grant(&[reply], at(now), answers(max, expires));
                    place.map(|place| model.remove(place));
                    model.push((reply, max, expires.map(|expires| now + expires)));
                } else {
                    let expected = place.is_some_and(|place| {
                        let (_, left, expires) = &mut model[place];
                        let alive = expires.is_none_or(|expires| now <= expires) && *left != Some(0);
                        *left = left.map(|left| left.saturating_sub(1));
                        alive
                    });
                    prop_assert_eq!(grants.take(&[reply], at(now)), expected);
                }
                let kept: usize = grants.by_subject.iter()
                    .map(|place| grants.grants[*place as usize].subject.len())
                    .sum();
                prop_assert_eq!(kept, grants.bytes);
                prop_assert!(grants.grants.len() <= 6);
            }
        }
    }
}
