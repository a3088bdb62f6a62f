//! Stores that earlier builds have written, in `tests/formats/stores`: every build opens them, and finds what
//! was put there. A directory is written once and never again; a change of the format gets one of its own:
//! `STORE_WRITE_FORMATS=DIR cargo test --lib store::tests::formats`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::store::LogError;
use crate::store::consumer::{AckPolicy, Event, Millis};
use crate::store::crypt::{Cipher, Keys};
use crate::store::directory::StoreDir;
use crate::store::disk::{Disk, OsDisk};
use crate::store::file::format::{Records, SegmentHeader};
use crate::store::file::{Compression, Handles, LogOptions, ReadBuffer, SyncMode};
use crate::store::index::{Cursor, Filters};
use crate::store::meta::Meta;
use crate::store::stream::{Job, Limits, NewMessage, Purge, StoreOptions, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};

const WRITE: &str = "STORE_WRITE_FORMATS";

/// The streams of a store. Each has all kinds of records, and is kept in another way.
const STREAMS: [(&str, Compression, Option<Cipher>); 4] = [
    ("plain", Compression::None, None),
    ("packed", Compression::S2, None),
    ("chacha", Compression::None, Some(Cipher::ChaCha20Poly1305)),
    ("aes", Compression::S2, Some(Cipher::Aes256Gcm)),
];

const MESSAGES: u64 = 120;

fn keys(cipher: Option<Cipher>) -> Keys {
    match cipher {
        Some(cipher) => Keys::new(cipher, "a key of long ago", None),
        None => Keys::none(),
    }
}

fn limits() -> Limits {
    Limits {
        messages: 200,
        bytes: 1 << 20,
        per_subject: 30,
        age: Duration::from_secs(3600),
    }
}

fn options(compression: Compression, meta: &Meta) -> StoreOptions {
    let mut log = LogOptions::new(Arc::new(Handles::new(4)));
    log.segment_bytes = 4096;
    log.compression = compression;
    log.key = meta.key();
    let limits = Limits::default();
    StoreOptions { log, limits }
}

/// Messages as they were given: subject, headers, payload, seconds to live.
fn given(n: u64) -> (String, Vec<u8>, Vec<u8>, u32) {
    let headers = match n % 4 {
        0 => format!("NATS/1.0\r\nNats-Msg-Id: {n}\r\n\r\n").into_bytes(),
        _ => vec![],
    };
    let ttl_s = [0, 0, 100_000, u32::MAX][(n % 4) as usize];
    let payload = format!(
        "{{\"id\":{n},\"text\":\"{}\"}}",
        "abc".repeat((n % 20) as usize)
    );
    (
        format!("orders.{}", n % 7),
        headers,
        payload.into_bytes(),
        ttl_s,
    )
}

/// The messages that are left, by their sequences.
fn left() -> BTreeMap<u64, u64> {
    let is_gone = |n: &u64| {
        let by_purge = *n <= 40 && n % 7 == 3;
        let mostly = (20..70).contains(n) && !n.is_multiple_of(10);
        *n <= 5 || by_purge || mostly || [90, 91].contains(n)
    };
    let all = (1..=MESSAGES).filter(|n| !is_gone(n)).map(|n| (n, n));
    let mut all: BTreeMap<_, _> = all.collect();
    // What came behind a gap.
    all.extend([(MESSAGES + 11, MESSAGES + 1), (MESSAGES + 12, MESSAGES + 2)]);
    all
}

fn append(store: &mut StreamStore, n: u64) {
    let (subject, headers, payload, ttl_s) = given(n);
    let message = NewMessage {
        subject: subject.as_bytes(),
        headers: &headers,
        payload: &payload,
        timestamp: Timestamp(1_000_000_000 * n),
        ttl_s,
    };
    store.append(&message).unwrap();
}

fn work(store: &mut StreamStore) {
    while store.work(1000) {}
    store.commit().unwrap();
    for second in 1..5 {
        let now = Mono::ZERO + Duration::from_secs(100 * second);
        while let Some(job) = store.poll_job(now) {
            store.handle_done(job.run()).unwrap();
        }
    }
}

