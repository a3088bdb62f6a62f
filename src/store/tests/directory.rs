//! Streams' directories and metadata, on disks that fail.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faulty::{Fault, FaultyDisk};
use super::log_faults::{Given, draft};
use super::seeds::for_seeds;
use crate::base::rng::Rng;
use crate::store::LogError;
use crate::store::crypt::{Cipher, Keys};
use crate::store::directory::{Listing, StoreDir, list};
use crate::store::disk::{Disk, OsDisk, read_file};
use crate::store::file::format::{Kind, SegmentHeader};
use crate::store::file::{Handles, Known, Log, LogOptions, segment_path};
use crate::store::memory::MemoryDisk;
use crate::store::meta::{Meta, MetaError};
use crate::store::types::StreamSeq;

const NAMES: [&str; 4] = ["ORDERS", "orders", "CON", ".."];

fn root() -> &'static Path {
    Path::new("/store")
}

fn meta(name: &str, n: u8) -> Meta {
    Meta::new("$G", name, [n; 16], vec![n; 50])
}

/// What each stream must be, or one of two where a call failed.
struct Run {
    disk: FaultyDisk,
    rng: Rng,
    may_be: [Vec<Option<Meta>>; 4],
    next: u8,
    keys: Keys,
    /// How often the key was changed.
    changes: u32,
}

impl Run {
    fn open(&self) -> Option<(StoreDir, Listing)> {
        let store = StoreDir::open(Arc::new(self.disk.clone()), root()).ok()?;
        let listing = store.streams(&self.keys).ok()?;
        Some((store, listing))
    }

    /// Another key, or only another cipher, is configured. All streams have the last one.
    fn change_key(&mut self) {
        let name = |n: u32| format!("key {}", n / 2);
        let cipher = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm][self.rng.below(2)];
        let previous = self.keys.encrypts().then(|| name(self.changes));
        self.changes += 1;
        self.keys = Keys::new(cipher, &name(self.changes), previous.as_deref());
    }

    /// Opens the store and looks whether all is as it may be.
    fn check(&mut self) -> StoreDir {
        let (store, listing) = self.open().expect("the disk is well");
        assert!(listing.remains.is_empty(), "{:?}", listing.remains);
        let mut found = [const { None }; 4];
        for one in listing.streams {
            let meta = one.meta.expect("no crash damages metadata");
            let at = NAMES.iter().position(|n| *n == meta.meta.stream).unwrap();
            found[at] = Some(meta.meta);
        }
        for meta in found.iter().flatten() {
            assert_eq!(meta.key().is_some(), self.keys.encrypts());
        }
        for (may_be, found) in self.may_be.iter_mut().zip(found) {
            let plain = |m: &Meta| (m.id, m.config.clone());
            let (is, all): (_, Vec<_>) = (
                found.as_ref().map(plain),
                may_be.iter().map(|m| m.as_ref().map(plain)).collect(),
            );
            assert!(all.contains(&is), "{is:?} {all:?}");
            *may_be = vec![found];
        }
        store
    }

    /// Makes all streams at once.
    fn make_all(&mut self, store: &StoreDir) {
        self.next = self.next.wrapping_add(1);
        let mut metas: Vec<_> = NAMES.iter().map(|name| meta(name, self.next)).collect();
        let wanted = metas.clone();
        let mut metas: Vec<_> = metas.iter_mut().collect();
        let mut begin = |_: usize, _: &Path, _: &Meta| Ok(());
        let made = store.create_many(&mut metas, &Keys::none(), &mut begin, &mut |_| {});
        for (at, (made, wanted)) in made.into_iter().zip(wanted).enumerate() {
            match made {
                Ok(()) => self.may_be[at] = vec![Some(wanted)],
                Err(_) => self.may_be[at].push(Some(wanted)),
            }
        }
    }

    fn step(&mut self, store: &StoreDir) {
        if self.rng.below(2) == 0 && self.may_be.iter().all(|m| *m == [None]) {
            return self.make_all(store);
        }
        let at = self.rng.below(NAMES.len());
        self.next = self.next.wrapping_add(1);
        let new = meta(NAMES[at], self.next);
        let dir = store.stream_dir("$G", NAMES[at]);
        let is = self.may_be[at].last().cloned().flatten();
        let (wanted, result) = match is {
            None => {
                let mut meta = new.clone();
                (
                    Some(new),
                    store.create(&mut meta, &Keys::none()).map(|_| ()),
                )
            }
            Some(mut is) if self.rng.below(2) == 0 => {
                is.config = new.config;
                let result = is.write(&self.disk, &dir);
                (Some(is), result)
            }
            Some(is) => (
                None,
                store.remove(is.id, &dir).map(|removal| drop(removal.run())),
            ),
        };
        match result {
            Ok(()) => self.may_be[at] = vec![wanted],
            Err(_) => self.may_be[at].push(wanted),
        }
    }
}

