//! Time zones: what clocks show at a time, and when days begin.
//!
//! The rules are those of the IANA database of the release that the server was built from; the
//! system's own is not read.

use crate::base::calendar::Date;
use crate::json::Time;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Where clocks are looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Zone {
    Utc,
    Named(TimeZone),
}

/// What a clock shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    pub date: Date,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

/// Seconds of a day.
const DAY: i64 = 86_400;

impl Zone {
    /// The zone by this name, such as `Europe/Berlin`, in just that spelling.
    pub fn find(name: &str) -> Option<Zone> {
        if name == "UTC" {
            return Some(Zone::Utc);
        }
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        (zone.iana_name() == Some(name)).then_some(Zone::Named(zone))
    }

    /// What clocks show so many seconds after the start of 1970.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "hours, minutes and seconds are small and positive"
    )]
    pub fn local(&self, seconds: i64) -> Local {
        let shown = seconds + self.offset(seconds);
        let of_day = shown.rem_euclid(DAY);
        Local {
            date: Date::from_days(shown.div_euclid(DAY)),
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// When a day begins, in seconds after the start of 1970; where clocks leave out midnight, when
    /// they would have shown it by the old time.
    pub fn start_of(&self, date: Date) -> i64 {
        let shown = date.days() * DAY;
        // The offset before midnight, and that at the time which it leads to.
        let before = shown - self.offset(shown - DAY);
        let after = shown - self.offset(before);
        if shown - self.offset(after) == after {
            after
        } else {
            before
        }
    }

    /// A time in RFC 3339, as clocks show it and how far they are ahead of UTC.
    pub fn written(&self, time: Time) -> String {
        let offset = self.offset(time.unix_seconds());
        let shown = Time::from_unix(time.unix_seconds() + offset, time.subsec_nanos()).to_string();
        if offset == 0 {
            return shown;
        }
        let sign = if offset < 0 { '-' } else { '+' };
        let minutes = offset.abs() / 60;
        let front = shown.trim_end_matches('Z');
        format!("{front}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// Seconds that clocks are ahead of UTC.
    fn offset(&self, seconds: i64) -> i64 {
        match self {
            Zone::Utc => 0,
            Zone::Named(zone) => Timestamp::from_second(seconds)
                .map_or(0, |time| zone.to_offset(time).seconds().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_name() {
        assert_eq!(Zone::find("UTC"), Some(Zone::Utc));
        assert!(matches!(Zone::find("Europe/Berlin"), Some(Zone::Named(_))));
        for name in ["", "utc", "europe/berlin", "Bogus/Zone", "../etc/passwd"] {
            assert_eq!(Zone::find(name), None, "{name}");
        }
    }

    #[test]
    fn times_are_written_by_the_clocks_of_the_zone() {
        let time = Time::from_unix(1_719_792_000, 500_000_000);
        let of = |name| Zone::find(name).unwrap().written(time);
        assert_eq!(of("UTC"), "2024-07-01T00:00:00.5Z");
        assert_eq!(of("Europe/Berlin"), "2024-07-01T02:00:00.5+02:00");
        assert_eq!(of("America/St_Johns"), "2024-06-30T21:30:00.5-02:30");
    }

    #[test]
    fn clocks_show_the_time_of_their_zone() {
        let berlin = Zone::find("Europe/Berlin").unwrap();
        let new_year = berlin.start_of(Date {
            year: 2024,
            month: 1,
            day: 1,
        });
        assert_eq!(new_year, 1_704_063_600);
        let local = berlin.local(new_year);
        assert_eq!((local.date.year, local.hour, local.minute), (2024, 0, 0));
        assert_eq!(berlin.local(1_719_792_000).hour, 2);
        for day in 0..800 {
            let date = Date::from_days(19_700 + day);
            assert_eq!(berlin.local(berlin.start_of(date)).date, date);
            assert_ne!(berlin.local(berlin.start_of(date) - 1).date, date);
        }
    }
}
