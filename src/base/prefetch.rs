//! Asking the processor for memory that is looked at soon, so that it need not be waited for then.

/// Bytes that a processor fetches at a time.
const LINE: usize = 64;

/// Asks for the first `len` bytes of a slice, or all of it. This is a hint: nothing is read, memory
/// that the system does not have at hand is not brought there, and where there is no such
/// instruction nothing happens.
#[inline]
pub fn prefetch(bytes: &[u8], len: usize) {
    for line in bytes[..bytes.len().min(len)].chunks(LINE) {
        fetch(line);
    }
}

#[inline]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "no safe call gives the hint")]
fn fetch(line: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction takes any address and faults at none.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
}

#[inline]
#[cfg(not(target_arch = "x86_64"))]
fn fetch(_line: &[u8]) {}
