//! Finished log lines on their way to the writer thread: a bounded buffer that never makes a
//! loop wait for a disk, a pipe or a terminal.
//!
//! A change of the log takes its place between the lines: what was pushed before it is written as
//! before it, and from then on only lines in the new style are taken.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::format::Style;
use super::sink::{Records, Sink};

/// Bytes that may wait, those being written included.
const BYTES_MAX: usize = 4 << 20;

/// The part of [`BYTES_MAX`] that debug and trace lines leave to the others.
const RESERVE: usize = 1 << 20;

/// A batch buffer above this many bytes is not kept after its batch.
const KEPT_MAX: usize = 256 << 10;

/// Changes that may wait. Each may hold an open file.
const CHANGES_MAX: usize = 16;

const _: () = assert!(RESERVE < BYTES_MAX && KEPT_MAX < BYTES_MAX);
const _: () = assert!(BYTES_MAX <= u32::MAX as usize);

/// How much a line matters when there is no room for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weight {
    /// Debug and trace lines, the first to go.
    Detail,
    /// Everything from information up, which has the reserve too.
    Event,
}

/// A change of the log.
pub(super) struct Change {
    /// The style of the lines that follow.
    pub(super) style: Style,
    pub(super) route: Route,
}

/// Where lines go after a change.
pub(super) enum Route {
    /// Where they went.
    Stays,
    /// To the same place, opened anew: lines that were not written yet may go there too.
    Renewed(Box<dyn Sink>),
    /// To another place.
    Moves(Box<dyn Sink>),
}

impl Change {
    /// Whether the lines before the change may be written after it.
    pub(super) fn may_come_early(&self) -> bool {
        !matches!(self.route, Route::Moves(_))
    }
}

/// So many changes wait for the writer that it must be stuck.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stuck;

/// What a writer that cannot write learns about the future.
pub(super) enum Ahead {
    /// Nothing happened.
    Quiet,
    /// A change that is to be made now.
    Early(Change),
    /// The log moves to another place: what cannot be written by now is lost.
    Moves,
}

/// The queue between any number of loops and one writer.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
}

struct State {
    /// What lies between changes, oldest first; each ends with its change.
    closed: VecDeque<Batch>,
    /// What came after the last change.
    open: Batch,
    /// The style of the lines in `open`.
    style: Style,
    /// Bytes of lines in `closed`.
    closed_len: usize,
    /// Bytes that the writer has taken and not yet written.
    in_flight: usize,
    /// Whether the writer is at work.
    busy: bool,
}

/// What the writer gets at a time.
#[derive(Default)]
pub(super) struct Batch {
    /// Whole lines, each with its newline.
    lines: Vec<u8>,
    /// Where each line ends.
    ends: Vec<u32>,
    /// How many lines were dropped after these, for want of room.
    pub(super) dropped: u64,
    /// What is to be changed after these.
    pub(super) change: Option<Change>,
}

