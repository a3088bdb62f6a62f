//! Tests of the subscription list, against a matcher that compares token by token.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A list with all its subscriptions written down beside it.
struct Checked {
    list: Sublist<u32>,
    model: Vec<Entry>,
    inserted: u32,
    out: Matches<u32>,
}

/// A subscription's id, subject, queue group and value.
type Entry = (SubId, Vec<u8>, Option<Vec<u8>>, u32);

impl Checked {
    fn new() -> Checked {
        Checked {
            list: Sublist::new(42),
            model: Vec::new(),
            inserted: 0,
            out: Matches::new(),
        }
    }

    fn insert(&mut self, subject: &[u8], queue: Option<&[u8]>) {
        let inserted = self.list.insert(subject, queue, self.inserted);
        assert_eq!(inserted.is_ok(), is_valid(subject));
        if let Ok(id) = inserted {
            let queue = queue.map(<[u8]>::to_vec);
            self.model
                .push((id, subject.to_vec(), queue, self.inserted));
            self.inserted += 1;
        }
    }

    fn remove(&mut self, at: usize) {
        let (id, _, _, value) = self.model.swap_remove(at);
        assert_eq!(self.list.remove(id), Some(value));
        assert_eq!(self.list.remove(id), None);
    }

    fn check_matches(&mut self, subject: &[u8]) {
        if crate::subject::is_literal(subject) {
            let expected = self.model.iter().any(|(_, own, _, _)| own == subject);
            assert_eq!(self.list.has_literal(subject), expected);
        }
        self.list.matches(subject, &mut self.out);
        self.out.plain.sort_unstable();
        let mut queued: Vec<(&[u8], u32)> = self
            .out
            .queued
            .iter()
            .map(|(id, value)| (self.list.queue_name(*id).expect("a name in use"), *value))
            .collect();
        queued.sort_unstable();
        let (mut plain_expected, mut queued_expected) = (Vec::new(), Vec::new());
        for (_, pattern, queue, value) in &self.model {
            match queue {
                _ if !naive_match(pattern, subject) => {}
                None => plain_expected.push(*value),
                Some(queue) => queued_expected.push((&queue[..], *value)),
            }
        }
        plain_expected.sort_unstable();
        queued_expected.sort_unstable();
        assert_eq!(
            (&self.out.plain, &queued),
            (&plain_expected, &queued_expected)
        );
        for a in &self.out.queued {
            for b in &self.out.queued {
                assert_eq!(
                    a.0 == b.0,
                    self.list.queue_name(a.0) == self.list.queue_name(b.0)
                );
            }
        }
    }

    fn check(&self) {
        self.list.check_invariants();
        assert_eq!(self.list.len(), self.model.len());
        assert_eq!(self.list.is_empty(), self.model.is_empty());
        assert_eq!(self.list.iter().count(), self.model.len());
        let mut out = b"left over".to_vec();
        for (id, subject, queue, value) in &self.model {
            self.list.subject(*id, &mut out);
            assert_eq!(&out, subject);
            assert_eq!(self.list.queue(*id), queue.as_deref());
            assert_eq!(self.list.value(*id), Some(*value));
        }
    }

    fn check_pristine(&self) {
        self.check();
        assert_eq!(self.list.nodes.len(), 1, "only the root is left");
        assert_eq!(self.list.edges.len(), 0);
        assert_eq!(self.list.queue_count(), 0);
        assert!(self.list.long_tokens.is_empty());
        let bytes = self.list.nodes.bytes() + self.list.subs.bytes();
        assert!(bytes < 2 * EMPTY_BYTES_MAX, "{bytes} bytes are kept");
    }
}

fn naive_match(pattern: &[u8], subject: &[u8]) -> bool {
    let subject: Vec<&[u8]> = subject.split(|b| *b == b'.').collect();
    let pattern: Vec<&[u8]> = pattern.split(|b| *b == b'.').collect();
    if subject.iter().any(|token| token.is_empty()) {
        return false;
    }
    for (n, token) in pattern.iter().enumerate() {
        match (*token, subject.get(n)) {
            (_, None) => return false,
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (token, Some(published)) if token == *published => {}
            _ => return false,
        }
    }
    pattern.len() == subject.len()
}

