//! The messages of one stream: a [`Log`] of everything that happened to them, and what follows
//! from it.
//!
//! Every change is a record first. [`State::apply`] makes the change of the record, now and again
//! when the log is replayed, so that what is opened is what was left. A checkpoint keeps the state
//! at some record, and the log from there on does the rest.
//!
//! Consumers are a part of it: see [`StreamStore::record`].
//!
//! What limits remove follows from the records too, the limits among them, and is not recorded; what
//! goes because time has passed is recorded, as a delete. Work that may be long (a purge, a limit that
//! was lowered) is done in parts, by [`StreamStore::work`].

mod checkpoint;
mod consumers;
mod content;
mod count;
mod gone;
mod group;
mod jobs;
mod orders;
mod pace;
mod purge;
mod read;
mod removal;
mod replica;
mod reset;
mod rounds;
mod scrub;
mod search;
mod sound;
mod state;
mod timers;
mod upkeep;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use consumers::{CELL, Consumer, ConsumerDamage, ConsumerId};
pub use gone::Gone;
pub use group::Step;
pub use jobs::{Job, JobDone};
pub use orders::{Limits, Purge};
pub use read::Message;
pub use removal::{Expired, Marker};
pub use reset::{Copy, Reset, Snapshot};
pub use scrub::{Damage, DamageKind, ScrubProgress};
pub use search::{Found, Reader};
pub use state::StreamState;

use self::checkpoint::Checkpoints;
use self::group::{Held, Unstored};
use self::pace::Pace;
use self::replica::Unapplied;
use self::reset::Copies;
use self::rounds::Rounds;
use self::scrub::Scrub;
use self::state::State;
use self::upkeep::Upkeep;
use super::disk::Disk;
use super::error::LogError;
use super::file::format::Kind;
use super::file::log::Walk;
use super::file::{Draft, Known, Log, LogOptions, LostRun, Progress, ReadBuffer, Recovery, Tail};
use super::types::{LogIndex, StreamId, StreamSeq, Term, Timestamp};
use crate::base::clock::Mono;

/// Seconds that stand for a message that never goes by its age.
pub const TTL_NEVER: u32 = u32::MAX;

/// The messages of one stream.
#[derive(Debug)]
pub struct StreamStore {
    log: Log,
    state: State,
    checkpoints: Checkpoints,
    upkeep: Upkeep,
    rounds: Rounds,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    buffer: ReadBuffer,
    scratch: Vec<u8>,
    scrub: Scrub,
    copies: Copies,
    /// Whether reads do not wait for the disk.
    hurried: bool,
    pace: Pace,
    /// The term of what is appended.
    term: Term,
    /// What is appended and not applied yet, if it is applied later.
    unapplied: Option<Unapplied>,
    groups: VecDeque<Unstored>,
    /// Whether the log ends in a group without an end, of which nothing was applied.
    is_abandoned: bool,
    /// Whether the log is empty, and is to begin with what the stream may hold.
    limits_untold: bool,
}

/// How a stream is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub log: LogOptions,
    /// What a new stream may hold. One that has records goes by those, whatever this is, as other limits
    /// would make another stream of them; but a group begins with this at each of its members, until a
    /// record says something else.
    pub limits: Limits,
}

/// A message that is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// What the clock says, or said elsewhere. Where that is before the last message, the message
    /// gets a time behind that.
    pub timestamp: Timestamp,
    /// Seconds until it goes; 0 for as long as the limits let it, [`TTL_NEVER`] for longer than
    /// they say.
    pub ttl_s: u32,
}

/// What was found and done when a stream was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    pub log: Recovery,
    /// The last record that was there.
    pub last: LogIndex,
    /// Records that were applied on top of the checkpoint.
    pub replayed: u64,
    /// Whether there was no checkpoint that could be used, in a log that had records.
    pub rebuilt: bool,
    pub consumers: ConsumerDamage,
}

/// What the state of a stream is made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// The newest checkpoint, if it is of use, and the log from there on.
    Checkpoint,
    Log,
}

impl StreamStore {
    /// Opens the stream in `dir`, or begins one there. `trust_upto` is for a store that failed, and
    /// says what was [durable](Log::durable) then: nothing behind it is believed.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        stream: StreamId,
        options: &StoreOptions,
        trust_upto: Option<LogIndex>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(StreamStore, Opened), LogError> {
        Self::open_upto((disk, dir), stream, options, trust_upto, None, progress)
    }

