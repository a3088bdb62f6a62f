//! What becomes of messages' bytes after they were written: contents of erased messages are
//! overwritten, segments of which much is dead are written anew without that, and those of a
//! compressed stream are packed. One job at a time, off the loop.
//!
//! A message is left out of its segment only if it was dead already in the state of a checkpoint that
//! is on the disk for good, written in this life: a replay from there never asks for it. So segments
//! are found first, then a checkpoint is written when enough is found, and then they are written
//! anew. Where a replay asks for no message that was replaced, what replaced them has to be on the disk, and a
//! checkpoint of before will do. Erasing and packing leave nothing out and wait for no checkpoint.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::StreamStore;
use super::jobs::Job;
use super::state::State;
use crate::base::clock::Mono;
use crate::store::error::LogError;
use crate::store::file::format::Layout;
use crate::store::file::{Changes, Compression, Erasable, EraseDone, RewriteDone, Rewritten, Span};
use crate::store::index::SequenceSet;
use crate::store::types::{LogIndex, StreamSeq};

/// Segments that are looked at in one go, and messages that are to be erased.
const LOOK_MAX: usize = 64;

/// All segments are looked at again after so many records, or after this time if there are fewer.
const SWEEP_RECORDS: u64 = 1000;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The part of a segment that is dead at least when it is written anew, where that is not done in rounds.
const DEAD_PART: u64 = 2;

/// Segments that wait for a checkpoint, at most. What each of them keeps in memory is a bit for
/// each of its records.
const CANDIDATES_MAX: usize = 32;

/// Segments from which on small neighbours are merged while the log is full of what is dead: they get
/// smaller still, and are written anew anyway.
const MERGE_FROM: usize = 16;

/// Dead bytes for which a sync comes before its time.
const UNSYNCED_DEAD: u64 = 8 << 20;

/// How long nothing is tried again after something failed.
const RETRY: Duration = Duration::from_secs(30);

/// What is to be done with segments.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    in_flight: bool,
    has_failed: bool,
    retry_at: Option<Mono>,
    erasures: Erasures,
    /// Segments that are to be written anew for what is erased in them.
    anew: BTreeSet<u64>,
    /// The next segment to look at, and how things were when all had been looked at.
    sweep: u64,
    swept: Option<Swept>,
    /// Segments of which much is dead, and bytes that are.
    candidates: Vec<u64>,
    dead_bytes: u64,
    /// What is to be done when the checkpoint that is being written is on the disk, or if there is one on which
    /// it is based, when the log is up to this record; and what can be done now, in order.
    planned: Vec<(u64, Changes)>,
    due: Option<LogIndex>,
    ready: Vec<(u64, Changes)>,
    /// Segments before this one are packed, or cannot be.
    packed: u64,
    /// Those before this one cannot be merged with what is behind them.
    merged: u64,
    /// Changes of consumers up to here are in a checkpoint that is on the disk.
    consumers: LogIndex,
}

/// How things were when all segments had been looked at.
#[derive(Clone, Copy, Debug)]
struct Swept {
    applied: LogIndex,
    complete: usize,
    at: Mono,
}

/// The messages that are to be erased next.
#[derive(Debug, Default)]
struct Erasures {
    sequences: VecDeque<StreamSeq>,
    /// The record that is to be durable before.
    after: LogIndex,
    /// Where to go on, and how things were when that was begun.
    cursor: StreamSeq,
    begun: Option<(LogIndex, usize)>,
}

impl Upkeep {
    /// Whether a job is under way.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Bytes that a checkpoint would free.
    pub(super) fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Whether nothing is tried for a while, as something has failed.
    pub(super) fn rests(&self, now: Mono) -> bool {
        self.has_failed || self.retry_at.is_some_and(|at| now < at)
    }

    /// Changes of consumers up to here are left out of segments that the next checkpoint is for.
    pub(super) fn leaves_out_upto(&self, span: impl Fn(u64) -> Option<Span>) -> LogIndex {
        let spans = self.candidates.iter().filter_map(|number| span(*number));
        let last = spans.map(|span| span.last_index);
        let saved = last.filter(|last| *last <= self.consumers);
        saved.max().unwrap_or_default()
    }

