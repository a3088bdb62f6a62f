//! Consumers on a stream in memory, in simulated time.

mod conversations;
mod model;
mod push;
mod roster;
mod world;
