//! What a consumer works on and with: its stream, and where what it decides goes.

use std::fmt;
use std::ops::RangeInclusive;

use crate::base::rng::Rng;
use crate::jetstream::api::ack::Near;
use crate::store::LogError;
use crate::store::consumer::{Conflict, ConsumerState, Event, Millis, Outcome, PendingMessage};
use crate::store::file::Payload;
use crate::store::index::{Filters, StreamSeq, Timestamp};

/// The stream as one consumer sees it, with the consumer's own state, which is kept in the
/// stream's log. Messages that are not visible yet, as they may still be lost, are not there.
pub trait Stream {
    /// Where messages are read to.
    type Buffer: Default;

    /// The state of the consumer.
    fn state(&self) -> &ConsumerState;

    /// As [`ConsumerState::due`].
    fn due(&mut self, now: Millis, max: usize, due: &mut Vec<PendingMessage>);

    /// Lets something happen to the state, and keeps it.
    ///
    /// # Errors
    /// If it cannot happen, or not be kept; nothing has happened then.
    fn record(&mut self, event: Event) -> Result<Outcome, Fault>;

    /// Has the state forget messages that were delivered as often as they may be and lie before the
    /// first one, as they are gone.
    fn forget_exhausted(&mut self);

    /// The first message; the one that will be stored next if there is none.
    fn first(&self) -> StreamSeq;

    /// The last message that is visible, or was.
    fn last(&self) -> StreamSeq;

    /// A message.
    ///
    /// # Errors
    /// [`LogError::Absent`] if it is not there any more, [`LogError::Damaged`] if it is lost.
    fn read<'b>(
        &mut self,
        sequence: StreamSeq,
        buffer: &'b mut Self::Buffer,
    ) -> Result<Message<'b>, LogError>;

    /// The first message from `from` on that matches; `budget` messages at most are looked at, and
    /// taken off it.
    ///
    /// # Errors
    /// If the log cannot be read.
    fn next<'b>(
        &mut self,
        filters: &Filters,
        from: StreamSeq,
        budget: &mut usize,
        buffer: &'b mut Self::Buffer,
    ) -> Result<Found<'b>, LogError>;

    /// How many messages from `from` on match. It is asked once a turn if all match, and seldom
    /// otherwise.
    fn count(&mut self, filters: &Filters, from: StreamSeq) -> u64;

    /// The sequences of the last messages, none behind `upto`, on all subjects that match, in order.
    fn last_on_each(&mut self, filters: &Filters, upto: StreamSeq) -> Vec<StreamSeq>;

    /// The first message that is not older than `time`; the next one there will be if all are.
    ///
    /// # Errors
    /// If the log cannot be read.
    fn first_at(&mut self, time: Timestamp) -> Result<StreamSeq, LogError>;
}

/// A message of the stream.
#[derive(Clone, Debug)]
pub struct Message<'b> {
    pub sequence: StreamSeq,
    pub timestamp: Timestamp,
    pub subject: &'b [u8],
    /// The whole block, or nothing.
    pub headers: &'b [u8],
    pub payload: Payload<'b>,
}

/// What a search has come to.
#[derive(Debug)]
pub enum Found<'b> {
    /// The next message that matches.
    Message(Message<'b>),
    /// It is not before this one.
    Paused(StreamSeq),
    /// There is none.
    End,
}

/// Where it goes what a consumer decides.
pub trait Sink {
    /// Whether somebody listens to a subject.
    fn interest(&mut self, subject: &[u8]) -> Interest;

    /// Sends a message.
    fn deliver(&mut self, delivery: &Delivery<'_>);

    /// Sends a block of headers without a payload.
    fn status(&mut self, to: &[u8], reply: &[u8], headers: &[u8]);

    /// Sends an empty message, which says that an acknowledgement has taken effect. It is not to
    /// leave before what was [recorded](Stream::record) is kept for good.
    fn confirm(&mut self, to: &[u8]);

    /// Tells of something, if anybody listens.
    fn advise(&mut self, advisory: &Advisory<'_>);

    /// These messages do not wait for this consumer any more: told only where the stream keeps
    /// messages for consumers.
    fn release(&mut self, messages: RangeInclusive<StreamSeq>);
}

/// Whether somebody listens to the subject that answers to a request go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    Present,
    Absent,
    /// The request came from another account, and nobody there waits for its answers.
    AbsentElsewhere,
}

/// A message on its way to a client.
#[derive(Debug)]
pub struct Delivery<'m> {
    /// Where it goes to.
    pub to: &'m [u8],
    /// The subject that the client is shown: that of the stored message.
    pub subject: &'m [u8],
    /// Where it is acknowledged.
    pub reply: &'m [u8],
    pub headers: &'m [u8],
    pub payload: Payload<'m>,
    pub sequence: StreamSeq,
}

/// Something that others may want to know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advisory<'a> {
    /// A message was delivered as often as it may be, and not acknowledged.
    MaxDeliveries { stream: StreamSeq, deliveries: u64 },
    /// A client refused a message.
    Naked {
        stream: StreamSeq,
        consumer: u64,
        deliveries: u64,
    },
    /// A message will not be delivered again.
    Terminated {
        stream: StreamSeq,
        consumer: u64,
        deliveries: u64,
        reason: &'a str,
    },
    /// A client is the one that gets messages from now on.
    Pinned { group: &'a str, id: &'a str },
    /// No client is that any more.
    Unpinned { group: &'a str, reason: &'a str },
    /// Delivery was stopped until some time, or goes on.
    Paused {
        paused: bool,
        until: Option<Timestamp>,
    },
    /// A sample of how long an acknowledgement took.
    Acked {
        stream: StreamSeq,
        consumer: u64,
        deliveries: u64,
        ack_time_ns: u64,
    },
}

/// One turn of the loop, for one consumer.
pub struct Turn<'t, S: Stream, K> {
    pub stream: &'t mut S,
    pub sink: &'t mut K,
    pub scratch: &'t mut Scratch<S::Buffer>,
    /// The same for the whole turn, later in the next one, and never earlier.
    pub now: Timestamp,
}

/// Memory that consumers use one after the other.
pub struct Scratch<B> {
    pub(super) buffer: B,
    pub(super) reply: Vec<u8>,
    pub(super) near: Near,
    pub(super) headers: Vec<u8>,
    pub(super) status: Vec<u8>,
    pub(super) due: Vec<PendingMessage>,
    pub(super) rng: Rng,
}

impl<B: Default> Scratch<B> {
    /// Empty memory. `seed` is what ids and samples come from.
    pub fn new(seed: u64) -> Scratch<B> {
        Scratch {
            buffer: B::default(),
            reply: vec![],
            near: Near::default(),
            headers: vec![],
            status: vec![],
            due: vec![],
            rng: Rng::new(seed),
        }
    }
}

/// What a turn may still do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Messages that may be sent.
    pub messages: usize,
    /// Bytes that may be sent; the last message may exceed them.
    pub bytes: usize,
    /// Messages that may be looked at.
    pub looks: usize,
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.messages == 0 || self.bytes == 0 || self.looks == 0
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Why a consumer could not go on.
#[derive(Debug)]
pub enum Fault {
    /// The log cannot be read or written.
    Log(LogError),
    /// Its state does not allow what it tried.
    Conflict(Conflict),
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Fault {
        Fault::Log(error)
    }
}

impl From<Conflict> for Fault {
    fn from(conflict: Conflict) -> Fault {
        Fault::Conflict(conflict)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Log(error) => error.fmt(f),
            Fault::Conflict(conflict) => conflict.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}
