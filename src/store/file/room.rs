//! Room for records, which is made sure of before one is taken.

use std::io;
use std::sync::Arc;

use super::format::Kind;
use super::log::Log;
use crate::store::error::is_full;
use crate::store::reserve::Reserve;

/// Room that an order takes for itself, with a segment that it may have to begin.
const ORDER_BYTES: u64 = 12 << 10;

impl Log {
    /// Makes sure of the room for a record of `len` bytes. Orders get what there is, and those that make
    /// room what was kept back.
    pub(super) fn reserve(&mut self, kind: Kind, len: usize) -> io::Result<()> {
        let end = self.active().end() as usize + len;
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let mut reserved = self.active_mut().reserve(end);
        if reserved.as_ref().is_err_and(is_full) && kind != Kind::Message {
            reserved = self.active_mut().reserve_little(end);
        }
        if reserved.as_ref().is_err_and(is_full) && self.makes_room(kind) {
            reserved = self.active_mut().reserve_little(end);
        }
        reserved
    }

    /// Whether there is room now for an order that makes more.
    pub(super) fn makes_room(&self, kind: Kind) -> bool {
        let makes = matches!(kind, Kind::Delete | Kind::Purge | Kind::Config | Kind::Noop);
        let reserve = self.options.reserve.as_ref();
        let reserve = reserve.filter(|_| makes && !self.disk.is_volatile());
        reserve.is_some_and(|reserve| reserve.give(ORDER_BYTES))
    }

    /// Room for what makes room, where there is no other.
    pub(in crate::store) fn reserve_kept(&self) -> Option<Arc<Reserve>> {
        self.options.reserve.clone()
    }
}
