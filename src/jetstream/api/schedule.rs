//! When a schedule makes messages: once, again and again after a while, or by a pattern of times.

use super::cron::Cron;
use super::errors::ApiError;
use super::zone::Zone;
use crate::base::duration;
use crate::json::{Nanos, Time};

/// When a schedule makes messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Schedule {
    /// Once, `@at <RFC 3339>`.
    At(Time),
    /// Again and again, `@every <duration>`.
    Every(Nanos),
    /// By a pattern, or one of the names for some of them, by the clocks of a zone.
    Cron(Box<(Cron, Zone)>),
}

impl Schedule {
    /// Reads a pattern, and the zone in which it is meant, if one is named. `None` if there is no
    /// pattern.
    ///
    /// # Errors
    /// 10223 if there is no such zone, 10189 if the pattern can not be read or knows no zone.
    pub fn parse(pattern: &[u8], zone: Option<&[u8]>) -> Result<Option<Schedule>, ApiError> {
        let invalid = ApiError::MessageSchedulesPatternInvalid;
        let zone = match zone {
            Some(name) => {
                let found = str::from_utf8(name).ok().and_then(Zone::find);
                Some(found.ok_or(ApiError::MessageSchedulesTimeZoneInvalid)?)
            }
            None => None,
        };
        let Ok(pattern) = str::from_utf8(pattern) else {
            return Err(invalid);
        };
        if pattern.is_empty() {
            return Ok(None);
        }
        let named = zone.is_some();
        let once = pattern
            .strip_prefix("@at ")
            .map(|time| Time::parse(time).ok());
        let every = pattern.strip_prefix("@every ").map(interval);
        let schedule = match (once, every) {
            (Some(at), _) => at.filter(|_| !named).map(Schedule::At),
            (_, Some(every)) => every.filter(|_| !named).map(Schedule::Every),
            _ => {
                let cron = Cron::parse(spelled_out(pattern));
                let zone = zone.unwrap_or(Zone::Utc);
                cron.map(|cron| Schedule::Cron(Box::new((cron, zone))))
            }
        };
        schedule.map(Some).ok_or(invalid)
    }

    /// When the next message is due behind `last`, which is when the schedule was stored or made the
    /// one before. What is due in the past of `now` is left out, but for the one time of a schedule
    /// that has no other. `None` if a pattern fits no time in sight.
    pub fn next(&self, last: Time, now: Time) -> Option<Time> {
        match self {
            Schedule::At(time) => Some(*time),
            Schedule::Every(every) => {
                let next = later(rounded(last), *every);
                let missed = next < now;
                Some(if missed {
                    later(rounded(now), *every)
                } else {
                    next
                })
            }
            Schedule::Cron(of) => {
                let (cron, zone) = &**of;
                let next = cron.next(last, zone)?;
                if next < now {
                    cron.next(rounded(now), zone)
                } else {
                    Some(next)
                }
            }
        }
    }

    /// A time as it is written, by the clocks of the schedule's zone.
    pub fn written(&self, time: Time) -> String {
        match self {
            Schedule::Cron(of) => of.1.written(time),
            Schedule::At(_) | Schedule::Every(_) => time.to_string(),
        }
    }

    /// Whether it makes more than one message.
    pub fn repeats(&self) -> bool {
        !matches!(self, Schedule::At(_))
    }
}

/// When a message with this pattern, stored `now`, is due first; `None` if there is no pattern.
///
/// # Errors
/// As for [`Schedule::parse`]; 10189 also if the pattern fits no time in sight.
pub fn first(pattern: &[u8], zone: Option<&[u8]>, now: Time) -> Result<Option<Time>, ApiError> {
    match Schedule::parse(pattern, zone)? {
        None => Ok(None),
        Some(schedule) => {
            let next = schedule.next(now, now);
            next.map(Some)
                .ok_or(ApiError::MessageSchedulesPatternInvalid)
        }
    }
}

/// A second at least.
fn interval(text: &str) -> Option<Nanos> {
    let every = Nanos::from(duration::parse(text).ok()?);
    (every >= Nanos::from_secs(1)).then_some(every)
}

