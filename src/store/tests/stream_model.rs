//! The stream's store beside one that is as simple as can be, with the same orders: on real disks
//! and in memory, and on a disk that fails, where after each crash the store must be as it was
//! after some order, the last that was acknowledged or a later one. What such runs and readers have found
//! is in [`stream_findings`](super::stream_findings), by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::consumer_model::Consumers;
use super::crypt::key_at;
use super::faulty::{Fault, FaultyDisk};
use super::log_faults::stream;
use super::plain_stream::{Message, Model, SECOND};
use super::seeds::for_seeds;
use super::versions::records_at;
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::store::LogError;
use crate::store::disk::{Disk, OsDisk, read_file};
use crate::store::file::{Compression, Handles, LogOptions, Payload, ReadBuffer, Stored, SyncMode};
use crate::store::index::{Cursor, Filters};
use crate::store::memory::MemoryDisk;
use crate::store::stream::{
    ConsumerDamage, Found, Job, Limits, NewMessage, Opened, Purge, Reader, StoreOptions,
    StreamStore, TTL_NEVER,
};
use crate::store::types::{LogIndex, StreamSeq, Timestamp};

/// Bytes that tell a payload from all others.
const MARK: usize = 12;

/// A store and its model, and orders for both.
pub(super) struct Run {
    rng: Rng,
    /// With 0, nothing is encrypted, and the limits stay what they are.
    pub(super) seed: u64,
    openings: u64,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(super) options: StoreOptions,
    pub(super) store: Option<StreamStore>,
    model: Model,
    consumers: Consumers,
    /// The model as it was at each index of the log.
    past: BTreeMap<u64, Model>,
    /// The model with a message that the store did not take, but may have written.
    unsure: Option<Model>,
    /// What erased messages had in them, by the index of the delete.
    erased: BTreeMap<u64, [u8; MARK]>,
    now: u64,
    /// Of so many orders one need not be a message; 0 if that is left to chance, with all limits.
    bucket: usize,
}

fn subject(rng: &mut Rng) -> String {
    let tokens = ["a", "b", "c"];
    let mut subject = tokens[rng.below(3)].to_owned();
    for _ in 0..rng.below(3) {
        subject.push('.');
        subject.push_str(tokens[rng.below(3)]);
    }
    subject
}

fn filter(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => ">".to_owned(),
        1 => "a.*".to_owned(),
        2 => "*.b".to_owned(),
        3 => "b.>".to_owned(),
        _ => subject(rng),
    }
}

