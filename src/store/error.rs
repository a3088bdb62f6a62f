//! What can go wrong, by what the caller can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::crypt::KeyFault;
use super::file::WarmJob;
use super::file::format::FormatError;

/// Why an operation on a log, or on a stream's store, failed.
#[derive(Debug)]
pub enum LogError {
    /// There is no room on the disk. Nothing was stored and nothing is broken: the same call works
    /// when there is room again.
    Full,
    /// A write or a sync failed earlier, so the log takes nothing until it is opened again.
    ReadOnly(Reason),
    /// The disk failed in this call. If it was to write, the log is read-only from now on.
    Io(Reason),
    /// A file says something that this version cannot work with.
    Format { file: PathBuf, error: FormatError },
    /// A file is encrypted, and there is no key for it. Nothing was changed.
    Key(PathBuf, KeyFault),
    /// Another process, or another log in this one, has the directory open.
    Locked(PathBuf),
    /// The record is larger than any may be.
    TooLarge { bytes: usize, max: usize },
    /// What is asked for was removed, or never existed.
    Absent,
    /// What is asked for should be there, but it is damaged or its file is missing.
    Damaged,
    /// What is asked for is on the disk and not in memory, and whoever asks does not want to wait for
    /// it: run the job (as [`Job::Warm`](super::stream::Job::Warm)), give its outcome to the store,
    /// and ask again. Only stores that were [told so](super::file::Cold::Tell) answer this.
    Cold(Box<WarmJob>),
    /// The entry does not fit behind the last one: its index, term or sequence does not follow.
    Disorder,
    /// Records that are to be taken back were applied: something follows from them already.
    Applied,
    /// Jobs are under way that this would get in the way of. The same call works when they are done.
    Busy,
}

/// What the disk answered, and to what: kept for as long as the log is read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub kind: io::ErrorKind,
    pub text: String,
}

impl Reason {
    /// `doing` is what was tried, as in "write", with the file that it was tried on.
    pub fn new(doing: &str, path: &Path, error: &io::Error) -> Reason {
        Reason {
            kind: error.kind(),
            text: format!("{doing} {}: {error}", path.display()),
        }
    }
}

/// Whether an error says that there is no room, for this user or for all.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Full => f.write_str("no space left on the disk"),
            LogError::ReadOnly(reason) => write!(f, "read-only since: {reason}"),
            LogError::Io(reason) => reason.fmt(f),
            LogError::Format { file, error } => write!(f, "{}: {error}", file.display()),
            LogError::Key(path, fault) => write!(f, "{}: {fault}", path.display()),
            LogError::Locked(path) => write!(f, "{} is in use", path.display()),
            LogError::TooLarge { bytes, max } => {
                write!(f, "a record of {bytes} bytes, {max} at most")
            }
            LogError::Absent => f.write_str("no such record"),
            LogError::Damaged => f.write_str("the record is damaged"),
            LogError::Cold(_) => f.write_str("the record is not in memory"),
            LogError::Applied => f.write_str("records that were applied cannot be taken back"),
            LogError::Busy => f.write_str("jobs are under way"),
            LogError::Disorder => f.write_str("the entry does not follow the last one"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::Format { error, .. } => Some(error),
            LogError::Key(_, fault) => Some(fault),
            _ => None,
        }
    }
}
