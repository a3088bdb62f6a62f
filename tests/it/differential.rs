//! The same bytes to this server and to the reference: both must answer alike, and both go on or
//! neither does.
//!
//! The reference is the program that `NATS_SERVER_GO` names, or `nats-server` on the path.

use crate::support::{End, Peer, Process, show};
use std::time::{Duration, Instant};

/// What a connection says first.
const OPENINGS: [&str; 3] = [
    "",
    "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
    "CONNECT {\"verbose\":false,\"pedantic\":true,\"headers\":true}\r\n",
];

/// Sizes that are none, or too large, or only just right.
const SIZES: [&str; 16] = [
    "",
    "-1",
    "+2",
    "02",
    "0000000002",
    "2x",
    "x",
    "1.5",
    "1e1",
    "0x2",
    "999999999",
    "2147483648",
    "4294967298",
    "9223372036854775808",
    "18446744073709551618",
    "99999999999999999999",
];

const SUBJECTS: [&[u8]; 24] = [
    b"a",
    b"a.b",
    b"a..b",
    b".a",
    b"a.",
    b".",
    b"..",
    b">",
    b"*",
    b"a.*",
    b"a.>",
    b">.a",
    b"a.>.b",
    b"a*",
    b"a>",
    b"*a.b",
    b"**",
    b"a\0b",
    b"\xff\xfe",
    b"\xc3\xbc.x",
    b"\x01\x7f",
    b"$SYS.x",
    b"_INBOX.x",
    b"a\x0cb",
];

const VERBS: [&str; 10] = [
    "PUB", "HPUB", "SUB", "UNSUB", "PING", "PONG", "CONNECT", "INFO", "+OK", "-ERR",
];

