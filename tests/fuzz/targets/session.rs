//! Two brokers and their clients, without sockets: whatever clients say, in whatever pieces, and
//! whenever their sockets are full, nothing panics and each client is sent well-formed protocol.
//!
//! An input is a list of steps: a byte that says what, a byte that says how much, and with some
//! of them the bytes that a client sends.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nats_server::accounts::interest::LoopId;
use nats_server::accounts::{Account, Accounts};
use nats_server::auth::Directory;
use nats_server::base::clock::Mono;
use nats_server::broker::batch::Batch;
use nats_server::broker::{Broker, Facts, Flushed, Progress, Turn, Wire};
use nats_server::conn::client::ClientId;
use nats_server::options::Options;
use nats_server::proto::client::Partial;
use nats_server::proto::error::CloseReason;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let mut rest = data;
    while let [what, amount, after @ ..] = rest {
        rest = world.step(*what, *amount, after);
    }
    world.end();
});

const BROKERS: usize = 2;
const CLIENTS: usize = 3;

/// What clients like to say; saves the fuzzer from finding it.
const PHRASES: [&str; 16] = [
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n",
    "CONNECT {\"verbose\":true,\"echo\":false,\"protocol\":1}\r\n",
    "CONNECT {\"verbose\":false,\"protocol\":1,\"name\":\"a\\\"b\"}\r\n",
    "PING\r\n",
    "PONG\r\n",
    "SUB a 1\r\n",
    "SUB * q 2\r\n",
    "SUB > 3\r\n",
    "SUB a.* q 4\r\n",
    "UNSUB 1\r\n",
    "UNSUB 3 2\r\n",
    "PUB a 5\r\nhello\r\n",
    "PUB a.b r 0\r\n\r\n",
    "PUB  a  2\nhi\r\n",
    "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    "SUB r 5\r\n",
];

/// What one broker's clients are connected by.
#[derive(Default)]
struct Net {
    /// By link; a link is never used again.
    sockets: Vec<Socket>,
    batches: Vec<(LoopId, Batch)>,
}

struct Socket {
    takes: Takes,
    sent: Sent,
}

/// How much a socket takes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Takes {
    All,
    /// So many bytes, and then no more.
    Only(usize),
    /// It is broken.
    Nothing,
    /// It is closed: nobody writes to it.
    Gone,
}

impl Wire for Net {
    fn write(&mut self, link: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Socket { takes, sent } = &mut self.sockets[link];
        let len: usize = slices.iter().map(|s| s.len()).sum();
        assert!(len > 0, "an empty write");
        let n = match takes {
            Takes::All => len,
            Takes::Only(0) => return Err(io::ErrorKind::WouldBlock.into()),
            Takes::Only(room) => {
                let n = len.min(*room);
                *room -= n;
                n
            }
            Takes::Nothing => return Err(io::ErrorKind::BrokenPipe.into()),
            Takes::Gone => panic!("a write to a closed socket"),
        };
        let bytes = slices.iter().flat_map(|s| s.iter().copied());
        sent.bytes.extend(bytes.take(n));
        Ok(n)
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        assert!(!batch.is_empty() && batch.weight() > 0);
        self.batches.push((to, std::mem::take(batch)));
    }
}

struct World {
    brokers: Vec<Broker>,
    nets: Vec<Net>,
    account: Arc<Account>,
    clients: Vec<Client>,
    now: Mono,
    opened: u64,
}

/// The peer of a broker's client.
struct Client {
    /// Slot and link, while it is connected.
    at: Option<(u32, usize)>,
    /// Bytes that the broker did not take yet.
    carried: Vec<u8>,
    partial: Partial,
}

impl World {
    fn new() -> World {
        let options = Options {
            max_payload: 8 << 10,
            max_control_line: 256,
            max_pending: 64 << 10,
            max_subscriptions: 20,
            max_sub_tokens: 6,
            ..Options::default()
        };
        let accounts = Accounts::new(&options, None, 7).expect("there are none to be wrong");
        let account = accounts.global().account.clone();
        let facts = Arc::new(Facts {
            options,
            id: "NX".into(),
            name: "n".into(),
            host: "h".into(),
            port: 1,
            directory: Directory::new(&Options::default(), &accounts).expect("nobody is named"),
            nonce_key: [7; 32],
            event_seq: Arc::default(),
            cluster: Arc::default(),
            accounts,
            loop_bytes_max: 128 << 10,
        });
        let broker = |i: usize| Broker::new(facts.clone(), owner(i), BROKERS, 9);
        let mut world = World {
            brokers: (0..BROKERS).map(broker).collect(),
            nets: (0..BROKERS).map(|_| Net::default()).collect(),
            account,
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            now: Mono::ZERO,
            opened: 0,
        };
        for i in 0..CLIENTS {
            world.open(i);
        }
        world
    }

