//! Writing complete segments anew: without what is dead, with erased contents overwritten, or in
//! compressed blocks.
//!
//! ```text
//!  read the old one ─> N.new, written and synced ─> renamed to N.seg ─> directory synced
//! ```
//!
//! A crash at any time leaves the old segment or the new one, and both are right. Who reads the old
//! one through a map goes on. The new one has the old one's number, indexes, sequences and running
//! hash; a record that is left out leaves a gap. The last record stays, if only as a husk, so that the
//! segment's end is known without its footer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{Anew, FIRST_RECORD, Footer, Kind, Layout, Record, SegmentHeader, decode_runs};
use super::log::{Log, Place};
use super::open_segment::{Contents, LOST, Seal, is_husk};
use super::options::{Compression, Handles};
use super::pack::Packer;
use super::read::{ReadBuffer, ReadFault};
use super::sealed::Sealed;
use crate::store::crypt::{SealKey, Sealer};
use crate::store::disk::{Disk, LockGuard};
use crate::store::error::{LogError, Reason};
use crate::store::index::SequenceSet;
use crate::store::index::varint::Reader;
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// What becomes of a segment.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Changes {
    /// Messages that are left out. They were dead in all states from `basis` on.
    pub(in crate::store) dead: SequenceSet,
    /// The state of a checkpoint that is on the disk for good.
    pub(in crate::store) basis: LogIndex,
    /// Changes of consumers up to here are left out.
    pub(in crate::store) consumers: LogIndex,
    /// Messages whose contents are overwritten. Their deletes are durable.
    pub(in crate::store) erased: SequenceSet,
    pub(in crate::store) layout: Layout,
}

/// What there is to know of a complete segment when it is considered.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Span {
    pub(in crate::store) number: u64,
    /// The last sequence before it, and the last one in it.
    pub(in crate::store) base: StreamSeq,
    pub(in crate::store) last: StreamSeq,
    pub(in crate::store) last_index: LogIndex,
    /// Messages that it has, and other records as far as that is known.
    pub(in crate::store) messages: u32,
    pub(in crate::store) orders: u32,
    pub(in crate::store) bytes: u64,
    pub(in crate::store) layout: Layout,
    /// How many messages were dead when it could not be written anew.
    pub(in crate::store) unfit: Option<u32>,
}

/// A segment that is to be written anew.
#[derive(Debug)]
pub struct RewriteJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    old: Footer,
    file_len: u64,
    header: SegmentHeader,
    /// What opens the old one, and what seals the new one.
    old_key: Option<Arc<SealKey>>,
    key: Option<Arc<SealKey>>,
    /// Messages up to here are nowhere any more.
    gone: StreamSeq,
    changes: Changes,
    _lock: Arc<LockGuard>,
}

/// The outcome of a [`RewriteJob`].
#[derive(Debug)]
pub struct RewriteDone {
    number: u64,
    erased: SequenceSet,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// It has this footer now, and so many bytes.
    Done(Box<Footer>, u64),
    /// There is damage in it, which is left to be looked at.
    Unfit,
    /// Nothing has changed.
    Failed(Reason),
    /// The new file may have taken the old one's place, or not.
    Unsure(Reason),
}

/// What a rewriting has come to, for who asked for it.
#[derive(Debug)]
pub(in crate::store) enum Rewritten {
    /// The segment, and what was erased in it.
    Done(u64, SequenceSet),
    /// It is not to be tried again while there are no more dead messages in it.
    Unfit(u64),
    /// To be tried again, later.
    Failed(Reason),
}

impl RewriteJob {
    /// Writes the segment anew. This takes as long as reading and writing some megabytes does.
    pub fn run(self) -> RewriteDone {
        RewriteDone {
            number: self.header.number,
            outcome: self.rewrite(),
            erased: self.changes.erased,
        }
    }

    fn rewrite(&self) -> Outcome {
        let failed = |e: io::Error| Reason::new("write anew", &self.path, &e);
        let (image, seal) = match self.image() {
            Ok(made) => made,
            Err(ReadFault::Damaged) => return Outcome::Unfit,
            Err(ReadFault::Io(e)) => return Outcome::Failed(failed(e)),
        };
        let new = self.path.with_extension("new");
        let written = usize::try_from(seal.file_len)
            .map_err(|_| io::ErrorKind::FileTooLarge.into())
            .and_then(|len| self.disk.create(&new, len))
            .and_then(|file| {
                file.write_at(&image, 0)?;
                seal.write(&*file)?;
                file.sync()
            });
        if let Err(e) = written {
            // What is left of it is removed when the log is opened, or written over.
            let _ = self.disk.remove(&new);
            return Outcome::Failed(failed(e));
        }
        let renamed = self.disk.rename(&new, &self.path);
        match renamed.and_then(|()| self.disk.sync_dir(&self.dir)) {
            Ok(()) => Outcome::Done(Box::new(seal.footer), seal.file_len),
            Err(e) => Outcome::Unsure(failed(e)),
        }
    }

