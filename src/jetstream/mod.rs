//! JetStream: streams and consumers on top of the store, without sockets, files or clocks of their own.

pub mod api;
mod backup;
pub mod consumer;
mod kept;
pub mod node;
pub mod origin;
pub mod out;
pub mod report;
pub mod stream;
