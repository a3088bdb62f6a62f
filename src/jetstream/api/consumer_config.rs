//! The configuration of a consumer.
//!
//! Fields stand in the order in which the reference writes them (`consumer.go`, 2.15), and are left
//! out under the same conditions.

use super::policy::{AckPolicy, DeliverPolicy, PriorityPolicy, ReplayPolicy};
use super::stream_config::Metadata;
use crate::json::{Nanos, Time, is_none};
use serde::Serialize;

/// A consumer as it is asked for, and, checked and completed, as it is.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ConsumerConfig {
    #[serde(rename = "durable_name", skip_serializing_if = "is_none")]
    pub durable: String,
    #[serde(skip_serializing_if = "is_none")]
    pub name: String,
    #[serde(skip_serializing_if = "is_none")]
    pub description: String,
    pub deliver_policy: DeliverPolicy,
    #[serde(skip_serializing_if = "is_none")]
    pub opt_start_seq: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub opt_start_time: Option<Time>,
    pub ack_policy: AckPolicy,
    #[serde(skip_serializing_if = "is_none")]
    pub ack_wait: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub max_deliver: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub backoff: Vec<Nanos>,
    #[serde(skip_serializing_if = "is_none")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "is_none")]
    pub filter_subjects: Vec<String>,
    pub replay_policy: ReplayPolicy,
    /// Bits a second.
    #[serde(skip_serializing_if = "is_none")]
    pub rate_limit_bps: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub sample_freq: String,
    #[serde(skip_serializing_if = "is_none")]
    pub max_waiting: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub flow_control: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub headers_only: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub max_batch: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub max_expires: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub max_bytes: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub deliver_subject: String,
    #[serde(skip_serializing_if = "is_none")]
    pub deliver_group: String,
    #[serde(skip_serializing_if = "is_none")]
    pub idle_heartbeat: Nanos,
    #[serde(skip_serializing_if = "is_none")]
    pub inactive_threshold: Nanos,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub mem_storage: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub direct: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub sourcing: bool,
    #[serde(skip_serializing_if = "is_none")]
    pub metadata: Metadata,
    #[serde(skip_serializing_if = "is_none")]
    pub pause_until: Option<Time>,
    #[serde(skip_serializing_if = "is_none")]
    pub priority_groups: Vec<String>,
    #[serde(skip_serializing_if = "is_none")]
    pub priority_policy: PriorityPolicy,
    /// How long a client stays pinned that asks for nothing.
    #[serde(skip_serializing_if = "is_none")]
    pub priority_timeout: Nanos,
}

impl ConsumerConfig {
    /// Whether messages go where the consumer says, rather than where requests ask for them.
    pub fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    /// Whether the consumer stays when nobody uses it.
    pub fn is_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// All subjects that it is about; none stands for all of the stream's.
    pub fn filters(&self) -> &[String] {
        match self.filter_subject.is_empty() {
            false => std::slice::from_ref(&self.filter_subject),
            true => &self.filter_subjects,
        }
    }
}
