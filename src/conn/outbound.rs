//! What waits to be written to a connection: own bytes, coalesced into chunks, between which
//! large payloads stand as references to buffers shared with other connections.
//!
//! A connection with nothing pending owns nothing: chunks come from and go back to the loop's
//! [`ChunkPool`].

use crate::base::limits::{CHUNK, CHUNK_SMALL, WRITE_SLICES};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// The outbound queue of one connection.
#[derive(Default)]
pub struct Outbound {
    queue: Option<Box<Queue>>,
    pending: usize,
    /// Whether the last drained queue outgrew the small chunk, so that the next starts large.
    busy: bool,
}

#[derive(Default)]
struct Queue {
    /// Own bytes. Only the last chunk is appended to; none but the last is ever empty.
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written.
    chunk_at: usize,
    /// Shared slices, each with the count of own bytes ever queued before it.
    shared: VecDeque<(u64, Bytes)>,
    /// Own bytes ever queued and ever written.
    own_queued: u64,
    own_written: u64,
}

struct Chunk {
    bytes: Box<[u8]>,
    len: usize,
}

impl Outbound {
    /// Bytes queued and not yet written, shared ones included.
    #[inline]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Room for `n` own bytes at the end of the queue, to be filled in by the caller.
    #[inline]
    pub fn room(&mut self, n: usize, pool: &mut ChunkPool) -> &mut [u8] {
        self.pending += n;
        let busy = self.busy;
        let queue = self.queue.get_or_insert_with(|| pool.queue());
        queue.own_queued += n as u64;
        if queue
            .chunks
            .back()
            .is_none_or(|c| c.bytes.len() - c.len < n)
        {
            queue.grow(n, busy, pool);
        }
        let chunk = queue
            .chunks
            .back_mut()
            .expect("grow leaves a chunk with room");
        let at = chunk.len;
        chunk.len += n;
        &mut chunk.bytes[at..at + n]
    }

    /// Queues own bytes.
    pub fn push(&mut self, bytes: &[u8], pool: &mut ChunkPool) {
        self.room(bytes.len(), pool).copy_from_slice(bytes);
    }

    /// Queues a reference to a shared buffer.
    pub fn share(&mut self, bytes: Bytes, pool: &mut ChunkPool) {
        self.pending += bytes.len();
        let queue = self.queue.get_or_insert_with(|| pool.queue());
        queue.shared.push_back((queue.own_queued, bytes));
    }

    /// The front of the queue, for one vectored write; gives how many slices were filled in.
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>; WRITE_SLICES]) -> usize {
        let Some(queue) = &self.queue else { return 0 };
        let mut n = 0;
        let mut put = |bytes: &'a [u8]| {
            if !bytes.is_empty() {
                out[n] = IoSlice::new(bytes);
                n += 1;
            }
            n < WRITE_SLICES
        };
        let mut own_at = queue.own_written;
        let mut shared = queue.shared.iter().peekable();
        let mut skip = queue.chunk_at;
        for chunk in &queue.chunks {
            let mut bytes = &chunk.bytes[skip..chunk.len];
            skip = 0;
            while let Some((before, slice)) =
                shared.next_if(|(b, _)| *b <= own_at + bytes.len() as u64)
            {
                let (front, rest) = bytes.split_at(to_usize(before - own_at));
                own_at = *before;
                bytes = rest;
                if !put(front) || !put(slice) {
                    return n;
                }
            }
            own_at += bytes.len() as u64;
            if !put(bytes) {
                return n;
            }
        }
        for (_, slice) in shared {
            if !put(slice) {
                return n;
            }
        }
        n
    }

    /// Drops `n` bytes that were written from the front.
    pub fn advance(&mut self, mut n: usize, pool: &mut ChunkPool) {
        self.pending -= n;
        let Some(queue) = &mut self.queue else { return };
        while n > 0 {
            let own = match queue.shared.front_mut() {
                Some((before, slice)) if *before == queue.own_written => {
                    let take = n.min(slice.len());
                    n -= take;
                    if take == slice.len() {
                        queue.shared.pop_front();
                    } else {
                        bytes::Buf::advance(slice, take);
                    }
                    continue;
                }
                Some((before, _)) => n.min(to_usize(*before - queue.own_written)),
                None => n,
            };
            n -= own;
            queue.drop_own(own, pool);
        }
        if self.pending == 0 {
            self.clear(pool);
        }
    }

    /// Drops all that is queued.
    pub fn clear(&mut self, pool: &mut ChunkPool) {
        self.pending = 0;
        if let Some(mut queue) = self.queue.take() {
            self.busy = queue.own_queued > CHUNK_SMALL as u64;
            queue.chunks.drain(..).for_each(|c| pool.put(c.bytes));
            *queue = Queue {
                chunks: std::mem::take(&mut queue.chunks),
                shared: std::mem::take(&mut queue.shared),
                ..Queue::default()
            };
            queue.shared.clear();
            pool.put_queue(queue);
        }
    }
}

impl Queue {
    #[cold]
    fn grow(&mut self, n: usize, busy: bool, pool: &mut ChunkPool) {
        let size = if n > CHUNK {
            n
        } else if n > CHUNK_SMALL || busy || !self.chunks.is_empty() {
            CHUNK
        } else {
            CHUNK_SMALL
        };
        self.chunks.push_back(Chunk {
            bytes: pool.take(size),
            len: 0,
        });
    }

    fn drop_own(&mut self, mut n: usize, pool: &mut ChunkPool) {
        self.own_written += n as u64;
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.len - self.chunk_at;
            if n < left {
                self.chunk_at += n;
                return;
            }
            n -= left;
            self.chunk_at = 0;
            let chunk = self.chunks.pop_front().expect("there is a front");
            pool.put(chunk.bytes);
        }
        debug_assert_eq!(n, 0, "no more is written than was queued");
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("what is queued fits into memory")
}

