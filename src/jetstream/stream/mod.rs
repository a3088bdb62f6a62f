//! A stream: what its configuration asks for, on top of the store.
//!
//! Messages come in by [`Stream::publish`]. They are visible, and their publishers are told so, when
//! the store says that they are stored; [`Stream::settle`] looks for that, after everything was
//! written and after every job that was done.

mod advisory;
mod batches;
mod check;
mod consumers;
mod copied;
mod counter;
mod dedupe;
mod fast;
mod headers;
mod health;
mod meter;
mod origins;
mod publish;
mod read;
mod republish;
mod saved;
mod schedules;
mod settings;
mod turns;
mod view;
mod waiting;

#[cfg(test)]
mod tests;

use self::batches::Batches;
use self::consumers::Consumers;
use self::dedupe::Dedupe;
use self::fast::FastBatches;
use self::origins::Origins;
use self::waiting::{Answer, Waiting};
use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::base::text::push_decimal;
use crate::jetstream::api::advisory::AbandonReason;
use crate::jetstream::api::headers::{MARKER_REASON, ROLLUP, TTL, value};
use crate::jetstream::api::policy::PersistMode;
use crate::jetstream::api::stream_check::short_hash;
use crate::jetstream::api::{
    ApiError, DiscardPolicy, RetentionPolicy, StorageType, StoreCompression, StreamConfig,
};
use crate::jetstream::consumer::Waiters;
use crate::jetstream::out::{Out, Outgoing};
use crate::json::Time;
use crate::options::jetstream::BatchLimits;
use crate::store::error::LogError;
use crate::store::file::{Compression, ReadBuffer, Tail};
use crate::store::stream::{
    Expired, Job, JobDone, Limits, Marker, Purge, StreamState, StreamStore,
};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};
use crate::subject::transform::Transform;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

pub use self::batches::OpenBatches;
pub use self::consumers::ConsumerFault;
pub(in crate::jetstream) use self::headers::ttl_of;
pub use self::health::{Remains, Unrecorded};
pub use self::meter::{Gauge, Meter};
pub use self::publish::Incoming;
pub use self::read::{GetError, Got, Locator};
pub(in crate::jetstream) use self::saved::store_consumer;
pub(in crate::jetstream) use self::schedules::due_of;
pub use crate::jetstream::consumer::Slot as ConsumerSlot;

/// Messages that are looked at in one turn where there is much to do.
const WORK: usize = 2048;

/// How often messages are looked for that have lived as long as they said.
const TTL_CHECK: u64 = 250_000_000;

/// How long jobs that failed are left alone.
const JOB_REST: Duration = Duration::from_secs(5);

/// Whether jobs are left alone for a while.
#[derive(Clone, Copy, Debug)]
enum Rest {
    None,
    /// From the next turn on.
    Wanted,
    Until(Mono),
}

/// One stream.
pub struct Stream {
    pub account: Arc<Account>,
    pub config: StreamConfig,
    pub created: Time,
    /// The domain and the account's hash, if subjects of acknowledgements begin with them.
    place: Option<Box<(String, String)>>,
    store: StreamStore,
    bounds: Bounds,
    dedupe: Dedupe,
    /// The id of the last message.
    last_msg_id: Vec<u8>,
    /// Whether ids of messages from before the start are still to be read.
    ids_unread: bool,
    transform: Option<Transform>,
    republish: Option<Transform>,
    waiting: Waiting,
    /// Up to where subscribers may see messages.
    visible: StreamSeq,
    /// Whether there is something to be written.
    dirty: bool,
    /// Whether a job runs.
    jobs: usize,
    /// The start of an answer: `{"stream":"S",`.
    ack_head: Vec<u8>,
    /// A purge under way, of which somebody is to be told.
    purging: Vec<PurgeAnswer>,
    /// When messages are to be looked for whose time is over.
    expire_at: Option<Timestamp>,
    consumers: Consumers,
    /// The links to streams that messages come from.
    origins: Option<Box<Origins>>,
    /// Whether messages were purged that consumers do not know of.
    purged: bool,
    /// What is to be brought into memory.
    warm: Vec<Job>,
    scrubbing: bool,
    rest: Rest,
    meter: Meter,
    /// Why what waits will not be stored, if so.
    refuses: Option<String>,
    rng: Rng,
    body: Vec<u8>,
    subject: Vec<u8>,
    batches: Batches,
    fast: FastBatches,
    /// Schedules make nothing before this time, since something could not be stored.
    schedules_wait: Timestamp,
    buffer: ReadBuffer,
}

