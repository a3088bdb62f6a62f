//! What happens to a consumer, and how the log keeps it.
//!
//! A batch of events is a version, 1, and then rows, up to its end. A row begins with a number: its
//! kind, and times 16 how many events it stands for, less one. Then, by kind:
//!
//! | kind | events | what follows |
//! |---|---|---|
//! | 0 | delivered: messages with numbers one after the other, at the same time | stream, at, deadline |
//! | 1 | acked: the same | stream |
//! | 2 | terminated: the same | stream |
//! | 3 | redelivered: the same | stream, at, deadline |
//! | 4 | acked through | stream, consumer |
//! | 5 | rescheduled: the same | stream, deadline |
//! | 6 | skipped | stream |
//! | 7 | reset | stream, consumer |
//! | 8 | exhausted: messages with numbers one after the other | stream |
//!
//! Stream, the first of a row, is a step from the last one of the row before; consumer and at are
//! steps from those before. The deadline of a delivery is the wait from at until then, as a step
//! from the wait before; that of a rescheduled message is a step from the last at. All begin at 0. Numbers and
//! steps are those of [`varint`].

use super::{ConsumerSeq, Millis, Position};
use crate::store::index::StreamSeq;
use crate::store::index::varint::{self, Malformed, Reader};

/// Events in a batch.
pub const EVENTS_MAX: usize = 65_536;

const VERSION: u8 = 1;

/// What happens to a consumer. What its state comes to then is said by
/// [`ConsumerState::apply`](super::ConsumerState::apply).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message was delivered for the first time.
    Delivered {
        stream: StreamSeq,
        at: Millis,
        deadline: Millis,
    },
    /// A message was acknowledged, alone.
    Acked { stream: StreamSeq },
    /// A message will not be delivered any more, whether it was acknowledged or not: the client
    /// said so, or it is not in the stream any more.
    Terminated { stream: StreamSeq },
    /// A message was delivered again.
    Redelivered {
        stream: StreamSeq,
        at: Millis,
        deadline: Millis,
    },
    /// A message was acknowledged with all before it. The consumer sequence number is that of
    /// the delivery to which the client answered.
    AckedThrough {
        stream: StreamSeq,
        consumer: ConsumerSeq,
    },
    /// A message is to be delivered again at another time: it was refused, which may come with a
    /// delay, or is still being worked on.
    Rescheduled { stream: StreamSeq, deadline: Millis },
    /// Messages up to this one are not wanted, such as those that were purged.
    Skipped { stream: StreamSeq },
    /// The consumer begins anew behind this position.
    Reset { to: Position },
    /// A message was delivered as often as it may be. It waits no more, and stays in the stream.
    Exhausted { stream: StreamSeq },
}

/// Events of one kind, with what they have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    first: Event,
    count: u64,
}

/// What rows are relative to.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    stream: u64,
    consumer: u64,
    at: u64,
    wait: u64,
}

/// Puts events together for the log.
#[derive(Clone, Debug, Default)]
pub struct EventWriter {
    bytes: Vec<u8>,
    base: Base,
    /// The row that is not written yet.
    row: Option<Row>,
    len: usize,
}

impl EventWriter {
    /// A writer without events.
    pub fn new() -> EventWriter {
        EventWriter::default()
    }

    /// Adds an event, unless the batch is full; gives whether it did.
    #[must_use]
    pub fn push(&mut self, event: Event) -> bool {
        if self.len == EVENTS_MAX {
            return false;
        }
        self.len += 1;
        if let Some(row) = &mut self.row
            && row.first.later_by(row.count) == Some(event)
        {
            row.count += 1;
            return true;
        }
        self.flush();
        self.row = Some(Row {
            first: event,
            count: 1,
        });
        true
    }

    /// How many events were added.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The batch so far, to which more may be added.
    pub fn batch(&mut self) -> &[u8] {
        self.flush();
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
        }
        &self.bytes
    }

    /// The batch; the writer is empty then.
    pub fn take(&mut self) -> Vec<u8> {
        self.batch();
        std::mem::take(self).bytes
    }

    fn flush(&mut self) {
        let Some(Row { first, count }) = self.row.take() else {
            return;
        };
        let (out, base) = (&mut self.bytes, &mut self.base);
        if out.is_empty() {
            out.push(VERSION);
        }
        varint::put(out, (count - 1) << 4 | first.kind());
        let stream = first.stream().0;
        varint::put_step(out, base.stream, stream);
        base.stream = stream + (count - 1);
        match first {
            Event::Delivered { at, deadline, .. } | Event::Redelivered { at, deadline, .. } => {
                varint::put_step(out, base.at, at.get());
                base.at = at.get();
                let wait = deadline.get().wrapping_sub(base.at);
                varint::put_step(out, base.wait, wait);
                base.wait = wait;
            }
            Event::Rescheduled { deadline, .. } => varint::put_step(out, base.at, deadline.get()),
            Event::AckedThrough { consumer, .. }
            | Event::Reset {
                to: Position { consumer, .. },
            } => {
                varint::put_step(out, base.consumer, consumer.0);
                base.consumer = consumer.0;
            }
            Event::Acked { .. }
            | Event::Terminated { .. }
            | Event::Skipped { .. }
            | Event::Exhausted { .. } => {}
        }
    }
}

