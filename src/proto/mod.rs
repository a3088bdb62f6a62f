//! The wire protocol: bytes to operations and back. Nothing here keeps state or does I/O.

pub mod client;
pub mod connect;
pub mod error;
pub mod info;
pub mod scan;
pub mod trace;
