//! The state itself, and what events make of it.

use std::fmt;

use super::event::{Event, EventWriter, Events};
use super::pending::{Pending, PendingMessage};
use super::{ConsumerSeq, Millis};
use crate::store::index::varint::Malformed;
use crate::store::index::{LogIndex, SequenceSet, StreamSeq};

/// What a client has to say about messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckPolicy {
    /// Nothing: what is delivered counts as acknowledged.
    None,
    /// An acknowledgement is for all messages before it, too. This is also the state of consumers
    /// whose client acknowledges by answers to flow control.
    All,
    /// Each message is acknowledged.
    Explicit,
}

/// A place in the stream, and what the consumer had counted up to there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The message.
    pub stream: StreamSeq,
    /// The delivery.
    pub consumer: ConsumerSeq,
}

/// Whether an event changed anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did, so it has to be kept.
    Changed,
    /// It did not, such as the second acknowledgement of a message, or one that was never
    /// delivered.
    Nothing,
}

/// An event that cannot happen in this state: a delivery of a message that is not behind the last
/// one, an acknowledgement for all before it where each is for itself, or more deliveries than can
/// be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict;

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event does not follow from the consumer's state")
    }
}

impl std::error::Error for Conflict {}

/// Why a batch of events was not replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayError {
    /// It cannot be read.
    Malformed(Malformed),
    /// It is not of this consumer, or another batch before it is missing.
    Conflict(Conflict),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Malformed(malformed) => malformed.fmt(f),
            ReplayError::Conflict(conflict) => conflict.fmt(f),
        }
    }
}

impl std::error::Error for ReplayError {}

/// The state of one consumer.
///
/// What holds between events:
/// - the ack floor is not before what was delivered, and the two are the same if, and only if, no
///   message waits for its acknowledgement;
/// - the messages that wait are behind the ack floor, and not behind what was delivered;
/// - neither of the two moves back, save by a reset;
/// - messages that were delivered as often as they may be do not wait, and are not behind what was
///   delivered.
#[derive(Clone)]
pub struct ConsumerState {
    pub(super) policy: AckPolicy,
    /// The last batch that was replayed.
    pub(super) applied: LogIndex,
    pub(super) delivered: Position,
    pub(super) ack_floor: Position,
    pub(super) pending: Pending,
    /// Messages that were delivered as often as they may be, and were not acknowledged since.
    pub(super) exhausted: Option<Box<SequenceSet>>,
}

impl ConsumerState {
    /// The state of a consumer that delivers what is behind `start`.
    pub const fn new(policy: AckPolicy, start: StreamSeq) -> ConsumerState {
        let start = Position {
            stream: start,
            consumer: ConsumerSeq(0),
        };
        ConsumerState {
            policy,
            applied: LogIndex(0),
            delivered: start,
            ack_floor: start,
            pending: Pending::new(),
            exhausted: None,
        }
    }

    /// The state that somebody else kept. `None` if these things do not belong together. Messages that
    /// were delivered as often as they may be are `exhausted`; those that wait are not.
    pub fn restored(
        policy: AckPolicy,
        delivered: Position,
        ack_floor: Position,
        messages: impl IntoIterator<Item = PendingMessage>,
        exhausted: impl IntoIterator<Item = StreamSeq>,
    ) -> Option<ConsumerState> {
        let mut pending = Pending::new();
        for message in messages {
            let follows = pending.last().is_none_or(|last| {
                last.stream < message.stream && last.consumer < message.consumer
            });
            if !follows {
                return None;
            }
            pending.push(message);
        }
        let mut given_up = SequenceSet::default();
        for sequence in exhausted {
            if pending.get(sequence).is_none() {
                given_up.insert(sequence);
            }
        }
        let state = ConsumerState {
            policy,
            applied: LogIndex(0),
            delivered,
            ack_floor,
            pending,
            exhausted: (!given_up.is_empty()).then(|| Box::new(given_up)),
        };
        state.is_consistent().then_some(state)
    }

