//! What permissions do to a client that is in: refusals, and what a reload takes away.

use super::Broker;
use crate::auth::{Attempt, Refusal, Verdict};
use crate::base::clock::Mono;
use crate::base::text::quoted;
use crate::conn::client::Phase;
use crate::conn::guard::{Guard, Publishing};
use crate::options::security::ConnectionType;
use crate::proto::connect::Connect;
use crate::proto::error::{ClientError, CloseReason};
use log::{error, info};

impl Broker {
    /// Whether a client that has permissions may publish.
    pub(super) fn publishing(
        &mut self,
        slot: u32,
        hash: u64,
        subject: &[u8],
        now: Mono,
    ) -> Publishing {
        let client = self.delivery.clients.get_mut(slot);
        match client.and_then(|client| client.guard.as_deref_mut()) {
            Some(guard) => guard.publishing(hash, subject, now),
            None => Publishing::Allowed,
        }
    }

    /// Refuses a message; the connection stays open.
    #[cold]
    pub(super) fn deny(&mut self, slot: u32, error: ClientError<'_>) {
        let label = self.delivery.label(slot);
        match error {
            ClientError::ReplyViolation(reply) => {
                error!("{label} - Publish Violation - Reply {}", quoted(reply));
            }
            ClientError::PublishViolation(subject) => {
                error!("{label} - Publish Violation - Subject {}", quoted(subject));
            }
            other => error!("{label} - {other}"),
        }
        self.delivery.error(slot, error);
    }

    /// Refuses a subscription; the connection stays open.
    #[cold]
    pub(super) fn refuse_subscription(
        &mut self,
        slot: u32,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) {
        let label = self.delivery.label(slot);
        let queue_text = queue.map_or(String::new(), |q| format!(", Queue: {}", quoted(q)));
        error!(
            "{label} - Subscription Violation - Subject {}{queue_text}, SID {}",
            quoted(subject),
            String::from_utf8_lossy(sid)
        );
        let sid = None;
        self.delivery.error(
            slot,
            ClientError::SubscriptionViolation {
                subject,
                queue,
                sid,
            },
        );
    }

    /// Judges all clients anew, after users, accounts or permissions have changed.
    pub(super) fn judge_again(&mut self) {
        for slot in self.delivery.open_slots() {
            let Some(client) = self.delivery.clients.get(slot) else {
                continue;
            };
            let Some(before) = client.grant.clone() else {
                // It is asked who it is when it says something. Who is being compared with a
                // hash that is gone is told when that is done.
                continue;
            };
            let unsaid = Connect::default();
            let verdict = self.facts.directory.reauthenticate(
                &Attempt {
                    connect: client.connect.as_deref().unwrap_or(&unsaid),
                    nonce: &self.facts.nonce(client.id),
                    certificate: client.identity(),
                    kind: ConnectionType::Standard,
                },
                &before,
            );
            let Verdict::Accepted(grant) = verdict else {
                let refusal = match verdict {
                    Verdict::Refused(refusal) => refusal,
                    _ => Refusal::Credentials,
                };
                self.turn_away(slot, refusal);
                continue;
            };
            if grant.account.number != client.account.number {
                // It comes again, to its new account.
                self.close(slot, CloseReason::ClientClosed);
                continue;
            }
            let Some(client) = self.delivery.clients.get_mut(slot) else {
                continue;
            };
            let seed = self.rng.next_u64();
            let guarded = client.guard.is_some() || grant.permissions.is_some();
            match (&mut client.guard, &grant.permissions) {
                (Some(guard), Some(permissions)) => guard.renew(permissions.clone(), seed),
                (guard, permissions) => {
                    *guard = permissions.clone().map(|p| Box::new(Guard::new(p, seed)));
                }
            }
            client.grant = Some(grant);
            if guarded {
                self.review(slot);
            }
        }
    }

    /// Ends those of a client's subscriptions that it may not have any more.
    fn review(&mut self, slot: u32) {
        let Some(client) = self.delivery.clients.get(slot) else {
            return;
        };
        debug_assert!(!matches!(client.phase, Phase::Closed(_)));
        let account = client.account.clone();
        let subs: Vec<u32> = client.sids.slots().collect();
        let mut subject = Vec::new();
        for sub_slot in subs {
            let Some(sub) = self.delivery.subs.get_mut(sub_slot) else {
                continue;
            };
            let queue = account.interest.describe(sub.held, &mut subject);
            let queue = queue.as_deref();
            let client = self.delivery.clients.get_mut(slot);
            let Some(guard) = client.and_then(|client| client.guard.as_deref_mut()) else {
                sub.guarded = false;
                continue;
            };
            if guard.may_subscribe(&subject, queue) {
                sub.guarded = guard.watch(sub_slot, &subject, queue);
                continue;
            }
            let sid = sub.sid.text().to_vec();
            self.delivery.unsubscribe(sub_slot);
            let label = self.delivery.label(slot);
            let with_queue = queue.map_or(String::new(), |q| format!(" using queue {}", quoted(q)));
            info!(
                "Removed sub {}{with_queue} (sid {}) for {label} - not authorized",
                quoted(&subject),
                quoted(&sid)
            );
            self.delivery.error(
                slot,
                ClientError::SubscriptionViolation {
                    subject: &subject,
                    queue,
                    sid: Some(&sid),
                },
            );
        }
    }
}
