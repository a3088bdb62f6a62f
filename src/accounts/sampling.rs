//! Which requests to a service are measured.

use crate::base::rng::Rng;
use crate::options::security::Sampling;
use crate::proto::headers::{self, Picked};
use crate::proto::msg_trace::is_sampled;

const UBER: &str = "Uber-Trace-Id";
const UBER_CONTEXT: &str = "Uberctx-";
const B3: &str = "B3";
const B3_SAMPLED: &str = "X-B3-Sampled";
const B3_TRACE: &str = "X-B3-Traceid";
const B3_PARENT: &str = "X-B3-Parentspanid";
const B3_SPAN: &str = "X-B3-Spanid";
const TRACE_PARENT: &str = "Traceparent";
const TRACE_STATE: &str = "Tracestate";

/// The headers by which a request is measured, none if it is picked at random; `None`: it is not
/// measured. `block` are its headers, empty if it has none.
pub fn sample(sampling: Sampling, block: &[u8], rng: &mut Rng) -> Option<Picked> {
    if let Sampling::Percent(percent) = sampling
        && is_drawn(percent, rng)
    {
        return Some(Picked::new());
    }
    by_headers(block)
}

/// Whether one of those is picked of which so many of a hundred are: as in the reference, one more
/// than is said.
pub fn is_drawn(percent: u8, rng: &mut Rng) -> bool {
    percent >= 100 || rng.below(100) <= usize::from(percent)
}

/// The headers of a request, by which its sender says that it is traced.
fn by_headers(block: &[u8]) -> Option<Picked> {
    let text = |name| headers::value(block, name).map(String::from_utf8_lossy);
    if let Some(id) = text(UBER) {
        let parts: Vec<&str> = id.split(':').collect();
        let flags = parts
            .get(3)
            .filter(|f| parts.len() == 4 && (1..=2).contains(&f.len()));
        let traced = flags.is_some_and(|f| is_odd(f));
        return traced.then(|| pick(block, |name| name == UBER || name.starts_with(UBER_CONTEXT)));
    }
    let sampled = text(B3_SAMPLED);
    if sampled.as_deref() == Some("0") {
        return None;
    }
    if sampled.as_deref() == Some("1") || text(B3_TRACE).is_some() {
        let names = [B3_SAMPLED, B3_TRACE, B3_PARENT, B3_SPAN];
        return Some(pick(block, |name| names.contains(&name)));
    }
    if let Some(b3) = text(B3) {
        let parts: Vec<&str> = b3.split('-').collect();
        let denied = parts == ["0"] || parts.get(2) == Some(&"0");
        return (!denied).then(|| pick(block, |name| name == B3));
    }
    let parent = text(TRACE_PARENT)?;
    is_sampled(parent.as_bytes())
        .then(|| pick(block, |name| name == TRACE_PARENT || name == TRACE_STATE))
}

/// Whether some hexadecimal digits are an odd number.
fn is_odd(digits: &str) -> bool {
    digits.bytes().all(|b| b.is_ascii_hexdigit())
        && u8::from_str_radix(digits, 16).is_ok_and(|n| n & 1 == 1)
}

/// The headers whose names, in their canonical form, are wanted.
fn pick(block: &[u8], wanted: impl Fn(&str) -> bool) -> Picked {
    let mut picked = Picked::new();
    for (name, value) in headers::fields(block) {
        let name = canonical(name);
        if wanted(&name) {
            let values = picked.entry(name).or_default();
            values.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    picked
}

/// A name with capitals at its start and behind each `-`, and nowhere else.
fn canonical(name: &[u8]) -> String {
    let mut start = true;
    let letters = name.iter().map(|b| {
        let b = if start {
            b.to_ascii_uppercase()
        } else {
            b.to_ascii_lowercase()
        };
        start = b == b'-';
        char::from(b)
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(lines: &str) -> Option<String> {
        let block = format!("NATS/1.0\r\n{lines}\r\n\r\n");
        let picked = sample(Sampling::Headers, block.as_bytes(), &mut Rng::new(1));
        picked.map(|p| serde_json::to_string(&p).unwrap())
    }

    #[test]
    fn headers_ask_for_it() {
        for (lines, want) in [
            ("A: b", None),
            (
                "uber-trace-id: 4:5:4:1",
                Some(r#"{"Uber-Trace-Id":["4:5:4:1"]}"#),
            ),
            ("Uber-Trace-Id: 4:5:4:0", None),
            ("Uber-Trace-Id: 4:5:4", None),
            ("Uber-Trace-Id: 4:5:4:0\r\nX-B3-Sampled: 1", None),
            (
                "Uber-Trace-Id: 4:5:4:03\r\nuberctx-x: y",
                Some(r#"{"Uber-Trace-Id":["4:5:4:03"],"Uberctx-X":["y"]}"#),
            ),
            ("X-B3-Sampled: 1", Some(r#"{"X-B3-Sampled":["1"]}"#)),
            ("X-B3-Sampled: 0\r\nX-B3-TraceId: 8", None),
            ("X-B3-TraceId: 8\r\nQ: 1", Some(r#"{"X-B3-Traceid":["8"]}"#)),
            ("b3: 8-e-1-0", Some(r#"{"B3":["8-e-1-0"]}"#)),
            ("b3: 8-e-0-0", None),
            ("b3: 0", None),
            ("b3: 8-e", Some(r#"{"B3":["8-e"]}"#)),
            (
                "traceparent: 00-4b-00-01\r\ntracestate: s",
                Some(r#"{"Traceparent":["00-4b-00-01"],"Tracestate":["s"]}"#),
            ),
            ("traceparent: 00-4b-00-00", None),
            ("traceparent: 00-4b-00-ff", None),
            ("traceparent: 00-4b-00-+1", None),
        ] {
            assert_eq!(sampled(lines).as_deref(), want, "{lines}");
        }
    }

    #[test]
    fn a_part_is_picked() {
        let mut rng = Rng::new(3);
        let mut count = |percent| {
            let sampling = Sampling::Percent(percent);
            (0..10_000)
                .filter(|_| sample(sampling, b"", &mut rng).is_some())
                .count()
        };
        assert_eq!(count(100), 10_000);
        assert!((4700..5500).contains(&count(50)));
        assert!((50..400).contains(&count(1)));
    }
}
