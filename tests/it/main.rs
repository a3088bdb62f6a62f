//! Black-box tests: servers are spoken to over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that panics has failed, works with small numbers, and owns its clock"
)]

#[cfg(unix)]
mod access;
mod advisories;
mod api;
mod backup;
mod client;
mod cluster;
mod cluster_compression;
mod cluster_faults;
#[cfg(unix)]
mod cluster_limits;
mod cluster_pool;
#[cfg(unix)]
mod cluster_reload;
#[cfg(unix)]
mod cluster_rolling;
mod cluster_trace;
mod codes;
#[cfg(unix)]
mod config;
mod differential;
mod errors;
mod jetstream;
#[cfg(target_os = "linux")]
mod js_disks;
#[cfg(unix)]
mod js_events;
#[cfg(unix)]
mod js_faults;
#[cfg(unix)]
mod js_kill_points;
#[cfg(unix)]
mod js_kills;
mod js_kills_many;
#[cfg(unix)]
mod js_no_room;
#[cfg(unix)]
mod js_restarts;
mod login;
mod mkpasswd;
mod monitor;
mod monitor_http;
#[cfg(unix)]
mod msg_trace;
#[cfg(unix)]
mod no_room;
mod official;
mod origins;
#[cfg(target_os = "linux")]
mod pressure;
#[cfg(unix)]
mod process;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod profiling;
mod protocol;
mod publishing;
mod routing;
#[cfg(unix)]
mod seeds;
#[cfg(target_os = "linux")]
mod supervisor;
mod support;
mod system;
mod tls;
