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
//!
//! Small neighbours are written anew as one, which has the number of the first and says how many more
//! are in it. Their files are removed when the one is on the disk for good; whoever opens the log
//! before that knows from its header that they are of no use.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{
    Anew, CONSUMER_DELETED, FIRST_RECORD, Footer, Kind, Layout, Record, Records, SegmentHeader,
    decode_runs,
};
use super::log::{Log, segment_path};
use super::new_file::NewFile;
use super::open_segment::{Contents, LOST, Seal, is_husk};
use super::options::{Compression, Handles};
use super::read::{ReadBuffer, ReadFault};
use super::rows::Rows;
use super::sealed::Sealed;
use crate::store::crypt::SealKey;
use crate::store::disk::{Disk, LockGuard};
use crate::store::error::{LogError, Reason};
use crate::store::index::SequenceSet;
use crate::store::index::varint::Reader;
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// What becomes of a segment.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Changes {
    /// Messages that are left out. They were dead in all states from `basis` on, or a replay from there comes
    /// to the same without them.
    pub(in crate::store) dead: SequenceSet,
    /// The state of a checkpoint that is on the disk for good.
    pub(in crate::store) basis: LogIndex,
    /// Changes of consumers up to here are left out.
    pub(in crate::store) consumers: LogIndex,
    /// Up to this record, no message tells of the one before it on its subject: all those before were dead.
    pub(in crate::store) single: LogIndex,
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

/// A segment that is to be written anew, with some behind it or without.
#[derive(Debug)]
pub struct RewriteJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    sources: Vec<Source>,
    header: SegmentHeader,
    key: Option<Arc<SealKey>>,
    /// Messages up to here are nowhere any more.
    gone: StreamSeq,
    changes: Changes,
    _lock: Arc<LockGuard>,
}

/// A segment as it was.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    footer: Footer,
    file_len: u64,
    key: Option<Arc<SealKey>>,
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
    /// It has this footer now, and so many bytes, and it lacks these messages.
    Done(Box<Footer>, u64, Vec<StreamSeq>),
    /// Most of it is damaged, which is left to be looked at.
    Unfit,
    /// Nothing has changed.
    Failed(Reason),
    /// The new file may have taken the old one's place, or not.
    Unsure(Reason),
}

