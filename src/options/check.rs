//! The rules that options must keep before a server starts with them.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{LOOPS_MAX, Options};
use crate::base::address::{self, AddressError};
use crate::base::text::{GoDuration, quoted};

/// The largest payload and control line: sizes on the wire are signed 32-bit numbers.
const WIRE_SIZE_MAX: usize = 0x7fff_ffff;

/// A rule that the options break. Shown, it is one sentence for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionError {
    /// The server name contains white space.
    ServerNameSpaces,
    /// The port is no port, nor -1 for a random one.
    Port(i32),
    /// The number of client loops is out of range.
    Loops(usize),
    /// The address to be told to clients is none.
    ClientAdvertise(String, AddressError),
    /// Clients would be disconnected before the grace period is over.
    LameDuckGrace {
        /// The value of `lame_duck_grace_period`.
        grace: Duration,
        /// The value of `lame_duck_duration`.
        duration: Duration,
    },
    /// The named option is zero, and must not be.
    Zero(&'static str),
    /// The named option is above what the protocol can state.
    AboveWire(&'static str, usize),
    /// A message of the largest size would make every consumer a slow one.
    PayloadAbovePending {
        /// The value of `max_payload`.
        max_payload: usize,
        /// The value of `max_pending`.
        max_pending: usize,
    },
    /// One connection may hold more than all together.
    TotalBelowPending {
        /// The value of `pending_total_max`.
        pending_total_max: usize,
        /// The value of `max_pending`.
        max_pending: usize,
    },
    /// Two ways to log in that cannot be set together, in words.
    Logins(&'static str),
    /// There is a user for those who do not say who they are, but no users at all.
    NoAuthUserAlone(String),
    /// It is none of the users.
    NoAuthUserUnknown(String),
    /// The account that the server is to use is not configured.
    SystemAccount(String),
    /// The latency of the service on this subject is to be told, which takes a system account.
    LatencyWithoutSystem(String),
    /// Monitoring is to listen twice, on these ports.
    HttpAndHttps(i32, i32),
    /// Monitoring over TLS is to listen, and there is no TLS.
    HttpsWithoutTls,
    /// The named port for monitoring or profiling is no port, nor -1 for a random one.
    MonitorPort(&'static str, i32),
    /// There is nothing that clients could know the server by.
    NoCertificate,
    /// The cluster's name contains white space.
    ClusterNameSpaces,
    /// The address to be told to other servers is none.
    ClusterAdvertise(String, AddressError),
    /// There are routes to connect to, and no cluster that listens.
    RoutesWithoutCluster,
    /// Streams in a cluster have to be agreed on by its servers.
    JetStreamInCluster,
    /// The cluster is to listen where clients connect.
    ClusterPort(i32),
    /// Accounts are to have routes of their own, and there is one for everything.
    RoutesOfAccounts,
    /// An account is named twice among those that have routes of their own, of which these are all.
    AccountTwice(String, Vec<String>),
}

impl Display for OptionError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::ServerNameSpaces => f.write_str("server name cannot contain spaces"),
            OptionError::Port(port) => {
                write!(
                    f,
                    "port {port} must be between 1 and 65535, or -1 for a random port"
                )
            }
            OptionError::Loops(loops) => {
                write!(f, "loops {loops} must be between 1 and {LOOPS_MAX}")
            }
            OptionError::ClientAdvertise(text, error) => {
                write!(f, "client_advertise {text:?}: {error}")
            }
            OptionError::LameDuckGrace { grace, duration } => write!(
                f,
                "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
                GoDuration(*grace),
                GoDuration(*duration)
            ),
            OptionError::Zero(name) => write!(f, "{name} must be above 0"),
            OptionError::AboveWire(name, value) => {
                write!(f, "{name} ({value}) cannot be higher than {WIRE_SIZE_MAX}")
            }
            OptionError::PayloadAbovePending {
                max_payload,
                max_pending,
            } => write!(
                f,
                "max_payload ({max_payload}) cannot be higher than max_pending ({max_pending})"
            ),
            OptionError::TotalBelowPending {
                pending_total_max,
                max_pending,
            } => write!(
                f,
                "pending_total_max ({pending_total_max}) cannot be lower than max_pending \
                 ({max_pending})"
            ),
            OptionError::Logins(text) => f.write_str(text),
            OptionError::NoAuthUserAlone(user) => write!(
                f,
                "no_auth_user: \"{user}\" present, but users/nkeys are not defined"
            ),
            OptionError::NoAuthUserUnknown(user) => write!(
                f,
                "no_auth_user: \"{user}\" not present as user or nkey in authorization block or \
                 account configuration"
            ),
            OptionError::SystemAccount(name) => {
                let name = quoted(name.as_bytes());
                write!(f, "error resolving system account: account missing: {name}")
            }
            OptionError::LatencyWithoutSystem(subject) => {
                let subject = quoted(subject.as_bytes());
                write!(
                    f,
                    "Error adding service latency sampling for {subject}: system account not setup"
                )
            }
            OptionError::HttpAndHttps(http, https) => write!(
                f,
                "Can't start monitoring: can't specify both HTTP ({http}) and HTTPs ({https}) ports"
            ),
            OptionError::HttpsWithoutTls => {
                f.write_str("Can't start monitoring: TLS cert and key required for HTTPS")
            }
            OptionError::MonitorPort(name, port) => write!(
                f,
                "{name} {port} must be between 1 and 65535, -1 for a random port, or 0 for none"
            ),
            OptionError::ClusterNameSpaces => {
                f.write_str("cluster name cannot contain spaces or new lines")
            }
            OptionError::ClusterAdvertise(text, error) => {
                write!(f, "cluster_advertise {text:?}: {error}")
            }
            OptionError::RoutesWithoutCluster => {
                f.write_str("Solicited routes require cluster capabilities, e.g. --cluster.")
            }
            OptionError::JetStreamInCluster => {
                f.write_str("jetstream: not supported yet in a cluster")
            }
            OptionError::RoutesOfAccounts => {
                f.write_str("pool_size cannot be negative if pinned accounts are specified")
            }
            OptionError::AccountTwice(name, all) => {
                let all: Vec<String> = all.iter().map(|name| format!("{name:?}")).collect();
                let all = all.join(" ");
                write!(
                    f,
                    "found duplicate account name {name:?} in pinned accounts list [{all}]"
                )
            }
            OptionError::ClusterPort(port) => {
                write!(f, "cluster: port {port} is the port for clients")
            }
            OptionError::NoCertificate => {
                f.write_str("tls: 'cert_file' and 'key_file', or 'certs', must be set")
            }
        }
    }
}

