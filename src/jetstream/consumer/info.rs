//! What there is to be told of a consumer.

use super::settings::{Mode, Settings};
use super::turn::{Sink, Stream, Turn};
use super::{Consumer, Way};
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::info::{ConsumerInfo, PriorityGroupState, SequenceInfo};
use crate::json::{Nanos, Time};
use crate::store::consumer::{ConsumerSeq, Position};
use crate::store::index::{SequenceSet, StreamSeq, Timestamp};

/// A place in the stream, and when something happened there last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceFigures {
    pub consumer: ConsumerSeq,
    pub stream: StreamSeq,
    /// `None` if nothing has since the server was started.
    pub last_active: Option<Timestamp>,
}

/// The pinned client of the group that comes first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinFigures {
    pub group: String,
    pub pinned: Option<(String, Timestamp)>,
}

/// What is told of a consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Figures {
    pub delivered: SequenceFigures,
    pub ack_floor: SequenceFigures,
    pub ack_pending: usize,
    pub redelivered: usize,
    /// Pull requests that wait.
    pub waiting: usize,
    /// Messages that wait to be delivered.
    pub pending: u64,
    /// Whether somebody listens, if messages are sent without being asked for.
    pub push_bound: bool,
    /// How long delivery is paused from now on, in nanoseconds.
    pub pause_remaining_ns: Option<u64>,
    pub pin: Option<PinFigures>,
}

impl Consumer {
    /// What there is to be told. Requests are looked through for that, and those that have ended
    /// are told so.
    pub fn figures<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>) -> Figures {
        self.sweep(turn, false);
        let pending = self.pending(turn.stream);
        let state = turn.stream.state();
        let figures = |at: Position, last_active| SequenceFigures {
            consumer: at.consumer,
            stream: at.stream,
            last_active,
        };
        let exhausted = state.exhausted().map_or(0, SequenceSet::len);
        let redelivered = match self.settings.max_deliver {
            Some(1) => 0,
            _ => state.pending().redelivered() + usize::try_from(exhausted).unwrap_or(usize::MAX),
        };
        let (waiting, push_bound) = match &self.way {
            Way::Pull(pull) => (pull.waiting.len(), false),
            Way::Push(push) => (0, push.is_active()),
        };
        let remaining = |until: Timestamp| until.0.checked_sub(turn.now.0).filter(|ns| *ns > 0);
        let first_group = match &self.settings.mode {
            Mode::Pull(pull) => pull.groups.first(),
            Mode::Push(_) => None,
        };
        Figures {
            delivered: figures(state.delivered(), self.delivered_at),
            ack_floor: figures(state.ack_floor(), self.acked_at),
            ack_pending: state.pending().len(),
            redelivered,
            waiting,
            pending,
            push_bound,
            pause_remaining_ns: self.settings.pause_until.and_then(remaining),
            pin: first_group.map(|group| PinFigures {
                group: group.clone(),
                pinned: self.pin().map(|pin| (pin.id.clone(), pin.since)),
            }),
        }
    }
}

impl Figures {
    /// The figures as the API tells them, of a consumer with this configuration. What a cluster adds
    /// is left to the caller.
    pub fn document(
        &self,
        settings: &Settings,
        config: ConsumerConfig,
        created: Time,
        now: Timestamp,
    ) -> ConsumerInfo {
        let nanos = |ns: u64| Nanos(i64::try_from(ns).unwrap_or(i64::MAX));
        let groups = self.pin.iter().map(|pin| PriorityGroupState {
            group: pin.group.clone(),
            pinned_client_id: pin.pinned.as_ref().map(|p| p.0.clone()).unwrap_or_default(),
            pinned_ts: pin.pinned.as_ref().map_or(Time::ZERO, |p| time(p.1)),
        });
        ConsumerInfo {
            stream_name: settings.stream.clone(),
            name: settings.name.clone(),
            created,
            config: Some(config),
            delivered: self.delivered.document(),
            ack_floor: self.ack_floor.document(),
            num_ack_pending: self.ack_pending as u64,
            num_redelivered: self.redelivered as u64,
            num_waiting: self.waiting as u64,
            num_pending: self.pending,
            cluster: None,
            push_bound: self.push_bound,
            paused: self.pause_remaining_ns.is_some(),
            pause_remaining: nanos(self.pause_remaining_ns.unwrap_or(0)),
            ts: time(now),
            priority_groups: groups.collect(),
        }
    }
}

impl SequenceFigures {
    fn document(&self) -> SequenceInfo {
        SequenceInfo {
            consumer_seq: self.consumer.0,
            stream_seq: self.stream.0,
            last_active: self.last_active.map(time),
        }
    }
}

fn time(at: Timestamp) -> Time {
    Time::from_unix_nanos(at.0)
}
