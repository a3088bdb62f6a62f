//! Turns: what is due is seen to, and messages are delivered as long as there are some, and
//! somebody to have them.

use std::time::Duration;

use super::choose::{Offer, choose};
use super::settings::{AckPolicy, Mode, Retention, Settings};
use super::status::{Status, add_field};
use super::turn::{Advisory, Budget, Delivery, Fault, Found, Message, Scratch, Sink, Stream, Turn};
use super::{Consumer, Served, Way, later};
use crate::base::rng::Rng;
use crate::base::text::push_decimal;
use crate::jetstream::api::ack;
use crate::store::LogError;
use crate::store::consumer::{ConsumerSeq, Event, Millis, PendingMessage};
use crate::store::file::Payload;
use crate::store::index::{StreamSeq, Timestamp};

/// How much later than the one before a message has to have been stored for its delivery to be put
/// off, where messages come as fast as they were stored.
const REPLAY_GAP_MIN: u64 = 1_000_000;

/// Why nothing is delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Idle {
    /// There is nothing, or nobody who is to have it.
    AtEnd,
    /// Too many messages wait for their acknowledgements.
    AckPending,
    /// Its time has not come.
    Held,
}

/// What came of the attempt to deliver a message.
enum Step {
    /// One was delivered.
    Delivered,
    /// It is to be tried again.
    Again,
    Idle(Idle),
}

/// A message that may be delivered.
enum Candidate<'b> {
    /// For the first time, or again.
    Message(Message<'b>, Option<PendingMessage>),
    /// It is not there any more, though it waits for its acknowledgement.
    Gone(PendingMessage),
    /// It is not there any more; the next one may be.
    Passed,
    None(Idle),
}

