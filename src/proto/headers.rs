//! Headers of messages: looking for some, leaving some out, adding one.
//!
//! A header block is `NATS/1.0[ status]`, lines of `Name: value`, and an empty line, each with its
//! CRLF. Names count as the same in either case. Whatever a client sends for one is taken.

use std::collections::BTreeMap;

/// The first line of headers without a status.
const VERSION: &[u8] = b"NATS/1.0\r\n";

/// Headers by name, as JSON shows them.
pub type Picked = BTreeMap<String, Vec<String>>;

/// The lines of a header block behind the first, without their ends.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = block.split(|b| *b == b'\n').skip(1);
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The name and the value in a line.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
}

/// All names and values, in their order.
pub fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(block).filter_map(field)
}

/// The first value by this name.
pub fn value<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let is = |(other, _): &(&[u8], &[u8])| other.eq_ignore_ascii_case(name.as_bytes());
    fields(block).find(is).map(|(_, value)| value)
}

/// Appends a header block: that of `block`, which may be empty, without its headers by this name,
/// and with one that has the value.
pub fn replace(out: &mut Vec<u8>, block: &[u8], name: &str, value: &[u8]) {
    let first = memchr::memchr(b'\n', block);
    match first.map(|end| &block[..=end]) {
        Some(line) if line.starts_with(b"NATS/1.0") && line.ends_with(b"\r\n") => {
            out.extend_from_slice(line);
        }
        _ => out.extend_from_slice(VERSION),
    }
    let mut left_out = false;
    for line in lines(block).filter(|line| !line.is_empty()) {
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        // A line that begins with a blank goes on with the one before.
        left_out = match field(line) {
            _ if continues => left_out,
            Some((other, _)) => other.eq_ignore_ascii_case(name.as_bytes()),
            None => false,
        };
        if !left_out {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replaced(block: &str) -> String {
        let mut out = Vec::new();
        replace(&mut out, block.as_bytes(), "Nats-Request-Info", b"{}");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_header_is_replaced_however_it_is_spelled() {
        let want = "NATS/1.0\r\nA: 1\r\nNats-Request-Info: {}\r\n\r\n";
        for block in [
            "NATS/1.0\r\nA: 1\r\n\r\n",
            "NATS/1.0\r\nNats-Request-Info: x\r\nA: 1\r\n\r\n",
            "NATS/1.0\r\nnats-request-INFO:x\r\nA: 1\r\nNats-Request-Info: y\r\n\r\n",
            "NATS/1.0\r\nNats-Request-Info: x\r\n folded\r\n\t twice\r\nA: 1\r\n\r\n",
            "NATS/1.0\r\nA: 1\r\nNats-Request-Info : x\r\n\r\n",
            "NATS/1.0\nA: 1\nNats-Request-Info: x\n\n",
        ] {
            assert_eq!(replaced(block), want, "{block:?}");
        }
        assert_eq!(replaced(""), "NATS/1.0\r\nNats-Request-Info: {}\r\n\r\n");
        let status = replaced("NATS/1.0 100 Idle\r\n\r\n");
        assert_eq!(status, "NATS/1.0 100 Idle\r\nNats-Request-Info: {}\r\n\r\n");
    }

    #[test]
    fn values_are_found() {
        let block = b"NATS/1.0\r\nB: 1\r\na:2 \r\nA: 3\r\nnonsense\r\n\r\n";
        assert_eq!(value(block, "A"), Some(&b"2"[..]));
        assert_eq!(value(block, "C"), None);
        assert_eq!(fields(block).count(), 3);
    }

    proptest! {
        #[test]
        fn one_header_by_that_name_is_left_whatever_was_there(
            lines in proptest::collection::vec("[ -~\r\n]{0,12}|[nN]ats-[rR]equest-[iI]nfo ?: x", 0..6),
        ) {
            let block = format!("NATS/1.0\r\n{}\r\n\r\n", lines.join("\r\n"));
            let out = replaced(&block);
            let named = |(name, _): &(&[u8], &[u8])| {
                name.eq_ignore_ascii_case(b"nats-request-info")
            };
            let found: Vec<_> = fields(out.as_bytes()).filter(named).collect();
            prop_assert_eq!(found, [(&b"Nats-Request-Info"[..], &b"{}"[..])]);
            prop_assert!(out.ends_with("\r\n\r\n"));
        }
    }
}
