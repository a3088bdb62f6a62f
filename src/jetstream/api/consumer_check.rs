//! Whether a consumer may be configured so, and what stands where nothing was said.
//!
//! Rules are applied in the order of the reference (`consumer.go`, 2.15), as clients are told of the
//! first one that is broken. What is adjusted is refused if the request is pedantic.

use super::consumer_config::ConsumerConfig;
use super::errors::ApiError;
use super::info::AccountLimits;
use super::policy::{AckPolicy, DeliverPolicy, PriorityPolicy, RetentionPolicy};
use super::stream_config::StreamConfig;
use super::{metadata, names};
use crate::base::text::quoted;
use crate::json::{Nanos, Time};
use crate::subject::is_valid;
use crate::subject::pattern::is_subset;

/// How long is waited for an acknowledgement.
const ACK_WAIT: Nanos = Nanos::from_secs(30);
/// Messages that may wait for one.
const MAX_ACK_PENDING: i64 = 1000;
/// Pull requests that may wait.
const MAX_WAITING: i64 = 512;
/// How long a client stays pinned that asks for nothing.
const PINNED: Nanos = Nanos::from_secs(120);
/// The heartbeat of consumers whose messages are acknowledged by flow control.
const FLOW_CONTROL_HEARTBEAT: Nanos = Nanos::from_secs(1);
/// How long a consumer that is not durable stays when nobody uses it.
const INACTIVE: Nanos = Nanos::from_secs(5);
/// Bytes of the name of a priority group.
const GROUP_MAX: usize = 16;

/// What the server allows consumers; 0 is anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerLimits {
    pub max_ack_pending: i64,
    pub max_request_batch: i64,
    /// Consumers of a stream that has no limit of its own.
    pub default_max_consumers: i64,
}

/// What a configuration is checked against.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub stream: &'a StreamConfig,
    pub account: &'a AccountLimits,
    pub server: &'a ServerLimits,
}

/// Completes a configuration.
///
/// # Errors
/// If the request is pedantic, and something would have to be adjusted.
pub fn complete(
    config: &mut ConsumerConfig,
    pedantic: bool,
    around: &Surroundings<'_>,
) -> Result<(), ApiError> {
    let refuse = |what: &str| match pedantic {
        true => Err(ApiError::pedantic(what)),
        false => Ok(()),
    };
    if config.max_deliver < -1 {
        refuse("max_deliver must be set to -1")?;
    }
    if config.max_deliver == 0 || config.max_deliver < -1 {
        config.max_deliver = -1;
    }
    if config.max_waiting < 0 {
        refuse("max_waiting must not be negative")?;
        config.max_waiting = 0;
    }
    if config.max_ack_pending < -1 {
        refuse("max_ack_pending must be set to -1")?;
        config.max_ack_pending = -1;
    }
    for (value, name) in [
        (&mut config.max_batch, "max_batch"),
        (&mut config.max_expires.0, "max_expires"),
        (&mut config.max_bytes, "max_bytes"),
        (&mut config.idle_heartbeat.0, "idle_heartbeat"),
        (&mut config.inactive_threshold.0, "inactive_threshold"),
        (&mut config.priority_timeout.0, "priority_timeout"),
    ] {
        if *value < 0 {
            refuse(&format!("{name} must not be negative"))?;
            *value = 0;
        }
    }
    if !config.is_push() && config.max_waiting == 0 {
        config.max_waiting = MAX_WAITING;
    }
    let waits = matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All);
    if config.ack_wait.is_zero() && waits {
        config.ack_wait = ACK_WAIT;
    }
    if let Some(first) = config.backoff.first() {
        if config.ack_wait != *first {
            refuse("first backoff value has to equal batch AckWait")?;
        }
        config.ack_wait = *first;
    }
    let limits = around.stream.consumer_limits;
    if config.max_ack_pending == 0 {
        if limits.max_ack_pending > 0 {
            refuse("max_ack_pending must be set if it's configured in stream limits")?;
        }
        config.max_ack_pending = limits.max_ack_pending;
    }
    if config.inactive_threshold.is_zero() {
        if limits.inactive_threshold.0 > 0 {
            refuse("inactive_threshold must be set if it's configured in stream limits")?;
        }
        config.inactive_threshold = limits.inactive_threshold;
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        let limits = [
            around.server.max_ack_pending,
            around.account.max_ack_pending,
        ];
        let least = limits.into_iter().filter(|limit| *limit > 0).min();
        config.max_ack_pending = least.unwrap_or(MAX_ACK_PENDING).min(MAX_ACK_PENDING);
    }
    let max_batch = around.server.max_request_batch;
    if !config.is_push() && config.max_batch == 0 && max_batch > 0 {
        refuse("max_request_batch must be set if it's JetStream limits are set")?;
        config.max_batch = max_batch;
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.priority_timeout.is_zero() {
        config.priority_timeout = PINNED;
    }
    if config.ack_policy == AckPolicy::FlowControl && !pedantic {
        config.flow_control = true;
        config.idle_heartbeat = FLOW_CONTROL_HEARTBEAT;
    }
    Ok(())
}

