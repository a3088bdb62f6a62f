//! Requests for a consumer's next messages.

use super::consumer_config::ConsumerConfig;
use super::policy::PriorityPolicy;
use crate::json::Nanos;
use crate::json::decode::{document, object};

/// What a client asks of a pull consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullRequest {
    /// How many messages.
    pub batch: i64,
    /// How long the request waits; 0 for ever.
    pub expires: Nanos,
    /// Bytes of messages at most; 0 for any number.
    pub max_bytes: i64,
    /// Whether only what is there is asked for.
    pub no_wait: bool,
    /// After how long without a message the client wants to hear that all is well; 0 for never.
    pub idle_heartbeat: Nanos,
    /// What a request in JSON says of its priority; one that is a mere number says nothing.
    pub priority: Option<Priority>,
}

impl PullRequest {
    /// One that asks for so many messages, and nothing more.
    fn of(batch: i64) -> PullRequest {
        PullRequest {
            batch,
            expires: Nanos::ZERO,
            max_bytes: 0,
            no_wait: false,
            idle_heartbeat: Nanos::ZERO,
            priority: None,
        }
    }
}

/// Which of many requests one is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Priority {
    pub group: String,
    pub min_pending: i64,
    pub min_ack_pending: i64,
    /// The pin that the client was given.
    pub id: String,
    /// From 0, which comes first, to 9.
    pub priority: i64,
}

/// A request in JSON.
#[derive(Clone, PartialEq, Debug, Default)]
struct Json {
    expires: Nanos,
    batch: i64,
    max_bytes: i64,
    no_wait: bool,
    idle_heartbeat: Nanos,
    priority: Priority,
}

object!(Priority = "PriorityGroup" {
    "group" => group,
    "min_pending" => min_pending,
    "min_ack_pending" => min_ack_pending,
    "id" => id,
    "priority" => priority as "int",
});

object!(Json = "JSApiConsumerGetNextRequest" {
    "expires" => expires,
    "batch" => batch as "int",
    "max_bytes" => max_bytes as "int",
    "no_wait" => no_wait,
    "idle_heartbeat" => idle_heartbeat,
} "PriorityGroup" => priority);

/// Reads the body of a request: nothing is one message, a number so many; what is neither that nor
/// JSON asks for one, too.
///
/// # Errors
/// What is wrong with it.
pub fn parse(body: &[u8]) -> Result<PullRequest, String> {
    let body = body.trim_ascii();
    if body.first() != Some(&b'{') {
        let number = str::from_utf8(body).ok().and_then(|text| text.parse().ok());
        return Ok(PullRequest::of(number.unwrap_or(1)));
    }
    let json: Json = document(body)?;
    let heartbeat = json.idle_heartbeat;
    if heartbeat.0 > 0 && heartbeat.0.saturating_mul(2) > json.expires.0 {
        return Err("heartbeat value too large".into());
    }
    Ok(PullRequest {
        batch: json.batch,
        expires: json.expires,
        max_bytes: json.max_bytes,
        no_wait: json.no_wait,
        idle_heartbeat: heartbeat,
        priority: Some(json.priority),
    })
}

/// Why a request is refused: a status, and the text behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Refusal {
    fn new(status: u16, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            text: text.into(),
        }
    }

    /// The headers that are sent.
    pub fn headers(&self) -> Vec<u8> {
        format!("NATS/1.0 {} {}\r\n\r\n", self.status, self.text).into_bytes()
    }
}

/// Reads and checks a request to a consumer. `pin` is the one that holds, empty if none does.
///
/// # Errors
/// How it is refused.
pub fn admit(body: &[u8], config: &ConsumerConfig, pin: &str) -> Result<PullRequest, Refusal> {
    if config.is_push() {
        return Err(Refusal::new(409, "Consumer is push based"));
    }
    let bad = |what: String| Refusal::new(400, format!("Bad Request - {what}"));
    let request = parse(body).map_err(bad)?;
    if config.max_batch > 0 && request.batch > config.max_batch {
        let text = format!("Exceeded MaxRequestBatch of {}", config.max_batch);
        return Err(Refusal::new(409, text));
    }
    if config.max_expires.0 > 0 && request.expires > config.max_expires {
        let text = format!("Exceeded MaxRequestExpires of {}", config.max_expires);
        return Err(Refusal::new(409, text));
    }
    if config.max_bytes > 0 && request.max_bytes > config.max_bytes {
        let text = format!("Exceeded MaxRequestMaxBytes of {}", config.max_bytes);
        return Err(Refusal::new(409, text));
    }
    if let Some(priority) = &request.priority {
        check_priority(priority, config, pin)?;
    }
    Ok(request)
}

