//! The event log of Windows.

pub use system::EventLog;

/// Whether the system has one, which is where logs of the system go then.
pub const EXISTS: bool = cfg!(windows);

/// What kind of event it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Information,
    Error,
}

#[cfg(windows)]
mod system {
    #![allow(
        unsafe_code,
        reason = "the standard library has no access to the event log"
    )]

    use std::io;
    use std::iter::once;
    use std::ptr;

    use windows_sys::Win32::Foundation::HANDLE;
    use windows_sys::Win32::System::EventLog::{
        DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE,
        RegisterEventSourceW, ReportEventW,
    };
    use windows_sys::Win32::System::Registry::{
        HKEY_LOCAL_MACHINE, KEY_SET_VALUE, REG_DWORD, REG_EXPAND_SZ, REG_OPTION_NON_VOLATILE,
        RegCloseKey, RegCreateKeyExW, RegSetValueExW,
    };

    use super::Kind;

    /// Characters of a text that the system takes.
    const TEXT_MAX: usize = 31_839;

    /// A program of every Windows that has a text for the numbers 1 to 1000, which is all of the event's.
    const TEXTS: &str = r"%SystemRoot%\System32\EventCreate.exe";

    /// Where events go.
    #[derive(Debug)]
    pub struct EventLog(HANDLE);

    // SAFETY: the handle is a number of the system's, and belongs to no thread.
    unsafe impl Send for EventLog {}

    impl EventLog {
        /// Opens the log for events of a source, and tells the system how to show them, which needs the
        /// rights of an administrator once; without them the texts are shown all the same, with a remark.
        ///
        /// # Errors
        /// The log cannot be reached.
        pub fn open(source: &str) -> io::Result<EventLog> {
            introduce(source);
            let name = wide(source);
            // SAFETY: the name ends with a zero, and outlives the call.
            let handle = unsafe { RegisterEventSourceW(ptr::null(), name.as_ptr()) };
            if handle.is_null() {
                return Err(io::Error::last_os_error());
            }
            Ok(EventLog(handle))
        }

        /// Writes an event. What is too long for one is cut.
        ///
        /// # Errors
        /// The log takes nothing.
        pub fn report(&self, kind: Kind, id: u32, text: &str) -> io::Result<()> {
            let mut text: Vec<u16> = text.encode_utf16().filter(|unit| *unit != 0).collect();
            text.truncate(TEXT_MAX - 1);
            text.push(0);
            let texts = [text.as_ptr()];
            let kind = match kind {
                Kind::Information => EVENTLOG_INFORMATION_TYPE,
                Kind::Error => EVENTLOG_ERROR_TYPE,
            };
            let none = ptr::null_mut();
            // SAFETY: the handle is open, there is one text, which ends with a zero, and there are no data.
            let written = unsafe {
                ReportEventW(self.0, kind, 0, id, none, 1, 0, texts.as_ptr(), ptr::null())
            };
            if written == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        }
    }

    impl Drop for EventLog {
        fn drop(&mut self) {
            // SAFETY: the handle is open, and used no more.
            unsafe { DeregisterEventSource(self.0) };
        }
    }

    /// Tells the system where the texts of a source are.
    fn introduce(source: &str) {
        let path = wide(&format!(
            r"SYSTEM\CurrentControlSet\Services\EventLog\Application\{source}"
        ));
        let mut key = ptr::null_mut();
        // SAFETY: the path ends with a zero; what may be null is; `key` is valid for writes.
        let made = unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                path.as_ptr(),
                0,
                ptr::null(),
                REG_OPTION_NON_VOLATILE,
                KEY_SET_VALUE,
                ptr::null(),
                &raw mut key,
                ptr::null_mut(),
            )
        };
        if made != 0 {
            return;
        }
        let texts: Vec<u8> = wide(TEXTS).into_iter().flat_map(u16::to_le_bytes).collect();
        let types = u32::from(EVENTLOG_ERROR_TYPE | EVENTLOG_INFORMATION_TYPE);
        for (name, kind, bytes) in [
            ("CustomSource", REG_DWORD, &1_u32.to_le_bytes()[..]),
            ("EventMessageFile", REG_EXPAND_SZ, &texts),
            ("TypesSupported", REG_DWORD, &types.to_le_bytes()),
        ] {
            let name = wide(name);
            let len = u32::try_from(bytes.len()).unwrap_or(0);
            // SAFETY: the key is open, the name ends with a zero, and there are `len` bytes.
            unsafe { RegSetValueExW(key, name.as_ptr(), 0, kind, bytes.as_ptr(), len) };
        }
        // SAFETY: the key is open, and used no more.
        unsafe { RegCloseKey(key) };
    }

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().chain(once(0)).collect()
    }
}

#[cfg(not(windows))]
mod system {
    use super::Kind;
    use std::io;

    /// There is none here.
    #[derive(Debug)]
    pub struct EventLog(());

    impl EventLog {
        /// There is none here.
        ///
        /// # Errors
        /// Always.
        pub fn open(_source: &str) -> io::Result<EventLog> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// There is none here.
        ///
        /// # Errors
        /// Always.
        pub fn report(&self, _kind: Kind, _id: u32, _text: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
