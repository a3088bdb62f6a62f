//! Acknowledgements: the subject on which one is expected, which tells all about a delivery, and
//! what is sent there.

use super::pull::{self, PullRequest};
use crate::base::duration;
use crate::base::text::{NearDecimal, push_decimal};
use crate::json::Nanos;
use crate::json::decode::{document, object};

/// A delivery of a message, as the subject has it on which it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    /// How often the message has been delivered, this time included.
    pub delivered: u64,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    /// When the message was stored: nanoseconds since the start of 1970.
    pub timestamp: i64,
    /// Messages that the consumer still has for its clients.
    pub pending: u64,
}

/// What the subjects of acknowledgements begin with.
pub const PREFIX: &str = "$JS.ACK.";

/// The front of the subjects of a consumer's acknowledgements, up to the numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AckSubject {
    prefix: Vec<u8>,
}

/// The numbers of the delivery whose subject was written last.
#[derive(Clone, Debug, Default)]
pub struct Near([NearDecimal; 4]);

impl AckSubject {
    /// `$JS.ACK.<stream>.<consumer>.`
    pub fn new(stream: &str, consumer: &str) -> AckSubject {
        AckSubject {
            prefix: format!("{PREFIX}{stream}.{consumer}.").into_bytes(),
        }
    }

    /// `$JS.ACK.<domain>.<account>.<stream>.<consumer>.`, where an empty domain is `_`, and the
    /// account is known by its hash.
    pub fn with_domain(domain: &str, account: &str, stream: &str, consumer: &str) -> AckSubject {
        let domain = if domain.is_empty() { "_" } else { domain };
        AckSubject {
            prefix: format!("{PREFIX}{domain}.{account}.{stream}.{consumer}.").into_bytes(),
        }
    }

    /// Appends the subject of a delivery. It is done fastest with the numbers of one near it.
    pub fn write(&self, delivery: &Delivery, near: &mut Near, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        let Delivery {
            delivered,
            stream_seq,
            consumer_seq,
            timestamp,
            pending,
        } = delivery;
        let timestamp = u64::try_from(*timestamp).unwrap_or(0);
        push_decimal(out, *delivered);
        let numbers = [*stream_seq, *consumer_seq, timestamp, *pending];
        for (near, number) in near.0.iter_mut().zip(numbers) {
            out.push(b'.');
            near.push(out, number);
        }
    }

    /// Bytes of memory that are owned.
    pub fn memory_bytes(&self) -> usize {
        self.prefix.capacity()
    }

    /// The subject that a consumer subscribes to, so that it gets its acknowledgements in the form
    /// without a domain.
    pub fn subscription(stream: &str, consumer: &str) -> String {
        format!("{PREFIX}{stream}.{consumer}.*.*.*.*.*")
    }

    /// The same for the form with a domain, which may have more tokens in times to come.
    pub fn subscription_with_domain(
        domain: &str,
        account: &str,
        stream: &str,
        consumer: &str,
    ) -> String {
        let domain = if domain.is_empty() { "_" } else { domain };
        format!("{PREFIX}{domain}.{account}.{stream}.{consumer}.*.*.*.*.>")
    }
}

/// Tokens behind [`PREFIX`] of the form without a domain, and at least those of the one with it.
const TOKENS: usize = 7;
const TOKENS_WITH_DOMAIN: usize = 9;

/// An acknowledgement's subject, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedAck<'a> {
    pub stream: &'a [u8],
    pub consumer: &'a [u8],
    pub delivery: Delivery,
}

