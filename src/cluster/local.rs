//! What the subscribers of this server listen to, as the other servers are told.
//!
//! Subscriptions are counted, since others only need to know that there is one, or how many members
//! a queue group has. Changes are collected, and told once a turn: what came and went in between is
//! not told at all. A server that is new gets everything in slices; of what changes meanwhile, it is
//! told what it has already got.

use super::filed::FiledSlots;
use crate::accounts::journal::Change;
use crate::base::hash::HashSeed;
use slab::Slab;

/// The subjects that are listened to, each with how often.
pub struct LocalInterest {
    entries: Slab<Entry>,
    index: FiledSlots,
    seed: HashSeed,
    /// Entries of which something is to be told, in the order in which they changed.
    changed: Vec<u32>,
    /// One more than the highest slot that was ever used.
    high: u32,
}

struct Entry {
    account: u32,
    /// Bytes of the subject in `key`, which the queue's name follows.
    subject_len: u32,
    is_group: bool,
    key: Box<[u8]>,
    /// Subscriptions in the account, those of other accounts that import such messages, and how many
    /// were told of.
    own: u32,
    imported: u32,
    told: u32,
    /// Whether it is in the list of those that changed.
    is_listed: bool,
}

/// How far a server has got everything; it begins with [`Cursor::START`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor(u32);

impl Cursor {
    /// Nothing yet.
    pub const START: Cursor = Cursor(0);
    /// All of it.
    pub const END: Cursor = Cursor(u32::MAX);
}

/// What is to be told of a subject.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Told<'a> {
    /// The number of the account.
    pub account: u32,
    pub subject: &'a [u8],
    pub queue: Option<&'a [u8]>,
    /// Subscriptions that there are now; zero: nobody listens any more.
    pub count: u32,
    slot: u32,
}

/// What subscriptions in one account are in another, whose messages it imports.
pub struct Imported {
    /// The number of the other account.
    pub account: u32,
    pub subject: String,
    pub queue: Option<Box<[u8]>>,
    /// How many there are.
    pub count: u32,
}

impl Told<'_> {
    /// Whether a server that has come this far is to be told.
    pub fn concerns(&self, cursor: Cursor) -> bool {
        self.slot < cursor.0
    }

    /// The same as if nobody listened any more.
    pub fn ended(&self) -> Self {
        Told { count: 0, ..*self }
    }
}

impl LocalInterest {
    /// Nobody listens. Clients choose what is hashed, so `seed` must be random.
    pub fn new(seed: u64) -> LocalInterest {
        LocalInterest {
            entries: Slab::new(),
            index: FiledSlots::default(),
            seed: HashSeed::new(seed),
            changed: Vec::new(),
            high: 0,
        }
    }

    /// Different subjects and groups that are listened to, or of which somebody has still to be told.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a change in.
    pub fn note(&mut self, change: &Change<'_>) {
        self.note_as(change, false);
    }

    /// The same of a subscription of another account that imports the messages of this one.
    pub fn note_import(&mut self, change: &Change<'_>) {
        self.note_as(change, true);
    }

    fn note_as(&mut self, change: &Change<'_>, imported: bool) {
        let key = [change.subject, change.queue.unwrap_or_default()].concat();
        let is_group = change.queue.is_some();
        let hash = hash(&self.seed, change.account, is_group, &key);
        let subject_len = change.subject.len();
        let entries = &self.entries;
        let is = |slot: u32| {
            let entry = &entries[slot as usize];
            entry.account == change.account
                && entry.is_group == is_group
                && entry.subject_len as usize == subject_len
                && *entry.key == *key
        };
        let slot = match self.index.find(hash, is) {
            Some(slot) => slot,
            None if !change.began => return,
            None => self.add(change.account, is_group, subject_len, key.into(), hash),
        };
        let entry = &mut self.entries[slot as usize];
        let count = match imported {
            true => &mut entry.imported,
            false => &mut entry.own,
        };
        *count = match change.began {
            true => count.saturating_add(1),
            false => count.saturating_sub(1),
        };
        if !entry.is_listed {
            entry.is_listed = true;
            self.changed.push(slot);
        }
    }

    fn add(
        &mut self,
        account: u32,
        is_group: bool,
        subject_len: usize,
        key: Box<[u8]>,
        hash: u64,
    ) -> u32 {
        let entry = Entry {
            account,
            subject_len: u32::try_from(subject_len).expect("subjects are short"),
            is_group,
            key,
            own: 0,
            imported: 0,
            told: 0,
            is_listed: false,
        };
        let slot = u32::try_from(self.entries.insert(entry)).expect("counted in 32 bits");
        self.high = self.high.max(slot + 1);
        self.index.insert(hash, slot);
        slot
    }

