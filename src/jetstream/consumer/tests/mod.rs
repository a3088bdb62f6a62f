//! Consumers on a stream in memory, in simulated time.

mod acks;
mod conversations;
mod model;
mod priorities;
mod push;
mod roster;
mod world;
