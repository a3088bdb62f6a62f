//! JSON as Go reads it into options, with Go's texts about what is wrong.
//!
//! Fields are known by their names without regard to case; those that nobody knows are ignored,
//! and `null` changes nothing. A fault in the text itself comes before one in a value.

use std::fmt::Write;

/// How deep values may be nested.
const DEPTH_MAX: usize = 128;

/// A value. Numbers stay as they are written.
#[derive(Clone, Debug, PartialEq)]
enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(String),
    List(Vec<Value<'a>>),
    Map(Vec<(String, Value<'a>)>),
}

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::Text(_) => "string",
            Value::List(_) => "array",
            Value::Map(_) => "object",
        }
    }
}

/// A place for a value.
#[derive(Debug)]
pub enum Slot<'a> {
    Bool(&'a mut bool),
    Int(&'a mut i64),
    Unsigned(&'a mut u64),
    Text(&'a mut String),
    Texts(&'a mut Vec<String>),
}

/// A field of options: its name, the Go type within the options that it belongs to, if any, its own
/// Go type if that has a name of its own, and where its value goes.
#[derive(Debug)]
pub struct Field<'a> {
    name: &'static str,
    group: &'static str,
    named: Option<&'static str>,
    slot: Slot<'a>,
}

impl<'a> Field<'a> {
    pub fn new(group: &'static str, name: &'static str, slot: Slot<'a>) -> Field<'a> {
        Field {
            name,
            group,
            named: None,
            slot,
        }
    }

    /// The same with a type that has a name, such as `server.SortOpt`.
    pub fn of_type(self, named: &'static str) -> Field<'a> {
        let named = Some(named);
        Field { named, ..self }
    }

    fn type_name(&self) -> &'static str {
        self.named.unwrap_or(match self.slot {
            Slot::Bool(_) => "bool",
            Slot::Int(_) => "int",
            Slot::Unsigned(_) => "uint64",
            Slot::Text(_) => "string",
            Slot::Texts(_) => "[]string",
        })
    }
}

/// Reads an object into fields; `of` is the Go type that they make up. Nothing at all is as good as
/// an empty object.
///
/// # Errors
/// What is wrong, in Go's words. Fields may have been set by then.
pub fn decode(of: &str, input: &[u8], fields: &mut [Field<'_>]) -> Result<(), String> {
    if input.is_empty() {
        return Ok(());
    }
    let pairs = match parse(input)? {
        Value::Map(pairs) => pairs,
        Value::Null => return Ok(()),
        other => {
            let kind = other.kind();
            return Err(format!(
                "json: cannot unmarshal {kind} into Go value of type server.{of}"
            ));
        }
    };
    let mut fault = None;
    for (name, value) in pairs {
        let exact = fields.iter().position(|field| field.name == name);
        let folded = || {
            let same = |field: &Field<'_>| field.name.eq_ignore_ascii_case(&name);
            fields.iter().position(same)
        };
        let Some(at) = exact.or_else(folded) else {
            continue;
        };
        let field = &mut fields[at];
        if let Err((what, r#type)) = set(field, value) {
            let dot = if field.group.is_empty() { "" } else { "." };
            let name = format!("{of}.{}{dot}{}", field.group, field.name);
            fault.get_or_insert(format!(
                "json: cannot unmarshal {what} into Go struct field {name} of type {type}"
            ));
        }
    }
    fault.map_or(Ok(()), Err)
}

/// Sets a field, or tells what cannot become which type.
fn set(field: &mut Field<'_>, value: Value<'_>) -> Result<(), (String, &'static str)> {
    let r#type = field.type_name();
    match (&mut field.slot, value) {
        (_, Value::Null) => {}
        (Slot::Bool(to), Value::Bool(value)) => **to = value,
        (Slot::Text(to), Value::Text(value)) => **to = value,
        (Slot::Int(to), Value::Number(text)) => match text.parse() {
            Ok(value) => **to = value,
            Err(_) => return Err((format!("number {text}"), r#type)),
        },
        (Slot::Unsigned(to), Value::Number(text)) => match text.parse() {
            Ok(value) => **to = value,
            Err(_) => return Err((format!("number {text}"), r#type)),
        },
        (Slot::Texts(to), Value::List(values)) => {
            let mut fault = None;
            to.clear();
            for value in values {
                match value {
                    Value::Text(text) => to.push(text),
                    Value::Null => to.push(String::new()),
                    other => {
                        fault.get_or_insert((other.kind().to_owned(), "string"));
                    }
                }
            }
            return fault.map_or(Ok(()), Err);
        }
        (_, other) => return Err((other.kind().to_owned(), r#type)),
    }
    Ok(())
}

fn parse(input: &[u8]) -> Result<Value<'_>, String> {
    let mut scan = Scan { input, at: 0 };
    let value = scan.value(0)?;
    scan.blanks();
    match scan.next() {
        None => Ok(value),
        Some(c) => Err(invalid(c, "after top-level value")),
    }
}

struct Scan<'a> {
    input: &'a [u8],
    at: usize,
}

const UNFINISHED: &str = "unexpected end of JSON input";

fn invalid(c: u8, context: &str) -> String {
    let mut shown = String::new();
    // Go shows a byte as the character of that number, in single quotes.
    match char::from(c) {
        '\'' => shown.push_str("\\'"),
        '"' => shown.push('"'),
        other => {
            let quoted = crate::base::text::quoted(other.to_string().as_bytes()).to_string();
            shown.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    format!("invalid character '{shown}' {context}")
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// The next byte inside of a literal, where the end of the text is as good as a blank.
    fn inside(&mut self) -> u8 {
        self.next().unwrap_or(b' ')
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, String> {
        if depth > DEPTH_MAX {
            return Err("exceeded max depth".into());
        }
        self.blanks();
        let start = self.at;
        match self.next() {
            None => Err(UNFINISHED.into()),
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Text(self.text()?)),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(c @ (b'-' | b'0'..=b'9')) => self.number(c, start),
            Some(c) => Err(invalid(c, "looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, String> {
        for expected in word.bytes().skip(1) {
            let c = self.inside();
            if c != expected {
                let expected = char::from(expected);
                let context = format!("in literal {word} (expecting '{expected}')");
                return Err(invalid(c, &context));
            }
        }
        Ok(value)
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// At least one digit.
    fn some_digits(&mut self, context: &str) -> Result<(), String> {
        let c = self.inside();
        if !c.is_ascii_digit() {
            return Err(invalid(c, context));
        }
        self.digits();
        Ok(())
    }

    fn number(&mut self, first: u8, start: usize) -> Result<Value<'a>, String> {
        let mut digit = first;
        if first == b'-' {
            digit = self.inside();
            if !digit.is_ascii_digit() {
                return Err(invalid(digit, "in numeric literal"));
            }
        }
        if digit != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        let text = str::from_utf8(&self.input[start..self.at]);
        Ok(Value::Number(text.unwrap_or_default()))
    }

    /// A text up to its closing quote. What is no UTF-8, and halves of surrogate pairs, become the
    /// replacement character.
    fn text(&mut self) -> Result<String, String> {
        let mut out = Vec::new();
        loop {
            match self.next() {
                None => return Err(UNFINISHED.into()),
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut out)?,
                Some(c) if c < 0x20 => return Err(invalid(c, "in string literal")),
                Some(c) => out.push(c),
            }
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(match self.inside() {
            c @ (b'"' | b'\\' | b'/') => c,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let first = self.hex()?;
                let c = self.character(first)?;
                let mut utf8 = String::new();
                let pushed = write!(utf8, "{c}");
                debug_assert!(pushed.is_ok(), "a string takes everything");
                out.extend(utf8.bytes());
                return Ok(());
            }
            c => return Err(invalid(c, "in string escape code")),
        });
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for _ in 0..4 {
            let c = self.inside();
            let digit = char::from(c).to_digit(16);
            let digit = digit.ok_or_else(|| invalid(c, "in \\u hexadecimal character escape"))?;
            number = number * 16 + digit;
        }
        Ok(number)
    }

    fn character(&mut self, first: u32) -> Result<char, String> {
        const LOST: char = char::REPLACEMENT_CHARACTER;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(LOST));
        }
        let before = self.at;
        if self.input[before..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(LOST));
            }
            self.at = before;
        }
        Ok(LOST)
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, String> {
        let mut values = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.blanks();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(Value::List(values)),
                Some(c) => return Err(invalid(c, "after array element")),
                None => return Err(UNFINISHED.into()),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, String> {
        let mut pairs = Vec::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(pairs));
        }
        loop {
            self.blanks();
            let name = match self.next() {
                Some(b'"') => self.text()?,
                Some(c) => return Err(invalid(c, "looking for beginning of object key string")),
                None => return Err(UNFINISHED.into()),
            };
            self.blanks();
            match self.next() {
                Some(b':') => {}
                Some(c) => return Err(invalid(c, "after object key")),
                None => return Err(UNFINISHED.into()),
            }
            pairs.push((name, self.value(depth + 1)?));
            self.blanks();
            match self.next() {
                Some(b',') => {}
                Some(b'}') => return Ok(Value::Map(pairs)),
                Some(c) => return Err(invalid(c, "after object key:value pair")),
                None => return Err(UNFINISHED.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn faults_in_the_text_are_told_in_the_words_of_go() {
        for (text, want) in [
            ("{", UNFINISHED),
            ("{\"a\"", UNFINISHED),
            ("{\"a\":", UNFINISHED),
            ("{\"a\":1", UNFINISHED),
            ("\"abc", UNFINISHED),
            ("  ", UNFINISHED),
            ("x", "invalid character 'x' looking for beginning of value"),
            (
                "{\"limit\":1} x",
                "invalid character 'x' after top-level value",
            ),
            (
                "{\"limit\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            (
                "{\"a\":1 2",
                "invalid character '2' after object key:value pair",
            ),
            ("[1 2", "invalid character '2' after array element"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{1:2}",
                "invalid character '1' looking for beginning of object key string",
            ),
            ("\"a\n\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            (
                "\"\\u12g\"",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("-", "invalid character ' ' in numeric literal"),
            (
                "1.",
                "invalid character ' ' after decimal point in numeric literal",
            ),
            (
                "1ea",
                "invalid character 'a' in exponent of numeric literal",
            ),
            (
                "tru",
                "invalid character ' ' in literal true (expecting 'e')",
            ),
            (
                "nulx",
                "invalid character 'x' in literal null (expecting 'l')",
            ),
            ("01", "invalid character '1' after top-level value"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
            (
                "'",
                "invalid character '\\'' looking for beginning of value",
            ),
            ("\"\\", "invalid character ' ' in string escape code"),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            (
                "\0",
                "invalid character '\\x00' looking for beginning of value",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(want.into()), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 2);
        assert_eq!(parse(deep.as_bytes()), Err("exceeded max depth".into()));
    }

    #[test]
    fn texts_are_unescaped() {
        for (text, want) in [
            (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\ud83d\ude00""#, "é😀"),
            (r#""\ud800x\ud800\u0041""#, "\u{fffd}x\u{fffd}A"),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(Value::Text(want.into())));
        }
        assert_eq!(parse(b"\"\xff\""), Ok(Value::Text("\u{fffd}".into())));
    }

    #[derive(Debug, Default, PartialEq)]
    struct Options {
        yes: bool,
        limit: i64,
        cid: u64,
        sort: String,
        tags: Vec<String>,
    }

    fn read(text: &str) -> Result<Options, String> {
        let mut o = Options::default();
        let mut fields = [
            Field::new("O", "yes", Slot::Bool(&mut o.yes)),
            Field::new("O", "limit", Slot::Int(&mut o.limit)),
            Field::new("O", "cid", Slot::Unsigned(&mut o.cid)),
            Field::new("O", "sort", Slot::Text(&mut o.sort)).of_type("server.SortOpt"),
            Field::new("F", "tags", Slot::Texts(&mut o.tags)),
        ];
        decode("XOptions", text.as_bytes(), &mut fields).map(|()| o)
    }

    #[test]
    fn fields_are_found_and_set() {
        let all = r#"{"YES":true,"limit":5,"Limit":-6,"cid":7,"sort":"x","tags":["a",null],"other":{"a":[1]}}"#;
        let want = Options {
            yes: true,
            limit: -6,
            cid: 7,
            sort: "x".into(),
            tags: vec!["a".into(), String::new()],
        };
        assert_eq!(read(all), Ok(want));
        for nothing in ["", "null", "{}", r#"{"yes":null,"limit":null,"tags":null}"#] {
            assert_eq!(read(nothing), Ok(Options::default()), "{nothing}");
        }
    }

    #[test]
    fn wrong_types_are_told_in_the_words_of_go() {
        let field = |what: &str, field: &str, of: &str| {
            format!(
                "json: cannot unmarshal {what} into Go struct field XOptions.{field} of type {of}"
            )
        };
        for (text, want) in [
            (r#"{"limit":"x"}"#, field("string", "O.limit", "int")),
            (r#"{"limit":1.5}"#, field("number 1.5", "O.limit", "int")),
            (r#"{"limit":1e2}"#, field("number 1e2", "O.limit", "int")),
            (r#"{"cid":-1}"#, field("number -1", "O.cid", "uint64")),
            (r#"{"yes":1}"#, field("number", "O.yes", "bool")),
            (r#"{"sort":5}"#, field("number", "O.sort", "server.SortOpt")),
            (r#"{"tags":"x"}"#, field("string", "F.tags", "[]string")),
            (r#"{"tags":[5]}"#, field("number", "F.tags", "string")),
            (
                r#"{"yes":{},"limit":"x"}"#,
                field("object", "O.yes", "bool"),
            ),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type server.XOptions".into(),
            ),
            (
                "5",
                "json: cannot unmarshal number into Go value of type server.XOptions".into(),
            ),
        ] {
            assert_eq!(read(text), Err(want), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(input in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&input);
        }

        #[test]
        fn what_is_json_for_others_is_here(text in r#"[\[\]{}":,0-9a-z\\u \-.+]{0,16}"#) {
            let here = parse(text.as_bytes()).is_ok();
            let there = serde_json::from_str::<serde_json::Value>(&text);
            // Numbers beyond a float, and halves of surrogate pairs, are fine here.
            let fine = there.as_ref().map_or_else(|e| e.to_string().contains("out of range") || e.to_string().contains("surrogate") || e.to_string().contains("lone"), |_| true);
            prop_assert!(here == fine || (here && text.contains("\\u")), "{:?}", text);
        }
    }
}
