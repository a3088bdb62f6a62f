//! What configured users may do, and what accounts share, on the running program: with its file,
//! its sockets and its reloads.

use crate::support::{Dir, Key, Peer, Process, log_in, nonce, refusal};
use std::net::SocketAddr;

const VIOLATION: &str = "-ERR 'Authorization Violation'";

/// A server with this configuration, and the way to give it another.
struct Site {
    server: Process,
    dir: Dir,
}

impl Site {
    fn new(name: &str, config: &str) -> Site {
        let dir = Dir::new(name);
        let path = dir.write("server.conf", config);
        let server = Process::start(&["-c", &path]);
        Site { server, dir }
    }

    fn reload(&self, config: &str) {
        self.dir.write("server.conf", config);
        let before = self.reloads();
        self.server.signal(libc::SIGHUP);
        crate::support::eventually("it is reloaded", || self.reloads() > before);
    }

    fn reloads(&self) -> usize {
        let log = self.server.log();
        log.iter()
            .filter(|line| line.contains("Reloaded server configuration"))
            .count()
    }

    fn user(&self, name: &str) -> Peer {
        log_in(self.server.addr, &fields(name, name))
    }

    fn addr(&self) -> SocketAddr {
        self.server.addr
    }
}

fn fields(name: &str, password: &str) -> String {
    format!("\"user\":\"{name}\",\"pass\":\"{password}\"")
}

fn refused(addr: SocketAddr, fields: &str) -> bool {
    refusal(addr, fields).trim_end() == VIOLATION
}

#[test]
fn a_reload_changes_users_and_what_they_may_do() {
    let users = |permissions: &str, password: &str| {
        format!(
            "authorization {{ users: [{{user: p, password: p, permissions: {{{permissions}}}}}, \
             {{user: q, password: {password}}}] }}\n"
        )
    };
    let site = Site::new(
        "access-reload",
        &users("publish: a, subscribe: [a, b]", "q"),
    );
    let (mut p, mut q) = (site.user("p"), site.user("q"));
    p.say("SUB a 1\r\nSUB b 2\r\nPUB b 0\r\n\r\n");
    p.expect("-ERR 'Permissions Violation for Publish to \"b\"'\r\n");
    site.reload(&users("publish: b, subscribe: b", "other"));
    p.expect("-ERR 'Permissions Violation for Subscription to \"a\" (sid \"1\")'\r\n");
    q.expect(format!("{VIOLATION}\r\n"));
    q.expect_closed();
    p.say("PUB b 2\r\nhi\r\nPUB a 0\r\n\r\n");
    p.expect("MSG b 2 2\r\nhi\r\n-ERR 'Permissions Violation for Publish to \"a\"'\r\n");
    assert!(refused(site.addr(), &fields("q", "q")));
    log_in(site.addr(), &fields("q", "other")).sync();
    // What is wrong changes nothing.
    site.dir.write(
        "server.conf",
        "authorization { users: [{user: p}, {user: p}] }\n",
    );
    site.server.signal(libc::SIGHUP);
    site.server
        .wait_for("Failed to reload server configuration");
    p.say("PUB b 2\r\nhi\r\n");
    p.expect("MSG b 2 2\r\nhi\r\n");
    // Nobody has to say who they are any more; then everybody again.
    site.reload("max_payload: 1MB\n");
    p.say("PUB a 0\r\n\r\n");
    p.sync();
    let mut silent = Peer::open(site.addr());
    silent.say("PING\r\n");
    silent.expect("PONG\r\n");
    site.reload(&users("publish: b", "q"));
    silent.expect(format!("{VIOLATION}\r\n"));
}