fn check_priority(priority: &Priority, config: &ConsumerConfig, pin: &str) -> Result<(), Refusal> {
    let bad = |what: &str| Err(Refusal::new(400, format!("Bad Request - {what}")));
    let policy = config.priority_policy;
    let overflows = priority.min_pending != 0 || priority.min_ack_pending != 0;
    if overflows && policy != PriorityPolicy::Overflow {
        return bad("Not a Overflow Priority consumer");
    }
    if !priority.id.is_empty() && policy != PriorityPolicy::PinnedClient {
        return bad("Not a Pinned Client Priority consumer");
    }
    if !(0..=9).contains(&priority.priority) {
        return bad("Priority must be between 0 and 9");
    }
    if policy == PriorityPolicy::None {
        return Ok(());
    }
    if priority.group.is_empty() {
        return bad("Priority Group missing");
    }
    if !config.priority_groups.contains(&priority.group) {
        return bad("Invalid Priority Group");
    }
    if !pin.is_empty() && !priority.id.is_empty() && priority.id != pin {
        return Err(Refusal::new(423, "Nats-Pin-Id mismatch"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        assert_eq!(parse(b""), Ok(PullRequest::of(1)));
        assert_eq!(parse(b"  25 "), Ok(PullRequest::of(25)));
        assert_eq!(parse(b"-3"), Ok(PullRequest::of(-3)));
        assert_eq!(parse(b"many"), Ok(PullRequest::of(1)));
        let text = br#"{"batch":5,"expires":1000,"no_wait":true,"max_bytes":7,"idle_heartbeat":500,
            "group":"g","min_pending":2,"id":"p","priority":3,"unheard_of":1}"#;
        let request = parse(text).unwrap();
        assert_eq!((request.batch, request.max_bytes), (5, 7));
        assert_eq!(
            (request.expires, request.idle_heartbeat),
            (Nanos(1000), Nanos(500))
        );
        let priority = request.priority.unwrap();
        assert_eq!((priority.group.as_str(), priority.id.as_str()), ("g", "p"));
        assert_eq!((priority.min_pending, priority.priority), (2, 3));
        // As in the reference, JSON that says no number asks for none.
        assert_eq!(parse(b"{}").unwrap().batch, 0);
    }

    /// What a Go server answered to these.
    #[test]
    fn faults_are_those_of_the_reference() {
        let of = |what: &str, field: &str, of: &str| {
            let within = "JSApiConsumerGetNextRequest";
            format!(
                "json: cannot unmarshal {what} into Go struct field {within}.{field} of type {of}"
            )
        };
        for (body, want) in [
            (r#"{"batch":"x"}"#, of("string", "batch", "int")),
            (
                r#"{"group":5}"#,
                of("number", "PriorityGroup.group", "string"),
            ),
            (
                r#"{"min_pending":"5"}"#,
                of("string", "PriorityGroup.min_pending", "int64"),
            ),
            (r#"{"x"#, "unexpected end of JSON input".into()),
            (
                r#"{"idle_heartbeat":5,"expires":9}"#,
                "heartbeat value too large".into(),
            ),
        ] {
            assert_eq!(parse(body.as_bytes()), Err(want), "{body}");
        }
    }

    #[test]
    fn requests_are_refused() {
        let plain = ConsumerConfig {
            max_batch: 10,
            max_expires: Nanos::from_secs(60),
            max_bytes: 100,
            ..ConsumerConfig::default()
        };
        let pinned = ConsumerConfig {
            priority_policy: PriorityPolicy::PinnedClient,
            priority_groups: vec!["g".into()],
            ..ConsumerConfig::default()
        };
        let push = ConsumerConfig {
            deliver_subject: "d".into(),
            ..ConsumerConfig::default()
        };
        for (config, body, want) in [
            (&push, "", "409 Consumer is push based"),
            (&plain, "11", "409 Exceeded MaxRequestBatch of 10"),
            (
                &plain,
                r#"{"expires":60000000001}"#,
                "409 Exceeded MaxRequestExpires of 1m0s",
            ),
            (
                &plain,
                r#"{"max_bytes":101}"#,
                "409 Exceeded MaxRequestMaxBytes of 100",
            ),
            (
                &plain,
                "{",
                "400 Bad Request - unexpected end of JSON input",
            ),
            (
                &plain,
                r#"{"min_pending":1}"#,
                "400 Bad Request - Not a Overflow Priority consumer",
            ),
            (
                &plain,
                r#"{"id":"x"}"#,
                "400 Bad Request - Not a Pinned Client Priority consumer",
            ),
            (
                &plain,
                r#"{"priority":10}"#,
                "400 Bad Request - Priority must be between 0 and 9",
            ),
            (&pinned, "{}", "400 Bad Request - Priority Group missing"),
            (
                &pinned,
                r#"{"group":"h"}"#,
                "400 Bad Request - Invalid Priority Group",
            ),
            (
                &pinned,
                r#"{"group":"g","id":"x"}"#,
                "423 Nats-Pin-Id mismatch",
            ),
        ] {
            let refusal = admit(body.as_bytes(), config, "pin").unwrap_err();
            let headers = String::from_utf8(refusal.headers()).unwrap();
            assert_eq!(headers, format!("NATS/1.0 {want}\r\n\r\n"), "{body}");
        }
        assert!(admit(b"10", &plain, "").is_ok());
        assert!(admit(br#"{"group":"g","id":"x"}"#, &pinned, "").is_ok());
        assert!(admit(br#"{"group":"g"}"#, &pinned, "pin").is_ok());
    }

    proptest! {
        #[test]
        fn anything_is_judged(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&body);
        }
    }
}
