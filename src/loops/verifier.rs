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
use std::sync::{Condvar, Mutex, MutexGuard, TryLockError};

/// The queue of passwords to be compared. Who comes first is served first; whose time is up by
/// then is passed over.
#[derive(Default)]
pub struct Verifier {
    /// What the loops have brought. Nobody holds this lock for longer than it takes to move a few
    /// bytes, and no loop waits for it: whoever holds it may be a thread of low priority that was
    /// stopped.
    inbox: Mutex<Inbox>,
    filled: Condvar,
    /// What the threads have taken over.
    jobs: Mutex<VecDeque<Job>>,
}

#[derive(Default)]
struct Inbox {
    jobs: Vec<Job>,
    closed: bool,
}

struct Job {
    owner: LoopId,
    check: PasswordCheck,
}

impl Verifier {
    /// Has passwords compared; each answer comes as [`Mail::Verified`], unless time is up before.
    /// What stays in the list is to be brought again.
    pub fn ask(&self, owner: LoopId, checks: &mut Vec<PasswordCheck>) {
        let mut inbox = match self.inbox.try_lock() {
            Ok(inbox) => inbox,
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(_)) => unreachable!("no holder of this lock panics"),
        };
        let room = VERIFICATIONS_MAX.saturating_sub(inbox.jobs.len());
        // For those for whom there is no room, time will be up.
        checks.truncate(room);
        inbox
            .jobs
            .extend(checks.drain(..).map(|check| Job { owner, check }));
        drop(inbox);
        self.filled.notify_one();
    }

    /// Compares until closed.
    pub fn work(&self, peers: &Peers) {
        while let Some(Job { owner, check }) = self.next() {
            if check.deadline <= clock::mono() {
                // Its client is told by its own timer.
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
        lock(&self.inbox).closed = true;
        self.filled.notify_all();
    }

    /// The next password; waits until there is one.
    fn next(&self) -> Option<Job> {
        loop {
            let mut jobs = lock(&self.jobs);
            let mut inbox = lock(&self.inbox);
            if inbox.closed {
                return None;
            }
            let brought = std::mem::take(&mut inbox.jobs);
            if brought.is_empty() && jobs.is_empty() {
                drop(jobs);
                let _woken = self.filled.wait(inbox);
                continue;
            }
            drop(inbox);
            let room = VERIFICATIONS_MAX.saturating_sub(jobs.len());
            jobs.extend(brought.into_iter().take(room));
            let job = jobs.pop_front();
            if !jobs.is_empty() {
                self.filled.notify_one();
            }
            return job;
        }
    }

    fn take_same(&self, check: &PasswordCheck) -> VecDeque<Job> {
        let is_same =
            |job: &Job| job.check.hash == check.hash && job.check.password == check.password;
        let mut jobs = lock(&self.jobs);
        let (same, others) = jobs.drain(..).partition(is_same);
        *jobs = others;
        same
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

fn answer(peers: &Peers, owner: LoopId, check: &PasswordCheck, right: bool) {
    let mail = Mail::Verified {
        client: check.client,
        ticket: check.ticket,
        right,
    };
    let inbox = match owner {
        LoopId::CLUSTER => peers.cluster.as_ref(),
        LoopId(number) => peers.inboxes.get(usize::from(number)),
    };
    if let Some(inbox) = inbox
        && let Err(e) = inbox.send(mail)
    {
        error!("Error waking a loop: {e}");
    }
}
