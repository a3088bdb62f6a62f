//! What differs between operating systems: signals, processes, network interfaces, limits, the
//! allocator, files, local time, profiles. The only home of `cfg(target_os)`; every function has a harmless
//! answer where a system lacks the thing.

pub mod files;
pub mod host;
pub mod interfaces;
pub mod limits;
pub mod local_time;
pub mod lost_files;
pub mod malloc;
pub mod processes;
pub mod profile;
pub mod sampler;
pub mod signals;
pub mod supervisor;
pub mod vitals;
