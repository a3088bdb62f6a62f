//! The header that says where a message of a stream with sources comes from, and headers that do not
//! come along.
//!
//! Its value is `<stream> <seq> <filter> <destination> <subject>[ <identity>]`: the stream, with a
//! hash of the API's prefix behind a colon if that is another, the message's sequence there, what
//! the source is configured with, the subject that the message had, and which incarnation of the
//! stream it was (`genSourceHeader` in `stream.go`, 2.15). Before 2.10 it was the subject to
//! acknowledge the message on, or the first two fields only.

use crate::jetstream::api::ack;
use crate::jetstream::api::headers::STREAM_SOURCE;
use crate::proto::headers::fields;
use std::io::Write;

/// Where a message comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin<'a> {
    /// The stream, with where its API is.
    pub stream: &'a str,
    pub sequence: u64,
    /// What the source was configured with, and what became of subjects; old headers say nothing.
    pub rule: Option<(&'a str, &'a str)>,
    /// Which incarnation of the stream it was; empty if that is not known.
    pub identity: &'a str,
}

impl Origin<'_> {
    /// Whether the message came by the source with this index name, see
    /// [`index_name`](crate::jetstream::api::stream_check::index_name). Old headers fit all sources of
    /// the stream.
    pub fn is_of(&self, index_name: &str) -> bool {
        let mut fields = index_name.splitn(3, ' ');
        let stream = fields.next().unwrap_or_default();
        match self.rule {
            Some((filter, destination)) => {
                stream == self.stream
                    && fields.next() == Some(filter)
                    && fields.next() == Some(destination)
            }
            None => stream.split(":C=").next() == Some(self.stream),
        }
    }
}

/// Reads the header's value; none if it is in no form that there ever was.
pub fn parse(value: &[u8]) -> Option<Origin<'_>> {
    let text = std::str::from_utf8(value).ok()?;
    if text.starts_with("$JS.ACK.") {
        let acked = ack::parse_subject(value)?;
        return Some(Origin {
            stream: std::str::from_utf8(acked.stream).ok()?,
            sequence: acked.delivery.stream_seq,
            rule: None,
            identity: "",
        });
    }
    // Filters may hold form feeds, but no blanks.
    let fields: Vec<&str> = text.split(' ').collect();
    let sequence = |digits: &str| digits.parse().ok();
    match fields[..] {
        [stream, seq] => Some(Origin {
            stream,
            sequence: sequence(seq)?,
            rule: None,
            identity: "",
        }),
        [stream, seq, filter, destination, ref rest @ ..] => Some(Origin {
            stream,
            sequence: sequence(seq)?,
            rule: Some((filter, destination)),
            identity: rest.get(1).copied().unwrap_or_default(),
        }),
        _ => None,
    }
}

/// Where a stored message comes from, by its headers.
pub fn of_message(block: &[u8]) -> Option<Origin<'_>> {
    let is = |(name, _): &(&[u8], &[u8])| *name == STREAM_SOURCE.as_bytes();
    let (_, value) = fields(block).find(is)?;
    parse(value)
}

/// Writes the header's value for a message with this sequence and subject, which came by the source
/// with this index name from an incarnation of its stream.
pub fn write(index_name: &str, sequence: u64, subject: &[u8], identity: &str, out: &mut Vec<u8>) {
    let (stream, rule) = index_name.split_once(' ').unwrap_or((index_name, "> >"));
    write!(out, "{stream} {sequence} {rule} ").expect("a Vec takes all");
    out.extend_from_slice(subject);
    if !identity.is_empty() {
        write!(out, " {identity}").expect("a Vec takes all");
    }
}

/// Appends the headers of a message that is copied from another stream: without what its publisher
/// expected there, without what made it part of a batch, and, with a source, with where it comes from
/// instead of what was there. Nothing is appended if none are left.
pub fn copy(block: &[u8], source: Option<&[u8]>, out: &mut Vec<u8>) {
    const LINE: &[u8] = b"NATS/1.0\r\n";
    let start = out.len();
    out.extend_from_slice(LINE);
    let mut add = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    let begins = |name: &[u8], with: &[u8]| {
        let front = name.get(..with.len());
        front.is_some_and(|front| front.eq_ignore_ascii_case(with))
    };
    for (name, value) in fields(block) {
        let stays = !begins(name, b"Nats-Expected-")
            && !begins(name, b"Nats-Batch-")
            && !name.eq_ignore_ascii_case(b"Nats-Request-Info")
            && (source.is_none() || !name.eq_ignore_ascii_case(STREAM_SOURCE.as_bytes()));
        if stays {
            add(name, value);
        }
    }
    if let Some(source) = source {
        add(STREAM_SOURCE.as_bytes(), source);
    }
    match out.len() == start + LINE.len() {
        true => out.truncate(start),
        false => out.extend_from_slice(b"\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        // As a server of version 2.15 wrote it.
        let mut out = Vec::new();
        write("O o.1 >", 1, b"o.1", "aQOIeFvh", &mut out);
        assert_eq!(out, b"O 1 o.1 > o.1 aQOIeFvh");
        let origin = parse(&out).unwrap();
        let want = Origin {
            stream: "O",
            sequence: 1,
            rule: Some(("o.1", ">")),
            identity: "aQOIeFvh",
        };
        assert_eq!(origin, want);
        assert!(origin.is_of("O o.1 >"));
        assert!(!origin.is_of("O > >") && !origin.is_of("P o.1 >"));
        let mut out = Vec::new();
        write("O:abcd a\x0cb x\x0c>", 7, b"a", "", &mut out);
        assert_eq!(out, b"O:abcd 7 a\x0cb x\x0c> a");
        assert!(parse(&out).unwrap().is_of("O:abcd a\x0cb x\x0c>"));
    }

    #[test]
    fn old_forms_are_read() {
        let acked = parse(b"$JS.ACK.O.c.1.22.3.1700000000000000000.5").unwrap();
        assert_eq!((acked.stream, acked.sequence), ("O", 22));
        assert!(acked.is_of("O x >") && acked.is_of("O:C=abcd > >") && !acked.is_of("P > >"));
        let short = parse(b"O:hash 9").unwrap();
        assert_eq!((short.stream, short.sequence), ("O:hash", 9));
        assert!(short.is_of("O:hash > >"));
        for wrong in ["", "O", "O x", "O 1 >", "$JS.ACK.O", "O -1 > > s"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn headers_of_copies() {
        let block = b"NATS/1.0\r\nA: 1\r\nNats-Expected-Stream: O\r\nNats-Batch-Id: b\r\n\
            Nats-Stream-Source: P 3 > > p\r\n\r\n";
        let mut out = Vec::new();
        copy(block, None, &mut out);
        let want = "NATS/1.0\r\nA: 1\r\nNats-Stream-Source: P 3 > > p\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
        let mut out = Vec::new();
        copy(block, Some(b"O 1 > > o"), &mut out);
        let want = "NATS/1.0\r\nA: 1\r\nNats-Stream-Source: O 1 > > o\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
        let mut out = Vec::new();
        copy(
            b"NATS/1.0\r\nNats-Expected-Stream: O\r\n\r\n",
            None,
            &mut out,
        );
        copy(b"", None, &mut out);
        assert!(out.is_empty());
    }
}
