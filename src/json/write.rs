//! JSON as Go writes it, byte for byte: what tools and people know from the reference.
//!
//! Beyond what JSON asks for, Go escapes `<`, `>`, `&` and the two line separators of Unicode, and
//! writes floats without a needless fraction. Times, durations and ages have forms of their own,
//! each a type here. Maps whose keys Go would sort are `BTreeMap`s.

use crate::base::text::{GoDuration, Rfc3339};
use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// Writes a value over many lines, each step two blanks further in, as the HTTP endpoints do.
pub fn indented<T: Serialize>(value: &T) -> Vec<u8> {
    written(value, Go(PrettyFormatter::new()))
}

/// Writes a value in one line.
pub fn compact<T: Serialize>(value: &T) -> Vec<u8> {
    written(value, Go(CompactFormatter))
}

fn written<T: Serialize, F: Formatter>(value: &T, format: F) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut to = serde_json::Serializer::with_formatter(&mut out, format);
    let done = value.serialize(&mut to);
    debug_assert!(done.is_ok(), "documents have texts as keys: {done:?}");
    out
}

/// Another formatter, with Go's texts and floats.
struct Go<F>(F);

impl<F: Formatter> Formatter for Go<F> {
    fn write_f64<W: ?Sized + Write>(&mut self, to: &mut W, value: f64) -> io::Result<()> {
        write!(to, "{}", GoFloat(value))
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        to: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                to.write_all(&text.as_bytes()[plain..at])?;
                write!(to, "\\u{:04x}", u32::from(c))?;
                plain = at + c.len_utf8();
            }
        }
        to.write_all(&text.as_bytes()[plain..])
    }

    fn begin_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_array(to)
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_array(to)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(to, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_array_value(to)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object(to)
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object(to)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object_value(to)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object_value(to)
    }
}

/// A finite float: the shortest digits that lead back to it, with an exponent only where it is
/// very large or very small.
struct GoFloat(f64);

impl Display for GoFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            return write!(f, "{}", self.0);
        }
        let text = format!("{:e}", self.0);
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                write!(f, "{digits}e+{exponent}")
            }
            _ => f.write_str(&text),
        }
    }
}

/// A point in time, as RFC 3339 has it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(pub SystemTime);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Rfc3339(self.0))
    }
}

/// A duration, as a whole number of nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Nanos(pub Duration);

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// How long something has lasted: `5s`, `2m5s`, `1d0h2m5s`, `1y3d0h2m5s`; a year has 365 days.
#[derive(Clone, Copy, Debug)]
pub struct Age(pub Duration);

impl Age {
    /// The time between two points; none if they are the other way round.
    pub fn between(from: SystemTime, to: SystemTime) -> Age {
        Age(to.duration_since(from).unwrap_or_default())
    }
}

impl Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        let years = days / 365;
        if years > 0 {
            write!(f, "{years}y")?;
        }
        if days > 0 {
            write!(f, "{}d", days % 365)?;
        }
        if hours > 0 {
            write!(f, "{}h", hours % 24)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        write!(f, "{}s", seconds % 60)
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A round trip, as Go prints durations; of one below a millisecond, whole microseconds.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrip(pub Duration);

impl Serialize for RoundTrip {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let nanos = self.0.subsec_nanos();
        let short = self.0 < Duration::from_millis(1) && nanos > 1000;
        let shown = match short {
            true => Duration::from_micros((nanos / 1000).into()),
            false => self.0,
        };
        to.collect_str(&GoDuration(shown))
    }
}

/// Whether a value is what its type has for none, which Go's `omitempty` leaves out.
pub fn is_none<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn text<T: Serialize + ?Sized>(value: &T) -> String {
        String::from_utf8(compact(&value)).unwrap()
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        for (value, want) in [
            ("plain é😀", "\"plain é😀\""),
            ("a<b>&\"\\", r#""a\u003cb\u003e\u0026\"\\""#),
            (
                "\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}",
                "\"\\n\\r\\t\\b\\f\\u0000\\u001f\u{7f}\"",
            ),
            ("x\u{2028}\u{2029}y", r#""x\u2028\u2029y""#),
            ("</script>", r#""\u003c/script\u003e""#),
        ] {
            assert_eq!(text(value), want);
        }
        let keys = BTreeMap::from([("a<", 1)]);
        assert_eq!(text(&keys), r#"{"a\u003c":1}"#);
    }

    #[test]
    fn floats_read_as_in_go() {
        for (value, want) in [
            (0.0, "0"),
            (1.0, "1"),
            (2.5, "2.5"),
            (0.125, "0.125"),
            (0.8571428571428571, "0.8571428571428571"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.25e-7, "1.25e-7"),
            (-3.0, "-3"),
        ] {
            assert_eq!(text(&value), want);
        }
    }

    #[test]
    fn ages_read_as_in_the_reference() {
        for (seconds, want) in [
            (0, "0s"),
            (59, "59s"),
            (125, "2m5s"),
            (3600, "1h0m0s"),
            (86_400 + 125, "1d0h2m5s"),
            (365 * 86_400 + 3 * 86_400 + 125, "1y3d0h2m5s"),
        ] {
            assert_eq!(Age(Duration::from_secs(seconds)).to_string(), want);
        }
        let (earlier, later) = (
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        );
        assert_eq!(Age::between(later, earlier).to_string(), "0s");
    }

    #[test]
    fn round_trips_lose_what_nobody_reads() {
        for (nanos, want) in [
            (0, "0s"),
            (999, "999ns"),
            (434_567, "434µs"),
            (65_879_979, "65.879979ms"),
            (1_053_566_579, "1.053566579s"),
        ] {
            let got = text(&RoundTrip(Duration::from_nanos(nanos)));
            assert_eq!(got, format!("\"{want}\""));
        }
    }

    #[test]
    fn indentation_and_empty_values() {
        #[derive(Serialize)]
        struct Doc {
            a: Vec<u8>,
            b: Vec<u8>,
            c: BTreeMap<u8, u8>,
            d: Nanos,
        }
        let doc = Doc {
            a: vec![1, 2],
            b: vec![],
            c: BTreeMap::new(),
            d: Nanos(Duration::from_secs(120)),
        };
        let want = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": [],\n  \"c\": {},\n  \"d\": 120000000000\n}";
        assert_eq!(String::from_utf8(indented(&doc)).unwrap(), want);
    }
}
