//! What a checkpoint says, and its bytes.

use std::io;
use std::sync::Arc;

use super::consumers::Consumers;
use super::orders::Limits;
use super::purge::Purging;
use super::state::State;
use super::timers::Timers;
use crate::store::crypt::{KeyFault, StreamKey};
use crate::store::file::LogStart;
use crate::store::file::format::{
    CHECKPOINT_SIZED, Container, ContainerKind, FormatError, Opened, VERSION,
};
use crate::store::index::varint::{self, Malformed, Reader};
use crate::store::index::{
    Block, Builder, Cursor, ExpiryWheel, SequenceSet, Sizes, SizesReader, encode_sized_block,
};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Timestamp};

/// Bytes of a block of subjects.
const BLOCK_BYTES: usize = 4 << 10;

const CORE: u32 = 1;
const LIMITS: u32 = 2;
const DELETED: u32 = 3;
const LOST: u32 = 4;
const SUBJECTS: u32 = 5;
const EXPIRY: u32 = 6;
const PURGES: u32 = 7;
const ERASING: u32 = 8;
const UNREAD: u32 = 9;
const CONSUMERS: u32 = 10;
const TIMERS: u32 = 11;
const SIZES: u32 = 12;

/// What a checkpoint says; it is put in bytes where that may take its time.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) state: State,
    pub(super) container: Container,
    pub(super) start: LogStart,
    pub(super) key: Option<StreamKey>,
}

/// A checkpoint before it is on the disk.
#[derive(Debug)]
pub(super) enum Unwritten {
    State(Box<Content>),
    Bytes(Encoded),
}

/// A checkpoint in bytes, and what it is of.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) generation: u64,
    pub(super) applied: LogIndex,
    pub(super) first: StreamSeq,
    pub(super) lost: u64,
    /// How many [other changes](State::others) there had been, if it has the size of each message that may be
    /// replaced.
    pub(super) others: Option<u64>,
    pub(super) bytes: io::Result<Vec<u8>>,
}

impl Unwritten {
    /// The last record that it is of.
    pub(super) fn applied(&self) -> LogIndex {
        match self {
            Unwritten::State(content) => content.state.applied,
            Unwritten::Bytes(encoded) => encoded.applied,
        }
    }

    /// Puts it in bytes, and lets go of what it shares with the stream.
    pub(super) fn encode(self) -> Encoded {
        let content = match self {
            Unwritten::State(content) => content,
            Unwritten::Bytes(encoded) => return encoded,
        };
        let mut bytes = vec![];
        let encoded = encode(&content, &mut bytes);
        Encoded {
            generation: content.container.generation,
            applied: content.state.applied,
            first: content.state.first,
            lost: content.state.lost.len(),
            others: match encoded {
                Ok(true) => Some(content.state.others),
                _ => None,
            },
            bytes: encoded.map(|_| bytes),
        }
    }
}

/// Puts a checkpoint in bytes; says whether it has the sizes of all subjects' messages.
fn encode(content: &Content, out: &mut Vec<u8>) -> io::Result<bool> {
    let (state, key) = (&content.state, content.key.as_ref());
    let mut sections = content.container.start(out);
    sections.add_with(key, CORE, |out| {
        let numbers = [
            state.applied.0,
            state.first.0,
            state.last.0,
            state.last_time.0,
            state.messages,
            state.bytes,
            content.start.segment,
            u64::from(state.deferring),
            content.start.index.0,
            content.start.sequence.0,
        ];
        numbers.into_iter().for_each(|n| varint::put(out, n));
    })?;
    sections.add_with(key, LIMITS, |out| state.limits.encode(out))?;
    sections.add_with(key, DELETED, |out| state.deleted.encode(out))?;
    sections.add_with(key, LOST, |out| state.lost.encode(out))?;
    let mut cursor = Cursor::start();
    let mut block = vec![];
    let mut sizes = Sizes::default();
    while !cursor.is_done() {
        sections.add_with(key, SUBJECTS, |out| {
            // Blocks share a section up to a size at which a checksum is worth its while.
            let start = out.len();
            while !cursor.is_done() && out.len() - start < 64 * BLOCK_BYTES {
                block.clear();
                let (subjects, as_of, len) = (&state.subjects, state.applied, BLOCK_BYTES);
                encode_sized_block(subjects, &mut cursor, as_of, len, &mut block, &mut sizes);
                varint::put_bytes(out, &block);
            }
        })?;
    }
    sections.add_with(key, ERASING, |out| state.erasing.encode(out))?;
    sections.add_with(key, UNREAD, |out| state.unread.encode(out))?;
    sections.add_with(key, EXPIRY, |out| state.expiry.encode(out))?;
    sections.add_with(key, PURGES, |out| {
        state.purges.iter().for_each(|p| p.encode(out));
    })?;
    sections.add_with(key, CONSUMERS, |out| state.consumers.encode(out))?;
    if !state.timers.is_empty() {
        sections.add_with(key, TIMERS, |out| state.timers.encode(out))?;
    }
    let are_known = sizes.are_known();
    let version = match sizes.finish() {
        Some(bytes) => {
            sections.add_with(key, SIZES, |out| out.extend_from_slice(&bytes))?;
            CHECKPOINT_SIZED
        }
        None => VERSION,
    };
    sections.finish_as(version);
    Ok(are_known)
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    Format(FormatError),
    Key(KeyFault),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Fault {
        Fault::Format(error)
    }
}

