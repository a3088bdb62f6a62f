//! Damage and failures of a stream's store.

use super::consumers::floor_of;
use super::{Stream, StreamConfig};
use crate::base::clock::Mono;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::info::LostStreamData;
use crate::jetstream::out::Out;
use crate::json::Time;
use crate::store::error::Reason;
use crate::store::stream::{DamageKind, Job, StreamStore};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// Sequences of lost messages that are told.
const LOST_MAX: usize = 1024;

/// What is left of a stream that is to be opened again.
pub struct Remains {
    pub config: StreamConfig,
    pub created: Time,
    pub store: StreamStore,
    /// The last record that is surely on the disk.
    pub durable: LogIndex,
    /// The last message that may have been acknowledged or seen.
    pub last: StreamSeq,
    /// What has failed.
    pub reason: String,
    pub unrecorded: Vec<Unrecorded>,
}

/// A consumer that is not in the log.
pub struct Unrecorded {
    config: ConsumerConfig,
    created: Time,
    /// It goes on behind this message.
    after: StreamSeq,
}

impl Stream {
    /// Why it takes no messages any more, if so.
    pub fn failure(&self) -> Option<&Reason> {
        self.store.log().failure()
    }

    /// Whether damage was found that was not written to the log.
    pub fn has_damage(&self) -> bool {
        self.store.has_damage()
    }

    /// Writes to the log what was found to be damaged.
    pub fn tell_damage(&mut self) {
        for damage in self.store.take_damage() {
            let (first, last, label) = (damage.first, damage.last, self.label());
            match damage.kind {
                DamageKind::Lost => {
                    log::error!("Stream {label} has lost messages {first} to {last} to damage");
                }
                DamageKind::Unreadable(reason) => log::error!(
                    "Stream {label} cannot read messages {first} to {last} until it is opened again: \
                     {reason}"
                ),
            }
        }
    }

    /// The messages that are lost, if there are any.
    pub fn lost(&self) -> Option<LostStreamData> {
        let runs = self.store.lost();
        let all = runs.flat_map(|(first, last)| first.0..=last.0);
        let msgs: Vec<u64> = all.take(LOST_MAX).collect();
        (!msgs.is_empty()).then_some(LostStreamData { msgs, bytes: 0 })
    }

    /// The next part of a look for damage.
    pub fn poll_scrub(&mut self, now: Mono, bytes_per_second: u64) -> Option<Job> {
        let job = self.store.scrub_job(now, bytes_per_second)?;
        self.jobs += 1;
        self.scrubbing = true;
        Some(job)
    }

    /// Whether a part is being looked at.
    pub fn is_scrubbing(&self) -> bool {
        self.scrubbing
    }

    /// Tells clients that wait for messages to ask again later, and another server.
    pub fn end_requests<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let all: Vec<_> = self.consumer_names().map(|(_, at)| at).collect();
        for at in all {
            self.act((at, now, true), out, |engine, turn| {
                engine.handle_shutdown(turn)
            });
        }
    }

    /// Tells clients that wait for messages that there will be none, as the stream goes with all its
    /// consumers. Gives their names.
    pub fn end_consumers<O: Out>(&mut self, now: Timestamp, out: &mut O) -> Vec<String> {
        let all = self.consumer_names();
        let all: Vec<_> = all.map(|(name, at)| (name.to_owned(), at)).collect();
        for (_, at) in &all {
            self.act((*at, now, true), out, |engine, turn| {
                engine.handle_deleted(turn)
            });
        }
        all.into_iter().map(|(name, _)| name).collect()
    }

    /// Takes it apart, so that it can be opened again. Clients that wait for messages are told to ask
    /// again.
    pub fn dismantle<O: Out>(mut self, now: Timestamp, out: &mut O) -> Remains {
        self.end_requests(now, out);
        let consumers = self.consumers.roster.iter();
        let unrecorded = consumers.filter(|(_, _, entry)| !entry.id.is_recorded());
        let unrecorded = unrecorded.map(|(_, _, entry)| {
            let state = self.store.consumer_state(entry.id);
            Unrecorded {
                config: (*entry.config).clone(),
                created: entry.created,
                after: state.map_or(StreamSeq(0), floor_of),
            }
        });
        let unrecorded = unrecorded.collect();
        Remains {
            durable: self.store.log().durable(),
            last: self.visible,
            reason: self.failure().map(ToString::to_string).unwrap_or_default(),
            config: self.config,
            created: self.created,
            store: self.store,
            unrecorded,
        }
    }

    /// Makes consumers again that were not in the log.
    pub fn restore_unrecorded<O: Out>(
        &mut self,
        unrecorded: Vec<Unrecorded>,
        now: Timestamp,
        out: &mut O,
    ) {
        use crate::jetstream::api::DeliverPolicy;
        for Unrecorded {
            config,
            created,
            after,
        } in unrecorded
        {
            let mut behind = config.clone();
            behind.deliver_policy = DeliverPolicy::ByStartSequence;
            behind.opt_start_seq = after.0 + 1;
            match self.create_consumer(behind, created, now, out) {
                // It is told as it was made.
                Ok(at) => self.set_consumer_config(at, config),
                Err(fault) => log::error!("Stream {}: a consumer is gone: {fault}", self.label()),
            }
        }
    }
}
