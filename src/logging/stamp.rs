//! Moments as log lines and names of backups show them.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::os::local_time::{self, Civil};

/// Which clock the lines show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Clock {
    Off,
    Local,
    Utc,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A moment with its date and time of day, in UTC or where the machine stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    civil: Civil,
    nanos: u32,
    /// Minutes that the clock is ahead of UTC.
    ahead: i64,
}

impl Stamp {
    /// `now` in UTC. A clock set before 1970 shows 1970.
    pub(super) fn utc(now: SystemTime) -> Stamp {
        let (unix, nanos) = since_1970(now);
        Stamp {
            civil: local_time::utc(unix),
            nanos,
            ahead: 0,
        }
    }

    /// `now` where the machine stands, or in UTC if the system cannot tell.
    pub(super) fn local(now: SystemTime) -> Stamp {
        let (unix, nanos) = since_1970(now);
        let civil = local_cached(unix);
        // The seconds of zones that know leap seconds differ too; what is shown are minutes.
        let ahead = (local_time::unix(civil) - unix).div_euclid(60);
        Stamp {
            civil,
            nanos,
            ahead,
        }
    }

    /// Appends `2026/11/24 01:02:03.123456`.
    pub(super) fn text(self, out: &mut String) -> fmt::Result {
        let Civil {
            year, month, day, ..
        } = self.civil;
        write!(out, "{year:04}/{month:02}/{day:02} ")?;
        self.time_of_day(out)?;
        self.micros(out)
    }

    /// Appends `2026-11-24T01:02:03.123456Z`, or the offset from UTC instead of the Z (RFC 3339).
    pub(super) fn rfc_3339_micros(self, out: &mut String) -> fmt::Result {
        self.date_and_time(out)?;
        self.micros(out)?;
        self.offset(out)
    }

    /// Appends `2026-11-24T01:02:03+01:00` (RFC 3339).
    pub(super) fn rfc_3339(self, out: &mut String) -> fmt::Result {
        self.date_and_time(out)?;
        self.offset(out)
    }

    /// Appends `Nov 24 01:02:03` (RFC 3164).
    pub(super) fn rfc_3164(self, out: &mut String) -> fmt::Result {
        let Civil { month, day, .. } = self.civil;
        let month = MONTHS.get(usize::from(month).wrapping_sub(1));
        write!(out, "{} {day:2} ", month.unwrap_or(&"Jan"))?;
        self.time_of_day(out)
    }

    /// `2026.11.24.01.02.03.123456789`, for names of files.
    pub(super) fn file_name(self) -> String {
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self.civil;
        let nanos = self.nanos;
        format!("{year:04}.{month:02}.{day:02}.{hour:02}.{minute:02}.{second:02}.{nanos:09}")
    }

    /// Whether `name` is what [`Stamp::file_name`] may have returned.
    pub(super) fn is_file_name(name: &[u8]) -> bool {
        const PARTS: [(usize, u32, u32); 7] = [
            (4, 0, 9999),
            (2, 1, 12),
            (2, 1, 31),
            (2, 0, 23),
            (2, 0, 59),
            (2, 0, 60),
            (9, 0, 999_999_999),
        ];
        let mut parts = name.split(|byte| *byte == b'.');
        let fits = |(digits, min, max): (usize, u32, u32), part: &[u8]| {
            part.len() == digits
                && part.iter().all(u8::is_ascii_digit)
                && str::from_utf8(part)
                    .is_ok_and(|text| text.parse().is_ok_and(|n| (min..=max).contains(&n)))
        };
        PARTS
            .into_iter()
            .all(|rule| parts.next().is_some_and(|part| fits(rule, part)))
            && parts.next().is_none()
    }

    fn date_and_time(self, out: &mut String) -> fmt::Result {
        let Civil {
            year, month, day, ..
        } = self.civil;
        write!(out, "{year:04}-{month:02}-{day:02}T")?;
        self.time_of_day(out)
    }

    fn time_of_day(self, out: &mut String) -> fmt::Result {
        let Civil {
            hour,
            minute,
            second,
            ..
        } = self.civil;
        write!(out, "{hour:02}:{minute:02}:{second:02}")
    }

    fn micros(self, out: &mut String) -> fmt::Result {
        write!(out, ".{:06}", self.nanos / 1000)
    }

    fn offset(self, out: &mut String) -> fmt::Result {
        if self.ahead == 0 {
            return out.write_char('Z');
        }
        let sign = if self.ahead < 0 { '-' } else { '+' };
        let minutes = self.ahead.unsigned_abs();
        write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// Seconds, and the nanoseconds beyond them.
fn since_1970(now: SystemTime) -> (i64, u32) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix = i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2);
    (unix, since.subsec_nanos())
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

    fn shown(stamp: Stamp, form: impl FnOnce(Stamp, &mut String) -> fmt::Result) -> String {
        let mut out = String::new();
        form(stamp, &mut out).unwrap();
        out
    }

    #[test]
    fn every_form_of_a_moment() {
        let now = UNIX_EPOCH + Duration::from_nanos(951_917_645_000_042_007);
        let stamp = Stamp::utc(now);
        assert_eq!(shown(stamp, Stamp::text), "2000/03/01 13:34:05.000042");
        assert_eq!(
            shown(stamp, Stamp::rfc_3339_micros),
            "2000-03-01T13:34:05.000042Z"
        );
        assert_eq!(shown(stamp, Stamp::rfc_3164), "Mar  1 13:34:05");
        assert_eq!(stamp.file_name(), "2000.03.01.13.34.05.000042007");
        for (ahead, offset) in [(0, "Z"), (60, "+01:00"), (-210, "-03:30"), (825, "+13:45")] {
            let stamp = Stamp { ahead, ..stamp };
            let expected = format!("2000-03-01T13:34:05{offset}");
            assert_eq!(shown(stamp, Stamp::rfc_3339), expected);
        }
    }

    #[test]
    fn names_of_backups_are_known_exactly() {
        let name = Stamp::local(UNIX_EPOCH + Duration::from_nanos(951_917_645_000_042_007));
        assert!(Stamp::is_file_name(name.file_name().as_bytes()));
        for (name, known) in [
            ("2000.03.01.13.34.05.000042007", true),
            ("2000.03.01.13.34.60.999999999", true),
            ("2000.03.01.13.34.05.00004200", false),
            ("2000.03.01.13.34.05.0000420071", false),
            ("2000.03.01.13.34.05.000042007.gz", false),
            ("2000.03.01.13.34.05", false),
            ("2000.13.01.13.34.05.000042007", false),
            ("2000.00.01.13.34.05.000042007", false),
            ("2000.03.01.24.34.05.000042007", false),
            ("2000-03-01.13.34.05.000042007", false),
            ("+200.03.01.13.34.05.000042007", false),
            ("2000.3.001.13.34.05.000042007", false),
            ("", false),
            ("gz", false),
        ] {
            assert_eq!(Stamp::is_file_name(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn the_cache_follows_the_clock() {
        for unix in [1_700_000_000, 1_700_000_000, 1_700_000_001, 1_600_000_000] {
            let direct = local_time::local(unix).unwrap_or_else(|| local_time::utc(unix));
            assert_eq!(local_cached(unix), direct);
        }
    }
}
