//! Blocks about users, accounts and TLS: from values of a configuration file to typed options.
//!
//! The table of keys has checked each block before it is read here, so that every value is of the
//! kind that the table says and no key is unknown; what is wrong with what values say is told here.

mod accounts;
mod cluster;
mod exchange;
mod jetstream;
mod mappings;
mod permissions;
mod proxies;
#[cfg(test)]
mod tests;
mod tls;
mod trace;
mod users;

pub(super) use accounts::accounts;
pub(super) use cluster::cluster;
pub(super) use jetstream::{feature_flags, jetstream};
pub(super) use mappings::mappings;
pub(super) use proxies::proxies;
pub(super) use tls::tls;
pub(super) use users::authorization;

use super::keys::Key;
use crate::config::{Entry, Kind, Map, Value};

/// The entries of a block, each with the first name that the table has for its key. What is there
/// for variables only is left out.
fn entries<'v>(
    value: &'v Value,
    keys: &'static [Key],
) -> impl Iterator<Item = (&'static str, &'v Entry)> {
    let entries = map(value).into_iter().flat_map(Map::iter);
    entries.filter_map(move |entry| Some((Key::find(keys, &entry.key)?.name(), entry)))
}

fn map(value: &Value) -> Option<&Map> {
    match &value.kind {
        Kind::Map(map) => Some(map),
        _ => None,
    }
}

fn list(value: &Value) -> &[Value] {
    match &value.kind {
        Kind::Array(values) => values,
        _ => &[],
    }
}

fn text(value: &Value) -> &str {
    match &value.kind {
        Kind::Text(text) => text,
        _ => "",
    }
}

/// One text, or a list of them.
fn texts(value: &Value) -> &[Value] {
    match &value.kind {
        Kind::Array(values) => values,
        _ => std::slice::from_ref(value),
    }
}

fn int(value: &Value) -> i64 {
    match &value.kind {
        Kind::Int(number) => *number,
        _ => 0,
    }
}

fn truth(value: &Value) -> bool {
    matches!(value.kind, Kind::Bool(true))
}

/// Text, unless it is empty.
fn some<T: From<String>>(value: &Value) -> Option<T> {
    Some(text(value))
        .filter(|text| !text.is_empty())
        .map(|text| text.to_owned().into())
}

/// The number in a text such as `50` or `50%`; if there is none, why in the reference's words.
fn percentage(text: &str) -> Result<i64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    number.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        let number = crate::base::text::quoted(number.as_bytes());
        format!("strconv.Atoi: parsing {number}: {why}")
    })
}
