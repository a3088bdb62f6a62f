//! What clients that pull get to see.

use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::pull::{Priority, PullRequest};
use crate::jetstream::consumer::{Priority as Policy, *};
use crate::json::{Nanos, Time};
use crate::store::index::{StreamSeq, Timestamp};

const THREE: &[&str] = &["a", "b", "a"];

fn second(n: u64) -> Timestamp {
    Timestamp(START.0 + n * 1_000_000_000)
}

#[test]
fn a_request_gets_its_batch_and_no_more() {
    let mut world = World::new(settings(), THREE);
    world.pull("in", &batch(2));
    world.expect(&["in <- a 1.1.1.2 m1", "in <- b 1.2.2.1 m2"]);
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (1, 2));
    assert_eq!(figures.waiting, 0);
    // A batch of nothing is one of one.
    world.pull("in", &batch(0));
    world.expect(&["in <- a 1.3.3.0 m3"]);
    world.ack(1);
    world.ack(3);
    let figures = world.figures();
    assert_eq!(figures.ack_floor.stream, StreamSeq(1));
    assert_eq!(figures.delivered.stream, StreamSeq(3));
    world.ack(2);
    assert_eq!(world.figures().ack_floor.stream, StreamSeq(3));
}

#[test]
fn requests_take_turns() {
    let mut world = World::new(settings(), &[]);
    world.pull("x", &batch(3));
    world.pull("y", &batch(1));
    world.pull("z", &batch(2));
    for _ in 0..7 {
        world.store("s", "");
    }
    world.expect(&[
        "x <- s 1.1.1.0",
        "y <- s 1.2.2.0",
        "z <- s 1.3.3.0",
        "x <- s 1.4.4.0",
        "z <- s 1.5.5.0",
        "x <- s 1.6.6.0",
    ]);
    assert_eq!(world.figures().pending, 1);
}

#[test]
fn requests_that_do_not_wait() {
    let no_wait = |n, expires| PullRequest {
        no_wait: true,
        expires: Nanos(expires),
        ..batch(n)
    };
    let mut world = World::new(settings(), &["a"]);
    // What there is, and the end.
    world.pull("in", &no_wait(3, 0));
    world.expect(&["in <- a 1.1.1.0 m1", "in <- 404 No Messages"]);
    world.pull("in", &no_wait(1, 0));
    world.expect(&["in <- 404 No Messages"]);
    // One that expires waits for the first message, but not for the second.
    world.pull("in", &no_wait(3, 5_000_000_000));
    world.expect(&[]);
    world.store("a", "");
    world.expect(&["in <- a 1.2.2.0", "in <- 404 No Messages"]);
    world.pull("in", &no_wait(3, 5_000_000_000));
    world.pass_ms(5_000);
    world.expect(&["in <- 408 Request Timeout|Nats-Pending-Messages: 3|Nats-Pending-Bytes: 0"]);
}

#[test]
fn requests_that_do_not_wait_do_not_push_in() {
    let mut settings = settings();
    settings.max_ack_pending = Some(1);
    let mut world = World::new(settings, &["a", "a"]);
    world.pull("x", &batch(3));
    world.expect(&["x <- a 1.1.1.1 m1"]);
    let request = PullRequest {
        no_wait: true,
        ..batch(1)
    };
    // One message is left, and somebody waits for two.
    world.pull("y", &request);
    world.expect(&["y <- 408 Requests Pending"]);
    // Those that do not wait are kept while too many acknowledgements are missing.
    let mut world = World::new(settings_with_one_pending(), &["a", "a"]);
    world.pull("x", &batch(1));
    world.pull("y", &request);
    world.expect(&["x <- a 1.1.1.1 m1"]);
    world.ack(1);
    world.expect(&["y <- a 1.2.2.0 m2"]);
}

fn settings_with_one_pending() -> Settings {
    let mut settings = settings();
    settings.max_ack_pending = Some(1);
    settings
}