/// Checks a configuration that is complete.
///
/// # Errors
/// The first rule that is broken.
pub fn check(config: &ConsumerConfig, around: &Surroundings<'_>) -> Result<(), ApiError> {
    check_names(config)?;
    check_replicas(config, around.stream)?;
    check_acks(config)?;
    if config.description.len() > names::DESCRIPTION_MAX {
        return Err(ApiError::ConsumerDescriptionTooLong {
            max: names::DESCRIPTION_MAX,
        });
    }
    match config.is_push() {
        true => check_push(config, around.stream)?,
        false => check_pull(config, around)?,
    }
    check_limits(config, around)?;
    check_filters(config)?;
    check_start(config)?;
    check_sampling(&config.sample_freq)?;
    if config.flow_control && config.idle_heartbeat.is_zero() {
        return Err(ApiError::ConsumerWithFlowControlNeedsHeartbeats);
    }
    if config.is_durable() && !config.name.is_empty() && config.name != config.durable {
        return Err(ApiError::ConsumerCreateDurableAndNameMismatch);
    }
    if metadata::len(&config.metadata) > names::METADATA_MAX {
        let limit = format!("{}KB", names::METADATA_MAX / 1024);
        return Err(ApiError::ConsumerMetadataLength { limit });
    }
    check_groups(config)
}

fn check_names(config: &ConsumerConfig) -> Result<(), ApiError> {
    for (name, what) in [
        (&config.name, "consumer name"),
        (&config.durable, "consumer durable name"),
    ] {
        if !name.is_empty() && !names::is_valid(name) {
            return Err(ApiError::invalid_config(format!(
                "{what} can not contain '.', '*', '>', '\\', '/'"
            )));
        }
    }
    Ok(())
}

fn check_replicas(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    if config.num_replicas > 0 && config.num_replicas > stream.num_replicas {
        return Err(ApiError::ConsumerReplicasExceedsStream);
    }
    if config.num_replicas < 0 {
        return Err(ApiError::ReplicasCountCannotBeNegative);
    }
    let differs = config.num_replicas != 0 && config.num_replicas != stream.num_replicas;
    if stream.retention != RetentionPolicy::Limits && differs {
        return Err(ApiError::ConsumerReplicasShouldMatchStream);
    }
    Ok(())
}

fn check_acks(config: &ConsumerConfig) -> Result<(), ApiError> {
    if config.backoff.iter().any(|backoff| backoff.0 < 0) {
        return Err(ApiError::ConsumerBackOffNegative);
    }
    if config.ack_wait.0 < 0 {
        return Err(ApiError::ConsumerAckWaitNegative);
    }
    if config.ack_policy == AckPolicy::FlowControl {
        check_flow_control_acks(config)?;
    }
    check_backoff(config)
}

