//! The headers by which a publisher tells a stream what it expects and wants, and those that a
//! stream adds.
//!
//! Their names count in one spelling only, and the first one of a name is taken, as in the
//! reference (`getHeaderKeyIndex` in `client.go`, 2.15). Blanks at the end of a value belong to it.

use super::counter::Counter;
use super::errors::ApiError;
use super::schedule;
use super::stream_config::StreamConfig;
use crate::base::duration;
use crate::base::text::quoted;
use crate::json::Time;
use crate::subject::is_literal;
use crate::subject::pattern::overlaps;

pub const MSG_ID: &str = "Nats-Msg-Id";
pub const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
pub const EXPECTED_LAST_SEQ: &str = "Nats-Expected-Last-Sequence";
pub const EXPECTED_LAST_SUBJECT_SEQ: &str = "Nats-Expected-Last-Subject-Sequence";
pub const EXPECTED_LAST_SUBJECT_SEQ_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
pub const EXPECTED_LAST_MSG_ID: &str = "Nats-Expected-Last-Msg-Id";
pub const ROLLUP: &str = "Nats-Rollup";
pub const TTL: &str = "Nats-TTL";
pub const INCREMENT: &str = "Nats-Incr";
pub const COUNTER_SOURCES: &str = "Nats-Counter-Sources";
pub const STREAM_SOURCE: &str = "Nats-Stream-Source";
pub const BATCH_ID: &str = "Nats-Batch-Id";
pub const BATCH_SEQ: &str = "Nats-Batch-Sequence";
pub const BATCH_COMMIT: &str = "Nats-Batch-Commit";
pub const SCHEDULE: &str = "Nats-Schedule";
pub const SCHEDULE_TIME_ZONE: &str = "Nats-Schedule-Time-Zone";
pub const SCHEDULE_TTL: &str = "Nats-Schedule-TTL";
pub const SCHEDULE_ROLLUP: &str = "Nats-Schedule-Rollup";
pub const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
pub const SCHEDULE_SOURCE: &str = "Nats-Schedule-Source";
pub const SCHEDULER: &str = "Nats-Scheduler";
pub const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";
/// The value of [`SCHEDULE_NEXT`] by which a schedule ends.
pub const SCHEDULE_NEXT_PURGE: &str = "purge";
pub const MARKER_REASON: &str = "Nats-Marker-Reason";
pub const STREAM: &str = "Nats-Stream";
pub const SUBJECT: &str = "Nats-Subject";
pub const SEQUENCE: &str = "Nats-Sequence";
pub const TIME_STAMP: &str = "Nats-Time-Stamp";
pub const LAST_SEQUENCE: &str = "Nats-Last-Sequence";
pub const NUM_PENDING: &str = "Nats-Num-Pending";
pub const UP_TO_SEQUENCE: &str = "Nats-UpTo-Sequence";
pub const MSG_SIZE: &str = "Nats-Msg-Size";
pub const LAST_CONSUMER: &str = "Nats-Last-Consumer";
pub const LAST_STREAM: &str = "Nats-Last-Stream";
pub const CONSUMER_STALLED: &str = "Nats-Consumer-Stalled";
pub const PENDING_MESSAGES: &str = "Nats-Pending-Messages";
pub const PENDING_BYTES: &str = "Nats-Pending-Bytes";
pub const PIN_ID: &str = "Nats-Pin-Id";
pub const STREAM_IDENTITY: &str = "Nats-Stream-Identity";

/// Names and values in a header block. A value is without the blanks before it.
pub fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = behind_line(block);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = line_end(rest);
            let line = &rest[..end];
            rest = behind_line(rest);
            if let Some(colon) = memchr::memchr(b':', line) {
                let value = &line[colon + 1..];
                let blanks = value.iter().take_while(|byte| **byte == b' ').count();
                return Some((&line[..colon], &value[blanks..]));
            }
        }
        None
    })
}

/// The value of a header, which is not looked for in other spellings.
pub fn value<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(block)
        .find(|(other, _)| *other == name.as_bytes())
        .map(|(_, value)| value)
}

/// Where the first line ends, without its CRLF.
fn line_end(text: &[u8]) -> usize {
    memchr::memmem::find(text, b"\r\n").unwrap_or(text.len())
}

/// What follows the first line.
fn behind_line(text: &[u8]) -> &[u8] {
    text.get(line_end(text) + 2..).unwrap_or_default()
}

