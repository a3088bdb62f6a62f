//! Pull requests that wait for messages.
//!
//! They wait in lanes, of which there is one as a rule: requests of a consumer with priorities have
//! one each, and the pinned client's requests have one of their own. In a lane they take turns.
//! When any of them expires or wants a heartbeat is known as a bound, so that they are looked
//! through only then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::status::{Status, write_heartbeat};
use super::turn::{Interest, Sink};
use super::{later, soonest};
use crate::base::limits::PULL_REQUEST_BYTES;
use crate::store::consumer::ConsumerSeq;
use crate::store::index::{StreamSeq, Timestamp};

/// Requests that are looked through in a millisecond on average; more of them are looked through
/// less often, and so may be told later.
const LOOKS_PER_MS: usize = 1000;

/// Room in an empty lane that is kept.
const LANE_KEPT: usize = 16;

/// What the requests of all consumers of an account hold while they wait. All of these belong to one
/// loop.
#[derive(Debug)]
pub struct Waiters {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Whether a request was refused since it was asked last.
    is_crowded: AtomicBool,
}

impl Default for Waiters {
    fn default() -> Waiters {
        Waiters::new(PULL_REQUEST_BYTES)
    }
}

impl Waiters {
    /// Nobody waits, and requests of `bytes_max` bytes may.
    pub fn new(bytes_max: usize) -> Waiters {
        Waiters {
            bytes: AtomicUsize::new(0),
            bytes_max,
            is_crowded: AtomicBool::new(false),
        }
    }

    /// Bytes of the requests that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a request was refused because of the others since this was asked last.
    pub fn take_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed) && self.is_crowded.swap(false, Ordering::Relaxed)
    }
}

/// A pull request that waits.
#[derive(Debug)]
pub(super) struct Request {
    /// Where messages go to.
    pub reply: Box<[u8]>,
    /// Messages that it may still get. It gets one even if this is not above 0 at first.
    pub left: i64,
    /// Bytes that it may still get; 0 if they do not matter, and when they are used up.
    pub bytes_left: u64,
    /// When it ends; `None` for never.
    pub expires: Option<Timestamp>,
    /// How long it may go without hearing anything; zero for as long as it likes.
    pub heartbeat: Duration,
    /// When it is to hear something, if it has heartbeats.
    pub heartbeat_at: Timestamp,
    /// Whether it ends when there is nothing more to deliver.
    pub no_wait: bool,
    /// Whether it got anything.
    pub served: bool,
    /// In which turn somebody was found to listen for what it gets.
    pub checked: Timestamp,
    /// What it says for a consumer with priorities.
    pub terms: Option<Box<Terms>>,
}

/// What a request of a priority group says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Terms {
    pub group: String,
    /// How many messages have to wait before it gets any; below 1 if this does not matter.
    pub min_pending: i64,
    /// How many messages have to wait for acknowledgements before it gets any; the same.
    pub min_ack_pending: i64,
    /// The id of the pinned client, if this is that.
    pub id: String,
}

/// The place in the stream that heartbeats tell of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub consumer: ConsumerSeq,
    pub stream: StreamSeq,
}

/// What looking through the requests has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Swept {
    /// Messages that those which are left may get, all together.
    pub batches: i64,
    /// The latest time at which one of them has ended.
    pub ended: Timestamp,
}

/// All requests of a consumer that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lanes: Vec<VecDeque<Request>>,
    len: usize,
    /// Requests that end when there is nothing more to deliver.
    one_shots: usize,
    /// Nothing has to be looked at before.
    check_at: Option<Timestamp>,
    /// Bytes that they hold.
    bytes: usize,
    /// Where those bytes are counted with what other consumers hold.
    all: Option<Arc<Waiters>>,
}

impl Waiting {
    /// Counts what its requests hold with what those of others do.
    pub(super) fn share(&mut self, all: Arc<Waiters>) {
        let bytes = self.bytes;
        self.set_bytes(0);
        self.all = Some(all);
        self.set_bytes(bytes);
    }

