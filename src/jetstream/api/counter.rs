//! Whole numbers of any size, which counters are.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};

/// A whole number of any size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counter {
    negative: bool,
    /// Decimal digits, the lowest first, without zeros at the end; none are 0.
    digits: Vec<u8>,
}

impl Counter {
    pub const ZERO: Counter = Counter {
        negative: false,
        digits: Vec::new(),
    };

    /// Reads decimal digits, perhaps with a sign.
    pub fn parse(text: &[u8]) -> Option<Counter> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            all => (false, all),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = digits.iter().rev().map(|digit| digit - b'0').collect();
        Some(Counter::new(negative, digits))
    }

    fn new(negative: bool, mut digits: Vec<u8>) -> Counter {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Counter {
            negative: negative && !digits.is_empty(),
            digits,
        }
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Counter) -> Counter {
        if self.negative == other.negative {
            return Counter::new(self.negative, sum(&self.digits, &other.digits));
        }
        match compare(&self.digits, &other.digits) {
            Ordering::Less => Counter::new(other.negative, difference(&other.digits, &self.digits)),
            _ => Counter::new(self.negative, difference(&self.digits, &other.digits)),
        }
    }

    /// The difference.
    #[must_use]
    pub fn minus(&self, other: &Counter) -> Counter {
        self.plus(&Counter::new(!other.negative, other.digits.clone()))
    }
}

impl Display for Counter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.digits.iter().rev();
        let text: String = digits.map(|digit| char::from(b'0' + digit)).collect();
        f.pad_integral(
            !self.negative,
            "",
            if text.is_empty() { "0" } else { &text },
        )
    }
}

fn compare(a: &[u8], b: &[u8]) -> Ordering {
    a.len()
        .cmp(&b.len())
        .then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits: Vec<u8> = (0..a.len().max(b.len()))
        .map(|at| {
            let digit = a.get(at).unwrap_or(&0) + b.get(at).unwrap_or(&0) + carry;
            carry = digit / 10;
            digit % 10
        })
        .collect();
    digits.push(carry);
    digits
}

/// `a` less `b`, which is no larger.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    a.iter()
        .enumerate()
        .map(|(at, digit)| {
            let less = b.get(at).unwrap_or(&0) + borrowed;
            borrowed = u8::from(*digit < less);
            digit + 10 * borrowed - less
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_read() {
        for (text, want) in [
            ("0", Some("0")),
            ("-0", Some("0")),
            ("+5", Some("5")),
            ("-12", Some("-12")),
            ("00012", Some("12")),
            (
                "-1000000000000000000000000000000",
                Some("-1000000000000000000000000000000"),
            ),
            ("", None),
            ("+", None),
            ("--5", None),
            ("1_000", None),
            ("5.0", None),
            (" 5", None),
        ] {
            let read = Counter::parse(text.as_bytes()).map(|number| number.to_string());
            assert_eq!(read.as_deref(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_numbers(a in any::<i64>(), b in any::<i64>()) {
            let of = |number: i64| Counter::parse(number.to_string().as_bytes()).unwrap();
            let (x, y) = (i128::from(a), i128::from(b));
            prop_assert_eq!(of(a).plus(&of(b)).to_string(), (x + y).to_string());
            prop_assert_eq!(of(a).minus(&of(b)).to_string(), (x - y).to_string());
        }
    }
}