/// Reads a checkpoint of this stream, with where its log began then.
pub(super) fn decode(
    bytes: &[u8],
    stream: StreamId,
    key: Option<&StreamKey>,
) -> Result<(Container, State, LogStart), Fault> {
    let (container, sections) = Container::decode(bytes, ContainerKind::Checkpoint)?;
    if container.stream != stream {
        return Err(FormatError::Foreign.into());
    }
    let sections = container.open(&sections, key).map_err(Fault::Key)?;
    let state = state(&sections).map_err(|_| FormatError::Invalid)?;
    let (state, start) = state;
    Ok((container, state, start))
}

fn state(sections: &[Opened<'_>]) -> Result<(State, LogStart), Malformed> {
    let core = sections.iter().find(|section| section.tag == CORE);
    let (mut state, start) = core_state(&core.ok_or(Malformed("state"))?.bytes)?;
    let (mut subjects, mut highest) = (Builder::new(), StreamSeq(0));
    let sizes = sections.iter().find(|section| section.tag == SIZES);
    let mut sizes = sizes.map(|section| SizesReader::new(&section.bytes));
    for section in sections {
        let mut reader = Reader::new(&section.bytes);
        match section.tag {
            LIMITS => state.limits = Limits::decode(&section.bytes)?,
            DELETED => state.deleted = SequenceSet::decode(&mut reader)?,
            LOST => state.lost = SequenceSet::decode(&mut reader)?,
            SUBJECTS => {
                while !reader.is_empty() {
                    let mut block = Block::read(reader.bytes(usize::MAX, "block of subjects")?)?;
                    let size = || sizes.as_mut().map_or(Ok(0), SizesReader::take);
                    subjects.push_sized_block(&mut block, size)?;
                }
                highest = subjects.highest();
            }
            UNREAD => state.unread = SequenceSet::decode(&mut reader)?,
            ERASING => state.erasing = SequenceSet::decode(&mut reader)?,
            EXPIRY => state.expiry = ExpiryWheel::decode(&mut reader, state.last)?,
            PURGES => {
                while !reader.is_empty() {
                    state.purges.push_back(Purging::decode(&mut reader)?);
                }
            }
            TIMERS => state.timers = Arc::new(Timers::decode(&mut reader)?),
            CONSUMERS => state.consumers = Consumers::decode(&mut reader, state.applied)?,
            // The first one was read, and others are of a later version that this one can read.
            _ => {}
        }
    }
    state.subjects = subjects.finish();
    let sized = sizes.map_or(Ok(0), SizesReader::finish)?;
    if state.deferring {
        state.defer();
    }
    let is_sized = sized <= state.bytes;
    match is_sized && state.is_sound() && state.begins_behind(&start) && highest <= state.last {
        true => Ok((state, start)),
        false => Err(Malformed("state")),
    }
}

fn core_state(bytes: &[u8]) -> Result<(State, LogStart), Malformed> {
    let mut reader = Reader::new(bytes);
    let mut number = || reader.number("state");
    let mut state = State::new(Limits::default());
    let mut start = LogStart::default();
    state.applied = LogIndex(number()?);
    state.first = StreamSeq(number()?);
    state.last = StreamSeq(number()?);
    state.last_time = Timestamp(number()?);
    state.messages = number()?;
    state.bytes = number()?;
    start.segment = number()?;
    state.deferring = number()? != 0;
    start.index = LogIndex(number()?);
    start.sequence = StreamSeq(number()?);
    Ok((state, start))
}
