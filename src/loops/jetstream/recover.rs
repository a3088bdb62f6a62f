//! The streams that are there when the server starts.

use crate::jetstream::node::{self, Identity, Node, Place, Recovered};
use crate::options::Secret;
use crate::options::jetstream::{Cipher, JetStreamOptions, Sync};
use crate::store::crypt::{self, Keys};
use crate::store::directory::{self, Listing, StoreDir};
use crate::store::disk::{Disk, OsDisk};
use crate::store::error::{LogError, Reason};
use crate::store::file::Handles;
use crate::store::journal::{Journal, JournalOptions};
use crate::store::sync_pool::SyncPool;
use crate::store::types::StreamId;
use log::{error, info, warn};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Segments that all streams together may have open.
const SEGMENTS_OPEN: usize = 1024;

/// Why there is no store.
#[derive(Debug)]
pub enum StoreError {
    /// The directory holds what another server wrote.
    Foreign(PathBuf),
    Store(LogError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Foreign(dir) => write!(
                f,
                "{} holds streams in the form of the Go nats-server, which this server does not \
                 read: nothing was changed there, choose another store_dir",
                dir.display()
            ),
            StoreError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> StoreError {
        StoreError::Store(error)
    }
}

/// Takes the directory that the options name.
///
/// # Errors
/// If it is somebody else's, or the disk fails.
pub fn store(options: &JetStreamOptions) -> Result<Place, StoreError> {
    let root = options.directory();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    if let Some(foreign) = foreign(&*disk, &root) {
        return Err(StoreError::Foreign(foreign));
    }
    Ok(Place {
        dir: Arc::new(StoreDir::open(disk.clone(), &root)?),
        disk,
        keys: keys(options),
        handles: Arc::new(Handles::new(SEGMENTS_OPEN)),
    })
}

fn keys(options: &JetStreamOptions) -> Keys {
    let cipher = match options.cipher {
        Cipher::ChaCha20Poly1305 => crypt::Cipher::ChaCha20Poly1305,
        Cipher::Aes256Gcm => crypt::Cipher::Aes256Gcm,
    };
    match &options.key {
        Some(key) => {
            let previous = options.previous_key.as_ref().map(Secret::reveal);
            Keys::new(cipher, key.reveal(), previous)
        }
        None => Keys::none(),
    }
}

/// A directory below `root` in which the Go server keeps streams.
fn foreign(disk: &dyn Disk, root: &Path) -> Option<PathBuf> {
    let accounts = disk.dirs(root).ok()?;
    accounts.into_iter().find_map(|account| {
        let account = root.join(account);
        let inside = disk.dirs(&account).ok()?;
        let found = inside
            .iter()
            .find(|name| *name == "streams" || *name == "_js_")?;
        Some(account.join(found))
    })
}

/// Opens all streams that are there, several at a time, and has the node serve them.
///
/// # Errors
/// If the directory cannot be read.
pub fn recover(node: &mut Node, pool: &SyncPool) -> Result<(), LogError> {
    let listing = node.directory().streams(&node.place().keys)?;
    for remains in &listing.remains {
        warn!(
            "JetStream: {} is of no use and cannot be removed",
            remains.display()
        );
    }
    open_journal(node, &listing)?;
    let barrier = node.directory().barrier(listing.streams.len())?;
    let unsynced = barrier.is_some();
    let (results, outcomes) = channel();
    let mut total = 0;
    for found in listing.streams {
        let meta = match found.meta {
            Ok(found) => found.meta,
            Err(fault) => {
                error!("JetStream: a stream cannot be served: {fault}");
                continue;
            }
        };
        if node::is_unfinished(&meta) {
            let removed = node.directory().remove(meta.id, &found.dir);
            match removed.and_then(|removal| removal.run()) {
                Ok(()) => warn!(
                    "JetStream: stream '{} > {}' was not restored to its end, and is removed",
                    meta.account, meta.stream
                ),
                Err(fault) => error!("JetStream: a stream cannot be removed: {fault}"),
            }
            continue;
        }
        total += 1;
        let (identity, place): (Identity, Place) = (node.identity().clone(), node.place().clone());
        let results = results.clone();
        pool.run(move || {
            let name = (meta.account.clone(), meta.stream.clone());
            let recovered = node::recover(meta, &found.dir, &identity, &place, unsynced);
            // Whoever started this waits for all of them.
            let _ = results.send((name, recovered));
        });
    }
    drop(results);
    let step = (total / 10).max(1);
    for (done, (name, recovered)) in outcomes.into_iter().enumerate() {
        let (account, stream) = name;
        let name = format!("'{account} > {stream}'");
        match recovered {
            Ok(recovered) => serve(node, &name, recovered),
            Err(fault) => {
                error!("JetStream: stream {name} cannot be served: {fault}");
                node.note_unrecovered(account, stream);
            }
        }
        if (done + 1) % step == 0 && total > 1 {
            info!("  Recovered {} of {total} streams", done + 1);
        }
    }
    let passed = barrier.map_or(Ok(()), |barrier| barrier.sync());
    passed.map_err(|e| {
        let dir = node.directory().journal_dir();
        LogError::Io(Reason::new("sync the file system of", &dir, &e))
    })
}

/// Opens the commit journal, which puts into the streams' files what it has of them. A server that
/// does not wait for the disk needs none, but may find that of one that did.
fn open_journal(node: &mut Node, listing: &Listing) -> Result<(), LogError> {
    let place = node.place().clone();
    let mut dirs = HashMap::new();
    for found in &listing.streams {
        let id = match &found.meta {
            Ok(found) => Some(found.meta.id),
            // It may be readable again at another start.
            Err(_) => directory::stream_in(&*place.disk, &found.dir)?,
        };
        dirs.extend(id.map(|id| (id, found.dir.clone())));
    }
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|e| {
        let kind = std::io::ErrorKind::Other;
        let text = format!("no random numbers: {e}");
        LogError::Io(Reason { kind, text })
    })?;
    let dir = place.dir.journal_dir();
    let options = JournalOptions::default();
    let mut locate = |id: &StreamId| dirs.get(id).cloned();
    let (journal, replayed) = Journal::open(place.disk, &dir, nonce, options, &mut locate)?;
    for damage in &replayed.damaged {
        error!("JetStream: the commit journal is damaged: {damage}");
    }
    if replayed.records > 0 {
        info!("  Took {} records from the journal", replayed.records);
    }
    if node.identity().options.sync == Sync::Always {
        node.set_journal(journal);
    }
    Ok(())
}

fn serve(node: &mut Node, name: &str, recovered: Recovered) {
    let now = super::turns::timestamp(crate::base::clock::wall());
    let state = recovered.opening.store.state();
    let opened = recovered.opened.clone();
    info!("  Restored {} messages for stream {name}", state.messages);
    if opened.rebuilt {
        info!("  The index of stream {name} was made anew from its messages");
    }
    if state.lost > 0 {
        warn!("  Stream {name} has lost {} messages to damage", state.lost);
    }
    if !node.add_recovered(recovered, now) {
        warn!("  Stream {name} is not served: its account has no JetStream");
    }
}