/// What a publisher says about a message, as it is written. What is empty counts as missing, but
/// for the time zone and the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishHeaders<'a> {
    pub msg_id: &'a [u8],
    pub expected_stream: &'a [u8],
    expected_last_seq: &'a [u8],
    expected_last_subject_seq: &'a [u8],
    /// The subject, or pattern, that is meant by `expected_last_subject_seq`, if not the
    /// message's.
    pub expected_last_subject: &'a [u8],
    pub expected_last_msg_id: &'a [u8],
    rollup: &'a [u8],
    ttl: &'a [u8],
    increment: &'a [u8],
    pub stream_source: &'a [u8],
    batch_id: Option<&'a [u8]>,
    batch_seq: &'a [u8],
    batch_commit: Option<&'a [u8]>,
    pub required_level: &'a [u8],
    schedule: ScheduleHeaders<'a>,
    scheduler: &'a [u8],
    schedule_next: &'a [u8],
}

/// What makes a message a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct ScheduleHeaders<'a> {
    pattern: &'a [u8],
    time_zone: Option<&'a [u8]>,
    ttl: &'a [u8],
    rollup: &'a [u8],
    target: &'a [u8],
    source: &'a [u8],
}

impl<'a> PublishHeaders<'a> {
    /// Reads a header block, which may be empty, in one pass.
    pub fn parse(block: &'a [u8]) -> PublishHeaders<'a> {
        let mut headers = PublishHeaders::default();
        let mut zone = None;
        for (name, value) in fields(block) {
            // All of them begin so, and most headers of users do not.
            let Some(rest) = name.strip_prefix(b"Nats-") else {
                continue;
            };
            let place = match rest {
                b"Msg-Id" => &mut headers.msg_id,
                b"Expected-Stream" => &mut headers.expected_stream,
                b"Expected-Last-Sequence" => &mut headers.expected_last_seq,
                b"Expected-Last-Subject-Sequence" => &mut headers.expected_last_subject_seq,
                b"Expected-Last-Subject-Sequence-Subject" => &mut headers.expected_last_subject,
                b"Expected-Last-Msg-Id" => &mut headers.expected_last_msg_id,
                b"Rollup" => &mut headers.rollup,
                b"TTL" => &mut headers.ttl,
                b"Incr" => &mut headers.increment,
                b"Stream-Source" => &mut headers.stream_source,
                b"Batch-Sequence" => &mut headers.batch_seq,
                b"Required-Api-Level" => &mut headers.required_level,
                b"Schedule" => &mut headers.schedule.pattern,
                b"Schedule-TTL" => &mut headers.schedule.ttl,
                b"Schedule-Rollup" => &mut headers.schedule.rollup,
                b"Schedule-Target" => &mut headers.schedule.target,
                b"Schedule-Source" => &mut headers.schedule.source,
                b"Scheduler" => &mut headers.scheduler,
                b"Schedule-Next" => &mut headers.schedule_next,
                b"Batch-Id" => {
                    headers.batch_id.get_or_insert(value);
                    continue;
                }
                b"Batch-Commit" => {
                    headers.batch_commit.get_or_insert(value);
                    continue;
                }
                b"Schedule-Time-Zone" => {
                    zone.get_or_insert(value);
                    continue;
                }
                _ => continue,
            };
            if place.is_empty() {
                *place = value;
            }
        }
        headers.schedule.time_zone = zone;
        headers
    }

    /// The sequence that the stream's last message has to have.
    pub fn expected_last_seq(&self) -> Option<u64> {
        sequence(self.expected_last_seq)
    }

    /// The sequence that the last message on the subject has to have, 0 if there must be none.
    ///
    /// # Errors
    /// 10193 if a subject is named and no sequence.
    pub fn expected_last_subject_seq(&self) -> Result<Option<u64>, ApiError> {
        match sequence(self.expected_last_subject_seq) {
            None if !self.expected_last_subject.is_empty() => {
                Err(ApiError::StreamExpectedLastSeqPerSubjectInvalid)
            }
            seq => Ok(seq),
        }
    }

    /// How long the message stays.
    ///
    /// # Errors
    /// 10165 if that is no duration, or less than a second.
    pub fn ttl(&self) -> Result<Ttl, ApiError> {
        Ttl::parse(self.ttl).ok_or(ApiError::MessageTtlInvalid)
    }

    /// Refuses a message with a time to live in a stream without them. One that can not be read is
    /// told of later.
    ///
    /// # Errors
    /// 10166.
    pub fn check_ttl_allowed(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        match Ttl::parse(self.ttl) {
            None | Some(Ttl::None) => Ok(()),
            Some(_) if stream.allow_msg_ttl => Ok(()),
            Some(_) => Err(ApiError::MessageTtlDisabled),
        }
    }

    /// Which older messages go.
    ///
    /// # Errors
    /// 10111 if the stream does not allow that, or nobody knows what is meant.
    pub fn rollup(&self, allowed: bool) -> Result<Option<Rollup>, ApiError> {
        let refused = |err: String| Err(ApiError::StreamRollupFailed { err });
        if self.rollup.is_empty() {
            return Ok(None);
        }
        if !allowed {
            return refused("rollup not permitted".into());
        }
        match Rollup::parse(self.rollup) {
            Some(rollup) => Ok(Some(rollup)),
            None => {
                let shown = self.rollup.to_ascii_lowercase();
                refused(format!("rollup value invalid: {}", quoted(&shown)))
            }
        }
    }

    /// What is to be added to a counter.
    ///
    /// # Errors
    /// 10171 if it is no number or goes together with what it can not, 10168 if the stream does not
    /// count, 10170 if there is a body.
    pub fn increment(
        &self,
        stream: &StreamConfig,
        has_body: bool,
    ) -> Result<Option<Counter>, ApiError> {
        if self.increment.is_empty() {
            return Ok(None);
        }
        let increment = Counter::parse(self.increment).ok_or(ApiError::MessageIncrInvalid)?;
        if !stream.allow_msg_counter {
            return Err(ApiError::MessageIncrDisabled);
        }
        if has_body {
            return Err(ApiError::MessageIncrPayload);
        }
        let with_others = [
            self.rollup,
            self.expected_stream,
            self.expected_last_msg_id,
            self.expected_last_subject,
            self.expected_last_seq,
            self.expected_last_subject_seq,
        ];
        match with_others.iter().all(|other| other.is_empty()) {
            true => Ok(Some(increment)),
            false => Err(ApiError::MessageIncrInvalid),
        }
    }

    /// What another stream's message added to its counter. The rest is as that stream took it.
    ///
    /// # Errors
    /// 10171 if it is no number.
    pub fn sourced_increment(&self) -> Result<Option<Counter>, ApiError> {
        match self.increment.is_empty() {
            true => Ok(None),
            false => Counter::parse(self.increment)
                .map(Some)
                .ok_or(ApiError::MessageIncrInvalid),
        }
    }

    /// Whether the message belongs to a batch of which all or nothing is stored.
    pub fn is_in_batch(&self) -> bool {
        self.batch_id.is_some_and(|id| !id.is_empty())
    }

    /// The batch that a message belongs to, of which all or nothing is stored.
    ///
    /// # Errors
    /// 10174, 10179 and 10175. What is said about its end is told of later, see
    /// [`AtomicBatch::commit`].
    pub fn atomic_batch(&self, stream: &StreamConfig) -> Result<Option<AtomicBatch<'a>>, ApiError> {
        let Some(id) = self.batch_id.filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        if !stream.allow_atomic {
            return Err(ApiError::AtomicPublishDisabled);
        }
        if id.len() > super::batch::ID_MAX {
            return Err(ApiError::AtomicPublishInvalidBatchId);
        }
        let seq = number(self.batch_seq).ok_or(ApiError::AtomicPublishMissingSeq)?;
        Ok(Some(AtomicBatch {
            id,
            seq,
            commit: self.batch_commit,
        }))
    }

