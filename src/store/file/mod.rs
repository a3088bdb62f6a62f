//! The log of a stream as files: how its bytes are laid out, written, synced, read and recovered.

pub(super) mod copies;
mod erase;
pub mod format;
pub mod log;
pub mod map;
mod open_segment;
pub mod options;
mod pack;
mod read;
mod recover;
mod rewrite;
mod scan;
mod sealed;
mod sync;
mod tail;

pub(in crate::store) use erase::Erasable;
pub use erase::{EraseDone, EraseJob};
pub(in crate::store) use log::segment_path;
pub use log::{Draft, Log};
pub use options::{Compression, Handles, LogOptions, SyncMode};
pub use read::{Payload, ReadBuffer, SHARE_MIN, Stored};
pub use recover::{Known, LostRun, Progress, Recovery};
pub(in crate::store) use rewrite::{Changes, Rewritten, Span};
pub use rewrite::{RewriteDone, RewriteJob};
pub use sync::{SyncDone, SyncJob};
pub use tail::{Handed, Tail};
