//! What a stream is: its name, which of all streams of that name it is, and the configuration that
//! the layer above keeps with it. It stands in two files of the stream's directory that say the
//! same, so that the damage of one costs nothing, and can be read without opening the log.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::crypt::{KeyFault, Keys, StreamKey};
use super::disk::Disk;
use super::error::{LogError, Reason, is_full};
use super::file::copies::META;
use super::file::format::{Container, ContainerKind, FormatError, Opened};
use super::index::varint::{self, Malformed, Reader};
use super::types::StreamId;

const CONFIG: u32 = 1;
const KEY: u32 = 2;
const NAME: u32 = 4;

/// Bytes of an account's or a stream's name, at most.
pub const NAME_MAX: usize = 1 << 10;

/// The metadata of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    pub account: String,
    pub stream: String,
    pub id: StreamId,
    /// What the layer above wants to be kept, in a form of its own.
    pub config: Vec<u8>,
    /// Grows whenever it is written.
    generation: u64,
    key: Option<WrappedKey>,
    /// Sections of a later version, which stay as they are, and whether they are sealed.
    others: Vec<(u32, bool, Vec<u8>)>,
}

/// The key of the stream's data, and its form on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
struct WrappedKey {
    key: StreamKey,
    wrapped: Vec<u8>,
    /// Whether the key or the cipher that it was wrapped with is not the configured one any more.
    is_outdated: bool,
}

/// Metadata as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaFound {
    pub meta: Meta,
    /// The copy that could not be used, and why; it is made again with the next write.
    pub damaged: Option<(PathBuf, FormatError)>,
}

/// Why there is no metadata.
#[derive(Debug)]
pub enum MetaError {
    /// There are no such files in the directory.
    Absent(PathBuf),
    /// None of the files that are there can be used. Nothing was changed.
    Damaged(Vec<(PathBuf, FormatError)>),
    /// They are those of another stream than the directory's name says.
    Misplaced {
        dir: PathBuf,
        account: String,
        stream: String,
    },
    /// The metadata is encrypted, and the keys are of no help. Nothing was changed.
    Key(PathBuf, KeyFault),
    /// The disk failed, or the files are of a newer version.
    Store(LogError),
}

impl Meta {
    /// The metadata of a new stream. `incarnation` is to be random.
    pub fn new(account: &str, stream: &str, incarnation: [u8; 16], config: Vec<u8>) -> Meta {
        Meta {
            account: account.to_owned(),
            stream: stream.to_owned(),
            id: StreamId::new(account, stream, incarnation),
            config,
            generation: 0,
            key: None,
            others: vec![],
        }
    }

    /// The key for the [log's options](super::file::LogOptions), if the stream is encrypted.
    pub fn key(&self) -> Option<StreamKey> {
        self.key.as_ref().map(|key| key.key.clone())
    }

    /// Sees to it that the stream is encrypted as the keys have it, from the next write on, and
    /// says whether that is a change. A stream that was plain gets a key.
    pub(super) fn update_key(&mut self, keys: &Keys) -> io::Result<bool> {
        let key = match &self.key {
            Some(key) if !key.is_outdated => return Ok(false),
            Some(key) => Some(key.key.clone()),
            None => keys.stream_key()?,
        };
        let Some(key) = key else {
            return Ok(false);
        };
        let wrapped = keys.wrap(&key, &self.id)?;
        self.key = Some(WrappedKey {
            key,
            wrapped,
            is_outdated: false,
        });
        Ok(true)
    }

    /// Reads the metadata in `dir`. Nothing is changed there, and the log is not looked at.
    ///
    /// # Errors
    /// If there is none that is whole.
    pub fn read(disk: &dyn Disk, dir: &Path, keys: &Keys) -> Result<MetaFound, MetaError> {
        let copies = META.read(disk, dir).map_err(MetaError::Store)?;
        if copies.is_empty() {
            return Err(MetaError::Absent(dir.to_owned()));
        }
        let mut newest: Option<Meta> = None;
        let mut damaged = vec![];
        for (path, bytes) in copies {
            match Meta::decode(&bytes, keys) {
                Ok(meta)
                    if newest
                        .as_ref()
                        .is_none_or(|n| n.generation < meta.generation) =>
                {
                    newest = Some(meta);
                }
                Ok(_) => {}
                Err(Fault::Format(error @ FormatError::Version { .. })) => {
                    return Err(MetaError::Store(LogError::Format { file: path, error }));
                }
                Err(Fault::Key(fault)) => return Err(MetaError::Key(path, fault)),
                Err(Fault::Format(error)) => damaged.push((path, error)),
            }
        }
        match newest {
            Some(meta) => Ok(MetaFound {
                meta,
                damaged: damaged.pop(),
            }),
            None => Err(MetaError::Damaged(damaged)),
        }
    }

