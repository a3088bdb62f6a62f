//! Profiles of this process: where its time goes, and its memory.

use super::sampler::{Sample, SampleError, Samples, sample};
use crate::base::clock;
use crate::monitor::pprof::{Line, LocationId, MemoryUse, Profile};
use std::collections::HashMap;
use std::ffi::c_void;
use std::fs;
use std::time::{Duration, UNIX_EPOCH};

/// CPU time between two samples: as in Go, a hundred a second and core.
const INTERVAL: Duration = Duration::from_millis(10);

/// Watches for a while where the program spends its time, and gives what it has seen as a profile in
/// the format of pprof. Waits all that time. Frames are named as far as the program was built with
/// names.
///
/// # Errors
/// See [`SampleError`].
pub fn capture_cpu(duration: Duration) -> Result<Vec<u8>, SampleError> {
    let began = nanos_now();
    let samples = sample(duration, INTERVAL)?;
    Ok(cpu_profile(samples, began, duration))
}

/// Nanoseconds since 1970.
pub fn nanos_now() -> i64 {
    let passed = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX)
}

fn cpu_profile(samples: Samples, began: i64, took: Duration) -> Vec<u8> {
    let interval = i64::try_from(INTERVAL.as_nanos()).unwrap_or(i64::MAX);
    let mut profile = Profile::new(&[("samples", "count"), ("cpu", "nanoseconds")]);
    profile.set_period(("cpu", "nanoseconds"), interval);
    profile.set_time(began, took);
    if samples.lost > 0 {
        let lost = samples.lost;
        profile.comment(format!("there was no room for another {lost} samples"));
    }
    let mut counts: HashMap<Sample, i64> = HashMap::new();
    for sample in samples.all {
        *counts.entry(sample).or_default() += 1;
    }
    let mut places: HashMap<usize, LocationId> = HashMap::new();
    let mut threads: HashMap<u32, String> = HashMap::new();
    for (Sample { thread, frames }, count) in counts {
        let stack = frames.iter().map(|at| {
            let place = places.entry(*at);
            *place.or_insert_with(|| profile.location(*at as u64, &lines(*at)))
        });
        let stack = stack.collect::<Vec<_>>();
        let name = threads.entry(thread).or_insert_with(|| name_of(thread));
        let values = [count, count.saturating_mul(interval)];
        profile.sample(stack.into_iter(), &values, &[("thread", name)]);
    }
    // It holds all that was read of the program's own file.
    backtrace::clear_symbol_cache();
    super::malloc::trim();
    profile.encode()
}

/// What stands at an address: several lines if functions were inlined there.
fn lines(at: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    // The library looks up the instruction before the one it is given.
    let behind = at.wrapping_add(1) as *mut c_void;
    backtrace::resolve(behind, |symbol| {
        let name = symbol.name().map(|name| format!("{name:#}"));
        let file = symbol.filename().map(|file| file.display().to_string());
        let file = file.unwrap_or_default();
        lines.push(Line {
            function: name.map_or_else(|| format!("{at:#x}"), |name| qualified(name, &file)),
            file,
            line: symbol.lineno().unwrap_or(0),
        });
    });
    lines
}

/// The name of a function with that of its module. A program without full debug information knows
/// just the last part of the name, but the module can be told from the file.
fn qualified(name: String, file: &str) -> String {
    // Behind a bracket are the names of types, which are complete.
    let own = name.split('<').next().unwrap_or_default();
    if own.is_empty() || own.contains("::") {
        return name;
    }
    let Some((before, path)) = file
        .rsplit_once("/src/")
        .or_else(|| Some(("nats_server", file.strip_prefix("src/")?)))
    else {
        return name;
    };
    let Some(path) = path.strip_suffix(".rs") else {
        return name;
    };
    // The directory of a library may have its version behind the name, and ours may have any name.
    let before = match before == env!("NATS_SERVER_SOURCES") {
        true => env!("CARGO_CRATE_NAME"),
        false => before,
    };
    let library = before.rsplit('/').next().unwrap_or_default();
    let version = library
        .find("-0")
        .into_iter()
        .chain((1..=9).filter_map(|digit| library.find(&format!("-{digit}"))));
    let library = &library[..version.min().unwrap_or(library.len())];
    let parts = path
        .split('/')
        .filter(|part| !matches!(*part, "mod" | "lib"));
    let parts = parts.collect::<Vec<_>>().join("::");
    let separator = if parts.is_empty() { "" } else { "::" };
    format!("{}{separator}{parts}::{name}", library.replace('-', "_"))
}

