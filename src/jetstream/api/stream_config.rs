//! The configuration of a stream.
//!
//! Fields stand in the order in which the reference writes them (`stream.go`, 2.15), and are left out
//! under the same conditions.

use super::policy::{DiscardPolicy, PersistMode, RetentionPolicy, StorageType, StoreCompression};
use crate::json::{Nanos, Time, is_none};
use serde::Serialize;
use std::collections::BTreeMap;

/// Texts that users attach to streams and consumers, and the server a few of its own.
pub type Metadata = BTreeMap<String, String>;

/// A stream as it is asked for, and, checked and completed, as it is.
///
/// Limits of -1 are none; of what was asked for, so are those of 0.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StreamConfig {
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub description: String,
    #[serde(skip_serializing_if = "is_none")]
    pub subjects: Vec<String>,
    pub retention: RetentionPolicy,
    pub max_consumers: i64,
    pub max_msgs: i64,
    pub max_bytes: i64,
    pub max_age: Nanos,
    pub max_msgs_per_subject: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub max_msg_size: i32,
    pub discard: DiscardPolicy,
    pub storage: StorageType,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub no_ack: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub duplicate_window: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub placement: Option<Placement>,
    #[serde(skip_serializing_if = "is_none")]
    pub mirror: Option<StreamSource>,
    #[serde(skip_serializing_if = "is_none")]
    pub sources: Vec<StreamSource>,
    pub compression: StoreCompression,
    #[serde(skip_serializing_if = "is_none")]
    pub first_seq: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub subject_transform: Option<SubjectTransform>,
    #[serde(skip_serializing_if = "is_none")]
    pub republish: Option<RePublish>,
    pub allow_direct: bool,
    pub mirror_direct: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub discard_new_per_subject: bool,
    pub sealed: bool,
    pub deny_delete: bool,
    pub deny_purge: bool,
    pub allow_rollup_hdrs: bool,
    pub consumer_limits: ConsumerLimits,
    pub allow_msg_ttl: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub subject_delete_marker_ttl: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub allow_msg_counter: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub allow_atomic: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub allow_msg_schedules: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub persist_mode: PersistMode,
    #[serde(skip_serializing_if = "is_none")]
    pub allow_batched: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub metadata: Metadata,
}

/// Which servers of a cluster are to have it.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Placement {
    #[serde(skip_serializing_if = "is_none")]
    pub cluster: String,
    #[serde(skip_serializing_if = "is_none")]
    pub tags: Vec<String>,
    /// The server that is to lead; in requests to step down only.
    #[serde(skip_serializing_if = "is_none")]
    pub preferred: String,
}

/// Another stream that this one takes messages from.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StreamSource {
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub opt_start_seq: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub opt_start_time: Option<Time>,
    #[serde(skip_serializing_if = "is_none")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "is_none")]
    pub subject_transforms: Vec<SubjectTransform>,
    #[serde(skip_serializing_if = "is_none")]
    pub external: Option<ExternalStream>,
    #[serde(skip_serializing_if = "is_none")]
    pub consumer: Option<StreamConsumerSource>,
}

/// Where the API of another account or domain is found.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct ExternalStream {
    /// What stands in place of `$JS.API`.
    #[serde(rename = "api")]
    pub api_prefix: String,
    /// What stands before subjects that messages are delivered on.
    #[serde(rename = "deliver")]
    pub deliver_prefix: String,
}

impl ExternalStream {
    /// The domain, which is the second token of the API's prefix; empty if there is none.
    pub fn domain(&self) -> &str {
        self.api_prefix.split('.').nth(1).unwrap_or_default()
    }
}

/// A consumer that was made for a stream that takes messages from another.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct StreamConsumerSource {
    #[serde(skip_serializing_if = "is_none")]
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub deliver_subject: String,
}

/// Subjects that become others: see [`crate::subject::transform`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct SubjectTransform {
    #[serde(rename = "src")]
    pub source: String,
    #[serde(rename = "dest")]
    pub destination: String,
}

/// Where messages are published again when they are stored.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct RePublish {
    #[serde(rename = "src", skip_serializing_if = "is_none")]
    pub source: String,
    #[serde(rename = "dest")]
    pub destination: String,
    #[serde(skip_serializing_if = "is_none")]
    pub headers_only: bool,
}

/// What a stream allows its consumers; 0 is anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ConsumerLimits {
    #[serde(skip_serializing_if = "is_none")]
    pub inactive_threshold: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub max_ack_pending: i64,
}