/// What a rewriting has come to, for who asked for it.
#[derive(Debug)]
pub(in crate::store) enum Rewritten {
    /// The segment, what was erased in it, and messages that were damaged and are lost now.
    Done(u64, SequenceSet, Vec<StreamSeq>),
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
        let path = segment_path(&self.dir, self.header.number);
        let failed = |e: io::Error| Reason::new("write anew", &path, &e);
        let new = path.with_extension("new");
        let written = self.write(new.clone());
        if written.is_err() {
            // What is left of it is removed when the log is opened, or written over.
            let _ = self.disk.remove(&new);
        }
        let (seal, lost) = match written {
            Ok(written) => written,
            Err(ReadFault::Damaged) => return Outcome::Unfit,
            Err(ReadFault::Io(e)) => return Outcome::Failed(failed(e)),
        };
        let renamed = self.disk.rename(&new, &path);
        if let Err(e) = renamed.and_then(|()| self.disk.sync_dir(&self.dir)) {
            return Outcome::Unsure(failed(e));
        }
        // What cannot be removed now is when the log is opened.
        let merged = self.sources.iter().skip(1);
        let removed = merged.map(|source| self.disk.remove(&source.path).is_ok());
        if removed.fold(false, |any, is| any | is) {
            let _ = self.disk.sync_dir(&self.dir);
        }
        Outcome::Done(Box::new(seal.footer), seal.file_len, lost)
    }

    /// Writes the new file; gives its end, and messages that could not be read.
    fn write(&self, path: PathBuf) -> Result<(Seal, Vec<StreamSeq>), ReadFault> {
        let mut out = NewFile::new(&self.disk, path, &self.header, self.key.clone());
        let mut contents = Contents::new(&self.header);
        contents.front = self.sources.first().map_or(0, |s| s.footer.front);
        contents.dense = contents.is_front_allowed()
            && self.sources.iter().all(|s| s.footer.sequences_at == 0)
            && self.sources.iter().skip(1).all(|s| s.footer.front == 0);
        let mut rows = Rows::default();
        let mut found = (0, vec![]);
        for (n, source) in self.sources.iter().enumerate() {
            let is_last = n + 1 == self.sources.len();
            let tables = (&mut contents, &mut rows);
            self.add(source, is_last, &mut out, tables, &mut found)?;
        }
        let (whole, lost) = found;
        // This is no place to decide on what may be another file altogether.
        if lost.len() > whole && lost.len() > self.count_whole()? {
            return Err(ReadFault::Damaged);
        }
        let (end, blocks) = out.end()?;
        contents.blocks = blocks;
        if let Some(last) = self.sources.last() {
            contents.chain = last.footer.chain;
            contents.last_term = last.footer.last_term;
        }
        if contents.messages == 0 {
            (contents.first_time, contents.last_time) = (Timestamp(u64::MAX), Timestamp(0));
        }
        let is_full = self.header.records == Records::Wide;
        let columns = rows.columns(contents.dense, is_full);
        let seal = Seal::new(self.header, &contents, columns, end, 0);
        out.complete(&seal).map_err(ReadFault::Io)?;
        Ok((seal, lost))
    }

    /// How many records can be read, those that are left out included.
    fn count_whole(&self) -> Result<usize, ReadFault> {
        let mut whole = 0;
        for source in &self.sources {
            let sealed = self.open(source)?;
            let mut buffer = ReadBuffer::default();
            for ordinal in sealed.ordinals(0) {
                whole += usize::from(matches!(sealed.record(ordinal, &mut buffer), Ok(Some(_))));
            }
        }
        Ok(whole)
    }

    fn open(&self, source: &Source) -> Result<Sealed, ReadFault> {
        let mut sealed = Sealed::new(source.footer, source.file_len);
        // One more than there may be, for the time that this takes.
        let handles = Arc::new(Handles::new(1));
        let opened = sealed.open(&*self.disk, &source.path, &handles, source.key.clone());
        opened.map(|()| sealed).map_err(ReadFault::Io)
    }

    /// Adds a segment's records; counts those that can be read, and tells messages that cannot.
    fn add(
        &self,
        source: &Source,
        is_last_source: bool,
        out: &mut NewFile<'_>,
        (contents, rows): (&mut Contents, &mut Rows),
        (whole, lost): &mut (usize, Vec<StreamSeq>),
    ) -> Result<(), ReadFault> {
        let old = &source.footer;
        let sealed = self.open(source)?;
        let base = old.header.base_sequence.0 - self.header.base_sequence.0;
        let base = u32::try_from(base).map_err(|_| ReadFault::Damaged)?;
        let mut buffer = ReadBuffer::default();
        let mut dead = self.changes.dead.lookup();
        let mut before = 0;
        let mut next = 0;
        while next < old.records {
            let ordinal = next;
            let told = sealed.told_from(ordinal);
            if told > ordinal {
                let left_out = told - ordinal;
                before = sealed.distance(told - 1).unwrap_or(before);
                let distance = base.checked_add(before).ok_or(ReadFault::Damaged)?;
                let added = rows.leave_out(left_out, distance);
                added.ok_or(ReadFault::Damaged)?;
                next = told;
                continue;
            }
            next += 1;
            let distance = sealed.distance(ordinal).unwrap_or(before);
            // What is no message shares the sequence of the message before.
            let sequence = StreamSeq(old.header.base_sequence.0 + u64::from(distance));
            let is_message = distance > before;
            let is_last = is_last_source && ordinal + 1 == old.records;
            let gone = match is_message && !is_last {
                true => dead.run(sequence),
                false => 0,
            };
            if gone > 0 {
                before = distance;
                // In a row there are messages only, and the last record of all stays.
                let rest = old.records - ordinal - u32::from(is_last_source);
                let gone = match old.sequences_at {
                    0 => u32::try_from(gone).map_or(rest, |gone| gone.min(rest)),
                    _ => 1,
                };
                before += gone - 1;
                let distance = base.checked_add(before).ok_or(ReadFault::Damaged)?;
                let added = rows.leave_out(gone, distance);
                added.ok_or(ReadFault::Damaged)?;
                next = ordinal + gone;
                continue;
            }
            let is_dead = is_message && dead.contains(sequence);
            before = distance;
            let nth = rows.records();
            let distance = base.checked_add(distance).ok_or(ReadFault::Damaged)?;
            let left = match sealed.record(ordinal, &mut buffer) {
                Ok(Some(stored)) => Ok(stored.record),
                Ok(None) => Err(0),
                Err(ReadFault::Damaged) if is_dead => Err(0),
                Err(ReadFault::Damaged) => {
                    let is_known = sealed.is_lost(ordinal);
                    if is_message && !is_known && !self.changes.erased.contains(sequence) {
                        lost.push(sequence);
                    }
                    Err(LOST)
                }
                Err(fault) => return Err(fault),
            };
            let index = LogIndex(self.header.first_index.0 + u64::from(nth));
            let record = match left {
                Ok(record) => record,
                Err(place) if !is_last => {
                    let added = match place {
                        LOST => rows.add(LOST, distance),
                        _ => rows.leave_out(1, distance),
                    };
                    added.ok_or(ReadFault::Damaged)?;
                    continue;
                }
                Err(_) => stand_in(index, is_message, sequence, old),
            };
            *whole += 1;
            let zeros;
            let record = if self.leaves_out(&record) {
                if !is_last {
                    let added = rows.leave_out(1, distance);
                    added.ok_or(ReadFault::Damaged)?;
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
            let record = Record {
                // The header tells of a later record that it was on the disk for good.
                durable: LogIndex(0),
                previous: match index <= self.changes.single {
                    true => StreamSeq(0),
                    false => record.previous,
                },
                ..record
            };
            let offset = out.push(&record, nth)?;
            rows.add(offset, distance).ok_or(ReadFault::Damaged)?;
            if record.kind == Kind::Message && !is_husk(&record) {
                contents.messages += 1;
                contents.first_time = contents.first_time.min(record.timestamp);
                contents.last_time = contents.last_time.max(record.timestamp);
            }
        }
        Ok(())
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
            // That a consumer is no more stays as long as it may stand elsewhere that it was created.
            Kind::Consumer => {
                record.index <= self.changes.consumers
                    && record.payload.first() != Some(&CONSUMER_DELETED)
            }
            // One whose time was over when this segment was full has run, or was set anew.
            Kind::Timer if is_done => {
                let mut reader = Reader::new(record.payload);
                let read = (reader.number("timer"), reader.number("timer"));
                let full = self.sources.first().map_or(0, |s| s.footer.last_time.0);
                matches!(read, (Ok(_), Ok(at)) if at < full)
            }
            _ => false,
        }
    }
}