#[test]
fn accounts_share_what_they_export_until_a_reload_ends_it() {
    let config = |exports: &str, imports: &str| {
        format!(
            "accounts {{\n\
             A {{ users: [{{user: a, password: a}}], exports: [{exports}] }}\n\
             B {{ users: [{{user: b, password: b}}], imports: [{imports}] }}\n\
             C {{ users: [{{user: c, password: c}}] }}\n}}\n"
        )
    };
    let stream = "{stream: \"s.*.>\", accounts: [B]}";
    let service = "{service: \"svc.*\", response_type: stream}";
    let both = config(
        &format!("{stream}, {service}"),
        "{stream: {account: A, subject: \"s.*.>\"}, to: \"got.$1.>\"}, \
         {service: {account: A, subject: \"svc.*\"}, to: \"ask.{{wildcard(1)}}\"}",
    );
    let site = Site::new("access-share", &both);
    let (mut a, mut b, mut c) = (site.user("a"), site.user("b"), site.user("c"));
    for peer in [&mut b, &mut c] {
        peer.say("SUB > 1\r\n");
        peer.sync();
    }
    a.say("SUB svc.* 1\r\n");
    a.say("PUB s.x.y.z 2\r\nhi\r\nPUB other 0\r\n\r\n");
    a.sync();
    b.expect("MSG got.x.y.z 1 2\r\nhi\r\n");
    b.say("UNSUB 1\r\nSUB in 2\r\nPUB ask.me in 1\r\n?\r\n");
    let (line, _) = a.message();
    let reply = line
        .split(' ')
        .find(|word| word.starts_with("_R_."))
        .unwrap();
    assert!(line.starts_with("HMSG svc.me 1 _R_."), "{line}");
    a.say(format!("PUB {reply} 3\r\none\r\nPUB {reply} 3\r\ntwo\r\nPUB {reply} 0\r\n\r\nPUB {reply} 4\r\nmore\r\n"));
    b.expect("MSG in 2 3\r\none\r\nMSG in 2 3\r\ntwo\r\nMSG in 2 0\r\n\r\n");
    b.sync();
    c.sync();
    site.reload(&config(
        service,
        "{service: {account: A, subject: \"svc.a\"}}",
    ));
    a.say("PUB s.x.y.z 0\r\n\r\n");
    a.sync();
    b.say("SUB got.> 3\r\nPUB ask.me in 0\r\n\r\n");
    let (line, _) = b.message();
    assert!(line.starts_with("HMSG in 2 "), "nobody answers: {line}");
    b.say("PUB svc.a in 0\r\n\r\n");
    assert!(a.message().0.starts_with("HMSG svc.a 1 _R_."));
}

#[test]
fn latencies_of_services_are_told() {
    let site = Site::new(
        "access-latency",
        "accounts {\n\
         A { users: [{user: a, password: a}], \
             exports: [{service: svc, latency: {subject: \"lat\", sampling: 100}}] }\n\
         B { users: [{user: b, password: b}], imports: [{service: {account: A, subject: svc}}] }\n}\n",
    );
    let (mut a, mut b) = (site.user("a"), site.user("b"));
    a.say("SUB svc 1\r\nSUB lat 2\r\n");
    a.sync();
    b.say("SUB in 1\r\nPUB svc in 0\r\n\r\n");
    let (line, _) = a.message();
    let reply = line
        .split(' ')
        .find(|word| word.starts_with("_R_."))
        .unwrap();
    a.say(format!("PUB {reply} 2\r\nok\r\n"));
    b.expect("MSG in 1 2\r\nok\r\n");
    let (line, event) = a.message();
    assert!(line.starts_with("MSG lat 2"), "{line}");
    let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["type"], "io.nats.server.metric.v1.service_latency");
    assert_eq!(event["status"], 200);
    assert_eq!(event["requestor"]["acc"], "B");
    assert_eq!(event["responder"]["user"], "a");
    assert!(event["total"].as_u64().unwrap() > 0, "{event}");
}

