//! healthz: whether the server is well.

use super::go_json::is_none;
use super::query::Query;
use super::source::Source;
use super::{Answer, JSON, Refused, go_json};
use crate::jetstream::report::{Question, Report, Unwell};
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
    /// What does not make the server unwell: messages that are lost do not come back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Fault>,
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
        let faults = vec![Fault {
            r#type,
            error,
            ..Fault::default()
        }];
        return healthz("error", status_code, faults, options);
    }
    let Findings {
        status_code,
        faults,
        warnings,
    } = streams(source, options);
    let (status, status_code) = match (faults.is_empty(), options.details) {
        (true, _) => ("ok", 200),
        (false, true) => ("error", status_code),
        (false, false) => ("unavailable", status_code),
    };
    Healthz {
        warnings: if options.details { warnings } else { vec![] },
        ..healthz(status, status_code, faults, options)
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
        warnings: vec![],
    }
}

/// What is wrong with streams, and the status that says so.
struct Findings {
    status_code: u16,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Findings {
    fn of(status_code: u16, faults: Vec<Fault>) -> Findings {
        Findings {
            status_code,
            faults,
            warnings: vec![],
        }
    }
}

/// What is wrong with the streams that are asked for.
fn streams(source: &dyn Source, options: &Options) -> Findings {
    if options.js_enabled || options.js_enabled_only {
        return Findings::of(200, vec![]);
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
    });
    let Some(report) = report else {
        return Findings::of(200, vec![]);
    };
    let journal = report.journal_error.as_ref().map(|error| Fault {
        r#type: "JETSTREAM",
        error: format!("JetStream commit journal: write error: {error}"),
        ..Fault::default()
    });
    if options.js_server_only {
        return Findings::of(503, journal.into_iter().collect());
    }
    if let Some((r#type, error)) = missing(&report, options) {
        let fault = Fault {
            r#type,
            account: account.clone(),
            stream: stream.clone(),
            consumer: consumer.clone(),
            error,
        };
        return Findings::of(404, vec![fault]);
    }
    let is_asked = |asked: &str, own: &str| asked.is_empty() || asked == own;
    let of_stream = |account: String, stream: String, what: String| Fault {
        r#type: "STREAM",
        error: format!("JetStream stream '{account} > {stream}' {what}"),
        account,
        stream,
        consumer: String::new(),
    };
    let damaged = report.damaged.into_iter().filter(|damaged| {
        is_asked(&options.account, &damaged.account) && is_asked(&options.stream, &damaged.stream)
    });
    let warnings = damaged.map(|damaged| {
        let what = format!("has lost {} messages to damage", damaged.messages);
        of_stream(damaged.account, damaged.stream, what)
    });
    let unwell = report.unwell.into_iter().filter(|unwell| {
        is_asked(&options.account, &unwell.account) && is_asked(&options.stream, &unwell.stream)
    });
    let faults = unwell.map(|unwell| {
        let what = match unwell.write_error {
            Some(error) => format!("write error: {error}"),
            None => "could not be recovered".to_owned(),
        };
        of_stream(unwell.account, unwell.stream, what)
    });
    Findings {
        status_code: 503,
        faults: journal.into_iter().chain(faults).collect(),
        warnings: warnings.collect(),
    }
}

/// What is asked for and not there, and how that is said.
fn missing(report: &Report, options: &Options) -> Option<(&'static str, String)> {
    if options.account.is_empty() {
        return None;
    }
    let quoted = |name: &str| crate::base::text::quoted(name.as_bytes()).to_string();
    let (a, s, c) = (
        quoted(&options.account),
        quoted(&options.stream),
        quoted(&options.consumer),
    );
    let Some(account) = report.accounts.first() else {
        return Some(("ACCOUNT", format!("JetStream account {a} not found")));
    };
    if options.stream.is_empty() {
        return None;
    }
    let Some(stream) = account.streams.first() else {
        // One that could not be opened is told of as such.
        let is_unwell =
            |unwell: &Unwell| unwell.account == options.account && unwell.stream == options.stream;
        let error = format!("JetStream stream {s} not found on account {a}");
        return (!report.unwell.iter().any(is_unwell)).then_some(("STREAM", error));
    };
    let error = format!("JetStream consumer {c} not found for stream {s} on account {a}");
    let is_missing = !options.consumer.is_empty() && stream.consumers.is_empty();
    is_missing.then_some(("CONSUMER", error))
}
