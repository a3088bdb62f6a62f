//! What a node has to do on the disk, to be done by threads that may wait for it.

use super::restorer::{Outcome, Restorer};
use super::{Identity, Node, Place, log_options};
use crate::base::clock::Mono;
use crate::jetstream::api::{StorageType, StreamConfig};
use crate::jetstream::stream::{Stream, compression, limits};
use crate::json::Time;
use crate::store::directory::{Removal, StoreDir};
use crate::store::disk::Disk;
use crate::store::error::LogError;
use crate::store::file::LogOptions;
use crate::store::memory::MemoryDisk;
use crate::store::meta::Meta;
use crate::store::stream::{Job, JobDone, Opened, StoreOptions, StreamStore};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something to be done. Run it anywhere, and give the outcome to the node.
pub enum Task {
    Job {
        slot: usize,
        job: Job,
    },
    Create {
        slot: usize,
        meta: Meta,
        config: Box<StreamConfig>,
        place: Place,
        log: LogOptions,
    },
    Update {
        slot: usize,
        meta: Box<Meta>,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
    },
    Reopen {
        slot: usize,
        /// What there was before, to be closed.
        store: Option<Box<StreamStore>>,
        meta: Box<Meta>,
        config: Box<StreamConfig>,
        place: Place,
        dir: PathBuf,
        /// The last record that is surely on the disk.
        durable: LogIndex,
        /// The last sequence that is not to be used again.
        last: StreamSeq,
        log: LogOptions,
    },
    /// A part of a backup is to be taken in.
    Restore {
        id: usize,
        work: Box<Restorer>,
        chunks: Vec<Vec<u8>>,
        /// Whether no more is to come.
        is_last: bool,
        now: (Timestamp, Mono),
    },
    /// What was taken in is to be removed.
    Forget {
        id: usize,
        work: Box<Restorer>,
    },
    Remove {
        slot: usize,
        stream: Box<Stream>,
        meta: Box<Meta>,
        place: Place,
        dir: PathBuf,
    },
    Clean(Removal),
}

/// A stream's store, opened, and where it is.
pub struct Opening {
    pub store: StreamStore,
    pub meta: Meta,
    pub dir: PathBuf,
}

/// The outcome of a task.
pub enum TaskDone {
    Job {
        slot: usize,
        done: JobDone,
    },
    Created {
        slot: usize,
        result: Result<Box<Opening>, LogError>,
    },
    Updated {
        slot: usize,
        meta: Box<Meta>,
        result: Result<(), LogError>,
    },
    Reopened {
        slot: usize,
        result: Result<Box<Opening>, LogError>,
    },
    Restored {
        id: usize,
        outcome: Outcome,
    },
    Removed {
        slot: usize,
        result: Result<Option<Removal>, LogError>,
    },
    Cleaned(Result<(), LogError>),
}

