//! A segment that has no footer yet: the one that is appended to, and those before it whose last
//! records are still on their way to the disk.

use std::io;
use std::path::PathBuf;

use super::format::{
    FIRST_RECORD, FOOTER_LEN, Footer, Kind, Layout, Record, Records, SegmentHeader, chain,
};
use super::guess::{evenly, lower_bound};
use super::pack::{Block, encode_table};
use super::read::{ReadBuffer, ReadFault, SegmentFile, Stored};
use super::rows::Columns;
use crate::store::crypt::Sealer;
use crate::store::disk::DiskFile;
use crate::store::error::is_full;
use crate::store::types::{LogIndex, StreamSeq, Term, Timestamp};

/// Stands in the table of offsets for a record that was damaged.
pub(super) const LOST: u32 = 1;

/// Zeros written ahead at a time, at least and at most.
const AHEAD_MIN: u32 = 4 << 10;
const AHEAD_MAX: u32 = 256 << 10;

/// Of so many records in a row one tells what was on the disk for good, though it is what one before it
/// tells: each of them may be damaged.
const CLAIM_EVERY: u32 = 4;

/// Bytes of a record from which on it is written at once, without zeros before.
pub(super) const DIRECT_MIN: usize = 64 << 10;

static ZEROS: [u8; AHEAD_MAX as usize] = [0; AHEAD_MAX as usize];

#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) header: SegmentHeader,
    pub(super) seed: u32,
    pub(super) path: PathBuf,
    pub(super) file: SegmentFile,
    /// Seals records, if they are to be.
    pub(super) sealer: Option<Sealer>,
    /// Bytes that the file may have, footer and tables included.
    pub(super) capacity: u32,
    /// Where records that were written end.
    pub(super) written: u32,
    /// Bytes of the file that are surely there, so that writing to them needs no room.
    pub(super) reserved: u32,
    /// Records that are not written yet.
    pub(super) pending: Vec<u8>,
    pub(super) contents: Contents,
    /// The last record that a sync has covered.
    pub(super) synced: LogIndex,
    pub(super) in_flight: bool,
    /// Whether the file's name is on the disk for good.
    pub(super) named: bool,
}

/// What the records of a segment are, all of them.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) offsets: Vec<u32>,
    /// Distances from the base sequence.
    pub(super) sequences: Vec<u32>,
    /// Whether all records are messages in a row, but for some at the front that are no messages, and how
    /// many those are.
    pub(super) dense: bool,
    pub(super) front: u32,
    may_have_front: bool,
    pub(super) messages: u32,
    pub(super) first_time: Timestamp,
    pub(super) last_time: Timestamp,
    pub(super) chain: u64,
    /// Whether checksums changed since, so that the running hash is not the one that the next segment
    /// tells.
    pub(super) is_altered: bool,
    pub(super) last_term: Term,
    /// The last record of which one here says that it was on the disk for good, and how many records are
    /// behind the one that says so.
    claimed: LogIndex,
    behind_claim: u32,
    /// Of a packed segment; offsets are those of a plain one.
    pub(super) blocks: Vec<Block>,
}

impl Contents {
    pub(super) fn new(header: &SegmentHeader) -> Contents {
        Contents {
            offsets: vec![],
            sequences: vec![],
            dense: true,
            front: 0,
            may_have_front: header.records == Records::Compact,
            messages: 0,
            first_time: Timestamp(u64::MAX),
            last_time: Timestamp(0),
            chain: header.chain,
            is_altered: header.generation > 0,
            last_term: header.term,
            claimed: LogIndex(0),
            behind_claim: 0,
            blocks: vec![],
        }
    }

    /// Takes note of a record with this checksum at this place.
    pub(super) fn add(&mut self, record: &Record<'_>, base: StreamSeq, at: u32, crc: u32) {
        let delta = u32::try_from(record.sequence.0.saturating_sub(base.0)).unwrap_or(u32::MAX);
        self.dense = self.stays_dense(record.kind, delta);
        self.front += u32::from(self.dense && record.kind != Kind::Message);
        self.offsets.push(at);
        self.sequences.push(delta);
        self.chain = chain(self.chain, crc);
        self.is_altered |= record.erased;
        self.last_term = record.term;
        match record.durable {
            LogIndex(0) => self.behind_claim = self.behind_claim.saturating_add(1),
            durable => (self.claimed, self.behind_claim) = (durable, 0),
        }
        if record.kind == Kind::Message && !is_husk(record) {
            self.messages += 1;
            self.first_time = self.first_time.min(record.timestamp);
            self.last_time = self.last_time.max(record.timestamp);
        }
    }

