//! Backups that a Go server before 2.15 made, which are the files of its store: what becomes of each
//! of them.
//!
//! ```text
//! meta.inf · meta.sum · msgs/<n>.blk · msgs/index.db · obs/<consumer>/meta.inf · .../meta.sum · .../o.dat
//! ```
//!
//! Servers before 2.10 have `msgs/<n>.idx`, too. Messages are taken in as their blocks come; those
//! that are deleted are removed at the end, as that stands behind.

use super::restorer::{Failure, Restorer, fault};
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::backup::archive::{DOCUMENT_MAX, Entry};
use crate::jetstream::backup::blocks::{self, BlockReader, Kind};
use crate::jetstream::backup::consumers::SavedConsumer;
use crate::jetstream::backup::tar::{Part, Reader};
use crate::json::Time;
use crate::store::stream::Purge;
use crate::store::types::{StreamSeq, Timestamp};
use std::collections::BTreeMap;

/// Messages whose deletion is remembered.
const DELETED_MAX: usize = 32 << 20;

/// Bytes of what is kept of consumers until the end.
const KEPT_MAX: usize = 256 << 20;

/// The files, as they come.
#[derive(Default)]
pub(super) struct Files {
    reader: Reader,
    file: File,
    /// The stream's metadata, until its sum has come.
    meta: Vec<u8>,
    is_checked: bool,
    /// By the number of the block, messages before which are not there any more.
    firsts: BTreeMap<u64, u64>,
    deleted: Vec<u64>,
    /// The sequences that the stream has used.
    last: u64,
    /// The first message, and the last, as the state of the stream has them.
    state: Option<(u64, u64)>,
    consumers: BTreeMap<String, Kept>,
    kept: usize,
}

/// The files of a consumer.
#[derive(Default)]
struct Kept {
    meta: Vec<u8>,
    sum: Vec<u8>,
    state: Vec<u8>,
}

/// The file that comes.
#[derive(Default)]
enum File {
    #[default]
    None,
    Block(u64, BlockReader),
    /// One that is of use when all of it is there.
    Whole(String, Vec<u8>),
    Unknown,
}

