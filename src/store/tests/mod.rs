//! Tests of the store as a whole, and the disk that fails for them.

mod check;
mod consumer_model;
mod crypt;
mod directory;
pub(crate) mod faulty;
mod groups;
mod journal_faults;
mod kill;
mod log_faults;
mod reading;
mod replica;
mod seeds;
mod stream_model;
mod upkeep;
