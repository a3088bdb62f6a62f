//! Monitoring over HTTP as clients of all kinds find it: what is served is up to others, how it is
//! served is looked at here.

use crate::support::tls::{Authority, Names, Version};
use crate::support::{Dir, End, PATIENCE, Peer, Process, Run, eventually, start};
use nats_server::loops::monitor::{Monitor, Site};
use nats_server::monitor::http::{Handler, Request, Response};
use nats_server::net::listen::listen;
use nats_server::os::limits::raise_open_files;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A site with pages for tests.
#[derive(Default)]
struct Pages {
    gate: Gate,
}

/// Where handlers wait until they are let go, and are counted.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        let wait = self.changed.wait_timeout_while(state, PATIENCE, |s| !s.1);
        wait.unwrap().0.0 -= 1;
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().0
    }
}

const LARGE: usize = 24 << 20;

impl Handler for Pages {
    fn handle(&self, request: &Request) -> Response {
        match &*request.path {
            "/" => Response::text(200, "home\n"),
            "/echo" => Response::text(200, format!("{request:?}")),
            "/large" => Response {
                body: vec![b'x'; LARGE],
                ..Response::text(200, "")
            },
            "/slow" => {
                self.gate.pass();
                Response::text(200, "at last\n")
            }
            _ => Response::not_found(),
        }
    }
}

fn serve() -> (Monitor, SocketAddr, Arc<Pages>) {
    let listener = listen("127.0.0.1", 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let pages = Arc::new(Pages::default());
    let monitor = Monitor::start(vec![Site {
        listener,
        tls: None,
        base_path: String::new(),
        handler: pages.clone(),
    }]);
    (monitor.unwrap(), addr, pages)
}

/// An answer as it came.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(own, _)| own == name)
            .map(|(_, value)| &**value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// The next answer, with as much of a body as its head announces.
fn answer(stream: &mut impl Read) -> Answer {
    let mut answer = head(stream);
    let len = answer.header("content-length").unwrap().parse().unwrap();
    answer.body = vec![0; len];
    stream.read_exact(&mut answer.body).unwrap();
    answer
}

fn head(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&bytes)));
        bytes.push(byte[0]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().unwrap();
    let status = status.strip_prefix("HTTP/1.1 ").unwrap();
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    };
    Answer {
        status: status[..3].parse().unwrap(),
        headers: lines.map(pair).collect(),
        body: Vec::new(),
    }
}

/// Says something on a new connection and gives the answer with it.
fn ask(addr: SocketAddr, text: &str) -> (Peer, Answer) {
    let mut peer = Peer::raw(addr);
    peer.say(text);
    let answer = answer(&mut peer.stream);
    (peer, answer)
}

