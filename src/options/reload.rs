//! What it takes to go from one set of options to another while the server runs.

use super::jetstream::JetStreamOptions;
use super::security::User;
use super::{LogFormat, Options, WriteTimeout};
use crate::base::text::GoDuration;
use std::fmt::{self, Display, Formatter};

/// An option that can change while the server runs, and did. Shown, it is `key = value`, or just
/// the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The option's key in a configuration file.
    pub key: &'static str,
    /// The new value as the log shows it; `None` if it does not, as with secrets.
    pub value: Option<String>,
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}", self.key),
            None => f.write_str(self.key),
        }
    }
}

/// An option that changed and cannot while the server runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The name under which the reference refuses it.
    name: &'static str,
    /// Its key in a configuration file.
    pub key: &'static str,
    old: String,
    new: String,
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Refused { name, old, new, .. } = self;
        write!(
            f,
            "config reload not supported for {name}: old={old}, new={new}"
        )
    }
}

/// An option: its key, the reference's name for it where it cannot change, and how its values are
/// compared.
struct Field {
    key: &'static str,
    fixed: Option<&'static str>,
    compare: Compare,
    /// Changes that can be made nevertheless.
    unless: fn(&Options, &Options) -> bool,
}

type Show = fn(&Options) -> String;
type Differs = fn(&Options, &Options) -> bool;

/// How values are compared.
enum Compare {
    /// By their texts, which differ whenever they do.
    Shown(Show),
    /// Apart from what is shown of them, if anything is. It is never a secret.
    Apart(Differs, Option<Show>),
}

const fn field(key: &'static str, fixed: Option<&'static str>, compare: Compare) -> Field {
    Field {
        key,
        fixed,
        compare,
        unless: |_, _| false,
    }
}

const fn live(key: &'static str, show: Show) -> Field {
    field(key, None, Compare::Shown(show))
}

const fn fixed(key: &'static str, name: &'static str, show: Show) -> Field {
    field(key, Some(name), Compare::Shown(show))
}

/// An option that can change, of which the log shows not more than that it did.
const fn unseen(key: &'static str, differs: Differs) -> Field {
    field(key, None, Compare::Apart(differs, None))
}

impl Field {
    fn differs(&self, old: &Options, new: &Options) -> bool {
        match &self.compare {
            Compare::Shown(show) => show(old) != show(new),
            Compare::Apart(differs, _) => differs(old, new),
        }
    }

    fn show(&self, options: &Options) -> Option<String> {
        match &self.compare {
            Compare::Shown(show) | Compare::Apart(_, Some(show)) => Some(show(options)),
            Compare::Apart(_, None) => None,
        }
    }
}

