//! Keys in their NATS form: ed25519 keys whose text says what they belong to.
//!
//! [`ServerKey`] is the server's identity; its public half is the server id that clients see in
//! INFO. [`PublicKey`] is the key of somebody else.
//!
//! Seeds come from outside: this layer draws no randomness.

mod public;

pub use public::{PUBLIC_KEY_LEN, PublicKey, PublicKeyError};

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;

/// What a public key belongs to. The value is the first byte of the encoded key, chosen so that
/// the first character of its base32 form is the letter of the kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Prefix {
    /// An account; the encoded key starts with `A`.
    Account = 0,
    /// A cluster; the encoded key starts with `C`.
    Cluster = 2 << 3,
    /// A server; the encoded key starts with `N`.
    Server = 13 << 3,
    /// An operator; the encoded key starts with `O`.
    Operator = 14 << 3,
    /// A user; the encoded key starts with `U`.
    User = 20 << 3,
    /// An x25519 key, which encrypts and does not sign; the encoded key starts with `X`.
    Curve = 23 << 3,
}

impl Prefix {
    const ALL: [Prefix; 6] = [
        Prefix::Account,
        Prefix::Cluster,
        Prefix::Server,
        Prefix::Operator,
        Prefix::User,
        Prefix::Curve,
    ];

    fn of(byte: u8) -> Option<Prefix> {
        Prefix::ALL.into_iter().find(|prefix| *prefix as u8 == byte)
    }
}

/// The key pair of one server.
#[derive(Clone, Debug)]
pub struct ServerKey(SigningKey);

impl ServerKey {
    /// The key pair that belongs to 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> ServerKey {
        ServerKey(SigningKey::from_bytes(&seed))
    }

    /// The public key in nkey form: 56 characters `A-Z2-7`, the first of them `N`.
    pub fn public(&self) -> String {
        encode(Prefix::Server, self.0.verifying_key().as_bytes())
    }
}

/// Base32 without padding over prefix, key and the little-endian checksum of both.
fn encode(prefix: Prefix, key: &[u8; 32]) -> String {
    let mut raw = [0; 35];
    raw[0] = prefix as u8;
    raw[1..33].copy_from_slice(key);
    let sum = crc16(&raw[..33]).to_le_bytes();
    raw[33..].copy_from_slice(&sum);
    BASE32_NOPAD.encode(&raw)
}

/// CRC-16/XMODEM: polynomial 0x1021, no reflection, starting at zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum: u16, _| {
            let shifted = sum << 1;
            if sum & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_has_the_published_check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn known_seeds_give_the_keys_of_the_official_library() {
        let counting = std::array::from_fn(|i| u8::try_from(i).unwrap());
        for (seed, public) in [
            (
                counting,
                "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB",
            ),
            (
                [0; 32],
                "NA5WUJ54Z23KILLCUOUNAKTPBVZWKMQVO4O6EQ5GHLAERIMLLHNCTBQW",
            ),
        ] {
            assert_eq!(ServerKey::from_seed(seed).public(), public);
        }
    }

    #[test]
    fn the_public_key_decodes_to_prefix_key_and_checksum() {
        let key = ServerKey::from_seed([7; 32]);
        let public = key.public();
        assert_eq!((public.len(), &public[..1]), (56, "N"));
        let raw = BASE32_NOPAD.decode(public.as_bytes()).unwrap();
        assert_eq!(raw[0], Prefix::Server as u8);
        assert_eq!(&raw[1..33], key.0.verifying_key().as_bytes());
        // The checksum of a message followed by its own big-endian checksum is zero.
        assert_eq!(crc16(&[&raw[..33], &[raw[34], raw[33]]].concat()), 0);
    }
}

/// Key pairs of users for the tests of others.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use data_encoding::{BASE64, BASE64URL_NOPAD};
    use ed25519_dalek::Signer;

    /// The key pair of a user.
    pub(crate) struct UserKey(SigningKey);

    impl UserKey {
        /// The key pair number `n`.
        pub(crate) fn new(n: u8) -> UserKey {
            UserKey(SigningKey::from_bytes(&[n; 32]))
        }

        pub(crate) fn public(&self) -> String {
            encode(Prefix::User, self.0.verifying_key().as_bytes())
        }

        pub(crate) fn sign(&self, message: &[u8]) -> String {
            BASE64URL_NOPAD.encode(&self.0.sign(message).to_bytes())
        }

        pub(crate) fn sign_standard(&self, message: &[u8]) -> String {
            BASE64.encode(&self.0.sign(message).to_bytes())
        }
    }
}
