//! Markers of subjects that have no message any more.

use super::{World, config};
use crate::jetstream::api::StreamConfig;
use crate::json::Nanos;

fn marking() -> StreamConfig {
    StreamConfig {
        allow_msg_ttl: true,
        allow_rollup_hdrs: true,
        subject_delete_marker_ttl: Nanos::from_secs(60),
        max_msgs_per_subject: 1,
        ..config("m.>")
    }
}

#[test]
fn a_marker_comes_once_whenever_the_power_goes() {
    let marker = "Nats-Marker-Reason: MaxAge, Nats-TTL: 1m0s, Nats-Rollup: sub";
    for orderly in [true, false] {
        let mut world = World::new(marking());
        world.publish("m.a", &[("Nats-TTL", "2s")], "x");
        world.publish("m.k", &[("Nats-TTL", "2s"), ("KV-Operation", "PURGE")], "");
        world.restart(orderly);
        world.pass(3);
        world.restart(orderly);
        world.pass(1);
        assert_eq!(world.messages(), [format!("3 m.a | {marker}")]);
        // It goes as well, and leaves nothing.
        world.pass(61);
        assert!(world.messages().is_empty());
    }
}

#[test]
fn no_message_goes_before_its_marker_would() {
    let mut world = World::new(StreamConfig {
        max_msgs_per_subject: 5,
        ..marking()
    });
    world.publish("m.a", &[("Nats-TTL", "1s"), ("A", "1")], "x");
    assert_eq!(world.messages(), ["1 m.a | A: 1, Nats-TTL: 60 | x"]);
    world.pass(59);
    assert_eq!(world.messages().len(), 1);
    world.publish("m.a", &[], "newer");
    world.pass(3);
    assert_eq!(
        world.messages(),
        ["2 m.a | newer"],
        "it is not the last one"
    );
}
