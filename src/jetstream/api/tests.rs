//! What is sent against the published schemas, where these are at hand.

use super::advisory::{self, Action, Event, Kind};
use super::info::{
    AccountLimits, AccountStats, AccountTier, ApiStats, ClusterInfo, ConsumerInfo, SequenceInfo,
    StreamInfo, StreamState,
};
use super::pub_ack::{PubAck, PubAckResponse};
use super::response::{
    AccountInfoBody, AccountPurgeBody, Body, ConsumerCreateBody, ConsumerDeleteBody,
    ConsumerInfoBody, ConsumerListBody, ConsumerNamesBody, ConsumerPauseBody, ConsumerResetBody,
    ConsumerUnpinBody, MsgDeleteBody, MsgGetBody, Paging, Response, StoredMsg, StreamCreateBody,
    StreamDeleteBody, StreamInfoBody, StreamListBody, StreamNamesBody, StreamPurgeBody,
    StreamRestoreBody, StreamSnapshotBody, StreamUpdateBody,
};
use super::{AckPolicy, ApiError, ConsumerConfig, StreamConfig, metadata};
use crate::json::decode::request;
use crate::json::{self, Nanos, Time};
use crate::proto::client_info::ClientInfo;
use serde::Serialize;
use std::time::{Duration, SystemTime};

#[path = "../../../tests/it/support/schema.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it belongs to other tests, which use more of it"
)]
mod schema;

/// What the schemas find wrong with what is sent.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn look<T: Serialize>(&mut self, name: &str, value: &T) {
        let name = format!("jetstream/{name}.json");
        if let Some(schema) = schema::schema(&name) {
            let json = serde_json::from_slice(&json::compact(value)).unwrap();
            let faults = schema::faults(&schema, &json);
            self.0
                .extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }

    /// An answer, and the same request refused.
    fn answer<B: Body + Clone>(&mut self, body: B) {
        self.ok(body);
        let name = format!("api/v1/{}", B::TYPE);
        self.look(&name, &Response::<B>::refused(ApiError::StreamNotFound));
    }

    fn ok<B: Body>(&mut self, body: B) {
        self.look(&format!("api/v1/{}", B::TYPE), &Response::ok(body));
    }

    fn event<K: Kind>(&mut self, kind: K) {
        let name = K::TYPE.strip_prefix("io.nats.jetstream.").unwrap();
        assert!(kind.subject().starts_with("$JS.EVENT."));
        let event = Event {
            id: "Lw0wCAHLzPQ3EoMVpLHfyu".into(),
            timestamp: now(),
            kind,
        };
        self.look(&name.replace('.', "/"), &event);
    }

    /// Fails unless this is all, or there are no schemas.
    fn is(&self, wanted: &[&str]) {
        if schema::schema("jetstream/api/v1/pub_ack_response.json").is_some() {
            assert_eq!(self.0, wanted);
        }
    }
}

fn now() -> Time {
    Time::from_unix(1_700_000_000, 123_456_789)
}

fn stream() -> StreamInfo {
    let mut config = StreamConfig {
        name: "S".into(),
        subjects: vec!["s.>".into()],
        max_consumers: -1,
        max_msgs: -1,
        max_bytes: -1,
        max_msgs_per_subject: -1,
        max_msg_size: -1,
        num_replicas: 1,
        duplicate_window: Nanos::from_secs(120),
        ..StreamConfig::default()
    };
    metadata::set_required(&mut config.metadata, 0);
    metadata::show(&mut config.metadata, "2.15.0");
    StreamInfo {
        config,
        created: now(),
        state: StreamState {
            messages: 5,
            bytes: 100,
            first_seq: 1,
            first_ts: now(),
            last_seq: 6,
            last_ts: now(),
            num_subjects: 2,
            subjects: [("s.a".to_owned(), 5)].into(),
            num_deleted: 1,
            deleted: vec![3],
            ..StreamState::default()
        },
        cluster: Some(ClusterInfo {
            leader: "N".into(),
            ..ClusterInfo::default()
        }),
        ts: now(),
        ..StreamInfo::default()
    }
}