fn corpus() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut text = |s: String| all.push(s.into_bytes());
    for verb in VERBS {
        for n in 1..=verb.len() {
            text(verb[..n].into());
            text(format!("{}\r\n", &verb[..n]));
        }
        for tail in [
            " ",
            "\t",
            "X",
            " \r\n",
            "X\r\n",
            "\r",
            "\rX\r\n",
            "\n",
            "\0\r\n",
            "\0",
            " a b c d e\r\n",
        ] {
            text(format!("{verb}{tail}"));
        }
        text(format!("{}\r\n", verb.to_lowercase()));
        text(format!(" {verb} a\r\n"));
        text(format!("{verb} {}", "x".repeat(6000)));
        text(format!("{verb} {}\r\n", "x".repeat(4200)));
        text(format!("{verb}{} a\r\n", " ".repeat(6000)));
    }
    for size in SIZES {
        text(format!("PUB foo {size}\r\nhi\r\n"));
        text(format!("PUB foo bar {size}\r\nhi\r\n"));
        text(format!("HPUB foo {size} 2\r\nhi\r\n"));
        text(format!("HPUB foo 0 {size}\r\nhi\r\n"));
        text(format!(
            "SUB foo 1\r\nUNSUB 1 {size}\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\n"
        ));
    }
    for script in [
        "PUB foo 2\r\nhi",
        "PUB foo 2\r\nhi\r",
        "PUB foo 2\r\nhi\n",
        "PUB foo 2\r\nhi!\r\n",
        "PUB foo 2\r\nh\r\n",
        "PUB foo 0\r\n",
        "PUB foo 0\r\n\n",
        "PUB foo 2\nhi\r\n",
        "PUB foo 2 \r\nhi\r\n",
        "PUB\tfoo\t2\r\nhi\r\n",
        "PUB foo",
        "PUB a b c 1\r\n.\r\n",
        "HPUB foo 3 2\r\nhi\r\n",
        "HPUB foo 2 2\r\nhi\r\n",
        "HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        "HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi",
        "HPUB foo bar 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        "HPUB a b c 1 1\r\n.\r\n",
        "HPUB foo 1048577 1048577\r\n",
        "PUB foo 1048577\r\n",
        "SUB a 1\r\nSUB a 1\r\nPUB a 0\r\n\r\n",
        "SUB a q 1\r\nPUB a 0\r\n\r\n",
        "SUB a _sys_ 1\r\n",
        "UNSUB 1\r\n",
        "UNSUB 1 2\r\n",
        "SUB a 1\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\nPUB a 0\r\n\r\n",
        "PUB _GR_.123456.123456.x 0\r\n\r\n",
        "PUB _GR_.x 0\r\n\r\n",
        "PUB _R_.x 0\r\n\r\n",
        "PUB $JS.ACK.x 0\r\n\r\n",
        "PUB a _R_.x 0\r\n\r\n",
        "PUB a _R_. 0\r\n\r\n",
        "PUB a _R_ 0\r\n\r\n",
        "PUB a $JS.ACK. 0\r\n\r\n",
        "PUB a $JS.ACK.x 0\r\n\r\n",
        "PUB a _GR_.x 0\r\n\r\n",
        "PUB a _GR_.123456.123456.x 0\r\n\r\n",
        "PUB $GNR.x 0\r\n\r\n",
        "-ERR\r\n",
        "-ERR 'x'\r\n",
        "+OK\r\n",
        "INFO {}\r\n",
        "INFO x\r\n",
        "PONG\r\nPONG\r\n",
        "PINGPING\r\n",
        "PING\rPING\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "GET / HTTP/1.0\r\n\r\n",
        "SUB a 1\r\nSUB a 2\r\nSUB a q 3\r\nUNSUB 1\r\nUNSUB 2\r\nPUB a x 0\r\n\r\n",
        "SUB a\rb 1\r\n",
        "SUB a 1\rb\r\n",
        "PUB a 0\r\r\n\r\n",
    ] {
        text(script.into());
    }
    for json in [
        "{}",
        "{",
        "}",
        "",
        "null",
        "[]",
        "1",
        "\"\"",
        "{}x",
        "{} ",
        " {}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"verbose\":null}",
        "{\"verbose\":1}",
        "{\"verbose\":\"true\"}",
        "{\"Verbose\":false}",
        "{\"protocol\":0}",
        "{\"protocol\":2}",
        "{\"protocol\":-1}",
        "{\"protocol\":\"1\"}",
        "{\"protocol\":1.0}",
        "{\"protocol\":1e0}",
        "{\"protocol\":9223372036854775808}",
        "{\"protocol\":null}",
        "{\"headers\":true,\"no_responders\":true}",
        "{\"no_responders\":true,\"headers\":false}",
        "{\"account\":\"x\"}",
        "{\"account\":\"\"}",
        "{\"new_account\":true}",
        "{\"name\":1}",
        "{\"name\":null}",
        "{\"user\":\"u\",\"pass\":\"p\"}",
        "{\"auth_token\":\"t\"}",
        "{\"nkey\":\"x\"}",
        "{\"jwt\":\"x\",\"sig\":\"y\"}",
        "{\"echo\":false}",
        "{\"pedantic\":false}",
        "{\"import\":{\"allow\":[\"a\"]}}",
        "{\"import\":1}",
        "{\"lang\":\"\\ud800\"}",
        "{\"name\":\"a\tb\"}",
        "{\"verbose\":false,\"verbose\":true}",
        "{\"name\":\"\\x\"}",
        "{\"unknown\":[{}]}",
        "{\"tls_required\":true}",
    ] {
        text(format!("CONNECT {json}\r\n"));
        text(format!("SUB a 1\r\nCONNECT {json}\r\nPUB a 1\r\n.\r\n"));
    }
    let one = "CONNECT {\"verbose\":false,\"protocol\":1}\r\n";
    for script in [
        "{one}PING\r\nPING\r\n",
        "PING\r\n{one}PING\r\nPING\r\n",
        "{one}PING\r\n{one}PING\r\nPING\r\n",
        "CONNECT {\"protocol\":0}\r\nPING\r\n{one}PING\r\n",
        "{one}PONG\r\nPING\r\n",
    ] {
        text(script.replace("{one}", one));
    }
    let asking = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"echo\":";
    for (echo, script) in [
        (true, "SUB inbox.* 3\r\nPUB svc inbox.1 0\r\n\r\n"),
        (true, "SUB inbox.1 q 3\r\nPUB svc inbox.1 0\r\n\r\n"),
        (true, "PUB svc inbox.1 0\r\n\r\n"),
        (true, "SUB inbox.1 3\r\nPUB svc 0\r\n\r\n"),
        (
            true,
            "SUB inbox.1 3\r\nSUB svc q 4\r\nPUB svc inbox.1 0\r\n\r\n",
        ),
        (true, "SUB * 3\r\nPUB svc svc 0\r\n\r\n"),
        (
            true,
            "SUB a 3\r\nUNSUB 3 2\r\nPUB svc a 0\r\n\r\nPUB svc a 0\r\n\r\nPUB svc a 0\r\n\r\n",
        ),
        (
            false,
            "SUB inbox.1 3\r\nSUB svc 4\r\nPUB svc inbox.1 0\r\n\r\n",
        ),
        (
            false,
            "SUB inbox.1 3\r\nSUB svc q 4\r\nPUB svc inbox.1 0\r\n\r\n",
        ),
    ] {
        text(format!("{asking}{echo}}}\r\n{script}"));
    }
    for (before, unsub) in [
        (0, "3"),
        (2, "3"),
        (2, "2"),
        (2, "1"),
        (1, "0"),
        (1, ""),
        (1, "many"),
        (1, "-5"),
        (1, "5\r\nUNSUB 1 2"),
        (1, "2\r\nUNSUB 1 4"),
        (1, "3\r\nUNSUB 1"),
        (3, "5\r\nUNSUB 1 2"),
    ] {
        let publish = "PUB a 0\r\n\r\n";
        text(format!(
            "SUB a 1\r\n{}UNSUB 1 {unsub}\r\n{}",
            publish.repeat(before),
            publish.repeat(4)
        ));
    }
    for depth in [100, 3900] {
        text(format!(
            "CONNECT {{\"x\":{}{}}}\r\n",
            "[".repeat(depth / 2),
            "]".repeat(depth / 2)
        ));
        text(format!("CONNECT {}\r\n", "[".repeat(depth)));
    }
    all.push(b"CONNECT {\"name\":\"\xff\"}\r\n".to_vec());
    for subject in SUBJECTS {
        for (before, after) in [
            ("SUB ", " 1\r\n"),
            ("SUB ", " q 1\r\nPUB a 0\r\n\r\nPUB a.b 0\r\n\r\n"),
            ("PUB ", " 0\r\n\r\n"),
            ("PUB a ", " 0\r\n\r\n"),
            ("SUB > 1\r\nPUB ", " 1\r\n.\r\n"),
            ("SUB *.* q 1\r\nPUB ", " 1\r\n.\r\n"),
            ("SUB a ", " 1\r\n"),
            ("SUB a ", "\r\nPUB a 0\r\n\r\n"),
            ("UNSUB ", "\r\n"),
        ] {
            all.push([before.as_bytes(), subject, after.as_bytes()].concat());
        }
        all.push([b"SUB ", subject, b" 1\r\nPUB ", subject, b" 2\r\nhi\r\n"].concat());
    }
    all
}

