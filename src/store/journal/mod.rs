//! The commit journal: what many streams append in one turn of a loop becomes durable with one
//! write and one sync.
//!
//! ```text
//!  streams' logs ─ commit ─> gathered ─ JournalJob ─> journal ─ handle_done ─> acknowledged
//!                                                        │
//!       segments <─ write behind: 64 KiB, half a second ─┘   then synced, and the journal's file
//!                                                             is written over
//! ```
//!
//! A loop has one journal. In each turn it calls, in this order:
//!
//! 1. [`Journal::commit`] with the streams that were appended to. A stream with much to write, or
//!    one of few, goes straight to its segment; the others' records are gathered. Those of a stream
//!    whose segment is being synced wait for that, and are given again then.
//! 2. [`Journal::turn`], which looks after what is due and gives a job to run elsewhere, one at a
//!    time. It names streams that may have jobs of their own.
//! 3. [`Journal::handle_done`] when the job is done, which names the streams whose acknowledgement
//!    may have grown.
//!
//! There are two files, written in turns. Before one is written again, all that is in it is in the
//! segments for good. After a write or sync of the journal that failed, what was on its way goes to
//! the segments instead, and so does everything else, until the files can be given up and begun
//! anew. Nothing is lost by it, and nothing that was appended is refused.
//!
//! The journal knows nothing of what records say. They are in it as in the segment, byte for byte,
//! so that consumers' records and encrypted ones are served alike. `replay.rs` puts them into the
//! segments when a server starts.

mod replay;
mod ring;
mod scan;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use replay::{Locate, Replayed};
pub use ring::{JournalDone, JournalJob};

use self::ring::Ring;
use super::directory::make_for_good;
use super::disk::{Disk, LockGuard};
use super::error::{LogError, Reason};
use super::file::format::{FRAME_HEAD, FRAME_MAX};
use super::file::{Handed, Tail};
use super::types::{LogIndex, StreamId};
use crate::base::clock::Mono;

/// Streams that are looked after in a turn.
const TEND_MAX: usize = 32;

/// How long a journal that failed is left alone.
const REST: Duration = Duration::from_secs(5);

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Streams that are written to at a time, up to which each goes its own way.
    pub direct_streams: usize,
    /// Bytes of a stream in a turn from which on it goes its own way, and bytes of a tail at which
    /// it is written to its segment; 64 KiB at most.
    pub direct_bytes: usize,
    /// How long records stay in memory and in the journal only.
    pub behind: Duration,
    /// Bytes of all tails together.
    pub tails_bytes: usize,
    /// Bytes of each of the two files, at first and at most. They are twice as large each time that
    /// one was filled fast. A batch has half of the first of these at most.
    pub half_bytes_min: u64,
    pub half_bytes_max: u64,
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions {
            direct_streams: 3,
            direct_bytes: FRAME_MAX - FRAME_HEAD,
            behind: Duration::from_millis(500),
            tails_bytes: 64 << 20,
            half_bytes_min: 4 << 20,
            half_bytes_max: 64 << 20,
        }
    }
}

/// A stream of the loop; none is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamKey(pub u64);

/// The streams of a loop, as the journal needs them.
pub trait Streams {
    /// The end of a stream's log, if there is (still) such a stream.
    fn tail(&mut self, key: StreamKey) -> Option<Tail<'_>>;
}

/// The commit journal of a loop.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    nonce: [u8; 16],
    options: JournalOptions,
    ring: Ring,
    gathered: Batch,
    /// Members of the batch that is on its way.
    in_flight: Option<Vec<(StreamKey, Handed)>>,
    /// Buffers to be used again.
    spare: Option<Batch>,
    members: HashMap<StreamKey, Member>,
    /// Streams with a tail, and when it is to be written.
    due: VecDeque<(StreamKey, Mono)>,
    /// Streams that have frames in a file which is to be given up.
    draining: [VecDeque<StreamKey>; 2],
    /// Bytes of all tails.
    tails: usize,
    failed: Option<Failed>,
    /// Streams whose records were [rescued](Journal::rescue) from files that are still there.
    rescued: HashSet<StreamKey>,
    _lock: LockGuard,
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    members: Vec<(StreamKey, Handed)>,
}

/// A stream that has records in the journal.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// The last record that each file may have.
    marks: [LogIndex; 2],
    /// Bytes of its tail.
    tail: usize,
    /// Whether it is in the queue of tails that are to be written.
    is_queued: bool,
}

#[derive(Debug)]
struct Failed {
    reason: Reason,
    since: Mono,
}

