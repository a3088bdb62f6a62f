//! A disk that does what real ones do when the power fails, and worse: it forgets what was not
//! synced, in any order and by sectors; it fails, or is full, at any call; it flips bits.
//!
//! Every call of a [`FaultyDisk`] is counted. At the call that the test has chosen it fails, or
//! the power goes, from which on nothing works until [`FaultyDisk::restart`].

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::rng::Rng;
use crate::store::disk::{Barrier, Disk, DiskFile, Entry, LockGuard};
use crate::store::file::map::Map;

/// What a disk writes or not, as a whole.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

/// What happens at a chosen call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The power goes.
    Crash,
    /// Calls that write or sync fail, with what they wrote lost in part.
    Eio,
    /// Calls that need room fail, until [`FaultyDisk::free`].
    Full,
    /// Reads fail, until [`FaultyDisk::free`].
    Unreadable,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    calls: u64,
    plan: Option<(u64, Fault)>,
    full: bool,
    dead: bool,
    /// How often the power went: files of before are of no use afterwards.
    life: u64,
    files: BTreeMap<u64, Inode>,
    next_file: u64,
    /// The names as the running system sees them, and as they are on the disk.
    names: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    /// Directories, likewise; those that nobody made are there, too, unless this disk is strict.
    dirs: BTreeSet<PathBuf>,
    durable_dirs: BTreeSet<PathBuf>,
    strict: bool,
    has_barriers: bool,
    /// Changes of names since the last sync of their directory.
    changes: Vec<Change>,
    locked: HashSet<PathBuf>,
}

/// A change in a directory.
#[derive(Clone, Debug)]
enum Change {
    File(PathBuf, Option<u64>),
    /// A directory is made, or removed.
    Dir(PathBuf, bool),
    /// A directory gets another name.
    Move(PathBuf, PathBuf),
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Change::File(path, _) | Change::Dir(path, _) | Change::Move(path, _) => path,
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        match self {
            Change::File(path, _) | Change::Dir(path, _) | Change::Move(path, _) => {
                *path = moved(path, from, to);
            }
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>, dirs: &mut BTreeSet<PathBuf>) {
        match self {
            Change::File(path, Some(id)) => drop(names.insert(path, id)),
            Change::File(path, None) => drop(names.remove(&path)),
            Change::Dir(path, true) => drop(dirs.insert(path)),
            Change::Dir(path, false) => drop(dirs.remove(&path)),
            Change::Move(from, to) => {
                let all = std::mem::take(names).into_iter();
                *names = all.map(|(p, f)| (moved(&p, &from, &to), f)).collect();
                *dirs = dirs.iter().map(|d| moved(d, &from, &to)).collect();
            }
        }
    }
}

/// What a path becomes when a directory gets another name.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) => to.iter().chain(rest).collect(),
        Err(_) => path.to_owned(),
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    /// As the running system sees it.
    cached: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// Ranges written since the last sync, with what was written.
    pending: Vec<(usize, Vec<u8>)>,
}

