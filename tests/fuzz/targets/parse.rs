//! A stream of bytes means the same operations in whatever pieces it arrives.
//!
//! The first byte of an input sets the limits, the next two the pieces.

#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use nats_server::proto::client::{Limits, Op, Parsed, Publish, Violation, parse};
use pieces::Step;

fuzz_target!(|data: &[u8]| {
    let [flags, seed @ .., _, _] = data.first_chunk::<5>().copied().unwrap_or_default();
    let stream = data.get(3..).unwrap_or_default();
    let limits = Limits {
        control_line_max: if flags & 1 == 0 { 4096 } else { 24 },
        payload_max: if flags & 2 == 0 { 1 << 20 } else { 32 },
        headers: flags & 4 == 0,
    };
    pieces::check(stream, seed, limits.payload_max, |bytes| {
        match parse(bytes, &limits) {
            Parsed::Op(op, used) => Step::Op(described(op, &bytes[..used], &limits), used),
            Parsed::Partial(partial) => Step::Partial(partial),
            // The offset and the length so far are what had come by then.
            Parsed::Bad(Violation::UnknownOperation { .. }) => {
                Step::Bad("unknown operation".into())
            }
            Parsed::Bad(Violation::ControlLine(_)) => Step::Bad("control line".into()),
            Parsed::Bad(other) => Step::Bad(format!("{other:?}")),
        }
    });
});

/// An operation in words, checked against the bytes it was made of.
fn described(op: Op<'_>, bytes: &[u8], limits: &Limits) -> String {
    let Op::Publish(publish) = op else {
        return format!("{op:?}");
    };
    assert!(bytes.ends_with(publish.payload) && publish.payload.ends_with(b"\r\n"));
    assert!(publish.size() <= limits.payload_max);
    assert!(publish.header_len.is_none_or(|n| n <= publish.size()));
    assert!(!publish.subject.is_empty() && publish.reply != Some(b""));
    assert!(publish.args.len() <= limits.control_line_max);
    if let Some(canonical) = publish.canonical {
        assert_eq!(canonical.command, bytes);
        let (head, tail) = canonical.command.split_at(canonical.head_len);
        assert_eq!(head, canonical.head());
        assert!(tail.starts_with(publish.reply.unwrap_or_default()));
        let verb = if publish.header_len.is_some() { 5 } else { 4 };
        assert_eq!(&head[verb..], [publish.subject, b" "].concat());
        assert!(tail.ends_with(publish.payload));
    }
    // Blanks that were not kept make a line canonical that was not.
    let plain = Publish {
        canonical: None,
        ..publish
    };
    format!("{plain:?}")
}
