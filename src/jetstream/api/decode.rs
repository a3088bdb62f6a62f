//! How the configurations and requests of the API are read: their fields, and what Go calls them.

use super::consumer_config::ConsumerConfig;
use super::info::{LostStreamData, StreamState};
use super::policy::{
    AckPolicy, ConsumerAction, DeliverPolicy, DiscardPolicy, PersistMode, PriorityPolicy,
    ReplayPolicy, RetentionPolicy, StorageType, StoreCompression,
};
use super::request::{
    ConsumerCreateRequest, ConsumerListRequest, ConsumerPauseRequest, ConsumerResetRequest,
    ConsumerUnpinRequest, LeaderStepDownRequest, MetaRescueRequest, MetaServerRequest,
    MetaStreamMoveRequest, MsgDeleteRequest, MsgGetRequest, PeerRequest, StreamConfigRequest,
    StreamInfoRequest, StreamListRequest, StreamNamesRequest, StreamPurgeRequest,
    StreamRestoreRequest, StreamSnapshotRequest,
};
use super::stream_config::{
    ConsumerLimits, ExternalStream, Placement, RePublish, StreamConfig, StreamConsumerSource,
    StreamSource, SubjectTransform,
};
use crate::base::text::quoted;
use crate::json::decode::{Abort, Context, Decode, kind, object};
use crate::json::scan;

object!(StreamConfig = "StreamConfig" {
    "name" => name,
    "description" => description,
    "subjects" => subjects,
    "retention" => retention,
    "max_consumers" => max_consumers as "int",
    "max_msgs" => max_msgs,
    "max_bytes" => max_bytes,
    "max_age" => max_age,
    "max_msgs_per_subject" => max_msgs_per_subject,
    "max_msg_size" => max_msg_size,
    "discard" => discard,
    "storage" => storage,
    "num_replicas" => num_replicas as "int",
    "no_ack" => no_ack,
    "duplicate_window" => duplicate_window,
    "placement" => placement,
    "mirror" => mirror,
    "sources" => sources as "[]*server.StreamSource",
    "compression" => compression,
    "first_seq" => first_seq,
    "subject_transform" => subject_transform,
    "republish" => republish,
    "allow_direct" => allow_direct,
    "mirror_direct" => mirror_direct,
    "discard_new_per_subject" => discard_new_per_subject,
    "sealed" => sealed,
    "deny_delete" => deny_delete,
    "deny_purge" => deny_purge,
    "allow_rollup_hdrs" => allow_rollup_hdrs,
    "consumer_limits" => consumer_limits,
    "allow_msg_ttl" => allow_msg_ttl,
    "subject_delete_marker_ttl" => subject_delete_marker_ttl,
    "allow_msg_counter" => allow_msg_counter,
    "allow_atomic" => allow_atomic,
    "allow_msg_schedules" => allow_msg_schedules,
    "persist_mode" => persist_mode,
    "allow_batched" => allow_batched,
    "metadata" => metadata,
});

object!(Placement = "Placement" {
    "cluster" => cluster,
    "tags" => tags,
    "preferred" => preferred,
});

object!(StreamSource = "StreamSource" {
    "name" => name,
    "opt_start_seq" => opt_start_seq,
    "opt_start_time" => opt_start_time,
    "filter_subject" => filter_subject,
    "subject_transforms" => subject_transforms,
    "external" => external,
    "consumer" => consumer,
});

object!(ExternalStream = "ExternalStream" {
    "api" => api_prefix,
    "deliver" => deliver_prefix,
});

object!(StreamConsumerSource = "StreamConsumerSource" {
    "name" => name,
    "deliver_subject" => deliver_subject,
});

object!(SubjectTransform = "SubjectTransformConfig" {
    "src" => source,
    "dest" => destination,
});

object!(RePublish = "RePublish" {
    "src" => source,
    "dest" => destination,
    "headers_only" => headers_only,
});

object!(ConsumerLimits = "StreamConsumerLimits" {
    "inactive_threshold" => inactive_threshold,
    "max_ack_pending" => max_ack_pending as "int",
});

