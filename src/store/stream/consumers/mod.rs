//! The consumers of a stream. They are created, changed and deleted by records in the stream's
//! log, and what happens to them is recorded there as well, for many of them in one record.
//!
//! Events happen first and are recorded later, unlike all else: [`StreamStore::record`] changes
//! the state at once, and [`StreamStore::append_events`], once a turn, makes records of what was
//! gathered. A crash between the two undoes them, and so what nobody else knows of yet may wait.
//! Where somebody is told (that an acknowledgement was taken, say), the record must be
//! [acknowledged](StreamStore::acknowledged) first.

mod record;
mod set;
#[cfg(test)]
mod tests;

pub(super) use set::Consumers;
pub use set::{CELL, Consumer, ConsumerId};

use self::record::Change;
use super::StreamStore;
use crate::store::consumer::{
    AckPolicy, Conflict, ConsumerState, Event, Millis, Outcome, PendingMessage,
};
use crate::store::error::LogError;
use crate::store::file::format::Kind;
use crate::store::types::{LogIndex, StreamSeq};

/// Bytes of a record of events at which another one is begun.
const RECORD_BYTES: usize = 32 << 10;

/// Consumers that are told of once more in one go, at most.
const KEPT_AT_ONCE: usize = 64;

/// What was found to be missing about consumers when a stream was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsumerDamage {
    /// Consumers about which records are lost. Those with acknowledgements begin anew where
    /// everything before was acknowledged, and deliver what is behind once more.
    pub set_back: Vec<ConsumerId>,
    /// Batches of events of consumers whose creation is lost.
    pub orphans: u64,
}

impl StreamStore {
    /// Creates a consumer that delivers what is behind `start`. Its configuration is kept as it
    /// is, and not looked at; that the name is not taken is the caller's to see to. Gives its id,
    /// and the record whose [acknowledgement](StreamStore::acknowledged) makes it last.
    ///
    /// # Errors
    /// There is no such consumer then; see [`Log::append`](crate::store::file::Log::append).
    pub fn create_consumer(
        &mut self,
        name: &str,
        config: &[u8],
        policy: AckPolicy,
        start: StreamSeq,
    ) -> Result<(ConsumerId, LogIndex), LogError> {
        if name.len() > record::NAME_MAX {
            return Err(LogError::TooLarge {
                bytes: name.len(),
                max: record::NAME_MAX,
            });
        }
        let consumers = &self.state.consumers;
        let (id, change) = consumers.creation(name, config, policy, start);
        let index = self.append_change(&change)?;
        Ok((id, index))
    }

    /// Creates a consumer that is not recorded, and is gone when the stream is closed.
    pub fn create_unrecorded_consumer(
        &mut self,
        name: &str,
        config: &[u8],
        policy: AckPolicy,
        start: StreamSeq,
    ) -> ConsumerId {
        self.state.consumers.add(name, config, policy, start)
    }

    /// Gives a consumer a state that somebody else kept, which is recorded as a whole. False if there
    /// is no such consumer.
    pub fn restore_consumer_state(&mut self, id: ConsumerId, state: ConsumerState) -> bool {
        self.state.consumers.set_state(id, state)
    }

    /// Gives a consumer another configuration. `None` if there is no such consumer; index 0, which
    /// is always acknowledged, if it is not recorded.
    pub fn update_consumer(
        &mut self,
        id: ConsumerId,
        config: &[u8],
    ) -> Result<Option<LogIndex>, LogError> {
        let Some(change) = self.state.consumers.update(id, config) else {
            return Ok(None);
        };
        if !id.is_recorded() {
            self.state.consumers.set_config(id, config);
            return Ok(Some(LogIndex(0)));
        }
        self.append_change(&change).map(Some)
    }

    /// Deletes a consumer. `None` if there is none; index 0 if it is not recorded.
    pub fn delete_consumer(&mut self, id: ConsumerId) -> Result<Option<LogIndex>, LogError> {
        if self.state.consumers.get(id).is_none() {
            return Ok(None);
        }
        if !id.is_recorded() {
            self.state.consumers.remove(id);
            return Ok(Some(LogIndex(0)));
        }
        self.append_change(&Consumers::deletion(id)).map(Some)
    }

    /// All consumers, in the order in which they were created, those that are not recorded last.
    pub fn consumers(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.state.consumers.iter()
    }

