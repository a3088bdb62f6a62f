//! Requests about consumers, and what comes for them.

use super::requests::{Reaction, Request};
use super::tenants::told;
use super::{Node, decode};
use crate::accounts::Account;
use crate::jetstream::api::advisory::Action;
use crate::jetstream::api::consumer_change::{self, Change, Consumers};
use crate::jetstream::api::consumer_check::{ServerLimits, Surroundings, adapt_sourcing};
use crate::jetstream::api::info::AccountLimits;
use crate::jetstream::api::request::{
    ConsumerCreateRequest, ConsumerListRequest, ConsumerPauseRequest, ConsumerResetRequest,
    ConsumerUnpinRequest,
};
use crate::jetstream::api::response::{
    ConsumerCreateBody, ConsumerDeleteBody, ConsumerInfoBody, ConsumerListBody, ConsumerNamesBody,
    ConsumerPauseBody, ConsumerResetBody, ConsumerUnpinBody, Paging,
};
use crate::jetstream::api::subjects::ConsumerTarget;
use crate::jetstream::api::{
    ApiError, ConsumerConfig, Response, StreamConfig, ack, headers, metadata, names, pull,
};
use crate::jetstream::backup::consumers::SavedConsumer;
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::{ConsumerSlot, Incoming, Stream};
use crate::json::{Nanos, Time};
use crate::store::types::{StreamSeq, Timestamp};
use crate::subject::pattern::overlaps;
use std::cell::RefCell;
use std::sync::Arc;

/// Entries of a page: names, and consumers.
const NAMES: usize = 1024;
const LIST: usize = 256;

/// Tokens of subjects that flow control is answered on, without a domain in them.
const FLOW_TOKENS: usize = 5;

/// How often requests of clients that are gone are looked for at most where there are too many, in
/// nanoseconds.
const RELIEF: u64 = 1_000_000_000;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What becomes of a request, with the limits of its account and of the server.
fn planned<O: Out>(
    asked: ConsumerCreateRequest,
    stream: &Stream,
    (account, server): (&AccountLimits, &ServerLimits),
    out: &mut O,
) -> Result<Change, ApiError> {
    let out = RefCell::new(out);
    let around = Surroundings {
        stream: &stream.config,
        account,
        server,
    };
    consumer_change::plan(asked, &Others { stream, out }, &around)
}

/// Whether a consumer that a client has made could be given messages on a subject.
fn takes(config: &ConsumerConfig, filter: &str) -> bool {
    let overlaps = |own: &str| {
        own.is_empty() || filter.is_empty() || overlaps(own.as_bytes(), filter.as_bytes())
    };
    !config.direct
        && !config.sourcing
        && match config.filter_subjects.is_empty() {
            true => overlaps(&config.filter_subject),
            false => config.filter_subjects.iter().any(|own| overlaps(own)),
        }
}

/// Consumers that a stream is to have, as far as the next one is checked against them.
struct Coming<'c, O> {
    account: &'c Arc<Account>,
    all: &'c [SavedConsumer],
    out: RefCell<&'c mut O>,
}

impl<O> Coming<'_, O> {
    fn configs(&self) -> impl Iterator<Item = &ConsumerConfig> {
        self.all.iter().map(|saved| &saved.config)
    }
}

impl<O: Out> Consumers for Coming<'_, O> {
    fn consumer(&self, name: &str) -> Option<&ConsumerConfig> {
        self.configs().find(|config| config.name == name)
    }

    fn count(&self) -> usize {
        let own = |config: &&ConsumerConfig| !config.direct && !config.sourcing;
        self.configs().filter(own).count()
    }

    fn is_taken(&self, filter: &str, except: &str) -> bool {
        self.configs()
            .any(|config| config.name != except && takes(config, filter))
    }

    fn is_listened_to(&self, subject: &str) -> bool {
        let mut out = self.out.borrow_mut();
        out.is_heard(self.account, subject.as_bytes())
    }
}

