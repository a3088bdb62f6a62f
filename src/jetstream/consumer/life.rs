//! What happens to a consumer as a whole: changes, pauses, resets, its end.

use std::fmt;

use super::acks::is_exhausted;
use super::redelivery::{NEVER, QUEUED};
use super::settings::{DeliverPolicy, Mode, PushSettings, Settings};
use super::status::Status;
use super::turn::{Advisory, Fault, Sink, Stream, Turn};
use super::{Consumer, Replay, Way, later};
use crate::store::consumer::{ConsumerSeq, Event, Millis, PendingMessage, Position};
use crate::store::index::{StreamSeq, Timestamp};

/// Why a consumer cannot begin anew at a message.
#[derive(Debug)]
pub enum InvalidReset {
    /// It is before the one that the consumer was to begin with.
    BelowStartSeq,
    /// It is older than those that the consumer was to begin with.
    BelowStartTime,
    /// Where the consumer begins is not for clients to say.
    NotAllowed,
    /// The state cannot be changed.
    Fault(Fault),
}

impl fmt::Display for InvalidReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidReset::BelowStartSeq => f.write_str("below start seq"),
            InvalidReset::BelowStartTime => f.write_str("below start time"),
            InvalidReset::NotAllowed => f.write_str("not allowed"),
            InvalidReset::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for InvalidReset {}

impl From<Fault> for InvalidReset {
    fn from(fault: Fault) -> InvalidReset {
        InvalidReset::Fault(fault)
    }
}

