//! The other processes of this machine: which ones run a program, and signals to them.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::str::FromStr;

use super::signals::Signal;

/// The id of one process: above 0, since 0 and negative numbers stand for groups of processes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessId(i32);

/// The text is no process id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoProcessId;

impl ProcessId {
    /// The id of this process. `None` if the system's is out of range, which no process can be
    /// sent signals by.
    pub fn own() -> Option<ProcessId> {
        i32::try_from(std::process::id()).ok().map(ProcessId)
    }
}

impl FromStr for ProcessId {
    type Err = NoProcessId;

    /// Decimal digits only, from 1 to 2^31 - 1.
    fn from_str(text: &str) -> Result<ProcessId, NoProcessId> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(id) if digits && id > 0 => Ok(ProcessId(id)),
            _ => Err(NoProcessId),
        }
    }
}

impl Display for ProcessId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for NoProcessId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("not a process id")
    }
}

impl std::error::Error for NoProcessId {}

/// The processes that run the program called `name`, in the order of their ids, without this one
/// and without those that have ended and were not waited for.
///
/// What counts is the file that was executed, wherever it is, under the name it was called by or
/// its real one; arguments do not count.
///
/// # Errors
/// The system does not list its processes.
pub fn running(name: &str) -> io::Result<Vec<ProcessId>> {
    let mut ids = system::running(name)?;
    ids.retain(|id| Some(*id) != ProcessId::own());
    ids.sort_unstable();
    Ok(ids)
}

/// Ends a process at once, without giving it a chance to clean up.
///
/// # Errors
/// There is no such process, or this one may not end it.
pub fn kill(id: ProcessId) -> io::Result<()> {
    system::kill(id)
}

/// Sends a signal to a process.
///
/// # Errors
/// There is no such process, or this one may not send it signals.
pub fn send(id: ProcessId, signal: Signal) -> io::Result<()> {
    system::send(id, signal)
}

/// Picks from what `ps` writes for `pid=,stat=,comm=`, where the third column is the path of the
/// program or its name.
#[cfg(any(test, all(unix, not(target_os = "linux"))))]
fn named(listing: &str, name: &str) -> Vec<ProcessId> {
    let fields = |line: &str| {
        let (id, rest) = line.trim().split_once(char::is_whitespace)?;
        let (state, path) = rest.trim_start().split_once(char::is_whitespace)?;
        let program = path.trim_start().rsplit('/').next()?;
        let runs = program == name && !state.starts_with('Z');
        runs.then(|| id.parse().ok()).flatten()
    };
    listing.lines().filter_map(fields).collect()
}

#[cfg(unix)]
mod sending {
    use std::io;

    use super::{ProcessId, Signal};

    pub(super) fn kill(id: ProcessId) -> io::Result<()> {
        send_number(id, libc::SIGKILL)
    }

    pub(super) fn send(id: ProcessId, signal: Signal) -> io::Result<()> {
        send_number(id, signal.number())
    }