impl Consumer {
    /// Works as far as the budget goes.
    ///
    /// # Errors
    /// If the log cannot be read or written. What was delivered up to then was.
    pub fn serve<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        budget: &mut Budget,
    ) -> Result<Served, Fault> {
        self.handle_timers(turn)?;
        let idle = loop {
            if budget.is_spent() {
                return Ok(Served::More);
            }
            match self.step(turn, budget)? {
                Step::Delivered | Step::Again => {}
                Step::Idle(idle) => break idle,
            }
        };
        if self.replay.as_ref().is_some_and(|r| self.next > r.through) && idle != Idle::Held {
            self.replay = None;
        }
        if let Way::Pull(pull) = &self.way {
            let ends_some = idle == Idle::AtEnd && pull.waiting.has_one_shots();
            let is_due = pull.waiting.check_at().is_some_and(|at| at <= turn.now);
            if ends_some || is_due {
                self.sweep(turn, idle == Idle::AtEnd);
            }
        }
        self.beat(turn);
        if self.redelivery.at() <= Millis::of(turn.now) {
            return Ok(Served::More);
        }
        Ok(match self.is_inactive(turn) {
            true => Served::Inactive,
            false => Served::Idle,
        })
    }

    /// Sees to what is due.
    fn handle_timers<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
    ) -> Result<(), Fault> {
        let now = turn.now;
        self.hold_until = None;
        self.collect_due(turn)?;
        if self.settings.wants_all() && self.wants_messages() {
            self.pending(turn.stream);
        }
        if self.pause_end.is_some_and(|at| at <= now) {
            self.pause_end = None;
            turn.sink.advise(&Advisory::Paused {
                paused: false,
                until: self.settings.pause_until,
            });
        }
        if let Way::Pull(pull) = &mut self.way
            && let Some(pin) = pull.pin.take_if(|pin| pin.until <= now)
        {
            turn.sink.advise(&Advisory::Unpinned {
                group: &pin.group,
                reason: "timeout",
            });
        }
        Ok(())
    }

    /// Tries to deliver a message.
    fn step<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        budget: &mut Budget,
    ) -> Result<Step, Fault> {
        let is_stalled = matches!(&self.way, Way::Push(push) if push.is_stalled());
        if self.is_paused(turn.now) || !self.wants_messages() || is_stalled {
            return Ok(Step::Idle(Idle::AtEnd));
        }
        let now = turn.now;
        let Scratch {
            buffer,
            reply,
            near,
            headers,
            status,
            rng,
            ..
        } = &mut *turn.scratch;
        let (message, again) = match self.candidate(turn.stream, &mut budget.looks, buffer)? {
            Candidate::Message(message, again) => (message, again),
            Candidate::Gone(pending) => {
                self.redelivery.pop();
                self.terminate_deleted(turn, &pending)?;
                return Ok(Step::Again);
            }
            Candidate::Passed => return Ok(Step::Again),
            Candidate::None(idle) => return Ok(Step::Idle(idle)),
        };
        if self.is_held_by_replay(&message, now) {
            return Ok(Step::Idle(Idle::Held));
        }
        let before = again.map_or(0, |again| again.redeliveries.saturating_add(1));
        let mut parcel = Parcel {
            reply,
            near,
            headers,
            message,
            before,
        };
        let (waits, state) = (self.count.get(), turn.stream.state());
        parcel.write_reply(&self.settings, state.delivered().consumer, waits);
        if self.settings.headers_only {
            parcel.drop_payload();
        }
        let offer = Offer {
            bytes: parcel.len(),
            available: waits + u64::from(again.is_some()),
            ack_pending: state.pending().len(),
            now,
        };
        let lane = match self.assign(&offer, turn.sink, status, rng) {
            Ok(lane) => lane,
            Err(idle) => return Ok(Step::Idle(idle)),
        };
        if let Some(pin) = self.pin() {
            parcel.add_header("Nats-Pin-Id", pin.id.as_bytes());
        }

        let (sequence, timestamp) = (parcel.message.sequence, parcel.message.timestamp);
        let deadline = self.settings.deadline(now, before);
        turn.stream
            .record(delivered(sequence, again.is_some(), now, deadline))?;
        let to = self.address(lane);
        let bytes = parcel.len_sent();
        let all_bytes = bytes + to.len() as u64;
        turn.sink.deliver(&parcel.delivery(to));

        budget.spend(usize::try_from(bytes).unwrap_or(usize::MAX));
        if self.settings.ack != AckPolicy::None {
            self.redelivery.expect(deadline);
        } else if self.settings.retention != Retention::Limits {
            turn.sink.release(sequence..=sequence);
        }
        self.delivered_at = Some(now);
        self.pass(sequence, timestamp, again.is_some());
        self.account(turn, lane, all_bytes);
        Ok(Step::Delivered)
    }

    /// Finds out who gets a message: the lane whose first request does, any for one that is sent
    /// without being asked for.
    fn assign(
        &mut self,
        offer: &Offer,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
        rng: &mut Rng,
    ) -> Result<usize, Idle> {
        match (&mut self.way, &self.settings.mode) {
            (Way::Push(push), Mode::Push(settings)) => {
                let paced = settings
                    .rate
                    .map_or(Ok(()), |rate| push.pace(rate, offer.bytes, offer.now));
                paced.map(|()| 0).map_err(|until| {
                    self.hold_until = Some(until);
                    Idle::Held
                })
            }
            (Way::Pull(pull), Mode::Pull(settings)) => {
                let (waiting, pin) = (&mut pull.waiting, &mut pull.pin);
                let lane = choose(waiting, pin, settings, offer, sink, scratch, rng);
                lane.ok_or(Idle::AtEnd)
            }
            _ => Err(Idle::AtEnd),
        }
    }

    /// Where the message goes that was assigned to a lane.
    fn address(&mut self, lane: usize) -> &[u8] {
        match (&mut self.way, &self.settings.mode) {
            (Way::Push(_), Mode::Push(settings)) => settings.subject.as_bytes(),
            (Way::Pull(pull), _) => match pull.waiting.front(lane) {
                Some(request) => &request.reply,
                None => b"",
            },
            _ => b"",
        }
    }

    /// The next message that may be delivered.
    fn candidate<'b, S: Stream>(
        &mut self,
        stream: &mut S,
        looks: &mut usize,
        buffer: &'b mut S::Buffer,
    ) -> Result<Candidate<'b>, Fault> {
        if !self.redelivery.is_empty()
            && let Some(pending) = self.redelivery.front(stream.state())
        {
            *looks = looks.saturating_sub(1);
            return Ok(match stream.read(pending.stream, buffer) {
                Ok(message) => Candidate::Message(message, Some(pending)),
                Err(LogError::Absent | LogError::Damaged) => Candidate::Gone(pending),
                Err(error) => return Err(error.into()),
            });
        }
        let max = self.settings.max_ack_pending;
        if max.is_some_and(|max| stream.state().pending().len() >= max) {
            return Ok(Candidate::None(Idle::AckPending));
        }
        if let Some(sequence) = self.skip.as_ref().and_then(|skip| skip.front()) {
            *looks = looks.saturating_sub(1);
            return match stream.read(sequence, buffer) {
                Ok(message) => Ok(Candidate::Message(message, None)),
                Err(LogError::Absent | LogError::Damaged) => {
                    self.count.delivered(sequence);
                    self.pass_skipped(sequence);
                    Ok(Candidate::Passed)
                }
                Err(error) => Err(error.into()),
            };
        }
        let last = stream.last();
        if self.next > last {
            return Ok(Candidate::None(Idle::AtEnd));
        }
        match stream.next(&self.settings.filters, self.next, looks, buffer)? {
            Found::Message(message) => {
                self.next = message.sequence;
                Ok(Candidate::Message(message, None))
            }
            Found::Paused(next) => {
                self.next = next;
                Ok(Candidate::Passed)
            }
            Found::End => {
                self.next = last.next();
                self.count.at_end(last);
                Ok(Candidate::None(Idle::AtEnd))
            }
        }
    }

    /// Whether a message is to come later, as it was stored later than the one before.
    fn is_held_by_replay(&mut self, message: &Message<'_>, now: Timestamp) -> bool {
        let Some(replay) = &mut self.replay else {
            return false;
        };
        let gap = match replay.last {
            Some(last) => message.timestamp.0.saturating_sub(last.0),
            None => 0,
        };
        if gap <= REPLAY_GAP_MIN {
            return false;
        }
        let until = match replay.held {
            Some((sequence, until)) if sequence == message.sequence => until,
            _ => later(now, Duration::from_nanos(gap)),
        };
        replay.held = Some((message.sequence, until));
        self.hold_until = Some(until).filter(|until| *until > now);
        self.hold_until.is_some()
    }

    /// Goes on behind a message that was delivered.
    fn pass(&mut self, sequence: StreamSeq, timestamp: Timestamp, is_again: bool) {
        if let Some(replay) = &mut self.replay {
            replay.last = Some(timestamp);
            replay.held = None;
        }
        if is_again {
            self.redelivery.pop();
            return;
        }
        self.count.delivered(sequence);
        if self.skip.is_some() {
            self.pass_skipped(sequence);
        } else {
            self.next = sequence.next();
        }
    }

    /// Goes on behind a message of those that come before all others.
    fn pass_skipped(&mut self, sequence: StreamSeq) {
        self.next = sequence.next();
        if let Some(skip) = &mut self.skip
            && skip.pop()
        {
            self.next = skip.resume;
            self.skip = None;
        }
    }

    /// Takes note of a message that was sent: with the request that it went to, or with what may
    /// be sent.
    fn account<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>, lane: usize, bytes: u64) {
        let now = turn.now;
        let Scratch { status, rng, .. } = &mut *turn.scratch;
        match (&mut self.way, &self.settings.mode) {
            (Way::Pull(pull), _) => {
                self.used_at = now;
                if let Some(request) = pull.waiting.front(lane)
                    && request.left <= 1
                    && request.bytes_left > 0
                {
                    status.clear();
                    let (left, bytes) = (request.left - 1, request.bytes_left);
                    Status::BatchCompleted.write_left(left, bytes, status);
                    turn.sink.status(&request.reply, b"", status);
                }
                pull.waiting.serve(lane, now);
            }
            (Way::Push(push), Mode::Push(settings)) => {
                let max = self.settings.max_ack_pending;
                let is_full = self.settings.ack == AckPolicy::FlowControl
                    && max.is_some_and(|max| turn.stream.state().pending().len() >= max);
                if push.sent(bytes, is_full) {
                    push.ask(&self.settings, turn.sink, status, rng);
                }
                push.put_off_heartbeat(settings.heartbeat, now);
            }
            _ => {}
        }
    }
}

