//! Backups of streams: their bytes, without those who send them or ask for them.
//!
//! A backup is an [archive](archive) of the stream's state, its consumers and its messages, in
//! [frames](crate::proto::frames) that compress it. Since what is restored may come from anybody, nothing in it
//! is believed: names are not used for files, and all sizes have bounds.

pub(super) mod archive;
pub(super) mod blocks;
pub(super) mod consumers;
pub(super) mod tar;

use crate::proto::frames::Damaged;
use std::fmt;

/// Why a backup cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault(pub(super) String);

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Fault {
        Fault(what.into())
    }
}

impl From<Damaged> for Fault {
    fn from(what: Damaged) -> Fault {
        Fault::new(what.0)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
