//! Durations as Go writes them: `10s`, `1h30m`, `1.5s`, `300ms`.

use super::text::quoted;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Why a text is no duration. Shown, it holds the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DurationError {
    /// Not numbers with units.
    Malformed(String),
    /// A number without a unit.
    MissingUnit(String),
    /// A unit that there is not, and the text.
    UnknownUnit(String, String),
    /// Below zero.
    Negative(String),
}

impl Display for DurationError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let show = |text: &str| quoted(text.as_bytes()).to_string();
        match self {
            DurationError::Malformed(text) => write!(f, "invalid duration {}", show(text)),
            DurationError::MissingUnit(text) => {
                write!(f, "missing unit in duration {}", show(text))
            }
            DurationError::UnknownUnit(unit, text) => {
                write!(f, "unknown unit {} in duration {}", show(unit), show(text))
            }
            DurationError::Negative(text) => write!(f, "negative duration {}", show(text)),
        }
    }
}

impl std::error::Error for DurationError {}

/// Reads a duration: numbers, each with one of the units `ns`, `us`, `ms`, `s`, `m` and `h`, and
/// perhaps with a fraction; or just `0`.
///
/// # Errors
/// See [`DurationError`]. More than 292 years is malformed too, as in the reference.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.into());
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let whole = digits(&mut rest);
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            fraction = digits(&mut rest);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(malformed());
        }
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(DurationError::MissingUnit(text.into())),
            _ => return Err(DurationError::UnknownUnit(unit.into(), text.into())),
        };
        let number = if whole.is_empty() {
            Some(0)
        } else {
            whole.parse().ok()
        };
        let part = number
            .and_then(|number: u64| number.checked_mul(nanos))
            .and_then(|part| part.checked_add(below_one(fraction, nanos)))
            .and_then(|part| total.checked_add(part))
            .filter(|sum| i64::try_from(*sum).is_ok());
        total = part.ok_or_else(malformed)?;
    }
    if negative && total > 0 {
        return Err(DurationError::Negative(text.into()));
    }
    Ok(Duration::from_nanos(total))
}

/// The digits at the front of `rest`, which is then without them.
fn digits<'t>(rest: &mut &'t str) -> &'t str {
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let (digits, after) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = after;
    digits
}

/// The part of a unit that a decimal fraction is; what is below a nanosecond is cut.
fn below_one(fraction: &str, nanos: u64) -> u64 {
    let (mut sum, mut place) = (0u128, u128::from(nanos) * 1_000_000);
    for digit in fraction.bytes().map(|b| u128::from(b - b'0')) {
        place /= 10;
        sum += digit * place;
    }
    u64::try_from(sum / 1_000_000).unwrap_or(nanos)
}

#[cfg(test)]
mod tests {
    use super::super::text::GoDuration;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_units_and_their_sums() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("300ms", 300_000_000),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            ("3ns", 3),
            ("+1m", 60_000_000_000),
            ("1s1s", 2_000_000_000),
            ("0.000000001s", 1),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
        ] {
            let read = parse(text).map(|d| d.as_nanos());
            let near = read
                .as_ref()
                .is_ok_and(|read| read.abs_diff(nanos) <= 1_200_000);
            assert!(near, "{text}: {read:?}");
            if !text.contains("333") {
                assert_eq!(read, Ok(nanos), "{text}");
            }
        }
    }

    #[test]
    fn errors_are_the_familiar_ones() {
        for (text, error) in [
            ("", "invalid duration \"\""),
            ("s", "invalid duration \"s\""),
            (".s", "invalid duration \".s\""),
            ("abc", "invalid duration \"abc\""),
            ("10", "missing unit in duration \"10\""),
            ("1s5", "missing unit in duration \"1s5\""),
            ("10x", "unknown unit \"x\" in duration \"10x\""),
            ("1d", "unknown unit \"d\" in duration \"1d\""),
            ("-1s", "negative duration \"-1s\""),
            ("9999999h", "invalid duration \"9999999h\""),
            (
                "99999999999999999999s",
                "invalid duration \"99999999999999999999s\"",
            ),
        ] {
            assert_eq!(
                parse(text).map_err(|e| e.to_string()),
                Err(error.into()),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in 0..i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&GoDuration(duration).to_string()), Ok(duration));
        }

        #[test]
        fn no_text_is_too_odd(text in "[0-9.hmsunx-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