    /// Writes the metadata to `dir`. It is on the disk for good when this returns; if it fails, what
    /// was there before is still there, or this is.
    ///
    /// # Errors
    /// If the disk fails, or is full.
    pub fn write(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        self.write_copies(disk, dir).map_err(|e| match is_full(&e) {
            true => LogError::Full,
            false => LogError::Io(Reason::new("write the metadata in", dir, &e)),
        })
    }

    pub(super) fn write_copies(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.generation += 1;
        let mut bytes = vec![];
        self.encode(&mut bytes)?;
        META.replace_both(disk, dir, &bytes)
    }

    /// Writes the metadata to an empty directory that nobody knows yet, without a sync.
    pub(super) fn write_first(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.generation += 1;
        let mut bytes = vec![];
        self.encode(&mut bytes)?;
        META.write_first(disk, dir, &bytes)
    }

    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let container = Container {
            kind: ContainerKind::Meta,
            stream: self.id,
            generation: self.generation,
        };
        let mut sections = container.start(out);
        sections.add(NAME, |out| {
            varint::put_bytes(out, self.account.as_bytes());
            varint::put_bytes(out, self.stream.as_bytes());
        });
        if let Some(key) = &self.key {
            sections.add(KEY, |out| out.extend_from_slice(&key.wrapped));
        }
        let key = self.key.as_ref().map(|key| &key.key);
        sections.add_with(key, CONFIG, |out| out.extend_from_slice(&self.config))?;
        for (tag, sealed, bytes) in &self.others {
            let key = key.filter(|_| *sealed);
            sections.add_with(key, *tag, |out| out.extend_from_slice(bytes))?;
        }
        sections.finish();
        Ok(())
    }

    fn decode(bytes: &[u8], keys: &Keys) -> Result<Meta, Fault> {
        let (container, sections) = Container::decode(bytes, ContainerKind::Meta)?;
        let wrapped = sections.iter().find(|s| s.tag == KEY);
        let key = wrapped.map(|section| {
            let unwrapped = keys.unwrap(section.bytes, &container.stream);
            unwrapped.map(|(key, is_outdated)| WrappedKey {
                key,
                wrapped: section.bytes.to_vec(),
                is_outdated,
            })
        });
        let key = key.transpose().map_err(Fault::Key)?;
        let sections = container.open(&sections, key.as_ref().map(|key| &key.key));
        let sections = sections.map_err(Fault::Key)?;
        let meta =
            Meta::of_sections(&container, key, sections).map_err(|_| FormatError::Invalid)?;
        let incarnation = container.stream.incarnation;
        match StreamId::new(&meta.account, &meta.stream, incarnation) == container.stream {
            true => Ok(meta),
            false => Err(FormatError::Invalid.into()),
        }
    }

    fn of_sections(
        container: &Container,
        key: Option<WrappedKey>,
        sections: Vec<Opened<'_>>,
    ) -> Result<Meta, Malformed> {
        let (mut name, mut config) = (None, None);
        let mut others = vec![];
        for section in sections {
            match section.tag {
                NAME => {
                    let mut reader = Reader::new(&section.bytes);
                    name = Some((text(&mut reader)?, text(&mut reader)?));
                }
                KEY => {}
                CONFIG => config = Some(section.bytes.into_owned()),
                tag => others.push((tag, section.sealed, section.bytes.into_owned())),
            }
        }
        let (account, stream) = name.ok_or(Malformed("name"))?;
        Ok(Meta {
            account,
            stream,
            id: container.stream,
            config: config.ok_or(Malformed("configuration"))?,
            generation: container.generation,
            key,
            others,
        })
    }
}

enum Fault {
    Format(FormatError),
    Key(KeyFault),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Fault {
        Fault::Format(error)
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = reader.bytes(NAME_MAX, "name")?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("name"))
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetaError::Absent(dir) => write!(f, "no metadata in {}", dir.display()),
            MetaError::Damaged(copies) => {
                f.write_str("no copy of the metadata can be used:")?;
                for (i, (path, error)) in copies.iter().enumerate() {
                    let comma = if i > 0 { ";" } else { "" };
                    write!(f, "{comma} {}: {error}", path.display())?;
                }
                Ok(())
            }
            MetaError::Misplaced {
                dir,
                account,
                stream,
            } => write!(
                f,
                "{} holds stream {stream:?} of account {account:?}, whose directory has another name",
                dir.display()
            ),
            MetaError::Key(path, fault) => write!(f, "{}: {fault}", path.display()),
            MetaError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MetaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MetaError::Store(error) => Some(error),
            _ => None,
        }
    }
}
