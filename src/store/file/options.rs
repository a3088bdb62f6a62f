//! What is the same for all logs of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::format::{SEGMENT_BYTES, SegmentHeader};
use super::pack::BlockCache;
use crate::store::crypt::{KeyFault, SealKey, StreamKey};

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub sync: SyncMode,
    /// Bytes of a segment, unless one record needs more; [`SEGMENT_BYTES`] but in tests.
    pub segment_bytes: u32,
    pub compression: Compression,
    pub handles: Arc<Handles>,
    /// Encrypts what is written; see [`Meta`](crate::store::meta::Meta).
    pub key: Option<StreamKey>,
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
            compression: Compression::None,
            handles,
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

/// How many sealed segments all logs together may have open and mapped: the system has a bound for
/// both. And what all logs together keep of packed segments, 32 MiB at most.
#[derive(Debug)]
pub struct Handles {
    open: AtomicUsize,
    max: usize,
    blocks: BlockCache,
}

impl Handles {
    /// `max` at once; each log may have one beyond that.
    pub fn new(max: usize) -> Handles {
        let open = AtomicUsize::new(0);
        let blocks = BlockCache::default();
        Handles { open, max, blocks }
    }

    /// How many there are now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes one, whether or not there are too many then; says whether there are.
    pub(super) fn take(self: &Arc<Handles>) -> (HandleCount, bool) {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (HandleCount(self.clone()), before >= self.max)
    }
}

/// One open segment.
#[derive(Debug)]
pub(super) struct HandleCount(Arc<Handles>);

impl HandleCount {
    /// The blocks of all packed segments that were read.
    pub(super) fn blocks(&self) -> &BlockCache {
        &self.0.blocks
    }
}

impl Drop for HandleCount {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
