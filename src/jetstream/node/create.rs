//! Streams that are made, changed and removed.

use super::listeners::Listener;
use super::requests::{Reaction, Request};
use super::tasks::{Opening, keep};
use super::{Change, Node, Phase, Slot, Task, decode, info::stream_info};
use crate::accounts::Account;
use crate::jetstream::api::response::{StreamCreateBody, StreamDeleteBody, StreamUpdateBody};
use crate::jetstream::api::{ApiError, Response, StorageType, StreamConfig};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::{Parts, Stream};
use crate::json::Time;
use crate::store::directory::Removal;
use crate::store::error::LogError;
use crate::store::meta::Meta;
use crate::store::types::Timestamp;
use std::sync::Arc;

impl Node {
    pub(super) fn stream_create(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
        now: Timestamp,
    ) -> Reaction {
        if self.is_changing(account, name) {
            return Reaction::Later(request);
        }
        let result = self.begin_create(account, name, request, now);
        match result {
            Ok(None) => Reaction::None,
            Ok(Some(body)) => self.reply(Ok(body)),
            Err(error) => self.reply::<StreamCreateBody>(Err(error)),
        }
    }

    /// Begins to make a stream; gives the answer if there is one like that.
    fn begin_create(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
        now: Timestamp,
    ) -> Result<Option<StreamCreateBody>, ApiError> {
        let config = self.asked_config(account, name, &request, None)?;
        if let Some(at) = self.find(account.number, name) {
            let domain = self.identity.options.domain.clone().unwrap_or_default();
            let stream = self.open_stream(at).ok_or(ApiError::StreamNameExist)?;
            if stream.config != config {
                return Err(ApiError::StreamNameExist);
            }
            let mut info = stream_info(stream, now, &domain);
            info.config = with_level(&info.config);
            return Ok(Some(StreamCreateBody {
                info: Some(info),
                did_create: true,
            }));
        }
        self.check_room(account, &config, None)?;
        let mut incarnation = [0; 16];
        incarnation[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        incarnation[8..].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        let created = Time::from_unix_nanos(now.0);
        let kept = keep(&config, created);
        let meta = Meta::new(&account.name, name, incarnation, kept);
        let slot = self.streams.insert(Slot {
            account: account.clone(),
            name: name.to_owned(),
            phase: Phase::Creating(request, Box::new(config.clone()), created),
        });
        self.names.insert((account.number, name.to_owned()), slot);
        self.tasks.push(Task::Create {
            slot,
            meta,
            config: Box::new(config),
            place: self.place.clone(),
            log: self.log_options(),
        });
        Ok(None)
    }

    /// The configuration that is asked for, checked and completed.
    fn asked_config(
        &self,
        account: &Account,
        name: &str,
        request: &Request,
        old: Option<&StreamConfig>,
    ) -> Result<StreamConfig, ApiError> {
        let strict = self.identity.options.strict;
        let asked = decode::stream_config(&request.body, strict)?;
        let others = self.streams_of(account.number).filter_map(|(other, at)| {
            let config = match &self.streams[at].phase {
                Phase::Open { stream, .. } => &stream.config,
                Phase::Creating(_, config, _) => &**config,
                Phase::Removing(_) => return None,
            };
            (other != name).then_some(config)
        });
        let others: Vec<&StreamConfig> = others.collect();
        decode::check_stream(asked, name, old, &others, &self.identity.options)
    }

    /// Whether the account may have the stream, or what it becomes.
    fn check_room(
        &self,
        account: &Account,
        config: &StreamConfig,
        old: Option<&StreamConfig>,
    ) -> Result<(), ApiError> {
        let tenant = self.tenants.get(account.number);
        let limits = tenant.ok_or(ApiError::NotEnabledForAccount)?.limits;
        let (mut streams, mut reserved) = (0u64, 0u64);
        for (_, at) in self.streams_of(account.number) {
            streams += 1;
            let other = self.streams[at].stream().map(|stream| &stream.config);
            if let Some(other) = other.filter(|other| other.storage == config.storage) {
                reserved += u64::try_from(other.max_bytes).unwrap_or(0);
            }
        }
        if old.is_none()
            && limits
                .max_streams
                .is_some_and(|max| streams >= u64::from(max))
        {
            return Err(ApiError::MaximumStreamsLimit);
        }
        let asked = u64::try_from(config.max_bytes)
            .ok()
            .filter(|bytes| *bytes > 0);
        let before = old.map_or(0, |old| u64::try_from(old.max_bytes).unwrap_or(0));
        let in_file = config.storage == StorageType::File;
        let (own_max, of_account, of_server, error) = match in_file {
            true => (
                limits.storage_max_stream_bytes,
                limits.max_storage,
                self.identity.max_storage,
                ApiError::StorageResourcesExceeded,
            ),
            false => (
                limits.memory_max_stream_bytes,
                limits.max_memory,
                self.identity.max_memory,
                ApiError::MemoryResourcesExceeded,
            ),
        };
        if asked.is_none() && (limits.max_bytes_required || own_max.is_some()) {
            return Err(ApiError::StreamMaxBytesRequired);
        }
        if asked.zip(own_max).is_some_and(|(asked, max)| asked > max) {
            return Err(ApiError::StreamMaxStreamBytesExceeded);
        }
        let more = asked.unwrap_or(0).saturating_sub(before);
        let max = of_account.unwrap_or(u64::MAX).min(of_server);
        match more > 0 && reserved + more > max {
            true => Err(error),
            false => Ok(()),
        }
    }

    /// A stream was made, or not.
    pub(super) fn handle_created<O: Out>(
        &mut self,
        at: usize,
        result: Result<Box<Opening>, LogError>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(slot) = self.streams.get_mut(at) else {
            return;
        };
        let Phase::Creating(request, config, created) = &mut slot.phase else {
            return;
        };
        let reply = std::mem::take(&mut request.reply);
        let (config, created) = (std::mem::take(&mut **config), *created);
        let account = slot.account.clone();
        let body = match result {
            Ok(opening) => {
                self.open(at, account, config, created, *opening);
                let domain = self.identity.options.domain.clone().unwrap_or_default();
                let info = self.open_stream(at).map(|stream| {
                    let mut info = stream_info(stream, now, &domain);
                    info.config = with_level(&info.config);
                    info
                });
                Response::ok(StreamCreateBody {
                    info,
                    did_create: true,
                })
                .encode()
            }
            Err(error) => {
                let name = slot.name.clone();
                log::error!("Error creating stream {name}: {error}");
                self.streams.remove(at);
                self.names.remove(&(account.number, name));
                self.figures.errors += 1;
                let error = match error {
                    LogError::Full => ApiError::StorageResourcesExceeded,
                    error => ApiError::StreamCreate {
                        err: error.to_string(),
                    },
                };
                Response::<StreamCreateBody>::refused(error).encode()
            }
        };
        self.send_answer(&reply, &body, out);
        self.retry_later();
    }

    pub(super) fn send_answer<O: Out>(&self, to: &[u8], body: &[u8], out: &mut O) {
        if let Some(system) = &self.system {
            out.send(system, &Outgoing::plain(to, body));
        }
    }

    /// Serves a stream whose store is open.
    fn open(
        &mut self,
        at: usize,
        account: Arc<Account>,
        config: StreamConfig,
        created: Time,
        opening: Opening,
    ) {
        let Opening { store, meta, dir } = opening;
        let stream = Stream::new(Parts {
            account: account.clone(),
            config,
            created,
            store,
            bounds: self.bounds(),
            domain: self.identity.options.domain.clone(),
            seed: self.rng.next_u64(),
        });
        let listening = self.listen(at, &account, &stream.config);
        self.streams[at].phase = Phase::Open {
            stream: Box::new(stream),
            meta: Box::new(meta),
            dir,
            listening,
            change: Change::None,
        };
    }

    fn listen(&mut self, at: usize, account: &Arc<Account>, config: &StreamConfig) -> Vec<u32> {
        let listeners = &mut self.listeners;
        let listen =
            |subject: &String| listeners.listen(account, subject.as_bytes(), Listener::Stream(at));
        config.subjects.iter().filter_map(listen).collect()
    }

    /// Serves a stream that was found at the start; false if its account has no JetStream.
    pub fn add_recovered(&mut self, recovered: super::Recovered) -> bool {
        let super::Recovered {
            account,
            config,
            created,
            opening,
            ..
        } = recovered;
        let Some(tenant) = self.tenants.named(&account) else {
            return false;
        };
        let account = tenant.account.clone();
        let name = config.name.clone();
        let slot = self.streams.insert(Slot {
            account: account.clone(),
            name: name.clone(),
            phase: Phase::Removing(Request::default()),
        });
        self.names.insert((account.number, name), slot);
        self.open(slot, account, config, created, opening);
        self.dirty.push(slot);
        true
    }

    pub(super) fn stream_update(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
        _now: Timestamp,
    ) -> Reaction {
        if self.is_changing(account, name) {
            return Reaction::Later(request);
        }
        match self.begin_update(account, name, request) {
            Ok(()) => Reaction::None,
            Err(error) => self.reply::<StreamUpdateBody>(Err(error)),
        }
    }

    fn begin_update(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: Request,
    ) -> Result<(), ApiError> {
        let at = self
            .find(account.number, name)
            .ok_or(ApiError::StreamNotFound)?;
        let stream = self.streams[at].stream().ok_or(ApiError::StreamNotFound)?;
        let old = stream.config.clone();
        let config = self.asked_config(account, name, &request, Some(&old))?;
        self.check_room(account, &config, Some(&old))?;
        let disk = self.place.disk.clone();
        if let Phase::Open {
            stream,
            meta,
            dir,
            change,
            ..
        } = &mut self.streams[at].phase
        {
            let mut meta = meta.clone();
            meta.config = keep(&config, stream.created);
            let in_memory = config.storage == StorageType::Memory;
            let disk: Arc<dyn crate::store::disk::Disk> = match in_memory {
                true => Arc::new(crate::store::memory::MemoryDisk::new()),
                false => disk,
            };
            self.tasks.push(Task::Update {
                slot: at,
                meta,
                disk,
                dir: dir.clone(),
            });
            *change = Change::Updating(request, Box::new(config));
        }
        Ok(())
    }

    /// A stream's metadata was written, or not.
    pub(super) fn handle_updated<O: Out>(
        &mut self,
        at: usize,
        meta: Box<Meta>,
        result: Result<(), LogError>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(slot) = self.streams.get_mut(at) else {
            return;
        };
        let account = slot.account.clone();
        let Phase::Open {
            stream,
            meta: own,
            listening,
            change,
            ..
        } = &mut slot.phase
        else {
            return;
        };
        let Change::Updating(request, config) = std::mem::replace(change, Change::None) else {
            return;
        };
        let moves = stream.config.subjects != config.subjects;
        let result = result.and_then(|()| {
            *own = meta;
            stream.update(*config)
        });
        match result {
            Ok(()) => {
                let config = stream.config.clone();
                let domain = self.identity.options.domain.clone().unwrap_or_default();
                let mut info = stream_info(stream, now, &domain);
                info.config = with_level(&info.config);
                let body = StreamUpdateBody { info: Some(info) };
                stream.answer_when_stored(&request.reply, &Response::ok(body).encode());
                if moves {
                    for slot in std::mem::take(listening) {
                        self.listeners.leave(slot);
                    }
                    let slots = self.listen(at, &account, &config);
                    if let Phase::Open { listening, .. } = &mut self.streams[at].phase {
                        *listening = slots;
                    }
                }
                self.dirty.push(at);
            }
            Err(error) => {
                let err = error.to_string();
                let body = Response::<StreamUpdateBody>::refused(ApiError::StreamUpdate { err });
                self.figures.errors += 1;
                self.send_answer(&request.reply, &body.encode(), out);
            }
        }
        self.retry_later();
    }

    /// Closes a stream that is to be removed, as soon as nothing is under way.
    pub(super) fn go_on_removing(&mut self, at: usize) {
        let Some(slot) = self.streams.get_mut(at) else {
            return;
        };
        let is_ready = matches!(&slot.phase, Phase::Open { stream, change: Change::Removal(_), .. } if !stream.is_busy());
        if !is_ready {
            return;
        }
        let phase = std::mem::replace(&mut slot.phase, Phase::Removing(Request::default()));
        if let Phase::Open {
            stream,
            meta,
            dir,
            change: Change::Removal(request),
            ..
        } = phase
        {
            slot.phase = Phase::Removing(request);
            self.tasks.push(Task::Remove {
                slot: at,
                stream,
                meta,
                place: self.place.clone(),
                dir,
            });
        }
    }

    /// A stream was removed, or not.
    pub(super) fn handle_removed<O: Out>(
        &mut self,
        at: usize,
        result: Result<Option<Removal>, LogError>,
        out: &mut O,
    ) {
        let Some(slot) = self.streams.try_remove(at) else {
            return;
        };
        self.names.remove(&(slot.account.number, slot.name.clone()));
        let Phase::Removing(request) = slot.phase else {
            return;
        };
        let result = match result {
            Ok(removal) => {
                self.tasks.extend(removal.map(Task::Clean));
                Ok(StreamDeleteBody { success: true })
            }
            Err(error) => {
                log::error!("Error removing stream {}: {error}", slot.name);
                self.figures.errors += 1;
                let err = error.to_string();
                Err(ApiError::StreamDelete { err })
            }
        };
        let body = Response::from(result).encode();
        self.send_answer(&request.reply, &body, out);
        self.retry_later();
    }
}

/// The configuration as it is told, with the levels of the API and the version.
pub(super) fn with_level(config: &StreamConfig) -> StreamConfig {
    let mut config = config.clone();
    let metadata = &mut config.metadata;
    metadata.insert(
        "_nats.level".into(),
        crate::jetstream::api::LEVEL.to_string(),
    );
    metadata.insert("_nats.ver".into(), crate::options::VERSION.into());
    config
}
