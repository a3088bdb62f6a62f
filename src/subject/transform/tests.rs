use super::*;
use crate::base::rng::Rng;
use crate::subject::is_literal;
use proptest::prelude::*;

fn applied(source: &str, destination: &str, subject: &str) -> Option<String> {
    let transform = Transform::new(source, destination, false)
        .unwrap_or_else(|error| panic!("{source} -> {destination}: {error}"));
    let mut out = b"before".to_vec();
    let matched = transform.apply(subject.as_bytes(), &mut Rng::new(1), &mut out);
    assert!(matched || out.is_empty());
    matched.then(|| String::from_utf8(out).unwrap())
}

fn refused(source: &str, destination: &str, strict: bool) -> String {
    Transform::new(source, destination, strict)
        .unwrap_err()
        .to_string()
}

#[test]
fn functions_do_what_they_do_in_the_go_server() {
    for (source, destination, subject, result) in [
        ("", "prefix.>", "foo", "prefix.foo"),
        ("", "", "a.b", "a.b"),
        ("foo", "", "foo", "foo"),
        ("foo", "bar", "foo", "bar"),
        (">", ">", "a.b.c", "a.b.c"),
        ("foo.*.bar.*.baz", "req.$2.$1", "foo.A.bar.B.baz", "req.B.A"),
        ("*.*", "{{wildcard(2)}}.{{ Wildcard ( 1 ) }}", "A.B", "B.A"),
        ("baz.>", "my.pre.>", "baz.1.2.3", "my.pre.1.2.3"),
        ("*.a.>", "$1.>", "x.a.b", "x.b"),
        ("*", "foo.$foo.$1", "x", "foo.$foo.x"),
        ("*", "{{split.$1", "x", "{{split.x"),
        ("*", "{{splitfromleft(1,3)}}", "12345", "123.45"),
        ("*", "{{SplitFromRight(1,3)}}", "12345", "12.345"),
        ("*", "{{splitFromleft(1,5)}}", "12345", "12345"),
        ("*", "{{splitfromleft(1,0)}}", "12345", "12345"),
        ("*", "{{splitfromleft(1,-2)}}", "12345", "12345"),
        ("*", "{{SliceFromLeft(1,3)}}", "1234567890", "123.456.789.0"),
        (
            "*",
            "{{SliceFromRight(1,3)}}",
            "1234567890",
            "1.234.567.890",
        ),
        ("*", "{{slicefromright(1,5)}}", "1234567890", "12345.67890"),
        ("*", "{{slicefromleft(1,10)}}", "1234567890", "1234567890"),
        ("*", "{{split(1,-)}}", "-abc-def--ghi-", "abc.def.ghi"),
        ("*", "{{split(1, --)}}", "a--b-c", "a.b-c"),
        ("*", "{{split(1,)}}", "a\u{e9}b", "a.\u{e9}.b"),
        ("*", "{{split(1,-)}}", "--a", ".a"),
        ("*", "x.{{split(1,-)}}", "---", "x."),
        (
            "*.*",
            "{{split(2,-)}}.{{splitfromleft(1,2)}}",
            "foo.-a-b--c-",
            "a.b.c.fo.o",
        ),
        ("*", "{{right(1,1)}}", "1234", "4"),
        ("*", "{{right(1,6)}}", "1234", "1234"),
        ("*", "{{left(1,3)}}", "1234", "123"),
        ("*", "bar.{{partition(0)}}", "baz", "bar.0"),
        ("*", "bar.{{partition(10, 0)}}", "foo", "bar.3"),
        ("*.*", "bar.{{partition(10)}}", "foo.bar", "bar.6"),
        ("*", "bar.{{partition(10)}}", "foo", "bar.3"),
        ("*", "bar.{{partition(10,1)}}", "qux", "bar.9"),
        ("*.*.x", "{{partition(10,1,2)}}", "q.ux.x", "9"),
        ("foo.baz", "qux.{{partition(10)}}", "foo.baz", "qux.4"),
        ("foo.baz", "qux.{{partition(10,7)}}", "foo.baz", "qux.4"),
        (
            "test.subject",
            "result.{{partition(5)}}",
            "test.subject",
            "result.0",
        ),
        ("*", "bar.{{random(0)}}", "qux", "bar.0"),
        ("a.*.>", "$0.>", "a.b.c", "a.c"),
        ("a.*", "b.$1", "a.*", "b.*"),
    ] {
        let got = applied(source, destination, subject);
        assert_eq!(
            got.as_deref(),
            Some(result),
            "{source} -> {destination}: {subject}"
        );
    }
}

#[test]
fn other_subjects_are_left_alone() {
    for (source, subject) in [
        ("a.*", "a"),
        ("a.*", "a.b.c"),
        ("a.>", "a"),
        ("a.>", "a..b"),
        ("a.>", "a.b."),
        ("a.*", "a.b\r\nPING"),
        (">", "a\u{1}"),
        (">", ""),
    ] {
        let destination = if source.ends_with('>') { "x.>" } else { "x.$1" };
        assert_eq!(
            applied(source, destination, subject),
            None,
            "{source}: {subject:?}"
        );
    }
}

