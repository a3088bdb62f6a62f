//! What accounts let each other have: exports and imports.

use super::{entries, int, list, percentage, some, text, texts, truth};
use crate::base::duration;
use crate::base::text::quoted;
use crate::config::{Entry, Kind, Value};
use crate::options::file::Check;
use crate::options::keys::blocks::{EXPORT, IMPORT, LATENCY, SOURCE};
use crate::options::security::{
    Export, ExportKind, Import, ImportKind, Latency, ResponseType, Sampling,
};
use std::collections::BTreeMap;

/// A list of exports, without those that are none.
pub(super) fn exports(value: &Value, check: &mut Check<'_>) -> Vec<Export> {
    list(value)
        .iter()
        .filter_map(|value| export(value, check))
        .collect()
}

fn export(value: &Value, check: &mut Check<'_>) -> Option<Export> {
    let (mut stream, mut service) = (None, None);
    let (mut response_type, mut response_threshold, mut latency) = (None, None, None);
    let (mut accounts, mut account_token_position) = (None, None);
    let mut allow_trace = false;
    // Keys that only services have, each with the word for it.
    let mut of_services: Vec<(&str, &Entry)> = Vec::new();
    for (name, entry) in entries(value, EXPORT) {
        let value = &entry.value;
        match name {
            "stream" if service.is_some() => {
                let subject = quoted(text(value).as_bytes());
                let text = format!("Detected stream {subject} but already saw a service");
                check.error(value.at, text);
                return None;
            }
            "service" if stream.is_some() => {
                let subject = quoted(text(value).as_bytes());
                let text = format!("Detected service {subject} but already saw a stream");
                check.error(value.at, text);
                return None;
            }
            "stream" => stream = Some(text(value)),
            "service" => service = Some(text(value)),
            "accounts" => {
                let names = texts(value).iter().map(|name| text(name).to_owned());
                // As in the reference, an empty list is as good as none.
                accounts = Some(names.collect::<Vec<_>>()).filter(|names| !names.is_empty());
            }
            "response_type" => {
                of_services.push(("response", entry));
                response_type = self::response_type(value, check);
            }
            "response_threshold" => {
                of_services.push(("response", entry));
                let threshold = text(value);
                match duration::parse(threshold) {
                    Ok(time) => response_threshold = Some(time).filter(|time| !time.is_zero()),
                    Err(_) => {
                        let text = format!(
                            "Expected response threshold to be a parseable time duration, got {}",
                            quoted(threshold.as_bytes())
                        );
                        check.error(value.at, text);
                    }
                }
            }
            "latency" => {
                of_services.push(("latency", entry));
                latency = self::latency(value, check);
            }
            "allow_trace" => {
                of_services.push(("allow_trace", entry));
                allow_trace = truth(value);
            }
            "account_token_position" => match usize::try_from(int(value)) {
                Ok(position) => account_token_position = Some(position).filter(|n| *n > 0),
                Err(_) => {
                    let text = format!("{}: {} cannot be negative", entry.key, int(value));
                    check.error(value.at, text);
                }
            },
            _ => {}
        }
    }
    let (subject, kind) = match (stream, service) {
        (Some(subject), _) => {
            for (what, entry) in of_services {
                let text = format!("Detected {what} directive on non-service");
                check.error(entry.value.at, text);
            }
            (subject, ExportKind::Stream)
        }
        (None, Some(subject)) => {
            let kind = ExportKind::Service {
                response_type: response_type.unwrap_or(ResponseType::Singleton),
                response_threshold,
                latency,
                allow_trace,
            };
            (subject, kind)
        }
        (None, None) => {
            check.error(
                value.at,
                "Expected an export to have a stream or a service".into(),
            );
            return None;
        }
    };
    Some(Export {
        subject: subject.into(),
        accounts,
        account_token_position,
        kind,
    })
}

fn response_type(value: &Value, check: &mut Check<'_>) -> Option<ResponseType> {
    let name = text(value);
    match &*name.to_lowercase() {
        "single" | "singleton" => Some(ResponseType::Singleton),
        "stream" => Some(ResponseType::Streamed),
        "chunk" | "chunked" => Some(ResponseType::Chunked),
        _ => {
            let name = quoted(name.as_bytes());
            check.error(value.at, format!("Unknown response type: {name}"));
            None
        }
    }
}

/// A subject; or a map of it, and of which requests are measured.
fn latency(value: &Value, check: &mut Check<'_>) -> Option<Latency> {
    let mut sampling = Sampling::Percent(100);
    if let Kind::Text(subject) = &value.kind {
        let subject = subject.clone();
        return Some(Latency { subject, sampling });
    }
    let mut subject = None;
    for (name, entry) in entries(value, LATENCY) {
        match name {
            "subject" => subject = Some(text(&entry.value)),
            "sampling" => match self::sampling(&entry.value) {
                Ok(read) => sampling = read,
                Err(wrong) => {
                    check.error(entry.value.at, wrong);
                    return None;
                }
            },
            _ => {}
        }
    }
    let Some(subject) = subject else {
        check.error(value.at, "Latency subject required, but missing".into());
        return None;
    };
    Some(Latency {
        subject: subject.into(),
        sampling,
    })
}

