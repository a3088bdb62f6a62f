//! What is told of streams and consumers that come and go.

use super::Node;
use crate::accounts::Account;
use crate::jetstream::api::advisory::{
    AbandonReason, Action, BatchAbandoned, ConsumerAction, Event, Kind, StreamAction,
};
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

    /// Tells that batches were given up: in the account of the stream, and in the system account.
    pub(super) fn tell_of_batches<O: Out>(
        &mut self,
        stream: usize,
        batches: Vec<(String, AbandonReason)>,
        now: Timestamp,
        out: &mut O,
    ) {
        let Some(slot) = self.streams.get(stream) else {
            return;
        };
        let (account, name) = (slot.account.clone(), slot.name.clone());
        let system = self.system.clone();
        for (batch, reason) in batches {
            let kind = BatchAbandoned {
                account: String::new(),
                stream: name.clone(),
                domain: self.identity.options.domain.clone().unwrap_or_default(),
                batch,
                reason,
            };
            let is_system = system.as_ref().is_some_and(|s| s.number == account.number);
            if !is_system {
                self.tell(&account, kind.clone(), now, out);
            }
            if let Some(system) = &system {
                let account = account.name.to_string();
                self.tell(system, BatchAbandoned { account, ..kind }, now, out);
            }
        }
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
