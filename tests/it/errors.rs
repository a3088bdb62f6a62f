//! Everything a client can do wrong: what it is told, and whether the connection goes on.

use crate::support::{CONNECT, Peer, start};
use nats_server::server::Server;
use std::io::Write;
use std::time::Duration;

/// A client that is not verbose, is not pedantic and knows no headers.
const PLAIN: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
const PEDANTIC: &str = "CONNECT {\"verbose\":false}\r\n";

fn said(text: &str) -> String {
    format!("-ERR '{text}'\r\n")
}

/// Each script brings this answer and the end of the connection.
fn all_close(server: &Server, connect: &str, scripts: &[impl AsRef<[u8]>], answer: &str) {
    for script in scripts {
        let script = script.as_ref();
        eprintln!("{connect}{}", crate::support::show(script));
        let mut peer = Peer::open(server.addr());
        peer.say([connect.as_bytes(), script].concat());
        peer.expect(answer);
        peer.expect_eof();
    }
}

/// Each script brings this answer, and the connection goes on.
fn all_stay(server: &Server, connect: &str, cases: &[(&str, String)]) {
    for (script, answer) in cases {
        eprintln!("{connect}{script}");
        let mut peer = Peer::open(server.addr());
        peer.say(format!("{connect}{script}"));
        peer.expect(answer);
        peer.sync();
    }
}

#[test]
fn unknown_operations() {
    let server = start(|_| {});
    let scripts = [
        "FOO\r\n",
        "\r\n",
        "\n",
        "X",
        "PUBX foo 1\r\n",
        "SUBS\r\n",
        "PUB\r\n",
        "SUB\r\n",
        "UNSUB\r\n",
        "HPUB\r\n",
        "PI\r\n",
        "PIN G\r\n",
        "PUS",
        "H\r\n",
        "-ERX",
        "+OX\r\n",
        "MSG a 1 0\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "\0",
        "\u{16}\u{3}\u{1}",
        " PING\r\n",
        "PUB a 2\r\nhi!\r\n",
        "PUB a 2\r\nhi\n",
        "PUB a 0\r\nPING\r\n",
        "PUB a 2\r\nhi\r\r",
        "CONNEC {}\r\n",
    ];
    let answer = said("Unknown Protocol Operation");
    all_close(&server, "", &scripts, &answer);
    all_close(&server, PLAIN, &scripts, &answer);
}

#[test]
fn what_came_before_the_mistake_is_done() {
    let server = start(|_| {});
    let mut peer = Peer::open(server.addr());
    peer.say(format!(
        "{PLAIN}SUB a 1\r\nPUB a 1\r\n.\r\nPING\r\nOOPS\r\nPING\r\n"
    ));
    peer.expect("MSG a 1 1\r\n.\r\nPONG\r\n-ERR 'Unknown Protocol Operation'\r\n");
    peer.expect_eof();
}

#[test]
fn an_error_is_not_lost_in_a_reset() {
    let server = start(|_| {});
    let mut peer = Peer::open(server.addr());
    peer.say(format!("OOPS\r\n{}", "x".repeat(200_000)));
    peer.expect(said("Unknown Protocol Operation"));
    peer.expect_eof();
}

#[test]
fn nobody_chooses_an_account() {
    let server = start(|_| {});
    let scripts = [
        "CONNECT {\"account\":\"A\"}\r\n",
        "CONNECT {\"new_account\":true}\r\n",
    ];
    all_close(&server, "", &scripts, &said("Authorization Violation"));
}

#[test]
fn protocols_that_do_not_exist() {
    let server = start(|_| {});
    let scripts = [
        "CONNECT {\"protocol\":2}\r\n",
        "CONNECT {\"protocol\":-1}\r\n",
    ];
    all_close(&server, "", &scripts, &said("invalid client protocol"));
}

#[test]
fn no_responders_needs_headers() {
    let server = start(|_| {});
    let scripts = [
        "CONNECT {\"no_responders\":true}\r\n",
        "CONNECT {\"no_responders\":true,\"headers\":false}\r\n",
    ];
    all_close(
        &server,
        "",
        &scripts,
        &said("no responders requires headers support"),
    );
}