/// The consumers of a stream, as far as another is checked against them.
struct Others<'o, O> {
    stream: &'o Stream,
    out: RefCell<&'o mut O>,
}

impl<O: Out> Consumers for Others<'_, O> {
    fn consumer(&self, name: &str) -> Option<&ConsumerConfig> {
        let at = self.stream.find_consumer(name)?;
        self.stream.consumer_config(at)
    }

    fn count(&self) -> usize {
        self.stream.client_consumer_count()
    }

    fn is_taken(&self, filter: &str, except: &str) -> bool {
        let mut all = self.stream.consumer_configs();
        all.any(|(name, config)| name != except && takes(config, filter))
    }

    fn is_listened_to(&self, subject: &str) -> bool {
        let mut out = self.out.borrow_mut();
        out.is_heard(&self.stream.account, subject.as_bytes())
    }
}

/// Makes a request for a consumer that takes messages for another stream fit this one. Gives the
/// headers of the answer, if there are to be any.
fn sourcing(
    asked: &mut ConsumerCreateRequest,
    stream: &Stream,
    block: &[u8],
    fresh: &str,
) -> Result<Option<Vec<u8>>, ApiError> {
    let config = &mut asked.config;
    adapt_sourcing(config, &stream.config, fresh);
    if !config.direct && !config.sourcing {
        return Ok(None);
    }
    let identity = stream.identity();
    let expected = headers::value(block, headers::STREAM_IDENTITY);
    let expected = expected.map(<[u8]>::trim_ascii).unwrap_or_default();
    if !expected.is_empty() && expected != identity.as_bytes() {
        return Err(ApiError::ConsumerStreamIdentityMismatch { msg: identity });
    }
    if config.sourcing
        && config.is_durable()
        && let Some(place) = stream.find_consumer(&config.durable)
        && let Some(there) = stream.consumer_config(place)
    {
        // It goes on where it is, wherever one would begin that is new.
        config.deliver_policy = there.deliver_policy;
        config.opt_start_seq = there.opt_start_seq;
        config.opt_start_time = there.opt_start_time;
    }
    Ok(Some(identity_block(&identity)))
}

fn identity_block(identity: &str) -> Vec<u8> {
    let name = headers::STREAM_IDENTITY;
    format!("NATS/1.0\r\n{name}: {identity}\r\n\r\n").into_bytes()
}

impl Node {
    pub(super) fn consumer_create<O: Out>(
        &mut self,
        account: &Arc<Account>,
        target: ConsumerTarget<'_>,
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        match self.create_consumer(account, target, request, now, out) {
            // It is answered when it is stored.
            Ok(()) => Reaction::None,
            Err(error) => self.reply::<ConsumerCreateBody>(Err(error)),
        }
    }

