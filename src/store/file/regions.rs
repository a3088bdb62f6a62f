//! Which memory is a file, for the case that somebody cuts the file.
//!
//! The kernel tells of it by a signal at the first touch of what is gone. The handler (in `os/`,
//! where signals are at home) asks [`cover`] whether the address is of a file that the store has
//! mapped, and puts zeros there. So there is a table that can be read in a signal handler: of fixed
//! size, without a lock. A map that was hit says so from then on, and everybody can see by
//! [`faults`] that one was.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Maps that can be survived; about as many as Linux lets a process have. It takes no memory before
/// it is used.
const REGIONS_MAX: usize = 1 << 16;

static STARTS: [AtomicUsize; REGIONS_MAX] = [const { AtomicUsize::new(0) }; REGIONS_MAX];
static LENS: [AtomicUsize; REGIONS_MAX] = [const { AtomicUsize::new(0) }; REGIONS_MAX];
static CUT: [AtomicBool; REGIONS_MAX] = [const { AtomicBool::new(false) }; REGIONS_MAX];

/// Rows of the table that were ever used.
static USED: AtomicUsize = AtomicUsize::new(0);
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static FAULTS: AtomicU64 = AtomicU64::new(0);

/// How often a file was found to be cut while its bytes were looked at, in this process.
///
/// Whoever sends bytes of a [`Payload::Shared`](super::Payload::Shared) looks at this before and
/// after the bytes were written: if it has moved, zeros may have been sent in their place, and the
/// connection is of no use any more.
pub fn faults() -> u64 {
    FAULTS.load(Ordering::SeqCst)
}

/// The addresses that are to become zeros after a touch of `address` failed: from the beginning of
/// its page to the end of its map. `None` if it is of no map of the store. The map counts as cut
/// from then on.
///
/// It may be called in a signal handler: it takes no lock and no memory.
pub fn cover(address: usize, page_bytes: usize) -> Option<Range<usize>> {
    let rows = USED.load(Ordering::SeqCst).min(REGIONS_MAX);
    for row in 0..rows {
        let start = STARTS[row].load(Ordering::SeqCst);
        let len = LENS[row].load(Ordering::SeqCst);
        let is_it = start != 0 && address.checked_sub(start).is_some_and(|at| at < len);
        if is_it {
            CUT[row].store(true, Ordering::SeqCst);
            FAULTS.fetch_add(1, Ordering::SeqCst);
            let page = address - address % page_bytes;
            let end = (start + len).next_multiple_of(page_bytes);
            return Some(page..end);
        }
    }
    None
}

/// A row of the table, for as long as the map is there. Without one, the process does not survive
/// that the file is cut.
#[derive(Debug)]
pub(super) struct Region(Option<usize>);

impl Region {
    /// Enters a map of a file.
    #[cfg(any(unix, test))]
    pub(super) fn enter(start: usize, len: usize) -> Region {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let row = free.pop().or_else(|| {
            let next = USED.load(Ordering::SeqCst);
            (next < REGIONS_MAX).then(|| {
                USED.store(next + 1, Ordering::SeqCst);
                next
            })
        });
        if let Some(row) = row {
            CUT[row].store(false, Ordering::SeqCst);
            LENS[row].store(len, Ordering::SeqCst);
            STARTS[row].store(start, Ordering::SeqCst);
        }
        Region(row)
    }

    /// Memory that is no file.
    pub(super) const fn none() -> Region {
        Region(None)
    }

    /// Whether the file was cut while it was mapped, and some of the map is zeros.
    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        self.0.is_some_and(|row| CUT[row].load(Ordering::Acquire))
    }
}

/// To be dropped before the map is given back.
impl Drop for Region {
    fn drop(&mut self) {
        if let Some(row) = self.0 {
            STARTS[row].store(0, Ordering::SeqCst);
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_to_the_map_that_has_the_address_and_to_no_other() {
        // Addresses that no map has.
        let (a, b) = (
            Region::enter(1 << 60, 10_000),
            Region::enter(1 << 61, 5_000),
        );
        let before = faults();
        assert_eq!(cover((1 << 60) - 1, 4096), None);
        assert_eq!(cover((1 << 60) + 10_000, 4096), None);
        let zeros = (1 << 60) + 4096..(1 << 60) + 12_288;
        assert_eq!(cover((1 << 60) + 5_000, 4096), Some(zeros));
        assert!(a.is_cut() && !b.is_cut() && faults() > before);
        drop(a);
        assert_eq!(cover((1 << 60) + 5_000, 4096), None);
        let again = Region::enter(1 << 60, 10_000);
        assert!(!again.is_cut());
    }
}
