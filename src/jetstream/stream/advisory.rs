//! What is told of consumers to whoever listens
//! (<https://docs.nats.io/running-a-nats-service/nats_admin/monitoring/monitoring_jetstream>).

use crate::accounts::Account;
use crate::base::rng::Rng;
use crate::jetstream::consumer::Advisory;
use crate::jetstream::out::{Out, Outgoing};
use crate::json::Time;
use crate::store::types::Timestamp;
use serde::Serialize;
use std::sync::Arc;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The consumer that is told of.
pub(super) struct Adviser<'a> {
    pub(super) account: &'a Arc<Account>,
    pub(super) stream: &'a str,
    pub(super) consumer: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Serialize)]
struct Event<'a, B> {
    r#type: String,
    id: String,
    timestamp: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    stream: &'a str,
    consumer: &'a str,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
struct MaxDeliveries {
    stream_seq: u64,
    deliveries: u64,
}

#[derive(Serialize)]
struct OfMessage<'a> {
    consumer_seq: u64,
    stream_seq: u64,
    deliveries: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct OfGroup<'a> {
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pinned_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct Paused {
    paused: bool,
    pause_until: Time,
}

#[derive(Serialize)]
struct Acked {
    consumer_seq: u64,
    stream_seq: u64,
    ack_time: u64,
    deliveries: u64,
}

impl Adviser<'_> {
    /// Tells of something, if anybody listens.
    pub(super) fn advise<O: Out>(&self, advisory: &Advisory<'_>, rng: &mut Rng, out: &mut O) {
        match *advisory {
            Advisory::MaxDeliveries { stream, deliveries } => {
                let body = MaxDeliveries {
                    stream_seq: stream.0,
                    deliveries,
                };
                self.tell("MAX_DELIVERIES", "max_deliver", body, rng, out);
            }
            Advisory::Naked {
                stream,
                consumer,
                deliveries,
            } => {
                let body = OfMessage {
                    consumer_seq: consumer,
                    stream_seq: stream.0,
                    deliveries,
                    reason: "",
                };
                self.tell("MSG_NAKED", "nak", body, rng, out);
            }
            Advisory::Terminated {
                stream,
                consumer,
                deliveries,
                reason,
            } => {
                let body = OfMessage {
                    consumer_seq: consumer,
                    stream_seq: stream.0,
                    deliveries,
                    reason,
                };
                self.tell("MSG_TERMINATED", "terminated", body, rng, out);
            }
            Advisory::Pinned { group, id } => {
                let body = OfGroup {
                    group,
                    pinned_id: id,
                    reason: "",
                };
                self.tell("PINNED", "consumer_group_pinned", body, rng, out);
            }
            Advisory::Unpinned { group, reason } => {
                let body = OfGroup {
                    group,
                    pinned_id: "",
                    reason,
                };
                self.tell("UNPINNED", "consumer_group_unpinned", body, rng, out);
            }
            Advisory::Paused { paused, until } => {
                let body = Paused {
                    paused,
                    pause_until: until.map_or(Time::ZERO, |at| Time::from_unix_nanos(at.0)),
                };
                self.tell("PAUSE", "consumer_pause", body, rng, out);
            }
            Advisory::Acked {
                stream,
                consumer,
                deliveries,
                ack_time_ns,
            } => {
                let body = Acked {
                    consumer_seq: consumer,
                    stream_seq: stream.0,
                    ack_time: ack_time_ns,
                    deliveries,
                };
                let place = "$JS.EVENT.METRIC.CONSUMER.ACK";
                let kind = "io.nats.jetstream.metric.v1.consumer_ack";
                self.publish(place, kind.to_owned(), false, body, rng, out);
            }
        }
    }

    fn tell<O: Out>(
        &self,
        place: &str,
        kind: &str,
        body: impl Serialize,
        rng: &mut Rng,
        out: &mut O,
    ) {
        let place = format!("$JS.EVENT.ADVISORY.CONSUMER.{place}");
        let names_account = kind.starts_with("consumer_group");
        let kind = format!("io.nats.jetstream.advisory.v1.{kind}");
        self.publish(&place, kind, names_account, body, rng, out);
    }

    fn publish<O: Out>(
        &self,
        place: &str,
        kind: String,
        names_account: bool,
        body: impl Serialize,
        rng: &mut Rng,
        out: &mut O,
    ) {
        let subject = format!("{place}.{}.{}", self.stream, self.consumer);
        if !out.is_heard(self.account, subject.as_bytes()) {
            return;
        }
        let event = Event {
            r#type: kind,
            id: (0..22).map(|_| char::from(DIGITS[rng.below(62)])).collect(),
            timestamp: Time::from_unix_nanos(self.now.0),
            account: names_account.then_some(&*self.account.name),
            stream: self.stream,
            consumer: self.consumer,
            body,
        };
        let payload = crate::json::compact(&event);
        out.send(self.account, &Outgoing::plain(subject.as_bytes(), &payload));
    }
}
