//! Every error code of JetStream: `tests/scripts/error-codes.txt` says what brings each about on one
//! server, or why nothing does. The reference is asked the same, where it is at hand.

use crate::support::{Dir, PATIENCE, Peer, Process, eventually};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("../scripts/error-codes.txt");

/// What the script says of the users.
const ACCOUNTS: &str = r#"
accounts {
  SYS { users: [{user: sys, password: sys}] }
  A { jetstream: enabled, users: [{user: a, password: a}] }
  B {
    jetstream { max_mem: 4KB, max_file: 64KB, max_streams: 2, max_consumers: 2, max_ack_pending: 100 }
    users: [{user: b, password: b}]
  }
  C {
    jetstream { max_mem: 4KB, max_file: 64KB, max_bytes_required: true, disk_max_stream_bytes: 4KB }
    users: [{user: c, password: c}]
  }
  N { users: [{user: n, password: n}] }
}
system_account: SYS
"#;

fn config(dir: &Dir) -> String {
    let jetstream = format!(
        r#"jetstream {{
  store_dir: {:?}, max_memory_store: 1MB, max_file_store: 64MB
  limits {{
    max_ack_pending: 500, max_request_batch: 200, duplicate_window: "5m"
    batch {{ max_inflight_per_stream: 2, max_msgs: 3 }}
  }}
}}
"#,
        dir.path("store")
    );
    dir.write("server.conf", &format!("{jetstream}{ACCOUNTS}"))
}

/// What is to be done about one code.
#[derive(Debug)]
struct Case<'s> {
    code: u64,
    name: &'s str,
    /// Words and what follows them.
    steps: Vec<(&'s str, &'s str)>,
}

impl Case<'_> {
    fn has(&self, word: &str) -> bool {
        self.steps.iter().any(|step| step.0 == word)
    }
}

fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = Vec::new();
    for line in SCRIPT.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix("  ") {
            Some(step) => {
                let step = step.split_once(' ').unwrap();
                cases.last_mut().unwrap().steps.push(step);
            }
            None => {
                let (code, name) = line.split_once(' ').unwrap();
                cases.push(Case {
                    code: code.parse().unwrap(),
                    name,
                    steps: Vec::new(),
                });
            }
        }
    }
    cases
}

/// `{300}` stands for as many bytes.
fn filled(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let digits: String = rest[at + 1..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        out += &rest[..at];
        let end = at + 1 + digits.len();
        if !digits.is_empty() && rest[end..].starts_with('}') {
            out += &"x".repeat(digits.parse().unwrap());
            rest = &rest[end + 1..];
        } else {
            out.push('{');
            rest = &rest[at + 1..];
        }
    }
    out + rest
}

/// A user's connection.
struct User {
    peer: Peer,
    asked: u64,
}

impl User {
    fn new(addr: SocketAddr, name: &str) -> User {
        let mut peer = Peer::open(addr);
        peer.say(format!(
            "CONNECT {{\"user\":\"{name}\",\"pass\":\"{name}\",\"headers\":true,\
             \"no_responders\":true,\"verbose\":false,\"pedantic\":false}}\r\nSUB in.> 1\r\n"
        ));
        peer.sync();
        User { peer, asked: 0 }
    }

    fn ask(&mut self, subject: &str, headers: &str, body: &str) -> String {
        self.asked += 1;
        let mut reply = format!("in.{}", self.asked);
        let mut block = String::new();
        if headers.starts_with('{') {
            let all: BTreeMap<String, String> = serde_json::from_str(&filled(headers)).unwrap();
            for (name, value) in all {
                match &*name {
                    "@" => reply = format!("{reply}.{value}"),
                    // A header of so many bytes.
                    "A" => block += &format!("A: {}\r\n", "y".repeat(value.parse().unwrap())),
                    _ => block += &format!("{name}: {value}\r\n"),
                }
            }
        }
        let (subject, body) = (filled(subject), filled(body));
        if block.is_empty() {
            let size = body.len();
            self.peer
                .say(format!("PUB {subject} {reply} {size}\r\n{body}\r\n"));
        } else {
            let block = format!("NATS/1.0\r\n{block}\r\n");
            let (head, all) = (block.len(), block.len() + body.len());
            let command = format!("HPUB {subject} {reply} {head} {all}\r\n{block}{body}\r\n");
            self.peer.say(command);
        }
        loop {
            let (line, answer) = self.peer.message();
            if line.split(' ').nth(1) == Some(&reply) {
                return String::from_utf8(answer).unwrap();
            }
        }
    }
}