/// A payload like no other, unless it is short.
fn payload(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut payload = vec![rng.below(256) as u8; len];
    if let Some(mark) = payload.first_chunk_mut::<MARK>() {
        mark[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
    }
    payload
}

impl Run {
    pub(super) fn new(seed: u64, disk: Arc<dyn Disk>, dir: PathBuf) -> Run {
        let mut rng = Rng::new(seed);
        let mut log = LogOptions::new(Arc::new(Handles::new(2)));
        log.segment_bytes = [1500, 4000, 30_000][rng.below(3)];
        log.compression = [Compression::None, Compression::S2][rng.below(2)];
        let limits = limits(&mut rng);
        let model = Model {
            limits,
            ..Model::default()
        };
        Run {
            rng,
            seed,
            openings: 0,
            disk,
            dir,
            options: StoreOptions { log, limits },
            store: None,
            past: BTreeMap::from([(0, model.clone())]),
            model,
            consumers: Consumers::default(),
            unsure: None,
            erased: BTreeMap::new(),
            now: SECOND,
            bucket: 0,
        }
    }

    /// A run of a stream that keeps one message a subject and is synced when it has to be.
    fn bucket(seed: u64, disk: Arc<dyn Disk>, dir: PathBuf) -> Run {
        let mut run = Run::new(seed, disk, dir);
        run.options.log.sync = SyncMode::Interval(Duration::from_secs(3600));
        run.options.limits = ONE;
        run.model.limits = ONE;
        run.past = BTreeMap::from([(0, run.model.clone())]);
        run.bucket = 1;
        run
    }

    pub(super) fn open(&mut self, trust_upto: Option<LogIndex>) -> Result<Opened, LogError> {
        self.options.log.key = key_at(self.seed, self.openings);
        self.options.log.records = records_at(self.seed, self.openings);
        if self.bucket > 0 {
            self.bucket = [1 << 30, 200, 50, 10][self.rng.below(4)];
        } else if self.openings > 0 && self.seed > 0 {
            // They count where there is no record only.
            self.options.limits = limits(&mut self.rng);
        }
        self.openings += 1;
        let (store, opened) = StreamStore::open(
            self.disk.clone(),
            &self.dir,
            stream(),
            &self.options,
            trust_upto,
            &mut |_| {},
        )?;
        self.store = Some(store);
        if opened.last.0 == 0 {
            let new = self.past.get_mut(&0).unwrap();
            new.limits = self.options.limits;
            self.model = new.clone();
        }
        Ok(opened)
    }

    pub(super) fn store(&mut self) -> &mut StreamStore {
        self.store.as_mut().unwrap()
    }

    /// Gives an order to both. Fails as the store does.
    fn order(&mut self) -> Result<(), LogError> {
        let is_message = self.bucket > 0 && self.rng.below(self.bucket) > 0;
        let index = match self.rng.below(25) {
            _ if is_message => self.append()?,
            0..5 => {
                let (rng, store) = (&mut self.rng, self.store.as_mut().unwrap());
                let recorded = &mut self.model.consumers;
                self.consumers.order(rng, store, recorded)?
            }
            5..17 => self.append()?,
            17..19 => {
                let sequence = 1 + self
                    .rng
                    .below(usize::try_from(self.model.last).unwrap() + 2)
                    as u64;
                let erases = self.rng.below(2) == 0;
                let index = match erases {
                    true => self.store().erase(StreamSeq(sequence))?,
                    false => self.store().delete(StreamSeq(sequence))?,
                };
                let was = self.model.messages.contains_key(&sequence);
                if let Some(index) = index {
                    self.model.settle();
                    let gone = self.model.messages.remove(&sequence);
                    let mark = gone.as_ref().and_then(|m| m.payload.first_chunk());
                    if let Some(mark) = mark.filter(|_| erases) {
                        self.erased.insert(index.0, *mark);
                    }
                }
                // It may have gone already where the model waits for the end of the work, or with the
                // work that it waited for.
                assert!(index.is_some() || !was || self.model.deferring);
                if index.is_none() {
                    self.follow();
                }
                index.unwrap_or(LogIndex(0))
            }
            19 => {
                let last = self.model.last;
                let filter = match self.rng.below(2) {
                    0 => vec![],
                    _ => filter(&mut self.rng).into_bytes(),
                };
                let purge = match self.rng.below(3) {
                    0 => Purge {
                        upto: StreamSeq(last),
                        keep: self.rng.below(4) as u64,
                        filter,
                    },
                    _ => Purge {
                        upto: StreamSeq(last.saturating_sub(self.rng.below(10) as u64)),
                        keep: 0,
                        filter,
                    },
                };
                let index = self.store().purge(&purge)?;
                self.model.purge(&purge);
                index
            }
            20 => {
                let is_back = self.bucket > 0 && self.model.limits != ONE;
                let limits = match is_back {
                    true => ONE,
                    false => limits(&mut self.rng),
                };
                let index = self.store().set_limits(&limits)?;
                self.model.set_limits(limits);
                index
            }
            21 => {
                let last = self.model.last + 1 + self.rng.below(5) as u64;
                let index = self.store().skip_to(StreamSeq(last))?;
                self.model.last = last;
                index
            }
            _ => {
                self.now += self.rng.below(5) as u64 * SECOND;
                self.settle();
                if self.store().has_work() {
                    return Ok(());
                }
                let now = Timestamp(self.now);
                let mut gone = vec![];
                loop {
                    let expired = self.store().expire(now)?;
                    gone.extend(expired.messages.iter().map(|s| s.0));
                    if !expired.more {
                        break;
                    }
                }
                self.model.expire(self.now, &gone);
                self.store().log().last_index()
            }
        };
        if index.0 > 0 {
            assert_eq!(index, self.store().log().last_index());
            self.past.insert(index.0, self.model.clone());
        }
        Ok(())
    }

    fn append(&mut self) -> Result<LogIndex, LogError> {
        self.now += self.rng.below(SECOND as usize) as u64;
        let rng = &mut self.rng;
        let len = match rng.below(30) {
            0 => rng.below(40_000),
            _ => rng.below(100),
        };
        let message = Message {
            subject: subject(rng),
            headers: vec![b'h'; rng.below(2) * rng.below(30)],
            payload: payload(rng, len),
            time: self.now,
            ttl_s: [0, 0, 0, 2, 10, TTL_NEVER][rng.below(6)],
        };
        let new = NewMessage {
            subject: message.subject.as_bytes(),
            headers: &message.headers,
            payload: &message.payload,
            timestamp: Timestamp(message.time),
            ttl_s: message.ttl_s,
        };
        if message.time.is_multiple_of(2) {
            // What is known of places by that, and what comes of it, is no concern of who asks.
            let subjects = ["foo", &*message.subject, "b.1", &*message.subject].map(str::as_bytes);
            let replaced = self.rng.below(2) == 0;
            self.store().look_ahead(&subjects, replaced);
        }
        let result = self.store().append(&new);
        if matches!(result, Err(LogError::Io(_))) {
            // The first record of all may have been that of the limits.
            let is_first = self.store().log().last_index() == LogIndex(0);
            if !is_first || self.model.limits == Limits::default() {
                let mut model = self.model.clone();
                model.add(message);
                self.unsure = Some(model);
            }
            return result.map(|(_, index)| index);
        }
        let (sequence, index) = result?;
        self.model.add(message);
        assert_eq!(sequence.0, self.model.last);
        Ok(index)
    }

    /// What is recorded of consumers when the stream is opened.
    fn reopened(&mut self, opened: &Opened) {
        assert_eq!(opened.consumers, ConsumerDamage::default());
        let store = self.store.as_ref().unwrap();
        self.consumers.reopened(store, &mut self.model.consumers);
    }

    fn close(&mut self) -> Result<(), LogError> {
        let store = self.store.as_mut().unwrap();
        let index = self.consumers.append(store, &mut self.model.consumers)?;
        if index.0 > 0 {
            self.past.insert(index.0, self.model.clone());
        }
        store.close()
    }

    pub(super) fn settle(&mut self) {
        let budget = 1 + self.rng.below(20);
        while self.store().work(budget) {}
        self.follow();
    }

    /// Does what was done of the work to the model. All of it has a record at its end, unless there was no
    /// room for that; and what was too much altogether has one before, if subjects have a limit of their own.
    fn follow(&mut self) {
        if !self.model.deferring {
            return;
        }
        let index = self.store().log().last_index().0;
        if !self.store().has_work() {
            self.model.settle();
            self.past.insert(index, self.model.clone());
            return;
        }
        let known = self.past.keys().next_back().copied().unwrap_or(0);
        if self.model.limits.per_subject == 0 {
            return;
        }
        let mut model = self.model.clone();
        model.trim_subjects();
        let (first, last) = (self.store().first().0, self.store().last().0);
        let gone: Vec<_> = self.store().deleted().collect();
        let is_there = |sequence: u64| {
            let is_gone = gone.iter().any(|(a, b)| (a.0..=b.0).contains(&sequence));
            (first..=last).contains(&sequence) && !is_gone
        };
        while index > known && model.is_over() {
            let oldest = model.messages.first_entry().unwrap();
            if is_there(*oldest.key()) {
                break;
            }
            oldest.remove();
        }
        for sequence in model.messages.keys() {
            assert!(
                is_there(*sequence),
                "{sequence} need not go, or no record says so"
            );
        }
        if index > known {
            self.past.insert(index, model.clone());
            self.model = model;
        }
    }

    fn check(&mut self) {
        let state = self.store().state();
        let is = (
            state.messages,
            state.bytes,
            state.first.0,
            state.last.0,
            state.subjects,
        );
        assert_eq!(is, self.model.summary());
        let store = self.store.as_ref().unwrap();
        self.consumers.check(store, &self.model.consumers);
        let model = self.model.clone();
        let mut buffer = ReadBuffer::default();
        for sequence in 0..=model.last + 1 {
            let read = self.store().read(StreamSeq(sequence), &mut buffer);
            match (read, model.messages.get(&sequence)) {
                (Ok(stored), Some(message)) => {
                    let record = stored.record;
                    assert_eq!(record.subject, message.subject.as_bytes());
                    assert!(record.payload == message.payload && record.headers == message.headers);
                    assert_eq!(record.timestamp.0, message.time);
                    assert_eq!(record.ttl_s, message.ttl_s);
                    match stored.payload() {
                        Payload::Copied(bytes) => assert!(bytes == message.payload),
                        Payload::Shared(bytes) => assert!(bytes == message.payload),
                    }
                }
                (Err(LogError::Absent), None) => {}
                (read, message) => panic!("{sequence}: {read:?}, and {:?}", message.is_some()),
            }
        }
        let gone: u64 = self.store().deleted().map(|(a, b)| b.0 - a.0 + 1).sum();
        let between = model.last + 1 - is.2 - is.0;
        assert_eq!(gone, between, "deleted between first and last");
        self.check_searches(&model);
    }

    fn check_searches(&mut self, model: &Model) {
        let mut buffer = ReadBuffer::default();
        let upto = StreamSeq(model.last.saturating_sub(self.rng.below(4) as u64));
        for _ in 0..4 {
            let text = filter(&mut self.rng);
            let filters = Filters::new([text.as_bytes()]).unwrap();
            let from = self.rng.below(usize::try_from(model.last).unwrap() + 2) as u64;
            let matching = model.on(|s| filters.matches(s.as_bytes()));
            let mut want: Vec<u64> = matching.clone();
            want.retain(|s| *s >= from && *s <= upto.0);
            let (mut at, mut found) = (StreamSeq(from), vec![]);
            loop {
                let mut budget = 1 + self.rng.below(20);
                let mut own = ReadBuffer::default();
                let fetched = self.store().fetch_next(&filters, at, upto, &mut own);
                let next = self
                    .store()
                    .next(&filters, at, upto, &mut budget, &mut buffer);
                match next.unwrap() {
                    Found::Message(stored) => {
                        let record = stored.record;
                        if let Some(fetched) = fetched {
                            let is = (fetched.sequence, fetched.timestamp, fetched.parts(&own));
                            let parts = [record.subject, record.headers, record.payload];
                            assert_eq!(is, (record.sequence, record.timestamp, parts));
                        }
                        found.push(record.sequence.0);
                        at = record.sequence.next();
                    }
                    _ if fetched.is_some() => panic!("{fetched:?} was fetched and is not there"),
                    Found::Paused(from) => {
                        assert!(from > at);
                        at = from;
                    }
                    Found::End => break,
                }
            }
            assert_eq!(found, want, "{text} from {from} up to {upto}");
            self.check_readers(&filters, (StreamSeq(from), upto), &want, model);
            let tally = self.store().count(&filters, StreamSeq(from));
            let exact = matching.iter().filter(|s| **s >= from).count() as u64;
            assert!(tally.messages <= exact && exact <= tally.messages + tally.unsure_messages);

            let mut lasts: Vec<u64> = vec![];
            for subject in model.subjects() {
                let last = model
                    .on(|s| s == subject)
                    .into_iter()
                    .rfind(|s| *s <= upto.0);
                let read = self.store().last_on(subject.as_bytes(), upto, &mut buffer);
                let read = read.ok().map(|stored| stored.record.sequence.0);
                assert_eq!(read, last, "{subject} up to {upto}");
                if filters.matches(subject.as_bytes()) {
                    lasts.extend(last);
                }
            }
            lasts.sort_unstable();
            let each = self.store().last_on_each(&filters, upto, 1000).unwrap();
            assert_eq!(each.iter().map(|s| s.0).collect::<Vec<_>>(), lasts);

            let time = self.rng.below(usize::try_from(self.now).unwrap() + 2) as u64;
            let first = model.messages.iter().find(|(_, m)| m.time >= time);
            let first = first.map_or(model.last + 1, |(s, _)| *s);
            assert_eq!(self.store().first_at(Timestamp(time)).unwrap().0, first);
        }
        let mut counted = vec![];
        let mut cursor = Cursor::start();
        self.store().subjects(
            &Filters::all(),
            &mut cursor,
            usize::MAX,
            |subject, count| {
                counted.push((String::from_utf8(subject.to_vec()).unwrap(), count));
                std::ops::ControlFlow::Continue(())
            },
        );
        let want: Vec<_> = model
            .subjects()
            .into_iter()
            .map(|subject| {
                let count = model.on(|s| s == subject).len() as u64;
                (subject, count)
            })
            .collect();
        assert_eq!(counted, want);
    }

    /// Readers that go on, jump back and may know where subjects are find what searches find; and
    /// so does reading in a row.
    fn check_readers(
        &mut self,
        filters: &Filters,
        (from, upto): (StreamSeq, StreamSeq),
        want: &[u64],
        model: &Model,
    ) {
        let mut buffer = ReadBuffer::default();
        let mut reader = Reader::new(filters.clone());
        for _ in 0..3 {
            let (mut at, mut found) = (from, vec![]);
            loop {
                let mut budget = self.rng.below(2000);
                let store = self.store.as_mut().unwrap();
                let next = store.next_of(&mut reader, at, upto, &mut budget, &mut buffer);
                match next.unwrap() {
                    Found::Message(stored) => {
                        found.push(stored.record.sequence.0);
                        at = stored.record.sequence.next();
                    }
                    Found::Paused(from) => {
                        assert!(from > at);
                        at = from;
                    }
                    Found::End => break,
                }
            }
            assert_eq!(found, want, "{filters:?} from {from} up to {upto}");
            // Those that wasted time have it found out where the subjects are.
            self.do_jobs();
        }
        let (mut at, mut found) = (from, vec![]);
        loop {
            let max = 1 + self.rng.below(30);
            let (bytes, mut some) = (1 + self.rng.below(3000), 0);
            let store = self.store.as_mut().unwrap();
            let each = |stored: &Stored<'_>| {
                found.push(stored.record.sequence.0);
                some += 1;
                std::ops::ControlFlow::Continue(())
            };
            at = store
                .read_from(at, upto, max, bytes, &mut buffer, each)
                .unwrap();
            if some == 0 {
                break;
            }
        }
        let mut want = model.on(|_| true);
        want.retain(|s| *s >= from.0 && *s <= upto.0);
        assert_eq!(found, want, "from {from} up to {upto}");
    }

    /// When all that can be done is done, no file has anything of what was erased.
    fn check_erased(&mut self) {
        self.store().sync().unwrap();
        self.do_jobs();
        assert!(!self.store().is_erasing());
        for entry in self.disk.list(&self.dir).unwrap() {
            let path = self.dir.join(&entry.name);
            let bytes = read_file(&*self.disk, &path).unwrap().unwrap();
            for (index, mark) in &self.erased {
                let found = memchr::memmem::find(&bytes, mark);
                assert!(found.is_none(), "{path:?} at {found:?} after {index}");
            }
        }
    }

    fn do_jobs(&mut self) {
        while let Some(job) = self.store().poll_job(Mono::ZERO) {
            let done = job.run();
            let _ = self.store().handle_done(done);
        }
    }
}

