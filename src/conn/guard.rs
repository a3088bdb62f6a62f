//! What a connection may do, and what it remembers so that this costs little: a connection whose
//! user may do everything owns nothing here.

use crate::accounts::permissions::{Permissions, PublishCache, ReplyGrants};
use crate::base::clock::Mono;
use std::collections::HashMap;
use std::sync::Arc;

/// The permissions of a connection's user, and what they have led to so far.
pub struct Guard {
    permissions: Arc<Permissions>,
    cache: PublishCache,
    replies: ReplyGrants,
    /// The subscriptions, by slot, whose every delivery is checked and which are in a queue group.
    queues: HashMap<u32, Box<[u8]>>,
}

/// What a connection may do with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publishing {
    Allowed,
    /// It is an answer to a request that came to the connection; one use of that was counted.
    AsReply,
    Denied,
}

impl Guard {
    /// `seed` is random and secret, as others choose what is hashed with it.
    pub fn new(permissions: Arc<Permissions>, seed: u64) -> Guard {
        Guard {
            permissions,
            cache: PublishCache::default(),
            replies: ReplyGrants::new(seed),
            queues: HashMap::new(),
        }
    }

    /// Goes on with other permissions; leave that was given to answer requests stays, if answers
    /// are still allowed.
    pub fn renew(&mut self, permissions: Arc<Permissions>, seed: u64) {
        if permissions.responses().is_none() {
            self.replies = ReplyGrants::new(seed);
        }
        self.permissions = permissions;
        self.cache = PublishCache::default();
    }

    /// Whether the connection may publish on a subject, whose `hash` is any that only the same
    /// subject is likely to have.
    #[inline]
    pub fn publishing(&mut self, hash: u64, subject: &[u8], now: Mono) -> Publishing {
        if self.cache.allowed(&self.permissions, hash, subject) {
            return Publishing::Allowed;
        }
        if self.permissions.responses().is_some() && self.replies.take(subject, now) {
            return Publishing::AsReply;
        }
        Publishing::Denied
    }

    /// Whether the connection may publish on a subject at any time; leave to answer does not count.
    pub fn may_publish(&mut self, hash: u64, subject: &[u8]) -> bool {
        self.cache.allowed(&self.permissions, hash, subject)
    }

    /// Whether the connection may subscribe.
    pub fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.permissions.may_subscribe(subject, queue)
    }

    /// Notes a subscription; says whether each of its deliveries is to go through
    /// [`Guard::receives`].
    pub fn watch(&mut self, slot: u32, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let filters = self.permissions.filters(subject, queue);
        match queue.filter(|_| filters) {
            Some(queue) => drop(self.queues.insert(slot, queue.into())),
            None => drop(self.queues.remove(&slot)),
        }
        filters || self.permissions.responses().is_some()
    }

    /// Forgets a subscription.
    pub fn unwatch(&mut self, slot: u32) {
        self.queues.remove(&slot);
    }

    /// Whether a message may be delivered to a subscription. If it is a request that the
    /// connection may answer, it gets leave to do so.
    pub fn receives(
        &mut self,
        slot: u32,
        subject: &[u8],
        reply: Option<(&[u8], u64)>,
        now: Mono,
    ) -> bool {
        let queue = self.queues.get(&slot).map(|queue| &**queue);
        if !self.permissions.may_receive(subject, queue) {
            return false;
        }
        if let (Some((reply, hash)), Some(responses)) = (reply, self.permissions.responses())
            && !self.cache.allowed(&self.permissions, hash, reply)
        {
            self.replies.grant(reply, now, responses);
        }
        true
    }
}