impl std::error::Error for OptionError {}

impl Options {
    /// Checks every rule; `Err` holds all that are broken, at least one.
    pub fn check(&self) -> Result<(), Vec<OptionError>> {
        let mut broken = Vec::new();
        let mut rule = |kept: bool, error: OptionError| {
            if !kept {
                broken.push(error);
            }
        };
        let name = self.server_name.as_deref().unwrap_or_default();
        rule(
            !name.contains(char::is_whitespace),
            OptionError::ServerNameSpaces,
        );
        rule(
            (-1..=65535).contains(&self.port),
            OptionError::Port(self.port),
        );
        if let Some(own) = &self.cluster {
            let listens = own.port != 0;
            rule(
                listens || own.routes.is_empty(),
                OptionError::RoutesWithoutCluster,
            );
            rule(
                !(listens && self.jetstream.enabled),
                OptionError::JetStreamInCluster,
            );
            let name = own.name.as_deref().unwrap_or_default();
            rule(
                !name.contains(char::is_whitespace),
                OptionError::ClusterNameSpaces,
            );
            if let Some(text) = &own.advertise
                && let Err(error) = address::advertised(text, 0)
            {
                rule(false, OptionError::ClusterAdvertise(text.clone(), error));
            }
            rule(
                own.pool_size > 0 || own.accounts.is_empty(),
                OptionError::RoutesOfAccounts,
            );
            let mut names = own.accounts.iter().enumerate();
            let twice = names.find(|(i, name)| own.accounts[..*i].contains(name));
            if let Some((_, name)) = twice {
                let wrong = OptionError::AccountTwice(name.clone(), own.accounts.clone());
                rule(false, wrong);
            }
            rule(
                own.port <= 0 || own.port != self.port || own.host != self.host,
                OptionError::ClusterPort(own.port),
            );
        }
        let loops = self.loops.unwrap_or(1);
        rule((1..=LOOPS_MAX).contains(&loops), OptionError::Loops(loops));

        if let Some(text) = &self.client_advertise
            && let Err(error) = address::advertised(text, 0)
        {
            rule(false, OptionError::ClientAdvertise(text.clone(), error));
        }
        let (grace, duration) = (self.lame_duck_grace_period, self.lame_duck_duration);
        rule(
            grace < duration,
            OptionError::LameDuckGrace { grace, duration },
        );

        for (name, zero) in [
            ("max_payload", self.max_payload == 0),
            ("max_control_line", self.max_control_line == 0),
            ("max_pending", self.max_pending == 0),
            ("write_deadline", self.write_deadline.is_zero()),
            ("ping_interval", self.ping_interval.is_zero()),
            ("ping_max", self.ping_max == 0),
            ("connect_deadline", self.connect_deadline.is_zero()),
        ] {
            rule(!zero, OptionError::Zero(name));
        }
        for (name, value) in [
            ("max_payload", self.max_payload),
            ("max_control_line", self.max_control_line),
        ] {
            rule(value <= WIRE_SIZE_MAX, OptionError::AboveWire(name, value));
        }

        let (max_payload, max_pending) = (self.max_payload, self.max_pending);
        let error = OptionError::PayloadAbovePending {
            max_payload,
            max_pending,
        };
        rule(max_payload <= max_pending, error);
        let pending_total_max = self.pending_total_max.unwrap_or(usize::MAX);
        let error = OptionError::TotalBelowPending {
            pending_total_max,
            max_pending,
        };
        rule(pending_total_max >= max_pending, error);
        broken.extend(self.check_monitoring());
        broken.extend(self.check_security());

        if broken.is_empty() {
            Ok(())
        } else {
            Err(broken)
        }
    }

