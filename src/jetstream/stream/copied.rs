//! Messages that are copied from other streams.

use super::Stream;
use super::publish::{Incoming, Taken, store_failed};
use crate::jetstream::api::ApiError;
use crate::jetstream::origin::header;
use crate::jetstream::origin::link::{Heard, Taking};
use crate::store::types::Timestamp;

impl Stream {
    /// Stores a message as in the origin: with the same sequence, at the same time. Gives whether
    /// that left a trace in the stream.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn take_mirrored(
        &mut self,
        heard: &Heard<'_>,
        subject: &[u8],
        taking: &Taking,
    ) -> Result<bool, ApiError> {
        let last = self.store.last();
        if taking.sequence <= last {
            return Ok(true);
        }
        let before = taking.sequence.previous();
        if before > last {
            self.dirty = true;
            self.store.skip_to(before).map_err(|e| store_failed(&e))?;
        }
        self.store_copy(heard, subject, None, taking.timestamp)
    }

    /// Stores a message of a source, whose header `source` is. Gives whether that left a trace in
    /// the stream.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(super) fn take_sourced(
        &mut self,
        heard: &Heard<'_>,
        subject: &[u8],
        source: &[u8],
        now: Timestamp,
    ) -> Result<bool, ApiError> {
        self.store_copy(heard, subject, Some(source), now)
    }

    fn store_copy(
        &mut self,
        heard: &Heard<'_>,
        subject: &[u8],
        source: Option<&[u8]>,
        time: Timestamp,
    ) -> Result<bool, ApiError> {
        let mut block = Vec::new();
        header::copy(heard.headers, source, &mut block);
        let message = Incoming {
            subject,
            reply: None,
            headers: &block,
            payload: heard.payload,
        };
        let taken = self.publish_sourced(&message, time)?;
        Ok(matches!(taken, Taken::New(_)))
    }
}
