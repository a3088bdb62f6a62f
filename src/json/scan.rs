//! What is a JSON value, and what is in it: without making anything of it, so that what nobody asks
//! for costs no memory. Faults are told in Go's words.

use crate::base::text::quoted;
use std::borrow::Cow;
use std::ops::Range;

/// How deep values may be nested, as in Go.
const DEPTH_MAX: usize = 10_000;

/// Why there is no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The input ends inside of it; in a word or number, what would have been wrong with a blank.
    Unfinished(Option<String>),
    /// A byte that must not stand where it does, and how many bytes have been read with it.
    Invalid { what: String, offset: usize },
}

/// Finds the value that begins behind the blanks at `at`.
///
/// # Errors
/// If what is there is no JSON.
pub fn value(input: &[u8], at: usize) -> Result<Range<usize>, Fault> {
    let mut scan = Scan { input, at };
    scan.blanks();
    let start = scan.at;
    scan.value()?;
    Ok(start..scan.at)
}

/// Whether there are only blanks from `at` on.
pub fn is_blank(input: &[u8], at: usize) -> bool {
    input[at..].iter().all(|byte| is_space(*byte))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// What is wrong with a byte, in Go's words.
pub fn invalid(byte: u8, context: &str) -> String {
    // Go shows a byte as the character of that number, in single quotes.
    let shown = match char::from(byte) {
        '\'' => "\\'".to_owned(),
        '"' => "\"".to_owned(),
        other => {
            let quoted = quoted(other.to_string().as_bytes()).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }
    };
    format!("invalid character '{shown}' {context}")
}

struct Scan<'a> {
    input: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn blanks(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let byte = self.peek().ok_or(Fault::Unfinished(None))?;
        self.at += 1;
        Ok(byte)
    }

    /// The fault of the byte that was read last.
    fn fault(&self, byte: u8, context: &str) -> Fault {
        Fault::Invalid {
            what: invalid(byte, context),
            offset: self.at,
        }
    }

    /// The next byte of a word or number, which has to be `right`.
    fn inside(&mut self, context: &str, right: impl Fn(u8) -> bool) -> Result<u8, Fault> {
        let Some(byte) = self.peek() else {
            return Err(Fault::Unfinished(Some(invalid(b' ', context))));
        };
        self.at += 1;
        match right(byte) {
            true => Ok(byte),
            false => Err(self.fault(byte, context)),
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        // Of each list and object that is open, whether it is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            self.blanks();
            let byte = self.next()?;
            let opened = matches!(byte, b'{' | b'[');
            if opened {
                if open.len() == DEPTH_MAX {
                    return Err(self.fault(byte, "exceeded max depth"));
                }
                open.push(byte == b'{');
                self.blanks();
                if self.peek() == Some(if byte == b'{' { b'}' } else { b']' }) {
                    self.at += 1;
                    open.pop();
                } else {
                    if byte == b'{' {
                        self.key()?;
                    }
                    continue;
                }
            } else {
                self.scalar(byte)?;
            }
            if !self.ends(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Goes on behind a value, and says whether another follows.
    fn ends(&mut self, open: &mut Vec<bool>) -> Result<bool, Fault> {
        while let Some(object) = open.last().copied() {
            self.blanks();
            match (self.next()?, object) {
                (b',', true) => {
                    self.key()?;
                    return Ok(true);
                }
                (b',', false) => return Ok(true),
                (b'}', true) | (b']', false) => {
                    open.pop();
                }
                (byte, true) => return Err(self.fault(byte, "after object key:value pair")),
                (byte, false) => return Err(self.fault(byte, "after array element")),
            }
        }
        Ok(false)
    }

    fn key(&mut self) -> Result<(), Fault> {
        self.blanks();
        match self.next()? {
            b'"' => self.text()?,
            byte => return Err(self.fault(byte, "looking for beginning of object key string")),
        }
        self.blanks();
        match self.next()? {
            b':' => Ok(()),
            byte => Err(self.fault(byte, "after object key")),
        }
    }

    fn scalar(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'"' => self.text(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' | b'0'..=b'9' => self.number(first),
            byte => Err(self.fault(byte, "looking for beginning of value")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        for expected in word.bytes().skip(1) {
            let context = format!("in literal {word} (expecting '{}')", char::from(expected));
            self.inside(&context, |byte| byte == expected)?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn number(&mut self, first: u8) -> Result<(), Fault> {
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let first = match first {
            b'-' => self.inside("in numeric literal", is_digit)?,
            digit => digit,
        };
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.inside("after decimal point in numeric literal", is_digit)?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.inside("in exponent of numeric literal", is_digit)?;
            self.digits();
        }
        Ok(())
    }

    fn text(&mut self) -> Result<(), Fault> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => {
                    let known = |byte: u8| b"\"\\/bfnrtu".contains(&byte);
                    if self.inside("in string escape code", known)? == b'u' {
                        for _ in 0..4 {
                            let context = "in \\u hexadecimal character escape";
                            self.inside(context, |byte| byte.is_ascii_hexdigit())?;
                        }
                    }
                }
                byte if byte < 0x20 => return Err(self.fault(byte, "in string literal")),
                _ => {}
            }
        }
    }
}

/// Names and values of an object, as they are written.
pub fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = 1;
    std::iter::from_fn(move || {
        let name = item(object, &mut at, b'{', b'"')?;
        at += object[at..].iter().position(|byte| *byte == b':')? + 1;
        let found = value(object, at).ok()?;
        at = found.end;
        Some((name, &object[found]))
    })
}

/// The values in a list, as they are written.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 1;
    std::iter::from_fn(move || item(list, &mut at, b'[', b' '))
}

/// The next value in a list or object that begins with `open`, behind the comma before it.
fn item<'a>(input: &'a [u8], at: &mut usize, open: u8, first: u8) -> Option<&'a [u8]> {
    debug_assert_eq!(input.first(), Some(&open), "it is what it is taken for");
    let skip = |byte: &u8| is_space(*byte) || *byte == b',';
    *at += input
        .get(*at..)?
        .iter()
        .take_while(|byte| skip(byte))
        .count();
    let found = value(input, *at).ok()?;
    if first == b'"' && input.get(found.start) != Some(&first) {
        return None;
    }
    *at = found.end;
    Some(&input[found])
}

