//! Which sealed segments are open: they are opened when they are read, and closed when others need
//! what the system has of open files more.

use std::io;

use super::log::{Log, Place, segment_path};
use super::sealed::Handle;
use crate::base::clock::Mono;
use crate::store::error::{LogError, Reason};

impl Log {
    /// Opens a sealed segment, and closes those that others need more.
    pub(super) fn open_sealed(&mut self, at: usize) -> Result<(), LogError> {
        self.reads += 1;
        let sealed = &mut self.sealed[at];
        sealed.used = self.reads;
        if let Some(handle) = &sealed.handle {
            handle.count.touch();
            if self.marks.take() {
                self.close_marked(Some(at));
            }
            return match self.has_given_up(Place::Sealed(at)) {
                true => Err(LogError::Damaged),
                false => Ok(()),
            };
        }
        if sealed.failed {
            return Err(LogError::Damaged);
        }
        sealed.marks = self.marks.clone();
        let path = segment_path(&self.dir, sealed.number());
        let key = self.options.segment_key(&sealed.footer.header);
        let key = key.map_err(|fault| LogError::Key(path.clone(), fault))?;
        let opened = sealed.open(&*self.disk, &path, &self.options.handles, key);
        if self.marks.take() {
            self.close_marked(Some(at));
        }
        opened.map_err(|error| {
            let reason = Reason::new("open", &path, &error);
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
                    self.give_up(at, reason);
                    LogError::Damaged
                }
                _ => LogError::Io(reason),
            }
        })
    }

    fn close_marked(&mut self, but: Option<usize>) {
        let rewriting = &self.rewriting;
        for (at, sealed) in self.sealed.iter_mut().enumerate() {
            let is_marked = |h: &Handle| h.count.is_marked();
            let number = sealed.number();
            let stays = Some(at) == but || rewriting.as_ref().is_some_and(|r| r.contains(&number));
            if !stays && sealed.handle.as_ref().is_some_and(is_marked) {
                sealed.handle = None;
            }
        }
    }

    /// Takes note of the time, and closes segments that other logs need more.
    pub fn handle_turn(&mut self, now: Mono) {
        self.turn = now;
        if self.marks.take() {
            self.close_marked(None);
        }
    }
}