impl Task {
    /// Does it.
    pub fn run(self) -> TaskDone {
        match self {
            Task::Job { slot, job } => TaskDone::Job {
                slot,
                done: job.run(),
            },
            Task::Create {
                slot,
                meta,
                config,
                place,
                log,
            } => TaskDone::Created {
                slot,
                result: create(meta, &config, &place, log).map(Box::new),
            },
            Task::Update {
                slot,
                mut meta,
                disk,
                dir,
            } => {
                let result = match disk.is_volatile() {
                    true => Ok(()),
                    false => meta.write(&*disk, &dir),
                };
                TaskDone::Updated { slot, meta, result }
            }
            Task::Reopen {
                slot,
                store,
                meta,
                config,
                place,
                dir,
                durable,
                last,
                log,
            } => {
                // Its files are locked as long as it is there.
                drop(store);
                let (disk, durable) = (place.disk.clone(), Some(durable));
                let opened = open((disk, &dir), &meta, &config, log, durable);
                let opened = opened.and_then(|(mut store, _)| {
                    // What was acknowledged and is gone, as somebody cut a file, has had its number.
                    if store.last() < last {
                        store.skip_to(last)?;
                    }
                    store.sync().map(|()| store)
                });
                let result = opened.map(|store| {
                    let meta = *meta;
                    Box::new(Opening { store, meta, dir })
                });
                TaskDone::Reopened { slot, result }
            }
            Task::Restore {
                id,
                work,
                chunks,
                is_last,
                now,
            } => TaskDone::Restored {
                id,
                outcome: work.run(&chunks, is_last, now),
            },
            Task::Forget { id, work } => TaskDone::Restored {
                id,
                outcome: work.forget(),
            },
            Task::Remove {
                slot,
                stream,
                meta,
                place,
                dir,
            } => {
                let in_memory = stream.config.storage == StorageType::Memory;
                // The files are closed before they go.
                drop(stream);
                let result = match in_memory {
                    true => Ok(None),
                    false => place.dir.remove(meta.id, &dir).map(Some),
                };
                TaskDone::Removed { slot, result }
            }
            Task::Clean(removal) => TaskDone::Cleaned(removal.run()),
        }
    }
}

pub(super) fn create(
    mut meta: Meta,
    config: &StreamConfig,
    place: &Place,
    log: LogOptions,
) -> Result<Opening, LogError> {
    let (disk, dir): (Arc<dyn Disk>, PathBuf) = match config.storage {
        StorageType::File => (
            place.disk.clone(),
            place.dir.create(&mut meta, &place.keys)?,
        ),
        StorageType::Memory => (Arc::new(MemoryDisk::new()), PathBuf::from("/")),
    };
    let opened = open((disk, &dir), &meta, config, log, None);
    let (mut store, _) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            if config.storage == StorageType::File
                && let Ok(removal) = place.dir.remove(meta.id, &dir)
            {
                let _ = removal.run();
            }
            return Err(error);
        }
    };
    if config.first_seq > 1 {
        store.skip_to(StreamSeq(config.first_seq - 1))?;
        store.sync()?;
    }
    Ok(Opening { store, meta, dir })
}

fn open(
    (disk, dir): (Arc<dyn Disk>, &Path),
    meta: &Meta,
    config: &StreamConfig,
    log: LogOptions,
    durable: Option<LogIndex>,
) -> Result<(StreamStore, Opened), LogError> {
    let log = LogOptions {
        compression: compression(config),
        key: meta.key(),
        ..log
    };
    let options = StoreOptions {
        log,
        limits: limits(config),
    };
    StreamStore::open(disk, dir, meta.id, &options, durable, &mut |_| {})
}

/// A stream that was found in the store's directory.
pub struct Recovered {
    pub account: String,
    pub config: StreamConfig,
    pub created: Time,
    pub opening: Opening,
    pub opened: Opened,
}

/// Whether a stream is of no use, as its restore did not come to its end.
pub fn is_unfinished(meta: &Meta) -> bool {
    crate::jetstream::kept::is_unfinished(&meta.config)
}

/// Opens a stream that is there.
///
/// # Errors
/// Why it cannot be served, in words.
pub fn recover(
    meta: Meta,
    dir: &Path,
    identity: &Identity,
    place: &Place,
) -> Result<Recovered, String> {
    let (config, created) = crate::jetstream::kept::decode::<StreamConfig>(&meta.config)?;
    let log = log_options(identity, place, config.persist_mode);
    let opened = open((place.disk.clone(), dir), &meta, &config, log, None);
    let (store, opened) = opened.map_err(|e| e.to_string())?;
    Ok(Recovered {
        account: meta.account.clone(),
        config,
        created,
        opening: Opening {
            store,
            meta,
            dir: dir.to_owned(),
        },
        opened,
    })
}

impl Node {
    /// Where streams are kept.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What the streams know of the server.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory that all streams are in.
    pub fn directory(&self) -> &StoreDir {
        &self.place.dir
    }
}