/// A message with what comes with it.
struct Parcel<'p> {
    message: Message<'p>,
    /// How often it was delivered before.
    before: u32,
    /// The subject that it is acknowledged on.
    reply: &'p mut Vec<u8>,
    /// The numbers of the subject before.
    near: &'p mut ack::Near,
    /// Its headers, if they are others than those that it was stored with.
    headers: &'p mut Vec<u8>,
}

impl Parcel<'_> {
    /// Writes the subject that the message is acknowledged on. `last` is the last delivery, and
    /// `waits` is how many messages wait to be delivered.
    fn write_reply(&mut self, settings: &Settings, last: ConsumerSeq, waits: u64) {
        let is_first = self.before == 0;
        let delivery = ack::Delivery {
            delivered: u64::from(self.before) + 1,
            stream_seq: self.message.sequence.0,
            consumer_seq: last.0 + 1,
            timestamp: i64::try_from(self.message.timestamp.0).unwrap_or(i64::MAX),
            pending: waits.saturating_sub(u64::from(is_first)),
        };
        self.headers.clear();
        self.reply.clear();
        settings.ack_subject.write(&delivery, self.near, self.reply);
    }

    /// Leaves the payload out, and says how long it is.
    fn drop_payload(&mut self) {
        let mut digits = Vec::with_capacity(20);
        push_decimal(&mut digits, payload_len(&self.message.payload) as u64);
        self.add_header("Nats-Msg-Size", &digits);
        self.message.payload = Payload::Copied(&[]);
    }

    fn add_header(&mut self, name: &str, value: &[u8]) {
        if self.headers.is_empty() {
            self.headers.extend_from_slice(self.message.headers);
        }
        add_field(self.headers, 0, name, value);
    }

    fn block(&self) -> &[u8] {
        match self.headers.is_empty() {
            true => self.message.headers,
            false => self.headers,
        }
    }

    /// Bytes that requests are charged for.
    fn len(&self) -> u64 {
        self.len_sent() + self.message.subject.len() as u64
    }

    /// Bytes that go to the client, whatever it is sent as.
    fn len_sent(&self) -> u64 {
        (self.reply.len() + self.block().len() + payload_len(&self.message.payload)) as u64
    }

    fn delivery<'d>(&'d self, to: &'d [u8]) -> Delivery<'d> {
        Delivery {
            to,
            subject: self.message.subject,
            reply: self.reply,
            headers: self.block(),
            payload: self.message.payload.clone(),
            sequence: self.message.sequence,
        }
    }
}

/// The event of a delivery.
fn delivered(stream: StreamSeq, is_again: bool, now: Timestamp, deadline: Millis) -> Event {
    let at = Millis::of(now);
    match is_again {
        false => Event::Delivered {
            stream,
            at,
            deadline,
        },
        true => Event::Redelivered {
            stream,
            at,
            deadline,
        },
    }
}

fn payload_len(payload: &Payload<'_>) -> usize {
    match payload {
        Payload::Copied(bytes) => bytes.len(),
        Payload::Shared(bytes) => bytes.len(),
    }
}
