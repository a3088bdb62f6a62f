//! Bytes of subjects' only messages, as checkpoints keep them: in the order of the subjects, one after the
//! other.
//!
//! | for each run of equal sizes | |
//! |---|---|
//! | size | number: the step from the size before, or from 0, as in [`varint`], times 2, plus 1 if there is more than one |
//! | run | if there is more than one, number: how many, less 2 |
//!
//! A size of 0 is not known, and subjects with several messages have none.

use super::entry::SubjectEntry;
use super::varint::{self, Malformed, Reader};

/// What there is to be kept of the subjects so far.
#[derive(Debug, Default)]
pub struct Sizes {
    out: Vec<u8>,
    /// The size of the last subjects, and how many they are; the size before.
    size: u32,
    run: u64,
    before: u32,
    unknown: u64,
    known: u64,
}

impl Sizes {
    /// Takes note of the next subject.
    #[inline]
    pub fn add(&mut self, entry: &SubjectEntry) {
        if self.size != entry.bytes || self.run == 0 {
            self.end_run();
            self.size = entry.bytes;
        }
        match entry.bytes {
            0 => self.unknown += 1,
            _ => self.known += 1,
        }
        self.run += 1;
    }

    fn end_run(&mut self) {
        if self.run == 0 {
            return;
        }
        let step = i64::from(self.size) - i64::from(self.before);
        let step = (step << 1 ^ (step >> 63)).cast_unsigned();
        varint::put(&mut self.out, step << 1 | u64::from(self.run > 1));
        if self.run > 1 {
            varint::put(&mut self.out, self.run - 2);
        }
        (self.before, self.run) = (self.size, 0);
    }

    /// Whether all are known.
    pub fn are_known(&self) -> bool {
        self.unknown == 0
    }

    /// The bytes; `None` if no size is known.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        self.end_run();
        (self.known > 0).then_some(self.out)
    }
}

/// Reads what [`Sizes`] wrote, from bytes that nobody vouches for.
#[derive(Debug)]
pub struct SizesReader<'a> {
    reader: Reader<'a>,
    size: u32,
    run: u64,
    total: u64,
}

impl<'a> SizesReader<'a> {
    /// A reader that stands before the first subject.
    pub fn new(bytes: &'a [u8]) -> SizesReader<'a> {
        SizesReader {
            reader: Reader::new(bytes),
            size: 0,
            run: 0,
            total: 0,
        }
    }

    /// The next subject's size.
    ///
    /// # Errors
    /// If the bytes end, or are none that [`Sizes`] writes.
    #[inline]
    pub fn take(&mut self) -> Result<u32, Malformed> {
        let bad = Malformed("size of a message");
        if self.run == 0 {
            let head = self.reader.number(bad.0)?;
            let step = head >> 1;
            let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
            let size = i64::from(self.size).checked_add(step).ok_or(bad)?;
            self.size = u32::try_from(size).map_err(|_| bad)?;
            self.run = match head & 1 {
                0 => 1,
                _ => self.reader.number(bad.0)?.checked_add(2).ok_or(bad)?,
            };
        }
        self.run -= 1;
        self.total = self.total.saturating_add(self.size.into());
        Ok(self.size)
    }

    /// Makes sure that there are no more; gives the bytes of all messages together.
    ///
    /// # Errors
    /// If there are more.
    pub fn finish(self) -> Result<u64, Malformed> {
        let more = "sizes: more than subjects";
        match self.run {
            0 => self.reader.finish(more).map(|()| self.total),
            _ => Err(Malformed(more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::StreamSeq;
    use proptest::prelude::*;

    fn encoded(sizes: &[u32]) -> (bool, Option<Vec<u8>>) {
        let mut out = Sizes::default();
        for size in sizes {
            out.add(&SubjectEntry::single_of(StreamSeq(1), *size));
        }
        (out.are_known(), out.finish())
    }

    proptest! {
        #[test]
        fn sizes_come_back(
            runs in prop::collection::vec((prop_oneof![0..4u32, any::<u32>()], 1..5usize), 0..40),
        ) {
            let sizes: Vec<_> = runs.iter().flat_map(|(size, n)| vec![*size; *n]).collect();
            let (are_known, bytes) = encoded(&sizes);
            prop_assert_eq!(are_known, !sizes.contains(&0));
            let Some(bytes) = bytes else {
                prop_assert!(sizes.iter().all(|size| *size == 0));
                return Ok(());
            };
            let mut reader = SizesReader::new(&bytes);
            for size in &sizes {
                prop_assert_eq!(reader.take(), Ok(*size));
            }
            let total = sizes.iter().map(|size| u64::from(*size)).sum();
            prop_assert_eq!(reader.finish(), Ok(total));
            let mut short = SizesReader::new(&bytes);
            for _ in 1..sizes.len() {
                short.take().unwrap();
            }
            prop_assert!(short.finish().is_err());
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = SizesReader::new(&bytes);
            for _ in 0..100 {
                if reader.take().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn equal_sizes_take_some_bytes_together() {
        assert_eq!(encoded(&[173; 100_000]).1.unwrap().len(), 5);
        assert_eq!(encoded(&[0; 100_000]).1, None);
        assert_eq!(encoded(&[]), (true, None));
    }
}
