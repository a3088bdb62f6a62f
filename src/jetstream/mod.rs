//! JetStream: streams and consumers, without sockets, files or clocks of their own.

pub mod consumer;