    /// The new file without its end, and the end.
    fn image(&self) -> Result<(Vec<u8>, Seal), ReadFault> {
        let mut source = Sealed::new(self.old, self.file_len);
        // One more than there may be, for the time that this takes.
        let handles = Arc::new(Handles::new(1));
        source
            .open(&*self.disk, &self.path, &handles, self.old_key.clone())
            .map_err(ReadFault::Io)?;
        let mut out = Writer::new(&self.header, self.key.clone());
        let mut buffer = ReadBuffer::default();
        let mut contents = Contents::new(&self.header);
        contents.dense = self.old.sequences_at == 0;
        let mut before = 0;
        for ordinal in 0..self.old.records {
            let distance = source.distance(ordinal).unwrap_or(before);
            // What is no message shares the sequence of the message before.
            let sequence = StreamSeq(self.old.header.base_sequence.0 + u64::from(distance));
            let is_dead = distance > before && self.changes.dead.contains(sequence);
            let is_last = ordinal + 1 == self.old.records;
            before = distance;
            contents.sequences.push(distance);
            let stored = match source.record(ordinal, &mut buffer) {
                Ok(stored) => stored,
                Err(ReadFault::Damaged) if is_dead => None,
                // What is to be erased is not kept to be looked at.
                Err(ReadFault::Damaged)
                    if source.is_lost(ordinal) || self.changes.erased.contains(sequence) =>
                {
                    contents.offsets.push(LOST);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let Some(record) = stored.as_ref().map(|s| s.record) else {
                contents.offsets.push(0);
                continue;
            };
            let zeros;
            let record = if self.leaves_out(&record) {
                if !is_last {
                    contents.offsets.push(0);
                    continue;
                }
                husk(&record)
            } else if record.erased || self.is_erased(&record) {
                zeros = vec![0; record.headers.len().max(record.payload.len())];
                Record {
                    erased: true,
                    headers: &zeros[..record.headers.len()],
                    payload: &zeros[..record.payload.len()],
                    ..record
                }
            } else {
                record
            };
            let offset = out.push(&record, ordinal).ok_or(ReadFault::Damaged)?;
            contents.offsets.push(offset);
            if record.kind == Kind::Message && !is_husk(&record) {
                contents.messages += 1;
                contents.first_time = contents.first_time.min(record.timestamp);
                contents.last_time = contents.last_time.max(record.timestamp);
            }
        }
        let (file, blocks) = out.finish().ok_or(ReadFault::Damaged)?;
        contents.blocks = blocks;
        contents.chain = self.old.chain;
        contents.last_term = self.old.last_term;
        if contents.messages == 0 {
            (contents.first_time, contents.last_time) = (Timestamp(u64::MAX), Timestamp(0));
        }
        let end = u32::try_from(file.len()).map_err(|_| ReadFault::Damaged)?;
        Ok((file, Seal::new(self.header, &contents, end, 0)))
    }

    fn is_erased(&self, record: &Record<'_>) -> bool {
        record.kind == Kind::Message && self.changes.erased.contains(record.sequence)
    }

    /// Whether nobody needs a record any more. An order is needed until its work is done in a state
    /// that is on the disk, and until what it removed is out of the files: without a checkpoint that
    /// would be there again.
    fn leaves_out(&self, record: &Record<'_>) -> bool {
        let is_done = record.index <= self.changes.basis;
        let base = self.header.base_sequence;
        match record.kind {
            Kind::Message => self.changes.dead.contains(record.sequence),
            Kind::Delete if is_done => {
                let mut is_out = true;
                let runs = record.payload.get(1..).unwrap_or_default();
                let read = decode_runs(runs, |first, last| {
                    is_out &= StreamSeq(last) <= self.gone || StreamSeq(first) > base;
                });
                read.is_some() && is_out
            }
            Kind::Purge if is_done => {
                let upto = Reader::new(record.payload).number("purge");
                upto.is_ok_and(|upto| StreamSeq(upto) <= self.gone)
            }
            Kind::Consumer => record.index <= self.changes.consumers,
            // One whose time was over when this segment was full has run, or was set anew.
            Kind::Timer if is_done => {
                let mut reader = Reader::new(record.payload);
                let read = (reader.number("timer"), reader.number("timer"));
                matches!(read, (Ok(_), Ok(at)) if at < self.old.last_time.0)
            }
            _ => false,
        }
    }
}

/// What is left of a record in the last place. Orders stay as they are.
fn husk<'a>(record: &Record<'a>) -> Record<'a> {
    if record.kind != Kind::Message {
        return *record;
    }
    Record {
        erased: true,
        previous: StreamSeq(0),
        ttl_s: 0,
        subject: b"",
        headers: b"",
        payload: b"",
        ..*record
    }
}