object!(ConsumerConfig = "ConsumerConfig" {
    "durable_name" => durable,
    "name" => name,
    "description" => description,
    "deliver_policy" => deliver_policy,
    "opt_start_seq" => opt_start_seq,
    "opt_start_time" => opt_start_time,
    "ack_policy" => ack_policy,
    "ack_wait" => ack_wait,
    "max_deliver" => max_deliver as "int",
    "backoff" => backoff,
    "filter_subject" => filter_subject,
    "filter_subjects" => filter_subjects,
    "replay_policy" => replay_policy,
    "rate_limit_bps" => rate_limit_bps,
    "sample_freq" => sample_freq,
    "max_waiting" => max_waiting as "int",
    "max_ack_pending" => max_ack_pending as "int",
    "flow_control" => flow_control,
    "headers_only" => headers_only,
    "max_batch" => max_batch as "int",
    "max_expires" => max_expires,
    "max_bytes" => max_bytes as "int",
    "deliver_subject" => deliver_subject,
    "deliver_group" => deliver_group,
    "idle_heartbeat" => idle_heartbeat,
    "inactive_threshold" => inactive_threshold,
    "num_replicas" => num_replicas as "int",
    "mem_storage" => mem_storage,
    "direct" => direct,
    "sourcing" => sourcing,
    "metadata" => metadata,
    "pause_until" => pause_until,
    "priority_groups" => priority_groups,
    "priority_policy" => priority_policy,
    "priority_timeout" => priority_timeout,
});

object!(StreamState = "StreamState" {
    "messages" => messages,
    "bytes" => bytes,
    "first_seq" => first_seq,
    "first_ts" => first_ts,
    "last_seq" => last_seq,
    "last_ts" => last_ts,
    "num_subjects" => num_subjects as "int",
    "subjects" => subjects,
    "num_deleted" => num_deleted as "int",
    "deleted" => deleted,
    "lost" => lost,
    "consumer_count" => consumer_count as "int",
});

object!(LostStreamData = "LostStreamData" {
    "msgs" => msgs,
    "bytes" => bytes,
});

object!(StreamConfigRequest = "StreamConfigRequest" {
    "pedantic" => pedantic,
} "StreamConfig" => config);

object!(ConsumerCreateRequest = "CreateConsumerRequest" {
    "stream_name" => stream_name,
    "config" => config,
    "action" => action,
    "pedantic" => pedantic,
});

/// What a request for a page of a list has.
struct Paged<'a>(&'a mut i64);

impl Paged<'_> {
    fn member(&mut self, name: &str, value: &[u8], cx: &mut Context) -> Result<bool, Abort> {
        if !crate::json::decode::same_name(name, "offset") {
            return Ok(false);
        }
        cx.embedded("ApiPagedRequest", |cx| {
            cx.field("offset", Some("int"), |cx| self.0.decode(value, cx))
        })
    }
}

/// Makes a request for a page of a list an object.
macro_rules! paged {
    ($of:ident = $name:literal { $($json:literal => $field:ident),* $(,)? }) => {
        impl crate::json::decode::Object for $of {
            const NAME: &'static str = $name;

            fn member(
                &mut self,
                name: &str,
                value: &[u8],
                cx: &mut Context,
            ) -> Result<bool, Abort> {
                $(if crate::json::decode::same_name(name, $json) {
                    return cx.field($json, None, |cx| self.$field.decode(value, cx));
                })*
                Paged(&mut self.offset).member(name, value, cx)
            }
        }

        impl Decode for $of {
            fn type_name() -> String {
                concat!("server.", $name).to_owned()
            }

            fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
                cx.object(self, value)
            }
        }
    };
}

paged!(StreamNamesRequest = "JSApiStreamNamesRequest" { "subject" => subject });
paged!(StreamListRequest = "JSApiStreamListRequest" { "subject" => subject });
paged!(ConsumerListRequest = "JSApiConsumersRequest" {});
paged!(StreamInfoRequest = "JSApiStreamInfoRequest" {
    "deleted_details" => deleted_details,
    "subjects_filter" => subjects_filter,
});

object!(StreamPurgeRequest = "JSApiStreamPurgeRequest" {
    "seq" => seq,
    "filter" => filter,
    "keep" => keep,
});

object!(MsgGetRequest = "JSApiMsgGetRequest" {
    "seq" => seq,
    "last_by_subj" => last_by_subj,
    "next_by_subj" => next_by_subj,
    "batch" => batch as "int",
    "max_bytes" => max_bytes as "int",
    "start_time" => start_time,
    "multi_last" => multi_last,
    "up_to_seq" => up_to_seq,
    "up_to_time" => up_to_time,
    "no_hdr" => no_hdr,
});

object!(MsgDeleteRequest = "JSApiMsgDeleteRequest" {
    "seq" => seq,
    "no_erase" => no_erase,
});

