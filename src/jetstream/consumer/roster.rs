//! All consumers of a stream, and which of them have something to do.
//!
//! A turn costs as much as there are consumers with something to do, not as many as there are.
//! Those that wait for any message are on a list, which is empty once they have been woken; those
//! that want only some are found by the message's subject; timers are in a heap, in which a
//! consumer has one entry that is current and few that are not.
//!
//! ```text
//! note_visible ──┐
//! wake ──────────┼──> ready ──> next_ready ──> Consumer::serve ──> settle
//! fire_timers ───┘                                                   │
//!        ^──────────────── timers, those that wait ──────────────────┘
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Consumer, Served};
use crate::store::index::{StreamSeq, Timestamp};
use crate::subject::{Matches, SubId, Sublist};

/// The place of a consumer, used again for another one when it is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u32);

impl Slot {
    /// The first and the last place there can be.
    pub const MIN: Slot = Slot(0);
    pub const MAX: Slot = Slot(u32::MAX);
}

struct Entry<T> {
    consumer: Consumer,
    /// What its owner keeps with it.
    tag: T,
    /// Its filters among those of all consumers; none if it wants everything.
    filters: Vec<SubId>,
    /// The last message that it was told of, so that two filters do not count one twice.
    noted: StreamSeq,
    is_ready: bool,
    /// Whether it is on the list of those that wait for any message.
    is_hungry: bool,
    wants_all: bool,
    /// When its timer fires; entries of the heap with other times do not count.
    timer: Option<Timestamp>,
}

/// All consumers of a stream.
pub struct Roster<T> {
    entries: Vec<Option<Entry<T>>>,
    free: Vec<Slot>,
    len: usize,
    by_filter: Sublist<Slot>,
    /// Consumers that want everything.
    takers: usize,
    matches: Matches<Slot>,
    hungry: Vec<Slot>,
    ready: VecDeque<Slot>,
    timers: BinaryHeap<Reverse<(Timestamp, Slot)>>,
}

impl<T> Roster<T> {
    /// No consumers. `seed` is to be random, as clients choose the subjects that are hashed.
    pub fn new(seed: u64) -> Roster<T> {
        Roster {
            entries: vec![],
            free: vec![],
            len: 0,
            by_filter: Sublist::new(seed),
            takers: 0,
            matches: Matches::new(),
            hungry: vec![],
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
        }
    }

