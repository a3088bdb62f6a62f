//! Encryption at rest.
//!
//! ```text
//!  configured key ─ HKDF(stream's identity) ─> wrapping key ─ opens ─> data key, random, in the metadata
//!  data key ─ HKDF(segment's salt) ─> key of the segment: records
//!  data key ─ HKDF("contents")     ─> sections of checkpoints and metadata
//! ```
//!
//! What is sealed has a random nonce, which stands before it: records are written again at an index
//! where one was that the power took, so that a nonce made of the index would be used twice. The
//! salt of a segment follows from the data key and the segment's number, so that a header that was
//! damaged can be made again, and a key that is not the right one is found out before anything is
//! read with it.
//!
//! Checksums are those of the bytes on disk: damage is told from a wrong key, and can be looked for
//! without a key.

use std::fmt;
use std::io;
use std::sync::Arc;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

use super::file::format::SegmentHeader;
use super::types::StreamId;

/// Bytes before what is sealed, and behind it.
pub const NONCE_LEN: usize = 12;
pub const TAG_LEN: usize = 16;

/// Bytes that a sealed record, or block, has beyond its own.
pub const SEAL_LEN: usize = NONCE_LEN + TAG_LEN;

const KEY_LEN: usize = 32;

/// Nonces that are drawn at a time: the system's random numbers cost as much as a record.
const NONCES: usize = 64;

/// How something is encrypted; the number is the one on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cipher {
    ChaCha20Poly1305 = 1,
    Aes256Gcm = 2,
}

/// The keys that a server was configured with.
#[derive(Clone, Default)]
pub struct Keys {
    current: Option<(Cipher, Secret)>,
    previous: Option<Secret>,
}

type Secret = Arc<Zeroizing<Vec<u8>>>;

/// The key of one stream's data, and the cipher for what is written.
#[derive(Clone)]
pub struct StreamKey {
    cipher: Cipher,
    data: Arc<Zeroizing<[u8; KEY_LEN]>>,
}

/// The key of one segment, or of the sections of a stream's other files.
pub struct SealKey(LessSafeKey);

/// Seals records of one segment.
#[derive(Debug)]
pub(super) struct Sealer {
    key: Arc<SealKey>,
    nonces: Nonces,
}

/// Random numbers, each of which is used once.
struct Nonces {
    bytes: [u8; NONCES * NONCE_LEN],
    left: usize,
}

/// Why something that is encrypted cannot be read, though it is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyFault {
    /// There is no key.
    Missing,
    /// It was encrypted with another key.
    Wrong,
}

impl Cipher {
    /// The cipher with this number.
    pub fn of(byte: u8) -> Option<Cipher> {
        match byte {
            1 => Some(Cipher::ChaCha20Poly1305),
            2 => Some(Cipher::Aes256Gcm),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
        }
    }
}

impl Keys {
    /// Without any key: nothing is encrypted, and what is cannot be read.
    pub fn none() -> Keys {
        Keys::default()
    }

    /// What is new is encrypted with this cipher, and data keys with this key; those that were with
    /// the previous one are with this one from the next start on.
    pub fn new(cipher: Cipher, key: &str, previous: Option<&str>) -> Keys {
        let secret = |text: &str| Arc::new(Zeroizing::new(text.as_bytes().to_vec()));
        Keys {
            current: Some((cipher, secret(key))),
            previous: previous.map(secret),
        }
    }

    /// Whether what is written is encrypted.
    pub fn encrypts(&self) -> bool {
        self.current.is_some()
    }

    /// A random key for a stream; `None` if nothing is encrypted.
    pub(super) fn stream_key(&self) -> io::Result<Option<StreamKey>> {
        let Some((cipher, _)) = self.current else {
            return Ok(None);
        };
        let mut data = Zeroizing::new([0; KEY_LEN]);
        random(&mut *data)?;
        let data = Arc::new(data);
        Ok(Some(StreamKey { cipher, data }))
    }