/// The new file, in either layout.
enum Writer<'a> {
    Plain(&'a SegmentHeader, u32, Option<Sealer>, Vec<u8>),
    Packed(Packer<'a>),
}

impl<'a> Writer<'a> {
    fn new(header: &'a SegmentHeader, key: Option<Arc<SealKey>>) -> Writer<'a> {
        match header.anew.layout {
            Layout::Plain => {
                let sealer = key.map(Sealer::new);
                Writer::Plain(header, header.seed(), sealer, header.encode().repeat(2))
            }
            Layout::Packed => Writer::Packed(Packer::new(header, key)),
        }
    }

    fn push(&mut self, record: &Record<'_>, ordinal: u32) -> Option<u32> {
        match self {
            Writer::Plain(header, seed, sealer, file) => {
                let at = u32::try_from(file.len()).ok()?;
                if let Some(sealer) = sealer {
                    sealer.ready().ok()?;
                }
                record.encode_with(header, *seed, sealer.as_mut(), file)?;
                Some(at)
            }
            Writer::Packed(packer) => packer.push(record, ordinal),
        }
    }

    fn finish(self) -> Option<(Vec<u8>, Vec<super::pack::Block>)> {
        match self {
            Writer::Plain(_, _, _, file) => Some((file, vec![])),
            Writer::Packed(mut packer) => {
                packer.close()?;
                Some((packer.file, packer.blocks))
            }
        }
    }
}

impl Log {
    /// The first complete segment with this number or a higher one.
    pub(in crate::store) fn span(&self, from: u64) -> Option<Span> {
        let at = self.sealed.partition_point(|s| s.number() < from);
        let sealed = self.sealed.get(at)?;
        let footer = &sealed.footer;
        let header = &footer.header;
        Some(Span {
            number: header.number,
            base: header.base_sequence,
            last: footer.last_sequence,
            last_index: sealed.last_index(),
            messages: footer.messages,
            orders: match header.generation {
                0 => footer.records - footer.messages.min(footer.records),
                _ => 0,
            },
            bytes: u64::from(footer.data_end - FIRST_RECORD),
            layout: header.anew.layout,
            unfit: sealed.unfit,
        })
    }

    /// The first segment that is not complete.
    pub(in crate::store) fn open_from(&self) -> u64 {
        self.open[0].header.number
    }

    pub(in crate::store) fn compression(&self) -> Compression {
        self.options.compression
    }

    pub(in crate::store) fn set_compression(&mut self, compression: Compression) {
        self.options.compression = compression;
    }

    /// How many segments are complete.
    pub(in crate::store) fn complete(&self) -> usize {
        self.sealed.len()
    }

    /// The record up to which nothing that is left out may still be needed: a state of before is of
    /// no use.
    pub fn basis(&self) -> LogIndex {
        let basis = self.sealed.iter().map(|s| s.footer.header.anew.basis);
        basis.max().unwrap_or_default()
    }

    /// Writes a complete segment anew; `None` if there is none with this number, or another one is
    /// under way.
    ///
    /// # Errors
    /// If the segment cannot be opened.
    pub(in crate::store) fn rewrite(
        &mut self,
        number: u64,
        changes: Changes,
    ) -> Result<Option<RewriteJob>, LogError> {
        let at = self.sealed.binary_search_by_key(&number, Sealed::number);
        let (Ok(at), None) = (at, self.rewriting) else {
            return Ok(None);
        };
        // From now on it is read through this handle, whatever file has its name.
        self.open_sealed(at)?;
        let gone = self.first_sequence();
        let sealed = &self.sealed[at];
        let old = sealed.footer;
        // Checksums start elsewhere in each generation, and the salt is another one.
        let header = self.options.encrypted(SegmentHeader {
            generation: old.header.generation.saturating_add(1),
            anew: Anew {
                layout: changes.layout,
                basis: changes.basis.max(old.header.anew.basis),
                proven: self.durable.max(sealed.last_index()),
                cuts: old.header.anew.cuts,
            },
            ..old.header
        });
        let key = |header: &SegmentHeader| {
            let key = self.options.segment_key(header);
            key.map_err(|fault| LogError::Key(self.path_of(Place::Sealed(at)), fault))
        };
        let (old_key, key) = (key(&old.header)?, key(&header)?);
        self.rewriting = Some(number);
        Ok(Some(RewriteJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            path: self.path_of(Place::Sealed(at)),
            old,
            file_len: self.sealed[at].file_len,
            header,
            old_key,
            key,
            gone,
            changes,
            _lock: self.lock.clone(),
        }))
    }

    /// Takes the outcome of a [`RewriteJob`].
    pub(in crate::store) fn handle_rewritten(&mut self, done: RewriteDone) -> Rewritten {
        self.rewriting = None;
        let number = done.number;
        let at = self.sealed.binary_search_by_key(&number, Sealed::number);
        match done.outcome {
            Outcome::Done(footer, file_len) => {
                if let Ok(at) = at {
                    self.sealed[at] = Sealed::new(*footer, file_len);
                }
                Rewritten::Done(number, done.erased)
            }
            Outcome::Unfit => Rewritten::Unfit(number),
            Outcome::Failed(reason) => Rewritten::Failed(reason),
            Outcome::Unsure(reason) => {
                self.failed.get_or_insert(reason.clone());
                Rewritten::Failed(reason)
            }
        }
    }

    /// Takes note that a segment, of which so many messages are dead, cannot be written anew.
    pub(in crate::store) fn set_unfit(&mut self, number: u64, dead: u32) {
        if let Ok(at) = self.sealed.binary_search_by_key(&number, Sealed::number) {
            self.sealed[at].unfit = Some(dead);
        }
    }
}
