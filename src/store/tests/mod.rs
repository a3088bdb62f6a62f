//! Tests of the store as a whole, and the disk that fails for them.

mod crypt;
mod directory;
mod faulty;
mod journal_faults;
mod kill;
mod log_faults;
mod reading;
mod seeds;
mod stream_model;
mod upkeep;
