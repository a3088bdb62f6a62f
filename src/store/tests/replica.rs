//! Streams of a group: records are appended first and applied when the group has agreed, and may
//! be taken back before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faulty::{Fault, FaultyDisk};
use super::seeds::for_seeds;
use crate::base::rng::Rng;
use crate::store::LogError;
use crate::store::disk::Disk;
use crate::store::file::format::{Kind, Record};
use crate::store::file::{Draft, Handles, LogOptions, ReadBuffer};
use crate::store::memory::MemoryDisk;
use crate::store::stream::{Limits, NewMessage, Purge, StoreOptions, StreamStore};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Term, Timestamp};

pub(super) fn options() -> StoreOptions {
    let mut log = LogOptions::new(Arc::new(Handles::new(3)));
    log.segment_bytes = 2000;
    let limits = Limits {
        per_subject: 3,
        messages: 20,
        ..Limits::default()
    };
    StoreOptions { log, limits }
}

pub(super) fn stream() -> StreamId {
    StreamId::new("A", "S", [7; 16])
}

fn dir(n: usize) -> PathBuf {
    PathBuf::from(format!("/streams/{n}"))
}

pub(super) fn open(disk: &Arc<dyn Disk>, dir: &Path, commit: LogIndex) -> StreamStore {
    let id = stream();
    let place = (disk.clone(), dir);
    let opened = StreamStore::open_replica(place, id, &options(), None, commit, &mut |_| {});
    opened.unwrap().0
}

/// Sends one replica what it lacks of another's log.
fn send(from: &mut StreamStore, to: &mut StreamStore) {
    let mut buffer = ReadBuffer::default();
    loop {
        let next = to.log().last_index().next();
        let last = from.log().last_index();
        if next > last {
            return;
        }
        let mut shown = 0;
        let after = from
            .entries((next, last), 300, &mut buffer, |record| {
                shown += 1;
                to.append_entry(&draft(record)).unwrap();
            })
            .unwrap();
        assert_eq!(after.0, next.0 + shown);
    }
}

pub(super) fn draft<'a>(record: &Record<'a>) -> Draft<'a> {
    Draft {
        kind: record.kind,
        term: record.term,
        sequence: record.sequence,
        timestamp: record.timestamp,
        previous: record.previous,
        ttl_s: record.ttl_s,
        subject: record.subject,
        headers: record.headers,
        payload: record.payload,
    }
}

pub(super) fn propose(store: &mut StreamStore, rng: &mut Rng) {
    let subject = format!("s.{}", rng.below(5));
    let message = NewMessage {
        subject: subject.as_bytes(),
        headers: b"",
        payload: &[rng.below(256) as u8; 40],
        timestamp: Timestamp(1),
        ttl_s: 0,
    };
    match rng.below(12) {
        0 => {
            let first = store.state().first;
            let _ = store.delete(first).unwrap();
        }
        1 => {
            let purge = Purge {
                upto: StreamSeq(store.state().last.0),
                keep: 2,
                filter: b"s.1".to_vec(),
            };
            store.purge(&purge).unwrap();
        }
        2 => drop(store.end_work().unwrap()),
        _ => drop(store.append(&message).unwrap()),
    }
}

/// What a replica shows, its messages included.
pub(super) fn seen(store: &mut StreamStore) -> Vec<String> {
    let mut buffer = ReadBuffer::default();
    let state = store.state();
    let mut seen = vec![format!("{} {} {}", state.messages, state.first, state.last)];
    for sequence in state.first.0..=state.last.0 {
        if let Ok(stored) = store.read(StreamSeq(sequence), &mut buffer) {
            let record = stored.record;
            seen.push(format!(
                "{sequence} {:?} {:?}",
                record.subject, record.payload
            ));
        }
    }
    for n in 0..5 {
        seen.push(store.count_on(format!("s.{n}").as_bytes()).to_string());
    }
    seen
}

