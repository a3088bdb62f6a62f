//! Messages that are asked for one by one, or many at a time.

use super::Stream;
use crate::base::text::{Rfc3339, push_decimal};
use crate::jetstream::out::{Out, Outgoing};
use crate::store::error::LogError;
use crate::store::file::ReadBuffer;
use crate::store::index::{Filters, as_literal};
use crate::store::stream::{Found, Job, Message};
use crate::store::types::{StreamSeq, Timestamp};
use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

/// Subjects whose last messages can be asked for in one request.
const MULTI_MAX: usize = 1024;

/// Messages that one request to read many looks at before it gives up.
const LOOKS: usize = 1 << 20;

/// About the bytes of the headers that come with a message, without names.
const HEADERS: usize = 160;

/// Which message is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locator<'l> {
    /// The one with this sequence.
    Sequence(StreamSeq),
    /// The last one on a subject, which may have wildcards.
    LastOn(&'l [u8]),
    /// The first one from there on, on a subject that matches.
    NextOn(&'l [u8], StreamSeq),
}

/// Why there is no message.
#[derive(Debug)]
pub enum GetError {
    NotFound,
    /// The last messages of more subjects were asked for than may be.
    TooMany,
    Store(LogError),
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::NotFound => f.write_str("no message found"),
            GetError::TooMany => f.write_str("too many subjects"),
            GetError::Store(error) => error.fmt(f),
        }
    }
}

impl From<LogError> for GetError {
    fn from(error: LogError) -> GetError {
        match error {
            LogError::Absent => GetError::NotFound,
            error => GetError::Store(error),
        }
    }
}

/// A message that was found.
pub type Got<'b> = Message<'b>;