#[test]
fn requests_expire_and_hear_heartbeats_until_then() {
    let mut world = World::new(settings(), &["a"]);
    let request = PullRequest {
        expires: Nanos(2_500_000_000),
        idle_heartbeat: Nanos(1_000_000_000),
        max_bytes: 1000,
        ..batch(5)
    };
    world.pull("in", &request);
    world.expect(&["in <- a 1.1.1.0 m1"]);
    world.pass_ms(600);
    // A message is as good as a heartbeat.
    world.store("a", "");
    world.expect(&["in <- a 1.2.2.0"]);
    world.pass_ms(999);
    world.expect(&[]);
    world.pass_ms(1);
    let beat = "in <- 100 Idle Heartbeat|Nats-Last-Consumer: 2|Nats-Last-Stream: 2";
    world.expect(&[beat]);
    world.pass_ms(900);
    let left = 1000
        - world
            .sink
            .deliveries
            .iter()
            .map(|d| d.reply.len() + 1)
            .sum::<usize>()
        - 2;
    let end =
        format!("in <- 408 Request Timeout|Nats-Pending-Messages: 3|Nats-Pending-Bytes: {left}");
    world.expect(&[&end]);
    assert_eq!(
        world.consumer.next_timer().map(|at| at >= second(30)),
        Some(true)
    );
}

#[test]
fn bytes_are_counted_down() {
    let mut world = World::new(settings(), &["a", "a"]);
    world.pull("count", &batch(1));
    let size = world.sink.deliveries[0].reply.len() as i64 + 1 + 2;
    world.lines();
    let bytes = |max_bytes| PullRequest {
        max_bytes,
        ..batch(2)
    };
    // The second one does not fit.
    world.pull("in", &bytes(size + 1));
    world.expect(&["in <- a 1.2.2.0 m2"]);
    world.store("a", "m3");
    world.expect(&[
        "in <- 409 Message Size Exceeds MaxBytes|Nats-Pending-Messages: 1|Nats-Pending-Bytes: 1",
    ]);
    // Exactly used up: that is the end, without a word.
    world.pull("in", &bytes(size));
    world.expect(&["in <- a 1.3.3.0 m3"]);
    assert_eq!(world.figures().waiting, 0);
    // The batch is complete, and bytes are left.
    world.pull("in", &bytes(3 * size));
    world.store("a", "m4");
    world.store("a", "m5");
    world.expect(&[
        "in <- a 1.4.4.0 m4",
        "in <- a 1.5.5.0 m5",
        &format!("in <- 409 Batch Completed|Nats-Pending-Messages: 0|Nats-Pending-Bytes: {size}"),
    ]);
}

#[test]
fn requests_that_ask_for_too_much_are_refused() {
    let mut settings = settings();
    let pull = pulled(&mut settings);
    pull.max_batch = 10;
    pull.max_expires = Duration::from_secs(90);
    pull.max_bytes = 1000;
    pull.max_waiting = 1;
    let mut world = World::new(settings, &[]);
    let cases = [
        (batch(11), "409 Exceeded MaxRequestBatch of 10"),
        (
            PullRequest {
                expires: Nanos(90_000_000_001),
                ..batch(1)
            },
            "409 Exceeded MaxRequestExpires of 1m30s",
        ),
        (
            PullRequest {
                max_bytes: 1001,
                ..batch(1)
            },
            "409 Exceeded MaxRequestMaxBytes of 1000",
        ),
        (
            PullRequest {
                priority: Some(Priority {
                    min_pending: 1,
                    ..Priority::default()
                }),
                ..batch(1)
            },
            "400 Bad Request - Not a Overflow Priority consumer",
        ),
        (
            PullRequest {
                priority: Some(Priority {
                    id: "x".into(),
                    ..Priority::default()
                }),
                ..batch(1)
            },
            "400 Bad Request - Not a Pinned Client Priority consumer",
        ),
        (
            PullRequest {
                priority: Some(Priority {
                    priority: 10,
                    ..Priority::default()
                }),
                ..batch(1)
            },
            "400 Bad Request - Priority must be between 0 and 9",
        ),
    ];
    for (request, status) in cases {
        world.pull("in", &request);
        world.expect(&[&format!("in <- {status}")]);
    }
    let unread = Err("unexpected end of JSON input");
    world
        .turn(|c, turn| c.handle_pull(turn, b"in", unread))
        .unwrap();
    world.expect(&["in <- 400 Bad Request - unexpected end of JSON input"]);
    // A request that nobody can be told of is none.
    world.pull("", &batch(1));
    world.pull("first", &batch(1));
    world.pull("second", &batch(1));
    world.expect(&["second <- 409 Exceeded MaxWaiting"]);
    let request = PullRequest {
        idle_heartbeat: Nanos(1_000_000_000),
        expires: Nanos(5_000_000_000),
        ..batch(1)
    };
    world.pull("third", &request);
    world.expect(&[]);
    // Who is gone makes room.
    world.sink.deaf.insert("first".into());
    world.pass_ms(2_000);
    world.pull("fourth", &batch(1));
    world.expect(&[]);
    assert_eq!(world.figures().waiting, 1);
}

