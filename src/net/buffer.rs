//! Read buffers that belong to the loop. Connections own none; payloads that are forwarded by
//! reference keep a buffer alive, which is then set aside until they are gone.

use crate::base::limits::{READ_BUFFER, READ_BUFFERS_KEPT};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The read buffers of one loop.
#[derive(Default)]
pub struct ReadPool {
    current: Option<Arc<Buffer>>,
    /// Buffers that payloads may still refer to.
    aside: Vec<Arc<Buffer>>,
    alive: Arc<AtomicUsize>,
}

/// A buffer, and the count of those that are alive, in which it is included.
struct Buffer {
    bytes: Box<[u8]>,
    alive: Arc<AtomicUsize>,
}

/// A buffer to read into and to handle what was read from.
pub struct ReadBuffer {
    buffer: Arc<Buffer>,
    whole: Option<Bytes>,
}

/// A read of at least this many bytes is worth keeping its buffer alive for a payload.
const PIN_MIN: usize = READ_BUFFER / 4;

impl ReadPool {
    /// A buffer that nobody refers to.
    pub fn take(&mut self) -> ReadBuffer {
        let buffer = self.current.take().unwrap_or_else(|| self.reclaim());
        ReadBuffer {
            buffer,
            whole: None,
        }
    }

    /// Gives a buffer back, whether or not payloads still refer to it.
    pub fn give(&mut self, read: ReadBuffer) {
        drop(read.whole);
        let mut buffer = read.buffer;
        if self.current.is_none() && Arc::get_mut(&mut buffer).is_some() {
            self.current = Some(buffer);
        } else if self.aside.len() < READ_BUFFERS_KEPT {
            self.aside.push(buffer);
        }
    }

    /// Frees what is not in use, but for one buffer.
    pub fn trim(&mut self) {
        self.aside.retain(|b| Arc::strong_count(b) > 1);
        self.aside.shrink_to_fit();
    }

    /// Bytes of all buffers.
    pub fn held(&self) -> usize {
        self.alive.load(Ordering::Relaxed) * READ_BUFFER
    }

    /// Bytes of buffers that payloads may refer to.
    pub fn pinned(&self) -> usize {
        let alive = self.alive.load(Ordering::Relaxed);
        alive.saturating_sub(usize::from(self.current.is_some())) * READ_BUFFER
    }

    #[cold]
    fn reclaim(&mut self) -> Arc<Buffer> {
        if let Some(i) = self
            .aside
            .iter_mut()
            .position(|b| Arc::get_mut(b).is_some())
        {
            return self.aside.swap_remove(i);
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        let bytes = vec![0; READ_BUFFER].into_boxed_slice();
        Arc::new(Buffer {
            bytes,
            alive: self.alive.clone(),
        })
    }
}

impl ReadBuffer {
    /// All of the buffer, to be read into; None if payloads refer to it.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        self.whole = None;
        Arc::get_mut(&mut self.buffer).map(|b| &mut b.bytes[..])
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes
    }

    /// What was read, with `len` bytes that came in one read, as a source of shared payloads.
    pub fn source(&mut self, len: usize) -> (&[u8], Sharing<'_>) {
        let ReadBuffer { buffer, whole } = self;
        (
            &buffer.bytes,
            Sharing {
                buffer,
                whole,
                pins: len >= PIN_MIN,
            },
        )
    }
}

/// A way to keep parts of a read buffer.
pub struct Sharing<'a> {
    buffer: &'a Arc<Buffer>,
    whole: &'a mut Option<Bytes>,
    pins: bool,
}

impl crate::broker::Source for Sharing<'_> {
    fn pins(&self) -> bool {
        self.pins
    }

    fn share(&mut self, part: &[u8]) -> Bytes {
        if !self.pins {
            return Bytes::copy_from_slice(part);
        }
        let whole = self
            .whole
            .get_or_insert_with(|| Bytes::from_owner(Owner(self.buffer.clone())));
        whole.slice_ref(part)
    }
}

struct Owner(Arc<Buffer>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Source;

    #[test]
    fn a_buffer_is_read_into_again_only_when_nobody_refers_to_it() {
        let mut pool = ReadPool::default();
        let mut read = pool.take();
        read.room().unwrap()[..5].copy_from_slice(b"hello");
        let (bytes, mut sharing) = read.source(PIN_MIN);
        let kept = sharing.share(&bytes[1..3]);
        assert!(read.room().is_none());
        pool.give(read);
        let mut second = pool.take();
        assert!(second.room().is_some());
        pool.give(second);
        assert_eq!((&kept[..], pool.pinned()), (&b"el"[..], READ_BUFFER));
        drop(kept);
        pool.trim();
        assert_eq!(pool.pinned(), 0);
    }

    #[test]
    fn small_reads_are_copied() {
        let mut pool = ReadPool::default();
        let mut read = pool.take();
        let (bytes, mut sharing) = read.source(PIN_MIN - 1);
        let kept = sharing.share(&bytes[..100]);
        assert!(read.room().is_some());
        assert_eq!(kept.len(), 100);
    }
}
