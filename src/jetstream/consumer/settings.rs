//! What a consumer is to do, in the form that its engine works with.

use std::time::Duration;

use crate::jetstream::api::ack::AckSubject;
use crate::store::consumer::{self as state, Millis};
use crate::store::index::{Filters, InvalidFilter, StreamSeq, Timestamp};

/// What has to be acknowledged, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckPolicy {
    /// Nothing.
    None,
    /// An acknowledgement is for all messages before it, too.
    All,
    /// Each message is acknowledged.
    Explicit,
    /// As `All`, by answers to requests of flow control.
    FlowControl,
}

impl AckPolicy {
    /// The policy as the store knows it.
    pub fn stored(self) -> state::AckPolicy {
        match self {
            AckPolicy::None => state::AckPolicy::None,
            AckPolicy::All | AckPolicy::FlowControl => state::AckPolicy::All,
            AckPolicy::Explicit => state::AckPolicy::Explicit,
        }
    }

    /// Whether messages come with a subject to acknowledge them on that somebody listens to.
    pub fn takes_acks(self) -> bool {
        matches!(self, AckPolicy::All | AckPolicy::Explicit)
    }
}

/// Where a new consumer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliverPolicy {
    /// With the first message there is.
    All,
    /// With the last message that matches.
    Last,
    /// With the next message that will be stored.
    New,
    /// With this message, which there need not be yet.
    BySequence(StreamSeq),
    /// With the first message that is not older.
    ByTime(Timestamp),
    /// With the last message of each subject that matches.
    LastPerSubject,
}

/// Which messages the stream keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retention {
    /// Those that its limits let it: no consumer matters.
    Limits,
    /// Those that some consumer has not acknowledged.
    Interest,
    /// Those that nobody has acknowledged.
    WorkQueue,
}

/// Who asks for messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Clients, by pull requests.
    Pull(PullSettings),
    /// Nobody: they are sent to whoever listens.
    Push(PushSettings),
}

/// What pull requests may ask for. 0 is no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PullSettings {
    /// Requests that may wait at the same time.
    pub max_waiting: usize,
    /// Messages in one request.
    pub max_batch: u64,
    /// How long a request may wait.
    pub max_expires: Duration,
    /// Bytes in one request.
    pub max_bytes: u64,
    /// Who comes first.
    pub priority: Priority,
    /// The groups that requests may name.
    pub groups: Vec<String>,
    /// After how long without a request the pinned client is no longer pinned.
    pub pin_ttl: Duration,
}

/// Which of the requests that wait get messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Priority {
    /// All, in turn.
    #[default]
    None,
    /// Those for which enough messages wait.
    Overflow,
    /// Those of one client.
    Pinned,
    /// Those with the smallest number.
    Prioritized,
}

/// Where messages are sent to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PushSettings {
    /// The subject.
    pub subject: String,
    /// Whether the client is asked to say how far it has come.
    pub flow_control: bool,
    /// After how long without a message the client is told that all is well.
    pub heartbeat: Option<Duration>,
    /// How fast messages may be sent.
    pub rate: Option<Rate>,
}

/// A limit on the bytes that are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Bytes a second: more than 0.
    pub bytes_per_s: u64,
    /// Bytes that may be sent at once: the size of the largest message.
    pub burst_bytes: u64,
}

/// What a consumer is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The stream's name.
    pub stream: String,
    /// The consumer's name.
    pub name: String,
    /// The front of the subjects on which messages are acknowledged.
    pub ack_subject: AckSubject,
    /// What the subjects begin with that flow control is answered on, as in `$JS.FC.S.C.`.
    pub flow_prefix: Vec<u8>,
    pub mode: Mode,
    pub ack: AckPolicy,
    /// How long an acknowledgement may take; zero for as long as it likes.
    pub ack_wait: Duration,
    /// How long it may take after the first delivery, the second and so on; the last one is for
    /// all further ones. Instead of `ack_wait` unless empty.
    pub backoff: Vec<Duration>,
    /// How often a message is delivered at most.
    pub max_deliver: Option<u32>,
    /// How many messages may wait for their acknowledgements.
    pub max_ack_pending: Option<usize>,
    pub filters: Filters,
    pub deliver: DeliverPolicy,
    /// Whether messages come as fast as they were stored.
    pub replay_original: bool,
    /// Whether messages come without their payloads.
    pub headers_only: bool,
    /// How many of a hundred acknowledgements are told of.
    pub sample_percent: u8,
    /// After how long without anybody the consumer goes; zero for never.
    pub inactive_threshold: Duration,
    /// Until when no messages are delivered.
    pub pause_until: Option<Timestamp>,
    pub retention: Retention,
}

impl Settings {
    /// Those of a consumer with everything as it is by default: pulled from, and each message
    /// acknowledged within 30 seconds.
    pub fn new(stream: &str, name: &str) -> Settings {
        Settings {
            stream: stream.to_owned(),
            name: name.to_owned(),
            ack_subject: AckSubject::new(stream, name),
            flow_prefix: format!("$JS.FC.{stream}.{name}.").into_bytes(),
            mode: Mode::Pull(PullSettings {
                max_waiting: 512,
                pin_ttl: Duration::from_secs(120),
                ..PullSettings::default()
            }),
            ack: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            backoff: vec![],
            max_deliver: None,
            max_ack_pending: Some(1000),
            filters: Filters::all(),
            deliver: DeliverPolicy::All,
            replay_original: false,
            headers_only: false,
            sample_percent: 0,
            inactive_threshold: Duration::ZERO,
            pause_until: None,
            retention: Retention::Limits,
        }
    }

    /// Wants only messages on these subjects, all if there are none.
    ///
    /// # Errors
    /// If one of them is not valid.
    pub fn set_filters(&mut self, filters: &[String]) -> Result<(), InvalidFilter> {
        self.filters = match filters {
            [] => Filters::all(),
            some => Filters::new(some.iter().map(String::as_bytes))?,
        };
        Ok(())
    }

    /// Whether all messages are wanted.
    pub fn wants_all(&self) -> bool {
        self.filters.matches(b"")
    }

    /// When a message is due again that is delivered now, after so many deliveries before.
    pub fn deadline(&self, now: Timestamp, before: u32) -> Millis {
        let wait = match self.backoff.as_slice() {
            _ if self.ack == AckPolicy::None => return Millis::of(now),
            [] if self.ack_wait.is_zero() => return super::NEVER,
            [] => self.ack_wait,
            waits => waits[(before as usize).min(waits.len() - 1)],
        };
        Millis::after(super::later(now, wait)).min(super::NEVER)
    }

    /// Whether a message that was delivered so often may not be delivered again.
    pub(super) fn is_exhausted(&self, deliveries: u64) -> bool {
        self.max_deliver
            .is_some_and(|max| deliveries >= u64::from(max))
    }
}
