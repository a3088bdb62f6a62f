//! Opens a log, whatever state its files were left in.
//!
//! What a crash may do is told from what only damage does by one number, the *evidence*: the
//! highest index of which something on the disk says that it was there for good. Footers say it
//! (they are written after the sync of all before them), every record says it of an older one, and
//! metadata and checkpoints do. So:
//!
//! - Records that are missing or damaged above the evidence were never acknowledged. They and all
//!   behind them, in whatever order the disk wrote those, are the torn end of the log and go.
//! - What is missing or damaged below it is lost. The rest stays where it is, the lost indexes are
//!   reported and never used again.
//! - A segment that does not continue the one before it (by stream, number, index or running hash)
//!   is foreign, or an older copy. It is set aside under another name, never removed.
//!
//! Files are looked at first and changed last, and every change can be repeated: a crash while a
//! log is opened costs nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::beside::marked;
use super::format::{
    Anew, FIRST_RECORD, FOOTER_LEN, Footer, FormatError, HEADER_LEN, Records, SegmentHeader,
};
use super::known::{Known, LostRun, Progress, Recovery};
use super::log::{Log, segment_number};
use super::open_segment::{LOST, OpenSegment};
use super::options::{LogOptions, Marks};
use super::read::SegmentFile;
use super::scan::{FILLER, Scan, scan};
use super::sealed::Sealed;
use super::subjects::Wanted;
use super::tail::Journaled;
use crate::base::clock::Mono;
use crate::store::crypt::{KeyFault, Sealer};
use crate::store::disk::{Disk, Entry};
use crate::store::error::{LogError, Reason, is_full};
use crate::store::types::{LogIndex, StreamId, StreamSeq, Term};

impl Log {
    /// Opens the log in `dir`, or begins one there.
    ///
    /// # Errors
    /// Nothing is changed if the directory is in use, or if a file is of a newer version. After
    /// other errors try again: what was repaired stays so.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        stream: StreamId,
        options: LogOptions,
        known: Known,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Log, Recovery), LogError> {
        let failed = |doing: &str, path: &Path, e: &io::Error| match is_full(e) {
            true => LogError::Full,
            false => LogError::Io(Reason::new(doing, path, e)),
        };
        if !options.is_new {
            disk.create_dir(dir)
                .map_err(|e| failed("create", dir, &e))?;
        }
        let lock_path = dir.join("lock");
        let lock = match &options.locks {
            Some(locks) if !disk.is_volatile() => locks.lock(dir),
            _ => disk
                .lock(&lock_path)
                .map_err(|e| failed("lock", &lock_path, &e))?,
        };
        let lock = lock.ok_or_else(|| LogError::Locked(dir.to_owned()))?;
        let mut opening = Opening {
            disk: &*disk,
            dir,
            stream,
            known,
            options: &options,
            leftovers: vec![],
            resets: vec![],
            report: Recovery::default(),
        };
        let found = match options.is_new {
            true => vec![],
            false => opening.find(progress)?,
        };
        let plan = opening.judge(found);
        let kept = opening
            .repair(plan)
            .map_err(|e| failed("repair", dir, &e))?;
        let report = opening.report;
        let mut log = Log {
            likes_zeros: disk.likes_zeros(dir),
            disk,
            dir: dir.to_owned(),
            stream,
            options,
            sealed: kept.sealed,
            open: kept.open.into(),
            given_up: kept.given_up,
            durable: kept.durable,
            journaled: Journaled::default(),
            hold: LogIndex(u64::MAX),
            failed: None,
            synced_at: Mono::ZERO,
            in_round: false,
            reads: 0,
            found: Default::default(),
            found_open: Default::default(),
            wanted: Wanted::Nothing,
            turn: Mono::ZERO,
            marks: Marks::default(),
            failures: vec![],
            rewriting: None,
            lock: Arc::new(lock),
        };
        let is_active = kept.next.is_none();
        if let Some(header) = kept.next {
            let is_begun = header.number == 1 && header.first_index == LogIndex(1);
            let waits = log.options.opens_unsynced && is_begun && known.trust_upto.is_none();
            let made = log.create(header, 0).and_then(|mut segment| {
                if !waits {
                    segment.file.file.sync()?;
                    log.disk.sync_dir(dir)?;
                    segment.named = true;
                }
                Ok(segment)
            });
            log.open
                .push_back(made.map_err(|e| failed("create", dir, &e))?);
        }
        if is_active && known.trust_upto.is_some() {
            log.renew()?;
        }
        Ok((log, report))
    }
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    stream: StreamId,
    known: Known,
    options: &'a LogOptions,
    /// Segments that were being written anew.
    leftovers: Vec<String>,
    /// Files that say from which number on segments are of no use, or were until the checkpoint said
    /// that the log begins there.
    resets: Vec<(String, bool)>,
    report: Recovery,
}