/// The text that a value in quotes is. What is no UTF-8, and halves of surrogate pairs, become the
/// replacement character.
pub fn unquoted(quoted: &[u8]) -> Cow<'_, str> {
    let inner = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some((kind, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match kind {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let c = character(&mut rest);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(*other),
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The character whose number is next, which is two numbers for those beyond the first 65,536.
fn character(rest: &mut &[u8]) -> char {
    const LOST: char = char::REPLACEMENT_CHARACTER;
    let Some(first) = hex(rest) else {
        return LOST;
    };
    *rest = &rest[4..];
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).unwrap_or(LOST);
    }
    let second = rest.strip_prefix(b"\\u").and_then(hex);
    match second {
        Some(second) if (0xdc00..0xe000).contains(&second) => {
            *rest = &rest[6..];
            let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            char::from_u32(code).unwrap_or(LOST)
        }
        _ => LOST,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = str::from_utf8(digits.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> String {
        match value(text.as_bytes(), 0) {
            Ok(found) => format!("fine up to {}", found.end),
            Err(Fault::Unfinished(None)) => "unfinished".into(),
            Err(Fault::Unfinished(Some(what))) => format!("unfinished, {what}"),
            Err(Fault::Invalid { what, offset }) => format!("{what} at {offset}"),
        }
    }

    #[test]
    fn faults_are_told_in_the_words_of_go() {
        for (text, want) in [
            ("", "unfinished"),
            ("  ", "unfinished"),
            ("{", "unfinished"),
            ("{\"a\"", "unfinished"),
            ("{\"a\":1", "unfinished"),
            ("\"abc", "unfinished"),
            (
                "nul",
                "unfinished, invalid character ' ' in literal null (expecting 'l')",
            ),
            ("-", "unfinished, invalid character ' ' in numeric literal"),
            (
                "x",
                "invalid character 'x' looking for beginning of value at 1",
            ),
            (
                "{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string at 8",
            ),
            (
                "{\"a\":1 2",
                "invalid character '2' after object key:value pair at 8",
            ),
            ("[1 2", "invalid character '2' after array element at 4"),
            ("{\"a\" 1}", "invalid character '1' after object key at 6"),
            ("\"a\n\"", "invalid character '\\n' in string literal at 3"),
            (
                "\"\\x\"",
                "invalid character 'x' in string escape code at 3",
            ),
            (
                "\"\\u12g\"",
                "invalid character 'g' in \\u hexadecimal character escape at 6",
            ),
            (
                "1.",
                "unfinished, invalid character ' ' after decimal point in numeric literal",
            ),
            (
                "1ea",
                "invalid character 'a' in exponent of numeric literal at 3",
            ),
            (
                "é",
                "invalid character 'Ã' looking for beginning of value at 1",
            ),
            (
                "'",
                "invalid character '\\'' looking for beginning of value at 1",
            ),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value at 4",
            ),
            ("1 x", "fine up to 1"),
            ("{}{", "fine up to 2"),
            (" [[],{\"a\":[{}]}] ", "fine up to 16"),
        ] {
            assert_eq!(fault(text), want, "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert_eq!(
            fault(&deep),
            "invalid character '[' exceeded max depth at 10001"
        );
        let fine = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        assert_eq!(fault(&fine), "fine up to 20000");
    }

    #[test]
    fn members_and_elements() {
        let object = br#"{"a" : 1 ,"b,:":[1,{"c":2}], "d":{}}"#;
        let found: Vec<_> = members(object).collect();
        let want: Vec<(&[u8], &[u8])> = vec![
            (b"\"a\"", b"1"),
            (b"\"b,:\"", b"[1,{\"c\":2}]"),
            (b"\"d\"", b"{}"),
        ];
        assert_eq!(found, want);
        let found: Vec<_> = elements(b"[ 1, \"a,b\" ,[2,3],{}]").collect();
        let want: Vec<&[u8]> = vec![b"1", b"\"a,b\"", b"[2,3]", b"{}"];
        assert_eq!(found, want);
        assert_eq!(members(b"{ }").count() + elements(b"[]").count(), 0);
    }

    #[test]
    fn texts_are_unescaped() {
        for (text, want) in [
            (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\ud83d\ude00""#, "é😀"),
            (r#""\ud800x\ud800\u0041""#, "\u{fffd}x\u{fffd}A"),
            (r#""\udc00""#, "\u{fffd}"),
        ] {
            assert_eq!(unquoted(text.as_bytes()), want);
        }
        assert_eq!(unquoted(b"\"\xff\""), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn nothing_panics(input in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(found) = value(&input, 0) {
                let value = &input[found];
                match value[0] {
                    b'{' => { members(value).count(); }
                    b'[' => { elements(value).count(); }
                    _ => { unquoted(value); }
                }
            }
        }

        #[test]
        fn what_is_json_for_others_is_here(text in r#"[\[\]{}":,0-9a-z\\u \-.+]{0,16}"#) {
            let whole = value(text.as_bytes(), 0).is_ok_and(|v| is_blank(text.as_bytes(), v.end));
            let there = serde_json::from_str::<serde_json::Value>(&text);
            // Numbers beyond a float are fine here, and so are halves of surrogate pairs.
            let fine = there.is_ok() || there.is_err_and(|e| e.to_string().contains("out of range"));
            prop_assert!(whole == fine || (whole && text.contains("\\u")), "{:?}", text);
        }
    }
}
