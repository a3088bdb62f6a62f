//! A process that writes a stream is killed at any moment, again and again; what it was told to be
//! stored is there each time.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::log_faults::stream;
use crate::base::clock::mono;
use crate::base::rng::Rng;
use crate::store::disk::OsDisk;
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::stream::{Limits, NewMessage, StoreOptions, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};

/// Names the directory to a test that is run as the process which writes.
const DIR: &str = "STORE_KILL_DIR";

const ROUNDS: usize = 12;

fn open(dir: &Path) -> StreamStore {
    let mut log = LogOptions::new(Arc::new(Handles::new(100)));
    log.segment_bytes = 50_000;
    let options = StoreOptions {
        log,
        limits: Limits::default(),
    };
    let opened = StreamStore::open(Arc::new(OsDisk), dir, stream(), &options, None, &mut |_| {});
    let (store, opened) = opened.expect("whatever the last one left can be opened");
    assert!(opened.log.is_sound(), "{opened:?}");
    store
}

/// What the message with this sequence says.
fn payload(sequence: u64) -> Vec<u8> {
    let len = usize::try_from(sequence * 7919 % 3000).unwrap();
    sequence.to_le_bytes().repeat(len / 8 + 1)
}

/// Writes and tells what is stored, until it is killed.
#[test]
#[ignore = "it is the process that another test starts and kills"]
fn writer() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("another test starts this one"));
    let mut store = open(&dir);
    let mut rng = Rng::new(store.state().last.0);
    println!("\nopen {}", store.state().last);
    loop {
        for _ in 0..1 + rng.below(20) {
            let payload = payload(store.state().last.next().0);
            let message = NewMessage {
                subject: b"a.b",
                headers: b"",
                payload: &payload,
                timestamp: Timestamp(1),
                ttl_s: 0,
            };
            store.append(&message).unwrap();
        }
        store.commit().unwrap();
        while let Some(job) = store.poll_job(mono()) {
            let done = job.run();
            store.handle_done(done).unwrap();
        }
        println!("stored {}", store.visible());
    }
}

#[test]
fn what_a_killed_process_has_stored_is_there() {
    let dir = std::env::temp_dir().join(format!("nats-store-kill-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut rng = Rng::new(1);
    for round in 0..ROUNDS {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args([
                "--exact",
                "store::tests::kill::writer",
                "--ignored",
                "--nocapture",
            ])
            .env(DIR, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        let mut stored = 0;
        let stop_after = 1 + rng.below(60);
        let mut told = 0;
        while let Some(Ok(line)) = lines.next() {
            if line.starts_with("stored ") {
                stored = number(&line).unwrap();
                told += 1;
            }
            if told == stop_after {
                child.kill().unwrap();
                break;
            }
        }
        // It went on until the signal came.
        let rest = lines
            .map_while(Result::ok)
            .filter(|l| l.starts_with("stored "));
        stored = rest.filter_map(|l| number(&l)).fold(stored, u64::max);
        child.wait().unwrap();
        assert_eq!(told, stop_after, "round {round}: the writer went by itself");

        let mut store = open(&dir);
        let state = store.state();
        assert!(
            state.last.0 >= stored && stored > 0,
            "{} of {stored}",
            state.last
        );
        assert_eq!(state.messages, state.last.0);
        let mut buffer = ReadBuffer::default();
        for sequence in 1..=state.last.0 {
            let read = store.read(StreamSeq(sequence), &mut buffer).unwrap();
            assert!(read.record.payload == payload(sequence), "{sequence}");
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