/// The name of a thread; its id if it is gone.
fn name_of(thread: u32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
    name.map_or_else(|_| thread.to_string(), |name| name.trim_end().to_owned())
}

/// What memory the process has at hand, as far as that can be told from outside of its parts:
/// `listed` is what those say of themselves, and is part of the result.
pub fn memory_uses(listed: Vec<MemoryUse>) -> Vec<MemoryUse> {
    let mut uses = listed;
    let known = uses.iter().map(|part| part.bytes).sum::<u64>();
    let mut add = |purpose: &[&str], bytes: u64| {
        if bytes > 0 {
            uses.push(MemoryUse {
                purpose: purpose.iter().map(ToString::to_string).collect(),
                objects: 1,
                bytes,
            });
        }
    };
    let heap = super::malloc::heap();
    let used = heap.map_or(known, |heap| heap.used.max(known));
    add(&["heap", "not listed"], used - known);
    if let Some(resident) = super::limits::resident() {
        add(&["files and program"], resident.file);
        // The allocator counts free memory that was given back to the system all the same.
        let rest = resident.all.saturating_sub(resident.file + used);
        let free = heap.map_or(0, |heap| heap.free.min(rest));
        add(&["heap", "free"], free);
        add(&["stacks and others"], rest - free);
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_lists_is_still_there() {
        let listed = MemoryUse {
            purpose: vec!["queues".into()],
            objects: 3,
            bytes: 10,
        };
        let uses = memory_uses(vec![listed.clone()]);
        assert_eq!(uses[0], listed);
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert!(
                uses.iter()
                    .any(|part| part.purpose == ["heap", "not listed"])
            );
            assert!(
                uses.iter()
                    .any(|part| part.purpose == ["files and program"])
            );
        }
    }

    #[test]
    fn names_without_their_module_get_it_from_the_file() {
        for (name, file, full) in [
            (
                "f",
                concat!(env!("NATS_SERVER_SOURCES"), "/src/a.rs"),
                "nats_server::a::f",
            ),
            ("a::b", "/x/src/c.rs", "a::b"),
            (
                "deliver",
                "src/broker/delivery.rs",
                "nats_server::broker::delivery::deliver",
            ),
            (
                "f",
                "/build/nats-server/src/broker/mod.rs",
                "nats_server::broker::f",
            ),
            (
                "f",
                "/r/library/core/src/slice/iter.rs",
                "core::slice::iter::f",
            ),
            (
                "f",
                "/r/index-1a/hash-brown-0.17.1/src/map.rs",
                "hash_brown::map::f",
            ),
            ("f", "/r/index-1a/log-1.0.0/src/lib.rs", "log::f"),
            ("f<a::B>", "src/a.rs", "nats_server::a::f<a::B>"),
            ("<a::B as C>::f", "src/a.rs", "<a::B as C>::f"),
            ("send", "", "send"),
            ("memcpy", "./string/memcpy.S", "memcpy"),
        ] {
            assert_eq!(qualified(name.into(), file), full, "{name} in {file}");
        }
    }

    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    #[test]
    fn addresses_have_names() {
        let at = addresses_have_names as *const () as usize;
        let lines = lines(at);
        let name = &lines.last().unwrap().function;
        // Line tables know the file, not the module inside it.
        assert!(name.starts_with("nats_server::os::profile::"), "{name}");
        assert!(name.ends_with("::addresses_have_names"), "{name}");
    }
}
