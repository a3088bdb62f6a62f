//! What stands behind right checksums: records of all kinds, sections of a checkpoint, the state of a member
//! of a group, files of the commit journal. Whatever they say, a stream opens, does what it is told, and is the
//! same when it is opened again.
//!
//! The first byte of an input tells which of these.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use nats_server::base::clock::Mono;
use nats_server::store::consumer::{AckPolicy, Event, Millis};
use nats_server::store::disk::Disk;
use nats_server::store::file::format::{Container, ContainerKind, Kind, Records};
use nats_server::store::file::{Draft, Handles, Known, Log, LogOptions};
use nats_server::store::hard_state::HardState;
use nats_server::store::journal::{Journal, JournalOptions};
use nats_server::store::memory::MemoryDisk;
use nats_server::store::stream::{Limits, NewMessage, StoreOptions, StreamStore};
use nats_server::store::{LogIndex, StreamId, StreamSeq, Term, Timestamp};

const DIR: &str = "/s";

fuzz_target!(|data: &[u8]| {
    let Some((what, data)) = data.split_first() else {
        return;
    };
    match what % 6 {
        kind @ 0..=2 => {
            let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
            let records = [Records::Compact, Records::Wide][usize::from(kind % 2)];
            write_records(&disk, records, data);
            open(&disk);
        }
        3 => checkpoint(data),
        4 => hard_state(data),
        _ => journal(data),
    }
});

fn id() -> StreamId {
    StreamId::new("A", "S", [1; 16])
}

fn options() -> LogOptions {
    let mut log = LogOptions::new(Arc::new(Handles::new(8)));
    log.segment_bytes = 16 << 10;
    log
}

/// A record for each part of the data: a byte for its kind, one for the length of what it says.
fn write_records(disk: &Arc<dyn Disk>, records: Records, mut data: &[u8]) {
    const KINDS: [Kind; 8] = [
        Kind::Message,
        Kind::Delete,
        Kind::Purge,
        Kind::Config,
        Kind::Skip,
        Kind::Consumer,
        Kind::Noop,
        Kind::Membership,
    ];
    let known = Known::default();
    let opened = Log::open(
        disk.clone(),
        Path::new(DIR),
        id(),
        LogOptions {
            records,
            ..options()
        },
        known,
        &mut |_| {},
    );
    let (mut log, _) = opened.expect("memory is there");
    while let [kind, len, rest @ ..] = data {
        let (payload, behind) = rest.split_at(usize::from(*len).min(rest.len()));
        data = behind;
        let kind = KINDS[usize::from(*kind % 8)];
        let last = log.last_sequence();
        let (sequence, subject): (_, &[u8]) = match kind {
            Kind::Message => (
                last.next(),
                [&b"a"[..], b"b", b"a.b"][usize::from(*len % 3)],
            ),
            Kind::Skip => (StreamSeq(last.0 + 1 + u64::from(*len)), b""),
            _ => (last, b""),
        };
        let draft = Draft {
            kind,
            term: Term(0),
            sequence,
            timestamp: Timestamp(1),
            previous: StreamSeq(0),
            ttl_s: u32::from(*len % 2),
            subject,
            headers: b"",
            payload,
        };
        log.append(&draft).expect("there is room");
    }
    log.commit().expect("there is room");
}

fn checkpoint(mut data: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    write_records(&disk, Records::default(), &[0; 20]);
    let container = Container {
        kind: ContainerKind::Checkpoint,
        stream: id(),
        generation: 1,
    };
    let mut bytes = vec![];
    let mut sections = container.start(&mut bytes);
    while let [tag, low, high, rest @ ..] = data {
        let len = usize::from(*low) + (usize::from(*high) << 8);
        let (content, behind) = rest.split_at(len.min(rest.len()));
        data = behind;
        sections.add(u32::from(*tag % 12), |out| out.extend_from_slice(content));
    }
    sections.finish();
    put(&*disk, "checkpoint.a", &bytes);
    open(&disk);
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file = disk.create(&Path::new(DIR).join(name), bytes.len().max(1));
    let file = file.expect("memory is there");
    file.write_at(bytes, 0).expect("there is room");
}

