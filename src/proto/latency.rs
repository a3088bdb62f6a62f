//! What is told about how long a service took.

use super::client_info::{ClientInfo, nanos};
use super::headers::Picked;
use crate::base::text::Rfc3339;
use serde::{Serialize, Serializer};
use std::time::{Duration, SystemTime};

/// How a measured request ended. The texts are the reference's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Answered,
    /// It asked for no answer.
    BadRequest,
    /// Nobody waited for the answer any more.
    RequestTimeout,
    /// Nobody got it.
    Unavailable,
    /// Nobody answered in time.
    ServiceTimeout,
}

impl Outcome {
    fn status(self) -> (u16, &'static str) {
        match self {
            Outcome::Answered => (200, ""),
            Outcome::BadRequest => (400, "Bad Request"),
            Outcome::RequestTimeout => (408, "Request Timeout"),
            Outcome::Unavailable => (503, "Service Unavailable"),
            Outcome::ServiceTimeout => (504, "Service Timeout"),
        }
    }
}

/// How long one request took.
#[derive(Clone, Debug)]
pub struct ServiceLatency {
    pub id: String,
    /// When this is told.
    pub time: SystemTime,
    pub outcome: Outcome,
    pub requestor: Option<ClientInfo>,
    pub responder: Option<ClientInfo>,
    /// The headers that asked for it.
    pub header: Picked,
    /// When the requestor sent its request.
    pub start: SystemTime,
    /// The time that the service took.
    pub service: Duration,
    /// The time that the server took.
    pub system: Duration,
    pub total: Duration,
}

/// The JSON object of the reference (`ServiceLatency` in `accounts.go`, 2.15).
#[derive(Serialize)]
struct Json<'a> {
    r#type: &'static str,
    id: &'a str,
    #[serde(serialize_with = "time")]
    timestamp: SystemTime,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestor: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "Picked::is_empty")]
    header: &'a Picked,
    #[serde(serialize_with = "time")]
    start: SystemTime,
    #[serde(serialize_with = "nanos")]
    service: Duration,
    #[serde(serialize_with = "nanos")]
    system: Duration,
    #[serde(serialize_with = "nanos")]
    total: Duration,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn time<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Rfc3339(*time))
}

impl ServiceLatency {
    pub fn json(&self) -> Vec<u8> {
        let (status, description) = self.outcome.status();
        let json = Json {
            r#type: "io.nats.server.metric.v1.service_latency",
            id: &self.id,
            timestamp: self.time,
            status,
            description,
            requestor: self.requestor.as_ref(),
            responder: self.responder.as_ref(),
            header: &self.header,
            start: self.start,
            service: self.service,
            system: self.system,
            total: self.total,
        };
        serde_json::to_vec(&json).expect("it has text keys and no value that fails")
    }
}
