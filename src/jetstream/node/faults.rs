//! Streams whose disk fails: they are opened again, and verified, until that succeeds.
//!
//! ```text
//!            write or sync fails                   its time has come, no job runs
//!  Open ───────────────────────────> Open, troubled ───────────────────────────> Reopening
//!   ^   publishers are told; reads go on                                           │   │
//!   │                                                                              │   │ later again
//!   └────────────────── opened: as after a restart of the server ──────────────────┘ <─┘
//! ```
//!
//! What was acknowledged is durable, and nothing else is believed of what the files have: what was
//! refused does not come back.

use super::tasks::Opening;
use super::{Change, Node, Phase, Task};
use crate::base::clock::Mono;
use crate::jetstream::api::{ApiError, StorageType, StreamConfig};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::report::Unwell;
use crate::jetstream::stream::{Incoming, Parts, Stream, Unrecorded};
use crate::json::Time;
use crate::store::error::LogError;
use crate::store::meta::Meta;
use crate::store::types::{LogIndex, StreamSeq, Timestamp};
use std::path::PathBuf;

/// How long it takes until a stream is opened again: the first time, and at most; twice as long each
/// time. One that was well for as long begins anew.
const WAIT_MIN: u64 = 100_000_000;
const WAIT_MAX: u64 = 30_000_000_000;
const WELL: u64 = 60_000_000_000;

/// A stream that has failed, or did a while ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    /// How often it was opened again.
    tries: u32,
    /// When it is to be opened again; none while that is done, or if it is well.
    at: Option<Timestamp>,
    /// When it was opened.
    well_since: Timestamp,
}

/// A stream that is being opened again.
pub(super) struct Reopening {
    pub(super) config: Box<StreamConfig>,
    created: Time,
    meta: Box<Meta>,
    dir: PathBuf,
    listening: Vec<u32>,
    unrecorded: Vec<Unrecorded>,
    durable: LogIndex,
    /// The last sequence that anybody may have been told.
    last: StreamSeq,
    /// Why it has to be.
    pub(super) reason: String,
}

impl Trouble {
    fn wait(self) -> u64 {
        (WAIT_MIN << self.tries.min(20)).min(WAIT_MAX)
    }
}

impl Node {
    /// Looks whether a stream has failed, and tells of damage that was found in it.
    pub(super) fn check_health(&mut self, at: usize, now: Timestamp) {
        let Some(stream) = self.open_stream(at) else {
            return;
        };
        stream.tell_damage();
        let in_memory = stream.config.storage == StorageType::Memory;
        if in_memory || stream.failure().is_none() {
            return;
        }
        let trouble = self.troubled.get(&at).copied();
        if trouble.is_some_and(|trouble| trouble.at.is_some()) {
            return;
        }
        let tries = match trouble {
            Some(old) if now.0.saturating_sub(old.well_since.0) < WELL => old.tries,
            _ => 0,
        };
        self.trouble(at, tries, now);
    }

    fn trouble(&mut self, at: usize, tries: u32, now: Timestamp) {
        let mut trouble = Trouble {
            tries,
            at: None,
            well_since: now,
        };
        trouble.at = Some(Timestamp(now.0.saturating_add(trouble.wait())));
        self.troubled.insert(at, trouble);
    }

    /// When a stream is to be opened again.
    pub(super) fn reopens_at(&self) -> Option<Timestamp> {
        self.troubled
            .values()
            .filter_map(|trouble| trouble.at)
            .min()
    }

    /// Opens streams again whose time has come. Those for which something is under way are tried in the
    /// next turn.
    pub(super) fn reopen<O: Out>(&mut self, now: Timestamp, mono: Mono, out: &mut O) {
        if self.reopens_at().is_none_or(|at| at > now) {
            return;
        }
        let due = self.troubled.iter();
        let due = due.filter(|(_, trouble)| trouble.at.is_some_and(|at| at <= now));
        let mut due: Vec<usize> = due.map(|(at, _)| *at).collect();
        due.retain(|at| match self.streams.get(*at).map(|slot| &slot.phase) {
            Some(Phase::Open { stream, change, .. }) => {
                !stream.is_busy() && matches!(change, Change::None)
            }
            _ => true,
        });
        match self.rescue(&due, (now, mono), out) {
            Ok(true) => due.into_iter().for_each(|at| self.reopen_one(at, now, out)),
            Ok(false) => {}
            Err(error) => {
                log::error!("JetStream: streams cannot be opened again: {error}");
                for at in due {
                    let tries = self.troubled.get(&at).map_or(0, |trouble| trouble.tries);
                    self.trouble(at, tries.saturating_add(1), now);
                }
            }
        }
    }

