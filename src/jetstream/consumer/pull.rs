//! Pull requests as they come in.

use std::sync::Arc;
use std::time::Duration;

use super::choose::lane;
use super::settings::{Mode, Priority, PullSettings};
use super::status::Status;
use super::turn::{Fault, Sink, Stream, Turn};
use super::waiting::{Request, Swept, Terms, Waiters};
use super::{Consumer, Way, later};
use crate::jetstream::api::pull::PullRequest;
use crate::store::index::Timestamp;

/// How often requests are looked through for room at most.
const RELIEF: Duration = Duration::from_secs(1);

impl Consumer {
    /// Takes a pull request, or the reason why it cannot be read. Messages and what else there is
    /// to say go to `reply`; a request without that is none.
    ///
    /// # Errors
    /// If the state cannot be changed.
    pub fn handle_pull<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        reply: &[u8],
        request: Result<&PullRequest, &str>,
    ) -> Result<(), Fault> {
        if reply.is_empty() {
            return Ok(());
        }
        let request = match self.check_pull(request, turn.now) {
            Ok(request) => request,
            Err(status) => {
                tell(turn, reply, status);
                return Ok(());
            }
        };
        self.make_room(turn);
        if request.no_wait
            && let Some(status) = self.check_no_wait(turn, request)?
        {
            self.touch(turn.now);
            tell(turn, reply, status);
            return Ok(());
        }
        let now = turn.now;
        let (Way::Pull(pull), Mode::Pull(settings)) = (&mut self.way, &self.settings.mode) else {
            return Ok(());
        };
        let waiting = waiting(settings, request, reply, now);
        if pull.waiting.len() >= settings.max_waiting || !pull.waiting.has_room(waiting.bytes()) {
            // Who listens for heartbeats finds out by that, and would only ask again at once.
            if request.idle_heartbeat.0 <= 0 {
                tell(turn, reply, Status::MaxWaiting);
            }
            return Ok(());
        }
        let group = request.priority.as_ref();
        let is_pinned = match (&pull.pin, group) {
            (Some(pin), Some(group)) => pin.id == group.id,
            _ => false,
        };
        let number = group.map(|group| usize::try_from(group.priority).unwrap_or(0));
        let lane = lane(settings.priority, number, is_pinned);
        pull.waiting.push(lane, waiting);
        self.touch(now);
        Ok(())
    }

    /// Whether the request is one that this consumer takes.
    fn check_pull<'r>(
        &mut self,
        request: Result<&'r PullRequest, &'r str>,
        now: Timestamp,
    ) -> Result<&'r PullRequest, Status<'r>> {
        let (Way::Pull(pull), Mode::Pull(settings)) = (&mut self.way, &self.settings.mode) else {
            return Err(Status::PushBased);
        };
        let request = request.map_err(Status::BadRequest)?;
        let above = |n: i64, max: u64| max > 0 && u64::try_from(n).is_ok_and(|n| n > max);
        if above(request.batch, settings.max_batch) {
            return Err(Status::MaxBatch(settings.max_batch));
        }
        let max_expires_ns = u64::try_from(settings.max_expires.as_nanos()).unwrap_or(u64::MAX);
        if above(request.expires.0, max_expires_ns) {
            return Err(Status::MaxExpires(settings.max_expires));
        }
        if above(request.max_bytes, settings.max_bytes) {
            return Err(Status::MaxBytes(settings.max_bytes));
        }
        let Some(group) = &request.priority else {
            return Ok(request);
        };
        let priority = settings.priority;
        if (group.min_pending != 0 || group.min_ack_pending != 0) && priority != Priority::Overflow
        {
            return Err(Status::BadRequest("Not a Overflow Priority consumer"));
        }
        if !group.id.is_empty() && priority != Priority::Pinned {
            return Err(Status::BadRequest("Not a Pinned Client Priority consumer"));
        }
        if !(0..=9).contains(&group.priority) {
            return Err(Status::BadRequest("Priority must be between 0 and 9"));
        }
        if priority == Priority::None {
            return Ok(request);
        }
        if group.group.is_empty() {
            return Err(Status::BadRequest("Priority Group missing"));
        }
        if !settings.groups.contains(&group.group) {
            return Err(Status::BadRequest("Invalid Priority Group"));
        }
        if let Some(pin) = &mut pull.pin {
            if group.id == pin.id {
                pin.until = later(now, settings.pin_ttl);
            } else if !group.id.is_empty() {
                return Err(Status::PinMismatch);
            }
        }
        Ok(request)
    }

    /// Looks through the requests if there are as many as may be.
    fn make_room<S: Stream, K: Sink>(&mut self, turn: &mut Turn<'_, S, K>) {
        let now = turn.now;
        let (Way::Pull(pull), Mode::Pull(settings)) = (&mut self.way, &self.settings.mode) else {
            return;
        };
        if pull.waiting.len() >= settings.max_waiting && now > later(pull.relieved_at, RELIEF) {
            pull.relieved_at = now;
            self.sweep(turn, false);
        }
    }

    /// Has the requests that wait looked through soon, as some of them may be of clients that are gone.
    pub fn look_through_requests(&mut self, now: Timestamp) {
        if let Way::Pull(pull) = &mut self.way {
            pull.waiting.look_soon(now);
        }
    }

    /// Counts what the requests hold with those of other consumers, which bounds all of them.
    pub fn share_waiters(&mut self, all: Arc<Waiters>) {
        if let Way::Pull(pull) = &mut self.way {
            pull.waiting.share(all);
        }
    }

    /// What a request is told at once that does not wait.
    fn check_no_wait<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        request: &PullRequest,
    ) -> Result<Option<Status<'static>>, Fault> {
        self.collect_due(turn)?;
        let again = self.redelivery.len(turn.stream.state());
        let there = self.pending(turn.stream).saturating_add(again as u64);
        if there == 0 {
            return Ok((request.expires.0 == 0).then_some(Status::NoMessages));
        }
        let wanted = self.sweep(turn, false).batches;
        let all_are_wanted = u64::try_from(wanted).is_ok_and(|wanted| there < wanted);
        Ok(all_are_wanted.then_some(Status::RequestsPending))
    }

    /// Looks through the requests; at the end of what there is to deliver, those end that do not
    /// wait.
    pub(super) fn sweep<S: Stream, K: Sink>(
        &mut self,
        turn: &mut Turn<'_, S, K>,
        at_end: bool,
    ) -> Swept {
        let place = self.place(turn.stream);
        let Way::Pull(pull) = &mut self.way else {
            return Swept::default();
        };
        let status = &mut turn.scratch.status;
        let swept = pull
            .waiting
            .sweep(turn.now, at_end, place, turn.sink, status);
        self.touch(swept.ended);
        swept
    }
}