    /// Refuses what only the server may say.
    ///
    /// # Errors
    /// 10227.
    pub fn check_source(&self) -> Result<(), ApiError> {
        match self.stream_source.is_empty() {
            true => Ok(()),
            false => Err(ApiError::MessageSourceHdrNotAllowed),
        }
    }

    /// Reads and checks what makes a message on `subject` a schedule, at the time `now`.
    ///
    /// # Errors
    /// 10188 to 10192, 10203, 10223 and 10166.
    pub fn schedule(
        &self,
        subject: &[u8],
        stream: &StreamConfig,
        now: Time,
    ) -> Result<Option<Scheduled<'a>>, ApiError> {
        let of = &self.schedule;
        let next = schedule::first(of.pattern, of.time_zone, now);
        let next = match next {
            Ok(None) => return Ok(None),
            _ if !stream.allow_msg_schedules => return Err(ApiError::MessageSchedulesDisabled),
            Err(error) => return Err(error),
            Ok(Some(next)) => next,
        };
        let Some(ttl) = Ttl::parse(of.ttl) else {
            return Err(ApiError::MessageSchedulesTtlInvalid);
        };
        if !matches!(of.rollup, b"" | b"sub") {
            return Err(ApiError::MessageSchedulesRollupInvalid);
        }
        if !of.ttl.is_empty() && !stream.allow_msg_ttl {
            return Err(ApiError::MessageTtlDisabled);
        }
        if !is_literal(of.target) || of.target == subject {
            return Err(ApiError::MessageSchedulesTargetInvalid);
        }
        let named = !of.source.is_empty();
        let same = of.source == of.target || of.source == subject;
        if named && (same || !is_literal(of.source)) {
            return Err(ApiError::MessageSchedulesSourceInvalid);
        }
        let stored = |subject: &[u8]| {
            stream
                .subjects
                .iter()
                .any(|of_stream| overlaps(of_stream.as_bytes(), subject))
        };
        if !stored(of.target) {
            return Err(ApiError::MessageSchedulesTargetInvalid);
        }
        if named && !stored(of.source) {
            return Err(ApiError::MessageSchedulesSourceInvalid);
        }
        let rollup = Rollup::parse(self.rollup);
        if !self.rollup.is_empty() && rollup != Some(Rollup::Subject) {
            return Err(ApiError::MessageSchedulesRollupInvalid);
        }
        Ok(Some(Scheduled {
            next,
            target: of.target,
            source: named.then_some(of.source),
            ttl: (!of.ttl.is_empty()).then_some((ttl, of.ttl)),
            rolls_up: !of.rollup.is_empty(),
            lacks_rollup: self.rollup.is_empty(),
        }))
    }

    /// The subject of the schedule that another stream's message ended there.
    pub fn ended_in_origin(&self) -> Option<&'a [u8]> {
        let purges = self.schedule_next == SCHEDULE_NEXT_PURGE.as_bytes();
        Some(self.scheduler).filter(|scheduler| purges && !scheduler.is_empty())
    }

    /// The subject of the schedule that a message on `subject` ends, if it does.
    ///
    /// # Errors
    /// 10212 if it says so in another way, 10188 if the stream has no schedules. Whether the last
    /// message on that subject is a schedule is left to the caller.
    pub fn ended_schedule(
        &self,
        subject: &[u8],
        stream: &StreamConfig,
    ) -> Result<Option<&'a [u8]>, ApiError> {
        if self.schedule_next.is_empty() {
            return match self.scheduler.is_empty() {
                true => Ok(None),
                false => Err(ApiError::MessageSchedulesSchedulerInvalid),
            };
        }
        let purges = self.schedule_next == SCHEDULE_NEXT_PURGE.as_bytes();
        if !purges || self.scheduler == subject || !is_literal(self.scheduler) {
            return Err(ApiError::MessageSchedulesSchedulerInvalid);
        }
        match stream.allow_msg_schedules {
            true => Ok(Some(self.scheduler)),
            false => Err(ApiError::MessageSchedulesDisabled),
        }
    }
}

