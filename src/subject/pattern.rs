//! What patterns, which are subjects that may have wildcards, have in common with subjects and
//! with each other.
//!
//! Patterns are taken to be [valid](super::is_valid). A published subject is anything that a
//! client sent: it is read token by token, and a `*` or `>` in it is a token like others. All
//! functions take time linear to what they are given.

/// Whether `pattern` matches the published subject `literal`. A subject that is empty or has an
/// empty token is matched by nothing.
#[inline]
pub fn matches(pattern: &[u8], literal: &[u8]) -> bool {
    let mut tokens = literal.split(is_dot);
    for of in pattern.split(is_dot) {
        if of == b">" {
            let mut rest = tokens.peekable();
            return rest.peek().is_some() && rest.all(|token| !token.is_empty());
        }
        match tokens.next() {
            Some(token) if !token.is_empty() && (of == b"*" || of == token) => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether every subject that the pattern `subject` matches is matched by the pattern `of`, too.
pub fn is_subset(subject: &[u8], of: &[u8]) -> bool {
    let mut tokens = subject.split(is_dot);
    for of in of.split(is_dot) {
        match tokens.next() {
            None | Some(b"") => return false,
            Some(_) if of == b">" => return true,
            Some(token) if (of == b"*" && token != b">") || of == token => {}
            Some(_) => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether there is a subject that both patterns match.
pub fn overlaps(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (a.split(is_dot), b.split(is_dot));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) | (Some(b""), _) | (_, Some(b"")) => return false,
            (Some(b">"), _) | (_, Some(b">")) => return true,
            (Some(a), Some(b)) if a == b || a == b"*" || b == b"*" => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// The tokens of `pattern` in front of its first wildcard, how many they are, and whether there
/// is a wildcard behind them.
pub(super) fn literal_head(pattern: &[u8]) -> (&[u8], usize, bool) {
    let (mut start, mut count) = (0, 0);
    for token in pattern.split(is_dot) {
        if super::is_wildcard_token(token) {
            return (&pattern[..start.max(1) - 1], count, true);
        }
        start += token.len() + 1;
        count += 1;
    }
    (pattern, count, false)
}

fn is_dot(byte: &u8) -> bool {
    *byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Subjects over so few tokens that all of them can be tried.
    fn universe() -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut longest = vec![String::new()];
        for _ in 0..4 {
            longest = longest
                .iter()
                .flat_map(|head| ["a", "b", "c"].map(|token| format!("{head}.{token}")))
                .collect();
            all.extend(longest.iter().map(|subject| subject[1..].to_owned()));
        }
        all
    }

    /// What a pattern means, said in another way: one token after the other, by recursion.
    fn naive(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", pattern @ ..], [_, subject @ ..]) => naive(pattern, subject),
            ([of, pattern @ ..], [token, subject @ ..]) => of == token && naive(pattern, subject),
            _ => false,
        }
    }

    fn tokens(subject: &str) -> Vec<&str> {
        subject.split('.').collect()
    }

    fn pattern() -> impl Strategy<Value = String> {
        let tokens = prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 0..3);
        (tokens, prop::sample::select(vec!["a", "b", "*", ">"])).prop_map(|(mut tokens, last)| {
            tokens.push(last);
            tokens.join(".")
        })
    }

    #[test]
    fn wildcards_in_a_published_subject_are_plain_tokens() {
        assert!(matches(b"a.*", b"a.*"));
        assert!(matches(b"a.*", b"a.>"));
        assert!(matches(b"a.>", b"a.>.*"));
        assert!(!matches(b"a.b", b"a.*"));
        assert!(!matches(b"a.b.c", b"a.>"));
        assert!(matches(b"a*", b"a*"));
        assert!(!matches(b"a*", b"ab"));
    }

    #[test]
    fn a_subject_with_an_empty_token_is_matched_by_nothing() {
        for subject in ["", ".", "a.", ".a", "a..b", "a.b."] {
            for pattern in [">", "*", "*.*", "a.>", "*.>", "a.*", "*.*.*"] {
                assert!(
                    !matches(pattern.as_bytes(), subject.as_bytes()),
                    "{pattern} {subject}"
                );
            }
        }
    }

    #[test]
    fn a_rest_is_no_subset_of_a_single_token() {
        assert!(!is_subset(b"a.>", b"a.*"));
        assert!(!is_subset(b">", b"*.>"));
        assert!(!is_subset(b"a", b"a.>"));
        assert!(is_subset(b"*.>", b">"));
        assert!(is_subset(b"a.*.c", b"a.*.*"));
        assert!(is_subset(b">", b">"));
    }

    #[test]
    fn overlaps_are_found_behind_wildcards() {
        assert!(overlaps(b"a.*", b"*.b"));
        assert!(overlaps(b"a.>", b"*.*.c"));
        assert!(!overlaps(b"a.>", b"a"));
        assert!(!overlaps(b"a.*.c", b"a.b.*.d"));
        assert!(!overlaps(b"*.x", b"*.y.>"));
    }

    #[test]
    fn heads_end_before_the_first_wildcard() {
        for (pattern, head, count, wild) in [
            ("a.b", "a.b", 2, false),
            ("a.*.b", "a", 1, true),
            ("a.bc.>", "a.bc", 2, true),
            ("*.a", "", 0, true),
            (">", "", 0, true),
        ] {
            let found = literal_head(pattern.as_bytes());
            assert_eq!(found, (head.as_bytes(), count, wild), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn all_agree_with_the_subjects_that_are_matched(a in pattern(), b in pattern()) {
            let (mut subset, mut overlap) = (true, false);
            for subject in universe() {
                let by_a = naive(&tokens(&a), &tokens(&subject));
                let by_b = naive(&tokens(&b), &tokens(&subject));
                prop_assert_eq!(matches(a.as_bytes(), subject.as_bytes()), by_a);
                subset &= by_b || !by_a;
                overlap |= by_a && by_b;
            }
            prop_assert_eq!(is_subset(a.as_bytes(), b.as_bytes()), subset);
            prop_assert_eq!(overlaps(a.as_bytes(), b.as_bytes()), overlap);
        }

        #[test]
        fn any_bytes_are_judged(a in "[ab.*>]{0,12}", b in "[ab.*>]{0,12}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            prop_assert_eq!(overlaps(a, b), overlaps(b, a));
            if matches(a, b) {
                prop_assert!(super::super::token_count(b) > 0);
            }
            is_subset(a, b);
        }
    }
}