fn limits(rng: &mut Rng) -> Limits {
    let mut limit = |n: u64| n * (rng.below(3) / 2) as u64;
    Limits {
        messages: limit(20),
        bytes: limit(5000),
        per_subject: limit(3),
        age: Duration::from_secs(limit(10)),
    }
}

fn faultless(seed: u64, disk: Arc<dyn Disk>, dir: PathBuf) {
    faultless_run(Run::new(seed, disk, dir));
}

fn faultless_run(mut run: Run) {
    let volatile = run.disk.is_volatile();
    run.open(None).unwrap();
    for step in 0..150 {
        run.order().unwrap();
        match run.rng.below(6) {
            0..4 => run.settle(),
            4 => {
                let budget = run.rng.below(10);
                run.store().work(budget);
                run.follow();
            }
            _ => {}
        }
        match run.rng.below(12) {
            0..3 => {
                run.store().commit().unwrap();
                run.do_jobs();
                assert_eq!(run.store().acknowledged(), run.store().log().last_index());
                assert_eq!(run.store().visible().0, run.model.last);
            }
            3 if !volatile => {
                match run.rng.below(2) {
                    0 => run.close().unwrap(),
                    _ => run.store().sync().unwrap(),
                }
                run.store = None;
                let opened = run.open(None).unwrap();
                assert!(opened.log.is_sound(), "{opened:?}");
                run.reopened(&opened);
                run.follow();
            }
            _ => {}
        }
        if step % 10 == 0 {
            run.settle();
            run.check();
        }
    }
    run.settle();
    run.check();
    run.check_erased();
    run.check();
}