/// What the server allows a stream.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Messages, and bytes of them, that may wait to be stored.
    pub waiting_messages: usize,
    pub waiting_bytes: usize,
    pub batches: BatchLimits,
}

struct PurgeAnswer {
    to: Vec<u8>,
    /// Messages there would be if nothing were removed.
    messages: u64,
}

/// What a stream is made of.
pub struct Parts {
    pub account: Arc<Account>,
    pub config: StreamConfig,
    pub created: Time,
    pub store: StreamStore,
    pub bounds: Bounds,
    /// The batches of all streams.
    pub batches: Arc<OpenBatches>,
    /// What requests hold that wait at consumers of the account.
    pub waiters: Arc<Waiters>,
    pub domain: Option<String>,
    /// Whether subjects of acknowledgements have the domain and the account in them.
    pub long_acks: bool,
    pub meter: Meter,
    pub seed: u64,
    pub now: Timestamp,
}

/// What the store removes by itself.
pub fn limits(config: &StreamConfig) -> Limits {
    let limit = |n: i64| u64::try_from(n).unwrap_or(0);
    let evicts = config.discard == DiscardPolicy::Old;
    let per_subject = evicts || !config.discard_new_per_subject;
    Limits {
        messages: if evicts { limit(config.max_msgs) } else { 0 },
        bytes: if evicts { limit(config.max_bytes) } else { 0 },
        per_subject: if per_subject {
            limit(config.max_msgs_per_subject)
        } else {
            0
        },
        age: duration(config.max_age.0),
    }
}

/// What becomes of segments of the store that are complete.
pub fn compression(config: &StreamConfig) -> Compression {
    match config.compression {
        StoreCompression::None => Compression::None,
        StoreCompression::S2 => Compression::S2,
    }
}

fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl Stream {
    /// A stream that was opened.
    pub fn new(parts: Parts) -> Stream {
        let Parts {
            account,
            config,
            created,
            store,
            bounds,
            batches,
            waiters,
            domain,
            long_acks,
            meter,
            seed,
            now,
        } = parts;
        let mut ack_head = Vec::new();
        // The names of streams and domains need no escapes in JSON but for quotes and controls, which
        // this writes.
        ack_head.extend_from_slice(b"{\"stream\":");
        ack_head.extend(crate::json::compact(&config.name));
        ack_head.push(b',');
        if let Some(domain) = &domain {
            ack_head.extend_from_slice(b"\"domain\":");
            ack_head.extend(crate::json::compact(domain));
            ack_head.push(b',');
        }
        let place = long_acks.then(|| {
            let domain = domain.clone().unwrap_or_default();
            Box::new((domain, short_hash(&account.name)))
        });
        let visible = store.visible();
        let ids_unread = store.messages() > 0;
        let mut stream = Stream {
            account,
            created,
            place,
            bounds,
            dedupe: Dedupe::new(duration(config.duplicate_window.0), seed),
            last_msg_id: Vec::new(),
            ids_unread,
            transform: None,
            republish: None,
            waiting: Waiting::default(),
            visible,
            dirty: false,
            jobs: 0,
            ack_head,
            purging: Vec::new(),
            expire_at: None,
            consumers: Consumers::new(seed.rotate_left(7), waiters),
            origins: None,
            purged: false,
            warm: Vec::new(),
            scrubbing: false,
            rest: Rest::None,
            refuses: None,
            meter,
            rng: Rng::new(seed),
            body: Vec::new(),
            subject: Vec::new(),
            batches: Batches::new(batches.clone()),
            fast: FastBatches::new(batches),
            schedules_wait: Timestamp(0),
            buffer: ReadBuffer::default(),
            store,
            config,
        };
        // Only consumers that are served have something else to do meanwhile.
        stream.store.set_hurried(false);
        stream.adapt();
        stream.open_consumers(now);
        stream.measure();
        stream.open_origins(domain, now);
        stream
    }

    /// Makes what follows from the configuration.
    fn adapt(&mut self) {
        let config = &self.config;
        self.dedupe.set_window(duration(config.duplicate_window.0));
        // Both were checked.
        self.transform = config
            .subject_transform
            .as_ref()
            .and_then(|t| Transform::new(source(&t.source), &t.destination, false).ok());
        self.republish = config
            .republish
            .as_ref()
            .and_then(|r| Transform::new(source(&r.source), &r.destination, false).ok());
        let expires = config.max_age.0 > 0 || config.allow_msg_ttl;
        self.expire_at = expires.then_some(Timestamp(0));
    }

    /// Goes on with another configuration, which was checked and is on the disk.
    ///
    /// # Errors
    /// What the store has to say; its limits are the old ones then.
    pub fn update(&mut self, config: StreamConfig) -> Result<(), LogError> {
        let limits = limits(&config);
        if limits != self.store.limits() {
            // Requests wait for what is under way, so that this is what came since.
            while self.store.has_work() && self.store.work(WORK) {}
            self.store.set_limits(&limits)?;
            self.dirty = true;
        }
        if config.compression != self.config.compression {
            self.store.set_compression(compression(&config));
        }
        self.config = config;
        if !self.config.allow_atomic {
            self.batches.clear();
        }
        if !self.config.allow_batched {
            self.fast.clear();
        }
        self.adapt();
        Ok(())
    }

    /// What the store has to tell.
    pub fn state(&self) -> StreamState {
        self.store.state()
    }

    /// Asks for the last messages of these subjects, which will be read soon, or `replaced`.
    pub fn look_ahead(&mut self, subjects: &[&[u8]], replaced: bool) {
        self.store.look_ahead(subjects, replaced);
    }

    /// Whether a new message takes the place of the last one on its subject.
    pub fn looks_back(&self) -> bool {
        self.config.max_msgs_per_subject == 1
    }

    /// The store, to be looked at.
    pub fn store(&self) -> &StreamStore {
        &self.store
    }

    /// Whether there is something to be [written](Stream::write).
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether [`Stream::work`] has something to do.
    pub fn has_work(&self) -> bool {
        self.store.has_work()
    }

    /// Whether some job is under way, so that the stream cannot be closed.
    pub fn is_busy(&self) -> bool {
        self.jobs > 0
    }

    /// Gets all that came ready to be written, by [`Stream::write`] or by the commit journal.
    pub fn prepare<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        self.tell_gone(now, out);
        self.keep_events();
        self.keep_positions(false);
        self.dirty = false;
        self.measure();
    }

    /// Writes what came. What cannot be written is told to those who wait for it.
    pub fn write(&mut self) {
        if let Err(error) = self.store.commit() {
            self.fail(&error);
        }
    }

    /// Writes what came, here and now.
    #[cfg(test)]
    pub fn commit<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        self.prepare(now, out);
        self.write();
    }

    /// Whether the commit journal may write what came: it has to be on the disk before anybody is told
    /// so.
    pub fn is_durable(&self) -> bool {
        self.config.storage == StorageType::File && self.config.persist_mode == PersistMode::Default
    }

    /// The end of the log, for the commit journal.
    pub fn tail(&mut self) -> Tail<'_> {
        self.store.tail()
    }

    /// Whether something that came is still to be written, once a sync is done.
    pub fn has_unwritten(&mut self) -> bool {
        let tail = self.store.tail();
        tail.bytes() > 0 && tail.is_new()
    }

    /// What was to be written cannot be.
    pub fn handle_unwritten(&mut self, error: &LogError) {
        self.fail(error);
    }

    /// Whether a job has failed a moment ago, so that those are left which nobody waits for.
    fn rests(&mut self, now: Mono) -> bool {
        if matches!(self.rest, Rest::Wanted) {
            self.rest = Rest::Until(now + JOB_REST);
        }
        matches!(self.rest, Rest::Until(until) if now < until)
    }

    /// Whether something is to be brought into memory.
    pub fn is_cold(&self) -> bool {
        !self.warm.is_empty()
    }

    /// A job that is to be run, if there is one.
    pub fn poll_job(&mut self, now: Mono) -> Option<Job> {
        let job = match self.warm.pop() {
            Some(job) => job,
            None if self.rests(now) => self.store.poll_sync(now)?,
            None => self.store.poll_job(now)?,
        };
        self.jobs += 1;
        Some(job)
    }

    /// Takes the outcome of a job.
    pub fn handle_done(&mut self, done: JobDone) {
        self.jobs -= 1;
        let is_warm = matches!(done, JobDone::Warm(_));
        self.scrubbing &= !matches!(done, JobDone::Scrub(_));
        if let Err(error) = self.store.handle_done(done) {
            log::error!("Stream {}: {error}", self.label());
            self.rest = Rest::Wanted;
        }
        if is_warm {
            self.wake_cold();
        }
        if let Some(reason) = self.store.log().failure().cloned() {
            self.fail(&LogError::ReadOnly(reason));
        }
    }

    /// Answers those whose messages are stored, and lets them be seen.
    pub fn settle<O: Out>(&mut self, system: Option<&Arc<Account>>, out: &mut O) {
        let stored = self.store.acknowledged();
        let before = self.visible;
        self.visible = self.visible.max(self.store.visible());
        if self.republish.is_some() {
            self.republish_from(before.next(), out);
        }
        self.feed(before.next());
        if self.waiting.is_empty() {
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        while let Some(due) = self.waiting.pop(stored) {
            let mut account = &self.account;
            let payload = match due.kind {
                Answer::Stored(sequence) | Answer::Duplicate(sequence) => {
                    body.clear();
                    body.extend_from_slice(&self.ack_head);
                    body.extend_from_slice(b"\"seq\":");
                    push_decimal(&mut body, sequence.0);
                    if let Answer::Duplicate(_) = due.kind {
                        // The blank is the reference's.
                        body.extend_from_slice(b",\"duplicate\": true");
                    }
                    body.extend_from_slice(due.body);
                    body.push(b'}');
                    &body[..]
                }
                Answer::Body => due.body,
                Answer::Status => {
                    out.send(&self.account, &Outgoing::status(due.to, due.body));
                    continue;
                }
                Answer::Told { headers, by_api } => {
                    let (headers, payload) = due.body.split_at(headers as usize);
                    let account = match by_api {
                        true => system.unwrap_or(account),
                        false => account,
                    };
                    let message = Outgoing {
                        headers,
                        ..Outgoing::plain(due.to, payload)
                    };
                    out.send(account, &message);
                    continue;
                }
                Answer::Api => {
                    account = system.unwrap_or(account);
                    due.body
                }
            };
            out.send(account, &Outgoing::plain(due.to, payload));
        }
        self.body = body;
        if let Some(text) = self.refuses.take() {
            self.refuse_waiting(&text, system, out);
        }
        self.waiting.tidy();
    }

    /// Answers a request of the API when all that was done so far is stored.
    pub fn answer_when_stored(&mut self, to: &[u8], body: &[u8]) {
        let after = self.store.log().last_index();
        self.waiting.push(after, to, body, Answer::Api);
    }

    /// Answers a request of the API with headers when all that was done so far is stored.
    pub fn tell_when_stored(&mut self, to: &[u8], headers: &[u8], body: &[u8]) {
        self.answer_with(to, headers, body, true);
    }

    /// Answers with headers, in the account of the stream, when all that consumers have recorded is
    /// stored.
    pub fn tell_when_kept(&mut self, to: &[u8], headers: &[u8], body: &[u8]) {
        self.keep_events();
        self.dirty = true;
        self.answer_with(to, headers, body, false);
    }

    fn answer_with(&mut self, to: &[u8], headers: &[u8], body: &[u8], by_api: bool) {
        let after = self.store.log().last_index();
        let all = [headers, body].concat();
        let headers = u32::try_from(headers.len()).expect("these headers are short");
        self.waiting
            .push(after, to, &all, Answer::Told { headers, by_api });
    }

    /// What tells this stream from others that have had its name.
    pub fn identity(&self) -> String {
        crate::jetstream::api::stream_check::short_hash(&self.created.to_string())
    }

    /// Nothing that waits will be stored any more: [`Stream::settle`] tells those who want to know.
    fn fail(&mut self, error: &LogError) {
        self.consumers.confirms.clear();
        if self.waiting.is_empty() {
            return;
        }
        log::error!("Stream {} takes no messages: {error}", self.label());
        self.refuses = Some(error.to_string());
    }

    /// Tells all who still wait that what they wait for was not stored.
    fn refuse_waiting<O: Out>(&mut self, text: &str, system: Option<&Arc<Account>>, out: &mut O) {
        let refusal = self.refusal(ApiError::store_failed(text));
        while let Some(due) = self.waiting.pop(LogIndex(u64::MAX)) {
            match due.kind {
                Answer::Stored(_) | Answer::Duplicate(_) => {
                    out.send(&self.account, &Outgoing::plain(due.to, &refusal));
                }
                // It asks again.
                Answer::Body | Answer::Status | Answer::Told { .. } => {}
                Answer::Api => {
                    let error = ApiError::store_failed(text);
                    let body = crate::jetstream::api::response::refusal_like(due.body, error);
                    let account = system.unwrap_or(&self.account);
                    out.send(account, &Outgoing::plain(due.to, &body));
                }
            }
        }
    }

    fn label(&self) -> String {
        format!("'{} > {}'", self.account.name, self.config.name)
    }

    /// Does a part of what is under way; says whether there is more.
    pub fn work(&mut self) -> bool {
        self.dirty = true;
        let more = self.store.work(WORK);
        if !more {
            self.finish_purges();
        }
        more
    }

    /// Orders a purge, and answers when it is done.
    ///
    /// # Errors
    /// What the store has to say.
    pub fn purge(&mut self, purge: &Purge, to: &[u8]) -> Result<(), LogError> {
        let messages = self.store.messages();
        self.keep_positions(true);
        self.store.purge(purge)?;
        self.dirty = true;
        self.purging.push(PurgeAnswer {
            to: to.to_vec(),
            messages,
        });
        if !self.store.has_work() {
            self.finish_purges();
        }
        Ok(())
    }

    fn finish_purges(&mut self) {
        let messages = self.store.messages();
        self.purged |= !self.purging.is_empty();
        for purge in std::mem::take(&mut self.purging) {
            let purged = purge.messages.saturating_sub(messages);
            let body = crate::jetstream::api::response::StreamPurgeBody {
                success: true,
                purged,
            };
            let body = crate::jetstream::api::Response::ok(body).encode();
            self.answer_when_stored(&purge.to, &body);
        }
    }

    /// Removes a message; false if there is none.
    ///
    /// # Errors
    /// What the store has to say.
    pub fn delete(&mut self, sequence: StreamSeq) -> Result<bool, LogError> {
        self.dirty = true;
        self.keep_positions(true);
        Ok(self.store.delete(sequence)?.is_some())
    }

    /// When [`Stream::expire`] is to be called.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let all = [
            self.expire_at,
            self.batches.expires_at(),
            self.fast.expires_at(),
            self.schedules_at(),
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due as time has passed: removes messages, gives up batches, and makes what
    /// schedules make.
    pub fn expire(&mut self, now: Timestamp) {
        self.batches.expire(now);
        self.fast.expire(now);
        if self.expire_at.is_some_and(|at| at <= now) {
            self.expire_messages(now);
        }
        self.run_schedules(now);
    }

    /// Batches that were given up since this was asked last, and why.
    pub fn take_abandoned(&mut self) -> Vec<(String, AbandonReason)> {
        self.batches.take_abandoned()
    }

    /// Removes messages whose time is over.
    fn expire_messages(&mut self, now: Timestamp) {
        self.dedupe.expire(now);
        let more = match self.expire_marking(now) {
            Ok(expired) => {
                self.dirty |= !expired.messages.is_empty();
                expired.more
            }
            // It is tried again later.
            Err(_) => false,
        };
        let soon = Timestamp(now.0.saturating_add(TTL_CHECK));
        self.expire_at = match more {
            true => Some(now),
            false if self.config.allow_msg_ttl => Some(soon),
            false if self.config.max_age.0 <= 0 => None,
            false => {
                let age = u64::try_from(self.config.max_age.0).unwrap_or(0);
                let first = self.first_time().map_or(now, |first| first);
                Some(soon.max(Timestamp(first.0.saturating_add(age))))
            }
        };
    }

    /// Removes messages, and puts markers where a subject has none left, if the stream has markers.
    fn expire_marking(&mut self, now: Timestamp) -> Result<Expired, LogError> {
        let ttl_s = self.marker_ttl_s();
        if ttl_s == 0 {
            return self.store.expire(now);
        }
        let time = crate::base::text::GoDuration(Duration::from_secs(ttl_s.into()));
        let headers = format!(
            "NATS/1.0\r\n{MARKER_REASON}: MaxAge\r\n{TTL}: {time}\r\n{ROLLUP}: sub\r\n\r\n"
        );
        let interest = self.config.retention == RetentionPolicy::Interest;
        let consumers = RefCell::new(&mut self.consumers);
        let is_for = |subject: &[u8], block: &[u8]| {
            let is_kept = !interest || consumers.borrow_mut().want(subject);
            is_kept && !is_marker(block)
        };
        let marker = Marker {
            headers: headers.as_bytes(),
            ttl_s,
            is_for: &is_for,
        };
        self.store.expire_marking(now, Some(&marker))
    }

    /// When the first message was stored.
    pub fn first_time(&mut self) -> Option<Timestamp> {
        let first = self.store.first();
        let stored = self.store.read(first, &mut self.buffer).ok()?;
        Some(stored.record.timestamp)
    }

    /// Writes everything, without a sync, before the stream is closed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write_all(&mut self) -> Result<(), LogError> {
        self.keep_positions(true);
        self.store.write_all()
    }

    /// Takes note that all that was written is on the disk for good.
    pub fn handle_barrier(&mut self) {
        self.store.handle_barrier();
    }

    /// Syncs everything and keeps the state, before the stream is closed.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.keep_positions(true);
        self.store.close()
    }
}

/// Whether a message stands for others that are gone, or for a key that was purged.
fn is_marker(block: &[u8]) -> bool {
    value(block, MARKER_REASON).is_some_and(|reason| !reason.is_empty())
        || value(block, "KV-Operation") == Some(b"PURGE")
}

/// The source of a transform; none is everything.
fn source(source: &str) -> &str {
    if source.is_empty() { ">" } else { source }
}