/// All options.
#[rustfmt::skip]
const FIELDS: &[Field] = &[
    fixed("host", "Host", |o| o.host.clone()),
    fixed("port", "Port", |o| o.port.to_string()),
    fixed("server_name", "ServerName", |o| text(o.server_name.as_ref())),
    fixed("loops", "Loops", |o| o.loops.map_or("auto".into(), |n| n.to_string())),
    live("client_advertise", |o| text(o.client_advertise.as_ref())),
    live("server_tags", |o| format!("{:?}", o.tags)),
    live("server_metadata", |o| format!("{:?}", o.metadata)),
    live("pid_file", |o| text(o.pid_file.as_ref().map(|p| p.display()))),
    live("ports_file_dir", |o| text(o.ports_file_dir.as_ref().map(|p| p.display()))),

    fixed("http", "HTTPHost", |o| text(o.http_host.as_ref())),
    fixed("http_port", "HTTPPort", |o| o.http_port.to_string()),
    fixed("https_port", "HTTPSPort", |o| o.https_port.to_string()),
    fixed("http_base_path", "HTTPBasePath", |o| o.http_base_path.clone()),
    fixed("prof_port", "ProfPort", |o| o.prof_port.to_string()),

    field("jetstream", Some("JetStream"), Compare::Apart(
        |a, b| apart_from_store(a) != apart_from_store(b),
        Some(|o| if o.jetstream.enabled { "enabled".into() } else { "disabled".into() }),
    )),
    field("cluster", None, Compare::Apart(
        |a, b| a.cluster != b.cluster,
        Some(|o| match &o.cluster {
            Some(own) => format!("{} {}:{}", text(own.name.as_ref()), own.host, own.port),
            None => "disabled".into(),
        }),
    )),
    fixed("cluster", "cluster host", |o| text(o.cluster.as_ref().map(|own| &own.host))),
    fixed("cluster", "cluster port", |o| {
        o.cluster.as_ref().map_or(0, |own| own.port).to_string()
    }),
    fixed("feature_flags", "FeatureFlags", |o| {
        format!("js_ack_fc_v2:{}", o.jetstream.long_acks)
    }),
    fixed("store_dir", "StoreDir", |o| {
        text(o.jetstream.store_dir.as_ref().map(|p| p.display()))
    }),

    unseen("authorization", |a, b| a.authorization != b.authorization),
    unseen("accounts", |a, b| a.accounts != b.accounts),
    unseen("mappings", |a, b| a.mappings != b.mappings),
    Field {
        // Who may connect is found out anew, and such a user is gone then.
        unless: |old, new| {
            let is = |user: &User| Some(user.name()) == old.no_auth_user.as_deref();
            new.no_auth_user.is_none() && !new.users().any(is)
        },
        ..fixed("no_auth_user", "NoAuthUser", |o| text(o.no_auth_user.as_ref()))
    },
    fixed("system_account", "SystemAccount", |o| text(o.system_account.as_ref())),
    fixed("no_system_account", "NoSystemAccount", |o| o.no_system_account.to_string()),
    unseen("proxies", |a, b| a.trusted_proxies != b.trusted_proxies),
    field("tls", None, Compare::Apart(tls_differs, Some(|o| match o.tls {
        Some(_) => "enabled".into(),
        None => "disabled".into(),
    }))),
    fixed("connection_rate_limit", "TLSRateLimit", |o| {
        o.tls.as_ref().map_or(0, |tls| tls.connection_rate_limit).to_string()
    }),
    fixed("allow_non_tls", "AllowNonTLS", |o| o.allow_non_tls.to_string()),

    live("debug", |o| o.log.debug.to_string()),
    live("trace", |o| o.log.trace.to_string()),
    live("trace_verbose", |o| o.log.trace_verbose.to_string()),
    live("trace_headers", |o| o.log.trace_headers.to_string()),
    live("max_traced_msg_len", |o| o.log.max_traced_msg_len.to_string()),
    live("logtime", |o| o.log.logtime.to_string()),
    live("logtime_utc", |o| o.log.logtime_utc.to_string()),
    live("log_format", |o| match o.log.format {
        LogFormat::Text => "text".into(),
        LogFormat::Json => "json".into(),
    }),
    live("log_file", |o| text(o.log.file.as_ref().map(|p| p.display()))),
    fixed("log_size_limit", "LogSizeLimit", |o| o.log.size_limit.to_string()),
    fixed("log_max_num", "LogMaxFiles", |o| o.log.max_num.to_string()),
    live("syslog", |o| o.log.syslog.to_string()),
    live("remote_syslog", |o| text(o.log.remote_syslog.as_ref())),

    live("max_payload", |o| o.max_payload.to_string()),
    live("max_control_line", |o| o.max_control_line.to_string()),
    live("max_connections", |o| o.max_connections.to_string()),
    fixed("max_subscriptions", "MaxSubs", |o| o.max_subscriptions.to_string()),
    fixed("max_sub_tokens", "MaxSubTokens", |o| o.max_sub_tokens.to_string()),
    fixed("max_pending", "MaxPending", |o| o.max_pending.to_string()),
    fixed("max_pending_total", "MaxPendingTotal", |o| {
        o.pending_total_max.map_or("auto".into(), |n| n.to_string())
    }),
    live("max_closed_clients", |o| o.max_closed_clients.to_string()),
    live("write_deadline", |o| GoDuration(o.write_deadline).to_string()),
    fixed("write_timeout", "WriteTimeout", |o| match o.write_timeout {
        WriteTimeout::Close => "close".into(),
        WriteTimeout::Retry => "retry".into(),
    }),
    live("no_fast_producer_stall", |o| o.no_fast_producer_stall.to_string()),
    live("ping_interval", |o| GoDuration(o.ping_interval).to_string()),
    live("ping_max", |o| o.ping_max.to_string()),
    live("connect_deadline", |o| GoDuration(o.connect_deadline).to_string()),
    fixed("no_header_support", "NoHeaderSupport", |o| o.no_header_support.to_string()),
    fixed("disable_sublist_cache", "NoSublistCache", |o| o.disable_sublist_cache.to_string()),
    fixed("lame_duck_duration", "LameDuckDuration", |o| {
        GoDuration(o.lame_duck_duration).to_string()
    }),
    fixed("lame_duck_grace_period", "LameDuckGracePeriod", |o| {
        GoDuration(o.lame_duck_grace_period).to_string()
    }),
];

/// JetStream without its directory and its flags, which are keys of their own.
fn apart_from_store(options: &Options) -> JetStreamOptions {
    JetStreamOptions {
        store_dir: None,
        long_acks: false,
        ..options.jetstream.clone()
    }
}

