//! No room for the files that a server writes besides its store: PID file, ports file and log. Those on
//! small file systems of their own need root, and say so where they cannot run.

use crate::support::disks::{Mount, run};
use crate::support::{Dir, Peer, Process, Run, eventually};
use std::fs;
use std::io::Write;
use std::path::Path;

const FAILED: &str = "[ERR] Failed to reload server configuration: ";
const FULL: &str = "no space left on device";

/// Fills a file system to its last byte.
fn fill(at: &str) {
    let mut file = fs::File::create(format!("{at}/filler")).unwrap();
    while file.write(&[0; 1024]).is_ok_and(|len| len > 0) {}
}

/// Fills one that takes so many files and no more.
fn fill_names(at: &str) {
    let filler = (0..).map(|n| format!("{at}/filler.{n}"));
    let count = filler
        .take_while(|path| fs::File::create(path).is_ok())
        .count();
    assert!(count > 0);
}

fn names(at: &str) -> Vec<String> {
    let entries = fs::read_dir(at).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("filler")).collect();
    names.sort();
    names
}

/// Has the server read its configuration again, and waits until it refuses that.
fn refused(server: &Process, reason: &str) -> String {
    let before = server.log().len();
    server.signal(libc::SIGHUP);
    let mut line = None;
    eventually("the reload is refused", || {
        let log = server.log();
        line = log
            .iter()
            .skip(before)
            .find(|l| l.contains(FAILED))
            .cloned();
        line.is_some()
    });
    let line = line.unwrap();
    assert!(line.contains(reason) && line.ends_with(FULL), "{line}");
    line
}

fn has(server: &Process, max_payload: u32) -> bool {
    let info = Peer::raw(server.addr).line();
    info.contains(&format!("\"max_payload\":{max_payload},"))
}

/// B22: a reload that has no room for a file says for which, changes nothing, and leaves no part of it.
#[test]
fn a_reload_without_room_for_its_files_changes_nothing() {
    let dir = Dir::new("no-room-reload");
    let at = dir.path("mount");
    let Some(_mount) = Mount::in_memory("64k", &at) else {
        return;
    };
    let (old, new) = (dir.path("old.pid"), format!("{at}/new.pid"));
    let path = dir.write("a.conf", &format!("max_payload: 100, pid_file: '{old}'"));
    let server = Process::start(&["-c", &path]);
    let own = server.id().to_string();
    let is_as_before = || {
        assert!(has(&server, 100));
        assert_eq!(fs::read_to_string(&old).unwrap(), own);
    };
    fill(&at);
    dir.write("a.conf", &format!("max_payload: 200, pid_file: '{new}'"));
    let line = refused(&server, "Could not write pidfile: open ");
    assert!(line.contains(&new), "{line}");
    assert_eq!(names(&at), [""; 0]);
    is_as_before();
    // A server that starts ends instead.
    let start = Run::new(&["-p", "-1", "-a", "127.0.0.1", "-P", &new]);
    assert_eq!(start.code, Some(1), "{}", start.stderr);
    let fatal = format!("[FTL] Could not write pidfile: open {new}: {FULL}");
    assert!(start.stderr.contains(&fatal), "{}", start.stderr);
    assert_eq!(names(&at), [""; 0]);
    // One that was there has not half of another id now.
    fs::remove_file(format!("{at}/filler")).unwrap();
    fs::write(&new, "").unwrap();
    fill(&at);
    refused(&server, "Could not write pidfile: open ");
    assert_eq!(fs::read(&new).unwrap(), b"");
    fs::remove_file(&new).unwrap();
    is_as_before();

    dir.write(
        "a.conf",
        &format!("max_payload: 200, ports_file_dir: '{at}'"),
    );
    refused(&server, "Error writing ports file");
    assert_eq!(names(&at), [""; 0]);
    is_as_before();

    // What was written before goes again when there is no room for the next.
    let beside = dir.path("beside.pid");
    let text = format!("max_payload: 200, pid_file: '{beside}', ports_file_dir: '{at}'");
    dir.write("a.conf", &text);
    refused(&server, "Error writing ports file");
    assert!(!Path::new(&beside).exists());
    is_as_before();

    fs::remove_file(format!("{at}/filler")).unwrap();
    let text = format!("max_payload: 200, pid_file: '{new}', ports_file_dir: '{at}'");
    dir.write("a.conf", &text);
    server.signal(libc::SIGHUP);
    server.wait_for("Reloaded server configuration");
    assert!(has(&server, 200));
    assert_eq!(fs::read_to_string(&new).unwrap(), own);
    assert!(!Path::new(&old).exists());
    assert_eq!(names(&at).len(), 2);
}

