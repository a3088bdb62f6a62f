//! What is answered to those who publish to a stream.

use super::errors::ApiError;
use crate::base::text::push_decimal;
use crate::json::{self, is_none};
use serde::Serialize;

/// Where a message was stored, or was found to be already.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct PubAck {
    pub stream: String,
    pub seq: u64,
    #[serde(skip_serializing_if = "is_none")]
    pub domain: String,
    #[serde(skip_serializing_if = "is_none")]
    pub duplicate: bool,
    /// The value of a counter.
    #[serde(rename = "val", skip_serializing_if = "is_none")]
    pub value: String,
    /// The batch that ends with this message, and how many messages it had.
    #[serde(rename = "batch", skip_serializing_if = "is_none")]
    pub batch_id: String,
    #[serde(rename = "count", skip_serializing_if = "is_none")]
    pub batch_size: u64,
}

/// What most messages are answered, with all of it but the sequence made once for a stream.
///
/// It is not written as [`PubAck`] is: the domain comes first, and a duplicate has a blank, as in the
/// reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlainAck {
    /// Up to the sequence.
    front: Vec<u8>,
}

impl PlainAck {
    pub fn new(stream: &str, domain: &str) -> PlainAck {
        let mut front = b"{\"stream\":".to_vec();
        front.extend(json::compact(&stream));
        if !domain.is_empty() {
            front.extend_from_slice(b",\"domain\":");
            front.extend(json::compact(&domain));
        }
        front.extend_from_slice(b",\"seq\":");
        PlainAck { front }
    }

    /// Appends the answer to a message that was stored, or, if it is a duplicate, was so before.
    pub fn write(&self, seq: u64, duplicate: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.front);
        push_decimal(out, seq);
        out.extend_from_slice(if duplicate {
            b",\"duplicate\": true}"
        } else {
            b"}"
        });
    }
}

/// What is answered to a message.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PubAckResponse {
    #[serde(skip_serializing_if = "is_none")]
    pub error: Option<ApiError>,
    #[serde(flatten)]
    pub ack: Option<PubAck>,
}

impl PubAckResponse {
    pub fn ok(ack: PubAck) -> PubAckResponse {
        PubAckResponse {
            error: None,
            ack: Some(ack),
        }
    }

    /// A message that a stream did not take.
    pub fn refused(stream: &str, error: ApiError) -> PubAckResponse {
        let stream = stream.to_owned();
        PubAckResponse {
            error: Some(error),
            ack: Some(PubAck {
                stream,
                ..PubAck::default()
            }),
        }
    }

    /// The bytes that are sent.
    pub fn encode(&self) -> Vec<u8> {
        json::compact(self)
    }
}

/// The value of a counter, which is the body of its message.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct CounterValue {
    #[serde(rename = "val")]
    pub value: String,
}

/// What is answered while a fast batch goes on.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type")]
pub enum BatchFlow {
    /// How far the batch has got, and after how many messages this is told again.
    #[serde(rename = "ack")]
    Ack { seq: u64, msgs: u16 },
    /// Messages are missing behind the last one that came in order.
    #[serde(rename = "gap")]
    Gap { last_seq: u64, seq: u64 },
    /// A message was refused.
    #[serde(rename = "err")]
    Err { seq: u64, error: ApiError },
}

impl BatchFlow {
    /// The bytes that are sent.
    pub fn encode(&self) -> Vec<u8> {
        json::compact(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Serialize>(value: &T) -> String {
        String::from_utf8(json::compact(value)).unwrap()
    }

    #[test]
    fn acknowledgements() {
        let mut ack = PubAck {
            stream: "S".into(),
            seq: 7,
            ..PubAck::default()
        };
        assert_eq!(
            text(&PubAckResponse::ok(ack.clone())),
            r#"{"stream":"S","seq":7}"#
        );
        ack.domain = "D".into();
        ack.value = "12".into();
        ack.batch_id = "b".into();
        ack.batch_size = 2;
        let want = r#"{"stream":"S","seq":7,"domain":"D","val":"12","batch":"b","count":2}"#;
        assert_eq!(text(&PubAckResponse::ok(ack)), want);
        let refused = PubAckResponse::refused("S", ApiError::StreamNotMatch);
        let want = r#"{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"},"stream":"S","seq":0}"#;
        assert_eq!(text(&refused), want);
    }

    #[test]
    fn most_acknowledgements_are_plain() {
        let of = |domain: &str, duplicate| {
            let mut out = Vec::new();
            PlainAck::new("S\"", domain).write(7, duplicate, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(of("", false), r#"{"stream":"S\"","seq":7}"#);
        assert_eq!(of("D", false), r#"{"stream":"S\"","domain":"D","seq":7}"#);
        assert_eq!(
            of("", true),
            r#"{"stream":"S\"","seq":7,"duplicate": true}"#
        );
    }

    #[test]
    fn answers_within_a_batch() {
        let ack = BatchFlow::Ack { seq: 0, msgs: 10 };
        assert_eq!(text(&ack), r#"{"type":"ack","seq":0,"msgs":10}"#);
        let gap = BatchFlow::Gap {
            last_seq: 2,
            seq: 5,
        };
        assert_eq!(text(&gap), r#"{"type":"gap","last_seq":2,"seq":5}"#);
        let error = BatchFlow::Err {
            seq: 1,
            error: ApiError::BadRequest,
        };
        let want = r#"{"type":"err","seq":1,"error":{"code":400,"err_code":10003,"description":"bad request"}}"#;
        assert_eq!(text(&error), want);
    }
}