    /// Takes note of what is dead in a state, for when it is on the disk: as a checkpoint which is to be written,
    /// or as one that is there, of the state at `basis`, and all records from there on. Says whether segments
    /// are written anew then.
    pub(super) fn plan(
        &mut self,
        state: &State,
        basis: LogIndex,
        span: impl Fn(u64) -> Option<Span>,
    ) -> bool {
        self.dead_bytes = 0;
        // What waits is planned by the newer state.
        let waits = self.planned.drain(..).map(|(number, _)| number);
        match self.due.take() {
            Some(_) => self.candidates.extend(waits),
            None => drop(waits),
        }
        if basis < state.applied {
            self.due = Some(state.applied);
        }
        let consumers = self.consumers.min(basis).min(state.consumers.untold());
        for number in self.candidates.drain(..) {
            let Some(span) = span(number).filter(|s| s.number == number) else {
                continue;
            };
            let changes = Changes {
                dead: state.dead_in(&span),
                basis,
                consumers,
                single: match state.limits.per_subject == 1 && !state.deferring {
                    true => state.applied,
                    false => LogIndex(0),
                },
                ..Changes::default()
            };
            self.planned.push((number, changes));
        }
        !self.planned.is_empty()
    }

    /// Whether something is planned that waits for the log.
    pub(super) fn waits_for_log(&self) -> bool {
        self.due.is_some()
    }

    /// Takes note of how far the log is on the disk.
    fn handle_durable(&mut self, durable: LogIndex) {
        if self.due.take_if(|due| *due <= durable).is_some() {
            self.handle_planned();
        }
    }

    fn handle_planned(&mut self) {
        self.ready.append(&mut self.planned);
        self.ready.sort_unstable_by_key(|(number, _)| *number);
    }

    /// The checkpoint is on the disk, or not.
    pub(super) fn handle_checkpoint(&mut self, is_done: bool) {
        match is_done {
            true => self.handle_planned(),
            false => {
                self.planned.clear();
                self.swept = None;
            }
        }
    }
}

impl State {
    /// The messages of a segment that are dead and neither damaged nor to be read again. What is damaged
    /// stays to be looked at.
    fn dead_in(&self, span: &Span) -> SequenceSet {
        let mut dead = SequenceSet::new();
        let (first, last) = (span.base.next(), span.last);
        if first < self.first {
            dead.insert_range(first, last.min(self.first.previous()));
        }
        let in_segment = |(from, _): &(StreamSeq, StreamSeq)| *from <= last;
        dead.insert_from(&self.deleted, first, last);
        let kept = self.lost.ranges(first).take_while(in_segment);
        for (from, to) in kept.chain(self.unread.ranges(first).take_while(in_segment)) {
            dead.remove_range(from.max(first), to.min(last));
        }
        dead
    }

    /// How many messages those are.
    fn count_dead(&self, span: &Span) -> u32 {
        let first = span.base.next().max(self.first);
        let alive = match first <= span.last {
            true => span.last.0 - first.0 + 1 - self.deleted.count_range(first, span.last),
            false => 0,
        };
        let kept = |set: &SequenceSet| set.count_range(span.base.next(), span.last);
        let lost = kept(&self.lost) + kept(&self.unread);
        let dead = u64::from(span.messages).saturating_sub(alive + lost);
        u32::try_from(dead).unwrap_or(u32::MAX)
    }
}

impl StreamStore {
    /// Has the log synced before its time, if much of what waits for that is dead already: until then
    /// it cannot be removed.
    pub(super) fn hasten(&mut self, now: Mono) {
        let Some(unsynced) = self.log.unsynced_bytes() else {
            return;
        };
        let waits = self.checkpoints.is_prepared() && !self.upkeep.planned.is_empty();
        let waits = waits || self.upkeep.waits_for_log();
        if waits || unsynced > self.state.bytes + UNSYNCED_DEAD {
            self.log.hasten_sync(now);
        }
    }

    /// Says that changes of consumers up to this record are in a checkpoint, on the disk for good, and
    /// need not stay in the log.
    pub(super) fn set_consumers_saved(&mut self, upto: LogIndex) {
        self.upkeep.consumers = self.upkeep.consumers.max(upto);
    }

    /// Sets what becomes of complete segments. Those that are packed stay so until they are written
    /// anew.
    pub fn set_compression(&mut self, compression: Compression) {
        self.log.set_compression(compression);
        self.upkeep.packed = 0;
    }

    /// What becomes of complete segments.
    pub fn compression(&self) -> Compression {
        self.log.compression()
    }

    /// Has all segments looked at anew.
    pub(super) fn look_again(&mut self) {
        self.upkeep.swept = None;
    }

