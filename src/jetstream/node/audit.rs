//! What is told of requests to the API and their answers, in the account that asked, if anybody
//! listens there when a request comes.
//!
//! Answers leave at many places, and often when something is on the disk. So they are recognised by
//! where they go: the subject that a request is answered on is its own.

use super::Node;
use super::asker;
use super::requests::Request;
use crate::accounts::Account;
use crate::jetstream::api::advisory::{ApiAudit, Event, Kind as _};
use crate::jetstream::out::{Out, Outgoing};
use crate::json::Time;
use crate::store::types::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Where it is told.
const SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.API";

/// Requests that are remembered; of the oldest beyond that, nothing is told.
const MAX: usize = 4096;

/// Requests of which is told how they are answered.
#[derive(Default)]
pub(super) struct Audits {
    by_reply: HashMap<Vec<u8>, Audit>,
    /// Replies in the order of the requests; some may have been answered.
    order: VecDeque<Vec<u8>>,
    /// The account in which answers go out.
    system: u32,
}

struct Audit {
    account: Arc<Account>,
    event: Event<ApiAudit>,
}

impl Audits {
    fn insert(&mut self, reply: Vec<u8>, audit: Audit) {
        while self.order.len() >= MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_reply.remove(&oldest);
            }
        }
        self.order.push_back(reply.clone());
        self.by_reply.insert(reply, audit);
    }

    /// Forgets a request that will not be answered.
    pub(super) fn forget(&mut self, reply: &[u8]) {
        self.by_reply.remove(reply);
        if self.by_reply.is_empty() {
            self.order.clear();
        }
    }

    fn take(&mut self, reply: &[u8]) -> Option<Audit> {
        let audit = self.by_reply.remove(reply)?;
        if self.by_reply.is_empty() {
            self.order.clear();
        }
        Some(audit)
    }

    fn is_empty(&self) -> bool {
        self.by_reply.is_empty()
    }
}

/// A way out on which answers are recognised.
pub(super) struct Audited<'a, O> {
    pub(super) out: &'a mut O,
    pub(super) audits: &'a mut Audits,
    pub(super) now: Timestamp,
}

impl<O: Out> Out for Audited<'_, O> {
    fn send(&mut self, account: &Arc<Account>, message: &Outgoing<'_>) -> usize {
        let sent = self.out.send(account, message);
        if !self.audits.is_empty()
            && account.number == self.audits.system
            && let Some(audit) = self.audits.take(message.to)
        {
            self.tell(audit, message);
        }
        sent
    }

    fn is_heard(&mut self, account: &Arc<Account>, subject: &[u8]) -> bool {
        self.out.is_heard(account, subject)
    }
}

impl<O: Out> Audited<'_, O> {
    fn tell(&mut self, audit: Audit, answer: &Outgoing<'_>) {
        let Audit { account, mut event } = audit;
        let is_refusal = starts_with_error(answer.payload);
        let is_message = event.kind.subject.starts_with("$JS.API.STREAM.MSG.GET.");
        // Nothing is told of messages, nor of what nobody serves.
        if answer.payload.is_empty() || (is_message && !is_refusal) {
            return;
        }
        event.timestamp = Time::from_unix_nanos(self.now.0);
        event.kind.response = String::from_utf8_lossy(answer.payload).into_owned();
        let event_subject = event.kind.subject();
        debug_assert_eq!(event_subject.as_bytes(), SUBJECT);
        self.out
            .send(&account, &Outgoing::plain(SUBJECT, &event.encode()));
    }
}

/// Whether an answer says behind its type what is wrong.
fn starts_with_error(answer: &[u8]) -> bool {
    let second = answer.iter().position(|byte| *byte == b',');
    second.is_some_and(|at| answer[at + 1..].starts_with(b"\"error\":"))
}

impl Node {
    /// Takes note of a request of which is to be told how it is answered, if anybody listens to that.
    pub(super) fn note_request<O: Out>(&mut self, request: &Request, out: &mut O) {
        let Some(system) = self.system.clone() else {
            return;
        };
        let asker = request.account();
        let account = match &asker {
            None => system.clone(),
            Some(name) => match self.tenants.account(name) {
                Some(account) => account.clone(),
                None => return,
            },
        };
        if !out.is_heard(&account, SUBJECT) {
            return;
        }
        // Of itself, the system account is told only in what it may ask for.
        let is_known = asker.is_some() || request.is_for_system();
        let kind = ApiAudit {
            server: self.identity.server.clone(),
            client: is_known.then(|| asker::client(request.info().unwrap_or_default())),
            subject: format!("{}{}", super::requests::PREFIX, request.subject),
            request: String::from_utf8_lossy(&request.body).into_owned(),
            response: String::new(),
            domain: self.identity.options.domain.clone().unwrap_or_default(),
        };
        let id = self.unique_id();
        let timestamp = Time::default();
        self.audits.system = system.number;
        let event = Event {
            id,
            timestamp,
            kind,
        };
        self.audits
            .insert(request.reply.clone(), Audit { account, event });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recognised() {
        let yes: &[u8] = br#"{"type":"t","error":{"code":400}}"#;
        let no: &[u8] = br#"{"type":"t","message":{"subject":"a,\"error\":{"}}"#;
        assert!(starts_with_error(yes));
        assert!(!starts_with_error(no));
        assert!(!starts_with_error(b""));
    }

    #[test]
    fn what_is_never_answered_is_forgotten_in_time() {
        let mut audits = Audits::default();
        let audit = || Audit {
            account: Arc::new(Account::new(1, "A", 3)),
            event: Event {
                id: String::new(),
                timestamp: Time::default(),
                kind: ApiAudit {
                    server: String::new(),
                    client: None,
                    subject: String::new(),
                    request: String::new(),
                    response: String::new(),
                    domain: String::new(),
                },
            },
        };
        for n in 0..MAX + 10 {
            audits.insert(n.to_string().into_bytes(), audit());
        }
        assert_eq!((audits.by_reply.len(), audits.order.len()), (MAX, MAX));
        assert!(audits.take(b"9").is_none());
        assert!(audits.take(b"10").is_some());
        for n in 11..MAX + 10 {
            audits.forget(n.to_string().as_bytes());
        }
        assert!(audits.is_empty() && audits.order.is_empty());
    }
}
