//! JSON as the reference writes and reads it, which is as Go does: tools and people know its bytes,
//! and its texts about what is wrong.

pub mod decode;
pub mod nanos;
pub mod scan;
pub mod time;
pub mod write;

pub use nanos::Nanos;
pub use time::Time;
pub use write::{compact, indented, is_none};