fn check_flow_control_acks(config: &ConsumerConfig) -> Result<(), ApiError> {
    if !config.is_push() {
        return Err(ApiError::ConsumerAckFcRequiresPush);
    }
    if !config.flow_control {
        return Err(ApiError::ConsumerAckFcRequiresFc);
    }
    if config.idle_heartbeat != FLOW_CONTROL_HEARTBEAT {
        return Err(ApiError::invalid_config(
            "flow control ack policy heartbeat needs to be 1s",
        ));
    }
    if config.max_ack_pending <= 0 {
        return Err(ApiError::ConsumerAckFcRequiresMaxAckPending);
    }
    if !config.ack_wait.is_zero() || !config.backoff.is_empty() {
        return Err(ApiError::ConsumerAckFcRequiresNoAckWait);
    }
    if config.max_deliver > 0 {
        return Err(ApiError::ConsumerAckFcRequiresNoMaxDeliver);
    }
    Ok(())
}

fn check_backoff(config: &ConsumerConfig) -> Result<(), ApiError> {
    let steps = i64::try_from(config.backoff.len()).unwrap_or(i64::MAX);
    match steps > 0 && config.max_deliver != -1 && steps > config.max_deliver {
        true => Err(ApiError::ConsumerMaxDeliverBackoff),
        false => Ok(()),
    }
}

fn check_push(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    let deliver = config.deliver_subject.as_bytes();
    if deliver
        .split(|byte| *byte == b'.')
        .any(crate::subject::is_wildcard_token)
    {
        return Err(ApiError::ConsumerDeliverToWildcards);
    }
    if !is_valid(deliver) {
        return Err(ApiError::ConsumerInvalidDeliverSubject);
    }
    if stream
        .subjects
        .iter()
        .any(|subject| is_subset(deliver, subject.as_bytes()))
    {
        return Err(ApiError::ConsumerDeliverCycle);
    }
    if config.max_waiting != 0 {
        return Err(ApiError::ConsumerPushMaxWaiting);
    }
    if config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None {
        return Err(ApiError::ConsumerMaxPendingAckPolicyRequired);
    }
    let heartbeat = config.idle_heartbeat;
    if heartbeat.0 > 0 && heartbeat < Nanos::from_millis(100) {
        return Err(ApiError::ConsumerSmallHeartbeat);
    }
    Ok(())
}

fn check_pull(config: &ConsumerConfig, around: &Surroundings<'_>) -> Result<(), ApiError> {
    let queue = around.stream.retention == RetentionPolicy::WorkQueue;
    if config.ack_policy == AckPolicy::None && queue {
        return Err(ApiError::ConsumerPullRequiresAck);
    }
    if config.rate_limit_bps > 0 {
        return Err(ApiError::ConsumerPullWithRateLimit);
    }
    if config.max_waiting < 0 {
        return Err(ApiError::ConsumerMaxWaitingNegative);
    }
    if config.idle_heartbeat.0 > 0 {
        return Err(ApiError::ConsumerHbRequiresPush);
    }
    if config.flow_control {
        return Err(ApiError::ConsumerFcRequiresPush);
    }
    if config.max_batch < 0 {
        return Err(ApiError::ConsumerMaxRequestBatchNegative);
    }
    let expires = config.max_expires;
    if !expires.is_zero() && expires < Nanos::from_millis(1) {
        return Err(ApiError::ConsumerMaxRequestExpiresTooSmall);
    }
    let limit = around.server.max_request_batch;
    if limit > 0 && config.max_batch > limit {
        return Err(ApiError::ConsumerMaxRequestBatchExceeded { limit });
    }
    Ok(())
}

