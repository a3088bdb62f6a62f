//! Survives that somebody cuts a file which the store has mapped: the kernel tells of it by SIGBUS,
//! at the instruction that looks at what is gone.
//!
//! The handler puts zeros there and lets the instruction be done again. The checksum of what was to
//! be read does not match then, and the segment is given up; all else goes on. A fault at any other
//! address does what it did before.

use std::io;

/// Has such faults handled from now on, for good.
///
/// # Errors
/// If the system refuses.
pub fn survive() -> io::Result<()> {
    imp::survive()
}

#[cfg(not(unix))]
mod imp {
    use std::io;

    /// Nothing to survive: the store maps no files here.
    pub(super) fn survive() -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
mod imp {
    use std::ffi::{c_int, c_void};
    use std::io;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::store::file::cover;

    /// What is done about faults that are none of ours.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

    pub(super) fn survive() -> io::Result<()> {
        if BEFORE.get().is_some() {
            return Ok(());
        }
        #[allow(unsafe_code, reason = "the standard library does not know")]
        // SAFETY: this takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(page) = usize::try_from(page)
            && page > 0
        {
            PAGE_BYTES.store(page, Ordering::SeqCst);
        }
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: all zeroes are a valid sigaction: no flags, an empty mask.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: the action is only written to.
        let asked = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // The handler may be needed as soon as it is there.
        let _ = BEFORE.set(before);
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = touched;
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        // A thread whose stack has run out has another one for signals.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: the handler has the form that SA_SIGINFO asks for and does nothing that a handler
        // may not do: it locks nothing and allocates nothing.
        let done = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    extern "C" fn touched(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        #[allow(unsafe_code, reason = "only the system knows")]
        // SAFETY: with SA_SIGINFO the system hands the handler a valid siginfo_t.
        let info = unsafe { &*info };
        #[allow(unsafe_code, reason = "only the system knows")]
        // SAFETY: the address is that of a fault, or of nothing that is mapped.
        let address = unsafe { info.si_addr() } as usize;
        // Codes up to 0 are those of signals that somebody sent.
        let is_fault = info.si_code > 0;
        if is_fault
            && let Some(range) = cover(address, PAGE_BYTES.load(Ordering::SeqCst))
            && put_zeros(range.start, range.len())
        {
            return;
        }
        let Some(before) = BEFORE.get() else {
            return;
        };
        // The instruction is done again, and the fault is that of whoever was there before.
        #[allow(unsafe_code, reason = "the standard library installs no handlers")]
        // SAFETY: this is what the system gave, and it is only read.
        unsafe {
            libc::sigaction(libc::SIGBUS, before, ptr::null_mut());
        }
        if !is_fault {
            #[allow(unsafe_code, reason = "the signal is passed on")]
            // SAFETY: this takes a number.
            unsafe {
                libc::raise(libc::SIGBUS);
            }
        }
    }

    fn put_zeros(start: usize, len: usize) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let at = ptr::with_exposed_provenance_mut(start);
        #[allow(unsafe_code, reason = "memory is put in place of what is gone")]
        // SAFETY: the range is a part of a map of the store, which it looks at and never writes;
        // the map is there as long as its row in the table is, since a thread is looking at it.
        let zeros = unsafe { libc::mmap(at, len, libc::PROT_READ, flags, -1, 0) };
        zeros != libc::MAP_FAILED
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};
    use std::sync::Arc;

    use crate::store::LogError;
    use crate::store::disk::OsDisk;
    use crate::store::file::{Handles, LogOptions, Payload, ReadBuffer, faults};
    use crate::store::index::Filters;
    use crate::store::stream::{DamageKind, Found, Limits, NewMessage, StoreOptions, StreamStore};
    use crate::store::types::{StreamId, StreamSeq, Timestamp};

    /// Names the directory to a test that is run as a process of its own.
    const DIR: &str = "STORE_CUT_DIR";

    const MESSAGES: u64 = 400;
    /// A large message, which is shared.
    const LARGE: u64 = 3;

    fn payload(sequence: u64) -> Vec<u8> {
        let len = if sequence == LARGE { 20_000 } else { 200 };
        (0..len)
            .map(|i: u64| (i * sequence).to_le_bytes()[0] | 1)
            .collect()
    }

    fn append(store: &mut StreamStore, sequence: u64) -> Result<(), LogError> {
        let message = NewMessage {
            subject: b"a.b",
            headers: b"",
            payload: &payload(sequence),
            timestamp: Timestamp(1),
            ttl_s: 0,
        };
        store.append(&message)?;
        store.sync()
    }

