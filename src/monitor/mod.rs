//! The documents of monitoring: what is told of a server over HTTP and to the system account.
//!
//! A document is made of the figures that the loops report (see [`crate::broker::survey`]), the
//! facts that all loops know and how the process does, which all come through a [`Source`]. Its
//! fields, their order and types are the reference's (`monitor.go`, 2.15), and so are the texts
//! about parameters that are not as they have to be. [`answer`] takes a path and a query,
//! [`request::answer_request`] a request of the system account with its options as JSON;
//! [`metrics`] makes the same figures readable for Prometheus.
//!
//! [`head`] and [`body`] read requests over HTTP, [`http`] writes responses, all without sockets;
//! what is served on them is up to a [`http::Handler`].

pub mod accountz;
pub mod accstatz;
pub mod body;
pub mod connz;
pub mod dashboard;
mod expvarz;
pub mod figures;
mod gatewayz;
pub mod go_decode;
pub mod head;
mod healthz;
pub mod http;
mod ipqueuesz;
mod jsz;
mod leafz;
pub mod links;
pub mod metrics;
pub mod path;
pub mod pprof;
mod probes;
mod query;
mod raftz;
pub mod request;
#[cfg(test)]
mod request_tests;
mod routez;
pub mod source;
mod stacksz;
pub mod statsz;
mod subsz;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod varz;

pub use crate::json::write as go_json;
pub use source::Source;

use query::Query;
use serde::Serialize;

/// An answer to a request over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// The content type of texts.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The content type of JSON.
pub const JSON: &str = "application/json";

/// Why there is no document: what was asked is not as it has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused(pub String);

/// Paths that there is an answer to, in the order of the reference's home page, then those that it
/// does not show.
pub const PATHS: &[&str] = &[
    "/varz",
    "/jsz",
    "/connz",
    "/accountz",
    "/accstatz",
    "/subsz",
    "/subscriptionsz",
    "/routez",
    "/leafz",
    "/gatewayz",
    "/raftz",
    "/healthz",
    "/livez",
    "/readyz",
    "/startupz",
    "/ipqueuesz",
    "/stacksz",
    "/expvarz",
    "/debug/vars",
];

/// The answer to a request for a path, without what stands before all paths, and with the pairs of
/// its query, decoded. None: there is no such path.
pub fn answer(source: &dyn Source, path: &str, query: &[(String, String)]) -> Option<Answer> {
    let query = Query(query);
    let made = match path {
        "/varz" => Ok(document(&varz::document(source))),
        "/connz" => connz::Options::of_query(query)
            .and_then(|options| connz::document(source, &options))
            .map(|made| document(&made)),
        "/routez" => routez::answer(source, query),
        "/gatewayz" => gatewayz::answer(source, query),
        "/leafz" => leafz::answer(source, query),
        "/subsz" | "/subscriptionsz" => subsz::Options::of_query(query)
            .and_then(|options| subsz::document(source, &options))
            .map(|made| document(&made)),
        "/accountz" => accountz::document(source, query.text("acc")).map(|made| document(&made)),
        "/accstatz" => query
            .boolean("unused")
            .map(|unused| document(&accstatz::document(source, None, unused))),
        "/jsz" => jsz::answer(source, query),
        "/healthz" => healthz::answer(source, query),
        "/livez" => Ok(probes::livez(source)),
        "/readyz" => Ok(probes::readyz(source)),
        "/startupz" => Ok(probes::startupz(source)),
        "/ipqueuesz" => query.boolean("all").map(|all| {
            let queues = query.text("queues");
            document(&ipqueuesz::document(source, all, queues))
        }),
        "/raftz" => Ok(raftz::answer()),
        "/expvarz" | "/debug/vars" => Ok(expvarz::answer(source)),
        "/stacksz" => Ok(stacksz::answer(source)),
        _ => return None,
    };
    Some(made.unwrap_or_else(|Refused(text)| Answer {
        status: 400,
        content_type: TEXT,
        body: text.into_bytes(),
    }))
}

/// A document as an answer.
fn document<T: Serialize>(document: &T) -> Answer {
    Answer {
        status: 200,
        content_type: JSON,
        body: go_json::indented(document),
    }
}
