//! Why there is no log as the options want it.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

use crate::base::text::{PlainError, quoted};

/// The log could not be started or changed. Shown, it reads as in the reference.
#[derive(Debug)]
pub enum LogError {
    /// The log file cannot be opened.
    File {
        /// The path as it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The syslog server's address is of none of the known kinds; the kind is told.
    Network(String),
    /// The syslog server cannot be reached; the reason is told.
    Connect(String),
    /// The system has no syslog, or none that is supported.
    NoSyslog,
    /// The event log of Windows cannot be reached; the reason is told.
    EventLog(String),
    /// The thread that writes the log cannot be started.
    Thread(io::Error),
    /// The log was started before.
    Twice,
    /// The log was not started.
    NotStarted,
    /// The log is not being written, and too many changes are waiting already.
    Stuck,
}

impl Display for LogError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LogError::File { path, source } => {
                let (path, reason) = (path.display(), PlainError(source));
                write!(f, "error opening file: open {path}: {reason}")
            }
            LogError::Network(kind) => {
                write!(f, "error invalid network type: {}", quoted(kind.as_bytes()))
            }
            LogError::Connect(reason) => {
                let reason = quoted(reason.as_bytes());
                write!(f, "error connecting to syslog: {reason}")
            }
            LogError::NoSyslog => f.write_str("syslog is not supported on this system yet"),
            LogError::EventLog(reason) => write!(f, "could not open event log: {reason}"),
            LogError::Thread(source) => {
                let reason = PlainError(source);
                write!(f, "error starting the log: {reason}")
            }
            LogError::Twice => f.write_str("the log was started before"),
            LogError::NotStarted => f.write_str("the log was not started"),
            LogError::Stuck => f.write_str("the log is not being written"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::File { source, .. } | LogError::Thread(source) => Some(source),
            _ => None,
        }
    }
}