/// Does what the cases ask for, and tells what comes of it that should not.
struct Run {
    addr: SocketAddr,
    users: HashMap<String, User>,
    /// Where the streams are, if a new one could find the files of one that is gone.
    slow: Option<PathBuf>,
    wrong: Vec<String>,
}

impl Run {
    fn new(server: &Process) -> Run {
        Run {
            addr: server.addr,
            users: HashMap::new(),
            slow: None,
            wrong: Vec::new(),
        }
    }

    fn user(&mut self, name: &str) -> &mut User {
        let user = self.users.entry(name.to_owned());
        user.or_insert_with(|| User::new(self.addr, name))
    }

    fn case(&mut self, case: &Case<'_>) {
        let mut who = "a";
        let mut text = String::new();
        for &(word, rest) in &case.steps {
            match word {
                "as" => who = rest,
                "never" | "own" | "test" => {}
                "listen" => {
                    let user = self.user(who);
                    user.peer.say(format!("SUB {rest} 2\r\n"));
                    user.peer.sync();
                }
                "=" => {
                    if text != rest {
                        self.fault(case, &format!("= {rest}"), &text);
                    }
                }
                "shown" => self.wait_for(case, who, rest),
                "do" | "deny" | "put" | "drop" => text = self.step(case, who, word, rest),
                _ => panic!("{word} is no step: {}", case.name),
            }
        }
        // Streams that take messages from others go first.
        for name in ["a", "b", "c"] {
            if !self.users.contains_key(name) {
                continue;
            }
            let user = self.user(name);
            let names = user.ask("$JS.API.STREAM.NAMES", "-", "");
            let names: Value = serde_json::from_str(&names).unwrap();
            for stream in names["streams"].as_array().into_iter().flatten().rev() {
                let stream = stream.as_str().unwrap();
                user.ask(&format!("$JS.API.STREAM.DELETE.{stream}"), "-", "");
            }
        }
        self.wait_for_files();
    }

    /// The reference removes files after it has answered, and takes those that it finds for the
    /// new stream's.
    fn wait_for_files(&self) {
        let Some(store) = &self.slow else { return };
        eventually("the files of streams are gone", || {
            let accounts = fs::read_dir(store).into_iter().flatten().flatten();
            let streams = accounts.map(|account| account.path().join("streams"));
            let mut all = streams.filter_map(|streams| fs::read_dir(streams).ok());
            all.all(|mut streams| streams.next().is_none())
        });
    }

    /// One request or message. Gives the text of the refusal.
    fn step(&mut self, case: &Case<'_>, who: &str, word: &str, rest: &str) -> String {
        let mut parts = rest.splitn(3, ' ');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (mut subject, headers, mut body) = (part(), part(), part());
        match word {
            "put" | "drop" => body = "x".repeat(body.parse().unwrap_or_default()),
            _ => subject = format!("$JS.API.{subject}"),
        }
        let answer = self.user(who).ask(&subject, &headers, &body);
        let error = serde_json::from_str::<Value>(&answer).unwrap_or_default()["error"].take();
        let is_nobody = answer.starts_with("NATS/1.0 503");
        let as_asked = match word {
            "do" | "put" => error.is_null() && !is_nobody,
            _ => error["err_code"] == case.code,
        };
        if !as_asked {
            self.fault(case, &format!("{word} {rest}"), &answer);
        }
        error["description"].as_str().unwrap_or_default().to_owned()
    }

