//! The tokens of a subject, and the rules for valid ones.
//!
//! Subjects are bytes: NATS asks for no encoding. What the wire protocol itself excludes (spaces
//! and line ends) and how long a subject may be is checked where commands are parsed, too.

/// Whether `subject` may be subscribed to: one or more tokens with `.` between them, none of them
/// empty, none with a space, tab, CR or LF, and `>` only as the whole last token.
///
/// `*` and `>` within a longer token are plain characters, as in the Go server's
/// `IsValidSubject`.
pub fn is_valid(subject: &[u8]) -> bool {
    let mut ended = false;
    subject.split(|b| *b == b'.').all(|token| {
        let valid = !ended && !token.is_empty() && !token.iter().any(is_blank);
        ended = token == b">";
        valid
    })
}

/// Whether `subject` may be published to in pedantic mode: it is valid and has no wildcard token.
pub fn is_literal(subject: &[u8]) -> bool {
    is_valid(subject) && !subject.split(|b| *b == b'.').any(is_wildcard_token)
}

/// The number of tokens in `subject`, empty ones included; 0 for an empty subject.
pub fn token_count(subject: &[u8]) -> usize {
    match subject {
        [] => 0,
        _ => 1 + memchr::memchr_iter(b'.', subject).count(),
    }
}

/// The part of `subject` before its first `.`, or all of it if there is none.
pub fn first_token(subject: &[u8]) -> &[u8] {
    &subject[..memchr::memchr(b'.', subject).unwrap_or(subject.len())]
}

/// Whether `token` is one of the two wildcards, `*` and `>`.
pub fn is_wildcard_token(token: &[u8]) -> bool {
    matches!(token, b"*" | b">")
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_subjects() {
        for subject in [
            "a",
            "a.b.c",
            "*",
            ">",
            "a.*.c",
            "a.>",
            "*.*.>",
            "a*",
            "a.b>",
            "a.>>",
            "**.a",
            "a.*>",
            ">a.b",
            "$SYS.REQ",
            "\u{e9}.\0",
            "_INBOX.x",
        ] {
            assert!(is_valid(subject.as_bytes()), "{subject:?}");
        }
    }

    #[test]
    fn invalid_subjects() {
        for subject in [
            "", ".", ".a", "a.", "a..b", "..", ">.a", "a.>.b", ">.>", "a b", "a.b ", " ", "a\tb",
            "a\r", "\na",
        ] {
            assert!(!is_valid(subject.as_bytes()), "{subject:?}");
            assert!(!is_literal(subject.as_bytes()), "{subject:?}");
        }
    }

    #[test]
    fn literal_subjects_have_no_wildcard_token() {
        for subject in ["a", "a.b", "a*", "a.b>.**", ">>"] {
            assert!(is_literal(subject.as_bytes()), "{subject:?}");
        }
        for subject in ["*", ">", "a.*", "*.a", "a.>"] {
            assert!(!is_literal(subject.as_bytes()), "{subject:?}");
        }
    }

    #[test]
    fn tokens_are_counted_and_cut() {
        for (subject, count, first) in [
            ("", 0, ""),
            ("a", 1, "a"),
            ("ab.c", 2, "ab"),
            (".a.", 3, ""),
            ("a..b", 3, "a"),
        ] {
            assert_eq!(token_count(subject.as_bytes()), count, "{subject:?}");
            assert_eq!(
                first_token(subject.as_bytes()),
                first.as_bytes(),
                "{subject:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn joined_plain_tokens_are_literal(
            tokens in proptest::collection::vec("[a-z*>]{2,4}|[a-z]", 1..8),
        ) {
            let subject = tokens.join(".");
            prop_assert!(is_literal(subject.as_bytes()));
            prop_assert_eq!(token_count(subject.as_bytes()), tokens.len());
            prop_assert_eq!(first_token(subject.as_bytes()), tokens[0].as_bytes());
        }

        #[test]
        fn any_bytes_are_judged(subject in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(is_valid(&subject) || !is_literal(&subject));
        }
    }
}