    /// The next thing to be done with segments.
    pub(super) fn upkeep_job(&mut self, now: Mono) -> Option<Job> {
        let upkeep = &mut self.upkeep;
        upkeep.handle_durable(self.log.durable());
        if std::mem::take(&mut upkeep.has_failed) {
            upkeep.retry_at = Some(now + RETRY);
        }
        // Copies have messages that are gone, and those that are to be erased.
        let waits = upkeep.retry_at.is_some_and(|at| now < at) || !self.copies.is_empty();
        if upkeep.in_flight || waits || self.log.failure().is_some() {
            return None;
        }
        let (log, buffer) = (&mut self.log, &mut self.buffer);
        if !self.state.unread.is_empty() && !self.state.read_again(log, buffer) {
            self.upkeep.has_failed = true;
        }
        let job = self.erase_job().or_else(|| self.rewrite_job(now));
        self.upkeep.in_flight = job.is_some();
        job
    }

    fn erase_job(&mut self) -> Option<Job> {
        for _ in 0..LOOK_MAX {
            self.gather_erasures();
            let erasures = &mut self.upkeep.erasures;
            if erasures.sequences.is_empty() || self.log.durable() < erasures.after {
                return None;
            }
            let sequences = erasures.sequences.make_contiguous();
            match self.log.erasable(sequences, &mut self.buffer) {
                Ok(Erasable::InPlace(job)) => {
                    erasures.sequences.clear();
                    // What is in memory takes no time, and nobody reads it meanwhile.
                    if self.disk.is_volatile() {
                        self.handle_erased(job.run());
                        continue;
                    }
                    return Some(Job::Erase(job));
                }
                Ok(Erasable::Gone) => {
                    let gone = erasures.sequences.pop_front();
                    // It may be in a segment that was given up: see `is_erased_with_segments`.
                    if self.log.given_up_bytes() == 0 {
                        gone.map(|gone| self.state.erasing.remove(gone));
                    }
                }
                Ok(Erasable::Anew(number)) => {
                    erasures.sequences.pop_front();
                    self.upkeep.anew.insert(number);
                }
                // They come up again when something has changed. What only the commit journal has
                // is to be in its segment first.
                Ok(Erasable::Later) => {
                    erasures.sequences.pop_front();
                    let _ = self.log.tail().write_back();
                }
                Err(_) => drop(erasures.sequences.pop_front()),
            }
        }
        None
    }

    /// Takes up what is to be erased next. All of it is looked at again when more became durable, or
    /// another segment complete.
    fn gather_erasures(&mut self) {
        let erasures = &mut self.upkeep.erasures;
        let now = (self.log.durable(), self.log.complete());
        if !erasures.sequences.is_empty() || self.state.erasing.is_empty() {
            return;
        }
        if erasures.cursor.0 == 0 {
            if erasures.begun == Some(now) {
                return;
            }
            erasures.begun = Some(now);
        }
        let mut at = erasures.cursor;
        while erasures.sequences.len() < LOOK_MAX {
            let Some(next) = self.state.erasing.next_present(at) else {
                at = StreamSeq(0);
                break;
            };
            erasures.sequences.push_back(next);
            at = next.next();
        }
        erasures.cursor = at;
        erasures.after = self.state.applied;
    }

    /// Whether what is to be erased may be in segments that the log does not begin with any more, and
    /// which go with the first checkpoint after an opening.
    pub(super) fn is_erased_with_segments(&self) -> bool {
        self.log.given_up_bytes() > 0 && !self.state.erasing.is_empty()
    }

    /// Has all that is to be erased looked at anew.
    pub(super) fn look_for_erased(&mut self) {
        self.upkeep.erasures.begun = None;
    }

    /// Takes the outcome of an erasure.
    pub(super) fn handle_erased(&mut self, done: EraseDone) {
        self.upkeep.in_flight = false;
        match self.log.handle_erased(done) {
            Some(erased) => {
                for sequence in erased {
                    self.state.erasing.remove(sequence);
                }
                self.upkeep.erasures.begun = None;
            }
            None => self.upkeep.has_failed = true,
        }
    }

    fn rewrite_job(&mut self, now: Mono) -> Option<Job> {
        self.rewrite_erased()
            .or_else(|| self.rewrite_dead())
            .or_else(|| self.pack())
            .or_else(|| self.merge())
            .or_else(|| {
                self.sweep(now);
                None
            })
    }

    /// Has a segment written anew for what is erased in it.
    fn rewrite_erased(&mut self) -> Option<Job> {
        while let Some(number) = self.upkeep.anew.first().copied() {
            if self.log.retire(number).is_err() {
                self.upkeep.has_failed = true;
                return None;
            }
            let is_there = |span: &Span| span.number == number && span.unfit.is_none();
            if let Some(span) = self.log.span(number).filter(is_there) {
                let is_durable = self.log.durable() >= self.state.applied;
                let is_durable = is_durable && self.is_settled(&span);
                return is_durable.then(|| self.rewrite(&span, &span, Changes::default()))?;
            }
            if self.log.open_from() <= number {
                // It is complete when its last records were synced.
                return None;
            }
            self.upkeep.anew.remove(&number);
        }
        None
    }

