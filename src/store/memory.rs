//! A disk in memory, for streams that are not to outlive the process: the same log, with nothing
//! to sync.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, DiskFile, Entry, LockGuard};
use super::file::map::{Anonymous, Map};

/// Files that are memory. They take room as they are written, and give it back when they are
/// removed and nobody reads them any more.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>,
    dirs: Mutex<BTreeSet<PathBuf>>,
}

impl MemoryDisk {
    /// A disk without files.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Arc<MemoryFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let mut made = self.made();
        let is_new = !made.contains(dir);
        made.extend(dir.ancestors().map(Path::to_owned));
        Ok(is_new)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (path, file) in self.files().iter() {
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|_| path.parent() == Some(dir)) {
                entries.push(Entry {
                    name: name.to_owned(),
                    len: file.len()?,
                });
            }
        }
        Ok(entries)
    }

    fn dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dirs = self.made();
        let below = dirs.iter().filter(|d| d.parent() == Some(dir));
        let names = below.filter_map(|d| Some(d.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.files().get(path).cloned();
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn create(&self, path: &Path, capacity: usize) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(MemoryFile {
            memory: Anonymous::new(capacity)?,
            len: AtomicU64::new(0),
        });
        self.files().insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        if let Some(file) = files.remove(from) {
            files.insert(to.to_owned(), file);
            return Ok(());
        }
        let mut dirs = self.made();
        if !dirs.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let moved = |path: &Path| -> PathBuf {
            match path.strip_prefix(from) {
                Ok(rest) => to.iter().chain(rest).collect(),
                Err(_) => path.to_owned(),
            }
        };
        *dirs = dirs.iter().map(|dir| moved(dir)).collect();
        let all = std::mem::take(&mut *files).into_iter();
        *files = all.map(|(path, file)| (moved(&path), file)).collect();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.files().remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let is_in = |path: &PathBuf| path.parent() == Some(dir);
        if self.files().keys().any(is_in) || self.made().iter().any(is_in) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        match self.made().remove(dir) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<LockGuard>> {
        Ok(Some(Box::new(())))
    }

    fn likes_zeros(&self, _dir: &Path) -> bool {
        false
    }

    fn is_volatile(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct MemoryFile {
    memory: Anonymous,
    /// Bytes that were written, gaps included.
    len: AtomicU64,
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let start = usize::try_from(at).map_err(|_| io::ErrorKind::StorageFull)?;
        self.memory.write(bytes, start)?;
        let end = at + bytes.len() as u64;
        self.len.fetch_max(end, Ordering::Release);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let map = self.memory.map();
        let len = self.len.load(Ordering::Acquire);
        let end = len.min(at.saturating_add(buf.len() as u64));
        let range = |n: u64| usize::try_from(n).map_err(|_| io::ErrorKind::InvalidInput);
        let bytes = map.get(range(at.min(end))?..range(end)?);
        let bytes = bytes.unwrap_or_default();
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, _len: usize) -> io::Result<Option<Map>> {
        Ok(Some(self.memory.map()))
    }
}
