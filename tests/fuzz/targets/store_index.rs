//! Indexes of streams: what is read from any bytes is consistent and is written the same again, and
//! subjects come and go as they do in a map.
//!
//! The first byte of an input tells which of these.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use nats_server::store::index::varint::Reader;
use nats_server::store::index::{
    Block, Builder, Cursor, ExpiryWheel, Filters, LogIndex, SequenceSet, StreamSeq, SubjectIndex,
    Sweep, Timestamp, encode_block,
};
use nats_server::subject::pattern;

fuzz_target!(|data: &[u8]| {
    let Some((what, data)) = data.split_first() else {
        return;
    };
    match what % 4 {
        0 => block(data),
        1 => set(data),
        2 => wheel(data),
        _ => subjects(data),
    }
});

/// What is read from `data` as one block is the same after it was written and read again.
fn block(data: &[u8]) {
    let Some(index) = loaded(&[data.to_vec()]) else {
        return;
    };
    index.check_invariants();
    for len in [1, 100, usize::MAX] {
        let blocks = written(&index, len);
        let again = loaded(&blocks).expect("it was written");
        assert_eq!(written(&again, len), blocks);
    }
}

fn loaded(blocks: &[Vec<u8>]) -> Option<SubjectIndex> {
    let mut builder = Builder::new();
    for block in blocks {
        builder.push_block(&mut Block::read(block).ok()?).ok()?;
    }
    Some(builder.finish())
}

fn written(index: &SubjectIndex, len: usize) -> Vec<Vec<u8>> {
    let (mut cursor, mut blocks) = (Cursor::start(), Vec::new());
    while !cursor.is_done() {
        let mut block = Vec::new();
        encode_block(index, &mut cursor, LogIndex(1), len, &mut block);
        blocks.push(block);
    }
    blocks
}

fn set(data: &[u8]) {
    // A run of few bytes makes a bitmap of a kilobyte.
    let Ok(set) = SequenceSet::decode(&mut Reader::new(&data[..data.len().min(1 << 16)])) else {
        return;
    };
    set.check_invariants();
    let mut out = Vec::new();
    set.encode(&mut out);
    assert_eq!(
        SequenceSet::decode(&mut Reader::new(&out)).as_ref(),
        Ok(&set)
    );
    let mut copy = SequenceSet::new();
    for (first, last) in set.ranges(StreamSeq(0)) {
        copy.insert_range(first, last);
    }
    assert_eq!(copy, set);
}

fn wheel(data: &[u8]) {
    let upto = StreamSeq(u64::MAX);
    let Ok(mut wheel) = ExpiryWheel::decode(&mut Reader::new(data), upto) else {
        return;
    };
    wheel.check_invariants();
    let mut out = Vec::new();
    wheel.encode(&mut out);
    let again = ExpiryWheel::decode(&mut Reader::new(&out), upto).expect("it was written");
    assert_eq!(again.len(), wheel.len());
    wheel.sweep(&mut Sweep::default(), |seq| seq.0 % 2 == 0);
    wheel.check_invariants();
    let (len, mut due) = (wheel.len(), Vec::new());
    while !wheel.expire(Timestamp(u64::MAX), 7, &mut due) {}
    assert_eq!(due.len() + wheel.len(), len);
}

/// Steps of three bytes: what, which subject, which message.
fn subjects(data: &[u8]) {
    let mut index = SubjectIndex::new();
    let mut model: BTreeMap<Vec<u8>, BTreeSet<u64>> = BTreeMap::new();
    let mut seq = 0;
    for step in data.chunks_exact(3).take(500) {
        let name = subject(step[1]);
        let known = model.get(&name).and_then(|seqs| {
            let nth = usize::from(step[2]) % seqs.len().max(1);
            seqs.iter().nth(nth).copied()
        });
        match (step[0] % 8, known) {
            (0..=3, _) => {
                seq += 1 + (u64::from(step[2]) << (step[0] % 4 * 8));
                index.append(&name, StreamSeq(seq)).expect("they rise");
                model.entry(name).or_default().insert(seq);
            }
            (4 | 5, Some(gone)) => {
                index.remove(&name, StreamSeq(gone)).expect("it is there");
                let seqs = model.get_mut(&name).expect("it is there");
                seqs.remove(&gone);
                if seqs.is_empty() {
                    model.remove(&name);
                }
            }
            (6, Some(_)) => {
                index.remove_subject(&name).expect("it is there");
                model.remove(&name);
            }
            (_, Some(_)) => {
                let first = StreamSeq(*model[&name].first().expect("it has one"));
                index.settle_first(&name, first).expect("it is the first");
            }
            (_, None) => assert!(index.remove(&name, StreamSeq(seq)).is_err()),
        }
    }
    index.check_invariants();
    let patterns: [&[u8]; 3] = [b"a.>", b"*.b", b"b.*.a"];
    let filters = Filters::new(patterns).expect("they are valid");
    let mut wanted = model
        .iter()
        .filter(|(name, _)| patterns.iter().any(|p| pattern::matches(p, name)));
    let mut cursor = Cursor::start();
    while !cursor.is_done() {
        index.scan(&filters, &mut cursor, 3, |name, entry| {
            let (expected, seqs) = wanted.next().expect("no subject is invented");
            assert_eq!((name, entry.count()), (&expected[..], seqs.len() as u64));
            let (first, last) = (entry.first(), entry.last());
            assert!(first.seq().0 <= seqs.first().copied().unwrap_or(0));
            assert!(last.seq().0 >= seqs.last().copied().unwrap_or(u64::MAX));
            assert!(first.exact().is_none_or(|seq| seqs.first() == Some(&seq.0)));
            assert!(last.exact().is_none_or(|seq| seqs.last() == Some(&seq.0)));
            ControlFlow::Continue(())
        });
    }
    assert!(wanted.next().is_none());
    assert_eq!(index.len(), model.len());
}

/// One of 256 subjects, which have much in common.
fn subject(n: u8) -> Vec<u8> {
    const TOKENS: [&str; 4] = ["a", "b", "ab", "abcdefghijklmnopqrstuvwxyz"];
    let token = |shift: u8| TOKENS[usize::from(n >> shift & 3)];
    let tokens = [token(0), token(2), token(4)];
    let mut name = tokens[..usize::from(n >> 6 & 1) + 1].join(".");
    if n & 0x80 != 0 {
        name += &tokens[2].repeat(usize::from(n & 15));
    }
    name.into_bytes()
}
