//! Segments of both versions: those of before are read, appended to, erased in, and written anew as what
//! there is now; and what records of the newer version take.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crypt::key_at;
use super::faulty::FaultyDisk;
use super::log_faults::{dir, stream};
use super::seeds::for_seeds;
use crate::base::clock::Mono;
use crate::store::file::format::{FIRST_RECORD, Footer, Kind, Records, SegmentHeader, u32_at};
use crate::store::file::{
    Changes, Draft, Handles, Known, Log, LogOptions, ReadBuffer, Recovery, Rewritten,
};
use crate::store::types::{LogIndex, StreamSeq, Term, Timestamp};

/// The version of segments that are begun when a log is opened for the nth time: some begin with that of
/// before.
pub(super) fn records_at(seed: u64, opening: u64) -> Records {
    let until = [0, 0, 1, 3][(seed / 3) as usize % 4];
    match opening < until {
        true => Records::Wide,
        false => Records::Compact,
    }
}

fn options(records: Records) -> LogOptions {
    let mut options = LogOptions::new(Arc::new(Handles::new(2)));
    options.segment_bytes = 4000;
    options.records = records;
    options
}

fn open(disk: &FaultyDisk, options: &LogOptions) -> (Log, Recovery) {
    let (disk, known) = (Arc::new(disk.clone()), Known::default());
    Log::open(disk, &dir(), stream(), options.clone(), known, &mut |_| {}).unwrap()
}

fn payload(sequence: u64) -> Vec<u8> {
    let len = (sequence % 7) as usize;
    format!("{sequence}-{}", "x".repeat(len)).into_bytes()
}

fn previous(sequence: u64) -> StreamSeq {
    StreamSeq(if sequence.is_multiple_of(3) {
        sequence - 2
    } else {
        0
    })
}

fn append(log: &mut Log, sequence: u64) {
    let draft = Draft {
        kind: Kind::Message,
        term: Term(0),
        sequence: StreamSeq(sequence),
        timestamp: Timestamp(sequence),
        previous: previous(sequence),
        ttl_s: 0,
        subject: b"orders",
        headers: b"",
        payload: &payload(sequence),
    };
    log.append(&draft).unwrap();
}

fn check(log: &mut Log, upto: u64) {
    let mut buffer = ReadBuffer::default();
    for sequence in 1..=upto {
        let stored = log.read_message(StreamSeq(sequence), &mut buffer);
        let record = stored.unwrap().record;
        assert_eq!(record.payload, payload(sequence));
        assert_eq!(record.index, LogIndex(sequence));
        assert_eq!(record.previous, previous(sequence));
        assert_eq!(record.timestamp, Timestamp(sequence));
    }
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let is_segment = |p: &PathBuf| p.extension().is_some_and(|e| e == "seg");
    disk.paths().into_iter().filter(is_segment).collect()
}

/// What the segments' headers say, and their footers where there are.
fn versions(disk: &FaultyDisk) -> Vec<Records> {
    let version = |path: PathBuf| {
        let bytes = disk.bytes(&path);
        let header = SegmentHeader::decode(&bytes).unwrap();
        if let Ok(footer) = Footer::decode(&bytes, bytes.len() as u64) {
            assert_eq!(footer.header, header);
        }
        header.records
    };
    segments(disk).into_iter().map(version).collect()
}

fn rewrite(log: &mut Log, number: u64) {
    let job = log.rewrite(number, number, Changes::default());
    let done = log.handle_rewritten(job.unwrap().unwrap().run());
    assert!(matches!(done, Rewritten::Done(..)), "{done:?}");
}

#[test]
fn a_segment_of_before_goes_on_until_it_is_full_and_is_written_anew_as_a_newer_one() {
    use Records::{Compact, Wide};
    let disk = FaultyDisk::new(1);
    let (mut log, _) = open(&disk, &options(Wide));
    (1..=50).for_each(|n| append(&mut log, n));
    log.sync().unwrap();
    drop(log);
    assert_eq!(versions(&disk), [Wide]);
    let (mut log, report) = open(&disk, &options(Compact));
    assert!(report.is_sound(), "{report:?}");
    check(&mut log, 50);
    (51..=200).for_each(|n| append(&mut log, n));
    log.sync().unwrap();
    check(&mut log, 200);
    assert_eq!(versions(&disk), [Wide, Compact, Compact]);
    let in_first = log.span(1).unwrap().last.0;
    assert!((60..150).contains(&in_first), "{in_first}");
    drop(log);
    // Without its footer it is read as what it is, too.
    let first = segments(&disk)[0].clone();
    let len = disk.bytes(&first).len();
    disk.damage(&first, |bytes| bytes[len - 256..].fill(0));
    let (mut log, report) = open(&disk, &options(Compact));
    assert!(report.is_sound(), "{report:?}");
    check(&mut log, 200);
    rewrite(&mut log, 1);
    rewrite(&mut log, 2);
    check(&mut log, 200);
    assert_eq!(versions(&disk), [Compact; 3]);
    assert!(disk.bytes(&first).len() + 6 * 60 < len, "it takes less");
    drop(log);
    let (mut log, report) = open(&disk, &options(Compact));
    assert!(report.is_sound(), "{report:?}");
    check(&mut log, 200);
}

