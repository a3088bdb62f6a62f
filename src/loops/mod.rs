//! The poll loops. They do the I/O, keep the budgets and call what decides.

pub mod client;
pub mod cluster;
pub mod inbox;
pub mod jetstream;
mod link;
pub mod monitor;
pub mod system;
pub mod verifier;
