//! A disk that lets everything be done and does none of it: what is written stays in memory, above
//! files that are only read. So a store is opened, with all that this repairs, and nothing is
//! changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, Entry, LockGuard};
use super::file::map::Map;

const PAGE: usize = 4096;

/// What was done above another disk.
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn Disk>,
    files: Mutex<BTreeMap<PathBuf, Layer>>,
}

/// What became of a file.
#[derive(Clone, Debug)]
enum Layer {
    Removed,
    There {
        /// The file below with the bytes that were not written.
        from: Option<PathBuf>,
        written: Arc<Mutex<Written>>,
    },
}

/// Pages that were written, by their number, and how long the file is then.
#[derive(Debug)]
struct Written {
    pages: BTreeMap<u64, Box<[u8]>>,
    len: u64,
}

#[derive(Debug)]
struct OverlayFile {
    below: Option<Arc<dyn DiskFile>>,
    written: Arc<Mutex<Written>>,
}

impl Overlay {
    /// Nothing is done yet. `below` is only read.
    pub fn new(below: Arc<dyn Disk>) -> Overlay {
        let files = Mutex::default();
        Overlay { below, files }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Layer>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer(&self, path: &Path) -> io::Result<Layer> {
        if let Some(layer) = self.files().get(path) {
            return match layer {
                Layer::Removed => Err(io::ErrorKind::NotFound.into()),
                there @ Layer::There { .. } => Ok(there.clone()),
            };
        }
        let len = self.below.open(path)?.len()?;
        Ok(Layer::There {
            from: Some(path.to_owned()),
            written: Arc::new(Mutex::new(Written::new(len))),
        })
    }

    fn file(&self, layer: Layer) -> io::Result<Arc<dyn DiskFile>> {
        let Layer::There { from, written } = layer else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let below = from.map(|path| self.below.open(&path)).transpose()?;
        Ok(Arc::new(OverlayFile { below, written }))
    }
}

impl Disk for Overlay {
    fn create_dir(&self, _dir: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let files = self.files();
        let mut entries = self.below.list(dir)?;
        entries.retain(|entry| !files.contains_key(&dir.join(&entry.name)));
        for (path, layer) in files.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let name = path.file_name().and_then(|name| name.to_str());
            if let (Some(name), Layer::There { written, .. }) = (name, layer) {
                entries.push(Entry {
                    name: name.to_owned(),
                    len: lock(written).len,
                });
            }
        }
        Ok(entries)
    }

    fn dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.dirs(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let layer = self.layer(path)?;
        self.files().insert(path.to_owned(), layer.clone());
        self.file(layer)
    }

    fn create(&self, path: &Path, _capacity: usize) -> io::Result<Arc<dyn DiskFile>> {
        let layer = Layer::There {
            from: None,
            written: Arc::new(Mutex::new(Written::new(0))),
        };
        self.files().insert(path.to_owned(), layer.clone());
        self.file(layer)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let layer = self.layer(from)?;
        let mut files = self.files();
        files.insert(from.to_owned(), Layer::Removed);
        files.insert(to.to_owned(), layer);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.layer(path)?;
        self.files().insert(path.to_owned(), Layer::Removed);
        Ok(())
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Nobody else can see what is done here.
    fn lock(&self, _path: &Path) -> io::Result<Option<LockGuard>> {
        Ok(Some(Box::new(())))
    }

    fn likes_zeros(&self, _dir: &Path) -> bool {
        false
    }
}

impl Written {
    fn new(len: u64) -> Written {
        let pages = BTreeMap::new();
        Written { pages, len }
    }
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pages that `len` bytes at `at` touch, and for each which of these bytes are in it, and from
/// where in it they are.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let within = usize::try_from(here % PAGE as u64).unwrap_or(0);
        let many = (PAGE - within).min(len - done);
        let piece = done..done + many;
        done += many;
        (many > 0).then_some((here / PAGE as u64, piece, within))
    })
}

impl DiskFile for OverlayFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut written = lock(&self.written);
        for (number, piece, within) in pieces(at, bytes.len()) {
            let page = match written.pages.entry(number) {
                Slot::Occupied(page) => page.into_mut(),
                Slot::Vacant(slot) => {
                    let mut page = vec![0; PAGE];
                    if let Some(below) = &self.below {
                        below.read_at(&mut page, number * PAGE as u64)?;
                    }
                    slot.insert(page.into())
                }
            };
            page[within..within + piece.len()].copy_from_slice(&bytes[piece]);
        }
        written.len = written.len.max(at + bytes.len() as u64);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let written = lock(&self.written);
        let left = usize::try_from(written.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        let buf = &mut buf[..len];
        let read = match &self.below {
            Some(below) => below.read_at(buf, at)?,
            None => 0,
        };
        buf[read..].fill(0);
        if !written.pages.is_empty() {
            for (number, piece, within) in pieces(at, len) {
                if let Some(page) = written.pages.get(&number) {
                    let many = piece.len();
                    buf[piece].copy_from_slice(&page[within..within + many]);
                }
            }
        }
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.written).len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// The file below may be cut short by whoever owns it, which a map would not survive.
    fn map(&self, _len: usize) -> io::Result<Option<Map>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::read_file;
    use crate::store::memory::MemoryDisk;

    #[test]
    fn what_is_done_is_seen_above_and_not_below() {
        let below = Arc::new(MemoryDisk::new());
        let path = Path::new("/d/a");
        below.create_dir(Path::new("/d")).unwrap();
        let file = below.create(path, 20_000).unwrap();
        file.write_at(&[1; 10_000], 0).unwrap();
        let over = Overlay::new(below.clone());
        let above = over.open(path).unwrap();
        above.write_at(&[2; 5000], 4000).unwrap();
        above.write_at(&[3], 12_000).unwrap();
        let mut want = [&[1; 4000][..], &[2; 5000], &[1; 1000], &[0; 2000], &[3]].concat();
        assert!(read_file(&over, path).unwrap().unwrap() == want);
        let mut buf = [9; 3];
        assert_eq!(above.read_at(&mut buf, 8999).unwrap(), 3);
        assert_eq!(buf, [2, 1, 1]);
        let (new, b) = (
            over.create(Path::new("/d/n"), 10).unwrap(),
            Path::new("/d/b"),
        );
        new.write_at(b"new", 2).unwrap();
        over.rename(path, b).unwrap();
        assert!(over.open(path).is_err() && over.remove(path).is_err());
        let entries = over.list(Path::new("/d")).unwrap();
        let names: Vec<_> = entries.iter().map(|e| (&*e.name, e.len)).collect();
        assert_eq!(names, [("b", 12_001), ("n", 5)]);
        want.truncate(12_001);
        assert!(read_file(&over, b).unwrap().unwrap() == want);
        over.remove(b).unwrap();
        assert_eq!(read_file(&over, b).unwrap(), None);
        assert!(read_file(&*below, path).unwrap().unwrap() == [1; 10_000]);
        assert_eq!(below.list(Path::new("/d")).unwrap().len(), 1);
    }
}