    /// Opens a stream and applies its records, up to `commit` in a group.
    fn open_upto(
        (disk, dir): (Arc<dyn Disk>, &Path),
        stream: StreamId,
        options: &StoreOptions,
        trust_upto: Option<LogIndex>,
        commit: Option<LogIndex>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(StreamStore, Opened), LogError> {
        let (mut checkpoints, saved) = Checkpoints::open(&*disk, dir, stream, &options.log)?;
        let known = saved.as_ref().map_or_else(Known::default, |s| Known {
            durable: s.applied,
            sequence: s.last,
            ..Known::default()
        });
        let known = Known {
            start: checkpoints.start(),
            trust_upto,
            ..known
        };
        let log_options = options.log.clone();
        let (log, report) = Log::open(disk.clone(), dir, stream, log_options, known, progress)?;
        if log.given_up_bytes() > 0 {
            checkpoints.distrust();
        }
        let mut store = StreamStore {
            log,
            state: State::new(options.limits),
            checkpoints,
            upkeep: Upkeep::default(),
            rounds: Rounds::default(),
            disk,
            dir: dir.to_owned(),
            buffer: ReadBuffer::default(),
            scratch: vec![],
            scrub: Scrub::default(),
            copies: Copies::default(),
            hurried: true,
            pace: Pace::default(),
            term: Term(0),
            unapplied: None,
            groups: VecDeque::new(),
            is_abandoned: false,
            limits_untold: false,
        };
        store.term = store.log.last_term();
        let mut opened = Opened {
            log: report,
            ..Opened::default()
        };
        let limits = options.limits;
        if !store.restore(saved, By::Checkpoint, limits, &mut opened, commit, progress)? {
            // A message that the checkpoint has may have been left out for another one, which is lost. To keep
            // a copy of it for that would have all that is replayed copied.
            let (_, saved) = Checkpoints::open(&*store.disk, dir, stream, &options.log)?;
            store.state = State::new(limits);
            opened.replayed = 0;
            store.restore(saved, By::Log, limits, &mut opened, commit, progress)?;
        }
        if opened.rebuilt {
            // What is on the disk is of no use.
            store.checkpoints.distrust();
        }
        Ok((store, opened))
    }

    /// Makes the state of before from a checkpoint, if it is of use, and the log, or from the log alone. Says
    /// whether that is the state: something may turn out to be lost that makes the checkpoint useless.
    fn restore(
        &mut self,
        saved: Option<State>,
        by: By,
        limits: Limits,
        opened: &mut Opened,
        commit: Option<LogIndex>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, LogError> {
        let first = self.log.first_index();
        // A checkpoint that counts what is lost is no help, nor is one from which records are
        // missing up to the first that is there, or that counts what was left out of segments.
        let basis = self.log.basis();
        let is_useful = |s: &State| {
            let lost = opened.log.lost.iter().any(|run| run.first <= s.applied);
            by == By::Checkpoint
                && s.applied >= basis
                && s.applied.next() >= first
                // A copy of before segments went counts what was in them.
                && (s.first > self.log.first_sequence() || s.messages == 0)
                && s.applied <= self.log.last_index()
                && !lost
        };
        let had_records = self.log.last_index().next() > first;
        // One of before the first record knows nothing but limits that may not be those of the stream
        // that was begun then.
        let saved = saved.filter(|s| s.applied > LogIndex(0));
        let mut may_miss = false;
        match saved {
            Some(saved) if is_useful(&saved) && self.fits(&saved) => {
                may_miss = commit.is_none() && saved.has_one_a_subject();
                self.state = saved;
            }
            saved => {
                opened.rebuilt = had_records;
                if had_records && commit.is_none() && self.begins_whole(&opened.log)? {
                    // Those of a stream that begins with some are in the first record.
                    self.state.limits = Limits::default();
                }
                let missing = opened.log.lost.first().filter(|run| run.first < first);
                self.start_anew(first, missing, saved.as_ref());
                if let Some(saved) = saved {
                    // Records about consumers may be gone with old messages.
                    let last = self.log.last_index();
                    self.state.consumers = saved.consumers.keep_upto(last);
                }
            }
        }
        self.state.replaying = true;
        let lost_before = self.state.lost.len();
        let all = self.log.last_index();
        if all == LogIndex(0) {
            self.state.limits = limits;
            self.limits_untold = commit.is_none() && limits != Limits::default();
        }
        let upto = commit.unwrap_or(all);
        let of = all.0 - self.state.applied.0;
        let mut from = self.state.applied.next();
        let mut lost = std::mem::take(&mut opened.log.lost).into_iter().peekable();
        let mut runs = vec![];
        let mut buffer = ReadBuffer::default();
        // In a group of replicas, records count when that has agreed upon them.
        let mut held = Held::default();
        loop {
            let mut budget = 1 << 16;
            let walk = self.log.walk(from, &mut budget, |_| true, &mut buffer)?;
            let (index, record) = match walk {
                Walk::Found(stored) => (stored.record.index, Some(stored.record)),
                Walk::Damaged(index, _) if index > upto => break,
                Walk::Damaged(index, sequence) => {
                    if let Some(range) = held.give_up(index) {
                        self.apply_range(range)?;
                    }
                    // One that repeats the sequence before is no message.
                    if sequence > self.state.last {
                        let (after, before) = (sequence.previous(), sequence.next());
                        self.state.lose_between(after, before);
                    }
                    (index, None)
                }
                Walk::Paused(index) => {
                    from = index;
                    continue;
                }
                Walk::End => break,
            };
            if index > upto {
                break;
            }
            while let Some(run) = lost.next_if(|run| run.first < index) {
                if let Some(range) = held.give_up(run.first) {
                    self.apply_range(range)?;
                }
                self.state.lose_between(run.after, run.before);
                runs.push(run);
            }
            let mut waits = false;
            if let Some(record) = record {
                if commit.is_none() {
                    let fate = held.take_in(&record);
                    if let Some(range) = fate.before {
                        self.apply_range(range)?;
                    }
                    waits = fate.waits;
                }
                if !waits {
                    self.state.apply(&record, &mut self.log, &mut self.buffer);
                }
            }
            if !waits {
                self.state.applied = index;
            }
            opened.replayed += 1;
            if opened.replayed.is_multiple_of(1 << 16) {
                let done = opened.replayed;
                progress(Progress { done, of });
            }
            from = index.next();
        }
        for run in lost {
            if run.first <= upto {
                self.state.lose_between(run.after, run.before);
            }
            runs.push(run);
        }
        opened.log.lost = runs;
        opened.last = all;
        if may_miss && self.state.lost.len() > lost_before {
            return Ok(false);
        }
        if upto >= all {
            self.state.applied = all;
            self.state.catch_up(self.log.last_sequence());
        }
        if commit.is_some() {
            self.defer_applying()?;
        }
        self.is_abandoned = held.is_open();
        if let Err(error) = self.end_abandoned() {
            log::debug!("A group of records is abandoned later: {error}");
        }
        while self.work(usize::MAX) {}
        self.state.replaying = false;
        // It is told by what opening gives.
        self.state.found_lost.clear();
        opened.consumers = self.mend_consumers();
        // A log that failed meanwhile says so here.
        self.log.commit().map(|()| true)
    }

    /// Whether the first record that the log ever had is there, or was left out as it was of no use.
    fn begins_whole(&mut self, report: &Recovery) -> Result<bool, LogError> {
        let first = LogIndex(1);
        let lost = report.lost.iter().any(|run| run.first <= first);
        if self.log.first_index() > first || lost {
            return Ok(false);
        }
        let mut budget = 1;
        let walk = self
            .log
            .walk(first, &mut budget, |_| true, &mut self.buffer)?;
        Ok(!matches!(walk, Walk::Damaged(index, _) if index == first))
    }

    /// Begins a state anew, at the first record. Messages of before that are lost are those that were
    /// missing already, and those of the checkpoint whose records are `missing`.
    fn start_anew(&mut self, first: LogIndex, missing: Option<&LostRun>, saved: Option<&State>) {
        let base = self.log.first_sequence();
        let state = &mut self.state;
        if let Some(run) = missing {
            let begin = saved.map_or(StreamSeq(0), |saved| saved.first.previous());
            let begin = begin.max(run.after);
            state.start(first.previous(), begin.min(base));
            state.lose_between(begin, run.before);
        } else {
            state.start(first.previous(), base);
        }
        let Some(saved) = saved else {
            return;
        };
        for (from, to) in saved.deleted.ranges(StreamSeq(1)) {
            state.lost.remove_range(from, to);
        }
        let before = |(from, _): &(StreamSeq, StreamSeq)| *from <= base;
        for (from, to) in saved.lost.ranges(StreamSeq(1)).take_while(before) {
            state.lost.insert_range(from, to.min(base));
        }
    }

    /// Stores a message, and gives its sequence and the index whose
    /// [acknowledgement](StreamStore::acknowledged) is that of the message. Nothing is written
    /// before [`StreamStore::commit`].
    ///
    /// # Errors
    /// The message is not stored then; see [`Log::append`].
    pub fn append(&mut self, message: &NewMessage<'_>) -> Result<(StreamSeq, LogIndex), LogError> {
        let (last, last_time) = self.end();
        let sequence = last.next();
        let timestamp = self.pace.time(message.timestamp, last_time);
        let previous = self.previous_on(message.subject);
        let draft = Draft {
            kind: Kind::Message,
            term: self.term,
            sequence,
            timestamp,
            previous,
            ttl_s: message.ttl_s,
            subject: message.subject,
            headers: message.headers,
            payload: message.payload,
        };
        let index = self.append_record(&draft)?;
        Ok((sequence, index))
    }

    /// Lets the next message have the sequence behind `last`: those up to it are taken as deleted.
    pub fn skip_to(&mut self, last: StreamSeq) -> Result<LogIndex, LogError> {
        let draft = self.order(Kind::Skip, &[]);
        self.append_record(&Draft {
            sequence: last,
            ..draft
        })
    }

    /// Sets what the stream may hold. What is too much goes in [`StreamStore::work`].
    ///
    /// # Errors
    /// [`LogError::Busy`] if there is much other work to be done first, of which a part is then.
    pub fn set_limits(&mut self, limits: &Limits) -> Result<LogIndex, LogError> {
        self.make_way()?;
        let mut payload = vec![];
        limits.encode(&mut payload);
        let draft = self.order(Kind::Config, &payload);
        self.append_record(&draft)
    }

    /// What the stream may hold.
    pub fn limits(&self) -> Limits {
        self.state.limits
    }

    /// What is no message, at the end of the log.
    fn order<'a>(&self, kind: Kind, payload: &'a [u8]) -> Draft<'a> {
        let (sequence, timestamp) = self.end();
        Draft {
            kind,
            term: self.term,
            sequence,
            timestamp,
            previous: StreamSeq(0),
            ttl_s: 0,
            subject: b"",
            headers: b"",
            payload,
        }
    }

