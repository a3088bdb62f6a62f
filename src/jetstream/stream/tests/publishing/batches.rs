//! Batches of which all messages are stored or none.

use super::{SECOND, World, bounds, config};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::advisory::AbandonReason;

fn atomic() -> StreamConfig {
    StreamConfig {
        allow_atomic: true,
        allow_rollup_hdrs: true,
        ..config("a.>")
    }
}

fn part(world: &mut World, subject: &str, id: &str, sequence: u64, commit: &str) -> String {
    let sequence = sequence.to_string();
    let mut headers = vec![("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &*sequence)];
    if !commit.is_empty() {
        headers.push(("Nats-Batch-Commit", commit));
    }
    world.publish(subject, &headers, "x")
}

#[test]
fn nothing_is_stored_before_all_is_there() {
    let mut world = World::new(atomic());
    assert_eq!(part(&mut world, "a.1", "b", 1, ""), "");
    assert_eq!(part(&mut world, "a.2", "b", 2, ""), "");
    assert!(world.messages().is_empty());
    let done = part(&mut world, "a.3", "b", 3, "1");
    assert_eq!(done, r#"{"stream":"S","seq":3,"batch":"b","count":3}"#);
    assert_eq!(world.messages().len(), 3);
    part(&mut world, "a.1", "c", 1, "");
    let done = part(&mut world, "a.1", "c", 2, "eob");
    assert_eq!(done, r#"{"stream":"S","seq":4,"batch":"c","count":1}"#);
    let last = world.messages().pop().unwrap();
    assert!(last.ends_with("Nats-Batch-Commit: 1 | x"), "{last}");
}

#[test]
fn after_a_power_cut_all_of_a_batch_is_there_or_nothing() {
    for orderly in [true, false] {
        let mut world = World::new(atomic());
        world.publish("a.0", &[], "before");
        for n in 1..5 {
            part(&mut world, "a.1", "b", n, "");
        }
        // What is not complete is lost.
        world.restart(orderly);
        assert_eq!(world.messages().len(), 1);
        assert!(part(&mut world, "a.1", "b", 5, "1").contains("10176"));
        for n in 1..5 {
            part(&mut world, "a.1", "b", n, if n == 4 { "1" } else { "" });
        }
        world.restart(orderly);
        assert_eq!(world.messages().len(), 5);
    }
}

#[test]
fn a_batch_is_refused_as_a_whole() {
    let mut world = World::new(atomic());
    let id = ("Nats-Batch-Id", "b");
    world.publish("a.1", &[id, ("Nats-Batch-Sequence", "1")], "x");
    let wrong = [
        id,
        ("Nats-Batch-Sequence", "2"),
        ("Nats-Batch-Commit", "1"),
        ("Nats-Expected-Last-Subject-Sequence", "7"),
    ];
    assert!(world.publish("a.2", &wrong, "x").contains("10071"));
    assert!(world.messages().is_empty());
    // It is over then.
    assert!(part(&mut world, "a.1", "b", 2, "1").contains("10176"));
    assert!(world.stream.take_abandoned().is_empty());
    part(&mut world, "a.1", "g", 1, "");
    assert!(part(&mut world, "a.1", "g", 3, "").contains("10176"));
    let abandoned = world.stream.take_abandoned();
    assert_eq!(abandoned, [("g".into(), AbandonReason::Incomplete)]);
}

#[test]
fn open_batches_are_bounded_in_number_size_and_time() {
    let mut bounds = bounds();
    bounds.batches.per_stream = Some(2);
    bounds.batches.messages = 3;
    bounds.waiting_bytes = 4000;
    let mut world = World::with(atomic(), bounds);
    part(&mut world, "a.1", "b", 1, "");
    part(&mut world, "a.1", "c", 1, "");
    assert!(part(&mut world, "a.1", "d", 1, "").contains("10210"));
    world.pass(9);
    part(&mut world, "a.1", "c", 2, "");
    world.pass(2);
    let abandoned = world.stream.take_abandoned();
    assert_eq!(abandoned, [("b".into(), AbandonReason::Timeout)]);
    assert_eq!(world.now % SECOND, 0);
    part(&mut world, "a.1", "c", 3, "");
    assert!(part(&mut world, "a.1", "c", 4, "").contains("10199"));
    let abandoned = world.stream.take_abandoned();
    assert_eq!(abandoned, [("c".into(), AbandonReason::Large)]);
    let headers = [("Nats-Batch-Id", "e"), ("Nats-Batch-Sequence", "1")];
    let refused = world.publish("a.1", &headers, &"x".repeat(4000));
    assert!(refused.contains("10199"), "{refused}");
    // Those that are gone are not counted any more.
    let open = world.all.atomic.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(open, 0);
}

#[test]
fn a_rollup_is_done_in_one_with_its_batch() {
    let mut world = World::new(atomic());
    for n in 0..5 {
        world.publish("a.1", &[], &n.to_string());
    }
    let id = ("Nats-Batch-Id", "b");
    let rolls_up = ("Nats-Rollup", "sub");
    world.publish("a.1", &[id, ("Nats-Batch-Sequence", "1"), rolls_up], "new");
    part(&mut world, "a.2", "b", 2, "1");
    assert_eq!(world.messages().len(), 2);
    world.restart(false);
    assert_eq!(world.messages().len(), 2);
    // Only the first message of a subject may.
    part(&mut world, "a.1", "c", 1, "");
    let headers = [id, ("Nats-Batch-Sequence", "2"), ("Nats-Batch-Commit", "1")];
    let headers = [&headers[..], &[rolls_up]].concat();
    let headers: Vec<_> = headers
        .into_iter()
        .map(|(n, v)| (n, if v == "b" { "c" } else { v }))
        .collect();
    assert!(
        world
            .publish("a.1", &headers, "x")
            .contains("batch rollup sub invalid")
    );
}
