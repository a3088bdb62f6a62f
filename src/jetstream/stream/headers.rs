//! Header blocks that are changed before they are stored.
//!
//! Names count in one spelling, as in [`crate::jetstream::api::headers`], but for the one that other
//! servers of requests may have written.

use crate::jetstream::api::ApiError;
use crate::jetstream::api::headers::{TTL, Ttl, fields, value};
use crate::store::stream::TTL_NEVER;
use std::borrow::Cow;

const VERSION: &[u8] = b"NATS/1.0\r\n";

/// Who asked, which requests of other accounts bring.
const INFO: &[u8] = b"Nats-Request-Info";

/// Seconds that a message lives, as its headers have it; 0 where they say nothing.
///
/// # Errors
/// If what they say is no time.
pub(in crate::jetstream) fn ttl_of(block: &[u8]) -> Result<u32, ApiError> {
    let ttl = Ttl::parse(value(block, TTL).unwrap_or_default());
    Ok(seconds(ttl.ok_or(ApiError::MessageTtlInvalid)?))
}

/// A time to live in seconds; 0 for none.
pub(super) fn seconds(ttl: Ttl) -> u32 {
    match ttl {
        Ttl::None => 0,
        Ttl::Never => TTL_NEVER,
        Ttl::Seconds(seconds) => u32::try_from(seconds)
            .unwrap_or(u32::MAX)
            .min(TTL_NEVER - 1),
    }
}

/// A block as it is stored: without who asked, and without a status.
pub(super) fn stored(block: &[u8]) -> Cow<'_, [u8]> {
    let plain = block.is_empty() || block.starts_with(VERSION);
    if plain && memchr::memmem::find(block, INFO).is_none() {
        return Cow::Borrowed(block);
    }
    Cow::Owned(without(block, |name| name.eq_ignore_ascii_case(INFO)))
}

/// A block without some headers; nothing if none is left.
pub(super) fn without(block: &[u8], mut leaves_out: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len());
    for (name, value) in fields(block).filter(|(name, _)| !leaves_out(name)) {
        push(&mut out, name, value);
    }
    end(&mut out);
    out
}

/// A block with a header more, at its end.
pub(super) fn with(block: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = block.strip_suffix(b"\r\n").unwrap_or_default().to_vec();
    push(&mut out, name.as_bytes(), value);
    end(&mut out);
    out
}

/// A block in which a header has another value, where it stands if it is there.
pub(super) fn set(block: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    if !fields(block).any(|(other, _)| other == name.as_bytes()) {
        return with(block, name, value);
    }
    let mut out = Vec::with_capacity(block.len() + value.len());
    let mut is_set = false;
    for (other, old) in fields(block) {
        if other != name.as_bytes() {
            push(&mut out, other, old);
        } else if !std::mem::replace(&mut is_set, true) {
            push(&mut out, other, value);
        }
    }
    end(&mut out);
    out
}

fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if out.is_empty() {
        out.extend_from_slice(VERSION);
    }
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn end(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_changed() {
        let block = b"NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n";
        assert_eq!(with(b"", "A", b"1"), b"NATS/1.0\r\nA: 1\r\n\r\n");
        assert_eq!(
            with(block, "C", b"4"),
            b"NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\nC: 4\r\n\r\n"
        );
        assert_eq!(set(block, "A", b"9"), b"NATS/1.0\r\nA: 9\r\nB: 2\r\n\r\n");
        assert_eq!(set(b"", "A", b"9"), b"NATS/1.0\r\nA: 9\r\n\r\n");
        assert_eq!(without(block, |n| n == b"A"), b"NATS/1.0\r\nB: 2\r\n\r\n");
        assert_eq!(without(block, |_| true), b"");
    }

    #[test]
    fn what_is_stored_has_no_status_and_does_not_say_who_asked() {
        assert_eq!(&*stored(b""), b"");
        let plain = b"NATS/1.0\r\nA: 1\r\n\r\n";
        assert!(matches!(stored(plain), Cow::Borrowed(_)));
        let status = b"NATS/1.0 503\r\nA: 1\r\n\r\n";
        assert_eq!(&*stored(status), plain);
        let asked = b"NATS/1.0\r\nnats-request-info: {}\r\nNats-Request-Info: {}\r\n\r\n";
        assert_eq!(&*stored(asked), b"");
    }
}