object!(StreamSnapshotRequest = "JSApiStreamSnapshotRequest" {
    "deliver_subject" => deliver_subject,
    "no_consumers" => no_consumers,
    "chunk_size" => chunk_size as "int",
    "window_size" => window_size as "int",
    "jsck" => jsck,
});

object!(StreamRestoreRequest = "JSApiStreamRestoreRequest" {
    "config" => config,
    "state" => state,
});

object!(PeerRequest = "JSApiStreamRemovePeerRequest" { "peer" => peer });

object!(LeaderStepDownRequest = "JSApiLeaderStepdownRequest" { "placement" => placement });

object!(ConsumerPauseRequest = "JSApiConsumerPauseRequest" { "pause_until" => pause_until });

object!(ConsumerUnpinRequest = "JSApiConsumerUnpinRequest" { "group" => group });

object!(ConsumerResetRequest = "JSApiConsumerResetRequest" { "seq" => seq });

object!(MetaServerRequest = "JSApiMetaServerRemoveRequest" {
    "peer" => peer,
    "peer_id" => peer_id,
});

object!(MetaRescueRequest = "JSApiMetaRescueRequest" { "quorum_needed" => quorum_needed as "int" });

object!(MetaStreamMoveRequest = "JSApiMetaServerStreamMoveRequest" {
    "server" => server,
    "cluster" => cluster,
    "domain" => domain,
    "tags" => tags,
});

/// The text that a value is, as it is written; none if it is no text.
fn plain(value: &[u8]) -> Option<&str> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    str::from_utf8(inner).ok()
}

/// A value that is none of those it could be.
fn cannot(value: &[u8]) -> Abort {
    Abort(format!("can not unmarshal {}", quoted(value)))
}

/// Makes choices what can be read: how a text becomes one, and what is told if it does not.
macro_rules! choices {
    ($($of:ident { $text:ident => $choice:expr, $value:ident => $fault:expr })+) => {$(
        impl Decode for $of {
            fn type_name() -> String {
                concat!("server.", stringify!($of)).to_owned()
            }

            fn decode(&mut self, $value: &[u8], _: &mut Context) -> Result<(), Abort> {
                match plain($value).and_then(|$text| $choice) {
                    Some(choice) => *self = choice,
                    None => return Err($fault),
                }
                Ok(())
            }
        }
    )+};
}

choices! {
    RetentionPolicy { text => RetentionPolicy::from_text(text), value => cannot(value) }
    DiscardPolicy {
        text => DiscardPolicy::from_text(&text.to_lowercase()),
        value => cannot(value)
    }
    StorageType { text => StorageType::from_text(text), value => cannot(value) }
    PersistMode {
        text => match text {
            "" => Some(PersistMode::Default),
            text => PersistMode::from_text(text),
        },
        value => cannot(value)
    }
    DeliverPolicy {
        text => match text {
            "undefined" => Some(DeliverPolicy::All),
            text => DeliverPolicy::from_text(text),
        },
        value => cannot(value)
    }
    AckPolicy { text => AckPolicy::from_text(text), value => cannot(value) }
    ReplayPolicy { text => ReplayPolicy::from_text(text), value => cannot(value) }
    PriorityPolicy {
        text => PriorityPolicy::from_text(text),
        value => Abort(format!("unknown priority policy: {}", String::from_utf8_lossy(value)))
    }
    ConsumerAction {
        text => ConsumerAction::from_text(text),
        value => Abort(format!("unknown consumer action: {}", String::from_utf8_lossy(value)))
    }
}

impl Decode for StoreCompression {
    fn type_name() -> String {
        "string".into()
    }

