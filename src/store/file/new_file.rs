//! The file of a segment that is written anew, in either layout. It is written in pieces as records come,
//! so that what a rewriting takes of memory does not depend on the segment.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{Layout, Record, SegmentHeader};
use super::open_segment::Seal;
use super::pack::{Block, Packer};
use super::read::ReadFault;
use crate::store::crypt::{SealKey, Sealer};
use crate::store::disk::{Disk, DiskFile};

/// Bytes that are written at a time, about. Memory for as many is used again, and not cleared each time.
const PIECE_BYTES: usize = if cfg!(test) { 2 << 10 } else { 64 << 10 };

/// The new file, which has no name that counts yet.
pub(super) struct NewFile<'a> {
    disk: &'a Arc<dyn Disk>,
    path: PathBuf,
    /// The file if there is one yet, and how much of it is written.
    file: Option<Arc<dyn DiskFile>>,
    written: usize,
    form: Form<'a>,
}

/// What is not written yet, in either layout.
enum Form<'a> {
    Plain(&'a SegmentHeader, u32, Option<Sealer>, Vec<u8>),
    Packed(Packer<'a>),
}

impl<'a> NewFile<'a> {
    /// A file that is begun with its header. `key` is that of an encrypted segment.
    pub(super) fn new(
        disk: &'a Arc<dyn Disk>,
        path: PathBuf,
        header: &'a SegmentHeader,
        key: Option<Arc<SealKey>>,
    ) -> NewFile<'a> {
        let form = match header.anew.layout {
            Layout::Plain => {
                let mut bytes = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
                bytes.extend_from_slice(&header.encode().repeat(2));
                Form::Plain(header, header.seed(), key.map(Sealer::new), bytes)
            }
            Layout::Packed => Form::Packed(Packer::new(header, key)),
        };
        NewFile {
            disk,
            path,
            file: None,
            written: 0,
            form,
        }
    }

    /// Adds a record, which has this place in the segment, and gives its offset.
    pub(super) fn push(&mut self, record: &Record<'_>, ordinal: u32) -> Result<u32, ReadFault> {
        let offset = match &mut self.form {
            Form::Plain(header, seed, sealer, bytes) => {
                let at = u32::try_from(self.written + bytes.len()).ok();
                if let Some(sealer) = sealer {
                    sealer.ready().map_err(ReadFault::Io)?;
                }
                let encoded = record.encode_with(header, *seed, sealer.as_mut(), bytes);
                at.filter(|_| encoded.is_some())
            }
            Form::Packed(packer) => packer.push(record, ordinal),
        };
        // A file in memory is as large as it has to be, which is not known yet.
        if self.waiting().len() >= PIECE_BYTES && !self.disk.is_volatile() {
            self.write().map_err(ReadFault::Io)?;
        }
        offset.ok_or(ReadFault::Damaged)
    }

    /// Says that there are no more records; gives where they end, and the blocks of a packed file.
    pub(super) fn end(&mut self) -> Result<(u32, Vec<Block>), ReadFault> {
        let blocks = match &mut self.form {
            Form::Plain(..) => vec![],
            Form::Packed(packer) => {
                packer.close().ok_or(ReadFault::Damaged)?;
                std::mem::take(&mut packer.blocks)
            }
        };
        let end = self.written + self.waiting().len();
        let end = u32::try_from(end).map_err(|_| ReadFault::Damaged)?;
        Ok((end, blocks))
    }

    /// Writes what there is still to be written, with what completes the segment, and waits for the disk.
    pub(super) fn complete(mut self, seal: &Seal) -> io::Result<()> {
        if self.file.is_none() {
            let len = usize::try_from(seal.file_len);
            self.create(len.map_err(|_| io::ErrorKind::FileTooLarge)?)?;
        }
        self.write()?;
        let file = self.file.ok_or(io::ErrorKind::NotFound)?;
        seal.write(&*file)?;
        file.sync()
    }

    fn waiting(&mut self) -> &mut Vec<u8> {
        match &mut self.form {
            Form::Plain(.., bytes) => bytes,
            Form::Packed(packer) => &mut packer.file,
        }
    }

    fn create(&mut self, capacity: usize) -> io::Result<()> {
        self.file = Some(self.disk.create(&self.path, capacity)?);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.create(u32::MAX as usize)?;
        }
        let at = self.written as u64;
        let file = self.file.clone().ok_or(io::ErrorKind::NotFound)?;
        let bytes = self.waiting();
        file.write_at(bytes, at)?;
        let len = bytes.len();
        bytes.clear();
        self.written += len;
        if let Form::Packed(packer) = &mut self.form {
            packer.before = self.written;
        }
        Ok(())
    }
}
