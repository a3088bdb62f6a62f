//! The log file: appended to, rotated, and found again when it was moved or removed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::Label;
use super::sink::{Records, Sink, Voice, write_some};
use super::stamp::Stamp;
use crate::base::clock;
use crate::base::text::{PlainError, quoted};
use crate::os::files;

/// Bytes of the sink's own lines that may wait to be written.
const NOTES_MAX: usize = 64 << 10;

/// How large the file gets, and how many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// The line that takes the file beyond so many bytes is its last; 0 is no limit.
    pub(super) size: u64,
    /// Files that are kept, the one in use included; 0 is all.
    pub(super) files: usize,
}

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    limits: Limits,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// The limit in force: after a rotation that failed, a larger one than `limits` has.
    limit: u64,
    /// Whether anything was written since the file was opened by [`LogFile::open`].
    begun: bool,
    /// Lines about rotations that are to be written before anything else.
    notes: Vec<u8>,
}

impl LogFile {
    /// Opens the file to append to it, and creates it, with mode 0640, if need be.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<LogFile> {
        let file = files::open_append(path)?;
        Ok(LogFile {
            path: path.into(),
            limits,
            size: file.metadata()?.len(),
            file,
            limit: limits.size,
            begun: false,
            notes: Vec::new(),
        })
    }

    /// Looks at what the file has become: others may truncate and remove it. A removed file is
    /// created again; whether that was done.
    fn look(&mut self) -> io::Result<bool> {
        let mut found = self.file.metadata()?;
        let removed = files::is_removed(&found);
        if removed {
            self.file = files::open_append(&self.path)?;
            found = self.file.metadata()?;
        }
        self.size = found.len();
        // Devices and pipes are as they are.
        self.limit = match found.is_file() {
            true => self.limit.max(self.limits.size),
            false => 0,
        };
        Ok(removed)
    }

    fn is_over(&self) -> bool {
        self.limit > 0 && self.size > self.limit
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = write_some(&mut self.file, bytes)?;
        self.size += len as u64;
        Ok(len)
    }

    fn write_notes(&mut self) -> io::Result<()> {
        while !self.notes.is_empty() {
            let notes = std::mem::take(&mut self.notes);
            let outcome = self.write_some(&notes);
            self.notes = notes;
            self.notes.drain(..outcome?);
        }
        Ok(())
    }

    fn note(&mut self, voice: &Voice, label: Label, text: &str) {
        if self.notes.len() < NOTES_MAX {
            self.notes
                .extend_from_slice(voice.line(label, text).as_bytes());
        }
    }

    /// Goes on in a new file, and removes the oldest ones. If that cannot be done, goes on in this
    /// one up to twice its size.
    fn rotate(&mut self, voice: &Voice) {
        match self.set_aside() {
            Ok(backup) => {
                self.limit = self.limits.size;
                let name = quoted(backup.as_os_str().as_encoded_bytes()).to_string();
                let text = format!("Rotated log, backup saved as {name}");
                self.note(voice, Label::Inf, &text);
                if self.limits.files > 0 {
                    self.purge(voice);
                }
            }
            Err(error) => {
                self.limit = self.size.max(self.limit).saturating_mul(2);
                let (reason, limit) = (PlainError(&error), self.limit);
                let text = format!(
                    "Unable to rotate logfile ({reason}), will attempt next rotation at size \
                     {limit}"
                );
                self.note(voice, Label::Err, &text);
            }
        }
    }

    /// Renames the file and opens a new one in its place; returns the new name of the old one.
    fn set_aside(&mut self) -> io::Result<PathBuf> {
        let backup = self.backup_path();
        fs::rename(&self.path, &backup)?;
        match files::open_append(&self.path) {
            Ok(file) => {
                self.file = file;
                self.size = 0;
                Ok(backup)
            }
            Err(error) => {
                // If this fails too, the open file goes on under the other name.
                let _ = fs::rename(&backup, &self.path);
                Err(error)
            }
        }
    }

    /// A name for this file when it is full, that no file has.
    fn backup_path(&self) -> PathBuf {
        let now = clock::wall();
        let path = |nanos| {
            let mut name = OsString::from(&self.path);
            name.push(".");
            name.push(Stamp::local(now + Duration::from_nanos(nanos)).file_name());
            PathBuf::from(name)
        };
        // Where clocks are coarse, the moment alone may be taken.
        let free = (0..1000).map(path).find(|path| !path.exists());
        free.unwrap_or_else(|| path(1000))
    }

    /// Removes the oldest backups beyond the limit. Names order by time.
    fn purge(&mut self, voice: &Voice) {
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let mut backups = match self.backups(&dir) {
            Ok(backups) => backups,
            Err(error) => {
                let name = quoted(dir.as_os_str().as_encoded_bytes());
                let text = format!(
                    "Unable to read directory {name} for log purge ({}), will attempt next \
                     rotation",
                    PlainError(&error)
                );
                return self.note(voice, Label::Err, &text);
            }
        };
        backups.sort_unstable();
        let surplus = (backups.len() + 1).saturating_sub(self.limits.files);
        for name in backups.into_iter().take(surplus) {
            let shown = quoted(name.as_encoded_bytes()).to_string();
            if let Err(error) = fs::remove_file(dir.join(&name)) {
                let text = format!(
                    "Unable to remove backup log file {shown} ({}), will attempt next rotation",
                    PlainError(&error)
                );
                return self.note(voice, Label::Err, &text);
            }
            self.note(voice, Label::Inf, &format!("Purged log file {shown}"));
        }
    }

    /// The names of this file's backups in `dir`.
    fn backups(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut prefix = self.path.file_name().unwrap_or_default().to_os_string();
        prefix.push(".");
        let is_backup = |name: &OsString| {
            let stamp = name
                .as_encoded_bytes()
                .strip_prefix(prefix.as_encoded_bytes());
            stamp.is_some_and(Stamp::is_file_name)
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_backup(&name) && entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                found.push(name);
            }
        }
        Ok(found)
    }
}