    /// Says what a new stream may hold, before anything else is said. Whoever reads the log again is to
    /// know that, whatever it is by then.
    pub(super) fn tell_limits(&mut self) -> Result<(), LogError> {
        if !self.limits_untold {
            return Ok(());
        }
        let mut payload = vec![];
        self.state.limits.encode(&mut payload);
        let draft = self.order(Kind::Config, &payload);
        self.state.applied = self.log.append(&draft)?;
        self.limits_untold = false;
        Ok(())
    }

    fn append_record(&mut self, draft: &Draft<'_>) -> Result<LogIndex, LogError> {
        self.end_abandoned()?;
        self.tell_limits()?;
        let index = match self.log.append(draft) {
            Ok(index) => index,
            Err(error) => {
                self.use_up();
                return Err(error);
            }
        };
        if let Some(unapplied) = &mut self.unapplied {
            unapplied.add(draft.kind, draft.subject, draft.sequence, draft.timestamp);
            return Ok(index);
        }
        let record = draft.at(index);
        self.state.apply(&record, &mut self.log, &mut self.buffer);
        self.state.applied = index;
        Ok(index)
    }

    /// Sequences that the log has taken as used are that, whatever became of their records.
    fn use_up(&mut self) {
        if self.unapplied.is_none() {
            self.state.catch_up(self.log.last_sequence());
        }
    }

