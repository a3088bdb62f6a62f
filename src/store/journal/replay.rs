//! Puts what the journal has into the segments, before any log is opened.
//!
//! A frame is written to its segment as it is, if that segment is there and is the one that the
//! frame was made for: the checksums of its records start from the segment's header. A record that
//! is whole in the segment is left as it is, since it may have been overwritten on request; it is
//! written once more with the same bytes, though, because after a sync that failed it may be in
//! memory only. For the same reason the names of the segments are synced, also where nothing is
//! written: the segment that is seen may have taken the place of another one which the disk still
//! has, and whose records are in the journal only. All of this can be repeated, so a crash meanwhile
//! costs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::scan::{Scan, scan};
use crate::store::disk::{Disk, DiskFile, read_file};
use crate::store::error::{LogError, Reason, is_full};
use crate::store::file::format::{
    FIRST_RECORD, FormatError, Frame, HEADER_LEN, SegmentHeader, record_len, u32_at,
};
use crate::store::file::segment_path;
use crate::store::types::StreamId;

/// Segments from which on all are synced together.
const MANY_MIN: usize = 4;

/// The two files of a journal.
pub(super) const FILES: [&str; 2] = ["journal.a", "journal.b"];

/// What was found in a journal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Records that were put into their segments, or were there.
    pub records: u64,
    /// Records of streams and segments that are not there any more.
    pub passed_over: u64,
    /// What is damaged, in words. Records that are lost with it are told when their log is opened.
    pub damaged: Vec<String>,
}

/// Where the files of a stream are, if there is such a stream. The names of streams' directories must
/// be on the disk for good, and of those that were removed it must be known that they stay so: what
/// the journal has of a stream that is not found goes.
pub type Locate<'a> = &'a mut dyn FnMut(&StreamId) -> Option<PathBuf>;

/// Replays the journal in `dir`, and leaves none there; what is damaged is kept under another name.
pub(super) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    locate: Locate<'_>,
) -> Result<Replayed, LogError> {
    let mut report = Replayed::default();
    let halves = read(disk, dir, &mut report)?;
    let mut dirs = BTreeSet::new();
    let segments = segments(&halves);
    let barrier = match segments.len() < MANY_MIN {
        true => None,
        false => disk.barrier(dir).map_err(|e| failed("open", dir, &e))?,
    };
    for ((name, incarnation, number), ranges) in &segments {
        let stream = StreamId {
            name: *name,
            incarnation: *incarnation,
        };
        let stream_dir = locate(&stream);
        let path = stream_dir.as_ref().map(|dir| segment_path(dir, *number));
        let frames = frames(&halves, ranges);
        put(disk, path, frames, barrier.is_none(), &mut report)?;
        dirs.extend(stream_dir);
    }
    match barrier {
        Some(barrier) => {
            barrier.sync().map_err(|e| failed("sync", dir, &e))?;
        }
        None => dirs.iter().try_for_each(|dir| keep_names(disk, dir))?,
    }
    let is_damaged = !report.damaged.is_empty();
    for (path, ..) in &halves {
        let done = match is_damaged {
            true => disk.rename(path, &with_ending(path)),
            false => disk.remove(path),
        };
        done.map_err(|e| failed("remove", path, &e))?;
    }
    if !halves.is_empty() {
        disk.sync_dir(dir).map_err(|e| failed("sync", dir, &e))?;
    }
    Ok(report)
}

/// Puts what the journal has of some streams, which are not open, into their segments. The files of
/// the journal stay as they are.
pub(super) fn replay_some(
    disk: &dyn Disk,
    dir: &Path,
    streams: &HashMap<StreamId, PathBuf>,
) -> Result<Replayed, LogError> {
    let mut report = Replayed::default();
    let halves = read(disk, dir, &mut report)?;
    for ((name, incarnation, number), ranges) in &segments(&halves) {
        let stream = StreamId {
            name: *name,
            incarnation: *incarnation,
        };
        if let Some(stream_dir) = streams.get(&stream) {
            let path = Some(segment_path(stream_dir, *number));
            put(disk, path, frames(&halves, ranges), true, &mut report)?;
        }
    }
    for stream_dir in streams.values() {
        keep_names(disk, stream_dir)?;
    }
    Ok(report)
}

/// Sees to it that the disk has the names of a stream's segments, as they are seen. They may be those
/// of a process that ended before it had synced them, or whose sync failed.
fn keep_names(disk: &dyn Disk, stream_dir: &Path) -> Result<(), LogError> {
    match disk.sync_dir(stream_dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("sync", stream_dir, &e)),
        _ => Ok(()),
    }
}