impl FaultyDisk {
    pub(crate) fn new(seed: u64) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            calls: 0,
            plan: None,
            full: false,
            dead: false,
            life: 0,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            dirs: BTreeSet::new(),
            durable_dirs: BTreeSet::new(),
            strict: false,
            has_barriers: seed.is_multiple_of(2),
            changes: vec![],
            locked: HashSet::new(),
        })))
    }

    /// A disk that forgets directories, too, with all that is in them.
    pub(crate) fn strict(seed: u64) -> FaultyDisk {
        let disk = FaultyDisk::new(seed);
        disk.state().strict = true;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `fault` happen at the call after `calls` more.
    pub(crate) fn plan(&self, calls: u64, fault: Fault) {
        let mut state = self.state();
        state.plan = Some((state.calls + calls, fault));
    }

    /// Nothing fails any more, and there is room.
    pub(crate) fn free(&self) {
        let mut state = self.state();
        state.plan = None;
        state.full = false;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The power goes now, if it has not gone yet, and comes back: of what was not synced, any part
    /// is lost.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        let state = &mut *state;
        // Names: those changes that were not synced happened or not, each for itself.
        let mut changes: VecDeque<_> = std::mem::take(&mut state.changes).into();
        while let Some(change) = changes.pop_front() {
            if state.rng.below(2) == 0 {
                change.apply(&mut state.durable, &mut state.durable_dirs);
            } else if let Change::Move(from, to) = change {
                // What happened in it later happened where it still is.
                changes.iter_mut().for_each(|c| c.rename(&to, &from));
            }
        }
        if state.strict {
            let dirs = state.durable_dirs.clone();
            let is_there = |path: &Path| {
                let mut above = path.ancestors().skip(1).filter(|a| a.parent().is_some());
                above.all(|a| dirs.contains(a))
            };
            state.durable.retain(|path, _| is_there(path));
            state.durable_dirs.retain(|path| is_there(path));
        }
        state.names = state.durable.clone();
        state.dirs = state.durable_dirs.clone();
        for file in state.files.values_mut() {
            file.crash(&mut state.rng);
        }
        let names = &state.names;
        let used: HashSet<u64> = names.values().copied().collect();
        state.files.retain(|id, _| used.contains(id));
        state.dead = false;
        state.plan = None;
        state.full = false;
        state.life += 1;
        state.locked.clear();
    }

    /// The process ends, the system does not: nothing is lost.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.dead = false;
        state.plan = None;
        state.full = false;
        state.locked.clear();
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes a file as a failing disk, or a person, may; on the disk and in the cache.
    pub(crate) fn damage(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        let id = state.names[path];
        let file = state.files.get_mut(&id).expect("names have files");
        change(&mut file.cached);
        file.durable = file.cached.clone();
        file.pending.clear();
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.files[&state.names[path]].cached.clone()
    }

    /// Puts a file there, synced.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let id = state.next_file;
        state.next_file += 1;
        state.names.insert(path.to_owned(), id);
        state.durable.insert(path.to_owned(), id);
        let file = Inode {
            durable: bytes.clone(),
            cached: bytes,
            pending: vec![],
        };
        state.files.insert(id, file);
    }

    pub(crate) fn take(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable.remove(path);
    }
}

impl Inode {
    /// Keeps any sectors of what was not synced.
    fn crash(&mut self, rng: &mut Rng) {
        // Some crashes lose everything, some nothing, most something.
        let keep = [0, 0, 50, 90, 100][rng.below(5)];
        for (at, bytes) in std::mem::take(&mut self.pending) {
            for (start, end) in sectors(at, bytes.len()) {
                if rng.below(100) < keep {
                    write(&mut self.durable, start, &bytes[start - at..end - at]);
                }
            }
        }
        self.cached = self.durable.clone();
    }
}

/// The parts of a range that lie in one sector each.
fn sectors(at: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = at + len;
    (at / SECTOR..end.div_ceil(SECTOR))
        .map(move |s| ((s * SECTOR).max(at), ((s + 1) * SECTOR).min(end)))
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Read,
    /// Needs no room.
    Change,
    /// Needs room.
    Grow,
}

