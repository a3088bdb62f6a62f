//! The numbers of the store. They are distinct types, so that none is taken for another.

use sha2::{Digest, Sha256};

pub use super::index::{LogIndex, StreamSeq, Timestamp};

/// The term of the leader that made a record; 0 where nobody is elected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Term(pub u32);

/// Which stream some bytes on disk belong to: its name, and which of all streams that ever had
/// that name. Every file carries it, so that a foreign one is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamId {
    /// Half of a hash of account and stream name.
    pub name: [u8; 16],
    /// Random, made when the stream was created.
    pub incarnation: [u8; 16],
}

impl StreamId {
    /// The identity of a stream of an account. `incarnation` is to be random.
    pub fn new(account: &str, stream: &str, incarnation: [u8; 16]) -> StreamId {
        let mut hash = Sha256::new();
        hash.update((account.len() as u64).to_le_bytes());
        hash.update(account.as_bytes());
        hash.update(stream.as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&hash.finalize()[..16]);
        StreamId { name, incarnation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_tell_accounts_streams_and_incarnations_apart() {
        let id = StreamId::new("A", "S", [1; 16]);
        assert_eq!(id, StreamId::new("A", "S", [1; 16]));
        assert_ne!(id, StreamId::new("A", "S", [2; 16]));
        assert_ne!(id, StreamId::new("B", "S", [1; 16]));
        assert_ne!(
            StreamId::new("AB", "C", [1; 16]),
            StreamId::new("A", "BC", [1; 16])
        );
    }
}
