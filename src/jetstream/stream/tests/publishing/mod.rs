//! Streams, as publishers see them: on disks that can fail, with a clock that tests set.

mod batches;
mod counters;
mod fast;
mod markers;
mod schedules;

use super::super::{Bounds, Gauge, Incoming, Meter, OpenBatches, Parts, Stream, limits};
use crate::accounts::Account;
use crate::base::clock::Mono;
use crate::jetstream::api::StreamConfig;
use crate::jetstream::out::{Out, Outgoing};
use crate::json::Time;
use crate::options::jetstream::BatchLimits;
use crate::store::disk::Disk;
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::stream::{StoreOptions, StreamStore};
use crate::store::tests::faulty::FaultyDisk;
use crate::store::types::{StreamId, StreamSeq, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const SECOND: u64 = 1_000_000_000;

/// When everything begins.
pub(super) const START: u64 = 1_700_000_000 * SECOND;

/// Where messages go to, as subject and payload.
#[derive(Default)]
struct Sent(Vec<(String, String)>);

impl Out for Sent {
    fn send(&mut self, _: &Arc<Account>, message: &Outgoing<'_>) -> usize {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(message.to), text(message.payload)));
        1
    }

    fn is_heard(&mut self, _: &Arc<Account>, _: &[u8]) -> bool {
        true
    }
}

/// A stream on a disk, and what it has sent.
pub(super) struct World {
    disk: Arc<FaultyDisk>,
    config: StreamConfig,
    pub(super) stream: Stream,
    out: Sent,
    pub(super) now: u64,
    pub(super) bounds: Bounds,
    pub(super) all: Arc<OpenBatches>,
}

pub(super) fn bounds() -> Bounds {
    Bounds {
        waiting_messages: 1000,
        waiting_bytes: 1 << 20,
        batches: BatchLimits::default(),
    }
}

impl World {
    pub(super) fn new(config: StreamConfig) -> World {
        World::with(config, bounds())
    }

    pub(super) fn with(config: StreamConfig, bounds: Bounds) -> World {
        let disk = Arc::new(FaultyDisk::new(7));
        let all = Arc::new(OpenBatches::default());
        let stream = open(&disk, &config, bounds, &all, START);
        World {
            disk,
            config,
            stream,
            out: Sent::default(),
            now: START,
            bounds,
            all,
        }
    }

    /// Publishes a message, and gives what is answered.
    pub(super) fn publish(
        &mut self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &str,
    ) -> String {
        self.send(subject, "reply", headers, payload);
        self.replies().join(" ")
    }

    pub(super) fn send(
        &mut self,
        subject: &str,
        reply: &str,
        headers: &[(&str, &str)],
        payload: &str,
    ) {
        self.send_only(subject, reply, headers, payload);
        self.turn();
    }

    /// Sends a message, and leaves what comes of it to a later turn.
    fn send_only(&mut self, subject: &str, reply: &str, headers: &[(&str, &str)], payload: &str) {
        let mut block = String::new();
        for (at, (name, value)) in headers.iter().enumerate() {
            block += if at == 0 { "NATS/1.0\r\n" } else { "" };
            block += &format!("{name}: {value}\r\n");
        }
        block += if block.is_empty() { "" } else { "\r\n" };
        let message = Incoming {
            subject: subject.as_bytes(),
            reply: (!reply.is_empty()).then_some(reply.as_bytes()),
            headers: block.as_bytes(),
            payload: payload.as_bytes(),
        };
        self.stream
            .publish(&message, Timestamp(self.now), &mut self.out);
    }

    /// Writes and syncs all.
    pub(super) fn turn(&mut self) {
        self.stream.commit(Timestamp(self.now), &mut self.out);
        while self.stream.has_work() && self.stream.work() {}
        self.stream.commit(Timestamp(self.now), &mut self.out);
        while let Some(job) = self.stream.poll_job(Mono::ZERO) {
            self.stream.handle_done(job.run());
        }
        self.stream.settle(None, &mut self.out);
    }

    /// Lets time pass, in seconds, and does what is due by quarters of them.
    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            self.now += SECOND / 4;
            let due = self.stream.expires_at();
            if due.is_some_and(|at| at.0 <= self.now) {
                self.stream.expire(Timestamp(self.now));
                self.turn();
            }
        }
    }

    pub(super) fn replies(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.out.0);
        sent.into_iter().map(|(_, payload)| payload).collect()
    }

    /// What is in the stream: for each message its sequence, subject, headers and payload.
    pub(super) fn messages(&mut self) -> Vec<String> {
        let mut buffer = ReadBuffer::default();
        let state = self.stream.state();
        let mut all = Vec::new();
        for sequence in state.first.0..=state.last.0 {
            if let Ok(stored) = self.stream.store.read(StreamSeq(sequence), &mut buffer) {
                let record = &stored.record;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers = text(record.headers).replace("NATS/1.0\r\n", "");
                let headers = headers.trim_end().replace("\r\n", ", ");
                let parts = [text(record.subject), headers, text(record.payload)];
                let parts: Vec<_> = parts.into_iter().filter(|p| !p.is_empty()).collect();
                all.push(format!("{sequence} {}", parts.join(" | ")));
            }
        }
        all
    }

    /// Opens the stream again as it is on the disk, after an orderly end or a power cut.
    pub(super) fn restart(&mut self, orderly: bool) {
        if orderly {
            self.stream.close().unwrap();
        }
        let nowhere = Arc::new(FaultyDisk::new(8));
        self.stream = open(&nowhere, &self.config, self.bounds, &self.all, self.now);
        match orderly {
            true => self.disk.kill(),
            false => self.disk.restart(),
        }
        self.stream = open(&self.disk, &self.config, self.bounds, &self.all, self.now);
    }
}

