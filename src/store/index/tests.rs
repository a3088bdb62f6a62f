//! The index of subjects against a map that says the same in a plain way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::subject::pattern;

/// Sequence numbers by subject.
type Model = BTreeMap<Vec<u8>, BTreeSet<u64>>;

fn check_same(index: &SubjectIndex, model: &Model) {
    index.check_invariants();
    assert_eq!(index.len(), model.len());
    let mut all = model.iter();
    let mut cursor = Cursor::start();
    index.scan(
        &Filters::all(),
        &mut cursor,
        usize::MAX,
        |subject, entry| {
            let (expected, seqs) = all.next().expect("no subject is invented");
            assert_eq!(subject, expected.clone());
            check_entry(entry, seqs);
            assert_eq!(index.get(subject), Some(*entry));
            ControlFlow::Continue(())
        },
    );
    assert!(cursor.is_done() && all.next().is_none());
    check_look_ahead(index, model);
    let messages: usize = model.values().map(BTreeSet::len).sum();
    assert_eq!(index.messages(), messages as u64);
}

/// Several at once are what they are one by one, and those that are not there are left out.
fn check_look_ahead(index: &SubjectIndex, model: &Model) {
    let mut index = index.clone();
    let strangers = model.keys().map(|subject| [&subject[..], b"?"].concat());
    let strangers: Vec<Vec<u8>> = strangers.filter(|s| !model.contains_key(s)).collect();
    let subjects: Vec<&[u8]> = model.keys().chain(&strangers).map(|s| &s[..]).collect();
    let mut found = vec![];
    let one_by_one = |index: &SubjectIndex| -> Vec<SubjectEntry> {
        subjects.iter().filter_map(|s| index.get(s)).collect()
    };
    let expected = one_by_one(&index);
    index.look_ahead(&subjects, |entry| found.push(entry));
    assert_eq!(found, expected);
    assert_eq!(one_by_one(&index), expected);
}

fn check_entry(entry: &SubjectEntry, seqs: &BTreeSet<u64>) {
    let (first, last) = (*seqs.first().unwrap(), *seqs.last().unwrap());
    assert_eq!(entry.count(), seqs.len() as u64);
    assert!(entry.first().seq().0 <= first && last <= entry.last().seq().0);
    assert!(entry.first().exact().is_none_or(|seq| seq.0 == first));
    assert!(entry.last().exact().is_none_or(|seq| seq.0 == last));
}

fn index_of<'s>(subjects: impl IntoIterator<Item = &'s str>) -> SubjectIndex {
    let mut index = SubjectIndex::new();
    for (seq, subject) in (1..).zip(subjects) {
        index.append(subject.as_bytes(), StreamSeq(seq)).unwrap();
    }
    index.check_invariants();
    index
}

