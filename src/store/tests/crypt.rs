//! Streams that are encrypted: nothing of them shows, keys and ciphers may change, and a wrong key
//! changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faulty::{Fault, FaultyDisk};
use crate::store::crypt::{Cipher, KeyFault, Keys, StreamKey};
use crate::store::directory::StoreDir;
use crate::store::file::format::SegmentHeader;
use crate::store::file::{Handles, LogOptions, ReadBuffer};
use crate::store::meta::{Meta, MetaError};
use crate::store::stream::{Limits, NewMessage, StoreOptions, StreamStore};
use crate::store::{LogError, StreamId, StreamSeq, Timestamp};

/// What a stream is encrypted with when it is opened for the nth time: some never are, some begin
/// to be at some time, and ciphers change.
pub(super) fn key_at(seed: u64, opening: u64) -> Option<StreamKey> {
    let begins = [u64::MAX, 0, 1, 3][seed as usize % 4];
    let ciphers = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm];
    let cipher = ciphers[(seed / 4 + opening) as usize % 2];
    (opening >= begins).then(|| StreamKey::of_test(cipher))
}

struct Stream {
    disk: FaultyDisk,
    dir: PathBuf,
    id: StreamId,
    key: Option<StreamKey>,
}

impl Stream {
    fn new(key: Option<Cipher>) -> Stream {
        Stream {
            disk: FaultyDisk::new(1),
            dir: PathBuf::from("/streams/s"),
            id: StreamId::new("A", "S", [7; 16]),
            key: key.map(StreamKey::of_test),
        }
    }

    fn open(&self) -> Result<StreamStore, LogError> {
        let mut log = LogOptions::new(Arc::new(Handles::new(2)));
        log.segment_bytes = 2000;
        log.key = self.key.clone();
        let limits = Limits::default();
        let options = StoreOptions { log, limits };
        let disk = Arc::new(self.disk.clone());
        let opened = StreamStore::open(disk, &self.dir, self.id, &options, None, &mut |_| {});
        opened.map(|(store, _)| store)
    }

    /// Appends messages, with their sequences as text in them.
    fn add(&self, store: &mut StreamStore, messages: u64) {
        for _ in 0..messages {
            let next = store.state().last.0 + 1;
            let payload = format!("secret payload {next}");
            let message = NewMessage {
                subject: b"secret.subject",
                headers: b"secret header",
                payload: payload.as_bytes(),
                timestamp: Timestamp(next),
                ttl_s: 0,
            };
            store.append(&message).unwrap();
        }
        store.sync().unwrap();
    }

    fn check(&self, store: &mut StreamStore, messages: u64) {
        let mut buffer = ReadBuffer::default();
        assert_eq!(store.state().messages, messages);
        assert_eq!(store.state().lost, 0);
        for n in 1..=messages {
            let found = store.read(StreamSeq(n), &mut buffer).unwrap();
            assert_eq!(
                found.record.payload,
                format!("secret payload {n}").as_bytes()
            );
            assert_eq!(found.record.subject, b"secret.subject");
            assert_eq!(found.record.headers, b"secret header");
        }
    }

    fn segments(&self) -> Vec<SegmentHeader> {
        let paths = self.disk.paths().into_iter();
        let segments = paths.filter(|p| p.extension().is_some_and(|e| e == "seg"));
        segments
            .map(|p| SegmentHeader::decode(&self.disk.bytes(&p)).unwrap())
            .collect()
    }

    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = self.disk.paths().into_iter();
        paths.map(|p| (p.clone(), self.disk.bytes(&p))).collect()
    }
}

fn shows(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|w| w == text)
}

#[test]
fn nothing_of_an_encrypted_stream_shows() {
    for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
        let stream = Stream::new(Some(cipher));
        let mut store = stream.open().unwrap();
        stream.add(&mut store, 100);
        store.close().unwrap();
        drop(store);
        assert!(stream.segments().len() > 3);
        let files = stream.all();
        assert!(files.iter().any(|(path, _)| path.ends_with("checkpoint.b")));
        for (path, bytes) in files {
            assert!(!shows(&bytes, b"secret"), "{path:?}");
        }
        stream.check(&mut stream.open().unwrap(), 100);
    }
}