fn write(root: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let dir = StoreDir::open(disk.clone(), root).unwrap();
    for (n, (name, compression, cipher)) in STREAMS.into_iter().enumerate() {
        let config = format!("configuration of {name}").into_bytes();
        let mut meta = Meta::new("ACCOUNT", name, [n as u8; 16], config);
        let path = dir.create(&mut meta, &keys(cipher)).unwrap();
        let options = options(compression, &meta);
        let opened = StreamStore::open(disk.clone(), &path, meta.id, &options, None, &mut |_| {});
        let (mut store, _) = opened.unwrap();
        store.set_limits(&limits()).unwrap();
        let consumer = |store: &mut StreamStore, name, policy| {
            let made = store.create_consumer(name, b"{\"a\":1}", policy, StreamSeq(5));
            made.unwrap().0
        };
        let durable = consumer(&mut store, "durable", AckPolicy::Explicit);
        consumer(&mut store, "quiet", AckPolicy::None);
        let gone = consumer(&mut store, "gone", AckPolicy::All);
        (1..=MESSAGES).for_each(|n| append(&mut store, n));
        store.update_consumer(durable, b"{\"a\":2}").unwrap();
        store.delete_consumer(gone).unwrap();
        for stream in 6..=10 {
            let event = Event::Delivered {
                stream: StreamSeq(stream),
                at: Millis::new(1000),
                deadline: Millis::new(2000),
            };
            store.record(durable, event).unwrap();
        }
        for stream in [6, 8] {
            let stream = StreamSeq(stream);
            store.record(durable, Event::Acked { stream }).unwrap();
        }
        store.append_events().unwrap();
        let purge = |upto, filter: &[u8]| Purge {
            upto: StreamSeq(upto),
            keep: 0,
            filter: filter.to_vec(),
        };
        store.purge(&purge(5, b"")).unwrap();
        work(&mut store);
        store.purge(&purge(40, b"orders.3")).unwrap();
        work(&mut store);
        store.close().unwrap();
        // Most of some segments is dead, and they are written anew.
        for n in (20..70).filter(|n| *n % 10 != 0) {
            store.delete(StreamSeq(n)).unwrap();
        }
        work(&mut store);
        store.erase(StreamSeq(90)).unwrap();
        work(&mut store);
        store.close().unwrap();
        // This is behind the last checkpoint, in a segment that is not complete.
        store.delete(StreamSeq(91)).unwrap();
        store.skip_to(StreamSeq(MESSAGES + 10)).unwrap();
        append(&mut store, MESSAGES + 1);
        append(&mut store, MESSAGES + 2);
        store.sync().unwrap();
    }
    write_bucket(&disk, &dir);
}

const BUCKET: &str = "bucket";

/// The keys of puts, in order.
fn keys_put() -> impl Iterator<Item = (u64, String)> {
    let mut rng = Rng::new(1);
    (1..).map(move |n| (n, format!("key.{}", rng.below(200))))
}

fn bucket_options(meta: &Meta) -> StoreOptions {
    let mut options = options(Compression::None, meta);
    options.log.sync = SyncMode::Interval(Duration::from_secs(3600));
    options.limits.per_subject = 1;
    options
}

/// A stream with one message a subject, of which segments were written anew since its checkpoint, so that most
/// of what that counts is not there.
fn write_bucket(disk: &Arc<dyn Disk>, dir: &StoreDir) {
    let mut meta = Meta::new("ACCOUNT", BUCKET, [9; 16], b"{}".to_vec());
    let path = dir.create(&mut meta, &Keys::none()).unwrap();
    let options = bucket_options(&meta);
    let opened = StreamStore::open(disk.clone(), &path, meta.id, &options, None, &mut |_| {});
    let (mut store, _) = opened.unwrap();
    let mut now = Mono::ZERO;
    let mut since_checkpoint = 0;
    for (n, subject) in keys_put() {
        let payload = n.to_string().into_bytes();
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload: &payload,
            timestamp: Timestamp(1_000_000_000 * n),
            ttl_s: 0,
        };
        store.append(&message).unwrap();
        if n % 20 != 0 {
            continue;
        }
        store.commit().unwrap();
        now = now + Duration::from_millis(60);
        // Something is always to be synced.
        let jobs: Vec<_> = std::iter::from_fn(|| store.poll_job(now)).take(4).collect();
        for job in jobs {
            match job {
                Job::Checkpoint(_) => since_checkpoint = 0,
                Job::Rewrite(_) => since_checkpoint += 1,
                _ => {}
            }
            store.handle_done(job.run()).unwrap();
        }
        if since_checkpoint >= 5 {
            break;
        }
        assert!(n < 10_000, "rounds need no checkpoint");
    }
    store.sync().unwrap();
}

