//! The log of a stream as files: how its bytes are laid out, written, synced, read and recovered.

pub mod format;
pub mod map;
