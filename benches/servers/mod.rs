//! Running servers for the benches that measure whole ones.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The command of this server with these arguments, and those of the servers to compare it with.
pub(crate) fn commands(arguments: &str) -> Vec<String> {
    let own = format!("{} {arguments}", env!("CARGO_BIN_EXE_nats-server"));
    let others = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    std::iter::once(own).chain(others).collect()
}

/// A server process, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Runs a command with a free port in place of `{port}`, and waits until it listens.
    pub(crate) fn start(command: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let command = command.replace("{port}", &port.to_string());
        let mut words = command.split_whitespace();
        let child = Command::new(words.next().expect("a command"))
            .args(words)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{command}: {e}"));
        let server = Server { child, port };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "{command} does not listen");
            thread::sleep(Duration::from_millis(1));
        }
        server
    }

    /// A connection that has said CONNECT.
    #[allow(dead_code, reason = "not every bench asks")]
    pub(crate) fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .write_all(b"CONNECT {\"verbose\":false}\r\n")
            .unwrap();
        barrier(&mut stream);
        stream
    }
}

#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "not every bench asks")]
impl Server {
    /// Processor time that the server has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_thread = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let first = text.split_whitespace().next();
            first.and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.flatten().map(of_thread).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the server has handled all that was sent to it.
pub(crate) fn barrier(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "closed by the server"
        );
    }
}

/// The middle one.
#[allow(dead_code, reason = "not every bench asks")]
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
