//! Where the messages of each subject are in a sealed segment, so that a search with a filter takes
//! the time of its matches and not that of the segment. It is found out by a job of its own when
//! searches have wasted more time than that costs, and forgotten when others need the memory.

use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;

use super::format::{Footer, SegmentHeader};
use super::log::{Log, segment_path};
use super::options::{BytesCount, Handles};
use super::read::ReadBuffer;
use super::sealed::Sealed;
use crate::store::crypt::SealKey;
use crate::store::disk::Disk;
use crate::store::index::Filters;

/// The subjects of one segment.
#[derive(Debug)]
pub(in crate::store) struct SegmentSubjects {
    /// The subjects in order, one behind the other, and where each ends.
    names: Vec<u8>,
    ends: Vec<u32>,
    /// Where the records of each subject begin in `ordinals`, and behind the last one.
    starts: Vec<u32>,
    ordinals: Vec<u32>,
    _count: Option<BytesCount>,
}

impl SegmentSubjects {
    fn of(sealed: &Sealed) -> SegmentSubjects {
        let mut ids: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut rows: Vec<(u32, u32)> = vec![];
        let mut buffer = ReadBuffer::default();
        sealed.glance_all(&mut buffer, |ordinal, glance| {
            let id = match ids.get(glance.subject) {
                Some(id) => *id,
                None => {
                    let id = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                    ids.insert(glance.subject.into(), id);
                    id
                }
            };
            rows.push((id, ordinal));
        });
        let mut subjects: Vec<(Box<[u8]>, u32)> = ids.into_iter().collect();
        subjects.sort_unstable();
        let mut ranks = vec![0; subjects.len()];
        for (rank, (_, id)) in subjects.iter().enumerate() {
            ranks[*id as usize] = u32::try_from(rank).unwrap_or(u32::MAX);
        }
        for (id, _) in &mut rows {
            *id = ranks[*id as usize];
        }
        rows.sort_unstable();
        let mut found = SegmentSubjects {
            names: vec![],
            ends: vec![],
            starts: vec![],
            ordinals: rows.iter().map(|(_, ordinal)| *ordinal).collect(),
            _count: None,
        };
        let mut at = 0;
        for (rank, (name, _)) in subjects.iter().enumerate() {
            found.names.extend_from_slice(name);
            let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            found.ends.push(short(found.names.len()));
            found.starts.push(short(at));
            at += rows[at..]
                .iter()
                .take_while(|row| row.0 as usize == rank)
                .count();
        }
        found
            .starts
            .push(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        found
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.names.len() + 4 * (self.ends.len() + self.starts.len() + self.ordinals.len())
    }

    fn name(&self, rank: usize) -> &[u8] {
        let start = rank.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[start as usize..self.ends[rank] as usize]
    }

    /// The first subject that is not before `key`.
    fn rank(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle) < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The records from `from` on whose subjects match, in order, `max` at most, and whether these
    /// are all; the subjects that were looked at are counted.
    pub(in crate::store) fn matching(
        &self,
        filters: &Filters,
        from: u32,
        max: usize,
        looked: &mut usize,
    ) -> (Vec<u32>, bool) {
        let mut found = vec![];
        let mut take = |rank: usize| {
            let range = self.starts[rank] as usize..self.starts[rank + 1] as usize;
            let ordinals = &self.ordinals[range];
            let behind = ordinals.partition_point(|ordinal| *ordinal < from);
            // One more tells that there are more.
            found.extend(ordinals[behind..].iter().take(max + 1));
        };
        for (front, is_wild) in filters.fronts() {
            for rank in self.rank(front)..self.ends.len() {
                let name = self.name(rank);
                *looked += 1;
                if !name.starts_with(front) || !is_wild && name.len() > front.len() {
                    break;
                }
                if !is_wild || filters.matches(name) {
                    take(rank);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        let is_all = found.len() <= max;
        found.truncate(max);
        (found, is_all)
    }
}

/// Of which segment it is to be found out where its subjects are; of one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Nothing,
    Segment(u64),
    /// A job is under way.
    Asked,
}

/// Finds out where the subjects of a segment are.
#[derive(Debug)]
pub struct SubjectsJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    footer: Footer,
    file_len: u64,
    key: Option<Arc<SealKey>>,
}

/// The outcome of a [`SubjectsJob`].
#[derive(Debug)]
pub struct SubjectsDone {
    header: SegmentHeader,
    /// Nothing if the file could not be opened; whoever reads it will be told.
    subjects: Option<SegmentSubjects>,
}

impl SubjectsJob {
    /// Reads the segment.
    pub fn run(self) -> SubjectsDone {
        let mut sealed = Sealed::new(self.footer, self.file_len);
        let opened = sealed.open(
            &*self.disk,
            &self.path,
            &Arc::new(Handles::new(1)),
            self.key,
        );
        SubjectsDone {
            header: self.footer.header,
            subjects: opened.is_ok().then(|| SegmentSubjects::of(&sealed)),
        }
    }
}

impl Log {
    /// The segment of which it is to be found out where its subjects are, if there is one.
    pub(in crate::store) fn subjects_job(&mut self) -> Option<SubjectsJob> {
        let Wanted::Segment(number) = self.wanted else {
            return None;
        };
        let Some(sealed) = self.sealed.iter_mut().find(|s| s.number() == number) else {
            self.wanted = Wanted::Nothing;
            return None;
        };
        sealed.passed = 0;
        self.wanted = Wanted::Nothing;
        let key = self.options.segment_key(&sealed.footer.header).ok()?;
        self.wanted = Wanted::Asked;
        Some(SubjectsJob {
            disk: self.disk.clone(),
            path: segment_path(&self.dir, number),
            key,
            footer: sealed.footer,
            file_len: sealed.file_len,
        })
    }

    /// Keeps what was found out, and forgets what was used longest ago if that takes too much.
    pub(in crate::store) fn handle_subjects(&mut self, done: SubjectsDone) {
        self.wanted = Wanted::Nothing;
        let Some(mut subjects) = done.subjects else {
            return;
        };
        let count = loop {
            if let Some(count) = self.options.handles.take_bytes(subjects.bytes()) {
                break count;
            }
            let some = self.sealed.iter_mut().filter(|s| s.subjects.is_some());
            match some.min_by_key(|s| s.used) {
                Some(oldest) => oldest.subjects = None,
                None => return,
            }
        };
        subjects._count = Some(count);
        // It may have been written anew meanwhile, and have been read half before and half after.
        if !self.is_as_before(&done.header) {
            return;
        }
        let is_it = |s: &&mut Sealed| s.number() == done.header.number;
        if let Some(sealed) = self.sealed.iter_mut().find(is_it) {
            self.reads += 1;
            sealed.used = self.reads;
            sealed.subjects = Some(Arc::new(subjects));
        }
    }
}
