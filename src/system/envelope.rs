//! How answers and events of the system account are wrapped.

use crate::base::text::Rfc3339;
use crate::monitor::Source;
use crate::monitor::accstatz::AccountStat;
use crate::monitor::go_json::compact;
use crate::monitor::request::RequestError;
use crate::monitor::statsz;
use crate::proto::server_info::ServerInfo;
use data_encoding::BASE64;
use serde::Serialize;

/// An answer: `{"server": ..., key: data}`, or with an error instead of data, which is JSON.
pub fn enveloped(source: &dyn Source, key: &str, data: Result<Vec<u8>, RequestError>) -> Vec<u8> {
    let facts = source.facts();
    let mut out = b"{\"server\":".to_vec();
    out.extend(compact(&facts.server_info(source.vitals().now)));
    match data {
        Ok(data) => {
            out.extend_from_slice(format!(",\"{key}\":").as_bytes());
            out.extend(data);
        }
        Err(error) => {
            if error.code == 500 {
                out.extend_from_slice(b",\"data\":null");
            }
            out.extend_from_slice(b",\"error\":");
            out.extend(compact(&error));
        }
    }
    out.push(b'}');
    out
}

/// The answer to a request that something be done: `{"server": ...}`, or with an error.
pub fn plain(source: &dyn Source, done: Result<(), RequestError>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Json<'a> {
        server: ServerInfo<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<RequestError>,
    }
    let facts = source.facts();
    compact(&Json {
        server: facts.server_info(source.vitals().now),
        error: done.err(),
    })
}

/// The event by which the server tells its figures, and the answer to who asks for them.
pub fn statsz_event(source: &dyn Source) -> Vec<u8> {
    let statsz = compact(&statsz::document(source, 1));
    enveloped(source, "statsz", Ok(statsz))
}

/// The event that something is up with the server itself: nothing but what it says of itself.
pub fn server_event(source: &dyn Source) -> Vec<u8> {
    compact(&source.facts().server_info(source.vitals().now))
}

/// A profile, in base64, or why there is none: the reference's `ProfilezStatus`.
pub fn profile_answer(source: &dyn Source, taken: Result<Vec<u8>, String>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Json {
        profile: Option<String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        error: String,
    }
    let (profile, error) = match taken {
        Ok(profile) => (Some(BASE64.encode(&profile)), String::new()),
        Err(error) => (None, error),
    };
    enveloped(source, "data", Ok(compact(&Json { profile, error })))
}

/// The event `account_connections`: how many clients an account has.
pub fn connections_event(source: &dyn Source, id: String, stat: &AccountStat) -> Vec<u8> {
    #[derive(Serialize)]
    struct Json<'a> {
        r#type: &'static str,
        id: String,
        timestamp: String,
        server: ServerInfo<'a>,
        #[serde(flatten)]
        stat: &'a AccountStat,
    }
    let facts = source.facts();
    let now = source.vitals().now;
    compact(&Json {
        r#type: "io.nats.server.advisory.v1.account_connections",
        id,
        timestamp: Rfc3339(now).to_string(),
        server: facts.server_info(now),
        stat,
    })
}
