//! The client protocol where everything goes well, byte by byte.

use crate::support::{CONNECT, Peer, start};
use nats_server::server::Server;

/// Has a fresh connection say `script` and hear exactly `want`, after which it still works.
fn converse(server: &Server, script: &str, want: &str) {
    let mut peer = Peer::open(server.addr());
    peer.say(script);
    peer.expect(want);
    peer.sync();
}

fn connect(fields: &str) -> String {
    format!("CONNECT {{\"verbose\":false,\"pedantic\":false{fields}}}\r\n")
}

/// The keys of a flat JSON object, in order.
fn keys(line: &str) -> Vec<String> {
    let json = line.strip_prefix("INFO ").expect("an INFO line").trim_end();
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
    let mut keys: Vec<String> = map.keys().cloned().collect();
    keys.sort_by_key(|key| json.find(&format!("\"{key}\":")).unwrap());
    keys
}

const INFO_KEYS: [&str; 11] = [
    "server_id",
    "server_name",
    "version",
    "proto",
    "go",
    "host",
    "port",
    "headers",
    "max_payload",
    "client_id",
    "client_ip",
];

#[test]
fn info_has_its_keys_in_order() {
    let server = start(|o| o.server_name = Some("north".into()));
    let mut peer = Peer::raw(server.addr());
    let line = peer.line();
    assert_eq!(keys(&line), INFO_KEYS);
    let info: serde_json::Value = serde_json::from_str(&line[5..]).unwrap();
    let id = info["server_id"].as_str().unwrap();
    assert!(id.len() == 56 && id.starts_with('N'), "{id}");
    assert_eq!(info["server_name"], "north");
    assert_eq!(
        (info["proto"].as_u64(), info["headers"].as_bool()),
        (Some(1), Some(true))
    );
    assert_eq!(info["host"], "127.0.0.1");
    assert_eq!(info["port"], server.addr().port());
    assert_eq!(info["max_payload"], 1 << 20);
    assert_eq!(info["client_ip"], "127.0.0.1");
    let first = info["client_id"].as_u64().unwrap();
    let second: serde_json::Value =
        serde_json::from_str(&Peer::raw(server.addr()).line()[5..]).unwrap();
    assert!(second["client_id"].as_u64().unwrap() > first);
}

#[test]
fn info_ends_with_a_blank_and_crlf() {
    let server = start(|_| {});
    let mut peer = Peer::raw(server.addr());
    assert!(peer.hears(crate::support::PATIENCE));
    assert!(peer.heard().ends_with(b"} \r\n"));
}

#[test]
fn a_second_info_answers_the_first_ping_of_protocol_1() {
    let server = start(|_| {});
    let mut peer = Peer::open(server.addr());
    peer.say(connect(",\"protocol\":1"));
    peer.say("PING\r\n");
    peer.expect("PONG\r\n");
    let line = peer.line();
    let mut all = INFO_KEYS.to_vec();
    all.extend(["connect_info", "remote_account"]);
    assert_eq!(keys(&line), all);
    assert!(
        line.ends_with("\"connect_info\":true,\"remote_account\":\"$G\"}"),
        "{line}"
    );
    peer.say("PING\r\nPING\r\n");
    peer.expect("PONG\r\nPONG\r\n");
    peer.sync();
}

#[test]
fn protocol_0_and_pings_before_connect_bring_no_second_info() {
    let server = start(|_| {});
    converse(
        &server,
        &(connect("") + "PING\r\nPING\r\n"),
        "PONG\r\nPONG\r\n",
    );
    let mut peer = Peer::open(server.addr());
    peer.say("PING\r\n");
    peer.expect("PONG\r\n");
    peer.say(connect(",\"protocol\":1") + "PING\r\n");
    peer.expect("PONG\r\n");
    assert!(peer.line().contains("\"connect_info\":true"));
}