/// Reads the subject of an acknowledgement in either form; `None` if it is none, or if a number in
/// it is not one.
pub fn parse_subject(subject: &[u8]) -> Option<ParsedAck<'_>> {
    let subject = subject.strip_prefix(PREFIX.as_bytes())?;
    let mut tokens: [&[u8]; TOKENS_WITH_DOMAIN] = [b""; TOKENS_WITH_DOMAIN];
    let mut count = 0;
    for token in subject.split(|byte| *byte == b'.') {
        if let Some(place) = tokens.get_mut(count) {
            *place = token;
        }
        count += 1;
    }
    let rest = match count {
        TOKENS => &tokens[..TOKENS],
        TOKENS_WITH_DOMAIN.. => &tokens[2..],
        _ => return None,
    };
    let [stream, consumer, numbers @ ..] = rest else {
        return None;
    };
    let [delivered, stream_seq, consumer_seq, timestamp, pending] = numbers else {
        return None;
    };
    Some(ParsedAck {
        stream,
        consumer,
        delivery: Delivery {
            delivered: number(delivered)?,
            stream_seq: number(stream_seq)?,
            consumer_seq: number(consumer_seq)?,
            timestamp: i64::try_from(number(timestamp)?).ok()?,
            pending: number(pending)?,
        },
    })
}

/// A number in digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    if digits.len() < SURE_DIGITS {
        let mut number = 0u64;
        for digit in digits {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        return Some(number);
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A number with fewer digits surely is one that fits.
const SURE_DIGITS: usize = 20;

/// What an acknowledgement says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AckKind {
    /// The message has been worked on.
    Ack,
    /// It is to be delivered again, after a while or at once.
    Nak { delay: Option<Nanos> },
    /// It is still being worked on.
    Progress,
    /// It has been worked on, and more is asked for; or what is wrong with that request.
    Next(Result<PullRequest, String>),
    /// It is not to be delivered again.
    Term { reason: String },
    /// Nobody knows what.
    Unknown,
}

/// The reason that is told when a message goes by a limit of the stream while it is pending.
pub const TERM_BY_LIMITS: &str = "Message deleted by stream limits";
/// The same for a message that was removed before it was acknowledged.
pub const TERM_UNACKED: &str = "Unacknowledged message was deleted";

/// Bytes of a reason that are kept.
const REASON_MAX: usize = 4 * 1024;

#[derive(Clone, PartialEq, Debug, Default)]
struct NakOptions {
    delay: Nanos,
}

object!(NakOptions = "ConsumerNakOptions" { "delay" => delay });

impl AckKind {
    /// Reads the body of an acknowledgement. Of a delay that can not be read, there is none.
    pub fn parse(body: &[u8]) -> AckKind {
        match body {
            b"" | b"+ACK" | b"+OK" => AckKind::Ack,
            b"+WPI" => AckKind::Progress,
            _ => {
                if let Some(rest) = body.strip_prefix(b"+NXT") {
                    AckKind::Next(pull::parse(rest))
                } else if let Some(rest) = body.strip_prefix(b"-NAK") {
                    AckKind::Nak { delay: delay(rest) }
                } else if let Some(rest) = body.strip_prefix(b"+TERM") {
                    let reason = rest.trim_ascii();
                    let reason = &reason[..reason.len().min(REASON_MAX)];
                    AckKind::Term {
                        reason: String::from_utf8_lossy(reason).into_owned(),
                    }
                } else {
                    AckKind::Unknown
                }
            }
        }
    }
}

