//! What the store wants of a disk, and the real one.
//!
//! Everything that the store writes and reads goes through [`Disk`] and [`DiskFile`], so that a
//! test can lose, tear, reorder or fail any of it. This is the one file of the store that calls
//! the file system.

use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

use super::file::map::Map;

/// A file system, or what stands for one. Names are those of files in one directory; nothing here
/// follows what somebody else wrote.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory and those above it, unless they exist. Their entries are on the disk for
    /// good after [`Disk::sync_dir`] of the directories that hold them. Says whether it did not exist.
    fn create_dir(&self, dir: &Path) -> io::Result<bool>;

    /// The files of a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// The names of the directories in a directory, in no order; none if it does not exist.
    fn dirs(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file that exists, to read and write it.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, in place of one that exists. It is to have `capacity` bytes at most.
    fn create(&self, path: &Path, capacity: usize) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file or a directory a new name in its directory; a file that had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory that is empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Returns when the directory's entries, as they are now, are on the disk for good.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Something that makes all that is written below `dir` from now on durable in one go; `None` where
    /// there is no such thing that tells of every failure. What others write to the same file system is
    /// waited for, too, so this is for those who would otherwise sync many files.
    fn barrier(&self, dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        let _ = dir;
        Ok(None)
    }

    /// Takes the lock that the file at `path` stands for, until the guard is dropped. `None` if
    /// somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>>;

    /// Whether zeros that are written ahead of the data make later syncs cheaper in this directory.
    /// Ask once: the system is asked, too.
    fn likes_zeros(&self, dir: &Path) -> bool;

    /// Whether what is written is gone with the process, so that nothing needs to be synced or
    /// checkpointed.
    fn is_volatile(&self) -> bool {
        false
    }
}

/// Makes all durable that is written since it was made.
pub trait Barrier {
    /// Returns when all that was written to files since this was made, and all entries of directories
    /// as they are now, are on the disk for good.
    fn sync(&self) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub type LockGuard = Box<dyn Any + Send + Sync>;

/// A file in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    pub name: String,
    /// Bytes.
    pub len: u64,
}

/// An open file. Threads may use it at the same time.
#[allow(
    clippy::len_without_is_empty,
    reason = "nobody asks whether it is empty"
)]
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `at`; the file grows if need be. After an error any part of them
    /// may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Fills `buf` from `at` on, as far as the file goes, and gives the number of bytes.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;

    /// Gives back the room of all that is behind the first `len` bytes, where that can be done. Nobody
    /// may have read any of it, nor may there be more of it than a write has left that failed.
    fn shorten(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }

    /// Returns when all that was written before is on the disk for good, the length included.
    /// After an error nothing is known of any of it.
    fn sync(&self) -> io::Result<()>;

    /// The first `len` bytes as memory that shows what is written later, even if the file is
    /// shorter still. `None` where there is no such thing; then [`DiskFile::read_at`] is the way.
    fn map(&self, len: usize) -> io::Result<Option<Map>>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
        if builder.create(dir).is_ok() {
            return Ok(true);
        }
        let is_new = !dir.exists();
        builder.recursive(true).create(dir).map(|()| is_new)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // A file may be removed while the list is made.
            match entry.metadata() {
                Ok(meta) if meta.is_file() => entries.push(Entry {
                    name,
                    len: meta.len(),
                }),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(entries)
    }

    fn dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn create(&self, path: &Path, _capacity: usize) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = creating();
        let file = match options.create_new(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let file = created(path)?;
                file.set_len(0)?;
                file
            }
            file => file?,
        };
        Ok(Arc::new(OsFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// The system has no such call; it keeps its directories in a journal.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn barrier(&self, dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        if !syncs_as_a_whole(dir) {
            return Ok(None);
        }
        // What fails from the moment on at which this is opened is told by the sync.
        Ok(Some(Box::new(OsBarrier(File::open(dir)?))))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let file = created(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Not where each write goes to new blocks anyway.
    fn likes_zeros(&self, dir: &Path) -> bool {
        !copies_on_write(dir)
    }
}

/// Whether the directory's file system never writes to a block twice: Btrfs, ZFS, bcachefs, F2FS.
/// What overlays others does not tell what it overlays, and is mostly ext4 or XFS.
#[cfg(target_os = "linux")]
fn copies_on_write(dir: &Path) -> bool {
    const KINDS: [i64; 4] = [0x9123_683e, 0x2fc1_2fc1, 0xca45_1a4e, 0xf2f5_2010];
    file_system(dir).is_some_and(|kind| KINDS.contains(&kind))
}

#[cfg(target_os = "linux")]
struct OsBarrier(File);

#[cfg(target_os = "linux")]
impl Barrier for OsBarrier {
    #[allow(unsafe_code, reason = "no safe call syncs a file system")]
    fn sync(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as the file is.
        if unsafe { libc::syncfs(self.0.as_raw_fd()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // Without a journal, ext4 writes directories behind the flush of the disk's own memory.
        self.0.sync_all()
    }
}

/// Whether a sync of the directory's whole file system does what one of each file does: on ext4 and
/// XFS, from Linux 5.8 on, which tells of writes that failed.
#[cfg(target_os = "linux")]
fn syncs_as_a_whole(dir: &Path) -> bool {
    const KINDS: [i64; 2] = [0xef53, 0x5846_5342];
    static TELLS: OnceLock<bool> = OnceLock::new();
    let tells = TELLS.get_or_init(|| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
        (numbers.next(), numbers.next()) >= (Some(5_u32), Some(8_u32))
    });
    *tells && file_system(dir).is_some_and(|kind| KINDS.contains(&kind))
}

/// What kind of file system a directory is on, in the system's numbers.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe call tells the file system")]
fn file_system(dir: &Path) -> Option<i64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and there is room for the answer.
    let result = unsafe { libc::statfs(path.as_ptr(), answer.as_mut_ptr()) };
    // SAFETY: all fields are numbers, for which zeros will do if the call has failed.
    let answer = unsafe { answer.assume_init() };
    #[allow(
        clippy::useless_conversion,
        reason = "the type of the number depends on the machine"
    )]
    let kind = i64::from(answer.f_type) & 0xffff_ffff;
    (result == 0).then_some(kind)
}

