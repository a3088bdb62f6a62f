//! The INFO line that opens every connection, and is sent again when something in it changed
//! (<https://docs.nats.io/reference/reference-protocols/nats-protocol#info>).

use serde::Serialize;
use std::net::IpAddr;

/// What the server says of itself to a client, in the order in which it is written.
#[derive(Serialize, Clone, Debug)]
pub struct Info<'a> {
    /// The server's public key (`N...`).
    pub server_id: &'a str,
    pub server_name: &'a str,
    /// The protocol level, as a version of the reference server.
    pub version: &'a str,
    /// What clients may expect: 1 for asynchronous INFO.
    pub proto: u8,
    /// The commit that the server was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<&'a str>,
    /// The toolchain; the key's name is historical.
    pub go: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub headers: bool,
    /// Whether clients have to say who they are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    /// Clients have to go on with TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    /// They have to show a certificate then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_verify: bool,
    /// They may go on with TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_available: bool,
    /// Bytes in a message, headers included.
    pub max_payload: usize,
    /// Whether there are streams.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub jetstream: bool,
    pub client_id: u64,
    pub client_ip: IpAddr,
    /// What a client that is known by its key has to sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<&'a str>,
    /// The name of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<&'a str>,
    /// The domain of the streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<&'a str>,
    /// Where else clients can connect, `host:port` each, this server included.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub connect_urls: &'a [String],
    /// The server is about to disconnect its clients, who should go elsewhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ldm: bool,
    /// Set in the INFO that answers the first PING after CONNECT.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub connect_info: bool,
    /// The account that the client is bound to, in the same INFO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_account: Option<&'a str>,
    /// Whether that is the account of the server itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acc_is_sys: bool,
}

/// The value of INFO's `go` field.
pub const TOOLCHAIN: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));

impl Info<'_> {
    /// Appends the whole line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"INFO ");
        serde_json::to_writer(&mut *out, self).expect("plain fields always serialize");
        // The blank before the line's end is part of what clients have always been sent.
        out.extend_from_slice(b" \r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_omissions() {
        let mut info = Info {
            server_id: "NX",
            server_name: "n",
            version: "2.15.0",
            proto: 1,
            git_commit: None,
            go: "rust",
            host: "0.0.0.0",
            port: 4222,
            headers: true,
            auth_required: false,
            tls_required: false,
            tls_verify: false,
            tls_available: false,
            max_payload: 1048576,
            jetstream: false,
            client_id: 5,
            client_ip: "127.0.0.1".parse().unwrap(),
            nonce: None,
            cluster: None,
            domain: None,
            connect_urls: &[],
            ldm: false,
            connect_info: false,
            remote_account: None,
            acc_is_sys: false,
        };
        let mut out = vec![];
        info.write(&mut out);
        let want = "INFO {\"server_id\":\"NX\",\"server_name\":\"n\",\"version\":\"2.15.0\",\
            \"proto\":1,\"go\":\"rust\",\"host\":\"0.0.0.0\",\"port\":4222,\"headers\":true,\
            \"max_payload\":1048576,\"client_id\":5,\"client_ip\":\"127.0.0.1\"} \r\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
        (info.ldm, info.connect_info, info.remote_account) = (true, true, Some("$G"));
        info.git_commit = Some("1234567");
        (info.tls_required, info.tls_verify, info.tls_available) = (true, true, true);
        let mut out = vec![];
        info.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        let tls = r#""headers":true,"tls_required":true,"tls_verify":true,"tls_available":true,"m"#;
        assert!(text.contains(tls), "{text}");
        let commit = r#""proto":1,"git_commit":"1234567","go":"rust""#;
        assert!(text.contains(commit), "{text}");
        assert!(
            text.ends_with(",\"ldm\":true,\"connect_info\":true,\"remote_account\":\"$G\"} \r\n"),
            "{text}"
        );
    }
}
