//! Tests of the store as a whole, and the disk that fails for them.

mod check;
mod consumer_model;
mod contract;
mod crypt;
mod directory;
pub(crate) mod faulty;
mod formats;
mod full_disk;
mod groups;
mod journal_faults;
mod kill;
mod log_faults;
mod made_up;
mod plain_stream;
mod reading;
mod replica;
mod replica_faults;
mod rounds;
mod seeds;
mod stream_findings;
mod stream_model;
mod upkeep;
mod versions;
