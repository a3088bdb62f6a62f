//! Messages that are counters: each stores the sum of what was added to its subject so far.

use super::Stream;
use super::headers;
use super::publish::store_failed;
use crate::jetstream::api::ApiError;
use crate::jetstream::api::counter::Counter;
use crate::jetstream::api::headers::{COUNTER_SOURCES, INCREMENT, value};
use crate::store::error::LogError;
use std::collections::BTreeMap;

/// What came from each stream and subject, as totals in digits.
type Sources = BTreeMap<String, BTreeMap<String, String>>;

/// What a subject has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Total {
    value: Counter,
    sources: Sources,
}

impl Default for Total {
    fn default() -> Total {
        Total {
            value: Counter::ZERO,
            sources: Sources::new(),
        }
    }
}

/// A message that adds to a counter, as it is stored.
pub(super) struct Counted {
    /// `None` if it has those that it came with.
    pub(super) headers: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
    pub(super) total: Total,
}

impl Total {
    /// The value in digits.
    pub(super) fn digits(&self) -> String {
        self.value.to_string()
    }

    /// What the last message on a subject says.
    fn read(block: &[u8], payload: &[u8]) -> Result<Total, ApiError> {
        let sources = match value(block, COUNTER_SOURCES).filter(|text| !text.is_empty()) {
            Some(text) => serde_json::from_slice::<Option<Sources>>(text)
                .map_err(|_| ApiError::MessageCounterBroken)?
                .unwrap_or_default(),
            None => Sources::new(),
        };
        Ok(Total {
            value: body(payload)?,
            sources,
        })
    }

    /// Adds a message. One that another stream has counted says in `from` of which stream and
    /// subject it is; its total there is in its payload, and what is added is what that has grown by.
    pub(super) fn add(
        mut self,
        increment: &Counter,
        block: &[u8],
        payload: &[u8],
        from: Option<(&str, &str)>,
    ) -> Result<Counted, ApiError> {
        let mut changed = None;
        let increment = match from {
            None => increment.clone(),
            Some((stream, subject)) => {
                let total = body(payload)?;
                let subjects = self.sources.entry(stream.to_owned()).or_default();
                let before = subjects.insert(subject.to_owned(), total.to_string());
                let before = before.and_then(|text| Counter::parse(text.as_bytes()));
                let grown = total.minus(&before.unwrap_or(Counter::ZERO));
                let text = grown.to_string();
                changed = Some(headers::set(block, INCREMENT, text.as_bytes()));
                grown
            }
        };
        self.value = self.value.plus(&increment);
        if !self.sources.is_empty() {
            let text = crate::json::compact(&self.sources);
            let block = changed.as_deref().unwrap_or(block);
            changed = Some(headers::set(block, COUNTER_SOURCES, &text));
        }
        Ok(Counted {
            headers: changed,
            payload: format!("{{\"val\":\"{}\"}}", self.value).into_bytes(),
            total: self,
        })
    }
}

/// The value in the body of a message. What is no number counts as 0, as in the reference.
fn body(payload: &[u8]) -> Result<Counter, ApiError> {
    use serde_json::Value;
    let broken = ApiError::MessageCounterBroken;
    let text = match serde_json::from_slice(payload) {
        Ok(Value::Object(mut body)) => match body.remove("val") {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => String::new(),
            Some(_) => return Err(broken),
        },
        Ok(Value::Null) => String::new(),
        _ => return Err(broken),
    };
    Ok(Counter::parse(text.as_bytes()).unwrap_or(Counter::ZERO))
}

impl Stream {
    /// What a subject has come to, by its last message.
    pub(super) fn total(&mut self, subject: &[u8]) -> Result<Total, ApiError> {
        let last = self.store.last();
        match self.store.last_on(subject, last, &mut self.buffer) {
            Ok(stored) => Total::read(stored.record.headers, stored.record.payload),
            Err(LogError::Absent) => Ok(Total::default()),
            // It would begin anew, and never be right again.
            Err(error) => Err(store_failed(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Counter {
        Counter::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn sums_are_stored() {
        let counted = Total::default().add(&number("5"), b"", b"", None).unwrap();
        assert_eq!(counted.payload, br#"{"val":"5"}"#);
        assert_eq!(counted.headers, None);
        let huge = Total::read(b"", br#"{"val":"99999999999999999999"}"#).unwrap();
        let counted = huge.add(&number("+1"), b"", b"", None).unwrap();
        assert_eq!(counted.payload, br#"{"val":"100000000000000000000"}"#);
        for broken in [&b""[..], b"x", b"[]", br#"{"val":1}"#] {
            let read = Total::read(b"", broken);
            assert_eq!(read, Err(ApiError::MessageCounterBroken));
        }
        assert_eq!(Total::read(b"", b"{}"), Ok(Total::default()));
    }

    #[test]
    fn what_comes_from_another_stream_adds_what_it_has_grown_by() {
        let block = b"NATS/1.0\r\nNats-Incr: 3\r\n\r\n";
        let from = Some(("O", "a"));
        let first = Total::default().add(&number("3"), block, br#"{"val":"10"}"#, from);
        let first = first.unwrap();
        assert_eq!(first.payload, br#"{"val":"10"}"#);
        let headers = String::from_utf8(first.headers.unwrap()).unwrap();
        assert_eq!(
            headers,
            "NATS/1.0\r\nNats-Incr: 10\r\nNats-Counter-Sources: {\"O\":{\"a\":\"10\"}}\r\n\r\n"
        );
        let read = Total::read(headers.as_bytes(), &first.payload).unwrap();
        let second = read
            .add(&number("3"), block, br#"{"val":"13"}"#, from)
            .unwrap();
        assert_eq!(second.payload, br#"{"val":"13"}"#);
        assert!(
            second
                .headers
                .unwrap()
                .starts_with(b"NATS/1.0\r\nNats-Incr: 3\r\n")
        );
        let sources = b"NATS/1.0\r\nNats-Counter-Sources: x\r\n\r\n";
        assert!(Total::read(sources, b"{}").is_err());
    }
}
