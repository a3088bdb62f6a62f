//! Lengths of time, which JSON has as whole numbers of nanoseconds.

use crate::base::text::GoDuration;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A length of time in nanoseconds. What came from outside may be negative, until it was checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Nanos(pub i64);

impl Nanos {
    pub const ZERO: Nanos = Nanos(0);

    pub const fn from_millis(millis: i64) -> Nanos {
        Nanos(millis.saturating_mul(1_000_000))
    }

    pub const fn from_secs(seconds: i64) -> Nanos {
        Nanos(seconds.saturating_mul(1_000_000_000))
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The same as a duration; of what is negative, none.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.0.try_into().unwrap_or(0))
    }
}

impl From<Duration> for Nanos {
    /// The longest there is, if it is longer than 292 years.
    fn from(duration: Duration) -> Nanos {
        Nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Display for Nanos {
    /// As Go prints it: `1m0s`, `-5ms`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        GoDuration(Duration::from_nanos(self.0.unsigned_abs())).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_go_does() {
        for (nanos, want) in [
            (Nanos::ZERO, "0s"),
            (Nanos::from_secs(60), "1m0s"),
            (Nanos::from_millis(-5), "-5ms"),
            (Nanos(i64::MIN), "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(nanos.to_string(), want);
        }
    }

    #[test]
    fn durations_and_back() {
        let long = Duration::from_secs(u64::MAX);
        assert_eq!(Nanos::from(long), Nanos(i64::MAX));
        assert_eq!(Nanos::from_secs(i64::MAX), Nanos(i64::MAX));
        assert_eq!(Nanos(-1).duration(), Duration::ZERO);
        let minute = Duration::from_secs(60);
        assert_eq!(Nanos::from(minute).duration(), minute);
    }
}