#[test]
fn a_wrong_key_changes_nothing() {
    for closed in [true, false] {
        let mut stream = Stream::new(Some(Cipher::Aes256Gcm));
        let mut store = stream.open().unwrap();
        stream.add(&mut store, 50);
        if closed {
            store.close().unwrap();
        }
        drop(store);
        let before = stream.all();
        let keys = Keys::new(Cipher::Aes256Gcm, "another", None);
        let other = keys.stream_key().unwrap();
        for (key, fault) in [(None, KeyFault::Missing), (other, KeyFault::Wrong)] {
            let right = std::mem::replace(&mut stream.key, key);
            match stream.open().unwrap_err() {
                LogError::Key(path, is) if is == fault => assert!(path.starts_with(&stream.dir)),
                error => panic!("{error}"),
            }
            assert_eq!(stream.all(), before);
            stream.key = right;
        }
        stream.check(&mut stream.open().unwrap(), 50);
    }
}

#[test]
fn a_stream_that_was_plain_goes_on_encrypted() {
    for first in [0, 1, 40] {
        let mut stream = Stream::new(None);
        let mut store = stream.open().unwrap();
        stream.add(&mut store, first);
        drop(store);
        stream.key = Some(StreamKey::of_test(Cipher::ChaCha20Poly1305));
        let before = stream.segments().len();
        // An opening that changes the key and does nothing else can be repeated.
        for _ in 0..3 {
            let mut store = stream.open().unwrap();
            stream.check(&mut store, first);
        }
        let mut store = stream.open().unwrap();
        stream.add(&mut store, 40);
        stream.check(&mut store, first + 40);
        store.close().unwrap();
        drop(store);
        // The empty segment that it began with has gone.
        let headers = stream.segments();
        assert!(headers.is_sorted_by_key(|h| h.is_encrypted()));
        let plain = headers.iter().filter(|h| !h.is_encrypted()).count();
        assert_eq!(plain, if first == 0 { 0 } else { before });
        assert!(plain < headers.len());
        stream.check(&mut stream.open().unwrap(), first + 40);
        // There is no way back.
        stream.key = None;
        assert!(matches!(
            stream.open(),
            Err(LogError::Key(_, KeyFault::Missing))
        ));
    }
}

#[test]
fn a_change_of_cipher_leaves_what_is_there() {
    let mut stream = Stream::new(Some(Cipher::ChaCha20Poly1305));
    let mut messages = 0;
    for cipher in [
        Cipher::ChaCha20Poly1305,
        Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305,
    ] {
        stream.key = Some(StreamKey::of_test(cipher));
        let mut store = stream.open().unwrap();
        stream.check(&mut store, messages);
        stream.add(&mut store, 30);
        messages += 30;
        assert_eq!(stream.segments().last().unwrap().cipher(), Some(cipher));
        store.close().unwrap();
    }
    let ciphers: Vec<_> = stream
        .segments()
        .iter()
        .map(|h| h.cipher().unwrap() as u8)
        .collect();
    let mut changes = ciphers.clone();
    changes.dedup();
    assert_eq!(changes, [1, 2, 1], "{ciphers:?}");
    stream.check(&mut stream.open().unwrap(), messages);
}

/// The salt follows from the key, so that both copies of a header may go.
#[test]
fn a_header_of_an_encrypted_segment_is_made_again() {
    let stream = Stream::new(Some(Cipher::Aes256Gcm));
    let mut store = stream.open().unwrap();
    stream.add(&mut store, 40);
    drop(store);
    for (path, _) in stream.all() {
        if path.extension().is_some_and(|e| e == "seg") {
            stream.disk.damage(&path, |bytes| bytes[..256].fill(0xee));
        }
    }
    stream.check(&mut stream.open().unwrap(), 40);
    // Those that have a footer are left with that.
    let (path, bytes) = stream.all().pop().unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    assert!(header.is_encrypted(), "{path:?}");
}

