//! What becomes of messages that are acknowledged, refused, or neither.

use std::time::Duration;

use super::world::*;
use crate::jetstream::consumer::*;
use crate::store::index::StreamSeq;

#[test]
fn ack_forms() {
    let mut world = World::new(settings(), &["a"; 8]);
    world.pull("in", &batch(8));
    world.lines();
    for (sequence, payload) in [(1, ""), (2, "+ACK"), (3, "+OK")] {
        world.say(sequence, payload, "r");
        world.expect(&["r <- confirmed"]);
    }
    assert_eq!(world.figures().ack_pending, 5);
    // Again: it is confirmed, and nothing changes.
    world.say(1, "", "r");
    world.expect(&["r <- confirmed"]);
    world.say(4, "+TERM  it is no good ", "r");
    world.expect(&[
        "Terminated { stream: StreamSeq(4), consumer: 4, deliveries: 1, reason: \"it is no good\" }",
        "r <- confirmed",
    ]);
    world.say(5, "+WPI", "r");
    world.say(6, "what", "r");
    world.expect(&["r <- confirmed", "r <- confirmed"]);
    assert_eq!(world.figures().ack_pending, 4);
    world.say(5, "-NAK", "r");
    world.expect(&[
        "Naked { stream: StreamSeq(5), consumer: 5, deliveries: 1 }",
        "r <- confirmed",
    ]);
    // It is done with one and asks for more; messages are the answer.
    world.say(6, "+NXT 2", "in");
    world.expect(&["in <- a 2.5.9.0 m5"]);
    // Acknowledgements of what was never delivered are not heard.
    world.say_on("$JS.ACK.S.C.1.9.9.0.0", "", "r");
    world.say_on("$JS.ACK.S.C.1.0.0.0.0", "", "r");
    world.expect(&[]);
}

#[test]
fn late_messages_come_again_in_order() {
    let mut settings = settings();
    settings.ack_wait = Duration::from_secs(2);
    let mut world = World::new(settings, &["a"; 3]);
    world.pull("in", &batch(3));
    world.lines();
    world.pass_ms(500);
    world.say(2, "+WPI", "");
    world.pull("in", &batch(10));
    world.pass_ms(1_499);
    world.expect(&[]);
    world.pass_ms(1);
    world.expect(&["in <- a 2.1.4.0 m1", "in <- a 2.3.5.0 m3"]);
    world.pass_ms(500);
    world.expect(&["in <- a 2.2.6.0 m2"]);
    let figures = world.figures();
    assert_eq!((figures.redelivered, figures.ack_pending), (3, 3));
    // The number of an old delivery is good for its message, too.
    world.say_on("$JS.ACK.S.C.1.1.1.0.0", "", "");
    assert_eq!(world.figures().ack_floor.stream, StreamSeq(1));
}

#[test]
fn refused_messages_come_again_in_the_order_of_the_refusals() {
    let mut world = World::new(settings(), &["a"; 5]);
    world.pull("in", &batch(4));
    world.lines();
    for sequence in [3, 1, 2] {
        world.say(sequence, "-NAK", "");
    }
    world.say(4, "-NAK {\"delay\": 1500000000}", "");
    world.lines();
    // Those that come again are before the new ones.
    world.pull("in", &batch(10));
    world.expect(&[
        "in <- a 2.3.5.1 m3",
        "in <- a 2.1.6.1 m1",
        "in <- a 2.2.7.1 m2",
        "in <- a 1.5.8.0 m5",
    ]);
    world.pass_ms(1_499);
    world.expect(&[]);
    world.pass_ms(1);
    world.expect(&["in <- a 2.4.9.0 m4"]);
    // A delay after a refusal without one counts.
    world.say(1, "-NAK 2s", "");
    world.lines();
    world.pass_ms(2_000);
    world.expect(&["in <- a 3.1.10.0 m1"]);
}

#[test]
fn a_refusal_outlives_a_restart() {
    let mut world = World::new(settings(), &["a"; 3]);
    world.pull("in", &batch(3));
    world.say(2, "-NAK", "");
    world.say(1, "-NAK", "");
    world.restart();
    world.lines();
    world.pull("in", &batch(5));
    world.expect(&["in <- a 2.1.4.0 m1", "in <- a 2.2.5.0 m2"]);
}

#[test]
fn waits_become_longer() {
    let mut settings = settings();
    settings.backoff = vec![Duration::from_secs(1), Duration::from_secs(4)];
    let mut world = World::new(settings, &["a"]);
    world.pull("in", &batch(10));
    let mut times = vec![];
    for _ in 0..4 {
        world.lines();
        let before = world.now;
        while world.sink.lines.is_empty() {
            world.pass_ms(500);
        }
        times.push((world.now.0 - before.0) / 1_000_000);
    }
    assert_eq!(times, [1000, 4000, 4000, 4000]);
}

