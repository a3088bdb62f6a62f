//! Streams in the framing of S2, which is that of Snappy with larger blocks
//! (<https://github.com/google/snappy/blob/master/framing_format.txt>): backups of streams, and what
//! goes between servers that compress.

use super::compression::Level;
use minlz::crc::crc;
use minlz::s2;

/// A frame's kind and the length of what follows.
const HEAD: usize = 4;

const COMPRESSED: u8 = 0x00;
const PLAIN: u8 = 0x01;
/// Kinds from here on may be passed over, those before may not.
const SKIPPABLE: u8 = 0x80;
const IDENTIFIER: u8 = 0xff;

/// What identifies a stream of S2, and one of Snappy.
const NAMES: [&[u8]; 2] = [b"S2sTwO", b"sNaPpY"];

/// Bytes of a block that we write.
const BLOCK: usize = 256 << 10;

/// Bytes that may stay for what is to come.
const IDLE: usize = 16 << 10;

/// Bytes of a block that any writer makes, and of a frame that holds one: what cannot be compressed
/// is stored as it is.
const BLOCK_MAX: usize = 4 << 20;
const FRAME_MAX: usize = BLOCK_MAX + (BLOCK_MAX >> 2);

/// What is wrong with a stream.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Damaged(pub &'static str);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Damaged {}

/// Makes frames of bytes.
#[derive(Debug, Default)]
pub struct Packer {
    raw: Vec<u8>,
    out: Vec<u8>,
    /// Bytes in front of `out` that were taken.
    taken: usize,
    begun: bool,
    level: Level,
}

impl Packer {
    /// Adds bytes that go out as they are, before the stream.
    pub fn put_before(&mut self, bytes: &[u8]) {
        debug_assert!(!self.begun);
        self.out.extend_from_slice(bytes);
    }

    /// How hard to try from the next block on.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Bytes that [`Packer::settle`] makes a block of.
    pub const BLOCK: usize = BLOCK;

    /// Gives memory back that is not needed, if all is taken.
    pub fn shrink(&mut self) {
        if self.ready() == 0
            && self.raw.is_empty()
            && self.out.capacity() + self.raw.capacity() > IDLE
        {
            (self.raw, self.out, self.taken) = (Vec::new(), Vec::new(), 0);
        }
    }

    /// Where to put what is to be packed; [`Packer::settle`] is to be called then.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Packs what fills blocks.
    pub fn settle(&mut self) {
        let mut from = 0;
        while self.raw.len() - from >= BLOCK {
            self.pack(from, from + BLOCK);
            from += BLOCK;
        }
        self.raw.drain(..from);
    }

    /// Packs all there is.
    pub fn finish(&mut self) {
        self.settle();
        if !self.raw.is_empty() {
            self.pack(0, self.raw.len());
            self.raw.clear();
        }
    }

    fn pack(&mut self, from: usize, to: usize) {
        if !self.begun {
            self.begun = true;
            put_frame(&mut self.out, IDENTIFIER, None, NAMES[0]);
        }
        let raw = &self.raw[from..to];
        let packed = match self.level {
            Level::Uncompressed => return put_frame(&mut self.out, PLAIN, Some(crc(raw)), raw),
            Level::Fast => s2::encode(raw),
            Level::Better => s2::encode_better(raw),
            Level::Best => s2::encode_best(raw),
        };
        match packed.len() < raw.len() - raw.len() / 8 {
            true => put_frame(&mut self.out, COMPRESSED, Some(crc(raw)), &packed),
            false => put_frame(&mut self.out, PLAIN, Some(crc(raw)), raw),
        }
    }

    /// How many bytes are there to be taken.
    pub fn ready(&self) -> usize {
        self.out.len() - self.taken
    }

    /// The next bytes, which [`Packer::take`] gives and counts as taken.
    pub fn peek(&self) -> &[u8] {
        &self.out[self.taken..]
    }

    /// The next bytes, so many or all there are.
    pub fn take(&mut self, most: usize) -> &[u8] {
        if self.taken > BLOCK || self.taken == self.out.len() {
            self.out.drain(..self.taken);
            self.taken = 0;
        }
        let from = self.taken;
        self.taken = self.out.len().min(from.saturating_add(most));
        &self.out[from..self.taken]
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, crc: Option<u32>, body: &[u8]) {
    let len = body.len() + crc.map_or(0, |_| 4);
    let len = u32::try_from(len).expect("a block and its sum are less than 16 MiB");
    out.push(kind);
    out.extend_from_slice(&len.to_le_bytes()[..3]);
    out.extend(crc.map(u32::to_le_bytes).into_iter().flatten());
    out.extend_from_slice(body);
}

/// Makes bytes of frames, whatever pieces they come in.
#[derive(Debug, Default)]
pub struct Unpacker {
    held: Vec<u8>,
    at: usize,
    /// Bytes of a frame that is passed over which have not come yet.
    skip: usize,
    begun: bool,
}

impl Unpacker {
    /// Takes bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.drain(..self.at);
        self.at = 0;
        self.held.extend_from_slice(bytes);
    }

