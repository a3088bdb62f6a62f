//! The bodies of requests to the API.

use super::consumer_check::is_group_name;
use super::consumer_config::ConsumerConfig;
use super::errors::ApiError;
use super::info::StreamState;
use super::policy::ConsumerAction;
use super::stream_config::{Placement, StreamConfig};
use crate::json::{Time, is_none};
use crate::subject::is_literal;
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

/// `STREAM.NAMES`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamNamesRequest {
    pub offset: i64,
    /// Only streams with subjects that overlap with this one.
    pub subject: String,
}

/// `STREAM.LIST`
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

impl StreamPurgeRequest {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// 10003 if both a sequence and a number to keep are given.
    pub fn check(&self) -> Result<(), ApiError> {
        match self.seq > 0 && self.keep > 0 {
            true => Err(ApiError::BadRequest),
            false => Ok(()),
        }
    }
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

/// Bytes of a chunk where nothing is said, and the least and most there may be.
const CHUNK: i64 = 128 * 1024;
const CHUNK_MIN: i64 = 1024;
const CHUNK_MAX: i64 = 1024 * 1024;
/// The same of a window; the least is that of a chunk.
const WINDOW: i64 = 8 * 1024 * 1024;
const WINDOW_MAX: i64 = 32 * 1024 * 1024;

impl StreamSnapshotRequest {
    /// How a backup is sent: bytes of a chunk, and how many may be on their way.
    ///
    /// # Errors
    /// 10015 if there is no subject to send it to.
    pub fn flow(&self) -> Result<(u64, u64), ApiError> {
        if !is_literal(self.deliver_subject.as_bytes()) {
            return Err(ApiError::SnapshotDeliverSubjectInvalid);
        }
        let or = |size: i64, default: i64| if size == 0 { default } else { size };
        let chunk = or(self.chunk_size, CHUNK).clamp(CHUNK_MIN, CHUNK_MAX);
        let window = or(self.window_size, WINDOW)
            .clamp(CHUNK_MIN, WINDOW_MAX)
            .max(chunk);
        Ok((chunk.unsigned_abs(), (window / chunk).unsigned_abs()))
    }
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

impl ConsumerUnpinRequest {
    /// Refuses what is no group.
    ///
    /// # Errors
    /// 10025 if none is named, 10162 if it is no name of one.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.group.is_empty() {
            return Err(ApiError::invalid_json("consumer group not specified"));
        }
        match is_group_name(&self.group) {
            true => Ok(()),
            false => Err(ApiError::ConsumerInvalidGroupName),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_sent_in_bounds() {
        let flow = |chunk_size, window_size| {
            let request = StreamSnapshotRequest {
                deliver_subject: "d".into(),
                chunk_size,
                window_size,
                ..StreamSnapshotRequest::default()
            };
            request.flow().unwrap()
        };
        assert_eq!(flow(0, 0), (128 * 1024, 64));
        assert_eq!(flow(-5, -5), (1024, 1));
        assert_eq!(flow(i64::MAX, 1), (1024 * 1024, 1));
        assert_eq!(flow(1, i64::MAX), (1024, 32 * 1024));
        for subject in ["", "a.*", "a..b"] {
            let request = StreamSnapshotRequest {
                deliver_subject: subject.into(),
                ..StreamSnapshotRequest::default()
            };
            assert_eq!(request.flow(), Err(ApiError::SnapshotDeliverSubjectInvalid));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut purge = StreamPurgeRequest {
            seq: 5,
            ..StreamPurgeRequest::default()
        };
        assert_eq!(purge.check(), Ok(()));
        purge.keep = 1;
        assert_eq!(purge.check(), Err(ApiError::BadRequest));
        let unpin = |group: &str| ConsumerUnpinRequest {
            group: group.into(),
        };
        assert_eq!(unpin("a").check(), Ok(()));
        assert_eq!(
            unpin("a b").check(),
            Err(ApiError::ConsumerInvalidGroupName)
        );
    }
}
