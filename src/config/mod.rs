//! The configuration language: text to a tree of values, each of which knows where it stands.
//!
//! Which keys there are, and what they mean, is none of this layer's business; neither is reading
//! files or the environment, which an [`Environment`] does for it.
//!
//! ```text
//! key = value       also key: value, key value, key { ... }; "keys" and 'keys' may be quoted
//! value             true yes on false no off; 10, -1, 64k, 1MB, 2GiB; 0.5; 2016-05-04T18:53:41Z;
//!                   "a\tb\x41", 'as it is', bare; (a block of lines); [ ... ]; { ... }; $variable
//! # or //           a comment
//! include a.conf    the keys of another file, relative to this one
//! ```
//!
//! Entries end with a new line, a comma or a semicolon, elements of arrays with a new line or a
//! comma. `k` is 1000 and `kb`, `ki` or `kib` is 1024; likewise `m`, `g`, `t`, `p`, `e`. A whole
//! file may stand in braces, so JSON is accepted.
//!
//! `$name` is the last value that an enclosing map, from the inside out, gave to the key `name`
//! before; or else the environment variable, read as a value. Included files do not see the keys
//! of those that include them. Text such as `$2a$11$...`, a bcrypt hash, stays text.

mod digest;
mod load;
mod print;
mod read;
mod source;
mod value;
mod word;

#[cfg(test)]
mod tests;

pub use load::{load, parse};
pub use print::print;
pub use source::{Fault, Place, Position, Report, Sources};
pub use value::{Date, Document, Entry, Kind, Map, Value};

use std::path::Path;

/// Where text comes from.
pub trait Environment {
    /// The bytes of a file, or why there are none, in words. More than `max` bytes are an error.
    fn read(&self, path: &Path, max: usize) -> Result<Vec<u8>, String>;

    /// The environment variable of that name.
    fn variable(&self, name: &str) -> Option<String>;
}

/// A world without files and variables, for tests.
#[cfg(test)]
pub(crate) struct Nothing;

#[cfg(test)]
impl Environment for Nothing {
    fn read(&self, _: &Path, _: usize) -> Result<Vec<u8>, String> {
        Err("there are no files".into())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}
