//! Names of streams and consumers, and how long what users write may be.

/// Bytes of a name.
pub const NAME_MAX: usize = 255;
/// Bytes of a description.
pub const DESCRIPTION_MAX: usize = 4 * 1024;
/// Bytes of all keys and values of metadata.
pub const METADATA_MAX: usize = 128 * 1024;

/// Whether a text can be the name of a stream or consumer: a token of a subject and the name of a
/// file.
pub fn is_valid(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\x0c', '.', '*', '>', '\\', '/'])
}

/// Whether a name would lead to another directory.
pub fn is_path(name: &str) -> bool {
    name.contains(['\\', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_no_paths() {
        for name in ["a", "A-1_x", "é", "$KV", "a\u{a0}b"] {
            assert!(is_valid(name), "{name}");
        }
        for name in ["", "a b", "a.b", "a*", ">", "a/b", "..\\x", "a\n", "a\x0c"] {
            assert!(!is_valid(name), "{name:?}");
        }
        assert!(is_path("a/b") && is_path("\\") && !is_path("a.b"));
    }
}
