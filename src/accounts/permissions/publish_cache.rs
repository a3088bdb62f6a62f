//! What a connection was told about subjects that it published to.

use super::Permissions;
use crate::base::limits::{PUBLISH_CACHE, PUBLISH_CACHE_BYTES};
use hashbrown::HashTable;

/// The decisions about a connection's latest subjects, under one set of permissions. It is emptied
/// when it is full. Owns no memory until there is something to decide.
#[derive(Debug, Default)]
pub struct PublishCache {
    decisions: HashTable<Decision>,
    /// Bytes of all subjects together.
    bytes: usize,
}

#[derive(Debug)]
struct Decision {
    hash: u64,
    subject: Box<[u8]>,
    allowed: bool,
}

impl PublishCache {
    /// An empty cache.
    pub const fn new() -> PublishCache {
        PublishCache {
            decisions: HashTable::new(),
            bytes: 0,
        }
    }

    /// [`Permissions::may_publish`]. `hash` is that of `subject`, in a way that clients cannot
    /// foresee; `permissions` are the same each time, until [`PublishCache::clear`].
    #[inline]
    pub fn allowed(&mut self, permissions: &Permissions, hash: u64, subject: &[u8]) -> bool {
        if permissions.may_publish_all() {
            return true;
        }
        let is_it = |decision: &Decision| decision.hash == hash && *decision.subject == *subject;
        match self.decisions.find(hash, is_it) {
            Some(decision) => decision.allowed,
            None => self.decide(permissions, hash, subject),
        }
    }

    /// Forgets everything, as when permissions change.
    pub fn clear(&mut self) {
        self.decisions.clear();
        self.bytes = 0;
    }

    fn decide(&mut self, permissions: &Permissions, hash: u64, subject: &[u8]) -> bool {
        let allowed = permissions.may_publish(subject);
        if subject.len() > PUBLISH_CACHE_BYTES {
            return allowed;
        }
        let bytes = self.bytes + subject.len();
        if self.decisions.len() >= PUBLISH_CACHE || bytes > PUBLISH_CACHE_BYTES {
            self.clear();
        }
        self.bytes += subject.len();
        let decision = Decision {
            hash,
            subject: subject.into(),
            allowed,
        };
        self.decisions
            .insert_unique(hash, decision, |other| other.hash);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::security::{Permissions as Configured, Rules};

    fn permissions() -> Permissions {
        let rules = Rules {
            allow: Some(vec!["a.*".to_owned()]),
            deny: vec!["a.x".to_owned()],
        };
        Permissions::new(&Configured {
            publish: rules,
            ..Configured::default()
        })
        .unwrap()
    }

    #[test]
    fn decisions_are_kept_by_subject_even_if_hashes_are_equal() {
        let (permissions, mut cache) = (permissions(), PublishCache::new());
        for _ in 0..2 {
            assert!(cache.allowed(&permissions, 1, b"a.b"));
            assert!(!cache.allowed(&permissions, 1, b"a.x"));
            assert!(!cache.allowed(&permissions, 2, b"b"));
        }
        assert_eq!((cache.decisions.len(), cache.bytes), (3, 7));
    }

    #[test]
    fn a_cleared_cache_asks_again() {
        let mut cache = PublishCache::new();
        assert!(!cache.allowed(&permissions(), 1, b"b"));
        let nothing_denied = Configured {
            publish: Rules {
                allow: None,
                deny: vec!["c".to_owned()],
            },
            ..Configured::default()
        };
        let others = Permissions::new(&nothing_denied).unwrap();
        assert!(!cache.allowed(&others, 1, b"b"), "it is still known");
        cache.clear();
        assert!(cache.allowed(&others, 1, b"b"));
    }

    #[test]
    fn it_stays_small_whatever_is_published() {
        let (permissions, mut cache) = (permissions(), PublishCache::new());
        for n in 0..5000u64 {
            let subject = format!("a.{n}");
            assert!(cache.allowed(&permissions, n, subject.as_bytes()));
            assert!(cache.decisions.len() <= PUBLISH_CACHE);
        }
        for n in 0..100u64 {
            let subject = format!("b.{}", "x".repeat(1000 * usize::try_from(n).unwrap()));
            assert!(!cache.allowed(&permissions, n, subject.as_bytes()));
            let bytes: usize = cache.decisions.iter().map(|d| d.subject.len()).sum();
            assert_eq!(bytes, cache.bytes);
            assert!(bytes <= PUBLISH_CACHE_BYTES);
        }
    }

    #[test]
    fn where_all_is_allowed_nothing_is_kept() {
        let all = Permissions::new(&Configured::default()).unwrap();
        let mut cache = PublishCache::new();
        assert!(cache.allowed(&all, 1, b"a"));
        assert!(cache.decisions.is_empty());
    }
}