#[test]
fn a_stream_is_there_or_not_whatever_the_disk_does() {
    for_seeds("directories", 300, |seed| {
        let mut run = Run {
            disk: FaultyDisk::strict(seed),
            rng: Rng::new(seed ^ 0x5eed),
            may_be: [const { vec![] }; 4],
            next: 0,
            keys: Keys::none(),
            changes: 0,
        };
        run.may_be.iter_mut().for_each(|m| m.push(None));
        for _ in 0..20 {
            let store = run.check();
            if run.rng.below(4) == 0 {
                run.change_key();
            }
            let fault = [Fault::Crash, Fault::Eio, Fault::Full][run.rng.below(3)];
            run.disk.plan(run.rng.below(60) as u64, fault);
            for _ in 0..5 {
                // After a failure nothing is known, as with a log.
                if run.may_be.iter().all(|m| m.len() == 1) {
                    run.step(&store);
                }
            }
            // A start may fail, too.
            drop(store);
            let _ = run.open();
            match run.rng.below(3) {
                0 if !run.disk.is_dead() => run.disk.kill(),
                _ => run.disk.restart(),
            }
        }
    });
}

#[test]
fn streams_that_are_made_together_are_there_with_their_first_segment() {
    let mut failed = 0;
    for seed in 0..100 {
        let disk = FaultyDisk::strict(seed);
        let open = || StoreDir::open(Arc::new(disk.clone()), root()).unwrap();
        let store = open();
        if seed % 3 > 0 {
            let fault = [Fault::Eio, Fault::Crash, Fault::Full][seed as usize / 3 % 3];
            disk.plan(1 + seed, fault);
        }
        let mut metas: Vec<_> = (0..6).map(|n| meta(&format!("S{n}"), n)).collect();
        let mut all: Vec<_> = metas.iter_mut().collect();
        let mut begin = |_: usize, dir: &Path, meta: &Meta| {
            let mut options = LogOptions::new(Arc::new(Handles::new(9)));
            options.opens_unsynced = true;
            options.is_new = true;
            options.locks = Some(store.locks());
            let disk = Arc::new(disk.clone());
            let opened = Log::open(disk, dir, meta.id, options, Known::default(), &mut |_| {});
            opened.map(|(log, _)| (log, dir.to_owned()))
        };
        let mut note = |(log, _): &mut (Log, PathBuf)| log.handle_barrier();
        let made = store.create_many(&mut all, &Keys::none(), &mut begin, &mut note);
        let mut dirs = vec![];
        for one in made {
            match one {
                Ok((mut log, dir)) => {
                    // A name that is not on the disk for good keeps the log from the journal.
                    let given = Given {
                        kind: Kind::Message,
                        sequence: StreamSeq(1),
                        payload: vec![7],
                    };
                    let is_named =
                        log.append(&draft(&given)).is_ok() && log.tail().frame().is_some();
                    dirs.push((dir, is_named));
                }
                Err(_) => failed += 1,
            }
        }
        drop(store);
        disk.restart();
        let found = open().streams(&Keys::none()).unwrap().streams;
        let found = found.into_iter().map(|s| (s.dir, s.meta.is_ok()));
        let found: HashSet<_> = found.collect();
        for (dir, is_named) in dirs {
            assert!(found.contains(&(dir.clone(), true)), "seed {seed}");
            let path = segment_path(&dir, 1);
            let header = read_file(&disk, &path).unwrap();
            let is_whole = header.is_some_and(|bytes| SegmentHeader::decode(&bytes).is_ok());
            assert!(is_whole || !is_named, "seed {seed}");
        }
    }
    assert!(failed > 50, "{failed}");
}

/// Found by restoring to a full disk: what was made of a stream stayed until the next start, and so did
/// its name, if it was the last step that failed.
#[test]
fn nothing_stays_of_a_stream_for_which_there_is_no_room() {
    let mut failed = 0;
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed);
        let fault = [Fault::Full, Fault::Eio][seed as usize / 2 % 2];
        let store = StoreDir::open(Arc::new(disk.clone()), root()).unwrap();
        let make = || {
            let mut metas: Vec<_> = NAMES.iter().map(|name| meta(name, 1)).collect();
            let mut all: Vec<_> = metas.iter_mut().collect();
            let mut begin = |_: usize, dir: &Path, _: &Meta| {
                let written = disk.create(&dir.join("begun"), 1);
                written.map(drop).map_err(|_| LogError::Full)
            };
            store.create_many(&mut all, &Keys::none(), &mut begin, &mut |()| {})
        };
        disk.plan(1 + seed / 4, fault);
        let made = make();
        disk.free();
        let mut wanted = vec![];
        for (name, made) in NAMES.iter().zip(&made) {
            let dir = store.stream_dir("$G", name);
            match made {
                Ok(()) => wanted.push(dir),
                Err(_) => failed += 1,
            }
        }
        let account = store.stream_dir("$G", "S");
        let found = disk.dirs(account.parent().unwrap()).unwrap();
        let found = found.iter().map(|name| account.with_file_name(name));
        wanted.sort();
        assert_eq!(found.collect::<Vec<_>>(), wanted, "seed {seed}");
        let again = make();
        for (first, second) in made.iter().zip(&again) {
            assert_ne!(first.is_ok(), second.is_ok(), "seed {seed}");
        }
    }
    assert!(failed > 50, "{failed}");
}