impl Stream {
    /// The first message that is not older than a time.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn first_at(&mut self, time: Timestamp) -> Result<StreamSeq, LogError> {
        self.store.first_at(time)
    }

    /// Reads a message that may be seen.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn get<'b>(
        &mut self,
        locator: Locator<'_>,
        buffer: &'b mut ReadBuffer,
    ) -> Result<Got<'b>, GetError> {
        let upto = self.visible;
        match locator {
            Locator::Sequence(sequence) if sequence <= upto => {
                Ok(self.store.read(sequence, buffer)?)
            }
            Locator::Sequence(_) => Err(GetError::NotFound),
            Locator::LastOn(subject) if as_literal(subject).is_some() => {
                Ok(self.store.last_on(subject, upto, buffer)?)
            }
            Locator::LastOn(subject) => {
                let filters = Filters::new([subject]).map_err(|_| GetError::NotFound)?;
                let all = self.store.last_on_each(&filters, upto, usize::MAX);
                let last = all.and_then(|all| all.last().copied());
                Ok(self.store.read(last.ok_or(GetError::NotFound)?, buffer)?)
            }
            Locator::NextOn(subject, from) => {
                let filters = match subject {
                    b"" | b">" => Filters::all(),
                    subject => Filters::new([subject]).map_err(|_| GetError::NotFound)?,
                };
                let (mut budget, mut from) = (LOOKS, from);
                let sequence = loop {
                    match self.store.next(&filters, from, upto, &mut budget, buffer)? {
                        Found::Message(message) => break message.record.sequence,
                        // A damaged message was passed over.
                        Found::Paused(next) if budget > 0 => from = next,
                        Found::Paused(_) | Found::End => return Err(GetError::NotFound),
                    }
                };
                Ok(self.store.read(sequence, buffer)?)
            }
        }
    }

    /// Hands over messages of a range one after the other, at most so many of them and about so
    /// many bytes. Gives the first that was not handed over; `None` if that is being brought into
    /// memory.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn read_from(
        &mut self,
        (from, upto): (StreamSeq, StreamSeq),
        (messages, bytes): (usize, usize),
        each: impl FnMut(&Got<'_>) -> ControlFlow<()>,
        buffer: &mut ReadBuffer,
    ) -> Result<Option<StreamSeq>, LogError> {
        let store = &mut self.store;
        match store.read_from(from, upto, messages, bytes, buffer, each) {
            Ok(next) => Ok(Some(next)),
            Err(LogError::Cold(job)) => {
                self.warm.push(Job::Warm(*job));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The sequences of the last messages on all subjects that match.
    ///
    /// # Errors
    /// If they are too many.
    pub fn last_on_each(
        &mut self,
        subjects: &[String],
        upto: StreamSeq,
    ) -> Result<Vec<StreamSeq>, GetError> {
        let filters = Filters::new(subjects.iter().map(|s| s.as_bytes()));
        let filters = filters.map_err(|_| GetError::NotFound)?;
        let upto = upto.min(self.visible);
        let all = self.store.last_on_each(&filters, upto, MULTI_MAX);
        all.ok_or(GetError::TooMany)
    }

    /// How many messages match from `from` on.
    pub fn count(&self, subject: &[u8], from: StreamSeq) -> u64 {
        let filters = match subject {
            b"" | b">" => Ok(Filters::all()),
            subject => Filters::new([subject]),
        };
        filters.map_or(0, |filters| self.store.count(&filters, from).messages)
    }

    /// The subject of a message; empty if there is none.
    pub fn subject_of(&mut self, sequence: StreamSeq) -> Vec<u8> {
        match self.store.read(sequence, &mut self.buffer) {
            Ok(stored) => stored.record.subject.to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// The last message that may be seen.
    pub fn visible(&self) -> StreamSeq {
        self.visible
    }

    /// Sends the last message on a subject to who asked for it, as [`Stream::send_direct`] does.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn send_last<O: Out>(
        &mut self,
        subject: &[u8],
        to: &[u8],
        out: &mut O,
    ) -> Result<(), GetError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let got = self.get(Locator::LastOn(subject), &mut buffer);
        let sent = got.map(|got| self.send_direct(to, &got, None, false, out));
        self.buffer = buffer;
        sent
    }

    /// Sends a message to who asked for it, with where it is from in its headers; `counts` is what
    /// stands with each of several.
    pub fn send_direct<O: Out>(
        &self,
        to: &[u8],
        message: &Got<'_>,
        counts: Option<(u64, StreamSeq)>,
        plain: bool,
        out: &mut O,
    ) {
        let record = &message.record;
        let mut headers = Vec::new();
        if !plain || counts.is_some() {
            let block = match record.headers.strip_suffix(b"\r\n") {
                Some(block) if !plain => block,
                _ => b"NATS/1.0\r\n",
            };
            headers.reserve(block.len() + HEADERS + self.config.name.len() + record.subject.len());
            headers.extend_from_slice(block);
            let time = Rfc3339(UNIX_EPOCH + Duration::from_nanos(record.timestamp.0));
            for (name, value) in [
                (&b"Nats-Stream: "[..], self.config.name.as_bytes()),
                (b"\r\nNats-Subject: ", record.subject),
            ] {
                headers.extend_from_slice(name);
                headers.extend_from_slice(value);
            }
            headers.extend_from_slice(b"\r\nNats-Sequence: ");
            push_decimal(&mut headers, record.sequence.0);
            write!(headers, "\r\nNats-Time-Stamp: {time}").expect("a Vec takes all");
            if let Some((pending, last)) = counts {
                headers.extend_from_slice(b"\r\nNats-Num-Pending: ");
                push_decimal(&mut headers, pending);
                headers.extend_from_slice(b"\r\nNats-Last-Sequence: ");
                push_decimal(&mut headers, last.0);
            }
            headers.extend_from_slice(b"\r\n\r\n");
        }
        let outgoing = Outgoing {
            headers: &headers,
            ..Outgoing::plain(to, record.payload)
        };
        out.send(&self.account, &outgoing);
    }
}