    /// How many consumers there are.
    pub fn consumer_count(&self) -> usize {
        self.state.consumers.len()
    }

    /// A consumer, if there is one with this id.
    pub fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.state.consumers.get(id)
    }

    /// The state of a consumer.
    pub fn consumer_state(&self, id: ConsumerId) -> Option<&ConsumerState> {
        self.state.consumers.get(id).map(Consumer::state)
    }

    /// Adds messages of a consumer that are to be delivered again; see [`ConsumerState::due`].
    pub fn consumer_due(
        &mut self,
        id: ConsumerId,
        now: Millis,
        max: usize,
        due: &mut Vec<PendingMessage>,
    ) {
        if let Some(state) = self.state.consumers.get_mut(id) {
            state.due(now, max, due);
        }
    }

    /// Tells a consumer that messages before the first one are gone; see
    /// [`ConsumerState::forget_before`].
    pub fn forget_exhausted(&mut self, id: ConsumerId) {
        let first = self.first();
        if let Some(state) = self.state.consumers.get_mut(id) {
            state.forget_before(first);
        }
    }

    /// Lets something happen to a consumer, at once, and keeps it to be recorded. However long it
    /// takes until [`StreamStore::append_events`] succeeds, what is kept has a bound.
    ///
    /// # Errors
    /// If it cannot happen, or there is no such consumer; nothing changes then.
    pub fn record(&mut self, id: ConsumerId, event: Event) -> Result<Outcome, Conflict> {
        self.state.consumers.record(id, event)
    }

    /// Appends records of everything that has happened to consumers, in time that those take which
    /// have changed. Gives the last record about events that there is: when that is acknowledged,
    /// they are all safe. Call it once a turn, before [`StreamStore::commit`].
    ///
    /// # Errors
    /// What could not be appended is kept for the next call.
    pub fn append_events(&mut self) -> Result<LogIndex, LogError> {
        while self.state.consumers.has_gathered() {
            let mut payload = std::mem::take(&mut self.scratch);
            payload.clear();
            let consumers = &mut self.state.consumers;
            let many = consumers.encode_changed(RECORD_BYTES, &mut payload);
            let draft = self.order(Kind::Consumer, &payload);
            let result = match payload.is_empty() {
                // All of them are gone.
                true => Ok(self.state.consumers.recorded()),
                false => self.log.append(&draft),
            };
            self.scratch = payload;
            let index = result?;
            self.state.consumers.handle_recorded(many, index);
            self.state.applied = self.state.applied.max(index);
        }
        Ok(self.state.consumers.recorded())
    }

    /// Tells all of some consumers once more, of which no record behind `upto` does, so that they are
    /// still in the log when those up to there are not. Says whether there are more of them.
    ///
    /// # Errors
    /// If there is no room for that, or the log failed.
    pub(super) fn keep_consumers(&mut self, upto: LogIndex) -> Result<bool, LogError> {
        // In a group only the leader appends, and members give each other what they have.
        if self.is_replica() || self.disk.is_volatile() {
            return Ok(false);
        }
        for kept in 0.. {
            let Some(id) = self.state.consumers.untold_behind(upto) else {
                return match kept {
                    0 => Ok(false),
                    _ => self.log.commit().map(|()| false),
                };
            };
            if kept == KEPT_AT_ONCE {
                break;
            }
            let mut payload = vec![];
            self.state.consumers.encode_kept(id, &mut payload);
            let draft = self.order(Kind::Consumer, &payload);
            let index = self.log.append(&draft)?;
            self.state.consumers.handle_kept(id, index);
            self.state.applied = self.state.applied.max(index);
        }
        self.log.commit().map(|()| true)
    }

    fn append_change(&mut self, change: &Change<'_>) -> Result<LogIndex, LogError> {
        let mut payload = vec![];
        change.encode(&mut payload);
        let draft = self.order(Kind::Consumer, &payload);
        self.append_record(&draft)
    }

    /// What was missing about consumers in the log, after which they go on as they can.
    pub(super) fn mend_consumers(&mut self) -> ConsumerDamage {
        let consumers = &mut self.state.consumers;
        ConsumerDamage {
            orphans: consumers.orphans(),
            set_back: consumers.mend(),
        }
    }
}