impl Consumer {
    /// Takes new settings. Which of them may change was checked; how messages are delivered and
    /// acknowledged may not.
    ///
    /// # Errors
    /// If the state cannot be changed; some of the new settings hold then.
    pub fn update<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        settings: Settings,
    ) -> Result<(), Fault> {
        let now = turn.now;
        let old = std::mem::replace(&mut *self.settings, settings);
        if self.settings.inactive_threshold != old.inactive_threshold {
            self.set_threshold(turn.scratch.rng.below(900), now);
        }
        if self.settings.pause_until != old.pause_until {
            self.set_pause_end(now);
            turn.sink.advise(&Advisory::Paused {
                paused: self.pause_end.is_some(),
                until: self.settings.pause_until,
            });
        }
        if (self.settings.ack_wait, &self.settings.backoff) != (old.ack_wait, &old.backoff) {
            self.shift_deadlines(turn, &old)?;
        }
        self.recount(turn.stream);
        if deliver_subject(&old.mode) != deliver_subject(&self.settings.mode) {
            // Whoever listens there has not seen what the others have not acknowledged.
            self.enqueue_all(turn)?;
            self.restart_flow();
        }
        Ok(())
    }

    /// Begins anew at a message, or behind the ack floor; gives at which.
    ///
    /// # Errors
    /// If that is not allowed, or the state cannot be changed.
    pub fn reset<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        to: Option<StreamSeq>,
    ) -> Result<StreamSeq, InvalidReset> {
        let to = match (to.filter(|to| to.0 > 0), self.settings.deliver) {
            (None, _) => turn.stream.state().ack_floor().stream.next(),
            (Some(to), DeliverPolicy::All) => to,
            (Some(to), DeliverPolicy::BySequence(start)) if to < start => {
                return Err(InvalidReset::BelowStartSeq);
            }
            (Some(to), DeliverPolicy::BySequence(_)) => to,
            (Some(to), DeliverPolicy::ByTime(time)) => {
                let start = turn.stream.first_at(time).map_err(Fault::from)?;
                if to < start {
                    return Err(InvalidReset::BelowStartTime);
                }
                to
            }
            (Some(_), _) => return Err(InvalidReset::NotAllowed),
        };
        let event = Event::Reset {
            to: Position {
                stream: to.previous(),
                consumer: ConsumerSeq(0),
            },
        };
        turn.stream.record(event)?;
        self.redelivery.clear();
        self.restart_flow();
        self.skip = None;
        self.next = to;
        (self.delivered_at, self.acked_at) = (None, None);
        if let Some(replay) = &mut self.replay {
            **replay = Replay {
                through: turn.stream.last(),
                last: None,
                held: None,
            };
        }
        self.recount(turn.stream);
        Ok(to)
    }

    fn restart_flow(&mut self) {
        if let Way::Push(push) = &mut self.way {
            push.restart();
        }
    }

    /// Lets no client be the pinned one, on request.
    pub fn unpin<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>, group: &str) {
        if let Way::Pull(pull) = &mut self.way {
            pull.pin = None;
            let reason = "admin";
            turn.sink.advise(&Advisory::Unpinned { group, reason });
        }
    }

    /// Tells those that wait that the consumer is deleted.
    pub fn handle_deleted<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>) {
        self.end_requests(turn, Status::Deleted, false);
    }

    /// Tells those that wait that the server stops.
    pub fn handle_shutdown<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>) {
        self.end_requests(turn, Status::Shutdown, true);
    }

    /// Whether a message that matches still waits for this consumer, so that a stream which keeps
    /// messages for consumers has to keep it.
    pub fn needs<S: Stream>(&self, stream: &S, sequence: StreamSeq) -> bool {
        let state = stream.state();
        let waits = sequence > state.ack_floor().stream
            && (self.settings.ack != super::AckPolicy::Explicit
                || sequence > state.delivered().stream
                || state.pending().get(sequence).is_some());
        waits || is_exhausted(state, sequence)
    }

    /// Whether it is to deliver nothing now.
    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        self.settings.pause_until.is_some_and(|until| now < until)
    }

    /// Whether nobody has used it for too long. When to look next is set if not.
    pub(super) fn is_inactive<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>) -> bool {
        let now = turn.now;
        if self.inactive_at.is_none_or(|at| at > now) {
            return false;
        }
        if let Way::Pull(pull) = &self.way
            && !pull.waiting.is_empty()
        {
            // Nobody may be there for those that wait, which is found out here.
            self.sweep(turn, true);
        }
        let (threshold, mut last) = (self.inactive_after, self.used_at);
        match &self.way {
            Way::Push(_) => return true,
            Way::Pull(pull) if !pull.waiting.is_empty() => last = last.max(now),
            // Who works on a message has until its deadline to say so.
            Way::Pull(_) if later(last, threshold) <= now => {
                let pending = turn.stream.state().pending().iter();
                let ends = pending.map(|message| self.last_word(&message));
                last = ends.max().unwrap_or(last).max(last);
            }
            Way::Pull(_) => {}
        }
        let at = later(last, threshold);
        self.inactive_at = Some(at);
        at <= now
    }

    /// When a message has to be acknowledged that was delivered.
    fn last_word(&self, message: &PendingMessage) -> Timestamp {
        let delivered_at = super::moment(message.delivered_at);
        match self.settings.deadline(delivered_at, message.redeliveries) {
            NEVER => delivered_at,
            deadline => super::moment(deadline),
        }
    }

    /// Gives messages that wait for their acknowledgements as much more time as they would have now.
    fn shift_deadlines<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        old: &Settings,
    ) -> Result<(), Fault> {
        let pending = turn.stream.state().pending().iter();
        let all: Vec<PendingMessage> = pending.filter(|m| m.deadline != QUEUED).collect();
        for message in all {
            let delivered_at = super::moment(message.delivered_at);
            let then = old.deadline(delivered_at, message.redeliveries);
            let now = self.settings.deadline(delivered_at, message.redeliveries);
            let deadline = match (message.deadline, now) {
                (NEVER, now) => now,
                (_, NEVER) => NEVER,
                (deadline, now) => {
                    let shifted = (deadline.get() + now.get()).saturating_sub(then.get());
                    Millis::new(shifted).min(NEVER)
                }
            };
            let stream = message.stream;
            turn.stream
                .record(Event::Rescheduled { stream, deadline })?;
            self.redelivery.expect(deadline);
        }
        Ok(())
    }

    fn end_requests<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        status: Status<'_>,
        with_left: bool,
    ) {
        if let Way::Pull(pull) = &mut self.way {
            let block = &mut turn.scratch.status;
            pull.waiting.end_all(status, with_left, turn.sink, block);
        }
    }
}

fn deliver_subject(mode: &Mode) -> Option<&str> {
    match mode {
        Mode::Pull(_) => None,
        Mode::Push(PushSettings { subject, .. }) => Some(subject),
    }
}
