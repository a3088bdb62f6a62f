//! What clients say of messages that they were sent.

use std::time::Duration;

use serde::Deserialize;

use super::redelivery::QUEUED;
use super::reply::Delivered;
use super::settings::{AckPolicy, Retention};
use super::turn::{Advisory, Fault, Sink, Stream, Turn};
use super::{Consumer, Way, later};
use crate::base::duration;
use crate::proto::headers;
use crate::store::consumer::{ConsumerSeq, Event, Millis, PendingMessage};
use crate::store::index::{StreamSeq, Timestamp};

/// The reason that is given for a message that waited for its acknowledgement when it was removed.
const DELETED: &str = "Unacknowledged message was deleted";

/// The reason that is given for messages that the stream's limits removed.
const DELETED_BY_LIMITS: &str = "Message deleted by stream limits";

/// Messages that are looked for at a time because their acknowledgement is late.
const DUE_MAX: usize = 1024;

/// What a client says of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckMessage<'a> {
    /// It is done with it.
    Ack,
    /// It does not want it now; after the delay, if there is one.
    Nak { delay: Option<Duration> },
    /// It is still at work on it.
    Progress,
    /// It is done with it, and this is a pull request.
    Next(&'a [u8]),
    /// Nobody is to have it again.
    Term { reason: &'a str },
    /// Nothing that is understood. It is confirmed nevertheless.
    Unknown,
}

impl<'a> AckMessage<'a> {
    /// Reads what came on a message's reply subject.
    pub fn parse(payload: &'a [u8]) -> AckMessage<'a> {
        match payload {
            b"" | b"+ACK" | b"+OK" => AckMessage::Ack,
            b"+WPI" => AckMessage::Progress,
            _ => {
                if let Some(rest) = payload.strip_prefix(b"+NXT") {
                    AckMessage::Next(rest)
                } else if let Some(rest) = payload.strip_prefix(b"-NAK") {
                    let delay = delay(rest.trim_ascii());
                    AckMessage::Nak { delay }
                } else if let Some(rest) = payload.strip_prefix(b"+TERM") {
                    let reason = std::str::from_utf8(rest.trim_ascii()).unwrap_or("");
                    AckMessage::Term { reason }
                } else {
                    AckMessage::Unknown
                }
            }
        }
    }
}

/// The delay that a refusal comes with; one that cannot be read is none.
fn delay(text: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Options {
        #[serde(default)]
        delay: i64,
    }
    if text.first() == Some(&b'{') {
        let options: Options = serde_json::from_slice(text).ok()?;
        return Some(Duration::from_nanos(
            u64::try_from(options.delay).unwrap_or(0),
        ));
    }
    duration::parse(std::str::from_utf8(text).ok()?).ok()
}

impl Consumer {
    /// Takes what a client says of a delivery. If it wants to know that it was heard, it is told on
    /// `reply`. What came with [`AckMessage::Next`] is to be given to [`Consumer::handle_pull`]
    /// afterwards, with the same reply subject.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_ack<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivered,
        message: AckMessage<'_>,
        reply: &[u8],
    ) -> Result<(), Fault> {
        if !self.settings.ack.takes_acks() {
            return Ok(());
        }
        self.show_life(turn.now);
        let confirm = match message {
            AckMessage::Ack => self.settle(turn, delivered, true)?,
            AckMessage::Next(_) => {
                self.settle(turn, delivered, true)?;
                false
            }
            AckMessage::Nak { delay } => {
                self.refuse(turn, delivered, delay)?;
                delivered.stream.0 > 0
            }
            AckMessage::Progress => {
                self.prolong(turn, delivered.stream)?;
                delivered.stream.0 > 0
            }
            AckMessage::Term { reason } => {
                let settled = self.settle(turn, delivered, false)?;
                turn.sink.advise(&Advisory::Terminated {
                    stream: delivered.stream,
                    consumer: delivered.consumer.0,
                    deliveries: delivered.deliveries,
                    reason,
                });
                settled
            }
            AckMessage::Unknown => delivered.stream.0 > 0,
        };
        if confirm && !reply.is_empty() {
            turn.sink.confirm(reply);
        }
        Ok(())
    }

    /// Takes note of a message that was removed from the stream, and matches the filters.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_removed<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        sequence: StreamSeq,
    ) -> Result<(), Fault> {
        match &mut self.skip {
            Some(skip) if sequence < skip.resume => {
                if skip.remove(sequence) {
                    self.count.removed(sequence, sequence);
                }
            }
            Some(skip) => self.count.removed(sequence, skip.resume),
            None => self.count.removed(sequence, self.next),
        }
        if let Some(exhausted) = &mut self.exhausted {
            exhausted.remove(sequence);
        }
        if let Some(pending) = turn.stream.state().pending().get(sequence) {
            self.terminate(turn, &pending, DELETED)?;
        }
        Ok(())
    }

    /// Drops what waits for an acknowledgement and is not in the stream any more, as it has a new
    /// first message. Nobody is told if it was purged.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_trimmed<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        purged: bool,
    ) -> Result<(), Fault> {
        let first = turn.stream.first();
        let gone = |turn: &Turn<'_, S, K>| {
            let pending = turn.stream.state().pending().first();
            pending.filter(|pending| pending.stream < first)
        };
        if purged {
            let through = first.previous();
            if turn.stream.state().ack_floor().stream < through {
                turn.stream.record(Event::Skipped { stream: through })?;
            }
        } else {
            while let Some(pending) = gone(turn) {
                self.terminate(turn, &pending, DELETED_BY_LIMITS)?;
            }
        }
        if let Some(exhausted) = &mut self.exhausted {
            exhausted.remove_range(StreamSeq(1), first.previous());
        }
        if let Some(skip) = &mut self.skip {
            while skip.front().is_some_and(|sequence| sequence < first) {
                if skip.pop() {
                    break;
                }
            }
            if skip.len() == 0 {
                self.next = skip.resume;
                self.skip = None;
            }
        }
        self.next = self.next.max(first);
        self.recount(turn.stream);
        Ok(())
    }

    /// Takes the acknowledgement in an answer to flow control.
    pub(super) fn acknowledge_flow<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        block: &[u8],
    ) -> Result<(), Fault> {
        let number = |name| {
            let value = headers::value(block, name)?;
            std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok()
        };
        let stream = number("Nats-Last-Stream").unwrap_or(0);
        if stream > 0 {
            let consumer = number("Nats-Last-Consumer").unwrap_or(0);
            let delivered = Delivered {
                deliveries: 1,
                stream: StreamSeq(stream),
                consumer: ConsumerSeq(consumer),
                timestamp: Timestamp(0),
                pending: 0,
            };
            self.settle(turn, &delivered, false)?;
        }
        Ok(())
    }

    /// Finds messages whose acknowledgement is late: they are delivered again, or were delivered
    /// too often.
    pub(super) fn collect_due<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
    ) -> Result<(), Fault> {
        let now = Millis::of(turn.now);
        if self.redelivery.at() > now {
            return Ok(());
        }
        let mut due = std::mem::take(&mut turn.scratch.due);
        due.clear();
        turn.stream.due(now, DUE_MAX, &mut due);
        let found = due.iter().try_for_each(|message| {
            if self
                .settings
                .is_exhausted(u64::from(message.redeliveries) + 1)
            {
                self.exhaust(turn, message)
            } else {
                self.enqueue(turn, message.stream)
            }
        });
        let is_all = due.len() < DUE_MAX;
        turn.scratch.due = due;
        found?;
        if is_all {
            let next = turn.stream.state().pending().next_deadline();
            self.redelivery.set_at(next);
        }
        Ok(())
    }

    /// Lets a message stand in the queue of those that are delivered again.
    pub(super) fn enqueue<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        stream: StreamSeq,
    ) -> Result<(), Fault> {
        turn.stream.record(Event::Rescheduled {
            stream,
            deadline: QUEUED,
        })?;
        self.redelivery.push(stream, turn.stream.state());
        Ok(())
    }

    /// Lets all messages that wait stand in that queue, save those that were delivered too often.
    pub(super) fn enqueue_all<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
    ) -> Result<(), Fault> {
        let pending = turn.stream.state().pending().iter();
        let all: Vec<PendingMessage> = pending.filter(|m| m.deadline != QUEUED).collect();
        all.iter().try_for_each(|message| {
            if self
                .settings
                .is_exhausted(u64::from(message.redeliveries) + 1)
            {
                self.exhaust(turn, message)
            } else {
                self.enqueue(turn, message.stream)
            }
        })
    }

    /// Lets nobody have a message again that is not in the stream any more.
    pub(super) fn terminate_deleted<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        message: &PendingMessage,
    ) -> Result<(), Fault> {
        self.terminate(turn, message, DELETED)
    }

    fn terminate<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        message: &PendingMessage,
        reason: &str,
    ) -> Result<(), Fault> {
        let stream = message.stream;
        turn.stream.record(Event::Terminated { stream })?;
        turn.sink.advise(&Advisory::Terminated {
            stream,
            consumer: message.consumer.0,
            deliveries: u64::from(message.redeliveries) + 1,
            reason,
        });
        self.acked_at = Some(turn.now);
        Ok(())
    }

    /// Gives up a message that was delivered as often as it may be. It stays in the stream.
    fn exhaust<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        message: &PendingMessage,
    ) -> Result<(), Fault> {
        let stream = message.stream;
        turn.stream.record(Event::Terminated { stream })?;
        self.exhausted.get_or_insert_default().insert(stream);
        turn.sink.advise(&Advisory::MaxDeliveries {
            stream,
            deliveries: u64::from(message.redeliveries) + 1,
        });
        Ok(())
    }

    /// Takes note that a client is there.
    fn show_life(&mut self, now: Timestamp) {
        self.touch(now);
        if let (Way::Push(_), Some(_)) = (&self.way, self.inactive_at) {
            self.inactive_at = Some(later(now, self.inactive_after));
        }
    }

    /// Takes an acknowledgement, be it good or bad; gives whether the delivery can have happened.
    fn settle<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivered,
        sample: bool,
    ) -> Result<bool, Fault> {
        let sequence = delivered.stream;
        if sequence >= self.next && self.settings.ack != AckPolicy::FlowControl {
            return Ok(false);
        }
        if self.settings.ack == AckPolicy::Explicit {
            self.settle_one(turn, delivered, sample)?;
        } else {
            self.settle_through(turn, delivered)?;
        }
        Ok(sequence.0 > 0)
    }

    fn settle_one<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivered,
        sample: bool,
    ) -> Result<(), Fault> {
        let stream = delivered.stream;
        if sample && self.settings.sample_percent > 0 {
            self.sample(turn, delivered);
        }
        turn.stream.record(Event::Acked { stream })?;
        self.acked_at = Some(turn.now);
        if let Some(exhausted) = &mut self.exhausted {
            exhausted.remove(stream);
        }
        // One that did not wait any more may still be there: it was delivered too often.
        if self.settings.retention != Retention::Limits {
            turn.sink.release(stream..=stream);
        }
        Ok(())
    }

    fn settle_through<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivered,
    ) -> Result<(), Fault> {
        let (floor, last) = (
            turn.stream.state().ack_floor(),
            turn.stream.state().delivered(),
        );
        let (stream, consumer) = (delivered.stream, delivered.consumer);
        if consumer <= floor.consumer || stream <= floor.stream || stream > last.stream {
            return Ok(());
        }
        if self.settings.retention != Retention::Limits {
            let pending = turn.stream.state().pending().iter();
            let mut run: Option<(StreamSeq, StreamSeq)> = None;
            for message in pending.take_while(|message| message.stream <= stream) {
                match &mut run {
                    Some((_, last)) if last.next() == message.stream => *last = message.stream,
                    _ => {
                        if let Some((first, last)) = run {
                            turn.sink.release(first..=last);
                        }
                        run = Some((message.stream, message.stream));
                    }
                }
            }
            if let Some((first, last)) = run {
                turn.sink.release(first..=last);
            }
        }
        turn.stream
            .record(Event::AckedThrough { stream, consumer })?;
        self.acked_at = Some(turn.now);
        if let Some(exhausted) = &mut self.exhausted {
            exhausted.remove_range(StreamSeq(1), stream);
        }
        Ok(())
    }

    /// Tells of an acknowledgement, if it is one of the samples.
    fn sample<S: Stream, K: Sink>(&self, turn: &mut Turn<'_, S, K>, delivered: &Delivered) {
        let percent = usize::from(self.settings.sample_percent);
        if percent < 100 && turn.scratch.rng.below(100) >= percent {
            return;
        }
        let Some(pending) = turn.stream.state().pending().get(delivered.stream) else {
            return;
        };
        let since = super::moment(pending.delivered_at);
        turn.sink.advise(&Advisory::Acked {
            stream: delivered.stream,
            consumer: delivered.consumer.0,
            deliveries: delivered.deliveries,
            ack_time_ns: turn.now.0.saturating_sub(since.0),
        });
    }

    fn refuse<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivered,
        delay: Option<Duration>,
    ) -> Result<(), Fault> {
        let state = turn.stream.state();
        let is_of_now = delivered.consumer > state.ack_floor().consumer
            && delivered.consumer <= state.delivered().consumer;
        let Some(pending) = state.pending().get(delivered.stream).filter(|_| is_of_now) else {
            return Ok(());
        };
        turn.sink.advise(&Advisory::Naked {
            stream: delivered.stream,
            consumer: delivered.consumer.0,
            deliveries: delivered.deliveries,
        });
        if let Some(delay) = delay {
            return self.reschedule(turn, delivered.stream, later(turn.now, delay));
        }
        if pending.deadline == QUEUED {
            return Ok(());
        }
        if self
            .settings
            .is_exhausted(u64::from(pending.redeliveries) + 1)
        {
            return self.exhaust(turn, &pending);
        }
        self.enqueue(turn, delivered.stream)
    }

    /// Gives a client more time for a message.
    fn prolong<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        stream: StreamSeq,
    ) -> Result<(), Fault> {
        let Some(pending) = turn.stream.state().pending().get(stream) else {
            return Ok(());
        };
        let deadline = self.settings.deadline(turn.now, pending.redeliveries);
        turn.stream
            .record(Event::Rescheduled { stream, deadline })?;
        self.redelivery.expect(deadline);
        Ok(())
    }

    fn reschedule<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        stream: StreamSeq,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let deadline = Millis::after(at).min(super::NEVER);
        turn.stream
            .record(Event::Rescheduled { stream, deadline })?;
        self.redelivery.expect(deadline);
        Ok(())
    }
}
