//! What is told of streams, consumers and accounts.

use super::consumer_config::ConsumerConfig;
use super::errors::ApiError;
use super::policy::RetentionPolicy;
use super::stream_config::{ExternalStream, Placement, StreamConfig, SubjectTransform};
use crate::json::{Nanos, Time, is_none};
use serde::Serialize;
use std::collections::BTreeMap;

/// A stream and how it does.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StreamInfo {
    pub config: StreamConfig,
    pub created: Time,
    pub state: StreamState,
    #[serde(skip_serializing_if = "is_none")]
    pub domain: String,
    #[serde(skip_serializing_if = "is_none")]
    pub cluster: Option<ClusterInfo>,
    #[serde(skip_serializing_if = "is_none")]
    pub mirror: Option<SourceInfo>,
    #[serde(skip_serializing_if = "is_none")]
    pub sources: Vec<SourceInfo>,
    #[serde(skip_serializing_if = "is_none")]
    pub alternates: Vec<StreamAlternate>,
    /// When this was so.
    pub ts: Time,
}

/// What is in a stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub first_ts: Time,
    pub last_seq: u64,
    pub last_ts: Time,
    #[serde(skip_serializing_if = "is_none")]
    pub num_subjects: u64,
    /// Messages by subject.
    #[serde(skip_serializing_if = "is_none")]
    pub subjects: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_none")]
    pub num_deleted: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub deleted: Vec<u64>,
    #[serde(skip_serializing_if = "is_none")]
    pub lost: Option<LostStreamData>,
    pub consumer_count: u64,
}

/// Messages that were there and could not be read.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct LostStreamData {
    pub msgs: Vec<u64>,
    pub bytes: u64,
}

/// The servers that have a stream or consumer.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ClusterInfo {
    #[serde(skip_serializing_if = "is_none")]
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub raft_group: String,
    #[serde(skip_serializing_if = "is_none")]
    pub leader: String,
    #[serde(skip_serializing_if = "is_none")]
    pub leader_since: Option<Time>,
    #[serde(skip_serializing_if = "is_none")]
    pub system_account: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub traffic_account: String,
    /// All but the leader.
    #[serde(skip_serializing_if = "is_none")]
    pub replicas: Vec<PeerInfo>,
    #[serde(skip_serializing_if = "is_none")]
    pub desired: Option<DesiredClusterInfo>,
}

/// One of several servers that have it.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct PeerInfo {
    pub name: String,
    pub current: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub offline: bool,
    /// How long ago it was heard of.
    pub active: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub lag: u64,
    pub peer: String,
    #[serde(skip_serializing_if = "is_none")]
    pub pending: bool,
}

/// The servers that are to have it, while that changes.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DesiredClusterInfo {
    pub created: Time,
    #[serde(skip_serializing_if = "is_none")]
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub replicas: Vec<DesiredPeerInfo>,
    #[serde(skip_serializing_if = "is_none")]
    pub origin: Option<DesiredOrigin>,
    #[serde(skip_serializing_if = "is_none")]
    pub status: Option<DesiredStatus>,
}

/// One of the servers that are to have it.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DesiredPeerInfo {
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub offline: bool,
    pub peer: String,
}

/// What was, before it began to change.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DesiredOrigin {
    pub replicas: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub placement: Option<Placement>,
    #[serde(skip_serializing_if = "is_none")]
    pub retention: Option<RetentionPolicy>,
}

/// What a change waits for.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DesiredStatus {
    pub description: String,
    pub r#type: String,
    #[serde(skip_serializing_if = "is_none")]
    pub err: String,
}

/// How far a stream has got with what it takes from another.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct SourceInfo {
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub external: Option<ExternalStream>,
    /// Messages that are still to come.
    pub lag: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub seq: u64,
    /// How long ago it was heard of; -1 if never.
    pub active: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub error: Option<ApiError>,
    #[serde(skip_serializing_if = "is_none")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "is_none")]
    pub subject_transforms: Vec<SubjectTransform>,
}

/// A mirror that can be read from instead.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StreamAlternate {
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub domain: String,
    pub cluster: String,
}

/// A consumer and how it does.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ConsumerInfo {
    pub stream_name: String,
    pub name: String,
    pub created: Time,
    #[serde(skip_serializing_if = "is_none")]
    pub config: Option<ConsumerConfig>,
    pub delivered: SequenceInfo,
    pub ack_floor: SequenceInfo,
    pub num_ack_pending: u64,
    pub num_redelivered: u64,
    pub num_waiting: u64,
    pub num_pending: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub cluster: Option<ClusterInfo>,
    #[serde(skip_serializing_if = "is_none")]
    pub push_bound: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub paused: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub pause_remaining: Nanos,
    /// When this was so.
    pub ts: Time,
    #[serde(skip_serializing_if = "is_none")]
    pub priority_groups: Vec<PriorityGroupState>,
}

/// A message, counted by the consumer and by the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SequenceInfo {
    pub consumer_seq: u64,
    pub stream_seq: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub last_active: Option<Time>,
}

/// Who is pinned in a group.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct PriorityGroupState {
    pub group: String,
    #[serde(skip_serializing_if = "is_none")]
    pub pinned_client_id: String,
    pub pinned_ts: Time,
}

/// What an account may use of JetStream; -1 is anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AccountLimits {
    pub max_memory: i64,
    pub max_storage: i64,
    pub max_streams: i64,
    pub max_consumers: i64,
    pub max_ack_pending: i64,
    pub memory_max_stream_bytes: i64,
    pub storage_max_stream_bytes: i64,
    pub max_bytes_required: bool,
}

impl AccountLimits {
    /// Anything goes.
    pub const UNLIMITED: AccountLimits = AccountLimits {
        max_memory: -1,
        max_storage: -1,
        max_streams: -1,
        max_consumers: -1,
        max_ack_pending: -1,
        memory_max_stream_bytes: -1,
        storage_max_stream_bytes: -1,
        max_bytes_required: false,
    };
}

/// What an account uses and may use, of all or of one tier.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct AccountTier {
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub streams: u64,
    pub consumers: u64,
    pub limits: AccountLimits,
}

/// What an account uses and may use.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct AccountStats {
    #[serde(flatten)]
    pub total: AccountTier,
    #[serde(skip_serializing_if = "is_none")]
    pub domain: String,
    pub api: ApiStats,
    #[serde(skip_serializing_if = "is_none")]
    pub tiers: BTreeMap<String, AccountTier>,
}

/// Requests to the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ApiStats {
    /// The level of the API, see [`super::LEVEL`].
    pub level: u16,
    pub total: u64,
    /// Those that were refused.
    pub errors: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub inflight: u64,
}