fn check_limits(config: &ConsumerConfig, around: &Surroundings<'_>) -> Result<(), ApiError> {
    let of_stream = around.stream.consumer_limits;
    for limit in [
        around.server.max_ack_pending,
        around.account.max_ack_pending,
        of_stream.max_ack_pending,
    ] {
        if limit > 0 && config.max_ack_pending > limit {
            return Err(ApiError::ConsumerMaxPendingAckExcess { limit });
        }
    }
    let limit = of_stream.inactive_threshold;
    if limit.0 > 0 && config.inactive_threshold > limit {
        return Err(ApiError::ConsumerInactiveThresholdExcess { limit });
    }
    if config.direct && !config.is_push() {
        return Err(ApiError::ConsumerDirectRequiresPush);
    }
    if config.direct && config.is_durable() {
        return Err(ApiError::ConsumerDirectRequiresEphemeral);
    }
    Ok(())
}

fn check_filters(config: &ConsumerConfig) -> Result<(), ApiError> {
    if !config.filter_subject.is_empty() && !config.filter_subjects.is_empty() {
        return Err(ApiError::ConsumerDuplicateFilterSubjects);
    }
    if config.filter_subjects.iter().any(String::is_empty) {
        return Err(ApiError::ConsumerEmptyFilter);
    }
    let filters = config.filters();
    for (at, filter) in filters.iter().enumerate() {
        if !is_valid(filter.as_bytes()) {
            return Err(ApiError::invalid_config("invalid subject"));
        }
        let overlaps = |(other, of): (usize, &String)| {
            other != at && is_subset(filter.as_bytes(), of.as_bytes())
        };
        if filters.iter().enumerate().any(overlaps) {
            return Err(ApiError::ConsumerOverlappingSubjectFilters);
        }
    }
    Ok(())
}

fn check_start(config: &ConsumerConfig) -> Result<(), ApiError> {
    let has_seq = config.opt_start_seq > 0;
    let has_time = config.opt_start_time.is_some();
    let set = |policy: &str, start: &str| ApiError::ConsumerInvalidPolicy {
        err: format!(
            "consumer delivery policy is deliver {policy}, but optional start {start} is also set"
        ),
    };
    let missing = |policy: &str, what: &str| ApiError::ConsumerInvalidPolicy {
        err: format!(
            "consumer delivery policy is deliver {policy}, but optional {what} is not set"
        ),
    };
    let policy = match config.deliver_policy {
        DeliverPolicy::All => "all",
        DeliverPolicy::Last => "last",
        DeliverPolicy::LastPerSubject => "last per subject",
        DeliverPolicy::New => "new",
        DeliverPolicy::ByStartSequence => {
            return match (has_seq, has_time) {
                (false, _) => Err(missing("by start sequence", "start sequence")),
                (true, true) => Err(set("by start sequence", "time")),
                (true, false) => Ok(()),
            };
        }
        DeliverPolicy::ByStartTime => {
            return match (has_time, has_seq) {
                (false, _) => Err(missing("by start time", "start time")),
                (true, true) => Err(set("by start time", "start sequence")),
                (true, false) => Ok(()),
            };
        }
    };
    if has_seq {
        return Err(set(policy, "sequence"));
    }
    if has_time {
        return Err(set(policy, "time"));
    }
    if config.deliver_policy == DeliverPolicy::LastPerSubject && config.filters().is_empty() {
        return Err(missing(policy, "filter subject"));
    }
    Ok(())
}

/// Which part of the acknowledgements is sampled, in percent.
///
/// # Errors
/// 10095 if it is no number, or below 0.
pub fn check_sampling(frequency: &str) -> Result<u32, ApiError> {
    if frequency.is_empty() {
        return Ok(0);
    }
    let number = frequency.strip_suffix('%').unwrap_or(frequency);
    let refused = |err: String| Err(ApiError::ConsumerInvalidSampling { err });
    match number.parse::<i64>() {
        Ok(percent) if percent < 0 => refused("<nil>".into()),
        Ok(percent) => Ok(u32::try_from(percent).unwrap_or(u32::MAX)),
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let what = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let shown = quoted(number.as_bytes());
            refused(format!("strconv.Atoi: parsing {shown}: {what}"))
        }
    }
}