/// The sync of a removal fails, and the process ends. The next one sees the name that says so, and what
/// it removes must not be missing when the power brings the old name back.
#[test]
fn a_removal_that_the_disk_refused_takes_no_files_of_a_stream() {
    for seed in 0..200 {
        let disk = FaultyDisk::strict(seed);
        let keys = Keys::none();
        let open = || StoreDir::open(Arc::new(disk.clone()), root());
        let store = open().unwrap();
        let mut only = meta(NAMES[0], 1);
        let dir = store.create(&mut only, &keys).unwrap();
        disk.plan(2, Fault::Eio);
        assert!(store.remove(only.id, &dir).is_err());
        drop(store);
        disk.kill();
        disk.free();
        let store = open().unwrap();
        disk.plan(1 + seed % 12, Fault::Crash);
        let _ = store.streams(&keys);
        drop(store);
        disk.restart();
        let listing = open().unwrap().streams(&keys).unwrap();
        for one in listing.streams {
            assert_eq!(one.meta.unwrap().meta.id, only.id, "seed {seed}");
        }
    }
}

#[test]
fn damage_of_one_copy_costs_nothing_and_of_both_nothing_but_the_stream() {
    let disk = FaultyDisk::new(1);
    let store = StoreDir::open(Arc::new(disk.clone()), root()).unwrap();
    let dir = store.create(&mut meta("S", 7), &Keys::none()).unwrap();
    let other = store.create(&mut meta("T", 8), &Keys::none()).unwrap();
    let (a, b) = (dir.join("meta.a"), dir.join("meta.b"));
    let (whole, len) = (disk.bytes(&a), disk.bytes(&a).len());
    for bit in 0..len * 8 {
        disk.damage(&a, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let found = Meta::read(&disk, &dir, &Keys::none()).unwrap();
        assert_eq!(found.meta.config, [7; 50]);
        let damaged = found.damaged.map(|(path, _)| path);
        assert_eq!(damaged.as_deref(), Some(&*a), "bit {bit}");
        disk.put(&a, whole.clone());
    }
    disk.damage(&a, |bytes| bytes.truncate(len - 1));
    disk.damage(&b, |bytes| bytes[len / 2] ^= 1);
    let before = disk.paths();
    let listing = store.streams(&Keys::none()).unwrap();
    assert_eq!(disk.paths(), before, "nothing is removed");
    assert_eq!(listing.streams.len(), 2);
    for one in listing.streams {
        if one.dir == other {
            assert_eq!(one.meta.unwrap().meta.config, [8; 50]);
            continue;
        }
        let text = one.meta.unwrap_err().to_string();
        let parts = [
            "no copy of the metadata can be used: ",
            "meta.a: the file is too short",
            "meta.b: the checksum",
        ];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    // Without any file it is no less a stream.
    disk.take(&a);
    disk.take(&b);
    let found = Meta::read(&disk, &dir, &Keys::none());
    assert!(matches!(found, Err(MetaError::Absent(_))));
    assert_eq!(store.streams(&Keys::none()).unwrap().streams.len(), 2);
}

#[test]
fn a_newer_version_of_metadata_is_an_error_that_says_so() {
    let disk = FaultyDisk::new(1);
    let store = StoreDir::open(Arc::new(disk.clone()), root()).unwrap();
    let dir = store.create(&mut meta("S", 7), &Keys::none()).unwrap();
    disk.damage(&dir.join("meta.b"), |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..68]);
        bytes[68..72].copy_from_slice(&crc.to_le_bytes());
    });
    let text = Meta::read(&disk, &dir, &Keys::none())
        .unwrap_err()
        .to_string();
    assert!(text.contains("meta.b: written in version 2"), "{text}");
}

#[test]
fn a_stream_that_was_copied_elsewhere_is_not_taken_for_another() {
    let disk = FaultyDisk::new(1);
    let store = StoreDir::open(Arc::new(disk.clone()), root()).unwrap();
    let dir = store.create(&mut meta("S", 7), &Keys::none()).unwrap();
    let there = store.stream_dir("$G", "T");
    disk.create_dir(&there).unwrap();
    disk.put(&there.join("meta.a"), disk.bytes(&dir.join("meta.a")));
    let listing = store.streams(&Keys::none()).unwrap();
    let faults: Vec<_> = listing
        .streams
        .into_iter()
        .filter_map(|s| s.meta.err())
        .collect();
    assert!(matches!(&*faults, [MetaError::Misplaced { stream, .. }] if stream == "S"));
}

