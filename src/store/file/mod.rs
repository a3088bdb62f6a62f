//! The log of a stream as files: how its bytes are laid out, written, synced, read and recovered.

pub(super) mod copies;
pub mod format;
pub mod log;
pub mod map;
mod open_segment;
pub mod options;
mod read;
mod recover;
mod scan;
mod sealed;
mod sync;

pub use log::{Draft, Log};
pub use options::{Handles, LogOptions, SyncMode};
pub use read::{Payload, ReadBuffer, SHARE_MIN, Stored};
pub use recover::{Known, LostRun, Progress, Recovery};
pub use sync::{SyncDone, SyncJob};
