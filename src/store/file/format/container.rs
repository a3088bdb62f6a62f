//! Files of which there are two copies, written in turns: metadata and checkpoints. The newer copy
//! that is whole is the one that counts.

use std::borrow::Cow;
use std::io;

use super::bytes::{id_at, put, u16_at, u32_at, u64_at};
use super::{FormatError, VERSION};
use crate::store::crypt::{KeyFault, StreamKey};
use crate::store::types::StreamId;

const LEN: usize = 72;
const SECTION_LEN: usize = 16;

/// Copies are never written as often.
const GENERATION_MAX: u64 = 1 << 62;

/// Marks the tag of a section that is sealed.
const SEALED: u32 = 1 << 31;

/// What a container holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContainerKind {
    /// What a stream is: its configuration and how its log stands.
    Meta,
    /// The state of a stream at some index of its log.
    Checkpoint,
}

/// The version of checkpoints with the sizes of subjects' messages. Those who do not read these would take
/// messages for lost that such a checkpoint counts, and that were left out of their segments since.
pub const CHECKPOINT_SIZED: u16 = 2;

impl ContainerKind {
    /// The highest version that is read.
    fn version(self) -> u16 {
        match self {
            ContainerKind::Meta => VERSION,
            ContainerKind::Checkpoint => CHECKPOINT_SIZED,
        }
    }

    fn magic(self) -> &'static [u8; 8] {
        match self {
            ContainerKind::Meta => b"NATSMET\n",
            ContainerKind::Checkpoint => b"NATSCKP\n",
        }
    }
}

/// The head of a container. Its sections follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Container {
    pub kind: ContainerKind,
    pub stream: StreamId,
    /// Grows with every copy that is written.
    pub generation: u64,
}

impl Container {
    /// A new container in `out`, whose contents are lost; sections are added with
    /// [`Sections::add`].
    pub fn start(self, out: &mut Vec<u8>) -> Sections<'_> {
        out.clear();
        out.resize(LEN, 0);
        put(out, 0, self.kind.magic());
        put(out, 16, &self.stream.name);
        put(out, 32, &self.stream.incarnation);
        put(out, 48, &self.generation.to_le_bytes());
        Sections {
            container: self,
            count: 0,
            out,
        }
    }

    /// What a section is, for its seal.
    fn context(self, count: u32, tag: u32) -> [u8; 24] {
        let mut context = [0; 24];
        put(&mut context, 0, self.kind.magic());
        put(&mut context, 8, &self.generation.to_le_bytes());
        put(&mut context, 16, &count.to_le_bytes());
        put(&mut context, 20, &tag.to_le_bytes());
        context
    }

    /// The contents of a container's sections, with the tags of before they were sealed.
    pub(in crate::store) fn open<'a>(
        self,
        sections: &[Section<'a>],
        key: Option<&StreamKey>,
    ) -> Result<Vec<Opened<'a>>, KeyFault> {
        let mut opened = vec![];
        for (section, count) in sections.iter().zip(0..) {
            let tag = section.tag & !SEALED;
            let sealed = section.tag != tag;
            let bytes = if sealed {
                let key = key.ok_or(KeyFault::Missing)?;
                let context = self.context(count, section.tag);
                let bytes = key.open_section(&context, section.bytes);
                Cow::Owned(bytes.ok_or(KeyFault::Wrong)?)
            } else {
                Cow::Borrowed(section.bytes)
            };
            opened.push(Opened { tag, sealed, bytes });
        }
        Ok(opened)
    }

    /// Reads a container and gives it with its sections, each checked against its checksum. Bytes
    /// behind the last section are left alone: the file may have been longer before.
    pub fn decode(
        bytes: &[u8],
        kind: ContainerKind,
    ) -> Result<(Container, Vec<Section<'_>>), FormatError> {
        let head = bytes.get(..LEN).ok_or(FormatError::Short)?;
        if !head.starts_with(kind.magic()) {
            return Err(FormatError::Magic);
        }
        if u32_at(head, LEN - 4) != Some(crc32c::crc32c(&head[..LEN - 4])) {
            return Err(FormatError::Checksum);
        }
        let version = u16_at(head, 8).ok_or(FormatError::Short)?;
        let known = kind.version();
        if !(VERSION..=known).contains(&version) {
            let found = version;
            return Err(FormatError::Version { found, known });
        }
        let (container, len) = Self::fields(head, kind).ok_or(FormatError::Short)?;
        if container.generation > GENERATION_MAX {
            return Err(FormatError::Invalid);
        }
        let len = usize::try_from(len).map_err(|_| FormatError::Invalid)?;
        let rest = bytes[LEN..].get(..len).ok_or(FormatError::Short)?;
        Ok((container, sections(rest)?))
    }

    fn fields(head: &[u8], kind: ContainerKind) -> Option<(Container, u64)> {
        let container = Container {
            kind,
            stream: StreamId {
                name: id_at(head, 16)?,
                incarnation: id_at(head, 32)?,
            },
            generation: u64_at(head, 48)?,
        };
        Some((container, u64_at(head, 56)?))
    }
}