    fn reopen_one<O: Out>(&mut self, at: usize, now: Timestamp, out: &mut O) {
        let Some(slot) = self.streams.get_mut(at) else {
            self.troubled.remove(&at);
            return;
        };
        let (store, reopening) = match &mut slot.phase {
            Phase::Open { .. } => {
                let phase = std::mem::replace(&mut slot.phase, Phase::Removing(Default::default()));
                let Phase::Open {
                    stream,
                    meta,
                    dir,
                    listening,
                    ..
                } = phase
                else {
                    return;
                };
                let remains = stream.dismantle(now, out);
                let reopening = Reopening {
                    config: Box::new(remains.config),
                    created: remains.created,
                    meta,
                    dir,
                    listening,
                    unrecorded: remains.unrecorded,
                    durable: remains.durable,
                    last: remains.last,
                    reason: remains.reason,
                };
                (Some(Box::new(remains.store)), Box::new(reopening))
            }
            Phase::Reopening(_) => {
                let empty = Phase::Removing(Default::default());
                let Phase::Reopening(reopening) = std::mem::replace(&mut slot.phase, empty) else {
                    return;
                };
                (None, reopening)
            }
            Phase::Creating(..) | Phase::Restoring(_) | Phase::Removing(_) => return,
        };
        if let Some(trouble) = self.troubled.get_mut(&at) {
            trouble.at = None;
            trouble.tries = trouble.tries.saturating_add(1);
        }
        let log = self.log_options(reopening.config.persist_mode);
        self.tasks.push(Task::Reopen {
            slot: at,
            store,
            meta: reopening.meta.clone(),
            config: reopening.config.clone(),
            place: self.place.clone(),
            dir: reopening.dir.clone(),
            durable: reopening.durable,
            last: reopening.last,
            log,
        });
        self.streams[at].phase = Phase::Reopening(reopening);
    }

    /// A stream was opened again, or not.
    pub(super) fn handle_reopened<O: Out>(
        &mut self,
        at: usize,
        result: Result<Box<Opening>, LogError>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(slot) = self.streams.get_mut(at) else {
            return;
        };
        let name = slot.name.clone();
        let opening = match result {
            Ok(opening) => opening,
            Err(error) => {
                let tries = self.troubled.get(&at).map_or(1, |trouble| trouble.tries);
                log::error!("Stream {name} cannot be opened again: {error}");
                if let Phase::Reopening(reopening) = &mut slot.phase {
                    reopening.reason = error.to_string();
                }
                self.trouble(at, tries, now);
                return;
            }
        };
        let phase = std::mem::replace(&mut slot.phase, Phase::Removing(Default::default()));
        let Phase::Reopening(reopening) = phase else {
            slot.phase = phase;
            return;
        };
        let account = slot.account.clone();
        let meter = self.meter(account.number, &reopening.config);
        let waiters = self.waiters(account.number);
        let mut stream = Stream::new(Parts {
            account,
            config: *reopening.config,
            created: reopening.created,
            store: opening.store,
            bounds: self.bounds(),
            batches: self.batches.clone(),
            waiters,
            domain: self.identity.options.domain.clone(),
            long_acks: self.identity.options.long_acks,
            meter,
            seed: self.rng.next_u64(),
            now,
        });
        stream.restore_unrecorded(reopening.unrecorded, now, out);
        if stream.has_origins() {
            self.copying.insert(at);
        }
        log::info!("Stream {name} was opened again, and takes messages");
        self.streams[at].key = self.journal.key(at);
        self.streams[at].phase = Phase::Open {
            stream: Box::new(stream),
            meta: reopening.meta,
            dir: reopening.dir,
            listening: reopening.listening,
            change: Change::None,
        };
        if let Some(trouble) = self.troubled.get_mut(&at) {
            trouble.well_since = now;
        }
        self.dirty.push(at);
        self.serving.insert(at);
        self.note_deadline(at);
        self.retry_later();
    }

    /// Why a stream of that name is not served at the moment, if so.
    pub(super) fn offline(&self, at: usize) -> Option<ApiError> {
        match &self.streams.get(at)?.phase {
            Phase::Reopening(reopening) => {
                let err = reopening.reason.clone();
                Some(ApiError::StreamOfflineReason { err })
            }
            _ => None,
        }
    }

    /// Says to a publisher that the stream takes nothing at the moment.
    pub(super) fn refuse_offline<O: Out>(&self, at: usize, message: &Incoming<'_>, out: &mut O) {
        let Some(slot) = self.streams.get(at) else {
            return;
        };
        if let (Phase::Reopening(reopening), Some(reply)) = (&slot.phase, message.reply) {
            use crate::jetstream::api::pub_ack::PubAckResponse;
            let error = ApiError::store_failed(reopening.reason.clone());
            let body = PubAckResponse::refused(&slot.name, error).encode();
            out.send(&slot.account, &Outgoing::plain(reply, &body));
        }
    }

    /// Takes note of a stream that is there and could not be opened.
    pub fn note_unrecovered(&mut self, account: String, stream: String) {
        self.unrecovered.push(Unwell {
            account,
            stream,
            write_error: None,
        });
    }

    /// Streams that are not well.
    pub(super) fn unwell(&self) -> impl Iterator<Item = Unwell> {
        let failed = self.troubled.keys().filter_map(|at| {
            let slot = self.streams.get(*at)?;
            let reason = match &slot.phase {
                Phase::Reopening(reopening) => reopening.reason.clone(),
                Phase::Open { stream, .. } => stream.failure()?.to_string(),
                _ => return None,
            };
            Some(Unwell {
                account: slot.account.name.to_string(),
                stream: slot.name.clone(),
                write_error: Some(reason),
            })
        });
        failed.chain(self.unrecovered.iter().cloned())
    }
}
