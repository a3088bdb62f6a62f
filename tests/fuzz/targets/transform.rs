//! Whatever a transform is made of, its results are what its destination promises, hold nothing
//! that could end a line, and can be undone where it says so.
//!
//! An input is the source, the destination and any number of subjects, a line each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::base::rng::Rng;
use nats_server::subject::pattern::{is_subset, matches, overlaps};
use nats_server::subject::transform::Transform;
use nats_server::subject::{is_literal, is_valid};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|b| *b == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default());
    let (Ok(source), Ok(destination)) = (text(), text()) else {
        return;
    };
    patterns(source.as_bytes(), destination.as_bytes());
    let loose = Transform::new(source, destination, false);
    let strict = Transform::new(source, destination, true);
    assert!(strict.is_err() || strict == loose);
    if let Ok(mapping) = Transform::for_mapping(source, destination) {
        assert_eq!(Ok(mapping), loose);
    }
    match loose {
        Ok(transform) => lines.for_each(|subject| applied(&transform, subject)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn applied(transform: &Transform, subject: &[u8]) {
    let (mut rng, mut out) = (Rng::new(1), Vec::new());
    if !transform.apply(subject, &mut rng, &mut out) {
        assert!(out.is_empty());
        return;
    }
    assert!(matches(transform.source(), subject));
    assert!(out.iter().all(|b| *b >= 0x21));
    let pattern = transform.destination_pattern();
    assert!(is_valid(&pattern));
    assert!(!is_literal(&out) || matches(&pattern, &out));
    if let Some(back) = transform.reverse() {
        assert_eq!(back.source(), pattern);
        let mut end = Vec::new();
        assert!(back.apply(&out, &mut rng, &mut end));
        assert_eq!(end, subject);
    }
}

/// What holds between two patterns and what they match.
fn patterns(a: &[u8], b: &[u8]) {
    assert_eq!(overlaps(a, b), overlaps(b, a));
    if is_valid(a) && is_valid(b) {
        assert!(is_subset(a, a) && overlaps(a, a));
        assert!(!is_subset(a, b) || overlaps(a, b));
        assert!(!is_literal(a) || matches(b, a) == is_subset(a, b));
    }
}