/// The pattern that a name stands for.
fn spelled_out(pattern: &str) -> &str {
    match pattern {
        "@yearly" | "@annually" => "0 0 0 1 1 *",
        "@monthly" => "0 0 0 1 * *",
        "@weekly" => "0 0 0 * * 0",
        "@daily" | "@midnight" => "0 0 0 * * *",
        "@hourly" => "0 0 * * * *",
        other => other,
    }
}

/// The nearest whole second.
fn rounded(time: Time) -> Time {
    let up = i64::from(time.subsec_nanos() >= 500_000_000);
    Time::from_unix(time.unix_seconds() + up, 0)
}

fn later(time: Time, by: Nanos) -> Time {
    let (seconds, nanos) = (by.0 / 1_000_000_000, by.0 % 1_000_000_000);
    Time::from_unix(
        time.unix_seconds().saturating_add(seconds),
        u32::try_from(nanos).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn parse(pattern: &str) -> Result<Option<Schedule>, ApiError> {
        Schedule::parse(pattern.as_bytes(), None)
    }

    #[test]
    fn patterns_are_read() {
        let time = at("2030-01-01T00:00:00Z");
        assert_eq!(
            parse("@at 2030-01-01T00:00:00Z"),
            Ok(Some(Schedule::At(time)))
        );
        assert_eq!(
            parse("@at 2030-01-01T02:00:00+02:00"),
            Ok(Some(Schedule::At(time)))
        );
        let every = Schedule::Every(Nanos::from_secs(90));
        assert_eq!(parse("@every 1m30s"), Ok(Some(every)));
        assert!(matches!(parse("@hourly"), Ok(Some(Schedule::Cron(_)))));
        assert_eq!(parse(""), Ok(None));
        for pattern in [
            "@at x",
            "@at  2030-01-01T00:00:00Z",
            "@every 500ms",
            "@every -5s",
            "@every  5s",
            "@AT x",
            "@bogus",
        ] {
            assert_eq!(
                parse(pattern),
                Err(ApiError::MessageSchedulesPatternInvalid),
                "{pattern}"
            );
        }
    }

    #[test]
    fn zones_are_for_patterns() {
        let of =
            |pattern: &str, zone: &str| Schedule::parse(pattern.as_bytes(), Some(zone.as_bytes()));
        assert!(of("@daily", "Europe/Berlin").is_ok_and(|schedule| schedule.is_some()));
        let zone = Err(ApiError::MessageSchedulesTimeZoneInvalid);
        assert_eq!(of("@daily", ""), zone);
        assert_eq!(of("@daily", "Bogus/Zone"), zone);
        assert_eq!(of("", "Bogus/Zone"), zone);
        let pattern = Err(ApiError::MessageSchedulesPatternInvalid);
        assert_eq!(of("@every 5s", "UTC"), pattern);
        assert_eq!(of("@at 2030-01-01T00:00:00Z", "UTC"), pattern);
    }

    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let every = parse("@every 10s").unwrap().unwrap();
        let last = at("2024-01-01T00:00:00.6Z");
        assert_eq!(every.next(last, last), Some(at("2024-01-01T00:00:11Z")));
        let later = at("2024-01-01T01:00:00.4Z");
        assert_eq!(every.next(last, later), Some(at("2024-01-01T01:00:10Z")));
        let hourly = parse("@hourly").unwrap().unwrap();
        assert_eq!(hourly.next(last, last), Some(at("2024-01-01T01:00:00Z")));
        assert_eq!(
            hourly.next(last, at("2024-01-01T05:30:00Z")),
            Some(at("2024-01-01T06:00:00Z"))
        );
        let once = parse("@at 2024-01-01T00:00:00Z").unwrap().unwrap();
        assert_eq!(once.next(last, later), Some(at("2024-01-01T00:00:00Z")));
        assert!(hourly.repeats() && every.repeats() && !once.repeats());
    }

    #[test]
    fn what_fits_no_time_is_refused() {
        let never = first(b"0 0 0 30 2 *", None, at("2024-01-01T00:00:00Z"));
        assert_eq!(never, Err(ApiError::MessageSchedulesPatternInvalid));
    }
}
