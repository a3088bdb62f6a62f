//! Messages that are published again under other subjects when they are stored.

use super::Stream;
use crate::base::text::Rfc3339;
use crate::base::text::push_decimal;
use crate::jetstream::out::{Out, Outgoing};
use crate::store::types::{StreamSeq, Timestamp};
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

impl Stream {
    /// Publishes messages again that have become visible.
    pub(super) fn republish_from<O: Out>(&mut self, from: StreamSeq, out: &mut O) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = from;
        while at <= self.visible {
            if let Ok(stored) = self.store.read(at, &mut buffer) {
                let record = &stored.record;
                let parts = (record.subject, record.headers, record.payload);
                self.republish_one((at, record.previous, record.timestamp), parts, out);
            }
            at = at.next();
        }
        self.buffer = buffer;
    }

    fn republish_one<O: Out>(
        &mut self,
        (sequence, previous, time): (StreamSeq, StreamSeq, Timestamp),
        (subject, block, payload): (&[u8], &[u8], &[u8]),
        out: &mut O,
    ) {
        let (Some(transform), Some(config)) = (&self.republish, &self.config.republish) else {
            return;
        };
        let mut to = Vec::new();
        if !transform.apply(subject, &mut self.rng, &mut to)
            || !crate::subject::is_literal(&to)
            || !crate::subject::is_valid(&to)
        {
            return;
        }
        let mut headers = match block.strip_suffix(b"\r\n") {
            Some(block) => block.to_vec(),
            None => b"NATS/1.0\r\n".to_vec(),
        };
        let time = Rfc3339(UNIX_EPOCH + Duration::from_nanos(time.0));
        let mut field = |name: &str, value: &[u8]| {
            headers.extend_from_slice(name.as_bytes());
            headers.extend_from_slice(b": ");
            headers.extend_from_slice(value);
            headers.extend_from_slice(b"\r\n");
        };
        field("Nats-Stream", self.config.name.as_bytes());
        field("Nats-Subject", subject);
        field("Nats-Sequence", sequence.0.to_string().as_bytes());
        field("Nats-Time-Stamp", time.to_string().as_bytes());
        field("Nats-Last-Sequence", previous.0.to_string().as_bytes());
        let mut body = payload;
        if config.headers_only {
            let mut len = Vec::new();
            push_decimal(&mut len, payload.len() as u64);
            field("Nats-Msg-Size", &len);
            body = b"";
        }
        headers.write_all(b"\r\n").expect("a Vec takes all");
        let message = Outgoing {
            headers: &headers,
            ..Outgoing::plain(&to, body)
        };
        out.send(&self.account, &message);
    }
}
