//! Messages on their way from one loop to another.
//!
//! A record names the route, not each target: the receiving loop finds its own targets in it. Its
//! bytes stand in one buffer with all others of the batch, so a message costs one copy and no
//! allocation, and a run of messages on one route holds one reference to it.

use super::message::{Message, Own};
use super::tracing::{Tap, Tracer};
use crate::base::limits::BATCH_BYTES;
use crate::routing::route::Route;
use bytes::Bytes;
use std::sync::Arc;

/// Messages for one loop from one other, in order.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    routes: Vec<Arc<Route>>,
    shared: Vec<Bytes>,
    shared_bytes: usize,
    picks: Vec<Pick>,
    traced: Vec<Traced>,
    traced_bytes: usize,
}

/// Where a traced message goes.
pub struct Traced {
    pub(super) route: Arc<Route>,
    /// A member of a queue group; the plain subscriptions if there is none.
    pub(super) member: Option<Member>,
    pub(super) tap: Tap,
}

/// A message for one member of a queue group.
#[derive(Clone, Copy, Debug)]
struct Pick {
    route: u32,
    group: u32,
    member: u32,
    /// How many loops have looked for a member in vain.
    attempts: u32,
}

/// One message: how long its line is in `bytes`, with what follows it there, and where it goes.
struct Record {
    line: u32,
    head: u32,
    /// Bytes of the reply, which stands behind the head.
    reply: u32,
    /// Bytes of headers and one more; zero without headers.
    header: u32,
    to: To,
    payload: Payload,
    from: u32,
}

enum To {
    /// The plain subscriptions of a route.
    Route(u32),
    /// A member of a queue group.
    Pick(u32),
    /// Wherever a traced message goes.
    Traced(u32),
}

enum Payload {
    /// The last bytes of the line.
    Inline(u32),
    Shared(u32),
}

/// Where the message of a record goes.
pub enum Destination<'a> {
    Plain(&'a Route),
    Member(&'a Arc<Route>, Member),
    Traced(&'a Traced),
}

impl Destination<'_> {
    /// The route to whose plain subscriptions the message goes, unless it is not to arrive.
    pub fn plain(&self) -> Option<&Route> {
        match self {
            Destination::Plain(route) => Some(route),
            Destination::Traced(traced) => {
                let arrives = traced.member.is_none() && !traced.tap.tracer.only;
                arrives.then_some(&traced.route)
            }
            Destination::Member(..) => None,
        }
    }
}

/// A member of a queue group of a route, picked to get a message; if it is gone, others of the
/// group do as well.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub group: usize,
    pub member: usize,
    /// How many loops have looked for a member in vain.
    pub attempts: usize,
}

