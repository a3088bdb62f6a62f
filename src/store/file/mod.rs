//! The log of a stream as files: how its bytes are laid out, written, synced, read and recovered.

pub(super) mod copies;
mod failure;
pub mod format;
pub mod log;
pub mod map;
mod open_segment;
pub mod options;
mod pass;
mod read;
mod recover;
mod regions;
mod scan;
mod scrub;
mod sealed;
mod subjects;
mod sync;
mod warm;

pub use log::{Draft, Log};
pub use options::{Handles, LogOptions, SyncMode};
pub(in crate::store) use pass::{Glance, Look, Pass};
pub use read::{Payload, ReadBuffer, SHARE_MIN, Stored};
pub use recover::{Known, LostRun, Progress, Recovery};
pub use regions::{cover, faults};
pub use scrub::{ScrubDone, ScrubJob};
pub use subjects::{SubjectsDone, SubjectsJob};
pub use sync::{SyncDone, SyncJob};
pub use warm::{Cold, WarmDone, WarmJob};
