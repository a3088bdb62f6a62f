//! The delivery engine of a consumer: which messages go to whom, and when they go again.
//!
//! A [`Consumer`] is a state machine without I/O. It is given events - pull requests,
//! acknowledgements, interest that comes and goes - and turns in which to work
//! ([`Consumer::serve`]), each with a time. It reads messages and changes its durable state through
//! [`Stream`], and hands over to a [`Sink`] what is to be sent. All that has to survive is in the
//! [`ConsumerState`](crate::store::consumer::ConsumerState) and changes by events alone; what is
//! here is lost by a restart and made anew: requests that wait, the order of redeliveries, windows
//! of flow control.
//!
//! ```text
//!            requests, acknowledgements, interest, time
//!                              │
//!    Stream ──── reads ──── Consumer ──── messages, statuses, advisories ──── Sink
//!       └─────── events ───────┘
//! ```
//!
//! Who drives it calls [`Consumer::serve`] after an event, when a message has become visible and
//! [`Consumer::wants_messages`], when the time is [`Consumer::next_timer`], and again as long as
//! it says that there is more. A consumer that waits for any of this costs nothing.

mod acks;
mod choose;
mod config;
mod count;
mod deliver;
mod info;
mod life;
mod pull;
mod push;
mod redelivery;
mod roster;
mod settings;
mod start;
mod status;
mod turn;
mod waiting;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::choose::Pin;
use self::count::Count;
use self::push::Push;
use self::redelivery::{NEVER, Redelivery};
use self::start::SkipList;
use self::waiting::{Place, Waiting};
use crate::store::consumer::Millis;
use crate::store::index::{StreamSeq, Timestamp};

pub use config::Site;
pub use info::{Figures, PinFigures, SequenceFigures};
pub use life::InvalidReset;
pub use roster::{Roster, Slot};
pub use settings::{
    AckPolicy, DeliverPolicy, Mode, Priority, PullSettings, PushSettings, Rate, Retention, Settings,
};
pub use start::Start;
pub use turn::{
    Advisory, Budget, Delivery, Fault, Found, Interest, Message, Scratch, Sink, Stream, Turn,
};
pub use waiting::Waiters;

/// What a turn has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// There is nothing to do until something happens or the [timer](Consumer::next_timer) fires.
    Idle,
    /// The budget was spent: there is more.
    More,
    /// Nobody has used the consumer for as long as it waits for that: it is to be deleted.
    Inactive,
}

/// One consumer.
pub struct Consumer {
    settings: Box<Settings>,
    /// The first message that was not looked at yet. What does not match is passed without a
    /// record, so this may be well behind what was delivered.
    next: StreamSeq,
    /// What is delivered before the messages from `next` on.
    skip: Option<Box<SkipList>>,
    count: Count,
    redelivery: Redelivery,
    way: Way,
    /// What is kept of messages that come as fast as they were stored, until the consumer has
    /// caught up.
    replay: Option<Box<Replay>>,
    /// When delivery goes on that was held up by its pace.
    hold_until: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    acked_at: Option<Timestamp>,
    /// When the consumer was used last.
    used_at: Timestamp,
    /// The threshold of inactivity, with what is added so that not all consumers go at once.
    inactive_after: Duration,
    /// When to look whether the consumer is in use.
    inactive_at: Option<Timestamp>,
    /// The end of a pause that is to be told of.
    pause_end: Option<Timestamp>,
}

/// Who messages go to.
enum Way {
    Pull(Pull),
    Push(Box<Push>),
}

/// The clients that pull.
#[derive(Debug, Default)]
struct Pull {
    waiting: Waiting,
    pin: Option<Box<Pin>>,
    /// When the requests were looked through because there were too many.
    relieved_at: Timestamp,
}

/// Messages that come as fast as they were stored.
#[derive(Debug)]
struct Replay {
    /// The last message there was at the start.
    through: StreamSeq,
    /// When the last one was stored that was delivered.
    last: Option<Timestamp>,
    /// The next one, and when it is to be delivered.
    held: Option<(StreamSeq, Timestamp)>,
}

impl Consumer {
    /// Whether it is to be given a turn when there is a message that matches.
    pub fn wants_messages(&self) -> bool {
        match &self.way {
            Way::Pull(pull) => !pull.waiting.is_empty(),
            Way::Push(push) => push.is_active(),
        }
    }

    /// When it is to be given a turn if nothing happens before.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let mut at = soonest(self.hold_until, self.pause_end);
        at = soonest(at, self.inactive_at);
        if self.redelivery.at() < NEVER {
            at = soonest(at, Some(moment(self.redelivery.at())));
        }
        match &self.way {
            Way::Pull(pull) => {
                at = soonest(at, pull.waiting.check_at());
                soonest(at, pull.pin.as_ref().map(|pin| pin.until))
            }
            Way::Push(push) => soonest(at, push.heartbeat_at()),
        }
    }

    /// Takes note of a message that matches the filters and is visible now. To be called before
    /// the next turn, for each in the order of the stream; not needed where all messages match.
    pub fn note_stored(&mut self, sequence: StreamSeq) {
        if !self.settings.wants_all() {
            self.count.stored(sequence, self.next);
        }
    }

    /// What it is to do.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Bytes of memory that are owned, without the durable state.
    pub fn memory_bytes(&self) -> usize {
        let settings = &self.settings;
        let way = match &self.way {
            Way::Pull(pull) => pull.waiting.memory_bytes(),
            Way::Push(push) => push.memory_bytes(),
        };
        let mode = match &settings.mode {
            Mode::Pull(pull) => pull.groups.iter().map(String::len).sum(),
            Mode::Push(push) => push.subject.capacity(),
        };
        size_of::<Consumer>()
            + size_of::<Settings>()
            + settings.stream.capacity()
            + settings.name.capacity()
            + settings.ack_subject.memory_bytes()
            + settings.flow_prefix.capacity()
            + mode
            + way
            + self.redelivery.memory_bytes()
            + self.skip.as_ref().map_or(0, |skip| skip.memory_bytes())
    }

    /// What heartbeats tell of.
    fn place<S: Stream>(&self, stream: &S) -> Place {
        Place {
            consumer: stream.state().delivered().consumer,
            stream: self.next.previous(),
        }
    }

    /// How many messages wait to be delivered.
    fn pending<S: Stream>(&mut self, stream: &mut S) -> u64 {
        if self.settings.wants_all() {
            self.recount(stream);
        }
        self.count.get()
    }

    /// Counts anew what waits to be delivered.
    fn recount<S: Stream>(&mut self, stream: &mut S) {
        let from = match &self.skip {
            Some(skip) => skip.resume,
            None => self.next,
        };
        self.count = Count::take(stream, &self.settings, from);
        if let Some(skip) = &self.skip {
            self.count.add(skip.len() as u64);
        }
    }

    /// Takes note that the consumer is in use.
    fn touch(&mut self, now: Timestamp) {
        self.used_at = self.used_at.max(now);
    }
}

/// The time after a duration, or the last there is.
fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    Timestamp(time.0.saturating_add(by))
}

/// The earlier of two times, if there are any.
fn soonest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The start of a millisecond.
fn moment(at: Millis) -> Timestamp {
    Timestamp(at.get().saturating_mul(1_000_000))
}
