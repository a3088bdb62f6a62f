//! What is told of streams and consumers to whoever listens: advisories and metrics, as messages
//! of the account that it is about, or of the system account.
//!
//! Each is an [`Event`] with a [`Kind`], whose fields stand in the order of the reference
//! (`jetstream_events.go`, 2.15).

use super::info::{PeerInfo, StreamState};
use crate::json::{self, Nanos, Time, is_none};
use crate::proto::client_info::ClientInfo;
use serde::{Serialize, Serializer};

/// What stands in an event behind its type, id and time.
pub trait Kind: Serialize {
    /// The type.
    const TYPE: &'static str;

    /// The subject that it is published on.
    fn subject(&self) -> String;
}

/// An event.
#[derive(Clone, PartialEq, Debug)]
pub struct Event<K> {
    /// Tells it from all others.
    pub id: String,
    pub timestamp: Time,
    pub kind: K,
}

impl<K: Kind> Event<K> {
    /// The bytes that are published.
    pub fn encode(&self) -> Vec<u8> {
        json::compact(self)
    }
}

impl<K: Kind> Serialize for Event<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a, K> {
            r#type: &'static str,
            id: &'a str,
            timestamp: Time,
            #[serde(flatten)]
            kind: &'a K,
        }
        let json = Json {
            r#type: K::TYPE,
            id: &self.id,
            timestamp: self.timestamp,
            kind: &self.kind,
        };
        json.serialize(to)
    }
}

/// What happened to a stream or consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Delete,
    Modify,
}

impl Action {
    /// The token in the subject.
    fn token(self) -> &'static str {
        match self {
            Action::Create => "CREATED",
            Action::Delete => "DELETED",
            Action::Modify => "UPDATED",
        }
    }
}

/// Why a batch was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AbandonReason {
    Timeout,
    /// It had too many messages.
    Large,
    /// Messages were missing.
    Incomplete,
    /// It needs a level of the API that there is not.
    Unsupported,
}

/// Why a client is pinned no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnpinReason {
    Timeout,
    Admin,
}

/// Makes kinds of events: a type each, and a subject below `$JS.EVENT`.
macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident = $type:literal, |$this:ident| $subject:expr, {
        $($(#[$field_meta:meta])* $field:ident: $of:ty),* $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug, Serialize)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $of),*
        }

        impl Kind for $name {
            const TYPE: &'static str = concat!("io.nats.jetstream.", $type);

            fn subject(&self) -> String {
                let $this = self;
                format!("$JS.EVENT.{}", $subject)
            }
        }
    )+};
}