/// Reads the files that are there, and puts down what is damaged; in the order of their generations.
fn read(disk: &dyn Disk, dir: &Path, report: &mut Replayed) -> Result<Vec<HalfFile>, LogError> {
    let mut halves = vec![];
    for name in FILES {
        let path = dir.join(name);
        let bytes = read_file(disk, &path).map_err(|e| failed("read", &path, &e))?;
        let Some(bytes) = bytes else { continue };
        let scan = match scan(&bytes) {
            Ok(scan) => scan,
            Err(error @ FormatError::Version { .. }) => {
                return Err(LogError::Format { file: path, error });
            }
            Err(error) => {
                report.damaged.push(format!("{}: {error}", path.display()));
                None
            }
        };
        let holes = scan.iter().flat_map(|scan| &scan.damaged);
        report.damaged.extend(holes.map(|hole| {
            let (start, end) = (hole.start, hole.end);
            format!("{}: bytes {start} to {end} are damaged", path.display())
        }));
        halves.push((path, bytes, scan));
    }
    halves.sort_by_key(|(.., scan)| scan.as_ref().map_or(0, |s| s.header.generation));
    Ok(halves)
}

/// A file of the journal, what is in it, and its frames, if it has a header.
type HalfFile = (PathBuf, Vec<u8>, Option<Scan>);

fn segments(halves: &[HalfFile]) -> Segments {
    let mut segments = Segments::new();
    for half in 0..halves.len() {
        let ranges = halves[half].2.iter().flat_map(|scan| &scan.frames);
        for range in ranges {
            let place = [(half, range.clone())];
            for frame in frames(halves, &place) {
                let key = (frame.stream.name, frame.stream.incarnation, frame.segment);
                segments.entry(key).or_default().extend(place.clone());
            }
        }
    }
    segments
}

fn frames<'a>(
    halves: &'a [HalfFile],
    places: &'a [(usize, Range<usize>)],
) -> impl Iterator<Item = Frame<'a>> {
    places.iter().filter_map(|(half, range)| {
        let (_, bytes, scan) = &halves[*half];
        let seed = scan.as_ref()?.header.seed();
        Some(Frame::decode(&bytes[range.clone()], seed)?.0)
    })
}

/// Frames by name and incarnation of their stream and number of their segment: the file of the
/// journal, and where they stand in it.
type Segments = BTreeMap<([u8; 16], [u8; 16], u64), Vec<(usize, Range<usize>)>>;

fn with_ending(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> LogError {
    match is_full(error) {
        true => LogError::Full,
        false => LogError::Io(Reason::new(doing, path, error)),
    }
}

/// Puts frames of one segment there, for good if `syncs`.
fn put<'a>(
    disk: &dyn Disk,
    path: Option<PathBuf>,
    frames: impl Iterator<Item = Frame<'a>>,
    syncs: bool,
    report: &mut Replayed,
) -> Result<(), LogError> {
    let mut pass = |frame: Frame<'_>| report.passed_over += u64::from(frame.records);
    let Some(path) = path else {
        frames.for_each(pass);
        return Ok(());
    };
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            frames.for_each(pass);
            return Ok(());
        }
        Err(e) => return Err(failed("open", &path, &e)),
    };
    let seeds = seeds(&*file).map_err(|e| failed("read", &path, &e))?;
    let mut records = 0;
    let mut buffer = vec![];
    for frame in frames {
        // Where no header can be read, the log makes it again from what was before.
        let is_it = seeds.is_empty() || seeds.contains(&frame.seed);
        if !is_it || frame.place < FIRST_RECORD {
            pass(frame);
            continue;
        }
        write(&*file, &frame, &mut buffer).map_err(|e| failed("write", &path, &e))?;
        records += u64::from(frame.records);
    }
    report.records += records;
    match records {
        _ if !syncs => Ok(()),
        0 => Ok(()),
        _ => file.sync().map_err(|e| failed("sync", &path, &e)),
    }
}

/// What records of the segment start from, by those of its headers that can be read.
fn seeds(file: &dyn DiskFile) -> io::Result<Vec<u32>> {
    let mut front = [0; FIRST_RECORD as usize];
    let read = file.read_at(&mut front, 0)?;
    let copies = front[..read].chunks(HEADER_LEN);
    let headers = copies.filter_map(|copy| SegmentHeader::decode(copy).ok());
    Ok(headers.map(|header| header.seed()).collect())
}

fn write(file: &dyn DiskFile, frame: &Frame<'_>, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.resize(frame.bytes.len(), 0);
    let read = file.read_at(buffer, frame.place.into())?;
    let mut at = 0;
    while let Some(len) = frame.bytes.get(at..).and_then(|rest| record_len(rest).ok()) {
        let Some(record) = frame.bytes.get(at..at + len) else {
            break;
        };
        if at + len > read || !is_same(&buffer[at..at + len], record, frame.seed) {
            buffer[at..at + len].copy_from_slice(record);
        }
        at += len;
    }
    file.write_at(&buffer[..at], frame.place.into())
}

/// Whether what stands in the segment is the record, whole, though perhaps with other contents.
fn is_same(there: &[u8], record: &[u8], seed: u32) -> bool {
    let crc = there.get(8..).map(|rest| crc32c::crc32c_append(seed, rest));
    // In either version these bytes tell which record it is, and no flag is among them.
    let is_its = u32_at(there, 0) == u32_at(record, 0) && there.get(10..22) == record.get(10..22);
    crc == u32_at(there, 4) && is_its
}
