//! Records in blocks, compressed: how those of a packed segment are written and read.
//!
//! A record has the offset that it would have in a plain segment, which says in which block it is
//! and where in it. Records in blocks have no checksums of their own; the block has one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minlz::s2;

use super::format::{FIRST_RECORD, RECORD_MIN, Record, SegmentHeader, record_len, u32_at};
use super::read::{ReadFault, SegmentFile};
use crate::store::crypt::{NONCE_LEN, SEAL_LEN, SealKey, Sealer, TAG_LEN};

/// Bytes of records from which on a block is full.
const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of records that are compressed at most. Larger blocks, of one large record, are stored as
/// they are: so what a block claims never asks for more memory than this.
const COMPRESS_MAX: usize = 4 << 20;

/// Bytes of a block before its records.
const HEAD: usize = 24;

/// Bytes of unpacked blocks that all logs together may keep.
const CACHE_BYTES: usize = 32 << 20;

/// Where a block is in the file, and which offset its first record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) at: u32,
    pub(super) offset: u32,
}

/// A block that was read and checked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The offset of the first record.
    offset: u32,
    /// The place of the first record in the segment.
    pub(super) ordinal: u32,
    bytes: Vec<u8>,
    /// Bytes of the block in the file.
    pub(super) file_len: usize,
}

/// How the bytes of a block became those in the file.
const AS_IS: u8 = 0;
const S2: u8 = 1;

/// Is added to these if the bytes are sealed.
const SEALED: u8 = 2;

/// The bytes of a block as they are in the file before they are sealed, and how they became so.
fn to_file(records: &[u8]) -> (u8, Vec<u8>) {
    if records.len() <= COMPRESS_MAX {
        let packed = s2::encode(records);
        if packed.len() < records.len() {
            return (S2, packed);
        }
    }
    (AS_IS, records.to_vec())
}

/// The bytes of a block again; `None` if they are not what the block says.
fn from_file(how: u8, bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    match how {
        AS_IS if bytes.len() == len => Some(bytes.to_vec()),
        S2 if len <= COMPRESS_MAX => {
            let (claimed, _) = s2::decode_len(bytes).ok()?;
            let mut records = vec![0; Some(len).filter(|len| *len == claimed)?];
            let written = s2::decode_into(&mut records, bytes).ok()?;
            (written == len).then_some(records)
        }
        _ => None,
    }
}

/// Packs the records of a segment.
pub(super) struct Packer<'a> {
    header: &'a SegmentHeader,
    seed: u32,
    sealer: Option<Sealer>,
    /// The file so far, behind so many bytes.
    pub(super) before: usize,
    pub(super) file: Vec<u8>,
    pub(super) blocks: Vec<Block>,
    /// The records of the block that is not full yet, the offset and the place of the first.
    records: Vec<u8>,
    offset: u32,
    ordinal: u32,
}