    /// Takes a step; gives the bytes that it left.
    fn step<'a>(&mut self, what: u8, amount: u8, after: &'a [u8]) -> &'a [u8] {
        let i = usize::from(what) % CLIENTS;
        let carry = what & 8 != 0;
        let large = usize::from(amount) << 6;
        match what >> 4 {
            0..=2 => {
                let (said, rest) = after.split_at(after.len().min(amount.into()));
                self.say(i, said, carry);
                return rest;
            }
            3..=5 => {
                let phrase = PHRASES[usize::from(amount) % PHRASES.len()];
                self.say(i, phrase.as_bytes(), carry);
            }
            6 => {
                let line = format!("PUB a {large}\r\n{}\r\n", "x".repeat(large));
                let (said, rest) = line.split_at(line.len() - line.len() / 3);
                self.say(i, said.as_bytes(), carry);
                self.say(i, rest.as_bytes(), carry);
            }
            7 => self.now = self.now + Duration::from_millis(u64::from(amount) << 6),
            8 => self.timer(i),
            9 => self.writable(i, Takes::All),
            10 => self.socket_takes(i, Takes::Only(large)),
            11 if amount & 1 == 0 => self.hang_up(i),
            11 => self.socket_takes(i, Takes::Nothing),
            12 => self.open(i),
            13 => self.writable(i, Takes::Only(large)),
            14 => self.batches(),
            _ => self.finish(),
        }
        after
    }

    /// Opens a connection where there is none.
    fn open(&mut self, i: usize) {
        if self.clients[i].at.is_some() {
            return;
        }
        self.opened += 1;
        let addr = "127.0.0.1:9".parse().expect("an address");
        let sockets = &mut self.nets[i % BROKERS].sockets;
        let (link, id) = (sockets.len(), ClientId(self.opened));
        sockets.push(Socket {
            takes: Takes::All,
            sent: Sent::default(),
        });
        let slot = self.brokers[i % BROKERS].open(link, id, addr, self.now);
        self.clients[i] = Client {
            at: Some((slot, link)),
            ..Client::new()
        };
    }

    /// Hands bytes in as a loop does. What is left is either kept, or carried to the next time.
    fn say(&mut self, i: usize, said: &[u8], carry: bool) {
        let Some((slot, _)) = self.clients[i].at else {
            return;
        };
        let client = &mut self.clients[i];
        let broker = &mut self.brokers[i % BROKERS];
        client.carried.extend_from_slice(said);
        let mut source = Bytes::from(std::mem::take(&mut client.carried));
        let data = source.clone();
        let turn = &mut Turn {
            wire: &mut self.nets[i % BROKERS],
            now: self.now,
        };
        match broker.handle_bytes(slot, &data, &mut source, turn) {
            Progress::Wait { consumed, partial } if carry => {
                client.carried = data[consumed..].to_vec();
                client.partial = partial;
            }
            Progress::Wait { consumed, partial } => {
                broker.keep(slot, &data[consumed..], partial);
            }
            Progress::Pause { .. } => panic!("nobody here has a password to be compared"),
            Progress::Closed => {}
        }
    }

    fn timer(&mut self, i: usize) {
        let broker = &mut self.brokers[i % BROKERS];
        if let Some((slot, _)) = self.clients[i].at
            && broker.deadline(slot).is_some_and(|at| at <= self.now)
        {
            broker.handle_timer(slot, self.now);
            let next = broker.deadline(slot);
            assert!(
                next.is_none_or(|at| at > self.now),
                "a deadline that stays due"
            );
        }
    }

    fn hang_up(&mut self, i: usize) {
        if let Some((slot, _)) = self.clients[i].at {
            self.brokers[i % BROKERS].handle_end(slot, CloseReason::ClientClosed);
        }
    }

    fn socket_takes(&mut self, i: usize, takes: Takes) {
        if let Some((_, link)) = self.clients[i].at {
            self.nets[i % BROKERS].sockets[link].takes = takes;
        }
    }

    fn writable(&mut self, i: usize, takes: Takes) {
        self.socket_takes(i, takes);
        let turn = &mut Turn {
            wire: &mut self.nets[i % BROKERS],
            now: self.now,
        };
        if let Some((slot, _)) = self.clients[i].at {
            self.brokers[i % BROKERS].handle_writable(slot, turn);
        }
    }

    /// Hands the batches over that were passed on.
    fn batches(&mut self) {
        for from in 0..BROKERS {
            for (to, mut batch) in std::mem::take(&mut self.nets[from].batches) {
                let to = usize::from(to.0);
                assert_ne!(from, to);
                let turn = &mut Turn {
                    wire: &mut self.nets[to],
                    now: self.now,
                };
                self.brokers[to].handle_batch(owner(from), &mut batch, turn);
                assert!(batch.is_empty());
            }
        }
    }

    /// The ends of turns of both loops.
    fn finish(&mut self) {
        for b in 0..BROKERS {
            self.finish_one(b);
        }
        self.batches();
        for b in 0..BROKERS {
            self.finish_one(b);
        }
    }

    fn finish_one(&mut self, b: usize) {
        let turn = &mut Turn {
            wire: &mut self.nets[b],
            now: self.now,
        };
        let broker = &mut self.brokers[b];
        broker.finish(turn);
        broker.take_held_back(&mut Vec::new());
        broker.take_crossing(&mut Vec::new());
        broker.take_stalled(&mut Vec::new());
        broker.relieve(0);
        self.close_closing(b);
        for i in (b..CLIENTS).step_by(BROKERS) {
            self.nothing_is_left(i);
        }
        let mut turns = 0;
        while self.brokers[b].reap() {
            turns += 1;
            assert!(turns < 100);
        }
    }

    /// A socket that takes all has got all.
    fn nothing_is_left(&mut self, i: usize) {
        let Some((slot, link)) = self.clients[i].at else {
            return;
        };
        let net = &mut self.nets[i % BROKERS];
        if net.sockets[link].takes != Takes::All {
            return;
        }
        let before = net.sockets[link].sent.bytes.len();
        let turn = &mut Turn {
            wire: &mut *net,
            now: self.now,
        };
        let flushed = self.brokers[i % BROKERS].flush(slot, turn);
        assert_eq!(flushed, Flushed::Done);
        let sent = &mut net.sockets[link].sent;
        assert_eq!(sent.bytes.len(), before, "not flushed at the turn's end");
        sent.check(true);
    }

    fn close_closing(&mut self, b: usize) {
        let mut closing = Vec::new();
        self.brokers[b].take_closing(&mut closing);
        for (slot, reason) in closing {
            let client = self.clients.iter_mut().enumerate().find(|(i, client)| {
                i % BROKERS == b && client.at.is_some_and(|(other, _)| other == slot)
            });
            let (_, client) = client.expect("who is closed was open");
            let (_, link) = client.at.take().expect("it was found by its slot");
            let turn = &mut Turn {
                wire: &mut self.nets[b],
                now: self.now,
            };
            let all = reason.flushes() && self.brokers[b].flush(slot, turn) == Flushed::Done;
            self.nets[b].sockets[link].sent.check(all);
            self.nets[b].sockets[link].takes = Takes::Gone;
            self.brokers[b].forget_output(slot);
        }
    }

    /// Everybody leaves, and nothing stays behind.
    fn end(mut self) {
        self.finish();
        for broker in &mut self.brokers {
            broker.shut_down();
        }
        self.finish();
        assert!(self.clients.iter().all(|c| c.at.is_none()));
        assert_eq!(self.account.interest.len(), 0);
        for broker in &mut self.brokers {
            // What was used since the last time is kept once.
            broker.trim();
            broker.trim();
            assert!(!broker.holds_spare_memory());
        }
    }
}

