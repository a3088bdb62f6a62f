//! Where the program spends its time: a timer of the system interrupts it at equal intervals of the
//! CPU time that all threads use together, and what it is at then is written down.
//!
//! What happens in the interruption neither allocates nor locks. The stack is unwound by the system's
//! unwinder, which on Linux with glibc 2.35 or newer takes no lock either.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;

/// What a thread was at.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sample {
    /// The system's id of the thread.
    pub thread: u32,
    /// Addresses of instructions: the one that was executed, and the calls that led there.
    pub frames: Vec<usize>,
}

/// All that was seen.
#[derive(Debug)]
pub struct Samples {
    pub all: Vec<Sample>,
    /// How many more there was no room for.
    pub lost: usize,
}

/// Why there are no samples.
#[derive(Debug)]
pub enum SampleError {
    /// Somebody else is at it.
    Busy,
    /// There is no way on this system.
    Unsupported,
    /// The system refuses.
    System(io::Error),
}

impl Display for SampleError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SampleError::Busy => f.write_str("cpu profiling already in use"),
            SampleError::Unsupported => f.write_str("not supported on this system"),
            SampleError::System(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for SampleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SampleError::System(e) => Some(e),
            SampleError::Busy | SampleError::Unsupported => None,
        }
    }
}

/// Takes samples for a while, one each time the program has computed for `interval`.
///
/// # Errors
/// See [`SampleError`].
pub fn sample(duration: Duration, interval: Duration) -> Result<Samples, SampleError> {
    imp::sample(duration, interval)
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod imp {
    use super::{SampleError, Samples};
    use std::time::Duration;

    pub(super) fn sample(_: Duration, _: Duration) -> Result<Samples, SampleError> {
        Err(SampleError::Unsupported)
    }
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod imp {
    use super::{Sample, SampleError, Samples};
    use crate::base::clock;
    use std::ffi::{c_int, c_void};
    use std::io;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// The deepest stack that is written down; what led there is left out.
    const DEPTH: usize = 128;

    /// Words of memory for samples. They cost nothing until they are written.
    const WORDS: usize = 4 << 20;

    /// Where the thread id stands in the first word of a sample, above the number of frames.
    const THREAD_SHIFT: u32 = 16;
    const _: () = assert!(DEPTH < 1 << THREAD_SHIFT && usize::BITS == 64);

    /// Room for samples. One takes a word with the thread and the number of frames, written last,
    /// and a word a frame.
    struct Store {
        words: Box<[AtomicUsize]>,
        next: AtomicUsize,
        lost: AtomicUsize,
    }

    /// Whether somebody takes samples.
    static ACTIVE: AtomicBool = AtomicBool::new(false);

    /// Where they go.
    static STORE: AtomicPtr<Store> = AtomicPtr::new(ptr::null_mut());

    /// Interruptions that are being looked at, and may use the store.
    static INSIDE: AtomicUsize = AtomicUsize::new(0);

    impl Store {
        fn new(words: usize) -> Store {
            let words = Box::<[AtomicUsize]>::new_zeroed_slice(words);
            Store {
                #[allow(unsafe_code, reason = "memory that is not touched costs nothing")]
                // SAFETY: all zeroes are a valid number.
                words: unsafe { words.assume_init() },
                next: AtomicUsize::new(0),
                lost: AtomicUsize::new(0),
            }
        }

        fn push(&self, thread: usize, frames: &[usize]) {
            let at = self
                .next
                .fetch_add(frames.len().wrapping_add(1), Ordering::Relaxed);
            let room = self.words.get(at..).unwrap_or_default();
            let Some((head, rest)) = room
                .split_first()
                .filter(|(_, rest)| rest.len() >= frames.len())
            else {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            };
            for (word, frame) in rest.iter().zip(frames) {
                word.store(*frame, Ordering::Relaxed);
            }
            let first = thread << THREAD_SHIFT | frames.len();
            head.store(first, Ordering::Release);
        }

        fn samples(&self) -> Samples {
            let mut all = Vec::new();
            let mut rest = &self.words[..];
            while let Some((first, after)) = rest.split_first() {
                let first = first.load(Ordering::Acquire);
                let len = first & ((1 << THREAD_SHIFT) - 1);
                let Some((frames, after)) = after.split_at_checked(len).filter(|_| len > 0) else {
                    break;
                };
                let frames = frames.iter().map(|frame| frame.load(Ordering::Relaxed));
                all.push(Sample {
                    thread: u32::try_from(first >> THREAD_SHIFT).unwrap_or(0),
                    frames: frames.collect(),
                });
                rest = after;
            }
            let lost = self.lost.load(Ordering::Relaxed);
            Samples { all, lost }
        }
    }

    pub(super) fn sample(duration: Duration, interval: Duration) -> Result<Samples, SampleError> {
        if ACTIVE.swap(true, Ordering::SeqCst) {
            return Err(SampleError::Busy);
        }
        let samples = take(duration, interval);
        ACTIVE.store(false, Ordering::SeqCst);
        samples.map_err(SampleError::System)
    }

    fn take(duration: Duration, interval: Duration) -> io::Result<Samples> {
        // Whatever the unwinder sets up on its first use is set up here.
        let mut frames = [0; DEPTH];
        unwind(0, &mut frames);
        install()?;
        let store = Box::into_raw(Box::new(Store::new(WORDS)));
        STORE.store(store, Ordering::SeqCst);
        let armed = arm(interval);
        if armed.is_ok() {
            let end = clock::mono() + duration;
            loop {
                let left = end.since(clock::mono());
                if left.is_zero() {
                    break;
                }
                thread::park_timeout(left);
            }
        }
        let disarmed = arm(Duration::ZERO);
        STORE.store(ptr::null_mut(), Ordering::SeqCst);
        // An interruption that has seen the store has also been counted by now.
        while INSIDE.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        #[allow(unsafe_code, reason = "the store is shared with interruptions")]
        // SAFETY: it came from a box above, and no interruption can find it any more or is still
        // inside with it.
        let store = unsafe { Box::from_raw(store) };
        armed.and(disarmed).map(|()| store.samples())
    }

    /// Has interruptions of the timer handled from now on, for good: one may still be under way
    /// when the timer is stopped, and would end the process if nobody handled it.
    fn install() -> io::Result<()> {
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = interrupted;
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: all zeroes are a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        // What the thread was waiting for goes on where that is possible.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: the handler has the form that SA_SIGINFO asks for and does nothing that a handler
        // may not do: it locks nothing, allocates nothing and keeps errno.
        let done = unsafe { libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut()) };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Starts the timer, or stops it with zero.
    fn arm(interval: Duration) -> io::Result<()> {
        let time = libc::timeval {
            tv_sec: libc::time_t::try_from(interval.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_usec: libc::suseconds_t::from(interval.subsec_micros()),
        };
        let value = libc::itimerval {
            it_interval: time,
            it_value: time,
        };
        #[allow(unsafe_code, reason = "the standard library has no such timer")]
        // SAFETY: `value` is a valid itimerval, which the call only reads.
        let done = unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const value, ptr::null_mut()) };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    extern "C" fn interrupted(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let store = STORE.load(Ordering::SeqCst);
        #[allow(unsafe_code, reason = "the store is shared with interruptions")]
        // SAFETY: the store is freed only once it cannot be loaded and nobody is inside, and this
        // was counted before it was loaded.
        if let Some(store) = unsafe { store.as_ref() } {
            #[allow(unsafe_code, reason = "errno is the interrupted code's")]
            // SAFETY: this takes nothing.
            let errno = unsafe { libc::__errno_location() };
            #[allow(unsafe_code, reason = "errno is the interrupted code's")]
            // SAFETY: it is the address of this thread's own errno, valid while the thread runs, and
            // nothing else refers to it here.
            let errno = unsafe { &mut *errno };
            let kept = *errno;
            let mut frames = [0; DEPTH];
            let len = unwind(counter(context), &mut frames);
            store.push(thread_id(), &frames[..len]);
            *errno = kept;
        }
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }

    fn thread_id() -> usize {
        #[allow(
            unsafe_code,
            reason = "the standard library does not know the system's id"
        )]
        // SAFETY: this takes nothing and cannot fail.
        let id = unsafe { libc::gettid() };
        usize::try_from(id).unwrap_or(0)
    }

    /// The instruction that was interrupted.
    fn counter(context: *mut c_void) -> usize {
        #[allow(unsafe_code, reason = "only the system knows")]
        // SAFETY: with SA_SIGINFO the system hands the handler a valid ucontext_t.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        #[cfg(target_arch = "x86_64")]
        let counter = context.uc_mcontext.gregs[libc::REG_RIP as usize].cast_unsigned();
        #[cfg(target_arch = "aarch64")]
        let counter = context.uc_mcontext.pc;
        usize::try_from(counter).unwrap_or(0)
    }

    /// Writes down the stack below an interruption at `counter`; gives its depth. If the unwinder
    /// does not find the way there, the counter alone.
    fn unwind(counter: usize, frames: &mut [usize; DEPTH]) -> usize {
        let mut len = 0;
        let mut look = |frame: &backtrace::Frame| {
            let at = frame.ip() as usize;
            if len == 0 {
                // Up to here, it is this handler.
                if at == counter {
                    frames[0] = at;
                    len = 1;
                }
                return true;
            }
            let Some(next) = frames.get_mut(len).filter(|_| at != 0) else {
                return false;
            };
            // The call, not where it returns to.
            *next = at.wrapping_sub(1);
            len = len.wrapping_add(1);
            true
        };
        #[allow(unsafe_code, reason = "the safe form takes a lock")]
        // SAFETY: the lock is for symbols, and none are looked up; the unwinder itself may be used
        // by several threads at once.
        unsafe {
            backtrace::trace_unsynchronized(&mut look);
        }
        if len == 0 {
            frames[0] = counter;
            len = 1;
        }
        len
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn samples_come_back_and_those_without_room_are_counted() {
            let store = Store::new(8);
            store.push(7, &[1, 2, 3]);
            store.push(9, &[4]);
            store.push(9, &[5, 6]);
            store.push(9, &[7]);
            let samples = store.samples();
            let sample = |thread, frames: &[usize]| Sample {
                thread,
                frames: frames.into(),
            };
            assert_eq!(samples.all, [sample(7, &[1, 2, 3]), sample(9, &[4])]);
            assert_eq!(samples.lost, 2);
        }
    }
}
