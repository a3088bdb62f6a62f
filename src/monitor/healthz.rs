//! healthz: whether the server is well.

use super::go_json::is_none;
use super::query::Query;
use super::source::Source;
use super::{Answer, JSON, Refused, go_json};
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
    let (status, r#type, error) = if vitals.listener.is_none() || vitals.lame_duck {
        let text = "failed to be ready for connections after 1ms: server";
        (500, "CONNECTION", text.to_owned())
    } else if options.account.is_empty() && !options.stream.is_empty() {
        (400, "BAD_REQUEST", missing("account", "stream"))
    } else if options.stream.is_empty() && !options.consumer.is_empty() {
        (400, "BAD_REQUEST", missing("stream", "consumer"))
    } else {
        return Healthz {
            status: "ok",
            status_code: 200,
            error: String::new(),
            errors: Vec::new(),
        };
    };
    let (error, errors) = match options.details {
        true => (String::new(), vec![Fault { r#type, error }]),
        false => (error, Vec::new()),
    };
    Healthz {
        status: "error",
        status_code: status,
        error,
        errors,
    }
}