/// A segment as its file was found.
struct Found {
    name: String,
    number: u64,
    header: SegmentHeader,
    file_len: u64,
    kind: FoundKind,
}

enum FoundKind {
    Sealed(Footer),
    /// Without a footer, but with records, or at least with a header.
    Open {
        scan: Scan,
        bad_header: bool,
    },
    /// Without header, footer and anything that could be a record.
    Empty,
    /// With something in it that nothing tells what it is.
    Nameless,
    Foreign,
}

impl Found {
    /// The highest number that it stands for.
    fn last_number(&self) -> u64 {
        match self.kind {
            FoundKind::Sealed(_) | FoundKind::Open { .. } => self.header.last_number(),
            _ => self.number,
        }
    }

    fn last_index(&self) -> LogIndex {
        let records = match &self.kind {
            FoundKind::Sealed(footer) => footer.records,
            FoundKind::Open { scan, .. } => scan.contents.records(),
            _ => 0,
        };
        LogIndex(self.header.first_index.0 - 1 + u64::from(records))
    }

    fn is_open(&self) -> bool {
        matches!(self.kind, FoundKind::Open { .. })
    }

    /// Whether there is a header and nothing else.
    fn is_blank(&self) -> bool {
        match &self.kind {
            FoundKind::Open { scan, .. } => {
                scan.contents.offsets.is_empty() && scan.used <= FIRST_RECORD
            }
            _ => false,
        }
    }

    fn last_sequence(&self) -> StreamSeq {
        let base = self.header.base_sequence;
        match &self.kind {
            FoundKind::Sealed(footer) => footer.last_sequence,
            FoundKind::Open { scan, .. } => {
                let distance = scan.contents.sequences.last().copied().unwrap_or(0);
                StreamSeq(base.0 + u64::from(distance))
            }
            _ => base,
        }
    }
}

/// What is to become of the files.
#[derive(Default)]
struct Plan {
    kept: Vec<Found>,
    foreign: Vec<Found>,
    /// Segments that are in another one, which was written and synced before.
    merged: Vec<Found>,
    dropped: Vec<Found>,
    torn: Vec<Found>,
    /// Segments that the log has given up before, which stay where they are.
    given_up: Vec<Entry>,
    evidence: LogIndex,
    /// Where the log ends, and what goes on from there.
    end: LogIndex,
    sequence: StreamSeq,
    number: u64,
    /// Whether the last segment may be appended to.
    goes_on: bool,
}

struct Kept {
    sealed: Vec<Sealed>,
    open: Vec<OpenSegment>,
    given_up: Vec<Entry>,
    /// The segment that is to be made to go on with.
    next: Option<SegmentHeader>,
    durable: LogIndex,
}

/// The state of the judgement between two segments.
struct Course {
    end: LogIndex,
    sequence: StreamSeq,
    /// `None` after damage, which leaves it unknown.
    chain: Option<u64>,
    /// The highest number that the last segment stands for, and whether it had a footer.
    number: u64,
    whole: bool,
    is_cut: bool,
}