#[test]
fn verbose_clients_get_ok_before_what_follows_from_it() {
    let server = start(|_| {});
    let mut peer = Peer::open(server.addr());
    for (say, want) in [
        ("CONNECT {\"headers\":true}\r\n", "+OK\r\n"),
        ("PING\r\n", "PONG\r\n"),
        ("SUB foo 1\r\n", "+OK\r\n"),
        ("PUB foo 2\r\nhi\r\n", "+OK\r\nMSG foo 1 2\r\nhi\r\n"),
        (
            "HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            "+OK\r\nHMSG foo 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        ),
        ("SUB bar 1\r\n", "+OK\r\n"),
        ("UNSUB 7\r\n", "+OK\r\n"),
        ("UNSUB 1\r\n", "+OK\r\n"),
        ("PUB foo 2\r\nhi\r\n", "+OK\r\n"),
        ("CONNECT {\"verbose\":false}\r\nSUB foo 1\r\n", ""),
        ("PUB foo 0\r\n\r\n", "MSG foo 1 0\r\n\r\n"),
    ] {
        peer.say(say);
        peer.expect(want);
        peer.sync();
    }
}

#[test]
fn no_connect_is_needed() {
    let server = start(|_| {});
    converse(
        &server,
        "SUB foo 1\r\nPUB foo 1\r\n.\r\n",
        "+OK\r\n+OK\r\nMSG foo 1 1\r\n.\r\n",
    );
    converse(&server, "+OK\r\n+ok x\r\nINFO {}\r\nPONG\r\n", "");
}

#[test]
fn verbs_have_any_case_and_blanks_any_number() {
    let server = start(|_| {});
    let script = "connect\t {\"verbose\":false,\"headers\":true}\r\nsub \t foo\t\tq  1 \r\n\
        Pub\tfoo\t 2\t\r\nhi\r\npUB   foo\treply  2\r\nhi\r\nhpub foo  12\t14\r\nNATS/1.0\r\n\r\nhi\r\n\
        uNsUb \t1\t\r\nPub foo 0\r\n\r\nPiNg\r\n";
    let want = "MSG foo 1 2\r\nhi\r\nMSG foo 1 reply 2\r\nhi\r\n\
        HMSG foo 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPONG\r\n";
    converse(&server, script, want);
}

#[test]
fn lines_may_end_in_a_bare_line_feed() {
    let server = start(|_| {});
    let script = "CONNECT {\"verbose\":false}\nSUB foo 1\nPUB foo 2\nhi\r\nPING\nUNSUB 1\nPING\n";
    converse(&server, script, "MSG foo 1 2\r\nhi\r\nPONG\r\nPONG\r\n");
}

#[test]
fn replies_are_passed_on() {
    let server = start(|_| {});
    let script = connect(",\"headers\":true")
        + "SUB a.* 1\r\nPUB a.b r.1 2\r\nhi\r\nHPUB a.c r.2 12 12\r\nNATS/1.0\r\n\r\n\r\n\
           HPUB a.d r.3 0 2\r\nhi\r\n";
    let want = "MSG a.b 1 r.1 2\r\nhi\r\nHMSG a.c 1 r.2 12 12\r\nNATS/1.0\r\n\r\n\r\n\
        HMSG a.d 1 r.3 0 2\r\nhi\r\n";
    converse(&server, &script, want);
}

#[test]
fn clients_without_headers_get_the_body_only() {
    let server = start(|_| {});
    let mut plain = Peer::open(server.addr());
    plain.say(connect("") + "SUB foo 1\r\n");
    plain.sync();
    let mut publisher = Peer::connect(server.addr());
    publisher.say(
        "HPUB foo 18 20\r\nNATS/1.0\r\na: b\r\n\r\nhi\r\n\
        HPUB foo r 18 18\r\nNATS/1.0\r\na: b\r\n\r\n\r\nPUB foo 1\r\n.\r\n",
    );
    plain.expect("MSG foo 1 2\r\nhi\r\nMSG foo 1 r 0\r\n\r\nMSG foo 1 1\r\n.\r\n");
    plain.sync();
}

#[test]
fn echo_can_be_turned_off() {
    let server = start(|_| {});
    let mut other = Peer::connect(server.addr());
    other.say("SUB foo 9\r\n");
    other.sync();
    converse(
        &server,
        &(connect(",\"echo\":false") + "SUB foo 1\r\nPUB foo 1\r\n.\r\n"),
        "",
    );
    other.expect("MSG foo 9 1\r\n.\r\n");
    converse(
        &server,
        &(connect(",\"echo\":false") + "SUB foo 1\r\nSUB foo q 2\r\nPUB foo 1\r\n.\r\n"),
        "",
    );
    other.expect("MSG foo 9 1\r\n.\r\n");
    other.sync();
}

