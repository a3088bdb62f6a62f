//! The state of a consumer: what was delivered, what is acknowledged, and what waits for either.
//!
//! State is a function of [events](Event). They are kept in the log in batches ([`EventWriter`]),
//! and made into state again by replaying the batches ([`ConsumerState::replay`]) on top of a
//! checkpoint ([`ConsumerState::decode`]). Which messages are delivered, when they are delivered
//! again and to whom is decided elsewhere.

mod checkpoint;
mod event;
mod pending;
mod state;
#[cfg(test)]
mod tests;

pub use event::{EVENTS_MAX, Event, EventWriter, Events};
pub use pending::{Pending, PendingMessage};
pub use state::{AckPolicy, Conflict, ConsumerState, Outcome, Position, ReplayError};

use std::fmt;

use super::index::Timestamp;

/// The sequence number of a delivery by its consumer: 1 for the first one ever made. A message that
/// is delivered again has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ConsumerSeq(pub u64);

impl fmt::Display for ConsumerSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time, in milliseconds since the start of 1970 (UTC); at most 2^48 - 1, which is in
/// the year 10889.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(u64);

impl Millis {
    /// The last point in time.
    pub const MAX: Millis = Millis((1 << 48) - 1);

    /// So many milliseconds after the start of 1970, or the last point in time if that is less.
    pub const fn new(millis: u64) -> Millis {
        if millis > Millis::MAX.0 {
            Millis::MAX
        } else {
            Millis(millis)
        }
    }

    /// The millisecond in which something happened.
    pub const fn of(at: Timestamp) -> Millis {
        Millis(at.0 / 1_000_000)
    }

    /// The first millisecond at which a deadline has come.
    pub const fn after(deadline: Timestamp) -> Millis {
        Millis(deadline.0.div_ceil(1_000_000))
    }

    /// Milliseconds since the start of 1970.
    pub const fn get(self) -> u64 {
        self.0
    }
}
