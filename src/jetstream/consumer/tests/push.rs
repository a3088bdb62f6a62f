//! What clients get to see to whom messages are sent.

use std::time::Duration;

use super::world::*;
use crate::jetstream::consumer::*;
use crate::store::index::StreamSeq;

fn pushed(push: PushSettings) -> Settings {
    let mut settings = settings();
    settings.mode = Mode::Push(PushSettings {
        subject: "out".into(),
        ..push
    });
    settings
}

fn listen(world: &mut World, present: bool) {
    let now = world.now;
    world.consumer.handle_interest(present, now);
    world.serve();
}

#[test]
fn messages_are_sent_while_somebody_listens() {
    let mut world = World::new(pushed(PushSettings::default()), &["a", "b"]);
    world.serve();
    world.expect(&[]);
    assert!(!world.consumer.wants_messages());
    listen(&mut world, true);
    world.expect(&["out <- a 1.1.1.1 m1", "out <- b 1.2.2.0 m2"]);
    assert!(world.figures().push_bound);
    world.store("c", "");
    world.expect(&["out <- c 1.3.3.0"]);
    listen(&mut world, false);
    world.store("d", "");
    world.expect(&[]);
    assert_eq!(world.figures().pending, 1);
    world.pull("in", &batch(1));
    world.expect(&["in <- 409 Consumer is push based"]);
}

#[test]
fn heartbeats() {
    let push = PushSettings {
        heartbeat: Some(Duration::from_secs(1)),
        ..PushSettings::default()
    };
    let mut world = World::new(pushed(push), &["a"]);
    world.pass_ms(5_000);
    world.expect(&[]);
    listen(&mut world, true);
    world.expect(&["out <- a 1.1.1.0 m1"]);
    world.pass_ms(999);
    world.expect(&[]);
    world.pass_ms(1);
    let beat = "out <- 100 Idle Heartbeat|Nats-Last-Consumer: 1|Nats-Last-Stream: 1";
    world.expect(&[beat]);
    world.pass_ms(2_000);
    world.expect(&[beat, beat]);
}

#[test]
fn flow_control_stalls_until_it_is_answered() {
    let push = PushSettings {
        heartbeat: Some(Duration::from_secs(5)),
        flow_control: true,
        ..PushSettings::default()
    };
    let mut world = World::new(pushed(push), &[]);
    listen(&mut world, true);
    let large = "x".repeat(500_000);
    for _ in 0..3 {
        world.store("a", &large);
    }
    let lines = world.lines();
    // Behind half of two megabytes the client is asked.
    assert_eq!(lines.len(), 4);
    let asked = lines[3].strip_prefix("out <- 100 FlowControl Request reply ");
    let asked = asked.unwrap().to_owned();
    assert!(asked.starts_with("$JS.FC.S.C.") && asked.len() == "$JS.FC.S.C.".len() + 4);
    // At the window's end nothing more is sent.
    for _ in 0..4 {
        world.store("a", &large);
    }
    assert_eq!(world.lines().len(), 2);
    world.pass_ms(5_000);
    world.expect(&[&format!(
        "out <- 100 Idle Heartbeat|Nats-Last-Consumer: 5|Nats-Last-Stream: 5\
         |Nats-Consumer-Stalled: {asked}"
    )]);
    // An answer to something else is none.
    world
        .turn(|c, turn| c.handle_flow(turn, b"$JS.FC.S.C.else", b""))
        .unwrap();
    world.serve();
    world.expect(&[]);
    world
        .turn(|c, turn| c.handle_flow(turn, asked.as_bytes(), b""))
        .unwrap();
    world.serve();
    assert_eq!(world.lines().len(), 2);
    world.pass_ms(5_000);
    let beats = world.lines();
    assert_eq!(beats.len(), 1);
    assert!(!beats[0].contains("Stalled"), "{beats:?}");
}