kinds! {
    /// A request to the API, and how it was answered.
    ApiAudit = "advisory.v1.api_audit", |_this| "ADVISORY.API", {
        server: String,
        client: Option<ClientInfo>,
        subject: String,
        #[serde(skip_serializing_if = "is_none")]
        request: String,
        response: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// Too many requests waited, and all were dropped.
    ApiLimitReached = "advisory.v1.api_limit_reached", |_this| "ADVISORY.API.LIMIT_REACHED", {
        server: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
        dropped: u64,
    }

    /// A stream was made, changed or removed.
    StreamAction = "advisory.v1.stream_action",
    |this| format!("ADVISORY.STREAM.{}.{}", this.action.token(), this.stream), {
        stream: String,
        action: Action,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A consumer was made or removed.
    ConsumerAction = "advisory.v1.consumer_action",
    |this| format!("ADVISORY.CONSUMER.{}.{}.{}", this.action.token(), this.stream, this.consumer), {
        stream: String,
        consumer: String,
        action: Action,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A consumer pauses, or goes on.
    ConsumerPause = "advisory.v1.consumer_pause",
    |this| format!("ADVISORY.CONSUMER.PAUSE.{}.{}", this.stream, this.consumer), {
        stream: String,
        consumer: String,
        paused: bool,
        pause_until: Time,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// How long a message took to be acknowledged, of those that are sampled.
    ConsumerAck = "metric.v1.consumer_ack",
    |this| format!("METRIC.CONSUMER.ACK.{}.{}", this.stream, this.consumer), {
        stream: String,
        consumer: String,
        consumer_seq: u64,
        stream_seq: u64,
        ack_time: Nanos,
        deliveries: u64,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A message was delivered as often as it may be.
    MaxDeliver = "advisory.v1.max_deliver",
    |this| format!("ADVISORY.CONSUMER.MAX_DELIVERIES.{}.{}", this.stream, this.consumer), {
        stream: String,
        consumer: String,
        stream_seq: u64,
        deliveries: u64,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A message is to be delivered again.
    MsgNaked = "advisory.v1.nak",
    |this| format!("ADVISORY.CONSUMER.MSG_NAKED.{}.{}", this.stream, this.consumer), {
        stream: String,
        consumer: String,
        consumer_seq: u64,
        stream_seq: u64,
        deliveries: u64,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A message is not to be delivered again.
    MsgTerminated = "advisory.v1.terminated",
    |this| format!("ADVISORY.CONSUMER.MSG_TERMINATED.{}.{}", this.stream, this.consumer), {
        stream: String,
        consumer: String,
        consumer_seq: u64,
        stream_seq: u64,
        deliveries: u64,
        #[serde(skip_serializing_if = "is_none")]
        reason: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A backup of a stream begins.
    SnapshotCreate = "advisory.v1.snapshot_create",
    |this| format!("ADVISORY.STREAM.SNAPSHOT_CREATE.{}", this.stream), {
        stream: String,
        state: StreamState,
        client: ClientInfo,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A backup of a stream has ended.
    SnapshotComplete = "advisory.v1.snapshot_complete",
    |this| format!("ADVISORY.STREAM.SNAPSHOT_COMPLETE.{}", this.stream), {
        stream: String,
        start: Time,
        end: Time,
        client: ClientInfo,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
        #[serde(skip_serializing_if = "is_none")]
        error: String,
    }

    /// A stream is being restored.
    RestoreCreate = "advisory.v1.restore_create",
    |this| format!("ADVISORY.STREAM.RESTORE_CREATE.{}", this.stream), {
        stream: String,
        client: ClientInfo,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A stream has been restored.
    RestoreComplete = "advisory.v1.restore_complete",
    |this| format!("ADVISORY.STREAM.RESTORE_COMPLETE.{}", this.stream), {
        stream: String,
        start: Time,
        end: Time,
        bytes: u64,
        client: ClientInfo,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// The servers of a domain have a leader.
    DomainLeaderElected = "advisory.v1.domain_leader_elected",
    |_this| "ADVISORY.DOMAIN.LEADER_ELECTED", {
        leader: String,
        replicas: Vec<PeerInfo>,
        cluster: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A stream has a leader.
    StreamLeaderElected = "advisory.v1.stream_leader_elected",
    |this| format!("ADVISORY.STREAM.LEADER_ELECTED.{}", this.stream), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        leader: String,
        replicas: Vec<PeerInfo>,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// Too few servers that have a stream can be reached.
    StreamQuorumLost = "advisory.v1.stream_quorum_lost",
    |this| format!("ADVISORY.STREAM.QUORUM_LOST.{}", this.stream), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        replicas: Vec<PeerInfo>,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A batch was given up.
    BatchAbandoned = "advisory.v1.stream_batch_abandoned",
    |this| format!("ADVISORY.STREAM.BATCH_ABANDONED.{}", this.stream), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
        batch: String,
        reason: AbandonReason,
    }

    /// A consumer has a leader.
    ConsumerLeaderElected = "advisory.v1.consumer_leader_elected",
    |this| format!("ADVISORY.CONSUMER.LEADER_ELECTED.{}.{}", this.stream, this.consumer), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        consumer: String,
        leader: String,
        replicas: Vec<PeerInfo>,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// Too few servers that have a consumer can be reached.
    ConsumerQuorumLost = "advisory.v1.consumer_quorum_lost",
    |this| format!("ADVISORY.CONSUMER.QUORUM_LOST.{}.{}", this.stream, this.consumer), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        consumer: String,
        replicas: Vec<PeerInfo>,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A group of a consumer is served by one client alone.
    GroupPinned = "advisory.v1.consumer_group_pinned",
    |this| format!("ADVISORY.CONSUMER.PINNED.{}.{}", this.stream, this.consumer), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        consumer: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
        group: String,
        pinned_id: String,
    }

    /// A group of a consumer is served by one client alone no longer.
    GroupUnpinned = "advisory.v1.consumer_group_unpinned",
    |this| format!("ADVISORY.CONSUMER.UNPINNED.{}.{}", this.stream, this.consumer), {
        #[serde(skip_serializing_if = "is_none")]
        account: String,
        stream: String,
        consumer: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
        group: String,
        reason: UnpinReason,
    }

    /// The disk is full.
    OutOfStorage = "advisory.v1.server_out_of_space",
    |_this| "ADVISORY.SERVER.OUT_OF_STORAGE", {
        server: String,
        server_id: String,
        #[serde(skip_serializing_if = "is_none")]
        stream: String,
        cluster: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// A server is no longer one of those of its domain.
    ServerRemoved = "advisory.v1.server_removed", |_this| "ADVISORY.SERVER.REMOVED", {
        server: String,
        server_id: String,
        cluster: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }

    /// Fewer servers than before have to agree, for a while.
    MetaRescue = "advisory.v1.meta_rescue", |_this| "ADVISORY.SERVER.META_RESCUE", {
        server: String,
        server_id: String,
        prev_quorum: u64,
        new_quorum: u64,
        cluster: String,
        #[serde(skip_serializing_if = "is_none")]
        domain: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<K>(kind: K) -> Event<K> {
        Event {
            id: "Lw0wCAHLzPQ3EoMVpLHfyu".into(),
            timestamp: Time::from_unix(1_700_000_000, 5),
            kind,
        }
    }

    #[test]
    fn events_begin_with_their_type() {
        let created = event(StreamAction {
            stream: "S".into(),
            action: Action::Create,
            domain: String::new(),
        });
        let want = r#"{"type":"io.nats.jetstream.advisory.v1.stream_action","id":"Lw0wCAHLzPQ3EoMVpLHfyu","timestamp":"2023-11-14T22:13:20.000000005Z","stream":"S","action":"create"}"#;
        assert_eq!(String::from_utf8(created.encode()).unwrap(), want);
        assert_eq!(
            created.kind.subject(),
            "$JS.EVENT.ADVISORY.STREAM.CREATED.S"
        );
        let ack = event(ConsumerAck {
            stream: "S".into(),
            consumer: "C".into(),
            consumer_seq: 1,
            stream_seq: 2,
            ack_time: Nanos(3),
            deliveries: 4,
            domain: "D".into(),
        });
        assert_eq!(ack.kind.subject(), "$JS.EVENT.METRIC.CONSUMER.ACK.S.C");
        let json = String::from_utf8(ack.encode()).unwrap();
        assert!(json.starts_with(r#"{"type":"io.nats.jetstream.metric.v1.consumer_ack""#));
        assert!(json.ends_with(r#""ack_time":3,"deliveries":4,"domain":"D"}"#));
    }
}
