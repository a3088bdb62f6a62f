//! The machine as others know it, and where its own log listens.

/// The name of the machine, if it has one.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the standard library does not know the name")]
pub fn name() -> Option<String> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the buffer is valid for writes of its length, and outlives the call.
    let code = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) };
    if code != 0 {
        return None;
    }
    // A name that was cut may lack its zero.
    let name = buffer.split(|byte| *byte == 0).next()?;
    let name = String::from_utf8_lossy(name).into_owned();
    (!name.is_empty()).then_some(name)
}

/// The name of the machine, if it has one.
#[cfg(not(unix))]
pub fn name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// The sockets at which the system's syslog may listen, likeliest first. None where the system has
/// no syslog.
pub const SYSLOG_SOCKETS: &[&str] = if cfg!(unix) {
    &["/dev/log", "/var/run/syslog", "/var/run/log"]
} else {
    &[]
};

/// Whether a port needs the option to be reused where connections to it have just ended. Windows needs
/// none; there the option would let other programs have the port as well.
pub const REUSES_PORTS: bool = cfg!(unix);

/// Whether a socket has to be read until it would block before the system tells of more. Elsewhere a read
/// that fills less than its room has shown as much.
pub const READS_TO_THE_END: bool = cfg!(windows);

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn the_machine_has_the_name_that_the_kernel_knows() {
        let name = super::name().unwrap();
        assert!(!name.contains('\0'));
        if let Ok(known) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
            assert_eq!(name, known.trim_end());
        }
    }
}
