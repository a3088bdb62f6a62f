//! What is told of clients that came and went: the events `client_connect` and `client_disconnect`
//! of the reference (`events.go`, 2.15).

use super::client_info::ClientInfo;
use super::error::CloseReason;
use super::server_info::ServerInfo;
use crate::base::text::Rfc3339;
use serde::{Serialize, Serializer};
use std::time::SystemTime;

/// A client was let in.
pub struct Connected<'a> {
    pub id: String,
    pub time: SystemTime,
    pub server: ServerInfo<'a>,
    pub client: ClientInfo,
}

/// A client is gone, or was not let in.
pub struct Disconnected<'a> {
    pub id: String,
    pub time: SystemTime,
    pub server: ServerInfo<'a>,
    pub client: ClientInfo,
    /// Messages and bytes that the client sent.
    pub sent: (u64, u64),
    /// The same that it was sent.
    pub received: (u64, u64),
    pub reason: CloseReason,
}

#[derive(Serialize)]
struct Json<'a> {
    r#type: &'static str,
    id: &'a str,
    #[serde(serialize_with = "time")]
    timestamp: SystemTime,
    server: &'a ServerInfo<'a>,
    client: &'a ClientInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Data>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Data>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Data {
    msgs: u64,
    bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn time<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Rfc3339(*time))
}

impl Connected<'_> {
    pub fn json(&self) -> Vec<u8> {
        write(&Json {
            r#type: "io.nats.server.advisory.v1.client_connect",
            id: &self.id,
            timestamp: self.time,
            server: &self.server,
            client: &self.client,
            sent: None,
            received: None,
            reason: None,
        })
    }
}

impl Disconnected<'_> {
    pub fn json(&self) -> Vec<u8> {
        let data = |(msgs, bytes)| Some(Data { msgs, bytes });
        write(&Json {
            r#type: "io.nats.server.advisory.v1.client_disconnect",
            id: &self.id,
            timestamp: self.time,
            server: &self.server,
            client: &self.client,
            sent: data(self.sent),
            received: data(self.received),
            reason: Some(self.reason.text()),
        })
    }
}

fn write(json: &Json<'_>) -> Vec<u8> {
    serde_json::to_vec(json).expect("it has text keys and no value that fails")
}