#[test]
fn another_wait_holds_for_what_was_delivered_before() {
    let mut world = World::new(settings(), &["a", "a"]);
    world.pull("in", &batch(3));
    world.say(2, "-NAK 40s", "");
    world.lines();
    let mut settings = world.consumer.settings().clone();
    settings.ack_wait = Duration::from_secs(10);
    world.turn(|c, turn| c.update(turn, settings)).unwrap();
    world.pass_ms(10_000);
    world.expect(&["in <- a 2.1.3.0 m1"]);
    world.ack(1);
    world.pull("in", &batch(1));
    world.pass_ms(9_999);
    world.expect(&[]);
    world.pass_ms(1);
    world.expect(&["in <- a 2.2.4.0 m2"]);
}

#[test]
fn what_was_delivered_too_often_is_given_up() {
    let mut settings = settings();
    settings.max_deliver = Some(2);
    settings.ack_wait = Duration::from_secs(1);
    settings.retention = Retention::WorkQueue;
    let mut world = World::new(settings, &["a", "a"]);
    world.pull("in", &batch(3));
    world.ack(2);
    world.pass_ms(1_000);
    world.expect(&[
        "in <- a 1.1.1.1 m1",
        "in <- a 1.2.2.0 m2",
        "release 2..=2",
        "in <- a 2.1.3.0 m1",
    ]);
    // Nobody has to ask for it.
    world.pass_ms(60_000);
    world.expect(&["MaxDeliveries { stream: StreamSeq(1), deliveries: 2 }"]);
    let figures = world.figures();
    assert_eq!((figures.ack_pending, figures.redelivered), (0, 1));
    assert_eq!(figures.ack_floor.stream, StreamSeq(2));
    // The message is still there, until somebody is done with it, and whatever happens meanwhile.
    world.restart();
    let figures = world.figures();
    assert_eq!((figures.ack_pending, figures.redelivered), (0, 1));
    world.pull("in", &batch(1));
    world.pass_ms(60_000);
    world.expect(&[]);
    world.sink.deaf.insert("in".into());
    world.pass_ms(60_000);
    world.figures();
    world.sink.deaf.clear();
    assert!(world.consumer.needs(&world.stream, StreamSeq(1)));
    assert!(!world.consumer.needs(&world.stream, StreamSeq(2)));
    world.ack(1);
    world.expect(&["release 1..=1"]);
    assert!(!world.consumer.needs(&world.stream, StreamSeq(1)));
    // The last refusal has the same end.
    world.store("a", "");
    world.pull("in", &batch(2));
    world.say(3, "-NAK", "");
    world.say(3, "-NAK", "");
    world.expect(&[
        "in <- a 1.3.4.0",
        "Naked { stream: StreamSeq(3), consumer: 4, deliveries: 1 }",
        "in <- a 2.3.5.0",
        "Naked { stream: StreamSeq(3), consumer: 5, deliveries: 2 }",
        "MaxDeliveries { stream: StreamSeq(3), deliveries: 2 }",
    ]);
}

#[test]
fn delivery_pauses_while_too_many_acknowledgements_are_missing() {
    let mut settings = settings();
    settings.max_ack_pending = Some(2);
    settings.ack_wait = Duration::from_secs(1);
    let mut world = World::new(settings, &["a"; 4]);
    world.pull("in", &batch(10));
    world.expect(&["in <- a 1.1.1.3 m1", "in <- a 1.2.2.2 m2"]);
    world.ack(1);
    world.expect(&["in <- a 1.3.3.1 m3"]);
    // What comes again goes on coming.
    world.pass_ms(1_000);
    world.expect(&["in <- a 2.2.4.1 m2", "in <- a 2.3.5.1 m3"]);
}

#[test]
fn one_acknowledgement_for_all_before() {
    let mut settings = settings();
    settings.ack = AckPolicy::All;
    settings.retention = Retention::Interest;
    let mut world = World::new(settings, &["a"; 5]);
    world.remove(2);
    world.pull("in", &batch(4));
    world.lines();
    world.say(4, "", "r");
    world.expect(&["release 1..=1", "release 3..=4", "r <- confirmed"]);
    let figures = world.figures();
    assert_eq!(
        (figures.ack_pending, figures.ack_floor.stream),
        (1, StreamSeq(4))
    );
    world.say(3, "", "r");
    world.expect(&["r <- confirmed"]);
    assert!(world.consumer.needs(&world.stream, StreamSeq(5)));
    assert!(!world.consumer.needs(&world.stream, StreamSeq(4)));
}

#[test]
fn nothing_to_acknowledge() {
    let mut settings = settings();
    settings.ack = AckPolicy::None;
    settings.max_ack_pending = None;
    settings.retention = Retention::Interest;
    let mut world = World::new(settings, &["a"; 2]);
    world.pull("in", &batch(2));
    world.expect(&[
        "in <- a 1.1.1.1 m1",
        "release 1..=1",
        "in <- a 1.2.2.0 m2",
        "release 2..=2",
    ]);
    world.say(1, "-NAK", "r");
    world.expect(&[]);
    assert_eq!(world.figures().ack_floor.stream, StreamSeq(2));
}