/// How many segments are in one that two of them make, besides the first; `None` if those are too many.
fn merged(a: &Footer, b: &Footer) -> Option<u8> {
    u8::try_from(b.header.last_number() - a.header.number).ok()
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

/// What is in the last place if the record there is gone or damaged, and stands for nothing.
fn stand_in(
    index: LogIndex,
    is_message: bool,
    sequence: StreamSeq,
    old: &Footer,
) -> Record<'static> {
    Record {
        kind: match is_message {
            true => Kind::Message,
            false => Kind::Skip,
        },
        index,
        term: old.last_term,
        sequence,
        timestamp: old.last_time,
        durable: LogIndex(0),
        previous: StreamSeq(0),
        ttl_s: 0,
        erased: is_message,
        group_left: 0,
        subject: b"",
        headers: b"",
        payload: b"",
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

    /// The same, with those that are not complete yet.
    pub(in crate::store) fn open_span(&self, from: u64) -> Option<Span> {
        if let Some(span) = self.span(from) {
            return Some(span);
        }
        let open = self.open.iter().find(|s| s.header.number >= from)?;
        let contents = &open.contents;
        Some(Span {
            number: open.header.number,
            base: open.header.base_sequence,
            last: open.last_sequence(),
            last_index: open.last_index(),
            messages: contents.messages,
            orders: contents.records().saturating_sub(contents.messages),
            bytes: u64::from(open.end() - FIRST_RECORD),
            layout: Layout::Plain,
            unfit: None,
        })
    }

    /// Has what is appended from now on go to another segment, if this one has so many bytes. Without
    /// room for that, all stays as it is.
    pub(in crate::store) fn end_segment(&mut self, bytes: u64) {
        if u64::from(self.active().end()) >= bytes && !self.active().contents.offsets.is_empty() {
            // The log tells of other failures itself.
            let _ = self.roll(0);
        }
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

    /// Bytes of a segment, unless one record needs more.
    pub(in crate::store) fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes.into()
    }

    /// How many segments are complete.
    pub(in crate::store) fn complete(&self) -> usize {
        self.sealed.len()
    }

    /// Bytes of segments that have records behind this one.
    pub(in crate::store) fn bytes_behind(&self, index: LogIndex) -> u64 {
        let at = self.sealed.partition_point(|s| s.last_index() <= index);
        let sealed: u64 = self.sealed[at..].iter().map(|s| s.file_len).sum();
        let open = self.open.iter().filter(|s| s.last_index() > index);
        sealed + open.map(|s| u64::from(s.written)).sum::<u64>()
    }

    /// The record up to which nothing that is left out may still be needed: a state of before is of
    /// no use.
    pub fn basis(&self) -> LogIndex {
        let sealed = self.sealed.iter().map(|s| s.footer.header.anew.basis);
        let open = self.open.iter().map(|s| s.header.anew.basis);
        sealed.chain(open).max().unwrap_or_default()
    }

    /// Whether a segment is one of those that are being written anew.
    pub(super) fn is_rewriting(&self, number: u64) -> bool {
        let rewriting = self.rewriting.as_ref();
        rewriting.is_some_and(|range| range.contains(&number))
    }

    /// Whether what was found in a segment's file is true of it: it was not written anew meanwhile.
    pub(super) fn is_as_before(&self, header: &SegmentHeader) -> bool {
        let at = self
            .sealed
            .binary_search_by_key(&header.number, Sealed::number);
        let is_same = at.is_ok_and(|at| self.sealed[at].footer.header == *header);
        is_same && !self.is_rewriting(header.number)
    }

    /// Whether a complete segment and the one behind it make one: both have `small` bytes at most, and
    /// together half of what a segment may have.
    pub(in crate::store) fn can_merge(&self, number: u64, small: u64) -> bool {
        let at = self.sealed.binary_search_by_key(&number, Sealed::number);
        let Some([a, b]) = at.ok().and_then(|at| self.sealed.get(at..at + 2)) else {
            return false;
        };
        let small = small.min(u64::from(self.options.segment_bytes / 4));
        a.file_len <= small && b.file_len <= small && self.can_join(number, b.number())
    }

    /// Whether complete segments from one number to another can be written anew as one.
    pub(in crate::store) fn can_join(&self, first: u64, last: u64) -> bool {
        let at = |n: &u64| self.sealed.binary_search_by_key(n, Sealed::number).ok();
        let range = at(&first).zip(at(&last));
        let Some(range) = range.and_then(|(a, b)| self.sealed.get(a..=b)) else {
            return false;
        };
        let [a, .., b] = range else {
            return false;
        };
        let follows = |pair: &[Sealed]| {
            let [a, b] = pair else { return false };
            a.last_index().next() == b.first_index()
                && a.footer.header.last_number() + 1 == b.number()
        };
        let records = |sum: u32, s: &Sealed| sum.checked_add(s.footer.records);
        let (last, base) = (b.footer.last_sequence.0, a.footer.header.base_sequence.0);
        range.windows(2).all(follows)
            && range.iter().all(|s| s.unfit.is_none())
            && u32::try_from(last - base).is_ok()
            && range.iter().try_fold(0, records).is_some()
            && merged(&a.footer, &b.footer).is_some()
    }

    /// Writes a complete segment anew, and those behind it up to number `last` with it; `None` if there
    /// is none with this number, or another one is under way.
    ///
    /// # Errors
    /// If a segment cannot be opened.
    pub(in crate::store) fn rewrite(
        &mut self,
        number: u64,
        last: u64,
        changes: Changes,
    ) -> Result<Option<RewriteJob>, LogError> {
        let at = self.sealed.binary_search_by_key(&number, Sealed::number);
        let (Ok(at), None) = (at, &self.rewriting) else {
            return Ok(None);
        };
        let end = self.sealed.partition_point(|s| s.number() <= last);
        // From now on they are read through these handles, whatever files have their names.
        self.rewriting = Some(number..=last);
        let job = self.rewrite_job(at..end.max(at + 1), changes);
        if job.is_err() {
            self.rewriting = None;
        }
        job.map(Some)
    }

    fn rewrite_job(
        &mut self,
        range: Range<usize>,
        changes: Changes,
    ) -> Result<RewriteJob, LogError> {
        for at in range.clone() {
            self.open_sealed(at)?;
        }
        let gone = self.first_sequence();
        let olds = &self.sealed[range.clone()];
        let sealed = &self.sealed[range.start];
        let old = sealed.footer;
        let basis = olds.iter().map(|s| s.footer.header.anew.basis).max();
        let last_index = olds.last().map_or(LogIndex(0), Sealed::last_index);
        let number = |s: &Sealed| s.footer.header.last_number() - old.header.number;
        let merged = olds.last().map_or(0, number);
        // Checksums start elsewhere in each generation, and the salt is another one.
        let header = self.options.encrypted(SegmentHeader {
            records: self.options.records,
            generation: old.header.generation.saturating_add(1),
            anew: Anew {
                layout: changes.layout,
                basis: changes.basis.max(basis.unwrap_or_default()),
                proven: self.durable.max(last_index),
                cuts: old.header.anew.cuts,
                merged: u8::try_from(merged).unwrap_or(u8::MAX),
            },
            ..old.header
        });
        let key = |header: &SegmentHeader| {
            let key = self.options.segment_key(header);
            let path = segment_path(&self.dir, header.number);
            key.map_err(|fault| LogError::Key(path, fault))
        };
        let source = |sealed: &Sealed| {
            Ok(Source {
                path: segment_path(&self.dir, sealed.number()),
                footer: sealed.footer,
                file_len: sealed.file_len,
                key: key(&sealed.footer.header)?,
            })
        };
        let sources = olds.iter().map(source).collect::<Result<_, LogError>>()?;
        Ok(RewriteJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            sources,
            header,
            key: key(&header)?,
            gone,
            changes,
            _lock: self.lock.clone(),
        })
    }

    /// Takes the outcome of a [`RewriteJob`].
    pub(in crate::store) fn handle_rewritten(&mut self, done: RewriteDone) -> Rewritten {
        let rewritten = self.rewriting.take();
        let number = done.number;
        let at = self.sealed.binary_search_by_key(&number, Sealed::number);
        match done.outcome {
            Outcome::Done(footer, file_len, lost) => {
                if let Ok(at) = at {
                    let last = rewritten.map_or(number, |range| *range.end());
                    let end = self.sealed.partition_point(|s| s.number() <= last);
                    let new = Sealed::new(*footer, file_len);
                    self.sealed.splice(at..end.max(at + 1), [new]);
                }
                Rewritten::Done(number, done.erased, lost)
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
