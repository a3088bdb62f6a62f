//! What a node has to do on the disk, to be done by threads that may wait for it.

use super::restorer::{Outcome, Restorer};
use super::{Identity, Node, Place, log_options};
use crate::base::clock::Mono;
use crate::jetstream::api::{ApiError, StorageType, StreamConfig};
use crate::jetstream::stream::{Stream, compression, limits};
use crate::json::Time;
use crate::store::directory::{Removal, StoreDir};
use crate::store::disk::Disk;
use crate::store::error::LogError;
use crate::store::file::LogOptions;
use crate::store::journal::{JournalDone, JournalJob};
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
    /// Many streams wait for it.
    Journal(JournalJob),
    Create {
        creations: Vec<Creation>,
        place: Place,
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
    /// All of a backup was taken in, and its consumers were checked.
    FinishRestore {
        id: usize,
        work: Box<Restorer>,
    },
    /// What was taken in is to be removed, for this reason if somebody waits for one.
    Forget {
        id: usize,
        work: Box<Restorer>,
        reason: Option<ApiError>,
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

/// A stream that is to be made.
pub struct Creation {
    pub slot: usize,
    pub meta: Meta,
    pub config: Box<StreamConfig>,
    pub log: LogOptions,
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
    Journal(JournalDone),
    Created(Vec<(usize, Result<Box<Opening>, LogError>)>),
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
            Task::Journal(job) => TaskDone::Journal(job.run()),
            Task::Create { creations, place } => TaskDone::Created(create_many(creations, &place)),
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
            Task::FinishRestore { id, work } => TaskDone::Restored {
                id,
                outcome: work.finish(),
            },
            Task::Forget { id, work, reason } => TaskDone::Restored {
                id,
                outcome: work.forget(reason),
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

/// Makes streams, all that are in files with the same syncs.
fn create_many(
    mut creations: Vec<Creation>,
    place: &Place,
) -> Vec<(usize, Result<Box<Opening>, LogError>)> {
    let is_in_file = |c: &Creation| c.config.storage == StorageType::File;
    let (mut in_files, in_memory): (Vec<_>, Vec<_>) = creations.drain(..).partition(is_in_file);
    let mut made = vec![];
    for one in in_memory {
        let opening = create(one.meta, &one.config, place, one.log);
        made.push((one.slot, opening.map(Box::new)));
    }
    let facts = in_files.iter().map(|c| (c.config.clone(), c.log.clone()));
    let facts: Vec<_> = facts.collect();
    let mut metas: Vec<_> = in_files.iter_mut().map(|c| &mut c.meta).collect();
    let mut begin = |at: usize, dir: &Path, meta: &Meta| {
        let (config, log) = &facts[at];
        let log = LogOptions {
            opens_unsynced: true,
            is_new: true,
            ..log.clone()
        };
        let store = begin((place.disk.clone(), dir), meta, config, log)?;
        Ok((store, dir.to_owned()))
    };
    let mut note_synced = |(store, _): &mut (StreamStore, PathBuf)| store.handle_barrier();
    let keys = &place.keys;
    let all = place
        .dir
        .create_many(&mut metas, keys, &mut begin, &mut note_synced);
    for (one, begun) in in_files.into_iter().zip(all) {
        let opening = begun.map(|(store, dir)| {
            let meta = one.meta;
            Box::new(Opening { store, meta, dir })
        });
        made.push((one.slot, opening));
    }
    made
}

/// Begins the store of a new stream.
fn begin(
    (disk, dir): (Arc<dyn Disk>, &Path),
    meta: &Meta,
    config: &StreamConfig,
    log: LogOptions,
) -> Result<StreamStore, LogError> {
    let (mut store, _) = open((disk, dir), meta, config, log, None)?;
    if config.first_seq > 1 {
        store.skip_to(StreamSeq(config.first_seq - 1))?;
        store.sync()?;
    }
    Ok(store)
}

/// Makes one stream.
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
    let log = LogOptions {
        is_new: config.storage == StorageType::File,
        ..log
    };
    let store = match begin((disk, &dir), &meta, config, log) {
        Ok(store) => store,
        Err(error) => {
            if config.storage == StorageType::File
                && let Ok(removal) = place.dir.remove(meta.id, &dir)
            {
                let _ = removal.run();
            }
            return Err(error);
        }
    };
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
    let (mut store, opened) =
        StreamStore::open(disk, dir, meta.id, &options, durable, &mut |_| {})?;
    // A configuration is on the disk before the store has the limits of it.
    if store.limits() != options.limits {
        match store.set_limits(&options.limits) {
            Ok(_) => {
                while store.work(1 << 16) {}
                store.commit()?;
            }
            Err(LogError::Full) => {
                log::warn!("Limits of a stream wait for room: {}", dir.display())
            }
            Err(error) => return Err(error),
        }
    }
    Ok((store, opened))
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

/// Opens a stream that is there. If `unsynced`, the caller passes a barrier before anybody is told of it.
///
/// # Errors
/// Why it cannot be served, in words.
pub fn recover(
    meta: Meta,
    dir: &Path,
    identity: &Identity,
    place: &Place,
    unsynced: bool,
) -> Result<Recovered, String> {
    let (config, created) = crate::jetstream::kept::decode::<StreamConfig>(&meta.config)?;
    let log = LogOptions {
        opens_unsynced: unsynced,
        ..log_options(identity, place, config.persist_mode)
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::file::Handles;
    use crate::store::stream::NewMessage;
    use crate::store::types::Timestamp;

    /// Found by reading: the server had ended between the two, and the limits were those of before for good.
    #[test]
    fn a_stream_gets_the_limits_of_a_configuration_that_was_only_written() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let meta = Meta::new("A", "S", [1; 16], vec![]);
        let open = |max_msgs| {
            let config = StreamConfig {
                max_msgs,
                ..StreamConfig::default()
            };
            let log = LogOptions::new(Arc::new(Handles::new(1)));
            let opened = open((disk.clone(), Path::new("/s")), &meta, &config, log, None);
            opened.unwrap().0
        };
        let mut store = open(10);
        for _ in 0..20 {
            let message = NewMessage {
                subject: b"a",
                headers: b"",
                payload: b"",
                timestamp: Timestamp(1),
                ttl_s: 0,
            };
            store.append(&message).unwrap();
        }
        store.sync().unwrap();
        assert_eq!(store.state().messages, 10);
        drop(store);
        let store = open(3);
        assert_eq!((store.state().messages, store.limits().messages), (3, 3));
        let last = store.log().last_index();
        drop(store);
        let store = open(3);
        assert_eq!((store.state().messages, store.limits().messages), (3, 3));
        assert_eq!(store.log().last_index(), last, "once is enough");
    }
}
