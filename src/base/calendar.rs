//! The proleptic Gregorian calendar: numbers of days to dates and back. Days count from
//! 1970-01-01 and may be negative.

/// A date. Months and days count from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Date {
    pub year: i64,
    pub month: u8,
    pub day: u8,
}

/// Days in 400 years, which is how long it takes until dates fall on the same days of the week.
const DAYS_OF_ERA: i64 = 146_097;

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

impl Date {
    /// The date so many days after 1970-01-01.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "months and days are small and positive"
    )]
    pub fn from_days(days: i64) -> Date {
        // Years begin in March here, so that the day that some have more is the last one.
        let days = days + DAYS_TO_EPOCH;
        let (era, of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = match month {
            0..=9 => (era * 400 + year, month + 3),
            _ => (era * 400 + year + 1, month - 9),
        };
        Date {
            year,
            month: month as u8,
            day: day as u8,
        }
    }

    /// The number of days since 1970-01-01. The date has to be one: see [`days_in_month`].
    pub fn days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = if month <= 2 { self.year - 1 } else { self.year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_EPOCH
    }

    /// The day of the week; Sunday is 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below 7"
    )]
    pub fn weekday(self) -> u8 {
        (self.days() + 4).rem_euclid(7) as u8
    }
}

/// How many days a month has.
pub fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_dates() {
        for (days, year, month, day, weekday) in [
            (0, 1970, 1, 1, 4),
            (-1, 1969, 12, 31, 3),
            (11_016, 2000, 2, 29, 2),
            (11_017, 2000, 3, 1, 3),
            (-719_162, 1, 1, 1, 1),
            (-719_528, 0, 1, 1, 6),
            (2_932_896, 9999, 12, 31, 5),
        ] {
            let date = Date { year, month, day };
            assert_eq!(Date::from_days(days), date);
            assert_eq!(date.days(), days);
            assert_eq!(date.weekday(), weekday);
        }
    }

    proptest! {
        #[test]
        fn dates_and_days_are_the_same(days in -800_000i64..4_000_000) {
            let date = Date::from_days(days);
            prop_assert_eq!(date.days(), days);
            prop_assert!((1..=days_in_month(date.year, date.month)).contains(&date.day));
            let next = Date::from_days(days + 1);
            prop_assert!(next > date);
        }
    }
}
