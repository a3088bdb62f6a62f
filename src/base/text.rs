//! Text forms that operators and clients know from the reference server: durations, quoted
//! strings, operating system errors. Each is a newtype to be used with `{}`.

use super::calendar::Date;
use std::fmt::{self, Display, Formatter, Write};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Shows a [`Duration`] the way Go prints one: `10s`, `2m0s`, `1.5s`, `300ms`, `0s`.
///
/// From one second up the largest unit is the hour, and hours and minutes bring the smaller units
/// along even when those are zero. Below one second there is one unit with a fraction.
#[derive(Clone, Copy, Debug)]
pub struct GoDuration(pub Duration);

impl Display for GoDuration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let nanos = self.0.subsec_nanos();
        if seconds == 0 {
            return match nanos {
                0 => f.write_str("0s"),
                1..1_000 => write!(f, "{nanos}ns"),
                1_000..1_000_000 => decimal(f, (nanos / 1_000).into(), nanos % 1_000, 3, "µs"),
                _ => decimal(f, (nanos / 1_000_000).into(), nanos % 1_000_000, 6, "ms"),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        decimal(f, seconds % 60, nanos, 9, "s")
    }
}

/// Writes `whole` and, without its trailing zeros, `fraction` out of 10^`digits`, then `unit`.
fn decimal(
    f: &mut Formatter<'_>,
    whole: u64,
    mut fraction: u32,
    mut digits: usize,
    unit: &str,
) -> fmt::Result {
    write!(f, "{whole}")?;
    if fraction != 0 {
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, ".{fraction:0digits$}")?;
    }
    f.write_str(unit)
}

/// The digits of the numbers below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n: u8 = 0;
    while n < 100 {
        pairs[n as usize] = [b'0' + n / 10, b'0' + n % 10];
        n += 1;
    }
    pairs
};

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

/// Appends a number in decimal digits, as formatting does, in a fraction of the time.
#[allow(
    clippy::cast_possible_truncation,
    reason = "remainders of ten and of a hundred are small"
)]
pub fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    let mut end = start + number.checked_ilog10().map_or(1, |log| log as usize + 1);
    // Room of a fixed size costs less than as many bytes as there are digits.
    out.extend_from_slice(&[b'0'; DIGITS_MAX]);
    out.truncate(end);
    let digits = &mut out[..];
    while number >= 100 {
        digits[end - 2..end].copy_from_slice(&PAIRS[(number % 100) as usize]);
        end -= 2;
        number /= 100;
    }
    if number >= 10 {
        digits[end - 2..end].copy_from_slice(&PAIRS[number as usize]);
    } else {
        digits[end - 1] = b'0' + number as u8;
    }
}

/// Writes numbers of which each is near the one before, as counters and times are: the digits in front
/// are remembered.
#[derive(Clone, Debug, Default)]
pub struct NearDecimal {
    /// What is in front of the last four digits, and how it is written with four more.
    high: u64,
    text: [u8; DIGITS_MAX],
    len: usize,
}

impl NearDecimal {
    /// Appends a number, as [`push_decimal`] does.
    #[inline]
    pub fn push(&mut self, out: &mut Vec<u8>, number: u64) {
        let (high, low) = (number / 10_000, (number % 10_000) as usize);
        let start = out.len();
        if high != self.high || high == 0 {
            push_decimal(out, number);
            self.high = high;
            self.len = out.len() - start;
            self.text[..self.len].copy_from_slice(&out[start..]);
            return;
        }
        out.extend_from_slice(&self.text);
        out.truncate(start + self.len);
        if let Some(last) = out.last_chunk_mut::<4>() {
            last[..2].copy_from_slice(&PAIRS[low / 100]);
            last[2..].copy_from_slice(&PAIRS[low % 100]);
        }
    }
}

/// Shows a time in UTC as Go's JSON does: `2006-01-02T15:04:05.123456789Z`, without the zeros at the
/// end of the fraction. Times before 1970 are shown as its start.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub SystemTime);

#[allow(
    clippy::cast_possible_truncation,
    reason = "remainders of ten and of a hundred are small"
)]
impl Display for Rfc3339 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, of_day) = (since.as_secs(), since.as_secs() % 86_400);
        let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2);
        let Date { year, month, day } = Date::from_days(days);
        // It stands in many messages, so it is put together without formatting.
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut put = |at: usize, two: u64| {
            [text[at], text[at + 1]] = PAIRS[(two % 100) as usize];
        };
        let years = u64::try_from(year).unwrap_or(0);
        put(0, years / 100);
        put(2, years % 100);
        put(5, month.into());
        put(8, day.into());
        put(11, of_day / 3600);
        put(14, of_day / 60 % 60);
        put(17, of_day % 60);
        let nanos = u64::from(since.subsec_nanos());
        for (at, unit) in [(20, 10_000_000), (22, 100_000), (24, 1_000), (26, 10)] {
            put(at, nanos / unit);
        }
        text[28] = b'0' + (nanos % 10) as u8;
        let fraction = text[20..29].iter().rposition(|digit| *digit != b'0');
        let end = fraction.map_or(19, |last| 21 + last);
        text[end] = b'Z';
        let mut start = 0;
        if years > 9999 {
            write!(f, "{year}")?;
            start = 4;
        }
        f.write_str(str::from_utf8(&text[start..=end]).map_err(|_| fmt::Error)?)
    }
}

/// Shows `bytes` between double quotes as Go's `%q` does, so that nothing in them can start a new
/// line or steer a terminal: see [`Quoted`].
pub fn quoted(bytes: &[u8]) -> Quoted<'_> {
    Quoted(bytes)
}

