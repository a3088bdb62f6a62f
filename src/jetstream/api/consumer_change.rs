//! Consumers that are made and changed by requests: which of them are allowed.

use super::consumer_check::{
    Surroundings, check, check_update, complete, stamp_inactive_threshold,
};
use super::consumer_config::ConsumerConfig;
use super::errors::ApiError;
use super::policy::{AckPolicy, ConsumerAction, DeliverPolicy, RetentionPolicy};
use super::request::ConsumerCreateRequest;
use super::subjects::ConsumerTarget;
use super::{metadata, names};
use crate::subject::pattern::overlaps;

/// The consumers of the stream.
pub trait Consumers {
    /// The consumer by this name.
    fn consumer(&self, name: &str) -> Option<&ConsumerConfig>;

    /// How many there are, without those that the server made for mirrors and sources.
    fn count(&self) -> usize;

    /// Whether a consumer by another name than `except` could be given messages on this subject,
    /// without those that the server made for mirrors and sources.
    fn is_taken(&self, filter: &str, except: &str) -> bool;

    /// Whether somebody listens to a subject.
    fn is_listened_to(&self, subject: &str) -> bool;
}

/// What a request comes to.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A consumer that there is not yet. If it has no name, it is to be given one.
    New(Box<ConsumerConfig>),
    /// The consumer by this name is to be configured so; it may be just so already.
    Update(Box<ConsumerConfig>),
}

/// Makes a request agree with the subject it came on.
///
/// # Errors
/// How they contradict each other.
pub fn apply_target(
    request: &mut ConsumerCreateRequest,
    target: ConsumerTarget<'_>,
) -> Result<(), ApiError> {
    let config = &mut request.config;
    if target.stream() != request.stream_name {
        return Err(ApiError::StreamMismatch);
    }
    if names::is_path(target.consumer().unwrap_or(&config.name)) {
        return Err(ApiError::ConsumerNameContainsPathSeparators);
    }
    match target {
        ConsumerTarget::Ephemeral { .. } => {
            if config.is_durable() {
                return Err(ApiError::ConsumerEphemeralWithDurableName);
            }
        }
        ConsumerTarget::Durable { consumer, .. } => {
            if !config.is_durable() {
                return Err(ApiError::ConsumerDurableNameNotSet);
            }
            if config.durable != consumer {
                return Err(ApiError::ConsumerDurableNameNotMatchSubject);
            }
            config.name = consumer.into();
        }
        ConsumerTarget::Named {
            consumer, filter, ..
        } => {
            if config.is_durable() && config.durable != consumer {
                return Err(ApiError::ConsumerDurableNameNotMatchSubject);
            }
            config.name = consumer.into();
            if let Some(filter) = filter {
                if !config.filter_subjects.is_empty() {
                    return Err(ApiError::ConsumerMultipleFiltersNotAllowed);
                }
                if config.filter_subject != filter {
                    return Err(ApiError::ConsumerCreateFilterSubjectMismatch);
                }
            }
        }
    }
    match config.num_replicas > 1 {
        true => Err(ApiError::StreamReplicasNotSupported),
        false => Ok(()),
    }
}

/// Checks a request to make or change a consumer, which agrees with its subject.
///
/// # Errors
/// The first rule that is broken.
pub fn plan(
    mut request: ConsumerCreateRequest,
    consumers: &dyn Consumers,
    around: &Surroundings<'_>,
) -> Result<Change, ApiError> {
    let config = &mut request.config;
    // A pause ends or begins by a request of its own.
    if let Some(existing) = consumers.consumer(&config.name) {
        config.pause_until = existing.pause_until;
    }
    let level = metadata::consumer_level(config);
    metadata::set_required(&mut config.metadata, level);
    complete(config, request.pedantic, around)?;
    check(config, around)?;
    let name = match config.is_durable() {
        true => config.durable.clone(),
        false => config.name.clone(),
    };
    let existing = (!name.is_empty())
        .then(|| consumers.consumer(&name))
        .flatten();
    if let Some(existing) = existing {
        return change(request, existing, consumers, around);
    }
    if request.action == ConsumerAction::Update {
        return Err(ApiError::ConsumerDoesNotExist);
    }
    check_new(config, &name, consumers, around)?;
    stamp_inactive_threshold(config);
    Ok(Change::New(Box::new(request.config)))
}

