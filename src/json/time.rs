//! Points in time, which JSON has as RFC 3339 texts: `2024-05-01T12:00:00.5Z`.

use crate::base::calendar::{Date, days_in_month};
use crate::base::text::quoted;
use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time between the years 0 and 9999, to the nanosecond. Always shown in UTC.
///
/// One that is not set is the start of year 1, which is sent as `0001-01-01T00:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Time {
    /// Seconds since the start of 1970.
    seconds: i64,
    nanos: u32,
}

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

impl Time {
    /// One that is not set.
    pub const ZERO: Time = Time {
        seconds: -62_135_596_800,
        nanos: 0,
    };

    /// The start of year 0.
    const MIN: i64 = -62_167_219_200;
    /// The last second of year 9999.
    const MAX: i64 = 253_402_300_799;

    pub fn is_zero(self) -> bool {
        self == Time::ZERO
    }

    /// The time so many seconds after the start of 1970; the nearest there is.
    pub fn from_unix(seconds: i64, nanos: u32) -> Time {
        Time {
            seconds: seconds.clamp(Time::MIN, Time::MAX),
            nanos: nanos.min(999_999_999),
        }
    }

    /// The time so many nanoseconds after the start of 1970.
    pub fn from_unix_nanos(nanos: u64) -> Time {
        let since = Duration::from_nanos(nanos);
        Time {
            // 2554 at most.
            seconds: i64::try_from(since.as_secs()).unwrap_or(Time::MAX),
            nanos: since.subsec_nanos(),
        }
    }

    /// Nanoseconds since the start of 1970; the nearest there is between 1970 and 2554.
    pub fn unix_nanos(self) -> u64 {
        let nanos = i128::from(self.seconds) * SECOND + i128::from(self.nanos);
        u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
    }

