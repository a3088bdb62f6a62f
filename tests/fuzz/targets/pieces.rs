//! What all targets that read a stream of bytes have in common: it arrives in pieces.

use nats_server::base::rng::Rng;
use nats_server::proto::client::Partial;

/// What a parser makes of the front of a buffer, in words that can be compared.
pub enum Step {
    /// An operation and how many bytes it took.
    Op(String, usize),
    Partial(Partial),
    Bad(String),
}

/// Asserts that a stream means the same operations, and the same end, as a whole, cut at random
/// places, and byte by byte.
pub fn check(stream: &[u8], seed: [u8; 2], payload_max: usize, parse: impl Fn(&[u8]) -> Step) {
    let mut rng = Rng::new(u64::from(u16::from_le_bytes(seed)));
    let whole = outcome(&[stream], payload_max, &parse);
    assert_eq!(outcome(&cut(stream, &mut rng), payload_max, &parse), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(outcome(&bytes, payload_max, &parse), whole);
}

/// Cuts at random places, empty pieces among them.
fn cut<'a>(mut stream: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(rng.below(stream.len().min(40) + 1));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// What some pieces come to: the operations, and how it ended.
fn outcome(
    pieces: &[&[u8]],
    payload_max: usize,
    parse: impl Fn(&[u8]) -> Step,
) -> (Vec<String>, Option<String>) {
    let (mut stash, mut ops) = (Vec::new(), Vec::new());
    for piece in pieces {
        stash.extend_from_slice(piece);
        loop {
            match parse(&stash) {
                Step::Op(op, used) => {
                    assert!((1..=stash.len()).contains(&used));
                    ops.push(op);
                    stash.drain(..used);
                }
                Step::Partial(Partial::Line) => break,
                Step::Partial(Partial::Keep(n)) => {
                    assert!(n <= stash.len());
                    stash.truncate(n);
                    break;
                }
                Step::Partial(Partial::Payload(total)) => {
                    assert!(total > stash.len());
                    assert!(total <= stash.len() + payload_max + 2);
                    break;
                }
                Step::Bad(why) => return (ops, Some(why)),
            }
        }
    }
    (ops, None)
}