#[test]
fn requests_of_all_consumers_together_are_bounded() {
    let pull = Mode::Pull(PullSettings {
        max_waiting: 1_000_000_000,
        ..PullSettings::default()
    });
    let many = Settings {
        mode: pull,
        ..settings()
    };
    let waiters = Arc::new(Waiters::new(700));
    let (mut one, mut two) = (World::new(many.clone(), &[]), World::new(many, &[]));
    for world in [&mut one, &mut two] {
        world.consumer.share_waiters(waiters.clone());
    }
    one.pull("first", &batch(1));
    let bytes = waiters.bytes();
    assert!(bytes > 100 && bytes < 200, "{bytes}");
    let mut number = 1;
    while !waiters.take_crowded() {
        two.pull("other", &batch(1));
        number += 1;
    }
    assert_eq!(number, 700 / bytes + 1);
    two.expect(&["other <- 409 Exceeded MaxWaiting"]);
    assert!(waiters.bytes() <= 700 && !waiters.take_crowded());
    // Who is gone makes room, though at another consumer.
    one.sink.deaf.insert("first".into());
    one.consumer.look_through_requests(one.now);
    one.serve();
    two.pull("last", &batch(1));
    two.expect(&[]);
    // So does who got what it asked for.
    let before = (two.figures().waiting, waiters.bytes());
    two.store("a", "");
    assert_eq!(two.figures().waiting, before.0 - 1);
    assert_eq!(waiters.bytes(), before.1 - bytes);
    drop(two);
    assert_eq!(waiters.bytes(), 0);
}

#[test]
fn nobody_gets_what_nobody_listens_for() {
    let mut world = World::new(settings(), &[]);
    for reply in ["gone", "far", "here"] {
        world.pull(reply, &batch(2));
    }
    world.sink.deaf.insert("gone".into());
    world.sink.deaf_elsewhere.insert("far".into());
    world.store("a", "");
    world.expect(&[
        "far <- 408 Interest Expired|Nats-Pending-Messages: 2|Nats-Pending-Bytes: 0",
        "here <- a 1.1.1.0",
    ]);
    assert_eq!(world.figures().waiting, 1);
}

#[test]
fn filters_pass_what_they_do_not_match() {
    let mut world = World::new(filtered(&["a.*", "c"]), &["a.1", "b", "c", "b", "a.2", "b"]);
    assert_eq!(world.figures().pending, 3);
    world.pull("in", &batch(10));
    world.expect(&[
        "in <- a.1 1.1.1.2 m1",
        "in <- c 1.3.2.1 m3",
        "in <- a.2 1.5.3.0 m5",
    ]);
    world.store("b", "");
    world.store("c", "");
    world.expect(&["in <- c 1.8.4.0"]);
    // What was passed is no delivery.
    world.store("b", "");
    assert_eq!(world.figures().delivered.stream, StreamSeq(8));
}

#[test]
fn changed_filters_count_anew() {
    let mut world = World::new(filtered(&["a"]), &["a", "b", "a", "b", "b"]);
    world.pull("in", &batch(1));
    let mut settings = world.consumer.settings().clone();
    settings.set_filters(&["b".to_owned()]).unwrap();
    world.turn(|c, turn| c.update(turn, settings)).unwrap();
    assert_eq!(world.figures().pending, 3);
    world.pull("in", &batch(1));
    world.expect(&["in <- a 1.1.1.1 m1", "in <- b 1.2.2.2 m2"]);
}

