//! Looks at a store, or at one stream, without changing anything: what a server would find and do
//! when it opened it, and whether every record can be read.
//!
//! A stream is opened as always, on an [`Overlay`] that keeps to itself what is repaired.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crypt::Keys;
use super::directory::{self, StreamDir};
use super::disk::{Disk, read_file};
use super::error::{LogError, Reason};
use super::file::format::{
    Container, ContainerKind, FIRST_RECORD, FOOTER_LEN, Footer, FormatError, HEADER_LEN, Kind,
    Record, SegmentHeader,
};
use super::file::log::{Walk, segment_number};
use super::file::{Handles, LogOptions, ReadBuffer};
use super::meta::{Meta, MetaError, MetaFound};
use super::overlay::Overlay;
use super::stream::{Limits, Opened, StoreOptions, StreamState, StreamStore};
use super::types::{LogIndex, StreamId, StreamSeq};

/// Segments that are open at once.
const HANDLES: usize = 64;

/// What was found of a stream.
#[derive(Debug)]
pub struct StreamReport {
    pub dir: PathBuf,
    /// The names of account and stream, if the metadata can be read.
    pub names: Option<(String, String)>,
    pub state: Option<StreamState>,
    /// Consumers, without [cells](crate::store::stream::Consumer::is_cell).
    pub consumers: usize,
    pub segments: usize,
    /// Records that could be read.
    pub records: u64,
    /// What is damaged or missing.
    pub damage: Vec<String>,
    /// What is worth knowing, and no damage.
    pub notes: Vec<String>,
}

/// What was found of a store.
#[derive(Debug, Default)]
pub struct StoreReport {
    pub streams: usize,
    /// Streams in which something is damaged.
    pub damaged: usize,
    /// Directories that a start removes: what a crash left of making a stream, or of removing one.
    pub remains: Vec<PathBuf>,
}

/// Checks all streams below a directory, or the one that it is of, and tells of each.
///
/// # Errors
/// If the directory cannot be read, or there is no stream in it.
pub fn check(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    tell: &mut dyn FnMut(&StreamReport),
) -> Result<StoreReport, LogError> {
    let mut report = StoreReport::default();
    let mut streams = vec![];
    if is_stream(&**disk, dir)? {
        let meta = Meta::read(&**disk, dir, &Keys::none());
        let dir = dir.to_owned();
        streams.push(StreamDir { dir, meta });
    } else {
        let listing = directory::list(&**disk, dir, &Keys::none())?;
        report.remains = listing.remains;
        streams = listing.streams;
    }
    for stream in streams {
        let found = check_stream(disk, stream);
        report.streams += 1;
        report.damaged += usize::from(!found.damage.is_empty());
        tell(&found);
    }
    Ok(report)
}

/// Tells of every record of a stream, in order, and of those that cannot be read; the log goes on
/// behind those. What was removed and overwritten is not there any more.
///
/// # Errors
/// If the stream cannot be opened.
pub fn dump(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    tell: &mut dyn FnMut(Dumped<'_>),
) -> Result<(), LogError> {
    let id = match Meta::read(&**disk, dir, &Keys::none()) {
        Ok(found) => Some(found.meta.id),
        Err(_) => identity(&**disk, dir),
    };
    let missing = || {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, "this is no stream");
        LogError::Io(Reason::new("open", dir, &error))
    };
    let (mut store, opened) = open(disk, dir, id.ok_or_else(missing)?)?;
    let mut lost = opened.log.lost.iter().peekable();
    walk(&mut store, &mut |index, record| {
        while let Some(run) = lost.next_if(|run| run.first < index) {
            tell(Dumped::Lost(run.first, run.last));
        }
        tell(match record {
            Ok(record) => Dumped::Record(record),
            Err(_) => Dumped::Lost(index, index),
        });
    })?;
    lost.for_each(|run| tell(Dumped::Lost(run.first, run.last)));
    Ok(())
}

/// What stands in a log.
#[derive(Debug)]
pub enum Dumped<'a> {
    Record(&'a Record<'a>),
    /// Records from one index to another, both included, that are damaged or missing.
    Lost(LogIndex, LogIndex),
}

/// The name of a kind of records.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "message",
        Kind::Delete => "delete",
        Kind::Purge => "purge",
        Kind::Config => "configuration",
        Kind::Skip => "skip",
        Kind::Consumer => "consumer",
        Kind::Noop => "nothing",
        Kind::Membership => "membership",
        Kind::Abandon => "abandon",
        Kind::Timer => "timer",
    }
}

fn is_stream(disk: &dyn Disk, dir: &Path) -> Result<bool, LogError> {
    let entries = disk.list(dir);
    let entries = entries.map_err(|e| LogError::Io(Reason::new("list", dir, &e)))?;
    Ok(entries.iter().any(|entry| {
        segment_number(&entry.name).is_some() || ["meta.a", "meta.b"].contains(&&*entry.name)
    }))
}