    /// Whether it is so with one more record of this kind, whose sequence is so far from the base sequence.
    fn stays_dense(&self, kind: Kind, delta: u32) -> bool {
        let messages = self.records() - self.front.min(self.records());
        self.dense
            && match kind {
                Kind::Message => delta == messages.saturating_add(1),
                _ => self.may_have_front && messages == 0 && delta == 0,
            }
    }

    /// Whether the segment's footer can tell of those at the front.
    pub(super) fn is_front_allowed(&self) -> bool {
        self.front == 0 || self.may_have_front
    }

    /// What the next record says to have been on the disk for good, where `durable` was: nothing if one
    /// shortly before says the same.
    fn claim(&self, durable: LogIndex) -> LogIndex {
        let is_said = durable == self.claimed && self.behind_claim + 1 < CLAIM_EVERY;
        if is_said { LogIndex(0) } else { durable }
    }

    /// Takes note of `records` that are lost.
    pub(super) fn add_lost(&mut self, records: u32) {
        self.add_gone(records, LOST);
    }

    /// Takes note of `records` that were taken out, behind which this one stands.
    pub(super) fn add_removed(&mut self, records: u32, behind: &Record<'_>, base: StreamSeq) {
        self.add_gone(records, 0);
        // What is no message has the sequence of the one before it, that is one of these.
        if records > 0
            && behind.kind != Kind::Message
            && let Some(last) = self.sequences.last_mut()
        {
            let distance = behind.sequence.0.saturating_sub(base.0);
            *last = u32::try_from(distance).unwrap_or(u32::MAX).max(*last);
        }
    }

    fn add_gone(&mut self, records: u32, mark: u32) {
        let last = self.sequences.last().copied().unwrap_or(0);
        for _ in 0..records {
            self.offsets.push(mark);
            self.sequences.push(last);
        }
        self.dense &= records == 0;
    }

    /// What [`Contents::restore`] needs to take the next record back.
    pub(super) fn clone_marks(&self) -> Contents {
        Contents {
            offsets: vec![],
            sequences: vec![],
            blocks: vec![],
            ..*self
        }
    }

    /// Takes the last record back.
    pub(super) fn restore(&mut self, before: Contents) {
        let mut offsets = std::mem::take(&mut self.offsets);
        let mut sequences = std::mem::take(&mut self.sequences);
        offsets.pop();
        sequences.pop();
        *self = Contents {
            offsets,
            sequences,
            ..before
        };
    }

    /// Keeps the first `records` only. The running hash and the times stay those of all.
    pub(super) fn truncate(&mut self, records: usize) {
        self.offsets.truncate(records);
        self.sequences.truncate(records);
    }

    pub(super) fn records(&self) -> u32 {
        u32::try_from(self.offsets.len()).unwrap_or(u32::MAX)
    }
}

/// Whether a record only stands for a message that was taken out.
pub(super) fn is_husk(record: &Record<'_>) -> bool {
    record.erased && record.subject.is_empty()
}

