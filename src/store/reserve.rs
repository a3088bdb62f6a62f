//! Room that is kept back on a file system, for what makes room: where a disk is full to the last byte, a
//! purge could not even be written down, nor the checkpoint after which its segments go.
//!
//! It is a file of zeros that gives up its end, as much as is needed each time. It is filled again when
//! there is room.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// What file systems give out: less is given up for nothing.
const UNIT: u64 = 4 << 10;
static ZEROS: [u8; 4 << 10] = [0; 4 << 10];

const _: () = assert!(ZEROS.len() as u64 == UNIT);

/// Room that is kept back. Whoever shares a disk may share it.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    file: Option<Arc<dyn DiskFile>>,
    len: u64,
}

impl Reserve {
    /// Room of so many bytes, in a file of its own, which is not [held](Reserve::hold) yet.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, bytes: u64) -> Reserve {
        Reserve {
            disk,
            path,
            bytes,
            held: Mutex::default(),
        }
    }

    /// Takes what is missing of the room, as far as there is any. Says whether it has all of it.
    pub fn hold(&self) -> bool {
        let mut held = self.held();
        if held.len >= self.bytes {
            return true;
        }
        if held.file.is_none() {
            let file = self.disk.open(&self.path);
            let made = || self.disk.create(&self.path, as_len(self.bytes));
            let Ok(file) = file.or_else(|_| made()) else {
                return false;
            };
            held.len = file.len().unwrap_or(0);
            held.file = Some(file);
        }
        let Held { file, len } = &mut *held;
        while let Some(file) = file.as_ref().filter(|_| *len < self.bytes) {
            let piece = (self.bytes - *len).min(UNIT);
            if file.write_at(&ZEROS[..as_len(piece)], *len).is_err() {
                return false;
            }
            *len += piece;
        }
        true
    }

    /// Gives up room for so many bytes. False if there is none left.
    pub fn give(&self, bytes: u64) -> bool {
        let mut held = self.held();
        // Whatever needs room needs some of its directory, too.
        let given = (bytes.next_multiple_of(UNIT) + UNIT).min(held.len);
        let left = held.len - given;
        let is_given = held
            .file
            .as_ref()
            .is_some_and(|file| file.shorten(left).is_ok());
        if given == 0 || !is_given {
            return false;
        }
        held.len = left;
        true
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