#[test]
fn wrong_arguments_close_without_a_word() {
    let server = start(|_| {});
    let scripts: Vec<Vec<u8>> = [
        "PUB foo\r\n",
        "PUB \r\n",
        "PUB a b c 1\r\n",
        "PUB foo x\r\n",
        "PUB foo -1\r\n",
        "PUB foo +1\r\n",
        "PUB foo 1x\r\n",
        "PUB foo 1.0\r\n",
        "PUB foo 2147483648\r\n",
        "PUB foo 9223372036854775808\r\n",
        "PUB foo 99999999999999999999\r\n",
        "PUB foo 0000000001\r\n",
        "SUB \r\n",
        "SUB foo\r\n",
        "SUB a b c d\r\n",
        "UNSUB \r\n",
        "UNSUB 1 2 3\r\n",
        "HPUB foo 0\r\n",
        "HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect();
    all_close(&server, PLAIN, &scripts, "");
    all_close(&server, "", &["HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n"], "");
    let scripts = [
        "HPUB \r\n",
        "HPUB foo\r\n",
        "HPUB foo 0\r\n",
        "HPUB foo 14 12\r\n",
        "HPUB foo -1 2\r\n",
        "HPUB foo 1 -2\r\n",
        "HPUB foo x 2\r\n",
        "HPUB foo 1 x\r\n",
        "HPUB a b c 1 1\r\n",
        "HPUB foo 2147483648 2147483648\r\n",
        "HPUB foo 1 99999999999999999999\r\n",
    ];
    all_close(&server, CONNECT, &scripts, "");
}

#[test]
fn a_bare_carriage_return_inside_arguments_closes() {
    let server = start(|_| {});
    // It would break the line in which the message is passed on.
    all_close(
        &server,
        PLAIN,
        &["PUB a\rb 0\r\n\r\n", "PUB a b\rc 0\r\n\r\n"],
        "",
    );
    all_close(&server, CONNECT, &["HPUB a\rb 0 0\r\n\r\n"], "");
}

#[test]
fn connect_must_be_an_object_of_the_right_types() {
    let server = start(|_| {});
    let deep = format!("CONNECT {{\"a\":{}\r\n", "[".repeat(4000));
    let scripts = [
        "CONNECT \r\n",
        "CONNECT\r\n",
        "CONNECT {\r\n",
        "CONNECT }\r\n",
        "CONNECT []\r\n",
        "CONNECT 1\r\n",
        "CONNECT \"x\"\r\n",
        "CONNECT {\"verbose\":1}\r\n",
        "CONNECT {\"verbose\":\"true\"}\r\n",
        "CONNECT {\"protocol\":\"1\"}\r\n",
        "CONNECT {\"protocol\":1.5}\r\n",
        "CONNECT {\"protocol\":99999999999999999999}\r\n",
        "CONNECT {\"name\":1}\r\n",
        "CONNECT {} {}\r\n",
        "CONNECT {\"a\":}\r\n",
        "CONNECT {'a':1}\r\n",
        "CONNECT {\"a\":1,}\r\n",
        &deep,
    ];
    all_close(&server, "", &scripts, "");
}

#[test]
fn connect_overlooks_what_it_does_not_know() {
    let server = start(|_| {});
    for json in [
        "{}",
        "{\"future\":{\"a\":[1,2,null]}}",
        "{\"verbose\":null}",
        "null",
        "{\"VERBOSE\":true}",
        "  {\"name\":\"\\u00e9\\n\"}  ",
        "{\"name\":\"a\",\"name\":\"b\"}",
        "{\"user\":null}",
        "{\"protocol\":0,\"lang\":\"x\",\"version\":\"1\",\"tls_required\":true}",
    ] {
        eprintln!("{json}");
        let mut peer = Peer::open(server.addr());
        peer.say(format!("CONNECT {json}\r\n"));
        peer.expect("+OK\r\n");
        peer.sync();
    }
}

#[test]
fn clients_that_report_an_error_are_closed() {
    let server = start(|_| {});
    let scripts = ["-ERR 'so sorry'\r\n", "-err x\r\n", "-ERR \r\n"];
    all_close(&server, "", &scripts, "");
    all_close(&server, PLAIN, &scripts, "");
}

#[test]
fn payloads_have_a_largest_size() {
    let server = start(|o| o.max_payload = 1000);
    let answer = said("Maximum Payload Violation");
    all_close(
        &server,
        PLAIN,
        &["PUB foo 1001\r\n", "PUB a b 999999999\r\n"],
        &answer,
    );
    all_close(&server, CONNECT, &["HPUB foo 12 1001\r\n"], &answer);
    let mut peer = Peer::open(server.addr());
    let payload = "x".repeat(1000);
    peer.say(format!("{PLAIN}SUB foo 1\r\nPUB foo 1000\r\n{payload}\r\n"));
    peer.expect(format!("MSG foo 1 1000\r\n{payload}\r\n"));
    peer.sync();
    let server = start(|_| {});
    all_close(&server, PLAIN, &["PUB foo 1048577\r\n"], &answer);
}

#[test]
fn control_lines_have_a_largest_size() {
    let server = start(|_| {});
    let long = |n: usize| "x".repeat(n);
    let answer = said("maximum control line exceeded");
    let scripts = [
        format!("SUB {} 1\r\n", long(4095)),
        format!("PUB {} 0\r\n\r\n", long(4095)),
        format!("PUB {}", long(5000)),
        format!("UNSUB {}", long(5000)),
        format!("CONNECT {{\"name\":\"{}\"}}\r\n", long(4096)),
        format!("INFO {}", long(5000)),
        format!("-ERR {}", long(5000)),
        format!("SUB {}", long(3_000_000)),
    ];
    all_close(&server, "", &scripts, &answer);
    all_close(&server, PLAIN, &scripts, &answer);
    // The arguments count, not what is before or behind them.
    let subject = long(4094);
    let script = format!("SUB    {subject} 1\r\nPUB {subject} 0\r\n\r\n");
    all_stay(
        &server,
        PLAIN,
        &[(&script, format!("MSG {subject} 1 0\r\n\r\n"))],
    );
    let server = start(|o| o.max_control_line = 20);
    all_close(&server, "", &["SUB 1234567890123456789 1\r\n"], &answer);
    all_stay(
        &server,
        "",
        &[("SUB 123456789012345678 1\r\n", "+OK\r\n".into())],
    );
}

#[test]
fn invalid_subjects_are_refused() {
    let server = start(|_| {});
    let cases = ["a..b", ".a", "a.", ".", "..", ">.a", "a.>.b", "a\rb"]
        .map(|subject| (format!("SUB {subject} 1\r\n"), said("Invalid Subject")));
    for (script, answer) in &cases {
        all_stay(&server, PLAIN, &[(script, answer.clone())]);
        all_stay(&server, "", &[(script, answer.clone())]);
    }
    let script = "SUB a..b 1\r\nSUB b 1\r\nPUB b 0\r\n\r\n";
    let want = said("Invalid Subject") + "MSG b 1 0\r\n\r\n";
    all_stay(&server, PLAIN, &[(script, want)]);
}

#[test]
fn pedantic_clients_are_told_of_wildcards_they_publish_to() {
    let server = start(|_| {});
    let refused = said("Invalid Publish Subject");
    let cases = [
        ("PUB a.* 0\r\n\r\n", refused.clone()),
        ("PUB > 0\r\n\r\n", refused.clone()),
        (
            "SUB a.> 1\r\nPUB a.* 0\r\n\r\n",
            refused.clone() + "MSG a.* 1 0\r\n\r\n",
        ),
        ("SUB a 1\r\nPUB a 0\r\n\r\n", "MSG a 1 0\r\n\r\n".into()),
        ("PUB a* 0\r\n\r\n", String::new()),
    ];
    all_stay(&server, PEDANTIC, &cases);
    let verbose = ("PUB a.* 0\r\n\r\n", refused + "+OK\r\n");
    all_stay(&server, "", &[verbose]);
}

#[test]
fn reserved_subjects_are_denied() {
    let server = start(|_| {});
    let publish = |s: &str| said(&format!("Permissions Violation for Publish to \"{s}\""));
    let reply = |s: &str| {
        said(&format!(
            "Permissions Violation for Publish with Reply of \"{s}\""
        ))
    };
    let gateway = "_GR_.123456.1234567.reply";
    let long = format!("PUB {gateway} 2\r\nhi\r\n");
    let asks = format!("PUB foo {gateway} 2\r\nhi\r\n");
    let cases = [
        (&*long, publish(gateway)),
        ("PUB $NRG.x 2\r\nhi\r\n", publish("$NRG.x")),
        ("PUB foo _R_.x 0\r\n\r\n", reply("_R_.x")),
        ("PUB foo $JS.ACK.x 0\r\n\r\n", reply("$JS.ACK.x")),
        (&asks, reply(gateway)),
        ("SUB foo 1\r\nPUB foo _R_.\"x 0\r\n\r\n", reply("_R_.\\\"x")),
        (
            "SUB _R_.x 1\r\nPUB _R_.x 0\r\n\r\n",
            "MSG _R_.x 1 0\r\n\r\n".into(),
        ),
    ];
    all_stay(&server, PLAIN, &cases);
    all_stay(&server, "", &cases[..5]);
}

#[test]
fn the_systems_queue_group_is_denied() {
    let server = start(|_| {});
    let text = "Permissions Violation for Subscription to \"foo\" using queue \"_sys_\"";
    all_stay(
        &server,
        PLAIN,
        &[("SUB foo _sys_ 1\r\nPUB foo 0\r\n\r\n", said(text))],
    );
    all_stay(&server, "", &[("SUB foo _sys_ 1\r\n", said(text))]);
}

#[test]
fn subscriptions_have_a_largest_number() {
    let server = start(|o| o.max_subscriptions = 2);
    let refused = said("maximum subscriptions exceeded");
    let cases = [
        ("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n", refused.clone()),
        (
            "SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nUNSUB 1\r\nSUB c 3\r\nPUB c 0\r\n\r\n",
            refused + "MSG c 3 0\r\n\r\n",
        ),
        ("SUB a 1\r\nSUB b 2\r\n", String::new()),
    ];
    all_stay(&server, PLAIN, &cases);
}

#[test]
fn subscriptions_have_a_largest_number_of_tokens() {
    let server = start(|o| o.max_sub_tokens = 3);
    let text = "Permissions Violation for Subscription to \"a.b.c.>\", too many tokens";
    let cases = [
        ("SUB a.b.c.> 1\r\n", said(text)),
        (
            "SUB a.b.> 1\r\nPUB a.b.c 0\r\n\r\n",
            "MSG a.b.c 1 0\r\n\r\n".into(),
        ),
    ];
    all_stay(&server, PLAIN, &cases);
}

#[test]
fn connections_have_a_largest_number() {
    let server = start(|o| o.max_connections = 2);
    let first = Peer::connect(server.addr());
    let mut second = Peer::connect(server.addr());
    for _ in 0..3 {
        let mut third = Peer::open(server.addr());
        third.expect(said("maximum connections exceeded"));
        third.expect_eof();
    }
    second.sync();
    drop(first);
    crate::support::eventually("there is room again", || {
        let mut peer = Peer::open(server.addr());
        peer.try_say("PING\r\n");
        peer.line() == "PONG"
    });
}

#[test]
fn zero_connections_means_nobody() {
    let server = start(|o| o.max_connections = 0);
    let mut peer = Peer::open(server.addr());
    peer.expect(said("maximum connections exceeded"));
    peer.expect_eof();
}

#[test]
fn strangers_have_a_deadline() {
    let server = start(|o| o.connect_deadline = Duration::from_millis(400));
    let mut silent = Peer::open(server.addr());
    let mut dripping = Peer::open(server.addr());
    let mut pinged = Peer::open(server.addr());
    pinged.sync();
    let drops = "CONNECT {\"name\":\"slow\"".bytes().cycle();
    for byte in drops {
        if dripping.hears(Duration::from_millis(40)) || dripping.stream.write_all(&[byte]).is_err()
        {
            break;
        }
    }
    for peer in [&mut silent, &mut dripping] {
        peer.expect(said("Authentication Timeout"));
        peer.expect_eof();
    }
    pinged.sync();
}

#[test]
fn clients_that_do_not_answer_are_stale() {
    let server = start(|o| {
        o.ping_interval = Duration::from_millis(100);
        o.ping_max = 2;
    });
    let mut peer = Peer::open(server.addr());
    peer.say(PLAIN);
    let (heard, end) = peer.read_to_end(crate::support::PATIENCE);
    let want = "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n";
    assert_eq!(String::from_utf8(heard).unwrap(), want);
    assert_eq!(end, crate::support::End::Closed);
}

#[test]
fn clients_that_answer_stay() {
    let server = start(|o| {
        o.ping_interval = Duration::from_millis(50);
        o.ping_max = 1;
    });
    let mut peer = Peer::open(server.addr());
    let mut raw = PLAIN.to_owned();
    // After the first answer the round trip is known; only silence brings more PINGs.
    for _ in 0..8 {
        peer.say(&raw);
        assert!(peer.hears(crate::support::PATIENCE));
        assert_eq!(peer.take_heard(), b"PING\r\n");
        raw = "PONG\r\n".into();
    }
}