fn found(index: &SubjectIndex, filters: &[&str], budget: usize) -> Vec<String> {
    let filters = Filters::new(filters.iter().map(|f| f.as_bytes())).unwrap();
    let (mut cursor, mut found) = (Cursor::start(), Vec::new());
    let mut calls = 0;
    while !cursor.is_done() {
        let before = cursor.position().to_vec();
        index.scan(&filters, &mut cursor, budget, |subject, _| {
            found.push(String::from_utf8(subject.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        assert!(
            cursor.is_done() || cursor.position() > &before[..],
            "it gets on"
        );
        calls += 1;
    }
    assert!(calls == 1 || budget < usize::MAX);
    found
}

#[test]
fn filters_find_their_subjects_in_order() {
    let index = index_of(["a", "b.c", "a.b", "a.b.c", "a.b.d", "ab.c", "a.x.c", "z"]);
    for budget in [1, 2, 3, usize::MAX] {
        assert_eq!(found(&index, &["a.*"], budget), ["a.b"]);
        assert_eq!(
            found(&index, &["a.>"], budget),
            ["a.b", "a.b.c", "a.b.d", "a.x.c"]
        );
        assert_eq!(
            found(&index, &["*.*.c", "a", "z"], budget),
            ["a", "a.b.c", "a.x.c", "z"]
        );
        assert_eq!(
            found(&index, &["a.b.c", "a.b.>"], budget),
            ["a.b.c", "a.b.d"]
        );
        assert_eq!(found(&index, &["*"], budget), ["a", "z"]);
        assert!(found(&index, &["b", "a.b.c.d"], budget).is_empty());
        assert_eq!(found(&index, &[">"], budget).len(), 8);
    }
    assert!(found(&SubjectIndex::new(), &[">"], 1).is_empty());
}

#[test]
fn a_search_in_vain_is_cut_into_bounded_parts() {
    let subjects: Vec<String> = (0..5000).map(|i| format!("a.{i}.b")).collect();
    let index = index_of(subjects.iter().map(|s| &s[..]));
    let filters = Filters::new([&b"*.*.c"[..]]).unwrap();
    let (mut cursor, mut calls) = (Cursor::start(), 0);
    while !cursor.is_done() {
        index.scan(&filters, &mut cursor, 100, |_, _| {
            unreachable!("nothing matches")
        });
        calls += 1;
    }
    assert!((50..100).contains(&calls), "{calls}");
}

#[test]
fn a_break_stops_behind_what_was_handed_over() {
    let index = index_of(["a", "b", "c"]);
    let mut cursor = Cursor::start();
    let mut seen = Vec::new();
    while !cursor.is_done() {
        index.scan(&Filters::all(), &mut cursor, usize::MAX, |subject, _| {
            seen.push(subject.to_vec());
            ControlFlow::Break(())
        });
    }
    assert_eq!(seen, [b"a", b"b", b"c"]);
    let from = |mut cursor: Cursor| {
        let mut first = None;
        index.scan(&Filters::all(), &mut cursor, 9, |subject, _| {
            first = Some(subject.to_vec());
            ControlFlow::Break(())
        });
        first
    };
    assert_eq!(from(Cursor::at(b"b")), Some(b"b".to_vec()));
    assert_eq!(from(Cursor::at(b"bb")), Some(b"c".to_vec()));
    assert_eq!(from(Cursor::after(b"b")), Some(b"c".to_vec()));
    assert_eq!(from(Cursor::after(b"c")), None);
}

#[test]
fn long_subjects_are_cut_and_found() {
    let mut model = Model::new();
    let mut index = SubjectIndex::new();
    let long = "x".repeat(70_000);
    assert_eq!(
        index.append(long.as_bytes(), StreamSeq(1)),
        Err(AppendError::TooLong)
    );
    let lengths = [1, 254, 255, 256, 257, 510, 511, 512, 513, 700, 5000, 65_535];
    for (seq, len) in (1..).zip(lengths) {
        for (i, end) in ["", "y", "yz"].into_iter().enumerate() {
            let subject = [
                &long.as_bytes()[..len - end.len().min(len - 1)],
                end.as_bytes(),
            ]
            .concat();
            let subject = &subject[..subject.len().min(SUBJECT_BYTES_MAX)];
            let seq = seq * 10 + i as u64;
            index.append(subject, StreamSeq(seq)).unwrap();
            model.entry(subject.to_vec()).or_default().insert(seq);
        }
    }
    check_same(&index, &model);
    check_same(&reloaded(&index, 4096), &model);
    while let Some((subject, seqs)) = model.pop_first() {
        for seq in seqs {
            index.remove(&subject, StreamSeq(seq)).unwrap();
        }
        check_same(&index, &model);
    }
    assert_eq!(index.memory_bytes(), 0);
}

#[test]
fn nodes_of_all_sizes_come_and_go() {
    let mut model = Model::new();
    let mut index = SubjectIndex::new();
    let subjects: Vec<Vec<u8>> = (0..=255u8)
        .map(|byte| vec![b'k', byte])
        .chain([b"k".to_vec(), vec![]])
        .collect();
    for (seq, subject) in (1..).zip(&subjects) {
        index.append(subject, StreamSeq(seq)).unwrap();
        model.entry(subject.clone()).or_default().insert(seq);
        check_same(&index, &model);
    }
    for i in 0..subjects.len() {
        let subject = &subjects[i * 101 % subjects.len()];
        assert!(index.remove_subject(subject).is_some());
        assert_eq!(index.remove_subject(subject), None);
        model.remove(subject);
        check_same(&index, &model);
    }
}

#[test]
fn all_sequence_numbers_are_possible() {
    let mut index = SubjectIndex::new();
    for seq in [1, (1 << 48) - 1, 1 << 48, u64::MAX] {
        for subject in [seq.to_string(), "all".to_owned()] {
            index.append(subject.as_bytes(), StreamSeq(seq)).unwrap();
        }
        let single = index.get(seq.to_string().as_bytes()).unwrap();
        assert_eq!(single, SubjectEntry::single(StreamSeq(seq)));
        assert_eq!(
            index.get(b"all").unwrap().last(),
            Bound::Exact(StreamSeq(seq))
        );
    }
    assert_eq!(
        index.append(b"all", StreamSeq(u64::MAX)),
        Err(AppendError::NotNewer)
    );
    assert_eq!(
        index.get(b"all").unwrap().first(),
        Bound::Exact(StreamSeq(1))
    );
    index.check_invariants();
    assert_eq!(reloaded(&index, 1).get(b"all"), index.get(b"all"));
}

#[test]
fn what_is_not_there_is_not_removed() {
    let mut index = index_of(["a.b", "a.c", "a.b"]);
    for (subject, seq) in [
        ("a", 1),
        ("a.b", 2),
        ("a.b", 4),
        ("a.d", 1),
        ("", 1),
        ("a.bc", 1),
    ] {
        assert_eq!(
            index.remove(subject.as_bytes(), StreamSeq(seq)),
            Err(NotThere)
        );
    }
    assert_eq!((index.len(), index.messages()), (2, 3));
    assert_eq!(index.settle_first(b"a.b", StreamSeq(2)), None);
    assert_eq!(index.settle_last(b"none", StreamSeq(2)), None);
}

#[test]
fn a_bucket_that_keeps_one_value_never_looks_into_the_log() {
    let mut index = SubjectIndex::new();
    let mut last = [0; 50];
    for seq in 1..2000 {
        let key = (seq * 31 % 50) as usize;
        let subject = format!("$KV.b.{key}");
        let entry = index.append(subject.as_bytes(), StreamSeq(seq)).unwrap();
        if entry.count() > 1 {
            assert_eq!(entry.first(), Bound::Exact(StreamSeq(last[key])));
            let left = index
                .remove(subject.as_bytes(), StreamSeq(last[key]))
                .unwrap();
            assert_eq!(left, Some(SubjectEntry::single(StreamSeq(seq))));
        }
        last[key] = seq;
    }
    assert_eq!((index.len(), index.messages()), (50, 50));
    index.check_invariants();
}

#[test]
fn a_message_takes_the_place_of_the_only_one() {
    let mut index = index_of(["a", "b", "b", "cd"]);
    let seq = StreamSeq;
    let known = |_| true;
    let taken = index.supersede(b"a", (seq(5), 0), |old| old == seq(1), |_| Some(99));
    assert_eq!(taken, Some((seq(1), 99)));
    assert_eq!(index.get(b"a"), Some(SubjectEntry::single(seq(5))));
    // It is not there, one of two, of no subject, newer, or cannot be read.
    for (subject, is_there, new, size) in [
        ("a", false, 6, Some(1)),
        ("b", true, 6, Some(1)),
        ("c", true, 6, Some(1)),
        ("cd", true, 4, Some(1)),
        ("cd", true, 6, None),
    ] {
        let before = index.get(subject.as_bytes());
        let subject_bytes = subject.as_bytes();
        let superseded = index.supersede(subject_bytes, (seq(new), 7), |_| is_there, |_| size);
        assert_eq!(superseded, None);
        assert_eq!(index.get(subject.as_bytes()), before);
    }
    assert_eq!((index.len(), index.messages()), (3, 4));
    // What is known of its size is not asked for, whatever becomes of the leaf.
    let never = |_| panic!("it is known");
    for (old, new, size) in [(4, 1 << 50, 70), ((1 << 50), 1 << 51, 0x0102_0304)] {
        let taken = index.supersede(b"cd", (seq(new), size), known, |_| Some(3));
        assert_eq!(taken, Some((seq(old), if old == 4 { 3 } else { 70 })));
        assert_eq!(index.get(b"cd").unwrap().bytes(), Some(size));
    }
    index.append_of(b"c", seq(1 << 52), 44).unwrap();
    index.append(b"ce", seq((1 << 52) + 1)).unwrap();
    assert_eq!(index.get(b"c").unwrap().bytes(), Some(44));
    let taken = index.supersede(b"cd", (seq(1 << 53), 0), known, never);
    assert_eq!(taken, Some((seq(1 << 51), 0x0102_0304)));
    assert_eq!(index.get(b"cd"), Some(SubjectEntry::single(seq(1 << 53))));
    // One of two has none, nor has the one that is left of them.
    let entry = index.append_of(b"c", seq(1 << 54), 45).unwrap();
    assert_eq!((entry.count(), entry.bytes()), (2, None));
    let left = index.remove(b"c", seq(1 << 52)).unwrap().unwrap();
    assert_eq!(left, SubjectEntry::single(seq(1 << 54)));
    index.check_invariants();
}

#[test]
fn tallies_tell_what_they_know() {
    let mut index = SubjectIndex::new();
    // a: 1 2 5, b: 3 6, c: 4, d: 7 8
    for (seq, subject) in (1..).zip(["a", "a", "b", "c", "a", "b", "d", "d"]) {
        index.append(subject.as_bytes(), StreamSeq(seq)).unwrap();
    }
    let tally = |from| {
        let mut cursor = Cursor::start();
        let tally = index.tally(&Filters::all(), StreamSeq(from), &mut cursor, usize::MAX);
        assert!(cursor.is_done());
        tally
    };
    let all = Tally {
        subjects: 4,
        messages: 8,
        ..Tally::default()
    };
    assert_eq!((tally(0), tally(1)), (all, all));
    let some = Tally {
        subjects: 2,
        messages: 3,
        unsure: 1,
        unsure_messages: 3,
    };
    assert_eq!(tally(5), some);
    assert_eq!(tally(9), Tally::default());
}

#[test]
fn garbage_is_no_block() {
    let index = index_of(["a.b", "a.c", "a.b"]);
    let mut block = Vec::new();
    encode_block(&index, &mut Cursor::start(), LogIndex(7), 100, &mut block);
    for cut in 0..block.len() {
        assert!(load(&block[..cut]).is_err(), "{cut}");
    }
    let mut longer = block.clone();
    longer.push(0);
    assert!(load(&longer).is_err());
    assert_eq!(load(&block).unwrap().len(), 2);
}

fn load(block: &[u8]) -> Result<SubjectIndex, varint::Malformed> {
    let mut builder = Builder::new();
    builder.push_block(&mut Block::read(block)?)?;
    Ok(builder.finish())
}

/// The index written as blocks and read again.
fn reloaded(index: &SubjectIndex, block_len: usize) -> SubjectIndex {
    let (mut cursor, mut builder) = (Cursor::start(), Builder::new());
    while !cursor.is_done() {
        let mut out = Vec::new();
        encode_block(index, &mut cursor, LogIndex(3), block_len, &mut out);
        let mut block = Block::read(&out).unwrap();
        assert_eq!(block.as_of(), LogIndex(3));
        builder.push_block(&mut block).unwrap();
    }
    builder.finish()
}

#[test]
fn records_are_replayed_on_those_who_have_not_seen_them() {
    let index = index_of(["a", "b", "c", "d"]);
    let (mut cursor, mut map, mut as_of) = (Cursor::start(), BlockMap::new(), 10);
    while !cursor.is_done() {
        let mut out = Vec::new();
        encode_block(&index, &mut cursor, LogIndex(as_of), 5, &mut out);
        map.push(&Block::read(&out).unwrap());
        as_of += 10;
    }
    assert!(as_of > 30);
    assert_eq!(map.oldest(), LogIndex(10));
    assert_eq!(map.as_of(b""), LogIndex(10));
    assert_eq!(map.as_of(b"a"), LogIndex(10));
    assert!(map.as_of(b"bb") > LogIndex(10) && map.as_of(b"z") > map.as_of(b"bb"));
    assert_eq!(BlockMap::new().oldest(), LogIndex(0));
    assert_eq!(BlockMap::new().as_of(b"a"), LogIndex(0));
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec!["a", "b", "ab", "abc", "1", "12", "123", "x"]);
    prop_oneof![
        8 => prop::collection::vec(token, 1..4).prop_map(|tokens| tokens.join(".").into_bytes()),
        1 => (200..600usize, "[a-c]{0,2}")
            .prop_map(|(len, end)| ("q".repeat(len) + &end).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Append(Vec<u8>, u64),
    Remove(prop::sample::Index, prop::sample::Index),
    RemoveSubject(prop::sample::Index),
    Settle(prop::sample::Index),
    Reload(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (subject(), prop_oneof![9 => Just(1u64), 1 => Just(1 << 44)])
            .prop_map(|(subject, gap)| Change::Append(subject, gap)),
        4 => any::<(prop::sample::Index, prop::sample::Index)>()
            .prop_map(|(a, b)| Change::Remove(a, b)),
        1 => any::<prop::sample::Index>().prop_map(Change::RemoveSubject),
        1 => any::<prop::sample::Index>().prop_map(Change::Settle),
        1 => (1..300usize).prop_map(Change::Reload),
    ]
}

fn nth(model: &Model, which: prop::sample::Index) -> Option<(Vec<u8>, Vec<u64>)> {
    let (subject, seqs) = model.iter().nth(which.index(model.len().max(1)))?;
    Some((subject.clone(), seqs.iter().copied().collect()))
}

proptest! {
    #[test]
    fn changes_leave_what_the_model_has(changes in prop::collection::vec(change(), 1..120)) {
        let (mut index, mut model, mut seq) = (SubjectIndex::new(), Model::new(), 0);
        for change in changes {
            match change {
                Change::Append(subject, gap) => {
                    seq += gap;
                    let bytes = u32::try_from(seq % 3).unwrap() * 100_000;
                    let entry = index.append_of(&subject, StreamSeq(seq), bytes).unwrap();
                    let seqs = model.entry(subject).or_default();
                    seqs.insert(seq);
                    check_entry(&entry, seqs);
                }
                Change::Remove(which, message) => {
                    let Some((subject, seqs)) = nth(&model, which) else { continue };
                    let gone = seqs[message.index(seqs.len())];
                    let left = index.remove(&subject, StreamSeq(gone)).unwrap();
                    let seqs = model.get_mut(&subject).unwrap();
                    seqs.remove(&gone);
                    match left {
                        Some(left) => check_entry(&left, seqs),
                        None => prop_assert!(model.remove(&subject).unwrap().is_empty()),
                    }
                }
                Change::RemoveSubject(which) => {
                    let Some((subject, _)) = nth(&model, which) else { continue };
                    check_entry(&index.remove_subject(&subject).unwrap(), &model[&subject]);
                    model.remove(&subject);
                }
                Change::Settle(which) => {
                    let Some((subject, seqs)) = nth(&model, which) else { continue };
                    let (first, last) = (StreamSeq(seqs[0]), StreamSeq(seqs[seqs.len() - 1]));
                    let entry = index.settle_first(&subject, first).unwrap();
                    prop_assert_eq!(entry.first(), Bound::Exact(first));
                    let entry = index.settle_last(&subject, last).unwrap();
                    prop_assert_eq!(entry.last(), Bound::Exact(last));
                }
                Change::Reload(len) => index = reloaded(&index, len),
            }
            index.check_invariants();
        }
        check_same(&index, &model);
        check_same(&reloaded(&index, 50), &model);
    }

    #[test]
    fn walks_find_what_subscriptions_match(
        subjects in prop::collection::btree_set("[ab1]{1,3}(\\.[ab1]{1,2}){0,3}", 0..60),
        filters in prop::collection::vec("(a|b|ab|\\*)(\\.(a|b|1|\\*)){0,2}(\\.>)?|>", 1..5),
        budget in 1..20usize,
        from in "[ab1.]{0,5}",
    ) {
        let index = index_of(subjects.iter().map(|s| &s[..]));
        let wanted = |s: &&String| {
            filters.iter().any(|f| pattern::matches(f.as_bytes(), s.as_bytes()))
        };
        let expected: Vec<String> = subjects.iter().filter(wanted).cloned().collect();
        let names: Vec<&str> = filters.iter().map(|f| &f[..]).collect();
        prop_assert_eq!(found(&index, &names, budget), expected.clone());
        prop_assert_eq!(found(&index, &names, usize::MAX), &expected[..]);
        let compiled = Filters::new(filters.iter().map(|f| f.as_bytes())).unwrap();
        let (mut cursor, mut rest) = (Cursor::at(from.as_bytes()), Vec::new());
        index.scan(&compiled, &mut cursor, usize::MAX, |subject, _| {
            rest.push(String::from_utf8(subject.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        let expected: Vec<String> = expected.into_iter().filter(|s| *s >= from).collect();
        prop_assert_eq!(rest, expected);
    }

    #[test]
    fn no_bytes_make_a_block_panic(bytes: Vec<u8>) {
        let _ = load(&bytes);
    }

    #[test]
    fn damaged_blocks_load_or_fail(
        subjects in prop::collection::btree_set("[ab]{1,3}(\\.[ab1]{1,2}){0,3}", 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let index = index_of(subjects.iter().map(|s| &s[..]));
        let mut block = Vec::new();
        encode_block(&index, &mut Cursor::start(), LogIndex(0), usize::MAX, &mut block);
        for (at, byte) in damage {
            let at = at.index(block.len());
            block[at] = byte;
        }
        if let Ok(index) = load(&block) {
            index.check_invariants();
        }
    }
}
