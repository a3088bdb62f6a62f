//! The built binary as a process of its own.

use super::{PATIENCE, Peer};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The binary under test.
pub fn server_binary() -> &'static str {
    env!("CARGO_BIN_EXE_nats-server")
}

/// A running server. It is killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Log>,
    pub addr: SocketAddr,
}

#[derive(Default)]
struct Log {
    text: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// A run of the binary to its end.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(args: &[&str]) -> Run {
        Run::of(Command::new(server_binary()).args(args))
    }

    /// The run of another command.
    pub fn of(command: &mut Command) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }
}

impl Process {
    /// The server with these arguments besides a free port of the loopback interface, ready to
    /// be connected to.
    pub fn start(args: &[&str]) -> Process {
        let mut command = Command::new(server_binary());
        command.args(["-p", "-1", "-a", "127.0.0.1"]).args(args);
        Process::spawn(command)
    }

    /// Runs a command that becomes a server, and waits until that is ready.
    pub fn spawn(command: Command) -> Process {
        Process::spawn_with(command, Stdio::null())
    }

    /// [`Process::spawn`] with something in place of the standard input.
    pub fn spawn_with(mut command: Command, stdin: Stdio) -> Process {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server's binary can be run");
        let log = Arc::new(Log::default());
        let (stderr, into) = (child.stderr.take().unwrap(), log.clone());
        thread::spawn(move || into.collect(stderr));
        let mut process = Process {
            child,
            log,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let line = process.wait_for("Listening for client connections on ");
        process.addr = line.rsplit(' ').next().unwrap().parse().unwrap();
        process.wait_for("Server is ready");
        process
    }

    /// The reference server with these arguments, if there is one here: that which `NATS_SERVER_GO`
    /// names, or `nats-server` on the path.
    pub fn reference(args: &[&str]) -> Option<Process> {
        let named = std::env::var_os("NATS_SERVER_GO").map(PathBuf::from);
        let on_path = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .map(|dir| dir.join("nats-server"))
                .find(|f| f.is_file())
        };
        let program = named.or_else(on_path);
        let own = PathBuf::from(server_binary()).canonicalize().ok();
        let Some(program) = program.filter(|p| p.canonicalize().ok() != own) else {
            eprintln!("skipped: no nats-server on the path, and NATS_SERVER_GO is not set");
            return None;
        };
        let mut command = Command::new(&program);
        command.args(["-p", "-1", "-a", "127.0.0.1"]).args(args);
        Some(Process::spawn(command))
    }

    /// The version that the server tells, without its patch.
    pub fn version(&self) -> (u32, u32) {
        let info = Peer::raw(self.addr).line();
        let version = info.split("\"version\":\"").nth(1).unwrap();
        let mut parts = version
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        let mut part = || parts.next().and_then(Result::ok).unwrap_or_default();
        (part(), part())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of the log that contains `part`.
    pub fn wait_for(&self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut text = self.log.text.lock().unwrap();
        loop {
            if let Some(line) = text.0.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || text.1 {
                // Not while the lock is held: the process looks into its log when it is dropped.
                let lines = text.0.clone();
                drop(text);
                panic!("no {part:?} in the log: {lines:#?}");
            }
            text = self.log.more.wait_timeout(text, left).unwrap().0;
        }
    }

    /// The status and the body that its monitoring has for a path.
    pub fn get(&self, path: &str) -> (u16, String) {
        let line = self.wait_for("Starting http monitor on ");
        let addr: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
        let mut http = TcpStream::connect(addr).unwrap();
        http.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        http.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_owned())
    }

    /// What was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.text.lock().unwrap().0.clone()
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: i32) {
        let id = libc::pid_t::try_from(self.child.id()).unwrap();
        #[allow(unsafe_code, reason = "the standard library sends no signals")]
        // SAFETY: kill takes plain numbers; the child was not waited for, so the id is its own.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0);
    }

    /// Waits for the end of the process and of its log.
    pub fn wait(&mut self, time: Duration) -> ExitStatus {
        let until = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.log.closed(until);
                return status;
            }
            assert!(Instant::now() < until, "still running: {:#?}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Time that the process has spent computing.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Bytes of memory that the process has at hand.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
            << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(30);
            eprintln!("the end of the server's log: {:#?}", &log[from..]);
        }
    }
}

impl Log {
    fn collect(&self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while matches!(reader.by_ref().read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.text.lock().unwrap().0.push(text);
            self.more.notify_all();
            line.clear();
        }
        self.text.lock().unwrap().1 = true;
        self.more.notify_all();
    }

    /// Waits until there will be no more lines.
    fn closed(&self, until: Instant) {
        let mut text = self.text.lock().unwrap();
        while !text.1 && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            text = self.more.wait_timeout(text, left).unwrap().0;
        }
    }
}
