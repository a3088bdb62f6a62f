//! Memory that is a file, to be read only, and memory that stands for a file.
//!
//! The home of the store's `unsafe`. What makes it sound:
//!
//! - Memory is shared between a map and its writer. Nobody looks at bytes that are being written:
//!   readers stay below the length that the log has published, which it raises after the write, and
//!   what is published is not written again while the log is open. Only contents of small messages
//!   that were erased are, in files, by calls of the system: nobody wants them any more, and who
//!   passes over them copies them and checks the copy, or does not look at contents. In memory they are
//!   written by who reads them.
//! - A file is never made shorter by us while it is mapped. If somebody else does it, the kernel
//!   raises SIGBUS at the first touch of what is gone; see `regions.rs`.

#![allow(
    unsafe_code,
    reason = "maps are made and given back by calls of the system, and memory that is written \
              while it is shared cannot be a slice"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::regions;

/// The first bytes of a file, to be read.
#[derive(Clone, Debug)]
pub struct Map(Arc<Region>);

impl Map {
    /// Maps the first `len` bytes of a file, which may be shorter still.
    #[cfg(unix)]
    pub(crate) fn of_file(file: &File, len: usize) -> io::Result<Option<Map>> {
        use std::os::fd::AsRawFd;

        let mut region = Region::map(len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())?;
        region.row = regions::Region::enter(region.start as usize, len);
        Ok(Some(Map(Arc::new(region))))
    }

    /// Maps that go past the end of the file do not exist on this system.
    #[cfg(not(unix))]
    pub(crate) fn of_file(_file: &File, _len: usize) -> io::Result<Option<Map>> {
        Ok(None)
    }

