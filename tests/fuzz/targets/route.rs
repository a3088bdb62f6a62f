//! A stream of bytes on a route means the same operations in whatever pieces it arrives, and what is
//! read is what the writers write.
//!
//! The first byte of an input sets the limits, the next two the pieces.

#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use nats_server::proto::client::Publish;
use nats_server::proto::route::{
    Limits, Op, Parsed, Routed, Subject, parse, write_message, write_subscribe, write_unsubscribe,
};
use pieces::Step;

fuzz_target!(|data: &[u8]| {
    let [flags, seed @ ..] = data.first_chunk::<3>().copied().unwrap_or_default();
    let stream = data.get(3..).unwrap_or_default();
    let limits = Limits {
        control_line_max: if flags & 1 == 0 { 4096 } else { 24 },
        payload_max: if flags & 2 == 0 { 1 << 20 } else { 32 },
        names_account: flags & 4 == 0,
    };
    pieces::check(stream, seed, limits.payload_max, |bytes| {
        match parse(bytes, &limits) {
            Parsed::Op(op, used) => Step::Op(described(op, &bytes[..used], &limits), used),
            Parsed::Partial(partial) => Step::Partial(partial),
            Parsed::Bad(_) => Step::Bad("violation".into()),
        }
    });
});

/// An operation in words, checked against the bytes that it was made of and those that it is written
/// as.
fn described(op: Op<'_>, bytes: &[u8], limits: &Limits) -> String {
    let mut written = Vec::new();
    match op {
        Op::Subscribe(to, queue) => {
            write_subscribe(&mut written, &to, queue);
            assert_eq!(again(&written, limits), Op::Subscribe(to, queue));
        }
        Op::Unsubscribe(to, queue) => {
            write_unsubscribe(&mut written, &to, queue);
            assert_eq!(again(&written, limits), Op::Unsubscribe(to, queue));
        }
        Op::Message(routed) => {
            check(&routed, bytes, limits);
            let Routed {
                account,
                queues,
                publish,
            } = routed;
            let subject = publish.subject;
            let to = Subject { account, subject };
            let sizes = (publish.header_len, publish.size());
            write_message(&mut written, &to, publish.reply, queues.iter(), sizes);
            written.extend_from_slice(publish.payload);
            let Op::Message(same) = again(&written, limits) else {
                panic!("a message is written as one");
            };
            assert_eq!((same.account, same.publish.subject), (account, subject));
            assert_eq!(same.publish.reply, publish.reply);
            assert!(same.queues.iter().eq(queues.iter()));
            assert_eq!(same.publish.payload, publish.payload);
        }
        _ => {}
    }
    match op {
        Op::Message(routed) => {
            let queues: Vec<&[u8]> = routed.queues.iter().collect();
            let publish = Publish {
                canonical: None,
                args: b"",
                ..routed.publish
            };
            format!("{:?} {queues:?} {publish:?}", routed.account)
        }
        op => format!("{op:?}"),
    }
}

fn again<'a>(written: &'a [u8], limits: &Limits) -> Op<'a> {
    let limits = Limits {
        control_line_max: usize::MAX,
        payload_max: usize::MAX,
        ..*limits
    };
    match parse(written, &limits) {
        Parsed::Op(op, used) if used == written.len() => op,
        other => panic!("{other:?}"),
    }
}

fn check(routed: &Routed<'_>, bytes: &[u8], limits: &Limits) {
    let publish = &routed.publish;
    assert!(bytes.ends_with(publish.payload) && publish.payload.ends_with(b"\r\n"));
    assert!(publish.size() <= limits.payload_max);
    assert!(publish.header_len.is_none_or(|n| n <= publish.size()));
    assert!(!publish.subject.is_empty() && publish.reply != Some(b""));
    if let Some(canonical) = publish.canonical {
        let (head, tail) = canonical.command.split_at(canonical.head_len);
        assert!(tail.starts_with(publish.reply.unwrap_or_default()));
        assert!(bytes.ends_with(canonical.command));
        let verb = if publish.header_len.is_some() { 5 } else { 4 };
        assert_eq!(&head[verb..], [publish.subject, b" "].concat());
        assert_eq!(head[verb - 1], b' ');
        assert!(tail.ends_with(publish.payload));
    }
}