#[test]
fn accounts_have_limits_defaults_and_mappings() {
    let site = Site::new(
        "access-limits",
        "mappings { \"g.*\": \"global.$1\" }\nno_auth_user: g\n\
         authorization { users: [{user: g, password: g}] }\n\
         accounts { A {\n\
           users: [{user: a, password: a}, {user: free, password: free, permissions: {publish: \">\"}}]\n\
           default_permissions: {publish: {deny: \"no.>\"}}\n\
           limits: {max_connections: 2, max_subscriptions: 1, max_payload: 8}\n\
           mappings: { \"old.*\": [{destination: \"new.$1\", weight: 100%}], \
                       \"hash.*.*\": \"hash.$1.{{partition(3,1,2)}}\" }\n} }\n",
    );
    let (mut a, mut free) = (site.user("a"), site.user("free"));
    let mut third = Peer::open(site.addr());
    third.say(format!("CONNECT {{{}}}\r\n", fields("a", "a")));
    third.expect("-ERR 'maximum account active connections exceeded'\r\n");
    third.expect_closed();
    free.say("SUB > 1\r\nSUB x 2\r\n");
    free.expect("-ERR 'maximum subscriptions exceeded'\r\n");
    a.say("PUB no.way 0\r\n\r\n");
    a.expect("-ERR 'Permissions Violation for Publish to \"no.way\"'\r\n");
    a.say("PUB old.x 0\r\n\r\nPUB hash.a.b 0\r\n\r\n");
    // FNV-1a of "ab" is 0x4d2505ca, which 3 divides.
    free.expect("MSG new.x 1 0\r\n\r\nMSG hash.a.0 1 0\r\n\r\n");
    a.say("PUB old.x 9\r\n123456789\r\n");
    a.expect("-ERR 'Maximum Payload Violation'\r\n");
    let mut silent = Peer::open(site.addr());
    silent.say("SUB > 1\r\nPUB g.x 0\r\n\r\n");
    silent.expect("+OK\r\n+OK\r\nMSG global.x 1 0\r\n\r\n");
}

#[test]
fn keys_proxies_and_ways_to_connect() {
    let (user, proxy) = (Key::new(1), Key::new(2));
    let site = Site::new(
        "access-keys",
        &format!(
            "proxies {{ trusted: [{{key: {}}}] }}\n\
             authorization {{ users: [{{nkey: {}}}, {{user: p, password: p, proxy_required: true}}, \
             {{user: w, password: w, allowed_connection_types: [WEBSOCKET]}}, \
             {{user: s, password: s, allowed_connection_types: [websocket, standard]}}] }}\n",
            proxy.public(),
            user.public()
        ),
    );
    let told = || {
        let mut peer = Peer::raw(site.addr());
        let info = peer.line();
        let nonce = nonce(&info).unwrap();
        (peer, nonce)
    };
    let enters = |peer: &mut Peer, fields: &str| {
        peer.say(format!(
            "CONNECT {{\"verbose\":false,{fields}}}\r\nPING\r\n"
        ));
        peer.line() == "PONG"
    };
    let (mut peer, nonce) = told();
    let signed = |key: &Key, text: &str| key.sign(text);
    let by_key =
        |signature: &str| format!("\"nkey\":\"{}\",\"sig\":\"{signature}\"", user.public());
    assert!(enters(&mut peer, &by_key(&signed(&user, &nonce))));
    let (mut peer, _) = told();
    assert!(
        !enters(&mut peer, &by_key(&signed(&user, &nonce))),
        "the nonce of another"
    );
    let (mut peer, nonce) = told();
    let by_proxy = |signature: &str| format!("{},\"proxy_sig\":\"{signature}\"", fields("p", "p"));
    assert!(enters(&mut peer, &by_proxy(&signed(&proxy, &nonce))));
    let (mut peer, nonce) = told();
    assert!(!enters(&mut peer, &by_proxy(&signed(&user, &nonce))));
    for (name, may) in [("p", false), ("w", false), ("s", true)] {
        let (mut peer, _) = told();
        assert_eq!(enters(&mut peer, &fields(name, name)), may, "{name}");
    }
}
