//! Bytes of messages that streams have, beside what their account and the server may have.

use super::{Incoming, Stream};
use crate::jetstream::api::{ApiError, StorageType};
use crate::store::stream::StreamState;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What all streams of an account, or of the server, have of one kind of storage. All of them belong
/// to one loop; the numbers may be read elsewhere.
#[derive(Debug)]
pub struct Gauge {
    used: AtomicI64,
    /// The largest number stands for no limit.
    max: AtomicU64,
}

impl Gauge {
    /// Nothing is used, and `max` is what may be.
    pub fn new(max: Option<u64>) -> Gauge {
        Gauge {
            used: AtomicI64::new(0),
            max: AtomicU64::new(max.unwrap_or(u64::MAX)),
        }
    }

    /// Changes what may be used.
    pub fn set_max(&self, max: Option<u64>) {
        self.max.store(max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes that are used.
    pub fn used(&self) -> u64 {
        u64::try_from(self.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn is_beyond(&self, more: u64) -> bool {
        self.used().saturating_add(more) > self.max.load(Ordering::Relaxed)
    }
}

/// What one stream adds to the gauges.
#[derive(Debug)]
pub struct Meter {
    account: Arc<Gauge>,
    server: Arc<Gauge>,
    noted: i64,
}

impl Meter {
    /// A meter of a stream in which nothing is.
    pub fn new(account: Arc<Gauge>, server: Arc<Gauge>) -> Meter {
        Meter {
            account,
            server,
            noted: 0,
        }
    }

    /// Takes note of the bytes that the stream has now.
    fn note(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let more = bytes - self.noted;
        if more != 0 {
            self.noted = bytes;
            self.account.used.fetch_add(more, Ordering::Relaxed);
            self.server.used.fetch_add(more, Ordering::Relaxed);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.note(0);
    }
}

impl Stream {
    /// Takes note of what the stream has.
    pub fn measure(&mut self) {
        self.meter.note(self.store.bytes());
    }

    /// Whether the account and the server have bytes left for a message.
    ///
    /// # Errors
    /// Which of them has not.
    pub(super) fn room_for(&self, message: &Incoming<'_>) -> Result<(), ApiError> {
        let (subject, headers) = (message.subject.len(), message.headers.len());
        let bytes = StreamState::message_bytes(subject, headers, message.payload.len());
        if self.meter.server.is_beyond(0) {
            return Err(ApiError::InsufficientResources);
        }
        if self.meter.account.is_beyond(bytes) {
            return Err(ApiError::AccountResourcesExceeded);
        }
        Ok(())
    }

    /// Whether its messages are in memory only.
    pub fn is_in_memory(&self) -> bool {
        self.config.storage == StorageType::Memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_add_up_what_meters_tell_until_they_go() {
        let (account, server) = (Gauge::new(Some(100)), Gauge::new(None));
        let (account, server) = (Arc::new(account), Arc::new(server));
        let mut one = Meter::new(account.clone(), server.clone());
        let mut two = Meter::new(account.clone(), server.clone());
        one.note(70);
        two.note(20);
        assert!(account.is_beyond(11) && !account.is_beyond(10) && !server.is_beyond(1 << 60));
        one.note(30);
        assert_eq!((account.used(), server.used()), (50, 50));
        account.set_max(Some(40));
        assert!(account.is_beyond(0));
        drop(one);
        assert_eq!((account.used(), server.used()), (20, 20));
    }
}