#[test]
fn starts() {
    use DeliverPolicy::*;
    let subjects = &["a", "b", "a", "c", "b"];
    let cases: &[(DeliverPolicy, &[&str], u64, u64)] = &[
        (All, &[], 0, 5),
        (Last, &[], 4, 1),
        (Last, &["a"], 2, 1),
        (Last, &["x"], 0, 0),
        (New, &[], 5, 0),
        (BySequence(StreamSeq(3)), &[], 2, 3),
        (BySequence(StreamSeq(9)), &[], 8, 0),
        (BySequence(StreamSeq(0)), &[], 0, 5),
        (ByTime(Timestamp(START.0 - 2_500_000_000)), &[], 3, 2),
        (ByTime(second(1)), &[], 5, 0),
        (LastPerSubject, &["a", "b"], 2, 2),
        (LastPerSubject, &["x"], 4, 0),
    ];
    for (deliver, filters, after, pending) in cases {
        let mut settings = filtered(filters);
        settings.deliver = *deliver;
        let mut world = World::new(settings, subjects);
        let figures = world.figures();
        let seen = (figures.delivered.stream.0, figures.pending);
        assert_eq!(seen, (*after, *pending), "{deliver:?} {filters:?}");
    }
    // On an empty stream all are the same.
    for (deliver, filters, _, _) in cases {
        let mut settings = filtered(filters);
        settings.deliver = *deliver;
        let mut world = World::new(settings, &[]);
        if !matches!(deliver, BySequence(_)) {
            assert_eq!(world.figures().delivered.stream.0, 0, "{deliver:?}");
        }
    }
}

#[test]
fn a_start_beyond_the_end_waits() {
    let mut settings = settings();
    settings.deliver = DeliverPolicy::BySequence(StreamSeq(4));
    let mut world = World::new(settings, &["a"; 2]);
    world.pull("in", &batch(5));
    world.store("a", "");
    world.expect(&[]);
    world.store("a", "");
    world.expect(&["in <- a 1.4.1.0"]);
}

#[test]
fn the_last_of_each_subject_and_then_what_comes() {
    let mut settings = filtered(&[">"]);
    settings.deliver = DeliverPolicy::LastPerSubject;
    let mut world = World::new(settings, &["a", "b", "a", "c", "c", "b"]);
    world.store("a", "new");
    assert_eq!(world.figures().pending, 4);
    world.remove(5);
    assert_eq!(world.figures().pending, 3);
    world.pull("in", &batch(10));
    world.expect(&[
        "in <- a 1.3.1.2 m3",
        "in <- b 1.6.2.1 m6",
        "in <- a 1.7.3.0 new",
    ]);
}

#[test]
fn only_the_last_messages_of_subjects_come_after_a_restart_too() {
    let mut settings = settings();
    settings.deliver = DeliverPolicy::LastPerSubject;
    let mut world = World::new(settings, &["a", "b", "c", "c", "a", "d", "b", "d"]);
    world.store("a", "new");
    world.pull("in", &batch(1));
    world.expect(&["in <- c 1.4.1.4 m4"]);
    world.restart();
    assert_eq!(world.figures().pending, 4);
    world.pull("in", &batch(2));
    world.expect(&["in <- a 1.5.2.3 m5", "in <- b 1.7.3.2 m7"]);
    // The last one is gone, and nothing else of its subject comes for it.
    world.remove(8);
    world.store("c", "newer");
    world.restart();
    world.pull("in", &batch(10));
    world.expect(&["in <- a 1.9.4.1 new", "in <- c 1.10.5.0 newer"]);
    // Behind them everything comes.
    world.restart();
    world.store("c", "newest");
    world.store("c", "newest of all");
    world.pull("in", &batch(10));
    world.expect(&["in <- c 1.11.6.1 newest", "in <- c 1.12.7.0 newest of all"]);
}

#[test]
fn removed_messages_do_not_wait() {
    let mut world = World::new(filtered(&["a"]), &["a"; 6]);
    world.pull("in", &batch(2));
    world.lines();
    world.remove(2);
    world.remove(4);
    world.expect(&[
        "Terminated { stream: StreamSeq(2), consumer: 2, deliveries: 1, \
         reason: \"Unacknowledged message was deleted\" }",
    ]);
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (3, 1));
    // One that nobody told of is noticed when it is to be delivered again.
    world.say(1, "-NAK", "");
    world.stream.messages.remove(&1);
    world.lines();
    world.pull("in", &batch(9));
    world.expect(&[
        "Terminated { stream: StreamSeq(1), consumer: 1, deliveries: 1, \
         reason: \"Unacknowledged message was deleted\" }",
        "in <- a 1.3.3.2 m3",
        "in <- a 1.5.4.1 m5",
        "in <- a 1.6.5.0 m6",
    ]);
}