    /// Forgets subscriptions of accounts that import from others, and has them noted anew: calls
    /// `each` with every subscription, which adds what it is in other accounts.
    pub fn import_anew(&mut self, mut each: impl FnMut(&Told<'_>, &mut Vec<Imported>)) {
        let mut found = Vec::new();
        for (slot, entry) in &mut self.entries {
            let slot = u32::try_from(slot).expect("counted in 32 bits");
            if std::mem::take(&mut entry.imported) > 0 && !entry.is_listed {
                entry.is_listed = true;
                self.changed.push(slot);
            }
            if entry.own > 0 {
                let count = entry.own;
                each(
                    &Told {
                        count,
                        ..entry.told(slot)
                    },
                    &mut found,
                );
            }
        }
        for imported in found {
            let change = Change {
                account: imported.account,
                subject: imported.subject.as_bytes(),
                queue: imported.queue.as_deref(),
                began: true,
            };
            for _ in 0..imported.count {
                self.note_import(&change);
            }
        }
    }

    /// Whether there is anything to be told.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Calls `tell` with all that has changed since the last call.
    pub fn tell_changes(&mut self, mut tell: impl FnMut(&Told<'_>)) {
        let mut changed = std::mem::take(&mut self.changed);
        for slot in changed.drain(..) {
            let entry = &mut self.entries[slot as usize];
            entry.is_listed = false;
            let now = entry.weight();
            if now != entry.told {
                entry.told = now;
                tell(&entry.told(slot));
            }
            if now == 0 {
                self.remove(slot);
            }
        }
        self.changed = changed;
    }

    fn remove(&mut self, slot: u32) {
        let entry = self.entries.remove(slot as usize);
        let hash = entry.hash(&self.seed);
        self.index.take(hash, |other| other == slot);
        if self.entries.is_empty() {
            (self.high, self.entries) = (0, Slab::new());
        }
        self.index.shrink();
    }

    /// Calls `tell` with what a server is to get next, `budget` slots at most. Changes have been told
    /// before. Gives how far it has come.
    pub fn tell_next(&self, from: Cursor, budget: u32, mut tell: impl FnMut(&Told<'_>)) -> Cursor {
        debug_assert!(!self.has_changed());
        let end = from.0.saturating_add(budget);
        for slot in from.0..end.min(self.high) {
            if let Some(entry) = self.entries.get(slot as usize) {
                tell(&entry.told(slot));
            }
        }
        if end >= self.high {
            Cursor::END
        } else {
            Cursor(end)
        }
    }
}

impl Entry {
    /// What others are to know: that there is a subscription, or how many there are in a group.
    fn weight(&self) -> u32 {
        let count = self.own.saturating_add(self.imported);
        match self.is_group {
            true => count,
            false => count.min(1),
        }
    }

    fn told(&self, slot: u32) -> Told<'_> {
        let (subject, queue) = self.key.split_at(self.subject_len as usize);
        Told {
            account: self.account,
            subject,
            queue: self.is_group.then_some(queue),
            count: self.told,
            slot,
        }
    }

    fn hash(&self, seed: &HashSeed) -> u64 {
        hash(seed, self.account, self.is_group, &self.key)
    }
}

fn hash(seed: &HashSeed, account: u32, is_group: bool, key: &[u8]) -> u64 {
    let spread = u64::from(account) << 1 | u64::from(is_group);
    seed.hash(key) ^ spread.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change<'a>(subject: &'a str, queue: Option<&'a str>, began: bool) -> Change<'a> {
        Change {
            account: 1,
            subject: subject.as_bytes(),
            queue: queue.map(str::as_bytes),
            began,
        }
    }

    fn told(local: &mut LocalInterest) -> Vec<(String, u32)> {
        let mut out = Vec::new();
        local.tell_changes(|told| {
            let queue = told.queue.map_or(String::new(), |q| {
                format!(" {}", String::from_utf8_lossy(q))
            });
            let subject = String::from_utf8_lossy(told.subject);
            out.push((format!("{subject}{queue}"), told.count));
        });
        out
    }

    #[test]
    fn the_first_and_the_last_are_told_and_every_member_of_a_group() {
        let mut local = LocalInterest::new(1);
        local.note(&change("a", None, true));
        local.note(&change("a", None, true));
        local.note(&change("a", Some("q"), true));
        assert_eq!(told(&mut local), [("a".into(), 1), ("a q".into(), 1)]);
        local.note(&change("a", None, false));
        local.note(&change("a", Some("q"), true));
        assert_eq!(told(&mut local), [("a q".into(), 2)]);
        local.note(&change("a", None, false));
        local.note(&change("a", Some("q"), false));
        local.note(&change("a", Some("q"), false));
        assert_eq!(told(&mut local), [("a".into(), 0), ("a q".into(), 0)]);
        assert!(local.is_empty());
        local.note(&change("b", None, true));
        local.note(&change("b", None, false));
        local.note(&change("never", None, false));
        assert_eq!(told(&mut local), []);
        assert!(local.is_empty());
    }

    #[test]
    fn imports_count_until_they_are_others() {
        let mut local = LocalInterest::new(1);
        local.note(&change("a", None, true));
        local.note_import(&change("b", None, true));
        assert_eq!(told(&mut local), [("a".into(), 1), ("b".into(), 1)]);
        // A subscription of the account's own keeps what the import no longer asks for.
        local.note(&change("b", None, true));
        local.import_anew(|told, found| {
            if told.subject == b"a" {
                found.push(Imported {
                    account: 1,
                    subject: "c".into(),
                    queue: None,
                    count: told.count,
                });
            }
        });
        assert_eq!(told(&mut local), [("c".into(), 1)]);
        local.note(&change("b", None, false));
        local.note_import(&change("c", None, false));
        assert_eq!(told(&mut local), [("b".into(), 0), ("c".into(), 0)]);
    }

    #[test]
    fn a_new_server_gets_everything_in_slices_and_changes_of_what_it_has() {
        let mut local = LocalInterest::new(1);
        for i in 0..10 {
            local.note(&change(&i.to_string(), None, true));
        }
        told(&mut local);
        let mut got = Vec::new();
        let cursor = local.tell_next(Cursor::START, 4, |t| got.push(t.subject.to_vec()));
        assert_eq!(got.len(), 4);
        local.note(&change("0", None, false));
        local.note(&change("9", None, false));
        let mut concerned = Vec::new();
        local.tell_changes(|t| concerned.push((t.subject.to_vec(), t.concerns(cursor))));
        assert_eq!(concerned, [(b"0".to_vec(), true), (b"9".to_vec(), false)]);
        let cursor = local.tell_next(cursor, 100, |t| got.push(t.subject.to_vec()));
        assert_eq!((cursor, got.len()), (Cursor::END, 9));
    }
}
