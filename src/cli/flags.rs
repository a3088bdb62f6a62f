//! The table of all flags: the reference's and our own.

use Group::{Authorization, Cluster, Common, JetStream, Logging, Profiling, Server, Tls};
use Takes::{Number, Path, Switch, Text};

/// One flag under all its names.
#[derive(Debug)]
pub(super) struct Flag {
    /// Names of one to three characters, without dashes.
    pub(super) short: &'static [&'static str],
    /// The other names, without dashes. Flags with none have a short one.
    pub(super) long: &'static [&'static str],
    pub(super) takes: Takes,
    /// One line for the help text.
    pub(super) help: &'static str,
    pub(super) group: Group,
    /// What it sets.
    pub(super) keys: &'static [&'static str],
}

/// What a flag is followed by. The text is the placeholder in the help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    /// Nothing, or a truth value after `=`.
    Switch,
    /// An integer.
    Number(&'static str),
    /// Any text.
    Text(&'static str),
    /// A file name, which need not be text.
    Path(&'static str),
}

/// The heading under which the help shows a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Group {
    Server,
    Logging,
    JetStream,
    Authorization,
    Tls,
    Cluster,
    Profiling,
    Common,
}

/// The normal form of each thing that a flag can set. An argument never contains a NUL, so nothing
/// that was typed as a value can be taken for a key.
pub(super) mod key {
    pub(in crate::cli) const HOST: &str = "--addr\0";
    pub(in crate::cli) const PORT: &str = "--port\0";
    pub(in crate::cli) const HTTP_PORT: &str = "--http_port\0";
    pub(in crate::cli) const HTTPS_PORT: &str = "--https_port\0";
    pub(in crate::cli) const PROFILE: &str = "--profile\0";
    pub(in crate::cli) const NAME: &str = "--name\0";
    pub(in crate::cli) const PID_FILE: &str = "--pid\0";
    pub(in crate::cli) const PORTS_FILE_DIR: &str = "--ports_file_dir\0";
    pub(in crate::cli) const SIGNAL: &str = "--signal\0";
    pub(in crate::cli) const CONFIG: &str = "--config\0";
    pub(in crate::cli) const CHECK: &str = "--check\0";
    pub(in crate::cli) const STORE_CHECK: &str = "--store-check\0";
    pub(in crate::cli) const STORE_DUMP: &str = "--store-dump\0";
    pub(in crate::cli) const CLIENT_ADVERTISE: &str = "--client_advertise\0";
    pub(in crate::cli) const LOG_FILE: &str = "--log\0";
    pub(in crate::cli) const LOG_FORMAT: &str = "--log_format\0";
    pub(in crate::cli) const SYSLOG: &str = "--syslog\0";
    pub(in crate::cli) const REMOTE_SYSLOG: &str = "--remote_syslog\0";
    pub(in crate::cli) const LOG_SIZE_LIMIT: &str = "--log_size_limit\0";
    pub(in crate::cli) const MAX_TRACED_MSG_LEN: &str = "--max_traced_msg_len\0";
    pub(in crate::cli) const LOOPS: &str = "--loops\0";
    pub(in crate::cli) const LOGTIME: &str = "--logtime\0";
    pub(in crate::cli) const LOGTIME_UTC: &str = "--logtime_utc\0";
    pub(in crate::cli) const DEBUG: &str = "--debug\0";
    pub(in crate::cli) const TRACE: &str = "--trace\0";
    pub(in crate::cli) const TRACE_VERBOSE: &str = "--trace_verbose\0";
    pub(in crate::cli) const USER: &str = "--user\0";
    pub(in crate::cli) const PASS: &str = "--pass\0";
    pub(in crate::cli) const AUTH: &str = "--auth\0";
    pub(in crate::cli) const TLS: &str = "--tls\0";
    pub(in crate::cli) const TLS_CERT: &str = "--tlscert\0";
    pub(in crate::cli) const TLS_KEY: &str = "--tlskey\0";
    pub(in crate::cli) const TLS_VERIFY: &str = "--tlsverify\0";
    pub(in crate::cli) const TLS_CA_CERT: &str = "--tlscacert\0";
    pub(in crate::cli) const JETSTREAM: &str = "--jetstream\0";
    pub(in crate::cli) const STORE_DIR: &str = "--store_dir\0";
    pub(in crate::cli) const ROUTES: &str = "--routes\0";
    pub(in crate::cli) const CLUSTER: &str = "--cluster\0";
    pub(in crate::cli) const CLUSTER_NAME: &str = "--cluster_name\0";
    pub(in crate::cli) const NO_ADVERTISE: &str = "--no_advertise\0";
    pub(in crate::cli) const CLUSTER_ADVERTISE: &str = "--cluster_advertise\0";
    pub(in crate::cli) const CONNECT_RETRIES: &str = "--connect_retries\0";
    pub(in crate::cli) const HELP: &str = "--help\0";
    pub(in crate::cli) const HELP_TLS: &str = "--help_tls\0";
    pub(in crate::cli) const HELP_CONFIG: &str = "--help_config\0";
    pub(in crate::cli) const VERSION: &str = "--version\0";
    pub(in crate::cli) const BUILD_INFO: &str = "--build-info\0";
}

impl Group {
    pub(super) const ALL: [Group; 8] = [
        Server,
        Logging,
        JetStream,
        Authorization,
        Tls,
        Cluster,
        Profiling,
        Common,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Server => "Server",
            Logging => "Logging",
            JetStream => "JetStream",
            Authorization => "Authorization",
            Tls => "TLS",
            Cluster => "Cluster",
            Profiling => "Profiling",
            Common => "Common",
        }
    }
}

