//! Where a loop gets what other threads have for it: filled many times, woken once.

use super::cluster::{Dialled, Site};
use super::system::LateAnswer;
use crate::accounts::interest::LoopId;
use crate::base::limits::INBOX_BYTES;
use crate::broker::ClusterView;
use crate::broker::Facts;
use crate::broker::batch::Batch;
use crate::broker::survey::Survey;
use crate::conn::client::ClientId;
use crate::jetstream::node::TaskDone;
use crate::jetstream::report::{Question, Report};
use crate::monitor::links::Links;
use crate::net::tls::ServerTls;
use mio::Waker;
use mio::net::TcpStream;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The mailbox of one loop.
pub struct Inbox {
    queue: Mutex<Queue>,
    waker: Waker,
    /// Set by the loop before it looks at the mailbox for the last time and sleeps.
    sleeping: AtomicBool,
    /// Bytes of the batches that wait.
    weight: AtomicUsize,
    /// Whether those who bring messages should slow down, however few wait.
    congested: AtomicBool,
}

#[derive(Default)]
struct Queue {
    mail: Vec<Mail>,
    /// Emptied batches, to be filled again by whoever brings the next.
    empties: Vec<Batch>,
}

/// What one thread tells a loop.
pub enum Mail {
    /// Messages that clients of that loop published.
    Batch(LoopId, Batch),
    /// A new connection, to be turned away if there is no room for it.
    Connection {
        stream: TcpStream,
        addr: SocketAddr,
        id: ClientId,
        room: bool,
    },
    /// Whether the password with which this client said CONNECT is the right one.
    Verified {
        client: u32,
        ticket: u64,
        right: bool,
    },
    /// Subscribers are far behind with what this client publishes.
    HoldBack(u32),
    /// Go on with other options, and with what they make of TLS.
    Renew(Arc<Facts>, Option<Arc<ServerTls>>),
    /// What other servers are told of this one, and TLS with them, from the options that follow.
    Site(Box<Site>),
    /// Accounts, by number, in which clients came or went, of which somebody wants to be told.
    Changed(Vec<u32>),
    /// An answer of a service of the system account that took longer.
    Late(LateAnswer),
    /// What monitoring wants to know of JetStream, and where it is to be told.
    Report(Box<Question>, Sender<Report>),
    /// The outcome of something that JetStream had done.
    Task(Box<TaskDone>),
    /// Something that monitoring wants to know of the loop's clients.
    Survey(Survey),
    /// An attempt to connect to another server is over.
    Dialled(Box<Dialled>),
    /// What clients are told of the cluster.
    Cluster(Arc<ClusterView>),
    /// What monitoring wants to know of other servers, with or without what they listen to, and where
    /// it is to be told.
    Links(bool, Sender<Links>),
    /// There are so many more connections than may be.
    Shed(usize),
    /// The account with this number has more clients, on all servers, than may be.
    Crowded(u32),
    /// Accept no more, tell the clients, and after `grace` disconnect them one after the other
    /// until `duration` is over.
    LameDuck { grace: Duration, duration: Duration },
    /// The server ends: tell clients that wait for messages of streams, and then that it is done.
    Goodbye(Sender<()>),
    /// Close everything and end.
    Shutdown,
}

/// Emptied batches that are kept.
const EMPTIES_KEPT: usize = 16;

impl Inbox {
    pub fn new(waker: Waker) -> Inbox {
        Inbox {
            queue: Mutex::default(),
            waker,
            sleeping: AtomicBool::new(false),
            weight: AtomicUsize::new(0),
            congested: AtomicBool::new(false),
        }
    }

    /// Wakes the loop if it sleeps, as there is work for it elsewhere.
    ///
    /// # Errors
    /// The loop could not be woken.
    pub fn ring(&self) -> io::Result<()> {
        match self.sleeping.swap(false, Ordering::SeqCst) {
            true => self.waker.wake(),
            false => Ok(()),
        }
    }

    /// Says whether the loop cannot get rid of what it has taken.
    pub fn set_congested(&self, congested: bool) {
        self.congested.store(congested, Ordering::Relaxed);
    }

    /// Puts something in and wakes the loop if it sleeps.
    ///
    /// # Errors
    /// The loop could not be woken; it gets the mail when it next wakes.
    pub fn send(&self, mail: Mail) -> io::Result<()> {
        self.put(mail);
        self.ring()
    }

    /// Puts something in, without waking the loop: that is to follow, see [`Inbox::claim`].
    pub fn put(&self, mail: Mail) {
        if let Mail::Batch(_, batch) = &mail {
            self.weight.fetch_add(batch.weight(), Ordering::Relaxed);
        }
        self.lock().mail.push(mail);
    }

    /// Whether the loop sleeps; if so, it is the caller's duty from now on to wake it, or to do what
    /// it would do and to prepare its sleep again.
    pub fn claim(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst)
    }

    /// Wakes the loop, of whose sleep the caller is sure.
    ///
    /// # Errors
    /// The loop could not be woken.
    pub fn rouse(&self) -> io::Result<()> {
        self.waker.wake()
    }

    /// Bytes of the batches that wait.
    pub fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// An empty batch, to be filled and sent.
    pub fn empty_batch(&self) -> Batch {
        self.lock().empties.pop().unwrap_or_default()
    }

    /// Whether so much waits that those who bring more should slow down.
    pub fn is_overloaded(&self) -> bool {
        self.weight.load(Ordering::Relaxed) > INBOX_BYTES || self.congested.load(Ordering::Relaxed)
    }

    /// How much mail waits.
    pub fn len(&self) -> usize {
        self.lock().mail.len()
    }

    /// Whether no mail waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all mail, and gives back emptied batches.
    pub fn take(&self, out: &mut Vec<Mail>, empties: &mut Vec<Batch>) {
        let mut queue = self.lock();
        out.append(&mut queue.mail);
        let room = EMPTIES_KEPT.saturating_sub(queue.empties.len());
        queue.empties.extend(empties.drain(..).take(room));
        drop(queue);
        let weight: usize = out
            .iter()
            .map(|mail| {
                if let Mail::Batch(_, batch) = mail {
                    batch.weight()
                } else {
                    0
                }
            })
            .sum();
        self.weight.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Announces that the loop is about to sleep; false if there is mail, so that it must not.
    pub fn prepare_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let quiet = self.lock().mail.is_empty();
        if !quiet {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        quiet
    }

    /// The loop is awake again.
    pub fn woken(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}
