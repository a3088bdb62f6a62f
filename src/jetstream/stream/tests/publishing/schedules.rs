//! Schedules.

use super::{World, config};
use crate::jetstream::api::StreamConfig;

fn scheduling() -> StreamConfig {
    StreamConfig {
        allow_msg_schedules: true,
        allow_rollup_hdrs: true,
        ..config("s.>")
    }
}

fn every<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let basic = [
        ("Nats-Schedule", "@every 2s"),
        ("Nats-Schedule-Target", "s.t"),
    ];
    [&basic[..], more].concat()
}

#[test]
fn one_that_is_for_one_time_goes_with_what_it_makes() {
    let mut world = World::new(scheduling());
    let headers = [
        ("Nats-Schedule", "@at 2023-11-14T22:13:22Z"),
        ("Nats-Schedule-Target", "s.t"),
        ("A", "1"),
        ("Nats-Msg-Id", "i"),
    ];
    world.publish("s.a", &headers, "x");
    world.pass(1);
    assert_eq!(world.messages().len(), 1);
    world.restart(false);
    world.pass(2);
    let made = "2 s.t | A: 1, Nats-Scheduler: s.a, Nats-Schedule-Next: purge | x";
    assert_eq!(world.messages(), [made]);
    world.restart(false);
    world.pass(5);
    assert_eq!(world.messages(), [made]);
    assert_eq!(world.stream.expires_at(), None);
}

#[test]
fn one_that_repeats_makes_what_was_missed_once() {
    let mut world = World::new(scheduling());
    world.publish("s.a", &every(&[]), "x");
    world.pass(4);
    assert_eq!(world.messages().len(), 3);
    for orderly in [true, false] {
        let before = world.messages().len();
        world.restart(orderly);
        world.now += 60 * super::SECOND;
        world.pass(1);
        assert_eq!(world.messages().len(), before + 1);
        world.pass(2);
        assert_eq!(world.messages().len(), before + 2);
    }
    let last = world.messages().pop().unwrap();
    assert!(
        last.contains("Nats-Schedule-Next: 2023-11-14T22:15:"),
        "{last}"
    );
}

#[test]
fn the_newest_message_of_another_subject_is_copied_if_there_is_one() {
    let mut world = World::new(scheduling());
    let more = [
        ("Nats-Schedule-Source", "s.src"),
        ("Nats-Schedule-Rollup", "sub"),
    ];
    world.publish("s.a", &every(&more), "own");
    world.pass(2);
    let made = world.messages().pop().unwrap();
    assert!(made.ends_with("Nats-Rollup: sub | own"), "{made}");
    world.publish("s.src", &[("B", "2")], "other");
    world.pass(2);
    let all = world.messages();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[2].contains("s.t | B: 2, Nats-Scheduler: s.a") && all[2].ends_with("other"));
}

#[test]
fn a_schedule_ends_when_something_else_takes_its_place() {
    let purge = [("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "s.a")];
    for end in 0..4 {
        let mut world = World::new(scheduling());
        world.publish("s.a", &every(&[]), "x");
        world.pass(2);
        match end {
            0 => drop(world.publish("s.a", &[], "plain")),
            1 => drop(world.publish("s.b", &purge, "")),
            2 => {
                let schedule = crate::store::types::StreamSeq(1);
                assert!(world.stream.delete(schedule).unwrap());
                world.turn();
            }
            _ => {
                let later = [
                    ("Nats-Schedule", "@at 2033-01-01T00:00:00Z"),
                    ("Nats-Schedule-Target", "s.t"),
                ];
                world.publish("s.a", &later, "x");
            }
        }
        let before = world.messages();
        world.pass(5);
        world.restart(false);
        world.pass(5);
        assert_eq!(world.messages(), before, "{end}");
    }
    let mut world = World::new(scheduling());
    world.publish("s.a", &[], "no schedule");
    assert!(world.publish("s.b", &purge, "").contains("10212"));
}
