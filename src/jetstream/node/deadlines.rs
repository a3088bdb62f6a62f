//! When streams have something to do as time has passed.

use crate::store::types::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The deadlines of streams, of which most have none. A stream may have entries in the heap that do
/// not count any more, since it was put on for an earlier time.
#[derive(Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
    current: HashMap<usize, Timestamp>,
}

impl Deadlines {
    /// Sees to it that a stream is looked at by then. One that is put off is looked at in vain once.
    pub(super) fn note(&mut self, at: usize, due: Timestamp) {
        match self.current.get(&at) {
            Some(current) if *current <= due => return,
            _ => {}
        }
        self.current.insert(at, due);
        self.heap.push(Reverse((due, at)));
        self.prune();
    }

    /// When the first stream is to be looked at.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// A stream whose time has come. It has no deadline then.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<usize> {
        while let Some(Reverse((due, at))) = self.heap.peek().copied()
            && due <= now
        {
            self.heap.pop();
            if self.current.get(&at) == Some(&due) {
                self.current.remove(&at);
                return Some(at);
            }
        }
        None
    }

    fn prune(&mut self) {
        if self.heap.len() > 64 && self.heap.len() > 4 * self.current.len() {
            let current = &self.current;
            self.heap
                .retain(|Reverse((due, at))| current.get(at) == Some(due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_come_once_and_in_time() {
        let mut deadlines = Deadlines::default();
        for n in 0..1000 {
            // The last one counts, as each is earlier than the one before.
            deadlines.note(7, Timestamp(5000 - n));
            deadlines.note(8, Timestamp(6000 + n));
        }
        assert!(deadlines.heap.len() < 70);
        assert_eq!(deadlines.first(), Some(Timestamp(4001)));
        assert_eq!(deadlines.pop(Timestamp(4000)), None);
        assert_eq!(deadlines.pop(Timestamp(5500)), Some(7));
        assert_eq!(deadlines.pop(Timestamp(5500)), None);
        deadlines.note(7, Timestamp(9000));
        assert_eq!(deadlines.pop(Timestamp(8999)), Some(8));
        assert_eq!(deadlines.pop(Timestamp(8999)), None);
        assert_eq!(deadlines.pop(Timestamp(9000)), Some(7));
        assert_eq!(deadlines.first(), None);
    }
}
