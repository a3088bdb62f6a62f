//! Subjects: what makes one valid, and which subscriptions a published one reaches.
//!
//! A subject is a row of tokens with `.` between them. A subscription's subject may hold the
//! wildcards `*` (exactly one token, whatever it is) and, as its last token, `>` (one or more
//! tokens). Permissions, accounts and delivery are left to the layers above.

pub mod pattern;
pub mod pattern_set;
pub mod sublist;
mod token;
pub mod transform;

pub use sublist::{InvalidSubject, Matches, QueueId, SubId, Sublist};
pub use token::{first_token, is_literal, is_valid, is_wildcard_token, token_count};
