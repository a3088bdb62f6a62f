//! Brokers with clients and without sockets, for benchmarks.

use bytes::Bytes;
use nats_server::accounts::Accounts;
use nats_server::accounts::interest::LoopId;
use nats_server::auth::Directory;
use nats_server::base::clock::Mono;
use nats_server::broker::batch::Batch;
use nats_server::broker::{Broker, Facts, Progress, Turn, Wire};
use nats_server::conn::client::ClientId;
use nats_server::options::Options;
use std::io::{self, IoSlice};
use std::sync::Arc;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";

/// Messages that are handed to a broker at a time, as much as a busy socket gives.
pub(crate) const MESSAGES: usize = 512;

/// The loops of a server, one of them with a client that publishes.
pub(crate) struct Loops {
    brokers: Vec<Broker>,
    publisher: u32,
    sink: Sink,
}

/// Sockets that take everything, and batches on their way.
#[derive(Default)]
struct Sink {
    written: usize,
    batches: Vec<(LoopId, Batch)>,
    empty: Batch,
}

impl Wire for Sink {
    fn write(&mut self, _link: usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = slices.iter().map(|s| s.len()).sum();
        self.written += len;
        Ok(len)
    }

    fn pass(&mut self, to: LoopId, batch: &mut Batch) {
        let empty = std::mem::take(&mut self.empty);
        self.batches.push((to, std::mem::replace(batch, empty)));
    }
}

impl Loops {
    /// So many loops, with a publisher in the first and subscribers in the last. The subscribers
    /// say `subscribe`.
    pub(crate) fn new(loops: usize, subscribers: usize, subscribe: &str) -> Loops {
        let accounts = Accounts::new(&Options::default(), None, 0x5eed).expect("nothing is wrong");
        let facts = Arc::new(Facts {
            options: Options::default(),
            id: "NX".into(),
            name: "bench".into(),
            host: "127.0.0.1".into(),
            port: 4222,
            directory: Directory::new(&Options::default(), &accounts).expect("nobody is named"),
            nonce_key: [7; 32],
            event_seq: Arc::default(),
            cluster: Arc::default(),
            accounts,
            loop_bytes_max: 1 << 30,
        });
        let broker = |i| Broker::new(facts.clone(), owner(i), loops, 0x5eed);
        let mut all = Loops {
            brokers: (0..loops).map(broker).collect(),
            publisher: 0,
            sink: Sink::default(),
        };
        all.publisher = all.connect(0, CONNECT);
        for _ in 0..subscribers {
            all.connect(loops - 1, &format!("{CONNECT}{subscribe}"));
        }
        all
    }

    /// Bytes that clients were sent.
    pub(crate) fn written(&self) -> usize {
        self.sink.written
    }

    /// The publisher says this, and all of it reaches the subscribers.
    pub(crate) fn publish(&mut self, said: &Bytes) {
        self.say(0, self.publisher, said);
        for (to, mut batch) in self.sink.batches.split_off(0) {
            let turn = &mut Turn {
                wire: &mut self.sink,
                now: Mono::ZERO,
            };
            let broker = &mut self.brokers[usize::from(to.0)];
            broker.handle_batch(owner(0), &mut batch, turn);
            broker.finish(turn);
            self.sink.empty = batch;
        }
    }

    fn connect(&mut self, owner: usize, says: &str) -> u32 {
        let addr = "127.0.0.1:9".parse().expect("an address");
        let slot = self.brokers[owner].open(0, ClientId(1), addr, Mono::ZERO);
        self.say(owner, slot, &Bytes::copy_from_slice(says.as_bytes()));
        slot
    }

    /// Hands complete commands to a broker, for a whole turn.
    fn say(&mut self, owner: usize, slot: u32, said: &Bytes) {
        let turn = &mut Turn {
            wire: &mut self.sink,
            now: Mono::ZERO,
        };
        let broker = &mut self.brokers[owner];
        let progress = broker.handle_bytes(slot, said, &mut said.clone(), turn);
        assert!(matches!(progress, Progress::Wait { consumed, .. } if consumed == said.len()));
        broker.finish(turn);
    }
}

/// `MESSAGES` times the publication of a payload of this size to `orders.new`.
pub(crate) fn publications(size: usize) -> Bytes {
    let payload = "x".repeat(size);
    format!("PUB orders.new {size}\r\n{payload}\r\n")
        .repeat(MESSAGES)
        .into()
}

fn owner(i: usize) -> LoopId {
    LoopId(u16::try_from(i).expect("there are few loops"))
}