    /// Has a segment written anew of which a checkpoint knows that much is dead. The newest ones come first,
    /// which have most.
    fn rewrite_dead(&mut self) -> Option<Job> {
        while let Some((number, mut changes)) = self.upkeep.ready.pop() {
            let span = self.log.span(number).filter(|s| s.number == number);
            let Some(end) = span.filter(|s| s.last >= self.state.first) else {
                continue;
            };
            let (mut begin, mut left) = (end, self.left_of(&end));
            // What is left of neighbours is one segment.
            while let Some((before, more)) = self.upkeep.ready.last() {
                let span = self.log.span(*before).filter(|s| s.number == *before);
                let Some(span) = span.filter(|s| s.last >= self.state.first) else {
                    break;
                };
                let behind = self.log.span(span.number + 1);
                let is_next = behind.is_some_and(|s| s.number == begin.number);
                left += self.left_of(&span);
                if !is_next
                    || !self.log.can_join(span.number, number)
                    || left > self.log.segment_bytes() / 2
                {
                    break;
                }
                changes.basis = changes.basis.max(more.basis);
                changes.consumers = changes.consumers.max(more.consumers);
                changes.single = changes.single.min(more.single);
                let dead = &mut changes.dead;
                dead.insert_from(&more.dead, span.base.next(), span.last);
                begin = span;
                self.upkeep.ready.pop();
            }
            return self.rewrite(&begin, &end, changes);
        }
        None
    }

    /// Bytes of a segment that are not dead, about.
    fn left_of(&self, span: &Span) -> u64 {
        let dead = self.state.count_dead(span).min(span.messages);
        let left = u64::from(span.messages - dead);
        span.bytes * left / u64::from(span.messages).max(1)
    }

    fn pack(&mut self) -> Option<Job> {
        if self.layout() == Layout::Plain {
            return None;
        }
        for _ in 0..LOOK_MAX {
            let span = self.log.span(self.upkeep.packed)?;
            if !self.is_settled(&span) {
                return None;
            }
            self.upkeep.packed = span.number + 1;
            let is_done = span.layout == Layout::Packed || span.unfit.is_some();
            let waits = self.upkeep.candidates.contains(&span.number);
            if !is_done && !waits && span.last >= self.state.first {
                return self.rewrite(&span, &span, Changes::default());
            }
        }
        None
    }

    /// Has small neighbours written anew as one: of files, too, there may be too many.
    fn merge(&mut self) -> Option<Job> {
        let small = match self.has_rounds() {
            true if self.log.complete() < MERGE_FROM => return None,
            true => self.round_bytes() / 4,
            false => u64::MAX,
        };
        for _ in 0..LOOK_MAX {
            let span = self.log.span(self.upkeep.merged)?;
            let behind = self.log.span(span.number + 1)?;
            if !self.is_settled(&behind) {
                return None;
            }
            let is_behind = span.last >= self.state.first;
            let upkeep = &self.upkeep;
            let waits = |number| {
                let is_planned = upkeep.planned.iter().any(|(n, _)| *n == number);
                is_planned || upkeep.candidates.contains(&number)
            };
            let waits = waits(span.number) || waits(behind.number);
            if is_behind && !waits && self.log.can_merge(span.number, small) {
                return self.rewrite(&span, &behind, Changes::default());
            }
            self.upkeep.merged = behind.number;
        }
        None
    }

    /// Whether no record of a segment may be taken back any more: a group's log is cut where all records
    /// up to there are, none of them left out.
    fn is_settled(&self, span: &Span) -> bool {
        span.last_index <= self.log.held()
    }

    /// How segments are written anew.
    fn layout(&self) -> Layout {
        match self.log.compression() {
            Compression::S2 if !self.disk.is_volatile() => Layout::Packed,
            _ => Layout::Plain,
        }
    }

    fn rewrite(&mut self, span: &Span, end: &Span, mut changes: Changes) -> Option<Job> {
        changes.layout = self.layout();
        if self.log.durable() >= self.state.applied {
            let erasing = self.state.erasing.ranges(span.base.next());
            for (first, last) in erasing.take_while(|(first, _)| *first <= end.last) {
                changes.erased.insert_range(first, last.min(end.last));
            }
        }
        match self.log.rewrite(span.number, end.number, changes) {
            Ok(job) => job.map(|job| Job::Rewrite(Box::new(job))),
            Err(_) => {
                self.upkeep.has_failed = true;
                None
            }
        }
    }