#[test]
fn a_stream_in_memory_is_what_it_should_be() {
    for_seeds("memory model", 60, |seed| {
        faultless(seed, Arc::new(MemoryDisk::new()), PathBuf::from("/m"));
    });
}

#[test]
fn a_stream_that_keeps_one_message_a_subject_is_what_it_should_be() {
    for_seeds("bucket model", 60, |seed| {
        let disk = FaultyDisk::new(seed);
        let mut run = Run::new(seed, Arc::new(disk), PathBuf::from("/streams/s"));
        run.options.limits.per_subject = 1;
        faultless_run(run);
    });
}

#[test]
fn a_stream_on_a_disk_is_what_it_should_be() {
    for_seeds("disk model", 6, |seed| {
        let name = format!("nats-store-{}-{seed}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        faultless(seed, Arc::new(OsDisk), dir.clone());
        std::fs::remove_dir_all(&dir).unwrap();
    });
}

/// The limits of a bucket of keys and values.
const ONE: Limits = Limits {
    messages: 0,
    bytes: 0,
    per_subject: 1,
    age: Duration::ZERO,
};

/// After each crash the store is as it was at some index, not before the last acknowledged one.
fn faults(seed: u64) {
    let disk = FaultyDisk::new(seed ^ 0x5eed);
    let dir = Path::new("/streams/s").to_owned();
    faults_of(Run::new(seed, Arc::new(disk.clone()), dir), &disk, 1);
}

/// The same with `longer` lives.
fn faults_of(mut run: Run, disk: &FaultyDisk, longer: usize) {
    let is_lazy = run.bucket > 0;
    let mut acked = LogIndex(0);
    let mut time = Mono::ZERO;
    let mut trust = None;
    for _ in 0..5 {
        run.store = None;
        let mut opened = Opened::default();
        for attempt in 0.. {
            if attempt < 3 && run.rng.below(3) == 0 {
                let fault = [Fault::Crash, Fault::Eio, Fault::Full][run.rng.below(3)];
                disk.plan(1 + run.rng.below(10) as u64, fault);
            }
            match run.open(trust) {
                Ok(is) => {
                    assert!(is.log.is_sound(), "{is:?}");
                    opened = is;
                    break;
                }
                Err(error) => {
                    assert!(attempt < 3, "{error}");
                    if disk.is_dead() {
                        disk.restart();
                        trust = None;
                    }
                    disk.free();
                }
            }
        }
        disk.free();
        let last = opened.last;
        assert!(last >= acked, "{last} of {acked}");
        // There may have been no room to say that all is settled.
        while run.store().work(1000) {}
        assert!(!run.store().has_work());
        run.model = run.past.range(..=last.0).next_back().unwrap().1.clone();
        run.model.settle();
        run.reopened(&opened);
        run.past.retain(|index, _| *index <= last.0);
        let settled = run.store().log().last_index();
        run.past.insert(settled.0, run.model.clone());
        run.settle();
        run.check();
        run.erased.retain(|index, _| *index <= last.0);
        if run.rng.below(3) == 0 {
            run.check_erased();
            run.check();
        }
        acked = last;
        run.unsure = None;
        if run.rng.below(4) > 0 {
            let fault = [Fault::Crash, Fault::Crash, Fault::Eio, Fault::Full][run.rng.below(4)];
            disk.plan(1 + run.rng.below(60 * longer) as u64, fault);
        }
        let mut jobs: Vec<Job> = vec![];
        for _ in 0..run.rng.below(80 * longer) {
            if disk.is_dead() {
                break;
            }
            match run.order() {
                Ok(()) => {}
                // A part of what was to be done before may have had room.
                Err(LogError::Full) => run.follow(),
                Err(LogError::Io(_) | LogError::ReadOnly(_)) => break,
                Err(error) => panic!("{error}"),
            }
            if run.rng.below(3) == 0 {
                let _ = run.store().commit();
                if is_lazy {
                    time = time + Duration::from_millis(10);
                }
                jobs.extend(run.store().poll_job(time));
            }
            let often = if run.model.deferring { 3 } else { 10 };
            if run.rng.below(often) == 0 && !disk.is_dead() {
                let budget = run.rng.below(10);
                run.store().work(budget);
                run.follow();
            }
            if !jobs.is_empty() && run.rng.below(2) == 0 {
                let at = run.rng.below(jobs.len());
                let done = jobs.swap_remove(at).run();
                let _ = run.store().handle_done(done);
            }
            if run.rng.below(30) == 0 {
                let _ = run.close();
            }
            // What the power may take was acknowledged where it is not waited for.
            let kept = match is_lazy {
                true => run.store().log().durable(),
                false => run.store().acknowledged(),
            };
            acked = acked.max(kept);
        }
        // A message that failed half way may be there.
        if let Some(model) = run.unsure.take() {
            let next = run.store().log().last_index().next();
            run.past.insert(next.0, model);
        }
        trust = None;
        let failed = run.store().log().failure().is_some();
        let durable = run.store().log().durable();
        match run.rng.below(3) {
            0 if failed && !disk.is_dead() => trust = Some(durable),
            1 if !failed && !disk.is_dead() => disk.kill(),
            _ => disk.restart(),
        }
        disk.free();
    }
}

#[test]
fn a_stream_is_after_a_crash_what_it_was_after_an_order() {
    for_seeds("stream faults", 200, faults);
}

/// The same for buckets whose segments are written anew all the time.
#[test]
fn a_bucket_is_after_a_crash_what_it_was_after_an_order() {
    for_seeds("bucket faults", 100, |seed| {
        let disk = FaultyDisk::new(seed ^ 0x5eed);
        let dir = Path::new("/streams/s").to_owned();
        let run = Run::bucket(seed, Arc::new(disk.clone()), dir);
        faults_of(run, &disk, 10);
    });
}