fn change(
    request: ConsumerCreateRequest,
    existing: &ConsumerConfig,
    consumers: &dyn Consumers,
    around: &Surroundings<'_>,
) -> Result<Change, ApiError> {
    let mut config = request.config;
    if request.action == ConsumerAction::Create {
        metadata::copy_required(&mut config.metadata, &existing.metadata);
        if config != *existing {
            return Err(ApiError::ConsumerAlreadyExists);
        }
    }
    if around.stream.retention == RetentionPolicy::WorkQueue
        && config
            .filters()
            .iter()
            .any(|filter| consumers.is_taken(filter, &config.name))
    {
        return Err(ApiError::ConsumerWqConsumerNotUnique);
    }
    check_update(existing, &config, |subject| {
        consumers.is_listened_to(subject)
    })?;
    // As in the reference, this comes too late for the comparison above: one that is not durable is
    // never just so when it is asked for again without a threshold.
    stamp_inactive_threshold(&mut config);
    Ok(Change::Update(Box::new(config)))
}

fn check_new(
    config: &ConsumerConfig,
    name: &str,
    consumers: &dyn Consumers,
    around: &Surroundings<'_>,
) -> Result<(), ApiError> {
    let internal = config.direct || config.sourcing;
    let count = i64::try_from(consumers.count()).unwrap_or(i64::MAX);
    let max = consumers_max(around);
    if !internal && max > 0 && count >= max {
        return Err(ApiError::MaximumConsumersLimit);
    }
    if !internal && around.stream.retention == RetentionPolicy::WorkQueue {
        let acks = matches!(
            config.ack_policy,
            AckPolicy::Explicit | AckPolicy::FlowControl
        );
        if !acks {
            return Err(ApiError::ConsumerWqRequiresExplicitAck);
        }
        if config.deliver_policy != DeliverPolicy::All {
            return Err(ApiError::ConsumerWqConsumerNotDeliverAll);
        }
        if count > 0 {
            let filters = config.filters();
            if filters.is_empty() {
                return Err(ApiError::ConsumerWqMultipleUnfiltered);
            }
            if filters
                .iter()
                .any(|filter| consumers.is_taken(filter, name))
            {
                return Err(ApiError::ConsumerWqConsumerNotUnique);
            }
        }
    }
    // The reference lets a longer name pass that is not durable, and then fails to make its files.
    match name.len() > names::NAME_MAX {
        true => Err(ApiError::ConsumerNameTooLong {
            max: names::NAME_MAX,
        }),
        false => Ok(()),
    }
}

/// How many consumers a stream may have; 0 or less for any number.
fn consumers_max(around: &Surroundings<'_>) -> i64 {
    let (of_stream, of_account) = (around.stream.max_consumers, around.account.max_consumers);
    let mut max = of_stream;
    if max <= 0 || (of_account > 0 && of_account < max) {
        max = of_account;
    }
    if max <= 0 {
        around.server.default_max_consumers
    } else {
        max
    }
}