impl Client {
    fn new() -> Client {
        Client {
            at: None,
            carried: Vec::new(),
            partial: Partial::Line,
        }
    }
}

fn owner(i: usize) -> LoopId {
    LoopId(u16::try_from(i).expect("there are two"))
}

/// What a client was sent.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    /// Bytes that were looked at.
    checked: usize,
}

impl Sent {
    /// Checks that all is lines as the protocol has them, the last of which may be cut short
    /// unless everything was written.
    fn check(&mut self, complete: bool) {
        while self.checked < self.bytes.len() {
            let rest = &self.bytes[self.checked..];
            match line_len(rest, self.checked == 0) {
                Some(len) => self.checked += len,
                None => {
                    assert!(!complete, "cut short: {:?}", String::from_utf8_lossy(rest));
                    return;
                }
            }
        }
    }
}

/// Bytes of the operation at the front; None if more of it is to come.
fn line_len(data: &[u8], first: bool) -> Option<usize> {
    let end = data.windows(2).position(|w| w == b"\r\n")?;
    let line = &data[..end];
    let fail = || -> ! { panic!("not a line: {:?}", String::from_utf8_lossy(line)) };
    assert!(!line.contains(&b'\n'));
    assert!(!first || line.starts_with(b"INFO {"));
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let number = |word: &[u8]| -> usize {
        let text = std::str::from_utf8(word).unwrap_or("?");
        text.parse().unwrap_or_else(|_| fail())
    };
    let size = match words[..] {
        [b"INFO", ..] => {
            serde_json::from_slice::<serde_json::Value>(&line[5..]).unwrap_or_else(|_| fail());
            return Some(end + 2);
        }
        [b"-ERR", text, ..] if text.starts_with(b"'") && line.ends_with(b"'") => {
            return Some(end + 2);
        }
        [b"+OK"] | [b"PING"] | [b"PONG"] => return Some(end + 2),
        [b"MSG", _, _, size] | [b"MSG", _, _, _, size] => number(size),
        [b"HMSG", _, _, header, size] | [b"HMSG", _, _, _, header, size] => {
            assert!(number(header) <= number(size));
            number(size)
        }
        _ => fail(),
    };
    assert!(words.iter().all(|w| !w.is_empty()), "two blanks");
    assert!(size <= 16 << 10);
    let payload = &data[end + 2..];
    let after = payload.get(size..size + 2)?;
    assert_eq!(after, b"\r\n");
    Some(end + 2 + size + 2)
}