    /// Whole seconds since the start of 1970.
    pub fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds of the second.
    pub fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// The time from `earlier` to this one, in nanoseconds; the nearest that fits.
    pub fn since(self, earlier: Time) -> super::Nanos {
        let seconds = i128::from(self.seconds) - i128::from(earlier.seconds);
        let nanos = seconds * SECOND + i128::from(self.nanos) - i128::from(earlier.nanos);
        super::Nanos(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Reads an RFC 3339 text.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub fn parse(text: &str) -> Result<Time, String> {
        Reader::new(text).time()
    }
}

impl Default for Time {
    fn default() -> Time {
        Time::ZERO
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i128::try_from(since.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => i128::try_from(before.duration().as_nanos()).map_or(i128::MIN, |n| -n),
        };
        let seconds = i64::try_from(nanos.div_euclid(SECOND));
        let below = u32::try_from(nanos.rem_euclid(SECOND)).unwrap_or(0);
        Time::from_unix(
            seconds.unwrap_or(if nanos < 0 { Time::MIN } else { Time::MAX }),
            below,
        )
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Date { year, month, day } = Date::from_days(self.seconds.div_euclid(DAY));
        let of_day = self.seconds.rem_euclid(DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:", of_day / 3600)?;
        write!(f, "{:02}:{:02}", of_day / 60 % 60, of_day % 60)?;
        if self.nanos > 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The form that texts are compared with in what is told of them.
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Reader<'t> {
        Reader { text, rest: text }
    }

    fn time(mut self) -> Result<Time, String> {
        let year = self.digits(4, "2006")?;
        self.literal("-")?;
        let month = self.small(2, "01", 1..=12, "month")?;
        self.literal("-")?;
        let day_at = self.rest;
        let day = self.digits(2, "02")?;
        self.literal("T")?;
        let hour = self.digits_in(2, "15", 0..=23, "hour")?;
        self.literal(":")?;
        let minute = self.digits_in(2, "04", 0..=59, "minute")?;
        self.literal(":")?;
        let second = self.digits_in(2, "05", 0..=59, "second")?;
        let nanos = self.fraction();
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(self.fault(&format!(": extra text: {}", show(self.rest))));
        }
        let day = match u8::try_from(day) {
            Ok(day) if (1..=days_in_month(year, month)).contains(&day) => day,
            _ => return Err(self.fault(": day out of range")),
        };
        debug_assert!(!day_at.is_empty(), "a day was read there");
        let days = Date { year, month, day }.days();
        let seconds = days * DAY + hour * 3600 + minute * 60 + second - offset * 60;
        Ok(Time::from_unix(seconds, nanos))
    }

    /// What is told of a text in which something of the layout is missing.
    fn missing(&self, layout: &str) -> String {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            show(self.text),
            show(LAYOUT),
            show(self.rest),
            show(layout)
        )
    }

    fn fault(&self, what: &str) -> String {
        format!("parsing time {}{what}", show(self.text))
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        match self.rest.strip_prefix(literal) {
            Some(rest) => self.rest = rest,
            None => return Err(self.missing(literal)),
        }
        Ok(())
    }

    fn digits(&mut self, count: usize, layout: &str) -> Result<i64, String> {
        let digits = self.rest.get(..count);
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let Some(digits) = digits else {
            return Err(self.missing(layout));
        };
        self.rest = &self.rest[count..];
        Ok(digits.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
    }

    fn digits_in(
        &mut self,
        count: usize,
        layout: &str,
        range: std::ops::RangeInclusive<i64>,
        what: &str,
    ) -> Result<i64, String> {
        let number = self.digits(count, layout)?;
        match range.contains(&number) {
            true => Ok(number),
            false => Err(self.fault(&format!(": {what} out of range"))),
        }
    }

    fn small(
        &mut self,
        count: usize,
        layout: &str,
        range: std::ops::RangeInclusive<i64>,
        what: &str,
    ) -> Result<u8, String> {
        let number = self.digits_in(count, layout, range, what)?;
        Ok(u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// The nanoseconds that a fraction is, if there is one; what is below is cut.
    fn fraction(&mut self) -> u32 {
        let Some(rest) = self.rest.strip_prefix('.') else {
            return 0;
        };
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return 0;
        }
        let digits = rest.bytes().take(len).chain(std::iter::repeat(b'0'));
        let nanos = digits.take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        self.rest = &rest[len..];
        nanos
    }

    /// The minutes that the text's clock is ahead of UTC.
    fn offset(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let whole = self.missing("Z07:00");
        let sign = match self.rest.as_bytes() {
            [b'+', ..] => 1,
            [b'-', ..] => -1,
            _ => return Err(whole),
        };
        self.rest = &self.rest[1..];
        let hours = self.digits(2, "").map_err(|_| whole.clone())?;
        self.literal(":").map_err(|_| whole.clone())?;
        let minutes = self.digits(2, "").map_err(|_| whole)?;
        if hours > 24 {
            return Err(self.fault(": time zone offset hour out of range"));
        }
        if minutes > 60 {
            return Err(self.fault(": time zone offset minute out of range"));
        }
        Ok(sign * (hours * 60 + minutes))
    }
}

fn show(text: &str) -> String {
    quoted(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, want) in [
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2024-02-29T23:59:59.120Z", "2024-02-29T23:59:59.12Z"),
            ("2024-03-01T01:30:00+02:00", "2024-02-29T23:30:00Z"),
            (
                "2023-12-31T23:00:00.000000001-01:30",
                "2024-01-01T00:30:00.000000001Z",
            ),
            (
                "2023-12-31T23:00:00.0000000019Z",
                "2023-12-31T23:00:00.000000001Z",
            ),
            (
                "9999-12-31T23:59:59.999999999Z",
                "9999-12-31T23:59:59.999999999Z",
            ),
            ("0000-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(
                Time::parse(text).map(|t| t.to_string()).as_deref(),
                Ok(want)
            );
        }
        assert!(Time::parse("0001-01-01T00:00:00Z").is_ok_and(Time::is_zero));
        assert_eq!(Time::default().to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn numbers_and_back() {
        let time = Time::from_unix_nanos(1_500_000_000);
        assert_eq!(time.to_string(), "1970-01-01T00:00:01.5Z");
        assert_eq!(time.unix_nanos(), 1_500_000_000);
        assert_eq!(Time::ZERO.unix_nanos(), 0);
        assert_eq!(Time::from_unix_nanos(u64::MAX).unix_nanos(), u64::MAX);
        let system = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(Time::from(system).to_string(), "1969-12-31T23:59:58.5Z");
        assert_eq!(time.since(Time::from_unix(0, 0)).0, 1_500_000_000);
        assert_eq!(Time::ZERO.since(time).0, i64::MIN);
    }

    #[test]
    fn faults_are_told_in_the_words_of_go() {
        let missing = |text: &str, rest: &str, layout: &str| {
            format!(
                r#"parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{rest}" as "{layout}""#
            )
        };
        for (text, want) in [
            ("", missing("", "", "2006")),
            ("x", missing("x", "x", "2006")),
            ("2024", missing("2024", "", "-")),
            ("2024-01-01", missing("2024-01-01", "", "T")),
            (
                "2024-01-01 00:00:00Z",
                missing("2024-01-01 00:00:00Z", " 00:00:00Z", "T"),
            ),
            (
                "2024-01-01T00:00:00",
                missing("2024-01-01T00:00:00", "", "Z07:00"),
            ),
            (
                "2024-01-01T00:00:00+1",
                missing("2024-01-01T00:00:00+1", "+1", "Z07:00"),
            ),
            (
                "2024-13-01T00:00:00Z",
                r#"parsing time "2024-13-01T00:00:00Z": month out of range"#.into(),
            ),
            (
                "2023-02-29T00:00:00Z",
                r#"parsing time "2023-02-29T00:00:00Z": day out of range"#.into(),
            ),
            (
                "2023-02-20T24:00:00Z",
                r#"parsing time "2023-02-20T24:00:00Z": hour out of range"#.into(),
            ),
            (
                "2023-02-20T00:00:00Zx",
                r#"parsing time "2023-02-20T00:00:00Zx": extra text: "x""#.into(),
            ),
        ] {
            assert_eq!(Time::parse(text), Err(want), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(seconds in Time::MIN..=Time::MAX, nanos in 0u32..1_000_000_000) {
            let time = Time::from_unix(seconds, nanos);
            prop_assert_eq!(Time::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,32}|[-0-9T:.Z+]{0,32}") {
            let _ = Time::parse(&text);
        }
    }
}