impl OpenSegment {
    /// An empty segment in a file that was just created.
    pub(super) fn create(
        header: SegmentHeader,
        path: PathBuf,
        file: SegmentFile,
        capacity: u32,
    ) -> io::Result<OpenSegment> {
        file.file.write_at(&header.encode().repeat(2), 0)?;
        Ok(OpenSegment {
            seed: header.seed(),
            path,
            sealer: file.key.clone().map(Sealer::new),
            file,
            capacity,
            written: FIRST_RECORD,
            reserved: FIRST_RECORD,
            pending: vec![],
            contents: Contents::new(&header),
            synced: header.first_index.previous(),
            in_flight: false,
            named: false,
            header,
        })
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> u32 {
        // A segment has 32 bits; `fits` keeps to that.
        self.written + u32::try_from(self.pending.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn last_index(&self) -> LogIndex {
        LogIndex(self.header.first_index.0 - 1 + u64::from(self.contents.records()))
    }

    pub(super) fn last_sequence(&self) -> StreamSeq {
        let delta = self.contents.sequences.last().copied().unwrap_or(0);
        StreamSeq(self.header.base_sequence.0 + u64::from(delta))
    }

    /// The first record whose sequence is `sequence` or more; the number of records if there is none.
    pub(super) fn position(&self, sequence: StreamSeq) -> usize {
        let distance = sequence.0.saturating_sub(self.header.base_sequence.0);
        let distance = u32::try_from(distance).unwrap_or(u32::MAX);
        let distances = &self.contents.sequences;
        match self.contents.dense {
            true if distance == 0 => 0,
            true => (self.contents.front as usize + distance as usize - 1).min(distances.len()),
            false => {
                let len = u32::try_from(distances.len()).unwrap_or(u32::MAX);
                let last = distances.last().copied().unwrap_or(0);
                let guess = evenly(distance, last, len);
                lower_bound(len, guess, |at| distances[at as usize] < distance) as usize
            }
        }
    }

    /// Whether `record`, which has `len` bytes here, can be here, together with the tables. It may take less than is reckoned with, if
    /// what it says of others has been said.
    #[inline]
    pub(super) fn fits(&self, record: &Record<'_>, len: usize) -> bool {
        let distance = record.sequence.0 - self.header.base_sequence.0;
        let Ok(distance) = u32::try_from(distance) else {
            return false;
        };
        let tables = match self.contents.stays_dense(record.kind, distance) {
            true => 4,
            false => 8,
        };
        let tables = tables * (self.contents.offsets.len() + 1) + FOOTER_LEN;
        let end = self.end() as usize + len + tables;
        end <= self.capacity as usize
    }

    /// Makes sure that bytes up to `to` exist in the file, and some behind. What there was room for is
    /// given back if that is not all: others need it to make room.
    pub(super) fn reserve(&mut self, to: u32) -> io::Result<()> {
        if to <= self.reserved {
            return Ok(());
        }
        let ahead = self.end().clamp(AHEAD_MIN, AHEAD_MAX);
        let goal = (to + ahead).next_multiple_of(AHEAD_MIN);
        self.reserve_upto(goal.min(self.capacity).max(to))
    }

    /// The same with as little behind as can be.
    pub(super) fn reserve_little(&mut self, to: u32) -> io::Result<()> {
        let goal = to.next_multiple_of(AHEAD_MIN).min(self.capacity).max(to);
        self.reserve_upto(goal)
    }

    fn reserve_upto(&mut self, goal: u32) -> io::Result<()> {
        while self.reserved < goal {
            let len = (goal - self.reserved).min(AHEAD_MAX);
            let zeros = &ZEROS[..len as usize];
            let file = &self.file.file;
            if let Err(error) = file.write_at(zeros, self.reserved.into()) {
                if is_full(&error) {
                    // Nobody has seen anything of what is behind.
                    let _ = file.shorten(self.reserved.into());
                }
                return Err(error);
            }
            self.reserved += len;
        }
        Ok(())
    }

    /// Gets what is needed to [push](OpenSegment::push) the next record.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        self.sealer.as_mut().map_or(Ok(()), Sealer::ready)
    }

    /// Adds a record to those that are not written yet.
    #[inline]
    pub(super) fn push(&mut self, record: &mut Record<'_>) {
        let at = self.end();
        if self.header.records == Records::Compact {
            record.durable = self.contents.claim(record.durable);
        }
        let sealer = self.sealer.as_mut();
        let crc = record.encode_with(&self.header, self.seed, sealer, &mut self.pending);
        let crc = crc.expect("it was checked that the record fits");
        let base = self.header.base_sequence;
        self.contents.add(record, base, at, crc);
    }

    /// Writes what is not written yet.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file
            .file
            .write_at(&self.pending, self.written.into())?;
        self.written = self.end();
        self.reserved = self.reserved.max(self.written);
        self.pending.clear();
        if self.pending.capacity() > 4 * AHEAD_MAX as usize {
            self.pending = Vec::new();
        }
        Ok(())
    }

    /// Reads one of its records.
    pub(super) fn record<'b>(
        &self,
        ordinal: u32,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Stored<'b>, ReadFault>
    where
        Self: 'b,
    {
        let at = self.contents.offsets.get(ordinal as usize);
        let at = at.copied().filter(|at| *at != LOST);
        let at = at.ok_or(ReadFault::Damaged)?;
        if at < self.written {
            let by = (&self.header, self.seed);
            return self.file.record(by, at, self.written, buffer);
        }
        let bytes = self.pending.get((at - self.written) as usize..);
        let bytes = bytes.ok_or(ReadFault::Damaged)?;
        let record = buffer.decode_copy(bytes, &self.header, self.seed, self.file.key.as_deref());
        record.ok_or(ReadFault::Damaged)
    }

    /// What completes the segment when it is [written](Seal::write). All of it must have been
    /// synced.
    pub(super) fn seal(&self) -> Seal {
        let contents = &self.contents;
        let columns = Columns {
            ordinals: &[],
            offsets: &contents.offsets,
            distances: &contents.sequences,
            records: contents.records(),
            last: contents.sequences.last().copied().unwrap_or(0),
        };
        Seal::new(self.header, contents, columns, self.written, self.reserved)
    }
}

/// The end of a complete segment.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) footer: Footer,
    tables: Vec<u8>,
    /// Bytes of the file with all of it.
    pub(super) file_len: u64,
}

