//! Requests for messages that a stream answers itself, and those through the API.

use super::errors::ApiError;
use super::request::MsgGetRequest;
use crate::json::Time;
use crate::json::decode::document;

/// Which message is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The one with this sequence.
    Seq(u64),
    /// The last one on a subject.
    Last { subject: String },
    /// The first one from a place on, on any subject or one that a pattern matches.
    Next {
        from: Start,
        subject: Option<String>,
    },
}

/// Where a search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Seq(u64),
    Time(Time),
}

/// What is asked of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectGet {
    pub what: What,
    /// Bytes of messages at most; 0 for what the server allows.
    pub max_bytes: i64,
    /// Whether headers are left out.
    pub no_headers: bool,
}

/// How many messages are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    One(Lookup),
    /// So many from a place on.
    Batch {
        from: Start,
        subject: Option<String>,
        batch: i64,
    },
    /// The last ones on all subjects that some patterns match, as of some time; of them, so many
    /// from a place on, or all if that is 0.
    LastOfEach {
        subjects: Vec<String>,
        from: u64,
        batch: i64,
        up_to: UpTo,
    },
}

/// Up to which message one is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpTo {
    End,
    Seq(u64),
    Time(Time),
}

/// How a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    RequiredLevel,
    Empty,
    Malformed,
    Conflict,
}

impl Refusal {
    /// The headers that are sent.
    pub fn headers(self) -> &'static [u8] {
        match self {
            Refusal::RequiredLevel => b"NATS/1.0 412 Required Api Level\r\n\r\n",
            Refusal::Empty => b"NATS/1.0 408 Empty Request\r\n\r\n",
            Refusal::Malformed => b"NATS/1.0 408 Malformed Request\r\n\r\n",
            Refusal::Conflict => b"NATS/1.0 408 Bad Request\r\n\r\n",
        }
    }
}

/// Reads a request to a stream.
///
/// # Errors
/// How it is refused.
pub fn parse(body: &[u8]) -> Result<DirectGet, Refusal> {
    if body.is_empty() {
        return Err(Refusal::Empty);
    }
    let request: MsgGetRequest = document(body).map_err(|_| Refusal::Malformed)?;
    let (last, next) = (
        !request.last_by_subj.is_empty(),
        !request.next_by_subj.is_empty(),
    );
    let (seq, time) = (request.seq > 0, request.start_time.is_some());
    let multi = !request.multi_last.is_empty();
    if !(seq || last || next || multi || time) {
        return Err(Refusal::Empty);
    }
    let conflict = (seq && (last || time))
        || (last && (time || next || request.batch > 0 || multi))
        || (next && multi)
        || (request.up_to_seq > 0 && request.up_to_time.is_some());
    if conflict {
        return Err(Refusal::Conflict);
    }
    let from = request
        .start_time
        .map_or(Start::Seq(request.seq), Start::Time);
    let subject = next.then_some(request.next_by_subj);
    let what = if multi {
        What::LastOfEach {
            subjects: request.multi_last,
            from: request.seq,
            batch: request.batch,
            up_to: match (request.up_to_seq, request.up_to_time) {
                (_, Some(time)) => UpTo::Time(time),
                (0, None) => UpTo::End,
                (seq, None) => UpTo::Seq(seq),
            },
        }
    } else if last {
        What::One(Lookup::Last {
            subject: request.last_by_subj,
        })
    } else if request.batch > 0 {
        What::Batch {
            from,
            subject,
            batch: request.batch,
        }
    } else if subject.is_none() && seq {
        What::One(Lookup::Seq(request.seq))
    } else {
        What::One(Lookup::Next { from, subject })
    };
    Ok(DirectGet {
        what,
        max_bytes: request.max_bytes,
        no_headers: request.no_hdr,
    })
}

/// Reads the body of a request for the last message on a subject: whether headers are left out.
///
/// # Errors
/// How it is refused: the subject says all else.
pub fn parse_last(body: &[u8]) -> Result<bool, Refusal> {
    if body.is_empty() {
        return Ok(false);
    }
    let request: MsgGetRequest = document(body).map_err(|_| Refusal::Malformed)?;
    let no_hdr = request.no_hdr;
    let alone = MsgGetRequest {
        no_hdr,
        max_bytes: request.max_bytes,
        ..MsgGetRequest::default()
    };
    if request == alone {
        Ok(no_hdr)
    } else {
        Err(Refusal::Conflict)
    }
}

