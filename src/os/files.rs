//! What the standard library tells about files on some systems only.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file to append to it. A file that did not exist is readable by its owner and group only
/// (mode 0640).
///
/// A pipe that nobody reads is an error instead of a wait, here and when it is written to.
#[cfg(unix)]
pub fn open_append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Opens a file to append to it, and creates it if need be.
#[cfg(not(unix))]
pub fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Whether the file of an open handle has no name any more: what is written to it is lost.
#[cfg(unix)]
pub fn is_removed(file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    file.is_file() && file.nlink() == 0
}

/// Not known on this system.
#[cfg(not(unix))]
pub fn is_removed(_file: &Metadata) -> bool {
    false
}

/// Whether both are known to be the same file.
#[cfg(unix)]
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Not known on this system.
#[cfg(not(unix))]
pub fn is_same(_one: &Metadata, _other: &Metadata) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_created_for_owner_and_group_and_known_again() {
        let dir = std::env::temp_dir().join(format!("nats-files-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (one, two) = (dir.join("one"), dir.join("two"));
        let first = open_append(&one).unwrap().metadata().unwrap();
        // The mask of the process may take rights away, and gives none.
        assert_eq!(first.permissions().mode() & 0o777 & !0o640, 0);
        assert_eq!(first.permissions().mode() & 0o600, 0o600);
        let other = open_append(&two).unwrap();
        assert!(is_same(
            &first,
            &open_append(&one).unwrap().metadata().unwrap()
        ));
        assert!(!is_same(&first, &other.metadata().unwrap()));

        fs::rename(&two, dir.join("three")).unwrap();
        assert!(!is_removed(&other.metadata().unwrap()), "moved only");
        fs::remove_dir_all(&dir).unwrap();
        assert!(is_removed(&other.metadata().unwrap()));
    }
}
