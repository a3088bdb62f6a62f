//! What has let strangers into servers of this kind, tried on this one: each test is a class of
//! published advisories (<https://advisories.nats.io>).

use crate::support::{Peer, Process, Run, server_binary};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A configuration file that is gone with the test.
struct Conf(PathBuf);

impl Conf {
    fn new(text: &str) -> Conf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nats-it-advisory-{}-{n}.conf", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Conf(path)
    }

    fn start(&self, more: &[&str]) -> Process {
        let mut args = vec!["-c", self.0.to_str().unwrap()];
        args.extend(more);
        Process::start(&args)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

const TENANTS: &str = r#"
accounts {
  A { users: [{user: a, password: a}, {user: limited, password: l, allowed_connection_types: MQTT}] }
  B { users: [{user: b, password: b}] }
}
"#;

fn log_in(server: &Process, user: &str, password: &str) -> Peer {
    let mut peer = Peer::open(server.addr);
    peer.say(format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"{user}\",\"pass\":\"{password}\"}}\r\n"
    ));
    peer
}

/// Whatever a stranger says first, in whatever order, it hears nothing of the accounts and says
/// nothing to them (classes "pre-auth panic / state machine" and "auth bypass", such as
/// CVE-2026-29785, CVE-2026-33218, CVE-2022-24450).
#[test]
fn strangers_neither_hear_nor_say_anything() {
    let verbs = [
        "PING\r\n",
        "PONG\r\n",
        "SUB > 1\r\n",
        "SUB > q 2\r\n",
        "PUB leak 4\r\nleak\r\n",
        "HPUB leak 12 16\r\nNATS/1.0\r\n\r\nleak\r\n",
        "UNSUB 1\r\n",
        "+OK\r\n",
        "INFO {}\r\n",
        "-ERR 'x'\r\n",
        "CONNECT {}\r\n",
        "CONNECT {\"user\":\"a\"}\r\n",
        "CONNECT {\"account\":\"A\",\"new_account\":false}\r\n",
        "CONNECT {\"user\":\"b\",\"pass\":\"a\",\"account\":\"A\"}\r\n",
        "CONNECT {\"nkey\":\"UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK\"}\r\n",
        "CONNECT {\"jwt\":\"x.y.z\",\"sig\":\"x\"}\r\n",
        "RS+ A > \r\n",
        "LS+ >\r\n",
        "A+ A\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\r\n",
    ];
    let tenants = TENANTS.to_owned();
    let listed = "authorization { users: [{user: a, password: a}] }\n".to_owned();
    let single = "authorization { user: a, password: a }\n".to_owned();
    let token = "authorization { token: secret }\n".to_owned();
    for text in [tenants, listed, single, token] {
        let conf = Conf::new(&text);
        let server = conf.start(&[]);
        let mut inside = log_in(&server, "a", "a");
        if text.contains("token") {
            inside = Peer::open(server.addr);
            inside.say(
                "CONNECT {\"verbose\":false,\"pedantic\":false,\"auth_token\":\"secret\"}\r\n",
            );
        }
        // The server itself tells on longer subjects whom it has turned away.
        inside.say("SUB * 1\r\n");
        inside.sync();
        for first in verbs {
            for second in [
                "SUB > 9\r\nPUB leak 4\r\nleak\r\n",
                "CONNECT {}\r\nPUB leak 4\r\nleak\r\n",
            ] {
                let mut stranger = Peer::open(server.addr);
                stranger.say(format!("{first}{second}"));
                stranger.expect(VIOLATION);
                stranger.expect_closed();
            }
        }
        inside.say("PUB own 2\r\nhi\r\n");
        inside.expect("MSG own 1 2\r\nhi\r\n");
    }
}

/// Who says nothing is the user for those, with all that holds for that user (CVE-2023-47090, and
/// the fast paths of the advisories 2026-16 and 2026-24).
#[test]
fn the_user_of_those_who_say_nothing_is_bound_as_any_other() {
    // Without the option nobody is let in, although there are accounts.
    let conf = Conf::new("accounts { A { users: [{user: a, password: a}] } }");
    let server = conf.start(&[]);
    let mut peer = Peer::open(server.addr);
    peer.say("PING\r\n");
    peer.expect(VIOLATION);
    // One who may not connect in this way is not let in by saying nothing either.
    let conf = Conf::new(&format!("{TENANTS}no_auth_user: limited\n"));
    let server = conf.start(&[]);
    for first in ["PING\r\n", "CONNECT {}\r\n", "SUB a 1\r\n"] {
        let mut peer = Peer::open(server.addr);
        peer.say(first);
        peer.expect(VIOLATION);
    }
    let conf = Conf::new(&format!("{TENANTS}no_auth_user: b\n"));
    let server = conf.start(&[]);
    let (mut a, mut b) = (log_in(&server, "a", "a"), log_in(&server, "b", "b"));
    for peer in [&mut a, &mut b] {
        peer.say("SUB > 1\r\n");
        peer.sync();
    }
    let mut silent = Peer::open(server.addr);
    silent.say("PUB x 2\r\nhi\r\n");
    silent.expect("+OK\r\n");
    b.expect("MSG x 1 2\r\nhi\r\n");
    a.sync();
}