impl Journal {
    /// Opens the journal in `dir`, and puts what is in it into the segments of the streams that
    /// `locate` finds. No stream may be open yet. `nonce` is to be random.
    ///
    /// # Errors
    /// Then no stream may be opened: what it acknowledged may be in the journal only. Nothing is
    /// lost, and the same can be tried again.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        nonce: [u8; 16],
        options: JournalOptions,
        locate: Locate<'_>,
    ) -> Result<(Journal, Replayed), LogError> {
        let failed = |doing, path: &Path, e| LogError::Io(Reason::new(doing, path, &e));
        make_for_good(&*disk, dir)?;
        let path = dir.join("lock");
        let lock = disk.lock(&path).map_err(|e| failed("lock", &path, e))?;
        let lock = lock.ok_or(LogError::Locked(dir.to_owned()))?;
        let report = replay::replay(&*disk, dir, locate)?;
        let journal = Journal {
            disk,
            dir: dir.to_owned(),
            nonce,
            ring: Ring::new(options.half_bytes_min, options.half_bytes_max),
            options,
            gathered: Batch::default(),
            in_flight: None,
            spare: None,
            members: HashMap::new(),
            due: VecDeque::new(),
            draining: Default::default(),
            tails: 0,
            failed: None,
            rescued: HashSet::new(),
            _lock: lock,
        };
        Ok((journal, report))
    }

    /// Why all streams go their own way at the moment, if so.
    pub fn failure(&self) -> Option<&Reason> {
        self.failed.as_ref().map(|failed| &failed.reason)
    }

    /// Sees to it that what these streams have appended in this turn becomes durable: they have
    /// jobs of their own then, or are in the next [job](Journal::turn) of the journal, or
    /// [wait](Tail::is_held_up) for a job of their own that is under way, after which they are to be
    /// given again. `elsewhere` is how many other streams have such jobs: who is told of a sync goes
    /// on, so that many streams may come a few at a time, and would for ever. Gives those whose records
    /// could not be written; their logs say why, too.
    pub fn commit(
        &mut self,
        keys: &[StreamKey],
        elsewhere: usize,
        streams: &mut dyn Streams,
        now: Mono,
    ) -> Vec<(StreamKey, LogError)> {
        let mut failed = vec![];
        let are_many = keys.len().saturating_add(elsewhere) > self.options.direct_streams;
        for key in keys {
            let Some(mut tail) = streams.tail(*key) else {
                continue;
            };
            if are_many && self.gather(*key, &mut tail, now) {
                continue;
            }
            let result = tail.commit();
            self.note(*key, &tail);
            if let Err(error) = result {
                failed.push((*key, error));
            }
        }
        failed
    }

    /// Takes what a stream has appended into the next batch, unless it has to go its own way.
    fn gather(&mut self, key: StreamKey, tail: &mut Tail<'_>, now: Mono) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let Some(frame) = tail.frame() else {
            let waits = tail.is_held_up() && tail.bytes() < self.options.direct_bytes;
            return waits || !tail.is_new();
        };
        let len = frame.bytes.len();
        let batch = self.gathered.bytes.len() + frame.len();
        if len >= self.options.direct_bytes || batch as u64 > self.options.half_bytes_min / 2 {
            return false;
        }
        self.gathered.starts.push(self.gathered.bytes.len());
        frame.put(&mut self.gathered.bytes);
        self.gathered.members.push((key, tail.hand_over()));
        let member = self.members.entry(key).or_default();
        if !member.is_queued {
            member.is_queued = true;
            self.due.push_back((key, now));
        }
        if tail.bytes() >= self.options.direct_bytes {
            // That it failed is told by the log, and costs nothing that the journal has.
            let _ = tail.write_behind();
        }
        self.note(key, tail);
        true
    }

    /// Keeps count of the bytes in memory.
    fn note(&mut self, key: StreamKey, tail: &Tail<'_>) {
        if let Some(member) = self.members.get_mut(&key) {
            let bytes = tail.bytes();
            self.tails = self.tails + bytes - member.tail;
            member.tail = bytes;
        }
    }

    /// Looks after what is due, for some streams at a time, and gives the next batch to be run
    /// where it may take its time. Streams that may have jobs of their own now, or have failed, are
    /// added to `touched`.
    pub fn turn(
        &mut self,
        now: Mono,
        streams: &mut dyn Streams,
        touched: &mut Vec<StreamKey>,
    ) -> Option<JournalJob> {
        self.write_behind(now, streams, touched);
        for half in 0..2 {
            self.drain(half, streams, touched);
        }
        if self.failed.is_some() {
            self.begin_anew(now);
            return None;
        }
        if self.in_flight.is_some() || self.gathered.starts.is_empty() {
            return None;
        }
        let len = self.gathered.bytes.len();
        if !self.ring.fits(len) && !self.turn_over(now, streams, touched) {
            return None;
        }
        let spare = self.spare.take().unwrap_or_default();
        let batch = std::mem::replace(&mut self.gathered, spare);
        let half = self.ring.half();
        for (key, handed) in &batch.members {
            // It may have been let go of, as all that was in the files before is stored.
            let member = self.members.entry(*key).or_default();
            member.marks[half] = member.marks[half].max(handed.upto());
        }
        self.in_flight = Some(batch.members);
        let frames = (batch.bytes, batch.starts);
        self.ring.job(&self.disk, &self.dir, frames)
    }

    /// Changes to the other file. Says whether there is a place for the batch now; if not, its
    /// records go to their segments.
    fn turn_over(
        &mut self,
        now: Mono,
        streams: &mut dyn Streams,
        touched: &mut Vec<StreamKey>,
    ) -> bool {
        let old = self.ring.half();
        if !self.draining[1 - old].is_empty() {
            self.spill(streams, touched);
            return false;
        }
        let turned = self.ring.turn_over(&self.disk, &self.dir, self.nonce, now);
        if let Err(error) = turned {
            let reason = Reason::new("create", &self.dir, &error);
            self.fail(reason, now, streams, touched);
            return false;
        }
        let new = self.ring.half();
        if new != old {
            self.begin_draining(old);
        }
        true
    }

    fn begin_draining(&mut self, half: usize) {
        let marked = self.members.iter().filter(|(_, m)| m.marks[half].0 > 0);
        let mut keys: Vec<_> = marked.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        self.draining[half] = keys.into();
    }

    /// Has what was gathered go straight to the segments.
    fn spill(&mut self, streams: &mut dyn Streams, touched: &mut Vec<StreamKey>) {
        self.gathered.bytes.clear();
        self.gathered.starts.clear();
        let members = std::mem::take(&mut self.gathered.members);
        self.fall_back(members, streams, touched);
    }

    fn fall_back(
        &mut self,
        members: Vec<(StreamKey, Handed)>,
        streams: &mut dyn Streams,
        touched: &mut Vec<StreamKey>,
    ) {
        for (key, _) in members {
            if let Some(mut tail) = streams.tail(key) {
                // The log tells if it fails.
                let _ = tail.fall_back();
                self.note(key, &tail);
                touched.push(key);
            }
        }
    }

    /// Takes the outcome of a job. Streams whose acknowledgement may have grown, or that have jobs
    /// of their own now, are added to `touched`.
    pub fn handle_done(
        &mut self,
        done: JournalDone,
        now: Mono,
        streams: &mut dyn Streams,
        touched: &mut Vec<StreamKey>,
    ) {
        let Some(mut members) = self.in_flight.take() else {
            return;
        };
        if let Err(reason) = done.result {
            self.fail(reason, now, streams, touched);
            self.fall_back(members, streams, touched);
            return;
        }
        for (key, handed) in members.drain(..) {
            if let Some(mut tail) = streams.tail(key) {
                tail.landed(handed);
                touched.push(key);
            }
        }
        let (mut bytes, mut starts) = (done.bytes, done.starts);
        bytes.clear();
        starts.clear();
        self.spare = Some(Batch {
            bytes,
            starts,
            members,
        });
    }

    /// Uses the journal no more until its files can be given up.
    fn fail(
        &mut self,
        reason: Reason,
        now: Mono,
        streams: &mut dyn Streams,
        touched: &mut Vec<StreamKey>,
    ) {
        self.failed = Some(Failed { reason, since: now });
        self.spill(streams, touched);
        for half in 0..2 {
            self.begin_draining(half);
        }
    }

    /// Gives up the files of a journal that failed, as soon as nothing in them is of use.
    fn begin_anew(&mut self, now: Mono) {
        let can = self.draining.iter().all(VecDeque::is_empty) && self.in_flight.is_none();
        let Some(failed) = self.failed.as_mut().filter(|_| can) else {
            return;
        };
        if now.since(failed.since) < REST {
            return;
        }
        failed.since = now;
        if let Err(LogError::Io(reason)) = self.clear() {
            self.failed = Some(Failed { reason, since: now });
        }
    }

    /// Writes tails to their segments that are old, or too large together.
    fn write_behind(&mut self, now: Mono, streams: &mut dyn Streams, touched: &mut Vec<StreamKey>) {
        for _ in 0..TEND_MAX {
            let Some((key, since)) = self.due.front().copied() else {
                return;
            };
            if now.since(since) < self.options.behind && self.tails <= self.options.tails_bytes {
                return;
            }
            self.due.pop_front();
            if let Some(member) = self.members.get_mut(&key) {
                member.is_queued = false;
            }
            if let Some(mut tail) = streams.tail(key) {
                if tail.write_behind().is_err() {
                    touched.push(key);
                }
                self.note(key, &tail);
            }
        }
    }

    /// Has streams synced that have frames in a file which is to be given up.
    fn drain(&mut self, half: usize, streams: &mut dyn Streams, touched: &mut Vec<StreamKey>) {
        for _ in 0..self.draining[half].len().min(TEND_MAX) {
            let Some(key) = self.draining[half].pop_front() else {
                return;
            };
            let Some(member) = self.members.get_mut(&key) else {
                continue;
            };
            let Some(mut tail) = streams.tail(key) else {
                self.forget(key);
                continue;
            };
            if tail.has_stored(member.marks[half]) {
                member.marks[half] = LogIndex(0);
                let is_idle = member.marks == [LogIndex(0); 2] && !member.is_queued;
                if is_idle && member.tail == 0 {
                    self.members.remove(&key);
                }
                continue;
            }
            let _ = tail.write_back();
            self.note(key, &tail);
            touched.push(key);
            self.draining[half].push_back(key);
        }
    }

    /// Before streams whose logs failed are opened again while the journal is in use: puts what the
    /// journal has of them into their segments, and gives up the files of the journal, so that nothing
    /// in them comes back later. The logs' durable records, as they are when this gives true, are all
    /// there then, and nothing behind them is to be trusted. It gives false while something is on its
    /// way, or other streams are not synced, and is to be called again in a later turn.
    ///
    /// # Errors
    /// Then the streams must stay closed; the same can be tried again.
    pub fn rescue(
        &mut self,
        lost: &[(StreamKey, StreamId, PathBuf)],
        now: Mono,
        streams: &mut dyn Streams,
        touched: &mut Vec<StreamKey>,
    ) -> Result<bool, LogError> {
        if self.in_flight.is_some() {
            return Ok(false);
        }
        let gathered: HashSet<_> = self.gathered.members.iter().map(|(key, _)| *key).collect();
        let has = |key: &StreamKey| self.members.contains_key(key) || gathered.contains(key);
        let involved: Vec<_> = lost.iter().filter(|(key, ..)| has(key)).collect();
        if involved.is_empty() && !lost.iter().any(|(key, ..)| self.rescued.contains(key)) {
            return Ok(true);
        }
        if let Some((_, _, dir)) = involved.first()
            && self.failed.is_none()
        {
            let reason = Reason {
                kind: std::io::ErrorKind::Other,
                text: format!("{} is to be opened again", dir.display()),
            };
            self.fail(reason, now, streams, touched);
        }
        if !involved.is_empty() {
            let dirs = involved.iter().map(|(_, id, dir)| (*id, dir.clone()));
            replay::replay_some(&*self.disk, &self.dir, &dirs.collect())?;
        }
        for (key, ..) in involved {
            self.forget(*key);
            self.rescued.insert(*key);
        }
        let members = &self.members;
        let mut draining = self.draining.iter().flatten();
        if draining.any(|key| members.contains_key(key)) {
            return Ok(false);
        }
        self.clear()?;
        Ok(true)
    }

    /// Gives up both files; nothing in them is of use.
    fn clear(&mut self) -> Result<(), LogError> {
        self.ring.clear(&*self.disk, &self.dir).map_err(|error| {
            let reason = Reason::new("remove", &self.dir, &error);
            LogError::Io(reason)
        })?;
        self.failed = None;
        self.rescued.clear();
        Ok(())
    }

    /// Removes the files, when all streams were closed and all of them are synced.
    ///
    /// # Errors
    /// Files that stay are read by the next start, and cost nothing else.
    pub fn close(mut self) -> Result<(), LogError> {
        self.clear()
    }

    /// A stream is closed, with all of it synced, or it was removed.
    pub fn forget(&mut self, key: StreamKey) {
        if let Some(member) = self.members.remove(&key) {
            self.tails -= member.tail;
        }
    }

    /// When [`Journal::turn`] has something to do at the latest, if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        let later = |at: Mono, by: Duration| {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            Mono::from_nanos(at.as_nanos().saturating_add(by))
        };
        let behind = self.options.behind;
        let due = self.due.front().map(|(_, since)| later(*since, behind));
        // Syncs that are waited for bring the loop here by themselves.
        let is_drained = self.draining.iter().all(VecDeque::is_empty);
        let failed = self.failed.as_ref().filter(|_| is_drained);
        let anew = failed.map(|f| later(f.since, REST));
        due.into_iter().chain(anew).min()
    }
}
