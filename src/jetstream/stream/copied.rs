//! Messages that are copied from other streams.

use super::Stream;
use super::publish::{Incoming, Taken, store_failed};
use crate::jetstream::api::ApiError;
use crate::jetstream::api::headers::PublishHeaders;
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
        _now: Timestamp,
    ) -> Result<bool, ApiError> {
        let last = self.store.state().last;
        if taking.sequence <= last {
            return Ok(true);
        }
        let before = taking.sequence.previous();
        if before > last {
            self.dirty = true;
            self.store.skip_to(before).map_err(|e| store_failed(&e))?;
        }
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        header::copy(heard.headers, None, &mut block);
        let message = Incoming {
            subject,
            reply: None,
            headers: &block,
            payload: heard.payload,
        };
        let result = self.store_copy(&message, taking.timestamp);
        self.block = block;
        result
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
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        header::copy(heard.headers, Some(source), &mut block);
        let message = Incoming {
            subject,
            reply: None,
            headers: &block,
            payload: heard.payload,
        };
        let result = self.store_copy(&message, now);
        self.block = block;
        result
    }

    /// Stores a message whose publisher was answered by another stream.
    fn store_copy(&mut self, message: &Incoming<'_>, time: Timestamp) -> Result<bool, ApiError> {
        let asked = PublishHeaders::parse(message.headers);
        let transformed = self.transformed(message.subject);
        let subject = transformed.as_deref().unwrap_or(message.subject);
        let is_kept = self.is_kept(subject);
        let taken = self.take(&asked, message, subject, true, time);
        if let Some(subject) = transformed {
            self.subject = subject;
        }
        Ok(is_kept && matches!(taken?.0, Taken::New(_)))
    }
}
