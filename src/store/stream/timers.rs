//! When something is to be done about messages: what they say is for the layer above.

use std::collections::{BTreeMap, BTreeSet};

use super::StreamStore;
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::types::{StreamSeq, Timestamp};

/// Messages with a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    times: BTreeMap<StreamSeq, Timestamp>,
    due: BTreeSet<(Timestamp, StreamSeq)>,
}

impl Timers {
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The messages, in order.
    pub(super) fn sequences(&self) -> impl Iterator<Item = StreamSeq> {
        self.times.keys().copied()
    }

    pub(super) fn has(&self, sequence: StreamSeq) -> bool {
        self.times.contains_key(&sequence)
    }

    pub(super) fn set(&mut self, sequence: StreamSeq, at: Timestamp) {
        self.remove(sequence);
        self.times.insert(sequence, at);
        self.due.insert((at, sequence));
    }

    pub(super) fn remove(&mut self, sequence: StreamSeq) {
        if let Some(at) = self.times.remove(&sequence) {
            self.due.remove(&(at, sequence));
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for (sequence, at) in &self.times {
            varint::put(out, sequence.0);
            varint::put(out, at.0);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Timers, Malformed> {
        let mut timers = Timers::default();
        while !reader.is_empty() {
            let sequence = StreamSeq(reader.number("timer")?);
            timers.set(sequence, Timestamp(reader.number("timer")?));
        }
        Ok(timers)
    }
}

impl StreamStore {
    /// Messages whose time is not behind `now`, the earliest first, `max` at most. They stay until
    /// their time is set anew, see [`Step::Timer`](super::Step).
    pub fn due_timers(&self, now: Timestamp, max: usize) -> Vec<(StreamSeq, Timestamp)> {
        let due = self.state.timers.due.iter();
        due.take_while(|(at, _)| *at <= now)
            .take(max)
            .map(|(at, sequence)| (*sequence, *at))
            .collect()
    }

    /// When the first message is due.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.state.timers.due.first().map(|(at, _)| *at)
    }

    /// Whether a message has a time.
    pub fn has_timer(&self, sequence: StreamSeq) -> bool {
        self.state.timers.has(sequence)
    }
}