/// Bytes in Go's `%q` form. Printable characters stay, `"` and `\` get a backslash, control
/// characters become `\n`, `\t` or `\x1f`, other characters that do not print `\u00ad` or
/// `\U000e0001`, and bytes that are no UTF-8 `\xff`.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| escape(f, c))?;
            chunk
                .invalid()
                .iter()
                .try_for_each(|b| write!(f, "\\x{b:02x}"))?;
        }
        f.write_char('"')
    }
}

fn escape(f: &mut Formatter<'_>, c: char) -> fmt::Result {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        ' '..='~' => return f.write_char(c),
        '\0'..='\x7f' => return write!(f, "\\x{:02x}", u32::from(c)),
        _ if prints(c) => return f.write_char(c),
        _ if u32::from(c) < 0x1_0000 => return write!(f, "\\u{:04x}", u32::from(c)),
        _ => return write!(f, "\\U{:08x}", u32::from(c)),
    };
    f.write_str(short)
}

/// Whether a character beyond ASCII is a letter, mark, number, punctuation or symbol.
///
/// The standard library keeps that table to itself, but `str::escape_debug` consults it. A leading
/// letter is needed because a combining mark counts as unprintable at the start of a string only.
fn prints(c: char) -> bool {
    let mut buffer = [b'a'; 5];
    let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
    let shown = str::from_utf8(&buffer[..len]).is_ok_and(|s| s.escape_debug().nth(1) == Some(c));
    // Space separators other than the ASCII space do not print.
    shown && !c.is_whitespace()
}

/// Shows an operating system error as the reference does: `address already in use`, where the
/// standard library says `Address already in use (os error 98)`.
pub struct PlainError<'a>(pub &'a io::Error);

impl Display for PlainError<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let Some(code) = self.0.raw_os_error() else {
            return f.write_str(&text);
        };
        let text = text
            .strip_suffix(&format!(" (os error {code})"))
            .unwrap_or(&text);
        let mut chars = text.chars();
        if let Some(first) = chars.next() {
            f.write_char(first.to_ascii_lowercase())?;
        }
        f.write_str(chars.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_appended() {
        for number in [0, 9, 10, 99, 100, 101, 1234, 12345, u64::MAX] {
            let mut out = b"n".to_vec();
            push_decimal(&mut out, number);
            assert_eq!(out, format!("n{number}").into_bytes());
        }
    }

    #[test]
    fn numbers_near_each_other_are_appended() {
        let mut near = NearDecimal::default();
        let starts = [
            0,
            9_990,
            99_990,
            1_792_000_000_123_450_000,
            5,
            u64::MAX - 99,
        ];
        for number in starts.into_iter().flat_map(|start| start..=start + 99) {
            for number in [number, number.saturating_sub(1), number / 3 * 2] {
                let mut out = b"n".to_vec();
                near.push(&mut out, number);
                assert_eq!(out, format!("n{number}").into_bytes());
            }
        }
    }

    #[test]
    fn times_as_go_shows_them() {
        for (nanos, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_500_000_000, "2000-02-29T00:00:00.5Z"),
            (1_709_251_199_000_000_001, "2024-02-29T23:59:59.000000001Z"),
            (1_709_251_200_120_000_000, "2024-03-01T00:00:00.12Z"),
            (4_102_444_799_000_000_000, "2099-12-31T23:59:59Z"),
            (1_234_567_890_123_456_780, "2009-02-13T23:31:30.12345678Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_nanos(nanos);
            assert_eq!(Rfc3339(time).to_string(), want);
        }
    }

    #[test]
    fn durations_read_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_500, "1.5µs"),
            (999_999, "999.999µs"),
            (1_000_000, "1ms"),
            (300_000_000, "300ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (1_001_000_000, "1.001s"),
            (1_100_000_001, "1.100000001s"),
            (1_500_000_000, "1.5s"),
            (10_000_000_000, "10s"),
            (61_000_000_005, "1m1.000000005s"),
            (120_000_000_000, "2m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (129_601_001_000_000, "36h0m1.001s"),
            (9_223_372_036_854_775_807, "2562047h47m16.854775807s"),
        ] {
            assert_eq!(GoDuration(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn quoting_reads_as_in_go() {
        for (bytes, text) in [
            (&b""[..], r#""""#),
            (b"a b'", r#""a b'""#),
            (b"\"\\", r#""\"\\""#),
            (b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            (b"\x00\x1f\x7f", r#""\x00\x1f\x7f""#),
            (b"\xff\xfea", r#""\xff\xfea""#),
            (b"\xe2\x82", r#""\xe2\x82""#),
            (b"\xed\xa0\x80", r#""\xed\xa0\x80""#),
            ("é€😀".as_bytes(), "\"é€😀\""),
            (
                "\u{a0}\u{ad}\u{200b}\u{feff}".as_bytes(),
                r#""\u00a0\u00ad\u200b\ufeff""#,
            ),
            ("\u{2028}\u{3000}".as_bytes(), r#""\u2028\u3000""#),
            ("\u{fffd}".as_bytes(), "\"\u{fffd}\""),
            ("\u{301}x".as_bytes(), "\"\u{301}x\""),
            (
                "\u{e0001}\u{10ffff}".as_bytes(),
                r#""\U000e0001\U0010ffff""#,
            ),
        ] {
            assert_eq!(quoted(bytes).to_string(), text);
        }
    }

    #[test]
    fn system_errors_lose_number_and_capital() {
        let absent = io::Error::from_raw_os_error(2);
        assert!(absent.to_string().contains("(os error 2)"));
        let text = PlainError(&absent).to_string();
        assert!(
            text.chars().all(|c| !c.is_ascii_uppercase() && c != '('),
            "{text}"
        );
        assert_eq!(
            PlainError(&io::Error::other("As It Is")).to_string(),
            "As It Is"
        );
    }
}
