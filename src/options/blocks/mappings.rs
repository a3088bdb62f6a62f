//! `mappings`: what becomes of messages on some subjects.

use super::{entries, int, list, map, percentage, some, text};
use crate::base::text::quoted;
use crate::config::{Kind, Map, Value};
use crate::options::Options;
use crate::options::file::{Check, is_variable};
use crate::options::keys::Takes;
use crate::options::keys::blocks::{DESTINATION, MAPPINGS};
use crate::options::security::{Destination, Mapping};

/// What a destination gets that stands alone.
const ALL: u8 = 100;

pub(in crate::options) fn mappings(options: &mut Options, value: &Value, check: &mut Check<'_>) {
    options.mappings = read(value, check);
}

/// Mappings, in the order of the file.
pub(super) fn read(value: &Value, check: &mut Check<'_>) -> Vec<Mapping> {
    let Takes::Each(takes) = MAPPINGS else {
        return Vec::new();
    };
    let entries = map(value).into_iter().flat_map(Map::iter);
    let entries = entries.filter(|entry| !is_variable(entry, takes));
    let mappings = entries.map(|entry| {
        let value = &entry.value;
        let destinations = match &value.kind {
            Kind::Text(subject) => vec![Destination {
                subject: subject.clone(),
                weight: ALL,
                cluster: None,
            }],
            Kind::Map(_) => destination(value, check).into_iter().collect(),
            _ => {
                let destinations = list(value).iter();
                destinations
                    .filter_map(|value| destination(value, check))
                    .collect()
            }
        };
        Mapping {
            source: entry.key.clone(),
            destinations,
        }
    });
    mappings.collect()
}

fn destination(value: &Value, check: &mut Check<'_>) -> Option<Destination> {
    let (mut subject, mut weight, mut cluster) = ("", None, None);
    for (name, entry) in entries(value, DESTINATION) {
        let value = &entry.value;
        match name {
            "destination" => subject = text(value),
            "cluster" => cluster = some(value),
            "weight" => match self::weight(value) {
                Ok(number) => weight = Some(number),
                Err(wrong) => {
                    let text = format!("Invalid weight {wrong} for mapping destination");
                    check.error(value.at, text);
                    return None;
                }
            },
            _ => {}
        }
    }
    let Some(weight) = weight else {
        let subject = quoted(subject.as_bytes());
        let text = format!("Missing weight for mapping destination {subject}");
        check.error(value.at, text);
        return None;
    };
    if subject.is_empty() {
        check.error(value.at, "Missing destination for mapping".into());
        return None;
    }
    Some(Destination {
        subject: subject.into(),
        weight,
        cluster,
    })
}

/// A weight from 0 to 100, or what is written instead.
fn weight(value: &Value) -> Result<u8, String> {
    let number = match &value.kind {
        Kind::Text(text) => percentage(text).map_err(|_| {
            let number = text.strip_suffix('%').unwrap_or(text);
            quoted(number.as_bytes()).to_string()
        })?,
        _ => int(value),
    };
    let valid = u8::try_from(number).ok().filter(|number| *number <= ALL);
    valid.ok_or_else(|| number.to_string())
}
