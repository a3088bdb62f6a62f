//! How many files this process may open, and how much memory it may use.

use std::fs;
use std::path::Path;

/// Raises the soft limit of open files to the hard limit, since each connection takes one, and
/// returns what holds then. `None` if the limit cannot be read or is none of this system's.
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "the standard library has no access to resource limits"
)]
pub fn raise_open_files() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the call, which only writes to it.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if read != 0 {
        return None;
    }
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        ..limit
    };
    // SAFETY: `raised` is a valid rlimit that outlives the call, which only reads it.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    let holds = if set == 0 { raised } else { limit };
    #[allow(
        clippy::useless_conversion,
        reason = "the type differs between systems"
    )]
    u64::try_from(holds.rlim_cur).ok()
}

/// Nothing to raise: sockets are not counted as files here.
#[cfg(not(unix))]
pub fn raise_open_files() -> Option<u64> {
    None
}

/// Has the calling thread give way to others where cores are scarce; where the system knows no
/// priority of a thread, nothing happens.
#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "the standard library has no access to priorities"
)]
pub fn lower_priority() {
    const NICE: libc::c_int = 10;
    // SAFETY: the call takes numbers only; 0 names the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if result != 0 {
        log::debug!("The priority of a thread cannot be lowered");
    }
}

/// Nothing to lower: priorities are those of processes here.
#[cfg(not(target_os = "linux"))]
pub fn lower_priority() {}

/// Bytes that are free for this process on the disk with the directory `dir`, which exists. `None`
/// where that cannot be told.
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "the standard library does not tell of file systems"
)]
pub fn free_disk(dir: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    // SAFETY: all of its fields are integers, for which zeros are valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a C string and `stat` a statvfs, and both outlive the call, which writes to
    // the latter only.
    let read = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) };
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the types of the fields differ between systems"
    )]
    let bytes = (stat.f_bavail as u64).checked_mul(stat.f_frsize as u64)?;
    (read == 0).then_some(bytes)
}

/// The same where the system counts by the user's share.
#[cfg(windows)]
pub fn free_disk(dir: &Path) -> Option<u64> {
    super::windows::free_disk(dir)
}

/// The same where it cannot be told.
#[cfg(not(any(unix, windows)))]
pub fn free_disk(_dir: &Path) -> Option<u64> {
    None
}

/// Bytes of memory that this process can hope for: those of the machine, or the limit of its
/// control group where that is lower. `None` where neither can be told.
pub fn total_memory() -> Option<u64> {
    #[cfg(windows)]
    return super::windows::total_memory();
    #[cfg(not(windows))]
    machine_memory()
}

#[cfg(not(windows))]
fn machine_memory() -> Option<u64> {
    if cfg!(not(target_os = "linux")) {
        return None;
    }
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(Path::new("/sys/fs/cgroup"), &groups);
    machine.into_iter().chain(group).min()
}

/// Bytes of memory that this process has at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resident {
    pub all: u64,
    /// The part that files stand behind, such as the program itself.
    pub file: u64,
}

/// What memory this process has at hand; `None` where that cannot be told.
pub fn resident() -> Option<Resident> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(Resident {
        all: stated(&status, "VmRSS:")?,
        file: stated(&status, "RssFile:")?,
    })
}

/// The bytes stated by the line `MemTotal:  16318480 kB`.
#[cfg(any(test, not(windows)))]
fn mem_total(meminfo: &str) -> Option<u64> {
    stated(meminfo, "MemTotal:")
}

/// The bytes stated by the line that begins with `name`.
fn stated(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The lowest memory limit among the control groups listed in `groups` (`/proc/self/cgroup`) and
/// their ancestors, with the group file system at `mount`.
///
/// A line is `ID:CONTROLLERS:PATH`; version 2 has one, without controllers. A container may see
/// its own group mounted at the root while its path is still the host's, which is why every
/// ancestor up to the root is asked and those that do not exist are skipped.
#[cfg(any(test, not(windows)))]
fn group_limit(mount: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (base, file) = match controllers {
            "" => (mount.to_path_buf(), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let ancestors = Path::new(path.trim_start_matches('/')).ancestors();
        let texts =
            ancestors.filter_map(|group| fs::read_to_string(base.join(group).join(file)).ok());
        // No limit is the word "max" in version 2, a huge number in version 1.
        texts
            .filter_map(|text| text.trim().parse::<u64>().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn the_soft_limit_meets_the_hard_one() {
        let first = raise_open_files();
        assert!(first.is_some_and(|files| files >= 20));
        assert_eq!(raise_open_files(), first);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory() {
        assert!(total_memory().is_some_and(|bytes| bytes > 16 << 20));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory() {
        let resident = resident().unwrap();
        assert!(resident.file > 0 && resident.file < resident.all);
    }

    #[test]
    fn the_total_is_read_in_kibibytes() {
        let text = "MemFree:  1 kB\nMemTotal:       16318480 kB\nBuffers: 3 kB\n";
        assert_eq!(mem_total(text), Some(16_318_480 << 10));
        assert_eq!(mem_total("MemTotal: 16318480\n"), None);
        assert_eq!(mem_total(""), None);
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        let dir = std::env::temp_dir().join(format!("nats-group-limit-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "4096\n");
        write("a/b/memory.max", "max\n");
        write("a/b/c/memory.max", "8192\n");
        write("memory/docker/memory.limit_in_bytes", "1000\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        for (groups, limit) in [
            ("0::/a/b/c\n", Some(4096)),
            ("0::/a/absent\n", Some(4096)),
            ("0::/b\n", None),
            ("0::/\n", None),
            (
                "11:cpu,cpuacct:/docker\n3:memory:/docker/x\n0::/\n",
                Some(1000),
            ),
            ("3:pids,memory:/\n", Some(9_223_372_036_854_771_712)),
            ("5:memory_other:/docker\n", None),
            ("nonsense\n", None),
        ] {
            assert_eq!(group_limit(&dir, groups), limit, "{groups}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
