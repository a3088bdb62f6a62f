//! What the stream's store must be, as simple as can be: messages in a map, and no files.

use std::collections::BTreeMap;

use super::consumer_model::Recorded;
use crate::store::index::Filters;
use crate::store::stream::{Limits, Purge, StreamState, TTL_NEVER};

pub(super) const SECOND: u64 = 1_000_000_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) time: u64,
    pub(super) ttl_s: u32,
}

impl Message {
    pub(super) fn bytes(&self) -> u64 {
        StreamState::message_bytes(self.subject.len(), self.headers.len(), self.payload.len())
    }
}

/// Messages that a new one removes at once, at most.
const EVICT_AT_ONCE: usize = 16;

/// What the store must be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Model {
    pub(super) messages: BTreeMap<u64, Message>,
    /// The first sequence that may be a message.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) limits: Limits,
    pub(super) deferring: bool,
    pub(super) consumers: Recorded,
}

impl Model {
    pub(super) fn add(&mut self, message: Message) {
        self.last += 1;
        let subject = message.subject.clone();
        self.messages.insert(self.last, message);
        if !self.deferring {
            self.trim_subject(&subject);
            // More than these go in parts.
            self.trim(EVICT_AT_ONCE);
            self.deferring = self.is_over();
        }
    }

    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.deferring) {
            self.trim_subjects();
            self.trim(usize::MAX);
        }
    }

    pub(super) fn trim_subjects(&mut self) {
        for subject in self.subjects() {
            self.trim_subject(&subject);
        }
    }

    fn trim_subject(&mut self, subject: &str) {
        let limit = self.limits.per_subject;
        let on: Vec<u64> = self.on(|s| s == subject);
        if limit > 0 && on.len() as u64 > limit {
            let many = on.len() - usize::try_from(limit).unwrap();
            on[..many]
                .iter()
                .for_each(|s| drop(self.messages.remove(s)));
        }
    }

    fn trim(&mut self, most: usize) {
        for _ in 0..most {
            if !self.is_over() {
                break;
            }
            self.messages.pop_first();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let over = |limit: u64, is: u64| limit > 0 && is > limit;
        over(self.limits.messages, self.messages.len() as u64)
            || !self.messages.is_empty() && over(self.limits.bytes, self.bytes())
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.settle();
        self.limits = limits;
        self.deferring = !self.messages.is_empty();
    }

    pub(super) fn subjects(&self) -> Vec<String> {
        let mut subjects: Vec<String> = self.messages.values().map(|m| m.subject.clone()).collect();
        subjects.sort();
        subjects.dedup();
        subjects
    }

    pub(super) fn on(&self, wants: impl Fn(&str) -> bool) -> Vec<u64> {
        let wanted = self.messages.iter().filter(|(_, m)| wants(&m.subject));
        wanted.map(|(s, _)| *s).collect()
    }

    pub(super) fn purge(&mut self, purge: &Purge) {
        self.settle();
        self.deferring = !(purge.filter.is_empty() && purge.keep == 0 && purge.upto.0 >= self.last);
        let mut gone = match purge.filter.is_empty() {
            true => self.on(|_| true),
            false => {
                let filters = Filters::new([&purge.filter[..]]).unwrap();
                self.on(|s| filters.matches(s.as_bytes()))
            }
        };
        gone.retain(|s| *s <= purge.upto.0);
        let many = gone
            .len()
            .saturating_sub(usize::try_from(purge.keep).unwrap());
        gone[..many]
            .iter()
            .for_each(|s| drop(self.messages.remove(s)));
    }

    /// Removes what has expired, which must be all that was due a while ago, and nothing that is not.
    pub(super) fn expire(&mut self, now: u64, gone: &[u64]) {
        let age = u64::try_from(self.limits.age.as_nanos()).unwrap();
        let is_due = |m: &Message, now: u64| {
            let ttl = u64::from(m.ttl_s) * SECOND;
            m.ttl_s != TTL_NEVER
                && (ttl > 0 && m.time + ttl <= now || age > 0 && m.time + age <= now)
        };
        for (sequence, message) in &self.messages {
            let is_gone = gone.contains(sequence);
            assert!(!is_gone || is_due(message, now), "{sequence} went early");
            assert!(
                is_gone || !is_due(message, now - SECOND / 2),
                "{sequence} is late: {} ttl {} now {now} limits {:?}",
                message.time,
                message.ttl_s,
                self.limits
            );
        }
        assert!(gone.iter().all(|s| self.messages.remove(s).is_some()));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.messages.values().map(Message::bytes).sum()
    }

    pub(super) fn summary(&self) -> (u64, u64, u64, u64, u64) {
        let first = self
            .messages
            .keys()
            .next()
            .copied()
            .unwrap_or(self.last + 1);
        let subjects = self.subjects().len() as u64;
        (
            self.messages.len() as u64,
            self.bytes(),
            first,
            self.last,
            subjects,
        )
    }
}
