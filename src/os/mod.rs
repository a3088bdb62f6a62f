//! What differs between operating systems: signals, services, processes, network interfaces, limits, the
//! allocator, files, local time, logs, profiles. The only home of `cfg(target_os)`; every function has a
//! harmless answer where a system lacks the thing.

pub mod event_log;
pub mod files;
pub mod host;
pub mod interfaces;
pub mod limits;
pub mod local_time;
pub mod lost_files;
pub mod malloc;
pub mod private;
pub mod processes;
pub mod profile;
pub mod sampler;
pub mod service;
pub mod signals;
pub mod supervisor;
pub mod vitals;
#[cfg(windows)]
mod windows;
