//! Wall clock seconds as a date and time of day where the machine stands.

/// A date and time of day, without a time zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// The year, such as 2026.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60, for leap seconds.
    pub second: u8,
}

/// The local date and time at `unix` seconds after 1970 began in UTC. `None` if the system cannot
/// tell; [`utc`] then serves.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the standard library knows no time zones")]
pub fn local(unix: i64) -> Option<Civil> {
    let time = libc::time_t::try_from(unix).ok()?;
    let mut tm = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call. localtime_r reads the time and writes `tm`,
    // and takes the C library's own lock for the time zone. Nothing in this program sets
    // environment variables, which it might otherwise read at the same time.
    let filled = unsafe { libc::localtime_r(&raw const time, tm.as_mut_ptr()) };
    if filled.is_null() {
        return None;
    }
    // SAFETY: the call has filled `tm`, which had been zeroed, a valid value of that plain struct.
    let tm = unsafe { tm.assume_init() };
    Some(Civil {
        year: i64::from(tm.tm_year) + 1900,
        month: u8::try_from(tm.tm_mon + 1).ok()?,
        day: u8::try_from(tm.tm_mday).ok()?,
        hour: u8::try_from(tm.tm_hour).ok()?,
        minute: u8::try_from(tm.tm_min).ok()?,
        second: u8::try_from(tm.tm_sec).ok()?,
    })
}

/// The same by the rules of the system's time zone.
#[cfg(windows)]
pub fn local(unix: i64) -> Option<Civil> {
    super::windows::local(utc(unix))
}

/// Not known on this system.
#[cfg(not(any(unix, windows)))]
pub fn local(_unix: i64) -> Option<Civil> {
    None
}

/// The date and time in UTC at `unix` seconds after 1970 began.
///
/// Days are counted in the proleptic Gregorian calendar from 1 March of the year 0, so that the
/// leap day is the last of its year and 400 years are always 146,097 days.
pub fn utc(unix: i64) -> Civil {
    let day_second = unix.rem_euclid(86_400);
    let days = unix.div_euclid(86_400) + 719_468;
    let (era, era_day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let era_year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let march_month = (5 * year_day + 2) / 153;
    let month = (march_month + 2) % 12 + 1;
    let small = |n: i64| u8::try_from(n).unwrap_or(u8::MAX);
    Civil {
        year: 400 * era + era_year + i64::from(month <= 2),
        month: small(month),
        day: small(year_day - (153 * march_month + 2) / 5 + 1),
        hour: small(day_second / 3600),
        minute: small(day_second / 60 % 60),
        second: small(day_second % 60),
    }
}

/// Seconds after 1970 began at which [`utc`] shows `civil`: its inverse.
pub fn unix(civil: Civil) -> i64 {
    let month = i64::from(civil.month);
    let march_year = civil.year - i64::from(month <= 2);
    let (era, era_year) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let year_day = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(civil.day) - 1;
    let era_day = era_year * 365 + era_year / 4 - era_year / 100 + year_day;
    let days = era * 146_097 + era_day - 719_468;
    let (hour, minute) = (i64::from(civil.hour), i64::from(civil.minute));
    (days * 24 + hour) * 3600 + minute * 60 + i64::from(civil.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn civil(year: i64, [month, day, hour, minute, second]: [u8; 5]) -> Civil {
        Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
        }
    }

    #[test]
    fn known_moments_in_utc() {
        for (unix, expected) in [
            (0, civil(1970, [1, 1, 0, 0, 0])),
            (-1, civil(1969, [12, 31, 23, 59, 59])),
            (951_782_399, civil(2000, [2, 28, 23, 59, 59])),
            (951_782_400, civil(2000, [2, 29, 0, 0, 0])),
            (951_868_800, civil(2000, [3, 1, 0, 0, 0])),
            (1_767_225_599, civil(2025, [12, 31, 23, 59, 59])),
            (4_107_542_400, civil(2100, [3, 1, 0, 0, 0])),
        ] {
            assert_eq!(utc(unix), expected, "{unix}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = utc(-86_400);
        for day in 0..200_000 {
            let now = utc(day * 86_400);
            assert_eq!(unix(utc(day * 86_399 - 7)), day * 86_399 - 7);
            let next_day = now.day == last.day + 1 && now.month == last.month;
            let next_month = now.day == 1 && now.month == last.month % 12 + 1;
            assert!(next_day || next_month, "{last:?} then {now:?}");
            assert_eq!(
                now.year - last.year,
                i64::from(now.day == 1 && now.month == 1)
            );
            last = now;
        }
    }

    #[test]
    #[cfg(unix)]
    fn local_time_is_within_a_day_of_utc() {
        let (here, there) = (local(1_700_000_000).unwrap(), utc(1_700_000_000));
        assert_eq!((here.year, here.month), (there.year, there.month));
        assert!(here.day.abs_diff(there.day) <= 1);
        assert_eq!(here.second, there.second);
    }
}