    /// The form of a stream's key that is kept on disk.
    pub(super) fn wrap(&self, key: &StreamKey, id: &StreamId) -> io::Result<Vec<u8>> {
        let Some((cipher, secret)) = &self.current else {
            return Ok(vec![]);
        };
        let mut out = vec![*cipher as u8];
        out.resize(1 + NONCE_LEN, 0);
        out.extend_from_slice(&**key.data);
        wrapping_key(*cipher, secret, id).seal(b"", &mut out, 1)?;
        Ok(out)
    }

    /// The stream's key, and whether it is to be wrapped anew: with another key or cipher.
    pub(super) fn unwrap(
        &self,
        wrapped: &[u8],
        id: &StreamId,
    ) -> Result<(StreamKey, bool), KeyFault> {
        let (cipher, secret) = self.current.as_ref().ok_or(KeyFault::Missing)?;
        let (first, rest) = wrapped.split_first().ok_or(KeyFault::Wrong)?;
        let by = Cipher::of(*first).ok_or(KeyFault::Wrong)?;
        let tries = [
            Some((secret, by != *cipher)),
            self.previous.as_ref().map(|s| (s, true)),
        ];
        for (secret, is_outdated) in tries.into_iter().flatten() {
            let mut bytes = Zeroizing::new(rest.to_vec());
            let Some(data) = wrapping_key(by, secret, id).open(b"", &mut bytes) else {
                continue;
            };
            let data: [u8; KEY_LEN] = (&*data).try_into().map_err(|_| KeyFault::Wrong)?;
            let data = Arc::new(Zeroizing::new(data));
            let cipher = *cipher;
            return Ok((StreamKey { cipher, data }, is_outdated));
        }
        Err(KeyFault::Wrong)
    }
}

impl StreamKey {
    /// One that is the same each time.
    #[cfg(test)]
    pub(super) fn of_test(cipher: Cipher) -> StreamKey {
        StreamKey {
            cipher,
            data: Arc::new(Zeroizing::new([7; KEY_LEN])),
        }
    }

    /// What stands in the header of a segment that is to be encrypted: the cipher's number, and a
    /// salt.
    pub(super) fn salt(&self, header: &SegmentHeader) -> [u8; 16] {
        self.salt_by(self.cipher, header)
    }

    /// All that may stand there, whatever the cipher was.
    pub(super) fn salts(&self, header: &SegmentHeader) -> [[u8; 16]; 2] {
        let by = |cipher| self.salt_by(cipher, header);
        [by(Cipher::ChaCha20Poly1305), by(Cipher::Aes256Gcm)]
    }

    fn salt_by(&self, cipher: Cipher, header: &SegmentHeader) -> [u8; 16] {
        let (number, generation) = (header.number.to_le_bytes(), header.generation.to_le_bytes());
        let info: [&[u8]; 4] = [b"salt", &[cipher as u8], &number, &generation];
        let mut salt = [0; 16];
        salt[0] = cipher as u8;
        let filled = self
            .prk()
            .expand(&info, Salt)
            .and_then(|okm| okm.fill(&mut salt[1..]));
        filled.expect("the length is allowed");
        salt
    }

    /// The key of a segment that is encrypted.
    pub(super) fn segment(&self, header: &SegmentHeader) -> Result<SealKey, KeyFault> {
        let cipher = header.cipher().ok_or(KeyFault::Wrong)?;
        match self.salt_by(cipher, header) == header.key_salt {
            true => Ok(self.derive(cipher, &[b"segment", &header.key_salt])),
            false => Err(KeyFault::Wrong),
        }
    }

    /// Seals the contents of a section, from `start` on; `context` says what they are.
    pub(super) fn seal_section(
        &self,
        context: &[u8],
        out: &mut Vec<u8>,
        start: usize,
    ) -> io::Result<()> {
        out.splice(start..start, [0; 1 + NONCE_LEN]);
        out[start] = self.cipher as u8;
        self.contents(self.cipher).seal(context, out, start + 1)
    }

