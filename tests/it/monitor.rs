//! The documents of monitoring over HTTP, of a server with clients of all kinds.

use super::support::schema::assert_valid;
use super::support::tls::{Authority, Version};
use super::support::{Dir, PATIENCE, Peer, Process, eventually, log_in, refusal, start};
use nats_server::options::Options;
use nats_server::server::Server;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The status, the head and the body of an answer.
pub fn get(addr: SocketAddr, target: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    (status, head, answer.split_off(end + 4))
}

pub fn json(addr: SocketAddr, target: &str) -> Value {
    let (status, head, body) = get(addr, target);
    assert_eq!(status, 200, "{target}: {head}");
    assert!(head.contains("Content-Type: application/json"), "{head}");
    assert!(head.contains("Access-Control-Allow-Origin: *"), "{head}");
    serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{target}: {e}"))
}

fn serve(change: impl FnOnce(&mut Options)) -> (Server, SocketAddr) {
    let server = start(|options| {
        options.http_port = -1;
        change(options);
    });
    let addr = server.monitor_addr().unwrap().addr;
    (server, addr)
}

#[test]
fn documents_tell_of_what_clients_do() {
    let (server, http) = serve(|o| {
        o.authorization.token = Some("s3cret".into());
        o.loops = Some(2);
    });
    let token = r#""auth_token":"s3cret","name":"worker <1>","lang":"x","version":"7""#;
    let mut clients: Vec<Peer> = (0..3).map(|_| log_in(server.addr(), token)).collect();
    clients[0].say("SUB a.* 1\r\nSUB a.> workers 2\r\n");
    clients[0].sync();
    clients[1].say("PUB a.b 5\r\nhello\r\n");
    clients[1].sync();
    let (_, payload) = clients[0].message();
    assert_eq!(payload, b"hello");
    refusal(server.addr(), r#""auth_token":"wr0ng""#);
    drop(clients.pop());

    eventually("the client is gone", || json(http, "/connz")["total"] == 2);
    let varz = json(http, "/varz");
    assert_valid("server/monitor/v1/varz.json", &varz);
    assert_eq!(varz["connections"], 2);
    assert_eq!(varz["total_connections"], 4);
    assert_eq!(
        (&varz["in_msgs"], &varz["in_bytes"]),
        (&1.into(), &5.into())
    );
    assert_eq!(
        (&varz["out_msgs"], &varz["out_bytes"]),
        (&2.into(), &10.into())
    );
    assert_eq!(varz["auth_required"], true);
    assert_eq!(varz["http_port"], http.port());
    assert_eq!(varz["http_req_stats"]["/varz"], 1);

    let connz = json(http, "/connz?auth=1&subs=detail&sort=subs");
    let first = &connz["connections"][0];
    assert_eq!(first["subscriptions"], 2);
    assert_eq!(first["name"], "worker <1>");
    assert_eq!(first["authorized_user"], "[REDACTED]");
    let mut subjects: Vec<_> = first["subscriptions_list_detail"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    subjects.sort_by_key(|sub| sub["sid"].as_str().unwrap());
    assert_eq!(
        (&subjects[0]["subject"], &subjects[0]["msgs"]),
        (&"a.*".into(), &1.into())
    );
    assert_eq!(subjects[1]["qgroup"], "workers");
    let closed = json(http, "/connz?state=closed&sort=stop");
    let reasons: Vec<_> = closed["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["Client Closed", "Authentication Failure"]);
    assert_eq!(json(http, "/connz?state=any")["total"], 4);
    let cid = first["cid"].as_u64().unwrap();
    let one = json(http, &format!("/connz?cid={cid}"));
    assert_eq!(
        (&one["num_connections"], &one["limit"]),
        (&1.into(), &1.into())
    );

    let subsz = json(http, "/subsz?subs=1&test=a.b");
    assert_eq!(subsz["total"], 2);
    assert!(subsz["num_inserts"].as_u64() >= Some(2));
    let statz = json(http, "/accstatz");
    assert_eq!(statz["account_statz"][0]["acc"], "$G");
    assert_eq!(statz["account_statz"][0]["conns"], 2);
    let health = get(http, "/healthz");
    assert_eq!((health.0, &*health.2), (200, &br#"{"status":"ok"}"#[..]));
    let all = [
        "varz",
        "connz?auth=1&subs=detail&state=any",
        "accountz?acc=$G",
        "stacksz",
        "metrics",
    ];
    for target in all {
        let (_, _, body) = get(http, &format!("/{target}"));
        let text = String::from_utf8(body).unwrap();
        assert!(
            !text.contains("s3cret") && !text.contains("wr0ng"),
            "{target}"
        );
    }
}

#[test]
fn every_path_of_the_reference_is_served() {
    let (server, http) = serve(|_| {});
    for path in [
        "varz",
        "connz",
        "routez",
        "gatewayz",
        "leafz",
        "subsz",
        "subscriptionsz",
        "accountz",
        "accstatz",
        "jsz",
        "ipqueuesz",
        "debug/vars",
        "expvarz",
    ] {
        assert!(json(http, &format!("/{path}")).is_object(), "{path}");
    }
    assert_eq!(get(http, "/raftz").0, 404);
    let (status, _, body) = get(http, "/connz?sort=nonsense");
    assert_eq!(status, 400);
    assert_eq!(body, b"invalid sorting option: nonsense");
    let (status, _, body) = get(http, "/nothing");
    assert_eq!((status, &*body), (404, &b"404 page not found\n"[..]));
    let (status, head, body) = get(http, "/");
    let page = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    assert!(head.contains("Content-Type: text/html"), "{head}");
    assert!(
        head.contains("Content-Security-Policy: default-src 'none'"),
        "{head}"
    );
    for path in [
        "varz", "jsz", "connz", "accountz", "subsz", "routez", "leafz", "gatewayz", "healthz",
    ] {
        assert!(page.contains(&format!("href=\"./{path}")), "{path}");
    }
    let (status, head, body) = get(http, "/metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.starts_with(b"# HELP nats_server_build_info"));
    server.enter_lame_duck();
    assert_eq!(get(http, "/readyz").0, 503);
    assert_eq!(get(http, "/livez").0, 200);
}

#[test]
fn clients_over_tls_show_how() {
    let dir = Dir::new("monitor-tls");
    let authority = Authority::new();
    authority.serve(&dir, "cert.pem", "key.pem", "ca.pem");
    let config = format!(
        "listen: '127.0.0.1:-1'\nhttp: '127.0.0.1:-1'\ntls {{ cert_file: '{}', key_file: '{}' }}",
        dir.path("cert.pem"),
        dir.path("key.pem")
    );
    let path = dir.write("server.conf", &config);
    let process = Process::start(&["-c", &path]);
    let http = monitor_addr(&process);
    let client = authority.client(None, Version::V13);
    let peer = super::support::tls::TlsPeer::log_in(process.addr, &client, "");
    let connz = json(http, "/connz");
    let row = &connz["connections"][0];
    assert_eq!(row["tls_version"], "1.3");
    assert!(
        row["tls_cipher_suite"]
            .as_str()
            .unwrap()
            .starts_with("TLS_")
    );
    let varz = json(http, "/varz");
    assert_eq!(varz["tls_required"], true);
    assert!(varz["tls_cert_not_after"].is_string());
    drop(peer);
}

/// Where a server's log says that monitoring listens.
fn monitor_addr(process: &Process) -> SocketAddr {
    let line = process.wait_for("Starting http monitor on ");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