/// A part of a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section<'a> {
    pub tag: u32,
    pub bytes: &'a [u8],
}

fn sections(mut rest: &[u8]) -> Result<Vec<Section<'_>>, FormatError> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = u32_at(rest, 0).ok_or(FormatError::Short)?;
        let crc = u32_at(rest, 4).ok_or(FormatError::Short)?;
        let len = u64_at(rest, 8).ok_or(FormatError::Short)?;
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| len.checked_add(SECTION_LEN))
            .ok_or(FormatError::Invalid)?;
        let bytes = rest.get(SECTION_LEN..end).ok_or(FormatError::Short)?;
        if crc32c::crc32c_append(tag, bytes) != crc {
            return Err(FormatError::Checksum);
        }
        found.push(Section { tag, bytes });
        rest = &rest[end..];
    }
    Ok(found)
}

/// A section that was opened, if it was sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct Opened<'a> {
    pub(in crate::store) tag: u32,
    pub(in crate::store) sealed: bool,
    pub(in crate::store) bytes: Cow<'a, [u8]>,
}

/// A container that is being written.
#[derive(Debug)]
pub struct Sections<'a> {
    container: Container,
    /// Sections so far.
    count: u32,
    out: &'a mut Vec<u8>,
}

impl Sections<'_> {
    /// Adds a section with what `fill` appends.
    pub fn add(&mut self, tag: u32, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.count += 1;
        self.out.resize(start + SECTION_LEN, 0);
        fill(self.out);
        let len = (self.out.len() - start - SECTION_LEN) as u64;
        let crc = crc32c::crc32c_append(tag, &self.out[start + SECTION_LEN..]);
        put(self.out, start, &tag.to_le_bytes());
        put(self.out, start + 4, &crc.to_le_bytes());
        put(self.out, start + 8, &len.to_le_bytes());
    }

    /// Likewise, sealed if there is a key.
    ///
    /// # Errors
    /// If there are no random numbers. The container is of no use then.
    pub(in crate::store) fn add_with(
        &mut self,
        key: Option<&StreamKey>,
        tag: u32,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let Some(key) = key else {
            self.add(tag, fill);
            return Ok(());
        };
        let tag = tag | SEALED;
        let context = self.container.context(self.count, tag);
        let mut sealed = Ok(());
        self.add(tag, |out| {
            let start = out.len();
            fill(out);
            sealed = key.seal_section(&context, out, start);
        });
        sealed
    }

    /// Completes the container.
    pub fn finish(self) {
        self.finish_as(VERSION);
    }

    /// Completes the container, which has this version.
    pub fn finish_as(self, version: u16) {
        put(self.out, 8, &version.to_le_bytes());
        let len = (self.out.len() - LEN) as u64;
        put(self.out, 56, &len.to_le_bytes());
        let crc = crc32c::crc32c(&self.out[..LEN - 4]);
        put(self.out, LEN - 4, &crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn containers_come_back_and_any_flipped_bit_is_seen(
            ids in any::<([u8; 16], [u8; 16], u64)>(),
            parts in prop::collection::vec(
                (any::<u32>(), prop::collection::vec(any::<u8>(), 0..50)), 0..5),
            bit in any::<usize>(),
        ) {
            let container = Container {
                kind: ContainerKind::Meta,
                stream: StreamId { name: ids.0, incarnation: ids.1 },
                generation: ids.2 % (GENERATION_MAX + 1),
            };
            let mut out = vec![9; 10];
            let mut writer = container.start(&mut out);
            for (tag, bytes) in &parts {
                writer.add(*tag, |out| out.extend_from_slice(bytes));
            }
            writer.finish();
            let len = out.len();
            out.extend_from_slice(b"what was there before");
            let (back, sections) = Container::decode(&out, ContainerKind::Meta).unwrap();
            prop_assert_eq!(back, container);
            let back: Vec<_> = sections.iter().map(|s| (s.tag, s.bytes.to_vec())).collect();
            prop_assert_eq!(back, parts);
            prop_assert!(Container::decode(&out, ContainerKind::Checkpoint).is_err());
            prop_assert!(Container::decode(&out[..len - 1], ContainerKind::Meta).is_err());
            let bit = bit % (len * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Container::decode(&out, ContainerKind::Meta).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Container::decode(&bytes, ContainerKind::Meta);
            let _ = sections(&bytes);
        }
    }
}