#[test]
fn unsub_max_counts_from_the_subscription_on() {
    let server = start(|_| {});
    let publish = |n: usize| "PUB a 1\r\n.\r\n".repeat(n);
    let got = |n: usize| "MSG a 1 1\r\n.\r\n".repeat(n);
    for (before, unsub, after, delivered) in [
        (0, "UNSUB 1 3", 5, 3),
        (2, "UNSUB 1 3", 5, 3),
        (2, "UNSUB 1 2", 5, 2),
        (2, "UNSUB 1 1", 5, 2),
        (1, "UNSUB 1 0", 5, 1),
        (1, "UNSUB 1", 5, 1),
        (1, "UNSUB 1 many", 5, 1),
        (1, "UNSUB 1 -5", 5, 1),
        (1, "UNSUB 1 9999999999", 5, 1),
        (1, "UNSUB 1 5\r\nUNSUB 1 2", 5, 2),
        (1, "UNSUB 1 2\r\nUNSUB 1 4", 5, 4),
        (1, "UNSUB 1 3\r\nUNSUB 1", 5, 1),
        (1, "UNSUB 2 1", 2, 3),
    ] {
        let script = format!(
            "{CONNECT}SUB a 1\r\n{}{unsub}\r\n{}",
            publish(before),
            publish(after)
        );
        converse(&server, &script, &got(delivered));
    }
}

#[test]
fn a_sid_is_free_again_after_its_last_message() {
    let server = start(|_| {});
    let script =
        format!("{CONNECT}SUB a 1\r\nUNSUB 1 1\r\nPUB a 0\r\n\r\nSUB b 1\r\nPUB b 0\r\n\r\n");
    converse(&server, &script, "MSG a 1 0\r\n\r\nMSG b 1 0\r\n\r\n");
}

#[test]
fn a_sid_in_use_stays_what_it_is() {
    let server = start(|_| {});
    let script = "CONNECT {}\r\nSUB a 1\r\nSUB b 1\r\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n";
    let want = "+OK\r\n+OK\r\n+OK\r\n+OK\r\nMSG a 1 0\r\n\r\n+OK\r\n";
    converse(&server, script, want);
}

#[test]
fn sids_are_any_text() {
    let server = start(|_| {});
    for sid in [
        "0",
        "-1",
        "18446744073709551616",
        "a.b",
        "ÄÖ",
        &"s".repeat(300),
    ] {
        let script =
            format!("{CONNECT}SUB a {sid}\r\nPUB a 0\r\n\r\nUNSUB {sid}\r\nPUB a 0\r\n\r\n");
        converse(&server, &script, &format!("MSG a {sid} 0\r\n\r\n"));
    }
}

#[test]
fn a_second_connect_drops_subscriptions() {
    let server = start(|_| {});
    let script = format!(
        "{CONNECT}SUB a 1\r\nSUB b 2\r\n{CONNECT}PUB a 0\r\n\r\nSUB a 2\r\nPUB a 0\r\n\r\n"
    );
    converse(&server, &script, "MSG a 2 0\r\n\r\n");
    let mut other = Peer::connect(server.addr());
    assert!(other.finds_nobody("b"));
}

#[test]
fn commands_may_be_cut_at_every_byte() {
    let server = start(|_| {});
    let script = "CONNECT {\"headers\":true,\"verbose\":false}\r\nSUB a.* q 1\r\nsub a.> 22\n\
        PUB a.b r 5\r\nhello\r\nHPUB\ta.c  12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING ...\r\n\
        UNSUB 22 3\r\nPUB a.d 0\n\r\nPUB a.e 2\r\n\r\n\r\nUNSUB 1\r\nPING\r\nPINX\r\n";
    let bytes = script.as_bytes();
    let run = |cuts: &mut dyn Iterator<Item = &[u8]>| {
        let mut peer = Peer::open(server.addr());
        let mut synced = 0;
        for part in cuts {
            peer.say(part);
            synced += part.len();
        }
        assert_eq!(synced, bytes.len());
        let (heard, end) = peer.read_to_end(crate::support::PATIENCE);
        (String::from_utf8(heard).unwrap(), end)
    };
    // The two subscriptions of one client are served in either order.
    let sorted = |(text, end): (String, crate::support::End)| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        (lines, end)
    };
    let whole = run(&mut std::iter::once(bytes));
    assert!(
        whole
            .0
            .ends_with("PONG\r\n-ERR 'Unknown Protocol Operation'\r\n"),
        "{whole:?}"
    );
    assert_eq!(whole.0.matches("MSG a.").count(), 7, "{whole:?}");
    let whole = sorted(whole);
    for cut in 1..bytes.len() {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(sorted(run(&mut [a, b].into_iter())), whole, "cut at {cut}");
    }
    assert_eq!(sorted(run(&mut bytes.chunks(1))), whole, "cut everywhere");
}