impl Queue {
    /// An empty queue for lines in this style.
    pub(super) fn new(style: Style) -> Queue {
        Queue {
            state: Mutex::new(State {
                closed: VecDeque::new(),
                open: Batch::default(),
                style,
                closed_len: 0,
                in_flight: 0,
                busy: false,
            }),
            filled: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Appends `line`, newline included, or counts it as dropped if there is no room. Never waits
    /// for the writer.
    ///
    /// # Errors
    /// The line is in another style than the returned one, which is in force, and was not taken.
    pub(super) fn push(&self, line: &[u8], weight: Weight, style: Style) -> Result<(), Style> {
        let mut state = self.lock();
        if style != state.style {
            return Err(state.style);
        }
        let limit = match weight {
            Weight::Detail => BYTES_MAX - RESERVE,
            Weight::Event => BYTES_MAX,
        };
        let was_empty = state.is_empty();
        let held = state.closed_len + state.open.lines.len() + state.in_flight;
        if held + line.len() > limit {
            state.open.dropped += 1;
        } else {
            state.open.push(line);
        }
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Puts a change behind all lines so far.
    pub(super) fn change(&self, change: Change) -> Result<(), Stuck> {
        let mut guard = self.lock();
        let state = &mut *guard;
        // A batch whose change came early takes the lines behind it.
        let ended_early = |batch: &mut Batch| batch.change.is_none();
        let mut last = match state.closed.pop_back_if(ended_early) {
            Some(batch) => batch,
            None if state.closed.len() >= CHANGES_MAX => return Err(Stuck),
            None => Batch::default(),
        };
        state.style = change.style;
        state.closed_len += state.open.lines.len();
        last.append(&mut state.open);
        last.change = Some(change);
        state.closed.push_back(last);
        drop(guard);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for lines or a change, and takes all lines up to the first change, giving back the
    /// buffers of the batch before. To the writer only; that batch counts as done.
    pub(super) fn take(&self, mut done: Batch) -> Batch {
        done.clear();
        let mut state = self.lock();
        state.in_flight = 0;
        state.busy = false;
        if state.is_empty() {
            self.written.notify_all();
        }
        while state.is_empty() {
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let batch = match state.closed.pop_front() {
            Some(batch) => {
                state.closed_len -= batch.lines.len();
                batch
            }
            None => mem::replace(&mut state.open, done),
        };
        state.in_flight = batch.lines.len();
        state.busy = true;
        batch
    }

    /// Waits for a change, at most `patience`. To the writer, when it cannot write what it has.
    pub(super) fn wait_change(&self, patience: Duration) -> Ahead {
        let without = |state: &mut State| state.closed.iter().all(|b| b.change.is_none());
        let (mut state, _) = self
            .filled
            .wait_timeout_while(self.lock(), patience, without)
            .unwrap_or_else(PoisonError::into_inner);
        let mut waiting = state.closed.iter_mut().map(|batch| &mut batch.change);
        match waiting.find(|change| change.is_some()) {
            None => Ahead::Quiet,
            Some(change) => match change.take_if(|change| change.may_come_early()) {
                Some(change) => Ahead::Early(change),
                None => Ahead::Moves,
            },
        }
    }

    /// Waits until everything pushed so far is written, at most `patience`. Whether it is.
    pub(super) fn wait_written(&self, patience: Duration) -> bool {
        let unwritten = |state: &mut State| !state.is_empty() || state.busy;
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
        self.closed.is_empty() && self.open.lines.is_empty() && self.open.dropped == 0
    }
}

impl Batch {
    /// Appends a line, newline included.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        // The queue takes no more than an u32 can count.
        let end = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        self.ends.push(end);
    }

    /// Takes all that `other` has but its change.
    fn append(&mut self, other: &mut Batch) {
        let before = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        self.lines.append(&mut other.lines);
        self.ends
            .extend(other.ends.drain(..).map(|end| end.saturating_add(before)));
        self.dropped += mem::take(&mut other.dropped);
    }

    /// The lines, to be written.
    pub(super) fn records(&self) -> Records<'_> {
        Records::new(&self.lines, &self.ends)
    }

    /// Leaves empty buffers of a sensible size.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.lines.shrink_to(KEPT_MAX);
        self.ends.clear();
        self.ends.shrink_to(KEPT_MAX / size_of::<u32>());
        self.dropped = 0;
        self.change = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::thread;

    use super::super::sink::Voice;
    use super::*;
    use crate::options::LogFormat;

    const JSON: Style = Style {
        format: LogFormat::Json,
        ..Style::PLAIN
    };

    struct Nowhere;

    impl Sink for Nowhere {
        fn write(&mut self, _: &mut Records<'_>, _: &Voice) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> Queue {
        Queue::new(Style::PLAIN)
    }

    fn push(queue: &Queue, line: &[u8], weight: Weight) {
        queue.push(line, weight, Style::PLAIN).unwrap();
    }

    fn change(style: Style, route: Route) -> Change {
        Change { style, route }
    }

    fn take(queue: &Queue) -> (Vec<u8>, u64) {
        let batch = queue.take(Batch::default());
        (batch.lines, batch.dropped)
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let queue = queue();
        push(&queue, b"one\n", Weight::Event);
        push(&queue, b"three\n", Weight::Detail);
        let batch = queue.take(Batch::default());
        assert_eq!(batch.lines, b"one\nthree\n");
        assert_eq!(batch.ends, [4, 10]);
        assert_eq!(batch.dropped, 0);
    }

    #[test]
    fn details_are_dropped_first_and_all_drops_are_counted() {
        let queue = queue();
        let line = vec![b'x'; 1 << 19];
        for _ in 0..8 {
            push(&queue, &line, Weight::Detail);
        }
        let batch = queue.take(Batch::default());
        assert_eq!((batch.lines.len(), batch.dropped), (BYTES_MAX - RESERVE, 2));

        // The batch under way still counts: only the reserve is free.
        push(&queue, &line, Weight::Detail);
        for _ in 0..3 {
            push(&queue, &line, Weight::Event);
        }
        let batch = queue.take(batch);
        assert_eq!((batch.lines.len(), batch.dropped), (RESERVE, 2));
    }

    #[test]
    fn lines_before_a_change_count_too() {
        let queue = queue();
        let line = vec![b'x'; BYTES_MAX];
        push(&queue, &line, Weight::Event);
        queue.change(change(Style::PLAIN, Route::Stays)).unwrap();
        push(&queue, b"y", Weight::Event);
        assert_eq!(take(&queue), (line, 0));
        push(&queue, b"y", Weight::Event);
        assert_eq!(take(&queue), (Vec::new(), 2));
        push(&queue, b"y", Weight::Event);
        assert_eq!(take(&queue), (b"y".to_vec(), 0));
    }

    #[test]
    fn drops_alone_wake_the_writer() {
        let queue = queue();
        push(&queue, &vec![b'x'; BYTES_MAX + 1], Weight::Event);
        assert_eq!(take(&queue), (Vec::new(), 1));
    }

    #[test]
    fn a_change_stands_between_the_lines_and_sets_the_style() {
        let queue = queue();
        push(&queue, b"old\n", Weight::Event);
        queue.change(change(JSON, Route::Stays)).unwrap();
        assert_eq!(
            queue.push(b"late\n", Weight::Event, Style::PLAIN),
            Err(JSON)
        );
        queue.push(b"new\n", Weight::Event, JSON).unwrap();
        let batch = queue.take(Batch::default());
        assert_eq!(batch.lines, b"old\n");
        assert!(batch.change.is_some_and(|change| change.style == JSON));
        let batch = queue.take(Batch::default());
        assert_eq!(batch.lines, b"new\n");
        assert!(batch.change.is_none());
    }

    #[test]
    fn a_writer_in_trouble_hears_of_changes() {
        let queue = queue();
        push(&queue, b"one\n", Weight::Event);
        let batch = queue.take(Batch::default());
        push(&queue, b"two\n", Weight::Event);
        assert!(matches!(queue.wait_change(Duration::ZERO), Ahead::Quiet));
        let renewed = Route::Renewed(Box::new(Nowhere));
        queue.change(change(Style::PLAIN, renewed)).unwrap();
        push(&queue, b"three\n", Weight::Event);
        let moves = Route::Moves(Box::new(Nowhere));
        queue.change(change(Style::PLAIN, moves)).unwrap();
        // What renews the place is handed out at once, what leaves it waits for its turn.
        let patience = Duration::from_secs(10);
        assert!(matches!(queue.wait_change(patience), Ahead::Early(_)));
        assert!(matches!(queue.wait_change(patience), Ahead::Moves));
        assert!(matches!(queue.wait_change(patience), Ahead::Moves));
        let batch = queue.take(batch);
        assert!(batch.lines == b"two\n" && batch.change.is_none());
        let batch = queue.take(batch);
        assert!(batch.lines == b"three\n" && batch.change.is_some());
    }

    #[test]
    fn changes_are_bounded() {
        let queue = queue();
        for _ in 0..CHANGES_MAX {
            queue.change(change(Style::PLAIN, Route::Stays)).unwrap();
        }
        assert_eq!(queue.change(change(JSON, Route::Stays)), Err(Stuck));
        // A change that was refused changes nothing.
        push(&queue, b"line\n", Weight::Event);
        // Those that come early make room.
        let queue = self::queue();
        for _ in 0..3 * CHANGES_MAX {
            push(&queue, b"line\n", Weight::Event);
            queue.change(change(Style::PLAIN, Route::Stays)).unwrap();
            assert!(matches!(queue.wait_change(Duration::ZERO), Ahead::Early(_)));
        }
        let batch = queue.take(Batch::default());
        assert_eq!(batch.records().left(), 3 * CHANGES_MAX);
        assert_eq!(batch.records().next(), b"line\n");
    }

    #[test]
    fn waiting_ends_when_the_writer_comes_back_and_not_before() {
        let queue = Arc::new(queue());
        assert!(queue.wait_written(Duration::ZERO), "nothing to write");
        push(&queue, b"line\n", Weight::Event);
        assert!(
            !queue.wait_written(Duration::from_millis(1)),
            "nobody writes"
        );
        let batch = queue.take(Batch::default());
        assert!(
            !queue.wait_written(Duration::from_millis(1)),
            "still being written"
        );
        let writer = Arc::clone(&queue);
        let writer = thread::spawn(move || writer.take(batch).lines);
        assert!(queue.wait_written(Duration::from_secs(10)));
        push(&queue, b"end\n", Weight::Event);
        assert_eq!(writer.join().unwrap(), b"end\n");
    }
}