/// Both copies of a header are damaged, and it is made again: of which version, the records tell.
#[test]
fn a_header_of_either_version_is_made_again() {
    for_seeds("headers of both versions", 40, |seed| {
        let disk = FaultyDisk::new(seed);
        let versions_then = [
            [Records::Wide, Records::Wide],
            [Records::Compact, Records::Compact],
            [Records::Wide, Records::Compact],
            [Records::Compact, Records::Wide],
        ][seed as usize % 4];
        let mut last = 0;
        for (n, records) in versions_then.into_iter().enumerate() {
            let mut options = options(records);
            options.key = key_at(seed / 4, n as u64);
            let (mut log, _) = open(&disk, &options);
            (last + 1..=last + 120).for_each(|n| append(&mut log, n));
            last += 120;
            log.sync().unwrap();
        }
        let before = versions(&disk);
        assert!(before.len() > 2);
        for path in segments(&disk) {
            // Of the footer, too, or that says it.
            disk.damage(&path, |bytes| {
                let len = bytes.len();
                bytes[..FIRST_RECORD as usize].fill(0xee);
                bytes[len - 256..].fill(0);
            });
        }
        let mut options = options(Records::Compact);
        options.key = key_at(seed / 4, 1);
        let (mut log, report) = open(&disk, &options);
        assert!(report.is_sound(), "{report:?}");
        check(&mut log, last);
        assert_eq!(versions(&disk), before);
    });
}

/// What the records take that one file has.
fn taken(disk: &FaultyDisk, path: &Path) -> Vec<usize> {
    let bytes = disk.bytes(path);
    let mut at = FIRST_RECORD as usize;
    let mut all = vec![];
    while let Some(len) = u32_at(&bytes, at).filter(|len| *len > 0) {
        all.push(len as usize);
        at += len as usize;
    }
    all
}

#[test]
fn what_was_durable_is_told_once_and_again_after_some_records() {
    let disk = FaultyDisk::new(1);
    let (mut log, _) = open(&disk, &options(Records::Compact));
    let batch = |log: &mut Log, upto: u64| {
        let from = log.last_sequence().0 + 1;
        (from..=upto).for_each(|n| append(log, n));
        log.commit().unwrap();
        while let Some(job) = log.poll_sync(Mono::ZERO) {
            log.handle_synced(job.run());
        }
    };
    batch(&mut log, 10);
    batch(&mut log, 30);
    batch(&mut log, 31);
    batch(&mut log, 32);
    let heads = |disk: &FaultyDisk| -> Vec<usize> {
        let taken = taken(disk, &segments(disk)[0]);
        let contents = |(n, len): (usize, usize)| {
            let sequence = n as u64 + 1;
            let field = if previous(sequence).0 > 0 { 4 } else { 0 };
            len - field - b"orders".len() - payload(sequence).len()
        };
        taken.into_iter().enumerate().map(contents).collect()
    };
    let expected = |claims: &[u64], upto: u64| -> Vec<usize> {
        let head = |n: u64| if claims.contains(&n) { 26 } else { 22 };
        (1..=upto).map(head).collect()
    };
    // Nothing was durable when the first ones were appended.
    assert_eq!(heads(&disk), expected(&[11, 15, 19, 23, 27, 31, 32], 32));
    drop(log);
    let (mut log, _) = open(&disk, &options(Records::Compact));
    batch(&mut log, 50);
    assert_eq!(
        heads(&disk),
        expected(&[11, 15, 19, 23, 27, 31, 32, 33, 37, 41, 45, 49], 50)
    );
    // Those that stay when the end is cut off tell what they told.
    log.truncate_after(LogIndex(40)).unwrap();
    assert_eq!(
        heads(&disk),
        expected(&[11, 15, 19, 23, 27, 31, 32, 33, 37], 40)
    );
    check(&mut log, 40);
}