/// Whether one of a consumer's filters overlaps with a subject; one without a filter is about all.
pub fn is_about(config: &ConsumerConfig, subject: &str) -> bool {
    let filters = config.filters();
    let meets = |filter: &String| overlaps(filter.as_bytes(), subject.as_bytes());
    filters.is_empty() || filters.iter().any(meets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::api::consumer_check::ServerLimits;
    use crate::jetstream::api::info::AccountLimits;
    use crate::jetstream::api::stream_config::{ConsumerLimits, StreamConfig};
    use crate::json::decode::request;
    use crate::json::{Nanos, Time};
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct There(BTreeMap<String, ConsumerConfig>);

    impl Consumers for There {
        fn consumer(&self, name: &str) -> Option<&ConsumerConfig> {
            self.0.get(name)
        }

        fn count(&self) -> usize {
            self.0.len()
        }

        fn is_taken(&self, filter: &str, except: &str) -> bool {
            self.0
                .iter()
                .any(|(name, config)| name != except && is_about(config, filter))
        }

        fn is_listened_to(&self, subject: &str) -> bool {
            subject == "busy"
        }
    }

    fn stream() -> StreamConfig {
        StreamConfig {
            name: "S".into(),
            subjects: vec!["s.>".into()],
            num_replicas: 1,
            max_consumers: -1,
            ..StreamConfig::default()
        }
    }

    /// What a request with this configuration comes to.
    fn asked(
        rest: &str,
        config: &str,
        stream: &StreamConfig,
        there: &There,
    ) -> Result<Change, ApiError> {
        let text = format!(r#"{{"stream_name":"S","config":{config}{rest}}}"#);
        let request = request::<ConsumerCreateRequest>(text.as_bytes(), true)
            .unwrap()
            .value;
        let server = ServerLimits {
            max_request_batch: 50,
            ..ServerLimits::default()
        };
        let around = Surroundings {
            stream,
            account: &AccountLimits::UNLIMITED,
            server: &server,
        };
        plan(request, there, &around)
    }

    fn made(config: &str) -> ConsumerConfig {
        match asked("", config, &stream(), &There::default()) {
            Ok(Change::New(config)) => *config,
            other => panic!("{config}: {other:?}"),
        }
    }

    fn refused(config: &str) -> (u16, String) {
        let error = asked("", config, &stream(), &There::default()).unwrap_err();
        (error.err_code(), error.to_string())
    }

    #[test]
    fn what_was_not_said_is_completed() {
        let pull = made(r#"{"ack_policy":"explicit"}"#);
        assert_eq!(
            (pull.ack_wait, pull.max_deliver),
            (Nanos::from_secs(30), -1)
        );
        assert_eq!((pull.max_waiting, pull.max_ack_pending), (512, 1000));
        assert_eq!(pull.inactive_threshold, Nanos::from_secs(5));
        assert_eq!((pull.max_batch, pull.num_replicas), (50, 0));
        assert_eq!(pull.metadata["_nats.req.level"], "0");
        let push =
            made(r#"{"durable_name":"D","deliver_subject":"d","backoff":[5,6],"max_deliver":3}"#);
        assert_eq!(
            (push.ack_wait, push.max_waiting, push.max_batch),
            (Nanos(5), 0, 0)
        );
        assert_eq!(
            (push.max_ack_pending, push.inactive_threshold),
            (0, Nanos::ZERO)
        );
        let flow = made(r#"{"ack_policy":"flow_control","deliver_subject":"d"}"#);
        assert!(flow.flow_control);
        assert_eq!(flow.idle_heartbeat, Nanos::from_secs(1));
        assert_eq!(flow.metadata["_nats.req.level"], "4");
        let pinned = made(r#"{"priority_policy":"pinned_client","priority_groups":["A"]}"#);
        assert_eq!(pinned.priority_timeout, Nanos::from_secs(120));
    }

    #[test]
    fn rules_are_told_of() {
        for (config, code, text) in [
            (
                r#"{"name":"a b"}"#,
                10052,
                "consumer name can not contain '.', '*', '>', '\\', '/'",
            ),
            (
                r#"{"num_replicas":2}"#,
                10126,
                "consumer config replica count exceeds parent stream",
            ),
            (
                r#"{"num_replicas":-1}"#,
                10133,
                "replicas count cannot be negative",
            ),
            (
                r#"{"backoff":[-1],"max_deliver":2}"#,
                10184,
                "consumer backoff needs to be positive",
            ),
            (
                r#"{"ack_wait":-1}"#,
                10183,
                "consumer ack wait needs to be positive",
            ),
            (
                r#"{"ack_policy":"flow_control"}"#,
                10218,
                "flow control ack policy requires a push based consumer",
            ),
            (
                r#"{"backoff":[1,2],"max_deliver":1}"#,
                10116,
                "max deliver is required to be > length of backoff values",
            ),
            (
                r#"{"deliver_subject":"d.*"}"#,
                10079,
                "consumer deliver subject has wildcards",
            ),
            (
                r#"{"deliver_subject":"d..e"}"#,
                10112,
                "invalid push consumer deliver subject",
            ),
            (
                r#"{"deliver_subject":"s.a"}"#,
                10081,
                "consumer deliver subject forms a cycle",
            ),
            (
                r#"{"deliver_subject":"d","max_waiting":1}"#,
                10080,
                "consumer in push mode can not set max waiting",
            ),
            (
                r#"{"deliver_subject":"d","max_ack_pending":1}"#,
                10082,
                "consumer requires ack policy for max ack pending",
            ),
            (
                r#"{"deliver_subject":"d","idle_heartbeat":1}"#,
                10083,
                "consumer idle heartbeat needs to be >= 100ms",
            ),
            (
                r#"{"deliver_subject":"d","flow_control":true}"#,
                10108,
                "consumer with flow control also needs heartbeats",
            ),
            (
                r#"{"rate_limit_bps":1}"#,
                10086,
                "consumer in pull mode can not have rate limit set",
            ),
            (
                r#"{"idle_heartbeat":1}"#,
                10088,
                "consumer idle heartbeat requires a push based consumer",
            ),
            (
                r#"{"flow_control":true}"#,
                10089,
                "consumer flow control requires a push based consumer",
            ),
            (
                r#"{"max_expires":1}"#,
                10115,
                "consumer max request expires needs to be >= 1ms",
            ),
            (
                r#"{"max_batch":51}"#,
                10125,
                "consumer max request batch exceeds server limit of 50",
            ),
            (
                r#"{"direct":true}"#,
                10090,
                "consumer direct requires a push based consumer",
            ),
            (
                r#"{"filter_subject":"a","filter_subjects":["b"]}"#,
                10136,
                "consumer cannot have both FilterSubject and FilterSubjects specified",
            ),
            (
                r#"{"filter_subjects":["a",""]}"#,
                10139,
                "consumer filter in FilterSubjects cannot be empty",
            ),
            (
                r#"{"filter_subjects":["a.>","a.b"]}"#,
                10138,
                "consumer subject filters cannot overlap",
            ),
            (r#"{"filter_subject":"a..b"}"#, 10052, "invalid subject"),
            (
                r#"{"opt_start_seq":5}"#,
                10094,
                "consumer delivery policy is deliver all, but optional start sequence is also set",
            ),
            (
                r#"{"deliver_policy":"by_start_time"}"#,
                10094,
                "consumer delivery policy is deliver by start time, but optional start time is not set",
            ),
            (
                r#"{"deliver_policy":"last_per_subject"}"#,
                10094,
                "consumer delivery policy is deliver last per subject, but optional filter subject is not set",
            ),
            (
                r#"{"sample_freq":"x%"}"#,
                10095,
                r#"failed to parse consumer sampling configuration: strconv.Atoi: parsing "x": invalid syntax"#,
            ),
            (
                r#"{"durable_name":"a","name":"b"}"#,
                10132,
                "Consumer Durable and Name have to be equal if both are provided",
            ),
            (
                r#"{"priority_policy":"overflow"}"#,
                10159,
                "Setting PriorityPolicy requires at least one PriorityGroup to be set",
            ),
            (
                r#"{"priority_groups":["A"]}"#,
                10196,
                "consumer can not have priority groups when policy is none",
            ),
            (
                r#"{"priority_timeout":1}"#,
                10197,
                "PinnedTTL cannot be set when PriorityPolicy is none",
            ),
            (
                r#"{"priority_policy":"overflow","priority_groups":[""]}"#,
                10161,
                "Group name cannot be an empty string",
            ),
            (
                r#"{"priority_policy":"overflow","priority_groups":["a b"]}"#,
                10162,
                "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters",
            ),
        ] {
            let text = text.replace("\\\\", "\\");
            assert_eq!(refused(config), (code, text), "{config}");
        }
        let limited = StreamConfig {
            consumer_limits: ConsumerLimits {
                inactive_threshold: Nanos::from_secs(60),
                max_ack_pending: 10,
            },
            ..stream()
        };
        let of = |config: &str| asked("", config, &limited, &There::default());
        let excess = ApiError::ConsumerMaxPendingAckExcess { limit: 10 };
        assert_eq!(
            of(r#"{"ack_policy":"explicit","max_ack_pending":11}"#),
            Err(excess)
        );
        let limit = Nanos::from_secs(60);
        let excess = ApiError::ConsumerInactiveThresholdExcess { limit };
        assert_eq!(of(r#"{"inactive_threshold":60000000001}"#), Err(excess));
    }

    #[test]
    fn what_would_be_adjusted_is_refused_in_pedantic_mode() {
        let of = |config: &str| {
            let pedantic = r#","pedantic":true"#;
            asked(pedantic, config, &stream(), &There::default())
                .unwrap_err()
                .to_string()
        };
        let text = "pedantic mode: max_waiting must not be negative";
        assert_eq!(of(r#"{"max_waiting":-1}"#), text);
        let text = "pedantic mode: first backoff value has to equal batch AckWait";
        assert_eq!(of(r#"{"backoff":[5],"ack_policy":"explicit"}"#), text);
        let text = "pedantic mode: max_request_batch must be set if it's JetStream limits are set";
        assert_eq!(of("{}"), text);
    }

    #[test]
    fn consumers_are_created_and_updated() {
        let mut there = There::default();
        let config = r#"{"durable_name":"D","name":"D","ack_policy":"explicit"}"#;
        let kept = made(config);
        there.0.insert("D".into(), kept.clone());
        let create = r#","action":"create""#;
        let same = asked(create, config, &stream(), &there);
        assert_eq!(same, Ok(Change::Update(Box::new(kept))));
        let other = r#"{"durable_name":"D","name":"D","ack_policy":"explicit","max_deliver":5}"#;
        assert_eq!(
            asked(create, other, &stream(), &there),
            Err(ApiError::ConsumerAlreadyExists)
        );
        assert!(matches!(
            asked("", other, &stream(), &there),
            Ok(Change::Update(_))
        ));
        let fixed = r#"{"durable_name":"D","name":"D","ack_policy":"all"}"#;
        let error = asked("", fixed, &stream(), &there).unwrap_err();
        assert_eq!(
            (error.err_code(), error.to_string().as_str()),
            (10012, "ack policy can not be updated")
        );
        let update = r#","action":"update""#;
        let missing = asked(update, r#"{"name":"X"}"#, &stream(), &there);
        assert_eq!(missing, Err(ApiError::ConsumerDoesNotExist));
        let push = r#"{"durable_name":"P","deliver_subject":"busy"}"#;
        there.0.insert("P".into(), made(push));
        let moved = r#"{"durable_name":"P","deliver_subject":"other"}"#;
        assert_eq!(
            asked("", moved, &stream(), &there),
            Err(ApiError::ConsumerNameExist)
        );
        let few = StreamConfig {
            max_consumers: 2,
            ..stream()
        };
        let full = asked("", r#"{"name":"X"}"#, &few, &there);
        assert_eq!(full, Err(ApiError::MaximumConsumersLimit));
    }

    #[test]
    fn a_pause_is_not_changed_by_the_way() {
        let mut there = There::default();
        let mut paused = made(r#"{"durable_name":"D","name":"D"}"#);
        paused.pause_until = Some(Time::from_unix(1, 0));
        there.0.insert("D".into(), paused);
        let again = asked("", r#"{"durable_name":"D","name":"D"}"#, &stream(), &there);
        let Ok(Change::Update(config)) = again else {
            panic!("{again:?}");
        };
        assert_eq!(config.pause_until, Some(Time::from_unix(1, 0)));
    }

    #[test]
    fn work_queues_have_one_consumer_for_a_subject() {
        let queue = StreamConfig {
            retention: RetentionPolicy::WorkQueue,
            ..stream()
        };
        let mut there = There::default();
        let of = |config: &str, there: &There| asked("", config, &queue, there);
        let pull = of(r#"{"name":"a"}"#, &there);
        assert_eq!(pull, Err(ApiError::ConsumerPullRequiresAck));
        let push = of(r#"{"deliver_subject":"d"}"#, &there);
        assert_eq!(push, Err(ApiError::ConsumerWqRequiresExplicitAck));
        let new = of(
            r#"{"ack_policy":"explicit","deliver_policy":"new"}"#,
            &there,
        );
        assert_eq!(new, Err(ApiError::ConsumerWqConsumerNotDeliverAll));
        let filtered = r#"{"name":"a","ack_policy":"explicit","filter_subject":"s.a.*"}"#;
        let Ok(Change::New(config)) = of(filtered, &there) else {
            panic!("the first one is fine");
        };
        there.0.insert("a".into(), *config);
        let all = of(r#"{"ack_policy":"explicit"}"#, &there);
        assert_eq!(all, Err(ApiError::ConsumerWqMultipleUnfiltered));
        let clash = of(
            r#"{"ack_policy":"explicit","filter_subject":"s.*.b"}"#,
            &there,
        );
        assert_eq!(clash, Err(ApiError::ConsumerWqConsumerNotUnique));
        let beside = of(
            r#"{"ack_policy":"explicit","filter_subject":"s.b.*"}"#,
            &there,
        );
        assert!(matches!(beside, Ok(Change::New(_))));
    }

    #[test]
    fn subject_and_request_agree() {
        let of = |target: ConsumerTarget<'_>, text: &str| {
            let mut request = request::<ConsumerCreateRequest>(text.as_bytes(), true)
                .unwrap()
                .value;
            apply_target(&mut request, target).map(|()| request.config.name)
        };
        let ephemeral = ConsumerTarget::Ephemeral { stream: "S" };
        let durable = ConsumerTarget::Durable {
            stream: "S",
            consumer: "C",
        };
        let named = |filter| ConsumerTarget::Named {
            stream: "S",
            consumer: "C",
            filter,
        };
        for (target, config, want) in [
            (ephemeral, "{}", Ok("")),
            (ephemeral, r#"{"durable_name":"C"}"#, Err(10020)),
            (ephemeral, r#"{"name":"a/b"}"#, Err(10127)),
            (durable, "{}", Err(10018)),
            (durable, r#"{"durable_name":"D"}"#, Err(10017)),
            (durable, r#"{"durable_name":"C"}"#, Ok("C")),
            (named(None), "{}", Ok("C")),
            (named(None), r#"{"durable_name":"D"}"#, Err(10017)),
            (named(Some("a")), r#"{"filter_subject":"a"}"#, Ok("C")),
            (named(Some("a")), r#"{"filter_subject":"b"}"#, Err(10131)),
            (named(Some("a")), r#"{"filter_subjects":["a"]}"#, Err(10137)),
            (named(None), r#"{"num_replicas":3}"#, Err(10074)),
        ] {
            let text = format!(r#"{{"stream_name":"S","config":{config}}}"#);
            let got = of(target, &text).map_err(|error| error.err_code());
            assert_eq!(got, want.map(str::to_owned), "{target:?} {config}");
        }
        let other = of(ephemeral, r#"{"stream_name":"T"}"#).map_err(|error| error.err_code());
        assert_eq!(other, Err(10056));
    }
}
