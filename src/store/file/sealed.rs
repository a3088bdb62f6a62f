//! A segment that is complete: its footer says where its records are.

use std::cell::Cell;
use std::io;
use std::path::Path;

use super::format::{FIRST_RECORD, Footer, Layout, Record, u32_at};
use super::guess::{evenly, lower_bound};
use super::map::Map;
use super::open_segment::LOST;
use super::options::{HandleCount, Handles, Marks};
use super::pack::{Block, decode_table, read_block};
use super::read::{ReadBuffer, ReadFault, SegmentFile, Stored};
use super::rows::row_from;
use super::scan::{Scan, scan};
use super::subjects::SegmentSubjects;
use super::warm::Warmth;
use crate::store::crypt::SealKey;
use crate::store::disk::{Disk, read_file};
use crate::store::types::{LogIndex, StreamSeq};
use std::sync::Arc;

/// A complete segment. What is kept of it in memory does not depend on the number of its records,
/// unless it is open and its tables had to be made again.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) footer: Footer,
    pub(super) seed: u32,
    pub(super) file_len: u64,
    pub(super) handle: Option<Handle>,
    /// When it was read last, in reads of the log.
    pub(super) used: u64,
    /// Where its subjects are, if that was worth finding out.
    pub(super) subjects: Option<Arc<SegmentSubjects>>,
    /// Records that were looked at and were of no use to who looked.
    pub(super) passed: u32,
    /// The row that was looked for last.
    found: Cell<u32>,
    /// What of it is in memory, as far as that is known.
    pub(super) warmth: Warmth,
    /// Where it is told that some of the log's handles are needed by others.
    pub(super) marks: Marks,
    /// It cannot be read before the log is opened again.
    pub(super) failed: bool,
    /// How many of its messages were dead when it could not be written anew, for damage in it.
    pub(super) unfit: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) file: SegmentFile,
    tables: Tables,
    /// Of a packed segment.
    blocks: Vec<Block>,
    /// Stands for the segment where unpacked blocks are kept.
    number: u64,
    pub(super) count: HandleCount,
}

#[derive(Debug)]
enum Tables {
    /// They are read where they stand.
    Mapped,
    /// There is no map, or the tables in the file are damaged.
    Own(OwnTables),
}

/// Tables in memory. Without `ordinals`, the others tell of each record.
#[derive(Debug, Default)]
struct OwnTables {
    ordinals: Vec<u32>,
    offsets: Vec<u32>,
    sequences: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Table {
    Ordinals,
    Offsets,
    Sequences,
}

impl Sealed {
    pub(super) fn new(footer: Footer, file_len: u64) -> Sealed {
        Sealed {
            seed: footer.header.seed(),
            footer,
            file_len,
            handle: None,
            used: 0,
            subjects: None,
            passed: 0,
            found: Cell::new(0),
            warmth: Warmth::default(),
            marks: Marks::default(),
            failed: false,
            unfit: None,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.footer.header.number
    }

    pub(super) fn first_index(&self) -> LogIndex {
        self.footer.header.first_index
    }

    pub(super) fn last_index(&self) -> LogIndex {
        LogIndex(self.first_index().0 - 1 + u64::from(self.footer.records))
    }

    /// Opens the file, unless it is open.
    pub(super) fn open(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        handles: &Arc<Handles>,
        key: Option<Arc<SealKey>>,
    ) -> io::Result<()> {
        if self.handle.is_some() {
            return Ok(());
        }
        let len = usize::try_from(self.file_len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let count = handles.take(&self.marks);
        let file = match count.may_map() {
            true => SegmentFile::new(disk.open(path)?, len, key),
            false => SegmentFile::unmapped(disk.open(path)?, key),
        };
        // A file that somebody cut must not be touched through a map.
        if file.file.len()? < self.file_len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than it was",
            ));
        }
        let tables = self.tables(&file)?.zip(self.blocks(&file)?);
        let (tables, blocks) = match tables {
            Some(tables) => tables,
            None => self.make_tables(disk, path, file.key.as_deref())?,
        };
        self.handle = Some(Handle {
            file,
            tables,
            blocks,
            number: count.blocks().number(),
            count,
        });
        Ok(())
    }

