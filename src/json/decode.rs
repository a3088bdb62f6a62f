//! JSON as Go reads it into structs, with Go's texts about what is wrong.
//!
//! Names are known without regard to case. `null` leaves a value as it is, or empties it, where Go
//! would have a nil. A value of the wrong type is told of when all has been read; a text that is
//! none of those it could be ends it at once, and so is what is told. Values that nobody asks for
//! are skipped without being kept.

use super::scan::{self, Fault};
use super::{Nanos, Time};
use crate::base::text::quoted;
use std::collections::BTreeMap;

/// Why a request can not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abort(pub String);

/// A request that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded<T> {
    pub value: T,
    /// What would have been a fault, had the reading been strict.
    pub warning: Option<String>,
}

/// Bytes that the lists of a value may take for each byte of their text, and a start.
const MEMORY_FACTOR: usize = 8;
const MEMORY_START: usize = 1 << 20;

/// Reads a request, which is an object; nothing at all is as good as an empty one, and what further
/// objects have comes on top. Fields that there are not are a fault, unless `strict` is off.
///
/// # Errors
/// What is wrong, in the reference's words (`unmarshalRequest`, 2.15).
pub fn request<T: Decode>(input: &[u8], strict: bool) -> Result<Decoded<T>, String> {
    let fault = match stream(input) {
        Ok(value) => {
            return Ok(Decoded {
                value,
                warning: None,
            });
        }
        Err(fault) => fault,
    };
    if strict {
        return Err(fault);
    }
    Ok(Decoded {
        value: document(input)?,
        warning: Some(fault),
    })
}

/// Reads one object, and ignores fields that there are not.
///
/// # Errors
/// What is wrong, in Go's words (`json.Unmarshal`).
pub fn document<T: Decode>(input: &[u8]) -> Result<T, String> {
    let found = scan::value(input, 0).map_err(|fault| match fault {
        Fault::Unfinished(None) => "unexpected end of JSON input".to_owned(),
        Fault::Unfinished(Some(what)) | Fault::Invalid { what, .. } => what,
    })?;
    if let Some(byte) = input[found.end..].trim_ascii_start().first() {
        return Err(scan::invalid(*byte, "after top-level value"));
    }
    let mut value = T::default();
    Context::new(false, input.len()).read(&mut value, &input[found])?;
    Ok(value)
}

fn stream<T: Decode>(input: &[u8]) -> Result<T, String> {
    let mut value = T::default();
    let mut cx = Context::new(true, input.len());
    let mut at = 0;
    while !scan::is_blank(input, at) {
        let found = scan::value(input, at).map_err(|fault| match fault {
            Fault::Unfinished(_) => "unexpected EOF".to_owned(),
            Fault::Invalid { what, offset } => format!("{what} at offset {offset}"),
        })?;
        at = found.end;
        cx.read(&mut value, &input[found])?;
    }
    Ok(value)
}

/// What can be read.
pub trait Decode: Default {
    /// The type in Go.
    fn type_name() -> String;

    /// Reads a value, which is JSON for sure.
    ///
    /// # Errors
    /// If nothing more is to be read.
    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort>;
}

/// An object with known fields: see [`object`].
pub trait Object {
    /// The name of the struct in Go.
    const NAME: &'static str;

    /// Reads a field, and says whether there is one by that name.
    ///
    /// # Errors
    /// If nothing more is to be read.
    fn member(&mut self, name: &str, value: &[u8], cx: &mut Context) -> Result<bool, Abort>;
}

/// Where in a request a value stands, and what was wrong so far.
#[derive(Debug)]
pub struct Context {
    strict: bool,
    /// The innermost struct that is being read.
    within: &'static str,
    path: Vec<&'static str>,
    /// What Go calls the type of the value, if not what it calls it elsewhere.
    named: Option<&'static str>,
    /// The first fault that did not end the reading.
    fault: Option<String>,
    /// Bytes that lists may still take.
    memory: usize,
}

impl Context {
    fn new(strict: bool, len: usize) -> Context {
        Context {
            strict,
            within: "",
            path: Vec::new(),
            named: None,
            fault: None,
            memory: MEMORY_START.saturating_add(len.saturating_mul(MEMORY_FACTOR)),
        }
    }

