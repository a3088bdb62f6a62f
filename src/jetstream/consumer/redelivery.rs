//! Messages that are to be delivered again.
//!
//! A message whose time has come, or that a client refused, stands in a queue, in the order in
//! which that happened. In the state, its deadline is [`QUEUED`] then: so it is not found to be due
//! again, the queue is made anew after a restart, and what has left the queue for another reason
//! is seen by its having another deadline.

use std::collections::VecDeque;

use crate::store::consumer::{ConsumerState, Millis, PendingMessage};
use crate::store::index::StreamSeq;

/// The deadline of messages that stand in the queue.
pub(super) const QUEUED: Millis = Millis::MAX;

/// The deadline of messages that are not delivered again by themselves.
pub(super) const NEVER: Millis = Millis::new(Millis::MAX.get() - 1);

/// Entries from which on the queue is rid of what has left it.
const STALE_MIN: usize = 64;

#[derive(Debug)]
pub(super) struct Redelivery {
    /// Messages in the order in which they are delivered again; those that have another deadline
    /// by now do not count.
    queue: VecDeque<StreamSeq>,
    /// No message is due before.
    at: Millis,
}

impl Redelivery {
    /// What there is after a restart, or for a new consumer.
    pub(super) fn restore(state: &ConsumerState) -> Redelivery {
        let queued = state.pending().iter().filter(|m| m.deadline == QUEUED);
        Redelivery {
            queue: queued.map(|message| message.stream).collect(),
            at: state.pending().next_deadline().unwrap_or(QUEUED),
        }
    }

    /// Whether nothing is to be delivered again, for sure.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The first message to be delivered again.
    pub(super) fn front(&mut self, state: &ConsumerState) -> Option<PendingMessage> {
        while let Some(first) = self.queue.front() {
            if let Some(message) = queued(state, *first) {
                return Some(message);
            }
            self.queue.pop_front();
        }
        None
    }

    /// Adds a message whose deadline was made [`QUEUED`].
    pub(super) fn push(&mut self, sequence: StreamSeq, state: &ConsumerState) {
        if self.queue.len() >= STALE_MIN && self.queue.len() >= 2 * state.pending().len() {
            self.queue.retain(|s| queued(state, *s).is_some());
        }
        self.queue.push_back(sequence);
    }

    /// Takes out the first message.
    pub(super) fn pop(&mut self) {
        self.queue.pop_front();
    }

    /// How many messages there are to be delivered again.
    pub(super) fn len(&mut self, state: &ConsumerState) -> usize {
        self.queue.retain(|s| queued(state, *s).is_some());
        self.queue.len()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.at = QUEUED;
    }

    /// When to look for messages that are due; [`QUEUED`] for never.
    pub(super) fn at(&self) -> Millis {
        self.at
    }

    /// Takes note that some message is due at a time.
    pub(super) fn expect(&mut self, deadline: Millis) {
        self.at = self.at.min(deadline);
    }

    /// Takes note that messages were looked for: none is due before that now.
    pub(super) fn set_at(&mut self, at: Option<Millis>) {
        self.at = at.filter(|at| *at < NEVER).unwrap_or(QUEUED);
    }

    /// Bytes of memory that are owned.
    pub(super) fn memory_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<StreamSeq>()
    }
}

fn queued(state: &ConsumerState, sequence: StreamSeq) -> Option<PendingMessage> {
    let message = state.pending().get(sequence)?;
    (message.deadline == QUEUED).then_some(message)
}
