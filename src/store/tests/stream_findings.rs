//! What runs against the [model](super::stream_model), mutated files and readers have found in the stream's
//! store: for each finding a test with the few orders that it takes.

use std::path::Path;
use std::sync::Arc;

use super::faulty::{Fault, FaultyDisk};
use super::plain_stream::SECOND;
use super::stream_model::Run;
use crate::base::clock::Mono;
use crate::store::LogError;
use crate::store::stream::{Job, Limits, NewMessage, Purge};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// Found by mutated files: a lost message that the index still counted was the first of its subject
/// for ever, and a lowered limit never came to an end.
#[test]
fn limits_of_subjects_with_lost_messages_come_to_an_end() {
    let disk = FaultyDisk::new(1);
    let mut run = Run::new(
        1,
        Arc::new(disk.clone()),
        Path::new("/streams/s").to_owned(),
    );
    run.options.log.segment_bytes = 1500;
    run.options.limits = Limits::default();
    run.open(None).unwrap();
    let message = NewMessage {
        subject: b"a",
        headers: b"",
        payload: &[1; 100],
        timestamp: Timestamp(1),
        ttl_s: 0,
    };
    for _ in 0..40 {
        run.store().append(&message).unwrap();
    }
    run.store().close().unwrap();
    // The disk loses a record under the open stream, and its neighbour goes the usual way.
    let first = disk
        .paths()
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "seg"));
    disk.damage(&first.unwrap(), |bytes| bytes[256 + 100] ^= 1);
    let limits = Limits {
        per_subject: 5,
        ..Limits::default()
    };
    run.store().set_limits(&limits).unwrap();
    let mut rounds = 0;
    while run.store().work(10) {
        rounds += 1;
        assert!(rounds < 100);
    }
    let state = run.store().state();
    assert_eq!((state.messages, state.lost), (5, 1));
    assert_eq!(run.store().count_on(b"a"), 5);
}