impl State {
    /// Counts a call and says what becomes of it: an error, after which the caller may have had
    /// some effect.
    fn call(&mut self, call: Call) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the power is gone"));
        }
        self.calls += 1;
        if let Some((at, fault)) = self.plan
            && self.calls >= at
            && (call == Call::Read) == (fault == Fault::Unreadable)
        {
            match fault {
                Fault::Crash => {
                    self.dead = true;
                    return Err(io::Error::other("the power is gone"));
                }
                Fault::Eio => {
                    self.plan = None;
                    return Err(io::Error::from_raw_os_error(5));
                }
                Fault::Full => self.full = true,
                Fault::Unreadable => return Err(io::Error::from_raw_os_error(5)),
            }
        }
        if self.full && call == Call::Grow {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.names, &mut self.dirs);
        self.changes.push(change);
    }

    /// What was made in a directory that has another name on the disk now.
    fn settle(&mut self, change: Change) {
        if let Change::Move(from, to) = &change {
            self.changes.iter_mut().for_each(|c| c.rename(from, to));
        }
        change.apply(&mut self.durable, &mut self.durable_dirs);
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let mut state = self.state();
        state.call(Call::Grow)?;
        let has_files = state.names.keys().any(|path| path.parent() == Some(dir));
        let is_new = !has_files && !state.dirs.contains(dir);
        let above: Vec<_> = dir.ancestors().filter(|a| a.parent().is_some()).collect();
        for dir in above.into_iter().rev() {
            if !state.dirs.contains(dir) {
                state.change(Change::Dir(dir.to_owned(), true));
            }
        }
        Ok(is_new)
    }

    fn dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.call(Call::Read)?;
        let below = state.dirs.iter().filter(|d| d.parent() == Some(dir));
        let name = |d: &PathBuf| d.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(below.map(name).collect())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.call(Call::Read)?;
        let mut entries = Vec::new();
        for (path, id) in &state.names {
            if path.parent() == Some(dir) {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let len = state.files[id].cached.len() as u64;
                entries.push(Entry { name, len });
            }
        }
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Call::Read)?;
        let id = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let (disk, life) = (self.clone(), state.life);
        Ok(Arc::new(FaultyFile { disk, id, life }))
    }

    fn create(&self, path: &Path, _capacity: usize) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.call(Call::Grow)?;
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Inode::default());
        state.change(Change::File(path.to_owned(), Some(id)));
        let (disk, life) = (self.clone(), state.life);
        Ok(Arc::new(FaultyFile { disk, id, life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Change)?;
        if state.dirs.contains(from) {
            state.change(Change::Move(from.to_owned(), to.to_owned()));
            return Ok(());
        }
        let id = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        // A rename is one change: both names or none. Here the new name may come without the old
        // one going, which is worse.
        state.change(Change::File(to.to_owned(), Some(id)));
        state.change(Change::File(from.to_owned(), None));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Change)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::File(path.to_owned(), None));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Change)?;
        let names = state.names.keys().chain(&state.dirs);
        if names.filter(|p| p.parent() == Some(dir)).count() > 0 {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(Change::Dir(dir.to_owned(), false));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Change)?;
        let all = std::mem::take(&mut state.changes);
        let (here, rest) = all
            .into_iter()
            .partition(|c| c.path().parent() == Some(dir));
        state.changes = rest;
        let here: Vec<Change> = here;
        here.into_iter().for_each(|change| state.settle(change));
        Ok(())
    }

    /// Every other disk has none.
    fn barrier(&self, _dir: &Path) -> io::Result<Option<Box<dyn Barrier>>> {
        let mut state = self.state();
        state.call(Call::Read)?;
        let barrier = || Box::new(FaultyBarrier(self.clone())) as Box<dyn Barrier>;
        Ok(state.has_barriers.then(barrier))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let mut state = self.state();
        state.call(Call::Read)?;
        if !state.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        let (disk, path, life) = (self.clone(), path.to_owned(), state.life);
        Ok(Some(Box::new(Lock { disk, path, life })))
    }

    fn likes_zeros(&self, _dir: &Path) -> bool {
        true
    }
}

struct FaultyBarrier(FaultyDisk);

impl Barrier for FaultyBarrier {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        let state = &mut *state;
        let result = state.call(Call::Change);
        if state.dead {
            return result;
        }
        for file in state.files.values_mut() {
            // As with the sync of one file: what failed is taken for written.
            let keep = result.is_ok() || state.rng.below(2) == 0;
            for (at, bytes) in std::mem::take(&mut file.pending) {
                if keep {
                    write(&mut file.durable, at, &bytes);
                }
            }
        }
        if result.is_ok() {
            for change in std::mem::take(&mut state.changes) {
                state.settle(change);
            }
        }
        result
    }
}

