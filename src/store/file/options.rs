//! What is the same for all logs of a server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::format::{Records, SEGMENT_BYTES, SegmentHeader};
use super::pack::BlockCache;
use super::warm::Cold;
use crate::store::crypt::{KeyFault, SealKey, StreamKey};
use crate::store::disk::LockGuard;
use crate::store::reserve::Reserve;

/// Bytes that all logs together may keep of where subjects are in sealed segments, so that they
/// need not be looked for again: about those of three hundred segments of small messages.
const SUBJECTS_BYTES: usize = 64 << 20;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub sync: SyncMode,
    /// Bytes of a segment, unless one record needs more; [`SEGMENT_BYTES`] but in tests.
    pub segment_bytes: u32,
    /// What segments get that are begun or written anew; the newest but in tests.
    pub records: Records,
    /// What reads of messages do that would have to wait for the disk.
    pub cold: Cold,
    pub compression: Compression,
    pub handles: Arc<Handles>,
    /// Whether opening leaves unsynced what it only confirms: names and records that are there already,
    /// and the first segment of a log that is begun. Who opens a log that was there passes a
    /// [barrier](crate::store::disk::Barrier), made before, before anybody is told of what is in it.
    pub opens_unsynced: bool,
    /// Whether the directory was made just now, and has nothing of a log: then it is not looked at.
    pub is_new: bool,
    /// Who has which log open, where the directory of all logs is locked as a whole; otherwise each has
    /// a lock of its own, in a file that stays open.
    pub locks: Option<Arc<Locks>>,
    /// Room for what makes room, where there is no other.
    pub reserve: Option<Arc<Reserve>>,
    /// Encrypts what is written; see [`Meta`](crate::store::meta::Meta).
    pub key: Option<StreamKey>,
}

/// Which logs of this process are open, by their directories.
#[derive(Debug, Default)]
pub struct Locks(Mutex<HashSet<PathBuf>>);

struct Locked {
    locks: Arc<Locks>,
    dir: PathBuf,
}

impl Locks {
    /// Takes the lock of a directory; `None` if somebody else has it.
    pub fn lock(self: &Arc<Locks>, dir: &Path) -> Option<LockGuard> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (locks, dir) = (self.clone(), dir.to_owned());
        all.insert(dir.clone())
            .then(|| Box::new(Locked { locks, dir }) as LockGuard)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let all = self.locks.0.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .remove(&self.dir);
    }
}

/// What becomes of segments that are complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// They stay as they were written.
    #[default]
    None,
    /// They are written anew, in compressed blocks.
    S2,
}

/// When a record counts as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncMode {
    /// When it is on the disk for good.
    Always,
    /// When it was written; it is on the disk for good after this time at most.
    Interval(Duration),
}

impl LogOptions {
    /// Records are safe when they are acknowledged.
    pub fn new(handles: Arc<Handles>) -> LogOptions {
        LogOptions {
            sync: SyncMode::Always,
            segment_bytes: SEGMENT_BYTES,
            records: Records::default(),
            cold: Cold::Wait,
            compression: Compression::None,
            handles,
            opens_unsynced: false,
            is_new: false,
            locks: None,
            reserve: None,
            key: None,
        }
    }

    /// The header of a new segment, which is encrypted if there is a key.
    pub(super) fn encrypted(&self, header: SegmentHeader) -> SegmentHeader {
        match &self.key {
            Some(key) => SegmentHeader {
                key_salt: key.salt(&header),
                ..header
            },
            None => header,
        }
    }

    /// Whether what is added to a segment is encrypted as it is to be.
    pub(super) fn is_up_to_date(&self, header: &SegmentHeader) -> bool {
        self.encrypted(*header).key_salt == header.key_salt || self.key.is_none()
    }

    /// What opens a segment's records; `None` if they are not sealed.
    pub(super) fn segment_key(
        &self,
        header: &SegmentHeader,
    ) -> Result<Option<Arc<SealKey>>, KeyFault> {
        if !header.is_encrypted() {
            return Ok(None);
        }
        let key = self.key.as_ref().ok_or(KeyFault::Missing)?;
        key.segment(header).map(|key| Some(Arc::new(key)))
    }
}

/// How many segments all logs together may have open and mapped: the system has a bound for both.
///
/// Sealed segments are opened when they are read. When there are too many of them, the one that was
/// not read for longest, about, is marked, of whichever log it is, and its log closes it when it
/// does something the next time (see [`Log::handle_turn`](super::Log::handle_turn)). If logs that
/// do nothing hold twice as many as there may be, further ones are read without a map. The same
/// goes for the segments that are appended to, which stay open: those beyond the bound have no map.
#[derive(Debug)]
pub struct Handles {
    open: AtomicUsize,
    max: usize,
    /// Those of the open ones that are marked. It changes under the lock of the clock.
    marked: AtomicUsize,
    /// Maps of segments that are appended to.
    pinned: AtomicUsize,
    clock: Mutex<Clock>,
    subjects_bytes: AtomicUsize,
    /// What all logs together keep of packed segments, 32 MiB at most.
    blocks: BlockCache,
}

/// All open sealed segments, and where the search for one that is not read goes on.
#[derive(Debug, Default)]
struct Clock {
    all: Vec<Weak<Use>>,
    at: usize,
}

/// How one open segment is used.
#[derive(Debug)]
struct Use {
    /// It was read since the search came by.
    is_read: AtomicBool,
    is_marked: AtomicBool,
    marks: Marks,
}

/// Where a log is told that it is to close segments that are marked.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Arc<AtomicBool>);

