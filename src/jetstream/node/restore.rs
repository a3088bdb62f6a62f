//! Streams that are restored: a client sends a backup in chunks, each of which is answered when it
//! has been taken in.

use super::create::shown_info;
use super::listeners::Listener;
use super::requests::{Reaction, Request};
use super::restorer::{Outcome, Plan, Restored, Restorer};
use super::{Node, Phase, Slot, Task, asker, decode};
use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::jetstream::api::advisory::{Action, RestoreComplete, RestoreCreate};
use crate::jetstream::api::request::StreamRestoreRequest;
use crate::jetstream::api::response::{StreamCreateBody, StreamRestoreBody};
use crate::jetstream::api::{ApiError, Response, StorageType, StreamConfig, stream_change};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::Incoming;
use crate::json::Time;
use crate::proto::client_info::ClientInfo;
use crate::store::journal::StreamKey;
use crate::store::meta::Meta;
use crate::store::types::Timestamp;
use std::sync::Arc;

/// Streams that are restored at a time.
const RESTORES: usize = 32;

/// Bytes of one backup that may have come and not been taken in: a client that waits for answers
/// never sends as much.
const AHEAD: usize = 32 << 20;

/// How long a client may send nothing, in nanoseconds.
const CHUNK_TIME: u64 = 5_000_000_000;

/// A stream that is being restored.
pub(super) struct Restore {
    account: Arc<Account>,
    /// The place that the stream is going to have.
    at: usize,
    config: StreamConfig,
    created: Time,
    client: ClientInfo,
    start: Timestamp,
    listener: Option<u32>,
    /// Who takes the chunks in; not here while it is at work.
    work: Option<Box<Restorer>>,
    chunks: Vec<Vec<u8>>,
    /// Where chunks are to be answered: those that wait, and those that are being taken in.
    waiting: Vec<Vec<u8>>,
    asked: Vec<Vec<u8>>,
    ahead: usize,
    bytes: u64,
    deadline: Timestamp,
    end: Option<End>,
}

/// No more chunks are to come.
enum End {
    /// All of them have come; this is where it is to be told how it went.
    Complete(Vec<u8>),
    /// It is given up.
    GivenUp,
}

impl Node {
    pub(super) fn stream_restore<O: Out>(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let body = self.begin_restore(account, name, request, (now, out));
        self.reply(body)
    }