/// How long a message stays in its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// As long as the stream lets it.
    None,
    /// For ever, whatever the age that the stream allows.
    Never,
    Seconds(u64),
}

impl Ttl {
    /// Reads `never`, a duration of a second at least, or a number of seconds. `None` if it is none
    /// of them.
    pub fn parse(text: &[u8]) -> Option<Ttl> {
        if text.is_empty() {
            return Some(Ttl::None);
        }
        if text.eq_ignore_ascii_case(b"never") {
            return Some(Ttl::Never);
        }
        if let Ok(duration) = duration::parse(str::from_utf8(text).ok()?) {
            let seconds = duration.as_secs();
            return (seconds > 0).then_some(Ttl::Seconds(seconds));
        }
        match number(text).filter(|seconds| i64::try_from(*seconds).is_ok())? {
            0 => Some(Ttl::None),
            seconds => Some(Ttl::Seconds(seconds)),
        }
    }
}

/// Which older messages go when one is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rollup {
    /// Those on its subject.
    Subject,
    /// All of the stream's.
    All,
}

impl Rollup {
    fn parse(text: &[u8]) -> Option<Rollup> {
        if text.eq_ignore_ascii_case(b"sub") {
            return Some(Rollup::Subject);
        }
        text.eq_ignore_ascii_case(b"all").then_some(Rollup::All)
    }
}