fn waiting(
    settings: &PullSettings,
    request: &PullRequest,
    reply: &[u8],
    now: Timestamp,
) -> Request {
    let nanos = |n: i64| Duration::from_nanos(u64::try_from(n).unwrap_or(0));
    let heartbeat = nanos(request.idle_heartbeat.0);
    let group = request.priority.as_ref();
    let terms = group.filter(|_| settings.priority != Priority::None);
    Request {
        reply: reply.into(),
        left: request.batch,
        bytes_left: u64::try_from(request.max_bytes).unwrap_or(0),
        // One that ends before it begins ends now.
        expires: (request.expires.0 != 0).then(|| later(now, nanos(request.expires.0))),
        heartbeat,
        heartbeat_at: later(now, heartbeat),
        no_wait: request.no_wait,
        served: false,
        checked: Timestamp(0),
        terms: terms.map(|group| {
            Box::new(Terms {
                group: group.group.clone(),
                min_pending: group.min_pending,
                min_ack_pending: group.min_ack_pending,
                id: group.id.clone(),
            })
        }),
    }
}

fn tell<S: Stream, K: Sink>(turn: &mut Turn<'_, S, K>, reply: &[u8], status: Status<'_>) {
    let block = &mut turn.scratch.status;
    block.clear();
    status.write(block);
    turn.sink.status(reply, b"", block);
}
