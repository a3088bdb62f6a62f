//! Signals as values, waited for by the main thread.

pub use system::Signals;

use std::fmt::{self, Display, Formatter};

/// A signal that the server acts upon. Shown, it reads as in the reference's log:
/// `user defined signal 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGINT, or Ctrl-C on Windows.
    Interrupt,
    /// SIGTERM.
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
    use std::io;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

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
    #[derive(Debug)]
    pub struct Signals(signal_hook::iterator::Signals);

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

    impl Signals {
        /// Takes over every signal of [`Signal`], even one that the parent process had ignored:
        /// a shell does that with SIGINT for its background jobs.
        pub fn install() -> io::Result<Signals> {
            let numbers = HANDLED.map(Signal::number);
            signal_hook::iterator::Signals::new(numbers).map(Signals)
        }

        /// Waits for the next signal.
        pub fn wait(&mut self) -> Signal {
            loop {
                let number = self.0.forever().next();
                let signal = HANDLED.iter().find(|own| Some(own.number()) == number);
                if let Some(signal) = signal {
                    return *signal;
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    use super::Signal;

    /// Stands in for signals: the system's own Ctrl-C handling ends the process.
    #[derive(Debug)]
    pub struct Signals(());

    impl Signals {
        /// Leaves the handling to the system.
        pub fn install() -> io::Result<Signals> {
            Ok(Signals(()))
        }

        /// Waits until the system ends the process.
        pub fn wait(&mut self) -> Signal {
            loop {
                std::thread::park();
            }
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
        assert_eq!(signals.wait(), Signal::User1);
        // None is lost when several come before anyone waits, though their order may be.
        for number in [SIGTERM, SIGINT, SIGUSR1] {
            signal_hook::low_level::raise(number).unwrap();
        }
        let mut names = [(); 3].map(|()| signals.wait().to_string());
        names.sort_unstable();
        assert_eq!(names, ["interrupt", "terminated", "user defined signal 1"]);
    }
}
