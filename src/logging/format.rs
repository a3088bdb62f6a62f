//! The form of one log line: `[PID] YYYY/MM/DD HH:MM:SS.ffffff [INF] text`, JSON, or what a syslog
//! daemon expects.

use std::fmt::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use super::json;
use super::stamp::{Clock, Stamp};
use crate::options::{LogFormat, LogOptions};
use crate::os::host;

/// The kind of a line, as shown between brackets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    Inf,
    Dbg,
    Wrn,
    Err,
    Ftl,
    Trc,
}

impl Label {
    pub(super) const ALL: [Label; 6] = [
        Label::Inf,
        Label::Dbg,
        Label::Wrn,
        Label::Err,
        Label::Ftl,
        Label::Trc,
    ];

    fn text(self) -> &'static str {
        match self {
            Label::Inf => "INF",
            Label::Dbg => "DBG",
            Label::Wrn => "WRN",
            Label::Err => "ERR",
            Label::Ftl => "FTL",
            Label::Trc => "TRC",
        }
    }

    /// The word for it in the event log of Windows, as in the reference.
    pub(super) fn word(self) -> &'static str {
        match self {
            Label::Inf => "NOTICE",
            Label::Dbg => "DEBUG",
            Label::Wrn => "WARN",
            Label::Err => "ERROR",
            Label::Ftl => "FATAL",
            Label::Trc => "TRACE",
        }
    }

    /// The word for it in JSON.
    fn level(self) -> &'static str {
        match self {
            Label::Inf => "info",
            Label::Dbg => "debug",
            Label::Wrn => "warn",
            Label::Err => "error",
            Label::Ftl => "fatal",
            Label::Trc => "trace",
        }
    }

    /// The terminal's code for the colour of the label.
    fn colour(self) -> &'static str {
        match self {
            Label::Inf => "32",
            Label::Dbg => "36",
            Label::Wrn => "0;93",
            Label::Err | Label::Ftl => "31",
            Label::Trc => "33",
        }
    }

    /// The severity in syslog (RFC 3164, section 4.1.1). As in the reference, what is traced is
    /// noticed, not debugged.
    fn severity(self) -> u8 {
        match self {
            Label::Ftl => 2,
            Label::Err => 3,
            Label::Wrn => 4,
            Label::Inf | Label::Trc => 5,
            Label::Dbg => 7,
        }
    }
}

/// What stands before the text for a log of the system. The facilities are the reference's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Syslog {
    /// The system's own: facility "daemon", `<PRI>Nov 24 01:02:03 TAG[PID]: `.
    Local,
    /// One at a unix socket that was named: the same with facility "kernel".
    Socket,
    /// One on the network: facility "kernel", `<PRI>2026-11-24T01:02:03Z HOST TAG[PID]: `.
    Network,
    /// The event log of Windows: `pid[PID][NOTICE]: `.
    Events,
}

impl Syslog {
    /// The facility where it stands in PRI.
    fn facility(self) -> u8 {
        match self {
            Syslog::Local => 3 << 3,
            Syslog::Socket | Syslog::Network | Syslog::Events => 0,
        }
    }
}

/// What all lines of a process have in common.
#[derive(Debug)]
pub(super) struct Identity {
    pid: u32,
    /// The name of the program, for syslog.
    tag: String,
    /// The name of the machine, for syslog.
    host: String,
}

impl Identity {
    /// Of this process: its tag is the last part of the path that it was called by.
    pub(super) fn own() -> Identity {
        let program = std::env::args_os().next().unwrap_or_default();
        let tag = Path::new(&program).file_name().unwrap_or_default();
        let mut tag = tag.to_string_lossy().replace(char::is_control, "?");
        if tag.is_empty() {
            "nats-server".clone_into(&mut tag);
        }
        Identity {
            pid: std::process::id(),
            tag,
            host: host::name().unwrap_or_else(|| "localhost".into()),
        }
    }

    /// Of a process with this id, called `nats-server` on the machine `host`.
    #[cfg(test)]
    pub(super) fn of(pid: u32) -> Identity {
        let (tag, host) = ("nats-server".into(), "host".into());
        Identity { pid, tag, host }
    }
}