    fn create_consumer<O: Out>(
        &mut self,
        account: &Account,
        target: ConsumerTarget<'_>,
        request: &Request,
        now: Timestamp,
        out: &mut O,
    ) -> Result<(), ApiError> {
        let strict = self.identity.options.strict;
        let mut asked: ConsumerCreateRequest = decode::read(&request.body, strict)?;
        consumer_change::apply_target(&mut asked, target)?;
        let server = self.server_limits();
        let tenant = self.tenants.get(account.number);
        let limits = told(&tenant.ok_or(ApiError::NotEnabledForAccount)?.limits);
        let fresh = self.consumer_name();
        let (at, stream) = self.named(account, target.stream())?;
        let identity = sourcing(&mut asked, stream, &request.headers, &fresh)?;
        let sourcing = asked.config.sourcing;
        let change = planned(asked, stream, (&limits, &server), out)?;
        let failed = |error: &dyn std::fmt::Display| ApiError::ConsumerStoreFailed {
            err: error.to_string(),
        };
        let created = matches!(change, Change::New(_));
        let place = match change {
            Change::New(mut config) => {
                if config.name.is_empty() {
                    config.name = match config.is_durable() {
                        true => config.durable.clone(),
                        false => fresh,
                    };
                }
                let created = Time::from_unix_nanos(now.0);
                let made = stream.create_consumer(*config, created, now, out);
                made.map_err(|e| failed(&e))?
            }
            Change::Update(config) => {
                let name = match config.is_durable() {
                    true => &config.durable,
                    false => &config.name,
                };
                let place = stream.find_consumer(name);
                let place = place.ok_or(ApiError::ConsumerNotFound)?;
                let mut config = *config;
                if config.name.is_empty() {
                    config.name.clone_from(&config.durable);
                }
                if stream.consumer_config(place) != Some(&config) {
                    let updated = stream.update_consumer(place, config, now, out);
                    updated.map_err(|e| failed(&e))?;
                }
                place
            }
        };
        if sourcing {
            // Who takes messages for another stream begins behind what it has acknowledged.
            stream.reset_consumer(place, None, now, out);
        }
        stream.check_interest(now, out);
        let info = stream.told(place, now, out);
        let created = stream
            .consumer_config(place)
            .filter(|_| created)
            .map(|config| (stream.account.clone(), target.stream(), config.name.clone()));
        let body = Response::ok(ConsumerCreateBody { info }).encode();
        match identity {
            Some(block) => stream.tell_when_stored(&request.reply, &block, &body),
            None => stream.answer_when_stored(&request.reply, &body),
        }
        self.dirty.push(at);
        self.serving.insert(at);
        if let Some((account, stream, consumer)) = created {
            let names = (&account, stream, &*consumer);
            self.tell_of_consumer(names, Action::Create, now, out);
        }
        Ok(())
    }

    /// Consumers that somebody else kept, for a stream that has none yet, if requests could make all of
    /// them. If not, the name of the first that is refused.
    pub(super) fn checked_consumers<O: Out>(
        &self,
        account: &Arc<Account>,
        stream: &StreamConfig,
        saved: Vec<SavedConsumer>,
        out: &mut O,
    ) -> Result<Vec<SavedConsumer>, (String, ApiError)> {
        let server = self.server_limits();
        let limits = self.tenants.get(account.number).map(|t| told(&t.limits));
        let mut checked: Vec<SavedConsumer> = Vec::new();
        for SavedConsumer { config, state } in saved {
            let name = config.name.clone();
            let check = || {
                let account_limits = limits.as_ref().ok_or(ApiError::NotEnabledForAccount)?;
                if names::is_path(&name) {
                    return Err(ApiError::ConsumerNameContainsPathSeparators);
                }
                let asked = ConsumerCreateRequest {
                    stream_name: stream.name.clone(),
                    config,
                    ..ConsumerCreateRequest::default()
                };
                let before = Coming {
                    account,
                    all: &checked,
                    out: RefCell::new(out),
                };
                let around = Surroundings {
                    stream,
                    account: account_limits,
                    server: &server,
                };
                match consumer_change::plan(asked, &before, &around)? {
                    Change::New(config) => Ok(*config),
                    Change::Update(_) => Err(ApiError::ConsumerAlreadyExists),
                }
            };
            match check() {
                Ok(config) => checked.push(SavedConsumer { config, state }),
                Err(error) => return Err((name, error)),
            }
        }
        Ok(checked)
    }

    fn server_limits(&self) -> ServerLimits {
        let options = &self.identity.options;
        ServerLimits {
            max_ack_pending: options.max_ack_pending.map_or(0, i64::from),
            max_request_batch: options.max_request_batch.map_or(0, i64::from),
            default_max_consumers: options.default_max_consumers.map_or(-1, i64::from),
        }
    }

    /// A name for a consumer that was not given any.
    fn consumer_name(&mut self) -> String {
        let letters = (0..8).map(|_| char::from(LETTERS[self.rng.below(LETTERS.len())]));
        letters.collect()
    }

    fn consumer(
        &mut self,
        account: &Account,
        stream: &str,
        consumer: &str,
    ) -> Result<(usize, &mut Stream, ConsumerSlot), ApiError> {
        let (at, stream) = self.named(account, stream)?;
        let place = stream.find_consumer(consumer);
        Ok((at, stream, place.ok_or(ApiError::ConsumerNotFound)?))
    }

