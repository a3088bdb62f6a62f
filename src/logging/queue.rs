//! Finished log lines on their way to the writer thread: a bounded buffer that never makes a
//! loop wait for a disk, a pipe or a terminal.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait, those being written included.
const BYTES_MAX: usize = 4 << 20;

/// The part of [`BYTES_MAX`] that debug and trace lines leave to the others.
const RESERVE: usize = 1 << 20;

/// A batch buffer above this many bytes is not kept after its batch.
const KEPT_MAX: usize = 256 << 10;

const _: () = assert!(RESERVE < BYTES_MAX && KEPT_MAX < BYTES_MAX);

/// How much a line matters when there is no room for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weight {
    /// Debug and trace lines, the first to go.
    Detail,
    /// Everything from information up, which has the reserve too.
    Event,
}

/// The queue between any number of loops and one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines, each with its newline.
    lines: Vec<u8>,
    /// Bytes that the writer has taken and not yet written.
    in_flight: usize,
    /// Lines dropped since the writer last took some.
    dropped: u64,
}

/// What the writer gets at a time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Whole lines, each with its newline.
    pub(super) lines: Vec<u8>,
    /// How many lines were dropped after these, for want of room.
    pub(super) dropped: u64,
}

impl Queue {
    /// Appends `line`, newline included, or counts it as dropped if there is no room. Never waits
    /// for the writer.
    pub(super) fn push(&self, line: &[u8], weight: Weight) {
        let mut state = self.lock();
        let limit = match weight {
            Weight::Detail => BYTES_MAX - RESERVE,
            Weight::Event => BYTES_MAX,
        };
        let was_empty = state.is_empty();
        if state.lines.len() + state.in_flight + line.len() > limit {
            state.dropped += 1;
        } else {
            state.lines.extend_from_slice(line);
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Waits for lines and takes them all, giving back the buffer of the batch before. To the
    /// writer only; that batch counts as written.
    pub(super) fn take(&self, mut buffer: Vec<u8>) -> Batch {
        buffer.clear();
        buffer.shrink_to(KEPT_MAX);
        let mut state = self.lock();
        state.in_flight = 0;
        if state.is_empty() {
            self.written.notify_all();
        }
        while state.is_empty() {
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let lines = mem::replace(&mut state.lines, buffer);
        state.in_flight = lines.len();
        Batch {
            lines,
            dropped: mem::take(&mut state.dropped),
        }
    }

    /// Waits until everything pushed so far is written, at most `patience`. Whether it is.
    pub(super) fn wait_written(&self, patience: Duration) -> bool {
        let unwritten = |state: &mut State| !state.is_empty() || state.in_flight > 0;
        let outcome = self
            .written
            .wait_timeout_while(self.lock(), patience, unwritten);
        !outcome
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .timed_out()
    }

    /// A panic elsewhere must not silence the log, so a poisoned lock is taken all the same: no
    /// statement under it leaves the state broken.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let queue = Queue::default();
        queue.push(b"one\n", Weight::Event);
        queue.push(b"two\n", Weight::Detail);
        assert_eq!(
            queue.take(Vec::new()),
            Batch {
                lines: b"one\ntwo\n".to_vec(),
                dropped: 0
            }
        );
    }

    #[test]
    fn details_are_dropped_first_and_all_drops_are_counted() {
        let queue = Queue::default();
        let line = vec![b'x'; 1 << 19];
        for _ in 0..8 {
            queue.push(&line, Weight::Detail);
        }
        let batch = queue.take(Vec::new());
        assert_eq!((batch.lines.len(), batch.dropped), (BYTES_MAX - RESERVE, 2));

        // The batch under way still counts: only the reserve is free.
        queue.push(&line, Weight::Detail);
        for _ in 0..3 {
            queue.push(&line, Weight::Event);
        }
        let batch = queue.take(batch.lines);
        assert_eq!((batch.lines.len(), batch.dropped), (RESERVE, 2));
    }

    #[test]
    fn drops_alone_wake_the_writer() {
        let queue = Queue::default();
        queue.push(&vec![b'x'; BYTES_MAX + 1], Weight::Event);
        assert_eq!(
            queue.take(Vec::new()),
            Batch {
                lines: Vec::new(),
                dropped: 1
            }
        );
    }

    #[test]
    fn waiting_ends_when_the_writer_comes_back_and_not_before() {
        let queue = Arc::new(Queue::default());
        assert!(queue.wait_written(Duration::ZERO), "nothing to write");
        queue.push(b"line\n", Weight::Event);
        assert!(
            !queue.wait_written(Duration::from_millis(1)),
            "nobody writes"
        );
        let batch = queue.take(Vec::new());
        assert!(
            !queue.wait_written(Duration::from_millis(1)),
            "still being written"
        );
        let writer = Arc::clone(&queue);
        let writer = thread::spawn(move || writer.take(batch.lines).lines);
        assert!(queue.wait_written(Duration::from_secs(10)));
        queue.push(b"end\n", Weight::Event);
        assert_eq!(writer.join().unwrap(), b"end\n");
    }
}
