//! Streams that are made, changed and removed.

use super::listeners::Listener;
use super::requests::{Reaction, Request};
use super::tasks::{self, Opening};
use super::{Change, Node, Phase, Slot, Task, decode, info::stream_info};
use crate::accounts::Account;
use crate::jetstream::api::advisory::Action;
use crate::jetstream::api::info::StreamInfo;
use crate::jetstream::api::metadata;
use crate::jetstream::api::request::StreamConfigRequest;
use crate::jetstream::api::response::{StreamCreateBody, StreamDeleteBody, StreamUpdateBody};
use crate::jetstream::api::stream_change::{self, Creation};
use crate::jetstream::api::stream_check::{Streams, Surroundings};
use crate::jetstream::api::{ApiError, Response, StorageType, StreamConfig};
use crate::jetstream::kept;
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::{Parts, Stream};
use crate::json::{Nanos, Time};
use crate::store::directory::Removal;
use crate::store::error::LogError;
use crate::store::journal::StreamKey;
use crate::store::meta::Meta;
use crate::store::types::Timestamp;
use std::sync::Arc;

/// Streams that are made at a time.
const CREATIONS: usize = 256;

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
        let asked: StreamConfigRequest = decode::read(&request.body, self.identity.options.strict)?;
        if self.is_restoring(account, name) {
            return Err(ApiError::StreamNameExist);
        }
        let creation =
            self.with_surroundings(account, |around| stream_change::create(asked, name, around))?;
        let config = match creation {
            Creation::New(config) => *config,
            Creation::Same => {
                let domain = self.identity.options.domain.clone().unwrap_or_default();
                let (_, stream) = self.named(account, name)?;
                return Ok(Some(StreamCreateBody {
                    info: Some(shown_info(stream, now, &domain)),
                    did_create: true,
                }));
            }
        };
        let mut incarnation = [0; 16];
        incarnation[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        incarnation[8..].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        let created = Time::from_unix_nanos(now.0);
        let bytes = kept::encode(&config, created);
        let meta = Meta::new(&account.name, name, incarnation, bytes);
        let slot = self.streams.insert(Slot {
            account: account.clone(),
            name: name.to_owned(),
            key: StreamKey::default(),
            phase: Phase::Creating(request, Box::new(config.clone()), created),
        });
        self.names.insert(account.number, name.to_owned(), slot);
        self.count(account.number, &config, true);
        let log = self.log_options(config.persist_mode);
        self.creations.push(tasks::Creation {
            slot,
            meta,
            config: Box::new(config),
            log,
        });
        Ok(None)
    }

    /// Has streams made that were asked for: all that come while some are being made share the next
    /// syncs.
    pub(super) fn make_streams(&mut self) {
        if self.is_making || self.creations.is_empty() {
            return;
        }
        self.is_making = true;
        let many = self.creations.len().min(CREATIONS);
        self.tasks.push(Task::Create {
            creations: self.creations.drain(..many).collect(),
            place: self.place.clone(),
        });
    }

    /// Streams were made, or not.
    pub(super) fn handle_all_created<O: Out>(
        &mut self,
        all: Vec<(usize, Result<Box<Opening>, LogError>)>,
        now: Timestamp,
        out: &mut O,
    ) {
        self.is_making = false;
        for (at, result) in all {
            self.handle_created(at, result, now, out);
        }
        self.retry_later();
    }

    /// What a configuration is checked against.
    pub(super) fn with_surroundings<T>(
        &self,
        account: &Account,
        check: impl FnOnce(&Surroundings<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let tenant = self.tenants.get(account.number);
        let tenant = tenant.ok_or(ApiError::NotEnabledForAccount)?;
        let window = self
            .identity
            .options
            .duplicate_window_max
            .unwrap_or_default();
        check(&Surroundings {
            streams: &Others {
                node: self,
                account: account.number,
            },
            ledger: &tenant.ledger,
            server: &self.storage,
            duplicate_window_max: Nanos(i64::try_from(window.as_nanos()).unwrap_or(i64::MAX)),
        })
    }

    /// Counts what a stream takes, or takes no more.
    pub(super) fn count(&mut self, account: u32, config: &StreamConfig, counts: bool) {
        let tenant = self.tenants.get_mut(account);
        match counts {
            true => {
                self.storage.reserve(config);
                self.taken.add(account, config);
            }
            false => {
                self.storage.release(config);
                self.taken.remove(account, config);
            }
        }
        if let Some(tenant) = tenant {
            match counts {
                true => tenant.ledger.add_stream(config),
                false => tenant.ledger.remove_stream(config),
            }
        }
    }

    /// A stream was made, or not.
    fn handle_created<O: Out>(
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
                let name = slot.name.clone();
                self.open(at, (account.clone(), config, created), *opening, now);
                self.tell_of_stream((&account, &name), Action::Create, now, out);
                let domain = self.identity.options.domain.clone().unwrap_or_default();
                let stream = self.open_stream(at);
                let info = stream.map(|stream| shown_info(stream, now, &domain));
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
                self.count(account.number, &config, false);
                self.names.remove(account.number, &name);
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
    }

    pub(super) fn send_answer<O: Out>(&self, to: &[u8], body: &[u8], out: &mut O) {
        if let Some(system) = &self.system
            && !to.is_empty()
        {
            out.send(system, &Outgoing::plain(to, body));
        }
    }

    /// Serves a stream whose store is open.
    pub(super) fn open(
        &mut self,
        at: usize,
        (account, config, created): (Arc<Account>, StreamConfig, Time),
        opening: Opening,
        now: Timestamp,
    ) {
        let Opening { store, meta, dir } = opening;
        let meter = self.meter(account.number, &config);
        let stream = Stream::new(Parts {
            account: account.clone(),
            config,
            created,
            store,
            bounds: self.bounds(),
            batches: self.batches.clone(),
            waiters: self.waiters(account.number),
            domain: self.identity.options.domain.clone(),
            long_acks: self.identity.options.long_acks,
            meter,
            seed: self.rng.next_u64(),
            now,
        });
        let listening = self.listen(at, &account, &stream.config);
        if stream.has_origins() {
            self.copying.insert(at);
        }
        let name = stream.config.name.clone();
        let number = account.number;
        self.streams[at].key = self.journal.key(at);
        self.streams[at].phase = Phase::Open {
            stream: Box::new(stream),
            meta: Box::new(meta),
            dir,
            listening,
            change: Change::None,
        };
        self.note_deadline(at);
        self.poke_origins(number, &name, now);
    }

    fn listen(&mut self, at: usize, account: &Arc<Account>, config: &StreamConfig) -> Vec<u32> {
        let listeners = &mut self.listeners;
        let listen =
            |subject: &String| listeners.listen(account, subject.as_bytes(), Listener::Stream(at));
        config.subjects.iter().filter_map(listen).collect()
    }

    /// Serves a stream that was found at the start; false if its account has no JetStream.
    pub fn add_recovered(&mut self, recovered: super::Recovered, now: Timestamp) -> bool {
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
            key: StreamKey::default(),
            phase: Phase::Removing(Request::default()),
        });
        self.names.insert(account.number, name, slot);
        self.count(account.number, &config, true);
        self.open(slot, (account, config, created), opening, now);
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
        if self.is_changing(account, name) || self.is_working(account, name) {
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
        let asked: StreamConfigRequest = decode::read(&request.body, self.identity.options.strict)?;
        let new = self.with_surroundings(account, |around| {
            stream_change::check_update_request(&asked, name, around)
        })?;
        let at = self.find(account.number, name);
        let at = at.ok_or(ApiError::StreamNotFound)?;
        let stream = self.streams[at].stream();
        let old = stream.ok_or(ApiError::StreamNotFound)?.config.clone();
        let config = self.with_surroundings(account, |around| {
            let consumers = self.streams[at].stream().into_iter();
            let consumers = consumers.flat_map(|stream| stream.consumer_configs());
            stream_change::update(&old, &new, asked.pedantic, consumers, around)
        })?;
        self.count(account.number, &old, false);
        self.count(account.number, &config, true);
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
            meta.config = kept::encode(&config, stream.created);
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
        let (old, new) = (stream.config.clone(), (*config).clone());
        let result = result.and_then(|()| {
            *own = meta;
            stream.update(*config)
        });
        match result {
            Ok(()) => {
                let mut steps = Vec::new();
                let own_domain = self.identity.options.domain.as_deref();
                stream.renew_origins(own_domain, now, &mut steps);
                match stream.has_origins() {
                    true => self.copying.insert(at),
                    false => self.copying.remove(&at),
                };
                let config = stream.config.clone();
                let domain = self.identity.options.domain.clone().unwrap_or_default();
                let info = shown_info(stream, now, &domain);
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
                self.do_steps(at, steps, now, out);
                self.note_deadline(at);
                self.tell_of_stream((&account, &config.name), Action::Modify, now, out);
            }
            Err(error) => {
                self.count(account.number, &new, false);
                self.count(account.number, &old, true);
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
            let key = slot.key;
            let (account, config) = (slot.account.number, stream.config.clone());
            self.count(account, &config, false);
            self.forget(key);
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
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(slot) = self.streams.try_remove(at) else {
            return;
        };
        self.names.remove(slot.account.number, &slot.name);
        self.copying.remove(&at);
        let Phase::Removing(request) = slot.phase else {
            return;
        };
        let result = match result {
            Ok(removal) => {
                self.tasks.extend(removal.map(Task::Clean));
                let names = (&slot.account, &*slot.name);
                self.tell_of_stream(names, Action::Delete, now, out);
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
    metadata::show(&mut config.metadata, crate::options::VERSION);
    config
}

/// What is told of a stream that was asked for.
pub(super) fn shown_info(stream: &mut Stream, now: Timestamp, domain: &str) -> StreamInfo {
    let mut info = stream_info(stream, now, domain);
    info.config = with_level(&info.config);
    info
}

/// The streams of an account, as far as others are checked against them.
struct Others<'n> {
    node: &'n Node,
    account: u32,
}

impl Others<'_> {
    fn config(&self, at: usize) -> Option<&StreamConfig> {
        match &self.node.streams[at].phase {
            Phase::Open { stream, .. } => Some(&stream.config),
            Phase::Creating(_, config, _) | Phase::Restoring(config) => Some(config),
            Phase::Reopening(reopening) => Some(&reopening.config),
            Phase::Removing(_) => None,
        }
    }
}

impl Streams for Others<'_> {
    fn stream(&self, name: &str) -> Option<&StreamConfig> {
        self.config(self.node.find(self.account, name)?)
    }

    fn is_taken(&self, subject: &str, except: &str) -> bool {
        self.node.taken.is_taken(self.account, subject, except)
    }
}
