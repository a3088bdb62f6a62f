//! The file that tells scripts the id of the running process.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::base::text::PlainError;

/// A written file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    id: String,
}

/// The file could not be written.
#[derive(Debug)]
pub(super) struct PidFileError {
    path: PathBuf,
    source: io::Error,
}

impl Display for PidFileError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (path, reason) = (self.path.display(), PlainError(&self.source));
        write!(f, "Could not write pidfile: open {path}: {reason}")
    }
}

impl std::error::Error for PidFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl PidFile {
    /// Writes the id of this process to the file at `path`: digits only, no newline. It is written where
    /// it stands, as the directory may be closed to us. Where that fails, no part of an id stays there,
    /// which would be another process's.
    pub(super) fn write(path: &Path) -> Result<PidFile, PidFileError> {
        let id = std::process::id().to_string();
        let write = || {
            let is_new = fs::symlink_metadata(path).is_err();
            let mut file = File::create(path)?;
            file.write_all(id.as_bytes()).inspect_err(|_| {
                // Without one, whoever looks for the process is told that there is none.
                let _ = file.set_len(0);
                if is_new {
                    let _ = fs::remove_file(path);
                }
            })
        };
        match write() {
            Ok(()) => Ok(PidFile {
                path: path.into(),
                id,
            }),
            Err(source) => Err(PidFileError {
                path: path.into(),
                source,
            }),
        }
    }
}

impl Drop for PidFile {
    /// Removes the file, unless another process has put its own id there meanwhile.
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("nats-{}-{name}.pid", std::process::id()))
    }

    #[test]
    fn the_file_holds_digits_and_goes_away() {
        let path = path("own");
        fs::write(&path, "a longer text than any id").unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn another_servers_file_stays() {
        let path = path("other");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn failure_reads_as_in_the_reference() {
        let error = PidFile::write(Path::new("/nonexistent/x"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("Could not write pidfile: open /nonexistent/x: "),
            "{error}"
        );
        assert!(!error.contains("os error"), "{error}");
    }
}