/// A message of a batch of which all or nothing is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtomicBatch<'a> {
    pub id: &'a [u8],
    /// From 1.
    pub seq: u64,
    commit: Option<&'a [u8]>,
}

/// How a message of a batch takes part in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// More follow.
    No,
    /// It is the last one.
    Last,
    /// It ends the batch and is not stored itself.
    Behind,
}

impl AtomicBatch<'_> {
    /// Whether the batch ends with this message.
    ///
    /// # Errors
    /// 10200 if nobody knows.
    pub fn commit(&self) -> Result<Commit, ApiError> {
        match self.commit {
            None => Ok(Commit::No),
            Some(b"1") => Ok(Commit::Last),
            Some(b"eob") => Ok(Commit::Behind),
            Some(_) => Err(ApiError::AtomicPublishInvalidBatchCommit),
        }
    }
}

/// A message that is a schedule, and what it makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduled<'a> {
    /// When it makes a message first.
    pub next: Time,
    /// The subject of what it makes.
    pub target: &'a [u8],
    /// The subject whose last message is copied, if not the schedule itself.
    pub source: Option<&'a [u8]>,
    /// How long what it makes stays, and how that is written.
    pub ttl: Option<(Ttl, &'a [u8])>,
    /// Whether what it makes takes the place of what was there on its subject.
    pub rolls_up: bool,
    /// Whether [`ROLLUP`] has to be added, so that a subject has one schedule only.
    pub lacks_rollup: bool,
}

/// A sequence that is expected; what is no number can not be met.
fn sequence(text: &[u8]) -> Option<u64> {
    (!text.is_empty()).then(|| number(text).unwrap_or(u64::MAX))
}

