//! All streams of a server: who may have some, requests about them, and messages for them.
//!
//! A [`Node`] listens on subjects of the accounts like a client: what is published there comes as a
//! [`Delivered`], with the slot of the listener. What takes time on the disk it gives away as
//! [`Task`]s, and goes on when it is told how they ended. It answers by an [`Out`].
//!
//! In a turn, who drives it calls [`Node::deliver`] and [`Node::handle_task`] as things happen, then
//! [`Node::turn`], and takes the tasks.

mod asker;
mod audit;
mod backup;
mod consumers;
mod create;
mod deadlines;
mod decode;
mod direct;
mod events;
mod faults;
mod info;
mod journal;
mod listeners;
mod names;
mod old_backup;
mod origins;
mod report;
mod requests;
mod restore;
mod restorer;
mod scrub;
mod streams;
mod taken;
mod tasks;
mod tenants;

use self::audit::{Audited, Audits};
use self::deadlines::Deadlines;
use self::faults::{Reopening, Trouble};
use self::journal::Journaling;
use self::listeners::{Listener, Listeners};
use self::names::Names;
use self::requests::Request;
use self::scrub::Scrubbing;
use self::taken::Taken;
use self::tasks::Creation;
use self::tenants::Tenants;
use super::api::limits::ServerStorage;
use super::api::policy::PersistMode;
use super::consumer::Waiters;
use super::out::Out;
use super::stream::{Bounds, Gauge, Incoming, Meter, OpenBatches, Stream};
use crate::accounts::interest::LoopId;
use crate::accounts::{Account, Accounts};
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::options::jetstream::{JetStreamOptions, Sync};
use crate::store::crypt::Keys;
use crate::store::directory::StoreDir;
use crate::store::disk::Disk;
use crate::store::error::{LogError, Reason};
use crate::store::file::{Cold, Handles, LogOptions, SyncMode};
use crate::store::journal::StreamKey;
use crate::store::meta::Meta;
use crate::store::types::Timestamp;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use tasks::{Opening, Recovered, Task, TaskDone, is_unfinished, recover};

/// How often it is looked who listens to what consumers send without being asked, in nanoseconds.
const INTEREST_CHECK: u64 = 100_000_000;

/// No time at all.
const NEVER: Timestamp = Timestamp(u64::MAX);

/// How long a stream whose messages need not be on the disk when they are acknowledged may take to
/// bring them there, where the server's own interval is no time.
const LAZY_INTERVAL: Duration = Duration::from_secs(120);

/// Requests that are answered a turn.
const REQUESTS: usize = 64;

/// Where streams are kept.
#[derive(Clone)]
pub struct Place {
    pub disk: Arc<dyn Disk>,
    pub dir: Arc<StoreDir>,
    pub keys: Keys,
    pub handles: Arc<Handles>,
}

/// What a server's streams have to know of it.
#[derive(Clone)]
pub struct Identity {
    pub server: String,
    pub options: JetStreamOptions,
    /// Bytes that all streams may have in memory and in files.
    pub max_memory: u64,
    pub max_storage: u64,
}

/// The streams of a server.
pub struct Node {
    identity: Identity,
    place: Place,
    listeners: Listeners,
    tenants: Tenants,
    /// The account in which requests of the API arrive.
    system: Option<Arc<Account>>,
    streams: Slab<Slot>,
    names: Names,
    /// The subjects that streams take.
    taken: Taken,
    requests: VecDeque<Request>,
    audits: Audits,
    /// Backups that are sent, when to look at them, and those that are taken in.
    backups: Slab<backup::Backup>,
    backups_at: Timestamp,
    restores: Slab<restore::Restore>,
    /// Streams that are to be made, and whether some are being made.
    creations: Vec<Creation>,
    is_making: bool,
    /// Requests that wait for a change of a stream to be over.
    later: Vec<Request>,
    /// Streams with something to be written, with work to be done, and with jobs to be asked for.
    dirty: Vec<usize>,
    working: BTreeSet<usize>,
    syncing: BTreeSet<usize>,
    /// Streams with consumers that are to get a turn.
    serving: BTreeSet<usize>,
    /// Whether some were since somebody asked.
    served: bool,
    /// Streams with links to others that are to do something.
    linking: BTreeSet<usize>,
    /// Streams that take messages from others.
    copying: BTreeSet<usize>,
    /// When it is to be looked who listens to what is sent without being asked for.
    interest_at: Timestamp,
    /// Streams with consumers that are sent messages without asking.
    pushing: BTreeSet<usize>,
    deadlines: Deadlines,
    /// What makes durable what many streams get at a time.
    journal: Journaling,
    /// Streams whose disk has failed.
    troubled: BTreeMap<usize, Trouble>,
    /// Streams that could not be opened at the start.
    unrecovered: Vec<super::report::Unwell>,
    /// The look at all that is stored for damage.
    scrubbing: Scrubbing,
    /// Tasks to be run, in their order.
    tasks: Vec<Task>,
    figures: Figures,
    /// Bytes that all streams have in memory and in files.
    gauges: [Arc<Gauge>; 2],
    /// What all streams take.
    storage: ServerStorage,
    /// Batches that are open in them.
    batches: Arc<OpenBatches>,
    rng: Rng,
}