    pub(super) fn consumer_info<O: Out>(
        &mut self,
        account: &Account,
        (stream, consumer): (&str, &str),
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        if !request.is_empty() {
            return self.reply::<ConsumerInfoBody>(Err(ApiError::NotEmptyRequest));
        }
        let info = self
            .consumer(account, stream, consumer)
            .and_then(|(_, own, place)| {
                let told = own.told(place, now, out);
                told.ok_or(ApiError::ConsumerNotFound)
            });
        self.reply(info.map(|info| ConsumerInfoBody { info: Some(info) }))
    }

    pub(super) fn consumer_names(
        &mut self,
        account: &Account,
        stream: &str,
        request: &Request,
    ) -> Reaction {
        let page = self.consumer_page(account, stream, request, NAMES);
        self.reply(page.map(|(paging, page)| ConsumerNamesBody {
            paging,
            consumers: page.into_iter().map(|(name, _)| name).collect(),
        }))
    }

    pub(super) fn consumer_list<O: Out>(
        &mut self,
        account: &Account,
        stream: &str,
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let page = self.consumer_page(account, stream, request, LIST);
        let body = page.and_then(|(paging, page)| {
            let (_, own) = self.named(account, stream)?;
            let mut consumers = Vec::new();
            for (_, place) in page {
                if let Some(mut info) = own.told(place, now, out) {
                    // As it is kept: the levels of the API are told of single ones only.
                    info.config = own.consumer_config(place).cloned();
                    consumers.push(info);
                }
            }
            Ok(ConsumerListBody {
                paging,
                consumers,
                ..ConsumerListBody::default()
            })
        });
        self.reply(body)
    }

    fn consumer_page(
        &mut self,
        account: &Account,
        stream: &str,
        request: &Request,
        limit: usize,
    ) -> Result<(Paging, Vec<(String, ConsumerSlot)>), ApiError> {
        let asked: ConsumerListRequest = match request.json() {
            Some(json) => decode::read(json, self.identity.options.strict)?,
            None => ConsumerListRequest::default(),
        };
        let (_, own) = self.named(account, stream)?;
        let shown = |at: ConsumerSlot| own.consumer_config(at).is_some_and(|config| !config.direct);
        let total = own.consumer_count();
        let offset = usize::try_from(asked.offset).unwrap_or(0).min(total);
        let paging = Paging {
            total: total as u64,
            offset: offset as u64,
            limit: limit as u64,
        };
        let all = own.consumer_names().filter(|(_, at)| shown(*at));
        let page = all.skip(offset).take(limit);
        let page = page.map(|(name, at)| (name.to_owned(), at)).collect();
        Ok((paging, page))
    }

    pub(super) fn consumer_delete<O: Out>(
        &mut self,
        account: &Arc<Account>,
        (stream, consumer): (&str, &str),
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let result = match request.is_empty() {
            false => Err(ApiError::NotEmptyRequest),
            true => self
                .consumer(account, stream, consumer)
                .and_then(|(at, own, place)| {
                    own.delete_consumer(place, now, out)
                        .map_err(|e| ApiError::StreamGeneral { err: e.to_string() })?;
                    let body = Response::ok(ConsumerDeleteBody { success: true }).encode();
                    own.answer_when_stored(&request.reply, &body);
                    Ok(at)
                }),
        };
        match result {
            Ok(at) => {
                self.dirty.push(at);
                let names = (account, stream, consumer);
                self.tell_of_consumer(names, Action::Delete, now, out);
                Reaction::None
            }
            Err(error) => self.reply::<ConsumerDeleteBody>(Err(error)),
        }
    }

