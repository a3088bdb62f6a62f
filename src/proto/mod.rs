//! The wire protocol: bytes to operations and back. Nothing here keeps state or does I/O.

pub mod client;
pub mod client_info;
pub mod compression;
pub mod connect;
pub mod encoding;
pub mod error;
pub mod events;
pub mod frames;
pub mod headers;
pub mod info;
pub mod latency;
pub mod msg_trace;
pub mod route;
pub mod route_info;
pub mod scan;
pub mod server_info;
pub mod trace;