#[test]
fn errors_read_as_in_the_go_server() {
    let prefix = "invalid mapping destination: ";
    for (source, destination, strict, text) in [
        (
            "foo.*",
            "bar.$2",
            false,
            "wildcard index out of range in $2: [2]",
        ),
        (
            "foo.>",
            "$1.>",
            false,
            "wildcard index out of range in $1: [1]",
        ),
        (
            "foo",
            "bla.{{wildcard(1)}}",
            false,
            "wildcard index out of range in {{wildcard(1)}}",
        ),
        ("foo", "$0", false, "wildcard index out of range in $0"),
        (
            "foo.*",
            "$0.$1",
            true,
            "wildcard index out of range in $0: [0]",
        ),
        (
            "*",
            "{{left(9,x)}}",
            false,
            "function argument is invalid or in the wrong format in {{left(9,x)}}",
        ),
        (
            "*.*",
            "bar.$2",
            true,
            "not using all of the token wildcard(s) in bar.$2",
        ),
        (
            "*.*",
            "$1.$1",
            true,
            "not using all of the token wildcard(s) in $1.$1",
        ),
        (
            "*",
            "{{Partition(2,1)}}",
            true,
            "the only mapping function allowed for import transforms is {{Wildcard()}} in {{Partition(2,1)}}",
        ),
        (
            "a",
            "{{random(2)}}",
            true,
            "the only mapping function allowed for import transforms is {{Wildcard()}} in {{random(2)}}",
        ),
        (
            "*",
            "foo.{{unimplemented(1)}}",
            false,
            "unknown function in {{unimplemented(1)}}",
        ),
        (
            "*",
            "{{ wildcard5) }}",
            false,
            "unknown function in {{ wildcard5) }}",
        ),
        (
            "*",
            "{{splitLeft(2,2}}",
            false,
            "unknown function in {{splitLeft(2,2}}",
        ),
        (
            "*",
            "{{WILDCARD(1)}}",
            false,
            "unknown function in {{WILDCARD(1)}}",
        ),
        (
            "*",
            "{{partition()}}",
            false,
            "function argument is invalid or in the wrong format in {{partition()}}",
        ),
        (
            "*",
            "{{random()}}",
            false,
            "function argument is invalid or in the wrong format in {{random()}}",
        ),
        (
            "*",
            "{{random(1,2)}}",
            false,
            "not enough arguments passed to the function in {{random(1,2)}}",
        ),
        (
            "*",
            "{{wildcard(foo)}}",
            false,
            "function argument is invalid or in the wrong format in {{wildcard(foo)}}",
        ),
        (
            "*",
            "{{wildcard()}}",
            false,
            "not enough arguments passed to the function in {{wildcard()}}",
        ),
        (
            "*",
            "{{wildcard(1,2)}}",
            false,
            "too many arguments passed to the function in {{wildcard(1,2)}}",
        ),
        (
            "*",
            "{{split(1)}}",
            false,
            "not enough arguments passed to the function in {{split(1)}}",
        ),
        (
            "*",
            "{{split(1,a,b)}}",
            false,
            "too many arguments passed to the function in {{split(1,a,b)}}",
        ),
        (
            "*",
            "{{split(1,a b)}}",
            false,
            "function argument is invalid or in the wrong format in {{split(1,a b)}}",
        ),
        (
            "*",
            "{{left(1,3000000000)}}",
            false,
            "function argument is invalid or in the wrong format in {{left(1,3000000000)}}",
        ),
        (
            "*",
            "{{partition(2147483648)}}",
            false,
            "function argument is invalid or in the wrong format in {{partition(2147483648)}}",
        ),
        (
            "*",
            "{{partition(-1)}}",
            false,
            "function argument is invalid or in the wrong format in {{partition(-1)}}",
        ),
    ] {
        let expected = format!("{prefix}{text}");
        assert_eq!(
            refused(source, destination, strict),
            expected,
            "{source} -> {destination}"
        );
    }
}

#[test]
fn source_and_destination_must_go_together() {
    for (source, destination) in [
        ("foo..", "bar"),
        ("a b", "bar"),
        ("a\u{1}", "bar"),
        ("foo.*", "bar.*"),
        ("foo.*", "bar.$1.>"),
        ("foo.>", "bar.baz"),
        ("foo", "bar..baz"),
        ("foo", "bar."),
        ("foo", "bar baz"),
        ("foo", "bar\r\nPUB x 0"),
        ("foo.>", ">.>"),
        ("", "foo"),
    ] {
        assert_eq!(
            refused(source, destination, false),
            "invalid subject",
            "{source} {destination}"
        );
    }
}