#[test]
fn flow_control_that_acknowledges() {
    let push = PushSettings {
        heartbeat: Some(Duration::from_secs(1)),
        flow_control: true,
        ..PushSettings::default()
    };
    let mut settings = pushed(push);
    settings.ack = AckPolicy::FlowControl;
    settings.ack_wait = Duration::ZERO;
    settings.max_ack_pending = Some(2);
    let mut world = World::new(settings, &["a"; 5]);
    listen(&mut world, true);
    let lines = world.lines();
    // It is asked when no more may be sent before it answers.
    assert_eq!(lines.len(), 3);
    let asked = lines[2].rsplit(' ').next().unwrap().to_owned();
    let headers = b"NATS/1.0\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n";
    world
        .turn(|c, turn| c.handle_flow(turn, asked.as_bytes(), headers))
        .unwrap();
    assert_eq!(world.figures().ack_floor.stream, StreamSeq(2));
    world.serve();
    let lines = world.lines();
    assert_eq!(lines[..2], ["out <- a 1.3.3.2 m3", "out <- a 1.4.4.1 m4"]);
    // Messages on their subjects are not listened to.
    world.say(3, "", "r");
    world.expect(&[]);
    assert_eq!(world.figures().ack_pending, 2);
}

#[test]
fn messages_are_sent_at_a_rate() {
    let push = PushSettings {
        rate: Some(Rate {
            bytes_per_s: 1_000,
            burst_bytes: 1_000,
        }),
        ..PushSettings::default()
    };
    let mut world = World::new(pushed(push), &[]);
    for _ in 0..10 {
        world.store(
            "a",
            &"x".repeat(500 - 3 - "$JS.ACK.S.C.1.1.1.2000000000000.0".len() + 2),
        );
    }
    listen(&mut world, true);
    assert_eq!(world.lines().len(), 2);
    world.pass_ms(499);
    world.expect(&[]);
    world.pass_ms(1);
    assert_eq!(world.lines().len(), 1);
    world.pass_ms(2_000);
    assert_eq!(world.lines().len(), 4);
    world.pass_ms(20_000);
    assert_eq!(world.lines().len(), 3);
}

#[test]
fn a_new_subject_gets_what_was_not_acknowledged() {
    let mut world = World::new(pushed(PushSettings::default()), &["a"; 3]);
    listen(&mut world, true);
    world.ack(2);
    world.lines();
    listen(&mut world, false);
    let mut settings = world.consumer.settings().clone();
    settings.mode = Mode::Push(PushSettings {
        subject: "elsewhere".into(),
        ..PushSettings::default()
    });
    world.turn(|c, turn| c.update(turn, settings)).unwrap();
    listen(&mut world, true);
    world.expect(&["elsewhere <- a 2.1.4.0 m1", "elsewhere <- a 2.3.5.0 m3"]);
}

#[test]
fn a_consumer_that_nobody_listens_to_goes() {
    let mut settings = pushed(PushSettings::default());
    settings.inactive_threshold = Duration::from_secs(5);
    let mut world = World::new(settings, &["a"]);
    world.pass_ms(4_000);
    listen(&mut world, true);
    world.pass_ms(20_000);
    assert_eq!(world.served, Served::Idle);
    listen(&mut world, false);
    world.pass_ms(4_000);
    // A client that is at work is there, though it does not listen.
    world.ack(1);
    world.pass_ms(4_999);
    assert_eq!(world.served, Served::Idle);
    world.pass_ms(1);
    assert_eq!(world.served, Served::Inactive);
}

#[test]
fn an_ordered_consumer_needs_nothing_special() {
    let push = PushSettings {
        heartbeat: Some(Duration::from_secs(5)),
        flow_control: true,
        ..PushSettings::default()
    };
    let mut settings = pushed(push);
    settings.ack = AckPolicy::None;
    settings.max_ack_pending = None;
    settings.max_deliver = Some(1);
    settings.ack_wait = Duration::from_secs(22 * 3600);
    settings.deliver = DeliverPolicy::BySequence(StreamSeq(2));
    let mut world = World::new(settings, &["a"; 3]);
    listen(&mut world, true);
    world.expect(&["out <- a 1.2.1.1 m2", "out <- a 1.3.2.0 m3"]);
    world.pass_ms(5_000);
    world.expect(&["out <- 100 Idle Heartbeat|Nats-Last-Consumer: 2|Nats-Last-Stream: 3"]);
}
