//! Protocol traces as operators know them, without the secrets.

use std::borrow::Cow;

/// The names of CONNECT fields whose values never reach a log. A field is secret if its name
/// starts with one of these.
const SECRETS: [&[u8]; 6] = [
    b"pass",
    b"auth_token",
    b"nkey",
    b"sig",
    b"proxy_sig",
    b"jwt",
];

/// The arguments of a CONNECT with the values of secret fields replaced by `[REDACTED]`. Works on
/// malformed JSON as well, where it rather hides too much than too little.
pub fn redact(args: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(open) = args.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
        let key_at = at + open + 1;
        let key_end = string_end(args, key_at);
        at = (key_end + 1).min(args.len());
        let secret = is_secret(&args[key_at..key_end]);
        let Some(value) = secret.then(|| value_after_colon(args, at)).flatten() else {
            continue;
        };
        let end = value_end(args, value);
        let quoted = args.get(value) == Some(&b'"');
        let out = out.get_or_insert_default();
        out.extend_from_slice(&args[copied..value]);
        out.extend_from_slice(if quoted {
            b"\"[REDACTED]\""
        } else {
            b"[REDACTED]"
        });
        (copied, at) = (end, end);
    }
    match out {
        None => Cow::Borrowed(args),
        Some(mut out) => {
            out.extend_from_slice(&args[copied..]);
            Cow::Owned(out)
        }
    }
}

/// Names may be escaped (`"p\u0061ss"`), so a name with a backslash counts as secret.
fn is_secret(name: &[u8]) -> bool {
    let starts = |s: &&[u8]| {
        name.get(..s.len())
            .is_some_and(|n| n.eq_ignore_ascii_case(s))
    };
    name.contains(&b'\\') || SECRETS.iter().any(starts)
}

/// Where the string that starts at `from` ends: at its closing quote, or at the end of it all.
fn string_end(args: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(b) = args.get(at) {
        match b {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    args.len()
}

fn skip_blanks(args: &[u8], from: usize) -> usize {
    args[from..]
        .iter()
        .position(|b| !b.is_ascii_whitespace())
        .map_or(args.len(), |n| from + n)
}

fn value_after_colon(args: &[u8], from: usize) -> Option<usize> {
    let colon = skip_blanks(args, from);
    (args.get(colon) == Some(&b':')).then(|| skip_blanks(args, colon + 1))
}

fn value_end(args: &[u8], value: usize) -> usize {
    match args.get(value) {
        Some(b'"') => (string_end(args, value + 1) + 1).min(args.len()),
        // An object or a list where a secret was expected: hide all that follows.
        Some(b'{' | b'[') => args.len(),
        _ => {
            let end = args[value..]
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']'));
            end.map_or(args.len(), |n| value + n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redacted(args: &str) -> String {
        String::from_utf8(redact(args.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let plain = r#"{"verbose":false,"name":"a\"pass","user":"pass"}"#;
        assert_eq!(redacted(plain), plain);
        assert_eq!(
            redacted(r#"{"user":"u","pass":"s3cret\"x","auth_token": "t", "lang":"go"}"#),
            r#"{"user":"u","pass":"[REDACTED]","auth_token": "[REDACTED]", "lang":"go"}"#
        );
        assert_eq!(
            redacted(r#"{"PASSWORD" : 12,"a":1}"#),
            r#"{"PASSWORD" : [REDACTED],"a":1}"#
        );
        assert_eq!(
            redacted(r#"{"nkey":"UX","sig":"zz","proxy_sig":"q","jwt":"ey"}"#),
            r#"{"nkey":"[REDACTED]","sig":"[REDACTED]","proxy_sig":"[REDACTED]","jwt":"[REDACTED]"}"#
        );
    }

    #[test]
    fn malformed_json_shows_no_secret() {
        for bad in [
            r#"{"pass":"s3cret"#,
            r#"{"pass":["s3cret"]}"#,
            r#"{"pass":s3cret}"#,
            r#""pass" : "s3cret""#,
            r#"{"p\u0061ss":"s3cret"}"#,
        ] {
            assert!(!redacted(bad).contains("s3cret"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            redact(&data);
        }
    }
}