fn check_bucket(disk: &Arc<dyn Disk>, dir: &StoreDir) {
    let path = dir.stream_dir("ACCOUNT", BUCKET);
    let meta = Meta::read(&**disk, &path, &Keys::none()).unwrap().meta;
    let options = bucket_options(&meta);
    for _ in 0..2 {
        let opened = StreamStore::open(disk.clone(), &path, meta.id, &options, None, &mut |_| {});
        let (mut store, opened) = opened.unwrap();
        assert!(opened.log.is_sound() && !opened.rebuilt, "{opened:?}");
        let state = store.state();
        let put = keys_put().take(usize::try_from(state.last.0).unwrap());
        let values: BTreeMap<_, _> = put.map(|(n, key)| (key, n)).collect();
        let bytes = |(key, n): (&String, &u64)| 30 + key.len() + n.to_string().len();
        let bytes: usize = values.iter().map(bytes).sum();
        let is = (state.messages, state.bytes, state.lost);
        assert_eq!(is, (values.len() as u64, bytes as u64, 0));
        assert!(values.len() > 100);
        let mut buffer = ReadBuffer::default();
        for (key, n) in &values {
            let stored = store
                .last_on(key.as_bytes(), state.last, &mut buffer)
                .unwrap();
            let record = stored.record;
            let is = (record.sequence.0, record.payload);
            assert_eq!(is, (*n, n.to_string().as_bytes()));
        }
        work(&mut store);
        store.close().unwrap();
    }
}

fn check(root: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let dir = StoreDir::open(disk.clone(), root).unwrap();
    // The oldest stores have none.
    if dir.stream_dir("ACCOUNT", BUCKET).exists() {
        check_bucket(&disk, &dir);
    }
    drop(dir);
    for (name, compression, cipher) in STREAMS {
        let dir = StoreDir::open(disk.clone(), root).unwrap();
        let path = dir.stream_dir("ACCOUNT", name);
        let found = Meta::read(&*disk, &path, &keys(cipher)).unwrap();
        assert!(found.damaged.is_none(), "{name}: {:?}", found.damaged);
        let meta = found.meta;
        assert_eq!((&*meta.account, &*meta.stream), ("ACCOUNT", name));
        assert_eq!(meta.config, format!("configuration of {name}").into_bytes());
        let options = options(compression, &meta);
        for is_second in [false, true] {
            let opened =
                StreamStore::open(disk.clone(), &path, meta.id, &options, None, &mut |_| {});
            let (mut store, opened) = opened.unwrap();
            assert!(opened.log.is_sound(), "{name}: {opened:?}");
            assert!(!opened.rebuilt, "{name}: the checkpoint is of use");
            check_stream(name, &mut store);
            if !is_second {
                // It goes on, and what it writes then is read again.
                work(&mut store);
                store.close().unwrap();
            }
        }
    }
}

