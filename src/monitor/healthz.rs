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

#[derive(Debug, Default, Serialize)]
struct Fault {
    r#type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    consumer: String,
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

/// The document, with its status. Where JetStream is off, there is nothing to be wrong with streams
/// and consumers.
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
    } else if let Some((status, faults)) = streams(source, options) {
        return Healthz {
            status: if options.details {
                "error"
            } else {
                "unavailable"
            },
            status_code: status,
            error: match (options.details, faults.first()) {
                (false, Some(first)) => first.error.clone(),
                _ => String::new(),
            },
            errors: if options.details { faults } else { Vec::new() },
        };
    } else {
        return Healthz {
            status: "ok",
            status_code: 200,
            error: String::new(),
            errors: Vec::new(),
        };
    };
    let (error, errors) = match options.details {
        true => {
            let fault = Fault {
                r#type,
                error,
                ..Fault::default()
            };
            (String::new(), vec![fault])
        }
        false => (error, Vec::new()),
    };
    Healthz {
        status: "error",
        status_code: status,
        error,
        errors,
    }
}

/// What is wrong with the streams that are asked for, and the status that tells so.
fn streams(source: &dyn Source, options: &Options) -> Option<(u16, Vec<Fault>)> {
    if options.js_enabled_only
        || options.js_enabled
        || options.js_server_only
        || options.js_meta_only
    {
        return None;
    }
    let Options {
        account,
        stream,
        consumer,
        ..
    } = options;
    let report = source.jetstream(&Question {
        account: account.clone(),
        stream: stream.clone(),
        consumer: consumer.clone(),
        accounts: !account.is_empty(),
        streams: !stream.is_empty(),
        consumers: !consumer.is_empty(),
        limit: 1,
        ..Question::default()
    })?;
    let quoted = |name: &str| crate::base::text::quoted(name.as_bytes()).to_string();
    let missing = |r#type, error| {
        let fault = Fault {
            r#type,
            account: account.clone(),
            stream: stream.clone(),
            consumer: consumer.clone(),
            error,
        };
        Some((404, vec![fault]))
    };
    if !account.is_empty() {
        let (a, s, c) = (quoted(account), quoted(stream), quoted(consumer));
        let Some(own) = report.accounts.first() else {
            return missing("ACCOUNT", format!("JetStream account {a} not found"));
        };
        let found = own.streams.first();
        if !stream.is_empty() && found.is_none() {
            let error = format!("JetStream stream {s} not found on account {a}");
            return missing("STREAM", error);
        }
        if !consumer.is_empty() && found.is_some_and(|stream| stream.consumers.is_empty()) {
            let error = format!("JetStream consumer {c} not found for stream {s} on account {a}");
            return missing("CONSUMER", error);
        }
    }
    let failed = report.failed.into_iter().filter(|failed| {
        (account.is_empty() || *account == failed.account)
            && (stream.is_empty() || *stream == failed.stream)
    });
    let faults: Vec<Fault> = failed
        .map(|failed| Fault {
            r#type: "STREAM",
            error: format!(
                "JetStream stream '{} > {}' write error: {}",
                failed.account, failed.stream, failed.reason
            ),
            account: failed.account,
            stream: failed.stream,
            consumer: String::new(),
        })
        .collect();
    (!faults.is_empty()).then_some((503, faults))
}
