//! What it takes to go from one set of options to another while the server runs.

use super::{LogFormat, Options, WriteTimeout};
use crate::base::text::GoDuration;
use std::fmt::{self, Display, Formatter};

/// An option that can change while the server runs, and did. Shown, it is `key = value`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The option's key in a configuration file.
    pub key: &'static str,
    /// The new value as the log shows it.
    pub value: String,
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
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

/// An option: its key, the reference's name for it where it cannot change, and its value as text.
struct Field {
    key: &'static str,
    fixed: Option<&'static str>,
    show: fn(&Options) -> String,
}

const fn live(key: &'static str, show: fn(&Options) -> String) -> Field {
    let fixed = None;
    Field { key, fixed, show }
}

const fn fixed(key: &'static str, name: &'static str, show: fn(&Options) -> String) -> Field {
    let fixed = Some(name);
    Field { key, fixed, show }
}

/// All options. A value's text differs whenever the value does.
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

fn text(value: Option<impl Display>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

impl Options {
    /// What has changed from `self` to `new`.
    ///
    /// # Errors
    /// All that has changed and cannot while the server runs; then nothing is to be changed.
    pub fn changes(&self, new: &Options) -> Result<Vec<Change>, Vec<Refused>> {
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for field in FIELDS {
            let (key, old, value) = (field.key, (field.show)(self), (field.show)(new));
            if old == value {
                continue;
            }
            match field.fixed {
                None => changes.push(Change { key, value }),
                Some(name) => refused.push(Refused {
                    name,
                    key,
                    old,
                    new: value,
                }),
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
            max_payload: 1,
            max_control_line: 1,
            max_connections: 1,
            max_subscriptions: 1,
            max_sub_tokens: 1,
            max_pending: 1,
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
            ..Options::default()
        }
    }

    #[test]
    fn every_option_is_compared() {
        let (old, new) = (Options::default(), other());
        let differing = FIELDS
            .iter()
            .filter(|field| (field.show)(&old) != (field.show)(&new));
        assert_eq!(differing.count(), FIELDS.len());
        let written = format!("{new:?}");
        // A field of the struct has a name and a colon in its debug form; `log` holds others.
        assert_eq!(written.matches(": ").count() - 2, FIELDS.len(), "{written}");
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
}
