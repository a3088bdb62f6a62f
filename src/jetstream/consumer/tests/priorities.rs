//! Which of the clients that pull in a priority group get messages.

use std::time::Duration;

use super::world::*;
use crate::jetstream::api::pull::{Priority, PullRequest};
use crate::jetstream::consumer::Priority as Policy;

#[test]
fn overflow_serves_when_there_is_enough_to_do() {
    let mut settings = settings();
    let pull = pulled(&mut settings);
    pull.priority = Policy::Overflow;
    pull.groups = vec!["A".into()];
    let mut world = World::new(settings, &["a"]);
    let group = |name: &str, min_pending, min_ack_pending| PullRequest {
        priority: Some(Priority {
            group: name.into(),
            min_pending,
            min_ack_pending,
            ..Priority::default()
        }),
        ..batch(5)
    };
    world.pull("in", &group("", 0, 0));
    world.pull("in", &group("B", 0, 0));
    world.expect(&[
        "in <- 400 Bad Request - Priority Group missing",
        "in <- 400 Bad Request - Invalid Priority Group",
    ]);
    world.pull("many", &group("A", 3, 0));
    world.expect(&[]);
    world.store("a", "");
    world.expect(&[]);
    world.store("a", "");
    world.expect(&["many <- a 1.1.1.2 m1"]);
    world.pull("acks", &group("A", 0, 2));
    world.expect(&[]);
    world.pull("any", &group("A", 0, 0));
    world.expect(&["any <- a 1.2.2.1", "acks <- a 1.3.3.0"]);
    world.store("a", "");
    world.expect(&["any <- a 1.4.4.0"]);
}

#[test]
fn the_smallest_priority_comes_first() {
    let mut settings = settings();
    let pull = pulled(&mut settings);
    pull.priority = Policy::Prioritized;
    pull.groups = vec!["A".into()];
    let mut world = World::new(settings, &[]);
    let request = |priority, n| PullRequest {
        priority: Some(Priority {
            group: "A".into(),
            priority,
            ..Priority::default()
        }),
        ..batch(n)
    };
    world.pull("five", &request(5, 2));
    world.pull("one", &request(1, 2));
    world.pull("uno", &request(1, 2));
    world.pull("none", &batch(1));
    for _ in 0..7 {
        world.store("a", "");
    }
    let lines = world.lines();
    let order: Vec<&str> = lines.iter().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(order, ["one", "uno", "one", "uno", "five", "five", "none"]);
}

#[test]
fn one_client_is_pinned() {
    let mut settings = settings();
    let pull = pulled(&mut settings);
    pull.priority = Policy::Pinned;
    pull.groups = vec!["A".into()];
    pull.pin_ttl = Duration::from_secs(10);
    let mut world = World::new(settings, &[]);
    let request = |id: &str, n| PullRequest {
        priority: Some(Priority {
            group: "A".into(),
            id: id.into(),
            ..Priority::default()
        }),
        ..batch(n)
    };
    world.pull("x", &request("", 2));
    world.pull("y", &request("", 5));
    world.store("a", "");
    let pin = world.figures().pin.unwrap().pinned.unwrap().0;
    assert_eq!(pin.len(), 22);
    world.expect(&[
        &format!("Pinned {{ group: \"A\", id: {pin:?} }}"),
        &format!("x <- a 1.1.1.0 [NATS/1.0|Nats-Pin-Id: {pin}]"),
    ]);
    // The others wait, whatever comes.
    world.store_with("a", "NATS/1.0\r\nX: y\r\n\r\n", "");
    world.store("a", "");
    world.expect(&[&format!(
        "x <- a 1.2.2.0 [NATS/1.0|X: y|Nats-Pin-Id: {pin}]"
    )]);
    world.pull("z", &request("other", 1));
    world.expect(&["z <- 423 Nats-Pin-Id mismatch"]);
    world.pass_ms(9_000);
    world.pull("x", &request(&pin, 3));
    world.expect(&[&format!("x <- a 1.3.3.0 [NATS/1.0|Nats-Pin-Id: {pin}]")]);
    // Its requests keep it pinned; without them, somebody else is.
    world.pass_ms(9_000);
    assert!(world.figures().pin.unwrap().pinned.is_some());
    world.pass_ms(1_000);
    world.expect(&["Unpinned { group: \"A\", reason: \"timeout\" }"]);
    world.store("a", "");
    let next = world.figures().pin.unwrap().pinned.unwrap().0;
    world.expect(&[
        "x <- 423 Nats-Wrong-Pin-Id|Nats-Pending-Messages: 2|Nats-Pending-Bytes: 0",
        &format!("Pinned {{ group: \"A\", id: {next:?} }}"),
        &format!("y <- a 1.4.4.0 [NATS/1.0|Nats-Pin-Id: {next}]"),
    ]);
    world.turn(|c, turn| c.unpin(turn, "A"));
    world.expect(&["Unpinned { group: \"A\", reason: \"admin\" }"]);
    assert_eq!(world.figures().pin.unwrap().pinned, None);
}
