//! The commit journal of a node: what many streams get at a time becomes durable with one sync.

use super::{Node, Phase, Slot, Task};
use crate::base::clock::Mono;
use crate::jetstream::out::Out;
use crate::store::error::LogError;
use crate::store::file::Tail;
use crate::store::journal::{Journal, JournalDone, StreamKey, Streams};
use crate::store::stream::{Job, JobDone};
use crate::store::types::{StreamId, Timestamp};
use slab::Slab;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bits of a key that are the slot; those above are a number.
const SLOT_BITS: u32 = 32;

/// Streams with syncs that are told apart; where there are more, there are many.
const SYNCS_TOLD_APART: usize = 64;

/// The journal, if there is one, and what it needs to know.
#[derive(Default)]
pub(super) struct Journaling {
    journal: Option<Journal>,
    /// Keys that were given.
    keys: u32,
    /// Streams with syncs of their own that are under way, and how many.
    syncs: BTreeMap<usize, u32>,
    /// Streams that were written to in a turn, as the journal knows them.
    written: Vec<StreamKey>,
    touched: Vec<StreamKey>,
    /// Whether it was told that the journal failed.
    is_told: bool,
}

/// The streams of a node, as the journal needs them.
struct Open<'n>(&'n mut Slab<Slot>);

fn slot_of(key: StreamKey) -> usize {
    usize::try_from(key.0 & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

impl Streams for Open<'_> {
    fn tail(&mut self, key: StreamKey) -> Option<Tail<'_>> {
        let slot = self.0.get_mut(slot_of(key))?;
        match &mut slot.phase {
            Phase::Open { stream, .. } if slot.key == key => Some(stream.tail()),
            _ => None,
        }
    }
}

impl Journaling {
    /// A key for a stream that is opened in this slot.
    pub(super) fn key(&mut self, slot: usize) -> StreamKey {
        self.keys = self.keys.wrapping_add(1);
        StreamKey(u64::from(self.keys) << SLOT_BITS | slot as u64)
    }

    /// When the journal has something to do.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.journal.as_ref()?.deadline()
    }

    /// Takes note of a job that is to be run.
    pub(super) fn note_job(&mut self, at: usize, job: &Job) {
        if let Job::Sync(_) = job {
            *self.syncs.entry(at).or_default() += 1;
        }
    }

    /// Takes note of a job that was done.
    pub(super) fn note_done(&mut self, at: usize, done: &JobDone) {
        if let JobDone::Sync(_) = done
            && let Some(left) = self.syncs.get_mut(&at)
        {
            *left -= 1;
            if *left == 0 {
                self.syncs.remove(&at);
            }
        }
    }

    /// Why the journal takes nothing at the moment, if so.
    pub(super) fn failure(&self) -> Option<String> {
        let reason = self.journal.as_ref()?.failure()?;
        Some(reason.to_string())
    }

    /// How many streams other than these, which are in order, have a sync under way.
    fn elsewhere(&self, dirty: &[usize]) -> usize {
        if self.syncs.len() > SYNCS_TOLD_APART {
            return self.syncs.len();
        }
        let others = self.syncs.keys();
        others.filter(|at| dirty.binary_search(at).is_err()).count()
    }

    /// Removes the journal's files, if all that is in them is in the streams.
    pub(super) fn close(&mut self, is_sound: bool) {
        let journal = self.journal.take().filter(|_| is_sound);
        if let Some(Err(error)) = journal.map(Journal::close) {
            log::warn!("JetStream: the commit journal stays: {error}");
        }
    }
}

impl Node {
    /// Goes on with a commit journal.
    pub fn set_journal(&mut self, journal: Journal) {
        self.journal.journal = Some(journal);
    }

