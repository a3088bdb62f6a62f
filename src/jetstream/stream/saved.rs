//! Consumers in backups, and those that come out of them.

use super::Stream;
use super::settings::settings;
use super::view::View;
use crate::jetstream::api::{ConsumerConfig, StreamConfig};
use crate::jetstream::backup::consumers::SavedState;
use crate::jetstream::consumer::{Consumer, Settings, Slot};
use crate::json::Time;
use crate::store::LogError;
use crate::store::consumer::ConsumerState;
use crate::store::stream::StreamStore;
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

    /// Makes a consumer that is kept in memory with the state that a backup has of it. The configuration
    /// was checked.
    pub(in crate::jetstream) fn restore_consumer(
        &mut self,
        config: ConsumerConfig,
        created: Time,
        saved: &SavedState,
        now: Timestamp,
    ) -> Slot {
        let settings = settings(&self.config, &config, self.place.as_deref());
        let policy = settings.ack.stored();
        let kept = crate::jetstream::kept::encode_consumer(&config, created, None);
        let state = state_of(&config, &settings, saved, self.store.last());
        let store = &mut self.store;
        let id = store.create_unrecorded_consumer(&config.name, &kept, policy, StreamSeq(0));
        store.restore_consumer_state(id, state);
        // The engine is made of the state, as after a restart.
        let mut view = View {
            store: &mut self.store,
            id: Some(id),
            visible: self.visible,
            recorded: &mut self.consumers.recorded,
        };
        let engine = Consumer::open(settings, None, &mut view, &mut self.consumers.scratch, now);
        self.add_consumer(id, (config, created, None), engine)
    }
}

/// Puts a consumer, with the state that a backup has of it, into the store of a stream that is not open
/// yet. The configuration was checked.
///
/// # Errors
/// If the store does not take it.
pub(in crate::jetstream) fn store_consumer(
    store: &mut StreamStore,
    stream: &StreamConfig,
    config: &ConsumerConfig,
    created: Time,
    saved: &SavedState,
) -> Result<(), LogError> {
    let settings = settings(stream, config, None);
    let policy = settings.ack.stored();
    let kept = crate::jetstream::kept::encode_consumer(config, created, None);
    let state = state_of(config, &settings, saved, store.last());
    let (id, _) = store.create_consumer(&config.name, &kept, policy, StreamSeq(0))?;
    store.restore_consumer_state(id, state);
    store.append_events().map(drop)
}

/// What a backup says of a consumer, in a stream whose last sequence is `last`.
fn state_of(
    config: &ConsumerConfig,
    settings: &Settings,
    saved: &SavedState,
    last: StreamSeq,
) -> ConsumerState {
    let ends = config.max_deliver > 0;
    saved.restore(settings.ack.stored(), ends, last, |at, redeliveries| {
        let at = Timestamp(at.get().saturating_mul(1_000_000));
        settings.deadline(at, redeliveries)
    })
}