#[test]
fn sections_of_a_later_version_stay() {
    use crate::store::file::format::{Container, ContainerKind};
    let disk = FaultyDisk::new(1);
    let store = StoreDir::open(Arc::new(disk.clone()), root()).unwrap();
    let dir = store.create(&mut meta("S", 7), &Keys::none()).unwrap();
    let bytes = disk.bytes(&dir.join("meta.a"));
    let (container, sections) = Container::decode(&bytes, ContainerKind::Meta).unwrap();
    let mut out = vec![];
    let next = Container {
        generation: container.generation + 1,
        ..container
    };
    let mut writer = next.start(&mut out);
    for section in &sections {
        writer.add(section.tag, |out| out.extend_from_slice(section.bytes));
    }
    writer.add(99, |out| out.extend_from_slice(b"later"));
    writer.finish();
    disk.put(&dir.join("meta.a"), out);
    let mut found = Meta::read(&disk, &dir, &Keys::none()).unwrap().meta;
    found.config = vec![1];
    found.write(&disk, &dir).unwrap();
    let bytes = disk.bytes(&dir.join("meta.b"));
    let (_, sections) = Container::decode(&bytes, ContainerKind::Meta).unwrap();
    assert!(sections.iter().any(|s| s.tag == 99 && s.bytes == b"later"));
}

#[test]
fn any_name_has_a_directory_of_its_own() {
    let disk = Arc::new(MemoryDisk::new());
    let store = StoreDir::open(disk.clone(), root()).unwrap();
    let long = "x".repeat(255);
    let longer = "x".repeat(254) + "y";
    let names = [
        "a", "A", "con", "NUL", ".", "..", "a/b", "é", "日本", "a ", "a.", &long, &longer,
    ];
    let mut dirs: Vec<PathBuf> = vec![];
    for (n, name) in names.iter().enumerate() {
        for account in ["$G", "$g", name] {
            let mut meta = Meta::new(account, name, [n as u8; 16], vec![]);
            let dir = store.create(&mut meta, &Keys::none()).unwrap();
            let again = store.create(&mut meta.clone(), &Keys::none()).unwrap_err();
            assert!(again.to_string().contains("exists"), "{again}");
            for part in dir.strip_prefix(root()).unwrap() {
                let part = part.to_str().unwrap();
                assert!(part.len() < 100 && !part.contains(|c: char| c.is_ascii_uppercase()));
                assert!(
                    part.is_ascii() && !part.contains(['/', '\\', '.', ':', ' ']),
                    "{part}"
                );
            }
            assert!(!dirs.contains(&dir));
            dirs.push(dir);
        }
    }
    let listing = list(&*disk, root(), &Keys::none()).unwrap();
    assert_eq!(listing.streams.len(), dirs.len());
    assert!(listing.streams.iter().all(|s| s.meta.is_ok()));
    let mut meta = Meta::new("$G", &"x".repeat(2000), [0; 16], vec![]);
    let error = store.create(&mut meta, &Keys::none()).unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[test]
fn streams_come_and_go_on_this_machine() {
    let root = std::env::temp_dir().join(format!("nats-streams-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let store = StoreDir::open(Arc::new(OsDisk), &root).unwrap();
    let again = StoreDir::open(Arc::new(OsDisk), &root);
    assert!(matches!(again, Err(LogError::Locked(_))));
    let mut first = meta("S", 1);
    let dir = store.create(&mut first, &Keys::none()).unwrap();
    store.create(&mut meta("T", 2), &Keys::none()).unwrap();
    let removal = store.remove(first.id, &dir).unwrap();
    // One of that name may be made at once, and a start removes what is left of the other.
    let dir = store.create(&mut meta("S", 3), &Keys::none()).unwrap();
    drop(removal);
    let before = list(&OsDisk, &root, &Keys::none()).unwrap();
    assert_eq!((before.streams.len(), before.remains.len()), (2, 1));
    let listing = store.streams(&Keys::none()).unwrap();
    assert_eq!((listing.streams.len(), listing.remains.len()), (2, 0));
    let found = listing.streams.into_iter().find(|s| s.dir == dir).unwrap();
    assert_eq!(found.meta.unwrap().meta.config, [3; 50]);
    let after = list(&OsDisk, &root, &Keys::none()).unwrap();
    assert!(after.remains.is_empty());
    drop(store);
    std::fs::remove_dir_all(&root).unwrap();
}
