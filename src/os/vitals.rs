//! How this process does: its memory, the CPU that it has used, its threads.

use std::time::Duration;

/// A thread of this process.
#[derive(Clone, Debug, PartialEq)]
pub struct Thread {
    pub id: u64,
    pub name: String,
    /// What the system says it is at, such as `running` or `sleeping`.
    pub state: &'static str,
    pub cpu: Duration,
}

/// Bytes of memory in use, as the system counts them; none where it does not tell.
pub fn resident_bytes() -> Option<u64> {
    #[cfg(windows)]
    return super::windows::resident_bytes();
    #[cfg(not(windows))]
    resident_pages()
}

#[cfg(not(windows))]
fn resident_pages() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_bytes())
}

/// CPU that this process has used, in user and in system mode; none where the system does not tell.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the standard library does not know")]
pub fn cpu_time() -> Option<Duration> {
    // SAFETY: all bytes zero are a value of this struct of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value that outlives the call and is valid for writes.
    let code = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let time = |t: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(t.tv_sec).ok()?);
        // It is 32 bits wide on some systems.
        #[allow(clippy::useless_conversion, reason = "not everywhere")]
        let micros = u64::try_from(i64::from(t.tv_usec)).ok()?;
        Some(seconds + Duration::from_micros(micros))
    };
    (code == 0).then(|| Some(time(usage.ru_utime)? + time(usage.ru_stime)?))?
}

/// CPU that the calling thread has used; none where the system does not tell it to the microsecond.
#[cfg(unix)]
#[allow(unsafe_code, reason = "the standard library does not know")]
pub fn thread_cpu_time() -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a value that outlives the call and is valid for writes.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    (code == 0).then(|| Duration::new(seconds, nanos))
}

/// CPU that the calling thread has used; none where the system does not tell it to the microsecond.
#[cfg(not(unix))]
pub fn thread_cpu_time() -> Option<Duration> {
    None
}

/// CPU that this process has used; none where the system does not tell.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    #[cfg(windows)]
    return super::windows::cpu_time();
    #[cfg(not(windows))]
    None
}

/// The threads of this process; none where the system does not tell.
pub fn threads() -> Vec<Thread> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let tick = Duration::from_secs(1) / ticks_per_second();
    let mut threads: Vec<Thread> = tasks
        .flatten()
        .filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            parse_stat(&stat, tick)
        })
        .collect();
    threads.sort_by_key(|thread| thread.id);
    threads
}

/// Reads a line of `/proc/<pid>/stat` (proc(5)). The name in it is in parentheses and may hold
/// anything.
fn parse_stat(stat: &str, tick: Duration) -> Option<Thread> {
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = match fields.next()? {
        "R" => "running",
        "S" => "sleeping",
        "D" => "waiting for a disk",
        "T" | "t" => "stopped",
        _ => "ending",
    };
    // Fields 14 and 15 of the line; the state is the third.
    let user: u32 = fields.nth(10)?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(Thread {
        id: id.parse().ok()?,
        name: name.into(),
        state,
        cpu: tick * user.saturating_add(system),
    })
}

#[cfg(unix)]
#[allow(unsafe_code, reason = "the standard library does not know")]
fn configured(what: libc::c_int) -> Option<u64> {
    // SAFETY: the call only reads a number of the system's.
    let value = unsafe { libc::sysconf(what) };
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(unix)]
fn page_bytes() -> u64 {
    configured(libc::_SC_PAGESIZE).unwrap_or(4096)
}

#[cfg(unix)]
fn ticks_per_second() -> u32 {
    let ticks = configured(libc::_SC_CLK_TCK).and_then(|n| u32::try_from(n).ok());
    ticks.unwrap_or(100)
}

#[cfg(not(any(unix, windows)))]
fn page_bytes() -> u64 {
    4096
}

#[cfg(not(unix))]
fn ticks_per_second() -> u32 {
    100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let line = "17 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0";
        let thread = parse_stat(line, Duration::from_millis(10)).unwrap();
        assert_eq!(
            (thread.id, &*thread.name, thread.state),
            (17, "a) b (c", "sleeping")
        );
        assert_eq!(thread.cpu, Duration::from_millis(420));
        for bad in [
            "",
            "17",
            "17 (a)",
            "17 (a) S 1",
            "x (a) S 1 2 3 4 5 6 7 8 9 10 30 12",
        ] {
            assert_eq!(parse_stat(bad, Duration::ZERO), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells() {
        assert!(resident_bytes().unwrap() > 1 << 16);
        assert!(cpu_time().is_some());
        let own = std::process::id();
        assert!(threads().iter().any(|thread| thread.id == u64::from(own)));
    }
}
