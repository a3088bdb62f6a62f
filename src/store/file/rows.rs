//! Of which records the tables of a segment tell. One that was written anew may lack most of those that it
//! had: then its tables have rows for those that it has, and one more table says which these are.
//!
//! ```text
//!  records   0  1  2  3  4  5  6  7        ordinals   1    2    6
//!            -  a  b  -  -  -  c  -   ─>   offsets    256  430  604
//! ```
//!
//! A record without a row was left out, and counts as one with the sequence of the row before.

use super::guess::{evenly, lower_bound};

/// The tables of a segment that is being written anew. Distances are those from its base sequence.
#[derive(Debug, Default)]
pub(super) struct Rows {
    ordinals: Vec<u32>,
    offsets: Vec<u32>,
    distances: Vec<u32>,
    /// Records so far, and the distance of the last one if that was left out.
    records: u32,
    left_out: Option<u32>,
}

/// The tables of a segment as they are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a> {
    /// Nothing if there is a row for each record.
    pub(super) ordinals: &'a [u32],
    pub(super) offsets: &'a [u32],
    /// Nothing if all distances follow from the records' places.
    pub(super) distances: &'a [u32],
    pub(super) records: u32,
    /// The distance of the last record.
    pub(super) last: u32,
}

impl Rows {
    /// How many records there are, those that were left out included.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// Takes note of a record; `None` if that is one too many, as below.
    pub(super) fn add(&mut self, offset: u32, distance: u32) -> Option<()> {
        // What is no message has the distance of the message before, and is known by that.
        if self.left_out == Some(distance) && distance > self.last_told() {
            self.push(self.records.checked_sub(1)?, 0, distance);
        }
        self.left_out = None;
        self.push(self.records, offset, distance);
        self.records = self.records.checked_add(1)?;
        Some(())
    }

    /// Takes note of records in a row that are left out, of which the last has this distance.
    pub(super) fn leave_out(&mut self, records: u32, distance: u32) -> Option<()> {
        if records > 0 {
            self.left_out = Some(distance);
        }
        self.records = self.records.checked_add(records)?;
        Some(())
    }

    fn push(&mut self, ordinal: u32, offset: u32, distance: u32) {
        self.ordinals.push(ordinal);
        self.offsets.push(offset);
        self.distances.push(distance);
    }

    fn last_told(&self) -> u32 {
        self.distances.last().copied().unwrap_or(0)
    }

    /// The tables when all records are there, in the form that takes less room, or with a row for each record
    /// if `is_full`.
    pub(super) fn columns(&mut self, is_dense: bool, is_full: bool) -> Columns<'_> {
        let last = self.left_out.unwrap_or(self.last_told());
        if is_dense {
            self.distances.clear();
        }
        let columns: usize = if is_dense { 1 } else { 2 };
        let rows = self.offsets.len();
        if is_full || rows == 0 || (columns + 1) * rows >= columns * self.records as usize {
            self.fill(is_dense);
        }
        Columns {
            ordinals: &self.ordinals,
            offsets: &self.offsets,
            distances: &self.distances,
            records: self.records,
            last,
        }
    }

    /// Gives each record a row.
    fn fill(&mut self, is_dense: bool) {
        let records = self.records as usize;
        let mut offsets = vec![0; records];
        let mut distances = vec![];
        for (row, ordinal) in self.ordinals.iter().enumerate() {
            offsets[*ordinal as usize] = self.offsets[row];
            if !is_dense {
                let before = distances.last().copied().unwrap_or(0);
                distances.resize(*ordinal as usize, before);
                distances.push(self.distances[row]);
            }
        }
        if !is_dense {
            distances.resize(records, self.last_told());
        }
        self.ordinals.clear();
        (self.offsets, self.distances) = (offsets, distances);
    }
}

/// The first of so many rows that is not before a record of `records`, where `at` gives the record of a row.
pub(super) fn row_from(
    (rows, records): (u32, u32),
    ordinal: u32,
    at: impl Fn(u32) -> Option<u32>,
) -> u32 {
    let guess = evenly(ordinal, records, rows);
    lower_bound(rows, guess, |row| at(row).is_some_and(|n| n < ordinal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is told of a segment, record by record.
    fn told(columns: Columns<'_>) -> Vec<(u32, u32)> {
        let len = u32::try_from(columns.offsets.len()).unwrap();
        let rows = |ordinal: u32| match columns.ordinals {
            [] => ordinal,
            ordinals => row_from((len, columns.records), ordinal, |row| {
                ordinals.get(row as usize).copied()
            }),
        };
        let mut all = vec![];
        for ordinal in 0..columns.records {
            let row = rows(ordinal) as usize;
            let is_told =
                columns.ordinals.is_empty() || columns.ordinals.get(row) == Some(&ordinal);
            let before = |row: usize| row.checked_sub(1).map_or(0, |n| columns.distances[n]);
            all.push(match (is_told, columns.distances) {
                (true, []) => (columns.offsets[row], ordinal + 1),
                (false, []) => (0, ordinal + 1),
                (true, distances) => (columns.offsets[row], distances[row]),
                (false, _) => (0, before(row)),
            });
        }
        all
    }

    proptest! {
        /// Of each record that is there: where it is, its sequence, and whether it is a message.
        #[test]
        fn what_is_there_is_told_in_either_form(
            records in prop::collection::vec((any::<bool>(), 0..4u8), 0..300),
            is_dense in any::<bool>(),
            is_full in any::<bool>(),
        ) {
            let (mut rows, mut distance, mut wanted) = (Rows::default(), 0, vec![]);
            for (n, (is_message, stays)) in records.iter().enumerate() {
                let is_message = *is_message || is_dense;
                distance += u32::from(is_message);
                let offset = 256 + 10 * u32::try_from(n).unwrap();
                match *stays {
                    0 => {
                        rows.add(offset, distance).unwrap();
                        wanted.push(Some((offset, distance, is_message)));
                    }
                    _ => {
                        rows.leave_out(1, distance).unwrap();
                        wanted.push(None);
                    }
                }
            }
            prop_assert_eq!(rows.records() as usize, records.len());
            let columns = rows.columns(is_dense, is_full);
            prop_assert!(!is_full || columns.ordinals.is_empty());
            prop_assert_eq!(columns.last, distance);
            let all = told(columns);
            prop_assert_eq!(all.len(), records.len());
            for (n, wanted) in wanted.iter().enumerate() {
                let before = n.checked_sub(1).map_or(0, |n| all[n].1);
                match wanted {
                    Some(wanted) => {
                        prop_assert_eq!((all[n].0, all[n].1, all[n].1 > before), *wanted);
                    }
                    None => prop_assert_eq!(all[n].0, 0),
                }
                prop_assert!(all[n].1 >= before);
            }
        }
    }

    #[test]
    fn tables_take_the_room_of_what_is_there() {
        let mut rows = Rows::default();
        for n in 0..1000 {
            match n % 10 {
                0 => rows.add(256 + n, n + 1),
                _ => rows.leave_out(1, n + 1),
            };
        }
        let columns = rows.columns(true, false);
        assert_eq!((columns.ordinals.len(), columns.offsets.len()), (100, 100));
        assert_eq!((columns.records, columns.last), (1000, 1000));
        // Where most are there, a row for each of them takes less.
        let mut rows = Rows::default();
        for n in 0..1000 {
            match n % 3 {
                0 => rows.leave_out(1, n + 1),
                _ => rows.add(256 + n, n + 1),
            };
        }
        let columns = rows.columns(true, false);
        assert_eq!((columns.ordinals.len(), columns.offsets.len()), (0, 1000));
    }
}