/// How lines are written at a time: what the options say, as far as it shapes a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Style {
    pub(super) syslog: Option<Syslog>,
    pub(super) format: LogFormat,
    pub(super) clock: Clock,
    pub(super) colours: bool,
}

impl Style {
    /// Text without colours and time.
    pub(super) const PLAIN: Style = Style {
        syslog: None,
        format: LogFormat::Text,
        clock: Clock::Off,
        colours: false,
    };

    /// The style that the options ask for, on a terminal or not.
    pub(super) fn new(options: &LogOptions, syslog: Option<Syslog>, terminal: bool) -> Style {
        Style {
            syslog,
            format: options.format,
            clock: match (options.logtime, options.logtime_utc) {
                (false, _) => Clock::Off,
                (true, true) => Clock::Utc,
                (true, false) => Clock::Local,
            },
            colours: terminal && options.format == LogFormat::Text,
        }
    }

    /// Appends the line with its newline to `out`.
    pub(super) fn line(
        self,
        out: &mut String,
        identity: &Identity,
        now: SystemTime,
        label: Label,
        text: &str,
    ) {
        // Writing to a string does not fail.
        let _ = self.try_line(out, identity, now, label, text);
        out.push('\n');
    }

    fn try_line(
        self,
        out: &mut String,
        identity: &Identity,
        now: SystemTime,
        label: Label,
        text: &str,
    ) -> fmt::Result {
        if let Some(syslog) = self.syslog {
            syslog_head(out, syslog, identity, now, label)?;
        }
        let stamp = match self.clock {
            Clock::Off => None,
            Clock::Local => Some(Stamp::local(now)),
            Clock::Utc => Some(Stamp::utc(now)),
        };
        match (self.format, self.syslog) {
            (LogFormat::Json, _) => json::object(out, stamp, label.level(), identity.pid, text),
            (LogFormat::Text, Some(_)) => one_line(out, text),
            (LogFormat::Text, None) => {
                write!(out, "[{}] ", identity.pid)?;
                if let Some(stamp) = stamp {
                    stamp.text(out)?;
                    out.push(' ');
                }
                match self.colours {
                    true => write!(out, "[\x1b[{}m{}\x1b[0m] ", label.colour(), label.text())?,
                    false => write!(out, "[{}] ", label.text())?,
                }
                out.write_str(text)
            }
        }
    }
}

/// Appends what stands before the text in syslog. The time is local, whatever the options say, as
/// RFC 3164 wants it; the event log has times of its own.
fn syslog_head(
    out: &mut String,
    syslog: Syslog,
    identity: &Identity,
    now: SystemTime,
    label: Label,
) -> fmt::Result {
    if syslog == Syslog::Events {
        return write!(out, "pid[{}][{}]: ", identity.pid, label.word());
    }
    write!(out, "<{}>", syslog.facility() | label.severity())?;
    let stamp = Stamp::local(now);
    match syslog {
        Syslog::Local | Syslog::Socket => stamp.rfc_3164(out)?,
        Syslog::Network | Syslog::Events => {
            stamp.rfc_3339(out)?;
            write!(out, " {}", identity.host)?;
        }
    }
    write!(out, " {}[{}]: ", identity.tag, identity.pid)
}

