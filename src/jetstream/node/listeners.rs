//! The subjects that JetStream listens on.

use crate::accounts::Account;
use crate::accounts::interest::{Held, LoopId, Target};
use crate::jetstream::origin::link::Ear;
use slab::Slab;
use std::sync::Arc;

/// Who listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listener {
    /// Requests to the API.
    Api,
    /// Requests to read messages directly, of this account.
    Direct(u32),
    /// Requests for the next messages of this account's consumers, to begin anew, acknowledgements,
    /// and answers to flow control.
    Next(u32),
    Reset(u32),
    Ack(u32),
    Flow(u32),
    /// Messages for the stream in this slot.
    Stream(usize),
    /// What comes for a link of a stream.
    Link {
        at: usize,
        link: u32,
        ear: Ear,
    },
    /// Answers to the chunks of this backup, and chunks for this restore.
    Backup(usize),
    Restore(usize),
}

/// All listeners of a node.
pub(super) struct Listeners {
    me: LoopId,
    entries: Slab<Entry>,
    generation: u32,
}

struct Entry {
    listener: Listener,
    generation: u32,
    account: Arc<Account>,
    held: Held,
}

impl Listeners {
    pub(super) fn new(me: LoopId) -> Listeners {
        Listeners {
            me,
            entries: Slab::new(),
            generation: 0,
        }
    }

    /// Listens on a subject, which was checked, and gives the listener's slot.
    pub(super) fn listen(
        &mut self,
        account: &Arc<Account>,
        subject: &[u8],
        listener: Listener,
    ) -> Option<u32> {
        let entry = self.entries.vacant_entry();
        let slot = u32::try_from(entry.key()).ok()?;
        self.generation = self.generation.wrapping_add(1);
        let target = Target {
            owner: self.me,
            slot,
            generation: self.generation,
        };
        let held = account.interest.insert(subject, None, target).ok()?;
        entry.insert(Entry {
            listener,
            generation: self.generation,
            account: account.clone(),
            held,
        });
        Some(slot)
    }

    /// Listens no more.
    pub(super) fn leave(&mut self, slot: u32) {
        if let Some(entry) = self.entries.try_remove(slot as usize) {
            entry.account.interest.remove(entry.held);
        }
    }

    /// The listener that a message is for.
    #[inline]
    pub(super) fn get(&self, slot: u32, generation: u32) -> Option<Listener> {
        let entry = self.entries.get(slot as usize)?;
        (entry.generation == generation).then_some(entry.listener)
    }
}
