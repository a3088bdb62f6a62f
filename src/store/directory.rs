//! The directory of all streams: how their directories are named, made and removed, so that no
//! crash leaves half of one.
//!
//! ```text
//!  <root>/lock
//!  <root>/journal/                       the commit journal
//!  <root>/reserve                        room for what makes room, see [`reserve`](super::reserve)
//!  <root>/<account>/<stream>/            a stream
//!  <root>/<account>/<stream>.new/        one that is being made: of no use after a crash
//!  <root>/<account>/<...>.removed/       one that is being removed: a start goes on with that
//! ```
//!
//! A stream is there from the moment on at which its directory got its name, with the metadata in
//! it, and is gone when it lost that name. What is not understood is left alone and told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::crypt::Keys;
use super::disk::{Barrier, Disk, LockGuard};
use super::error::{LogError, Reason, is_full};
use super::file::Locks;
use super::file::copies::META;
use super::file::format::{Container, ContainerKind, FIRST_RECORD, HEADER_LEN, SegmentHeader};
use super::file::log::segment_number;
use super::meta::{Meta, MetaError, MetaFound, NAME_MAX};
use super::reserve::Reserve;
use super::types::StreamId;

const NEW: &str = ".new";
const REMOVED: &str = ".removed";

/// The directory of the commit journal. No account's has such a name.
const JOURNAL: &str = "journal";

/// Directories from which on all are synced together.
const MANY_MIN: usize = 4;
/// Bytes that are kept back for what makes room.
const RESERVE_BYTES: u64 = 256 << 10;

/// Characters of a name that its directory shows.
const SHOWN_MAX: usize = 40;

/// The directory of all streams, which this process has for itself.
#[derive(Debug)]
pub struct StoreDir {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Directories of accounts that are surely on the disk for good, and what is in them. Nobody else
    /// makes or removes anything there.
    accounts: Mutex<HashMap<PathBuf, HashSet<String>>>,
    /// By account, streams that were not made or were to be removed, and of which the disk did not tell
    /// whether they are there. No other name is taken there before it does, so there are few.
    doubtful: Mutex<HashMap<PathBuf, HashSet<String>>>,
    locks: Arc<Locks>,
    reserve: Arc<Reserve>,
    _lock: LockGuard,
}

/// A directory that is a stream's by its name.
#[derive(Debug)]
pub struct StreamDir {
    pub dir: PathBuf,
    /// Its metadata. A stream whose metadata cannot be read is damaged, not absent.
    pub meta: Result<MetaFound, MetaError>,
}

/// What is below the directory of all streams.
#[derive(Debug, Default)]
pub struct Listing {
    pub streams: Vec<StreamDir>,
    /// Directories that are of no use: what a crash left of making a stream, or of removing one.
    pub remains: Vec<PathBuf>,
}