impl Sink for LogFile {
    fn write(&mut self, records: &mut Records<'_>, voice: &Voice) -> io::Result<()> {
        if self.look()? {
            records.rewind();
        }
        if !self.begun && self.is_over() {
            self.rotate(voice);
        }
        self.begun = true;
        self.write_notes()?;
        while records.left() > 0 {
            let bytes = match self.limit {
                0 => records.rest(),
                limit => records.past(limit.saturating_sub(self.size)),
            };
            let len = self.write_some(bytes)?;
            records.advance(len);
            if records.is_between() && self.is_over() {
                self.rotate(voice);
                self.write_notes()?;
            }
        }
        Ok(())
    }

    /// Opens the path again. While that fails, the file that is open may serve, if it still has a
    /// name.
    fn recover(&mut self) -> io::Result<bool> {
        let before = self.file.metadata();
        match files::open_append(&self.path) {
            Ok(file) => {
                let after = file.metadata()?;
                self.file = file;
                Ok(before.is_ok_and(|before| files::is_same(&before, &after)))
            }
            Err(error) if before.is_ok_and(|before| files::is_removed(&before)) => Err(error),
            Err(_) => Ok(true),
        }
    }

    fn place(&self) -> Option<String> {
        Some(quoted(self.path.as_os_str().as_encoded_bytes()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TempDir, voice};
    use super::*;

    fn limits(size: u64, files: usize) -> Limits {
        Limits { size, files }
    }

    fn try_write(file: &mut LogFile, lines: &[&str]) -> io::Result<usize> {
        let text = lines.concat();
        let mut end = 0;
        let ends = lines.iter().map(|line| {
            end += u32::try_from(line.len()).unwrap();
            end
        });
        let ends = ends.collect::<Vec<_>>();
        let mut records = Records::new(text.as_bytes(), &ends);
        file.write(&mut records, &voice())?;
        Ok(records.left())
    }

    fn write(file: &mut LogFile, lines: &[&str]) {
        assert_eq!(try_write(file, lines).unwrap(), 0);
    }

    /// The backups' contents, oldest first.
    fn backups(dir: &TempDir) -> Vec<String> {
        let mut names = dir.names();
        names.retain(|name| name.starts_with("log."));
        names.iter().map(|name| dir.read(name)).collect()
    }

    #[test]
    fn lines_are_appended() {
        let dir = TempDir::new("append");
        fs::write(dir.path("log"), "before\n").unwrap();
        let mut file = LogFile::open(&dir.path("log"), limits(0, 0)).unwrap();
        write(&mut file, &["one\n", "two\n"]);
        write(&mut file, &["three\n"]);
        assert_eq!(dir.read("log"), "before\none\ntwo\nthree\n");
    }

    #[test]
    fn the_line_that_exceeds_the_limit_is_the_last_one() {
        let dir = TempDir::new("rotate");
        let mut file = LogFile::open(&dir.path("log"), limits(1000, 0)).unwrap();
        let lines = ["x".repeat(499) + "\n", "y".repeat(499) + "\n"];
        write(&mut file, &[&lines[0], &lines[1]]);
        assert_eq!(dir.names(), ["log"], "exactly the limit");
        write(&mut file, &["z\n", "next\n"]);
        assert_eq!(backups(&dir), [lines.concat() + "z\n"]);
        let backup = dir.names().pop().unwrap();
        let path = dir.path(&backup);
        let note = format!("[7] [INF] Rotated log, backup saved as {path:?}\n");
        assert_eq!(dir.read("log"), note.clone() + "next\n");
        assert!(Stamp::is_file_name(
            backup.strip_prefix("log.").unwrap().as_bytes()
        ));

        // What the file holds when it is opened counts.
        let mut file = LogFile::open(&dir.path("log"), limits(note.len() as u64 + 6, 0)).unwrap();
        write(&mut file, &["a\n"]);
        assert_eq!(backups(&dir).len(), 2);
        // So it may be full from the start.
        fs::write(dir.path("log"), "x".repeat(1001)).unwrap();
        let mut file = LogFile::open(&dir.path("log"), limits(1000, 0)).unwrap();
        write(&mut file, &["b\n"]);
        assert_eq!(backups(&dir).len(), 3);
        assert!(dir.read("log").ends_with("\nb\n"));
    }

    #[test]
    fn only_the_youngest_files_are_kept_and_strange_ones_are_left_alone() {
        let dir = TempDir::new("purge");
        let strange = [
            "log.1",
            "log.2000.01.01.00.00.00.000000000.gz",
            "log.2000.01.01.00.00.00.00",
            "log2.2000.01.01.00.00.00.000000000",
            "2000.01.01.00.00.00.000000000",
        ];
        for name in strange {
            fs::write(dir.path(name), "keep").unwrap();
        }
        fs::create_dir(dir.path("log.2000.01.01.00.00.00.000000001")).unwrap();
        fs::write(dir.path("log.2000.01.01.00.00.00.000000002"), "old").unwrap();

        let mut file = LogFile::open(&dir.path("log"), limits(5, 3)).unwrap();
        for i in 0..5 {
            write(&mut file, &[&format!("line {i}\n")]);
        }
        let known = |name: &String| {
            let stamp = name.strip_prefix("log.").map(str::as_bytes);
            stamp.is_some_and(Stamp::is_file_name) && dir.path(name).is_file()
        };
        let mut names = dir.names();
        names.retain(known);
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(dir.read(&names[0]).ends_with("line 3\n"));
        assert!(dir.read(&names[1]).ends_with("line 4\n"));
        let live = dir.read("log");
        assert!(live.contains("[7] [INF] Rotated log, backup saved as "));
        assert!(live.contains("[7] [INF] Purged log file \"log."), "{live}");
        assert!(strange.iter().all(|name| dir.path(name).exists()));
        assert!(dir.path("log.2000.01.01.00.00.00.000000001").is_dir());

        // One file only: no backup stays.
        let mut file = LogFile::open(&dir.path("log"), limits(5, 1)).unwrap();
        write(&mut file, &["last\n"]);
        let mut names = dir.names();
        names.retain(known);
        assert_eq!(names, [""; 0]);
    }

    #[test]
    fn a_rotation_that_fails_is_told_and_tried_again_at_twice_the_size() {
        let dir = TempDir::new("fail");
        fs::create_dir(dir.path("sub")).unwrap();
        let path = dir.path("sub/log");
        let mut file = LogFile::open(&path, limits(10, 0)).unwrap();
        // The file is still there, but not under the name that it would be moved from.
        fs::rename(&path, dir.path("moved")).unwrap();
        write(&mut file, &["0123456789\n"]);
        let text = dir.read("moved");
        assert!(
            text.starts_with("0123456789\n[7] [ERR] Unable to rotate logfile (no such file"),
            "{text}"
        );
        assert!(
            text.ends_with("), will attempt next rotation at size 22\n"),
            "{text}"
        );
        fs::rename(dir.path("moved"), &path).unwrap();
        write(&mut file, &["x\n"]);
        let mut names = dir.names_in("sub");
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(
            dir.read(&format!("sub/{}", names.pop().unwrap())),
            text + "x\n"
        );
        // The limit is the old one again.
        assert_eq!(file.limit, 10);
    }

    #[test]
    #[cfg(unix)]
    fn a_removed_file_and_directory_come_back() {
        let dir = TempDir::new("removed");
        fs::create_dir(dir.path("sub")).unwrap();
        let mut file = LogFile::open(&dir.path("sub/log"), limits(0, 0)).unwrap();
        write(&mut file, &["one\n"]);
        fs::remove_file(dir.path("sub/log")).unwrap();
        write(&mut file, &["two\n"]);
        assert_eq!(dir.read("sub/log"), "two\n");

        fs::remove_dir_all(dir.path("sub")).unwrap();
        let error = try_write(&mut file, &["three\n"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(file.recover().is_err());
        fs::create_dir(dir.path("sub")).unwrap();
        assert!(!file.recover().unwrap(), "another file");
        write(&mut file, &["four\n"]);
        assert_eq!(dir.read("sub/log"), "four\n");

        // A file that was only moved stays the log until it is opened again.
        fs::rename(dir.path("sub/log"), dir.path("moved")).unwrap();
        write(&mut file, &["five\n"]);
        assert_eq!(dir.read("moved"), "four\nfive\n");
        assert!(!dir.path("sub/log").exists());
    }

    #[test]
    #[cfg(unix)]
    fn truncation_by_others_counts() {
        let dir = TempDir::new("truncated");
        let mut file = LogFile::open(&dir.path("log"), limits(10, 0)).unwrap();
        write(&mut file, &["12345678\n"]);
        File::create(dir.path("log")).unwrap();
        write(&mut file, &["12345678\n"]);
        assert_eq!(dir.names(), ["log"]);
        assert_eq!(dir.read("log"), "12345678\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_device_is_an_error_and_no_file_to_rotate() {
        let mut file = LogFile::open(Path::new("/dev/full"), limits(1, 1)).unwrap();
        let error = try_write(&mut file, &["one\n"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(file.recover().unwrap(), "the same file");
        let mut file = LogFile::open(Path::new("/dev/null"), limits(1, 1)).unwrap();
        write(&mut file, &["one\n", "two\n"]);
        assert!(Path::new("/dev/null").exists());
    }
}
