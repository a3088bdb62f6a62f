//! Files of a stream: whatever they hold, the stream opens, keeps what it then has, and takes more.
//!
//! The first byte of an input tells which file the rest is; 0 to 3 are decoders on their own.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use nats_server::base::clock::Mono;
use nats_server::store::crypt::{Cipher, Keys};
use nats_server::store::disk::Disk;
use nats_server::store::file::format::{
    Container, ContainerKind, Footer, Record, SegmentHeader, decode_runs,
};
use nats_server::store::file::{Handles, LogOptions, ReadBuffer};
use nats_server::store::memory::MemoryDisk;
use nats_server::store::meta::Meta;
use nats_server::store::stream::{Limits, NewMessage, StoreOptions, StreamStore};
use nats_server::store::{StreamId, StreamSeq, Timestamp};

fuzz_target!(|data: &[u8]| {
    let Some((what, data)) = data.split_first() else {
        return;
    };
    match what % 8 {
        0 => record(data),
        1 => drop(Footer::decode(data, data.len() as u64)),
        2 => drop(Container::decode(data, ContainerKind::Checkpoint)),
        3 => drop(decode_runs(data, |first, last| assert!(first <= last))),
        4 => open("checkpoint.a", data),
        5 => meta(data),
        _ => open("0000000000000001.seg", data),
    }
});

/// A record behind the header of its segment.
fn record(data: &[u8]) {
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(header.encode(), data[..128]);
        if let Ok(record) = Record::decode(&data[128..], &header, header.seed()) {
            let mut again = vec![];
            record.encode(&header, header.seed(), &mut again);
            assert_eq!(Record::decode(&again, &header, header.seed()), Ok(record));
        }
    }
}

/// Metadata is read or is damaged, with keys or without, and what was read can be written.
fn meta(data: &[u8]) {
    let (disk, dir) = (MemoryDisk::new(), Path::new("/s"));
    let file = disk.create(&dir.join("meta.a"), data.len().max(1));
    let file = file.expect("memory is there");
    file.write_at(data, 0).expect("there is room");
    for keys in [Keys::none(), Keys::new(Cipher::Aes256Gcm, "a", Some("b"))] {
        if let Ok(mut found) = Meta::read(&disk, dir, &keys) {
            found.meta.write(&disk, dir).expect("there is room");
            let again = Meta::read(&disk, dir, &keys).expect("it was just written");
            assert_eq!(again.meta, found.meta);
        }
    }
}

fn open(name: &str, data: &[u8]) {
    let (disk, dir) = (Arc::new(MemoryDisk::new()), Path::new("/s"));
    let file = disk.create(&dir.join(name), data.len().max(256 << 10));
    let file = file.expect("memory is there");
    file.write_at(data, 0).expect("there is room");
    let mut log = LogOptions::new(Arc::new(Handles::new(8)));
    log.segment_bytes = 64 << 10;
    let limits = Limits::default();
    let options = StoreOptions { log, limits };
    let id = StreamId::new("A", "S", [1; 16]);
    let Ok((mut store, _)) = StreamStore::open(disk, dir, id, &options, None, &mut |_| {}) else {
        return;
    };
    let message = NewMessage {
        subject: b"a",
        headers: b"",
        payload: b"more",
        timestamp: Timestamp(0),
        ttl_s: 0,
    };
    if let Ok((sequence, _)) = store.append(&message) {
        store.commit().expect("there is room");
        let mut buffer = ReadBuffer::default();
        // Limits that the file has set may have removed it.
        if let Ok(read) = store.read(sequence, &mut buffer) {
            assert_eq!(read.record.payload, b"more");
        }
    }
    let state = store.state();
    let deletes = [state.first, state.first.next()];
    for sequence in deletes.into_iter().take_while(|s| *s < state.last) {
        let _ = store.erase(sequence);
    }
    let _ = store.commit();
    for _ in 0..20 {
        let Some(job) = store.poll_job(Mono::ZERO) else {
            break;
        };
        let _ = store.handle_done(job.run());
    }
    let state = store.state();
    let mut buffer = ReadBuffer::default();
    for sequence in state.first.0..=state.last.0.min(state.first.0.saturating_add(100)) {
        let _ = store.read(StreamSeq(sequence), &mut buffer);
    }
}