    /// Takes the outcome of a rewriting.
    pub(super) fn handle_rewritten(&mut self, done: RewriteDone) -> Result<(), LogError> {
        self.upkeep.in_flight = false;
        match self.log.handle_rewritten(done) {
            Rewritten::Done(number, erased, lost) => {
                // What is smaller now may fit to what is before it.
                self.upkeep.merged = 0;
                if !lost.is_empty() {
                    // No record tells of it.
                    self.checkpoints.distrust();
                }
                for sequence in lost {
                    self.state.lose(sequence);
                }
                for (first, last) in erased.ranges(StreamSeq(0)) {
                    self.state.erasing.remove_range(first, last);
                }
                let base = self.log.span(number).map_or(StreamSeq(0), |s| s.base);
                let left = self.state.erasing.next_present(base.next());
                let last = self.log.span(number).map_or(StreamSeq(0), |s| s.last);
                if left.is_none_or(|left| left > last) {
                    self.upkeep.anew.remove(&number);
                }
                Ok(())
            }
            Rewritten::Unfit(number) => {
                self.upkeep.anew.remove(&number);
                if let Some(span) = self.log.span(number).filter(|s| s.number == number) {
                    let dead = self.state.count_dead(&span);
                    self.log.set_unfit(number, dead);
                }
                Ok(())
            }
            Rewritten::Failed(reason) => {
                self.upkeep.has_failed = true;
                self.upkeep.swept = None;
                self.upkeep.packed = 0;
                Err(LogError::Io(reason))
            }
        }
    }

    /// Looks at some segments, for those of which much is dead.
    fn sweep(&mut self, now: Mono) {
        let (applied, complete) = (self.state.applied, self.log.complete());
        let upkeep = &mut self.upkeep;
        let is_new = |swept: Swept| {
            complete != swept.complete
                || applied.0.saturating_sub(swept.applied.0) >= SWEEP_RECORDS
                || applied > swept.applied && now.since(swept.at) >= SWEEP_INTERVAL
        };
        let waits = !upkeep.planned.is_empty() || !upkeep.ready.is_empty();
        if waits || upkeep.sweep == 0 && !upkeep.swept.is_none_or(is_new) {
            return;
        }
        for _ in 0..LOOK_MAX {
            let upkeep = &mut self.upkeep;
            if upkeep.candidates.len() >= CANDIDATES_MAX {
                return;
            }
            let Some(span) = self.log.span(upkeep.sweep) else {
                upkeep.sweep = 0;
                upkeep.swept = Some(Swept {
                    applied,
                    complete,
                    at: now,
                });
                return;
            };
            upkeep.sweep = span.number + 1;
            self.consider(&span);
        }
    }

    /// Takes note of a segment if much of it is dead.
    fn consider(&mut self, span: &Span) {
        let least = self.least_dead_bytes();
        // What a round costs is there anyway, so that it is to give much.
        let part = match self.has_rounds() {
            true => self.round_dead_part(),
            false => DEAD_PART,
        };
        let upkeep = &mut self.upkeep;
        let dead = self.state.count_dead(span);
        let orders = match span.last_index <= upkeep.consumers {
            true => span.orders,
            false => 0,
        };
        let of = u64::from(span.messages) + u64::from(span.orders);
        let gone = u64::from(dead) + u64::from(orders);
        let is_fit = span.unfit.is_none_or(|before| dead > before);
        let is_behind = span.last >= self.state.first;
        let is_new = !upkeep.candidates.contains(&span.number);
        let is_behind = is_behind && span.last_index <= self.log.held();
        let bytes = span.bytes * gone / of.max(1);
        if gone > 0 && part * gone >= of && is_fit && is_behind && is_new && bytes >= least {
            upkeep.candidates.push(span.number);
            upkeep.dead_bytes += bytes;
        }
    }

    /// Considers segments that are not complete, as they will be by the time that there is a checkpoint.
    /// Gives the bytes of those that may go as a whole.
    pub(super) fn consider_open(&mut self) -> u64 {
        let (mut number, mut whole) = (self.log.open_from(), 0);
        while let Some(span) = self.log.open_span(number) {
            number = span.number + 1;
            match span.last < self.state.first {
                true => whole += span.bytes,
                false if self.upkeep.candidates.len() < CANDIDATES_MAX => self.consider(&span),
                false => break,
            }
        }
        whole
    }
}