fn open(
    disk: &Arc<FaultyDisk>,
    config: &StreamConfig,
    bounds: Bounds,
    batches: &Arc<OpenBatches>,
    now: u64,
) -> Stream {
    let options = StoreOptions {
        log: LogOptions::new(Arc::new(Handles::new(4))),
        limits: limits(config),
    };
    let id = StreamId::new("A", &config.name, [7; 16]);
    let disk: Arc<dyn Disk> = disk.clone();
    let dir = PathBuf::from("/s");
    let opened = StreamStore::open(disk, &dir, id, &options, None, &mut |_| {});
    Stream::new(Parts {
        account: Arc::new(Account::new(1, "A", 3)),
        config: config.clone(),
        created: Time::from_unix(5, 0),
        store: opened.unwrap().0,
        bounds,
        batches: batches.clone(),
        waiters: Arc::default(),
        meter: Meter::new(Arc::new(Gauge::new(None)), Arc::new(Gauge::new(None))),
        domain: None,
        long_acks: false,
        seed: 9,
        now: Timestamp(now),
    })
}

#[test]
fn who_publishes_faster_than_is_stored_is_told() {
    let refused = r#"{"error":{"code":429,"err_code":10167,"description":"too many requests"},"stream":"S","seq":0}"#;
    let few = Bounds {
        waiting_messages: 2,
        ..bounds()
    };
    let small = Bounds {
        waiting_bytes: 2000,
        ..bounds()
    };
    for bounds in [few, small] {
        let mut world = World::with(config("a"), bounds);
        for _ in 0..3 {
            world.send_only("a", "reply", &[], &"x".repeat(1000));
        }
        assert_eq!(world.replies(), [refused]);
        world.turn();
        let stored = [r#"{"stream":"S","seq":1}"#, r#"{"stream":"S","seq":2}"#];
        assert_eq!(world.replies(), stored);
        // There is room again.
        assert_eq!(world.publish("a", &[], "x"), r#"{"stream":"S","seq":3}"#);
    }
}

pub(super) fn config(subject: &str) -> StreamConfig {
    StreamConfig {
        name: "S".into(),
        subjects: vec![subject.into()],
        max_consumers: -1,
        max_msgs: -1,
        max_bytes: -1,
        max_msgs_per_subject: -1,
        max_msg_size: -1,
        duplicate_window: crate::json::Nanos::from_secs(120),
        ..StreamConfig::default()
    }
}
