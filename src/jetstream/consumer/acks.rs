//! What clients say of messages that they were sent.

use std::time::Duration;

use super::redelivery::QUEUED;
use super::settings::{AckPolicy, Retention};
use super::turn::{Advisory, Fault, Sink, Stream, Turn};
use super::{Consumer, Way, later};
use crate::jetstream::api::ack::{AckKind, Delivery, TERM_BY_LIMITS, TERM_UNACKED};
use crate::json::Nanos;
use crate::proto::headers;
use crate::store::LogError;
use crate::store::consumer::{ConsumerSeq, ConsumerState, Event, Millis, PendingMessage};
use crate::store::index::{StreamSeq, Timestamp};

/// Messages that are looked for at a time because their acknowledgement is late.
const DUE_MAX: usize = 1024;

impl Consumer {
    /// Takes what a client says of a delivery. If it wants to know that it was heard, it is told on
    /// `reply`; the messages that it asks for go there, too.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_ack<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivery,
        message: &AckKind,
        reply: &[u8],
    ) -> Result<(), Fault> {
        if !self.settings.ack.takes_acks() {
            return Ok(());
        }
        self.show_life(turn.now);
        let confirm = match message {
            AckKind::Ack => self.settle(turn, delivered, true)?,
            AckKind::Next(request) => {
                self.settle(turn, delivered, true)?;
                let request = request.as_ref().map_err(String::as_str);
                return self.handle_pull(turn, reply, request);
            }
            AckKind::Nak { delay } => {
                self.refuse(turn, delivered, delay.map(Nanos::duration))?;
                delivered.stream_seq > 0
            }
            AckKind::Progress => {
                self.prolong(turn, StreamSeq(delivered.stream_seq))?;
                delivered.stream_seq > 0
            }
            AckKind::Term { reason } => {
                let settled = self.settle(turn, delivered, false)?;
                turn.sink.advise(&Advisory::Terminated {
                    stream: StreamSeq(delivered.stream_seq),
                    consumer: delivered.consumer_seq,
                    deliveries: delivered.delivered,
                    reason,
                });
                settled
            }
            AckKind::Unknown => delivered.stream_seq > 0,
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
                if skip.len() == 0 {
                    self.next = skip.resume;
                    self.skip = None;
                }
            }
            Some(skip) => self.count.removed(sequence, skip.resume),
            None => self.count.removed(sequence, self.next),
        }
        let state = turn.stream.state();
        if let Some(pending) = state.pending().get(sequence) {
            self.terminate(turn, &pending, TERM_UNACKED)?;
        } else if is_exhausted(state, sequence) {
            turn.stream.record(Event::Terminated { stream: sequence })?;
        }
        Ok(())
    }

    /// Drops what waits for an acknowledgement and lies before the stream's first message, as limits
    /// have removed it.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_trimmed<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
    ) -> Result<(), Fault> {
        let first = turn.stream.first();
        while let Some(pending) = turn.stream.state().pending().first()
            && pending.stream < first
        {
            self.terminate(turn, &pending, TERM_BY_LIMITS)?;
        }
        self.begin_at(turn.stream);
        self.recount(turn.stream);
        Ok(())
    }

    /// Drops what waits for an acknowledgement and is not in the stream any more, as it was purged.
    /// Nobody is told.
    ///
    /// # Errors
    /// If the log cannot be read, or the state cannot be changed.
    pub fn handle_purged<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
    ) -> Result<(), Fault> {
        let first = turn.stream.first();
        let through = first.previous();
        if turn.stream.state().ack_floor().stream < through {
            turn.stream.record(Event::Skipped { stream: through })?;
        }
        let pending = turn.stream.state().pending().iter();
        let pending: Vec<StreamSeq> = pending.map(|message| message.stream).collect();
        for stream in pending {
            let read = turn.stream.read(stream, &mut turn.scratch.buffer);
            match read.map(|_| ()) {
                Ok(()) => {}
                Err(LogError::Absent | LogError::Damaged) => {
                    turn.stream.record(Event::Terminated { stream })?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.begin_at(turn.stream);
        self.recount(turn.stream);
        Ok(())
    }

    /// Takes note of the first message of the stream, where [removed](Consumer::handle_removed)
    /// messages are told of one by one.
    pub fn note_first<S: Stream>(&mut self, stream: &mut S) {
        let counts_few = self.skip.is_some() && self.settings.wants_all();
        self.begin_at(stream);
        if counts_few {
            self.recount(stream);
        }
    }

    /// Takes note of the first message of the stream.
    pub(super) fn begin_at<S: Stream>(&mut self, stream: &mut S) {
        let first = stream.first();
        if stream.state().exhausted().is_some() {
            stream.forget_exhausted();
        }
        if let Some(skip) = &mut self.skip {
            while skip.front().is_some_and(|sequence| sequence < first) {
                skip.pop();
            }
            if skip.len() == 0 {
                self.next = skip.resume;
                self.skip = None;
            }
        }
        self.next = self.next.max(first);
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
            let delivered = Delivery {
                delivered: 1,
                stream_seq: stream,
                consumer_seq: consumer,
                ..Delivery::default()
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
        let mut result = Ok(());
        let mut left = DUE_MAX;
        while left > 0 && result.is_ok() {
            due.clear();
            turn.stream.due(now, left, &mut due);
            if due.is_empty() {
                let next = turn.stream.state().pending().next_deadline();
                self.redelivery.set_at(next);
                break;
            }
            left -= due.len();
            result = due.iter().try_for_each(|message| {
                if self
                    .settings
                    .is_exhausted(u64::from(message.redeliveries) + 1)
                {
                    self.exhaust(turn, message)
                } else {
                    self.enqueue(turn, message.stream)
                }
            });
        }
        turn.scratch.due = due;
        result
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
        self.terminate(turn, message, TERM_UNACKED)
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
        turn.stream.record(Event::Exhausted { stream })?;
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
        delivered: &Delivery,
        sample: bool,
    ) -> Result<bool, Fault> {
        let sequence = StreamSeq(delivered.stream_seq);
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
        delivered: &Delivery,
        sample: bool,
    ) -> Result<(), Fault> {
        let stream = StreamSeq(delivered.stream_seq);
        if sample && self.settings.sample_percent > 0 {
            self.sample(turn, delivered);
        }
        turn.stream.record(Event::Acked { stream })?;
        self.acked_at = Some(turn.now);
        // One that did not wait any more may still be there: it was delivered too often.
        if self.settings.retention != Retention::Limits {
            turn.sink.release(stream..=stream);
        }
        Ok(())
    }

    fn settle_through<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivery,
    ) -> Result<(), Fault> {
        let (floor, last) = (
            turn.stream.state().ack_floor(),
            turn.stream.state().delivered(),
        );
        let (stream, consumer) = (
            StreamSeq(delivered.stream_seq),
            ConsumerSeq(delivered.consumer_seq),
        );
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
        Ok(())
    }

    /// Tells of an acknowledgement, if it is one of the samples.
    fn sample<S: Stream, K: Sink>(&self, turn: &mut Turn<'_, S, K>, delivered: &Delivery) {
        let percent = usize::from(self.settings.sample_percent);
        if percent < 100 && turn.scratch.rng.below(100) >= percent {
            return;
        }
        let Some(pending) = turn
            .stream
            .state()
            .pending()
            .get(StreamSeq(delivered.stream_seq))
        else {
            return;
        };
        let since = super::moment(pending.delivered_at);
        turn.sink.advise(&Advisory::Acked {
            stream: StreamSeq(delivered.stream_seq),
            consumer: delivered.consumer_seq,
            deliveries: delivered.delivered,
            ack_time_ns: turn.now.0.saturating_sub(since.0),
        });
    }

    fn refuse<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        delivered: &Delivery,
        delay: Option<Duration>,
    ) -> Result<(), Fault> {
        let state = turn.stream.state();
        let is_of_now = ConsumerSeq(delivered.consumer_seq) > state.ack_floor().consumer
            && ConsumerSeq(delivered.consumer_seq) <= state.delivered().consumer;
        let Some(pending) = state
            .pending()
            .get(StreamSeq(delivered.stream_seq))
            .filter(|_| is_of_now)
        else {
            return Ok(());
        };
        turn.sink.advise(&Advisory::Naked {
            stream: StreamSeq(delivered.stream_seq),
            consumer: delivered.consumer_seq,
            deliveries: delivered.delivered,
        });
        if let Some(delay) = delay {
            return self.reschedule(
                turn,
                StreamSeq(delivered.stream_seq),
                later(turn.now, delay),
            );
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
        self.enqueue(turn, StreamSeq(delivered.stream_seq))
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

/// Whether a message was delivered as often as it may be.
pub(super) fn is_exhausted(state: &ConsumerState, sequence: StreamSeq) -> bool {
    let exhausted = state.exhausted();
    exhausted.is_some_and(|exhausted| exhausted.contains(sequence))
}