/// Which message a request through the API asks for.
///
/// # Errors
/// 10003 if that is none, or more than one.
pub fn lookup(request: MsgGetRequest) -> Result<Lookup, ApiError> {
    let (last, next) = (
        !request.last_by_subj.is_empty(),
        !request.next_by_subj.is_empty(),
    );
    let (seq, time) = (request.seq > 0, request.start_time);
    let many = request.batch > 0 || request.max_bytes > 0;
    if many || (last && (seq || next || time.is_some())) || (seq && time.is_some()) {
        return Err(ApiError::BadRequest);
    }
    if last {
        return Ok(Lookup::Last {
            subject: request.last_by_subj,
        });
    }
    if next {
        return Ok(Lookup::Next {
            from: time.map_or(Start::Seq(request.seq), Start::Time),
            subject: Some(request.next_by_subj),
        });
    }
    match (time, seq) {
        (Some(time), _) => Ok(Lookup::Next {
            from: Start::Time(time),
            subject: None,
        }),
        (None, true) => Ok(Lookup::Seq(request.seq)),
        (None, false) => Err(ApiError::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decode::request;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        let what = |body: &str| parse(body.as_bytes()).unwrap().what;
        assert_eq!(what(r#"{"seq":5}"#), What::One(Lookup::Seq(5)));
        let last = Lookup::Last {
            subject: "a".into(),
        };
        assert_eq!(what(r#"{"last_by_subj":"a"}"#), What::One(last));
        let next = Lookup::Next {
            from: Start::Seq(3),
            subject: Some("a.*".into()),
        };
        assert_eq!(what(r#"{"next_by_subj":"a.*","seq":3}"#), What::One(next));
        let batch = What::Batch {
            from: Start::Time(Time::from_unix(0, 0)),
            subject: None,
            batch: 10,
        };
        assert_eq!(
            what(r#"{"start_time":"1970-01-01T00:00:00Z","batch":10}"#),
            batch
        );
        let each = What::LastOfEach {
            subjects: vec!["a".into(), "b.>".into()],
            from: 0,
            batch: 0,
            up_to: UpTo::Seq(7),
        };
        assert_eq!(what(r#"{"multi_last":["a","b.>"],"up_to_seq":7}"#), each);
        let get = parse(br#"{"seq":5,"no_hdr":true,"max_bytes":9}"#).unwrap();
        assert!(get.no_headers && get.max_bytes == 9);
    }

    #[test]
    fn requests_are_refused() {
        for (body, want) in [
            ("", Refusal::Empty),
            ("{}", Refusal::Empty),
            (r#"{"batch":5}"#, Refusal::Empty),
            ("{", Refusal::Malformed),
            (r#"{"seq":"x"}"#, Refusal::Malformed),
            (r#"{"seq":1,"last_by_subj":"a"}"#, Refusal::Conflict),
            (
                r#"{"seq":1,"start_time":"1970-01-01T00:00:00Z"}"#,
                Refusal::Conflict,
            ),
            (r#"{"last_by_subj":"a","batch":5}"#, Refusal::Conflict),
            (
                r#"{"next_by_subj":"a","multi_last":["a"]}"#,
                Refusal::Conflict,
            ),
            (
                r#"{"multi_last":["a"],"up_to_seq":1,"up_to_time":"1970-01-01T00:00:00Z"}"#,
                Refusal::Conflict,
            ),
        ] {
            assert_eq!(parse(body.as_bytes()), Err(want), "{body}");
        }
        assert_eq!(parse_last(b""), Ok(false));
        assert_eq!(parse_last(br#"{"no_hdr":true}"#), Ok(true));
        assert_eq!(parse_last(br#"{"seq":1}"#), Err(Refusal::Conflict));
        assert_eq!(parse_last(b"x"), Err(Refusal::Malformed));
    }

    #[test]
    fn the_api_gives_one_message() {
        let of = |body: &str| lookup(request(body.as_bytes(), true).unwrap().value);
        assert_eq!(of(r#"{"seq":5}"#), Ok(Lookup::Seq(5)));
        let next = Lookup::Next {
            from: Start::Seq(0),
            subject: Some("a".into()),
        };
        assert_eq!(of(r#"{"next_by_subj":"a"}"#), Ok(next));
        for body in [
            "{}",
            r#"{"seq":1,"last_by_subj":"a"}"#,
            r#"{"seq":1,"start_time":"1970-01-01T00:00:00Z"}"#,
            r#"{"seq":1,"batch":2}"#,
            r#"{"seq":1,"max_bytes":2}"#,
            r#"{"last_by_subj":"a","next_by_subj":"a"}"#,
        ] {
            assert_eq!(of(body), Err(ApiError::BadRequest), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_request_is_judged(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&body);
            let _ = parse_last(&body);
        }
    }
}