    /// Writes what was appended.
    pub fn commit(&mut self) -> Result<(), LogError> {
        self.forget_groups();
        self.log.commit()
    }

    /// The end of the log, for the [commit journal](super::journal), which writes instead of
    /// [`StreamStore::commit`] where there is one.
    pub fn tail(&mut self) -> Tail<'_> {
        self.forget_groups();
        self.log.tail()
    }

    /// Writes and syncs what was appended, here and now.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.log.sync()
    }

    /// Writes everything, without a sync.
    ///
    /// # Errors
    /// As [`StreamStore::commit`].
    pub fn write_all(&mut self) -> Result<(), LogError> {
        self.append_events()?;
        self.tail().write_back()
    }

    /// Takes note that all that was written is on the disk for good; see [`Log::handle_barrier`].
    pub fn handle_barrier(&mut self) {
        self.log.handle_barrier();
    }

    /// Syncs everything and keeps the state, so that opening takes no time. The store is as before
    /// if this fails.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.append_events()?;
        self.forget_checkpoint();
        while self.keep_what_goes()? {}
        self.log.sync()?;
        if let Some(job) = self.checkpoint_job() {
            self.handle_done(job.run())?;
        }
        Ok(())
    }

    /// The last record that counts as stored.
    pub fn acknowledged(&self) -> LogIndex {
        self.log.acknowledged()
    }

    /// The last message that counts as stored, and may be shown: those behind it may still be lost.
    pub fn visible(&self) -> StreamSeq {
        if self.unapplied.is_some() {
            return self.state.last;
        }
        self.whole_upto(self.log.acknowledged())
    }

    /// The log, to be looked at.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, to be read record by record.
    pub(in crate::store) fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The first message there is, or the next one there will be.
    pub fn first(&self) -> StreamSeq {
        self.state.first
    }

    /// How many messages there are.
    pub fn messages(&self) -> u64 {
        self.state.messages
    }

    /// Bytes of the messages, as [`StreamState::message_bytes`] counts them.
    pub fn bytes(&self) -> u64 {
        self.state.bytes
    }

    /// The last sequence that was used.
    pub fn last(&self) -> StreamSeq {
        self.state.last
    }

    /// What there is to be told of the stream. It looks at all segments: ask for what there is a method
    /// for of its own where it is done for every message.
    pub fn state(&self) -> StreamState {
        self.state.summary(self.log.file_bytes())
    }

    /// The next sync, if one is due, and nothing else.
    pub fn poll_sync(&mut self, now: Mono) -> Option<Job> {
        self.log.handle_turn(now);
        self.hasten(now);
        self.log.poll_sync(now).map(Job::Sync)
    }

    /// What is to be done where it may take its time, if something is due. Ask again until there is
    /// nothing, and once in a while if nothing happens.
    pub fn poll_job(&mut self, now: Mono) -> Option<Job> {
        self.log.handle_turn(now);
        self.hasten(now);
        if let Some(job) = self.begin_round(now) {
            return Some(job);
        }
        if let Some(sync) = self.log.poll_sync(now) {
            return Some(Job::Sync(sync));
        }
        if let Some(job) = self.checkpoint_if_due() {
            return Some(job);
        }
        if let Some(job) = self.upkeep_job(now) {
            return Some(job);
        }
        if let Some(job) = self.checkpoint_if_due() {
            return Some(job);
        }
        // What there is to keep of consumers may be waiting for it.
        if let Some(sync) = self.log.poll_sync(now) {
            return Some(Job::Sync(sync));
        }
        self.log.subjects_job().map(Job::Subjects)
    }

    /// Takes the outcome of a job.
    ///
    /// # Errors
    /// If a checkpoint, or the removal or rewriting of segments, failed: then it is tried again later, and
    /// nothing is lost. That a sync failed is told by [`Log::failure`].
    pub fn handle_done(&mut self, done: JobDone) -> Result<(), LogError> {
        match done {
            JobDone::Sync(done) => {
                self.log.handle_synced(done);
                Ok(())
            }
            JobDone::Encode(done) => {
                self.handle_encoded(done);
                Ok(())
            }
            JobDone::Checkpoint(done) => {
                let done = self.checkpoints.handle_done(done);
                self.upkeep.handle_checkpoint(done.is_ok());
                let (first, applied, before) = done?;
                self.set_consumers_saved(applied);
                self.look_for_erased();
                // Segments that were complete later are those of the next checkpoint.
                self.reclaim(first, applied.min(before))
            }
            JobDone::Subjects(done) => {
                self.log.handle_subjects(done);
                Ok(())
            }
            JobDone::Warm(done) => {
                self.log.handle_warm(&done);
                Ok(())
            }
            JobDone::Scrub(done) => {
                self.handle_scrubbed(done);
                Ok(())
            }
            JobDone::Erase(done) => {
                self.handle_erased(done);
                Ok(())
            }
            JobDone::Rewrite(done) => self.handle_rewritten(done),
        }
    }
}
