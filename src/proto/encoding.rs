//! The encodings in which whoever asks can have long JSON documents: event and answer bodies.

use flate2::Compression;
use flate2::write::GzEncoder;
use minlz::crc::crc;
use minlz::s2::encode_snappy;
use std::io::Write;

/// The header by which one asks.
pub const ACCEPT_ENCODING: &str = "Accept-Encoding";

/// The header that says how a body is encoded.
pub const CONTENT_ENCODING: &str = "Content-Encoding";

/// How a body is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Identity,
    Gzip,
    /// The framing format of Snappy.
    Snappy,
}

/// The first chunk of a Snappy stream.
const SNAPPY_START: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Kinds of chunks.
const SNAPPY_COMPRESSED: u8 = 0x00;
const SNAPPY_PLAIN: u8 = 0x01;

/// Bytes that a chunk may stand for.
const SNAPPY_CHUNK: usize = 64 << 10;

impl Encoding {
    /// The best of those that somebody accepts. As in the reference it is enough that the name of
    /// one occurs, in either case, and `s2` stands for Snappy.
    pub fn accepted(value: &[u8]) -> Encoding {
        let value = value.to_ascii_lowercase();
        let names = |name: &str| memchr::memmem::find(&value, name.as_bytes()).is_some();
        if names("snappy") || names("s2") {
            Encoding::Snappy
        } else if names("gzip") {
            Encoding::Gzip
        } else {
            Encoding::Identity
        }
    }

    /// The value of [`CONTENT_ENCODING`].
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Snappy => "snappy",
        }
    }

    /// A body in this encoding.
    pub fn encode(self, body: Vec<u8>) -> Vec<u8> {
        match self {
            Encoding::Identity => body,
            Encoding::Gzip => gzip(&body),
            Encoding::Snappy => snappy(&body),
        }
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("a vector takes everything")
}

/// A stream of chunks, see
/// <https://github.com/google/snappy/blob/main/framing_format.txt>.
fn snappy(body: &[u8]) -> Vec<u8> {
    let mut out = SNAPPY_START.to_vec();
    for part in body.chunks(SNAPPY_CHUNK) {
        let packed = encode_snappy(part);
        // As in the reference, an eighth must be gained.
        let (kind, data) = match packed.len() < part.len() - part.len() / 8 {
            true => (SNAPPY_COMPRESSED, &packed[..]),
            false => (SNAPPY_PLAIN, part),
        };
        let len = u32::try_from(data.len() + 4).expect("a chunk is small");
        out.push(kind);
        out.extend_from_slice(&len.to_le_bytes()[..3]);
        out.extend_from_slice(&crc(part).to_le_bytes());
        out.extend_from_slice(data);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Identity => out.extend_from_slice(bytes),
            Encoding::Gzip => drop(GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
            Encoding::Snappy => {
                let mut reader = minlz::s2::Reader::new(bytes);
                reader.read_to_end(&mut out).unwrap();
            }
        }
        out
    }

    const ALL: [Encoding; 3] = [Encoding::Identity, Encoding::Gzip, Encoding::Snappy];

    #[test]
    fn names_are_looked_for() {
        for (value, want) in [
            ("gzip", Encoding::Gzip),
            ("deflate, GZIP;q=1", Encoding::Gzip),
            ("gzip, snappy", Encoding::Snappy),
            ("S2", Encoding::Snappy),
            ("br", Encoding::Identity),
            ("", Encoding::Identity),
        ] {
            assert_eq!(Encoding::accepted(value.as_bytes()), want, "{value}");
        }
    }

    /// What a decoder of another make gives back: the bytes of `s2.NewWriter` with
    /// `WriterSnappyCompat`, which Go has.
    #[test]
    fn known_streams() {
        let short = b"\xff\x06\x00\x00sNaPpY\x01\x06\x00\x00\x11\x9a\x88\xbbhi";
        assert_eq!(decoded(Encoding::Snappy, &snappy(b"hi")), b"hi");
        assert_eq!(snappy(b"hi")[..14], short[..14]);
        let zeros = snappy(&[0; 1000]);
        assert!(zeros.len() < 100 && zeros[10] == SNAPPY_COMPRESSED);
        assert_eq!(gzip(b"hi")[..10], *b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    }

    #[test]
    fn long_bodies_are_cut_into_chunks() {
        let mut body = vec![b'a'; 3 * SNAPPY_CHUNK + 7];
        body.iter_mut().step_by(97).for_each(|b| *b = b'b');
        for encoding in ALL {
            let encoded = encoding.encode(body.clone());
            assert_eq!(decoded(encoding, &encoded), body, "{encoding:?}");
        }
        assert!(gzip(&body).len() < body.len() / 10 && snappy(&body).len() < body.len() / 4);
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(body in proptest::collection::vec(0u8..8, 0..3000)) {
            for encoding in ALL {
                let encoded = encoding.encode(body.clone());
                prop_assert_eq!(decoded(encoding, &encoded), &body[..]);
            }
        }
    }
}
