//! A file system that is really full: each call that needs room says so, nothing that was stored is
//! harmed, and all goes on when there is room again. It is a small one in memory, in a namespace of its own
//! and gone with it; where that may not be made, the test says so and is passed over.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::log_faults::stream;
use crate::base::clock::mono;
use crate::store::LogError;
use crate::store::disk::{Disk, OsDisk};
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::reserve::Reserve;
use crate::store::stream::{Limits, NewMessage, Purge, StoreOptions, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};

/// Names the directory to a test that is run as a process of its own.
const DIR: &str = "STORE_FULL_DIR";

fn open(dir: &Path) -> StreamStore {
    open_with(dir, None)
}

fn open_with(dir: &Path, reserve: Option<Arc<Reserve>>) -> StreamStore {
    let mut log = LogOptions::new(Arc::new(Handles::new(100)));
    log.segment_bytes = 256 << 10;
    log.reserve = reserve;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let opened = StreamStore::open(Arc::new(OsDisk), dir, stream(), &options, None, &mut |_| {});
    let (store, opened) = opened.unwrap();
    assert!(opened.log.is_sound(), "{opened:?}");
    store
}

fn payload(sequence: u64) -> Vec<u8> {
    sequence.to_le_bytes().repeat(25)
}

/// Appends and stores messages until there is no room; gives how many.
fn fill(store: &mut StreamStore) -> u64 {
    for n in 0.. {
        let payload = payload(store.state().last.next().0);
        let message = NewMessage {
            subject: b"a.b",
            headers: b"",
            payload: &payload,
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        match store.append(&message) {
            Ok(_) => {}
            Err(LogError::Full) => return n,
            Err(error) => panic!("{error}"),
        }
        if n % 10 == 0 {
            jobs(store);
        }
    }
    unreachable!("it has four megabytes");
}

fn jobs(store: &mut StreamStore) {
    match store.commit() {
        Ok(()) | Err(LogError::Full) => {}
        Err(error) => panic!("{error}"),
    }
    while let Some(job) = store.poll_job(mono()) {
        // What a checkpoint has no room for is tried again.
        if store.handle_done(job.run()).is_err() {
            break;
        }
    }
}

fn check(store: &mut StreamStore) {
    assert_eq!(store.log().failure(), None);
    jobs(store);
    assert_eq!(store.acknowledged(), store.log().last_index());
    let state = store.state();
    let mut buffer = ReadBuffer::default();
    for sequence in state.first.0..=state.last.0 {
        let stored = store.read(StreamSeq(sequence), &mut buffer).unwrap();
        assert!(stored.record.payload == payload(sequence));
    }
}

#[test]
#[ignore = "it is the process that another test starts, on a file system of its own"]
fn filler() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("another test starts this one"));
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let home = dir.join("s");
    let mut store = open(&home);
    // Whoever was never closed has no checkpoint, and none to make room for another one.
    for _ in 0..2 {
        store.skip_to(store.state().last.next()).unwrap();
        store.close().unwrap();
    }
    let many = fill(&mut store);
    assert!(many > 1000, "{many}");
    // Not once: each call says so, and reading goes on.
    for _ in 0..20 {
        assert_eq!(fill(&mut store), 0);
    }
    check(&mut store);
    // Somebody else makes room.
    std::fs::remove_file(&ballast).unwrap();
    let more = fill(&mut store);
    assert!(more > 1000, "{more}");
    check(&mut store);
    drop(store);
    // It is opened while it is full, and makes room of its own.
    let mut store = open(&home);
    assert_eq!(store.state().messages, many + more);
    check(&mut store);
    let purge = Purge {
        upto: StreamSeq(many),
        ..Purge::default()
    };
    store.purge(&purge).unwrap();
    while store.work(1000) {}
    jobs(&mut store);
    let again = fill(&mut store);
    assert!(again > 1000, "{again}");
    check(&mut store);
    println!("filled {many} {more} {again}");
}

#[test]
#[ignore = "it is the process that another test starts, on a file system of its own"]
fn last_byte() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("another test starts this one"));
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let reserve = Arc::new(Reserve::new(disk, dir.join("reserve"), 128 << 10));
    assert!(reserve.hold());
    let mut store = open_with(&dir.join("s"), Some(reserve.clone()));
    let many = fill(&mut store);
    assert!(many > 1000, "{many}");
    // What orders get is used up, and all that files can get.
    let mut ballast = std::fs::File::create(dir.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[1; 512]).is_ok() {}
    let mut skipped = 0;
    loop {
        match store.skip_to(store.last().next()) {
            Ok(_) => skipped += 1,
            Err(LogError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    jobs(&mut store);
    assert_eq!(fill(&mut store), 0);
    // A few orders that free nothing leave enough for one that does.
    for sequence in 1..=20 {
        store.delete(StreamSeq(sequence)).unwrap().unwrap();
        jobs(&mut store);
    }
    let purge = Purge {
        upto: StreamSeq(many - 100),
        ..Purge::default()
    };
    store.purge(&purge).unwrap();
    while store.work(1000) {}
    jobs(&mut store);
    assert_eq!(store.log().failure(), None);
    assert_eq!(store.state().messages, 100);
    assert!(reserve.hold(), "it is taken again");
    let again = fill(&mut store);
    assert!(again > 1000, "{again}");
    jobs(&mut store);
    // And without a checkpoint of its own, when it is opened anew while the disk is full.
    while std::io::Write::write_all(&mut ballast, &[1; 512]).is_ok() {}
    drop(store);
    let mut store = open_with(&dir.join("s"), Some(reserve));
    assert_eq!(store.state().messages, 100 + again);
    store.purge(&Purge::default()).unwrap();
    let all = Purge {
        upto: store.last(),
        ..Purge::default()
    };
    store.purge(&all).unwrap();
    while store.work(1000) {}
    jobs(&mut store);
    assert_eq!(store.state().messages, 0);
    assert!(fill(&mut store) > 1000);
    println!("filled {many} {skipped} {again}");
}

#[test]
fn what_makes_room_has_some_on_a_disk_that_is_full_to_the_last_byte() {
    on_small_disk("last_byte");
}

#[test]
fn a_full_file_system_is_an_error_of_the_call_and_passes() {
    on_small_disk("filler");
}

/// Runs a test as a process of its own, on a file system of four megabytes.
fn on_small_disk(test: &str) {
    let dir = std::env::temp_dir().join(format!("nats-store-full-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$STORE_FULL_DIR\" || exit 77; exec \"$@\"";
    let run = |options: &str| {
        let mut command = Command::new("unshare");
        command.arg(options).args(["sh", "-c", script, "sh"]);
        command.arg(&program).args([
            "--exact",
            &format!("store::tests::full_disk::{test}"),
            "--ignored",
            "--nocapture",
        ]);
        command.env(DIR, &dir).output()
    };
    let is_refused = |output: &std::io::Result<std::process::Output>| match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            output.status.code() == Some(77) || text.contains("unshare:")
        }
        Err(_) => true,
    };
    // As root, or as root of a namespace of users where anybody may make one.
    let mut output = run("-m");
    if is_refused(&output) {
        output = run("-rm");
    }
    let _ = std::fs::remove_dir_all(&dir);
    if is_refused(&output) {
        eprintln!("SKIPPED: no file system may be mounted here");
        return;
    }
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?}\n{text}\n{errors}",
        output.status
    );
    assert!(text.contains("filled"), "{text}");
}