#[test]
fn mappings_are_told_more_about_their_destination() {
    for (source, destination) in [
        ("bar", "foo"),
        ("foo.>", ">"),
        ("foo.*.>", "bar.{{wildcard(1)}}.>"),
        ("*", "foo.{{ wildcard(1) }}"),
        ("*.*", "foo.{{SplitFromLeft(2,1)}}"),
        ("*", "{{split(1, -)}}"),
        ("*.*", "{{left(1,1)}}.{{Right(2,1)}}"),
    ] {
        assert!(
            Transform::for_mapping(source, destination).is_ok(),
            "{destination}"
        );
    }
    for (source, destination, text) in [
        ("*", "{{unknown(1)}}", "unknown function in {{unknown(1)}}"),
        ("foo", "foo..}", "invalid transform"),
        ("foo", "foo.>.a", "invalid transform in a"),
        ("foo", "foo. bar}", "invalid transform"),
        ("foo", "", "invalid transform"),
    ] {
        let error = Transform::for_mapping(source, destination).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid mapping destination: {text}")
        );
    }
    let error = Transform::for_mapping("foo.*", "bar.*").unwrap_err();
    assert_eq!(error.to_string(), "invalid subject");
}

#[test]
fn random_numbers_stay_below_their_limit() {
    let transform = Transform::new("a", "{{random(6)}}", false).unwrap();
    let (mut rng, mut out, mut seen) = (Rng::new(5), Vec::new(), [false; 6]);
    for _ in 0..200 {
        assert!(transform.apply(b"a", &mut rng, &mut out));
        seen[usize::from(out[0] - b'0')] = out.len() == 1;
    }
    assert_eq!(seen, [true; 6]);
}

#[test]
fn a_strict_transform_is_undone_by_its_reverse() {
    for (source, destination, subject) in [
        ("a", "b", "a"),
        ("a.>", "b.c.>", "a.x.y"),
        (">", "b.>", "x.y"),
        ("b.>", ">", "b.x.y"),
        ("a.*.*.*", "$2.$3.b.$1", "a.x.y.z"),
        ("*.$1.*.>", "{{wildcard(2)}}.$1.{{literal.>", "x.$1.y.z"),
    ] {
        let there = Transform::new(source, destination, true).unwrap();
        let back = there.reverse().unwrap();
        let (mut rng, mut middle, mut end) = (Rng::new(0), Vec::new(), Vec::new());
        assert!(there.apply(subject.as_bytes(), &mut rng, &mut middle));
        assert!(back.apply(&middle, &mut rng, &mut end));
        assert_eq!(
            String::from_utf8_lossy(&end),
            subject,
            "{source} -> {destination}"
        );
        assert_eq!(back.source(), there.destination_pattern());
        assert_eq!(back.destination_pattern(), there.source());
    }
    assert_eq!(Transform::new("*", "$1.$1", true).unwrap().reverse(), None);
    assert_eq!(
        Transform::new("*", "{{left(1,1)}}", false)
            .unwrap()
            .reverse(),
        None
    );
}

#[test]
fn destination_patterns_cover_the_results() {
    for (source, destination, pattern) in [
        ("a.*", "b.$1", "b.*"),
        ("*.*.>", "$2.x.{{partition(3,1)}}.>", "*.x.*.>"),
        ("*", "a.{{left(1,2)}}.b", "a.*.b"),
        ("*", "a.{{split(1,-)}}.b", "a.>"),
        ("a.*", "", "a.*"),
    ] {
        let transform = Transform::new(source, destination, false).unwrap();
        assert_eq!(
            transform.destination_pattern(),
            pattern.as_bytes(),
            "{destination}"
        );
    }
}

fn destination_token() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "wildcard",
        "partition",
        "random",
        "split",
        "splitfromleft",
        "slicefromright",
        "slicefromleft",
        "left",
        "Right",
        "none",
    ]);
    prop_oneof![
        "[a-c]",
        "\\$[0-3]",
        (names, "[-,0-3 a]{0,5}").prop_map(|(name, args)| format!("{{{{{name}({args})}}}}")),
        "[{}a>*$(]{1,8}",
    ]
}

proptest! {
    #[test]
    fn results_are_what_the_destination_promises(
        source in "([a-c*]\\.){0,3}[a-c*>]",
        tokens in prop::collection::vec(destination_token(), 1..4),
        subject in "[-a-c1]{1,5}(\\.[-a-c1]{1,5}){0,3}",
        strict: bool,
        seed: u64,
    ) {
        let mut destination = tokens.join(".");
        if source.ends_with('>') {
            destination += ".>";
        }
        let Ok(transform) = Transform::new(&source, &destination, strict) else {
            return Ok(());
        };
        let (mut rng, mut out) = (Rng::new(seed), Vec::new());
        let subject = subject.as_bytes();
        let matched = transform.apply(subject, &mut rng, &mut out);
        prop_assert_eq!(matched, matches(source.as_bytes(), subject));
        if !matched {
            return Ok(());
        }
        prop_assert!(out.iter().all(|byte| *byte >= 0x21));
        let pattern = transform.destination_pattern();
        prop_assert!(is_valid(&pattern));
        prop_assert!(!is_literal(&out) || matches(&pattern, &out));
        if let Some(back) = transform.reverse() {
            let middle = out.clone();
            prop_assert!(back.apply(&middle, &mut rng, &mut out));
            prop_assert_eq!(&out[..], subject);
        }
    }
}
