//! One log line: `[PID] YYYY/MM/DD HH:MM:SS.ffffff [INF] text`.

use std::cell::Cell;
use std::fmt::{Arguments, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::os::local_time::{self, Civil};

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
}

/// Which clock the lines show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Clock {
    Off,
    Local,
    Utc,
}

/// What all lines of a process have in common.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) pid: u32,
    pub(super) clock: Clock,
    pub(super) colours: bool,
}

impl Format {
    /// Appends the line with its newline to `out`.
    pub(super) fn line(&self, out: &mut String, now: SystemTime, label: Label, text: Arguments) {
        // Writing to a string fails only where a value's own formatting does; the line then ends
        // early.
        let _ = self.try_line(out, now, label, text);
        out.push('\n');
    }

    fn try_line(
        &self,
        out: &mut String,
        now: SystemTime,
        label: Label,
        text: Arguments,
    ) -> std::fmt::Result {
        write!(out, "[{}] ", self.pid)?;
        self.stamp(out, now)?;
        match self.colours {
            true => write!(out, "[\x1b[{}m{}\x1b[0m] ", label.colour(), label.text())?,
            false => write!(out, "[{}] ", label.text())?,
        }
        out.write_fmt(text)
    }

    fn stamp(&self, out: &mut String, now: SystemTime) -> std::fmt::Result {
        if self.clock == Clock::Off {
            return Ok(());
        }
        // A clock set before 1970 shows 1970.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2);
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = match self.clock {
            Clock::Local => local_cached(unix),
            Clock::Utc | Clock::Off => local_time::utc(unix),
        };
        write!(
            out,
            "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}"
        )?;
        write!(out, ".{:06} ", since.subsec_micros())
    }
}

/// The local time, asked of the system once a second and thread: it looks up the time zone under a
/// lock that all threads share.
fn local_cached(unix: i64) -> Civil {
    thread_local! {
        static LAST: Cell<Option<(i64, Civil)>> = const { Cell::new(None) };
    }
    match LAST.get() {
        Some((second, civil)) if second == unix => civil,
        _ => {
            let civil = local_time::local(unix).unwrap_or_else(|| local_time::utc(unix));
            LAST.set(Some((unix, civil)));
            civil
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(format: &Format, label: Label) -> String {
        let mut out = String::new();
        let now = UNIX_EPOCH + Duration::from_micros(951_782_399_000_042);
        format.line(&mut out, now, label, format_args!("Hello {}", 1));
        out
    }

    #[test]
    fn a_line_has_pid_time_label_and_text() {
        let format = Format {
            pid: 42,
            clock: Clock::Utc,
            colours: false,
        };
        let expected = "[42] 2000/02/28 23:59:59.000042 [INF] Hello 1\n";
        assert_eq!(line(&format, Label::Inf), expected);
        let format = Format {
            clock: Clock::Off,
            ..format
        };
        for (label, text) in [
            (Label::Dbg, "DBG"),
            (Label::Wrn, "WRN"),
            (Label::Err, "ERR"),
            (Label::Ftl, "FTL"),
            (Label::Trc, "TRC"),
        ] {
            assert_eq!(line(&format, label), format!("[42] [{text}] Hello 1\n"));
        }
    }

    #[test]
    fn terminals_get_coloured_labels() {
        let format = Format {
            pid: 42,
            clock: Clock::Off,
            colours: true,
        };
        assert_eq!(
            line(&format, Label::Inf),
            "[42] [\x1b[32mINF\x1b[0m] Hello 1\n"
        );
        assert_eq!(
            line(&format, Label::Wrn),
            "[42] [\x1b[0;93mWRN\x1b[0m] Hello 1\n"
        );
        assert_eq!(
            line(&format, Label::Ftl),
            "[42] [\x1b[31mFTL\x1b[0m] Hello 1\n"
        );
    }

    #[test]
    fn the_cache_follows_the_clock() {
        for unix in [1_700_000_000, 1_700_000_000, 1_700_000_001, 1_600_000_000] {
            let direct = local_time::local(unix).unwrap_or_else(|| local_time::utc(unix));
            assert_eq!(local_cached(unix), direct);
        }
    }
}