/// Denials hold on whatever way a message comes (CVE-2022-29946, the advisories 2026-17 and
/// 2026-18): by wildcards, in queue groups, as replies, from other accounts, and after a mapping.
#[test]
fn denials_hold_on_every_way() {
    let conf = Conf::new(
        r#"
        accounts {
          A {
            users: [
              {user: a, password: a}
              {user: bound, password: b, permissions: {
                publish: {deny: ["secret.>", "svc.secret"]},
                subscribe: {deny: ["secret.>", "from.secret.>", "jobs.secret", "open w1"]}}}
            ]
            imports: [
              {stream: {account: B, subject: "out.>"}, to: "from.>"}
              {service: {account: B, subject: "help"}, to: "svc.secret"}
            ]
            mappings: { "alias.*": "secret.$1" }
          }
          B { users: [{user: b, password: b}], exports: [{stream: "out.>"}, {service: "help"}] }
        }"#,
    );
    let server = conf.start(&[]);
    let (mut a, mut b) = (log_in(&server, "a", "a"), log_in(&server, "b", "b"));
    let mut bound = log_in(&server, "bound", "b");
    let text = "Permissions Violation for";
    for (line, error) in [
        (
            "SUB secret.x 9",
            format!("{text} Subscription to \"secret.x\""),
        ),
        (
            "SUB secret.> 9",
            format!("{text} Subscription to \"secret.>\""),
        ),
        (
            "SUB open w1 9",
            format!("{text} Subscription to \"open\" using queue \"w1\""),
        ),
        (
            "SUB secret.* q 9",
            format!("{text} Subscription to \"secret.*\" using queue \"q\""),
        ),
        (
            "PUB secret.x 0\r\n",
            format!("{text} Publish to \"secret.x\""),
        ),
        // The mapping does not lift the denial of what it leads to.
        (
            "PUB alias.x 0\r\n",
            format!("{text} Publish to \"secret.x\""),
        ),
        (
            "PUB svc.secret in 0\r\n",
            format!("{text} Publish to \"svc.secret\""),
        ),
    ] {
        bound.say(format!("{line}\r\n"));
        bound.expect(format!("-ERR '{error}'\r\n"));
    }
    bound.say("SUB > 1\r\nSUB *.* 2\r\nSUB jobs.* w 3\r\nSUB open w2 4\r\nSUB > all 5\r\n");
    bound.sync();
    a.say("SUB jobs.* w 1\r\n");
    a.sync();
    // None of these may come: plain, by the mapping, to the queue group, and from the other account.
    for _ in 0..20 {
        a.say("PUB secret.x 1\r\n-\r\nPUB alias.x 1\r\n-\r\nPUB jobs.secret 1\r\n-\r\nPUB x secret.y 0\r\n\r\n");
        b.say("PUB out.secret.x 1\r\n-\r\n");
    }
    // The other member of the group gets what this one may not have.
    for _ in 0..20 {
        assert!(a.message().0.starts_with("MSG jobs.secret 1"));
    }
    a.sync();
    b.sync();
    a.say("PUB last 0\r\n\r\n");
    let (heard, _) = bound.read_to_end(Duration::from_millis(300));
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.contains("MSG last 1 0"), "{heard}");
    for denied in [
        "MSG secret",
        "MSG jobs.secret",
        "MSG from.secret",
        "MSG alias",
    ] {
        assert!(!heard.contains(denied), "{denied}: {heard}");
    }
}

/// Who asks is told by the server, not by the client (CVE-2026-33246, CVE-2026-33223).
#[test]
fn nobody_can_say_that_it_is_somebody_else() {
    let conf = Conf::new(
        r#"
        accounts {
          A { users: [{user: a, password: a}], exports: [{service: "whoami"}] }
          B { users: [{user: b, password: b}]
              imports: [{service: {account: A, subject: "whoami"}, share: true}] }
        }"#,
    );
    let server = conf.start(&[]);
    let (mut a, mut b) = (log_in(&server, "a", "a"), log_in(&server, "b", "b"));
    a.say("SUB whoami 1\r\n");
    a.sync();
    for name in [
        "Nats-Request-Info",
        "nats-request-info",
        "NATS-REQUEST-INFO",
    ] {
        let forged =
            format!("NATS/1.0\r\n{name}: {{\"acc\":\"A\",\"user\":\"root\"}}\r\nX: y\r\n\r\n");
        b.say(format!(
            "HPUB whoami in {0} {0}\r\n{forged}\r\n",
            forged.len()
        ));
        let (_, payload) = a.message();
        let told = String::from_utf8(payload).unwrap();
        assert!(!told.contains("root") && told.contains("X: y"), "{told}");
        assert!(
            told.contains("\"acc\":\"B\"") && told.contains("\"user\":\"b\""),
            "{told}"
        );
        assert_eq!(
            told.to_lowercase().matches("nats-request-info").count(),
            1,
            "{told}"
        );
    }
    // Nor can a third party answer in the place of the service.
    a.say("UNSUB 1\r\nSUB whoami 2\r\n");
    b.say("SUB in 3\r\n");
    b.sync();
    a.sync();
    b.say("PUB whoami in 0\r\n\r\n");
    let (line, _) = a.message();
    let reply = line
        .split(' ')
        .find(|word| word.starts_with("_R_."))
        .unwrap();
    b.say(format!("PUB {reply} 4\r\nfake\r\nPING\r\n"));
    b.expect("PONG\r\n");
    a.say(format!("PUB {reply} 4\r\nreal\r\n"));
    b.expect("MSG in 3 4\r\nreal\r\n");
}