    #[allow(unsafe_code, reason = "the standard library sends no signals")]
    fn send_number(id: ProcessId, signal: i32) -> io::Result<()> {
        // SAFETY: kill takes plain numbers and touches no memory of this process. The id is
        // above 0, so that it names one process and never a group of them.
        match unsafe { libc::kill(id.0, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::io;
    use std::path::Path;

    use super::ProcessId;
    pub(super) use super::sending::{kill, send};

    /// Reads `/proc`. Processes that end meanwhile are left out.
    pub(super) fn running(name: &str) -> io::Result<Vec<ProcessId>> {
        let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
        let runs = |id: &ProcessId| {
            let dir = Path::new("/proc").join(id.to_string());
            fs::read_to_string(dir.join("stat")).is_ok_and(|stat| {
                let exe = fs::read_link(dir.join("exe")).ok();
                is_program(&stat, exe.as_deref(), name)
            })
        };
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.filter(runs).collect())
    }

    /// Whether a process is alive and runs the program called `name`, by its `stat` (`ID (NAME) S
    /// ...` with the name that was executed, cut at 15 bytes, and the state) and the path behind
    /// `exe`, which only its owner can read.
    pub(super) fn is_program(stat: &str, exe: Option<&Path>, name: &str) -> bool {
        let Some((head, rest)) = stat.rsplit_once(')') else {
            return false;
        };
        let Some((_, command)) = head.split_once('(') else {
            return false;
        };
        let ended = rest.trim_start().starts_with(['Z', 'X']);
        let file = exe.and_then(Path::file_name).and_then(|file| file.to_str());
        // A program that was replaced by a new version while it runs.
        let file = file.map(|file| file.strip_suffix(" (deleted)").unwrap_or(file));
        !ended && (command == name || file == Some(name))
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod system {
    use std::io;
    use std::process::Command;

    use super::ProcessId;
    pub(super) use super::sending::{kill, send};

    /// Asks `ps`.
    pub(super) fn running(name: &str) -> io::Result<Vec<ProcessId>> {
        let output = Command::new("ps")
            .args(["-ax", "-o", "pid=,stat=,comm="])
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other("ps failed"));
        }
        Ok(super::named(&String::from_utf8_lossy(&output.stdout), name))
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    use super::{ProcessId, Signal};

    pub(super) fn running(_name: &str) -> io::Result<Vec<ProcessId>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn kill(_id: ProcessId) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send(_id: ProcessId, _signal: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[i32]) -> Vec<ProcessId> {
        list.iter().copied().map(ProcessId).collect()
    }

    #[test]
    fn ids_are_those_of_one_process() {
        for (text, id) in [("1", 1), ("4194304", 4_194_304), ("007", 7)] {
            assert_eq!(text.parse(), Ok(ProcessId(id)));
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            " 1",
            "1\n",
            "1x",
            "0x1",
            "2147483648",
            "\u{0661}",
        ] {
            assert_eq!(text.parse::<ProcessId>(), Err(NoProcessId), "{text:?}");
        }
    }

    #[test]
    fn listings_of_ps_are_read() {
        let listing = "    1 Ss   /sbin/init\n  123 S+   /opt/a b/nats-server\n\
            \x20 124 Z    nats-server\n 1250 R    nats-server\n 1251 S    nats-server-x\n\
            x S nats-server\n1252\n";
        assert_eq!(named(listing, "nats-server"), ids(&[123, 1250]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn programs_are_told_by_what_was_executed() {
        use std::path::Path;
        for (stat, exe, runs) in [
            ("7 (nats-server) S 1 7", None, true),
            ("7 (nats-server) S 1 7", Some("/x/nats-server-2.15"), true),
            ("7 (5) S 1 7", Some("/x/nats-server"), true),
            ("7 (5) R 1 7", Some("/x/nats-server (deleted)"), true),
            ("7 (nats-server) Z 1 7", None, false),
            ("7 (nats-server) X 1 7", None, false),
            ("7 (vim) S 1 7", Some("/usr/bin/vim.basic"), false),
            ("7 (nats-server-x) S 1 7", Some("/x/nats-server-x"), false),
            ("7 (a) Z (nats-server) S 1 7", None, false),
            ("7 () (x)) S 1 7", Some("/x/nats-server"), true),
            ("", Some("/x/nats-server"), false),
        ] {
            let found = system::is_program(stat, exe.map(Path::new), "nats-server");
            assert_eq!(found, runs, "{stat} {exe:?}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_process_is_found_until_it_has_ended() {
        use std::process::Command;
        // A name of its own, so that no other process is found.
        let name = format!("nats-t{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        std::os::unix::fs::symlink("/bin/sleep", &path).unwrap();
        let mut child = Command::new(&path).arg("1000").spawn().unwrap();
        let mut other = Command::new("sh")
            .args(["-c", "read x", &name])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id().to_string().parse::<ProcessId>().unwrap();
        let found = running(&name);
        kill(id).unwrap();
        // It was not waited for, so that it stays in the system's list.
        let left_out = (0..10_000).any(|_| running(&name).unwrap().is_empty());
        child.wait().unwrap();
        drop(other.stdin.take());
        other.wait().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(found.unwrap(), [id]);
        assert!(left_out, "a process that has ended is listed");
        let gone = send(id, Signal::Terminate).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    #[cfg(unix)]
    fn this_process_is_not_among_the_others() {
        let exe = std::env::current_exe().unwrap();
        let name = exe.file_name().unwrap().to_str().unwrap();
        let own = ProcessId::own().unwrap();
        assert!(!running(name).unwrap().contains(&own));
    }
}
