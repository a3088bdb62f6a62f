//! The bytes on disk, as `FORMAT.md` describes them, made and read again. All decoders take
//! whatever bytes there are: they answer with an error, never with a panic or a large allocation.

mod bytes;
mod container;
mod footer;
mod header;
mod journal;
mod record;
mod set;

use std::fmt;

pub(in crate::store) use container::Opened;
pub use container::{Container, ContainerKind, Section, Sections};
pub use footer::{FOOTER_LEN, Footer};
pub use header::{Anew, HEADER_COPIES, HEADER_LEN, Layout, SegmentHeader};
pub use journal::{
    FRAME_HEAD, FRAME_MAX, Frame, JOURNAL_SLOT, JOURNAL_START, JournalHeader, Turn, seal_frame,
    turn_of,
};
pub use record::{
    CONSUMER_DELETED, ERASURE_AT, Erasure, FIXED_LEN, Kind, RECORD_MAX, Record, RecordFault, front,
    record_len,
};
pub use set::{decode_runs, encode_runs};

pub use bytes::{u16_at, u32_at, u64_at};

/// The version of all files that this program writes.
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
    Version(u16),
    /// The checksum is that of other bytes.
    Checksum,
    /// The checksum is right, the contents make no sense.
    Invalid,
    /// They belong to another stream, or to another incarnation of it.
    Foreign,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Short => f.write_str("the file is too short"),
            FormatError::Magic => f.write_str("this is not a file of the store"),
            FormatError::Version(version) => write!(
                f,
                "written in version {version} of the format; this server knows up to {VERSION}: \
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
