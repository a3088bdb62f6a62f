//! Streams that take messages from others: mirrors, and streams with sources.
//!
//! A [`Link`](link::Link) is what leads from one stream to another. It asks the API of the origin for
//! a consumer, and takes what that one delivers, in order and without gaps; when something is amiss,
//! it asks for another consumer, from where it is. All of it goes over subjects, whether the origin
//! is in the same account, in another one, or on another server.
//!
//! ```text
//!            time, or the origin has come             answer
//!   Waiting ------------------------------> Asking ----------> Live
//!      ^                                      |                 |
//!      |  refused, or no answer in time       |                 |
//!      +--------------------------------------+                 |
//!      |  nothing heard for 10 s, a message missed or not stored|
//!      +--------------------------------------------------------+
//! ```
//!
//! The stream's own part, where messages are stored and positions kept, is in
//! [`stream`](super::stream); the node listens and publishes for links.

pub mod header;
pub mod link;
pub mod request;
#[cfg(test)]
mod tests;