    /// Writes what these streams have got, which are in order and were prepared for it.
    pub(super) fn write(&mut self, dirty: &[usize], mono: Mono) {
        let journaling = &mut self.journal;
        let elsewhere = journaling.elsewhere(dirty);
        let mut keys = std::mem::take(&mut journaling.written);
        for at in dirty {
            let Some(slot) = self.streams.get_mut(*at) else {
                continue;
            };
            if let Phase::Open { stream, .. } = &mut slot.phase {
                match journaling.journal.is_some() && stream.is_durable() {
                    true => keys.push(slot.key),
                    false => stream.write(),
                }
            }
        }
        let mut failed = vec![];
        if let Some(journal) = &mut journaling.journal {
            failed = journal.commit(&keys, elsewhere, &mut Open(&mut self.streams), mono);
        }
        keys.clear();
        self.journal.written = keys;
        for (key, error) in failed {
            if let Some(stream) = self.open_stream(slot_of(key)) {
                stream.handle_unwritten(&error);
            }
        }
    }

    /// Lets the journal do what is due.
    pub(super) fn turn_journal<O: Out>(&mut self, now: Timestamp, mono: Mono, out: &mut O) {
        let journaling = &mut self.journal;
        let Some(journal) = &mut journaling.journal else {
            return;
        };
        let touched = &mut journaling.touched;
        let job = journal.turn(mono, &mut Open(&mut self.streams), touched);
        self.tasks.extend(job.map(Task::Journal));
        match (journal.failure(), journaling.is_told) {
            (Some(reason), false) => {
                log::warn!("JetStream: each stream is synced by itself for a while: {reason}");
                journaling.is_told = true;
            }
            (None, true) => {
                log::info!("JetStream: streams are synced together again");
                journaling.is_told = false;
            }
            _ => {}
        }
        self.look_after_touched(now, out);
    }

    /// A batch of the journal is on the disk, or not.
    pub(super) fn handle_journaled<O: Out>(
        &mut self,
        done: JournalDone,
        now: Timestamp,
        mono: Mono,
        out: &mut O,
    ) {
        let Some(journal) = &mut self.journal.journal else {
            return;
        };
        let touched = &mut self.journal.touched;
        journal.handle_done(done, mono, &mut Open(&mut self.streams), touched);
        self.look_after_touched(now, out);
    }

    /// Goes on with streams that the journal has done something for.
    fn look_after_touched<O: Out>(&mut self, now: Timestamp, out: &mut O) {
        let mut touched = std::mem::take(&mut self.journal.touched);
        let system = self.system.clone();
        for key in touched.drain(..) {
            let at = slot_of(key);
            if let Some(stream) = self.open_stream(at) {
                if let Some(reason) = stream.failure().cloned() {
                    stream.handle_unwritten(&LogError::ReadOnly(reason));
                }
                stream.settle(system.as_ref(), out);
                if stream.has_ready_consumers() {
                    self.serving.insert(at);
                }
                self.syncing.insert(at);
                self.check_health(at, now);
            }
        }
        self.journal.touched = touched;
    }

    /// Sees to it that all that is durable of streams that failed is in their files, and nothing of it
    /// anywhere else. False while others are waited for.
    pub(super) fn rescue<O: Out>(
        &mut self,
        failed: &[usize],
        (now, mono): (Timestamp, Mono),
        out: &mut O,
    ) -> Result<bool, LogError> {
        let Some(journal) = &mut self.journal.journal else {
            return Ok(true);
        };
        let lost = failed.iter().filter_map(|at| {
            let slot = self.streams.get(*at)?;
            match &slot.phase {
                Phase::Open { meta, dir, .. } => Some((slot.key, meta.id, dir.clone())),
                _ => None,
            }
        });
        let lost: Vec<(StreamKey, StreamId, PathBuf)> = lost.collect();
        let touched = &mut self.journal.touched;
        let rescued = journal.rescue(&lost, mono, &mut Open(&mut self.streams), touched);
        self.look_after_touched(now, out);
        rescued
    }

    /// The journal need not look after a stream any more: it was closed.
    pub(super) fn forget(&mut self, key: StreamKey) {
        if let Some(journal) = &mut self.journal.journal {
            journal.forget(key);
        }
    }
}
