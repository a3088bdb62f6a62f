//! What a member of a group of replicas must not forget: the term it is in, whom it voted for in
//! it, and what it knows to be agreed upon.

use std::path::Path;

use super::disk::Disk;
use super::error::{LogError, Reason, is_full};
use super::file::copies::HARD_STATE;
use super::file::format::{Container, ContainerKind, FormatError};
use super::index::varint::{self, Malformed, Reader};
use super::types::{LogIndex, StreamId, Term};

/// The tag of the one section.
const STATE: u32 = 3;

/// The state of a member, as it was last written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HardState {
    pub stream: StreamId,
    pub term: Term,
    /// The member that got the vote in this term; 0 for none.
    pub vote: u64,
    /// The last record that is known to be agreed upon. It may be older than what is.
    pub commit: LogIndex,
    generation: u64,
}

impl HardState {
    /// That of a member which knows nothing.
    pub fn new(stream: StreamId) -> HardState {
        HardState {
            stream,
            term: Term(0),
            vote: 0,
            commit: LogIndex(0),
            generation: 0,
        }
    }

    /// Reads the state in a stream's directory; `None` if none was ever written.
    ///
    /// # Errors
    /// If copies are there and none of them can be used: a member that has forgotten its vote must
    /// not vote again. One of another stream is no copy.
    pub fn read(
        disk: &dyn Disk,
        dir: &Path,
        stream: StreamId,
    ) -> Result<Option<HardState>, LogError> {
        let mut newest: Option<HardState> = None;
        let mut fault = None;
        for (file, bytes) in HARD_STATE.read(disk, dir)? {
            match decode(&bytes, stream) {
                Ok(state) if newest.is_some_and(|n| n.generation > state.generation) => {}
                Ok(state) => newest = Some(state),
                Err(error @ FormatError::Version { .. }) => {
                    return Err(LogError::Format { file, error });
                }
                Err(error) => fault = Some(LogError::Format { file, error }),
            }
        }
        match (newest, fault) {
            (None, Some(fault)) => Err(fault),
            (newest, _) => Ok(newest),
        }
    }

    /// Writes the state to a stream's directory. It is on the disk for good when this returns; if
    /// it fails, what was there before is still there, or this is.
    pub fn write(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        self.generation += 1;
        let container = Container {
            kind: ContainerKind::Meta,
            stream: self.stream,
            generation: self.generation,
        };
        let mut bytes = vec![];
        let mut sections = container.start(&mut bytes);
        sections.add(STATE, |out| {
            let numbers = [u64::from(self.term.0), self.vote, self.commit.0];
            numbers.into_iter().for_each(|n| varint::put(out, n));
        });
        sections.finish();
        // Both say the same, so that the damage of one does not bring back an older vote.
        let written = HARD_STATE.replace_both(disk, dir, &bytes);
        written.map_err(|e| match is_full(&e) {
            true => LogError::Full,
            false => LogError::Io(Reason::new("write the state of the group in", dir, &e)),
        })
    }
}

fn decode(bytes: &[u8], stream: StreamId) -> Result<HardState, FormatError> {
    let (container, sections) = Container::decode(bytes, ContainerKind::Meta)?;
    if container.stream != stream {
        return Err(FormatError::Foreign);
    }
    let section = sections.iter().find(|section| section.tag == STATE);
    let section = section.ok_or(FormatError::Invalid)?;
    let state = numbers(section.bytes).map_err(|_| FormatError::Invalid)?;
    Ok(HardState {
        stream,
        term: Term(u32::try_from(state.0).map_err(|_| FormatError::Invalid)?),
        vote: state.1,
        commit: LogIndex(state.2),
        generation: container.generation,
    })
}

fn numbers(bytes: &[u8]) -> Result<(u64, u64, u64), Malformed> {
    let mut reader = Reader::new(bytes);
    let mut number = || reader.number("state of the group");
    Ok((number()?, number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;

    #[test]
    fn a_vote_is_not_forgotten_nor_an_older_one_brought_back() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/streams/s");
        let stream = StreamId::new("A", "S", [7; 16]);
        assert_eq!(HardState::read(&disk, dir, stream).unwrap(), None);
        let mut state = HardState::new(stream);
        for term in 1..5 {
            state.term = Term(term);
            state.vote = u64::from(term) * 10;
            state.commit = LogIndex(u64::from(term) * 100);
            state.write(&disk, dir).unwrap();
            assert_eq!(HardState::read(&disk, dir, stream).unwrap(), Some(state));
        }
        let damage = |copy: usize| {
            let path = HARD_STATE.path(dir, copy);
            let file = disk.create(&path, 100).unwrap();
            file.write_at(&[1; 100], 0).unwrap();
        };
        damage(0);
        assert_eq!(HardState::read(&disk, dir, stream).unwrap(), Some(state));
        damage(1);
        let error = HardState::read(&disk, dir, stream).unwrap_err();
        assert!(matches!(error, LogError::Format { .. }));
    }

    #[test]
    fn that_of_another_stream_is_none() {
        let disk = MemoryDisk::new();
        let dir = Path::new("/streams/s");
        let mut state = HardState::new(StreamId::new("A", "S", [7; 16]));
        state.write(&disk, dir).unwrap();
        let other = StreamId::new("A", "S", [8; 16]);
        assert!(HardState::read(&disk, dir, other).is_err());
    }
}
