//! The loop of JetStream: it owns the streams and consumers.
//!
//! A turn: sleep until there is mail; take it, messages for streams, requests and the outcomes of
//! tasks; let the node do its part, which writes what came; give its tasks to the pool; send out
//! answers. What is to be synced is, by threads of the pool, while the next turns go on.
//!
//! It has a broker as the client loops do, only without clients.

mod recover;

pub use recover::{StoreError, recover, store};

use super::client::Peers;
use super::inbox::{Inbox, Mail};
use crate::accounts::Account;
use crate::accounts::interest::LoopId;
use crate::base::clock::{self, Mono};
use crate::broker::batch::Batch;
use crate::broker::{Broker, Turn, Wire};
use crate::jetstream::node::{Delivered, Node, Task};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::Incoming;
use crate::store::sync_pool::SyncPool;
use crate::store::types::Timestamp;
use log::error;
use mio::{Events, Poll, Token, Waker};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const WAKER: Token = Token(0);

/// The loop.
pub struct JetStreamLoop {
    me: LoopId,
    poll: Poll,
    peers: Arc<Peers>,
    broker: Broker,
    node: Node,
    pool: Option<SyncPool>,
    /// What many streams wait for does not wait for what one of them asked for.
    journal: Option<SyncPool>,
    /// Tasks that were given to the pool and are not done.
    running: usize,
    unfinished: bool,
    ending: bool,
    scratch: Vec<u8>,
    mail: Vec<Mail>,
    empties: Vec<Batch>,
}

/// The way out: to the other loops.
struct Ways<'a> {
    me: LoopId,
    peers: &'a Peers,
}

impl Wire for Ways<'_> {
    fn write(&mut self, _link: usize, _slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        self.peers.pass(self.me, to, batch);
    }
}

/// Publishes for the node.
struct Publisher<'a> {
    broker: &'a mut Broker,
    ways: Ways<'a>,
    scratch: &'a mut Vec<u8>,
    now: Mono,
}

impl Out for Publisher<'_> {
    fn send(&mut self, account: &Arc<Account>, message: &Outgoing<'_>) -> usize {
        self.scratch.clear();
        for part in [message.headers, message.payload, b"\r\n"] {
            self.scratch.extend_from_slice(part);
        }
        let header_len = (!message.headers.is_empty()).then_some(message.headers.len());
        let turn = &mut Turn {
            wire: &mut self.ways,
            now: self.now,
        };
        let subjects = (message.to, message.subject);
        self.broker.publish_as(
            account,
            subjects,
            message.reply,
            self.scratch,
            header_len,
            turn,
        )
    }

    fn is_heard(&mut self, account: &Arc<Account>, subject: &[u8]) -> bool {
        self.broker.is_heard(account, subject)
    }
}

macro_rules! publisher {
    ($own:ident, $now:expr) => {
        Publisher {
            broker: &mut $own.broker,
            ways: Ways {
                me: $own.me,
                peers: &$own.peers,
            },
            scratch: &mut $own.scratch,
            now: $now,
        }
    };
}