/// Chunks and queues that are not in use, for all connections of a loop. What stays unused goes
/// back to the system in [`ChunkPool::trim`].
#[derive(Default)]
pub struct ChunkPool {
    small: Shelf,
    large: Shelf,
    #[allow(
        clippy::vec_box,
        reason = "the boxes move between here and the connections"
    )]
    queues: Vec<Box<Queue>>,
    /// Bytes in chunks that are in use.
    used: usize,
}

/// Chunks of one size, with the fewest there have been since the last trim.
#[derive(Default)]
struct Shelf {
    free: Vec<Box<[u8]>>,
    least: usize,
}

/// Chunks of each size that are kept at most, and queues.
const KEPT_SMALL: usize = 1024;
const KEPT_LARGE: usize = 256;
const KEPT_QUEUES: usize = 1024;

impl ChunkPool {
    /// Bytes of chunks in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes of chunks that wait to be used again.
    pub fn spare(&self) -> usize {
        self.small.free.len() * CHUNK_SMALL + self.large.free.len() * CHUNK
    }

    fn shelf(&mut self, size: usize) -> Option<(&mut Shelf, usize)> {
        match size {
            CHUNK_SMALL => Some((&mut self.small, KEPT_SMALL)),
            CHUNK => Some((&mut self.large, KEPT_LARGE)),
            _ => None,
        }
    }

    fn take(&mut self, size: usize) -> Box<[u8]> {
        self.used += size;
        if let Some((shelf, _)) = self.shelf(size)
            && let Some(chunk) = shelf.free.pop()
        {
            shelf.least = shelf.least.min(shelf.free.len());
            return chunk;
        }
        vec![0; size].into_boxed_slice()
    }

    fn put(&mut self, chunk: Box<[u8]>) {
        self.used -= chunk.len();
        if let Some((shelf, kept)) = self.shelf(chunk.len())
            && shelf.free.len() < kept
        {
            shelf.free.push(chunk);
        }
    }

    fn queue(&mut self) -> Box<Queue> {
        self.queues.pop().unwrap_or_default()
    }

    fn put_queue(&mut self, queue: Box<Queue>) {
        let huge = queue.chunks.capacity() > 16 || queue.shared.capacity() > 64;
        if self.queues.len() < KEPT_QUEUES && !huge {
            self.queues.push(queue);
        }
    }

    /// Frees what was not needed since the last call; gives the bytes freed.
    pub fn trim(&mut self) -> usize {
        let mut freed = 0;
        for shelf in [&mut self.small, &mut self.large] {
            freed += shelf
                .free
                .drain(..shelf.least)
                .map(|c| c.len())
                .sum::<usize>();
            shelf.free.shrink_to_fit();
            shelf.least = shelf.free.len();
        }
        self.queues
            .truncate(self.small.free.len() + self.large.free.len());
        self.queues.shrink_to_fit();
        freed
    }

    /// Whether there is anything that a trim could free.
    pub fn holds_any(&self) -> bool {
        !self.small.free.is_empty() || !self.large.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn front(out: &Outbound) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        let n = out.slices(&mut slices);
        assert!(slices[..n].iter().all(|s| !s.is_empty()));
        slices[..n].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn idle_connections_own_nothing() {
        let mut pool = ChunkPool::default();
        let mut out = Outbound::default();
        out.push(b"hello", &mut pool);
        out.share(Bytes::from_static(b"shared"), &mut pool);
        assert_eq!((out.pending(), pool.used()), (11, CHUNK_SMALL));
        out.advance(11, &mut pool);
        assert!(out.queue.is_none());
        assert_eq!((out.pending(), pool.used()), (0, 0));
    }

    #[test]
    fn unused_chunks_go_back() {
        let mut pool = ChunkPool::default();
        let mut outs: Vec<Outbound> = (0..10).map(|_| Outbound::default()).collect();
        outs.iter_mut().for_each(|o| o.push(&[1; CHUNK], &mut pool));
        outs.iter_mut().for_each(|o| o.clear(&mut pool));
        assert_eq!(pool.large.free.len(), 10);
        pool.trim(); // they were all in use since the start
        outs[0].push(&[1; CHUNK], &mut pool);
        outs[0].clear(&mut pool);
        pool.trim();
        assert_eq!(pool.large.free.len(), 1);
        pool.trim();
        assert!(!pool.holds_any());
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in proptest::collection::vec((0..3u8, 0..9000usize), 1..200),
        ) {
            let (mut pool, mut out) = (ChunkPool::default(), Outbound::default());
            let (mut want, mut got) = (Vec::new(), Vec::new());
            let mut next = 0u8;
            for (step, n) in steps {
                let bytes: Vec<u8> = (0..n).map(|i| (i as u8).wrapping_add(next)).collect();
                next = next.wrapping_add(17);
                match step {
                    0 => {
                        want.extend_from_slice(&bytes);
                        out.push(&bytes, &mut pool);
                    }
                    1 if n > 0 => {
                        want.extend_from_slice(&bytes);
                        out.share(bytes.into(), &mut pool);
                    }
                    _ => {
                        let all = front(&out);
                        let n = n.min(all.len());
                        got.extend_from_slice(&all[..n]);
                        out.advance(n, &mut pool);
                    }
                }
                prop_assert_eq!(out.pending(), want.len() - got.len());
            }
            while out.pending() > 0 {
                let all = front(&out);
                got.extend_from_slice(&all);
                out.advance(all.len(), &mut pool);
            }
            prop_assert_eq!(got, want);
            prop_assert_eq!(pool.used(), 0);
        }
    }
}
