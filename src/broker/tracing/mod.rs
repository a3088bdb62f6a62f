//! Messages of which it is told where they go.
//!
//! A client asks for that with headers (see [`crate::proto::msg_trace`]). Its message takes ways of
//! its own through the broker, which do what those of other messages do and note it: `publish` into
//! the loop and through accounts, `delivery` to subscriptions, `far` to and from other servers. What is noted is collected in a
//! [`Tracer`]; other loops, whose clients get the message, hold it together with the message. Whoever
//! lets go of it last tells what it has collected.

mod delivery;
mod far;
mod publish;

pub use far::{Arrival, Crossing};

use crate::accounts::Account;
use crate::accounts::exchange::StreamShare;
use crate::base::clock::Mono;
use crate::base::limits::TRACE_BYTES;
use crate::proto::encoding::Encoding;
use crate::proto::headers::Picked;
use crate::proto::msg_trace::{Kind, LEFT_OUT, Stamp, Step};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// What is known of the way of one message so far.
pub(super) struct Tracer {
    /// The account that it was published in, and the subject on which its way is told there.
    account: Arc<Account>,
    dest: Box<[u8]>,
    /// Whether nobody is to get it.
    pub(super) only: bool,
    encoding: Option<Encoding>,
    header: Picked,
    /// Bytes of its headers and its body.
    size: usize,
    /// How it came to this server; empty if it was published here.
    hop: Box<str>,
    /// The wall clock time at the start of monotonic time.
    epoch: SystemTime,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    list: Vec<Step>,
    /// Bytes that they take.
    held: usize,
    is_full: bool,
    /// Deliveries to other servers.
    hops: u32,
}

impl Tracer {
    pub(super) fn stamp(&self, now: Mono) -> Stamp {
        Stamp(self.epoch + now.since(Mono::ZERO))
    }

    /// Notes a step; when there are too many, that some are missing.
    pub(super) fn add(&self, step: Step) {
        let mut steps = self.steps();
        if steps.is_full {
            return;
        }
        steps.held += step.weight();
        if steps.held <= TRACE_BYTES {
            return steps.list.push(step);
        }
        steps.is_full = true;
        let (Step::Ingress { ts, .. }
        | Step::Mapping { ts, .. }
        | Step::StreamExport { ts, .. }
        | Step::ServiceImport { ts, .. }
        | Step::Egress { ts, .. }) = step;
        steps.list.push(Step::Egress {
            ts,
            kind: Kind::System,
            cid: 0,
            name: String::new(),
            hop: String::new(),
            account: String::new(),
            subject: String::new(),
            queue: String::new(),
            error: LEFT_OUT,
        });
    }

    /// Notes why the message went no further than into the server.
    fn refuse(&self, why: String) {
        if let Some(Step::Ingress { error, .. }) = self.steps().list.first_mut() {
            *error = why;
        }
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().expect("no holder of this lock panics")
    }
}

/// A tracer on one of the ways of its message.
#[derive(Clone)]
pub(super) struct Tap {
    pub(super) tracer: Arc<Tracer>,
    /// The import by which the message came to an account.
    share: Option<Arc<StreamShare>>,
}

impl Tap {
    pub(super) fn new(tracer: &Arc<Tracer>, share: Option<&Arc<StreamShare>>) -> Tap {
        Tap {
            tracer: tracer.clone(),
            share: share.cloned(),
        }
    }

    /// Bytes of memory that it stands for, about.
    pub(super) fn weight(&self) -> usize {
        let header = |(name, values): (&String, &Vec<String>)| {
            name.len() + values.iter().map(String::len).sum::<usize>()
        };
        let headers: usize = self.tracer.header.iter().map(header).sum();
        size_of::<Tracer>() + headers + self.tracer.steps().held
    }
}
