//! Batches that are published fast.

use super::{World, config};
use crate::jetstream::api::StreamConfig;

fn send(world: &mut World, id: &str, gaps: &str, sequence: u64, operation: u8) -> String {
    let reply = format!("inbox.{id}.4.{gaps}.{sequence}.{operation}.$FI");
    world.send("f.a", &reply, &[], "x");
    world.replies().join(" ")
}

fn world() -> World {
    World::new(StreamConfig {
        allow_batched: true,
        ..config("f.>")
    })
}

#[test]
fn publishers_hear_now_and_then_how_far_they_have_got() {
    let mut world = world();
    let first = send(&mut world, "b", "fail", 1, 0);
    assert_eq!(first, r#"{"type":"ack","seq":0,"msgs":4}"#);
    for n in 2..4 {
        assert_eq!(send(&mut world, "b", "fail", n, 1), "");
    }
    let fourth = send(&mut world, "b", "fail", 4, 1);
    assert_eq!(fourth, r#"{"type":"ack","seq":4,"msgs":4}"#);
    let asked = send(&mut world, "b", "fail", 4, 4);
    assert_eq!(asked, fourth);
    let done = send(&mut world, "b", "fail", 5, 2);
    assert_eq!(done, r#"{"stream":"S","seq":5,"batch":"b","count":5}"#);
    assert!(send(&mut world, "b", "fail", 6, 1).contains("10208"));
    assert_eq!(world.messages().len(), 5);
}

#[test]
fn a_gap_ends_a_batch_in_which_none_may_be() {
    let mut world = world();
    send(&mut world, "b", "fail", 1, 0);
    let ended = send(&mut world, "b", "fail", 3, 1);
    assert_eq!(
        ended,
        r#"{"type":"gap","last_seq":2,"seq":3} {"stream":"S","seq":1,"batch":"b","count":1}"#
    );
    send(&mut world, "c", "ok", 1, 0);
    let goes_on = send(&mut world, "c", "ok", 3, 1);
    assert_eq!(goes_on, r#"{"type":"gap","last_seq":2,"seq":3}"#);
    let done = send(&mut world, "c", "ok", 4, 3);
    assert_eq!(done, r#"{"stream":"S","seq":3,"batch":"c","count":3}"#);
}

#[test]
fn a_batch_is_forgotten_after_a_while() {
    let mut world = world();
    send(&mut world, "b", "fail", 1, 0);
    world.pass(9);
    send(&mut world, "b", "fail", 2, 1);
    world.pass(9);
    assert_eq!(send(&mut world, "b", "fail", 3, 1), "");
    world.pass(11);
    assert!(send(&mut world, "b", "fail", 4, 1).contains("10208"));
    let open = world.all.fast.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(open, 0);
}
