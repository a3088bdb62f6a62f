//! The store: one log per stream, on disk or in memory, that loses nothing that was acknowledged.
//!
//! ```text
//!  StreamStore     messages, limits, deletes, purges, reads          stream/
//!      │
//!      ├─ indexes  subject -> first, last, count; deletes; ages      index/
//!      │
//!  Log             records by index and term, in segments            file/
//!      │
//!      ├─ journal  one sync for what many logs append in a turn      journal/
//!      │
//!  Disk            files: real, in memory, or faulty for tests       disk.rs, memory.rs
//! ```
//!
//! Nothing here knows sockets, clocks or the JetStream API. All access to files goes through one
//! trait, [`disk::Disk`]. The log is a state machine: it says what is to be synced, somebody runs
//! that wherever it may take its time ([`sync_pool`] is the usual place), and tells the log the
//! outcome. The bytes on disk are described in `file/FORMAT.md`.

pub mod check;
pub mod consumer;
pub mod crypt;
pub mod directory;
pub mod disk;
pub mod error;
pub mod file;
pub mod hard_state;
pub mod index;
pub mod journal;
pub mod memory;
pub mod meta;
pub mod overlay;
pub mod reserve;
pub mod stream;
pub mod sync_pool;
pub mod types;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{LogError, Reason};
pub use types::{LogIndex, StreamId, StreamSeq, Term, Timestamp};