    fn read<T: Decode>(&mut self, to: &mut T, value: &[u8]) -> Result<(), String> {
        to.decode(value, self).map_err(|Abort(what)| what)?;
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Reads what stands in a field by this name, whose type Go calls `named`.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn field(
        &mut self,
        name: &'static str,
        named: Option<&'static str>,
        read: impl FnOnce(&mut Context) -> Result<(), Abort>,
    ) -> Result<bool, Abort> {
        self.path.push(name);
        self.named = named;
        read(self)?;
        self.named = None;
        self.path.pop();
        Ok(true)
    }

    /// Looks for a field in a struct that is embedded by this name.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn embedded(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Context) -> Result<bool, Abort>,
    ) -> Result<bool, Abort> {
        self.path.push(name);
        let found = read(self)?;
        self.path.pop();
        Ok(found)
    }

    /// Reads an object into its fields.
    ///
    /// # Errors
    /// If nothing more is to be read.
    pub fn object<T: Object + Decode>(&mut self, to: &mut T, value: &[u8]) -> Result<(), Abort> {
        match value.first() {
            Some(b'{') => {}
            Some(b'n') => return Ok(()),
            _ => {
                self.mismatch(kind(value), &T::type_name());
                return Ok(());
            }
        }
        self.named = None;
        let outer = std::mem::replace(&mut self.within, T::NAME);
        for (name, value) in scan::members(value) {
            let name = scan::unquoted(name);
            if !to.member(&name, value, self)? && self.strict {
                let name = quoted(name.as_bytes());
                self.note(format!("json: unknown field {name}"));
            }
        }
        self.within = outer;
        Ok(())
    }

    /// A value of the wrong type.
    pub fn mismatch(&mut self, what: &str, of: &str) {
        let of = self.named.unwrap_or(of);
        let fault = if self.path.is_empty() {
            format!("json: cannot unmarshal {what} into Go value of type {of}")
        } else {
            let (within, path) = (self.within, self.path.join("."));
            format!(
                "json: cannot unmarshal {what} into Go struct field {within}.{path} of type {of}"
            )
        };
        self.note(fault);
    }

    fn note(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    /// Takes memory for an element of a list.
    fn take<T>(&mut self) -> Result<(), Abort> {
        let left = self.memory.checked_sub(size_of::<T>());
        self.memory = left.ok_or_else(|| Abort("json: lists are too long".into()))?;
        Ok(())
    }
}

/// What Go calls a value.
pub fn kind(value: &[u8]) -> &'static str {
    match value.first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// Whether Go takes a name for that of a field, which is in lower case.
pub fn same_name(name: &str, field: &str) -> bool {
    name == field || (name.len() >= field.len() && name.chars().map(folded).eq(field.chars()))
}

/// The lower case letter that Go takes a letter for.
fn folded(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// Makes a type an [`Object`]: its name in Go, and its fields by their names in JSON. What Go
/// calls the type of a field is said where it is not what it calls it elsewhere; a struct that Go
/// embeds comes last.
macro_rules! object {
    ($of:ty = $name:literal {
        $($json:literal => $field:ident $(as $named:literal)?),* $(,)?
    } $($embedded_name:literal => $embedded:ident)?) => {
        impl $crate::json::decode::Object for $of {
            const NAME: &'static str = $name;

            fn member(
                &mut self,
                name: &str,
                value: &[u8],
                cx: &mut $crate::json::decode::Context,
            ) -> Result<bool, $crate::json::decode::Abort> {
                use $crate::json::decode::{Decode, same_name};
                $(if same_name(name, $json) {
                    let named: &[&'static str] = &[$($named)?];
                    return cx.field($json, named.first().copied(), |cx| {
                        Decode::decode(&mut self.$field, value, cx)
                    });
                })*
                $(if cx.embedded($embedded_name, |cx| {
                    $crate::json::decode::Object::member(&mut self.$embedded, name, value, cx)
                })? {
                    return Ok(true);
                })?
                Ok(false)
            }
        }

        impl $crate::json::decode::Decode for $of {
            fn type_name() -> String {
                concat!("server.", $name).to_owned()
            }

            fn decode(
                &mut self,
                value: &[u8],
                cx: &mut $crate::json::decode::Context,
            ) -> Result<(), $crate::json::decode::Abort> {
                cx.object(self, value)
            }
        }
    };
}
pub(crate) use object;

impl Decode for bool {
    fn type_name() -> String {
        "bool".into()
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "bool" => *self = value == b"true",
            "null" => {}
            other => cx.mismatch(other, "bool"),
        }
        Ok(())
    }
}

impl Decode for String {
    fn type_name() -> String {
        "string".into()
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "string" => *self = scan::unquoted(value).into_owned(),
            "null" => {}
            other => cx.mismatch(other, "string"),
        }
        Ok(())
    }
}

/// Makes numbers of a type what can be read.
macro_rules! numbers {
    ($($number:ty = $name:literal),+) => {$(
        impl Decode for $number {
            fn type_name() -> String {
                $name.into()
            }

            fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
                match kind(value) {
                    "number" => {
                        let text = str::from_utf8(value).unwrap_or_default();
                        match text.parse() {
                            Ok(number) => *self = number,
                            Err(_) => cx.mismatch(&format!("number {text}"), $name),
                        }
                    }
                    "null" => {}
                    other => cx.mismatch(other, $name),
                }
                Ok(())
            }
        }
    )+};
}