    pub(super) fn consumer_pause<O: Out>(
        &mut self,
        account: &Account,
        (stream, consumer): (&str, &str),
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let strict = self.identity.options.strict;
        let result = (|| {
            let asked: ConsumerPauseRequest = match request.json() {
                Some(json) => decode::read(json, strict)?,
                None => ConsumerPauseRequest::default(),
            };
            let (at, own, place) = self.consumer(account, stream, consumer)?;
            let config = own.consumer_config(place).cloned();
            let mut config = config.ok_or(ApiError::ConsumerNotFound)?;
            let until = asked.pause_until;
            config.pause_until = Some(until).filter(|until| !until.is_zero());
            let level = metadata::consumer_level(&config);
            metadata::set_required(&mut config.metadata, level);
            own.update_consumer(place, config, now, out)
                .map_err(|e| ApiError::ConsumerStoreFailed { err: e.to_string() })?;
            let left = until.since(Time::from_unix_nanos(now.0));
            let paused = left.0 > 0;
            let body = ConsumerPauseBody {
                paused,
                pause_until: until,
                pause_remaining: if paused { left } else { Nanos(0) },
            };
            own.answer_when_stored(&request.reply, &Response::ok(body).encode());
            Ok(at)
        })();
        match result {
            Ok(at) => {
                self.dirty.push(at);
                self.serving.insert(at);
                Reaction::None
            }
            Err(error) => self.reply::<ConsumerPauseBody>(Err(error)),
        }
    }

    pub(super) fn consumer_unpin<O: Out>(
        &mut self,
        account: &Account,
        (stream, consumer): (&str, &str),
        request: &Request,
        (now, out): (Timestamp, &mut O),
    ) -> Reaction {
        let result = (|| {
            // Fields that there are not do no harm here, as in the reference.
            let asked = crate::json::decode::document(&request.body);
            let asked: ConsumerUnpinRequest = asked.map_err(ApiError::invalid_json)?;
            asked.check()?;
            let (at, own, place) = self.consumer(account, stream, consumer)?;
            let config = own.consumer_config(place);
            let groups = config.map(|config| config.priority_groups.clone());
            if !groups.unwrap_or_default().contains(&asked.group) {
                return Err(ApiError::ConsumerInvalidPriorityGroup);
            }
            own.unpin(place, &asked.group, now, out);
            self.serving.insert(at);
            Ok(ConsumerUnpinBody {})
        })();
        self.reply(result)
    }

    /// Lets a consumer begin anew; who asks is answered by the consumer itself.
    pub(super) fn consumer_reset<O: Out>(
        &mut self,
        account: u32,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(reply) = message.reply else { return };
        let Some((at, stream, place)) = self.addressed(account, message, 4, out) else {
            return;
        };
        let asked = match crate::jetstream::api::subjects::is_empty(message.payload) {
            true => Ok(ConsumerResetRequest::default()),
            false => decode::read::<ConsumerResetRequest>(message.payload, true),
        };
        let result = asked.and_then(|asked| {
            let to = Some(StreamSeq(asked.seq)).filter(|to| to.0 > 0);
            let reset = stream.reset_consumer(place, to, now, out);
            let reset = reset.ok_or(ApiError::ConsumerNotFound)?;
            reset.map_err(|e| ApiError::ConsumerInvalidReset { err: e.to_string() })
        });
        let body = result.map(|sequence| ConsumerResetBody {
            info: stream.told(place, now, out),
            reset_seq: sequence.0,
        });
        let body = Response::from(body).encode();
        match headers::value(message.headers, headers::STREAM_IDENTITY) {
            Some(_) => stream.tell_when_kept(reply, &identity_block(&stream.identity()), &body),
            None => stream.answer_when_kept(reply, &body),
        }
        self.dirty.push(at);
        self.serving.insert(at);
    }