/// No byte that a client chooses ends a line that others get (advisory 2026-22).
#[test]
fn nothing_is_injected_into_what_others_hear() {
    let server = Process::start(&[]);
    let mut victim = Peer::connect(server.addr);
    victim.say("SUB > 1\r\n");
    victim.sync();
    for attack in [
        "PUB a\rMSG 0\r\n\r\n",
        "PUB a b\rc 0\r\n\r\n",
        "SUB a\rb 1\r\n",
        "SUB a q\rx 1\r\n",
        "PUB a\nPUB b 0\r\n\r\n",
        "PUB a\u{0}b 0\r\n\r\n",
        "PUB \u{b}a 0\r\n\r\n",
    ] {
        let mut attacker = Peer::connect(server.addr);
        attacker.try_say(attack);
        attacker.try_say("PING\r\n");
        let _ = attacker.read_to_end(Duration::from_millis(30));
    }
    let mut honest = Peer::connect(server.addr);
    honest.say("PUB end 2\r\nhi\r\n");
    loop {
        let (line, payload) = victim.message();
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words[0] == "MSG" && words[2] == "1", "{line}");
        if words[1] == "end" {
            assert_eq!(payload, b"hi");
            return;
        }
    }
}

/// Secrets are in no log, whatever is logged (CVE-2026-33216, CVE-2026-33247), and in no answer to
/// a configuration that is wrong.
#[test]
fn secrets_are_not_told() {
    let text = r#"
        authorization { timeout: 5, users: [
          {user: a, password: canary1}
          {user: h, password: "$2a$04$canary2canary2canary2uUuUuUuUuUuUuUuUuUuUuUuUuUuUuUuU"} ] }"#;
    let conf = Conf::new(text);
    let server = conf.start(&["-DV"]);
    let mut peer = log_in(&server, "a", "canary1");
    peer.sync();
    for (user, password) in [("a", "canary3"), ("h", "canary4"), ("nobody", "canary5")] {
        let mut peer = log_in(&server, user, password);
        peer.expect(VIOLATION);
    }
    let mut peer = Peer::open(server.addr);
    peer.say("CONNECT {\"auth_token\":\"canary6\",\"jwt\":\"canary7\",\"sig\":\"canary8\",\"nkey\":\"canary9\"}\r\n");
    peer.expect(VIOLATION);
    fs::write(&conf.0, text.replace("canary1", "canary0")).unwrap();
    #[cfg(unix)]
    {
        server.signal(libc::SIGHUP);
        server.wait_for("Reloaded server configuration");
    }
    server.wait_for("Nkey");
    let log = server.log().join("\n");
    assert!(log.contains("CONNECT") && !log.contains("canary"), "{log}");
    let arguments = ["--user", "u", "--pass", "canary1", "-DV"];
    let server = Process::start(&arguments);
    log_in(&server, "u", "canary1").sync();
    let log = server.log().join("\n");
    assert!(!log.contains("canary"), "{log}");
    // Values are not shown beside what is wrong.
    for wrong in [
        "authorization { users: [{user: a, password: canary, nkey: canary}] }",
        "authorization { token: canary, user: a, password: canary }",
        "authorization { users: [{user: a, password: canary, nonsense: 1}] }",
        "accounts { A { users: [{user: a, password: canary}, {user: a, password: canary}] } }",
    ] {
        let conf = Conf::new(wrong);
        let run = Run::of(Command::new(server_binary()).arg("-c").arg(&conf.0));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    }
}

/// Circles of imports end at the start (CVE-2020-28466, CVE-2022-42709), with what is wrong.
#[test]
fn circles_are_no_configuration() {
    let conf = Conf::new(
        r#"
        accounts {
          A { exports: [{service: "x"}], imports: [{service: {account: C, subject: "x"}}] }
          B { exports: [{service: "x"}], imports: [{service: {account: A, subject: "x"}}] }
          C { exports: [{service: "x"}], imports: [{service: {account: B, subject: "x"}}] }
        }"#,
    );
    for args in [&["-p", "-1", "-c"][..], &["-t", "-c"]] {
        let run = Run::of(Command::new(server_binary()).args(args).arg(&conf.0));
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("cycle"), "{}", run.stderr);
    }
}
