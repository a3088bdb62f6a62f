//! Clusters: servers that are connected with each other and pass messages on.
//!
//! Plain machines, which the loop of the cluster drives: [`mesh`] decides whom to connect to and
//! which connections to keep, [`lanes`] what goes over which; [`local`] is what this server's subscribers listen to, as the other
//! servers are told, with what accounts import ([`imports`]); [`remote`] is what they told of theirs. None of them has a socket or a clock.
//!
//! A message goes one hop: from the server that its publisher is connected to, to all others with
//! subscribers, and from there to clients only.

mod filed;
pub mod imports;
pub mod lanes;
pub mod local;
pub mod mesh;
pub mod remote;
#[cfg(test)]
mod sim;

/// Names a connection to another server; no two ever have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);