fn check_stream(name: &str, store: &mut StreamStore) {
    let left = left();
    let state = store.state();
    let (first, last) = (left.keys().next().unwrap(), left.keys().last().unwrap());
    assert_eq!((state.first.0, state.last.0), (*first, *last), "{name}");
    assert_eq!(
        (state.messages, state.lost),
        (left.len() as u64, 0),
        "{name}"
    );
    assert_eq!(store.limits(), limits(), "{name}");
    let mut buffer = ReadBuffer::default();
    let mut by_subject = BTreeMap::<String, u64>::new();
    for sequence in 0..=last + 1 {
        let read = store.read(StreamSeq(sequence), &mut buffer);
        match (left.get(&sequence), read) {
            (Some(n), Ok(stored)) => {
                let (subject, headers, payload, ttl_s) = given(*n);
                let record = stored.record;
                assert_eq!(record.subject, subject.as_bytes(), "{name}: {sequence}");
                assert_eq!(record.headers, headers, "{name}: {sequence}");
                assert_eq!(record.payload, payload, "{name}: {sequence}");
                let times = (record.timestamp.0, record.ttl_s);
                assert_eq!(times, (1_000_000_000 * n, ttl_s), "{name}: {sequence}");
                *by_subject.entry(subject).or_default() += 1;
            }
            (None, Err(LogError::Absent)) => {}
            (is, read) => panic!("{name}: {sequence}: {is:?}, {read:?}"),
        }
    }
    let mut counted = BTreeMap::new();
    let all = Filters::all();
    store.subjects(&all, &mut Cursor::start(), usize::MAX, |subject, count| {
        counted.insert(String::from_utf8(subject.to_vec()).unwrap(), count);
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(counted, by_subject, "{name}");
    let consumers: Vec<_> = store.consumers().collect();
    let shown = consumers.iter().map(|(_, c)| (c.name(), c.config()));
    let shown: Vec<_> = shown.collect();
    assert_eq!(
        shown,
        [("durable", &b"{\"a\":2}"[..]), ("quiet", b"{\"a\":1}")]
    );
    let state = consumers[0].1.state();
    let is = (state.delivered().stream.0, state.ack_floor().stream.0);
    assert_eq!(is, (10, 6), "{name}");
    let waiting: Vec<_> = state.pending().iter().map(|p| p.stream.0).collect();
    assert_eq!(waiting, [7, 9, 10], "{name}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A directory for a test.
fn temporary(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("nats-store-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

#[test]
fn what_is_written_now_is_what_is_expected() {
    let kept = std::env::var_os(WRITE).map(PathBuf::from);
    let dir = kept.clone().unwrap_or_else(|| temporary("format"));
    write(&dir);
    if kept.is_some() {
        return;
    }
    check(&dir);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn stores_of_earlier_builds_are_read() {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/stores");
    let mut seen = 0;
    for entry in fs::read_dir(&formats).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let dir = temporary("formats");
            copy(&entry.path(), &dir);
            check(&dir);
            fs::remove_dir_all(&dir).unwrap();
            seen += 1;
        }
    }
    assert!(seen > 0, "there are none in {}", formats.display());
}

/// The versions of a stream's segments, by their numbers.
fn versions(dir: &Path) -> BTreeMap<u64, Records> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "seg") {
            let header = SegmentHeader::decode(&fs::read(path).unwrap()).unwrap();
            all.insert(header.number, header.records);
        }
    }
    all
}

/// Whether a file of a stream has these bytes.
fn has_bytes(dir: &Path, bytes: &[u8]) -> bool {
    let mut files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    files.any(|path| {
        let file = fs::read(path).unwrap();
        file.windows(bytes.len()).any(|part| part == bytes)
    })
}

/// Segments of version 1 are appended to, completed, erased in and written anew.
#[test]
fn segments_of_the_first_version_go_on() {
    let first = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/stores/v1");
    let root = temporary("first-version");
    copy(&first, &root);
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    for (name, compression, cipher) in STREAMS {
        let dir = StoreDir::open(disk.clone(), &root).unwrap();
        let path = dir.stream_dir("ACCOUNT", name);
        let meta = Meta::read(&*disk, &path, &keys(cipher)).unwrap().meta;
        let options = options(compression, &meta);
        let open = || {
            let opened =
                StreamStore::open(disk.clone(), &path, meta.id, &options, None, &mut |_| {});
            let (store, opened) = opened.unwrap();
            assert!(opened.log.is_sound(), "{name}: {opened:?}");
            store
        };
        let before = versions(&path);
        assert!(before.values().all(|v| *v == Records::Wide), "{name}");
        let mut store = open();
        let mut left = left();
        let add = |store: &mut StreamStore, left: &mut BTreeMap<u64, u64>, n: u64| {
            append(store, n);
            left.insert(store.state().last.0, n);
        };
        add(&mut store, &mut left, MESSAGES + 3);
        store.sync().unwrap();
        assert_eq!(versions(&path), before, "{name}: there is room in the last");
        (4..=60).for_each(|n| add(&mut store, &mut left, MESSAGES + n));
        store.sync().unwrap();
        let after = versions(&path);
        assert!(after.len() > before.len() + 1, "{name}");
        for (number, version) in after {
            let expected = match before.contains_key(&number) {
                true => Records::Wide,
                false => Records::Compact,
            };
            assert_eq!(version, expected, "{name}: {number}");
        }
        // One in a segment that has a footer, one in what was the last.
        let erased = [100, MESSAGES + 11];
        let shown = |n: u64| format!("{{\"id\":{n},\"text\"").into_bytes();
        if name == "plain" {
            assert!(has_bytes(&path, &shown(100)) && has_bytes(&path, &shown(MESSAGES + 1)));
        }
        for sequence in erased {
            store.erase(StreamSeq(sequence)).unwrap();
            left.remove(&sequence);
        }
        work(&mut store);
        if name == "plain" {
            assert!(!has_bytes(&path, &shown(100)) && !has_bytes(&path, &shown(MESSAGES + 1)));
            let after = versions(&path);
            let are_wide = before.keys().all(|number| after[number] == Records::Wide);
            assert!(are_wide, "{name}: where they stand");
        }
        for sequence in 71..MESSAGES - 2 {
            if left.remove(&sequence).is_some() {
                store.delete(StreamSeq(sequence)).unwrap();
            }
        }
        work(&mut store);
        store.close().unwrap();
        work(&mut store);
        let anew = versions(&path).into_iter();
        let anew = anew.filter(|(n, v)| before.contains_key(n) && *v == Records::Compact);
        assert!(anew.count() > 0, "{name}: some are written anew");
        drop(store);
        let mut store = open();
        let mut buffer = ReadBuffer::default();
        let state = store.state();
        assert_eq!(
            (state.messages, state.lost),
            (left.len() as u64, 0),
            "{name}"
        );
        for (sequence, n) in &left {
            let stored = store.read(StreamSeq(*sequence), &mut buffer).unwrap();
            let (subject, headers, payload, ttl_s) = given(*n);
            let record = stored.record;
            assert_eq!(record.subject, subject.as_bytes(), "{name}: {sequence}");
            assert_eq!(record.headers, headers, "{name}: {sequence}");
            assert_eq!(record.payload, payload, "{name}: {sequence}");
            assert_eq!(record.ttl_s, ttl_s, "{name}: {sequence}");
        }
    }
    fs::remove_dir_all(&root).unwrap();
}