    /// Adds a consumer, which is ready. `filters` are those of its settings.
    pub fn insert<'f>(
        &mut self,
        consumer: Consumer,
        filters: impl IntoIterator<Item = &'f [u8]>,
        tag: T,
    ) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Slot(u32::try_from(self.entries.len() - 1).expect("there are fewer consumers"))
        });
        let entry = Entry {
            consumer,
            tag,
            filters: vec![],
            noted: StreamSeq(0),
            is_ready: false,
            is_hungry: false,
            wants_all: false,
            timer: None,
        };
        self.entries[slot.0 as usize] = Some(entry);
        self.len += 1;
        self.set_filters(slot, filters);
        self.wake(slot);
        slot
    }

    /// Takes out a consumer.
    pub fn remove(&mut self, slot: Slot) -> Option<(Consumer, T)> {
        let entry = self.entries.get_mut(slot.0 as usize)?.take()?;
        for id in entry.filters {
            self.by_filter.remove(id);
        }
        self.len -= 1;
        self.takers -= usize::from(entry.wants_all);
        // Lists may still name the slot: whoever has it next is given a turn too many at worst.
        self.free.push(slot);
        Some((entry.consumer, entry.tag))
    }

    /// Finds consumers by other subjects than before, as their settings have changed.
    pub fn set_filters<'f>(&mut self, slot: Slot, filters: impl IntoIterator<Item = &'f [u8]>) {
        let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize) else {
            return;
        };
        for id in entry.filters.drain(..) {
            self.by_filter.remove(id);
        }
        let wants_all = entry.consumer.settings().wants_all();
        self.takers -= usize::from(entry.wants_all);
        self.takers += usize::from(wants_all);
        entry.wants_all = wants_all;
        if !wants_all {
            // Those that are no subjects match none.
            let ids = filters.into_iter();
            let ids = ids.filter_map(|filter| self.by_filter.insert(filter, None, slot).ok());
            entry.filters = ids.collect();
        }
    }

    /// A consumer.
    pub fn get(&mut self, slot: Slot) -> Option<(&mut Consumer, &mut T)> {
        let entry = self.entries.get_mut(slot.0 as usize)?.as_mut()?;
        Some((&mut entry.consumer, &mut entry.tag))
    }

    /// A consumer, to be looked at.
    pub fn peek(&self, slot: Slot) -> Option<(&Consumer, &T)> {
        let entry = self.entries.get(slot.0 as usize)?.as_ref()?;
        Some((&entry.consumer, &entry.tag))
    }

    /// All consumers, in a ring that begins with this one.
    pub fn ring(&self, from: Slot) -> impl Iterator<Item = (Slot, &Consumer, &T)> {
        let from = (from.0 as usize).min(self.entries.len());
        let (front, back) = self.entries.split_at(from);
        let numbered = (from..).zip(back).chain((0..).zip(front));
        numbered.filter_map(|(i, entry)| {
            let entry = entry.as_ref()?;
            let slot = Slot(u32::try_from(i).ok()?);
            Some((slot, &entry.consumer, &entry.tag))
        })
    }

    /// All consumers.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Consumer, &T)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(i, entry)| {
            let entry = entry.as_ref()?;
            let slot = Slot(u32::try_from(i).ok()?);
            Some((slot, &entry.consumer, &entry.tag))
        })
    }

    /// How many consumers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether [`Roster::note_visible`] needs to know of each message. If not, the last of many
    /// will do, with any subject.
    pub fn wants_each(&self) -> bool {
        !self.by_filter.is_empty()
    }

    /// Whether some consumer wants messages on a subject.
    pub fn is_wanted(&mut self, subject: &[u8]) -> bool {
        if self.takers > 0 || self.by_filter.is_empty() {
            return self.takers > 0;
        }
        self.matches.clear();
        self.by_filter.matches(subject, &mut self.matches);
        !self.matches.plain.is_empty()
    }

    /// Takes note of a message that is visible now.
    pub fn note_visible(&mut self, sequence: StreamSeq, subject: &[u8]) {
        for slot in std::mem::take(&mut self.hungry) {
            if let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize)
                && entry.is_hungry
            {
                entry.is_hungry = false;
                self.wake(slot);
            }
        }
        if self.by_filter.is_empty() {
            return;
        }
        self.matches.clear();
        self.by_filter.matches(subject, &mut self.matches);
        for i in 0..self.matches.plain.len() {
            let slot = self.matches.plain[i];
            if let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize)
                && entry.noted < sequence
            {
                entry.noted = sequence;
                entry.consumer.note_stored(sequence);
                if entry.consumer.wants_messages() {
                    self.wake(slot);
                }
            }
        }
    }

    /// The consumers that want only some messages, and those on this subject among them; those that
    /// want all are not told.
    pub fn matching(&mut self, subject: &[u8], slots: &mut Vec<Slot>) {
        self.matches.clear();
        self.by_filter.matches(subject, &mut self.matches);
        slots.clear();
        slots.extend_from_slice(&self.matches.plain);
        slots.sort_unstable();
        slots.dedup();
    }

    /// Gives a consumer a turn, as something has happened to it.
    pub fn wake(&mut self, slot: Slot) {
        if let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize)
            && !entry.is_ready
        {
            entry.is_ready = true;
            self.ready.push_back(slot);
        }
    }

    /// Gives those a turn whose time has come.
    pub fn fire_timers(&mut self, now: Timestamp) {
        while let Some(Reverse((at, slot))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            if let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize)
                && entry.timer == Some(at)
            {
                entry.timer = None;
                self.wake(slot);
            }
        }
    }

    /// The next consumer that has something to do. It is to be [served](Consumer::serve), and what
    /// came of it to be told to [`Roster::settle`].
    pub fn next_ready(&mut self) -> Option<Slot> {
        loop {
            let slot = self.ready.pop_front()?;
            if let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize)
                && std::mem::take(&mut entry.is_ready)
            {
                return Some(slot);
            }
        }
    }

    /// Whether some consumer has something to do.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes note of what a consumer's turn has come to.
    pub fn settle(&mut self, slot: Slot, served: Served) {
        let Some(Some(entry)) = self.entries.get_mut(slot.0 as usize) else {
            return;
        };
        let wants_any = entry.consumer.settings().wants_all() && entry.consumer.wants_messages();
        if wants_any && served != Served::More && !entry.is_hungry {
            entry.is_hungry = true;
            self.hungry.push(slot);
        }
        let next = entry.consumer.next_timer();
        // A timer that fires too early does no harm, and spares an entry for each time that it is
        // put off.
        let keeps = matches!((entry.timer, next), (Some(timer), Some(next)) if timer <= next);
        if !keeps {
            entry.timer = next;
            if let Some(at) = next {
                self.timers.push(Reverse((at, slot)));
            }
        }
        if served == Served::More {
            self.wake(slot);
        }
        self.prune();
    }

    /// When a consumer is to be given a turn if nothing happens before.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Bytes of memory that are owned, durable states aside.
    pub fn memory_bytes(&self) -> usize {
        let own = size_of::<Entry<T>>() - size_of::<Consumer>();
        let consumers = self
            .iter()
            .map(|(_, consumer, _)| consumer.memory_bytes() + own);
        let ids = self
            .entries
            .iter()
            .flatten()
            .map(|entry| entry.filters.capacity());
        consumers.sum::<usize>()
            + ids.sum::<usize>() * size_of::<SubId>()
            + (self.hungry.capacity() + self.ready.capacity()) * size_of::<Slot>()
            + self.timers.capacity() * size_of::<(Timestamp, Slot)>()
    }

    /// Rids the heap of entries that do not count, when they are most of it.
    fn prune(&mut self) {
        if self.timers.len() > 64 && self.timers.len() > 2 * self.len {
            let entries = &self.entries;
            self.timers.retain(|Reverse((at, slot))| {
                let entry = entries.get(slot.0 as usize).and_then(Option::as_ref);
                entry.is_some_and(|entry| entry.timer == Some(*at))
            });
        }
    }
}