fn filled(subjects: &[&str]) -> Checked {
    let mut list = Checked::new();
    for subject in subjects {
        list.insert(subject.as_bytes(), None);
    }
    list
}

#[test]
fn wildcards_match_whole_tokens() {
    let mut list = filled(&[
        "a.b.c", "a.*.c", "a.>", "*.*.*", ">", "a.b", "*", "a.*", "*.b.>",
    ]);
    for (subject, count) in [
        ("a.b.c", 6),
        ("a.x.c", 4),
        ("a", 2),
        ("a.b", 4),
        ("x.b.c.d", 2),
        ("a.b.c.d", 3),
        ("A.B", 1),
    ] {
        list.check_matches(subject.as_bytes());
        assert_eq!(list.out.plain.len(), count, "{subject}");
    }
}

#[test]
fn published_wildcards_are_plain_tokens() {
    let mut list = filled(&["a.*", "a.>", "a.b", "*", ">", "a.*.c", "a*", "a.b>"]);
    for (subject, count) in [
        ("a.*", 3),
        ("a.>", 3),
        (">", 2),
        ("*", 2),
        ("a.>.c", 3),
        ("a*", 3),
    ] {
        list.check_matches(subject.as_bytes());
        assert_eq!(list.out.plain.len(), count, "{subject}");
    }
}

#[test]
fn empty_tokens_match_nothing() {
    let mut list = filled(&[">", "*", "a.>", "*.*", "a.*.b", "*.*.*"]);
    for subject in ["", ".", "a.", ".a", "a..b", "a..", "a.b.", "x.y.z.1.2.."] {
        list.check_matches(subject.as_bytes());
        assert!(list.out.is_empty(), "{subject}");
    }
}

#[test]
fn results_of_an_earlier_match_are_dropped() {
    let mut list = filled(&["a", "b.>"]);
    list.insert(b"a", Some(b"q"));
    for (subject, plain, queued) in [("a", 1, 1), ("b.c", 1, 0), ("c", 0, 0), ("a", 1, 1)] {
        list.check_matches(subject.as_bytes());
        assert_eq!(
            (list.out.plain.len(), list.out.queued.len()),
            (plain, queued)
        );
    }
}

#[test]
fn invalid_subjects_leave_the_list_unchanged() {
    let mut list = Checked::new();
    for subject in ["", "a.", "a.>.b", "a b", ".", "a..b"] {
        assert_eq!(
            list.list.insert(subject.as_bytes(), Some(b"q"), 1),
            Err(InvalidSubject)
        );
        list.check_pristine();
    }
}

#[test]
fn one_queue_group_spans_subjects() {
    let mut list = Checked::new();
    for (subject, queue) in [
        ("a.*", "q"),
        ("a.b", "q"),
        ("a.>", "r"),
        (">", "q"),
        ("x", "s"),
    ] {
        list.insert(subject.as_bytes(), Some(queue.as_bytes()));
    }
    list.check_matches(b"a.b");
    let mut groups: Vec<QueueId> = list.out.queued.iter().map(|(id, _)| *id).collect();
    groups.sort_unstable();
    groups.dedup();
    assert_eq!(
        (groups.len(), list.out.queued.len(), list.list.queue_count()),
        (2, 4, 3)
    );
    while !list.model.is_empty() {
        list.remove(0);
        list.check();
    }
    list.check_pristine();
}

#[test]
fn duplicates_are_separate() {
    let mut list = filled(&["a.b", "a.b", "a.b", "a.>", "a.>"]);
    list.check_matches(b"a.b");
    assert_eq!(list.out.plain.len(), 5);
    for middle in [1, 2, 0, 0, 0] {
        list.remove(middle);
        list.check();
        list.check_matches(b"a.b");
    }
    list.check_pristine();
}

#[test]
fn long_tokens_are_told_apart() {
    let tokens: Vec<String> = (14..40).map(|len| "t".repeat(len)).collect();
    let mut list = Checked::new();
    for token in &tokens {
        list.insert(token.as_bytes(), None);
        list.insert(format!("{token}.{token}.*").as_bytes(), None);
    }
    list.check();
    for token in &tokens {
        list.check_matches(token.as_bytes());
        assert_eq!(list.out.plain.len(), 1);
        list.check_matches(format!("{token}.{token}.x").as_bytes());
        assert_eq!(list.out.plain.len(), 1);
    }
    while !list.model.is_empty() {
        list.remove(list.model.len() / 2);
    }
    list.check_pristine();
}