    /// The tables of the file, if they are sound.
    fn tables(&self, file: &SegmentFile) -> io::Result<Option<Tables>> {
        let footer = &self.footer;
        let len = 4 * footer.rows() as usize;
        let mut own = OwnTables::default();
        let parts = [
            (footer.ordinals_at, footer.ordinals_crc, &mut own.ordinals),
            (footer.offsets_at, footer.offsets_crc, &mut own.offsets),
            (
                footer.sequences_at,
                footer.sequences_crc,
                &mut own.sequences,
            ),
        ];
        for (at, crc, own) in parts {
            if at == 0 {
                continue;
            }
            let at = at as usize;
            let sound = match &file.map {
                Some(map) => map.get(at..at + len).map(crc32c::crc32c) == Some(crc),
                None => {
                    let mut bytes = vec![0; len];
                    let read = file.file.read_at(&mut bytes, at as u64)?;
                    *own = numbers(&bytes);
                    read == len && crc32c::crc32c(&bytes) == crc
                }
            };
            if !sound {
                return Ok(None);
            }
        }
        Ok(Some(match file.map {
            Some(_) => Tables::Mapped,
            None => Tables::Own(own),
        }))
    }

    /// The table of blocks, if it is sound; it is empty in a plain segment.
    fn blocks(&self, file: &SegmentFile) -> io::Result<Option<Vec<Block>>> {
        let footer = &self.footer;
        // The footer is sound, so that this is a part of the file.
        let mut bytes = vec![0; 8 * footer.blocks as usize];
        if bytes.is_empty() {
            return Ok(Some(vec![]));
        }
        let read = file.file.read_at(&mut bytes, footer.blocks_at.into())?;
        let sound = read == bytes.len() && crc32c::crc32c(&bytes) == footer.blocks_crc;
        Ok(sound.then(|| decode_table(&bytes)))
    }

    /// Makes the tables from the records.
    fn make_tables(
        &self,
        disk: &dyn Disk,
        path: &Path,
        key: Option<&SealKey>,
    ) -> io::Result<(Tables, Vec<Block>)> {
        let mut bytes = read_file(disk, path)?.unwrap_or_default();
        bytes.truncate(self.footer.data_end as usize);
        let Scan { mut contents, .. } = scan(&bytes, &self.footer.header, key);
        let missing = self.footer.records.saturating_sub(contents.records());
        contents.add_lost(missing);
        contents.truncate(self.footer.records as usize);
        let tables = Tables::Own(OwnTables {
            ordinals: vec![],
            offsets: contents.offsets,
            sequences: contents.sequences,
        });
        Ok((tables, contents.blocks))
    }

    /// What a table has in a row.
    fn cell(&self, table: Table, row: u32) -> Option<u32> {
        let handle = self.handle.as_ref()?;
        let footer = &self.footer;
        match (&handle.tables, &handle.file.map) {
            (Tables::Own(own), _) => {
                let table = match table {
                    Table::Ordinals => &own.ordinals,
                    Table::Offsets => &own.offsets,
                    Table::Sequences => &own.sequences,
                };
                table.get(row as usize).copied()
            }
            (Tables::Mapped, Some(map)) => {
                let at = match table {
                    Table::Ordinals => footer.ordinals_at,
                    Table::Offsets => footer.offsets_at,
                    Table::Sequences => footer.sequences_at,
                };
                number(map, at, row).filter(|_| row < footer.rows())
            }
            (Tables::Mapped, None) => None,
        }
    }

    /// How many rows the tables have, where that is not one for each record. The segment must be open.
    fn told(&self) -> Option<u32> {
        let is_thin = match &self.handle.as_ref()?.tables {
            Tables::Own(own) => !own.ordinals.is_empty(),
            Tables::Mapped => true,
        };
        Some(self.footer.told).filter(|told| *told > 0 && is_thin)
    }