impl<'a> Packer<'a> {
    /// `key` is that of an encrypted segment.
    pub(super) fn new(header: &'a SegmentHeader, key: Option<Arc<SealKey>>) -> Packer<'a> {
        Packer {
            header,
            seed: header.seed(),
            sealer: key.map(Sealer::new),
            before: 0,
            file: header.encode().repeat(2),
            blocks: vec![],
            records: vec![],
            offset: FIRST_RECORD,
            ordinal: 0,
        }
    }

    /// Takes the next record, which has this place, and gives its offset. `None` if it does not fit.
    pub(super) fn push(&mut self, record: &Record<'_>, ordinal: u32) -> Option<u32> {
        let len = record.len(self.header);
        if !self.records.is_empty() && self.records.len() + len > BLOCK_BYTES {
            self.close()?;
        }
        if self.records.is_empty() {
            self.ordinal = ordinal;
        }
        let start = self.records.len();
        record.encode(self.header, self.seed, &mut self.records)?;
        self.records[start + 4..start + 8].fill(0);
        self.offset.checked_add(u32::try_from(start).ok()?)
    }

    /// Writes the block that is not full yet.
    pub(super) fn close(&mut self) -> Option<()> {
        if self.records.is_empty() {
            return Some(());
        }
        let at = u32::try_from(self.before + self.file.len()).ok()?;
        let offset = self.offset;
        self.blocks.push(Block { at, offset });
        let (mut how, mut bytes) = to_file(&self.records);
        if self.sealer.is_some() {
            how |= SEALED;
            bytes.splice(..0, [0; NONCE_LEN]);
        }
        let sealed_len = bytes.len() + self.sealer.as_ref().map_or(0, |_| TAG_LEN);
        let numbers = [
            u32::try_from(sealed_len).ok()?,
            0,
            offset,
            u32::try_from(self.records.len()).ok()?,
            self.ordinal,
            how.into(),
        ];
        let start = self.file.len();
        self.file
            .extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        self.file.extend_from_slice(&bytes);
        if let Some(sealer) = &mut self.sealer {
            sealer.ready().ok()?;
            sealer.seal(&mut self.file, start + 8, start + HEAD)?;
        }
        let crc = crc32c::crc32c_append(self.seed, &self.file[start + 8..]);
        self.file[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        self.offset = offset.checked_add(numbers[3])?;
        self.records.clear();
        Some(())
    }
}

/// The bytes that the block at the front of `bytes` has in the file, if it may be one.
fn block_len(bytes: &[u8]) -> Option<usize> {
    let (len, raw) = (u32_at(bytes, 0)? as usize, u32_at(bytes, 12)? as usize);
    let how = u32_at(bytes, 20)?;
    let (how, own_len) = match how & u32::from(SEALED) {
        0 => (how, len),
        sealed => (how - sealed, len.checked_sub(SEAL_LEN)?),
    };
    let is_one = raw >= RECORD_MIN
        && u32_at(bytes, 8)? >= FIRST_RECORD
        && (how == u32::from(AS_IS) && own_len == raw
            || how == u32::from(S2) && own_len < raw && raw <= COMPRESS_MAX);
    is_one.then_some(HEAD.checked_add(len)?)
}

impl Unpacked {
    /// Reads the block at the front of `bytes`.
    pub(super) fn read(bytes: &[u8], seed: u32, key: Option<&SealKey>) -> Option<Unpacked> {
        let file_len = block_len(bytes)?;
        let block = bytes.get(..file_len)?;
        if u32_at(block, 4)? != crc32c::crc32c_append(seed, &block[8..]) {
            return None;
        }
        let (how, len) = (*block.get(20)?, u32_at(block, 12)? as usize);
        let bytes = if how & SEALED == 0 {
            from_file(how, &block[HEAD..], len)?
        } else {
            let mut sealed = block[HEAD..].to_vec();
            let opened = key?.open(&block[8..HEAD], &mut sealed)?;
            from_file(how - SEALED, opened, len)?
        };
        Some(Unpacked {
            offset: u32_at(block, 8)?,
            ordinal: u32_at(block, 16)?,
            bytes,
            file_len,
        })
    }

    /// The record with this offset.
    pub(super) fn record(&self, offset: u32, header: &SegmentHeader) -> Option<Record<'_>> {
        let start = offset.checked_sub(self.offset)? as usize;
        let rest = self.bytes.get(start..)?;
        Record::fields(rest.get(..record_len(rest).ok()?)?, header)
    }

    /// The offsets of all records, in order.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u32> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let len = record_len(self.bytes.get(at..)?).ok()?;
            let offset = self.offset.checked_add(u32::try_from(at).ok()?);
            at += len;
            offset
        })
    }
}

/// Reads the block at `at` of a file; blocks end at `end`.
pub(super) fn read_block(
    file: &SegmentFile,
    seed: u32,
    at: u32,
    end: u32,
) -> Result<Unpacked, ReadFault> {
    let (at, end) = (at as usize, end as usize);
    if let Some(map) = &file.map {
        let bytes = map.get(at..end).ok_or(ReadFault::Damaged)?;
        return Unpacked::read(bytes, seed, file.key.as_deref()).ok_or(ReadFault::Damaged);
    }
    let read = |len: usize| {
        let mut bytes = vec![0; len];
        let read = file.file.read_at(&mut bytes, at as u64);
        bytes.truncate(read.map_err(ReadFault::Io)?);
        Ok(bytes)
    };
    let room = end.checked_sub(at).ok_or(ReadFault::Damaged)?;
    let head = read(room.min(HEAD))?;
    let len = block_len(&head).filter(|len| *len <= room);
    let bytes = read(len.ok_or(ReadFault::Damaged)?)?;
    Unpacked::read(&bytes, seed, file.key.as_deref()).ok_or(ReadFault::Damaged)
}