    fn begin_restore<O: Out>(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Result<StreamRestoreBody, ApiError> {
        if request.is_empty() {
            return Err(ApiError::BadRequest);
        }
        let strict = self.identity.options.strict;
        let asked: StreamRestoreRequest = decode::read(&request.body, strict)?;
        let config = self.with_surroundings(account, |around| {
            stream_change::restore(asked.config, name, around)
        })?;
        let failed = |err: &str| ApiError::StreamRestore {
            err: err.to_owned(),
        };
        if self.restores.len() >= RESTORES {
            return Err(failed("too many streams are being restored"));
        }
        let plan = self.plan_restore(account, &config, now);
        let created = plan.created;
        let subject = format!("$JS.SNAPSHOT.RESTORE.{name}.{}", self.unique_id());
        let id = self.restores.vacant_key();
        let listener = Listener::Restore(id);
        let listener = self.listeners.listen(account, subject.as_bytes(), listener);
        if listener.is_none() {
            let err = "too many subscriptions".to_owned();
            return Err(ApiError::RestoreSubscribeFailed { subject, err });
        }
        let at = self.streams.insert(Slot {
            account: account.clone(),
            name: name.to_owned(),
            key: StreamKey::default(),
            phase: Phase::Restoring(Box::new(config.clone())),
        });
        self.names.insert(account.number, name.to_owned(), at);
        self.count(account.number, &config, true);
        let client = asker::client(request.info().unwrap_or_default());
        log::info!("Starting restore for stream '{} > {name}'", account.name);
        let kind = RestoreCreate {
            stream: name.to_owned(),
            client: client.clone(),
            domain: self.identity.options.domain.clone().unwrap_or_default(),
        };
        self.tell(account, kind, now, out);
        self.restores.insert(Restore {
            account: account.clone(),
            at,
            config,
            created,
            client,
            start: now,
            listener,
            work: Some(Box::new(Restorer::new(plan))),
            chunks: Vec::new(),
            waiting: Vec::new(),
            asked: Vec::new(),
            ahead: 0,
            bytes: 0,
            deadline: Timestamp(now.0.saturating_add(CHUNK_TIME)),
            end: None,
        });
        Ok(StreamRestoreBody {
            deliver_subject: subject,
        })
    }

    fn plan_restore(
        &mut self,
        account: &Arc<Account>,
        config: &StreamConfig,
        now: Timestamp,
    ) -> Plan {
        let mut incarnation = [0; 16];
        incarnation[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        incarnation[8..].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        let limits = self.tenants.get(account.number).map(|tenant| tenant.limits);
        let consumers_max = limits.and_then(|limits| limits.max_consumers);
        let own = u64::try_from(config.max_consumers)
            .ok()
            .filter(|max| *max > 0);
        let all = consumers_max.map(u64::from).into_iter().chain(own);
        Plan {
            meta: Meta::new(&account.name, &config.name, incarnation, Vec::new()),
            config: config.clone(),
            created: Time::from_unix_nanos(now.0),
            place: self.place.clone(),
            log: self.log_options(config.persist_mode),
            bytes_max: self.bytes_left(account, config.storage),
            consumers_max: all.min().unwrap_or(u64::MAX),
        }
    }

    /// Bytes of messages that an account, and the server, may have more than there are.
    fn bytes_left(&self, account: &Account, storage: StorageType) -> u64 {
        let used = |of: Option<u32>| {
            let all = self.streams.iter().filter_map(|(_, slot)| {
                let own = of.is_none_or(|number| slot.account.number == number);
                slot.stream().filter(|_| own)
            });
            let own = all.filter(|stream| stream.config.storage == storage);
            own.map(|stream| stream.state().bytes).sum::<u64>()
        };
        let limits = self.tenants.get(account.number).map(|tenant| tenant.limits);
        let (server, account_max) = match storage {
            StorageType::File => (
                self.identity.max_storage,
                limits.and_then(|limits| limits.max_storage),
            ),
            StorageType::Memory => (
                self.identity.max_memory,
                limits.and_then(|limits| limits.max_memory),
            ),
        };
        let of_account = account_max.map(|max| max.saturating_sub(used(Some(account.number))));
        let of_server = server.saturating_sub(used(None));
        of_account.unwrap_or(u64::MAX).min(of_server)
    }

    /// Takes a chunk.
    pub(super) fn restore_chunk<O: Out>(
        &mut self,
        id: usize,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(restore) = self.restores.get_mut(id) else {
            return;
        };
        if restore.end.is_some() {
            return;
        }
        restore.deadline = Timestamp(now.0.saturating_add(CHUNK_TIME));
        let label = restore.label();
        let Some(reply) = message.reply else {
            log::warn!("Restore for stream {label} requires reply subject for each chunk");
            return self.give_up(id);
        };
        if message.payload.is_empty() {
            restore.end = Some(End::Complete(reply.to_vec()));
            return;
        }
        restore.ahead += message.payload.len();
        restore.bytes += message.payload.len() as u64;
        if restore.ahead > AHEAD {
            log::warn!("Restore for stream {label} gets chunks faster than it answers them");
            let err = "chunks come without waiting for answers".to_owned();
            let refused = Response::<StreamCreateBody>::refused(ApiError::StreamRestore { err });
            let account = restore.account.clone();
            out.send(&account, &Outgoing::plain(reply, &refused.encode()));
            return self.give_up(id);
        }
        restore.chunks.push(message.payload.to_vec());
        restore.waiting.push(reply.to_vec());
    }

    fn give_up(&mut self, id: usize) {
        if let Some(restore) = self.restores.get_mut(id) {
            restore.end = Some(End::GivenUp);
            restore.chunks.clear();
            restore.waiting.clear();
        }
    }

    /// When restores are to be looked at if nothing happens.
    pub(super) fn restores_at(&self) -> Timestamp {
        let all = self.restores.iter().map(|(_, restore)| restore);
        let idle = all.filter(|restore| restore.work.is_some() && restore.end.is_none());
        let first = idle.map(|restore| restore.deadline).min();
        first.unwrap_or(super::NEVER)
    }

    /// Has chunks taken in, and gives up what nobody goes on with.
    pub(super) fn serve_restores(&mut self, now: Timestamp, mono: Mono) {
        for (id, restore) in &mut self.restores {
            let is_stalled = restore.chunks.is_empty() && now >= restore.deadline;
            if restore.work.is_some() && restore.end.is_none() && is_stalled {
                log::warn!("Restore for stream {} is stalled", restore.label());
                restore.end = Some(End::GivenUp);
            }
            if restore.end.is_none() && restore.chunks.is_empty() {
                continue;
            }
            let Some(work) = restore.work.take() else {
                continue;
            };
            if let Some(End::GivenUp) = restore.end {
                let reason = None;
                self.tasks.push(Task::Forget { id, work, reason });
                continue;
            }
            restore.asked = std::mem::take(&mut restore.waiting);
            self.tasks.push(Task::Restore {
                id,
                work,
                chunks: std::mem::take(&mut restore.chunks),
                is_last: restore.end.is_some(),
                now: (now, mono),
            });
        }
    }

    fn forget_restore(&mut self, id: usize) -> Restore {
        let restore = self.restores.remove(id);
        if let Some(slot) = restore.listener {
            self.listeners.leave(slot);
        }
        restore
    }

    fn remove_place(&mut self, account: &Arc<Account>, at: usize, config: &StreamConfig) {
        self.streams.remove(at);
        self.names.remove(account.number, &config.name);
        self.count(account.number, config, false);
        self.retry_later();
    }

    /// Chunks have been taken in.
    pub(super) fn handle_restored<O: Out>(
        &mut self,
        id: usize,
        outcome: Outcome,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(restore) = self.restores.get_mut(id) else {
            return;
        };
        let asked = std::mem::take(&mut restore.asked);
        restore.ahead = restore.chunks.iter().map(Vec::len).sum();
        restore.deadline = Timestamp(now.0.saturating_add(CHUNK_TIME));
        let account = restore.account.clone();
        match outcome {
            Outcome::Goes(work) => {
                restore.work = Some(work);
                tell_taken(&account, asked, out);
            }
            Outcome::Filled(mut work) => {
                tell_taken(&account, asked, out);
                let config = restore.config.clone();
                let consumers = std::mem::take(&mut work.consumers);
                let checked = self.checked_consumers(&account, &config, consumers, out);
                self.tasks.push(match checked {
                    Ok(consumers) => {
                        work.consumers = consumers;
                        Task::FinishRestore { id, work }
                    }
                    Err((name, error)) => {
                        let err = format!("failed to add consumer {name:?}: {error}");
                        let reason = Some(ApiError::StreamRestore { err });
                        Task::Forget { id, work, reason }
                    }
                });
            }
            Outcome::Done(restored) => self.end_restore(id, *restored, now, out),
            Outcome::Forgotten => {
                let restore = self.forget_restore(id);
                self.remove_place(&restore.account, restore.at, &restore.config);
            }
            Outcome::Failed(error) => {
                let restore = self.forget_restore(id);
                let body = Response::<StreamCreateBody>::refused(error.clone()).encode();
                let end = match &restore.end {
                    Some(End::Complete(reply)) => Some(reply.clone()),
                    _ => None,
                };
                // Whoever waits for an answer is told once, and the chunks before were taken.
                let mut to: Vec<_> = asked.into_iter().chain(restore.waiting.clone()).collect();
                to.extend(end);
                if let Some(last) = to.pop() {
                    tell_taken(&account, to, out);
                    out.send(&restore.account, &Outgoing::plain(&last, &body));
                }
                log::warn!("Restore failed for stream {}: {error}", restore.label());
                self.remove_place(&restore.account, restore.at, &restore.config);
                self.tell_restored(&restore, now, out);
            }
        }
    }

    /// Serves a stream that was restored.
    fn end_restore<O: Out>(&mut self, id: usize, restored: Restored, now: Timestamp, out: &mut O) {
        let restore = self.forget_restore(id);
        let Restored { opening, in_memory } = restored;
        let (account, at) = (restore.account.clone(), restore.at);
        let stream = (account.clone(), restore.config.clone(), restore.created);
        self.open(at, stream, opening, now);
        self.dirty.push(at);
        self.serving.insert(at);
        let name = &restore.config.name;
        self.tell_of_stream((&account, name), Action::Create, now, out);
        let domain = self.identity.options.domain.clone().unwrap_or_default();
        let mut body = StreamCreateBody::default();
        let mut consumers = Vec::new();
        if let Some(stream) = self.open_stream(at) {
            for saved in in_memory {
                stream.restore_consumer(saved.config, restore.created, &saved.state, now);
            }
            consumers.extend(stream.consumer_names().map(|(name, _)| name.to_owned()));
            body.info = Some(shown_info(stream, now, &domain));
        }
        for consumer in &consumers {
            self.tell_of_consumer((&account, name, consumer), Action::Create, now, out);
        }
        let took = std::time::Duration::from_nanos(now.0.saturating_sub(restore.start.0));
        let (label, bytes) = (restore.label(), restore.bytes);
        log::info!("Completed restore of {bytes} bytes for stream {label} in {took:?}");
        if let Some(End::Complete(reply)) = &restore.end {
            let body = Response::ok(body).encode();
            out.send(&account, &Outgoing::plain(reply, &body));
        }
        self.tell_restored(&restore, now, out);
        self.retry_later();
    }

    fn tell_restored<O: Out>(&mut self, restore: &Restore, now: Timestamp, out: &mut O) {
        let kind = RestoreComplete {
            stream: restore.config.name.clone(),
            start: Time::from_unix_nanos(restore.start.0),
            end: Time::from_unix_nanos(now.0),
            bytes: restore.bytes,
            client: restore.client.clone(),
            domain: self.identity.options.domain.clone().unwrap_or_default(),
        };
        self.tell(&restore.account, kind, now, out);
    }
}

/// Answers chunks that were taken in.
fn tell_taken<O: Out>(account: &Arc<Account>, asked: Vec<Vec<u8>>, out: &mut O) {
    for to in asked {
        out.send(account, &Outgoing::plain(&to, b""));
    }
}

impl Restore {
    fn label(&self) -> String {
        format!("'{} > {}'", self.account.name, self.config.name)
    }
}
