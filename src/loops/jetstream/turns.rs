//! What the loop of JetStream does in a turn, on whatever thread that is.

use crate::accounts::Account;
use crate::accounts::interest::LoopId;
use crate::base::clock::{self, Mono};
use crate::broker::batch::{Batch, Destination};
use crate::broker::message::{Message, Own};
use crate::broker::{Broker, Turn, Wire};
use crate::jetstream::node::{Delivered, LookBack, Node, Task};
use crate::jetstream::out::{Out, Outgoing};
use crate::jetstream::stream::Incoming;
use crate::loops::client::Peers;
use crate::loops::inbox::{Inbox, Mail};
use crate::store::sync_pool::SyncPool;
use crate::store::types::Timestamp;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Messages of a batch for which it is worth looking ahead, and how many are looked at together: so many
/// that what they need stays near until they are taken.
const AHEAD_MIN: usize = 4;
const AHEAD: usize = 16;

/// The streams and consumers, and all that a turn needs beside the other loops.
pub struct Turns {
    me: LoopId,
    broker: Broker,
    node: Node,
    pool: Option<SyncPool>,
    /// What many streams wait for does not wait for what one of them asked for.
    journal: Option<SyncPool>,
    /// When the last turn was, on both clocks.
    told: (Mono, Timestamp),
    /// Whether the last turn has left something for the next.
    unfinished: bool,
    ending: bool,
    /// Who waits for clients to be told that the server ends.
    goodbye: Option<Sender<()>>,
    /// Until when the loop's own thread sleeps if nobody wakes it; never if it is none.
    sleeps_until: Option<Mono>,
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
    now: Mono,
}

impl Out for Publisher<'_> {
    fn send(&mut self, account: &Arc<Account>, message: &Outgoing<'_>) -> usize {
        let turn = &mut Turn {
            wire: &mut self.ways,
            now: self.now,
        };
        let own = Own {
            subject: message.subject,
            reply: message.reply,
            headers: message.headers,
            body: message.payload,
        };
        self.broker.publish_as(account, message.to, &own, turn)
    }

    fn is_heard(&mut self, account: &Arc<Account>, subject: &[u8]) -> bool {
        self.broker.is_heard(account, subject)
    }
}

macro_rules! publisher {
    ($own:ident, $peers:expr, $now:expr) => {
        Publisher {
            broker: &mut $own.broker,
            ways: Ways {
                me: $own.me,
                peers: $peers,
            },
            now: $now,
        }
    };
}