/// A batch that grew beyond this many bytes is not kept for reuse. What is full at [`BATCH_BYTES`] has
/// room for up to twice as many, and is kept: growing anew costs a fifth of a busy cluster's time.
const KEPT_BYTES: usize = 2 * BATCH_BYTES;

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many messages it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory that it stands for, shared payloads included.
    pub fn weight(&self) -> usize {
        self.bytes.len()
            + self.records.len() * size_of::<Record>()
            + self.shared_bytes
            + self.traced_bytes
    }

    /// Adds a message for the plain subscriptions of a route.
    pub fn push(&mut self, message: &Message<'_>, route: &Arc<Route>, from: u32) {
        let to = To::Route(self.route(route));
        self.record(message, to, from);
    }

    /// Adds a message that the server itself publishes for the plain subscriptions of a route.
    pub fn push_own(&mut self, own: &Own<'_>, route: &Arc<Route>, from: u32) {
        let to = To::Route(self.route(route));
        let start = self.bytes.len();
        let (head_len, line_len) = own.write(&mut self.bytes);
        let len = self.bytes.len() - start;
        self.records.push(Record {
            line: index(len),
            head: index(head_len),
            reply: index(own.reply.map_or(0, <[u8]>::len)),
            header: own.header_len().map_or(0, |n| index(n + 1)),
            to,
            payload: Payload::Inline(index(len - line_len)),
            from,
        });
    }

    /// Adds a message for a member of a queue group.
    pub fn push_member(
        &mut self,
        message: &Message<'_>,
        route: &Arc<Route>,
        member: Member,
        from: u32,
    ) {
        let route = self.route(route);
        let Member {
            group,
            member,
            attempts,
        } = member;
        let (group, member, attempts) = (index(group), index(member), index(attempts));
        self.picks.push(Pick {
            route,
            group,
            member,
            attempts,
        });
        let to = To::Pick(index(self.picks.len() - 1));
        self.record(message, to, from);
    }

    /// Adds a traced message, for a member of a queue group or for the plain subscriptions.
    #[cold]
    pub(super) fn push_traced(&mut self, message: &Message<'_>, traced: Traced, from: u32) {
        self.traced_bytes += traced.tap.weight();
        self.traced.push(traced);
        let to = To::Traced(index(self.traced.len() - 1));
        self.record(message, to, from);
    }

    /// The tracers of the messages, each as often as it is there.
    pub(super) fn take_tracers(&mut self) -> impl Iterator<Item = Arc<Tracer>> + use<> {
        std::mem::take(&mut self.traced)
            .into_iter()
            .map(|traced| traced.tap.tracer)
    }

    fn route(&mut self, route: &Arc<Route>) -> u32 {
        if !self
            .routes
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, route))
        {
            self.routes.push(route.clone());
        }
        index(self.routes.len() - 1)
    }

    fn record(&mut self, message: &Message<'_>, to: To, from: u32) {
        let reply = message.reply.unwrap_or_default();
        debug_assert!(message.line[message.head_len..].starts_with(reply));
        self.bytes.extend_from_slice(message.line);
        if !message.body.is_empty() {
            self.bytes.extend_from_slice(message.body);
        }
        let payload = match message.shared {
            Some(shared) => {
                self.shared.push(shared.clone());
                self.shared_bytes += shared.len();
                Payload::Shared(index(self.shared.len() - 1))
            }
            None => Payload::Inline(index(message.payload.len())),
        };
        self.records.push(Record {
            line: index(message.line.len() + message.body.len()),
            head: index(message.head_len),
            reply: index(reply.len()),
            header: message.header_len.map_or(0, |n| index(n + 1)),
            to,
            payload,
            from,
        });
    }

    /// Calls `each` with every message, where it goes, and the slot of its producer.
    pub fn for_each(&self, mut each: impl FnMut(&Message<'_>, Destination<'_>, u32)) {
        for (message, to, from) in self.messages() {
            each(&message, to, from);
        }
    }

    /// Every message, where it goes, and the slot of its producer.
    pub fn messages(&self) -> impl Iterator<Item = (Message<'_>, Destination<'_>, u32)> {
        let mut at = 0;
        self.records.iter().map(move |r| {
            let line = &self.bytes[at..at + r.line as usize];
            at += line.len();
            let head_len = r.head as usize;
            let reply = &line[head_len..head_len + r.reply as usize];
            let (payload, shared) = match r.payload {
                Payload::Inline(len) => (&line[line.len() - len as usize..], None),
                Payload::Shared(i) => {
                    let shared = &self.shared[i as usize];
                    (&shared[..], Some(shared))
                }
            };
            let message = Message {
                line,
                head_len,
                body: b"",
                shared,
                reply: (!reply.is_empty()).then_some(reply),
                payload,
                header_len: r.header.checked_sub(1).map(|n| n as usize),
            };
            (message, self.destination(&r.to), r.from)
        })
    }

    fn destination(&self, to: &To) -> Destination<'_> {
        match to {
            To::Route(i) => Destination::Plain(&self.routes[*i as usize]),
            To::Pick(i) => {
                let pick = self.picks[*i as usize];
                let member = Member {
                    group: pick.group as usize,
                    member: pick.member as usize,
                    attempts: pick.attempts as usize,
                };
                Destination::Member(&self.routes[pick.route as usize], member)
            }
            To::Traced(i) => Destination::Traced(&self.traced[*i as usize]),
        }
    }

    /// Empties the batch for reuse; it keeps a moderate amount of memory.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            *self = Batch::default();
        }
        self.bytes.clear();
        self.records.clear();
        self.routes.clear();
        self.shared.clear();
        self.shared_bytes = 0;
        self.picks.clear();
        self.traced.clear();
        self.traced_bytes = 0;
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).expect("a batch is pushed long before it holds 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a batch tells of its message.
    fn told(batch: &Batch) -> String {
        let mut all = String::new();
        batch.for_each(|m, to, from| {
            let line = [m.line, m.body].concat();
            let plain = to.plain().is_some();
            let parts = (
                m.head_len,
                m.subject(),
                m.reply,
                m.payload,
                m.header_len,
                from,
            );
            all += &format!("{} {parts:?} {plain};", line.escape_ascii());
        });
        all
    }

    #[test]
    fn what_the_server_publishes_is_in_a_batch_as_any_message() {
        let route = Arc::new(Route::default());
        let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
        for reply in [None, Some(&b"re.ply"[..])] {
            for (headers, body) in [
                (&b""[..], &b""[..]),
                (b"", b"body"),
                (headers, b""),
                (headers, b"body"),
            ] {
                let own = Own {
                    subject: b"a.b",
                    reply,
                    headers,
                    body,
                };
                let (mut put_there, mut copied) = (Batch::default(), Batch::default());
                for _ in 0..2 {
                    put_there.push_own(&own, &route, 7);
                    copied.push(&Message::compose(&own, &mut Vec::new()), &route, 7);
                }
                assert_eq!(told(&put_there), told(&copied));
                let whole = [headers, body, b"\r\n"].concat();
                put_there.for_each(|message, _, _| {
                    assert_eq!((message.subject(), message.reply), (&b"a.b"[..], reply));
                    assert_eq!(message.payload, whole);
                });
            }
        }
    }
}
