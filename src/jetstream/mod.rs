//! JetStream: streams and consumers on top of the store.

pub mod api;
