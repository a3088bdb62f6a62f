//! Answers that wait until what they tell of is stored.

use crate::store::types::{LogIndex, StreamSeq};
use std::collections::VecDeque;

/// Answers in the order of the records that they wait for. Their bytes stand in one buffer, so that
/// none of them takes an allocation.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    /// For each entry the subject, and the bytes of the answer if it has any of its own.
    bytes: Vec<u8>,
    /// Bytes in front that are of no use any more.
    passed: usize,
    /// Bytes of the messages that all of them are about.
    held: usize,
}

#[derive(Debug)]
struct Entry {
    after: LogIndex,
    to: u32,
    body: u32,
    held: u32,
    kind: Answer,
}

/// What is to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// A message has this sequence; the body has what follows the sequence in the answer.
    Stored(StreamSeq),
    /// A message was there already, with this sequence.
    Duplicate(StreamSeq),
    /// The body, to who asked in the account of the stream.
    Body,
    /// The body, as an answer of the API.
    Api,
    /// The body, which is headers or nothing, in the account of the stream; to be left out if nothing
    /// is stored any more.
    Status,
    /// The body, which begins with so many bytes of headers, as an answer of the API or to who asked
    /// in the account of the stream.
    Told { headers: u32, by_api: bool },
}

/// An answer whose time has come.
#[derive(Debug)]
pub(super) struct Due<'w> {
    pub(super) to: &'w [u8],
    pub(super) body: &'w [u8],
    pub(super) kind: Answer,
}

/// Bytes without use from which on they are given up.
const PASSED_MAX: usize = 64 << 10;

impl Waiting {
    /// Adds an answer for when the log is stored up to `after`, which is not before that of the
    /// answers that wait already.
    pub(super) fn push(&mut self, after: LogIndex, to: &[u8], body: &[u8], kind: Answer) {
        self.bytes.extend_from_slice(to);
        self.bytes.extend_from_slice(body);
        let after = self.entries.back().map_or(after, |e| e.after.max(after));
        self.entries.push_back(Entry {
            held: 0,
            after,
            to: u32::try_from(to.len()).expect("subjects are short"),
            body: u32::try_from(body.len()).expect("answers are far below 4 GiB"),
            kind,
        });
    }

    /// Takes note of the size of the message that the last answer is about.
    pub(super) fn hold(&mut self, bytes: usize) {
        if let Some(entry) = self.entries.back_mut() {
            entry.held = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.held += entry.held as usize;
        }
    }

    /// Bytes of the messages that wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes the first answer, if its time has come.
    pub(super) fn pop(&mut self, stored: LogIndex) -> Option<Due<'_>> {
        let entry = self.entries.pop_front_if(|e| e.after <= stored)?;
        self.held -= entry.held as usize;
        let start = self.passed;
        let body = start + entry.to as usize;
        let end = body + entry.body as usize;
        self.passed = end;
        Some(Due {
            to: &self.bytes[start..body],
            body: &self.bytes[body..end],
            kind: entry.kind,
        })
    }

    /// Gives up memory; to be called when answers were taken.
    pub(super) fn tidy(&mut self) {
        if self.entries.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(PASSED_MAX);
            self.entries.shrink_to(PASSED_MAX / size_of::<Entry>());
            self.passed = 0;
        } else if self.passed > PASSED_MAX && self.passed > self.bytes.len() / 2 {
            self.bytes.drain(..self.passed);
            self.passed = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_when_their_time_has_come() {
        let mut waiting = Waiting::default();
        for n in 0..10_000 {
            let to = format!("inbox.{n}");
            waiting.push(
                LogIndex(n),
                to.as_bytes(),
                b"x",
                Answer::Stored(StreamSeq(n)),
            );
        }
        for stored in [10, 5000, 9998] {
            while let Some(due) = waiting.pop(LogIndex(stored)) {
                let Answer::Stored(StreamSeq(n)) = due.kind else {
                    panic!("{due:?}")
                };
                assert_eq!(
                    (due.to, due.body),
                    (format!("inbox.{n}").as_bytes(), &b"x"[..])
                );
            }
            waiting.tidy();
            assert_eq!(waiting.len() as u64, 9999 - stored);
        }
        // One that waits for less comes behind those before it.
        waiting.push(LogIndex(3), b"late", b"", Answer::Api);
        assert!(waiting.pop(LogIndex(9998)).is_none());
        assert!(waiting.pop(LogIndex(9999)).is_some());
        assert_eq!(waiting.pop(LogIndex(9999)).unwrap().to, b"late");
        waiting.tidy();
        assert!(waiting.is_empty() && waiting.bytes.is_empty());
    }
}
