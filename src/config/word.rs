//! What a bare word means: a boolean, a number, a date, a variable or just text.

use super::value::{Date, Kind};

/// The meaning of a bare word.
#[derive(Debug)]
pub(super) enum Word<'a> {
    Value(Kind),
    /// `$name`.
    Variable(&'a str),
    /// It looks like a value, but there is none like it; why.
    Bad(String),
}

/// Prefixes, behind the `$`, of bcrypt hashes.
const BCRYPT: [&str; 3] = ["2a$", "2b$", "2y$"];

pub(super) fn classify(word: &str) -> Word<'_> {
    if let Some(name) = word.strip_prefix('$') {
        return match BCRYPT.iter().any(|prefix| name.starts_with(prefix)) {
            true => Word::Value(Kind::Text(word.to_owned())),
            false => Word::Variable(name),
        };
    }
    if let Some(truth) = boolean(word) {
        return Word::Value(Kind::Bool(truth));
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return match digits.len() == word.len() {
            true => Word::Value(Kind::Text(word.to_owned())),
            false => Word::Bad("text that begins with '-' must be quoted".to_owned()),
        };
    }
    match number(word).or_else(|| date(word)) {
        Some(Ok(kind)) => Word::Value(kind),
        Some(Err(text)) => Word::Bad(text),
        None => Word::Value(Kind::Text(word.to_owned())),
    }
}

fn boolean(word: &str) -> Option<bool> {
    let is = |names: [&str; 3]| names.iter().any(|n| word.eq_ignore_ascii_case(n));
    if is(["true", "yes", "on"]) {
        Some(true)
    } else if is(["false", "no", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// A number, an error if it is out of range, or `None` if the word is none.
fn number(word: &str) -> Option<Result<Kind, String>> {
    let start = usize::from(word.starts_with('-'));
    let end = start + digits(&word.as_bytes()[start..]);
    let (whole, rest) = word.split_at(end);
    if let Some(fraction) = rest.strip_prefix('.') {
        if fraction.is_empty() || digits(fraction.as_bytes()) < fraction.len() {
            return None;
        }
        return Some(match word.parse() {
            Ok(v) if f64::is_finite(v) => Ok(Kind::Float(v)),
            _ => Err(format!("number '{}' is out of range", shortened(word))),
        });
    }
    let factor = factor(rest)?;
    let value = whole.parse::<i64>().ok();
    let value = value.and_then(|v| v.checked_mul(factor));
    Some(match value {
        Some(v) => Ok(Kind::Int(v)),
        None => Err(format!("integer '{}' is out of range", shortened(word))),
    })
}

/// What a size suffix multiplies with.
fn factor(suffix: &str) -> Option<i64> {
    let Some(unit) = suffix.bytes().next() else {
        return Some(1);
    };
    let power = b"kmgtpe"
        .iter()
        .zip(1..)
        .find(|(u, _)| unit.eq_ignore_ascii_case(u))?
        .1;
    let base: i64 = match suffix.get(1..)?.to_ascii_lowercase().as_str() {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => return None,
    };
    Some(base.pow(power))
}

/// A date in the one form that there is, `2016-05-04T18:53:41Z`.
fn date(word: &str) -> Option<Result<Kind, String>> {
    const FORM: &[u8; 20] = b"0000-00-00T00:00:00Z";
    let fits = |(b, form): (u8, &u8)| match form {
        b'0' => b.is_ascii_digit(),
        _ => b == *form,
    };
    if word.len() != FORM.len() || !word.bytes().zip(FORM).all(fits) {
        return None;
    }
    let two = |at: usize| word[at..at + 2].parse::<u8>().ok();
    let date = || {
        let year: u16 = word[..4].parse().ok()?;
        let (month, day) = (two(5)?, two(8)?);
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
        let fits = (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60;
        fits.then_some(Date {
            year,
            month,
            day,
            hour,
            minute,
            second,
        })
    };
    Some(match date() {
        Some(date) => Ok(Kind::Date(date)),
        None => Err(format!("there is no date '{word}'")),
    })
}

/// How many bytes at the start of `text` are a value that a comment may follow at once, as in
/// `0.5# seconds`: fractions, negative numbers, addresses and dates. Behind other words, a `#`
/// or `/` belongs to the word.
pub(super) fn self_contained(text: &[u8]) -> usize {
    const DATE: usize = 20;
    let negative = usize::from(text.first() == Some(&b'-'));
    let whole = digits(&text[negative..]);
    let end = negative + whole;
    if whole == 0 {
        return 0;
    }
    if text.get(end) == Some(&b'.') {
        let fraction = digits(&text[end + 1..]);
        let end = end + 1 + fraction;
        return match (fraction, text.get(end)) {
            (0, _) => 0,
            (_, Some(b'.')) => {
                let address = |b: &&u8| b.is_ascii_digit() || b".:-".contains(b);
                end + text[end..].iter().take_while(address).count()
            }
            _ => end,
        };
    }
    let dated = text.get(..DATE).and_then(|t| str::from_utf8(t).ok());
    if dated.is_some_and(|t| date(t).is_some()) {
        return DATE;
    }
    if negative == 1 { end } else { 0 }
}

/// How many bytes at the start are digits.
pub(super) fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// At most the first 40 characters, for messages.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
