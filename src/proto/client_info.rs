//! What others are told of a client: in the header of a request that it made to another account's
//! service, and in events.

use crate::base::text::Rfc3339;
use serde::{Serialize, Serializer};
use std::time::{Duration, SystemTime};

/// The header that tells a service who asks.
pub const REQUEST_INFO: &str = "Nats-Request-Info";

/// A client, with the reference's JSON fields in their order (`ClientInfo` in `events.go`, 2.15).
/// Empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientInfo {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time")]
    pub start: Option<SystemTime>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u64,
    #[serde(rename = "acc", skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The account by whose import a request came, if not by its client's own.
    #[serde(rename = "svc", skip_serializing_if = "String::is_empty")]
    pub service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
    #[serde(rename = "ver", skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The last round trip, in nanoseconds.
    #[serde(skip_serializing_if = "Duration::is_zero", serialize_with = "nanos")]
    pub rtt: Duration,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time")]
    pub stop: Option<SystemTime>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_type: &'static str,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn time<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(&Rfc3339(*time)),
        None => to.serialize_none(),
    }
}

/// A duration as the reference's JSON has it.
pub(super) fn nanos<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_left_out() {
        let little = ClientInfo {
            account: "A".into(),
            rtt: Duration::from_micros(3),
            ..ClientInfo::default()
        };
        let json = serde_json::to_string(&little).unwrap();
        assert_eq!(json, r#"{"acc":"A","rtt":3000}"#);
        let more = ClientInfo {
            start: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
            kind: "Client",
            ..little
        };
        let json = serde_json::to_string(&more).unwrap();
        let want = r#"{"start":"1970-01-01T00:00:01.5Z","acc":"A","rtt":3000,"kind":"Client"}"#;
        assert_eq!(json, want);
    }
}