    fn set_bytes(&mut self, bytes: usize) {
        let was = std::mem::replace(&mut self.bytes, bytes);
        if let Some(all) = &self.all {
            match bytes >= was {
                true => all.bytes.fetch_add(bytes - was, Ordering::Relaxed),
                false => all.bytes.fetch_sub(was - bytes, Ordering::Relaxed),
            };
        }
    }

    /// Whether there is room for a request of so many bytes beside those of all consumers.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let Some(all) = &self.all else {
            return true;
        };
        let has_room = all.bytes().saturating_add(bytes) <= all.bytes_max;
        if !has_room {
            all.is_crowded.store(true, Ordering::Relaxed);
        }
        has_room
    }

    /// Has the requests looked through soon.
    pub(super) fn look_soon(&mut self, now: Timestamp) {
        if self.len > 0 {
            self.check_at = Some(now);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether some end when there is nothing more to deliver.
    pub(super) fn has_one_shots(&self) -> bool {
        self.one_shots > 0
    }

    /// When requests are to be looked through.
    pub(super) fn check_at(&self) -> Option<Timestamp> {
        self.check_at
    }

    /// Adds a request at the end of a lane.
    pub(super) fn push(&mut self, lane: usize, request: Request) {
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, VecDeque::new);
        }
        self.len += 1;
        self.one_shots += usize::from(request.no_wait);
        self.check_at = soonest(self.check_at, request.next_check());
        self.set_bytes(self.bytes + request.bytes());
        self.lanes[lane].push_back(request);
    }

    /// How many requests are in a lane.
    pub(super) fn lane_len(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, VecDeque::len)
    }

    /// The first lane that has a request.
    pub(super) fn first_lane(&self) -> Option<usize> {
        self.lanes.iter().position(|lane| !lane.is_empty())
    }

    /// The request whose turn it is.
    pub(super) fn front(&mut self, lane: usize) -> Option<&mut Request> {
        self.lanes.get_mut(lane)?.front_mut()
    }

    /// Takes out the request whose turn it is.
    pub(super) fn pop(&mut self, lane: usize) -> Option<Request> {
        let requests = self.lanes.get_mut(lane)?;
        let request = requests.pop_front()?;
        self.len -= 1;
        self.one_shots -= usize::from(request.no_wait);
        let left = self.bytes - request.bytes();
        if requests.is_empty() && requests.capacity() > LANE_KEPT {
            *requests = VecDeque::new();
        }
        if self.len == 0 {
            self.check_at = None;
        }
        self.set_bytes(left);
        Some(request)
    }

    /// Lets the next request of the lane have its turn.
    pub(super) fn rotate(&mut self, lane: usize) {
        if let Some(requests) = self.lanes.get_mut(lane)
            && requests.len() > 1
        {
            requests.rotate_left(1);
        }
    }

    /// Takes note that the request whose turn it is got a message; it has its next turn after all
    /// others then, or is done.
    pub(super) fn serve(&mut self, lane: usize, now: Timestamp) {
        let Some(request) = self.front(lane) else {
            return;
        };
        request.served = true;
        request.left -= 1;
        if request.left <= 0 {
            self.pop(lane);
            return;
        }
        if !request.heartbeat.is_zero() {
            request.heartbeat_at = later(now, request.heartbeat);
        }
        self.rotate(lane);
    }

    /// Tells the request whose turn it is how it ended, with what it had left, and takes it out.
    pub(super) fn end(
        &mut self,
        lane: usize,
        status: Status<'_>,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
    ) {
        if let Some(request) = self.pop(lane) {
            request.tell_left(status, sink, scratch);
        }
    }

    /// Looks through all requests: tells those that have expired, drops those for which nobody
    /// listens, sends heartbeats. At the end of what there is to deliver, `at_end`, requests end
    /// that do not wait.
    pub(super) fn sweep(
        &mut self,
        now: Timestamp,
        at_end: bool,
        place: Place,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
    ) -> Swept {
        let mut swept = Swept::default();
        let (mut len, mut one_shots, mut bytes, mut check_at) = (0, 0, 0, None);
        for lane in &mut self.lanes {
            lane.retain_mut(|request| {
                if let Some(ended) = request.end_if_due(now, at_end, sink, scratch) {
                    swept.ended = swept.ended.max(ended);
                    return false;
                }
                if sink.interest(&request.reply) != Interest::Present {
                    return false;
                }
                request.checked = now;
                request.beat_if_due(now, place, sink, scratch);
                len += 1;
                bytes += request.bytes();
                one_shots += usize::from(request.no_wait);
                swept.batches = swept.batches.saturating_add(request.left);
                check_at = soonest(check_at, request.next_check());
                true
            });
            if lane.is_empty() && lane.capacity() > LANE_KEPT {
                *lane = VecDeque::new();
            }
        }
        (self.len, self.one_shots) = (len, one_shots);
        self.set_bytes(bytes);
        let pace = Duration::from_millis((len / LOOKS_PER_MS) as u64);
        self.check_at = check_at.map(|at: Timestamp| at.max(later(now, pace)));
        swept
    }

    /// Tells all requests how they ended, and takes them out.
    pub(super) fn end_all(
        &mut self,
        status: Status<'_>,
        with_left: bool,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
    ) {
        let ended = std::mem::take(&mut self.lanes);
        (self.len, self.one_shots, self.check_at) = (0, 0, None);
        self.set_bytes(0);
        for request in ended.into_iter().flatten() {
            if with_left {
                request.tell_left(status, sink, scratch);
            } else {
                scratch.clear();
                status.write(scratch);
                sink.status(&request.reply, b"", scratch);
            }
        }
    }

    /// Bytes of memory that are owned.
    pub(super) fn memory_bytes(&self) -> usize {
        let requests = self.lanes.iter().flatten();
        let replies: usize = requests.map(|request| request.reply.len()).sum();
        let lanes: usize = self.lanes.iter().map(VecDeque::capacity).sum();
        replies
            + lanes * size_of::<Request>()
            + self.lanes.capacity() * size_of::<VecDeque<Request>>()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set_bytes(0);
    }
}