    /// The contents of a section that [`StreamKey::seal_section`] made; `None` if they are not
    /// those of this stream and context.
    pub(super) fn open_section(&self, context: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let (first, rest) = bytes.split_first()?;
        let mut rest = rest.to_vec();
        let key = self.contents(Cipher::of(*first)?);
        let len = key.open(context, &mut rest)?.len();
        rest.truncate(NONCE_LEN + len);
        rest.drain(..NONCE_LEN);
        Some(rest)
    }

    fn contents(&self, cipher: Cipher) -> SealKey {
        self.derive(cipher, &[b"contents", &[cipher as u8]])
    }

    fn prk(&self) -> hkdf::Prk {
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &**self.data)
    }

    fn derive(&self, cipher: Cipher, info: &[&[u8]]) -> SealKey {
        SealKey::of(self.prk(), cipher, info)
    }
}

/// The key that data keys of a stream are wrapped with.
fn wrapping_key(cipher: Cipher, secret: &[u8], id: &StreamId) -> SealKey {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"nats-server store").extract(secret);
    let info: [&[u8]; 4] = [b"wrap", &[cipher as u8], &id.name, &id.incarnation];
    SealKey::of(prk, cipher, &info)
}

/// The length of a salt.
struct Salt;

impl hkdf::KeyType for Salt {
    fn len(&self) -> usize {
        15
    }
}

impl SealKey {
    fn of(prk: hkdf::Prk, cipher: Cipher, info: &[&[u8]]) -> SealKey {
        let okm = prk.expand(info, cipher.algorithm());
        let key = UnboundKey::from(okm.expect("the length is that of a key"));
        SealKey(LessSafeKey::new(key))
    }

    /// Seals what stands behind the nonce's place at `at`, and appends the tag.
    fn seal(&self, aad: &[u8], out: &mut Vec<u8>, at: usize) -> io::Result<()> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        out[at..at + NONCE_LEN].copy_from_slice(&nonce);
        let tag = self.seal_with(nonce, aad, &mut out[at + NONCE_LEN..]);
        out.extend_from_slice(&tag);
        Ok(())
    }

    fn seal_with(&self, nonce: [u8; NONCE_LEN], aad: &[u8], bytes: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), bytes);
        let tag = tag.expect("nothing here is as long as a cipher forbids");
        let mut out = [0; TAG_LEN];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Opens nonce, contents and tag in their place, and gives the contents; `None` if they were
    /// sealed otherwise.
    pub(super) fn open<'a>(&self, aad: &[u8], bytes: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(aad), sealed).ok()
    }
}

impl Sealer {
    pub(super) fn new(key: Arc<SealKey>) -> Sealer {
        Sealer {
            key,
            nonces: Nonces {
                bytes: [0; NONCES * NONCE_LEN],
                left: 0,
            },
        }
    }

    /// Sees to it that there is a nonce for the next record.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        if self.nonces.left == 0 {
            random(&mut self.nonces.bytes)?;
            self.nonces.left = NONCES;
        }
        Ok(())
    }

    /// Seals what stands in `out` from `at` on, behind the place of a nonce; `aad` is from where on
    /// what stands before it is bound to it. [`Sealer::ready`] was called.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, aad: usize, at: usize) -> Option<()> {
        self.nonces.left = self.nonces.left.checked_sub(1)?;
        let (nonces, _) = self.nonces.bytes.as_chunks::<NONCE_LEN>();
        let nonce = nonces[self.nonces.left];
        let (before, rest) = out.split_at_mut(at);
        let (place, body) = rest.split_first_chunk_mut::<NONCE_LEN>()?;
        *place = nonce;
        let tag = self.key.seal_with(nonce, &before[aad..], body);
        out.extend_from_slice(&tag);
        Some(())
    }
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|e| io::Error::other(format!("no random numbers: {e}")))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("cipher", &self.current.as_ref().map(|(cipher, _)| cipher))
            .field("has_previous", &self.previous.is_some())
            .finish()
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cipher = self.cipher;
        f.debug_struct("StreamKey")
            .field("cipher", &cipher)
            .finish_non_exhaustive()
    }
}