    /// The consumer that the tokens `stream` and the next one of a subject name. If there is none,
    /// who asks is told that nobody listens.
    fn addressed<O: Out>(
        &mut self,
        account: u32,
        message: &Incoming<'_>,
        stream: usize,
        out: &mut O,
    ) -> Option<(usize, &mut Stream, ConsumerSlot)> {
        let subject = std::str::from_utf8(message.subject).ok()?;
        let mut tokens = subject.split('.').skip(stream);
        let (name, consumer) = (tokens.next()?, tokens.next()?);
        let found = self.find(account, name).and_then(|at| {
            let own = self.streams.get(at)?.stream()?;
            Some((at, own.find_consumer(consumer)?))
        });
        match found {
            Some((at, place)) => Some((at, self.open_stream(at)?, place)),
            None => {
                if let (Some(tenant), Some(reply)) = (self.tenants.get(account), message.reply) {
                    let headers = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
                    out.send(
                        &tenant.account,
                        &Outgoing::status(reply, headers.as_bytes()),
                    );
                }
                None
            }
        }
    }

    /// Takes a request for a consumer's next messages.
    pub(super) fn next_messages<O: Out>(
        &mut self,
        account: u32,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(reply) = message.reply else { return };
        let Some((at, stream, place)) = self.addressed(account, message, 5, out) else {
            return;
        };
        if super::requests::needs_more(message.headers) {
            let headers = b"NATS/1.0 412 Required Api Level\r\n\r\n";
            out.send(&stream.account, &Outgoing::status(reply, headers));
            return;
        }
        let request = pull::parse(message.payload);
        let request = request.as_ref().map_err(String::as_str);
        stream.pull(place, reply, request, now, out);
        self.serving.insert(at);
        self.relieve(account, now);
    }

    /// Looks for requests of clients that are gone, now and then, if one was refused as there are too
    /// many at the account's consumers.
    fn relieve(&mut self, account: u32, now: Timestamp) {
        let Some(tenant) = self.tenants.get_mut(account) else {
            return;
        };
        if !tenant.waiters.take_crowded() || now.0 < tenant.relieved_at.0.saturating_add(RELIEF) {
            return;
        }
        tenant.relieved_at = now;
        let all: Vec<usize> = self.streams_of(account).map(|(_, at)| at).collect();
        for at in all {
            if let Some(stream) = self.open_stream(at) {
                stream.look_through_requests(now);
                self.serving.insert(at);
            }
        }
    }

    /// Takes an acknowledgement.
    pub(super) fn acknowledge<O: Out>(
        &mut self,
        account: u32,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(subject) = ack::parse_subject(message.subject) else {
            return;
        };
        let stream = std::str::from_utf8(subject.stream).unwrap_or_default();
        let consumer = std::str::from_utf8(subject.consumer).unwrap_or_default();
        let Some(at) = self.find(account, stream) else {
            return;
        };
        let Some(own) = self.open_stream(at) else {
            return;
        };
        let Some(place) = own.find_consumer(consumer) else {
            return;
        };
        let reply = message.reply.unwrap_or_default();
        let was_dirty = own.is_dirty();
        own.acknowledge(place, &subject.delivery, message.payload, reply, (now, out));
        if own.is_dirty() && !was_dirty {
            self.dirty.push(at);
        }
        self.serving.insert(at);
    }

    /// Takes an answer to a request of flow control.
    pub(super) fn flow<O: Out>(
        &mut self,
        account: u32,
        message: &Incoming<'_>,
        now: Timestamp,
        out: &mut O,
    ) {
        let subject = std::str::from_utf8(message.subject).unwrap_or_default();
        // With the domain and the account in it, there are two tokens more.
        let skipped = if subject.split('.').count() > FLOW_TOKENS {
            4
        } else {
            2
        };
        let mut tokens = subject.split('.').skip(skipped);
        let (Some(stream), Some(consumer)) = (tokens.next(), tokens.next()) else {
            return;
        };
        let Some(at) = self.find(account, stream) else {
            return;
        };
        let Some(own) = self.open_stream(at) else {
            return;
        };
        if let Some(place) = own.find_consumer(consumer) {
            own.flow(place, message.subject, message.headers, now, out);
            if own.is_dirty() {
                self.dirty.push(at);
            }
            self.serving.insert(at);
        }
    }
}
