//! Text that must not be shown.

use std::fmt;
use zeroize::Zeroize;

/// A password or token, or the bcrypt hash of one. It is never shown, and its memory is wiped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for comparing with.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the bcrypt hash of the secret (`$2a$11$...`) rather than the secret.
    pub fn is_bcrypt(&self) -> bool {
        let b = self.0.as_bytes();
        b.len() > 6
            && b.starts_with(b"$2")
            && matches!(b[2], b'a' | b'b' | b'x' | b'y')
            && b[3] == b'$'
            && b[4].is_ascii_digit()
            && b[5].is_ascii_digit()
            && b[6] == b'$'
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_from_secrets() {
        let hash = "$2a$11$W2zko751KUvVy59mUTWmpOdWjpEm5qhcCZRd05GjI/sSOT.xtiHyG";
        assert!(Secret::from(hash).is_bcrypt());
        for kind in ["$2b$04$x", "$2x$10$", "$2y$31$a"] {
            assert!(Secret::from(kind).is_bcrypt(), "{kind}");
        }
        for plain in [
            "",
            "$2a",
            "$2a$1",
            "$2a$xx$a",
            "$2c$11$a",
            "$1a$11$a",
            " $2a$11$a",
        ] {
            assert!(!Secret::from(plain).is_bcrypt(), "{plain}");
        }
    }

    #[test]
    fn nothing_shows_a_secret() {
        assert_eq!(format!("{:?}", Secret::from("s3cret")), "[REDACTED]");
    }
}
