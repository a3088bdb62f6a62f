//! What differs between operating systems: signals, processes, network interfaces, limits, the
//! allocator, files, local time. The only home of `cfg(target_os)`; every function has a harmless
//! answer where a system lacks the thing.

pub mod files;
pub mod host;
pub mod interfaces;
pub mod limits;
pub mod local_time;
pub mod malloc;
pub mod processes;
pub mod signals;
pub mod vitals;