    /// The first row, of so many, that is not before a record, and whether it is that record's.
    fn row(&self, ordinal: u32, rows: u32) -> (u32, bool) {
        let at = |row: u32| self.cell(Table::Ordinals, row);
        // Most often it is the one that was found the last time, or the next one.
        let last = self.found.get();
        let (here, behind) = (at(last), at(last + 1));
        let row = if here == Some(ordinal) {
            last
        } else if here < Some(ordinal) && behind.is_some_and(|n| n >= ordinal) {
            last + 1
        } else {
            row_from((rows, self.footer.records), ordinal, at)
        };
        if row < rows {
            self.found.set(row);
        }
        (row, at(row) == Some(ordinal))
    }

    /// The first record from one on that was not left out, as far as the tables tell, or that one; the number
    /// of records if there is none.
    pub(super) fn told_from(&self, ordinal: u32) -> u32 {
        let Some(rows) = self.told() else {
            return ordinal;
        };
        let (row, is_there) = self.row(ordinal, rows);
        if is_there {
            return ordinal;
        }
        let records = self.footer.records;
        let next = self.cell(Table::Ordinals, row).unwrap_or(records);
        next.min(records).max(ordinal)
    }

    /// Whether the tables tell the sequence of a record: those of left out ones follow only where all are in a
    /// row.
    pub(super) fn tells(&self, index: LogIndex) -> bool {
        let ordinal = index.0.checked_sub(self.first_index().0);
        let Some(ordinal) = ordinal.and_then(|n| u32::try_from(n).ok()) else {
            return false;
        };
        self.footer.sequences_at == 0
            || self.told_from(ordinal) == ordinal && self.offset(ordinal).is_some_and(|at| at != 0)
    }

    /// The records from one on, without those that were left out, as far as the tables tell.
    pub(super) fn ordinals(&self, from: u32) -> impl Iterator<Item = u32> {
        let mut next = from;
        std::iter::from_fn(move || {
            let at = self.told_from(next);
            next = at.saturating_add(1);
            (at < self.footer.records).then_some(at)
        })
    }

    fn offset(&self, ordinal: u32) -> Option<u32> {
        let row = match self.told().map(|rows| self.row(ordinal, rows)) {
            None => ordinal,
            Some((row, true)) => row,
            Some((_, false)) => return Some(0).filter(|_| ordinal < self.footer.records),
        };
        self.cell(Table::Offsets, row)
    }

    /// The sequence of a record, as a distance from the base sequence.
    pub(super) fn distance(&self, ordinal: u32) -> Option<u32> {
        if self.footer.sequences_at == 0 {
            return Some(ordinal.saturating_add(1).saturating_sub(self.footer.front));
        }
        let row = match self.told().map(|rows| self.row(ordinal, rows)) {
            None => ordinal,
            Some((row, true)) => row,
            Some((0, false)) => return Some(0),
            Some((row, false)) => row - 1,
        };
        self.cell(Table::Sequences, row)
    }

    /// The first record whose sequence is `sequence` or more; the number of records if there is
    /// none. The segment must be open.
    pub(super) fn position(&self, sequence: StreamSeq) -> u32 {
        let base = self.footer.header.base_sequence.0;
        let records = self.footer.records;
        if self.footer.sequences_at == 0 {
            let Some(before) = sequence.0.checked_sub(base.saturating_add(1)) else {
                return 0;
            };
            let before = u32::try_from(before).unwrap_or(u32::MAX);
            let before = before.saturating_add(self.footer.front);
            return before.min(records);
        }
        let distance = |at: u64| u32::try_from(at.saturating_sub(base)).unwrap_or(u32::MAX);
        let wanted = distance(sequence.0);
        let last = distance(self.footer.last_sequence.0);
        let told = self.told();
        let rows = told.unwrap_or(records);
        let row = lower_bound(rows, evenly(wanted, last, rows), |row| {
            self.cell(Table::Sequences, row).unwrap_or(u32::MAX) < wanted
        });
        match told {
            None => row,
            Some(_) if wanted == 0 => 0,
            Some(_) => self
                .cell(Table::Ordinals, row)
                .unwrap_or(records)
                .min(records),
        }
    }