/// B22: a log that cannot be made is a reload that is refused.
#[test]
fn a_reload_without_room_for_the_log_changes_nothing() {
    let dir = Dir::new("no-room-log");
    let at = dir.path("mount");
    let Some(_mount) = Mount::in_memory("1m,nr_inodes=8", &at) else {
        return;
    };
    let old = dir.path("old.pid");
    let path = dir.write("a.conf", &format!("max_payload: 100, pid_file: '{old}'"));
    let server = Process::start(&["-c", &path]);
    fill_names(&at);
    let beside = dir.path("beside.pid");
    let text = format!("max_payload: 200, pid_file: '{beside}', log_file: '{at}/log'");
    dir.write("a.conf", &text);
    refused(&server, "/log");
    assert!(has(&server, 100));
    assert!(Path::new(&old).exists() && !Path::new(&beside).exists());
    assert_eq!(names(&at), [""; 0]);
}

/// B22: what has no room in the log is kept and written when there is some; meanwhile the server goes on,
/// and stderr is told.
#[test]
fn lines_wait_for_room_in_the_log() {
    let dir = Dir::new("no-room-lines");
    let at = dir.path("mount");
    let Some(_mount) = Mount::in_memory("64k", &at) else {
        return;
    };
    let path = dir.write("a.conf", "max_payload: 100");
    let server = Process::start(&["-c", &path, "-D"]);
    fill(&at);
    let log = format!("{at}/log");
    dir.write("a.conf", &format!("max_payload: 200, log_file: '{log}'"));
    server.signal(libc::SIGHUP);
    let line = server.wait_for("Unable to write the log to ");
    assert!(line.contains(&log) && line.contains(FULL), "{line}");
    assert!(has(&server, 200));
    for _ in 0..20 {
        Peer::connect(server.addr).sync();
    }
    fs::remove_file(format!("{at}/filler")).unwrap();
    let read = || fs::read_to_string(&log).unwrap();
    eventually("the log is written", || {
        let log = read();
        log.contains("The log could not be written for") && log.contains(FULL)
    });
    let text = read();
    let count = |part: &str| text.matches(part).count();
    assert_eq!(count("Reloaded server configuration"), 1, "{text}");
    assert!(count("Client connection created") >= 20, "{text}");
    // None in part, and none twice.
    let head = format!("[{}] ", server.id());
    assert!(text.lines().all(|line| line.starts_with(&head)), "{text}");
    assert_eq!(count(&head), text.lines().count(), "{text}");
}

/// B22: a log that has no room for a next file goes on in this one, and is rotated later.
#[test]
fn a_log_without_room_for_another_is_written_on() {
    let dir = Dir::new("no-room-rotation");
    let at = dir.path("mount");
    let Some(_mount) = Mount::in_memory("4m,nr_inodes=8", &at) else {
        return;
    };
    let log = format!("{at}/log");
    let limit = "debug: true, logfile_size_limit: 4000";
    let path = dir.write("a.conf", limit);
    let server = Process::start(&["-c", &path]);
    dir.write("a.conf", &format!("{limit}, log_file: '{log}'"));
    server.signal(libc::SIGHUP);
    eventually("the log goes on there", || Path::new(&log).exists());
    fill_names(&at);
    let part =
        "Unable to rotate logfile (no space left on device), will attempt next rotation at size";
    eventually("it should be rotated", || {
        Peer::connect(server.addr).sync();
        fs::read_to_string(&log).unwrap().contains(part)
    });
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("Reloaded server configuration"), "{text}");
    assert_eq!(names(&at), ["log"]);
    assert!(run("mount", &["-o", "remount,nr_inodes=100", &at]));
    eventually("it is rotated", || {
        Peer::connect(server.addr).sync();
        names(&at).len() > 1
    });
    eventually("that is told", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("Rotated log, backup saved as ")
    });
}