impl Request {
    /// Bytes of memory that it takes, with what the allocator adds.
    pub(super) fn bytes(&self) -> usize {
        let terms = self.terms.as_ref();
        let terms = terms.map_or(0, |t| size_of::<Terms>() + t.group.len() + t.id.len() + 48);
        size_of::<Request>() + self.reply.len() + 16 + terms
    }

    /// When there may be something to tell it.
    fn next_check(&self) -> Option<Timestamp> {
        match self.heartbeat.is_zero() {
            true => self.expires,
            false => soonest(self.expires, Some(self.heartbeat_at)),
        }
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    fn tell_left(&self, status: Status<'_>, sink: &mut impl Sink, scratch: &mut Vec<u8>) {
        scratch.clear();
        status.write_left(self.left, self.bytes_left, scratch);
        sink.status(&self.reply, b"", scratch);
    }

    /// Tells it that it has ended if it has; gives when it did.
    fn end_if_due(
        &self,
        now: Timestamp,
        at_end: bool,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
    ) -> Option<Timestamp> {
        if let Some(expires) = self.expires.filter(|at| *at <= now) {
            self.tell_left(Status::RequestTimeout, sink, scratch);
            return Some(expires);
        }
        // One that may wait for the first message is not at its end before it got that.
        let ends = at_end && self.no_wait && (self.expires.is_none() || self.served);
        if ends {
            scratch.clear();
            Status::NoMessages.write(scratch);
            sink.status(&self.reply, b"", scratch);
        }
        ends.then_some(now)
    }

    fn beat_if_due(
        &mut self,
        now: Timestamp,
        place: Place,
        sink: &mut impl Sink,
        scratch: &mut Vec<u8>,
    ) {
        if self.heartbeat.is_zero() || now < self.heartbeat_at {
            return;
        }
        scratch.clear();
        write_heartbeat(place.consumer.0, place.stream.0, b"", scratch);
        sink.status(&self.reply, b"", scratch);
        self.heartbeat_at = later(now, self.heartbeat);
    }
}
