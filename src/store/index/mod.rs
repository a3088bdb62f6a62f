//! What is known of a stream's messages without reading them: which subjects they have, which of
//! them were deleted, and when they expire.
//!
//! All of it is in memory, is made from the log again if need be, and has a form on disk that
//! checkpoints keep. Nothing here does I/O or reads a clock.

mod arena;
mod blocks;
mod builder;
mod entry;
mod filter;
mod node;
mod scan;
mod sequence_set;
mod sizes;
mod subjects;
#[cfg(test)]
mod tests;
mod units;
pub mod varint;
mod wheel;

pub use blocks::{Block, BlockMap, encode_block, encode_sized_block};
pub use builder::Builder;
pub use entry::{Bound, NotThere, SubjectEntry};
pub use filter::{Filters, InvalidFilter, as_literal};
pub use scan::{Cursor, Tally};
pub use sequence_set::SequenceSet;
pub use sizes::{Sizes, SizesReader};
pub use subjects::{AppendError, SubjectIndex};
pub use units::{LogIndex, SUBJECT_BYTES_MAX, StreamSeq, Timestamp};
pub use wheel::{ExpiryWheel, Sweep};