/// A time as the store has it.
pub(super) fn timestamp(wall: SystemTime) -> Timestamp {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Turns {
    /// Those of a node, before the first. The commit journal has a pool for itself.
    pub fn new(
        me: LoopId,
        mut broker: Broker,
        node: Node,
        (pool, journal): (SyncPool, SyncPool),
    ) -> Turns {
        let told = (clock::mono(), clock::wall());
        broker.set_wall_clock(told.0, told.1);
        Turns {
            told: (told.0, timestamp(told.1)),
            me,
            broker,
            node,
            pool: Some(pool),
            journal: Some(journal),
            unfinished: true,
            ending: false,
            goodbye: None,
            sleeps_until: None,
            mail: Vec::new(),
            empties: Vec::new(),
        }
    }

    /// Whether the loop was told to shut down.
    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// One turn.
    pub fn turn(&mut self, peers: &Arc<Peers>, inbox: &Inbox, now: Mono) {
        let wall = clock::wall();
        self.broker.set_wall_clock(now, wall);
        self.broker.begin_turn(now);
        let time = timestamp(wall);
        self.told = (now, time);
        self.take_mail(peers, inbox, now, time);
        self.unfinished = self.node.turn(time, now, &mut publisher!(self, peers, now));
        self.run_tasks(peers);
        let turn = &mut Turn {
            wire: &mut Ways { me: self.me, peers },
            now,
        };
        self.broker.expire(turn);
        self.broker.finish(turn);
        if let Some(done) = self.goodbye.take() {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
    }

    /// How long the loop's own thread may sleep now, which it then does; forever if it is none.
    pub fn timeout(&mut self, inbox: &Inbox, now: Mono) -> Option<Duration> {
        if self.unfinished || !inbox.prepare_sleep() {
            return Some(Duration::ZERO);
        }
        self.sleeps_until = self.next(now);
        let left = self.sleeps_until?.since(now);
        Some(left + Duration::from_micros(999))
    }

    /// Whether the loop's own thread may go on to sleep, after a turn that somebody else has done.
    pub fn may_rest(&mut self, inbox: &Inbox, now: Mono) -> bool {
        let in_time = match (self.next(now), self.sleeps_until) {
            (None, _) => true,
            (Some(due), Some(until)) => until <= due,
            (Some(_), None) => false,
        };
        in_time && !self.ending && !self.unfinished && inbox.prepare_sleep()
    }

    /// Whether consumers got turns since this was asked last.
    pub fn has_served(&mut self) -> bool {
        self.node.has_served()
    }

    /// When the next turn is due without mail.
    fn next(&self, now: Mono) -> Option<Mono> {
        let (turned, time) = self.told;
        let passed = u64::try_from(now.since(turned).as_nanos()).unwrap_or(u64::MAX);
        let time = Timestamp(time.0.saturating_add(passed));
        let own = self.node.next_turn(time, now);
        own.into_iter().chain(self.broker.expires_at()).min()
    }

    fn take_mail(&mut self, peers: &Arc<Peers>, inbox: &Inbox, now: Mono, time: Timestamp) {
        let mut mail = std::mem::take(&mut self.mail);
        let mut empties = std::mem::take(&mut self.empties);
        inbox.take(&mut mail, &mut empties);
        self.empties = empties;
        for mail in mail.drain(..) {
            match mail {
                Mail::Batch(_, mut batch) => {
                    self.take_batch(peers, &batch, now, time);
                    let turn = &mut Turn {
                        wire: &mut Ways { me: self.me, peers },
                        now,
                    };
                    self.broker.end_traces(&mut batch, turn);
                    batch.clear();
                    self.empties.push(batch);
                }
                Mail::Task(done) => {
                    self.node
                        .handle_task(*done, (time, now), &mut publisher!(self, peers, now));
                }
                Mail::Renew(facts, _) => {
                    self.node.renew(&facts.accounts);
                    self.broker.renew(facts, now);
                }
                Mail::Report(asked, answer) => {
                    let report = self
                        .node
                        .report(&asked, time, &mut publisher!(self, peers, now));
                    // Whoever asked may have given up.
                    let _ = answer.send(report);
                }
                Mail::Goodbye(done) => {
                    self.node
                        .say_goodbye(time, &mut publisher!(self, peers, now));
                    self.goodbye = Some(done);
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
                | Mail::Site(_)
                | Mail::Links(..)
                | Mail::Cluster(_)
                | Mail::Crowded(_)
                | Mail::Shed(_) => {}
            }
        }
        self.mail = mail;
    }

    /// Asks for what some messages look back to: what each would wait for in memory they wait for
    /// together. Says whether the last of them does.
    fn look_ahead<'b>(
        &mut self,
        messages: impl Iterator<Item = (Message<'b>, Destination<'b>, u32)>,
    ) -> bool {
        let mut subjects = [&b""[..]; AHEAD];
        let (mut of, mut n, mut looks) = (LookBack::Read(0), 0, false);
        for (message, to, _) in messages {
            let target = to.plain().and_then(|route| route.plain_of(self.me).first());
            let found = target.and_then(|target| {
                let slot = (target.slot, target.generation);
                self.node.looks_back(slot, message.subject())
            });
            looks = found.is_some();
            let Some((back, subject)) = found else {
                continue;
            };
            if n > 0 && of != back || n == AHEAD {
                self.node.look_ahead(of, &subjects[..n]);
                n = 0;
            }
            of = back;
            subjects[n] = subject;
            n += 1;
        }
        if n > 0 {
            self.node.look_ahead(of, &subjects[..n]);
        }
        looks
    }

    /// Hands messages over to the node.
    fn take_batch(&mut self, peers: &Peers, batch: &Batch, now: Mono, time: Timestamp) {
        let mut next = batch.messages();
        let mut looks = batch.len() >= AHEAD_MIN && self.look_ahead(batch.messages().take(1));
        for (n, (message, to, _)) in batch.messages().enumerate() {
            if n % AHEAD == 0 && looks {
                looks = self.look_ahead(next.by_ref().take(AHEAD));
            }
            self.take(peers, &message, &to, now, time);
        }
    }

    fn take(
        &mut self,
        peers: &Peers,
        message: &Message<'_>,
        to: &Destination<'_>,
        now: Mono,
        time: Timestamp,
    ) {
        let Some(route) = to.plain() else {
            return;
        };
        let (headers, payload) = {
            let end = message.payload.len() - 2;
            message.payload[..end].split_at(message.header_len.unwrap_or(0))
        };
        let mut out = publisher!(self, peers, now);
        for target in route.plain_of(self.me) {
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
            self.node.deliver(&delivered, time, &mut out);
        }
    }

    /// Gives the node's tasks to the pool.
    fn run_tasks(&mut self, peers: &Arc<Peers>) {
        let (Some(pool), Some(journal)) = (&self.pool, &self.journal) else {
            return;
        };
        for task in self.node.take_tasks() {
            let pool = match task {
                Task::Journal(_) => journal,
                _ => pool,
            };
            let peers = peers.clone();
            pool.run(move || {
                let done = Box::new(task.run());
                if let Some(door) = &peers.jetstream {
                    door.inbox.put(Mail::Task(done));
                    door.knock(&peers, clock::mono(), true);
                }
            });
        }
    }

    /// Waits for tasks that are under way, answers who waits for them, and closes all streams.
    pub fn end(&mut self, peers: &Arc<Peers>, inbox: &Inbox) {
        // What was given to the pool is done when it is gone.
        self.pool = None;
        self.journal = None;
        self.turn(peers, inbox, clock::mono());
        self.node.close();
    }
}