    fn decode(&mut self, value: &[u8], cx: &mut Context) -> Result<(), Abort> {
        match kind(value) {
            "string" => match StoreCompression::from_text(&scan::unquoted(value)) {
                Some(choice) => *self = choice,
                None => return Err(Abort("unknown compression algorithm".into())),
            },
            "null" => return Err(Abort("unknown compression algorithm".into())),
            other => cx.mismatch(other, "string"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::json::decode::request;
    use crate::json::{Nanos, Time};
    use proptest::prelude::*;

    fn fault<T: Decode + std::fmt::Debug>(text: &str) -> String {
        request::<T>(text.as_bytes(), true).unwrap_err()
    }

    /// What a Go server answered to these.
    #[test]
    fn faults_are_those_of_the_reference() {
        let field = |what: &str, field: &str, of: &str| {
            format!("json: cannot unmarshal {what} into Go struct field {field} of type {of}")
        };
        for (text, want) in [
            (
                r#"{"max_age":"x"}"#,
                field(
                    "string",
                    "StreamConfigRequest.StreamConfig.max_age",
                    "time.Duration",
                ),
            ),
            (
                r#"{"max_msg_size":3000000000}"#,
                field(
                    "number 3000000000",
                    "StreamConfigRequest.StreamConfig.max_msg_size",
                    "int32",
                ),
            ),
            (
                r#"{"mirror":5}"#,
                field(
                    "number",
                    "StreamConfigRequest.StreamConfig.mirror",
                    "server.StreamSource",
                ),
            ),
            (
                r#"{"sources":[{"name":5}]}"#,
                field("number", "StreamSource.StreamConfig.sources.name", "string"),
            ),
            (
                r#"{"sources":{}}"#,
                field(
                    "object",
                    "StreamConfigRequest.StreamConfig.sources",
                    "[]*server.StreamSource",
                ),
            ),
            (
                r#"{"sources":[{"external":{"api":1}}]}"#,
                field(
                    "number",
                    "ExternalStream.StreamConfig.sources.external.api",
                    "string",
                ),
            ),
            (
                r#"{"num_replicas":99999999999999999999}"#,
                field(
                    "number 99999999999999999999",
                    "StreamConfigRequest.StreamConfig.num_replicas",
                    "int",
                ),
            ),
            (
                r#"{"compression":5}"#,
                field(
                    "number",
                    "StreamConfigRequest.StreamConfig.compression",
                    "string",
                ),
            ),
            (
                r#"{"pedantic":1}"#,
                field("number", "StreamConfigRequest.pedantic", "bool"),
            ),
            (
                r#"{"compression":"zip"}"#,
                "unknown compression algorithm".into(),
            ),
            (
                r#"{"retention":"foo"}"#,
                r#"can not unmarshal "\"foo\"""#.into(),
            ),
            (
                r#"{"retention":null}"#,
                r#"can not unmarshal "null""#.into(),
            ),
            (
                r#"{"retention":{"a":1}}"#,
                r#"can not unmarshal "{\"a\":1}""#.into(),
            ),
            (
                r#"{"storage":"File"}"#,
                r#"can not unmarshal "\"File\"""#.into(),
            ),
            (
                r#"{"name":5,"retention":"x"}"#,
                r#"can not unmarshal "\"x\"""#.into(),
            ),
            (
                r#"{"consumer_limits":{"x":1}}"#,
                r#"json: unknown field "x""#.into(),
            ),
        ] {
            assert_eq!(fault::<StreamConfigRequest>(text), want, "{text}");
        }
        for (text, want) in [
            (
                r#"{"action":"x"}"#,
                r#"unknown consumer action: "x""#.into(),
            ),
            (
                r#"{"config":{"priority_policy":"x"}}"#,
                r#"unknown priority policy: "x""#.into(),
            ),
            (
                r#"{"config":{"backoff":["x"]}}"#,
                field("string", "ConsumerConfig.config.backoff", "time.Duration"),
            ),
            (
                r#"{"config":{"max_deliver":"x"}}"#,
                field("string", "ConsumerConfig.config.max_deliver", "int"),
            ),
            (
                r#"{"config":5}"#,
                field(
                    "number",
                    "CreateConsumerRequest.config",
                    "server.ConsumerConfig",
                ),
            ),
        ] {
            assert_eq!(fault::<ConsumerCreateRequest>(text), want, "{text}");
        }
        let offset = "JSApiStreamNamesRequest.ApiPagedRequest.offset";
        let names = fault::<StreamNamesRequest>(r#"{"offset":"x"}"#);
        assert_eq!(names, field("string", offset, "int"));
        let state = fault::<StreamRestoreRequest>(r#"{"state":{"messages":"x"}}"#);
        assert_eq!(
            state,
            field("string", "StreamState.state.messages", "uint64")
        );
    }

    #[test]
    fn other_words_for_the_same_are_read() {
        let read = request::<StreamConfigRequest>(
            br#"{"discard":"NEW","persist_mode":"","compression":"s2"}"#,
            true,
        );
        let config = read.unwrap().value.config;
        assert_eq!(config.discard, DiscardPolicy::New);
        assert_eq!(config.compression, StoreCompression::S2);
        let read = request::<ConsumerConfig>(br#"{"deliver_policy":"undefined"}"#, true);
        assert_eq!(read.unwrap().value.deliver_policy, DeliverPolicy::All);
    }

    fn text() -> impl Strategy<Value = String> {
        "[a-z<>&\"\\\\é.]{0,6}"
    }

    prop_compose! {
        fn source()(
            name in text(),
            opt_start_seq in any::<u64>(),
            time in prop::option::of(0i64..4_000_000_000),
            filter_subject in text(),
            transforms in prop::collection::vec((text(), text()), 0..3),
            external in prop::option::of((text(), text())),
        ) -> StreamSource {
            StreamSource {
                name,
                opt_start_seq,
                opt_start_time: time.map(|seconds| Time::from_unix(seconds, 7)),
                filter_subject,
                subject_transforms: transforms
                    .into_iter()
                    .map(|(source, destination)| SubjectTransform { source, destination })
                    .collect(),
                external: external.map(|(api_prefix, deliver_prefix)| ExternalStream {
                    api_prefix,
                    deliver_prefix,
                }),
                consumer: None,
            }
        }
    }

    prop_compose! {
        fn stream()(
            texts in (text(), text(), prop::collection::vec(text(), 0..3)),
            numbers in (any::<i64>(), any::<i32>(), any::<u64>(), any::<i64>()),
            flags in (any::<bool>(), any::<bool>(), any::<bool>()),
            choices in (0usize..3, 0usize..2, 0usize..2, 0usize..2),
            mirror in prop::option::of(source()),
            sources in prop::collection::vec(source(), 0..3),
            metadata in prop::collection::btree_map(text(), text(), 0..3),
        ) -> StreamConfig {
            StreamConfig {
                name: texts.0,
                description: texts.1,
                subjects: texts.2,
                max_msgs: numbers.0,
                max_msg_size: numbers.1,
                first_seq: numbers.2,
                max_age: Nanos(numbers.3),
                no_ack: flags.0,
                allow_direct: flags.1,
                allow_atomic: flags.2,
                retention: RetentionPolicy::ALL[choices.0],
                discard: DiscardPolicy::ALL[choices.1],
                storage: StorageType::ALL[choices.2],
                persist_mode: PersistMode::ALL[choices.3],
                mirror,
                sources,
                metadata,
                ..StreamConfig::default()
            }
        }
    }

    prop_compose! {
        fn consumer()(
            texts in (text(), text(), prop::collection::vec(text(), 0..3)),
            numbers in (any::<i64>(), any::<u64>(), any::<i64>()),
            backoff in prop::collection::vec(any::<i64>(), 0..3),
            choices in (0usize..6, 0usize..4, 0usize..2, 0usize..4),
            pause in prop::option::of(0i64..4_000_000_000),
        ) -> ConsumerConfig {
            ConsumerConfig {
                name: texts.0,
                filter_subject: texts.1,
                filter_subjects: texts.2,
                max_deliver: numbers.0,
                rate_limit_bps: numbers.1,
                ack_wait: Nanos(numbers.2),
                backoff: backoff.into_iter().map(Nanos).collect(),
                deliver_policy: DeliverPolicy::ALL[choices.0],
                ack_policy: AckPolicy::ALL[choices.1],
                replay_policy: ReplayPolicy::ALL[choices.2],
                priority_policy: PriorityPolicy::ALL[choices.3],
                pause_until: pause.map(|seconds| Time::from_unix(seconds, 0)),
                ..ConsumerConfig::default()
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(stream in stream(), consumer in consumer()) {
            let read = request::<StreamConfig>(&json::compact(&stream), true).unwrap();
            prop_assert_eq!(read.value, stream);
            let read = request::<ConsumerConfig>(&json::compact(&consumer), true).unwrap();
            prop_assert_eq!(read.value, consumer);
        }

        #[test]
        fn any_bytes_are_judged(input in prop::collection::vec(any::<u8>(), 0..48)) {
            let _ = request::<StreamConfigRequest>(&input, false);
            let _ = request::<ConsumerCreateRequest>(&input, true);
        }

        #[test]
        fn any_value_of_any_field_is_judged(
            field in prop::sample::select(vec!["name", "sources", "mirror", "max_age", "metadata",
                "subjects", "retention", "placement", "compression", "consumer_limits"]),
            value in prop::sample::select(vec!["1", "\"x\"", "null", "[]", "{}", "[{}]", "true",
                "[null]", "{\"a\":1}", "-0", "1e400", "[[[]]]", "\"\\ud800\""]),
        ) {
            let text = format!("{{\"{field}\":{value}}}");
            let _ = request::<StreamConfigRequest>(text.as_bytes(), true);
        }
    }
}
