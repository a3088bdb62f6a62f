//! The subjects that messages are acknowledged on: written for each delivery, read from each
//! acknowledgement.
//!
//! ```text
//! $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time ns>.<pending>
//! $JS.ACK.<domain or _>.<account hash>.<stream>.<consumer>.<the same five>[.<more>...]
//! ```

use crate::store::consumer::ConsumerSeq;
use crate::store::index::{StreamSeq, Timestamp};

/// What the subject of an acknowledgement says of the delivery that it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// How often the message was delivered, this time included.
    pub deliveries: u64,
    pub stream: StreamSeq,
    pub consumer: ConsumerSeq,
    /// When the message was stored.
    pub timestamp: Timestamp,
    /// Messages that waited to be delivered then.
    pub pending: u64,
}

/// A subject of an acknowledgement, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckSubject<'a> {
    pub stream: &'a [u8],
    pub consumer: &'a [u8],
    pub delivered: Delivered,
}

impl Delivered {
    /// Appends it to what the consumer's subjects begin with.
    pub fn write(&self, prefix: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(prefix);
        push_decimal(out, self.deliveries);
        out.push(b'.');
        push_decimal(out, self.stream.0);
        out.push(b'.');
        push_decimal(out, self.consumer.0);
        out.push(b'.');
        push_decimal(out, self.timestamp.0);
        out.push(b'.');
        push_decimal(out, self.pending);
    }
}

impl<'a> AckSubject<'a> {
    /// Takes a subject apart; `None` if it is of neither form.
    pub fn parse(subject: &'a [u8]) -> Option<AckSubject<'a>> {
        let mut rest = subject.strip_prefix(b"$JS.ACK.")?;
        let tokens = 2 + rest.split(|b| *b == b'.').count();
        if tokens >= 11 {
            (_, rest) = token(rest)?;
            (_, rest) = token(rest)?;
        } else if tokens != 9 {
            return None;
        }
        let (stream, rest) = token(rest)?;
        let (consumer, rest) = token(rest)?;
        let (deliveries, rest) = number(rest)?;
        let (stream_seq, rest) = number(rest)?;
        let (consumer_seq, rest) = number(rest)?;
        let (timestamp, rest) = number(rest)?;
        let (pending, _) = number(rest)?;
        Some(AckSubject {
            stream,
            consumer,
            delivered: Delivered {
                deliveries,
                stream: StreamSeq(stream_seq),
                consumer: ConsumerSeq(consumer_seq),
                timestamp: Timestamp(timestamp),
                pending,
            },
        })
    }
}

/// The first token, and what follows its dot.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    Some(match text.iter().position(|b| *b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[]),
    })
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = token(text)?;
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |n, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d <= 9)?;
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some((number, rest))
}

/// Appends a number.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a remainder of ten is a digit"
)]
pub(super) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERED: Delivered = Delivered {
        deliveries: 2,
        stream: StreamSeq(70),
        consumer: ConsumerSeq(8),
        timestamp: Timestamp(1_700_000_000_123_456_789),
        pending: u64::MAX,
    };

    #[test]
    fn what_is_written_is_read() {
        let mut subject = vec![];
        DELIVERED.write(b"$JS.ACK.S.C.", &mut subject);
        let text = "$JS.ACK.S.C.2.70.8.1700000000123456789.18446744073709551615";
        assert_eq!(std::str::from_utf8(&subject), Ok(text));
        let expected = AckSubject {
            stream: b"S",
            consumer: b"C",
            delivered: DELIVERED,
        };
        assert_eq!(AckSubject::parse(&subject), Some(expected));
    }

    #[test]
    fn the_newer_form_may_have_more_tokens() {
        for more in ["", ".x", ".x.y"] {
            let subject = format!("$JS.ACK._.hash.S.C.1.2.3.4.0{more}");
            let read = AckSubject::parse(subject.as_bytes()).unwrap();
            assert_eq!((read.stream, read.consumer), (&b"S"[..], &b"C"[..]));
            assert_eq!(read.delivered.stream, StreamSeq(2));
        }
    }

    #[test]
    fn other_subjects_are_none() {
        for bad in [
            "$JS.ACK.S.C.1.2.3.4",
            "$JS.ACK.S.C.1.2.3.4.5.6",
            "$JS.ACK.S.C.1.x.3.4.5",
            "$JS.ACK.S.C.1..3.4.5",
            "$JS.ACK.S.C.1.2.3.4.18446744073709551616",
            "$JS.FC.S.C.1.2.3.4.5",
            "",
        ] {
            assert_eq!(AckSubject::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
