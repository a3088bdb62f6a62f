//! Values back to text.

use super::value::{Kind, Map, Value};
use std::fmt::Write;

/// The text of a map, an entry a line, as [`super::parse`] reads it back. Variables and includes
/// are gone: what they stood for is there instead.
pub fn print(map: &Map) -> String {
    let mut text = String::new();
    entries(&mut text, map, 0);
    text
}

fn entries(to: &mut String, map: &Map, depth: usize) {
    for entry in map.iter() {
        indent(to, depth);
        key(to, &entry.key);
        to.push_str(": ");
        value(to, &entry.value, depth);
        to.push('\n');
    }
}

fn indent(to: &mut String, depth: usize) {
    for _ in 0..depth {
        to.push_str("  ");
    }
}

/// There are no escapes in keys: one that has both kinds of quotes was written without any.
fn key(to: &mut String, key: &str) {
    let quote = if !key.contains('"') {
        "\""
    } else if !key.contains('\'') {
        "'"
    } else {
        ""
    };
    to.push_str(quote);
    to.push_str(key);
    to.push_str(quote);
}

fn value(to: &mut String, v: &Value, depth: usize) {
    // Writing to a string does not fail.
    let _ = match &v.kind {
        Kind::Bool(v) => write!(to, "{v}"),
        Kind::Int(v) => write!(to, "{v}"),
        // The language has no exponents, and numbers without a point are integers.
        Kind::Float(v) if v.fract() == 0.0 => write!(to, "{v}.0"),
        Kind::Float(v) => write!(to, "{v}"),
        Kind::Date(v) => write!(to, "{v}"),
        Kind::Text(v) => {
            text(to, v);
            Ok(())
        }
        Kind::Array(values) => {
            to.push('[');
            for v in values {
                to.push('\n');
                indent(to, depth + 1);
                value(to, v, depth + 1);
            }
            if !values.is_empty() {
                to.push('\n');
                indent(to, depth);
            }
            to.push(']');
            Ok(())
        }
        Kind::Map(map) => {
            to.push('{');
            if !map.is_empty() {
                to.push('\n');
                entries(to, map, depth + 1);
                indent(to, depth);
            }
            to.push('}');
            Ok(())
        }
    };
}

fn text(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(to, "\\x{:02x}", u32::from(c));
            }
            _ => to.push(c),
        }
    }
    to.push('"');
}
