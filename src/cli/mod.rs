//! The command line: what the flags are, what was typed, what it means, and the run that follows.
//!
//! [`flags`] is one table that parsing, the help text and the tests of the manual page read.
//! [`normalise`] brings the arguments into one form, [`args`] collects them into a plain struct,
//! [`command`] turns that into what to do, and [`run`] does it. [`mkpasswd`] is a program of its own.

mod args;
mod command;
mod configure;
mod flags;
mod help;
pub mod mkpasswd;
mod normalise;
mod pid_file;
mod ports_file;
mod run;
mod serve;
mod signal;
mod store;

pub use run::run;

#[cfg(test)]
mod completions;
#[cfg(test)]
mod man_page;