/// A time as the store has it.
fn timestamp(wall: SystemTime) -> Timestamp {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl JetStreamLoop {
    /// A poll and the waker that its inbox needs.
    ///
    /// # Errors
    /// The system has no more descriptors for it.
    pub fn poll() -> io::Result<(Poll, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((poll, waker))
    }

    /// The loop, which serves the streams of a node.
    pub fn new(
        (me, poll): (LoopId, Poll),
        peers: Arc<Peers>,
        mut broker: Broker,
        node: Node,
        (pool, journal): (SyncPool, SyncPool),
    ) -> JetStreamLoop {
        broker.set_wall_clock(clock::mono(), clock::wall());
        JetStreamLoop {
            me,
            poll,
            peers,
            broker,
            node,
            pool: Some(pool),
            journal: Some(journal),
            running: 0,
            unfinished: true,
            ending: false,
            scratch: Vec::new(),
            mail: Vec::new(),
            empties: Vec::new(),
        }
    }

    /// Turns until told to shut down; then everything is on the disk.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(4);
        while !self.ending {
            let timeout = self.timeout();
            if let Err(e) = self.poll.poll(&mut events, timeout)
                && e.kind() != io::ErrorKind::Interrupted
            {
                error!("Error waiting for messages to streams: {e}");
                break;
            }
            self.inbox().woken();
            self.turn();
        }
        self.end();
    }

    fn turn(&mut self) {
        let now = clock::mono();
        let wall = clock::wall();
        self.broker.set_wall_clock(now, wall);
        self.broker.begin_turn(now);
        let time = timestamp(wall);
        self.take_mail(now, time);
        self.unfinished = self.node.turn(time, now, &mut publisher!(self, now));
        self.run_tasks();
        let turn = &mut Turn {
            wire: &mut Ways {
                me: self.me,
                peers: &self.peers,
            },
            now,
        };
        self.broker.expire(turn);
        self.broker.finish(turn);
    }

    fn timeout(&mut self) -> Option<Duration> {
        if self.unfinished || !self.inbox().prepare_sleep() {
            return Some(Duration::ZERO);
        }
        let now = clock::mono();
        let time = timestamp(clock::wall());
        let own = self.node.next_turn(time, now);
        let first = own.into_iter().chain(self.broker.expires_at()).min()?;
        Some(first.since(now) + Duration::from_micros(999))
    }

    fn inbox(&self) -> &Inbox {
        self.peers.jetstream.as_ref().unwrap_or(&self.peers.system)
    }

    fn take_mail(&mut self, now: Mono, time: Timestamp) {
        let mut mail = std::mem::take(&mut self.mail);
        let mut empties = std::mem::take(&mut self.empties);
        self.inbox().take(&mut mail, &mut empties);
        self.empties = empties;
        for mail in mail.drain(..) {
            match mail {
                Mail::Batch(_, mut batch) => {
                    self.take_batch(&batch, now, time);
                    let turn = &mut Turn {
                        wire: &mut Ways {
                            me: self.me,
                            peers: &self.peers,
                        },
                        now,
                    };
                    self.broker.end_traces(&mut batch, turn);
                    batch.clear();
                    self.empties.push(batch);
                }
                Mail::Task(done) => {
                    self.running -= 1;
                    self.node
                        .handle_task(*done, (time, now), &mut publisher!(self, now));
                }
                Mail::Renew(facts, _) => {
                    self.node.renew(&facts.accounts);
                    self.broker.renew(facts, now);
                }
                Mail::Report(asked, answer) => {
                    let report = self.node.report(&asked, time, &mut publisher!(self, now));
                    // Whoever asked may have given up.
                    let _ = answer.send(report);
                }
                Mail::Shutdown => self.ending = true,
                // These are for other loops.
                Mail::Connection { .. }
                | Mail::Verified { .. }
                | Mail::HoldBack(_)
                | Mail::Changed(_)
                | Mail::Late(_)
                | Mail::LameDuck { .. }
                | Mail::Survey(_)
                | Mail::Dialled(_)
                | Mail::Links(..)
                | Mail::Cluster(_)
                | Mail::Shed(_) => {}
            }
        }
        self.mail = mail;
    }

    /// Hands messages over to the node.
    fn take_batch(&mut self, batch: &Batch, now: Mono, time: Timestamp) {
        let mut out = publisher!(self, now);
        let (node, me) = (&mut self.node, self.me);
        batch.for_each(|message, to, _| {
            let Some(route) = to.plain() else {
                return;
            };
            let (headers, payload) = {
                let end = message.payload.len() - 2;
                message.payload[..end].split_at(message.header_len.unwrap_or(0))
            };
            for target in route.plain_of(me) {
                let delivered = Delivered {
                    slot: target.slot,
                    generation: target.generation,
                    message: Incoming {
                        subject: message.subject(),
                        reply: message.reply,
                        headers,
                        payload,
                    },
                };
                node.deliver(&delivered, time, &mut out);
            }
        });
    }

    /// Gives the node's tasks to the pool.
    fn run_tasks(&mut self) {
        let (Some(pool), Some(journal)) = (&self.pool, &self.journal) else {
            return;
        };
        for task in self.node.take_tasks() {
            self.running += 1;
            let pool = match task {
                Task::Journal(_) => journal,
                _ => pool,
            };
            let peers = self.peers.clone();
            pool.run(move || {
                let done = Box::new(task.run());
                if let Some(inbox) = &peers.jetstream
                    && let Err(e) = inbox.send(Mail::Task(done))
                {
                    error!("Error waking the loop of JetStream: {e}");
                }
            });
        }
    }

    /// Waits for tasks that are under way, answers who waits for them, and closes all streams.
    fn end(&mut self) {
        // What was given to the pool is done when it is gone.
        self.pool = None;
        self.journal = None;
        self.turn();
        self.node.close();
    }
}