    fn check_monitoring(&self) -> Vec<OptionError> {
        let (http, https) = (self.http_port, self.https_port);
        let mut broken = Vec::new();
        for (name, port) in [
            ("http_port", http),
            ("https_port", https),
            ("prof_port", self.prof_port),
        ] {
            if !(-1..=65535).contains(&port) {
                broken.push(OptionError::MonitorPort(name, port));
            }
        }
        if http != 0 && https != 0 {
            broken.push(OptionError::HttpAndHttps(http, https));
        } else if https != 0 && self.tls.is_none() {
            broken.push(OptionError::HttpsWithoutTls);
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::super::tls::{CertificateFiles, TlsOptions};
    use super::*;

    fn texts(options: &Options) -> Vec<String> {
        options
            .check()
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_defaults_and_the_edges_pass() {
        let edge = Options {
            port: -1,
            loops: Some(LOOPS_MAX),
            max_payload: 5,
            max_pending: 5,
            pending_total_max: Some(5),
            max_connections: 0,
            ..Options::default()
        };
        let last_port = Options {
            port: 65535,
            loops: Some(1),
            ..Options::default()
        };
        for options in [Options::default(), edge, last_port] {
            assert_eq!(options.check(), Ok(()));
        }
    }

    #[test]
    fn each_broken_rule_has_its_text() {
        let base = Options::default();
        let name = Options {
            server_name: Some("a b".into()),
            ..base.clone()
        };
        assert_eq!(texts(&name), ["server name cannot contain spaces"]);
        for port in [-2, 65536] {
            let text = format!("port {port} must be between 1 and 65535, or -1 for a random port");
            assert_eq!(
                texts(&Options {
                    port,
                    ..base.clone()
                }),
                [text]
            );
        }
        for loops in [0, 257] {
            let text = format!("loops {loops} must be between 1 and 256");
            assert_eq!(
                texts(&Options {
                    loops: Some(loops),
                    ..base.clone()
                }),
                [text]
            );
        }
        let payload = Options {
            max_payload: 8,
            max_pending: 7,
            ..base.clone()
        };
        assert_eq!(
            texts(&payload),
            ["max_payload (8) cannot be higher than max_pending (7)"]
        );
        let total = Options {
            pending_total_max: Some(9),
            max_pending: 10 << 20,
            ..base.clone()
        };
        assert_eq!(
            texts(&total),
            ["pending_total_max (9) cannot be lower than max_pending (10485760)"]
        );
        let line = Options {
            max_control_line: 1 << 31,
            ..base
        };
        assert_eq!(
            texts(&line),
            ["max_control_line (2147483648) cannot be higher than 2147483647"]
        );
    }

    #[test]
    fn monitoring_listens_once_and_over_tls_only_with_tls() {
        let with = |http_port, https_port, tls: bool| {
            texts(&Options {
                http_port,
                https_port,
                tls: tls.then(|| TlsOptions {
                    certs: vec![CertificateFiles {
                        cert_file: "c".into(),
                        key_file: "k".into(),
                    }],
                    ..TlsOptions::default()
                }),
                ..Options::default()
            })
        };
        let none = [""; 0];
        assert_eq!(with(-1, 0, false), none);
        assert_eq!(with(8222, 0, true), none);
        assert_eq!(with(0, -1, true), none);
        assert_eq!(
            with(-1, 8222, true),
            ["Can't start monitoring: can't specify both HTTP (-1) and HTTPs (8222) ports"]
        );
        assert_eq!(
            with(0, 8222, false),
            ["Can't start monitoring: TLS cert and key required for HTTPS"]
        );
        let out_of_range =
            "http_port -2 must be between 1 and 65535, -1 for a random port, or 0 for none";
        assert_eq!(with(-2, 0, false), [out_of_range]);
    }

    #[test]
    fn every_broken_rule_is_reported() {
        let zeros = Options {
            port: 70000,
            max_payload: 0,
            max_control_line: 0,
            max_pending: 0,
            write_deadline: Duration::ZERO,
            ping_interval: Duration::ZERO,
            ping_max: 0,
            connect_deadline: Duration::ZERO,
            ..Options::default()
        };
        assert_eq!(texts(&zeros).len(), 8, "{:?}", texts(&zeros));
    }
}