    fn wait_for(&mut self, case: &Case<'_>, who: &str, subject: &str) {
        let until = Instant::now() + PATIENCE;
        let code = format!("\"err_code\":{}", case.code);
        loop {
            let subject = format!("$JS.API.{subject}");
            let shown = self.user(who).ask(&subject, "-", "");
            if shown.contains(&code) {
                return;
            }
            if Instant::now() > until {
                return self.fault(case, &subject, &shown);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn fault(&mut self, case: &Case<'_>, step: &str, answer: &str) {
        let cut = |text: &str| text.chars().take(300).collect::<String>();
        let (step, answer) = (cut(step), cut(answer));
        self.wrong
            .push(format!("{} {}: {step}\n    {answer}", case.code, case.name));
    }

    fn end(self) {
        let wrong = self.wrong;
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}

#[test]
fn each_code_is_brought_about() {
    let dir = Dir::new("codes");
    let server = Process::start(&["-c", &config(&dir)]);
    let mut run = Run::new(&server);
    for case in cases() {
        run.case(&case);
    }
    run.end();
}

#[test]
fn the_reference_has_the_same_codes_and_texts() {
    let Some(version) = Process::reference(&[]).map(|reference| reference.version()) else {
        return;
    };
    if version < (2, 15) {
        return eprintln!("skipped: a reference of {version:?} has less");
    }
    let dir = Dir::new("codes-reference");
    let reference = Process::reference(&["-c", &config(&dir)]).unwrap();
    let mut run = Run::new(&reference);
    run.slow = Some(dir.path("store/jetstream").into());
    for case in cases().iter().filter(|case| !case.has("own")) {
        run.case(case);
    }
    run.end();
}

#[test]
fn no_code_is_left_out() {
    let cases = cases();
    for case in &cases {
        let ways = ["never", "test", "deny", "drop", "shown"];
        let ways = ways.iter().filter(|word| case.has(word)).count();
        assert!(ways > 0, "nothing is done about {case:?}");
        let never = case.has("never");
        assert!(!never || case.steps.len() == 1, "{case:?}");
        for &(word, rest) in &case.steps {
            if word != "test" {
                continue;
            }
            let (file, name) = rest.split_once(' ').unwrap();
            let it = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
            let source = fs::read_to_string(it.join(file)).unwrap();
            assert!(source.contains(&format!("fn {name}(")), "no {rest}");
        }
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/jetstream-errors.json");
    let Ok(text) = fs::read(&path) else {
        return eprintln!("skipped: there is no {}", path.display());
    };
    let entries: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let mut theirs: Vec<(u64, &str)> = entries
        .iter()
        .map(|e| {
            (
                e["error_code"].as_u64().unwrap(),
                e["constant"].as_str().unwrap(),
            )
        })
        .collect();
    theirs.sort_unstable();
    let ours: Vec<_> = cases.iter().map(|case| (case.code, case.name)).collect();
    assert_eq!(ours, theirs);
}

/// A stream's directory that is none: nothing can be made or written in it.
#[test]
fn what_a_disk_refuses_is_told() {
    let dir = Dir::new("codes-disk");
    let server = Process::start(&["-js", "-sd", &dir.path("store")]);
    let mut user = User::new(server.addr, "a");
    let mut code = |subject: &str, body: &str| {
        let answer = user.ask(&format!("$JS.API.{subject}"), "-", body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        println!("{subject}: {answer}");
        answer["error"]["err_code"].as_u64().unwrap_or_default()
    };
    assert_eq!(code("STREAM.CREATE.S", r#"{"name":"S"}"#), 0);
    fs::rename(dir.path("store"), dir.path("away")).unwrap();
    dir.write("store", "no directory");
    for name in ["T", "U", "T"] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        assert_eq!(code(&format!("STREAM.CREATE.{name}"), &body), 10049);
    }
    let changed = r#"{"name":"S","description":"changed"}"#;
    assert_eq!(code("STREAM.UPDATE.S", changed), 10069);
    // The stream is as it was, and all goes on when the disk is well.
    fs::remove_file(dir.path("store")).unwrap();
    fs::rename(dir.path("away"), dir.path("store")).unwrap();
    assert_eq!(code("STREAM.UPDATE.S", changed), 0);
    assert_eq!(code("STREAM.CREATE.T", r#"{"name":"T"}"#), 0);
    assert_eq!(code("STREAM.CREATE.U", r#"{"name":"U"}"#), 0);
}

/// Who asks for backups and never takes them holds up nobody for ever, nor much memory.
#[test]
fn more_backups_than_are_sent_at_a_time_are_refused() {
    let dir = Dir::new("codes-backups");
    let server = Process::start(&["-js", "-sd", &dir.path("store")]);
    let mut user = User::new(server.addr, "a");
    user.ask("$JS.API.STREAM.CREATE.S", "-", r#"{"name":"S"}"#);
    let mut noise = crate::support::Noise(5);
    let payload: String = (0..20_000).map(|_| noise.next().to_string()).collect();
    user.ask("S", "-", &payload);
    let ask = r#"{"deliver_subject":"in.backup","chunk_size":1024,"window_size":1024}"#;
    let answers: Vec<Value> = (0..65)
        .map(|_| user.ask("$JS.API.STREAM.SNAPSHOT.S", "-", ask))
        .map(|answer| serde_json::from_str(&answer).unwrap())
        .collect();
    let (last, first) = answers.split_last().unwrap();
    assert!(first.iter().all(|answer| answer["error"].is_null()));
    assert_eq!(last["error"]["err_code"], 10064, "{last}");
}