#[cfg(not(target_os = "linux"))]
fn copies_on_write(_dir: &Path) -> bool {
    false
}

/// The file system of this machine, of which nothing is changed.
#[derive(Clone, Copy, Debug)]
pub struct OsReadDisk;

impl OsReadDisk {
    fn refuse<T>() -> io::Result<T> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Disk for OsReadDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<bool> {
        OsReadDisk::refuse()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        OsDisk.list(dir)
    }

    fn dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.dirs(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(File::open(path)?)))
    }

    fn create(&self, _path: &Path, _capacity: usize) -> io::Result<Arc<dyn DiskFile>> {
        OsReadDisk::refuse()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        OsReadDisk::refuse()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        OsReadDisk::refuse()
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        OsReadDisk::refuse()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Says whether somebody has the lock. It is not taken for longer than it takes to find out.
    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(Box::new(()))),
            Err(e) => return Err(e),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Box::new(()))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn likes_zeros(&self, _dir: &Path) -> bool {
        false
    }
}

/// Opens a file, made for its owner and group only if it does not exist.
fn created(path: &Path) -> io::Result<File> {
    creating().create(true).truncate(false).open(path)
}

fn creating() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.read(true).write(true);
    options
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn shorten(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, at)
    }

    #[cfg(windows)]
    fn write_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_write(&self.0, bytes, at)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[n..];
            at += n as u64;
        }
        Ok(())
    }

    fn read_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<usize> {
        let mut read = 0;
        while !buf.is_empty() {
            #[cfg(unix)]
            let result = std::os::unix::fs::FileExt::read_at(&self.0, buf, at);
            #[cfg(windows)]
            let result = std::os::windows::fs::FileExt::seek_read(&self.0, buf, at);
            match result {
                Ok(0) => break,
                Ok(n) => {
                    read += n;
                    at += n as u64;
                    buf = &mut buf[n..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        Map::of_file(&self.0, len)
    }
}

/// The whole of a file; `None` if there is none.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Makes the entry of a directory, and of those above it up to `root`, last.
pub fn sync_parents(disk: &dyn Disk, dir: &Path, root: &Path) -> io::Result<()> {
    let mut at: PathBuf = dir.to_owned();
    while at != *root && at.pop() {
        disk.sync_dir(&at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("nats-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        OsDisk.create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn files_are_written_read_renamed_and_removed() {
        let dir = temp("files");
        let file = OsDisk.create(&dir.join("a"), 100).unwrap();
        file.write_at(b"hello", 10).unwrap();
        file.sync().unwrap();
        OsDisk.sync_dir(&dir).unwrap();
        let mut buf = [1; 20];
        assert_eq!(file.read_at(&mut buf, 8).unwrap(), 7);
        assert_eq!(&buf[..8], b"\0\0hello\x01");
        OsDisk.rename(&dir.join("a"), &dir.join("b")).unwrap();
        let entry = Entry {
            name: "b".into(),
            len: 15,
        };
        assert_eq!(OsDisk.list(&dir).unwrap(), [entry]);
        let all = read_file(&OsDisk, &dir.join("b")).unwrap().unwrap();
        assert_eq!(&all[10..], b"hello");
        assert_eq!(read_file(&OsDisk, &dir.join("a")).unwrap(), None);
        OsDisk.remove(&dir.join("b")).unwrap();
        OsDisk.remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let dir = temp("lock");
        let path = dir.join("lock");
        let guard = OsDisk.lock(&path).unwrap();
        assert!(guard.is_some());
        assert!(OsDisk.lock(&path).unwrap().is_none());
        drop(guard);
        assert!(OsDisk.lock(&path).unwrap().is_some());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_map_shows_what_is_written_later() {
        let dir = temp("map");
        let file = OsDisk.create(&dir.join("a"), 1 << 20).unwrap();
        file.write_at(b"one", 0).unwrap();
        if let Some(map) = file.map(1 << 20).unwrap() {
            assert_eq!(map.get(0..3), Some(&b"one"[..]));
            file.write_at(b"two", 9000).unwrap();
            assert_eq!(map.get(9000..9003), Some(&b"two"[..]));
            assert_eq!(map.get(0..(1 << 20) + 1), None);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
