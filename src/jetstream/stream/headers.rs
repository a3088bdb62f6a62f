//! What publishers ask of a stream in headers
//! (<https://docs.nats.io/nats-concepts/jetstream/headers>).

use crate::jetstream::api::ApiError;
use crate::proto::headers::fields;
use crate::store::stream::TTL_NEVER;

/// The headers of one message that mean something to a stream.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct PublishHeaders<'a> {
    pub(super) msg_id: Option<&'a [u8]>,
    pub(super) expected_stream: Option<&'a [u8]>,
    pub(super) expected_last: Option<&'a [u8]>,
    pub(super) expected_last_on_subject: Option<&'a [u8]>,
    /// The subject that the one before is about, if it is another than the message's.
    pub(super) expected_subject: Option<&'a [u8]>,
    pub(super) expected_msg_id: Option<&'a [u8]>,
    pub(super) rollup: Option<&'a [u8]>,
    pub(super) ttl: Option<&'a [u8]>,
    pub(super) increment: Option<&'a [u8]>,
    pub(super) schedule: Option<&'a [u8]>,
    pub(super) scheduler: Option<&'a [u8]>,
    pub(super) schedule_next: Option<&'a [u8]>,
    pub(super) source: Option<&'a [u8]>,
    pub(super) batch_id: Option<&'a [u8]>,
    pub(super) marker_reason: Option<&'a [u8]>,
}

impl<'a> PublishHeaders<'a> {
    /// Those of a block, which may be empty. Of two by one name, the first counts.
    pub(super) fn read(block: &'a [u8]) -> PublishHeaders<'a> {
        let mut out = PublishHeaders::default();
        if block.len() < 20 {
            return out;
        }
        for (name, value) in fields(block) {
            if let Some(field) = out.field(name)
                && field.is_none()
            {
                *field = Some(value);
            }
        }
        out
    }

    fn field(&mut self, name: &[u8]) -> Option<&mut Option<&'a [u8]>> {
        const PREFIX: &[u8] = b"nats-";
        if !name.get(..5)?.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let is = |other: &str| name[5..].eq_ignore_ascii_case(other.as_bytes());
        Some(match name.len() - 5 {
            3 if is("ttl") => &mut self.ttl,
            4 if is("incr") => &mut self.increment,
            6 if is("msg-id") => &mut self.msg_id,
            6 if is("rollup") => &mut self.rollup,
            8 if is("batch-id") => &mut self.batch_id,
            8 if is("schedule") => &mut self.schedule,
            9 if is("scheduler") => &mut self.scheduler,
            13 if is("schedule-next") => &mut self.schedule_next,
            13 if is("stream-source") => &mut self.source,
            13 if is("marker-reason") => &mut self.marker_reason,
            15 if is("expected-stream") => &mut self.expected_stream,
            20 if is("expected-last-msg-id") => &mut self.expected_msg_id,
            22 if is("expected-last-sequence") => &mut self.expected_last,
            30 if is("expected-last-subject-sequence") => &mut self.expected_last_on_subject,
            38 if is("expected-last-subject-sequence-subject") => &mut self.expected_subject,
            _ => return None,
        })
    }
}

/// What a message replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rollup {
    /// All messages on its subject.
    Subject,
    /// All messages.
    All,
}

/// Reads the value of `Nats-Rollup`.
pub(super) fn rollup(value: &[u8]) -> Result<Rollup, ApiError> {
    if value.eq_ignore_ascii_case(b"sub") {
        Ok(Rollup::Subject)
    } else if value.eq_ignore_ascii_case(b"all") {
        Ok(Rollup::All)
    } else {
        let value = crate::base::text::quoted(value).to_string();
        Err(ApiError::StreamRollupFailed {
            err: format!("rollup value invalid: {value}"),
        })
    }
}

/// A number in digits only.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// Seconds that a message lives, as its headers have it; 0 where they say nothing.
///
/// # Errors
/// If what they say is no time.
pub(in crate::jetstream) fn ttl_of(block: &[u8]) -> Result<u32, ApiError> {
    let value = crate::proto::headers::value(block, "Nats-TTL");
    value.map_or(Ok(0), ttl)
}

/// Reads the value of `Nats-TTL`: seconds, 0 for none.
pub(super) fn ttl(value: &[u8]) -> Result<u32, ApiError> {
    let text = std::str::from_utf8(value).map_err(|_| ApiError::MessageTtlInvalid)?;
    if text.eq_ignore_ascii_case("never") {
        return Ok(TTL_NEVER);
    }
    if let Some(seconds) = number(value) {
        let seconds = u32::try_from(seconds).ok().filter(|s| *s < TTL_NEVER);
        return seconds.ok_or(ApiError::MessageTtlInvalid);
    }
    let time = crate::base::duration::parse(text).map_err(|_| ApiError::MessageTtlInvalid)?;
    let seconds = u32::try_from(time.as_secs())
        .ok()
        .filter(|s| *s < TTL_NEVER);
    match seconds {
        Some(0) if !time.is_zero() => Err(ApiError::MessageTtlInvalid),
        Some(seconds) => Ok(seconds),
        None => Err(ApiError::MessageTtlInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_apart_whatever_their_case() {
        let block =
            b"NATS/1.0\r\nNats-Msg-Id: 7\r\nnats-msg-id: 8\r\nNATS-EXPECTED-LAST-SEQUENCE: 3\r\n\
            Nats-Expected-Last-Subject-Sequence-Subject: a.b\r\nOther: x\r\nNats-TTL:5s\r\n\r\n";
        let read = PublishHeaders::read(block);
        let want = PublishHeaders {
            msg_id: Some(b"7"),
            expected_last: Some(b"3"),
            expected_subject: Some(b"a.b"),
            ttl: Some(b"5s"),
            ..PublishHeaders::default()
        };
        assert_eq!(read, want);
        assert_eq!(PublishHeaders::read(b""), PublishHeaders::default());
    }

    #[test]
    fn times_to_live() {
        assert_eq!(ttl(b"never"), Ok(TTL_NEVER));
        assert_eq!(ttl(b"0"), Ok(0));
        assert_eq!(ttl(b"10"), Ok(10));
        assert_eq!(ttl(b"1m"), Ok(60));
        for wrong in [&b"500ms"[..], b"-1", b"x", b"", b"99999999999", b"\xff"] {
            assert_eq!(ttl(wrong), Err(ApiError::MessageTtlInvalid), "{wrong:?}");
        }
    }

    #[test]
    fn rollups() {
        assert_eq!(rollup(b"SUB"), Ok(Rollup::Subject));
        assert_eq!(rollup(b"all"), Ok(Rollup::All));
        let text = rollup(b"x").unwrap_err().to_string();
        assert_eq!(text, "rollup value invalid: \"x\"");
    }
}
