//! What is told of streams and consumers that come and go.

use super::Node;
use crate::accounts::Account;
use crate::jetstream::api::advisory::{Action, ConsumerAction, Event, Kind, StreamAction};
use crate::jetstream::out::{Out, Outgoing};
use crate::json::Time;
use crate::store::types::Timestamp;
use std::sync::Arc;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Node {
    /// Tells that something was done to a stream.
    pub(super) fn tell_of_stream<O: Out>(
        &mut self,
        (account, stream): (&Arc<Account>, &str),
        action: Action,
        now: Timestamp,
        out: &mut O,
    ) {
        let kind = StreamAction {
            stream: stream.to_owned(),
            action,
            domain: self.identity.options.domain.clone().unwrap_or_default(),
        };
        self.tell(account, kind, now, out);
    }

    /// Tells that something was done to a consumer.
    pub(super) fn tell_of_consumer<O: Out>(
        &mut self,
        (account, stream, consumer): (&Arc<Account>, &str, &str),
        action: Action,
        now: Timestamp,
        out: &mut O,
    ) {
        let kind = ConsumerAction {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            action,
            domain: self.identity.options.domain.clone().unwrap_or_default(),
        };
        self.tell(account, kind, now, out);
    }

    /// An id that nothing else has.
    pub(super) fn unique_id(&mut self) -> String {
        let digits = (0..22).map(|_| char::from(DIGITS[self.rng.below(DIGITS.len())]));
        digits.collect()
    }

    /// Tells of something, if anybody listens.
    pub(super) fn tell<K: Kind, O: Out>(
        &mut self,
        account: &Arc<Account>,
        kind: K,
        now: Timestamp,
        out: &mut O,
    ) {
        let subject = kind.subject();
        if !out.is_heard(account, subject.as_bytes()) {
            return;
        }
        let event = Event {
            id: self.unique_id(),
            timestamp: Time::from_unix_nanos(now.0),
            kind,
        };
        out.send(
            account,
            &Outgoing::plain(subject.as_bytes(), &event.encode()),
        );
    }
}
