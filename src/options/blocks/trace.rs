//! `msg_trace`: where an account is told what became of traced messages.

use super::{entries, int, percentage, text};
use crate::base::text::quoted;
use crate::config::{Entry, Kind, Value};
use crate::options::file::Check;
use crate::options::keys::blocks::MSG_TRACE;
use crate::options::security::TraceDestination;
use crate::subject;

/// A subject, or a map with one.
pub(super) fn read(entry: &Entry, check: &mut Check<'_>) -> Option<TraceDestination> {
    let mut sampling = 100;
    if let Kind::Text(_) = entry.value.kind {
        let subject = dest(entry, check)?;
        return Some(TraceDestination { subject, sampling });
    }
    let (mut subject, mut sampled) = (None, false);
    for (name, part) in entries(&entry.value, MSG_TRACE) {
        match name {
            "dest" => subject = Some(dest(part, check)?),
            "sampling" => match self::sampling(&part.value) {
                Ok(percent) => (sampling, sampled) = (percent, true),
                Err(wrong) => {
                    check.error(part.key_at, wrong);
                    return None;
                }
            },
            _ => {}
        }
    }
    if subject.is_none() && sampled {
        let text = "Trace destination sampling ignored since no destination was set";
        check.warning(entry.key_at, text.into());
    }
    subject.map(|subject| TraceDestination { subject, sampling })
}

fn dest(entry: &Entry, check: &mut Check<'_>) -> Option<String> {
    let subject = text(&entry.value);
    if subject::is_literal(subject.as_bytes()) && subject::is_valid(subject.as_bytes()) {
        return Some(subject.into());
    }
    let subject = quoted(subject.as_bytes());
    let text = format!("Trace destination {subject} is not valid");
    check.error(entry.key_at, text);
    None
}

fn sampling(value: &Value) -> Result<u8, String> {
    let number = match &value.kind {
        Kind::Text(text) => percentage(text).map_err(|_| {
            let text = quoted(text.as_bytes());
            format!("Invalid trace destination sampling value {text}")
        })?,
        _ => int(value),
    };
    let percent = u8::try_from(number).ok();
    percent
        .filter(|percent| (1..=100).contains(percent))
        // The spelling is the reference's, which people look for.
        .ok_or_else(|| {
            format!("Ttrace destination sampling value {number} is invalid, needs to be [1..100]")
        })
}
