//! Where passwords are compared with bcrypt hashes: a bounded queue, and the work of the threads
//! that take from it. One comparison takes tens of milliseconds of a core, by design, so no loop
//! may do it.

use super::inbox::Mail;
use crate::accounts::interest::LoopId;
use crate::base::clock;
use crate::base::limits::VERIFICATIONS_MAX;
use crate::broker::PasswordCheck;
use crate::loops::client::Peers;
use log::{debug, error};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

/// The queue of passwords to be compared. Who comes first is served first; whose time is up by
/// then is passed over.
#[derive(Default)]
pub struct Verifier {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    owner: LoopId,
    check: PasswordCheck,
}

impl Verifier {
    /// Has passwords compared; each answer comes as [`Mail::Verified`]. Those for which there is no
    /// room are given back.
    pub fn ask(&self, owner: LoopId, checks: &mut Vec<PasswordCheck>) {
        let mut queue = self.lock();
        let room = VERIFICATIONS_MAX.saturating_sub(queue.jobs.len());
        let taken = checks.drain(..room.min(checks.len()));
        queue.jobs.extend(taken.map(|check| Job { owner, check }));
        drop(queue);
        self.filled.notify_one();
    }

    /// Compares until closed.
    pub fn work(&self, peers: &Peers) {
        while let Some(job) = self.next() {
            let Job { owner, check } = job;
            if check.deadline <= clock::mono() {
                answer(peers, owner, &check, false);
                continue;
            }
            let result = bcrypt::verify(check.password.reveal().as_bytes(), check.hash.reveal());
            if let Err(e) = &result {
                debug!("A password cannot be compared: {e}");
            }
            let right = result.unwrap_or(false);
            // Those who wait with the same password for the same user have the same answer: many
            // connections of one application, most often.
            for same in self.take_same(&check) {
                answer(peers, same.owner, &same.check, right);
            }
            answer(peers, owner, &check, right);
        }
    }

    /// Ends the work, once what is being compared is done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                if !queue.jobs.is_empty() {
                    self.filled.notify_one();
                }
                return Some(job);
            }
            queue = self
                .filled
                .wait(queue)
                .expect("no holder of this lock panics");
        }
    }

    fn take_same(&self, check: &PasswordCheck) -> VecDeque<Job> {
        let is_same =
            |job: &Job| job.check.hash == check.hash && job.check.password == check.password;
        let mut queue = self.lock();
        if !queue.jobs.iter().any(is_same) {
            return VecDeque::new();
        }
        let (same, others) = queue.jobs.drain(..).partition(is_same);
        queue.jobs = others;
        same
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}

fn answer(peers: &Peers, owner: LoopId, check: &PasswordCheck, right: bool) {
    let mail = Mail::Verified {
        client: check.client,
        ticket: check.ticket,
        right,
    };
    if let Err(e) = peers.inboxes[usize::from(owner.0)].send(mail) {
        error!("Error waking a client loop: {e}");
    }
}
