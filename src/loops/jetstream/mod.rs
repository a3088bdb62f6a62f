//! The loop of JetStream: it owns the streams and consumers.
//!
//! A turn: sleep until there is mail; take it, messages for streams, requests and the outcomes of
//! tasks; let the node do its part, which writes what came; give its tasks to the pool; send out
//! answers. What is to be synced is, by threads of the pool, while the next turns go on.
//!
//! It has a broker as the client loops do, only without clients. Who brings mail while the loop sleeps, and
//! has time, does its turn instead of waking it, see [`Door`].

mod door;
mod recover;
mod turns;
mod visits;

pub use door::Door;
pub use recover::{StoreError, recover, store};
pub use turns::Turns;

use super::client::Peers;
use crate::base::clock;
use log::error;
use mio::{Events, Poll, Token, Waker};
use std::io;
use std::sync::Arc;

const WAKER: Token = Token(0);

/// A poll and the waker that the loop's inbox needs.
///
/// # Errors
/// The system has no more descriptors for it.
pub fn poll() -> io::Result<(Poll, Waker)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    Ok((poll, waker))
}

/// Turns until told to shut down; then everything is on the disk.
pub fn run(mut poll: Poll, peers: &Arc<Peers>) {
    let Some(door) = &peers.jetstream else {
        return;
    };
    let mut events = Events::with_capacity(4);
    let mut timeout = None;
    loop {
        if let Some(mut turns) = door.enter() {
            turns.turn(peers, &door.inbox, clock::mono());
            if turns.is_ending() {
                break;
            }
            timeout = turns.timeout(&door.inbox, clock::mono());
        }
        if let Err(e) = poll.poll(&mut events, timeout)
            && e.kind() != io::ErrorKind::Interrupted
        {
            error!("Error waiting for messages to streams: {e}");
            break;
        }
        door.inbox.woken();
    }
    if let Some(mut turns) = door.enter() {
        turns.end(peers, &door.inbox);
    }
}