#[test]
fn a_megabyte_goes_through_whole_and_in_pieces() {
    let server = start(|_| {});
    let mut subscriber = Peer::connect(server.addr());
    subscriber.say("SUB big 1\r\n");
    subscriber.sync();
    let mut publisher = Peer::connect(server.addr());
    let payload: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
    let message = [b"PUB big 1048576\r\n", &payload[..], b"\r\n"].concat();
    for piece in [usize::MAX, 300_000, 70_000, 5_003] {
        for part in message.chunks(piece.min(message.len())) {
            publisher.say(part);
        }
        let (line, body) = subscriber.message();
        assert_eq!(line, "MSG big 1 1048576");
        assert!(body == payload, "pieces of {piece}");
    }
    publisher.sync();
    subscriber.sync();
}

#[test]
fn a_dripping_payload_arrives() {
    let server = start(|_| {});
    let mut peer = Peer::connect(server.addr());
    peer.say("SUB a 1\r\n");
    for byte in b"PUB a 20\r\n01234567890123456789\r\n" {
        peer.say([*byte]);
    }
    peer.expect("MSG a 1 20\r\n01234567890123456789\r\n");
    peer.sync();
}

#[test]
fn many_commands_in_one_write_keep_their_order() {
    let server = start(|_| {});
    let mut peer = Peer::connect(server.addr());
    let (mut script, mut want) = (String::from("SUB n.* 1\r\n"), String::new());
    for i in 0..20_000 {
        let body = "x".repeat(i % 50);
        script += &format!("PUB n.{i} {}\r\n{body}\r\n", body.len());
        want += &format!("MSG n.{i} 1 {}\r\n{body}\r\n", body.len());
    }
    peer.say(script);
    peer.expect(want);
    peer.sync();
}

fn no_responders(reply: &str, sid: &str, subject: &str) -> String {
    let n = 32 + subject.len();
    format!("HMSG {reply} {sid} {n} {n}\r\nNATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n\r\n")
}

#[test]
fn requests_that_nobody_gets_are_answered() {
    let server = start(|_| {});
    let asked = connect(",\"headers\":true,\"no_responders\":true");
    let silent = connect(",\"headers\":true,\"no_responders\":true,\"echo\":false");
    let unasked = connect(",\"headers\":true");
    let answer = no_responders("inbox.1", "3", "svc");
    for (connect, script, want) in [
        (
            &asked,
            "SUB inbox.* 3\r\nPUB svc inbox.1 0\r\n\r\n",
            &*answer,
        ),
        (
            &asked,
            "SUB inbox.1 3\r\nHPUB svc inbox.1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            &answer,
        ),
        (
            &silent,
            "SUB inbox.1 3\r\nSUB svc 4\r\nPUB svc inbox.1 0\r\n\r\n",
            &answer,
        ),
        (&asked, "SUB inbox.1 q 3\r\nPUB svc inbox.1 0\r\n\r\n", ""),
        (&asked, "SUB other 3\r\nPUB svc inbox.1 0\r\n\r\n", ""),
        (&asked, "PUB svc inbox.1 0\r\n\r\n", ""),
        (&asked, "SUB inbox.1 3\r\nPUB svc 0\r\n\r\n", ""),
        (&unasked, "SUB inbox.1 3\r\nPUB svc inbox.1 0\r\n\r\n", ""),
        (
            &asked,
            "SUB inbox.1 3\r\nSUB svc 4\r\nPUB svc inbox.1 0\r\n\r\n",
            "MSG svc 4 inbox.1 0\r\n\r\n",
        ),
        (
            &asked,
            "SUB inbox.1 3\r\nSUB svc q 4\r\nPUB svc inbox.1 0\r\n\r\n",
            "MSG svc 4 inbox.1 0\r\n\r\n",
        ),
    ] {
        converse(&server, &format!("{connect}{script}"), want);
    }
}