/// How a server answers a script: what it says, and whether it still answers a PING.
#[derive(PartialEq, Debug)]
struct Answer {
    lines: String,
    then: &'static str,
}

/// One after the other, so that no script sees another's messages.
fn answers(server: &Process, scripts: &[Vec<u8>]) -> Vec<Answer> {
    let mut undecided = Vec::new();
    let mut answers: Vec<Option<Answer>> = Vec::new();
    for script in scripts {
        let mut peer = Peer::open(server.addr);
        peer.try_say(script);
        let end = if script.ends_with(b"\n") { "" } else { "\r\n" };
        peer.try_say(format!("{end}PING synced\r\n"));
        let pings = String::from_utf8_lossy(script)
            .to_uppercase()
            .contains("PI");
        answers.push(answer(&mut peer, pings, Duration::from_millis(8)));
        if answers.last().is_some_and(Option::is_none) {
            undecided.push((answers.len() - 1, peer));
        }
    }
    // Those may have been slow, or they wait for more.
    let until = Instant::now() + Duration::from_millis(1500);
    for (at, mut peer) in undecided {
        let left = until.saturating_duration_since(Instant::now());
        let answer = answer(&mut peer, true, left.max(Duration::from_millis(1)));
        let waiting = || Answer {
            lines: text(&mut peer),
            then: "waiting",
        };
        answers[at] = Some(answer.unwrap_or_else(waiting));
    }
    answers.into_iter().map(Option::unwrap).collect()
}

