//! What a check finds in damaged files, and that it changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faulty::FaultyDisk;
use crate::store::check::{self, Dumped, StreamReport};
use crate::store::consumer::AckPolicy;
use crate::store::crypt::Keys;
use crate::store::directory::StoreDir;
use crate::store::disk::{Disk, read_file};
use crate::store::file::{Handles, LogOptions};
use crate::store::meta::Meta;
use crate::store::stream::{CELL, Limits, NewMessage, StoreOptions, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};

const ROOT: &str = "/store";

/// A store with one stream, of more than two segments, and the stream's directory.
fn store() -> (FaultyDisk, PathBuf) {
    let disk = FaultyDisk::new(1);
    let root = StoreDir::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
    let mut meta = Meta::new("A", "ORDERS", [3; 16], b"{}".to_vec());
    let dir = root.create(&mut meta, &Keys::none()).unwrap();
    let mut log = LogOptions::new(Arc::new(Handles::new(2)));
    log.segment_bytes = 2000;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let opened = StreamStore::open(
        Arc::new(disk.clone()),
        &dir,
        meta.id,
        &options,
        None,
        &mut |_| {},
    );
    let (mut store, _) = opened.unwrap();
    store
        .create_consumer("c", b"{}", AckPolicy::Explicit, StreamSeq(0))
        .unwrap();
    for n in 0..40u8 {
        let message = NewMessage {
            subject: b"orders.new",
            headers: b"",
            payload: &[n; 60],
            timestamp: Timestamp(1_000_000_000),
            ttl_s: 0,
        };
        store.append(&message).unwrap();
    }
    store.delete(StreamSeq(5)).unwrap().unwrap();
    // Nobody asked for this one.
    let cell = format!("{CELL}source");
    store
        .create_consumer(&cell, b"", AckPolicy::None, StreamSeq(0))
        .unwrap();
    store.close().unwrap();
    (disk, dir)
}

fn files(disk: &FaultyDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter();
    let read = |path: PathBuf| {
        let bytes = read_file(disk, &path).unwrap().unwrap();
        (path, bytes)
    };
    paths.map(read).collect()
}

/// The report of the one stream; nothing is changed.
fn checked(disk: &FaultyDisk, dir: &str) -> StreamReport {
    let before = files(disk);
    let below: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut report = None;
    check::check(&below, Path::new(dir), &mut |found| {
        report = Some(StreamReport {
            dir: found.dir.clone(),
            names: found.names.clone(),
            damage: found.damage.clone(),
            notes: found.notes.clone(),
            ..*found
        });
    })
    .unwrap();
    assert!(files(disk) == before, "something was changed");
    report.unwrap()
}

#[test]
fn a_whole_stream_is_told_to_be_whole() {
    let (disk, dir) = store();
    for at in [ROOT, dir.to_str().unwrap()] {
        let report = checked(&disk, at);
        assert_eq!(report.damage, [""; 0]);
        assert_eq!(report.names, Some(("A".into(), "ORDERS".into())));
        let state = report.state.unwrap();
        assert_eq!((state.messages, state.first.0, state.last.0), (39, 1, 40));
        assert_eq!((report.records, report.consumers), (43, 1));
        assert!(report.segments > 2);
    }
}

#[test]
fn damage_is_told_by_file_and_place() {
    type Case = (&'static str, usize, &'static str);
    let cases: [Case; 6] = [
        ("0000000000000001.seg", 40, "first header: the checksum"),
        ("0000000000000001.seg", 200, "second header: the checksum"),
        (
            "0000000000000001.seg",
            400,
            "0000000000000001.seg: record 3 cannot be read",
        ),
        ("meta.a", 100, "meta.a: the checksum"),
        ("checkpoint.b", 100, "checkpoint.b: the checksum"),
        ("0000000000000001.seg", usize::MAX, "footer: the checksum"),
    ];
    for (name, at, text) in cases {
        let (disk, dir) = store();
        disk.damage(&dir.join(name), |bytes| {
            let at = at.min(bytes.len() - 10);
            bytes[at] ^= 4;
        });
        let report = checked(&disk, ROOT);
        let found = report.damage.iter().any(|line| line.contains(text));
        assert!(
            found,
            "{name} at {at}: {:?}, {:?}",
            report.damage, report.notes
        );
    }
}

#[test]
fn a_missing_segment_and_a_torn_end_are_told_apart() {
    let (disk, dir) = store();
    disk.remove(&dir.join("0000000000000002.seg")).unwrap();
    let report = checked(&disk, ROOT);
    assert!(
        report
            .damage
            .iter()
            .any(|l| l.contains("are lost, with the messages"))
    );

    let (disk, dir) = store();
    let segments = disk.paths().into_iter();
    let last = segments
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .max()
        .unwrap();
    disk.damage(&last, |bytes| bytes.extend([0xaa; 50]));
    let report = checked(&disk, dir.to_str().unwrap());
    assert_eq!(report.damage, [""; 0]);
    assert!(report.notes.iter().any(|l| l.starts_with("torn end: ")));
}

#[test]
fn a_dump_goes_on_behind_damage() {
    let (disk, dir) = store();
    let all = |disk: &FaultyDisk| {
        let below: Arc<dyn Disk> = Arc::new(disk.clone());
        let (mut records, mut lost) = (vec![], vec![]);
        check::dump(&below, &dir, &mut |dumped| match dumped {
            Dumped::Record(record) => records.push(record.index.0),
            Dumped::Lost(first, last) => lost.extend(first.0..=last.0),
        })
        .unwrap();
        (records, lost)
    };
    assert_eq!(all(&disk), ((1..=43).collect(), vec![]));
    disk.damage(&dir.join("0000000000000001.seg"), |bytes| bytes[400] ^= 1);
    let (records, lost) = all(&disk);
    assert_eq!((records.len(), lost), (42, vec![3]));
    let below: Arc<dyn Disk> = Arc::new(disk);
    check::dump(&below, Path::new(ROOT), &mut |_| {}).unwrap_err();
}