/// What the server of a process says in its log that it serves monitoring on.
fn monitor_of(process: &Process) -> SocketAddr {
    let line = process.wait_for(" monitor on ");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_connection_takes_one_request_after_the_other() {
    let (_monitor, addr, _) = serve();
    let mut peer = Peer::raw(addr);
    let asked = [
        get("/"),
        get("/nothing"),
        "HEAD /large HTTP/1.1\r\nHost: h\r\n\r\n".into(),
        get("//echo"),
        get("/echo?a=1&b=%20x"),
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".into(),
        get("/not-looked-at"),
    ];
    peer.say(asked.concat());
    let home = answer(&mut peer.stream);
    assert_eq!((home.status, home.text()), (200, "home\n"));
    assert_eq!(
        home.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        (home.header("connection"), home.header("server")),
        (None, None)
    );
    assert!(
        home.header("date")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    let nothing = answer(&mut peer.stream);
    assert_eq!(
        (nothing.status, nothing.text()),
        (404, "404 page not found\n")
    );
    let large = head(&mut peer.stream);
    assert_eq!(large.header("content-length"), Some(&*LARGE.to_string()));
    let moved = answer(&mut peer.stream);
    assert_eq!(
        (moved.status, moved.header("location")),
        (307, Some("/echo"))
    );
    let echo = answer(&mut peer.stream);
    assert!(
        echo.text().contains("[(\"a\", \"1\"), (\"b\", \" x\")]"),
        "{}",
        echo.text()
    );
    let last = answer(&mut peer.stream);
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    peer.expect_eof();
}

#[test]
fn requests_may_come_in_any_pieces() {
    let (_monitor, addr, _) = serve();
    let mut peer = Peer::raw(addr);
    for byte in get("/echo?x").bytes() {
        peer.say([byte]);
    }
    assert_eq!(answer(&mut peer.stream).status, 200);
    // Who ends its side after the request still gets the answer.
    peer.say(get("/"));
    peer.finish();
    assert_eq!(answer(&mut peer.stream).text(), "home\n");
    peer.expect_eof();
}

#[test]
fn old_clients_are_answered_as_they_know_it() {
    let (_monitor, addr, _) = serve();
    let (mut peer, first) = ask(addr, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(
        (first.status, first.header("connection")),
        (200, Some("close"))
    );
    peer.expect_eof();
    let stay = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let (mut peer, first) = ask(addr, stay);
    assert_eq!(first.header("connection"), Some("keep-alive"));
    peer.say(stay);
    assert_eq!(answer(&mut peer.stream).text(), "home\n");
}

#[test]
fn bodies_are_thrown_away_or_refused() {
    let (_monitor, addr, _) = serve();
    let post = |headers: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: h\r\n{headers}\r\n{body}")
    };
    let mut peer = Peer::raw(addr);
    for request in [
        post("Content-Length: 5\r\n", "GET /"),
        post("Transfer-Encoding: chunked\r\n", "5\r\nGET /\r\n0\r\n\r\n"),
    ] {
        peer.say(request + &get("/"));
        assert_eq!(answer(&mut peer.stream).status, 200);
        assert_eq!(answer(&mut peer.stream).text(), "home\n");
    }
    let leave = "Content-Length: 3\r\nExpect: 100-continue\r\n";
    peer.say(post(leave, ""));
    peer.expect("HTTP/1.1 100 Continue\r\n\r\n");
    peer.say("abc");
    assert_eq!(answer(&mut peer.stream).status, 200);

    for (headers, status) in [
        ("Content-Length: 65537\r\n", 413),
        ("Content-Length: x\r\n", 400),
        ("Expect: more\r\n", 417),
        ("Transfer-Encoding: gzip\r\n", 501),
    ] {
        let (mut peer, refused) = ask(addr, &post(headers, ""));
        assert_eq!(
            (refused.status, refused.header("connection")),
            (status, Some("close"))
        );
        peer.expect_eof();
    }
}

#[test]
fn what_is_no_request_is_told_so_and_closed() {
    let (_monitor, addr, _) = serve();
    for (text, status) in [
        ("PING\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
    ] {
        let (mut peer, refused) = ask(addr, text);
        assert_eq!(refused.status, status, "{text}");
        peer.expect_eof();
    }
}

#[test]
fn what_is_never_complete_is_given_up() {
    let (_monitor, addr, _) = serve();
    let mut silent = Peer::raw(addr);
    let mut half = Peer::raw(addr);
    half.say("GET / HTTP/1.1\r\nHo");
    let mut body = Peer::raw(addr);
    body.say("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    // A line now and then does not help.
    for i in 0..20 {
        if !half.try_say(format!("X-{i}: y\r\n")) {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    for peer in [&mut half, &mut body] {
        assert_eq!(answer(&mut peer.stream).status, 408);
        peer.expect_eof();
    }
    silent.expect_eof();
}

#[test]
fn the_base_path_is_what_all_is_below() {
    let server = start(|o| {
        o.http_port = -1;
        o.http_base_path = "a b/../nats/".into();
    });
    let addr = server.monitor_addr().unwrap().addr;
    for (path, status) in [("/nats", 200), ("/nats/", 404), ("/", 404), ("/natsx", 404)] {
        assert_eq!(ask(addr, &get(path)).1.status, status, "{path}");
    }
}

#[test]
fn a_slow_answer_holds_up_nobody_else_and_too_many_are_refused() {
    let (_monitor, addr, pages) = serve();
    let slow = || {
        let mut peer = Peer::raw(addr);
        peer.say(get("/slow"));
        peer
    };
    let mut asked = vec![slow()];
    eventually("one waits", || pages.gate.waiting() == 1);
    for _ in 0..3 {
        assert_eq!(ask(addr, &get("/")).1.text(), "home\n");
    }
    asked.extend((0..3).map(|_| slow()));
    eventually("all threads wait", || pages.gate.waiting() == 4);
    // So many are put off.
    asked.extend((0..64).map(|_| slow()));
    eventually("no more are", || {
        let (_, refused) = ask(addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        refused.status == 503
    });
    // What takes no thread is answered all the same.
    assert_eq!(ask(addr, &get("//x")).1.status, 307);
    pages.gate.open();
    let statuses = asked.iter_mut().map(|peer| answer(&mut peer.stream).status);
    let answered = statuses.filter(|status| *status == 200).count();
    // Those that came last may have found the queue full already.
    assert!(answered >= 4 + 60, "{answered}");
    assert_eq!(ask(addr, &get("/")).1.status, 200);
}

#[test]
fn who_gives_up_waiting_frees_a_thread() {
    let (_monitor, addr, pages) = serve();
    let slow = (0..8).map(|_| {
        let mut peer = Peer::raw(addr);
        peer.say(get("/slow"));
        peer
    });
    let slow = slow.collect::<Vec<_>>();
    eventually("all threads wait", || pages.gate.waiting() == 4);
    slow.into_iter().for_each(Peer::reset);
    pages.gate.open();
    assert_eq!(ask(addr, &get("/")).1.status, 200);
}

/// A connection with so small a receive buffer that not reading shows soon at the server.
fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn those_who_do_not_read_their_answers_hold_up_nobody() {
    let (_monitor, addr, _) = serve();
    let mut lazy = (0..12).map(|_| narrow(addr)).collect::<Vec<_>>();
    for stream in &mut lazy {
        stream.write_all(get("/large").as_bytes()).unwrap();
    }
    // They have to let go of the threads before this is answered.
    assert_eq!(ask(addr, &get("/")).1.status, 200);
    // Who does read gets all of it.
    let mut reader = narrow(addr);
    reader.write_all(get("/large").as_bytes()).unwrap();
    let all = answer(&mut reader);
    assert!(all.body.len() == LARGE && all.body.iter().all(|b| *b == b'x'));
}

#[test]
fn those_who_wait_when_the_server_ends_are_answered_or_closed() {
    for answered in [true, false] {
        let (monitor, addr, pages) = serve();
        let (mut idle, _) = ask(addr, &get("/"));
        let mut half = Peer::raw(addr);
        half.say("GET / HT");
        let mut slow = Peer::raw(addr);
        slow.say(get("/slow"));
        eventually("one waits", || pages.gate.waiting() == 1);
        let ending = thread::spawn(move || drop(monitor));
        idle.expect_closed();
        half.expect_closed();
        if answered {
            pages.gate.open();
            let last = answer(&mut slow.stream);
            assert_eq!(
                (last.status, last.header("connection")),
                (200, Some("close"))
            );
        }
        slow.expect_closed();
        ending.join().unwrap();
        pages.gate.open();
        assert!(TcpStream::connect(addr).is_err());
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = Run::new(&["-a", "127.0.0.1", "-p", "-1", "-m", &port]);
    assert_eq!(run.code, Some(1));
    let text = format!(
        "[FTL] Can't start monitoring: can't listen to the monitor port: listen tcp \
         127.0.0.1:{port}: address already in use"
    );
    assert!(run.stderr.contains(&text), "{}", run.stderr);
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let both = Run::new(&["-p", "-1", "-m", "-1", "-ms", "-1"]);
    let plain = Run::new(&["-p", "-1", "-ms", "-1"]);
    for (run, text) in [
        (both, "can't specify both HTTP (-1) and HTTPs (-1) ports"),
        (plain, "TLS cert and key required for HTTPS"),
    ] {
        assert_eq!(run.code, Some(1));
        let text = format!("Can't start monitoring: {text}");
        assert!(run.stderr.contains(&text), "{}", run.stderr);
    }
}

#[test]
fn where_it_is_served_stands_in_the_log_and_the_ports_file() {
    let dir = Dir::new("monitor-ports");
    let ports = dir.path("");
    let process = Process::start(&["-m", "-1", "--ports_file_dir", &ports]);
    let addr = monitor_of(&process);
    let log = process.log();
    let line = |part: &str| log.iter().position(|line| line.contains(part)).unwrap();
    let order = [
        "Starting http monitor on 127.0.0.1:",
        "Listening for client connections on ",
        "Server is ready",
    ];
    assert!(order.map(line).is_sorted(), "{log:#?}");
    let name = format!("nats-server_{}.ports", process.id());
    let text = fs::read_to_string(dir.path(&name)).unwrap();
    assert!(
        text.contains(&format!("\"monitoring\":[\"http://{addr}\"]")),
        "{text}"
    );
    assert_eq!(ask(addr, &get("/")).1.status, 200);
}

#[cfg(target_os = "linux")]
fn count(process: &Process, what: &str) -> usize {
    let path = format!("/proc/{}/{what}", process.id());
    fs::read_dir(path).unwrap().count()
}

#[cfg(target_os = "linux")]
#[test]
fn thousands_of_idle_connections_cost_little_and_shut_nobody_out() {
    raise_open_files();
    let process = Process::start(&["-m", "-1"]);
    let addr = monitor_of(&process);
    let mut subscriber = Peer::connect(process.addr);
    subscriber.say("SUB a 1\r\n");
    subscriber.sync();
    let (threads, memory) = (count(&process, "task"), process.memory());
    let mut idle = Vec::new();
    for i in 0..2000 {
        let mut stream = TcpStream::connect(addr).unwrap();
        if i % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
        }
        idle.push(stream);
        if i % 100 == 0 {
            assert_eq!(ask(addr, &get("/")).1.status, 200);
        }
    }
    assert_eq!(ask(addr, &get("/")).1.status, 200);
    assert_eq!(count(&process, "task"), threads);
    assert!(count(&process, "fd") < 1024 + 100);
    assert!(process.memory() < memory + (16 << 20));
    Peer::connect(process.addr).say("PUB a 2\r\nhi\r\n");
    subscriber.expect("MSG a 1 2\r\nhi\r\n");
}

#[cfg(target_os = "linux")]
#[test]
fn heads_without_end_are_refused_before_they_take_memory() {
    let process = Process::start(&["-m", "-1"]);
    let addr = monitor_of(&process);
    let memory = process.memory();
    let fill = "x".repeat(1 << 20);
    for start in [
        "GET /",
        "GET / HTTP/1.1\r\nHost: h\r\nX: ",
        "GET / HTTP/1.1\r\nHost: h\r\nX\r\nX: ",
        "\0",
    ] {
        let mut peer = Peer::raw(addr);
        peer.say(start);
        // The server does not read all of it, and so ends this.
        (0..64).take_while(|_| peer.try_say(&fill)).for_each(drop);
        let (said, end) = peer.read_to_end(PATIENCE);
        assert_ne!(end, End::Silent);
        let said = String::from_utf8_lossy(&said);
        // Nothing at all is left of the answer if what was still under way came too late for it.
        let expected = ["", "HTTP/1.1 431 ", "HTTP/1.1 400 "];
        assert!(expected.iter().any(|e| said.starts_with(e)), "{said}");
    }
    assert!(process.memory() < memory + (4 << 20));
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(16 << 10));
    assert_eq!(ask(addr, &long).1.status, 431);
}

#[cfg(target_os = "linux")]
#[test]
fn running_out_of_descriptors_passes() {
    let mut command = Command::new("sh");
    let server = crate::support::server_binary();
    let line = format!("ulimit -n 64; exec {server} -a 127.0.0.1 -p -1 -m -1");
    command.args(["-c", &line]);
    let process = Process::spawn(command);
    let addr = monitor_of(&process);
    let crowd = (0..100).map(|_| TcpStream::connect(addr).unwrap());
    let crowd = crowd.collect::<Vec<_>>();
    process.wait_for("monitoring accept error");
    let before = process.cpu_time();
    thread::sleep(Duration::from_millis(500));
    assert!(process.cpu_time() - before < Duration::from_millis(250));
    drop(crowd);
    assert_eq!(ask(addr, &get("/")).1.status, 200);
    Peer::connect(process.addr).sync();
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn secure(addr: SocketAddr, config: &Arc<ClientConfig>) -> Secure {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket)
}

#[test]
fn over_tls_nobody_has_to_show_a_certificate() {
    let (authority, dir) = (Authority::new(), Dir::new("monitor-tls"));
    authority.serve(&dir, "cert.pem", "key.pem", "ca.pem");
    let config = dir.write(
        "server.conf",
        "https: -1\ntls {cert_file: cert.pem, key_file: key.pem, ca_file: ca.pem, verify: true}\n",
    );
    let mut command = Command::new(crate::support::server_binary());
    command.args(["-a", "127.0.0.1", "-p", "-1", "-c", &config]);
    command.current_dir(dir.path(""));
    let process = Process::spawn(command);
    let addr = monitor_of(&process);
    process.wait_for("Starting https monitor on ");
    for version in [Version::V12, Version::V13] {
        let mut stream = secure(addr, &authority.client(None, version));
        for path in ["/", "/nothing", "/"] {
            stream.write_all(get(path).as_bytes()).unwrap();
            let status = answer(&mut stream).status;
            assert_eq!(status, if path == "/" { 200 } else { 404 }, "{version:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(16 << 10));
        stream.write_all(long.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).status, 431);
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0);
    }

    let mut plain = Peer::raw(addr);
    plain.say(get("/"));
    plain.expect(
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    );
    plain.expect_eof();
    let mut half = Peer::raw(addr);
    half.say([0x16, 3, 1]);
    half.expect_eof();

    // Who is connected stays; who comes later sees another certificate.
    let mut old = secure(addr, &authority.client(None, Version::V13));
    old.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(answer(&mut old).status, 200);
    let other = Authority::new();
    other.serve(&dir, "cert.pem", "key.pem", "ca.pem");
    #[cfg(unix)]
    {
        process.signal(libc::SIGHUP);
        process.wait_for("Reloaded server configuration");
        eventually("the certificate is the new one", || {
            let mut new = secure(addr, &other.client(None, Version::V13));
            new.write_all(get("/").as_bytes()).is_ok() && answer(&mut new).status == 200
        });
        old.write_all(get("/").as_bytes()).unwrap();
        assert_eq!(answer(&mut old).status, 200);
    }
    // With a certificate they are welcome as well.
    let own = authority.sign(&Names::default());
    let mut stream = secure(addr, &other.client(Some(&own), Version::V13));
    stream.write_all(get("/").as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).status, 200);
}

#[cfg(unix)]
#[test]
fn lame_duck_mode_goes_on_serving() {
    let dir = Dir::new("monitor-ldm");
    let config = dir.write("server.conf", "http: -1\nhost: \"127.0.0.1\"\nport: -1\n");
    let process = Process::start(&["-c", &config]);
    let addr = monitor_of(&process);
    let mut client = Peer::connect(process.addr);
    process.signal(libc::SIGUSR2);
    process.wait_for("Entering lame duck mode");
    client.sync();
    assert_eq!(ask(addr, &get("/")).1.status, 200);
    // As in the reference, the ports of monitoring cannot change.
    dir.write("server.conf", "http: 1\nhost: \"127.0.0.1\"\nport: -1\n");
    process.signal(libc::SIGHUP);
    process.wait_for("config reload not supported for HTTPPort: old=-1, new=1");
}