fn text(value: Option<impl Display>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Whether TLS differs in what can change.
fn tls_differs(old: &Options, new: &Options) -> bool {
    let part = |options: &Options| {
        let mut tls = options.tls.clone();
        tls.iter_mut().for_each(|tls| tls.connection_rate_limit = 0);
        tls
    };
    part(old) != part(new)
}

impl Options {
    /// What has changed from `self` to `new`.
    ///
    /// # Errors
    /// All that has changed and cannot while the server runs; then nothing is to be changed.
    pub fn changes(&self, new: &Options) -> Result<Vec<Change>, Vec<Refused>> {
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for field in FIELDS {
            if !field.differs(self, new) {
                continue;
            }
            let (key, value) = (field.key, field.show(new));
            match field.fixed {
                Some(name) if !(field.unless)(self, new) => refused.push(Refused {
                    name,
                    key,
                    old: field.show(self).unwrap_or_default(),
                    new: value.unwrap_or_default(),
                }),
                _ => changes.push(Change { key, value }),
            }
        }
        if refused.is_empty() {
            Ok(changes)
        } else {
            Err(refused)
        }
    }
}

/// Whether the option with this key can change while the server runs; `None` if there is none.
pub(super) fn is_live(key: &str) -> Option<bool> {
    let field = FIELDS.iter().find(|field| field.key == key)?;
    Some(field.fixed.is_none())
}

#[cfg(test)]
mod tests {
    use super::super::LogOptions;
    use super::super::cluster::ClusterOptions;
    use super::super::security::{AccountOptions, Authorization, Login, Mapping};
    use super::super::tls::TlsOptions;
    use super::*;
    use std::time::Duration;

    /// Options of which each is another than by default. Written out, so that a new option is
    /// missed here and so in the table.
    fn other() -> Options {
        let second = Duration::from_secs(1);
        Options {
            host: "::1".into(),
            port: 1,
            server_name: Some("n".into()),
            pid_file: Some("p".into()),
            loops: Some(1),
            ports_file_dir: Some("d".into()),
            client_advertise: Some("a".into()),
            tags: vec!["t".into()],
            metadata: [("k".into(), "v".into())].into(),
            log: LogOptions {
                debug: true,
                trace: true,
                trace_verbose: true,
                trace_headers: true,
                max_traced_msg_len: 1,
                logtime: false,
                logtime_utc: true,
                format: LogFormat::Json,
                file: Some("f".into()),
                size_limit: 1,
                max_num: 1,
                syslog: true,
                remote_syslog: Some("udp://h".into()),
            },
            http_host: Some("h".into()),
            http_port: 1,
            https_port: 1,
            http_base_path: "/b".into(),
            prof_port: 1,
            authorization: Authorization {
                token: Some("s3cret".into()),
                ..Authorization::default()
            },
            accounts: vec![AccountOptions::default()],
            mappings: vec![Mapping {
                source: "a".into(),
                destinations: Vec::new(),
            }],
            no_auth_user: Some("u".into()),
            system_account: Some("S".into()),
            no_system_account: true,
            tls: Some(TlsOptions {
                connection_rate_limit: 1,
                ..TlsOptions::default()
            }),
            allow_non_tls: true,
            trusted_proxies: vec!["U".into()],
            max_payload: 1,
            max_control_line: 1,
            max_connections: 1,
            max_subscriptions: 1,
            max_sub_tokens: 1,
            max_pending: 1,
            max_closed_clients: 1,
            write_deadline: second,
            write_timeout: WriteTimeout::Close,
            no_fast_producer_stall: true,
            no_header_support: true,
            disable_sublist_cache: true,
            lame_duck_duration: second,
            lame_duck_grace_period: second,
            ping_interval: second,
            ping_max: 1,
            connect_deadline: second,
            pending_total_max: Some(1),
            jetstream: JetStreamOptions {
                enabled: true,
                store_dir: Some("s".into()),
                long_acks: true,
                ..JetStreamOptions::default()
            },
            cluster: Some(ClusterOptions {
                port: 1,
                ..ClusterOptions::default()
            }),
        }
    }

    #[test]
    fn every_option_is_compared() {
        let (old, new) = (Options::default(), other());
        let differing = FIELDS.iter().filter(|field| field.differs(&old, &new));
        assert_eq!(differing.count(), FIELDS.len());
        // The fields of the struct and of `log` in it, by their lines in the debug form.
        let written = format!("{new:#?}");
        let names = |indent: &str, text: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(indent));
            lines
                .filter(|line| line.starts_with(char::is_alphabetic) && line.contains(": "))
                .count()
        };
        let log = written.split("    log: LogOptions {").nth(1).unwrap();
        let log = log.split("\n    },").next().unwrap();
        let options = names("    ", &written) - 1 + names("        ", log);
        // The handshakes a second are a part of `tls` and compared apart, as are the directory and the
        // flags of JetStream and where a cluster listens.
        assert_eq!(options, FIELDS.len() - 5, "{written}");
        assert_eq!(old.changes(&old), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_change_is_refused_by_name_and_nothing_else_is_told() {
        let old = Options::default();
        let new = Options {
            port: 4333,
            max_pending: 5,
            max_payload: 5,
            ..old.clone()
        };
        let refused = old.changes(&new).unwrap_err();
        let texts = refused.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts,
            [
                "config reload not supported for Port: old=4222, new=4333",
                "config reload not supported for MaxPending: old=67108864, new=5",
            ]
        );
    }

    #[test]
    fn changes_are_shown_as_key_and_value() {
        let old = Options::default();
        let mut new = Options {
            max_payload: 5,
            ping_interval: Duration::from_secs(5),
            ..old.clone()
        };
        new.log.debug = true;
        let changes = old.changes(&new).unwrap();
        let texts = changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts,
            ["debug = true", "max_payload = 5", "ping_interval = 5s"]
        );
    }

    #[test]
    fn a_cluster_can_change_but_for_where_it_listens() {
        let with = |change: &dyn Fn(&mut ClusterOptions)| {
            let mut own = ClusterOptions {
                port: 6222,
                ..ClusterOptions::default()
            };
            change(&mut own);
            Options {
                cluster: Some(own),
                ..Options::default()
            }
        };
        let old = with(&|_| {});
        let new = with(&|own| {
            own.name = Some("other".into());
            own.password = Some("s3cret".into());
            own.advertise = Some("example.org".into());
            own.no_advertise = true;
            own.connect_retries = 5;
        });
        let changes = old.changes(&new).unwrap();
        assert_eq!(changes[0].to_string(), "cluster = other 0.0.0.0:6222");
        let refused = |new: &Options| {
            let refused = old.changes(new).unwrap_err();
            let texts = refused.iter().map(|r| r.to_string());
            let head = "config reload not supported for cluster ";
            texts.map(|text| text.replace(head, "")).collect::<Vec<_>>()
        };
        let other = with(&|own| (own.host, own.port) = ("::1".into(), 6223));
        assert_eq!(
            refused(&other),
            ["host: old=0.0.0.0, new=::1", "port: old=6222, new=6223"]
        );
        assert_eq!(
            refused(&Options::default()),
            ["host: old=0.0.0.0, new=", "port: old=6222, new=0"]
        );
    }

    #[test]
    fn a_secret_that_changes_is_noticed_and_not_shown() {
        let with = |password: &str| {
            let mut options = Options::default();
            options.authorization.user = Some("u".into());
            options.authorization.password = Some(password.into());
            options.accounts = vec![AccountOptions {
                users: vec![User {
                    login: Login::Name("a".into()),
                    password: password.into(),
                    permissions: None,
                    connection_types: None,
                    proxy_required: false,
                }],
                ..AccountOptions::default()
            }];
            options
        };
        let changes = with("s3cret").changes(&with("s4cret")).unwrap();
        let texts = changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts, ["authorization", "accounts"]);
        assert!(!format!("{changes:?} {:?}", with("s3cret")).contains("cret\""));
    }

    #[test]
    fn tls_can_change_but_for_the_handshakes_a_second() {
        let with = |connection_rate_limit, verify| Options {
            tls: Some(TlsOptions {
                connection_rate_limit,
                verify,
                ..TlsOptions::default()
            }),
            ..Options::default()
        };
        let texts = |old: &Options, new: &Options| match old.changes(new) {
            Ok(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Err(refused) => refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        let none = Options::default();
        assert_eq!(texts(&none, &with(0, false)), ["tls = enabled"]);
        assert_eq!(texts(&with(0, false), &with(0, true)), ["tls = enabled"]);
        assert_eq!(texts(&with(0, false), &none), ["tls = disabled"]);
        assert_eq!(
            texts(&with(5, true), &with(6, true)),
            ["config reload not supported for TLSRateLimit: old=5, new=6"]
        );
    }

    #[test]
    fn who_connects_without_a_name_can_only_go_with_the_user() {
        let with = |users: &[&str], no_auth_user: Option<&str>| {
            let users = users.iter().map(|name| User {
                login: Login::Name((*name).into()),
                password: "".into(),
                permissions: None,
                connection_types: None,
                proxy_required: false,
            });
            Options {
                authorization: Authorization {
                    users: users.collect(),
                    ..Authorization::default()
                },
                no_auth_user: no_auth_user.map(str::to_owned),
                ..Options::default()
            }
        };
        let old = with(&["a", "b"], Some("a"));
        assert!(old.changes(&with(&["b"], None)).is_ok());
        for new in [with(&["a", "b"], None), with(&["a", "b"], Some("b"))] {
            let refused = old.changes(&new).unwrap_err();
            assert!(refused[0].to_string().contains("NoAuthUser: old=a, new="));
        }
        assert!(
            with(&["a"], None)
                .changes(&with(&["a"], Some("a")))
                .is_err()
        );
    }
}
