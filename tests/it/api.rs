//! Requests to the API of JetStream: answers in the form that the reference's schemas have, and who
//! is refused what.

use crate::support::schema::assert_valid;
use crate::support::{Dir, Process};
use async_nats::{Client, ConnectOptions, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

const TENANTS: &str = r#"
accounts {
  SYS { users: [{user: sys, password: sys}] }
  A { jetstream: enabled, users: [{user: a, password: a}] }
  B { users: [{user: b, password: b}] }
}
system_account: SYS
"#;

async fn connect(server: &Process, user: &str) -> Client {
    let options = ConnectOptions::with_user_and_password(user.into(), user.into());
    options.connect(server.addr.to_string()).await.unwrap()
}

/// Asks the API, and gives the answer, or nothing if nobody serves the request.
async fn ask(client: &Client, subject: &str, body: &Value) -> Option<Value> {
    let body = match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let subject = format!("$JS.API.{subject}");
    let sent = client.publish_with_reply(subject, inbox, body.into());
    sent.await.unwrap();
    let answer = futures_util::StreamExt::next(&mut answers);
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    match answer.status {
        Some(status) => {
            assert_eq!(status, StatusCode::NO_RESPONDERS);
            None
        }
        None => Some(serde_json::from_slice(&answer.payload).unwrap()),
    }
}

fn code(answer: Option<&Value>) -> u64 {
    answer.map_or(0, |answer| {
        answer["error"]["err_code"].as_u64().unwrap_or(1)
    })
}

fn start(dir: &Dir) -> Process {
    let conf = format!(
        "{TENANTS}\njetstream {{ store_dir: {:?} }}",
        dir.path("store")
    );
    Process::start(&["-c", &dir.write("server.conf", &conf)])
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_schemas_have_them() {
    let dir = Dir::new("api-schemas");
    let server = start(&dir);
    let client = connect(&server, "a").await;
    let stream = json!({"name": "S", "subjects": ["s.>"], "retention": "limits",
        "storage": "file", "num_replicas": 1, "allow_direct": true});
    let mut changed = stream.clone();
    changed["description"] = json!("changed");
    let consumer = json!({"stream_name": "S", "config": {"durable_name": "C", "name": "C",
        "ack_policy": "explicit", "priority_groups": ["g"], "priority_policy": "pinned_client"}});
    let inbox = client.new_inbox();
    // Each is asked for what there is, and for what there is not.
    for (subject, body, schema) in [
        ("INFO", Value::Null, "account_info"),
        ("STREAM.CREATE.S", stream.clone(), "stream_create"),
        ("STREAM.CREATE.S", changed.clone(), "stream_create"),
        ("STREAM.UPDATE.S", changed, "stream_update"),
        ("STREAM.UPDATE.N", json!({"name": "N"}), "stream_update"),
        (
            "STREAM.INFO.S",
            json!({"subjects_filter": ">", "deleted_details": true}),
            "stream_info",
        ),
        ("STREAM.INFO.N", Value::Null, "stream_info"),
        ("STREAM.NAMES", Value::Null, "stream_names"),
        ("STREAM.NAMES", json!({"subject": "other"}), "stream_names"),
        ("STREAM.LIST", Value::Null, "stream_list"),
        ("STREAM.LIST", json!({"offset": 5}), "stream_list"),
        ("CONSUMER.CREATE.S.C", consumer.clone(), "consumer_create"),
        ("CONSUMER.CREATE.N.C", consumer, "consumer_create"),
        ("CONSUMER.INFO.S.C", Value::Null, "consumer_info"),
        ("CONSUMER.INFO.S.N", Value::Null, "consumer_info"),
        ("CONSUMER.NAMES.S", Value::Null, "consumer_names"),
        ("CONSUMER.LIST.S", Value::Null, "consumer_list"),
        (
            "CONSUMER.PAUSE.S.C",
            json!({"pause_until": "2125-01-01T00:00:00Z"}),
            "consumer_pause",
        ),
        ("CONSUMER.PAUSE.S.C", Value::Null, "consumer_pause"),
        (
            "CONSUMER.UNPIN.S.C",
            json!({"group": "g"}),
            "consumer_unpin",
        ),
        ("CONSUMER.RESET.S.C", Value::Null, "consumer_reset"),
        ("CONSUMER.DELETE.S.C", Value::Null, "consumer_delete"),
        ("CONSUMER.DELETE.S.C", Value::Null, "consumer_delete"),
        ("STREAM.MSG.GET.S", json!({"seq": 1}), "stream_msg_get"),
        ("STREAM.MSG.GET.S", json!({"seq": 9}), "stream_msg_get"),
        (
            "STREAM.MSG.DELETE.S",
            json!({"seq": 1}),
            "stream_msg_delete",
        ),
        (
            "STREAM.MSG.DELETE.S",
            json!({"seq": 1}),
            "stream_msg_delete",
        ),
        ("STREAM.PURGE.S", Value::Null, "stream_purge"),
        (
            "STREAM.PURGE.S",
            json!({"seq": 1, "keep": 1}),
            "stream_purge",
        ),
        (
            "STREAM.SNAPSHOT.S",
            json!({"deliver_subject": inbox}),
            "stream_snapshot",
        ),
        (
            "STREAM.SNAPSHOT.N",
            json!({"deliver_subject": inbox}),
            "stream_snapshot",
        ),
        (
            "STREAM.RESTORE.R",
            json!({"config": {"name": "R"}}),
            "stream_restore",
        ),
        (
            "STREAM.LEADER.STEPDOWN.S",
            Value::Null,
            "stream_leader_stepdown",
        ),
        (
            "STREAM.PEER.REMOVE.S",
            json!({"peer": "x"}),
            "stream_remove_peer",
        ),
        (
            "CONSUMER.LEADER.STEPDOWN.S.C",
            Value::Null,
            "consumer_leader_stepdown",
        ),
        ("STREAM.DELETE.S", Value::Null, "stream_delete"),
        ("STREAM.DELETE.S", Value::Null, "stream_delete"),
    ] {
        let answer = ask(&client, subject, &body).await;
        let answer = answer.unwrap_or_else(|| panic!("nobody serves {subject}"));
        let kind = format!("io.nats.jetstream.api.v1.{schema}_response");
        assert_eq!(answer["type"], kind, "{subject} {answer}");
        assert_valid(&format!("jetstream/api/v1/{schema}_response.json"), &answer);
        if subject == "STREAM.CREATE.S" {
            client.publish("s.a", "x".into()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_the_order_of_the_reference() {
    let dir = Dir::new("api-order");
    let server = start(&dir);
    let client = connect(&server, "a").await;
    let stream = json!({"name": "S", "subjects": ["s.>"]});
    assert_eq!(
        code(ask(&client, "STREAM.CREATE.S", &stream).await.as_ref()),
        1
    );
    let bogus = json!({"bogus": 1});
    for (subject, body, expected) in [
        ("STREAM.INFO.N", bogus.clone(), 10025),
        ("STREAM.PURGE.N", json!("x"), 10059),
        ("STREAM.PURGE.S", json!("x"), 1),
        ("STREAM.MSG.GET.N", json!({"batch": 1}), 10003),
        ("STREAM.MSG.GET.N", json!({"seq": 1}), 10059),
        ("STREAM.MSG.DELETE.S", json!({"seq": 0}), 10057),
        ("STREAM.MSG.DELETE.S", Value::Null, 10003),
        ("STREAM.DELETE.S", bogus.clone(), 10038),
        ("CONSUMER.INFO.N.N", bogus.clone(), 10038),
        ("CONSUMER.INFO.N.N", json!({}), 10059),
        ("CONSUMER.UNPIN.N.N", bogus, 10025),
        ("CONSUMER.UNPIN.N.N", json!({"group": "a b"}), 10162),
        ("CONSUMER.UNPIN.N.N", json!({"group": "g"}), 10059),
        ("CONSUMER.CREATE.S.C", json!({"stream_name": "T"}), 10056),
        ("STREAM.PEER.EVACUATE.S", Value::Null, 10010),
        ("STREAM.CANCEL_MOVE.S", Value::Null, 10010),
        ("CONSUMER.PEER.REMOVE.S.C", Value::Null, 10010),
        // Nobody serves these on one server.
        ("META.LEADER.STEPDOWN", Value::Null, 0),
        ("META.RESCUE", json!({"quorum_needed": 1}), 0),
        ("SERVER.REMOVE", json!({"peer": "x"}), 0),
        ("ACCOUNT.PURGE.A", Value::Null, 0),
        ("STREAM.TEMPLATE.NAMES", Value::Null, 0),
        ("NOSUCH", Value::Null, 0),
        ("STREAM.INFO", Value::Null, 0),
    ] {
        let answer = ask(&client, subject, &body).await;
        assert_eq!(
            code(answer.as_ref()),
            expected,
            "{subject} {body}: {answer:?}"
        );
    }
    // An account without streams, and the system account.
    let other = connect(&server, "b").await;
    assert_eq!(
        code(ask(&other, "STREAM.NAMES", &Value::Null).await.as_ref()),
        10039
    );
    assert_eq!(
        code(
            ask(&other, "STREAM.LEADER.STEPDOWN.S", &Value::Null)
                .await
                .as_ref()
        ),
        10010
    );
    let system = connect(&server, "sys").await;
    let refused = ask(&system, "STREAM.NAMES", &Value::Null).await.unwrap();
    assert_eq!(refused["type"], "io.nats.jetstream.api.v1.system_response");
    assert_eq!(code(Some(&refused)), 10039);
    // It may remove all streams of an account.
    let purged = ask(&system, "ACCOUNT.PURGE.A", &Value::Null).await.unwrap();
    assert_eq!(purged["initiated"], true, "{purged}");
    assert_valid("jetstream/api/v1/account_purge_response.json", &purged);
    let gone = async {
        while code(ask(&client, "STREAM.INFO.S", &Value::Null).await.as_ref()) != 10059 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