    /// Lets something happen.
    ///
    /// - A delivery moves what was delivered on. Without acknowledgements the ack floor follows;
    ///   otherwise the message waits.
    /// - A message that is acknowledged or terminated does not wait any more. If it was the first
    ///   that did, the ack floor moves up to the next one; if none is left, up to what was
    ///   delivered.
    /// - A message that was delivered as often as it may be does not wait any more, either, and is known
    ///   as such until it is acknowledged or terminated.
    /// - All else that happens to single messages which do not wait is nothing.
    ///
    /// # Errors
    /// If it cannot happen; nothing changes then.
    pub fn apply(&mut self, event: Event) -> Result<Outcome, Conflict> {
        let changed = match event {
            Event::Delivered {
                stream,
                at,
                deadline,
            } => {
                self.deliver(stream, at, deadline)?;
                true
            }
            Event::Redelivered {
                stream,
                at,
                deadline,
            } => {
                let consumer = self.next_consumer()?;
                let changed = self.pending.redeliver(stream, at, deadline);
                if changed {
                    self.delivered.consumer = consumer;
                }
                changed
            }
            Event::Acked { stream } | Event::Terminated { stream } => {
                self.settle(stream) || self.forget(stream, stream)
            }
            Event::Exhausted { stream } => {
                let waited = self.settle(stream);
                if waited {
                    self.exhausted.get_or_insert_default().insert(stream);
                }
                waited
            }
            Event::AckedThrough { .. } if self.policy != AckPolicy::All => return Err(Conflict),
            Event::AckedThrough { stream, consumer } => self.settle_through(stream, consumer),
            Event::Rescheduled { stream, deadline } => self.pending.reschedule(stream, deadline),
            Event::Skipped { stream } => self.skip(stream),
            Event::Reset { to } => {
                let was_empty = self.pending.is_empty() && self.exhausted.is_none();
                let changed = self.delivered != to || !was_empty;
                self.pending = Pending::new();
                self.exhausted = None;
                self.delivered = to;
                self.ack_floor = to;
                changed
            }
        };
        #[cfg(debug_assertions)]
        self.check_floors();
        Ok(if changed {
            Outcome::Changed
        } else {
            Outcome::Nothing
        })
    }

    /// Lets something happen, and adds it to a batch if it changed anything.
    ///
    /// # Errors
    /// As [`ConsumerState::apply`], and then nothing is added; also if the batch is full.
    pub fn record(&mut self, event: Event, batch: &mut EventWriter) -> Result<Outcome, Conflict> {
        if batch.len() == super::EVENTS_MAX {
            return Err(Conflict);
        }
        let outcome = self.apply(event)?;
        if outcome == Outcome::Changed && !batch.push(event) {
            return Err(Conflict);
        }
        Ok(outcome)
    }

    /// Takes note that the log has what was [recorded](ConsumerState::record), at this place.
    pub fn set_applied(&mut self, index: LogIndex) {
        self.applied = self.applied.max(index);
    }

    /// Lets everything in a batch happen that is at `index` in the log, unless it has happened
    /// already. Gives whether it did.
    ///
    /// # Errors
    /// If the batch cannot be read or does not follow; nothing changes then.
    pub fn replay(&mut self, index: LogIndex, batch: &[u8]) -> Result<bool, ReplayError> {
        if index <= self.applied {
            return Ok(false);
        }
        self.check_batch(batch)?;
        for event in Events::new(batch).map_err(ReplayError::Malformed)? {
            let event = event.map_err(ReplayError::Malformed)?;
            self.apply(event).map_err(ReplayError::Conflict)?;
        }
        self.applied = index;
        Ok(true)
    }

    /// Adds messages that are to be delivered again to `due`, in order, until it has `max` of
    /// them. What was found is found again until its deadline is moved.
    pub fn due(&mut self, now: Millis, max: usize, due: &mut Vec<PendingMessage>) {
        self.pending.due(now, max, due);
    }

    /// What has to be acknowledged.
    pub fn policy(&self) -> AckPolicy {
        self.policy
    }

    /// The last batch of the log that the state has seen.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The last message that was delivered, or skipped, and the last delivery.
    pub fn delivered(&self) -> Position {
        self.delivered
    }

    /// Up to where everything is acknowledged.
    pub fn ack_floor(&self) -> Position {
        self.ack_floor
    }

    /// What waits for its acknowledgement.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Messages that were delivered as often as they may be, and were not acknowledged since.
    pub fn exhausted(&self) -> Option<&SequenceSet> {
        self.exhausted.as_deref()
    }

    /// Takes note that the messages before this one are in the stream no longer. This needs no record:
    /// it follows from the stream.
    pub fn forget_before(&mut self, first: StreamSeq) {
        self.forget(StreamSeq(1), first.previous());
    }

    /// Forgets that messages were delivered as often as they may be; gives whether some were.
    fn forget(&mut self, first: StreamSeq, last: StreamSeq) -> bool {
        let Some(exhausted) = &mut self.exhausted else {
            return false;
        };
        if first > last || exhausted.next_present(first).is_none_or(|at| at > last) {
            return false;
        }
        exhausted.remove_range(first, last);
        if exhausted.is_empty() {
            self.exhausted = None;
        }
        true
    }

    fn deliver(&mut self, stream: StreamSeq, at: Millis, deadline: Millis) -> Result<(), Conflict> {
        if stream <= self.delivered.stream {
            return Err(Conflict);
        }
        let consumer = self.next_consumer()?;
        self.delivered = Position { stream, consumer };
        if self.policy == AckPolicy::None {
            self.ack_floor = self.delivered;
        } else {
            self.pending.push(PendingMessage {
                stream,
                consumer,
                delivered_at: at,
                deadline,
                redeliveries: 0,
            });
        }
        Ok(())
    }

