//! healthz: whether the server is well.

use super::go_json::is_none;
use super::query::Query;
use super::source::Source;
use super::{Answer, JSON, Refused, go_json};
use crate::jetstream::report::Question;
use serde::Serialize;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub js_enabled: bool,
    pub js_enabled_only: bool,
    pub js_server_only: bool,
    pub js_meta_only: bool,
    pub account: String,
    pub stream: String,
    pub consumer: String,
    /// Whether all errors are told, one by one.
    pub details: bool,
}

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Healthz {
    status: &'static str,
    /// The status over HTTP, which goes along in answers to requests only.
    #[serde(skip_serializing_if = "is_none")]
    status_code: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Fault {
    r#type: &'static str,
    error: String,
}

pub(super) fn answer(source: &dyn Source, query: Query<'_>) -> Result<Answer, Refused> {
    let options = Options {
        js_enabled: query.boolean("js-enabled")?,
        js_enabled_only: query.boolean("js-enabled-only")?,
        js_server_only: query.boolean("js-server-only")?,
        js_meta_only: query.boolean("js-meta-only")?,
        account: query.text("account").into(),
        stream: query.text("stream").into(),
        consumer: query.text("consumer").into(),
        details: query.boolean("details")?,
    };
    let mut healthz = document(source, &options);
    let status = std::mem::take(&mut healthz.status_code);
    Ok(Answer {
        status,
        content_type: JSON,
        body: go_json::compact(&healthz),
    })
}

/// The document, with its status. Without JetStream, which is off, there is nothing to be wrong
/// with streams and consumers.
pub(super) fn document(source: &dyn Source, options: &Options) -> Healthz {
    let missing =
        |what: &str, of: &str| format!("\"{what}\" must not be empty when checking {of} health");
    let vitals = source.vitals();
    let fault = if vitals.listener.is_none() || vitals.lame_duck {
        let text = "failed to be ready for connections after 1ms: server";
        Some((500, "CONNECTION", text.to_owned()))
    } else if options.account.is_empty() && !options.stream.is_empty() {
        Some((400, "BAD_REQUEST", missing("account", "stream")))
    } else if options.stream.is_empty() && !options.consumer.is_empty() {
        Some((400, "BAD_REQUEST", missing("stream", "consumer")))
    } else {
        None
    };
    if let Some((status_code, r#type, error)) = fault {
        let faults = vec![Fault { r#type, error }];
        return healthz("error", status_code, faults, options);
    }
    match streams(source, options) {
        faults if faults.is_empty() => healthz("ok", 200, faults, options),
        faults => healthz("unavailable", 503, faults, options),
    }
}

fn healthz(
    status: &'static str,
    status_code: u16,
    mut faults: Vec<Fault>,
    options: &Options,
) -> Healthz {
    let first = match options.details || faults.is_empty() {
        true => None,
        false => Some(faults.swap_remove(0)),
    };
    Healthz {
        status,
        status_code,
        error: first.map(|fault| fault.error).unwrap_or_default(),
        errors: if options.details { faults } else { vec![] },
    }
}

/// What is wrong with streams, if that is asked for.
fn streams(source: &dyn Source, options: &Options) -> Vec<Fault> {
    if options.js_enabled || options.js_enabled_only || options.js_server_only {
        return vec![];
    }
    let Some(report) = source.jetstream(&Question::default()) else {
        return vec![];
    };
    let is_asked = |asked: &str, own: &str| asked.is_empty() || asked == own;
    let unwell = report.unwell.into_iter().filter(|unwell| {
        is_asked(&options.account, &unwell.account) && is_asked(&options.stream, &unwell.stream)
    });
    let faults = unwell.map(|unwell| {
        let what = match unwell.write_error {
            Some(error) => format!("write error: {error}"),
            None => "could not be recovered".to_owned(),
        };
        let (account, stream) = (unwell.account, unwell.stream);
        Fault {
            r#type: "STREAM",
            error: format!("JetStream stream '{account} > {stream}' {what}"),
        }
    });
    faults.collect()
}
