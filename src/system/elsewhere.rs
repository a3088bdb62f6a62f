//! How many clients accounts have on other servers of the cluster, as those tell.
//!
//! Each tells it when it changes and every half minute (`$SYS.ACCOUNT.*.SERVER.CONNS`). What was told
//! counts until the server ends, or has not told anything for a while.

use super::Reaction;
use crate::base::clock::Mono;
use crate::base::limits::{ELSEWHERE, ELSEWHERE_TIME};
use serde_json::Value;
use std::collections::BTreeMap;

/// Clients on other servers.
#[derive(Default)]
pub struct Elsewhere {
    /// By account and server: how many there are, and when that was told.
    counts: BTreeMap<(String, String), (usize, Mono)>,
}

impl Elsewhere {
    /// A server has told how many clients it has in an account.
    pub fn note(&mut self, server: String, account: String, clients: usize, now: Mono) {
        let key = (account, server);
        if clients == 0 {
            self.counts.remove(&key);
        } else if self.counts.len() < ELSEWHERE || self.counts.contains_key(&key) {
            self.counts.insert(key, (clients, now));
        }
    }

    /// Clients of an account on all other servers.
    pub fn total(&self, account: &str) -> usize {
        let from = (account.to_owned(), String::new());
        let own = self.counts.range(from..);
        let own = own.take_while(|((name, _), _)| name == account);
        own.map(|(_, (clients, _))| clients).sum()
    }

    /// A server has ended. Gives the accounts that had clients there.
    pub fn forget(&mut self, server: &str) -> Vec<String> {
        self.drop_if(|key, _| key.1 == server)
    }

    /// Forgets what was told too long ago. Gives the accounts of which that is so.
    pub fn expire(&mut self, now: Mono) -> Vec<String> {
        self.drop_if(|_, told| now.since(told) > ELSEWHERE_TIME)
    }

    fn drop_if(&mut self, gone: impl Fn(&(String, String), Mono) -> bool) -> Vec<String> {
        let mut accounts = Vec::new();
        self.counts.retain(|key, (_, told)| {
            let gone = gone(key, *told);
            if gone {
                accounts.push(key.0.clone());
            }
            !gone
        });
        accounts
    }
}

/// What an event about an account's clients says.
pub(super) fn told(body: &[u8]) -> Reaction {
    let event: Value = serde_json::from_slice(body).unwrap_or_default();
    let server = event.pointer("/server/id").and_then(Value::as_str);
    let account = event.get("acc").and_then(Value::as_str);
    let clients = event.get("conns").and_then(Value::as_u64).unwrap_or(0);
    match (server, account) {
        (Some(server), Some(account)) => {
            let clients = usize::try_from(clients).unwrap_or(usize::MAX);
            // A sum of these is not to overflow.
            let clients = clients.min(u32::MAX as usize);
            Reaction::Elsewhere(server.into(), account.into(), clients)
        }
        _ => Reaction::Silence,
    }
}

/// Which server `$SYS.SERVER.<key>.SHUTDOWN` is about.
pub(super) fn ended(subject: &[u8]) -> Reaction {
    let key = subject.split(|b| *b == b'.').nth(2);
    match key.and_then(|key| str::from_utf8(key).ok()) {
        Some(key) => Reaction::Ends(key.into()),
        None => Reaction::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn clients_are_counted_by_server_until_it_is_gone_or_silent() {
        let mut elsewhere = Elsewhere::default();
        let mut note = |server: &str, account: &str, clients, at| {
            elsewhere.note(server.into(), account.into(), clients, at);
            elsewhere.total(account)
        };
        let later = Mono::ZERO + ELSEWHERE_TIME + Duration::from_secs(1);
        assert_eq!(note("NA", "A", 2, Mono::ZERO), 2);
        assert_eq!(note("NB", "A", 3, Mono::ZERO), 5);
        assert_eq!(note("NB", "AB", 7, Mono::ZERO), 7);
        assert_eq!(note("NB", "A", 1, later), 3);
        assert_eq!(note("NC", "A", 4, later), 7);
        assert_eq!(note("NC", "A", 0, later), 3);
        assert_eq!(elsewhere.expire(later), ["A", "AB"]);
        assert_eq!((elsewhere.total("A"), elsewhere.total("AB")), (1, 0));
        assert_eq!(elsewhere.forget("NB"), ["A"]);
        assert_eq!(elsewhere.total("A"), 0);
    }

    #[test]
    fn events_are_read_with_care() {
        let read = |body: &str| format!("{:?}", told(body.as_bytes()));
        let event = r#"{"server":{"id":"NA"},"acc":"A","conns":3,"total_conns":4}"#;
        assert_eq!(read(event), r#"Elsewhere("NA", "A", 3)"#);
        for body in [
            "",
            "{",
            "[]",
            r#"{"server":{"id":"NA"}}"#,
            r#"{"server":1,"acc":"A"}"#,
        ] {
            assert_eq!(read(body), "Silence", "{body}");
        }
        assert_eq!(
            format!("{:?}", ended(b"$SYS.SERVER.NA.SHUTDOWN")),
            r#"Ends("NA")"#
        );
    }
}
