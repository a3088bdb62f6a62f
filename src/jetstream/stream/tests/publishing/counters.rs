//! Counters.

use super::{World, config};
use crate::jetstream::api::StreamConfig;

#[test]
fn increments_are_summed_up() {
    let mut world = World::new(StreamConfig {
        allow_msg_counter: true,
        ..config("c.>")
    });
    let mut add = |by: &str| world.publish("c.a", &[("Nats-Incr", by)], "");
    assert_eq!(add("+5"), r#"{"stream":"S","seq":1,"val":"5"}"#);
    assert_eq!(add("-7"), r#"{"stream":"S","seq":2,"val":"-2"}"#);
    let huge = "1".repeat(50);
    assert!(add(&huge).contains(&format!("\"val\":\"{}09\"", "1".repeat(48))));
    world.restart(false);
    assert!(
        world
            .publish("c.a", &[("Nats-Incr", "0")], "")
            .contains("109")
    );
    assert_eq!(
        world.messages()[0],
        r#"1 c.a | Nats-Incr: +5 | {"val":"5"}"#
    );
    for (headers, payload, code) in [
        (vec![], "x", 10169),
        (vec![("Nats-Incr", "1")], "x", 10170),
        (vec![("Nats-Incr", "x")], "", 10171),
        (vec![("Nats-Incr", "1"), ("Nats-Rollup", "sub")], "", 10171),
    ] {
        let refused = world.publish("c.a", &headers, payload);
        assert!(refused.contains(&code.to_string()), "{refused}");
    }
}

#[test]
fn what_is_no_counter_is_broken() {
    let mut world = World::new(config("c.>"));
    world.publish("c.a", &[], "no counter");
    world.config.allow_msg_counter = true;
    world.restart(true);
    let refused = world.publish("c.a", &[("Nats-Incr", "1")], "");
    assert!(refused.contains("10172"), "{refused}");
}