fn open(disk: &Arc<dyn Disk>, dir: &Path, id: StreamId) -> Result<(StreamStore, Opened), LogError> {
    let options = StoreOptions {
        log: LogOptions::new(Arc::new(Handles::new(HANDLES))),
        limits: Limits::default(),
    };
    let overlay = Arc::new(Overlay::new(disk.clone()));
    StreamStore::open(overlay, dir, id, &options, None, &mut |_| {})
}

/// Which stream it is, by the first file that says so.
fn identity(disk: &dyn Disk, dir: &Path) -> Option<StreamId> {
    let mut entries = disk.list(dir).ok()?;
    entries.sort();
    entries.iter().find_map(|entry| {
        segment_number(&entry.name)?;
        let mut front = [0; FIRST_RECORD as usize];
        let file = disk.open(&dir.join(&entry.name)).ok()?;
        file.read_at(&mut front, 0).ok()?;
        let mut copies = front.chunks(HEADER_LEN);
        let header = copies.find_map(|copy| SegmentHeader::decode(copy).ok())?;
        Some(header.stream)
    })
}

/// Reads all records.
fn walk(
    store: &mut StreamStore,
    tell: &mut dyn FnMut(LogIndex, Result<&Record<'_>, StreamSeq>),
) -> Result<(), LogError> {
    let mut buffer = ReadBuffer::default();
    let log = store.log_mut();
    let mut from = log.first_index();
    loop {
        let mut budget = usize::MAX;
        match log.walk(from, &mut budget, |_| true, &mut buffer)? {
            Walk::Found(stored) => {
                let index = stored.record.index;
                tell(index, Ok(&stored.record));
                from = index.next();
            }
            Walk::Damaged(index, sequence) => {
                tell(index, Err(sequence));
                from = index.next();
            }
            Walk::Paused(index) => from = index,
            Walk::End => return Ok(()),
        }
    }
}

fn check_stream(disk: &Arc<dyn Disk>, stream: StreamDir) -> StreamReport {
    let dir = stream.dir;
    let mut report = StreamReport {
        dir: dir.clone(),
        names: None,
        state: None,
        consumers: 0,
        segments: 0,
        records: 0,
        damage: vec![],
        notes: vec![],
    };
    // A server has the lock of the directory that all streams are in.
    let root = dir.parent().and_then(Path::parent).unwrap_or(&dir);
    let lock = disk.lock(&dir.join("lock"));
    let lock = match lock {
        Ok(Some(_)) => disk.lock(&root.join("lock")),
        lock => lock,
    };
    match lock {
        Ok(None) => report.notes.push(
            "a server has it open: it may be written while it is read, and look damaged".into(),
        ),
        Ok(Some(_)) => {}
        Err(error) => report.notes.push(format!("lock: {error}")),
    }
    let mut id = None;
    match stream.meta {
        Ok(MetaFound { meta, damaged }) => {
            id = Some(meta.id);
            report.names = Some((meta.account, meta.stream));
            if let Some((path, error)) = damaged {
                report.damage.push(damaged_file(&path, error));
            }
        }
        Err(error @ MetaError::Key(..)) => {
            report.notes.push(error.to_string());
            report
                .notes
                .push("without its key, only headers and footers are checked".into());
        }
        Err(error) => report.damage.push(error.to_string()),
    }
    if let Err(error) = report.look_at_files(&**disk) {
        report.damage.push(error.to_string());
        return report;
    }
    let Some(id) = id.or_else(|| identity(&**disk, &dir)) else {
        if report.segments > 0 {
            report
                .damage
                .push("no file says which stream this is".into());
        }
        return report;
    };
    match open(disk, &dir, id) {
        Ok((store, opened)) => report.look_at_records(store, &opened),
        Err(LogError::Key(..)) => {}
        Err(error) => report.damage.push(format!("cannot be opened: {error}")),
    }
    report
}

fn damaged_file(path: &Path, error: FormatError) -> String {
    format!("{}: {error}", name_of(path))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into()
}

impl StreamReport {
    /// Looks at each file on its own.
    fn look_at_files(&mut self, disk: &dyn Disk) -> Result<(), LogError> {
        let failed = |path: &Path, e: &std::io::Error| LogError::Io(Reason::new("read", path, e));
        let mut entries = disk.list(&self.dir).map_err(|e| failed(&self.dir, &e))?;
        entries.sort();
        for entry in entries {
            let path = self.dir.join(&entry.name);
            if segment_number(&entry.name).is_some() {
                self.segments += 1;
                let looked = self.look_at_segment(disk, &path);
                looked.map_err(|e| failed(&path, &e))?;
            } else if entry.name.starts_with("checkpoint.") && !entry.name.ends_with(".new") {
                let bytes = read_file(disk, &path).map_err(|e| failed(&path, &e))?;
                let bytes = bytes.unwrap_or_default();
                let decoded = Container::decode(&bytes, ContainerKind::Checkpoint);
                if let Err(error) = decoded {
                    self.damage.push(damaged_file(&path, error));
                }
            } else if entry.name.ends_with(".foreign") || entry.name.ends_with(".torn") {
                let text = format!("{}: set aside by a server, {} bytes", entry.name, entry.len);
                self.notes.push(text);
            } else if entry.name.ends_with(".new") {
                let text = format!("{}: a crash left it half written", entry.name);
                self.notes.push(text);
            } else if !["lock", "meta.a", "meta.b"].contains(&&*entry.name) {
                self.notes
                    .push(format!("{}: no file of a stream", entry.name));
            }
        }
        Ok(())
    }

    /// What opening is content without: one of two headers, a footer.
    fn look_at_segment(&mut self, disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
        let file = disk.open(path)?;
        let name = name_of(path);
        let mut front = [0; FIRST_RECORD as usize];
        file.read_at(&mut front, 0)?;
        let mut headers = front.chunks(HEADER_LEN).map(SegmentHeader::decode);
        match (headers.next(), headers.next()) {
            (Some(Ok(first)), Some(Ok(second))) if first == second => {}
            (Some(Err(FormatError::Magic | FormatError::Short)), Some(Err(_)))
                if front.iter().all(|byte| *byte == 0) =>
            {
                self.notes
                    .push(format!("{name}: begun by a server that crashed then"));
            }
            (Some(Ok(_)), Some(Ok(_))) => {
                self.damage
                    .push(format!("{name}: the two headers are not the same"));
            }
            (first, second) => {
                for (which, header) in [("first", first), ("second", second)] {
                    if let Some(Err(error)) = header {
                        self.damage.push(format!("{name}, {which} header: {error}"));
                    }
                }
            }
        }
        let len = file.len()?;
        let mut tail = [0; FOOTER_LEN];
        file.read_at(&mut tail, len.saturating_sub(FOOTER_LEN as u64))?;
        match Footer::decode(&tail, len) {
            // Without a footer, the segment is one that is still appended to.
            Ok(_) | Err(FormatError::Magic | FormatError::Short) => {}
            Err(error) => self.damage.push(format!("{name}, footer: {error}")),
        }
        Ok(())
    }

    fn look_at_records(&mut self, mut store: StreamStore, opened: &Opened) {
        self.state = Some(store.state());
        let consumers = store.consumers();
        self.consumers = consumers.filter(|(_, c)| !c.is_cell()).count();
        let log = &opened.log;
        for run in &log.lost {
            let mut text = format!("records {} to {} are lost", run.first, run.last);
            if run.after.next() < run.before {
                let (first, last) = (run.after.next(), run.before.previous());
                text += &format!(", with the messages from {first} to {last}");
            }
            self.damage.push(text);
        }
        for name in &log.foreign {
            let name = name.trim_end_matches(".foreign");
            let text = format!("{name}: belongs to another stream, or is an older copy");
            self.damage.push(text);
        }
        if log.torn_bytes > 0 || !log.dropped.is_empty() {
            self.notes.push(format!(
                "torn end: {} bytes, which were not acknowledged",
                log.torn_bytes
            ));
        }
        if opened.rebuilt {
            let text = "no checkpoint can be used: the state comes from all records";
            self.notes.push(text.into());
        } else {
            let text = format!("{} records are newer than the checkpoint", opened.replayed);
            self.notes.push(text);
        }
        let consumers = &opened.consumers;
        if !consumers.set_back.is_empty() || consumers.orphans > 0 {
            self.damage.push(format!(
                "records about {} consumers are lost, and the creation of the consumers of {} batches",
                consumers.set_back.len(),
                consumers.orphans
            ));
        }
        for (first, last) in store.lost().collect::<Vec<_>>() {
            self.notes.push(format!("lost messages: {first} to {last}"));
        }
        let (mut records, mut bad) = (0, vec![]);
        let walked = walk(&mut store, &mut |index, record| match record {
            Ok(_) => records += 1,
            Err(sequence) => bad.push((index, sequence)),
        });
        self.records = records;
        let is_told = |index: LogIndex| {
            let mut runs = log.lost.iter();
            runs.any(|run| (run.first..=run.last).contains(&index))
        };
        for (index, sequence) in bad {
            // What was found to be lost has been told, with its neighbours.
            if is_told(index) {
                continue;
            }
            let file = store.log().file_of(index).unwrap_or_default();
            self.damage.push(format!(
                "{}: record {index} cannot be read, at sequence {sequence}",
                name_of(&file)
            ));
        }
        if let Err(error) = walked {
            self.damage.push(error.to_string());
        }
    }
}
