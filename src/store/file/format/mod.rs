//! The bytes on disk, as `FORMAT.md` describes them, made and read again. All decoders take
//! whatever bytes there are: they answer with an error, never with a panic or a large allocation.

mod bytes;
mod compact;
mod container;
mod footer;
mod header;
mod journal;
mod record;
mod set;
mod wide;

use std::fmt;

pub(in crate::store) use container::Opened;
pub use container::{CHECKPOINT_SIZED, Container, ContainerKind, Section, Sections};
pub use footer::{FOOTER_LEN, Footer};
pub use header::{Anew, HEADER_COPIES, HEADER_LEN, Layout, Records, SegmentHeader};
pub use journal::{
    FRAME_HEAD, FRAME_MAX, Frame, JOURNAL_SLOT, JOURNAL_START, JournalHeader, Turn, seal_frame,
    turn_of,
};
pub use record::{
    CONSUMER_DELETED, ERASURE_AT, Erasure, Kind, RECORD_MAX, RECORD_MIN, Record, RecordFault,
    front, may_be_at, record_len,
};
pub use set::{decode_runs, encode_runs};

pub use bytes::{u16_at, u32_at, u64_at};

/// The version of all files but segments, which have [their own](Records).
pub const VERSION: u16 = 1;

/// Bytes before the first record of a segment: the header, twice.
pub const FIRST_RECORD: u32 = 256;

const _: () = assert!(FIRST_RECORD as usize == HEADER_LEN * HEADER_COPIES);

/// Bytes of a segment, unless a single record needs more.
pub const SEGMENT_BYTES: u32 = 8 << 20;

/// Why some bytes are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormatError {
    /// There are fewer bytes than the smallest form has.
    Short,
    /// They do not begin as they should: another kind of file, or none.
    Magic,
    /// They were written by a newer program.
    Version {
        found: u16,
        /// The highest one that is known.
        known: u16,
    },
    /// The checksum is that of other bytes.
    Checksum,
    /// The checksum is right, the contents make no sense.
    Invalid,
    /// They belong to another stream, or to another incarnation of it.
    Foreign,
}

impl FormatError {
    /// For a file that is no segment.
    fn newer(found: u16) -> FormatError {
        let known = VERSION;
        FormatError::Version { found, known }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Short => f.write_str("the file is too short"),
            FormatError::Magic => f.write_str("this is not a file of the store"),
            FormatError::Version { found, known } => write!(
                f,
                "written in version {found} of the format; this server knows up to {known}: \
                 use the server that wrote it, or a newer one"
            ),
            FormatError::Checksum => f.write_str("the checksum does not match"),
            FormatError::Invalid => f.write_str("the contents are invalid"),
            FormatError::Foreign => f.write_str("it belongs to another stream"),
        }
    }
}

impl std::error::Error for FormatError {}

/// Goes on with the running hash of a log, which binds a segment to all that was before it: two
/// logs with the same records have the same, and it says nothing else.
pub fn chain(before: u64, record_crc: u32) -> u64 {
    let mixed = (before ^ u64::from(record_crc)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed.rotate_right(29)
}