/// The files of a stream that is no more, which are still to be removed; that may take its time.
#[derive(Debug)]
#[must_use = "the files stay until the next start"]
pub struct Removal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl StoreDir {
    /// Takes the directory, which is made if it does not exist.
    ///
    /// # Errors
    /// [`LogError::Locked`] if somebody else has it.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<StoreDir, LogError> {
        make_for_good(&*disk, root)?;
        let path = root.join("lock");
        let lock = disk.lock(&path).map_err(|e| failed("lock", &path, &e))?;
        let lock = lock.ok_or_else(|| LogError::Locked(root.to_owned()))?;
        let reserve = Reserve::new(disk.clone(), root.join("reserve"), RESERVE_BYTES);
        // It is tried again when something has made room.
        reserve.hold();
        Ok(StoreDir {
            disk,
            root: root.to_owned(),
            accounts: Mutex::default(),
            doubtful: Mutex::default(),
            locks: Arc::default(),
            reserve: Arc::new(reserve),
            _lock: lock,
        })
    }

    /// Room for what makes room, where there is no other.
    pub fn reserve(&self) -> Arc<Reserve> {
        self.reserve.clone()
    }

    /// All streams, after what crashes have left was removed, and data keys were wrapped with the
    /// key that is configured now.
    ///
    /// # Errors
    /// If the directory cannot be read, or there is no room for what is to be written. What could not be removed is left in
    /// [`remains`](Listing::remains).
    pub fn streams(&self, keys: &Keys) -> Result<Listing, LogError> {
        let mut listing = list(&*self.disk, &self.root, keys)?;
        // What is seen may be the memory of a system whose disk refused it, and what is told of a
        // stream must not be taken back. Where that is not so, this costs next to nothing.
        // The same goes for names that say that a directory is of no use: files go for good after that.
        let remains = listing.remains.iter().map(|dir| &**dir);
        let all = listing.streams.iter().map(|s| &*s.dir).chain(remains);
        let accounts: BTreeSet<_> = all.filter_map(Path::parent).collect();
        let streams = listing.streams.iter().map(|s| &*s.dir);
        match self.barrier(listing.streams.len())? {
            Some(barrier) => self.pass(&*barrier)?,
            None => {
                for dir in streams.chain(accounts).chain([&*self.root]) {
                    let synced = self.disk.sync_dir(dir);
                    synced.map_err(|e| failed("sync", dir, &e))?;
                }
            }
        }
        for stream in &mut listing.streams {
            if let Ok(found) = &mut stream.meta {
                self.update_key(&stream.dir, &mut found.meta, keys)?;
            }
        }
        listing.remains.retain(|dir| {
            let removal = Removal {
                disk: self.disk.clone(),
                dir: dir.clone(),
            };
            removal.run().is_err()
        });
        Ok(listing)
    }

    /// Encrypts a stream that was not, and wraps a data key with the key that is configured now.
    fn update_key(&self, dir: &Path, meta: &mut Meta, keys: &Keys) -> Result<(), LogError> {
        let mut updated = meta.clone();
        let changes = updated.update_key(keys);
        if changes.map_err(|e| failed("encrypt", dir, &e))? {
            updated.write(&*self.disk, dir)?;
            *meta = updated;
        }
        Ok(())
    }

    /// Who has which stream's log open, for [`LogOptions`](super::file::LogOptions).
    pub fn locks(&self) -> Arc<Locks> {
        self.locks.clone()
    }

    /// What makes durable what is written from now on, if that is much: to so many directories.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn barrier(&self, dirs: usize) -> Result<Option<Box<dyn Barrier>>, LogError> {
        if dirs < MANY_MIN {
            return Ok(None);
        }
        let barrier = self.disk.barrier(&self.root);
        barrier.map_err(|e| failed("open", &self.root, &e))
    }

    fn pass(&self, barrier: &dyn Barrier) -> Result<(), LogError> {
        let passed = barrier.sync();
        passed.map_err(|e| failed("sync", &self.root, &e))
    }

    /// Where the loop's commit journal is.
    pub fn journal_dir(&self) -> PathBuf {
        self.root.join(JOURNAL)
    }

    /// The directory of a stream, whether or not there is one.
    pub fn stream_dir(&self, account: &str, stream: &str) -> PathBuf {
        stream_dir(&self.root, account, stream)
    }

    /// Makes the directory of a new stream, with its metadata. The stream is there, for good, when
    /// this returns.
    ///
    /// # Errors
    /// If there is a stream of that name, a name is longer than any may be, or the disk fails: then
    /// there is no stream, unless it was the very last step that failed, and what was made of it is
    /// removed, as far as the disk lets it.
    pub fn create(&self, meta: &mut Meta, keys: &Keys) -> Result<PathBuf, LogError> {
        let dir = self.stream_dir(&meta.account, &meta.stream);
        let account = dir.parent().unwrap_or(&self.root);
        let made = meta
            .update_key(keys)
            .and_then(|_| self.make(meta, account, &dir));
        made.map_err(|e| failed("create", &dir, &e))?;
        Ok(dir)
    }

    /// Makes the directories of several new streams, with their metadata, and has `begin` put into each
    /// what else it needs, which need not be synced but for what `begin` gives it to. The streams are
    /// there, for good, when this returns, with what `begin` has written. Where the disk can, all of it
    /// takes two syncs.
    ///
    /// # Errors
    /// As [`StoreDir::create`], for each of them.
    pub fn create_many<T>(
        &self,
        metas: &mut [&mut Meta],
        keys: &Keys,
        begin: &mut dyn FnMut(usize, &Path, &Meta) -> Result<T, LogError>,
        note_synced: &mut dyn FnMut(&mut T),
    ) -> Vec<Result<T, LogError>> {
        // Those that are made one by one say what is wrong, too.
        let barrier = self.barrier(metas.len()).unwrap_or_default();
        let Some(barrier) = barrier else {
            let one = |(i, meta): (usize, &mut &mut Meta)| {
                let dir = self.create(meta, keys)?;
                begin(i, &dir, meta).inspect_err(|_| self.undo(meta))
            };
            return metas.iter_mut().enumerate().map(one).collect();
        };
        let new = metas.iter_mut().map(|meta| self.prepare(meta, keys));
        let new: Vec<Result<PathBuf, LogError>> = new.collect();
        let is_prepared: Vec<_> = new.iter().map(Result::is_ok).collect();
        // The first time the metadata, then the names of directories and what is in them.
        let mut passed = self.pass(&*barrier);
        let begun = new.into_iter().enumerate().map(|(i, dir)| {
            let dir = dir?;
            if let Err(error) = &passed {
                return Err(repeated(error));
            }
            let named = self.disk.rename(&with_ending(&dir, NEW), &dir);
            named.map_err(|e| failed("create", &dir, &e))?;
            begin(i, &dir, &*metas[i])
        });
        let begun: Vec<Result<T, LogError>> = begun.collect();
        if passed.is_ok() {
            passed = self.pass(&*barrier);
        }
        let made = begun.into_iter().map(|one| {
            let mut one = one?;
            match &passed {
                Ok(()) => note_synced(&mut one),
                Err(error) => return Err(repeated(error)),
            }
            Ok(one)
        });
        let made: Vec<Result<T, LogError>> = made.collect();
        let all = metas.iter().zip(is_prepared).zip(&made);
        for ((meta, _), _) in all.filter(|((_, prepared), made)| *prepared && made.is_err()) {
            self.undo(meta);
        }
        made
    }

    /// Makes the directory of a new stream under the name that says that it is being made; nothing of
    /// it is synced.
    fn prepare(&self, meta: &mut Meta, keys: &Keys) -> Result<PathBuf, LogError> {
        let dir = self.stream_dir(&meta.account, &meta.stream);
        let account = dir.parent().unwrap_or(&self.root);
        let made = meta.update_key(keys).and_then(|_| {
            self.take_name(meta, account, &dir)?;
            let made = self
                .make_new(&dir)
                .and_then(|new| meta.write_first(&*self.disk, &new));
            if made.is_err() {
                self.undo(meta);
            }
            made
        });
        made.map_err(|e| failed("create", &dir, &e))?;
        Ok(dir)
    }

    /// Removes what there is of a stream that was not made, and gives its name back.
    fn undo(&self, meta: &Meta) {
        let dir = self.stream_dir(&meta.account, &meta.stream);
        let new = Removal {
            disk: self.disk.clone(),
            dir: with_ending(&dir, NEW),
        };
        // It has one of the two names. What stays, a start removes, but for one that has got its name:
        // that is a stream.
        let _ = new.run();
        if stream_in(&*self.disk, &dir).is_ok_and(|id| id == Some(meta.id)) {
            let _ = self.remove(meta.id, &dir).and_then(Removal::run);
        }
        self.look_for(&dir);
    }

    /// Gives a stream's name back if there is no such directory. What others are making has other names
    /// on the disk, and keeps its own.
    fn look_for(&self, dir: &Path) {
        let account = dir.parent().unwrap_or(&self.root);
        let name = file_name(dir);
        match self.disk.dirs(account) {
            Ok(dirs) if dirs.contains(&name) => {}
            Ok(_) => {
                if let Some(names) = self.accounts().get_mut(account) {
                    names.remove(&name);
                }
            }
            Err(_) => {
                let account = account.to_owned();
                self.doubtful().entry(account).or_default().insert(name);
            }
        }
    }

    /// Looks again for those streams of an account of which the disk did not tell.
    fn settle_doubts(&self, account: &Path) -> io::Result<()> {
        let Some(doubtful) = self.doubtful().remove(account) else {
            return Ok(());
        };
        match self.disk.dirs(account) {
            Ok(dirs) => {
                if let Some(names) = self.accounts().get_mut(account) {
                    names.retain(|name| !doubtful.contains(name) || dirs.contains(name));
                }
                Ok(())
            }
            Err(error) => {
                let account = account.to_owned();
                self.doubtful().entry(account).or_default().extend(doubtful);
                Err(error)
            }
        }
    }

    fn doubtful(&self) -> MutexGuard<'_, HashMap<PathBuf, HashSet<String>>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, meta: &mut Meta, account: &Path, dir: &Path) -> io::Result<()> {
        self.take_name(meta, account, dir)?;
        let made = self.make_named(meta, account, dir);
        if made.is_err() {
            self.undo(meta);
        }
        made
    }

    /// Takes a stream's name in its account.
    fn take_name(&self, meta: &Meta, account: &Path, dir: &Path) -> io::Result<()> {
        if meta.account.len() > NAME_MAX || meta.stream.len() > NAME_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                "the name is too long",
            ));
        }
        let disk = &*self.disk;
        let name = file_name(dir);
        if !self.accounts().contains_key(account) {
            disk.create_dir(account)?;
            disk.sync_dir(&self.root)?;
            let names = disk.dirs(account)?.into_iter().collect();
            self.accounts().entry(account.to_owned()).or_insert(names);
        }
        self.settle_doubts(account)?;
        // The name is taken from here on, whatever comes of it; a try that failed gives it back.
        let is_new = self
            .accounts()
            .get_mut(account)
            .is_none_or(|n| n.insert(name.clone()));
        match is_new {
            true => Ok(()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn make_named(&self, meta: &mut Meta, account: &Path, dir: &Path) -> io::Result<()> {
        let disk = &*self.disk;
        let new = self.make_new(dir)?;
        meta.write_copies(disk, &new)?;
        disk.rename(&new, dir)?;
        disk.sync_dir(account)
    }

    /// Makes the empty directory of a stream that is being made.
    fn make_new(&self, dir: &Path) -> io::Result<PathBuf> {
        let new = with_ending(dir, NEW);
        if !self.disk.create_dir(&new)? {
            // There may be files from before a crash, or from a try that failed.
            for entry in self.disk.list(&new)? {
                self.disk.remove(&new.join(entry.name))?;
            }
        }
        Ok(new)
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<PathBuf, HashSet<String>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stream's directory away. The stream must be closed. It is gone, for good, when this
    /// returns, and another one of that name may be made; its files go with [`Removal::run`].
    ///
    /// # Errors
    /// If the disk fails; the stream may be there or not then.
    pub fn remove(&self, id: StreamId, dir: &Path) -> Result<Removal, LogError> {
        let account = dir.parent().unwrap_or(&self.root);
        let incarnation = hex(&id.incarnation);
        let name = format!("{}-{incarnation}{REMOVED}", file_name(dir));
        let removed = account.join(name);
        let result = self
            .disk
            .rename(dir, &removed)
            .and_then(|()| self.disk.sync_dir(account));
        match &result {
            Ok(()) => {
                if let Some(names) = self.accounts().get_mut(account) {
                    names.remove(&file_name(dir));
                }
            }
            Err(_) => self.look_for(dir),
        }
        result.map_err(|e| failed("remove", dir, &e))?;
        Ok(Removal {
            disk: self.disk.clone(),
            dir: removed,
        })
    }
}

impl Removal {
    /// Removes the files. What is left if this fails, a start removes.
    ///
    /// # Errors
    /// If the disk fails, or there is a directory among the files.
    pub fn run(self) -> Result<(), LogError> {
        let remove = || -> io::Result<()> {
            for entry in self.disk.list(&self.dir)? {
                self.disk.remove(&self.dir.join(entry.name))?;
            }
            self.disk.remove_dir(&self.dir)
        };
        remove().map_err(|e| failed("remove", &self.dir, &e))
    }
}

/// Makes a directory and those above it, unless they exist, and sees to it that the disk has them.
pub(super) fn make_for_good(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    disk.create_dir(dir)
        .map_err(|e| failed("create", dir, &e))?;
    for above in dir.ancestors().skip(1) {
        match disk.sync_dir(above) {
            // What others keep from us, they have made.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => break,
            // The path is relative to a directory that was there.
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            synced => synced.map_err(|e| failed("sync", above, &e))?,
        }
    }
    Ok(())
}

/// What is below the directory of all streams. Nothing is changed, and no lock is taken.
///
/// # Errors
/// If a directory cannot be read.
pub fn list(disk: &dyn Disk, root: &Path, keys: &Keys) -> Result<Listing, LogError> {
    let dirs = |dir: &Path| disk.dirs(dir).map_err(|e| failed("list", dir, &e));
    let mut listing = Listing::default();
    for account in dirs(root)? {
        let account = root.join(account);
        for name in dirs(&account)? {
            let dir = account.join(&name);
            if name.ends_with(NEW) || name.ends_with(REMOVED) {
                listing.remains.push(dir);
            } else if is_stream_name(&name) {
                let meta = Meta::read(disk, &dir, keys).and_then(|found| placed(root, &dir, found));
                listing.streams.push(StreamDir { dir, meta });
            }
        }
    }
    listing.streams.sort_by(|a, b| a.dir.cmp(&b.dir));
    Ok(listing)
}

/// Which stream a directory is of, by any of its files that tell, whether or not the stream can be
/// opened.
///
/// # Errors
/// If a file cannot be read.
pub fn stream_in(disk: &dyn Disk, dir: &Path) -> Result<Option<StreamId>, LogError> {
    for (_, bytes) in META.read(disk, dir)? {
        if let Ok((container, _)) = Container::decode(&bytes, ContainerKind::Meta) {
            return Ok(Some(container.stream));
        }
    }
    let files = disk.list(dir).map_err(|e| failed("list", dir, &e))?;
    let mut front = [0; FIRST_RECORD as usize];
    for entry in files {
        if segment_number(&entry.name).is_none() {
            continue;
        }
        let path = dir.join(entry.name);
        let read = disk
            .open(&path)
            .and_then(|file| file.read_at(&mut front, 0));
        let read = read.map_err(|e| failed("read", &path, &e))?;
        let mut copies = front[..read].chunks(HEADER_LEN);
        if let Some(header) = copies.find_map(|copy| SegmentHeader::decode(copy).ok()) {
            return Ok(Some(header.stream));
        }
    }
    Ok(None)
}

/// Metadata in the directory that it belongs to.
fn placed(root: &Path, dir: &Path, found: MetaFound) -> Result<MetaFound, MetaError> {
    let (account, stream) = (&found.meta.account, &found.meta.stream);
    match stream_dir(root, account, stream) == dir {
        true => Ok(found),
        false => Err(MetaError::Misplaced {
            dir: dir.to_owned(),
            account: account.clone(),
            stream: stream.clone(),
        }),
    }
}

/// The directory of a stream below that of all streams.
fn stream_dir(root: &Path, account: &str, stream: &str) -> PathBuf {
    let id = StreamId::new(account, stream, [0; 16]);
    let digest = Sha256::digest(account.as_bytes());
    root.join(shown(account, &digest[..16]))
        .join(shown(stream, &id.name))
}

/// A name for a directory: what can be shown of a name anywhere, for people, and a hash that tells
/// names apart. It is short, in lower case, begins with none of the names that some systems keep
/// for themselves, and is none of `.` and `..`.
fn shown(name: &str, hash: &[u8]) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-') => c,
        _ => '_',
    };
    let mut out: String = name.chars().take(SHOWN_MAX).map(plain).collect();
    out.push('-');
    out.push_str(&hex(hash));
    out
}

/// Whether a directory may be that of a stream: others are somebody else's.
fn is_stream_name(name: &str) -> bool {
    let hash = name.rsplit_once('-').map(|(_, hash)| hash);
    hash.is_some_and(|h| h.len() == 32 && h.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn with_ending(dir: &Path, ending: &str) -> PathBuf {
    dir.with_file_name(format!("{}{ending}", file_name(dir)))
}

/// The same error for another one whom it concerns.
fn repeated(error: &LogError) -> LogError {
    match error {
        LogError::Io(reason) => LogError::Io(reason.clone()),
        _ => LogError::Full,
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> LogError {
    match is_full(error) {
        true => LogError::Full,
        false => LogError::Io(Reason::new(doing, path, error)),
    }
}