/// Counters of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) total: u64,
    pub(super) errors: u64,
}

/// A stream, or its place while it is made or removed.
struct Slot {
    account: Arc<Account>,
    name: String,
    /// What the commit journal knows it by while it is open.
    key: StreamKey,
    phase: Phase,
}

#[allow(clippy::large_enum_variant, reason = "most are open")]
enum Phase {
    /// It is being made, as asked here.
    Creating(Request, Box<super::api::StreamConfig>, crate::json::Time),
    Open {
        stream: Box<Stream>,
        meta: Box<Meta>,
        dir: PathBuf,
        listening: Vec<u32>,
        change: Change,
    },
    /// Its disk has failed, and it is being opened again.
    Reopening(Box<Reopening>),
    /// It is being restored, and will be configured so.
    Restoring(Box<super::api::StreamConfig>),
    /// It is being removed.
    Removing(Request),
}

/// What is being done to a stream that is open.
enum Change {
    None,
    /// Its metadata is written.
    Updating(Request, Box<super::api::StreamConfig>),
    /// It is to be closed and removed as soon as no job is under way.
    Removal(Request),
}

/// The stream, by its place in the node, of which the last message of a subject is to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookBack {
    /// It is read.
    Read(usize),
    /// It goes, as another one takes its place.
    Replaced(usize),
}

/// A message that came for a listener.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'m> {
    pub slot: u32,
    pub generation: u32,
    pub message: Incoming<'m>,
}

impl Node {
    /// A node without streams, whose listeners belong to the loop `me`.
    pub fn new(
        me: LoopId,
        identity: Identity,
        place: Place,
        accounts: &Accounts,
        seed: u64,
    ) -> Node {
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let storage = ServerStorage {
            max_memory: bytes(identity.max_memory),
            max_storage: bytes(identity.max_storage),
            reserved_memory: 0,
            reserved_storage: 0,
        };
        let gauges = [identity.max_memory, identity.max_storage];
        let gauges = gauges.map(|max| Arc::new(Gauge::new(Some(max))));
        let mut node = Node {
            storage,
            gauges,
            batches: Arc::default(),
            identity,
            place,
            listeners: Listeners::new(me),
            tenants: Tenants::default(),
            system: None,
            streams: Slab::new(),
            names: Names::default(),
            taken: Taken::default(),
            requests: VecDeque::new(),
            backups: Slab::new(),
            backups_at: NEVER,
            audits: Audits::default(),
            restores: Slab::new(),
            creations: Vec::new(),
            is_making: false,
            later: Vec::new(),
            dirty: Vec::new(),
            working: BTreeSet::new(),
            syncing: BTreeSet::new(),
            serving: BTreeSet::new(),
            served: false,
            linking: BTreeSet::new(),
            copying: BTreeSet::new(),
            interest_at: Timestamp(0),
            pushing: BTreeSet::new(),
            deadlines: Deadlines::default(),
            journal: Journaling::default(),
            troubled: BTreeMap::new(),
            unrecovered: Vec::new(),
            scrubbing: Scrubbing::default(),
            tasks: Vec::new(),
            figures: Figures::default(),
            rng: Rng::new(seed),
        };
        node.renew(accounts);
        node
    }

