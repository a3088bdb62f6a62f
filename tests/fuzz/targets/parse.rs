//! A stream of bytes means the same operations in whatever pieces it arrives.
//!
//! The first byte of an input sets the limits, the next two the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::base::rng::Rng;
use nats_server::proto::client::{Limits, Op, Parsed, Partial, Publish, Violation, parse};

fuzz_target!(|data: &[u8]| {
    let [flags, seed @ .., _, _] = data.first_chunk::<5>().copied().unwrap_or_default();
    let stream = data.get(3..).unwrap_or_default();
    let limits = Limits {
        control_line_max: if flags & 1 == 0 { 4096 } else { 24 },
        payload_max: if flags & 2 == 0 { 1 << 20 } else { 32 },
        headers: flags & 4 == 0,
    };
    let mut rng = Rng::new(u64::from(u16::from_le_bytes(seed)));
    let whole = outcome(&[stream], &limits);
    assert_eq!(outcome(&pieces(stream, &mut rng), &limits), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(outcome(&bytes, &limits), whole);
});

/// Cuts at random places, empty pieces among them.
fn pieces<'a>(mut stream: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(rng.below(stream.len().min(40) + 1));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// What some pieces come to: the operations, and how it ended.
fn outcome(pieces: &[&[u8]], limits: &Limits) -> (Vec<String>, Option<String>) {
    let (mut stash, mut ops) = (Vec::new(), Vec::new());
    for piece in pieces {
        stash.extend_from_slice(piece);
        loop {
            match parse(&stash, limits) {
                Parsed::Op(op, used) => {
                    assert!((1..=stash.len()).contains(&used));
                    ops.push(described(op, &stash[..used], limits));
                    stash.drain(..used);
                }
                Parsed::Partial(partial) => {
                    match partial {
                        Partial::Line => {}
                        Partial::Keep(n) => {
                            assert!(n <= stash.len());
                            stash.truncate(n);
                        }
                        Partial::Payload(total) => {
                            assert!(total > stash.len());
                            assert!(total <= stash.len() + limits.payload_max + 2);
                        }
                    }
                    break;
                }
                // The offset and the length so far are what had come by then.
                Parsed::Bad(Violation::UnknownOperation { .. }) => {
                    return (ops, Some("unknown operation".into()));
                }
                Parsed::Bad(Violation::ControlLine(_)) => {
                    return (ops, Some("control line".into()));
                }
                Parsed::Bad(other) => return (ops, Some(format!("{other:?}"))),
            }
        }
    }
    (ops, None)
}

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
    if let Some((head, tail)) = publish.canonical {
        assert_eq!([head, tail].concat(), bytes);
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
