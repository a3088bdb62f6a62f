//! What users may do.

use super::{entries, int, text, texts, truth};
use crate::base::duration::{self, DurationError};
use crate::config::{Entry, Kind, Value};
use crate::options::file::Check;
use crate::options::keys::blocks::{ALLOW_DENY, PERMISSIONS, RESPONSES as RESPONSE_KEYS};
use crate::options::security::{Permissions, RESPONSES, Responses, Rules};

/// A block of permissions.
pub(super) fn read(value: &Value, check: &mut Check<'_>) -> Permissions {
    let mut block = Permissions::default();
    for (name, entry) in entries(value, PERMISSIONS) {
        let value = &entry.value;
        match name {
            "publish" => block.publish = rules(entry, check),
            "subscribe" => block.subscribe = rules(entry, check),
            "allow_responses" => {
                block.responses = match value.kind {
                    Kind::Map(_) => Some(responses(value, check)),
                    _ => truth(value).then_some(RESPONSES),
                };
            }
            _ => {}
        }
    }
    // Who may answer requests may not publish anything else, unless that is said.
    if block.responses.is_some() {
        block.publish.allow.get_or_insert_default();
    }
    block
}

/// A subject or a list of them, which are allowed; or a map of what is allowed and denied.
fn rules(entry: &Entry, check: &mut Check<'_>) -> Rules {
    let mut rules = Rules::default();
    match entry.value.kind {
        Kind::Map(_) => {
            for (name, entry) in entries(&entry.value, ALLOW_DENY) {
                match name {
                    "allow" => rules.allow = allowed(entry, check),
                    "deny" => rules.deny = subjects(&entry.value),
                    _ => {}
                }
            }
        }
        _ => rules.allow = allowed(entry, check),
    }
    rules
}

/// As in the reference, an empty list allows everything, which is not what it seems to say.
fn allowed(entry: &Entry, check: &mut Check<'_>) -> Option<Vec<String>> {
    let subjects = subjects(&entry.value);
    if subjects.is_empty() {
        let text = format!(
            "{}: an empty list allows every subject; to allow none, deny \">\"",
            entry.key
        );
        check.warning(entry.value.at, text);
        return None;
    }
    Some(subjects)
}

/// Subjects, those with a queue group with one blank before it.
fn subjects(value: &Value) -> Vec<String> {
    let subjects = texts(value).iter().map(text);
    let subjects = subjects.map(|subject| {
        let mut words = subject.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(subject), Some(queue), None) => format!("{subject} {queue}"),
            _ => subject.into(),
        }
    });
    subjects.collect()
}

/// Zero is the default, and what is below zero is no limit.
fn responses(value: &Value, check: &mut Check<'_>) -> Responses {
    let mut block = RESPONSES;
    for (name, entry) in entries(value, RESPONSE_KEYS) {
        let value = &entry.value;
        match name {
            "max" => {
                block.max = match int(value) {
                    ..0 => None,
                    0 => RESPONSES.max,
                    max => Some(u32::try_from(max).unwrap_or(u32::MAX)),
                };
            }
            "expires" => {
                block.expires = match duration::parse(text(value)) {
                    Ok(time) if time.is_zero() => RESPONSES.expires,
                    Ok(time) => Some(time),
                    Err(DurationError::Negative(_)) => None,
                    Err(error) => {
                        check.error(value.at, format!("error parsing expires: {error}"));
                        None
                    }
                }
            }
            _ => {}
        }
    }
    block
}