/// A configuration, a consumer and the like stand among messages, which keep their small heads.
#[test]
fn some_records_that_are_no_messages_cost_those_behind_them_nothing() {
    let disk = FaultyDisk::new(1);
    let mut options = options(Records::Compact);
    options.segment_bytes = 20_000;
    let (mut log, _) = open(&disk, &options);
    for n in 1..=9 {
        let draft = Draft {
            kind: Kind::Config,
            term: Term(0),
            sequence: StreamSeq(n - 1),
            timestamp: Timestamp(0),
            previous: StreamSeq(0),
            ttl_s: 0,
            subject: b"",
            headers: b"",
            payload: b"",
        };
        log.append(&draft).unwrap();
        let draft = Draft {
            kind: Kind::Message,
            sequence: StreamSeq(n),
            ..draft
        };
        log.append(&draft).unwrap();
    }
    log.commit().unwrap();
    let heads = [[22; 14].as_slice(), &[26; 4]].concat();
    assert_eq!(taken(&disk, &segments(&disk)[0]), heads);
    let mut buffer = ReadBuffer::default();
    for n in 1..=9 {
        let stored = log.read_message(StreamSeq(n), &mut buffer).unwrap();
        assert_eq!(stored.record.index, LogIndex(2 * n));
    }
}

fn footer(disk: &FaultyDisk, at: usize) -> Footer {
    let bytes = disk.bytes(&segments(disk)[at]);
    Footer::decode(&bytes, bytes.len() as u64).unwrap()
}

/// A segment that begins with orders needs no table of sequences, in version 2.
#[test]
fn orders_at_the_front_of_a_segment_need_no_table() {
    for records in [Records::Compact, Records::Wide] {
        let disk = FaultyDisk::new(1);
        let (mut log, _) = open(&disk, &options(records));
        for _ in 0..2 {
            let draft = Draft {
                kind: Kind::Config,
                term: Term(0),
                sequence: StreamSeq(0),
                timestamp: Timestamp(0),
                previous: StreamSeq(0),
                ttl_s: 0,
                subject: b"",
                headers: b"",
                payload: b"",
            };
            log.append(&draft).unwrap();
        }
        (1..=400).for_each(|n| append(&mut log, n));
        log.sync().unwrap();
        let check = |log: &mut Log| {
            let mut buffer = ReadBuffer::default();
            for n in 1..=400 {
                let found = log.index_of(StreamSeq(n)).unwrap();
                assert_eq!(found, (LogIndex(n + 2), false));
                let stored = log.read_message(StreamSeq(n), &mut buffer).unwrap();
                assert_eq!(stored.record.index, LogIndex(n + 2));
                assert_eq!(stored.record.payload, payload(n));
            }
            let first = log.read(LogIndex(2), &mut buffer).unwrap().record;
            assert_eq!((first.kind, first.sequence), (Kind::Config, StreamSeq(0)));
            let found = log.find(StreamSeq(1), |r| r.kind == Kind::Message, &mut buffer);
            assert_eq!(found, Some(StreamSeq(1)));
        };
        let check_footers = |second: bool| {
            let shown = [0, 1]
                .map(|n| footer(&disk, n))
                .map(|f| (f.sequences_at == 0, f.front));
            let first = match records {
                Records::Compact => (true, 2),
                Records::Wide => (false, 0),
            };
            assert_eq!(shown[0], first);
            if second {
                assert_eq!(shown[1], (true, 0));
            }
        };
        check(&mut log);
        check_footers(true);
        rewrite(&mut log, 1);
        check(&mut log);
        check_footers(true);
        // Two segments in one.
        let job = log.rewrite(1, 2, Changes::default());
        let done = log.handle_rewritten(job.unwrap().unwrap().run());
        assert!(matches!(done, Rewritten::Done(..)), "{done:?}");
        check(&mut log);
        check_footers(false);
        drop(log);
        let (mut log, report) = open(&disk, &options(records));
        assert!(report.is_sound(), "{report:?}");
        check(&mut log);
        drop(log);
        for path in segments(&disk) {
            disk.damage(&path, |bytes| {
                let len = bytes.len();
                bytes[len - 256..].fill(0);
            });
        }
        let (mut log, report) = open(&disk, &options(records));
        assert!(report.is_sound(), "{report:?}");
        check(&mut log);
        drop(log);
        check_footers(false);
    }
}