    /// Goes on with other accounts. Streams of those that have none any more are not served.
    pub fn renew(&mut self, accounts: &Accounts) {
        let system = accounts.system().map(|tenant| tenant.account.clone());
        if self.system.is_none()
            && let Some(system) = &system
        {
            self.listeners.listen(system, b"$JS.API.>", Listener::Api);
        }
        self.system = system;
        self.tenants.renew(accounts, &mut self.listeners);
    }

    /// What a message that comes here looks back to, and of which subject: of a stream that has a message a
    /// subject at most, the one that it replaces.
    pub fn looks_back<'m>(
        &self,
        (slot, generation): (u32, u32),
        subject: &'m [u8],
    ) -> Option<(LookBack, &'m [u8])> {
        match self.listeners.get(slot, generation)? {
            Listener::Stream(at) => {
                let stream = self.streams.get(at)?.stream()?;
                stream
                    .looks_back()
                    .then_some((LookBack::Replaced(at), subject))
            }
            Listener::Direct(account) => {
                let (name, subject) = direct::last_by_subject(subject)?;
                Some((LookBack::Read(self.find(account, name)?), subject))
            }
            _ => None,
        }
    }

    /// Asks for what the next messages look back to.
    pub fn look_ahead(&mut self, of: LookBack, subjects: &[&[u8]]) {
        let (at, replaced) = match of {
            LookBack::Read(at) => (at, false),
            LookBack::Replaced(at) => (at, true),
        };
        if let Some(stream) = self.open_stream(at) {
            stream.look_ahead(subjects, replaced);
        }
    }

    /// Takes a message that was delivered.
    pub fn deliver<O: Out>(&mut self, delivered: &Delivered<'_>, now: Timestamp, out: &mut O) {
        let Some(listener) = self.listeners.get(delivered.slot, delivered.generation) else {
            return;
        };
        let message = &delivered.message;
        match listener {
            Listener::Stream(at) => {
                let Some(Slot {
                    phase: Phase::Open { stream, .. },
                    ..
                }) = self.streams.get_mut(at)
                else {
                    return self.refuse_offline(at, message, out);
                };
                let was_dirty = stream.is_dirty();
                stream.publish(message, now, out);
                stream.measure();
                if stream.is_dirty() && !was_dirty {
                    self.dirty.push(at);
                }
            }
            Listener::Link { at, link, ear } => self.hear((at, link, ear), message, now, out),
            Listener::Api => self.take_request(message, now, out),
            Listener::Direct(account) => self.direct_get(account, message, out),
            Listener::Next(account) => self.next_messages(account, message, now, out),
            Listener::Reset(account) => self.consumer_reset(account, message, now, out),
            Listener::Ack(account) => self.acknowledge(account, message, now, out),
            Listener::Flow(account) => self.flow(account, message, now, out),
            Listener::Backup(id) => self.chunk_taken(id, now),
            Listener::Restore(id) => self.restore_chunk(id, message, now, out),
        }
    }

    /// Does what is to be done in a turn: answers requests, goes on with what takes long, writes
    /// what came. Says whether there is more.
    pub fn turn<O: Out>(&mut self, now: Timestamp, mono: Mono, out: &mut O) -> bool {
        self.audited(now, out, |node, out| node.go_on(now, mono, out))
    }

    /// Does something with a way out on which answers to requests are recognised.
    fn audited<O: Out, T>(
        &mut self,
        now: Timestamp,
        out: &mut O,
        act: impl FnOnce(&mut Node, &mut Audited<'_, O>) -> T,
    ) -> T {
        let mut audits = std::mem::take(&mut self.audits);
        let acted = act(
            self,
            &mut Audited {
                out,
                audits: &mut audits,
                now,
            },
        );
        self.audits = audits;
        acted
    }

    fn go_on<O: Out>(&mut self, now: Timestamp, mono: Mono, out: &mut O) -> bool {
        for _ in 0..REQUESTS {
            let Some(request) = self.requests.pop_front() else {
                break;
            };
            self.answer(request, now, out);
        }
        self.check_interest(now, out);
        self.look_at_deadlines(now);
        self.drive_origins(now, out);
        let working: Vec<usize> = self.working.iter().copied().collect();
        for at in working {
            let Some(stream) = self.open_stream(at) else {
                self.working.remove(&at);
                continue;
            };
            let more = stream.work();
            self.dirty.push(at);
            if !more {
                self.working.remove(&at);
                self.retry_later();
            }
        }
        self.serve(now, out);
        let backs_up = self.serve_backups(now, out);
        self.serve_restores(now, mono);
        self.commit(now, mono, out);
        self.turn_journal(now, mono, out);
        self.reopen(now, mono, out);
        self.poll_jobs(mono);
        self.make_streams();
        self.scrub(mono);
        backs_up
            || !self.requests.is_empty()
            || !self.working.is_empty()
            || !self.serving.is_empty()
    }

    /// Whether consumers got turns since this was asked last.
    pub fn has_served(&mut self) -> bool {
        std::mem::take(&mut self.served)
    }

    /// Gives turns to consumers.
    fn serve<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        if self.serving.is_empty() {
            return;
        }
        self.served = true;
        for at in std::mem::take(&mut self.serving) {
            let Some(stream) = self.open_stream(at) else {
                continue;
            };
            let more = stream.serve_consumers(now, out);
            let waits = stream.is_cold();
            if stream.is_dirty() || stream.has_damage() {
                self.dirty.push(at);
            }
            if waits {
                // Nothing else may happen to the stream that would have its jobs done.
                self.syncing.insert(at);
            }
            if more {
                self.serving.insert(at);
            }
            self.note_deadline(at);
        }
    }

    /// Looks now and then who listens to what is sent without being asked for.
    fn check_interest<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        if now < self.interest_at {
            return;
        }
        self.interest_at = Timestamp(now.0.saturating_add(INTEREST_CHECK));
        for at in std::mem::take(&mut self.pushing) {
            if let Some(stream) = self.open_stream(at)
                && stream.has_push_consumers()
            {
                stream.check_interest(now, out);
                self.pushing.insert(at);
                if self
                    .open_stream(at)
                    .is_some_and(|s| s.has_ready_consumers())
                {
                    self.serving.insert(at);
                }
            }
        }
    }

    /// When [`Node::turn`] is to be called if nothing happens before: on the wall clock, and on the
    /// other one.
    pub fn next_turn(&self, now: Timestamp, mono: Mono) -> Option<Mono> {
        let interest = (!self.pushing.is_empty()).then_some(self.interest_at);
        let backups = [self.backups_at, self.restores_at()];
        let backups = backups.into_iter().min().filter(|at| *at < NEVER);
        let all = self.deadlines.first().into_iter();
        let all = all.chain(interest).chain(backups);
        let due = all.chain(self.reopens_at()).min();
        let wall = due.map(|due| {
            let left = due.0.saturating_sub(now.0);
            mono + Duration::from_nanos(left)
        });
        let interval = match self.identity.options.sync {
            Sync::Interval(interval) => interval,
            Sync::Always => LAZY_INTERVAL,
        };
        let lazy = (!self.syncing.is_empty()).then(|| mono + interval);
        let journal = self.journal.deadline();
        let all = [wall, lazy, self.scrubs_at(), journal];
        all.into_iter().flatten().min()
    }

    /// Lets streams do what they have to do as time has passed.
    fn look_at_deadlines(&mut self, now: Timestamp) {
        // Those that go on at once have their next part in the next turn.
        let mut due = Vec::new();
        while let Some(at) = self.deadlines.pop(now) {
            due.push(at);
        }
        for at in due {
            let Some(stream) = self.open_stream(at) else {
                continue;
            };
            if stream.expires_at().is_some_and(|due| due <= now) {
                stream.expire(now);
            }
            let is_dirty = stream.is_dirty();
            // Its deadline is known when it had its turn.
            let links = stream.origins_at().is_some_and(|due| due <= now);
            let serves = stream.consumers_at().is_some_and(|due| due <= now);
            if is_dirty {
                self.dirty.push(at);
            }
            if links {
                self.linking.insert(at);
            }
            match serves {
                true => drop(self.serving.insert(at)),
                false => self.note_deadline(at),
            }
        }
    }

    /// Takes note of when a stream has something to do again.
    fn note_deadline(&mut self, at: usize) {
        let Some(stream) = self.open_stream(at) else {
            return;
        };
        let all = [
            stream.expires_at(),
            stream.consumers_at(),
            stream.origins_at(),
        ];
        let pushes = stream.has_push_consumers();
        if let Some(due) = all.into_iter().flatten().min() {
            self.deadlines.note(at, due);
        }
        if pushes {
            self.pushing.insert(at);
        }
    }

    fn commit<O: Out>(&mut self, now: Timestamp, mono: Mono, out: &mut O) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for at in &dirty {
            if let Some(stream) = self.open_stream(*at) {
                stream.prepare(now, out);
            }
        }
        self.write(&dirty, mono);
        let system = self.system.clone();
        for at in dirty.drain(..) {
            let Some(stream) = self.open_stream(at) else {
                continue;
            };
            stream.settle(system.as_ref(), out);
            let abandoned = stream.take_abandoned();
            if !abandoned.is_empty() {
                self.tell_of_batches(at, abandoned, now, out);
            }
            let Some(stream) = self.open_stream(at) else {
                continue;
            };
            let (works, serves) = (stream.has_work(), stream.has_ready_consumers());
            if works {
                self.working.insert(at);
            }
            if serves {
                self.serving.insert(at);
            }
            self.syncing.insert(at);
            self.note_deadline(at);
            self.check_health(at, now);
        }
        self.dirty = dirty;
    }

    /// Asks streams for jobs.
    fn poll_jobs(&mut self, mono: Mono) {
        let lazy = self.identity.options.sync != Sync::Always;
        let streams = &mut self.streams;
        let (tasks, journal) = (&mut self.tasks, &mut self.journal);
        self.syncing.retain(|at| {
            let Some(Slot {
                phase: Phase::Open { stream, .. },
                ..
            }) = streams.get_mut(*at)
            else {
                return false;
            };
            while let Some(job) = stream.poll_job(mono) {
                journal.note_job(*at, &job);
                tasks.push(Task::Job { slot: *at, job });
            }
            let lazy = lazy || stream.config.persist_mode == PersistMode::Async;
            lazy && stream.store().log().durable() < stream.store().log().last_index()
        });
    }

    /// The tasks that are to be run, in any order.
    pub fn take_tasks(&mut self) -> impl Iterator<Item = Task> {
        self.tasks.drain(..)
    }

    /// Takes the outcome of a task.
    pub fn handle_task<O: Out>(
        &mut self,
        done: TaskDone,
        (now, mono): (Timestamp, Mono),
        out: &mut O,
    ) {
        self.audited(now, out, |node, out| {
            node.take_outcome(done, (now, mono), out)
        });
    }

    fn take_outcome<O: Out>(
        &mut self,
        done: TaskDone,
        (now, mono): (Timestamp, Mono),
        out: &mut O,
    ) {
        match done {
            TaskDone::Job { slot, done } => {
                if !self.backups.is_empty() {
                    self.backups_at = now;
                }
                let system = self.system.clone();
                self.journal.note_done(slot, &done);
                if let Some(stream) = self.open_stream(slot) {
                    stream.handle_done(done);
                    stream.settle(system.as_ref(), out);
                    let goes_on = stream.has_unwritten();
                    if goes_on {
                        self.dirty.push(slot);
                    }
                    let Some(stream) = self.open_stream(slot) else {
                        return;
                    };
                    if stream.has_ready_consumers() {
                        self.serving.insert(slot);
                    }
                    self.syncing.insert(slot);
                    self.check_health(slot, now);
                    self.go_on_removing(slot);
                }
            }
            TaskDone::Journal(done) => self.handle_journaled(done, now, mono, out),
            TaskDone::Created(all) => self.handle_all_created(all, now, out),
            TaskDone::Updated { slot, meta, result } => {
                self.handle_updated(slot, meta, result, now, out);
            }
            TaskDone::Reopened { slot, result } => self.handle_reopened(slot, result, now, out),
            TaskDone::Restored { id, outcome } => self.handle_restored(id, outcome, now, out),
            TaskDone::Removed { slot, result } => self.handle_removed(slot, result, now, out),
            TaskDone::Cleaned(Err(error)) => log::warn!("Files of a removed stream stay: {error}"),
            TaskDone::Cleaned(Ok(())) => {}
        }
    }

    /// Requests that waited for something to be over are tried again.
    fn retry_later(&mut self) {
        self.requests.extend(self.later.drain(..));
    }

    fn open_stream(&mut self, at: usize) -> Option<&mut Stream> {
        match &mut self.streams.get_mut(at)?.phase {
            Phase::Open { stream, .. } => Some(stream),
            Phase::Creating(..)
            | Phase::Restoring(_)
            | Phase::Reopening(_)
            | Phase::Removing(_) => None,
        }
    }

    fn find(&self, account: u32, name: &str) -> Option<usize> {
        self.names.get(account, name)
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            waiting_messages: self.identity.options.max_buffered_messages,
            waiting_bytes: self.identity.options.max_buffered_bytes,
            batches: self.identity.options.batches,
        }
    }

    /// What measures a stream of an account.
    fn meter(&self, account: u32, config: &super::api::StreamConfig) -> Meter {
        let at = usize::from(config.storage == super::api::StorageType::File);
        let tenant = self.tenants.get(account);
        let own = tenant.map(|tenant| tenant.gauges[at].clone());
        let own = own.unwrap_or_else(|| Arc::new(Gauge::new(None)));
        Meter::new(own, self.gauges[at].clone())
    }

    /// Where requests are counted that wait at consumers of an account.
    fn waiters(&self, account: u32) -> Arc<Waiters> {
        let tenant = self.tenants.get(account);
        tenant.map_or_else(Arc::default, |tenant| tenant.waiters.clone())
    }

    fn log_options(&self, persist: PersistMode) -> LogOptions {
        log_options(&self.identity, &self.place, persist)
    }

    /// Syncs all streams in one go, if they are many; says whether it did.
    fn sync_together(&mut self) -> Result<bool, LogError> {
        let Some(barrier) = self.place.dir.barrier(self.streams.len())? else {
            return Ok(false);
        };
        let mut written = vec![];
        for (at, slot) in self.streams.iter_mut() {
            if let Phase::Open { stream, .. } = &mut slot.phase
                && stream.write_all().is_ok()
            {
                written.push(at);
            }
        }
        let passed = barrier.sync();
        passed.map_err(|e| LogError::Io(Reason::new("sync", &self.place.dir.journal_dir(), &e)))?;
        for at in written {
            if let Some(stream) = self.open_stream(at) {
                stream.handle_barrier();
            }
        }
        Ok(true)
    }

    /// Tells clients that wait for messages that the server ends.
    pub fn say_goodbye<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        for (_, slot) in self.streams.iter_mut() {
            if let Phase::Open { stream, .. } = &mut slot.phase {
                stream.end_requests(now, out);
            }
        }
    }

    /// Syncs and closes all streams.
    pub fn close(&mut self) {
        let are_synced = self.sync_together().unwrap_or_else(|error| {
            log::warn!("Streams are closed one by one: {error}");
            false
        });
        let mut is_sound = true;
        for (_, slot) in self.streams.iter_mut() {
            if let Phase::Open { stream, .. } = &mut slot.phase
                && !(are_synced && stream.store().opens_fast())
                && let Err(error) = stream.close()
            {
                log::error!("Error closing stream {}: {error}", slot.name);
                is_sound = false;
            }
        }
        self.journal.close(is_sound);
    }
}

/// How logs are kept.
fn log_options(identity: &Identity, place: &Place, persist: PersistMode) -> LogOptions {
    let sync = match (identity.options.sync, persist) {
        (Sync::Interval(interval), _) => SyncMode::Interval(interval),
        (Sync::Always, PersistMode::Async) => SyncMode::Interval(LAZY_INTERVAL),
        (Sync::Always, PersistMode::Default) => SyncMode::Always,
    };
    LogOptions {
        sync,
        cold: Cold::Tell,
        locks: Some(place.dir.locks()),
        reserve: Some(place.dir.reserve()),
        ..LogOptions::new(place.handles.clone())
    }
}

impl Slot {
    fn stream(&self) -> Option<&Stream> {
        match &self.phase {
            Phase::Open { stream, .. } => Some(stream),
            Phase::Creating(..)
            | Phase::Restoring(_)
            | Phase::Reopening(_)
            | Phase::Removing(_) => None,
        }
    }

    /// Whether something is being done to it that others have to wait for.
    fn is_changing(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Open {
                change: Change::None,
                ..
            }
        )
    }
}