    /// Where a message is most likely, and where records end there, if the segment is open and mapped.
    pub(super) fn spot(&self, sequence: StreamSeq) -> Option<(&Map, u32, u32)> {
        let map = self.handle.as_ref()?.file.map.as_ref()?;
        let at = self.offset(self.position(sequence));
        let at = at.filter(|at| *at > LOST && !self.is_packed())?;
        Some((map, at, self.footer.data_end))
    }

    /// Where a record begins and ends, if it is there, or else all of them do; to be brought into
    /// memory.
    pub(super) fn range(&self, ordinal: u32) -> Option<(u32, u32)> {
        let end = self.footer.data_end;
        // Offsets of a packed segment are none in the file.
        let start = self.offset(ordinal).filter(|at| *at > LOST);
        let Some(start) = start.filter(|_| !self.is_packed()) else {
            return Some((FIRST_RECORD, end));
        };
        let next = self.offset(self.told_from(ordinal.saturating_add(1)));
        Some((start, next.filter(|next| *next > start).unwrap_or(end)))
    }

    /// Whether a record is known to be damaged. The segment must be open.
    pub(super) fn is_lost(&self, ordinal: u32) -> bool {
        self.offset(ordinal) == Some(LOST)
    }

    /// Reads a record; `None` if it was taken out. The segment must be open.
    pub(super) fn record<'b>(
        &self,
        ordinal: u32,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Option<Stored<'b>>, ReadFault> {
        let at = self.offset(ordinal).ok_or(ReadFault::Damaged)?;
        let handle = self.handle.as_ref().ok_or(ReadFault::Damaged)?;
        let by = (&self.footer.header, self.seed);
        match at {
            0 => Ok(None),
            LOST => Err(ReadFault::Damaged),
            at => {
                let end = self.footer.data_end;
                let stored = match self.is_packed() {
                    true => Stored::copied(self.unpack(handle, at, buffer)?),
                    false => handle.file.record(by, at, end, buffer)?,
                };
                // A whole record of another place is as good as none.
                let index = self.first_index().0 + u64::from(ordinal);
                let right = stored.record.index.0 == index;
                right.then_some(Some(stored)).ok_or(ReadFault::Damaged)
            }
        }
    }

    pub(super) fn is_packed(&self) -> bool {
        self.footer.header.anew.layout == Layout::Packed
    }

    /// The record with this offset in a packed segment.
    fn unpack<'b>(
        &self,
        handle: &Handle,
        offset: u32,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Record<'b>, ReadFault> {
        let behind = handle.blocks.partition_point(|b| b.offset <= offset);
        let number = behind.checked_sub(1).ok_or(ReadFault::Damaged)?;
        let at = handle.blocks.get(number).ok_or(ReadFault::Damaged)?.at;
        let number = u32::try_from(number).map_err(|_| ReadFault::Damaged)?;
        let key = (handle.number, number);
        if buffer.block.as_ref().is_none_or(|(k, _)| *k != key) {
            let cache = handle.count.blocks();
            let block = match cache.get(key) {
                Some(block) => block,
                None => {
                    let end = self.footer.data_end;
                    let block = Arc::new(read_block(&handle.file, self.seed, at, end)?);
                    cache.insert(key, &block);
                    block
                }
            };
            buffer.block = Some((key, block));
        }
        let (_, block) = buffer.block.as_ref().ok_or(ReadFault::Damaged)?;
        let record = block.record(offset, &self.footer.header);
        record.ok_or(ReadFault::Damaged)
    }

    /// Where a record of a plain segment is, if it is there, to be looked at in passing.
    pub(super) fn place(&self, ordinal: u32) -> Option<(&SegmentFile, u32, u32)> {
        let at = self.offset(ordinal).filter(|at| *at > LOST)?;
        Some((&self.handle.as_ref()?.file, at, self.footer.data_end))
    }
}

fn number(map: &Map, table: u32, at: u32) -> Option<u32> {
    let start = table as usize + 4 * at as usize;
    u32_at(map.get(start..start + 4)?, 0)
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|c| u32::from_le_bytes(*c)).collect()
}
