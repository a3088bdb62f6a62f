//! Consumers in backups, and those that come out of them.

use super::Stream;
use super::consumers::ConsumerFault;
use super::settings::settings;
use super::view::View;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::backup::consumers::SavedState;
use crate::jetstream::consumer::{Consumer, Slot};
use crate::json::Time;
use crate::store::consumer::ConsumerState;
use crate::store::types::{StreamSeq, Timestamp};

impl Stream {
    /// The consumers as they are now, without those of other streams.
    pub(in crate::jetstream) fn saved_consumers(
        &self,
    ) -> impl Iterator<Item = (ConsumerConfig, ConsumerState)> {
        let all = self.consumers.roster.iter().map(|(_, _, entry)| entry);
        all.filter(|entry| !entry.config.direct)
            .filter_map(|entry| {
                let mut config = (*entry.config).clone();
                let state = self.store.consumer_state(entry.id)?.clone();
                // An archive tells consumers by their names.
                if config.name.is_empty() {
                    config.name.clone_from(&config.durable);
                }
                Some((config, state))
            })
    }

    /// Makes a consumer with the state that a backup has of it. The configuration was checked.
    ///
    /// # Errors
    /// If the store does not take it.
    pub(in crate::jetstream) fn restore_consumer(
        &mut self,
        config: ConsumerConfig,
        created: Time,
        saved: &SavedState,
        now: Timestamp,
    ) -> Result<Slot, ConsumerFault> {
        let settings = settings(&self.config, &config, self.place.as_deref());
        let policy = settings.ack.stored();
        let last = self.store.last();
        let ends = config.max_deliver > 0;
        let state = saved.restore(policy, ends, last, |at, redeliveries| {
            let at = Timestamp(at.get().saturating_mul(1_000_000));
            settings.deadline(at, redeliveries)
        });
        let kept = crate::jetstream::kept::encode_consumer(&config, created, None);
        let store = &mut self.store;
        let id = match config.mem_storage {
            true => store.create_unrecorded_consumer(&config.name, &kept, policy, StreamSeq(0)),
            false => {
                let made = store.create_consumer(&config.name, &kept, policy, StreamSeq(0))?;
                made.0
            }
        };
        self.store.restore_consumer_state(id, state);
        // The engine is made of the state, as after a restart.
        self.consumers.recorded = true;
        self.dirty = true;
        let mut view = View {
            store: &mut self.store,
            id: Some(id),
            visible: self.visible,
            recorded: &mut self.consumers.recorded,
        };
        let engine = Consumer::open(settings, None, &mut view, &mut self.consumers.scratch, now);
        Ok(self.add_consumer(id, (config, created, None), engine))
    }
}
