//! The server under a service manager: what it tells of itself, and sockets that it is given.

use crate::support::{Dir, PATIENCE, Peer, Process, server_binary};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;
const SIGUSR2: i32 = 12;

/// A manager that hears what the service tells it.
struct Manager {
    socket: UnixDatagram,
    dir: Dir,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let dir = Dir::new(name);
        let socket = UnixDatagram::bind(dir.path("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, dir }
    }

    fn start(&self, config: &str) -> Process {
        let config = self.dir.write("nats.conf", config);
        let mut command = Command::new(server_binary());
        command
            .args(["-p", "-1", "-a", "127.0.0.1", "-c", &config])
            .env("NOTIFY_SOCKET", self.dir.path("notify"))
            .env("WATCHDOG_USEC", "400000");
        Process::spawn(command)
    }

    /// What comes next, signs of life aside.
    fn hears(&self) -> String {
        loop {
            let text = self.hears_anything();
            if text != "WATCHDOG=1" {
                return text;
            }
        }
    }

    fn hears_anything(&self) -> String {
        let mut buffer = [0; 1024];
        let len = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }
}

#[test]
fn the_manager_is_told_when_the_server_is_ready_reloads_and_ends() {
    let manager = Manager::new("supervisor-states");
    let mut server = manager.start("max_payload: 1000");
    let ready = format!(
        "READY=1\nSTATUS=Listening for client connections on {}",
        server.addr
    );
    assert_eq!(manager.hears(), ready);
    for _ in 0..3 {
        assert_eq!(manager.hears_anything(), "WATCHDOG=1");
    }
    // A reload that is refused leaves the server ready, too.
    for config in ["max_payload: 2000", "max_payload: nonsense"] {
        manager.dir.write("nats.conf", config);
        server.signal(SIGHUP);
        let heard = manager.hears();
        assert!(heard.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard}");
        assert_eq!(manager.hears(), ready);
    }
    server.signal(SIGTERM);
    let heard = manager.hears();
    assert!(heard.starts_with("STOPPING=1\n"), "{heard}");
    assert!(server.wait(PATIENCE).success());
}

#[test]
fn lame_duck_mode_is_told_with_the_time_that_it_may_take() {
    let manager = Manager::new("supervisor-lame-duck");
    let config = "lame_duck_duration: 30s, lame_duck_grace_period: 10s";
    let server = manager.start(config);
    assert!(manager.hears().starts_with("READY=1"));
    let _client = Peer::connect(server.addr);
    server.signal(SIGUSR2);
    let heard = manager.hears();
    assert!(
        heard.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=34000000\n"),
        "{heard}"
    );
}

/// A shell that becomes the server, with what it reads from as the socket of a manager.
fn activated(args: &str, name: &str) -> Command {
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec \"$0\" {args}"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, server_binary()]);
    command
}

#[test]
fn a_socket_of_the_manager_is_listened_on() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let stdin = Stdio::from(OwnedFd::from(socket));
    // The port of the arguments is not the one that is listened on.
    let command = activated("-p 1 -a 127.0.0.1", "nats-server.socket");
    let server = Process::spawn_with(command, stdin);
    assert_eq!(server.addr, addr);
    Peer::connect(addr).sync();
}

#[test]
fn what_is_no_socket_is_refused() {
    for (args, name, error) in [
        (
            "-p -1",
            "a",
            "Error taking over the service manager's sockets",
        ),
        (
            "-p -1",
            "monitor",
            "Error taking over the service manager's sockets",
        ),
    ] {
        let run = crate::support::Run::of(activated(args, name).stdin(Stdio::null()));
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains(error), "{}", run.stderr);
    }
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let stdin = Stdio::from(OwnedFd::from(socket));
    let run = crate::support::Run::of(activated("-p -1", "monitor").stdin(stdin));
    let error = "the service manager has a socket for monitoring, which is not configured";
    assert!(run.stderr.contains(error), "{}", run.stderr);
}
