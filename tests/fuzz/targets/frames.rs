//! A compressed stream of another server comes to the same in whatever pieces it arrives, and what is
//! packed comes back.
//!
//! The first byte of an input says how hard to pack, the next two the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::base::rng::Rng;
use nats_server::proto::compression::Level;
use nats_server::proto::frames::{Packer, Unpacker};

fuzz_target!(|data: &[u8]| {
    let [level, seed @ ..] = data.first_chunk::<3>().copied().unwrap_or_default();
    let bytes = data.get(3..).unwrap_or_default();
    let whole = unpacked(&[bytes]);
    let mut rng = Rng::new(u64::from(u16::from_le_bytes(seed)));
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.below(rest.len().min(40) + 1));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(unpacked(&pieces), whole);
    let levels = [Level::Uncompressed, Level::Fast, Level::Better, Level::Best];
    let mut packer = Packer::default();
    packer.set_level(levels[usize::from(level) % levels.len()]);
    packer.raw().extend_from_slice(bytes);
    packer.finish();
    let mut packed = Sum::default();
    packed.add(bytes);
    assert_eq!(unpacked(&[packer.peek()]), (packed, false));
});

/// Bytes that came out, which may be many more than those that came in.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Sum {
    len: usize,
    sum: u64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        for byte in bytes {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// What comes out before the end or the first fault, and whether there is one.
fn unpacked(pieces: &[&[u8]]) -> (Sum, bool) {
    let (mut unpacker, mut out) = (Unpacker::default(), Sum::default());
    for piece in pieces {
        unpacker.feed(piece);
        loop {
            match unpacker.next_block() {
                Ok(Some(block)) => out.add(&block),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}
