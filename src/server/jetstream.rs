//! JetStream from the options: its directory, its limits and its loop.

use super::{Server, StartError};
use crate::accounts::interest::LoopId;
use crate::broker::{Broker, Facts};
use crate::jetstream::node::{Identity, Node, Place};
use crate::loops::jetstream::{self, Turns, recover, store};
use crate::os::limits::{free_disk, total_memory};
use crate::store::sync_pool::SyncPool;
use log::info;
use mio::Poll;
use std::thread;

/// Threads that sync: as many as a disk serves at a time with some gain.
const SYNC_THREADS: usize = 4;

/// The part of memory, and of what is free on the disk, that streams may have where nothing else is
/// said: three quarters.
fn share(bytes: u64) -> u64 {
    bytes / 4 * 3
}

/// Takes the store's directory, before anything else is done.
pub(super) fn take_store(facts: &Facts) -> Result<Place, StartError> {
    store(&facts.options.jetstream).map_err(StartError::Store)
}

impl Server {
    /// Starts the loop of JetStream; all streams are open when this returns.
    pub(super) fn start_jetstream(
        &mut self,
        (poll, place): (Poll, Place),
        loops: usize,
        seed: u64,
    ) -> Result<(), StartError> {
        let facts = self.facts.clone();
        let options = &facts.options.jetstream;
        let dir = options.directory();
        let identity = Identity {
            server: facts.name.clone(),
            max_memory: options
                .max_memory
                .unwrap_or_else(|| share(total_memory().unwrap_or(0))),
            max_storage: options
                .max_file
                .unwrap_or_else(|| share(free_disk(&dir).unwrap_or(u64::MAX / 4))),
            options: options.clone(),
        };
        info!("Starting JetStream");
        info!("  Max Memory:      {} bytes", identity.max_memory);
        info!("  Max Storage:     {} bytes", identity.max_storage);
        info!("  Store Directory: {}", dir.display());
        if let Some(domain) = &options.domain {
            info!("  Domain:          {domain}");
        }
        let me = LoopId(u16::try_from(loops + 1).expect("there are few loops"));
        let pool = SyncPool::new(SYNC_THREADS).map_err(StartError::Loop)?;
        let journal = SyncPool::named("journal", 1).map_err(StartError::Loop)?;
        let mut node = Node::new(me, identity, place, &facts.accounts, seed);
        self.figures.note_recovering(true);
        let recovered = recover(&mut node, &pool);
        self.figures.note_recovering(false);
        recovered.map_err(|e| StartError::Store(e.into()))?;
        let broker = Broker::new(facts.clone(), me, loops, seed);
        let peers = self.peers.clone();
        if let Some(door) = &peers.jetstream {
            door.open(Turns::new(me, broker, node, (pool, journal)));
        }
        let thread = thread::Builder::new()
            .name("jetstream".into())
            .spawn(move || jetstream::run(poll, &peers))
            .map_err(StartError::Loop)?;
        self.jetstream = Some(thread);
        Ok(())
    }
}
