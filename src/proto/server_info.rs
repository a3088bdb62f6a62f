//! What a server says of itself in events, and in front of answers to requests of the system
//! account.

use crate::base::text::Rfc3339;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A server, with the reference's JSON fields in their order (`ServerInfo` in `events.go`, 2.15).
/// Empty ones are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerInfo<'a> {
    pub name: &'a str,
    pub host: &'a str,
    /// The server's public key (`N...`).
    pub id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub domain: &'a str,
    #[serde(rename = "ver")]
    pub version: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: &'a BTreeMap<String, String>,
    pub jetstream: bool,
    /// What the server can do, a bit each; see the reference's `ServerCapability`.
    pub flags: u64,
    /// Counts what this server has told, from 1.
    pub seq: u64,
    #[serde(serialize_with = "time")]
    pub time: SystemTime,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn time<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Rfc3339(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn order_and_omissions() {
        let metadata = BTreeMap::new();
        let info = ServerInfo {
            name: "a",
            host: "0.0.0.0",
            id: "NX",
            cluster: String::new(),
            domain: "",
            version: "2.15.0",
            tags: &[],
            metadata: &metadata,
            jetstream: false,
            flags: 0,
            seq: 7,
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        };
        let want = r#"{"name":"a","host":"0.0.0.0","id":"NX","ver":"2.15.0","jetstream":false,"flags":0,"seq":7,"time":"1970-01-01T00:00:01.5Z"}"#;
        assert_eq!(serde_json::to_string(&info).unwrap(), want);
    }
}