/// A record whose checksum is right, but that was sealed otherwise, is damaged and not shown.
#[test]
fn a_record_that_somebody_changed_is_damaged() {
    let stream = Stream::new(Some(Cipher::Aes256Gcm));
    let mut store = stream.open().unwrap();
    stream.add(&mut store, 3);
    drop(store);
    let path = stream.dir.join("0000000000000001.seg");
    stream.disk.damage(&path, |bytes| {
        let seed = SegmentHeader::decode(bytes).unwrap().seed();
        let len = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let at = 256 + len(256);
        let end = at + len(at);
        bytes[at + 60] ^= 1;
        let crc = crc32c::crc32c_append(seed, &bytes[at + 8..end]);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    });
    let mut store = stream.open().unwrap();
    let mut buffer = ReadBuffer::default();
    assert!(store.read(StreamSeq(2), &mut buffer).is_err());
    let state = store.state();
    assert_eq!((state.messages, state.lost), (2, 1));
    assert!(store.read(StreamSeq(3), &mut buffer).is_ok());
}

#[test]
fn metadata_is_encrypted_and_wrapped_anew_when_the_key_changes() {
    let disk = FaultyDisk::new(1);
    let store = StoreDir::open(Arc::new(disk.clone()), Path::new("/store")).unwrap();
    let first = Keys::new(Cipher::ChaCha20Poly1305, "first", None);
    let mut meta = Meta::new("A", "S", [1; 16], b"secret configuration".to_vec());
    let dir = store.create(&mut meta, &first).unwrap();
    let key = meta.key().unwrap();
    for copy in ["meta.a", "meta.b"] {
        assert!(!shows(&disk.bytes(&dir.join(copy)), b"secret"));
    }
    let files = |disk: &FaultyDisk| ["meta.a", "meta.b"].map(|copy| disk.bytes(&dir.join(copy)));
    let before = files(&disk);
    let wrong = Keys::new(Cipher::ChaCha20Poly1305, "second", Some("none"));
    for (keys, text) in [
        (&wrong, "it is encrypted with another key"),
        (&Keys::none(), "it is encrypted, and there is no key"),
    ] {
        let listing = store.streams(keys).unwrap();
        let error = listing
            .streams
            .into_iter()
            .next()
            .unwrap()
            .meta
            .unwrap_err();
        assert!(matches!(error, MetaError::Key(..)));
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(files(&disk), before, "nothing is touched");
    }
    let second = Keys::new(Cipher::ChaCha20Poly1305, "second", Some("first"));
    // Where it cannot be written, the old one stays of use.
    disk.plan(1, Fault::Full);
    assert!(matches!(store.streams(&second), Err(LogError::Full)));
    disk.free();
    let read = |keys| Meta::read(&disk, &dir, keys).map(|found| found.meta);
    assert_eq!(read(&first).unwrap().key(), Some(key.clone()));
    store.streams(&second).unwrap();
    assert!(matches!(
        read(&first),
        Err(MetaError::Key(_, KeyFault::Wrong))
    ));
    // From now on the previous key is not needed.
    let meta = read(&Keys::new(Cipher::ChaCha20Poly1305, "second", None)).unwrap();
    assert_eq!(
        (meta.key(), &meta.config[..]),
        (Some(key), &b"secret configuration"[..])
    );
}

#[test]
fn plain_metadata_gets_a_key_when_there_is_one() {
    let disk = FaultyDisk::new(1);
    let store = StoreDir::open(Arc::new(disk.clone()), Path::new("/store")).unwrap();
    let mut meta = Meta::new("A", "S", [1; 16], b"secret".to_vec());
    let dir = store.create(&mut meta, &Keys::none()).unwrap();
    assert_eq!(meta.key(), None);
    let keys = Keys::new(Cipher::Aes256Gcm, "k", None);
    assert_eq!(Meta::read(&disk, &dir, &keys).unwrap().meta.key(), None);
    let found = store
        .streams(&keys)
        .unwrap()
        .streams
        .remove(0)
        .meta
        .unwrap();
    assert!(found.meta.key().is_some());
    let read = Meta::read(&disk, &dir, &keys).unwrap().meta;
    assert_eq!(
        (read.key(), &*read.config),
        (found.meta.key(), &b"secret"[..])
    );
    assert!(!shows(&disk.bytes(&dir.join("meta.b")), b"secret"));
}
