//! Public keys of others: what a signature is checked against.

use super::{Prefix, crc16};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use std::fmt::{self, Display, Formatter};

/// Characters of a public key in nkey form.
pub const PUBLIC_KEY_LEN: usize = 56;

/// A public key with its kind. Any 32 bytes are one; that signatures can be made for it is not
/// said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicKey {
    prefix: Prefix,
    key: [u8; 32],
}

/// Why a text is no public key. It does not hold the text, which may be a seed in the wrong place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublicKeyError {
    /// Not [`PUBLIC_KEY_LEN`] characters `A-Z2-7`.
    Encoding,
    /// The checksum does not fit the rest.
    Checksum,
    /// It belongs to nothing that there is.
    Prefix,
}

impl Display for PublicKeyError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PublicKeyError::Encoding => "invalid encoded key",
            PublicKeyError::Checksum => "invalid checksum",
            PublicKeyError::Prefix => "invalid prefix byte",
        })
    }
}

impl std::error::Error for PublicKeyError {}

impl PublicKey {
    /// Reads a key in nkey form, such as `UAB2...`.
    ///
    /// # Errors
    /// See [`PublicKeyError`].
    pub fn parse(text: &str) -> Result<PublicKey, PublicKeyError> {
        if text.len() != PUBLIC_KEY_LEN {
            return Err(PublicKeyError::Encoding);
        }
        let mut raw = [0; 35];
        match BASE32_NOPAD.decode_mut(text.as_bytes(), &mut raw) {
            Ok(35) => {}
            _ => return Err(PublicKeyError::Encoding),
        }
        let [prefix, key @ .., low, high] = raw;
        if crc16(&raw[..33]) != u16::from_le_bytes([low, high]) {
            return Err(PublicKeyError::Checksum);
        }
        let prefix = Prefix::of(prefix).ok_or(PublicKeyError::Prefix)?;
        Ok(PublicKey { prefix, key })
    }

    /// What the key belongs to.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Whether `signature` is this key's for `message`. Nothing is for a curve key, which does not
    /// sign.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        // The rules are those of the reference, which are not the strict ones.
        let verified = || {
            let key = VerifyingKey::from_bytes(&self.key).ok()?;
            let signature = Signature::from_slice(signature).ok()?;
            ed25519_dalek::Verifier::verify(&key, message, &signature).ok()
        };
        self.prefix != Prefix::Curve && verified().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ServerKey, encode};
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    /// The keys that the official library makes of a seed of the bytes 0 to 31.
    const KEYS: [(Prefix, &str); 6] = [
        (
            Prefix::Server,
            "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB",
        ),
        (
            Prefix::User,
            "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK",
        ),
        (
            Prefix::Account,
            "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV",
        ),
        (
            Prefix::Operator,
            "OAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QZVT",
        ),
        (
            Prefix::Cluster,
            "CAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3R53J",
        ),
        (
            Prefix::Curve,
            "XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7",
        ),
    ];

    /// What it signs `nonce` with.
    const SIGNATURE: &str = "f874eae1de830c754d6fc32c4d1019b5221ad2f5c0ff2b996e5c1303b253e706\
        3398a071276c2961f8c787b85ca6d66589d6d5c3fe992f2b9b8e6ff20e4f8e09";

    #[test]
    fn keys_of_the_official_library_are_read_and_verify_its_signatures() {
        let signature = HEXLOWER.decode(SIGNATURE.as_bytes()).unwrap();
        for (prefix, text) in KEYS {
            let key = PublicKey::parse(text).unwrap();
            assert_eq!(key.prefix(), prefix);
            assert_eq!(encode(key.prefix, &key.key), text);
            let signs = prefix != Prefix::Curve;
            assert_eq!(key.verify(b"nonce", &signature), signs, "{text}");
            assert!(!key.verify(b"nonse", &signature));
            assert!(!key.verify(b"nonce", &signature[1..]));
            assert!(!key.verify(b"nonce", &[]));
            let mut other = signature.clone();
            other[0] ^= 1;
            assert!(!key.verify(b"nonce", &other));
        }
    }

    #[test]
    fn what_is_no_key_is_told_why() {
        let user = KEYS[1].1;
        let changed = user.replace("CB5", "CB6");
        let seed = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y";
        let mut raw = BASE32_NOPAD.decode(user.as_bytes()).unwrap();
        raw[0] = 15 << 3; // P, a private key
        let sum = crc16(&raw[..33]).to_le_bytes();
        raw[33..].copy_from_slice(&sum);
        let private = BASE32_NOPAD.encode(&raw);
        for (text, error) in [
            ("", PublicKeyError::Encoding),
            (&user[1..], PublicKeyError::Encoding),
            (&user.to_lowercase(), PublicKeyError::Encoding),
            (&user.replace("CB5", "C=5"), PublicKeyError::Encoding),
            (&user.replace("CB5", "\u{20ac}"), PublicKeyError::Encoding),
            (seed, PublicKeyError::Encoding),
            (&changed, PublicKeyError::Checksum),
            (&private, PublicKeyError::Prefix),
        ] {
            assert_eq!(PublicKey::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_point_verify_nothing() {
        let no_point = std::array::from_fn(|i| if i == 0 { 2 } else { 0 });
        assert!(VerifyingKey::from_bytes(&no_point).is_err());
        let key = PublicKey::parse(&encode(Prefix::User, &no_point)).unwrap();
        assert!(!key.verify(b"", &[0; 64]));
    }

    proptest! {
        #[test]
        fn any_key_comes_back_and_one_wrong_character_is_noticed(
            seed: [u8; 32], at in 0..PUBLIC_KEY_LEN, letter in "[A-Z2-7]",
        ) {
            let text = ServerKey::from_seed(seed).public();
            let key = PublicKey::parse(&text).unwrap();
            prop_assert_eq!(encode(key.prefix, &key.key), text.clone());
            let mut other = text.clone();
            other.replace_range(at..=at, &letter);
            prop_assert_eq!(PublicKey::parse(&other).is_ok(), other == text);
        }

        #[test]
        fn no_text_panics(text: String, like in "[A-Z2-7]{56}") {
            let _ = PublicKey::parse(&text);
            let _ = PublicKey::parse(&like);
        }
    }
}