    /// Bytes of the map.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it is of no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Some bytes; `None` if they are not all in the map. The caller knows that they were written
    /// and published.
    #[inline]
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.0.len {
            return None;
        }
        // SAFETY: the range lies in the region, which lives as long as `self`.
        let start = unsafe { self.0.start.add(range.start) };
        // SAFETY: as above; and the bytes are published, so that nobody writes them meanwhile (see
        // the module).
        Some(unsafe { std::slice::from_raw_parts(start, range.len()) })
    }

    /// Whether the file was cut while it was mapped, and what is gone is zeros now.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.0.row.is_cut()
    }

    /// Whether a range is in memory, so that nobody waits for the disk who looks at it. A range that
    /// cannot be asked about counts as being there.
    pub fn is_resident(&self, range: Range<usize>) -> bool {
        self.0.is_resident(range)
    }

    /// How many maps and slices of maps share this memory.
    pub fn shares(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

/// Memory that stands for a file: zeros at first, which take no room until they are written.
#[derive(Clone, Debug)]
pub struct Anonymous(Arc<Region>);

impl Anonymous {
    /// `len` bytes of zeros.
    #[cfg(unix)]
    pub(crate) fn new(len: usize) -> io::Result<Anonymous> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let region = Region::map(len, libc::PROT_READ | libc::PROT_WRITE, flags, -1)?;
        Ok(Anonymous(Arc::new(region)))
    }

    /// `len` bytes of zeros.
    #[cfg(not(unix))]
    pub(crate) fn new(len: usize) -> io::Result<Anonymous> {
        Region::allocate(len).map(|r| Anonymous(Arc::new(r)))
    }

    /// Copies `bytes` to `at`; an error if they do not fit.
    pub(crate) fn write(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        let end = at.checked_add(bytes.len());
        if end.is_none_or(|end| end > self.0.len) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // SAFETY: the range lies in the region.
        let to = unsafe { self.0.start.add(at) };
        // SAFETY: as above, and `bytes` is no part of it that anybody could have got for writing.
        // Nobody looks at these bytes meanwhile (see the module).
        unsafe { std::ptr::copy(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// The same memory, to be read.
    pub(crate) fn map(&self) -> Map {
        Map(self.0.clone())
    }
}

#[derive(Debug)]
struct Region {
    start: *mut u8,
    len: usize,
    /// Where it is in the table of maps, if it is a file.
    row: regions::Region,
}

/// Bytes that are looked at in one go when it is asked whether they are in memory.
#[cfg(unix)]
const RESIDENT_BYTES: usize = 1 << 20;

// SAFETY: the memory belongs to no thread, and who writes and reads when is the module's promise.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

#[cfg(unix)]
impl Region {
    fn map(len: usize, rights: i32, flags: i32, file: i32) -> io::Result<Region> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new map at an address of the system's choice touches no other memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, rights, flags, file, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast();
        let row = regions::Region::none();
        Ok(Region { start, len, row })
    }

    fn is_resident(&self, range: Range<usize>) -> bool {
        // No system has smaller pages.
        const PAGE: usize = 4096;
        let mut pages = [0; RESIDENT_BYTES / PAGE];
        let mut at = range.start - range.start % RESIDENT_BYTES;
        let end = range.end.min(self.len);
        while at < end {
            let len = RESIDENT_BYTES.min(self.len - at);
            // SAFETY: the range lies in the region.
            let start = unsafe { self.start.add(at) };
            // SAFETY: the range is mapped and begins with a page, since a map does and the distance
            // is a multiple of every page's size; there is a byte for each page of it.
            let asked = unsafe { libc::mincore(start.cast(), len, pages.as_mut_ptr().cast()) };
            if asked != 0 {
                return true;
            }
            // With larger pages fewer of the bytes are filled.
            // SAFETY: this takes a number.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let page = usize::try_from(page).unwrap_or(PAGE).max(PAGE);
            let first = range.start.saturating_sub(at) / page;
            let last = (end - at).min(len).div_ceil(page);
            let asked = pages.get(first..last).unwrap_or_default();
            if asked.iter().any(|page: &u8| page & 1 == 0) {
                return false;
            }
            at += RESIDENT_BYTES;
        }
        true
    }
}

#[cfg(unix)]
impl Drop for Region {
    fn drop(&mut self) {
        // The table must not name addresses that somebody else may get.
        drop(std::mem::replace(&mut self.row, regions::Region::none()));
        // SAFETY: this is the map that was made, and nobody has a part of it any more: slices
        // borrow from what holds the region.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

#[cfg(not(unix))]
impl Region {
    fn layout(len: usize) -> io::Result<std::alloc::Layout> {
        let layout = std::alloc::Layout::from_size_align(len.max(1), 4096);
        layout.map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    fn allocate(len: usize) -> io::Result<Region> {
        // SAFETY: the layout is not of zero size.
        let start = unsafe { std::alloc::alloc_zeroed(Region::layout(len)?) };
        if start.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let row = regions::Region::none();
        Ok(Region { start, len, row })
    }

    fn is_resident(&self, _range: Range<usize>) -> bool {
        true
    }
}

#[cfg(not(unix))]
impl Drop for Region {
    fn drop(&mut self) {
        if let Ok(layout) = Region::layout(self.len) {
            // SAFETY: this is what was allocated, with the same layout.
            unsafe { std::alloc::dealloc(self.start, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zero_then_what_was_written_and_bounded() {
        let memory = Anonymous::new(10_000).unwrap();
        let map = memory.map();
        assert_eq!(map.get(9_990..10_000), Some(&[0; 10][..]));
        memory.write(b"abc", 9_997).unwrap();
        assert_eq!(map.get(9_996..10_000), Some(&b"\0abc"[..]));
        assert!(memory.write(b"abc", 9_998).is_err());
        assert!(memory.write(b"abc", usize::MAX).is_err());
        assert_eq!(map.get(5..10_001), None);
        assert_eq!(map.shares(), 2);
        drop(memory);
        assert_eq!(map.get(9_997..10_000), Some(&b"abc"[..]));
    }
}
