//! Threads that do what takes time on the disk: syncs above all, each of which a loop would have to
//! wait for. The kernel merges the flushes of syncs that run at the same time, so that several
//! threads serve many streams several times as fast as one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Work for a thread of the pool. What it has to tell, it tells by itself.
type Task = Box<dyn FnOnce() + Send>;

/// The threads. They end when the pool is dropped, after all that was given to them is done.
#[derive(Debug)]
pub struct SyncPool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// What is to be done, for all threads of a pool.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    /// Threads that wait to be woken.
    idle: usize,
    ended: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

thread_local! {
    /// The address of the queue that this thread works for; 0 for none.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

impl SyncPool {
    /// A pool of so many threads, named `sync-0` and so on.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub fn new(threads: usize) -> io::Result<SyncPool> {
        SyncPool::named("sync", threads)
    }

    /// A pool of so many threads, named so and with a number.
    ///
    /// # Errors
    /// If a thread cannot be made.
    pub fn named(name: &str, threads: usize) -> io::Result<SyncPool> {
        let mut pool = SyncPool {
            queue: Arc::default(),
            threads: vec![],
        };
        for number in 0..threads.max(1) {
            let queue = pool.queue.clone();
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            pool.threads.push(thread.spawn(move || queue.work())?);
        }
        Ok(pool)
    }

    /// Lets a thread do this. A stream has a sync for each segment that is not complete, and two other
    /// tasks at most, which bounds the queue.
    ///
    /// Who calls this in a task of the same pool should have little left to do: the thread itself goes on
    /// with what it was given here, if that is all there is, as waking another one takes longer.
    pub fn run(&self, task: impl FnOnce() + Send + 'static) {
        let mut state = self.queue.lock();
        state.tasks.push_back(Box::new(task));
        let by_own = OWN.get() == self.queue.address();
        let wakes = state.idle > 0 && !(by_own && state.tasks.len() == 1);
        drop(state);
        if wakes {
            self.queue.wake.notify_one();
        }
    }
}

impl Drop for SyncPool {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn address(self: &Arc<Queue>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what there is to do, until the pool ends.
    fn work(self: &Arc<Queue>) {
        OWN.set(self.address());
        // A panic ends a thread; another one does what that has left.
        let _leaving = Leaving(self);
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                task();
                state = self.lock();
            } else if state.ended {
                return;
            } else {
                state.idle += 1;
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// Wakes others when a thread ends.
struct Leaving<'q>(&'q Queue);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{ThreadId, current};

    #[test]
    fn all_that_was_given_is_done_before_the_end() {
        let done = Arc::new(AtomicU32::new(0));
        let pool = SyncPool::new(3).unwrap();
        for _ in 0..100 {
            let done = done.clone();
            pool.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(pool);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    /// Tells its thread, and what it is.
    type Tell = Sender<(ThreadId, u32)>;

    /// What the tasks tell of a pool that never ends, when its threads wait for the first of them.
    fn told(
        threads: usize,
        first: impl FnOnce(&'static SyncPool, Tell) + Send + 'static,
    ) -> Receiver<(ThreadId, u32)> {
        let pool: &SyncPool = Box::leak(Box::new(SyncPool::new(threads).unwrap()));
        while pool.queue.lock().idle < threads {
            std::thread::yield_now();
        }
        let (sender, told) = channel();
        pool.run(move || first(pool, sender));
        told
    }

    #[test]
    fn a_thread_goes_on_with_what_it_has_left_itself() {
        let told = told(4, |pool, tell| {
            tell.send((current().id(), 1)).unwrap();
            pool.run(move || tell.send((current().id(), 2)).unwrap());
        });
        let (first, second) = (told.recv().unwrap(), told.recv().unwrap());
        assert_eq!((first.1, second.1), (1, 2));
        assert_eq!(first.0, second.0);
    }

    #[test]
    fn others_do_the_rest_of_what_a_thread_leaves() {
        let told = told(2, |pool, tell| {
            let (go_on, wait) = channel();
            let both = Arc::new(Barrier::new(2));
            for n in 1..=2 {
                let (tell, both, go_on) = (tell.clone(), both.clone(), go_on.clone());
                pool.run(move || {
                    tell.send((current().id(), n)).unwrap();
                    let _ = go_on.send(());
                    both.wait();
                });
            }
            // One of them is done while this one is not.
            wait.recv().unwrap();
        });
        let (first, second) = (told.recv().unwrap(), told.recv().unwrap());
        assert_ne!(first.0, second.0);
    }

    #[test]
    fn what_a_thread_that_panicked_has_left_is_done() {
        let told = told(2, |pool, tell| {
            pool.run(move || tell.send((current().id(), 1)).unwrap());
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert_eq!(told.recv().unwrap().1, 1);
    }
}