fn check_groups(config: &ConsumerConfig) -> Result<(), ApiError> {
    if config.priority_policy == PriorityPolicy::None {
        if !config.priority_groups.is_empty() {
            return Err(ApiError::ConsumerPriorityGroupWithPolicyNone);
        }
        if config.priority_timeout.0 > 0 {
            return Err(ApiError::ConsumerPinnedTtlWithoutPriorityPolicyNone);
        }
        return Ok(());
    }
    if config.is_push() {
        return Err(ApiError::ConsumerPushWithPriorityGroup);
    }
    if config.priority_groups.is_empty() {
        return Err(ApiError::ConsumerPriorityPolicyWithoutGroup);
    }
    for group in &config.priority_groups {
        if group.is_empty() {
            return Err(ApiError::ConsumerEmptyGroupName);
        }
        if !is_group_name(group) {
            return Err(ApiError::ConsumerInvalidGroupName);
        }
    }
    Ok(())
}

/// Whether a text can be the name of a priority group.
pub fn is_group_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'=' | b'-');
    (1..=GROUP_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// Checks whether a consumer can start anew at a sequence, and says at which it does; 0 asks for
/// what is behind all that was acknowledged, `ack_floor`. `first_since` is the sequence of the first
/// message since a time.
///
/// # Errors
/// 10204 if it would start before where it may.
pub fn check_reset(
    config: &ConsumerConfig,
    seq: u64,
    ack_floor: u64,
    first_since: impl FnOnce(Time) -> u64,
) -> Result<u64, ApiError> {
    let refused = |err: &str| Err(ApiError::ConsumerInvalidReset { err: err.into() });
    if seq == 0 {
        return Ok(ack_floor.saturating_add(1));
    }
    match (config.deliver_policy, config.opt_start_time) {
        (DeliverPolicy::All, _) => Ok(seq),
        (DeliverPolicy::ByStartSequence, _) if seq < config.opt_start_seq => {
            refused("below start seq")
        }
        (DeliverPolicy::ByStartSequence, _) => Ok(seq),
        (DeliverPolicy::ByStartTime, Some(time)) if seq < first_since(time) => {
            refused("below start time")
        }
        (DeliverPolicy::ByStartTime, Some(_)) => Ok(seq),
        _ => refused("not allowed"),
    }
}

/// Makes the request of a mirror or source for a consumer fit the stream that it is of: where
/// messages stay until they are acknowledged, it has to acknowledge them and to stay; elsewhere, it
/// gets a name of its own each time, by `suffix`.
pub fn adapt_sourcing(config: &mut ConsumerConfig, stream: &StreamConfig, suffix: &str) {
    if !config.direct || !config.sourcing || config.name.is_empty() {
        return;
    }
    if stream.retention == RetentionPolicy::Limits {
        config.name = format!("{}-{suffix}", config.name);
        return;
    }
    config.direct = false;
    config.durable.clone_from(&config.name);
    config.ack_policy = AckPolicy::FlowControl;
    config.ack_wait = Nanos::ZERO;
    config.max_deliver = 0;
    config.inactive_threshold = Nanos::ZERO;
}

/// Checks whether a consumer can be changed so. `is_listened_to` says whether somebody listens to
/// a subject.
///
/// # Errors
/// What can not be changed.
pub fn check_update(
    old: &ConsumerConfig,
    new: &ConsumerConfig,
    is_listened_to: impl FnOnce(&str) -> bool,
) -> Result<(), ApiError> {
    if old == new {
        return Ok(());
    }
    for (changed, what) in [
        (old.deliver_policy != new.deliver_policy, "deliver policy"),
        (old.mem_storage != new.mem_storage, "storage type"),
        (old.direct != new.direct, "direct"),
        (old.sourcing != new.sourcing, "sourcing"),
        (old.opt_start_seq != new.opt_start_seq, "start sequence"),
        (old.opt_start_time != new.opt_start_time, "start time"),
        (old.ack_policy != new.ack_policy, "ack policy"),
        (old.replay_policy != new.replay_policy, "replay policy"),
        (old.idle_heartbeat != new.idle_heartbeat, "heart beats"),
        (old.flow_control != new.flow_control, "flow control"),
    ] {
        if changed {
            return Err(ApiError::consumer_create(format!(
                "{what} can not be updated"
            )));
        }
    }
    if old.deliver_subject != new.deliver_subject {
        if !old.is_push() {
            return Err(ApiError::consumer_create(
                "can not update pull consumer to push based",
            ));
        }
        if !new.is_push() {
            return Err(ApiError::consumer_create(
                "can not update push consumer to pull based",
            ));
        }
        if is_listened_to(&old.deliver_subject) {
            return Err(ApiError::ConsumerNameExist);
        }
    }
    if old.max_waiting != new.max_waiting {
        return Err(ApiError::consumer_create("max waiting can not be updated"));
    }
    check_backoff(new)
}

/// Gives a consumer that is not durable a time after which it goes when nobody uses it.
pub fn stamp_inactive_threshold(config: &mut ConsumerConfig) {
    if !config.is_durable() && config.inactive_threshold.0 <= 0 {
        config.inactive_threshold = INACTIVE;
    }
}

/// How many replicas a consumer has.
pub fn replicas(config: &ConsumerConfig, stream: &StreamConfig) -> i64 {
    let own = config.num_replicas;
    if own != 0 && own <= stream.num_replicas {
        return own;
    }
    let single = own == 0 && !config.is_durable() && stream.retention == RetentionPolicy::Limits;
    if single { 1 } else { stream.num_replicas }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_start_anew_where_they_may() {
        let of = |deliver_policy, seq| {
            let config = ConsumerConfig {
                deliver_policy,
                opt_start_seq: 5,
                opt_start_time: Some(Time::ZERO),
                ..ConsumerConfig::default()
            };
            check_reset(&config, seq, 9, |_| 7).map_err(|error| error.to_string())
        };
        assert_eq!(of(DeliverPolicy::New, 0), Ok(10));
        assert_eq!(
            of(DeliverPolicy::New, 1),
            Err("invalid reset: not allowed".into())
        );
        assert_eq!(of(DeliverPolicy::All, 1), Ok(1));
        assert_eq!(of(DeliverPolicy::ByStartSequence, 5), Ok(5));
        let below = Err("invalid reset: below start seq".into());
        assert_eq!(of(DeliverPolicy::ByStartSequence, 4), below);
        assert_eq!(of(DeliverPolicy::ByStartTime, 7), Ok(7));
        let below = Err("invalid reset: below start time".into());
        assert_eq!(of(DeliverPolicy::ByStartTime, 6), below);
    }

    #[test]
    fn consumers_of_mirrors_fit_their_stream() {
        let asked = ConsumerConfig {
            name: "JS_MIRROR_x".into(),
            direct: true,
            sourcing: true,
            max_deliver: 1,
            ..ConsumerConfig::default()
        };
        let mut stream = StreamConfig::default();
        let mut config = asked.clone();
        adapt_sourcing(&mut config, &stream, "abc");
        assert_eq!(
            (config.name.as_str(), config.direct),
            ("JS_MIRROR_x-abc", true)
        );
        stream.retention = RetentionPolicy::Interest;
        let mut config = asked;
        adapt_sourcing(&mut config, &stream, "abc");
        assert_eq!(config.durable, "JS_MIRROR_x");
        assert_eq!(
            (config.ack_policy, config.max_deliver),
            (AckPolicy::FlowControl, 0)
        );
        assert!(!config.direct);
    }

    #[test]
    fn consumers_have_the_replicas_of_their_stream_or_fewer() {
        let stream = StreamConfig {
            num_replicas: 3,
            ..StreamConfig::default()
        };
        let mut config = ConsumerConfig::default();
        assert_eq!(replicas(&config, &stream), 1);
        config.durable = "D".into();
        assert_eq!(replicas(&config, &stream), 3);
        config.num_replicas = 1;
        assert_eq!(replicas(&config, &stream), 1);
        config.num_replicas = 5;
        assert_eq!(replicas(&config, &stream), 3);
    }
}
