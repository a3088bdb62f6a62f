//! Files that are kept in two copies, and how one is written so that the other, and what the copy
//! said before, are there whatever happens.
//!
//! A copy is never changed where it stands: it is written under a third name and synced, and only
//! then takes the place of the old one. So what stands under a copy's name was whole on the disk
//! once, even if a sync failed that nobody remembers. Only where the directory itself is not known by
//! its name yet, that is not needed.

use std::io;
use std::path::{Path, PathBuf};

use super::format::ContainerKind;
use crate::store::disk::{Disk, read_file};
use crate::store::error::{LogError, Reason};

/// The names of a file's copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Pair {
    pub(in crate::store) kind: ContainerKind,
    names: [&'static str; 2],
    new: [&'static str; 2],
}

pub(in crate::store) const CHECKPOINT: Pair = Pair {
    kind: ContainerKind::Checkpoint,
    names: ["checkpoint.a", "checkpoint.b"],
    new: ["checkpoint.a.new", "checkpoint.b.new"],
};

pub(in crate::store) const META: Pair = Pair {
    kind: ContainerKind::Meta,
    names: ["meta.a", "meta.b"],
    new: ["meta.a.new", "meta.b.new"],
};

pub(in crate::store) const HARD_STATE: Pair = Pair {
    kind: ContainerKind::Meta,
    names: ["raft.a", "raft.b"],
    new: ["raft.a.new", "raft.b.new"],
};

impl Pair {
    /// Reads both copies, as far as they are there.
    pub(in crate::store) fn read(
        self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<Vec<(PathBuf, Vec<u8>)>, LogError> {
        let mut copies = vec![];
        for name in self.names {
            let path = dir.join(name);
            let bytes = read_file(disk, &path);
            let bytes = bytes.map_err(|e| LogError::Io(Reason::new("read", &path, &e)))?;
            copies.extend(bytes.map(|bytes| (path, bytes)));
        }
        Ok(copies)
    }

    /// The copy that a generation is written to, where they are written in turns.
    pub(in crate::store) fn turn(self, generation: u64) -> usize {
        usize::from(generation % 2 == 1)
    }

    /// The file of a copy.
    pub(in crate::store) fn path(self, dir: &Path, copy: usize) -> PathBuf {
        dir.join(self.names[copy])
    }

    /// Puts `bytes` in place of a copy.
    pub(in crate::store) fn replace(
        self,
        disk: &dyn Disk,
        dir: &Path,
        copy: usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.prepare(disk, dir, copy, bytes)?;
        self.put(disk, dir, copy)?;
        disk.sync_dir(dir)
    }

    /// Removes the other copy than this one, if it is there. Its place on the disk is given to no other
    /// file before the directory says so.
    pub(in crate::store) fn drop_other(
        self,
        disk: &dyn Disk,
        dir: &Path,
        copy: usize,
    ) -> io::Result<()> {
        match disk.remove(&self.path(dir, 1 - copy)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => disk.sync_dir(dir),
        }
    }

    /// Puts `bytes` in place of both copies.
    pub(in crate::store) fn replace_both(
        self,
        disk: &dyn Disk,
        dir: &Path,
        bytes: &[u8],
    ) -> io::Result<()> {
        for copy in 0..2 {
            self.prepare(disk, dir, copy, bytes)?;
        }
        for copy in 0..2 {
            self.put(disk, dir, copy)?;
        }
        disk.sync_dir(dir)
    }

    /// Writes both copies to an empty directory, without a sync.
    pub(in crate::store) fn write_first(
        self,
        disk: &dyn Disk,
        dir: &Path,
        bytes: &[u8],
    ) -> io::Result<()> {
        for name in self.names {
            let file = disk.create(&dir.join(name), bytes.len())?;
            file.write_at(bytes, 0)?;
        }
        Ok(())
    }

    /// Writes the new file of a copy, and syncs it.
    fn prepare(self, disk: &dyn Disk, dir: &Path, copy: usize, bytes: &[u8]) -> io::Result<()> {
        let path = dir.join(self.new[copy]);
        // A file system without a journal may have left both names for what is a copy now, and that
        // file is not to be written to.
        match disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.create(&path, bytes.len())?;
        file.write_at(bytes, 0)?;
        file.sync()
    }

    fn put(self, disk: &dyn Disk, dir: &Path, copy: usize) -> io::Result<()> {
        disk.rename(&dir.join(self.new[copy]), &dir.join(self.names[copy]))
    }
}
