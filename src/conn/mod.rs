//! The sans-I/O connection: what a client has said of itself, what it waits for, what waits for it.

pub mod client;
pub mod guard;
pub mod inbound;
pub mod keepalive;
pub mod outbound;
pub mod sids;
