//! A log that is written beside another one, in the same directory, to take its place.
//!
//! Its segments have numbers far behind those of the old one, and while it is not complete a file,
//! `<number>.reset`, tells from which number on segments are of no use. What makes it the stream's log is
//! a checkpoint that says that the log begins there.
//!
//! ```text
//!  N.reset ─> segments from N on, synced ─> checkpoints that begin at N ─> the old log goes, N.reset first
//! ```

use std::io;

use super::format::{Anew, SegmentHeader};
use super::known::LogStart;
use super::log::{Log, segment_number};
use super::options::Marks;
use super::subjects::Wanted;
use super::tail::Journaled;
use crate::store::disk::Entry;
use crate::store::error::{LogError, Reason, is_full};
use crate::store::types::{LogIndex, StreamSeq, Term};

/// Numbers that are left to the old log while the new one is written.
const APART: u64 = 1 << 32;

/// The file that says that segments from this number on are of no use yet.
fn marker(number: u64) -> String {
    format!("{number:016x}.reset")
}

/// The number that such a file's name stands for.
pub(super) fn marked(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".reset")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16 && number > 0).then_some(number)
}

impl Log {
    /// Begins a log whose first record has the index `first`, and a sequence behind `base`. A state of
    /// before `basis` is of no use for it.
    ///
    /// # Errors
    /// The log is as it was before.
    pub(in crate::store) fn begin_beside(
        &self,
        (first, base): (LogIndex, StreamSeq),
        term: Term,
        basis: LogIndex,
    ) -> Result<Log, LogError> {
        self.check()?;
        let last = self.active().header.last_number();
        let number = (last | (APART - 1)).checked_add(1);
        let number = number.ok_or(LogError::Disorder)?;
        let header = self.options.encrypted(SegmentHeader {
            records: self.options.records,
            stream: self.stream,
            number,
            first_index: first,
            base_sequence: base,
            term,
            generation: 0,
            chain: 0,
            key_salt: [0; 16],
            anew: Anew {
                basis,
                ..Anew::default()
            },
        });
        let path = self.dir.join(marker(number));
        let made = self.disk.create(&path, 1);
        let made = made.and_then(|_| self.disk.sync_dir(&self.dir));
        let made = made.and_then(|()| self.clear_from(number));
        let segment = made.and_then(|()| self.create(header, 0));
        let segment = segment.map_err(|e| match is_full(&e) {
            true => LogError::Full,
            false => LogError::Io(Reason::new("create", &path, &e)),
        })?;
        Ok(Log {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            stream: self.stream,
            options: self.options.clone(),
            sealed: vec![],
            open: [segment].into(),
            given_up: vec![],
            durable: first.previous(),
            likes_zeros: self.likes_zeros,
            journaled: Journaled::default(),
            hold: LogIndex(u64::MAX),
            failed: None,
            synced_at: self.synced_at,
            in_round: false,
            reads: 0,
            found: Default::default(),
            found_open: Default::default(),
            wanted: Wanted::Nothing,
            turn: self.turn,
            marks: Marks::default(),
            failures: vec![],
            rewriting: None,
            lock: self.lock.clone(),
        })
    }

    /// Removes what there is of a log that was begun beside this one and is given up. What cannot be
    /// removed goes when the log is opened.
    pub(in crate::store) fn forget_beside(&self, new: Log) {
        let number = new.start().segment;
        drop(new);
        if self.clear_from(number).is_ok() {
            let _ = self.disk.remove(&self.dir.join(marker(number)));
        }
    }

    /// Removes all segments from this number on, for good: what says that they are of no use is needed as
    /// long as one of them is there.
    fn clear_from(&self, number: u64) -> io::Result<()> {
        let mut removed = false;
        for entry in self.disk.list(&self.dir)? {
            if segment_number(&entry.name).is_some_and(|n| n >= number) {
                self.disk.remove(&self.dir.join(&entry.name))?;
                removed = true;
            }
        }
        match removed {
            true => self.disk.sync_dir(&self.dir),
            false => Ok(()),
        }
    }

    /// Puts another log, which a checkpoint on the disk names, in the place of this one. The files of
    /// this one go when [`Log::drop_segments_before`] is called.
    pub(in crate::store) fn give_way(&mut self, new: Log) {
        let mut old = std::mem::replace(self, new);
        self.journaled = old.journaled;
        self.forget_journaled();
        let marker = Entry {
            name: marker(self.start().segment),
            len: 0,
        };
        let files = old.files();
        self.given_up.push(marker);
        self.given_up.append(&mut old.given_up);
        self.given_up.extend(files);
        self.failures.append(&mut old.failures);
        self.synced_at = old.synced_at;
        self.in_round = false;
    }

    /// Where the log begins.
    pub(in crate::store) fn start(&self) -> LogStart {
        self.start_at(StreamSeq(0))
    }

    /// The files of all segments.
    fn files(&self) -> Vec<Entry> {
        let name = |number: u64| format!("{number:016x}.seg");
        let sealed = self.sealed.iter().map(|s| (s.number(), s.file_len));
        let open = self.open.iter();
        let open = open.map(|s| (s.header.number, u64::from(s.reserved)));
        let entry = |(number, len)| Entry {
            name: name(number),
            len,
        };
        sealed.chain(open).map(entry).collect()
    }
}
