//! What a server is told to be: typed options with the reference's defaults, and the checks that
//! hold across them.
//!
//! Options are plain values. Where they come from (the command line, a configuration file) and
//! what is done with them is the business of others.

#[cfg(test)]
mod block_tests;
mod blocks;
mod check;
mod check_security;
pub mod cluster;
mod file;
pub mod jetstream;
mod keys;
mod log;
#[cfg(test)]
mod man_page;
mod reload;
pub mod security;
pub mod tls;

pub use crate::base::secret::Secret;
pub use check::OptionError;
pub use file::Findings;
pub use keys::{Documented, documented};
pub use log::{LogFormat, LogOptions};
pub use reload::{Change, Refused};

use cluster::ClusterOptions;
use jetstream::JetStreamOptions;
use security::{AccountOptions, Authorization, Mapping};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tls::TlsOptions;

/// The version reported by `--version`, in INFO and in monitoring. Clients enable features by it,
/// so it states the level of the reference server that this one is compatible with; the crate's
/// own version is logged as the build.
pub const VERSION: &str = "2.15.0";

/// The commit that this program was built from, seven hexadecimal digits; known to release builds from
/// a checked out repository or an archive of one.
pub const COMMIT: Option<&str> = option_env!("NATS_SERVER_COMMIT");

/// The port for clients where none is given.
pub const PORT_DEFAULT: i32 = 4222;

/// The address to listen on where none is given: every IPv4 interface.
pub const HOST_DEFAULT: &str = "0.0.0.0";

/// The most client loops that may be asked for.
pub const LOOPS_MAX: usize = 256;

/// The most client loops that are chosen without being asked for.
const LOOPS_CHOSEN_MAX: usize = 8;

/// Everything that can be set about a server. The defaults are the reference's, save for the
/// options that it does not have; those say so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Host name or address to listen on.
    pub host: String,
    /// Port for clients, 1 to 65535. -1 lets the system pick one, 0 stands for 4222.
    pub port: i32,
    /// Name in INFO and in monitoring, without spaces; the server's id if `None`.
    pub server_name: Option<String>,
    /// File that holds the process id while the server runs.
    pub pid_file: Option<PathBuf>,
    /// Number of client loops, 1 to [`LOOPS_MAX`]; see [`Options::client_loops`] for `None`. Not in
    /// the reference.
    pub loops: Option<usize>,
    /// Directory for the file that lists the addresses in use while the server runs.
    pub ports_file_dir: Option<PathBuf>,
    /// `host` or `host:port` that INFO tells clients instead of the address listened on.
    pub client_advertise: Option<String>,
    /// Words that operators tell servers apart by.
    pub tags: Vec<String>,
    /// Names and values that operators attach to a server.
    pub metadata: BTreeMap<String, String>,
    pub log: LogOptions,
    /// Host name or address to listen on for monitoring; `host` if `None`.
    pub http_host: Option<String>,
    /// Port for monitoring over HTTP. -1 lets the system pick one, 0 is none.
    pub http_port: i32,
    /// Port for monitoring over HTTPS, the same way; not together with `http_port`.
    pub https_port: i32,
    /// The path that all of monitoring is below, as it is configured.
    pub http_base_path: String,
    /// Port for profiling over HTTP, on `host`. -1 lets the system pick one, 0 is none.
    pub prof_port: i32,
    /// Users of the global account, or the secret that everybody has to know.
    pub authorization: Authorization,
    /// The accounts, in the order of the file.
    pub accounts: Vec<AccountOptions>,
    /// Subject mappings of the global account.
    pub mappings: Vec<Mapping>,
    /// Name or public key of the user that clients are who do not say who they are.
    pub no_auth_user: Option<String>,
    /// Name of the account that the server itself uses; `$SYS` if `None`.
    pub system_account: Option<String>,
    /// Whether there is no such account.
    pub no_system_account: bool,
    /// TLS of the listener for clients.
    pub tls: Option<TlsOptions>,
    /// Whether clients may do without TLS where it is configured.
    pub allow_non_tls: bool,
    /// Public keys of the proxies whose word is taken for that a client came through them.
    pub trusted_proxies: Vec<String>,
    /// Largest payload of a message, headers included, in bytes; 1 to 2^31 - 1, not above
    /// `max_pending`.
    pub max_payload: usize,
    /// Largest protocol line in bytes, measured on its arguments; 1 to 2^31 - 1.
    pub max_control_line: usize,
    /// Client connections at a time. 0 refuses every client.
    pub max_connections: usize,
    /// Subscriptions of one connection; 0 is unlimited.
    pub max_subscriptions: usize,
    /// Tokens in the subject of a subscription; 0 is unlimited.
    pub max_sub_tokens: usize,
    /// Bytes that may wait to be written to one connection before it is closed as a slow consumer.
    pub max_pending: usize,
    /// Time that writing to a connection may take before it is closed as a slow consumer; see
    /// `write_timeout`.
    pub write_deadline: Duration,
    /// What the write deadline is measured on.
    pub write_timeout: WriteTimeout,
    /// Whether publishers are never held back for the sake of subscribers that are far behind;
    /// those then miss messages.
    pub no_fast_producer_stall: bool,
    /// Connections that are remembered after they were closed.
    pub max_closed_clients: usize,
    /// Whether clients get no headers and may send none.
    pub no_header_support: bool,
    /// Whether the subscribers of a subject are looked up anew for each message.
    pub disable_sublist_cache: bool,
    /// Time from entering lame duck mode until the last client is disconnected.
    pub lame_duck_duration: Duration,
    /// The part of that time before the first client is disconnected.
    pub lame_duck_grace_period: Duration,
    /// Time between two pings of a connection.
    pub ping_interval: Duration,
    /// Pings that may be unanswered when the next is due; one more closes the connection.
    pub ping_max: u32,
    /// Time within which a new connection must have completed its first command. Not in the
    /// reference.
    pub connect_deadline: Duration,
    /// Bytes that may wait to be written to all connections of the server together, not below
    /// `max_pending`; half of the machine's memory if `None`. Not in the reference.
    pub pending_total_max: Option<usize>,
    pub jetstream: JetStreamOptions,
    /// The cluster that the server is part of, if it is.
    pub cluster: Option<ClusterOptions>,
}

