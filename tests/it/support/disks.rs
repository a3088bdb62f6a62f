//! Faults of a server's disk, and its files.

use super::Process;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs a program; whether it was successful.
pub fn run(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
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
