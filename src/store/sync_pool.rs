//! Threads that do what takes time on the disk: syncs above all, each of which a loop would have to
//! wait for. The kernel merges the flushes of syncs that run at the same time, so that several
//! threads serve many streams several times as fast as one.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Work for a thread of the pool. What it has to tell, it tells by itself.
type Task = Box<dyn FnOnce() + Send>;

/// The threads. They end when the pool is dropped, after all that was given to them is done.
#[derive(Debug)]
pub struct SyncPool {
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
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
        let (tasks, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = SyncPool {
            tasks: Some(tasks),
            threads: vec![],
        };
        for number in 0..threads.max(1) {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            pool.threads.push(thread.spawn(move || work(&queue))?);
        }
        Ok(pool)
    }

    /// Lets a thread do this. A stream has a sync for each segment that is not complete, and two other
    /// tasks at most, which bounds the queue.
    pub fn run(&self, task: impl FnOnce() + Send + 'static) {
        if let Some(tasks) = &self.tasks {
            // Threads wait for tasks as long as there is a pool; a panic in one ends it, and the
            // others go on.
            let _ = tasks.send(Box::new(task));
        }
    }
}

impl Drop for SyncPool {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Task>>) {
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Ok(task) => task(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

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
}