/// Opens a stream, does all kinds of things with it, and opens it again: it is the same then.
fn open(disk: &Arc<dyn Disk>) {
    let options = StoreOptions {
        log: options(),
        limits: Limits::default(),
    };
    let opened = || {
        let opened = StreamStore::open(
            disk.clone(),
            Path::new(DIR),
            id(),
            &options,
            None,
            &mut |_| {},
        );
        opened.map(|(store, _)| store)
    };
    let Ok(mut store) = opened() else {
        return;
    };
    let consumers: Vec<_> = store.consumers().map(|(id, _)| id).collect();
    for id in consumers.into_iter().take(10) {
        let stream = store
            .consumer_state(id)
            .map(|state| state.delivered().stream.next());
        let (at, deadline) = (Millis::new(1), Millis::new(2));
        let Some(stream) = stream else { continue };
        let event = Event::Delivered {
            stream,
            at,
            deadline,
        };
        let _ = store.record(id, event);
        let _ = store.record(id, Event::Acked { stream });
        let _ = store.update_consumer(id, b"new");
    }
    let _ = store.create_consumer("one more", b"", AckPolicy::All, StreamSeq(1));
    let message = NewMessage {
        subject: b"a",
        headers: b"",
        payload: b"more",
        timestamp: Timestamp(2),
        ttl_s: 0,
    };
    let _ = store.append(&message);
    let _ = store.expire(Timestamp(u64::MAX / 2));
    while store.work(1 << 20) {}
    let _ = store.append_events();
    let _ = store.commit();
    for _ in 0..20 {
        let Some(job) = store.poll_job(Mono::ZERO) else {
            break;
        };
        let _ = store.handle_done(job.run());
    }
    if store.close().is_err() {
        return;
    }
    let seen = |store: &StreamStore| {
        let consumers = store.consumers().map(|(id, consumer)| {
            let mut state = vec![];
            consumer.state().encode(&mut state);
            (
                id,
                consumer.name().to_owned(),
                consumer.config().to_vec(),
                state,
            )
        });
        let state = store.state();
        let counts = (
            state.messages,
            state.first,
            state.last,
            state.deleted,
            state.lost,
        );
        (counts, consumers.collect::<Vec<_>>())
    };
    let before = seen(&store);
    drop(store);
    let again = opened().expect("it was closed");
    assert_eq!(seen(&again), before);
}

fn hard_state(data: &[u8]) {
    let disk = MemoryDisk::new();
    let container = Container {
        kind: ContainerKind::Meta,
        stream: id(),
        generation: 1,
    };
    let mut bytes = vec![];
    let mut sections = container.start(&mut bytes);
    sections.add(3, |out| out.extend_from_slice(data));
    sections.finish();
    put(&disk, "raft.a", &bytes);
    if let Ok(Some(mut state)) = HardState::read(&disk, Path::new(DIR), id()) {
        state.write(&disk, Path::new(DIR)).expect("there is room");
        let again = HardState::read(&disk, Path::new(DIR), id());
        assert_eq!(again.expect("it was written"), Some(state));
    }
}

/// Two files of the journal, which are replayed to a segment.
fn journal(data: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    write_records(&disk, Records::default(), &[0; 20]);
    let half = data.len() / 2;
    put(&*disk, "journal.a", &data[..half]);
    put(&*disk, "journal.b", &data[half..]);
    let locate = &mut |_: &StreamId| Some(Path::new(DIR).to_owned());
    let options = JournalOptions::default();
    let _ = Journal::open(disk.clone(), Path::new(DIR), [7; 16], options, locate);
    let known = Known {
        durable: LogIndex(10),
        ..Known::default()
    };
    let opened = Log::open(
        disk,
        Path::new(DIR),
        id(),
        self::options(),
        known,
        &mut |_| {},
    );
    let (log, report) = opened.expect("memory is there");
    assert_eq!(log.last_index(), LogIndex(10));
    assert!(
        report.is_sound(),
        "nothing that a journal says makes a record bad"
    );
}
