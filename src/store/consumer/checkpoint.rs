//! The state of a consumer as checkpoints keep it: a version, 1 or 2; the policy (0 none, 1 all, 2
//! explicit); then numbers: the last batch applied, what was delivered (stream, consumer), the ack
//! floor as distances from that, how many messages wait, and for each of them
//!
//! - the distance of its stream and consumer numbers from those before, the first one's from 0;
//! - the step of its last delivery's time from that before, and that of its wait from then until
//!   the deadline from the wait before;
//! - its redeliveries.
//!
//! Then, in version 2 only, the set of the messages that were delivered as often as they may be, of which
//! there are some.

use super::pending::{Pending, PendingMessage};
use super::state::{AckPolicy, ConsumerState, Position};
use super::{ConsumerSeq, Millis};
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::index::{LogIndex, SequenceSet, StreamSeq};

const VERSION: u8 = 1;
const VERSION_EXHAUSTED: u8 = 2;

impl ConsumerState {
    /// Appends the state in the form that [`ConsumerState::decode`] reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let policy = match self.policy {
            AckPolicy::None => 0,
            AckPolicy::All => 1,
            AckPolicy::Explicit => 2,
        };
        let version = match self.exhausted {
            None => VERSION,
            Some(_) => VERSION_EXHAUSTED,
        };
        out.extend([version, policy]);
        let (delivered, floor) = (self.delivered, self.ack_floor);
        for number in [
            self.applied.0,
            delivered.stream.0,
            delivered.consumer.0,
            delivered.stream.0 - floor.stream.0,
            delivered.consumer.0 - floor.consumer.0,
            self.pending.len() as u64,
        ] {
            varint::put(out, number);
        }
        let (mut stream, mut consumer, mut at, mut wait) = (0, 0, 0, 0);
        for message in self.pending.iter() {
            varint::put(out, message.stream.0 - stream);
            varint::put(out, message.consumer.0 - consumer);
            varint::put_step(out, at, message.delivered_at.get());
            (stream, consumer) = (message.stream.0, message.consumer.0);
            at = message.delivered_at.get();
            let next_wait = message.deadline.get().wrapping_sub(at);
            varint::put_step(out, wait, next_wait);
            wait = next_wait;
            varint::put(out, u64::from(message.redeliveries));
        }
        if let Some(exhausted) = &self.exhausted {
            exhausted.encode(out);
        }
    }

    /// Reads a state, as far as it goes.
    ///
    /// # Errors
    /// If the bytes are of another version, or not those of a state.
    pub fn decode(reader: &mut Reader<'_>) -> Result<ConsumerState, Malformed> {
        let version = reader.byte("consumer: version")?;
        if !matches!(version, VERSION | VERSION_EXHAUSTED) {
            return Err(Malformed("consumer: unknown version"));
        }
        let policy = match reader.byte("consumer: policy")? {
            0 => AckPolicy::None,
            1 => AckPolicy::All,
            2 => AckPolicy::Explicit,
            _ => return Err(Malformed("consumer: unknown policy")),
        };
        let bad = Malformed("consumer: position");
        let mut number = || reader.number(bad.0);
        let applied = LogIndex(number()?);
        let (stream, consumer) = (number()?, number()?);
        let floor_stream = stream.checked_sub(number()?).ok_or(bad)?;
        let floor_consumer = consumer.checked_sub(number()?).ok_or(bad)?;
        let waiting = number()?;
        let position = |stream, consumer| Position {
            stream: StreamSeq(stream),
            consumer: ConsumerSeq(consumer),
        };
        let (delivered, ack_floor) = (
            position(stream, consumer),
            position(floor_stream, floor_consumer),
        );
        let pending = read_pending(reader, waiting)?;
        let exhausted = match version {
            VERSION => None,
            _ => Some(Box::new(SequenceSet::decode(reader)?)),
        };
        let state = ConsumerState {
            policy,
            applied,
            delivered,
            ack_floor,
            pending,
            exhausted,
        };
        if !state.is_consistent() {
            return Err(Malformed("consumer: floors"));
        }
        Ok(state)
    }

    pub(super) fn is_consistent(&self) -> bool {
        let (floor, delivered) = (self.ack_floor, self.delivered);
        let knows_exhausted = self.exhausted.as_ref().is_none_or(|exhausted| {
            let behind = exhausted.next_present(delivered.stream.next());
            !exhausted.is_empty() && behind.is_none() && !exhausted.contains(StreamSeq(0))
        });
        if !knows_exhausted {
            return false;
        }
        let (Some(first), Some(last)) = (self.pending.first(), self.pending.last()) else {
            return floor == delivered;
        };
        self.policy != AckPolicy::None
            && first.stream > floor.stream
            && last.stream <= delivered.stream
            && last.consumer <= delivered.consumer
            && (self.policy == AckPolicy::All || first.consumer > floor.consumer)
    }
}

fn read_pending(reader: &mut Reader<'_>, waiting: u64) -> Result<Pending, Malformed> {
    let bad = Malformed("consumer: pending message");
    let mut pending = Pending::new();
    let (mut stream, mut consumer, mut at, mut wait) = (0u64, 0u64, 0u64, 0);
    for _ in 0..waiting {
        let mut distance = |from: u64| {
            let distance = reader.number(bad.0)?;
            from.checked_add(distance)
                .filter(|to| *to > from)
                .ok_or(bad)
        };
        (stream, consumer) = (distance(stream)?, distance(consumer)?);
        at = reader.step(at, bad.0)?;
        wait = reader.step(wait, bad.0)?;
        let deadline = at.wrapping_add(wait);
        let redeliveries = u32::try_from(reader.number(bad.0)?).map_err(|_| bad)?;
        if at.max(deadline) > Millis::MAX.get() {
            return Err(bad);
        }
        pending.push(PendingMessage {
            stream: StreamSeq(stream),
            consumer: ConsumerSeq(consumer),
            delivered_at: Millis::new(at),
            deadline: Millis::new(deadline),
            redeliveries,
        });
    }
    Ok(pending)
}