numbers!(i64 = "int64", i32 = "int32", u64 = "uint64", u16 = "uint16");

impl Decode for Nanos {
    fn type_name() -> String {
        "time.Duration".into()
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        cx.named.get_or_insert("time.Duration");
        self.0.decode(value, cx)
    }
}

impl Decode for Time {
    fn type_name() -> String {
        "time.Time".into()
    }

    fn decode(&mut self, value: &[u8], _: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "null" => Ok(()),
            "string" => {
                // Escapes are not undone in times.
                let text = String::from_utf8_lossy(&value[1..value.len() - 1]);
                *self = Time::parse(&text).map_err(Abort)?;
                Ok(())
            }
            _ => Err(Abort(
                "Time.UnmarshalJSON: input is not a JSON string".into(),
            )),
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    fn type_name() -> String {
        T::type_name()
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "null" => *self = None,
            _ => self.get_or_insert_default().decode(value, cx)?,
        }
        Ok(())
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn type_name() -> String {
        format!("[]{}", T::type_name())
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "array" => {
                cx.named = None;
                self.clear();
                for element in scan::elements(value) {
                    cx.take::<T>()?;
                    let mut read = T::default();
                    read.decode(element, cx)?;
                    cx.named = None;
                    self.push(read);
                }
            }
            "null" => self.clear(),
            other => cx.mismatch(other, &Self::type_name()),
        }
        Ok(())
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn type_name() -> String {
        format!("map[string]{}", T::type_name())
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "object" => {
                cx.named = None;
                for (name, value) in scan::members(value) {
                    cx.take::<(String, T)>()?;
                    let mut read = T::default();
                    read.decode(value, cx)?;
                    cx.named = None;
                    self.insert(scan::unquoted(name).into_owned(), read);
                }
            }
            "null" => self.clear(),
            other => cx.mismatch(other, &Self::type_name()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Debug, Default)]
    struct Inner {
        name: String,
        at: Option<Time>,
    }

    #[derive(Clone, PartialEq, Debug, Default)]
    struct Base {
        yes: bool,
        wait: Nanos,
        list: Vec<String>,
        inner: Option<Inner>,
        all: Vec<Inner>,
        map: BTreeMap<String, String>,
    }

    #[derive(Clone, PartialEq, Debug, Default)]
    struct Outer {
        base: Base,
        number: i64,
    }

    object!(Inner = "Inner" { "name" => name, "at" => at });
    object!(Base = "Base" {
        "yes" => yes,
        "wait" => wait,
        "list" => list,
        "inner" => inner,
        "all" => all as "[]*server.Inner",
        "map" => map,
    });
    object!(Outer = "Outer" { "number" => number as "int" } "Base" => base);

    fn strict(text: &str) -> Result<Outer, String> {
        request(text.as_bytes(), true).map(|decoded| decoded.value)
    }

    #[test]
    fn fields_are_read_wherever_they_are() {
        let text = r#"{"YES":true,"number":-5,"wait":1000,"lıst":1,"liſt":["a",null],
            "inner":{"name":"n","at":"2024-01-01T00:00:00Z"},"all":[{"name":"x"},null],
            "map":{"a":"b"},"other":[{}]}"#;
        let read = request::<Outer>(text.as_bytes(), false).unwrap();
        let warning = "json: unknown field \"lıst\"";
        assert_eq!(read.warning.as_deref(), Some(warning));
        let outer = read.value;
        assert!(outer.base.yes);
        assert_eq!((outer.number, outer.base.wait), (-5, Nanos(1000)));
        assert_eq!(outer.base.list, ["a", ""]);
        let inner = outer.base.inner.unwrap();
        assert_eq!(inner.at.unwrap().to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(outer.base.all.len(), 2);
        assert_eq!(outer.base.map["a"], "b");
    }

    #[test]
    fn nothing_is_an_empty_object_and_several_are_one() {
        for nothing in [
            "",
            "  ",
            "{}",
            "null",
            r#"{"number":null,"list":null,"inner":null}"#,
        ] {
            assert_eq!(strict(nothing), Ok(Outer::default()), "{nothing}");
        }
        let two = strict(r#"{"number":1,"yes":true} {"number":2}"#).unwrap();
        assert_eq!((two.number, two.base.yes), (2, true));
    }

    #[test]
    fn faults_are_told_in_the_words_of_go() {
        let field = |what: &str, path: &str, of: &str| {
            format!("json: cannot unmarshal {what} into Go struct field {path} of type {of}")
        };
        for (text, want) in [
            (
                r#"{"wait":"x"}"#,
                field("string", "Outer.Base.wait", "time.Duration"),
            ),
            (
                r#"{"wait":1e9}"#,
                field("number 1e9", "Outer.Base.wait", "time.Duration"),
            ),
            (
                r#"{"number":1.5}"#,
                field("number 1.5", "Outer.number", "int"),
            ),
            (r#"{"number":{}}"#, field("object", "Outer.number", "int")),
            (
                r#"{"list":"a"}"#,
                field("string", "Outer.Base.list", "[]string"),
            ),
            (
                r#"{"list":[1]}"#,
                field("number", "Outer.Base.list", "string"),
            ),
            (
                r#"{"inner":5}"#,
                field("number", "Outer.Base.inner", "server.Inner"),
            ),
            (
                r#"{"inner":{"name":5}}"#,
                field("number", "Inner.Base.inner.name", "string"),
            ),
            (
                r#"{"all":{}}"#,
                field("object", "Outer.Base.all", "[]*server.Inner"),
            ),
            (
                r#"{"all":[5]}"#,
                field("number", "Outer.Base.all", "server.Inner"),
            ),
            (
                r#"{"all":[{"name":5}]}"#,
                field("number", "Inner.Base.all.name", "string"),
            ),
            (
                r#"{"map":[]}"#,
                field("array", "Outer.Base.map", "map[string]string"),
            ),
            (
                r#"{"map":{"a":5}}"#,
                field("number", "Outer.Base.map", "string"),
            ),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type server.Outer".into(),
            ),
            (
                r#"{"bogus":1,"number":"x"}"#,
                "json: unknown field \"bogus\"".into(),
            ),
            (r#"{"inner":{"x":1}}"#, "json: unknown field \"x\"".into()),
            (
                r#"{"number":"x","inner":{"at":5}}"#,
                "Time.UnmarshalJSON: input is not a JSON string".into(),
            ),
            (
                r#"{"inner":{"at":"x"}}"#,
                r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#
                    .into(),
            ),
            (r#"{"number":1"#, "unexpected EOF".into()),
            ("nul", "unexpected EOF".into()),
            (
                "{} x",
                "invalid character 'x' looking for beginning of value at offset 4".into(),
            ),
        ] {
            assert_eq!(strict(text), Err(want), "{text}");
        }
    }

    #[test]
    fn a_document_is_one_value() {
        let read = |text: &str| document::<Outer>(text.as_bytes());
        assert_eq!(read(r#"{"bogus":1,"number":3} "#).unwrap().number, 3);
        assert_eq!(read("").unwrap_err(), "unexpected end of JSON input");
        let trailing = "invalid character 'x' after top-level value";
        assert_eq!(read("{} x").unwrap_err(), trailing);
        let word = "invalid character ' ' in literal null (expecting 'l')";
        assert_eq!(read("nul").unwrap_err(), word);
    }

    #[test]
    fn what_is_not_strict_fails_where_both_ways_do() {
        let lenient = |text: &str| request::<Outer>(text.as_bytes(), false);
        assert!(lenient(r#"{"bogus":1}"#).is_ok());
        let trailing = "invalid character 'x' after top-level value";
        assert_eq!(lenient("{} x").unwrap_err(), trailing);
    }

    #[test]
    fn lists_of_nothing_do_not_fill_the_memory() {
        let many = format!(r#"{{"all":[{}null]}}"#, "{},".repeat(1 << 20));
        assert_eq!(strict(&many), Err("json: lists are too long".into()));
    }
}
