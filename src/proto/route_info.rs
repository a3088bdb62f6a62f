//! What servers of a cluster say of themselves and of each other: INFO and CONNECT on routes.

use serde::{Deserialize, Serialize};

/// The level of the protocol between servers that this one announces: accounts, and tracing of
/// messages over routes, which servers have from the same level on.
pub const PROTO: u32 = 3;

/// INFO on a route, in the order in which it is written. Fields that this server does not know are
/// left out when it passes on what another said.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct RouteInfo {
    /// The public key of the server that is told of.
    pub server_id: String,
    pub server_name: String,
    pub version: String,
    pub proto: u32,
    pub go: String,
    /// Where it listens for routes.
    pub host: String,
    pub port: u16,
    pub headers: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_verify: bool,
    pub max_payload: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub jetstream: bool,
    /// The URL at which others reach it: told by itself if it advertises one, otherwise added by
    /// who passes this on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Whether the cluster's name was made up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cluster_dynamic: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Where its clients connect, `host:port` each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// It is about to disconnect its clients.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ldm: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    /// What it is told of, and what it hears, if that is not everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<SubjectRules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<SubjectRules>,
    #[serde(skip_serializing_if = "is_zero")]
    pub route_pool_size: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub route_pool_idx: i64,
    /// The only account of this connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route_acc_add_reqid: String,
    /// Whether who is told of a server passes that on: see [`Gossip`].
    #[serde(skip_serializing_if = "is_zero")]
    pub gossip_mode: i64,
    /// Says that this is about the way to other clusters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
}

/// Subjects that are allowed and denied.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct SubjectRules {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

/// The values of `gossip_mode`.
pub mod gossip {
    /// A server that connects to one that it was told of does not pass that on.
    pub const DEFAULT: i64 = 0;
    /// Nobody passes it on.
    pub const DISABLED: i64 = 1;
    /// It does so all the same.
    pub const OVERRIDE: i64 = 2;
}

/// CONNECT on a route, in the order in which it is written.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct RouteConnect {
    pub echo: bool,
    pub verbose: bool,
    pub pedantic: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pass: String,
    pub tls_required: bool,
    pub headers: bool,
    /// The id of the server.
    pub name: String,
    pub cluster: String,
    #[serde(rename = "cluster_dynamic", skip_serializing_if = "std::ops::Not::not")]
    pub dynamic: bool,
    /// Set by gateways, which have no business here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Set by clients, which have none either.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl RouteInfo {
    /// What another server says.
    ///
    /// # Errors
    /// What is wrong with its JSON.
    pub fn read(args: &[u8]) -> Result<RouteInfo, String> {
        serde_json::from_slice(args).map_err(|e| e.to_string())
    }

    /// Appends the whole line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"INFO ");
        serde_json::to_writer(&mut *out, self).expect("plain fields always serialize");
        out.extend_from_slice(b" \r\n");
    }
}

impl RouteConnect {
    /// What another server says.
    ///
    /// # Errors
    /// What is wrong with its JSON.
    pub fn read(args: &[u8]) -> Result<RouteConnect, String> {
        serde_json::from_slice(args).map_err(|e| e.to_string())
    }

    /// Appends the whole line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"CONNECT ");
        serde_json::to_writer(&mut *out, self).expect("plain fields always serialize");
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood_and_unknown_fields_do_not_matter() {
        let said =
            br#"{"server_id":"NA","server_name":"a","version":"2.15.2","proto":3,"go":"go1.26",
            "host":"0.0.0.0","port":6222,"headers":true,"max_payload":1048576,"nonce":"x",
            "cluster":"c","cluster_dynamic":true,"connect_urls":["127.0.0.1:4222"],"lnoc":true,
            "lnocu":true,"route_pool_size":3,"compression":"accept","xkey":"X"}"#;
        let info = RouteInfo::read(said).unwrap();
        assert_eq!((&*info.server_id, info.port), ("NA", 6222));
        assert!(info.cluster_dynamic && info.route_pool_size == 3);
        assert_eq!(info.connect_urls, ["127.0.0.1:4222"]);
        let mut out = Vec::new();
        info.write(&mut out);
        let line = out.strip_prefix(b"INFO ").unwrap();
        assert_eq!(RouteInfo::read(line.trim_ascii()), Ok(info));
        assert!(RouteInfo::read(b"{").is_err());
    }

    #[test]
    fn connect_is_written_as_the_reference_writes_it() {
        let connect = RouteConnect {
            echo: true,
            headers: true,
            name: "NA".into(),
            cluster: "c".into(),
            ..RouteConnect::default()
        };
        let mut out = Vec::new();
        connect.write(&mut out);
        let want = "CONNECT {\"echo\":true,\"verbose\":false,\"pedantic\":false,\
                    \"tls_required\":false,\"headers\":true,\"name\":\"NA\",\"cluster\":\"c\"}\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