impl Files {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
    }

    /// Takes in what has come.
    pub(super) fn take_all(&mut self, into: &mut Restorer, now: Timestamp) -> Result<(), Failure> {
        while let Some(part) = self.reader.next_part()? {
            match part {
                Part::Begin(name, size) => self.begin(&name, size, into)?,
                Part::Bytes(bytes) => match &mut self.file {
                    File::Block(index, reader) => {
                        reader.feed(&bytes);
                        let first = self.firsts.get(index).copied().unwrap_or(0);
                        while let Some(record) = reader.next_record()? {
                            self.last = self.last.max(record.sequence);
                            let Kind::Message {
                                subject,
                                headers,
                                payload,
                            } = record.kind
                            else {
                                self.deleted.push(record.sequence);
                                continue;
                            };
                            let entry = Entry {
                                name: subject,
                                timestamp: record.timestamp,
                                sequence: record.sequence,
                                headers,
                                payload,
                            };
                            let last = into.store()?.state().last;
                            // Those that stand there twice were taken in.
                            if record.sequence >= first && record.sequence > last.0 {
                                into.add_message(&entry, now)?;
                            }
                        }
                    }
                    File::Whole(_, whole) => whole.extend_from_slice(&bytes),
                    File::None | File::Unknown => {}
                },
                Part::End => self.end(into)?,
            }
            if self.deleted.len() > DELETED_MAX {
                return Err(fault("too many messages are deleted"));
            }
        }
        Ok(())
    }

    fn begin(&mut self, name: &str, size: u64, into: &Restorer) -> Result<(), Failure> {
        let number = |suffix: &str| -> Option<u64> {
            let number = name.strip_prefix("msgs/")?.strip_suffix(suffix)?;
            number.parse().ok()
        };
        if let Some(index) = number(".blk") {
            if !self.is_checked {
                return Err(fault("messages come before meta.inf"));
            }
            let stream = &into.plan.config.name;
            self.file = File::Block(index, BlockReader::new(stream, index));
            return Ok(());
        }
        let of_consumer = name
            .strip_prefix("obs/")
            .and_then(|rest| rest.split_once('/'));
        let is_known = matches!(name, "meta.inf" | "meta.sum" | "msgs/index.db")
            || number(".idx").is_some()
            || of_consumer
                .is_some_and(|(_, file)| matches!(file, "meta.inf" | "meta.sum" | "o.dat"));
        if is_known && size > DOCUMENT_MAX {
            return Err(fault("a file of the backup is too large"));
        }
        self.file = match is_known {
            true => File::Whole(name.to_owned(), Vec::new()),
            // Servers keep more than what they need.
            false if name.starts_with("msgs/") => File::Unknown,
            false => return Err(fault("unexpected content")),
        };
        Ok(())
    }

    fn end(&mut self, into: &mut Restorer) -> Result<(), Failure> {
        let (name, bytes) = match std::mem::take(&mut self.file) {
            File::Block(_, reader) if reader.is_torn() => {
                return Err(fault("a message block is damaged"));
            }
            File::Block(..) | File::None | File::Unknown => return Ok(()),
            File::Whole(name, bytes) => (name, bytes),
        };
        let stream = &into.plan.config.name;
        match &*name {
            "meta.inf" => self.meta = bytes,
            "meta.sum" => self.check_meta(&bytes, into)?,
            "msgs/index.db" => self.state = blocks::stream_state(stream, &bytes),
            name if name.starts_with("msgs/") => {
                let index = blocks::block_index(&bytes)?;
                let number = name["msgs/".len()..name.len() - ".idx".len()].parse();
                self.firsts.insert(number.unwrap_or(0), index.first);
                self.deleted.extend(index.deleted);
                self.last = self.last.max(index.last);
            }
            name => {
                let Some((consumer, file)) = name["obs/".len()..].split_once('/') else {
                    return Ok(());
                };
                self.kept += bytes.len();
                if self.kept > KEPT_MAX {
                    return Err(fault("its consumers are too large"));
                }
                let kept = self.consumers.entry(consumer.to_owned()).or_default();
                match file {
                    "meta.inf" => kept.meta = bytes,
                    "meta.sum" => kept.sum = bytes,
                    _ => kept.state = bytes,
                }
            }
        }
        Ok(())
    }

    /// The stream's metadata is whole.
    fn check_meta(&mut self, sum: &[u8], into: &mut Restorer) -> Result<(), Failure> {
        let meta = std::mem::take(&mut self.meta);
        let stream = into.plan.config.name.clone();
        check_sum(&stream, &meta, sum)?;
        let found = header(&meta)?;
        if found.name != stream {
            return Err(fault("stream names do not match"));
        }
        if let Ok(created) = Time::parse(&found.created)
            && !created.is_zero()
        {
            into.plan.created = created;
        }
        self.is_checked = true;
        into.begin(StreamSeq(1))
    }

    /// All has come; says whether that is so.
    pub(super) fn finish(mut self, into: &mut Restorer) -> Result<bool, Failure> {
        // The last blocks of the archive are of no interest, and need not be there.
        if !self.is_checked || !matches!(self.file, File::None) || !self.reader.has_ended() {
            return Ok(false);
        }
        let store = into.store()?;
        while store.work(1 << 16) {}
        self.deleted.sort_unstable();
        self.deleted.dedup();
        for sequence in self.deleted {
            store.delete(StreamSeq(sequence))?;
        }
        let (first, last) = self.state.unwrap_or((0, 0));
        let last = StreamSeq(self.last.max(last));
        if store.state().last < last {
            store.skip_to(last)?;
        }
        if store.state().first.0 < first && first <= last.0 + 1 {
            store.purge(&Purge {
                upto: StreamSeq(first - 1),
                keep: 0,
                filter: vec![],
            })?;
            while store.work(1 << 16) {}
        }
        let stream = into.plan.config.name.clone();
        for (name, kept) in self.consumers {
            let failed = |what: &dyn std::fmt::Display| {
                fault(format!("error restoring consumer [{name:?}]: {what}"))
            };
            check_sum(&format!("{stream}/{name}"), &kept.meta, &kept.sum)?;
            let config: ConsumerConfig =
                crate::json::decode::document(&kept.meta).map_err(|e| failed(&e))?;
            let state = match kept.state.is_empty() {
                true => return Err(failed(&"there is no state")),
                false => blocks::consumer_state(&kept.state)?,
            };
            into.add_consumer(&name, SavedConsumer { config, state })?;
        }
        Ok(true)
    }
}

/// What stands beside a stream's configuration, and its name.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Header {
    #[serde(rename = "Created")]
    created: String,
    name: String,
}

fn header(meta: &[u8]) -> Result<Header, Failure> {
    serde_json::from_slice(meta).map_err(|e| fault(format!("error in meta.inf: {e}")))
}

fn check_sum(name: &str, meta: &[u8], found: &[u8]) -> Result<(), Failure> {
    let sum = data_encoding::HEXLOWER.encode(&blocks::sum(name, &[meta]));
    match !meta.is_empty() && found.trim_ascii() == sum.as_bytes() {
        true => Ok(()),
        false => Err(fault("the sum of meta.inf is wrong")),
    }
}
