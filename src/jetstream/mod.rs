//! JetStream: streams and consumers on top of the store.

pub mod api;
pub mod node;
pub mod out;
pub mod stream;