impl Flag {
    /// The flag that is called `name`, without dashes.
    pub(super) fn find(name: &str) -> Option<&'static Flag> {
        FLAGS
            .iter()
            .find(|flag| flag.names().any(|own| own == name))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.short.iter().chain(self.long).copied()
    }

    /// A name with the dashes that the help shows before it.
    #[cfg(test)]
    pub(super) fn dashed(&self, name: &str) -> String {
        let dashes = if self.short.contains(&name) {
            "-"
        } else {
            "--"
        };
        format!("{dashes}{name}")
    }
}

const fn flag(
    short: &'static [&'static str],
    long: &'static [&'static str],
    takes: Takes,
    group: Group,
    keys: &'static [&'static str],
    help: &'static str,
) -> Flag {
    Flag {
        short,
        long,
        takes,
        help,
        group,
        keys,
    }
}

/// All flags, in the order of the help.
#[rustfmt::skip]
pub(super) static FLAGS: &[Flag] = &[
    flag(&["a"], &["addr", "net"], Text("host"), Server, &[key::HOST],
        "Address to listen on (default: 0.0.0.0)"),
    flag(&["p"], &["port"], Number("port"), Server, &[key::PORT],
        "Port for clients, -1 for a random one (default: 4222)"),
    flag(&["n"], &["name", "server_name"], Text("server_name"), Server, &[key::NAME],
        "Name of this server (default: its id)"),
    flag(&["P"], &["pid"], Path("file"), Server, &[key::PID_FILE],
        "File to write the process id to"),
    flag(&[], &["loops"], Number("n"), Server, &[key::LOOPS],
        "Number of client loops (default: by the number of cores)"),
    flag(&["m"], &["http_port"], Number("port"), Server, &[key::HTTP_PORT],
        "Port for monitoring over HTTP, -1 for a random one"),
    flag(&["ms"], &["https_port"], Number("port"), Server, &[key::HTTPS_PORT],
        "Port for monitoring over HTTPS, -1 for a random one"),
    flag(&["c"], &["config"], Path("file"), Server, &[key::CONFIG],
        "Configuration file to read"),
    flag(&["t"], &[], Switch, Server, &[key::CHECK],
        "Check the configuration and exit"),
    flag(&["sl"], &["signal"], Text("signal[=pid]"), Server, &[key::SIGNAL],
        "Send ldm, stop, quit, term, reopen or reload to a running server"),
    flag(&[], &["client_advertise"], Text("host:port"), Server, &[key::CLIENT_ADVERTISE],
        "Address to tell clients instead of the one listened on"),
    flag(&[], &["ports_file_dir"], Path("dir"), Server, &[key::PORTS_FILE_DIR],
        "Directory for a file that lists the ports in use"),

    flag(&["l"], &["log"], Path("file"), Logging, &[key::LOG_FILE],
        "File to log to"),
    flag(&["T"], &["logtime"], Switch, Logging, &[key::LOGTIME],
        "Start log lines with the time (default: true)"),
    flag(&[], &["logtime_utc"], Switch, Logging, &[key::LOGTIME_UTC],
        "Log the time in UTC, not in local time (default: false)"),
    flag(&["s"], &["syslog"], Switch, Logging, &[key::SYSLOG],
        "Log to syslog or the Windows event log"),
    flag(&["r"], &["remote_syslog"], Text("addr"), Logging, &[key::REMOTE_SYSLOG],
        "Log to a syslog server (udp://localhost:514)"),
    flag(&["D"], &["debug"], Switch, Logging, &[key::DEBUG],
        "Log debug lines"),
    flag(&["V"], &["trace"], Switch, Logging, &[key::TRACE],
        "Log the protocol"),
    flag(&["VV"], &[], Switch, Logging, &[key::TRACE, key::TRACE_VERBOSE],
        "Log the protocol, that of the system account too"),
    flag(&["DV"], &[], Switch, Logging, &[key::DEBUG, key::TRACE],
        "Log debug lines and the protocol"),
    flag(&["DVV"], &[], Switch, Logging, &[key::DEBUG, key::TRACE, key::TRACE_VERBOSE],
        "Log debug lines and the protocol, that of the system account too"),
    flag(&[], &["log_size_limit"], Number("bytes"), Logging, &[key::LOG_SIZE_LIMIT],
        "Size at which the log file is rotated"),
    flag(&[], &["max_traced_msg_len"], Number("bytes"), Logging, &[key::MAX_TRACED_MSG_LEN],
        "Bytes of a message to trace at most (default: all)"),
    flag(&[], &["log_format"], Text("form"), Logging, &[key::LOG_FORMAT],
        "Form of log lines, text or json (default: text)"),

    flag(&[], &["store-check"], Path("dir"), JetStream, &[key::STORE_CHECK],
        "Check the streams in a directory, change nothing, and exit"),
    flag(&[], &["store-dump"], Path("dir"), JetStream, &[key::STORE_DUMP],
        "Show the records of the stream in a directory and exit"),
    flag(&["js"], &["jetstream"], Switch, JetStream, &[key::JETSTREAM],
        "Enable JetStream"),
    flag(&["sd"], &["store_dir"], Path("dir"), JetStream, &[key::STORE_DIR],
        "Directory for what JetStream stores"),

    flag(&[], &["user"], Text("user"), Authorization, &[key::USER],
        "User name that clients must give"),
    flag(&[], &["pass"], Text("password"), Authorization, &[key::PASS],
        "Password that clients must give"),
    flag(&[], &["auth"], Text("token"), Authorization, &[key::AUTH],
        "Token that clients must give"),

    flag(&[], &["tls"], Switch, Tls, &[key::TLS],
        "Enable TLS without checking clients' certificates"),
    flag(&[], &["tlscert"], Path("file"), Tls, &[key::TLS_CERT],
        "Certificate of this server"),
    flag(&[], &["tlskey"], Path("file"), Tls, &[key::TLS_KEY],
        "Private key of that certificate"),
    flag(&[], &["tlsverify"], Switch, Tls, &[key::TLS_VERIFY],
        "Enable TLS and check clients' certificates"),
    flag(&[], &["tlscacert"], Path("file"), Tls, &[key::TLS_CA_CERT],
        "Authorities that clients' certificates are checked against"),

    flag(&[], &["routes"], Text("urls"), Cluster, &[key::ROUTES],
        "Routes to connect to, separated by commas"),
    flag(&[], &["cluster"], Text("url"), Cluster, &[key::CLUSTER],
        "URL to listen on for routes"),
    flag(&[], &["cluster_name"], Text("name"), Cluster, &[key::CLUSTER_NAME],
        "Name of the cluster (default: made up)"),
    flag(&[], &["no_advertise"], Switch, Cluster, &[key::NO_ADVERTISE],
        "Do not tell clients about the cluster (default: false)"),
    flag(&[], &["cluster_advertise"], Text("host:port"), Cluster, &[key::CLUSTER_ADVERTISE],
        "Route address to tell other servers"),
    flag(&[], &["connect_retries"], Number("n"), Cluster, &[key::CONNECT_RETRIES],
        "Attempts to connect to a route that another server told of"),
    flag(&[], &["cluster_listen"], Text("url"), Cluster, &[key::CLUSTER],
        "URL to listen on for routes"),

    flag(&[], &["profile"], Number("port"), Profiling, &[key::PROFILE],
        "Port for profiling over HTTP, -1 for a random one"),

    flag(&["h"], &["help"], Switch, Common, &[key::HELP],
        "Show this text"),
    flag(&["v"], &["version"], Switch, Common, &[key::VERSION],
        "Show the version"),
    flag(&[], &["build-info"], Switch, Common, &[key::BUILD_INFO],
        "Show the version, the commit and what the program was built for"),
    flag(&[], &["help_config"], Switch, Common, &[key::HELP_CONFIG],
        "Show the keys of a configuration file"),
    flag(&[], &["help_tls"], Switch, Common, &[key::HELP_TLS],
        "Show how TLS is configured"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_used_twice() {
        let mut names = FLAGS.iter().flat_map(Flag::names).collect::<Vec<_>>();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_flag_of_the_reference_is_known() {
        let reference = "a addr net p port n name server_name P pid m http_port ms https_port c \
            config t sl signal client_advertise ports_file_dir l log T logtime logtime_utc s \
            syslog r remote_syslog D debug V trace VV DV DVV log_size_limit max_traced_msg_len \
            js jetstream sd store_dir user pass auth tls tlscert tlskey tlsverify tlscacert \
            routes cluster cluster_name no_advertise cluster_advertise connect_retries \
            cluster_listen profile h help v version help_tls";
        for name in reference.split_whitespace() {
            assert!(Flag::find(name).is_some(), "{name}");
        }
        assert!(Flag::find("bogus").is_none());
    }

    #[test]
    fn names_are_shown_with_their_dashes() {
        let name = Flag::find("server_name").unwrap();
        assert_eq!(
            (name.dashed("n"), name.dashed("name")),
            ("-n".into(), "--name".into())
        );
        assert_eq!(Flag::find("js").unwrap().dashed("js"), "-js");
    }

    #[test]
    fn every_flag_sets_something() {
        for flag in FLAGS {
            assert!(!flag.keys.is_empty(), "{:?}", flag.names().next());
            assert!(!flag.help.is_empty());
        }
    }
}