    fn next_consumer(&self) -> Result<ConsumerSeq, Conflict> {
        self.delivered
            .consumer
            .0
            .checked_add(1)
            .map(ConsumerSeq)
            .ok_or(Conflict)
    }

    fn settle(&mut self, stream: StreamSeq) -> bool {
        let removed = self.pending.remove(stream).is_some();
        if removed
            && self
                .pending
                .first()
                .is_none_or(|first| first.stream > stream)
        {
            self.raise_floor();
        }
        removed
    }

    fn settle_through(&mut self, stream: StreamSeq, consumer: ConsumerSeq) -> bool {
        if stream > self.delivered.stream {
            return false;
        }
        let forgot = self.forget(StreamSeq(1), stream);
        let Some(last) = self.pending.remove_through(stream) else {
            return forgot;
        };
        if self.pending.is_empty() {
            self.raise_floor();
        } else {
            // The client's word is good for a delivery of this message or of one between.
            let consumer = consumer.clamp(last.consumer, self.delivered.consumer);
            self.ack_floor.stream = stream;
            self.ack_floor.consumer = self.ack_floor.consumer.max(consumer);
        }
        true
    }

    fn skip(&mut self, stream: StreamSeq) -> bool {
        let forgot = self.forget(StreamSeq(1), stream);
        let removed = self.pending.remove_through(stream).is_some() || forgot;
        let further = stream > self.delivered.stream;
        self.delivered.stream = self.delivered.stream.max(stream);
        if removed || self.pending.is_empty() {
            self.raise_floor();
        }
        removed || further
    }

    /// Moves the ack floor up to the first message that waits, or to what was delivered.
    fn raise_floor(&mut self) {
        let floor = match self.pending.first() {
            None => self.delivered,
            Some(first) => Position {
                stream: first.stream.previous(),
                consumer: ConsumerSeq(first.consumer.0 - 1),
            },
        };
        self.ack_floor.stream = self.ack_floor.stream.max(floor.stream);
        self.ack_floor.consumer = self.ack_floor.consumer.max(floor.consumer);
    }

    /// Checks that a batch can be read and follows, before anything of it happens.
    fn check_batch(&self, batch: &[u8]) -> Result<(), ReplayError> {
        let mut at = self.delivered;
        for event in Events::new(batch).map_err(ReplayError::Malformed)? {
            match event.map_err(ReplayError::Malformed)? {
                Event::Delivered { stream, .. } if stream <= at.stream => {
                    return Err(ReplayError::Conflict(Conflict));
                }
                Event::Delivered { stream, .. } => {
                    at.stream = stream;
                    at.consumer.0 = next(at.consumer.0)?;
                }
                // Whether it counts is not known here; that the numbers end is not to be feared.
                Event::Redelivered { .. } => at.consumer.0 = next(at.consumer.0)?,
                Event::Skipped { stream } => at.stream = at.stream.max(stream),
                Event::Reset { to } => at = to,
                Event::AckedThrough { .. } if self.policy != AckPolicy::All => {
                    return Err(ReplayError::Conflict(Conflict));
                }
                Event::Acked { .. }
                | Event::Terminated { .. }
                | Event::AckedThrough { .. }
                | Event::Exhausted { .. }
                | Event::Rescheduled { .. } => {}
            }
        }
        Ok(())
    }

    /// Checks what must hold between events, save what takes longer the more messages wait.
    #[cfg(any(test, debug_assertions))]
    fn check_floors(&self) {
        let (floor, delivered) = (self.ack_floor, self.delivered);
        assert!(floor.stream <= delivered.stream && floor.consumer <= delivered.consumer);
        assert_eq!(floor == delivered, self.pending.is_empty());
        assert!(self.policy != AckPolicy::None || self.pending.is_empty());
        let (first, last) = (self.pending.first(), self.pending.last());
        assert!(first.is_none_or(|first| first.stream > floor.stream && first.consumer.0 > 0));
        assert!(last.is_none_or(|last| last.stream <= delivered.stream));
        assert!(last.is_none_or(|last| last.consumer <= delivered.consumer));
        if self.policy == AckPolicy::Explicit {
            assert!(first.is_none_or(|first| first.consumer > floor.consumer));
        }
    }

    /// Checks what must hold between events, in time linear to the messages that wait.
    ///
    /// # Panics
    /// When the state is inconsistent, which is a bug in it.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.check_floors();
        self.pending.check_invariants();
    }
}

impl fmt::Debug for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerState")
            .field("policy", &self.policy)
            .field("applied", &self.applied)
            .field("delivered", &self.delivered)
            .field("ack_floor", &self.ack_floor)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

fn next(consumer: u64) -> Result<u64, ReplayError> {
    consumer
        .checked_add(1)
        .ok_or(ReplayError::Conflict(Conflict))
}