/// The sync of a checkpoint's name fails, and the process ends. To the next one the checkpoint looks right, but
/// the power takes it, and what the older one counts must be there still.
#[test]
fn segments_stay_until_a_checkpoint_of_this_life_is_on_the_disk() {
    for seed in 0..8 {
        let disk = FaultyDisk::new(seed);
        let mut run = Run::new(
            seed,
            Arc::new(disk.clone()),
            Path::new("/streams/s").to_owned(),
        );
        run.options.log.segment_bytes = 1500;
        run.options.limits = Limits::default();
        // Without changes of ciphers, which make segments.
        run.seed = 0;
        run.open(None).unwrap();
        let segments = || {
            let paths = disk.paths().into_iter();
            paths
                .filter(|p| p.extension().is_some_and(|e| e == "seg"))
                .count()
        };
        let message = NewMessage {
            subject: b"a",
            headers: b"",
            payload: &[1; 100],
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        for _ in 0..40 {
            run.store().append(&message).unwrap();
        }
        run.store().close().unwrap();
        let purge = Purge {
            upto: StreamSeq(30),
            keep: 0,
            filter: vec![],
        };
        run.store().purge(&purge).unwrap();
        run.settle();
        run.store().sync().unwrap();
        let all = segments();
        let job = run.store().poll_job(Mono::ZERO).unwrap();
        assert!(matches!(job, Job::Checkpoint(_)));
        // It is made, and gets its name, and the sync of that fails.
        disk.plan(6, Fault::Eio);
        run.store().handle_done(job.run()).unwrap_err();
        disk.kill();
        run.store = None;
        let opened = run.open(None).unwrap();
        assert_eq!(opened.replayed, 0, "the checkpoint looks right");
        assert_eq!(segments(), all);

        disk.restart();
        run.store = None;
        run.open(None).unwrap();
        let is_right = |run: &mut Run| {
            let state = run.store().state();
            assert_eq!((state.messages, state.first.0, state.lost), (10, 31, 0));
            assert_eq!(run.store().count_on(b"a"), 10);
        };
        is_right(&mut run);

        // Whichever was loaded, the next one is written and synced now, and they may go.
        run.store().close().unwrap();
        assert!(segments() < all);
        is_right(&mut run);
        run.store = None;
        disk.restart();
        run.open(None).unwrap();
        is_right(&mut run);
    }
}

/// A checkpoint fails at some step, and the process ends. The next process takes what it finds for the
/// newest copy; while it writes another one, the power goes at some step.
#[test]
fn a_checkpoint_never_takes_the_place_of_the_only_good_copy() {
    for seed in 0..1500 {
        let (fails, crashes) = (1 + seed % 7, 1 + seed / 7 % 7);
        let disk = FaultyDisk::new(seed);
        let dir = Path::new("/streams/s").to_owned();
        let mut run = Run::new(0, Arc::new(disk.clone()), dir);
        run.options.limits = Limits::default();
        run.open(None).unwrap();
        let message = NewMessage {
            subject: b"a",
            headers: b"",
            payload: &[1; 100],
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        for _ in 0..2 {
            run.store().append(&message).unwrap();
            run.store().close().unwrap();
        }
        for fault in [(fails, Fault::Eio), (crashes, Fault::Crash)] {
            run.store().append(&message).unwrap();
            run.store().sync().unwrap();
            disk.plan(fault.0, fault.1);
            let _ = run.store().close();
            match fault.1 {
                Fault::Crash => disk.restart(),
                _ => disk.kill(),
            }
            run.store = None;
            let opened = run.open(None).unwrap();
            assert!(!opened.rebuilt, "a copy is whole: {seed}");
        }
        assert_eq!(run.store().state().messages, 4);
    }
}

/// Found by a seeded run: messages whose time had come could not be removed for want of room, and a
/// checkpoint was written meanwhile. After a crash nobody knew any more that they were to go.
#[test]
fn what_had_no_room_to_expire_does_after_a_crash() {
    let disk = FaultyDisk::new(1);
    let dir = Path::new("/streams/s").to_owned();
    let mut run = Run::new(0, Arc::new(disk.clone()), dir);
    run.options.limits = Limits::default();
    run.options.log.segment_bytes = 30_000;
    run.open(None).unwrap();
    let message = NewMessage {
        subject: b"a",
        headers: b"",
        payload: &[1; 100],
        timestamp: Timestamp(SECOND),
        ttl_s: 2,
    };
    let short = NewMessage {
        ttl_s: 0,
        payload: b"",
        ..message
    };
    for _ in 0..4000 {
        run.store().append(&message).unwrap();
        run.store().append(&short).unwrap();
    }
    disk.plan(1, Fault::Full);
    // The rest of the room that the file has is used up.
    let error = loop {
        if let Err(error) = run.store().append(&short) {
            break error;
        }
    };
    assert!(matches!(error, LogError::Full), "{error}");
    let now = Timestamp(10 * SECOND);
    let refused = run.store().expire(now);
    assert!(matches!(refused, Err(LogError::Full)), "{refused:?}");
    disk.free();
    run.store().close().unwrap();
    disk.restart();
    run.store = None;
    run.open(None).unwrap();
    let gone = run.store().expire(now).unwrap().messages;
    assert_eq!(gone[..3], [1, 3, 5].map(StreamSeq));
}

/// Found by a seeded run: what is too much altogether was removed in parts, while a message came that took
/// a large one's place. A replay, where the large one went first, removed less.
#[test]
fn limits_remove_the_same_in_a_replay() {
    for parts in 0..12 {
        let disk = FaultyDisk::new(1);
        let dir = Path::new("/streams/s").to_owned();
        let mut run = Run::new(0, Arc::new(disk.clone()), dir);
        run.options.limits = Limits::default();
        run.open(None).unwrap();
        let message = |subject: &'static str, payload: &'static [u8]| NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload,
            timestamp: Timestamp(SECOND),
            ttl_s: 0,
        };
        for subject in ["a", "b", "c", "d", "e"] {
            run.store().append(&message(subject, &[1; 100])).unwrap();
        }
        run.store().append(&message("s", &[2; 4800])).unwrap();
        let limits = Limits {
            bytes: 5000,
            per_subject: 1,
            ..Limits::default()
        };
        run.store().set_limits(&limits).unwrap();
        for _ in 0..parts {
            run.store().work(1);
        }
        let left = run.store().state().messages;
        run.store().append(&message("s", b"small")).unwrap();
        while run.store().work(1) {}
        run.store().sync().unwrap();
        let before = run.store().state();
        // The large one had room for itself and one more: what had gone for its sake by then stays gone.
        assert_eq!(before.messages, left.max(2), "{parts}");
        run.store = None;
        disk.kill();
        run.open(None).unwrap();
        assert_eq!(run.store().state(), before, "{parts}");
    }
}

/// Found by a seeded run: a deletion waits for lowered limits, which remove the message that it is about. There is
/// nothing to delete then, but the work is done, and recorded as that.
#[test]
fn a_deletion_that_comes_too_late_has_done_the_work() {
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let dir = Path::new("/streams/s").to_owned();
        let mut run = Run::new(0, Arc::new(disk.clone()), dir);
        run.options.limits = Limits::default();
        run.open(None).unwrap();
        let append = |run: &mut Run, subject: &str, payload: &[u8]| {
            let message = NewMessage {
                subject: subject.as_bytes(),
                headers: b"",
                payload,
                timestamp: Timestamp(SECOND),
                ttl_s: 0,
            };
            run.store().append(&message).unwrap();
        };
        for subject in ["a", "b", "c", "d", "e"] {
            append(&mut run, subject, &[1; 100]);
        }
        // The newest but one takes all the room.
        append(&mut run, "s", &[2; 20_000]);
        append(&mut run, "t", &[3; 100]);
        let limits = Limits {
            bytes: 5000,
            per_subject: 1,
            ..Limits::default()
        };
        assert_eq!(run.store().set_limits(&limits).unwrap(), LogIndex(8));
        run.store().sync().unwrap();
        assert_eq!(run.store().delete(StreamSeq(3)).unwrap(), None);
        assert!(!run.store().has_work());
        assert_eq!(run.store().log().last_index(), LogIndex(10));
        let state = run.store().state();
        assert_eq!((state.messages, state.first), (1, StreamSeq(7)));
        // Had it come before the end of the work, the large one had gone for its subject's sake, and no other.
        append(&mut run, "s", b"small");
        run.store().commit().unwrap();
        disk.restart();
        run.store = None;
        let last = run.open(None).unwrap().last.0;
        let state = run.store().state();
        let messages = 1 + u64::from(last > 10);
        assert_eq!((state.messages, state.first), (messages, StreamSeq(7)));
    }
}

