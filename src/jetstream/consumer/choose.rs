//! Which pull request gets a message.

use super::later;
use super::settings::{Priority, PullSettings};
use super::status::Status;
use super::turn::{Advisory, Interest, Sink};
use super::waiting::{Terms, Waiting};
use crate::base::rng::Rng;
use crate::store::index::Timestamp;

/// The lanes of a consumer with a pinned client: its own requests, and those of the others.
const PINNED: usize = 0;
const OTHERS: usize = 1;

/// The lane of requests that name no priority, behind all those that do.
const NO_PRIORITY: usize = 10;

/// The client that gets all messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pin {
    pub group: String,
    pub id: String,
    pub since: Timestamp,
    /// When it is the pinned one no longer, unless it asks for more before.
    pub until: Timestamp,
}

/// What a message is like, as far as it matters to who gets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// Bytes that the message counts for.
    pub bytes: u64,
    /// Messages that can be delivered now, this one included.
    pub available: u64,
    /// Messages that wait for their acknowledgements.
    pub ack_pending: usize,
    pub now: Timestamp,
}

/// The lane that a request belongs to.
pub(super) fn lane(priority: Priority, number: Option<usize>, is_pinned: bool) -> usize {
    match priority {
        Priority::None | Priority::Overflow => 0,
        Priority::Pinned if is_pinned => PINNED,
        Priority::Pinned => OTHERS,
        Priority::Prioritized => number.map_or(NO_PRIORITY, |n| n.min(NO_PRIORITY)),
    }
}

/// Finds the request that gets a message, and takes the message's bytes off it. It is the one
/// whose turn it is in the lane that this gives. Requests that have ended are told so on the way.
pub(super) fn choose(
    waiting: &mut Waiting,
    pin: &mut Option<Box<Pin>>,
    settings: &PullSettings,
    offer: &Offer,
    sink: &mut impl Sink,
    scratch: &mut Vec<u8>,
    rng: &mut Rng,
) -> Option<usize> {
    let mut passed = 0;
    loop {
        let lane = match settings.priority {
            Priority::None | Priority::Overflow => 0,
            Priority::Prioritized => waiting.first_lane()?,
            Priority::Pinned if pin.is_some() => PINNED,
            Priority::Pinned => {
                // These are of a client that is pinned no longer.
                while waiting.lane_len(PINNED) > 0 {
                    waiting.end(PINNED, Status::WrongPin, sink, scratch);
                }
                OTHERS
            }
        };
        let lane_len = waiting.lane_len(lane);
        let request = waiting.front(lane)?;
        if request.has_expired(offer.now) {
            waiting.end(lane, Status::RequestTimeout, sink, scratch);
            continue;
        }
        let terms = request.terms.as_deref();
        if lane == OTHERS && terms.is_some_and(|terms| !terms.id.is_empty()) {
            waiting.end(lane, Status::WrongPin, sink, scratch);
            continue;
        }
        if settings.priority == Priority::Overflow && !terms.is_none_or(|t| overflows(t, offer)) {
            waiting.rotate(lane);
            passed += 1;
            if passed >= lane_len {
                return None;
            }
            continue;
        }
        if request.checked != offer.now {
            match sink.interest(&request.reply) {
                Interest::Present => request.checked = offer.now,
                Interest::Absent => {
                    waiting.pop(lane);
                    continue;
                }
                Interest::AbsentElsewhere => {
                    waiting.end(lane, Status::InterestExpired, sink, scratch);
                    continue;
                }
            }
        }
        if request.bytes_left > 0 {
            if offer.bytes > request.bytes_left {
                waiting.end(lane, Status::TooLarge, sink, scratch);
                continue;
            }
            request.bytes_left -= offer.bytes;
            if request.bytes_left == 0 {
                request.left = 1;
            }
        }
        if lane == OTHERS && settings.priority == Priority::Pinned && request.terms.is_some() {
            return pin_front(waiting, pin, settings, offer.now, sink, rng);
        }
        return Some(lane);
    }
}

/// Whether there is so much to do that a request gets its part.
fn overflows(terms: &Terms, offer: &Offer) -> bool {
    let reached =
        |min: i64, there: u64| u64::try_from(min).is_ok_and(|min| min > 0 && min <= there);
    terms.min_pending <= 0 && terms.min_ack_pending <= 0
        || reached(terms.min_pending, offer.available)
        || reached(terms.min_ack_pending, offer.ack_pending as u64)
}

/// Makes the client whose turn it is the pinned one.
fn pin_front(
    waiting: &mut Waiting,
    pin: &mut Option<Box<Pin>>,
    settings: &PullSettings,
    now: Timestamp,
    sink: &mut impl Sink,
    rng: &mut Rng,
) -> Option<usize> {
    let mut request = waiting.pop(OTHERS)?;
    let terms = request.terms.as_mut()?;
    terms.id = new_id(rng);
    let (group, id) = (terms.group.clone(), terms.id.clone());
    sink.advise(&Advisory::Pinned {
        group: &group,
        id: &id,
    });
    *pin = Some(Box::new(Pin {
        group,
        id,
        since: now,
        until: later(now, settings.pin_ttl),
    }));
    waiting.push(PINNED, request);
    Some(PINNED)
}

/// An id that nobody has: 22 digits and letters, as the reference makes them.
fn new_id(rng: &mut Rng) -> String {
    (0..22).map(|_| char::from(alphanumeric(rng))).collect()
}

/// A digit or letter.
pub(super) fn alphanumeric(rng: &mut Rng) -> u8 {
    const ALL: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    ALL[rng.below(ALL.len())]
}