/// The replica with the longest log, taken out of its place.
fn longest(stores: &mut [Option<StreamStore>]) -> (usize, StreamStore) {
    let last = |n: &usize| stores[*n].as_ref().map(|s| s.log().last_index());
    let at = (0..stores.len()).max_by_key(last).unwrap();
    (at, stores[at].take().unwrap())
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let opened = (0..3).map(|n| Some(open(&disk, &dir(n), LogIndex(0))));
    let mut stores: Vec<_> = opened.collect();
    let mut commit = LogIndex(0);
    for term in 1..6 {
        let (at, mut lead) = longest(&mut stores);
        lead.set_term(Term(term));
        let before = commit;
        for _ in 0..rng.below(60) {
            propose(&mut lead, &mut rng);
            if rng.below(10) == 0 {
                lead.commit().unwrap();
            }
            if rng.below(4) == 0 {
                let other = stores.iter_mut().flatten().next().unwrap();
                send(&mut lead, other);
                commit = other.log().last_index();
            }
            if rng.below(3) == 0 {
                lead.apply_upto(commit, 1 + rng.below(20)).unwrap();
            }
        }
        let last = lead.log().last_index();
        if last > before {
            assert_eq!(lead.term_of(last).unwrap(), Term(term));
        }
        // What only the leader has may be lost with it.
        if rng.below(2) == 0 {
            lead.truncate_after(commit).unwrap();
            assert_eq!(lead.log().last_index(), commit);
        }
        stores[at] = Some(lead);
        let (at, mut from) = longest(&mut stores);
        for other in stores.iter_mut().flatten() {
            let last = other.log().last_index();
            let keep = commit.min(last).max(other.applied());
            other.truncate_after(keep).unwrap();
            send(&mut from, other);
        }
        commit = from.log().last_index();
        stores[at] = Some(from);
        let mut all = vec![];
        for store in stores.iter_mut().flatten() {
            while store.applied() < commit {
                store.apply_upto(commit, 7).unwrap();
            }
            while store.work(3) {}
            all.push(seen(store));
            let refused = store.truncate_after(LogIndex(commit.0.saturating_sub(1)));
            assert!(commit.0 == 0 || matches!(refused, Err(LogError::Applied)));
        }
        assert_eq!(all[0], all[1]);
        assert_eq!(all[0], all[2]);
        // One is opened again, with what it knew.
        let at = rng.below(3);
        let store = stores[at].as_mut().unwrap();
        match rng.below(2) {
            0 => store.close().unwrap(),
            _ => store.commit().unwrap(),
        }
        stores[at] = None;
        let mut store = open(&disk, &dir(at), commit);
        assert!(store.is_replica());
        assert_eq!(store.applied(), commit);
        while store.work(3) {}
        assert_eq!(seen(&mut store), all[0]);
        stores[at] = Some(store);
    }
}

#[test]
fn replicas_that_apply_the_same_records_show_the_same() {
    for_seeds("replicas", 60, run);
}

#[test]
fn what_is_not_applied_does_not_show_and_can_be_taken_back() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut store = open(&disk, &dir(0), LogIndex(0));
    let append = |store: &mut StreamStore, payload: &[u8]| {
        let message = NewMessage {
            subject: b"a",
            headers: b"",
            payload,
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        store.append(&message).unwrap()
    };
    store.set_term(Term(1));
    for n in 1..=5 {
        assert_eq!(append(&mut store, b"old"), (StreamSeq(n), LogIndex(n)));
    }
    store.commit().unwrap();
    assert_eq!(store.state().messages, 0);
    assert_eq!(store.visible(), StreamSeq(0));
    assert_eq!(store.apply_upto(LogIndex(2), 10).unwrap(), LogIndex(2));
    assert_eq!((store.state().messages, store.visible()), (2, StreamSeq(2)));
    assert!(matches!(
        store.truncate_after(LogIndex(1)),
        Err(LogError::Applied)
    ));
    store.truncate_after(LogIndex(3)).unwrap();
    store.set_term(Term(4));
    assert_eq!(append(&mut store, b"new"), (StreamSeq(4), LogIndex(4)));
    store.commit().unwrap();
    store.apply_upto(LogIndex(9), 10).unwrap();
    let mut buffer = ReadBuffer::default();
    let read = store.read(StreamSeq(4), &mut buffer).unwrap();
    assert_eq!(
        (read.record.payload, read.record.term),
        (&b"new"[..], Term(4))
    );
    assert_eq!(read.record.previous, StreamSeq(3));
    assert_eq!(store.term_of(LogIndex(3)).unwrap(), Term(1));
    let old = Draft {
        kind: Kind::Noop,
        term: Term(3),
        sequence: StreamSeq(4),
        timestamp: Timestamp(1),
        previous: StreamSeq(0),
        ttl_s: 0,
        subject: b"",
        headers: b"",
        payload: b"",
    };
    assert!(matches!(store.append_entry(&old), Err(LogError::Disorder)));
}

/// There was room for a new segment and none for the record that it was for: that has left its term behind,
/// and what was sent next did not follow any more.
#[test]
fn a_record_that_found_no_room_leaves_no_term() {
    let mut refused = 0;
    for call in 1..12 {
        let faulty = FaultyDisk::new(call);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let mut store = open(&disk, &dir(0), LogIndex(0));
        let entry = |sequence: u64, term: u32| Draft {
            kind: Kind::Message,
            term: Term(term),
            sequence: StreamSeq(sequence),
            timestamp: Timestamp(1),
            previous: StreamSeq(0),
            ttl_s: 0,
            subject: b"a",
            headers: b"",
            payload: &[7; 400],
        };
        for sequence in 1..=3 {
            store.append_entry(&entry(sequence, 1)).unwrap();
        }
        store.sync().unwrap();
        faulty.plan(call, Fault::Full);
        let appended = store.append_entry(&entry(4, 7));
        faulty.free();
        let Err(error) = appended else {
            continue;
        };
        assert!(matches!(error, LogError::Full), "{error}");
        refused += 1;
        assert_eq!(store.term_of(LogIndex(3)).unwrap(), Term(1));
        assert_eq!(store.log().last_term(), Term(1));
        assert_eq!(store.append_entry(&entry(4, 2)).unwrap(), LogIndex(4));
        store.sync().unwrap();
        drop(store);
        let mut store = open(&disk, &dir(0), LogIndex(0));
        assert_eq!(store.term_of(LogIndex(4)).unwrap(), Term(2));
    }
    assert!(refused > 1, "{refused}");
}
