//! The digest of a configuration, which does not depend on how it was written down.

use super::value::{Document, Entry, Kind, Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

impl Document {
    /// `sha256:` and the hash, in hexadecimal, of the tree as JSON and a line feed.
    ///
    /// The JSON is what Go's `encoding/json` writes: compact, keys sorted, `<`, `>`, `&` and the
    /// Unicode line ends escaped. So the reference computes the same digest.
    pub fn digest(&self) -> String {
        let mut json = self.root.json();
        json.push('\n');
        let mut digest = "sha256:".to_owned();
        for byte in Sha256::digest(json) {
            let _ = write!(digest, "{byte:02x}");
        }
        digest
    }
}

impl Map {
    /// As compact JSON with sorted keys.
    pub(super) fn json(&self) -> String {
        let mut json = String::new();
        map(&mut json, self);
        json
    }
}

fn map(to: &mut String, map: &Map) {
    let mut entries: Vec<&Entry> = map.iter().collect();
    entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    to.push('{');
    for (i, entry) in entries.into_iter().enumerate() {
        if i > 0 {
            to.push(',');
        }
        text(to, &entry.key);
        to.push(':');
        value(to, &entry.value);
    }
    to.push('}');
}

fn value(to: &mut String, v: &Value) {
    // Writing to a string does not fail.
    let _ = match &v.kind {
        Kind::Bool(v) => write!(to, "{v}"),
        Kind::Int(v) => write!(to, "{v}"),
        Kind::Float(v) => {
            float(to, *v);
            Ok(())
        }
        Kind::Date(v) => write!(to, "\"{v}\""),
        Kind::Text(v) => {
            text(to, v);
            Ok(())
        }
        Kind::Array(values) => {
            to.push('[');
            for (i, v) in values.iter().enumerate() {
                if i > 0 {
                    to.push(',');
                }
                value(to, v);
            }
            to.push(']');
            Ok(())
        }
        Kind::Map(v) => {
            map(to, v);
            Ok(())
        }
    };
}

/// The shortest digits that give the number back, with an exponent where the number is very
/// small or large.
fn float(to: &mut String, v: f64) {
    let _ = if v == 0.0 || (1e-6..1e21).contains(&v.abs()) {
        write!(to, "{v}")
    } else {
        let text = format!("{v:e}");
        let sign = if v.abs() < 1.0 { "" } else { "+" };
        match text.split_once('e') {
            Some((digits, exponent)) => write!(to, "{digits}e{sign}{exponent}"),
            None => write!(to, "{text}"),
        }
    };
}

fn text(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\x08' => to.push_str("\\b"),
            '\x0c' => to.push_str("\\f"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(to, "\\u{:04x}", u32::from(c));
            }
            _ => to.push(c),
        }
    }
    to.push('"');
}
