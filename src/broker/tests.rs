//! Whole conversations without a socket.

mod exchange;
mod survey;
mod tracing;

use super::*;
use crate::base::limits::FIRST_PING;
use crate::options::WriteTimeout;
use std::time::Duration;

/// Brokers of a server, with the batches between them passed on by hand.
pub(super) struct Bench {
    pub(super) brokers: Vec<Broker>,
    wire: Tape,
    pub(super) now: Mono,
}

/// What was written to each client, by link, and passed on to other loops.
#[derive(Default)]
pub(super) struct Tape {
    written: Vec<Vec<u8>>,
    /// Links that take nothing, but for so many bytes.
    stuck: Vec<usize>,
    trickle: usize,
    batches: Vec<(LoopId, Batch)>,
}

impl Wire for Tape {
    fn write(&mut self, link: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.stuck.contains(&link) {
            if self.trickle > 0 {
                let n = std::mem::take(&mut self.trickle);
                self.written[link].extend_from_slice(&slices[0][..n]);
                return Ok(n);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = self.written[link].len();
        slices
            .iter()
            .for_each(|s| self.written[link].extend_from_slice(s));
        Ok(self.written[link].len() - before)
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        self.batches.push((to, std::mem::take(batch)));
    }
}

/// A client of a bench: its loop and slot.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) usize, pub(super) u32);

impl Bench {
    pub(super) fn new(loops: usize, change: impl FnOnce(&mut Options)) -> Bench {
        let mut options = Options::default();
        change(&mut options);
        let accounts = Accounts::new(&options, None, 7).unwrap();
        let facts = Arc::new(Facts {
            directory: Directory::new(&options, &accounts).unwrap(),
            nonce_key: [7; 32],
            event_seq: Arc::default(),
            cluster: Arc::default(),
            accounts,
            options,
            id: "NX".into(),
            name: "n".into(),
            host: "h".into(),
            port: 1,
            loop_bytes_max: 1 << 30,
        });
        let broker = |i| Broker::new(facts.clone(), LoopId(i as u16), loops, 9);
        let brokers = (0..loops).map(broker).collect();
        Bench {
            brokers,
            wire: Tape::default(),
            now: Mono::ZERO,
        }
    }

    /// A client that got its INFO.
    pub(super) fn open(&mut self, owner: usize) -> Peer {
        let addr = "127.0.0.1:9".parse().unwrap();
        let link = self.wire.written.len();
        self.wire.written.push(Vec::new());
        let slot = self.brokers[owner].open(link, ClientId(1), addr, self.now);
        let peer = Peer(owner, slot);
        assert!(self.read(peer).starts_with("INFO {"));
        peer
    }

    /// A client that said CONNECT and is not verbose.
    pub(super) fn connect(&mut self, owner: usize) -> Peer {
        let peer = self.open(owner);
        let json = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        self.say(peer, &format!("CONNECT {json}\r\n"));
        peer
    }

    pub(super) fn say(&mut self, peer: Peer, text: &str) {
        let mut data = Bytes::copy_from_slice(text.as_bytes());
        let bytes = data.clone();
        let turn = &mut Turn {
            wire: &mut self.wire,
            now: self.now,
        };
        let broker = &mut self.brokers[peer.0];
        let progress = broker.handle_bytes(peer.1, &bytes, &mut data, turn);
        if let Progress::Wait { consumed, partial } = progress {
            broker.keep(peer.1, &bytes[consumed..], partial);
        }
        broker.finish(turn);
        let from = LoopId(peer.0 as u16);
        for (to, mut batch) in std::mem::take(&mut self.wire.batches) {
            let turn = &mut Turn {
                wire: &mut self.wire,
                now: self.now,
            };
            self.brokers[usize::from(to.0)].handle_batch(from, &mut batch, turn);
        }
    }

    /// What was written to a client since the last time.
    pub(super) fn read(&mut self, peer: Peer) -> String {
        let turn = &mut Turn {
            wire: &mut self.wire,
            now: self.now,
        };
        let broker = &mut self.brokers[peer.0];
        assert_eq!(broker.flush(peer.1, turn), Flushed::Done);
        let link = self.link(peer);
        String::from_utf8(std::mem::take(&mut self.wire.written[link])).unwrap()
    }

    pub(super) fn link(&self, peer: Peer) -> usize {
        self.brokers[peer.0].link(peer.1).unwrap()
    }

    /// A client stops reading.
    fn stick(&mut self, peer: Peer) {
        let link = self.link(peer);
        self.wire.stuck.push(link);
    }

    pub(super) fn closed(&mut self, peer: Peer) -> Option<CloseReason> {
        let mut closing = Vec::new();
        self.brokers[peer.0].take_closing(&mut closing);
        closing
            .iter()
            .find(|(slot, _)| *slot == peer.1)
            .map(|(_, reason)| *reason)
    }

    fn interest(&self) -> usize {
        self.brokers[0]
            .facts
            .accounts
            .global()
            .account
            .interest
            .len()
    }
}

#[test]
fn a_telnet_session() {
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.open(0);
    bench.say(peer, "SUB foo 1\r\nPUB foo 5\r\nhello\r\n");
    assert_eq!(bench.read(peer), "+OK\r\n+OK\r\nMSG foo 1 5\r\nhello\r\n");
}

#[test]
fn every_split_gives_the_same_conversation() {
    let script = "CONNECT {\"verbose\":true,\"headers\":true}\r\nSUB a.* q 1\r\nSUB a.> 22\r\n\
        PUB a.b r 5\r\nhello\r\nHPUB\ta.c  12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 22 3\r\nPING\r\n\
        PUB a.d 0\n\r\nPUB a.e 1\r\nx\r\nUNSUB 1\r\nPINX\r\n";
    let talk = |cut: usize| {
        let mut bench = Bench::new(1, |_| {});
        let peer = bench.open(0);
        bench.say(peer, &script[..cut]);
        bench.say(peer, &script[cut..]);
        (bench.read(peer), bench.closed(peer))
    };
    let whole = talk(0);
    assert_eq!(whole.1, Some(CloseReason::ProtocolViolation));
    assert!(
        whole
            .0
            .contains("HMSG a.c 22 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        "{}",
        whole.0
    );
    for cut in 1..script.len() {
        assert_eq!(talk(cut), whole, "cut at {cut}");
    }
}

#[test]
fn headers_are_left_out_for_those_who_do_not_know_them() {
    let mut bench = Bench::new(2, |_| {});
    let (publisher, old, far) = (bench.connect(0), bench.open(0), bench.open(1));
    for peer in [old, far] {
        bench.say(peer, "CONNECT {\"verbose\":false}\r\nSUB a 1\r\n");
    }
    bench.say(publisher, "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    for peer in [old, far] {
        assert_eq!(bench.read(peer), "MSG a 1 r 2\r\nhi\r\n");
    }
}

#[test]
fn messages_cross_loops_in_order_and_shared_payloads_too() {
    let mut bench = Bench::new(3, |_| {});
    let publisher = bench.connect(0);
    let subs: Vec<Peer> = (0..3).map(|owner| bench.connect(owner)).collect();
    for sub in &subs {
        bench.say(*sub, "SUB a.> 7\r\n");
    }
    let big = "x".repeat(5000);
    bench.say(
        publisher,
        &format!("PUB a.1 2\r\nhi\r\nPUB a.2 r 5000\r\n{big}\r\nPUB  a.3 0\r\n\r\n"),
    );
    let want = format!("MSG a.1 7 2\r\nhi\r\nMSG a.2 7 r 5000\r\n{big}\r\nMSG a.3 7 0\r\n\r\n");
    for sub in subs {
        assert_eq!(bench.read(sub), want);
    }
}

#[test]
fn a_queue_group_gets_each_message_once_wherever_its_members_are() {
    let mut bench = Bench::new(2, |_| {});
    let publisher = bench.connect(0);
    let members: Vec<Peer> = (0..4).map(|i| bench.connect(i % 2)).collect();
    for member in &members {
        bench.say(*member, "SUB jobs.* workers 1\r\n");
    }
    for _ in 0..400 {
        bench.say(publisher, "PUB jobs.x 1\r\n.\r\n");
    }
    let counts: Vec<usize> = members
        .iter()
        .map(|m| bench.read(*m).matches("MSG ").count())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 400);
    assert!(counts.iter().all(|n| *n > 50), "{counts:?}");
}

#[test]
fn requests_that_nobody_gets_are_answered() {
    let mut bench = Bench::new(1, |_| {});
    let client = bench.connect(0);
    bench.say(client, "SUB inbox.* 3\r\nPUB svc inbox.1 0\r\n\r\n");
    let want = "HMSG inbox.1 3 35 35\r\nNATS/1.0 503\r\nNats-Subject: svc\r\n\r\n\r\n";
    assert_eq!(bench.read(client), want);
    bench.say(
        client,
        "UNSUB 3\r\nSUB inbox.* q 3\r\nPUB svc inbox.1 0\r\n\r\n",
    );
    assert_eq!(bench.read(client), "", "a queue subscription is not told");
}

#[test]
fn auto_unsubscribe_counts_all_deliveries() {
    for owner in [0, 1] {
        let mut bench = Bench::new(2, |_| {});
        let (publisher, sub) = (bench.connect(0), bench.connect(owner));
        bench.say(sub, "SUB a 1\r\n");
        bench.say(publisher, "PUB a 1\r\n1\r\nPUB a 1\r\n2\r\n");
        bench.say(sub, "UNSUB 1 3\r\n");
        bench.say(publisher, "PUB a 1\r\n3\r\nPUB a 1\r\n4\r\n");
        let got = bench.read(sub);
        assert_eq!(got.matches("MSG").count(), 3, "{got}");
        assert_eq!(bench.interest(), 0);
        bench.say(sub, "SUB a 1\r\n");
        bench.say(publisher, "PUB a 1\r\n5\r\n");
        bench.say(sub, "UNSUB 1 1\r\n");
        assert_eq!(
            bench.interest(),
            0,
            "as many as asked for were delivered before"
        );
    }
}

#[test]
fn what_a_closed_client_left_behind_goes() {
    let mut bench = Bench::new(1, |_| {});
    let (sub, publisher) = (bench.connect(0), bench.connect(0));
    for i in 0..10_000 {
        bench.say(sub, &format!("SUB a.{i} {i}\r\n"));
    }
    bench.brokers[0].handle_end(sub.1, CloseReason::ClientClosed);
    bench.say(publisher, "PUB a.5 1\r\nx\r\n");
    assert_eq!(bench.closed(sub), Some(CloseReason::ClientClosed));
    let mut turns = 1;
    while bench.brokers[0].reap() {
        turns += 1;
    }
    assert!(turns > 2, "a few subscriptions a turn");
    assert_eq!(
        (bench.interest(), bench.brokers[0].delivery.subs.len()),
        (0, 0)
    );
    assert_eq!(bench.brokers[0].delivery.clients.len(), 1);
    assert_eq!(bench.brokers[0].delivery.interest_bytes, 0);
}

#[test]
fn subscriptions_count_as_memory() {
    let mut bench = Bench::new(1, |_| {});
    let (many, few) = (bench.connect(0), bench.connect(0));
    for i in 0..2000 {
        bench.say(many, &format!("SUB a.{i} {i}\r\n"));
    }
    bench.say(few, "SUB b 1\r\nSUB c 2\r\nUNSUB 1\r\n");
    bench.brokers[0].relieve((1 << 30) - 200_000);
    let mut closing = Vec::new();
    bench.brokers[0].take_closing(&mut closing);
    assert_eq!(closing, [(many.1, CloseReason::SlowConsumerPendingBytes)]);
    bench.brokers[0].relieve((1 << 30) - 200_000);
    assert_eq!(bench.closed(few), None);
    bench.say(few, "CONNECT {}\r\n");
    assert_eq!(bench.brokers[0].delivery.interest_bytes, 0);
}

#[test]
fn a_slow_consumer_is_closed_and_nobody_else_notices() {
    let mut bench = Bench::new(1, |o| o.max_pending = 100_000);
    let (publisher, slow, quick) = (bench.connect(0), bench.connect(0), bench.connect(0));
    for peer in [slow, quick] {
        bench.say(peer, "SUB a 1\r\n");
    }
    bench.stick(slow);
    let payload = "x".repeat(1000);
    for _ in 0..200 {
        bench.say(publisher, &format!("PUB a 1000\r\n{payload}\r\n"));
        assert_eq!(bench.read(quick).len(), "MSG a 1 1000\r\n\r\n".len() + 1000);
    }
    assert_eq!(
        bench.closed(slow),
        Some(CloseReason::SlowConsumerPendingBytes)
    );
}

#[test]
fn a_producer_is_held_back_only_when_all_it_feeds_is_behind() {
    let mut bench = Bench::new(1, |o| o.max_pending = 100_000);
    let (publisher, slow, quick) = (bench.connect(0), bench.connect(0), bench.connect(0));
    for peer in [slow, quick] {
        bench.say(peer, "SUB both 1\r\n");
    }
    bench.say(slow, "SUB one 2\r\n");
    bench.stick(slow);
    let payload = "x".repeat(1000);
    let mut held = Vec::new();
    for _ in 0..85 {
        bench.say(publisher, &format!("PUB both 1000\r\n{payload}\r\n"));
        bench.read(quick);
    }
    bench.brokers[0].take_held_back(&mut held);
    assert_eq!(held, []);
    bench.say(publisher, &format!("PUB one 1000\r\n{payload}\r\n"));
    bench.brokers[0].take_held_back(&mut held);
    assert_eq!(held, [(LoopId(0), publisher.1)]);
}

#[test]
fn memory_for_all_is_bounded_and_the_largest_goes_first() {
    let mut bench = Bench::new(1, |_| {});
    let (publisher, one, two) = (bench.connect(0), bench.connect(0), bench.connect(0));
    bench.say(one, "SUB a 1\r\n");
    bench.say(two, "SUB b 1\r\n");
    bench.stick(one);
    bench.stick(two);
    let payload = "x".repeat(1000);
    for _ in 0..300 {
        bench.say(publisher, &format!("PUB a 1000\r\n{payload}\r\n"));
    }
    bench.say(publisher, &format!("PUB b 1000\r\n{payload}\r\n"));
    bench.brokers[0].relieve(0);
    assert_eq!(bench.closed(one), None);
    bench.brokers[0].relieve((1 << 30) - 200_000);
    let mut closing = Vec::new();
    bench.brokers[0].take_closing(&mut closing);
    assert_eq!(closing, [(one.1, CloseReason::SlowConsumerPendingBytes)]);
}

#[test]
fn strangers_have_a_deadline() {
    let mut bench = Bench::new(1, |_| {});
    let (silent, dripping, telnet) = (bench.open(0), bench.open(0), bench.open(0));
    bench.say(dripping, "PUB fo");
    bench.say(telnet, "SUB foo 1\r\n");
    bench.read(telnet);
    let deadline = bench.brokers[0].deadline(silent.1).unwrap();
    bench.now = deadline;
    for peer in [silent, dripping, telnet] {
        bench.brokers[0].handle_timer(peer.1, deadline);
    }
    for peer in [silent, dripping] {
        assert_eq!(bench.read(peer), "-ERR 'Authentication Timeout'\r\n");
    }
    assert_eq!(bench.read(telnet), "");
    let mut closing = Vec::new();
    bench.brokers[0].take_closing(&mut closing);
    assert_eq!(closing.len(), 2);
    assert!(
        closing
            .iter()
            .all(|(_, r)| *r == CloseReason::AuthenticationTimeout)
    );
}

#[test]
fn strangers_together_hold_little() {
    let mut bench = Bench::new(1, |_| {});
    let half = format!("PUB foo 1000000\r\n{}", "x".repeat(500_000));
    let peers: Vec<Peer> = (0..60).map(|_| bench.open(0)).collect();
    for peer in &peers {
        bench.say(*peer, &half);
    }
    assert!(bench.brokers[0].inbound_bytes <= GREETING_BYTES + 1_000_000);
    assert_eq!(
        bench.brokers[0].inbound_bytes,
        bench.brokers[0].greeting_bytes
    );
    for peer in &peers {
        bench.brokers[0].handle_end(peer.1, CloseReason::ClientClosed);
    }
    assert_eq!(
        (
            bench.brokers[0].inbound_bytes,
            bench.brokers[0].greeting_bytes
        ),
        (0, 0)
    );
    let known = bench.connect(0);
    bench.say(known, &half);
    assert_eq!(bench.brokers[0].greeting_bytes, 0);
    assert!(bench.brokers[0].inbound_bytes >= 500_000);
}

#[test]
fn pings_find_stale_clients() {
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.connect(0);
    let mut out = String::new();
    while bench.brokers[0].deadline(peer.1).is_some() {
        bench.now = bench.brokers[0].deadline(peer.1).unwrap();
        let now = bench.now;
        bench.brokers[0].handle_timer(peer.1, now);
        out += &bench.read(peer);
    }
    assert_eq!(out, "PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    assert!(bench.now.since(Mono::ZERO) < FIRST_PING + Duration::from_secs(2 * 121));
}

#[test]
fn a_second_connect_drops_subscriptions() {
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.connect(0);
    bench.say(
        peer,
        "SUB a 1\r\nSUB b 2\r\nCONNECT {}\r\nSUB c 1\r\nPUB a 1\r\nx\r\nPUB c 1\r\ny\r\n",
    );
    assert_eq!(bench.read(peer), "MSG c 1 1\r\ny\r\n");
    assert_eq!(bench.interest(), 1);
}

#[test]
fn runs_of_messages_keep_their_order_for_everybody() {
    let mut bench = Bench::new(2, |_| {});
    let publisher = bench.connect(0);
    let subs: Vec<Peer> = (0..6).map(|i| bench.connect(i % 2)).collect();
    for sub in &subs {
        bench.say(*sub, "SUB a.* 7\r\n");
    }
    bench.say(subs[0], "UNSUB 7 3\r\n");
    let (mut script, mut want) = (String::new(), Vec::new());
    for i in 0..50 {
        // Runs of one subject, of different lengths, with all kinds of messages between them.
        let subject = if (i / 7) % 2 == 0 { "a.x" } else { "a.yy" };
        let reply = if i % 5 == 0 { "r " } else { "" };
        let body = "x".repeat(if i % 11 == 10 { 3000 } else { i });
        let blank = if i % 13 == 12 { "  " } else { " " };
        script += &format!("PUB{blank}{subject} {reply}{}\r\n{body}\r\n", body.len());
        want.push(format!(
            "MSG {subject} 7 {reply}{}\r\n{body}\r\n",
            body.len()
        ));
    }
    bench.say(publisher, &script);
    assert_eq!(bench.read(subs[0]), want[..3].concat());
    for sub in &subs[1..] {
        assert_eq!(bench.read(*sub), want.concat());
    }
    let client = &bench.brokers[0].delivery.clients[publisher.1];
    assert_eq!(client.received.msgs, 50);
    let client = &bench.brokers[0].delivery.clients[subs[2].1];
    assert_eq!(
        client.sent,
        bench.brokers[0].delivery.clients[publisher.1].received
    );
}

#[test]
fn what_a_client_published_before_it_was_closed_counts() {
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.connect(0);
    bench.say(
        peer,
        "SUB a 1\r\nPUB a 3\r\nabc\r\nPUB a 2\r\nde\r\nBAD\r\n",
    );
    assert_eq!(bench.closed(peer), Some(CloseReason::ProtocolViolation));
    let both = Traffic { msgs: 2, bytes: 5 };
    assert_eq!(bench.brokers[0].traffic(), (both, both));
    bench.brokers[0].reap();
    assert_eq!(bench.brokers[0].delivery.clients.len(), 0);
    assert_eq!(bench.brokers[0].traffic(), (both, both));
}

impl Bench {
    /// Changes options as a reload does.
    pub(super) fn renew(&mut self, change: impl Fn(&mut Options)) {
        for broker in &mut self.brokers {
            let old = &broker.facts;
            let mut options = old.options.clone();
            change(&mut options);
            let accounts = Accounts::new(&options, Some(&old.accounts), 0).unwrap();
            let facts = Facts {
                event_seq: Arc::default(),
                cluster: Arc::default(),
                directory: Directory::new(&options, &accounts).unwrap(),
                nonce_key: old.nonce_key,
                accounts,
                options,
                id: old.id.clone(),
                name: old.name.clone(),
                host: old.host.clone(),
                port: old.port,
                loop_bytes_max: old.loop_bytes_max,
            };
            broker.renew(Arc::new(facts), self.now);
            assert!(!broker.inform());
        }
    }

    /// A client that takes INFO at any time, and got the one that answers CONNECT.
    fn attentive(&mut self) -> Peer {
        let peer = self.open(0);
        self.say(
            peer,
            "CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n",
        );
        assert!(self.read(peer).contains("\"connect_info\":true"));
        peer
    }
}

#[test]
fn clients_are_told_what_changed_if_they_want_to_know() {
    let mut bench = Bench::new(1, |_| {});
    let (attentive, plain) = (bench.attentive(), bench.connect(0));
    bench.renew(|o| o.ping_max = 7);
    assert_eq!(bench.read(attentive), "");
    bench.renew(|o| o.max_payload = 5);
    let info = bench.read(attentive);
    assert!(
        info.contains("\"max_payload\":5,") && !info.contains("connect_info"),
        "{info}"
    );
    assert_eq!(bench.read(plain), "");
    bench.say(plain, "PUB a 6\r\n");
    assert_eq!(bench.read(plain), "-ERR 'Maximum Payload Violation'\r\n");
}

#[test]
fn a_shorter_ping_interval_counts_at_once() {
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.connect(0);
    let slot = peer.1;
    bench.now = bench.now + FIRST_PING * 2;
    bench.brokers[0].handle_timer(slot, bench.now);
    assert_eq!(bench.read(peer), "PING\r\n");
    bench.say(peer, "PONG\r\n");
    let second = Duration::from_secs(1);
    bench.renew(|o| o.ping_interval = second);
    let mut changed = Vec::new();
    bench.brokers[0].take_stalled(&mut changed);
    assert_eq!(changed, [slot]);
    assert_eq!(bench.brokers[0].deadline(slot), Some(bench.now + second));
}

#[test]
fn too_many_clients_are_told_why_they_go() {
    let mut bench = Bench::new(1, |_| {});
    let peers = [0; 5].map(|owner| bench.connect(owner));
    bench.brokers[0].shed(3);
    let mut closing = Vec::new();
    bench.brokers[0].take_closing(&mut closing);
    assert_eq!(closing.len(), 3);
    for peer in peers {
        let gone = closing.contains(&(peer.1, CloseReason::MaxConnectionsExceeded));
        let told = bench.read(peer) == "-ERR 'maximum connections exceeded'\r\n";
        assert_eq!(gone, told);
    }
    bench.brokers[0].shed(9);
    assert_eq!(bench.brokers[0].client_count(), 0);
}

#[test]
fn a_lame_duck_tells_everybody_once_and_sends_all_away() {
    let mut bench = Bench::new(1, |_| {});
    let (early, late) = (bench.attentive(), bench.open(0));
    bench.brokers[0].enter_lame_duck();
    bench.brokers[0].enter_lame_duck();
    assert!(!bench.brokers[0].inform());
    bench.renew(|o| o.max_payload = 5);
    let info = bench.read(early);
    assert_eq!(
        (
            info.matches("INFO").count(),
            info.matches("\"ldm\":true").count()
        ),
        (1, 1)
    );
    bench.say(
        late,
        "CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n",
    );
    assert!(
        bench
            .read(late)
            .contains("\"ldm\":true,\"connect_info\":true")
    );
    assert!(bench.brokers[0].send_away_one() && bench.brokers[0].send_away_one());
    assert!(!bench.brokers[0].send_away_one());
    assert_eq!(bench.closed(early), Some(CloseReason::ServerShutdown));
}

#[test]
fn without_headers_clients_may_not_send_any() {
    let mut bench = Bench::new(1, |o| o.no_header_support = true);
    let peer = bench.open(0);
    bench.say(peer, "CONNECT {\"verbose\":false,\"headers\":true}\r\n");
    bench.say(peer, "HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    assert_eq!(bench.closed(peer), Some(CloseReason::ProtocolViolation));
}

#[test]
fn a_write_deadline_can_be_one_for_all_that_was_pending() {
    for (policy, closes) in [(WriteTimeout::Retry, false), (WriteTimeout::Close, true)] {
        let mut bench = Bench::new(1, |o| o.write_timeout = policy);
        let (sub, publisher) = (bench.connect(0), bench.connect(0));
        bench.say(sub, "SUB a 1\r\n");
        bench.stick(sub);
        bench.say(publisher, "PUB a 5\r\nhello\r\n");
        let deadline = bench.brokers[0].facts.options.write_deadline;
        // Half a deadline later a little is written.
        bench.now = bench.now + deadline / 2;
        bench.wire.trickle = 1;
        let turn = &mut Turn {
            wire: &mut bench.wire,
            now: bench.now,
        };
        bench.brokers[0].handle_writable(sub.1, turn);
        bench.now = bench.now + deadline / 2;
        bench.brokers[0].handle_timer(sub.1, bench.now);
        let reason = bench.closed(sub);
        let late = Some(CloseReason::SlowConsumerWriteDeadline);
        assert_eq!(reason == late, closes, "{policy:?}: {reason:?}");
    }
}

#[test]
fn with_nobody_held_back_who_is_behind_misses_messages() {
    let mut bench = Bench::new(1, |o| {
        o.max_pending = 1000;
        o.no_fast_producer_stall = true;
    });
    let (slow, publisher) = (bench.connect(0), bench.connect(0));
    bench.say(slow, "SUB a 1\r\n");
    bench.stick(slow);
    let message = format!("PUB a 100\r\n{}\r\n", "x".repeat(100));
    bench.say(publisher, &message.repeat(50));
    let mut held = Vec::new();
    bench.brokers[0].take_held_back(&mut held);
    assert_eq!(held, []);
    assert_eq!(bench.closed(slow), None);
    bench.wire.stuck.clear();
    let got = bench.read(slow).matches("MSG a 1 100\r\n").count();
    assert!((6..10).contains(&got), "{got}");
}

#[test]
fn many_clients_are_told_some_at_a_time() {
    let mut bench = Bench::new(1, |_| {});
    let peers = [0; 300].map(|_| bench.attentive());
    let broker = &mut bench.brokers[0];
    broker.enter_lame_duck();
    assert!(broker.inform() && !broker.inform());
    for peer in peers {
        assert!(bench.read(peer).contains("\"ldm\":true"));
    }
}
