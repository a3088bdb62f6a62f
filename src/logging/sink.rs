//! What log lines are written to, seen from the writer thread.

use std::io::{self, Write};
use std::sync::Arc;

use super::format::{Identity, Label, Style};
use crate::base::clock;

/// A place for log lines.
pub(super) trait Sink: Send {
    /// Writes the records and advances past what is written. After an error the rest is offered
    /// again. `voice` is for what the sink itself has to say.
    fn write(&mut self, records: &mut Records<'_>, voice: &Voice) -> io::Result<()>;

    /// Does what may help after an error: opens the file again, connects again. Whether a record
    /// that was written in part goes on where it stopped; it is written anew otherwise.
    fn recover(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Whether no later attempt can succeed after this error, so that waiting is in vain.
    fn is_final(&self, _error: &io::Error) -> bool {
        false
    }

    /// The place as told on stderr when it cannot be written. `None` if it is stderr.
    fn place(&self) -> Option<String> {
        None
    }
}

/// Some log lines, and how much of them is written.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    lines: &'a [u8],
    /// Where each record ends in `lines`.
    ends: &'a [u32],
    /// Records that are completely written.
    complete: usize,
    /// Bytes that are written, at least to the end of the last complete record.
    written: usize,
}

impl<'a> Records<'a> {
    /// All of `lines`, of which `ends` has the ends.
    pub(super) fn new(lines: &'a [u8], ends: &'a [u32]) -> Records<'a> {
        let (complete, written) = (0, 0);
        Records {
            lines,
            ends,
            complete,
            written,
        }
    }

    /// Records that are not completely written.
    pub(super) fn left(&self) -> usize {
        self.ends.len() - self.complete
    }

    /// What is to be written.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.lines[self.written..]
    }

    /// The rest of the record that is to be written next; empty after the last.
    pub(super) fn next(&self) -> &'a [u8] {
        let end = self.ends.get(self.complete).map(|end| *end as usize);
        &self.lines[self.written..end.unwrap_or(self.lines.len())]
    }

    /// The rest up to and with the first record that ends more than `room` bytes from here.
    pub(super) fn past(&self, room: u64) -> &'a [u8] {
        let ends = &self.ends[self.complete..];
        let within = ends.partition_point(|end| (*end as usize - self.written) as u64 <= room);
        match ends.get(within) {
            Some(end) => &self.lines[self.written..*end as usize],
            None => self.rest(),
        }
    }

    /// Notes that `len` bytes of the rest are written.
    pub(super) fn advance(&mut self, len: usize) {
        self.written += len;
        let ends = &self.ends[self.complete..];
        self.complete += ends.partition_point(|end| *end as usize <= self.written);
    }

    /// Whether the last record begun is complete.
    pub(super) fn is_between(&self) -> bool {
        self.written == self.start()
    }

    /// Goes back to the start of a record that was written in part.
    pub(super) fn rewind(&mut self) {
        self.written = self.start();
    }

    /// Where the next record starts.
    fn start(&self) -> usize {
        let last = self.complete.checked_sub(1).map(|i| self.ends[i] as usize);
        last.unwrap_or(0)
    }
}

/// How the writer and the sinks speak in the log.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) identity: Arc<Identity>,
    pub(super) style: Style,
}

impl Voice {
    /// A line of the log, newline included.
    pub(super) fn line(&self, label: Label, text: &str) -> String {
        let mut line = String::new();
        self.style
            .line(&mut line, &self.identity, clock::wall(), label, text);
        line
    }
}

/// Any writer as a sink: stderr.
pub(super) struct Stream<W>(pub(super) W);

impl<W: Write + Send> Sink for Stream<W> {
    fn write(&mut self, records: &mut Records<'_>, _: &Voice) -> io::Result<()> {
        while records.left() > 0 {
            let len = write_some(&mut self.0, records.rest())?;
            records.advance(len);
        }
        self.0.flush()
    }

    /// A pipe without a reader does not get one again.
    fn is_final(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes at least one of the bytes.
pub(super) fn write_some(out: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"one\nthree\nx\n";
    const ENDS: &[u32] = &[4, 10, 12];

    #[test]
    fn records_know_what_is_left() {
        let mut records = Records::new(LINES, ENDS);
        assert!(records.is_between());
        assert_eq!((records.next(), records.left()), (&b"one\n"[..], 3));
        records.advance(6);
        assert!(!records.is_between());
        assert_eq!((records.next(), records.left()), (&b"ree\n"[..], 2));
        assert_eq!(records.rest(), b"ree\nx\n");
        records.rewind();
        assert_eq!(records.next(), b"three\n");
        records.advance(8);
        assert_eq!((records.next(), records.left()), (&b""[..], 0));
        records.rewind();
        assert!(records.is_between() && records.rest().is_empty());
    }

    #[test]
    fn the_record_that_fills_the_room_is_part_of_it() {
        let mut records = Records::new(LINES, ENDS);
        for (room, past) in [(0, 4), (3, 4), (4, 10), (9, 10), (10, 12), (12, 12)] {
            assert_eq!(records.past(room).len(), past, "{room}");
        }
        records.advance(5);
        assert_eq!(records.past(0), b"hree\n");
        assert_eq!(records.past(5), b"hree\nx\n");
    }

    #[test]
    fn short_writes_are_continued() {
        struct Narrow(Vec<u8>);
        impl Write for Narrow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let len = bytes.len().min(3);
                self.0.extend_from_slice(&bytes[..len]);
                Ok(len)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let voice = Voice {
            identity: Arc::new(Identity::of(7)),
            style: Style::PLAIN,
        };
        let mut stream = Stream(Narrow(Vec::new()));
        let mut records = Records::new(LINES, ENDS);
        stream.write(&mut records, &voice).unwrap();
        assert_eq!((records.left(), &*stream.0.0), (0, LINES));
    }
}