impl PartialEq for StreamKey {
    fn eq(&self, other: &StreamKey) -> bool {
        self.cipher == other.cipher && **self.data == **other.data
    }
}

impl Eq for StreamKey {}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nonces", self.left)
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFault::Missing => "it is encrypted, and there is no key",
            KeyFault::Wrong => "it is encrypted with another key than the configured ones",
        })
    }
}

impl std::error::Error for KeyFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> StreamId {
        StreamId::new("A", "S", [1; 16])
    }

    fn keys(key: &str, previous: Option<&str>) -> Keys {
        Keys::new(Cipher::ChaCha20Poly1305, key, previous)
    }

    #[test]
    fn a_data_key_is_unwrapped_by_the_key_that_wrapped_it_and_for_its_stream() {
        let first = keys("one", None);
        let key = first.stream_key().unwrap().unwrap();
        let wrapped = first.wrap(&key, &id()).unwrap();
        assert!(!wrapped.windows(8).any(|w| key.data.starts_with(w)));
        assert_eq!(first.unwrap(&wrapped, &id()), Ok((key.clone(), false)));
        let second = keys("two", Some("one"));
        assert_eq!(second.unwrap(&wrapped, &id()), Ok((key.clone(), true)));
        let (_, outdated) = Keys::new(Cipher::Aes256Gcm, "one", None)
            .unwrap(&wrapped, &id())
            .unwrap();
        assert!(outdated, "its cipher is another one");
        assert_eq!(
            keys("two", Some("three")).unwrap(&wrapped, &id()),
            Err(KeyFault::Wrong)
        );
        assert_eq!(Keys::none().unwrap(&wrapped, &id()), Err(KeyFault::Missing));
        let other = StreamId::new("A", "S", [2; 16]);
        assert_eq!(first.unwrap(&wrapped, &other), Err(KeyFault::Wrong));
        for len in 0..wrapped.len() {
            assert_eq!(first.unwrap(&wrapped[..len], &id()), Err(KeyFault::Wrong));
        }
    }

    #[test]
    fn sections_are_bound_to_what_they_are() {
        for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
            let keys = Keys::new(cipher, "one", None);
            let key = keys.stream_key().unwrap().unwrap();
            let mut out = b"before secret".to_vec();
            key.seal_section(b"here", &mut out, 7).unwrap();
            assert!(out.starts_with(b"before ") && !out.windows(6).any(|w| w == b"secret"));
            let mut again = b"before secret".to_vec();
            key.seal_section(b"here", &mut again, 7).unwrap();
            assert_ne!(out, again, "no nonce is used twice");
            assert_eq!(
                key.open_section(b"here", &out[7..]).as_deref(),
                Some(&b"secret"[..])
            );
            assert_eq!(key.open_section(b"there", &out[7..]), None);
            for at in 7..out.len() {
                let mut bytes = out[7..].to_vec();
                bytes[at - 7] ^= 4;
                assert_eq!(key.open_section(b"here", &bytes), None);
            }
            let other = keys.stream_key().unwrap().unwrap();
            assert_eq!(other.open_section(b"here", &out[7..]), None);
        }
    }

    #[test]
    fn keys_do_not_show() {
        let keys = keys("hunter2", Some("hunter1"));
        let key = keys.stream_key().unwrap().unwrap();
        let text = format!("{keys:?} {key:?}");
        assert!(!text.contains("hunter"), "{text}");
        assert_eq!(text.matches("ChaCha20Poly1305").count(), 2);
        assert!(!text.contains(&format!("{:?}", &key.data[..4])));
    }
}
