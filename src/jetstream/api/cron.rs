//! Patterns of times: `second minute hour day month weekday`, each a list of numbers, ranges and
//! steps.
//!
//! They mean what they mean in the reference (`cron.go`, 2.15): where day or weekday is a star, both
//! have to fit, and otherwise one of them.

use super::zone::Zone;
use crate::base::calendar::Date;
use crate::json::Time;

/// Times that fit a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cron {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The numbers that fit a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    /// A bit for each.
    numbers: u64,
    /// Whether it is any number.
    star: bool,
}

/// The numbers that a field may have, and the names for them, from the first one.
struct Range {
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

impl Range {
    const fn new(first: u32, last: u32) -> Range {
        let names = &[];
        Range { first, last, names }
    }
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// How many years ahead a time is looked for.
const YEARS_MAX: i64 = 5;

impl Cron {
    /// Reads a pattern; `None` if it is none.
    pub fn parse(pattern: &str) -> Option<Cron> {
        let fields: Vec<&str> = pattern.split_whitespace().collect();
        let [second, minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let months = Range {
            names: MONTHS,
            ..Range::new(1, 12)
        };
        let weekdays = Range {
            names: WEEKDAYS,
            ..Range::new(0, 6)
        };
        Some(Cron {
            second: field(second, &Range::new(0, 59))?,
            minute: field(minute, &Range::new(0, 59))?,
            hour: field(hour, &Range::new(0, 23))?,
            day: field(day, &Range::new(1, 31))?,
            month: field(month, &months)?,
            weekday: field(weekday, &weekdays)?,
        })
    }

    /// The first time behind `after` that fits, by the clocks of a zone; `None` if there is none
    /// within five years.
    pub fn next(&self, after: Time, zone: &Zone) -> Option<Time> {
        let mut at = after.unix_seconds().saturating_add(1);
        let mut local = zone.local(at);
        let last_year = local.date.year + YEARS_MAX;
        // Whatever does not fit is left behind as a whole: months, days, hours, minutes. Those that
        // fit have the next smaller in them, but for the hours that a clock leaves out or has
        // twice, so this ends soon.
        while local.date.year <= last_year {
            let date = local.date;
            let next = if !self.month.has(date.month) {
                let (year, month) = match date.month {
                    12 => (date.year + 1, 1),
                    month => (date.year, month + 1),
                };
                zone.start_of(Date {
                    year,
                    month,
                    day: 1,
                })
            } else if !self.has_day(date) {
                zone.start_of(Date::from_days(date.days() + 1))
            } else if !self.hour.has(local.hour) {
                at + 3600 - i64::from(local.minute) * 60 - i64::from(local.second)
            } else if !self.minute.has(local.minute) {
                at + 60 - i64::from(local.second)
            } else if !self.second.has(local.second) {
                at + 1
            } else {
                return Some(Time::from_unix(at, 0));
            };
            // Never back, whatever the zone does.
            at = next.max(at + 1);
            local = zone.local(at);
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let (day, weekday) = (self.day.has(date.day), self.weekday.has(date.weekday()));
        match self.day.star || self.weekday.star {
            true => day && weekday,
            false => day || weekday,
        }
    }
}

impl Field {
    fn has(self, number: u8) -> bool {
        self.numbers & (1 << number) != 0
    }
}

/// Reads a list of ranges. One without any number fits nothing, and is refused at once, for it would
/// be looked for in vain for long.
fn field(text: &str, range: &Range) -> Option<Field> {
    let mut field = Field {
        numbers: 0,
        star: false,
    };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (numbers, star) = numbers(part, range)?;
        field.numbers |= numbers;
        field.star |= star;
    }
    (field.numbers != 0).then_some(field)
}

/// Reads one number, `*`, or a range, perhaps with a step. Says whether it is any number.
fn numbers(part: &str, range: &Range) -> Option<(u64, bool)> {
    let (span, step) = match part.split_once('/') {
        Some((span, step)) => (span, Some(number(step)?)),
        None => (part, None),
    };
    let (low, high) = match span.split_once('-') {
        Some((low, high)) => (low, Some(high)),
        None => (span, None),
    };
    let any = matches!(low, "*" | "?");
    if high.is_some_and(|high| high.contains('-')) && !any {
        return None;
    }
    let (first, last) = match high {
        _ if any => (range.first, range.last),
        Some(high) => (named(low, range)?, named(high, range)?),
        // A step goes on from one number to the last.
        None if step.is_some() => (named(low, range)?, range.last),
        None => (named(low, range)?, named(low, range)?),
    };
    let step = step.unwrap_or(1);
    if first < range.first || last > range.last || first > last || step == 0 {
        return None;
    }
    let steps = (first..=last).step_by(usize::try_from(step).ok()?);
    let numbers = steps.fold(0, |numbers, number| numbers | 1 << number);
    Some((numbers, any && step == 1))
}

fn named(text: &str, range: &Range) -> Option<u32> {
    let is = |name: &&str| text.eq_ignore_ascii_case(name);
    let name = range.names.iter().position(is);
    match name.and_then(|at| u32::try_from(at).ok()) {
        Some(at) => Some(range.first + at),
        None => number(text),
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(pattern: &str, after: &str, zone: &str) -> Option<String> {
        let cron = Cron::parse(pattern).unwrap();
        let zone = Zone::find(zone).unwrap();
        let next = cron.next(Time::parse(after).unwrap(), &zone);
        next.map(|time| time.to_string())
    }

    #[test]
    fn the_next_time_is_found() {
        for (pattern, after, want) in [
            (
                "* * * * * *",
                "2024-01-01T00:00:00.5Z",
                "2024-01-01T00:00:01Z",
            ),
            (
                "0 * * * * *",
                "2024-01-01T00:00:00Z",
                "2024-01-01T00:01:00Z",
            ),
            (
                "0 0 * * * *",
                "2024-12-31T23:00:00Z",
                "2025-01-01T00:00:00Z",
            ),
            (
                "0 0 0 29 2 *",
                "2024-02-29T00:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            (
                "0 0 0 31 * *",
                "2024-01-31T00:00:00Z",
                "2024-03-31T00:00:00Z",
            ),
            (
                "0 0 0 * * mon",
                "2024-01-01T00:00:00Z",
                "2024-01-08T00:00:00Z",
            ),
            (
                "0 0 0 ? * MON-fri",
                "2024-01-05T00:00:00Z",
                "2024-01-08T00:00:00Z",
            ),
            // Either of them, where neither is a star.
            (
                "0 0 0 13 * fri",
                "2024-09-01T00:00:00Z",
                "2024-09-06T00:00:00Z",
            ),
            (
                "0 0 0 */2 * fri",
                "2024-09-01T00:00:00Z",
                "2024-09-03T00:00:00Z",
            ),
            (
                "*/15,7 30 12 1 jan *",
                "2024-01-01T12:30:00Z",
                "2024-01-01T12:30:07Z",
            ),
            (
                "50/5 59 23 * * *",
                "2024-01-01T23:59:50Z",
                "2024-01-01T23:59:55Z",
            ),
            (
                ",1, * * * * *",
                "2024-01-01T00:00:00Z",
                "2024-01-01T00:00:01Z",
            ),
            (
                "*-5 * * * * *",
                "2024-01-01T00:00:07Z",
                "2024-01-01T00:00:08Z",
            ),
            (
                "0 0 0 * * +1",
                "2024-01-01T00:00:00Z",
                "2024-01-08T00:00:00Z",
            ),
        ] {
            assert_eq!(
                next(pattern, after, "UTC").as_deref(),
                Some(want),
                "{pattern}"
            );
        }
        assert_eq!(next("0 0 0 30 2 *", "2024-01-01T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn clocks_that_change_leave_out_and_repeat() {
        let berlin = |pattern: &str, after: &str| next(pattern, after, "Europe/Berlin");
        for (pattern, after, want) in [
            (
                "0 0 12 * * *",
                "2024-01-01T00:00:00Z",
                "2024-01-01T11:00:00Z",
            ),
            (
                "0 0 12 * * *",
                "2024-07-01T00:00:00Z",
                "2024-07-01T10:00:00Z",
            ),
            // There is no half past two on that day.
            (
                "0 30 2 * * *",
                "2024-03-30T12:00:00Z",
                "2024-04-01T00:30:00Z",
            ),
            // And on this one there are two.
            (
                "0 30 2 * * *",
                "2024-10-26T12:00:00Z",
                "2024-10-27T00:30:00Z",
            ),
            (
                "0 30 2 * * *",
                "2024-10-27T00:30:00Z",
                "2024-10-27T01:30:00Z",
            ),
            (
                "0 0 0 * * *",
                "2024-10-27T12:00:00Z",
                "2024-10-27T23:00:00Z",
            ),
        ] {
            assert_eq!(
                berlin(pattern, after).as_deref(),
                Some(want),
                "{pattern} {after}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in [
            "",
            "* * * * *",
            "* * * * * * *",
            "60 * * * * *",
            "* * 24 * * *",
            "* * * 0 * *",
            "* * * * 13 *",
            "* * * * * 7",
            "1-2-3 * * * * *",
            "1//2 * * * * *",
            "1/0 * * * * *",
            "5-1 * * * * *",
            "-1 * * * * *",
            "x * * * * *",
            ", * * * * *",
            "* * * * jan-x *",
        ] {
            assert_eq!(Cron::parse(pattern), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn times_fit_their_pattern(
            second in 0u8..60, minute in 0u8..60, hour in 0u8..24, day in 1u8..29, month in 1u8..13,
            after in 0i64..4_000_000_000,
        ) {
            let pattern = format!("{second} {minute} {hour} {day} {month} *");
            let cron = Cron::parse(&pattern).unwrap();
            let next = cron.next(Time::from_unix(after, 0), &Zone::Utc).unwrap();
            prop_assert!(next.unix_seconds() > after);
            prop_assert!(next.unix_seconds() <= after + 367 * 86_400);
            let local = Zone::Utc.local(next.unix_seconds());
            prop_assert_eq!((local.second, local.minute, local.hour), (second, minute, hour));
            prop_assert_eq!((local.date.day, local.date.month), (day, month));
        }

        #[test]
        fn any_pattern_is_judged(pattern in "([-*?/,0-9a-z]{0,5} ){5}[-*?/,0-9a-z]{0,5}") {
            if let Some(cron) = Cron::parse(&pattern) {
                let _ = cron.next(Time::from_unix(1_700_000_000, 0), &Zone::Utc);
            }
        }
    }
}