impl Opening<'_> {
    /// Looks at all segments, in their order.
    fn find(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Found>, LogError> {
        let failed = |e: io::Error| LogError::Io(Reason::new("list", self.dir, &e));
        let entries = self.disk.list(self.dir).map_err(failed)?;
        let is_leftover = |entry: &&Entry| {
            let stem = entry.name.strip_suffix(".new");
            stem.is_some_and(|stem| segment_number(&format!("{stem}.seg")).is_some())
        };
        let leftovers = entries.iter().filter(is_leftover);
        self.leftovers = leftovers.map(|entry| entry.name.clone()).collect();
        let mut unused = u64::MAX;
        for entry in &entries {
            let Some(number) = marked(&entry.name) else {
                continue;
            };
            let is_done = number <= self.known.start.segment;
            self.resets.push((entry.name.clone(), is_done));
            if !is_done {
                unused = unused.min(number);
            }
        }
        let is_unused = |name: &str| segment_number(name).is_some_and(|n| n >= unused);
        let of_no_use = entries.iter().filter(|entry| is_unused(&entry.name));
        let of_no_use: Vec<_> = of_no_use.map(|entry| entry.name.clone()).collect();
        let entries = entries.into_iter().filter(|entry| !is_unused(&entry.name));
        self.leftovers.extend(of_no_use);
        let numbered = |entry: Entry| Some((segment_number(&entry.name)?, entry));
        let mut files: Vec<_> = entries.filter_map(numbered).collect();
        files.sort_by_key(|(number, _)| *number);
        let of = files.len() as u64;
        let mut found: Vec<Found> = Vec::with_capacity(files.len());
        for (done, (number, entry)) in files.into_iter().enumerate() {
            let before = found.last().filter(|f| f.last_number() + 1 == number);
            let derived = match number {
                1 => Some(self.first_header()),
                _ => before.and_then(|f| self.derived(f)),
            };
            let path = self.dir.join(&entry.name);
            let one = self.look(number, &entry, derived);
            let one = one.map_err(|fault| match fault {
                Fault::Io(e) => LogError::Io(Reason::new("read", &path, &e)),
                Fault::Format(error) => LogError::Format {
                    file: path.clone(),
                    error,
                },
                Fault::Key(fault) => LogError::Key(path.clone(), fault),
            })?;
            found.push(one);
            let done = done as u64 + 1;
            progress(Progress { done, of });
        }
        Ok(found)
    }

    /// The header that the first segment of a log has, unless its sequences began elsewhere.
    fn first_header(&self) -> SegmentHeader {
        SegmentHeader {
            records: self.options.records,
            stream: self.stream,
            number: 1,
            first_index: LogIndex(1),
            base_sequence: StreamSeq(0),
            term: Term(0),
            generation: 0,
            chain: 0,
            key_salt: [0; 16],
            anew: Anew::default(),
        }
    }

    /// The header that a segment must have behind this one.
    fn derived(&self, before: &Found) -> Option<SegmentHeader> {
        let (chain, term) = match &before.kind {
            FoundKind::Sealed(footer) => (footer.chain, footer.last_term),
            FoundKind::Open { scan, .. } if !scan.contents.is_altered => {
                (scan.contents.chain, scan.contents.last_term)
            }
            _ => return None,
        };
        Some(SegmentHeader {
            number: before.last_number() + 1,
            first_index: before.last_index().next(),
            base_sequence: before.last_sequence(),
            term,
            chain,
            ..self.first_header()
        })
    }

    fn look(
        &mut self,
        number: u64,
        entry: &Entry,
        derived: Option<SegmentHeader>,
    ) -> Result<Found, Fault> {
        let file = self
            .disk
            .open(&self.dir.join(&entry.name))
            .map_err(Fault::Io)?;
        let read = |at: u64, len: usize| -> Result<Vec<u8>, Fault> {
            let mut bytes = vec![0; len];
            let read = file.read_at(&mut bytes, at).map_err(Fault::Io)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        let tail = read(entry.len.saturating_sub(FOOTER_LEN as u64), FOOTER_LEN)?;
        let footer = newer(Footer::decode(&tail, entry.len))?;
        let front = read(0, FIRST_RECORD as usize)?;
        let mut headers = Vec::new();
        for copy in front.chunks(HEADER_LEN) {
            headers.extend(newer(SegmentHeader::decode(copy))?);
        }
        let bad_header = headers.len() < 2;
        let named = headers.first().copied().or(footer.map(|f| f.header));
        let whole = || read(0, usize::try_from(entry.len).unwrap_or(usize::MAX));
        let header = match (named, derived) {
            (None, Some(derived)) => Some(self.fitting(derived, &whole()?)),
            _ => named,
        };
        let own = header.filter(|h| h.stream == self.stream && h.number == number);
        let key = own
            .map(|header| self.options.segment_key(&header))
            .transpose();
        let key = key.map_err(Fault::Key)?.flatten();
        let kind = match (header, footer) {
            (None, _) => nameless(&whole()?),
            (Some(h), _) if h.stream != self.stream || h.number != number => FoundKind::Foreign,
            (Some(h), Some(footer)) if footer.header == h => FoundKind::Sealed(footer),
            (Some(h), _) => {
                let bytes = whole()?;
                let scan = scan(&bytes, &h, key.as_deref());
                self.report.scanned += 1;
                match named.is_none() && scan.contents.offsets.is_empty() {
                    true => nameless(&bytes),
                    false => FoundKind::Open { scan, bad_header },
                }
            }
        };
        Ok(Found {
            name: entry.name.clone(),
            number,
            header: header.unwrap_or(self.first_header()),
            file_len: entry.len,
            kind,
        })
    }

    /// A header that was made again, as a segment with these bytes had it: of either version, encrypted or
    /// not.
    fn fitting(&self, derived: SegmentHeader, bytes: &[u8]) -> SegmentHeader {
        let salts = self.options.key.as_ref().map(|key| key.salts(&derived));
        let salts = std::iter::once([0; 16]).chain(salts.into_iter().flatten());
        let has_records = |h: &SegmentHeader| !scan(bytes, h, None).contents.offsets.is_empty();
        let mut all = salts.flat_map(|key_salt| {
            [Records::Compact, Records::Wide].map(|records| SegmentHeader {
                records,
                key_salt,
                ..derived
            })
        });
        all.find(has_records).unwrap_or(derived)
    }

    /// Decides what stays, what is lost and what goes.
    fn judge(&mut self, found: Vec<Found>) -> Plan {
        let evidence = self.evidence(&found);
        let mut plan = Plan::default();
        // They go with the segments of before, the first of all.
        let done = self.resets.iter().filter(|(_, is_done)| *is_done);
        let done = done.map(|(name, _)| Entry {
            name: name.clone(),
            len: 0,
        });
        plan.given_up.extend(done);
        let mut course: Option<Course> = None;
        let mut found = found.into_iter().peekable();
        while let Some(mut one) = found.next() {
            if one.last_number() < self.known.start.segment {
                plan.given_up.push(Entry {
                    name: one.name,
                    len: one.file_len,
                });
                continue;
            }
            if course.as_ref().is_some_and(|c| one.number <= c.number) {
                plan.merged.push(one);
                continue;
            }
            if course.as_ref().is_some_and(|c| c.is_cut) {
                plan.dropped.push(one);
                continue;
            }
            let end = course.as_ref().map_or(LogIndex(0), |c| c.end);
            match one.kind {
                // This is what a crash leaves of a new segment.
                FoundKind::Empty => {
                    plan.dropped.push(one);
                    continue;
                }
                // Where the next one goes on from the one before, there was no record in it.
                FoundKind::Nameless
                    if end.next() > evidence || continues(course.as_ref(), found.peek()) =>
                {
                    plan.torn.push(one);
                    continue;
                }
                FoundKind::Nameless | FoundKind::Foreign => {
                    plan.foreign.push(one);
                    continue;
                }
                _ => {}
            }
            let course = match &mut course {
                Some(course) => course,
                None => course.insert(self.start(&one)),
            };
            let first = one.header.first_index;
            let continues = first == course.end.next();
            // The end of a segment without a footer may be lost, and its hash is not the last then.
            let comparable = continues || course.whole && course.number + 1 == one.number;
            let other = comparable && course.chain.is_some_and(|c| c != one.header.chain);
            if first <= course.end || other {
                // A segment that could not be made when it was to be leaves its name and header.
                match one.is_blank() {
                    true => plan.dropped.push(one),
                    false => plan.foreign.push(one),
                }
                continue;
            }
            if !continues {
                if course.end.next() > evidence {
                    course.is_cut = true;
                    plan.dropped.push(one);
                    continue;
                }
                self.report.lost.push(LostRun {
                    first: course.end.next(),
                    last: first.previous(),
                    after: course.sequence,
                    before: one.header.base_sequence.next(),
                });
            }
            course.is_cut = self.judge_holes(&mut one, evidence);
            course.end = one.last_index();
            course.sequence = one.last_sequence();
            course.number = one.last_number();
            course.whole = matches!(one.kind, FoundKind::Sealed(_));
            course.chain = match &one.kind {
                FoundKind::Sealed(footer) => Some(footer.chain),
                FoundKind::Open { scan, .. }
                    if scan.holes.is_empty() && !scan.contents.is_altered =>
                {
                    Some(scan.contents.chain)
                }
                _ => None,
            };
            plan.kept.push(one);
        }
        self.conclude(plan, course, evidence)
    }

    /// Cuts off what is behind a hole above the evidence, or beyond what can be trusted; reports
    /// holes below. Says whether something was cut.
    fn judge_holes(&mut self, one: &mut Found, evidence: LogIndex) -> bool {
        let first = one.header.first_index.0;
        let FoundKind::Open { scan, .. } = &mut one.kind else {
            return false;
        };
        // What was written anew was complete before, and is below the evidence.
        let was_complete = one.header.generation > 0;
        let index_at = |ordinal: u32| LogIndex(first + u64::from(ordinal));
        let mut cut = None;
        let torn = scan.holes.iter().find(|h| index_at(h.ordinal) > evidence);
        if let Some(hole) = torn.filter(|_| !was_complete) {
            cut = Some((hole.ordinal, hole.at));
        }
        if let Some(trusted) = self.known.trust_upto.filter(|_| !was_complete) {
            let keep = (trusted.0 + 1).saturating_sub(first);
            let keep = u32::try_from(keep).unwrap_or(u32::MAX);
            let is_sooner = cut.is_none_or(|(ordinal, _)| keep <= ordinal);
            if keep < scan.contents.records() && is_sooner {
                cut = Some((keep, scan.contents.offsets[keep as usize]));
            }
        }
        if let Some((ordinal, at)) = cut {
            scan.contents.truncate(ordinal as usize);
            scan.is_cut = true;
            scan.holes.retain(|h| h.ordinal < ordinal);
            // A lost record has no place: what was kept ends before it.
            scan.end = at.max(FIRST_RECORD).min(scan.end);
        }
        for hole in scan.holes.iter().filter(|h| h.records > 0) {
            self.report.lost.push(LostRun {
                first: index_at(hole.ordinal),
                last: LogIndex(first + u64::from(hole.ordinal + hole.records) - 1),
                after: hole.after,
                before: hole.before,
            });
        }
        cut.is_some()
    }

    fn evidence(&self, found: &[Found]) -> LogIndex {
        if let Some(trusted) = self.known.trust_upto {
            return trusted;
        }
        let of = |one: &Found| match &one.kind {
            FoundKind::Sealed(_) => one.last_index(),
            // It was complete once.
            FoundKind::Open { scan, .. } if one.header.generation > 0 => {
                scan.durable.max(one.last_index())
            }
            FoundKind::Open { scan, .. } => scan.durable,
            _ => LogIndex(0),
        };
        // A log that was given up may have been longer than the one that took its place.
        let own = |one: &&Found| one.last_number() >= self.known.start.segment;
        let files = found.iter().filter(own).map(of).max().unwrap_or_default();
        files.max(self.known.durable)
    }

    /// Where the judgement begins: before the first segment. What was before it is lost, if it is
    /// known to have been there.
    fn start(&mut self, first: &Found) -> Course {
        let header = &first.header;
        let start = self.known.start;
        if start.index.0 > 0 && start.index < header.first_index {
            self.report.lost.push(LostRun {
                first: start.index,
                last: header.first_index.previous(),
                after: start.sequence,
                before: header.base_sequence.next(),
            });
        }
        Course {
            end: header.first_index.previous(),
            sequence: header.base_sequence,
            chain: Some(header.chain),
            number: 0,
            whole: false,
            is_cut: false,
        }
    }

    /// Where the log goes on.
    fn conclude(&mut self, mut plan: Plan, course: Option<Course>, evidence: LogIndex) -> Plan {
        let start = self.known.start;
        let course = course.unwrap_or(Course {
            end: start.index.previous(),
            sequence: start.sequence,
            chain: Some(0),
            number: 0,
            whole: false,
            is_cut: false,
        });
        plan.evidence = evidence;
        plan.end = course.end;
        plan.sequence = course.sequence;
        if course.end < evidence {
            plan.end = evidence;
            plan.sequence = course.sequence.max(self.known.sequence);
            self.report.lost.push(LostRun {
                first: course.end.next(),
                last: evidence,
                after: course.sequence,
                before: plan.sequence.next(),
            });
        }
        let last = plan.kept.last();
        let last_number = last.map_or(0, Found::last_number);
        // A number is not used again while a file that had it may still be there.
        let aside = plan.foreign.iter().chain(&plan.dropped).chain(&plan.torn);
        let aside = aside.chain(&plan.merged);
        let aside = aside.map(|f| f.number);
        let highest = aside.chain([last_number, self.known.start.segment.saturating_sub(1)]);
        plan.number = highest.max().unwrap_or(0) + 1;
        plan.goes_on = last.is_some_and(|l| {
            let is_whole = matches!(&l.kind, FoundKind::Open { scan, .. } if scan.holes.is_empty());
            let header = &l.header;
            let fits = header.generation == 0 && self.options.is_up_to_date(header);
            is_whole && course.end == plan.end && fits
        });
        plan
    }

    /// Does what was decided.
    fn repair(&mut self, plan: Plan) -> io::Result<Kept> {
        self.set_aside(&plan)?;
        let (mut sealed, mut open) = (vec![], vec![]);
        let (mut term, mut chain) = (Term(0), 0);
        let mut headers = plan
            .kept
            .iter()
            .map(|f| f.header)
            .collect::<Vec<_>>()
            .into_iter();
        headers.next();
        for one in plan.kept {
            let next = headers.next();
            let (scan, bad_header) = match one.kind {
                FoundKind::Open { scan, bad_header } => (scan, bad_header),
                FoundKind::Sealed(footer) => {
                    (term, chain) = (footer.last_term, footer.chain);
                    sealed.push(Sealed::new(footer, one.file_len));
                    continue;
                }
                FoundKind::Empty | FoundKind::Nameless | FoundKind::Foreign => continue,
            };
            self.report.torn_bytes += u64::from(scan.used.saturating_sub(scan.end));
            let file = (one.header, &*one.name, one.file_len);
            // Those that get a footer are synced before that.
            let waits = self.options.opens_unsynced && next.is_none() && plan.goes_on;
            let found = (scan, bad_header);
            let mut segment = self.reopen(file, found, plan.evidence, !waits)?;
            // What is lost is missing from the running hash, which the next segment tells.
            if let Some(next) = next.filter(|n| n.number == one.header.last_number() + 1) {
                segment.contents.chain = next.chain;
            }
            (term, chain) = (segment.contents.last_term, segment.contents.chain);
            let is_last = next.is_none();
            if is_last && plan.goes_on {
                open.push(segment);
                continue;
            }
            // Its footer makes it a part of the log that is known to be whole. Without room for one
            // its tables are made again when it is read.
            let seal = segment.seal();
            let file_len = match seal.write(&*segment.file.file) {
                Ok(()) => seal.file_len,
                Err(e) if is_full(&e) => segment.file.file.len()?,
                Err(e) => return Err(e),
            };
            sealed.push(Sealed::new(seal.footer, file_len));
        }
        let next = (!plan.goes_on).then_some(self.options.encrypted(SegmentHeader {
            number: plan.number,
            first_index: plan.end.next(),
            base_sequence: plan.sequence,
            term,
            chain,
            ..self.first_header()
        }));
        Ok(Kept {
            sealed,
            open,
            given_up: plan.given_up,
            next,
            durable: plan.end,
        })
    }

    fn set_aside(&mut self, plan: &Plan) -> io::Result<()> {
        let changes = [&plan.merged, &plan.dropped, &plan.torn, &plan.foreign];
        // A footer proves all before it, for which the disk needs the names of the segments.
        let open = plan.kept.iter().filter(|one| one.is_open()).count();
        let is_changed = open > usize::from(plan.goes_on)
            || !self.leftovers.is_empty()
            || !self.resets.is_empty()
            || changes.iter().any(|all| !all.is_empty());
        for name in &self.leftovers {
            self.disk.remove(&self.dir.join(name))?;
        }
        let undone = self.resets.iter().filter(|(_, is_done)| !is_done);
        for (n, (name, _)) in undone.enumerate() {
            if n == 0 {
                // The segments go before what says that they are of no use.
                self.disk.sync_dir(self.dir)?;
            }
            self.disk.remove(&self.dir.join(name))?;
        }
        for one in plan.merged.iter() {
            self.disk.remove(&self.dir.join(&one.name))?;
        }
        for one in plan.dropped.iter().rev() {
            self.disk.remove(&self.dir.join(&one.name))?;
            self.report.torn_bytes += one.file_len;
            self.report.dropped.push(one.name.clone());
        }
        for one in &plan.torn {
            self.rename(&one.name, "torn")?;
            self.report.torn_bytes += one.file_len;
            self.report.dropped.push(one.name.clone());
        }
        for one in &plan.foreign {
            let name = self.rename(&one.name, "foreign")?;
            self.report.foreign.push(name);
        }
        let waits = self.options.opens_unsynced || self.options.is_new;
        match waits && !is_changed {
            true => Ok(()),
            false => self.disk.sync_dir(self.dir),
        }
    }

    fn rename(&self, name: &str, ending: &str) -> io::Result<String> {
        let new = format!("{name}.{ending}");
        self.disk
            .rename(&self.dir.join(name), &self.dir.join(&new))?;
        Ok(new)
    }

    /// Opens a segment without a footer, rid of what is behind its last record, and sees to it that
    /// the disk has what was read: it may have been in memory only.
    fn reopen(
        &self,
        (header, name, file_len): (SegmentHeader, &str, u64),
        (scan, bad_header): (Scan, bool),
        evidence: LogIndex,
        syncs: bool,
    ) -> io::Result<OpenSegment> {
        let path = self.dir.join(name);
        let least = self.options.segment_bytes.max(scan.end);
        let len = u32::try_from(file_len).unwrap_or(u32::MAX);
        let capacity = least.max(len);
        let file = match self.known.trust_upto {
            Some(_) => self.write_anew(&header, &path, &scan)?,
            None => self.disk.open(&path)?,
        };
        let key = self
            .options
            .segment_key(&header)
            .map_err(io::Error::other)?;
        let handles = &self.options.handles;
        let file = SegmentFile::pinned(file, capacity as usize, handles, key);
        let mut bytes = vec![0; scan.end as usize];
        if file.file.read_at(&mut bytes, 0)? < bytes.len() && scan.end > FIRST_RECORD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut contents = scan.contents;
        if scan.is_cut {
            contents = super::scan::scan(&bytes, &header, file.key.as_deref()).contents;
        }
        if self.known.trust_upto.is_none() {
            if bad_header || evidence < header.first_index {
                file.file.write_at(&header.encode().repeat(2), 0)?;
            }
            if scan.filled > scan.end {
                let filler = vec![FILLER; (scan.filled - scan.end) as usize];
                file.file.write_at(&filler, scan.end.into())?;
            }
            // After a sync that failed, in this process or one before, what is read may be in memory
            // only, and be taken there for what the disk has. What nothing proves is written again.
            let proven = evidence.0.saturating_sub(header.first_index.previous().0);
            let proven = usize::try_from(proven).unwrap_or(usize::MAX);
            if let Some(from) = contents.offsets.iter().skip(proven).find(|at| **at != LOST) {
                file.file
                    .write_at(&bytes[*from as usize..], (*from).into())?;
            }
            if syncs {
                file.file.sync()?;
            }
        }
        let reserved = u32::try_from(file.file.len()?).unwrap_or(u32::MAX);
        let mut segment = OpenSegment {
            seed: header.seed(),
            path,
            sealer: file.key.clone().map(Sealer::new),
            file,
            capacity,
            written: scan.end,
            reserved: reserved.max(scan.end),
            pending: vec![],
            contents,
            synced: LogIndex(0),
            in_flight: false,
            named: true,
            header,
        };
        segment.synced = segment.last_index();
        Ok(segment)
    }

    /// Writes the records that are kept to a new file in place of the old one, whose blocks the
    /// disk may have refused.
    fn write_anew(
        &self,
        header: &SegmentHeader,
        path: &Path,
        scan: &Scan,
    ) -> io::Result<Arc<dyn crate::store::disk::DiskFile>> {
        let old = self.disk.open(path)?;
        let mut bytes = vec![0; scan.end as usize];
        let read = old.read_at(&mut bytes, 0)?;
        if read < bytes.len() && scan.end > FIRST_RECORD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes[..FIRST_RECORD as usize].copy_from_slice(&header.encode().repeat(2));
        let new = path.with_extension("new");
        let file = self
            .disk
            .create(&new, self.options.segment_bytes.max(scan.end) as usize)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        self.disk.rename(&new, path)?;
        self.disk.sync_dir(self.dir)?;
        Ok(file)
    }
}

/// Whether a segment is the one that follows, by its index and by what was before it.
fn continues(course: Option<&Course>, next: Option<&Found>) -> bool {
    course.zip(next).is_some_and(|(course, next)| {
        let header = &next.header;
        matches!(next.kind, FoundKind::Sealed(_) | FoundKind::Open { .. })
            && header.first_index == course.end.next()
            && course.chain == Some(header.chain)
    })
}

/// A file of which nothing tells what it is.
fn nameless(bytes: &[u8]) -> FoundKind {
    let records = bytes.get(FIRST_RECORD as usize..).unwrap_or_default();
    match records.iter().all(|b| [0, FILLER].contains(b)) {
        true => FoundKind::Empty,
        false => FoundKind::Nameless,
    }
}

enum Fault {
    Io(io::Error),
    Format(FormatError),
    Key(KeyFault),
}

/// Bytes that are none of ours are found out otherwise; a newer version is nothing to touch.
fn newer<T>(result: Result<T, FormatError>) -> Result<Option<T>, Fault> {
    match result {
        Ok(it) => Ok(Some(it)),
        Err(error @ FormatError::Version { .. }) => Err(Fault::Format(error)),
        Err(_) => Ok(None),
    }
}