fn consumer() -> ConsumerInfo {
    ConsumerInfo {
        stream_name: "S".into(),
        name: "C".into(),
        created: now(),
        config: Some(ConsumerConfig {
            durable: "C".into(),
            name: "C".into(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Nanos::from_secs(30),
            max_deliver: -1,
            max_waiting: 512,
            max_ack_pending: 1000,
            ..ConsumerConfig::default()
        }),
        delivered: SequenceInfo {
            consumer_seq: 3,
            stream_seq: 4,
            last_active: Some(now()),
        },
        ts: now(),
        ..ConsumerInfo::default()
    }
}

#[test]
fn answers_are_as_their_schemas() {
    let mut found = Found::default();
    let paging = Paging {
        total: 1,
        offset: 0,
        limit: 256,
    };
    let tier = AccountTier {
        limits: AccountLimits::UNLIMITED,
        ..AccountTier::default()
    };
    found.answer(AccountInfoBody {
        stats: Some(AccountStats {
            total: tier.clone(),
            api: ApiStats {
                level: 5,
                total: 7,
                errors: 1,
                inflight: 1,
            },
            tiers: [("R1".to_owned(), tier)].into(),
            ..AccountStats::default()
        }),
    });
    found.answer(StreamCreateBody {
        info: Some(stream()),
        did_create: true,
    });
    found.answer(StreamUpdateBody {
        info: Some(stream()),
    });
    found.answer(StreamInfoBody {
        paging,
        info: Some(stream()),
    });
    found.answer(StreamDeleteBody { success: true });
    found.answer(StreamPurgeBody {
        success: true,
        purged: 5,
    });
    found.answer(MsgDeleteBody { success: true });
    found.answer(MsgGetBody {
        message: Some(StoredMsg {
            subject: "s.a".into(),
            seq: 1,
            headers: b"NATS/1.0\r\n\r\n".to_vec(),
            data: b"x".to_vec(),
            time: now(),
        }),
    });
    let StreamInfo { config, state, .. } = stream();
    found.answer(StreamSnapshotBody {
        config: Some(config),
        state: Some(state),
    });
    found.answer(StreamRestoreBody {
        deliver_subject: "$JS.SNAPSHOT.RESTORE.S.x".into(),
    });
    found.answer(ConsumerCreateBody {
        info: Some(consumer()),
    });
    found.answer(ConsumerInfoBody {
        info: Some(consumer()),
    });
    found.answer(ConsumerResetBody {
        info: Some(consumer()),
        reset_seq: 5,
    });
    found.answer(ConsumerDeleteBody { success: true });
    found.answer(ConsumerPauseBody {
        paused: true,
        pause_until: now(),
        pause_remaining: Nanos::from_secs(5),
    });
    found.answer(ConsumerUnpinBody {});
    found.answer(AccountPurgeBody { initiated: true });
    // Refused, these hold a null where the schemas ask for a list, as in the reference.
    let names = StreamNamesBody {
        paging,
        streams: Some(vec!["S".into()]),
    };
    found.ok(names);
    let list = StreamListBody {
        paging,
        streams: vec![stream()],
        ..StreamListBody::default()
    };
    found.ok(list);
    let names = ConsumerNamesBody {
        paging,
        consumers: vec!["C".into()],
    };
    found.ok(names);
    let list = ConsumerListBody {
        paging,
        consumers: vec![consumer()],
        ..ConsumerListBody::default()
    };
    found.ok(list);
    let ack = PubAck {
        stream: "S".into(),
        seq: 5,
        ..PubAck::default()
    };
    found.look("api/v1/pub_ack_response", &PubAckResponse::ok(ack));
    // Where the reference itself does not keep to its schemas: refused, some answers have all that
    // is asked of others, and one schema has the error inside of the error.
    found.is(&[
        "jetstream/api/v1/consumer_pause_response.json: $: is not just one of several: [[], []]",
        "jetstream/api/v1/consumer_unpin_response.json: $.error: \"error\" is missing",
        "jetstream/api/v1/account_purge_response.json: $: is not just one of several: [[], []]",
    ]);
}

fn client() -> ClientInfo {
    ClientInfo {
        start: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        host: "127.0.0.1".into(),
        id: 5,
        account: "$G".into(),
        rtt: Duration::from_millis(1),
        server: "N".into(),
        kind: "Client",
        client_type: "nats",
        ..ClientInfo::default()
    }
}

#[test]
fn events_are_as_their_schemas() {
    let mut found = Found::default();
    let domain = String::new;
    let (stream, consumer) = (|| "S".to_owned(), || "C".to_owned());
    found.event(advisory::ApiAudit {
        server: "N".into(),
        client: Some(client()),
        subject: "$JS.API.INFO".into(),
        request: String::new(),
        response: "{}".into(),
        domain: domain(),
    });
    found.event(advisory::ApiLimitReached {
        server: "N".into(),
        domain: domain(),
        dropped: 10,
    });
    for action in [Action::Create, Action::Delete, Action::Modify] {
        found.event(advisory::StreamAction {
            stream: stream(),
            action,
            domain: domain(),
        });
    }
    found.event(advisory::ConsumerAction {
        stream: stream(),
        consumer: consumer(),
        action: Action::Create,
        domain: domain(),
    });
    found.event(advisory::ConsumerPause {
        stream: stream(),
        consumer: consumer(),
        paused: true,
        pause_until: now(),
        domain: domain(),
    });
    found.event(advisory::ConsumerAck {
        stream: stream(),
        consumer: consumer(),
        consumer_seq: 1,
        stream_seq: 2,
        ack_time: Nanos(5),
        deliveries: 1,
        domain: domain(),
    });
    found.event(advisory::MaxDeliver {
        stream: stream(),
        consumer: consumer(),
        stream_seq: 2,
        deliveries: 5,
        domain: domain(),
    });
    found.event(advisory::MsgNaked {
        stream: stream(),
        consumer: consumer(),
        consumer_seq: 1,
        stream_seq: 2,
        deliveries: 1,
        domain: domain(),
    });
    found.event(advisory::MsgTerminated {
        stream: stream(),
        consumer: consumer(),
        consumer_seq: 1,
        stream_seq: 2,
        deliveries: 1,
        reason: "bad".into(),
        domain: domain(),
    });
    found.event(advisory::SnapshotCreate {
        stream: stream(),
        state: StreamState::default(),
        client: client(),
        domain: domain(),
    });
    found.event(advisory::SnapshotComplete {
        stream: stream(),
        start: now(),
        end: now(),
        client: client(),
        domain: domain(),
        error: String::new(),
    });
    found.event(advisory::RestoreCreate {
        stream: stream(),
        client: client(),
        domain: domain(),
    });
    found.event(advisory::RestoreComplete {
        stream: stream(),
        start: now(),
        end: now(),
        bytes: 100,
        client: client(),
        domain: domain(),
    });
    found.event(advisory::BatchAbandoned {
        account: "A".into(),
        stream: stream(),
        domain: domain(),
        batch: "b".into(),
        reason: advisory::AbandonReason::Timeout,
    });
    found.event(advisory::GroupPinned {
        account: "A".into(),
        stream: stream(),
        consumer: consumer(),
        domain: domain(),
        group: "g".into(),
        pinned_id: "p".into(),
    });
    found.event(advisory::GroupUnpinned {
        account: "A".into(),
        stream: stream(),
        consumer: consumer(),
        domain: domain(),
        group: "g".into(),
        reason: advisory::UnpinReason::Admin,
    });
    found.event(advisory::OutOfStorage {
        server: "N".into(),
        server_id: "ID".into(),
        stream: stream(),
        cluster: "c".into(),
        domain: domain(),
    });
    // Where the reference itself does not keep to its schemas.
    found.is(&[
        "jetstream/advisory/v1/nak.json: $.consumer_seq: 1 is not of type \"string\"",
        "jetstream/advisory/v1/terminated.json: $.consumer_seq: 1 is not of type \"string\"",
        "jetstream/advisory/v1/snapshot_create.json: $: \"blocks\" is missing",
        "jetstream/advisory/v1/snapshot_create.json: $: \"block_size\" is missing",
        "jetstream/advisory/v1/snapshot_create.json: $.state: is not known",
        "jetstream/advisory/v1/consumer_group_pinned.json: $: \"server\" is missing",
        "jetstream/advisory/v1/consumer_group_unpinned.json: $: \"server\" is missing",
    ]);
}

/// Configurations as a Go server wrote them.
#[test]
fn configurations_of_the_reference_are_written_back_byte_for_byte() {
    for json in [
        r#"{"name":"S","subjects":["s.\u003e"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.2"}}"#,
        r#"{"name":"S","subjects":["a"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none","subject_transform":{"src":"a","dest":"b"},"republish":{"src":"b","dest":"b"},"allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.2"}}"#,
        r#"{"name":"F","description":"a \u003cb\u003e \u0026 c","subjects":["f.\u003e","g.*"],"retention":"workqueue","max_consumers":5,"max_msgs":10,"max_bytes":1000,"max_age":3600000000000,"max_msgs_per_subject":3,"max_msg_size":100,"discard":"new","storage":"memory","num_replicas":1,"no_ack":true,"duplicate_window":1000000000,"placement":{"cluster":"c","tags":["a","b"]},"compression":"s2","first_seq":7,"subject_transform":{"src":"f.*","dest":"h.$1"},"republish":{"src":"\u003e","dest":"r.\u003e","headers_only":true},"allow_direct":true,"mirror_direct":false,"discard_new_per_subject":true,"sealed":false,"deny_delete":true,"deny_purge":false,"allow_rollup_hdrs":true,"consumer_limits":{"inactive_threshold":5000000000,"max_ack_pending":10},"allow_msg_ttl":true,"subject_delete_marker_ttl":2000000000,"allow_atomic":true,"allow_batched":true,"metadata":{"_nats.level":"5","_nats.req.level":"4","_nats.ver":"2.15.2","a":"2","z":"1"}}"#,
        r#"{"name":"G","retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"sources":[{"name":"O","opt_start_seq":5,"filter_subject":"x.\u003e"},{"name":"P","opt_start_time":"2024-01-01T00:00:00.5Z","subject_transforms":[{"src":"a.*","dest":"b.$1"}],"external":{"api":"$JS.D.API","deliver":"del"}},{"name":"Q","consumer":{"name":"c","deliver_subject":"d"}}],"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"allow_msg_counter":true,"persist_mode":"async","metadata":{"_nats.level":"5","_nats.req.level":"2","_nats.ver":"2.15.2"}}"#,
        r#"{"name":"H","subjects":["H"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":100000000,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":100000000,"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":true,"consumer_limits":{},"allow_msg_ttl":false,"allow_msg_schedules":true,"persist_mode":"async","metadata":{"_nats.level":"5","_nats.req.level":"2","_nats.ver":"2.15.2"}}"#,
    ] {
        let read = request::<StreamConfig>(json.as_bytes(), true).unwrap();
        assert_eq!(String::from_utf8(json::compact(&read.value)).unwrap(), json);
    }
    for json in [
        r#"{"durable_name":"D","name":"D","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0,"metadata":{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.2"}}"#,
        r#"{"name":"A","description":"d","deliver_policy":"by_start_time","opt_start_time":"2024-01-01T00:00:00.5Z","ack_policy":"all","ack_wait":1000000000,"max_deliver":5,"backoff":[1000000000,2000000000],"filter_subjects":["a","b.\u003e"],"replay_policy":"original","sample_freq":"50%","max_waiting":7,"max_ack_pending":9,"headers_only":true,"max_batch":3,"max_expires":1000000,"max_bytes":99,"inactive_threshold":60000000000,"num_replicas":1,"mem_storage":true,"metadata":{"_nats.level":"5","_nats.req.level":"1","_nats.ver":"2.15.2","k":"v"},"pause_until":"2030-01-01T00:00:00Z","priority_groups":["g"],"priority_policy":"pinned_client","priority_timeout":7000000000}"#,
        r#"{"deliver_policy":"by_start_sequence","opt_start_seq":3,"ack_policy":"none","max_deliver":-1,"filter_subject":"H","replay_policy":"instant","rate_limit_bps":1000,"flow_control":true,"deliver_subject":"d","deliver_group":"q","idle_heartbeat":1000000000,"inactive_threshold":5000000000,"num_replicas":0,"metadata":{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.2"}}"#,
    ] {
        let read = request::<ConsumerConfig>(json.as_bytes(), true).unwrap();
        assert_eq!(String::from_utf8(json::compact(&read.value)).unwrap(), json);
    }
}
