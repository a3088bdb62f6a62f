//! The bodies of requests to the API.

use super::consumer_config::ConsumerConfig;
use super::info::StreamState;
use super::policy::ConsumerAction;
use super::stream_config::{Placement, StreamConfig};
use crate::json::{Time, is_none};
use serde::Serialize;

/// `STREAM.CREATE` and `STREAM.UPDATE`
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StreamConfigRequest {
    #[serde(flatten)]
    pub config: StreamConfig,
    /// Whether what would have to be adjusted is refused.
    #[serde(skip_serializing_if = "is_none")]
    pub pedantic: bool,
}

/// `CONSUMER.CREATE` and `CONSUMER.DURABLE.CREATE`
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ConsumerCreateRequest {
    pub stream_name: String,
    pub config: ConsumerConfig,
    pub action: ConsumerAction,
    /// Whether what would have to be adjusted is refused.
    #[serde(skip_serializing_if = "is_none")]
    pub pedantic: bool,
}

/// `STREAM.NAMES` and `STREAM.LIST`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamListRequest {
    pub offset: i64,
    /// Only streams with subjects that overlap with this one.
    pub subject: String,
}

/// `CONSUMER.NAMES` and `CONSUMER.LIST`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConsumerListRequest {
    pub offset: i64,
}

/// `STREAM.INFO`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamInfoRequest {
    pub offset: i64,
    pub deleted_details: bool,
    /// Subjects of which it is told how many messages they have.
    pub subjects_filter: String,
}

/// `STREAM.PURGE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamPurgeRequest {
    /// Only messages before this one; 0 for all.
    pub seq: u64,
    /// Only messages on subjects that this one matches.
    pub filter: String,
    /// How many of the newest stay.
    pub keep: u64,
}

/// `STREAM.MSG.GET` and `DIRECT.GET`: which message, or messages, are asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MsgGetRequest {
    pub seq: u64,
    pub last_by_subj: String,
    pub next_by_subj: String,
    pub batch: i64,
    pub max_bytes: i64,
    pub start_time: Option<Time>,
    pub multi_last: Vec<String>,
    pub up_to_seq: u64,
    pub up_to_time: Option<Time>,
    pub no_hdr: bool,
}

/// `STREAM.MSG.DELETE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MsgDeleteRequest {
    pub seq: u64,
    /// Whether the bytes may stay where they are.
    pub no_erase: bool,
}

/// `STREAM.SNAPSHOT`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamSnapshotRequest {
    pub deliver_subject: String,
    pub no_consumers: bool,
    /// Bytes; 0 for the default.
    pub chunk_size: i64,
    /// Bytes that may be on their way; 0 for the default.
    pub window_size: i64,
    /// Whether messages are checked before.
    pub jsck: bool,
}

/// `STREAM.RESTORE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamRestoreRequest {
    pub config: StreamConfig,
    pub state: StreamState,
}

/// `STREAM.PEER.REMOVE` and `STREAM.PEER.EVACUATE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PeerRequest {
    pub peer: String,
}

/// `STREAM.LEADER.STEPDOWN`, `CONSUMER.LEADER.STEPDOWN` and `META.LEADER.STEPDOWN`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LeaderStepDownRequest {
    pub placement: Option<Placement>,
}

/// `CONSUMER.PAUSE`: a time that has gone by, or none, resumes it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConsumerPauseRequest {
    pub pause_until: Time,
}

/// `CONSUMER.UNPIN`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConsumerUnpinRequest {
    pub group: String,
}

/// `CONSUMER.RESET`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConsumerResetRequest {
    pub seq: u64,
}

/// `SERVER.REMOVE` and `SERVER.EVACUATE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetaServerRequest {
    /// The name of the server.
    pub peer: String,
    pub peer_id: String,
}

/// `META.RESCUE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetaRescueRequest {
    pub quorum_needed: i64,
}

/// `ACCOUNT.STREAM.MOVE`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetaStreamMoveRequest {
    pub server: String,
    pub cluster: String,
    pub domain: String,
    pub tags: Vec<String>,
}
