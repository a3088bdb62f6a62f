//! Servers with a store of their own, faults of its disk, and its files.

use super::{PATIENCE, Process};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a program; whether it was successful.
pub fn run(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// A server with JetStream and monitoring that keeps its streams there.
pub fn start(store: &str) -> Process {
    Process::start(&["-js", "-sd", store, "-m", "-1"])
}

/// Ends a server and waits for that.
pub fn stop(mut server: Process, signal: i32) {
    server.signal(signal);
    server.wait(PATIENCE);
}

/// A file system that is mounted, and is no more when this goes.
pub struct Mount(String);

impl Mount {
    /// An empty one in memory, of this size as `mount` has it, perhaps with more of its options behind a
    /// comma; remounting can change them.
    pub fn in_memory(size: &str, at: &str) -> Option<Mount> {
        let size = format!("size={size}");
        Mount::new(&["-t", "tmpfs", "-o", &size, "tmpfs"], at)
    }

    /// One as `mount` makes it with these arguments.
    pub fn new(args: &[&str], at: &str) -> Option<Mount> {
        fs::create_dir_all(at).unwrap();
        let all: Vec<&str> = args.iter().copied().chain([at]).collect();
        match run("mount", &all) {
            true => Some(Mount(at.to_owned())),
            false => {
                println!(
                    "SKIPPED: nothing can be mounted here (mount {})",
                    all.join(" ")
                );
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        while !run("umount", &[&self.0]) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A tracer that lets calls of a server fail, until it goes.
pub struct Injection(Child);

impl Injection {
    /// All calls of a kind fail.
    pub fn new(server: &Process, what: &str) -> Option<Injection> {
        Injection::on(server, what, &[])
    }

    /// Only calls for these files fail, or those for any if there are none.
    pub fn on(server: &Process, what: &str, paths: &[&str]) -> Option<Injection> {
        let id = server.id().to_string();
        let inject = format!("inject={what}");
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &id, "-e", &inject, "-o", "/dev/null"]);
        command.args(paths.iter().flat_map(|path| ["-P", path]));
        let child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let Ok(mut child) = child else {
            println!("SKIPPED: there is no strace");
            return None;
        };
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        // It first resolves the paths.
        while stderr.read_line(&mut line).unwrap() > 0 && line.contains("Requested path") {
            line.clear();
        }
        if !line.contains("attached") {
            println!("SKIPPED: nothing can be traced here: {line}");
            let _ = child.wait();
            return None;
        }
        std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = stderr.read_to_string(&mut rest);
        });
        Some(Injection(child))
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        run("kill", &[&self.0.id().to_string()]);
        let _ = self.0.wait();
    }
}

/// Files in a directory and those in it whose names begin so.
pub fn files_named(dir: &Path, begins: &str) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            found.extend(files_named(&path, begins));
        } else if name.starts_with(begins) {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found
}