/// How the server has answered, once that is clear. `pings` says whether the script may bring
/// PONGs of its own.
fn answer(peer: &mut Peer, pings: bool, patience: Duration) -> Option<Answer> {
    loop {
        let done = peer.heard().ends_with(b"PONG\r\n");
        if done && !pings {
            return Some(Answer {
                lines: text(peer),
                then: "open",
            });
        }
        // After a PONG there may be another one.
        let then = match peer.peek_end(if done {
            Duration::from_millis(2)
        } else {
            patience
        }) {
            (true, _) => continue,
            (false, End::Silent) if done => "open",
            (false, End::Silent) => return None,
            (false, _) => "closed",
        };
        return Some(Answer {
            lines: text(peer),
            then,
        });
    }
}

/// What was heard, without the server's own PINGs and the contents of INFO.
fn text(peer: &mut Peer) -> String {
    let heard = String::from_utf8_lossy(&peer.take_heard()).into_owned();
    let lines = heard
        .split_inclusive("\r\n")
        .filter(|line| *line != "PING\r\n");
    lines
        .map(|line| {
            if line.starts_with("INFO ") {
                "INFO\r\n"
            } else {
                line
            }
        })
        .collect()
}

/// Where this server differs on purpose: it closes what would break the line in which a message
/// is passed on.
fn intended(script: &[u8]) -> bool {
    let bare_return = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.contains(&b'\r')
            && [&b"PUB "[..], b"HPUB ", b"SUB "]
                .iter()
                .any(|verb| line.starts_with(verb))
    };
    // Nesting is bounded.
    let deep = script.windows(128).any(|w| w.iter().all(|b| *b == b'['));
    deep || script.split(|b| *b == b'\n').any(bare_return)
}

/// Whether the script brings out what was different before: a second CONNECT did not make earlier
/// subscriptions void, no INFO answered a CONNECT, and no subject stood in the answer to a request
/// that nobody got.
fn depends_on_version(script: &[u8]) -> bool {
    let text = String::from_utf8_lossy(script);
    let again = text.starts_with("CONNECT") && text.contains("SUB a 1\r\nCONNECT");
    again || text.contains("PUB svc") || text.contains("\"protocol\":1")
}

#[test]
fn malformed_input_is_answered_as_the_reference_does() {
    let Some(reference) = Process::reference(&[]) else {
        return;
    };
    let old = reference.version() < (2, 12);
    let server = Process::start(&[]);
    let corpus = corpus();
    let scripts: Vec<Vec<u8>> = OPENINGS
        .iter()
        .flat_map(|opening| corpus.iter().map(|s| [opening.as_bytes(), s].concat()))
        .filter(|script| !intended(script))
        .filter(|script| !old || !depends_on_version(script))
        .collect();
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| answers(&server, &scripts));
        let theirs = answers(&reference, &scripts);
        (ours.join().unwrap(), theirs)
    });
    let mut differences = Vec::new();
    for ((script, ours), theirs) in scripts.iter().zip(&ours).zip(&theirs) {
        if ours == theirs {
            continue;
        }
        // On a busy machine one script may hear what another one publishes: alone it cannot.
        let alone = std::slice::from_ref(script);
        let (ours, theirs) = (answers(&server, alone), answers(&reference, alone));
        if ours != theirs {
            differences.push(format!(
                "{}\n  is  {ours:?}\n  not {theirs:?}",
                show(script)
            ));
        }
    }
    let (wrong, all) = (differences.len(), scripts.len());
    assert!(
        wrong == 0,
        "{wrong} of {all} differ:\n{}",
        differences.join("\n")
    );
}