/// The table of a packed segment's blocks, as it stands on disk.
pub(super) fn encode_table(blocks: &[Block]) -> Vec<u8> {
    let numbers = blocks.iter().flat_map(|b| [b.at, b.offset]);
    numbers.flat_map(u32::to_le_bytes).collect()
}

pub(super) fn decode_table(bytes: &[u8]) -> Vec<Block> {
    let (chunks, _) = bytes.as_chunks::<8>();
    let blocks = chunks.iter().filter_map(|chunk| {
        Some(Block {
            at: u32_at(chunk, 0)?,
            offset: u32_at(chunk, 4)?,
        })
    });
    blocks.collect()
}

/// A block, by the opened segment and its number in it.
pub(super) type BlockKey = (u64, u32);

/// Unpacked blocks of all logs, those that were read last.
#[derive(Debug, Default)]
pub(super) struct BlockCache {
    segments: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    blocks: HashMap<BlockKey, (Arc<Unpacked>, u64)>,
    bytes: usize,
    uses: u64,
}

impl BlockCache {
    /// A number for a segment that was opened.
    pub(super) fn number(&self) -> u64 {
        self.segments.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: BlockKey) -> Option<Arc<Unpacked>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let now = kept.uses;
        let (block, used) = kept.blocks.get_mut(&key)?;
        *used = now;
        Some(block.clone())
    }

    /// Keeps a block, in place of those that were used longest ago.
    pub(super) fn insert(&self, key: BlockKey, block: &Arc<Unpacked>) {
        let len = block.bytes.len();
        if len > CACHE_BYTES / 4 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.bytes + len > CACHE_BYTES {
            let oldest = kept.blocks.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some((gone, _)) = kept.blocks.remove(&oldest) {
                kept.bytes -= gone.bytes.len();
            }
        }
        let now = kept.uses;
        if let Some((before, _)) = kept.blocks.insert(key, (block.clone(), now)) {
            kept.bytes -= before.bytes.len();
        }
        kept.bytes += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(records: usize, fill: u8) -> Unpacked {
        Unpacked {
            offset: 256,
            ordinal: 0,
            bytes: vec![fill; records],
            file_len: 0,
        }
    }

    #[test]
    fn the_cache_keeps_what_was_used_last_and_is_bounded() {
        let cache = BlockCache::default();
        let segment = cache.number();
        for n in 0..1000 {
            cache.insert((segment, n), &Arc::new(block(1 << 20, 1)));
            assert!(cache.get((segment, 0)).is_some());
        }
        assert!(cache.get((segment, 1)).is_none() && cache.get((segment, 999)).is_some());
        assert_eq!(cache.kept.lock().unwrap().bytes, CACHE_BYTES);
        cache.insert((segment, 5000), &Arc::new(block(CACHE_BYTES, 1)));
        assert!(cache.get((segment, 5000)).is_none());
    }

    proptest! {
        #[test]
        fn bytes_of_blocks_come_back(bytes in prop::collection::vec(0..4u8, 1..5000)) {
            let (how, packed) = to_file(&bytes);
            prop_assert!(packed.len() <= bytes.len());
            prop_assert_eq!(from_file(how, &packed, bytes.len()), Some(bytes.clone()));
            prop_assert_eq!(from_file(how, &packed, bytes.len() + 1), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 24..200),
            raw in 0..6u32 << 20,
            how in 0..3u8,
        ) {
            let len = u32::try_from(bytes.len() - HEAD).unwrap();
            bytes[0..4].copy_from_slice(&len.to_le_bytes());
            bytes[12..16].copy_from_slice(&raw.to_le_bytes());
            bytes[20..24].copy_from_slice(&[how, 0, 0, 0]);
            let crc = crc32c::crc32c_append(7, &bytes[8..]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            if let Some(block) = Unpacked::read(&bytes, 7, None) {
                prop_assert_eq!(block.bytes.len(), raw as usize);
                block.offsets().for_each(drop);
            }
        }
    }
}