#[test]
fn limits_take_what_waits() {
    let mut world = World::new(settings(), &["a"; 6]);
    world.pull("in", &batch(3));
    world.lines();
    world.trim(5);
    world.turn(Consumer::handle_trimmed).unwrap();
    let lines = world.lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[0],
        "Terminated { stream: StreamSeq(1), consumer: 1, deliveries: 1, \
         reason: \"Message deleted by stream limits\" }"
    );
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (2, 0));
    assert_eq!(figures.ack_floor.stream, StreamSeq(3));
    world.pull("in", &batch(1));
    world.expect(&["in <- a 1.5.4.1 m5"]);
}

#[test]
fn purges_take_what_waits_in_silence() {
    let mut world = World::new(settings(), &["a"; 6]);
    world.pull("in", &batch(5));
    world.lines();
    world.stream.messages.remove(&5);
    world.trim(3);
    world.turn(Consumer::handle_purged).unwrap();
    world.expect(&[]);
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (1, 2));
    assert_eq!(figures.ack_floor.stream, StreamSeq(2));
    world.trim(7);
    world.turn(Consumer::handle_purged).unwrap();
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (0, 0));
    assert_eq!(figures.ack_floor.stream, figures.delivered.stream);
    assert_eq!(figures.delivered.stream, StreamSeq(6));
}

#[test]
fn headers_without_payloads() {
    let mut settings = settings();
    settings.headers_only = true;
    let mut world = World::new(settings, &["a"]);
    world.pull("in", &batch(3));
    world.store_with("a", "NATS/1.0\r\nX: y\r\n\r\n", "12345");
    world.store("a", "");
    world.expect(&[
        "in <- a 1.1.1.0 [NATS/1.0|Nats-Msg-Size: 2]",
        "in <- a 1.2.2.0 [NATS/1.0|X: y|Nats-Msg-Size: 5]",
        "in <- a 1.3.3.0 [NATS/1.0|Nats-Msg-Size: 0]",
    ]);
}

#[test]
fn samples_are_told_of() {
    let mut settings = settings();
    settings.sample_percent = 100;
    let mut world = World::new(settings, &["a"]);
    world.pull("in", &batch(1));
    world.pass_ms(25);
    world.lines();
    world.ack(1);
    world.ack(1);
    world.expect(&[
        "Acked { stream: StreamSeq(1), consumer: 1, deliveries: 1, ack_time_ns: 25000000 }",
    ]);
}

#[test]
fn messages_come_as_fast_as_they_were_stored() {
    let mut settings = settings();
    settings.replay_original = true;
    let mut world = World::new(settings, &["a"; 3]);
    world.pull("in", &batch(10));
    world.expect(&["in <- a 1.1.1.2 m1"]);
    world.pass_ms(999);
    world.expect(&[]);
    world.pass_ms(1);
    world.expect(&["in <- a 1.2.2.1 m2"]);
    world.pass_ms(1_000);
    world.expect(&["in <- a 1.3.3.0 m3"]);
    // The consumer has caught up.
    world.pass_ms(10_000);
    world.store("a", "");
    world.expect(&["in <- a 1.4.4.0"]);
}

#[test]
fn a_pause_ends_by_itself() {
    let mut settings = settings();
    settings.pause_until = Some(second(10));
    let mut world = World::new(settings, &["a"]);
    world.pull("in", &batch(1));
    world.expect(&[]);
    assert_eq!(world.figures().pause_remaining_ns, Some(10_000_000_000));
    world.pass_ms(10_000);
    world.expect(&[
        "Paused { paused: false, until: Some(Timestamp(2010000000000)) }",
        "in <- a 1.1.1.0 m1",
    ]);
    assert_eq!(world.figures().pause_remaining_ns, None);
    // Another one, and its end on request.
    let mut settings = world.consumer.settings().clone();
    settings.pause_until = Some(second(20));
    world
        .turn(|c, turn| c.update(turn, settings.clone()))
        .unwrap();
    world.pull("in", &batch(1));
    world.store("a", "");
    settings.pause_until = None;
    world.turn(|c, turn| c.update(turn, settings)).unwrap();
    world.serve();
    world.expect(&[
        "Paused { paused: true, until: Some(Timestamp(2020000000000)) }",
        "Paused { paused: false, until: None }",
        "in <- a 1.2.2.0",
    ]);
}