/// A stream's log is read again after its limits were changed: what the first ones did is as it was. With the
/// last ones from the beginning on, messages came back, or others went.
#[test]
fn a_replay_goes_by_the_limits_of_the_time() {
    let most = |messages| Limits {
        messages,
        ..Limits::default()
    };
    for (old, new) in [(10, 50), (0, 10), (10, 0), (50, 10)] {
        let disk = FaultyDisk::new(1);
        let dir = Path::new("/streams/s").to_owned();
        let mut run = Run::new(0, Arc::new(disk.clone()), dir);
        run.options.limits = most(3);
        // A new stream that comes to nothing has those of the next time, whatever a checkpoint says.
        run.open(None).unwrap();
        run.store().close().unwrap();
        run.store = None;
        run.options.limits = most(old);
        run.open(None).unwrap();
        assert_eq!(run.store().log().last_index(), LogIndex(0));
        for _ in 0..100 {
            let message = NewMessage {
                subject: b"a",
                headers: b"",
                payload: b"x",
                timestamp: Timestamp(SECOND),
                ttl_s: 0,
            };
            run.store().append(&message).unwrap();
        }
        run.store().delete(StreamSeq(95)).unwrap().unwrap();
        run.store().sync().unwrap();
        let first = run.store().state();
        run.store().set_limits(&most(new)).unwrap();
        while run.store().work(1) {}
        run.store().sync().unwrap();
        let last = run.store().state();
        assert!(last.messages <= first.messages && last.first >= first.first);
        for limits in [most(old), most(new), most(3)] {
            run.store = None;
            run.options.limits = limits;
            let opened = run.open(None).unwrap();
            assert!(opened.replayed > 100, "no checkpoint");
            assert_eq!(run.store().state(), last, "{old} {new}");
            assert_eq!(run.store().limits(), most(new));
        }
    }
}