/// How long to wait, as JSON or as a duration.
fn delay(rest: &[u8]) -> Option<Nanos> {
    let rest = rest.trim_ascii();
    if rest.first() == Some(&b'{') {
        return document::<NakOptions>(rest)
            .ok()
            .map(|options| options.delay);
    }
    let text = str::from_utf8(rest).ok()?;
    duration::parse(text).ok().map(Nanos::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELIVERY: Delivery = Delivery {
        delivered: 1,
        stream_seq: 22,
        consumer_seq: 3,
        timestamp: 1_700_000_000_000_000_000,
        pending: 4,
    };

    fn written(subject: &AckSubject) -> String {
        let mut out = Vec::new();
        subject.write(&DELIVERY, &mut Near::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_forms_of_subjects_are_written_and_read() {
        let plain = written(&AckSubject::new("S", "C"));
        assert_eq!(plain, "$JS.ACK.S.C.1.22.3.1700000000000000000.4");
        let domain = written(&AckSubject::with_domain("", "ABCDEFGH", "S", "C"));
        assert_eq!(
            domain,
            "$JS.ACK._.ABCDEFGH.S.C.1.22.3.1700000000000000000.4"
        );
        let later = format!("{domain}.more.tokens");
        for subject in [plain, domain, later] {
            let parsed = parse_subject(subject.as_bytes()).unwrap();
            assert_eq!((parsed.stream, parsed.consumer), (&b"S"[..], &b"C"[..]));
            assert_eq!(parsed.delivery, DELIVERY, "{subject}");
        }
        for subject in [
            "",
            "$JS.ACK",
            "$JS.ACK.S.C.1.22.3.4",
            "$JS.ACK.S.C.1.2.3.4.5.6",
            "$JS.FC.S.C.1.22.3.4.5",
            "$JS.ACK.S.C.1.x.3.4.5",
            "$JS.ACK.S.C.1..3.4.5",
            "$JS.ACK.S.C.1.-2.3.4.5",
            "$JS.ACK.S.C.1.99999999999999999999.3.4.5",
        ] {
            assert_eq!(parse_subject(subject.as_bytes()), None, "{subject}");
        }
    }

    #[test]
    fn subscriptions_match_what_is_written() {
        let matches = |pattern: String, subject: String| {
            crate::subject::pattern::matches(pattern.as_bytes(), subject.as_bytes())
        };
        let plain = AckSubject::subscription("S", "C");
        assert!(matches(plain, written(&AckSubject::new("S", "C"))));
        let domain = AckSubject::subscription_with_domain("D", "A", "S", "C");
        assert!(matches(
            domain,
            written(&AckSubject::with_domain("D", "A", "S", "C"))
        ));
    }

    #[test]
    fn bodies_are_read() {
        let nak = |delay| AckKind::Nak { delay };
        let term = |reason: &str| AckKind::Term {
            reason: reason.into(),
        };
        for (body, want) in [
            ("", AckKind::Ack),
            ("+ACK", AckKind::Ack),
            ("+OK", AckKind::Ack),
            ("+WPI", AckKind::Progress),
            ("-NAK", nak(None)),
            ("-NAK {\"delay\": 5000}", nak(Some(Nanos(5000)))),
            ("-NAK{\"delay\":\"x\"}", nak(None)),
            ("-NAK 1m5s", nak(Some(Nanos::from_secs(65)))),
            ("-NAK soon", nak(None)),
            ("+TERM", term("")),
            ("+TERM because of this ", term("because of this")),
            ("+ACK ", AckKind::Unknown),
            ("hello", AckKind::Unknown),
        ] {
            assert_eq!(AckKind::parse(body.as_bytes()), want, "{body}");
        }
        let AckKind::Next(Ok(next)) = AckKind::parse(b"+NXT 5") else {
            panic!("it asks for five");
        };
        assert_eq!(next.batch, 5);
        assert!(matches!(AckKind::parse(b"+NXT {x"), AckKind::Next(Err(_))));
    }

    proptest! {
        #[test]
        fn deliveries_and_subjects_are_the_same(
            numbers in (any::<u64>(), any::<u64>(), any::<u64>(), 0i64.., any::<u64>()),
        ) {
            let delivery = Delivery {
                delivered: numbers.0,
                stream_seq: numbers.1,
                consumer_seq: numbers.2,
                timestamp: numbers.3,
                pending: numbers.4,
            };
            let mut out = Vec::new();
            AckSubject::with_domain("d", "h", "s", "c").write(&delivery, &mut Near::default(), &mut out);
            prop_assert_eq!(parse_subject(&out).map(|parsed| parsed.delivery), Some(delivery));
        }

        #[test]
        fn anything_is_judged(subject in prop::collection::vec(any::<u8>(), 0..64), body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_subject(&subject);
            let _ = AckKind::parse(&body);
        }
    }
}