impl Seal {
    /// Tables and footer for a file of `file_len` bytes whose records end at `data_end`.
    pub(super) fn new(
        header: SegmentHeader,
        contents: &Contents,
        columns: Columns<'_>,
        data_end: u32,
        file_len: u32,
    ) -> Seal {
        let rows = columns.offsets.len();
        let mut tables = Vec::with_capacity(12 * rows + FOOTER_LEN);
        let mut table = |bytes: &[u8]| {
            let start = tables.len();
            tables.extend_from_slice(bytes);
            let at = data_end + u32::try_from(start).unwrap_or(u32::MAX);
            (at, crc32c::crc32c(&tables[start..]))
        };
        let numbers = |numbers: &[u32]| {
            let mut bytes = Vec::with_capacity(4 * numbers.len());
            for number in numbers {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes
        };
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (ordinals_at, ordinals_crc) = match columns.ordinals {
            [] => (0, 0),
            ordinals => table(&numbers(ordinals)),
        };
        let (offsets_at, offsets_crc) = table(&numbers(columns.offsets));
        let (sequences_at, sequences_crc) = match contents.dense {
            true => (0, 0),
            false => table(&numbers(columns.distances)),
        };
        let (blocks_at, blocks_crc) = match header.anew.layout {
            Layout::Plain => (0, 0),
            Layout::Packed => table(&encode_table(&contents.blocks)),
        };
        let footer = Footer {
            header,
            records: columns.records,
            data_end,
            told: short(columns.ordinals.len()),
            ordinals_at,
            ordinals_crc,
            offsets_at,
            offsets_crc,
            sequences_at,
            sequences_crc,
            front: if contents.dense { contents.front } else { 0 },
            last_sequence: StreamSeq(header.base_sequence.0 + u64::from(columns.last)),
            first_time: contents.first_time,
            last_time: contents.last_time,
            chain: contents.chain,
            messages: contents.messages,
            last_term: contents.last_term,
            blocks_at,
            blocks: short(contents.blocks.len()),
            blocks_crc,
        };
        // The footer is the end of the file, which may go on behind the tables.
        let tables_end = u64::from(data_end) + tables.len() as u64;
        let file_len = u64::from(file_len).max(tables_end + FOOTER_LEN as u64);
        Seal {
            footer,
            tables,
            file_len,
        }
    }

    /// Writes it to the segment's file.
    pub(super) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        file.write_at(&self.tables, self.footer.data_end.into())?;
        let at = self.file_len - FOOTER_LEN as u64;
        file.write_at(&self.footer.encode(), at)
    }
}
