//! What subscribers of this server begin and cease to listen to, in the order in which they do, on
//! its way to the loop that tells other servers.
//!
//! Changes are noted under the lock of the account's subscriptions, so their order is that in which
//! they took effect: what was noted before a message went to the other servers' loop is there when
//! that loop gets the message.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Changes that wait, of all accounts.
#[derive(Default)]
pub struct Journal {
    changes: Mutex<Changes>,
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Changes in order: a list of small records, and the bytes of their subjects and queues.
#[derive(Default)]
pub struct Changes {
    records: Vec<Record>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Record {
    account: u32,
    subject: u32,
    /// Bytes of the queue's name and one more; zero without a queue.
    queue: u32,
    began: bool,
}

/// One change.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Change<'a> {
    /// The number of the account.
    pub account: u32,
    pub subject: &'a [u8],
    pub queue: Option<&'a [u8]>,
    /// Whether a subscription came; otherwise one went.
    pub began: bool,
}

/// Notes the changes of one account.
pub(super) struct Writer {
    journal: Arc<Journal>,
    account: u32,
}

impl Journal {
    /// Sets what is called when a change comes and none waited. It must not wait for anything. Only
    /// the first call counts.
    pub fn set_bell(&self, bell: impl Fn() + Send + Sync + 'static) {
        let _ = self.bell.set(Box::new(bell));
    }

    /// Takes all changes that wait, in exchange for an empty list.
    pub fn take(&self, into: &mut Changes) {
        into.clear();
        std::mem::swap(&mut *self.lock(), into);
    }

    /// Whether no change waits.
    pub fn is_empty(&self) -> bool {
        self.lock().records.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().expect("no holder of this lock panics")
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

/// A list that grew beyond this many bytes is not kept for reuse.
const KEPT_BYTES: usize = 1 << 20;

impl Changes {
    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            *self = Changes::default();
        }
        self.records.clear();
        self.bytes.clear();
    }

    /// Calls `each` with every change, in order.
    pub fn for_each(&self, mut each: impl FnMut(Change<'_>)) {
        let mut rest = &self.bytes[..];
        for record in &self.records {
            let (subject, after) = rest.split_at(record.subject as usize);
            let queue_len = record.queue.saturating_sub(1) as usize;
            let (queue, after) = after.split_at(queue_len);
            rest = after;
            each(Change {
                account: record.account,
                subject,
                queue: (record.queue > 0).then_some(queue),
                began: record.began,
            });
        }
    }
}

impl Writer {
    pub(super) fn new(journal: &Arc<Journal>, account: u32) -> Writer {
        Writer {
            journal: journal.clone(),
            account,
        }
    }

    /// Notes that a subscription came (`began`) or went.
    pub(super) fn note(&self, subject: &[u8], queue: Option<&[u8]>, began: bool) {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("subjects are short");
        let mut changes = self.journal.lock();
        let first = changes.records.is_empty();
        changes.records.push(Record {
            account: self.account,
            subject: len(subject),
            queue: queue.map_or(0, |queue| len(queue) + 1),
            began,
        });
        changes.bytes.extend_from_slice(subject);
        changes.bytes.extend_from_slice(queue.unwrap_or_default());
        drop(changes);
        if first && let Some(bell) = self.journal.bell.get() {
            bell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::interest::{Interest, LoopId, Target};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn own_subscriptions_are_noted_in_order_and_those_of_others_are_not() {
        let journal = Arc::new(Journal::default());
        let rung = Arc::new(AtomicUsize::new(0));
        let count = rung.clone();
        journal.set_bell(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let interest = Interest::journaled(1, &journal, 7);
        let target = |owner| Target {
            owner,
            slot: 0,
            generation: 0,
        };
        let own = interest
            .insert(b"a.*", Some(b"q"), target(LoopId(0)))
            .unwrap();
        let other = interest
            .insert(b"b", None, target(LoopId::CLUSTER))
            .unwrap();
        assert!(interest.insert(b"a..b", None, target(LoopId(0))).is_err());
        interest.remove(other);
        interest.remove(own);
        interest.remove(own);
        let (mut changes, mut seen) = (Changes::default(), Vec::new());
        journal.take(&mut changes);
        changes.for_each(|c| {
            assert_eq!(
                (c.account, c.subject, c.queue),
                (7, &b"a.*"[..], Some(&b"q"[..]))
            );
            seen.push(c.began);
        });
        assert_eq!(seen, [true, false]);
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        assert!(journal.is_empty());
    }
}