impl Marks {
    /// Whether something was marked since this was asked the last time.
    #[inline]
    pub(super) fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

impl Handles {
    /// `max` sealed segments at once, and as many others with a map.
    pub fn new(max: usize) -> Handles {
        Handles {
            open: AtomicUsize::new(0),
            max,
            marked: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            clock: Mutex::default(),
            subjects_bytes: AtomicUsize::new(0),
            blocks: BlockCache::default(),
        }
    }

    /// How many sealed segments are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes one for a log, and marks another one if there are too many then.
    pub(super) fn take(self: &Arc<Handles>, marks: &Marks) -> HandleCount {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let own = Arc::new(Use {
            is_read: AtomicBool::new(true),
            is_marked: AtomicBool::new(false),
            marks: marks.clone(),
        });
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let marked = self.marked.load(Ordering::Relaxed);
        if before >= self.max.saturating_add(marked) && clock.mark() {
            self.marked.fetch_add(1, Ordering::Relaxed);
        }
        clock.all.push(Arc::downgrade(&own));
        HandleCount {
            handles: self.clone(),
            own,
            may_map: before < self.max.saturating_mul(2).max(1),
        }
    }

    /// Takes a map for a segment that is appended to, if there is one left.
    pub(super) fn pin(self: &Arc<Handles>) -> Option<Pin> {
        let before = self.pinned.fetch_add(1, Ordering::Relaxed);
        let pin = Pin(self.clone());
        (before < self.max).then_some(pin)
    }
}

impl Clock {
    /// Marks a segment that was not read since the search came by the last time; says whether there
    /// was one.
    fn mark(&mut self) -> bool {
        // Twice around, all are seen as not read.
        for _ in 0..2 * self.all.len() {
            if self.all.is_empty() {
                return false;
            }
            self.at %= self.all.len();
            let Some(seen) = self.all[self.at].upgrade() else {
                self.all.swap_remove(self.at);
                continue;
            };
            self.at += 1;
            if seen.is_marked.load(Ordering::Relaxed) || seen.is_read.swap(false, Ordering::Relaxed)
            {
                continue;
            }
            seen.is_marked.store(true, Ordering::Relaxed);
            seen.marks.0.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }
}

impl Handles {
    /// Takes so many bytes for subjects of a segment, if there are as many left.
    pub(super) fn take_bytes(self: &Arc<Handles>, bytes: usize) -> Option<BytesCount> {
        let taken = |now: usize| Some(now + bytes).filter(|now| *now <= SUBJECTS_BYTES);
        let order = Ordering::Relaxed;
        let count = self.subjects_bytes.fetch_update(order, order, taken);
        count.is_ok().then(|| BytesCount(self.clone(), bytes))
    }
}

/// Bytes of memory that count.
#[derive(Debug)]
pub(super) struct BytesCount(Arc<Handles>, usize);

impl Drop for BytesCount {
    fn drop(&mut self) {
        self.0.subjects_bytes.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// One open sealed segment.
#[derive(Debug)]
pub(super) struct HandleCount {
    handles: Arc<Handles>,
    own: Arc<Use>,
    may_map: bool,
}

impl HandleCount {
    /// Whether the segment may have a map.
    pub(super) fn may_map(&self) -> bool {
        self.may_map
    }

    /// Takes note that the segment is read.
    #[inline]
    pub(super) fn touch(&self) {
        if !self.own.is_read.load(Ordering::Relaxed) {
            self.own.is_read.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody else needs it more.
    pub(super) fn is_marked(&self) -> bool {
        self.own.is_marked.load(Ordering::Relaxed)
    }
}

impl HandleCount {
    /// The blocks of all packed segments that were read.
    pub(super) fn blocks(&self) -> &BlockCache {
        &self.handles.blocks
    }
}

impl Drop for HandleCount {
    fn drop(&mut self) {
        let clock = self.handles.clock.lock();
        let _clock = clock.unwrap_or_else(PoisonError::into_inner);
        // From here on nobody marks it.
        if self.own.is_marked.swap(true, Ordering::Relaxed) {
            self.handles.marked.fetch_sub(1, Ordering::Relaxed);
        }
        self.handles.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The map of a segment that is appended to.
#[derive(Debug)]
pub(super) struct Pin(Arc<Handles>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pinned.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_marked_of_whichever_log_it_is() {
        let handles = Arc::new(Handles::new(3));
        let (one, other) = (Marks::default(), Marks::default());
        let mut of_one: Vec<_> = (0..3).map(|_| handles.take(&one)).collect();
        assert!(!one.take() && !other.take());
        let first = handles.take(&other);
        assert!(one.take() && !one.take());
        assert_eq!(of_one.iter().filter(|h| h.is_marked()).count(), 1);
        of_one.retain(|h| !h.is_marked());
        assert_eq!(handles.open(), 3);
        // Those that are read stay.
        for _ in 0..2 {
            of_one.iter().for_each(HandleCount::touch);
            let next = handles.take(&other);
            assert!(of_one.iter().all(|h| !h.is_marked()));
            assert!(first.is_marked() || next.may_map());
        }
        assert!(first.is_marked());
    }

    #[test]
    fn there_are_no_more_maps_than_twice_the_bound() {
        let handles = Arc::new(Handles::new(2));
        let marks = Marks::default();
        let all: Vec<_> = (0..6).map(|_| handles.take(&marks)).collect();
        let may: Vec<bool> = all.iter().map(HandleCount::may_map).collect();
        assert_eq!(may, [true, true, true, true, false, false]);
        let pins: Vec<_> = (0..3).map(|_| handles.pin()).collect();
        assert_eq!(pins.iter().flatten().count(), 2);
        drop(pins);
        assert!(handles.pin().is_some());
    }
}