/// A number in digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(digits).ok().filter(|_| all_digits)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = b"NATS/1.0\r\n".to_vec();
        for (name, value) in fields {
            block.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        block.extend_from_slice(b"\r\n");
        block
    }

    fn stream() -> StreamConfig {
        StreamConfig {
            subjects: vec!["t.>".into()],
            allow_msg_ttl: true,
            allow_msg_schedules: true,
            allow_msg_counter: true,
            allow_atomic: true,
            ..StreamConfig::default()
        }
    }

    #[test]
    fn headers_are_found_in_one_spelling() {
        let block = b"NATS/1.0 200 OK\r\nA:1\r\nnats-msg-id: x\r\nNats-Msg-Id:  y \r\nNats-Msg-Id: z\r\n\r\n";
        assert_eq!(value(block, MSG_ID), Some(&b"y "[..]));
        assert_eq!(PublishHeaders::parse(block).msg_id, b"y ");
        assert_eq!(fields(block).count(), 4);
        assert_eq!(fields(b"").count() + fields(b"NATS/1.0\r\n\r\n").count(), 0);
        assert_eq!(
            fields(b"NATS/1.0\r\nA: 1").next(),
            Some((&b"A"[..], &b"1"[..]))
        );
    }

    #[test]
    fn expectations_are_read() {
        let block = block(&[
            (EXPECTED_LAST_SEQ, "5"),
            (EXPECTED_LAST_SUBJECT_SEQ, "x"),
            (EXPECTED_LAST_SUBJECT_SEQ_SUBJECT, "t.*"),
        ]);
        let headers = PublishHeaders::parse(&block);
        assert_eq!(headers.expected_last_seq(), Some(5));
        assert_eq!(headers.expected_last_subject_seq(), Ok(Some(u64::MAX)));
        assert_eq!(headers.expected_last_subject, b"t.*");
        let block = self::block(&[(EXPECTED_LAST_SUBJECT_SEQ_SUBJECT, "t")]);
        let alone = PublishHeaders::parse(&block).expected_last_subject_seq();
        assert_eq!(alone, Err(ApiError::StreamExpectedLastSeqPerSubjectInvalid));
        assert_eq!(
            PublishHeaders::default().expected_last_subject_seq(),
            Ok(None)
        );
    }

    /// What a Go server did with these.
    #[test]
    fn times_to_live_are_read() {
        for (text, want) in [
            ("", Some(Ttl::None)),
            ("1", Some(Ttl::Seconds(1))),
            ("1s", Some(Ttl::Seconds(1))),
            ("1.5s", Some(Ttl::Seconds(1))),
            ("1h", Some(Ttl::Seconds(3600))),
            ("never", Some(Ttl::Never)),
            ("NEVER", Some(Ttl::Never)),
            ("0", None),
            ("0s", None),
            ("500ms", None),
            ("x", None),
            ("-1", None),
            ("2d", None),
            ("5 ", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(Ttl::parse(text.as_bytes()), want, "{text}");
        }
        let block = block(&[(TTL, "5")]);
        let headers = PublishHeaders::parse(&block);
        assert_eq!(headers.check_ttl_allowed(&stream()), Ok(()));
        let plain = StreamConfig::default();
        assert_eq!(
            headers.check_ttl_allowed(&plain),
            Err(ApiError::MessageTtlDisabled)
        );
    }

    #[test]
    fn rollups_are_read() {
        let of = |text: &str, allowed| {
            let block = block(&[(ROLLUP, text)]);
            PublishHeaders::parse(&block)
                .rollup(allowed)
                .map_err(|error| error.to_string())
        };
        assert_eq!(of("sub", true), Ok(Some(Rollup::Subject)));
        assert_eq!(of("ALL", true), Ok(Some(Rollup::All)));
        assert_eq!(of("", false), Ok(None));
        assert_eq!(of("sub", false), Err("rollup not permitted".into()));
        assert_eq!(
            of("Bogus", true),
            Err(r#"rollup value invalid: "bogus""#.into())
        );
    }

    #[test]
    fn increments_are_read() {
        let of = |fields: &[(&str, &str)], has_body| {
            PublishHeaders::parse(&block(fields)).increment(&stream(), has_body)
        };
        let five = Counter::parse(b"5");
        assert_eq!(of(&[(INCREMENT, "+5")], false), Ok(five));
        assert_eq!(of(&[], true), Ok(None));
        assert_eq!(
            of(&[(INCREMENT, "x")], false),
            Err(ApiError::MessageIncrInvalid)
        );
        assert_eq!(
            of(&[(INCREMENT, "5")], true),
            Err(ApiError::MessageIncrPayload)
        );
        let both = [(INCREMENT, "5"), (EXPECTED_LAST_SEQ, "1")];
        assert_eq!(of(&both, false), Err(ApiError::MessageIncrInvalid));
        let block = block(&[(INCREMENT, "5")]);
        let off = PublishHeaders::parse(&block).increment(&StreamConfig::default(), false);
        assert_eq!(off, Err(ApiError::MessageIncrDisabled));
    }

    #[test]
    fn batches_are_read() {
        let of = |fields: &[(&str, &str)]| {
            let block = block(fields);
            let batch = PublishHeaders::parse(&block).atomic_batch(&stream())?;
            batch
                .map(|batch| Ok((batch.seq, batch.commit()?)))
                .transpose()
        };
        let id = (BATCH_ID, "b");
        assert_eq!(of(&[id, (BATCH_SEQ, "2")]), Ok(Some((2, Commit::No))));
        assert_eq!(
            of(&[id, (BATCH_SEQ, "2"), (BATCH_COMMIT, "1")]),
            Ok(Some((2, Commit::Last)))
        );
        assert_eq!(
            of(&[id, (BATCH_SEQ, "2"), (BATCH_COMMIT, "eob")]),
            Ok(Some((2, Commit::Behind)))
        );
        let wrong = of(&[id, (BATCH_SEQ, "2"), (BATCH_COMMIT, "x")]);
        assert_eq!(wrong, Err(ApiError::AtomicPublishInvalidBatchCommit));
        assert_eq!(of(&[id]), Err(ApiError::AtomicPublishMissingSeq));
        assert_eq!(
            of(&[id, (BATCH_SEQ, "x")]),
            Err(ApiError::AtomicPublishMissingSeq)
        );
        assert_eq!(of(&[(BATCH_ID, ""), (BATCH_SEQ, "1")]), Ok(None));
        let long = "x".repeat(65);
        let long = of(&[(BATCH_ID, &long), (BATCH_SEQ, "1")]);
        assert_eq!(long, Err(ApiError::AtomicPublishInvalidBatchId));
    }

    /// What a Go server answered to these.
    #[test]
    fn schedules_are_judged() {
        let of = |fields: &[(&str, &str)]| {
            let block = block(fields);
            let headers = PublishHeaders::parse(&block);
            let now = Time::from_unix(1_700_000_000, 0);
            headers
                .schedule(b"t.s", &stream(), now)
                .map(|found| found.map(|of| of.next))
        };
        let (every, target) = ((SCHEDULE, "@every 5s"), (SCHEDULE_TARGET, "t.x"));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(SCHEDULE, ""), target]), Ok(None));
        assert_eq!(
            of(&[every, target]),
            Ok(Some(Time::from_unix(1_700_000_005, 0)))
        );
        for (fields, want) in [
            (
                vec![(SCHEDULE, "@bogus"), target],
                ApiError::MessageSchedulesPatternInvalid,
            ),
            (vec![every], ApiError::MessageSchedulesTargetInvalid),
            (
                vec![every, (SCHEDULE_TARGET, "t.s")],
                ApiError::MessageSchedulesTargetInvalid,
            ),
            (
                vec![every, (SCHEDULE_TARGET, "u.x")],
                ApiError::MessageSchedulesTargetInvalid,
            ),
            (
                vec![every, (SCHEDULE_TARGET, "t.*")],
                ApiError::MessageSchedulesTargetInvalid,
            ),
            (
                vec![every, target, (SCHEDULE_TTL, "x")],
                ApiError::MessageSchedulesTtlInvalid,
            ),
            (
                vec![every, target, (SCHEDULE_ROLLUP, "all")],
                ApiError::MessageSchedulesRollupInvalid,
            ),
            (
                vec![every, target, (ROLLUP, "all")],
                ApiError::MessageSchedulesRollupInvalid,
            ),
            (
                vec![every, target, (SCHEDULE_SOURCE, "t.x")],
                ApiError::MessageSchedulesSourceInvalid,
            ),
            (
                vec![every, target, (SCHEDULE_SOURCE, "v.y")],
                ApiError::MessageSchedulesSourceInvalid,
            ),
            (
                vec![every, target, (SCHEDULE_TIME_ZONE, "UTC")],
                ApiError::MessageSchedulesPatternInvalid,
            ),
            (
                vec![(SCHEDULE, "@hourly"), target, (SCHEDULE_TIME_ZONE, "")],
                ApiError::MessageSchedulesTimeZoneInvalid,
            ),
        ] {
            assert_eq!(of(&fields), Err(want), "{fields:?}");
        }
        assert!(of(&[every, target, (SCHEDULE_SOURCE, "t.y"), (ROLLUP, "SUB")]).is_ok());
        let block = block(&[every, target]);
        let plain = StreamConfig::default();
        let off = PublishHeaders::parse(&block).schedule(b"t.s", &plain, Time::ZERO);
        assert_eq!(off, Err(ApiError::MessageSchedulesDisabled));
    }

    /// What a Go server answered to these.
    #[test]
    fn schedules_are_ended() {
        let of = |fields: &[(&str, &str)]| {
            let block = block(fields);
            let ended = PublishHeaders::parse(&block).ended_schedule(b"t.s", &stream());
            ended.map(|subject| subject.map(<[u8]>::to_vec))
        };
        let purge = (SCHEDULE_NEXT, "purge");
        let refused = Err(ApiError::MessageSchedulesSchedulerInvalid);
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[purge, (SCHEDULER, "t.q")]), Ok(Some(b"t.q".to_vec())));
        for fields in [
            vec![(SCHEDULE_NEXT, "x")],
            vec![purge],
            vec![purge, (SCHEDULER, "t.s")],
            vec![purge, (SCHEDULER, "t.*")],
            vec![(SCHEDULER, "t.z")],
        ] {
            assert_eq!(of(&fields), refused, "{fields:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_judged(block in prop::collection::vec(any::<u8>(), 0..96)) {
            let headers = PublishHeaders::parse(&block);
            let _ = headers.schedule(b"t.s", &stream(), Time::ZERO);
            let _ = headers.increment(&stream(), false);
        }

        #[test]
        fn values_are_those_of_the_first_by_that_name(
            names in prop::collection::vec("(Nats-)?[AM](sg-Id)?", 0..5),
        ) {
            let fields: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
            let block = block(&fields);
            let want = names.iter().any(|name| name == MSG_ID).then_some(MSG_ID.as_bytes());
            prop_assert_eq!(value(&block, MSG_ID), want);
            prop_assert_eq!(PublishHeaders::parse(&block).msg_id, want.unwrap_or_default());
        }
    }
}
