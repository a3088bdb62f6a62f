//! What a service manager and a service tell each other, in the way of systemd (sd_notify(3),
//! sd_listen_fds(3)): the state that the service is in, that it is alive, and sockets that were
//! opened for it. Nothing happens where no manager asks for it.

pub use system::{Supervisor, inherited};

use std::net::TcpListener;
use std::time::Duration;

/// What a service tells its manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// It serves. The text is shown to operators.
    Ready(String),
    /// It reads its configuration again; [`Notice::Ready`] ends that.
    Reloading,
    /// It sends its clients away before it ends, which may take so long.
    Leaving(Duration),
    /// It is about to end, which may take so long.
    Stopping(Duration),
    /// It is alive.
    Alive,
}

/// A socket that the manager opened, and is listening.
#[derive(Debug)]
pub struct Inherited {
    /// What the manager calls it (`FileDescriptorName=`); by default the name of the socket's unit.
    pub name: String,
    /// Does not block, and is not passed on to other programs.
    pub listener: TcpListener,
}

#[cfg(unix)]
mod system {
    use std::env;
    use std::io;
    use std::net::TcpListener;
    use std::os::fd::{FromRawFd, RawFd};
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::process;
    use std::time::Duration;

    use super::{Inherited, Notice};
    use socket2::{Domain, Socket, Type};

    /// The first descriptor that a manager passes on.
    const FIRST: RawFd = 3;

    /// More sockets than that are taken for a fault of the environment.
    const SOCKETS_MAX: usize = 64;

    /// The way to the service manager, if there is one.
    #[derive(Debug, Default)]
    pub struct Supervisor {
        socket: Option<UnixDatagram>,
        watchdog: Option<Duration>,
    }

    impl Supervisor {
        /// The manager that `NOTIFY_SOCKET` names, and its watchdog if `WATCHDOG_USEC` and
        /// `WATCHDOG_PID` mean this process.
        ///
        /// # Errors
        /// The socket cannot be reached.
        pub fn from_env() -> io::Result<Supervisor> {
            let Some(path) = env::var_os("NOTIFY_SOCKET") else {
                return Ok(Supervisor::default());
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address(path.into_vec())?)?;
            // A manager that does not read must not hold the server up.
            socket.set_nonblocking(true)?;
            let number = |name| env::var(name).ok()?.parse::<u64>().ok();
            let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
            let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0);
            Ok(Supervisor {
                socket: Some(socket),
                watchdog: watchdog.map(Duration::from_micros),
            })
        }

        /// Time after which a service that has not said [`Notice::Alive`] is taken for dead, if the
        /// manager watches.
        pub fn watchdog(&self) -> Option<Duration> {
            self.watchdog
        }