#[test]
fn only_the_asker_hears_that_nobody_got_it() {
    let server = start(|_| {});
    let mut other = Peer::connect(server.addr());
    other.say("SUB inbox.> 1\r\n");
    other.sync();
    converse(&server, &format!("{CONNECT}PUB svc inbox.1 0\r\n\r\n"), "");
    let script = format!("{CONNECT}SUB inbox.1 7\r\nPUB svc inbox.1 0\r\n\r\n");
    converse(&server, &script, &no_responders("inbox.1", "7", "svc"));
    other.sync();
}

#[test]
fn published_wildcards_are_plain_tokens() {
    let server = start(|_| {});
    for (sub, subject, matches) in [
        ("foo.*", "foo.*", true),
        ("foo.>", "foo.*", true),
        (">", "foo.*", true),
        ("foo.bar", "foo.*", false),
        ("foo.bar", "foo.>", false),
        ("foo.>", "foo.>", true),
        ("foo.*", "foo.>", true),
        ("foo.*", "foo.*.x", false),
        ("*", ">", true),
        ("foo*", "foo*", true),
        ("foo*", "foob", false),
        ("f>o.a", "f>o.a", true),
        ("foo.**", "foo.**", true),
    ] {
        let script = format!("{CONNECT}SUB {sub} 1\r\nPUB {subject} 0\r\n\r\n");
        let want = format!("MSG {subject} 1 0\r\n\r\n");
        converse(&server, &script, if matches { &want } else { "" });
    }
}

#[test]
fn empty_tokens_never_match() {
    let server = start(|_| {});
    for subject in ["a..b", ".a", "a.", ".", "..", "a.b.", "..a"] {
        let script =
            format!("{CONNECT}SUB > 1\r\nSUB *.* 2\r\nSUB *.*.* 3\r\nPUB {subject} 0\r\n\r\n");
        converse(&server, &script, "");
    }
}

#[test]
fn subjects_are_any_bytes() {
    let server = start(|_| {});
    let mut peer = Peer::connect(server.addr());
    for subject in [
        "Ünï.çødé".as_bytes(),
        b"\xff\xfe.\x80",
        b"a\x01b.\x7f",
        b"$x.-_:{}\"'",
    ] {
        let script = [
            b"SUB ",
            subject,
            b" 1\r\nPUB ",
            subject,
            b" 0\r\n\r\nUNSUB 1\r\n",
        ]
        .concat();
        peer.say(script);
        peer.expect([b"MSG ", subject, b" 1 0\r\n\r\n"].concat());
        peer.sync();
    }
}

#[test]
fn ping_and_pong_may_be_followed_by_anything() {
    let server = start(|_| {});
    let script = "PING hello world\r\nPONG what\r\nPINGPONG\r\npong\n+OK then\r\nPING\r\n";
    converse(&server, script, "PONG\r\nPONG\r\nPONG\r\n");
}

#[test]
fn a_ping_of_a_million_bytes_is_a_ping() {
    let server = start(|_| {});
    let mut peer = Peer::connect(server.addr());
    for part in [b"PING ".to_vec(), vec![b'x'; 1_000_000], b"\r\n".to_vec()] {
        peer.say(part);
    }
    peer.expect("PONG\r\n");
    peer.sync();
}

#[test]
fn a_half_closed_client_gets_what_it_was_owed() {
    let server = start(|_| {});
    let mut peer = Peer::connect(server.addr());
    peer.say("SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n");
    peer.finish();
    peer.expect("MSG a 1 2\r\nhi\r\nPONG\r\n");
    peer.expect_eof();
}

#[test]
fn a_half_closed_client_gets_megabytes_too() {
    let server = start(|_| {});
    let mut peer = Peer::connect_narrow(server.addr());
    let payload = "x".repeat(1 << 20);
    let (count, mut bytes) = (12, 0);
    peer.say("SUB a 1\r\n");
    for _ in 0..count {
        peer.say(format!("PUB a 1048576\r\n{payload}\r\n"));
    }
    peer.finish();
    for _ in 0..count {
        bytes += peer.message().1.len();
    }
    assert_eq!(bytes, count << 20);
    peer.expect_eof();
}
