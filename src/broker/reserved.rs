//! Subjects that clients may not use, as they belong to traffic between servers.

/// Prefixes of gateway replies, service replies and JetStream acknowledgements.
const GATEWAY_REPLY: &[u8] = b"_GR_.";
const SERVICE_REPLY: &[u8] = b"_R_.";
const JETSTREAM_ACK: &[u8] = b"$JS.ACK.";
const RAFT_GROUP: &[u8] = b"$NRG.";

/// The queue group of the server's own subscriptions.
pub(super) const SYSTEM_QUEUE: &[u8] = b"_sys_";

/// Whether clients may not publish to this subject.
#[inline]
pub(super) fn publish_denied(subject: &[u8]) -> bool {
    matches!(subject.first(), Some(b'_' | b'$'))
        && (longer(subject, GATEWAY_REPLY) || subject.starts_with(RAFT_GROUP))
}

/// Whether clients may not ask for replies to this subject.
#[inline]
pub(super) fn reply_denied(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'_' | b'$'))
        && (reply.starts_with(SERVICE_REPLY)
            || longer(reply, GATEWAY_REPLY)
            || longer(reply, JETSTREAM_ACK))
}

fn longer(subject: &[u8], prefix: &[u8]) -> bool {
    subject.len() > prefix.len() && subject.starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reserved_subjects_are_denied() {
        assert!(publish_denied(b"_GR_.x") && publish_denied(b"$NRG.x"));
        assert!(!publish_denied(b"_GR_.") && !publish_denied(b"_R_.x"));
        assert!(!publish_denied(b"_INBOX.a") && !publish_denied(b"$JS.ACK.x"));
        assert!(reply_denied(b"_R_.a") && reply_denied(b"$JS.ACK.a") && reply_denied(b"_GR_.a"));
        assert!(!reply_denied(b"_INBOX.a") && !reply_denied(b"$JS.API.a"));
    }
}
