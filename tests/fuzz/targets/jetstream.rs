//! Requests to JetStream: the first line is a subject, the rest a body. Whatever is read is the same
//! once it was written and read again; acknowledgements, pull requests, headers and patterns of
//! times are judged, too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::jetstream::api::ack::{self, AckKind, AckSubject, Near};
use nats_server::jetstream::api::request::{ConsumerCreateRequest, StreamConfigRequest};
use nats_server::jetstream::api::{StreamConfig, batch, direct_get, headers, pull, subjects};
use nats_server::json::decode::{Decode, request};
use nats_server::json::{Time, compact};
use std::fmt::Debug;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (subject, body) = data.split_at(end.unwrap_or(data.len()));
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    if let Ok(subject) = str::from_utf8(subject) {
        if let Some(request) = subjects::parse(subject) {
            request.body_rule();
        }
    }
    if let Some(parsed) = ack::parse_subject(subject) {
        // The second time from the numbers of the first.
        let mut near = Near::default();
        for _ in 0..2 {
            let mut out = Vec::new();
            AckSubject::new("s", "c").write(&parsed.delivery, &mut near, &mut out);
            let again = ack::parse_subject(&out).map(|parsed| parsed.delivery);
            assert_eq!(again, Some(parsed.delivery));
        }
    }
    let _ = batch::parse(subject);
    same_again(body, compact::<StreamConfigRequest>);
    same_again(body, compact::<ConsumerCreateRequest>);
    subjects::is_empty(body);
    AckKind::parse(body);
    let _ = pull::parse(body);
    let _ = direct_get::parse(body);
    judge_headers(data);
});

fn same_again<T: Decode + PartialEq + Debug>(body: &[u8], write: fn(&T) -> Vec<u8>) {
    let Ok(read) = request::<T>(body, false) else {
        return;
    };
    let again = request::<T>(&write(&read.value), true);
    assert_eq!(again.map(|again| again.value), Ok(read.value));
}

fn judge_headers(block: &[u8]) {
    let stream = StreamConfig {
        subjects: vec!["t.>".into()],
        allow_msg_schedules: true,
        allow_msg_counter: true,
        allow_atomic: true,
        ..StreamConfig::default()
    };
    let headers = headers::PublishHeaders::parse(block);
    let _ = headers.schedule(b"t.s", &stream, Time::from_unix(1_700_000_000, 0));
    let _ = headers.increment(&stream, false);
    let _ = headers.atomic_batch(&stream);
    let _ = headers.ttl();
    let _ = headers.rollup(true);
}