#[test]
fn resets() {
    let mut world = World::new(settings(), &["a"; 4]);
    world.pull("in", &batch(3));
    world.ack(1);
    world.lines();
    // Behind the ack floor.
    let to = world.turn(|c, turn| c.reset(turn, None)).unwrap();
    assert_eq!(to, StreamSeq(2));
    let figures = world.figures();
    assert_eq!((figures.pending, figures.ack_pending), (3, 0));
    world.pull("in", &batch(1));
    world.expect(&["in <- a 1.2.1.2 m2"]);
    world
        .turn(|c, turn| c.reset(turn, Some(StreamSeq(4))))
        .unwrap();
    world.pull("in", &batch(1));
    world.expect(&["in <- a 1.4.1.0 m4"]);

    let refused = |deliver, to| {
        let mut settings = settings();
        settings.deliver = deliver;
        let mut world = World::new(settings, &["a"; 4]);
        let reset = world.turn(|c, turn| c.reset(turn, Some(StreamSeq(to))));
        reset.map_err(|e| e.to_string())
    };
    let start = DeliverPolicy::BySequence(StreamSeq(3));
    assert_eq!(refused(start, 2), Err("below start seq".into()));
    assert_eq!(refused(start, 3), Ok(StreamSeq(3)));
    let start = DeliverPolicy::ByTime(Timestamp(START.0 - 2_000_000_000));
    assert_eq!(refused(start, 2), Err("below start time".into()));
    assert_eq!(refused(start, 3), Ok(StreamSeq(3)));
    assert_eq!(refused(DeliverPolicy::Last, 3), Err("not allowed".into()));
}

#[test]
fn the_end() {
    let mut world = World::new(settings(), &[]);
    world.pull("x", &batch(1));
    world.turn(Consumer::handle_deleted);
    world.expect(&["x <- 409 Consumer Deleted"]);
    world.pull("y", &batch(3));
    world.turn(Consumer::handle_shutdown);
    world.expect(&["y <- 409 Server Shutdown|Nats-Pending-Messages: 3|Nats-Pending-Bytes: 0"]);
}

#[test]
fn a_consumer_that_nobody_uses_goes() {
    let mut settings = settings();
    settings.inactive_threshold = Duration::from_secs(5);
    let mut world = World::new(settings.clone(), &["a"]);
    world.pass_ms(6_000);
    assert_eq!(world.served, Served::Inactive);
    assert!(world.now <= second(6));

    // Requests that wait keep it, and what a client is at work on.
    let mut world = World::new(settings, &["a"]);
    let request = PullRequest {
        expires: Nanos(20_000_000_000),
        ..batch(1)
    };
    world.pull("in", &request);
    world.pull("in", &request);
    world.pass_ms(20_000);
    assert_eq!(world.served, Served::Idle);
    world.pass_ms(14_000);
    assert_eq!(world.served, Served::Idle);
    world.pass_ms(3_000);
    assert_eq!(world.served, Served::Inactive);
}

#[test]
fn idle_consumers_are_small() {
    let world = World::new(settings(), &[]);
    let bytes = world.consumer.memory_bytes();
    assert!(bytes < 1024, "{bytes}");
}

#[test]
fn figures_are_told_as_the_api_has_them() {
    let mut settings = settings();
    let pull = pulled(&mut settings);
    pull.priority = Policy::Pinned;
    pull.groups = vec!["A".into()];
    let mut world = World::new(settings.clone(), &["a", "a"]);
    let request = PullRequest {
        priority: Some(Priority {
            group: "A".into(),
            ..Priority::default()
        }),
        ..batch(1)
    };
    world.pull("in", &request);
    let figures = world.figures();
    let (pin, at) = figures.pin.clone().unwrap().pinned.unwrap();
    assert_eq!(at, START);
    let config = ConsumerConfig::default();
    let created = Time::from_unix_nanos(START.0);
    let info = figures.document(&settings, config, created, START);
    let mut json = serde_json::to_value(&info).unwrap();
    json.as_object_mut().unwrap().remove("config");
    let expected = serde_json::json!({
        "stream_name": "S",
        "name": "C",
        "created": "1970-01-01T00:33:20Z",
        "delivered": {"consumer_seq": 1, "stream_seq": 1, "last_active": "1970-01-01T00:33:20Z"},
        "ack_floor": {"consumer_seq": 0, "stream_seq": 0},
        "num_ack_pending": 1,
        "num_redelivered": 0,
        "num_waiting": 0,
        "num_pending": 1,
        "ts": "1970-01-01T00:33:20Z",
        "priority_groups": [
            {"group": "A", "pinned_client_id": pin, "pinned_ts": "1970-01-01T00:33:20Z"},
        ],
    });
    assert_eq!(json, expected);
}