/// Appends `text` so that it stays one message for a syslog daemon, to which a newline is the end:
/// without newlines at its end, and with those inside as `#012`, the form in which such daemons
/// write them themselves.
fn one_line(out: &mut String, text: &str) -> fmt::Result {
    let breaks = ['\n', '\r', '\0'];
    let mut rest = text.trim_end_matches(breaks);
    while let Some(at) = rest.find(breaks) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let (found, after) = from.split_at(1);
        for byte in found.bytes() {
            write!(out, "#{byte:03o}")?;
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const UTC: Style = Style {
        clock: Clock::Utc,
        ..Style::PLAIN
    };

    const LABELS: [Label; 6] = Label::ALL;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(951_782_399_000_042)
    }

    fn line(style: Style, label: Label, text: &str) -> String {
        let mut out = String::new();
        style.line(&mut out, &Identity::of(42), now(), label, text);
        out
    }

    #[test]
    fn a_line_has_pid_time_label_and_text() {
        let expected = "[42] 2000/02/28 23:59:59.000042 [INF] Hello\n";
        assert_eq!(line(UTC, Label::Inf, "Hello"), expected);
        let shown = LABELS.map(|label| line(Style::PLAIN, label, "Hello"));
        let expected = ["INF", "DBG", "WRN", "ERR", "FTL", "TRC"];
        assert_eq!(shown, expected.map(|text| format!("[42] [{text}] Hello\n")));
        assert_eq!(line(Style::PLAIN, Label::Inf, "a\nb"), "[42] [INF] a\nb\n");
    }

    #[test]
    fn terminals_get_coloured_labels_in_text_only() {
        let options = LogOptions {
            logtime: false,
            ..LogOptions::default()
        };
        let style = Style::new(&options, None, true);
        let shown = LABELS.map(|label| line(style, label, "Hello"));
        let expected = ["32mINF", "36mDBG", "0;93mWRN", "31mERR", "31mFTL", "33mTRC"];
        assert_eq!(
            shown,
            expected.map(|code| format!("[42] [\x1b[{code}\x1b[0m] Hello\n"))
        );
        let json = LogOptions {
            format: LogFormat::Json,
            ..options
        };
        assert!(!line(Style::new(&json, None, true), Label::Inf, "x").contains('\x1b'));
    }

    #[test]
    fn json_has_words_for_levels() {
        let style = Style {
            format: LogFormat::Json,
            ..Style::PLAIN
        };
        let shown = LABELS.map(|label| line(style, label, "a\nb"));
        let expected = ["info", "debug", "warn", "error", "fatal", "trace"];
        assert_eq!(
            shown,
            expected
                .map(|level| format!("{{\"level\":\"{level}\",\"pid\":42,\"msg\":\"a\\nb\"}}\n"))
        );
    }

    #[test]
    fn syslog_has_a_priority_and_a_tag_instead_of_pid_and_label() {
        let syslog = |syslog| Style {
            syslog: Some(syslog),
            ..UTC
        };
        let (mut short, mut long) = (String::new(), String::new());
        Stamp::local(now()).rfc_3164(&mut short).unwrap();
        Stamp::local(now()).rfc_3339(&mut long).unwrap();
        let shown = LABELS.map(|label| line(syslog(Syslog::Local), label, "Hello"));
        assert_eq!(
            shown,
            [29, 31, 28, 27, 26, 29].map(|pri| format!("<{pri}>{short} nats-server[42]: Hello\n"))
        );
        assert_eq!(
            line(syslog(Syslog::Socket), Label::Err, "Hello"),
            format!("<3>{short} nats-server[42]: Hello\n")
        );
        assert_eq!(
            line(syslog(Syslog::Network), Label::Err, "Hello"),
            format!("<3>{long} host nats-server[42]: Hello\n")
        );
        let json = Style {
            format: LogFormat::Json,
            clock: Clock::Off,
            ..syslog(Syslog::Network)
        };
        let text = r#"{"level":"error","pid":42,"msg":"a\nb"}"#;
        assert_eq!(
            line(json, Label::Err, "a\nb"),
            format!("<3>{long} host nats-server[42]: {text}\n")
        );
    }

    #[test]
    fn syslog_messages_are_one_line() {
        for (text, shown) in [
            ("", ""),
            ("a\n", "a"),
            ("a\nb\r\nc\0d\n\n", "a#012b#015#012c#000d"),
            ("é\né", "é#012é"),
        ] {
            let mut out = String::new();
            one_line(&mut out, text).unwrap();
            assert_eq!(out, shown);
        }
    }

    #[test]
    fn the_tag_is_the_name_of_the_program() {
        let program = std::env::args().next().unwrap();
        assert!(program.ends_with(&Identity::own().tag), "{program}");
        assert!(!Identity::own().tag.contains('/'));
    }
}
