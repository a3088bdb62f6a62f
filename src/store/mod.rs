//! The message store: one log for each stream, and what is derived from it.

pub mod consumer;
pub mod index;