/// What happens to a connection that takes too long to be written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteTimeout {
    /// It is closed if what was pending at some moment is not written a write deadline later.
    Close,
    /// It is closed if nothing at all was written for a write deadline. The default, where the
    /// reference has the other one for clients.
    Retry,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            host: HOST_DEFAULT.into(),
            port: PORT_DEFAULT,
            server_name: None,
            pid_file: None,
            loops: None,
            ports_file_dir: None,
            client_advertise: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            log: LogOptions::default(),
            http_host: None,
            http_port: 0,
            https_port: 0,
            http_base_path: String::new(),
            prof_port: 0,
            authorization: Authorization::default(),
            accounts: Vec::new(),
            mappings: Vec::new(),
            no_auth_user: None,
            system_account: None,
            no_system_account: false,
            tls: None,
            allow_non_tls: false,
            trusted_proxies: Vec::new(),
            max_payload: 1 << 20,
            max_control_line: 4096,
            max_connections: 65536,
            max_subscriptions: 0,
            max_sub_tokens: 0,
            max_pending: 64 << 20,
            write_deadline: Duration::from_secs(10),
            write_timeout: WriteTimeout::Retry,
            no_fast_producer_stall: false,
            max_closed_clients: 10_000,
            no_header_support: false,
            disable_sublist_cache: false,
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace_period: Duration::from_secs(10),
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            connect_deadline: Duration::from_secs(30),
            pending_total_max: None,
            jetstream: JetStreamOptions::default(),
            cluster: None,
        }
    }
}

impl Options {
    /// Time within which a client must have been authenticated.
    pub fn auth_timeout(&self) -> Duration {
        let usual = match &self.tls {
            Some(tls) => tls.timeout + Duration::from_secs(1),
            None => Duration::from_secs(2),
        };
        self.authorization.timeout.unwrap_or(usual)
    }

    /// Whether the server is part of a cluster.
    pub fn is_clustered(&self) -> bool {
        self.cluster.as_ref().is_some_and(|own| own.port != 0)
    }

    /// The host to listen on for monitoring.
    pub fn monitor_host(&self) -> &str {
        self.http_host.as_deref().unwrap_or(&self.host)
    }

    /// How many client loops to run on a machine with `cores` cores. Unless told, that is one up
    /// to two cores, then half of the cores, at most eight: the other half is for the clients,
    /// which often share the machine, and for the kernel's part of the work.
    pub fn client_loops(&self, cores: usize) -> usize {
        self.loops.unwrap_or((cores / 2).clamp(1, LOOPS_CHOSEN_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_follow_the_cores_until_told() {
        let chosen = Options::default();
        for (cores, loops) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 1),
            (4, 2),
            (8, 4),
            (15, 7),
            (16, 8),
            (64, 8),
        ] {
            assert_eq!(chosen.client_loops(cores), loops, "{cores} cores");
        }
        assert_eq!(
            Options {
                loops: Some(12),
                ..chosen
            }
            .client_loops(1),
            12
        );
    }
}
