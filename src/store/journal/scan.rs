//! Reads a file of the journal: its frames, and what is damaged between them.
//!
//! Syncs follow one another: a batch is written when the one before is on the disk for good. So
//! what is missing in the last batch was never acknowledged, and what is missing before it is
//! damage. Frames behind damage are as good as others, since each stands for itself.

use std::ops::Range;

use crate::store::file::format::{
    FRAME_MAX, FormatError, Frame, JOURNAL_SLOT, JOURNAL_START, JournalHeader, Turn, turn_of,
    u32_at,
};

/// Bytes that are looked at when frames are searched for, in lengths of the file.
const SEARCH_MAX: usize = 16;

/// What is in a file of the journal.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) header: JournalHeader,
    /// Where the frames stand.
    pub(super) frames: Vec<Range<usize>>,
    /// Where bytes stood of which a whole sync was told, and which are damaged.
    pub(super) damaged: Vec<Range<usize>>,
}

/// Reads a file; `None` if no frame was ever written to it. Of its two headers the newer one that is
/// whole counts: where that is the older one, the frames are of before, and in their segments.
pub(super) fn scan(bytes: &[u8]) -> Result<Option<Scan>, FormatError> {
    let mut newest: Option<JournalHeader> = None;
    let mut fault = FormatError::Short;
    for slot in bytes
        .chunks(JOURNAL_SLOT)
        .take(JOURNAL_START / JOURNAL_SLOT)
    {
        match JournalHeader::decode(slot) {
            Ok(header) if newest.is_some_and(|n| n.generation > header.generation) => {}
            Ok(header) => newest = Some(header),
            Err(error @ FormatError::Version { .. }) => return Err(error),
            Err(error) => fault = error,
        }
    }
    // Frames come when the disk has the header. Where there are none, it was only begun.
    let frames = bytes.get(JOURNAL_START..).unwrap_or_default();
    let Some(header) = newest else {
        return match frames.iter().all(|b| *b == 0) {
            true => Ok(None),
            false => Err(fault),
        };
    };
    let seed = header.seed();
    let mut scan = Scan {
        header,
        frames: vec![],
        damaged: vec![],
    };
    // Holes, with the batch of the first frame that is missing in each.
    let mut holes: Vec<(Range<usize>, u32)> = vec![];
    let mut expected = (0, 0);
    let mut last_batch = 0;
    let mut at = JOURNAL_START;
    let mut budget = SEARCH_MAX.saturating_mul(bytes.len());
    while at < bytes.len() {
        let found = match follows(bytes, at, seed, expected) {
            Some(found) => Some((at, found)),
            None => search(bytes, at + 1, seed, expected, &mut budget),
        };
        let Some((start, (len, turn))) = found else {
            break;
        };
        if start > at || (turn.batch, turn.ordinal) != expected {
            holes.push((at..start, expected.0));
        }
        scan.frames.push(start..start + len);
        expected = turn.next();
        last_batch = turn.batch;
        at = start + len;
    }
    if budget == 0 {
        scan.damaged.push(at..bytes.len());
    }
    let before_last = holes.into_iter().filter(|(_, batch)| *batch < last_batch);
    scan.damaged.extend(before_last.map(|(hole, _)| hole));
    Ok(Some(scan))
}

/// The length and turn of the frame at `at`, if there is one that can stand there.
fn follows(bytes: &[u8], at: usize, seed: u32, expected: (u32, u16)) -> Option<(usize, Turn)> {
    let rest = bytes.get(at..)?;
    let turn = turn_of(rest)?;
    if (turn.batch, turn.ordinal) < expected {
        return None;
    }
    let (frame, turn) = Frame::decode(rest, seed)?;
    Some((frame.len(), turn))
}

/// The next frame after damage. What looks like one and is none uses up the budget, in bytes: messages
/// may be made of such.
fn search(
    bytes: &[u8],
    from: usize,
    seed: u32,
    expected: (u32, u16),
    budget: &mut usize,
) -> Option<(usize, (usize, Turn))> {
    // A batch is written when the one before is complete, so that numbers grow slower than bytes.
    let plausible = |at: usize| -> bool {
        let rest = &bytes[at..];
        let len = u32_at(rest, 0).unwrap_or(u32::MAX) as usize;
        let turn = turn_of(rest);
        let near = turn.is_some_and(|turn| {
            let distance = turn.batch.wrapping_sub(expected.0) as usize;
            distance <= at - from + 1
        });
        near && len <= rest.len().min(FRAME_MAX)
    };
    for at in (from..bytes.len()).filter(|at| plausible(*at)) {
        if let Some(found) = follows(bytes, at, seed, expected) {
            return Some((at, found));
        }
        *budget = budget.saturating_sub(u32_at(bytes, at)? as usize);
        if *budget == 0 {
            return None;
        }
    }
    None
}
