//! Messages that are sent to whoever listens: interest, flow control, pace and heartbeats.

use std::time::Duration;

use super::choose::alphanumeric;
use super::settings::{AckPolicy, Mode, PushSettings, Rate, Settings};
use super::status::{Status, write_heartbeat};
use super::turn::{Fault, Scratch, Sink, Stream, Turn};
use super::waiting::Place;
use super::{Consumer, Way, later};
use crate::base::rng::Rng;
use crate::store::index::Timestamp;

/// The largest window of flow control, and the first one.
const WINDOW_MAX: u64 = 32 << 20;
const WINDOW_FIRST: u64 = WINDOW_MAX / 16;

/// The client that messages are sent to.
#[derive(Debug)]
pub(super) struct Push {
    /// Whether somebody listens.
    active: bool,
    flow: Option<Flow>,
    /// When the next heartbeat is due, if there are any.
    heartbeat_at: Option<Timestamp>,
    /// When as much may be sent at once as ever, if nothing is sent before.
    full_at: Timestamp,
}

/// What was sent and not confirmed.
#[derive(Debug)]
struct Flow {
    /// Bytes that were sent since the last answer.
    sent: u64,
    /// How many may be.
    window: u64,
    /// The subject of the request that was not answered yet; empty if there is none.
    asked: Vec<u8>,
    /// Bytes that the answer confirms.
    asked_bytes: u64,
}

impl Push {
    pub(super) fn new(settings: &PushSettings, now: Timestamp) -> Push {
        Push {
            active: false,
            flow: settings.flow_control.then_some(Flow {
                sent: 0,
                window: WINDOW_FIRST,
                asked: vec![],
                asked_bytes: 0,
            }),
            heartbeat_at: settings.heartbeat.map(|every| later(now, every)),
            full_at: Timestamp(0),
        }
    }

    /// Forgets what was sent and not confirmed: whoever listens now has not got it.
    pub(super) fn restart(&mut self) {
        if let Some(flow) = &mut self.flow {
            *flow = Flow {
                sent: 0,
                window: WINDOW_FIRST,
                asked: vec![],
                asked_bytes: 0,
            };
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether the client has to confirm something before it gets more.
    pub(super) fn is_stalled(&self) -> bool {
        self.flow
            .as_ref()
            .is_some_and(|flow| flow.sent > flow.window)
    }

    pub(super) fn heartbeat_at(&self) -> Option<Timestamp> {
        self.heartbeat_at
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let flow = self.flow.as_ref().map_or(0, |flow| flow.asked.capacity());
        size_of::<Push>() + flow
    }

    /// Takes a message's bytes off what may be sent; if that is too much, gives when it will not
    /// be.
    pub(super) fn pace(&mut self, rate: Rate, bytes: u64, now: Timestamp) -> Result<(), Timestamp> {
        let nanos = |bytes: u64| {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.bytes_per_s.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        let burst = nanos(rate.burst_bytes.max(bytes));
        let full_at = later(self.full_at.max(now), nanos(bytes));
        if full_at > later(now, burst) {
            let burst = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX);
            return Err(Timestamp(full_at.0.saturating_sub(burst)));
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Takes note of a message that was sent; gives whether the client is to be asked for a
    /// confirmation.
    pub(super) fn sent(&mut self, bytes: u64, is_last_that_may_wait: bool) -> bool {
        let Some(flow) = &mut self.flow else {
            return false;
        };
        flow.sent += bytes;
        if flow.asked.is_empty() {
            return flow.sent > flow.window / 2 || is_last_that_may_wait;
        }
        if flow.sent.saturating_sub(flow.asked_bytes) >= flow.window {
            flow.asked_bytes += bytes;
        }
        false
    }

    /// Asks the client for a confirmation.
    pub(super) fn ask(
        &mut self,
        settings: &Settings,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
        rng: &mut Rng,
    ) {
        let (Mode::Push(push), Some(flow)) = (&settings.mode, &mut self.flow) else {
            return;
        };
        flow.asked.extend_from_slice(&settings.flow_prefix);
        flow.asked.extend((0..4).map(|_| alphanumeric(rng)));
        flow.asked_bytes = flow.sent;
        scratch.clear();
        Status::FlowControl.write(scratch);
        sink.status(push.subject.as_bytes(), &flow.asked, scratch);
    }

    /// Takes note of a message that was sent, as far as heartbeats go.
    pub(super) fn put_off_heartbeat(&mut self, every: Option<Duration>, now: Timestamp) {
        self.heartbeat_at = every.map(|every| later(now, every));
    }

    /// Whether flow control waits for an answer.
    fn has_asked(&self) -> bool {
        self.flow
            .as_ref()
            .is_some_and(|flow| !flow.asked.is_empty())
    }

    fn send_heartbeat(&self, to: &str, place: Place, sink: &mut impl Sink, scratch: &mut Vec<u8>) {
        let asked = self.flow.as_ref().map_or(&[][..], |flow| &flow.asked);
        scratch.clear();
        write_heartbeat(place.consumer.0, place.stream.0, asked, scratch);
        sink.status(to.as_bytes(), b"", scratch);
    }
}

impl Consumer {
    /// Takes note that somebody listens to the subject that messages are sent to, or nobody does
    /// any more.
    pub fn handle_interest(&mut self, present: bool, now: Timestamp) {
        let after = self.inactive_after;
        let Way::Push(push) = &mut self.way else {
            return;
        };
        push.active = present;
        self.inactive_at = match (present, self.inactive_at) {
            (true, _) => None,
            (false, _) if after.is_zero() => None,
            (false, None) => Some(later(now, after)),
            (false, some) => some,
        };
    }

    /// Takes an answer to a request of flow control, on this subject and with these headers.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_flow<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        subject: &[u8],
        headers: &[u8],
    ) -> Result<(), Fault> {
        let Way::Push(push) = &mut self.way else {
            return Ok(());
        };
        let Some(flow) = push.flow.as_mut().filter(|flow| flow.asked == subject) else {
            return Ok(());
        };
        if flow.asked.is_empty() {
            return Ok(());
        }
        flow.window = (flow.window * 2).min(WINDOW_MAX);
        flow.sent = flow.sent.saturating_sub(flow.asked_bytes);
        flow.asked = vec![];
        flow.asked_bytes = 0;
        if self.settings.ack == AckPolicy::FlowControl {
            self.acknowledge_flow(turn, headers)?;
        }
        Ok(())
    }

    /// Sends a heartbeat if one is due.
    pub(super) fn beat<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>) {
        let place = self.place(turn.stream);
        let (Way::Push(push), Mode::Push(settings)) = (&mut self.way, &self.settings.mode) else {
            return;
        };
        if push.heartbeat_at.is_none_or(|at| at > turn.now) {
            return;
        }
        push.put_off_heartbeat(settings.heartbeat, turn.now);
        if !push.active {
            return;
        }
        let Scratch { status, rng, .. } = &mut *turn.scratch;
        push.send_heartbeat(&settings.subject, place, turn.sink, status);
        let waits = !turn.stream.state().pending().is_empty();
        if self.settings.ack == AckPolicy::FlowControl && waits && !push.has_asked() {
            push.ask(&self.settings, turn.sink, status, rng);
        }
    }
}