#[test]
fn thousands_of_tokens_need_no_deep_stack() {
    let deep = ["a"; 5000].join(".");
    let stars = ["*"; 5000].join(".");
    let mut list = filled(&[&deep, &stars, &format!("{stars}.>"), "a.>"]);
    list.check_matches(deep.as_bytes());
    assert_eq!(list.out.plain.len(), 3);
    list.check_matches(format!("{deep}.b").as_bytes());
    assert_eq!(list.out.plain.len(), 2);
    list.check();
    while !list.model.is_empty() {
        list.remove(0);
    }
    list.check_pristine();
}

/// Both branches exist at every level: the work is bounded by the nodes that are there.
#[test]
fn branching_at_every_level() {
    let mut list = Checked::new();
    for n in 0..256u32 {
        let subject: Vec<&str> = (0..8)
            .map(|bit| if n >> bit & 1 == 0 { "a" } else { "*" })
            .collect();
        list.insert(subject.join(".").as_bytes(), None);
    }
    list.check_matches(b"a.a.a.a.a.a.a.a");
    assert_eq!(list.out.plain.len(), 256);
    list.check_matches(b"a.b.a.a.a.a.a.a");
    assert_eq!(list.out.plain.len(), 128);
}

#[test]
fn a_large_list_grows_and_is_given_back() {
    let mut list = Checked::new();
    for n in 0..30_000u32 {
        let subject = match n % 3 {
            0 => format!("a.{n}.*.end"),
            1 => format!("b.*.{n}"),
            _ => format!("c.{}.{}.>", n / 100, n % 100),
        };
        list.insert(subject.as_bytes(), (n % 10 == 0).then_some(b"workers"));
    }
    list.check();
    for subject in ["a.27000.x.end", "b.x.28000", "c.299.99.x.y", "b.3.3"] {
        list.check_matches(subject.as_bytes());
    }
    for n in (0..30_000usize).rev() {
        list.remove(n * 7919 % (n + 1));
        if n % 5000 == 0 {
            list.check();
        }
    }
    list.check_pristine();
}

#[test]
fn records_are_as_small_as_planned() {
    #[derive(Clone, Copy)]
    struct Target(#[expect(dead_code)] (u32, u32, u16));
    assert_eq!(size_of::<Sub<Target>>(), 28);
    assert_eq!(size_of::<Node>(), 36);
}

#[derive(Clone, Debug)]
enum Op {
    Insert(String, Option<&'static str>),
    Remove(Index),
    Match(String),
}

/// Few different tokens, so that subjects meet; some at the limit of what is inline.
fn tokens(wild: bool) -> impl Strategy<Value = String> {
    let token = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c"]),
        2 => prop::sample::select(vec![
            "*x", ">>", "fifteen-bytes-t", "sixteen-bytes-to", "twenty-bytes-in-here",
        ]),
        if wild { 6 } else { 1 } => prop::sample::select(vec!["*", "*", ">"]),
        if wild { 0 } else { 1 } => Just(""),
    ];
    prop::collection::vec(token, 1..6).prop_map(|tokens| tokens.join("."))
}

fn ops() -> impl Strategy<Value = Op> {
    let queue = prop::sample::select(vec![None, None, Some("q"), Some("r"), Some("")]);
    prop_oneof![
        5 => (tokens(true), queue).prop_map(|(subject, queue)| Op::Insert(subject, queue)),
        3 => any::<Index>().prop_map(Op::Remove),
        4 => tokens(false).prop_map(Op::Match),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn behaves_like_a_naive_matcher(ops in prop::collection::vec(ops(), 1..120)) {
        let mut list = Checked::new();
        for op in ops {
            match op {
                Op::Insert(subject, queue) => {
                    list.insert(subject.as_bytes(), queue.map(str::as_bytes));
                }
                Op::Remove(pick) if !list.model.is_empty() => {
                    list.remove(pick.index(list.model.len()));
                }
                Op::Remove(_) => {}
                Op::Match(subject) => list.check_matches(subject.as_bytes()),
            }
            list.check();
        }
        while !list.model.is_empty() {
            list.remove(list.model.len() / 2);
        }
        list.check_pristine();
    }
}