    fn cut(dir: &Path, segment: u64) {
        let path = dir.join(format!("{segment:016x}.seg"));
        let file = std::fs::OpenOptions::new().write(true).open(path);
        let done = file.and_then(|file| file.set_len(100));
        done.expect("the file is there");
    }

    fn run(test: &str, dir: &Path) -> Output {
        let program = std::env::current_exe().expect("a program has a path");
        Command::new(program)
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(DIR, dir)
            .output()
            .expect("it can be run again")
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_costs_its_messages_and_no_more() {
        let dir = std::env::temp_dir().join(format!("nats-store-cut-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let output = run("os::lost_files::tests::reader", &dir);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} {text}", output.status);
        let _ = std::fs::remove_dir_all(&dir);
    }

    #[test]
    #[ignore = "it is the process that another test starts"]
    fn reader() {
        super::survive().unwrap();
        let dir = PathBuf::from(std::env::var_os(DIR).expect("another test starts this one"));
        let mut log = LogOptions::new(Arc::new(Handles::new(100)));
        log.segment_bytes = 50_000;
        let limits = Limits::default();
        let options = StoreOptions { log, limits };
        let id = StreamId::new("A", "S", [1; 16]);
        let opened = StreamStore::open(Arc::new(OsDisk), &dir, id, &options, None, &mut |_| {});
        let mut store = opened.unwrap().0;
        for sequence in 1..=MESSAGES {
            append(&mut store, sequence).unwrap();
        }
        let mut buffer = ReadBuffer::default();
        for sequence in 1..=MESSAGES {
            let read = store.read(StreamSeq(sequence), &mut buffer).unwrap();
            assert!(read.record.payload == payload(sequence));
        }
        let read = store.read(StreamSeq(LARGE), &mut buffer).unwrap();
        let Payload::Shared(shared) = read.payload() else {
            panic!("large ones are shared");
        };
        assert_eq!(faults(), 0);
        cut(&dir, 1);
        // Whoever writes it sees that it was not the payload.
        assert!(shared.iter().all(|byte| *byte == 0));
        assert_eq!(faults(), 1);

        let is_gone = |store: &mut StreamStore, sequence, buffer: &mut ReadBuffer| match store
            .read(StreamSeq(sequence), buffer)
        {
            Err(LogError::Damaged) => true,
            Ok(read) => {
                assert!(read.record.payload == payload(sequence));
                false
            }
            Err(error) => panic!("{sequence}: {error}"),
        };
        let gone: Vec<u64> = (1..=MESSAGES)
            .filter(|sequence| is_gone(&mut store, *sequence, &mut buffer))
            .collect();
        let last = gone.len() as u64;
        assert!(last > LARGE && last < MESSAGES / 2);
        assert_eq!(gone, (1..=last).collect::<Vec<_>>());
        let told = store.take_damage();
        assert_eq!((told[0].first.0, told[0].last.0), (1, last));
        assert!(told.len() == 1 && matches!(told[0].kind, DamageKind::Unreadable(_)));
        let filters = Filters::new([&b"a.*"[..]]).unwrap();
        let (mut budget, upto) = (1000, StreamSeq(MESSAGES));
        let next = store.next(&filters, StreamSeq(1), upto, &mut budget, &mut buffer);
        let Ok(Found::Message(message)) = next else {
            panic!("{next:?}");
        };
        assert_eq!(message.record.sequence.0, last + 1);
        append(&mut store, MESSAGES + 1).unwrap();

        // Without it, nothing can be appended any more.
        let open = store.log().first_segment(StreamSeq(MESSAGES + 1));
        cut(&dir, open);
        assert!(is_gone(&mut store, MESSAGES + 1, &mut buffer));
        let refused = append(&mut store, MESSAGES + 2);
        assert!(matches!(refused, Err(LogError::ReadOnly(_))), "{refused:?}");
        assert!(!is_gone(&mut store, last + 1, &mut buffer));
        assert_eq!(store.take_damage().len(), 1);
    }

    #[test]
    fn a_fault_elsewhere_ends_the_process_as_before() {
        let output = run("os::lost_files::tests::faulty", Path::new("/"));
        assert_eq!(output.status.signal(), Some(libc::SIGBUS));
    }

    #[test]
    #[ignore = "it is the process that another test starts"]
    fn faulty() {
        super::survive().unwrap();
        // What the standard library has for faults lets the first one pass that is none.
        for _ in 0..2 {
            signal_hook::low_level::raise(libc::SIGBUS).unwrap();
        }
        panic!("it goes on");
    }
}