impl Event {
    fn kind(&self) -> u64 {
        match self {
            Event::Delivered { .. } => 0,
            Event::Acked { .. } => 1,
            Event::Terminated { .. } => 2,
            Event::Redelivered { .. } => 3,
            Event::AckedThrough { .. } => 4,
            Event::Rescheduled { .. } => 5,
            Event::Skipped { .. } => 6,
            Event::Reset { .. } => 7,
            Event::Exhausted { .. } => 8,
        }
    }

    fn stream(&self) -> StreamSeq {
        match *self {
            Event::Delivered { stream, .. }
            | Event::Acked { stream }
            | Event::Terminated { stream }
            | Event::Redelivered { stream, .. }
            | Event::AckedThrough { stream, .. }
            | Event::Rescheduled { stream, .. }
            | Event::Skipped { stream }
            | Event::Exhausted { stream }
            | Event::Reset {
                to: Position { stream, .. },
            } => stream,
        }
    }

    /// The same for the message that is `n` further on; `None` if there is none, or if rows of
    /// this kind have one event.
    fn later_by(mut self, n: u64) -> Option<Event> {
        match &mut self {
            Event::Delivered { stream, .. }
            | Event::Acked { stream }
            | Event::Terminated { stream }
            | Event::Redelivered { stream, .. }
            | Event::Rescheduled { stream, .. }
            | Event::Exhausted { stream } => stream.0 = stream.0.checked_add(n)?,
            _ if n == 0 => {}
            Event::AckedThrough { .. } | Event::Skipped { .. } | Event::Reset { .. } => {
                return None;
            }
        }
        Some(self)
    }
}

/// The events of a batch, read from bytes that nobody vouches for. Ends after the first error.
pub struct Events<'a> {
    reader: Reader<'a>,
    base: Base,
    row: Option<Row>,
    /// Events of the row that were handed out.
    taken: u64,
    /// How many more the batch may have.
    left: u64,
}

impl<'a> Events<'a> {
    /// Begins to read a batch.
    ///
    /// # Errors
    /// If it is of another version.
    pub fn new(batch: &'a [u8]) -> Result<Events<'a>, Malformed> {
        let mut reader = Reader::new(batch);
        if reader.byte("batch: version")? != VERSION {
            return Err(Malformed("batch: unknown version"));
        }
        Ok(Events {
            reader,
            base: Base::default(),
            row: None,
            taken: 0,
            left: EVENTS_MAX as u64,
        })
    }

    fn read_row(&mut self) -> Result<Row, Malformed> {
        let bad = Malformed("batch: event");
        let head = self.reader.number(bad.0)?;
        let more = head >> 4;
        if more >= self.left {
            return Err(Malformed("batch: too many events"));
        }
        self.left -= more + 1;
        let base = &mut self.base;
        let stream = StreamSeq(self.reader.step(base.stream, bad.0)?);
        base.stream = stream.0.checked_add(more).ok_or(bad)?;
        let mut timed = || {
            base.at = self.reader.step(base.at, bad.0)?;
            base.wait = self.reader.step(base.wait, bad.0)?;
            Ok((millis(base.at)?, millis(base.at.wrapping_add(base.wait))?))
        };
        let first = match head & 15 {
            0 => {
                let (at, deadline) = timed()?;
                Event::Delivered {
                    stream,
                    at,
                    deadline,
                }
            }
            1 => Event::Acked { stream },
            2 => Event::Terminated { stream },
            3 => {
                let (at, deadline) = timed()?;
                Event::Redelivered {
                    stream,
                    at,
                    deadline,
                }
            }
            5 => {
                let deadline = millis(self.reader.step(base.at, bad.0)?)?;
                Event::Rescheduled { stream, deadline }
            }
            6 => Event::Skipped { stream },
            8 => Event::Exhausted { stream },
            kind @ (4 | 7) => {
                base.consumer = self.reader.step(base.consumer, bad.0)?;
                let consumer = ConsumerSeq(base.consumer);
                if kind == 4 {
                    Event::AckedThrough { stream, consumer }
                } else {
                    Event::Reset {
                        to: Position { stream, consumer },
                    }
                }
            }
            _ => return Err(Malformed("batch: unknown kind of event")),
        };
        first.later_by(more).ok_or(bad)?;
        Ok(Row {
            first,
            count: more + 1,
        })
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.row.is_none_or(|row| row.count == self.taken) {
            if self.reader.is_empty() {
                return None;
            }
            match self.read_row() {
                Ok(row) => self.row = Some(row),
                Err(error) => {
                    self.reader = Reader::new(&[]);
                    self.row = None;
                    return Some(Err(error));
                }
            }
            self.taken = 0;
        }
        let event = self.row?.first.later_by(self.taken)?;
        self.taken += 1;
        Some(Ok(event))
    }
}

fn millis(n: u64) -> Result<Millis, Malformed> {
    if n > Millis::MAX.get() {
        return Err(Malformed("batch: time"));
    }
    Ok(Millis::new(n))
}