struct Lock {
    disk: FaultyDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    id: u64,
    life: u64,
}

impl FaultyFile {
    fn with<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut Inode, &mut Rng, io::Result<()>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        let state = &mut *state;
        if state.life != self.life {
            return Err(io::Error::other("a file of before the restart"));
        }
        let result = state.call(call);
        let file = state.files.get_mut(&self.id);
        act(file.ok_or(io::ErrorKind::NotFound)?, &mut state.rng, result)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let grows = {
            let state = self.disk.state();
            let file = state.files.get(&self.id);
            file.is_none_or(|file| at + bytes.len() > file.cached.len())
        };
        let call = if grows { Call::Grow } else { Call::Change };
        self.with(call, |file, rng, result| {
            // A write that fails has written some of it.
            let len = match result {
                Ok(()) => bytes.len(),
                Err(_) => rng.below(bytes.len() + 1),
            };
            if len > 0 {
                write(&mut file.cached, at, &bytes[..len]);
                file.pending.push((at, bytes[..len].to_vec()));
            }
            result
        })
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(Call::Read, |file, _, result| {
            result?;
            let start = usize::try_from(at).unwrap().min(file.cached.len());
            let len = buf.len().min(file.cached.len() - start);
            buf[..len].copy_from_slice(&file.cached[start..start + len]);
            Ok(len)
        })
    }

    fn shorten(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.with(Call::Change, |file, _, result| {
            result?;
            file.cached.truncate(len);
            for (at, bytes) in &mut file.pending {
                bytes.truncate(len.saturating_sub(*at));
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(Call::Read, |file, _, result| {
            result?;
            Ok(file.cached.len() as u64)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(Call::Change, |file, rng, result| {
            if let Err(e) = result {
                // The kernel takes the pages for clean: they look right until they are read anew,
                // and are never written again.
                for (at, bytes) in std::mem::take(&mut file.pending) {
                    for (start, end) in sectors(at, bytes.len()) {
                        if rng.below(2) == 0 {
                            write(&mut file.durable, start, &bytes[start - at..end - at]);
                        }
                    }
                }
                return Err(e);
            }
            for (at, bytes) in std::mem::take(&mut file.pending) {
                write(&mut file.durable, at, &bytes);
            }
            Ok(())
        })
    }

    fn map(&self, _len: usize) -> io::Result<Option<Map>> {
        Ok(None)
    }
}

#[test]
fn what_is_not_synced_may_be_lost_and_what_is_synced_stays() {
    let (mut lost, mut torn, mut kept) = (0, 0, 0);
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed);
        let dir = Path::new("/d");
        let file = disk.create(&dir.join("f"), 0).unwrap();
        file.write_at(&[1; 2000], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(dir).unwrap();
        file.write_at(&[2; 2000], 2000).unwrap();
        disk.restart();
        assert!(file.len().is_err(), "it was of before");
        let bytes = disk.bytes(&dir.join("f"));
        assert_eq!(&bytes[..2000], [1; 2000]);
        let there = bytes[2000..].iter().filter(|b| **b == 2).count();
        match there {
            0 => lost += 1,
            2000 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 20 && torn > 20 && kept > 20, "{lost} {torn} {kept}");
}

#[test]
fn calls_fail_as_planned() {
    let disk = FaultyDisk::new(1);
    let dir = Path::new("/d");
    let file = disk.create(&dir.join("f"), 0).unwrap();
    disk.plan(1, Fault::Eio);
    file.write_at(b"a", 0).unwrap_err();
    file.write_at(b"abc", 0).unwrap();
    disk.plan(1, Fault::Full);
    let error = file.write_at(b"abcd", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_at(b"xyz", 0).unwrap();
    disk.free();
    disk.plan(1, Fault::Crash);
    file.sync().unwrap_err();
    assert!(disk.is_dead() && disk.list(dir).is_err());
    disk.restart();
    assert!(disk.list(dir).is_ok());
}
