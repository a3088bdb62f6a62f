pub mod sublist;
mod token;
pub use sublist::{InvalidSubject, Matches, QueueId, SubId, Sublist};
pub use token::{first_token, is_literal, is_valid, is_wildcard_token, token_count};
