//! Advice to the C library's allocator, which serves Rust's: give back what big buffers held.
//! Does nothing on systems with another C library.

/// Bytes from which an allocation gets pages of its own, which freeing it hands back at once. The
/// allocator's own threshold starts at twice this and grows with use up to 32 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES: libc::c_int = 64 << 10;

/// The most arenas; by default there are eight a core, each keeping free memory to itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 4;

/// Tunes the allocator; to be called before other threads start. Whether the advice was taken.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "the allocator is tuned through the C library only"
)]
pub fn tune() -> bool {
    // SAFETY: mallopt takes plain numbers, checks them, and locks the allocator's own state.
    let pages = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES) };
    // SAFETY: as above.
    let arenas = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    pages == 1 && arenas == 1
}

/// Hands free memory of all arenas back to the system; whether there was any. Takes the time to
/// walk the heap, so it is for quiet moments after much was freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "the allocator is trimmed through the C library only"
)]
pub fn trim() -> bool {
    // SAFETY: malloc_trim takes a plain number and releases only pages without live allocations.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Bytes of the heap.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// In use, with what the allocator needs for it.
    pub used: u64,
    /// Kept for the next time.
    pub free: u64,
}

/// What the heap holds; None if there is no known allocator to tell. Each part of the heap is locked
/// while it is looked at.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "the allocator is asked through the C library only"
)]
pub fn heap() -> Option<Heap> {
    // SAFETY: mallinfo2 takes nothing, locks the allocator's own state, and returns plain numbers.
    let info = unsafe { libc::mallinfo2() };
    Some(Heap {
        used: (info.uordblks + info.hblkhd) as u64,
        free: info.fordblks as u64,
    })
}

/// What the heap holds; None if there is no known allocator to tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn heap() -> Option<Heap> {
    None
}

/// There is no known allocator to tune.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn tune() -> bool {
    false
}

/// There is no known allocator to trim.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn trim() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn the_advice_is_taken() {
        assert!(super::tune());
        // Whether there is something to give back depends on the other tests; it must not crash.
        super::trim();
    }
}
