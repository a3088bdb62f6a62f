//! Signals as values, waited for by the main thread.

pub use system::{Signals, raise};

use std::fmt::{self, Display, Formatter};

/// A signal that the server acts upon. Shown, it reads as in the reference's log:
/// `user defined signal 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGINT, or Ctrl-C and Ctrl-Break on Windows.
    Interrupt,
    /// SIGTERM; on Windows the console is closed, or the user or the system goes.
    Terminate,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

impl Display for Signal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "interrupt",
            Signal::Terminate => "terminated",
            Signal::Quit => "quit",
            Signal::Hangup => "hangup",
            Signal::User1 => "user defined signal 1",
            Signal::User2 => "user defined signal 2",
        })
    }
}

#[cfg(unix)]
mod system {
    use std::io::{self, Read};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    use signal_hook::iterator::backend::{PollResult, SignalDelivery, SignalIterator};
    use signal_hook::iterator::exfiltrator::SignalOnly;

    use super::Signal;

    const HANDLED: [Signal; 6] = [
        Signal::Interrupt,
        Signal::Terminate,
        Signal::Quit,
        Signal::Hangup,
        Signal::User1,
        Signal::User2,
    ];

    /// The signals on their way to this process, from [`Signals::install`] on.
    pub struct Signals {
        arrived: SignalIterator<SignalDelivery<UnixStream, SignalOnly>, SignalOnly>,
        /// The socket that a byte comes through with every signal.
        bell: UnixStream,
    }

    impl Signal {
        /// The system's number.
        pub(in crate::os) fn number(self) -> i32 {
            match self {
                Signal::Interrupt => SIGINT,
                Signal::Terminate => SIGTERM,
                Signal::Quit => SIGQUIT,
                Signal::Hangup => SIGHUP,
                Signal::User1 => SIGUSR1,
                Signal::User2 => SIGUSR2,
            }
        }
    }

    /// Sends a signal to this process.
    pub fn raise(signal: Signal) -> io::Result<()> {
        signal_hook::low_level::raise(signal.number())
    }

    impl Signals {
        /// Takes over every signal of [`Signal`], even one that the parent process had ignored:
        /// a shell does that with SIGINT for its background jobs.
        pub fn install() -> io::Result<Signals> {
            let numbers = HANDLED.map(Signal::number);
            let (bell, ring) = UnixStream::pair()?;
            let listen = bell.try_clone()?;
            let delivery = SignalDelivery::with_pipe(listen, ring, SignalOnly, numbers)?;
            let arrived = SignalIterator::new(delivery);
            Ok(Signals { arrived, bell })
        }

        /// Waits for the next signal; for so long at most, if `patience` is given.
        pub fn wait(&mut self, patience: Option<Duration>) -> Option<Signal> {
            // The clones of a socket share the timeout, which cannot be zero.
            let timeout = patience.map(|time| time.max(Duration::from_millis(1)));
            self.bell.set_read_timeout(timeout).ok()?;
            let mut listen = |bell: &mut UnixStream| loop {
                match bell.read(&mut [0; 64]) {
                    Ok(_) => return Ok(true),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(e) => return Err(e),
                }
            };
            loop {
                let PollResult::Signal(number) = self.arrived.poll_signal(&mut listen) else {
                    return None;
                };
                if let Some(signal) = HANDLED.iter().find(|own| own.number() == number) {
                    return Some(*signal);
                }
            }
        }
    }
}

#[cfg(windows)]
mod system {
    #![allow(
        unsafe_code,
        reason = "the standard library knows nothing of a console's keys"
    )]

    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};
    use std::thread;
    use std::time::Duration;

    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
        SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    use super::Signal;
    use crate::os::service;

    /// Where signals go, from [`Signals::install`] on.
    static BELL: Mutex<Option<Sender<Signal>>> = Mutex::new(None);

    /// The signals on their way to this process, from [`Signals::install`] on: what is pressed or done
    /// at its console, what the manager of services tells it, and what it sends itself.
    #[derive(Debug)]
    pub struct Signals {
        arrived: Receiver<Signal>,
    }

    /// Sends a signal to this process.
    ///
    /// # Errors
    /// Nobody waits for signals.
    pub fn raise(signal: Signal) -> io::Result<()> {
        let bell = BELL.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = bell.as_ref().and_then(|bell| bell.send(signal).ok());
        sent.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    impl Signals {
        /// Takes over what the console sends, even Ctrl-C if the parent process had ignored it.
        ///
        /// # Errors
        /// The system refuses.
        pub fn install() -> io::Result<Signals> {
            let (bell, arrived) = channel();
            *BELL.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell);
            // SAFETY: without a handler, this only changes whether Ctrl-C is ignored.
            unsafe { SetConsoleCtrlHandler(None, 0) };
            // SAFETY: the handler is a function that may be called on any thread at any time.
            match unsafe { SetConsoleCtrlHandler(Some(handle), 1) } {
                0 => Err(io::Error::last_os_error()),
                _ => Ok(Signals { arrived }),
            }
        }

        /// Waits for the next signal; for so long at most, if `patience` is given.
        pub fn wait(&mut self, patience: Option<Duration>) -> Option<Signal> {
            match patience {
                Some(time) => self.arrived.recv_timeout(time).ok(),
                None => self.arrived.recv().ok(),
            }
        }
    }

    /// Runs on a thread that the system makes for it. Whether the event is dealt with.
    unsafe extern "system" fn handle(event: u32) -> BOOL {
        match event {
            CTRL_C_EVENT | CTRL_BREAK_EVENT => BOOL::from(raise(Signal::Interrupt).is_ok()),
            // Services hear of that from their manager, and outlive their users.
            CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT if service::is_hosted() => 1,
            CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => {
                if raise(Signal::Terminate).is_err() {
                    return 0;
                }
                // The system ends the process when this returns, or after some seconds.
                loop {
                    thread::park();
                }
            }
            _ => 0,
        }
    }
}

#[cfg(not(any(unix, windows)))]
mod system {
    use std::io;

    use super::Signal;

    /// Signals cannot be sent here.
    pub fn raise(_signal: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Stands in for signals: the system's own Ctrl-C handling ends the process.
    #[derive(Debug)]
    pub struct Signals(());

    impl Signals {
        /// Leaves the handling to the system.
        pub fn install() -> io::Result<Signals> {
            Ok(Signals(()))
        }

        /// Waits until the system ends the process; for so long at most, if `patience` is given.
        pub fn wait(&mut self, patience: Option<std::time::Duration>) -> Option<Signal> {
            match patience {
                Some(time) => std::thread::park_timeout(time),
                None => std::thread::park(),
            }
            None
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn raised_signals_arrive() {
        use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

        let mut signals = Signals::install().unwrap();
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        assert_eq!(signals.wait(None), Some(Signal::User1));
        assert_eq!(
            signals.wait(Some(std::time::Duration::from_millis(1))),
            None
        );
        // None is lost when several come before anyone waits, though their order may be.
        for number in [SIGTERM, SIGINT, SIGUSR1] {
            signal_hook::low_level::raise(number).unwrap();
        }
        let mut names = [(); 3].map(|()| signals.wait(None).unwrap().to_string());
        names.sort_unstable();
        assert_eq!(names, ["interrupt", "terminated", "user defined signal 1"]);
    }
}