fn sampling(value: &Value) -> Result<Sampling, String> {
    let percent = match &value.kind {
        Kind::Text(text) if text.trim().eq_ignore_ascii_case("headers") => {
            return Ok(Sampling::Headers);
        }
        Kind::Text(text) => {
            percentage(text).map_err(|wrong| format!("Failed to parse latency sample: {wrong}"))?
        }
        _ => int(value),
    };
    let percent = u8::try_from(percent).ok();
    match percent.filter(|percent| (1..=100).contains(percent)) {
        Some(percent) => Ok(Sampling::Percent(percent)),
        None => Err("bad sampling percentage, should be 1-100".into()),
    }
}

/// A list of imports, without those that are none. A service may be imported once under one
/// subject from one account.
pub(super) fn imports(value: &Value, check: &mut Check<'_>) -> Vec<Import> {
    let mut services = BTreeMap::new();
    let mut imports = Vec::new();
    for value in list(value) {
        let Some(import) = import(value, check) else {
            continue;
        };
        if let ImportKind::Service { to, .. } = &import.kind {
            let Import {
                account, subject, ..
            } = &import;
            let to = to.as_ref().unwrap_or(subject);
            let first = services.insert((to.clone(), account.clone()), subject.clone());
            if let Some(first) = first {
                let [to, account, first] =
                    [to, account, &first].map(|text| quoted(text.as_bytes()).to_string());
                let text = format!(
                    "Duplicate service import subject {to}, previously used in import for account \
                     {account}, subject {first}"
                );
                check.error(value.at, text);
                continue;
            }
        }
        imports.push(import);
    }
    imports
}

fn import(value: &Value, check: &mut Check<'_>) -> Option<Import> {
    let (mut stream, mut service) = (None, None);
    let (mut prefix, mut to, mut share) = (None, None, None);
    let mut allow_trace = None;
    for (name, entry) in entries(value, IMPORT) {
        let value = &entry.value;
        match name {
            "stream" if service.is_some() => {
                let text = "Detected stream but already saw a service";
                check.error(value.at, text.into());
                return None;
            }
            "service" if stream.is_some() => {
                let text = "Detected service but already saw a stream";
                check.error(value.at, text.into());
                return None;
            }
            "stream" => stream = Some(source(value, check)?),
            "service" => service = Some(source(value, check)?),
            "prefix" => prefix = some::<String>(value).map(|prefix| (prefix, value.at)),
            "to" => to = some::<String>(value).map(|to| (to, value.at)),
            "share" => share = Some((truth(value), value.at)),
            "allow_trace" => allow_trace = Some((truth(value), value.at)),
            _ => {}
        }
    }
    let ((account, subject), kind) = match (stream, service) {
        (Some(source), _) => {
            if let (Some(_), Some((_, at))) = (&prefix, &to) {
                let text = "Stream import can not have a 'prefix' and a 'to' property";
                check.error(*at, text.into());
                return None;
            }
            if let Some((true, at)) = share {
                check.warning(at, "share has no effect on the import of a stream".into());
            }
            let kind = ImportKind::Stream {
                prefix: prefix.map(|(prefix, _)| prefix),
                to: to.map(|(to, _)| to),
                allow_trace: allow_trace.is_some_and(|(allow, _)| allow),
            };
            (source, kind)
        }
        (None, Some(source)) => {
            if let Some((_, at)) = allow_trace {
                let text = "Detected allow_trace directive on a non-stream";
                check.error(at, text.into());
                return None;
            }
            if let Some((_, at)) = prefix {
                check.warning(at, "prefix has no effect on the import of a service".into());
            }
            let kind = ImportKind::Service {
                to: to.map(|(to, _)| to),
                share: share.is_some_and(|(share, _)| share),
            };
            (source, kind)
        }
        (None, None) => {
            check.error(
                value.at,
                "Expected an import to have a stream or a service".into(),
            );
            return None;
        }
    };
    Some(Import {
        account,
        subject,
        kind,
    })
}

/// Account and subject of an import.
fn source(value: &Value, check: &mut Check<'_>) -> Option<(String, String)> {
    let (mut account, mut subject) = (None, None);
    for (name, entry) in entries(value, SOURCE) {
        match name {
            "account" => account = some(&entry.value),
            "subject" => subject = some(&entry.value),
            _ => {}
        }
    }
    let source = account.zip(subject);
    if source.is_none() {
        check.error(value.at, "Expect an account name and a subject".into());
    }
    source
}
