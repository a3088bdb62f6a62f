//! Asking for records before they are read: the processor then waits for many of them together.

use super::log::{Log, Place};
use super::map::Map;
use crate::base::prefetch::prefetch;
use crate::store::types::StreamSeq;

/// Records that are asked for side by side.
const AT_ONCE: usize = 16;

/// Bytes of each that are asked for, at most. What is behind comes while these are read.
const BYTES: usize = 256;

impl Log {
    /// Asks for messages that are read soon, as far as that takes no time: those of segments that are
    /// open and mapped.
    pub fn look_ahead(&self, sequences: &[StreamSeq]) {
        for sequences in sequences.chunks(AT_ONCE) {
            let mut spots = [None; AT_ONCE];
            for (spot, sequence) in spots.iter_mut().zip(sequences) {
                *spot = self.spot(*sequence);
            }
            for (map, at, end) in spots.into_iter().flatten() {
                let record = map.get(at as usize..end as usize).unwrap_or_default();
                prefetch(record, BYTES);
            }
        }
    }

    /// Where a message is most likely, and where records end there.
    fn spot(&self, sequence: StreamSeq) -> Option<(&Map, u32, u32)> {
        match self.place_of_sequence(sequence)? {
            Place::Sealed(at) => self.sealed[at].spot(sequence),
            Place::Open(at) => {
                let segment = &self.open[at];
                let at = segment.contents.offsets.get(segment.position(sequence));
                let at = at.copied().filter(|at| *at < segment.written)?;
                Some((segment.file.map.as_ref()?, at, segment.written))
            }
        }
    }
}