    /// The bytes of the next block, as soon as all of it has come.
    ///
    /// # Errors
    /// If these are no frames.
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, Damaged> {
        loop {
            let passed = self.skip.min(self.held.len() - self.at);
            self.skip -= passed;
            self.at += passed;
            let rest = &self.held[self.at..];
            let Some((&[kind, a, b, c], rest)) = rest.split_first_chunk::<HEAD>() else {
                return Ok(None);
            };
            let len = u32::from_le_bytes([a, b, c, 0]) as usize;
            if !self.begun && kind != IDENTIFIER {
                return Err(Damaged("it does not begin as a compressed stream does"));
            }
            match kind {
                COMPRESSED | PLAIN | IDENTIFIER => {}
                SKIPPABLE.. => {
                    self.at += HEAD;
                    self.skip = len;
                    continue;
                }
                _ => return Err(Damaged("it holds frames of an unknown kind")),
            }
            if len > FRAME_MAX {
                return Err(Damaged("it holds a frame that is too large"));
            }
            let Some(body) = rest.get(..len) else {
                return Ok(None);
            };
            self.at += HEAD + len;
            if kind == IDENTIFIER {
                if !NAMES.contains(&body) {
                    return Err(Damaged("it is not compressed with S2 or Snappy"));
                }
                self.begun = true;
                continue;
            }
            return block(kind == COMPRESSED, body).map(Some);
        }
    }

    /// Gives memory back that nothing is held in.
    pub fn shrink(&mut self) {
        if self.at == self.held.len() && self.held.capacity() > IDLE {
            (self.held, self.at) = (Vec::new(), 0);
        }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_torn(&self) -> bool {
        self.at < self.held.len() || self.skip > 0
    }
}

fn block(is_compressed: bool, body: &[u8]) -> Result<Vec<u8>, Damaged> {
    let corrupt = || Damaged("a compressed block is damaged");
    let (sum, body) = body.split_first_chunk::<4>().ok_or_else(corrupt)?;
    let block = match is_compressed {
        false => body.to_vec(),
        true => {
            let (len, _) = s2::decode_len(body).map_err(|_| corrupt())?;
            if len > BLOCK_MAX {
                return Err(corrupt());
            }
            let mut block = vec![0; len];
            let written = s2::decode_into(&mut block, body).map_err(|_| corrupt())?;
            block.truncate(written);
            block
        }
    };
    match crc(&block) == u32::from_le_bytes(*sum) {
        true => Ok(block),
        false => Err(corrupt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = Packer::default();
        for piece in bytes.chunks(100_000) {
            packer.raw().extend_from_slice(piece);
            packer.settle();
        }
        packer.finish();
        let mut out = Vec::new();
        while packer.ready() > 0 {
            out.extend_from_slice(packer.take(70_000));
        }
        out
    }

    fn unpacked(bytes: &[u8], piece: usize) -> Result<Vec<u8>, Damaged> {
        let mut unpacker = Unpacker::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            unpacker.feed(piece);
            while let Some(block) = unpacker.next_block()? {
                out.extend(block);
            }
        }
        assert!(!unpacker.is_torn());
        Ok(out)
    }

    /// Bytes that can be compressed, and some that cannot.
    fn sample() -> Vec<u8> {
        let mut rng = crate::base::rng::Rng::new(5);
        let noise = (0..300_000).map(|_| rng.next_u64().to_le_bytes()[0]);
        let mut bytes: Vec<u8> = noise.collect();
        bytes.extend((0..500_000u32).flat_map(|n| (n / 8).to_le_bytes()));
        bytes
    }

    #[test]
    fn what_is_packed_comes_back_in_whatever_pieces() {
        let bytes = sample();
        let packed = packed(&bytes);
        assert!(packed.len() < bytes.len() / 2);
        for piece in [1, 1000, 131_072, packed.len()] {
            assert_eq!(unpacked(&packed, piece).as_deref(), Ok(&bytes[..]));
        }
        let mut reader = s2::Reader::new(&packed[..]);
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn every_level_can_be_read_and_what_comes_before_the_stream_stays_plain() {
        let bytes = sample();
        for level in [Level::Uncompressed, Level::Fast, Level::Better, Level::Best] {
            let mut packer = Packer::default();
            packer.set_level(level);
            packer.put_before(b"plain");
            packer.raw().extend_from_slice(&bytes);
            packer.finish();
            let out = packer.peek().to_vec();
            assert_eq!(packer.take(usize::MAX), out);
            let packed = out.strip_prefix(b"plain").unwrap();
            assert_eq!(
                unpacked(packed, 999).as_deref(),
                Ok(&bytes[..]),
                "{level:?}"
            );
            assert_eq!(packed.len() > bytes.len(), level == Level::Uncompressed);
            packer.shrink();
            assert!(packer.out.capacity() == 0 && packer.raw.capacity() == 0);
            packer.raw().extend_from_slice(b"more");
            packer.finish();
            let packed = [packed, packer.peek()].concat();
            assert!(unpacked(&packed, 999).unwrap().ends_with(b"more"));
        }
    }

    #[test]
    fn what_is_passed_over_is_and_what_is_wrong_is_a_fault() {
        let mut with_padding = Vec::new();
        put_frame(&mut with_padding, IDENTIFIER, None, NAMES[1]);
        put_frame(&mut with_padding, 0xfe, None, &[0; 5000]);
        put_frame(&mut with_padding, PLAIN, Some(crc(b"abc")), b"abc");
        assert_eq!(unpacked(&with_padding, 7).as_deref(), Ok(&b"abc"[..]));

        let good = packed(&sample());
        let mut damaged = good.clone();
        damaged[5000] ^= 1;
        assert!(unpacked(&damaged, 1000).is_err());
        assert!(unpacked(&good[10..], 1000).is_err(), "no identifier");
        let mut unknown = good.clone();
        put_frame(&mut unknown, 0x10, None, b"?");
        assert!(unpacked(&unknown, 1000).is_err());
        let mut bomb = good[..10].to_vec();
        // A block that says it has 2^28 bytes.
        put_frame(&mut bomb, COMPRESSED, Some(0), &[0x80, 0x80, 0x80, 0x80, 1]);
        assert!(unpacked(&bomb, 1000).is_err());
    }
}