        /// Tells the manager, if there is one. It being deaf is no fault of ours.
        pub fn tell(&self, notice: &Notice) {
            let Some(socket) = &self.socket else {
                return;
            };
            let text = match notice {
                Notice::Ready(status) => format!("READY=1\nSTATUS={}", status.replace('\n', " ")),
                Notice::Reloading => format!(
                    "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reading the configuration again",
                    monotonic_micros()
                ),
                Notice::Leaving(patience) | Notice::Stopping(patience) => format!(
                    "STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS=Shutting down",
                    patience.as_micros()
                ),
                Notice::Alive => "WATCHDOG=1".into(),
            };
            let _ = socket.send(text.as_bytes());
        }
    }

    /// The address that a variable names: a path, or with an at sign in front a name without a file.
    fn address(mut name: Vec<u8>) -> io::Result<SocketAddr> {
        if name.first() == Some(&b'@') {
            return abstract_address(&name.split_off(1));
        }
        SocketAddr::from_pathname(std::ffi::OsString::from_vec(name))
    }

    #[cfg(target_os = "linux")]
    fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
        use std::os::linux::net::SocketAddrExt;

        SocketAddr::from_abstract_name(name)
    }

    #[cfg(not(target_os = "linux"))]
    fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The clock that the manager compares with.
    #[allow(unsafe_code, reason = "the standard library does not show this clock")]
    fn monotonic_micros() -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is valid for writes, and outlives the call.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        seconds * 1_000_000 + nanos / 1_000
    }

    /// The sockets that the manager opened for this process (`LISTEN_PID`, `LISTEN_FDS`,
    /// `LISTEN_FDNAMES`). To be called once, before anything else opens a file.
    ///
    /// # Errors
    /// The environment is not as it should be, or a descriptor is no listening TCP socket.
    pub fn inherited() -> io::Result<Vec<Inherited>> {
        let variable = |name| env::var(name).unwrap_or_default();
        if variable("LISTEN_PID") != process::id().to_string() {
            return Ok(vec![]);
        }
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let count = variable("LISTEN_FDS");
        let count = count.parse().ok().filter(|count| *count <= SOCKETS_MAX);
        let count = count.ok_or_else(|| invalid("LISTEN_FDS is no number of sockets".into()))?;
        let names = variable("LISTEN_FDNAMES");
        let names = names.split(':').chain(std::iter::repeat("")).take(count);
        let mut sockets = vec![];
        for (fd, name) in (FIRST..).zip(names) {
            let listener = listener(fd).map_err(|e| invalid(format!("\"{name}\": {e}")))?;
            let name = name.to_owned();
            sockets.push(Inherited { name, listener });
        }
        Ok(sockets)
    }

    #[allow(unsafe_code, reason = "a descriptor is a bare number here")]
    fn listener(fd: RawFd) -> io::Result<TcpListener> {
        // SAFETY: fcntl with this command only sets a flag of the descriptor, which may be invalid.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open, and by the protocol with the manager it is this process's
        // alone; nothing else in the process knows it.
        let socket = unsafe { Socket::from_raw_fd(fd) };
        let is_inet = [Domain::IPV4, Domain::IPV6].contains(&socket.local_addr()?.domain());
        if !is_inet || socket.r#type()? != Type::STREAM {
            // Closing it would be a surprise to nobody, as the server does not start.
            return Err(io::Error::other("not a TCP socket"));
        }
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn notices_read_as_the_manager_wants_them() {
            let (ours, manager) = UnixDatagram::pair().unwrap();
            let supervisor = Supervisor {
                socket: Some(ours),
                watchdog: None,
            };
            let heard = |notice: Notice| {
                supervisor.tell(&notice);
                let mut buffer = [0; 512];
                let len = manager.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..len].to_vec()).unwrap()
            };
            assert_eq!(
                heard(Notice::Ready("on\nport 1".into())),
                "READY=1\nSTATUS=on port 1"
            );
            assert_eq!(heard(Notice::Alive), "WATCHDOG=1");
            assert!(
                heard(Notice::Stopping(Duration::from_secs(2)))
                    .starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\n")
            );
            let before = monotonic_micros();
            let reloading = heard(Notice::Reloading);
            let told = reloading.lines().nth(1).unwrap();
            let told = told.strip_prefix("MONOTONIC_USEC=").unwrap();
            assert!((before..=monotonic_micros()).contains(&told.parse().unwrap()));
        }

        #[test]
        fn nothing_is_told_without_a_manager() {
            let alone = Supervisor::default();
            alone.tell(&Notice::Alive);
            assert_eq!(alone.watchdog(), None);
        }

        #[test]
        #[cfg(target_os = "linux")]
        fn a_manager_may_have_a_name_without_a_file() {
            let at = address(b"@nats-notify".to_vec()).unwrap();
            assert!(at.as_pathname().is_none());
            let at = address(b"/run/notify".to_vec()).unwrap();
            assert_eq!(at.as_pathname().unwrap().to_str(), Some("/run/notify"));
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::time::Duration;

    use super::{Inherited, Notice};
    #[cfg(windows)]
    use crate::os::service::{State, report};

    /// The manager of services, if this is a service of Windows.
    #[derive(Debug, Default)]
    pub struct Supervisor(());

    impl Supervisor {
        /// It is known without being looked for.
        ///
        /// # Errors
        /// None.
        pub fn from_env() -> io::Result<Supervisor> {
            Ok(Supervisor(()))
        }

        /// Nobody watches.
        pub fn watchdog(&self) -> Option<Duration> {
            None
        }

        /// Tells the manager, if there is one.
        #[cfg(windows)]
        pub fn tell(&self, notice: &Notice) {
            match notice {
                Notice::Ready(_) => report(State::Running),
                Notice::Stopping(patience) => report(State::Stopping(*patience)),
                // It may still be told to stop, and to reload.
                Notice::Reloading | Notice::Alive | Notice::Leaving(_) => {}
            }
        }

        /// Does nothing.
        #[cfg(not(windows))]
        pub fn tell(&self, _notice: &Notice) {}
    }

    /// There are none.
    pub fn inherited() -> io::Result<Vec<Inherited>> {
        Ok(vec![])
    }
}
