//! What the language describes: a tree of values.

use super::source::{Position, Sources};
use crate::base::hash::HashSeed;
use hashbrown::HashTable;
use std::fmt::{self, Display, Formatter};

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Document {
    pub root: Map,
    pub sources: Sources,
}

/// Keys and values, in the order in which the keys first appeared. Of a key that appears more
/// than once, the last value counts.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: Vec<Entry>,
    /// There from [`Map::INDEXED`] entries on.
    index: Option<Box<Index>>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_at: Position,
    pub value: Value,
    /// Whether a `$variable` meant this key.
    pub used: bool,
}

#[derive(Clone, Debug)]
pub struct Value {
    pub kind: Kind,
    /// Where it starts. What a variable stands for starts at the variable; what is inside of it
    /// stays where it was written.
    pub at: Position,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Bool(bool),
    /// With its size suffix applied.
    Int(i64),
    /// Always finite.
    Float(f64),
    Date(Date),
    Text(String),
    Array(Vec<Value>),
    Map(Map),
}

/// A point in time in UTC, to the second. Shows in the form of RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    /// 0 to 59: there are no leap seconds.
    pub second: u8,
}

impl Display for Date {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Date {
            year, month, day, ..
        } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T")?;
        write!(f, "{:02}:{:02}:{:02}Z", self.hour, self.minute, self.second)
    }
}

/// The numbers of entries, by key.
#[derive(Clone, Debug)]
struct Index {
    seed: HashSeed,
    table: HashTable<usize>,
}

impl Map {
    /// Entries from which looking at each of them takes longer than hashing a key.
    const INDEXED: usize = 16;

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entry of exactly this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.find(key).map(|i| &self.entries[i])
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.find(key).map(|i| &mut self.entries[i])
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Adds an entry, or puts it in the place of the one that has its key.
    pub(super) fn insert(&mut self, mut entry: Entry) {
        if let Some(old) = self.get_mut(&entry.key) {
            entry.used |= old.used;
            *old = entry;
            return;
        }
        self.entries.push(entry);
        let Map { entries, index } = self;
        match index {
            Some(index) => index.add(entries, entries.len() - 1),
            None if entries.len() == Map::INDEXED => {
                let mut made = Box::new(Index::new());
                for i in 0..entries.len() {
                    made.add(entries, i);
                }
                *index = Some(made);
            }
            None => {}
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.find(&self.entries, key),
            None => self.entries.iter().position(|e| e.key == key),
        }
    }
}

impl Index {
    fn new() -> Index {
        Index {
            // What is hashed was written by the operator, who has no use for collisions.
            seed: HashSeed::new(0x6e61_7473),
            table: HashTable::new(),
        }
    }

    fn find(&self, entries: &[Entry], key: &str) -> Option<usize> {
        let hash = self.seed.hash(key.as_bytes());
        self.table.find(hash, |i| entries[*i].key == key).copied()
    }

    fn add(&mut self, entries: &[Entry], i: usize) {
        let Index { seed, table } = self;
        let hash = |i: &usize| seed.hash(entries[*i].key.as_bytes());
        table.insert_unique(hash(&i), i, hash);
    }
}
